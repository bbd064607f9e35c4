"""VNN-LIB: what cannot be read is refused with its line, what is read means what a direct evaluation says, and what is written reads back."""

from __future__ import annotations

import operator
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate
from verifiers.smt.query import And, Atom, Or, Query, holds
from verifiers.smt.specification import SpecError, joint, spec_queries
from verifiers.smt.vnnlib import read_vnnlib
from verifiers.smt.vnnlib_export import decimal, write, write_vnnlib

F = Fraction
HEAD = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
BOX = "(assert (<= X_0 1)) (assert (>= X_0 -1))\n(assert (<= X_1 1)) (assert (>= X_1 -1))\n"
QUICK = settings(max_examples=150, deadline=None)
FOUR = [f"quadrotor2d_{kind}" for kind in ("state_0", "state_7", "output_0", "output_3")]


def two_by_two():
    """A small graph: y = (x0 + 2 x1, x0 - 1/2)."""
    b = Builder()
    return b.build([b.affine(b.input(2), Affine(np.array([[1.0, 2.0], [1.0, 0.0]]), np.array([0.0, -0.5])))])


# ------------------------------------------------------------------------------------------------------------ refusals

@pytest.mark.threat("T15")
@pytest.mark.parametrize(("text", "says"), [
    ("", "no input is declared"),
    ("(declare-const X_0 Real)", "no output is declared"),
    (HEAD + BOX + "(assert (<= Y_0 1)", "line 7: the parenthesis opened here is not closed"),
    (HEAD + BOX + "(assert (<= Y_0 1)))", "line 7: ')' stands outside"),
    (HEAD + BOX + "assert", "stands outside any parentheses"),
    (HEAD + BOX + "(assert (<= Y_2 1))", "line 7: 'Y_2' is neither a decimal number nor declared"),
    (HEAD + BOX + "(assert (<= y_0 1))", "'y_0' is neither"),
    (HEAD + BOX + "(assert (<= Y_00 1))", "'Y_00' is neither"),
    ("(assert (<= X_0 1))" + HEAD + BOX, "line 1: 'X_0' is neither"),
    (HEAD + "(declare-const Y_0 Real)" + BOX, "line 5: Y_0 is declared a second time (first in line 3)"),
    ("(declare-const X_01 Real)", "line 1: a declaration has the form"),
    ("(declare-const Z_0 Real)", "a declaration has the form"),
    ("(declare-const X_0 Int)", "a declaration has the form"),
    ("(declare-const X_0)", "a declaration has the form"),
    ("(declare-const (X_0) Real)", "a declaration has the form"),
    ("(declare-fun X_0 () Real)", "is no command"),
    ("(check-sat)", "is no command"),
    ("()", "an operator with its arguments"),
    ("((assert))", "an operator with its arguments"),
    (HEAD + "(declare-const X_3 Real)", "X_2 is not declared although X_3 is"),
    (HEAD + "(assert (<= X_0 1)) (assert (>= X_0 0)) (assert (>= X_1 0))", "the input X_1 has no upper bound"),
    (HEAD + "(assert (<= X_0 1)) (assert (<= X_1 1)) (assert (>= X_1 0))", "the input X_0 has no lower bound"),
    (HEAD + "(assert (or (and (<= X_0 1) (>= X_0 0)) (<= Y_0 1))) (assert (<= X_1 1)) (assert (>= X_1 0))", "X_0 has no lower bound"),
    (HEAD + BOX + "(assert (>= X_1 1.5))", "line 2: the lower bound of X_1 exceeds its upper bound"),
    (HEAD + BOX + "(assert (<= Y_0 \u0661))", "line 7: the character '\u0661'"),
    (HEAD + BOX + "(assert (<= Y_0 １))", "does not belong"),
    (HEAD + BOX + "(assert (<=\u00a0Y_0 1))", "does not belong"),
    (HEAD + BOX + "(assert (<= |Y_0| 1))", "the character '|'"),
    (HEAD + BOX + "; hidden\r(assert (<= Y_0 1))", "line 7: the comment holds a control character"),
    (HEAD + BOX + "; hidden\u2028(assert (<= Y_0 1))", "line 7: the comment holds a control character"),
    (HEAD + BOX + "(assert (<= Y_0\r1))", "the character '\\r'"),
    (HEAD + BOX + "(assert (<= Y_0 nan))", "'nan' is neither"),
    (HEAD + BOX + "(assert (<= Y_0 1_0))", "'1_0' is neither"),
    (HEAD + BOX + "(assert (<= Y_0 1/3))", "'1/3' is neither"),
    (HEAD + BOX + "(assert (<= Y_0 0x1))", "'0x1' is neither"),
    (HEAD + BOX + "(assert (<= Y_0 1e))", "'1e' is neither"),
    (HEAD + BOX + "(assert (<= Y_0 .))", "'.' is neither"),
    (HEAD + BOX + "(assert (<= Y_0 1e999999999))", "an exponent beyond"),
    (HEAD + BOX + "(assert (<= Y_0 1e9999999999))", "is neither"),
    (HEAD + BOX + f"(assert (<= Y_0 {'9' * 1300}))", "a word of 1300 characters"),
    (HEAD + BOX + "(assert (<= Y_0 (* Y_0 Y_1)))", "two expressions with variables are multiplied"),
    (HEAD + BOX + "(assert (<= Y_0 (/ 1 3)))", "'/' with 2 arguments is no linear expression"),
    (HEAD + BOX + "(assert (<= Y_0 (+)))", "'+' with 0 arguments"),
    (HEAD + BOX + f"(assert (<= Y_0 (* {'1e1000 ' * 40})))", "the product of the constants is too large"),
    (HEAD + BOX + "(assert (= Y_0 1))", "'=' with 2 arguments is no formula"),
    (HEAD + BOX + "(assert (<= 0 Y_0 1))", "'<=' with 3 arguments"),
    (HEAD + BOX + "(assert (not (<= Y_0 1)))", "'not' with 1 arguments"),
    (HEAD + BOX + "(assert (and))", "(and) has no arguments"),
    (HEAD + BOX + "(assert Y_0)", "an operator with its arguments"),
    (HEAD + BOX + "(assert (<= Y_0 1) (<= Y_1 1))", "'assert' with 2 arguments"),
    (HEAD + BOX + "(assert (<= Y_0 (and (<= Y_0 1))))", "'and' with 1 arguments is no linear expression"),
])
def test_what_cannot_be_read_is_refused_with_its_line(text, says):
    with pytest.raises(SpecError) as refusal:
        read_vnnlib(text)
    assert says in str(refusal.value) and len(str(refusal.value)) < 300


