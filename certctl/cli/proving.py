"""Commands that decide about one requirement: verify, falsify and check."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import ExitCode, exit_code, table
from certctl.cli.output import OutputFormat, UsageError, clean, emit, say
from certctl.cli.progress import progress_on_stderr
from certctl.cli.reporting import OutputFiles, Outputs, outputs
from certctl.doctor import EXTRA
from certctl.formats import Account
from certctl.requirements import default_bundle, name_of
from certctl.result import Result, error, from_receipt, from_verdict, stated_property
from verifiers.kernel.codes import Code, Refusal

if TYPE_CHECKING:
    from certctl.signing import Key

Format = Annotated[OutputFormat, typer.Option("--output-format", help="How the result is printed on stdout.", show_default=True)]
RequirementFile = Annotated[Path, typer.Argument(metavar="REQUIREMENT.toml", help="requirement.toml or NAME.requirement.toml", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the deciding commands to the application."""
    for command in (verify, falsify, check):
        app.command(epilog=table())(stoppable(command))


def stoppable(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The same command, with Ctrl-C as "undecided" and not as Typer's own exit code."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> int | None:
        try:
            return command(*args, **options)
        except KeyboardInterrupt:
            say("certctl: interrupted")
            return int(ExitCode.UNDECIDED)

    return run


def verify(
    requirement: RequirementFile,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="BUNDLE", show_default="requirement.cert or NAME.cert beside it")] = None,
    budget: Annotated[float, typer.Option("--budget", metavar="S", help="Seconds for the search.", min=0.0)] = 600.0,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes.", show_default="all cores", min=1)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted search.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    output_format: Format = OutputFormat.text,
    output_file: OutputFiles = None,
) -> int:
    """Falsify, prove, write a bundle, and let the kernel decide."""
    to, bundle = outputs(output_format, output_file), out or default_bundle(requirement)
    if not 0 < budget < float("inf"):
        raise UsageError("--budget is a positive number of seconds")

    def work() -> Result:
        _readable(requirement)
        if os.path.lexists(bundle) and not force:
            return error(name_of(requirement), "USAGE", str(bundle), f"{bundle} exists already; give --force to replace it, or another place with -o")
        from certctl import verify as prove

        with progress_on_stderr() as progress:
            verdict = prove(requirement, bundle, budget=budget, workers=workers, resume=resume, force=force, progress=progress)
        return from_verdict(verdict, requirement)

    return _finish("verify", work, requirement, to)


def falsify(
    requirement: RequirementFile,
    budget: Annotated[float, typer.Option("--budget", metavar="S", help="Seconds for the search.", min=0.0)] = 60.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random starts.", min=0)] = 0,
    output_format: Format = OutputFormat.text,
    output_file: OutputFiles = None,
) -> int:
    """Search for a counterexample and replay it exactly: exit 1 found, 3 none."""
    to = outputs(output_format, output_file)

    def work() -> Result:
        from certctl import falsify as attack

        _readable(requirement)
        result = from_verdict(attack(requirement, budget=budget, seed=seed), requirement)
        if result.is_proved:
            return error(result.name, "INTERNAL", "falsify", "a search for counterexamples cannot prove anything")
        return result

    return _finish("falsify", work, requirement, to)


def check(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle directory.", show_default=False)],
    requirement: Annotated[Path | None, typer.Option("--requirement", metavar="REQUIREMENT.toml", help="Your requirement; without it the copy in "
                                                     "the bundle, and the output says so.", show_default=False)] = None,
    signed: Annotated[list[Path] | None, typer.Option("--signed-by", metavar="KEY.pub", help="Demand a valid signature of this key; repeatable, then "
                                                      "of each.", show_default=False)] = None,
    second: Annotated[bool, typer.Option("--second", help="Ask an independent checker in ball arithmetic too (extra `second`; slow).")] = False,
    second_boxes: Annotated[int, typer.Option("--second-boxes", metavar="N", help="Boxes that it may look at.", min=1)] = 200_000,
    output_format: Format = OutputFormat.text,
    output_file: OutputFiles = None,
) -> int:
    """Run the kernel alone on a bundle; needs neither a learner nor a solver."""
    to, keys = outputs(output_format, output_file), _keys(signed or ())

    def work() -> Result:
        from certctl import check as kernel
        from certctl.gatekeeper import with_signatures
        from certctl.second import with_second_opinion

        result = from_receipt(kernel(bundle, requirement), bundle)
        if result.is_proved:
            result = with_signatures(result, bundle, keys, len(keys))
        if second and result.is_proved:
            say("second checker ...")
            result = with_second_opinion(result, bundle, requirement, second_boxes)
        return replace(result, requirement_file=None if requirement is None else str(requirement))

    if requirement is None:
        # Which question was answered matters as much as the answer.
        (typer.echo if to.chosen is OutputFormat.text else say)("requirement=embedded")
    return _finish("check", work, requirement or bundle / "requirement.toml", to)


def _keys(paths: Sequence[Path]) -> list[Key]:
    from certctl.signing import read_key

    try:
        found = [read_key(path) for path in paths]
    except ValueError as problem:
        raise UsageError(f"--signed-by: {problem}") from None
    if len({key.raw for key in found}) != len(found):
        raise UsageError("--signed-by names one key twice, which is no second signature")
    return found


def missing(error: ImportError) -> str:
    """One sentence about an optional part that is not installed; that of our own readers, where it comes from them."""
    if not isinstance(error, ModuleNotFoundError):
        return clean(error)
    part = (error.name or "a part").split(".")[0]
    if part in ("certctl", "verifiers", "systems"):
        return f"{error.name} is missing, so this installation is incomplete: install certctl again"
    return f'{clean(part)} is not installed, which this command needs: pip install "certctl[{EXTRA.get(part, "all")}]"'


def guard(work: Callable[[], Result], requirement: Path, at: str) -> Result:
    """Do the work; whatever goes wrong becomes a result that is not PROVED."""
    name = name_of(requirement)
    try:
        return work()
    except KeyboardInterrupt:
        result = error(name, "INTERRUPTED", at, "the run was interrupted; --resume goes on with a search that was kept", "UNKNOWN")
    except UsageError:
        raise
    except ImportError as problem:
        result = error(name, "MISSING_EXTRA", at, missing(problem))
    except Refusal as refusal:
        word = {1: "REFUSED", 3: "UNKNOWN", 4: "REFUSED"}.get(refusal.code.exit_code, "ERROR")
        result = error(name, refusal.code.name, refusal.at, refusal.message, word)
    except Exception as problem:
        logging.getLogger("certctl").debug("%s failed", at, exc_info=True)
        says = f"internal error, nothing was proved: {type(problem).__name__}: {problem} (--debug shows where)"
        result = error(name, "INTERNAL", at, says)
    return replace(result, property=result.property or stated_property(requirement))


def _readable(requirement: Path) -> None:
    if not requirement.is_file():
        raise Refusal(Code.MISSING_FILE, str(requirement), f"there is no requirement at {requirement}; give the path of a requirement file")


def _finish(command: str, work: Callable[[], Result], requirement: Path, to: Outputs) -> int:
    with to.guarded(command):
        result = guard(work, requirement, command)
        account = Account(command, (result,))
        if to.chosen is OutputFormat.text:
            emit(result)
            to.write(account)
        else:
            to.publish(account)
    if not result.is_proved and to.chosen is not OutputFormat.text:
        say(f"{result.code}: {result.message}")
    return int(exit_code(result.outcome, result.code))
