"""One suite over all deciders: the right answer or none, every state replayed, never a contradiction with the truth."""

from __future__ import annotations

import importlib
from fractions import Fraction

import pytest

from benchmarks.queries import Case, ball, cases, monotone, sines, van_der_pol, witch
from verifiers.kernel.codes import Refusal
from verifiers.kernel.exact import evaluate_exact
from verifiers.smt.cvc5 import Cvc5
from verifiers.smt.decider import Decider, Sat, Unknown, Unsat, replay
from verifiers.smt.dreal import DReal
from verifiers.smt.query import holds
from verifiers.smt.z3 import Z3

F = Fraction
CASES = cases()
REASONS = {"delta-sat", "timeout", "memory", "crash", "garbage", "unsupported", "absent", "unknown"}
HARD = {"ball 6-D, unsat", "ball 6-D, sat", "ball 3-D, sat", "convex relu 3-6-6-1, unsat", "convex relu 3-6-6-1, sat", "monotone relu 4-8-8-1, unsat",
        "monotone relu 4-8-8-1, sat"}
"""More than a second for one of z3 and cvc5; run with the slow tests."""
CVC5_CAN = {"sines 3-D, unsat", "sin x against x, unsat", "sin x against x, sat", "exp above its tangent, sat", "log below its tangent, unsat",
            "tanh below 1, unsat"}
"""Transcendental cases that cvc5 decides at once; on the others it runs into its budget."""
BEYOND = {"ball 6-D, unsat", "ball 6-D, sat"}
"""Polynomial cases beyond z3 or cvc5 within a minute; the truth must not be contradicted, that is all."""


def deciders() -> dict[str, Decider | str]:
    """Every decider by name, or why it is not here."""
    found: dict[str, Decider | str] = {}
    try:
        found["native"] = importlib.import_module("verifiers.smt.native").Native()
    except ModuleNotFoundError:
        found["native"] = "the native decider is not part of this version"
    for decider in (Z3(), Cvc5(), DReal(precision=1e-7)):
        found[decider.name] = decider.absent() or decider
    return found


DECIDERS = deciders()


def present(name: str) -> Decider:
    decider = DECIDERS[name]
    if isinstance(decider, str):
        pytest.skip(decider)
    return decider


def offered(name: str):
    """Cases for a test of one decider: all, or one skip with the reason where it is absent."""
    if isinstance(DECIDERS[name], str):
        return pytest.mark.parametrize("case", [pytest.param(None, marks=pytest.mark.skip(reason=str(DECIDERS[name])), id="absent")])
    return pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


def check(decider: Decider, case: Case, budget: float):
    """Decide, compare with the truth, and replay every state again; return the answer."""
    answer = decider.decide(case.query, budget)
    if isinstance(answer, Unsat):
        assert case.truth == "unsat", f"{decider.name} says unsat of a query that is sat"
        assert answer.evidence.level in (1, 2) and answer.evidence.solver and answer.evidence.text
        assert answer.evidence.level == 1 or decider.name == "native"
    elif isinstance(answer, Sat):
        assert case.truth == "sat" and answer.witnesses, f"{decider.name} says sat of a query that is unsat"
        for witness in answer.witnesses:
            assert all(lo <= v <= hi for lo, v, hi in zip(case.query.lo, witness.x, case.query.hi, strict=True))
            assert replay(case.query, witness.x) is not None
            try:
                assert holds(case.query.formula, evaluate_exact(case.query.graph, witness.x))
            except Refusal:
                assert "enclosures" in witness.replayed
    else:
        assert isinstance(answer, Unknown) and answer.reason in REASONS and answer.text
    return answer


def test_there_are_enough_cases_of_every_kind():
    assert len(CASES) >= 30 and len({case.name for case in CASES}) == len(CASES)
    for kind in ("polynomial", "piecewise linear", "trigonometric", "tanh"):
        assert {case.truth for case in CASES if case.kind == kind} == {"sat", "unsat"}
    assert {len(case.query.lo) for case in CASES} >= {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("case", [c for c in CASES if c.is_algebraic and c.name not in HARD], ids=lambda c: c.name)
@pytest.mark.parametrize("name", ["z3", "cvc5"])
def test_polynomials_and_kinks_are_decided(name, case):
    assert type(check(present(name), case, 30.0)).__name__.lower() == case.truth


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if c.is_algebraic and c.name in HARD - BEYOND], ids=lambda c: c.name)
@pytest.mark.parametrize("name", ["z3", "cvc5"])
def test_harder_polynomials_and_kinks_are_decided(name, case):
    assert type(check(present(name), case, 120.0)).__name__.lower() == case.truth


