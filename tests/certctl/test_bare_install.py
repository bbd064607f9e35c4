"""``pip install .`` without extras into an empty environment: what the gate needs works, everything else names the extra it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv

import pytest
from repository import ROOT, committed_files

pytestmark = pytest.mark.slow
SAMPLE = ROOT / "examples" / "ci"
BUNDLE, REQUIREMENT = "policies/van_der_pol.cert", "requirements/van_der_pol.requirement.toml"
QUESTION = "".join(f"(declare-const {name} Real)\n" for name in ("X_0", "X_1", "Y_0")) + (
    "(assert (<= X_0 1))(assert (>= X_0 0))(assert (<= X_1 1))(assert (>= X_1 0))(assert (>= Y_0 9))\n")
WITHOUT = ("torch", "casadi", "onnx", "onnxruntime", "cvxpy", "clarabel", "control", "daqp", "z3", "cvc5", "cryptography", "flint")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The ``certctl`` of an environment that holds nothing but the base install, and a copy of the sample repository."""
    place = tmp_path_factory.mktemp("bare")
    source = place / "source"
    for path in committed_files():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt"), str(source)]
    installed = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if installed.returncode != 0:
        pytest.skip(f"pip could not install: {installed.stderr.strip().splitlines()[-1:]}")
    shutil.copytree(SAMPLE, place / "sample")
    return python, place / "sample"


@pytest.fixture
def certctl(bare):
    """Run ``certctl`` there, far from the sources: exit code, and both outputs."""
    python, sample = bare
    hidden = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "GITHUB_STEP_SUMMARY")}

    def call(*arguments):
        done = subprocess.run([str(python), "-m", "certctl", *arguments], cwd=sample, env={**hidden, "MPLBACKEND": "Agg"}, capture_output=True,
                              text=True, check=False, stdin=subprocess.DEVNULL)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr
    return call


def test_nothing_optional_is_there(bare):
    python, _ = bare
    program = f"from importlib.util import find_spec\nprint([name for name in {WITHOUT!r} if find_spec(name)])"
    assert subprocess.run([str(python), "-I", "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [
    ["gate"], ["gate", "--output-file", "junit:r/gate.xml", "--output-file", "sarif:r/gate.sarif", "--output-format", "markdown"],
    ["check", BUNDLE, "--requirement", REQUIREMENT], ["show", BUNDLE], ["report", BUNDLE, "-o", "report.html"], ["diff", BUNDLE, BUNDLE],
    ["diff", BUNDLE, BUNDLE, "--figure", "both.png"],
    ["export", BUNDLE, "--format", "c"], ["export", BUNDLE, "--format", "torch"], ["export", BUNDLE, "--format", "smtlib"],
    ["explain"], ["systems"], ["digest", BUNDLE], ["doctor"],
    ["new", ".", "--controller", "policies/van_der_pol.onnx", "--plant", "van_der_pol", "--force", "--no-workflow"]])
def test_what_the_gate_needs_works(certctl, bare, arguments):
    _, sample = bare
    code, said = certctl(*arguments)
    assert code == 0, said
    for name in ("report.html", "report-region.png", "report-region.pdf") if arguments[0] == "report" else ():
        assert (sample / name).stat().st_size > 1000
    if arguments[0] == "new":
        shutil.copytree(SAMPLE, sample, dirs_exist_ok=True)
        (sample / "policies" / "van_der_pol.requirement.toml").unlink()


def test_a_search_with_the_native_prover_works_too(certctl, bare):
    shutil.copytree(ROOT / "examples" / "policies" / "van_der_pol", bare[1].parent / "prove", dirs_exist_ok=True)
    assert certctl("verify", "../prove/requirement.toml", "--workers", "1", "--force")[0] == 0


@pytest.mark.parametrize(("arguments", "extra"), [
    (["keygen", "-o", "key"], "sign"), (["sign", BUNDLE, "--key", "policies/van_der_pol.onnx"], "sign"),
    (["export", BUNDLE, "--format", "casadi"], "model"), (["decide", "policies/van_der_pol.onnx", "question.vnnlib", "--solver", "z3"], "smt"),
    (["decide", "policies/van_der_pol.onnx", "question.vnnlib", "--solver", "cvc5"], "smt")])
def test_everything_else_names_its_extra(certctl, bare, arguments, extra):
    (bare[1] / "question.vnnlib").write_text(QUESTION, encoding="utf-8")
    code, said = certctl(*arguments)
    assert code == 2 and f"certctl[{extra}]" in said, said


def test_doctor_names_an_extra_for_each_absent_part(certctl):
    said = certctl("doctor")[1]
    assert [name for name in WITHOUT if f"absent  {name}" not in said] == [] and said.count('pip install "certctl[') >= len(WITHOUT)
    assert sys.version_info >= (3, 11)
