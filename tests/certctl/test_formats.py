"""JUnit, SARIF, annotations and markdown: valid, escaped, never a pass or a skip for what is not proved, the same on every machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as tree
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
from grammars import junit_faults, markdown_faults, sarif_faults
from hypothesis import given
from hypothesis import strategies as st
from small_bundles import linear_controller, prove, write_case
from test_output import KEYS

from certctl.cli.main import run
from certctl.formats import FORMATS, Account
from certctl.formats.markdown import escape
from certctl.result import Result

NASTY = ("\n::error file=a::x", "##[stop-commands]x", "</failure><testcase name='y'/>", "]]>", "| a | b |\n|---|---|", "<img src=x onerror=y>",
         "\x1b[2J\x00",
         "[a](javascript:x)", "![a](b)", "@team #1 www.example", "%0A%25::", "\u202e\ud800", "a,b:c=d", "```\n# x")
OUTCOMES = {"PROVED": None, "REFUSED": "failure", "REFUTED": "failure", "UNKNOWN": "error", "ERROR": "error", "FINE": "error"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository with one certified controller, made once and copied."""
    folder = tmp_path_factory.mktemp("formats") / "repository"
    prove(write_case(folder / "policies"))
    (folder / ".git").mkdir()
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A private copy of the repository, which is also the current folder."""
    copy = shutil.copytree(made, tmp_path / "repository")
    monkeypatch.chdir(copy)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return copy


def account(*results, **rest):
    """An account of a gate in a repository that does not exist."""
    return Account("gate", results, root=Path("/r"), **rest)


def faults(given):
    """All faults of the three formats that have a validator."""
    return [*junit_faults(FORMATS["junit"](given)), *sarif_faults(json.loads(FORMATS["sarif"](given))), *markdown_faults(FORMATS["markdown"](given))]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_is_not_proved_is_a_failure_or_an_error_and_never_skipped(outcome):
    given = account(Result(outcome, "loop", None if outcome == "PROVED" else "BUDGET", "shell-1", "why", requirement_file="/r/p/a.requirement.toml"))
    assert faults(given) == []
    case = next(tree.fromstring(FORMATS["junit"](given)).iter("testcase"))
    assert [child.tag for child in case] == ([] if OUTCOMES[outcome] is None else [OUTCOMES[outcome]])
    results = json.loads(FORMATS["sarif"](given))["runs"][0]["results"]
    assert [r["level"] for r in results] == ([] if outcome == "PROVED" else ["error"])
    assert FORMATS["github"](given).startswith("PROVED " if outcome == "PROVED" else "::error file=p/a.requirement.toml,line=1,title=")
    assert ("## certctl gate: passed" in FORMATS["markdown"](given)) is (outcome == "PROVED")


@pytest.mark.threat("T19")
def test_an_account_of_nothing_is_no_pass_in_any_format():
    given = account()
    assert faults(given) == [] and tree.fromstring(FORMATS["junit"](given)).find("testsuite").get("errors") == "1"
    assert "NOT passed" in FORMATS["markdown"](given) and json.loads(FORMATS["sarif"](given))["runs"][0]["invocations"][0]["exitCode"] == 5


@pytest.mark.threat("T21")
@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_name_place_or_message_can_forge_a_line_an_element_or_a_command(text):
    given = account(Result("REFUSED", text, "NO_BUNDLE", text, text, property=text, controller=f"/r/{text}"), Result("PROVED", text, property=text),
                    policy=f"/r/{text}", policy_digest="0" * 64)
    assert faults(given) == []
    root = tree.fromstring(FORMATS["junit"](given).encode("utf-8"))
    assert len(root.findall("testsuite/testcase")) == 2 and root.find("testsuite").get("failures") == "1"
    lines = FORMATS["github"](given).splitlines()
    assert len(lines) == 3 and [line.startswith("::") for line in lines] == [True, False, False]
    assert re.fullmatch(r"::error file=[^,:]*,title=[^,:]*::.*", lines[0].replace(",line=1", ""))
    for form in ("text", "github"):
        assert all(c.isprintable() for line in FORMATS[form](given).split("\n") for c in line) and "##[" not in FORMATS[form](given)
        assert sum(line.lstrip().startswith("::") for line in FORMATS[form](given).splitlines()) == (form == "github")


@given(st.text())
def test_escaped_markdown_keeps_no_markup(text):
    assert list(markdown_faults(escape(text) + "\n")) == [] and not re.search(r"[|*_`~\[\]<>\\@]", escape(text).replace("<!-- -->", ""))


@pytest.mark.parametrize(("form", "broken"), [
    ("junit", lambda t: t.replace("<failure", "<skipped").replace("</failure", "</skipped")),
    ("junit", lambda t: t.replace('failures="1"', 'failures="0"')),
    ("junit", lambda t: t.replace(' hostname="localhost"', "")), ("sarif", lambda t: t.replace('"version": "2.1.0"', '"version": "2.0"')),
    ("sarif", lambda t: t.replace('"ruleIndex"', '"rule"')),
    ("sarif", lambda t: t.replace('"level": "error",\n     "message"', '"level": "bad", "message"')),
    ("sarif", lambda t: t.replace('"uri": "', '"uri": "/')), ("markdown", lambda t: t.replace("| REFUSED |", "| REFUSED | x |")),
    ("markdown", lambda t: t + "<b>"), ("markdown", lambda t: t + "```\n")])
def test_the_validators_see_each_fault(form, broken):
    text = FORMATS[form](account(Result("REFUSED", "a", "NO_BUNDLE", "b", "c", controller="/r/a.onnx")))
    check = {"junit": junit_faults, "sarif": lambda t: sarif_faults(json.loads(t)), "markdown": markdown_faults}[form]
    assert list(check(text)) == [] and broken(text) != text
    try:
        found = list(check(broken(text)))
    except KeyError:
        found = ["a property is missing"]
    assert found


def test_fingerprints_depend_on_the_finding_and_not_on_machine_time_or_message():
    one = Result("REFUSED", "a", "NO_BUNDLE", "/r/a.cert", "there is no bundle at /r/a.cert", requirement_file="/r/p/a.requirement.toml")
    moved = replace(one, at="/q/a.cert", message="other words", check_s=3.0, requirement_file="/q/p/a.requirement.toml")

    def prints(given):
        return [r["partialFingerprints"] for r in json.loads(FORMATS["sarif"](given))["runs"][0]["results"]]

    first = prints(account(one))
    assert first == prints(replace(account(moved), root=Path("/q")))
    for other in (replace(one, code="CHAIN"), replace(one, name="b"), replace(one, requirement_file="/r/q/a.requirement.toml")):
        assert prints(account(other)) != first
    assert "/r/" not in FORMATS["sarif"](account(one)) + FORMATS["junit"](account(one)) + FORMATS["github"](account(one))


def test_the_gate_writes_every_format_at_once(folder, capsys):
    write_case(folder / "policies" / "second", "second")
    wanted = [part for form in FORMATS for part in ("--output-file", f"{form}:out/gate.{form}")]
    assert run(["gate", "policies", *wanted, "--output-format", "markdown"]) == 1
    shown, kept = capsys.readouterr().out, {form: (folder / "out" / f"gate.{form}").read_text(encoding="utf-8") for form in FORMATS}
    assert shown == kept["markdown"] and [path.name for path in (folder / "out").iterdir() if path.name.startswith(".")] == []
    assert [*junit_faults(kept["junit"]), *sarif_faults(json.loads(kept["sarif"])), *markdown_faults(kept["markdown"])] == []
    assert [set(item) >= KEYS for item in json.loads(kept["json"])["controllers"]] == [True, True]
    assert kept["text"].splitlines()[0].startswith("PROVED loop ") and "::error file=policies/second/second.requirement.toml,line=1" in kept["github"]
    figure = kept["markdown"].split("```text\n")[1].split("```")[0].splitlines()
    assert "█" in figure[len(figure) // 2] and "·" in figure[0] and figure[-1].startswith("across: ")
    assert kept["markdown"].count("```text") == 1, "only what is certified has a figure"
    (result,) = json.loads(kept["sarif"])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "policies/second/second.requirement.toml"


@pytest.mark.threat("T21")
def test_a_bundle_that_changed_after_the_check_is_not_drawn(folder, monkeypatch, capsys):
    import certctl.formats.markdown as page
    true_raster = page.raster

    def changed(result):
        (Path(result.bundle) / "controller.onnx").write_bytes(linear_controller((0.0, -2.5)))
        return true_raster(result)

    monkeypatch.setattr(page, "raster", changed)
    assert run(["gate", "policies", "--output-format", "markdown"]) == 0
    assert "█" not in capsys.readouterr().out


def test_github_gets_annotations_and_a_step_summary_that_is_appended(folder, monkeypatch, capsys):
    summary = folder / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert run(["gate", "policies"]) == 0 and summary.read_text(encoding="utf-8") == "before\n"
    (folder / "policies" / "controller.onnx").write_bytes(linear_controller((0.0, -2.5)))
    assert run(["gate", "policies", "--output-format", "github"]) == 4
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n## certctl gate: NOT passed") and list(markdown_faults(text)) == []
    assert "::error file=policies/loop.requirement.toml" in capsys.readouterr().out


@pytest.mark.parametrize("wanted", ["junit", "yaml:a", "junit:", ":a", "junit:.", "junit:policies/loop.cert/check.json",
                                    "junit:policies/controller.onnx", "json:certctl.toml"])
def test_an_output_file_that_cannot_be_written_is_a_wrong_call(folder, capsys, wanted):
    assert run(["gate", "policies", "--output-file", wanted]) == 2
    assert capsys.readouterr().err.startswith("certctl: --output-file ")


def test_one_path_twice_is_a_wrong_call(folder, capsys):
    assert run(["gate", "policies", "--output-file", "junit:a", "--output-file", "sarif:./a"]) == 2 and not (folder / "a").exists()


@pytest.mark.threat("T20")
def test_no_output_file_of_an_earlier_run_survives_an_accident(folder, monkeypatch, capsys):
    wanted = ["--output-file", "junit:gate.xml", "--output-file", "json:gate.json"]
    assert run(["gate", "policies", *wanted]) == 0
    good = (folder / "gate.xml").read_text(encoding="utf-8")
    assert "<error" not in good and "<failure" not in good
    (folder / "policies" / "certctl.toml").write_text("[gates]\n", encoding="utf-8")
    assert run(["gate", "policies", *wanted]) == 2
    assert "<error" in (folder / "gate.xml").read_text(encoding="utf-8")
    assert json.loads((folder / "gate.json").read_text(encoding="utf-8"))["controllers"][0]["outcome"] == "ERROR"
    (folder / "policies" / "certctl.toml").unlink()
    for error, code, word in ((RuntimeError("broken"), 2, "INTERNAL"), (KeyboardInterrupt(), 3, "INTERRUPTED")):
        def stop(*args, error=error, **options):
            assert not (folder / "gate.xml").exists()
            raise error

        monkeypatch.setattr("certctl.gatekeeper.gate", stop)
        assert run(["gate", "policies", *wanted]) == code
        assert f'type="{word}"' in (folder / "gate.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["check", "verify", "falsify"])
def test_commands_about_one_requirement_write_the_same_formats(folder, capsys, command):
    arguments = {"check": ["policies/loop.cert", "--requirement", "policies/loop.requirement.toml"], "verify": ["policies/loop.requirement.toml"],
                 "falsify": ["policies/loop.requirement.toml", "--budget", "0.5"]}[command]
    code = run([command, *arguments, "--output-format", "sarif", "--output-file", "junit:a.xml", "--output-file", "json:a.json"])
    log, data = json.loads(capsys.readouterr().out), json.loads((folder / "a.json").read_text(encoding="utf-8"))
    assert list(sarif_faults(log)) == [] and list(junit_faults((folder / "a.xml").read_text(encoding="utf-8"))) == [] and set(data) >= KEYS
    assert (code, data["outcome"]) == {"check": (0, "PROVED"), "verify": (2, "ERROR"), "falsify": (3, "UNKNOWN")}[command]
    assert len(log["runs"][0]["results"]) == (code != 0)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_staged_sees_what_would_be_committed(folder, capsys):
    (folder / ".git").rmdir()
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "policies/controller.onnx", "policies/loop.requirement.toml"], check=True)
    assert run(["gate", "policies"]) == 0 and run(["gate", "--staged", "policies", "--output-file", "junit:gate.xml"]) == 1
    assert "code=NO_BUNDLE" in capsys.readouterr().out and 'classname="policies/loop.requirement.toml"' in (folder / "gate.xml").read_text("utf-8")
    with chdir(folder / "policies"):
        assert run(["gate", "--staged", "--output-file", "junit:../gate.xml"]) == 1
    assert 'classname="policies/loop.requirement.toml"' in (folder / "gate.xml").read_text("utf-8"), "places are those of the repository"
    subprocess.run(["git", "add", "policies"], check=True)
    assert run(["gate", "--staged", "policies"]) == 0
    (folder / "policies" / "controller.onnx").write_bytes(linear_controller((0.0, -2.5)))
    assert run(["gate", "--staged", "policies"]) == 0 and run(["gate", "policies"]) == 4
    subprocess.run(["git", "rm", "-q", "-r", "--cached", "policies/loop.cert"], check=True)
    assert run(["gate", "--staged"]) == 1


def test_staged_outside_a_repository_is_a_wrong_call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert run(["gate", "--staged"]) == 2 and capsys.readouterr().err.startswith("certctl: --staged needs ")
