"""Commands that read and explain: show, report, explain, doctor, systems and digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import ExitCode, exit_code, table
from certctl.cli.output import OutputFormat, UsageError, clean, dump, fields, last_line, ready, say
from certctl.cli.proving import Format, stoppable
from certctl.result import from_receipt, to_json

if TYPE_CHECKING:
    from certctl.view import View

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle directory.", show_default=False)]
OwnRequirement = Annotated[Path | None, typer.Option("--requirement", metavar="REQUIREMENT.toml", help="Your requirement; without it the copy in the "
                                                     "bundle, and the output says so.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the reading commands to the application."""
    for command in (show, report, explain, doctor, systems, digest):
        app.command(epilog=table())(stoppable(command))


def show(bundle: BundlePath, requirement: OwnRequirement = None, output_format: Format = OutputFormat.text) -> int:
    """Check a bundle and print claim, functions, obligations with margins, assumptions and digests."""
    from certctl.report.words import function_texts, not_claimed, obligation_rows, statement

    chosen = ready(output_format)
    view = _opened(bundle, requirement)
    result = from_receipt(view.receipt, bundle)
    if chosen is OutputFormat.json:
        dump({**to_json(result), "claim": statement(view), "functions": function_texts(view), "not_claimed": not_claimed(view)})
        return int(exit_code(result.outcome, result.code))
    if requirement is None:
        typer.echo("requirement=embedded")
    typer.echo(clean(statement(view)))
    _block("Functions", [f"{name}  {text}" for name, text in function_texts(view)])
    _block("Obligations", _columns([("id", "kind", "leaves", "margin", "seconds", "what is shown"), *obligation_rows(view.receipt)]))
    _block("Assumptions", view.receipt.assumptions)
    _block("Not claimed", not_claimed(view))
    typer.echo("\nDigests")
    fields([("  bundle", view.receipt.bundle_digest), *((f"  {name}", sha) for name, sha in (view.bundle.digests if view.bundle else {}).items())])
    typer.echo(last_line(result))
    return int(exit_code(result.outcome, result.code))


def report(
    bundle: BundlePath,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="report.html", show_default="report.html in the bundle")] = None,
    requirement: OwnRequirement = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Check a bundle and write a self-contained page with figures (also as PNG and PDF beside it)."""
    chosen = ready(output_format)
    page = out or bundle / "report.html"
    if page.suffix.lower() not in (".html", ".htm", ".pdf"):
        raise UsageError(f"{page} is no page; give a name that ends in .html or .pdf with -o")
    from certctl.report.page import write_report

    view = _opened(bundle, requirement)
    # Without a bundle there is no folder to write into, only the kernel's word.
    try:
        written = write_report(view, page, own_requirement=requirement) if page.parent.is_dir() else []
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    result = from_receipt(view.receipt, bundle)
    if chosen is OutputFormat.json:
        dump({**to_json(result), "files": [str(path) for path in written]})
    else:
        fields([("written", str(path)) for path in written])
        typer.echo(last_line(result))
    return int(exit_code(result.outcome, result.code))


def explain(
    code: Annotated[str | None, typer.Argument(metavar="[CODE]", help="A code; without it all codes.", show_default=False)] = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Explain a code: what it means, an example, and what to do."""
    from certctl.codes import explanation, names

    chosen = ready(output_format)
    try:
        found = [explanation(name) for name in ([code] if code else names())]
    except KeyError as error:
        raise UsageError(error.args[0]) from None
    if chosen is OutputFormat.json:
        dump([{"code": e.code, "exit_code": e.exit_code, "cause": e.cause, "example": e.example, "remedy": e.remedy} for e in found])
    elif code:
        (one,) = found
        typer.echo(f"{one.code} (exit {one.exit_code})")
        fields([("cause", one.cause), ("example", one.example), ("remedy", one.remedy)])
    else:
        fields((f"{e.code} ({e.exit_code})", e.cause) for e in found)
    return int(ExitCode.PROVED)


