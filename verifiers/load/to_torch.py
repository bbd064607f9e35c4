"""From the graph to PyTorch: the graph read as a differentiable function, for learners and gradient searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from verifiers.kernel.graph import Graph, Node, read
from verifiers.load.torch_module import import_torch


class _TorchReading:
    """Interpretation in tensors (..., m); the numbers of a node are the buffers of ``module`` that carry its index."""

    def __init__(self, torch: Any, module: Any, graph: Graph, rows: Sequence[int]) -> None:
        self.torch, self.module, self.graph, self.rows = torch, module, graph, rows
        self.index = {node: i for i, node in enumerate(graph.nodes)}
        self.varying: set[int] = set()  # nodes that depend on an input; only the others lack the batch's dimensions
        for i, node in enumerate(graph.nodes):
            if node.op == "input" or self.varying.intersection(node.args):
                self.varying.add(i)
        self.unaries: dict[str, Callable[[Any], Any]] = {
            "neg": torch.neg, "relu": torch.relu, "abs": torch.abs, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "sin": torch.sin,
            "cos": torch.cos, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "atan": torch.atan,
            "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x))}
        self.binaries: dict[str, Callable[[Any, Any], Any]] = {
            "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "min": torch.minimum, "max": torch.maximum}

    def number(self, name: str, node: Node) -> Any:
        return self.module.get_buffer(f"{name}{self.index[node]}")

    def const(self, node: Node) -> Any:
        return self.number("const", node)

    def affine(self, node: Node, x: Any) -> Any:
        return x @ self.number("weight", node).T + self.number("bias", node)

    def unary(self, node: Node, x: Any) -> Any:
        if node.op == "leaky_relu":
            return self.torch.nn.functional.leaky_relu(x, float(node.data))
        return x**node.data if node.op == "pow" else self.unaries[node.op](x)

    def binary(self, node: Node, a: Any, b: Any) -> Any:
        return self.binaries[node.op](a, b)

    def where(self, node: Node, z: Any, a: Any, b: Any) -> Any:
        return self.torch.where(z >= 0, a, b)

    def take(self, node: Node, x: Any) -> Any:
        return x[..., self.number("take", node)]

    def concat(self, node: Node, parts: Sequence[Any]) -> Any:
        if self.index[node] in self.varying:
            parts = [self.batched(a, part) for a, part in zip(node.args, parts, strict=True)]
        return self.torch.cat(list(parts), dim=-1)

    def batched(self, index: int, value: Any) -> Any:
        """The value of a node with the batch's dimensions."""
        return value if index in self.varying else value.expand(*self.rows, self.graph.nodes[index].size)


def to_torch(graph: Graph) -> Any:
    """Read a graph as a differentiable module of PyTorch in float64.

    Parameters
    ----------
    graph : Graph
        The graph; an interval constant is read as its midpoint.

    Returns
    -------
    torch.nn.Module
        ``module(*inputs)`` takes one tensor (..., n_i) per input of the graph, all with the same leading dimensions, and returns the output
        (..., m), or a tuple when the graph has several outputs.  The numbers of the graph are buffers (not trained): ``weight7`` and ``bias7``
        belong to node 7.

    Raises
    ------
    ImportError
        When PyTorch is not installed.

    Notes
    -----
    Direction: none; values carry rounding errors.  At a kink, PyTorch's choice of subgradient applies.
    """
    torch = import_torch()

    def double(values: Any) -> Any:
        return torch.tensor(values, dtype=torch.float64)

    class GraphModule(torch.nn.Module):  # type: ignore[misc, name-defined]  # a class of a lazily imported module
        """The graph as a module."""

        def __init__(self) -> None:
            super().__init__()
            for i, node in enumerate(graph.nodes):
                if node.op == "affine":
                    self.register_buffer(f"weight{i}", double(node.data.weight))
                    self.register_buffer(f"bias{i}", double(node.data.bias))
                elif node.op == "const":
                    self.register_buffer(f"const{i}", double([float((lo + hi) / 2) for lo, hi in node.data]))
                elif node.op == "take":
                    self.register_buffer(f"take{i}", torch.tensor(node.data))

        def forward(self, *inputs: Any) -> Any:
            """Evaluate the graph."""
            reading = _TorchReading(torch, self, graph, inputs[0].shape[:-1])  # made here, so that the module can be copied
            values = [reading.batched(i, v) for i, v in zip(graph.outputs, read(graph, reading, inputs), strict=True)]
            return values[0] if len(values) == 1 else tuple(values)

    return GraphModule()
