"""A graph read in multiple-precision numbers at one point: the reference for witnesses.  Needs mpmath (the extra ``dev``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath

from verifiers.kernel.graph import Graph, Node, read

DIGITS = 40
STEP = "1e-12"


def _number(q: Fraction | float) -> Any:
    q = Fraction(q)
    return mpmath.mpf(q.numerator) / q.denominator


_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": lambda t: -t, "relu": lambda t: max(t, mpmath.mpf(0)), "abs": abs, "tanh": mpmath.tanh, "sigmoid": lambda t: 1 / (1 + mpmath.exp(-t)),
    "softplus": lambda t: mpmath.log1p(mpmath.exp(t)), "sin": mpmath.sin, "cos": mpmath.cos, "exp": mpmath.exp, "log": mpmath.log,
    "sqrt": mpmath.sqrt, "atan": mpmath.atan,
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b, "min": min, "max": max,
}


class PreciseReading:
    """Interpretation of a graph as lists of mpmath numbers; weights are the exact rationals, interval constants their midpoints."""

    def const(self, node: Node) -> list[Any]:
        """Midpoints of the constant's intervals."""
        return [_number((lo + hi) / 2) for lo, hi in node.data]

    def affine(self, node: Node, x: list[Any]) -> list[Any]:
        """``W x + b`` from the rational coefficients."""
        weight, bias = node.data.rational()
        return [mpmath.fsum([_number(b), *(_number(w) * t for w, t in zip(row, x, strict=True))]) for row, b in zip(weight, bias, strict=True)]

    def unary(self, node: Node, x: list[Any]) -> list[Any]:
        """The elementwise function of mpmath."""
        if node.op == "leaky_relu":
            return [t if t >= 0 else _number(node.data) * t for t in x]
        return [t**node.data for t in x] if node.op == "pow" else [_UNARY[node.op](t) for t in x]

    def binary(self, node: Node, a: list[Any], b: list[Any]) -> list[Any]:
        """The elementwise operation, one entry against all where the sizes differ."""
        size = max(len(a), len(b))
        a, b = (v * size if len(v) == 1 else v for v in (a, b))
        return [_BINARY[node.op](p, q) for p, q in zip(a, b, strict=True)]

    def take(self, node: Node, x: list[Any]) -> list[Any]:
        """A selection."""
        return [x[i] for i in node.data]

    def concat(self, node: Node, parts: Sequence[list[Any]]) -> list[Any]:
        """A concatenation."""
        return [t for part in parts for t in part]


def value_and_slope(function: Graph, field: Graph, x: Sequence[float]) -> tuple[Any, Any]:
    """V(x) and dV/dt along ``x' = f(x)``, to about 20 digits.

    The derivative is the central difference of V along f with step 1e-12: of second order, so its error is of the order of 1e-24 of V's third
    derivative along f.  No derivative rule of the toolkit is used.

    Parameters
    ----------
    function, field : Graph
        V and the closed loop in continuous time.
    x : sequence of float
        The state, read as the exact binary fractions.
    """
    with mpmath.workdps(DIGITS):
        reading, start, h = PreciseReading(), [_number(v) for v in x], mpmath.mpf(STEP)
        rates = read(field, reading, [start])[0]
        value, ahead, behind = (read(function, reading, [[t + s * h * r for t, r in zip(start, rates, strict=True)]])[0][0] for s in (0, 1, -1))
        return value, (ahead - behind) / (2 * h)
