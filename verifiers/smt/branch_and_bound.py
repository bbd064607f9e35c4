r"""Branch and bound: grow the box tree of a stage until every leaf shows what the kernel will ask of it.

Boxes are decided in waves of a few thousand at once with the kernel's own enclosures, so that a leaf found here is a leaf
accepted there.  A wave's undecided boxes are halved in the coordinate that contributes most to the bound of the decrease.
Work is dealt in groups of boxes through a :class:`concurrent.futures.Executor`; a group returns the pre-order bytes of its
subtrees, one byte a node, so memory stays at one byte a decided node and one wave a worker.

Direction: the search may only fail to prove.  Nothing here is trusted; the kernel re-checks every leaf.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

import numpy as np

from verifiers.kernel.graph import Bools, Floats
from verifiers.kernel.properties import Goal, judge_decrease, judge_inner
from verifiers.kernel.stage import Evaluation, Stage
from verifiers.kernel.tree import DECREASE, INNER, LEAF, OUTSIDE, TAYLOR
from verifiers.smt.skeleton import skeleton

BATCH = 1024
GROUP, SMALL_GROUP = 320, 48
PARALLEL_FROM = 768
FEW_STATES = 4
"""Up to which so few boxes are dealt out; beyond, trees are so large that a group of them would take minutes."""
FAR = 0.45
"""Share of the spread above which a bound is taken to be out of reach for both halves of a box (measured: docs/results.md)."""
SLIVER, ROUND = 1e-3, 0.2
"""Smallest side of a box that is split over its largest one, as shares of the root's, and the same in axes in which the region is round: there
0.125 to 0.25 need the fewest leaves, and 0.001 is a trap.  Boxes above the level on which nothing decreases are cut to slivers; V's bound stays."""
UNDECIDED = 255
STUCK = LEAF + 127  # no leaf of the kernel: a box given up at the depth limit, to be turned into OUTSIDE or into a failure


@dataclass(frozen=True)
class Progress:
    """State of a long search: phase, proved share of the volume, worst bound, open boxes, seconds so far and estimated left."""

    phase: str
    share: float
    worst: float
    open_boxes: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, eq=False)
class Task:
    """What a worker needs: stage, goal, depth limit of a box, a lower one for boxes of values above a bound, and whether a violation ends it all."""

    stage: Stage
    goal: Goal
    depth: int
    shallow: tuple[float, int] | None = None
    refute: bool = False

    def given_up(self, depth: Floats, v_lo: Floats) -> Bools:
        """True (B,) where a box is too deep to be split again."""
        deep = depth >= self.depth
        if self.shallow is not None:
            deep |= (v_lo > self.shallow[0]) & (depth >= self.shallow[1])
        return np.asarray(deep)


class Violated(Exception):
    """The claim fails on these whole boxes (lo, hi), each (B, n); a point of them replays."""


@dataclass(eq=False)
class Outcome:
    """Result of a search.

    ``tree`` is complete when ``finished``; ``stuck`` holds (lo, hi) of boxes given up at the depth limit; ``boxes`` counts
    evaluated boxes; ``worst`` is the largest bound of the decrease among the boxes left open, ``worst_at`` the middle of that box.
    """

    tree: bytes = b""
    finished: bool = False
    boxes: int = 0
    leaves: int = 0
    worst: float = -math.inf
    worst_at: tuple[float, ...] = ()
    stuck_lo: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    stuck_hi: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    interrupted: bool = False
    seconds: float = 0.0


@contextmanager
def process_pool(count: int | None) -> Iterator[Executor | None]:
    """An executor of ``count`` processes (both cores by default), or None for one: then the search stays in this process."""
    import os

    count = count if count is not None else min(os.cpu_count() or 1, 16)
    if count <= 1:
        yield None
        return
    try:
        context = get_context("fork")
    except ValueError:
        context = get_context()
    pool = ProcessPoolExecutor(count, mp_context=context)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, eq=False)
class Decided:
    """Boxes decided, each (B,): tag of a leaf or UNDECIDED, coordinate to split, the one after it or -1, decrease bound, least value, violated."""

    tag: np.ndarray
    split: np.ndarray
    after: np.ndarray
    bound: Floats
    v_lo: Floats
    violated: Bools


