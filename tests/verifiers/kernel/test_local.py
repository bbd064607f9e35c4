"""The neighbourhood of the equilibrium: each comparison at its edge, on loops small enough to work out by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifiers.kernel import local
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import rationals
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.local import Enclosure, check_equilibrium, check_local, ellipsoid_reach, ellipsoid_volume
from verifiers.kernel.rational import sqrt_up

F = Fraction


def linear(matrix: list[list[float]], bias: list[float] | None = None) -> Graph:
    b = Builder()
    return b.build([b.affine(b.input(len(matrix)), Affine(np.array(matrix), np.array(bias or [0.0] * len(matrix))))])


def unknown(op: str, lo: int, hi: int) -> Graph:
    """``-x + d`` or ``k x`` with the constant between lo and hi."""
    b = Builder()
    x, c = b.input(1), b.const([(F(lo), F(hi))])
    return b.build([b.binary("mul", c, x) if op == "mul" else b.binary("add", b.unary("neg", x), c)])


def around(centre: list[float], radius: list[float]) -> Enclosure:
    return Enclosure(tuple(map(F, centre)), tuple(map(F, radius)))


def enclosed(monkeypatch: pytest.MonkeyPatch, f_rad: list[Any], j_mid: list[list[Any]], j_rad: list[list[Any]] | None = None) -> None:
    """Let the enclosure be these rationals, f at the centre zero but for its radius."""
    n = len(j_mid)
    told = rationals([F(0)] * n), rationals(list(map(F, f_rad))), rationals([[F(v) for v in row] for row in j_mid]), \
        rationals([[F(v) for v in row] for row in j_rad or [[0] * n] * n])
    monkeypatch.setattr(local, "jacobian", lambda *_: told)


def no_equilibrium(field: Graph, where: Enclosure, time: str = "continuous") -> str:
    with pytest.raises(Refusal) as no:
        check_equilibrium(field, time, where)
    assert no.value.code is Code.EQUILIBRIUM_NOT_PROVED
    return no.value.message


def test_a_box_around_the_equilibrium_holds_it():
    check_equilibrium(linear([[-1.0]], [0.5]), "continuous", around([0.5], [0.0]))
    check_equilibrium(linear([[-3.0]], [1.0]), "continuous", around([0.25], [1.0]))
    check_equilibrium(linear([[0.5]], [1.0]), "discrete", around([1.75], [0.5]))
    check_equilibrium(unknown("add", -1, 1), "continuous", around([0.0], [1.5]))
    check_equilibrium(unknown("mul", -3, -1), "continuous", around([0.0], [1.0]))


@pytest.mark.parametrize("side", [-2.0, 2.0])
@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_a_box_beside_the_equilibrium_does_not(side, slope):
    no_equilibrium(linear([[slope]]), around([side], [1.0]))
    no_equilibrium(linear([[1 + slope]]), around([side], [1.0]), "discrete")


def test_every_coordinate_counts_and_the_bad_ones_are_named():
    both = linear([[-1.0, 0.0], [0.0, -1.0]])
    assert "[1]" in no_equilibrium(both, around([0.0, 5.0], [1.0, 1.0])) and "[0]" in no_equilibrium(both, around([5.0, 0.0], [1.0, 1.0]))
    assert "[1]" in no_equilibrium(both, around([0.0, 0.0], [1.0, 0.0]))  # a flat box, and its centre is at rest: uniqueness needs width


def test_unknown_constants_move_the_equilibrium_out_of_the_box():
    no_equilibrium(unknown("add", -2, 2), around([0.0], [1.0]))
    no_equilibrium(unknown("mul", -3, 1), around([0.0], [1.0]))  # a slope of zero is among them


def test_an_image_that_touches_the_box_is_not_inside(monkeypatch):
    eye = [[-1, 0], [0, -1]]
    enclosed(monkeypatch, [F(1, 2), 1], eye)
    assert "[1]" in no_equilibrium(linear([[-1.0, 0.0], [0.0, -1.0]]), around([0.0, 0.0], [1.0, 1.0]))
    enclosed(monkeypatch, [F(1, 2), 1 - F(1, 2**90)], eye)
    check_equilibrium(linear([[-1.0, 0.0], [0.0, -1.0]]), "continuous", around([0.0, 0.0], [1.0, 1.0]))


def test_an_inverse_that_rounding_spoils_on_either_side(monkeypatch):
    signs = set()
    for slope in range(3, 60, 2):
        c = F(float(np.linalg.inv(np.array([[float(slope)]]))[0, 0]))
        error = 1 - c * slope
        if error == 0:
            continue
        signs.add(error > 0)
        enclosed(monkeypatch, [(1 - abs(error) / 2) / c], [[slope]])
        no_equilibrium(linear([[float(slope)]]), around([0.0], [1.0]))
        enclosed(monkeypatch, [(1 - abs(error) * 2) / c], [[slope]])
        check_equilibrium(linear([[float(slope)]]), "continuous", around([0.0], [1.0]))
    assert signs == {True, False}


def attracted(**changes: Any) -> Fraction:
    """``x' = -x`` in the plane with P = I: attracted within the level, unless something is changed."""
    n = len(changes.get("matrix", [0, 0]))
    eye = [[F(int(i == j)) for j in range(n)] for i in range(n)]
    given: dict[str, Any] = {"field": linear((-np.eye(n)).tolist()), "time": "continuous", "matrix": eye, "origin": [F(0)] * n, "frame": eye,
                             "reach": [F(1)] * n, "level": F(1, 4), "rate": F(0), "where": around([0.0] * n, [0.0] * n),
                             "domain": ([F(-1)] * n, [F(1)] * n), "linear": False}
    return check_local(**{**given, **changes})


