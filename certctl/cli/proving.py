"""Commands that decide: verify, falsify, check and gate."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from certctl.cli.exit_codes import ExitCode, combine, exit_code, table
from certctl.cli.output import OutputFormat, UsageError, clean, dump, emit, last_line, ready, say
from certctl.cli.progress import progress_on_stderr
from certctl.requirements import default_bundle, name_of
from certctl.result import Result, error, from_receipt, from_verdict, stated_property, to_json
from verifiers.kernel.codes import Code, Refusal

Format = Annotated[OutputFormat, typer.Option("--output-format", help="How the result is printed on stdout.", show_default=True)]
RequirementFile = Annotated[Path, typer.Argument(metavar="REQUIREMENT.toml", help="requirement.toml or NAME.requirement.toml", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the deciding commands to the application."""
    for command in (verify, falsify, check, gate):
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
) -> int:
    """Falsify, prove, write a bundle, and let the kernel decide."""
    chosen, bundle = ready(output_format), out or default_bundle(requirement)
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

    return _finish(_guard(work, requirement, "verify"), chosen)


def falsify(
    requirement: RequirementFile,
    budget: Annotated[float, typer.Option("--budget", metavar="S", help="Seconds for the search.", min=0.0)] = 60.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random starts.", min=0)] = 0,
    output_format: Format = OutputFormat.text,
) -> int:
    """Search for a counterexample and replay it exactly: exit 1 found, 3 none."""
    chosen = ready(output_format)

    def work() -> Result:
        from certctl import falsify as attack

        _readable(requirement)
        result = from_verdict(attack(requirement, budget=budget, seed=seed), requirement)
        if result.is_proved:
            return error(result.name, "INTERNAL", "falsify", "a search for counterexamples cannot prove anything")
        return result

    return _finish(_guard(work, requirement, "falsify"), chosen)


def check(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle directory.", show_default=False)],
    requirement: Annotated[Path | None, typer.Option("--requirement", metavar="REQUIREMENT.toml", help="Your requirement; without it the copy in "
                                                     "the bundle, and the output says so.", show_default=False)] = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Run the kernel alone on a bundle; needs neither a learner nor a solver."""
    chosen = ready(output_format)

    def work() -> Result:
        from certctl import check as kernel

        return from_receipt(kernel(bundle, requirement), bundle)

    result = _guard(work, requirement or bundle / "requirement.toml", "check")
    if requirement is None:
        # Which question was answered matters as much as the answer.
        if chosen is OutputFormat.text:
            typer.echo("requirement=embedded")
        else:
            say("requirement=embedded")
    return _finish(result, chosen)


def gate(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]...", help="Folders with controllers.", show_default="this folder")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", metavar="certctl.toml", help="The policy; certctl.toml of PATH is used where it exists.",
                                                show_default=False)] = None,
    policy_digest: Annotated[str | None, typer.Option("--policy-digest", metavar="SHA256", help="Refuse unless policy and requirements have this "
                                                      "digest (pin it outside the repository).", show_default=False)] = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Every controller must have a passing bundle, checked now against your own requirements."""
    from certctl.gatekeeper import BadPolicy
    from certctl.gatekeeper import gate as keep

    chosen = ready(output_format)
    try:
        report = keep(paths or (), policy, pinned=policy_digest, progress=lambda name: say(f"checking {name}"))
    except (BadPolicy, FileNotFoundError) as problem:
        raise UsageError(str(problem)) from None
    say(f"policy digest {report.policy_digest}")
    codes = [exit_code(result.outcome, result.code) for result in report.controllers]
    if chosen is OutputFormat.json:
        dump({"controllers": [to_json(result) for result in report.controllers], "deployable": report.deployable, "refused": report.refused,
              "policy": report.policy, "policy_digest": report.policy_digest})
    for result in report.controllers:
        if not result.is_proved:
            say(f"{result.name}: {result.message}")
        if chosen is OutputFormat.text:
            typer.echo(last_line(result))
    if not codes:
        where = ", ".join(str(path) for path in paths or [Path()])
        nothing = error("gate", "NOTHING_TO_CHECK", where, f"no requirement, policy entry or controller was found under {where}", "REFUSED")
        say(nothing.message)
        if chosen is OutputFormat.text:
            typer.echo(last_line(nothing))
    say(f"{report.deployable} deployable, {report.refused} refused")
    return int(combine(codes))


def missing(error: ModuleNotFoundError) -> str:
    """One sentence about an optional part that is not installed."""
    part = (error.name or "a part").split(".")[0]
    if part in ("certctl", "verifiers", "systems"):
        return f"{error.name} is missing, so this installation is incomplete: install certctl again"
    return f'{clean(part)} is not installed, which this command needs: pip install "certctl[all]"'


def _guard(work: Callable[[], Result], requirement: Path, at: str) -> Result:
    """Do the work; whatever goes wrong becomes a result that is not PROVED."""
    name = name_of(requirement)
    try:
        return work()
    except KeyboardInterrupt:
        result = error(name, "INTERRUPTED", at, "the run was interrupted; --resume goes on with a search that was kept", "UNKNOWN")
    except ModuleNotFoundError as problem:
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


def _finish(result: Result, chosen: OutputFormat) -> int:
    emit(result, chosen)
    if not result.is_proved and chosen is not OutputFormat.text:
        say(f"{result.code}: {result.message}")
    return int(exit_code(result.outcome, result.code))
