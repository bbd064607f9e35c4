"""Enclosures of elementary functions hold against ball arithmetic, refuse what is no interval, and are as thin as their docstrings say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel import elementary

flint = pytest.importorskip("flint")
arb = flint.arb

U = 2.0**-53
INF, NAN, TINY, LARGEST = math.inf, math.nan, 5e-324, float(np.finfo(np.float64).max)
pytestmark = pytest.mark.threat("T09")


@dataclass(frozen=True)
class Known:
    """What is known of a function: its ball arithmetic, trivial limits, the docstring's error E (in u) and step S, and its own hard arguments."""

    ball: Callable
    error: float
    step: float
    limits: tuple[float, ...] = ()
    positive: bool = False
    absolute: bool = False
    edges: np.ndarray = field(default_factory=lambda: np.zeros(1))


def multiples(unit: object, factors: np.ndarray) -> np.ndarray:
    """Doubles nearest to the multiples of an irrational number."""
    return np.array([float(unit * k) for k in factors.tolist()])


flint.ctx.prec = 160
GRID = (np.arange(-1300, 1300) + 0.5) / 64
QUARTERS = multiples(arb.pi() / 4, 2 * np.arange(-667_000, 667_000, 7))
CELLS = multiples(arb.pi() / 128, 2 * np.arange(-3000, 3000) + 1)
STEPS = multiples(arb(2).log() / 256, 2 * np.arange(-131_500, 131_500, 9) + 1)
RANGE = np.array([-746, -745.2, -745.1, -744.5, -709, -708.4, -708, -707.9, -37, 37, 709.7, 709.77, 709.78, 709.782712893384, 709.79, 710, 800])
BINADES = np.ldexp(0.7, np.arange(-1070, 1020, 3))
KNOWN = {
    "tanh": Known(arb.tanh, 6.1, 8, (-1, 1), edges=np.concatenate([GRID, [-20, 20, 19.06, -19.06]])),
    "sigmoid": Known(lambda t: (t / 2).tanh() / 2 + arb(0.5), 4.1, 8, (0, 1), absolute=True, edges=np.concatenate([2 * GRID, RANGE])),
    "softplus": Known(lambda t: t.max(0) + (-abs(t)).exp().log1p(), 9.2, 16, (0,), edges=np.concatenate([STEPS, RANGE, np.log(GRID[GRID > 0])])),
    "exp": Known(lambda t: t.min(10**6).exp(), 2.1, 4, (0, INF), edges=np.concatenate([STEPS, RANGE])),
    "log": Known(arb.log, 6.1, 8, positive=True, edges=np.concatenate([1 + GRID[np.abs(GRID) < 0.5], BINADES, 1 + np.ldexp(1.0, -np.arange(1, 53))])),
    "sqrt": Known(arb.sqrt, 1, 4, (0,), positive=True, edges=np.arange(1.0, 999) ** 2),
    "atan": Known(arb.atan, 10.6, 16, (-math.nextafter(math.pi / 2, 2), math.nextafter(math.pi / 2, 2)), edges=np.concatenate([GRID, 1 / GRID])),
    "sin": Known(arb.sin, 10, 16, (-1, 1), edges=np.concatenate([QUARTERS, CELLS, [2.0**20, -(2.0**20)]])),
    "cos": Known(arb.cos, 10, 16, (-1, 1), edges=np.concatenate([QUARTERS, CELLS, [2.0**20, -(2.0**20)]])),
}
NAMES = tuple(KNOWN)
Ends = tuple[np.ndarray, np.ndarray]


def enclose(name: str, lo: object, hi: object) -> Ends:
    return getattr(elementary, name)(np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64))


