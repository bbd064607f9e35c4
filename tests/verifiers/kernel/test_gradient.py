"""Gradients in the kernel: exact where polynomial, refused where there are kinks; and leaves that are bounded by Taylor models."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.gradient import SLOPES, differentiate
from verifiers.kernel.graph import NONSMOOTH, UNARY, Affine, Builder, Graph, affine_from_rational
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.properties import Goal, check_shell
from verifiers.kernel.smooth import fourth_derivative, smooth_derivatives, third_derivative
from verifiers.kernel.stage import Function, Stage, quadratic
from verifiers.kernel.taylor import taylor_models
from verifiers.kernel.tree import DECREASE, INNER, LEAF, OUTSIDE, TAYLOR, leaves

F = Fraction
POINTS = [(F(1, 3), F(-2, 7)), (F(-5, 4), F(1, 9)), (F(3), F(2))]


def value_and_slope(graph: Graph) -> Graph:
    b, _, value, slopes = differentiate(graph)
    return b.build([b.concat([value, *slopes])])


def exact(graph: Graph, x: tuple[Fraction, ...]) -> list[Fraction]:
    return list(evaluate_exact(graph, list(x)))


# negative


def test_a_vector_has_no_gradient():
    b = Builder()
    with pytest.raises(Refusal) as no:
        differentiate(b.build([b.input(2)]))
    assert no.value.code is Code.BAD_SHAPE


@pytest.mark.parametrize("op", sorted(NONSMOOTH))
def test_a_kink_has_no_gradient(op):
    b = Builder()
    x = b.input(1)
    y = b.unary(op, x, F(1, 2) if op == "leaky_relu" else None) if op in UNARY else b.binary(op, x, b.const([F(0)]))
    with pytest.raises(Refusal) as no:
        differentiate(b.build([y]))
    assert no.value.code is Code.UNSUPPORTED


@pytest.mark.threat("T12")
@pytest.mark.parametrize("kind", [3, 4, 5, 7])
def test_a_leaf_of_another_kind_has_no_meaning_by_taylor_models(kind):
    with pytest.raises(Refusal) as no:
        check_shell(bowl(), Goal("attraction"), bytes([LEAF + TAYLOR + kind]), "t")
    assert no.value.code is Code.MALFORMED_CERTIFICATE


def test_there_are_no_models_of_a_decrease_in_discrete_time_nor_of_one_with_kinks():
    b = Builder()
    cone = Function(b.build([b.unary("abs", b.input(1))]))
    for other in (replace(bowl(), time="discrete"), replace(bowl(), function=cone)):
        with pytest.raises(Refusal) as no:
            check_shell(other, Goal("attraction"), bytes([LEAF + TAYLOR + DECREASE]), "t")
        assert no.value.code is Code.UNSUPPORTED


@pytest.mark.threat("T08")
@pytest.mark.parametrize("method", [0, TAYLOR])
@pytest.mark.parametrize(("field", "rate", "code"), [(1.0, 0, Code.DECREASE), (0.0, 0, Code.DECREASE), (-1.0, 2, Code.RATE), (-1.0, 3, Code.RATE)])
def test_a_value_that_does_not_fall_is_refused(method, field, rate, code):
    """On [1/2, 1] V = x^2 falls at the rate 2 along x' = -x, no faster, and not at all along x' = x and x' = 0."""
    made = replace(bowl(field), rate=F(rate), lo=np.array([0.5]), contained=True)
    with pytest.raises(Refusal) as no:
        check_shell(made, Goal("attraction"), bytes([LEAF + method + DECREASE]), "t")
    assert no.value.code is code


@pytest.mark.parametrize("method", [0, TAYLOR])
def test_a_leaf_is_shown_in_the_way_that_it_names(method):
    """Only the value that a method gives may count: each of these fails by its own."""
    for kind, code in ((OUTSIDE, Code.LEAF_NOT_OUTSIDE), (INNER, Code.LEAF_NOT_INSIDE)):
        with pytest.raises(Refusal) as no:
            check_shell(bowl(), Goal("attraction"), bytes([LEAF + method + kind]), "t")
        assert no.value.code is code


# positive


