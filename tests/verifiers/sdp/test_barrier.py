"""Sets that a polynomial loop never leaves, by sums of squares: about a limit cycle, where no quadratic of the linearisation can be."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from polynomial_loops import case

from verifiers.kernel.check import check
from verifiers.prove import verify
from verifiers.sdp.programme import Unsolved

VAN_DER_POL = [{(0, 1): 1}, {(0, 1): 1, (2, 1): -1, (1, 0): -1}]
BOX = 'contains = { lo = ["-2", "-1"], hi = ["2", "1"] }'


def kept(folder: Path, more: str = "degree = 4\n", *, fields=VAN_DER_POL, region: str = BOX, method: str = "sos") -> Path:
    """The requirement that the loop keeps a set about the box, within |x| <= 4."""
    path = case(folder, region, fields=fields, half="4", more=more)
    text = path.read_text(encoding="utf-8").replace("asymptotic_stability_roa", "forward_invariance").replace('"sos"', f'"{method}"')
    path.write_text(text, encoding="utf-8")
    return path


def test_a_set_about_a_limit_cycle_is_kept(tmp_path):
    """The equilibrium in it is unstable: a quadratic of the linearisation does not exist."""
    pytest.importorskip("cvxpy")
    path = kept(tmp_path / "sos")
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict.message
    assert verdict.receipt.region["function"] == "V" and 30 < verdict.receipt.region["volume_lower_bound"] < 64
    assert check(path.with_suffix(".cert"), path).outcome == "ACCEPTED"
    assert verify(kept(tmp_path / "boxes", "", method="branch-and-bound"), workers=1).outcome == "UNKNOWN"


def test_what_is_left_is_not_kept(tmp_path):
    """Van der Pol in reverse time leaves every box from outside of its limit cycle, and the box demanded reaches beyond."""
    pytest.importorskip("cvxpy")
    reverse = [{m: -v for m, v in terms.items()} for terms in VAN_DER_POL]
    path = kept(tmp_path, fields=reverse, region='contains = { lo = ["-3", "-3"], hi = ["3", "3"] }')
    verdict = verify(path, workers=1, budget=120)
    assert verdict.outcome == "UNKNOWN" and verdict.code == "NO_PROOF_FOUND"


def test_a_wrong_candidate_of_the_solver_proves_nothing(tmp_path, monkeypatch):
    """Whatever the programme gives, the tree decides: V = |x|^2 / 4 rises along this loop within its level."""
    from verifiers.kernel.polynomial import Polynomial

    ball = Polynomial({(2, 0): Fraction(1, 4), (0, 2): Fraction(1, 4)})
    monkeypatch.setattr("verifiers.sdp.barrier.solve", lambda made, **more: [type("Found", (), {"x": np.zeros(99)})() for _ in made])
    monkeypatch.setattr("verifiers.sdp.barrier.found_in", lambda *given: ball)
    verdict = verify(kept(tmp_path, region='contains = { lo = ["-1", "-1"], hi = ["1", "1"] }'), workers=1, budget=20)
    assert verdict.outcome in ("UNKNOWN", "REFUTED") and not (tmp_path / "requirement.cert").exists()


@pytest.mark.parametrize("given, code", [({"fields": [{(0, 1): 1}, {(1, 0): -1}], "time": "discrete"}, "UNSUPPORTED"), ({}, "NO_PROOF_FOUND")])
def test_without_a_candidate_the_answer_says_why(tmp_path, monkeypatch, given, code):
    monkeypatch.setattr("verifiers.sdp.barrier.solve", lambda made, **more: [Unsolved("inaccurate", "nothing") for _ in made])
    path = kept(tmp_path, fields=given.get("fields", VAN_DER_POL))
    if "time" in given:
        sampled = 'time = "discrete"\ndt = "1/10"\nmethod = "euler"'
        path.write_text(path.read_text(encoding="utf-8").replace('time = "continuous"', sampled), encoding="utf-8")
    verdict = verify(path, workers=1, budget=20)
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", code)
