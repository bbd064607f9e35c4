"""What a module of the kernel must not contain, read off its syntax tree."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

FORBIDDEN_MODULES = frozenset({
    "asyncio", "concurrent", "ctypes", "datetime", "dbm", "ftplib", "http", "importlib", "marshal", "mmap", "multiprocessing", "pickle", "pkgutil",
    "pty", "random", "runpy", "sched", "secrets", "select", "selectors", "shelve", "signal", "smtplib", "socket", "socketserver", "ssl",
    "subprocess", "telnetlib", "threading", "urllib", "webbrowser", "xmlrpc", "_thread"})
FORBIDDEN_NAMES = frozenset({"eval", "exec", "compile", "__import__", "breakpoint", "input", "globals", "setattr", "delattr", "__debug__"})
FORBIDDEN_ATTRIBUTES = frozenset({
    "system", "popen", "fork", "environ", "getenv", "putenv", "fromfile", "memmap", "time_ns", "monotonic", "seterr", "ctypeslib"})
NUMERIC = frozenset({"round", "float", "int", "abs", "min", "max"})


def kernel_faults(tree: ast.Module) -> Iterator[str]:
    """Sentences about what a kernel module must not contain."""
    for node in ast.walk(tree):
        line = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):
            yield f"{line}: assert vanishes under python -O; raise a Refusal"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (f"{line}: {fault}" for fault in import_faults(node))
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            yield f"{line}: {node.id}"
        elif isinstance(node, ast.Attribute) and (node.attr in FORBIDDEN_ATTRIBUTES or is_other_time(node)):
            yield f"{line}: .{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield f"{line}: allow_pickle"
        elif isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "BaseException"):
            yield f"{line}: a bare except also catches interrupts"
    for scope in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))]:
        yield from clock_faults(scope)


def import_faults(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Imports other than the harmless standard library, NumPy and the kernel itself."""
    if isinstance(node, ast.ImportFrom) and node.level:
        yield "relative import; write the full name"
        return
    for alias in node.names:
        name = alias.name if isinstance(node, ast.Import) else node.module or ""
        top = name.split(".")[0]
        inside = name == "verifiers.kernel" or name.startswith("verifiers.kernel.")
        if top in FORBIDDEN_MODULES or not (inside or top == "numpy" or top in sys.stdlib_module_names):
            yield f"import of {name}"
        if top == "time" and (alias.asname is not None or (isinstance(node, ast.ImportFrom) and alias.name != "perf_counter")):
            yield "of time, only perf_counter under its own name, to report seconds"


def is_other_time(node: ast.Attribute) -> bool:
    """True for ``time.X`` with X other than perf_counter."""
    return isinstance(node.value, ast.Name) and node.value.id == "time" and node.attr != "perf_counter"


def is_clock(value: ast.AST, clock: set[str]) -> bool:
    """True when an expression is a time: perf_counter(), a name that holds one, or arithmetic with one."""
    if isinstance(value, ast.Name):
        return value.id in clock
    if isinstance(value, ast.BinOp):
        return is_clock(value.left, clock) or is_clock(value.right, clock)
    if isinstance(value, ast.UnaryOp):
        return is_clock(value.operand, clock)
    if isinstance(value, ast.Call):
        called = ast.unparse(value.func)
        return called in ("perf_counter", "time.perf_counter") or (called in NUMERIC and any(is_clock(a, clock) for a in value.args))
    return False


def clock_faults(scope: ast.Module | ast.FunctionDef) -> Iterator[str]:
    """Comparisons and branches on a time, within one function or at module level."""
    clock: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                paired = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                pairs = zip(target.elts, node.value.elts, strict=False) if paired else [(target, node.value)]
                clock.update(t.id for t, v in pairs if isinstance(t, ast.Name) and is_clock(v, clock))
    for node in ast.walk(scope):
        whole = node if isinstance(node, ast.Compare) else node.test if isinstance(node, ast.If | ast.While | ast.IfExp) else None
        if whole is not None and any(is_clock(part, clock) for part in ast.walk(whole)):
            yield f"line {node.lineno}: a decision that depends on the clock"
