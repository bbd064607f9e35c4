"""More ways to look at a bundle: level sets, vector field, responses over time, projections, and several regions compared.

As everywhere here, only what the kernel has accepted is drawn in the certified colour, and a drawing is sampled in float64 and no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from certctl.cli.output import round_down
from certctl.plot import palette
from certctl.plot.paths import _runge_kutta, _step, boundary_points
from certctl.plot.sets import Bundle, _key, _on_grid, domain, on_grid, region_label
from certctl.view import View, open_view
from verifiers.kernel.graph import Floats
from verifiers.load.floats import evaluate
from verifiers.load.plant import clipped_command

_BELOW, _ABOVE = (0.05, 0.2, 0.45, 0.7), (1.4, 2.0, 3.0)
_DASHES = ("solid", "dashed", "dashdot", (0, (1, 1)))
_MOST_STEPS = 4000


def levels(ax: Any, bundle: Bundle, *, axes: tuple[int, int] = (0, 1), at: Sequence[float] | None = None, resolution: int = 301) -> View:
    r"""Draw level sets of the outermost function V, those of the claim's level bold.

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

    Returns
    -------
    View
        The opened bundle.

    Notes
    -----
    Level sets at and below the certified level c have the certified colour; those above c, and all of a refused bundle, are grey.
    """
    view = open_view(bundle)
    if view.stages:
        stage, base = view.stages[-1], view.equilibrium if at is None else np.asarray(at, dtype=np.float64)
        values, first, second = on_grid(lambda x: evaluate(stage.graph, x)[:, 0], axes, base, *view.domain, resolution)
        values = np.nan_to_num(values, nan=1e300)
        lowest, level = float(evaluate(stage.graph, view.equilibrium)[0]), float(stage.level)
        colour = palette.CERTIFIED if view.is_certified else palette.CANDIDATE
        inner, outer = ([lowest + share * (level - lowest) for share in shares] for shares in (_BELOW, _ABOVE))
        style = "solid" if view.is_certified else "dotted"
        ax.contour(first, second, values, levels=inner, colors=[colour], linewidths=0.7, linestyles=style, zorder=2)
        ax.contour(first, second, values, levels=[level], colors=[colour], linewidths=1.6, linestyles=style, zorder=3)
        ax.contour(first, second, values, levels=outer, colors=[palette.GREY], linewidths=0.6, linestyles="dotted", zorder=2)
        words = region_label(view, sliced=len(base) > 2) if view.is_certified else "candidate level sets, NOT certified"
        _key(ax, "line", words, color=colour, linewidth=1.6, linestyle=style)
        _key(ax, "line", f"{stage.function} above the level, nothing claimed", color=palette.GREY, linewidth=0.8, linestyle="dotted")
    _framed(ax, view, axes)
    return view


def field(ax: Any, bundle: Bundle, *, axes: tuple[int, int] = (0, 1), at: Sequence[float] | None = None, count: int = 24) -> View:
    """Draw the closed loop's vector field: streamlines of x' in continuous time, arrows along x⁺ − x in discrete time.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    bundle : path or View
        A path is opened, which runs the kernel.
    axes : (i, j)
        The two states to show; with more states this is the field's projection on a slice.
    at : sequence of float, optional
        Values (n,) of the other states; default: the equilibrium.
    count : int
        Points per axis.

    Returns
    -------
    View
        The opened bundle.
    """
    view = open_view(bundle)
    (lo, hi), base = view.domain, view.equilibrium if at is None else np.asarray(at, dtype=np.float64)
    i, j = axes
    graph, discrete = view.drawn.loop.field, view.drawn.loop.time == "discrete"
    along, first, second = on_grid(lambda x: evaluate(graph, x)[:, i] - discrete * x[:, i], axes, base, lo, hi, count)
    across = on_grid(lambda x: evaluate(graph, x)[:, j] - discrete * x[:, j], axes, base, lo, hi, count)[0]
    if discrete:
        length = np.hypot(along / (hi[i] - lo[i]), across / (hi[j] - lo[j]))
        scale = 0.8 / count / np.maximum(length, 1e-300)
        ax.quiver(first, second, along * scale, across * scale, angles="xy", scale_units="xy", scale=1, color=palette.GREY, width=0.003, zorder=1.5)
        _key(ax, "line", "direction of one step", color=palette.GREY, linewidth=0.8)
    else:
        ax.streamplot(first, second, along, across, color=palette.GREY, linewidth=0.5, arrowsize=0.6, density=1.1, zorder=1.5)
        _key(ax, "line", "vector field of the loop", color=palette.GREY, linewidth=0.8)
    _framed(ax, view, axes)
    return view


def responses(axes: Sequence[Any], bundle: Bundle, starts: Any = None, *, count: int = 6) -> View:
    """Draw states and limited commands over time, from starts just inside the region's edge.

    Parameters
    ----------
    axes : sequence of matplotlib.axes.Axes
        One per state, then one per input.
    bundle : path or View
        A path is opened, which runs the kernel.
    starts : array_like, optional
        Initial states (B, n).
    count : int
        How many starts, where none are given.

    Returns
    -------
    View
        The opened bundle.

    Raises
    ------
    ValueError
        When there is another number of axes.
    """
    view = open_view(bundle)
    spec, command = view.drawn.spec, clipped_command(view.drawn.loop)
    wanted = [*spec.states, *(spec.inputs if command is not None else ())]
    if len(axes) != len(wanted):
        raise ValueError(f"{len(axes)} axes are given; the loop has {len(spec.states)} states and {len(wanted) - len(spec.states)} inputs")
    if starts is None:
        points = boundary_points(view, count)
        points = view.equilibrium + 0.98 * (points - view.equilibrium)
    else:
        points = np.atleast_2d(np.asarray(starts, dtype=np.float64))
    if points.size:
        times, states, unit = _over_time(view, points)
        held = "steps-post" if view.drawn.loop.time == "discrete" else "default"
        rows = [states[:, :, k] for k in range(states.shape[2])]
        if command is not None:
            inputs = evaluate(command, states.reshape(-1, states.shape[2])).reshape(*states.shape[:2], -1)
            rows += [inputs[:, :, k] for k in range(inputs.shape[2])]
        for ax, values in zip(axes, rows, strict=True):
            ax.plot(times, values, color=palette.TRAJECTORY, linewidth=0.8, alpha=0.8, drawstyle=held)
        _key(axes[0], "line", "simulated responses", color=palette.TRAJECTORY, linewidth=0.8)
        axes[-1].set_xlabel("time [s]" if unit == "s" else unit)
    for ax, signal in zip(axes, wanted, strict=True):
        ax.set_ylabel(palette.axis_label(signal), parse_math=False)
    for ax, ends in zip(axes[len(spec.states):], view.drawn.loop.limits, strict=True):
        for bound in ends:
            if bound is not None:
                ax.axhline(float(bound[0] + bound[1]) / 2, color=palette.BLACK, linestyle="--", linewidth=0.8)
                _key(ax, "line", "input limit", color=palette.BLACK, linestyle="--", linewidth=0.8)
    return view


def projection(ax: Any, bundle: Bundle, *, axes: tuple[int, int] = (0, 1)) -> View:
    r"""Draw the projection of an ellipsoid on two states; where the region is no ellipsoid, the hull of sampled states.

    .. math:: \{z : z^\top S z \le c\}, \quad S = \bigl((P^{-1})_{ij}\bigr)^{-1}

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    bundle : path or View
        A path is opened, which runs the kernel.
    axes : (i, j)
        The two states to show.

    Returns
    -------
    View
        The opened bundle.

    Notes
    -----
    A point of a projection is the shadow of *some* state of the region; it is filled lightly and hatched, so that it is not taken for a slice.
    """
    from matplotlib.patches import Polygon

    from certctl.plot.sets import shadow

    view = open_view(bundle)
    ellipsoid = _ellipsoid(view)
    if ellipsoid is not None:
        matrix, centre, level = ellipsoid
        keep = list(axes)
        root = np.linalg.cholesky(np.linalg.inv(matrix)[np.ix_(keep, keep)] * level)
        angle = np.linspace(0, 2 * np.pi, 241)
        outline = centre[keep] + np.stack([np.cos(angle), np.sin(angle)], axis=1) @ root.T
        colour = palette.CERTIFIED if view.is_certified else palette.CANDIDATE
        style = {"linewidth": 1.2, "edgecolor": colour, "linestyle": "solid" if view.is_certified else "dotted"}
        ax.add_patch(Polygon(outline, facecolor="none", hatch="///" if view.is_certified else None, zorder=2, **style))
        words = region_label(view) + " (projected)" if view.is_certified else "candidate level set projected, NOT certified"
        _key(ax, "patch", words, facecolor="none", hatch="///" if view.is_certified else None, **style)
        ax.plot(*view.equilibrium[keep], marker="+", color=palette.BLACK, markersize=7, linestyle="none", zorder=5)
    elif view.stages:
        shadow(ax, view, boundary_points(view, 3000), axes=axes)
    _framed(ax, view, axes)
    return view


def compare(ax: Any, bundles: Sequence[Bundle], labels: Sequence[str] | None = None, *, axes: tuple[int, int] = (0, 1),
            resolution: int = 301) -> list[View]:
    """Draw the regions of several bundles on one pair of states, told apart by line style; slices where there are more states.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    bundles : sequence of path or View
        Each is opened, which runs the kernel on it.
    labels : sequence of str, optional
        Default: the requirements' names.
    axes : (i, j)
        The two states to show.
    resolution : int
        Grid points per axis.

    Returns
    -------
    list of View
        The opened bundles.

    Raises
    ------
    ValueError
        When the bundles' states differ: areas of different states have nothing to be compared.
    """
    views = [open_view(bundle) for bundle in bundles]
    names = list(labels) if labels is not None else [view.receipt.name for view in views]
    if len({tuple((s.name, s.unit) for s in view.drawn.spec.states) for view in views}) > 1:
        raise ValueError("the bundles have different states or units; only regions of the same states can be compared")
    for k, (view, name) in enumerate(zip(views, names, strict=True)):
        if not view.stages:
            continue
        lo, hi = view.domain
        values, first, second = _on_grid(view, axes, view.equilibrium, lo, hi, resolution)
        dashes, volume = _DASHES[k % len(_DASHES)], (view.receipt.region or {}).get("volume_lower_bound")
        if view.is_certified:
            ax.contourf(first, second, values, levels=[-np.inf, 0.0], colors=[palette.CERTIFIED], alpha=0.14, zorder=1)
            ax.contour(first, second, values, levels=[0.0], colors=[palette.CERTIFIED], linewidths=1.4, linestyles=[dashes], zorder=3)
            more = f", volume ≥ {round_down(float(volume))}" if volume else ""
            _key(ax, "line", f"{name}: certified{more}", color=palette.CERTIFIED, linewidth=1.4, linestyle=dashes)
        else:
            ax.contour(first, second, values, levels=[0.0], colors=[palette.CANDIDATE], linewidths=1.0, linestyles="dotted", zorder=3)
            _key(ax, "line", f"{name}: NOT certified", color=palette.CANDIDATE, linestyle="dotted")
        domain(ax, view, axes)
    framed(ax, views, axes)
    return views


def framed(ax: Any, opened: Sequence[View], axes: tuple[int, int]) -> None:
    """Label the axes with names and units, and show the domains of all bundles with a little air."""
    palette.label_axes(ax, opened[0].drawn.spec.states, axes)
    for k, limit in zip(axes, (ax.set_xlim, ax.set_ylim), strict=True):
        low, high = min(view.domain[0][k] for view in opened), max(view.domain[1][k] for view in opened)
        limit(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _framed(ax: Any, view: View, axes: tuple[int, int]) -> None:
    domain(ax, view, axes)
    framed(ax, [view], axes)


def _ellipsoid(view: View) -> tuple[Floats, Floats, float] | None:
    """P, centre and level where the outermost function is a quadratic whose ellipsoid lies in the domain."""
    if view.bundle is None or not view.stages or (item := view.bundle.functions[view.stages[-1].function])["kind"] != "quadratic":
        return None
    from verifiers.kernel.rational import parse_matrix, parse_vector

    (lo, hi), n = view.domain, len(view.equilibrium)
    matrix = np.array([[float(v) for v in row] for row in parse_matrix(item["matrix"], "matrix", n)])
    centre, level = np.array([float(v) for v in parse_vector(item["center"], "center", n)]), float(view.stages[-1].level)
    reach = np.sqrt(level * np.diag(np.linalg.inv(matrix)))
    return (matrix, centre, level) if (centre - reach >= lo).all() and (centre + reach <= hi).all() else None


def _over_time(view: View, starts: Floats) -> tuple[Floats, Floats, str]:
    """Times (T,), states (T, B, n), and the unit of time: ``s``, or words for steps without a length."""
    loop, rest, (lo, hi) = view.drawn.loop, view.equilibrium, view.domain
    half, discrete = (hi - lo) / 2, loop.time == "discrete"
    step = (1.0 if loop.dt is None else float(loop.dt)) if discrete else _step(loop.field, starts, rest, half)
    path = [starts]
    far = np.abs(starts - rest).max()
    with np.errstate(all="ignore"):
        while len(path) < _MOST_STEPS and np.isfinite(path[-1]).all() and np.abs(path[-1] - rest).max() > 0.02 * far:
            path.append(evaluate(loop.field, path[-1]) if discrete else _runge_kutta(loop.field, path[-1], step))
    return step * np.arange(len(path)), np.stack(path), "time step" if discrete and loop.dt is None else "s"
