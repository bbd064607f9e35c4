"""Exact definiteness of symmetric matrices, of whole interval matrices, and exact inverses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifiers.kernel.codes import Code, need

Exact = NDArray[np.object_]
"""Vector or matrix of rationals: ``+ - * / @ abs`` and comparisons of NumPy's object arrays are those of the entries, so they are exact."""
Rows = Sequence[Sequence[Fraction]] | Exact
MAX_BITS = 1 << 18  # of a determinant, about


def rationals(entries: Sequence[Any] | Exact) -> Exact:
    """The same rationals as an array."""
    return np.array(entries, dtype=object)


def integers(matrix: Rows) -> tuple[Exact, int]:
    """Return ``(s A, s)`` in integers, ``s > 0`` the common denominator; ``TOO_LARGE`` where products of its rows may explode."""
    n, scale, shape = len(matrix), 1, rationals(matrix).shape
    for q in itertools.chain(*matrix):
        scale = math.lcm(scale, q.denominator)
        need(n * (scale.bit_length() + q.numerator.bit_length()) <= MAX_BITS, Code.TOO_LARGE, "matrix",
             f"its determinant may exceed {MAX_BITS} bits; round the entries to fewer digits")
    return rationals([[q.numerator * (scale // q.denominator) for q in row] for row in matrix]).reshape(shape), scale


def _integers(matrix: Rows) -> tuple[Exact, int]:
    """The same of a square matrix."""
    n = len(matrix)
    need(n >= 1 and all(len(row) == n for row in matrix), Code.BAD_SHAPE, "matrix", f"rows of lengths {list(map(len, matrix))} make no square matrix")
    return integers(matrix)


def _pivots(matrix: Rows) -> Iterator[int]:
    """Yield integers with the signs of the pivots of A = L D Lᵀ; -1 where A is asymmetric or a zero pivot shows it indefinite.

    Fraction-free elimination (Bareiss 1968): after each step every entry is a minor of the integer matrix, so the division
    by the previous pivot is exact.  A zero pivot with a zero row drops out of the matrix: the minors of the rest stay as they are.
    """
    a, _ = _integers(matrix)
    previous = 1
    if not (a == a.T).all():
        yield -1
    while len(a):
        pivot, row, rest = a[0, 0], a[0, 1:], a[1:, 1:]
        if pivot:
            yield pivot
            a, previous = (pivot * rest - np.outer(row, row)) // previous, pivot
        else:
            yield -1 if row.any() else 0
            a = rest


def is_positive_definite(matrix: Rows) -> bool:
    r"""Decide :math:`A \succ 0` exactly.

    Parameters
    ----------
    matrix : sequence of sequence of Fraction
        A (n, n), n >= 1.

    Returns
    -------
    bool
        True if and only if A is symmetric and :math:`x^T A x > 0` for every :math:`x \ne 0` (Sylvester: every leading
        principal minor is positive).  Exact in both directions; no rounding takes place.

    Raises
    ------
    Refusal
        ``BAD_SHAPE`` when A is empty or not square; ``TOO_LARGE`` when its entries are too long.

    References
    ----------
    .. [1] E. H. Bareiss, Sylvester's identity and multistep integer-preserving Gaussian elimination, Math. Comp. 22 (1968).
    """
    return all(pivot > 0 for pivot in _pivots(matrix))


def is_positive_semidefinite(matrix: Rows) -> bool:
    r"""Decide :math:`A \succeq 0` exactly.

    Parameters
    ----------
    matrix : sequence of sequence of Fraction
        A (n, n), n >= 1.

    Returns
    -------
    bool
        True if and only if A is symmetric and :math:`x^T A x \ge 0` for every x.  With a positive pivot A is semidefinite if and only if its Schur
        complement is; with a zero pivot, if and only if the pivot's row is zero and the rest is semidefinite.  Exact in both directions.

    Raises
    ------
    Refusal
        ``BAD_SHAPE`` when A is empty or not square; ``TOO_LARGE`` when its entries are too long.
    """
    return all(pivot >= 0 for pivot in _pivots(matrix))


def is_dominant_after_scaling(matrix: Rows) -> bool:
    r"""Prove :math:`A \succ 0` by a congruence that makes it nearly the identity; much cheaper than elimination, and only sufficient.

    Parameters
    ----------
    matrix : sequence of sequence of Fraction
        A (n, n), n >= 1.

    Returns
    -------
    bool
        True only if A is symmetric and positive definite.  False says nothing.

    Raises
    ------
    Refusal
        ``BAD_SHAPE`` when A is empty or not square; ``TOO_LARGE`` when its entries are too long.

    Notes
    -----
    Direction: sufficient.  D is the inverse of a float Cholesky factor of A; whatever it is, :math:`B = D A D^T` is formed exactly, and
    :math:`B_{ii} > \sum_{j \ne i} |B_{ij}|` for every i makes the symmetric B positive definite (Gershgorin).  Then D is regular (:math:`D^T z = 0`
    gives :math:`z^T B z = 0`), and :math:`x^T A x = z^T B z` with :math:`x = D^T z`.
    """
    a, scale = _integers(matrix)
    try:
        factor = np.linalg.cholesky(np.array(a / scale, dtype=np.float64))
        near = np.linalg.inv(factor)
    except (np.linalg.LinAlgError, OverflowError):
        return False
    if not ((a == a.T).all() and np.isfinite(near).all()):
        return False
    d = _integers([[Fraction(v) for v in row] for row in near.tolist()])[0]
    b = d @ a @ d.T
    return bool((2 * b.diagonal() > abs(b).sum(axis=1)).all())


def interval_positive_definite(mid: Rows, rad: Rows) -> bool:
    r"""Prove that a whole interval matrix is positive definite.

    Parameters
    ----------
    mid, rad : sequence of sequence of Fraction
        Midpoint and radius, each (n, n); ``mid`` need not be symmetric.

    Returns
    -------
    bool
        True only if :math:`x^T A x > 0` for every :math:`x \ne 0` and every A, symmetric or not, with
        :math:`|A - \mathrm{mid}| \le \mathrm{rad}` entry by entry.  False says nothing; a negative radius gives False.

    Raises
    ------
    Refusal
        ``BAD_SHAPE`` when the two are not square matrices of one size; ``TOO_LARGE`` when their entries are too long.

    Notes
    -----
    Direction: sufficient.  Let M and R be the symmetric parts of mid and rad and d > 0 any vector.  The symmetric part S of A has
    :math:`|S - M| \le R`, and :math:`2|x_i x_j| \le x_i^2 d_j/d_i + x_j^2 d_i/d_j` gives
    :math:`x^T S x \ge x^T (M - \mathrm{diag}(r)) x` with :math:`r_i = \sum_j R_{ij} d_j/d_i` (for d = 1 at most the bound with the
    largest row sum of R in place of every :math:`r_i`).  That matrix is formed and tested exactly; d are powers of two near
    :math:`M_{ii}^{-1/2}`, which makes the test blind to units.
    """
    square = all(len(a) == len(mid) == len(row) for a in (mid, rad) for row in a)
    need(square and len(mid) == len(rad) > 0, Code.BAD_SHAPE, "interval matrix", "midpoint and radius are not square matrices of one size")
    m, r = rationals(mid), rationals(rad)
    if not (r >= 0).all():
        return False
    d = rationals([Fraction(2) ** ((v.denominator.bit_length() - v.numerator.bit_length()) // 2) for v in m.diagonal()])
    return is_positive_definite(m + m.T - np.diag((r + r.T) @ d / d))


def adjugate(matrix: Rows) -> tuple[Exact, int]:
    """Solve ``A X = s I`` in integers for a rational A (fraction-free Gauss-Jordan elimination).

    Parameters
    ----------
    matrix : sequence of sequence of Fraction
        A (n, n), n >= 1, symmetric or not.

    Returns
    -------
    (X, s)
        X (n, n) and s > 0, exact.

    Raises
    ------
    Refusal
        ``NOT_DEFINITE`` when A is singular; ``BAD_SHAPE`` when it is empty or not square; ``TOO_LARGE`` when its entries are too long.
    """
    a, scale = _integers(matrix)
    n, previous = len(a), 1
    a = np.hstack([a, scale * np.eye(n, dtype=object)])  # t A X = t I, t the scale
    for k in range(n):
        lead = k + int((a[k:, k] != 0).argmax())
        a[[k, lead]] = a[[lead, k]]
        pivot, others = a[k, k], np.arange(n) != k
        need(pivot, Code.NOT_DEFINITE, "inverse", f"the {n} x {n} matrix is singular")
        a[others] = (pivot * a[others] - np.outer(a[others, k], a[k])) // previous
        previous = pivot
    return (a[:, n:], previous) if previous > 0 else (-a[:, n:], -previous)  # the diagonal of t A has become its determinant


def inverse(matrix: Rows) -> tuple[tuple[Fraction, ...], ...]:
    """Invert a rational matrix exactly; what it takes and raises as :func:`adjugate`.

    Returns
    -------
    tuple of tuple of Fraction
        The X with ``A X = X A = I``, exact.
    """
    a, scale = adjugate(matrix)
    return tuple(map(tuple, a * Fraction(1, scale)))


def determinant(matrix: Rows) -> Fraction:
    """The determinant of a positive definite matrix, exact: the last pivot is that of ``s A``."""
    *_, last = _pivots(matrix)
    return Fraction(last, _integers(matrix)[1] ** len(matrix))
