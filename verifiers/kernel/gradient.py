r"""Gradients of smooth graphs as graphs, by reverse mode.

The adjoint of a node is the sum, over its users, of the user's adjoint times the user's partial derivative.  Every rule below is an identity
between real numbers wherever the node is differentiable, and divides by zero, or takes a root or a logarithm of what has none, where it is not:
so what a reading encloses is the gradient, and where there is none it has no finite enclosure.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.graph import Affine, Builder, Graph, Node, affine_from_rational

Pull = Callable[[Builder, Node, list[int], int, int], list[int]]
"""From a node, the places of its arguments, of its value and of its adjoint in a builder: the adjoints that it hands to its arguments."""


def scalar(b: Builder, value: int | Fraction) -> int:
    """A constant of size 1."""
    return b.const([Fraction(value)])


def _square_plus_one(b: Builder, z: int) -> int:
    return b.binary("add", b.unary("pow", z, 2), scalar(b, 1))


# op -> (builder, argument x, value y) -> node of dy/dx
SLOPES: dict[str, Callable[[Builder, int, int], int]] = {
    "tanh": lambda b, x, y: b.binary("sub", scalar(b, 1), b.unary("pow", y, 2)),
    "sigmoid": lambda b, x, y: b.binary("mul", y, b.unary("sigmoid", b.unary("neg", x))),
    "softplus": lambda b, x, y: b.unary("sigmoid", x),
    "sin": lambda b, x, y: b.unary("cos", x),
    "cos": lambda b, x, y: b.unary("neg", b.unary("sin", x)),
    "exp": lambda b, x, y: y,
    "log": lambda b, x, y: b.binary("div", scalar(b, 1), x),
    "sqrt": lambda b, x, y: b.binary("div", scalar(b, Fraction(1, 2)), y),
    "atan": lambda b, x, y: b.binary("div", scalar(b, 1), _square_plus_one(b, x)),
}


def transposed(data: Affine) -> Affine:
    """``Wᵀ`` without a bias."""
    rows, size = data.weight.shape
    if data.exact is not None:
        return affine_from_rational([[data.exact[0][i][j] for i in range(rows)] for j in range(size)], [Fraction(0)] * size)
    return Affine(np.ascontiguousarray(data.weight.T), np.zeros(size))


def scattered(index: tuple[int, ...], size: int) -> Affine:
    """Transpose of a selection; an entry that was picked twice gets both adjoints."""
    weight = np.zeros((size, len(index)))
    weight[index, range(len(index))] = 1.0
    return Affine(weight, np.zeros(size))


def pull(b: Builder, node: Node, args: list[int], y: int, adjoint: int) -> list[int]:
    """Adjoints that a smooth node hands to its arguments.

    Raises
    ------
    Refusal
        ``UNSUPPORTED`` for an operator without a rule, one with a kink for instance.
    """
    x = args[0]
    if node.op == "affine":
        return [b.affine(adjoint, transposed(node.data))]
    if node.op == "take":
        return [b.affine(adjoint, scattered(node.data, b.size(x)))]
    if node.op == "concat":
        ends = np.cumsum([b.size(a) for a in args]).tolist()
        return [b.take(adjoint, range(end - b.size(a), end)) for a, end in zip(args, ends, strict=True)]
    if node.op == "neg":
        return [b.unary("neg", adjoint)]
    if node.op in ("add", "sub"):
        return [adjoint, adjoint if node.op == "add" else b.unary("neg", adjoint)]
    if node.op == "mul":
        return [b.binary("mul", adjoint, args[1]), b.binary("mul", adjoint, x)]
    if node.op == "div":
        left = b.binary("div", adjoint, args[1])
        return [left, b.unary("neg", b.binary("mul", left, y))]
    if node.op == "pow":
        power = b.unary("pow", x, max(node.data - 1, 0))
        return [b.binary("mul", adjoint, b.binary("mul", scalar(b, node.data), power))]
    need(node.op in SLOPES, Code.UNSUPPORTED, node.op, "this operator has no derivative here")
    return [b.binary("mul", adjoint, SLOPES[node.op](b, x, y))]


def differentiate(graph: Graph, pull: Pull = pull) -> tuple[Builder, list[int], int, list[int]]:
    r"""Differentiate a scalar graph with respect to each of its inputs: :math:`x \mapsto (V(x), \nabla V(x))`.

    Returns
    -------
    (builder, inputs, value, slopes)
        The builder holds the function and its gradients; their places.  A slope has its input's size.

    Raises
    ------
    Refusal
        ``BAD_SHAPE`` when the output is not scalar; what ``pull`` raises.
    """
    if graph.output_size() != 1:
        raise Refusal(Code.BAD_SHAPE, "gradient", f"the output has size {graph.output_size()}, and only a scalar function has a gradient")
    b = Builder()
    inputs = [b.input(size) for size in graph.input_sizes]
    # every node is an output, so inline returns where each one went
    at = b.inline(Graph(graph.nodes, graph.input_sizes, tuple(range(len(graph.nodes)))), inputs)
    adjoint, found = {graph.outputs[0]: scalar(b, 1)}, dict[int, int]()
    for k in range(graph.outputs[0], -1, -1):
        node = graph.nodes[k]
        if k not in adjoint or node.op == "const":
            continue
        if node.op == "input":
            found[node.data] = adjoint[k]
            continue
        for a, part in zip(node.args, pull(b, node, [at[a] for a in node.args], at[k], adjoint[k]), strict=True):
            adjoint[a] = b.binary("add", adjoint[a], part) if a in adjoint else part
    slopes = [found[i] if i in found else b.const([Fraction(0)] * size) for i, size in enumerate(graph.input_sizes)]
    return b, inputs, at[graph.outputs[0]], slopes
