"""CasADi's instruction tape as plant.json: ``python -m systems.export`` writes the file of every shipped plant.

An SX expression is a tape of scalar instructions, and plant.json is one too.  Each instruction is copied (or written out
in the operators that plant.json has), equal nodes are shared, unused ones dropped, and the rest numbered by a walk from the
outputs, so that equal expressions give equal bytes whatever order the tape had.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import casadi as ca

import systems
from systems.signals import text

if TYPE_CHECKING:
    from systems.plant import Plant

MAX_POWER = 64
Item = tuple[Any, ...]

_SAME = {ca.OP_ADD: "add", ca.OP_SUB: "sub", ca.OP_DIV: "div", ca.OP_FMIN: "min", ca.OP_FMAX: "max", ca.OP_NEG: "neg",
         ca.OP_FABS: "abs", ca.OP_TANH: "tanh", ca.OP_SIN: "sin", ca.OP_COS: "cos", ca.OP_EXP: "exp", ca.OP_LOG: "log",
         ca.OP_SQRT: "sqrt", ca.OP_ATAN: "atan"}


class ExportError(ValueError):
    """An expression that plant.json cannot hold: an instruction without a rule, or a constant that is not finite."""


class _Nodes:
    """Shared scalar nodes, and the rules for instructions that plant.json does not have."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._known: dict[Item, int] = {}

    def add(self, *item: Any) -> int:
        if item not in self._known:
            self._known[item] = len(self.items)
            self.items.append(item)
        return self._known[item]

    def const(self, value: float | Fraction) -> int:
        if not math.isfinite(value):
            raise ExportError(f"a constant of the expression is {value}; only finite numbers can be exported")
        return self.add("c", text(Fraction(value)))

    def number(self, index: int) -> Fraction | None:
        item = self.items[index]
        return Fraction(item[1]) if item[0] == "c" else None

    def _factor(self, index: int) -> tuple[int, int]:
        item = self.items[index]
        return (item[1], item[2]) if item[0] == "pow" else (index, 1)

    def mul(self, a: int, b: int) -> int:
        """``a * b``, where powers of one base are joined: an enclosure of x^3 is tighter than one of x * x^2."""
        (base, i), (other, j) = self._factor(a), self._factor(b)
        if base == other and self.number(base) is None and i + j <= MAX_POWER:
            return self.add("pow", base, i + j)
        return self.add("mul", a, b)

    def power(self, a: int, exponent: int) -> int:
        k = self.number(exponent)
        if k is None or not (abs(k) <= MAX_POWER and (2 * k == 1 or k.denominator == 1)):
            raise ExportError("pow is exported for constant integer exponents from -64 to 64 and for 1/2 only; rewrite it with exp and log")
        if 2 * k == 1:
            return self.add("sqrt", a)
        whole = a if abs(k) == 1 else self.add("pow", a, abs(int(k)))
        return whole if k >= 0 else self.add("div", self.const(1), whole)


_Rule = Callable[[_Nodes, list[int]], int]
_RULES: dict[int, _Rule] = {
    ca.OP_ASSIGN: lambda n, a: a[0],
    ca.OP_MUL: lambda n, a: n.mul(a[0], a[1]),
    ca.OP_SQ: lambda n, a: n.mul(a[0], a[0]),
    ca.OP_TWICE: lambda n, a: n.add("mul", n.const(2), a[0]),
    ca.OP_INV: lambda n, a: n.add("div", n.const(1), a[0]),
    ca.OP_TAN: lambda n, a: n.add("div", n.add("sin", a[0]), n.add("cos", a[0])),
    ca.OP_LOG1P: lambda n, a: n.add("log", n.add("add", n.const(1), a[0])),
    ca.OP_EXPM1: lambda n, a: n.add("sub", n.add("exp", a[0]), n.const(1)),
    ca.OP_POW: lambda n, a: n.power(a[0], a[1]),
    ca.OP_CONSTPOW: lambda n, a: n.power(a[0], a[1]),
}


def _name_of(code: int) -> str:
    return next((name[3:].lower() for name in dir(ca) if name.startswith("OP_") and getattr(ca, name) == code), str(code))


