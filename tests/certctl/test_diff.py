"""``certctl diff``: what a claim gained or lost, in doubt a loss, and an exit code that asks for a person."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction

import pytest
from grammars import markdown_faults
from small_bundles import LEVEL, REQUIREMENT, four_states, linear_controller, prove, swap_controller, write_case

from certctl.cli.main import run
from certctl.difference import Kind, differences, kept_share, needs_a_person
from certctl.difference_figure import characters, figure
from certctl.plot import palette
from certctl.view import open_view
from verifiers.kernel.plant import read_plant
from verifiers.kernel.requirement import BoundRequirement, Box, Imitation, LawRequirement, read_requirement
from verifiers.kernel.setting import expected_claim
from verifiers.kernel.strict import read_json


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One certified loop, and its view."""
    folder = tmp_path_factory.mktemp("diff") / "one"
    prove(write_case(folder))
    return folder, open_view(folder / "loop.cert")


def changed(view, text=REQUIREMENT, **edits):
    """The view as if its requirement said something else; the receipt stays."""
    for before, after in edits.pop("lines", ()):
        assert text.count(before) == 1
        text = text.replace(before, after)
    wanted = read_requirement(text.format(controller="controller.onnx").encode(), "loop")
    wanted = replace(wanted, **edits)
    return replace(view, requirement=wanted, setting=replace(view.setting, requirement=wanted))


def kinds(old, new):
    """What differs beyond notes."""
    return {change.what: change.kind.value for change in differences(old, new) if change.kind is not Kind.note}


def test_a_bundle_does_not_differ_from_itself(made):
    assert differences(made[1], made[1]) == [] and kept_share(made[1], made[1]) == 1.0


IMITATION = Imitation(Fraction(1, 10), "onnx", "0" * 64, None, Fraction(1), None, None, None)


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("edits", "what", "kind"), [
    ({"size": Fraction(1, 20)}, "attack size", "lost"), ({"size": Fraction(1, 5)}, "attack size", "gained"),
    ({"error": Fraction(2)}, "expert error", "lost"), ({"error": Fraction(1, 2)}, "expert error", "gained"),
    ({"error": None}, "expert error", "lost"), ({"fit": Fraction(1)}, "data error", "gained"), ({"expert": "1" * 64}, "expert sha256", "changed"),
    ({"regret": ((Fraction(1),), (), Fraction(1))}, "regret", "changed")])
def test_each_demand_of_an_imitation_counts(made, edits, what, kind):
    view = changed(made[1], imitation=IMITATION)
    assert kinds(view, changed(made[1], imitation=replace(IMITATION, **edits)))[what] == kind


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("edits", "what", "forward", "back"), [
    ({"property": "exponential_stability_roa", "rate": Fraction(1, 10)}, "property", "gained", "lost"),
    ({"property": "practical_stability"}, "property", "changed", "changed"), ({"rate": Fraction(1, 10)}, "rate", "gained", "lost"),
    ({"time": "discrete", "dt": Fraction(1, 20), "method": "rk4"}, "time", "changed", "changed"),
    ({"min_volume": Fraction(1, 100)}, "min_volume", "gained", "lost"), ({"min_radius": Fraction(1, 100)}, "min_radius", "gained", "lost"),
    ({"saturation": "forbid"}, "saturation", "gained", "lost"), ({"minimum": "L3"}, "minimum evidence", "gained", "lost"),
    ({"lines": [('input_limit = "10"', 'input_limit = ["9", "11"]')]}, "parameter input_limit", "gained", "lost"),
    ({"lines": [('input_limit = "10"', 'input_limit = "11"')]}, "parameter input_limit", "changed", "changed"),
    ({"contains": None}, "contains", "lost", "gained"), ({"imitation": IMITATION}, "attack size", "gained", "lost"),
    ({"imitation": IMITATION}, "kind of the expert", "changed", "changed"),
    ({"lines": [('hi = ["1/10"', 'hi = ["1/5"')]}, "contains", "gained", "lost"),
    ({"lines": [('lo = ["-1/10"', 'lo = ["-1/20"'), ('hi = ["1/10"', 'hi = ["1/5"')]}, "contains", "changed", "changed"),
    ({"lines": [('hi = ["2"', 'hi = ["1"')]}, "domain", "changed", "changed"), ({"tolerance": (Fraction(1),) * 2}, "equilibrium tolerance",
                                                                               "changed", "changed")])
