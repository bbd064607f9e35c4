r"""One stage of a region claim: what a leaf of its box tree has to show.

A stage is a closed loop ``x' = f(x)`` or ``x+ = f(x)``, a function V, a level c, a domain box D and the regions already
proved inside.  Its tree covers D; every leaf X carries one of the tags

* OUTSIDE   ``V > c`` on X, or X does not meet D;
* INNER     ``V_k <= c_k`` on X for one region k proved before;
* DECREASE  the decrease is strictly negative on X: ``grad V . f + rate V`` in continuous time,
  ``V(f(x)) - (1 - rate) V(x)`` in discrete time; and, unless ``{V <= c}`` is known to lie inside D,
  ``V > c`` on the part of X on the boundary of D (continuous) or ``f(X)`` inside D (discrete).

A tree may cover D in coordinates y with ``x = o + T y``: its root is a box around D there, and X is turned in x.  OUTSIDE then also holds where
a box around X in x does not meet D, and a DECREASE leaf has ``V > c`` on its part of every plane that a face of D lies in.

Then every point of ``{V <= c}`` in D reaches a region proved before, without leaving (docs/theory/region.md).
Directions: all bounds over-approximate; a NaN never passes a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np

from verifiers.kernel import elementary
from verifiers.kernel.codes import Code, need
from verifiers.kernel.definite import inverse
from verifiers.kernel.gradient import differentiate
from verifiers.kernel.graph import Affine, Bools, Builder, Floats, Graph, Node, affine_from_rational, read
from verifiers.kernel.jets import Jet, JetReading, inner_product, plus, read_jets, split_boxes
from verifiers.kernel.minimum import hessian, least, least_by_tangent
from verifiers.kernel.rational import down, up
from verifiers.kernel.smooth import TINY
from verifiers.kernel.taylor import TaylorReading, taylor_models, total

Vector = Sequence[Fraction]
Matrix = Sequence[Vector]
CACHED = 2**15
"""Entries of the widest layer over all boxes that Taylor models read at once: at 128 neurons 256 boxes (2,814 a second), where 1,024 leave the cache
(2,314); which boxes are read together changes no bound but by the last bits of a product."""


@dataclass(frozen=True, eq=False)
class Function:
    """A Lyapunov candidate: its graph (up to a monotone output), its gradient's graph where known, and sharp levels."""

    graph: Graph
    gradient: Graph | None = None
    monotone: str | None = None

    def thresholds(self, level: Fraction) -> tuple[float, float]:
        """Return ``(below, above)``: value <= below implies V <= level, value > above implies V > level (infinite where there is none).

        With a sigmoid or tanh at the output the *value* is that function's argument, and both numbers are the sharpest of a few
        candidates that the enclosure of the function confirms (docs/theory/monotone_output.md).
        """
        return _thresholds(self.monotone, level)


@lru_cache(maxsize=256)
def _thresholds(monotone: str | None, level: Fraction) -> tuple[float, float]:
    if monotone is None:
        return down(level), up(level)
    low = Fraction(0) if monotone == "sigmoid" else Fraction(-1)
    if not low < level < 1:
        return -np.inf, np.inf
    forward, scale = (elementary.sigmoid, 1.0) if monotone == "sigmoid" else (elementary.tanh, 0.5)
    odds = (level - low) / (1 - level)  # of any size: the logarithm of an integer does not overflow
    guess = scale * (math.log(odds.numerator) - math.log(odds.denominator))
    steps = max(1.0, abs(guess)) * 2.0 ** np.arange(-52.0, 1.0)
    near = np.concatenate([guess - steps, guess + steps])  # candidates only: what they imply is read off the enclosure
    lo, hi = forward(near, near)
    below = [t for t, v in zip(near.tolist(), hi.tolist(), strict=True) if Fraction(v) <= level]
    above = [t for t, v in zip(near.tolist(), lo.tolist(), strict=True) if Fraction(v) >= level]
    return max(below, default=-np.inf), min(above, default=np.inf)


def strip_output(graph: Graph) -> Function:
    """Drop a final sigmoid or tanh: V = s(w) with s increasing, so signs and level sets can be read off w."""
    last = graph.nodes[graph.outputs[0]]
    if last.op in ("sigmoid", "tanh") and last.size == 1:
        b = Builder()
        x = b.input(graph.input_sizes[0])
        return Function(b.build(b.inline(Graph(graph.nodes, graph.input_sizes, last.args), [x])), None, last.op)
    return Function(graph)


