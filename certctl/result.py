"""One result for people and machines: what verify, falsify, check and each line of gate have to say."""

from __future__ import annotations

import builtins
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certctl.requirements import name_of

if TYPE_CHECKING:
    from verifiers.kernel.check import Receipt
    from verifiers.prove import Verdict

LEVELS = ("L0", "L1", "L2", "L3")
_SPOKEN = {"ACCEPTED": "PROVED", "REFUSED": "REFUSED", "DECLINED": "UNKNOWN", "ERROR": "ERROR"}


@dataclass(frozen=True)
class Result:
    """What a command found out about one requirement or bundle.

    Attributes
    ----------
    outcome : str
        ``PROVED`` (only from an accepting kernel), ``REFUTED``, ``REFUSED``, ``UNKNOWN`` or ``ERROR``.
    code, at, message : str or None
        Why not and where; None when proved.
    name, property, level : str or None
        NAME of the requirement, its property, and the computed evidence level.
    region, equilibrium, counterexample : mapping or None
        As in the receipt and the verdict.
    search_s, check_s : float
        Seconds spent here on searching and on checking.
    leaves : int
        Leaves of all proof trees.
    bundle : str or None
        Where the bundle lies.
    requirement_file : str or None
        The caller's requirement, where one was given.
    signed_by : tuple of str
        Names of the keys that were asked for and have signed.
    second : mapping or None
        What the second checker said, where it was asked: outcome, why, boxes, seconds.
    receipt : Receipt or None
        The kernel's own answer, for whoever draws what it accepted.
    """

    outcome: str
    name: str
    code: str | None = None
    at: str | None = None
    message: str = ""
    property: str | None = None
    level: str | None = None
    region: Mapping[str, Any] | None = None
    equilibrium: Mapping[str, Any] | None = None
    counterexample: Mapping[str, Any] | None = None
    search_s: float = 0.0
    check_s: float = 0.0
    leaves: int = 0
    bundle: str | None = None
    bundle_digest: str | None = None
    controller: str | None = None
    controller_sha256: str | None = None
    requirement: str | None = None
    obligations: tuple[Mapping[str, Any], ...] = ()
    assumptions: tuple[str, ...] = ()
    requirement_file: str | None = None
    signed_by: tuple[str, ...] = ()
    second: Mapping[str, Any] | None = None
    receipt: Receipt | None = field(default=None, repr=False, compare=False)

    @builtins.property
    def is_proved(self) -> bool:
        """True when the kernel accepted and nothing above it refused."""
        return self.outcome == "PROVED"

    def refuse(self, code: str, at: str, message: str) -> Result:
        """The same result, refused: nothing that was proved is repeated as a claim."""
        return replace(self, outcome="REFUSED", code=code, at=at, message=message, level=None, region=None, equilibrium=None, receipt=None)


def from_receipt(receipt: Receipt, bundle: Path | None = None) -> Result:
    """Put the kernel's receipt into words: ACCEPTED reads PROVED, DECLINED reads UNKNOWN; any other word is an error."""
    outcome = _SPOKEN.get(receipt.outcome, "ERROR")
    proved = outcome == "PROVED"
    return Result(
        outcome, receipt.name, None if proved else receipt.code or "INTERNAL", None if proved else receipt.at, receipt.message, receipt.property,
        receipt.level if proved else None, receipt.region if proved else None, receipt.equilibrium if proved else None, None, 0.0, receipt.check_s,
        receipt.leaves, None if bundle is None else str(bundle), receipt.bundle_digest, None, receipt.controller_sha256,
        receipt.requirement_source, tuple(receipt.obligations), tuple(receipt.assumptions), receipt=receipt)


def from_verdict(verdict: Verdict, requirement: Path) -> Result:
    """Put the prover's verdict into words; PROVED needs the receipt of an accepting kernel, else it is an internal error."""
    accepted = verdict.receipt is not None and verdict.receipt.outcome == "ACCEPTED"
    if verdict.outcome == "PROVED" and not accepted:
        return error(name_of(requirement), "INTERNAL", "verify", "the prover says PROVED but the kernel has not accepted a bundle")
    base = Result("ERROR", name_of(requirement)) if verdict.receipt is None else from_receipt(verdict.receipt, verdict.bundle)
    result = replace(base, name=verdict.name, search_s=verdict.search_s, counterexample=verdict.counterexample, message=verdict.message,
                     bundle=None if verdict.bundle is None else str(verdict.bundle), property=base.property or stated_property(requirement),
                     requirement_file=str(requirement))
    if verdict.outcome == "PROVED":
        return result
    outcome = verdict.outcome if verdict.outcome in ("REFUTED", "REFUSED", "UNKNOWN") else "ERROR"
    return replace(result, outcome=outcome, code=verdict.code or "INTERNAL", at=verdict.at, level=None, region=None, equilibrium=None,
                   receipt=None)


def error(name: str, code: str, at: str, message: str, outcome: str = "ERROR") -> Result:
    """A result without a receipt."""
    return Result(outcome, name, code, at, message)


def stated_property(requirement: Path) -> str | None:
    """The property that a requirement states, for display; None when it cannot be read."""
    from certctl.requirements import read_toml

    try:
        value = read_toml(requirement).get("property")
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def number(value: Any) -> float | None:
    """A finite float from a number or an exact rational string; None when there is none."""
    try:
        x = float(Fraction(value)) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    return x if math.isfinite(x) else None


def to_json(result: Result) -> dict[str, Any]:
    """The JSON object of the public contract; numbers are JSON numbers, absent things null."""
    region, box, witness = result.region, result.equilibrium, result.counterexample
    return {
        "outcome": result.outcome, "code": result.code, "at": result.at, "message": result.message, "name": result.name,
        "property": result.property, "level": result.level,
        "region": None if region is None else {"function": region.get("function"), "level": number(region.get("level")),
                                               "volume_lower_bound": number(region.get("volume_lower_bound"))},
        "equilibrium": None if box is None else {"lo": [number(v) for v in box["lo"]], "hi": [number(v) for v in box["hi"]]},
        "search_s": number(result.search_s), "check_s": number(result.check_s), "leaves": result.leaves,
        "bundle": result.bundle, "bundle_digest": result.bundle_digest,
        "controller": result.controller, "controller_sha256": result.controller_sha256, "requirement": result.requirement,
        "signed_by": list(result.signed_by), "second": None if result.second is None else dict(result.second),
        "counterexample": None if witness is None else {"x": [number(v) for v in witness["x"]], "why": witness.get("why")},
        "obligations": [{key: number(value) if isinstance(value, float) else value for key, value in entry.items()} for entry in result.obligations],
        "assumptions": list(result.assumptions),
    }
