"""The sample repository of examples/ci passes its gate, and every change that a pull request may try is caught; so the action and the hook."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

sys.path.insert(0, str(ROOT / "tests" / "certctl"))
from grammars import junit_faults, markdown_faults, sarif_faults

import certctl
from certctl.cli.main import run

SAMPLE = ROOT / "examples" / "ci"
PLANT, REQUIREMENT, CONTROLLER = "plants/van_der_pol.plant.json", "requirements/van_der_pol.requirement.toml", "policies/van_der_pol.onnx"
BUNDLE = "policies/van_der_pol.cert"


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A private copy of the sample repository, which is also the current folder."""
    copy = shutil.copytree(SAMPLE, tmp_path / "sample")
    monkeypatch.chdir(copy)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return copy


def edit(path: Path, before: str, after: str) -> None:
    """Replace the only occurrence of a text in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")


def weights(sample: Path) -> None:
    """A controller that was trained again: one weight differs in one bit."""
    data = bytearray((sample / CONTROLLER).read_bytes())
    data[len(data) // 2] ^= 1
    (sample / CONTROLLER).write_bytes(data)


def weakened(sample: Path) -> None:
    """The requirement asks for a smaller box."""
    edit(sample / REQUIREMENT, 'lo = ["-0.4", "-0.4"], hi = ["0.4", "0.4"]', 'lo = ["-0.1", "-0.1"], hi = ["0.1", "0.1"]')


def weakened_and_proved(sample: Path) -> None:
    """The same, and the bundle answers the weaker question."""
    weakened(sample)
    assert certctl.verify(sample / REQUIREMENT, sample / BUNDLE, force=True, workers=1).outcome == "PROVED"


def plant_parameter(sample: Path) -> None:
    """The plant that the proof is about becomes another one."""
    plant = json.loads((sample / PLANT).read_text(encoding="utf-8"))
    plant["parameters"][0]["value"] = "7/5"
    (sample / PLANT).write_text(json.dumps(plant), encoding="utf-8")


def plant_parameter_and_digest(sample: Path) -> None:
    """The same, and the requirement names the other plant."""
    before = hashlib.sha256((sample / PLANT).read_bytes()).hexdigest()
    plant_parameter(sample)
    edit(sample / REQUIREMENT, before, hashlib.sha256((sample / PLANT).read_bytes()).hexdigest())


def deleted_bundle(sample: Path) -> None:
    """Somebody finds the bundle too large."""
    shutil.rmtree(sample / BUNDLE)


def edited_policy(sample: Path) -> None:
    """The policy asks for less evidence and allows a weaker property."""
    edit(sample / "certctl.toml", '"L2"', '"L0"')
    edit(sample / "certctl.toml", '"exponential_stability_roa"', '"forward_invariance"')


def unlisted_controller(sample: Path) -> None:
    """A second controller comes along without a word in the policy."""
    shutil.copy(sample / CONTROLLER, sample / "policies" / "second.onnx")
    (sample / "policies" / "second.onnx").open("ab").write(b"\0")


CHANGES = {
    weights: ("CONTROLLER_MISMATCH", 4, "CONTROLLER_MISMATCH"), weakened: ("REQUIREMENT_MISMATCH", 4, "POLICY_CHANGED"),
    weakened_and_proved: (None, 0, "POLICY_CHANGED"), plant_parameter: ("PLANT_MISMATCH", 4, "PLANT_MISMATCH"),
    plant_parameter_and_digest: ("REQUIREMENT_MISMATCH", 4, "POLICY_CHANGED"), deleted_bundle: ("NO_BUNDLE", 1, "NO_BUNDLE"),
    edited_policy: (None, 0, "POLICY_CHANGED"), unlisted_controller: ("UNNAMED_CONTROLLER", 1, "UNNAMED_CONTROLLER"),
}


def pinned() -> str:
    """The digest of the policy as it is committed, read from the sample's README."""
    return re.findall(r"^policy digest ([0-9a-f]{64})$", (SAMPLE / "README.md").read_text(encoding="utf-8"), re.M)[0]


