"""A piecewise-quadratic Lyapunov function for the linear loop of a law: transitions, a matrix inequality, exact certificates for the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from scipy.spatial import QhullError

from verifiers.explicit_mpc.exact import primitive
from verifiers.explicit_mpc.law import OUTSIDE, Law
from verifiers.explicit_mpc.problem import Exact, Floats
from verifiers.explicit_mpc.solve import facets
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import is_positive_semidefinite, rationals
from verifiers.sdp.programme import Programme, Solution, solve
from verifiers.sdp.rounding import significant

Loop = tuple[Exact, Exact]
INFLATION = 1e-7
"""Cells are met with all half-spaces moved outward by this much (unit gradient, parameters of about one), so that no transition is dropped."""
SLACK = Fraction(1, 2)
"""Share of the margin asked of the solver that is claimed; the rest covers rounding."""
ACCURACY = 1e-7
"""Of the solver: small beside the margin, which is of the size of one in scaled parameters."""
BITS = 60
MOST_PAIRS = 40_000


class NoFunction(Refusal):
    """No piecewise-quadratic function was found, or the loop cannot have one, ``NO_PROOF_FOUND``.  It says nothing about stability."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.NO_PROOF_FOUND, "stability", message)


@dataclass(frozen=True, eq=False)
class Stability:
    """Certificates as the kernel reads them, and what the search met.

    Attributes
    ----------
    proof : dict
        The table ``stability`` of the proof (:func:`verifiers.kernel.pwa.check_stability`).
    cells, transitions : int
        Leaves with a value, and pairs of them that got an inequality; all others carry a Farkas certificate.
    seconds : float
        Of the solver.
    """

    proof: dict[str, Any]
    cells: int
    transitions: int
    seconds: float


@dataclass(frozen=True, eq=False)
class _Cone:
    """A closed set {rows >= 0} on which a form is to be non-negative: rows that matter, exact and in float64, and their numbers for the kernel."""

    rows: Floats
    numbers: tuple[int, ...]
    pure: bool


def leaf_rows(law: Law) -> list[tuple[Exact, int]]:
    """For each leaf with a value, in the kernel's order, the rows (r, d+1) of its closed cell, box first, in integers, and the number of its map."""
    d = len(law.lb)
    eye = np.eye(d, dtype=object)
    walls = [rationals(primitive(row * Fraction(1))) for row in (*np.column_stack([eye, -law.lb]), *np.column_stack([-eye, law.ub]))]
    stack, found = [walls], []
    for entry in law.tree:
        path = stack.pop()
        if entry >= 0:
            row = rationals(law.halfspaces[entry])
            stack += [[*path, -row], [*path, row]]
        elif entry != OUTSIDE:
            found.append((rationals(path), -2 - entry))
    return found


def search(law: Law, loop: Loop, seconds: float = 300.0) -> Stability:
    r"""Find a function with one quadratic form per map of a law that falls along its loop, with exact certificates.

    .. math:: V(\theta) = (\theta, 1)^T P_k (\theta, 1) \ge m |\theta|^2, \qquad V(A\theta + B u(\theta)) \le V(\theta) - m |\theta|^2

    Parameters
    ----------
    law : Law
        d parameters, p outputs; it must stay feasible in the loop, which is an obligation of its own.
    loop : (A, B)
        (d, d) and (d, p) arrays of Fraction.
    seconds : float
        Wall seconds for the solver.

    Returns
    -------
    Stability
        Direction: none until the kernel has checked it.  Here all certificates have been tested in rationals already.

    Raises
    ------
    NoFunction

    Notes
    -----
    Pairs of closed cells that one step may join are found by linear programs with all half-spaces moved outward; each other pair gets non-negative
    multiples of its rows that add up to a negative constant, solved exactly on the support of the program's dual, and one for which that fails is
    kept as a transition.  Inequalities are relaxed by products of rows (S-procedure) [1]_, solved in floats with a margin, rounded and tested.

    References
    ----------
    .. [1] M. Johansson, A. Rantzer, Computation of piecewise quadratic Lyapunov functions for hybrid systems, IEEE Trans. Automatic Control 43
       (1998).
    """
    work = _Work(law, loop)
    programme = work.programme()
    answer = solve([programme], seconds=seconds, accuracy=ACCURACY)[0]
    if not isinstance(answer, Solution):
        raise NoFunction(f"no piecewise-quadratic function was found with {len(work.cells)} cells and {work.transitions} transitions: {answer.says}")
    forms = work.forms(answer.x)
    proof = {"margin": str(work.margin), "forms": [[list(map(str, row)) for row in form] for form in forms],
             "positive": [None] * len(work.cells), "steps": [[{"empty": pairs} for pairs in row] for row in work.empty]}
    spent = answer.seconds
    wrong = []
    for t, target in enumerate(work.targets):
        products = work.products(target, answer.x[work.places[t]], forms)
        if products is None:
            wrong.append(t)
        else:
            work.put(proof, target, products)
    if wrong:
        again = solve([work.alone(work.targets[t], forms) for t in wrong], seconds=seconds, accuracy=ACCURACY)
        for t, found in zip(wrong, again, strict=True):
            target = work.targets[t]
            products = work.products(target, found.x[1:], forms) if isinstance(found, Solution) else None
            if products is None:
                raise NoFunction(f"the inequality of {target.says} did not survive rounding")
            spent += found.seconds if isinstance(found, Solution) else 0.0
            work.put(proof, target, products)
    return Stability(proof, len(work.cells), work.transitions, spent)


