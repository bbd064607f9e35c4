"""The kernel's refutations: what a tree has to show, and one fault at a time."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from verifiers.kernel import query
from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Affine, Builder, Graph, affine_from_rational
from verifiers.kernel.jets import U
from verifiers.kernel.query import And, Atom, Formula, Or, Refuter, refute
from verifiers.kernel.taylor import MAX_ORDER_2, TaylorReading, taylor_models
from verifiers.kernel.tree import LEAF
from verifiers.load.floats import evaluate

F = Fraction
mp = mpmath.mp.clone()
mp.dps = 60
BOX = (F(-1),) * 2, (F(1),) * 2


def at_most(k: int, bound: Fraction | int, strict: bool = False) -> Atom:
    return Atom(((k, F(1)),), F(bound), strict)


def at_least(k: int, bound: Fraction | int, strict: bool = False) -> Atom:
    return Atom(((k, F(-1)),), -F(bound), strict)


def disc() -> Graph:
    """|x|^2 and x1 + x2."""
    b = Builder()
    x = b.input(2)
    square = b.affine(b.unary("pow", x, 2), affine_from_rational([[F(1), F(1)]], [F(0)]))
    return b.build([b.concat([square, b.affine(x, affine_from_rational([[F(1), F(1)]], [F(0)]))])])


def bump() -> Graph:
    """relu(x1) + relu(-x1) - x2, that is |x1| - x2."""
    b = Builder()
    x = b.input(2)
    parts = b.unary("relu", b.affine(x, Affine(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.zeros(2))))
    return b.build([b.affine(b.concat([parts, x]), Affine(np.array([[1.0, 1.0, 0.0, -1.0]]), np.zeros(1)))])


FAR = And((at_most(0, 1), at_least(1, F(3, 2))))  # |x|^2 <= 1 gives x1 + x2 <= 1.415
NEAR = And((at_most(0, 1), at_least(1, F(7, 5))))  # holds at (0.7, 0.7) and about


def code(graph: Graph, formula: Formula, tree: bytes, box=BOX) -> str:
    with pytest.raises(Refusal) as caught:
        refute(graph, *box, formula, tree)
    return caught.value.code.name


def test_a_disc_and_a_half_plane_beyond_it_are_refuted_at_the_root():
    assert refute(disc(), *BOX, FAR, bytes([LEAF])) == 1


def test_a_split_tree_is_read_level_by_level():
    assert refute(disc(), *BOX, FAR, bytes([0, LEAF, 1, LEAF, LEAF])) == 3


@pytest.mark.threat("T11")
@pytest.mark.parametrize("tree", [bytes([LEAF]), bytes([0, LEAF, LEAF]), bytes([0, 1, 1] + [LEAF] * 4)])
def test_what_holds_somewhere_is_never_refuted(tree):
    assert code(disc(), NEAR, tree) == "NOT_PROVED"


@pytest.mark.threat("T12", "T15")
@pytest.mark.parametrize(("tree", "expected"), [
    (b"", "TREE_INCOMPLETE"), (bytes([0, LEAF]), "TREE_INCOMPLETE"), (bytes([0]), "TREE_INCOMPLETE"),
    (bytes([LEAF, LEAF]), "TREE_TRAILING"), (bytes([0, LEAF, LEAF, 0]), "TREE_TRAILING"),
    (bytes([2]), "MALFORMED_CERTIFICATE"), (bytes([127]), "MALFORMED_CERTIFICATE"), (bytes([LEAF + 7]), "MALFORMED_CERTIFICATE"),
    (bytes([255]), "MALFORMED_CERTIFICATE")])
def test_a_tree_that_is_none_is_refused(tree, expected):
    assert code(disc(), FAR, tree) == expected


@pytest.mark.threat("T12")
def test_a_leaf_in_place_of_a_subtree_that_is_needed_is_refused():
    formula = at_most(0, F(-1, 100))
    deep = bytes([LEAF + 1])
    assert refute(bump(), (F(-1), F(-1)), (F(1), F(0)), formula, deep) == 1
    assert code(bump(), formula, deep, ((F(-1), F(-1)), (F(1), F(1)))) == "NOT_PROVED"  # (0, 1) has the value -1


def test_an_undecided_kink_needs_its_phases():
    """|x1| - x2 >= 0 for x2 <= 0: the chord loses what the two phases keep."""
    formula, box = at_most(0, F(-1, 100)), ((F(-1), F(-1)), (F(1), F(0)))
    assert refute(bump(), *box, formula, bytes([LEAF + 1])) == 1
    b = Builder()
    x = b.input(1)
    wave = b.build([b.binary("sub", b.unary("abs", x), b.unary("abs", b.affine(x, Affine(np.array([[0.5]]), np.zeros(1)))))])  # |x| / 2
    assert code(wave, at_most(0, F(-1, 100)), bytes([LEAF]), ((F(-1),), (F(1),))) == "NOT_PROVED"
    assert refute(wave, (F(-1),), (F(1),), at_most(0, F(-1, 100)), bytes([LEAF + 2])) == 1


@pytest.mark.threat("T08")
@pytest.mark.parametrize("strict", [False, True])
def test_a_minimum_that_is_touched_is_not_refuted(strict):
    """|x|^2 <= 0 holds at 0; |x|^2 < 0 holds nowhere, but not by a margin that floats can show."""
    assert code(disc(), at_most(0, 0, strict), bytes([LEAF])) == "NOT_PROVED"


def test_strict_and_not_strict_differ_by_a_point():
    b = Builder()
    g = b.build([b.input(1)])
    box = (F(0),), (F(1),)
    assert code(g, at_most(0, 0), bytes([LEAF]), box) == "NOT_PROVED"
    assert refute(g, *box, at_most(0, F(-1, 2**40)), bytes([LEAF])) == 1


def test_boolean_structure():
    never, sometimes = at_most(0, -1), at_most(0, F(1, 2))
    assert refute(disc(), *BOX, Or((never, FAR)), bytes([LEAF])) == 1
    assert refute(disc(), *BOX, And((sometimes, never)), bytes([LEAF])) == 1
    assert code(disc(), Or((never, sometimes)), bytes([LEAF])) == "NOT_PROVED"
    assert refute(disc(), *BOX, Or(()), bytes([LEAF])) == 1
    assert code(disc(), And(()), bytes([LEAF])) == "NOT_PROVED"


def test_an_atom_of_one_branch_is_not_assumed_in_the_other():
    """x1 + x2 >= 3/2 is impossible only where |x|^2 <= 1, and that is asked in one branch alone."""
    formula = Or((And((at_most(0, 1), at_least(1, F(3, 2)))), at_least(1, F(3, 2))))
    assert code(disc(), formula, bytes([LEAF])) == "NOT_PROVED"
    assert refute(disc(), *BOX, And((at_most(0, 1), Or((at_least(1, F(3, 2)), at_most(1, -2))))), bytes([LEAF])) == 1


@pytest.mark.threat("T08")
def test_undefined_and_infinite_values_refute_nothing():
    b = Builder()
    g = b.build([b.unary("log", b.input(1))])
    for box in (((F(-1),), (F(1),)), ((F(-2),), (F(-1),))):
        assert code(g, at_least(0, 100), bytes([LEAF]), box) == "NOT_PROVED"
    assert code(disc(), FAR, bytes([LEAF]), ((-F(10) ** 400,) * 2, BOX[1])) == "TOO_LARGE"


@pytest.mark.threat("T05")
def test_an_empty_box_has_no_state_and_shapes_must_fit():
    assert refute(disc(), (F(1), F(0)), (F(0), F(1)), NEAR, b"") == 0
    assert code(disc(), at_most(2, 0), bytes([LEAF])) == "BAD_SHAPE"
    assert code(disc(), at_most(-1, 0), bytes([LEAF])) == "BAD_SHAPE"
    assert code(disc(), FAR, bytes([LEAF]), ((F(0),), (F(1),))) == "BAD_SHAPE"


@pytest.mark.threat("T09")
def test_corners_that_are_no_floats_are_inside():
    third = F(1, 3)
    b = Builder()
    g = b.build([b.input(1)])
    assert code(g, at_least(0, third), bytes([LEAF]), ((F(0),), (third,))) == "NOT_PROVED"


def test_contraction_keeps_every_state_that_satisfies_the_needed_atoms():
    rng = np.random.default_rng(5)
    refuter = Refuter(disc(), And((at_most(0, 1), at_least(1, F(1, 2)))))
    centre, radius = rng.uniform(-1.5, 1.5, (400, 2)), rng.uniform(0, 1, (400, 2))
    lo, hi = centre - radius, centre + radius
    low, high, empty = refuter.contract(lo, hi)
    shrunk = 0
    for k in range(400):
        x = rng.uniform(lo[k], hi[k], (200, 2))
        good = x[((x**2).sum(axis=1) <= 1) & (x.sum(axis=1) >= 0.5)]
        assert not (empty[k] and len(good))
        assert empty[k] or ((good >= low[k]) & (good <= high[k])).all()
        shrunk += bool((high[k] - low[k] < 0.9 * (hi[k] - lo[k])).any())
    assert shrunk > 50 and empty.any()


def test_unknown_constants_are_all_their_values():
    b = Builder()
    x = b.input(1)
    g = b.build([b.binary("add", x, b.const([(F(-1), F(1))]))])
    box = (F(0),), (F(1),)
    assert refute(g, *box, at_least(0, F(21, 10)), bytes([LEAF])) == 1
    assert code(g, at_least(0, F(19, 10)), bytes([LEAF]), box) == "NOT_PROVED"


@pytest.mark.threat("T12")
def test_parts_share_the_leaves_and_one_part_alone_shows_nothing(monkeypatch):
    """With batches of one box each leaf is checked in just one of the parts, so a wrong leaf is refused by one of them."""
    monkeypatch.setattr("verifiers.kernel.query.BATCH", 1)
    tree, free = bytes([0, 1, 1] + [LEAF] * 4), Or((NEAR,))  # no atom is needed, so nothing is contracted; the quarter of (0.7, 0.7) is no leaf
    refused = 0
    for i in range(2):
        try:
            refute(disc(), *BOX, free, tree, (i, 2))
        except Refusal:
            refused += 1
    assert refused == 1
    for part in ((0, 0), (2, 2), (-1, 2)):
        with pytest.raises(Refusal, match="BAD_SHAPE"):
            refute(disc(), *BOX, FAR, bytes([LEAF]), part)


def test_an_atom_at_its_bound_and_its_complement():
    for strict in (False, True):
        atom = Atom(((0, F(2)), (1, F(-1))), F(3), strict)
        for y, holds in (((F(2), F(1)), not strict), ((F(2), F(2)), True), ((F(3), F(1)), False)):
            assert atom.holds(y) is holds and atom.negated().holds(y) is not holds


@pytest.mark.threat("T09")
@pytest.mark.parametrize("side", [-1, 1])
def test_contraction_does_not_lose_a_state_between_two_floats(side):
    """sin x <= b, or >= b, far from the origin: the last state that satisfies it lies between floats, and is kept."""
    b = Builder()
    g = b.build([b.unary("sin", b.input(1))])
    turn, sines = 2 * mp.pi * side * 10**5, np.random.default_rng(1).uniform(-5e-7, 5e-7, 60)
    centre = float(turn)
    lo, hi = np.array([[centre - 1e-6]]), np.array([[centre + 1e-6]])
    near = 0
    for value in sines.tolist():
        edge = turn + mp.asin(mp.mpf(value))
        for atom, ends in ((at_most(0, F(value)), 1), (at_least(0, F(value)), 0)):
            low, high, empty = Refuter(g, atom).contract(lo, hi)
            assert not empty[0] and mp.mpf(float(low[0, 0])) <= edge <= mp.mpf(float(high[0, 0]))
            near += abs(float((low, high)[ends][0, 0]) - float(edge)) < 1e-8
    assert near > 40


def test_a_box_is_empty_by_its_bounds_or_by_its_polynomial():
    b, c = Builder(), Builder()
    same, growth = b.build([b.input(1)]), c.build([c.unary("exp", c.input(1))])
    point, wide = np.full((1, 1), 5.0), np.full((1, 1), 1.2)
    assert Refuter(same, at_most(0, 4)).contract(point, point)[2][0] and not Refuter(same, at_most(0, 5)).contract(point, point)[2][0]
    assert Refuter(growth, at_most(0, 0)).contract(-wide, wide)[2][0] and not Refuter(growth, at_most(0, 1)).contract(-wide, wide)[2][0]


def told(monkeypatch: pytest.MonkeyPatch, low: list[float], high: list[float]) -> None:
    monkeypatch.setattr(query, "_solutions", lambda *_: (np.array([low]), np.array([high])))


def test_a_box_is_empty_where_one_coordinate_has_no_solution(monkeypatch):
    """The gap is less than the slack of the corners, so only the coordinates on [-1, 1] tell."""
    lo, hi, refuter = np.full((1, 2), 0.5), np.full((1, 2), 1.5), Refuter(disc(), at_most(0, 3))
    for low, high, none in (([2.0**-60, -1.0], [0.0, 1.0], True), ([-1.0, 2.0**-60], [1.0, 0.0], True), ([0.0, -1.0], [0.0, 1.0], False)):
        told(monkeypatch, low, high)
        assert bool(refuter.contract(lo, hi)[2][0]) is none


def test_two_atoms_that_exclude_each_other_leave_nothing():
    for second, none in ((F(1, 2), True), (F(7, 10), False)):
        both = And((at_least(1, F(6, 10)), at_most(1, second)))
        g = affine([[0, 0], [1, 0]])
        low, high, empty = Refuter(g, both).contract(-np.ones((1, 2)), np.ones((1, 2)))
        assert bool(empty[0]) is none and (low <= high).all()


def affine(rows: list[list[int]]) -> Graph:
    b = Builder()
    return b.build([b.affine(b.input(len(rows[0])), affine_from_rational([[F(v) for v in row] for row in rows], [F(0)] * len(rows)))])


def test_a_search_asks_for_more_than_its_margin():
    b, wide = Builder(), np.full((1, 1), 1.6)
    growth = b.build([b.unary("exp", b.input(1))])
    _, excess = taylor_models(Refuter(growth, at_most(0, 0)).needed, -wide, wide)
    least_, size = float(excess.lo[0, 0]), float(excess.size()[0, 0])
    margin = least_ / size
    assert least_ > 0 and margin * size == least_
    for m, none in ((margin, False), (margin * (1 - 1e-9), True)):
        assert bool(Refuter(growth, at_most(0, 0), m).contract(-wide, wide)[2][0]) is none


def sphere(n: int) -> Graph:
    """|x|^2 and x1 + x2 of n coordinates."""
    b = Builder()
    x = b.input(n)
    square = b.affine(b.unary("pow", x, 2), affine_from_rational([[F(1)] * n], [F(0)]))
    return b.build([b.concat([square, b.affine(x, affine_from_rational([[F(1), F(1)] + [F(0)] * (n - 2)], [F(0)]))])])


@pytest.mark.parametrize("n", [2, MAX_ORDER_2, MAX_ORDER_2 + 1])
def test_curvature_is_used_up_to_a_number_of_inputs(n):
    ends = np.ones((1, n))
    assert Refuter(sphere(n), FAR).judge(-ends, ends, 0).refuted.all() == (n <= MAX_ORDER_2)


def test_an_atom_with_the_bound_zero_is_tried_again(monkeypatch):
    monkeypatch.setattr(query, "least", lambda reading, model: np.zeros(model.e.shape))
    ends = np.ones((1, 2))
    assert Refuter(disc(), FAR).judge(-ends, ends, 0).refuted.all()


def test_atoms_are_tested_before_what_is_made_of_them():
    holds, never, ends = at_most(0, 5), at_most(0, -1), np.ones((1, 2))
    for formula in (And((Or((holds,)), never)), And((never, Or((holds,))))):
        refuter = Refuter(disc(), formula)
        found = refuter.judge(-ends, ends, 0)
        assert found.refuted.all() and not found.failed[0, refuter.place[holds]]


def test_an_atom_about_nothing_is_true_or_false():
    for atom, good in ((Atom((), F(-1)), True), (Atom((), F(0)), False), (Atom((), F(0), True), True)):
        if good:
            assert refute(disc(), *BOX, atom, bytes([LEAF])) == 1
        else:
            assert code(disc(), atom, bytes([LEAF])) == "NOT_PROVED"


def test_a_box_of_one_point_has_that_state():
    assert code(disc(), at_most(0, 1), bytes([LEAF]), ((F(0), F(1)), (F(0), F(1)))) == "NOT_PROVED"


@pytest.mark.threat("T09")
def test_the_root_holds_the_box_whose_corners_are_no_floats(monkeypatch):
    seen, children = [], query._children
    monkeypatch.setattr(query, "_children", lambda refuter, lo, hi, *rest: (seen.append((lo.copy(), hi.copy())), children(refuter, lo, hi, *rest))[1])
    for lo, hi in ((F(-1, 3), F(1, 3)), (F(1, 10), F(3, 10)), (F(-3, 10), F(-1, 10))):
        refute(disc(), (lo, lo), (hi, hi), at_most(0, -1), bytes([LEAF]))
        low, high = seen.pop()
        assert all(F(float(a)) < lo for a in low[0]) and all(hi < F(float(b)) for b in high[0])


@pytest.mark.threat("T08")
@pytest.mark.parametrize(("low", "strict", "good"), [
    (0.0, True, True), (0.0, False, False), (5e-324, False, True), (-5e-324, True, False), (np.nan, True, False)])
def test_an_excess_of_zero_refutes_strict_atoms_only(monkeypatch, low, strict, good):
    monkeypatch.setattr(query, "least", lambda reading, model: np.full(model.e.shape, low))
    monkeypatch.setattr(query, "least_under", lambda reading, p, q, e, *given: np.full(e.shape, -np.inf))
    ends = np.ones((1, 2))
    found = Refuter(disc(), at_most(0, 0, strict)).judge(-ends, ends, 0)
    assert bool(found.refuted[0]) is good and bool(found.failed[0, 0]) is not good


def test_a_parabola_below_its_level_leaves_its_two_roots():
    b = Builder()
    square, ends = b.build([b.unary("pow", b.input(1), 2)]), np.ones((1, 1))
    low, high, empty = Refuter(square, at_most(0, F(1, 4))).contract(-ends, ends)
    assert not empty[0] and -0.5 - 1e-12 < low[0, 0] <= -0.5 and 0.5 <= high[0, 0] < 0.5 + 1e-12
    assert Refuter(square, at_most(0, F(-1, 100))).contract(-ends, ends)[2][0]


@pytest.mark.threat("T09")
@pytest.mark.parametrize("bend", [0.0, 1e-6, 0.02, 1.0, 40.0])
def test_the_roots_of_a_polynomial_are_rounded_apart(bend):
    """c xi^2 + g xi + p0 <= e in one variable: bounds hold the exact roots, also where the two are nearly one."""
    rng, rows = np.random.default_rng(3), 120
    reading = TaylorReading(-np.ones((rows, 1)), np.ones((rows, 1)))
    root, g, e = rng.uniform(-0.9, 0.9, rows), rng.uniform(0.5, 2, rows) * rng.choice([-1.0, 1.0], rows), np.exp(rng.uniform(-40, 3, rows))
    c = np.full(rows, bend) * rng.uniform(0.5, 1, rows)
    g = np.where(rng.random(rows) < 0.5, g, -2 * c * root) if bend else g
    p0 = e - g * root - c * root * root
    with np.errstate(all="ignore"):
        low, high = query._solutions(reading, np.stack([p0, g]), c[None], e)
    for k in range(rows):
        a, b, d = F(c[k]), F(g[k]), F(p0[k]) - F(e[k])
        if a:
            inside = b * b - 4 * a * d
            if inside < 0:
                continue  # rounded away: there is no state
            wide = mp.sqrt(mp.mpf(inside.numerator) / inside.denominator)
            ends = [(mp.mpf(float(-b)) + sign * wide) / (2 * mp.mpf(float(a))) for sign in (-1, 1)]
        else:
            edge = mp.mpf((-d / b).numerator) / (-d / b).denominator
            ends = [mp.mpf(-1), edge] if b > 0 else [edge, mp.mpf(1)]
        ends = [max(mp.mpf(-1), ends[0]), min(mp.mpf(1), ends[1])]
        assert ends[0] > ends[1] or (low[k, 0] <= ends[0] and ends[1] <= high[k, 0])


@pytest.mark.threat("T08")
def test_a_coordinate_that_an_atom_does_not_name_is_left_alone():
    ends, g = np.ones((1, 2)), affine([[1, 0]])
    low, high, empty = Refuter(g, at_most(0, F(-1, 2))).contract(-ends, ends)
    assert not empty[0] and high[0, 0] == pytest.approx(-0.5) and (low[0, 1], high[0, 1]) == (-1.0, 1.0)
    reading = TaylorReading(-ends, ends)
    low, high = query._solutions(reading, np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(1))  # 0 <= 0 holds everywhere
    assert (low == -1).all() and (high == 1).all()


@pytest.mark.parametrize("k", [0, 1])
def test_one_corner_beyond_every_float_is_declined(k):
    for side, sign in ((0, -1), (1, 1)):
        box = [[F(-1), F(-1)], [F(1), F(1)]]
        box[side][k] = sign * F(10) ** 400
        assert code(disc(), FAR, bytes([LEAF]), tuple(map(tuple, box))) == "TOO_LARGE"


@pytest.mark.threat("T15")
def test_as_many_boxes_may_be_open_as_the_limit_says(monkeypatch):
    free, tree = Or((FAR,)), bytes([0, 0, 1] + [LEAF] * 4)
    monkeypatch.setattr(query, "MAX_OPEN", 4)
    assert refute(disc(), *BOX, free, tree) == 4
    monkeypatch.setattr(query, "MAX_OPEN", 3)
    assert code(disc(), free, tree) == "TOO_LARGE"


def test_every_byte_of_a_level_is_looked_at():
    assert refute(disc(), *BOX, FAR, bytes([LEAF + query.MAX_DOUBLINGS])) == 1
    assert code(disc(), FAR, bytes([0, LEAF, 77])) == code(disc(), FAR, bytes([0, 77, LEAF])) == "MALFORMED_CERTIFICATE"


def test_a_box_that_is_split_need_not_be_refuted_itself():
    b = Builder()
    x = b.input(1)
    wave = b.build([b.binary("sub", b.unary("abs", x), b.unary("abs", b.affine(x, Affine(np.array([[0.5]]), np.zeros(1)))))])  # |x| / 2
    below = Or((at_most(0, F(-1, 100)),))  # nothing is needed, so nothing is contracted
    assert code(wave, below, bytes([LEAF]), ((F(-1),), (F(1),))) == "NOT_PROVED"
    assert refute(wave, (F(-1),), (F(3),), below, bytes([0, 0, LEAF, LEAF, LEAF])) == 3


def test_what_the_other_terms_leave_keeps_its_margin():
    """xi <= 1/2 from p0 = -1/2: the slack is 80 u of |p0| + |p|_1 + e, whatever the sign of p0."""
    reading = TaylorReading(-np.ones((1, 1)), np.ones((1, 1)))
    for p0, end in ((-0.5, 0.5), (0.5, -0.5)):
        _, high = query._solutions(reading, np.array([[p0], [1.0]]), np.zeros((1, 1)), np.zeros(1))
        assert end + 110 * U < high[0, 0] < end + 160 * U


def test_what_no_output_needs_is_zero_and_changes_nothing():
    """Entries are followed one by one, so the second atom's graph is that of a coordinate, and the value of the first stays."""
    b = Builder()
    x = b.input(2)
    hard = b.unary("exp", b.binary("mul", x, x))
    y = b.concat([b.affine(hard, Affine(np.ones((1, 2)), np.zeros(1))), b.take(x, [1]), b.unary("sin", b.take(x, [0]))])
    graph = b.build([b.affine(y, Affine(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]), np.zeros(3)))])
    points = np.random.default_rng(4).uniform(-1, 1, (50, 2))
    truth = evaluate(graph, points)
    for k, some in ((0, {"exp", "mul"}), (1, set()), (2, {"exp", "mul", "sin"})):
        found = query._without_idle(query._excess(graph, [at_most(k, 0)]))
        assert {node.op for node in found.nodes} & {"exp", "mul", "sin"} == some
        np.testing.assert_array_equal(evaluate(found, points)[:, 0], truth[:, k])


@pytest.mark.threat("T09")
def test_a_weight_that_no_float_tells_from_zero_is_needed():
    b = Builder()
    x = b.input(2)
    y = b.concat([b.unary("exp", b.take(x, [0])), b.take(x, [1])])
    graph = b.build([b.affine(y, affine_from_rational([[F(1, 10**400), F(1)]], [F(0)]))])
    found = query._excess(graph, [at_most(0, 0)])
    assert "exp" in {node.op for node in found.nodes}
    ends = np.array([[1.0, 0.0]])
    assert not Refuter(graph, at_most(0, 0)).judge(ends, ends, 0).refuted[0]
    assert Refuter(graph, at_most(0, -1)).judge(ends, ends, 0).refuted[0]
