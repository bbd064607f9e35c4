"""``certctl new`` writes what verify and gate take, says what is wrong before it writes, and never replaces a file unasked."""

from __future__ import annotations

import json
import shutil

import pytest
from repository import ROOT
from small_bundles import linear_controller

from certctl import scaffold
from certctl.cli import beginning
from certctl.cli.main import run

OPTIONS = ["--plant", "van_der_pol", "--time", "discrete", "--dt", "1/20", "--method", "rk4", "--domain", "-1,-1:1,1", "--parameter", "input_limit=1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A repository with a controller and nothing else, which is also the current folder."""
    (tmp_path / "policies").mkdir()
    shutil.copy(ROOT / "examples" / "policies" / "van_der_pol" / "controller.onnx", tmp_path / "policies" / "mine.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder):
    """Every file but the controllers."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".onnx")


def test_what_new_writes_goes_through_verify_and_gate(folder, capsys):
    assert run(["new", "--controller", "policies/mine.onnx", *OPTIONS]) == 0
    assert written(folder) == [".gitattributes", ".github/workflows/certctl.yml", "certctl.toml", "policies/mine.requirement.toml"]
    assert "certctl verify policies/mine.requirement.toml" in capsys.readouterr().out
    assert run(["gate"]) == 1 and "code=NO_BUNDLE" in capsys.readouterr().out
    assert run(["verify", "policies/mine.requirement.toml", "--workers", "1"]) == 0 and run(["gate"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("PROVED mine asymptotic_stability_roa level=L2 ")


def test_a_plant_of_ones_own_is_named_by_its_digest(folder, capsys):
    (folder / "plants").mkdir()
    shutil.copy(ROOT / "systems" / "data" / "van_der_pol.plant.json", folder / "plants" / "own.plant.json")
    assert run(["new", "--controller", "policies/mine.onnx", "--plant", "plants/own.plant.json", "--no-workflow", "--output-format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    text = (folder / data["requirement"]).read_text(encoding="utf-8")
    assert '{ path = "../plants/own.plant.json", sha256 = "' in text and 'lo = ["-' in text and len(data["files"]) == 3
    assert not (folder / ".github").exists()


def test_nothing_is_replaced_without_force(folder, capsys):
    (folder / "certctl.toml").write_text("mine", encoding="utf-8")
    assert run(["new", "--controller", "policies/mine.onnx", *OPTIONS]) == 2
    err = capsys.readouterr().err
    assert written(folder) == ["certctl.toml"] and (folder / "certctl.toml").read_text(encoding="utf-8") == "mine"
    assert "--force" in err and "[[controller]]" in err
    assert run(["new", "--controller", "policies/mine.onnx", *OPTIONS, "--force"]) == 0 and len(written(folder)) == 4


@pytest.mark.parametrize(("arguments", "says"), [
    ([], "--plant"), (["--plant", "no_such"], "no_such"), (["nowhere", "--plant", "pendulum"], "no folder"),
    (["--plant", "van_der_pol", "--controller", "policies/none.onnx"], "MISSING_FILE"),
    (["--plant", "van_der_pol", "--controller", "policies/mine.onnx", "--property", "stable"], "BAD_REQUIREMENT"),
    (["--plant", "van_der_pol", "--controller", "policies/mine.onnx", "--time", "discrete", "--dt", "0", "--method", "rk4"], "BAD_REQUIREMENT"),
    (["--plant", "cartpole", "--controller", "policies/mine.onnx"], "BAD_"),
    (["--plant", "van_der_pol", "--controller", "policies/mine.onnx", "--domain", "1,2"], "LO,…:HI,…"),
    (["--plant", "van_der_pol", "--controller", "policies/mine.onnx", "--domain", "a,b:c,d"], "BAD_NUMBER"),
    (["--plant", "van_der_pol", "--controller", "policies/mine.onnx", "--domain", "-1:1"], "BAD_SHAPE"),
    (["--plant", "van_der_pol", "--controller", "policies/mine.onnx", "--parameter", "wrong=1"], "BAD_PARAMETER"),
    (["--plant", "van_der_pol", "--controller", "policies/mine.onnx", "--parameter", "input_limit"], "NAME=VALUE"),
    (["policies", "--plant", "van_der_pol", "--controller", "outside.onnx"], "is not in")])
def test_what_is_wrong_is_said_before_anything_is_written(folder, capsys, arguments, says):
    (folder / "outside.onnx").write_bytes(linear_controller())
    assert run(["new", *arguments]) == 2
    assert says in capsys.readouterr().err and written(folder) == []


def test_on_a_terminal_what_no_flag_says_is_asked(folder, monkeypatch, capsys):
    answers = iter(["van_der_pol", "policies/mine.onnx", "asymptotic_stability_roa", "discrete", "1/20", "rk4", "-1,-1:1,1", ""])
    asked = []

    def prompt(question, **options):
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(beginning.typer, "prompt", prompt)
    assert run(["new"]) == 0 and len(asked) == 8
    assert 'dt         = "1/20"' in (folder / "policies" / "mine.requirement.toml").read_text(encoding="utf-8")


def test_the_sample_repository_has_the_same_workflow_and_attributes():
    sample = ROOT / "examples" / "ci"
    assert (sample / ".github" / "workflows" / "certctl.yml").read_text(encoding="utf-8") == scaffold.WORKFLOW
    assert (sample / ".gitattributes").read_text(encoding="utf-8") == scaffold.ATTRIBUTES
