r"""The graph differentiated: gradients and Lie derivatives as graphs again.

Reverse mode: the adjoint of a node is the sum, over its users, of the user's adjoint times the user's partial derivative.

**Convention at kinks.**  The derivative of relu is the graph ``step``, which is 0 for z <= 0 and 1 for z >= 2**-1074, hence
exact at every float64 z; relu, abs, leaky_relu, min and max are built on it (:func:`_step`).  At a kink it yields one
element of Clarke's generalized gradient of that operation (0 for relu and abs, alpha for leaky_relu, the second argument of
a tie of min or max); the composition of such choices need not be a Clarke gradient of the whole function, and reading
the graph in intervals encloses all of them.  Elsewhere the derivative is the true one.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from verifiers.kernel.graph import Affine, Builder, Graph, Node, affine_from_rational


class GraphError(ValueError):
    """A graph that cannot be differentiated: not scalar, sizes that do not fit, or an operator without a rule."""


def _scalar(b: Builder, value: int | Fraction) -> int:
    return b.const([Fraction(value)])


def _step(b: Builder, z: int) -> int:
    """1 where ``z >= 2**-1074``, 0 where ``z <= 0``, without overflow: ``min(relu(z), 1)`` grown twice by ``2**537``."""
    one, gain = _scalar(b, 1), _scalar(b, 2**537)
    out = b.binary("min", b.unary("relu", z), one)
    for _ in range(2):
        out = b.binary("min", b.binary("mul", gain, out), one)
    return out


def _over_one(b: Builder, z: int) -> int:
    return b.binary("div", _scalar(b, 1), z)


def _square_plus_one(b: Builder, z: int) -> int:
    return b.binary("add", b.unary("pow", z, 2), _scalar(b, 1))


# op -> (builder, argument x, value y) -> node of dy/dx
_SLOPE: dict[str, Callable[[Builder, int, int], int]] = {
    "tanh": lambda b, x, y: b.binary("sub", _scalar(b, 1), b.unary("pow", y, 2)),
    "sigmoid": lambda b, x, y: b.binary("mul", y, b.unary("sigmoid", b.unary("neg", x))),
    "softplus": lambda b, x, y: b.unary("sigmoid", x),
    "sin": lambda b, x, y: b.unary("cos", x),
    "cos": lambda b, x, y: b.unary("neg", b.unary("sin", x)),
    "exp": lambda b, x, y: y,
    "log": lambda b, x, y: _over_one(b, x),
    "sqrt": lambda b, x, y: b.binary("div", _scalar(b, Fraction(1, 2)), y),
    "atan": lambda b, x, y: _over_one(b, _square_plus_one(b, x)),
    "relu": lambda b, x, y: _step(b, x),
    "abs": lambda b, x, y: b.binary("sub", _step(b, x), _step(b, b.unary("neg", x))),
}


def _unary(b: Builder, node: Node, x: int, y: int, adjoint: int) -> int:
    """Adjoint of the argument of an elementwise function."""
    if node.op == "neg":
        return b.unary("neg", adjoint)
    if node.op == "pow":
        if node.data <= 1:
            return adjoint if node.data == 1 else b.binary("mul", _scalar(b, 0), adjoint)
        slope = b.binary("mul", _scalar(b, node.data), b.unary("pow", x, node.data - 1))
    elif node.op == "leaky_relu":
        slope = b.binary("add", _scalar(b, node.data), b.binary("mul", _scalar(b, 1 - node.data), _step(b, x)))
    elif node.op in _SLOPE:
        slope = _SLOPE[node.op](b, x, y)
    else:
        raise GraphError(f"{node.op} cannot be differentiated; write the function with the operators of verifiers.kernel.graph")
    return b.binary("mul", adjoint, slope)


def _binary(b: Builder, node: Node, p: int, q: int, y: int, adjoint: int) -> tuple[int, int]:
    """Adjoints of the two arguments of an elementwise operation."""
    if node.op == "add":
        return adjoint, adjoint
    if node.op == "sub":
        return adjoint, b.unary("neg", adjoint)
    if node.op == "mul":
        return b.binary("mul", adjoint, q), b.binary("mul", adjoint, p)
    if node.op == "div":
        left = b.binary("div", adjoint, q)
        return left, b.unary("neg", b.binary("mul", left, y))
    if node.op in ("min", "max"):
        share = _step(b, b.binary("sub", *((p, q) if node.op == "max" else (q, p))))
        left = b.binary("mul", adjoint, share)
        return left, b.binary("sub", adjoint, left)
    raise GraphError(f"{node.op} cannot be differentiated; write the function with the operators of verifiers.kernel.graph")


def _transposed(data: Affine) -> Affine:
    rows, size = data.weight.shape
    if data.exact is not None:
        return affine_from_rational([[data.exact[0][i][j] for i in range(rows)] for j in range(size)], [Fraction(0)] * size)
    return Affine(np.ascontiguousarray(data.weight.T), np.zeros(size))


def _scattered(index: tuple[int, ...], size: int) -> Affine:
    """Transpose of a selection."""
    weight = np.zeros((size, len(index)))
    weight[index, range(len(index))] = 1.0
    return Affine(weight, np.zeros(size))


def _pull(b: Builder, node: Node, args: list[int], y: int, adjoint: int) -> list[int]:
    """Adjoints that a node with value ``y`` hands to its arguments."""
    if node.op == "affine":
        return [b.affine(adjoint, _transposed(node.data))]
    if node.op == "take":
        return [b.affine(adjoint, _scattered(node.data, b.size(args[0])))]
    if node.op == "concat":
        ends = np.cumsum([b.size(a) for a in args]).tolist()
        return [b.take(adjoint, range(end - b.size(a), end)) for a, end in zip(args, ends, strict=True)]
    if len(args) == 2:
        return list(_binary(b, node, args[0], args[1], y, adjoint))
    return [_unary(b, node, args[0], y, adjoint)]


def gradient(graph: Graph) -> Graph:
    r"""Differentiate a scalar graph with respect to each of its inputs.

    .. math:: x \mapsto \nabla V(x)

    Parameters
    ----------
    graph : Graph
        V: its first output has size 1.  Any operators.

    Returns
    -------
    Graph
        The same inputs; the k-th output is the gradient with respect to the k-th input, of that input's size, in the unit of V per unit of x.

    Raises
    ------
    GraphError
        When the output is not scalar, or a node has an operator without a rule.

    Notes
    -----
    Direction: none, the derivative is exact where V is differentiable; see the module for kinks.  Where a function has no finite derivative
    (sqrt at 0) the graph divides by zero there, which every reading reports in its own way.
    """
    b, _, slopes = _differentiated(graph)
    return b.build(slopes)


def value_and_gradient(graph: Graph) -> Graph:
    """The graph of a scalar function and of its gradients: as :func:`gradient`, with the value as the first output."""
    b, value, slopes = _differentiated(graph)
    return b.build([value, *slopes])


def _differentiated(graph: Graph) -> tuple[Builder, int, list[int]]:
    """A builder that holds the function and its gradients, and their nodes."""
    if graph.output_size() != 1:
        raise GraphError(f"gradient: the output has size {graph.output_size()}, and only a scalar function has a gradient")
    b = Builder()
    inputs = [b.input(size) for size in graph.input_sizes]
    # every node is an output, so inline returns where each one went
    at = b.inline(Graph(graph.nodes, graph.input_sizes, tuple(range(len(graph.nodes)))), inputs)
    adjoint = {graph.outputs[0]: _scalar(b, 1)}
    found: dict[int, int] = {}
    for k in range(graph.outputs[0], -1, -1):
        node = graph.nodes[k]
        if k not in adjoint or node.op == "const":
            continue
        if node.op == "input":
            found[node.data] = adjoint[k]
            continue
        for a, part in zip(node.args, _pull(b, node, [at[a] for a in node.args], at[k], adjoint[k]), strict=True):
            adjoint[a] = b.binary("add", adjoint[a], part) if a in adjoint else part
    slopes = [found[i] if i in found else b.const([Fraction(0)] * size) for i, size in enumerate(graph.input_sizes)]
    return b, at[graph.outputs[0]], slopes


def lie_derivative(v: Graph, f: Graph) -> Graph:
    r"""Build the derivative of V along trajectories of x' = f(x).

    .. math:: x \mapsto \nabla V(x) \cdot f(x)

    Parameters
    ----------
    v : Graph
        V: one input (n,), first output of size 1.
    f : Graph
        Closed loop: one input (n,), first output (n,).

    Returns
    -------
    Graph
        One input (n,), one output of size 1, in the unit of V per second.

    Raises
    ------
    GraphError
        When the sizes do not fit, or as :func:`gradient`.

    Notes
    -----
    Direction: none; where V has kinks the value belongs to one generalized gradient (see the module), which proves nothing about decrease there.
    """
    if not (len(v.input_sizes) == 1 and f.input_sizes == v.input_sizes and f.output_size() == v.input_sizes[0]):
        raise GraphError(f"lie_derivative: V has inputs {list(v.input_sizes)}, the dynamics map {list(f.input_sizes)} to {f.output_size()}; "
                         "both must have the one input of the states")
    b = Builder()
    x = b.input(v.input_sizes[0])
    product = b.binary("mul", b.inline(gradient(v), [x])[0], b.inline(f, [x])[0])
    return b.build([b.affine(product, Affine(np.ones((1, b.size(product))), np.zeros(1)))])
