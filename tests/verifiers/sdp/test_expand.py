"""Function and multiplier in turns: the set grows towards the true region, and only what is proved afterwards counts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("cvxpy")

from verifiers.kernel.polynomial import Polynomial, shifted
from verifiers.sdp.expand import expand, multiplier
from verifiers.sdp.programme import Unsolved
from verifiers.sdp.sos import Problem, degrees, prove_levels, values

ONE = Fraction(1)
HALF = (Fraction(21, 10), Fraction(11, 4))
V = Polynomial({(2, 0): Fraction(3, 2), (1, 1): -ONE, (0, 2): ONE})
FIELD = Polynomial({(0, 1): -ONE}), Polynomial({(1, 0): ONE, (0, 1): -ONE, (2, 1): ONE})
PROBLEM = Problem(V, FIELD, tuple(shifted([Fraction(0)] * 2)), (tuple(-h for h in HALF), HALF), False)


def field(x):
    return np.stack([-x[:, 1], x[:, 0] - x[:, 1] + x[:, 0] ** 2 * x[:, 1]], axis=1)


@pytest.fixture(scope="module")
def states():
    """Reversed van der Pol: states of the domain that converge by Heun's method, and the others."""
    x = np.random.default_rng(3).uniform([-2.1, -2.75], [2.1, 2.75], (6000, 2))
    y = x.copy()
    with np.errstate(all="ignore"):
        for _ in range(1500):
            k = field(y)
            y = y + 0.005 * (k + field(y + 0.01 * k))
        inside = (np.abs(y) < 0.5).all(axis=1)
    assert 0.55 < inside.mean() < 0.62  # the true share is 0.594
    return x[inside], x[~inside]


@pytest.fixture(scope="module")
def start():
    found = prove_levels(PROBLEM, [Fraction(2)], order=4)
    assert not isinstance(found, Unsolved)
    return found


def test_a_quadratic_grows_into_a_polynomial_of_degree_four(states, start):
    before = (values(V, states[0]) <= 2).mean()
    v = expand(PROBLEM, *start, states, order=4, degree=4)
    assert v is not None and degrees(v) == (2, 4)
    after = prove_levels(replace(PROBLEM, v=v), [Fraction(99, 100)], order=4)
    assert not isinstance(after, Unsolved)
    filled = (values(v, states[0]) <= 0.99).mean()
    assert filled > before + 0.05
    assert not (values(v, states[1]) <= 0.99).any()


def test_the_multiplier_is_the_one_of_the_proof(start):
    level, fields = start
    s = multiplier(fields)
    x = np.random.default_rng(0).normal(size=(200, 2))
    assert s is not None and (values(s, x) > 0).all()
    kept = {**fields, "multipliers": [m for m in fields["multipliers"] if m["of"] != "level"]}
    assert multiplier(kept) is None and expand(PROBLEM, level, kept, (x, x), order=4) is None


def test_without_a_solution_there_is_no_candidate(states, start, monkeypatch):
    monkeypatch.setattr("verifiers.sdp.expand.solve", lambda given, **more: [Unsolved("crash", "it died")] * len(given))
    assert expand(PROBLEM, *start, states, order=4) is None
