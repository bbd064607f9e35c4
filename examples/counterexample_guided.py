"""Counterexample-guided synthesis: a linear program proposes a Lyapunov function, a decider answers with many states against it at once.

    python examples/counterexample_guided.py            # the base install is enough
    python examples/counterexample_guided.py z3 cvc5    # other deciders; needs certctl[smt]

The plant is the reversed van der Pol oscillator; V is a form of degrees 2 and 4 with V > 0 and V' < 0 for 1/5 <= |x| <= 3/2.  Each round the
decider is asked for up to k states of that ring at which V is no such function, and the program takes them up as constraints; "unsat" ends it.
Asking for 8 states at once needs fewer rounds than asking for one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from certctl.network_queries import decider_named
from verifiers.kernel.graph import Builder, Graph, affine_from_rational
from verifiers.load.derivative import lie_derivative
from verifiers.load.floats import evaluate
from verifiers.smt.decider import Decider, Sat, Unsat
from verifiers.smt.query import And, Or, Query, at_least, at_most

F = Fraction


@dataclass(frozen=True)
class Arguments:
    """Ring in which V has to decrease, witnesses of one round, rounds at most, seconds for one question, denominator of coefficients."""

    inner: str = "1/5"
    outer: str = "3/2"
    witnesses: tuple[int, ...] = (1, 8)
    rounds: int = 60
    budget: float = 60.0
    denominator: int = 64


def monomials() -> Graph:
    """x^i y^j with i + j = 2, then 4: the terms of V."""
    b = Builder()
    z = b.input(2)
    x, y = b.take(z, (0,)), b.take(z, (1,))
    terms = [b.binary("mul", b.unary("pow", x, i), b.unary("pow", y, degree - i)) for degree in (2, 4) for i in range(degree + 1)]
    return b.build([b.concat(terms)])


def van_der_pol() -> Graph:
    """x' = -y, y' = x + (x^2 - 1) y."""
    b = Builder()
    z = b.input(2)
    x, y = b.take(z, (0,)), b.take(z, (1,))
    pushed = b.binary("mul", b.affine(b.unary("pow", x, 2), affine_from_rational([[F(1)]], [F(-1)])), y)
    return b.build([b.concat([b.unary("neg", y), b.binary("add", x, pushed)])])


TERMS, FIELD = monomials(), van_der_pol()
SIZE = TERMS.output_size()


def combination(coefficients: Sequence[Fraction]) -> Graph:
    """V(x) for given coefficients of the terms."""
    b = Builder()
    x = b.input(2)
    return b.build([b.affine(b.inline(TERMS, [x])[0], affine_from_rational([list(coefficients)], [F(0)]))])


def against(v: Graph, a: Arguments) -> Query:
    """Is there a state of the ring with V <= 0 or V' >= 0?"""
    b = Builder()
    x = b.input(2)
    square = b.affine(b.unary("pow", x, 2), affine_from_rational([[F(1), F(1)]], [F(0)]))
    graph = b.build([b.concat([b.inline(v, [x])[0], b.inline(lie_derivative(v, FIELD), [x])[0], square])])
    inner, outer = F(a.inner), F(a.outer)
    ring = at_least(2, inner**2), at_most(2, outer**2)
    return Query(graph, (-outer,) * 2, (outer,) * 2, And((*ring, Or((at_most(0, F(0)), at_least(1, F(0)))))))


def propose(states: np.ndarray, slopes: Sequence[Graph], a: Arguments) -> list[Fraction] | None:
    """Coefficients in [-1, 1] that maximise the least of V / |x|^2 and -V' / |x|^2 over the states; None where none is positive."""
    size = (states**2).sum(axis=1)[:, None]
    values, rates = evaluate(TERMS, states) / size, np.hstack([evaluate(slope, states) for slope in slopes]) / size
    rows = np.vstack([np.hstack([-values, np.ones_like(size)]), np.hstack([rates, np.ones_like(size)])])
    found = linprog([0.0] * SIZE + [-1.0], A_ub=rows, b_ub=np.zeros(len(rows)), bounds=[(-1, 1)] * SIZE + [(None, 1)])
    return [F(round(c * a.denominator), a.denominator) for c in found.x[:-1]] if found.success and found.x[-1] > 0 else None


def synthesise(decider: Decider, k: int, a: Arguments) -> bool:
    """Propose and refute until nothing is refuted any more; say how it went."""
    slopes = [lie_derivative(combination([F(i == j) for i in range(SIZE)]), FIELD) for j in range(SIZE)]
    states, began = np.array([[1.0, 0.0], [0.0, 1.0]]), time.perf_counter()
    for asked in range(1, a.rounds + 1):
        coefficients = propose(states, slopes, a)
        if coefficients is None:
            print(f"{decider.name}, k = {k}: no V of this form decreases at all {len(states)} states")
            return False
        answer = decider.decide(against(combination(coefficients), a), a.budget, witnesses=k)
        if isinstance(answer, Unsat):
            print(f"{decider.name}, k = {k}: unsat L{answer.evidence.level} after {asked} questions, {len(states)} states, "
                  f"{time.perf_counter() - began:.1f} s: V = " + " ".join(f"{float(c):+.4g}" for c in coefficients))
            return True
        if not isinstance(answer, Sat):
            print(f"{decider.name}, k = {k}: {answer.reason} at question {asked}: {answer.text}")
            return False
        states = np.vstack([states, [[float(v) for v in witness.x] for witness in answer.witnesses]])
    print(f"{decider.name}, k = {k}: still refuted after {a.rounds} questions")
    return False


def main(names: Sequence[str]) -> int:
    """Run each decider with one witness a round and with many."""
    a = Arguments()
    good = [synthesise(decider_named(name), k, a) for name in names or ("native",) for k in a.witnesses]
    print("V > 0 and V' < 0 on the ring, so every level set of V within it is left inwards" if all(good) else "not every run ended with a proof")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
