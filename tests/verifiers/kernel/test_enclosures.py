"""Jets against exact rationals: every rounding is covered, at single points and over boxes, for values, gradients and second derivatives."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Affine, Builder, Graph, affine_from_rational
from verifiers.kernel.jets import Jet, JetReading, inner_product, plus, read_jets, split_boxes
from verifiers.load.derivative import gradient

N = 2


def thirds(rng: np.random.Generator, rows: int, columns: int) -> Affine:
    """An affine map whose coefficients are no float64."""
    w = [[Fraction(int(v), 3) for v in row] for row in rng.integers(-9, 10, (rows, columns))]
    return affine_from_rational(w, [Fraction(int(v), 7) for v in rng.integers(-9, 10, rows)])


def floats(rng: np.random.Generator, rows: int, columns: int, scale: float = 1.0) -> Affine:
    return Affine(scale * rng.standard_normal((rows, columns)), rng.standard_normal(rows))


def smooth(rng: np.random.Generator) -> Graph:
    """Layers, products, quotients and powers."""
    b = Builder()
    x = b.input(N)
    h = b.affine(x, floats(rng, 6, N))
    h = b.binary("mul", h, b.affine(x, thirds(rng, 6, N)))
    h = b.binary("sub", b.affine(h, floats(rng, 4, 6)), b.unary("neg", b.affine(x, floats(rng, 4, N))))
    below = b.binary("add", b.unary("pow", h, 2), b.const([Fraction(k + 3, 3) for k in range(4)]))
    h = b.binary("div", b.unary("pow", h, 3), below)
    return b.build([b.affine(b.concat([h, x]), floats(rng, 1, 4 + N))])


def kinked(rng: np.random.Generator) -> Graph:
    """Kinks of each kind between layers."""
    b = Builder()
    x = b.input(N)
    h = b.affine(x, floats(rng, 8, N))
    parts = [b.unary("relu", b.take(h, (0, 1))), b.unary("leaky_relu", b.take(h, (2, 3)), Fraction(1, 7)), b.unary("abs", b.take(h, (4, 5))),
             b.binary("max", b.take(h, (6,)), b.take(h, (0,))), b.binary("min", b.take(h, (7,)), b.const([Fraction(1, 3)]))]
    return b.build([b.affine(b.concat(parts), floats(rng, 1, 8))])


def exactly(graph: Graph, x: np.ndarray) -> list[Fraction]:
    return list(evaluate_exact(graph, [Fraction(float(v)) for v in x]))


def holds(jet: Jet, at: int, box: int, value: Fraction, entry: int = 0) -> bool:
    mid, rad = float(jet.mid[at, box, entry]), float(jet.rad[at, box, entry])
    return abs(value - Fraction(mid)) <= Fraction(rad)


def second(graph: Graph) -> list[Graph]:
    """The graph of each component of the gradient, differentiated."""
    first = gradient(graph)
    rows = []
    for i in range(N):
        b = Builder()
        rows.append(gradient(b.build([b.take(b.inline(first, [b.input(N)])[0], (i,))])))
    return rows


def read_boxes(graph: Graph, lo: np.ndarray, hi: np.ndarray, order: int) -> tuple[JetReading, Jet]:
    centre, radius = split_boxes(lo, hi)
    reading = JetReading(radius, order)
    return reading, read_jets(graph, reading, reading.start(centre))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
@pytest.mark.parametrize("size", [1, 3, 40])
def test_an_affine_map_covers_its_roundings(size, scale):
    rng = np.random.default_rng(size)
    for trial in range(30):
        data = floats(rng, 4, N, scale) if trial % 2 else Affine(scale * rng.standard_normal((4, N)), np.zeros(4))
        graph = Builder()
        graph = graph.build([graph.affine(graph.input(N), data)])
        x = rng.standard_normal((8, N)) * 10.0 ** rng.integers(-8, 8)
        for order in (1, 2):
            _, jet = read_boxes(graph, x, x, order)
            for k, point in enumerate(x):
                for entry, value in enumerate(exactly(graph, point)):
                    assert holds(jet, 0, k, value, entry) and holds(jet, 1 if order == 1 else 1 + N, k, value, entry)


@pytest.mark.threat("T09")
@pytest.mark.parametrize("build", [smooth, kinked])
@pytest.mark.parametrize("seed", range(6))
def test_values_gradients_and_second_derivatives_lie_inside(build, seed):
    rng = np.random.default_rng(seed)
    graph = build(rng)
    slopes = gradient(graph)
    centre = rng.standard_normal((12, N))
    radius = np.where(np.arange(12) < 6, 0.0, 10.0 ** rng.uniform(-9, -1, 12))[:, None] * rng.uniform(0.2, 1, (12, N))
    lo, hi = centre - radius, centre + radius
    for order in (1, 2):
        reading, jet = read_boxes(graph, lo, hi, order)
        v = reading.v
        for k in range(12):
            middle = 0.5 * lo[k] + 0.5 * hi[k]
            assert holds(jet, 0, k, exactly(graph, middle)[0])
            if order == 2 and np.isfinite(jet.rad[1:1 + N, k]).all():
                assert all(holds(jet, 1 + i, k, d) for i, d in enumerate(exactly(slopes, middle)))
            for point in (lo[k], hi[k], middle, rng.uniform(lo[k], hi[k])):
                assert holds(jet, v, k, exactly(graph, point)[0])
                assert all(holds(jet, v + 1 + i, k, d) for i, d in enumerate(exactly(slopes, point)))
                if order == 2 and np.isfinite(jet.rad[:, k]).all():
                    bends = [exactly(row, point) for row in second(graph)]
                    assert all(holds(jet, reading.position[i, j], k, bends[i][j]) for i in range(N) for j in range(N))


@pytest.mark.threat("T09")
@pytest.mark.parametrize("seed", range(4))
def test_the_mean_value_form_of_an_inner_product_lies_inside(seed):
    rng = np.random.default_rng(seed)
    v, b = smooth(rng), Builder()
    x = b.input(N)
    field = b.build([b.binary("mul", b.affine(x, thirds(rng, N, N)), b.affine(x, floats(rng, N, N)))])
    slopes = gradient(v)
    centre, radius = rng.standard_normal((10, N)), 10.0 ** rng.uniform(-8, 0, (10, 1)) * np.ones((10, N))
    lo, hi = centre - radius, centre + radius
    middle, half = split_boxes(lo, hi)
    first, twice = JetReading(half, 1), JetReading(half, 2)
    d = inner_product(first, twice.gradient_jet(read_jets(v, twice, twice.start(middle))), read_jets(field, first, first.start(middle)))
    for k in range(10):
        at = exactly(slopes, middle[k]), exactly(field, middle[k])
        here = sum((p * q for p, q in zip(*at, strict=True)), Fraction(0))
        assert holds(d, 0, k, here)
        for point in (lo[k], hi[k], rng.uniform(lo[k], hi[k])):
            value = sum((p * q for p, q in zip(exactly(slopes, point), exactly(field, point), strict=True)), Fraction(0))
            assert holds(d, 1, k, value)
            move = [abs(Fraction(float(p)) - Fraction(float(q))) for p, q in zip(point, middle[k], strict=True)]
            reach = sum((Fraction(float(abs(d.mid[2 + i, k, 0]) + d.rad[2 + i, k, 0])) * m for i, m in enumerate(move)), Fraction(0))
            assert abs(value - here) <= reach * (1 + Fraction(1, 10**12)) + Fraction(1, 10**290)


@pytest.mark.threat("T08")
def test_what_is_not_finite_in_the_middle_is_not_finite_in_the_radius():
    big = np.array([[1e300, 1e300]])
    b = Builder()
    x = b.input(N)
    sums = b.build([b.affine(x, Affine(np.full((1, N), 1e300), np.zeros(1)))])
    products = b.build([b.binary("mul", x, b.affine(x, Affine(1e300 * np.eye(N), np.zeros(N))))])
    with np.errstate(all="ignore"):
        for graph in (sums, products):
            for order in (1, 2):
                _, jet = read_boxes(graph, big, big, order)
                assert not np.isfinite(jet.rad[~np.isfinite(jet.mid)]).any() and not np.isfinite(jet.mid).all()
        total = plus(Jet(np.full((1, 1, 1), 1.7e308), np.ones((1, 1, 1))), Jet(np.full((1, 1, 1), 1.7e308), np.ones((1, 1, 1))))
    assert not np.isfinite(total.rad).any()


def test_boxes_are_covered_by_centre_and_radius():
    rng = np.random.default_rng(0)
    lo = rng.standard_normal((500, N)) * 10.0 ** rng.integers(-300, 300, (500, 1))
    hi = lo + np.abs(lo) * 10.0 ** rng.uniform(-16, 1, (500, 1))
    centre, radius = split_boxes(lo, hi)
    for a, c, h, r in zip(lo.ravel(), centre.ravel(), hi.ravel(), radius[:, :, 0].T.ravel(), strict=True):
        assert Fraction(float(c)) - Fraction(float(r)) <= Fraction(float(a)) <= Fraction(float(h)) <= Fraction(float(c)) + Fraction(float(r))
