"""Explicit MPC: region counts reproduced, laws proved, and the search beside PPOPT's on the same problems in the same run."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import online
from benchmarks.harness import CASES, Check, Report, Table
from verifiers.explicit_mpc.condense import Limits, Model, condense
from verifiers.explicit_mpc.problem import Problem, exact, read_npz
from verifiers.explicit_mpc.prove import certify
from verifiers.explicit_mpc.solve import cross_check, solve

CLAIM = "Explicit MPC: region counts reproduced, laws proved, and the search beside PPOPT's on the same problems in the same run"
PEER = "CERTCTL_PPOPT_PYTHON"
COUNTS = {"dint_N5": 31, "cartpole_N5": 191, "facet2facet": 12, "licq4": 11, "yannrl_pend_N2": 9}
CARTPOLE = {5: 191, 6: 293, 8: 547}
NOTES = (
    "Counts of the reference cases are those of independent codes. `cartpole N` is the cart-pole of the case `cartpole_N5` with another horizon, "
    "condensed from its model here.",
    "CPU seconds of one process and thread, at the first run (nothing is warmed up). `all`: search, exact tree with its hints, and the kernel's "
    "check of every leaf.",
    *online.NOTES,
    f"PPOPT is run when {PEER} names a Python that has it (it is no dependency: it needs gurobipy), with the methods of the column, in a process of "
    "its own from the same float64 arrays; its import is not counted. A ratio against a peer that did not finish is a lower bound.",
)
_CHILD = """
import json, sys, time
import numpy as np
from ppopt.mp_solvers.solve_mpqp import mpqp_algorithm, solve_mpqp
from ppopt.mpqp_program import MPQP_Program
d = np.load(sys.argv[1])
column = lambda a: np.asarray(a, float).reshape(-1, 1)
eye = np.eye(d["lb"].size)
program = MPQP_Program(A=d["A"], b=column(d["b"]), c=column(d["f"]), H=d["F"], Q=d["H"], A_t=np.vstack([eye, -eye]),
                       b_t=np.vstack([column(d["ub"]), -column(d["lb"])]), F=d["B"])
began = time.process_time()
found = solve_mpqp(program, getattr(mpqp_algorithm, sys.argv[2]))
print(json.dumps([time.process_time() - began, len(found.critical_regions)]))
"""


@dataclass(frozen=True)
class Settings:
    """What to run: reference cases, horizons of the cart-pole, methods of the peer, and the wall seconds that it is given for each."""

    cases: tuple[str, ...] = tuple(COUNTS)
    horizons: tuple[int, ...] = (5, 8)
    methods: tuple[str, ...] = ("geometric", "graph", "combinatorial_graph")
    limit: float = 900.0


def cartpole(horizon: int) -> Problem:
    """The cart-pole of the reference case, |u| <= 10 and |phi| <= 0.4, at another horizon.

    Raises
    ------
    FileNotFoundError
        When the reference cases are not on this machine.
    """
    with np.load(_case("cartpole_N5")) as d:
        a, b, q, r, p, lb, ub = (exact(d[key], key, d[key].shape) for key in ("Asys", "Bsys", "Q", "R", "P", "lb", "ub"))
    ten, angle = exact([10.0], "u", (1,))[0], ub[2]
    x: Limits = ((None, None, -angle, None), (None, None, angle, None))
    return condense(Model(a, b, horizon, q, r, p, lb, ub, x=x, u=((-ten,), (ten,))))


def _case(name: str) -> Path:
    path = CASES / "mpqp" / f"{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"the reference case {path.name} is absent; put the reference cases beside the repository")
    return path


def peer(problem: Problem, method: str, limit: float) -> tuple[float, int] | None:
    """CPU seconds and number of regions of PPOPT; None where it is not there, does not finish or fails."""
    python = os.environ.get(PEER)
    if not python:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, **problem.floats())  # type: ignore[arg-type]
        try:
            ran = subprocess.run([python, "-c", _CHILD, str(path), method], capture_output=True, text=True, timeout=limit, check=True)
        except (subprocess.SubprocessError, OSError):
            return None
    seconds, regions = json.loads(ran.stdout.strip().splitlines()[-1])
    return float(seconds), int(regions)


def run(settings: Settings | None = None) -> Report:
    """Solve, cross-check and prove the reference cases; then the cart-pole beside the peer."""
    s = settings or Settings()
    checks, rows, races, costs = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in s.cases:
            problem = read_npz(_case(name))
            _, _, apart = cross_check(problem)
            began = time.process_time()
            found = certify(problem, Path(folder) / f"{name}.cert")
            spent = time.process_time() - began
            with np.load(CASES / "mpqp" / f"{name}__samples.npz") as samples:
                error = float(np.nanmax(np.abs(found.partition.law.evaluate(samples["theta"]) - samples["z"])))
            part = found.partition
            good = (part.regions, part.added, apart, found.receipt.outcome) == (COUNTS[name], 0, (), "ACCEPTED") and error <= 1e-9
            checks.append(Check(f"{name}: {part.regions} regions by both searches, law proved, within 1e-9 of the stored solutions", good))
            rows.append((name, problem.d, problem.m, part.regions, part.leaves, part.outside, len(part.law.halfspaces), spent, found.receipt.check_s,
                         error))
            costs.append(online.row(name, problem, part.law, Path(folder) / f"{name}.cert", part.regions))
    for horizon in s.horizons:
        problem = cartpole(horizon)
        began = time.process_time()
        regions = len(solve(problem).regions)
        own = time.process_time() - began
        checks.append(Check(f"cartpole N={horizon}: {CARTPOLE[horizon]} regions", regions == CARTPOLE[horizon]))
        found_by = {method: peer(problem, method, s.limit) for method in s.methods}
        times = [ended[0] for ended in found_by.values() if ended is not None and ended[1] == regions]
        wanted = 5 if horizon <= 5 else 10
        checks.append(Check(f"cartpole N={horizon}: at least {wanted} times faster than PPOPT's best method",
                            min(times) >= wanted * own if times else None))
        races.append((f"cartpole N={horizon}", regions, own, *(None if e is None else e[0] for e in found_by.values()),
                      min(times) / own if times else None))
    return Report(CLAIM, tuple(checks), (
        Table("Laws of the reference cases", ("case", "parameters", "rows", "regions", "leaves", "of them infeasible", "half-spaces",
                                              "all, CPU s", "kernel, wall s", "largest error"), tuple(rows)),
        Table("The search alone, CPU s", ("problem", "regions", "certctl", *(f"PPOPT {m}" for m in s.methods), "best PPOPT / certctl"), tuple(races)),
        Table("Online: the law beside solvers of the same QP", online.COLUMNS, tuple(costs)),
    ), NOTES)
