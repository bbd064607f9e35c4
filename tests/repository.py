"""What the house tests read: files of the repository, lines of code, and what the tests say that they meet."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("systems", "verifiers", "certctl")
KERNEL = ROOT / "verifiers" / "kernel"
KERNEL_CAP = 4350
"""Hard cap of the kernel's lines of code, the measured size rounded up (docs/decisions/0004-kernel-size.md says why it is not 1,500)."""


def python_files(*folders: str) -> list[Path]:
    """Python files below the given folders of the repository, sorted."""
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def committed_files() -> list[Path]:
    """Files that git knows or would add; without git, every file outside hidden and build folders."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
        files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        files = [p for p in ROOT.rglob("*") if not any(part in ("build", "dist") or part.startswith(".") for part in p.relative_to(ROOT).parts)]
    return sorted(p for p in files if p.is_file())


def tree_of(path: Path) -> ast.Module:
    """Syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def docstring_lines(tree: ast.Module) -> set[int]:
    """Line numbers that docstrings occupy, strings below an assignment or field included."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def code_lines(source: str) -> int:
    """Lines of code: lines that hold a token and are neither blank, nor comment, nor docstring."""
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in empty:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(source)))


def kernel_lines() -> dict[str, int]:
    """Lines of code of each kernel module."""
    return {p.relative_to(KERNEL).as_posix(): code_lines(p.read_text(encoding="utf-8")) for p in sorted(KERNEL.rglob("*.py"))}


def threats_met(source: str) -> set[str]:
    """Ids given to ``pytest.mark.threat(...)`` anywhere in a test file."""
    calls = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "threat")
    return {a.value for call in calls for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}


def codes_met(source: str, codes: frozenset[str]) -> set[str]:
    """Refusal codes that a test file names, as ``Code.NAME`` or as the string ``"NAME"`` (a comment does not count)."""
    tree = ast.parse(source)
    names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return codes & (names | words)


def pending(path: Path) -> dict[str, str]:
    """Read ``ID  reason`` lines; ``#`` begins a comment line.

    Raises
    ------
    ValueError
        When an id stands twice or has no reason.
    """
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, reason = line.partition(" ")
        if name in found or len(reason.strip()) < 10:
            raise ValueError(f"{path.name}: {name} stands twice or has no reason")
        found[name] = reason.strip()
    return found


def disagreements(known: set[str], met: set[str], listed: set[str]) -> Iterator[str]:
    """Sentences about ids that are unknown, listed as pending although met, or neither met nor listed."""
    yield from (f"{i}: not a known id" for i in sorted((met | listed) - known))
    yield from (f"{i}: met by a test, so remove it from the pending list" for i in sorted(met & listed))
    yield from (f"{i}: no test meets it; write one, or list it as pending with a reason" for i in sorted(known - met - listed))


def main() -> None:
    """Print the kernel's size, module by module."""
    sizes = kernel_lines()
    for name, lines in sizes.items():
        print(f"{lines:6d}  verifiers/kernel/{name}")
    print(f"{sum(sizes.values()):6d}  lines of code in the kernel (cap {KERNEL_CAP}; docstrings, comments and blank lines not counted)")


if __name__ == "__main__":
    main()
