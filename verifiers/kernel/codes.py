"""Refusal codes: every way in which the kernel says no.  What each means and what to try stands in certctl/explanations.py."""

from __future__ import annotations

from enum import Enum


class Ending(Enum):
    """The four ends of a check, valued by their exit code; only ACCEPTED is good."""

    ACCEPTED = 0
    REFUSED = 1
    ERROR = 2
    DECLINED = 3


_REFUSED, _ERROR, _DECLINED, _INTEGRITY = 1, 2, 3, 4


class Code(Enum):
    """A refusal code.

    Attributes
    ----------
    exit_code : int
        1 refused, 2 input or internal error, 3 declined, 4 refused because bytes are not the bytes that were certified.
    ending : Ending
        How a check with this code ends (integrity failures are refusals).
    """

    # the input cannot be understood
    BAD_NUMBER = BAD_SHAPE = BAD_REQUIREMENT = BAD_PARAMETER = BAD_PLANT = BAD_ONNX = BAD_WEIGHTS = BAD_GRAPH = _ERROR
    BAD_PROBLEM = BAD_LAW = UNKNOWN_OPERATOR = FORBIDDEN_FORMAT = MISSING_FILE = EQUILIBRIUM_OUTSIDE_DOMAIN = INTERNAL = _ERROR
    # the bytes are not the bytes that were certified
    DIGEST_MISMATCH = CONTROLLER_MISMATCH = PLANT_MISMATCH = PROBLEM_MISMATCH = REQUIREMENT_MISMATCH = UNLISTED_FILE = UNSAFE_PATH = _INTEGRITY
    # the proof does not show what is required
    MALFORMED_CERTIFICATE = CLAIM_MISMATCH = MISSING_OBLIGATION = UNEXPECTED_OBLIGATION = _REFUSED
    EQUILIBRIUM_NOT_PROVED = EQUILIBRIUM_ELSEWHERE = NOT_DEFINITE = LOCAL_DECREASE = DECREASE = CHAIN = CONTAINMENT = IMAGE = _REFUSED
    TREE_INCOMPLETE = TREE_TRAILING = LEAF_NOT_OUTSIDE = LEAF_NOT_INSIDE = NOT_CONTAINED = VOLUME_TOO_SMALL = RADIUS_TOO_SMALL = _REFUSED
    EMPTY_REGION = COMMAND_EXCEEDS_LIMIT = TARGET_NOT_CONTAINED = UNSAFE_SET = RATE = NOT_PROVED = EVIDENCE_TOO_LOW = _REFUSED
    NOT_OPTIMAL = NOT_INFEASIBLE = _REFUSED
    # the prover has an exact witness against the claim
    UNSTABLE_EQUILIBRIUM = NO_EQUILIBRIUM = COUNTEREXAMPLE = _REFUSED
    # neither proved nor refuted
    UNSUPPORTED = TOO_LARGE = BUDGET = INTERRUPTED = NO_PROOF_FOUND = PART_MISSING = _DECLINED

    def __new__(cls, exit_code: int) -> Code:
        code = object.__new__(cls)
        code._value_ = (len(cls.__members__), exit_code)  # many codes share an exit code; equal values would make them aliases
        return code

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self.ending = Ending.REFUSED if exit_code == _INTEGRITY else Ending(exit_code)


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
        super().__init__(code, at, message)
        self.code, self.at, self.message = code, at, message

    def __str__(self) -> str:
        return f"{self.code.name} at {self.at}: {self.message}"


def need(condition: object, code: Code, at: str, message: str) -> None:
    """Raise a :class:`Refusal` unless the condition holds (NaN in a comparison does not)."""
    if not condition:
        raise Refusal(code, at, message)
