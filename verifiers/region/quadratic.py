r"""Quadratic Lyapunov functions: find P, the frame that whitens it, and how far the local proof reaches.

P comes from the Lyapunov (Stein) equation of the linearised loop, or, where that does not decrease on the set to be covered,
from a linear programme over samples: maximise t subject to ``x'P f(x) <= -t |x|**2`` (rows normalised), trace P = 1 and cuts
``v'Pv >= eps`` for violating eigenvectors v until P is definite.  The samples are drawn from the set at scales down to the
linearisation, which bridges the many octaves of stiff loops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from scipy import linalg, optimize

from verifiers.kernel.codes import Refusal
from verifiers.kernel.definite import rationals
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.local import Enclosure, check_local, corners, jacobian
from verifiers.region.equilibrium import exact_symmetric
from verifiers.region.sampling import FloatLoop, float_quadratic

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, eq=False)
class Quadratic:
    """``(x - o)' P (x - o)`` in exact numbers, with a frame T such that T'PT is nearly the identity."""

    matrix: Matrix
    origin: tuple[Fraction, ...]
    frame: Matrix

    @property
    def floats(self) -> tuple[Floats, Floats, Floats]:
        """P, o and T in float64."""
        return _floats(self.matrix), np.array([float(v) for v in self.origin]), _floats(self.frame)


@dataclass(frozen=True, eq=False)
class Local:
    """A local proof that the kernel's own test accepts: kind, half-widths of the neighbourhood in y, and the level."""

    kind: str
    reach: tuple[Fraction, ...]
    level: Fraction


def _floats(matrix: Matrix) -> Floats:
    return np.array([[float(v) for v in row] for row in matrix])


def make(p: Floats, origin: tuple[Fraction, ...]) -> Quadratic:
    """Round P to dyadic rationals and find its frame (the inverse transposed Cholesky factor, rounded to few bits)."""
    scaled = p / np.exp(np.mean(np.log(np.maximum(np.linalg.eigvalsh(p), 1e-300))))
    matrix = exact_symmetric(scaled)
    factor = np.linalg.cholesky(np.array([[float(v) for v in row] for row in matrix]))
    inverse = linalg.solve_triangular(factor, np.eye(len(p)), lower=True).T
    # powers of two keep columns comparable; 24 bits keep the exact products short
    frame = [[Fraction(float(np.float32(v))) for v in row] for row in inverse]
    return Quadratic(tuple(map(tuple, matrix)), origin, tuple(map(tuple, frame)))


def aligned(quadratic: Quadratic, rows: Floats) -> Quadratic:
    """The same quadratic with a frame turned so that its first axes span these rows (m, n): a neighbourhood then reaches just as far along them.

    With the gain of a policy that saturates the neighbourhood may touch the limits with a face, where a corner would touch them far earlier.
    """
    frame = quadratic.floats[2]
    turn = np.linalg.qr(np.column_stack([frame.T @ rows.T, np.eye(len(frame))]))[0]
    turned = [[Fraction(float(np.float32(v))) for v in row] for row in frame @ turn]
    return replace(quadratic, frame=tuple(map(tuple, turned)))


def from_linearisation(jacobian: Floats, time: str, weight: Floats, rate: float = 0.0) -> Floats | None:
    """P of the Lyapunov (Stein) equation with this weight; None when the linearised loop is not stable enough."""
    n = len(jacobian)
    try:
        if time == "continuous":
            shifted = jacobian + rate / 2 * np.eye(n)
            p = linalg.solve_continuous_lyapunov(shifted.T, -weight) if np.linalg.eigvals(shifted).real.max() < 0 else None
        else:
            shifted = jacobian / np.sqrt(1 - rate)
            p = linalg.solve_discrete_lyapunov(shifted.T, weight) if np.abs(np.linalg.eigvals(shifted)).max() < 1 else None
    except (np.linalg.LinAlgError, ValueError):
        return None
    return None if p is None or not np.isfinite(p).all() or np.linalg.eigvalsh((p + p.T) / 2)[0] <= 0 else (p + p.T) / 2


