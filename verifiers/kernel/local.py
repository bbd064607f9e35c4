r"""The neighbourhood of the equilibrium: it exists, it is where it should be, and nothing is cut out around it.

Theorems and proofs: docs/theory/local.md.  All matrix work is in exact rationals; only the enclosures of f and of its
(Clarke) Jacobian come from interval jets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import interval_positive_definite, inverse, is_positive_definite
from verifiers.kernel.exact import affine_exact, evaluate_exact
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.jets import JetReading, read_jets
from verifiers.kernel.rational import dot, down, sqrt_up, up

Vector = Sequence[Fraction]
Matrix = Sequence[Vector]
ZERO = Fraction(0)


@dataclass(frozen=True)
class Enclosure:
    """The box ``centre +- radius`` that holds the equilibrium (for every value of unknown constants)."""

    centre: tuple[Fraction, ...]
    radius: tuple[Fraction, ...]

    def distance(self, origin: Vector, matrix: Matrix) -> Fraction:
        r"""Upper bound of :math:`\sup_{x \in E} \sqrt{(x - o)^\top P (x - o)}`."""
        reach = [abs(c - o) + r for c, o, r in zip(self.centre, origin, self.radius, strict=True)]
        return sqrt_up(sum((abs(p) * a * b for row, a in zip(matrix, reach, strict=True) for p, b in zip(row, reach, strict=True)), ZERO))


def exact(values: Floats) -> list[list[Fraction]]:
    """The dyadic rationals that the entries of a finite matrix are."""
    if not np.isfinite(values).all():
        raise Refusal(Code.NOT_PROVED, "jacobian", "an enclosure is not finite; the loop is undefined or too steep there")
    return [[Fraction(float(v)) for v in row] for row in values]


def product(a: Matrix, b: Matrix) -> list[list[Fraction]]:
    """Exact matrix product."""
    columns = list(zip(*b, strict=True))
    return [[dot(row, column) for column in columns] for row in a]


def transpose(a: Matrix) -> list[list[Fraction]]:
    """Transposed matrix."""
    return [list(row) for row in zip(*a, strict=True)]


def identity(n: int) -> list[list[Fraction]]:
    """The n x n identity."""
    return [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]


def jacobian(field: Graph, centre: Vector, radius: Vector, frame: Matrix | None = None) -> tuple[list[Fraction], list[Fraction], Matrix, Matrix]:
    r"""Enclose f at the centre and :math:`\partial f(o + T y) / \partial y` over ``|y| <= radius``.

    Returns
    -------
    (f_mid, f_rad, J_mid, J_rad)
        Exact rationals: midpoint and radius of f (n,) and of the Jacobian (n, n), row = component of f.
    """
    n = len(centre)
    middle = np.zeros(n) if frame is not None else np.array([float(c) for c in centre])
    if frame is None and any(Fraction(m) != c for m, c in zip(middle.tolist(), centre, strict=True)):
        raise Refusal(Code.BAD_NUMBER, "centre", "the centre of an enclosure must be a binary fraction that float64 holds")
    reading = JetReading(np.array([up(r) for r in radius])[:, None, None], 1)
    x = reading.start(middle[None]) if frame is None else reading.start_in_frame(middle[None], frame, centre)
    jet = read_jets(field, reading, x)
    return exact(jet.mid[0])[0], exact(jet.rad[0])[0], transpose(exact(jet.mid[2:, 0])), transpose(exact(jet.rad[2:, 0]))


def check_equilibrium(field: Graph, time: str, where: Enclosure) -> None:
    r"""Prove that the box holds exactly one equilibrium, by Krawczyk's operator.

    .. math:: |C g(c)| + |I - C\,G(E)|\,r < r, \qquad g = f \text{ or } f - x

    with any matrix C (here the float inverse of the midpoint of G).  A box of radius zero is checked exactly instead.

    Raises
    ------
    Refusal
        ``EQUILIBRIUM_NOT_PROVED``.
    """
    n = len(where.centre)
    shift = identity(n) if time == "discrete" else [[ZERO] * n for _ in range(n)]
    if not any(where.radius):
        value = evaluate_exact(field, where.centre)
        if not all(v == (c if time == "discrete" else 0) for v, c in zip(value, where.centre, strict=True)):
            raise Refusal(Code.EQUILIBRIUM_NOT_PROVED, "equilibrium", "the point given is not an equilibrium in exact arithmetic")
        return
    f_mid, f_rad, j_mid, j_rad = jacobian(field, where.centre, where.radius)
    g_mid = [f - (c if time == "discrete" else 0) for f, c in zip(f_mid, where.centre, strict=True)]
    matrix = [[a - b for a, b in zip(p, q, strict=True)] for p, q in zip(j_mid, shift, strict=True)]
    try:
        inverted = np.linalg.inv(np.array([[float(v) for v in row] for row in matrix]))
    except np.linalg.LinAlgError:
        raise Refusal(Code.EQUILIBRIUM_NOT_PROVED, "equilibrium", "the Jacobian's midpoint is singular") from None
    c_matrix = exact(inverted)
    c_abs = [[abs(v) for v in row] for row in c_matrix]
    gap = [[i - v for i, v in zip(p, q, strict=True)] for p, q in zip(identity(n), product(c_matrix, matrix), strict=True)]
    spread = product(c_abs, j_rad)
    for k in range(n):
        move = abs(dot(c_matrix[k], g_mid)) + dot(c_abs[k], f_rad)
        grow = sum(((abs(a) + b) * r for a, b, r in zip(gap[k], spread[k], where.radius, strict=True)), ZERO)
        if not move + grow < where.radius[k]:
            raise Refusal(Code.EQUILIBRIUM_NOT_PROVED, "equilibrium",
                          f"Krawczyk's operator leaves the box in coordinate {k}: {float(move + grow):.3g} >= {float(where.radius[k]):.3g}")


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
    ``[[(1 - rate) M, GᵀQ], [QᵀG, M]] > 0``, each for every G in the enclosure.  Every P-ball of radius ``sqrt(a) + d`` about
    x* in E lies in N_0 and in the domain, where ``d`` bounds the P-distance from o to E.  N_0 itself may reach beyond the
    domain: the loop's graph is only enclosed there.
    """
    n = len(origin)
    if not is_positive_definite(matrix):
        raise Refusal(Code.NOT_DEFINITE, "local", "P is not positive definite")
    if not (level > 0 and all(y > 0 for y in reach)):
        raise Refusal(Code.EMPTY_REGION, "local", "level and neighbourhood must be positive")
    q = product(matrix, frame)
    m = product(transpose(frame), q)
    m_inverse = inverse(m)
    far = sqrt_up(level) + 2 * where.distance(origin, matrix)
    used = max(far * far * m_inverse[i][i] / (reach[i] * reach[i]) for i in range(n))
    if not used <= 1:
        raise Refusal(Code.CHAIN, "local", "the ellipsoid of the local level does not fit into the neighbourhood")
    p_inverse = inverse(matrix)
    for i in range(n):
        gap = min(origin[i] - domain[0][i], domain[1][i] - origin[i])
        if not (gap > 0 and far * far * p_inverse[i][i] < gap * gap):
            raise Refusal(Code.CONTAINMENT, "local", f"the ellipsoid of the local level leaves the domain in coordinate {i}")
    if linear:
        found = affine_exact(field)
        if found is None:
            raise Refusal(Code.UNSUPPORTED, "local", "kind lmi needs a loop that is affine in the state; use jacobian_lmi")
        g_mid: Matrix = product(found[0], frame)
        g_rad: Matrix = [[ZERO] * n for _ in range(n)]
    else:
        _, _, g_mid, g_rad = jacobian(field, origin, reach, frame)
    qg, spread = product(transpose(q), g_mid), product([[abs(v) for v in row] for row in transpose(q)], g_rad)
    if time == "continuous":
        block = [[-(qg[i][j] + qg[j][i]) - rate * m[i][j] for j in range(n)] for i in range(n)]
        width = [[spread[i][j] + spread[j][i] for j in range(n)] for i in range(n)]
    else:
        block = [[(1 - rate) * v for v in m[i]] + [qg[j][i] for j in range(n)] for i in range(n)] + [qg[i] + list(m[i]) for i in range(n)]
        width = [[ZERO] * n + [spread[j][i] for j in range(n)] for i in range(n)] + [spread[i] + [ZERO] * n for i in range(n)]
    if not interval_positive_definite(block, width):
        raise Refusal(Code.LOCAL_DECREASE, "local", "the quadratic is not proved to decrease for every Jacobian over the neighbourhood")
    return used


def ellipsoid_reach(matrix: Matrix, level: Fraction) -> list[float]:
    r"""Half-widths :math:`\sqrt{c\,(M^{-1})_{ii}}` of :math:`\{y^\top M y \le c\}`, rounded up to float64."""
    return [up(sqrt_up(level * row[i])) for i, row in enumerate(inverse(matrix))]


def ellipsoid_volume(matrix: Matrix, level: Fraction) -> float:
    r"""Lower bound of :math:`\pi^{n/2} c^{n/2} / (\Gamma(n/2+1)\sqrt{\det P})` in float64, rounded down."""
    n = len(matrix)
    pi = Fraction(314159265358979, 10**14)  # below pi
    ball = Fraction(2) if n % 2 else Fraction(1)
    for k in range(3 if n % 2 else 2, n + 1, 2):
        ball *= 2 * pi / k
    minor, det = [list(row) for row in matrix], Fraction(1)
    for k in range(n):
        det *= minor[k][k]
        for i in range(k + 1, n):
            factor = minor[i][k] / minor[k][k]
            minor[i] = [a - factor * b for a, b in zip(minor[i], minor[k], strict=True)]
    return down(ball / sqrt_up(det / level**n))
