"""What a plant says about itself besides its equations: exact numbers, signals with units, parameters.

Needs the standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+|/[1-9][0-9]*)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}", re.ASCII)


def exact(number: str) -> Fraction:
    """Read a decimal or fraction string as the exact rational that it denotes.

    Raises
    ------
    ValueError
        For anything else; a float in particular, whose decimal text is not its value.
    """
    if not (isinstance(number, str) and len(number) <= 400 and _NUMBER.fullmatch(number)):
        raise ValueError(f'{number!r} is not an exact number; write a decimal or fraction as a string, "0.15" or "3/20"')
    return Fraction(number)


def text(number: Fraction) -> str:
    """Write a rational as ``p`` or ``p/q``, the form that :func:`exact` reads."""
    return str(number.numerator) if number.denominator == 1 else f"{number.numerator}/{number.denominator}"


def checked_name(name: str) -> str:
    """Return ``name`` if plant.json may hold it: a letter or ``_``, then at most 63 of letters, digits and ``_ . [ ]``."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(f"{name!r} cannot be a name; use a letter, then letters, digits or _ . [ ], at most 64 characters")
    return name


@dataclass(frozen=True)
class State:
    """A state: name, unit, and whether it is an angle (radians, not wrapped)."""

    name: str
    unit: str
    angle: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name)


@dataclass(frozen=True)
class Input:
    """An input: name, unit and limits; a limit is None, an exact number, a parameter's name, or ``-`` and that name."""

    name: str
    unit: str
    lo: str | None = None
    hi: str | None = None

    def __post_init__(self) -> None:
        checked_name(self.name)


@dataclass(frozen=True)
class Parameter:
    """A parameter: name, unit, and an exact number, or a pair (lo, hi) when it is an unknown constant in between."""

    name: str
    unit: str
    value: str | tuple[str, str]

    def __post_init__(self) -> None:
        checked_name(self.name)
        if not self.interval[0] <= self.interval[1]:
            raise ValueError(f"parameter {self.name}: the interval {self.value} is empty; give (lo, hi) with lo <= hi")

    @property
    def interval(self) -> tuple[Fraction, Fraction]:
        """The values that the parameter may have, (lo, hi)."""
        lo, hi = self.value if isinstance(self.value, tuple) and len(self.value) == 2 else (self.value, self.value)
        return exact(lo), exact(hi)

    @property
    def nominal(self) -> Fraction:
        """The value, or the middle of the interval."""
        lo, hi = self.interval
        return (lo + hi) / 2


def limit_value(limit: str | None, parameters: dict[str, Fraction]) -> Fraction | None:
    """The number that an input limit stands for, given the parameters' values.

    Raises
    ------
    ValueError
        When the limit names no parameter and is no number.
    """
    if limit is None:
        return None
    if (name := limit.removeprefix("-")) in parameters:
        return -parameters[name] if limit.startswith("-") else parameters[name]
    if _NAME.fullmatch(name):
        raise ValueError(f"input limit {limit!r} names no parameter; the parameters are {', '.join(parameters) or 'none'}")
    return exact(limit)
