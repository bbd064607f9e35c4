"""Taylor models as polynomials with exact coefficients, and random ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verifiers.kernel.taylor import Model, TaylorReading

F = Fraction
Polynomial = dict[tuple[int, ...], F]


def exact(reading: TaylorReading, m: Model, row: int, k: int) -> Polynomial:
    """The polynomial of one entry, by its monomials in the variables."""
    found: Polynomial = {(): F(float(m.p[0, row, k]))}
    found |= {(i,): F(float(v)) for i, v in enumerate(m.p[1:, row, k])}
    if len(m.q):
        found |= {(int(i), int(j)): F(float(v)) for i, j, v in zip(reading.first, reading.second, m.q[:, row, k], strict=False)}
    return found


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    found: Polynomial = {}
    for i, v in a.items():
        for j, w in b.items():
            key = tuple(sorted(i + j))
            found[key] = found.get(key, F(0)) + v * w
    return found


def apart(a: Polynomial, b: Polynomial) -> F:
    """Sum of the absolute differences of all coefficients: the largest difference of values, or more."""
    return sum((abs(a.get(key, F(0)) - b.get(key, F(0))) for key in a.keys() | b.keys()), F(0))


def drawn(reading: TaylorReading, rng: np.random.Generator, m: int, *, symbols: int = 0, pairs: bool = True, error: float = 0.0) -> Model:
    """Coefficients of all sizes."""
    rows = len(reading.rows)

    def numbers(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) * 10.0 ** rng.integers(-3, 2, shape)

    p = numbers(1 + reading.n + symbols, rows, m)
    q = numbers(reading.pairs(reading.n + symbols), rows, m) if pairs else np.zeros((0, 1, 1))
    wide = np.full((rows, m), 1e6)
    return Model(p, q, np.full((rows, m), error) * np.abs(numbers(rows, m)), -wide, wide, 0)
