"""Imitation under a Lipschitz bound: error and cost against the bound, error against the number of samples, and both certified regions.

    python -m paper_figs.imitation [FOLDER]           # default demo-output/figures; PNG, PDF, the numbers as JSON, some minutes; torch, casadi

Pendulum with a torque limit of 2 N m.  (a), (b): policies imitated from MPC, each with its bound proved in this run, from exact demonstrations and
from ones with errors.  (c): an LQR expert (limit 6 N m), whose sup error can be enclosed.  (d): the regions of attraction of the LQR expert and of
its imitation, from bundles that the kernel accepted in this run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from certctl import plot
from certctl.learners.lipschitz.attack import attack
from certctl.learners.lipschitz.demonstrations import Demonstrations, signals_of
from certctl.learners.lipschitz.experts import Expert, Weights, ask, lqr, mpc, spread_states
from certctl.learners.lipschitz.guarantee import guarantee
from certctl.learners.lipschitz.imitation import NONE, Candidate, learn_lipschitz_imitation
from certctl.learners.lipschitz.problem import Problem, open_problem
from certctl.learners.lipschitz.regression import lipschitz_regression
from certctl.learners.lipschitz.sampling import radius_with
from certctl.learners.lipschitz.training import Settings
from certctl.plot import palette
from certctl.scaffold import Wish, requirement_text
from certctl.view import View
from paper_figs import common
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx

BOUNDS = ("0.8", "1", "1.3", "1.6", "2", "2.4", "4", "8")
COUNTS = (16, 32, 64, 128, 256, 512, 1024)
RISK, SIZE, STARTS, NOISE = 0.05, 0.1, 12, 0.4
"""Probability that the finite-sample bound fails; size of the measurement error; trajectories that are attacked; standard deviation of the
demonstrations' errors in N m."""
UNSEEN = 20_261_126
"""Seed of the states on which errors are measured; networks and epochs, those of the benchmark ``imitation``, were chosen on others."""


@dataclass(frozen=True)
class Size:
    """How much is computed: pairs from MPC, epochs of their imitation (LQR's a quarter), bounds, numbers of samples, steps of ascent."""

    pairs: int = 200
    epochs: int = 4000
    bounds: tuple[str, ...] = BOUNDS
    counts: tuple[int, ...] = COUNTS
    ascent: int = 15


def weights() -> Weights:
    """Weights of both experts."""
    return Weights(np.diag([10.0, 1.0]), np.diag([5.0]), None, 20, "1/20")


def controller(candidate: Candidate) -> Graph:
    """The exported policy."""
    return read_onnx((candidate.learned.folder / "policy.onnx").read_bytes(), "policy.onnx").graph


def against_bound(problem: Problem, size: Size, folder: Path) -> dict[str, Any]:
    """Panels (a) and (b): error on states that no policy has seen, least error on the data, nominal and attacked cost."""
    expert = mpc(problem, weights())
    states, given, _ = ask(expert, spread_states(problem, size.pairs, 0))
    unseen = ask(expert, np.random.default_rng(UNSEEN).uniform(*problem.box, (400, 2)))[:2]
    exact = Demonstrations(states, given, *signals_of(problem))
    noisy = replace(exact, inputs=given + NOISE * np.random.default_rng(3).normal(size=given.shape))
    return {"expert": steepness(expert, states[:80]), "pairs": len(exact), "exact": sweep(problem, exact, unseen, size, folder / "exact"),
            "noisy": sweep(problem, noisy, unseen, size, folder / "noisy")}


def sweep(problem: Problem, seen: Demonstrations, unseen: tuple[Floats, Floats], size: Size, folder: Path) -> list[dict[str, Any]]:
    """Policies of one data set, one row per bound, the network without one last."""
    found = learn_lipschitz_imitation(folder, bounds=[*size.bounds, NONE], data=seen, problem=problem, loop=False,
                                      settings=Settings(activation="relu", epochs=size.epochs, hidden=(24, 24), patience=size.epochs))
    starts = np.random.default_rng(2).uniform([-0.4, -1.0], [0.4, 1.0], (STARTS, 2))
    rows = []
    for candidate in found.candidates:
        if candidate.lipschitz is not None and not candidate.lipschitz.is_proved:
            raise SystemExit(f"bound {candidate.bound}: {candidate.lipschitz.outcome}; a figure shows proved bounds only")
        policy = controller(candidate)
        run = attack(problem, policy, starts, SIZE, steps=60, iterations=size.ascent, tries=1, weights=(np.diag([10.0, 1.0]), np.diag([5.0])))
        least = None if candidate.bound == NONE else float(np.sqrt(lipschitz_regression(seen, float(candidate.bound)).loss))
        rows.append({"bound": candidate.bound, "rms": candidate.learned.figures["rms"], "least": least,
                     "unseen": float(np.sqrt(((evaluate(policy, unseen[0]) - unseen[1]) ** 2).sum(axis=1).mean())),
                     "nominal": run.nominal_cost.tolist(), "attacked": run.attacked_cost.tolist()})
    return rows


