"""The largest sampled ellipsoid: never beyond what is known to be lost, near the known optimum, gains included."""

from __future__ import annotations

import math

import numpy as np
import pytest

from verifiers.region.ellipsoid import Loop, ball, widen
from verifiers.region.evolution import evolve

NO_GAINS = np.zeros(0)


def cubic(rate: float = 0.02, time: str = "continuous") -> Loop:
    """x_i' = -x_i + (2 x_i)^3 / 2: from |x_i| > 1/2 the state grows, so that the true region in [-1, 1]^n is the cube of half the size."""
    if time == "discrete":
        return Loop(lambda gains, z: z + 0.2 * (-z + 4 * z**3), lambda gains: 0.8 * np.eye(4), time, rate)
    return Loop(lambda gains, z: -z + 4 * z**3, lambda gains: -np.eye(4), time, rate)


def volume(p: np.ndarray) -> float:
    n = len(p)
    return math.pi ** (n / 2) / math.gamma(n / 2 + 1) / math.sqrt(np.linalg.det(p))


def test_a_loop_that_is_not_stable_has_no_ellipsoid():
    unstable = Loop(lambda gains, z: z * np.array([-1.0, -1.0, 0.1]), lambda gains: np.diag([-1.0, -1.0, 0.1]), "continuous", 0.0)
    assert widen(unstable, np.eye(3), NO_GAINS, seed=0, rounds=20) is None


def test_a_first_matrix_that_decreases_at_no_size_is_given_up():
    turning = Loop(lambda gains, z: z @ np.array([[-1.0, 0.0], [50.0, -1.0]]), lambda gains: np.array([[-1.0, 50.0], [0.0, -1.0]]), "continuous", 0.0)
    assert widen(turning, np.eye(2), NO_GAINS, seed=0, rounds=20) is None


@pytest.mark.parametrize("time", ["continuous", "discrete"])
def test_the_largest_ellipsoid_of_a_cube_is_its_ball(time):
    start = np.diag([1.0, 3.0, 0.5, 2.0]) + 0.2
    p, gains = widen(cubic(time=time), start, NO_GAINS, seed=1, rounds=400, states=4000)
    assert gains.size == 0
    half = np.sqrt(np.diag(np.linalg.inv(p)))
    assert (half < 0.51).all()
    assert 0.8 < volume(p) / (math.pi**2 / 2 / 16) < 1.02


def test_the_ellipsoid_stays_inside_of_the_box():
    easy = Loop(lambda gains, z: -z, lambda gains: -np.eye(3), "continuous", 0.1)
    p, _ = widen(easy, np.eye(3) + 0.5, NO_GAINS, seed=2, rounds=300, states=3000)
    assert (np.diag(np.linalg.inv(p)) <= 1 + 1e-9).all() and volume(p) > 0.95 * 4 / 3 * math.pi


def test_gains_move_with_the_ellipsoid():
    """x' = x + 1.5 tanh(g x) is stable for g < -2/3 only, and on |x| < 1 for g < -0.9."""
    loop = Loop(lambda gains, z: z + 1.5 * np.tanh(gains[0] * z), lambda gains: (1 + 1.5 * gains[0]) * np.eye(2), "continuous", 0.01)
    first, _ = widen(loop, np.eye(2), np.array([-0.7]), seed=3, rounds=0, states=2000)
    p, gains = widen(loop, np.eye(2), np.array([-0.7]), seed=3, rounds=300, states=2000)
    assert gains[0] < -0.85 and volume(p) > 2 * volume(first)


def test_states_of_the_ball_reach_all_scales():
    y = np.linalg.norm(ball(np.random.default_rng(0), 3000, 4), axis=1)
    assert y.max() <= 1 + 1e-12 and (y > 1 - 1e-12).mean() == pytest.approx(1 / 3, abs=0.01) and y.min() < 0.01


def test_evolution_finds_a_skew_optimum_and_passes_over_nan():
    goal, skew = np.array([3.0, -2.0, 0.5]), np.array([[1.0, 0.9, 0.0], [0.0, 0.1, 0.0], [0.3, 0.0, 10.0]])

    def score(v: np.ndarray) -> float:
        return math.nan if v[0] > 3.5 else -float((v - goal) @ skew @ skew.T @ (v - goal))

    found, best = evolve(score, score, np.ones(3), np.ones(3), rounds=300, seed=4)
    np.testing.assert_allclose(found, goal, atol=0.05)
    assert best == score(found)


def test_evolution_never_returns_less_than_the_start():
    found, best = evolve(lambda v: float(v.sum()), lambda v: -float(np.abs(v).sum()), np.zeros(2), np.ones(2), rounds=40, seed=5)
    assert best == 0 and not found.any()
