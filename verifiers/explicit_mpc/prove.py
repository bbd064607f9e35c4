"""From an mp-QP to a bundle that the kernel has accepted: search, tree, exact hints, check."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verifiers.bundle_writer import reference, write_bundle
from verifiers.explicit_mpc import law as laws
from verifiers.explicit_mpc import problem as problems
from verifiers.explicit_mpc.partition import Partition, partition
from verifiers.explicit_mpc.piecewise import Stability, search
from verifiers.explicit_mpc.problem import Problem
from verifiers.explicit_mpc.solve import Settings, Solution, solve
from verifiers.kernel.bundle import read_file, requirement_name
from verifiers.kernel.check import Receipt, check
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import rationals
from verifiers.kernel.pwa import expected_claim
from verifiers.kernel.requirement import LawRequirement, read_law_requirement

ASSUMPTIONS = (
    "the optimisation problem is the one that is meant: that it is the MPC problem of some plant, stable or feasible in closed loop is not claimed",
    "the parameter (the measured state) is known exactly",
    "the law is evaluated in exact real arithmetic; rounding of the deployed evaluation is not covered")
OF_A_LOOP = ("the optimisation problem is the one that is meant, and the plant is the linear loop of the requirement", *ASSUMPTIONS[1:])
Loop = tuple[problems.Exact, problems.Exact]
HINTS = "proof/optimality.json"


@dataclass(frozen=True, eq=False)
class Proved:
    """A law with the kernel's word about it.

    Attributes
    ----------
    receipt : Receipt
        Of the written bundle; only ``ACCEPTED`` means proved.
    bundle : Path or None
        None unless accepted: no other bundle is left behind.
    solution : Solution
        Of the search in float64.
    partition : Partition
        Law, tree and hints.
    tree_s : float
        Seconds for tree and hints.
    function : Stability or None
        The piecewise-quadratic Lyapunov function, where one was asked for.
    """

    receipt: Receipt
    bundle: Path | None
    solution: Solution
    partition: Partition
    tree_s: float
    function: Stability | None = None


def requirement_text(problem: Problem, data: bytes, outputs: int | None = None, loop: Loop | None = None, stable: bool = False) -> bytes:
    """The requirement that the law be the optimiser of the problem, whose file has these bytes, on the problem's box.

    Parameters
    ----------
    outputs : int, optional
        Only so many leading components of z; all by default.
    loop : (A, B), optional
        The linear loop in which the law has to stay feasible.
    stable : bool
        Whether it has to be exponentially stable too.
    """
    lines = ['property   = "pwa_equivalence"           # the law is the minimiser, and has no value exactly where the problem is infeasible',
             f'problem    = {{ path = "problem.json", sha256 = "{hashlib.sha256(data).hexdigest()}" }}', 'controller = "law.json"',
             *([] if outputs is None else [f"outputs    = {outputs}"]),
             *([] if loop is None else ["# in theta+ = A theta + B u the law has a value for ever",
                                        f"loop       = {{ A = {_matrix(loop[0])}, B = {_matrix(loop[1])} }}"]),
             *(["stable     = true                         # and each such trajectory converges to the origin exponentially"] if stable else []),
             "[domain]", f"lo = {numbers(problem.lb)}", f"hi = {numbers(problem.ub)}"]
    return ("\n".join(lines) + "\n").encode("ascii")


def numbers(values: problems.Exact) -> str:
    """A vector of rationals as TOML."""
    return "[" + ", ".join(f'"{v}"' for v in values) + "]"


def _matrix(rows: problems.Exact) -> str:
    return f"[{', '.join(map(numbers, rows))}]"


def certify(problem: Problem, out: Path, *, outputs: int | None = None, loop: Loop | None = None, stable: bool = False,
            settings: Settings | None = None, force: bool = False) -> Proved:
    """Solve a problem and write a bundle, with a requirement made from the problem.

    Parameters
    ----------
    problem : Problem
    out : Path
        The bundle's folder.
    outputs : int, optional
        The law is the first so many components of z; all by default.
    loop : (A, B), optional
        The linear loop in which the law has to stay feasible.
    stable : bool
        Whether a piecewise-quadratic Lyapunov function of the loop is wanted too.

    Returns
    -------
    Proved
        The receipt says ``requirement_source`` embedded: whoever relies on the law keeps requirement.toml and problem.json themselves.

    Raises
    ------
    BadProblem, TooManyLeaves, NotFeasible, NoFunction, FileExistsError
    """
    data = problems.to_json(problem)
    text = requirement_text(problem, data, outputs, loop, stable)
    wanted = read_law_requirement(text, requirement_name(out / "requirement.toml"))
    if wanted is None:
        raise ArithmeticError("the requirement that was written is not one of a law")
    return _write(problem, data, text, wanted, None, out, settings, force)


def certify_requirement(path: Path, out: Path, *, settings: Settings | None = None, force: bool = False) -> Proved:
    """Answer a requirement with the property ``pwa_equivalence``.

    Raises
    ------
    Refusal
        ``PROBLEM_MISMATCH`` when the problem's file has another sha256 than the requirement says, and what its readers raise.
    BadProblem, TooManyLeaves, NotFeasible, NoFunction, FileExistsError
    """
    text = read_file(path, str(path))
    wanted = read_law_requirement(text, requirement_name(path))
    if wanted is None:
        raise Refusal(Code.BAD_REQUIREMENT, "property", "only a requirement of pwa_equivalence is answered here")
    data = read_file((path.parent / wanted.problem).resolve(), wanted.problem)
    if hashlib.sha256(data).hexdigest() != wanted.problem_sha256:
        raise Refusal(Code.PROBLEM_MISMATCH, "problem.sha256", f"{wanted.problem} has another sha256 than the requirement says")
    problem = problems.from_json(data, wanted.domain.lo, wanted.domain.hi)
    return _write(problem, data, text, wanted, path, out, settings, force)


def _write(problem: Problem, data: bytes, text: bytes, wanted: LawRequirement, own: Path | None, out: Path, settings: Settings | None,
           force: bool) -> Proved:
    solution = solve(problem, settings)
    began = time.perf_counter()
    loop = None if wanted.loop is None else (rationals(wanted.loop[0]), rationals(wanted.loop[1]))
    found = partition(problem, [region.active for region in solution.regions], wanted.outputs, loop)
    function = search(found.law, loop) if wanted.stable and loop is not None else None
    if function is not None:
        found.proof["stability"] = function.proof
    hints = (json.dumps(found.proof, sort_keys=True) + "\n").encode("ascii")
    tree_s = time.perf_counter() - began
    receipts: list[Receipt] = []

    def accepted(folder: Path) -> bool:
        receipts.append(check(folder, own))
        return receipts[-1].outcome == "ACCEPTED"

    write_bundle(out, requirement=text, plant=None, problem=data, controller=laws.to_json(found.law), functions={}, files={HINTS: hints},
                 claim=expected_claim(wanted), assumptions=ASSUMPTIONS if loop is None else OF_A_LOOP, judge=accepted, force=force,
                 obligations=[{"id": "optimality", "proof": {"kind": "pwa_tree", "hints": reference(HINTS, hints)}}],
                 producer={"tool": "certctl", "python": platform.python_version(), "numpy": np.__version__})
    receipt = receipts[-1]
    return Proved(receipt, out if receipt.outcome == "ACCEPTED" else None, solution, found, tree_s, function)