def doctor(output_format: Format = OutputFormat.text) -> int:
    """Say what this environment can do: Python, NumPy, optional parts, cores."""
    from certctl.doctor import examine

    chosen, findings = ready(output_format), examine()
    broken = [finding for finding in findings if finding.needed and not finding.usable]
    if chosen is OutputFormat.json:
        dump([{"part": f.part, "usable": f.usable, "needed": f.needed, "says": f.says} for f in findings])
    else:
        fields((f"{'ok' if f.usable else 'MISSING' if f.needed else 'absent':<8}{f.part}", f.says) for f in findings)
    for finding in broken:
        say(f"{finding.part} is needed: {finding.says}")
    return int(ExitCode.ERROR if broken else ExitCode.PROVED)


def systems(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A plant, or the path of a plant.json.", show_default=False)] = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """List the plants with states, inputs and parameters, or describe one."""
    from certctl.plants import plant_data, plant_names

    chosen = ready(output_format)
    try:
        plants = [plant_data(one) for one in ([name] if name else plant_names())]
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from None
    if chosen is OutputFormat.json:
        dump([{key: value for key, value in plant.items() if key not in ("nodes", "outputs")} for plant in plants])
        return int(ExitCode.PROVED)
    for plant in plants:
        _describe(plant, brief=name is None)
    return int(ExitCode.PROVED)


def digest(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a bundle directory.", show_default=False)],
    output_format: Format = OutputFormat.text,
) -> int:
    """Print the sha256 of a file, or the digest of a bundle (after comparing every listed file)."""
    chosen = ready(output_format)
    if path.is_dir():
        from verifiers.kernel.bundle import open_bundle
        from verifiers.kernel.codes import Refusal

        try:
            value = open_bundle(path).digest
        except Refusal as no:
            say(f"{path}: {no}")
            return int(no.code.exit_code)
    elif path.is_file():
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        raise UsageError(f"there is no file or bundle at {path}")
    if chosen is OutputFormat.json:
        dump({"path": str(path), "sha256": value})
    else:
        typer.echo(f"sha256:{value}  {clean(path)}")
    return int(ExitCode.PROVED)


def _opened(bundle: Path, requirement: Path | None) -> View:
    from certctl.view import open_view

    say(f"checking {bundle}")
    return open_view(bundle, requirement)


def _block(title: str, lines: Any) -> None:
    present = [clean(line) for line in lines]
    if present:
        typer.echo(f"\n{title}")
        for line in present:
            typer.echo(f"  {line}")


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows] if len(rows) > 1 else []


def _describe(plant: dict[str, Any], brief: bool) -> None:
    from certctl.plants import limit_text, signal_text, value_text

    listed: Callable[[str], str] = lambda key: ", ".join(signal_text(item) for item in plant[key]) or "none"  # noqa: E731
    typer.echo(clean(f"{plant['name']}  ({plant['time']} time)"))
    rows: list[tuple[str, object]] = [("  states", listed("states")), ("  inputs", ", ".join(limit_text(item) for item in plant["inputs"]) or "none"),
            ("  parameters", ", ".join(f"{item['name']} = {value_text(item['value'])}" for item in plant["parameters"]) or "none")]
    if not brief:
        domain, rest = plant["domain"], plant["equilibrium"]
        rows = [("  states", listed("states")), ("  angles", ", ".join(s["name"] for s in plant["states"] if s.get("angle")) or "none"),
                ("  inputs", listed("inputs")), ("  limits", ", ".join(limit_text(item) for item in plant["inputs"]) or "none"),
                *((f"  {item['name']}", f"{value_text(item['value'])} {item.get('unit') or ''}") for item in plant["parameters"]),
                ("  equilibrium", f"x = ({', '.join(rest['x'])}), u = ({', '.join(rest['u'])})"),
                ("  domain", " x ".join(f"[{a}, {b}]" for a, b in zip(domain["lo"], domain["hi"], strict=True))),
                ("  dt", plant.get("dt")), ("  reference", plant.get("reference"))]
    fields(rows)
    typer.echo()


