"""Trees that show sets to lie in a region: volume, a box, a ball.  Grown with the kernel's own tests."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from verifiers.kernel.graph import Bools, Floats
from verifiers.kernel.stage import Stage
from verifiers.kernel.tree import INNER, INSIDE, NOTHING
from verifiers.smt.branch_and_bound import UNDECIDED, pack

BATCH = 4096


def grow_cover(stage: Stage, lo: Floats, hi: Floats, *, widths: Floats, free: Callable[[Floats, Floats], Bools] | None = None,
               give_up: bool, seconds: float = 60.0) -> bytes | None:
    """Tree over the box [lo, hi] whose leaves lie in the region of the stage.

    Parameters
    ----------
    widths : (n,) array
        A box no wider than this in every coordinate is not split further.
    free : callable or None
        Boxes that need not lie in the region.
    give_up : bool
        True returns None at the first small box that does not lie in the region (a set must be covered); False makes it a NOTHING leaf
        (volume).
    """
    deadline = time.monotonic() + seconds
    low, high = lo[None], hi[None]
    tags, splits = [], []
    while low.shape[0]:
        tag = np.full(low.shape[0], UNDECIDED, dtype=np.uint8)
        with np.errstate(all="ignore"):
            for k in range(0, low.shape[0], BATCH):
                part = slice(k, k + BATCH)
                tag[part] = _decide(stage, low[part], high[part], free)
        small = ((high - low) <= widths).all(axis=1) & (tag == UNDECIDED)
        if time.monotonic() > deadline:
            small = tag == UNDECIDED
        if small.any() and give_up:
            return None
        tag[small] = NOTHING
        if not give_up:
            tag[tag == 250] = NOTHING
        elif (tag == 250).any():
            return None
        tags.append(tag)
        axis = ((high - low) / widths).argmax(axis=1)
        splits.append(axis)
        opened = np.flatnonzero(tag == UNDECIDED)
        at, axis = np.arange(opened.size), axis[opened]
        middle = 0.5 * low[opened, axis] + 0.5 * high[opened, axis]
        low, high = np.repeat(low[opened], 2, axis=0), np.repeat(high[opened], 2, axis=0)
        high[2 * at, axis] = middle
        low[2 * at + 1, axis] = middle
    return pack(tags, splits)[0]


def _decide(stage: Stage, lo: Floats, hi: Floats, free: Callable[[Floats, Floats], Bools] | None) -> np.ndarray:
    """INSIDE, INNER, NOTHING where free, 250 where the box is proved to lie outside the level set and not inside a region before."""
    tag = np.full(lo.shape[0], UNDECIDED, dtype=np.uint8)
    v_lo, v_hi = stage.value(stage.function, lo, hi)
    below, above = stage.function.thresholds(stage.level)
    tag[v_hi <= below] = INSIDE
    rest = np.flatnonzero(tag == UNDECIDED)
    if stage.inner and rest.size:
        tag[rest[stage.in_inner(lo[rest], hi[rest])]] = INNER
    if free is not None:
        rest = np.flatnonzero(tag == UNDECIDED)
        tag[rest[free(lo[rest], hi[rest])]] = NOTHING
    outside = (v_lo > above) & (tag == UNDECIDED)
    if not stage.inner:
        tag[outside] = 250
    elif outside.any():
        for function, level in stage.inner:
            outside &= stage.value(function, lo, hi)[0] > function.thresholds(level)[1]
        tag[outside] = 250
    return tag
