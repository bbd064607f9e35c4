"""What the external solvers have in common: write the query, run a child, believe nothing but a clean answer, replay every witness.

A Python binding runs in a child (``z3_child.py`` ...) that answers in one strict form, so that a stale, partial or foreign answer is seen:

    script <sha256 of the text that it was given>
    unsat | sat | delta-sat | unknown
    x <index> <rational> <rational>          (after sat and delta-sat: an interval for every input)
    end
"""

from __future__ import annotations

import hashlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from verifiers.kernel.graph import Builder
from verifiers.smt.child import MEMORY, Ran, run
from verifiers.smt.decider import Decision, Evidence, Sat, Unknown, Unsat, Witness, replay
from verifiers.smt.query import And, Atom, Or, Query

Box = tuple[tuple[Fraction, Fraction], ...]
ANSWERS = ("unsat", "sat", "delta-sat", "unknown")
BLOCKED = 32
"""A found witness blocks a box of 1/BLOCKED of the query's widths around it."""
CORNERS = 4
NEAR, TRIES = (1e-6, 1e-4, 1e-2), 8


@dataclass(frozen=True)
class Answer:
    """What a solver said: a verdict of ANSWERS or the reason of an Unknown, its box for the inputs where it gave one, and one sentence."""

    verdict: str
    box: Box | None
    says: str


class External(ABC):
    """A solver in a child process.

    Parameters
    ----------
    command : sequence of str or None
        Program and arguments instead of the child of this decider.
    memory : int
        Limit of its address space (bytes).
    """

    name: str
    dialect: str

    def __init__(self, command: Sequence[str] | None = None, memory: int = MEMORY) -> None:
        self.command, self.memory = None if command is None else list(command), memory

    @abstractmethod
    def absent(self) -> str | None:
        """Why it cannot be used here and how to get it, or None where it can."""

    @abstractmethod
    def version(self) -> str:
        """Name and version of the solver, for evidence."""

    def unsupported(self, query: Query) -> str | None:
        """Why the solver cannot read such a query, or None."""
        return None

    @abstractmethod
    def ask(self, query: Query, seconds: float) -> Answer:
        """Put one question; never raises for what the solver does."""

    def decide(self, query: Query, budget: float = 60.0, witnesses: int = 1) -> Decision:
        """Answer within ``budget`` seconds; up to ``witnesses`` distinct states, each replayed.  ``unsat`` is on the solver's word: level 1."""
        missing = None if self.command is not None else self.absent()
        if missing is not None:
            return Unknown("absent", missing)
        try:
            reason = self.unsupported(query)
            if reason is not None:
                return Unknown("unsupported", reason)
            return self._decide(query, time.monotonic() + budget, witnesses)
        except (OverflowError, RecursionError, MemoryError) as error:
            return Unknown("unsupported", f"the query cannot be written for {self.name}: {type(error).__name__}: {error}")

    def _decide(self, query: Query, deadline: float, witnesses: int) -> Decision:
        found: list[Witness] = []
        asked, last = query, Unknown("timeout", "no time was left")
        while len(found) < max(witnesses, 1) and (left := deadline - time.monotonic()) > 0:
            answer = self.ask(asked, left)
            if answer.verdict == "unsat":
                if found:
                    break
                return Unsat(Evidence(self.version(), 1, f"unsat on the word of {self.version()} alone: there is no proof, and nothing was replayed"))
            witness = next((w for x in candidates(query, answer.box) if (w := replay(query, x)) is not None), None)
            if witness is None or witness.x in [w.x for w in found]:
                last = _not_shown(answer)
                break
            found.append(witness)
            asked = without(query, [around(query, w.x) for w in found])
        return Sat(tuple(found)) if found else last

    def run_child(self, command: Sequence[str], given: str, seconds: float) -> Ran:
        """Run the solver within its limits."""
        return run(command, given, seconds, self.memory)


def _not_shown(answer: Answer) -> Unknown:
    if answer.verdict in ("sat", "delta-sat"):
        reason = "delta-sat" if answer.verdict == "delta-sat" else "unknown"
        return Unknown(reason, f"the solver says {answer.verdict}, but no state that it names satisfies the query in exact arithmetic")
    return Unknown(answer.verdict, answer.says)


def failed(ran: Ran) -> Answer | None:
    """The answer of a child that did not end well; None where it did."""
    return None if ran.status == "ok" else Answer(ran.status, None, ran.says)


