"""What the figures share: where they go, a bundle for a requirement, the page's style, and the basin of attraction by simulation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

import certctl
from certctl.plot import palette, save
from certctl.plot.paths import jacobian
from certctl.view import View, open_view
from verifiers.kernel.graph import Bools, Floats
from verifiers.load.floats import evaluate

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 7.16
"""Inches: two columns of a conference paper, so that text is printed in the size given here."""
RC = {**palette.RC, "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
      "savefig.dpi": 300}


def output_folder() -> Path:
    """The folder named on the command line, demo-output/figures without one."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/figures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def proved(requirement: Path) -> View:
    """Prove a requirement and open the bundle that the kernel accepted; ends the program when it is not proved."""
    verdict = certctl.verify(requirement, force=True)
    if verdict.outcome != "PROVED" or verdict.bundle is None:
        raise SystemExit(f"{requirement}: {verdict.outcome} {verdict.code} {verdict.message}; a figure shows proved regions only")
    return open_view(verdict.bundle, requirement)


def write(page: Any, folder: Path, name: str, *views: View) -> None:
    """Save a page as PNG and PDF with the bundles' digests in the metadata, and print the paths."""
    with matplotlib.rc_context(RC):
        for suffix in (".png", ".pdf"):
            print(save(page, folder / f"{name}{suffix}", *views))
    plt.close(page)


def legend(page: Any, entries: dict[str, Any], columns: int) -> None:
    """One legend below all panels."""
    page.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns, columnspacing=1.6, handlelength=1.8)


def basin_edge(ax: Any, view: View, window: tuple[Floats, Floats], *, seconds: float, cells: int = 40, refinements: int = 4) -> bool:
    """Draw the edge of the true region of attraction in the plane, found by simulation.

    A start belongs to the region when its trajectory enters the certified set within ``seconds``.  A coarse grid of ``cells`` is halved
    ``refinements`` times where neighbours disagree, so the line is exact to ``window / (cells 2**refinements)``.

    Returns
    -------
    bool
        Whether there is an edge: False when every start of the coarse grid belongs to the region, and nothing is drawn.

    Notes
    -----
    Direction: none.  A simulation is an estimate, and a slow trajectory counts as lost.
    """
    ticks = [np.linspace(window[0][k], window[1][k], cells + 1) for k in (0, 1)]
    known = reaches(view, points(ticks), seconds).reshape(cells + 1, cells + 1)
    if known.all():
        return False
    for _ in range(refinements):
        ticks = [np.linspace(t[0], t[-1], 2 * len(t) - 1) for t in ticks]
        finer = np.repeat(np.repeat(known, 2, axis=0), 2, axis=1)[:-1, :-1]
        unsure = maximum_filter(finer, 5) != minimum_filter(finer, 5)
        finer[unsure] = reaches(view, points(ticks)[unsure.ravel()], seconds)
        known = finer
    ax.contour(ticks[0], ticks[1], known.astype(float), levels=[0.5], colors=[palette.PURPLE], linewidths=0.8, zorder=3)
    return True


def points(ticks: list[Floats]) -> Floats:
    """Points (B, 2) of the grid of two axes, row by row."""
    return np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 2)


def reaches(view: View, x: Floats, seconds: float) -> Bools:
    """Whether trajectories (Runge-Kutta, fourth order) from ``x`` (B, 2) enter the certified set in time."""
    field, (lo, hi) = view.drawn.loop.field, view.domain
    fastest = float(np.abs(np.linalg.eigvals(jacobian(field, view.equilibrium[None], (hi - lo) / 2))).max())
    step = min(0.02, 1 / fastest)  # far enough below the limit of stability of this method, 2.8 / fastest
    found, open_ = np.zeros(len(x), dtype=bool), np.arange(len(x))
    for _ in range(int(seconds / step)):
        arrived = (view.signed(x) <= 0) & ((x >= lo) & (x <= hi)).all(axis=1)
        found[open_[arrived]] = True
        keep = ~arrived & (np.abs(x) < 100 * hi).all(axis=1)
        x, open_ = x[keep], open_[keep]
        if not open_.size:
            break
        k1 = evaluate(field, x)
        k2 = evaluate(field, x + step / 2 * k1)
        k3 = evaluate(field, x + step / 2 * k2)
        x = x + step / 6 * (k1 + 2 * k2 + 2 * k3 + evaluate(field, x + step * k3))
    return found
