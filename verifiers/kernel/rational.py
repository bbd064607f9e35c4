"""Exact rationals: the only numbers that a certificate, a plant or a requirement may hold."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code, need

_PATTERN = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+|/[1-9][0-9]*)?", re.ASCII)
MAX_DIGITS = 400


def parse(text: object, at: str, digits: int = MAX_DIGITS) -> Fraction:
    """Read ``-?(0|[1-9]\\d*)(\\.\\d+|/[1-9]\\d*)?`` (ASCII, at most ``digits`` characters) as the exact rational it denotes.

    Raises
    ------
    Refusal
        ``BAD_NUMBER`` when the text is anything else: NaN, infinity, exponent, sign tricks, other digits.
    """
    good = isinstance(text, str) and len(text) <= digits and _PATTERN.fullmatch(text)
    need(good, Code.BAD_NUMBER, at, f"{str(text)[:40]!r} is not a decimal or fraction string")
    return Fraction(str(text))


def parse_vector(items: Any, at: str, size: int | None = None) -> tuple[Fraction, ...]:
    """Read a list of rationals, of the given length when one is given."""
    good = isinstance(items, list) and size in (None, len(items))
    need(good, Code.BAD_SHAPE, at, f"a list of {size if size is not None else 'some'} numbers is expected here")
    return tuple(parse(item, f"{at}[{i}]") for i, item in enumerate(items))


def parse_matrix(rows: Any, at: str, size: int) -> tuple[tuple[Fraction, ...], ...]:
    """Read a square matrix of rationals."""
    need(isinstance(rows, list) and len(rows) == size, Code.BAD_SHAPE, at, f"a {size} x {size} matrix is expected here")
    return tuple(parse_vector(row, f"{at}[{i}]", size) for i, row in enumerate(rows))


def down(q: Fraction) -> float:
    """Largest float64 known to be at most ``q`` (-inf when ``q`` is below every float)."""
    try:
        x = float(q)
    except OverflowError:
        return -math.inf if q < 0 else float(np.finfo(np.float64).max)
    return x if Fraction(x) <= q else float(np.nextafter(x, -math.inf))


def up(q: Fraction) -> float:
    """Smallest float64 known to be at least ``q``."""
    return -down(-q)


def sqrt_up(q: Fraction, bits: int = 80) -> Fraction:
    """A rational at least ``sqrt(q)``, relative excess at most about ``2**-bits``; ``q >= 0``."""
    need(q >= 0, Code.BAD_NUMBER, "sqrt", "square root of a negative number")
    if q == 0:
        return q
    shift = max(0, 2 * bits + q.denominator.bit_length() - q.numerator.bit_length())
    scaled = -((-q.numerator << 2 * shift) // q.denominator)
    return Fraction(math.isqrt(scaled) + 1, 1 << shift)