def quadratic(matrix: Matrix, centre: Vector) -> Function:
    r""":math:`V(x) = (x - c)^\top M (x - c)` with its gradient :math:`2 M (x - c)`."""
    n = len(centre)
    b, g = Builder(), Builder()
    eye = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    zero = [Fraction(0)] * n
    z = b.affine(b.input(n), affine_from_rational(eye, [-c for c in centre]))
    mz = b.affine(z, affine_from_rational(matrix, zero))
    total = b.affine(b.binary("mul", z, mz), affine_from_rational([[Fraction(1)] * n], [Fraction(0)]))
    gz = g.affine(g.input(n), affine_from_rational(eye, [-c for c in centre]))
    doubled = g.affine(gz, affine_from_rational([[2 * m for m in row] for row in matrix], zero))
    return Function(b.build([total]), g.build([doubled]))


def in_frame(field: Graph, time: str, frame: Matrix, origin: Vector) -> Graph:
    r"""The loop in coordinates y with :math:`x = o + T y`: :math:`T^{-1} f(o + T y)`, less :math:`T^{-1} o` in discrete time."""
    n = len(origin)
    back = inverse(frame)
    shift = [-sum((back[i][j] * origin[j] for j in range(n)), Fraction(0)) for i in range(n)]
    b = Builder()
    x = b.affine(b.input(n), affine_from_rational(frame, origin))
    return b.build([b.affine(b.inline(field, [x])[0], affine_from_rational(back, shift if time == "discrete" else [Fraction(0)] * n))])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Bounds over boxes, each (B,): value, decrease (upper, lower), scores (n, B); in discrete time the image (B, n) and the value there."""

    v_lo: Floats
    v_hi: Floats
    decrease: Floats
    least: Floats
    scores: Floats
    image: tuple[Floats, Floats] | None = None
    v_after: Floats | None = None


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage: closed loop, function, level, domain, inner regions, rate, and how containment is shown.

    ``lo, hi`` are the corners of D rounded outward (the root of the tree), ``inner_lo, inner_hi`` rounded inward; the faces of
    D lie between the two.  ``contained``: {V <= c} is known to lie in the interior of D (an ellipsoid, proved exactly).
    ``command``: graph of the unclipped command with its limits, checked where the requirement forbids saturation.
    ``taylor``: values and decrease are bounded by Taylor models instead of interval jets.  ``image``: the map to the plant's coordinates where the
    tree's are others and the stage is not ``contained``; ``inner_lo, inner_hi`` are those of D all the same.
    """

    field: Graph
    time: str
    function: Function
    level: Fraction
    lo: Floats
    hi: Floats
    inner_lo: Floats
    inner_hi: Floats
    inner: tuple[tuple[Function, Fraction], ...] = ()
    rate: Fraction = Fraction(0)
    contained: bool = False
    command: Graph | None = None
    limits: tuple[tuple[float, float], ...] = ()
    taylor: bool = False
    image: Affine | None = None

    @cached_property
    def rise(self) -> Graph:
        r"""The graph of :math:`V` and :math:`-(\nabla V \cdot f + \text{rate}\, V)`: continuous time, V without kinks; the field may have some."""
        need(self.time == "continuous", Code.UNSUPPORTED, "tree", "in discrete time the leaves are bounded by interval jets")
        b, x, v, (slope,) = differentiate(self.function.graph)
        parts = b.concat([b.binary("mul", slope, b.inline(self.field, x)[0]), v])
        weights = [Fraction(-1)] * b.size(slope) + [-self.rate]
        return b.build([v, b.affine(parts, affine_from_rational([weights], [Fraction(0)]))])

    def value(self, function: Function, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
        """Bounds (B,) of a function over boxes (B, n)."""
        if self.taylor:
            model = taylor_models(function.graph, lo, hi)[1]
            return model.lo[:, 0], model.hi[:, 0]
        centre, radius = split_boxes(lo, hi)
        reading = JetReading(radius, 1)
        low, high = reading.bounds(read_jets(function.graph, reading, reading.start(centre)))
        return low[:, 0], high[:, 0]

    def outside(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where V > c on the whole box."""
        return np.asarray(self.value(self.function, lo, hi)[0] > self.function.thresholds(self.level)[1])

    def ends(self, image: Affine, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
        """Corners (B, n) of a box that holds the image of each box, by sums that do not depend on the batch."""
        weight, slack = np.abs(image.weight), 2.0**-40 * np.maximum(-lo, hi)
        middle = ((0.5 * lo + 0.5 * hi)[:, None, :] * image.weight).sum(axis=2) + image.bias
        wide = ((0.5 * (hi - lo) + slack)[:, None, :] * weight).sum(axis=2) + 2.0**-40 * np.abs(image.bias) + TINY
        return middle - wide, middle + wide

    def within(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where the image of the box lies in the interior of D."""
        low, high = (lo, hi) if self.image is None else self.ends(self.image, lo, hi)
        return np.asarray((low > self.inner_lo).all(axis=1) & (high < self.inner_hi).all(axis=1))

    def elsewhere(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where V > c on the whole box or, in other coordinates, the box does not meet D."""
        return self.outside(lo, hi) if self.image is None else self.outside(lo, hi) | self.away(self.image, lo, hi)

    def away(self, image: Affine, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where the image of the box does not meet D, whose corners lie less than the last bit beyond the inner ones."""
        low, high = self.ends(image, lo, hi)
        return np.asarray((low > np.nextafter(self.inner_hi, np.inf)).any(axis=1) | (high < np.nextafter(self.inner_lo, -np.inf)).any(axis=1))

    def inside(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where V <= c on the whole box."""
        return np.asarray(self.value(self.function, lo, hi)[1] <= self.function.thresholds(self.level)[0])

    def in_inner(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where the whole box lies in one region proved before."""
        found = np.zeros(lo.shape[0], dtype=bool)
        for function, level in self.inner:
            found |= self.value(function, lo, hi)[1] <= function.thresholds(level)[0]
        return np.asarray(found)

    def evaluate(self, lo: Floats, hi: Floats) -> Evaluation:
        """Bound the decrease (and what else a DECREASE leaf needs) over boxes (B, n)."""
        if self.taylor:  # in parts that stay in a core's cache
            size = max(1, CACHED // max(node.size for node in self.rise.nodes))
            parts = [self._by_taylor(lo[k:k + size], hi[k:k + size]) for k in range(0, max(1, len(lo)), size)]
            v_lo, v_hi, most, least, scores = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
            return Evaluation(v_lo, v_hi, most, least, scores)
        centre, radius = split_boxes(lo, hi)
        reading = JetReading(radius, 1)
        image = v_after = None
        if self.time == "continuous":
            v, d = self._continuous(reading, centre)
        else:
            x = reading.start(centre)
            v, after = read_jets(self.function.graph, reading, x), read_jets(self.field, reading, x)
            then = read_jets(self.function.graph, reading, after)
            kept = reading.product(v, _constant(reading, 1 - self.rate)) if self.rate else v
            d = _difference(reading, then, kept)
            image, v_after = reading.bounds(after), reading.bounds(then)[1][:, 0]
        v_lo, v_hi = reading.bounds(v)
        slopes = (np.abs(d.mid[2:, :, 0]) + d.rad[2:, :, 0]) * radius[:, :, 0]
        least, most = reading.bounds(d)
        return Evaluation(v_lo[:, 0], v_hi[:, 0], most[:, 0], least[:, 0], slopes, image, v_after)

    def _by_taylor(self, lo: Floats, hi: Floats) -> tuple[Floats, ...]:
        reading = TaylorReading(lo, hi, taped=True)
        with np.errstate(all="ignore"):
            v, rise = read(self.rise, reading, [reading.start()])
            v, rise = reading.whole(v), reading.whole(reading.settled(rise))
            scores = np.abs(rise.p[1:1 + reading.n, :, 0]) + np.abs(hessian(reading, rise.q[:, :, 0], reading.n)).sum(axis=2).T
            low = least(reading, rise)[:, 0]
            at = np.flatnonzero(~(low > 0))
            low[at] = np.maximum(low[at], least_by_tangent(reading, rise.p[:, at, 0], rise.q[:, at, 0], rise.e[at, 0]))
            return v.lo[:, 0], v.hi[:, 0], -low, -rise.hi[:, 0], scores

    def _continuous(self, reading: JetReading, centre: Floats) -> tuple[Jet, Jet]:
        second = JetReading(reading.radius, 2)
        if self.function.gradient is not None:
            x = reading.start(centre)
            v = read_jets(self.function.graph, reading, x)
            slope = read_jets(self.function.gradient, reading, x)
        elif self.function.graph.is_smooth:
            whole = read_jets(self.function.graph, second, second.start(centre))
            v, slope = second.first_order(whole), second.gradient_jet(whole)
        else:
            return self._natural(reading, centre)
        f = second.first_order(read_jets(self.field, second, second.start(centre)))
        d = inner_product(reading, slope, f)
        if self.rate:
            d = _difference(reading, d, reading.product(v, _constant(reading, -self.rate)))
        return v, d

    def _natural(self, reading: JetReading, centre: Floats) -> tuple[Jet, Jet]:
        """Kinks in V: sup of xi . F over Clarke's gradient and the field; the mean-value form would be wrong here."""
        x = reading.start(centre)
        v, f = read_jets(self.function.graph, reading, x), read_jets(self.field, reading, x)
        slope = Jet(np.moveaxis(v.mid[2:, :, 0], 0, 1), np.moveaxis(v.rad[2:, :, 0], 0, 1))
        boxes, n = centre.shape
        blind_mid, blind_rad = np.zeros((reading.count, boxes, n)), np.full((reading.count, boxes, n), np.inf)
        blind_mid[1], blind_rad[1] = slope.mid, slope.rad
        d = inner_product(reading, Jet(blind_mid, blind_rad), f)
        if self.rate:
            d = _difference(reading, d, reading.product(v, _constant(reading, -self.rate)))
        return v, d

    def faces_outside(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where V > c on the part of each box that lies on the boundary of D."""
        good = np.ones(lo.shape[0], dtype=bool)
        for i in range(lo.shape[1]):
            for touches, end in ((~(lo[:, i] > self.inner_lo[i]), (self.lo, self.inner_lo)),
                                 (~(hi[:, i] < self.inner_hi[i]), (self.inner_hi, self.hi))):
                at = np.flatnonzero(touches)
                if at.size:
                    low, high = lo[at].copy(), hi[at].copy()
                    low[:, i], high[:, i] = end[0][i], end[1][i]
                    good[at] &= self.outside(low, high)
        return np.asarray(good)

    def planes_outside(self, image: Affine, lo: Floats, hi: Floats) -> Bools:
        r"""True (B,) where V > c on the part of each turned box that lies in the plane of a face of D.

        On the plane :math:`a \cdot \xi = b` V is :math:`V + \lambda (a \cdot \xi - b)` for any number; here for the one that leaves a gradient
        along the plane.
        """
        good, (low, high) = np.ones(lo.shape[0], dtype=bool), self.ends(image, lo, hi)
        for i in range(len(image.bias)):
            for face in (self.inner_lo[i], self.inner_hi[i]):
                at = np.flatnonzero(good & ~(low[:, i] > np.nextafter(face, np.inf)) & ~(high[:, i] < np.nextafter(face, -np.inf)))
                if at.size:
                    reading, model = taylor_models(self.function.graph, lo[at], hi[at])
                    p, a = model.p[:, :, 0].copy(), (image.weight[i] * reading.radius).T
                    b = face - image.bias[i] - (image.weight[i] * reading.centre).sum(axis=1)
                    far = np.maximum(-lo[at], hi[at]) @ np.abs(image.weight[i])
                    weight = -(p[1:1 + reading.n] * a).sum(axis=0) / (a * a).sum(axis=0)
                    p[1:1 + reading.n] += weight * a
                    p[0] -= weight * b
                    slack = 2.0**-40 * np.abs(weight) * (far + abs(face) + abs(image.bias[i]) + np.abs(b))
                    slack += 2.0**-40 * total(model.p[:, :, 0])
                    good[at] = least_by_tangent(reading, p, model.q[:, :, 0], model.e[:, 0] + slack) > self.function.thresholds(self.level)[1]
        return np.asarray(good)

    def stays(self, lo: Floats, hi: Floats, image: tuple[Floats, Floats] | None) -> Bools:
        """True (B,) where no trajectory from {V <= c} leaves D through the box: containment or image."""
        if self.contained:
            return np.ones(lo.shape[0], dtype=bool)
        if image is None:
            return self.faces_outside(lo, hi) if self.image is None else self.planes_outside(self.image, lo, hi)
        return np.asarray((image[0] >= self.inner_lo).all(axis=1) & (image[1] <= self.inner_hi).all(axis=1))

    def command_within(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where the unclipped command stays within its limits (always true where clipping is allowed)."""
        good = np.ones(lo.shape[0], dtype=bool)
        if self.command is not None:
            centre, radius = split_boxes(lo, hi)
            reading = JetReading(radius, 1)
            low, high = reading.bounds(read_jets(self.command, reading, reading.start(centre)))
            for k, (least, most) in enumerate(self.limits):
                good &= (low[:, k] >= least) & (high[:, k] <= most)
        return good


def _constant(reading: JetReading, value: Fraction) -> Jet:
    return reading.const(Node("const", (), 1, ((value, value),)))


def _difference(reading: JetReading, a: Jet, b: Jet) -> Jet:
    return reading.tighten(plus(a, Jet(-b.mid, b.rad)))
