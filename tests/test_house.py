"""Rules of the house: what the kernel may contain, how large files may be, what no file may hold, what a package carries."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from kernel_rules import kernel_faults
from repository import FLOORS, KERNEL_CAP, ROOT, code_lines, committed_files, kernel_lines, python_files, tree_of

LONGEST_FILE = 450
TEXT = frozenset({".py", ".md", ".toml", ".cfg", ".txt", ".json", ".yml", ".yaml", ".sh", ".html", ""})
MACHINE = re.compile(r"(?<![\w.~$}*/-])/(?:work|tmp|root|home|opt|Users)(?=/|\b)|\b(?:pypi|pythonhosted|pytorch)\.org\b")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + r"Error")


@pytest.mark.threat("T22")
@pytest.mark.parametrize("source", [
    "assert x > 0", "import subprocess", "from threading import Thread", "import scipy.linalg", "from verifiers.smt import search",
    "import verifiers.kernelish", "from . import codes", "import pickle", "eval('1')", "if __debug__:\n    pass",
    "import os\nos.environ['X']", "import os\nos.system('x')", "import numpy as np\nnp.load('x', allow_pickle=True)",
    "try:\n    pass\nexcept:\n    pass", "import time\ntime.time()", "import time as t", "from time import time",
    "from time import perf_counter as now",
    "from time import perf_counter\nif perf_counter() > 3:\n    pass", "import time\nslow = time.perf_counter() > 3",
    "from time import perf_counter\ndef f():\n    start = perf_counter()\n    spent = round(start - 1)\n    return spent < 3",
    "import time\ndef f():\n    n, start = 1, time.perf_counter()\n    return 1 if start else 2",
])
def test_the_rule_book_sees_each_fault(source):
    assert list(kernel_faults(ast.parse(source)))


def test_the_rule_book_lets_the_ordinary_pass():
    source = "import os.path\nimport numpy as np\nfrom time import perf_counter\nfrom verifiers.kernel.codes import Code\n"
    source += "def f(n):\n    began, m = perf_counter(), 2\n    n.seconds = perf_counter() - began\n    return n.seconds if m > 1 else n\n"
    source += "if not (1 > 0):\n    raise ValueError\n"
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
