r"""Taylor models of order 2: every node a quadratic polynomial over the box plus a bound of what it misses.

Over the box :math:`x = c + r \circ \xi`, :math:`\xi \in [-1, 1]^n`, a :class:`Model` holds for every entry ``y`` of a node coefficients (float64,
taken as the exact numbers that they are) and an error such that, for every :math:`\xi` at which the row's phases are those of the graph, there are
:math:`\zeta \in [-1, 1]^s`, the same for all entries and nodes, with

.. math:: \Bigl|\, y(\xi) - p_0 - \sum_i p_i v_i - \sum_{i \le j} q_{ij} v_i v_j \Bigr| \;\le\; e, \quad v = (\xi, \zeta) .

Sums and products are those of polynomials; terms of degree 3 and 4, products with any but the first MAX_PAIRED of the :math:`\zeta`, and every
rounding go into the error.  A smooth function is replaced by :math:`f(p_0) + f'(p_0)\,t + \tfrac12 f''(\eta)\,t^2`, :math:`t = y - p_0`, with
:math:`f''(\eta)` enclosed over the node's range; or, where that misses less, by

.. math:: f(y) = f(p_0) - \tfrac1{192} k w^4 + \bigl(f'(p_0) + \tfrac18 m w^2\bigr) t + \bigl(\tfrac12 f''(p_0) + \tfrac1{24} k w^2\bigr) t^2
          \pm \bigl(\tfrac1{24} |m| + \tfrac16 r\bigr) w^3 \pm \bigl(\tfrac1{192} |k| + \tfrac1{24} s\bigr) w^4

with a third derivative :math:`m \pm r` for :math:`|t| \le w` and no fourth, or with :math:`m \pm r` at :math:`p_0` and a fourth one :math:`k \pm s`
for :math:`|t| \le w`, since there :math:`t^3 - \tfrac34 w^2 t` and :math:`t^4 - w^2 t^2 + \tfrac18 w^4`, Chebyshev polynomials, are at most
:math:`\tfrac14 w^3` and :math:`\tfrac18 w^4`; and where the natural range is narrower still, by a constant.  So an entry that is nearly quadratic in
the box loses a term of third order only, while interval derivatives lose one of second order.

**Errors pulled back.**  A taped reading also keeps what each model adds to the error and how errors of its arguments reach it, for
:meth:`TaylorReading.settled` to bound the error of a scalar output by :math:`\sum_k |\lambda_k|\,\mathrm{own}_k` with enclosed adjoints
:math:`\lambda_k` (docs/theory/enclosures.md): what cancels in the next layer is not added up.

**Kinks** (relu, leaky relu, abs, min, max) are straight where their sign is known over the box.  Elsewhere either the row is doubled and
each copy takes one of the two straight pieces *on the whole box* (a phase), or the chord is taken, and the distance to it is half its bound
times a new :math:`1 + \zeta_k`.  At every point of the box the graph's value is that of one of the phases, and that phase's own inequalities hold
there (:func:`phase_constraints`); so what holds in all phases of a box, at the points where these inequalities hold, holds on the box.

Directions: errors are over-estimated.  :math:`|p|_1`, the sum of all absolute coefficients, bounds the polynomial.  Errors are sums and products of
non-negative numbers; each operation below ends in :func:`_sealed`, which covers their own rounding.  NaN or infinity in a coefficient makes
the error NaN or infinite, and no comparison of the kernel passes with either.

References
----------
.. [1] K. Makino, M. Berz, Taylor models and other validated functional inclusion methods, Int. J. Pure Appl. Math. 4 (2003).
.. [2] G. Singh et al., Fast and effective robustness certification, NeurIPS 2018: the chord of a relu with a symbol of its own.
.. [3] R. Bunel et al., Branch and bound for piecewise linear neural network verification, JMLR 21 (2020): phases of neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verifiers.kernel.graph import NONSMOOTH, Bools, Floats, Graph, Node, read
from verifiers.kernel.jets import split_boxes
from verifiers.kernel.rational import down, up
from verifiers.kernel.smooth import TINY, U, fourth_derivative, line, outward, smooth_derivatives, third_derivative
from verifiers.kernel.tape import Pull, Step, by_affine, by_index, by_slope, pulled_back

Rows = NDArray[np.intp]
MAX_SYMBOLS, MAX_ORDER_2, MAX_PAIRED, FEW = 64, 12, 12, 8
"""Symbols of a row; inputs up to which there are quadratic terms; symbols whose products with each other and with the inputs are
kept, the first ones that a row meets; entries up to which terms of degree 3 are."""


@dataclass(frozen=True, eq=False)
class Model:
    """Coefficients ``p`` (1 + n + s, R, m) of 1, xi and zeta, ``q`` (pairs, R, m) or NO_PAIRS, errors ``e`` (R, m); trailing ones may be missing.

    Pair i <= j is number j (j + 1) / 2 + i, so those of the first variables come first.  ``lo, hi`` (R, m) are bounds over the box as well.  ``age``
    counts the doublings of rows that it has seen; a constant has R = 1.
    """

    p: Floats
    q: Floats
    e: Floats
    lo: Floats
    hi: Floats
    age: int
    step: Step | None = None

    def size(self) -> Floats:
        """``|p|_1 + |q|_1`` (R, m), rounded up."""
        return total(self.p) + total(self.q)

    def part(self, pick: Callable[[Floats], Floats], age: int) -> Model:
        """The same selection of every array."""
        return Model(pick(self.p), pick(self.q) if len(self.q) else self.q, pick(self.e), pick(self.lo), pick(self.hi), age)


NO_PAIRS = np.zeros((0, 1, 1))


def total(parts: Floats) -> Floats:
    """Sum of absolute values along the first axis, rounded up."""
    return np.asarray(np.abs(parts).sum(axis=0) * (1 + 2 * (parts.shape[0] + 2) * U))


def _sealed(p: Floats, q: Floats, e: Floats, bounds: tuple[Floats, Floats], age: int, step: Step | None = None) -> Model:
    """Cover the rounding of an error that was computed with few operations; intersect the bounds with those of the polynomial."""
    e = e * (1 + 64 * U) + TINY
    wide = (total(p[1:]) + total(q) + e) * (1 + 8 * U) + 4 * U * np.abs(p[0])
    return Model(p, q, e, np.fmax(bounds[0], p[0] - wide), np.fmin(bounds[1], p[0] + wide), age, step)


def _middle(lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Midpoint and a radius that covers both ends."""
    middle = 0.5 * lo + 0.5 * hi
    return middle, np.maximum(hi - middle, middle - lo) * (1 + 4 * U) + TINY


