"""Box trees along other axes than the plant's: what a turned box shows of a set that is cut by the domain's faces."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Affine, Builder, affine_from_rational
from verifiers.kernel.properties import Goal, check_shell
from verifiers.kernel.setting import in_coordinates
from verifiers.kernel.stage import Function, Stage, in_frame, quadratic
from verifiers.kernel.tree import DECREASE, LEAF, OUTSIDE, TAYLOR
from verifiers.load.floats import evaluate
from verifiers.smt.branch_and_bound import search

ORIGIN = (Fraction(1, 3), Fraction(-1, 7))
FRAME = ((Fraction(3, 2), Fraction(0)), (Fraction(4, 5), Fraction(2, 3)))


def linear(matrix: list[list[float]], centre: tuple[Fraction, ...]) -> Function:
    """The field ``A (x - centre)`` as a graph holder."""
    b = Builder()
    rows = [[Fraction(v) for v in row] for row in matrix]
    shift = [-sum((a * c for a, c in zip(row, centre, strict=True)), Fraction(0)) for row in rows]
    return Function(b.build([b.affine(b.input(len(centre)), affine_from_rational(rows, shift))]))


def turned_stage(function: Function, field: Function, level: str, half: list[str], frame=FRAME, origin=ORIGIN) -> Stage:
    """The stage of a function on ``origin +- half`` whose tree lies in y, with a root around the domain, as the kernel makes it."""
    t = np.array([[float(v) for v in row] for row in frame])
    ends = np.array([float(Fraction(v)) for v in half])
    centre = np.array([float(v) for v in origin])
    reach = np.abs(np.linalg.inv(t)) @ ends * (1 + 1e-9)
    graph = in_coordinates(function.graph, frame, origin)
    return Stage(in_frame(field.graph, "continuous", frame, origin), "continuous", Function(graph), Fraction(level), -reach, reach, centre - ends,
                 centre + ends, image=affine_from_rational(frame, origin))


def bowl(centre=ORIGIN) -> Function:
    """``|x - centre|^2`` with neurons beside it, so that it is no quadratic."""
    b = Builder()
    n = len(centre)
    x = b.affine(b.input(n), affine_from_rational([[Fraction(int(i == j)) for j in range(n)] for i in range(n)], [-c for c in centre]))
    bent = b.affine(b.unary("tanh", x), Affine(np.full((n, n), 0.125), np.zeros(n)))
    squares = b.unary("pow", b.binary("add", x, bent), 2)
    return Function(b.build([b.affine(squares, Affine(np.ones((1, n)), np.zeros(1)))]))


DISC = quadratic([[Fraction(1), Fraction(0)], [Fraction(0), Fraction(1)]], ORIGIN)
STABLE, TURNING = [[-1.0, 0.5], [-0.5, -1.0]], [[-0.25, 4.0], [-4.0, -0.25]]


def random_boxes(stage: Stage, count: int, seed: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middle = rng.uniform(1.2 * stage.lo, 1.2 * stage.hi, (count, 2))
    half = width * rng.uniform(0.1, 1, (count, 2)) * stage.hi
    return middle - half, middle + half


MIXED = ((Fraction(-3, 7), Fraction(1, 3)), (Fraction(4, 5), Fraction(-2, 3)))


@pytest.mark.threat("T05")
@pytest.mark.parametrize("frame", [FRAME, MIXED])
@pytest.mark.parametrize("origin", [ORIGIN, (Fraction(0), Fraction(0))])
@pytest.mark.parametrize("place", ["about", "beyond", "below", "tiny", "from 0", "to 0"])
def test_the_image_of_a_box_lies_between_its_ends(frame, origin, place):
    """Each rounding counts: that of the origin for tiny boxes about it, that of the frame where it is 0, for boxes of either sign."""
    stage, rng = turned_stage(bowl(), linear(STABLE, ORIGIN), "1/4", ["1", "1/2"], frame, origin), np.random.default_rng(0)
    lo, hi = random_boxes(stage, 60, 0, 0.4)
    if place != "about":
        hi = rng.uniform(0.1, 1, (60, 2))
        lo = hi * (1 - 1e-14 * rng.integers(1, 100, (60, 2)))
        lo, hi = {"beyond": (lo, hi), "below": (-hi, -lo), "tiny": (-1e-9 * hi, 1e-9 * hi), "from 0": (0 * hi, hi), "to 0": (-hi, 0 * hi)}[place]
    low, high = stage.ends(stage.image, lo, hi)
    for k in range(60):
        for corner in itertools.product(*zip(map(Fraction, lo[k].tolist()), map(Fraction, hi[k].tolist()), strict=True)):
            x = [o + sum(t * y for t, y in zip(row, corner, strict=True)) for o, row in zip(origin, frame, strict=True)]
            assert all(Fraction(a) < v < Fraction(b) for a, v, b in zip(low[k].tolist(), x, high[k].tolist(), strict=True))
    if place == "about":
        t = np.array([[float(v) for v in row] for row in frame])
        assert high - low == pytest.approx((hi - lo) @ np.abs(t).T, rel=1e-9)


def test_a_box_lies_away_from_the_domain_within_it_or_neither():
    stage = turned_stage(bowl(), linear(STABLE, ORIGIN), "1/4", ["1", "1/2"])
    lo, hi = random_boxes(stage, 400, 1, 0.4)
    low, high = stage.ends(stage.image, lo, hi)
    away, within = stage.away(stage.image, lo, hi), stage.within(lo, hi)
    assert away.any() and within.any() and not (away & within).any() and not (away | within).all()
    assert (away == ((low > stage.inner_hi) | (high < stage.inner_lo)).any(axis=1)).all()
    assert (within == ((low > stage.inner_lo) & (high < stage.inner_hi)).all(axis=1)).all()
    assert (stage.elsewhere(lo, hi) == (stage.outside(lo, hi) | away)).all() and (stage.elsewhere(lo, hi) & ~stage.outside(lo, hi)).any()
    nothing = np.full((1, 2), np.nan)
    assert not stage.away(stage.image, nothing, nothing).any() and not stage.within(nothing, nothing).any()


@pytest.mark.threat("T05")
def test_a_box_that_ends_at_a_face_is_neither_away_nor_within():
    eye = ((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1)))
    stage = turned_stage(bowl(), linear(STABLE, ORIGIN), "1/4", ["1", "1/2"], eye, (Fraction(0), Fraction(0)))
    for lo, hi in (([1.0, 0.0], [1.5, 0.25]), ([-2.0, 0.0], [-1.0, 0.25]), ([0.0, 0.5], [0.25, 0.75]), ([0.0, -0.75], [0.25, -0.5])):
        box = np.array([lo]), np.array([hi])
        assert not stage.away(stage.image, *box)[0] and not stage.within(*box)[0]
    for lo, hi in (([0.5, 0.0], [1.0, 0.25]), ([0.0, -0.5], [0.25, 0.0])):
        assert not stage.within(np.array([lo]), np.array([hi]))[0]


@pytest.mark.threat("T05")
@pytest.mark.parametrize("width", [0.02, 0.1, 0.4])
def test_planes_of_faces_are_outside_only_where_all_of_their_points_in_the_box_are(width):
    stage = turned_stage(bowl(), linear(STABLE, ORIGIN), "1/4", ["2/5", "3/10"])  # a disc of about this radius, cut by the domain
    lo, hi = random_boxes(stage, 800, 2, width)
    good = stage.planes_outside(stage.image, lo, hi)
    rng, t = np.random.default_rng(3), stage.image.weight
    met = np.zeros(800, dtype=bool)
    least = np.full(800, np.inf)
    for i in range(2):
        for face in (stage.inner_lo[i], stage.inner_hi[i]):
            for _ in range(60):  # a point of the plane: one coordinate at random, the other solved for
                y = lo + rng.uniform(0, 1, lo.shape) * (hi - lo)
                j = int(np.abs(t[i]).argmax())
                other = 1 - j
                y[:, j] = (face - stage.image.bias[i] - t[i, other] * y[:, other]) / t[i, j]
                there = (y[:, j] >= lo[:, j]) & (y[:, j] <= hi[:, j])
                met |= there
                least = np.where(there, np.minimum(least, evaluate(stage.function.graph, y)[:, 0]), least)
    assert met.sum() > 8 and (least[met] <= 0.25).any()
    assert not (good & (least <= 0.25)).any()
    low, high = stage.ends(stage.image, lo, hi)
    crosses = ((low <= stage.inner_hi) & (high >= stage.inner_hi) | (low <= stage.inner_lo) & (high >= stage.inner_lo)).any(axis=1)
    assert good[~crosses].all()
    if width < 0.05:
        assert good[met & (least > 0.3)].all()


def test_planes_of_a_stage_that_is_undefined_are_not_outside():
    b = Builder()
    x = b.input(2)
    root = b.unary("sqrt", b.affine(x, affine_from_rational([[Fraction(1), Fraction(0)]], [Fraction(-9)])))
    stage = turned_stage(Function(b.build([root])), linear(STABLE, ORIGIN), "-1", ["1", "1/2"])
    assert not stage.planes_outside(stage.image, stage.lo[None], stage.hi[None])[0]


def proved(stage: Stage) -> bool:
    """Whether a search proves attraction, and the kernel accepts its tree."""
    out = search(replace(stage, taylor=True), Goal("attraction"), budget=60, depth=30)
    if out.stuck_lo.size or not out.finished:
        return False
    check_shell(stage, Goal("attraction"), out.tree, "shell")
    return True


def test_a_shell_is_proved_in_other_coordinates():
    inner = (Function(in_coordinates(DISC.graph, FRAME, ORIGIN)), Fraction(1, 100))
    whole = replace(turned_stage(bowl(), linear(STABLE, ORIGIN), "1/4", ["1", "1"]), inner=(inner,))
    assert proved(whole)
    assert not proved(replace(whole, inner=()))  # the equilibrium is left over
    assert not proved(replace(whole, field=turned_stage(bowl(), linear([[1.0, 0.5], [-0.5, 1.0]], ORIGIN), "1/4", ["1", "1"]).field))


@pytest.mark.threat("T05", "T13")
def test_a_set_that_is_cut_by_the_domain_is_never_proved_where_trajectories_leave_through_the_cut():
    """V falls everywhere, but the loop turns: from {V <= c} in D it leaves D."""
    inner = (Function(in_coordinates(DISC.graph, FRAME, ORIGIN)), Fraction(1, 100))
    for half, holds in ((["1", "1"], True), (["1", "3/10"], False), (["3/10", "1"], False), (["2/5", "2/5"], False)):
        stage = replace(turned_stage(DISC, linear(TURNING, ORIGIN), "1/4", half),
                        inner=(inner,))
        assert proved(stage) == holds


@pytest.mark.threat("T05")
def test_a_leaf_that_crosses_a_face_is_refused_where_the_set_does():
    stage = turned_stage(bowl(), linear(STABLE, ORIGIN), "1/4", ["2/5", "3/10"])
    for tag, code in ((DECREASE, {Code.DECREASE, Code.CONTAINMENT}), (OUTSIDE, {Code.LEAF_NOT_OUTSIDE})):
        for method in (0, TAYLOR):
            with pytest.raises(Refusal) as no:
                check_shell(stage, Goal("attraction"), bytes([LEAF + tag + method]), "shell")
            assert no.value.code in code


@pytest.mark.threat("T05")
@pytest.mark.parametrize("slope", [10**12, -10**12])
def test_the_rounding_of_a_plane_is_allowed_for_where_v_is_steep_across_it(slope):
    b = Builder()
    x = b.input(2)
    steep = Function(b.build([b.affine(x, affine_from_rational([[Fraction(slope), Fraction(0)]], [Fraction(-slope, 3)]))]))
    for level, outside in (("-1/1000", False), ("-1000", True)):  # V is 0 on the plane x = 1/3, but its last bits are 1e-4 of 1e12
        stage = turned_stage(steep, linear(STABLE, ORIGIN), level, ["1", "1"], FRAME, (Fraction(-2, 3), Fraction(0)))
        stage = replace(stage, inner_hi=np.array([float(Fraction(1, 3)), 1.0]))
        lo, hi = np.array([[0.6, -0.6]]), np.array([[0.7, -0.5]])  # crosses that plane only
        low, high = stage.ends(stage.image, lo, hi)
        assert low[0, 0] < 1 / 3 < high[0, 0] and -1 < low[0, 1] < high[0, 1] < 1
        assert stage.planes_outside(stage.image, lo, hi)[0] == outside
