"""Errors of Taylor models pulled back: the smaller error still covers the truth, and whatever is unknown leaves the error as it was."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polynomials import drawn, exact, times
from random_graphs import EVERY, RANDOM, boxes, corner_heavy, graphs, number, oracle

from verifiers.kernel import taylor
from verifiers.kernel.graph import Affine, Builder, Graph, Node, affine_from_rational, read
from verifiers.kernel.tape import Step, by_slope, pulled_back
from verifiers.kernel.taylor import NO_PAIRS, Model, TaylorReading

F = Fraction


def summed(graph: Graph) -> Graph:
    """The sum of all entries of the first output: a scalar graph."""
    b = Builder()
    out = b.inline(graph, [b.input(graph.input_sizes[0])])[0]
    return b.build([b.affine(out, Affine(np.ones((1, b.size(out))), np.zeros(1)))])


def off(reading: TaylorReading, m: Model, row: int, xi: list[Any], y: Any) -> Any:
    """How far the truth is from the polynomial without its symbols, less what these may add."""
    n, pairs = reading.n, list(zip(reading.first.tolist(), reading.second.tolist(), strict=True))
    v = [*xi, *[None] * (len(m.p) - 1 - n)]
    value, free = number(float(m.p[0, row, 0])), number(0)
    for k, c in [*[((i,), m.p[1 + i, row, 0]) for i in range(len(m.p) - 1)], *[(pairs[k], m.q[k, row, 0]) for k in range(len(m.q))]]:
        known = all(i < len(v) and v[i] is not None for i in k)
        if known:
            value += number(float(c)) * np.prod([v[i] for i in k])
        else:
            free += abs(number(float(c)))
    return abs(value - y) - free


@pytest.mark.threat("T09", "T26")
@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_the_smaller_error_covers_the_truth(data: st.DataObject, seed: int) -> None:
    graph = summed(data.draw(graphs(EVERY)))
    lo, hi, rng = boxes(seed, graph.input_sizes[0])
    reading = TaylorReading(lo, hi, taped=True)
    with np.errstate(all="ignore"):
        plain = read(graph, reading, [reading.start()])[0]
        model = reading.whole(reading.settled(plain))
    assert (model.e <= reading.whole(plain).e).all()
    for k in range(len(lo)):
        x = np.clip(corner_heavy(rng, lo[k], hi[k]), lo[k], hi[k])
        xi = [(number(v) - number(c)) / number(r) for v, c, r in zip(x.tolist(), reading.centre[k].tolist(), reading.radius[k].tolist(), strict=True)]
        truth = oracle(graph, list(map(number, x.tolist())))[0]
        assert off(reading, model, k, xi, truth) <= number(float(model.e[k, 0])) + number(10) ** -50


def layers(*sizes: int, seed: int = 0) -> Graph:
    rng, b = np.random.default_rng(seed), Builder()
    y = b.input(sizes[0])
    for inner, outer in pairwise(sizes):
        y = b.unary("tanh", b.affine(y, Affine(rng.normal(size=(outer, inner)) / np.sqrt(inner), 0.3 * rng.normal(size=outer))))
    return b.build([b.affine(y, Affine(rng.normal(size=(1, sizes[-1])), np.zeros(1)))])


def models(graph: Graph, radius: float, taped: bool = True, rows: int = 20) -> tuple[TaylorReading, Model]:
    centre = np.random.default_rng(1).uniform(-1, 1, (rows, graph.input_sizes[0]))
    reading = TaylorReading(centre - radius, centre + radius, taped=taped)
    return reading, read(graph, reading, [reading.start()])[0]


def test_errors_of_a_layer_cancel_in_the_next_one() -> None:
    """The difference of two equal networks has no error but rounding, and wide layers gain a factor."""
    b = Builder()
    x = b.input(2)
    y = b.unary("tanh", x)
    copies = b.affine(y, Affine(np.vstack([np.eye(2), np.eye(2)]), np.zeros(4)))
    reading, model = models(b.build([b.affine(copies, Affine(np.array([[1.0, 2.0, -1.0, -2.0]]), np.zeros(1)))]), 0.1)
    assert (model.e > 1e-5).all() and (reading.settled(model).e < 1e-13).all()
    reading, model = models(layers(3, 64, 64), 0.03)
    assert np.median(model.e / reading.settled(model).e) > 2
    assert (reading.settled(model).p is model.p) and reading.settled(model).age == model.age


def test_without_a_tape_or_a_whole_history_the_error_stays() -> None:
    graph = layers(3, 16, 16)
    reading, model = models(graph, 0.1, taped=False)
    assert model.step is None and reading.settled(model) is model
    reading = TaylorReading(-np.ones((2, 3)), np.ones((2, 3)), 2, taped=True)
    assert read(graph, reading, [reading.start()])[0].step is None
    reading, model = models(graph, 0.1)
    assert model.step is not None
    orphan = replace(model, step=Step(10**6, np.zeros((1, 1)), ((None, by_slope(1.0, 0.0)),)))
    assert (reading.settled(orphan).e == orphan.e).all()
    # the same one step further back
    above = replace(model, step=Step(10**6 + 1, np.zeros((1, 1)), ((orphan.step, by_slope(1.0, 0.0)),)))
    assert (reading.settled(above).e == above.e).all()


def test_a_vector_is_not_settled() -> None:
    b = Builder()
    x = b.input(2)
    reading, model = models(b.build([b.unary("tanh", x)]), 0.3)
    assert model.step is not None and reading.settled(model) is model


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["own", "slope", "radius", "error"])
def test_what_is_no_number_leaves_the_error(bad: float, where: str) -> None:
    reading, model = models(layers(2, 4), 0.1, rows=3)
    assert model.step is not None
    rows = np.full((3, 1), 1e-9)
    if where == "error":
        kept = reading.settled(replace(model, e=np.full((3, 1), bad))).e
        assert np.isnan(kept).all() if np.isnan(bad) else (kept < 1).all()
        return
    first = Step(-1, rows * (bad if where == "own" else 1.0), ())
    slope = by_slope(bad if where == "slope" else 1.0, bad if where == "radius" else 0.0)
    spoiled = replace(model, step=Step(10**6, rows, ((first, slope),)))
    with np.errstate(all="ignore"):
        assert (reading.settled(spoiled).e == model.e).all()


def test_a_step_that_is_met_on_two_ways_counts_once_with_both_slopes() -> None:
    """y = a + b of the same x: the adjoints 1 and -1 cancel, 1 and 2 add up to 3."""
    reading, model = models(layers(2, 4), 0.1, rows=1)
    first = Step(1, np.ones((1, 1)), ())
    for slopes, found in (((1.0, -1.0), 0.0), ((1.0, 2.0), 3.0), ((-2.0, -0.5), 2.5)):
        middle = tuple(Step(2 + k, np.zeros((1, 1)), ((first, by_slope(s, 0.0)),)) for k, s in enumerate(slopes))
        last = Step(9, np.zeros((1, 1)), tuple((step, by_slope(1.0, 0.0)) for step in middle))
        assert reading.settled(replace(model, e=np.full((1, 1), 10.0), step=last)).e[0, 0] == pytest.approx(found, abs=1e-8)


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("slopes", "radii"), [((1.0, 2.0**-60, -1.0), (0.0, 0.0, 0.0)), ((1.0, 1.0), (0.25, 0.5)), ((1.0, -1.0), (0.25, 0.5)),
                                               ((2.0**-60, 1.0, -1.0), (0.0, 2.0**-70, 2.0**-80))])
def test_what_rounds_and_what_is_unsure_on_several_ways_counts(slopes: tuple[float, ...], radii: tuple[float, ...]) -> None:
    reading, model = models(layers(2, 4), 0.1, rows=1)
    first = Step(1, np.ones((1, 1)), ())
    middle = tuple(Step(2 + k, np.zeros((1, 1)), ((first, lambda *_, s=s, r=r: (np.full((1, 1), s), np.full((1, 1), r))),))
                   for k, (s, r) in enumerate(zip(slopes, radii, strict=True)))
    last = Step(9, np.zeros((1, 1)), tuple((step, by_slope(1.0, 0.0)) for step in middle))
    found = reading.settled(replace(model, e=np.full((1, 1), 10.0), step=last)).e[0, 0]
    truth = abs(sum(map(F, slopes))) + sum(map(F, radii))
    assert truth <= F(float(found)) <= truth * 2 + F(1, 10**14)


@pytest.mark.threat("T09")
def test_the_pull_through_a_slope_covers_every_slope_and_every_adjoint() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        middle, m = rng.normal(size=2) * 10.0 ** rng.integers(-3, 3, 2)
        radius, r = np.abs(rng.normal(size=2)) * 10.0 ** rng.integers(-18, 1, 2)
        out, wide = by_slope(np.float64(middle), np.float64(radius))(np.array([[m]]), np.array([[r]]))
        for s in (F(middle) - F(radius), F(middle), F(middle) + F(radius)):
            for a in (F(m) - F(r), F(m), F(m) + F(r)):
                assert abs(s * a - F(float(out[0, 0]))) <= F(float(wide[0, 0]))
        assert float(wide[0, 0]) <= 1.001 * (abs(m) * radius + r * (abs(middle) + radius)) + 1e-14 * abs(m * middle) + 1e-299


@pytest.mark.threat("T09")
@pytest.mark.parametrize("third", [False, True])
def test_the_pull_through_an_affine_map_covers_its_rounding(third: bool) -> None:
    rng, rows = np.random.default_rng(int(third)), 40
    weight = [[F(int(v), 3) if third else F(float(v)) for v in (rng.integers(-9, 9, 3) if third else rng.normal(size=3))] for _ in range(4)]
    reading = TaylorReading(-np.ones((rows, 1)), np.ones((rows, 1)), taped=True)
    x = Model(np.zeros((2, rows, 3)), NO_PAIRS, np.zeros((rows, 3)), -np.ones((rows, 3)), np.ones((rows, 3)), 0, reading.step(np.zeros((1, 1))))
    y = reading.affine(Node("affine", (0,), 4, affine_from_rational(weight, [F(0)] * 4)), x)
    assert y.step is not None
    m, r = rng.normal(size=(rows, 4)), 10.0 ** rng.uniform(-20, -1, (rows, 4))
    (arg, pull), = y.step.pulls
    out, wide = pull(m, r)
    assert arg is x.step
    for k in range(rows):
        for sign in (-1, 0, 1):
            for j in range(3):
                # the adjoint at the end of its radius that moves the sum the farthest
                parts = [(F(float(m[k, i])) + (sign if weight[i][j] > 0 else -sign) * F(float(r[k, i]))) * weight[i][j] for i in range(4)]
                assert abs(sum(parts, F(0)) - F(float(out[k, j]))) <= F(float(wide[k, j]))
    least = np.abs(np.array([[float(w) for w in row] for row in weight]))
    assert (wide <= 1.001 * (r @ least) + 1e-13).all()


def test_the_pull_through_a_selection_adds_up_what_was_picked_twice() -> None:
    reading = TaylorReading(-np.ones((1, 3)), np.ones((1, 3)), taped=True)
    y = reading.take(Node("take", (0,), 4, (2, 0, 2, 2)), reading.start())
    assert y.step is not None and y.p.shape[-1] == 4
    out, wide = y.step.pulls[0][1](np.array([[0.1, 0.2, 0.3, 0.7]]), np.array([[1.0, 2.0, 3.0, 4.0]]))
    assert out.tolist() == [[0.2, 0.0, 0.1 + 0.3 + 0.7]] and wide[0] == pytest.approx([2.0, 0.0, 8.0])
    truth = F(0.1) + F(0.3) + F(0.7)
    for sign in (1.0, -1.0):
        out, wide = y.step.pulls[0][1](sign * np.array([[0.1, 0.2, 0.3, 0.7]]), np.zeros((1, 4)))
        assert 0 < abs(F(sign) * truth - F(float(out[0, 2]))) <= F(float(wide[0, 2])) < 1e-14


def test_the_pull_through_a_concatenation_cuts_it_up() -> None:
    reading = TaylorReading(-np.ones((1, 2)), np.ones((1, 2)), taped=True)
    x = reading.start()
    y = reading.concat(Node("concat", (0, 1), 3, None), [x, reading.take(Node("take", (0,), 1, (1,)), x)])
    assert y.step is not None
    m, r = np.array([[1.0, 2.0, 3.0]]), np.array([[0.1, 0.2, 0.3]])
    assert [tuple(map(np.ndarray.tolist, pull(m, r))) for _, pull in y.step.pulls] == [([[1.0, 2.0]], [[0.1, 0.2]]), ([[3.0]], [[0.3]])]


@pytest.mark.threat("T09")
def test_the_sum_of_all_errors_is_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many steps with errors that are no dyadic sums."""
    reading, model = models(layers(2, 4), 0.1, rows=1)
    rng = np.random.default_rng(4)
    owns = [rng.uniform(0, 1, (1, 7)) for _ in range(50)]
    wide = tuple((Step(k, own, ()), lambda m, r: (np.ones((1, 7)), np.zeros((1, 7)))) for k, own in enumerate(owns))
    found = reading.settled(replace(model, e=np.full((1, 1), 1e9), step=Step(99, np.zeros((1, 1)), wide))).e[0, 0]
    exact = sum((F(float(v)) for own in owns for v in own.ravel()), F(0))
    assert exact <= F(float(found)) <= exact * F(1_000_001, 1_000_000)
    assert taylor.U == 2.0**-53
    step = reading.step(np.ones((1, 1)))
    assert step is not None and step.own[0, 0] > 1.0 and reading.step(np.zeros((1, 1))).own[0, 0] > 0.0  # type: ignore[union-attr]


