"""A graph as readable Python: one line per node, with NumPy or PyTorch, so that the exported file needs nothing of certctl.

The numbers are written in full (``repr`` of a float is exact), and rows are points: every function takes (..., n) and returns (..., m).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verifiers.kernel.graph import Graph, Node, read

_LINE = 130


@dataclass(frozen=True)
class Dialect:
    """How a library is imported, writes an array, joins arrays, and names what differs."""

    imports: str
    array: str
    joined: str
    names: dict[str, str]


NUMPY = Dialect("import numpy as np", "np.array({0})", """\
def _joined(*parts):
    rows = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return np.concatenate([np.broadcast_to(part, (*rows, part.shape[-1])) for part in parts], axis=-1)
""", {
    "relu": "np.maximum({0}, 0.0)", "abs": "np.abs({0})", "tanh": "np.tanh({0})", "sin": "np.sin({0})", "cos": "np.cos({0})", "exp": "np.exp({0})",
    "log": "np.log({0})", "sqrt": "np.sqrt({0})", "atan": "np.arctan({0})", "sigmoid": "0.5 + 0.5 * np.tanh(0.5 * {0})",
    "softplus": "np.logaddexp({0}, 0.0)", "min": "np.minimum({0}, {1})", "max": "np.maximum({0}, {1})"})
TORCH = Dialect("import torch", "torch.tensor({0}, dtype=torch.float64)", """\
def _joined(*parts):
    rows = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*rows, part.shape[-1]) for part in parts], dim=-1)
""", {
    "relu": "torch.relu({0})", "abs": "torch.abs({0})", "tanh": "torch.tanh({0})", "sin": "torch.sin({0})", "cos": "torch.cos({0})",
    "exp": "torch.exp({0})", "log": "torch.log({0})", "sqrt": "torch.sqrt({0})", "atan": "torch.atan({0})", "sigmoid": "torch.sigmoid({0})",
    "softplus": "torch.logaddexp({0}, torch.zeros_like({0}))", "min": "torch.minimum({0}, {1})", "max": "torch.maximum({0}, {1})"})
_SIGNS = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}"}


class PythonWriting:
    """A reading of the graph whose values are names of Python variables; an unknown constant is read as its midpoint."""

    def __init__(self, dialect: Dialect, prefix: str) -> None:
        self.dialect, self.prefix = dialect, prefix
        self.tables, self.lines = list[str](), list[str]()

    def _table(self, values: object) -> str:
        name = f"_{self.prefix}_{len(self.tables)}"
        self.tables.append(f"{name} = {self.dialect.array.format(_wrapped(repr(values)))}")
        return name

    def _let(self, text: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"    {name} = {text}")
        return name

    def const(self, node: Node) -> str:
        """A constant vector."""
        return self._table([float((lo + hi) / 2) for lo, hi in node.data])

    def affine(self, node: Node, x: str) -> str:
        """``x W' + b``, rows are points."""
        return self._let(f"{x} @ {self._table(node.data.weight.tolist())}.T + {self._table(node.data.bias.tolist())}")

    def unary(self, node: Node, x: str) -> str:
        """An elementwise function."""
        if node.op == "leaky_relu":
            relu = self.dialect.names["relu"]
            return self._let(f"{relu.format(x)} - {float(node.data)!r} * {relu.format(f'(-{x})')}")
        return self._let(f"{x}**{node.data}" if node.op == "pow" else {**_SIGNS, **self.dialect.names}[node.op].format(x))

    def binary(self, node: Node, a: str, b: str) -> str:
        """An elementwise operation."""
        return self._let({**_SIGNS, **self.dialect.names}[node.op].format(a, b))

    def take(self, node: Node, x: str) -> str:
        """Entries by index."""
        return self._let(f"{x}[..., {list(node.data)!r}]")

    def concat(self, node: Node, parts: Sequence[str]) -> str:
        """Vectors end to end; leading dimensions are repeated where one is a constant."""
        return self._let(f"_joined({', '.join(parts)})")


def python_function(graph: Graph, name: str, arguments: Sequence[str], dialect: Dialect, doc: str) -> str:
    """Source of a function that evaluates the first output of a graph.

    Parameters
    ----------
    graph : Graph
        Any graph; an interval constant is read as its midpoint.
    name : str
        The function's name.
    arguments : sequence of str
        One name per input of the graph, an array (..., n_i) each.
    dialect : Dialect
        ``NUMPY`` or ``TORCH``.
    doc : str
        One sentence.

    Returns
    -------
    str
        Tables and definition; the module needs ``dialect.imports`` and ``dialect.joined`` above.

    Notes
    -----
    Direction: none; float64 with the library's own functions.
    """
    writing = PythonWriting(dialect, name)
    result = read(graph, writing, list(arguments))[0]
    tables = "".join(f"{table}\n" for table in writing.tables)
    return f'{tables}\n\ndef {name}({", ".join(arguments)}):\n    """{doc}"""\n' + "\n".join([*writing.lines, f"    return {result}"]) + "\n"


def _wrapped(text: str) -> str:
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + len(word) > _LINE:
            lines.append(line)
            line = "    "
        line += word if line in ("", "    ") else f" {word}"
    return "\n".join([*lines, line])