def refused(code: Code, **changes: Any) -> str:
    with pytest.raises(Refusal) as no:
        attracted(**changes)
    assert no.value.code is code
    return no.value.message


HALF = sqrt_up(F(1, 4))
"""The root of the level, as the kernel rounds it: what lies at the edge does so exactly."""


def test_a_neighbourhood_of_the_equilibrium_is_attracted():
    assert attracted() == attracted(linear=True) == HALF * HALF
    assert attracted(reach=[F(1), F(3, 4)]) == HALF * HALF / F(9, 16)


def test_a_loop_that_runs_away_does_not_pass_with_a_negative_form():
    refused(Code.NOT_DEFINITE, matrix=[[F(-1)]], field=linear([[1.0]]))
    refused(Code.LOCAL_DECREASE, field=linear([[1.0, 0.0], [0.0, 1.0]]))


@pytest.mark.parametrize("changes", [{"level": F(0)}, {"level": F(-1)}, {"reach": [F(1), F(0)]}, {"reach": [F(-1), F(1)]}])
def test_a_level_or_a_neighbourhood_without_inside(changes):
    refused(Code.EMPTY_REGION, **changes)


def test_an_ellipsoid_may_fill_its_neighbourhood_and_no_more():
    assert attracted(reach=[F(1), HALF]) == 1
    refused(Code.CHAIN, reach=[F(1), HALF - F(1, 2**100)])
    refused(Code.CHAIN, reach=[F(1, 10), F(1)])


@pytest.mark.parametrize("i", [0, 1])
def test_an_ellipsoid_lies_in_the_interior_of_the_domain_on_either_side(i):
    for lo, hi, good in ((-HALF - F(1, 2**100), HALF + F(1, 2**100), True), (-HALF, F(1), False), (F(-1), HALF, False), (F(-1), F(1, 10), False),
                         (F(-1, 10), F(1), False), (F(5), F(9), False), (F(-9), F(-5), False)):
        low, high = [F(-1)] * 2, [F(1)] * 2
        low[i], high[i] = lo, hi
        if good:
            assert attracted(domain=(low, high)) == HALF * HALF
        else:
            assert f"[{i}]" in refused(Code.CONTAINMENT, domain=(low, high))


def test_a_frame_that_turns_directions_round_bounds_the_same_jacobians(monkeypatch):
    frame = [[F(2), F(0)], [F(-1), F(2)]]
    for radius, good in ((F(1, 8), True), (F(3, 4), True), (F(1), False), (F(2), False)):
        enclosed(monkeypatch, [0, 0], [[-2, 0], [1, -2]], [[radius] * 2] * 2)
        if good:
            attracted(frame=frame)
        else:
            refused(Code.LOCAL_DECREASE, frame=frame)


@pytest.mark.parametrize("level", [F(2), F(1, 3), F(7, 1000003), F(10**9, 7)])
def test_half_widths_round_up_and_volumes_round_down(level):
    for p in (F(1), F(3), F(2, 7)):
        matrix = [[p]]
        (reach,), volume = ellipsoid_reach(matrix, level), ellipsoid_volume(matrix, level)
        assert F(reach) ** 2 * p >= level and F(math.nextafter(reach, 0)) ** 2 * p < level
        assert F(volume) ** 2 * p <= 4 * level < F(math.nextafter(volume, math.inf)) ** 2 * p
    disk = ellipsoid_volume([[F(1), F(0)], [F(0), F(4)]], level)
    assert 0 < 1 - disk / (math.pi / 2 * float(level)) < 1e-14


# corners of the entries that are wide