def test_terms_of_third_degree_cancel_between_the_entries_of_a_product() -> None:
    """(x^2, -x, y) . (x, x^2, y) = y^2, and no term of degree 3 is left in the error; without the last sum nothing is known."""
    b = Builder()
    z = b.input(2)
    x, y = b.take(z, [0]), b.take(z, [1])
    square = b.unary("pow", x, 2)
    entries = b.binary("mul", b.concat([square, b.unary("neg", x), y]), b.concat([x, square, y]))
    graph = b.build([b.affine(entries, Affine(np.ones((1, 3)), np.zeros(1)))])
    reading, model = models(graph, 0.5)
    assert (model.e > 0.1).all() and (reading.settled(model).e < 1e-13).all()
    other = b.build([b.affine(entries, Affine(np.array([[1.0, -1.0, 1.0]]), np.zeros(1)))])
    reading, model = models(other, 0.5)
    assert (reading.settled(model).e > 0.2).all()  # 2 x^3 with |x - c| <= 1/2


@pytest.mark.threat("T09")
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("large", range(5))
def test_coefficients_that_swallow_the_shares_of_higher_derivatives_are_allowed_for(large: int, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A polynomial of degree 4 with one large coefficient, its derivatives known exactly, and an argument with an error of its own, exactly."""
    rng, rows = np.random.default_rng(large), 60
    c = [sign * np.ldexp(rng.integers(1 << 19, 1 << 20, rows), -20 - (rng.integers(50, 64, rows) if k != large else 0)) for k in range(5)]

    def at(order: int, t: float, row: int) -> F:
        return sum((F(float(c[k][row])) * F(t) ** (k - order) * (F(math.factorial(k)) / math.factorial(k - order)) for k in range(order, 5)), F(0))

    def ends(order: int, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the derivatives that are asked at 0 alone, their float64; the fourth is constant."""
        zero = np.array([float(at(order, 0.0, k)) for k in range(rows)])[:, None] + 0.0 * lo
        far = np.where(lo < hi, 1e6, 0.0)
        return zero - far, zero + far

    def derivatives(op: str, lo: np.ndarray, hi: np.ndarray, power: int) -> Any:
        return tuple(ends(order, lo, hi) for order in range(3))

    monkeypatch.setattr(taylor, "smooth_derivatives", derivatives)
    monkeypatch.setattr(taylor, "third_derivative", lambda op, first: ends(3, first[0], first[1]))
    monkeypatch.setattr(taylor, "fourth_derivative", lambda op, value, first: ends(4, first[0], first[0]))
    box = rng.uniform(0.1, 2.0, (rows, 1))
    reading, off = TaylorReading(-box, box, taped=True), rng.choice([0.0, 0.3], (rows, 1))
    start = reading.start()
    found = reading._smooth(replace(start, e=off, lo=-box - off, hi=box + off), "exp", 0)
    assert np.isfinite(found.e).all()
    p, q = (np.zeros((count, rows)) for count in (2, 1))
    p[:len(found.p)], q[:len(found.q)] = found.p[:, :, 0], found.q[:1, :, 0]
    for row in range(rows):
        for xi in np.cos(np.pi * np.arange(9) / 8):
            for side in (-1, 0, 1):
                t = F(float(reading.radius[row, 0])) * F(float(xi)) + side * F(float(off[row, 0]))
                truth = sum((F(float(c[k][row])) * t**k for k in range(5)), F(0))
                model = F(float(p[0, row])) + F(float(p[1, row])) * F(float(xi)) + F(float(q[0, row])) * F(float(xi)) ** 2
                assert abs(truth - model) <= F(float(found.e[row, 0]))


def test_terms_of_third_degree_cancel_between_squares() -> None:
    """(x + x^2)^2 + (x - x^2)^2 = 2 x^2 + 2 x^4: the terms of degree 3 cancel, as those of products do; a square is never negative."""
    b = Builder()
    x = b.input(1)
    square = b.binary("mul", x, x)
    both = b.concat([b.binary("add", x, square), b.binary("sub", x, square)])
    graph = b.build([b.affine(b.unary("pow", both, 2), Affine(np.ones((1, 2)), np.zeros(1)))])
    reading = TaylorReading(np.array([[-0.5]]), np.array([[0.5]]), taped=True)
    model = read(graph, reading, [reading.start()])[0]
    assert model.e[0, 0] > 0.5 and reading.settled(model).e[0, 0] < 2 * 0.5**4 * (1 + 1e-8)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("op", ["pow", "mul"])
def test_a_square_is_not_negative_and_a_constant_where_nothing_else_is_known(op: str) -> None:
    b = Builder()
    x = b.input(1)
    node = b.build([b.unary("pow", x, 2) if op == "pow" else b.binary("mul", x, x)]).nodes[-1]
    reading = TaylorReading(np.array([[-0.5], [0.25]]), np.array([[1.0], [0.5]]), taped=True)

    def squared(x: Model) -> Model:
        return reading.unary(node, x) if op == "pow" else reading.binary(node, x, x)

    start = reading.start()
    found = squared(start)
    assert -1e-299 < found.lo[0, 0] <= 0.0 and found.hi[0, 0] == pytest.approx(1.0) and (found.e < 1e-12).all() and (found.q > 0).all()
    rough = squared(replace(start, e=np.array([[10.0], [0.0]]), lo=np.array([[-1.0], [0.25]]), hi=np.array([[2.0], [0.5]])))
    assert rough.p[0, 0, 0] == pytest.approx(2.0) and (rough.p[1:, 0] == 0).all() and (rough.q[:, 0] == 0).all()
    assert 2.0 <= rough.e[0, 0] < 2.0 + 1e-12
    assert (rough.q[:, 1] > 0).all() and rough.e[1, 0] < 1e-12  # entry by entry
    assert rough.step is not None and 2.0 <= rough.step.own[0, 0] < 2.0 + 1e-12 and rough.step.own[1, 0] < 1e-12
    assert rough.step.known is None or (rough.step.known[:, 0] == 0).all()
    for _, pull in rough.step.pulls:
        slope, radius = pull(np.ones((2, 1)), np.zeros((2, 1)))
        assert slope[0, 0] == 0.0 and radius[0, 0] < 1e-299 and slope[1, 0] + radius[1, 0] >= 0.375
    lost = squared(replace(start, lo=np.full((2, 1), np.nan), hi=np.full((2, 1), np.nan), p=np.full((2, 2, 1), np.nan)))
    assert np.isnan(lost.lo).all() and np.isnan(lost.e).all()


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("symbols", "pairs"), [(0, True), (2, True), (taylor.MAX_PAIRED + 2, True), (1, False)])
def test_known_terms_and_the_rest_are_all_that_a_product_drops(symbols: int, pairs: bool) -> None:
    rng, rows, n = np.random.default_rng(symbols), 12, 3
    reading = TaylorReading(-np.ones((rows, n)), np.ones((rows, n)), taped=True)
    reading.used[:] = symbols
    a, b = drawn(reading, rng, 2, symbols=symbols), drawn(reading, rng, 2, symbols=0, pairs=pairs)
    for left, right in ((a, b), (b, a), (a, a)):
        found = reading._product(left, right)
        assert found.step is not None and found.step.known is not None
        triples = sorted({tuple(sorted(t)) for t in product(range(n), repeat=3)})
        for row in range(rows):
            for k in range(2):
                truth, kept = times(exact(reading, left, row, k), exact(reading, right, row, k)), exact(reading, found, row, k)
                known = {t: F(float(found.step.known[i, row, k])) for i, t in enumerate(triples)}
                missed = sum((abs(truth.get(key, F(0)) - kept.get(key, F(0)) - known.get(key, F(0))) for key in truth.keys() | kept.keys()), F(0))
                assert missed <= F(float(found.step.own[row, k]))
                if symbols == 0:
                    fourth = sum((abs(v) for key, v in truth.items() if len(key) == 4), F(0))
                    assert not pairs or fourth > 0
                    assert float(found.step.own[row, k]) < 40 * float(fourth) + 1e-10


