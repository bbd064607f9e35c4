"""Rounding never proves what is false, and keeps what it promises exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.definite import is_dominant_after_scaling, is_positive_definite, is_positive_semidefinite, rationals
from verifiers.kernel.polynomial import Polynomial, square_form
from verifiers.sdp.rounding import dyadic, gram, margin, pairs_of, semidefinite, significant


def test_dyadic_is_the_nearest_multiple():
    assert dyadic([0.3, -0.3, 5.0], 2).tolist() == [Fraction(1, 4), Fraction(-1, 4), Fraction(5)]


def test_significant_keeps_the_relative_size():
    for value in (1e-30, -3.7, 1e30):
        assert abs(significant([value], 30)[0] / Fraction(value) - 1) <= Fraction(1, 2**30)
    assert significant([0.0])[0] == 0


@pytest.mark.threat("T08")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rounded", [dyadic, significant])
def test_what_is_not_finite_is_not_rounded(rounded, value):
    with pytest.raises(ValueError, match="not finite"):
        rounded([1.0, value])


@pytest.mark.threat("T09")
def test_the_congruence_proves_only_definite_matrices():
    rng = np.random.default_rng(1)
    for n in (1, 2, 5, 9):
        for gap in (1, 10**-6, 0, -(10**-12), -1):  # exact least eigenvalue of Q diag(1 ... gap) Q' for a rational orthogonal Q (Householder)
            v = rationals([Fraction(int(k)) for k in rng.integers(1, 9, n)])
            q = np.eye(n, dtype=object) - np.outer(v, v) * Fraction(2) / (v @ v)
            a = q @ np.diag(rationals([Fraction(1)] * (n - 1) + [Fraction(gap)])) @ q.T
            assert is_dominant_after_scaling(a) <= is_positive_definite(a)
            assert is_dominant_after_scaling(a) or gap < 10**-6


def test_the_congruence_refuses_asymmetric_and_empty_matrices():
    assert not is_dominant_after_scaling([[Fraction(2), Fraction(1)], [Fraction(0), Fraction(2)]])
    assert not is_dominant_after_scaling([[Fraction(0)]])
    assert not is_dominant_after_scaling([[Fraction(10) ** 400]])  # beyond every float: undecided, not an error


def test_a_nearly_semidefinite_matrix_becomes_one():
    found = semidefinite(np.array([[1.0, 1.0], [1.0, 1.0 - 1e-12]]))
    assert found is not None and is_positive_semidefinite(found)
    assert np.abs((found - rationals([[1, 1], [1, 1]])).astype(float)).max() < 1e-8


@pytest.mark.threat("T06")
def test_an_indefinite_matrix_stays_unproved():
    assert semidefinite(np.array([[1.0, 0.0], [0.0, -1e-3]])) is None
    assert margin(np.array([[1.0, 0.0], [0.0, -1e-3]])) == -1e-3


def test_the_projected_gram_matrix_gives_the_polynomial_exactly():
    basis = [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    rng = np.random.default_rng(2)
    g = rng.normal(size=(5, 5))
    g = g @ g.T + np.eye(5)
    p = square_form(basis, dyadic((g + g.T) / 2, 20))
    found = gram(p, basis, g + 1e-7 * rng.normal(size=(5, 5)))
    assert found is not None and square_form(basis, found) == p and is_positive_definite(found)


@pytest.mark.threat("T06")
def test_motzkins_polynomial_has_no_gram_matrix():
    motzkin = Polynomial({(4, 2): Fraction(1), (2, 4): Fraction(1), (2, 2): Fraction(-3), (0, 0): Fraction(1)})
    basis = [(0, 0), (1, 1), (2, 1), (1, 2)]
    for near in (np.eye(4), np.diag([1.0, 0.0, 1.0, 1.0]), np.ones((4, 4))):
        assert gram(motzkin, basis, near) is None
    assert gram(motzkin, [(0, 0), (1, 0)], np.eye(2)) is None  # monomials that no product gives


def test_pairs_hold_every_place_of_the_matrix_once():
    basis = [(0, 0), (1, 0), (0, 1), (1, 1)]
    places = [place for found in pairs_of(basis).values() for place in found]
    assert len(places) == len(set(places)) == 16
