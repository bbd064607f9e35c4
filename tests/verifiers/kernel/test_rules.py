"""The rules of a leaf at their edges: what equals a bound, what lies half inside, and what a receipt counts."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel import elementary
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.local import Enclosure
from verifiers.kernel.properties import Goal, check_boundary, check_cover, check_shell, judge_decrease, judge_inner
from verifiers.kernel.rational import down, parse, parse_matrix, sqrt_up, up
from verifiers.kernel.stage import Evaluation, Function, Stage, _thresholds, in_frame, quadratic, strip_output
from verifiers.kernel.tree import DECREASE, INNER, INSIDE, LEAF, MAX_DEPTH, NOTHING, leaves

ONE = np.ones(1)


def linear(matrix: list[list[float]]) -> Graph:
    b = Builder()
    return b.build([b.affine(b.input(len(matrix)), Affine(np.array(matrix), np.zeros(len(matrix))))])


def stage(n: int = 1, level: str = "1/4", time: str = "continuous", half: float = 1.0, **fields: object) -> Stage:
    """``V = |x|^2`` along ``x' = -x`` (or the map x/2) in the box +-half."""
    eye = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    ends = np.full(n, half)
    field = linear((-np.eye(n) if time == "continuous" else 0.5 * np.eye(n)).tolist())
    made = Stage(field, time, quadratic(eye, [Fraction(0)] * n), Fraction(level), -ends, ends, -ends, ends)
    return replace(made, **fields)  # type: ignore[arg-type]


