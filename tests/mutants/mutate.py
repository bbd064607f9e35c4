"""Mutants of the kernel: each changes one comparison, rounding, bound, demand or digest in one of its modules.

A mutant is named by its module, the function around it, what it changes and into what, and counted where that occurs more than once, so that
its name outlives changes elsewhere in the file.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

KERNEL = Path(__file__).resolve().parents[2] / "verifiers" / "kernel"
EDGE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITE = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot,
            ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
SWAPPED = {"down": "up", "up": "down", "minimum": "maximum", "maximum": "minimum", "fmin": "fmax", "fmax": "fmin", "min": "max", "max": "min",
           "floor": "ceil", "ceil": "floor", "argmin": "argmax", "argmax": "argmin", "all": "any", "any": "all"}
DROPPED = ("abs",)
BOUNDS = ("U", "TINY", "_SLACK", "gamma", "step", "slack", "ulps")
DIGESTS = ("sha256",)


@dataclass(frozen=True)
class Mutant:
    """One change: module, key, line, and where it is made (node in the order of the walk, number of its change)."""

    module: str
    key: str
    line: int
    index: int
    number: int

    @property
    def name(self) -> str:
        """Module and key."""
        return f"{self.module}.{self.key}"

    def tree(self) -> ast.Module:
        """The changed module."""
        tree = ast.parse(source(self.module))
        _apply(tree, self.index, self.number)
        return tree


Change = tuple[str, str, Callable[[ast.AST], ast.AST]]
"""What stands there, what will stand there, and the change itself."""


def changes(node: ast.AST) -> Iterator[Change]:
    """The mutations of one node."""
    if isinstance(node, ast.Compare):
        for k, op in enumerate(node.ops):
            for table in (EDGE, OPPOSITE):
                if type(op) in table:
                    yield _replaced(node, partial(_other_operator, k, table[type(op)]))
    elif isinstance(node, ast.BoolOp):
        yield _replaced(node, lambda n: setattr(n, "op", ast.And() if isinstance(n.op, ast.Or) else ast.Or()))
    elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield _replaced(node, lambda n: setattr(n, "op", ast.BitOr() if isinstance(n.op, ast.BitAnd) else ast.BitAnd()))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield ast.unparse(node), ast.unparse(node.operand), lambda n: n.operand
    elif _bounds_an_error(node):
        yield ast.unparse(node), "0.0", lambda _: ast.Constant(0.0)
    elif _demands(node):
        yield ast.unparse(node), "pass", lambda _: ast.Pass()
    elif isinstance(node, ast.Call):
        yield from _calls(node)


def _bounds_an_error(node: ast.AST) -> bool:
    """A multiple of a rounding unit, or a small power of two."""
    if not isinstance(node, ast.BinOp):
        return False
    if isinstance(node.op, ast.Mult):
        return any(_names(part) & set(BOUNDS) for part in (node.left, node.right))
    return isinstance(node.op, ast.Pow) and _tiny(node)


def _demands(node: ast.AST) -> bool:
    """A statement that refuses, or that adds to a bound or takes from it."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Add | ast.Sub)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value) in ("need", "_demand", "_seal")


def _other_operator(place: int, kind: type[ast.cmpop], compare: ast.Compare) -> None:
    compare.ops[place] = kind()


def _replaced(node: ast.AST, change: Callable[[ast.AST], object]) -> Change:
    def apply(old: ast.AST) -> ast.AST:
        change(old)
        return old

    return ast.unparse(node), ast.unparse(apply(copy.deepcopy(node))), apply


def _calls(node: ast.Call) -> Iterator[Change]:
    name = _called(node)
    if name in SWAPPED:
        yield _replaced(node, lambda n: _rename(n, SWAPPED[name]))
    if name in DROPPED and len(node.args) == 1:
        yield ast.unparse(node), ast.unparse(node.args[0]), lambda n: n.args[0]
    if name in DIGESTS:
        yield _replaced(node, lambda n: n.args.__setitem__(slice(None), [ast.Constant(b"")]))


def _rename(call: ast.Call, name: str) -> None:
    if isinstance(call.func, ast.Attribute):
        call.func.attr = name
    elif isinstance(call.func, ast.Name):
        call.func.id = name


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _tiny(node: ast.BinOp) -> bool:
    """``2.0**-k`` with k of the size of a rounding or of a least number."""
    base, power = node.left, node.right
    return (isinstance(base, ast.Constant) and base.value == 2.0 and isinstance(power, ast.UnaryOp) and isinstance(power.operand, ast.Constant)
            and power.operand.value >= 32)


def mutants(module: str) -> list[Mutant]:
    """All mutants of a module of the kernel, in the order of its lines."""
    found, seen = [], Counter[str]()
    for index, (place, node) in enumerate(_places(ast.parse(source(module)))):
        for number, (before, after, _) in enumerate(changes(node)):
            key = f"{place}: {before} -> {after}".replace("\n", " ")
            seen[key] += 1
            found.append(Mutant(module, key if seen[key] == 1 else f"{key} #{seen[key]}", getattr(node, "lineno", 0), index, number))
    return found


def source(module: str) -> str:
    """The text of a module."""
    return (KERNEL / f"{module}.py").read_text(encoding="utf-8")


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Every node that runs, with the name of the function around it; annotations, docstrings and data of classes are left out."""
    def walk(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    inner = child.name if isinstance(child, ast.FunctionDef | ast.ClassDef) else ""
                    here = f"{place}.{inner}".strip(".") if inner else place
                    yield here or "module", child
                    yield from walk(child, here)

    yield from walk(tree, "")


def _apply(tree: ast.Module, index: int, number: int) -> None:
    """Change the index-th node of the walk in place, by its parent."""
    target = list(_places(tree))[index][1]
    new = list(changes(target))[number][2](target)
    if new is target:
        return
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, ast.copy_location(new, target))
            elif isinstance(value, list):
                value[:] = [ast.copy_location(new, target) if item is target else item for item in value]
    ast.fix_missing_locations(tree)


def modules() -> list[str]:
    """The modules of the kernel."""
    return sorted(path.stem for path in KERNEL.glob("*.py") if path.stem not in ("__init__", "__main__"))
