"""The native decider: bugs in its search never become an unsat, and what it cannot do is Unknown."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.query import refute
from verifiers.kernel.tree import LEAF
from verifiers.smt import native, refutation, witness_search
from verifiers.smt.decider import Sat, Unknown, Unsat
from verifiers.smt.native import Native
from verifiers.smt.query import And, Query, at_least, at_most
from verifiers.smt.refutation import Growth

F = Fraction


def hill() -> Graph:
    """relu(1 - |x1|) + relu(1 - |x2|): 2 at the origin, and a needle for random starts when the box is wide."""
    b = Builder()
    x = b.input(2)
    y = b.unary("relu", b.affine(b.unary("abs", x), Affine(-np.eye(2), np.ones(2))))
    return b.build([b.affine(y, Affine(np.ones((1, 2)), np.zeros(1)))])


def asked(bound: Fraction | int, half: int = 3) -> Query:
    return Query(hill(), (F(-half),) * 2, (F(half),) * 2, at_least(0, F(bound)))


TRUE, FALSE = asked(F(201, 100)), asked(F(199, 100))  # unsat, and sat near the origin only
ALONE = Native(workers=1)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """No witness is ever found, so that only proofs can answer."""
    monkeypatch.setattr(native, "samples", lambda violation, lo, hi, **_: np.zeros((0, len(lo))))
    monkeypatch.setattr(native, "candidates", lambda violation, lo, hi, **_: np.zeros((0, len(lo))))
    monkeypatch.setattr(native, "violation_of", lambda *_: native._never)


def test_the_two_queries_are_what_they_are_said_to_be():
    unsat, sat = ALONE.decide(TRUE, 30.0), ALONE.decide(FALSE, 30.0)
    assert isinstance(unsat, Unsat) and unsat.evidence.level == 2 and isinstance(sat, Sat)
    assert refute(TRUE.graph, TRUE.lo, TRUE.hi, TRUE.formula, unsat.evidence.proof) > 0


@pytest.mark.usefixtures("blind")
def test_without_a_search_for_witnesses_a_satisfiable_query_is_unknown():
    assert isinstance(ALONE.decide(TRUE, 30.0), Unsat)
    assert isinstance(ALONE.decide(FALSE, 3.0), Unknown)


def lower(graph: Graph) -> Graph:
    """The output less a tenth: a constant lost in simplification."""
    b = Builder()
    (y,) = b.inline(graph, [b.input(2)])
    return b.build([b.affine(y, Affine(np.eye(1), np.array([-0.1])))])


def flipped(graph: Graph) -> Graph:
    b = Builder()
    (y,) = b.inline(graph, [b.input(2)])
    return b.build([b.unary("neg", y)])


class Careless(refutation.Refuter):
    """Takes every box for refuted."""

    def judge(self, lo: Any, hi: Any, splits: int) -> Any:
        found = super().judge(lo, hi, splits)
        return type(found)(np.ones(len(lo), dtype=bool), np.ones_like(found.false), found.failed, found.reading, found.excess)


class Contracting(refutation.Refuter):
    """Contracts each box to nothing."""

    def contract(self, lo: Any, hi: Any) -> Any:
        return lo, hi, np.ones(len(lo), dtype=bool)


BUGS = {"a constant is lost": (native, "simplified", lower), "the sign is lost": (native, "simplified", flipped),
        "every box is taken for refuted": (refutation, "Refuter", Careless), "every box is taken for empty": (refutation, "Refuter", Contracting),
        "the search ends at its root": (native, "search", lambda *_: (Growth(), bytes([LEAF]))),
        "the search loses half of its tree": (native, "search", lambda *_: (Growth(), bytes([0, LEAF]))),
        "the search returns nothing": (native, "search", lambda *_: (Growth(), b"")),
        "boxes are halved but one half is dropped": (refutation, "halved", lambda lo, hi, level: (lo[:0], hi[:0]))}


@pytest.mark.threat("T07", "T11", "T12", "T24")
@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_search_is_no_unsat(bug: str, monkeypatch: pytest.MonkeyPatch):
    """The buggy search finds a tree for a claim that is false, and the kernel does not accept it."""
    module, name, wrong = BUGS[bug]
    found: list[bytes | None] = []
    real = native.search

    def watched(*arguments: Any) -> Any:
        growth, tree = (wrong if name == "search" else real)(*arguments)
        found.append(tree)
        return growth, tree

    monkeypatch.setattr(native, "FEWEST", 0)
    if name != "search":
        monkeypatch.setattr(module, name, wrong)
    monkeypatch.setattr(native, "search", watched)
    answer = ALONE.decide(FALSE, 2.0)
    assert any(tree is not None for tree in found), "the bug does not bite"
    assert isinstance(answer, Unknown) and "kernel" in answer.text


def broken(*_: Any) -> Any:
    raise BrokenExecutor("gone")


def starved(*_: Any) -> Any:
    raise MemoryError


@pytest.mark.threat("T07", "T23")
@pytest.mark.parametrize(("fault", "reason"), [(broken, "crash"), (starved, "memory")])
def test_what_ends_a_search_is_unknown(fault: Any, reason: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "FEWEST", 0)
    monkeypatch.setattr(native, "search", fault)
    answer = ALONE.decide(TRUE, 10.0)
    assert isinstance(answer, Unknown) and answer.reason == reason


@pytest.mark.threat("T07")
@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), 1e-9])
def test_no_time_is_no_answer(budget: float):
    answer = ALONE.decide(TRUE, budget)
    assert isinstance(answer, Unknown) and answer.reason == "timeout"


def test_numbers_beyond_float64_are_unsupported():
    b = Builder()
    g = b.build([b.unary("exp", b.input(1))])
    assert ALONE.decide(Query(g, (F(0),), (F(1),), at_least(0, F(10) ** 400)), 5.0).reason == "unsupported"
    assert ALONE.decide(Query(g, (F(0),), (F(10) ** 400,), at_least(0, F(1))), 5.0).reason == "unsupported"


@pytest.mark.parametrize("square", ["pow", "mul"])
def test_processes_answer_as_one_process_does(square: str, monkeypatch: pytest.MonkeyPatch):
    """Enough boxes for groups and for a replay in parts; boxes contract in the search as they do in the kernel."""
    monkeypatch.setattr(refutation, "FEWEST", 16)
    monkeypatch.setattr(native, "FEWEST", 16)
    monkeypatch.setattr(native, "LONG", 64)
    b = Builder()
    x = b.input(3)
    z = b.affine(x, Affine(np.array([[3.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 3.0]]), np.zeros(3)))
    waves = [b.unary(op, z) for op in ("sin", "cos")]
    squares = b.concat([b.unary("pow", w, 2) if square == "pow" else b.binary("mul", w, w) for w in waves])
    y = b.affine(squares, Affine(np.ones((1, 6)), np.zeros(1)))  # 3 everywhere, which no box knows
    query = Query(b.build([y]), (F(-2),) * 3, (F(2),) * 3, And((at_least(0, F(4)), at_most(0, 9))))
    one, two = ALONE.decide(query, 120.0), Native(workers=2).decide(query, 120.0)
    assert isinstance(one, Unsat) and isinstance(two, Unsat) and len(two.evidence.proof) > native.LONG
    assert one.evidence.proof == two.evidence.proof


def test_a_witness_on_a_set_without_interior_is_found_where_its_coordinates_are_short():
    b = Builder()
    x = b.input(2)
    g = b.build([b.affine(b.unary("pow", b.affine(x, Affine(np.eye(2), np.array([-0.25, 0.5]))), 2), Affine(np.ones((1, 2)), np.zeros(1)))])
    answer = ALONE.decide(Query(g, (F(-1),) * 2, (F(1),) * 2, at_most(0, F(0))), 10.0)
    assert isinstance(answer, Sat) and answer.witnesses[0].x == (F(1, 4), F(-1, 2))


def test_excess_and_gradient_follow_the_formula():
    query = asked(F(3, 2))
    lo, hi = np.full(2, -3.0), np.full(2, 3.0)
    violation = witness_search.violation_of(query.graph, And((query.formula, at_most(0, 2))), lo, hi, 0)
    x = np.array([[0.1, 0.2], [0.9, 0.9], [2.5, 2.5]])
    assert (violation(x)[:1] <= 0).all() and (violation(x)[1:] > 0).all()
    step = 1e-6
    for i in range(2):
        moved = x.copy()
        moved[:, i] += step
        np.testing.assert_allclose(violation.gradient(x)[:, i], (violation(moved) - violation(x)) / step, atol=1e-5)
