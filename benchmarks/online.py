"""What a law costs online: its C code and Python beside solvers of the same QP, at the same parameters."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from certctl.bridges.c_code import write_c
from certctl.view import open_view
from verifiers.explicit_mpc.law import Law
from verifiers.explicit_mpc.problem import Problem

Floats = NDArray[np.float64]
COLUMNS = ("case", "regions", "C code, µs", "Python, many, µs", "Python, one, µs", "DAQP, µs", "OSQP, µs", "DAQP / C", "largest difference, C",
           "DAQP", "OSQP")
NOTES = (
    "Online: CPU time per parameter, the mean over the same random feasible parameters (OSQP: 300 of them). C is the code of `certctl export "
    "--format c`, `gcc -O2`, called in a loop in C; Python `many` all at once in NumPy, `one` each by itself. DAQP and OSQP keep their workspace: "
    "setup once, then new linear cost and right sides and a solve through their Python interfaces, DAQP warm-started, OSQP with tolerances of "
    "1e-6; the interface's own share is in their figures. Differences are of the first input from the law in float64.",
)
_DRIVER = """#include "law.h"
void many(const double *x, double *u, int count);
void many(const double *x, double *u, int count)
{
    for (int i = 0; i < count; ++i)
        law_command(x + i * LAW_STATES, u + i * LAW_INPUTS);
}
"""


def row(name: str, problem: Problem, law: Law, bundle: Path, regions: int, count: int = 2000, seed: int = 0) -> tuple[object, ...]:
    """Measure one law; None where gcc or a solver is not on this machine.

    Parameters
    ----------
    problem, law : Problem, Law
        The law of the problem.
    bundle : Path
        Of the law, accepted.
    regions, count, seed : int
        Regions for the table; parameters that are tried, drawn uniformly from the box where the law has a value.
    """
    draw = np.random.default_rng(seed)
    points = draw.uniform(problem.lb.astype(np.float64), problem.ub.astype(np.float64), (20 * count, problem.d))
    wanted = law.evaluate(points)
    inside = np.isfinite(wanted).all(axis=1)
    points, wanted = points[inside][:count], wanted[inside][:count, 0]
    many = _timed(lambda: law.evaluate(points), len(points))[0]
    one = _timed(lambda: [law.evaluate(point[None]) for point in points[:300]], len(points[:300]))[0]
    compiled, daqp, osqp = _compiled(bundle, points, law.outputs), _daqp(problem, points), _osqp(problem, points[:300])
    times = [None if found is None else found[0] for found in (compiled, daqp, osqp)]
    errors = [None if found is None else float(np.abs(found[1] - wanted[:len(found[1])]).max()) for found in (compiled, daqp, osqp)]
    ratio = None if times[0] is None or times[1] is None else times[1] / times[0]
    return name, regions, times[0], many, one, *times[1:], ratio, *errors


def _timed(work: Callable[[], object], count: int) -> tuple[float, object]:
    """CPU microseconds for each of ``count``, and what the work gave; it is repeated until it takes long enough for the clock."""
    repeats, began, result = 0, time.process_time(), None
    while repeats < 1 or time.process_time() - began < 0.2:
        result, repeats = work(), repeats + 1
    return 1e6 * (time.process_time() - began) / (count * repeats), result


def _compiled(bundle: Path, points: Floats, outputs: int) -> tuple[float, Floats] | None:
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    folder = bundle.parent / f"{bundle.stem}-c"
    write_c(open_view(bundle), folder, "law")
    (folder / "driver.c").write_text(_DRIVER, encoding="ascii")
    subprocess.run([gcc, "-std=c99", "-O2", "-shared", "-fPIC", "-o", "code.so", "law.c", "driver.c", "-lm"], cwd=folder, check=True)
    code = ctypes.CDLL(str(folder / "code.so"))
    x, u = np.ascontiguousarray(points), np.empty((len(points), outputs))

    def work() -> Floats:
        code.many(x.ctypes.data_as(ctypes.c_void_p), u.ctypes.data_as(ctypes.c_void_p), len(x))
        return u

    spent, _ = _timed(work, len(points))
    return spent, u[:, 0].copy()


def _daqp(problem: Problem, points: Floats) -> tuple[float, Floats] | None:
    try:
        import daqp
    except ImportError:
        return None
    f = problem.floats()
    solver = daqp.Model()
    low = np.full(problem.m, -1e30)
    sense = np.zeros(problem.m, dtype=np.int32)
    solver.setup(f["H"], f["f"].copy(), f["A"], f["b"].copy(), low, sense)

    def work() -> Floats:
        found = []
        for theta in points:
            solver.update(f=f["f"] + f["F"] @ theta, bupper=f["b"] + f["B"] @ theta, blower=low)
            found.append(solver.solve()[0][0])
        return np.array(found)

    spent, values = _timed(work, len(points))
    return spent, np.asarray(values)


def _osqp(problem: Problem, points: Floats) -> tuple[float, Floats] | None:
    try:
        import osqp
        from scipy import sparse
    except ImportError:
        return None
    f = problem.floats()
    solver = osqp.OSQP()
    upper, rows = sparse.triu(sparse.csc_matrix(f["H"]), format="csc"), sparse.csc_matrix(f["A"])
    solver.setup(P=upper, q=f["f"], A=rows, l=np.full(problem.m, -np.inf), u=f["b"], verbose=False, eps_abs=1e-6, eps_rel=1e-6, max_iter=20_000)

    def work() -> Floats:
        found = []
        for theta in points:
            solver.update(q=f["f"] + f["F"] @ theta, u=f["b"] + f["B"] @ theta)
            found.append(solver.solve(raise_error=False).x[0])  # the status is not needed: the values are compared
        return np.array(found)

    spent, values = _timed(work, len(points))
    return spent, np.asarray(values)
