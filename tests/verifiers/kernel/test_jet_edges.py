"""Jets at the edge of a kink, a maximum and a jump: where an interval only touches it, both sides count; where it does not, one is enough."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Affine, Builder, Graph, Node
from verifiers.kernel.jets import Jet, JetReading, inner_product, plus, read_jets, split_boxes

F = Fraction
LEAST = Fraction(1, 2**1074)
"""The smallest positive float64."""
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


def reaches(found: Jet, component: int, entry: int, *values: Fraction) -> bool:
    """Whether the exact values lie in the interval."""
    mid, rad = float(found.mid[component, 0, entry]), float(found.rad[component, 0, entry])
    return rad == np.inf or all(abs(v - F(mid)) <= F(rad) for v in values)


def one_input(add: Any) -> Graph:
    """The graph of what ``add(builder, x)`` says, x a number."""
    b = Builder()
    return b.build([add(b, b.input(1))])


def at_point(graph: Graph, x: float, order: int = 1) -> tuple[JetReading, Jet]:
    middle, radius = split_boxes(np.array([[x]]), np.array([[x]]))
    reading_ = JetReading(radius, order)
    with np.errstate(all="ignore"):
        return reading_, read_jets(graph, reading_, reading_.start(middle))


@pytest.mark.threat("T09")
def test_sums_and_products_of_radii_alone_are_rounded_up():
    """Nothing but the radius, and its sum or product is no float64: half of all pairs are rounded down."""
    rng = np.random.default_rng(0)
    r, s = rng.uniform(1, 2, (2, 300)) * np.stack([np.ones(300), 2.0 ** -rng.integers(0, 60, 300)])
    zero = np.zeros(300)
    at = JetReading(np.zeros((0, 1, 1)), 1)
    one, two = (Jet(*(np.stack([v, v])[:, None] for v in (zero, w))) for w in (r, s))
    added, product = plus(one, two), at.product(one, two)
    for k, (a, b) in enumerate(zip(r.tolist(), s.tolist(), strict=True)):
        assert reaches(added, 0, k, F(a) + F(b)) and reaches(product, 0, k, F(a) * F(b)) and reaches(product, 1, k, -F(a) * F(b))


@pytest.mark.threat("T09")
def test_what_is_below_every_float_is_not_taken_for_zero():
    """Middles, products and slopes that underflow; the exact value is positive."""
    at = JetReading(np.zeros((0, 1, 1)), 1)
    const = at.const(Node("const", (), 1, ((F(0), LEAST),)))
    assert reaches(const, at.v, 0, F(0), LEAST)
    small = Jet(np.zeros((2, 1, 1)), np.full((2, 1, 1), 1e-200))
    assert reaches(at.product(small, small), at.v, 0, F(1e-200) ** 2, -F(1e-200) ** 2)
    weight = Affine(np.array([[1e-200]]), np.zeros(1))
    graph = one_input(lambda b, x: b.affine(b.affine(x, weight), weight))
    for order in (1, 2):
        reading_, found = at_point(graph, 1.0, order)
        assert reaches(found, reading_.v, 0, F(1e-200) ** 2) and reaches(found, reading_.v + 1, 0, F(1e-200) ** 2)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("beyond", [F(10) ** 400, -F(10) ** 400])
def test_a_constant_beyond_every_float_has_no_finite_bound(beyond):
    at = reading(1)
    with np.errstate(all="ignore"):
        found = at.const(Node("const", (), 1, (tuple(sorted((F(0), beyond))),)))
    assert reaches(found, 0, 0, F(0), beyond) and reaches(found, at.v, 0, F(0), beyond)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("minus", [False, True])
def test_what_a_long_sum_loses_is_in_its_radius(minus):
    """1 and 4095 numbers just below 2^-53, of which sums one by one lose each; with -1 at the end nothing large is left to be relative to."""
    x = np.full(4096, 0.99 * 2.0**-53)
    x[0] = 1.0
    if minus:
        x[-1] = -1.0
    exact = sum(map(F, x.tolist()), F(0))
    graph = one_input(lambda b, t: b.affine(b.affine(t, Affine(x[:, None], np.zeros(len(x)))), Affine(np.ones((1, len(x))), np.zeros(1))))
    assert evaluate_exact(graph, [F(1)]) == (exact,)
    for order in (1, 2):
        reading_, found = at_point(graph, 1.0, order)
        assert reaches(found, 0, 0, exact) and reaches(found, reading_.v, 0, exact) and reaches(found, reading_.v + 1, 0, exact)

    class OneByOne(JetReading):
        """Numbers stand in memory such that NumPy adds them one by one, as it may: its order of summation is not promised."""

        def product(self, a: Jet, b: Jet, middle: bool = False) -> Jet:
            found = super().product(a, b, middle)
            return Jet(np.asfortranarray(found.mid), np.asfortranarray(found.rad))

    at = OneByOne(np.full((1, 2, 1), 1e-3), 1)
    a = np.zeros((3, 2, len(x)))
    a[:2] = x
    b = np.zeros_like(a)
    b[:2] = 1.0
    found = inner_product(at, Jet(a, 0 * a), Jet(b, 0 * b))
    assert (found.mid[:2] != float(exact)).all() and reaches(found, 0, 0, exact) and reaches(found, 1, 0, exact)
    assert found.rad[1].max() < 1e-10
    wide = inner_product(at, Jet(0 * a, np.abs(a)), Jet(0 * b, b))
    assert reaches(wide, 1, 0, sum((abs(F(v)) for v in x.tolist()), F(0)))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_coefficients_known_to_an_interval_are_all_meant(sign):
    """0.33 -+ 0.01 for 1/3 and 0.14 -+ 0.01 for 1/7: the radii say how far the exact ones may be, and they may be far."""
    data = Affine(np.array([[0.33]]), np.array([0.14]), np.array([[0.01]]), np.array([0.01]), (((F(1, 3),),), (F(1, 7),)))
    graph = one_input(lambda b, x: b.affine(x, data))
    for order in (1, 2):
        reading_, found = at_point(graph, sign, order)
        values = [F(0.33 + s * 0.00999) * F(sign) + F(0.14 + t * 0.00999) for s in (-1, 1) for t in (-1, 1)]
        assert reaches(found, reading_.v, 0, *values)
        assert reaches(found, reading_.v + 1, 0, F(1, 3), F(0.3201), F(0.3399)) and found.rad[reading_.v + 1, 0, 0] < 0.011
    tiny = Affine(np.array([[0.0]]), np.zeros(1), np.array([[float(LEAST)]]), np.zeros(1), (((LEAST / 3,),), (F(0),)))
    reading_, found = at_point(one_input(lambda b, x: b.affine(x, tiny)), sign * 1e300)
    assert reaches(found, reading_.v, 0, LEAST / 3 * F(sign * 1e300))


@pytest.mark.threat("T08")
def test_a_slope_that_is_not_finite_is_not_known():
    """1e160 squared is infinite, and its rounding, 1e-14 of it, would be finite."""
    huge = Affine(np.array([[1e160]]), np.zeros(1))
    graph = one_input(lambda b, x: b.affine(b.affine(x, huge), huge))
    for order in (1, 2):
        reading_, found = at_point(graph, 1e-200, order)
        assert np.isinf(found.mid[reading_.v + 1]).all() and not np.isfinite(found.rad[~np.isfinite(found.mid)]).any()
        assert np.isfinite(found.rad[reading_.v]).all()
    fine = at_point(one_input(lambda b, x: b.affine(x, huge)), 1.0)[1]
    assert np.isfinite(fine.rad).all()


@pytest.mark.parametrize("order", [1, 2])
def test_a_constant_is_repeated_beside_what_has_more_boxes(order):
    graph = one_input(lambda b, x: b.concat([b.const([F(1, 2)]), x, b.const([(F(0), F(1))])]))
    centre = np.array([[1.0], [2.0], [3.0]])
    at = JetReading(np.full((1, 3, 1), 0.5), order)
    low, high = at.bounds(read_jets(graph, at, at.start(centre)))
    np.testing.assert_allclose(low, [[0.5, c - 0.5, 0.0] for c in (1, 2, 3)], atol=1e-12)
    np.testing.assert_allclose(high, [[0.5, c + 0.5, 1.0] for c in (1, 2, 3)], atol=1e-12)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("slope", [LEAST / 3, LEAST * 4 / 3, LEAST * 5 / 3])
def test_a_slope_between_two_subnormal_numbers_has_both_for_its_ends(slope):
    """Where a step between two float64 is as large as the number itself, no relative slack covers the rounding."""
    at = reading(1)
    for lo, hi in ((-1e307, -1e307), (-1e307, -5e306), (-1e307, 5e306)):
        found = at.unary(Node("leaky_relu", (0,), 1, slope), jet(at, lo, hi))
        assert reaches(found, at.v, 0, slope * F(lo), slope * F(hi) if hi < 0 else F(hi))
        assert reaches(found, at.v + 1, 0, slope, *([F(1)] if hi > 0 else []))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("middle", [0.0, 1.0])
def test_second_derivatives_of_a_function_of_a_sum_have_the_width_of_its_curvature(middle):
    """s^3 with s = x/4 + y/2 over a box: 3/8 s, 3/4 s and 3/2 s."""
    b = Builder()
    graph = b.build([b.unary("pow", b.affine(b.input(2), Affine(np.array([[0.25, 0.5]]), np.zeros(1))), 3)])
    centre, radius = split_boxes(np.array([[middle - 1, -1.0]]), np.array([[middle + 1, 1.0]]))
    at = JetReading(radius, 2)
    found = read_jets(graph, at, at.start(centre))
    for (i, j), factor in {(0, 0): 0.375, (0, 1): 0.75, (1, 1): 1.5}.items():
        about(ends(found, at.position[i, j]), factor * (middle / 4 - 0.75), factor * (middle / 4 + 0.75))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("order", [1, 2])
def test_a_mean_value_form_is_rounded_up(order):
    """Slopes and second derivatives of both signs: the form's radius is the centre's and theirs times that of the box, a sum that is no float64."""
    rng, boxes, n = np.random.default_rng(order), 200, 2
    at = JetReading(rng.uniform(1, 2, (n, boxes, 1)), order)
    mid, rad = np.zeros((at.count, boxes, 1)), rng.uniform(1, 2, (at.count, boxes, 1))
    given = rad.copy()
    given[at.v], given[at.v + 1:at.v + 1 + n] = 100.0, 100.0 if order == 2 else given[at.v + 1:at.v + 1 + n]
    found = at.tighten(Jet(mid, given.copy()))
    r = [[F(v) for v in row] for row in at.radius[:, :, 0].tolist()]
    for k in range(boxes):
        for i in range(n if order == 2 else 0):
            spread = F(rad[1 + i, k, 0]) + sum((F(rad[at.position[i, j], k, 0]) * r[j][k] for j in range(n)), F(0))
            assert spread <= F(found.rad[at.v + 1 + i, k, 0]) < spread * (1 + F(1, 10**13))
        slopes = found.rad[at.v + 1:at.v + 1 + n, k, 0].tolist()
        spread = F(rad[0, k, 0]) + sum((F(s) * r[i][k] for i, s in enumerate(slopes)), F(0))
        assert spread <= F(found.rad[at.v, k, 0]) < spread * (1 + F(1, 10**13))
