"""A graph as an ONNX file whose value in exact real arithmetic is the graph's, so that others can be asked our questions.

Numbers are written as float32 where all of them have an exact place there, else as float64; a rational with neither is written as a quotient of two
that have one.  What cannot be written exactly is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from verifiers.kernel.graph import Affine, Graph, Node, read
from verifiers.load import onnx_bytes as wire

_NAMES = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "min": "Min", "max": "Max", "neg": "Neg", "relu": "Relu", "abs": "Abs",
          "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus", "sin": "Sin", "cos": "Cos", "exp": "Exp", "log": "Log", "sqrt": "Sqrt",
          "atan": "Atan"}
Rows = Sequence[Sequence[Fraction]]


class NotWritable(ValueError):
    """A graph that no ONNX file of float32 or float64 numbers expresses exactly: one sentence."""


class _Writing:
    """A reading of the graph whose values are names of ONNX tensors of shape (1, size)."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []

    def apply(self, op: str, *inputs: str, **attributes: int | float | Sequence[int]) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(wire.node(op, inputs, [name], **attributes))
        return name

    def floats(self, values: Any) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(wire.tensor(name, self.kind, values))
        return name

    def integers(self, values: Sequence[int]) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(wire.tensor(name, wire.INT64, np.array(values, dtype=np.int64)))
        return name

    def exact(self, rows: Rows) -> tuple[Any, list[int]]:
        """Rows of rationals as numbers of the element type, each row times the denominator returned with it."""
        plain, scales = [], []
        for row in rows:
            scale = 1 if all(self.fits(q) for q in row) else lcm(*(q.denominator for q in row))
            if not (self.fits(Fraction(scale)) and all(self.fits(q * scale) for q in row)):
                raise NotWritable("a coefficient is a rational without an exact place in an ONNX file; round it to a decimal of a few digits first")
            plain.append([float(q * scale) for q in row])
            scales.append(scale)
        return np.array(plain, dtype=np.float64).reshape(len(rows), -1), scales

    def fits(self, q: Fraction) -> bool:
        """Whether the element type holds the rational exactly."""
        return _fits(q, self.kind)

    def unscaled(self, name: str, scales: list[int]) -> str:
        return name if set(scales) == {1} else self.apply("Div", name, self.floats(np.array([scales], dtype=np.float64)))

    def const(self, node: Node) -> str:
        """A constant, which must be known."""
        if any(lo != hi for lo, hi in node.data):
            raise NotWritable("the graph has a constant that is only known to lie in an interval; fix it, or make it an input")
        values, scales = self.exact([(lo,) for lo, _ in node.data])
        return self.unscaled(self.floats(values.reshape(1, -1)), scales)

    def affine(self, node: Node, x: str) -> str:
        """``W x + b`` as Gemm."""
        data: Affine = node.data
        if data.exact is None and (self.kind == wire.DOUBLE or _is_single(data.weight, data.bias)):
            return self.apply("Gemm", x, self.floats(data.weight), self.floats(data.bias), transB=1)
        weight, bias = data.rational()
        table, scales = self.exact([(*row, c) for row, c in zip(weight, bias, strict=True)])
        return self.unscaled(self.apply("Gemm", x, self.floats(table[:, :-1]), self.floats(table[:, -1]), transB=1), scales)

    def unary(self, node: Node, x: str) -> str:
        """An elementwise function."""
        if node.op == "pow":
            return self.apply("Pow", x, self.floats(np.array([[float(node.data)]])))
        if node.op == "leaky_relu":
            if Fraction(float(np.float32(node.data))) == node.data:
                return self.apply("LeakyRelu", x, alpha=float(node.data))
            values, scales = self.exact([(node.data,)])  # relu(x) - alpha relu(-x)
            slope = self.unscaled(self.floats(values), scales)
            below = self.apply("Mul", slope, self.apply("Relu", self.apply("Neg", x)))
            return self.apply("Sub", self.apply("Relu", x), below)
        return self.apply(_NAMES[node.op], x)

    def binary(self, node: Node, a: str, b: str) -> str:
        """An elementwise operation."""
        return self.apply(_NAMES[node.op], a, b)

    def where(self, node: Node, z: str, a: str, b: str) -> str:
        """A choice."""
        return self.apply("Where", self.apply("GreaterOrEqual", z, self.floats(np.zeros((1, 1)))), a, b)

    def take(self, node: Node, x: str) -> str:
        """A selection."""
        return self.apply("Gather", x, self.integers(node.data), axis=1)

    def concat(self, node: Node, parts: Sequence[str]) -> str:
        """A concatenation."""
        return self.apply("Concat", *parts, axis=1)


def _is_single(*arrays: Any) -> bool:
    with np.errstate(all="ignore"):
        return all(bool(np.array_equal(a.astype(np.float32).astype(np.float64), a)) for a in arrays)


def _fits(q: Fraction, kind: int) -> bool:
    try:
        value = float(q)
    except OverflowError:
        return False
    return Fraction(value) == q and (kind == wire.DOUBLE or _is_single(np.array(value)))


def to_onnx(graph: Graph, double: bool | None = None) -> bytes:
    """Write a graph as an ONNX file.

    Parameters
    ----------
    graph : Graph
        One input vector (n,) and one output vector (m,).
    double : bool, optional
        Whether the element type is float64; default: only where float32 cannot hold all numbers.

    Returns
    -------
    bytes
        A model with input ``X`` (1, n) and output ``Y`` (1, m), opset 17.

    Raises
    ------
    NotWritable
        For unknown constants, and numbers that have no exact place in the element type.
    ValueError
        For more than one input or output vector.

    Notes
    -----
    Direction: exact in real arithmetic.  Inference in float32 or float64 rounds, as with every network; ONNX Runtime has no Softplus or Atan
    for float64.
    """
    if len(graph.input_sizes) != 1 or len(graph.outputs) != 1:
        raise ValueError("one input vector and one output vector are needed for an ONNX file")
    if double is None:
        try:
            return to_onnx(graph, double=False)
        except NotWritable:
            return to_onnx(graph, double=True)
    kind = wire.DOUBLE if double else wire.FLOAT
    writing = _Writing(kind)
    (out,) = read(graph, writing, ["X"])
    writing.nodes.append(wire.node("Identity", [out], ["Y"]))
    return wire.model(writing.nodes, writing.tensors, wire.value_info("X", kind, (1, graph.input_sizes[0])),
                      wire.value_info("Y", kind, (1, graph.output_size())))
