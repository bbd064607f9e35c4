"""The share of a box below a level: never more than there is, and most of it."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.cut import SMALL, check_volume, pieces, share, turned
from verifiers.kernel.graph import Affine, Builder, affine_from_rational
from verifiers.kernel.stage import Function, Stage, quadratic, strip_output
from verifiers.kernel.tree import INNER, INSIDE, LEAF, NOTHING, TAYLOR
from verifiers.load.floats import evaluate

PART = LEAF + INSIDE + TAYLOR
EYE = {n: [[Fraction(int(i == j)) for j in range(n)] for i in range(n)] for n in range(1, 10)}


def stage_of(function: Function, level: str, half: list[float]) -> Stage:
    """A stage of which only the function, the level and the box +-half are asked."""
    ends = np.array(half)
    return Stage(function.graph, "continuous", function, Fraction(level), -ends, ends, -ends, ends)


def round_bowl(n: int) -> Function:
    """``|x|^2``."""
    return quadratic(EYE[n], [Fraction(0)] * n)


def exact_share(t: Fraction, a: list[Fraction], b: list[Fraction]) -> Fraction:
    """P(sum of the pieces <= t), each uniform in [0, a] or, just as likely, between 0 and -b: all 2^n cases, in each a sum over corners."""
    n, total = len(a), Fraction(0)
    for ends in itertools.product(*zip(a, [-v for v in b], strict=True)):
        room, widths = t - sum(min(e, 0) for e in ends), [abs(e) for e in ends]
        case = Fraction(0)
        for corner in itertools.product((0, 1), repeat=n):
            case += (-1) ** sum(corner) * max(room - sum(w for w, c in zip(widths, corner, strict=True) if c), Fraction(0)) ** n
        total += case / math.factorial(n) / math.prod(widths)
    return total / 2**n


def scaled(rng: np.random.Generator, n: int, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """Pieces a, b (n,) of which none is small, where the sum of a is about 1."""
    while True:
        slope, k = rng.uniform(0, 1, n), bend * rng.uniform(0, 1, n)
        size = (slope + k).sum()
        a, b = (slope + k) / size, (slope - k) / size
        if min(a.min(), np.abs(b).min()) > SMALL:
            return a, b


@pytest.mark.threat("T05")
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("bend", [0.0, 0.3, 2.0])
def test_the_share_is_the_exact_probability_rounded_down(n, bend):
    rng = np.random.default_rng(n)
    for _ in range(12):
        a, b = scaled(rng, n, bend)
        t = float(rng.uniform(-b.clip(0).sum(), a.sum() + 0.05))
        truth = exact_share(Fraction(t), [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b])
        found = float(share(np.array([t]), a[None], b[None])[0])
        assert Fraction(found) <= truth and found >= float(truth) - 1e-5


def test_errors_are_those_that_remain_of_a_whole_function():
    """(x + x^2)^2 + (x - x^2)^2 on +-1/2: of degree 3 nothing remains, of degree 4 an eighth, out of slopes and bends of 1/2."""
    b = Builder()
    x = b.input(1)
    square = b.binary("mul", x, x)
    both = b.concat([b.binary("add", x, square), b.binary("sub", x, square)])
    function = Function(b.build([b.affine(b.unary("pow", both, 2), Affine(np.ones((1, 2)), np.zeros(1)))]))
    t, a, _, worst = pieces(function, 0.25, np.array([[-0.5]]), np.array([[0.5]]))
    assert a[0, 0] == 1.0 and worst[0] == pytest.approx(0.125 / 0.5, rel=1e-8) and t[0] == pytest.approx((0.25 - 0.125) / 0.5, rel=1e-8)


@pytest.mark.threat("T05")
def test_small_slopes_make_the_share_smaller_never_larger():
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(1, 4))
        a, b = scaled(rng, n, 1.0)
        i = int(rng.integers(n))
        b[i] = float(rng.choice([0.0, 1e-9, -1e-9, 0.3 * SMALL, -0.3 * SMALL, 0.999 * SMALL]))
        if rng.uniform() < 0.3:
            a[i] = abs(b[i])
        t = float(rng.uniform(-0.5, 0.8))
        tiny = Fraction(1, 10**40)  # the exact sum needs a slope; a smaller piece can only make the share larger, and this one hardly
        truth = exact_share(Fraction(t), [max(Fraction(float(v)), tiny) for v in a], [Fraction(float(v)) or tiny for v in b])
        assert Fraction(float(share(np.array([t]), a[None], b[None])[0])) <= truth + Fraction(1, 10**30)


def test_the_share_at_the_ends_and_of_what_is_no_number():
    a, b = np.full((1, 3), 1 / 3), np.full((1, 3), 1 / 3)
    assert share(np.array([-1.01]), a, b)[0] == 0 and share(np.array([-np.inf]), a, b)[0] == 0
    assert 1 - 1e-6 < share(np.array([1.001]), a, b)[0] < 1
    assert share(np.array([np.inf]), a, b)[0] == share(np.array([2.0]), a, b)[0] < 1
    assert share(np.array([0.0]), a, b)[0] == pytest.approx(0.5, abs=1e-6)
    for bad in (np.nan, np.inf):
        for t, up, low in ((np.nan, a, b), (0.5, a * bad, b), (0.5, a, b * bad)):
            assert share(np.array([t]), up, low)[0] == 0


def curved(n: int, rng: np.random.Generator) -> Function:
    """``|L x + A (tanh(B x + c) - tanh(c))|^2`` and, with it, a kink."""
    b = Builder()
    x = b.input(n)
    linear, hidden, shift = rng.standard_normal((n, n)), rng.standard_normal((5, n)), rng.standard_normal(5)
    turn = 0.7 * rng.standard_normal((n, 5))
    z = b.binary("add", b.affine(x, Affine(linear, np.zeros(n))), b.affine(b.unary("tanh", b.affine(x, Affine(hidden, shift))),
                                                                            Affine(turn, -turn @ np.tanh(shift))))
    squares = b.affine(b.unary("pow", z, 2), Affine(np.ones((1, n)), np.zeros(1)))
    kink = b.affine(b.unary("abs", z), Affine(np.full((1, n), 0.1), np.zeros(1)))
    return Function(b.build([b.binary("add", squares, kink)]))


@pytest.mark.threat("T05")
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("width", [0.05, 0.3, 1.0])
def test_no_box_counts_more_than_its_samples_show(n, width):
    rng = np.random.default_rng(7 * n)
    function = curved(n, rng)
    middle = rng.uniform(-1, 1, (40, n))
    lo, hi = middle - width * rng.uniform(0.3, 1, (40, n)), middle + width * rng.uniform(0.3, 1, (40, n))
    level = float(np.median(evaluate(function.graph, middle)[:, 0]))
    found = share(*pieces(function, level, lo, hi)[:3])
    side = {1: 20_000, 2: 200, 3: 40}[n]
    cells = (np.stack(np.meshgrid(*[np.arange(side)] * n, indexing="ij"), axis=-1).reshape(-1, n) + 0.5) / side
    for k in range(40):
        truth = (evaluate(function.graph, lo[k] + cells * (hi[k] - lo[k]))[:, 0] <= level).mean()
        assert found[k] <= truth + 3 / side
        if width < 0.1:
            assert found[k] >= truth - 0.15


def test_a_plane_through_a_box_is_cut_exactly():
    b = Builder()
    plane = Function(b.build([b.affine(b.input(3), affine_from_rational([[Fraction(1), Fraction(2), Fraction(-3)]], [Fraction(1, 2)]))]))
    found = share(*pieces(plane, 0.5, -np.ones((1, 3)), np.ones((1, 3)))[:3])
    assert found[0] == pytest.approx(0.5, abs=1e-8) and found[0] < 0.5
    t, a, low, worst = pieces(plane, 0.5, -np.ones((1, 3)), np.ones((1, 3)))
    assert a[0] == pytest.approx([1 / 6, 1 / 3, 1 / 2]) and low[0] == pytest.approx(a[0]) and abs(t[0]) < 1e-9 and worst[0] < 1e-9


@pytest.mark.threat("T05")
@pytest.mark.parametrize("height", [1000, -1000])
def test_the_rounding_of_values_and_level_is_allowed_for(height):
    b = Builder()
    flat = Function(b.build([b.affine(b.input(1), affine_from_rational([[Fraction(1, 10**10)]], [Fraction(height)]))]))
    assert share(*pieces(flat, float(height), -np.ones((1, 1)), np.ones((1, 1)))[:3])[0] == 0  # the last bits of 1000 are a thousandth of the slope


def test_mixed_terms_count_at_half_their_size_on_either_axis():
    matrix = [[Fraction(1), Fraction(-1, 4)], [Fraction(-1, 4), Fraction(2)]]
    function = quadratic(matrix, [Fraction(0)] * 2)
    t, a, low, _ = pieces(function, 1.0, -np.ones((1, 2)), np.ones((1, 2)))
    k = np.array([1.25, 2.25])
    assert a[0] == pytest.approx(k / 3.5) and low[0] == pytest.approx(-k / 3.5) and t[0] == pytest.approx(1 / 3.5)
    falling = Function(quadratic([[-v for v in row] for row in matrix], [Fraction(0)] * 2).graph)
    t, a, low, _ = pieces(falling, -0.1, np.full((1, 2), 1.0), np.full((1, 2), 3.0))  # bends down: only the mixed terms count
    assert (a[0] - low[0] == 0).all()


def whole(n: int) -> bytes:
    """A tree of boxes of half a width each."""
    def below(depth: int) -> bytes:
        return bytes([PART]) if depth == 2 * n else bytes([depth % n]) + 2 * below(depth + 1)
    return below(0)


@pytest.mark.threat("T05")
@pytest.mark.parametrize("n", [2, 3])
def test_a_volume_is_that_of_the_boxes_times_the_determinant(n):
    frame = [[Fraction(3, 2) * Fraction(int(i == j)) + Fraction(int(i == j + 1), 3) for j in range(n)] for i in range(n)]
    matrix = EYE[n]
    stage, ball = stage_of(quadratic(matrix, [Fraction(0)] * n), "1", [4.0] * n), math.pi ** (n / 2) / math.gamma(n / 2 + 1)
    count, volume = check_volume(stage, whole(n), frame, (Fraction(0),) * n, "volume")
    assert count == 4**n and 0.55 * ball < volume < ball
    twice = [[2 * v for v in row] for row in frame]
    larger = check_volume(stage_of(quadratic(matrix, [Fraction(0)] * n), "4", [8.0] * n), whole(n), twice, (Fraction(0),) * n, "volume")[1]
    assert larger == pytest.approx(2**n * volume, rel=1e-9)
    signed = [[-v for v in row] for row in frame]
    assert check_volume(stage, whole(n), signed, (Fraction(0),) * n, "volume")[1] == pytest.approx(volume, rel=1e-9)


def test_boxes_lie_about_the_origin_given():
    far = quadratic(EYE[2], [Fraction(5), Fraction(-3)])
    stage = stage_of(far, "1", [8.0, 8.0])
    assert 0.5 * math.pi < check_volume(stage, whole(2), EYE[2], (Fraction(5), Fraction(-3)), "volume")[1] < math.pi
    assert check_volume(stage, whole(2), EYE[2], (Fraction(0), Fraction(0)), "volume")[1] == 0


@pytest.mark.threat("T05")
def test_only_boxes_whose_image_lies_in_the_domain_count():
    function, frame, origin = round_bowl(2), [[Fraction(1), Fraction(0)], [Fraction(1), Fraction(1)]], (Fraction(0), Fraction(0))
    lo, hi = np.array([[0.0, 0.0], [-1.0, -1.0], [0.5, 0.0]]), np.array([[0.5, 0.5], [0.0, 0.0], [1.0, 0.5]])
    assert turned(stage_of(function, "9", [2.0, 1.25]), frame, origin).within(lo, hi).tolist() == [True, False, False]
    assert turned(stage_of(function, "9", [2.0, 1.0]), frame, origin).within(lo, hi).tolist() == [False] * 3  # a face that is met does not pass
    all_of_it = bytes([0, 0, 1, PART, PART, 1, PART, PART, 0, 1, PART, PART, 1, PART, PART])
    assert check_volume(stage_of(function, "99", [2.1, 2.1]), all_of_it, frame, origin, "volume")[1] == pytest.approx(4.0, rel=1e-6)
    assert check_volume(stage_of(function, "99", [0.9, 2.1]), all_of_it, frame, origin, "volume")[1] == pytest.approx(2.0, rel=1e-6)
    assert check_volume(stage_of(function, "99", [0.1, 0.1]), all_of_it, frame, origin, "volume")[1] == 0
    assert not turned(stage_of(function, "9", [1.0, 1.0]), [[Fraction(0)] * 2] * 2, (Fraction(0), Fraction(1))).within(lo, hi).any()


@pytest.mark.threat("T05")
def test_a_box_whose_middle_is_rounded_counts_nothing():
    deep = bytes([0]) * 300 + bytes([PART]) * 301
    assert check_volume(stage_of(round_bowl(1), "9", [4.0]), deep, EYE[1], (Fraction(0),), "volume")[1] == pytest.approx(2.0, rel=1e-9)
    for level in ("9", "-1/30000000000000000"):  # 1 - x is 0 at the end of the box, and less beyond it, where the model of [1 - u, 1] reaches
        b = Builder()
        falling = Function(b.build([b.affine(b.input(1), affine_from_rational([[Fraction(-1)]], [Fraction(1)]))]))
        for depth, counts in ((48, level == "9"), (54, False)):
            last = bytes([0, LEAF + NOTHING]) * depth + bytes([PART])
            assert (check_volume(stage_of(falling, level, [4.0]), last, EYE[1], (Fraction(0),), "volume")[1] > 0) == counts
            b = Builder()
            beside = Function(b.build([b.affine(b.input(2), affine_from_rational([[Fraction(-1), Fraction(0)]], [Fraction(1)]))]))
            assert (check_volume(stage_of(beside, level, [4.0, 4.0]), last, EYE[2], (Fraction(0),) * 2, "volume")[1] > 0) == counts


def test_a_monotone_output_is_read_by_its_argument():
    b = Builder()
    squares = b.affine(b.unary("pow", b.input(2), 2), affine_from_rational([[Fraction(1)] * 2], [Fraction(0)]))
    bowl = strip_output(b.build([b.unary("sigmoid", squares)]))
    volume = check_volume(stage_of(bowl, "7310585786300049/10000000000000000", [3.0, 3.0]), whole(2), EYE[2], (Fraction(0),) * 2, "volume")[1]
    assert 0.5 * math.pi < volume < math.pi
    assert check_volume(stage_of(bowl, "2", [3.0, 3.0]), whole(2), EYE[2], (Fraction(0),) * 2, "volume")[1] == 0


def test_the_gradient_of_the_function_is_not_carried_along():
    frame = [[Fraction(2), Fraction(0)], [Fraction(0), Fraction(3)]]
    function = turned(stage_of(round_bowl(2), "1", [9.0, 9.0]), frame, (Fraction(1), Fraction(0))).function
    assert function.gradient is None and evaluate(function.graph, np.array([[1.0, 1.0]]))[0, 0] == pytest.approx(18.0)


@pytest.mark.parametrize("data, frame, code", [
    (bytes([LEAF + INSIDE]), EYE[2], Code.MALFORMED_CERTIFICATE),
    (bytes([LEAF + INNER]), EYE[2], Code.MALFORMED_CERTIFICATE),
    (bytes([LEAF + NOTHING + TAYLOR]), EYE[2], Code.MALFORMED_CERTIFICATE),
    (bytes([0, PART]), EYE[2], Code.TREE_INCOMPLETE),
    (bytes([PART, PART]), EYE[2], Code.TREE_TRAILING),
    (bytes([PART]), [[Fraction(1), Fraction(1)], [Fraction(1), Fraction(1)]], Code.NOT_DEFINITE),
    (bytes([PART]), [[Fraction(0), Fraction(0)], [Fraction(0), Fraction(1)]], Code.NOT_DEFINITE),
    (bytes([PART]), EYE[9], Code.UNSUPPORTED),
])
@pytest.mark.threat("T05")
def test_what_is_no_volume_is_refused(data, frame, code):
    n = len(frame)
    with pytest.raises(Refusal) as no:
        check_volume(stage_of(round_bowl(n), "1", [2.0] * n), data, frame, (Fraction(0),) * n, "volume")
    assert no.value.code is code


def test_eight_states_are_measured():
    count, volume = check_volume(stage_of(round_bowl(8), "100", [2.0] * 8), bytes([PART]), EYE[8], (Fraction(0),) * 8, "volume")
    assert count == 1 and 0 < volume < 256
    assert check_volume(stage_of(round_bowl(8), "100", [2.0] * 8), bytes([LEAF + NOTHING]), EYE[8], (Fraction(0),) * 8, "volume") == (1, 0.0)
