"""The certified region as a figure of characters: a step summary shows no images of its own, and a log shows none at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certctl.cli.output import clean
from certctl.result import Result

if TYPE_CHECKING:
    from certctl.view import View

WIDTH, HEIGHT = 57, 19


def raster(result: Result) -> list[str]:
    """Lines of a figure of a proved result, over the first two states (slice through the equilibrium); empty when there is nothing to draw.

    Notes
    -----
    Direction: none; the sign of V − c is taken in float64 at the middle of each cell, and the claim is the formula.  Only what the kernel accepted
    in this run is drawn: the receipt is the run's own, and the bundle is read again and must have the digest that the receipt reports.
    """
    receipt = result.receipt
    if receipt is None or not result.is_proved or receipt.outcome != "ACCEPTED" or result.bundle is None:
        return []
    from certctl.view import view_of
    from verifiers.kernel.codes import Refusal

    try:
        view = view_of(Path(result.bundle), receipt)
    except Refusal:
        return []
    return picture(view, lambda points: ["·█"[int(inside)] for inside in view.signed(points) <= 0], "█ certified, · not") if view.stages else []


def picture(view: View, mark: Callable[[Any], Sequence[str]], key: str) -> list[str]:
    """Lines of a figure over a view's domain: ``mark`` gives a character for each of the points (B, n); ``key`` says what they mean."""
    import numpy as np

    from certctl.plot.palette import unit_text

    states = view.drawn.spec.states
    if len(states) < 2:
        return []
    lo, hi = view.domain
    first, second = (_middles(lo[k], hi[k], count) for k, count in ((0, WIDTH), (1, HEIGHT)))
    points = np.tile(view.equilibrium, (WIDTH * HEIGHT, 1))
    points[:, 0], points[:, 1] = np.tile(first, HEIGHT), np.repeat(second[::-1], WIDTH)
    marks = mark(points)
    rows = ["".join(marks[k * WIDTH:(k + 1) * WIDTH]) for k in range(HEIGHT)]
    units = [f" [{unit_text(state.unit)}]" if unit_text(state.unit) else "" for state in states]
    across = f"{states[0].name}{units[0]} from {lo[0]:.4g} to {hi[0]:.4g}"
    up = f"{states[1].name}{units[1]} from {lo[1]:.4g} (bottom) to {hi[1]:.4g} (top)"
    cut = " (slice through the equilibrium)" if len(states) > 2 else ""
    return [*rows, clean(f"across: {across}; up: {up}{cut}; {key}")]


def _middles(lo: float, hi: float, count: int) -> list[float]:
    return [lo + (hi - lo) * (k + 0.5) / count for k in range(count)]
