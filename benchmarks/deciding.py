"""What the benchmarks of deciders share: who is present, one timed answer, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness import clock
from certctl.network_queries import BadQuestion, decider_named
from verifiers.smt.decider import Decider, Sat, Unsat
from verifiers.smt.dreal import DReal
from verifiers.smt.query import Query

NAMES = ("native", "z3", "cvc5", "dreal")


@dataclass(frozen=True)
class Asked:
    """One answer: ``sat``, ``unsat`` or the reason of an Unknown; wall and CPU seconds; level of an unsat; what the decider says of it."""

    result: str
    seconds: float
    cpu: float
    level: int | None
    says: str

    @property
    def decided(self) -> bool:
        """Whether it is an answer at all."""
        return self.result in ("sat", "unsat")

    def cell(self) -> str:
        """``unsat L2 0.31 s (0.25)``, wall (CPU) seconds; what is not decided shows its reason."""
        level = f" L{self.level}" if self.level else ""
        return self.result if self.result in ("unsupported", "absent") else f"{self.result}{level} {self.seconds:.3g} s ({self.cpu:.2g})"


def present(names: Sequence[str] = NAMES, precision: float = 1e-6) -> tuple[dict[str, Decider], dict[str, str]]:
    """The deciders that are usable here, and why the others are not."""
    here: dict[str, Decider] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            here[name] = DReal(precision) if name == "dreal" and DReal().absent() is None else decider_named(name)
        except BadQuestion as why:
            absent[name] = str(why)
    return here, absent


def ask(decider: Decider, query: Query, limit: float) -> Asked:
    """Put one query and time the answer; the solvers run in children, whose start is part of what a user waits for."""
    with clock() as spent:
        answer = decider.decide(query, limit)
    seconds, cpu = spent.wall, spent.cpu
    if isinstance(answer, Unsat):
        return Asked("unsat", seconds, cpu, answer.evidence.level, answer.evidence.text)
    if isinstance(answer, Sat):
        return Asked("sat", seconds, cpu, None, answer.witnesses[0].replayed)
    return Asked(answer.reason, seconds, cpu, None, answer.text)


def warm(deciders: dict[str, Decider], query: Query) -> dict[str, Asked]:
    """Ask an easy query once of each, so that imports and first start are paid; the answers show what a start costs."""
    for decider in deciders.values():
        ask(decider, query, 30.0)
    return {name: ask(decider, query, 30.0) for name, decider in deciders.items()}
