"""explain, doctor, systems: every code has a paragraph, every plant its units, and a missing part its remedy."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import sys

import pytest
from repository import FLOORS, ROOT, python_files, tree_of

import certctl.doctor as doctor
from certctl.cli.main import run
from certctl.codes import OwnCode, explain, explanation, names
from certctl.explanations import PARAGRAPHS
from certctl.plants import plant_data, plant_names
from verifiers.kernel.codes import Code


@pytest.mark.parametrize("name", names())
def test_every_code_has_a_paragraph_that_ends(name):
    text = explain(name)
    assert len(text) > 60 and text.endswith(".") and "  " not in text
    assert len(re.findall(r"[.;,:](?: |$)", text)) >= 2, "it says what the code means and what to try"


VERB = ("Add|Ask|Change|Check|Choose|Compare|Continue|Correct|Demand|deploy|Enlarge|Export|Give|Install|Let|Look|Lower|Produce|Prove|Raise|Refine|"
        "Remove|report|Restore|review|Rewrite|Run|run|Search|Sign|Solve|Split|Take|Train|train|Try|Verify|verify|Write|write|continue")


@pytest.mark.parametrize("name", names())
def test_every_code_has_a_cause_an_example_and_a_remedy(name):
    found = explanation(name)
    assert found.code == name and found.exit_code in (1, 2, 3, 4, 5)
    for text in (found.cause, found.example, found.remedy):
        assert len(text) >= 20 and text.endswith(".") and "  " not in text
    assert re.search(rf"(?:^|[:,;] |\. |Please |or )(?:{VERB})\b", found.remedy), "a remedy says what to do"
    assert not re.search(rf"^(?:{VERB})\b", found.cause), "a cause says what is wrong"


def test_the_examples_differ():
    assert len({explanation(name).example for name in names()}) == len(names())


def test_the_paragraphs_are_those_of_the_kernels_codes_and_all_differ():
    assert list(PARAGRAPHS) == list(Code)
    assert len({explain(name) for name in names()}) == len(names())


def test_own_codes_do_not_shadow_those_of_the_kernel():
    assert not set(OwnCode.__members__) & set(Code.__members__)


def test_an_unknown_code_names_its_neighbours():
    with pytest.raises(KeyError, match="CONTAINMENT"):
        explain("CONTAINMNET")


def test_explain_is_indifferent_to_case_and_lists_all(capsys):
    assert run(["explain", "no-bundle"]) == 0
    assert capsys.readouterr().out.startswith("NO_BUNDLE (exit 1)\n")
    assert run(["explain", "--output-format", "json"]) == 0
    assert [item["code"] for item in json.loads(capsys.readouterr().out)] == names()
    assert run(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(names())


def test_systems_lists_states_units_parameters_and_limits(capsys):
    assert run(["systems"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name}  (" in out for name in plant_names()) and "theta [rad]" in out and "-torque_limit <= u <= torque_limit" in out
    assert run(["systems", "pendulum"]) == 0
    out = capsys.readouterr().out
    assert "9.81 m/s^2" in out and "[-12, 12] x [-12, 12]" in out
    assert run(["systems", "pendulum", "--output-format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["states"][0]["unit"] == "rad"


def test_systems_needs_no_casadi():
    program = "import sys\nfrom certctl.cli.main import run\nassert run(['systems']) == 0\nassert 'casadi' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"states": 1}'])
def test_a_file_that_is_no_plant_is_said_to_be_none(tmp_path, text):
    (tmp_path / "mine.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.json"):
        plant_data(str(tmp_path / "mine.json"))
    assert run(["systems", str(tmp_path / "mine.json")]) == 2


def test_doctor_says_what_is_missing_and_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in ("torch", "scipy", "dreal") else object())
    assert run(["doctor"]) == 2
    captured = capsys.readouterr()
    lines = {line.split()[1]: line for line in captured.out.splitlines()}
    assert lines["torch"].startswith("absent") and 'certctl[learn]' in lines["torch"]
    assert lines["scipy"].startswith("MISSING") and "scipy is needed" in captured.err
    assert "IBEX" in lines["dreal"] and "nothing in the default path needs it" in lines["dreal"]


@pytest.mark.threat("T07")
def test_a_dreal_that_does_not_load_is_reported_and_not_raised(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    broken = subprocess.CompletedProcess([], 1, "", "Traceback\nImportError: libibex.so: cannot open shared object file\n")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **options: broken)
    (found,) = [finding for finding in doctor.examine() if finding.part == "dreal"]
    assert not found.usable and "libibex.so" in found.says

    def hangs(*args, **options):
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(doctor.subprocess, "run", hangs)
    (found,) = [finding for finding in doctor.examine() if finding.part == "dreal"]
    assert not found.usable and "TimeoutExpired" in found.says


@pytest.mark.threat("T07")
@pytest.mark.parametrize(("program", "usable", "says"), [
    ("#!/bin/sh\necho 'dReal v4.21.06.2'\n", True, "dReal v4.21.06.2 (program)"),
    ("#!/bin/sh\necho libnlopt.so.0 is missing >&2\nexit 127\n", False, "libnlopt.so.0"), (None, False, "does not load")])
def test_the_program_that_the_environment_names_is_tried(tmp_path, monkeypatch, program, usable, says):
    path = tmp_path / "dreal"
    if program is not None:
        path.write_text(program, encoding="ascii")
        path.chmod(0o755)
    monkeypatch.setenv(doctor.DREAL, str(path))
    (found,) = [finding for finding in doctor.examine() if finding.part == "dreal"]
    assert found.usable is usable and says in found.says and not found.needed


def test_doctor_passes_here(capsys):
    assert run(["doctor", "--output-format", "json"]) == 0
    assert {item["part"] for item in json.loads(capsys.readouterr().out)} >= {"python", "numpy", "cores", "dreal", "torch"}


def test_every_library_that_certctl_imports_is_known_to_doctor_with_an_extra_that_exists():
    imported = set()
    for path in python_files(*FLOORS):
        for node in ast.walk(tree_of(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    libraries = imported - set(sys.stdlib_module_names) - {*FLOORS, "dreal", ""}
    assert libraries - {*doctor.BASE, *doctor.EXTRA} == set()
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert set(doctor.EXTRA.values()) <= set(config["options.extras_require"])
