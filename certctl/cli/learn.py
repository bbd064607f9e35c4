"""``certctl learn METHOD``: train a candidate, then ask ``verify`` about it; each method registers itself here."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from certctl.cli.output import say
from certctl.cli.progress import EVERY_S, clock_text
from certctl.learners.learner import Step

app = typer.Typer(name="learn", no_args_is_help=True,
                  help="Train a candidate and try to certify it; what it writes is not certified until verify says so.")


def register(parent: typer.Typer) -> None:
    """Add the group to the application, with its methods."""
    from certctl.cli import learn_lipschitz, learn_roa, learn_yann

    for method in (learn_lipschitz, learn_roa, learn_yann):
        method.register(app)
    parent.add_typer(app)


@contextmanager
def training_on_stderr(clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[Step], None]]:
    """Give a learner a function to report to: a live bar on terminals, one line per ten seconds elsewhere."""
    if not sys.stderr.isatty():
        last = clock()

        def line(step: Step) -> None:
            nonlocal last
            if clock() - last >= EVERY_S:
                last = clock()
                say(line_of(step))

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.fields[phase]:<16}", markup=False), BarColumn(bar_width=24), TextColumn("{task.percentage:5.1f} %"),
               TextColumn("{task.fields[rest]}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, phase="starting", rest="")
        yield lambda step: bar.update(task, completed=step.done, phase=step.phase, rest=_rest(step))


def line_of(step: Step) -> str:
    """One line: phase, share done, loss and other figures, time spent and left."""
    return f"{step.phase}: {100 * step.done:.1f} % done, {_rest(step)}, {clock_text(step.seconds)} spent"


def _rest(step: Step) -> str:
    figures = {"loss": step.loss, **step.figures}
    text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if math.isfinite(value))
    return text + ("" if step.seconds_left is None else f", about {clock_text(step.seconds_left)} left")
