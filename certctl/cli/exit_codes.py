"""Exit codes: part of the public contract."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from certctl.codes import find


class ExitCode(IntEnum):
    """What a run of certctl tells the shell."""

    PROVED = 0
    REFUSED = 1
    ERROR = 2
    UNDECIDED = 3
    INTEGRITY = 4
    NOTHING = 5

    @property
    def meaning(self) -> str:
        """The sentence printed in ``--help``."""
        return _MEANING[self]


_MEANING = {
    ExitCode.PROVED: "proved, accepted",
    ExitCode.REFUSED: "refuted, refused",
    ExitCode.ERROR: "usage error, malformed input or internal error",
    ExitCode.UNDECIDED: "undecided, declined, interrupted",
    ExitCode.INTEGRITY: "integrity: a digest, signature or pinned policy does not match",
    ExitCode.NOTHING: "nothing to check",
}
_SEVERITY = (ExitCode.ERROR, ExitCode.INTEGRITY, ExitCode.REFUSED, ExitCode.UNDECIDED, ExitCode.NOTHING, ExitCode.PROVED)
_BY_OUTCOME = {"PROVED": ExitCode.PROVED, "REFUTED": ExitCode.REFUSED, "REFUSED": ExitCode.REFUSED, "UNKNOWN": ExitCode.UNDECIDED}


def exit_code(outcome: str, code: str | None) -> ExitCode:
    """Exit code of one result; a result that is not PROVED never gives 0, and an unknown outcome is an error."""
    if outcome == "PROVED":
        return ExitCode.PROVED if code is None else ExitCode.ERROR
    if outcome in ("REFUTED", "ERROR"):
        return ExitCode.REFUSED if outcome == "REFUTED" else ExitCode.ERROR
    found = find(code) if code else None
    if found is not None and found.exit_code in (ExitCode.ERROR, ExitCode.INTEGRITY, ExitCode.NOTHING):
        return ExitCode(found.exit_code)
    return _BY_OUTCOME.get(outcome, ExitCode.ERROR)


def combine(codes: Iterable[ExitCode]) -> ExitCode:
    """Exit code of several inputs, the worst in the order 2 > 4 > 1 > 3 > 5 > 0; nothing at all is 5."""
    present = set(codes)
    return next((code for code in _SEVERITY if code in present), ExitCode.NOTHING)


def table() -> str:
    """The exit codes as text for ``--help``: one line, in order."""
    listed = " · ".join(f"{int(code)} {code.meaning}" for code in ExitCode)
    return f"Exit codes: {listed}. Several inputs: 2 > 4 > 1 > 3 > 5 > 0. No flag turns a refusal into 0."
