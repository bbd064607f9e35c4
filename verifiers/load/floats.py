"""The graph read in float64: plain NumPy numbers over a batch of points, for plots, samples and searches, never for proofs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verifiers.kernel.graph import Floats, Graph, Node, read


def _sigmoid(x: Floats) -> Floats:
    tail = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, tail) / (1.0 + tail)


_UNARY: dict[str, Callable[[Floats], Floats]] = {
    "neg": np.negative, "relu": lambda x: np.maximum(x, 0.0), "abs": np.abs, "tanh": np.tanh, "sigmoid": _sigmoid,
    "softplus": lambda x: np.logaddexp(0.0, x), "sin": np.sin, "cos": np.cos, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "atan": np.arctan,
}
_BINARY: dict[str, Callable[[Floats, Floats], Floats]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "min": np.minimum, "max": np.maximum,
}


class FloatReading:
    """Interpretation of a graph in float64; every value is an array (B, m), constants are (1, m) and broadcast.

    Direction: none.  Values carry rounding errors, and an interval constant is read as its midpoint.
    """

    def const(self, node: Node) -> Floats:
        """Midpoints of the constant's intervals, (1, m)."""
        return np.array([[float((lo + hi) / 2) for lo, hi in node.data]])

    def affine(self, node: Node, x: Floats) -> Floats:
        """``x @ W.T + b`` row by row, (B, k)."""
        return np.asarray(x @ node.data.weight.T + node.data.bias, dtype=np.float64)

    def unary(self, node: Node, x: Floats) -> Floats:
        """The elementwise function of NumPy."""
        if node.op == "leaky_relu":
            return np.maximum(x, 0.0) + float(node.data) * np.minimum(x, 0.0)
        if node.op == "pow":
            return np.asarray(x**node.data, dtype=np.float64)
        return _UNARY[node.op](x)

    def binary(self, node: Node, a: Floats, b: Floats) -> Floats:
        """The elementwise operation of NumPy."""
        return _BINARY[node.op](a, b)

    def where(self, node: Node, z: Floats, a: Floats, b: Floats) -> Floats:
        """The choice; at a tie the first, as inference has it."""
        return np.where(z >= 0, a, b)

    def take(self, node: Node, x: Floats) -> Floats:
        """Columns ``x[:, index]``."""
        return x[:, list(node.data)]

    def concat(self, node: Node, parts: Sequence[Floats]) -> Floats:
        """Columns side by side."""
        rows = max(part.shape[0] for part in parts)
        return np.concatenate([np.broadcast_to(part, (rows, part.shape[1])) for part in parts], axis=1)


def evaluate_all(graph: Graph, *inputs: Any) -> list[Floats]:
    """Evaluate every output of ``graph`` in float64.

    Parameters
    ----------
    graph : Graph
        Graph with as many inputs as ``inputs``.
    *inputs : array_like
        One (B, m_i) batch per input, or all of them single points (m_i,).

    Returns
    -------
    list of ndarray
        One (B, k) array per output; (k,) when every input is a single point.

    Raises
    ------
    ValueError
        When the number or the sizes of the inputs do not fit the graph.

    Notes
    -----
    Direction: none; plain rounding, so that NaN and infinities appear where NumPy makes them, without a warning.
    """
    arrays = [np.asarray(x, dtype=np.float64) for x in inputs]
    if tuple(x.shape[-1] if x.ndim in (1, 2) else -1 for x in arrays) != graph.input_sizes:
        raise ValueError(f"inputs of shapes {[x.shape for x in arrays]} do not fit the graph's input sizes {list(graph.input_sizes)}")
    batches = [np.atleast_2d(x) for x in arrays]
    rows = max((x.shape[0] for x in batches), default=1)
    with np.errstate(all="ignore"):
        values = read(graph, FloatReading(), [np.broadcast_to(x, (rows, x.shape[1])) for x in batches])
    if any(x.ndim == 2 for x in arrays):
        return [np.array(np.broadcast_to(v, (rows, v.shape[1]))) for v in values]
    return [np.array(v[0]) for v in values]


def evaluate(graph: Graph, *inputs: Any) -> Floats:
    """Evaluate the first output of ``graph`` in float64: (B, k) for batches (B, m), (k,) for single points; see :func:`evaluate_all`."""
    return evaluate_all(graph, *inputs)[0]