@pytest.mark.threat("T23")
@pytest.mark.parametrize("text", [
    "(" * 100_000, HEAD + BOX + "(assert " + "(and " * 100_000, "(declare-const " + "X" * 10_000_000 + " Real)", "; " + "\x00" * 10_000_000,
    HEAD + "(assert (<= Y_0 " + "(- " * 200 + "1" + ")" * 200 + "))"],
    ids=["deep", "deep formula", "long word", "long comment", "deep term"])
def test_a_huge_file_is_refused_in_a_sentence(text):
    with pytest.raises(SpecError, match=r"flatten|shorten|control character"):
        read_vnnlib(text)


@pytest.mark.threat("T23")
def test_alternatives_that_multiply_are_refused_before_they_fill_the_memory():
    inputs = 40
    text = "".join(f"(declare-const X_{i} Real) (assert (>= X_{i} 0)) (assert (<= X_{i} 9))" for i in range(inputs)) + "(declare-const Y_0 Real)"
    text += "".join(f"(assert (or (<= X_{i} 1) (>= X_{i} 2)))" for i in range(inputs))
    with pytest.raises(SpecError, match="too many boxes"):
        read_vnnlib(text)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_specification_of_another_size_is_refused(outputs):
    text = "(declare-const X_0 Real) (declare-const X_1 Real)" + BOX + "".join(f"(declare-const Y_{k} Real)" for k in range(outputs))
    with pytest.raises(SpecError, match="pair it with the network"):
        spec_queries(read_vnnlib(text), two_by_two())


# ------------------------------------------------------------------------------------------------------------ numbers and small cases

