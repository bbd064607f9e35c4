r"""A graph with the same values and fewer nodes: linear parts are merged into exact affine maps, and constants are folded.

Every entry of a node is kept as an exact linear form over entries of earlier nodes that are not linear.  The result is for searches: a kernel reads
the graph that it was given.  Direction: exact, both graphs have the same value at every point (an unknown constant stays one node).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.codes import Refusal
from verifiers.kernel.exact import ExactReading
from verifiers.kernel.graph import Builder, Graph, Node, affine_from_rational, read

MOST = 200_000
"""Products of coefficients that one merge may take; a larger one stays an affine node of its own."""


@dataclass(frozen=True, eq=False)
class Form:
    """``bias + sum_k weight_k y_k`` over nodes k of the new graph: object arrays of rationals, bias (m,) and weights (m, size of k)."""

    bias: Any
    parts: dict[int, Any]

    @property
    def size(self) -> int:
        """Entries."""
        return len(self.bias)


class _Forms:
    """Reading of a graph as linear forms; what is not linear becomes a node of the builder."""

    def __init__(self) -> None:
        self.builder, self.exact = Builder(), ExactReading()

    def atom(self, index: int) -> Form:
        size = self.builder.size(index)
        return Form(np.array([Fraction(0)] * size, dtype=object), {index: _identity(size)})

    def node(self, form: Form) -> int:
        """A node of the builder with the form's values."""
        b = self.builder
        parts = [(k, w, np.flatnonzero((w != 0).any(axis=0)).tolist()) for k, w in form.parts.items()]
        parts = [(k, w, used) for k, w, used in parts if used]
        if not parts:
            return b.const([Fraction(v) for v in form.bias])
        if len(parts) == 1 and not form.bias.any():
            k, w, _ = parts[0]
            rows = [np.flatnonzero(row).tolist() for row in w]
            if all(len(r) == 1 and row[r[0]] == 1 for r, row in zip(rows, w, strict=True)):
                return b.take(k, [r[0] for r in rows])
        x = b.concat([b.take(k, used) for k, _, used in parts])
        return b.affine(x, affine_from_rational(np.concatenate([w[:, used] for _, w, used in parts], axis=1).tolist(), form.bias.tolist()))

    def const(self, node: Node) -> Form:
        try:
            return Form(self.exact.const(node), {})
        except Refusal:  # an unknown constant
            return self.atom(self.builder.const(node.data))

    def affine(self, node: Node, x: Form) -> Form:
        weight, bias = node.data.weight, node.data.bias
        nonzero = int(np.count_nonzero(weight))
        if any(nonzero * w.shape[1] > MOST and not _is_selection(w) for w in x.parts.values()) or weight.size > MOST:
            return self.atom(self.builder.affine(self.node(x), node.data))
        rows, constant = (np.array(t, dtype=object).reshape(shape) for t, shape in zip(node.data.rational(), (weight.shape, bias.shape), strict=True))
        return Form(_times(rows, x.bias) + constant, {k: _times(rows, w) for k, w in x.parts.items()})

    def unary(self, node: Node, x: Form) -> Form:
        if node.op == "neg":
            return Form(-x.bias, {k: -w for k, w in x.parts.items()})
        if not x.parts:
            try:
                return Form(self.exact.unary(node, x.bias), {})
            except Refusal:  # no rational value
                pass
        return self.atom(self.builder.unary(node.op, self.node(x), node.data))

    def binary(self, node: Node, a: Form, b: Form) -> Form:
        if node.op in ("add", "sub"):
            sign = 1 if node.op == "add" else -1
            parts = dict(a.parts)
            for k, w in b.parts.items():
                parts[k] = parts[k] + sign * w if k in parts else sign * w
            return Form(a.bias + sign * b.bias, parts)
        if node.op == "mul" and not (a.parts and b.parts):
            factor, other = (a, b) if not a.parts else (b, a)
            return Form(factor.bias * other.bias, {k: factor.bias[:, None] * w for k, w in other.parts.items()})
        if node.op == "div" and not b.parts and b.bias.all():
            return Form(a.bias / b.bias, {k: w / b.bias[:, None] for k, w in a.parts.items()})
        if not a.parts and not b.parts:
            try:
                return Form(self.exact.binary(node, a.bias, b.bias), {})
            except Refusal:
                pass
        return self.atom(self.builder.binary(node.op, self.node(a), self.node(b)))

    def take(self, node: Node, x: Form) -> Form:
        at = list(node.data)
        return Form(x.bias[at], {k: w[at] for k, w in x.parts.items()})

    def concat(self, node: Node, parts: Sequence[Form]) -> Form:
        def weight(part: Form, k: int) -> Any:
            return part.parts[k] if k in part.parts else np.full((part.size, self.builder.size(k)), Fraction(0), dtype=object)

        keys = dict.fromkeys(k for part in parts for k in part.parts)
        return Form(np.concatenate([part.bias for part in parts]), {k: np.concatenate([weight(part, k) for part in parts]) for k in keys})


def _identity(size: int) -> Any:
    eye = np.full((size, size), Fraction(0), dtype=object)
    np.fill_diagonal(eye, Fraction(1))
    return eye


def _is_selection(weight: Any) -> bool:
    nonzero = weight != 0
    return bool((nonzero.sum(axis=1) <= 1).all())


def _times(rows: Any, x: Any) -> Any:
    """Exact product; a selection is picked instead of multiplied."""
    if x.ndim == 2 and rows.shape[1] and _is_selection(x):
        out = np.full((rows.shape[0], x.shape[1]), Fraction(0), dtype=object)
        for i, j in zip(*np.nonzero(x), strict=True):
            out[:, j] = out[:, j] + rows[:, i] * x[i, j]
        return out
    used = np.flatnonzero((x != 0).any(axis=1) if x.ndim == 2 else x != 0)
    if not used.size:
        return np.full((rows.shape[0], *x.shape[1:]), Fraction(0), dtype=object)
    return rows[:, used] @ x[used]


def simplified(graph: Graph) -> Graph:
    """The same function with merged linear parts.

    Parameters
    ----------
    graph : Graph
        One input (n,).

    Returns
    -------
    Graph
        One output vector equal to the first output of ``graph`` at every point, exactly; the graph itself where that does not get smaller.
    """
    forms = _Forms()
    x = forms.atom(forms.builder.input(graph.input_sizes[0]))
    try:
        found = forms.builder.build([forms.node(read(graph, forms, [x])[0])])
    except Refusal:  # a merged coefficient beyond every float64
        return graph
    return found if len(found.nodes) < len(graph.nodes) else graph