def _copy(function: ca.Function, kinds: list[Callable[[int], Item]]) -> tuple[list[Item], list[int]]:
    """Copy the tape of an SX function whose k-th input's entry i is the node ``kinds[k](i)``."""
    nodes = _Nodes()
    register: dict[int, int] = {}
    outputs = [-1] * function.nnz_out(0)
    for k in range(function.n_instructions()):
        code, reads, writes = function.instruction_id(k), function.instruction_input(k), function.instruction_output(k)
        if code == ca.OP_OUTPUT:
            outputs[writes[1]] = register[reads[0]]
        elif code == ca.OP_INPUT:
            register[writes[0]] = nodes.add(*kinds[reads[0]](reads[1]))
        elif code == ca.OP_CONST:
            register[writes[0]] = nodes.const(function.instruction_constant(k))
        elif code in _SAME:
            register[writes[0]] = nodes.add(_SAME[code], *(register[r] for r in reads))
        elif code in _RULES:
            register[writes[0]] = _RULES[code](nodes, [register[r] for r in reads])
        else:
            raise ExportError(f"instruction {_name_of(code)!r} cannot be exported to plant.json; rewrite the dynamics without it")
    return nodes.items, outputs


def _arguments(item: Item) -> tuple[int, ...]:
    return () if item[0] in ("x", "u", "p", "c") else item[1:2] if item[0] == "pow" else item[1:]


def _renumbered(items: list[Item], outputs: list[int]) -> tuple[list[list[Any]], list[int]]:
    """Nodes on which the outputs depend, in depth-first order from the first output."""
    new: dict[int, int] = {}
    ordered: list[list[Any]] = []
    stack = list(reversed(outputs))
    while stack:
        index = stack[-1]
        waiting = [a for a in _arguments(items[index]) if a not in new]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        stack.pop()
        if index not in new:
            item, args = items[index], _arguments(items[index])
            ordered.append([item[0], *(new[a] for a in args), *item[1 + len(args):]])
            new[index] = len(ordered) - 1
    return ordered, [new[o] for o in outputs]


def scalar_program(function: ca.Function, names: list[Callable[[int], Item]]) -> tuple[list[list[Any]], list[int]]:
    """Scalar straight-line program of an SX function: nodes in the order of a walk from its first output, and the index of each entry of that.

    Parameters
    ----------
    function : casadi.Function
        Made of SX; its first output counts.
    names : list of callable
        One per input of the function: the node that stands for entry i of that input, for example ``lambda i: ("x", i)``.

    Raises
    ------
    ExportError
        For an instruction without a rule (it is named) or a constant that is not finite.
    """
    return _renumbered(*_copy(function, names))


def program(plant: Plant) -> tuple[list[list[Any]], list[int]]:
    """Scalar straight-line program of a plant: nodes, and the index of each state's right side.

    Raises
    ------
    ExportError
        For an instruction without a rule (it is named) or a constant that is not finite.
    """
    names = [p.name for p in plant.parameters]
    function = ca.Function("f", [plant.x, plant.u, plant.p], [ca.densify(ca.cse(plant.expression))])
    return scalar_program(function, [lambda i: ("x", i), lambda i: ("u", i), lambda i: ("p", names[i])])


def plant_data(plant: Plant) -> dict[str, Any]:
    """Content of a plant's plant.json (format ``certctl-plant/1``, see docs/architecture.md)."""
    nodes, outputs = program(plant)
    frame = f" Frame: {plant.frame}" if plant.frame else ""
    return {
        "format": "certctl-plant/1", "name": plant.name, "time": plant.time, "dt": plant.dt,
        "states": [{"name": s.name, "unit": s.unit, "angle": s.angle} for s in plant.states],
        "inputs": [{"name": s.name, "unit": s.unit, "lo": s.lo, "hi": s.hi} for s in plant.inputs],
        "parameters": [{"name": p.name, "unit": p.unit, "value": p.value if isinstance(p.value, str) else list(p.value)} for p in plant.parameters],
        "equilibrium": {"x": list(plant.equilibrium[0]), "u": list(plant.equilibrium[1])},
        "domain": {"lo": list(plant.domain[0]), "hi": list(plant.domain[1])},
        "nodes": nodes, "outputs": outputs, "reference": plant.reference + frame,
    }


def plant_json(plant: Plant) -> str:
    """A plant's plant.json: ASCII, keys in fixed order, one line per field, signal and parameter."""
    fields = []
    for key, value in plant_data(plant).items():
        if key in ("states", "inputs", "parameters") and value:
            written = "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
        else:
            written = json.dumps(value)
        fields.append(f' "{key}": {written}')
    return "{\n" + ",\n".join(fields) + "\n}\n"


def main(folder: Path | None = None) -> None:
    """Write NAME.plant.json of every shipped plant, by default over the files that are shipped."""
    for name in systems.names():
        shipped = systems.plant_json_path(name)
        path = shipped if folder is None else folder / shipped.name
        path.parent.mkdir(exist_ok=True)
        path.write_text(plant_json(systems.load(name)), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
