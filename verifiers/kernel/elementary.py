r"""Rigorous float64 enclosures of elementary functions over arrays of intervals.

Every public function takes the ends ``lo, hi`` (float64 arrays of one shape, dimensionless or rad) and returns ends of that shape with
``low <= f(t) <= high`` for every real ``t`` in ``[lo, hi]``.  Direction: over-approximation.  ``numpy.exp`` and its sisters promise no error
bound, so they are not used.

Trusted base
    ``+ - * / sqrt`` rounded to nearest (IEEE 754, no flush to zero), comparisons, ``floor``, ``frexp``, table look-ups, the bit layout of binary64.
    NumPy evaluates one elementwise operation at a time, so nothing is fused; a fused product would only drop a rounding that the bounds below
    count.  Tables come from 50-digit decimals (`decimal`, whose exp, ln and sqrt are correctly rounded) with errors
    below 1e-40, and one correctly rounded conversion per entry; none is closer than that to the middle of two float64 (tests/verifiers/kernel).
Bounds
    ``u = 2**-53`` is the largest relative error of one operation.  A function computes v with ``|v - f(x)| <= E u |f(x)|`` and answers
    ``v -+ (S u |v| + 2**-1070)``, ``S >= E + 1.1``: the surplus covers the rounding of this last sum, and ``2**-1070`` the operations that lose
    ``2**-1075`` each among subnormal numbers (at most eight).  Each docstring derives E; "2 + 1" there counts multiples of u.
Grid
    ``z = x + 1.5 * 2**(52 - p)`` rounds x to the nearest multiple c of ``2**-p``, and the low bits of z are the integer ``c * 2**p`` in two's
    complement: they index a table whose negative entries stand at its end.  ``x - c`` is exact: c = 0, or ``|c|/2 <= |x| <= 2|c|`` (Sterbenz).
Bad input
    An end that is NaN, ``lo > hi`` or a point outside the domain gives NaN for that element.  Infinite ends are limits.

Notes
-----
Ends are monotone up to the step only: a sub-interval's enclosure may stick out of the interval's own by ``2 S u`` relatively.

References
----------
.. [1] J.-M. Muller et al., Handbook of Floating-Point Arithmetic, 2nd ed., 2018, sections 4.2 (Sterbenz) and 11 (table-driven evaluation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Ends of intervals, any shape."""

_CHUNK = 8192  # working arrays of 64 kB stay in the second-level cache
_SLACK, _MAX = 2.0**-1070, float(np.finfo(np.float64).max)
_ONES, _64THS = 1.5 * 2.0**52, 1.5 * 2.0**46  # adding one of them rounds to multiples of 1, of 1/64
_ONES_BITS = int(np.float64(_ONES).view(np.int64))
_TOP, _FAR = 709.77, 2.0**20  # exp is finite, sin and cos reduce their argument, up to here
_THIRD = math.sqrt(1 / 3)  # relative error below 2 u


def _sine_series(x: Decimal) -> Decimal:
    """``sin x`` for ``|x| < 8``, whose terms stay below 500."""
    term, total, n = x, Decimal(0), 1
    while total + term != total:
        total, n = total + term, n + 2
        term *= -x * x / (n * n - n)
    return total


def _arc(c: Decimal, quarter: Decimal) -> Decimal:
    """``atan c``: subtracting ``sin(t - atan c) = (sin t - c cos t) / sqrt(1 + c**2)`` cubes the error, at first below 1e-15."""
    t = Decimal(math.atan(c))
    return t - (_sine_series(t) - c * _sine_series(t + quarter)) / (1 + c * c).sqrt()


def _head(x: Decimal, place: int) -> float:
    """The part of x that ends at the given binary place."""
    return float(math.floor(x * 2**place) / 2**place)


