"""The lattice form of a continuous piecewise-affine law, u = max over terms of min over laws, and its network of Min, Max and Gemm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verifiers.explicit_mpc.cell import Cell, Planes, box_cell
from verifiers.explicit_mpc.exact import primitive
from verifiers.explicit_mpc.law import OUTSIDE, Law
from verifiers.explicit_mpc.problem import Exact, Floats
from verifiers.kernel.graph import Affine, Builder, Graph

MAX_CELLS = 200_000


class NotContinuous(ValueError):
    """A law that jumps, or whose domain is in pieces: it has no lattice form."""


@dataclass(frozen=True, eq=False)
class Lattice:
    r"""One output of a continuous law.

    .. math:: u(\theta) = \max_t \min_{j \in S_t} \ell_j(\theta)

    Attributes
    ----------
    laws : (q, d+1) array of Fraction
        Distinct affine functions, the last column constant.
    terms : tuple of tuple of int
        The sets S_t; no law and no term can be left out.
    """

    laws: Exact
    terms: tuple[tuple[int, ...], ...]

    def evaluate(self, points: Floats) -> Floats:
        """Values (N,) at points (N, d) in float64.  Direction: none."""
        values = np.column_stack([points, np.ones(len(points))]) @ self.laws.astype(np.float64).T
        return np.max([values[:, list(term)].min(axis=1) for term in self.terms], axis=0)


def law_cells(law: Law) -> tuple[Planes, list[tuple[Cell, int]]]:
    """The cells of the tree's leaves with interior, exact, each with the number of its map; leaves without value are left out."""
    planes, box = box_cell(law.lb, law.ub)
    found: list[tuple[Cell, int]] = []
    stack: list[Cell | None] = [box]
    for entry in law.tree:
        cell = stack.pop()
        if entry < 0:
            if cell is not None and entry != OUTSIDE:
                found.append((cell, -2 - entry))
            continue
        if cell is None:
            stack += [None, None]
            continue
        plane, sign = planes.add(law.halfspaces[entry])
        signs = planes.signs(cell.vertices, np.array([plane]))[:, 0] * sign if sign else np.zeros(len(cell.vertices), dtype=np.int8)
        if not ((signs > 0).any() and (signs < 0).any()):
            stack += [None, cell] if (signs > 0).any() else [cell, None]
        else:
            parts = cell.cut(planes, plane, (signs * sign).tolist(), sign)
            stack += [parts[0 if sign < 0 else 1], parts[0 if sign > 0 else 1]]
    return planes, found


def lattice(law: Law, output: int = 0) -> Lattice:
    """The lattice form of one output of a law that is continuous on a convex domain, as that of a strictly convex mp-QP is.

    Parameters
    ----------
    law : Law
    output : int

    Returns
    -------
    Lattice
        Equal to the law on its domain: each cell has been shown to have a term none of whose laws is below its own, and in each other term a law
        that is not above it, by exact signs at its vertices.  Outside the domain it goes on continuously, where the law has no value.

    Raises
    ------
    NotContinuous

    Notes
    -----
    On cells where no difference of two laws changes sign, S_i = {j : l_j >= l_i on cell i} is a lattice form [1]_.  Cells are cut only where the
    form made from larger ones fails.  Laws and terms that no cell needs are left out.

    References
    ----------
    .. [1] J. M. Tarela, M. V. Martínez, Region configurations for realizability of lattice piecewise-linear models, Math.
       Comput. Modelling 30 (1999).
    .. [2] C. Wen, X. Ma, B. E. Ydstie, Analytical expression of explicit MPC solution via lattice piecewise-affine function, Automatica 45 (2009).
    """
    planes, leaves = law_cells(law)
    if not leaves:
        raise NotContinuous("the law has no value anywhere")
    number: dict[tuple[Fraction, ...], int] = {}
    own = [number.setdefault(tuple(law.laws[k][output]), len(number)) for k in range(len(law.laws))]
    work = _Work(planes, np.array(list(number), dtype=object), [(cell, own[k]) for cell, k in leaves])
    return Lattice(work.laws, work.solve())


