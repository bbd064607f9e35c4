"""Upper bounds by branch and bound: never below what samples show, close to known values, and no bound at all where a number is missing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from systems import pendulum
from verifiers.kernel.graph import Affine, Builder
from verifiers.load.floats import evaluate
from verifiers.region.contraction import contraction, frame_for, input_gain
from verifiers.region.maximum import covering_radius, growth_up, maximum, spectral_up, value_norm

LO, HI = np.array([-1.0, -2.0]), np.array([1.0, 2.0])


def loop(a: list[list[float]], limit: Fraction | None = None):
    """x' = A x + clip(x_1) e_2, or x' = A x."""
    b = Builder()
    x = b.input(2)
    out = b.affine(x, Affine(np.array(a), np.zeros(2)))
    if limit is not None:
        u = b.affine(b.clip(b.take(x, (0,)), [-limit], [limit]), Affine(np.array([[0.0], [-4.0]]), np.zeros(2)))
        out = b.binary("add", out, u)
    return b.build([out])


# norms of matrices


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_norms_are_never_below_lapacks_and_close(n):
    rng = np.random.default_rng(n)
    a = rng.normal(size=(300, n, n)) * 10.0 ** rng.uniform(-20, 20, (300, 1, 1))
    a[:20] = np.round(a[:20])
    two, none = np.linalg.norm(a, 2, axis=(1, 2)), np.zeros_like(a)
    assert (spectral_up(a, none) >= two).all() and (spectral_up(a, none) <= two * (1 + 1e-3) + 1e-140).all()
    grow = np.linalg.eigvalsh((a + a.transpose(0, 2, 1)) / 2)[:, -1]
    assert (growth_up(a, none) >= grow - 1e-12 * two).all() and (growth_up(a, none) <= grow + 2e-3 * two + 1e-140).all()


def test_radii_are_counted_and_what_is_no_number_bounds_nothing():
    mid, rad = np.eye(2)[None], np.array([[[0.0, 3.0], [4.0, 0.0]]])
    assert spectral_up(mid, rad)[0] >= 6 and growth_up(mid, rad)[0] >= 6
    for bad in (np.nan, np.inf):
        for m, r in ((np.full((1, 2, 2), bad), np.zeros((1, 2, 2))), (np.zeros((1, 2, 2)), np.full((1, 2, 2), bad))):
            assert not np.isfinite(spectral_up(m, r)).any() and not np.isfinite(growth_up(m, r)).any()


# the search


def test_a_bound_that_is_no_number_makes_the_maximum_infinite():
    assert maximum(lambda a, b: (np.full(len(a), np.nan), np.zeros(len(a))), LO, HI, most=50).upper == np.inf


def test_few_boxes_give_a_looser_bound_and_no_smaller_one():
    def bounds(a, b):  # of x_1 x_2, whose largest value is 2
        corners = np.stack([a[:, 0] * a[:, 1], a[:, 0] * b[:, 1], b[:, 0] * a[:, 1], b[:, 0] * b[:, 1]])
        return corners.max(axis=0) + 0.1 * (b - a).max(axis=1), (a + b).prod(axis=1) / 4

    coarse, fine = (maximum(bounds, LO, HI, most=most) for most in (4, 100_000))
    assert 2 <= fine.upper <= coarse.upper and fine.upper < 2.1 and fine.lower <= 2


# the covering radius


@pytest.mark.parametrize(("points", "radius"), [([[0.0, 0.0]], np.sqrt(5)), ([[0.0, -1.0], [0.0, 1.0]], np.sqrt(2)), ([[3.0, 0.0]], np.sqrt(20))])
def test_known_covering_radii(points, radius):
    assert radius <= covering_radius(np.array(points), LO, HI).upper <= 1.021 * radius


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_state_is_farther_from_the_data_than_the_covering_radius(n):
    rng = np.random.default_rng(n)
    data, lo, hi = rng.uniform(-1, 1, (60, n)), -np.ones(n), np.ones(n)
    found = covering_radius(data, lo, hi)
    states = rng.uniform(-1, 1, (20_000, n))
    seen = max(np.min(np.linalg.norm(data[:, None] - part[None], axis=2), axis=0).max() for part in np.array_split(states, 20))
    assert seen <= found.upper <= 1.03 * found.lower and found.lower <= found.upper
    assert covering_radius(data[:30], lo, hi).upper >= found.lower


# graphs and loops


def test_the_norm_of_a_graph_is_bounded():
    b = Builder()
    graph = b.build([b.unary("sin", b.affine(b.input(2), Affine(np.array([[1.0, 1.0], [0.5, -1.0]]), np.zeros(2))))])
    found = value_norm(graph, LO, HI)
    seen = np.linalg.norm(evaluate(graph, np.random.default_rng(0).uniform(LO, HI, (50_000, 2))), axis=1).max()
    assert seen <= found.upper <= 1.05 * seen


@pytest.mark.parametrize("time", ["discrete", "continuous"])
def test_a_linear_loop_contracts_at_the_rate_of_its_norm(time):
    a = [[0.5, 0.3], [-0.1, 0.4]] if time == "discrete" else [[-1.0, 4.0], [0.0, -2.0]]
    origin = (Fraction(0), Fraction(0))
    frame = frame_for(np.array(a), origin, time, 0.2, np.eye(2))
    t = np.array([[float(v) for v in row] for row in frame.matrix])
    radius = frame.largest_ball((Fraction(-1), Fraction(-2)), (Fraction(1), Fraction(2)))
    found = contraction(loop(a), frame, time, radius)
    inner = np.linalg.inv(t) @ np.array(a) @ t
    known = np.linalg.norm(inner, 2) if time == "discrete" else np.linalg.eigvalsh(inner + inner.T)[-1] / 2
    assert known <= found.factor + 1e-12 and found.factor < known + 0.03 and found.drift < 1e-12
    assert found.factor < (1 if time == "discrete" else 0)
    y = np.random.default_rng(0).normal(size=(2000, 2))
    x = radius * y / np.linalg.norm(y, axis=1, keepdims=True) @ t.T
    assert (np.abs(x) <= [1, 2]).all() and np.abs(x / [1, 2]).max() > 0.95
    assert np.linalg.norm(x, axis=1).max() <= frame.stretch * radius and (np.abs(x) <= frame.row_norms * radius).all()


def test_a_saturated_loop_does_not_contract_where_it_saturates():
    """x' = [[0, 1], [1, -2]] x - 4 clip(x_1) e_2 is stable within the limit and has the open loop's saddle beyond it."""
    limit, origin = Fraction(1, 4), (Fraction(0), Fraction(0))
    field = loop([[0.0, 1.0], [1.0, -2.0]], limit)
    frame = frame_for(np.array([[0.0, 1.0], [-3.0, -2.0]]), origin, "continuous", 0.2, np.eye(2))
    small, large = (contraction(field, frame, "continuous", frame.largest_ball((-s, -s), (s, s))).factor for s in (limit, 4 * limit))
    assert small < 0 < large


def test_an_unstable_linearisation_has_no_frame():
    origin = (Fraction(0), Fraction(0))
    assert frame_for(np.diag([1.1, 0.5]), origin, "discrete", 0.2, np.eye(2)) is None
    assert frame_for(np.diag([-1.0, 0.1]), origin, "continuous", 0.2, np.eye(2)) is None
    assert frame_for(np.full((2, 2), np.nan), origin, "discrete", 0.2, np.eye(2)) is None


def test_the_input_acts_as_strongly_as_the_plant_says():
    from certctl.learners.lipschitz.problem import open_problem

    problem, plant = open_problem("pendulum"), pendulum.plant()
    frame = frame_for(np.array([[0.0, 1.0], [-5.0, -5.0]]), (Fraction(0), Fraction(0)), "continuous", 0.3, np.eye(2))
    back = np.array([[float(v) for v in row] for row in frame.back])
    known = np.linalg.norm(back @ [0.0, 1 / (0.15 * 0.5**2)])
    found = input_gain(problem.graph, frame, 0.1, *plant.input_limits)
    assert known <= found * (1 + 1e-12) and found < 1.03 * known
    assert input_gain(problem.graph, frame, 0.1, np.array([-np.inf]), np.array([1.0])) == np.inf