@dataclass(frozen=True, eq=False)
class _Target:
    """One inequality: P_k - m E [- after' P_m after] - products >= 0 on a cone."""

    i: int
    j: int
    cone: _Cone
    after: Exact | None

    @property
    def says(self) -> str:
        return f"cell {self.i}" if self.after is None else f"the step from cell {self.i} to {self.j}"


class _Work:
    def __init__(self, law: Law, loop: Loop) -> None:
        self.cells, d = leaf_rows(law), len(law.lb)
        if not self.cells or len(self.cells) ** 2 > MOST_PAIRS:
            raise NoFunction(f"the law has {len(self.cells)} leaves with a value; at most {int(MOST_PAIRS**0.5)}, and at least one, are tried")
        reach = np.maximum(abs(law.lb), abs(law.ub)).astype(np.float64)
        self.d, self.scale = d, np.append(2.0 ** np.rint(np.log2(reach)), 1.0)
        self.one = rationals([Fraction(0)] * d + [Fraction(1)])
        self.margin = SLACK / Fraction(float(self.scale[:d].max())) ** 2
        self.maps = []
        for _, k in self.cells:
            after = np.vstack([loop[1] @ law.laws[k], self.one])
            after[:d, :d] = after[:d, :d] + loop[0]
            self.maps.append(after)
        self.home = [bool((rows[:, d] >= 0).all()) for rows, _ in self.cells]
        pure = {k for (_, k), home in zip(self.cells, self.home, strict=True) if home}
        if not pure:
            raise NoFunction("the law has no value at the origin")
        for after, home in zip(self.maps, self.home, strict=True):
            if home and after[:d, d].any():
                raise NoFunction("the loop does not rest at the origin")
        self.basis = [_symmetric(d, k in pure) for k in range(len(law.laws))]
        counts = np.cumsum([0, *(len(basis) for basis in self.basis)])
        self.own = [slice(a, b) for a, b in pairwise(counts.tolist())]
        self.empty: list[list[list[Any] | None]] = [[None] * len(self.cells) for _ in self.cells]
        met = [deepest(self.scaled(rows)) for rows, _ in self.cells]
        self.centres = [centre for _, centre, _ in met]
        self.sides = [bounding(self.scaled(rows), depth, centre) for (rows, _), (depth, centre, _) in zip(self.cells, met, strict=True)]
        self.targets = list(self._targets())
        self.transitions = sum(target.after is not None for target in self.targets)
        at, self.places = int(counts[-1]), list[slice]()
        for target in self.targets:
            size = len(_pairs(target.cone))
            self.places.append(slice(at, at + size))
            at += size
        self.size = at

    # transitions ----------------------------------------------------------------------------------------------------

    def scaled(self, rows: Exact) -> Floats:
        """Rows in parameters of about one, of unit gradient."""
        found = np.array([[float(v / max(abs(row))) for v in row] for row in rows]) * self.scale
        size = np.linalg.norm(found[:, :-1], axis=1)
        return np.asarray(found / np.where(size > 0, size, np.abs(found[:, -1]))[:, None])

    def _targets(self) -> Iterator[_Target]:
        for i, (rows, _) in enumerate(self.cells):
            yield _Target(i, i, self.cone(rows, self.scaled(rows), self.sides[i], self.home[i]), None)
            for j, (other, _) in enumerate(self.cells):
                joined = np.vstack([rows, other @ self.maps[i]])
                floats = self.scaled(joined)
                depth, centre, dual = deepest(floats)
                self.empty[i][j] = farkas(joined, dual) if depth < -INFLATION else None
                if self.empty[i][j] is None:
                    kept = bounding(floats, depth, centre) if depth > INFLATION else [*self.sides[i], *(len(rows) + k for k in self.sides[j])]
                    yield _Target(i, j, self.cone(joined, floats, kept, self.home[i] and self.home[j]), self.maps[i])

    def cone(self, rows: Exact, floats: Floats, kept: list[int], pure: bool) -> _Cone:
        """The rows named, with the constant one; those through the origin alone if the set is pure."""
        kept = [k for k in kept if rows[k, :-1].any() and not (pure and rows[k, -1])]
        one = [] if pure else [self.one.astype(np.float64)]
        return _Cone(np.array([*one, *floats[kept]]).reshape(-1, self.d + 1), (*(0 for _ in one), *(k + 1 for k in kept)), pure)

    # the linear matrix inequality -------------------------------------------------------------------------------------

    def wanted(self, target: _Target) -> Floats:
        """What a form must exceed, in scaled parameters: |s|², and a little in the constant where there is one."""
        eye = np.eye(self.d + 1)
        eye[-1, -1] = 0.0 if target.cone.pure else 1e-4
        return eye

    def linear(self, target: _Target) -> Iterator[tuple[slice, Floats]]:
        """How the unknowns of the forms enter a target, in scaled parameters: columns and matrices (unknowns, d+1, d+1)."""
        k = self.cells[target.i][1]
        yield self.own[k], self.basis[k]
        if target.after is not None:
            m = self.cells[target.j][1]
            after = target.after.astype(np.float64) * self.scale / self.scale[:, None]
            yield self.own[m], -np.einsum("ai,nab,bj->nij", after, self.basis[m], after)

    def programme(self) -> Programme:
        """Forms and multipliers in one programme; V is small at the middles of the cells."""
        blocks = []
        for target, place in zip(self.targets, self.places, strict=True):
            n = self.d + (not target.cone.pure)
            keep = slice(0, n)
            parts = [*self.linear(target), (place, -_products(target.cone))]
            columns = np.concatenate([np.arange(s.start, s.stop) for s, _ in parts])
            values = np.concatenate([m[:, keep, keep].reshape(len(m), n * n) for _, m in parts]).T
            row, col = np.nonzero(values)
            matrix = sparse.csr_matrix((values[row, col], (row, columns[col])), shape=(n * n, self.size))
            blocks.append((n, matrix, -self.wanted(target)[keep, keep].ravel()))
        objective = np.zeros(self.size)
        for (_, k), centre in zip(self.cells, self.centres, strict=True):
            lifted = np.append(centre, 1.0)
            objective[self.own[k]] -= np.einsum("nij,i,j->n", self.basis[k], lifted, lifted)
        unknown = self.own[-1].stop
        return Programme(objective / len(self.cells), tuple(blocks), nonnegative=tuple(range(unknown, self.size)))

    def alone(self, target: _Target, forms: list[Exact]) -> Programme:
        """The multipliers of one target for given forms: as much of the identity as fits, at most one."""
        keep = slice(0, self.d + (not target.cone.pure))
        n = keep.stop
        given = (np.outer(self.scale, self.scale) * self.form(target, forms).astype(np.float64))[keep, keep]
        products = -_products(target.cone)[:, keep, keep].reshape(-1, n * n).T
        linear = sparse.csr_matrix(np.column_stack([-np.eye(n).ravel(), products]))
        ceiling = sparse.csr_matrix(([-1.0], ([0], [0])), shape=(1, linear.shape[1]))
        size = linear.shape[1]
        blocks = ((n, linear, given.ravel()), (1, ceiling, np.ones(1)))
        return Programme(np.append(1.0, np.zeros(size - 1)), blocks, nonnegative=tuple(range(1, size)))

    # exact ------------------------------------------------------------------------------------------------------------

    def forms(self, x: Floats) -> list[Exact]:
        """The forms, rounded, in the law's own parameters."""
        inverse_scale = rationals([1 / Fraction(float(v)) for v in self.scale])
        found = []
        for place, basis in zip(self.own, self.basis, strict=True):
            rounded = significant(np.einsum("n,nij->ij", x[place], basis), BITS)
            found.append(rounded * np.outer(inverse_scale, inverse_scale))
        return found

    def form(self, target: _Target, forms: list[Exact]) -> Exact:
        """What must not be negative on the target's cone, exact."""
        found = forms[self.cells[target.i][1]] - self.margin * np.diag(1 - self.one)
        if target.after is not None:
            found = found - target.after.T @ forms[self.cells[target.j][1]] @ target.after
        return np.asarray(found)

    def products(self, target: _Target, values: Floats, forms: list[Exact]) -> list[list[Any]] | None:
        """Rounded multipliers as the kernel reads them, where they show the target in rationals."""
        rows = rationals([self.one, *self.cells[target.i][0], *(() if target.after is None else self.cells[target.j][0] @ target.after)])
        form, found = self.form(target, forms), list[list[Any]]()
        sizes = self.sizes(rows)
        for (a, b), value in zip(_pairs(target.cone), np.maximum(values, 0.0), strict=True):
            if value > 1e-12:
                r, s = target.cone.numbers[a], target.cone.numbers[b]
                exact = significant([value], 40)[0] * sizes[r] * sizes[s]
                both = exact * np.outer(rows[r], rows[s])
                form = form - both - both.T
                found.append([r, s, str(exact)])
        return found if is_positive_semidefinite(form) else None

    def sizes(self, rows: Exact) -> list[Fraction]:
        """Rational factors by which rows get about unit gradient, as :meth:`scaled` has it."""
        found = []
        for row in rows:
            most = max(abs(row))
            power = Fraction(2) ** (most.numerator.bit_length() - most.denominator.bit_length())
            near = np.array([float(v / most) for v in row]) * self.scale
            size = float(np.linalg.norm(near[:-1]) or abs(near[-1])) * float(most / power)
            found.append(significant([1 / size], 40)[0] / power)
        return found

    def put(self, proof: dict[str, Any], target: _Target, products: list[list[Any]]) -> None:
        """Write the products of a target where the kernel looks for them."""
        if target.after is None:
            proof["positive"][target.i] = products
        else:
            proof["steps"][target.i][target.j] = {"falls": products}


