"""Exact readings: the graph over rational points, and the matrix of a graph that is affine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.definite import Exact, rationals
from verifiers.kernel.graph import Graph, Node, read

Vector = Sequence[Fraction]
Matrix = tuple[tuple[Fraction, ...], ...]
MAX_BITS = 1 << 16


def _capped(node: Node, x: Exact, power: int = 1) -> Exact:
    """Return ``x`` if ``x**power`` is of bounded size; what explodes is declined before it eats the machine."""
    bits = max(max(q.numerator.bit_length(), q.denominator.bit_length()) for q in x)
    need(power * bits <= MAX_BITS, Code.TOO_LARGE, node.op, f"an exact value exceeds {MAX_BITS} bits; use an enclosure")
    return x


_BINARY: dict[str, Callable[[Exact, Exact], Exact]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "min": np.minimum, "max": np.maximum}
_AT_ZERO = {"tanh": Fraction(0), "sin": Fraction(0), "atan": Fraction(0), "sigmoid": Fraction(1, 2), "cos": Fraction(1), "exp": Fraction(1)}
_LINEAR = frozenset({"input", "affine", "add", "sub", "neg", "take", "concat"})


class ExactReading:
    """A reading over single points: a value is an array of rationals, every result is exact.

    Functions without rational values (tanh, sin, sqrt, ... but at zero), unknown constants and division by zero raise :class:`Refusal`
    with ``UNSUPPORTED``, rationals of more than ``MAX_BITS`` bits with ``TOO_LARGE``.
    """

    def const(self, node: Node) -> Exact:
        """The constant, known exactly."""
        lo, hi = (rationals(ends) for ends in zip(*node.data, strict=True))
        need((lo == hi).all(), Code.UNSUPPORTED, node.op, "an unknown constant (an interval) has no single exact value")
        return lo

    def affine(self, node: Node, x: Exact) -> Exact:
        """``W x + b`` with the exact coefficients."""
        weight, total = map(rationals, node.data.rational())
        for column, v in zip(weight.T, x, strict=True):
            total = _capped(node, total + column * v)
        return total

    def unary(self, node: Node, x: Exact) -> Exact:
        """An elementwise function with rational values."""
        if node.op in _AT_ZERO and not x.any():
            return np.asarray(x + _AT_ZERO[node.op])
        need(node.op in ("neg", "abs", "relu", "leaky_relu", "pow"), Code.UNSUPPORTED, node.op, "has no exact rational value; use an enclosure")
        if node.op == "pow":
            return np.asarray(_capped(node, x, node.data) ** node.data)
        if node.op in ("neg", "abs"):
            return -x if node.op == "neg" else abs(x)
        return _capped(node, np.where(x > 0, x, (node.data or Fraction(0)) * x))

    def binary(self, node: Node, a: Exact, b: Exact) -> Exact:
        """An elementwise operation."""
        need(node.op != "div" or b.all(), Code.UNSUPPORTED, node.op, "division by zero at this point")
        return _capped(node, _BINARY[node.op](a, b))

    def where(self, node: Node, z: Exact, a: Exact, b: Exact) -> Exact:
        """A choice, which has no single value at a tie."""
        need(z.all(), Code.UNSUPPORTED, node.op, "a comparison is a tie at this point")
        return np.where(z > 0, a, b)

    def take(self, node: Node, x: Exact) -> Exact:
        """A selection."""
        return x[list(node.data)]

    def concat(self, node: Node, parts: Sequence[Exact]) -> Exact:
        """A concatenation."""
        return np.concatenate(parts)


def evaluate_exact(graph: Graph, *inputs: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Evaluate the first output at one rational point.

    Parameters
    ----------
    graph : Graph
        Piecewise rational graph.
    *inputs : sequence of Fraction
        One vector per input of the graph, sizes ``graph.input_sizes``.

    Returns
    -------
    tuple of Fraction
        The value, exact: no rounding in either direction.

    Raises
    ------
    Refusal
        ``BAD_SHAPE`` when the inputs do not fit; ``UNSUPPORTED`` or ``TOO_LARGE`` when the value is no manageable
        rational (:class:`ExactReading`).
    """
    need(tuple(map(len, inputs)) == graph.input_sizes, Code.BAD_SHAPE, "input",
         f"sizes {list(map(len, inputs))} where {list(graph.input_sizes)} are expected")
    return tuple(read(graph, ExactReading(), [rationals(list(map(Fraction, x))) for x in inputs])[0])


def _is_affine(graph: Graph) -> bool:
    """True when each node is an affine map of its arguments, a function of constants alone, or a product or quotient with such a function."""
    varies: list[bool] = []  # does the node depend on the input?
    for node in graph.nodes:
        inner = [varies[a] for a in node.args]
        if not (node.op in _LINEAR or not any(inner) or (node.op == "mul" and not all(inner)) or (node.op == "div" and not inner[1])):
            return False
        varies.append(node.op == "input" or any(inner))
    return True


def affine_exact(graph: Graph) -> tuple[Matrix, tuple[Fraction, ...]] | None:
    """Read ``(A, b)`` off a graph that computes ``A x + b``.

    Parameters
    ----------
    graph : Graph
        One input (n,), first output (k,).

    Returns
    -------
    tuple or None
        ``A`` (k, n) and ``b`` (k,) exactly equal to the graph for every real x; None when the graph applies other nodes than affine,
        add, sub, neg, take, concat, and products or quotients with constants to its input, or when a constant has no manageable exact value.
        None says nothing about the function: a disguised affine function (``relu(x) - relu(-x)``) is not recognised.

    Notes
    -----
    Such a graph is affine on all of R^n (a divisor is a constant, found not to be zero), so its values at 0 and at the unit vectors determine it.
    """
    if len(graph.input_sizes) != 1 or not _is_affine(graph):
        return None
    size = graph.input_sizes[0]
    try:
        bias = evaluate_exact(graph, [Fraction(0)] * size)
        columns = [evaluate_exact(graph, [Fraction(int(i == j)) for i in range(size)]) for j in range(size)]
    except Refusal:
        return None
    return tuple(map(tuple, (rationals(columns) - rationals(bias)).T)), bias