def steepness(expert: Expert, states: Floats, step: float = 1e-3) -> float:
    """The largest spectral norm of the expert's difference quotients at some states: a lower estimate of its Lipschitz constant."""
    base = expert.answer(states)
    quotients = np.stack([(expert.answer(states + step * e) - base) / step for e in np.eye(states.shape[1])], axis=2)
    quotients = quotients[np.isfinite(quotients).all(axis=(1, 2))]
    return float(np.linalg.norm(quotients, 2, axis=(1, 2)).max())


def against_samples(problem: Problem, size: Size, folder: Path) -> list[dict[str, float]]:
    """Panel (c): LQR is imitated from uniform samples; its sup error enclosed, bounded from the data, and bounded before there are data."""
    expert = lqr(problem, weights())
    bound, (lo, hi), rows = "2.5", problem.box, []
    for count in size.counts:
        states, given, _ = ask(expert, np.random.default_rng(count).uniform(lo, hi, (count, 2)))
        seen = Demonstrations(states, given, *signals_of(problem))
        (candidate,) = learn_lipschitz_imitation(folder / str(count), bounds=[bound], data=seen, problem=problem, loop=False,
                                                 settings=Settings(epochs=max(40, size.epochs // max(1, count // 256)), held_out=0.0)).candidates
        report = guarantee(problem, (candidate.learned.folder / "policy.onnx").read_bytes(), candidate.lipschitz, bound, seen, expert,
                           folder=folder / "expert")
        facts = {fact.name: fact.value for fact in report.facts}
        before = facts["delta"] + (facts["alpha"] + facts["L*"]) * radius_with(lo, hi, count, RISK)
        rows.append({"count": count, "enclosed": facts["eta_direct"], "theorem": facts["eta"], "before": before, "delta": facts["delta"]})
    return rows


def regions(problem: Problem, size: Size, folder: Path) -> tuple[View, View]:
    """Panel (d): bundles of the LQR expert's loop and of its imitation's."""
    expert = lqr(problem, weights())
    (candidate,) = learn_lipschitz_imitation(folder, bounds=["2.5"], expert=expert, problem=problem, samples=size.pairs, certify=False,
                                             settings=Settings(epochs=max(40, size.epochs // 4))).candidates
    (folder / "expert.onnx").write_bytes(to_onnx(expert.graph, double=True))
    corners = tuple(tuple(str(v) for v in side) for side in problem.domain)
    own = folder / "expert.requirement.toml"
    wish = Wish(folder, folder / "expert.onnx", problem.plant, domain=corners, parameters=problem.parameters)
    own.write_text(requirement_text(wish), encoding="utf-8")
    return common.proved(own), common.proved(candidate.learned.folder / "policy_loop.requirement.toml")


def draw_bound(axes: Sequence[Any], found: dict[str, Any]) -> None:
    """Panels (a) and (b)."""
    left, right = axes
    for kind, color in (("exact", palette.BLUE), ("noisy", palette.ORANGE)):
        rows, plain = found[kind][:-1], found[kind][-1]
        x = [float(row["bound"]) for row in rows]
        left.plot(x, [row["unseen"] for row in rows], "o-", color=color, markersize=3, label=f"{kind} demonstrations")
        left.axhline(plain["unseen"], color=color, linestyle="dashed", linewidth=0.8)
    rows = [row for row in found["exact"][:-1] if row["least"] > 1e-3]
    left.plot([float(row["bound"]) for row in rows], [row["least"] for row in rows], color=palette.BLACK, linewidth=0.8,
              label="least of any policy, exact data")
    left.axvline(found["expert"], color=palette.GREY, linestyle="dotted", linewidth=0.9, label="expert's steepest slope seen")
    for kind, style in (("exact", "-"), ("noisy", "--")):
        for key, color in (("attacked", palette.VERMILION), ("nominal", palette.BLUE)):
            rows = found[kind][:-1]
            words = f"measurement errors of {SIZE}" if key == "attacked" else "no measurement errors"
            right.plot([float(row["bound"]) for row in rows], [np.mean(row[key]) for row in rows], "o" + style, color=color, markersize=3,
                       label=f"{words}, {kind} demonstrations")
    left.set(xscale="log", yscale="log", ylabel="root mean square error / (N m)", title="(a) error on unseen states against the proved bound")
    right.set(xscale="log", yscale="log", ylabel="mean cost of 3 s", title="(b) cost against the proved bound")
    left.plot([], [], color=palette.GREY, linestyle="dashed", linewidth=0.8, label="networks without bound")
    left.set_ylim(top=20 * max(row["unseen"] for row in found["exact"]))  # room for the legend
    for ax in axes:
        ax.set_xlabel("Lipschitz bound / (N m per unit of state)")
        ax.set_xticks([1, 2, 4, 10], ["1", "2", "4", "10"])
        ax.minorticks_off()
        ax.legend(loc="upper right", fontsize=5.5)


def draw_samples(ax: Any, rows: list[dict[str, float]]) -> None:
    """Panel (c)."""
    x = [row["count"] for row in rows]
    for key, style, color, label in (
            ("before", "dotted", palette.GREY, f"before the data, with probability {1 - RISK:g}"),
            ("theorem", "solid", palette.PURPLE, "from data, covering radius enclosed"), ("enclosed", "solid", palette.BLACK, "sup error, enclosed"),
             ("delta", "dashed", palette.BLUE, "largest error on the data")):
        ax.plot(x, [row[key] for row in rows], marker="o", markersize=2.5, linestyle=style, color=color, label=label)
    ax.set(xscale="log", yscale="log", xlabel="uniform samples of the expert", ylabel="error / (N m)", title="(c) sup error against samples")
    ax.set_ylim(0.5 * min(row["delta"] for row in rows), 40 * max(row["before"] for row in rows))
    ax.legend(loc="upper right", fontsize=5.5)


def draw_regions(ax: Any, expert: View, policy: View) -> None:
    """Panel (d)."""
    plot.region(ax, policy)
    lo, hi = policy.domain
    ticks = [np.linspace(a, b, 301) for a, b in zip(lo, hi, strict=True)]
    ax.contour(*ticks, expert.signed(common.points(ticks)).reshape(301, 301), levels=[0.0], colors=[palette.BLUE], linewidths=1.1,
               linestyles="dashed", zorder=4)
    edge = common.basin_edge(ax, policy, (1.3 * lo, 1.3 * hi), seconds=10.0)
    areas = [float((view.receipt.region or {})["volume_lower_bound"]) for view in (policy, expert)]
    keys = {f"imitated, certified area ≥ {areas[0]:.3f}": Line2D([], [], color=palette.CERTIFIED), f"expert, certified area ≥ {areas[1]:.3f}":
            Line2D([], [], color=palette.BLUE, linestyle="dashed")}
    if edge:
        keys["imitated, true edge by simulation"] = Line2D([], [], color=palette.PURPLE, linewidth=0.8)
    ax.legend(list(keys.values()), list(keys), loc="upper right", fontsize=5.5)
    ax.set(xlim=(1.3 * lo[0], 1.3 * hi[0]), ylim=(1.3 * lo[1], 2.0 * hi[1]), title="(d) regions of attraction")


def make(size: Size, out: Path) -> None:
    """Compute, draw, and write the numbers beside the figure."""
    problem = open_problem("pendulum", domain=(("-1", "-3"), ("1", "3")), parameters={"torque_limit": "2"})
    with tempfile.TemporaryDirectory() as scratch, plt.rc_context(common.RC):
        found = against_bound(problem, size, Path(scratch) / "bound")
        rows = against_samples(replace(problem, parameters={}), size, Path(scratch) / "samples")
        views = regions(problem, size, Path(scratch) / "regions")
        page, axes = plt.subplots(2, 2, figsize=(common.WIDTH, 5.4), layout="constrained")
        draw_bound(axes[0], found)
        draw_samples(axes[1][0], rows)
        draw_regions(axes[1][1], *views)
        common.write(page, out, "imitation", *views)
    (out / "imitation.json").write_text(json.dumps({"bound": found, "samples": rows}, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Draw the figure; a missing part is a sentence and exit code 0."""
    try:
        import casadi  # noqa: F401
        import torch  # noqa: F401
    except ImportError as absent:
        print(f"imitation: skipped, {absent.name} is not installed")
        return 0
    make(Size(), common.output_folder())
    return 0


if __name__ == "__main__":
    sys.exit(main())
