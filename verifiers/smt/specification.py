"""Specifications: assertions about inputs and outputs of a network, as boxes of inputs with a formula each, and as queries."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from verifiers.kernel.graph import Builder, Graph
from verifiers.smt.query import And, Atom, Formula, Or, Query, atoms, holds

MAX_REGIONS = 10_000
MAX_SIDES = 20_000_000


class SpecError(ValueError):
    """A specification that cannot be read: one sentence with the line and the remedy."""


@dataclass(frozen=True)
class Region:
    """A box of inputs (exact rationals), and what has to hold besides; atoms name output j as ``j`` and input i as ``-1 - i``."""

    lo: tuple[Fraction, ...]
    hi: tuple[Fraction, ...]
    formula: Formula


@dataclass(frozen=True)
class Spec:
    """A specification.

    Attributes
    ----------
    inputs, outputs : int
        How many X and Y are declared.
    formula : Formula
        All assertions; atoms name output j as ``j`` and input i as ``-1 - i``.
    regions : tuple of Region
        The same as a disjunction: the formula holds at (x, y) if and only if some region does.  Empty when no input can satisfy the bounds.
    """

    inputs: int
    outputs: int
    formula: Formula
    regions: tuple[Region, ...]

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether input (n,) and output (m,), exact rationals, satisfy all assertions."""
        return holds(self.formula, joint(x, y))


def joint(x: Sequence[Fraction], y: Sequence[Fraction]) -> list[Fraction]:
    """One list for :func:`verifiers.smt.query.holds`: entry ``j`` is output j, entry ``-1 - i`` is input i."""
    return [*y, *reversed(x)]


def join(kind: type[And] | type[Or], parts: Iterable[Formula]) -> Formula:
    """Conjunction or disjunction without nesting in itself; one part stands alone."""
    flat = [q for p in parts for q in (p.parts if isinstance(p, kind) else (p,))]
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def _is_bound(atom: Atom) -> bool:
    return len(atom.coefficients) == 1 and atom.coefficients[0][0] < 0


def _bounds_inputs(part: Formula) -> bool:
    """Whether an input is bounded whatever branch is taken."""
    if isinstance(part, Atom):
        return _is_bound(part)
    some = (_bounds_inputs(p) for p in part.parts)
    return any(some) if isinstance(part, And) else bool(part.parts) and all(some)


_Bounds = dict[int, Fraction]


def _tighten(atom: Atom, lo: _Bounds, hi: _Bounds) -> bool:
    """Intersect the box with an atom on one input; False when nothing is left of it."""
    ((k, c),) = atom.coefficients
    i, value = -1 - k, atom.bound / c
    if c > 0:
        hi[i] = min(hi.get(i, value), value)
    else:
        lo[i] = max(lo.get(i, value), value)
    return not (i in lo and i in hi and lo[i] > hi[i])


