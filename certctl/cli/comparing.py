"""The command diff: what a claim gained or lost between two bundles."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import ExitCode, combine, exit_code, table
from certctl.cli.output import UsageError, clean, last_line, say
from certctl.cli.proving import stoppable
from certctl.cli.reading import OwnRequirement
from certctl.formats.markdown import escape
from certctl.result import Result, from_receipt, to_json

if TYPE_CHECKING:
    from certctl.difference import Change
    from certctl.view import View


class DiffFormat(StrEnum):
    """Formats of ``diff``."""

    text = "text"
    json = "json"
    markdown = "markdown"


@dataclass(frozen=True)
class _Comparison:
    old: Result
    new: Result
    found: list[Change]
    figure: str | None
    picture: list[str]
    code: ExitCode


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=table())(stoppable(diff))


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The bundle before.", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The bundle after.", show_default=False)],
    requirement: OwnRequirement = None,
    figure: Annotated[Path | None, typer.Option("--figure", metavar="PATH", help="Write both regions in one figure: .png, .pdf or .svg.",
                                                show_default=False)] = None,
    output_format: Annotated[DiffFormat, typer.Option("--output-format", help="How the result is printed on stdout.")] = DiffFormat.text,
) -> int:
    """Check two bundles and say what the claim gained or lost: exit 0 when nothing was lost, 1 when a person should look."""
    from certctl.difference import differences, needs_a_person
    from certctl.view import open_view
    from verifiers.kernel.codes import Refusal

    if figure is not None and figure.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError(f"{figure}: a figure is saved as .png, .pdf or .svg")
    if figure is not None and Path(os.path.abspath(figure)).parent in (Path(os.path.abspath(old)), Path(os.path.abspath(new))):
        raise UsageError(f"{figure} lies in a bundle; name another place")
    try:
        say(f"checking {old}")
        before = open_view(old)
        say(f"checking {new}")
        after = open_view(new, requirement)
    except Refusal as no:
        say(f"nothing is compared: {no}")
        return int(no.code.exit_code)
    if requirement is None:
        say("requirement=embedded")
    results = from_receipt(before.receipt, old), from_receipt(after.receipt, new)
    found = differences(before, after)
    code = combine([*(exit_code(result.outcome, result.code) for result in results), *([ExitCode.REFUSED] if needs_a_person(found) else [])])
    picture, written = _drawn(before, after, figure)
    _print(_Comparison(*results, found, written, picture, code), output_format)
    return int(code)


def _drawn(old: View, new: View, figure: Path | None) -> tuple[list[str], str | None]:
    from certctl.difference_figure import characters
    from certctl.difference_figure import figure as draw

    drawable = all(view.setting is not None and view.stages for view in (old, new))
    same = drawable and [(s.name, s.unit) for s in old.drawn.spec.states] == [(s.name, s.unit) for s in new.drawn.spec.states]
    if figure is None or not same:
        if figure is not None:
            say(f"{figure} is not written: the two bundles have no states in common that could be drawn")
        return (characters(old, new) if same else []), None
    from certctl.plot import save

    return characters(old, new), str(save(draw(old, new), figure, old, new))


def _print(this: _Comparison, chosen: DiffFormat) -> None:
    rows = [(change.kind.value, change.what, change.before, change.after) for change in this.found]
    if chosen is DiffFormat.json:
        listed: list[dict[str, Any]] = [{"kind": kind, "what": what, "before": a, "after": b} for kind, what, a, b in rows]
        typer.echo(json.dumps({"old": to_json(this.old), "new": to_json(this.new), "differences": listed, "figure": this.figure,
                               "exit_code": int(this.code)}, indent=2, allow_nan=False))
    elif chosen is DiffFormat.markdown:
        typer.echo("\n".join(_markdown(this, rows)))
    else:
        typer.echo(f"before  {last_line(this.old)}\nafter   {last_line(this.new)}")
        for kind, what, a, b in rows:
            typer.echo(clean(f"{kind:<8}{what}: {_side(a)} → {_side(b)}"))
        typer.echo(f"{'nothing' if this.code == ExitCode.PROVED else 'something'} was lost or changed; exit {int(this.code)}: {this.code.meaning}")


def _markdown(this: _Comparison, rows: list[tuple[str, str, str | None, str | None]]) -> list[str]:
    worst = "nothing was lost" if this.code == ExitCode.PROVED else f"a person should look (exit {int(this.code)}, {this.code.meaning})"
    lines = [f"## certctl diff: {worst}", "", "| | answer | property | why not |", "|---|---|---|---|"]
    lines += [f"| {name} | {escape(result.outcome)} | {escape(result.property)} | {escape(result.code)} |"
              for name, result in (("before", this.old), ("after", this.new))]
    if rows:
        lines += ["", "| | what | before | after |", "|---|---|---|---|"]
        lines += [f"| {kind if kind in ('note', 'gained') else f'**{kind}**'} | {escape(what)} | {escape(_side(a))} | {escape(_side(b))} |"
                  for kind, what, a, b in rows]
    return [*lines, *(["", "```text", *this.picture, "```"] if this.picture else [])]


def _side(text: str | None) -> str:
    return "–" if text is None else text
