r"""The neighbourhood of the equilibrium: it exists, it is where it should be, and nothing is cut out around it.

Theorems and proofs: docs/theory/local.md.  All matrix work is in exact rationals; only the enclosures of f and of its
(Clarke) Jacobian come from interval jets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.definite import Exact, Rows, determinant, interval_positive_definite, inverse, is_positive_definite, rationals
from verifiers.kernel.exact import affine_exact, evaluate_exact
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.jets import JetReading, read_jets
from verifiers.kernel.rational import down, sqrt_up, up

Vector = Sequence[Fraction]
Matrix = Sequence[Vector]
CORNERS = 6


@dataclass(frozen=True)
class Enclosure:
    """The box ``centre +- radius`` that holds the equilibrium (for every value of unknown constants)."""

    centre: tuple[Fraction, ...]
    radius: tuple[Fraction, ...]

    def distance(self, origin: Vector, matrix: Rows) -> Fraction:
        r"""Upper bound of :math:`\sup_{x \in E} \sqrt{(x - o)^\top P (x - o)}`."""
        reach = abs(rationals(self.centre) - rationals(origin)) + rationals(self.radius)
        return sqrt_up(reach @ abs(rationals(matrix)) @ reach)


def exact(values: Floats) -> Exact:
    """The dyadic rationals that the entries of a finite array are."""
    need(np.isfinite(values).all(), Code.NOT_PROVED, "jacobian", "an enclosure is not finite; the loop is undefined or too steep there")
    return np.asarray(np.frompyfunc(Fraction, 1, 1)(values))


def jacobian(field: Graph, origin: Vector, frame: Matrix, reach: Vector) -> tuple[Exact, Exact, Exact, Exact]:
    r"""Enclose f at the origin and :math:`\partial f(o + T y) / \partial y` over ``|y| <= reach``.

    Returns
    -------
    (f_mid, f_rad, J_mid, J_rad)
        Exact rationals: midpoint and radius of f (n,) and of the Jacobian (n, n), row = component of f.
    """
    reading = JetReading(np.array(list(map(up, reach)))[:, None, None], 1)
    jet = read_jets(field, reading, reading.start_in_frame(np.zeros((1, len(origin))), frame, origin))
    return exact(jet.mid[0, 0]), exact(jet.rad[0, 0]), exact(jet.mid[2:, 0]).T, exact(jet.rad[2:, 0]).T


def check_equilibrium(field: Graph, time: str, where: Enclosure) -> None:
    r"""Prove that the box holds exactly one equilibrium, by Krawczyk's operator.

    .. math:: |C g(c)| + |I - C\,G(E)|\,r < r, \qquad g = f \text{ or } f - x

    with any matrix C (here the float inverse of the midpoint of G).  A box of radius zero is checked exactly instead.

    Raises
    ------
    Refusal
        ``EQUILIBRIUM_NOT_PROVED``.
    """
    centre, radius, eye = rationals(where.centre), rationals(where.radius), np.eye(len(where.centre), dtype=object)
    shift = eye if time == "discrete" else 0 * eye
    if not radius.any():
        resting = (rationals(evaluate_exact(field, where.centre)) == shift @ centre).all()
        need(resting, Code.EQUILIBRIUM_NOT_PROVED, "equilibrium", "the point given is not an equilibrium in exact arithmetic")
        return
    f_mid, f_rad, j_mid, j_rad = jacobian(field, where.centre, tuple(map(tuple, eye)), where.radius)
    try:
        c = exact(np.linalg.inv((j_mid - shift).astype(np.float64)))
    except np.linalg.LinAlgError:
        raise Refusal(Code.EQUILIBRIUM_NOT_PROVED, "equilibrium", "the Jacobian's midpoint is singular") from None
    image = abs(c @ (f_mid - shift @ centre)) + abs(c) @ f_rad + (abs(eye - c @ (j_mid - shift)) + abs(c) @ j_rad) @ radius
    need((image < radius).all(), Code.EQUILIBRIUM_NOT_PROVED, "equilibrium",
         f"Krawczyk's operator leaves the box in the coordinates {np.flatnonzero(~(image < radius)).tolist()}")


def corners(mid: Exact, rad: Exact, weight: Exact) -> Iterator[tuple[Exact, Exact]]:
    """Interval matrices whose convex hull holds all of mid +- rad: the widest entries, up to ``CORNERS``, at their ends, the others as they are."""
    wide = [(i, j) for _, i, j in sorted((-v, i, j) for (i, j), v in np.ndenumerate(rad * weight) if v)[:CORNERS]]
    rest, steps = rad.copy(), [rad[place] for place in wide]
    for place in wide:
        rest[place] = 0 * rad[place]
    for signs in itertools.product((-1, 1), repeat=len(wide)):
        corner = mid.copy()
        for place, sign, step in zip(wide, signs, steps, strict=True):
            corner[place] += sign * step
        yield corner, rest


def check_local(field: Graph, time: str, matrix: Matrix, origin: Vector, frame: Matrix, reach: Vector, level: Fraction, rate: Fraction,
                where: Enclosure, domain: tuple[Vector, Vector], linear: bool) -> Fraction:
    r"""Prove that :math:`\{(x-o)^\top P (x-o) \le a\}` is attracted to the equilibrium, without a hole.

    Parameters
    ----------
    matrix, origin, level
        P, o and a.
    frame, reach
        T and Y: the convex neighbourhood :math:`N_0 = \{o + T y : |y_i| \le Y_i\}`.
    linear : bool
        True for kind ``lmi``: the loop is affine and its exact Jacobian is used.

    Returns
    -------
    Fraction
        A margin: how much of the neighbourhood the ellipsoids use, at most 1 (as a square).

    Raises
    ------
    Refusal
        ``NOT_DEFINITE`` (P, or T singular), ``CONTAINMENT`` (the ellipsoid leaves the domain), ``CHAIN`` (ellipsoid larger than
        N_0), ``LOCAL_DECREASE``.

    Notes
    -----
    With G enclosing ``df/dy`` over N_0 and Q = P T, M = TᵀPT: continuous ``-(QᵀG + GᵀQ) - rate M > 0``; discrete
    ``[[(1 - rate) M, GᵀQ], [QᵀG, M]] > 0``, each for every G in the enclosure (at once, or
    at its :func:`corners`: both are affine in G).  Every P-ball of radius ``sqrt(a) + d`` about
    x* in E lies in N_0 and in the domain, where ``d`` bounds the P-distance from o to E.  N_0 itself may reach beyond the
    domain: the loop's graph is only enclosed there.
    """
    need(is_positive_definite(matrix), Code.NOT_DEFINITE, "local", "P is not positive definite")
    need(level > 0 and all(y > 0 for y in reach), Code.EMPTY_REGION, "local", "level and neighbourhood must be positive")
    p, t, y, o = map(rationals, (matrix, frame, reach, origin))
    q = p @ t
    m = t.T @ q
    far = sqrt_up(level) + 2 * where.distance(origin, matrix)
    used: Fraction = (far * far * rationals(inverse(m)).diagonal() / (y * y)).max()
    need(used <= 1, Code.CHAIN, "local", "the ellipsoid of the local level does not fit into the neighbourhood")
    gap = np.minimum(o - rationals(domain[0]), rationals(domain[1]) - o)
    inside = (gap > 0) & (far * far * rationals(inverse(p)).diagonal() < gap * gap)
    need(inside.all(), Code.CONTAINMENT, "local",
         f"the ellipsoid of the local level leaves the domain in the coordinates {np.flatnonzero(~inside).tolist()}")
    if linear:
        found = affine_exact(field)
        if found is None:
            raise Refusal(Code.UNSUPPORTED, "local", "kind lmi needs a loop that is affine in the state; use jacobian_lmi")
        g_mid, g_rad = rationals(found[0]) @ t, 0 * t
    else:
        _, _, g_mid, g_rad = jacobian(field, origin, frame, reach)

    def decreases(mid: Exact, rad: Exact) -> bool:
        qg, spread = q.T @ mid, abs(q.T) @ rad
        if time == "continuous":
            return interval_positive_definite(-(qg + qg.T) - rate * m, spread + spread.T)
        return interval_positive_definite(np.block([[(1 - rate) * m, qg.T], [qg, m]]), np.block([[0 * m, spread.T], [spread, 0 * m]]))

    proved = decreases(g_mid, g_rad) or all(decreases(*corner) for corner in corners(g_mid, g_rad, abs(q).max(axis=1)[:, None]))
    need(proved, Code.LOCAL_DECREASE, "local", "the quadratic is not proved to decrease for every Jacobian over the neighbourhood")
    return used


def ellipsoid_reach(matrix: Rows, level: Fraction) -> list[float]:
    r"""Half-widths :math:`\sqrt{c\,(M^{-1})_{ii}}` of :math:`\{y^\top M y \le c\}`, rounded up to float64."""
    return [up(sqrt_up(level * row[i])) for i, row in enumerate(inverse(matrix))]


def ellipsoid_volume(matrix: Rows, level: Fraction) -> float:
    r"""Lower bound of :math:`\pi^{n/2} c^{n/2} / (\Gamma(n/2+1)\sqrt{\det P})` in float64, rounded down."""
    n, pi = len(matrix), Fraction(314159265358979, 10**14)  # below pi
    ball = Fraction(1 + n % 2)
    for k in range(2 + n % 2, n + 1, 2):
        ball *= 2 * pi / k
    return down(ball / sqrt_up(determinant(matrix) / level**n))
