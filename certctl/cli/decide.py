"""The command decide: raw questions about a network, one or a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import ExitCode, combine, table
from certctl.cli.output import UsageError, dump, fields, say, word
from certctl.cli.proving import stoppable

if TYPE_CHECKING:
    from certctl.instances import Instance
    from certctl.network_queries import Answer, Confirmed, Question
    from verifiers.smt.decider import Decider

DEFAULT_S = 60.0
_EXIT = {"unsat": ExitCode.PROVED, "sat": ExitCode.REFUSED, "unknown": ExitCode.UNDECIDED, "timeout": ExitCode.UNDECIDED}


class Solver(StrEnum):
    """Deciders of ``--solver``."""

    native = "native"
    z3 = "z3"
    cvc5 = "cvc5"
    dreal = "dreal"


class AnswerFormat(StrEnum):
    """Formats of ``decide --format``."""

    text = "text"
    json = "json"
    vnncomp = "vnncomp"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=table())(stoppable(decide))


def decide(
    network: Annotated[Path | None, typer.Argument(metavar="NET.onnx", help="The network.", show_default=False)] = None,
    spec: Annotated[Path | None, typer.Argument(metavar="SPEC.vnnlib", help="What no input may satisfy.", show_default=False)] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="S", help="Seconds; with --instances a cap on those of the list.",
                                                  show_default="60, or those of the list")] = None,
    output_format: Annotated[AnswerFormat, typer.Option("--format", "--output-format", help="How the answer is printed.")] = AnswerFormat.text,
    solver: Annotated[Solver, typer.Option("--solver", help="Who decides.")] = Solver.native,
    witnesses: Annotated[int, typer.Option("--witnesses", metavar="K", help="How many distinct witnesses to ask for.", min=1, max=10_000)] = 1,
    instances: Annotated[Path | None, typer.Option("--instances", metavar="LIST.csv", help="A list: NET.onnx,SPEC.vnnlib,SECONDS a line.",
                                                   show_default=False)] = None,
    results: Annotated[Path | None, typer.Option("--results", metavar="RESULTS.csv", help="Write a table for the list.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing table.")] = False,
) -> int:
    """Decide whether some input satisfies a VNN-LIB specification: unsat (exit 0), sat with a witness (1), unknown or timeout (3)."""
    from certctl.network_queries import BadQuestion, answer, decider_named, open_question, vnncomp_text

    if timeout is not None and not 0 < timeout < float("inf"):
        raise UsageError("--timeout is a positive number of seconds")
    try:
        if instances is not None:
            if network is not None or spec is not None:
                raise UsageError("--instances takes its networks and specifications from the list; leave out NET.onnx and SPEC.vnnlib")
            return _list(instances, results, force, decider_named(solver.value), timeout, output_format, witnesses)
        if network is None or spec is None:
            raise UsageError("give a network and a specification, NET.onnx SPEC.vnnlib, or a list with --instances")
        if results is not None or force:
            raise UsageError("--results and --force belong to --instances; leave them out")
        question = open_question(network, spec)
        found = answer(question, decider_named(solver.value), timeout or DEFAULT_S, witnesses)
    except BadQuestion as problem:
        raise UsageError(str(problem)) from None
    for warning in found.warnings:
        say(f"warning: {warning}")
    if output_format is AnswerFormat.json:
        dump(_json(question, found))
    elif output_format is AnswerFormat.vnncomp:
        typer.echo(vnncomp_text(found))
    else:
        _print(question, found)
    return int(_EXIT.get(found.result, ExitCode.ERROR))


def _print(question: Question, found: Answer) -> None:
    spec = question.spec
    pairs: list[tuple[str, object]] = [
        ("network", question.name + (" (shape computations folded, batch 1)" if question.folded else "")),
        ("spec", f"{question.spec_name} (inputs {spec.inputs}, outputs {spec.outputs}, boxes {len(question.queries)})"), ("evidence", found.text)]
    for one in found.witnesses:
        pairs += [("witness", f"X = [{', '.join(one.x_text)}]"), ("outputs", f"Y = {_list_text(one.witness.y)}")]
        if one.runtime is not None:
            pairs.append(("onnxruntime", f"Y = {_list_text(one.runtime)}, {'agrees' if one.agrees else 'DISAGREES'}"))
    fields(pairs)
    typer.echo(_line(question.name, question.spec_name, found))


def _list_text(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(repr(v) for v in values) + "]"


def _line(network: str, spec: str, found: Answer) -> str:
    level = f" level={found.level}" if found.level else ""
    return f"{found.result} {word(network)} {word(spec)}{level} solver={word(found.solver)} time={found.seconds:.1f}s"


def _json(question: Question, found: Answer) -> dict[str, Any]:
    return {
        "result": found.result, "network": question.name, "spec": question.spec_name, "level": found.level, "solver": found.solver,
        "evidence": found.text, "boxes": len(question.queries), "folded": question.folded, "seconds": found.seconds,
        "witnesses": [_witness(one) for one in found.witnesses], "warnings": list(found.warnings)}


def _witness(one: Confirmed) -> dict[str, Any]:
    ran = None if one.runtime is None else [v if isfinite(v) else None for v in one.runtime]
    return {"x": [float(v) for v in one.witness.x], "x_exact": [str(v) for v in one.witness.x], "y": list(one.witness.y),
            "replayed": one.witness.replayed, "onnxruntime": ran, "agrees": one.agrees}


# ------------------------------------------------------------------------------------------------------------ lists

def _list(path: Path, results: Path | None, force: bool, decider: Decider, timeout: float | None, chosen: AnswerFormat, witnesses: int) -> int:
    from certctl.instances import Results, read_instances

    listed = read_instances(path)
    written = Results(results, force) if results is not None else None
    outcomes: list[str] = []
    objects: list[dict[str, Any]] = []
    with _progress(len(listed)) as step:
        for number, instance in enumerate(listed, 1):
            step(number - 1, f"{instance.network} {instance.spec}")
            seconds = instance.seconds if timeout is None else min(timeout, instance.seconds)
            question, found = _one(instance, decider, seconds, witnesses)
            for warning in found.warnings:
                say(f"{instance.spec}: warning: {warning}")
            if written is not None:
                written.add(number, instance, found)
            outcomes.append(found.result)
            if chosen is AnswerFormat.json:
                objects.append(_json(question, found) if question is not None else
                               {"result": found.result, "network": instance.network, "spec": instance.spec, "evidence": found.text})
            else:
                typer.echo(_line(instance.network, instance.spec, found))
        step(len(listed), "")
    if chosen is AnswerFormat.json:
        dump(objects)
    counts = ", ".join(f"{n} {result}" for result, n in Counter(outcomes).items())
    say(f"{len(outcomes)} instances: {counts}" if outcomes else f"{path} lists no instance")
    return int(combine(_EXIT.get(result, ExitCode.ERROR) for result in outcomes))


def _one(instance: Instance, decider: Decider, seconds: float, witnesses: int) -> tuple[Question | None, Answer]:
    """Decide one instance; one that cannot be read is an error of its own and does not end the list."""
    from certctl.network_queries import Answer, BadQuestion, answer, open_question

    try:
        question = open_question(instance.network_path, instance.spec_path)
    except BadQuestion as problem:
        say(f"{instance.spec}: {problem}")
        return None, Answer("error", decider.name, str(problem), 0.0)
    return question, answer(question, decider, seconds, witnesses)


@contextmanager
def _progress(count: int) -> Iterator[Any]:
    """A bar on terminals; elsewhere a line on stderr for each instance that begins."""
    import sys

    if not sys.stderr.isatty():
        yield lambda done, what: say(f"{done + 1}/{count} {what}") if what else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[what]}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count, what="")
        yield lambda done, what: bar.update(task, completed=done, what=what)