def garbage(text: str) -> Answer:
    """Output that is no answer."""
    lines = text.strip().splitlines()
    says = f"the solver's output is no answer to this script: {lines[0][:100]!a} ..." if lines else "the solver printed nothing"
    return Answer("garbage", None, says)


def read_protocol(ran: Ran, given: str, inputs: int) -> Answer:
    """Read the strict form of the children; anything else is garbage."""
    if (bad := failed(ran)) is not None:
        return bad
    lines = ran.text.split("\n")
    if not (len(lines) >= 4 and lines[-2:] == ["end", ""] and lines[0] == f"script {digest(given)}" and lines[1] in ANSWERS):
        return garbage(ran.text)
    verdict, values = lines[1], lines[2:-2]
    if verdict not in ("sat", "delta-sat"):
        return Answer(verdict, None, f"the solver says {verdict}") if not values else garbage(ran.text)
    ends: list[tuple[Fraction, Fraction]] = []
    for line in values:
        words = line.split(" ")
        try:
            ends.append((Fraction(words[2]), Fraction(words[3])))
        except (IndexError, ValueError, ZeroDivisionError):
            return garbage(ran.text)
        if words[:2] != ["x", str(len(ends) - 1)] or len(words) != 4 or not ends[-1][0] <= ends[-1][1]:
            return garbage(ran.text)
    return Answer(verdict, tuple(ends), f"the solver says {verdict}") if len(ends) == inputs else garbage(ran.text)


def digest(text: str) -> str:
    """sha256 of a script, by which an answer names its question."""
    return hashlib.sha256(text.encode()).hexdigest()


def candidates(query: Query, box: Box | None) -> Iterable[tuple[Fraction, ...]]:
    """States to replay for a solver's box: its middle, exact and rounded, its corners, and some near it, each moved into the query's box.

    A delta-complete solver likes to name a box across the boundary of the solutions; near it about one state in two is one.
    """
    if box is None:
        return []
    middle = tuple((a + b) / 2 for a, b in box)
    found = [middle, *(tuple(v.limit_denominator(10**k) for v in middle) for k in (12, 6, 3))]
    if len(box) <= CORNERS:
        found += list(product(*box))
    else:
        found += [tuple(a for a, _ in box), tuple(b for _, b in box)]
    rng = random.Random(0)
    found += [tuple(v + (hi - lo) * Fraction(rng.uniform(-scale, scale)) for v, lo, hi in zip(middle, query.lo, query.hi, strict=True))
              for scale in NEAR for _ in range(TRIES)]
    inside = [tuple(min(max(v, lo), hi) for v, lo, hi in zip(x, query.lo, query.hi, strict=True)) for x in found]
    floats = [tuple(_inward(v, lo, hi) for v, lo, hi in zip(x, query.lo, query.hi, strict=True)) for x in inside]
    return dict.fromkeys([*inside[:1], *floats, *inside])


def _inward(v: Fraction, lo: Fraction, hi: Fraction) -> Fraction:
    """A float64 near v and within [lo, hi], where there is one (enclosures are asked at floats)."""
    from verifiers.smt.smtlib import ceil_float, floor_float

    near = Fraction(float(v))
    return near if lo <= near <= hi else Fraction(floor_float(v)) if v >= hi else Fraction(ceil_float(v))


def around(query: Query, x: Sequence[Fraction]) -> Box:
    """The box about a state that a further witness must avoid."""
    radius = [(hi - lo) / BLOCKED for lo, hi in zip(query.lo, query.hi, strict=True)]
    return tuple((v - r, v + r) for v, r in zip(x, radius, strict=True))


def without(query: Query, boxes: Sequence[Box]) -> Query:
    """The query outside some boxes; a degenerate coordinate of the query's box says nothing about being outside."""
    n, m = len(query.lo), query.graph.output_size()
    b = Builder()
    x = b.input(n)
    graph = b.build([b.concat([b.inline(query.graph, [x])[0], x])])
    free = [i for i in range(n) if query.lo[i] < query.hi[i]]
    avoided = [Or(tuple(atom for i in free for atom in (Atom(((m + i, Fraction(1)),), box[i][0]), Atom(((m + i, Fraction(-1)),), -box[i][1]))))
               for box in boxes]
    return Query(graph, query.lo, query.hi, And((query.formula, *avoided)))
