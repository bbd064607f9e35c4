"""Learned controllers in the plane: certified regions, the loop's true region by simulation, the estimate, and regions of other methods on one axis.

    python -m paper_figs.learned_regions [FOLDER]   # default demo-output/figures; PNG and PDF, some minutes

Each filled region is drawn from a bundle that the kernel accepts in this run; the digests stand in the files' metadata.  The published function's
region is the published level set, drawn only where the reference cases lie beside the repository, and is proved in this run too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from benchmarks.pairs import read_pair
from benchmarks.roa_learning import CASES, Case
from certctl import plot
from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.files import write_candidate
from certctl.learners.roa.zubov import Estimate, Scheme, solve
from certctl.learners.roa.zubov_learner import Settings, ZubovLearner
from certctl.plot import palette
from certctl.view import View, open_view
from paper_figs import common
from verifiers.load.floats import evaluate

PANELS = ((0, "van_seed0", "(a) van der Pol, |u| ≤ 1"), (2, "pendulum_big_seed3", "(b) pendulum, |u| ≤ 6"),
          (4, "path_big_seed0", "(c) path tracking, |u| ≤ 0.84"))
SECONDS = {"van_der_pol": 20.0, "pendulum": 8.0, "path_tracking": 30.0}
TICKS = 301


def learned(case: Case, folder: Path) -> View:
    """Learn, and open the bundle that the kernel accepted."""
    learner = ZubovLearner(case.task(), Settings(scheme=Scheme(kappa=case.kappa)))
    learner.learn(folder, lambda step: None)
    if learner.verdict is None or learner.verdict.outcome != "PROVED" or learner.verdict.bundle is None:
        raise SystemExit(f"{case.name} was not proved; a figure shows proved regions only")
    return open_view(learner.verdict.bundle, learner.requirement)


def regulator(case: Case, folder: Path) -> View:
    """The saturated regulator, with the quadratic that verify finds for it."""
    task = case.task()
    path = write_candidate(Candidate.start(task, 1.0, 6, (2, 2), task.n, np.random.default_rng(0)), folder)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("lyapunov")), encoding="utf-8")
    return common.proved(path)


def outline(ax: plt.Axes, view: View, colour: str, style: str) -> None:
    """The edge of the last stage's certified level set."""
    lo, hi = view.domain
    ticks = [np.linspace(a, b, TICKS) for a, b in zip(lo, hi, strict=True)]
    stage = view.stages[-1]
    value = evaluate(stage.graph, np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 2)).reshape(TICKS, TICKS)
    ax.contour(*ticks, value, levels=[float(stage.level)], colors=[colour], linestyles=[style], linewidths=1.0, zorder=5)


def estimated(ax: plt.Axes, case: Case, estimate: Estimate) -> None:
    """The estimate's level 1."""
    ticks = [estimate.axis * float(b) for b in case.box]
    wall = estimate.axis[:, None]**6 + estimate.axis[None, :]**6
    value = (np.minimum(estimate.cost, 3.0) + wall).T
    ax.contour(*ticks, value, levels=[1.0], colors=[palette.GREY], linestyles=["dashdot"], linewidths=0.8, zorder=4)


def main() -> int:
    """Learn, prove, draw."""
    out, views, entries, everywhere = common.output_folder(), [], {}, []
    with tempfile.TemporaryDirectory() as scratch, plt.rc_context(common.RC):
        page, axes = plt.subplots(1, len(PANELS), figsize=(common.WIDTH, 2.95), layout="constrained")
        for ax, (index, published, title) in zip(axes, PANELS, strict=True):
            case, place = CASES[index], Path(scratch) / str(index)
            view = learned(case, place / "learned")
            plot.region(ax, view)
            estimated(ax, case, solve(case.task(), Scheme(kappa=case.kappa)))
            lo, hi = view.domain
            if not common.basin_edge(ax, view, (1.06 * lo, 1.06 * hi), seconds=SECONDS[case.plant], refinements=3):
                everywhere.append(title[:3])
            peers = [("regulator, certified", regulator(case, place / "regulator"), palette.BLUE, "dotted")]
            try:
                pair = read_pair(published)
                peers.append(("published pair, certified", common.proved(pair.write(place / "published", "max")), palette.ORANGE, "solid"))
            except FileNotFoundError as missing:
                print(f"learned_regions: {missing}")
            for label, peer, colour, style in peers:
                outline(ax, peer, colour, style)
                entries[label] = Line2D([], [], color=colour, linestyle=style, linewidth=1.0)
            views += [view, *(peer for _, peer, _, _ in peers)]
            ax.set(xlim=(1.06 * lo[0], 1.06 * hi[0]), ylim=(1.06 * lo[1], 1.06 * hi[1]), title=title)
            entries |= {label.split(":")[0]: key for label, key in ax.certctl_legend.items() if not label.startswith("demanded")}
        entries["estimate by Zubov's equation"] = Line2D([], [], color=palette.GREY, linestyle="dashdot", linewidth=0.8)
        absent = f" (none in {', '.join(everywhere)}: every start converges)" if everywhere else ""
        entries[f"edge of the loop's true region, simulated{absent}"] = Line2D([], [], color=palette.PURPLE, linewidth=0.8)
        common.legend(page, entries, 3)
        common.write(page, out, "learned_regions", *views)
    return 0


if __name__ == "__main__":
    sys.exit(main())