def sharpest(stage: Stage) -> Stage:
    """The stage with the leaf method that needs the least time: Taylor models where the kernel has them (measured: docs/results.md)."""
    return replace(stage, taylor=stage.time == "continuous" and stage.function.graph.is_smooth)


def decide(stage: Stage, goal: Goal, lo: Floats, hi: Floats) -> Decided:
    """Decide boxes (B, n) with the kernel's rules."""
    boxes, method = lo.shape[0], TAYLOR if stage.taylor else 0
    tag = np.full(boxes, UNDECIDED, dtype=np.uint8)
    found = stage.evaluate(lo, hi)
    above = stage.function.thresholds(stage.level)[1]
    maybe = np.flatnonzero(found.v_lo > above)
    if maybe.size:
        tag[maybe[stage.outside(lo[maybe], hi[maybe])]] = OUTSIDE + method
    if stage.image is not None:
        tag[stage.away(stage.image, lo, hi)] = OUTSIDE + method
    maybe = np.flatnonzero((tag == UNDECIDED) & _near_inner(stage, goal, lo, hi, found))
    if maybe.size:
        good = _all(judge_inner(stage, goal, lo[maybe], hi[maybe]), stage.command_within(lo[maybe], hi[maybe]))
        tag[maybe[good]] = INNER + method
    maybe = np.flatnonzero((tag == UNDECIDED) & _hopeful(stage, goal, found))
    if maybe.size:
        good = _decreasing(stage, goal, lo[maybe], hi[maybe], _pick(found, maybe))
        tag[maybe[good]] = DECREASE + method
    split, after = _split(stage, lo, hi, found)
    return Decided(tag, split, after, found.decrease, found.v_lo, (tag == UNDECIDED) & _violated(stage, goal, lo, hi, found))


def _violated(stage: Stage, goal: Goal, lo: Floats, hi: Floats, found: Evaluation) -> Bools:
    """Whole boxes within the level and outside the regions before, on which the decrease is nowhere negative: splitting is in vain."""
    bad = np.zeros(lo.shape[0], dtype=bool)
    if goal.kind != "attraction":
        return bad
    at = np.flatnonzero((found.least >= 0) & (found.v_hi <= stage.function.thresholds(stage.level)[0]))
    if stage.image is not None:
        at = at[stage.within(lo[at], hi[at])]
    for function, level in stage.inner:
        at = at[stage.value(function, lo[at], hi[at])[0] > function.thresholds(level)[1]] if at.size else at
    bad[at] = True
    return bad


def _pick(found: Evaluation, at: np.ndarray) -> Evaluation:
    image = None if found.image is None else (found.image[0][at], found.image[1][at])
    after = None if found.v_after is None else found.v_after[at]
    return Evaluation(found.v_lo[at], found.v_hi[at], found.decrease[at], found.least[at], found.scores[:, at], image, after)


def _decreasing(stage: Stage, goal: Goal, lo: Floats, hi: Floats, found: Evaluation) -> Bools:
    """The kernel's DECREASE rules on boxes whose bound is already known to be good (no second evaluation in the common case)."""
    if goal.kind == "attraction" and not stage.rate:
        return stage.stays(lo, hi, found.image) & stage.command_within(lo, hi)
    return _all(judge_decrease(stage, goal, lo, hi)[0], stage.command_within(lo, hi))


def _hopeful(stage: Stage, goal: Goal, found: Evaluation) -> Bools:
    if goal.kind == "invariance" and found.v_after is not None:
        return np.asarray(found.v_after <= stage.function.thresholds(stage.level)[0])
    # a relative margin far above the last bits in which two batches of a matrix product may differ
    return np.asarray(found.decrease < -1e-12 * np.nan_to_num(found.scores.sum(axis=0), nan=0.0, posinf=0.0))


def _near_inner(stage: Stage, goal: Goal, lo: Floats, hi: Floats, found: Evaluation) -> Bools:
    if goal.kind == "attraction":
        near = np.zeros(lo.shape[0], dtype=bool)
        from verifiers.load.floats import evaluate

        middle = 0.5 * (lo + hi)
        for function, level in stage.inner:
            near |= evaluate(function.graph, middle)[:, 0] <= function.thresholds(level)[0]
        return near
    if goal.kind == "invariance":
        return np.asarray((found.v_hi < stage.function.thresholds(stage.level)[0]) & (stage.time == "continuous"))
    return np.asarray(found.v_hi < stage.function.thresholds(goal.inner_level)[0])


