"""The graph read as text: one line per node, for eyes and for diffs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from verifiers.kernel.graph import Affine, Graph, Node

FULL = 24  # an affine map with more coefficients is summarised


def _numbers(values: Iterable[object]) -> str:
    return "[" + ", ".join(str(v) for v in values) + "]"


def _affine(data: Affine) -> str:
    rows, size = data.weight.shape
    if rows * size <= FULL:
        weight, bias = data.exact if data.exact is not None else (data.weight.tolist(), data.bias.tolist())
        return f"W = {_numbers(_numbers(row) for row in weight)}, b = {_numbers(bias)}"
    content = repr(data.exact).encode() if data.exact is not None else data.weight.astype("<f8").tobytes() + data.bias.astype("<f8").tobytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return f"W {rows} x {size} in [{data.weight.min():g}, {data.weight.max():g}], b in [{data.bias.min():g}, {data.bias.max():g}], sha256 {digest}"


def _data(node: Node) -> str:
    if node.op == "affine":
        return "  " + _affine(node.data)
    if node.op == "const":
        return "  " + _numbers(lo if lo == hi else f"{lo} .. {hi}" for lo, hi in node.data)
    if node.op == "take":
        return "  " + _numbers(node.data)
    return "" if node.data is None else f"  {node.data}"


def to_text(graph: Graph) -> str:
    """List a graph, one node per line.

    Parameters
    ----------
    graph : Graph
        Any graph.

    Returns
    -------
    str
        Lines ``%index : size = op(%argument, ...)  data`` in the order of the nodes, then ``return %output, ...``.  Constants are
        exact; an unknown constant is written ``lo .. hi``; an affine map of more than ``FULL`` coefficients is given by its
        shape, ranges and the first digits of the sha256 of its coefficients, so that two listings still differ where the
        weights do.
    """
    lines = [f"%{i} : {node.size} = {node.op}({', '.join(f'%{a}' for a in node.args)}){_data(node)}" for i, node in enumerate(graph.nodes)]
    return "\n".join([*lines, "return " + ", ".join(f"%{k}" for k in graph.outputs)]) + "\n"
