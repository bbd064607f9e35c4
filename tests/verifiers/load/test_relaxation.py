"""Linear relaxations for searches: never wider than intervals, tighter on networks, and without NaN."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import RANDOM, RELAXED, boxes, graphs

from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.load.floats import evaluate
from verifiers.load.relaxation import linear_bounds, node_bounds

F = Fraction


# negative


def test_unknown_constants_of_one_interval_do_not_cancel() -> None:
    b = Builder()
    p, q = b.const([(F(0), F(1))]), b.const([(F(0), F(1))])
    low, high = linear_bounds(b.build([b.binary("sub", p, q)]), np.zeros((1, 0)), np.zeros((1, 0)))
    assert low[0, 0] <= -1 and high[0, 0] >= 1


@pytest.mark.threat("T08")
@pytest.mark.parametrize("op", ["exp", "log", "div", "pow"])
def test_what_is_not_bounded_has_infinite_bounds_and_no_nan(op: str) -> None:
    b = Builder()
    x = b.input(1)
    y = b.binary("div", b.const([F(1)]), x) if op == "div" else b.unary(op, x, 3 if op == "pow" else None)
    y = b.binary("sub", b.binary("mul", b.const([F(0)]), y), b.unary("relu", y))
    low, high = linear_bounds(b.build([y]), np.array([[-1e200]]), np.array([[1e200]]))
    assert low[0, 0] == -np.inf
    assert high[0, 0] >= 0


def test_boxes_of_another_size_are_refused() -> None:
    b = Builder()
    graph = b.build([b.input(2)])
    for lo, hi in ((np.zeros((1, 3)), np.zeros((1, 3))), (np.zeros(2), np.zeros(2)), (np.zeros((1, 2)), np.zeros((2, 2)))):
        with pytest.raises(ValueError, match="do not fit"):
            linear_bounds(graph, lo, hi)


# positive


def natural_bounds(graph: Graph, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return node_bounds(graph, lo, hi)[graph.outputs[0]]


@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_the_relaxation_is_never_wider_than_the_intervals(data: st.DataObject, seed: int) -> None:
    graph = data.draw(graphs(RELAXED))
    lo, hi, _ = boxes(seed, graph.input_sizes[0])
    natural, linear = natural_bounds(graph, lo, hi), linear_bounds(graph, lo, hi)
    assert (natural[0] <= linear[0]).all() and (linear[1] <= natural[1]).all()


def net(rng: np.random.Generator, op: str, widths: Sequence[int]) -> Graph:
    b = Builder()
    y = b.input(widths[0])
    for k, (n, m) in enumerate(pairwise(widths)):
        y = y if k == 0 else b.unary(op, y, F(1, 10) if op == "leaky_relu" else None)
        y = b.affine(y, Affine(rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=m)))
    return b.build([y])


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "abs", "tanh", "sigmoid", "atan", "softplus"])
def test_the_relaxation_is_tighter_on_networks_and_holds(op: str) -> None:
    rng = np.random.default_rng(1)
    widths: list[float] = []
    for _ in range(5):
        graph = net(rng, op, (3, 16, 16, 2))
        centre, radius = rng.uniform(-1, 1, (8, 3)), rng.uniform(0.01, 0.4, (8, 1))
        (nlo, nhi), (low, high) = natural_bounds(graph, centre - radius, centre + radius), linear_bounds(graph, centre - radius, centre + radius)
        widths.append(float(((high - low) / (nhi - nlo)).mean()))
        for _ in range(200):
            y = evaluate(graph, centre + radius * rng.uniform(-1, 1, centre.shape))
            assert (low - 1e-9 <= y).all() and (y <= high + 1e-9).all()
    assert max(widths) < 0.7


def test_the_relaxation_sees_what_cancels() -> None:
    """``clip(x) - clip(x)`` over stable pieces, ``x - x``, and a product with a known constant are exact."""
    b = Builder()
    x = b.input(2)
    twice = b.affine(x, Affine(np.array([[1.0, 1.0]]), np.zeros(1)))
    y = b.concat([b.binary("sub", twice, b.binary("add", b.take(x, (0,)), b.take(x, (1,)))),
                  b.binary("sub", b.binary("mul", twice, b.const([F(3)])), b.binary("mul", b.const([F(2)]), twice)),
                  b.binary("sub", b.clip(twice, [F(-9)], [F(9)]), twice)])
    low, high = linear_bounds(b.build([y]), np.array([[-1.0, 0.0]]), np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(low, [[0.0, -1.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(high, [[0.0, 3.0, 0.0]], atol=1e-12)
