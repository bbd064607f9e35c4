r"""Interval jets: values, gradients and Hessians of a graph over batches of boxes, rounded outward.

Over a box with centre ``c`` and radius ``r`` a :class:`Jet` encloses, for every entry ``y`` of a node,

* at the centre: ``y(c)``, and in order 2 also ``dy/dx_i (c)``;
* over the box: ``y``, ``dy/dx_i`` and in order 2 ``d2y/dx_i dx_j``.

After each sum the value is intersected with its mean-value form and, in order 2, each derivative with its own:

.. math:: y(X) \subset y(c) + \sum_i \partial_i y(X)\,[-r_i, r_i], \qquad
          \partial_i y(X) \subset \partial_i y(c) + \sum_j \partial_{ij} y(X)\,[-r_j, r_j].

Arithmetic is midpoint-radius.  **Invariant**: every stored radius exceeds what is needed by at least ``6u|mid|``
(``u = 2**-53``).  An operation's own rounding error is at most a few ``u`` times the sum of the absolute products of
midpoints, and that sum times ``12u`` is already inside the radius formula because of the invariant; :func:`_seal` then
covers the rounding of the radius and restores the invariant.  Matrix products add Higham's ``gamma_m |W| |x|``.
NaN or infinity in a midpoint makes the radius NaN or infinite, and no comparison of the kernel passes with either.

At kinks (relu, abs, min, max) gradients enclose Clarke's generalized Jacobian, so the mean-value form of a *value* stays
valid (Lebourg).  Second derivatives are unbounded (infinite radius) on boxes where a kink is not decided, and so are the
centre's gradients; the intersections above then leave the first-order enclosure as it is.  On boxes where a comparison is not
decided all derivatives are unbounded: the function may jump there, and only the natural enclosure of its value holds.

References
----------
.. [1] S. M. Rump, Verification methods, Acta Numerica 19 (2010), sections 5 and 11.
.. [2] N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.5.
.. [3] F. H. Clarke, Optimization and Nonsmooth Analysis (1983), theorems 2.3.7 and 2.3.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np

from verifiers.kernel.graph import NONSMOOTH, Affine, Bools, Floats, Graph, Node, affine_from_rational, read
from verifiers.kernel.rational import down, up
from verifiers.kernel.smooth import TINY as TINY
from verifiers.kernel.smooth import U as U
from verifiers.kernel.smooth import outward, smooth_range
from verifiers.kernel.smooth import smooth_derivatives as smooth_derivatives


@dataclass(frozen=True, eq=False)
class Jet:
    """Midpoints and radii, each (C, B, m): centre components first, then those over the box (see :class:`JetReading`)."""

    mid: Floats
    rad: Floats


def _seal(mid: Floats, rad: Floats) -> Jet:
    """Cover the rounding of ``rad`` and restore the invariant, in place."""
    slack = np.abs(mid)
    slack *= 8 * U
    rad *= 1 + 16 * U
    rad += slack
    rad += TINY
    return Jet(mid, rad)


def _from_bounds(lo: Floats, hi: Floats) -> Jet:
    """Midpoint and radius of [lo, hi]."""
    mid, rad = lo + hi, hi - lo
    mid *= 0.5
    rad *= 0.5
    return _seal(mid, rad)


def _wide(a: Jet, slack: float = 64.0) -> Floats:
    """``(|mid| + rad)(1 + slack u)``, a bound of the magnitude; of two factors one has to have the slack."""
    wide = np.abs(a.mid)
    wide += a.rad
    wide *= 1 + slack * U
    return wide


def _times(a: Jet, b: Jet) -> Jet:
    """Product of two midpoint-radius intervals (broadcast)."""
    shape = np.broadcast_shapes(a.mid.shape, b.mid.shape)
    return _multiply(a.mid, _wide(a), b.mid, _wide(b, 0.0), Jet(np.empty(shape), np.empty(shape)))


def _multiply(a: Floats, wide_a: Floats, b: Floats, wide_b: Floats, out: Jet) -> Jet:
    """Write a product into ``out``: ``|xy - ab| <= (|a| + r)(|b| + s) - |ab|``, the slack of the widths kept."""
    mid, rad = out.mid, out.rad
    np.multiply(a, b, out=mid)
    np.multiply(wide_a, wide_b, out=rad)
    rad -= np.abs(mid)
    rad += TINY
    return out


def plus(a: Jet, b: Jet) -> Jet:
    """Sum of two midpoint-radius intervals (broadcast)."""
    return _seal(a.mid + b.mid, a.rad + b.rad)


class JetReading:
    """Reading of a graph in interval jets of order 1 or 2 with respect to ``n`` directions.

    Parameters
    ----------
    radius : (n, B, 1) array
        Radius of each box in each direction.
    order : int
        1: components are value(c); value, gradient(n).  2: value(c), gradient(c)(n); value, gradient(n), Hessian
        (upper triangle, row by row).
    """

    def __init__(self, radius: Floats, order: int) -> None:
        self.radius, self.order, self.n = radius, order, radius.shape[0]
        n = self.n
        self.pairs = list(combinations_with_replacement(range(n), 2)) if order == 2 else []
        self.v = 1 if order == 1 else 1 + n  # position of the value over the box
        self.count = self.v + 1 + n + len(self.pairs)
        self.position = {p: self.v + 1 + n + k for k, p in enumerate(self.pairs)}
        self.position.update({(j, i): at for (i, j), at in self.position.items()})

    def start(self, centre: Floats) -> Jet:
        """Jet of ``x`` itself over boxes with this centre (B, n)."""
        n, boxes = self.n, centre.shape[0]
        mid, rad = np.zeros((self.count, boxes, n)), np.zeros((self.count, boxes, n))
        mid[0] = mid[self.v] = centre
        rad[self.v] = self.radius[:, :, 0].T
        for i in range(n):
            mid[self.v + 1 + i, :, i] = 1.0
            if self.order == 2:
                mid[1 + i, :, i] = 1.0
        return _seal(mid, rad)

    def start_in_frame(self, centre: Floats, frame: Sequence[Sequence[Fraction]], origin: Sequence[Fraction]) -> Jet:
        """Jet of ``x = origin + frame y`` over boxes with this centre (B, n) in ``y``."""
        return self._affine(self.start(centre), affine_from_rational(frame, origin))

    def const(self, node: Node) -> Jet:
        """A constant: zero derivatives; an unknown constant carries its width everywhere."""
        lo, hi = np.array([down(a) for a, _ in node.data]), np.array([up(b) for _, b in node.data])
        point = _from_bounds(lo, hi)
        mid, rad = np.zeros((self.count, 1, node.size)), np.zeros((self.count, 1, node.size))
        for at in (0, self.v):
            mid[at, 0], rad[at, 0] = point.mid, point.rad
        return Jet(mid, rad)

    def affine(self, node: Node, x: Jet) -> Jet:
        """``W x + b``, tightened by the mean-value forms."""
        return self.tighten(self._affine(x, node.data))

    def _affine(self, x: Jet, data: Affine) -> Jet:
        weight, size = data.weight, data.weight.shape[1]
        gamma = 2 * (size + 16) * U
        shape = (*x.mid.shape[:2], weight.shape[0])
        mid = (x.mid.reshape(-1, size) @ weight.T).reshape(shape)
        wide = np.abs(x.mid)
        wide *= gamma
        wide += x.rad
        rad = wide.reshape(-1, size) @ (np.abs(weight) * (1 + gamma)).T
        if data.weight_radius is not None:
            rad += (np.abs(x.mid) + x.rad).reshape(-1, size) @ (data.weight_radius * (1 + gamma)).T  # 1 + gamma covers this sum's rounding too
        rad = rad.reshape(shape)
        rad += TINY
        if not np.isfinite(mid.sum()):
            rad[~np.isfinite(mid)] = np.inf
        for at in (0, self.v):  # elsewhere gamma has kept the invariant: |W| |x| is at least |W x|
            mid[at] += data.bias
            if data.bias_radius is not None:
                rad[at] += data.bias_radius
            _seal(mid[at], rad[at])
        return Jet(mid, rad)

    def take(self, node: Node, x: Jet) -> Jet:
        """A selection."""
        return Jet(x.mid[:, :, list(node.data)], x.rad[:, :, list(node.data)])

    def concat(self, node: Node, parts: Sequence[Jet]) -> Jet:
        """A concatenation (constants are repeated along the batch)."""
        boxes = max(p.mid.shape[1] for p in parts)

        def wide(a: Floats) -> Floats:
            return np.broadcast_to(a, (self.count, boxes, a.shape[2]))

        return Jet(np.concatenate([wide(p.mid) for p in parts], axis=2), np.concatenate([wide(p.rad) for p in parts], axis=2))

    def binary(self, node: Node, a: Jet, b: Jet) -> Jet:
        """Elementwise operation of two vectors."""
        if node.op == "add":
            return self.tighten(plus(a, b))
        if node.op == "sub":
            return self.tighten(plus(a, Jet(-b.mid, b.rad)))
        if node.op == "mul":
            return self.tighten(self.product(a, b))
        if node.op == "div":
            return self.tighten(self.product(a, self._smooth(b, "inverse", 0)))
        sign = 1.0 if node.op == "max" else -1.0
        top = self._max(Jet(sign * a.mid, a.rad), Jet(sign * b.mid, b.rad))
        return Jet(sign * top.mid, top.rad)

    def unary(self, node: Node, x: Jet) -> Jet:
        """Elementwise function."""
        if node.op == "neg":
            return Jet(-x.mid, x.rad)
        if node.op in NONSMOOTH:
            slope = float(down(node.data)) if node.op == "leaky_relu" else (-1.0 if node.op == "abs" else 0.0)
            slope_hi = float(up(node.data)) if node.op == "leaky_relu" else slope
            return self._kink(x, slope, slope_hi)
        return self._smooth(x, node.op, node.data if node.op == "pow" else 0)

    def _smooth(self, x: Jet, op: str, power: int) -> Jet:
        n, v = self.n, self.v
        at, centre, over = [0, v], slice(1, 1 + n), slice(v + 1, None)
        lo, hi = x.mid[at] - x.rad[at], x.mid[at] + x.rad[at]
        mid, rad = np.empty_like(x.mid), np.empty_like(x.rad)
        value, first, second = smooth_derivatives(op, lo[2 - self.order:], hi[2 - self.order:], power)
        if self.order == 1:  # the slope at the centre is not asked for
            (low, high), (least, most) = smooth_range(op, lo[:1], hi[:1], power), value
            value = np.concatenate([low, least]), np.concatenate([high, most])
        y, d1, wide = _from_bounds(*value), _from_bounds(*first), _wide(Jet(x.mid[over], x.rad[over]), 0.0)
        mid[at], rad[at] = y.mid, y.rad
        _multiply(d1.mid[-1], _wide(d1)[-1], x.mid[over], wide, Jet(mid[over], rad[over]))
        if self.order == 2:
            slopes = Jet(x.mid[centre], x.rad[centre])
            _multiply(d1.mid[0], _wide(d1)[0], slopes.mid, _wide(slopes, 0.0), Jet(mid[centre], rad[centre]))
            bend = _from_bounds(second[0][1], second[1][1])
            bend_wide, curve = _wide(bend), Jet(np.empty_like(bend.mid), np.empty_like(bend.mid))
            for i in range(n):
                part, part_wide = bend.mid * x.mid[v + 1 + i], bend_wide * wide[i]
                for j in range(i, n):
                    k = self.position[i, j]
                    _multiply(part, part_wide, x.mid[v + 1 + j], wide[j], curve)
                    mid[k] += curve.mid
                    rad[k] += curve.rad
        return Jet(mid, rad)

    def _kink(self, x: Jet, left: float, left_hi: float) -> Jet:
        """``x`` where x > 0, ``left * x`` where x < 0, with Clarke's hull of the slopes in between."""
        at = [0, self.v]
        lo, hi = x.mid[at] - x.rad[at], x.mid[at] + x.rad[at]
        slope_lo = np.where(lo > 0, 1.0, left)
        slope_hi = np.where(hi < 0, left_hi, 1.0)
        ends = np.stack([np.where(t > 0, t, left * t) for t in (lo, hi)])
        low = ends.min(axis=0)
        if left < 0:
            low = np.where((lo <= 0) & (hi >= 0), 0.0, low)
        if left_hi != left:
            low = np.minimum(low, np.where(lo > 0, lo, left_hi * lo))  # the top is that of ``left``: where hi < 0, left * hi is the larger
        y = _from_bounds(*outward(low, ends.max(axis=0)))
        mid, rad = np.empty_like(x.mid), np.empty_like(x.rad)
        mid[at], rad[at] = y.mid, y.rad
        over = slice(self.v + 1, None)
        out = _times(_from_bounds(slope_lo[1], slope_hi[1]), Jet(x.mid[over], x.rad[over]))
        mid[over], rad[over] = out.mid, out.rad
        if self.order == 2:
            centre = slice(1, 1 + self.n)
            out = _times(_from_bounds(slope_lo[0], slope_hi[0]), Jet(x.mid[centre], x.rad[centre]))
            mid[centre], rad[centre] = out.mid, out.rad
            self._unknown(rad, (lo[1] > 0) | (hi[1] < 0))
        return Jet(mid, rad)

    def _unknown(self, rad: Floats, decided: Bools) -> None:
        """Where a kink is undecided over the box nothing is known of centre gradients and second derivatives."""
        for part in (slice(1, 1 + self.n), slice(self.v + 1 + self.n, None)):
            rad[part] = np.where(decided, rad[part], np.inf)

    def _max(self, a: Jet, b: Jet) -> Jet:
        shape = np.broadcast_shapes(a.mid.shape, b.mid.shape)
        am, ar, bm, br = (np.broadcast_to(t, shape) for t in (a.mid, a.rad, b.mid, b.rad))
        alo, ahi, blo, bhi = am - ar, am + ar, bm - br, bm + br
        v, lo, hi = self.v, np.minimum(alo, blo), np.maximum(ahi, bhi)
        for at in (0, v):
            lo[at] = np.maximum(alo[at], blo[at])
        hull = _from_bounds(lo, hi)
        first, second = alo[v] > bhi[v], blo[v] > ahi[v]
        mid = np.where(first, am, np.where(second, bm, hull.mid))
        rad = np.where(first, ar, np.where(second, br, hull.rad))
        if self.order == 2:
            self._unknown(rad, first | second)
        return Jet(mid, rad)

    def where(self, node: Node, z: Jet, a: Jet, b: Jet) -> Jet:
        """``a`` where z > 0 over the box, ``b`` where z < 0; elsewhere all values between the two, and no derivative: the function may jump."""
        shape, v, at = np.broadcast_shapes(z.mid.shape, a.mid.shape, b.mid.shape), self.v, [0, self.v]
        zm, zr, am, ar, bm, br = (np.broadcast_to(t, shape) for jet in (z, a, b) for t in (jet.mid, jet.rad))
        first, second = zm[v] - zr[v] > 0, zm[v] + zr[v] < 0
        hull = _from_bounds(np.minimum(am[at] - ar[at], bm[at] - br[at]), np.maximum(am[at] + ar[at], bm[at] + br[at]))
        mid, rad = np.zeros(shape), np.full(shape, np.inf)
        mid[at], rad[at] = hull.mid, hull.rad + 0 * (zm[v] + zr[v])  # NaN where z is undefined
        return Jet(np.where(first, am, np.where(second, bm, mid)), np.where(first, ar, np.where(second, br, rad)))

    def product(self, a: Jet, b: Jet, middle: bool = False) -> Jet:
        """Elementwise product with the product rule in every component.

        With ``middle`` the gradients of an order-1 product are slopes from the centre, ``s`` in ``y(x) - y(c) = s (x - c)``, of which the
        mean-value form needs no more: ``ab - a(c) b(c) = (a - a(c)) b + a(c) (b - b(c))`` leaves one factor at the centre.
        """
        n, v = self.n, self.v
        shape = np.broadcast_shapes(a.mid.shape, b.mid.shape)
        a, b = (Jet(np.broadcast_to(t.mid, shape), np.broadcast_to(t.rad, shape)) for t in (a, b))
        mid, rad = np.empty(shape), np.empty(shape)

        def put(at: int | slice, jet: Jet) -> None:
            mid[at], rad[at] = jet.mid, jet.rad

        def part(jet: Jet, at: int | slice | list[int]) -> Jet:
            return Jet(jet.mid[at], jet.rad[at])

        for value, grads in ((0, slice(1, 1 + n)), (v, slice(v + 1, v + 1 + n))):
            put(value, _times(part(a, value), part(b, value)))
            if value == v or self.order == 2:
                put(grads, plus(_times(part(a, grads), part(b, value)), _times(part(a, 0 if middle else value), part(b, grads))))
        if self.order == 2:
            i, j = [v + 1 + p[0] for p in self.pairs], [v + 1 + p[1] for p in self.pairs]
            cross = plus(_times(part(a, i), part(b, j)), _times(part(a, j), part(b, i)))
            old = slice(v + 1 + n, None)
            put(old, plus(plus(_times(part(a, old), part(b, v)), _times(part(a, v), part(b, old))), cross))
        return Jet(mid, rad)

    def tighten(self, x: Jet) -> Jet:
        """Intersect values (and, in order 2, derivatives) over the box with their mean-value forms, in place."""
        if x.mid.shape[1] == 1 and self.radius.shape[1] != 1:
            return x
        n, v = self.n, self.v
        wide = np.abs(x.mid[v + 1:])
        wide += x.rad[v + 1:]
        if self.order == 2:
            for i in range(n):
                spread = x.rad[1 + i].copy()
                for j in range(n):
                    spread += wide[self.position[i, j] - v - 1] * self.radius[j]
                self._cut(x, v + 1 + i, x.mid[1 + i], spread)
        np.abs(x.mid[v + 1:v + 1 + n], out=wide[:n])
        wide[:n] += x.rad[v + 1:v + 1 + n]
        wide[:n] *= self.radius
        self._cut(x, v, x.mid[0], x.rad[0] + wide[:n].sum(axis=0))
        return x

    def _cut(self, x: Jet, at: int, centre: Floats, spread: Floats) -> None:
        """Take ``centre +- spread`` for component ``at`` where it is the narrower interval; a NaN is not."""
        spread *= 1 + 64 * U
        better = spread < x.rad[at]
        np.copyto(x.mid[at], centre, where=better)
        np.copyto(x.rad[at], spread, where=better)

    # what is read off a jet -------------------------------------------------------------------------------------

    def gradient_jet(self, x: Jet) -> Jet:
        """Order-1 jet (of a reading with the same radius) of the gradient of a scalar order-2 jet: (C, B, n)."""
        n, v = self.n, self.v
        rows = [[1 + k, v + 1 + k, *(self.position[i, k] for i in range(n))] for k in range(n)]
        return Jet(np.concatenate([x.mid[r] for r in rows], axis=2), np.concatenate([x.rad[r] for r in rows], axis=2))

    def first_order(self, x: Jet) -> Jet:
        """Drop the second-order components."""
        keep = [0, self.v, *range(self.v + 1, self.v + 1 + self.n)]
        return Jet(x.mid[keep], x.rad[keep])

    def bounds(self, x: Jet) -> tuple[Floats, Floats]:
        """Lower and upper bounds (B, m) of the value over each box."""
        return x.mid[self.v] - x.rad[self.v], x.mid[self.v] + x.rad[self.v]


def inner_product(reading: JetReading, a: Jet, b: Jet) -> Jet:
    """Order-1 jet of ``sum_k a_k b_k``, with slopes from the centre as gradients, tightened: (C, B, n) and (C, B, n) to (C, B, 1)."""
    p = reading.product(a, b, middle=True)
    gamma = 2 * (p.mid.shape[2] + 8) * U
    mid, rad = p.mid.sum(axis=2, keepdims=True), p.rad.sum(axis=2, keepdims=True)
    rad = rad * (1 + gamma) + gamma * np.abs(p.mid).sum(axis=2, keepdims=True)
    return reading.tighten(_seal(mid, rad))


def read_jets(graph: Graph, reading: JetReading, x: Jet) -> Jet:
    """Jet of the first output of a graph with one input."""
    out: Jet = read(graph, reading, [x])[0]
    return out


def split_boxes(lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Centre (B, n) and radius (n, B, 1) of boxes; the radius covers both ends in float64."""
    centre = 0.5 * lo + 0.5 * hi
    radius = np.maximum(hi - centre, centre - lo) * (1 + 4 * U) + TINY
    return centre, np.ascontiguousarray(radius.T)[:, :, None]
