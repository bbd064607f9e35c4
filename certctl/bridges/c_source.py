r"""A graph as C99: values in double, and enclosures whose ends are moved outward after every operation.

The code of a node is one call or loop over the entries of its vector; sizes are known when it is written, so there is no allocation, no
recursion and no array of variable length.  Numbers are hexadecimal, which the C standard reads exactly.

Theorem (docs/theory/monitor.md).  Let the machine compute ``+ - * / sqrt`` in binary64, rounded to nearest, with subnormal numbers.  Then for every
array x of finite doubles the enclosure [lo, hi] that the code computes for a node contains the node's exact real value, or lo or hi is NaN.
Direction: over-approximation.  The functions tanh, exp, … are those of :mod:`verifiers.kernel.elementary`, operation by operation, with the error
bounds derived there; the C library's are not used below 2**20 (its sin and cos, beyond that, for commands only).

References
----------
.. [1] N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, section 2.2 (the model of rounding used for the steps outward).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from importlib.resources import files
from string import Template
from typing import Any

from verifiers.kernel import elementary
from verifiers.kernel.graph import Affine, Graph, Node, read
from verifiers.kernel.rational import down, up

_LINE = 120
_TABLES: dict[str, Any] = {
    "TANH": elementary._TANH[:1281], "EXP2": elementary._EXP2, "LOG": elementary._LOG, "ATAN": elementary._ATAN, "SIN": elementary._SIN}


def number(value: float) -> str:
    """A finite double as a hexadecimal constant of C."""
    return float(value).hex()


def listing(values: Iterable[float], indent: str = "    ") -> str:
    """Numbers between braces, broken into lines."""
    lines, line = [], indent
    for text in map(number, values):
        if len(line) + len(text) > _LINE:
            lines.append(line.rstrip())
            line = indent
        line += f"{text}, "
    return "{\n" + "\n".join([*lines, line.rstrip().rstrip(",")]) + "}"


def _constants() -> dict[str, str]:
    e = elementary
    plain = {"grid": e._64THS, "ones": e._ONES, "top": e._TOP, "per_ln2": 1 / (e._LN2_HIGH + e._LN2_LOW), "ln2_high": e._LN2_HIGH,
             "ln2_low": e._LN2_LOW, "ln2_128_high": 128 * e._LN2_HIGH, "ln2_128_low": 128 * e._LN2_LOW, "half_pi": e._HALF_PI,
             "per_pi": 32 / e._HALF_PI, "pi_high": e._PI_HIGH, "pi_middle": e._PI_MIDDLE, "pi_low": e._PI_LOW, "per_turn": 0.25 / e._HALF_PI}
    series = {"tanh_series": (-17 / 315, 2 / 15, -1 / 3), "exp_series": (1 / 120, 1 / 24, 1 / 6, 1 / 2), "log_series": (1 / 448, 1 / 80, 1 / 12),
              "atan_series": (-1 / 7, 1 / 5, -1 / 3), "sine_series": (-1 / 5040, 1 / 120, -1 / 6), "cosine_series": (-1 / 720, 1 / 24, -1 / 2)}
    return {**{key: number(value) for key, value in plain.items()},
            **{key: ", ".join(map(number, values)) for key, values in series.items()}}


def library(needed: Iterable[str]) -> str:
    """The functions of that name and what they call, each once, in an order that C accepts.

    Parameters
    ----------
    needed : iterable of str
        Names of blocks of ``templates/arithmetic.c``.

    Returns
    -------
    str
        C definitions, tables first.
    """
    text = (files("certctl.bridges") / "templates" / "arithmetic.c").read_text(encoding="utf-8")
    blocks = {}
    for name, deps, body in re.findall(r"/\*@ (\w+)(?: : ([\w ]+))? \*/\n(.*?)(?=/\*@|\Z)", text, re.S):
        blocks[name] = deps.split(), body.strip()
    wanted: set[str] = set()

    def add(name: str) -> None:
        if name not in wanted:
            wanted.add(name)
            for other in blocks[name][0] if name in blocks else ():
                add(other)

    for name in needed:
        add(name)
    parts = [f"static const double {name}[{len(table)}] = {listing(table)};" for name, table in _TABLES.items() if name in wanted]
    code = "\n\n".join(body for name, (_, body) in blocks.items() if name in wanted)
    return "\n\n".join([*parts, Template(code).substitute(_constants())]) if parts or code else ""


class _Writing:
    """A reading of the graph whose values are names of C arrays; ``needs`` collects the blocks of the library that are called."""

    kind = "double"

    def __init__(self, prefix: str) -> None:
        self.prefix, self.lines, self.tables = prefix, list[str](), list[str]()
        self.needs, self.count, self.bytes = set[str](), 0, 0

    def _table(self, values: Sequence[float], tag: str) -> str:
        name = f"{self.prefix}_{tag}{len(self.tables)}"
        self.tables.append(f"static const double {name}[{len(values)}] = {listing(values)};")
        return name

    def _array(self, size: int) -> str:
        name = f"v{self.count}"
        self.count += 1
        self.bytes += size * (8 if self.kind == "double" else 16)
        self.lines.append(f"    {self.kind} {name}[{size}];")
        return name

    def _loop(self, size: int, text: Callable[[str], str]) -> str:
        name = self._array(size)
        self.lines.append(f"    {name}[0] = {text('0')};" if size == 1 else f"    for (int i = 0; i < {size}; ++i)\n        {name}[i] = {text('i')};")
        return name

    def take(self, node: Node, x: str) -> str:
        """Entries by index."""
        name = self._array(node.size)
        self.lines += [f"    {name}[{k}] = {x}[{i}];" for k, i in enumerate(node.data)]
        return name

    def concat(self, node: Node, parts: Sequence[str]) -> str:
        """Vectors end to end."""
        name, start = self._array(node.size), 0
        for part, size in zip(parts, self.sizes[node], strict=True):
            self.lines += [f"    {name}[{start + k}] = {part}[{k}];" for k in range(size)]
            start += size
        return name

    def _use(self, name: str) -> str:
        self.needs.add(name.removesuffix("_point"))
        return name

    sizes: dict[Node, list[int]]

    def write(self, graph: Graph, head: str, inputs: Sequence[str], output: str) -> str:
        """A static function with that head, whose inputs are arrays, and which stores the first output in ``output``."""
        self.sizes = {node: [graph.nodes[a].size for a in node.args] for node in graph.nodes}
        out = read(graph, self, inputs)[0]
        size = graph.output_size()
        stores = [f"    for (int i = 0; i < {size}; ++i)\n        {output}[i] = {out}[i];"]
        return "\n".join([*self.tables, *([""] if self.tables else []), head, "{", *self.lines, *stores, "}"])


class PointWriting(_Writing):
    """The graph in double: sums in the order of the entries, functions within the bounds of :mod:`verifiers.kernel.elementary`.

    Direction: none; values carry rounding errors, and an unknown constant is read as its midpoint.
    """

    def const(self, node: Node) -> str:
        """Midpoints."""
        return self._table([float((lo + hi) / 2) for lo, hi in node.data], "c")

    def affine(self, node: Node, x: str) -> str:
        """``W x + b``."""
        data: Affine = node.data
        weight, bias = self._table(data.weight.ravel().tolist(), "w"), self._table(data.bias.tolist(), "b")
        name, (rows, columns) = self._array(node.size), data.weight.shape
        self.lines.append(f"    {self._use('affine_point')}({weight}, {bias}, {x}, {rows}, {columns}, {name});")
        return name

    def unary(self, node: Node, x: str) -> str:
        """An elementwise function."""
        more = f", {number(float(node.data))}" if node.op == "leaky_relu" else f", {node.data}" if node.op == "pow" else ""
        call = self._use(f"{node.op}_point")
        return self._loop(node.size, lambda i: f"{call}({x}[{i}]{more})")

    def binary(self, node: Node, a: str, b: str) -> str:
        """An elementwise operation."""
        sign = {"add": "+", "sub": "-", "mul": "*", "div": "/"}.get(node.op)
        call = "" if sign else self._use(f"{node.op}_point")
        return self._loop(node.size, lambda i: f"{a}[{i}] {sign} {b}[{i}]" if sign else f"{call}({a}[{i}], {b}[{i}])")


class EnclosedWriting(_Writing):
    """The graph in enclosures of its exact real value; see the theorem above.

    Direction: over-approximation.  A rational without an exact double is the interval between its neighbours, an unknown constant its bounds.
    """

    kind = "enclosure"

    def _ends(self, lows: Sequence[Fraction], highs: Sequence[Fraction], tag: str) -> tuple[str, str]:
        low, high = [down(q) for q in lows], [up(q) for q in highs]
        name = self._table(low, f"{tag}l")
        return name, name if low == high else self._table(high, f"{tag}h")

    def const(self, node: Node) -> str:
        """The ends of each constant, rounded outward."""
        low, high = self._ends([lo for lo, _ in node.data], [hi for _, hi in node.data], "c")
        call = self._use("between")
        return self._loop(node.size, lambda i: f"{call}({low}[{i}], {high}[{i}])")

    def affine(self, node: Node, x: str) -> str:
        """``W x + b`` with the coefficients' exact values enclosed."""
        rows, shift = node.data.rational()
        flat = [q for row in rows for q in row]
        (wl, wh), (bl, bh) = self._ends(flat, flat, "w"), self._ends(shift, shift, "b")
        name = self._array(node.size)
        self.lines.append(f"    {self._use('affine_enclosed')}({wl}, {wh}, {bl}, {bh}, {x}, {len(rows)}, {len(rows[0])}, {name});")
        return name

    def unary(self, node: Node, x: str) -> str:
        """An elementwise function."""
        more = ""
        if node.op == "leaky_relu":
            more = f", {self._use('between')}({number(down(node.data))}, {number(up(node.data))})"
        elif node.op == "pow":
            more = f", {node.data}"
        call = self._use(f"{node.op}_enclosed")
        return self._loop(node.size, lambda i: f"{call}({x}[{i}]{more})")

    def binary(self, node: Node, a: str, b: str) -> str:
        """An elementwise operation."""
        call = self._use(f"{node.op}_enclosed")
        return self._loop(node.size, lambda i: f"{call}({a}[{i}], {b}[{i}])")


