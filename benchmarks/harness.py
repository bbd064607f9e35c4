"""What every benchmark hands back, and how it is printed: tables, checks, clocks, the machine and the commit."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT.parent / "shared" / "cases"
BEGIN, END = "<!-- begin {} -->", "<!-- end {} -->"


@dataclass(frozen=True)
class Table:
    """A table: caption, column heads, and rows of numbers, texts or None (printed as a dash)."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def __post_init__(self) -> None:
        """Refuse rows that do not fit the heads."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.caption}: a row has {len(row)} entries for {len(self.columns)} columns; give every column one")

    def markdown(self) -> str:
        """The table in Markdown, its caption above it."""
        lines = [self.columns, ["---"] * len(self.columns), *([shown(v) for v in row] for row in self.rows)]
        return f"**{self.caption}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


@dataclass(frozen=True)
class Check:
    """A sentence of the claim, and whether this run bears it out (None: undecided, or not tested here)."""

    says: str
    holds: bool | None


@dataclass(frozen=True)
class Report:
    """Result of a benchmark: the claim, its checks, tables, and notes on what was measured against what."""

    claim: str
    checks: tuple[Check, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()

    def markdown(self, about: str) -> str:
        """The report as a section; ``about`` says where, when and how it was measured."""
        marks = {True: "holds", False: "**DOES NOT HOLD**", None: "undecided or not tested"}
        checks = "\n".join(f"* {marks[check.holds]}: {check.says}" for check in self.checks)
        notes = (f"* {note}" for note in self.notes)
        return "\n".join([f"## {self.claim}\n", about + "\n", checks + "\n", *(t.markdown() for t in self.tables), *notes])


@dataclass
class Clock:
    """Seconds of a block: ``wall``, and ``cpu`` (user and system) of this process and of the children that ended in it."""

    wall: float = 0.0
    cpu: float = 0.0


def shown(value: object) -> str:
    """A cell: integers in groups of three, other numbers to four digits, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def cpu_seconds() -> float:
    """User and system seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@contextmanager
def clock() -> Iterator[Clock]:
    """Time a block.  CPU seconds are what another load on the machine hardly changes, so print both."""
    read, wall, cpu = Clock(), time.perf_counter(), cpu_seconds()
    try:
        yield read
    finally:
        read.wall, read.cpu = time.perf_counter() - wall, cpu_seconds() - cpu


def fastest(work: Callable[[], object], seconds: float, least: int = 3) -> float:
    """Least CPU seconds of one call among repetitions for about ``seconds``: the figure that other load disturbs least."""
    best, began, count = np.inf, time.perf_counter(), 0
    while count < least or time.perf_counter() - began < seconds:
        at = time.process_time()
        work()
        best, count = min(best, time.process_time() - at), count + 1
    return float(best)


def machine() -> str:
    """Processor, cores, memory, load and versions in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.M)
        model = names[0].strip() if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{os.cpu_count()} cores of {model}, {memory:.1f} GiB memory, {platform.system()}, Python {platform.python_version()}, "
            f"NumPy {np.__version__}, BLAS threads {os.environ.get('OPENBLAS_NUM_THREADS', 'not limited')}")


def load() -> str:
    """Load average of the last 1, 5 and 15 minutes: other work on the machine shows here."""
    return "load " + ", ".join(f"{v:.1f}" for v in os.getloadavg())


def commit() -> str:
    """Hash of the commit, and whether the measured sources differ from it; "unknown" outside a checkout."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "verifiers", "systems", "certctl", "benchmarks")
        return git("rev-parse", "--short=12", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def replace_section(document: str, name: str, section: str, order: Sequence[str]) -> str:
    """Put a section between the marks of its name, in place of the earlier one; the others stay, in the order given, below the head."""
    held = {other: document.split(BEGIN.format(other), 1)[1].split(END.format(other), 1)[0] for other in order if BEGIN.format(other) in document}
    held[name] = section
    head = document.split(BEGIN.split("{}")[0], 1)[0].strip()
    blocks = (f"{BEGIN.format(other)}\n{held[other].strip()}\n{END.format(other)}" for other in order if other in held)
    return "\n\n".join([head, *blocks]) + "\n"


def median(values: Sequence[float]) -> float:
    """The median of at least one number."""
    return float(np.median(np.asarray(values, dtype=float)))