def arguments(name: str, n: int, seed: int) -> np.ndarray:
    """About n arguments: ordinary ones, every magnitude, subnormal numbers, and the function's edges with their neighbours."""
    rng = np.random.default_rng(seed)
    known, sign = KNOWN[name], rng.choice([-1.0, 1.0], n)
    edges = rng.choice(known.edges, n // 4)
    near = edges + rng.integers(-3, 4, len(edges)) * np.spacing(edges)
    every = sign[: n // 8] * rng.uniform(1, 2, n // 8) * np.ldexp(1.0, rng.integers(-1074, 1024, n // 8))
    usual = sign[: n // 8] * np.ldexp(rng.uniform(1, 2, n // 8), rng.integers(-40, 12, n // 8))
    binary = np.ldexp(1.0, rng.integers(-60, 20, n // 16)) * (1 + rng.integers(-2, 3, n // 16) * 2.0**-52)
    subnormal = sign[: n // 16] * rng.integers(0, 99, n // 16) * TINY
    bulk = rng.normal(size=n - sum(map(len, (near, every, usual, binary, subnormal)))) * rng.choice([0.02, 1, 10, 300], 1)
    x = np.concatenate([near, every, usual, binary, subnormal, bulk, [LARGEST, -LARGEST, TINY, 2.0**-1022, 0.0]])
    return np.abs(x)[x != 0] if known.positive else x


def escapes(name: str, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[list[float], float]:
    """Arguments whose value is not surely inside ``[low, high]``, and the worst error of the middle, as a share of the docstring's bound E + 2."""
    known, out, worst = KNOWN[name], [], 0.0
    for t, a, b in zip(x.tolist(), low.tolist(), high.tolist(), strict=True):
        cut_low = a in known.limits or (name == "softplus" and a == max(t, 0.0) and a >= 0)
        cut_high = b in known.limits
        if cut_low and cut_high:
            continue
        f = known.ball(arb(t))
        if not ((cut_low or arb(a) <= f) and (cut_high or f <= arb(b))):
            out.append(t)
        size = 1.0 if known.absolute else abs(float(f))
        if not (cut_low or cut_high) and 2.0**-960 < size < INF:
            reduction = abs(t) * 2.0**-105 if name in ("sin", "cos") else 0.0
            worst = max(worst, float(abs(arb(a + (b - a) / 2) - f)) / ((known.error + 2) * U * size + reduction))
    return out, worst


# negative

@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("lo", "hi"), [(NAN, 1.0), (1.0, NAN), (NAN, NAN), (2.0, 1.0), (INF, 1.0), (INF, -INF), (NAN, INF), (1e300, NAN),
                                        (1.0, np.nextafter(1.0, 0))])
def test_what_is_no_interval_has_no_enclosure(name, lo, hi):
    low, high = enclose(name, [0.5, lo, 0.5], [0.75, hi, 0.75])
    assert np.isnan([low[1], high[1]]).all()
    assert np.isfinite([low[0], high[0], low[2], high[2]]).all()


@pytest.mark.parametrize(("name", "lo", "hi"), [
    ("log", -1.0, 1.0), ("log", 0.0, 1.0), ("log", -0.0, 1.0), ("log", -TINY, 1.0), ("log", -2.0, -1.0), ("log", -INF, INF),
    ("sqrt", -1.0, 1.0), ("sqrt", -TINY, 1.0), ("sqrt", -2.0, -1.0), ("sqrt", -INF, 1.0)])
def test_outside_the_domain_there_is_no_enclosure(name, lo, hi):
    assert np.isnan(enclose(name, lo, hi)).all()


@pytest.mark.parametrize("name", [*NAMES, "tanh_derivatives", "sigmoid_derivatives"])
@pytest.mark.parametrize(("lo", "hi"), [
    (np.array([1]), np.array([1])), (np.array([1.0], dtype=np.float32), np.array([1.0], dtype=np.float32)), (np.array([1.0]), np.array([1.0, 2.0])),
    (np.array([1.0]), np.array(2.0)), (np.array(["1"]), np.array(["1"])), (np.array([1.0], dtype=np.longdouble), np.array([1.0]))])
def test_ends_that_would_be_rounded_or_stretched_are_refused(name, lo, hi):
    with pytest.raises(TypeError, match="float64 arrays of one shape"):
        getattr(elementary, name)(lo, hi)


@pytest.mark.parametrize("name", ["tanh_derivatives", "sigmoid_derivatives"])
@pytest.mark.parametrize(("lo", "hi"), [(NAN, 0.5), (0.5, NAN), (0.75, 0.5)])
def test_no_derivatives_without_an_interval(name, lo, hi):
    ends = getattr(elementary, name)(np.array([0.25, lo]), np.array([0.5, hi]))
    assert all(np.isfinite(e[0]) and np.isnan(e[1]) for e in ends)


@pytest.mark.parametrize("name", NAMES)
def test_the_referee_sees_an_end_that_is_two_steps_off(name):
    x = np.random.default_rng(3).uniform(0.3, 1.2, 50)
    low, high = enclose(name, x, x)
    assert escapes(name, x, low, high)[0] == []
    off = 4 * KNOWN[name].step * U
    assert len(escapes(name, x, low + off, high + off)[0]) == len(escapes(name, x, low - off, high - off)[0]) == len(x)


# ball arithmetic

@pytest.mark.parametrize("name", NAMES)
def test_values_lie_inside(name):
    x = arguments(name, 20_000, seed=1)
    out, worst = escapes(name, x, *enclose(name, x, x))
    assert out == []
    assert 0 < worst <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_million_values_lie_inside(name):
    count, share = 0, 0.0
    for seed in range(100, 111):
        x = arguments(name, 100_000, seed)
        out, worst = escapes(name, x, *enclose(name, x, x))
        assert out == []
        count, share = count + len(x), max(share, worst)
    print(f"{name}: {count} arguments inside; middles within {share * (KNOWN[name].error + 2):.2f} u, E = {KNOWN[name].error} u")
    assert count >= 1_000_000
    assert share <= 1


@pytest.mark.parametrize("name", NAMES)
def test_points_of_wide_intervals_lie_inside(name):
    rng = np.random.default_rng(5)
    lo = arguments(name, 4000, seed=6)
    hi = lo + np.ldexp(rng.uniform(1, 2, len(lo)), rng.integers(-30, 6, len(lo)))
    low, high = enclose(name, lo, hi)
    for part in (0.0, 1.0, *rng.uniform(size=3)):
        x = np.clip(lo + part * (hi - lo), lo, hi)
        assert escapes(name, x, low, high)[0] == []


@pytest.mark.parametrize(("table", "value"), [
    ("_TANH", lambda k: (arb(k) / 64).tanh()), ("_ATAN", lambda k: (arb(k) / 64).atan()), ("_LOG", lambda k: (arb(k) / 64).log1p()),
    ("_EXP2", lambda k: arb(2) ** (arb(k) / 128)), ("_SIN", lambda k: (arb.pi() * k / 64).sin())])
def test_tables_are_correctly_rounded(table, value):
    span = {"_TANH": range(-1280, 1281), "_ATAN": range(65), "_LOG": range(-19, 65), "_EXP2": range(128), "_SIN": range(160)}[table]
    for k in span:
        entry, exact = float(getattr(elementary, table)[k]), value(k)
        assert abs(arb(entry) - exact) <= arb(math.ulp(entry)) / 2 or (entry == 0 and exact.contains(0))


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("k", [145897, 204551, 263205, 291794, 320383, 321859])
def test_the_zeros_that_floats_come_closest_to_lie_inside(name, k):
    """There the error of the reduction is up to 155 times the step of the result, which is below 1e-15."""
    x = multiples(arb.pi(), np.array([k])) if name == "sin" else multiples(arb.pi() / 2, np.array([k + 1 - k % 2]))
    assert (np.abs(x) < 2.0**20).all()
    for side in (x, -x):
        assert escapes(name, side, *enclose(name, side, side))[0] == []


# infinities and cuts

@pytest.mark.parametrize(("name", "lo", "hi", "low", "high"), [
    ("tanh", -INF, INF, -1, 1), ("tanh", 25.0, INF, None, 1), ("tanh", -INF, -25.0, -1, None), ("sigmoid", -INF, INF, 0, 1),
    ("softplus", -INF, INF, 0, INF), ("softplus", 1e308, INF, 1e308, INF), ("exp", -INF, INF, 0, INF), ("exp", -INF, -800.0, 0, None),
    ("exp", 710.0, 711.0, None, INF),
    ("log", 1.0, INF, None, INF), ("sqrt", 0.0, INF, 0, INF), ("sin", -INF, INF, -1, 1), ("cos", 2.0**20, 2.0**21, -1, 1), ("sin", INF, INF, -1, 1),
    ("sin", -(2.0**21), -(2.0**21), -1, 1), ("cos", 0.0, 1e300, -1, 1)])
def test_limits_are_exact(name, lo, hi, low, high):
    a, b = enclose(name, lo, hi)
    assert low is None or a == low
    assert high is None or b == high
    assert a <= b


@pytest.mark.parametrize("name", ["softplus", "exp", "log", "sqrt"])
@pytest.mark.parametrize("lo", [709.771, 1e308, LARGEST, INF])
def test_no_lower_end_is_infinite(name, lo):
    low, high = enclose(name, lo, INF)
    assert low < INF == high


def test_the_last_argument_that_is_reduced_has_thin_enclosures():
    assert enclose("exp", 709.77, 709.77)[1] < INF == enclose("exp", 709.77, np.nextafter(709.77, INF))[1]
    for name in ("sin", "cos"):
        for x in (2.0**20, -(2.0**20)):
            low, high = enclose(name, x, x)
            assert high - low < 1e-14
            assert enclose(name, np.nextafter(x, 2 * x), np.nextafter(x, 2 * x)) == (-1, 1)


def test_infinite_ends_meet_the_limits():
    assert enclose("tanh", INF, INF)[0] >= 1 - 16 * U
    assert enclose("tanh", -INF, -INF)[1] <= -1 + 16 * U
    assert enclose("atan", -INF, -INF)[0] <= -math.pi / 2
    assert enclose("atan", INF, INF)[1] >= np.nextafter(math.pi / 2, 2) > enclose("atan", INF, INF)[0] > 1.5707963


@pytest.mark.parametrize(("name", "least", "most"), [
    ("tanh", -1, 1), ("sigmoid", 0, 1), ("softplus", 0, INF), ("exp", 0, INF), ("sqrt", 0, INF), ("sin", -1, 1), ("cos", -1, 1)])
def test_ends_stay_in_the_range(name, least, most):
    x = arguments(name, 20_000, seed=8)
    low, high = enclose(name, x, np.maximum(x, x + 1e-3))
    assert (low >= least).all() and (high <= most).all()
    if name == "softplus":
        assert (low >= x).all()


# thinness and order

@pytest.mark.parametrize("name", NAMES)
def test_thin_intervals_stay_thin(name):
    x = arguments(name, 20_000, seed=9)
    x = x[np.abs(x) < 2.0**10]
    low, high = enclose(name, x, x)
    ordinary = (high < INF) & (np.maximum(np.abs(low), np.abs(high)) > 2.0**-960)
    size = np.ones_like(x) if KNOWN[name].absolute else np.maximum(np.abs(low), np.abs(high))
    reduction = 2.0**-98 if name in ("sin", "cos") else 0.0
    assert ordinary.sum() > len(x) / 2
    assert ((high - low)[ordinary] <= (2 * KNOWN[name].step + 2) * U * size[ordinary] + reduction).all()


def test_tanh_is_thin_relative_to_its_value():
    x = np.concatenate([np.ldexp(np.random.default_rng(2).uniform(-2, 2, 5000), np.arange(5000) % 1000 - 995), [TINY, 1e-310, -3e-320]])
    low, high = enclose("tanh", x, x)
    assert (high - low <= 17 * np.spacing(np.abs(np.tanh(x))) + 32 * TINY).all()


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_an_interval_stay_inside_up_to_a_step(name):
    rng = np.random.default_rng(11)
    lo = arguments(name, 5000, seed=12)
    hi = lo + np.ldexp(rng.uniform(1, 2, len(lo)), rng.integers(-20, 4, len(lo)))
    inner = np.sort(np.clip(lo + rng.uniform(size=(2, len(lo))) * (hi - lo), lo, hi), axis=0)
    (low, high), (a, b) = enclose(name, lo, hi), enclose(name, *inner)
    step = 2 * KNOWN[name].step * U
    assert (a >= low - step * (1 if KNOWN[name].absolute else np.abs(low)) - 2.0**-85).all()
    finite = high < INF
    assert (b <= high + step * (1 if KNOWN[name].absolute else np.abs(high)) + 2.0**-85)[finite].all()


def test_odd_functions_mirror():
    x = arguments("tanh", 5000, seed=13)
    for name in ("tanh", "atan", "sin"):
        low, high = enclose(name, x, x)
        assert np.array_equal(enclose(name, -x, -x), (-high, -low))


@pytest.mark.parametrize(("name", "quarter"), [("sin", 1), ("cos", 0)])
def test_crests_and_troughs_are_seen_and_only_they(name, quarter):
    turns = np.arange(-160_000, 160_000, 37)
    for side, end in ((1, 1), (-1, 0)):
        crest = multiples(arb.pi() / 2, 4 * turns + quarter + (0 if side == 1 else 2))
        ulp = np.spacing(np.abs(crest))
        assert (enclose(name, crest - ulp, crest + ulp)[end] == side).all()
        assert (enclose(name, crest - 3, crest)[end] * side >= 1 - 2 * U).all()
        assert (enclose(name, crest + 1e-3, crest + 6)[end] * side < 1 - 1e-7).all()
        assert (enclose(name, crest - 6, crest - 1e-3)[end] * side < 1 - 1e-7).all()
        assert (enclose(name, crest + 1e-3, crest + 6.29)[end] == side).all()


# arrays

@pytest.mark.parametrize("name", NAMES)
def test_answers_do_not_depend_on_layout_or_error_mode(name):
    x = np.abs(arguments(name, 20_100, seed=14))[:20_000] + TINY
    low, high = enclose(name, x, x)
    square = np.asfortranarray(x.reshape(40, 5, 100))
    assert np.array_equal(enclose(name, square, square), (low.reshape(40, 5, 100), high.reshape(40, 5, 100)))
    assert np.array_equal(enclose(name, x[::7], x[::7]), (low[::7], high[::7]))
    with np.errstate(all="raise"):
        assert np.array_equal(enclose(name, x, x), (low, high))
    assert all(float(a) == b for a, b in zip(enclose(name, x[9999], x[9999]), (low[9999], high[9999]), strict=True))
    assert enclose(name, np.empty((0, 3)), np.empty((0, 3)))[0].shape == (0, 3)


def test_inputs_are_left_alone():
    for name in NAMES:
        x = np.linspace(0.5, 0.75, 100)
        x.setflags(write=False)
        enclose(name, x, x)


# derivatives

def slopes(name: str, t: Fraction) -> tuple[Fraction, Fraction]:
    d1 = 1 - t * t if name == "tanh_derivatives" else t * (1 - t)
    return d1, d1 * (-2 * t if name == "tanh_derivatives" else 1 - 2 * t)


def value_intervals(name: str) -> Ends:
    """Intervals of values: thin, wide, touching the limits, and around the places where the derivatives turn."""
    rng = np.random.default_rng(15)
    least, middle, turn = (-1.0, 0.0, math.sqrt(1 / 3)) if name == "tanh_derivatives" else (0.0, 0.5, math.sqrt(1 / 12))
    turning = rng.choice([middle - turn, middle, middle + turn], 600) + rng.integers(-3, 4, 600) * 2.0**-53
    lo = np.concatenate([rng.uniform(least, 1, 600), turning, [least, least, 0.0, 1.0, TINY, -TINY if least else 0.0]])
    width = np.where(rng.uniform(size=len(lo)) < 0.5, rng.uniform(0, 0.7, len(lo)), rng.integers(0, 4, len(lo)) * 2.0**-53)
    return lo, np.minimum(lo + width, 1.0)


@pytest.mark.parametrize("name", ["tanh_derivatives", "sigmoid_derivatives"])
def test_derivatives_lie_inside_exactly_and_closely(name):
    lo, hi = value_intervals(name)
    ends = getattr(elementary, name)(lo, hi)
    top, square = (Fraction(1), Fraction(16, 27)) if name == "tanh_derivatives" else (Fraction(1, 4), Fraction(1, 108))
    turn = Fraction(1, 3) if name == "tanh_derivatives" else Fraction(1, 12)
    for a, b, *bounds in zip(lo.tolist(), hi.tolist(), *(e.tolist() for e in ends), strict=True):
        d1_low, d1_high, d2_low, d2_high = map(Fraction, bounds)
        points = [Fraction(a) + (Fraction(b) - Fraction(a)) * i / 8 for i in range(9)]
        d1, d2 = zip(*(slopes(name, t) for t in points), strict=True)
        assert d1_low <= min(d1) and max(d1) <= d1_high and d2_low <= min(d2) and max(d2) <= d2_high
        assert 0 <= d1_low and d1_high <= top
        centre = Fraction(0) if name == "tanh_derivatives" else Fraction(1, 2)
        left, right = Fraction(a) - centre, Fraction(b) - centre
        crest = left <= 0 and left**2 >= turn and (right >= 0 or right**2 <= turn)
        trough = right >= 0 and right**2 >= turn and (left <= 0 or left**2 <= turn)
        assert not crest or (d2_high > 0 and d2_high**2 >= square)
        assert not trough or (d2_low < 0 and d2_low**2 >= square)
        assert not left <= 0 <= right or d1_high == top
        near = 1e-14 + float(b - a) ** 2 * 2  # nine samples miss an extreme by at most this
        assert d2_high - max(d2) <= near and min(d2) - d2_low <= near and d1_high - max(d1) <= near and min(d1) - d1_low <= 1e-14


def test_derivatives_keep_relative_accuracy_where_tanh_saturates():
    t = -np.ldexp(1.0, -np.arange(10.0, 53).astype(int)) + 1
    low, high, _, _ = elementary.tanh_derivatives(t, t)
    assert (high - low <= 32 * U * high).all() and (low > 0).all()
