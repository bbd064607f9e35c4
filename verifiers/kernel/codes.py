"""Refusal codes: every way in which the kernel says no, one paragraph each."""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    """The four ends of a check; only ACCEPTED is good."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    DECLINED = "DECLINED"
    ERROR = "ERROR"
    INTEGRITY = "REFUSED "  # a refusal whose exit code is 4


class Code(Enum):
    """A refusal code: (ending, paragraph: what it means and what to try)."""

    # input
    BAD_NUMBER = (Ending.ERROR, "A number is not an exact decimal or fraction string. Write 0.15 or 3/20 as a string, without exponent.")
    BAD_SHAPE = (Ending.ERROR, "A list, vector or matrix has another length than the plant's states or inputs demand. Compare it with `certctl systems NAME`.")

    @property
    def ending(self) -> Ending:
        """How a check with this code ends."""
        return self.value[0]

    @property
    def paragraph(self) -> str:
        """What the code means and what to try."""
        return self.value[1]


class Refusal(Exception):
    """The kernel's no: a code, the place, and one sentence.

    Parameters
    ----------
    code : Code
        Why.
    at : str
        Where: a file, key, obligation, or state.
    message : str
        One sentence with the numbers that matter.
    """

    def __init__(self, code: Code, at: str, message: str) -> None:
        super().__init__(f"{code.name} at {at}: {message}")
        self.code, self.at, self.message = code, at, message
