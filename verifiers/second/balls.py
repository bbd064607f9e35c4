r"""Jets of balls: value, gradient and Hessian of a function over a box, each an enclosure in Arb's ball arithmetic.

For a function g on the box X = c + [-r, r] a jet holds enclosures of g(c), of g(X), of the (Clarke) gradient over X, and, while everything is
smooth and it is asked for, of the gradient at c and of the Hessian over X.  After every operation

.. math:: g(X) \subseteq g(c) + \sum_j \partial_j g(X)\,[-r_j, r_j], \qquad
          \partial_i g(X) \subseteq \partial_i g(c) + \sum_j \partial_{ij} g(X)\,[-r_j, r_j]

are intersected with what was known.  The first holds for every locally Lipschitz g with Clarke's gradient (Clarke 1983, Thm 2.3.7), the second
where g is twice differentiable; behind a kink the Hessian is dropped.

Direction: every ball contains all values; what is undefined somewhere on X is a ball that is not finite, and passes no comparison.

References
----------
.. [1] F. Johansson, Arb: efficient arbitrary-precision midpoint-radius interval arithmetic, IEEE Trans. Computers 66 (2017).
.. [2] F. H. Clarke, Optimization and Nonsmooth Analysis, Wiley 1983.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flint import arb, arb_mat, fmpq

ZERO, ONE, HALF = arb(0), arb(1), arb(fmpq(1, 2))
Ball = Any
"""``flint.arb``, which has no type information."""


def hull(a: Ball, b: Ball) -> Ball:
    """The smallest ball that holds both."""
    return a.union(b)


def meet(a: Ball, b: Ball) -> Ball:
    """A ball that holds whatever lies in both: the better one, or their intersection."""
    if not a.is_finite():
        return b
    if not b.is_finite():
        return a
    return a.intersection(b)


def square(a: Ball) -> Ball:
    """``{t² : t in a}``, never below zero."""
    low, high = a.abs_lower(), a.abs_upper()
    return hull(low * low, high * high)


def _ends(function: Callable[[Ball], Ball], a: Ball) -> Ball:
    """The range of an increasing function."""
    return hull(function(a.lower()), function(a.upper()))


def _sigmoid(a: Ball) -> Ball:
    return ONE / (ONE + (-a).exp())


def _softplus(a: Ball) -> Ball:  # log(1 + exp a); from the side where exp does not overflow
    return (-(a.abs_upper())).exp().log1p() + a if a > 0 else a.exp().log1p()


Smooth = tuple[Ball, Ball, Ball]


def _tanh(a: Ball) -> Smooth:
    t = _ends(lambda e: e.tanh(), a)
    slope = ONE - square(t)
    return t, slope, -2 * t * slope


def _sigmoid_smooth(a: Ball) -> Smooth:
    s = _ends(_sigmoid, a)
    slope = HALF * HALF - square(s - HALF)
    return s, slope, slope * (ONE - 2 * s)


def _softplus_smooth(a: Ball) -> Smooth:
    s, slope, _ = _sigmoid_smooth(a)
    return _ends(_softplus, a), s, slope


def _sin(a: Ball) -> Smooth:
    s, c = a.sin(), a.cos()
    return s, c, -s


def _cos(a: Ball) -> Smooth:
    s, c = a.sin(), a.cos()
    return c, -s, -c


def _exp(a: Ball) -> Smooth:
    e = _ends(lambda t: t.exp(), a)
    return e, e, e


def _log(a: Ball) -> Smooth:
    if not a > 0:
        return arb.nan(), arb.nan(), arb.nan()
    return _ends(lambda t: t.log(), a), ONE / a, -ONE / square(a)


def _sqrt(a: Ball) -> Smooth:
    if not a >= 0:
        return arb.nan(), arb.nan(), arb.nan()
    root = _ends(lambda t: t.sqrt(), a)
    slope = HALF / root
    return root, slope, -HALF * slope / a


def _atan(a: Ball) -> Smooth:
    slope = ONE / (ONE + square(a))
    return _ends(lambda t: t.atan(), a), slope, -2 * a * square(slope)


SMOOTH: dict[str, Callable[[Ball], Smooth]] = {
    "tanh": _tanh, "sigmoid": _sigmoid_smooth, "softplus": _softplus_smooth, "sin": _sin, "cos": _cos, "exp": _exp, "log": _log, "sqrt": _sqrt,
    "atan": _atan}


@dataclass(frozen=True, eq=False)
class Box:
    """A box c + [-r, r] of n coordinates: its corners as balls, and how far derivatives are carried (order 1 or 2)."""

    centre: tuple[Ball, ...]
    whole: tuple[Ball, ...]
    reach: tuple[Ball, ...]
    order: int

    @classmethod
    def between(cls, lo: Sequence[Any], hi: Sequence[Any], order: int = 1) -> Box:
        """The box with these corners (floats or ``fmpq``)."""
        whole = tuple(hull(arb(a), arb(b)) for a, b in zip(lo, hi, strict=True))
        centre = tuple(arb(w.mid()) for w in whole)
        reach = tuple(arb(0, (w - c).abs_upper()) for w, c in zip(whole, centre, strict=True))
        return cls(centre, whole, reach, order)

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return len(self.whole)

    def inputs(self) -> list[Jet]:
        """The coordinates as jets."""
        n = self.n
        return [Jet(self, c, w, [ONE if i == j else ZERO for j in range(n)], [ONE if i == j else ZERO for j in range(n)],
                    [ZERO] * (n * (n + 1) // 2) if self.order == 2 else None)
                for i, (c, w) in enumerate(zip(self.centre, self.whole, strict=True))]

    def constant(self, value: Ball) -> Jet:
        """A number, or an unknown constant in a ball: at the centre and on the box the same enclosure."""
        n = self.n
        return Jet(self, value, value, [ZERO] * n, [ZERO] * n, [ZERO] * (n * (n + 1) // 2) if self.order == 2 else None)


class Jet:
    """Enclosures of a scalar function over a box: ``c`` g(c), ``v`` g(X), ``k`` gradient at c, ``g`` gradient on X, ``h`` Hessian on X (packed)."""

    __slots__ = ("box", "c", "g", "h", "k", "v")

    def __init__(self, box: Box, c: Ball, v: Ball, k: list[Ball], g: list[Ball], h: list[Ball] | None, sharpen: bool = False) -> None:
        self.box, self.c, self.v, self.k, self.g, self.h = box, c, v, k, g, h
        if sharpen:
            self._sharpen()

    def _sharpen(self) -> None:
        reach, n = self.box.reach, self.box.n
        if self.h is not None:
            at = [[0] * n for _ in range(n)]
            place = 0
            for i in range(n):
                for j in range(i + 1):
                    at[i][j] = at[j][i] = place
                    place += 1
            self.g = [meet(self.g[i], self.k[i] + sum((self.h[at[i][j]] * reach[j] for j in range(n)), ZERO)) for i in range(n)]
        self.v = meet(self.v, self.c + sum((g * r for g, r in zip(self.g, reach, strict=True)), ZERO))

    def _like(self, other: Jet | Ball | int) -> Jet:
        return other if isinstance(other, Jet) else self.box.constant(other if isinstance(other, arb) else arb(other))

    def __neg__(self) -> Jet:
        return Jet(self.box, -self.c, -self.v, [-x for x in self.k], [-x for x in self.g], None if self.h is None else [-x for x in self.h])

    def __add__(self, other: Jet | Ball | int) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.box, self.c + other, self.v + other, self.k, self.g, self.h)
        b = other
        h = None if self.h is None or b.h is None else [x + y for x, y in zip(self.h, b.h, strict=True)]
        return Jet(self.box, self.c + b.c, self.v + b.v, [x + y for x, y in zip(self.k, b.k, strict=True)],
                   [x + y for x, y in zip(self.g, b.g, strict=True)], h, True)

    __radd__ = __add__

    def __sub__(self, other: Jet | Ball | int) -> Jet:
        return self + (-other)

    def __rsub__(self, other: Jet | Ball | int) -> Jet:
        return -self + other

    def __mul__(self, other: Jet | Ball | int) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.box, self.c * other, self.v * other, [x * other for x in self.k], [x * other for x in self.g],
                       None if self.h is None else [x * other for x in self.h])
        b = other
        if b is self:
            return self.power(2)
        h = None
        if self.h is not None and b.h is not None:
            h, place = [], 0
            for i in range(self.box.n):
                for j in range(i + 1):
                    h.append(self.h[place] * b.v + self.v * b.h[place] + self.g[i] * b.g[j] + self.g[j] * b.g[i])
                    place += 1
        return Jet(self.box, self.c * b.c, self.v * b.v, [x * b.c + self.c * y for x, y in zip(self.k, b.k, strict=True)],
                   [x * b.v + self.v * y for x, y in zip(self.g, b.g, strict=True)], h, True)

    __rmul__ = __mul__

    def __truediv__(self, other: Jet | Ball | int) -> Jet:
        b = self._like(other)
        return self * b._compose(_inverse)

    def __rtruediv__(self, other: Jet | Ball | int) -> Jet:
        return self._like(other) / self

    def _compose(self, function: Callable[[Ball], Smooth]) -> Jet:
        at, over = function(self.c), function(self.v)
        h = None
        if self.h is not None:
            h, place = [], 0
            for i in range(self.box.n):
                for j in range(i + 1):
                    h.append(over[2] * (square(self.g[i]) if i == j else self.g[i] * self.g[j]) + over[1] * self.h[place])
                    place += 1
        return Jet(self.box, at[0], over[0], [at[1] * x for x in self.k], [over[1] * x for x in self.g], h, True)

    def smooth(self, name: str) -> Jet:
        """One of the functions of ``SMOOTH``."""
        return self._compose(SMOOTH[name])

    def power(self, k: int) -> Jet:
        """The k-th power, k >= 0."""
        if k == 0:
            return self.box.constant(ONE) if self.v.is_finite() else self.box.constant(arb.nan())
        return self if k == 1 else self._compose(lambda a: (_power(a, k), k * _power(a, k - 1), k * (k - 1) * _power(a, k - 2)))

    def piecewise(self, below: Ball, above: Ball) -> Jet:
        """The function with slope ``below`` left of zero and ``above`` right of it: ReLU, leaky ReLU, absolute value."""
        if self.v >= 0:
            return self * above
        if self.v <= 0:
            return self * below

        def apply(a: Ball) -> tuple[Ball, Ball]:
            if a >= 0:
                return above * a, above
            if a <= 0:
                return below * a, below
            ends = hull(below * a.lower(), above * a.upper())
            return hull(ends, ZERO), hull(below, above)

        at, over = apply(self.c), apply(self.v)
        return Jet(self.box, at[0], over[0], [at[1] * x for x in self.k], [over[1] * x for x in self.g], None, True)

    def maximum(self, other: Jet | Ball | int) -> Jet:
        """The larger of two functions."""
        b = self._like(other)
        if self.v >= b.v:
            return self
        if b.v >= self.v:
            return b
        return Jet(self.box, self.c.max(b.c), self.v.max(b.v), [hull(x, y) for x, y in zip(self.k, b.k, strict=True)],
                   [hull(x, y) for x, y in zip(self.g, b.g, strict=True)], None, True)

    def minimum(self, other: Jet | Ball | int) -> Jet:
        """The smaller of two functions."""
        return -((-self).maximum(-self._like(other)))


def _inverse(a: Ball) -> Smooth:
    if a > 0 or a < 0:
        once = ONE / a
        return once, -square(once), 2 * once * square(once)
    return arb.nan(), arb.nan(), arb.nan()


def _power(a: Ball, k: int) -> Ball:
    """The range of t -> t^k over the ball."""
    if k == 0:
        return ONE
    if k % 2:
        return _ends(lambda t: t ** k, a)
    low, high = a.abs_lower(), a.abs_upper()
    return hull(low ** k, high ** k)


def affine(weight: Any, bias: Sequence[Ball] | None, jets: Sequence[Jet]) -> list[Jet]:
    """``W x + b`` for an ``arb_mat`` W (k, m) and m jets: one product of matrices for all that they hold."""
    box, n = jets[0].box, jets[0].box.n
    packed = n * (n + 1) // 2
    curved = all(jet.h is not None for jet in jets)
    rows = [[jet.c, jet.v, *jet.k, *jet.g, *(jet.h or [])] if curved else [jet.c, jet.v, *jet.k, *jet.g] for jet in jets]
    width = 2 + 2 * n + (packed if curved else 0)
    product = weight * arb_mat(len(jets), width, [entry for row in rows for entry in row])
    entries = product.entries()
    out = []
    for i in range(weight.nrows()):
        row = entries[i * width:(i + 1) * width]
        c, v = row[0], row[1]
        if bias is not None:
            c, v = c + bias[i], v + bias[i]
        out.append(Jet(box, c, v, row[2:2 + n], row[2 + n:2 + 2 * n], row[2 + 2 * n:] if curved else None, True))
    return out