@pytest.mark.parametrize(("text", "value"), [
    ("1e-06", F(1, 10**6)), ("-1e-06", F(-1, 10**6)), ("-0.75", F(-3, 4)), ("+2", F(2)), ("1.", F(1)), (".5", F(1, 2)), ("2E+3", F(2000)),
    ("0.3", F(3, 10)), ("007", F(7)), ("(- 2)", F(-2)), ("(- 3 1 1)", F(1)), ("(+ 1 2 (* 3 -2))", F(-3)), ("(* 2 3 4)", F(24)),
    ("(* (+ 1 1) 2)", F(4)),
    ("1.3392", F(13392, 10000)), ("0.07921680808067322", F(7921680808067322, 10**17))])
def test_numbers_are_the_rationals_that_their_decimals_denote(text, value):
    spec = read_vnnlib(HEAD + BOX + f"(assert (<= Y_0 {text}))")
    assert spec.formula.parts[-1] == Atom(((0, F(1)),), value)


def test_comments_line_ends_and_order_do_not_matter():
    plain = read_vnnlib(HEAD + BOX + "(assert (<= Y_0 1))")
    assert read_vnnlib((HEAD + "; é\tcomment ) (\n" + BOX + "(assert(<= Y_0 1));end").replace("\n", "\r\n")) == plain


def test_several_boxes_become_several_queries_and_equal_boxes_one():
    one, two = "(<= X_0 1) (>= X_0 0)", "(<= X_0 3) (>= X_0 2)"
    text = HEAD + "(assert (<= X_1 1)) (assert (>= X_1 0))" + f"(assert (or (and {one} (<= Y_0 0)) (and {two}) (and {one} (>= Y_1 0))))"
    queries = spec_queries(read_vnnlib(text), two_by_two())
    assert [(q.lo, q.hi) for q in queries] == [((0, 0), (1, 1)), ((2, 0), (3, 1))]
    assert queries[0].formula == Or((Atom(((0, F(1)),), F(0)), Atom(((1, F(-1)),), F(0))))
    assert queries[1].formula == And(()) and all(q.graph is queries[0].graph for q in queries)


def test_an_alternative_box_that_is_empty_falls_away_and_no_box_is_no_query():
    text = HEAD + BOX + "(assert (or (<= X_0 -0.5) (>= X_0 1.5)))"
    (query,) = spec_queries(read_vnnlib(text), two_by_two())
    assert query.hi[0] == F(-1, 2)
    assert spec_queries(read_vnnlib(text + "(assert (>= X_0 0))"), two_by_two()) == []


def test_a_strict_bound_of_an_input_stays_strict():
    (query,) = spec_queries(read_vnnlib(HEAD + BOX + "(assert (< X_0 0.5))"), two_by_two())
    assert query.hi[0] == F(1, 2) and query.graph.output_size() == 3
    at = [holds(query.formula, evaluate_exact(query.graph, (v, F(0)))) for v in (F(1, 2), F(49, 100))]
    assert at == [False, True]


def test_inequalities_without_variables_are_decided():
    assert read_vnnlib(HEAD + BOX + "(assert (<= 0 (- Y_0 Y_0)))").regions[0].formula == And(())
    assert read_vnnlib(HEAD + BOX + "(assert (< 0 (* 0 Y_0)))").regions[0].formula == Or(())


# ------------------------------------------------------------------------------------------------------------ random formulas

NUMBERS = st.integers(-4, 4).map(lambda k: F(k, 2))
NAMES = ("X_0", "X_1", "Y_0", "Y_1")
COMPARE = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}


def constants():
    """Trees of numbers only."""
    return st.recursive(NUMBERS, lambda inner: st.tuples(st.sampled_from("+-*"), st.lists(inner, min_size=1, max_size=3)), max_leaves=3)


def linear():
    """Trees (operator, parts), names and numbers, linear in the names."""
    leaf = st.one_of(NUMBERS, st.sampled_from(NAMES), st.sampled_from(NAMES))
    return st.recursive(leaf, lambda inner: st.one_of(st.tuples(st.sampled_from("+-"), st.lists(inner, min_size=1, max_size=3)),
                                                      st.tuples(st.just("*"), st.tuples(constants(), inner).map(list))), max_leaves=5)


def formulas():
    """Trees of and, or and comparisons; many atoms bound one input."""
    bound = st.tuples(st.sampled_from(sorted(COMPARE)), st.tuples(st.sampled_from(NAMES[:2]), NUMBERS).map(list))
    atom = st.one_of(bound, st.tuples(st.sampled_from(sorted(COMPARE)), st.tuples(linear(), linear()).map(list)))
    return st.recursive(atom, lambda inner: st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)), max_leaves=8)


