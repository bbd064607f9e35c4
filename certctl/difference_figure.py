"""The regions of two bundles in one figure: the new one filled in the certified colour, the old one outlined."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from certctl import plot
from certctl.difference import within
from certctl.formats.raster import picture
from certctl.plot import palette
from certctl.view import View

_RESOLUTION = 301


def figure(old: View, new: View) -> Any:
    """A Matplotlib figure with one panel per pair of states; save it with :func:`certctl.plot.save`, which notes both digests.

    Only the new region is filled, and only when the kernel accepted it; the old one is a blue dashed line.  Where the old claim held and the new
    one does not, no colour says "certified".
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = len(new.drawn.spec.states)
    pairs = list(combinations(range(n), 2)) or [(0, 0)]
    across = min(len(pairs), 3)
    down = -(-len(pairs) // across)
    with matplotlib.rc_context(palette.RC):
        page = Figure(figsize=(5.2, 4.5) if n == 2 else (2.6 * across, 2.4 * down + 0.5), layout="constrained")
        FigureCanvasAgg(page)
        for ax, pair in zip(page.subplots(down, across, squeeze=False).ravel(), pairs, strict=False):
            plot.region(ax, new, axes=pair, resolution=_RESOLUTION)
            outlined = _outline(ax, old, new, pair)
            entries = dict(getattr(ax, "certctl_legend", {}))
            entries |= {"before" + ("" if old.is_certified else ", NOT certified"): outlined} if outlined is not None else {}
            (low, high), keep = _window(old, new), list(pair)
            ax.set_xlim(low[keep][0], high[keep][0])
            ax.set_ylim(low[keep][1], high[keep][1])
        legend = page.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=2)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return page


def characters(old: View, new: View) -> list[str]:
    """The same as lines of characters, for a pull request; empty when either is not certified or the states differ."""
    names = [[state.name for state in view.drawn.spec.states] if view.is_certified else [] for view in (old, new)]
    if not names[0] or names[0] != names[1]:
        return []

    def mark(points: Any) -> list[str]:
        return ["·-+█"[int(before) + 2 * int(after)] for before, after in zip(within(old, points), within(new, points), strict=True)]

    return picture(new, mark, "█ both, + only the new, - only the old, · neither")


def _outline(ax: Any, old: View, new: View, pair: tuple[int, int]) -> Any:
    from matplotlib.lines import Line2D

    (low, high), (i, j) = _window(old, new), pair
    first, second = np.linspace(low[i], high[i], _RESOLUTION), np.linspace(low[j], high[j], _RESOLUTION)
    points = np.tile(old.equilibrium, (_RESOLUTION * _RESOLUTION, 1))
    points[:, i], points[:, j] = np.tile(first, _RESOLUTION), np.repeat(second, _RESOLUTION)
    lo, hi = old.domain
    values = np.where((points >= lo).all(axis=1) & (points <= hi).all(axis=1), np.clip(np.nan_to_num(old.signed(points), nan=1.0), -1, 1), 1.0)
    if not (values <= 0).any():
        return None
    values = values.reshape(_RESOLUTION, _RESOLUTION)
    ax.contour(first, second, values, levels=[0.0], colors=[palette.BLUE], linewidths=1.2, linestyles="dashed", zorder=4)
    return Line2D([], [], color=palette.BLUE, linestyle="dashed", linewidth=1.2)


def _window(old: View, new: View) -> tuple[Any, Any]:
    low, high = (f(a, b) for f, a, b in zip((np.minimum, np.maximum), old.domain, new.domain, strict=True))
    return low - 0.04 * (high - low), high + 0.04 * (high - low)
