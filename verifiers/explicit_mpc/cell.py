"""Convex cells of the parameter box, cut by hyperplanes: vertices in integers, signs in float64 where these are beyond doubt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from verifiers.explicit_mpc.exact import Row, primitive
from verifiers.explicit_mpc.problem import Exact, Floats

DOUBT = 1e-9
"""Signs of values below this, in parameters scaled to [-1, 1] and rows of unit gradient, are decided in integers."""


class Vertex:
    """A point in integers: theta = point[:d] / point[d], point[d] > 0, and the same scaled to the box, rounded, with a one at the end."""

    __slots__ = ("point", "scaled", "signs")

    def __init__(self, point: tuple[int, ...], centre: Floats, radius: Floats) -> None:
        self.point = point
        self.scaled = np.append((np.array([v / point[-1] for v in point[:-1]]) - centre) / radius, 1.0)
        self.signs: dict[int, int] = {}


@dataclass(eq=False)
class Planes:
    """All hyperplanes met so far, each once whatever the sign of its row; row k of ``scaled`` is plane k in scaled parameters.

    Attributes
    ----------
    centre, radius : (d,) arrays
        Of the box.
    rows : list of Row
        Canonical: the first entry that is not zero is positive.
    """

    centre: Floats
    radius: Floats
    rows: list[Row] = field(default_factory=list)
    number: dict[Row, int] = field(default_factory=dict)
    scaled: Floats = field(default_factory=lambda: np.zeros((64, 0)))

    def add(self, row: Row) -> tuple[int, int]:
        """Number of the plane and sign of the row in it; the sign is 0 for the row of zeros."""
        lead = next((v for v in row if v), 0)
        if not lead:
            return -1, 0
        sign = 1 if lead > 0 else -1
        row = tuple(sign * v for v in row)
        if row not in self.number:
            self.number[row] = len(self.rows)
            if len(self.scaled) <= len(self.rows) or not self.scaled.shape[1]:
                grown = np.zeros((max(64, 2 * len(self.rows)), len(row)))
                grown[:len(self.rows)] = self.scaled[:len(self.rows)] if self.rows else 0.0
                self.scaled = grown
            size = max(map(abs, row))
            given = np.array([v / size for v in row])
            scaled = np.append(given[:-1] * self.radius, given[:-1] @ self.centre + given[-1])
            self.scaled[len(self.rows)] = scaled / (np.linalg.norm(scaled[:-1]) or abs(scaled[-1]))
            self.rows.append(row)
        return self.number[row], sign

    def sign(self, vertex: Vertex, plane: int) -> int:
        """The exact sign of a plane's row at a vertex."""
        if plane not in vertex.signs:
            value = sum(map(int.__mul__, self.rows[plane], vertex.point))
            vertex.signs[plane] = (value > 0) - (value < 0)
        return vertex.signs[plane]

    def signs(self, vertices: Sequence[Vertex], planes: Floats) -> Floats:
        """Signs (len(vertices), len(planes)) of planes, given by their numbers, at vertices."""
        values = np.array([v.scaled for v in vertices]) @ self.scaled[planes].T
        found = np.sign(values).astype(np.int8)
        for i, k in zip(*np.nonzero(np.abs(values) < DOUBT), strict=True):
            found[i, k] = self.sign(vertices[i], int(planes[k]))
        return found


@dataclass(eq=False)
class Cell:
    """A polytope with interior, the intersection of half-spaces in the order in which they cut it.

    Attributes
    ----------
    path : list of (plane, sign)
        Half-space ``sign * row >= 0``; the first 2 d are the box, lower ends first.
    vertices : list of Vertex
    tight : list of int
        For each vertex the bits of those entries of ``path`` that are equalities there.
    strict : int
        Bits of those entries of ``path`` of which the border does not belong to the cell.
    """

    path: list[tuple[int, int]]
    vertices: list[Vertex]
    tight: list[int]
    strict: int = 0

    def cut(self, planes: Planes, plane: int, signs: Iterable[int], closed: int = 1) -> tuple[Cell, Cell]:
        """The parts where the plane's row is at least and at most zero, given its signs at the vertices; its points go to the side ``closed``.

        A part has no interior where its sign does not occur.
        """
        bit, d = 1 << len(self.path), len(planes.centre)
        sides = list(signs)
        above, below = ([i for i, s in enumerate(sides) if s == side] for side in (1, -1))
        new, marks = [], []
        row = planes.rows[plane]
        values = {i: abs(sum(map(int.__mul__, row, self.vertices[i].point))) for i in (*above, *below)}
        for i in above:
            for k in below:
                common = self.tight[i] & self.tight[k]
                if common.bit_count() < d - 1 or any(common & t == common for j, t in enumerate(self.tight) if j not in (i, k)):
                    continue
                mixed = [values[k] * a + values[i] * b for a, b in zip(self.vertices[i].point, self.vertices[k].point, strict=True)]
                common_factor = math.gcd(*mixed)
                new.append(Vertex(tuple(v // common_factor for v in mixed), planes.centre, planes.radius))
                new[-1].signs[plane] = 0
                marks.append(common | bit)
        on = [i for i, s in enumerate(sides) if s == 0]

        def part(side: list[int], sign: int) -> Cell:
            return Cell([*self.path, (plane, sign)], [*(self.vertices[i] for i in side), *(self.vertices[i] for i in on), *new],
                        [*(self.tight[i] for i in side), *(self.tight[i] | bit for i in on), *marks],
                        self.strict if sign == closed else self.strict | bit)

        return part(above, 1), part(below, -1)

    def inner_points(self, planes: Planes) -> Iterator[Exact]:
        """Rational points of the interior: the mean of the vertices, then means with random weights; in float64 where that is inside."""
        draw = np.random.default_rng(len(self.vertices))
        weights = np.ones(len(self.vertices), dtype=np.int64)
        while True:
            mean = weights @ np.array([v.scaled[:-1] for v in self.vertices]) / weights.sum() * planes.radius + planes.centre
            rounded = np.array([Fraction(v) for v in mean.tolist()], dtype=object)
            point = (*rounded, Fraction(1))
            if all(sign * sum(a * x for a, x in zip(planes.rows[plane], point, strict=True)) > 0 for plane, sign in self.path):
                yield rounded
            else:
                corners = np.array([[Fraction(v, vertex.point[-1]) for v in vertex.point[:-1]] for vertex in self.vertices], dtype=object)
                yield np.asarray(weights.astype(object) @ corners / int(weights.sum()))
            weights = draw.integers(1, 1000, len(self.vertices))


def box_cell(lb: Exact, ub: Exact) -> tuple[Planes, Cell]:
    """The box itself, and the planes, of which its faces are the first 2 d (lower ends first)."""
    d = len(lb)
    middle, half = (lb + ub) / 2, (ub - lb) / 2
    planes = Planes(middle.astype(float), half.astype(float))
    path = []
    for ends, direction in ((lb, 1), (ub, -1)):
        for i in range(d):
            row = np.array([Fraction(direction * (i == k)) for k in range(d)] + [-direction * ends[i]], dtype=object)
            path.append(planes.add(primitive(row)))
    vertices, tight = [], []
    for corner in range(1 << d):
        upper = [bool(corner >> i & 1) for i in range(d)]
        ends = [ub[i] if up else lb[i] for i, up in enumerate(upper)]
        scale = math.lcm(*(q.denominator for q in ends))
        vertices.append(Vertex((*(int(q * scale) for q in ends), scale), planes.centre, planes.radius))
        tight.append(sum(1 << (d * up + i) for i, up in enumerate(upper)))
    return planes, Cell(path, vertices, tight)
