"""Jets of balls hold the values, gradients and Hessians of random functions at random points, kinks and edges of domains included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flint import arb, arb_mat

from verifiers.second.balls import ONE, SMOOTH, ZERO, Box, affine

FUNCTIONS = {
    "tanh": math.tanh, "sigmoid": lambda t: 1 / (1 + math.exp(-t)), "softplus": lambda t: max(t, 0) + math.log1p(math.exp(-abs(t))), "sin": math.sin,
    "cos": math.cos, "exp": math.exp, "log": math.log, "sqrt": math.sqrt, "atan": math.atan}
DERIVATIVES = {
    "tanh": (lambda t: 1 - math.tanh(t) ** 2, lambda t: -2 * math.tanh(t) * (1 - math.tanh(t) ** 2)),
    "sin": (math.cos, lambda t: -math.sin(t)), "cos": (lambda t: -math.sin(t), lambda t: -math.cos(t)), "exp": (math.exp, math.exp),
    "log": (lambda t: 1 / t, lambda t: -1 / t**2), "sqrt": (lambda t: 0.5 / math.sqrt(t), lambda t: -0.25 * t**-1.5),
    "atan": (lambda t: 1 / (1 + t * t), lambda t: -2 * t / (1 + t * t) ** 2),
    "sigmoid": (lambda t: FUNCTIONS["sigmoid"](t) * FUNCTIONS["sigmoid"](-t),
                lambda t: FUNCTIONS["sigmoid"](t) * FUNCTIONS["sigmoid"](-t) * (1 - 2 * FUNCTIONS["sigmoid"](t))),
    "softplus": (FUNCTIONS["sigmoid"], lambda t: FUNCTIONS["sigmoid"](t) * FUNCTIONS["sigmoid"](-t)),
}


def holds(ball, value, slack=1e-12):
    return ball.is_finite() and abs(float(ball.mid()) - value) <= float(ball.rad()) + slack * (1 + abs(value))


@pytest.mark.parametrize("name", SMOOTH)
def test_each_function_and_its_two_derivatives_are_enclosed_on_narrow_and_wide_balls(name):
    rng = np.random.default_rng(0)
    for _ in range(200):
        lo = rng.uniform(0.01, 5) if name in ("log", "sqrt") else rng.normal() * 10 ** rng.uniform(-2, 1.5)
        hi = lo + 10 ** rng.uniform(-9, 1)
        found = SMOOTH[name](arb(lo).union(arb(hi)))
        for t in (lo, hi, *rng.uniform(lo, hi, 5)):
            for ball, rule in zip(found, (FUNCTIONS[name], *DERIVATIVES[name]), strict=True):
                assert holds(ball, rule(t)), (name, t, ball)


def test_what_is_undefined_on_a_part_of_the_box_passes_no_comparison():
    x, = Box.between([-0.1], [1.0]).inputs()
    for jet in (x.smooth("sqrt"), x.smooth("log"), 1 / x, x / x, x.smooth("log").piecewise(ZERO, ONE), x.smooth("log").maximum(arb(3)),
                (1 / x).smooth("tanh").power(0)):
        assert not jet.v > -1e300 and not jet.v < 1e300 and not jet.v >= jet.v


def plain(x, y):
    return math.sin(x * y) + x**3 / (y + 3) + math.tanh(2 * x - y) * y


def carried(x, y):
    return (x * y).smooth("sin") + x.power(3) / (y + 3) + (x * 2 - y).smooth("tanh") * y


def test_a_smooth_function_of_two_states_with_its_hessian():
    rng, h = np.random.default_rng(1), 1e-4
    for _ in range(60):
        lo = rng.uniform(-1, 1, 2)
        hi = lo + 10 ** rng.uniform(-4, -0.3, 2)
        jet = carried(*Box.between(lo.tolist(), hi.tolist(), 2).inputs())
        for _ in range(8):
            x, y = rng.uniform(lo, hi)
            assert holds(jet.v, plain(x, y))
            assert holds(jet.g[0], (plain(x + h, y) - plain(x - h, y)) / (2 * h), 1e-6)
            assert holds(jet.g[1], (plain(x, y + h) - plain(x, y - h)) / (2 * h), 1e-6)
            assert holds(jet.h[0], (plain(x + h, y) - 2 * plain(x, y) + plain(x - h, y)) / h**2, 1e-5)
            assert holds(jet.h[2], (plain(x, y + h) - 2 * plain(x, y) + plain(x, y - h)) / h**2, 1e-5)
            mixed = plain(x + h, y + h) - plain(x + h, y - h) - plain(x - h, y + h) + plain(x - h, y - h)
            assert holds(jet.h[1], mixed / (4 * h * h), 1e-5)


def test_kinks_give_the_hull_of_the_slopes_and_no_hessian():
    x, y = Box.between([-1.0, 0.5], [2.0, 0.75], 2).inputs()
    for jet, low, high in ((x.piecewise(ZERO, ONE), 0, 1), (x.piecewise(-ONE, ONE), -1, 1), (x.maximum(y), 0, 1), (x.minimum(ZERO), 0, 1)):
        assert jet.h is None and holds(jet.g[0], low) and holds(jet.g[0], high)
    assert x.piecewise(-ONE, ONE).v.contains(0) and x.piecewise(-ONE, ONE).v.contains(2)
    assert y.piecewise(ZERO, ONE).h is not None and y.piecewise(ZERO, ONE).v.contains(arb(0.6))


def test_an_affine_map_keeps_what_is_linear_exact():
    """W x and then W⁻¹: the mean-value form gives the box back, where plain intervals would not."""
    jets = Box.between([-1e-3, -1e3], [1e-3, 1e3]).inputs()
    back = affine(arb_mat([[1, -1], [-1, 2]]), None, affine(arb_mat([[2, 1], [1, 1]]), [ZERO, ZERO], jets))
    assert float(back[0].v.rad()) < 1.0001e-3 and float(back[1].v.rad()) < 1000.1
