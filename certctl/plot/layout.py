"""Whole figures of a bundle, and saving them with the bundle's digest in their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from certctl.plot import palette, sets
from certctl.plot.paths import boundary_points, simulate
from certctl.view import View, open_view
from verifiers.kernel.graph import Floats

_ZOOM = 0.25
_PANEL = 2.6


def figure(bundle: sets.Bundle, *, counterexample: Mapping[str, Any] | None = None) -> Any:
    """Draw a bundle: one panel for two states, slices through the equilibrium for every pair of more.

    Parameters
    ----------
    bundle : path or View
        A path is opened, which runs the kernel.
    counterexample : mapping, optional
        ``{"x": [...], "trajectory": [[...], ...] | None}`` as in a verdict.

    Returns
    -------
    matplotlib.figure.Figure
        Drawn without a window (Agg); save it with :func:`save`.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    view = open_view(bundle)
    n = len(view.drawn.spec.states)
    edge = boundary_points(view, 36 if n == 2 else 3000) if view.stages else np.zeros((0, n))
    paths = simulate(view, _starts(view, edge)) if edge.size else []
    pairs = list(combinations(range(n), 2)) or [(0, 0)]
    across = min(len(pairs), 3 if n <= 4 else 5)
    down = -(-len(pairs) // across)
    size = (5.2, 4.5) if n == 2 else (_PANEL * across, _PANEL * down * 0.9 + 0.5)
    with matplotlib.rc_context(palette.RC):
        page = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(page)
        panels = page.subplots(down, across, squeeze=False).ravel()
        for ax, pair in zip(panels, pairs, strict=False):
            _panel(ax, view, pair, edge, paths, counterexample)
        for ax in panels[len(pairs):]:
            ax.set_visible(False)
        entries: dict[str, Any] = {}
        for ax in panels[: len(pairs)]:
            entries |= getattr(ax, "certctl_legend", {})
        columns = 2 if n == 2 else 3
        legend = page.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return page


def save(page: Any, path: str | Path, *bundles: View) -> Path:
    """Save a figure as PNG, PDF or SVG, with the digests of all bundles drawn and the kernel's word on each in its metadata, and no date."""
    import matplotlib

    path = Path(path)
    checked = [view.receipt for view in bundles if view.receipt.bundle_digest]
    digest = "\n".join(f"bundle sha256:{receipt.bundle_digest}; kernel: {receipt.outcome}" for receipt in checked) or "no bundle was checked"
    kind = path.suffix.lower().lstrip(".")
    known: dict[str, dict[str, Any]] = {
        "png": {"Title": "certctl", "Description": digest, "Software": "certctl"},
        "pdf": {"Title": "certctl", "Subject": digest, "Keywords": digest, "Creator": "certctl", "CreationDate": None, "ModDate": None},
        "svg": {"Title": "certctl", "Description": digest, "Date": None, "Creator": "certctl"},
    }
    if kind not in known:
        raise ValueError(f"{path.name}: a figure is saved as .png, .pdf or .svg")
    with matplotlib.rc_context(palette.RC):
        page.savefig(path, metadata=known[kind], dpi=getattr(page, "certctl_dpi", palette.RC["savefig.dpi"]))
    return path


def _panel(ax: Any, view: View, pair: tuple[int, int], edge: Floats, paths: list[Floats], counterexample: Mapping[str, Any] | None) -> None:
    flat = len(view.drawn.spec.states) == 2
    window = _window(view, edge)
    sets.region(ax, view, axes=pair, window=window, resolution=401 if flat else 161)
    if edge.size:
        sets.trajectories(ax, view, axes=pair, paths=paths)
        if not flat:
            sets.shadow(ax, view, edge, axes=pair)
    if counterexample is not None:
        track = counterexample.get("trajectory")
        sets.counterexamples(ax, counterexample["x"], axes=pair, paths=[track] if track else [])
    (left, bottom), (right, top) = window[0][list(pair)], window[1][list(pair)]
    ax.set_xlim(left - 0.04 * (right - left), right + 0.04 * (right - left))
    ax.set_ylim(bottom - 0.04 * (top - bottom), top + 0.04 * (top - bottom))


def _window(view: View, edge: Floats) -> tuple[Floats, Floats]:
    """The domain, or the region's surroundings where the region fills little of the domain."""
    lo, hi = view.domain
    if not edge.size:
        return lo, hi
    low, high = edge.min(axis=0), edge.max(axis=0)
    if ((high - low) / (hi - lo)).max() > _ZOOM:
        return lo, hi
    middle, half = (low + high) / 2, 0.75 * (high - low)
    return np.maximum(lo, middle - half), np.minimum(hi, middle + half)


def _starts(view: View, edge: Floats) -> Floats:
    picked = edge[:: max(1, edge.shape[0] // (18 if edge.shape[1] == 2 else 12))]
    return np.asarray(view.equilibrium + 0.98 * (picked - view.equilibrium))