def test_each_part_of_a_question_counts_in_the_right_direction(made, edits, what, forward, back):
    other = changed(made[1], **edits)
    assert kinds(made[1], other)[what] == forward and kinds(other, made[1])[what] == back
    assert needs_a_person(differences(made[1], other)) or set(kinds(made[1], other).values()) == {"gained"}


def test_more_assumptions_are_a_loss_and_a_smaller_volume_too(made):
    view = made[1]
    more = replace(view, receipt=replace(view.receipt, assumptions=(*view.receipt.assumptions, "no friction")))
    assert kinds(view, more) == {"assumption": "lost"} and kinds(more, view) == {"assumption": "gained"}
    less = replace(view, receipt=replace(view.receipt, region={**view.receipt.region, "volume_lower_bound": 0.01}))
    assert kinds(view, less) == {"volume, proved lower bound": "lost"} and kinds(less, view) == {"volume, proved lower bound": "gained"}


def test_a_region_that_no_longer_holds_the_old_one_is_a_loss_even_where_it_is_larger(made):
    view = made[1]
    stage = view.stages[0]
    smaller = replace(view, stages=(replace(stage, level=stage.level / 4),))
    assert 0.2 < kept_share(view, smaller) < 0.3 and kept_share(smaller, view) == 1.0
    assert list(kinds(view, smaller).values()) == ["lost"] and kinds(smaller, view) == {}
    assert any("-" in line and "+" not in line for line in characters(view, smaller)[:-1])


def test_what_the_kernel_does_not_accept_is_compared_with_nothing(made):
    view = made[1]
    refused = replace(view, receipt=replace(view.receipt, outcome="REFUSED", code="DECREASE"))
    assert differences(view, refused) == differences(refused, view) == [] and characters(view, refused) == []


def test_only_what_is_accepted_is_drawn_in_the_certified_colour(made, tmp_path):
    from matplotlib.colors import to_rgba
    view = made[1]
    refused = replace(view, receipt=replace(view.receipt, outcome="REFUSED", code="DECREASE"))
    green = to_rgba(palette.CERTIFIED)[:3]

    def filled(page):
        found = [c for ax in page.axes for c in ax.collections if len(c.get_facecolor()) and tuple(c.get_facecolor()[0][:3]) == green]
        return len(found)

    both = filled(figure(view, view))
    assert both >= 2 and filled(figure(refused, view)) == both // 2 and filled(figure(refused, refused)) == 0
    assert len(figure(four_states(tmp_path), four_states(tmp_path)).axes) == 6


