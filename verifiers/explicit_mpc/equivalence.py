"""A network of affine maps, Min, Max, Relu, Abs equals a law within a tolerance: decided cell by cell of the law's tree, in exact numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.explicit_mpc.cell import Cell, Planes
from verifiers.explicit_mpc.exact import primitive
from verifiers.explicit_mpc.lattice import law_cells
from verifiers.explicit_mpc.law import Law
from verifiers.explicit_mpc.problem import Exact
from verifiers.kernel.definite import rationals
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Graph, Node, read

MAX_CELLS = 100_000


class NotEqual(ValueError):
    """The network is not the law.

    Attributes
    ----------
    theta : tuple of Fraction
        Where, exact.
    difference : Fraction
        Of which size there.
    """

    def __init__(self, theta: tuple[Fraction, ...], difference: Fraction) -> None:
        at = ", ".join(f"{float(v):.6g}" for v in theta)
        super().__init__(f"the network differs from the law by {float(difference):.3g} at ({at})")
        self.theta, self.difference = theta, difference


class Undecidable(ValueError):
    """A network with other functions than those that are piecewise affine, or one that needs too many cells."""


@dataclass(frozen=True)
class Equivalence:
    """The network equals the law on the law's whole domain.

    Attributes
    ----------
    cells : int
        On which it was shown; at least those of the law's tree.
    bound : Fraction
        The network is nowhere further from the law; at most the tolerance, which serves as a bound wherever laws cross.
    """

    cells: int
    bound: Fraction


def prove_equivalence(law: Law, graph: Graph, tolerance: Fraction) -> Equivalence:
    r"""Show :math:`|N(\theta) - u(\theta)| \le` tolerance wherever the law u has a value.

    Parameters
    ----------
    law : Law
        d parameters, p outputs.
    graph : Graph
        The network N as the kernel reads it from its file: its coefficients are the dyadic numbers that they are.
    tolerance : Fraction
        In the law's units.

    Returns
    -------
    Equivalence

    Raises
    ------
    NotEqual
        With an exact witness.
    Undecidable
        For another function in the network, or too many cells.
    ValueError
        When the sizes differ.

    Notes
    -----
    On a cell each entry of each node has an affine lower and an affine upper bound with rational coefficients (mostly the same one).  Where the
    two arguments of a Min or Max cannot be told apart by their signs at the vertices, the law less or plus the tolerance serves as the bound if
    both are on its right side.  Where bounds are further than the tolerance from the law the cell is cut along a comparison that was open.
    Affine functions attain their extrema over a polytope at its vertices, and the cells cover the domain, so what is shown holds everywhere.
    Signs are those of :class:`verifiers.explicit_mpc.cell.Planes`; the last comparison, of the bounds with the law, is in rationals.
    """
    if graph.input_sizes != (len(law.lb),) or graph.output_size() != law.outputs:
        raise ValueError(f"the network maps {graph.input_sizes} to {graph.output_size()}; the law maps {len(law.lb)} to {law.outputs}")
    planes, leaves = law_cells(law)
    if not leaves:
        raise Undecidable("the law has no value on any set with interior, so there is nothing to compare")
    waiting, cells, worst = [(cell, law.laws[k]) for cell, k in leaves], 0, Fraction(0)
    while waiting:
        if cells + len(waiting) > MAX_CELLS:
            raise Undecidable(f"the network needs more than {MAX_CELLS} cells; write the law in lattice form")
        cell, rows = waiting.pop()
        far, plane = _shown(planes, cell, graph, rows, tolerance)
        if far <= tolerance:
            cells, worst = cells + 1, max(worst, far)
            continue
        _compare_at_vertices(cell, graph, rows, tolerance)
        if plane is None:
            raise Undecidable("the bounds of the network do not meet the law's tolerance on a cell without open comparisons; enlarge the tolerance")
        signs = planes.signs(cell.vertices, np.array([plane]))[:, 0]
        waiting += [(part, rows) for part in cell.cut(planes, plane, signs.tolist())]
    return Equivalence(cells, worst)


def _shown(planes: Planes, cell: Cell, graph: Graph, rows: Exact, tolerance: Fraction) -> tuple[Fraction, int | None]:
    """The largest distance of the network's bounds from the law on a cell, and the plane of a comparison that was left open."""
    worst, plane = Fraction(0), None
    for output, goal in enumerate(rows):
        reading = _Bounds(planes, cell, goal, tolerance)
        start = [_Form(tuple(Fraction(i == k) for k in range(len(goal)))) for i in range(len(goal) - 1)]
        (found,) = read(graph, reading, [[(form, form) for form in start]])
        own = _Form(tuple(goal))
        far = max(abs(value) for bound in found[output] for value in reading.values(bound, own))
        if far > worst:
            worst, plane = far, reading.open
    return worst, plane


def _compare_at_vertices(cell: Cell, graph: Graph, rows: Exact, tolerance: Fraction) -> None:
    for vertex in cell.vertices:
        theta = tuple(Fraction(v, vertex.point[-1]) for v in vertex.point[:-1])
        for value, row in zip(evaluate_exact(graph, theta), rows, strict=True):
            difference = abs(value - sum(a * x for a, x in zip(row, (*theta, Fraction(1)), strict=True)))
            if difference > tolerance:
                raise NotEqual(theta, difference)


@dataclass(frozen=True)
class _Form:
    """An affine function: coefficients, the last one constant."""

    row: tuple[Fraction, ...]

    def minus(self, other: _Form) -> Exact:
        return rationals([a - b for a, b in zip(self.row, other.row, strict=True)])


