r"""The graph differentiated: gradients and Lie derivatives as graphs again, kinks included.

Smooth nodes are differentiated by the kernel's own rules (:mod:`verifiers.kernel.gradient`).

**Convention at kinks.**  The derivative of relu is the graph ``step``, which is 0 for z <= 0 and 1 for z >= 2**-1074, hence
exact at every float64 z; relu, abs, leaky_relu, min and max are built on it (:func:`_step`).  At a kink it yields one
element of Clarke's generalized gradient of that operation (0 for relu and abs, alpha for leaky_relu, the second argument of
a tie of min or max); the composition of such choices need not be a Clarke gradient of the whole function, and reading
the graph in intervals encloses all of them.  Elsewhere the derivative is the true one.
"""

from __future__ import annotations

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.gradient import differentiate, pull, scalar
from verifiers.kernel.graph import Affine, Builder, Graph, Node


class GraphError(ValueError):
    """A graph that cannot be differentiated: not scalar, sizes that do not fit, or an operator without a rule."""


def _step(b: Builder, z: int) -> int:
    """1 where ``z >= 2**-1074``, 0 where ``z <= 0``, without overflow: ``min(relu(z), 1)`` grown twice by ``2**537``."""
    one, gain = scalar(b, 1), scalar(b, 2**537)
    out = b.binary("min", b.unary("relu", z), one)
    for _ in range(2):
        out = b.binary("min", b.binary("mul", gain, out), one)
    return out


def _pull(b: Builder, node: Node, args: list[int], y: int, adjoint: int) -> list[int]:
    """Adjoints that a node with value ``y`` hands to its arguments."""
    x = args[0]
    if node.op in ("min", "max"):
        share = _step(b, b.binary("sub", *(args if node.op == "max" else args[::-1])))
        left = b.binary("mul", adjoint, share)
        return [left, b.binary("sub", adjoint, left)]
    if node.op == "relu":
        return [b.binary("mul", adjoint, _step(b, x))]
    if node.op == "abs":
        return [b.binary("mul", adjoint, b.binary("sub", _step(b, x), _step(b, b.unary("neg", x))))]
    if node.op == "leaky_relu":
        slope = b.binary("add", scalar(b, node.data), b.binary("mul", scalar(b, 1 - node.data), _step(b, x)))
        return [b.binary("mul", adjoint, slope)]
    try:
        return pull(b, node, args, y, adjoint)
    except Refusal as no:
        if no.code is not Code.UNSUPPORTED:
            raise
        raise GraphError(f"{node.op} cannot be differentiated; write the function with the operators of verifiers.kernel.graph") from None


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
    b, _, value, slopes = differentiate(graph, _pull)
    return b, value, slopes


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