@dataclass(eq=False)
class _Work:
    planes: Planes
    laws: Exact
    cells: list[tuple[Cell, int]]

    def __post_init__(self) -> None:
        self.pairs: dict[tuple[int, int], tuple[int, int]] = {}
        self.signs = [self.compare(*item) for item in self.cells]

    def compare(self, cell: Cell, i: int) -> NDArray[np.int8]:
        """For each law j where l_j - l_i is on the cell: 1 somewhere positive and never negative, -1 the opposite, 0 zero, 2 both."""
        sides = np.array([self.plane(j, i) for j in range(len(self.laws))])
        moving = sides[:, 1] != 0
        signs = np.zeros((len(cell.vertices), len(self.laws)), dtype=np.int8)
        signs[:, moving] = self.planes.signs(cell.vertices, sides[moving, 0]) * sides[moving, 1].astype(np.int8)
        above, below = (signs > 0).any(axis=0), (signs < 0).any(axis=0)
        return np.where(above & below, 2, above.astype(np.int8) - below.astype(np.int8)).astype(np.int8)

    def plane(self, j: int, i: int) -> tuple[int, int]:
        if (j, i) not in self.pairs:
            self.pairs[j, i] = self.planes.add(primitive(self.laws[j] - self.laws[i])) if j != i else (-1, 0)
        return self.pairs[j, i]

    def solve(self) -> tuple[tuple[int, ...], ...]:
        while True:
            terms = _minimal(frozenset(np.nonzero((signs == 0) | (signs == 1))[0].tolist()) for signs in self.signs)
            cuts = dict(self.failures(terms))
            if not cuts:
                return tuple(sorted(tuple(sorted(term)) for term in _irredundant(terms, np.array(self.signs))))
            if len(self.cells) + len(cuts) > MAX_CELLS:
                raise NotContinuous(f"more than {MAX_CELLS} cells; the law has too many maps for a lattice form")
            for k, j in cuts.items():
                self.cut(k, j)

    def failures(self, terms: list[frozenset[int]]) -> Iterator[tuple[int, int]]:
        """Cells that must be cut, each with the law along which."""
        for k, signs in enumerate(self.signs):
            for term in terms:
                within = list(term)
                if (signs[within] <= 0).any():
                    continue
                mixed = [j for j in within if signs[j] == 2]
                if mixed:
                    yield k, mixed[0]
                    break
                sources = [(c, np.nonzero(self.signs[c] == 2)[0]) for c in range(len(self.cells)) if self.source(c) <= term]
                if not any(len(found) for _, found in sources):
                    raise NotContinuous("a law is below its neighbours' lattice form: it jumps, or its domain is not convex")
                yield from ((c, int(found[0])) for c, found in sources if len(found))
                break

    def source(self, c: int) -> frozenset[int]:
        return frozenset(np.nonzero((self.signs[c] == 0) | (self.signs[c] == 1))[0].tolist())

    def cut(self, k: int, j: int) -> None:
        cell, i = self.cells[k]
        plane, _ = self.plane(j, i)
        parts = cell.cut(self.planes, plane, self.planes.signs(cell.vertices, np.array([plane]))[:, 0].tolist())
        self.cells[k], self.signs[k] = (parts[0], i), self.compare(parts[0], i)
        self.cells.append((parts[1], i))
        self.signs.append(self.compare(parts[1], i))


def _minimal(terms: Iterable[frozenset[int]]) -> list[frozenset[int]]:
    """Terms that contain no other: a term with more laws is never above one with fewer of them."""
    kept: list[frozenset[int]] = []
    for term in sorted(set(terms), key=lambda term: (len(term), sorted(term))):
        if not any(other <= term for other in kept):
            kept.append(term)
    return kept


def _irredundant(terms: list[frozenset[int]], signs: NDArray[np.int8]) -> list[frozenset[int]]:
    """Leave out laws while each term keeps one that is not above each cell's own, then terms while each cell keeps one none of whose is below."""
    low, high = signs <= 0, (signs == 0) | (signs == 1)
    short = []
    for term in terms:
        kept = set(term)
        for j in sorted(term, key=lambda j: int(low[:, j].sum())):
            if low[:, sorted(kept - {j})].any(axis=1).all():
                kept.remove(j)
        short.append(frozenset(kept))
    short = _minimal(short)
    for term in sorted(short, key=len, reverse=True):
        rest = [other for other in short if other != term]
        if rest and np.any([high[:, sorted(other)].all(axis=1) for other in rest], axis=0).all():
            short = rest
    return short


def lattice_graph(forms: list[Lattice]) -> Graph:
    """A graph of one affine map, Min and Max whose value is that of the forms with coefficients rounded to float64, one output per form.

    Notes
    -----
    Direction: none; the rounding moves each law by at most the sum of half an ulp of each coefficient times the parameter, which
    :func:`verifiers.explicit_mpc.equivalence.prove_equivalence` bounds exactly.
    """
    builder = Builder("lattice")
    x = builder.input(forms[0].laws.shape[1] - 1)
    return builder.build([builder.concat([add_lattice(builder, x, form) for form in forms])])


def add_lattice(builder: Builder, x: int, form: Lattice) -> int:
    """Add a lattice form to a graph under construction and return the node of its value, of size 1."""
    rows = form.laws.astype(np.float64)
    laws = builder.affine(x, Affine(rows[:, :-1], rows[:, -1]))
    return _fold(builder, "max", [_fold(builder, "min", [builder.take(laws, (j,)) for j in term]) for term in form.terms])


def _fold(builder: Builder, op: str, parts: list[int]) -> int:
    """Join nodes pairwise, so that the depth is the logarithm of their number."""
    while len(parts) > 1:
        joined = [builder.binary(op, a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = joined + parts[len(joined) * 2:]
    return parts[0]
