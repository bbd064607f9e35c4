"""The one graph: a directed acyclic graph of vector nodes, and how a reading walks it.

A closed loop, a controller, a plant or a Lyapunov function is a :class:`Graph`.  Every consumer is an
*interpretation* (a reading): an object with one method per kind of node, handed to :func:`read`.

Node kinds (``n`` is the node's size, arguments are indices of earlier nodes):

* ``input``: ``data = position`` among the graph's inputs
* ``const``: ``data = ((lo, hi), ...)`` pairs of exact rationals; an unknown constant lies between them
* ``affine``: ``data = Affine(W, b)``: ``y = W x + b``
* ``add sub mul div min max``: two arguments of one size, elementwise
* ``neg relu abs tanh sigmoid softplus sin cos exp log sqrt atan``: one argument, elementwise
* ``leaky_relu``: ``data = alpha`` (exact rational, 0 <= alpha <= 1)
* ``pow``: ``data = k`` (integer, 0 <= k <= 64)
* ``take``: ``data = (i, ...)`` picks (and may repeat) entries
* ``concat``: any number of arguments
* ``where``: z, a, b of one size, elementwise: a where z > 0, b where z < 0, and **either** where z = 0, so that its graph is closed although it
  jumps.  A reading that has no rule for it is refused
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from verifiers.kernel.codes import Code, Refusal, need

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Interval = tuple[Fraction, Fraction]

BINARY = frozenset({"add", "sub", "mul", "div", "min", "max"})
UNARY = frozenset({"neg", "relu", "abs", "tanh", "sigmoid", "softplus", "sin", "cos", "exp", "log", "sqrt", "atan", "leaky_relu", "pow"})
NONSMOOTH = frozenset({"relu", "abs", "leaky_relu", "min", "max"})
MAX_NODES = 100_000
MAX_POWER = 64


@dataclass(frozen=True, eq=False)
class Affine:
    r"""Coefficients of :math:`y = W x + b` with exact meaning.

    ``weight`` (k, m) and ``bias`` (k,) are float64.  If ``exact`` is None they *are* the coefficients; otherwise
    ``exact = (W, b)`` holds the rational coefficients and ``weight_radius``, ``bias_radius`` bound the distance.
    """

    weight: Floats
    bias: Floats
    weight_radius: Floats | None = None
    bias_radius: Floats | None = None
    exact: tuple[tuple[tuple[Fraction, ...], ...], tuple[Fraction, ...]] | None = None

    def rational(self) -> tuple[tuple[tuple[Fraction, ...], ...], tuple[Fraction, ...]]:
        """Return ``(W, b)`` as exact rationals (a float64 is the dyadic rational that it is)."""
        if self.exact is not None:
            return self.exact
        return (tuple(tuple(Fraction(float(w)) for w in row) for row in self.weight),
                tuple(Fraction(float(c)) for c in self.bias))


def affine_from_rational(weight: Sequence[Sequence[Fraction]], bias: Sequence[Fraction]) -> Affine:
    """Make an :class:`Affine` from rational coefficients, float64 where exact, midpoint and radius elsewhere.

    Raises
    ------
    Refusal
        ``BAD_GRAPH`` for a coefficient beyond every float64.
    """
    exact = (tuple(tuple(row) for row in weight), tuple(bias))
    try:
        mid_w, gap_w = (np.array([[of(w) for w in row] for row in weight], dtype=np.float64).reshape(len(bias), -1) for of in (float, radius_of))
        mid_b, gap_b = (np.array([of(c) for c in bias], dtype=np.float64) for of in (float, radius_of))
    except OverflowError:
        raise Refusal(Code.BAD_GRAPH, "affine", "a coefficient is too large for float64") from None
    rounded = gap_w.any() or gap_b.any()
    return Affine(mid_w, mid_b, gap_w, gap_b, exact) if rounded else Affine(mid_w, mid_b)


def radius_of(q: Fraction) -> float:
    """Upper bound of ``|q - float(q)|``, zero when the float is exact."""
    gap = abs(q - Fraction(float(q)))
    return 0.0 if gap == 0 else float(np.nextafter(float(gap), np.inf))


@dataclass(frozen=True, eq=False)
class Node:
    """One vector node: operator, arguments (indices of earlier nodes), size, and the operator's data."""

    op: str
    args: tuple[int, ...]
    size: int
    data: Any = None


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order, the sizes of the inputs, and the indices of the output nodes."""

    nodes: tuple[Node, ...]
    input_sizes: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def is_smooth(self) -> bool:
        """True when no node has a kink or jumps (then second derivatives exist wherever all values are finite)."""
        return not any(node.op in NONSMOOTH or node.op == "where" for node in self.nodes)

    def output_size(self, k: int = 0) -> int:
        """Size of the k-th output."""
        return self.nodes[self.outputs[k]].size


class Builder:
    """Builds a :class:`Graph` node by node; each method checks sizes and returns the node's index.

    Structurally equal nodes are shared, so a sub-term is evaluated once; unknown constants (lo < hi) and affine maps never are.
    A node that cannot be is refused with ``BAD_GRAPH`` at ``place``: wrong sizes, unknown operator, a number that is not finite.
    """

    def __init__(self, place: str = "graph") -> None:
        self.place = place
        self._nodes: list[Node] = []
        self._input_sizes: list[int] = []
        self._known: dict[Any, int] = {}

    def size(self, index: int) -> int:
        """Size of a node already added."""
        return self._nodes[index].size

    def need(self, condition: object, message: str) -> None:
        """Refuse with ``BAD_GRAPH`` unless the condition holds."""
        need(condition, Code.BAD_GRAPH, self.place, message)

    def _append(self, op: str, args: tuple[int, ...], size: int, data: Any = None) -> int:
        self.need(all(0 <= a < len(self._nodes) for a in args), f"{op}: argument refers to a node that does not exist")
        self.need(len(self._nodes) < MAX_NODES, f"more than {MAX_NODES} nodes")
        self.need(size >= 1, f"{op}: empty vector")
        # two unknown constants with the same bounds are still two: shared, their difference would cancel
        if op == "affine" or (op == "const" and any(lo < hi for lo, hi in data)):
            self._nodes.append(Node(op, args, size, data))
            return len(self._nodes) - 1
        if (op, args, data) not in self._known:
            self._known[op, args, data] = len(self._nodes)
            self._nodes.append(Node(op, args, size, data))
        return self._known[op, args, data]

    def input(self, size: int) -> int:
        """Add the next input vector."""
        self._input_sizes.append(size)
        return self._append("input", (), size, len(self._input_sizes) - 1)

    def const(self, values: Sequence[Fraction | Interval]) -> int:
        """Add a constant vector of rationals, or of pairs (lo, hi) for unknown constants."""
        data = tuple(v if isinstance(v, tuple) else (v, v) for v in values)
        self.need(all(lo <= hi for lo, hi in data), "const: an interval has lo > hi")
        return self._append("const", (), len(data), data)

    def affine(self, x: int, data: Affine) -> int:
        """Add ``W x + b``."""
        shapes = data.weight.shape, data.bias.shape
        self.need(shapes == ((len(data.bias), self.size(x)), (len(data.bias),)), f"affine: {shapes} do not fit input {self.size(x)}")
        self.need(np.isfinite(data.weight).all() and np.isfinite(data.bias).all(), "affine: a weight is NaN or infinite")
        return self._append("affine", (x,), len(data.bias), data)

    def binary(self, op: str, a: int, b: int) -> int:
        """Add an elementwise operation of two vectors of one size (a vector of size 1 is repeated)."""
        n = max(self.size(a), self.size(b))
        a, b = (self.take(v, (0,) * n) if self.size(v) == 1 else v for v in (a, b))
        self.need(op in BINARY and self.size(a) == self.size(b), f"{op}: unknown operator, or sizes differ")
        return self._append(op, (a, b), n)

    def unary(self, op: str, a: int, data: Any = None) -> int:
        """Add an elementwise function; ``data`` is alpha of ``leaky_relu`` (rational) or k of ``pow``."""
        powers, slopes = isinstance(data, int) and 0 <= data <= MAX_POWER, isinstance(data, Fraction) and 0 <= data <= 1
        fits = powers if op == "pow" else slopes if op == "leaky_relu" else data is None
        self.need(op in UNARY and fits, f"{op}: unknown operator, or {data} is no power between 0 and {MAX_POWER} or slope between 0 and 1")
        return self._append(op, (a,), self.size(a), data)

    def where(self, z: int, a: int, b: int) -> int:
        """Add ``a`` where z >= 0, ``b`` elsewhere; a reading must allow for both where z = 0."""
        self.need(self.size(z) == self.size(a) == self.size(b), "where: sizes differ")
        return self._append("where", (z, a, b), self.size(z))

    def take(self, a: int, index: Sequence[int]) -> int:
        """Pick entries by non-negative index, repeats allowed."""
        index = tuple(index)
        self.need(all(0 <= i < self.size(a) for i in index), "take: index outside the vector")
        return a if index == tuple(range(self.size(a))) else self._append("take", (a,), len(index), index)

    def concat(self, args: Sequence[int]) -> int:
        """Join vectors end to end."""
        return args[0] if len(args) == 1 else self._append("concat", tuple(args), sum(self.size(a) for a in args))

    def clip(self, x: int, lo: Sequence[Fraction | Interval | None], hi: Sequence[Fraction | Interval | None]) -> int:
        """Add ``min(max(x, lo), hi)`` entry by entry; ``None`` leaves that side free."""
        parts = []
        for i, (low, high) in enumerate(zip(lo, hi, strict=True)):
            part = self.take(x, (i,))
            part = part if low is None else self.binary("max", part, self.const([low]))
            parts.append(part if high is None else self.binary("min", part, self.const([high])))
        return self.concat(parts)

    def inline(self, graph: Graph, inputs: Sequence[int]) -> list[int]:
        """Copy ``graph`` with its inputs bound to nodes of this builder; return the indices of its outputs."""
        sizes = tuple(self.size(i) for i in inputs)
        self.need(sizes == graph.input_sizes, f"inputs of sizes {sizes} where {graph.input_sizes} are expected")
        at: list[int] = []
        for node in graph.nodes:
            args = tuple(at[a] for a in node.args)
            at.append(inputs[node.data] if node.op == "input" else self._append(node.op, args, node.size, node.data))
        return [at[k] for k in graph.outputs]

    def build(self, outputs: Sequence[int]) -> Graph:
        """Return the graph of the nodes on which ``outputs`` depend (every input is kept)."""
        needed = set(outputs)
        for i in range(len(self._nodes) - 1, -1, -1):
            if i in needed:
                needed.update(self._nodes[i].args)
        keep = [i for i, node in enumerate(self._nodes) if i in needed or node.op == "input"]
        new = {old: k for k, old in enumerate(keep)}
        nodes = tuple(Node(n.op, tuple(new[a] for a in n.args), n.size, n.data) for n in (self._nodes[i] for i in keep))
        return Graph(nodes, tuple(self._input_sizes), tuple(new[o] for o in outputs))


def read(graph: Graph, reading: Any, inputs: Sequence[Any]) -> list[Any]:
    """Interpret ``graph``: walk the nodes once in order and return the outputs' values.

    A reading has one method per kind of node: ``const(node)``, ``affine(node, x)``, ``unary(node, x)``, ``binary(node, a, b)``,
    ``take(node, x)`` and ``concat(node, parts)``; ``where(node, z, a, b)`` only where it can, else such a graph is refused with ``UNSUPPORTED``.
    Values whose last use has passed are dropped, so memory stays that of the widest cut.
    """
    last = {a: i for i, node in enumerate(graph.nodes) for a in node.args}
    last.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    value: dict[int, Any] = {}
    for i, node in enumerate(graph.nodes):
        kind = "binary" if node.op in BINARY else "unary" if node.op in UNARY else node.op
        args: list[Any] = [value[a] for a in node.args]
        need(kind == "input" or hasattr(reading, kind), Code.UNSUPPORTED, node.op, "a comparison makes this jump, which is not read here")
        value[i] = inputs[node.data] if kind == "input" else getattr(reading, kind)(node, *([args] if kind == "concat" else args))
        for a in set(node.args):
            if last[a] == i:
                del value[a]
    return [value[o] for o in graph.outputs]
