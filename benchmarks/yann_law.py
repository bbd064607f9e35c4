"""YANN is the law on a million points, and one constant M is not; MPC without terminal ingredients is refused, with them proved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.explicit_mpc import _case
from benchmarks.harness import ROOT, Check, Report, Table
from verifiers.explicit_mpc.condense import Limits, Model, condense
from verifiers.explicit_mpc.exact import ExactProblem
from verifiers.explicit_mpc.law import Law
from verifiers.explicit_mpc.model_file import read_model
from verifiers.explicit_mpc.partition import Critical, critical_regions, partition
from verifiers.explicit_mpc.problem import Floats, exact
from verifiers.explicit_mpc.solve import solve

CLAIM = "YANN is the law on a million points, and one constant M is not; MPC without terminal ingredients is refused, with them proved"
REACTOR = """plant = "safety_cstr"
horizon = 2
[weights]
Q = [["0.1", 0, 0, 0], [0, "0.1", 0, 0], [0, 0, "0.1", 0], [0, 0, 0, "0.1"]]
R = [["0.0001"]]
[limits]
x = { lo = ["-2", "-2", "-2", "-70"], hi = ["2", "2", "2", "5"] }
"""
TERMINAL = '[terminal]\nset = "{}"\n'
PUBLISHED = 500.0
LOOPS = {"pendulum": ("none", "invariant"), "reactor": ("none", "modal")}
"""Terminal sets of the linear loops."""
NOTES = (
    "Models: `pendulum` is `examples/yann/pendulum.toml` (Braniff and Tian's first case), `reactor` their second one on its whole box, both "
    "without a terminal set where it says none; `double integrator` is the reference case of five steps.",
    "Points of the first table: a third inside the critical regions (random convex combinations of a region's exact vertices), the rest on "
    "their facets (combinations of a facet's vertices) and all vertices, the same number in each region. They are compared with the map of the "
    "region that they were drawn from, in float64; `allowed` is 1e-9 (1 + max |K_i - K_j|). `no region` counts points for which the network "
    "says that there is none; `wrongly a value` counts, among 200,000 random points of the box, those at which the problem is infeasible and "
    "the network gives a command.",
    "`M needed` is the largest |K x + k| over the box; `constant refused` is what `refuse_constant` says about M = 500, the published constant, "
    "and the error is that of the network with this M on the first table's points.",
    "Terminal ingredients: `certctl explicit-mpc MODEL --feasible` in a process of its own. `leaves from` is its witness, a feasible state "
    "whose successor is infeasible, exact. `leave` counts, among random states (uniform in the bounding box of the feasible set) at which the "
    "law has a value, those from which the linear loop loses it within 60 steps, in float64; `longest` is the one of them that stays longest, "
    "replayed in rationals, with the steps until the problem is infeasible.",
)


@dataclass(frozen=True)
class Settings:
    """What to run: models of the first table, points, and starts of loops with their steps."""

    models: tuple[str, ...] = ("double integrator", "pendulum", "reactor")
    points: int = 1_000_000
    starts: int = 3000
    steps: int = 60


def model_of(name: str, terminal: str = "none") -> Model:
    """A model by its name, with the terminal set of that name.

    Raises
    ------
    FileNotFoundError
        When the reference cases are not on this machine.
    """
    if name == "double integrator":
        with np.load(_case("dint_N5")) as d:
            a, b, q, r, p, lb, ub = (exact(d[key], key, d[key].shape) for key in ("Asys", "Bsys", "Q", "R", "P", "lb", "ub"))
        one = Fraction(1)
        x: Limits = (tuple(lb), tuple(ub))
        return Model(a, b, 5, q, r, p, lb, ub, x=x, u=((-one,), (one,)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.toml"
        path.write_text(text_of(name, terminal), encoding="utf-8")
        return read_model(path)


def text_of(name: str, terminal: str) -> str:
    """The model's file."""
    own = REACTOR if name == "reactor" else (ROOT / "examples" / "yann" / f"{name}.toml").read_text(encoding="utf-8").split("[terminal]")[0]
    return own + (TERMINAL.format(terminal) if terminal != "none" else "")


