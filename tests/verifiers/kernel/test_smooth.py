"""Enclosures of powers, quotients, products and derivatives: exact values lie inside, and little else does."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mp

from verifiers.kernel import smooth
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.smooth import TINY, U, _inverse, _power, _product, _scaled, line, outward, smooth_derivatives, smooth_range, third_derivative

F = Fraction
OPS = {"tanh": mp.tanh, "sigmoid": lambda t: 1 / (1 + mp.exp(-t)), "softplus": lambda t: mp.log1p(mp.exp(t)), "sin": mp.sin, "cos": mp.cos,
       "exp": mp.exp, "log": mp.log, "sqrt": mp.sqrt, "atan": mp.atan, "inverse": lambda t: 1 / t}


def drawn(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of either sign, about 0, with an end at 0, and points."""
    rng = np.random.default_rng(rows)
    lo = rng.normal(size=rows)
    hi = lo + rng.uniform(0, 2, rows) * rng.choice([0.0, 1e-9, 1.0], rows)
    return np.concatenate([lo, [0.0, -1.5, 0.0]]), np.concatenate([hi, [1.5, 0.0, 0.0]])


def holds(found: tuple[np.ndarray, np.ndarray], least: list[Fraction], most: list[Fraction]) -> None:
    """The interval holds both numbers, and ends near them."""
    for a, b, low, high in zip(*(end.tolist() for end in found), least, most, strict=True):
        off = F(1, 10**13) * max(abs(low), abs(high)) + F(1, 10**200)
        assert low - off < F(a) <= low and high <= F(b) < high + off


def exactly(ends: np.ndarray) -> list[Fraction]:
    return [F(v) for v in ends.tolist()]


@pytest.mark.threat("T09")
def test_intervals_are_widened_on_either_side_by_so_many_roundings() -> None:
    lo, hi = drawn()
    for ulps in (16.0, 40.0):
        low, high = outward(lo, hi, ulps)
        for a, b, c, d in zip(exactly(low), exactly(lo), exactly(hi), exactly(high), strict=True):
            for moved, end in ((b - a, b), (d - c, c)):
                assert (ulps - 1) * F(U) * abs(end) + F(TINY) / 2 * (end == 0) <= moved <= (ulps + 1) * F(U) * abs(end) + F(TINY)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("k", range(6))
def test_powers_lie_inside(k: int) -> None:
    lo, hi = drawn()
    ends = [[a**k, b**k] + [F(k == 0)] * (a <= 0 <= b) for a, b in zip(exactly(lo), exactly(hi), strict=True)]
    holds(_power(lo, hi, k), list(map(min, ends)), list(map(max, ends)))


@pytest.mark.threat("T09")
def test_quotients_lie_inside_and_have_no_value_about_zero() -> None:
    lo, hi = drawn()
    with np.errstate(divide="ignore"):
        low, high = _inverse(lo, hi)
    fine = (lo > 0) | (hi < 0)
    assert np.isnan(low[~fine]).all() and np.isnan(high[~fine]).all() and np.isfinite(low[fine]).all()
    holds((low[fine], high[fine]), [1 / v for v in exactly(hi[fine])], [1 / v for v in exactly(lo[fine])])


@pytest.mark.threat("T09")
def test_products_and_multiples_lie_inside() -> None:
    lo, hi = drawn()
    other = np.roll(lo, 7), np.roll(hi, 7)
    corners = [[a * c, a * d, b * c, b * d] for a, b, c, d in zip(*map(exactly, (lo, hi, *other)), strict=True)]
    holds(_product((lo, hi), other), list(map(min, corners)), list(map(max, corners)))
    for factor in (-0.25, -2.0, 3.0):
        ends = [[F(factor) * a, F(factor) * b] for a, b in zip(exactly(lo), exactly(hi), strict=True)]
        holds(_scaled((lo, hi), factor), list(map(min, ends)), list(map(max, ends)))


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("op", "a"), [("tanh", 4), ("sigmoid", 1)])
def test_third_derivatives_follow_from_the_first(op: str, a: int) -> None:
    lo, hi = (np.abs(end) / 4 for end in drawn())
    lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
    found = third_derivative(op, (lo, hi))
    assert found is not None and (found[0] <= found[1]).all()
    for low, high, first, last in zip(*map(exactly, (*found, lo, hi)), strict=True):
        ends, top = [a * d - 6 * d * d for d in (first, last)], F(a * a, 24)
        size = F(1, 10**14) * (a * last + 6 * last * last) + F(1, 10**200)
        assert min(ends) - size < low <= min(ends)
        most = top if first <= F(a, 12) <= last else max(ends)
        assert most <= high < most + size


