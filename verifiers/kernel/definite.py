"""Exact definiteness of symmetric matrices, of whole interval matrices, and exact inverses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from verifiers.kernel.codes import Code, Refusal, need

Rows = Sequence[Sequence[Fraction]]
MAX_BITS = 1 << 18  # of a determinant, about


def _integers(matrix: Rows) -> tuple[list[list[int]], int]:
    """Return ``(s A, s)`` in integers, ``s > 0`` the common denominator."""
    need(len(matrix) >= 1 and all(len(row) == len(matrix) for row in matrix), Code.BAD_SHAPE, "matrix",
         f"rows of lengths {[len(row) for row in matrix]} make no square matrix")
    scale = 1
    for row in matrix:
        scale = math.lcm(scale, *(q.denominator for q in row))
        largest = max(q.numerator.bit_length() for q in row)
        need(len(matrix) * (scale.bit_length() + largest) <= MAX_BITS, Code.TOO_LARGE, "matrix",
             f"its determinant may exceed {MAX_BITS} bits; round the entries to fewer digits")
    return [[q.numerator * (scale // q.denominator) for q in row] for row in matrix], scale


def _pivots(matrix: Rows) -> Iterator[int]:
    """Yield integers with the signs of the pivots of A = L D Lᵀ; -1 where A is asymmetric or a zero pivot shows it indefinite.

    Fraction-free elimination (Bareiss 1968): after each step every entry is a minor of the integer matrix, so the division
    by the previous pivot is exact.  A zero pivot with a zero row drops out of the matrix: the minors of the rest stay as they are.
    """
    a, _ = _integers(matrix)
    n, previous = len(a), 1
    if not all(a[i][j] == a[j][i] for i in range(n) for j in range(i)):
        yield -1
    for k in range(n):
        pivot, row = a[k][k], a[k]
        if pivot == 0:
            yield -1 if any(row[k:]) else 0
            continue
        yield pivot
        for i in range(k + 1, n):
            head, line = row[i], a[i]
            line[i:] = [(pivot * x - head * y) // previous for x, y in zip(line[i:], row[i:], strict=True)]
        previous = pivot


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
    n = range(len(mid))
    need(len(rad) == len(mid) and all(len(row) == len(mid) for row in (*mid, *rad)), Code.BAD_SHAPE, "interval matrix",
         "midpoint and radius are not square matrices of one size")
    if not all(r >= 0 for row in rad for r in row):
        return False
    middle, radius = ([[a[i][j] + a[j][i] for j in n] for i in n] for a in (mid, rad))  # 2 M, 2 R
    scale = [Fraction(2) ** ((mid[i][i].denominator.bit_length() - mid[i][i].numerator.bit_length()) // 2) for i in n]
    for i in n:
        middle[i][i] -= sum((radius[i][j] * scale[j] for j in n), Fraction(0)) / scale[i]
    return is_positive_definite(middle)


def inverse(matrix: Rows) -> tuple[tuple[Fraction, ...], ...]:
    """Invert a rational matrix exactly (fraction-free Gauss-Jordan elimination).

    Parameters
    ----------
    matrix : sequence of sequence of Fraction
        A (n, n), n >= 1, symmetric or not.

    Returns
    -------
    tuple of tuple of Fraction
        The X with ``A X = X A = I``, exact.

    Raises
    ------
    Refusal
        ``NOT_DEFINITE`` when A is singular; ``BAD_SHAPE`` when it is empty or not square; ``TOO_LARGE`` when its entries are too long.
    """
    a, scale = _integers(matrix)
    n, previous = len(a), 1
    a = [row + [scale * (i == j) for j in range(n)] for i, row in enumerate(a)]  # s A X = s I
    for k in range(n):
        lead = next((i for i in range(k, n) if a[i][k]), None)
        if lead is None:
            raise Refusal(Code.NOT_DEFINITE, "inverse", f"the {n} x {n} matrix is singular")
        a[k], a[lead] = a[lead], a[k]
        pivot, row = a[k][k], a[k]
        for i in range(n):
            if i != k:
                head = a[i][k]
                a[i] = [(pivot * x - head * y) // previous for x, y in zip(a[i], row, strict=True)]
        previous = pivot
    return tuple(tuple(Fraction(x, a[i][i]) for x in a[i][n:]) for i in range(n))
