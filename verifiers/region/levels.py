"""Levels as short exact numbers: just below a value, a violation or a box."""

from __future__ import annotations

import math
from fractions import Fraction

from verifiers.kernel.setting import Source
from verifiers.kernel.stage import Stage


def short(q: Fraction, digits: int = 6) -> Fraction:
    """Round a positive rational down to a few significant decimal digits."""
    if q <= 0:
        return q
    power = digits - 1 - math.floor(math.log10(q))
    scale = Fraction(10) ** power
    return Fraction(math.floor(q * scale)) / scale


def just_below(source: Source, top: float, share: float) -> Fraction:
    """A level a little below ``top``: in the argument of a monotone output where there is one."""
    monotone = source.function(None, (), True).monotone
    if monotone == "sigmoid" and 0 < top < 1:
        z = math.log(top / (1 - top))
        return short(Fraction(1 / (1 + math.exp(-(z - share * max(1.0, abs(z)))))), 9)
    if monotone == "tanh" and abs(top) < 1:
        z = math.atanh(top)
        return short(Fraction(math.tanh(z - share * max(1.0, abs(z)))), 9)
    return short(Fraction(top - share * abs(top)), 9)


def level_under(stage: Stage, lowest: float, level: Fraction) -> Fraction | None:
    """The largest short level whose threshold lies below ``lowest``, unless that gives up more than a fifth of the level."""
    floor = 4 * level / 5
    forward = {"sigmoid": lambda z: 1 / (1 + math.exp(-z)), "tanh": math.tanh}.get(stage.function.monotone or "", lambda z: z)
    guess = Fraction(min(max(forward(lowest), float(floor)), float(level)))
    for give in range(1, 60):  # a float's guess is off by a few of its last bits at most
        near = short(guess - (level - floor) * Fraction(2**give, 10**12), 9)
        if near < floor or stage.function.thresholds(near)[1] < lowest:
            return near if near >= floor else None
    return None