def test_third_derivatives_of_the_others() -> None:
    first = np.array([0.25, -0.5]), np.array([0.5, 1.0])
    for op, sign in (("sin", -1), ("cos", -1), ("exp", 1)):
        found = third_derivative(op, first)
        assert found is not None and [end.tolist() for end in found] == [(sign * end).tolist() for end in first[::sign]]
    assert third_derivative("atan", first) is None


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", [*OPS, "pow0", "pow1", "pow2", "pow3", "pow4"])
def test_values_and_derivatives_at_points_lie_inside(op: str) -> None:
    k = int(op[3:]) if op.startswith("pow") else 0
    truth: Any = (lambda t: t**k) if op.startswith("pow") else OPS[op]
    points = np.array([0.1, 0.7, 1.3, 2.9])
    found = smooth_derivatives(op.rstrip("01234"), points, points, k)
    with mp.workdps(60):
        for order, (low, high) in enumerate(found):
            for t, a, b in zip(points.tolist(), low.tolist(), high.tolist(), strict=True):
                value = mp.diff(truth, mp.mpf(t), order) if order else truth(mp.mpf(t))
                off, tiny = 1e-13 * (1 + abs(value)) * (1 + 1 / t**3), mp.mpf(10) ** -20
                assert value - off < a <= value + tiny and value - tiny <= b < value + off


def test_an_operator_without_derivatives_is_refused() -> None:
    with pytest.raises(Refusal) as no:
        smooth_range("relu", np.zeros(1), np.ones(1))
    assert no.value.code is Code.UNSUPPORTED