def bowl(slope: float = -1.0) -> Stage:
    """``V = x^2`` along ``x' = slope x`` on [-1, 1], level 1/4."""
    b, ends = Builder(), np.ones(1)
    field = b.build([b.affine(b.input(1), Affine(np.array([[slope]]), np.zeros(1)))])
    return Stage(field, "continuous", quadratic([[F(1)]], [F(0)]), F(1, 4), -ends, ends, -ends, ends)


def polynomials() -> Graph:
    """Each operator with a rational value: repeated and unused entries, inexact weights, constants, powers 0 to 3."""
    b = Builder()
    x = b.input(2)
    y = b.affine(x, affine_from_rational([[F(1, 3), F(2)], [F(-1), F(1, 7)], [F(0), F(5)]], [F(1, 9), F(0), F(-2)]))
    z = b.binary("mul", b.take(y, (0, 0, 1)), b.unary("neg", b.take(x, (1, 0, 1))))
    q = b.binary("div", z, b.binary("add", b.unary("pow", y, 2), b.const([F(1), F(2), F(3)])))
    r = b.concat([b.binary("sub", q, y), b.unary("pow", x, 3), b.unary("pow", x, 1), b.unary("pow", x, 0)])
    return b.build([b.affine(r, affine_from_rational([[F(k - 4, 5) for k in range(9)]], [F(1)]))])


def difference(graph: Graph, x: tuple[Fraction, ...], i: int) -> Fraction:
    step = F(1, 10**40)
    ahead, back = ([v + s * step * (k == i) for k, v in enumerate(x)] for s in (1, -1))
    return (exact(graph, tuple(ahead))[0] - exact(graph, tuple(back))[0]) / (2 * step)


@pytest.mark.parametrize("x", POINTS)
def test_the_gradient_of_rational_functions_is_exact(x):
    graph = polynomials()
    value, *slope = exact(value_and_slope(graph), x)
    assert value == exact(graph, x)[0]
    assert all(abs(s - difference(graph, x, i)) < F(1, 10**70) for i, s in enumerate(slope))


@pytest.mark.parametrize("op", sorted(SLOPES))
def test_each_slope_agrees_with_that_of_the_jets(op):
    """The jets enclose derivatives of their own making: on small boxes both enclosures must meet."""
    b = Builder()
    graph = b.build([b.unary(op, b.affine(b.input(1), Affine(np.array([[3.0]]), np.array([0.5]))))])
    lo = np.linspace(0.1, 2.0, 20)[:, None]
    centre, radius = split_boxes(lo, lo + 1e-9)
    reading = JetReading(radius, 1)
    jet = read_jets(graph, reading, reading.start(centre))
    own = read_jets(value_and_slope(graph), reading, reading.start(centre))
    for at, entry in ((1, 0), (2, 1)):
        mid, rad = own.mid[1, :, entry], own.rad[1, :, entry]
        assert (np.abs(mid - jet.mid[at, :, 0]) <= rad + jet.rad[at, :, 0]).all() and (rad < 1e-6 * (1 + np.abs(mid))).all()