def gate(*arguments: str) -> tuple[int, list[str | None]]:
    """Run the gate with all reports; return the exit code and the refusal codes, after every report was found valid and of one mind."""
    reports = ("junit:r/gate.xml", "sarif:r/gate.sarif", "json:r/gate.json", "markdown:r/gate.md")
    code = run(["gate", *(part for item in reports for part in ("--output-file", item)), *arguments])
    text = {path.suffix: path.read_text(encoding="utf-8") for path in Path("r").iterdir()}
    log, data = json.loads(text[".sarif"]), json.loads(text[".json"])
    assert [*junit_faults(text[".xml"]), *sarif_faults(log), *markdown_faults(text[".md"])] == []
    codes = [item["code"] for item in data["controllers"]]
    refused = sorted(item for item in codes if item)
    assert sorted(result["ruleId"] for result in log["runs"][0]["results"]) == refused
    assert sorted(re.findall(r'<(?:failure|error) [^>]*type="(\w+)"', text[".xml"])) == refused
    assert ("NOT passed" in text[".md"]) is (code != 0) and all(f"`certctl explain {item}`" in text[".md"] for item in refused)
    return code, codes


def test_the_sample_passes_with_and_without_the_pin(sample):
    assert gate() == (0, [None]) and gate("--policy-digest", pinned()) == (0, [None])
    assert "█" in Path("r/gate.md").read_text(encoding="utf-8")


@pytest.mark.threat("T18")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_each_change_of_a_pull_request_is_caught(sample, change):
    code, exit_, with_pin = CHANGES[change]
    change(sample)
    ended, codes = gate()
    assert (ended, [item for item in codes if item]) == (exit_, [code] if code else [])
    ended, codes = gate("--policy-digest", pinned())
    assert ended == (1 if with_pin in ("NO_BUNDLE", "UNNAMED_CONTROLLER") else 4) and [item for item in codes if item] == [with_pin]


def test_new_weights_with_a_new_proof_pass(sample):
    weights(sample)
    assert certctl.verify(sample / REQUIREMENT, sample / BUNDLE, force=True, workers=1).outcome == "PROVED"
    assert gate("--policy-digest", pinned()) == (0, [None])


# ------------------------------------------------------------------------------------------------------------ the action and the hook

yaml = pytest.importorskip("yaml")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None or shutil.which("git") is None, reason="bash or git is not installed")


