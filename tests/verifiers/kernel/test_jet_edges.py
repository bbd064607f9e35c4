"""Jets at the edge of a kink, a maximum and a jump: where an interval only touches it, both sides count; where it does not, one is enough."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifiers.kernel.graph import Builder, Node
from verifiers.kernel.jets import Jet, JetReading, read_jets, split_boxes

SLOPES = {"relu": (0.0, 1.0), "abs": (-1.0, 1.0), "leaky_relu": (0.25, 1.0)}


def reading(order: int, boxes: int = 1) -> JetReading:
    return JetReading(np.ones((1, boxes, 1)), order)


def jet(at: JetReading, lo: float, hi: float, slope: float = 1.0) -> Jet:
    """One box on which the value is exactly [lo, hi] and the slope one number."""
    mid, rad = np.zeros((at.count, 1, 1)), np.zeros((at.count, 1, 1))
    mid[0] = mid[at.v] = (lo + hi) / 2
    rad[at.v] = (hi - lo) / 2
    mid[at.v + 1] = slope
    if at.order == 2:
        mid[1] = slope
    return Jet(mid, rad)


def ends(found: Jet, component: int) -> tuple[float, float]:
    mid, rad = float(found.mid[component, 0, 0]), float(found.rad[component, 0, 0])
    return mid - rad, mid + rad


def about(found: tuple[float, float], lo: float, hi: float) -> None:
    """The interval holds [lo, hi], and hardly more."""
    assert found[0] <= lo <= hi <= found[1] and found == pytest.approx((lo, hi), abs=1e-12)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", SLOPES)
@pytest.mark.parametrize(("lo", "hi"), [(0.0, 2.0), (-2.0, 0.0), (-1.0, 2.0), (1.0, 2.0), (-2.0, -1.0)])
def test_a_kink_that_is_touched_has_both_slopes(op, lo, hi):
    left, right = SLOPES[op]
    node = Node(op, (0,), 1, Fraction(1, 4) if op == "leaky_relu" else None)
    values = [v * (right if v > 0 else left) for v in (lo, hi)] + ([0.0] if lo <= 0 <= hi else [])
    slopes = [s for s, there in ((left, lo <= 0), (right, hi >= 0)) if there]
    for order in (1, 2):
        at = reading(order)
        found = at.unary(node, jet(at, lo, hi))
        about(ends(found, at.v), min(values), max(values))
        about(ends(found, at.v + 1), min(slopes), max(slopes))
        if order == 2:  # second derivatives and the centre's slope are known only where the kink is not met
            assert bool(np.isfinite(found.rad[at.position[0, 0]])) == bool(np.isfinite(found.rad[1])) == (lo > 0 or hi < 0)


@pytest.mark.threat("T09")
def test_a_slope_that_is_no_float_is_enclosed_from_both_sides():
    third = Fraction(1, 3)
    for lo, hi in ((-2.0, 1.0), (-2.0, -1.0), (1.0, 2.0)):
        at = reading(1)
        found = at.unary(Node("leaky_relu", (0,), 1, third), jet(at, lo, hi))
        values = [Fraction(v) * (third if v < 0 else 1) for v in (lo, hi)]
        low, high = (Fraction(float(q)) for q in ends(found, at.v))
        assert low <= min(values) and max(values) <= high and high - low <= max(values) - min(values) + Fraction(1, 10**12)
        low, high = (Fraction(float(q)) for q in ends(found, at.v + 1))
        assert low <= (third if lo < 0 else 1) and (1 if hi > 0 else third) <= high


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("low", [0.0, 1.0, 1.5])
def test_two_values_that_touch_give_both_slopes(op, swapped, low):
    """[low, 2] beside [0, 1], of slopes 5 and 7."""
    for order in (1, 2):
        at = reading(order)
        wide, narrow = jet(at, low, 2.0, 5.0), jet(at, 0.0, 1.0, 7.0)
        found = at.binary(Node(op, (0, 1), 1), *((narrow, wide) if swapped else (wide, narrow)))
        about(ends(found, at.v), *((max(low, 0.0), 2.0) if op == "max" else (0.0, 1.0)))
        apart = low > 1
        about(ends(found, at.v + 1), *((5.0, 7.0) if not apart else (5.0, 5.0) if op == "max" else (7.0, 7.0)))
        if order == 2:
            assert bool(np.isfinite(found.rad[at.position[0, 0]])) == bool(np.isfinite(found.rad[1])) == apart


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("lo", "hi", "sides"), [(0.0, 1.0, "ab"), (-1.0, 0.0, "ab"), (-1.0, 1.0, "ab"), (0.5, 1.0, "a"), (-1.0, -0.5, "b")])
def test_a_comparison_that_is_touched_takes_both_values_and_no_slope(lo, hi, sides):
    at = reading(1)
    found = at.where(Node("where", (0, 1, 2), 1), jet(at, lo, hi), jet(at, 1.0, 2.0, 5.0), jet(at, 7.0, 9.0, 7.0))
    about(ends(found, at.v), 1.0 if "a" in sides else 7.0, 9.0 if "b" in sides else 2.0)
    slope = {"a": 5.0, "b": 7.0}.get(sides)
    assert ends(found, at.v + 1) == ((slope, slope) if slope else pytest.approx((-np.inf, np.inf)))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", ["max", "min"])
def test_which_of_two_values_is_larger_may_differ_from_box_to_box(op):
    at = reading(1, 3)
    left, right = (Jet(*(np.concatenate([getattr(jet(at, *e, slope), name) for e in boxes], axis=1) for name in ("mid", "rad")))
                   for slope, boxes in ((5.0, [(0.0, 1.0), (2.0, 3.0), (0.0, 3.0)]), (7.0, [(2.0, 3.0), (0.0, 1.0), (1.0, 2.0)])))
    found = at.binary(Node(op, (0, 1), 1), left, right)
    first = {"max": [7.0, 5.0], "min": [5.0, 7.0]}[op]
    assert found.mid[2, :2, 0].tolist() == first and (found.rad[2, :2, 0] == 0).all() and found.rad[2, 2, 0] >= 1.0


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("boxes", [1, 3])
def test_values_are_cut_by_their_mean_value_forms(order, boxes):
    """x (1 - x) about 1/2: products of intervals give a width of the radius, the mean-value form one of its square."""
    def graph() -> Any:
        b = Builder()
        x = b.input(1)
        return b.build([b.binary("mul", x, b.binary("sub", b.const([Fraction(1)]), x))])

    centre = np.full((boxes, 1), 0.5)
    middle, radius = split_boxes(centre - 1e-3, centre + 1e-3)
    at = JetReading(radius, order)
    found = read_jets(graph(), at, at.start(middle))
    low, high = at.bounds(found)
    assert (low <= 0.25 - 1e-6).all() and (high >= 0.25).all() and (high - low < 1e-5).all()
    assert (np.abs(found.mid[at.v + 1]) + found.rad[at.v + 1] <= 2.01e-3).all()
