"""Every code block of the documentation is run, or says why not; the site builds without a warning; its references are those of the code.

A comment before a block says what becomes of it: ``<!-- run -->`` (``: exit 4``, ``: needs casadi, gcc``), ``<!-- file: NAME -->`` (the block is
written there), or ``<!-- not run: why -->``.  The blocks of a page run in order in one folder, its Python blocks in one program.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from repository import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not any(part.startswith("_") for part in path.relative_to(DOCS).parts))
LANGUAGES = {"sh", "python", "toml", "yaml", "json", "c"}
_BLOCK = re.compile(r"(?:^<!-- (?P<word>run|file|not run)(?:: (?P<more>[^\n]*?))? -->\n)?^```(?P<language>[a-z]+)\n(?P<code>.*?)^```$", re.M | re.S)
_SEPARATOR = "# -- next block --"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and code, and what the comment before it says."""

    language: str
    code: str
    word: str | None
    more: str

    @property
    def needs(self) -> list[str]:
        """Modules and programs without which the block is not run."""
        return self.more.removeprefix("needs ").split(", ") if self.more.startswith("needs ") else []

    @property
    def exit_code(self) -> int:
        """The exit code of the last line of a shell block."""
        return int(self.more.removeprefix("exit ")) if self.more.startswith("exit ") else 0


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page that hold code."""
    found = [Block(m["language"], m["code"], m["word"], m["more"] or "") for m in _BLOCK.finditer(text)]
    return [block for block in found if block.language in LANGUAGES]


def faults(text: str) -> list[str]:
    """Blocks of code that are neither run nor say why not."""
    programs = ("sh", "python")
    return [block.code.splitlines()[0] for block in blocks(text)
            if block.word is None or (block.word != "run" and len(block.more) < 5) or (block.word == "run" and block.language not in programs)]


def absent(names: list[str]) -> str | None:
    """The first of these that is neither a module nor a program here."""
    return next((name for name in names if importlib.util.find_spec(name) is None and shutil.which(name) is None), None)


def run_page(page: list[Block], folder: Path) -> str | None:
    """Run a page's blocks in a folder; return what is absent for the rest, if something is."""
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "bin").mkdir()
    script = folder / "bin" / "certctl"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m certctl "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]), "MPLBACKEND": "Agg",
                   "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    earlier = ""
    for block in page:
        if (missing := absent(block.needs)) is not None:
            return missing
        if block.word == "file":
            path = folder / block.more
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        elif block.word == "run" and block.language == "sh":
            command = "set -e\n" + block.code
            done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == block.exit_code, f"{block.code}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        elif block.word == "run":
            earlier += f"{_SEPARATOR}\n{block.code}\n"
            done = subprocess.run([sys.executable, "-c", earlier], cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
    return None


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_every_block_is_run_or_says_why_not(path):
    text = path.read_text(encoding="utf-8")
    taught = path.relative_to(DOCS).parts[0] in ("start.md", "tutorials", "howto")
    data = [block.code.splitlines()[0] for block in blocks(text) if block.language not in ("sh", "python") and not taught]
    wrong = [line for line in faults(text) if line not in data]  # in reference pages, data that shows a form needs no word
    assert wrong == [], "put <!-- run -->, <!-- file: NAME --> or <!-- not run: why --> before these blocks"


def _runs() -> list[object]:
    """Pages with blocks to run; those whose commands the other tests run too are left to ``make test-slow``."""
    found = []
    for path in PAGES:
        if any(block.word == "run" for block in blocks(path.read_text(encoding="utf-8"))):
            name = path.relative_to(DOCS).as_posix()
            long = name in ("howto/figures.md", "howto/hand_out.md", "tutorials/reading_a_certificate.md")
            found.append(pytest.param(path, id=name, marks=pytest.mark.slow if long else ()))
    return found


@pytest.mark.parametrize("path", _runs())
def test_the_blocks_of_a_page_run(path, tmp_path):
    missing = run_page(blocks(path.read_text(encoding="utf-8")), tmp_path)
    if missing is not None:
        pytest.skip(f"the rest of this page needs {missing}, which is not installed here")


@pytest.mark.parametrize(("text", "count"), [
    ("```sh\nls\n```\n", 1), ("<!-- run -->\n```sh\nls\n```\n", 0), ("<!-- run -->\n```toml\na = 1\n```\n", 1),
    ("<!-- file: -->\n```c\nint x;\n```\n", 1),
    ("<!-- not run: needs GitHub -->\n```yaml\n- a\n```\n", 0), ("```\nplain output\n```\n", 0)])
def test_a_block_without_a_word_is_seen(text, count):
    assert len(faults(text)) == count


def test_a_block_that_fails_is_seen(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(AssertionError, match="exit 1"):
        run_page([Block("sh", "false\n", "run", "")], tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_page([Block("python", "x = 1\n", "run", ""), Block("python", "x / 0\n", "run", "")], tmp_path / "b")
    (tmp_path / "c").mkdir()
    assert run_page([Block("sh", "true\n", "run", "needs no_such_module")], tmp_path / "c") == "no_such_module"


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_name_every_command_code_and_module(tmp_path):
    from certctl.cli.main import app
    from certctl.codes import names

    made = generator()
    commands, codes, api = (path.read_text(encoding="utf-8") for path in made.write_reference(tmp_path / "_generated"))
    assert {f"## {c.name or c.callback.__wrapped__.__name__}" for c in app.registered_commands} <= set(commands.splitlines())
    assert "`-o, --out`" in commands and "| `--kind` |" in commands
    assert {f"## {name}" for name in names()} <= set(codes.splitlines())
    listed = [module for modules in made.MODULES.values() for module in modules]
    assert all(f".. automodule:: {module}" in api and importlib.util.find_spec(module) is not None for module in listed)


def test_every_page_stands_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    trees = re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)
    listed = {line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")}
    folders = {entry.removesuffix("/*") for entry in listed if entry.endswith("/*")}
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES} - {"index"}
    assert {page for page in pages if page not in listed and page.rpartition("/")[0] not in folders} == set()
    assert {entry for entry in listed if not entry.endswith("/*") and not entry.startswith("_generated/")} <= pages


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is not installed here (make docs installs it)")
    for needed in ("myst_parser", "furo"):
        pytest.importorskip(needed, reason=f"{needed} is not installed here (make docs installs it)")
    done = subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)],
                          capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "tutorials" / "stable_baselines3.html").is_file()
    assert "import_policy" in (tmp_path / "_generated" / "api.html").read_text(encoding="utf-8")