def action() -> dict:
    """action.yml as data."""
    return yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def isolated_python() -> str:
    """An interpreter that finds certctl without PYTHONPATH, as an installed one does."""
    tried = subprocess.run([sys.executable, "-I", "-m", "certctl", "--version"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("certctl is not installed in this interpreter")
    return sys.executable


def step(sample: Path, tmp_path: Path, **values: str) -> tuple[int, str, dict[str, str], str]:
    """Run the action's gate step as a runner would: exit code, log, outputs and summary."""
    (tmp_path / "venv" / "bin").mkdir(parents=True, exist_ok=True)
    if not (tmp_path / "venv" / "bin" / "python").exists():
        wrapper = tmp_path / "venv" / "bin" / "python"
        wrapper.write_text(f'#!/bin/sh\nexec "{isolated_python()}" "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
    inputs = {name: item.get("default", "") for name, item in action()["inputs"].items()} | values
    (script,) = [item for item in action()["runs"]["steps"] if item.get("id") == "gate"]
    known = {f"${{{{ inputs.{name} }}}}": value for name, value in inputs.items()}
    environment = {key: known.get(value, value.replace("${{ runner.temp }}/certctl-venv", str(tmp_path / "venv")))
                   for key, value in script["env"].items()}
    assert not any("${{" in value for value in environment.values()) and "${{" not in script["run"]
    for name in ("out", "summary"):
        (tmp_path / name).write_text("", encoding="utf-8")
    environment |= {"GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script["run"]], cwd=sample, env={**os.environ, **environment},
                          capture_output=True, text=True, check=False)
    outputs = dict(line.split("=", 1) for line in (tmp_path / "out").read_text(encoding="utf-8").splitlines())
    return done.returncode, done.stdout + done.stderr, outputs, (tmp_path / "summary").read_text(encoding="utf-8")


@needs_bash
def test_the_action_passes_the_sample_and_says_its_digest(sample, tmp_path):
    code, log, outputs, summary = step(sample, tmp_path)
    assert (code, outputs["exit-code"], outputs["policy-digest"]) == (0, "0", pinned()), log
    assert list(junit_faults(Path(outputs["junit"]).read_text(encoding="utf-8"))) == [] and Path(outputs["sarif"]).is_file()
    assert "passed (exit 0" in summary and "█" in summary and list(markdown_faults(summary)) == []


@needs_bash
def test_the_action_stops_what_the_gate_stops(sample, tmp_path):
    deleted_bundle(sample)
    code, log, outputs, summary = step(sample, tmp_path)
    assert (code, outputs["exit-code"]) == (1, "1") and "::error file=requirements/van_der_pol.requirement.toml,line=1," in log
    assert "NOT passed" in summary
    code, _, outputs, _ = step(sample, tmp_path, paths="policies\nnowhere")
    assert (code, outputs["exit-code"], outputs["policy-digest"]) == (2, "2", "")


@needs_bash
@pytest.mark.threat("T18")
def test_the_action_refuses_a_pin_that_went_missing(sample, tmp_path):
    edited_policy(sample)
    assert step(sample, tmp_path, **{"policy-digest": pinned()})[0] == 4
    assert step(sample, tmp_path, **{"require-pin": "true"})[0] == 4


@needs_bash
def test_no_input_of_the_action_is_run_as_a_command(sample, tmp_path):
    evil = ("$(touch pwned)", "`touch pwned`", "a; touch pwned", "'; touch pwned; '", '"; touch pwned; "')
    for value in evil:
        (sample / value).mkdir()
    code, log, _, _ = step(sample, tmp_path, paths="\n".join(evil), policy="certctl.toml", reports="$(touch pwned)")
    assert code == 0 and (sample / "$(touch pwned)" / "gate.xml").is_file() and not (sample / "pwned").exists(), log
    assert step(sample, tmp_path, paths="--policy-digest=")[0] == 2, "a path is never an option"


def test_the_action_and_the_workflows_are_well_formed():
    described = action()
    assert described["runs"]["using"] == "composite" and all("run" not in s or s["shell"] == "bash" for s in described["runs"]["steps"])
    given = {name for item in described["runs"]["steps"] for name in re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", yaml.safe_dump(item))}
    assert given == set(described["inputs"]) and all(item["description"] for item in [*described["inputs"].values(), *described["outputs"].values()])
    workflow = yaml.safe_load((SAMPLE / ".github" / "workflows" / "certctl.yml").read_text(encoding="utf-8"))
    (used,) = [s for s in workflow["jobs"]["gate"]["steps"] if s.get("id") == "gate"]
    assert set(used["with"]) <= set(described["inputs"]) and workflow["permissions"]["contents"] == "read"
    own = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]["gate"]["steps"][1]
    assert own["uses"] == "./" and own["with"]["policy-digest"] == pinned()


@needs_bash
def test_the_hook_stops_a_commit_with_changed_weights_or_without_the_bundle(sample, tmp_path):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["always_run"] and not hook["pass_filenames"] and hook["entry"].startswith("certctl ")
    wanted = yaml.safe_load((SAMPLE / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [item["id"] for item in wanted] == [hook["id"]]

    def git(*arguments: str) -> int:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *identity, *arguments], cwd=sample, capture_output=True, check=False).returncode

    assert git("init", "-q") == 0
    script = sample / ".git" / "hooks" / "pre-commit"
    script.write_text(f'#!/bin/sh\nexec "{isolated_python()}" -I -m {hook["entry"]}\n', encoding="utf-8")
    script.chmod(0o755)
    assert git("add", "--all", "--", ".", f":!{BUNDLE}") == 0 and git("commit", "-m", "the bundle is not committed") == 1
    assert git("add", "--all") == 0 and git("commit", "-m", "all of it") == 0
    weights(sample)
    assert git("commit", "-a", "-m", "other weights") == 1
    assert git("checkout", "-f", "--", ".") == 0 and git("rm", "-r", "-q", BUNDLE) == 0 and git("commit", "-m", "no bundle") == 1