def test_models_of_the_decrease_enclose_it():
    """``V``, ``V' + rate V`` at rational points of random boxes lie within the bounds, whose widths are small."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input(2)
    turned = b.affine(x, affine_from_rational([[F(-1), F(1, 3)], [F(-2, 3), F(-1)]], [F(0), F(0)]))
    field = b.build([b.binary("sub", turned, b.unary("pow", x, 3))])
    made = Stage(field, "continuous", Function(polynomials()), F(1), *(np.full(2, s) for s in (-2.0, 2.0, -2.0, 2.0)), rate=F(1, 3), taylor=True)
    lo = rng.uniform(-1.5, 1.5, (200, 2))
    hi = lo + 10.0 ** rng.uniform(-6, -1, (200, 2))
    found, jets = made.evaluate(lo, hi), replace(made, taylor=False).evaluate(lo, hi)
    for k in range(200):
        for point in (lo[k], hi[k], rng.uniform(lo[k], hi[k])):
            at = tuple(F(float(v)) for v in point)
            value, *slope = exact(value_and_slope(polynomials()), at)
            falls = sum(s * f for s, f in zip(slope, exact(field, at), strict=True)) + value / 3
            assert F(found.v_lo[k]) <= value <= F(found.v_hi[k])
            assert F(found.least[k]) <= falls <= F(found.decrease[k])
    width = [e.decrease - e.least for e in (found, jets)]
    assert np.median(width[0] / width[1]) < 1.0


def test_a_tree_may_mix_its_methods():
    d = LEAF + DECREASE
    made = replace(bowl(), inner=((quadratic([[F(1)]], [F(0)]), F(1, 60)),))
    data = bytes([0, 0, d + TAYLOR, 0, d, 0, d + TAYLOR, LEAF + TAYLOR + INNER, 0, 0, 0, LEAF + INNER, d, d + TAYLOR, LEAF + TAYLOR + DECREASE])
    assert check_shell(made, Goal("attraction"), data, "t")[0] == 8
    tags = [tag for tag, _, _ in leaves(data, made.lo, made.hi, "t")]
    assert sorted(tags) == [DECREASE, INNER, TAYLOR + DECREASE, TAYLOR + INNER]
    outside = replace(bowl(), lo=np.array([0.6]))
    assert check_shell(outside, Goal("attraction"), bytes([LEAF + TAYLOR + OUTSIDE]), "t") == (1, -np.inf)


THIRD = {"tanh": lambda x: -2 * mpmath.sech(x) ** 2 * (1 - 3 * mpmath.tanh(x) ** 2), "sin": lambda x: -mpmath.cos(x), "cos": mpmath.sin,
         "sigmoid": lambda x: sigmoid(x) * (1 - sigmoid(x)) * (1 - 6 * sigmoid(x) * (1 - sigmoid(x))), "exp": mpmath.exp}


def sigmoid(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-x))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", sorted(THIRD))
def test_third_derivatives_are_enclosed(op):
    rng = np.random.default_rng(1)
    turning = {"tanh": [0.0, 0.6584789484624084, 1.1462158347805889], "sigmoid": [0.0, 1.3169578969248168]}.get(op, [0.0])
    lo = np.concatenate([rng.uniform(-4, 4, 300), np.tile(turning, 20)])
    hi = lo + 10.0 ** rng.uniform(-16, 1, lo.size)
    low, high = third_derivative(op, smooth_derivatives(op, lo, hi)[1])
    with mpmath.workdps(40):
        for k, point in ((i, p) for i in range(lo.size) for p in (lo[i], hi[i], rng.uniform(lo[i], hi[i]), *turning)):
            if lo[k] <= point <= hi[k]:
                assert low[k] <= THIRD[op](mpmath.mpf(float(point))) <= high[k]
    assert third_derivative("sqrt", (lo, hi)) is None


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("op", "a"), [("tanh", 4), ("sigmoid", 1)])
def test_third_derivatives_cover_their_roundings(op, a):
    """Exactly, over single float64 and over intervals with ends at, about and off the top."""
    rng = np.random.default_rng(2)
    ends = np.sort(np.concatenate([rng.uniform(0, 1, (400, 2)), a / 12 * (1 + 2.0**-52 * rng.integers(-4, 5, (400, 2)))]), axis=1)
    for lo, hi in ((ends[:, 0], ends[:, 0]), (ends[:, 0], ends[:, 1])):
        low, high = third_derivative(op, (lo, hi))
        for k in range(lo.size):
            d, e, top = F(lo[k]), F(hi[k]), F(a, 12)
            values = [a * v - 6 * v * v for v in (d, e, *([top] if d <= top <= e else []))]
            assert F(low[k]) <= min(values) and max(values) <= F(high[k])
            assert F(high[k]) - max(values) < F(2, 10**14) and min(values) - F(low[k]) < F(2, 10**14)


FOURTH = {"tanh": lambda x: 8 * mpmath.tanh(x) * mpmath.sech(x) ** 2 * (3 * mpmath.sech(x) ** 2 - 1), "sin": mpmath.sin, "cos": mpmath.cos,
          "sigmoid": lambda x: (1 - 2 * sigmoid(x)) * sigmoid(x) * sigmoid(-x) * (1 - 12 * sigmoid(x) * sigmoid(-x)), "exp": mpmath.exp}


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", sorted(FOURTH))
def test_fourth_derivatives_are_enclosed(op):
    rng = np.random.default_rng(1)
    lo = rng.uniform(-4, 4, 300)
    hi = lo + 10.0 ** rng.uniform(-16, 1, lo.size)
    value, first, _ = smooth_derivatives(op, lo, hi)
    low, high = fourth_derivative(op, value, first)
    with mpmath.workdps(40):
        for k, share in ((i, s) for i in range(lo.size) for s in (0.0, 1.0, rng.uniform())):
            x = mpmath.mpf(float(lo[k])) * (1 - mpmath.mpf(share)) + mpmath.mpf(float(hi[k])) * mpmath.mpf(share)
            assert low[k] <= FOURTH[op](x) <= high[k]
            assert abs(FOURTH[op](x) - mpmath.diff(THIRD[op], x)) < 1e-9  # the formulas above are those of the same function
    assert ((high - low)[hi - lo < 1e-3] < 0.05 * np.exp(4.0)).all() and fourth_derivative("sqrt", value, first) is None


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", ["tanh", "sigmoid"])
def test_fourth_derivatives_cover_their_roundings(op):
    """Exactly, for all corners of the intervals of value and first derivative, whether these belong together or not."""
    rng, sign = np.random.default_rng(3), -1.0 if op == "tanh" else 0.0
    y = np.sort(np.concatenate([rng.uniform(sign, 1, (300, 2)), np.repeat(rng.uniform(sign, 1, (300, 1)), 2, axis=1)]), axis=1)
    d = np.sort(np.concatenate([np.repeat(rng.uniform(0, 1, (300, 1)), 2, axis=1), rng.uniform(0, 1, (300, 2))]), axis=1)
    d[::7] = np.array([[F(1, 3)], [F(1, 12)]], dtype=float)[int(op == "sigmoid")] * (1 + 2.0**-52 * rng.integers(-2, 3, d[::7].shape))
    d.sort(axis=1)
    low, high = fourth_derivative(op, (y[:, 0], y[:, 1]), (d[:, 0], d[:, 1]))
    for k in range(len(y)):
        bends = [8 * F(v) if op == "tanh" else 1 - 2 * F(v) for v in y[k]]
        turns = [3 * F(v) - 1 if op == "tanh" else 1 - 12 * F(v) for v in d[k]]
        values = [b * F(v) * t for b in bends for v in d[k] for t in turns]
        assert F(low[k]) <= min(values) and max(values) <= F(high[k])
        assert F(high[k]) - max(values) < F(1, 10**13) and min(values) - F(low[k]) < F(1, 10**13)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", sorted(THIRD))
@pytest.mark.parametrize("half", [1e-3, 0.05, 0.3, 0.7, 3.0])
def test_a_model_misses_no_more_than_its_error_and_little_on_small_boxes(op, half):
    b = Builder()
    graph = b.build([b.unary(op, b.input(1))])
    lo = np.linspace(-3.0, 2.0, 26)[:, None]
    reading, model = taylor_models(graph, lo, lo + 2 * half)
    centre, radius = reading.centre[:, 0], reading.radius[:, 0]
    function = {"sigmoid": sigmoid}.get(op, getattr(mpmath, op, None))
    with mpmath.workdps(40):
        for k in range(26):
            for share in (-1.0, -0.9, -0.5, -0.1, 0.0, 0.3, 0.5, 0.8, 1.0):
                p0, p1, q = (mpmath.mpf(float(v)) for v in (model.p[0, k, 0], model.p[1, k, 0], model.q[0, k, 0] if len(model.q) else 0.0))
                truth = function(mpmath.mpf(float(centre[k])) + mpmath.mpf(float(radius[k])) * share)
                assert abs(truth - p0 - p1 * share - q * share**2) <= model.e[k, 0]
    if half == 1e-3:  # a twenty-fourth of the third derivative, and of the fourth a little
        assert (model.e[:, 0] <= [float(abs(THIRD[op](c)) / 24 + 2 * half) * half**3 + 1e-14 for c in centre]).all()
    if half <= 0.05 and op != "exp":  # of the fourth an eighth of a twenty-fourth, and of the fifth, at most 16, a little
        most = [float(abs(THIRD[op](c)) / 24 + abs(FOURTH[op](c)) / 192 * half + 2 * half**2) * half**3 + 1e-14 for c in centre]
        assert (model.e[:, 0] <= most).all()