Bounds = list[tuple[_Form, _Form]]


class _Bounds:
    """A reading of the graph whose values are, per entry, an affine lower and upper bound on the cell."""

    def __init__(self, planes: Planes, cell: Cell, goal: Exact, tolerance: Fraction) -> None:
        self.planes, self.cell = planes, cell
        self.floor, self.roof = (_Form((*goal[:-1], goal[-1] + shift)) for shift in (-tolerance, tolerance))
        self.open: int | None = None
        self.size = len(goal)
        self.known: dict[tuple[_Form, _Form], tuple[bool, bool]] = {}

    def side(self, a: _Form, b: _Form) -> tuple[bool, bool]:
        """Whether a <= b and whether a >= b on the cell."""
        if a is b or a.row == b.row:
            return True, True
        if (a, b) not in self.known:
            plane, sign = self.planes.add(primitive(a.minus(b)))
            signs = self.planes.signs(self.cell.vertices, np.array([plane]))[:, 0] * sign
            self.known[a, b] = bool((signs <= 0).all()), bool((signs >= 0).all())
        return self.known[a, b]

    def values(self, a: _Form, b: _Form) -> list[Fraction]:
        """Values of a - b at the vertices."""
        difference = a.minus(b)
        return [sum(c * v for c, v in zip(difference, vertex.point, strict=True)) / vertex.point[-1] for vertex in self.cell.vertices]

    def constant(self, value: Fraction) -> _Form:
        return _Form((*([Fraction(0)] * (self.size - 1)), value))

    def const(self, node: Node) -> Bounds:
        return [(self.constant(lo), self.constant(hi)) for lo, hi in node.data]

    def affine(self, node: Node, x: Bounds) -> Bounds:
        weight, bias = node.data.rational()
        return [(self._combine(row, c, x, 0), self._combine(row, c, x, 1)) for row, c in zip(weight, bias, strict=True)]

    def _combine(self, row: Sequence[Fraction], constant: Fraction, x: Bounds, side: int) -> _Form:
        total = [Fraction(0)] * (self.size - 1) + [constant]
        for factor, pair in zip(row, x, strict=True):
            if factor:
                form = pair[side if factor > 0 else 1 - side]
                total = [t + factor * v for t, v in zip(total, form.row, strict=True)]
        return _Form(tuple(total))

    def unary(self, node: Node, x: Bounds) -> Bounds:
        negative = [(self._combine([Fraction(-1)], Fraction(0), [pair], 0), self._combine([Fraction(-1)], Fraction(0), [pair], 1)) for pair in x]
        if node.op == "neg":
            return negative
        if node.op in ("relu", "abs"):
            other = negative if node.op == "abs" else [(self.constant(Fraction(0)),) * 2] * len(x)
            return [self.greatest(a, b) for a, b in zip(x, other, strict=True)]
        raise Undecidable(f"the network has {node.op}, which is not piecewise affine")

    def binary(self, node: Node, a: Bounds, b: Bounds) -> Bounds:
        if node.op in ("max", "min"):
            join = self.greatest if node.op == "max" else self.least
            return [join(p, q) for p, q in zip(a, b, strict=True)]
        if node.op in ("add", "sub"):
            pair = [Fraction(1), Fraction(1 if node.op == "add" else -1)]
            return [(self._combine(pair, Fraction(0), [p, q], 0), self._combine(pair, Fraction(0), [p, q], 1)) for p, q in zip(a, b, strict=True)]
        raise Undecidable(f"the network has {node.op}, which is not read here")

    def take(self, node: Node, x: Bounds) -> Bounds:
        return [x[i] for i in node.data]

    def concat(self, node: Node, parts: Sequence[Bounds]) -> Bounds:
        return [pair for part in parts for pair in part]

    def least(self, p: tuple[_Form, _Form], q: tuple[_Form, _Form]) -> tuple[_Form, _Form]:
        """Bounds of the smaller one."""
        return self._lower(p[0], q[0]), self._either(p[1], q[1], 0)

    def greatest(self, p: tuple[_Form, _Form], q: tuple[_Form, _Form]) -> tuple[_Form, _Form]:
        """Bounds of the larger one."""
        return self._either(p[0], q[0], 1), self._upper(p[1], q[1])

    def _lower(self, a: _Form, b: _Form) -> _Form:
        """A function not above a nor b."""
        return self._beyond(a, b, 0)

    def _upper(self, a: _Form, b: _Form) -> _Form:
        """A function not below a nor b."""
        return self._beyond(a, b, 1)

    def _beyond(self, a: _Form, b: _Form, side: int) -> _Form:
        order = self.side(a, b)
        if any(order):
            return a if order[side] else b
        goal = self.roof if side else self.floor
        if self.side(goal, a)[side] and self.side(goal, b)[side]:
            return goal
        self.open = self._plane(a, b)
        values = [value for form in (a, b) for value in self.values(form, self.constant(Fraction(0)))]
        return self.constant(min(values) if side == 0 else max(values))

    def _either(self, a: _Form, b: _Form, side: int) -> _Form:
        """One of a and b, either of which is a bound: that on the better side of the goal, else the tighter."""
        order = self.side(a, b)
        if any(order):
            return a if order[side] else b
        goal = self.floor if side else self.roof
        for form in (a, b):
            if self.side(form, goal)[side]:
                return form
        self.open = self._plane(a, b)
        return a

    def _plane(self, a: _Form, b: _Form) -> int:
        return self.planes.add(primitive(a.minus(b)))[0]