def drawn(regions: list[Critical], count: int, seed: int = 0) -> tuple[Floats, np.ndarray, int]:
    """Points (N, d) inside regions, on their facets and at their vertices, the region of each, and how many lie on facets."""
    draw, points, owner, borders = np.random.default_rng(seed), list[Floats](), list[int](), 0
    for i, region in enumerate(regions):
        cell = region.cell
        corners = np.array([[v / vertex.point[-1] for v in vertex.point[:-1]] for vertex in cell.vertices])
        d, each = corners.shape[1], -(-count // len(regions))
        sides = [np.array([k for k, tight in enumerate(cell.tight) if tight >> row & 1]) for row in range(len(cell.path))]
        sides = [side for side in sides if len(side) >= d]
        own = [corners, combined(draw, corners, each // 3)]
        left = each - len(corners) - each // 3
        own += [combined(draw, corners[side], -(-left // len(sides))) for side in sides]
        points.append(np.concatenate(own))
        owner += [i] * len(points[-1])
        borders += len(points[-1]) - each // 3
    return np.concatenate(points), np.array(owner), borders


def combined(draw: np.random.Generator, corners: Floats, count: int) -> Floats:
    """Random convex combinations."""
    weights = draw.gamma(0.5, size=(count, len(corners))) + 1e-300
    return np.asarray(weights / weights.sum(axis=1, keepdims=True) @ corners)


def equal(s: Settings, name: str) -> tuple[tuple[object, ...], tuple[object, ...], list[Check]]:
    """Rows of the first two tables for a model."""
    import torch

    from certctl.learners.yann.network import Yann, largest, refuse_constant
    from verifiers.explicit_mpc.value import pieces

    model = model_of(name)
    problem = condense(model)
    found = partition(problem, [region.active for region in solve(problem).regions], model.B.shape[1])
    regions, own = critical_regions(problem, found.active)[0], pieces(model, found.active)
    theta, owner, borders = drawn(regions, s.points)
    gains = np.array([law.astype(np.float64) for law in own.laws])
    apart = max(np.linalg.norm(a - b, 2) for a in gains[:, :, :-1] for b in gains[:, :, :-1])
    wanted, net = np.empty((len(theta), gains.shape[1])), Yann(own)

    def error(net: Any, points: Floats) -> tuple[Floats, np.ndarray]:
        with torch.no_grad():
            parts = [net(torch.from_numpy(part)) for part in np.array_split(points, -(-len(points) // 50_000))]
        return np.concatenate([u.numpy() for u, _ in parts]), np.concatenate([outside.numpy() for _, outside in parts])

    for i, gain in enumerate(gains):
        mine = owner == i
        wanted[mine] = theta[mine] @ gain[:, :-1].T + gain[:, -1]
    command, outside = error(net, theta)
    off, nowhere, allowed = float(np.nanmax(np.abs(command - wanted))), int(outside.sum()), 1e-9 * (1 + apart)
    lo, hi = own.lb.astype(np.float64), own.ub.astype(np.float64)
    random = np.random.default_rng(1).uniform(lo, hi, (200_000, len(lo)))
    bad = int((np.isnan(found.law.evaluate(random)[:, 0]) & (error(net, random)[1] == 0)).sum())
    needed, says = float(largest(gains, lo, hi).max()), "no"
    try:
        refuse_constant(own, PUBLISHED)
    except ValueError:
        says = "yes"
    net.bound[:] = PUBLISHED
    wrong = float(np.nanmax(np.abs(error(net, theta)[0] - wanted)))
    checks = [Check(f"{name}: YANN is within 1e-9 (1 + max |K_i - K_j|) of the law on {len(theta):,} points, facets included",
                    off <= allowed and nowhere == 0 and bad == 0)]
    if name == "reactor":
        checks.append(Check("reactor: the construction with M = 500 is not the law, and is refused", says == "yes" and wrong > 1))
    return ((name, len(lo), len(regions), len(theta), borders, off, allowed, nowhere, bad), (name, needed, says, wrong), checks)


def command(name: str, terminal: str) -> dict[str, Any]:
    """What ``certctl explicit-mpc MODEL --feasible --output-format json`` says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.toml"
        path.write_text(text_of(name, terminal), encoding="utf-8")
        ran = subprocess.run([sys.executable, "-m", "certctl", "explicit-mpc", str(path), "--feasible", "--output-format", "json"], cwd=ROOT,
                             capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        found = json.loads(ran.stdout)
    except ValueError:
        raise RuntimeError(f"explicit-mpc ended with exit code {ran.returncode}: {ran.stderr[-400:]}") from None
    return {**found, "bounded": "terminal cost and set are proved" in ran.stderr}


def loops(s: Settings, name: str, terminal: str) -> tuple[tuple[object, ...], Check]:
    """A row of the last table."""
    said, model = command(name, terminal), model_of(name, terminal)
    problem = condense(model)
    found = partition(problem, [region.active for region in solve(problem).regions], model.B.shape[1])
    regions = critical_regions(problem, found.active)[0]
    corners = np.array([[v / vertex.point[-1] for v in vertex.point[:-1]] for region in regions for vertex in region.cell.vertices])
    draw, starts = np.random.default_rng(0), np.zeros((0, len(model.A)))
    while len(starts) < s.starts:
        tried = draw.uniform(corners.min(axis=0), corners.max(axis=0), (20_000, corners.shape[1]))
        starts = np.concatenate([starts, tried[np.isfinite(found.law.evaluate(tried)[:, 0])]])[:s.starts]
    a, b = model.A.astype(np.float64), model.B.astype(np.float64)
    x, alive = starts.copy(), np.zeros(len(starts), dtype=int)
    for _ in range(s.steps):
        u = found.law.evaluate(x)
        alive += np.isfinite(u[:, 0])
        x = x @ a.T + u @ b.T
    left = np.isnan(found.law.evaluate(x)[:, 0])
    longest: object = None
    if left.any():
        start = starts[left][int(alive[left].argmax())]
        steps = replayed(model, found.law, ExactProblem(problem), start, s.steps + 1)
        longest = f"({', '.join(f'{v:.6g}' for v in start)}), {steps} steps"
    witness = said.get("counterexample") or {}
    at = "({})".format(", ".join(f"{v:.6g}" for v in witness["x"])) if witness else None
    bounded = bool(said["bounded"])
    good = (said["outcome"] == "REFUTED" and bool(witness) and left.any()) if terminal == "none" else \
        (said["outcome"] == "PROVED" and bounded and not left.any())
    what = "is refused, with a state from which it leaves" if terminal == "none" else "is proved to stay feasible, with a bound of its cost"
    return ((name, terminal, found.regions, said["outcome"], at, len(starts), int(left.sum()), longest, bounded),
            Check(f"{name}: MPC with terminal set `{terminal}` {what}", good))


def replayed(model: Model, law: Law, problem: ExactProblem, start: Floats, steps: int) -> int | None:
    """Steps in rationals until the law has no value, which an exact ray of the problem confirms (inside the box); None where it keeps one."""
    x = np.array([Fraction(v) for v in start.tolist()], dtype=object)
    for k in range(steps):
        u = law.exact(tuple(x))
        if u is None:
            within = all(lo <= v <= hi for lo, v, hi in zip(law.lb, x, law.ub, strict=True))
            return k if not within or problem.active_set(x)[0] is None else None
        x = model.A @ x + model.B @ np.array(u, dtype=object)
    return None


def run(settings: Settings | None = None) -> Report:
    """Compare networks with laws, and ask for loops with and without terminal ingredients.

    Raises
    ------
    FileNotFoundError
        When PyTorch or the reference cases are not there.
    """
    s = settings or Settings()
    try:
        import torch
    except ImportError:
        raise FileNotFoundError("PyTorch is not installed") from None
    torch.set_num_threads(1)
    compared = [equal(s, name) for name in s.models]
    looped = [loops(s, name, terminal) for name, sets in LOOPS.items() if name in s.models for terminal in sets]
    return Report(CLAIM, (*(check for *_, checks in compared for check in checks), *(check for _, check in looped)), (
        Table("The network beside the law", (
            "model", "states", "regions", "points", "of them on facets", "largest difference", "allowed", "no region", "wrongly a value"),
            tuple(row for row, *_ in compared)),
        Table("One constant M = 500 for all regions", ("model", "M needed", "constant refused", "error with it"),
              tuple(row for _, row, _ in compared)),
        Table(f"Linear loops with and without terminal ingredients, {s.steps} steps", (
            "model", "terminal set", "regions", "explicit-mpc --feasible", "leaves from", "starts", "leave", "longest", "cost bounded"),
            tuple(row for row, _ in looped)),
    ), NOTES)
