"""Taylor models: their polynomials follow the graph point by point, phases cover, and minima are below every value."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polynomials import Polynomial, apart, drawn, exact, times
from random_graphs import EVERY, RANDOM, boxes, corner_heavy, graphs, number, oracle

from verifiers.kernel import minimum, taylor
from verifiers.kernel.graph import Affine, Builder, Graph, Node, affine_from_rational
from verifiers.kernel.minimum import hessian, least, least_by_tangent, least_under
from verifiers.kernel.rational import down, up
from verifiers.kernel.taylor import MAX_ORDER_2, MAX_SYMBOLS, Model, TaylorReading, taylor_models
from verifiers.load.floats import evaluate

F = Fraction


def polynomial(reading: TaylorReading, model: Model, row: int, k: int, xi: list[Any]) -> tuple[Any, Any]:
    """Value of entry k at xi in 60 digits without its symbols, and how far the truth may be off."""
    n = reading.n
    value = number(float(model.p[0, row, k])) + sum(number(float(model.p[1 + i, row, k])) * xi[i] for i in range(n))
    inner = reading.pairs(n)
    for at, (i, j) in enumerate(zip(reading.first[:inner].tolist(), reading.second[:inner].tolist(), strict=True)):
        value += number(float(model.q[at, row, k])) * xi[i] * xi[j]
    unknown = [*model.p[1 + n:, row, k].tolist(), *model.q[inner:, row, k].tolist()]
    return value, sum((abs(number(v)) for v in unknown), number(float(model.e[row, k])))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("doublings", [0, 2])
@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_the_polynomial_follows_the_graph(doublings: int, data: st.DataObject, seed: int) -> None:
    """At every point some row of the box encloses all entries, and that row's inequalities hold there."""
    graph = data.draw(graphs(EVERY))
    lo, hi, rng = boxes(seed, graph.input_sizes[0])
    reading, model = taylor_models(graph, lo, hi, doublings)
    cp, cq, ce = reading.constraints()
    given_ = Model(cp, cq, ce, -ce, ce, 0)
    assert np.isfinite(model.e).all()
    for k in range(len(lo)):
        x = np.clip(corner_heavy(rng, lo[k], hi[k]), lo[k], hi[k])
        xi = [(number(v) - number(c)) / number(r) for v, c, r in zip(x.tolist(), reading.centre[k].tolist(), reading.radius[k].tolist(), strict=True)]
        y = oracle(graph, list(map(number, x.tolist())))

        def follows(row: int, xi: list[Any] = xi, y: list[Any] = y) -> bool:
            pairs = [(polynomial(reading, model, row, j, xi), v) for j, v in enumerate(y)]
            held = [polynomial(reading, given_, row, j, xi) for j in range(given_.e.shape[1])]
            tiny = number(10) ** -50  # of the oracle's own 60 digits
            return all(abs(p - v) <= off + tiny for (p, off), v in pairs) and all(p <= off + tiny for p, off in held)

        assert any(follows(row) for row in np.flatnonzero(reading.rows == k).tolist())


def kinked(left: Fraction | None = None) -> Graph:
    b = Builder()
    x = b.input(1)
    return b.build([b.unary("leaky_relu", x, left) if left is not None else b.unary("relu", x)])


