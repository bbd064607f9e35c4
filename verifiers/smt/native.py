r"""The decider of our own: witnesses by gradient descent, refutations by branch and bound with Taylor models, replayed by the kernel.

``Sat`` needs a state that replays; ``Unsat`` needs a tree that :func:`verifiers.kernel.query.refute` accepts on the query's own graph, and is L2
evidence.  Everything else is ``Unknown``.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Floats
from verifiers.kernel.query import refute
from verifiers.kernel.rational import down, up
from verifiers.load.simplify import simplified
from verifiers.smt.branch_and_bound import process_pool
from verifiers.smt.decider import Decision, Evidence, Sat, Unknown, Unsat, Witness, replay
from verifiers.smt.query import Query
from verifiers.smt.refutation import Task, doublings_for, search
from verifiers.smt.witness_search import Violation, candidates, rounded, violation_of

REPLAYS = 24
"""Most candidates replayed in one go where one witness is asked for."""


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
        except Refusal as refusal:
            return Unknown("unsupported", f"{refusal.at}: {refusal.message}")

    def _decide(self, query: Query, deadline: float, count: int) -> Decision:
        lo, hi = np.array([down(v) for v in query.lo]), np.array([up(v) for v in query.hi])
        if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
            return Unknown("unsupported", "a side of the box exceeds float64")
        graph = simplified(query.graph)
        violation = violation_of(graph, query.formula, lo, hi, self.seed)
        found = _replayed(query, candidates(violation, lo, hi, seed=self.seed), violation, count)
        if found:
            return Sat(self._more(query, violation, found, lo, hi, deadline, count))
        task = Task(graph, query.formula, doublings_for(graph), deadline, hi - lo, violation)
        with ExitStack() as stack:
            for attempt in range(1, 4):
                growth, tree = search(task, lo, hi, lambda: stack.enter_context(process_pool(self.workers)))
                if tree is not None:
                    return _checked(query, tree, growth.boxes)
                if growth.why not in ("candidate", "depth"):
                    return Unknown("timeout", f"time is up with {growth.lo.shape[0]} boxes of a part open after {growth.boxes} boxes")
                near = candidates(violation, lo, hi, starts=growth.candidates, seed=self.seed + attempt)
                found = _replayed(query, np.concatenate([growth.candidates, near]), violation, count)
                if found:
                    return Sat(self._more(query, violation, found, lo, hi, deadline, count))
                if growth.why == "depth":
                    break
                task = Task(graph, query.formula, task.doublings, deadline, hi - lo, _never)
        at = ", ".join(f"{v:.6g}" for v in growth.candidates[0]) if growth.candidates.size else "?"
        return Unknown("unknown", f"neither a proof nor a witness near ({at}); the formula may hold there by less than float64 can tell")

    def _more(self, query: Query, violation: Violation, found: list[Witness], lo: Floats, hi: Floats, deadline: float, count: int
              ) -> tuple[Witness, ...]:
        """Up to ``count`` distinct witnesses, from other random starts."""
        known = {w.x: w for w in found}
        for k in range(1, 64):
            if len(known) >= count or time.monotonic() > deadline:
                break
            known.update((w.x, w) for w in _replayed(query, candidates(violation, lo, hi, seed=self.seed + 100 + k), violation, count))
        return tuple(known.values())[:count]


def _never(x: Floats) -> Floats:
    """No state is a candidate: after some have not replayed, the tree is grown without looking for more."""
    return np.full(x.shape[0], np.inf)


def _replayed(query: Query, x: Floats, violation: Violation, count: int) -> list[Witness]:
    """Witnesses among states (C, n), the ones farthest from each other first where many are asked for."""
    good = x[violation(x) <= 1e-12]
    found: dict[tuple[object, ...], Witness] = {}
    for point in (_spread(good) if count > 1 else good)[:max(REPLAYS, 2 * count)]:
        for exact in rounded(point, query.lo, query.hi):
            witness = replay(query, exact)
            if witness is not None:
                found[witness.x] = witness
                break
        if len(found) >= count:
            break
    return list(found.values())


def _spread(x: Floats) -> Floats:
    """The same states, each next one the farthest from those before it."""
    if x.shape[0] < 3:
        return x
    order, distance = [0], np.linalg.norm(x - x[0], axis=1)
    for _ in range(x.shape[0] - 1):
        k = int(distance.argmax())
        if not distance[k] > 0:
            break
        order.append(k)
        distance = np.minimum(distance, np.linalg.norm(x - x[k], axis=1))
    return x[order]


def _checked(query: Query, tree: bytes, boxes: int) -> Decision:
    """The kernel's word on a tree."""
    began = time.monotonic()
    try:
        leaves = refute(query.graph, query.lo, query.hi, query.formula, tree)
    except Refusal as refusal:
        return Unknown("unknown", f"the kernel does not accept the refutation that was found: {refusal.message}")
    text = f"the kernel replayed a tree of {leaves} leaves in {time.monotonic() - began:.2f} s; {boxes} boxes were searched"
    return Unsat(Evidence("native", 2, text, tree))
