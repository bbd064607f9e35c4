"""The report: verdict and claim first, everything escaped, nothing fetched, and a refused bundle says so."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from small_bundles import four_states, linear_controller, prove, swap_controller, tamper_level, write_case

from certctl.report import hold_interval, not_claimed, statement, write_report
from certctl.report.hold import linearise
from certctl.report.page import render
from certctl.view import open_view
from verifiers.kernel.check import check


@pytest.fixture(scope="module")
def requirement(tmp_path_factory):
    """A certified case."""
    path = write_case(tmp_path_factory.mktemp("report") / "policies")
    prove(path)
    return path


@pytest.fixture
def bundle(requirement, tmp_path):
    """A private copy of the certified bundle."""
    return shutil.copytree(requirement.with_name("loop.cert"), tmp_path / "loop.cert")


class Page(HTMLParser):
    """Collects what a browser would fetch or run, and the text that it would show."""

    def __init__(self, text):
        super().__init__()
        self.requests, self.tags, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note tags and references."""
        self.tags.append(tag)
        self.requests += [value for key, value in attributes if key in ("src", "href", "srcset", "action", "data", "poster", "background")]
        self.requests += [key for key, _ in attributes if key.startswith("on")]

    def handle_data(self, data):
        """Note text."""
        self.words.append(data)


def test_the_page_fetches_nothing_and_runs_nothing(bundle):
    written = write_report(open_view(bundle), bundle / "report.html")
    text = written[0].read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert len(page.requests) == 1 and page.requests[0].startswith("data:image/png;base64,")
    assert not re.search(r"https?:|//|url\(|@import", re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text))
    assert "default-src 'none'" in text


def test_the_report_leaves_the_bundle_acceptable(bundle):
    written = write_report(open_view(bundle), bundle / "report.html")
    assert [path.name for path in written] == ["report.html", "report-region.png", "report-region.pdf"]
    assert check(bundle).outcome == "ACCEPTED"
    with pytest.raises(ValueError, match=r"report\.html"):
        write_report(open_view(bundle), bundle / "other.html")
    assert check(bundle).outcome == "ACCEPTED"


def test_claim_and_verdict_stand_first(bundle, requirement):
    view = open_view(bundle, requirement)
    words = " ".join(" ".join(Page(render(view, b"png", requirement)).words).split())
    order = ["PROVED (L2)", "Every trajectory of the plant van_der_pol", "PROVED loop asymptotic_stability_roa", "Certified region",
             "Obligations", "Assumptions", "What is not claimed", "Approximations", "how long the input may be held", "Setting", "Digests",
             "certctl check loop.cert --requirement loop.requirement.toml"]
    places = [words.index(part, words.index("PROVED (L2)")) for part in order]
    assert places == sorted(places)
    assert view.receipt.bundle_digest in words and "the full state is measured without error" in words


@pytest.mark.threat("T21")
@pytest.mark.parametrize("spoil", ["level", "weights", "absent"])
def test_a_bundle_that_the_kernel_refuses_gets_a_page_that_claims_nothing(bundle, tmp_path, spoil):
    if spoil == "level":
        tamper_level(bundle, "20")
    elif spoil == "weights":
        swap_controller(bundle, linear_controller((0.0, 2.0)))
    else:
        shutil.rmtree(bundle)
    view = open_view(bundle)
    text = write_report(view, tmp_path / "page.html")[0].read_text(encoding="utf-8")
    words = " ".join(Page(text).words)
    assert "Nothing is proved" in words and "PROVED" not in words.replace("NOT PROVED", "") and "Every trajectory" not in words
    assert not_claimed(view) == ["Nothing at all is claimed: the kernel has not accepted this bundle."]
    assert str(view.receipt.code) in words


