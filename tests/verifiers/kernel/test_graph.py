"""The builder of graphs refuses what cannot be a node, at the place that its user set; what it shares and what it keeps apart."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel import graph as graph_module
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import MAX_POWER, Affine, Builder, affine_from_rational
from verifiers.load.floats import evaluate

F = Fraction
NAN, INF = float("nan"), float("inf")


def affine(weight, bias):
    return Affine(np.array(weight, dtype=float), np.array(bias, dtype=float))


FAULTS = {
    "argument ahead": lambda b, x: b._append("concat", (x, x + 1), 4),
    "argument before the first": lambda b, x: b._append("sin", (-1,), 2),
    "empty constant": lambda b, x: b.const([]),
    "empty selection": lambda b, x: b.take(x, []),
    "empty input": lambda b, x: b.input(0),
    "empty interval": lambda b, x: b.const([(F(1), F(0))]),
    "affine of another input": lambda b, x: b.affine(x, affine([[1.0, 2.0, 3.0]], [0.0])),
    "affine of another bias": lambda b, x: b.affine(x, affine([[1.0, 2.0]], [0.0, 0.0])),
    "affine of one dimension": lambda b, x: b.affine(x, affine([1.0, 2.0], [0.0, 0.0])),
    "affine with NaN": lambda b, x: b.affine(x, affine([[NAN, 2.0]], [0.0])),
    "affine with an infinite bias": lambda b, x: b.affine(x, affine([[1.0, 2.0]], [INF])),
    "sizes that differ": lambda b, x: b.binary("add", x, b.const([F(1)] * 3)),
    "unknown binary operator": lambda b, x: b.binary("sin", x, x),
    "unknown unary operator": lambda b, x: b.unary("add", x),
    "power above the cap": lambda b, x: b.unary("pow", x, MAX_POWER + 1),
    "power below zero": lambda b, x: b.unary("pow", x, -1),
    "power that is no integer": lambda b, x: b.unary("pow", x, 2.0),
    "power that is absent": lambda b, x: b.unary("pow", x),
    "slope above one": lambda b, x: b.unary("leaky_relu", x, F(3, 2)),
    "slope below zero": lambda b, x: b.unary("leaky_relu", x, F(-1, 2)),
    "slope that is a float": lambda b, x: b.unary("leaky_relu", x, 0.5),
    "parameter of a function without one": lambda b, x: b.unary("sin", x, 2),
    "index outside": lambda b, x: b.take(x, [2]),
    "index below zero": lambda b, x: b.take(x, [-1]),
    "input of another size": lambda b, x: b.inline(one_input(3), [x]),
    "inputs of another number": lambda b, x: b.inline(one_input(2), [x, x]),
}


def one_input(size):
    b = Builder()
    return b.build([b.unary("sin", b.input(size))])


@pytest.mark.threat("T08")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_a_node_is_refused_at_its_place(fault):
    b = Builder("layer 3")
    x = b.input(2)
    with pytest.raises(Refusal) as caught:
        fault(b, x)
    assert (caught.value.code, caught.value.at) == (Code.BAD_GRAPH, "layer 3")


@pytest.mark.threat("T23")
def test_a_graph_at_the_cap_is_built_and_one_above_is_refused(monkeypatch):
    monkeypatch.setattr(graph_module, "MAX_NODES", 3)
    b = Builder()
    x = b.unary("cos", b.unary("sin", b.input(1)))
    with pytest.raises(Refusal, match="nodes"):
        b.unary("exp", x)
    assert len(b.build([x]).nodes) == 3


@pytest.mark.parametrize(("weight", "bias"), [([[F(10) ** 400]], [F(0)]), ([[F(1)]], [F(10) ** 400])], ids=["weight", "bias"])
def test_a_coefficient_beyond_every_float_is_refused(weight, bias):
    with pytest.raises(Refusal) as caught:
        affine_from_rational(weight, bias)
    assert caught.value.code is Code.BAD_GRAPH


def test_the_ends_of_what_is_allowed():
    b = Builder()
    x = b.input(2)
    found = [b.unary("pow", x, 0), b.unary("pow", x, MAX_POWER), b.unary("leaky_relu", x, F(0)), b.unary("leaky_relu", x, F(1)), b.take(x, [1, 1, 0]),
             b.const([(F(1), F(1))])]
    assert evaluate(b.build([b.concat(found)]), [1.0, -1.0]).tolist() == [1, 1, 1, 1, 1, 0, 1, -1, -1, -1, 1, 1]


def test_equal_nodes_are_one_and_unknown_constants_never_are():
    b = Builder()
    x = b.input(1)
    assert b.unary("sin", x) == b.unary("sin", x) and b.const([F(1)]) == b.const([F(1)])
    unknown = [b.const([(F(0), F(1))]) for _ in range(2)]
    assert unknown[0] != unknown[1]
    assert b.affine(x, affine([[1.0]], [0.0])) != b.affine(x, affine([[1.0]], [0.0]))


def test_a_scalar_is_repeated_to_the_size_of_the_other():
    b = Builder()
    x = b.input(3)
    out = b.concat([b.binary("mul", x, b.const([F(2)])), b.binary("sub", b.const([F(1)]), x)])
    assert evaluate(b.build([out]), [1.0, 2.0, 3.0]).tolist() == [2, 4, 6, 0, -1, -2]


@pytest.mark.threat("T08")
@pytest.mark.parametrize("fault", [
    lambda b, x: b._append("concat", (x, x + 1), 4), lambda b, x: b.const([(F(0), F(1)), (F(1), F(0))]), lambda b, x: b.take(x, [0, 2]),
    lambda b, x: b.affine(x, affine([[1.0, 2.0], [1.0, 2.0]], [0.0, INF])), lambda b, x: b.affine(x, affine([[1.0, 2.0], [1.0, NAN]], [0.0, 0.0])),
    *(lambda b, x, k=k: b.where(*(b.take(x, (0,)) if i == k else x for i in range(3))) for k in range(3))],
    ids=["argument", "interval", "index", "bias", "weight", "where-0", "where-1", "where-2"])
def test_one_wrong_entry_among_right_ones_is_enough(fault):
    b = Builder()
    x = b.input(2)
    with pytest.raises(Refusal) as caught:
        fault(b, x)
    assert caught.value.code is Code.BAD_GRAPH


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("weight", "bias"), [([[F(1, 3), F(1)]], [F(0)]), ([[F(1), F(1)]], [F(1, 3)]), ([[F(1), F(1)]] * 2, [F(2, 3), F(0)]),
                                              ([[F(2, 3), F(-1, 3)]], [F(1, 10)])])
def test_one_coefficient_that_is_no_float_has_a_radius(weight, bias):
    found = affine_from_rational(weight, bias)
    assert found.weight_radius is not None and found.bias_radius is not None and found.rational() == (tuple(map(tuple, weight)), tuple(bias))
    exact = [q for row in weight for q in row] + bias
    floats, radii = (np.concatenate([w.ravel(), b]) for w, b in ((found.weight, found.bias), (found.weight_radius, found.bias_radius)))
    for q, v, r in zip(exact, floats.tolist(), radii.tolist(), strict=True):
        assert abs(q - F(v)) <= F(r) <= F(1, 2**53) and (r == 0) == (q == F(v))


def test_a_vector_with_one_unknown_entry_is_unknown():
    b = Builder()
    assert b.const([(F(0), F(1)), F(2)]) != b.const([(F(0), F(1)), F(2)])


def test_inputs_are_kept_and_what_no_output_needs_is_not():
    b = Builder()
    x, y = b.input(1), b.input(2)
    b.unary("sin", x)
    graph = b.build([b.unary("cos", y)])
    assert [node.op for node in graph.nodes] == ["input", "input", "cos"] and graph.input_sizes == (1, 2)


def test_only_what_has_neither_kink_nor_jump_is_smooth():
    def smooth(op: str) -> bool:
        b = Builder()
        x = b.unary("sin", b.input(1))
        y = b.where(x, x, x) if op == "where" else b.binary(op, x, x) if op in ("min", "add") else b.unary(op, x)
        return b.build([b.unary("cos", y)]).is_smooth

    assert [smooth(op) for op in ("tanh", "add", "relu", "min", "where")] == [True, True, False, False, False]


def test_a_side_without_a_limit_is_free():
    b = Builder()
    x = b.input(4)
    graph = b.build([b.clip(x, [F(-1), None, F(-1), None], [F(1), F(1), None, None])])
    assert evaluate(graph, [9.0] * 4).tolist() == [1, 1, 9, 9] and evaluate(graph, [-9.0] * 4).tolist() == [-1, -9, -1, -9]