with localcontext(Context(prec=50)):
    _decay, _ln2 = Decimal(-1 / 32).exp(), Decimal(2).ln()
    _pi = Decimal(math.pi) + _sine_series(Decimal(math.pi))  # cubes the error, at first below 2e-16
    _TANH = np.zeros(4096)  # tanh(k/64) for |k| <= 1280
    _TANH[1:1281] = [float(2 / (1 + _decay**k) - 1) for k in range(1, 1281)]
    _TANH[:-1281:-1] = -_TANH[1:1281]
    _LOG = np.array([(1 + Decimal(j - 128 * (j > 64)) / 64).ln() for j in range(128)], dtype=np.float64)  # log(1 + j/64) for -19 <= j <= 64
    _ATAN = np.array([_arc(Decimal(j) / 64, _pi / 2) for j in range(65)], dtype=np.float64)  # atan(j/64)
    _EXP2 = np.array([(_ln2 * j / 128).exp() for j in range(128)], dtype=np.float64)  # 2**(j/128)
    _SIN = np.array([round(_sine_series(_pi * k / 64), 40) for k in range(160)], dtype=np.float64)  # sin(k pi/64), 1 1/4 periods
    _LN2_HIGH, _PI_HIGH = _head(_ln2 / 128, 42), _head(_pi / 64, 32)  # 35 and 28 bits
    _PI_MIDDLE = _head(_pi / 64 - Decimal(_PI_HIGH), 60)  # 28 bits
    _LN2_LOW, _PI_LOW = float(_ln2 / 128 - Decimal(_LN2_HIGH)), float(_pi / 64 - Decimal(_PI_HIGH) - Decimal(_PI_MIDDLE))
    _HALF_PI = float(_pi / 2)


def _chunked(rule: Callable[[Array, Array], tuple[Array, ...]], lo: Array, hi: Array, outputs: int = 2) -> Array:
    """Apply a rule for pairs of ends to cache-sized pieces, and replace each answer that is no interval, or belongs to none, by NaN."""
    lo, hi = np.asarray(lo), np.asarray(hi)
    if not (lo.dtype == hi.dtype == np.float64 and lo.shape == hi.shape):
        raise TypeError(f"ends must be float64 arrays of one shape, not {lo.dtype}{lo.shape} and {hi.dtype}{hi.shape}; convert them outward first")
    a, b, out = lo.ravel(), hi.ravel(), np.empty((outputs, lo.size))
    with np.errstate(all="ignore"):
        for start in range(0, lo.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            for row, end in zip(out, rule(a[part], b[part]), strict=True):
                row[part] = end
            good = a[part] <= b[part]
            for low, high in zip(out[::2, part], out[1::2, part], strict=True):
                good &= low <= high
            if not good.all():
                out[:, part][:, ~good] = np.nan
    return out.reshape(outputs, *lo.shape)


def _outward(low: Array, high: Array, step: float, slack: float = _SLACK) -> tuple[Array, Array]:
    """Move ends outward by a relative step and an absolute slack."""
    return low - (np.abs(low) * step + slack), high + (np.abs(high) * step + slack)


def _increasing(
    point: Callable[[Array], Array], lo: Array, hi: Array, step: float, slack: float = _SLACK,
    *, floor: float = -math.inf, ceiling: float = math.inf, cap: float = _MAX,
) -> tuple[Array, Array]:
    """Range of an increasing function; lower ends are cut at ``cap``, where ``point`` is still finite."""

    def rule(a: Array, b: Array) -> tuple[Array, ...]:
        low, high = _outward(point(np.minimum(a, cap)), point(b), step, slack)
        return np.maximum(low, floor), np.minimum(high, ceiling)

    low, high = _chunked(rule, lo, hi)
    return low, high


def _horner(q: Array, *coefficients: float) -> Array:
    """``q (c_n + q (... + q c_0))``."""
    p = q * coefficients[0]
    for c in coefficients[1:]:
        p += c
        p *= q
    return p


def _tanh(x: Array) -> Array:
    x = np.clip(x, -20.0, 20.0)
    z = x + _64THS
    h = x - (z - _64THS)
    s = h + h * _horner(h * h, -17 / 315, 2 / 15, -1 / 3)
    t = _TANH.take(z.view(np.int64) & 4095)
    return (t + s) / (1.0 + t * s)


def _exp(x: Array) -> Array:
    y = np.clip(x, -708.0, _TOP)
    z = y * (1 / (_LN2_HIGH + _LN2_LOW)) + _ONES
    k, n = z - _ONES, z.view(np.int64)
    r = y - k * _LN2_HIGH - k * _LN2_LOW
    t = (_EXP2.take(n & 127).view(np.int64) + ((n - _ONES_BITS) >> 7 << 52)).view(np.float64)
    p = t + t * (r + r * _horner(r, 1 / 120, 1 / 24, 1 / 6, 1 / 2))
    p[x > _TOP] = math.inf
    return p


def _log1p(y: Array) -> Array:
    """For ``-0.3 <= y <= 1``."""
    z = y + _64THS
    c = z - _64THS
    d = y - c
    w = d / (1.0 + c + d * 0.5)
    return _LOG.take(z.view(np.int64) & 127) + (w + w * _horner(w * w, 1 / 448, 1 / 80, 1 / 12))


def _log(x: Array) -> Array:
    m, e = np.frexp(x)
    small = m < 0.7
    m, e = np.where(small, 2 * m, m), e - small
    v = e * (128 * _LN2_HIGH) + (e * (128 * _LN2_LOW) + _log1p(m - 1))
    v[x == math.inf] = math.inf
    v[~(x > 0)] = math.nan
    return v


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0.0) + _log1p(_exp(-np.abs(x)))


