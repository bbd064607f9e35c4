"""Deciders: who answers a query, what each answer means, and what it does not.

==========  =====================================================================================================================
``Unsat``   no state of the box satisfies the formula.  ``level`` says on whose word: 1 a solver's, 2 the kernel replayed the proof
``Sat``     states that satisfy it, each replayed with exact rationals or with the kernel's enclosures at that one point
``Unknown`` everything else: delta-sat, a witness that does not replay, time-out, crash, lack of memory, output that makes no sense
==========  =====================================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from verifiers.kernel.codes import Refusal
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.smt.query import And, Atom, Formula, Query, holds


@dataclass(frozen=True, eq=False)
class Evidence:
    """Why a query is unsatisfiable: the solver with its version, the level of trust, and the box tree where there is one."""

    solver: str
    level: int
    text: str
    proof: Any = None


@dataclass(frozen=True, eq=False)
class Unsat:
    """No state of the box satisfies the formula."""

    evidence: Evidence


@dataclass(frozen=True)
class Witness:
    """A state (n,) in exact rationals that satisfies the formula, with float values (m,) of the outputs, and how it was replayed."""

    x: tuple[Fraction, ...]
    y: tuple[float, ...]
    replayed: str


@dataclass(frozen=True, eq=False)
class Sat:
    """States that satisfy the formula; at least one."""

    witnesses: tuple[Witness, ...]


@dataclass(frozen=True)
class Unknown:
    """No answer.  ``reason``: ``delta-sat``, ``timeout``, ``memory``, ``crash``, ``garbage``, ``unsupported``, ``absent`` or ``unknown``."""

    reason: str
    text: str


Decision = Unsat | Sat | Unknown


class Decider(Protocol):
    """Something that answers queries."""

    name: str

    def absent(self) -> str | None:
        """Why it cannot be used here and how to get it, or None where it can."""

    def decide(self, query: Query, budget: float = 60.0, witnesses: int = 1) -> Decision:
        """Answer within ``budget`` seconds; ask for up to ``witnesses`` distinct states.  Never raises for what a solver does."""


def replay(query: Query, x: tuple[Fraction, ...]) -> Witness | None:
    """Prove that a state satisfies the query, or return None.

    Exact rationals where the outputs are rational; else the kernel's enclosures at the one point, which must show the atoms.
    Direction: a witness is returned only when it is one.
    """
    if len(x) != len(query.lo) or not all(a <= v <= b for a, v, b in zip(query.lo, x, query.hi, strict=True)):
        return None
    try:
        exact = evaluate_exact(query.graph, x)
    except Refusal:
        exact = None
    if exact is not None:
        return Witness(x, tuple(float(v) for v in exact), "exact rational arithmetic") if holds(query.formula, exact) else None
    low = np.array([[float(v) for v in x]])
    if any(Fraction(float(v)) != v for v in x):
        return None  # enclosures are asked at floats
    centre, radius = split_boxes(low, low)
    reading = JetReading(radius, 1)
    with np.errstate(all="ignore"):
        lo, hi = reading.bounds(read_jets(query.graph, reading, reading.start(centre)))
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
        return None
    a, b = [Fraction(v) for v in lo[0].tolist()], [Fraction(v) for v in hi[0].tolist()]
    if not _proved(query.formula, a, b):
        return None
    return Witness(x, tuple((0.5 * (lo[0] + hi[0])).tolist()), "rigorous enclosures at the point")


def _proved(formula: Formula, lo: list[Fraction], hi: list[Fraction]) -> bool:
    """Whether all outputs between lo and hi satisfy the formula atom by atom."""
    if isinstance(formula, Atom):
        top = sum((c * (hi[k] if c > 0 else lo[k]) for k, c in formula.coefficients), Fraction(0))
        return top < formula.bound if formula.strict else top <= formula.bound
    parts = (_proved(p, lo, hi) for p in formula.parts)
    return all(parts) if isinstance(formula, And) else any(parts)
