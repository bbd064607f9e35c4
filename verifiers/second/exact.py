"""Exact rationals, matrices of them, and boxes: what the second checker needs besides balls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from flint import arb_mat, fmpq, fmpq_mat

from verifiers.second.plant import ball

Vector = Sequence[Fraction]
Corners = tuple[list[Any], list[Any]]


class Disagrees(Exception):
    """The claim is contradicted."""


class Undecided(Exception):
    """The claim could not be shown here."""


def fraction(value: Any) -> Fraction:
    """A number as a requirement or certificate writes it."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Undecided(f"{value!r} is no number")
    return Fraction(value)


def fractions(values: Any) -> list[Fraction]:
    """A list of such numbers."""
    return [fraction(value) for value in values]


def exact(rows: Sequence[Vector]) -> Any:
    """An exact matrix of FLINT's."""
    return fmpq_mat(len(rows), len(rows[0]), [fmpq(q.numerator, q.denominator) for row in rows for q in row])


def rows_of(matrix: Any) -> list[list[Fraction]]:
    """The rows of an exact matrix."""
    return [[Fraction(int(q.p), int(q.q)) for q in row] for row in matrix.tolist()]


def balls_of(rows: Sequence[Vector]) -> Any:
    """A matrix of balls around rationals."""
    return arb_mat(len(rows), len(rows[0]), [ball(q) for row in rows for q in row])


def is_definite(entries: list[list[Any]]) -> bool:
    """Every symmetric matrix in the balls is positive definite: all pivots of the elimination (LDLᵀ) are positive."""
    a = [row[:] for row in entries]
    for k in range(len(a)):
        if not a[k][k] > 0:
            return False
        for i in range(k + 1, len(a)):
            factor = a[k][i] / a[k][k]
            for j in range(i, len(a)):
                a[i][j] = a[i][j] - factor * a[k][j]
    return True


def leaves(data: bytes, lo: Sequence[float], hi: Sequence[float]) -> Iterator[tuple[int, list[float], list[float]]]:
    """Boxes at which a search starts: the certificate's tree, or as much of it as can be read; they cover [lo, hi] whatever the bytes are."""
    waiting, given = [(list(lo), list(hi))], iter(data)
    while waiting:
        low, high = waiting.pop()
        byte = next(given, 255)
        if byte < len(low):
            middle = 0.5 * low[byte] + 0.5 * high[byte]
            waiting += [([*low[:byte], middle, *low[byte + 1:]], high), (low, [*high[:byte], middle, *high[byte + 1:]])]
        else:
            yield byte, low, high



def corners(values: Sequence[Any]) -> list[Any]:
    """Ends of a box as numbers that balls are made of."""
    return [fmpq(q.numerator, q.denominator) if isinstance(q, Fraction) else q for q in values]


def form(matrix: list[list[Fraction]], z: list[Fraction]) -> Fraction:
    """The value of the form zᵀ P z, exact."""
    return sum((z[i] * matrix[i][j] * z[j] for i in range(len(z)) for j in range(len(z))), Fraction(0))


def halves(lo: list[Any], hi: list[Any], i: int) -> list[Corners]:
    """The two halves of a box along one coordinate."""
    middle = 0.5 * lo[i] + 0.5 * hi[i]
    if not lo[i] < middle < hi[i]:
        raise Undecided("a box cannot be halved any more")
    return [(lo, [*hi[:i], middle, *hi[i + 1:]]), ([*lo[:i], middle, *lo[i + 1:]], hi)]
