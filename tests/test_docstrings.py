"""Documentation is enforced: every public name on the three floors says what it is, and names only parameters that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from repository import FLOORS, ROOT, python_files, tree_of

SHORTEST = 15
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Documented]]:
    """The public classes, functions and methods of a module, with dotted names; nested functions are private."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_") and not is_overload(child):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def is_overload(node: ast.AST) -> bool:
    """True for the typing overloads of a function, whose documentation stands at its body."""
    return any(ast.unparse(d).endswith("overload") for d in getattr(node, "decorator_list", []))


def parameters(node: Documented) -> set[str]:
    """Names that a docstring's Parameters section may list: arguments, or a class's fields and constructor arguments."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        a = node.args
        return {arg.arg for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, *([a.vararg] if a.vararg else []), *([a.kwarg] if a.kwarg else [])]}
    fields = {c.target.id for c in node.body if isinstance(c, ast.AnnAssign) and isinstance(c.target, ast.Name)}
    built = [parameters(c) for c in node.body if isinstance(c, ast.FunctionDef) and c.name == "__init__"]
    return fields.union(*built)


def listed(doc: str) -> set[str]:
    """Names in the numpydoc section Parameters."""
    section = re.search(r"^Parameters\n-{3,}\n(.*?)(?=^\w[^\n]*\n-{3,}$|\Z)", doc, re.S | re.M)
    heads = re.findall(r"^(\*{0,2}\w+(?:, *\*{0,2}\w+)*)(?: *:.*)?$", section.group(1), re.M) if section else []
    return {name.strip(" *") for head in heads for name in head.split(",")}


def faults(tree: ast.Module) -> Iterator[str]:
    """Sentences about missing, empty or stale docstrings."""
    for name, node in [("module", tree), *public(tree)]:
        doc = ast.get_docstring(node) or ""
        summary = doc.split("\n\n")[0].strip()
        if len(summary) < (1 if "." in name else SHORTEST) or summary[-1] not in ".:?":
            yield f"{name}: the first paragraph of its docstring is missing, shorter than {SHORTEST} characters, or no sentence"
        if not isinstance(node, ast.Module) and (stale := listed(doc) - parameters(node)):
            yield f"{name}: its docstring lists {sorted(stale)}, which are no parameters"


@pytest.mark.parametrize("source", [
    "x = 1", '"""Short."""', '"""A module that ends without a stop"""',
    '"""A module with a bare function."""\ndef f():\n    pass',
    '"""A module with a bare method."""\nclass A:\n    """A class that holds one method."""\n    def f(self):\n        return 1',
    ('"""A module with a stale parameter."""\ndef f(a):\n    """Return the argument unchanged.\n\n    Parameters\n    ----------\n'
     '    b : int\n        Gone.\n    """\n'),
])
def test_the_reader_sees_each_fault(source):
    assert list(faults(ast.parse(source)))


def test_the_reader_lets_good_documentation_pass():
    source = ('"""A module with one function."""\ndef f(a, b):\n    """Return the sum of both arguments.\n\n    Parameters\n    ----------\n'
              '    a, b : int\n        Terms.\n\n    Returns\n    -------\n    total : int\n        Sum.\n    """\n')
    assert list(faults(ast.parse(source))) == []


@pytest.mark.parametrize("path", [p for p in python_files(*FLOORS) if p.name != "__init__.py" or p.read_text(encoding="utf-8").strip()],
                         ids=lambda p: p.relative_to(ROOT).as_posix())
def test_public_names_are_documented(path):
    assert list(faults(tree_of(path))) == []
