"""Smooth elementary functions with their first two derivatives, enclosed over arrays of intervals."""

from __future__ import annotations

import numpy as np

from verifiers.kernel import elementary
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats

U = 2.0**-53
TINY = 1e-300
Ends = tuple[Floats, Floats]
"""Lower and upper ends, arrays of one shape."""


def outward(lo: Floats, hi: Floats, ulps: float = 16.0) -> tuple[Floats, Floats]:
    """Widen [lo, hi] by a relative ``ulps * u``: covers a few float operations on each end."""
    return lo - np.abs(lo) * (ulps * U) - TINY, hi + np.abs(hi) * (ulps * U) + TINY


def _power(lo: Floats, hi: Floats, k: int) -> tuple[Floats, Floats]:
    """Enclose ``t**k`` over [lo, hi]; repeated multiplication costs at most ``k - 1`` roundings on each end."""
    if k == 0:
        return np.ones_like(lo), np.ones_like(hi)
    a, b = lo.copy(), hi.copy()
    for _ in range(k - 1):
        a, b = a * lo, b * hi
    if k % 2 == 0:
        a, b = np.where((lo <= 0) & (hi >= 0), 0 * lo, np.minimum(a, b)), np.maximum(a, b)
    return outward(a, b, 16.0 + 2 * k)


def _inverse(lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Enclose ``1 / t``; NaN where the interval touches zero."""
    good = (lo > 0) | (hi < 0)
    return outward(np.where(good, 1 / hi, np.nan), np.where(good, 1 / lo, np.nan))


def _product(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Enclose the product of two intervals given by their ends."""
    p = np.stack([a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]])
    return outward(p.min(axis=0), p.max(axis=0))


def _scaled(e: Ends, factor: float) -> Ends:
    """``factor * e`` for a factor that is a small integer or dyadic."""
    a, b = e[0] * factor, e[1] * factor
    return outward(np.minimum(a, b), np.maximum(a, b))


_RANGES = {"tanh": elementary.tanh, "sigmoid": elementary.sigmoid, "softplus": elementary.softplus, "sin": elementary.sin, "cos": elementary.cos,
           "exp": elementary.exp, "log": elementary.log, "sqrt": elementary.sqrt, "atan": elementary.atan, "inverse": _inverse}


def smooth_range(op: str, lo: Floats, hi: Floats, power: int = 0) -> Ends:
    """Enclose a smooth elementary function over [lo, hi]; NaN where it is not defined there."""
    if op == "pow":
        return _power(lo, hi, power)
    if op not in _RANGES:
        raise Refusal(Code.UNSUPPORTED, op, f"operator {op!r} has no derivative enclosure")
    return _RANGES[op](lo, hi)


def third_derivative(op: str, first: Ends) -> Ends | None:
    r"""Enclose the third derivative where it is a function of the first, ``d`` (enclosed); None elsewhere.

    .. math:: \tanh''' = 4d - 6d^2, \quad \sigma''' = d - 6d^2, \quad \sin''' = -d, \quad \cos''' = -d, \quad \exp''' = d

    Notes
    -----
    ``a d - 6 d^2`` has its top, ``a^2/24``, at ``d = a/12``, and its least value at an end; rounding is monotone, so an interval of float64
    that holds a/12 holds the float64 nearest to it; the slack is far more than the roundings at ``0 <= d``.
    """
    lo, hi = first
    if op in ("tanh", "sigmoid"):
        a = 4.0 if op == "tanh" else 1.0
        ends = np.stack([a * lo - 6 * lo * lo, a * hi - 6 * hi * hi])
        slack = 16 * U * (a * hi + 6 * hi * hi) + TINY
        top = np.where((lo <= a / 12) & (hi >= a / 12), a * a / 24, ends.max(axis=0))
        return ends.min(axis=0) - slack, top + slack
    return {"sin": (-hi, -lo), "cos": (-hi, -lo), "exp": first}.get(op)


def fourth_derivative(op: str, value: Ends, first: Ends) -> Ends | None:
    r"""Enclose the fourth derivative where it is a polynomial of the value ``y`` and the first one ``d`` (enclosed); None elsewhere.

    .. math:: \tanh^{(4)} = 8 y d\,(3d - 1), \quad \sigma^{(4)} = (1 - 2y)\,d\,(1 - 12d), \quad f^{(4)} = f \text{ for } \sin, \cos, \exp
    """
    if op not in ("tanh", "sigmoid"):
        return value if op in ("sin", "cos", "exp") else None
    (y0, y1), (d0, d1) = value, first
    bend = (8 * y0, 8 * y1) if op == "tanh" else outward(1 - 2 * y1, 1 - 2 * y0)
    low, high = (3 * d0 - 1, 3 * d1 - 1) if op == "tanh" else (1 - 12 * d1, 1 - 12 * d0)
    slack = 4 * U * (1 + 12 * d1)
    return _product(_product(bend, first), (low - slack, high + slack))


