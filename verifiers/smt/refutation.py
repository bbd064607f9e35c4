r"""Grow a refutation tree: boxes are contracted, judged with the kernel's own bounds, and halved, level by level.

Direction: the search may only fail.  It reads a simplified graph and asks each leaf for a margin, so that what it accepts the kernel accepts on the
original graph; the kernel replays the whole tree (:func:`verifiers.kernel.query.refute`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field, replace

import numpy as np

from verifiers.kernel.graph import Bools, Floats, Graph
from verifiers.kernel.minimum import hessian
from verifiers.kernel.query import BATCH, Formula, Judgement, Refuter, halved
from verifiers.kernel.taylor import MAX_ORDER_2, MAX_PAIRED, Model, Rows, TaylorReading
from verifiers.kernel.tree import LEAF
from verifiers.smt.query import atoms

MARGIN, CARE = 1e-9, 1.2
SMALLEST = 2.0**-45
GROUPS, FEWEST, OPEN_AT_MOST = 8, 256, 400_000
LINEAR = 0.02
"""What a linear term counts for, where one that a bound loses counts 1."""
SHALLOW = 5.0
"""Mean number of halvings a coordinate below which boxes are not doubled, or once at most where there are many coordinates."""
MOST_NUMBERS = 6e7
"""Coefficients of all nodes of one batch, a row each."""


@dataclass(eq=False)
class Growth:
    """Levels of a forest, one byte a node; boxes left open (lo, hi) when it is not ``finished``; centres of boxes for a search of witnesses."""

    levels: list[bytes] = field(default_factory=list)
    finished: bool = False
    boxes: int = 0
    lo: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    hi: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    why: str = ""
    candidates: Floats = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True, eq=False)
class Task:
    """A query as the search reads it: graph, formula, how often a small box may be doubled, boxes at a time, when to stop, the root's widths (n,),
    and whether the graph is the kernel's own."""

    graph: Graph
    formula: Formula
    doublings: int
    batch: int
    deadline: float
    widths: Floats
    violation: Callable[[Floats], Floats]
    as_read: bool = False


def grow(task: Task, lo: Floats, hi: Floats, most: float = math.inf) -> Growth:
    """Grow trees over boxes (B, n) until all are closed, more than ``most`` are open, a witness shows up, or time is up."""
    out, refuter = Growth(lo=lo, hi=hi), Refuter(task.graph, task.formula, MARGIN, AsRead if task.as_read else Noting)
    while out.lo.shape[0]:
        if out.lo.shape[0] > most:
            return out
        low, high, level = [], [], []
        for k in range(0, out.lo.shape[0], task.batch):
            if time.monotonic() > task.deadline:
                out.why = "timeout"
                return out
            lo, hi, bytes_ = _decide(refuter, task, out.lo[k:k + task.batch], out.hi[k:k + task.batch])
            children = halved(lo, hi, bytes_)
            low.append(children[0])
            high.append(children[1])
            level.append(bytes_.tobytes())
        out.boxes += out.lo.shape[0]
        out.levels.append(b"".join(level))
        out.lo, out.hi = np.concatenate(low), np.concatenate(high)
        if out.lo.shape[0]:
            middle = 0.5 * out.lo[::2] + 0.5 * out.hi[::2]
            excess = task.violation(middle)
            if (excess <= 0).any():
                out.why, out.candidates = "candidate", middle[np.argsort(excess)[:64]]
                return out
            small = ((out.hi - out.lo) <= SMALLEST * task.widths).all(axis=1)
            if small.any():
                out.why, out.candidates = "depth", middle[np.argsort(excess)[:64]]
                return out
    out.finished = True
    return out


