"""The account of one run: its results, the policy that it followed, and where things lie within the repository."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from certctl.cli.exit_codes import ExitCode, combine, exit_code
from certctl.result import Result


@dataclass(frozen=True)
class Account:
    """What one run has to say.

    Attributes
    ----------
    command : str
        ``gate``, ``check``, ``verify`` or ``falsify``.
    results : tuple of Result
        One per controller.
    policy, policy_digest : str or None
        Of a gate: the policy file and the digest of the question asked.
    root : Path
        The repository, to which all places are relative; see :func:`repository_root`.
    """

    command: str
    results: tuple[Result, ...]
    policy: str | None = None
    policy_digest: str | None = None
    root: Path = field(default_factory=lambda: repository_root())

    @property
    def deployable(self) -> int:
        """Number of results that are proved."""
        return sum(result.is_proved for result in self.results)

    @property
    def others(self) -> tuple[Result, ...]:
        """Everything that is not proved, for whatever reason."""
        return tuple(result for result in self.results if not result.is_proved)

    @property
    def exit_code(self) -> ExitCode:
        """The worst of all results; nothing at all is 5."""
        return combine(exit_code(result.outcome, result.code) for result in self.results)

    def place(self, result: Result) -> str | None:
        """The file that a person should look at: requirement, else controller, else bundle, else policy; relative to the repository.

        A file outside the repository is named without its folders, so that no output depends on the machine.
        """
        for path in (result.requirement_file, result.controller, result.bundle, self.policy):
            if path is not None:
                return self.relative(path)
        return None

    def relative(self, path: str | Path) -> str:
        """A path relative to the repository, with ``/`` between folders; the bare name of a file outside."""
        inside = os.path.relpath(os.path.abspath(path), self.root)
        outside = inside == os.pardir or inside.startswith(os.pardir + os.sep) or os.path.isabs(inside)
        return (os.path.basename(os.path.abspath(path)) if outside else inside).replace(os.sep, "/")

    def words(self, text: str) -> str:
        """A message in which no path begins with the folders of this machine."""
        return text.replace(f"{self.root}{os.sep}", "")

    def at(self, result: Result) -> str | None:
        """The result's place as text: a path becomes relative to the repository, anything else stays as it is."""
        at = result.at
        return self.relative(at) if at is not None and os.path.isabs(at) else at


def repository_root(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds ``.git``; without one, the folder where the search began (default: the current one)."""
    here = Path(os.path.abspath(start or Path()))
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
