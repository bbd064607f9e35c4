"""Semidefinite programmes in one plain form, and their solution by a solver in a child process.

A solver may be wrong, inaccurate, panic past ``except Exception`` or abort: it runs in a child (:mod:`verifiers.smt.child`), and only an answer in
the strict form below, with the status "optimal", is a solution.  Even that is no evidence: whoever uses it rounds it and proves the rounded matrices.

    {"script": sha256 of the text that the child was given, "solver": name,
     "answers": [{"status": "optimal", "x": ["0.5", ...], "seconds": "0.1"}, ...]}
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import sparse

from verifiers.kernel.graph import Floats
from verifiers.smt.child import MEMORY, run

STATUSES = {"optimal_inaccurate": "inaccurate", "infeasible": "infeasible", "infeasible_inaccurate": "inaccurate", "unbounded": "unbounded",
            "unbounded_inaccurate": "inaccurate", "user_limit": "timeout"}
SOLVERS = ("CLARABEL", "SCS")


@dataclass(frozen=True, eq=False)
class Programme:
    r"""Maximise :math:`c^\top x` over :math:`\{x : A x = b,\ F_k(x) \succeq 0,\ x_i \ge 0\ (i \in I)\}`.

    Attributes
    ----------
    objective : (n,) array
        c.
    equalities : (m, n) sparse matrix and (m,) array, or None
        A and b.
    blocks : tuple of (size, (size**2, n) sparse matrix, (size**2,) array)
        Each :math:`F_k(x)`, row by row, as a linear part and a constant; it must be symmetric for every x.
    nonnegative : tuple of int
        I.
    """

    objective: Floats
    blocks: tuple[tuple[int, sparse.csr_matrix, Floats], ...]
    equalities: tuple[sparse.csr_matrix, Floats] | None = None
    nonnegative: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver calls optimal: x in floats, its own seconds, and its name.  No evidence of anything."""

    x: Floats
    seconds: float
    solver: str


@dataclass(frozen=True)
class Unsolved:
    """Why there is no solution, ``inaccurate infeasible unbounded timeout memory crash garbage`` or ``absent``, and a sentence."""

    reason: str
    says: str


def absent() -> str | None:
    """Why no solver can be used here and how to get one, or None."""
    return None if find_spec("cvxpy") is not None else 'cvxpy is not installed: pip install "certctl[sdp]"'


def solve(programmes: Sequence[Programme], *, solver: str = "CLARABEL", seconds: float = 60.0, memory: int = MEMORY,
          accuracy: float = 1e-9, command: Sequence[str] | None = None) -> list[Solution | Unsolved]:
    """Solve programmes, one after the other, in one child process.

    Parameters
    ----------
    programmes : sequence of Programme
        All are answered by one child; when it dies none of them is.
    solver : str
        ``CLARABEL`` (interior points, accurate) or ``SCS`` (first order, coarse).
    seconds, memory
        Limits of the child: wall time (s), address space (bytes).
    accuracy : float
        Clarabel's tolerances of gap and feasibility; a margin that is much larger needs no smaller ones, which it may not reach.
    command : sequence of str, optional
        Program and arguments instead of the child of this module.

    Returns
    -------
    list of Solution or Unsolved
        One per programme; never raises for what the solver does.  A status other than "optimal" is Unsolved.
    """
    missing = None if command is not None else absent()
    if missing is not None:
        return [Unsolved("absent", missing)] * len(programmes)
    if solver not in SOLVERS:
        raise ValueError(f"solver {solver!r} is none of {', '.join(SOLVERS)}")
    text = json.dumps({"solver": solver, "accuracy": accuracy, "programmes": [_plain(p) for p in programmes]})
    ran = run([*(command or [sys.executable, "-P", str(Path(__file__).with_name("cvxpy_child.py"))])], text, seconds, memory)
    if ran.status != "ok":
        return [Unsolved(ran.status, ran.says)] * len(programmes)
    return read_answers(ran.text, text, [p.objective.size for p in programmes])


def read_answers(printed: str, given: str, sizes: Sequence[int]) -> list[Solution | Unsolved]:
    """Read the child's strict form; whatever is not exactly that is ``garbage`` for all programmes."""
    nothing: list[Solution | Unsolved] = [Unsolved("garbage", f"the child's output is no answer to this programme: {printed[:80]!a}")] * len(sizes)
    try:
        table = json.loads(printed)
        if table["script"] != digest(given) or len(table["answers"]) != len(sizes):
            return nothing
        return [_answer(item, n, str(table["solver"])) for item, n in zip(table["answers"], sizes, strict=True)]
    except (ValueError, TypeError, KeyError, OverflowError):
        return nothing


def _answer(item: dict[str, object], size: int, solver: str) -> Solution | Unsolved:
    status = str(item["status"])
    if status != "optimal":
        return Unsolved(STATUSES.get(status, "crash"), f"{solver} says {status}: {str(item.get('says', ''))[:200]}")
    x = np.array([float(v) for v in item["x"]])  # type: ignore[attr-defined]
    if x.shape != (size,) or not np.isfinite(x).all():
        raise ValueError("the solution has another size, or a number that is not finite")
    return Solution(x, float(str(item["seconds"])), solver)


def digest(text: str) -> str:
    """sha256 of what a child was given, by which its answer names its question."""
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(programme: Programme) -> dict[str, object]:
    def entries(matrix: sparse.csr_matrix) -> dict[str, object]:
        coo = sparse.coo_matrix(matrix)
        return {"shape": list(coo.shape), "row": coo.row.tolist(), "col": coo.col.tolist(), "value": coo.data.tolist()}

    equal = programme.equalities
    return {"objective": programme.objective.tolist(), "nonnegative": list(programme.nonnegative),
            "blocks": [{"size": size, "linear": entries(linear), "constant": constant.tolist()} for size, linear, constant in programme.blocks],
            "equalities": None if equal is None else {"linear": entries(equal[0]), "constant": equal[1].tolist()}}