def _decide(refuter: Refuter, task: Task, lo: Floats, hi: Floats) -> tuple[Floats, Floats, np.ndarray]:
    """Contract boxes and give each its byte: a leaf, or the coordinate to halve."""
    with np.errstate(all="ignore"):
        lo, hi, empty = refuter.contract(lo, hi)
        level = np.full(lo.shape[0], LEAF, dtype=np.uint8)
        scores, open_ = np.zeros(lo.shape), ~empty
        halvings = np.log2(np.maximum(task.widths / np.maximum(hi - lo, 1e-300), 1.0)).mean(axis=1)
        # phases cost rows: they pay where kinks meet and halving does not help, and where there are too many coordinates to halve
        deep, many = ~(halvings < SHALLOW), lo.shape[1] > MAX_ORDER_2
        passes = [(0, open_.copy()), (1, ~deep & many), (task.doublings, deep)] if task.doublings else [(0, open_.copy())]
        for doublings, chosen in passes:
            left, most = np.flatnonzero(open_ & chosen), max(1, task.batch >> doublings)
            for at in (left[k:k + most] for k in range(0, left.size, most)):
                found = refuter.judge(lo[at], hi[at], doublings)
                level[at[found.refuted]] = LEAF + doublings
                scores[at] = _scores(found)
                open_[at[found.refuted]] = False
        at = np.flatnonzero(open_)
        scores = scores[at]
        if at.size:
            wide = (hi[at] - lo[at]) / np.where(task.widths > 0, task.widths, 1.0)
            scores = np.where(np.isfinite(scores).all(axis=1)[:, None] & (scores.max(axis=1) > 0)[:, None], scores, wide)
            scores = np.where(wide > 1e-6 * wide.max(axis=1)[:, None], scores, 0.0)  # no slivers: they help one bound and spoil all others
            level[at] = scores[:, :LEAF].argmax(axis=1)
    return lo, hi, level


class Noting(TaylorReading):
    """A reading that keeps what symbols stand for: arguments of kinks, and the number (R, m) of each entry's symbol, -1 where it has none.

    Errors are taken CARE times larger, because a kernel that reads more nodes than the search finds larger ones.
    """

    care = CARE

    def __init__(self, lo: Floats, hi: Floats, splits: int = 0) -> None:
        super().__init__(lo, hi, splits)
        self.noted: list[tuple[Model, Rows]] = []

    def _own(self, x: Model, open_: Bools) -> tuple[Rows, Rows, Rows]:
        row, entry, number = super()._own(x, open_)
        if row.size:
            of = np.full(open_.shape, -1, dtype=np.intp)
            of[row, entry] = number
            self.noted.append((x, of))
        return row, entry, number

    def whole(self, x: Model) -> Model:
        """All coefficients, and the larger error."""
        x = super().whole(x)
        return replace(x, e=self.care * x.e)

    def shared(self, loss: Floats) -> None:
        """Hand what is lost (variables, R, m) on symbols on to the inputs: a kink's among the variables of its argument, the last kink first."""
        for x, of in reversed(self.noted):
            for copy in self.copies[x.age:]:
                of = of[copy]
            part = np.abs(self.fresh(x).p[1:])
            part /= np.maximum(part.sum(axis=0), 1e-300)
            for k in range(of.shape[1]):
                at = np.flatnonzero(of[:, k] >= 0)
                loss[:len(part), at] += part[:, at, k, None] * loss[self.n + of[at, k], at]


class AsRead(Noting):
    """The kernel's own errors, where the graph is the kernel's own: boxes contract as they will there, so that their halves are the same."""

    care = 1.0


