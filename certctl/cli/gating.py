"""The command gate: every controller must have a passing bundle."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certctl.cli.exit_codes import table
from certctl.cli.output import OutputFormat, UsageError, say
from certctl.cli.proving import Format, stoppable
from certctl.cli.reporting import OutputFiles, outputs
from certctl.formats.account import Account, repository_root
from certctl.result import error

if TYPE_CHECKING:
    from certctl.gatekeeper import GateReport


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=table())(stoppable(gate))


def gate(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]...", help="Folders with controllers.", show_default="this folder")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", metavar="certctl.toml", help="The policy; certctl.toml of PATH is used where it exists.",
                                                show_default=False)] = None,
    policy_digest: Annotated[str | None, typer.Option("--policy-digest", metavar="SHA256", help="Refuse unless policy and requirements have this "
                                                      "digest (pin it outside the repository).", show_default=False)] = None,
    staged: Annotated[bool, typer.Option("--staged", help="Check what `git commit` would record, not the working tree (for hooks).")] = False,
    output_format: Format = OutputFormat.text,
    output_file: OutputFiles = None,
) -> int:
    """Every controller must have a passing bundle, checked now against your own requirements."""
    from certctl.gatekeeper import BadPolicy
    from certctl.gatekeeper import gate as keep

    to = outputs(output_format, output_file)
    with to.guarded("gate"), _staged() if staged else nullcontext(repository_root()) as root:
        try:
            report = keep(paths or (), policy, pinned=policy_digest, progress=lambda name: say(f"checking {name}"))
        except (BadPolicy, FileNotFoundError) as problem:
            raise UsageError(str(problem)) from None
        account = _account(report, paths or [Path()], root)
        say(f"policy digest {report.policy_digest}")
        for result in account.others:
            say(f"{result.name}: {result.message}")
        to.publish(account)
    say(f"{report.deployable} deployable, {report.refused} refused")
    return int(account.exit_code)


def _account(report: GateReport, paths: Sequence[Path], root: Path) -> Account:
    results = report.controllers
    if not results:
        where = ", ".join(str(path) for path in paths)
        results = (error("gate", "NOTHING_TO_CHECK", where, f"no requirement, policy entry or controller was found under {where}", "REFUSED"),)
    return Account("gate", results, report.policy, report.policy_digest, root)


@contextmanager
def _staged() -> Iterator[Path]:
    """Work in a copy of git's index, so that a bundle which lies in the working tree but is not committed does not count; gives its top folder."""
    here = Path.cwd()
    top = Path(_git("rev-parse", "--show-toplevel"))
    with tempfile.TemporaryDirectory(prefix="certctl-staged-") as folder:
        _git("-C", str(top), "checkout-index", "--all", f"--prefix={folder}{os.sep}")
        inside = Path(folder, os.path.relpath(here.resolve(), top.resolve()))
        if not inside.is_dir():
            raise UsageError("nothing of this folder is staged; run git add, or leave out --staged")
        with chdir(inside):
            yield Path(os.path.realpath(folder))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError("--staged needs git, which is not installed") from None
    if done.returncode != 0:
        raise UsageError(f"--staged needs a git repository: {(done.stderr.strip().splitlines() or ['git failed'])[-1]}")
    return done.stdout.strip()
