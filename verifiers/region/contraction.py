r"""Contraction of a loop on a ball, in the norm :math:`|y|` of coordinates :math:`x = o + T y`; theorem and proof: docs/theory/imitation.md.

Enclosed are, over the ball :math:`|y| \le r`: the factor (largest spectral norm of :math:`\partial f_y / \partial y` in discrete time, the
largest logarithmic norm in continuous time), how far f moves the centre, and how strongly the input acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import linalg

from verifiers.kernel.definite import inverse, rationals
from verifiers.kernel.graph import Builder, Floats, Graph, affine_from_rational
from verifiers.kernel.rational import down
from verifiers.kernel.setting import in_coordinates
from verifiers.region import maximum as top

Rows = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates y with x = origin + T y, exact, and the floats of both; T is regular."""

    matrix: Rows
    back: Rows
    origin: tuple[Fraction, ...]

    @property
    def stretch(self) -> float:
        """At least the spectral norm of T: |x - o| <= stretch |y|."""
        return float(top.spectral_up(*_floats(self.matrix))[0])

    @property
    def shrink(self) -> float:
        """At least the spectral norm of the inverse of T: |y| <= shrink |x - o|."""
        return float(top.spectral_up(*_floats(self.back))[0])

    @property
    def row_norms(self) -> Floats:
        """At least the Euclidean norm of each row of T (n,): |x_i - o_i| <= it times |y|."""
        return top.norm_up(np.abs(np.array([[float(v) for v in row] for row in self.matrix])))

    def largest_ball(self, lo: tuple[Fraction, ...], hi: tuple[Fraction, ...]) -> float:
        """A radius r for which |y| <= r implies lo <= x <= hi, rounded down."""
        room = [float(down(min(b - o, o - a))) for a, o, b in zip(lo, self.origin, hi, strict=True)]
        return float((np.array(room) / self.row_norms).min() * (1 - top.SLACK))


def _floats(rows: Rows) -> tuple[Floats, Floats]:
    mid = np.array([[float(v) for v in row] for row in rows])[None]
    return mid, np.abs(mid) * 2.0**-52


def frame_for(jacobian: Floats, origin: tuple[Fraction, ...], time: str, share: float, weight: Floats) -> Frame | None:
    r"""Coordinates in which the linearised loop contracts nearly as fast as its spectrum allows.

    M solves the Stein equation of :math:`J / \rho`, or the Lyapunov equation of :math:`J + \rho I`, with rho between the spectrum and the limit of
    stability, and :math:`T^{-\top} T^{-1} = M`.  None where the linearised loop is not stable.

    Parameters
    ----------
    jacobian : ndarray
        J (n, n).
    share : float
        Where rho lies: 0 at the spectrum, 1 at the limit.
    weight : ndarray
        Right side of the equation (n, n).
    """
    n = len(jacobian)
    try:
        spectrum = np.linalg.eigvals(jacobian)
        if time == "discrete":
            edge = float(np.abs(spectrum).max())
            if not edge < 1:
                return None
            m = linalg.solve_discrete_lyapunov((jacobian / (edge + share * (1 - edge) + 1e-9)).T, weight)
        else:
            edge = float(-spectrum.real.max())
            if not edge > 0:
                return None
            m = linalg.solve_continuous_lyapunov((jacobian + edge * (1 - share) * (1 - 1e-9) * np.eye(n)).T, -weight)
        t = np.linalg.inv(np.linalg.cholesky((m + m.T) / 2)).T
    except (np.linalg.LinAlgError, ValueError):
        return None
    if not np.isfinite(t).all():
        return None
    exact = tuple(tuple(Fraction(float(v)) for v in row) for row in t * 2.0 ** -np.round(np.log2(np.abs(t).max())))
    return Frame(exact, inverse(exact), origin)


@dataclass(frozen=True)
class Contraction:
    """What was enclosed on the ball of a radius.

    Attributes
    ----------
    radius : float
        r, in the norm of y.
    factor : float
        At least sup of the spectral norm (discrete time), or of the logarithmic norm (continuous time), of the loop's Jacobian in y.
    drift : float
        At least |f_y(0)|: how far the centre moves, or how fast.
    boxes : int
        Boxes looked at.
    """

    radius: float
    factor: float
    drift: float
    boxes: int