def fit(loop: FloatLoop, samples: Floats, origin: Floats, rate: float = 0.0, rounds: int = 25) -> Floats | None:
    """P with the largest sampled margin of decrease on ``origin + samples`` (B, n); None when no P decreases on all of them."""
    n = samples.shape[1]
    extent = np.abs(samples).max(axis=0)
    z = np.tile(samples / extent, (len(loop.all), 1))
    f = np.concatenate([each.field(origin + samples) for each in loop.all])
    f = (f - (origin if loop.time == "discrete" else 0.0)) / extent
    good = np.isfinite(f).all(axis=1) & (np.abs(z).max(axis=1) > 0)
    z, f = z[good], f[good]
    upper = [(i, j) for i in range(n) for j in range(i, n)]

    def form(a: Floats, b: Floats) -> Floats:
        """Coefficients of a'Pb with respect to the upper triangle of P."""
        return np.stack([a[:, i] * b[:, j] + (a[:, j] * b[:, i] if i != j else 0.0) for i, j in upper], axis=1)

    rows = 2 * form(z, f) + rate * form(z, z) if loop.time == "continuous" else form(f, f) - (1 - rate) * form(z, z)
    size = np.abs(rows).max(axis=1, keepdims=True)
    weight = np.maximum((z * z).sum(axis=1, keepdims=True), 1e-300)
    norm = np.maximum(size, 1e-300)
    constraint = np.hstack([rows / norm, np.minimum(weight / norm, 1e3)])
    trace = np.array([[1.0 if i == j else 0.0 for i, j in upper] + [0.0]])
    cuts: list[Floats] = []
    for _ in range(rounds):
        extra = np.array([np.append(-form(v[None], v[None])[0], 0.0) for v in cuts]).reshape(-1, len(upper) + 1)
        found = optimize.linprog(np.append(np.zeros(len(upper)), -1.0), A_ub=np.vstack([constraint, extra]),
                                 b_ub=np.append(np.zeros(len(constraint)), np.full(len(cuts), -1e-7)), A_eq=trace, b_eq=[1.0],
                                 bounds=[(0, 1) if i == j else (-1, 1) for i, j in upper] + [(0, 1e6)], method="highs")
        if found.status != 0 or not found.x[-1] > 0:
            return None
        p = np.zeros((n, n))
        for (i, j), v in zip(upper, found.x, strict=False):
            p[i, j] = p[j, i] = v
        values, vectors = np.linalg.eigh(p)
        if values[0] > 5e-8:
            return p / np.outer(extent, extent)
        cuts += [vectors[:, k] for k in range(n) if values[k] <= 5e-8]
    return None


def interval_jacobian(field: Graph, where: Enclosure) -> tuple[Floats, Floats]:
    """Middle and radius (n, n) of the enclosure of the Jacobian at the equilibrium, unknown constants included."""
    n = len(where.centre)
    _, _, mid, rad = jacobian(field, where.centre, tuple(map(tuple, np.eye(n, dtype=object))), [max(q, Fraction(1, 2**40)) for q in where.radius])
    return mid.astype(np.float64), rad.astype(np.float64)


def robust(p: Floats, mid: Floats, rad: Floats, time: str, rate: float = 0.0) -> float:
    """The least eigenvalue in the kernel's local test of this P and interval matrix, in floats: where it is not positive a tree is in vain."""
    try:
        frame = np.linalg.inv(np.linalg.cholesky(p)).T
    except np.linalg.LinAlgError:
        return -math.inf
    q, m = p @ frame, np.eye(len(p))

    def least(middle: Floats, radius: Floats) -> float:
        g, spread = q.T @ middle, np.abs(q.T) @ radius
        if time == "continuous":
            block, width = -(g + g.T) - rate * m, spread + spread.T
        else:
            block, width = np.block([[(1 - rate) * m, g.T], [g, m]]), np.block([[0 * m, spread.T], [spread, 0 * m]])
        d = 1 / np.sqrt(np.maximum(block.diagonal(), 1e-12))
        return float(np.linalg.eigvalsh(block - np.diag(width @ d / d))[0])

    whole = mid @ frame, rad @ np.abs(frame)
    at_once = least(*whole)
    return at_once if at_once > 0 else max(at_once, min(least(*corner) for corner in corners(*whole, np.abs(q).max(axis=1)[:, None])))


