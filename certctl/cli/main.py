"""``certctl``: the commands, and the one place where a run ends."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from certctl import __version__
from certctl.cli import attacking, beginning, comparing, decide, explicit_mpc, export, gating, learn, picture, proving, reading, signing
from certctl.cli.exit_codes import ExitCode, table
from certctl.cli.output import UsageError, say

app = typer.Typer(
    name="certctl", no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]}, epilog=table(),
    help="Prove closed-loop stability of learned controllers, re-check the proof with a small kernel, and let nothing else be deployed.")
proving.register(app)
gating.register(app)
decide.register(app)
explicit_mpc.register(app)
reading.register(app)
picture.register(app)
export.register(app)
comparing.register(app)
signing.register(app)
beginning.register(app)
learn.register(app)
attacking.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"certctl {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Options before the command; ``--debug`` is read by :func:`run`."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no exception passes.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Notes
    -----
    Every uncaught exception is exit 2 with one sentence (a traceback only with ``--debug``), Ctrl-C is exit 3, and what argument parsing
    refuses is exit 2, so no accident reads as "proved".
    """
    from verifiers.memory import keep_freed_memory, single_threaded_products

    keep_freed_memory()
    single_threaded_products()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("certctl").setLevel(logging.DEBUG)
    try:
        ended = app(args=[item for item in given if item != "--debug"], prog_name="certctl", standalone_mode=False)
        sys.stdout.flush()
        return int(ended) if isinstance(ended, int) else int(ExitCode.PROVED)
    except KeyboardInterrupt:
        say("certctl: interrupted")
        return int(ExitCode.UNDECIDED)
    except BrokenPipeError:
        # Whoever read stdout is gone: say nothing more, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.ERROR)
    except SystemExit:
        # Typer's way to say that whoever read stdout is gone.
        logging.getLogger("certctl").debug("the command exited", exc_info=True)
        return int(ExitCode.ERROR)
    except Exception as error:
        logging.getLogger("certctl").debug("the command failed", exc_info=True)
        if says := sentence(error):
            say(f"certctl: {says}")
        return int(ExitCode.ERROR)


def sentence(error: BaseException) -> str:
    """One sentence about an exception, for people; empty when Typer has printed the help already."""
    if isinstance(error, UsageError):
        return str(error)
    if hasattr(error, "format_message"):
        says = str(error.format_message())
        return f"{says} (certctl COMMAND --help lists what each command takes)" if says else ""
    if isinstance(error, ImportError):
        return proving.missing(error)
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return str(error)
    return f"internal error, nothing was proved: {type(error).__name__}: {error} (--debug shows where)"