def line(op: str, lo: Floats, hi: Floats) -> tuple[Floats, Floats, Floats]:
    r"""For tanh and sigmoid: slope s, offset c and error e with :math:`|f(t) - s\,t - c| \le e` on [lo, hi]; NaN says nothing.

    Notes
    -----
    f is convex left of 0 and concave right of it, and :math:`g(t) = f(t) - s\,t` with it, whatever s is (here that of the chord).  Where g is
    concave, a tangent at any :math:`\tau`, with :math:`f(\tau)` and :math:`f'(\tau)` enclosed, bounds it above, and it is least at an end; where it
    is convex, the other way round.  A part that is empty bounds nothing.
    """
    (l0, l1), (h0, h1), zero = smooth_range(op, lo, lo), smooth_range(op, hi, hi), 0.0 * lo
    s, near, far = np.clip((h0 - l0) / (hi - lo), 0.0, 1.0), np.maximum(lo, zero), np.minimum(hi, zero)
    parallel = np.arctanh(np.sqrt(np.clip(1 - s, 0.0, 1 - U))) if op == "tanh" else 2 * np.arctanh(np.sqrt(np.clip(1 - 4 * s, 0.0, 1 - U)))
    t, z = np.clip(parallel, near, np.maximum(hi, near)), np.clip(-parallel, np.minimum(lo, far), far)
    ((_, t1), (d0, d1), _), ((z0, _), (b0, b1), _) = smooth_derivatives(op, t, t), smooth_derivatives(op, z, z)
    top = np.maximum(np.where(hi > 0, t1 - s * t + np.maximum((d0 - s) * (near - t), (d1 - s) * (hi - t)), -np.inf),
                     np.where(lo < 0, np.maximum(l1 - s * lo, np.where(hi > 0, -np.inf, h1 - s * hi)), -np.inf))
    low = np.minimum(np.where(lo < 0, z0 - s * z + np.minimum((b1 - s) * (lo - z), (b0 - s) * (far - z)), np.inf),
                     np.where(hi > 0, np.minimum(h0 - s * hi, np.where(lo < 0, np.inf, l0 - s * lo)), np.inf))
    c = 0.5 * top + 0.5 * low
    slack = 32 * U * (2 + (s + d1 + b1) * (np.abs(lo) + np.abs(hi)) + np.abs(c)) + TINY
    return s, c, np.maximum(top - c, c - low) * (1 + 4 * U) + slack


def smooth_derivatives(op: str, lo: Floats, hi: Floats, power: int = 0) -> tuple[Ends, Ends, Ends]:
    """Enclose a smooth elementary function and its first two derivatives over [lo, hi].

    Returns
    -------
    (value, first, second)
        Each a pair (lower, upper) of arrays of the shape of ``lo``; NaN where the function is not defined on [lo, hi].
    """
    value = smooth_range(op, lo, hi, power)
    if op in ("tanh", "sigmoid"):
        bends = (elementary.tanh_derivatives if op == "tanh" else elementary.sigmoid_derivatives)(*value)
        return value, bends[:2], bends[2:]
    if op == "softplus":
        slope = elementary.sigmoid(lo, hi)
        return value, slope, elementary.sigmoid_derivatives(*slope)[:2]
    if op in ("sin", "cos"):
        s, c = (value, elementary.cos(lo, hi)) if op == "sin" else (elementary.sin(lo, hi), value)
        return (value, c, (-s[1], -s[0])) if op == "sin" else (value, (-s[1], -s[0]), (-c[1], -c[0]))
    if op == "exp":
        return value, value, value
    if op == "log":
        v = _inverse(lo, hi)
        return value, v, _scaled(_power(*v, 2), -1.0)
    if op == "sqrt":
        v = _inverse(*value)
        return value, _scaled(v, 0.5), _scaled(_power(*v, 3), -0.25)
    if op == "atan":
        q = _power(lo, hi, 2)
        v = _inverse(*outward(1 + q[0], 1 + q[1]))
        return value, v, _scaled(_product((lo, hi), _power(*v, 2)), -2.0)
    if op == "inverse":
        return value, _scaled(_power(*value, 2), -1.0), _scaled(_power(*value, 3), 2.0)
    zero = (np.zeros_like(lo), np.zeros_like(hi))
    first = _scaled(_power(lo, hi, power - 1), float(power)) if power >= 1 else zero
    second = _scaled(_power(lo, hi, power - 2), float(power * (power - 1))) if power >= 2 else zero
    return value, first, second
