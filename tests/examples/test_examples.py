"""Every example runs to its end as a user would start it, and says what it is expected to say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from repository import ROOT

EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Expected:
    """What an example prints (regular expressions, in this order) and which files it leaves in its folder; "" where it writes nothing."""

    lines: tuple[str, ...]
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    folder: str = "out"


EXPECTED = {
    "demo.py": Expected(
        (r"PROVED pendulum .*level=L2", r"CONTROLLER_MISMATCH", r"DIGEST_MISMATCH", r"REFUTED .*UNSTABLE_EQUILIBRIUM", r"REFUTED .*COUNTEREXAMPLE",
         r"All four answers are as expected"),
        ("certified.png", "refused.png", "report.html"), folder="demo-output"),
    "certify_onnx_policy.py": Expected((r"PROVED: ", r"region Q <= ", r"deployable: \d+ bytes"), ("requirement.cert/certificate.json",)),
    "own_plant_from_casadi.py": Expected((r"poles", r"PROVED: "), ("ball.plant.json", "report.html"), ("casadi", "control", "onnx")),
    "python_control_loop.py": Expected(
        (r"^continuous: ", r"PROVED", r"^sampled_20ms: ", r"PROVED", r"^sampled_100ms: ", r"REFUTED UNSTABLE_EQUILIBRIUM", r"as expected: proved"),
        ("regions.png", "continuous/requirement.cert/certificate.json"), ("casadi", "control", "onnx")),
    "stable_baselines3_policy.py": Expected(
        (r"brought in: largest difference \d", r"are normalised in the graph", r"PROVED: ", r"settles at theta"),
        ("controller.onnx", "report.html", "policy.c", "policy.h"), ("casadi", "torch", "stable_baselines3", "gymnasium")),
    "explicit_mpc_double_integrator.py": Expected(
        (r"without a terminal set: the loop leaves the feasible set from", r"with one: ACCEPTED, \d+ regions", r"equal to the law within 1e-09",
         r"after 12 steps"), ("law.cert/certificate.json", "law.onnx", "law.png", "law.c"), ("daqp",)),
    "yann_policy.py": Expected(
        (r"critical regions, as a network", r"test cost .* violations 0", r"certified area", r"deployable: \d+ bytes"),
        ("controller.onnx", "requirement.cert/certificate.json", "report.json"), ("casadi", "torch", "daqp")),
    "learn_van_der_pol.py": Expected(
        (r"asking the prover", r"learned: PROVED, area at least \d{3}", r"given: PROVED, area at least \d\d"),
        ("learned.png", "given.png", "learned/requirement.cert/certificate.json"), ("casadi",)),
    "counterexample_guided.py": Expected(
        (r"k = 1: unsat L2 after \d+ questions", r"k = 8: unsat L2 after \d+ questions", r"left inwards"), folder=""),
    "gate_in_ci.py": Expected(
        (r"exit 0, expected 0", r"exit 4, expected 4 with CONTROLLER_MISMATCH", r"exit 1, expected 1 with NO_BUNDLE", r"exit 5, expected 5",
         r"exit 4, expected 4 with POLICY_CHANGED", r"NotDeployable DIGEST_MISMATCH", r"^7 of 7 answers are as expected"),
        ("policies/good/requirement.cert/certificate.json",)),
}


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Start Python in ``folder`` with the repository importable, as after an editable install."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    environment = {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


SLOW = {"learn_van_der_pol.py"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in sorted(EXPECTED)])
def test_example_ends_as_it_says(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    for module in expected.needs:
        pytest.importorskip(module)
    done = run([str(EXAMPLES / name), *[word for word in ["out"] if word == expected.folder]], tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    place = 0
    for pattern in expected.lines:
        found = re.compile(pattern, re.MULTILINE).search(done.stdout, place)
        assert found, f"{pattern!r} is not in what follows character {place} of\n{done.stdout}"
        place = found.end()
    assert "NOT AS EXPECTED" not in done.stdout.upper()
    assert [file for file in expected.files if not (tmp_path / expected.folder / file).is_file()] == []
    assert [path.name for path in tmp_path.iterdir()] == [name for name in [expected.folder] if name]


def test_an_example_that_fails_says_so(tmp_path: Path) -> None:
    """The exit code means something: with a demanded region that is larger than the domain allows, the example ends with 1."""
    source = (EXAMPLES / "certify_onnx_policy.py").read_text(encoding="utf-8")
    changed = source.replace('lo = ["-0.4", "-0.4"], hi = ["0.4", "0.4"]', 'lo = ["-0.99", "-0.99"], hi = ["0.99", "0.99"]')
    changed = changed.replace("Path(__file__).resolve().parents[1]", f"Path({str(ROOT)!r})")
    assert changed.count("0.99") == 4
    (tmp_path / "changed.py").write_text(changed, encoding="utf-8")
    done = run(["changed.py", "out"], tmp_path)
    assert done.returncode == 1 and "not proved: NOT_CONTAINED" in done.stdout, f"{done.stdout}\n{done.stderr}"
