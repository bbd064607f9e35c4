"""Regions of attraction by sums of squares: a polynomial function that decreases on its whole level set, the equilibrium's neighbourhood included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import minimize

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import inverse
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Floats
from verifiers.kernel.local import Enclosure
from verifiers.kernel.polynomial import Polynomial, polynomials, shifted
from verifiers.kernel.setting import Source, make_stage
from verifiers.kernel.sos import polynomial_graph
from verifiers.kernel.stage import Stage
from verifiers.kernel.tree import LEAF, NOTHING
from verifiers.region import quadratic as quad
from verifiers.region.attraction import Undecided, Work, texts
from verifiers.sdp.expand import expand
from verifiers.sdp.fit import fit, parted
from verifiers.sdp.programme import Unsolved
from verifiers.sdp.sos import Problem, claim_terms, first_failure, prove_levels, quadratic_form, values

FACTORS = (1 - 1e-9, 1 - 1e-7, 1 - 1e-6, 1 - 1e-5, 0.9999, 0.999, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.65, 0.5, 0.25)
COARSE = 5  # a fitted polynomial is not proved closer to the estimate than the sixth factor
ROUNDS, GAIN, GROWTH, GROWN = 5, 1e-3, 0.5, (0.999, 0.99)
"""A fitted function grows that often at most, while its share of the samples does by this much, within this share of the budget left;
and the levels that are tried, below the estimate."""
DIGITS, BETWEEN = 10, 3
DEPTH = 22
FAR = 1e-9


@dataclass(frozen=True, eq=False)
class Candidate:
    """A function to be proved: name and source in the setting, entry among a certificate's functions (None: a named file), and the problem."""

    name: str
    source: Source
    entry: dict[str, Any] | None
    problem: Problem
    order: int | None = None


def prove_whole(work: Work, degree: int | None = None) -> None:
    """Prove the region of attraction of the setting by sums of squares; fills ``work`` or raises :class:`Undecided`.

    Parameters
    ----------
    degree : int, optional
        Of the function that is searched where none is named: 2 by default, a fitted polynomial above (:mod:`verifiers.sdp.fit`).

    Raises
    ------
    Undecided
        When there is no exact equilibrium, or no certificate was found and proved; what is no polynomial is declined.
    """
    origin = _exact_equilibrium(work)
    x = shifted(origin)
    f = tuple(polynomials(work.setting.loop.field, x))
    if "V" in work.setting.functions:
        candidate = _named(work, x, f)
    else:
        candidate = _fitted(work, origin, x, f, degree) if degree is not None and degree > 2 else _quadratic(work, origin, x, f)
    wanted = work.setting.requirement.level
    factors = FACTORS if candidate.order is None else FACTORS[COARSE:]
    levels = [wanted] if wanted is not None else _levels(ceiling(candidate.problem, candidate.source, work.seed), factors)
    found = prove_levels(candidate.problem, levels, order=candidate.order, seconds=max(1.0, work.left))
    if isinstance(found, Unsolved) and candidate.name == "V" and found.reason == "infeasible":
        found = prove_levels(replace(candidate.problem, local=False), levels, seconds=max(1.0, work.left))
    grows = candidate.order is not None and wanted is None
    if not isinstance(found, Unsolved) and found[0] < max(levels) and not grows:
        found = _finer(work, candidate, found, min(c for c in levels if c > found[0]))
    if isinstance(found, Unsolved):
        code = {"timeout": Code.BUDGET, "absent": Code.UNSUPPORTED}.get(found.reason, Code.NO_PROOF_FOUND)
        raise Undecided(code, "whole", f"no sum of squares was found and proved for {candidate.name}: {found.says}")
    steps = [(candidate, found), *(_grown(work, origin, candidate, found) if grows else [])]
    while len(steps) > 1:
        try:
            return _record(work, steps[-1][0], *steps[-1][1])
        except Undecided:  # it touches the boundary of the domain
            steps.pop()
    _record(work, candidate, *found)