def _atan(x: Array) -> Array:
    a = np.abs(x)
    y = np.minimum(a, 1 / a)
    z = y + _64THS
    c = z - _64THS
    w = (y - c) / (1 + c * y)
    v = _ATAN.take(z.view(np.int64) & 127) + (w + w * _horner(w * w, -1 / 7, 1 / 5, -1 / 3))
    return np.copysign(np.where(a > 1, _HALF_PI - v, v), x)


def _sine(x: Array, shift: int) -> tuple[Array, Array]:
    """``sin(x + shift pi/64)`` and its error."""
    z = x * (32 / _HALF_PI) + _ONES
    k = z - _ONES
    r = x - k * _PI_HIGH - k * _PI_MIDDLE - k * _PI_LOW
    q, index = r * r, (z.view(np.int64) + shift) & 127
    s, c = _SIN.take(index), _SIN.take(index + 32)
    v = s + (s * _horner(q, -1 / 720, 1 / 24, -1 / 2) + c * (r + r * _horner(q, -1 / 5040, 1 / 120, -1 / 6)))
    return v, np.abs(v) * 2.0**-49 + (np.abs(k) * 2.0**-110 + _SLACK)


def _wave(lo: Array, hi: Array, shift: int) -> tuple[Array, Array]:
    """Range of ``sin(x + shift pi/64)``."""
    phase, per_turn = shift / 128 - 1 / 4, 0.25 / _HALF_PI

    def rule(a: Array, b: Array) -> tuple[Array, ...]:
        (v, e), (w, f) = _sine(a, shift), _sine(b, shift)
        low, high = np.maximum(np.minimum(v - e, w - f), -1.0), np.minimum(np.maximum(v + e, w + f), 1.0)
        far = ~((a >= -_FAR) & (b <= _FAR))
        first, last = a * per_turn + (phase - 2.0**-32), b * per_turn + (phase + 2.0**-32)
        high[(np.floor(last) >= first) | far] = 1.0
        low[(np.floor(last + 0.5) >= first + 0.5) | far] = -1.0
        return low, high

    low, high = _chunked(rule, lo, hi)
    return low, high


def _bends(lo: Array, hi: Array, least: float) -> tuple[Array, Array, Array, Array]:
    """Ranges of ``p(t) = (t - least)(1 - t)`` and of ``p p'``: p has its top in the middle c, p p' its extremes at ``c -+ (1 - c)/sqrt 3``."""
    centre, half = (1 + least) / 2, (1 - least) / 2
    top, offset, peak = half**2, half * _THIRD, half**3 * _THIRD * (4 / 3 + 2.0**-49)

    def near(a: Array, b: Array, point: float) -> NDArray[np.bool_]:
        return (a <= point + 2.0**-50) & (b >= point - 2.0**-50)

    def rule(a: Array, b: Array) -> tuple[Array, ...]:
        p, q = (a - least) * (1 - a), (b - least) * (1 - b)
        low, high = np.minimum(p, q) * (1 - 2.0**-50) - _SLACK, np.maximum(p, q) * (1 + 2.0**-50) + _SLACK
        high[near(a, b, centre)] = top
        p *= 1 + least - 2 * a
        q *= 1 + least - 2 * b
        bottom, most = _outward(np.minimum(p, q), np.maximum(p, q), 2.0**-50)
        most[near(a, b, centre - offset)] = peak
        bottom[near(a, b, centre + offset)] = -peak
        return np.maximum(low, 0.0, out=low), np.minimum(high, top, out=high), bottom, most

    d1_low, d1_high, d2_low, d2_high = _chunked(rule, lo, hi, 4)
    return d1_low, d1_high, d2_low, d2_high


