"""What a figure of a bundle shows: region, domain, demanded sets, trajectories and counterexamples, each drawn on given axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from certctl.cli.output import exact_level, round_down
from certctl.plot import palette
from certctl.plot.paths import boundary_points, simulate
from certctl.view import View, open_view
from verifiers.kernel.graph import Floats

Bundle = str | Path | View
RESOLUTION = 401


def region(ax: Any, bundle: Bundle, *, axes: tuple[int, int] = (0, 1), at: Sequence[float] | None = None, resolution: int = RESOLUTION,
           window: tuple[Floats, Floats] | None = None) -> View:
    r"""Draw the region :math:`\bigcup_k \{V_k \le c_k\} \cap D` of a bundle, or its slice where there are more than two states.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    bundle : path or View
        A path is opened, which runs the kernel.
    axes : (i, j)
        The two states to show.
    at : sequence of float, optional
        Values (n,) of the other states; default: the equilibrium.
    resolution : int
        Grid points per axis.
    window : (lo, hi), optional
        Corners (n,) of the part of the domain to sample; default: all of it.

    Returns
    -------
    View
        The opened bundle, for further drawing.

    Notes
    -----
    The certified colour is used only when the kernel has accepted this very bundle; otherwise the candidate level set is a grey dotted
    outline and says so.  The drawing samples the functions in float64 and is no proof itself; the claim is the set in the formula.
    """
    view = open_view(bundle)
    lo, hi = view.domain
    base = view.equilibrium if at is None else np.asarray(at, dtype=np.float64)
    if view.stages:
        low, high = (lo, hi) if window is None else (np.maximum(lo, window[0]), np.minimum(hi, window[1]))
        values, first, second = _on_grid(view, axes, base, low, high, resolution)
        if view.is_certified:
            ax.contourf(first, second, values, levels=[-np.inf, 0.0], colors=[palette.CERTIFIED], alpha=palette.CERTIFIED_FILL, zorder=1)
            ax.contour(first, second, values, levels=[0.0], colors=[palette.CERTIFIED], linewidths=1.3, zorder=3)
            _key(ax, "patch", region_label(view, sliced=lo.size > 2), facecolor=palette.CERTIFIED, alpha=palette.CERTIFIED_FILL,
                 edgecolor=palette.CERTIFIED)
        else:
            ax.contour(first, second, values, levels=[0.0], colors=[palette.CANDIDATE], linewidths=1.0, linestyles="dotted", zorder=3)
            _key(ax, "line", "candidate level set, NOT certified", color=palette.CANDIDATE, linestyle="dotted")
    domain(ax, view, axes, seen=window is None or bool((window[0] <= lo).any() or (window[1] >= hi).any()))
    ax.plot(*base[list(axes)], marker="+", color=palette.BLACK, markersize=7, markeredgewidth=1.0, linestyle="none", zorder=5)
    palette.label_axes(ax, view.drawn.spec.states, axes)
    return view


def region_label(view: View, sliced: bool = False) -> str:
    """Legend text of the certified region: level and certified volume; a slice says so."""
    found = view.receipt.region or {}
    level, volume = exact_level(found.get("level")), found.get("volume_lower_bound")
    level = level if len(level) <= 14 else f"{float(view.stages[-1].level):.6g}"
    text = f"certified: {found.get('function')} ≤ {level}" + (f", volume ≥ {round_down(float(volume))}" if volume else "")
    return f"{text} (slices)" if sliced else text


def domain(ax: Any, view: View, axes: tuple[int, int] = (0, 1), seen: bool = True) -> None:
    """Draw the domain dashed (``seen`` False: it lies beyond the window, as the legend then says), and the boxes that the requirement demands."""
    lo, hi = view.domain
    _rectangle(ax, lo, hi, axes, "domain" if seen else "domain (beyond this window)", edgecolor=palette.DOMAIN, linestyle="--", linewidth=0.9)
    wanted = view.requirement
    for box, label, colour in (() if wanted is None else ((wanted.contains, "demanded by contains", palette.DEMANDED),
                                                          (wanted.target, "target", palette.TARGET))):
        if box is not None:
            corners = (np.array(list(map(float, box.lo))), np.array(list(map(float, box.hi))))
            _rectangle(ax, *corners, axes, label, edgecolor=colour, linestyle="-", linewidth=1.1)


def trajectories(ax: Any, bundle: Bundle, starts: Any = None, *, axes: tuple[int, int] = (0, 1),
                 paths: Sequence[Floats] | None = None) -> list[Floats]:
    """Draw trajectories of the loop, thin; default starts lie just inside the region's edge.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    bundle : path or View
        A path is opened, which runs the kernel.
    starts : array_like, optional
        Initial states (B, n).
    axes : (i, j)
        The two states to show; with more states this is a projection.
    paths : sequence of ndarray, optional
        Trajectories that were computed before.

    Returns
    -------
    list of ndarray
        The trajectories (k, n).
    """
    view = open_view(bundle)
    if paths is None:
        points = boundary_points(view) if starts is None else np.atleast_2d(np.asarray(starts, dtype=np.float64))
        paths = simulate(view, points) if points.size else []
    discrete, i, j = view.drawn.loop.time == "discrete", *axes
    width = 0.6 if len(view.drawn.spec.states) == 2 else 0.45
    for path in paths:
        ax.plot(path[:, i], path[:, j], color=palette.TRAJECTORY, linewidth=width, alpha=0.75, zorder=2, marker="." if discrete else None,
                markersize=2)
    if paths:
        words = "trajectories" if len(view.drawn.spec.states) == 2 else "trajectories, projected"
        _key(ax, "line", words, color=palette.TRAJECTORY, linewidth=0.8)
    return list(paths)


def counterexamples(ax: Any, points: Any, *, axes: tuple[int, int] = (0, 1), paths: Sequence[Any] = ()) -> None:
    """Draw states (B, n) at which a claim is false in red, and trajectories from them where known."""
    for path in paths:
        track = np.asarray(path, dtype=np.float64)
        ax.plot(track[:, axes[0]], track[:, axes[1]], color=palette.COUNTEREXAMPLE, linewidth=0.9, zorder=6)
    states = np.atleast_2d(np.asarray(points, dtype=np.float64))
    ax.plot(states[:, axes[0]], states[:, axes[1]], marker="X", markersize=7, linestyle="none", color=palette.COUNTEREXAMPLE,
            markeredgecolor="white", zorder=7)
    _key(ax, "marker", "counterexample", color=palette.COUNTEREXAMPLE, marker="X", markeredgecolor="white", markersize=7, linestyle="none")


def shadow(ax: Any, view: View, edge: Floats, *, axes: tuple[int, int]) -> None:
    """Outline, thin and without fill, the convex hull of sampled edge points (B, n) of the region in two coordinates.

    It says how far the region reaches when the other states are not at the equilibrium; it is an estimate, not a certified set.
    """
    from scipy.spatial import ConvexHull, QhullError

    lo, hi = view.domain
    keep = list(axes)
    points = edge[:, keep]
    try:
        order = ConvexHull(points / (hi - lo)[keep]).vertices
    except QhullError:
        return  # fewer than three points that differ: nothing to outline
    outline = points[[*order, order[0]]]
    ax.plot(outline[:, 0], outline[:, 1], color=palette.GREY, linewidth=0.8, linestyle="-.", zorder=2)
    words = "hull of sampled states, projected" + ("" if view.is_certified else ", NOT certified")
    _key(ax, "line", words, color=palette.GREY, linestyle="-.", linewidth=0.8)


def on_grid(function: Callable[[Floats], Floats], axes: tuple[int, int], base: Floats, low: Floats, high: Floats,
            resolution: int) -> tuple[Floats, Floats, Floats]:
    """Values (k, k) of a function of points (B, n) on a grid of two states, the others at ``base``, and the two axes (k,)."""
    i, j = axes
    first, second = np.linspace(low[i], high[i], resolution), np.linspace(low[j], high[j], resolution)
    points = np.tile(base, (resolution * resolution, 1))
    points[:, i], points[:, j] = np.tile(first, resolution), np.repeat(second, resolution)
    parts = [function(block) for block in np.array_split(points, max(1, points.shape[0] // 20000))]
    return np.concatenate(parts).reshape(resolution, resolution), first, second


def _on_grid(view: View, axes: tuple[int, int], base: Floats, low: Floats, high: Floats, resolution: int) -> tuple[Floats, Floats, Floats]:
    values, first, second = on_grid(view.signed, axes, base, low, high, resolution)
    # Beyond a few units only the sign matters, and a plain number keeps the contour clean where a function overflows.
    return np.clip(np.nan_to_num(values, nan=1e3, posinf=1e3, neginf=-1e3), -1e3, 1e3), first, second


def _rectangle(ax: Any, lo: Floats, hi: Floats, axes: tuple[int, int], label: str, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    i, j = axes
    ax.add_patch(Rectangle((lo[i], lo[j]), hi[i] - lo[i], hi[j] - lo[j], fill=False, zorder=4, **style))
    _key(ax, "line", label, color=style["edgecolor"], linestyle=style["linestyle"], linewidth=style["linewidth"])


def _key(ax: Any, kind: str, label: str, **style: Any) -> None:
    """Remember a legend entry on the axes, once per label."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries = getattr(ax, "certctl_legend", {})
    entries.setdefault(label, Patch(**style) if kind == "patch" else Line2D([], [], **style))
    ax.certctl_legend = entries
