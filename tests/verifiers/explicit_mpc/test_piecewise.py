"""Piecewise-quadratic Lyapunov functions are found and survive the kernel, where the value function is no proof too; and what has none is told."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("cvxpy", reason="CVXPY is not installed here (the extra sdp brings it)")
pytest.importorskip("daqp", reason="DAQP is not installed here (the extra mpc brings it)")

from verifiers.explicit_mpc import piecewise
from verifiers.explicit_mpc.condense import Model, condense
from verifiers.explicit_mpc.partition import partition
from verifiers.explicit_mpc.piecewise import NoFunction, farkas, kernel_vector, leaf_rows, search
from verifiers.explicit_mpc.solve import solve
from verifiers.explicit_mpc.value import pieces
from verifiers.kernel.codes import Refusal
from verifiers.kernel.pwa import check_stability


def fractions(rows):
    return np.array([[Fraction(str(v)) for v in row] for row in rows], dtype=object)


FIVE, ONE = Fraction(5), Fraction(1)
# no terminal set, a terminal cost that is too small: the value function rises at some states (below), and the loop stays feasible all the same
SHORT = Model(fractions([[1, 1], [0, 1]]), fractions([["1/2"], [1]]), 4, fractions([[1, 0], [0, 1]]), fractions([[1]]), fractions([[1, 0], [0, 1]]),
              np.array([-FIVE] * 2, dtype=object), np.array([FIVE] * 2, dtype=object), x=((-FIVE, -FIVE), (FIVE, FIVE)), u=((-ONE,), (ONE,)))


@pytest.fixture(scope="module")
def found():
    problem = condense(SHORT)
    part = partition(problem, [region.active for region in solve(problem).regions], 1, (SHORT.A, SHORT.B))
    return part, search(part.law, (SHORT.A, SHORT.B))


def values(law, forms, theta):
    """Number of the leaf, successor, and V, exact."""
    lifted = np.append(theta, ONE)
    for leaf, (rows, k) in enumerate(leaf_rows(law)):
        if (rows @ lifted >= 0).all() and law.leaf(tuple(theta)) == -2 - k:
            return leaf, SHORT.A @ theta + SHORT.B @ (law.laws[k] @ lifted), lifted @ forms[k] @ lifted
    raise AssertionError("the law has no value there")


def test_the_function_falls_at_exact_states_while_the_value_function_rises_at_some(found):
    part, stability = found
    forms = [fractions(form) for form in stability.proof["forms"]]
    margin, draw, rises, tried = Fraction(stability.proof["margin"]), np.random.default_rng(0), 0, 0
    own = pieces(SHORT, part.active)

    def cost(theta):
        lifted = np.append(theta, ONE)
        return next(lifted @ form @ lifted for rows, form in zip(own.halfspaces, own.forms, strict=True)
                    if all(np.dot(np.array(row, dtype=object), lifted) >= 0 for row in rows))

    for point in draw.integers(-500, 501, (600, 2)).tolist():
        theta = np.array([Fraction(v, 100) for v in point], dtype=object)
        if part.law.exact(tuple(theta)) is None:
            continue
        i, after, now = values(part.law, forms, theta)
        j, _, then = values(part.law, forms, after)
        assert "falls" in stability.proof["steps"][i][j], "no transition that happens was left out"
        assert now >= margin * (theta @ theta) and then <= now - margin * (theta @ theta)
        rises += cost(after) > cost(theta)
        tried += 1
    assert tried > 300 and rises > 2


def test_the_kernel_accepts_it_and_refuses_each_transition_that_is_left_out(found):
    part, stability = found
    cells = [([(row, False) for row in rows], k) for rows, k in leaf_rows(part.law)]
    loop = (SHORT.A, SHORT.B)
    check_stability(cells, list(part.law.laws), loop, stability.proof)
    steps = [(i, j) for i, row in enumerate(stability.proof["steps"]) for j, step in enumerate(row) if "falls" in step]
    assert len(steps) == stability.transitions < stability.cells**2
    empty = next(step for row in stability.proof["steps"] for step in row if "empty" in step)
    for i, j in steps[:8]:
        proof = {**stability.proof, "steps": [[*row] for row in stability.proof["steps"]]}
        proof["steps"][i][j] = empty
        with pytest.raises(Refusal):
            check_stability(cells, list(part.law.laws), loop, proof)


def test_a_box_of_fractions_is_a_box_like_any_other(tmp_path):
    """The kernel's rows are integers without common factor; numbers of products belong to those."""
    from verifiers.explicit_mpc.prove import certify

    half = replace(SHORT, A=fractions([["1/2", 0], ["1/3", "1/2"]]), horizon=1, lb=fractions([["-2/5", "-3/7"]])[0],
                   ub=fractions([["2/5", "3/7"]])[0], x=((), ()))
    proved = certify(condense(half), tmp_path / "half.cert", outputs=1, loop=(half.A, half.B), stable=True)
    assert proved.receipt.outcome == "ACCEPTED", proved.receipt
    assert any(abs(row[-1]) not in (0, 1) for rows, _ in leaf_rows(proved.partition.law) for row in rows[:4])


def test_a_loop_that_does_not_converge_has_no_function():
    still = replace(SHORT, A=fractions([[1]]), B=fractions([[0]]), Q=fractions([[1]]), P=fractions([[1]]), horizon=1, x=((), ()),
                    lb=np.array([-ONE], dtype=object), ub=np.array([ONE], dtype=object))
    problem = condense(still)
    law = partition(problem, [region.active for region in solve(problem).regions], 1, (still.A, still.B)).law
    with pytest.raises(NoFunction, match="no piecewise-quadratic function was found"):
        search(law, (still.A, still.B))
    shifted = replace(law, laws=tuple(k + fractions([[0, "1/8"]]) for k in law.laws))
    with pytest.raises(NoFunction, match="rest at the origin"):
        search(shifted, (fractions([["1/2"]]), fractions([[1]])))


def test_a_solver_that_fails_is_no_function(found, monkeypatch):
    from verifiers.sdp.programme import Unsolved

    monkeypatch.setattr(piecewise, "solve", lambda *_, **__: [Unsolved("crash", "it went away")])
    with pytest.raises(NoFunction, match="it went away"):
        search(found[0].law, (SHORT.A, SHORT.B))


def test_what_the_solver_says_is_tested_in_rationals(found, monkeypatch):
    """Multipliers of zero, and forms of zero, are answers like any other: they do not get through."""
    from verifiers.sdp.programme import Solution

    monkeypatch.setattr(piecewise, "solve", lambda programmes, **_: [Solution(np.zeros(p.objective.size), 0.0, "none") for p in programmes])
    with pytest.raises(NoFunction, match="did not survive rounding"):
        search(found[0].law, (SHORT.A, SHORT.B))


def test_farkas_certificates_are_exact_or_none():
    rows = fractions([[1, 0, "-1/3"], [-1, 0, "1/7"], [0, 1, 1]])
    pairs = farkas(rows, np.array([0.5, 0.5, 0.0]))
    assert pairs == [[1, "1/2"], [2, "1/2"]]
    assert farkas(rows, np.array([0.5, 0.0, 0.5])) is None and farkas(fractions([[1, 0, 1], [-1, 0, 1]]), np.array([0.5, 0.5])) is None
    assert kernel_vector(fractions([[1, 2], [1, 3]])) is None and list(kernel_vector(fractions([[1, 2], [2, 4]]))) == [2, -1]
    assert list(kernel_vector(fractions([[1, 2], [-2, -4]]))) == [Fraction(2, 3), Fraction(1, 3)]
