"""Definiteness is decided exactly: a hair's breadth on either side, and no interval matrix passes whose corner fails."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.kernel import definite, local
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import adjugate, interval_positive_definite, inverse, is_positive_definite, is_positive_semidefinite, rationals

F = Fraction
HAIR = F(1, 10**30)
Matrix = list[list[Fraction]]


def exact(rows: object) -> Matrix:
    return [[F(v) for v in row] for row in rows]  # type: ignore[attr-defined]


def product(a: Matrix, b: Matrix) -> Matrix:
    return [[sum((p * q for p, q in zip(row, column, strict=True)), F(0)) for column in zip(*b, strict=True)] for row in a]


def proved(mid: object, rad: object) -> bool:
    """Ask about matrices of floats, which are the rationals that they are."""
    return interval_positive_definite(exact(np.asarray(mid).tolist()), exact(np.asarray(rad).tolist()))


def congruent(eigenvalues: list[Fraction]) -> Matrix:
    """``H diag(e) H`` with the rational Householder reflection of (1, ..., n): these are its exact eigenvalues."""
    n = len(eigenvalues)
    v = [F(k + 1) for k in range(n)]
    norm = sum(t * t for t in v)
    h = [[F(int(i == j)) - 2 * v[i] * v[j] / norm for j in range(n)] for i in range(n)]
    d = [[eigenvalues[i] if i == j else F(0) for j in range(n)] for i in range(n)]
    return product(product(h, d), h)


# negative


@pytest.mark.threat("T09")
@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_eigenvalue_a_hair_below_zero(n: int) -> None:
    matrix = congruent([F(k + 1) for k in range(n - 1)] + [-HAIR])
    assert not is_positive_definite(matrix)
    assert not is_positive_semidefinite(matrix)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_eigenvalue_zero_is_semidefinite_only(n: int) -> None:
    matrix = congruent([F(0)] + [F(k + 1) for k in range(n - 1)])
    assert not is_positive_definite(matrix)
    assert is_positive_semidefinite(matrix)


@pytest.mark.parametrize("rows", [
    [[1, 2], [0, 1]], [[1, 0], [HAIR, 1]], [[1, 0, 0], [0, 1, 0], [0, HAIR, 1]],
])
def test_an_asymmetric_matrix_is_not_definite(rows: object) -> None:
    assert not is_positive_definite(exact(rows))
    assert not is_positive_semidefinite(exact(rows))


@pytest.mark.parametrize("rows", [
    [[0, 1], [1, 0]], [[0, 1], [1, 5]], [[0, 0], [0, -1]], [[1, 1, 1], [1, 1, 2], [1, 2, 9]], [[0, 0, 0], [0, 0, 1], [0, 1, 3]], [[-1, 0], [0, -1]],
])
def test_a_zero_pivot_does_not_hide_an_indefinite_rest(rows: object) -> None:
    assert not is_positive_definite(exact(rows))
    assert not is_positive_semidefinite(exact(rows))


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2]], [[1], [2]], [[1, 0], [0]]])
def test_what_is_not_square_is_refused(rows: object) -> None:
    for decide in (is_positive_definite, is_positive_semidefinite, inverse):
        with pytest.raises(Refusal) as refusal:
            decide(exact(rows))
        assert refusal.value.code is Code.BAD_SHAPE


@pytest.mark.threat("T23")
def test_coprime_denominators_are_declined_before_they_explode() -> None:
    matrix = [[F(1, 10**390 + abs(i - j) + i + j) for j in range(30)] for i in range(30)]
    with pytest.raises(Refusal) as refusal:
        is_positive_definite(matrix)
    assert refusal.value.code is Code.TOO_LARGE


@pytest.mark.threat("T23")
def test_the_cap_is_exactly_where_it_is_said_to_be() -> None:
    """A number of k bits over a denominator of one bit counts k + 1, times the size of the matrix."""
    assert is_positive_definite([[F(2**262142)]])
    assert is_positive_definite(exact([[2**131070, 0], [0, 1]]))
    for matrix in ([[F(2**262143)]], exact([[2**131071, 0], [0, 1]]), exact([[1, 0], [0, 2**131071]])):
        with pytest.raises(Refusal) as refusal:
            is_positive_definite(matrix)
        assert refusal.value.code is Code.TOO_LARGE


@pytest.mark.parametrize("rows", [[[0]], [[1, 2], [2, 4]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]])
def test_a_singular_matrix_has_no_inverse(rows: object) -> None:
    with pytest.raises(Refusal) as refusal:
        inverse(exact(rows))
    assert refusal.value.code is Code.NOT_DEFINITE


@pytest.mark.threat("T09")
def test_an_interval_matrix_whose_corner_is_singular() -> None:
    assert not proved(np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert proved(np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]]) * (1 - 2.0**-53))


def test_an_interval_matrix_whose_corner_is_indefinite() -> None:
    assert not proved(np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 0.3], [0.3, 0.5]]))


def test_a_diagonal_interval_that_touches_zero() -> None:
    assert not proved(np.eye(3), np.diag([0.0, 1.0, 0.0]))


@pytest.mark.threat("T08")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (0, 1), (2, 2)])
def test_nan_and_infinity_prove_nothing(bad: float, where: tuple[int, int]) -> None:
    """They are no rationals, so an enclosure that holds one is refused before its definiteness is asked for."""
    poison = np.zeros((3, 3))
    poison[where] = bad
    with pytest.raises(Refusal) as refusal:
        local.exact(poison)
    assert refusal.value.code is Code.NOT_PROVED


def test_a_negative_radius_proves_nothing() -> None:
    assert not proved(np.eye(2), np.array([[0.0, 0.0], [0.0, -1e-9]]))


@pytest.mark.parametrize(("mid", "rad"), [((2, 3), (2, 3)), ((3, 2), (3, 2)), ((2, 2), (3, 3)), ((2, 2), (2, 1)), ((2, 2), (2, 3)), ((0, 0), (0, 0))])
def test_interval_matrices_of_wrong_shape_are_refused(mid: tuple[int, ...], rad: tuple[int, ...]) -> None:
    with pytest.raises(Refusal) as refusal:
        proved(np.ones(mid), np.zeros(rad))
    assert refusal.value.code is Code.BAD_SHAPE


def test_the_asymmetric_member_of_an_interval_matrix_counts() -> None:
    """``x.A.x`` depends on the symmetric part: [[1, 2], [0, 1]] is singular there, so an enclosure of it must not pass."""
    assert not proved(np.array([[1.0, 2.0], [0.0, 1.0]]), np.zeros((2, 2)))
    assert proved(np.array([[1.0, 1.5], [0.0, 1.0]]), np.zeros((2, 2)))


# positive


@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_eigenvalue_a_hair_above_zero(n: int) -> None:
    matrix = congruent([HAIR] + [F(k + 1) for k in range(n - 1)])
    assert is_positive_definite(matrix)
    assert is_positive_semidefinite(matrix)


def test_zero_pivots_in_the_middle() -> None:
    matrix = exact([[2, 0, 2, 0], [0, 0, 0, 0], [2, 0, 2, 0], [0, 0, 0, 3]])
    assert is_positive_semidefinite(matrix)
    assert not is_positive_definite(matrix)


def test_large_matrices_are_decided() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((30, 30))
    gram = root @ root.T
    gram = (gram + gram.T) / 2
    smallest = np.linalg.eigvalsh(gram)[0]
    for shift, expected in ((0.999 * smallest, True), (1.001 * smallest, False)):
        assert is_positive_definite(exact((gram - shift * np.eye(30)).tolist())) is expected


def test_the_interval_test_is_blind_to_units() -> None:
    units = np.diag([1e-6, 1.0, 1e6])
    mid = units @ (np.eye(3) + 0.2) @ units
    rad = units @ np.full((3, 3), 0.2) @ units
    assert proved(mid, rad)


small = st.integers(-9, 9).map(F)


def square(n: int) -> st.SearchStrategy[Matrix]:
    return st.lists(st.lists(small, min_size=n, max_size=n), min_size=n, max_size=n)


@given(st.integers(1, 5).flatmap(square))
@settings(deadline=None, max_examples=150)
def test_inverse_multiplies_to_the_identity_or_the_determinant_is_zero(matrix: Matrix) -> None:
    n = len(matrix)
    unit = [[F(int(i == j)) for j in range(n)] for i in range(n)]
    try:
        found = [list(row) for row in inverse(matrix)]
    except Refusal:
        # zero determinant by the permutation sum, which shares nothing with the elimination
        total = F(0)
        for p in itertools.permutations(range(n)):
            sign = (-1) ** sum(p[i] > p[j] for i in range(n) for j in range(i + 1, n))
            term = F(sign)
            for i in range(n):
                term *= matrix[i][p[i]]
            total += term
        assert total == 0
        return
    assert product(matrix, found) == unit
    assert product(found, matrix) == unit


@given(st.integers(1, 4).flatmap(square), st.integers(0, 3))
@settings(deadline=None, max_examples=150)
def test_semidefinite_means_all_principal_minors(matrix: Matrix, shift: int) -> None:
    """Oracle: principal minors by cofactors, on A + Aᵀ + shift I and on the Gram matrix of A."""

    def det(a: Matrix) -> Fraction:
        return a[0][0] if len(a) == 1 else sum(((-1) ** j * a[0][j] * det([r[:j] + r[j + 1:] for r in a[1:]]) for j in range(len(a))), F(0))

    n = len(matrix)
    wobbly = [[matrix[i][j] + matrix[j][i] + 9 * shift * (i == j) for j in range(n)] for i in range(n)]
    for a in (wobbly, product(matrix, [list(c) for c in zip(*matrix, strict=True)])):
        subsets = [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]
        minors = {s: det([[a[i][j] for j in s] for i in s]) for s in subsets}
        assert is_positive_semidefinite(a) is all(m >= 0 for m in minors.values())
        assert is_positive_definite(a) is all(minors[tuple(range(k))] > 0 for k in range(1, n + 1))


@given(st.integers(1, 3), st.integers(0, 10**6))
@settings(deadline=None, max_examples=150)
def test_every_corner_of_a_proved_interval_matrix_is_definite(n: int, seed: int) -> None:
    """Extreme points of the interval matrix suffice for definiteness, so this checks the theorem and not a sample."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    mid = root @ root.T + 0.3 * np.eye(n)
    rad = rng.uniform(0, rng.uniform(0, 1), (n, n))
    if not proved(mid, rad):
        return
    middle, radius = exact(mid.tolist()), exact(rad.tolist())
    for signs in itertools.product((-1, 1), repeat=n * n):
        corner = [[middle[i][j] + signs[n * i + j] * radius[i][j] for j in range(n)] for i in range(n)]
        assert is_positive_definite([[(corner[i][j] + corner[j][i]) / 2 for j in range(n)] for i in range(n)])