def _added(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Sum of coefficient arrays of different lengths, and a bound of its rounding."""
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    out = np.zeros((len(longer), *np.broadcast_shapes(a.shape[1:], b.shape[1:])))
    out += longer
    out[:len(shorter)] += shorter
    return out, U * total(out[:len(shorter)])


class TaylorReading:
    """Reading of a graph in Taylor models.

    Parameters
    ----------
    lo, hi : (B, n) arrays
        The boxes.
    splits : int
        A box may be doubled into at most ``2**splits`` rows; kinks that are met after that are relaxed.
    taped : bool
        Keep the steps that :meth:`settled` needs; never where rows may be doubled.

    Notes
    -----
    ``rows`` (R,) tells the box of each row.  A model made before a doubling is brought up to date when it is used.
    """

    def __init__(self, lo: Floats, hi: Floats, splits: int = 0, taped: bool = False) -> None:
        centre, radius = split_boxes(lo, hi)
        self.box, self.centre, self.radius = (lo, hi), centre, radius[:, :, 0].T
        self.n, self.most = centre.shape[1], 1 << splits
        self.rows: Rows = np.arange(centre.shape[0])
        self.used: Rows = np.zeros(centre.shape[0], dtype=np.intp)  # symbols of each row
        self.copies: list[Rows] = []  # per doubling the row that each new row continues
        self.phases: list[tuple[Model, Floats]] = []
        self.steps = 0 if taped and not splits else -1
        self.paired = self.n + MAX_PAIRED if self.n <= MAX_ORDER_2 else 0
        self.second, self.first = np.tril_indices(self.paired)
        self.square = self.first == self.second
        pairs = np.stack([self.first, self.second])[:, :self.pairs(self.n)]
        cubes = np.concatenate([np.repeat(np.arange(self.n), pairs.shape[1])[None], np.tile(pairs, self.n)])
        self.cube = np.unique(np.array([self.n**2, self.n, 1]) @ np.sort(cubes, axis=0), return_inverse=True)[1]

    def step(self, own: Floats, *pulls: tuple[Step | None, Pull], known: Floats | None = None) -> Step | None:
        """A step of the tape, where there is one."""
        if self.steps < 0:
            return None
        self.steps += 1
        return Step(self.steps, own * (1 + 64 * U) + TINY, pulls, known)

    def scaled(self, x: Model, factor: float) -> Model:
        """``factor * x`` for a power of two up to sign: exact."""
        ends, step = (factor * x.lo, factor * x.hi), self.step(np.zeros((1, 1)), (x.step, by_slope(factor, 0.0)))
        return Model(factor * x.p, factor * x.q, abs(factor) * x.e, *(ends if factor > 0 else ends[::-1]), x.age, step)

    def settled(self, x: Model) -> Model:
        """The scalar model with its error pulled back through the tape, where that is smaller."""
        if x.step is None or x.e.shape[1] != 1:
            return x
        e = pulled_back(x.step, len(self.rows))
        return replace(x, e=np.where(e < x.e, e, x.e))

    def start(self) -> Model:
        """The input itself: ``c + r xi``, without error."""
        p = np.zeros((1 + self.n, *self.centre.shape))
        p[0] = self.centre
        for i in range(self.n):
            p[1 + i, :, i] = self.radius[:, i]
        return Model(p, NO_PAIRS, np.zeros(self.centre.shape), *self.box, 0, self.step(np.zeros((1, 1))))

    def fresh(self, x: Model) -> Model:
        """The model with a row for each row that there is now; a constant keeps its one row."""
        for copy in self.copies[x.age:]:
            if x.e.shape[0] == copy.max() + 1:
                x = x.part(lambda a, copy=copy: a[..., copy, :], x.age)  # type: ignore[misc]
        return replace(x, age=len(self.copies))

    @property
    def symbols(self) -> int:
        """The largest number of symbols of a row."""
        return int(self.used.max(initial=0))

    def pairs(self, variables: int) -> int:
        """Number of pairs of the first variables that are paired."""
        most = min(variables, self.paired)
        return most * (most + 1) // 2

    def whole(self, x: Model) -> Model:
        """The model with all coefficients there can be: p (1 + n + symbols, R, m), q (pairs, R, m), e (R, m)."""
        x = self.fresh(x)
        p, q = (np.zeros((count, len(self.rows), x.e.shape[1])) for count in (1 + self.n + self.symbols, self.pairs(self.n + self.symbols)))
        p[:len(x.p)] = x.p
        q[:len(x.q)] += x.q
        e, lo, hi = (a + np.zeros(p.shape[1:]) for a in (x.e, x.lo, x.hi))
        return Model(p, q, e, lo, hi, x.age)

    def constraints(self) -> tuple[Floats, Floats, Floats]:
        """Entries (., R, m) that are at most 0 at every point of the box at which the row's phases are those of the graph.

        They are given by their coefficients p, q and errors e; unused ones are 0.
        """
        rows = len(self.rows)
        # the sign follows the rows as a coefficient
        taken = [self.fresh(replace(x, p=np.concatenate([x.p, sign[None, :, None]]))) for x, sign in self.phases]
        slots = int(np.sum([x.p[-1, :, 0] != 0 for x in taken], axis=0).max()) if taken else 0
        used = np.zeros(rows, dtype=np.intp)
        p, q = np.zeros((1 + self.n + self.symbols, rows, slots)), np.zeros((self.pairs(self.n + self.symbols), rows, slots))
        e = np.zeros((rows, slots))
        for x in taken:
            s = x.p[-1, :, 0]
            at = np.flatnonzero(s)
            p[:len(x.p) - 1, at, used[at]], e[at, used[at]] = -s[at] * x.p[:-1, at, 0], x.e[at, 0]
            if len(x.q):
                q[:len(x.q), at, used[at]] = -s[at] * x.q[:, at, 0]
            used[at] += 1
        return p, q, e

    def const(self, node: Node) -> Model:
        """A constant; an unknown one carries its width as error."""
        lo, hi = (np.array([[bound(pair[k]) for pair in node.data]]) for k, bound in ((0, down), (1, up)))
        middle, off = _middle(lo, hi)
        return Model(middle[None], NO_PAIRS, off, lo, hi, len(self.copies), self.step(off))

    def affine(self, node: Node, x: Model) -> Model:
        """``W x + b``: Higham's ``gamma_m |W| |x|`` for each coefficient."""
        x, data = self.fresh(x), node.data
        inner, outer = data.weight.shape[1], data.weight.shape[0]
        gamma = 2 * (inner + 8) * U
        p, q = ((t.reshape(-1, inner) @ data.weight.T).reshape(*t.shape[:2], outer) if len(t) else NO_PAIRS for t in (x.p, x.q))
        size, wide_w = x.size(), np.abs(data.weight)
        own, e = gamma * size @ wide_w.T, x.e @ wide_w.T
        if data.weight_radius is not None:
            own, e = own + size @ data.weight_radius.T, e + x.e @ data.weight_radius.T
        middle, off = _middle(x.lo, x.hi)
        y, wide = middle @ data.weight.T + data.bias, (off + gamma * (np.abs(middle) + off)) @ np.abs(data.weight).T
        if data.weight_radius is not None:
            wide = wide + (np.abs(middle) + off) @ data.weight_radius.T
        p[0] += data.bias
        own, wide = own * (1 + gamma) + 2 * U * np.abs(p[0]), wide * (1 + gamma) + 2 * U * np.abs(y)
        if data.bias_radius is not None:
            own, wide = own + data.bias_radius, wide + data.bias_radius
        step = self.step(own, (x.step, by_affine(data)))
        return _sealed(p, q, e * (1 + gamma) + own, outward(y - wide, y + wide), x.age, step)

    def take(self, node: Node, x: Model) -> Model:
        """A selection."""
        step = self.step(np.zeros((1, 1)), (x.step, by_index(node.data, x.e.shape[-1])))
        return replace(x.part(lambda a: a[..., list(node.data)], x.age), step=step)

    def concat(self, node: Node, parts: Sequence[Model]) -> Model:
        """A concatenation; missing coefficients are zero."""
        parts = [self.fresh(x) for x in parts]
        rows, width = max(x.e.shape[0] for x in parts), sum(x.e.shape[1] for x in parts)
        p, q = (np.zeros((max(len(t) for t in group), rows, width)) for group in ([x.p for x in parts], [x.q for x in parts]))
        (e, lo, hi), at, pulls = (np.empty((rows, width)) for _ in range(3)), 0, []
        for x in parts:
            end = at + x.e.shape[1]
            pulls.append((x.step, lambda m, r, at=at, end=end: (m[:, at:end], r[:, at:end])))
            p[:len(x.p), :, at:end], e[:, at:end], lo[:, at:end], hi[:, at:end] = x.p, x.e, x.lo, x.hi
            if len(x.q):
                q[:len(x.q), :, at:end] = x.q
            at = end
        return Model(p, q if len(q) else NO_PAIRS, e, lo, hi, len(self.copies), self.step(np.zeros((1, 1)), *pulls))

    def binary(self, node: Node, a: Model, b: Model) -> Model:
        """Elementwise operation of two vectors."""
        a, b = self.fresh(a), self.fresh(b)
        if node.op in ("add", "sub"):
            return self._sum(a, b if node.op == "add" else self.scaled(b, -1.0))
        if node.op == "mul":
            return self._product(a, b, node.args[0] == node.args[1])
        if node.op == "div":
            return self._product(a, self._smooth(b, "inverse", 0))
        sign = 1.0 if node.op == "max" else -1.0  # max(a, b) = b + relu(a - b), min(a, b) = b - relu(b - a)
        top = self._kink(self.scaled(self._sum(a, self.scaled(b, -1.0)), sign), 0.0, 0.0)
        a, b, choose = self.fresh(a), self.fresh(b), np.maximum if node.op == "max" else np.minimum
        y = self._sum(b, self.scaled(top, sign))
        return replace(y, lo=np.fmax(y.lo, choose(a.lo, b.lo)), hi=np.fmin(y.hi, choose(a.hi, b.hi)))

    def unary(self, node: Node, x: Model) -> Model:
        """Elementwise function."""
        x = self.fresh(x)
        if node.op == "neg":
            return self.scaled(x, -1.0)
        if (node.op, node.data) == ("pow", 2):
            return self._product(x, x, True)
        if node.op in NONSMOOTH:
            left = node.data if node.op == "leaky_relu" else Fraction(-1 if node.op == "abs" else 0)
            return self._kink(x, float(left), up(left) - down(left))
        return self._smooth(x, node.op, node.data if node.op == "pow" else 0)

    def _sum(self, a: Model, b: Model) -> Model:
        (p, p_off), (q, q_off) = _added(a.p, b.p), _added(a.q, b.q)
        own, same = p_off + q_off, by_slope(1.0, 0.0)
        step = self.step(own, (a.step, same), (b.step, same))
        return _sealed(p, q, a.e + b.e + own, outward(a.lo + b.lo, a.hi + b.hi), len(self.copies), step)

    def _product(self, a: Model, b: Model, square: bool = False) -> Model:
        """The product; a square is not negative and, where its natural range misses less, a constant."""
        slopes = [(a.step, _middle(b.lo, b.hi)), (b.step, (a.p[0], total(a.p[1:]) + total(a.q)))]
        if len(a.p) > len(b.p):  # nothing of a row may depend on the rows beside it, only on the order of the factors
            a, b = b, a
        n, wide_a, wide_b = min(self.paired, len(b.p) - 1), a.size(), b.size()
        p = a.p[0] * b.p
        p[1:len(a.p)] += a.p[1:] * b.p[0]
        q = _added(a.p[0] * b.q if len(b.q) else b.q, b.p[0] * a.q if len(a.q) else a.q)[0]
        ga, gb, qa, qb, sa, sb = (total(t) for t in (a.p[1:1 + n], b.p[1:1 + n], a.q, b.q, a.p[1 + n:], b.p[1 + n:]))
        lost = ga * (qb + sb) + (qa + sa) * (gb + qb + sb)
        if n > 0 and len(a.p) > 1:
            right, many = b.p[1:1 + n], self.pairs(n)
            left = np.zeros((n, *a.p.shape[1:]))
            left[:len(a.p) - 1] = a.p[1:1 + n]
            i, j = self.first[:many], self.second[:many]
            cross = left[i] * right[j]
            cross += np.where(self.square[:many, None, None], 0.0, left[j] * right[i])
            q = _added(q, cross)[0]
        # a coefficient is a sum of at most four products, and all products together are at most |a|_1 |b|_1
        known, rest = self._cubic(a, b) or (None, lost)
        own, rest = lost + 8 * U * (wide_a * wide_b), rest + 32 * U * (wide_a * wide_b)
        ends = np.stack([a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi])
        lo, hi = outward(np.maximum(ends.min(axis=0), 0.0) if square else ends.min(axis=0), ends.max(axis=0))
        passed, (middle, off) = a.e * (wide_b + b.e) + wide_a * b.e, _middle(lo, hi)
        e, flat = passed + own, ~(passed + rest < off) if square else np.zeros((1, 1), dtype=bool)
        if flat.any():
            p, q, e, rest = np.where(flat, 0.0, p), np.where(flat, 0.0, q), np.where(flat, off, e), np.where(flat, off, rest)
            p[0], known = np.where(flat, middle, p[0]), None if known is None else np.where(flat, 0.0, known)
            slopes = [(of, (np.where(flat, 0.0, s), np.where(flat, 0.0, r))) for of, (s, r) in slopes]
        step = self.step(rest, *((of, by_slope(*slope)) for of, slope in slopes), known=known)
        return _sealed(p, q, e, (lo, hi), len(self.copies), step)

    def _cubic(self, a: Model, b: Model) -> tuple[Floats, Floats] | None:
        """Coefficients (K, R, m) of degree 3 in the inputs of a product of few entries, and a bound of its other terms that are not kept."""
        n, many, wide = self.n, self.pairs(self.n), self.paired + 1
        if self.steps < 0 or a.e.shape[1] > FEW or not len(a.q) + len(b.q):
            return None
        out, lost = np.zeros((self.cube.max() + 1, *np.broadcast_shapes(a.e.shape, b.e.shape))), total(a.q) * total(b.q)
        for x, y in ((a, b), (b, a)):
            slopes, bends = np.zeros((n, *x.e.shape)), np.zeros((many, *y.e.shape))
            slopes[:len(x.p) - 1], bends[:len(y.q)] = x.p[1:1 + n], y.q[:many]
            np.add.at(out, self.cube, (slopes[:, None] * bends).reshape(-1, *out.shape[1:]))
            lost = lost + total(x.p[1 + n:wide]) * total(y.q) + total(slopes) * total(y.q[many:]) + total(x.p[wide:]) * (total(y.p[1:]) + total(y.q))
        return out, lost

    def _smooth(self, x: Model, op: str, power: int) -> Model:
        n, start = min(self.paired, len(x.p) - 1), np.clip(x.p[0], x.lo, x.hi)
        g, rest = total(x.p[1:1 + n]), total(x.p[1 + n:]) + total(x.q)
        wide = np.fmin(g + rest + x.e, np.maximum(x.hi - start, start - x.lo)) * (1 + 8 * U)
        value, first, second = smooth_derivatives(op, np.stack([start, x.lo]), np.stack([start, x.hi]), power)
        f0, f0_off = _middle(value[0][0], value[1][0])
        f1, f1_off = _middle(first[0][0], first[1][0])
        f2, f2_off = _middle(0.5 * second[0][1], 0.5 * second[1][1])
        (bend0, bend0_off), w2, no = _middle(0.5 * second[0][0], 0.5 * second[1][0]), wide * wide, (0.0 * wide,) * 2
        missed, base, slope, at, far = f2_off * w2, f0, f1, (first[0][0], first[1][0]), (first[0][1], first[1][1])
        for third, fourth in ((third_derivative(op, far), no), (third_derivative(op, at), fourth_derivative(op, (value[0][1], value[1][1]), far))):
            if third is not None and fourth is not None:
                (f3, f3_off), (f4, f4_off) = _middle(*third), _middle(*fourth)
                moved, turned, curved = base - f4 * w2 * w2 / 192, slope + f3 * w2 / 8, bend0 + f4 * w2 / 24
                less = bend0_off * w2 + ((np.abs(f3) / 24 + f3_off / 6) * wide + (np.abs(f4) / 192 + f4_off / 24) * w2) * w2
                less += 8 * U * np.abs(moved)  # slope and bend: 2 u |f1| (g + rest) and 8 u |f2| g^2 below, their shares of f3, f4 and e in the seal
                better = less < missed
                f0, f1, f2, missed = (np.where(better, new, old) for new, old in ((moved, f0), (turned, f1), (curved, f2), (less, missed)))
        if (wider := (x.hi - x.lo > 1.0) & np.isfinite(missed)).any() and op in ("tanh", "sigmoid"):
            slope, offset, apart = line(op, x.lo[wider], x.hi[wider])
            closer = apart < missed[wider]
            at, (slope, offset, apart) = tuple(axis[closer] for axis in np.nonzero(wider)), (a[closer] for a in (slope, offset, apart))
            f0[at], f1[at], f2[at], missed[at], f1_off[at] = slope * start[at] + offset, slope, 0.0, apart, 0.0
            f0_off[at] = 4 * U * (np.abs(slope * start[at]) + np.abs(offset))
        p, q = f1 * x.p, f1 * x.q if len(x.q) else x.q
        p[0] = f0
        bend = np.abs(f2)
        lost, bent = rest * (2 * g + rest), bend * (2 * (g + rest) + x.e) * (1 + 8 * U)
        if n > 0:
            slopes = x.p[1:1 + n]
            many = self.pairs(n)
            square = (f2 * slopes)[self.first[:many]] * slopes[self.second[:many]]
            square *= np.where(self.square[:many], 1.0, 2.0)[:, None, None]
            q = _added(square, q)[0] if len(q) else square
        own = f0_off + f1_off * wide + np.abs(f1) * 2 * U * (g + rest) + missed + bend * (lost + 8 * U * g * g)
        e = own + (np.abs(f1) + bent) * x.e
        low, high = _middle(value[0][1], value[1][1])
        flat = ~(e < high) | (start != x.p[0])  # also where the expansion is undefined
        if flat.any():
            p, q = np.where(flat, 0.0, p), np.where(flat, 0.0, q) if len(q) else q
            p[0] = np.where(flat, low, p[0])
            e, own, f1, bent = np.where(flat, high, e), np.where(flat, high, own), np.where(flat, 0.0, f1), np.where(flat, 0.0, bent)
        return _sealed(p, q, e, (value[0][1], value[1][1]), x.age, self.step(own, (x.step, by_slope(f1, bent))))

    def _kink(self, x: Model, left: float, left_off: float) -> Model:
        """``x`` where x > 0, ``left * x`` where x < 0; ``left_off`` bounds the rounding of ``left <= 1``."""
        x, sign = self._doubled(x)
        lo, hi = np.where(sign > 0, np.maximum(x.lo, 0.0), x.lo), np.where(sign < 0, np.minimum(x.hi, 0.0), x.hi)
        over, under = (sign > 0) | ((sign == 0) & (lo >= 0)), (sign < 0) | ((sign == 0) & (hi <= 0))
        open_, off = ~(over | under), np.where(over, 0.0, left_off * np.maximum(np.abs(lo), np.abs(hi)))
        ends = np.stack([np.where(t > 0, t, left * t) for t in (lo, hi)])
        low = np.where(open_, np.minimum(ends.min(axis=0), 0.0), ends.min(axis=0))
        # chord s x + t (1 + zeta): for every s between left and 1 the function less s x lies between 0 and the larger end
        s = np.where(open_, np.clip((hi - left * lo) / (hi - lo), left, 1.0), np.where(over, 1.0, left))
        t = np.where(open_, 0.5 * (1 + 8 * U) * np.maximum((1 - s) * hi, (left - s) * lo), 0.0)
        symbol = row, entry, number = self._own(x, open_)
        p, q = np.zeros((max(len(x.p), 1 + self.n + self.symbols if row.size else 0), *x.p.shape[1:])), s * x.q if len(x.q) else x.q
        p[:len(x.p)] = s * x.p
        p[0] += t
        p[1 + self.n + number, row, entry] = t[symbol[:2]]
        t[symbol[:2]] = 0.0
        own = t + off + 2 * U * (total(p) + total(q))
        step = self.step(own, (x.step, by_slope(s, 0.0)))
        return _sealed(p, q, np.abs(s) * x.e + own, outward(low - off, ends.max(axis=0) + off), x.age, step)

    def _own(self, x: Model, open_: Bools) -> tuple[Rows, Rows, Rows]:
        """Rows, entries and numbers of the symbols that open kinks get: each row counts its own, up to MAX_SYMBOLS."""
        if len(open_) != len(self.rows):
            return (np.zeros(0, dtype=np.intp),) * 3
        number = self.used[:, None] + np.cumsum(open_, axis=1) - 1
        row, entry = np.nonzero(open_ & (number < MAX_SYMBOLS))
        self.used = np.minimum(self.used + open_.sum(axis=1), MAX_SYMBOLS)
        return row, entry, number[row, entry]

    def _doubled(self, x: Model) -> tuple[Model, Floats]:
        """Double rows at undecided entries, those first where the chord is farthest off; the sign (R, m) says which phase a row takes, 0 none."""
        sign = np.zeros_like(x.lo)
        if self.most == 1 or len(sign) != len(self.rows):
            return x, sign
        gap = np.where((x.lo < 0) & (x.hi > 0) & np.isfinite(total(x.p) + x.e), -x.lo * x.hi / (x.hi - x.lo), 0.0)
        while True:
            entry, count = gap.argmax(axis=1), np.bincount(self.rows)[self.rows]
            at = np.flatnonzero((gap.max(axis=1) > 0) & (2 * count <= self.most))
            if not at.size:
                return x, sign
            old, copy = len(self.rows), np.concatenate([np.arange(len(self.rows)), at])
            self.copies.append(copy)
            self.rows, self.used, x, gap, sign, entry = self.rows[copy], self.used[copy], self.fresh(x), gap[copy], sign[copy], entry[copy]
            twin = np.arange(old, len(copy))
            sign[at, entry[at]], sign[twin, entry[twin]] = 1.0, -1.0
            gap[at, entry[at]], gap[twin, entry[twin]] = 0.0, 0.0
            taken = np.zeros(len(copy))
            taken[at], taken[twin] = 1.0, -1.0
            self.phases.append((x.part(lambda a, k=entry: a[..., np.arange(len(k)), k][..., None], x.age), taken))  # type: ignore[misc]


def taylor_models(graph: Graph, lo: Floats, hi: Floats, splits: int = 0, kind: type[TaylorReading] = TaylorReading) -> tuple[TaylorReading, Model]:
    """Taylor models of the first output over boxes (B, n), one row a phase; the reading tells the box of each row."""
    reading = kind(lo, hi, splits)
    with np.errstate(all="ignore"):
        return reading, reading.whole(read(graph, reading, [reading.start()])[0])
