"""Trees that show sets to lie in a region: volume, a box, a ball.  Grown with the kernel's own tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from verifiers.kernel.graph import Bools, Floats
from verifiers.kernel.stage import Stage
from verifiers.kernel.tree import INNER, INSIDE, NOTHING
from verifiers.smt.branch_and_bound import UNDECIDED, pack

BATCH = 1024
GROUP = 256
PARALLEL_FROM = 1024
OUT = 250  # no leaf of the kernel: proved to lie outside the region
Free = Callable[[Floats, Floats], Bools]


@dataclass(frozen=True, eq=False)
class Task:
    """What a worker needs: the stage, the smallest boxes (n,), what need not be covered, whether all else must be, and when to stop."""

    stage: Stage
    widths: Floats
    free: Free | None
    give_up: bool
    deadline: float


def grow_cover(stage: Stage, lo: Floats, hi: Floats, *, widths: Floats, free: Free | None = None, give_up: bool, seconds: float = 60.0,
               executor: Executor | None = None) -> bytes | None:
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
    seconds : float
        After this time no box is split further.
    executor : Executor or None
        Where groups of boxes are worked off once there are many; None, or a ``free`` that cannot travel, works here.
    """
    task = Task(stage, widths, free, give_up, time.monotonic() + seconds)
    share = executor is not None and free is None
    grown = _grow(task, lo[None], hi[None], PARALLEL_FROM if share else 1 << 62)
    if grown is None:
        return None
    tags, splits, low, high = grown
    if executor is None or not low.shape[0]:
        return pack(tags, splits)[0]
    parts = list(executor.map(_work, *zip(*((task, low[k:k + GROUP], high[k:k + GROUP]) for k in range(0, low.shape[0], GROUP)), strict=True)))
    if any(part is None for part in parts):
        return None
    return pack(tags, splits, [tree for part in parts for tree in part or ()])[0]


def _work(task: Task, low: Floats, high: Floats) -> list[bytes] | None:
    grown = _grow(task, low, high, 1 << 62)
    return None if grown is None else pack(*grown[:2])


def _grow(task: Task, low: Floats, high: Floats, most: int) -> tuple[list[np.ndarray], list[np.ndarray], Floats, Floats] | None:
    """Tags and splits of each wave and the boxes still open when there are more than ``most``; None where the set cannot be covered."""
    tags, splits = [], []
    while 0 < low.shape[0] <= most:
        with np.errstate(all="ignore"):
            tag = np.concatenate([_decide(task.stage, low[k:k + BATCH], high[k:k + BATCH], task.free) for k in range(0, low.shape[0], BATCH)])
        small = ((high - low) <= task.widths).all(axis=1) & (tag == UNDECIDED)
        if time.monotonic() > task.deadline:
            small = tag == UNDECIDED
        small |= tag == OUT
        if small.any() and task.give_up:
            return None
        tag[small] = NOTHING
        tags.append(tag)
        axis = ((high - low) / task.widths).argmax(axis=1)
        splits.append(axis)
        opened = np.flatnonzero(tag == UNDECIDED)
        at, axis = np.arange(opened.size), axis[opened]
        middle = 0.5 * low[opened, axis] + 0.5 * high[opened, axis]
        low, high = np.repeat(low[opened], 2, axis=0), np.repeat(high[opened], 2, axis=0)
        high[2 * at, axis] = middle
        low[2 * at + 1, axis] = middle
    return tags, splits, low, high


def _decide(stage: Stage, lo: Floats, hi: Floats, free: Free | None) -> np.ndarray:
    """INSIDE, INNER, NOTHING where free, OUT where the box is proved to lie outside the level set and not inside a region before."""
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
        tag[outside] = OUT
    elif outside.any():
        for function, level in stage.inner:
            outside &= stage.value(function, lo, hi)[0] > function.thresholds(level)[1]
        tag[outside] = OUT
    return tag
