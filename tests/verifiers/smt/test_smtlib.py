"""SMT-LIB texts: exact numbers, shared terms once, undefined states, and the same meaning as the graph in every dialect."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import EVERY, RANDOM, RATIONAL, gap, graphs, oracle, points

from benchmarks.queries import cases, lyapunov_tanh, network, square_box
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Builder
from verifiers.smt.decider import Unknown, Unsat
from verifiers.smt.dreal_child import Reader, expressions
from verifiers.smt.query import And, Or, Query, at_least, at_most
from verifiers.smt.smtlib import ceil_float, decimal_number, exact_number, floor_float, is_polynomial, to_smtlib
from verifiers.smt.z3 import Z3

F = Fraction


def one(op: str, lo=-1, hi=1, bound=0) -> Query:
    """op(x) <= bound over an interval."""
    b = Builder()
    return Query(b.build([b.unary(op, b.input(1))]), (F(lo),), (F(hi),), at_most(0, F(bound)))


def test_an_unknown_dialect_is_refused():
    with pytest.raises(ValueError, match="none of"):
        to_smtlib(one("abs"), dialect="yices")


def test_a_number_beyond_float64_cannot_be_written_for_dreal():
    with pytest.raises(OverflowError):
        to_smtlib(one("abs", F(-1), F(10) ** 400), dialect="dreal")


@pytest.mark.parametrize(("q", "text"), [(F(3), "3"), (F(-2), "(- 2)"), (F(1, 3), "(/ 1 3)"), (F(-7, 10), "(- (/ 7 10))"), (F(0), "0")])
def test_rationals_are_exact(q, text):
    assert exact_number(q) == text


@given(st.fractions())
def test_neighbours_enclose(q):
    lo, hi = floor_float(q), ceil_float(q)
    assert F(lo) <= q <= F(hi) and (lo == hi or math.nextafter(lo, math.inf) == hi)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_decimals_are_the_float_itself(value):
    text = decimal_number(value)
    assert F(text.removeprefix("(- ").removesuffix(")")) == abs(F(value)) and text.startswith("(-") == (value < 0)


def test_for_dreal_bounds_are_rounded_outward_and_thirds_are_enclosed():
    text = to_smtlib(one("sin", F(-1, 3), F(1, 3), F(1, 10)), dialect="dreal")
    low, high, bound = (F(v) for v in re.findall(r"\d+\.\d+", text))
    assert F(1, 3) < low < F(1, 3) + F(1, 10**15) and F(1, 3) < high < F(1, 3) + F(1, 10**15) and F(1, 10) < bound < F(1, 10) + F(1, 10**15)


@pytest.mark.parametrize("dialect", ["standard", "dreal", "cvc5"])
def test_a_deep_network_is_written_once(dialect):
    """V' of a 6-6-6 network: every tanh stands once, although the gradient uses it again and again."""
    text = to_smtlib(lyapunov_tanh((6, 6, 6), False), dialect=dialect)
    assert len(re.findall(r"\(tanh |\(exp ", text)) == 18
    assert len(text) < 40_000


def test_smallest_logic():
    linear = square_box(network(1, (2, 3, 1), "relu"), 1, at_most(0, F(0)))
    smooth = square_box(network(1, (2, 3, 1), "tanh"), 1, at_most(0, F(0)))
    assert "(set-logic QF_LRA)" in to_smtlib(linear)
    assert "(set-logic QF_NRA)" in to_smtlib(one("sqrt", 0)) and "(set-logic QF_NRA)" in to_smtlib(smooth)
    assert "(set-logic QF_NRAT)" in to_smtlib(smooth, dialect="cvc5") and "(set-logic ALL)" in to_smtlib(linear, logic="ALL")
    assert is_polynomial(linear) and is_polynomial(one("sqrt", 0)) and not is_polynomial(smooth)


def test_a_header_cannot_leave_its_comment():
    text = to_smtlib(one("abs"), header=("name\n(assert false)",))
    assert text.startswith("; name (assert false)\n(set-logic")


def test_a_deep_chain_is_not_one_deep_term():
    b = Builder()
    x = b.input(1)
    for _ in range(500):
        x = b.unary("sin", x)
    text = to_smtlib(square_box(b.build([x]), 1, at_least(0, F(2))), dialect="standard")
    deepest = max(max(np.cumsum([(c == "(") - (c == ")") for c in line])) for line in text.splitlines())
    assert deepest < 60


# meaning


@pytest.mark.parametrize("dialect", ["standard", "dreal"])
def test_undefined_states_satisfy(dialect):
    b = Builder()
    x = b.input(1)
    quotient = Query(b.build([b.binary("div", b.const([F(1)]), x)]), (F(-1),), (F(1),), And((at_most(0, F(0)), at_least(0, F(1)))))
    for query, condition in ((quotient, "(= x0 0"), (one("log", -1), "(<= x0 0"), (one("sqrt", -1, 1, F(-1)), "(< x0 0")):
        assert re.search(r"\(assert \(or .*" + re.escape(condition), to_smtlib(query, dialect=dialect))