def text_of(tree):
    """The tree as VNN-LIB."""
    if isinstance(tree, tuple):
        return f"({tree[0]} {' '.join(text_of(part) for part in tree[1])})"
    return tree if isinstance(tree, str) else str(float(tree))


def value_of(tree, at):
    """The tree's value by the words of SMT-LIB, without the reader."""
    if not isinstance(tree, tuple):
        return at[tree] if isinstance(tree, str) else tree
    head, parts = tree[0], [value_of(part, at) for part in tree[1]]
    if head in ("and", "or"):
        return all(parts) if head == "and" else any(parts)
    if head in COMPARE:
        return COMPARE[head](*parts)
    if head == "-" and len(parts) == 1:
        return -parts[0]
    total = parts[0]
    for part in parts[1:]:
        total = {"+": operator.add, "-": operator.sub, "*": operator.mul}[head](total, part)
    return total


@QUICK
@given(st.lists(formulas(), min_size=1, max_size=3), st.lists(st.tuples(NUMBERS, NUMBERS), min_size=4, max_size=8), st.tuples(NUMBERS, NUMBERS))
def test_a_random_formula_means_what_its_words_say(trees, points, outputs):
    text = HEAD + "".join(f"(assert ({op} X_{i} {v}))" for i in (0, 1) for op, v in (("<=", 2), (">=", -2)))
    text += "".join(f"(assert {text_of(tree)})" for tree in trees)
    try:
        spec = read_vnnlib(text)
    except SpecError as error:
        assert "exceeds its upper bound" in str(error)
        assert not any(all(value_of(tree, dict(zip(NAMES, (*x, *outputs), strict=True))) for tree in trees) for x in points)
        return
    graph = two_by_two()
    queries = spec_queries(spec, graph)
    for x in points:
        direct = all(value_of(tree, dict(zip(NAMES, (*x, *outputs), strict=True))) for tree in trees)
        assert spec.holds(x, outputs) == direct
        inside = [region for region in spec.regions if all(a <= v <= b for a, v, b in zip(region.lo, x, region.hi, strict=True))]
        assert any(holds(region.formula, joint(x, outputs)) for region in inside) == direct
        asked = [q for q in queries if all(a <= v <= b for a, v, b in zip(q.lo, x, q.hi, strict=True))]
        answered = any(holds(q.formula, evaluate_exact(q.graph, x)) for q in asked)
        assert answered == spec.holds(x, evaluate_exact(graph, x))


# ------------------------------------------------------------------------------------------------------------ writing

def atoms_of(outputs):
    """Atoms over that many outputs with awkward rationals."""
    rational = st.one_of(NUMBERS, st.fractions(-3, 3, max_denominator=12), st.floats(-3, 3, allow_nan=False).map(F))
    pairs = st.lists(st.tuples(st.integers(0, outputs - 1), rational.filter(bool)), max_size=3, unique_by=lambda p: p[0])
    return st.builds(lambda p, b, s: Atom(tuple(sorted(p)), b, s), pairs, rational, st.booleans())


def trees_of(outputs):
    """Nested formulas over that many outputs, empty ones included."""
    return st.recursive(atoms_of(outputs), lambda inner: st.lists(inner, max_size=3).flatmap(
        lambda parts: st.sampled_from([And(tuple(parts)), Or(tuple(parts))])), max_leaves=8)


@QUICK
@given(trees_of(2), st.lists(st.tuples(st.fractions(-2, 2, max_denominator=9), st.fractions(0, 2, max_denominator=9)), min_size=2, max_size=2),
       st.lists(st.tuples(NUMBERS, NUMBERS), min_size=5, max_size=5))
def test_a_written_query_reads_back_with_the_same_box_and_meaning(formula, sides, points):
    query = Query(two_by_two(), tuple(a for a, _ in sides), tuple(a + w for a, w in sides), formula)
    spec = read_vnnlib(write_vnnlib(query))
    assert [(r.lo, r.hi) for r in spec.regions] == [(query.lo, query.hi)]
    for y in points:
        assert holds(spec.regions[0].formula, y) == holds(formula, y)


