"""Learning from the law of explicit MPC on Seborg's reactor: curves with violations, the certified region before and after, and trajectories.

    python -m paper_figs.yann [FOLDER] [EPISODES] [LEARNER,...]     # default demo-output/figures 50 ddpg; needs "certctl[learn,mpc,rl]"

Both regions are drawn from bundles that the kernel accepts in this run; their digests stand in the files' metadata.
"""

from __future__ import annotations

import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from certctl import plot
from certctl.learners.yann.actor_critic import Settings, YannActorCritic, tests_of
from certctl.learners.yann.baselines import compare, regulator
from certctl.learners.yann.start import read_start, requirement_text
from certctl.learners.yann.task import Task
from certctl.plot import palette
from certctl.view import open_view
from paper_figs import common
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate

STEPS = 60
COLOURS = {"ddpg": palette.ORANGE, "td3": palette.PURPLE, "sac": palette.SKY}


def main() -> int:
    """Learn, compare, draw."""
    out = common.output_folder()
    episodes = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    others = [name for name in (sys.argv[3] if len(sys.argv) > 3 else "ddpg").split(",") if name]
    start = read_start(common.ROOT / "examples" / "yann" / "reactor.toml")
    requirement = requirement_text(start, [Fraction(1, 50), Fraction(1)])
    settings = Settings(episodes=episodes, steps=STEPS, every=max(1, episodes // 5))
    with tempfile.TemporaryDirectory() as scratch:
        learned = YannActorCritic(start, requirement, settings).learn(Path(scratch) / "policy", lambda step: None)
        first = open_view(learned.folder / "candidates" / "first" / "requirement.cert")
        last = open_view(learned.folder / "requirement.cert")
        if not (first.is_certified and last.is_certified):
            print("a policy is not certified; a figure shows proved regions only")
            return 1
        history = [row for row in json.loads((learned.folder / "history.json").read_text(encoding="ascii")) if "cost" in row and "violation" in row]
        task = Task(start.plant, start.model, STEPS, settings.penalty, start.has_value)
        tests, _ = tests_of(learned.folder)
        found = {name: compare(name, start, task, tests, task.start, episodes, 0).curve for name in others}
        graph = read_onnx((learned.folder / "controller.onnx").read_bytes()).graph
        with plt.rc_context(common.RC):
            page, (curves, region, path) = plt.subplots(1, 3, figsize=(common.WIDTH, 2.9), layout="constrained")
            entries = _curves(curves, history, found)
            view = plot.region(region, first)
            plot.region(region, last)
            for line, style in zip(region.collections, ("dashed", "solid"), strict=False):
                line.set_linestyle(style)
            region.set_title("(b) certified, before and after")
            _trajectories(path, task, tests, {"regulator": (regulator(start), palette.GREY), "learned": (lambda x: evaluate(graph, x), palette.BLUE)})
            entries |= region.certctl_legend | path.certctl_legend
            common.legend(page, entries, 4)
            common.write(page, out, "yann", view, last)
    print(f"test cost {learned.figures['initial_cost']:.6g} before, {learned.figures['final_cost']:.6g} after")
    return 0


def _curves(ax: Any, history: list[dict[str, Any]], others: dict[str, tuple[tuple[float, int], ...]]) -> dict[str, Any]:
    """Costs of the episodes of training; a cross is an episode that broke a limit."""
    entries: dict[str, Any] = {}
    series = {"YANN": ([(row["cost"], STEPS) for row in history], [row["violation"] for row in history], palette.BLUE)}
    series |= {name.upper(): (list(curve), [length < STEPS for _, length in curve], COLOURS[name]) for name, curve in others.items()}
    for name, (rows, over, colour) in series.items():
        costs, broken = np.array([cost for cost, _ in rows]), np.array(over, dtype=bool)
        steps = np.cumsum([length for _, length in rows])
        ax.plot(steps, costs, color=colour)
        ax.plot(steps[broken], costs[broken], "x", color=colour, markersize=4)
        entries[name] = Line2D([], [], color=colour)
    entries["a limit broken"] = Line2D([], [], color=palette.BLACK, marker="x", linestyle="none", markersize=4)
    ax.set(yscale="log", xlabel="steps of the plant", ylabel="cost of the episode")
    ax.set_title("(a) learning")
    return entries


def _trajectories(ax: Any, task: Task, starts: np.ndarray, policies: dict[str, Any]) -> None:
    """Temperature over time from the test starts, and its limit."""
    entries: dict[str, Any] = {}
    for name, (policy, colour) in policies.items():
        states = task.episodes(policy, starts).states
        seconds = np.arange(len(states)) * float(Fraction(task.plant.dt or "1"))
        ax.plot(seconds, states[:, :, 1], color=colour, linewidth=0.6)
        entries[name] = Line2D([], [], color=colour)
    _, hi = task.limits()
    ax.axhline(hi[1], color=palette.VERMILION, linestyle="dashed")
    entries["safety limit"] = Line2D([], [], color=palette.VERMILION, linestyle="dashed")
    ax.set(xlabel="time [min]", ylabel="T [K], deviation")
    ax.set_title("(c) the reactor's temperature")
    ax.certctl_legend = entries


if __name__ == "__main__":
    sys.exit(main())
