"""The forecast of a tree is near the tree that the search grows, and refuses states that no leaf holds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.properties import Goal
from verifiers.kernel.stage import Stage, quadratic
from verifiers.smt.branch_and_bound import search
from verifiers.smt.forecast import forecast


def _stage() -> Stage:
    """x' = -x + 0.2 tanh(turned x) with V = |x|^2, region V <= 0.9 in [-1, 1]^2, an inner disc of 0.01."""
    b = Builder()
    x = b.input(2)
    bent = b.unary("tanh", b.affine(x, Affine(np.array([[0.3, 2.0], [-2.0, 0.4]]), np.zeros(2))))
    field = b.build([b.binary("sub", b.affine(bent, Affine(0.2 * np.eye(2), np.zeros(2))), x)])
    eye, zero = ((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1))), (Fraction(0), Fraction(0))
    disc, one = quadratic(eye, zero), np.ones(2)
    return Stage(field, "continuous", disc, Fraction(9, 10), -one, one, -one, one, ((disc, Fraction(1, 100)),))


def test_the_forecast_is_near_the_tree():
    stage, goal, rng = _stage(), Goal("attraction"), np.random.default_rng(0)
    grown = search(stage, goal)
    assert grown.finished and not grown.stuck_lo.size and grown.leaves > 50
    found = forecast(stage, goal, rng.uniform(-1, 1, (20_000, 2)), np.full(20_000, 4.0))
    assert abs(found.leaves - grown.leaves) < 5 * found.error < 0.2 * grown.leaves
    assert found.pace > 0


def test_another_density_gives_the_same_number():
    stage, goal, rng = _stage(), Goal("attraction"), np.random.default_rng(1)
    x = rng.uniform(-1, 1, (20_000, 2))
    x[:, 0] = np.sign(x[:, 0]) * np.abs(x[:, 0]) ** 2  # density 1 / (8 sqrt|x_1|)
    found = forecast(stage, goal, x, 8 * np.sqrt(np.abs(x[:, 0])))
    assert abs(found.leaves - search(stage, goal).leaves) < 5 * found.error < 0.3 * found.leaves


def test_a_state_outside_of_the_root_is_refused():
    with pytest.raises(ValueError, match="outside"):
        forecast(_stage(), Goal("attraction"), np.array([[0.0, 1.5]]), np.ones(1))