def deepest(rows: Floats) -> tuple[float, Floats, Floats]:
    """Largest t with rows (r, d+1) at least t (-2 to 1) somewhere, such a point, and the dual multipliers, by a linear program."""
    d = rows.shape[1] - 1
    found = linprog(np.append(np.zeros(d), -1.0), A_ub=np.column_stack([-rows[:, :-1], np.ones(len(rows))]), b_ub=rows[:, -1],
                    bounds=[(None, None)] * d + [(None, 1.0)], method="highs")
    if found.status != 0:
        return 0.0, np.zeros(d), np.zeros(len(rows))  # kept as a transition that may happen
    return -float(found.fun), found.x[:d], -np.asarray(found.ineqlin.marginals)


def bounding(rows: Floats, depth: float, centre: Floats) -> list[int]:
    """Rows that bound a set with a point inside; all of them where it has no interior."""
    if depth > INFLATION:
        try:
            return sorted(facets(np.column_stack([-rows[:, :-1], rows[:, -1]]), centre)[0])
        except QhullError:
            pass
    return list(range(len(rows)))


def farkas(rows: Exact, dual: Floats) -> list[list[Any]] | None:
    """Non-negative multiples of rows (r, d+1) that add up to a negative constant, exact, as pairs of the kernel's row and number; None without."""
    d = rows.shape[1] - 1
    order = [int(k) for k in np.argsort(-dual, kind="stable") if dual[k] > 1e-9][:d + 1]
    for count in range(len(order), 0, -1):
        chosen = order[:count]
        factors = kernel_vector(rows[chosen][:, :d])
        if factors is not None and all(v >= 0 for v in factors) and factors @ rows[chosen][:, d] < 0:
            return [[k + 1, str(v)] for k, v in zip(chosen, factors, strict=True) if v]
    return None


