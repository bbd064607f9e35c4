r"""The graph relaxed by linear functions: bounds over batches of boxes for searches, *not* for proofs.

Forward, every node gets natural interval bounds; backward, each output is bounded by a linear function of the inputs, with
every nonlinear node replaced by a line below and a line above it on its interval (CROWN).  All arithmetic is plain float64
without outward rounding: results can be wrong by rounding errors, so a kernel never sees them.

References
----------
.. [1] H. Zhang et al., Efficient neural network robustness certification with general activation functions, NeurIPS 2018.
.. [2] G. P. McCormick, Computability of global solutions to factorable nonconvex programs, Math. Programming 10 (1976).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from verifiers.kernel.graph import Affine, Floats, Graph, Node, read
from verifiers.load.floats import FloatReading

Bounds = tuple[Floats, Floats]
CONVEX = frozenset({"relu", "leaky_relu", "abs", "exp", "softplus"})
CONCAVE = frozenset({"log", "sqrt"})
S_SHAPED = frozenset({"tanh", "sigmoid", "atan"})
NARROW = 1e-7  # below this width a chord's slope is rounding noise, and constants serve as well


def _known(low: Floats, high: Floats) -> Bounds:
    """NaN (as of 0 times infinity) means that nothing is known; an overflow does not exceed every number."""
    most = np.finfo(np.float64).max
    return np.where(np.isnan(low), -np.inf, np.minimum(low, most)), np.where(np.isnan(high), np.inf, np.maximum(high, -most))


def _hull(candidates: Sequence[Floats]) -> Bounds:
    """Least and greatest candidate."""
    return _known(np.minimum.reduce(candidates), np.maximum.reduce(candidates))


def _cosine(lo: Floats, hi: Floats) -> Bounds:
    """Range of cos: the ends, and the peaks at even and troughs at odd multiples of pi in between."""
    low, high = _hull([np.cos(lo), np.cos(hi)])
    peak = 2 * np.pi * np.ceil(lo / (2 * np.pi)) <= hi
    trough = 2 * np.pi * np.ceil((lo - np.pi) / (2 * np.pi)) + np.pi <= hi
    known = np.isfinite(lo) & np.isfinite(hi)
    return np.where(trough | ~known, -1.0, low), np.where(peak | ~known, 1.0, high)


class IntervalReading:
    """Natural interval extension in float64, not rounded outward: a value is a pair of (B, m) arrays."""

    point = FloatReading()

    def const(self, node: Node) -> Bounds:
        """Ends of the constant's intervals, (1, m)."""
        ends = np.array([[float(lo), float(hi)] for lo, hi in node.data])
        return ends[None, :, 0], ends[None, :, 1]

    def affine(self, node: Node, x: Bounds) -> Bounds:
        """``W x + b`` with ``W`` split by sign."""
        plus, minus = np.maximum(node.data.weight, 0.0), np.minimum(node.data.weight, 0.0)
        return _known(_matmul(x[0], plus) + _matmul(x[1], minus) + node.data.bias, _matmul(x[1], plus) + _matmul(x[0], minus) + node.data.bias)

    def unary(self, node: Node, x: Bounds) -> Bounds:
        """Range of an elementwise function over its domain."""
        lo, hi = x
        if node.op == "cos":
            return _cosine(lo, hi)
        if node.op == "sin":
            return _cosine(lo - np.pi / 2, hi - np.pi / 2)
        if node.op in CONCAVE:
            lo = np.maximum(lo, 0.0)
        low, high = _hull([self.point.unary(node, lo), self.point.unary(node, hi)])
        if node.op == "abs" or (node.op == "pow" and node.data % 2 == 0 and node.data > 0):
            low = np.where((lo <= 0) & (hi >= 0), 0.0, low)
        return low, high

    def binary(self, node: Node, a: Bounds, b: Bounds) -> Bounds:
        """Range of an elementwise operation."""
        if node.op == "mul":
            return _hull([p * q for p in a for q in b])
        if node.op == "div":
            low, high = _hull([p / q for p in a for q in b])
            pole = (b[0] <= 0) & (b[1] >= 0)
            return np.where(pole, -np.inf, low), np.where(pole, np.inf, high)
        c, d = (b[1], b[0]) if node.op == "sub" else b
        return _known(self.point.binary(node, a[0], c), self.point.binary(node, a[1], d))

    def take(self, node: Node, x: Bounds) -> Bounds:
        """A selection."""
        return self.point.take(node, x[0]), self.point.take(node, x[1])

    def concat(self, node: Node, parts: Sequence[Bounds]) -> Bounds:
        """A concatenation."""
        return self.point.concat(node, [p[0] for p in parts]), self.point.concat(node, [p[1] for p in parts])


