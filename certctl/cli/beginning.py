"""The command new: requirement, policy and workflow for one's own controller, from flags or from questions."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certctl.cli.exit_codes import ExitCode, table
from certctl.cli.options import box_option, pairs_option
from certctl.cli.output import OutputFormat, UsageError, clean, dump, fields, ready, say
from certctl.cli.proving import Format, stoppable

if TYPE_CHECKING:
    from certctl.scaffold import Wish

_METHODS = "euler, midpoint, rk4 or zoh"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=table())(stoppable(new))


def new(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The repository.", show_default="this folder")] = Path(),
    controller: Annotated[Path | None, typer.Option("--controller", metavar="POLICY.onnx", help="The controller, in DIR.",
                                                    show_default=False)] = None,
    plant: Annotated[str | None, typer.Option("--plant", metavar="PLANT", help="A shipped plant's name, or the path of your plant.json in DIR.",
                                              show_default=False)] = None,
    prop: Annotated[str | None, typer.Option("--property", metavar="NAME", show_default="asymptotic_stability_roa")] = None,
    time: Annotated[str | None, typer.Option("--time", metavar="continuous|discrete", show_default="continuous")] = None,
    dt: Annotated[str | None, typer.Option("--dt", metavar="S", help="Seconds between samples, exact: 1/20.", show_default=False)] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="NAME", help=f"{_METHODS}, for a continuous plant.", show_default=False)] = None,
    domain: Annotated[str | None, typer.Option("--domain", metavar="LO,…:HI,…", help="What may be visited.", show_default="the plant's")] = None,
    contains: Annotated[str | None, typer.Option("--contains", metavar="LO,…:HI,…", help="What the region must contain.",
                                                 show_default="a tenth of the domain")] = None,
    parameter: Annotated[list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="A parameter of the plant; repeatable.",
                                                        show_default=False)] = None,
    rate: Annotated[str | None, typer.Option("--rate", metavar="R", help="Of exponential_stability_roa.", show_default=False)] = None,
    workflow: Annotated[bool, typer.Option("--workflow/--no-workflow", help="Write .github/workflows/certctl.yml too.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    output_format: Format = OutputFormat.text,
) -> int:
    """Write requirement, policy and workflow for your own controller; on a terminal, what no flag says is asked."""
    from certctl.scaffold import Wish, scaffold
    from verifiers.kernel.codes import Refusal

    chosen = ready(output_format)
    ask = sys.stdin.isatty() and chosen is OutputFormat.text
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the repository")
    plant = _answer(plant, ask, "Plant (certctl systems lists them, or the path of a plant.json)")
    if plant is None:
        raise UsageError("say which plant with --plant; certctl systems lists them")
    if controller is None and ask:
        text = _answer(None, ask, "Controller (an ONNX file in the repository; empty for a plant without inputs)", "")
        controller = Path(text) if text else None
    prop = _answer(prop, ask, "Property", "asymptotic_stability_roa") or ""
    time = _answer(time, ask, "Time (continuous or discrete)", "continuous") or ""
    if time == "discrete":
        dt = _answer(dt, ask, "Seconds between samples", "")
        method = _answer(method, ask, f"Method ({_METHODS}; empty for a discrete plant)", "")
    visited = box_option("--domain", _answer(domain, ask, "Domain, LO,…:HI,… (empty: the plant's)", ""))
    within = box_option("--contains", _answer(contains, ask, "Box that the region must contain (empty: a tenth of the domain)", ""))
    wish = Wish(folder, controller, plant, prop, time, dt or "", method or "", "clip", visited, within, pairs_option(parameter or ()), rate or "")
    try:
        files = scaffold(wish, workflow)
    except Refusal as no:
        raise UsageError(f"nothing is written: {no}") from None
    except ValueError as no:
        raise UsageError(f"nothing is written: {no}") from None
    _write(files, force)
    _tell(wish, files, chosen)
    return int(ExitCode.PROVED)


def _answer(given: str | None, ask: bool, question: str, default: str | None = None) -> str | None:
    if given is not None or not ask:
        return given if given is not None else default
    return str(typer.prompt(question, default=default, show_default=bool(default), err=True)).strip()


def _write(files: dict[Path, str], force: bool) -> None:
    present = [path for path in files if os.path.lexists(path)]
    if present and not force:
        for path in present:
            say(f"--- what {path} would hold")
            for line in files[path].splitlines():
                say(line)
        raise UsageError(f"nothing is written: {', '.join(str(path) for path in present)} exists already; give --force to replace it, "
                         "or add what stands above by hand")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def _tell(wish: Wish, files: dict[Path, str], chosen: OutputFormat) -> None:
    bundle = wish.requirement.with_name(wish.name + ".cert")
    if chosen is OutputFormat.json:
        dump({"name": wish.name, "requirement": str(wish.requirement), "bundle": str(bundle), "files": [str(path) for path in files]})
        return
    fields([*(("written", path) for path in files), ("next", f"certctl verify {wish.requirement}"), ("then", f"certctl gate {wish.folder}")])
    typer.echo(clean("commit all of it with the bundle, and pin the policy digest that the gate prints"))
