"""Exact readings: the graph over rational points, and the matrix of a graph that is affine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NoReturn

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Graph, Node, read

Vector = Sequence[Fraction]
Matrix = tuple[tuple[Fraction, ...], ...]
MAX_BITS = 1 << 16


def _unsupported(node: Node, why: str) -> NoReturn:
    raise Refusal(Code.UNSUPPORTED, node.op, why)


def _capped(node: Node, q: Fraction, power: int = 1) -> Fraction:
    """Return ``q`` if ``q**power`` is of bounded size; what explodes is declined before it eats the machine."""
    if not power * max(q.numerator.bit_length(), q.denominator.bit_length()) <= MAX_BITS:
        raise Refusal(Code.TOO_LARGE, node.op, f"an exact value exceeds {MAX_BITS} bits; use an enclosure")
    return q


def _quotient(node: Node, a: Fraction, b: Fraction) -> Fraction:
    if b == 0:
        _unsupported(node, "division by zero at this point")
    return a / b


_BINARY: dict[str, Callable[[Node, Fraction, Fraction], Fraction]] = {
    "add": lambda node, a, b: a + b, "sub": lambda node, a, b: a - b, "mul": lambda node, a, b: a * b, "div": _quotient,
    "min": lambda node, a, b: min(a, b), "max": lambda node, a, b: max(a, b)}


class ExactReading:
    """A reading over single points: a value is a list of rationals, every result is exact.

    Functions without rational values (tanh, sin, sqrt, ...), unknown constants and division by zero raise :class:`Refusal`
    with ``UNSUPPORTED``, rationals of more than ``MAX_BITS`` bits with ``TOO_LARGE``.
    """

    def const(self, node: Node) -> list[Fraction]:
        """The constant, known exactly."""
        if not all(lo == hi for lo, hi in node.data):
            _unsupported(node, "an unknown constant (an interval) has no single exact value")
        return [lo for lo, _ in node.data]

    def affine(self, node: Node, x: list[Fraction]) -> list[Fraction]:
        """``W x + b`` with the exact coefficients."""
        out = []
        for row, total in zip(*node.data.rational(), strict=True):
            for w, v in zip(row, x, strict=True):
                total = _capped(node, total + w * v)
            out.append(total)
        return out

    def unary(self, node: Node, x: list[Fraction]) -> list[Fraction]:
        """An elementwise function with rational values."""
        if node.op == "neg":
            return [-v for v in x]
        if node.op == "abs":
            return [abs(v) for v in x]
        if node.op in ("relu", "leaky_relu"):
            slope = node.data if node.op == "leaky_relu" else Fraction(0)
            return [v if v > 0 else _capped(node, slope * v) for v in x]
        if node.op == "pow":
            return [_capped(node, v, node.data)**node.data for v in x]
        _unsupported(node, "has no exact rational value; use an enclosure")

    def binary(self, node: Node, a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
        """An elementwise operation."""
        return [_capped(node, _BINARY[node.op](node, p, q)) for p, q in zip(a, b, strict=True)]

    def take(self, node: Node, x: list[Fraction]) -> list[Fraction]:
        """A selection."""
        return [x[i] for i in node.data]

    def concat(self, node: Node, parts: Sequence[list[Fraction]]) -> list[Fraction]:
        """A concatenation."""
        return [v for part in parts for v in part]


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
    if not tuple(map(len, inputs)) == graph.input_sizes:
        raise Refusal(Code.BAD_SHAPE, "input", f"sizes {[len(x) for x in inputs]} where {list(graph.input_sizes)} are expected")
    return tuple(read(graph, ExactReading(), [[Fraction(v) for v in x] for x in inputs])[0])


Form = tuple[Fraction, ...]  # (c, a_1, ..., a_n) stands for c + a.x


class _AffineReading:
    """A reading whose values are lists of affine forms of the input; whatever leaves that class raises."""

    def __init__(self, size: int) -> None:
        self.size = size

    def const(self, node: Node) -> list[Form]:
        return [(c,) + (Fraction(0),) * self.size for c in ExactReading().const(node)]

    def affine(self, node: Node, x: list[Form]) -> list[Form]:
        columns = [ExactReading().affine(node, list(column)) for column in zip(*x, strict=True)]
        bias = node.data.rational()[1]  # each column got the bias, only the constant's column may keep it
        return [(row[0], *(a - c for a in row[1:])) for row, c in zip(zip(*columns, strict=True), bias, strict=True)]

    def unary(self, node: Node, x: list[Form]) -> list[Form]:
        if node.op != "neg":
            _unsupported(node, "is not affine")
        return [tuple(-a for a in form) for form in x]

    def binary(self, node: Node, a: list[Form], b: list[Form]) -> list[Form]:
        return [self._combine(node, p, q) for p, q in zip(a, b, strict=True)]

    def _combine(self, node: Node, p: Form, q: Form) -> Form:
        if node.op in ("add", "sub"):
            pairs = list(zip(p, q, strict=True))
        elif node.op == "mul" and not any(p[1:]):
            pairs = [(a, p[0]) for a in q]
        elif node.op in ("mul", "div") and not any(q[1:]):
            pairs = [(a, q[0]) for a in p]
        else:
            _unsupported(node, "is not affine")
        return tuple(_capped(node, _BINARY[node.op](node, a, b)) for a, b in pairs)

    def take(self, node: Node, x: list[Form]) -> list[Form]:
        return [x[i] for i in node.data]

    def concat(self, node: Node, parts: Sequence[list[Form]]) -> list[Form]:
        return [form for part in parts for form in part]


def affine_exact(graph: Graph) -> tuple[Matrix, tuple[Fraction, ...]] | None:
    """Read ``(A, b)`` off a graph that computes ``A x + b``.

    Parameters
    ----------
    graph : Graph
        One input (n,), first output (k,).

    Returns
    -------
    tuple or None
        ``A`` (k, n) and ``b`` (k,) exactly equal to the graph for every real x; None when the graph has other nodes than affine,
        add, sub, neg, take, concat, known constants, and products or quotients with constants.  None says nothing about
        the function: a disguised affine function (``relu(x) - relu(-x)``) is not recognised.
    """
    if len(graph.input_sizes) != 1:
        return None
    n = graph.input_sizes[0]
    unit = [(Fraction(0), *(Fraction(int(i == j)) for j in range(n))) for i in range(n)]
    try:
        rows = read(graph, _AffineReading(n), [unit])[0]
    except Refusal:
        return None
    return tuple(row[1:] for row in rows), tuple(row[0] for row in rows)