def tanh(lo: Array, hi: Array) -> tuple[Array, Array]:
    r"""Enclose the hyperbolic tangent, within [-1, 1]; relative accuracy down to the subnormal numbers.

    .. math:: \tanh(c + h) = \frac{t + s}{1 + t s}, \quad t = \tanh c,\; s = \tanh h \approx h - h^3/3 + 2h^5/15 - 17h^7/315

    Notes
    -----
    S = 8, E = 6.1.  c is a multiple of 1/64, ``|h| <= 1/128``: the series stops before ``62 h^9/2835 < 2**-61 h`` and its last sum rounds once, so s
    is within 1.02.  If ``c != 0``, ``|t| <= 2.01 |t + s|`` and ``|s| <= 1.01 |t + s|``: the numerator is within 2.01 + 1.03 + 1, the denominator
    within 1.03 (its product is below 1/128), the quotient adds 1.  If ``c = 0`` the quotient is s.  Arguments are cut at -+20, where
    ``1 - |tanh| < 2**-56`` and the step reaches -+1.
    """
    return _increasing(_tanh, lo, hi, 2.0**-50, floor=-1.0, ceiling=1.0)


def sigmoid(lo: Array, hi: Array) -> tuple[Array, Array]:
    r"""Enclose the logistic function, within [0, 1]; absolute accuracy.

    .. math:: 1 / (1 + e^{-x}) = \tfrac12 + \tfrac12 \tanh(x/2)

    Notes
    -----
    Half of tanh's error 6.1 u, half a u for the sum, and half a u for the step's own rounding: 4.1 u; the absolute step is 8 u.
    """
    return _increasing(lambda x: _tanh(x * 0.5) * 0.5 + 0.5, lo, hi, 0.0, 2.0**-50, floor=0.0, ceiling=1.0)


def softplus(lo: Array, hi: Array) -> tuple[Array, Array]:
    r"""Enclose the softplus function, at least max(x, 0); relative accuracy but for ``2**-1020``.

    .. math:: \log(1 + e^x) = \max(x, 0) + \operatorname{log1p}(e^{-|x|})

    Notes
    -----
    S = 16, E = 9.2: exp 2.1, which log1p does not amplify (``y <= (1 + y) log1p(y)``), log1p 6.1 (see `log`; here y reaches 1), the sum 1.
    """

    low, high = _increasing(_softplus, lo, hi, 2.0**-49, 2.0**-1020)
    return np.maximum(low, np.clip(lo, 0.0, _MAX)), high


def exp(lo: Array, hi: Array) -> tuple[Array, Array]:
    r"""Enclose the exponential, at least 0; relative accuracy but for ``2**-1020``; the upper end is inf where ``hi > 709.77``.

    .. math:: e^x = 2^m\, 2^{j/128} e^r, \quad x = (128 m + j) \tfrac{\ln 2}{128} + r, \; |r| \le 0.00271

    Notes
    -----
    S = 4, E = 2.1.  ``128 m + j`` has 18 bits and the leading part of ln 2/128 has 35: their product is exact, and the reduction errs by less than
    ``0.01 u``.  The series stops before ``r^6/720 < 2**-60``; its terms after the 1, below 1/368, add 0.05; table and last sum 1 each.  m is added
    to the exponent bits, exactly, as arguments are cut to [-708, 709.77] (-1022 <= m <= 1023); below, the truth is less than the slack.
    """
    return _increasing(_exp, lo, hi, 2.0**-51, 2.0**-1020, floor=0.0, cap=_TOP)


def log(lo: Array, hi: Array) -> tuple[Array, Array]:
    r"""Enclose the natural logarithm; relative accuracy; NaN for an interval that reaches 0 or below.

    .. math:: \log(2^e m) = e \ln 2 + \log(1 + c) + 2 \operatorname{atanh}\frac{w}{2}, \quad w = \frac{d}{1 + c + d/2},\; m = 1 + c + d

    Notes
    -----
    S = 8, E = 6.1.  m in [0.7, 1.4), ``m - 1`` and d are exact, c is a multiple of 1/64, so ``|w| < 0.0112`` carries 2 roundings and the series (next
    term ``w^9/2304 < 2**-62 w``) a third.  If e = 0 and ``c != 0``, table and series are at most 2.01 and 1.01 times the result: 2.01 + 3.06 + 1;
    if c = 0, the series alone counts.  If ``e != 0``, the result exceeds 0.33, e times the leading 35 bits of ln 2 is exact, log1p errs by less than
    0.8 u absolutely and the two sums by 0.4 u and 1: below 5.
    """
    return _increasing(_log, lo, hi, 2.0**-50)