class Told(Stage):
    """A stage whose evaluation is given: value, decrease, image and value after the step."""

    told: Evaluation

    def evaluate(self, lo: np.ndarray, hi: np.ndarray) -> Evaluation:
        return self.told

    def value(self, function: Function, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.told.v_lo, self.told.v_hi


def told(base: Stage, *, v: float = 0.1, decrease: float = -1.0, image: tuple[list[float], list[float]] | None = None,
         after: float | None = None) -> Stage:
    made = Told(**{name: getattr(base, name) for name in Stage.__dataclass_fields__})
    ends = None if image is None else (np.array([image[0]]), np.array([image[1]]))
    found = Evaluation(v * ONE, v * ONE, decrease * ONE, decrease * ONE, np.ones((len(base.lo), 1)), ends, None if after is None else after * ONE)
    object.__setattr__(made, "told", found)
    return made


def box(n: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return np.full((1, n), 0.1), np.full((1, n), 0.2)


def ruled(rules: list[tuple[Code, np.ndarray]], code: Code) -> bool:
    """Whether every rule of that code holds; it must be among them."""
    held = [bool(good.all()) for name, good in rules if name is code]
    assert held
    return all(held)


@pytest.mark.threat("T08")
@pytest.mark.parametrize(("decrease", "good"), [(-5e-324, True), (0.0, False), (-0.0, False), (math.nan, False)])
def test_a_decrease_of_zero_is_none(decrease, good):
    rules, _ = judge_decrease(told(stage(), decrease=decrease), Goal("attraction"), *box())
    assert ruled(rules, Code.DECREASE) is good


@pytest.mark.parametrize(("v", "good"), [(0.0, True), (-5e-324, False)])
def test_a_rate_needs_values_that_are_not_negative(v, good):
    assert ruled(judge_decrease(told(stage(rate=Fraction(1, 2)), v=v), Goal("attraction"), *box())[0], Code.RATE) is good


def test_what_an_invariant_set_allows_at_its_edge():
    sampled = stage(time="discrete")
    inside = ([-1.0], [1.0])
    for after, good in ((0.25, True), (math.nextafter(0.25, 1), False)):
        rules, bound = judge_decrease(told(sampled, after=after, image=inside), Goal("invariance"), *box())
        assert ruled(rules, Code.DECREASE) is good and bound[0] == after - 0.25
    for v, good in ((0.25, False), (math.nextafter(0.25, 0), True)):
        assert ruled(judge_inner(told(stage(), v=v), Goal("invariance"), *box()), Code.LEAF_NOT_INSIDE) is good


def test_what_practical_stability_allows_at_its_edge():
    goal, sampled = Goal("practical", Fraction(1, 8), np.array([-1.0]), np.array([1.0])), stage(time="discrete")
    for after, good in ((0.125, True), (math.nextafter(0.125, 1), False)):
        assert ruled(judge_inner(told(sampled, after=after, image=([-1.0], [1.0])), goal, *box()), Code.NOT_PROVED) is good
    outside = Goal("practical", Fraction(1, 8), np.array([0.5]), np.array([0.6]))
    for v, good in ((0.125, False), (math.nextafter(0.125, 1), True)):
        assert ruled(judge_decrease(told(stage(), v=v), outside, *box())[0], Code.TARGET_NOT_CONTAINED) is good


@pytest.mark.threat("T13")
@pytest.mark.parametrize(("lo", "hi", "good"), [
    ([0.0, 0.0], [1.0, 1.0], True), ([-1.0, -1.0], [1.0, 1.0], True), ([-1.5, 0.0], [1.0, 1.0], False), ([0.0, -1.5], [1.0, 1.0], False),
    ([0.0, 0.0], [1.5, 1.0], False), ([0.0, 0.0], [1.0, 1.5], False), ([math.nan, 0.0], [1.0, 1.0], False)])
def test_a_target_and_a_domain_hold_whole_boxes(lo, hi, good):
    goal = Goal("practical", Fraction(1), np.full(2, -1.0), np.full(2, 1.0))
    assert bool(goal.in_target(np.array([lo]), np.array([hi]))[0]) is good
    assert bool(stage(2).stays(*box(2), (np.array([lo]), np.array([hi])))[0]) is good


@pytest.mark.threat("T13")
@pytest.mark.parametrize(("lo", "hi", "good"), [([-1.0], [-0.9], False), ([0.9], [1.0], False), ([-0.9], [0.9], True)])
def test_a_box_that_touches_a_face_within_the_level_is_not_contained(lo, hi, good):
    assert bool(stage(level="4").faces_outside(np.array([lo]), np.array([hi]))[0]) is good


@pytest.mark.threat("T09")
@pytest.mark.parametrize("level", ["1/3", "2/3", "1/10", "3/10", "7/1000003"])
def test_thresholds_round_to_the_side_of_what_they_imply(level):
    below, above = stage().function.thresholds(Fraction(level))
    assert Fraction(below) < Fraction(level) < Fraction(above) and math.nextafter(below, 1) == above
    for op in ("sigmoid", "tanh"):
        b = Builder()
        low, high = strip_output(b.build([b.unary(op, b.affine(b.input(1), Affine(np.ones((1, 1)), np.zeros(1))))])).thresholds(Fraction(level))
        inverse = math.log(float(Fraction(level) / (1 - Fraction(level)))) if op == "sigmoid" else math.atanh(float(Fraction(level)))
        assert low < inverse < high and high - low < 1e-9 * max(1.0, abs(inverse))


@pytest.mark.parametrize(("op", "level"), [("sigmoid", "0"), ("sigmoid", "1"), ("tanh", "-1"), ("tanh", "1"), ("sigmoid", "2"), ("tanh", "-2")])
def test_a_level_that_a_bounded_output_never_crosses_has_no_threshold(op, level):
    b = Builder()
    made = strip_output(b.build([b.unary(op, b.affine(b.input(1), Affine(np.ones((1, 1)), np.zeros(1))))]))
    assert made.thresholds(Fraction(level)) == (-math.inf, math.inf)


def test_values_that_equal_a_threshold():
    base = stage(inner=((stage().function, Fraction(1, 4)),))
    for v, inside, outside in ((0.25, True, False), (math.nextafter(0.25, 1), False, True), (math.nan, False, False)):
        made = told(base, v=v)
        assert bool(made.inside(*box())[0]) is inside and bool(made.in_inner(*box())[0]) is inside and bool(made.outside(*box())[0]) is outside


def test_a_decreasing_slope_counts_as_much_as_an_increasing_one():
    found = stage(2).evaluate(np.array([[-0.4, 0.2]]), np.array([[-0.2, 0.4]]))
    assert (found.scores > 0).all() and found.scores[0, 0] == pytest.approx(found.scores[1, 0])
    assert found.least[0] < found.decrease[0] < 0


def test_a_command_may_reach_its_limit():
    command = linear([[1.0]])
    wide = stage(command=command, limits=((-0.3, 0.3),))
    assert bool(wide.command_within(*box())[0]) and not bool(wide.command_within(np.array([[0.25]]), np.array([[0.35]]))[0])
    assert not bool(wide.command_within(np.array([[-0.35]]), np.array([[-0.25]]))[0])


@pytest.mark.threat("T09")
def test_thresholds_of_a_value_that_equals_the_level_everywhere(monkeypatch):
    level = Fraction(1, 4)
    monkeypatch.setattr(elementary, "sigmoid", lambda lo, hi: (np.full(lo.shape, 0.25), np.full(hi.shape, 0.25)))
    below, above = _thresholds.__wrapped__("sigmoid", level)
    guess = -math.log(3)
    assert below == pytest.approx(guess - guess) and above == pytest.approx(guess + guess)  # all candidates: V <= 1/4 and V >= 1/4 hold at each


def test_thresholds_where_the_inverse_is_zero():
    for op, level in (("sigmoid", Fraction(1, 2)), ("tanh", Fraction(0))):
        below, above = _thresholds(op, level)
        assert -1e-9 < below <= 0 <= above < 1e-9


def test_a_command_at_its_limit_is_within_and_one_beyond_is_not():
    lo, hi, command = *box(), linear([[1.0]])
    centre, radius = split_boxes(lo, hi)
    reading = JetReading(radius, 1)
    low, high = (float(end[0, 0]) for end in reading.bounds(read_jets(command, reading, reading.start(centre))))
    for limits, good in (((low, high), True), ((math.nextafter(low, 1), high), False), ((low, math.nextafter(high, 0)), False)):
        assert bool(stage(command=command, limits=(limits,)).command_within(lo, hi)[0]) is good


def test_a_frame_moves_the_origin_of_a_map_and_of_no_field():
    frame, origin = [[Fraction(2)]], [Fraction(3)]
    for time, truth in (("discrete", Fraction(1, 2) * (3 + 2 * 5) / 2 - Fraction(3, 2)), ("continuous", Fraction(1, 2) * (3 + 2 * 5) / 2)):
        from verifiers.kernel.exact import evaluate_exact
        assert evaluate_exact(in_frame(linear([[0.5]]), time, frame, origin), [Fraction(5)])[0] == truth


def test_distances_from_a_centre_on_either_side():
    matrix = [[Fraction(2), Fraction(-1)], [Fraction(-1), Fraction(2)]]
    for centre in ((1, 1), (-1, -1), (1, -1), (-1, 1)):
        where = Enclosure(tuple(map(Fraction, centre)), (Fraction(1, 10), Fraction(1, 10)))
        found = where.distance([Fraction(0), Fraction(0)], matrix)
        for corner in ((a, b) for a in (-0.1, 0.1) for b in (-0.1, 0.1)):
            z = [Fraction(c) + Fraction(str(d)) for c, d in zip(centre, corner, strict=True)]
            assert sum(z[i] * matrix[i][j] * z[j] for i in range(2) for j in range(2)) <= found * found


@pytest.mark.threat("T23")
def test_a_tree_may_be_as_deep_as_its_limit_and_no_deeper():
    lo, hi = np.zeros(1), np.ones(1)
    for depth, good in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False)):
        data = bytes([0] * depth + [LEAF] * (depth + 1))
        if good:
            assert sum(len(low) for _, low, _ in leaves(data, lo, hi, "t")) == depth + 1
        else:
            with pytest.raises(Refusal) as no:
                list(leaves(data, lo, hi, "t"))
            assert no.value.code is Code.TOO_LARGE


