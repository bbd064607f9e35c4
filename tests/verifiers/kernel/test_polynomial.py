"""Polynomials in exact numbers: their limits, edge by edge, what is no polynomial, and values against the exact reading."""

from __future__ import annotations

from fractions import Fraction

import pytest

from verifiers.kernel import polynomial
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Builder, Graph, affine_from_rational
from verifiers.kernel.polynomial import Polynomial, constant, polynomials, shifted

F = Fraction
X, Y = Polynomial({(1, 0): F(1)}), Polynomial({(0, 1): F(1)})


def refused(call) -> Refusal:
    with pytest.raises(Refusal) as no:
        call()
    return no.value


# negative


@pytest.mark.threat("T23")
def test_a_polynomial_has_no_more_terms_than_its_limit(monkeypatch):
    monkeypatch.setattr(polynomial, "MAX_TERMS", 3)
    terms = [((k,), F(1)) for k in range(4)]
    assert len(Polynomial.summed(terms[:3]).terms) == 3
    assert refused(lambda: Polynomial.summed(terms)).code is Code.TOO_LARGE


@pytest.mark.threat("T23")
def test_a_monomial_has_no_higher_degree_than_its_limit():
    top = polynomial.MAX_DEGREE
    assert Polynomial.summed([((top - 1, 1), F(1))]).terms == {(top - 1, 1): F(1)}
    assert refused(lambda: Polynomial.summed([((top, 1), F(1))])).code is Code.TOO_LARGE


@pytest.mark.threat("T23")
def test_a_product_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(polynomial, "MAX_PRODUCTS", 6)
    two, three, four = (Polynomial({(k, 0): F(1) for k in range(size)}) for size in (2, 3, 4))
    assert len(two.times(three).terms) == 4
    no = refused(lambda: two.times(four))
    assert no.code is Code.TOO_LARGE and "product" in no.message


@pytest.mark.parametrize("bounds", [[(F(0), F(1))], [F(1), (F(0), F(1))], [(F(0), F(1)), F(1)]])
def test_an_unknown_constant_is_no_coefficient(bounds):
    b = Builder()
    b.input(1)
    assert refused(lambda: polynomials(b.build([b.const(bounds)]), [Polynomial({(1,): F(1)})])).code is Code.UNSUPPORTED


@pytest.mark.parametrize("op", ["sin", "tanh", "relu", "abs"])
def test_other_functions_are_no_polynomials(op):
    b = Builder()
    graph = b.build([b.unary(op, b.input(1))])
    assert refused(lambda: polynomials(graph, [Polynomial({(1,): F(1)})])).code is Code.UNSUPPORTED


@pytest.mark.parametrize("op", ["min", "max"])
def test_a_saturation_is_no_polynomial(op):
    b = Builder()
    assert refused(lambda: polynomials(b.build([b.binary(op, b.input(1), b.const([F(0)]))]), [Polynomial({(1,): F(1)})])).code is Code.UNSUPPORTED


@pytest.mark.parametrize("under", [{(0,): F(0)}, {(1,): F(1)}, {(0,): F(1), (1,): F(1)}, {}])
def test_a_quotient_by_what_is_no_constant_or_zero_is_refused(under):
    b = Builder()
    x = b.input(2)
    graph = b.build([b.binary("div", b.take(x, (0,)), b.take(x, (1,)))])
    assert refused(lambda: polynomials(graph, [Polynomial({(1,): F(1)}), Polynomial.summed(under.items())])).code is Code.UNSUPPORTED


# positive


def test_terms_that_cancel_are_gone():
    assert X.plus(X, F(-1)).terms == {} and constant(F(0), 2).terms == {}
    assert X.plus(Y).times(X.plus(Y, F(-1))).terms == {(2, 0): F(1), (0, 2): F(-1)}


def test_shifted_variables_are_the_origin_and_one_variable_each():
    assert [p.terms for p in shifted([F(1, 3), F(0)])] == [{(0, 0): F(1, 3), (1, 0): F(1)}, {(0, 1): F(1)}]


def test_a_first_input_that_is_zero_has_no_terms_to_count_variables_by():
    b = Builder()
    x = b.input(2)
    found = polynomials(b.build([b.concat([x, b.const([F(3)])])]), [Polynomial({}), Y])
    assert [p.terms for p in found] == [{}, {(0, 1): F(1)}, {(0, 0): F(3)}]


def test_derivatives():
    p = Polynomial({(3, 1): F(2), (0, 2): F(5), (0, 0): F(7)})
    assert p.derivative(0).terms == {(2, 1): F(6)} and p.derivative(1).terms == {(3, 0): F(2), (0, 1): F(10)}


def program() -> Graph:
    """Each operator that is polynomial."""
    b = Builder()
    x = b.input(2)
    y = b.affine(x, affine_from_rational([[F(1, 3), F(2)], [F(0), F(1, 7)]], [F(1, 9), F(-2)]))
    z = b.binary("mul", y, b.unary("neg", b.take(x, (1, 0))))
    q = b.binary("div", b.binary("sub", z, b.unary("pow", x, 3)), b.const([F(3), F(-2)]))
    return b.build([b.concat([b.binary("add", q, x), b.unary("pow", y, 0), b.unary("pow", y, 1)])])


@pytest.mark.parametrize("at", [(F(0), F(0)), (F(1, 3), F(-2)), (F(-7, 5), F(11, 13))])
def test_a_graph_and_its_polynomials_have_the_same_values(at):
    origin = (F(1, 2), F(-1))
    for value, p in zip(evaluate_exact(program(), at), polynomials(program(), shifted(origin)), strict=True):
        assert value == sum(v * (at[0] - origin[0]) ** m[0] * (at[1] - origin[1]) ** m[1] for m, v in p.terms.items())
