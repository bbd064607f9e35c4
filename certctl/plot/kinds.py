"""Whole figures by kind and style, for ``certctl plot`` and for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from certctl.plot import sets, views
from certctl.plot.laws import draw_law
from certctl.plot.styles import STYLES
from certctl.view import View, open_view

_PANELS: dict[str, Callable[[Any, View, tuple[int, int]], Any]] = {
    "region": lambda ax, view, pair: (sets.region(ax, view, axes=pair), sets.trajectories(ax, view, axes=pair), views.framed(ax, [view], pair)),
    "levels": lambda ax, view, pair: views.levels(ax, view, axes=pair),
    "field": lambda ax, view, pair: (sets.region(ax, view, axes=pair), views.field(ax, view, axes=pair)),
    "projection": lambda ax, view, pair: views.projection(ax, view, axes=pair),
}
KINDS = (*_PANELS, "responses", "compare")
"""What ``draw`` can show of a loop; ``law`` shows a law of explicit MPC."""


def draw(bundles: Sequence[sets.Bundle], kind: str = "region", *, style: str = "page", axes: tuple[int, int] | None = None,
         labels: Sequence[str] | None = None, counterexample: Mapping[str, Any] | None = None) -> Any:
    """Draw one figure.

    Parameters
    ----------
    bundles : sequence of path or View
        One bundle; several for ``compare``.  A path is opened, which runs the kernel.
    kind : str
        ``region`` (with trajectories), ``levels``, ``field``, ``projection``, ``responses`` or ``compare``; ``law`` for laws of explicit MPC.
    style : str
        ``page``, ``column``, ``two-column`` or ``slides``.
    axes : (i, j), optional
        One pair of states; default: every pair, a panel each.
    labels : sequence of str, optional
        Names for ``compare``.
    counterexample : mapping, optional
        ``{"x": [...], "trajectory": [[...], ...] | None}`` as in a verdict, drawn red.

    Returns
    -------
    matplotlib.figure.Figure
        Drawn without a window; save it with :func:`certctl.plot.save`, which notes the digests.

    Raises
    ------
    ValueError
        For an unknown kind or style, several bundles where one is drawn, or bundles of different states.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if kind not in (*KINDS, "law") or style not in STYLES:
        raise ValueError(f"there is no figure {kind!r} in style {style!r}; kinds: {', '.join(KINDS)}, law; styles: {', '.join(STYLES)}")
    if kind != "compare" and len(bundles) != 1:
        raise ValueError(f"{kind} draws one bundle, {len(bundles)} are given; compare draws several")
    opened, chosen = [open_view(bundle) for bundle in bundles], STYLES[style]
    if kind == "law":
        return draw_law(opened[0], style)
    if any(one.law is not None for one in opened):
        raise ValueError(f"{kind} draws the region of a plant's loop; a law of explicit MPC is drawn with --kind law")
    view, n = opened[0], len(opened[0].drawn.spec.states)
    if axes is not None and not (axes[0] != axes[1] and all(0 <= k < n for k in axes)):
        raise ValueError(f"axes {axes[0]}, {axes[1]} are not two different ones of the {n} states 0 to {n - 1}")
    pairs = [axes] if axes is not None else list(combinations(range(n), 2)) or [(0, 0)]
    stacked = kind == "responses"
    count = n + (len(view.drawn.spec.inputs) if view.drawn.loop.command is not None else 0) if stacked else len(pairs)
    across = 1 if stacked or count == 1 else min(count, 2 if chosen.width < 4 else 3)
    down = -(-count // across)
    with matplotlib.rc_context(chosen.rc):
        aspect = max(chosen.aspect, 0.8) if across > 1 else chosen.aspect
        height = chosen.width * (0.24 * count + 0.16) if stacked else chosen.width / across * aspect * down + 0.4
        page = Figure(figsize=(chosen.width, height), layout="constrained")
        FigureCanvasAgg(page)
        page.certctl_dpi = chosen.rc["savefig.dpi"]  # type: ignore[attr-defined]  # for certctl.plot.save
        panels = page.subplots(down, across, squeeze=False, sharex=stacked).ravel()
        if stacked:
            views.responses(panels, view)
        for ax, pair in () if stacked else zip(panels, pairs, strict=False):
            if kind == "compare":
                views.compare(ax, opened, labels, axes=pair)
            else:
                _PANELS[kind](ax, view, pair)
            if counterexample is not None:
                track = counterexample.get("trajectory")
                sets.counterexamples(ax, counterexample["x"], axes=pair, paths=[track] if track else [])
        for ax in panels[:count] if across > 1 else ():
            ax.locator_params(nbins=4)
        for ax in panels[count:]:
            ax.set_visible(False)
        entries: dict[str, Any] = {}
        for ax in panels:
            entries |= getattr(ax, "certctl_legend", {})
        columns = 1 if chosen.width < 4 or kind == "compare" else 2
        legend = page.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return page