def in_frame(field: Graph, frame: Frame, time: str) -> Graph:
    """The loop's map or right side in y: ``T**-1 (f(o + T y) - o)`` in discrete time, ``T**-1 f(o + T y)`` in continuous time."""
    shift = -(rationals(frame.back) @ rationals(frame.origin)) if time == "discrete" else [Fraction(0)] * len(frame.origin)
    b = Builder()
    inner = b.inline(in_coordinates(field, frame.matrix, frame.origin), [b.input(len(frame.origin))])[0]
    return b.build([b.affine(inner, affine_from_rational(frame.back, list(shift)))])


def contraction(field: Graph, frame: Frame, time: str, radius: float, *, gap: float = 0.02, most: int = 60_000) -> Contraction:
    """Enclose factor and drift of a loop on the ball ``|y| <= radius``.

    Parameters
    ----------
    field : Graph
        The loop, x (n,) to x' or the next x.
    frame : Frame
        T and o.
    time : str
        ``discrete`` or ``continuous``.
    radius : float
        r.

    Returns
    -------
    Contraction
        Over-approximations; the search ends early once the loop is seen not to contract.

    Notes
    -----
    At kinks the jets enclose Clarke's Jacobian, and boxes without a point of the ball are left out.
    """
    graph, n = in_frame(field, frame, time), len(frame.origin)

    def bounds(left: Floats, right: Floats) -> tuple[Floats, Floats]:
        _, jet = top.jets(graph, left, right)
        mid, rad = top.derivative(jet, slice(0, n))
        if time == "discrete":
            upper, value = top.spectral_up(mid, rad), np.linalg.norm(np.nan_to_num(mid), 2, axis=(1, 2))
        else:
            upper = top.growth_up(mid, rad)
            value = np.linalg.eigvalsh(np.nan_to_num(mid + mid.transpose(0, 2, 1)) / 2)[:, -1]
        apart = outside(left, right, radius)
        return np.where(apart, -np.inf, upper), np.where(apart | ~np.isfinite(rad).all(axis=(1, 2)), -np.inf, value)

    corner = np.full(n, radius)
    found = top.maximum(bounds, -corner, corner, gap=gap, most=most, enough=1.0 if time == "discrete" else 0.0)
    zero = np.zeros((1, n))
    _, jet = top.jets(graph, zero, zero)
    return Contraction(radius, found.upper, float(top.norm_up(np.abs(jet.mid[0]) + jet.rad[0])[0]), found.boxes)


def outside(left: Floats, right: Floats, radius: float) -> np.ndarray:
    """(B,): whether a box surely holds no point of the ball about the origin."""
    nearest = np.maximum(np.maximum(left, -right), 0.0)
    return np.asarray((nearest * nearest).sum(axis=1) * (1 - top.SLACK) > radius * radius * (1 + top.SLACK))


def input_gain(plant: Graph, frame: Frame, radius: float, low: Floats, high: Floats, *, gap: float = 0.02, most: int = 60_000) -> float:
    r"""At least :math:`\sup \|T^{-1} \partial f / \partial u\|_2` over the ball and the box of inputs; infinite where an input has no limit.

    Parameters
    ----------
    plant : Graph
        The open loop's map or right side, inputs x (n,) and u (m,), before the limits.
    low, high : ndarray
        Limits of the input (m,).
    """
    n, m = len(frame.origin), len(low)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return float("inf")
    b = Builder()
    both = b.input(n + m)
    x = b.affine(b.take(both, range(n)), affine_from_rational(frame.matrix, list(frame.origin)))
    out = b.inline(plant, [x, b.take(both, range(n, n + m))])[0]
    graph = b.build([b.affine(out, affine_from_rational(frame.back, [Fraction(0)] * n))])

    def bounds(left: Floats, right: Floats) -> tuple[Floats, Floats]:
        _, jet = top.jets(graph, left, right)
        mid, rad = top.derivative(jet, slice(n, n + m))
        apart = outside(left[:, :n], right[:, :n], radius)
        value = np.linalg.norm(np.nan_to_num(mid), 2, axis=(1, 2))
        return np.where(apart, -np.inf, top.spectral_up(mid, rad)), np.where(apart, -np.inf, value)

    corner = np.full(n, radius)
    lo, hi = np.concatenate([-corner, low]), np.concatenate([corner, np.where(high > low, high, np.nextafter(low, np.inf))])
    return top.maximum(bounds, lo, hi, gap=gap, most=most).upper
