"""Where a run's account goes: stdout in one format, any number of files in others, and GitHub's step summary."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from certctl.cli.output import OutputFormat, UsageError, say
from certctl.formats import FORMATS, Account
from certctl.result import Result, error

OutputFiles = Annotated[list[str] | None, typer.Option("--output-file", metavar="FORMAT:PATH", show_default=False,
                                                       help="Also write the result there, for example junit:gate.xml; repeatable.")]
SUMMARY = "GITHUB_STEP_SUMMARY"
_NOT_REPORTS = (".onnx", ".safetensors", ".toml", ".cert", ".py")


@dataclass(frozen=True)
class Outputs:
    """What is written besides stdout, and in which format stdout is."""

    chosen: OutputFormat
    files: tuple[tuple[str, Path], ...] = ()

    @contextmanager
    def guarded(self, command: str) -> Iterator[None]:
        """While a command works: whatever it raises is also written, as an error, into every output file before it goes on.

        An output file never survives from an earlier run: each is removed at the start, so that even a run that is killed leaves none.
        """
        for _, path in self.files:
            path.unlink(missing_ok=True)
        try:
            yield
        except BaseException as problem:
            failed = Account(command, (_accident(command, problem),))
            if self.chosen is OutputFormat.github:
                typer.echo(FORMATS["github"](failed), nl=False)
            self.write(failed)
            raise

    def write(self, account: Account) -> None:
        """Write every output file, and GitHub's step summary where the format is ``github`` and the runner names one."""
        for form, path in self.files:
            _replace(path, FORMATS[form](account))
        summary = os.environ.get(SUMMARY)
        if self.chosen is OutputFormat.github and summary:
            with open(summary, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(FORMATS["markdown"](account))

    def publish(self, account: Account) -> None:
        """Print the account on stdout in the chosen format, then write the files."""
        typer.echo(FORMATS[self.chosen.value](account), nl=False)
        self.write(account)


def outputs(chosen: OutputFormat, wanted: Sequence[str] | None) -> Outputs:
    """Read ``--output-file FORMAT:PATH``.

    Raises
    ------
    UsageError
        For an unknown format, no path, one path twice, a folder, the name of a controller or a requirement, or a place in a bundle, which
        the file would break.
    """
    files: dict[Path, str] = {}
    for item in wanted or ():
        form, colon, name = item.partition(":")
        if form not in FORMATS or not colon or not name or "\0" in name:
            raise UsageError(f"--output-file {item}: write FORMAT:PATH with a format of {', '.join(FORMATS)}")
        path = Path(os.path.abspath(name))
        if path.suffix.lower() in _NOT_REPORTS:
            raise UsageError(f"--output-file {item}: {name} is no name for a report, and a file that it stood for would be replaced")
        if path in files:
            raise UsageError(f"--output-file {item}: {name} is named twice; give every format its own file")
        if path.is_dir():
            raise UsageError(f"--output-file {item}: {name} is a folder; name a file in it")
        if (path.parent / "certificate.json").exists():
            raise UsageError(f"--output-file {item}: a file in a bundle that the certificate does not list breaks it; name another place")
        files[path] = form
    return Outputs(chosen, tuple((form, path) for path, form in files.items()))


def _replace(path: Path, text: str) -> None:
    """Write beside, then rename: whoever reads the file sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, aside = tempfile.mkstemp(prefix=f".{path.name[:60]}.", dir=path.parent)
    try:
        with open(number, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    present = os.umask(0)
    os.umask(present)
    return present


def _accident(command: str, problem: BaseException) -> Result:
    if isinstance(problem, KeyboardInterrupt):
        return error(command, "INTERRUPTED", command, "the run was interrupted before it ended; nothing has been decided", "UNKNOWN")
    if isinstance(problem, UsageError | ValueError | FileNotFoundError):
        return error(command, "USAGE", command, str(problem))
    say(f"{command}: the output files say that the run failed")
    return error(command, "INTERNAL", command, f"internal error, nothing was proved: {type(problem).__name__}: {problem}")