@pytest.mark.parametrize("case", [c for c in CASES if c.name in CVC5_CAN], ids=lambda c: c.name)
def test_cvc5_decides_some_elementary_functions(case):
    assert type(check(present("cvc5"), case, 30.0)).__name__.lower() == case.truth


@offered("native")
def test_native_is_right_or_silent(case):
    check(present("native"), case, 2.0)


@offered("dreal")
def test_dreal_is_right_or_silent(case):
    answer = check(present("dreal"), case, 5.0)
    assert case.name in BEYOND or case.irrational or type(answer).__name__.lower() == case.truth


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if not c.is_algebraic or c.name in BEYOND], ids=lambda c: c.name)
@pytest.mark.parametrize("name", ["z3", "cvc5"])
def test_the_rest_is_not_contradicted(name, case):
    check(present(name), case, 10.0)


def test_z3_says_what_it_cannot_read():
    answer = present("z3").decide(sines(2, F(1, 100)), 5.0)
    assert isinstance(answer, Unknown) and answer.reason == "unsupported"


@pytest.mark.parametrize("name", ["z3", "cvc5"])
def test_irrational_models_are_not_witnesses(name):
    case = next(c for c in CASES if c.irrational)
    answer = check(present(name), case, 20.0)
    assert isinstance(answer, Unknown) and "exact arithmetic" in answer.text


@pytest.mark.parametrize("name", ["native", "z3", "cvc5", "dreal"])
def test_an_algebraic_corner_is_rounded_into_a_witness(name):
    """van der Pol at level 4: a solver's model has algebraic coordinates, a state near it is rational."""
    answer = check(present(name), Case("van der Pol", "polynomial", van_der_pol(1, F(4)), "sat"), 20.0)
    assert isinstance(answer, Sat)


def distinct(name, query, k, budget=60.0):
    """Ask for k witnesses; check that they are at most k, distinct, in the box, and that each replays."""
    answer = present(name).decide(query, budget, witnesses=k)
    assert isinstance(answer, Sat) and 1 <= len(answer.witnesses) <= k
    states = [w.x for w in answer.witnesses]
    assert len(set(states)) == len(states) and all(replay(query, x) is not None for x in states)
    return states


@pytest.mark.parametrize("name", ["native", "z3", "cvc5", "dreal"])
def test_many_distinct_witnesses_at_once(name):
    assert len(distinct(name, ball(2, F(-1, 2)), 5)) == 5


@pytest.mark.parametrize("name", ["native", "z3", "cvc5"])
def test_many_witnesses_of_a_network(name):
    assert len(distinct(name, monotone(4, (2, 3, 1), "relu", F(-1, 2)), 4)) == 4


@pytest.mark.parametrize("name", ["native", "dreal"])
@pytest.mark.parametrize("query", [sines(2, F(-1, 2)), monotone(6, (2, 6, 1), "tanh", F(-1, 2))], ids=["sines", "tanh"])
def test_many_witnesses_with_elementary_functions(name, query):
    assert len(distinct(name, query, 4)) == 4


@pytest.mark.parametrize("name", ["native", "z3", "cvc5", "dreal"])
def test_more_witnesses_than_there_are(name):
    """Only x = 1 attains the maximum of x / (1 + x^2), so one state comes back whatever was asked for, or none that replays."""
    answer = present(name).decide(witch(F(1, 2)), 20.0, witnesses=5)
    assert isinstance(answer, Unknown) or (isinstance(answer, Sat) and [w.x for w in answer.witnesses] == [(F(1),)])


@pytest.mark.parametrize("name", ["z3", "cvc5"])
def test_blocked_witnesses_are_apart(name):
    """The external deciders exclude a box about each state found."""
    states = distinct(name, monotone(4, (2, 3, 1), "relu", F(-1, 2)), 3)
    for i, a in enumerate(states):
        assert all(max(abs(p - q) for p, q in zip(a, b, strict=True)) >= F(1, 16) for b in states[:i])


@pytest.mark.parametrize("name", ["native", "z3", "cvc5", "dreal"])
def test_no_time_is_no_answer(name):
    answer = present(name).decide(van_der_pol(3, F(1, 2)), 0.0)
    assert isinstance(answer, Unknown)
