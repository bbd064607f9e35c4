"""The command that hands our obligations to other people's solvers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certctl.cli.exit_codes import ExitCode, table
from certctl.cli.output import OutputFormat, UsageError, dump, fields, say
from certctl.cli.proving import Format, stoppable
from certctl.cli.reading import BundlePath, OwnRequirement

if TYPE_CHECKING:
    from verifiers.smt.query import Query


class ExportFormat(StrEnum):
    """Formats of ``export``."""

    smtlib = "smtlib"
    vnnlib = "vnnlib"


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
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="DIR", help="Where to.", show_default="NAME.FORMAT beside it")] = None,
    dialect: Annotated[Dialect, typer.Option("--dialect", help="auto: standard where all terms are algebraic, else dreal.")] = Dialect.auto,
    requirement: OwnRequirement = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Write every obligation of a bundle as SMT-LIB 2, or as VNN-LIB with ONNX, for your own solver: unsat of all of them restates the shells."""
    from certctl.cli.output import ready
    from verifiers.kernel.codes import Refusal
    from verifiers.smt.obligations import open_claim, queries_of

    chosen, folder = ready(output_format), out if out is not None else Path(os.path.abspath(bundle)).with_suffix(f".{form.value}")
    if Path(os.path.abspath(folder)).is_relative_to(os.path.abspath(bundle)):
        raise UsageError(f"{folder} lies in the bundle, where a file that the certificate does not list breaks it; give another place with -o")
    if form is ExportFormat.vnnlib and dialect is not Dialect.auto:
        raise UsageError("--dialect is one of SMT-LIB; leave it out with --format vnnlib")
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
