"""Derivatives as graphs: difference quotients of random graphs, the convention at kinks, and what cannot be differentiated."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from random_graphs import EVERY, RANDOM, STEP, close, difference, gap, generic, graphs, number, oracle

from verifiers.kernel.graph import UNARY, Affine, Builder, Graph, Node
from verifiers.load.derivative import GraphError, gradient, lie_derivative
from verifiers.load.floats import evaluate, evaluate_all

F = Fraction


# negative


def test_a_vector_has_no_gradient() -> None:
    b = Builder()
    graph = b.build([b.input(2)])
    with pytest.raises(GraphError, match="scalar"):
        gradient(graph)
    with pytest.raises(GraphError, match="scalar"):
        lie_derivative(graph, graph)


def test_an_operator_without_rule_has_no_derivative() -> None:
    strange = Graph((Node("input", (), 1, 0), Node("neg", (0,), 1), Node("gamma", (1,), 1)), (1,), (2,))
    with pytest.raises(GraphError, match="gamma"):
        gradient(strange)


def test_dynamics_of_another_size_have_no_lie_derivative() -> None:
    b, c = Builder(), Builder()
    x = b.input(2)
    v = b.build([b.affine(b.unary("pow", x, 2), Affine(np.ones((1, 2)), np.zeros(1)))])
    with pytest.raises(GraphError, match="states"):
        lie_derivative(v, c.build([c.take(c.input(2), (0,))]))


# positive


@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_the_gradient_is_the_difference_quotient(data: st.DataObject, seed: int) -> None:
    graph = data.draw(graphs(EVERY, scalar=True))
    x = [number(v) for v in generic(seed, graph.input_sizes[0])]
    assume(gap(graph, x) > 1e-10)
    slope = gradient(graph)
    assert slope.input_sizes == graph.input_sizes
    assert slope.output_size() == len(x)
    assert close(oracle(slope, x), [difference(graph, x, i) for i in range(len(x))], 1e-15)


@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_a_gradient_can_be_differentiated_again(data: st.DataObject, seed: int) -> None:
    graph = data.draw(graphs(EVERY, scalar=True, most=5))
    x = [number(v) for v in generic(seed, graph.input_sizes[0])]
    assume(gap(graph, x) > 1e-10)
    b = Builder()
    first = b.take(b.inline(gradient(graph), [b.input(len(x))])[0], (0,))
    slope = b.build([first])
    assert close(oracle(gradient(slope), x), [difference(slope, x, i) for i in range(len(x))], 1e-15)


@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_the_lie_derivative_is_the_derivative_along_the_flow(data: st.DataObject, seed: int) -> None:
    v = data.draw(graphs(EVERY, scalar=True, most=4))
    n = v.input_sizes[0]
    field = data.draw(graphs(EVERY, most=4))
    assume(field.input_sizes[0] == n)
    b = Builder()
    y = b.inline(field, [b.input(n)])[0]
    field = b.build([b.take(y, tuple(i % b.size(y) for i in range(n)))])
    x = [number(q) for q in generic(seed, n)]
    assume(gap(v, x) > 1e-10)
    flow = oracle(field, x)
    ahead, back = ([p + sign * STEP * q for p, q in zip(x, flow, strict=True)] for sign in (1, -1))
    assert close(oracle(lie_derivative(v, field), x), [(oracle(v, ahead)[0] - oracle(v, back)[0]) / (2 * STEP)], 1e-15)


@pytest.mark.parametrize(("op", "data", "slopes"), [
    ("relu", None, (0.0, 0.0, 1.0)), ("abs", None, (-1.0, 0.0, 1.0)), ("leaky_relu", F(1, 4), (0.25, 0.25, 1.0)),
    ("max", None, (0.0, 0.0, 1.0)), ("min", None, (1.0, 0.0, 0.0)),
])
@pytest.mark.parametrize("size", [5e-324, 1e-160, 1.0, 1.7e308])
def test_the_convention_at_kinks_holds_for_every_float(op: str, data: object, slopes: tuple[float, ...], size: float) -> None:
    b = Builder()
    x = b.input(1)
    y = b.unary(op, x, data) if data is not None or op in UNARY else b.binary(op, x, b.const([F(0)]))
    slope = gradient(b.build([y]))
    assert tuple(float(evaluate(slope, [s])[0]) for s in (-size, 0.0, size)) == slopes


def test_each_input_has_its_gradient() -> None:
    b = Builder()
    x, u, idle = b.input(2), b.input(1), b.input(3)
    assert idle == 2
    graph = b.build([b.binary("mul", b.take(x, (1,)), b.unary("sin", u))])
    by_x, by_u, by_idle = evaluate_all(gradient(graph), [3.0, 2.0], [0.5], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(by_x, [0.0, np.sin(0.5)])
    np.testing.assert_allclose(by_u, [2 * np.cos(0.5)])
    np.testing.assert_array_equal(by_idle, np.zeros(3))
