"""Exact evaluation refuses what it cannot do exactly, and is right to the last bit where it answers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import affine_exact, evaluate_exact
from verifiers.kernel.graph import Affine, Builder, Graph, affine_from_rational

F = Fraction
TRANSCENDENTAL = ("tanh", "sigmoid", "softplus", "sin", "cos", "exp", "log", "sqrt", "atan")


def unary(op: str, data: object = None, size: int = 1) -> Graph:
    b = Builder()
    return b.build([b.unary(op, b.input(size), data)])


def binary(op: str) -> Graph:
    b = Builder()
    x = b.input(2)
    return b.build([b.binary(op, b.take(x, (0,)), b.take(x, (1,)))])


# negative: what has no exact value is refused, with the code


@pytest.mark.parametrize("op", TRANSCENDENTAL)
def test_a_transcendental_function_is_declined(op: str) -> None:
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(unary(op), [F(1)])
    assert refusal.value.code is Code.UNSUPPORTED
    assert refusal.value.at == op


@pytest.mark.parametrize("op", TRANSCENDENTAL)
def test_one_entry_off_zero_is_enough_to_decline(op: str) -> None:
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(unary(op, size=2), [F(0), F(1, 10**9)])
    assert refusal.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize(("op", "value"), [("tanh", F(0)), ("sin", F(0)), ("atan", F(0)), ("sigmoid", F(1, 2)), ("cos", F(1)), ("exp", F(1)),
                                           ("softplus", None), ("log", None), ("sqrt", None)])
def test_functions_at_zero_are_exact_where_their_value_is_rational(op: str, value: Fraction | None) -> None:
    if value is not None:
        assert evaluate_exact(unary(op, size=2), [F(0), F(0)]) == (value, value)
        assert float(value) == pytest.approx({"sigmoid": 0.5, "cos": np.cos(0), "exp": np.exp(0)}.get(op, getattr(np, op, np.arctan)(0)))
        return
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(unary(op), [F(0)])
    assert refusal.value.code is Code.UNSUPPORTED


def test_one_long_entry_is_enough_to_decline_a_power() -> None:
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(unary("pow", 64, 2), [F(2), F(2) ** 2000])
    assert refusal.value.code is Code.TOO_LARGE


def test_one_unknown_entry_of_a_constant_is_declined() -> None:
    b = Builder()
    b.input(1)
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(b.build([b.const([F(1), (F(0), F(1))])]), [F(0)])
    assert refusal.value.code is Code.UNSUPPORTED


def test_one_zero_among_the_divisors_is_declined() -> None:
    b = Builder()
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(b.build([b.binary("div", b.const([F(1), F(1)]), b.input(2))]), [F(1), F(0)])
    assert refusal.value.code is Code.UNSUPPORTED


def test_one_tie_among_the_choices_is_declined() -> None:
    b = Builder()
    graph = b.build([b.where(b.input(2), b.const([F(1), F(2)]), b.const([F(3), F(4)]))])
    assert evaluate_exact(graph, [F(1, 9), F(-1, 9)]) == (1, 4)
    for tie in ([F(1), F(0)], [F(0), F(-1)], [F(0), F(0)]):
        with pytest.raises(Refusal) as refusal:
            evaluate_exact(graph, tie)
        assert refusal.value.code is Code.UNSUPPORTED


def test_an_unknown_constant_is_declined() -> None:
    b = Builder()
    graph = b.build([b.binary("add", b.input(1), b.const([(F(1), F(2))]))])
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(graph, [F(0)])
    assert refusal.value.code is Code.UNSUPPORTED


def test_division_by_zero_is_declined() -> None:
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(binary("div"), [F(1), F(0)])
    assert refusal.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize("inputs", [(), ([F(1)],), ([F(1), F(2), F(3)],), ([F(1), F(2)], [F(1)])])
def test_inputs_of_another_size_are_refused(inputs: tuple[list[Fraction], ...]) -> None:
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(binary("add"), *inputs)
    assert refusal.value.code is Code.BAD_SHAPE


@pytest.mark.threat("T23")
@pytest.mark.parametrize("op", ["pow", "mul"])
def test_numbers_that_explode_are_declined(op: str) -> None:
    b = Builder()
    x = b.input(1)
    for _ in range(40):
        x = b.unary("pow", x, 64) if op == "pow" else b.binary("mul", x, x)
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(b.build([x]), [F(3, 2)])
    assert refusal.value.code is Code.TOO_LARGE


@pytest.mark.threat("T23")
def test_sums_of_many_denominators_are_declined() -> None:
    n = 500
    row = [F(1, 10**200 + k) for k in range(n)]
    b = Builder()
    graph = b.build([b.affine(b.input(n), affine_from_rational([row], [F(0)]))])
    with pytest.raises(Refusal) as refusal:
        evaluate_exact(graph, [F(1)] * n)
    assert refusal.value.code is Code.TOO_LARGE


@pytest.mark.threat("T23")
def test_the_cap_is_exactly_where_it_is_said_to_be() -> None:
    """2**65535 has 65,536 bits; a power counts as its exponent times the bits of its base."""
    double = binary("mul")
    assert evaluate_exact(double, [F(2**32767), F(2**32768)]) == (F(2**65535),)
    assert evaluate_exact(double, [F(1, 2**32767), F(1, 2**32768)]) == (F(1, 2**65535),)
    assert evaluate_exact(unary("pow", 64), [F(2**1023)]) == (F(2 ** (1023 * 64)),)
    for graph, x in ((double, [F(2**32768), F(2**32768)]), (double, [F(1, 2**32768), F(1, 2**32768)]), (unary("pow", 64), [F(2**1024)])):
        with pytest.raises(Refusal) as refusal:
            evaluate_exact(graph, x)
        assert refusal.value.code is Code.TOO_LARGE


# positive: exact to the last bit


@pytest.mark.parametrize(("op", "data", "x", "y"), [
    ("neg", None, F(1, 3), F(-1, 3)), ("abs", None, F(-1, 3), F(1, 3)), ("relu", None, F(-1, 3), F(0)), ("relu", None, F(1, 3), F(1, 3)),
    ("leaky_relu", F(1, 10), F(-1, 3), F(-1, 30)), ("leaky_relu", F(1, 10), F(1, 3), F(1, 3)), ("pow", 3, F(-2, 3), F(-8, 27)),
    ("pow", 0, F(0), F(1)),
])
def test_unary(op: str, data: object, x: Fraction, y: Fraction) -> None:
    assert evaluate_exact(unary(op, data), [x]) == (y,)


@pytest.mark.parametrize(("op", "y"), [
    ("add", F(1, 12)), ("sub", F(7, 12)), ("mul", F(-1, 12)), ("div", F(-4, 3)), ("min", F(-1, 4)), ("max", F(1, 3)),
])
def test_binary(op: str, y: Fraction) -> None:
    assert evaluate_exact(binary(op), [F(1, 3), F(-1, 4)]) == (y,)


@pytest.mark.threat("T10")
def test_cancellation_does_not_round() -> None:
    b = Builder()
    graph = b.build([b.affine(b.input(3), Affine(np.array([[1e308, -1e308, 2.0**-1074]]), np.array([0.0])))])
    assert evaluate_exact(graph, [F(1), F(1), F(1)]) == (F(1, 2**1074),)


def test_rational_weights_are_meant_not_their_floats() -> None:
    b = Builder()
    graph = b.build([b.affine(b.input(1), affine_from_rational([[F(1, 3)]], [F(1, 7)]))])
    assert evaluate_exact(graph, [F(3)]) == (F(8, 7),)


# the matrix of an affine graph


def sandwich() -> tuple[Graph, tuple[tuple[Fraction, ...], ...], tuple[Fraction, ...]]:
    b = Builder()
    x = b.input(2)
    half = b.const([F(1, 2), F(-3)])
    y = b.binary("mul", half, b.affine(x, Affine(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([1.0, -1.0]))))
    y = b.binary("div", b.binary("sub", y, b.unary("neg", x)), b.const([F(1, 3)]))
    y = b.concat([b.take(y, (1,)), b.binary("add", b.take(x, (0,)), b.const([F(5)]))])
    return b.build([y]), ((F(0), F(-6)), (F(1), F(0))), (F(9), F(5))


def test_affine_coefficients() -> None:
    graph, matrix, vector = sandwich()
    assert affine_exact(graph) == (matrix, vector)


def test_affine_coefficients_agree_with_evaluation() -> None:
    graph, matrix, vector = sandwich()
    x = (F(7, 3), F(-2, 11))
    assert evaluate_exact(graph, x) == tuple(sum(a * v for a, v in zip(row, x, strict=True)) + c for row, c in zip(matrix, vector, strict=True))


def test_an_affine_map_of_an_affine_map() -> None:
    b = Builder()
    inner = b.affine(b.input(2), affine_from_rational([[F(1, 3), F(2)], [F(-1), F(5)]], [F(7), F(1, 2)]))
    graph = b.build([b.affine(inner, affine_from_rational([[F(3), F(4)]], [F(-1)]))])
    assert affine_exact(graph) == (((F(-3), F(26)),), (F(22),))


@pytest.mark.parametrize(("op", "first", "second"), [("mul", 0, 1), ("mul", 1, 0), ("mul", 0, 0), ("div", 0, 1), ("div", 1, 0)])
def test_a_product_or_quotient_of_inputs_is_not_affine(op: str, first: int, second: int) -> None:
    b = Builder()
    x = b.input(2)
    assert affine_exact(b.build([b.binary(op, b.take(x, (first,)), b.take(x, (second,)))])) is None


def test_a_constant_over_the_input_is_not_affine() -> None:
    b = Builder()
    assert affine_exact(b.build([b.binary("div", b.const([F(1)]), b.input(1))])) is None


@pytest.mark.parametrize(("op", "data"), [("relu", None), ("abs", None), ("pow", 2), ("leaky_relu", F(1, 2)), *((op, None) for op in TRANSCENDENTAL)])
def test_a_curved_or_kinked_function_is_not_affine(op: str, data: object) -> None:
    assert affine_exact(unary(op, data)) is None


@pytest.mark.parametrize("op", ["min", "max"])
def test_a_clip_is_not_affine(op: str) -> None:
    assert affine_exact(binary(op)) is None


def test_an_unknown_constant_is_not_affine() -> None:
    b = Builder()
    assert affine_exact(b.build([b.binary("mul", b.input(1), b.const([(F(1), F(2))]))])) is None


def test_division_by_zero_is_not_affine() -> None:
    b = Builder()
    assert affine_exact(b.build([b.binary("div", b.input(1), b.const([F(0)]))])) is None


def test_two_inputs_have_no_single_matrix() -> None:
    b = Builder()
    assert affine_exact(b.build([b.binary("add", b.input(1), b.input(1))])) is None
