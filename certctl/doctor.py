"""What this environment can do: Python, NumPy, optional parts and cores."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from shutil import which

BASE, OPTIONAL = ("numpy", "scipy", "typer", "rich", "matplotlib"), (
    ("casadi", "model", "plants of your own"), ("control", "model", "linear systems in and out"), ("torch", "learn", "training"),
    ("onnx", "learn", "export of trained networks"), ("pyarrow", "parquet", "data sets in Parquet"), ("onnxruntime", "dev", "running controllers"),
    ("cvxpy", "sdp", "semidefinite programs"), ("clarabel", "sdp", "solver for them"), ("daqp", "mpc", "quadratic programs"),
    ("z3", "smt", "polynomial and piecewise-linear queries"), ("cvc5", "smt", "the same, and some with exp, sin, cos"),
    ("cryptography", "sign", "signatures of bundles"),
    ("stable_baselines3", "rl", "policies of Stable-Baselines3"), ("gymnasium", "rl", "environments made from plants"),
    ("flint", "second", "second checker"))
EXTRA = {name: extra for name, extra, _ in OPTIONAL}
"""Optional module to the extra that brings it."""
_DISTRIBUTION = {"z3": "z3-solver", "flint": "python-flint", "stable_baselines3": "stable-baselines3"}
DREAL = "CERTCTL_DREAL"
"""Names the program ``dreal``, as for verifiers/smt/dreal.py."""
_LOADS_S = 60


@dataclass(frozen=True)
class Finding:
    """One part of the environment: whether it is usable, and one sentence."""

    part: str
    usable: bool
    says: str
    needed: bool = False


def examine() -> list[Finding]:
    """Look at the environment; nothing heavy is imported here."""
    findings = [Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} at {sys.executable}; 3.11 or newer is needed", True),
                Finding("cores", True, f"{_cores()} usable; OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS', 'not set')}")]
    findings += [_module(name, None, "needed by check, gate, show and report") for name in BASE]
    findings += [_module(name, extra, purpose) for name, extra, purpose in OPTIONAL]
    return [*findings, _git(), _dreal()]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _module(name: str, extra: str | None, purpose: str) -> Finding:
    if find_spec(name) is None:
        remedy = 'install certctl again' if extra is None else f'pip install "certctl[{extra}]"'
        return Finding(name, False, f"not installed ({purpose}): {remedy}", extra is None)
    return Finding(name, True, f"{_version(name)} ({purpose})", extra is None)


def _version(name: str) -> str:
    try:
        return metadata.version(_DISTRIBUTION.get(name, name))
    except metadata.PackageNotFoundError:
        return "version unknown"


def _git() -> Finding:
    found = which("git")
    return Finding("git", found is not None, f"{found} (gate --staged)" if found else "not installed; only gate --staged needs it")


def _dreal() -> Finding:
    """dReal is tried in a process of its own: its wheel can fail at load time, and nothing in the default path needs it."""
    needs = ("its wheel 4.21.6.2 (Python up to 3.11) needs system libraries that pip cannot deliver, IBEX 2.7.4 (dReal's fork), Clp, NLopt and "
             f"LAPACK; or put the program dreal on PATH or its path into {DREAL}; docs/dreal.md says how it was exercised")
    program = os.environ.get(DREAL) or which("dreal")
    if program is None and find_spec("dreal") is None:
        return Finding("dreal", False, f"not installed; optional, nothing in the default path needs it; {needs}")
    kind = "binding" if program is None else "program"
    command = [sys.executable, "-c", "import dreal; print(dreal.__version__)"] if program is None else [program, "--version"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=_LOADS_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("dreal", False, f"the {kind} does not load: {type(error).__name__}; {needs}")
    if tried.returncode == 0:
        version = (tried.stdout.strip().splitlines() or ["an unknown version"])[0][:80]
        return Finding("dreal", True, f"{version} ({kind}) loads; its unsat is sound for the printed formula, delta-sat says nothing")
    reason = (tried.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding("dreal", False, f"the {kind} is installed, but does not load ({reason}); {needs}")
