r"""A tree of boxes along the axes of a region, each of which counts with the share that lies inside: the certified volume beyond three states.

Boxes that lie inside hold next to nothing of a region in six states.  The kernel measures what a bound of V by independent pieces leaves of each box
(:mod:`verifiers.kernel.cut`), which loses a term of second order in the box's width.  The axes are those in which the region's boundary has unit
covariance, so that V is nearly a sum of squares and its mixed terms, which that bound takes at their worst, are small.  Boxes are halved where the
most is lost.

Direction: a volume found here is one that the kernel finds in the same tree; samples choose the axes and where to halve, never what counts.
"""

from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np

from verifiers.kernel.cut import pieces, share, turned
from verifiers.kernel.graph import Floats
from verifiers.kernel.local import Matrix, Vector
from verifiers.kernel.stage import Stage
from verifiers.kernel.tree import INSIDE, NOTHING, TAYLOR
from verifiers.load.floats import evaluate
from verifiers.smt.branch_and_bound import UNDECIDED, pack

MANY_STATES = 4
"""States from which a box tree along the region's axes is so much smaller that it is worth a map to the plant's coordinates (docs/decisions/0003)."""
RAYS, LADDER, HALVINGS, ROUNDS, BATCH = 4000, 200, 30, 4, 512
"""Rays that look for the boundary, steps of each and halvings of the step that crosses it; changes of axes; boxes read at once."""
CURVED = 0.5
"""Share of the bends in the pieces from which a box is so wide that nothing is known of how much lies inside."""
ROOM, INNER, BITS = 1.02, 1 - 2.0**-20, 24
"""The box about the region over the samples' own; the box in the domain over the domain, so that its faces count; the bits of a number of a frame."""


def axes(stage: Stage, origin: Vector, seed: int = 0) -> list[Matrix]:
    """Some T (n, n) with most of the region in ``{origin + T y: |y_i| <= 1}``: along the domain's axes, and along those in which the region's
    boundary is nearly as wide one way as another, where rays from the origin find it."""
    rng, centre, n = np.random.default_rng(seed), np.array([float(v) for v in origin]), len(origin)
    below = stage.function.thresholds(stage.level)[0]
    t = np.diag(np.maximum(stage.hi - centre, centre - stage.lo) * INNER)
    found = [_rational(t)]
    for _ in range(ROUNDS):
        s = rng.standard_normal((RAYS, n))
        s = (s / np.linalg.norm(s, axis=1, keepdims=True)) @ t.T
        r = _distances(stage, centre, s, below)
        weight = r**n
        if not weight.sum() > 0:
            return found
        x = s * r[:, None]
        try:
            t = np.linalg.cholesky((x * (weight / weight.sum())[:, None]).T @ x) * n**0.5
        except np.linalg.LinAlgError:
            return found
    y = np.linalg.solve(t, x.T).T
    return [*found, _rational(t * np.abs(y).max(axis=0) * ROOM)]


def round_axes(stage: Stage, origin: Vector) -> Matrix | None:
    """Axes in which a region is nearly round, for its box tree too: from four states on, in continuous time, for a smooth function; else None."""
    if not (len(stage.lo) >= MANY_STATES and stage.time == "continuous" and stage.function.graph.is_smooth):
        return None
    found = axes(stage, origin)
    return found[-1] if len(found) > 1 else None


def _rational(t: Floats) -> Matrix:
    """The matrix with numbers of few bits."""
    scale = [Fraction(2) ** (BITS - math.frexp(v)[1]) for v in np.abs(t).max(axis=0).tolist()]
    return tuple(tuple(round(Fraction(v) * k) / k for v, k in zip(row, scale, strict=True)) for row in t.tolist())