def test_phases_are_straight_and_their_inequalities_tell_them_apart() -> None:
    reading, model = taylor_models(kinked(), np.array([[-1.0]]), np.array([[3.0]]), 1)
    assert reading.rows.tolist() == [0, 0] and (model.e < 1e-14).all()
    np.testing.assert_allclose(model.p[:2, :, 0].T, [[1.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(reading.constraints()[0][:2, :, 0].T, [[-1.0, -2.0], [1.0, 2.0]])


def test_a_relaxed_kink_carries_its_own_symbol_until_there_are_too_many() -> None:
    reading, model = taylor_models(kinked(), np.array([[-1.0]]), np.array([[1.0]]))
    assert model.p[:, 0, 0].tolist() == pytest.approx([0.25, 0.5, 0.25]) and model.e[0, 0] < 1e-14
    b, wide = Builder(), MAX_SYMBOLS + 5
    x = b.input(1)
    g = b.build([b.unary("relu", b.affine(x, Affine(np.ones((wide, 1)), np.linspace(-0.5, 0.5, wide))))])
    reading, model = taylor_models(g, np.array([[-1.0]]), np.array([[1.0]]))
    assert reading.symbols == MAX_SYMBOLS
    assert (model.e[0, :MAX_SYMBOLS] < 1e-14).all() and (model.e[0, MAX_SYMBOLS:] > 0.1).all()


def test_symbols_cancel_where_the_same_kink_is_subtracted() -> None:
    b = Builder()
    y = b.unary("relu", b.input(1))
    g = b.build([b.binary("sub", y, b.affine(y, Affine(np.eye(1), np.array([1.0]))))])
    reading, model = taylor_models(g, np.array([[-1.0]]), np.array([[1.0]]))
    assert least(reading, model)[0, 0] == pytest.approx(-1.0)


class Kept(TaylorReading):
    """Keeps arguments, results and symbols of relaxed kinks."""

    def __init__(self, lo: np.ndarray, hi: np.ndarray, splits: int = 0) -> None:
        super().__init__(lo, hi, splits)
        self.kept: list[tuple[Model, Model, tuple[np.ndarray, ...]]] = []

    def _own(self, x: Model, open_: np.ndarray) -> tuple[np.ndarray, ...]:
        self.last = super()._own(x, open_)
        return self.last

    def _kink(self, x: Model, left: float, left_off: float) -> Model:
        y = super()._kink(x, left, left_off)
        self.kept.append((x, y, self.last))
        return y


def mixed(rng: np.random.Generator, inner: int) -> Graph:
    """Products, a square and a sine of relus of two inputs, in two layers."""
    b = Builder()
    x = b.input(2)

    def layer(x: int, inner: int, outer: int) -> int:
        return b.affine(x, Affine(rng.normal(size=(outer, inner)), 0.3 * rng.normal(size=outer)))

    y = b.unary("relu", layer(x, 2, inner))
    z = b.unary("relu", layer(y, inner, 3))
    u = b.concat([layer(z, 3, 2), x])
    return b.build([b.concat([b.binary("mul", u, layer(y, inner, 4)), b.unary("pow", u, 2), b.unary("sin", layer(z, 3, 2))])])


def at(reading: TaylorReading, m: Model, v: np.ndarray) -> np.ndarray:
    """Of a model's polynomial (R, m) at inputs and symbols (R, variables); symbols that come later may still be 0."""
    known = m.p[0] + np.einsum("ri,irm->rm", v[:, :len(m.p) - 1], m.p[1:])
    i, j = reading.first[:len(m.q)], reading.second[:len(m.q)]
    return known + (np.einsum("rk,krm->rm", v[:, i] * v[:, j], m.q + np.zeros((1, len(v), 1))) if len(m.q) else 0.0)


@pytest.mark.parametrize(("inner", "paired"), [(2, 3), (4, 12), (20, 12)])
def test_the_values_of_the_symbols_give_the_value_of_the_graph(inner: int, paired: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the symbols' own values at a point, what is left is the error, and products with paired symbols are not part of it."""
    monkeypatch.setattr(taylor, "MAX_PAIRED", paired)
    rng, rows = np.random.default_rng(inner), 20
    for _ in range(4):
        graph, centre, r = mixed(rng, inner), rng.uniform(-1, 1, (rows, 2)), 10.0 ** rng.uniform(-3, -0.5, (rows, 1))
        reading, model = taylor_models(graph, centre - r, centre + r, 0, Kept)
        assert isinstance(reading, Kept) and len(model.q) == reading.pairs(2 + reading.symbols)
        for _ in range(20):
            xi = rng.uniform(-1, 1, (rows, 2))
            v = np.concatenate([xi, np.zeros((rows, reading.symbols))], axis=1)
            for x, y, (row, entry, number_) in reading.kept:
                z = at(reading, x, v)[row, entry]  # affine in earlier values, so the polynomial is exact here up to rounding
                t = y.p[3 + number_, row, entry]
                v[row, 2 + number_] = (np.maximum(z, 0.0) - at(reading, y, v)[row, entry]) / t
                assert (np.abs(v[row, 2 + number_]) <= 1 + 1e-9).all()
            truth = evaluate(graph, reading.centre + reading.radius * xi)
            assert (np.abs(truth - at(reading, model, v)) <= model.e + 1e-12).all()
        if inner + 3 <= paired:
            products = model.e[:, :8]
            assert (products < 1e-12).all()  # squares and products of what is affine in inputs and symbols are exact


def test_two_unknown_constants_do_not_cancel() -> None:
    b = Builder()
    x = b.input(1)
    c, d = (b.const([(F(-1), F(1))]) for _ in range(2))
    g = b.build([b.binary("add", x, b.binary("sub", c, d))])
    reading, model = taylor_models(g, np.array([[0.0]]), np.array([[0.0]]))
    assert least(reading, model)[0, 0] <= -2.0


@pytest.mark.threat("T08")
@pytest.mark.parametrize("op", ["log", "sqrt"])
def test_undefined_values_say_nothing(op: str) -> None:
    b = Builder()
    g = b.build([b.unary(op, b.input(1))])
    reading, model = taylor_models(g, np.array([[-1.0]]), np.array([[1.0]]))
    assert not least(reading, model)[0, 0] > -1e300
    with np.errstate(all="ignore"):
        assert not least_by_tangent(reading, model.p[:, :, 0], model.q[:, :, 0], model.e[:, 0])[0] > -1e300


def quadratic(rng: np.random.Generator, n: int, rows: int) -> tuple[TaylorReading, np.ndarray, np.ndarray, np.ndarray]:
    reading = TaylorReading(-np.ones((rows, n)), np.ones((rows, n)))
    return reading, rng.normal(size=(1 + n, rows)), rng.normal(size=(reading.pairs(n), rows)), rng.uniform(0, 0.1, rows)


def values(reading: TaylorReading, p: np.ndarray, q: np.ndarray, xi: np.ndarray) -> np.ndarray:
    return p[0] + xi @ p[1:] + (xi[:, reading.first[:len(q)]] * xi[:, reading.second[:len(q)]]) @ q


@pytest.mark.parametrize("n", [1, 2, 4])
def test_minima_are_below_every_value(n: int) -> None:
    rng = np.random.default_rng(n)
    reading, p, q, e = quadratic(rng, n, 200)
    xi = np.concatenate([rng.uniform(-1, 1, (3000, n)), rng.choice([-1.0, 0.0, 1.0], (500, n))])
    truth = values(reading, p, q, xi).min(axis=0) - e
    nothing = np.full((200, 1), np.inf)
    model = Model(p[:, :, None], q[:, :, None], e[:, None], -nothing, nothing, 0)
    tangent = least_by_tangent(reading, p, q, e)
    assert (least(reading, model)[:, 0] <= truth).all() and (tangent <= truth).all()
    convex = np.linalg.eigvalsh(hessian(reading, q, n))[:, 0] > 0.5
    if n < 4:
        assert convex.any() and (truth - tangent)[convex].max() < 0.1


def test_minima_under_constraints_are_below_every_value_that_satisfies_them() -> None:
    rng = np.random.default_rng(7)
    reading, p, q, e = quadratic(rng, 3, 100)
    _, cp, cq, ce = quadratic(rng, 3, 200)
    cp, cq, ce = cp.reshape(4, 100, 2), cq.reshape(6, 100, 2), ce.reshape(100, 2)
    xi = rng.uniform(-1, 1, (4000, 3))
    held = np.all([values(reading, cp[:, :, k], cq[:, :, k], xi) <= ce[:, k] for k in (0, 1)], axis=0)  # the truth may be lower by the error
    found = least_under(reading, p, q, e, cp, cq, ce)
    truth = np.where(held, values(reading, p, q, xi), np.inf).min(axis=0)
    assert (found <= truth - e).all()
    assert (found > least_by_tangent(reading, p, q, e) + 1e-3).mean() > 0.2


@pytest.mark.threat("T24")
@pytest.mark.parametrize("fault", ["identity", "zeros", "nan", "huge", "positive"])
def test_no_eigenvalue_routine_is_believed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    reading, p, q, e = quadratic(rng, 3, 100)
    xi = np.concatenate([rng.uniform(-1, 1, (2000, 3)), rng.choice([-1.0, 1.0], (200, 3))])

    def wrong(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        eye = np.broadcast_to(np.eye(3), h.shape).copy()
        return {"identity": (np.ones(h.shape[:2]), eye), "zeros": (np.zeros(h.shape[:2]), 0 * eye), "nan": (np.full(h.shape[:2], np.nan), eye),
                "huge": (np.ones(h.shape[:2]), 1e200 * eye), "positive": (np.abs(np.linalg.eigvalsh(h)), eye)}[fault]

    monkeypatch.setattr(np.linalg, "eigh", wrong)
    with np.errstate(all="ignore"):
        found = least_by_tangent(reading, p, q, e)
    assert not (found > values(reading, p, q, xi).min(axis=0) - e).any()


def test_a_row_may_be_doubled_more_often_than_its_box() -> None:
    """Only undecided rows are doubled, so one row may take four phases in a box of five rows."""
    b = Builder()
    x = b.input(1)
    for shift in (0.9, 0.5, 0.5, 0.5):
        x = b.affine(b.unary("relu", x), Affine(np.array([[1.0]]), np.array([-shift])))
    reading, _ = taylor_models(b.build([x]), np.array([[-1.0]]), np.array([[4.0]]), 3)
    p, q, e = reading.constraints()
    assert len(reading.rows) == 5 and p.shape[2] == q.shape[2] == e.shape[1] == 4


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("p0", "p1", "q", "e"), [
    (0.0, 2.0**-54, 0.0, 1.0), (1.0, 2.0**-56, 0.0, 0.0), (-1.0, 2.0**-56, 0.0, 0.0), (1.0, 0.0, -(2.0**-56), 0.0), (0.5, 0.0, 3.0, 0.0),
    (0.0, 0.1, -0.7, 0.3), (0.0, -0.1, 0.7, 0.3)])
def test_a_minimum_is_rounded_below_the_exact_one(p0: float, p1: float, q: float, e: float) -> None:
    reading = TaylorReading(-np.ones((1, 1)), np.ones((1, 1)))
    p, second, off = np.array([p0, p1]).reshape(2, 1, 1), np.full((1, 1, 1), q), np.full((1, 1), e)
    exact = F(p0) - abs(F(p1)) + min(F(q), F(0)) - F(e)
    for lo in (-np.inf, p0 + 9.0):
        found = least(reading, Model(p, second, off, np.full((1, 1), lo), np.full((1, 1), np.inf), 0))[0, 0]
        assert found == lo or (float(exact) - 1e-14 < found and F(float(found)) <= exact)
        assert found == lo if lo > 0 else found > -np.inf


@pytest.mark.threat("T09")
def test_a_tangent_is_rounded_below_the_exact_minimum_at_a_corner() -> None:
    """Linear, or concave and separable: the least value is exactly p0 - |p|_1 - |q|_1 - e, and often no float."""
    rng = np.random.default_rng(2)
    for n, scale, bent in ((1, 1.0, 0.0), (3, 1.0, 0.0), (3, 1e-4, 1.0), (2, 1e-3, 1.0)):
        reading, p, q, e = quadratic(rng, n, 150)
        p, q, e = scale * p, np.where(reading.square[:len(q), None], -bent * np.abs(q), 0.0), 1e-17 * e
        exact = [F(c[0]) - sum(map(abs, map(F, [*c[1:], *d, off]))) for c, d, off in zip(p.T.tolist(), q.T.tolist(), e.tolist(), strict=True)]
        found = least_by_tangent(reading, p, q, e).tolist()
        assert all(F(a) <= b and float(b) - a < 1e-11 for a, b in zip(found, exact, strict=True))
    reading = TaylorReading(-np.ones((1, 1)), np.ones((1, 1)))
    small = least_by_tangent(reading, np.array([[0.0], [2.0**-60]]), np.zeros((1, 1)), np.ones(1))[0]
    assert -1 - 1e-14 < small and F(float(small)) <= -1 - F(1, 2**60)


def test_a_tangent_at_the_minimum_of_a_narrow_valley_is_sharp() -> None:
    """1/2 xi'H xi with H = [[2, -1.9], [-1.9, 2]] and a slope that puts the minimum inside."""
    reading = TaylorReading(-np.ones((1, 2)), np.ones((1, 2)))
    q = np.zeros((3, 1))
    q[:, 0] = [1.0 if i == j else -1.9 for i, j in zip(reading.first[:3], reading.second[:3], strict=True)]
    for at in ((0.5, -0.5), (-0.3, 0.3)):
        h = np.array([[2.0, -1.9], [-1.9, 2.0]])
        g = -h @ np.array(at)
        truth = 0.5 * g @ np.array(at)
        found = least_by_tangent(reading, np.array([[0.0], *g[:, None]]), q, np.zeros(1))[0]
        assert truth - 1e-9 < found <= truth


@pytest.mark.threat("T08")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_coefficient_that_is_no_number_leaves_no_bound(bad: float) -> None:
    reading = TaylorReading(-np.ones((2, 2)), np.ones((2, 2)))
    fine, spoilt = np.ones((3, 2)), np.array([[1.0, 1.0], [bad, 1.0], [1.0, 1.0]])
    for p, q in ((spoilt, fine), (fine, spoilt)):
        with np.errstate(all="ignore"):
            found = least_by_tangent(reading, p, q, np.zeros(2))
        assert found[0] == -np.inf and np.isfinite(found[1])


@pytest.mark.threat("T09")
def test_a_sum_with_weights_is_rounded_below_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the weights are, the bound is at most ``p + w c``: here constants that cancel."""
    rng, rows = np.random.default_rng(9), 100
    reading = TaylorReading(-np.ones((rows, 1)), np.ones((rows, 1)))
    w, c, nothing = rng.uniform(0.1, 1, (rows, 1)), rng.uniform(-2, -1, rows), np.zeros(rows)
    p0 = -w[:, 0] * c
    monkeypatch.setattr(minimum, "_weights", lambda *_: w)
    p, given_p = np.stack([p0, nothing]), np.stack([c, nothing])[:, :, None]
    found = least_under(reading, p, nothing[None], nothing, given_p, np.zeros((1, rows, 1)), np.zeros((rows, 1)))
    assert (found > -1e-13).all() and all(F(float(a)) <= F(b) + F(v) * F(d) for a, b, v, d in zip(found, p0, w[:, 0], c, strict=True))


def reading_of(rows: int, n: int, symbols: int = 0) -> TaylorReading:
    reading = TaylorReading(-np.ones((rows, n)), np.ones((rows, n)))
    reading.used[:] = symbols
    return reading


@pytest.mark.threat("T09")
@pytest.mark.parametrize("error", [0.0, 1e-12])
@pytest.mark.parametrize("third", [False, True])
def test_the_error_of_an_affine_map_covers_its_rounding(error: float, third: bool) -> None:
    rng, rows, inner = np.random.default_rng(int(third)), 30, 3
    reading = reading_of(rows, 2, 1)
    x = drawn(reading, rng, inner, symbols=1, error=error)
    weight = [[F(int(v), 3 if third else 1) for v in rng.integers(-9, 9, inner)] for _ in range(2)] if third else \
        [[F(float(v)) for v in row] for row in rng.normal(size=(2, inner))]
    bias = [F(1, 3) if third else F(float(v)) for v in (0.3, 1e6 * rng.normal())]
    data = affine_from_rational(weight, bias)
    y = reading.affine(Node("affine", (0,), 2, data), x)
    for row in range(rows):
        parts = [exact(reading, x, row, j) for j in range(inner)]
        for k in (0, 1):
            truth: Polynomial = {(): bias[k]}
            for w, part in zip(weight[k], parts, strict=True):
                truth = {key: truth.get(key, F(0)) + w * part.get(key, F(0)) for key in truth.keys() | part.keys()}
            spread = sum((abs(w) * F(float(x.e[row, j])) for j, w in enumerate(weight[k])), F(0))
            assert apart(truth, exact(reading, y, row, k)) + spread <= F(float(y.e[row, k]))
        assert y.e[row].max() < 1e-7


@pytest.mark.threat("T09")
@pytest.mark.parametrize("third", [False, True])
@pytest.mark.parametrize("cancels", [False, True])
def test_the_range_of_an_affine_map_covers_its_rounding(third: bool, cancels: bool) -> None:
    rng, rows, inner = np.random.default_rng(5), 200, 3
    reading = reading_of(rows, 1)
    lo = rng.normal(size=(rows, inner)) * 10.0 ** rng.integers(-3, 2, (rows, inner))
    if cancels:
        lo[:] = lo[:1]
    hi = lo + rng.uniform(0, 1, (rows, inner)) * 10.0 ** rng.integers(-19, -15 if cancels else 1, (rows, 1))
    x = Model(np.zeros((2, rows, inner)), np.zeros((0, 1, 1)), np.full((rows, inner), 1e9), lo, hi, 0)
    weight = [F(int(v), 3) if third else F(float(v)) for v in (rng.integers(1, 9, inner) if third else rng.normal(size=inner))]
    bias = -sum((w * F(float(v)) for w, v in zip(weight, lo[0], strict=True)), F(0)) if cancels else F(1, 7)
    y = reading.affine(Node("affine", (0,), 1, affine_from_rational([weight], [F(float(bias))])), x)
    for row in range(rows):
        ends = [sorted((w * F(float(a)), w * F(float(b)))) for w, a, b in zip(weight, lo[row], hi[row], strict=True)]
        least_, most = (F(float(bias)) + sum((end[k] for end in ends), F(0)) for k in (0, 1))
        assert F(float(y.lo[row, 0])) <= least_ and most <= F(float(y.hi[row, 0]))
        assert float(y.hi[row, 0] - y.lo[row, 0]) < float(most - least_) + 1e-12


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("pairs", "error"), [(False, 0.0), (True, 0.0), (True, 1e-3)])
def test_the_errors_of_sums_and_products_cover_what_they_drop(pairs: bool, error: float) -> None:
    rng, rows = np.random.default_rng(int(pairs)), 30
    reading = reading_of(rows, 2, 1)
    a, b = drawn(reading, rng, 1, symbols=1, pairs=pairs, error=error), drawn(reading, rng, 1, pairs=pairs, error=error)
    for left, right in ((a, b), (b, a), (b, b)):
        added, product = reading._sum(left, right), reading._product(left, right)
        for row in range(rows):
            x, y = exact(reading, left, row, 0), exact(reading, right, row, 0)
            e, f = F(float(left.e[row, 0])), F(float(right.e[row, 0]))
            both = {key: x.get(key, F(0)) + y.get(key, F(0)) for key in x.keys() | y.keys()}
            assert apart(both, exact(reading, added, row, 0)) + e + f <= F(float(added.e[row, 0]))
            size_x, size_y = (sum(map(abs, t.values()), F(0)) for t in (x, y))
            missed = apart(times(x, y), exact(reading, product, row, 0))
            assert missed + e * size_y + size_x * f + e * f <= F(float(product.e[row, 0]))
            if not pairs and not error:
                assert product.e[row, 0] < 1e-14 * float(size_x * size_y)


@pytest.mark.threat("T09")
def test_products_of_errors_alone_are_rounded_up() -> None:
    rng, rows = np.random.default_rng(8), 300
    reading = reading_of(rows, 1)
    nothing, e = np.zeros((2, rows, 1)), rng.uniform(1, 2, (2, rows, 1))
    a, b = (Model(nothing, np.zeros((0, 1, 1)), e[k], -e[k], e[k], 0) for k in (0, 1))
    product = reading._product(a, b)
    exact_ = [F(float(v)) * F(float(w)) for v, w in zip(e[0, :, 0], e[1, :, 0], strict=True)]
    assert all(v <= F(float(w)) for v, w in zip(exact_, product.e[:, 0], strict=True))
    assert all(F(float(w)) <= -v for v, w in zip(exact_, product.lo[:, 0], strict=True))
    assert all(v <= F(float(w)) for v, w in zip(exact_, product.hi[:, 0], strict=True))


@pytest.mark.threat("T09")
def test_sums_middles_and_bounds_are_rounded_outward() -> None:
    rng = np.random.default_rng(11)
    parts = rng.normal(size=(6, 400)) * 10.0 ** rng.integers(-2, 1, (6, 400))
    sums = taylor.total(parts)
    assert all(sum((abs(F(float(v))) for v in parts[:, k]), F(0)) <= F(float(sums[k])) for k in range(400))
    lo = np.concatenate([rng.normal(size=300), [-1e308, 5e-324, 0.0, -1e-17]])
    hi = np.concatenate([lo[:300] + rng.uniform(0, 1, 300) * 10.0 ** rng.integers(-17, 1, 300), [1e308, 1e-323, 0.0, 1.0]])
    middle, radius = taylor._middle(lo, hi)
    for a, b, c, r in zip(lo, hi, middle, radius, strict=True):
        assert F(float(c)) - F(float(r)) <= F(float(a)) and F(float(b)) <= F(float(c)) + F(float(r))
    rows = 400
    for size, centre, error in ((1e-17, 1.0, 1e-17), (1.0, 1.0, 1.0), (1e-20, 0.1, 1.0)):
        p, q, e = rng.normal(size=(3, rows, 1)), size * rng.normal(size=(3, rows, 1)), error * rng.uniform(0, 1, (rows, 1))
        p *= np.array([centre, size, size])[:, None, None]
        found = taylor._sealed(p, q, e, (np.full((rows, 1), -np.inf), np.full((rows, 1), np.inf)), 0)
        for k in range(rows):
            spread = sum((abs(F(float(v))) for v in (*p[1:, k, 0], *q[:, k, 0], found.e[k, 0])), F(0))
            middle_ = F(float(p[0, k, 0]))
            assert F(float(found.lo[k, 0])) <= middle_ - spread and middle_ + spread <= F(float(found.hi[k, 0]))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("left", [F(0), F(1, 10), F(-1)])
def test_a_chord_and_its_symbol_cover_the_kink(left: Fraction) -> None:
    """For z between the ends the function less its slope times z lies between 0 and twice the symbol's coefficient, exactly."""
    rng, rows = np.random.default_rng(13), 300
    lo, hi = -(10.0 ** rng.uniform(-8, 0, (rows, 1))), 10.0 ** rng.uniform(-8, 0, (rows, 1))
    reading = TaylorReading(lo, hi)
    x = reading.start()
    y = reading._kink(x, float(left), up(left) - down(left))
    for row in range(rows):
        a, b = F(float(lo[row, 0])), F(float(hi[row, 0]))
        t, off = F(float(y.p[2, row, 0])), F(float(y.e[row, 0]))
        for z, true in ((a, left * a), (b, b), (F(0), F(0))):
            xi = (z - F(float(reading.centre[row, 0]))) / F(float(reading.radius[row, 0]))
            rest = true - F(float(y.p[0, row, 0])) - F(float(y.p[1, row, 0])) * xi
            assert abs(rest) <= t + off and abs(xi) <= 1
        assert off < F(1, 10**14) * max(-a, b) + F(1, 10**17)


def test_the_largest_number_of_inputs_still_has_pairs() -> None:
    for n, paired in ((MAX_ORDER_2, True), (MAX_ORDER_2 + 1, False)):
        assert (TaylorReading(-np.ones((1, n)), np.ones((1, n))).paired > 0) is paired


def test_each_phase_of_a_row_has_its_own_inequality() -> None:
    b = Builder()
    x = b.input(2)
    graph = b.build([b.unary("relu", x)])
    reading, _ = taylor_models(graph, -np.ones((1, 2)), np.ones((1, 2)), 2)
    p, _, _ = reading.constraints()
    assert sorted(tuple(p[1:3, row].T.flatten().round(9).tolist()) for row in range(4)) == sorted(
        tuple(float(v) for v in np.diag([s, r]).flatten()) for s in (1.0, -1.0) for r in (1.0, -1.0))


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_range_of_a_larger_or_smaller_one_is_that_of_the_ends(op: str) -> None:
    """The chord alone would allow more than either argument reaches."""
    b = Builder()
    x = b.input(2)
    graph = b.build([b.binary(op, b.take(x, [0]), b.take(x, [1]))])
    _, model = taylor_models(graph, np.array([[-1.0, -3.0]]), np.array([[2.0, 3.0]]))
    assert (model.lo[0, 0], model.hi[0, 0]) == ((-1.0, 3.0) if op == "max" else (-3.0, 2.0))


def test_a_constant_is_joined_to_what_has_more_rows() -> None:
    b = Builder()
    x = b.input(1)
    graph = b.build([b.concat([b.const([F(2)]), b.unary("relu", x), b.const([(F(0), F(1))])])])
    reading, model = taylor_models(graph, -np.ones((2, 1)), np.ones((2, 1)), 1)
    assert model.e.shape == (4, 3) and (model.p[0, :, 0] == 2.0).all() and (model.e[:, 2] >= 0.5).all() and reading.rows.tolist() == [0, 1, 0, 1]


@pytest.mark.threat("T09")
@pytest.mark.parametrize("doublings", [0, 1])
def test_the_range_of_a_kink_that_is_open_reaches_both_ends(doublings: int) -> None:
    for left, ends in ((F(1, 10), (-0.1, 3.0)), (None, (0.0, 3.0))):
        _, model = taylor_models(kinked(left), np.array([[-1.0]]), np.array([[3.0]]), doublings)
        assert ends[0] - 1e-9 < model.lo.min() <= ends[0] and ends[1] <= model.hi.max() < ends[1] + 1e-9
    _, phases = taylor_models(kinked(F(1, 10)), np.array([[-1.0]]), np.array([[3.0]]), 1)
    np.testing.assert_allclose(phases.lo[:, 0], [0.0, -0.1], atol=1e-9)
    np.testing.assert_allclose(phases.hi[:, 0], [3.0, 0.0], atol=1e-9)


def test_an_unknown_constant_at_a_kink_is_not_doubled() -> None:
    b = Builder()
    x = b.input(1)
    graph = b.build([b.binary("add", b.unary("relu", x), b.unary("relu", b.const([(F(-1), F(1))])))])
    reading, model = taylor_models(graph, -np.ones((3, 1)), np.ones((3, 1)), 2)
    assert reading.rows.tolist() == [0, 1, 2, 0, 1, 2] and model.lo.min() <= 0.0 and model.hi.max() >= 2.0


@pytest.mark.threat("T09")
def test_an_error_stays_where_a_kink_turns_the_sign() -> None:
    b = Builder()
    graph = b.build([b.unary("abs", b.binary("add", b.input(1), b.const([(F(-1, 10), F(1, 10))])))])
    reading, model = taylor_models(graph, np.array([[-3.0]]), np.array([[-2.0]]))
    assert model.e[0, 0] >= 0.1 and least(reading, model)[0, 0] <= 1.9


def cubic(c: list[F], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every smooth function becomes the cubic with these coefficients, its derivatives enclosed as tightly as float64 can."""
    slope, bend, third = [c[1], 2 * c[2], 3 * c[3]], [2 * c[2], 6 * c[3]], [6 * c[3]]

    def enclosed(coefficients: list[F], lo: np.ndarray, hi: np.ndarray, bound: Any) -> np.ndarray:
        ends = [[sum((v * F(float(t)) ** k for k, v in enumerate(coefficients)), F(0)) for t in part.flat] for part in (lo, hi)]
        return np.array([bound(max(pair) if bound is up else min(pair)) for pair in zip(*ends, strict=True)]).reshape(lo.shape)

    def derivatives(op: str, lo: np.ndarray, hi: np.ndarray, power: int = 0) -> Any:
        value, first, second = ((enclosed(d, lo, hi, down), enclosed(d, lo, hi, up)) for d in (c, slope, bend))
        value[0][1], value[1][1] = -1e9, 1e9
        return value, first, second

    monkeypatch.setattr(taylor, "smooth_derivatives", derivatives)
    monkeypatch.setattr(taylor, "third_derivative", lambda op, first: tuple(np.full_like(first[0], bound(third[0])) for bound in (down, up)))


def misses(c: list[F], reading: TaylorReading, x: Model, y: Model, row: int, v: list[F], off: F) -> F:
    """How far ``c(t + off)`` is from the polynomial of y where that of x is t, less the error of y."""
    def value(m: Model) -> F:
        known = F(float(m.p[0, row, 0])) + sum((F(float(a)) * b for a, b in zip(m.p[1:, row, 0], v, strict=False)), F(0))
        pairs = zip(reading.first, reading.second, m.q[:, row, 0] if len(m.q) else [], strict=False)
        return known + sum((F(float(a)) * v[i] * v[j] for i, j, a in pairs), F(0))

    t = value(x) + off
    assert F(float(x.lo[row, 0])) <= t <= F(float(x.hi[row, 0]))
    return abs(sum((a * t**k for k, a in enumerate(c)), F(0)) - value(y)) - F(float(y.e[row, 0]))


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("c", "wide"), [((0, 1, 0, 0.3), 1.0), ((0, -1, 0, 0.3), 1.0), ((0, 0.5, -0.7, 0.1), 1e-3), ((0, 0, 1, 0), 1.0),
                                         ((0, -0.7, 0, 1e-3), 1e-9), ((0, 0.7, 0, 1e-3), 1e-9), ((0, 0, -1, 1e-9), 1e-6), ((0, 0, 1, 1e-9), 1e-6)])
def test_the_error_of_a_smooth_function_covers_its_rounding(c: tuple[float, ...], wide: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cubic, at ends and halves of the range, and where an input and a symbol nearly cancel: the terms are large and the range is not."""
    rng, rows, exact_ = np.random.default_rng(17), 150, [F(v) for v in c]
    cubic(exact_, monkeypatch)
    reading = reading_of(rows, 1, 1)
    r = rng.uniform(0.5, 1, rows)
    for symbol in (0.0, 1.0):
        p = np.stack([np.zeros(rows), wide * r if not symbol else r, -symbol * (r + rng.uniform(-0.5, 0.5, rows) * wide)])[:, :, None]
        nothing, limit = np.zeros((rows, 1)), np.full((rows, 1), wide)
        x = Model(p, np.zeros((0, 1, 1)), nothing, -limit, limit, 0)
        with np.errstate(all="ignore"):
            y = reading._smooth(x, "cubic", 0)
        assert (y.e < 1e-15 + (abs(c[3]) / 3.9 + 1e-13 * (abs(c[1]) + abs(c[2]))) * wide**3 + 1e-14 * (abs(c[1]) + abs(c[2]))).all()
        for row in range(rows):
            for s in (F(-1), F(-1, 2), F(1, 2), F(1)):
                assert misses(exact_, reading, x, y, row, [s, s], F(0)) <= 0


@pytest.mark.threat("T09")
@pytest.mark.parametrize("c", [(0, 0, 1, 0), (0, 0, -1, 0), (0, 1, 0, 0), (0, -1, 0, 0), (0, 1, 1, -1)])
def test_the_error_of_a_smooth_function_covers_what_it_drops(c: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Products with quadratic terms and the error of the argument are not kept."""
    exact_ = [F(v) for v in c]
    cubic(exact_, monkeypatch)
    reading = reading_of(1, 1)
    for bent, error in ((0.5, 0.0), (0.0, 0.25), (0.5, 0.25)):
        p, q, e, limit = np.array([[[0.0]], [[0.125]]]), np.full((1, 1, 1), bent), np.full((1, 1), error), np.full((1, 1), 1.0)
        x = Model(p, q, e, -limit, limit, 0)
        y = reading._smooth(x, "cubic", 0)
        for s in (-1, 0, 1):
            for sign in (-1, 0, 1):
                assert misses(exact_, reading, x, y, 0, [F(s)], sign * F(error)) <= 0


@pytest.mark.threat("T09")
def test_a_smooth_function_of_a_narrow_range_is_enclosed_about_a_point_of_it() -> None:
    """The middle may lie outside the range, which is then enclosed by a constant; or its ends may be at unequal distances."""
    reading, p = reading_of(2, 1), np.array([[[1.0], [0.0]], [[1.0], [1.0]]])
    lo, hi = np.array([[-0.1], [-0.01]]), np.array([[0.1], [1.0]])
    y = reading._smooth(Model(p, np.zeros((0, 1, 1)), np.zeros((2, 1)), lo, hi, 0), "exp", 0)
    assert y.p[1, 0, 0] == 0.0 and abs(y.p[0, 0, 0] - 1.0) < 0.01 and y.p[1, 1, 0] != 0.0
    assert 0.1 <= y.e[0, 0] < 0.11
    for t in np.linspace(-0.01, 1.0, 100):
        assert abs(np.exp(t) - y.p[0, 1, 0] - y.p[1, 1, 0] * t - y.q[0, 1, 0] * t * t) <= y.e[1, 0] + 1e-15


@pytest.mark.parametrize("op", ["tanh", "sigmoid"])
def test_a_neuron_with_a_wide_argument_is_followed_by_a_line(op: str) -> None:
    """Its error is that of a line, and the truth lies within it; a narrow argument keeps its quadratic."""
    b = Builder()
    graph = b.build([b.unary(op, b.input(1))])
    centre, width = np.array([[0.0], [0.7], [-1.5], [4.0]]), np.array([[4.0], [3.0], [2.5], [6.0]])
    model = taylor_models(graph, centre - width, centre + width)[1]
    flat = 0.5 * (model.hi - model.lo)
    assert (model.e < 0.75 * flat).all() and (model.p[1] > 0).all()
    xi = np.linspace(-1, 1, 201)
    for k in range(4):
        truth = np.asarray(evaluate(graph, centre[k] + width[k] * xi[:, None]))[:, 0]
        bend = model.q[0, k, 0] if len(model.q) else 0.0
        assert (np.abs(truth - model.p[0, k, 0] - model.p[1, k, 0] * xi - bend * xi * xi) <= model.e[k, 0]).all()
    narrow = taylor_models(graph, centre - 0.1, centre + 0.1)[1]
    assert narrow.q.any() and (narrow.e < 1e-3).all()


@pytest.mark.parametrize("op", ["tanh", "sigmoid"])
def test_a_line_is_taken_whatever_is_beside_the_box(op: str) -> None:
    """A search and the kernel meet the same box in other company."""
    b = Builder()
    graph = b.build([b.unary(op, b.input(1))])
    centre, width = np.array([[0.2], [0.3], [1.0]]), np.array([[3.0], [0.1], [4.0]])
    together = taylor_models(graph, centre - width, centre + width)[1]
    for k in range(3):
        alone = taylor_models(graph, (centre - width)[k:k + 1], (centre + width)[k:k + 1])[1]
        np.testing.assert_allclose(together.e[k], alone.e[0], rtol=1e-12)


@pytest.mark.parametrize("first", [True, False])
def test_a_constant_zero_keeps_no_row_from_being_doubled(first: bool) -> None:
    """Its own gap would be 0/0, which no comparison passes."""
    b = Builder()
    x, zero = b.input(1), b.const([F(0)])
    graph = b.build([b.unary("relu", b.concat([zero, x] if first else [x, zero]))])
    reading, model = taylor_models(graph, np.array([[-1.0]]), np.array([[3.0]]), 1)
    assert reading.rows.tolist() == [0, 0] and (model.e < 1e-14).all()