@pytest.mark.threat("T09")
def test_known_terms_are_added_up_with_the_adjoints_and_rounded_up() -> None:
    """Adjoints within their radii, at their worst, and coefficients that nearly cancel."""
    rng = np.random.default_rng(5)
    for _ in range(100):
        known, m = rng.normal(size=(4, 1, 3)), rng.normal(size=(1, 3))
        known[:, 0, 2] = -(known[:, 0, 0] * m[0, 0] + known[:, 0, 1] * m[0, 1]) / m[0, 2]
        r = np.abs(rng.normal(size=(1, 3))) * 10.0 ** rng.integers(-25, -1)
        first = Step(1, np.zeros((1, 1)), (), known)
        last = Step(2, np.zeros((1, 1)), ((first, lambda *_, m=m, r=r: (m, r)),))
        found = F(float(pulled_back(last, 1)[0, 0]))
        least = sum((abs(sum((F(float(m[0, i])) * F(float(known[j, 0, i])) for i in range(3)), F(0))) for j in range(4)), F(0))
        moved = sum((F(float(r[0, i])) * abs(F(float(known[0, 0, i]))) for i in range(3)), F(0))
        assert least <= found and moved <= found
        assert float(found) <= 1.01 * (float(least) + float((r * np.abs(known).sum(axis=0)).sum())) + 1e-12


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_known_terms_of_either_sign_count(sign: float) -> None:
    first = Step(1, np.zeros((1, 1)), (), np.full((2, 1, 3), sign))
    last = Step(2, np.zeros((1, 1)), ((first, lambda *_: (np.ones((1, 3)), np.zeros((1, 3)))),))
    assert 6 <= pulled_back(last, 1)[0, 0] < 6.001


