r"""The decider of our own: witnesses by gradient descent, refutations by branch and bound with Taylor models, replayed by the kernel.

``Sat`` needs a state that replays; ``Unsat`` needs a tree that :func:`verifiers.kernel.query.refute` accepts on the query's own graph, and is L2
evidence.  Everything else is ``Unknown``.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import BrokenExecutor, Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Floats
from verifiers.kernel.query import refute
from verifiers.kernel.rational import down, up
from verifiers.load.simplify import simplified
from verifiers.smt.branch_and_bound import process_pool
from verifiers.smt.decider import Decision, Evidence, Sat, Unknown, Unsat, Witness, replay
from verifiers.smt.query import Query
from verifiers.smt.refutation import FEWEST, grow, search, task_for
from verifiers.smt.witness_search import Violation, around, candidates, rounded, samples, violation_of

REPLAYS = 24
"""Most candidates replayed in one go where one witness is asked for."""
IDLE = 4
"""Rounds without a new witness after which no more are looked for."""
LONG = 512
"""Bytes of a tree that is replayed in parts, where there are processes for them."""


@dataclass(frozen=True)
class Native:
    """Branch and bound with Taylor models of order 2, phases of kinks, contraction by the constraints, and multipliers for all of them.

    Attributes
    ----------
    workers : int or None
        Processes; None for one per core, at most 16.
    seed : int
        Of the random starts.
    """

    workers: int | None = None
    seed: int = 0
    name: str = "native"

    def absent(self) -> str | None:
        """It is part of every installation."""
        return None

    def decide(self, query: Query, budget: float = 60.0, witnesses: int = 1) -> Decision:
        """Answer within ``budget`` seconds; for a satisfiable query up to ``witnesses`` distinct states, far from each other.

        Raises
        ------
        ValueError
            When ``witnesses`` is less than 1.
        """
        if witnesses < 1:
            raise ValueError(f"{witnesses} witnesses are asked for; ask for at least one")
        if not budget > 0:
            return Unknown("timeout", "no time was given")
        try:
            return self._decide(query, time.monotonic() + budget, witnesses)
        except MemoryError:
            return Unknown("memory", "the search ran out of memory; ask a smaller question")
        except BrokenExecutor:
            return Unknown("crash", "a process of the search ended; it may have run out of memory")
        except OverflowError:
            return Unknown("unsupported", "a number of the query exceeds float64")
        except Refusal as refusal:
            return Unknown("unsupported", f"{refusal.at}: {refusal.message}")

    def _decide(self, query: Query, deadline: float, count: int) -> Decision:
        lo, hi = np.array([down(v) for v in query.lo]), np.array([up(v) for v in query.hi])
        if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
            return Unknown("unsupported", "a side of the box exceeds float64")
        graph = simplified(query.graph)
        violation = violation_of(graph, query.formula, lo, hi, self.seed)
        task, as_read = (replace(task_for(g, query.formula, deadline, hi - lo, violation), as_read=g is query.graph) for g in (graph, query.graph))
        # what is cheap first: samples, then the top of a tree, then descent, then as large a tree as time allows
        top, refused = None, None  # refused: what the kernel said of a tree
        found = _replayed(query, samples(violation, lo, hi, seed=self.seed), violation, 1)
        if not found:
            top = grow(task, lo[None], hi[None], most=FEWEST)
            if top.finished:
                refused = _checked(query, b"".join(top.levels), top.boxes, None, 1)
                if isinstance(refused, Unsat) or graph is query.graph:
                    return refused
                task, top = as_read, None
            near = top.candidates if top is not None and top.candidates.size else None
            found = _replayed(query, candidates(violation, lo, hi, starts=near, seed=self.seed), violation, 1)
        if found:
            return Sat(self._more(query, violation, found, lo, hi, deadline, count))
        workers = self.workers or min(os.cpu_count() or 1, 16)
        with ExitStack() as stack:
            pool: list[Executor | None] = []

            def executor() -> Executor | None:
                if not pool:
                    pool.append(stack.enter_context(process_pool(workers)))
                return pool[0]

            for attempt in range(1, 4):
                growth, tree = search(task, lo, hi, executor, top if attempt == 1 else None)
                if tree is not None:
                    refused = _checked(query, tree, growth.boxes, pool[0] if pool else None, workers)
                    if isinstance(refused, Unsat) or task.graph is query.graph:
                        return refused
                    # the kernel's bounds are too far from those of the simplified graph: search as the kernel reads
                    task, top = replace(as_read, violation=task.violation), None
                    continue
                if growth.why not in ("candidate", "depth"):
                    text = f"time is up after {growth.boxes} boxes of the last part, {growth.lo.shape[0]} of it still open"
                    return refused or Unknown("timeout", text)
                near = candidates(violation, lo, hi, starts=growth.candidates, seed=self.seed + attempt)
                found = _replayed(query, np.concatenate([growth.candidates, near]), violation, 1)
                if found:
                    return Sat(self._more(query, violation, found, lo, hi, deadline, count))
                if growth.why == "depth":
                    break
                task = replace(task, violation=_never)
        if refused:
            return refused
        at = ", ".join(f"{v:.6g}" for v in growth.candidates[0]) if growth.candidates.size else "?"
        return Unknown("unknown", f"neither a proof nor a witness near ({at}); the formula may hold there by less than float64 can tell")

    def _more(self, query: Query, violation: Violation, found: list[Witness], lo: Floats, hi: Floats, deadline: float, count: int
              ) -> tuple[Witness, ...]:
        """Up to ``count`` distinct witnesses: states about the ones known, and from other random starts."""
        known, idle = {w.x: w for w in found}, 0
        for k in range(1, 64):
            before = len(known)
            if before >= count or idle >= IDLE or time.monotonic() > deadline:
                break
            near = around(violation, np.array([[float(v) for v in x] for x in known]), lo, hi, self.seed + 100 + k)
            x = near if near.shape[0] >= count else np.concatenate([near, candidates(violation, lo, hi, seed=self.seed + 100 + k)])
            known.update((w.x, w) for w in _replayed(query, x, violation, count))
            idle = 0 if len(known) > before else idle + 1
        return tuple(known.values())[:count]


def _never(x: Floats) -> Floats:
    """No state is a candidate: after some have not replayed, the tree is grown without looking for more."""
    return np.full(x.shape[0], np.inf)


def _replayed(query: Query, x: Floats, violation: Violation, count: int) -> list[Witness]:
    """Witnesses among states (C, n), the ones farthest from each other first where many are asked for."""
    good = x[violation(x) <= 1e-12]
    found: dict[tuple[object, ...], Witness] = {}
    most = max(REPLAYS, 2 * count)
    for point in _spread(good, most) if count > 1 else good[:most]:
        for exact in rounded(point, query.lo, query.hi):
            witness = replay(query, exact)
            if witness is not None:
                found[witness.x] = witness
                break
        if len(found) >= count:
            break
    return list(found.values())


def _spread(x: Floats, most: int) -> Floats:
    """At most ``most`` of the states (C, n), each next one the farthest from those before it, in units of the spread of each coordinate."""
    if x.shape[0] < 3:
        return x
    unit = x / np.maximum(np.ptp(x, axis=0), 1e-300)
    order, distance = [0], np.linalg.norm(unit - unit[0], axis=1)
    while len(order) < most and (k := int(distance.argmax())) not in order:
        order.append(k)
        distance = np.minimum(distance, np.linalg.norm(unit - unit[k], axis=1))
    return x[order]


def _checked(query: Query, tree: bytes, boxes: int, executor: Executor | None, workers: int) -> Decision:
    """The kernel's word on a tree; a long one is replayed in parts, and all of them have to be accepted."""
    began = time.monotonic()
    parts = [(i, workers) for i in range(workers)] if executor is not None and len(tree) > LONG else [(0, 1)]
    try:
        if executor is None or len(parts) == 1:
            leaves = refute(query.graph, query.lo, query.hi, query.formula, tree)
        else:
            calls = [executor.submit(refute, query.graph, query.lo, query.hi, query.formula, tree, part) for part in parts]
            (leaves,) = {call.result() for call in calls}
    except Refusal as refusal:
        return Unknown("unknown", f"the kernel does not accept the refutation that was found: {refusal.message}")
    text = f"the kernel replayed a tree of {leaves} leaves in {time.monotonic() - began:.2f} s; {boxes} boxes were searched"
    return Unsat(Evidence("native", 2, text, tree))
