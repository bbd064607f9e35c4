"""The command that draws: regions, level sets, vector field, responses, projections, and several regions compared."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from certctl.cli.exit_codes import combine, exit_code, table
from certctl.cli.output import OutputFormat, UsageError, dump, fields, last_line, say
from certctl.cli.proving import Format, stoppable
from certctl.cli.reading import OwnRequirement, _opened
from certctl.result import from_receipt, to_json


class Kind(StrEnum):
    """What is drawn; ``certctl.plot.kinds`` has the same names."""

    region = "region"
    levels = "levels"
    field = "field"
    projection = "projection"
    responses = "responses"
    compare = "compare"
    law = "law"


class Style(StrEnum):
    """For which page; ``certctl.plot.styles`` has the sizes."""

    page = "page"
    column = "column"
    two_column = "two-column"
    slides = "slides"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="plot", epilog=table())(stoppable(plot))


def plot(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="One bundle; several with --kind compare.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FIGURE", help=".png, .pdf or .svg.", show_default=False)],
    kind: Annotated[Kind, typer.Option("--kind", help="What is drawn.")] = Kind.region,
    style: Annotated[Style, typer.Option("--style", help="For which page.")] = Style.page,
    axes: Annotated[str | None, typer.Option("--axes", metavar="STATE,STATE", help="Two states by name.", show_default="every pair")] = None,
    requirement: OwnRequirement = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Check bundles and draw one figure, with their digests in its metadata; what is not accepted is never drawn as certified."""
    from certctl.cli.output import ready
    from certctl.plot import save
    from certctl.plot.kinds import draw
    from verifiers.kernel.codes import Refusal

    chosen = ready(output_format)
    if out.suffix.lower() not in (".png", ".pdf", ".svg") or not out.parent.is_dir():
        raise UsageError(f"{out}: a figure is saved as .png, .pdf or .svg in a folder that exists")
    if any(Path(os.path.abspath(out)).is_relative_to(os.path.abspath(bundle)) for bundle in bundles):
        raise UsageError(f"{out} lies in a bundle; name another place with -o")
    views = [_opened(bundle, requirement) for bundle in bundles]
    results = [from_receipt(view.receipt, bundle) for view, bundle in zip(views, bundles, strict=True)]
    written = []
    try:
        pair = None if axes is None or views[0].setting is None else _places(axes, [s.name for s in views[0].drawn.spec.states])
        written.append(str(save(draw(views, kind.value, style=style.value, axes=pair), out, *views)))
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    except Refusal as no:  # a bundle that cannot be read; its line below says why
        say(f"nothing is drawn: {no}")
    if chosen is OutputFormat.json:
        dump({"figure": written[0] if written else None, "bundles": [to_json(result) for result in results]})
    else:
        fields([("written", path) for path in written])
        for result in results:
            typer.echo(last_line(result))
    return int(combine(exit_code(result.outcome, result.code) for result in results))


def _places(text: str, names: list[str]) -> tuple[int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not set(parts) <= set(names):
        raise UsageError(f"--axes {text}: give two of the states {', '.join(names)}, as in --axes {names[0]},{names[-1]}")
    return names.index(parts[0]), names.index(parts[1])