def kernel_vector(rows: Exact) -> Exact | None:
    """The y with y' rows = 0 and entries that add up to one; None where it does not exist or is not unique (exact elimination)."""
    n, d = rows.shape
    table = np.vstack([np.column_stack([rows.T, rationals([Fraction(0)] * d)]), rationals([[Fraction(1)] * (n + 1)])]) * Fraction(1)
    done = 0
    for k in range(n):
        lead = next((i for i in range(done, d + 1) if table[i, k]), None)
        if lead is None:
            return None
        table[[done, lead]] = table[[lead, done]]
        table[done] = table[done] / table[done, k]
        others = np.arange(d + 1) != done
        table[others] = table[others] - np.outer(table[others, k], table[done])
        done += 1
    return None if table[done:, n].any() else table[:n, n]


def _symmetric(d: int, pure: bool) -> Floats:
    """A basis (n, d+1, d+1) of symmetric matrices; without the last row and column if pure."""
    found = []
    for i in range(d + (not pure)):
        for k in range(i + 1):
            unit = np.zeros((d + 1, d + 1))
            unit[i, k] = unit[k, i] = 1.0
            found.append(unit)
    return np.array(found)


def _pairs(cone: _Cone) -> list[tuple[int, int]]:
    """Pairs of rows whose products are used: all but the square of the constant."""
    return [(a, b) for b in range(len(cone.rows)) for a in range(b + 1) if cone.pure or b]


def _products(cone: _Cone) -> Floats:
    """The products as symmetric matrices (N, d+1, d+1), twice the product's form as the kernel takes them."""
    pairs = _pairs(cone)
    if not pairs:
        return np.zeros((0, cone.rows.shape[1], cone.rows.shape[1]))
    first, second = cone.rows[[a for a, _ in pairs]], cone.rows[[b for _, b in pairs]]
    both = np.einsum("ni,nj->nij", first, second)
    return np.asarray(both + both.transpose(0, 2, 1))