def _distances(stage: Stage, centre: Floats, s: Floats, below: float) -> Floats:
    """How far along s (R, n) the region first ends, in it or at the domain's end."""
    with np.errstate(all="ignore"):
        end = np.where(s > 0, (stage.hi - centre) / s, (stage.lo - centre) / s)
    end = np.nanmin(np.where(s == 0, np.inf, end), axis=1)

    def inside(r: Floats, s: Floats) -> np.ndarray:
        return np.asarray(evaluate(stage.function.graph, centre + r[:, None] * s)[:, 0] <= below)

    low, high, open_ = np.zeros(len(s)), end.copy(), np.ones(len(s), dtype=bool)
    for k in range(1, LADDER + 1):
        at = np.flatnonzero(open_)
        if not at.size:
            break
        r = end * 1e-4 ** (1 - k / LADDER)
        good = np.zeros(len(s), dtype=bool)
        good[at] = inside(r[at], s[at])
        low, high = np.where(open_ & good, r, low), np.where(open_ & ~good, r, high)
        open_ &= good
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        good = inside(middle, s)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return low


def grow_cuts(stage: Stage, frame: Matrix, origin: Vector, *, missing: float, most: int, seconds: float) -> tuple[bytes, float]:
    """Tree over ``y`` in [-1, 1]^n and the volume that it holds, in y.

    Parameters
    ----------
    stage : Stage
        Its function, level and domain.
    frame, origin
        ``x = origin + frame y``.
    missing : float
        The search ends when no more than this share of the volume found is lost in boxes.
    most, seconds
        No box is halved after this time, nor where there are more than ``most`` leaves.
    """
    deadline, here, below = time.monotonic() + seconds, turned(stage, frame, origin), stage.function.thresholds(stage.level)[0]
    n = len(origin)
    lo, hi = -np.ones((1, n)), np.ones((1, n))
    tags, splits, kept, lost, leaves = [], [], 0.0, 0.0, 0
    while True:
        parts = [_measure(here, below, lo[k:k + BATCH], hi[k:k + BATCH]) for k in range(0, len(lo), BATCH)]
        held, loss, axis = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        allowed = missing * (kept + float(held.sum()))
        opened = np.flatnonzero(loss > allowed / (2 * most))
        room = (most - leaves - len(lo) + 1) // 2  # at the end those boxes are halved, level by level, that lose the most
        if lost + float(loss.sum()) <= allowed or room < 1 or time.monotonic() > deadline:
            opened = opened[:0]
        elif opened.size > room:
            opened = np.sort(opened[np.argpartition(-loss[opened], room - 1)[:room]])
        tag = np.where(held > 0, INSIDE + TAYLOR, NOTHING).astype(np.uint8)
        tag[opened] = UNDECIDED
        tags.append(tag)
        splits.append(axis)
        closed = tag != UNDECIDED
        kept, lost, leaves = kept + float(held[closed].sum()), lost + float(loss[closed].sum()), leaves + int(closed.sum())
        if not opened.size:
            return pack(tags, splits)[0], kept
        axis = axis[opened]
        lo, hi = np.repeat(lo[opened], 2, axis=0), np.repeat(hi[opened], 2, axis=0)
        at = np.arange(opened.size)
        middle = 0.5 * lo[2 * at, axis] + 0.5 * hi[2 * at, axis]
        hi[2 * at, axis] = lo[2 * at + 1, axis] = middle


def _measure(stage: Stage, below: float, lo: Floats, hi: Floats) -> tuple[Floats, Floats, np.ndarray]:
    """Of each box (B, n): the volume that counts, about what is lost, and the axis along which to halve it."""
    t, a, b, worst = pieces(stage.function, below, lo, hi)
    volume, bend, fits = (hi - lo).prod(axis=1), 0.5 * (a - b), stage.within(lo, hi)
    held = np.where(fits, share(t, a, b) * volume, 0.0)
    bent = bend.sum(axis=1)
    there = share(t + np.where(bent > CURVED, 1.0, 0.25) * bent + 2 * worst, a, b) * volume
    unknown = ~np.isfinite(t + bent + worst)
    loss = np.where(unknown, volume, np.maximum(there - held, 0.0))
    axis = np.where(fits[:, None] & ~unknown[:, None], bend, hi - lo).argmax(axis=1)
    return held, loss, axis