@pytest.mark.parametrize(("value", "text"), [
    (F(0), "0"), (F(-3, 4), "-0.75"), (F(1, 3), None), (F(1, 10**6), "0.000001"), (F(120), "120"), (F(5, 2), "2.5"), (F(-1, 20), "-0.05")])
def test_a_decimal_is_exact_or_none(value, text):
    assert decimal(value) == text


def test_usual_inequalities_are_written_as_people_write_them():
    formula = And((Atom(((0, F(1)), (1, F(-1))), F(0)), Or((Atom(((0, F(-1)),), F(-2)), Atom(((1, F(2)),), F(3), True)))))
    text = write_vnnlib(Query(two_by_two(), (F(0), F(-1, 3)), (F(1), F(1)), formula))
    for line in ("(assert (<= X_0 1))", "(assert (>= X_0 0))", "(assert (>= (* 3 X_1) -1))", "(assert (<= Y_0 Y_1))", "  (and (>= Y_0 2))",
                 "  (and (< Y_1 1.5))"):
        assert line in text.splitlines()


# ------------------------------------------------------------------------------------------------------------ the published files

def published(cases, name):
    """Specification, graph and ONNX bytes of one published instance."""
    folder = cases / "vnnlib"
    data = (folder / f"{name.rsplit('_', 1)[0]}.onnx").read_bytes()
    return read_vnnlib((folder / f"{name}.vnnlib").read_text(encoding="utf-8")), read_onnx(data).graph, data


@pytest.mark.parametrize("name", FOUR)
def test_published_specifications_load_and_agree_with_onnx_runtime(cases, name):
    spec, graph, data = published(cases, name)
    (query,) = spec_queries(spec, graph)
    lo, hi = (np.array([float(v) for v in side]) for side in (query.lo, query.hi))
    x = np.random.default_rng(0).uniform(lo, hi, (64, lo.size)).astype(np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    y = np.array([session.run(None, {"input": row[None]})[0][0] for row in x])
    ours = evaluate(query.graph, x.astype(np.float64))
    assert np.abs(ours - y).max() < 1e-4 * max(1.0, np.abs(y).max())
    assert len(query.formula.parts) == 2 and query.lo[0] == spec.regions[0].lo[0] and query.graph is graph
    assert not any(spec.holds([F(float(v)) for v in row], [F(float(v)) for v in out]) for row, out in zip(x, y, strict=True))


@pytest.mark.parametrize(("name", "old", "new"), [
    ("state_0", "(<= Y_0 -1e-06)", "(>= Y_0 -1e-06)"), ("state_7", "(>= Y_2 0.7500010132789612)", "(>= Y_2 -0.45)")])
def test_a_mutated_specification_has_witnesses_that_onnx_runtime_confirms(cases, name, old, new):
    folder = cases / "vnnlib"
    text = (folder / f"quadrotor2d_{name}.vnnlib").read_text(encoding="utf-8")
    assert old in text
    spec, (_, graph, data) = read_vnnlib(text.replace(old, new)), published(cases, f"quadrotor2d_{name}")
    (query,) = spec_queries(spec, graph)
    lo, hi = (np.array([float(v) for v in side]) for side in (query.lo, query.hi))
    x = np.random.default_rng(0).uniform(lo, hi, (2000, lo.size)).astype(np.float32)
    y = evaluate(graph, x.astype(np.float64))
    hit = next(i for i in range(len(x)) if holds(query.formula, [F(v) for v in y[i].tolist()]))
    (out,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"input": x[hit:hit + 1]})
    assert spec.holds([F(float(v)) for v in x[hit]], [F(float(v)) for v in out[0]])


@pytest.mark.parametrize("name", FOUR)
def test_published_instances_are_written_and_read_back(cases, tmp_path, name):
    spec, graph, _ = published(cases, name)
    (query,) = spec_queries(spec, graph)
    network, text = write(query, tmp_path / "out", name)
    again, read = read_vnnlib(text.read_text(encoding="ascii")), read_onnx(network.read_bytes()).graph
    (back,) = spec_queries(again, read)
    assert (back.lo, back.hi, back.formula) == (query.lo, query.hi, query.formula)
    x = np.random.default_rng(1).uniform(-0.3, 0.3, (9, len(query.lo)))
    assert np.array_equal(evaluate(back.graph, x), evaluate(query.graph, x))
