"""A requirement of ``imitation_iss`` for an imitated policy: demands near what is measured, for ``verify`` to prove and a person to edit."""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np

from certctl.learners.lipschitz.demonstrations import Demonstrations
from certctl.learners.lipschitz.experts import Expert, clipped
from certctl.learners.lipschitz.problem import Problem
from certctl.scaffold import Wish, requirement_text
from verifiers.kernel.graph import Floats, Graph
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.region import quadratic as quad
from verifiers.region.sampling import FloatLoop, float_quadratic

ROOM, SAMPLES = 1.15, 20_000
"""Factor between what is measured and what is demanded, and states drawn."""


def write_demand(folder: Path, name: str, problem: Problem, policy: Graph, data: Demonstrations, expert: Expert, size: str,
                 contains: tuple[tuple[str, ...], tuple[str, ...]] | None = None) -> Path | None:
    """Write ``NAME_iss.requirement.toml`` beside the policy, with ``NAME_data.csv`` and, where the expert is a graph, ``NAME_expert.onnx``.

    Parameters
    ----------
    folder : Path
        Where ``NAME.onnx`` lies.
    policy : Graph
        The policy that was exported.
    data : Demonstrations
        The pairs that it imitates; they are written as they are.
    expert : Expert
        A graph is demanded to be near on the whole domain, an MPC at the data only.
    size : str
        Size of the measurement errors, exact.
    contains : (tuple of str, tuple of str), optional
        Box that the region must hold.

    Returns
    -------
    Path or None
        The requirement.  None where no such requirement can be written: the size is zero, the expert is neither a graph nor an MPC, or the
        policy's loop is not stable in the linearisation.

    Notes
    -----
    Direction: demands are measured ones with some room, so they may be false, and ``verify`` says so.
    """
    kind = "onnx" if expert.graph is not None else expert.kind
    target = None if not Fraction(size) > 0 or kind not in ("onnx", "mpc") else measured_target(problem, policy, float(Fraction(size)))
    if target is None:
        return None
    table = folder / f"{name}_data.csv"
    table.write_text(as_csv(data), encoding="utf-8")
    lines = ["", "[target]  # where every trajectory ends, and stays whatever the errors of the measurement", f"lo = {_texts(target[0])}",
             f"hi = {_texts(target[1])}", "", "[attack]  # largest error of the measurement at each instant or step", f'size = "{size}"',
             'norm = "l2"', "", "[expert]"]
    if expert.graph is not None:
        file = folder / f"{name}_expert.onnx"
        file.write_bytes(to_onnx(expert.graph, double=True))
        x = np.random.default_rng(0).uniform(*problem.box, (SAMPLES, len(problem.box[0])))
        gap = np.linalg.norm(clipped(problem, evaluate(policy, x)) - clipped(problem, evaluate(expert.graph, x)), axis=1).max()
        lines += [_file(file), f'error = "{_above(gap)}"']
    else:
        file = folder / f"{name}_expert.toml"
        file.write_text(f"# {expert.says}\n", encoding="utf-8")
        lines += ['kind  = "mpc"', _file(file)]
    missed = np.linalg.norm(clipped(problem, evaluate(policy, data.states)) - data.inputs, axis=1).max()
    lines += ["", "[data]", _file(table), f'error = "{_above(missed)}"']
    corners = tuple(str(v) for v in problem.domain[0]), tuple(str(v) for v in problem.domain[1])
    wish = Wish(folder, folder / f"{name}.onnx", str(folder / Path(problem.plant).name) if problem.plant.endswith(".json") else problem.plant,
                "imitation_iss", problem.time, problem.dt, problem.method, domain=corners, contains=contains, parameters=problem.parameters)
    path = folder / f"{name}_iss.requirement.toml"
    path.write_text(requirement_text(wish) + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def measured_target(problem: Problem, policy: Graph, size: float) -> tuple[Floats, Floats] | None:
    """Corners (n,), (n,) of the box about the least ellipsoid of the linearised loop's Lyapunov function outside of which, at samples and under
    sampled errors of the size, the function decreases; with some room.  None where the linearisation is not stable, or where it nowhere does."""
    lo, hi = problem.box
    rest, n = problem.rest[0], len(lo)
    loop = FloatLoop(loop_graph(problem, policy, np.zeros(n)), problem.time)
    p = quad.from_linearisation(loop.jacobian(rest), problem.time, np.diag(1 / np.minimum(hi - rest, rest - lo) ** 2))
    if p is None:
        return None
    matrix = np.array([[float(v) for v in row] for row in quad.make(p, tuple(problem.spec.equilibrium_x)).matrix])
    rng = np.random.default_rng(0)
    x = rest + 10.0 ** rng.uniform(-4, 0, (SAMPLES, 1)) * rng.uniform(lo - rest, hi - rest, (SAMPLES, n))
    moved = tuple(loop_graph(problem, policy, size * np.array(way)) for way in _signs(n))
    function = float_quadratic(matrix, rest, FloatLoop(loop.graph, problem.time, moved))
    value, change = function.value_and_decrease(x)
    edge = float(np.min(np.minimum(hi - rest, rest - lo) ** 2 / np.diag(np.linalg.inv(matrix))))
    level = ROOM * float(value[~(change < 0) & (value < edge)].max(initial=0.0))
    if not 0 < level < edge:
        return None
    half = np.sqrt(level * np.diag(np.linalg.inv(matrix)))
    return rest - half, rest + half


def loop_graph(problem: Problem, policy: Graph, error: Floats) -> Graph:
    """The closed loop in which the policy sees the state plus a constant error (n,)."""
    from verifiers.kernel.graph import Affine, Builder
    from verifiers.kernel.plant import closed_loop

    b = Builder()
    x = b.affine(b.input(len(error)), Affine(np.eye(len(error)), error))
    return closed_loop(problem.spec, b.build(b.inline(policy, [x])), problem.table, time=problem.time,
                       dt=Fraction(problem.dt) if problem.dt else None, method=problem.method or None).field


def as_csv(data: Demonstrations) -> str:
    """The pairs as the text that the kernel reads: names with units, then a row of numbers for each pair."""
    head = ",".join(f"{name} [{unit}]" for name, unit in (*data.state_signals, *data.input_signals))
    rows = np.concatenate([data.states, data.inputs], axis=1)
    rows = np.where(np.abs(rows) < 1e-90, 0.0, rows)  # an exponent has two digits there
    return "\n".join([head, *(",".join(repr(float(v)) for v in row) for row in rows)]) + "\n"


def _signs(n: int) -> list[list[int]]:
    return [[1 if k >> i & 1 else -1 for i in range(n)] for k in range(min(2**n, 16))]


def _file(path: Path) -> str:
    return f'file  = {{ path = {json.dumps(path.name)}, sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}" }}'


def _above(value: float) -> str:
    """A number of two digits above a measured one, with some room."""
    wanted = max(ROOM * value, 1e-9)
    step = 10.0 ** (math.floor(math.log10(wanted)) - 1)
    return f"{math.ceil(wanted / step) * step:.12f}".rstrip("0")


def _texts(values: Floats) -> str:
    return json.dumps([f"{v:.6f}" for v in values])
