"""One graph, many readings: on random graphs every reading agrees with an independent one in 60-digit arithmetic.

A new point reading goes into ``POINT_READINGS``, a new enclosure into ``ENCLOSURES``; both are then run on every random graph.
Derivative graphs are compared in ``load/test_derivative.py``, listings in ``load/test_text.py``, CasADi plants and ONNX Runtime in
``test_readings_and_peers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import (
    EVERY,
    LINEAR,
    RANDOM,
    RATIONAL,
    RELAXED,
    SMOOTH,
    STEP,
    boxes,
    close,
    corner_heavy,
    difference,
    gap,
    graphs,
    number,
    oracle,
    points,
    shifted,
)

from verifiers.kernel.codes import Refusal
from verifiers.kernel.exact import affine_exact, evaluate_exact
from verifiers.kernel.graph import Graph
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.minimum import least
from verifiers.kernel.taylor import Model, taylor_models
from verifiers.load.floats import evaluate
from verifiers.load.relaxation import linear_bounds, node_bounds

# point readings: (name, operators they know, value at a rational point, tolerance)


def by_floats(graph: Graph, x: list[Fraction]) -> Sequence[Any]:
    return list(map(float, evaluate(graph, np.array(x, dtype=np.float64))))


def by_fractions(graph: Graph, x: list[Fraction]) -> Sequence[Any]:
    return evaluate_exact(graph, x)


POINT_READINGS = [("floats", EVERY, by_floats, 1e-9), ("exact", RATIONAL, by_fractions, 1e-45)]


@pytest.mark.parametrize(("ops", "value", "tolerance"), [r[1:] for r in POINT_READINGS], ids=[r[0] for r in POINT_READINGS])
@RANDOM
@given(data=st.data())
def test_values_agree(ops: frozenset[str], value: Callable[..., Sequence[Any]], tolerance: float, data: st.DataObject) -> None:
    graph = data.draw(graphs(ops))
    x = data.draw(points(graph.input_sizes[0]))
    assert close(value(graph, x), oracle(graph, [number(v) for v in x]), tolerance)


@RANDOM
@given(data=st.data())
def test_the_exact_reading_declines_just_the_rest(data: st.DataObject) -> None:
    graph = data.draw(graphs(EVERY))
    x = data.draw(points(graph.input_sizes[0]))
    try:
        value = evaluate_exact(graph, x)
    except Refusal:
        assert not {node.op for node in graph.nodes} <= RATIONAL | {"input"}
    else:  # what is irrational in general may be rational here: tanh(0) = 0
        assert close(value, oracle(graph, [number(v) for v in x]), 1e-45)


@RANDOM
@given(data=st.data())
def test_affine_coefficients_are_those_of_the_graph(data: st.DataObject) -> None:
    graph = data.draw(graphs(LINEAR))
    x = data.draw(points(graph.input_sizes[0]))
    found = affine_exact(graph)
    assert found is not None
    assert tuple(sum((a * v for a, v in zip(row, x, strict=True)), c) for row, c in zip(*found, strict=True)) == evaluate_exact(graph, x)


# enclosures: (name, operators they know, bounds of the first output over boxes, slack for rounding)


def by_relaxation(graph: Graph, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return linear_bounds(graph, lo, hi)


def by_intervals(graph: Graph, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return node_bounds(graph, lo, hi)[graph.outputs[0]]


def by_jets(order: int) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    def bounds(graph: Graph, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre, radius = split_boxes(lo, hi)
        reading = JetReading(radius, order)
        with np.errstate(all="ignore"):
            low, high = reading.bounds(read_jets(graph, reading, reading.start(centre)))
        return np.broadcast_to(low, (len(lo), low.shape[1])), np.broadcast_to(high, (len(lo), high.shape[1]))

    return bounds


def by_taylor(doublings: int) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    def bounds(graph: Graph, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reading, model = taylor_models(graph, lo, hi, doublings)
        below, above = least(reading, model), -least(reading, Model(-model.p, -model.q, model.e, -model.hi, -model.lo, model.age))
        low, high = np.full((len(lo), model.e.shape[1]), np.inf), np.full((len(lo), model.e.shape[1]), -np.inf)
        np.minimum.at(low, reading.rows, below)
        np.maximum.at(high, reading.rows, above)
        return low, high

    return bounds


ENCLOSURES = [("relaxation", RELAXED, by_relaxation, 1e-9), ("intervals", RELAXED, by_intervals, 1e-9),
              ("jets of order 1", RELAXED, by_jets(1), 0.0), ("jets of order 2", RELAXED, by_jets(2), 0.0),
              ("Taylor models", RELAXED, by_taylor(0), 0.0), ("Taylor models in phases", RELAXED, by_taylor(3), 0.0)]


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("ops", "bounds", "slack"), [e[1:] for e in ENCLOSURES], ids=[e[0] for e in ENCLOSURES])
@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_values_lie_in_the_enclosure(ops: frozenset[str], bounds: Callable[..., Any], slack: float, data: st.DataObject, seed: int) -> None:
    graph = data.draw(graphs(ops))
    lo, hi, rng = boxes(seed, graph.input_sizes[0])
    low, high = bounds(graph, lo, hi)
    assert low.shape == high.shape == (len(lo), graph.output_size())
    assert np.isfinite(low).all() and np.isfinite(high).all()
    for k in range(len(lo)):
        for _ in range(5):
            x = corner_heavy(rng, lo[k], hi[k])
            x = np.clip(x, lo[k], hi[k])
            for y, a, c in zip(oracle(graph, list(map(number, x.tolist()))), low[k], high[k], strict=True):
                assert number(float(a)) - slack * (1 + abs(y)) <= y <= number(float(c)) + slack * (1 + abs(y))


# derivatives in jets


@pytest.mark.threat("T09")
@pytest.mark.parametrize("ops", [SMOOTH, EVERY], ids=["smooth", "every"])
@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_derivatives_lie_in_the_jets(ops: frozenset[str], data: st.DataObject, seed: int) -> None:
    """Order 1: value and gradient; order 2: also the Hessian; at random points of boxes of all sizes."""
    graph = data.draw(graphs(ops, scalar=True, most=5))
    n = graph.input_sizes[0]
    lo, hi, rng = boxes(seed, n)
    centre, radius = split_boxes(lo, hi)
    for order in (1, 2):
        reading = JetReading(radius, order)
        with np.errstate(all="ignore"):
            jet = read_jets(graph, reading, reading.start(centre))
        mid, rad = (np.broadcast_to(t, (t.shape[0], len(lo), 1))[:, :, 0] for t in (jet.mid, jet.rad))
        if ops == SMOOTH:
            assert np.isfinite(mid).all() and np.isfinite(rad).all()

        def inside(at: int, k: int, y: Any, slack: float, mid: np.ndarray = mid, rad: np.ndarray = rad) -> bool:
            if not (np.isfinite(mid[at, k]) and np.isfinite(rad[at, k])):
                return True  # says nothing, which is sound
            return bool(abs(number(float(mid[at, k])) - y) <= number(float(rad[at, k])) + slack * (1 + abs(y)))

        for k in range(len(lo)):
            c = [number(t) for t in centre[k].tolist()]
            assert inside(0, k, oracle(graph, c)[0], 0.0)
            if order == 2 and gap(graph, c) > 1e-10:
                assert all(inside(1 + i, k, difference(graph, c, i), 1e-25) for i in range(n))
            x = [number(t) for t in np.clip(corner_heavy(rng, lo[k], hi[k]), lo[k], hi[k]).tolist()]
            assert inside(reading.v, k, oracle(graph, x)[0], 0.0)
            if gap(graph, x) > 1e-10:
                assert all(inside(reading.v + 1 + i, k, difference(graph, x, i), 1e-25) for i in range(n))
                for i, j in combinations_with_replacement(range(n), 2) if order == 2 else ():
                    step = STEP / 10**-5  # second differences: truncation and cancellation about 1e-28
                    ahead, back = shifted(x, j, step), shifted(x, j, -step)
                    corners = [oracle(graph, shifted(p, i, s))[0] for p in (ahead, back) for s in (step, -step)]
                    bend = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step * step)
                    assert inside(reading.position[i, j], k, bend, 1e-20)
