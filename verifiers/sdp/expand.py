r"""A larger region from a proved one: the multiplier of the level is kept, and V is searched anew.  A candidate, and nothing more.

The condition of :mod:`verifiers.sdp.sos` is bilinear in V and the level's multiplier s.  Searching the multiplier for a fixed V is what a proof does;
here s is fixed and V is free, and both take turns.  With V at the level 1, G and the domain's multipliers as they come,

.. math:: \min_V \sum_{x \in I} \max(0, V(x) - 1) : \quad -\nabla V \cdot f - s\,(1 - V) - \sum_i s_i\, g_i = z^\top G z,\quad G \succeq \tau I,\quad
          V(x) \ge 1 \;(x \in O)

where I are states of the domain that converge and O are some that do not, and some of the domain's boundary.  So {V <= 1} grows towards the true
region, and not merely by a factor.  tau keeps the next multiplier a margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from verifiers.kernel.definite import rationals
from verifiers.kernel.graph import Floats
from verifiers.kernel.polynomial import Monomial, Polynomial, constant, square_form
from verifiers.sdp.programme import Programme, Unsolved, solve
from verifiers.sdp.rounding import pairs_of, significant
from verifiers.sdp.sos import Problem, degrees, monomials, plan, scale_of, scaled, values

TAUS = (1e-5, 1e-6, 1e-7)
"""Margins tau that are tried, in turn."""
NEAR, FAR = 0.8, 3.0
"""Values of the old V, at the level 1, above which converging states are asked for, and below which others are kept out."""
WANTED, KEPT_OUT, EDGE = 500, 300, 300
HELD = 0.98
"""Largest value where V has to be below its level."""


@dataclass
class _Identity:
    """The coefficients of an identity of polynomials that is linear in the variables, and the matrices that have to be definite."""

    size: int
    places: dict[Monomial, int] = field(default_factory=dict)
    entries: list[tuple[int, int, float]] = field(default_factory=list)
    blocks: list[tuple[np.ndarray, float]] = field(default_factory=list)

    def row(self, monomial: Monomial) -> int:
        """The equation of a monomial."""
        return self.places.setdefault(monomial, len(self.places))

    def add(self, variable: int, p: Polynomial) -> None:
        """Add a variable times p."""
        self.entries += [(self.row(m), variable, float(v)) for m, v in p.terms.items()]

    def subtract_square(self, basis: tuple[Monomial, ...], g: Polynomial, least: float) -> None:
        """Subtract g times a square form in a basis, whose matrix is new variables and at least ``least`` times the identity."""
        n, upper = len(basis), np.triu_indices(len(basis))
        entry = np.zeros((n, n), dtype=int)
        entry[upper] = entry.T[upper] = np.arange(self.size, self.size + len(upper[0]))
        self.size += len(upper[0])
        for monomial, pairs in pairs_of(basis).items():
            for m, v in g.terms.items():
                row = self.row(tuple(p + q for p, q in zip(monomial, m, strict=True)))
                self.entries += [(row, int(entry[i, j]), -float(v)) for i, j in pairs]
        self.blocks.append((entry, least))


def multiplier(fields: Mapping[str, Any]) -> Polynomial | None:
    """The level's multiplier of a proof's fields; None where it has none."""
    for item in fields["multipliers"]:
        if item["of"] == "level":
            return square_form([tuple(m) for m in item["basis"]], rationals([[Fraction(v) for v in row] for row in item["gram"]]))
    return None


def expand(problem: Problem, level: Fraction, fields: Mapping[str, Any], states: tuple[Floats, Floats], *, order: int,
           degree: int | None = None, seed: int = 0, solver: str = "CLARABEL", seconds: float = 120.0) -> Polynomial | None:
    """Search V anew, with the multiplier of a proof.

    Parameters
    ----------
    problem : Problem
        Loop, domain, and the function that was proved.
    level, fields
        What :func:`verifiers.sdp.sos.prove_levels` proved of it.
    states : ((A, n), (B, n))
        States of the domain relative to the equilibrium, some that converge and some that do not.
    order : int
        Half the largest degree of the identity.
    degree : int, optional
        Of the new V; that of the old one by default.

    Returns
    -------
    Polynomial or None
        V in y, its level about 1; None where the programme has no solution.
    """
    s = multiplier(fields)
    if s is None:
        return None
    old = replace(problem, v=Polynomial({m: v / level for m, v in problem.v.terms.items()}))
    n, scale = len(problem.f), scale_of(old, Fraction(1))
    basis, chosen, fixed = monomials(n, 2, degree or degrees(problem.v)[1]), plan(old, Fraction(1), order), scaled(s, scale)
    f = [scaled(p, scale) for p in problem.f]
    inside, outside = _states(old, states, seed)
    rows = [np.stack([values(Polynomial({m: Fraction(1)}), x / np.array([float(r) for r in scale])) for m in basis], axis=1)
            for x in (inside, outside)]
    squares = [(chosen.basis, constant(Fraction(1), n)), *((w, scaled(g, scale)) for name, g, w in chosen.multipliers if name != "level")]
    for tau in TAUS:
        made = search(basis, f, scale, fixed, squares, tau, (rows[0], rows[1], rows[0][:0]))
        (answer,) = solve([made], solver=solver, seconds=seconds)
        if not isinstance(answer, Unsolved):
            return found_in(basis, answer.x, scale)
    return None


def found_in(basis: tuple[Monomial, ...], x: Floats, scale: Sequence[Fraction]) -> Polynomial:
    """V in y from a solution of :func:`search`, its coefficients rounded to rationals."""
    found = zip(basis, significant(x[:len(basis)], 30), strict=True)
    return scaled(Polynomial({m: v for m, v in found if v}), [1 / r for r in scale])


def search(basis: tuple[Monomial, ...], f: Sequence[Polynomial], scale: Sequence[Fraction], s: Polynomial,
           squares: Sequence[tuple[tuple[Monomial, ...], Polynomial]], tau: float, rows: tuple[Floats, Floats, Floats]) -> Programme:
    """The programme of the module's docstring in y / scale; variables: V, the matrices, what the states exceed 1 by, and their rooms.

    ``squares`` are pairs of a basis and g, the first being z and 1; ``rows`` are the monomials (., len(basis)) at the states to be filled, at those
    to be kept out, and at those where V has to be at most ``HELD``.
    """
    identity = _Identity(len(basis))
    for i, m in enumerate(basis):
        v = Polynomial({m: Fraction(1)})
        total = s.times(v)
        for j, component in enumerate(f):
            total = total.plus(v.derivative(j).times(component), -1 / scale[j])
        identity.add(i, total)
    for w, g in squares:
        identity.subtract_square(w, g, tau)
    return _programme(identity, s, *rows)


def _states(old: Problem, states: tuple[Floats, Floats], seed: int) -> tuple[Floats, Floats]:
    """States to be filled, and states to be kept out."""
    rng = np.random.default_rng(seed)
    lo, hi = (np.array([float(p - c.terms.get((0,) * len(old.x), Fraction(0))) for p, c in zip(side, old.x, strict=True)]) for side in old.domain)
    edge = on_faces(lo, hi, EDGE, rng)
    within, beyond = (x[rng.permutation(len(x))] for x in states)
    beyond = beyond[values(old.v, beyond) < FAR][:KEPT_OUT]
    return within[values(old.v, within) > NEAR][:WANTED], np.concatenate([beyond, edge])


def on_faces(lo: Floats, hi: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Random points (count, n) of a box's boundary."""
    edge = rng.uniform(lo, hi, (count, len(lo)))
    side = rng.integers(0, 2 * len(lo), count)
    edge[np.arange(count), side // 2] = np.where(side % 2 == 0, lo[side // 2], hi[side // 2])
    return edge


def _programme(identity: _Identity, fixed: Polynomial, inside: Floats, outside: Floats, held: Floats) -> Programme:
    goal = {identity.row(m): float(v) for m, v in fixed.terms.items()}
    first, count, (a, b, c) = identity.size, inside.shape[1], (len(inside), len(outside), len(held))
    size, eye = first + 2 * a + b + c, sparse.identity
    row, column, value = (np.array(part) for part in zip(*identity.entries, strict=True))
    here = sparse.csr_matrix((value, (row, column)), shape=(len(identity.places), size))
    filled = sparse.hstack([inside, sparse.csr_matrix((a, first - count)), -eye(a), eye(a), sparse.csr_matrix((a, b + c))])
    others = sparse.hstack([np.concatenate([outside, held]), sparse.csr_matrix((b + c, first - count + 2 * a)),
                            sparse.diags(np.concatenate([-np.ones(b), np.ones(c)]))])
    right = np.concatenate([[goal.get(k, 0.0) for k in range(len(identity.places))], np.ones(a + b), np.full(c, HELD)])
    objective = np.zeros(size)
    objective[first:first + a] = -1 / max(a, 1)
    blocks = [(len(entry), sparse.csr_matrix((np.ones(entry.size), (np.arange(entry.size), entry.ravel())), shape=(entry.size, size)),
               -least * np.eye(len(entry)).ravel()) for entry, least in identity.blocks]
    return Programme(objective, tuple(blocks), (sparse.csr_matrix(sparse.vstack([here, filled, others])), right), tuple(range(first, size)))