def test_z3_finds_undefined_states():
    solver = Z3()
    if (reason := solver.absent()) is not None:
        pytest.skip(reason)
    b = Builder()
    x = b.input(1)
    graph = b.build([b.binary("div", b.const([F(1)]), x)])
    formula = And((at_most(0, F(0)), at_least(0, F(1))))
    assert isinstance(solver.decide(Query(graph, (F(-1),), (F(1),), formula), 20.0), Unknown)
    assert isinstance(solver.decide(Query(graph, (F(1, 2),), (F(1),), formula), 20.0), Unsat)


def test_unknown_constants_are_bounded_variables():
    b = Builder()
    total = b.binary("add", b.input(1), b.const([(F(0), F(1, 3))]))
    text = to_smtlib(Query(b.build([total]), (F(0),), (F(1),), at_least(0, F(2))))
    assert "(assert (<= 0 p1))" in text and "(assert (<= p1 (/ 1 3)))" in text
    z3 = pytest.importorskip("z3")
    for bound, expected in ((F(5, 4), z3.sat), (F(3, 2), z3.unsat)):
        solver = z3.Solver()
        solver.from_string(to_smtlib(Query(b.build([total]), (F(0),), (F(1),), at_least(0, bound))))
        assert solver.check() == expected


@RANDOM
@given(graphs(ops=RATIONAL), st.data())
def test_z3_reads_what_the_graph_says(graph, data):
    """At one point: every output equals its exact value, and none differs."""
    z3 = pytest.importorskip("z3")
    x = tuple(data.draw(points(graph.input_sizes[0])))
    y = evaluate_exact(graph, x)
    same = And(tuple(part for k, v in enumerate(y) for part in (at_most(k, v), at_least(k, v))))
    other = Or(tuple(part for k, v in enumerate(y) for part in (at_most(k, v, True), at_least(k, v, True))))
    for formula, expected in ((same, z3.sat), (other, z3.unsat)):
        solver = z3.Solver()
        solver.from_string(to_smtlib(Query(graph, x, x, formula)))
        assert solver.check() == expected


class Floats:
    """What the child of dReal needs of the package, over plain floats: a variable is its value."""

    Max, Min, pow, exp, log, sqrt, sin, cos, tanh, atan = max, min, math.pow, math.exp, math.log, math.sqrt, math.sin, math.cos, math.tanh, math.atan

    @staticmethod
    def Expression(value: float) -> float:
        """A number."""
        return value

    @staticmethod
    def And(*parts: bool) -> bool:
        """Conjunction."""
        return all(parts)

    @staticmethod
    def Or(*parts: bool) -> bool:
        """Disjunction."""
        return any(parts)


def truth(text: str, x: list[float]) -> bool:
    """Whether a text in the dialect of dReal holds at a point, in floats: equations give the auxiliary variables, constants take their middle."""
    reader, last, bounds = Reader(Floats), False, dict[str, float]()
    reader.variables = {f"x{i}": v for i, v in enumerate(x)}
    for command, *rest in expressions(text):
        item = rest[0] if rest else None
        words = [str(word) for word in item] if isinstance(item, list) else []
        if command == "assert" and words[0] == "=" and words[1] not in reader.variables:
            reader.variables[words[1]] = reader.read(item[2])
        elif command == "assert" and words[0] == "<=" and words[2][0] in "cp":
            bounds[words[2]] = reader.read(item[1])
        elif command == "assert" and words[0] == "<=" and words[1] in bounds:
            reader.variables[words[1]] = (bounds[words[1]] + reader.read(item[2])) / 2
        elif command == "assert":
            last = reader.read(item)
    return last


@RANDOM
@given(graphs(ops=EVERY - {"div", "log", "sqrt"}, scalar=True), st.data())
def test_dreals_text_says_what_the_graph_says(graph, data):
    x = [float(v) for v in data.draw(points(graph.input_sizes[0]))]
    n = len(x)
    value = F(str(oracle(graph, x)[0]))
    if gap(graph, x) < 1e-6:
        return  # at a kink rounding decides
    lo, hi = (F(-3),) * n, (F(3),) * n
    room = F(1, 10**6) * (1 + abs(value))
    assert truth(to_smtlib(Query(graph, lo, hi, at_most(0, value + room)), dialect="dreal"), x)
    assert not truth(to_smtlib(Query(graph, lo, hi, at_most(0, value - room)), dialect="dreal"), x)


@pytest.mark.parametrize("dialect", ["standard", "dreal", "cvc5"])
def test_every_text_is_balanced_and_ends_in_one_question(dialect):
    for case in cases():
        text = to_smtlib(case.query, dialect=dialect)
        commands = list(expressions(text))
        assert commands[0][0] == "set-logic" and [c[0] for c in commands].count("check-sat") == 1 and commands[-1] == ["check-sat"]
        assert text.count("(") == text.count(")")