def _grown(work: Work, origin: tuple[Fraction, ...], candidate: Candidate, found: tuple[Fraction, dict[str, Any]]
           ) -> list[tuple[Candidate, tuple[Fraction, dict[str, Any]]]]:
    """Larger regions, each proved: function and multipliers take turns (:mod:`verifiers.sdp.expand`) while the samples see them grow."""
    centre = np.array([float(q) for q in origin])
    start, inside = parted(work.loop, centre, work.box, work.seed)
    y, end, made = start - centre, work.left * (1 - GROWTH), list[tuple[Candidate, tuple[Fraction, dict[str, Any]]]]()
    share, order = np.mean(values(candidate.problem.v, y) <= float(found[0])), candidate.order or 0
    while len(made) < ROUNDS and work.left > end:
        v = expand(candidate.problem, *found, (y[inside], y[~inside]), order=order, seed=work.seed, seconds=max(1.0, work.left - end))
        if v is None:
            break
        candidate = _polynomial(origin, replace(candidate.problem, v=v), order)
        top = ceiling(candidate.problem, candidate.source, work.seed)
        after = prove_levels(candidate.problem, _levels(top, GROWN), order=order, seconds=max(1.0, work.left - end)) if top > 0 else None
        if after is None or isinstance(after, Unsolved):
            break
        before, share = share, np.mean(values(v, y) <= float(after[0]))
        if not share > (1 + GAIN) * before:
            break
        found = after
        made.append((candidate, found))
    return made


def _finer(work: Work, candidate: Candidate, found: tuple[Fraction, dict[str, Any]], above: Fraction) -> tuple[Fraction, dict[str, Any]]:
    """Levels between the one proved and the next one tried."""
    steps = [found[0] + (above - found[0]) * Fraction(k, BETWEEN + 1) for k in range(1, BETWEEN + 1)]
    better = prove_levels(candidate.problem, steps, order=candidate.order, seconds=max(1.0, work.left))
    return found if isinstance(better, Unsolved) else better


def _record(work: Work, candidate: Candidate, level: Fraction, fields: dict[str, Any]) -> None:
    setting, n = work.setting, len(candidate.problem.f)
    setting.functions[candidate.name] = candidate.source
    if candidate.entry is not None:
        work.functions[candidate.name] = candidate.entry
    eye = tuple(tuple(Fraction(int(i == j)) for j in range(n)) for i in range(n))
    stage = make_stage(setting, candidate.source, level, None if candidate.source.matrix is None else eye)
    proof = {"kind": "sos", "function": candidate.name, "level": str(level), **fields}
    if candidate.source.matrix is None:
        tree = boundary_tree(stage)
        if tree is None:
            raise Undecided(Code.CONTAINMENT, "whole", f"{candidate.name} <= {float(level):.9g} is not shown to stay off the boundary of the domain; "
                            "lower the level or enlarge [domain]")
        proof["tree"] = work.tree("whole", tree)
    work.obligations.append({"id": "whole", "proof": proof})
    setting.stages.append((candidate.name, level))
    work.stage, work.region = stage, (candidate.name, level)


def _exact_equilibrium(work: Work) -> tuple[Fraction, ...]:
    setting = work.setting
    goal = tuple(setting.rest)
    try:
        rests = not any(evaluate_exact(setting.loop.field, goal))
    except Refusal as no:
        raise Undecided(Code.UNSUPPORTED, "equilibrium", f"sums of squares need a polynomial loop: {no.message}") from None
    if not rests:
        where = work.states([float(v) for v in goal])
        raise Undecided(Code.NO_PROOF_FOUND, "equilibrium", f"the loop does not rest exactly at {where}; sums of squares need an equilibrium that is "
                        "known exactly")
    work.where = Enclosure(tuple(goal), (Fraction(0),) * len(goal))
    work.obligations.append({"id": "equilibrium", "proof": {"kind": "evaluation", "center": texts(list(goal)), "radius": ["0"] * len(goal)}})
    return tuple(goal)


def _named(work: Work, x: Sequence[Polynomial], f: tuple[Polynomial, ...]) -> Candidate:
    """The function that the requirement names."""
    source = work.setting.functions["V"]
    v = polynomials(source.function(None, (), False).graph, x)[0]
    return Candidate("V", source, None, Problem(v, f, tuple(x), (work.setting.lo, work.setting.hi), True))


