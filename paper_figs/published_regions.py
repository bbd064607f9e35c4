"""Published policies and Lyapunov networks in the plane: certified region, true region by simulation, and the witness against one claim.

    python -m paper_figs.published_regions [FOLDER]   # default demo-output/figures; PNG and PDF, about a minute

Needs the reference cases beside the repository and skips with a sentence where they are absent.  Each region is drawn from a bundle that
the kernel accepts in this run; the digests stand in the files' metadata.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from benchmarks.pairs import Pair, read_pair
from certctl import falsify, plot
from certctl.plot import palette
from certctl.view import View
from paper_figs import common
from verifiers.load.floats import evaluate


@dataclass(frozen=True)
class Panel:
    """A case, the level to prove, its title, the frame as a share of the domain, and seconds until a start counts as lost."""

    case: str
    level: str
    title: str
    frame: float
    seconds: float


PANELS = (Panel("van_seed0", "0.99", "(a) van der Pol, V ≤ 0.99", 1.06, 20.0),
          Panel("pendulum_big_seed3", "0.98", "(b) pendulum, V ≤ 0.98", 1.06, 8.0),
          Panel("path_big_seed0", "max", "(c) path tracking, V ≤ {level:.6f}", 1.06, 20.0))


def witness(pair: Pair, folder: Path) -> np.ndarray:
    """The state that refutes the published level of a case."""
    answer = falsify(pair.write(folder, pair.level))
    if answer.outcome != "REFUTED" or answer.counterexample is None:
        raise SystemExit(f"{pair.name} at its published level {pair.level} was not refuted: {answer.outcome} {answer.code}")
    return np.array(answer.counterexample["x"])


def zoom(ax: plt.Axes, view: View, x: np.ndarray, level: float) -> None:
    """Inset around the witness: the certified edge, the published level set beyond it, and the witness in between."""
    half = np.array([0.005, 0.005])  # m, rad
    inset = ax.inset_axes([0.09, 0.07, 0.24, 0.24], zorder=8)
    plot.region(inset, view, window=(x - half, x + half))
    first, second = (np.linspace(a - h, a + h, 201) for a, h in zip(x, half, strict=True))
    values = evaluate(view.stages[-1].graph, np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)).reshape(201, 201)
    inset.contour(first, second, values, levels=[level], colors=[palette.BLACK], linestyles="dotted", linewidths=0.9)
    plot.counterexamples(inset, x)
    inset.set(xlim=(first[0], first[-1]), ylim=(second[0], second[-1]), xlabel="", ylabel="", xticks=[], yticks=[])
    inset.set_title("± 0.005", fontsize=6, pad=2)
    inset.spines[:].set(visible=True, linewidth=0.5, color=palette.GREY)
    ax.indicate_inset_zoom(inset, edgecolor=palette.GREY, linewidth=0.5)


def main() -> int:
    """Prove, refute, draw; absent cases are a sentence and exit code 0."""
    out = common.output_folder()
    try:
        pairs = [read_pair(panel.case) for panel in PANELS]
    except FileNotFoundError as absent:
        print(f"published_regions: skipped, {absent}")
        return 0
    with tempfile.TemporaryDirectory() as scratch, plt.rc_context(common.RC):
        page, axes = plt.subplots(1, len(PANELS), figsize=(common.WIDTH, 2.95), layout="constrained")
        entries, views, everywhere = {}, [], []
        for ax, panel, pair in zip(axes, PANELS, pairs, strict=True):
            view = common.proved(pair.write(Path(scratch) / panel.case, panel.level))
            views.append(view)
            lo, hi = view.domain
            plot.region(ax, view)
            plot.trajectories(ax, view)
            if not common.basin_edge(ax, view, (panel.frame * lo, panel.frame * hi), seconds=panel.seconds):
                everywhere.append(panel.title[:3])
            if panel.level == "max":
                x = witness(pair, Path(scratch) / "published")
                plot.counterexamples(ax, x)
                zoom(ax, view, x, float(pair.level))
                entries[f"published level {pair.level} of (c), refuted"] = Line2D([], [], color=palette.BLACK, linestyle="dotted", linewidth=0.9)
            ax.set(xlim=(panel.frame * lo[0], panel.frame * hi[0]), ylim=(panel.frame * lo[1], panel.frame * hi[1]))
            ax.set_title(panel.title.format(level=float(view.stages[-1].level)))
            entries |= {label.split(":")[0]: key for label, key in ax.certctl_legend.items() if not label.startswith("demanded")}
        absent = f" (none in {', '.join(everywhere)}: every start converges)" if everywhere else ""
        entries[f"edge of the true region, simulated{absent}"] = Line2D([], [], color=palette.PURPLE, linewidth=0.8)
        common.legend(page, entries, 3)
        common.write(page, out, "published_regions", *views)
    return 0


if __name__ == "__main__":
    sys.exit(main())
