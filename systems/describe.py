"""A plant.json as text for people: signals, limits, parameters and equations; needs the standard library only."""

from __future__ import annotations

from collections import Counter
from typing import Any

_LEAVES = ("x", "u", "p", "c")
_INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}


def equations(data: dict[str, Any]) -> list[str]:
    """The equations of a plant.json as lines of infix text; a long term that is used twice gets a line ``t1 = ...`` of its own."""
    uses = Counter(a for op, *args in data["nodes"] if op not in _LEAVES for a in (args[:1] if op == "pow" else args))
    uses.update(data["outputs"])
    written: list[tuple[str, int]] = []  # formula and how tightly it binds: 1 sum, 2 product, 3 anything else
    lines: list[str] = []

    def wrapped(index: int, tightness: int) -> str:
        formula, binds = written[index]
        return formula if binds >= tightness else f"({formula})"

    for k, (op, *args) in enumerate(data["nodes"]):
        if op in ("x", "u"):
            item = data["states" if op == "x" else "inputs"][args[0]]["name"], 3
        elif op in _LEAVES:
            item = args[0], 3 if op == "p" or args[0].isdigit() else 1
        elif op in _INFIX:
            sign, binds = _INFIX[op]
            item = f"{wrapped(args[0], binds)} {sign} {wrapped(args[1], binds + (op in ('sub', 'div')))}", binds
        elif op == "neg":
            item = f"-{wrapped(args[0], 2)}", 1
        elif op == "pow":
            item = f"{wrapped(args[0], 3)}^{args[1]}", 3
        else:
            item = f"{op}({', '.join(written[a][0] for a in args)})", 3
        if uses[k] > 1 and len(item[0]) > 24:
            lines.append(f"t{len(lines) + 1} = {item[0]}")
            item = f"t{len(lines)}", 3
        written.append(item)
    mark = "+" if data["time"] == "discrete" else "'"
    return lines + [f"{state['name']}{mark} = {written[k][0]}" for state, k in zip(data["states"], data["outputs"], strict=True)]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else f"[{value[0]}, {value[1]}] (unknown constant)"


def describe(data: dict[str, Any]) -> str:
    """Describe the content of a plant.json: name, time, states, inputs with limits, parameters, equilibrium, domain, equations."""
    discrete = data["time"] == "discrete"
    lines = [f"{data['name']}: {data['time']} time" + (f", dt = {data['dt'] or 'not stated'}" if discrete else "")]
    for i, state in enumerate(data["states"]):
        angle = ", angle" if state["angle"] else ""
        lo, hi, rest = data["domain"]["lo"][i], data["domain"]["hi"][i], data["equilibrium"]["x"][i]
        lines.append(f"  state      {state['name']} [{state['unit']}{angle}], equilibrium {rest}, domain [{lo}, {hi}]")
    for i, channel in enumerate(data["inputs"]):
        lo, hi = channel["lo"] or "-inf", channel["hi"] or "inf"
        lines.append(f"  input      {channel['name']} [{channel['unit']}], equilibrium {data['equilibrium']['u'][i]}, clipped to [{lo}, {hi}]")
    lines += [f"  parameter  {p['name']} = {_value(p['value'])} [{p['unit']}]" for p in data["parameters"]]
    lines += [f"  equation   {line}" for line in equations(data)]
    return "\n".join([*lines, f"  reference  {data['reference']}"])