def wide(n: int, places: dict[tuple[int, int], F], middle: dict[tuple[int, int], F] | None = None) -> tuple[list[list[F]], list[list[F]]]:
    """-1 on the diagonal but for ``middle``, and radii at places."""
    mid = [[F(-1) * (i == j) for j in range(n)] for i in range(n)]
    rad = [[F(0)] * n for _ in range(n)]
    for (i, j), v in (middle or {}).items():
        mid[i][j] = v
    for (i, j), v in places.items():
        rad[i][j] = v
    return mid, rad


@pytest.mark.threat("T04")
@pytest.mark.parametrize("time", ["continuous", "discrete"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_bad_end_of_one_entry_is_refused(monkeypatch, time, sign):
    """x0' = -x0 + p x1, x1' = -x1: the quadratic |x|^2 falls while |p| < 2; x0+ = p x1, x1+ = 0 while |p| < 1."""
    edge = F(2) if time == "continuous" else F(1)
    for reach, good in ((edge * F(99, 100), True), (edge * F(101, 100), False)):
        at = sign * edge / 2
        mid, rad = wide(2, {(0, 1): reach - abs(at)}, {(0, 1): at, **({} if time == "continuous" else {(0, 0): F(0), (1, 1): F(0)})})
        enclosed(monkeypatch, [0, 0], mid, rad)
        if good:
            attracted(time=time)
        else:
            refused(Code.LOCAL_DECREASE, time=time)


@pytest.mark.threat("T04")
def test_a_bad_matrix_between_four_entries_that_are_wide_together_is_refused(monkeypatch):
    """J = -I + R with |R| <= r in every entry: |x|^2 falls for all of them if and only if 2 r < 1; each entry alone could do more."""
    for r, good in ((F(49, 100), True), (F(51, 100), False)):
        mid, rad = wide(2, {(i, j): r for i in range(2) for j in range(2)})
        enclosed(monkeypatch, [0, 0], mid, rad)
        if good:
            attracted()
        else:
            refused(Code.LOCAL_DECREASE)


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("narrow", "good"), [("3/50", True), ("3/20", False)])
def test_entries_beyond_the_widest_still_count(monkeypatch, narrow, good):
    """Six harmless entries are wider than p in x2' = -x2/20 + p x3, x3' = -x3/20, whose quadratic falls while |p| < 1/10."""
    harmless = dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1), (4, 4), (0, 4)], F(1, 5))
    mid, rad = wide(5, {**harmless, (2, 3): F(narrow)}, {(2, 2): F(-1, 20), (3, 3): F(-1, 20)})
    enclosed(monkeypatch, [0] * 5, mid, rad)
    if good:
        attracted(matrix=[[F(int(i == j)) for j in range(5)] for i in range(5)])
    else:
        refused(Code.LOCAL_DECREASE, matrix=[[F(int(i == j)) for j in range(5)] for i in range(5)])


@pytest.mark.parametrize("count", [0, 1, 3, 6, 9])
def test_corners_are_all_ends_of_the_widest_entries_and_the_rest_keeps_its_width(count):
    rng = np.random.default_rng(count)
    mid, rad = (rationals([[F(int(v), 16) for v in row] for row in rng.integers(low, 99, (3, 3))]) for low in (-99, 1))
    flat = [(i, j) for i in range(3) for j in range(3)]
    for place in flat[count:]:
        rad[place] = F(0)
    found = list(local.corners(mid, rad, rationals([[F(1)]] * 3)))
    assert len(found) == 2 ** min(count, local.CORNERS) == len({tuple(corner.flat) for corner, _ in found})
    for corner, rest in found:
        assert (abs(corner - mid) + rest == rad).all() and ((corner == mid) | (rest == 0)).all()
        assert sum(v > 0 for v in rest.flat) == max(0, count - local.CORNERS)
        assert max(rest.flat) <= min([v for v, q in zip(rad.flat, rest.flat, strict=True) if v and not q], default=F(0))


@pytest.mark.threat("T06")
@pytest.mark.parametrize(("r", "good"), [("3/5", True), ("4/5", False)])
def test_widths_count_whatever_the_signs_of_the_quadratic(monkeypatch, r, good):
    """P = [2 -1; -1 2] and a first column of -I that is unknown by r: definite for every one of them only for r < 2/3."""
    enclosed(monkeypatch, [0, 0], [[-1, 0], [0, -1]], [[F(r), 0], [F(r), 0]])
    asked = {"field": linear([[-1.0, 0.0], [0.0, -1.0]]), "matrix": [[F(2), F(-1)], [F(-1), F(2)]]}
    if good:
        assert attracted(**asked) > 0
    else:
        refused(Code.LOCAL_DECREASE, **asked)