class _Regions:
    """Turns the assertions into boxes of inputs with a remaining formula each."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.found: dict[tuple[tuple[Fraction, ...], tuple[Fraction, ...]], list[Formula]] = {}
        self.left = min(MAX_REGIONS, MAX_SIDES // inputs)

    def expand(self, parts: Sequence[Formula]) -> None:
        """Collect the boxes of ``parts``; alternatives that bound inputs are taken one after the other, all else is kept."""
        waiting: list[tuple[_Bounds, _Bounds, Sequence[Formula], Sequence[Formula]]] = [({}, {}, parts, ())]
        while waiting:
            lo, hi, todo, kept = waiting.pop()
            lo, hi, kept = dict(lo), dict(hi), list(kept)
            choices: list[Or] = []
            if not _collect(list(todo), lo, hi, choices, kept):
                continue
            if not choices:
                self.add(lo, hi, kept)
                continue
            self.left -= len(choices[0].parts)
            if self.left < 0:
                raise SpecError(f"the alternatives make too many boxes of inputs (at most {MAX_REGIONS}, {MAX_SIDES} sides); split the specification")
            waiting += [(lo, hi, [branch, *choices[1:]], kept) for branch in reversed(choices[0].parts)]

    def add(self, lo: _Bounds, hi: _Bounds, kept: Sequence[Formula]) -> None:
        """Keep one box and what has to hold in it; equal boxes become one."""
        for side, name, example in ((lo, "lower", ">="), (hi, "upper", "<=")):
            for i in range(self.inputs):
                if i not in side:
                    raise SpecError(f"the input X_{i} has no {name} bound; add (assert ({example} X_{i} VALUE))")
        box = tuple(lo[i] for i in range(self.inputs)), tuple(hi[i] for i in range(self.inputs))
        self.found.setdefault(box, []).append(join(And, kept))


def _collect(todo: list[Formula], lo: _Bounds, hi: _Bounds, choices: list[Or], kept: list[Formula]) -> bool:
    """Sort a conjunction into sides of the box, alternatives that bound inputs, and the rest; False when the box is empty."""
    todo.reverse()
    while todo:
        part = todo.pop()
        if isinstance(part, And):
            todo += reversed(part.parts)
        elif isinstance(part, Or) and _bounds_inputs(part):
            choices.append(part)
        elif isinstance(part, Atom) and _is_bound(part):
            if not _tighten(part, lo, hi):
                return False
            kept += [part] if part.strict else []
        else:
            kept.append(part)
    return True


def empty_input(parts: Sequence[Formula]) -> int | None:
    """An input whose unconditional bounds exclude each other."""
    lo: _Bounds = {}
    hi: _Bounds = {}
    for part in parts:
        if isinstance(part, Atom) and _is_bound(part) and not _tighten(part, lo, hi):
            return -1 - part.coefficients[0][0]
    return None


def specification(inputs: int, outputs: int, formula: Formula) -> Spec:
    """Make a specification of a formula whose atoms name output j as ``j`` and input i as ``-1 - i``.

    Raises
    ------
    SpecError
        When an input is left without a bound, or the alternatives make too many boxes.

    Notes
    -----
    Direction: exact.  A strict bound of an input is both a (closed) side of the box and an atom of the formula.
    """
    regions = _Regions(inputs)
    regions.expand([formula])
    return Spec(inputs, outputs, formula, tuple(Region(lo, hi, join(Or, kept)) for (lo, hi), kept in regions.found.items()))


def spec_queries(spec: Spec, graph: Graph) -> list[Query]:
    """Put a specification about a network as queries: it is sat if and only if one of them is.

    Parameters
    ----------
    spec : Spec
        The specification.
    graph : Graph
        The network, one input vector (n,) and one output vector (m,), entries in row-major order.

    Returns
    -------
    list of Query
        One per box of inputs.  Where a formula names inputs, those are joined to the outputs: output ``m + p`` is the p-th input named.
        No query at all means that no input satisfies the bounds.

    Raises
    ------
    SpecError
        When the sizes of network and specification differ.
    """
    sizes = graph.input_sizes, graph.output_size()
    if sizes != ((spec.inputs,), spec.outputs):
        raise SpecError(f"the specification is about {spec.inputs} inputs and {spec.outputs} outputs, the network has {sizes[0]} and {sizes[1]}; "
                        "pair it with the network that it was written for")
    named = sorted({-1 - k for region in spec.regions for atom in atoms(region.formula) for k, _ in atom.coefficients if k < 0})
    place = {-1 - i: spec.outputs + p for p, i in enumerate(named)}
    joined = _with_inputs(graph, named) if named else graph
    return [Query(joined, region.lo, region.hi, _renamed(region.formula, place)) for region in spec.regions]


def _with_inputs(graph: Graph, named: Sequence[int]) -> Graph:
    builder = Builder()
    x = builder.input(graph.input_sizes[0])
    (y,) = builder.inline(graph, [x])
    return builder.build([builder.concat([y, builder.take(x, named)])])


def _renamed(formula: Formula, place: dict[int, int]) -> Formula:
    if isinstance(formula, Atom):
        moved = sorted(((place.get(k, k), c) for k, c in formula.coefficients), key=operator.itemgetter(0))
        return Atom(tuple(moved), formula.bound, formula.strict)
    return type(formula)(tuple(_renamed(p, place) for p in formula.parts))
