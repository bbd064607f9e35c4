"""Rules of the house: what the kernel may contain, how large files may be, what no file may hold, what a package carries."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import FLOORS, KERNEL_CAP, ROOT, code_lines, committed_files, kernel_lines, python_files, tree_of

LONGEST_FILE = 450
FORBIDDEN_MODULES = frozenset({
    "asyncio", "concurrent", "ctypes", "datetime", "dbm", "ftplib", "http", "importlib", "marshal", "mmap", "multiprocessing", "pickle", "pkgutil",
    "pty", "random", "runpy", "sched", "secrets", "select", "selectors", "shelve", "signal", "smtplib", "socket", "socketserver", "ssl",
    "subprocess", "telnetlib", "threading", "urllib", "webbrowser", "xmlrpc", "_thread"})
FORBIDDEN_CALLS = frozenset({"eval", "exec", "compile", "__import__", "breakpoint", "input", "globals", "setattr", "delattr"})
FORBIDDEN_ATTRIBUTES = frozenset({
    "system", "popen", "fork", "environ", "getenv", "putenv", "allow_pickle", "fromfile", "memmap", "time_ns", "monotonic", "seterr", "ctypeslib"})
TEXT = frozenset({".py", ".md", ".toml", ".cfg", ".txt", ".json", ".yml", ".yaml", ".sh", ".html", ""})
MACHINE = re.compile(r"(?<![\w.~$}*/-])/(?:work|tmp|root|home|opt|Users)(?=/|\b)|\b(?:pypi|pythonhosted|pytorch)\.org\b")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + r"Error")


def kernel_faults(tree: ast.Module) -> Iterator[str]:
    """Sentences about what a kernel module must not contain."""
    clock: set[str] = set()
    for node in ast.walk(tree):
        line = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):
            yield f"{line}: assert vanishes under python -O; raise a Refusal"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (f"{line}: {fault}" for fault in import_faults(node))
        elif isinstance(node, ast.Name) and (node.id in FORBIDDEN_CALLS or node.id == "__debug__"):
            yield f"{line}: {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            yield f"{line}: .{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield f"{line}: allow_pickle"
        elif isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "BaseException"):
            yield f"{line}: a bare except also catches interrupts"
        elif isinstance(node, ast.Assign | ast.AnnAssign) and reads_clock(node.value, clock):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            clock.update(n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
    for node in ast.walk(tree):
        parts = [node] if isinstance(node, ast.Compare) else [node.test] if isinstance(node, ast.If | ast.While | ast.IfExp) else []
        if any(reads_clock(part, clock) for part in parts):
            yield f"line {node.lineno}: a decision that depends on the clock"


def import_faults(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Imports other than the harmless standard library, NumPy and the kernel itself."""
    if isinstance(node, ast.ImportFrom) and node.level:
        yield "relative import; write the full name"
        return
    for name in [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]:
        top = name.split(".")[0]
        inside = name == "verifiers.kernel" or name.startswith("verifiers.kernel.")
        if top in FORBIDDEN_MODULES or not (inside or top == "numpy" or top in sys.stdlib_module_names):
            yield f"import of {name}"
        if top == "time" and not (isinstance(node, ast.ImportFrom) and {a.name for a in node.names} == {"perf_counter"}):
            yield "of time, only perf_counter (to report seconds) is allowed"


def reads_clock(value: ast.AST | None, clock: set[str]) -> bool:
    """True when an expression contains perf_counter or a name assigned from it."""
    return value is not None and any(isinstance(n, ast.Name) and (n.id == "perf_counter" or n.id in clock) for n in ast.walk(value))


@pytest.mark.threat("T22")
@pytest.mark.parametrize("source", [
    "assert x > 0", "import subprocess", "from threading import Thread", "import scipy.linalg", "from verifiers.smt import search",
    "import verifiers.kernelish", "from . import codes", "import time", "import pickle", "eval('1')", "if __debug__:\n    pass",
    "import os\nos.environ['X']", "import os\nos.system('x')", "import numpy as np\nnp.load('x', allow_pickle=True)",
    "try:\n    pass\nexcept:\n    pass",
    "from time import perf_counter\nif perf_counter() > 3:\n    pass",
    "from time import perf_counter\nstart = perf_counter()\nspent = start - 1\nok = spent < 3",
])
def test_the_rule_book_sees_each_fault(source):
    assert list(kernel_faults(ast.parse(source)))


def test_the_rule_book_lets_the_ordinary_pass():
    source = "import os.path\nimport numpy as np\nfrom time import perf_counter\nfrom verifiers.kernel.codes import Code\n"
    source += "spent = perf_counter()\nif not (1 > 0):\n    raise ValueError\n"
    assert list(kernel_faults(ast.parse(source))) == []


@pytest.mark.threat("T24")
@pytest.mark.threat("T22")
@pytest.mark.parametrize("path", python_files("verifiers/kernel"), ids=lambda p: p.name)
def test_kernel_module_keeps_the_rules(path):
    assert list(kernel_faults(tree_of(path))) == []


def test_counting_ignores_docstrings_comments_and_blanks():
    assert code_lines('"""Doc.\n\nMore.\n"""\n\n# why\nx = (1,\n     2)  # two lines\n\n\ndef f():\n    """Doc."""\n    return "text"\n') == 4


def test_kernel_is_small():
    sizes = kernel_lines()
    print(f"verifiers/kernel: {sum(sizes.values())} lines of code", sizes)
    assert sizes and sum(sizes.values()) <= KERNEL_CAP


@pytest.mark.parametrize("path", python_files(*FLOORS), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_file_fits_in_one_reading(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_no_file_holds_a_machine_path_or_an_unfinished_place():
    faults = []
    for path in committed_files():
        if path.suffix in TEXT and path != Path(__file__).resolve():
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                found = MACHINE.search(line) or (UNFINISHED.search(line) if path.suffix != ".json" else None)
                faults += [f"{path.relative_to(ROOT)}:{number}: {found.group()}"] if found else []
    assert faults == []


@pytest.mark.parametrize(("line", "expected"), [
    ("see /" + "work/main", True), ("open('/" + "tmp/x')", True),
    ("../shared/cases", False), ("a/work/b", False), ("dm/root", False), ("/" + "home/me", True)])
def test_machine_paths_are_recognised(line, expected):
    assert bool(MACHINE.search(line)) is expected


def test_no_pickles_and_no_packages_among_the_tests():
    assert [p.name for p in committed_files() if p.suffix in {".pkl", ".pickle", ".pt", ".pth"}] == []
    assert [p for p in (ROOT / "tests").rglob("__init__.py")] == [], "a package below tests/ would shadow the package that it tests"


@pytest.mark.parametrize("path", [p for p in committed_files() if p.suffix == ".md"], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_between_documents_resolve(path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_every_requirement_of_an_extra_is_pinned():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = "\n".join([config["options"]["install_requires"], *config["options.extras_require"].values()]).split()
    wanted = {re.split(r"[<>=\[]", line)[0].lower() for line in lines} - {"certctl"}
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line}
    assert wanted - pinned - {"setuptools"} == set()
    assert "torch==2.13.0" in lines


def test_every_folder_of_modules_is_a_package():
    assert {p.parent for p in python_files(*FLOORS) if not (p.parent / "__init__.py").exists()} == set()


def test_wheel_carries_every_module_and_data_file(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for path in committed_files():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, stdin=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("certctl-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {p.relative_to(ROOT).as_posix() for p in committed_files() if p.relative_to(ROOT).parts[0] in FLOORS}
    assert wanted - packed == set()
    assert "verifiers/kernel/graph.py" in packed
