"""The certified region as a figure of characters: a step summary shows no images of its own, and a log shows none at all."""

from __future__ import annotations

from pathlib import Path

from certctl.cli.output import clean
from certctl.result import Result

WIDTH, HEIGHT = 57, 19
INSIDE, OUTSIDE = "█", "·"


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
    import numpy as np

    from certctl.view import view_of
    from verifiers.kernel.codes import Refusal

    try:
        view = view_of(Path(result.bundle), receipt)
    except Refusal:
        return []
    states = view.drawn.spec.states
    if not view.stages or len(states) < 2:
        return []
    lo, hi = view.domain
    first, second = (_middles(lo[k], hi[k], count) for k, count in ((0, WIDTH), (1, HEIGHT)))
    points = np.tile(view.equilibrium, (WIDTH * HEIGHT, 1))
    points[:, 0], points[:, 1] = np.tile(first, HEIGHT), np.repeat(second[::-1], WIDTH)
    inside = (view.signed(points) <= 0).reshape(HEIGHT, WIDTH)
    rows = ["".join(INSIDE if cell else OUTSIDE for cell in row) for row in inside]
    across = f"{states[0].name} from {lo[0]:.4g} to {hi[0]:.4g} {states[0].unit}"
    up = f"{states[1].name} from {lo[1]:.4g} (bottom) to {hi[1]:.4g} (top) {states[1].unit}"
    cut = " (slice through the equilibrium)" if len(states) > 2 else ""
    return [*rows, clean(f"across: {across}; up: {up}{cut}; {INSIDE} certified, {OUTSIDE} not")]


def _middles(lo: float, hi: float, count: int) -> list[float]:
    return [lo + (hi - lo) * (k + 0.5) / count for k in range(count)]
