"""Specifications about a closed loop in the manner of the competition's ``lsnc``: a box of states, a level set, and what the next state must do.

The network maps a state x (n) to Y = (V(x) - V(x+), V(x), x+) with n + 2 entries.  A specification asks for a state of the box with V(x) <= level
at which the decrease fails, Y_0 <= -1e-6, or the next state leaves the domain |x_i| <= D_i.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.kernel.graph import Graph
from verifiers.load.floats import evaluate

DECREASE = "(<= Y_0 -1e-06)"
NO_SLACK, WRONG_SIGN = "(<= Y_0 0)", "(>= Y_0 1e-06)"
BOUND = re.compile(r"\(and \(([<>]=) (Y_[1-9][0-9]*) (-?[0-9.]+)\)\)")


@dataclass(frozen=True)
class Loop:
    """Half-widths D (n,) of the domain, the level of V, and the share of the domain's width that a box of states has."""

    domain: tuple[float, ...]
    level: str
    share: float

    def text(self, lo: Sequence[float], hi: Sequence[float]) -> str:
        """The specification for one box."""
        n = len(self.domain)
        lines = [f"(declare-const X_{i} Real)" for i in range(n)] + [f"(declare-const Y_{k} Real)" for k in range(n + 2)]
        lines += [f"(assert (<= X_{i} {b!r}))\n(assert (>= X_{i} {a!r}))" for i, (a, b) in enumerate(zip(lo, hi, strict=True))]
        sides = [f"  (and (<= Y_{i + 2} -{d + 1e-6!r}))\n  (and (>= Y_{i + 2} {d + 1e-6!r}))" for i, d in enumerate(self.domain)]
        return "\n".join([*lines, "(assert (or", f"  (and {DECREASE})", *sides, "))", f"(assert (<= Y_1 {self.level}))", ""])

    def box(self, rng: np.random.Generator, meets: Graph | None = None) -> tuple[list[float], list[float]]:
        """A box of the share's width somewhere in the domain, one coordinate halved; with ``meets``, one that holds a state of the level set.

        For the latter a state is drawn on the ray to a random one, where V is a random part of the level, and the box is laid around it.
        """
        d = np.array(self.domain)
        width = 2 * self.share * d
        width[rng.integers(d.size)] /= 2
        if meets is None:
            lo = rng.uniform(-d, d - width)
        else:
            ray, part = rng.uniform(-d, d), rng.uniform() * float(Fraction(self.level))
            scales = np.linspace(0.0, 1.0, 1001)
            within = np.flatnonzero(evaluate(meets, scales[:, None] * ray)[:, 1] <= part)
            state = scales[within[-1] if within.size else 0] * ray
            lo = np.clip(state - rng.uniform(size=d.size) * width, -d, d - width)
        return [float(np.float32(v)) for v in lo], [float(np.float32(v)) for v in lo + width]


def mutated(text: str, *, decrease: str = DECREASE, shrink: Fraction = Fraction(1)) -> str:
    """The specification with another demand on the decrease, or with the box of the next state shrunk.

    Raises
    ------
    ValueError
        When the text is no specification of this kind.
    """
    if text.count(DECREASE) != 1 or not BOUND.search(text):
        raise ValueError(f"this is no specification of a loop: {DECREASE} stands {text.count(DECREASE)} times in it; give one as lsnc has them")

    def smaller(found: re.Match[str]) -> str:
        return f"(and ({found[1]} {found[2]} {float(Fraction(found[3]) * shrink)!r}))"

    return BOUND.sub(smaller, text.replace(DECREASE, decrease)) if shrink != 1 else text.replace(DECREASE, decrease)