def test_no_batch_is_larger_than_asked():
    data = bytes([0] * 9 + [LEAF] * 10)
    sizes = [len(low) for _, low, _ in leaves(data, np.zeros(1), np.ones(1), "t", batch=4)]
    assert sizes == [4, 4, 2]


def test_a_shell_counts_its_leaves_and_names_its_worst_bound_and_first_bad_box():
    made, d, i = stage(inner=((stage().function, Fraction(1, 60)),)), LEAF + DECREASE, LEAF + INNER
    count, worst = check_shell(made, Goal("attraction"), bytes([0, 0, d, 0, d, 0, d, i, 0, 0, 0, i, d, d, d]), "t")
    ends = [(-1.0, -0.5), (-0.5, -0.25), (-0.25, -0.125)]
    bounds = [made.evaluate(np.array([[a]]), np.array([[b]])).decrease[0] for a, b in ends]
    assert count == 8 and worst == max(bounds) > min(bounds)
    with pytest.raises(Refusal) as no:
        check_shell(made, Goal("attraction"), bytes([0, LEAF + DECREASE, 0, LEAF + DECREASE, LEAF + DECREASE]), "t")
    assert "[-1, 0]" in no.value.message


def test_a_cover_counts_its_leaves():
    made = stage(level="3/10")
    data = bytes([0, 0, LEAF + NOTHING, LEAF + INSIDE, 0, LEAF + INSIDE, LEAF + NOTHING])
    count, volume = check_cover(made, data, made.lo, made.hi, "t", Code.LEAF_NOT_INSIDE, lambda lo, _: np.ones(len(lo), dtype=bool))
    assert count == 4 and volume == pytest.approx(1.0)


