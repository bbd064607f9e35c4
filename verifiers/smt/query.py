r"""Queries: is there a state in a box whose outputs satisfy a boolean combination of linear inequalities?

.. math:: \exists x \in [l, h]: \quad \varphi(g(x))

with a graph :math:`g: \mathbb R^n \to \mathbb R^m` and a formula :math:`\varphi` of atoms :math:`a^\top y \le b` (or :math:`<`).
"No state violates this" is the answer *unsat*.  All numbers are exact rationals; what an answer means is said in :mod:`verifiers.smt.decider`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from verifiers.kernel.graph import Graph
from verifiers.kernel.query import And, Atom, Formula, Or

__all__ = ["And", "Atom", "Formula", "Or", "Query", "at_least", "at_most", "atoms", "disjuncts", "holds", "negate"]

MAX_DISJUNCTS = 100_000


def at_most(output: int, bound: Fraction, strict: bool = False) -> Atom:
    """``y_output <= bound``."""
    return Atom(((output, Fraction(1)),), bound, strict)


def at_least(output: int, bound: Fraction, strict: bool = False) -> Atom:
    """``y_output >= bound``."""
    return Atom(((output, Fraction(-1)),), -bound, strict)


def negate(formula: Formula) -> Formula:
    """The complement, with negations pushed into the atoms."""
    if isinstance(formula, Atom):
        return formula.negated()
    parts = tuple(negate(p) for p in formula.parts)
    return Or(parts) if isinstance(formula, And) else And(parts)


def holds(formula: Formula, y: Sequence[Fraction]) -> bool:
    """Whether outputs given as rationals satisfy a formula."""
    if isinstance(formula, Atom):
        return formula.holds(y)
    results = (holds(p, y) for p in formula.parts)
    return all(results) if isinstance(formula, And) else any(results)


def atoms(formula: Formula) -> Iterator[Atom]:
    """All atoms of a formula."""
    if isinstance(formula, Atom):
        yield formula
    else:
        for part in formula.parts:
            yield from atoms(part)


def disjuncts(formula: Formula) -> tuple[tuple[Atom, ...], ...]:
    """Disjunctive normal form: the formula holds where all atoms of one conjunction hold.

    Raises
    ------
    ValueError
        When there are more than MAX_DISJUNCTS conjunctions.
    """
    if isinstance(formula, Atom):
        return ((formula,),)
    below = [disjuncts(p) for p in formula.parts]
    if isinstance(formula, Or):
        found = [c for part in below for c in part]
    else:
        count = 1
        for part in below:
            count *= len(part)
            if count > MAX_DISJUNCTS:
                raise ValueError(f"the formula has more than {MAX_DISJUNCTS} conjunctions in disjunctive normal form; split it")
        found = [tuple(dict.fromkeys(a for conjunction in choice for a in conjunction)) for choice in product(*below)]
    if len(found) > MAX_DISJUNCTS:
        raise ValueError(f"the formula has more than {MAX_DISJUNCTS} conjunctions in disjunctive normal form; split it")
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class Query:
    """A graph with one input vector (n) and one output vector (m), a box of exact rationals, and a formula over the outputs.

    Raises
    ------
    ValueError
        When sizes do not fit, a lower bound exceeds an upper one, or an atom names an output that does not exist.
    """

    graph: Graph
    lo: tuple[Fraction, ...]
    hi: tuple[Fraction, ...]
    formula: Formula

    def __post_init__(self) -> None:
        n = len(self.lo)
        if self.graph.input_sizes != (n,) or len(self.hi) != n or len(self.graph.outputs) != 1:
            raise ValueError(f"a query needs one input vector of the box's size {n} and one output vector; "
                             f"the graph has inputs {self.graph.input_sizes} and {len(self.graph.outputs)} outputs")
        for i, (a, b) in enumerate(zip(self.lo, self.hi, strict=True)):
            if not a <= b:
                raise ValueError(f"the box is empty: input {i} has the bounds {a} and {b}")
        size = self.graph.output_size()
        for atom in atoms(self.formula):
            for k, c in atom.coefficients:
                if not (0 <= k < size and c != 0):
                    raise ValueError(f"an atom names output {k} with coefficient {c}; the graph has the outputs 0 to {size - 1}")