def _scores(found: Judgement) -> Floats:
    r"""How much (B, n) halving each coordinate is worth to the atoms that are not decided.

    A bound loses on terms with symbols and on concave curvature, and nothing on what is linear or convex.  What it loses on a symbol is shared among
    the coordinates that its kink's argument depends on.  LINEAR of the whole spread is added: it helps where constraints cut the box.
    """
    reading, excess = found.reading, found.excess
    n, q, size = reading.n, excess.q, excess.e.shape
    use = found.failed & ~found.false[:, None] & (excess.hi > 0)
    loss = np.abs(excess.p[1:])
    spread = loss[:n].copy()
    loss[:n] = 0.0
    for i, j, part in zip(reading.first[:len(q)], reading.second[:len(q)], 0.5 * np.abs(q), strict=True):
        for k in (i, j):
            if k < n:
                spread[k] += part
            if j >= n:
                loss[k] += part
    if len(q):
        curved = hessian(reading, q.reshape(len(q), -1), n)
        factor, columns = np.linalg.eigh(np.where(np.isfinite(curved) & use.reshape(-1, 1, 1), curved, 0.0))
        loss[:n] -= np.einsum("rik,rk->ir", columns * columns, np.minimum(factor, 0.0)).reshape(n, *size)
    loss[:n] += (LINEAR if len(q) else 1.0) * spread
    if isinstance(reading, Noting):
        reading.shared(loss)
    worst = np.where(use, loss[:n], 0.0).max(axis=2, initial=0.0)
    scores = np.zeros(reading.centre.shape)
    np.maximum.at(scores, reading.rows, worst.T)
    return scores


def joined(above: Growth, below: list[Growth]) -> bytes:
    """Bytes of the tree of a growth whose open boxes were worked off group by group, in order."""
    depth = max((len(g.levels) for g in below), default=0)
    return b"".join(above.levels) + b"".join(g.levels[k] for k in range(depth) for g in below if k < len(g.levels))


def search(task: Task, lo: Floats, hi: Floats, pool: Callable[[], Executor | None], first: Growth | None = None) -> tuple[Growth, bytes | None]:
    """Refute the formula over one box (n,): the last growth, and the tree where it is complete.

    Open boxes are handed out in groups once there are enough of them, through the executor that ``pool`` makes then.  ``first`` is the top of the
    tree where it has been grown already.
    """
    if first is None or first.why:
        first = grow(task, lo[None], hi[None], most=FEWEST)
    if first.finished:
        return first, b"".join(first.levels)
    if first.why:
        return first, None
    executor = pool()
    size = -(-first.lo.shape[0] // (GROUPS if executor is not None else 1))  # small groups make small batches, which cost more a box
    groups = [(first.lo[k:k + size], first.hi[k:k + size]) for k in range(0, first.lo.shape[0], size)]
    done = _grown(executor, task, groups) if executor is not None else {0: grow(task, *groups[0], OPEN_AT_MOST)}
    for growth in done.values():
        if not growth.finished:
            return growth, None
    first.boxes += sum(g.boxes for g in done.values())
    return first, joined(first, [done[k] for k in range(len(groups))])


def _grown(executor: Executor, task: Task, groups: list[tuple[Floats, Floats]]) -> dict[int, Growth]:
    """The growths of all groups, or of those that ended before one failed; that one is the last."""
    waiting: dict[Future[Growth], int] = {executor.submit(grow, task, low, high, OPEN_AT_MOST): k for k, (low, high) in enumerate(groups)}
    done: dict[int, Growth] = {}
    while waiting:
        ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in ended:
            k = waiting.pop(future)
            done[k] = future.result()
            if not done[k].finished:
                for other in waiting:
                    other.cancel()
                return done
    return done


def task_for(graph: Graph, formula: Formula, deadline: float, widths: Floats, violation: Callable[[Floats], Floats]) -> Task:
    """Doublings: none without kinks, more where there are too many inputs to halve.  Boxes at a time: so that a batch stays below about a second."""
    n = graph.input_sizes[0]
    doublings = 0 if graph.is_smooth else 3 if n <= MAX_ORDER_2 else 6
    variables = n if graph.is_smooth else n + MAX_PAIRED
    terms = 1 + variables + (variables * (variables + 1) // 2 if n <= MAX_ORDER_2 else 0)
    entries = sum(node.size for node in graph.nodes) + 8 * n * sum(1 for _ in atoms(formula))
    batch = min(BATCH, max(8, int(MOST_NUMBERS / (terms * entries))))
    return Task(graph, formula, doublings, batch, deadline, widths, violation)
