"""The float reading agrees with formulas typed by hand, operator by operator."""

from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.graph import Affine, Builder
from verifiers.load.floats import evaluate, evaluate_all

X = np.linspace(-3.0, 3.0, 26).reshape(13, 2)
FORMULAS = {
    "neg": lambda x: -x, "relu": lambda x: np.where(x > 0, x, 0), "abs": np.abs, "tanh": lambda x: 1 - 2 / (np.exp(2 * x) + 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softplus": lambda x: np.log(1 + np.exp(x)), "sin": lambda x: np.cos(x - np.pi / 2),
    "cos": lambda x: np.sin(x + np.pi / 2), "exp": lambda x: 1 / np.exp(-x), "atan": lambda x: np.arctan2(x, 1.0),
}


def test_wrong_sizes_are_refused():
    builder = Builder()
    graph = builder.build([builder.input(2)])
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(graph, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(graph)


@pytest.mark.parametrize("op", sorted(FORMULAS))
def test_unary(op):
    builder = Builder()
    graph = builder.build([builder.unary(op, builder.input(2))])
    np.testing.assert_allclose(evaluate(graph, X), FORMULAS[op](X), rtol=1e-13, atol=1e-14)


def test_domain_errors_are_nan_and_large_arguments_stay_finite():
    builder = Builder()
    x = builder.input(1)
    graph = builder.build([builder.unary(op, x) for op in ("log", "sqrt", "sigmoid", "softplus")])
    log, sqrt, sigmoid, softplus = evaluate_all(graph, [[-1.0], [1000.0]])
    assert np.isnan(log[0, 0]) and np.isnan(sqrt[0, 0])
    assert sigmoid[1, 0] == 1.0 and 0.0 <= sigmoid[0, 0] < 0.5 and softplus[1, 0] == 1000.0


def test_parameters_binary_take_concat_const_and_affine():
    builder = Builder()
    x = builder.input(2)
    third = builder.const([Fraction(1, 3), (Fraction(0), Fraction(2))])
    parts = [builder.binary(op, x, third) for op in ("add", "sub", "mul", "div", "min", "max")]
    parts += [builder.unary("leaky_relu", x, Fraction(1, 4)), builder.unary("pow", x, 3), builder.take(x, (1, 1, 0)), third]
    parts += [builder.affine(x, Affine(np.array([[1.0, 2.0]]), np.array([3.0])))]
    graph = builder.build([builder.concat(parts)])
    c = np.broadcast_to([1 / 3, 1.0], X.shape)
    expected = [X + c, X - c, X * c, X / c, np.where(X < c, X, c), np.where(X < c, c, X), np.where(X < 0, X / 4, X), X * X * X,
                X[:, [1, 1, 0]], c, X[:, :1] + 2 * X[:, 1:] + 3]
    np.testing.assert_allclose(evaluate(graph, X), np.concatenate(expected, axis=1), rtol=1e-15)
    np.testing.assert_array_equal(evaluate(graph, X[4]), evaluate(graph, X)[4])


def test_a_constant_output_has_one_row_per_point():
    builder = Builder()
    builder.input(2)
    graph = builder.build([builder.const([Fraction(7)])])
    assert evaluate(graph, X).shape == (13, 1)