@pytest.fixture
def two(made, tmp_path, monkeypatch):
    """A folder with the loop before, and after it was asked for less and its region shrank."""
    shutil.copytree(made[0], tmp_path / "before")
    requirement = write_case(tmp_path / "after")
    requirement.write_text(requirement.read_text(encoding="utf-8").replace("1/10", "1/20"), encoding="utf-8")
    level = str(Fraction(LEVEL) / 2)
    plant = (tmp_path / "before" / "loop.cert" / "plant.json").read_bytes()
    wanted = read_requirement(requirement.read_bytes(), "loop")
    claim = expected_claim(wanted, read_plant(read_json(plant, "plant")), {"function": "P", "level": level})
    statement = json.loads((tmp_path / "before" / "loop.cert" / "certificate.json").read_text(encoding="utf-8"))["predicate"]
    next(o for o in statement["obligations"] if o["id"] == "local")["proof"]["level"] = level
    prove(requirement, claim=claim, obligations=statement["obligations"], assumptions=[*statement["assumptions"], "no friction | at all"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_says_what_was_lost_in_three_formats(two, capsys):
    for form in ("text", "json", "markdown"):
        drawn = ["--figure", "both.pdf"] if form == "text" else []
        assert run(["diff", "before/loop.cert", "after/loop.cert", "--output-format", form, *drawn]) == 1
        out = capsys.readouterr().out
        assert (two / "both.pdf").read_bytes().count(open_view("after/loop.cert").receipt.bundle_digest.encode()) >= 1
        if form == "json":
            data = json.loads(out)
            assert {d["what"] for d in data["differences"] if d["kind"] == "lost"} >= {"contains", "volume, proved lower bound", "assumption"}
            assert (data["old"]["outcome"], data["new"]["outcome"], data["exit_code"]) == ("PROVED", "PROVED", 1)
        elif form == "markdown":
            assert list(markdown_faults(out)) == [] and "**lost**" in out and "a person should look" in out
        else:
            assert "lost    contains: [-0.1, 0.1] × [-0.1, 0.1] → [-0.05, 0.05] × [-0.05, 0.05]" in out.splitlines()
    assert run(["diff", "after/loop.cert", "before/loop.cert"]) == 0 and run(["diff", "after/loop.cert", "after/loop.cert"]) == 0


@pytest.mark.threat("T03")
def test_a_new_bundle_that_is_refused_is_no_success(two, capsys):
    assert run(["diff", "after/loop.cert", "before/loop.cert", "--requirement", "after/loop.requirement.toml"]) == 4
    swap_controller(two / "after" / "loop.cert", linear_controller((0.0, 2.0)))
    assert run(["diff", "before/loop.cert", "after/loop.cert"]) == 4 and run(["diff", "after/loop.cert", "before/loop.cert"]) == 4
    assert run(["diff", "before/loop.cert", "nowhere.cert", "--figure", "a.png"]) == 2
    assert not (two / "a.png").exists()


@pytest.mark.parametrize("place", ["figure.bmp", "before/loop.cert/figure.png"])
def test_a_figure_at_a_wrong_place_is_a_wrong_call(two, capsys, place):
    assert run(["diff", "before/loop.cert", "after/loop.cert", "--figure", place]) == 2 and not (two / place).exists()


UNIT = Box((Fraction(0),), (Fraction(1),))
TWICE = Box((Fraction(0),), (Fraction(2),))
LOOP = (((Fraction(1),),), ((Fraction(1, 2),),))
LAW = LawRequirement("law", "problem.json", "0" * 64, "law.json", 1, UNIT, "L2", LOOP, True)
BOUND = BoundRequirement("net", "net.onnx", Fraction(2), "l2", UNIT, "L2")


def alone(view, wanted):
    """The view as if its claim were one about a law or a controller alone."""
    law = isinstance(wanted, LawRequirement)
    return replace(view, requirement=None, setting=None, law=wanted if law else None, bound=None if law else wanted)


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("claim", "edits", "what", "kind"), [
    (LAW, {"problem_sha256": "1" * 64}, "problem sha256", "changed"), (LAW, {"outputs": 2}, "outputs", "changed"),
    (LAW, {"domain": TWICE}, "domain", "changed"), (LAW, {"stable": False}, "stable loop", "lost"),
    (replace(LAW, stable=False), {"stable": True}, "stable loop", "gained"),
    (replace(LAW, stable=False), {"loop": None}, "loop in which it stays feasible", "lost"),
    (replace(LAW, stable=False, loop=None), {"loop": LOOP}, "loop in which it stays feasible", "gained"),
    (LAW, {"loop": (LOOP[0], ((Fraction(1),),))}, "loop in which it stays feasible", "changed"),
    (LAW, {"minimum": "L3"}, "minimum evidence", "gained"),
    (BOUND, {"bound": Fraction(3)}, "bound", "lost"), (BOUND, {"bound": Fraction(1)}, "bound", "gained"),
    (BOUND, {"domain": TWICE}, "domain", "gained"), (BOUND, {"domain": None}, "domain", "gained"),
    (BOUND, {"minimum": "L1"}, "minimum evidence", "lost"),
    (replace(BOUND, domain=TWICE), {"domain": UNIT}, "domain", "lost"), (replace(BOUND, domain=None), {"domain": UNIT}, "domain", "lost"),
    (BOUND, {"domain": Box((Fraction(-1),), (Fraction(0),))}, "domain", "changed"),
    (BOUND, {"domain": Box((Fraction(0),) * 2, (Fraction(1),) * 2)}, "domain", "changed")])
def test_claims_without_a_plant_are_compared_too(made, claim, edits, what, kind):
    old, new = alone(made[1], claim), alone(made[1], replace(claim, **edits))
    assert differences(old, old) == []
    assert kinds(old, new) == {what: kind} and needs_a_person(differences(old, new)) is (kind != "gained")


def test_a_claim_about_a_law_is_not_one_about_a_loop_or_a_bound(made):
    for old, new in ((made[1], alone(made[1], LAW)), (alone(made[1], LAW), made[1]), (alone(made[1], LAW), alone(made[1], BOUND))):
        assert kinds(old, new) == {"property": "changed"}
