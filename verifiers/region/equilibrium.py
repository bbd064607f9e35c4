r"""Find the equilibrium and a box that Krawczyk's operator contracts; or prove that there is none, or that it is unstable.

The kernel repeats every test that says something good.  What is said here of *bad* loops is proved with the kernel's own
enclosures and exact matrices (docs/theory/refutation.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import linalg

from verifiers.kernel.codes import Refusal
from verifiers.kernel.definite import Exact, is_positive_definite, rationals
from verifiers.kernel.exact import affine_exact
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.local import Enclosure, check_equilibrium, jacobian
from verifiers.region.sampling import FloatLoop

Vector = tuple[Fraction, ...]


@dataclass(frozen=True)
class Unstable:
    """A proof that the equilibrium in a box is unstable: P with ``P J + J'P < 0`` (or ``J'PJ - P < 0``) and ``v'Pv < 0``."""

    matrix: tuple[Vector, ...]
    direction: tuple[float, ...]


def find(loop: FloatLoop, guess: Floats, reach: Floats) -> Floats | None:
    """Newton's method from a guess; None when it leaves the box ``guess +- reach`` or does not converge."""
    x = guess.astype(float).copy()
    shift = np.eye(len(x)) if loop.time == "discrete" else np.zeros((len(x), len(x)))
    for _ in range(50):
        g = loop.field(x[None])[0] - (x if loop.time == "discrete" else 0.0)
        if not np.isfinite(g).all():
            return None
        try:
            step = np.linalg.solve(loop.jacobian(x, 1e-7) - shift, g)
        except np.linalg.LinAlgError:
            return x if np.abs(g).max() < 1e-12 else None
        x = x - step
        if not (np.abs(x - guess) <= reach).all():
            return None
        if (np.abs(step) <= 1e-16 + 4e-16 * np.abs(x)).all():
            break
    return x


def enclose(field: Graph, time: str, near: Floats, goal: Vector) -> Enclosure | None:
    """A box that holds exactly one equilibrium: the required point itself when it is one exactly, else the smallest power of two that contracts."""
    zero = (Fraction(0),) * len(goal)
    for point in (goal, tuple(Fraction(float(v)) for v in near)):
        try:
            check_equilibrium(field, time, Enclosure(point, zero))
            return Enclosure(point, zero)
        except Refusal:
            pass
    centre = tuple(Fraction(0) if abs(v) < 1e-300 else Fraction(float(v)) for v in near)
    for power in range(-46, -8, 2):
        radius = tuple(Fraction(2) ** power * max(1, int(abs(c))) for c in centre)
        try:
            check_equilibrium(field, time, Enclosure(centre, radius))
            return Enclosure(centre, radius)
        except Refusal:
            continue
    return None


def prove_absence(field: Graph, time: str, lo: Vector, hi: Vector) -> bool:
    """True when it is proved that the box [lo, hi] holds no equilibrium: some component of f (or f - x) keeps away from zero."""
    from verifiers.kernel.jets import JetReading, read_jets, split_boxes

    low, high = np.array([[float(v) for v in lo]]), np.array([[float(v) for v in hi]])
    low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    centre, radius = split_boxes(low, high)
    reading = JetReading(radius, 1)
    with np.errstate(all="ignore"):
        a, b = reading.bounds(read_jets(field, reading, reading.start(centre)))
    if time == "discrete":
        a, b = a - high - 1e-12 * np.abs(high), b - low + 1e-12 * np.abs(low)
    return bool(((a > 0) | (b < 0)).any())


def prove_unstable(field: Graph, time: str, where: Enclosure) -> Unstable | None:
    """Prove that every linearisation over the box has an eigenvalue with positive real part (beyond the unit circle), or return None.

    Notes
    -----
    ``P J + J'P < 0`` with ``v'Pv < 0`` for some v: along x' = J x the form x'Px decreases, so from v it goes to minus infinity (Chetaev).
    Discrete: the same with ``J'PJ - P < 0``.  P solves the Lyapunov (Stein) equation of the midpoint.
    """
    n = len(where.centre)
    found = affine_exact(field)
    if found is not None:
        mid = rationals(found[0])
        rad = 0 * mid
    else:
        _, _, mid, rad = jacobian(field, where.centre, tuple(map(tuple, np.eye(n, dtype=object))), [max(q, Fraction(1, 2**40)) for q in where.radius])
    numeric = mid.astype(np.float64)
    try:
        eigenvalues = np.linalg.eigvals(numeric)
        scale = np.eye(n)
        solve = linalg.solve_continuous_lyapunov(numeric.T, -scale) if time == "continuous" else linalg.solve_discrete_lyapunov(numeric.T, scale)
    except (np.linalg.LinAlgError, ValueError):
        return None
    bad = (eigenvalues.real.max() > 0) if time == "continuous" else (np.abs(eigenvalues).max() > 1)
    if not (bad and np.isfinite(solve).all()):
        return None
    p = exact_symmetric(solve)
    values, vectors = np.linalg.eigh(np.array([[float(v) for v in row] for row in p]))
    direction = [Fraction(float(v)) for v in vectors[:, 0]]
    if not (values[0] < 0 and sum(a * b * c for row, a in zip(p, direction, strict=True) for b, c in zip(row, direction, strict=True)) < 0):
        return None
    if not _decreasing_form(rationals(p), mid, rad, time):
        return None
    return Unstable(tuple(tuple(row) for row in p), tuple(float(v) for v in vectors[:, 0]))


def _decreasing_form(p: Exact, mid: Exact, rad: Exact, time: str) -> bool:
    if time == "continuous":
        pj, spread = p @ mid, abs(p) @ rad
        block, width = -(pj + pj.T), spread + spread.T
    else:
        # P - J'PJ over the interval: (M + D)'P(M + D) = M'PM + D'PM + M'PD + D'PD
        cross = rad.T @ abs(p) @ abs(mid)
        block, width = p - mid.T @ p @ mid, cross + cross.T + rad.T @ abs(p) @ rad
    return is_positive_definite(block - width.sum(axis=1).max() * np.eye(len(p), dtype=object))


def exact_symmetric(matrix: Floats, bits: int = 40) -> list[list[Fraction]]:
    """Symmetric dyadic rationals near a float matrix, rounded to ``bits`` bits below its largest entry."""
    symmetric = (matrix + matrix.T) / 2
    scale = 2 ** (bits - int(np.ceil(np.log2(np.abs(symmetric).max() + 1e-300))))
    whole = [[Fraction(round(Fraction(float(v)) * Fraction(scale))) / Fraction(scale) for v in row] for row in symmetric]
    return [[whole[min(i, j)][max(i, j)] for j in range(len(whole))] for i in range(len(whole))]
