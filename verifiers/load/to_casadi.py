"""From the graph to CasADi: the graph read as an expression, for optimal control, simulation and code generation there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from verifiers.kernel.graph import Graph, Node, read


def import_casadi() -> Any:
    """Return the module ``casadi``.

    Raises
    ------
    ImportError
        When CasADi is not installed; the message names the extra that brings it.
    """
    try:
        import casadi
    except ImportError as error:
        raise ImportError(f"expressions of CasADi need {error.name}; pip install certctl[model] brings it", name=error.name) from None
    return casadi


class _CasadiReading:
    """Interpretation in column vectors of CasADi's SX or MX."""

    def __init__(self, ca: Any) -> None:
        self.ca = ca
        self.unaries: dict[str, Callable[[Any], Any]] = {
            "neg": lambda x: -x, "relu": lambda x: ca.fmax(x, 0), "abs": ca.fabs, "tanh": ca.tanh, "sin": ca.sin, "cos": ca.cos, "exp": ca.exp,
            "log": ca.log, "sqrt": ca.sqrt, "atan": ca.atan, "sigmoid": lambda x: 0.5 + 0.5 * ca.tanh(0.5 * x),
            "softplus": lambda x: ca.fmax(x, 0) + ca.log1p(ca.exp(-ca.fabs(x)))}
        self.binaries: dict[str, Callable[[Any, Any], Any]] = {
            "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
            "min": ca.fmin, "max": ca.fmax}

    def const(self, node: Node) -> Any:
        return self.ca.DM([float((lo + hi) / 2) for lo, hi in node.data])

    def affine(self, node: Node, x: Any) -> Any:
        return self.ca.DM(node.data.weight.tolist()) @ x + self.ca.DM(node.data.bias.tolist())

    def unary(self, node: Node, x: Any) -> Any:
        if node.op == "leaky_relu":
            return self.ca.fmax(x, 0) + float(node.data) * self.ca.fmin(x, 0)
        return x**node.data if node.op == "pow" else self.unaries[node.op](x)

    def binary(self, node: Node, a: Any, b: Any) -> Any:
        return self.binaries[node.op](a, b)

    def where(self, node: Node, z: Any, a: Any, b: Any) -> Any:
        return self.ca.if_else(z >= 0, a, b)

    def take(self, node: Node, x: Any) -> Any:
        return self.ca.reshape(x[list(node.data)], node.size, 1)  # one entry, repeated, would be a row

    def concat(self, node: Node, parts: Sequence[Any]) -> Any:
        return self.ca.vertcat(*parts)


def to_casadi(graph: Graph, name: str = "f", inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> Any:
    """Read a graph as a function of CasADi.

    Parameters
    ----------
    graph : Graph
        The graph; an interval constant is read as its midpoint.
    name : str
        The function's name: letters, digits and underscores, beginning with a letter.
    inputs, outputs : sequence of str, optional
        Names of its arguments and results; default ``x0 x1 ...`` and ``y0 y1 ...``.

    Returns
    -------
    casadi.Function
        One column vector per input and output of the graph, as an MX function: matrices stay matrices.

    Raises
    ------
    ImportError
        When CasADi is not installed.

    Notes
    -----
    Direction: none; values carry rounding errors.
    """
    ca = import_casadi()
    symbols = [ca.MX.sym(f"x{k}", size) for k, size in enumerate(graph.input_sizes)]
    values = [ca.densify(ca.MX(v)) for v in read(graph, _CasadiReading(ca), symbols)]
    given = list(inputs) if inputs is not None else [f"x{k}" for k in range(len(symbols))]
    found = list(outputs) if outputs is not None else [f"y{k}" for k in range(len(values))]
    return ca.Function(name, symbols, values, given, found)
