"""Whatever a solver does, only a clean "optimal" answer to this very programme is a solution; everything else says why it is none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from verifiers.sdp import programme
from verifiers.sdp.programme import Programme, Solution, Unsolved, solve

FAKE = Path(__file__).with_name("fake_solver.py")


def ellipse(objective=(1.0, 0.0), bound=1.0, **more) -> Programme:
    """[[bound + a, b], [b, bound - a]] is semidefinite: a^2 + b^2 <= bound^2."""
    linear = sparse.csr_matrix(np.array([[1.0, 0], [0, 1], [0, 1], [-1, 0]]))
    return Programme(np.array(objective), ((2, linear, bound * np.eye(2).ravel()),), **more)


BAD = [("panic", "crash"), ("abort", "crash"), ("segfault", "crash"), ("hang", "timeout"), ("allocate", "memory"), ("exit 1", "crash"),
       ("inaccurate", "inaccurate"), ("infeasible", "infeasible"), ("nearly infeasible", "inaccurate"), ("unbounded", "unbounded"),
       ("solver error", "crash"), ("capital", "crash"), ("limit", "timeout"), ("nan", "garbage"), ("infinite", "garbage"), ("short", "garbage"),
       ("words", "garbage"), ("no x", "garbage"), ("other question", "garbage"), ("one too many", "garbage"), ("partial", "garbage"),
       ("list", "garbage"), ("words only", "garbage"), ("silent", "garbage")]


@pytest.mark.threat("T07")
@pytest.mark.threat("T06")
@pytest.mark.parametrize(("mode", "reason"), BAD, ids=[mode for mode, _ in BAD])
def test_a_misbehaving_solver_gives_no_solution(mode, reason):
    (found,) = solve([ellipse()], seconds=0.5 if mode == "hang" else 20.0, memory=1 << 30, command=[sys.executable, str(FAKE), mode])
    assert isinstance(found, Unsolved)
    assert found.reason == reason and found.says


def test_a_clean_answer_is_read():
    found = solve([ellipse(), ellipse()], command=[sys.executable, str(FAKE), "good"])
    assert [f.x.tolist() for f in found] == [[0.25, 0.25]] * 2


def test_a_program_that_cannot_be_started_is_absent():
    (found,) = solve([ellipse()], command=["no-such-solver-here"])
    assert isinstance(found, Unsolved) and found.reason == "absent"


def test_without_cvxpy_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(programme, "find_spec", lambda name: None)
    (found,) = solve([ellipse()])
    assert isinstance(found, Unsolved) and found.reason == "absent" and "certctl[sdp]" in found.says


def test_an_unknown_solver_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="CLARABEL"):
        solve([ellipse()], solver="NONE")


@pytest.mark.parametrize("solver", ["CLARABEL", "SCS"])
def test_real_solvers_solve_say_infeasible_and_unbounded(solver):
    pytest.importorskip("cvxpy")
    circle, corner = ellipse((3.0, 4.0)), ellipse(equalities=(sparse.csr_matrix(np.array([[1.0, -1.0]])), np.array([0.0])), nonnegative=(0,))
    nothing = Programme(np.array([1.0]), ((1, sparse.csr_matrix([[-1.0]]), np.array([-1.0])),), None, (0,))  # x <= -1 and x >= 0
    endless = Programme(np.array([1.0]), ((1, sparse.csr_matrix([[1.0]]), np.array([0.0])),))
    a, b, c, d = solve([circle, corner, nothing, endless], solver=solver)
    assert isinstance(a, Solution) and isinstance(b, Solution)
    assert np.allclose(a.x, [0.6, 0.8], atol=1e-4) and np.allclose(b.x, [0.5**0.5] * 2, atol=1e-4)  # the optimum of a linear function on a disc
    assert isinstance(c, Unsolved) and c.reason == "infeasible"
    assert isinstance(d, Unsolved) and d.reason == "unbounded"