def _matmul(x: Floats, weight: Floats) -> Floats:
    """``x @ weight.T`` where a zero weight annihilates even an infinite entry."""
    if np.isfinite(x).all():
        return np.asarray(x @ weight.T)
    return np.asarray(np.where(weight == 0, 0.0, x[:, None, :] * np.where(weight == 0, 1.0, weight)).sum(axis=2))


@dataclass(frozen=True)
class Lines:
    """``low_slope * x + low_start <= f(x) <= high_slope * x + high_start`` on an interval, entry by entry (B, k)."""

    low_slope: Floats
    low_start: Floats
    high_slope: Floats
    high_start: Floats


def _through(slope: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return slope, y - slope * x


Function = Callable[[Floats], Floats]


def _function(node: Node) -> Function:
    return lambda x: FloatReading().unary(node, x)


def _tangent_of_convex(node: Node, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Line below a convex function: at a kink inside, the steeper piece on the longer side (least area); else the tangent at the middle."""
    if node.op in ("relu", "leaky_relu", "abs"):
        left = {"relu": 0.0, "abs": -1.0}.get(node.op, float(node.data or 0))
        slope = np.where(lo >= 0, 1.0, np.where(hi <= 0, left, np.where(hi > -lo, 1.0, left)))
        return slope, np.zeros_like(lo)
    middle = (lo + hi) / 2
    return _through(_slope(node, middle), middle, _function(node)(middle))


def _slope(node: Node, x: Floats) -> Floats:
    """Derivative of the smooth functions that have lines."""
    y = _function(node)(x)
    if node.op == "pow":
        return np.asarray(node.data * x ** (node.data - 1), dtype=np.float64)
    return {"exp": lambda: y, "softplus": lambda: 0.5 * (1 + np.tanh(x / 2)), "log": lambda: 1 / x, "sqrt": lambda: 0.5 / y,
            "tanh": lambda: 1 - y * y, "sigmoid": lambda: y * (1 - y), "atan": lambda: 1 / (1 + x * x)}[node.op]()


def _chord(f: Function, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    return _through((f(hi) - f(lo)) / (hi - lo), lo, f(lo))


def _line_above_s(node: Node, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Line above an S-shaped function (convex left of 0, concave right of it).

    Left of 0 the chord, right of it the tangent at the middle, across 0 the line through the left end that touches at d > 0, or the
    chord when d would lie beyond ``hi``.  The bisection keeps the end d where the tangent at d passes above the left end.
    """
    f, start = _function(node), np.minimum(lo, 0.0)
    near, far = np.maximum(lo, 0.0), np.maximum(hi, 0.0)

    def above(d: Floats) -> np.ndarray:
        return np.asarray(_slope(node, d) * (d - start) >= f(d) - f(start))

    beyond = above(far)
    for _ in range(40):
        middle = (near + far) / 2
        good = above(middle)
        near, far = np.where(good, middle, near), np.where(good, far, middle)
    touch = np.where(lo >= 0, (lo + hi) / 2, near)
    tangent = _through(_slope(node, touch), np.where(lo >= 0, touch, lo), f(np.where(lo >= 0, touch, lo)))
    chord = _chord(f, lo, hi)
    use_chord = (hi <= 0) | ((lo < 0) & beyond)
    return np.where(use_chord, chord[0], tangent[0]), np.where(use_chord, chord[1], tangent[1])


def _unary_lines(node: Node, x: Bounds, y: Bounds) -> Lines:
    """Lines below and above an elementwise function; constants where the interval is narrow or unbounded."""
    lo, hi = x
    flat = np.zeros_like(lo)
    low, high = (flat, y[0]), (flat, y[1])
    even = node.op == "pow" and node.data % 2 == 0 and node.data > 0
    if node.op in CONVEX or even:
        low, high = _tangent_of_convex(node, lo, hi), _chord(_function(node), lo, hi)
    elif node.op in CONCAVE:
        middle = (lo + hi) / 2
        low, high = _chord(_function(node), lo, hi), _through(_slope(node, middle), middle, _function(node)(middle))
    elif node.op in S_SHAPED:
        mirrored = _line_above_s(node, -hi, -lo)  # f(x) = 2 f(0) - f(-x)
        low, high = (mirrored[0], 2 * _function(node)(flat) - mirrored[1]), _line_above_s(node, lo, hi)
    straight = (node.op in ("relu", "leaky_relu", "abs")) & ((lo >= 0) | (hi <= 0))
    high = (np.where(straight, low[0], high[0]), np.where(straight, low[1], high[1]))
    usable = straight | (hi - lo > NARROW * (1 + np.abs(lo)))
    return Lines(*_fallback(*low, y[0], usable), *_fallback(*high, y[1], usable))


def _fallback(slope: Floats, start: Floats, constant: Floats, usable: np.ndarray | bool = True) -> tuple[Floats, Floats]:
    """The line where it is usable and finite, the constant elsewhere."""
    usable = usable & np.isfinite(slope) & np.isfinite(start)
    return np.where(usable, slope, 0.0), np.where(usable, start, constant)


Plane = tuple[Floats, Floats, Floats]  # slope in a, slope in b, start


def _product_planes(a: Bounds, b: Bounds, y: Bounds) -> tuple[Plane, Plane]:
    """McCormick's planes, below through the lower corner's envelope and above through the mixed one."""
    def plane(p: Floats, q: Floats, constant: Floats) -> Plane:  # p b + q a - p q
        usable = np.isfinite(p * q)
        return np.where(usable, q, 0.0), np.where(usable, p, 0.0), np.where(usable, -p * q, constant)

    return plane(a[0], b[0], y[0]), plane(a[1], b[0], y[1])


def _max_planes(a: Bounds, b: Bounds, y: Bounds) -> tuple[Plane, Plane]:
    """``max(a, b) = b + relu(a - b)`` with the lines of relu on the interval of the difference."""
    relu = Node("relu", (0,), a[0].shape[1])
    lo, hi = a[0] - b[1], a[1] - b[0]
    lines = _unary_lines(relu, (lo, hi), (np.maximum(lo, 0.0), np.maximum(hi, 0.0)))

    def plane(slope: Floats, start: Floats, constant: Floats) -> Plane:
        usable = np.isfinite(start)
        return np.where(usable, slope, 0.0), np.where(usable, 1 - slope, 0.0), np.where(usable, start, constant)

    return plane(lines.low_slope, lines.low_start, y[0]), plane(lines.high_slope, lines.high_start, y[1])


def _binary_planes(node: Node, a: Bounds, b: Bounds, y: Bounds) -> tuple[Plane, Plane] | None:
    """Planes below and above an elementwise operation; None where there are none."""
    if node.op == "mul":
        return _product_planes(a, b, y)
    if node.op == "max":
        return _max_planes(a, b, y)
    if node.op == "min":  # min(a, b) = -max(-a, -b)
        low, high = _max_planes((-a[1], -a[0]), (-b[1], -b[0]), (-y[1], -y[0]))
        return (high[0], high[1], -high[2]), (low[0], low[1], -low[2])
    return None


def _least(c: Floats, low: Floats, high: Floats) -> Floats:
    """``min c.y`` over ``low <= y <= high`` for coefficients c (B, q, k): (B, q); zero coefficients annihilate infinity."""
    end = np.where(c > 0, low[:, None, :], high[:, None, :])
    return np.asarray(np.where(c == 0, 0.0, c * np.where(c == 0, 0.0, end)).sum(axis=2))


def _below(c: Floats, low: Plane | tuple[Floats, ...], high: Plane | tuple[Floats, ...]) -> tuple[list[Floats], Floats]:
    """Replace ``c.y`` by what is surely below it: coefficients for each argument, and the constant (B, q)."""
    plus, minus = np.maximum(c, 0.0), np.minimum(c, 0.0)
    pairs = list(zip(low, high, strict=True))
    return [plus * p[:, None, :] + minus * q[:, None, :] for p, q in pairs[:-1]], _least(c, *pairs[-1])


def _linear(node: Node, c: Floats, sizes: list[int]) -> tuple[list[Floats], Floats | float] | None:
    """Coefficients of the arguments of a linear node, and the constant; None for other nodes."""
    if node.op == "affine":
        data: Affine = node.data
        return [c @ data.weight], c @ data.bias
    if node.op in ("add", "sub"):
        return [c, c if node.op == "add" else -c], 0.0
    if node.op == "neg":
        return [-c], 0.0
    if node.op == "take":
        return [c @ np.eye(sizes[0])[list(node.data)]], 0.0
    if node.op == "concat":
        return np.split(c, np.cumsum(sizes)[:-1], axis=2), 0.0
    return None


def _backward(graph: Graph, bounds: list[Bounds], c: Floats) -> Floats:
    """Lower bounds (B, q) of ``c.y`` for the first output y and coefficients c (B, q, k)."""
    coefficient = {graph.outputs[0]: c}
    total = np.zeros(c.shape[:2])
    for k in range(graph.outputs[0], -1, -1):
        node = graph.nodes[k]
        if k not in coefficient:
            continue
        c = coefficient.pop(k)
        args = [bounds[a] for a in node.args]
        step = _linear(node, c, [graph.nodes[a].size for a in node.args])
        if step is None and len(args) == 2 and (planes := _binary_planes(node, args[0], args[1], bounds[k])) is not None:
            step = _below(c, *planes)
        elif step is None and len(args) == 1:
            lines = _unary_lines(node, args[0], bounds[k])
            step = _below(c, (lines.low_slope, lines.low_start), (lines.high_slope, lines.high_start))
        parts, constant = ([], _least(c, *bounds[k])) if step is None else step  # inputs, constants and the rest: a box
        total = total + constant
        for a, part in zip(node.args, parts, strict=False):
            if graph.nodes[a].op == "const":  # at once, so that two unknown constants of one interval never cancel
                total = total + _least(part, *bounds[a])
            else:
                coefficient[a] = coefficient[a] + part if a in coefficient else part
    return total


def node_bounds(graph: Graph, lo: Floats, hi: Floats) -> list[Bounds]:
    """Natural interval bounds of every node.

    Parameters
    ----------
    graph : Graph
        Any graph.
    lo, hi : ndarray
        Corners of the boxes, each (B, n) with n the total size of the inputs, joined in order.

    Returns
    -------
    list of (ndarray, ndarray)
        One pair (B, m) per node; infinite where nothing is known.

    Raises
    ------
    ValueError
        When the shapes do not fit the graph.

    Notes
    -----
    Direction: outward up to rounding errors, which are not covered.
    """
    lo, hi = np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64)
    if not (lo.ndim == 2 and lo.shape == hi.shape and lo.shape[1] == sum(graph.input_sizes)):
        raise ValueError(f"boxes of shapes {lo.shape} and {hi.shape} do not fit the graph's input sizes {list(graph.input_sizes)}")
    cuts = np.cumsum(graph.input_sizes)[:-1].tolist()
    boxes = list(zip(np.split(lo, cuts, axis=1), np.split(hi, cuts, axis=1), strict=True))
    everything = Graph(graph.nodes, graph.input_sizes, tuple(range(len(graph.nodes))))
    with np.errstate(all="ignore"):
        values = read(everything, IntervalReading(), boxes)
    return [(np.broadcast_to(a, (len(lo), a.shape[1])), np.broadcast_to(b, (len(lo), b.shape[1]))) for a, b in values]


def linear_bounds(graph: Graph, lo: Floats, hi: Floats) -> Bounds:
    r"""Bound the first output of a graph over boxes by backward linear relaxation.

    .. math:: \underline{y}(B) \;\le\; \min_{x \in B} y(x), \qquad \max_{x \in B} y(x) \;\le\; \overline{y}(B)

    Parameters
    ----------
    graph : Graph
        Any graph; div, sin, cos and odd powers count as fresh variables in their natural intervals, everything else is relaxed by lines
        (relu, leaky_relu, abs, exp, log, sqrt, softplus, tanh, sigmoid, atan, even powers) or planes (mul, min, max).
    lo, hi : ndarray
        Corners of the boxes, each (B, n) float64 with n the total size of the inputs, joined in order.

    Returns
    -------
    (ndarray, ndarray)
        Lower and upper bounds, each (B, m), in the output's units, never wider than the natural intervals; infinite where nothing is known.

    Raises
    ------
    ValueError
        When the shapes do not fit the graph.

    Notes
    -----
    Direction: outward up to rounding errors, which are **not** covered: for choosing boxes and levels in a search, never for a
    proof.  Points where the graph is undefined (log of a negative number) are not covered either.
    """
    bounds = node_bounds(graph, lo, hi)
    low, high = bounds[graph.outputs[0]]
    unit = np.broadcast_to(np.eye(low.shape[1]), (len(low), low.shape[1], low.shape[1]))
    with np.errstate(all="ignore"):
        below = _backward(graph, bounds, np.concatenate([unit, -unit], axis=1))
    return np.fmax(low, below[:, :low.shape[1]]), np.fmin(high, -below[:, low.shape[1]:])