@pytest.mark.threat("T13")
def test_a_boundary_is_shown_leaf_by_leaf():
    made, data = stage(level="1/2"), bytes([0, LEAF + NOTHING, LEAF + NOTHING])
    assert check_boundary(made, data, "t") == 2
    for other, code in ((stage(level="4"), Code.CONTAINMENT), (replace(made, level=Fraction(1)), Code.CONTAINMENT)):
        with pytest.raises(Refusal) as no:
            check_boundary(other, data, "t")
        assert no.value.code is code
    with pytest.raises(Refusal) as no:
        check_boundary(made, bytes([0, LEAF + NOTHING, LEAF + INSIDE]), "t")
    assert no.value.code is Code.MALFORMED_CERTIFICATE


def test_numbers_at_the_edge_of_what_is_read():
    assert parse("1" * 400, "x") == int("1" * 400)
    for text in ("1" * 401, "", "+1", "1.", ".5", "1/0"):
        with pytest.raises(Refusal):
            parse(text, "x")
    for rows in (None, "11", [["1", "0"]], [["1", "0"], ["0", "1"], ["0", "0"]], {"0": ["1", "0"], "1": ["0", "1"]}):
        with pytest.raises(Refusal) as no:
            parse_matrix(rows, "m", 2)
        assert no.value.code is Code.BAD_SHAPE
    with pytest.raises(Refusal):
        sqrt_up(Fraction(-1))
    assert sqrt_up(Fraction(0)) == 0 and sqrt_up(Fraction(2)) ** 2 >= 2
    for q in (Fraction(1, 3), Fraction(-1, 3), Fraction(0), Fraction(1, 4), Fraction(1, 10**400), Fraction(-1, 10**400), Fraction(10**400)):
        assert (down(q) == -math.inf or Fraction(down(q)) <= q) and (up(q) == math.inf or q <= Fraction(up(q)))
        assert down(q) <= up(q)
