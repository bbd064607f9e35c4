"""Questions that cannot be answered: outcome, code, one sentence, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import build
import pytest

from verifiers.prove import falsify

Spoil = Callable[[Path], object]


def text(old: str, new: str) -> Spoil:
    """Change a text of the requirement."""
    def apply(requirement: Path) -> None:
        found = requirement.read_text(encoding="utf-8")
        if old not in found:
            raise ValueError(old)
        requirement.write_text(found.replace(old, new), encoding="utf-8")
    return apply


def policy(data: bytes) -> Spoil:
    """Another controller."""
    return lambda requirement: (requirement.parent / "controller.onnx").write_bytes(data)


HEAD = 'lo = ["-1", "-4"]\nhi = ["1", "4"]'
QUESTIONS: dict[str, tuple[str, Spoil, str, str]] = {
    "controller missing": ("pendulum", lambda r: (r.parent / "controller.onnx").unlink(), "ERROR", "MISSING_FILE"),
    "requirement missing": ("pendulum", lambda r: r.unlink(), "ERROR", "MISSING_FILE"),
    "lyapunov missing": ("network_shell", lambda r: (r.parent / "lyapunov.onnx").unlink(), "ERROR", "MISSING_FILE"),
    "plant missing": ("own", lambda r: (r.parent / "own.plant.json").unlink(), "ERROR", "MISSING_FILE"),
    "plant unknown": ("pendulum", text('"pendulum"', '"unicycle"'), "ERROR", "MISSING_FILE"),
    "plant changed": ("own", lambda r: (r.parent / "own.plant.json").write_bytes(b"{}"), "REFUSED", "PLANT_MISMATCH"),
    "controller a folder": ("pendulum", lambda r: ((r.parent / "controller.onnx").unlink(), (r.parent / "controller.onnx").mkdir()), "REFUSED",
                            "UNSAFE_PATH"),
    "three states": ("pendulum", policy(build.layers([[1.0, 1.0, 1.0]])), "ERROR", "BAD_SHAPE"),
    "two outputs": ("pendulum", policy(build.layers([[1.0, 1.0], [1.0, 1.0]])), "ERROR", "BAD_SHAPE"),
    "lyapunov of three states": ("network_shell", lambda r: (r.parent / "lyapunov.onnx").write_bytes(build.layers([[1.0, 1.0, 1.0]])), "ERROR",
                                 "BAD_SHAPE"),
    "domain of three states": ("pendulum", text(HEAD, 'lo = ["-1", "-4", "-1"]\nhi = ["1", "4", "1"]'), "ERROR", "BAD_SHAPE"),
    "weight NaN": ("pendulum", policy(build.layers([[float("nan"), 1.0]])), "ERROR", "BAD_WEIGHTS"),
    "weight infinite": ("pendulum", policy(build.layers([[float("-inf"), 1.0]])), "ERROR", "BAD_WEIGHTS"),
    "operator unknown": ("pendulum", policy(build.layers([[1.0, 1.0]], [[1.0]], activation="Erf")), "ERROR", "UNKNOWN_OPERATOR"),
    "no ONNX": ("pendulum", policy(b"controller"), "ERROR", "BAD_ONNX"),
    "pickle": ("pendulum", policy(b"\x80\x04K\x01."), "ERROR", "FORBIDDEN_FORMAT"),
    "domain without equilibrium": ("exponential", text(HEAD, 'lo = ["1/10", "-4"]\nhi = ["1", "4"]'), "ERROR", "EQUILIBRIUM_OUTSIDE_DOMAIN"),
    "domain empty": ("pendulum", text(HEAD, 'lo = ["1", "-4"]\nhi = ["-1", "4"]'), "ERROR", "BAD_REQUIREMENT"),
    "nothing demanded": ("discrete", text('min_volume = "1/100"\n', ""), "ERROR", "BAD_REQUIREMENT"),
    "region empty": ("network_shell", text('level = "0.1"', 'level = "-1/2"'), "REFUSED", "EMPTY_REGION"),
    "no TOML": ("pendulum", text("property", "property property"), "ERROR", "BAD_REQUIREMENT"),
    "no UTF-8": ("pendulum", lambda r: r.write_bytes(b"\xff\xfe"), "ERROR", "BAD_REQUIREMENT"),
    "key unknown": ("pendulum", text("[region]", "[region]\nvolume = 1"), "ERROR", "BAD_REQUIREMENT"),
    "number NaN": ("discrete", text('"1/100"', "nan"), "ERROR", "BAD_NUMBER"),
    "parameter unknown": ("interval", text("\nm = ", "\nmass = "), "ERROR", "BAD_PARAMETER"),
    "property without rules": ("pendulum", text("asymptotic_stability_roa", "reach_avoid"), "ERROR", "BAD_REQUIREMENT"),
    "linearisation unstable": ("pendulum", policy(build.layers([[1.0, 1.0]])), "REFUTED", "UNSTABLE_EQUILIBRIUM"),
    "no equilibrium": ("biased", text('["1/20"]', '["1/1000"]'), "REFUTED", "NO_EQUILIBRIUM"),
    "budget zero": ("network_shell", lambda r: None, "UNKNOWN", "BUDGET"),
}


@pytest.mark.threat("T05", "T07", "T14", "T16")
@pytest.mark.parametrize("name", QUESTIONS)
def test_the_answer_has_a_code_and_a_sentence_and_leaves_nothing(name, tmp_path):
    base, spoil, outcome, code = QUESTIONS[name]
    requirement = build.BASES[base](tmp_path / "q")
    spoil(requirement)
    before = sorted(requirement.parent.iterdir())
    verdict = build.prove(requirement, budget=0.0 if name == "budget zero" else 10.0)
    assert (verdict.outcome, verdict.code) == (outcome, code), verdict.message
    assert verdict.message and "\n" not in verdict.message and verdict.at and "Traceback" not in verdict.message
    assert verdict.bundle is None and (verdict.receipt is None or verdict.receipt.outcome == "REFUSED")
    assert [p for p in sorted(requirement.parent.iterdir()) if p not in before and p.name != "loop.cert.search"] == []


@pytest.mark.parametrize("name", [name for name, (_, _, outcome, _) in QUESTIONS.items() if outcome != "UNKNOWN" and name != "region empty"])
def test_falsify_gives_the_same_answer(name, tmp_path):
    base, spoil, outcome, code = QUESTIONS[name]
    requirement = build.BASES[base](tmp_path / "q")
    spoil(requirement)
    verdict = falsify(requirement, budget=10.0)
    assert (verdict.outcome, verdict.code) == (outcome, code), verdict.message


def test_an_existing_bundle_is_kept_unless_it_may_be_replaced(bases, tmp_path):
    made = build.Twin(bases("linear"), tmp_path / "q")
    before = (made.bundle / "certificate.json").read_bytes()
    verdict = build.prove(made.requirement)
    assert (verdict.outcome, verdict.code) == ("ERROR", "BAD_REQUIREMENT")
    assert (made.bundle / "certificate.json").read_bytes() == before


@pytest.mark.parametrize(("old", "new", "code"), [('"1/20"\nmin_volume', '"99/100"\nmin_volume', "RADIUS_TOO_SMALL"),
                                                  ('"1/100"', '"13"', "VOLUME_TOO_SMALL"),
                                                  ('["1/20", "1/20"]', '["9/10", "3"]', "NOT_CONTAINED")])
def test_a_region_smaller_than_demanded_is_no_bundle(old, new, code, tmp_path):
    requirement = build.pendulum(tmp_path / "q")
    text(old, new)(requirement)
    verdict = build.prove(requirement)
    assert (verdict.outcome, verdict.code, verdict.bundle) == ("UNKNOWN", code, None)
    assert not (requirement.parent / "loop.cert").exists()