def more_robust(p: Floats, mid: Floats, rad: Floats, time: str, rate: float = 0.0) -> Floats:
    """A P near this one with a larger :func:`robust`, by a direct search on the entries of its Cholesky factor."""
    lower = np.tril_indices(len(p))

    def matrix(entries: Floats) -> Floats:
        factor = np.zeros_like(p)
        factor[lower] = entries
        return np.asarray(factor @ factor.T)

    start = np.linalg.cholesky(p / np.trace(p))[lower]
    found = optimize.minimize(lambda v: -robust(matrix(v), mid, rad, time, rate), start, method="Nelder-Mead",
                              options={"maxfev": 150 * len(start), "xatol": 1e-4, "fatol": 1e-6})
    return matrix(found.x) if -found.fun > robust(p, mid, rad, time, rate) else p


def scaled_samples(points: Floats, scales: int = 12, ratio: float = 0.5) -> Floats:
    """The points at geometrically shrinking scales about the origin."""
    return np.concatenate([points * ratio**k for k in range(scales)])


def _inside(p: Floats, top: float, seed: int, count: int) -> tuple[Floats, Floats]:
    """Points z (count, n) of the ellipsoid ``z'Pz <= top``, a quarter of them at small scales, and ``sqrt(z'Pz)`` (count,)."""
    n = len(p)
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((count, n))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = np.sqrt(top) * rng.uniform(0, 1, count) ** (1 / n)
    radius[: count // 4] = np.sqrt(top) * 10 ** rng.uniform(-4, 0, count // 4)
    return (direction * radius[:, None]) @ np.linalg.cholesky(np.linalg.inv(p)).T, radius


def sampled_level(loop: FloatLoop, p: Floats, origin: Floats, lo: Floats, hi: Floats, rate: Fraction, seed: int, count: int = 20_000) -> float:
    """Largest level whose ellipsoid lies in the box and on whose samples the quadratic decreases (an estimate)."""
    reach = np.minimum(hi - origin, origin - lo)
    top = float(np.min(reach**2 / np.diag(np.linalg.inv(p)))) * (1 - 1e-9)
    z, radius = _inside(p, top, seed, count)
    bad = ~(float_quadratic(p, origin, loop, rate).decrease(origin + z) < 0)
    for _ in range(3):  # the violations found bound the level: sample again below them
        if not bad.any():
            break
        top = float(radius[bad].min() ** 2)
        z, radius = _inside(p, top, seed + 1, count // 4)
        bad = ~(float_quadratic(p, origin, loop, rate).decrease(origin + z) < 0)
    return top


def violations(loop: FloatLoop, p: Floats, origin: Floats, level: float, rate: Fraction, seed: int, most: int = 150) -> Floats:
    """Offsets (B, n) in the ellipsoid of this level at which the quadratic does not decrease, and a few at which it does."""
    z, _ = _inside(p, level, seed, 8000)
    bad = np.flatnonzero(~(float_quadratic(p, origin, loop, rate).decrease(origin + z) < 0))
    return np.concatenate([z[bad[:: max(1, len(bad) // most)]], z[:: max(1, len(z) // 60)]])


def local_proof(field: Graph, time: str, quadratic: Quadratic, where: Enclosure, domain: tuple[tuple[Fraction, ...], tuple[Fraction, ...]],
                rate: Fraction, level: Fraction, linear: bool, step: Fraction = Fraction(4)) -> Local | None:
    """The largest level, of those a power of ``step`` squared below ``level``, for which the kernel's local test passes."""
    n = len(quadratic.origin)
    frame = rationals(quadratic.frame)
    widest = float(np.linalg.inv((frame.T @ rationals(quadratic.matrix) @ frame).astype(np.float64)).diagonal().max())
    distance = where.distance(quadratic.origin, quadratic.matrix)
    start = Fraction((math.sqrt(level) + 2 * float(distance)) * math.sqrt(widest) * (1 + 4e-6))
    for steps in range(30):
        half = Fraction(int(start / step**steps * 2**120)) / 2**120
        root = half * Fraction(int(1e6 / widest**0.5 * (1 - 1e-6))) / 10**6 - 2 * distance
        if not root > 0:
            return None
        found = Fraction(int(root * root * 2**200)) / 2**200
        reach = (half,) * n
        if not found > 0:
            return None
        try:
            with np.errstate(all="ignore"):
                check_local(field, time, quadratic.matrix, quadratic.origin, quadratic.frame, reach, found, rate, where, domain, linear)
            return Local("lmi" if linear else "jacobian_lmi", reach, found)
        except Refusal:
            continue
    return None
