"""Escapes through the SDP layer: with a solver that calls anything optimal and a bug on top, the kernel accepts none of the false claims."""

from __future__ import annotations

import pytest
from count import attempt_sdp
from injection import blind, injected
from sdp_bugs import BUGS, CLAIMS, SOLVER

from verifiers.kernel.check import check
from verifiers.prove import verify

PAIRS = [(name, claim) for name, bug in BUGS.items() for claim in bug.believed]


@pytest.mark.threat("T02", "T04", "T06", "T08", "T09", "T11", "T13", "T14", "T25")
@pytest.mark.parametrize(("name", "claim"), PAIRS, ids=[f"{name}-{claim}" for name, claim in PAIRS])
def test_the_buggy_prover_believes_it_and_the_kernel_refuses(name, claim, tmp_path):
    run, bug = attempt_sdp(name, claim, tmp_path), BUGS[name]
    assert run.verdict.outcome == "PROVED", f"the bug does not bite: {run.verdict}"
    assert run.receipt.outcome != "ACCEPTED", f"ESCAPE: {bug.mistake}"
    assert run.receipt.code == bug.believed[claim]


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_solver_that_calls_anything_optimal_gets_nothing_past_the_prover(claim, tmp_path):
    """Without a bug what was found is tested before it is written; only what the kernel alone measures, a region too small, is left to it."""
    path = CLAIMS[claim].write(tmp_path)
    with injected([*blind(), *SOLVER]):
        verdict = verify(path, workers=1, budget=20.0)
    assert verdict.outcome == "UNKNOWN" or check(verdict.bundle, path).code == "NOT_CONTAINED"


@pytest.mark.parametrize("claim", [pytest.param(name, marks=pytest.mark.slow) if name in ("pushed", "spread") else name
                                   for name, claim in CLAIMS.items() if claim.twin is not None])
def test_the_true_twin_is_accepted(claim, tmp_path):
    pytest.importorskip("cvxpy")
    assert verify(CLAIMS[claim].write(tmp_path, false=False), workers=1, budget=120.0).outcome == "PROVED"


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_no_bug_gets_any_false_claim_past_the_kernel(name, tmp_path):
    for claim in CLAIMS:
        path = CLAIMS[claim].write(tmp_path / claim)
        with injected([*blind(), *SOLVER, *BUGS[name].replace()]):
            verdict = verify(path, workers=1, budget=20.0)
        assert verdict.bundle is None or check(verdict.bundle, path).outcome != "ACCEPTED", claim


def test_each_bug_says_what_was_done():
    assert len(BUGS) >= 10 and all(bug.mistake.endswith(".") and bug.believed for bug in BUGS.values())
    assert set(CLAIMS) == {claim for bug in BUGS.values() for claim in bug.believed}
