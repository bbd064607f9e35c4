"""One-fault twins of claims that one exact inequality proves: gains, sets that are kept, and whole level sets by sums of squares."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from build import Twin

from verifiers.kernel.codes import Code as C

Fault = tuple[str, str, C, Callable[[Twin], object]]
"""Name, base, the code that must answer, and what is changed."""


def shown(t: Twin) -> dict[str, Any]:
    """The proof of the first obligation."""
    found: dict[str, Any] = t.predicate["obligations"][0]["proof"]
    return found


def matrix(t: Twin) -> list[list[str]]:
    """P of the quadratic."""
    found: list[list[str]] = t.predicate["functions"]["Q"]["matrix"]
    return found


def level(t: Twin, text: str) -> None:
    """Another level, in proof and claim."""
    shown(t)["level"] = t.claim["region"]["level"] = text


FAULTS: list[Fault] = [
    ("gain-multiplier-negative", "gain", C.NOT_DEFINITE, lambda t: shown(t)["multipliers"].__setitem__(0, "-1")),
    ("gain-multiplier-zero", "gain", C.NOT_DEFINITE, lambda t: shown(t)["multipliers"].__setitem__(1, "0")),
    ("gain-multiplier-huge", "gain", C.NOT_DEFINITE, lambda t: shown(t)["multipliers"].__setitem__(0, "1000000")),
    ("gain-multiplier-missing", "gain", C.BAD_SHAPE, lambda t: shown(t)["multipliers"].pop()),
    ("gain-multiplier-nan", "gain", C.BAD_NUMBER, lambda t: shown(t)["multipliers"].__setitem__(0, "NaN")),
    ("gain-smaller-claimed", "gain", C.CLAIM_MISMATCH, lambda t: t.claim["gain"].update(value="1")),
    ("gain-more-energy-claimed", "gain", C.CLAIM_MISMATCH, lambda t: t.claim["gain"].update(energy="1000")),
    ("gain-other-output-claimed", "gain", C.CLAIM_MISMATCH, lambda t: t.claim["gain"].update(output={"x1": "1", "x2": "1"})),
    ("gain-not-claimed", "gain", C.CLAIM_MISMATCH, lambda t: t.claim.pop("gain")),
    ("gain-level-beyond-the-domain", "gain", C.CONTAINMENT, lambda t: level(t, "1000000")),
    ("gain-level-below-the-energy", "gain", C.CONTAINMENT, lambda t: level(t, "1/2")),
    ("gain-level-zero", "gain", C.EMPTY_REGION, lambda t: level(t, "0")),
    ("gain-function-larger", "gain", C.NOT_DEFINITE, lambda t: t.predicate["functions"]["Q"].update(
        matrix=[[f"{100 * Fraction(v)}" for v in row] for row in matrix(t)])),
    ("gain-function-indefinite", "gain", C.NOT_DEFINITE, lambda t: matrix(t)[0].__setitem__(0, "-1")),
    ("gain-centred-where-tanh-is-not-exact", "gain", C.UNSUPPORTED, lambda t: t.predicate["functions"]["Q"].update(center=["1/1000", "0"])),
    ("gain-with-decay", "gain", C.MALFORMED_CERTIFICATE, lambda t: shown(t).update(decay="-1")),
    ("gain-with-supply", "gain", C.MALFORMED_CERTIFICATE, lambda t: shown(t).update(supply=["1000"])),
    ("gain-by-tree", "gain", C.UNSUPPORTED, lambda t: shown(t).update(kind="box_tree")),
    ("gain-not-shown", "gain", C.MISSING_OBLIGATION, lambda t: t.drop("gain")),
    ("gain-with-a-shell", "gain", C.UNEXPECTED_OBLIGATION, lambda t: t.add("shell-1", shown(t))),
    ("gain-without-function", "gain", C.MALFORMED_CERTIFICATE, lambda t: shown(t).update(function="V")),
    ("kept-supply-negative", "kept", C.NOT_PROVED, lambda t: shown(t)["supply"].__setitem__(0, "-1")),
    ("kept-supply-more", "kept", C.NOT_PROVED, lambda t: shown(t)["supply"].__setitem__(0, "1000")),
    ("kept-supply-negative-where-nothing-is-fed", "kept", C.NOT_PROVED, lambda t: shown(t)["supply"].__setitem__(1, "-1")),
    ("kept-supply-for-the-smaller-side", "kept", C.NOT_PROVED, lambda t: shown(t)["supply"].__setitem__(0, "3/2")),
    ("kept-supply-none", "kept", C.NOT_DEFINITE, lambda t: shown(t)["supply"].__setitem__(0, "0")),
    ("kept-supply-too-many", "kept", C.BAD_SHAPE, lambda t: shown(t)["supply"].append("0")),
    ("kept-decay-faster", "kept", C.NOT_DEFINITE, lambda t: shown(t).update(decay="9/10")),
    ("kept-decay-above-one", "kept", C.NOT_DEFINITE, lambda t: shown(t).update(decay="2")),
    ("kept-decay-one", "kept", C.NOT_DEFINITE, lambda t: shown(t).update(decay="1")),
    ("kept-decay-zero", "kept", C.NOT_PROVED, lambda t: shown(t).update(decay="0")),
    ("kept-decay-missing", "kept", C.MALFORMED_CERTIFICATE, lambda t: shown(t).pop("decay")),
    ("kept-level-lower", "kept", C.NOT_PROVED, lambda t: level(t, "1/1000000")),
    ("kept-level-beyond-the-domain", "kept", C.CONTAINMENT, lambda t: level(t, "1000000")),
    ("kept-multiplier-of-nothing", "kept", C.BAD_SHAPE, lambda t: shown(t)["multipliers"].append("1")),
    ("kept-centred-elsewhere", "kept", C.EQUILIBRIUM_NOT_PROVED, lambda t: (
        level(t, "1/2"), t.predicate["functions"]["Q"].update(center=["1/1000", "0"]))),
    ("kept-sold-as-a-gain", "kept", C.CLAIM_MISMATCH, lambda t: t.claim.update(gain={"value": "1", "energy": "1", "output": {"x1": "1"}})),
    ("whole-set-touches-the-boundary-unshown", "whole_named", C.CONTAINMENT, lambda t: (
        t.proof("whole").pop("tree"), t.files.pop("proof/whole.tree"))),
    ("whole-set-leaf-excused", "whole_named", C.MALFORMED_CERTIFICATE, lambda t: t.tree("whole", lambda _: bytes([128]))),
    ("whole-set-of-another-level", "whole_quadratic", C.CONTAINMENT, lambda t: t.level("whole", "82/100")),
]