def sqrt(lo: Array, hi: Array) -> tuple[Array, Array]:
    """Enclose the square root, at least 0; NaN for an interval that reaches below 0.  S = 4, E = 1, as IEEE 754 rounds the root correctly."""
    return _increasing(np.sqrt, lo, hi, 2.0**-51, floor=0.0)


def atan(lo: Array, hi: Array) -> tuple[Array, Array]:
    r"""Enclose the arc tangent in radians, within the least float64 interval about [-pi/2, pi/2]; relative accuracy.

    .. math:: \arctan y = \arctan c + \arctan\frac{y - c}{1 + c y}\; (0 \le y \le 1), \qquad \arctan a = \tfrac{\pi}{2} - \arctan \tfrac1a\; (a > 1)

    Notes
    -----
    S = 16, E = 10.6.  c is a multiple of 1/64, so the quotient is at most 1/128; it is within 1.5 (denominator) + 1, and the series (next term below
    ``2**-59``) adds 1.1.  Table and series are at most 2.01 and 1.01 times the result: 2.01 + 3.64 + 1 = 6.6.  For a > 1 the reciprocal adds 1, pi/2
    adds 2 relative to a result of at least pi/4, the difference 1.
    """
    ceiling = math.nextafter(_HALF_PI, 2)
    return _increasing(_atan, lo, hi, 2.0**-49, floor=-ceiling, ceiling=ceiling)


def sin(lo: Array, hi: Array) -> tuple[Array, Array]:
    r"""Enclose the sine of angles in radians, crests and troughs included, within [-1, 1]; (-1, 1) where an end exceeds ``2**20``.

    .. math:: \sin(k\theta + r) = S_k + (S_k (\cos r - 1) + C_k \sin r), \quad \theta = \pi/64,\; |r| \le \pi/128

    Notes
    -----
    S = 16, E = 10, and an absolute ``|k| 2**-110`` (0 near x = 0).  k has 25 bits and the first two of three parts of pi/64 have 28, so both
    products are exact; so is the first difference (Sterbenz; with ``|k| = 1`` it may round once); the others round relative to r, but for
    ``|k| 2**-111``, which holds the third product's error too.  Hence r is within 3, sin r (next term ``r^9/9! < 2**-61 r``) within 4, C_k sin r
    within 6; ``|cos r - 1| < 1/3300`` (next term ``r^8/8! < 2**-57``).  If ``S_k != 0``, ``|S_k|`` is at most twice, and C_k sin r at most once the
    result: 2 + 6 + 1 + 1.  If ``S_k = 0`` the result is C_k sin r.
    ``x/(2 pi) - 1/4`` is an integer on a crest; it errs by less than ``2**-33`` and both ends are widened by ``2**-32``, so no crest is missed; one
    seen wrongly lies within 3e-9 of an end, where the sine exceeds ``1 - 2**-57``.
    """
    return _wave(lo, hi, 0)


def cos(lo: Array, hi: Array) -> tuple[Array, Array]:
    """Enclose the cosine of angles in radians: `sin` with its table read a quarter turn ahead, same bounds (relative to the zeros of cos)."""
    return _wave(lo, hi, 32)


def tanh_derivatives(tl: Array, th: Array) -> tuple[Array, Array, Array, Array]:
    r"""Enclose the first two derivatives of tanh, ``d1_low, d1_high, d2_low, d2_high``, over an enclosure of its value t; ``0 <= d1 <= 1``.

    .. math:: d_1 = 1 - t^2 = (1 - t)(1 + t), \qquad d_2 = -2 t\, d_1

    Notes
    -----
    Three roundings for d1, which is not negative, four for d2, step 8 u.  d1 rises up to t = 0 and falls after it; d2 has the extremes
    +-4/(3 sqrt 3) at t = -+1/sqrt 3 and is monotone between and outside them: the ends, and extremes inside (widened by ``2**-50``), give the
    range.
    """
    return _bends(tl, th, -1.0)


def sigmoid_derivatives(sl: Array, sh: Array) -> tuple[Array, Array, Array, Array]:
    r"""Enclose the first two derivatives of the logistic function, as `tanh_derivatives`, over an enclosure of its value s; ``0 <= d1 <= 1/4``.

    .. math:: d_1 = s (1 - s), \qquad d_2 = d_1 (1 - 2 s)

    Notes
    -----
    Two roundings for d1, four for d2, step 8 u.  d1 is greatest at s = 1/2; d2 has the extremes +-1/(6 sqrt 3) at s = 1/2 -+ 1/sqrt 12.
    """
    return _bends(sl, sh, 0.0)