def _fitted(work: Work, origin: tuple[Fraction, ...], x: Sequence[Polynomial], f: tuple[Polynomial, ...], degree: int) -> Candidate:
    """A polynomial of higher degree, fitted to samples."""
    problem = Problem(_fit(work, origin, degree, np.ones(len(origin))), f, tuple(x), (work.setting.lo, work.setting.hi), False)
    return _polynomial(origin, problem, degree + 1)


def _polynomial(origin: tuple[Fraction, ...], problem: Problem, order: int | None = None) -> Candidate:
    """The function of a problem as a source of the setting, and as an entry of a certificate."""
    terms = claim_terms(problem.v, origin)
    source = Source(None, (), polynomial_graph(terms, len(origin), "functions.P"))
    return Candidate("P", source, {"kind": "polynomial", "terms": terms}, problem, order)


def _fit(work: Work, origin: tuple[Fraction, ...], degree: int, units: Floats | None = None) -> Polynomial:
    """A polynomial in y, fitted to samples."""
    v = fit(work.loop, np.array([float(q) for q in origin]), work.box, degree, seed=work.seed, units=units)
    if v is None:
        raise Undecided(Code.NO_PROOF_FOUND, "whole", f"no polynomial of degree {degree} could be fitted to simulated states of the domain")
    return v


def is_whole(work: Work) -> bool:
    """True where sums of squares apply: a polynomial loop in continuous time, and no rate."""
    goal = tuple(work.setting.rest)
    try:
        polynomials(work.setting.loop.field, shifted(goal))
    except Refusal as no:
        if no.code is Code.UNSUPPORTED:
            return False
        raise
    return work.loop.time == "continuous" and not work.setting.rate


def fit_function(work: Work, degree: int) -> None:
    """Give a loop that is no polynomial (sines, saturation, discrete time) a fitted polynomial as the function V that boxes have to prove.

    Raises
    ------
    Undecided
        When nothing could be fitted.
    """
    if work.where is None or "V" in work.setting.functions:
        return
    origin = tuple(Fraction(float(c)).limit_denominator(10**6) if abs(c) > FAR else Fraction(0) for c in work.where.centre)
    made = _polynomial(origin, Problem(_fit(work, origin, degree), (), (), ((), ()), False))
    work.setting.functions["V"], work.functions["V"] = made.source, made.entry or {}


def _quadratic(work: Work, origin: tuple[Fraction, ...], x: Sequence[Polynomial], f: tuple[Polynomial, ...]) -> Candidate:
    """A quadratic with a large level set: from the linearisation, then improved by a direct search on the volume that rays suggest."""
    n, domain = len(origin), (work.setting.lo, work.setting.hi)
    jacobian = work.loop.jacobian(np.array([float(v) for v in origin]))
    lo, hi = work.box
    start = quad.from_linearisation(jacobian, "continuous", np.diag(4 / (hi - lo) ** 2))
    if start is None:
        raise Undecided(Code.NO_PROOF_FOUND, "whole", "the linearisation is not stable enough to start from; name a lyapunov function")
    rays = directions(n, 160, work.seed)
    lower = np.tril_indices(n)

    def size(entries: Floats) -> float:
        factor = np.zeros((n, n))
        factor[lower] = entries
        p = factor @ factor.T
        level = _fitting(p, f, x, domain, rays)
        det = float(np.linalg.det(p))
        return -(level**n / det) if level > 0 and det > 1e-12 else 0.0

    first = np.linalg.cholesky(start / np.trace(start))
    best = minimize(size, first[lower], method="Nelder-Mead", options={"maxfev": 60 * n, "xatol": 1e-3, "fatol": 1e-6}) if n <= 4 else None
    factor = first.copy()
    if best is not None and best.fun < size(first[lower]):
        factor[lower] = best.x
    p = quad.make(factor @ factor.T, origin).matrix
    entry = {"kind": "quadratic", "matrix": texts(p), "center": texts(list(origin))}
    return Candidate("Q", Source(p, origin, None), entry, Problem(quadratic_form(p), f, tuple(x), domain, True))