def intervals(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Intervals left of 0, right of it and around it, narrow and wide, some with an end at 0."""
    rng = np.random.default_rng(seed)
    lo = rng.normal(size=count) * 10.0 ** rng.uniform(-1, 1.2, count)
    lo[::7] = 0.0
    hi = lo + 10.0 ** rng.uniform(-2, 1.5, count)
    shift = np.arange(count) % 7 == 3
    lo[shift], hi[shift] = lo[shift] - hi[shift], 0.0
    return lo, hi


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", ["tanh", "sigmoid"])
def test_a_line_follows_an_s_shaped_function_within_its_error(op: str) -> None:
    lo, hi = intervals(600, 0)
    slope, offset, error = line(op, lo, hi)
    function = mpmath.tanh if op == "tanh" else (lambda t: 1 / (1 + mpmath.exp(-t)))
    with mpmath.workdps(40):
        for k, (a, b) in enumerate(zip(lo.tolist(), hi.tolist(), strict=True)):
            s, c, e = (mpmath.mpf(float(v[k])) for v in (slope, offset, error))
            steep = mpmath.atanh(mpmath.sqrt(max(0, 1 - s))) if op == "tanh" else 2 * mpmath.atanh(mpmath.sqrt(max(0, 1 - 4 * s)))
            places = [mpmath.mpf(t) for t in (a, b, *np.linspace(a, b, 9), 0.0)] + [steep, -steep]
            rest = [function(t) - s * t for t in places if a <= t <= b]  # the farthest points are the ends and where the slopes are the same
            assert max(abs(v - c) for v in rest) <= e
            assert e <= 1.05 * (max(rest) - min(rest)) / 2 + mpmath.mpf(10) ** -12 * (1 + abs(a) + abs(b))  # of any offset the best has this


def test_a_line_without_an_interval_says_nothing() -> None:
    for lo, hi in ((1.0, 1.0), (0.0, 0.0), (-np.inf, 1.0), (np.nan, 1.0), (0.0, np.inf)):
        with np.errstate(all="ignore"):
            error = line("tanh", np.array([lo]), np.array([hi]))[2]
        assert not (error < 0.5).any()


def test_the_enclosures_of_the_tangents_are_what_a_line_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With values and slopes known only to 1e-3, the error grows by about as much, and never shrinks."""
    lo, hi = intervals(300, 1)
    before = line("tanh", lo, hi)

    def blurred(op: str, a: np.ndarray, b: np.ndarray, power: int = 0) -> tuple[smooth.Ends, ...]:
        return tuple((x - 1e-3, y + 1e-3) for x, y in derivatives(op, a, b, power))

    derivatives, ranges = smooth.smooth_derivatives, smooth.smooth_range
    monkeypatch.setattr(smooth, "smooth_derivatives", blurred)
    wide = (-1e-3, 1e-3)
    monkeypatch.setattr(smooth, "smooth_range", lambda *a: tuple(v + d for v, d in zip(ranges(*a), wide, strict=True)))
    after = line("tanh", lo, hi)
    assert (after[2] >= before[2]).all() and (after[2] >= 0.9e-3).all() and (after[2] <= before[2] + 4e-3 * (1 + np.abs(lo) + np.abs(hi))).all()


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", ["tanh", "sigmoid"])
def test_a_line_covers_whatever_values_and_slopes_may_be(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are known to a width of their own, the others are one number each, so that nothing but the line's own slack covers its roundings.  An
    end bounds a convex part above and a concave one below, a tangent the other side of either; all of it in exact arithmetic.
    """
    lo, hi = intervals(600, 2)
    hi[300:] = np.where(hi[300:] == 0, 0.0, lo[300:] + np.abs(lo[300:]) * 1e-3 + 1e-6)
    rng, ranges, derivatives = np.random.default_rng(3), smooth.smooth_range, smooth.smooth_derivatives
    tangents, sure = [], np.arange(600) % 2 == 1
    off = {id(end): rng.uniform(0, 1e-3, (2, 600)) for end in (lo, hi)}

    def known(pair: smooth.Ends, less: Any, more: Any) -> smooth.Ends:
        return np.where(sure, pair[1], pair[0] - less), np.where(sure, pair[1], pair[1] + more)

    def values(op: str, a: np.ndarray, b: np.ndarray, power: int = 0) -> smooth.Ends:
        return known(ranges(op, a, b, power), *off.get(id(a), (0.0, 0.0)))

    def slopes(op: str, a: np.ndarray, b: np.ndarray, power: int = 0) -> Any:
        value, first, second = derivatives(op, a, b, power)
        tangents.append((a, known(value, 0.0, 0.0), known(first, *rng.uniform(0, 1e-2, (2, 600)))))
        return *tangents[-1][1:], second

    monkeypatch.setattr(smooth, "smooth_range", values)
    monkeypatch.setattr(smooth, "smooth_derivatives", slopes)
    slope, offset, error = line(op, lo, hi)
    assert np.isfinite(error).all() and len(tangents) == 2
    ends = [(*map(exactly, (t, *values(op, t, t))),) for t in (lo, hi)]
    (right, (_, above), steep), (left, (below, _), flat) = (tuple(tuple(map(exactly, v)) if isinstance(v, tuple) else exactly(v) for v in t)
                                                            for t in tangents)
    for k, (s, c, e, a, b) in enumerate(zip(*map(exactly, (slope, offset, error, lo, hi)), strict=True)):
        for (t, low, high), convex in zip(((t[k], low[k], high[k]) for t, low, high in ends), (a < 0, b <= 0), strict=True):
            assert high - s * t - c <= e if convex else c + s * t - low <= e
        for d in (0, 1):
            if b > 0:
                assert all(above[k] + steep[d][k] * (x - right[k]) - s * x - c <= e for x in (max(a, F(0)), b))
            if a < 0:
                assert all(c + s * x - below[k] - flat[d][k] * (x - left[k]) <= e for x in (a, min(b, F(0))))
