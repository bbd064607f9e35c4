"""The command that hands an accepted bundle to other tools, and its obligations to other people's solvers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certctl.cli.exit_codes import ExitCode, exit_code, table
from certctl.cli.output import OutputFormat, UsageError, dump, fields, last_line, say
from certctl.cli.proving import Format, stoppable
from certctl.cli.reading import BundlePath, OwnRequirement, _opened
from certctl.result import from_receipt, to_json

if TYPE_CHECKING:
    from verifiers.smt.query import Query


class ExportFormat(StrEnum):
    """Formats of ``export``."""

    smtlib = "smtlib"
    vnnlib = "vnnlib"
    c = "c"
    casadi = "casadi"
    control = "control"
    json = "json"
    onnx = "onnx"
    torch = "torch"


class Dialect(StrEnum):
    """Dialects of SMT-LIB."""

    auto = "auto"
    standard = "standard"
    dreal = "dreal"
    cvc5 = "cvc5"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=table())(stoppable(export))


def export(
    bundle: BundlePath,
    form: Annotated[ExportFormat, typer.Option("--format", help="What is written.")] = ExportFormat.smtlib,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="DIR", help="Where to.",
                                             show_default="NAME.export, or NAME.smtlib, NAME.vnnlib, beside it")] = None,
    dialect: Annotated[Dialect, typer.Option("--dialect", help="auto: standard where all terms are algebraic, else dreal.")] = Dialect.auto,
    requirement: OwnRequirement = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Write an accepted bundle as C, CasADi, python-control, PyTorch, ONNX or JSON, or its obligations for your own solver."""
    from certctl.cli.output import ready

    chosen, solvers = ready(output_format), form in (ExportFormat.smtlib, ExportFormat.vnnlib)
    folder = out if out is not None else Path(os.path.abspath(bundle)).with_suffix(f".{form.value}" if solvers else ".export")
    if Path(os.path.abspath(folder)).is_relative_to(os.path.abspath(bundle)):
        raise UsageError(f"{folder} lies in the bundle, where a file that the certificate does not list breaks it; give another place with -o")
    if form is not ExportFormat.smtlib and dialect is not Dialect.auto:
        raise UsageError(f"--dialect is one of SMT-LIB; leave it out with --format {form.value}")
    if not solvers:
        return _models(bundle, form, folder, requirement, chosen)
    return _obligations(bundle, form, folder, dialect, requirement, chosen)


def _models(bundle: Path, form: ExportFormat, folder: Path, requirement: Path | None, chosen: OutputFormat) -> int:
    from certctl.bridges.c_code import NotAccepted
    from certctl.bridges.models import write_models

    view = _opened(bundle, requirement)
    result = from_receipt(view.receipt, bundle)
    try:
        written = write_models(view, form.value, folder) if view.is_certified else []
    except NotAccepted as no:
        raise UsageError(f"{bundle}: {no}") from None
    if chosen is OutputFormat.json:
        dump({**to_json(result), "format": form.value, "bundle_digest": view.receipt.bundle_digest, "files": [str(path) for path in written]})
    else:
        if requirement is None:
            typer.echo("requirement=embedded")
        fields([("written", str(path)) for path in written])
        typer.echo(last_line(result))
    return int(exit_code(result.outcome, result.code))


def _obligations(bundle: Path, form: ExportFormat, folder: Path, dialect: Dialect, requirement: Path | None, chosen: OutputFormat) -> int:
    from verifiers.kernel.codes import Refusal
    from verifiers.smt.obligations import open_claim, queries_of

    try:
        claim = open_claim(bundle, requirement)
        digest, queries = claim.bundle.digest, queries_of(claim)
    except Refusal as no:
        say(f"{bundle}: {no}")
        return int(no.code.exit_code)
    written = []
    for name, query in queries:
        header = (f"certctl obligation {name}", f"bundle sha256:{digest}")
        folder.mkdir(parents=True, exist_ok=True)
        written.append({"obligation": name, "variables": len(query.lo),
                        **(_smtlib(query, folder, name, dialect, header) if form is ExportFormat.smtlib else _vnnlib(query, folder, name, header))})
    if not written:
        say(f"{bundle}: the proof has no shells and nothing to contain, so there is no obligation without matrices to export")
    if chosen is OutputFormat.json:
        dump({"bundle": str(bundle), "bundle_digest": digest, "format": form.value, "files": written})
    else:
        fields([(str(item["path"]), f"{item['obligation']} ({item['dialect']})") for item in written])
    return int(ExitCode.PROVED if written else ExitCode.NOTHING)


def _smtlib(query: Query, folder: Path, name: str, dialect: Dialect, header: Sequence[str]) -> dict[str, str]:
    from verifiers.smt.smtlib import is_polynomial, to_smtlib

    spoken = dialect.value if dialect is not Dialect.auto else "standard" if is_polynomial(query) else "dreal"
    means = "unsat: no state is against this obligation, and every term is defined on the box; sat or delta-sat: see docs/cli.md, export"
    path = folder / f"{name}.smt2"
    path.write_text(to_smtlib(query, dialect=spoken, header=(*header, f"dialect {spoken}", means)), encoding="utf-8")
    return {"path": str(path), "dialect": spoken}


def _vnnlib(query: Query, folder: Path, name: str, header: Sequence[str]) -> dict[str, str]:
    from verifiers.load.to_onnx import NotWritable
    from verifiers.smt.vnnlib_export import write

    try:
        network, path = write(query, folder, name, (*header, "unsat: no state is against this obligation; Y are the outputs of the .onnx beside it"))
    except NotWritable as no:
        raise UsageError(f"{name}: {no}") from None
    return {"path": str(path), "network": str(network), "dialect": "vnnlib"}