def _fitting(p: Floats, f: tuple[Polynomial, ...], x: Sequence[Polynomial], domain: Any, rays: Floats) -> float:
    exact = [[Fraction(float(v)).limit_denominator(10**6) for v in row] for row in (p + p.T) / 2]
    problem = Problem(quadratic_form(exact), f, tuple(x), domain, True)
    inside = _box_level(exact, problem)
    return min(float(first_failure(problem, rays).min(initial=math.inf)), inside)


def directions(n: int, count: int, seed: int = 0) -> Floats:
    """Unit vectors (count, n): evenly spaced in the plane, random beyond."""
    if n == 2:
        angle = 2 * np.pi * np.arange(count) / count
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    u = np.random.default_rng(seed).normal(size=(count, n))
    return np.asarray(u / np.linalg.norm(u, axis=1, keepdims=True))


def ceiling(problem: Problem, source: Source, seed: int = 0) -> float:
    """An estimate of the largest level: V at the first failure along rays (refined about the worst), and on the boundary of the domain."""
    n = len(problem.f)
    rays = directions(n, 1600 if n == 2 else 3000, seed)
    found = first_failure(problem, rays)
    rng = np.random.default_rng(seed)
    for width in (1e-2, 1e-3, 1e-4, 1e-5):
        near = rays[int(np.argmin(found))] + width * rng.normal(size=(300, n))
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        more = first_failure(problem, near)
        rays, found = np.concatenate([rays, near]), np.concatenate([found, more])
    edge = float(values(problem.v, _faces(problem, seed)).min()) if source.matrix is None else _box_level(source.matrix, problem)
    return min(float(found.min()), edge)


def _box_level(matrix: Sequence[Sequence[Fraction]], problem: Problem) -> float:
    """The level at which the ellipsoid about the equilibrium touches the domain."""
    centre = [float(p.terms.get((0,) * len(matrix), Fraction(0))) for p in problem.x]
    gap = [min(c - float(a), float(b) - c) for c, a, b in zip(centre, *problem.domain, strict=True)]
    return min(g * g / float(row[i]) for i, (g, row) in enumerate(zip(gap, inverse(matrix), strict=True)))


def _faces(problem: Problem, seed: int) -> Floats:
    """Points of the domain's boundary, relative to the equilibrium."""
    lo, hi = (np.array([float(v) for v in end]) for end in problem.domain)
    centre = np.array([float(p.terms.get((0,) * len(lo), Fraction(0))) for p in problem.x])
    points = np.random.default_rng(seed).uniform(lo, hi, (20_000, len(lo)))
    which = np.arange(len(points))
    side = which % (2 * len(lo))
    points[which, side // 2] = np.where(side % 2 == 0, lo[side // 2], hi[side // 2])
    return np.asarray(points - centre)


def _levels(top: float, factors: Sequence[float]) -> list[Fraction]:
    """Levels to try below an estimate, each a short decimal rounded down."""
    if not 0 < top < math.inf:
        raise Undecided(Code.NO_PROOF_FOUND, "whole", "the function does not decrease near the equilibrium, or its level has no limit in the domain")
    scale = Fraction(10) ** (DIGITS - 1 - math.floor(math.log10(top)))
    return list(dict.fromkeys(Fraction(math.floor(Fraction(top * k) * scale)) / scale for k in factors))


def boundary_tree(stage: Stage) -> bytes | None:
    """A tree of leaves NOTHING over the domain on whose boundary V > c is shown leaf by leaf; None where a box of depth ``DEPTH`` a state is left."""
    n = len(stage.lo)

    def grow(lo: Floats, hi: Floats, depth: int) -> bytes | None:
        if stage.faces_outside(lo[None], hi[None])[0]:
            return bytes([LEAF + NOTHING])
        if depth >= DEPTH * n:
            return None
        i = depth % n
        middle = 0.5 * lo[i] + 0.5 * hi[i]
        left, right = hi.copy(), lo.copy()
        left[i] = right[i] = middle
        first = grow(lo, left, depth + 1)
        second = None if first is None else grow(right, hi, depth + 1)
        return None if first is None or second is None else bytes([i]) + first + second

    return grow(stage.lo, stage.hi, 0)
