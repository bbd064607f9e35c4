"""Queries and replay: what a formula means, and that only what is proved is a witness."""

from __future__ import annotations

from fractions import Fraction as F

import pytest

from verifiers.kernel.graph import Builder, Graph
from verifiers.smt.decider import replay
from verifiers.smt.query import And, Or, Query, at_least, at_most, disjuncts, holds, negate


def graph(op: str) -> Graph:
    """(x, op(x))."""
    b = Builder()
    x = b.input(1)
    return b.build([b.concat([x, b.unary(op, x, 3 if op == "pow" else None)])])


def test_strict_and_weak_bounds_and_their_complements():
    y = [F(1), F(2)]
    assert at_most(0, F(1)).holds(y) and not at_most(0, F(1), strict=True).holds(y)
    assert at_least(1, F(2)).holds(y) and not at_least(1, F(2), strict=True).holds(y)
    formula = Or((And((at_most(0, F(1)), at_least(1, F(3)))), at_least(0, F(2))))
    for point in ([F(1), F(3)], [F(1), F(2)], [F(2), F(0)], [F(0), F(4)]):
        assert holds(formula, point) is not holds(negate(formula), point)
    assert negate(negate(formula)) == formula
    assert holds(And(()), y) and not holds(Or(()), y)


def test_disjunctive_normal_form():
    a, b, c = at_most(0, F(0)), at_most(1, F(1)), at_least(1, F(5))
    assert disjuncts(And((Or((a, b)), c))) == ((a, c), (b, c))
    assert disjuncts(And(())) == ((),) and disjuncts(Or(())) == ()
    with pytest.raises(ValueError, match="disjunctive normal form"):
        disjuncts(And(tuple(Or((at_most(0, F(k)), at_most(1, F(k)))) for k in range(20))))


@pytest.mark.parametrize(("lo", "hi", "output", "text"), [((F(1),), (F(0),), 0, "empty"), ((F(0), F(0)), (F(1), F(1)), 0, "size 2"),
                                                         ((F(0),), (F(1),), 2, "output 2")])
def test_queries_that_make_no_sense(lo, hi, output, text):
    with pytest.raises(ValueError, match=text):
        Query(graph("pow"), lo, hi, at_most(output, F(0)))


def test_replay_is_exact_where_it_can_be():
    query = Query(graph("pow"), (F(-2),), (F(2),), at_least(1, F(1, 27)))
    assert replay(query, (F(1, 3),)).replayed == "exact rational arithmetic"  # no float is 1/3
    assert replay(query, (F(1, 3) - F(1, 10**30),)) is None
    assert replay(query, (F(3),)) is None and replay(query, (F(1), F(1))) is None


@pytest.mark.threat("T07")
def test_replay_with_enclosures_proves_or_says_nothing():
    query = Query(graph("sin"), (F(0),), (F(4),), at_least(1, F(1, 2)))
    assert "enclosures" in replay(query, (F(1),)).replayed
    assert replay(query, (F(0.5235987755982988),)) is None  # pi/6 in floats: 1/2 is not shown
    assert replay(Query(graph("sin"), (F(0),), (F(4),), at_least(1, F(1, 2), strict=True)), (F(3),)) is None
    assert replay(Query(graph("log"), (F(-1),), (F(4),), at_most(0, F(2))), (F(-1),)) is None
