"""Every decider on every query: no answer contradicts another or the known truth, and on networks the native one is the fastest."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.deciding import NAMES, Asked, ask, present, warm
from benchmarks.harness import ROOT, Check, Report, Table
from benchmarks.queries import Case, ball, cases, larger_networks
from verifiers.kernel.graph import Graph
from verifiers.load.floats import evaluate
from verifiers.prove import verify
from verifiers.smt.decider import replay
from verifiers.smt.obligations import obligations_as_queries
from verifiers.smt.query import And, Atom, Formula, Query

CLAIM = "Deciders agree with each other and with the known answers, and the native one is the fastest on every network of more than 16 neurons"
SMALL = 16
ACTIVATIONS = frozenset({"relu", "leaky_relu", "tanh", "sigmoid", "softplus"})
NOTES = (
    "A cell is the answer with wall (CPU) seconds, the start of an external solver's child process included (the last table shows what it costs); "
    "`timeout` and the like are no answers. Beside other work on the machine a child in a session of its own gets a larger share of it than the "
    "process that asks, so read the CPU seconds where the load is high. z3 does not read sin, exp, tanh and their like (`unsupported`).",
    "L1 is a solver's word, L2 a proof that the kernel replayed. Every `sat` holds a state that was replayed exactly or with rigorous enclosures.",
    "Who answers within the limit is faster than who does not. A query that none answers bears out nothing.",
    "dReal's precision is 1e-6. The truth is known by construction, for the reason in the last table but one.",
)


@dataclass(frozen=True)
class Settings:
    """Deciders, seconds for each query, names of the queries (None: all), and whether the pendulum of examples/ is proved for its obligations."""

    deciders: tuple[str, ...] = NAMES
    limit: float = 5.0
    names: tuple[str, ...] | None = None
    pendulum: bool = True


def neurons(graph: Graph) -> int:
    """Units of activation functions; one whose derivative is taken too counts once."""
    return sum(node.size for node in graph.nodes if node.op in ACTIVATIONS)


def sampled_state(query: Query, seed: int = 0, count: int = 100_000) -> tuple[Fraction, ...] | None:
    """A state that satisfies a query, found by sampling and replayed exactly or with enclosures; None where none was found."""
    rng = np.random.default_rng(seed)
    lo, hi = (np.array([float(v) for v in side]) for side in (query.lo, query.hi))
    x = lo + rng.uniform(size=(count, lo.size)) * (hi - lo)
    good = np.flatnonzero(_satisfied(query.formula, evaluate(query.graph, x)))
    states = (tuple(Fraction(v) for v in x[k].tolist()) for k in good[:50])
    return next((state for state in states if replay(query, state) is not None), None)


def _satisfied(formula: Formula, y: np.ndarray) -> np.ndarray:
    if isinstance(formula, Atom):
        return sum((float(c) * y[:, k] for k, c in formula.coefficients), np.zeros(len(y))) <= float(formula.bound)
    parts = [_satisfied(part, y) for part in formula.parts]
    return np.logical_and.reduce(parts) if isinstance(formula, And) else np.logical_or.reduce(parts)


def with_level(query: Query, level: Fraction) -> Query:
    """An obligation whose first atom is V <= c, asked at another level."""
    if not (isinstance(query.formula, And) and isinstance(query.formula.parts[0], Atom)):
        raise ValueError("this is no obligation of a shell; give one whose first atom bounds the function")
    first, *rest = query.formula.parts
    return replace(query, formula=And((replace(first, bound=level), *rest)))


def pendulum_cases(folder: Path, budget: float = 120.0) -> list[Case]:
    """The pendulum of examples/: obligations of a bundle that the kernel accepts in this run (unsat), and the same beyond its level (sat).

    Raises
    ------
    RuntimeError
        When the bundle is not accepted, or no state is found beyond the level: nothing is known then.
    """
    bundle = folder / "pendulum.cert"
    verdict = verify(ROOT / "examples" / "pendulum" / "requirement.toml", bundle, budget=budget, workers=1)
    if not (verdict.receipt is not None and verdict.receipt.outcome == "ACCEPTED"):
        raise RuntimeError(f"the pendulum of examples/ is {verdict.outcome}, so nothing is known of its obligations; run it with certctl verify")
    queries = dict(obligations_as_queries(bundle))
    found = []
    for name in ("shell-1.decrease", "shell-2.decrease", "shell-2.face-theta-lo", "shell-2.face-omega-hi", "contains"):
        why = "An obligation of the bundle of examples/pendulum, which the kernel accepted in this run."
        found.append(Case(f"pendulum {name}, unsat", "tanh", queries[name], "unsat", neurons(queries[name].graph), why=why))
    for name in ("shell-2.decrease", "shell-2.face-theta-lo"):
        query = with_level(queries[name], Fraction(999, 1000))
        if sampled_state(query) is None:
            raise RuntimeError(f"no sampled state violates {name} at the level 999/1000; choose a larger one")
        why = "An obligation of that bundle at the level 999/1000, which a sampled and replayed state violates."
        found.append(Case(f"pendulum {name}, sat", "tanh", query, "sat", neurons(query.graph), why=why))
    return found


def contradictions(chosen: Sequence[Case], answers: Sequence[dict[str, Asked]]) -> list[str]:
    """Answers against the truth or against each other, one sentence each."""
    found = [f"{name} says {one.result} of `{case.name}`"
             for case, row in zip(chosen, answers, strict=True) for name, one in row.items() if one.decided and one.result != case.truth]
    for case, row in zip(chosen, answers, strict=True):
        said = {one.result for one in row.values() if one.decided}
        found += [f"`{case.name}` is both sat and unsat"] if len(said) > 1 else []
    return found


def fastest(row: dict[str, Asked], clock: str = "seconds") -> bool | None:
    """Whether the native decider answered before all others, by ``seconds`` or ``cpu``; None where nobody answered, or it is alone."""
    native, others = row.get("native"), [one for name, one in row.items() if name != "native" and one.result != "unsupported"]
    if native is None or not others or not any(one.decided for one in (native, *others)):
        return None
    return native.decided and all(not one.decided or getattr(native, clock) < getattr(one, clock) for one in others)


def run(settings: Settings | None = None) -> Report:
    """Ask everybody everything and compare."""
    s = settings or Settings()
    here, absent = present(s.deciders)
    chosen = [*cases(), *larger_networks()]
    if s.pendulum:
        with tempfile.TemporaryDirectory() as folder:
            chosen += pendulum_cases(Path(folder))
    chosen = [case for case in chosen if s.names is None or case.name in s.names]
    starts = warm(here, ball(2, Fraction(1, 100)))
    answers = []
    for case in chosen:
        print(f"{len(answers) + 1}/{len(chosen)} {case.name}", file=sys.stderr)
        answers.append({name: ask(decider, case.query, s.limit) for name, decider in here.items()})
    return Report(CLAIM, tuple(_checks(chosen, answers, here)), _tables(chosen, answers, starts, s.limit), (*NOTES, *_missing(absent)))


def _missing(absent: dict[str, str]) -> list[str]:
    return [f"Not here: {name} ({why})." for name, why in absent.items()]


def _checks(chosen: Sequence[Case], answers: Sequence[dict[str, Asked]], here: dict[str, object]) -> list[Check]:
    wrong = contradictions(chosen, answers)
    asked = sum(one.decided for row in answers for one in row.values())
    checks = [Check(f"no contradiction among {asked} answers of {', '.join(here)} to {len(chosen)} queries"
                    + (": " + "; ".join(wrong) if wrong else ""), not wrong)]
    if "native" not in here:
        return [*checks, Check("the native decider is not here", None)]
    open_ = [case.name for case, row in zip(chosen, answers, strict=True) if not row["native"].decided]
    says = f"the native decider answers {len(chosen) - len(open_)} of {len(chosen)}" + (f", not: {'; '.join(open_)}" if open_ else "")
    checks.append(Check(says, not open_ or None))
    return [*checks, *(_won(chosen, answers, clock, words) for clock, words in (("seconds", "is faster"), ("cpu", "needs less CPU time")))]


def _won(chosen: Sequence[Case], answers: Sequence[dict[str, Asked]], clock: str, words: str) -> Check:
    """Whether the native decider won on every large network."""
    large = [(case.name, fastest(row, clock)) for case, row in zip(chosen, answers, strict=True) if case.neurons > SMALL]
    lost, open_ = [name for name, first in large if first is False], sum(first is None for _, first in large)
    says = f"native {words} than every external solver on {len(large) - len(lost) - open_} of {len(large)} queries of more than {SMALL} neurons"
    says += (f" ({open_} answered by nobody)" if open_ else "") + (f"; not on: {'; '.join(lost)}" if lost else "")
    return Check(says, False if lost else None if open_ or not large else True)


def _tables(chosen: Sequence[Case], answers: Sequence[dict[str, Asked]], starts: dict[str, Asked], limit: float) -> tuple[Table, ...]:
    names = list(starts)
    rows = tuple((case.name, case.kind, len(case.query.lo), case.neurons, case.truth, *(row[name].cell() for name in names))
                 for case, row in zip(chosen, answers, strict=True))
    reasons = {case.why: case.name.rsplit(",", 1)[0] for case in reversed(chosen)}
    whys = tuple((name, why) for why, name in reversed(reasons.items()))
    return (Table(f"Answers, one process, limit {limit:g} s a query", ("query", "kind", "dimension", "neurons", "truth", *names), rows),
            Table("Why the truth is known", ("first query of the kind", "query and reason"), whys),
            Table("An easy query (ball 2-D, unsat), to see what a start costs", ("decider", "answer"),
                  tuple((name, one.cell()) for name, one in starts.items())))