@pytest.mark.parametrize(("rows", "good"), [
    ([[1, 0], [0, 1]], True), ([[1, -2], [-2, 1]], False),
    ([[3, 1], [1, 3]], True), ([[1, 1], [1, 1]], False), ([[3, 0], [0, -1]], False), ([[3, 1], [0, 3]], False)])
def test_dominance_is_strict_in_every_row_of_a_symmetric_matrix(rows: list[list[int]], good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the identity in place of the factor the comparison is about the matrix itself."""
    matrix = exact(rows)
    monkeypatch.setattr(np.linalg, "cholesky", lambda a: np.eye(len(a)))
    assert definite.is_dominant_after_scaling(matrix) is good
    monkeypatch.setattr(np.linalg, "inv", lambda a: np.array([[np.inf, 0.0], [0.0, 1.0]]))
    assert definite.is_dominant_after_scaling(matrix) is False


@pytest.mark.parametrize("matrix", [[["1", "2"], ["3", "4"]], [["2", "1"], ["1", "2"]], [["-3"]], [["1/7"]], [["0", "1"], ["1", "0"]]])
def test_an_adjugate_comes_with_a_positive_scale(matrix) -> None:
    a = rationals(exact(matrix))
    x, scale = adjugate(a)
    assert scale > 0 and (a @ x == scale * np.eye(len(a), dtype=object)).all()
