"""Progress on stderr: a live bar on terminals, one line per ten seconds elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from certctl.cli.output import say

if TYPE_CHECKING:
    from verifiers.smt.branch_and_bound import Progress

EVERY_S = 10.0
Report = Callable[["Progress"], None]


@contextmanager
def progress_on_stderr(clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Give the prover a function to report to, fit for where stderr goes."""
    if sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _lines(clock)


def line_of(progress: Progress) -> str:
    """One line: phase, share of the domain proved, worst margin, open boxes, time spent and left."""
    left = "" if progress.seconds_left is None else f", about {clock_text(progress.seconds_left)} left"
    return (f"{progress.phase}: {100 * progress.share:.1f} % proved, worst margin {_margin(progress.worst)}, "
            f"{progress.open_boxes} boxes open, {clock_text(progress.seconds)} spent{left}")


def _lines(clock: Callable[[], float]) -> Report:
    last = clock()

    def report(progress: Progress) -> None:
        nonlocal last
        now = clock()
        if now - last >= EVERY_S:
            last = now
            say(line_of(progress))

    return report


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.fields[phase]:<12}", markup=False), BarColumn(bar_width=24), TextColumn("{task.percentage:5.1f} %"),
               TextColumn("{task.fields[rest]}", markup=False), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, phase="starting", rest="")

        def report(progress: Progress) -> None:
            left = "" if progress.seconds_left is None else f", {clock_text(progress.seconds_left)} left"
            rest = f"margin {_margin(progress.worst)}, {progress.open_boxes} open{left}"
            bar.update(task, completed=progress.share, phase=progress.phase, rest=rest)

        yield report


def _margin(worst: float) -> str:
    return f"{worst:.3g}" if math.isfinite(worst) else "–"


def clock_text(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02d}"