@pytest.mark.threat("T21")
def test_everything_that_a_bundle_says_is_escaped(bundle):
    evil = "<script>alert('x')</script> \"&' \x00\x1b"
    view = open_view(bundle)
    receipt = replace(view.receipt, name=evil, assumptions=(evil,), message=evil, obligations=({**view.receipt.obligations[0], "kind": evil},))
    for one in (replace(view, receipt=receipt), replace(view, receipt=replace(receipt, outcome="REFUSED", code=evil, at=evil))):
        text = render(one, b"png")
        assert "script" not in Page(text).tags and "<script" not in text and "\x1b" not in text and "\x00" not in text
        assert text.count("&lt;script&gt;") >= 3


def test_an_embedded_question_is_said_to_be_one(bundle, requirement):
    assert any("read from the bundle" in line for line in not_claimed(open_view(bundle)))
    assert not any("read from the bundle" in line for line in not_claimed(open_view(bundle, requirement)))


def test_the_statement_of_each_property_is_its_own(bundle):
    view = open_view(bundle)
    asymptotic = statement(view)
    assert "converges to the equilibrium near (0, 0)" in asymptotic and "{P ≤ 0.05}" in asymptotic and "at least 0.1404" in asymptotic
    invariance = statement(replace(view, receipt=replace(view.receipt, property="forward_invariance")))
    assert "converges" not in invariance and "never leaves that region" in invariance


def test_the_linearisation_is_that_of_the_loop(bundle):
    a, b, k = linearise(open_view(bundle))
    assert np.allclose(a, [[0, 1], [-1, 1]], atol=1e-6) and np.allclose(b, [[0], [1]], atol=1e-6) and np.allclose(k, [[0, -2]], atol=1e-6)


def test_the_hold_interval_of_a_loop_with_known_answer(bundle):
    # x'' = -x + x' - 2 x'(t_k): stable in continuous time; the sampled loop's characteristic polynomial gives the limit independently.
    found = hold_interval(open_view(bundle))
    assert found.is_stable and np.allclose(sorted(p.real for p in found.eigenvalues), [-0.5, -0.5], atol=1e-5)

    def radius(h):
        from scipy.linalg import expm
        grown = expm(np.array([[0.0, 1, 0], [-1, 1, 1], [0, 0, 0]]) * h)
        return np.abs(np.linalg.eigvals(grown[:2, :2] + grown[:2, 2:] @ np.array([[0.0, -2]]))).max()

    assert radius(found.limit_s * 0.999) < 1 < radius(found.limit_s * 1.001)


def test_the_hold_interval_of_a_pure_integrator_is_two_over_the_gain():
    # x' = u with u = -k x held over h is stable exactly for h < 2 / k.
    from certctl.report.hold import _radius, _refined
    a, b, k = np.zeros((1, 1)), np.ones((1, 1)), np.array([[-4.0]])
    assert _refined(a, b, k, 0.1, 1.0) == pytest.approx(0.5) and _radius(a, b, k, 0.25) == pytest.approx(0.0, abs=1e-12)


def test_an_unstable_linearisation_has_no_hold_interval(tmp_path):
    found = hold_interval(four_states(tmp_path))  # its controller pushes the cart the wrong way
    assert found.limit_s is None and not found.is_stable


@pytest.mark.parametrize("command", ["show", "report"])
def test_the_commands_end_with_the_kernels_verdict(bundle, capsys, command):
    from certctl.cli.main import run

    assert run([command, str(bundle)]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("PROVED loop ")
    tamper_level(bundle, "20")
    assert run([command, str(bundle), "--output-format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["outcome"] == "REFUSED" and data["region"] is None


def test_a_missing_bundle_gets_no_page(tmp_path, capsys):
    from certctl.cli.main import run

    assert run(["report", str(tmp_path / "absent.cert")]) == 2
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("ERROR absent - code=MISSING_FILE") and not list(tmp_path.iterdir())


def test_show_lists_obligations_with_margins_assumptions_and_digests(bundle, capsys):
    from certctl.cli.main import run

    run(["show", str(bundle)])
    out = capsys.readouterr().out
    for part in ("requirement=embedded", "Functions", "Obligations", "jacobian_lmi", "0.04", "Assumptions", "Not claimed", "Digests", "plant.json"):
        assert part in out
