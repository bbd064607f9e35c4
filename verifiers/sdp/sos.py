r"""Sums of squares: find Gram matrices for the whole-set decrease of a polynomial V along a polynomial loop, and round them to an exact identity.

With y = x - x* scaled to the level set's size, the programme is, for a fixed level c (theorem: docs/theory/sos.md),

.. math:: \max t : \quad -\nabla V \cdot f - \sum_k (w_k^\top H_k w_k)\, g_k = z^\top G z,\qquad G - tI \succeq 0,\; H_k - tI \succeq 0 .

The multipliers are rounded first, proved, and moved across exactly; what is left gets an exact Gram matrix by projection (Peyrl, Parrilo).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from verifiers.kernel.definite import Exact, is_dominant_after_scaling, rationals
from verifiers.kernel.graph import Floats
from verifiers.kernel.polynomial import Monomial, Polynomial, constant, square_form
from verifiers.kernel.sos import constraints, decrease
from verifiers.sdp.programme import Programme, Solution, Unsolved, solve
from verifiers.sdp.rounding import gram, pairs_of, symmetric, texts

Vector = Sequence[Fraction]
CHUNK = 4


@dataclass(frozen=True, eq=False)
class Problem:
    """A loop and a function about an exact equilibrium, as polynomials in y = x - x*.

    Attributes
    ----------
    v : Polynomial
        V(x* + y).
    f : tuple of Polynomial
        The right-hand side.
    x : tuple of Polynomial
        The state x* + y itself.
    domain : (lo, hi)
        Corners of the domain.
    local : bool
        True where {V <= c} is known to lie in the domain anyway (an ellipsoid); then the domain needs no multipliers.
    """

    v: Polynomial
    f: tuple[Polynomial, ...]
    x: tuple[Polynomial, ...]
    domain: tuple[Vector, Vector]
    local: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """Monomials of z and of each multiplier, for one level."""

    rest: Polynomial
    basis: tuple[Monomial, ...]
    multipliers: tuple[tuple[str, Polynomial, tuple[Monomial, ...]], ...]


def monomials(n: int, low: int, high: int) -> tuple[Monomial, ...]:
    """All monomials in n variables of degree low to high, by degree."""
    return tuple(m for d in range(low, high + 1) for m in itertools.product(range(d + 1), repeat=n) if sum(m) == d)


def degrees(p: Polynomial) -> tuple[int, int]:
    """Least and largest degree of the terms of a polynomial (0, 0 without terms)."""
    found = [sum(m) for m in p.terms]
    return min(found, default=0), max(found, default=0)


def plan(problem: Problem, level: Fraction, order: int | None = None) -> Plan:
    """Choose the monomials: multipliers that reach the degree of V', and every z between the least and the largest degree.

    ``order`` is half the largest degree of the identity; None takes the least that the multiplier of the level needs.
    """
    n, rest = len(problem.f), decrease(problem.v, problem.f)
    low, high = degrees(rest)
    first, degree = max(1, (low + 1) // 2), degrees(problem.v)[1]
    half = max(order or 0, (high + 1) // 2, first + (degree + 1) // 2)
    known = constraints(problem.v, level, problem.x, problem.domain)
    multipliers = []
    for name, g in known.items():
        top = half - (degrees(g)[1] + 1) // 2
        if (name == "level" or not problem.local) and top >= first:
            multipliers.append((name, g, monomials(n, first, top)))
    return Plan(rest, monomials(n, first, half), tuple(multipliers))


def scaled(p: Polynomial, scale: Sequence[Fraction]) -> Polynomial:
    """The polynomial p(r_1 y_1, ..., r_n y_n)."""
    return Polynomial({m: v * math.prod((r**k for r, k in zip(scale, m, strict=True)), start=Fraction(1)) for m, v in p.terms.items()})


def programme(chosen: Plan, scale: Sequence[Fraction]) -> Programme:
    """The programme of the module's docstring; variables: t, then the upper triangles of G and of every H."""
    squares = [(constant(Fraction(1), len(scale)), chosen.basis), *((scaled(g, scale), w) for _, g, w in chosen.multipliers)]
    target = scaled(chosen.rest, scale)
    size = 1 + sum(len(w) * (len(w) + 1) // 2 for _, w in squares)
    places: dict[Monomial, int] = {}
    rows, columns, values, blocks, at = [], [], [], [], 1
    for g, w in squares:
        n, upper = len(w), np.triu_indices(len(w))
        entry = np.zeros((n, n), dtype=int)
        entry[upper] = entry.T[upper] = np.arange(at, at + len(upper[0]))
        factor = [(m, float(v)) for m, v in g.terms.items()]
        for monomial, pairs in pairs_of(w).items():
            for m, v in factor:
                row = places.setdefault(tuple(p + q for p, q in zip(monomial, m, strict=True)), len(places))
                for i, j in pairs:
                    rows.append(row)
                    columns.append(entry[i, j])
                    values.append(v)
        data, place = np.ones(n * n + n), np.concatenate([np.arange(n * n), np.arange(n) * (n + 1)])
        data[n * n:] = -1.0
        linear = sparse.csr_matrix((data, (place, np.concatenate([entry.ravel(), np.zeros(n, dtype=int)]))), shape=(n * n, size))
        blocks.append((n, linear, np.zeros(n * n)))
        at += len(upper[0])
    goal = np.zeros(len(places) + len(set(target.terms) - set(places)))
    for monomial, v in target.terms.items():
        goal[places.setdefault(monomial, len(places))] = float(v)
    equal = sparse.csr_matrix((values, (rows, columns)), shape=(len(goal), size))
    objective = np.zeros(size)
    objective[0] = 1.0
    return Programme(objective, tuple(blocks), (equal, goal))


def certificate(chosen: Plan, scale: Sequence[Fraction], solution: Solution, bits: int = 44) -> dict[str, Any] | None:
    """The fields ``basis``, ``gram`` and ``multipliers`` of a proof, or None where the rounded matrices are not proved definite."""
    sizes = [len(chosen.basis), *(len(w) for *_, w in chosen.multipliers)]
    at, found = 1, []
    for n in sizes:
        upper, count = np.triu_indices(n), n * (n + 1) // 2
        matrix = np.zeros((n, n))
        matrix[upper] = matrix.T[upper] = solution.x[at:at + count]
        found.append(matrix)
        at += count
    rest, multipliers = chosen.rest, []
    for (name, g, w), near in zip(chosen.multipliers, found[1:], strict=True):
        h = _unscaled(symmetric(near, bits), w, scale)
        if not is_dominant_after_scaling(h):
            return None
        rest = rest.plus(g.times(square_form(w, h)), Fraction(-1))
        multipliers.append({"of": name, "basis": [list(m) for m in w], "gram": [texts(row) for row in h]})
    last = gram(scaled(rest, scale), chosen.basis, found[0], bits)
    if last is None:
        return None
    last = _unscaled(last, chosen.basis, scale)
    return {"basis": [list(m) for m in chosen.basis], "gram": [texts(row) for row in last], "multipliers": multipliers}


def _unscaled(matrix: Exact, basis: Sequence[Monomial], scale: Sequence[Fraction]) -> Exact:
    """The Gram matrix in y from the one in y / r."""
    factor = rationals([1 / math.prod((r**k for r, k in zip(scale, m, strict=True)), start=Fraction(1)) for m in basis])
    return np.asarray(factor[:, None] * matrix * factor[None, :])


def prove_levels(problem: Problem, levels: Sequence[Fraction], *, order: int | None = None, solver: str = "CLARABEL",
                 seconds: float = 120.0) -> tuple[Fraction, dict[str, Any]] | Unsolved:
    """Prove the decrease on {V <= c} for the largest level that can be.

    Parameters
    ----------
    problem : Problem
        Loop, function and domain.
    levels : sequence of Fraction
        Levels to try, the largest first; ``CHUNK`` of them are solved in one child process.
    order : int, optional
        Half the largest degree of the identity.

    Returns
    -------
    (level, fields) or Unsolved
        The largest level with a certificate that was proved here in exact arithmetic; else why there is none, which refutes nothing.
    """
    chosen = [(c, plan(problem, c, order)) for c in sorted(levels, reverse=True)]
    reason, end = Unsolved("infeasible", "no level was asked for"), time.monotonic() + seconds
    for first in range(0, len(chosen), CHUNK):
        some = chosen[first:first + CHUNK]
        scale = scale_of(problem, some[0][0])
        answers = solve([programme(p, scale) for _, p in some], solver=solver, seconds=max(1.0, end - time.monotonic()))
        for (level, p), answer in zip(some, answers, strict=True):
            if isinstance(answer, Unsolved):
                reason = answer
                continue
            fields = certificate(p, scale, answer) if answer.x[0] > 0 else None
            if fields is not None:
                return level, fields
            reason = Unsolved("infeasible", f"at the level {float(level):.9g} the margin is {answer.x[0]:.2g}, and the rounded matrices are not "
                              "definite")
    return reason


def scale_of(problem: Problem, level: Fraction) -> list[Fraction]:
    """Powers of two near the reach of {V <= level} along each axis: numbers of order one in the programme, no change of what is proved.

    Where the domain has multipliers its half-widths are taken instead.
    """
    if not problem.local:
        return [Fraction(2) ** round(math.log2((b - a) / 2)) for a, b in zip(*problem.domain, strict=True)]
    found = []
    for i in range(len(problem.f)):
        axis = {m[i]: float(v) for m, v in problem.v.terms.items() if sum(m) == m[i]}
        roots = np.roots([axis.get(k, 0.0) - (float(level) if k == 0 else 0.0) for k in range(max(axis, default=0), -1, -1)])
        real = np.abs(roots[np.abs(roots.imag) < 1e-6].real)
        found.append(Fraction(2) ** round(math.log2(max(float(real.min(initial=1.0)), 2.0**-20))))
    return found


def along_rays(p: Polynomial, directions: Floats) -> Floats:
    """Coefficients (B, d + 1) of p(r u) in r for unit vectors u (B, n), lowest power first."""
    found = np.zeros((len(directions), degrees(p)[1] + 1))
    for m, v in p.terms.items():
        found[:, sum(m)] += float(v) * np.prod(directions ** np.array(m), axis=1)
    return found


def first_failure(problem: Problem, directions: Floats) -> Floats:
    """V (B,) at the first point of each ray from the equilibrium where V' = 0 (infinite where there is none).  Floats: an estimate."""
    loss, value = along_rays(decrease(problem.v, problem.f), directions), along_rays(problem.v, directions)
    found = np.full(len(directions), np.inf)
    for k, (a, b) in enumerate(zip(loss, value, strict=True)):
        present = np.flatnonzero(np.abs(a) > 1e-12 * np.abs(a).max(initial=0.0))
        if not present.size or a[present[0]] <= 0:
            found[k] = -np.inf  # V' >= 0 arbitrarily near
            continue
        roots = np.roots(a[present[0]:][::-1])
        real = roots[(np.abs(roots.imag) < 1e-7 * np.abs(roots)) & (roots.real > 0)].real
        if real.size:
            found[k] = float(np.polynomial.polynomial.polyval(real.min(), b))
    return found


def values(p: Polynomial, points: Floats) -> Floats:
    """p (B,) at float points (B, n)."""
    total = np.zeros(len(points))
    for m, v in p.terms.items():
        total += float(v) * np.prod(points ** np.array(m), axis=1)
    return total


def quadratic_form(matrix: Sequence[Vector]) -> Polynomial:
    """The polynomial y' P y."""
    n = len(matrix)
    return square_form(monomials(n, 1, 1)[::-1], rationals(matrix)) if n else Polynomial({})


def claim_terms(p: Polynomial, origin: Mapping[int, Fraction] | Vector) -> list[Any]:
    """The terms of a certificate's function of kind ``polynomial`` in x, from a polynomial in y = x - x*."""
    n = len(origin)
    back = [constant(-origin[i], n).plus(Polynomial({tuple(int(i == j) for j in range(n)): Fraction(1)})) for i in range(n)]
    total = Polynomial({})
    for m, v in p.terms.items():
        term = constant(v, n)
        for i, k in enumerate(m):
            for _ in range(k):
                term = term.times(back[i])
        total = total.plus(term)
    return [[list(m), str(v)] for m, v in sorted(total.terms.items())]
