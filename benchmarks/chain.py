"""Coupled van der Pol chain with a quadratic function in 2, 4 and 6 dimensions: the native decider against the solvers, in one run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction

from benchmarks.agreement import fastest
from benchmarks.deciding import NAMES, Asked, ask, present, warm
from benchmarks.harness import Check, Report, Table
from benchmarks.queries import COUPLING, ball, van_der_pol

CLAIM = "Coupled van der Pol chain: the native decider proves the quadratic in 2, 4 and 6 dimensions, with a proof that the kernel replays"
NOTES = (
    "Query, for n reversed van der Pol oscillators x_i' = -y_i, y_i' = x_i - y_i + x_i^2 y_i + (x_(i-1) + x_(i+1)) / 20 on the box [-3, 3]^2n: a "
    "state with V <= 13/20, |x|^2 >= 1/100 and V' >= 0, where V = sum of 3/2 x_i^2 - x_i y_i + y_i^2 solves the Lyapunov equation A'P + PA = -I of "
    "the uncoupled linearisation. There is none: V' <= (-1 + 0.82 + 0.16) |x|^2 by hand "
    "(benchmarks/queries.py). With V <= 4 instead, (3/2, 3/2, 0, ...) is one.",
    "Wall (CPU) seconds, the start of an external solver's child process included (last table). A solver that runs into the limit has no answer. "
    "z3 and cvc5 are exact for polynomials; dReal decides up to its precision, so `delta-sat` is no answer.",
    "The ratio is a solver's seconds over the native ones; `>` where the solver ran into the limit.",
)


@dataclass(frozen=True)
class Settings:
    """Deciders, numbers of oscillators, seconds for each query, dReal's precision."""

    deciders: tuple[str, ...] = NAMES
    pairs: tuple[int, ...] = (1, 2, 3)
    limit: float = 30.0
    precision: float = 1e-4


def ratio(native: Asked | None, other: Asked) -> str | None:
    """How many times longer another took than the native decider."""
    if native is None or not native.decided:
        return None
    return ("" if other.decided else "> ") + f"{other.seconds / native.seconds:.3g}"


def run(settings: Settings | None = None) -> Report:
    """Ask everybody for every number of oscillators, below the level that is safe and above it."""
    s = settings or Settings()
    here, absent = present(s.deciders, s.precision)
    starts = warm(here, ball(2, Fraction(1, 100)))
    rows: list[tuple[object, ...]] = []
    checks: list[Check] = []
    for pairs in s.pairs:
        for level, truth in ((Fraction(13, 20), "unsat"), (Fraction(4), "sat")):
            name = f"{2 * pairs}-D, V <= {level}"
            print(name, file=sys.stderr)
            answers = {who: ask(decider, van_der_pol(pairs, level, COUPLING), s.limit) for who, decider in here.items()}
            native = answers.get("native")
            ratios = [ratio(native, one) for who, one in answers.items() if who != "native"]
            rows.append((name, truth, *(one.cell() for one in answers.values()), *ratios))
            wrong = [f"{who} says {one.result}" for who, one in answers.items() if one.decided and one.result != truth]
            checks.append(Check(f"{name} is {truth}" + (f": {'; '.join(wrong)}" if wrong else ": no answer says otherwise"), not wrong))
            if native is not None:
                proved = native.result == truth and (truth == "sat" or native.level == 2)
                checks.append(Check(f"{name}: native answers {native.cell()}" + (", replayed by the kernel" if native.level == 2 else ""), proved))
                if pairs > 1:
                    checks.append(Check(f"{name}: native answers before all others", fastest(answers)))
    others = [who for who in here if who != "native"]
    table = Table(f"One process, limit {s.limit:g} s", ("query", "truth", *here, *(f"{who} / native" for who in others)), tuple(rows))
    start = Table("An easy query (ball 2-D, unsat), to see what a start costs", ("decider", "answer"),
                  tuple((name, one.cell()) for name, one in starts.items()))
    return Report(CLAIM, tuple(checks), (table, start), (*NOTES, f"dReal's precision is {s.precision:g}.",
                                                          *(f"Not here: {name} ({why})." for name, why in absent.items())))
