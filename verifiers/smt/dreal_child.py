"""Program: decide a script in our dReal dialect with dReal's Python binding; ``dreal_child.py INPUTS PRECISION`` answers as external.py says.

The binding has no SMT-LIB reader of its own, so the few commands that ``smtlib.py`` writes are read here.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

TOKEN = re.compile(r"[()]|[^\s()]+")


def expressions(text: str) -> Iterator[list[Any]]:
    """The commands of a script as nested lists of words."""
    stack: list[list[Any]] = [[]]
    for line in text.splitlines():
        for word in TOKEN.findall(line.partition(";")[0]):
            if word == "(":
                stack.append([])
            elif word == ")":
                done = stack.pop()
                stack[-1].append(done)
                if len(stack) == 1:
                    yield stack[0].pop()
            else:
                stack[-1].append(word)


class Reader:
    """Turns nested lists into dReal's expressions and formulas."""

    def __init__(self, dreal: Any) -> None:
        self.dreal, self.variables = dreal, dict[str, Any]()
        d = dreal
        self.functions: dict[str, Any] = {
            "+": lambda *a: functools.reduce(lambda p, q: p + q, a), "*": lambda *a: functools.reduce(lambda p, q: p * q, a),
            "-": lambda a: -a, "/": lambda a, b: a / b, "^": lambda a, k: d.pow(a, k), "max": d.Max, "min": d.Min, "abs": abs,
            "<=": lambda a, b: a <= b, "<": lambda a, b: a < b, "=": lambda a, b: a == b, "and": d.And, "or": d.Or,
            **{name: getattr(d, name) for name in ("sin", "cos", "tanh", "exp", "log", "sqrt", "atan")}}

    def read(self, item: Any) -> Any:
        """An expression or a formula."""
        if isinstance(item, list):
            return self.functions[item[0]](*map(self.read, item[1:]))
        if item in self.variables:
            return self.dreal.Expression(self.variables[item])
        if item in ("true", "false"):
            return self.dreal.Formula.TRUE() if item == "true" else self.dreal.Formula.FALSE()
        number = float(item)
        if Fraction(number) != Fraction(item):
            raise ValueError(f"float64 cannot hold {item}")
        return self.dreal.Expression(number)


def main() -> None:
    """Read, decide, answer."""
    import dreal

    text, inputs, precision = sys.stdin.read(), int(sys.argv[1]), float(sys.argv[2])
    reader, context = Reader(dreal), dreal.Context()
    context.config.precision = precision
    context.SetLogic(dreal.Logic.QF_NRA)
    verdict, box = "unknown", None
    for command, *rest in expressions(text):
        if command == "declare-fun":
            reader.variables[rest[0]] = dreal.Variable(rest[0])
            context.DeclareVariable(reader.variables[rest[0]])
        elif command == "assert":
            context.Assert(reader.read(rest[0]))
        elif command == "check-sat":
            box = context.CheckSat()
            verdict = "unsat" if box is None else "delta-sat"
        elif command != "set-logic":
            raise ValueError(f"the command {command} is not read here")
    lines = [f"script {hashlib.sha256(text.encode()).hexdigest()}", verdict]
    if box is not None:
        for i in range(inputs):
            interval = box[reader.variables[f"x{i}"]]
            lines.append(f"x {i} {Fraction(interval.lb())} {Fraction(interval.ub())}")
    sys.stdout.write("\n".join([*lines, "end", ""]))


if __name__ == "__main__":
    main()
