"""Figures of explicit laws of two parameters: the critical regions, and the value of an output over them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from certctl.bridges.c_law import open_law
from certctl.plot import palette
from certctl.plot.styles import STYLES
from certctl.view import View
from verifiers.explicit_mpc.lattice import law_cells
from verifiers.explicit_mpc.law import Law

GRID = 241
"""Points per axis at which the law is evaluated for the second panel."""


def draw_law(view: View, style: str = "page", output: int = 0) -> Any:
    """Draw the regions of a law, and one output.

    Parameters
    ----------
    view : View
        Of an accepted bundle of ``pwa_equivalence`` with two parameters.
    style : str
        ``page``, ``column``, ``two-column`` or ``slides``.
    output : int

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When the bundle is not accepted, or about something else, or has another number of parameters.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if view.law is None or not view.is_certified:
        raise ValueError("the figure of a law needs an accepted bundle of pwa_equivalence; certctl check says what is wrong with this one")
    law = open_law(view)
    if len(law.lb) != 2 or not 0 <= output < law.outputs:
        raise ValueError(f"a law of {len(law.lb)} parameters and {law.outputs} outputs is not drawn; two parameters are needed")
    chosen = STYLES[style]
    beside = chosen.width >= 5
    with matplotlib.rc_context(chosen.rc):
        size = (chosen.width, 0.5 * chosen.width) if beside else (chosen.width, 1.6 * chosen.width)
        page = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(page)
        page.certctl_dpi = chosen.rc["savefig.dpi"]  # type: ignore[attr-defined]  # for certctl.plot.save
        panels = page.subplots(1, 2, sharey=True) if beside else page.subplots(2, 1, sharex=True)
        count = regions(panels[0], law)
        values(page, panels[1], law, output)
        panels[0].set_title(f"{count} maps on {len(law_cells(law)[1])} cells of the tree")
        panels[1].set_title("the law" if law.outputs == 1 else f"output {output + 1} of the law")
        for k, ax in enumerate(panels):
            ax.set_xlim(float(law.lb[0]), float(law.ub[0]))
            ax.set_ylim(float(law.lb[1]), float(law.ub[1]))
            if not beside or k == 0:
                ax.set_ylabel("θ₂")
            if beside or k == 1:
                ax.set_xlabel("θ₁")
    return page


def regions(ax: Any, law: Law) -> int:
    """Fill the cells of each map in one tone, and draw the tree's cuts thinly; return the number of maps with a cell."""
    from matplotlib.collections import PolyCollection

    _, cells = law_cells(law)
    by_map: dict[int, list[np.ndarray]] = defaultdict(list)
    for cell, k in cells:
        points = np.array([[v / vertex.point[-1] for v in vertex.point[:-1]] for vertex in cell.vertices])
        around = points - points.mean(axis=0)
        by_map[k].append(points[np.argsort(np.arctan2(around[:, 1], around[:, 0]))])
    tones = [palette.SKY, palette.ORANGE, palette.YELLOW, palette.BLUE, palette.PURPLE, palette.GREY, palette.VERMILION]
    order = sorted(by_map, key=lambda k: tuple(np.mean([p.mean(axis=0) for p in by_map[k]], axis=0)))
    for place, k in enumerate(order):
        ax.add_collection(PolyCollection(by_map[k], facecolor=tones[place % len(tones)], alpha=0.55, edgecolor="white", linewidth=0.4))
    return len(order)


def values(page: Any, ax: Any, law: Law, output: int) -> None:
    """Colour the box by an output, nothing where the law has no value."""
    ends = [(float(a), float(b)) for a, b in zip(law.lb, law.ub, strict=True)]
    axes = [np.linspace(a, b, GRID) for a, b in ends]
    points = np.stack(np.meshgrid(*axes, indexing="xy"), axis=-1).reshape(-1, 2)
    found = np.ma.masked_invalid(law.evaluate(points)[:, output].reshape(GRID, GRID))
    mesh = ax.pcolormesh(*axes, found, cmap="cividis", shading="nearest", rasterized=True)
    page.colorbar(mesh, ax=ax, label="u" if law.outputs == 1 else f"u{output + 1}")