def _all(rules: Sequence[tuple[object, Bools]], more: Bools) -> Bools:
    good = more.copy()
    for _, holds in rules:
        good &= holds
    return good


def _split(stage: Stage, lo: Floats, hi: Floats, found: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """The coordinate with the largest share in the bound; the widest one where the decrease is not what is missing.

    Where the bound is so far off that no half of the box can be expected to pass, the coordinate after it is chosen at once and
    the halves are not evaluated (-1: evaluate them).
    """
    wide = ((hi - lo) / (stage.hi - stage.lo)).T
    scores = np.where(np.isfinite(found.scores), found.scores, np.inf)
    known = np.isfinite(scores).all(axis=0) & (found.decrease >= 0)
    use = np.where(known, scores, wide)
    use = np.where(wide < (SLIVER if stage.image is None else ROUND) * wide.max(axis=0), 0.0, use)  # slivers help one bound and spoil all others
    first = use.argmax(axis=0)
    boxes = np.arange(first.size)
    use[first, boxes] *= 0.5
    return first, np.where(known & (found.decrease > FAR * scores.sum(axis=0)), use.argmax(axis=0), -1)


def grow(task: Task, lo: Floats, hi: Floats, depth: Floats, deadline: float = math.inf, most: int = 1 << 62
         ) -> tuple[list[np.ndarray], list[np.ndarray], Outcome, tuple[Floats, Floats, Floats, Floats]]:
    """Grow the subtrees of boxes (B, n) wave by wave.

    Returns
    -------
    (tags, splits, outcome, frontier)
        Per wave the tag and split coordinate of each node (children follow in the next wave, in pairs), and the boxes that
        are still open when there are more than ``most`` of them or time is up: lo, hi, depth, bound of the decrease on the parent.

    Raises
    ------
    Violated
        When the task asks for it and the claim fails on a whole box.
    """
    out, tags, splits = Outcome(finished=True), [], []
    stuck_lo, stuck_hi = [], []
    ahead, bound = np.full(lo.shape[0], -1), np.full(lo.shape[0], math.inf)
    while lo.shape[0]:
        if lo.shape[0] > most:
            out.finished = False
            break
        wave = decide_wave(task, lo, hi, ahead, deadline)
        if wave is None:
            out.finished = False
            break
        tag, open_ = wave.tag, ahead < 0
        out.boxes += int(open_.sum())
        if task.refute and wave.violated.any():
            raise Violated(lo[wave.violated], hi[wave.violated])
        given_up = (tag == UNDECIDED) & open_ & (task.given_up(depth, wave.v_lo) | wave.violated)
        if given_up.any():
            stuck_lo.append(lo[given_up])
            stuck_hi.append(hi[given_up])
            tag[given_up] = STUCK - LEAF
        tags.append(tag)
        splits.append(wave.split)
        opened = np.flatnonzero(tag == UNDECIDED)
        out.leaves += lo.shape[0] - opened.size
        at, axis = np.arange(opened.size), wave.split[opened]
        low, high = np.repeat(lo[opened], 2, axis=0), np.repeat(hi[opened], 2, axis=0)
        middle = 0.5 * lo[opened, axis] + 0.5 * hi[opened, axis]
        high[2 * at, axis] = middle
        low[2 * at + 1, axis] = middle
        bound = np.repeat(np.where(open_, wave.bound, bound)[opened], 2)
        lo, hi, depth, ahead = low, high, np.repeat(depth[opened] + 1, 2), np.repeat(wave.after[opened], 2)
    if stuck_lo:
        out.stuck_lo, out.stuck_hi = np.concatenate(stuck_lo), np.concatenate(stuck_hi)
    return tags, splits, out, (lo, hi, depth, bound)


def decide_wave(task: Task, lo: Floats, hi: Floats, ahead: np.ndarray, deadline: float) -> Decided | None:
    """Decide the boxes whose split is not fixed ahead; None when time is up."""
    count, at = lo.shape[0], np.flatnonzero(ahead < 0)
    wave = Decided(np.full(count, UNDECIDED, dtype=np.uint8), ahead.copy(), np.full(count, -1), np.full(count, -math.inf),
                   np.full(count, -math.inf), np.zeros(count, dtype=bool))
    for k in range(0, at.size, BATCH):
        if time.monotonic() > deadline:
            return None
        part = at[k:k + BATCH]
        found = decide(task.stage, task.goal, lo[part], hi[part])
        for name in ("tag", "split", "after", "bound", "v_lo", "violated"):
            getattr(wave, name)[part] = getattr(found, name)
    return wave


def pack(tags: list[np.ndarray], splits: list[np.ndarray], below: list[bytes] | None = None) -> list[bytes]:
    """Pre-order bytes of each subtree of the first wave; ``below`` holds the bytes of the boxes that follow the last wave."""
    if not tags:
        return list(below or [])
    sizes = [np.ones(len(t), dtype=np.int64) for t in tags]
    last = np.array([len(b) for b in below], dtype=np.int64) if below else np.zeros(0, dtype=np.int64)
    for k in range(len(tags) - 1, -1, -1):
        child = sizes[k + 1] if k + 1 < len(tags) else last
        opened = tags[k] == UNDECIDED
        if child.size:
            sizes[k][opened] += child[0::2] + child[1::2]
    offset = np.concatenate([[0], np.cumsum(sizes[0])])
    data = np.zeros(int(offset[-1]), dtype=np.uint8)
    place = offset[:-1]
    for k, (tag, split) in enumerate(zip(tags, splits, strict=True)):
        opened = tag == UNDECIDED
        data[place] = np.where(opened, split, LEAF + tag.astype(np.int64)).astype(np.uint8)
        child = sizes[k + 1] if k + 1 < len(tags) else last
        first = place[opened] + 1
        place = np.stack([first, first + child[0::2]], axis=1).ravel() if child.size else np.zeros(0, dtype=np.int64)
    for start, sub in zip(place.tolist(), below or [], strict=True):
        data[start:start + len(sub)] = np.frombuffer(sub, dtype=np.uint8)
    raw = data.tobytes()
    return [raw[a:b] for a, b in zip(offset[:-1].tolist(), offset[1:].tolist(), strict=True)]


def _work(task: Task, lo: Floats, hi: Floats, depth: Floats, deadline: float) -> tuple[list[bytes], Outcome]:
    """One group: its subtrees in bytes.  A wave that grows too wide is worked off in slices, so memory stays flat."""
    with np.errstate(all="ignore"):
        tags, splits, out, (low, high, deep, _) = grow(task, lo, hi, depth, deadline, most=16 * BATCH)
        if out.finished:
            return pack(tags, splits), out
        below: list[bytes] = []
        for k in range(0, low.shape[0], 4 * BATCH):
            if time.monotonic() > deadline:
                return [], out
            part, more = _work(task, low[k:k + 4 * BATCH], high[k:k + 4 * BATCH], deep[k:k + 4 * BATCH], deadline)
            out = _merge(out, more)
            if not more.finished:
                return [], out
            below += part
        out.finished = True
        return pack(tags, splits, below), out


def _merge(a: Outcome, b: Outcome) -> Outcome:
    if b.stuck_lo.size:
        a.stuck_lo = np.concatenate([a.stuck_lo.reshape(-1, b.stuck_lo.shape[1]), b.stuck_lo])
        a.stuck_hi = np.concatenate([a.stuck_hi.reshape(-1, b.stuck_hi.shape[1]), b.stuck_hi])
    a.boxes, a.leaves = a.boxes + b.boxes, a.leaves + b.leaves
    return a


def search(stage: Stage, goal: Goal, *, executor: Executor | None = None, budget: float = math.inf, depth: int | None = None,
           shallow: tuple[float, int] | None = None, refute: bool = False, zoom: int = 0,
           phase: str = "shell", progress: Callable[[Progress], None] | None = None, done: dict[int, tuple[list[bytes], Outcome]] | None = None,
           keep: Callable[[dict[int, tuple[list[bytes], Outcome]]], None] | None = None) -> Outcome:
    """Grow the tree of a stage.

    Parameters
    ----------
    stage, goal
        What the leaves have to show.
    executor : Executor or None
        Where groups of boxes are worked off; None works here.  Any ``concurrent.futures`` executor will do.
    budget : float
        Seconds; when they are spent the outcome is unfinished.
    depth : int or None
        Boxes deeper than this are given up as stuck (default 26 per coordinate).
    shallow : (float, int) or None
        Boxes whose value lies above the bound are given up at this depth already.
    refute : bool
        End the search by :class:`Violated` as soon as the claim is seen to fail on a whole box.
    zoom : int
        Octaves between the domain and the set about its middle where nothing has to be shown (:func:`skeleton`); 0: there is no such set.
    progress : callable or None
        Receives :class:`Progress` about twice a second.
    done, keep
        Groups finished earlier (to resume), and a function that stores them when the search stops early.

    Returns
    -------
    Outcome
        ``finished`` and no stuck boxes: the tree is complete.
    """
    began = time.monotonic()
    deadline = began + budget
    n = stage.lo.shape[0]
    task = Task(stage, goal, depth if depth is not None else 26 * n, shallow, refute)
    top = skeleton(stage.lo, stage.hi, zoom)
    lo, hi, level = top.lo, top.hi, top.depth
    with np.errstate(all="ignore"):
        tags, splits, out, (lo, hi, level, bound) = grow(task, lo, hi, level, deadline,
                                                            most=PARALLEL_FROM if executor is not None and n <= FEW_STATES else 16 * BATCH)
    if out.finished:
        out.tree, out.seconds = top.fill(pack(tags, splits)), time.monotonic() - began
        return out
    size = min(GROUP, max(GROUP // 4, lo.shape[0] // 8)) if n <= FEW_STATES else SMALL_GROUP
    groups = [slice(k, k + size) for k in range(0, lo.shape[0], size)]
    results = dict(done or {})
    total = float(np.prod(stage.hi - stage.lo))
    volume = np.prod(hi - lo, axis=1)
    open_share = float(volume.sum()) / total
    pending: dict[Future[tuple[list[bytes], Outcome]], int] = {}
    order = np.random.default_rng(0).permutation(len(groups)).tolist()  # those done are then like those left, so that time can be told
    waiting = [k for k in (order if n > FEW_STATES else range(len(groups))) if k not in results]
    asked = len(waiting)
    shown = began
    try:
        while waiting or pending:
            if time.monotonic() > deadline:
                break
            if executor is None:
                k = waiting.pop(0)
                results[k] = _work(task, lo[groups[k]], hi[groups[k]], level[groups[k]], deadline)
            else:
                while waiting and len(pending) < 6:
                    k = waiting.pop(0)
                    pending[executor.submit(_work, task, lo[groups[k]], hi[groups[k]], level[groups[k]], deadline)] = k
                ended, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in ended:
                    results[pending.pop(future)] = future.result()
            if progress is not None and time.monotonic() - shown > 0.5:
                shown = time.monotonic()
                open_ = np.ones(lo.shape[0], dtype=bool)
                for k, (_, part) in results.items():
                    open_[groups[k]] = not part.finished
                closed, spent = float(volume[~open_].sum()) / total, shown - began
                ready = asked - len(waiting) - len(pending)
                left = spent * (asked - ready) / ready if ready > 0 else None
                progress(Progress(phase, 1 - open_share + closed, float(bound[open_].max(initial=-math.inf)), int(open_.sum()), spent, left))
    except KeyboardInterrupt:
        out.interrupted = True
        for future in pending:
            future.cancel()
    good = {k: r for k, r in results.items() if r[1].finished}
    for _, part in results.values():
        out = _merge(out, part)
    out.finished = len(good) == len(groups)
    if out.finished:
        out.tree = top.fill(pack(tags, splits, [b for k in range(len(groups)) for b in good[k][0]]))
    else:
        rest = np.concatenate([np.arange(lo.shape[0])[groups[k]] for k in range(len(groups)) if k not in good])
        worst = rest[np.argmax(np.nan_to_num(bound[rest], nan=math.inf))]
        out.worst, out.worst_at = float(bound[worst]), tuple((0.5 * lo[worst] + 0.5 * hi[worst]).tolist())
        if keep is not None:
            keep(good)
    out.seconds = time.monotonic() - began
    return out