def test_long_products_and_plain_readings_keep_no_terms() -> None:
    reading = TaylorReading(-np.ones((2, 2)), np.ones((2, 2)), taped=True)
    rng = np.random.default_rng(0)
    for entries, kept in ((taylor.FEW, True), (taylor.FEW + 1, False)):
        x = drawn(reading, rng, entries)
        assert (reading._product(x, x).step.known is not None) == kept  # type: ignore[union-attr]
    x = drawn(reading, rng, 2, pairs=False)
    assert reading._product(x, x).step.known is None  # type: ignore[union-attr]
    plain = TaylorReading(-np.ones((2, 2)), np.ones((2, 2)))
    x = drawn(plain, rng, 2)
    assert plain._product(x, x).step is None


def test_the_error_of_a_box_does_not_depend_on_the_boxes_beside_it() -> None:
    """A search and the kernel meet the same box in other company; open kinks elsewhere only add columns of zeros."""
    b = Builder()
    z = b.input(2)
    x, y = b.take(z, [0]), b.take(z, [1])
    u = b.unary("relu", b.binary("add", b.unary("exp", x), b.const([F(-3, 4)])))
    left, right = b.binary("mul", u, b.unary("cos", y)), b.binary("mul", b.unary("sin", x), u)
    graph = b.build([b.binary("add", left, b.binary("mul", right, left))])
    centre = np.array([[0.8, 0.2], [-0.3, 0.1], [-0.4, 1.0]])
    alone = [TaylorReading(c[None] - 0.7, c[None] + 0.7, taped=True) for c in centre]
    single = [r.settled(read(graph, r, [r.start()])[0]).e[0, 0] for r in alone]
    reading = TaylorReading(centre - 0.7, centre + 0.7, taped=True)
    together = reading.settled(read(graph, reading, [reading.start()])[0]).e[:, 0]
    assert reading.symbols > 0 and alone[0].symbols == 0
    np.testing.assert_allclose(together, single, rtol=1e-12)
