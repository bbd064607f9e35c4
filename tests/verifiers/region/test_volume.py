"""Volumes: what the tree holds is proved by the kernel's own test, and it is most of what is there."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.cut import check_volume
from verifiers.kernel.graph import Builder, affine_from_rational
from verifiers.kernel.properties import check_cover
from verifiers.kernel.rational import parse_matrix
from verifiers.kernel.stage import Function, Stage, quadratic, strip_output
from verifiers.kernel.tree import INSIDE, LEAF, NOTHING
from verifiers.region import nonvacuity
from verifiers.region.attraction import Undecided, Work
from verifiers.region.cuts import axes, grow_cuts
from verifiers.region.nonvacuity import prove_nonvacuity, start_volume
from verifiers.region.volume import grow_volume


def stage_of(function: Function, level: str, half: list[float]) -> Stage:
    """A stage of which only the function, the level and the box +-half are asked."""
    ends = np.array(half)
    return Stage(strip_output(function.graph).graph, "continuous", function, Fraction(level), -ends, ends, -ends, ends)


def measured(stage: Stage, tree: bytes) -> float:
    """The volume that the kernel reads off the tree."""
    return check_cover(stage, tree, stage.lo, stage.hi, "volume", Code.LEAF_NOT_INSIDE, lambda lo, _: np.ones(len(lo), dtype=bool))[1]


def shifted(matrix: list[list[str]], centre: list[str]) -> Function:
    return quadratic([[Fraction(v) for v in row] for row in matrix], [Fraction(v) for v in centre])


def diamond() -> Function:
    """``|x| + |y|``."""
    b = Builder()
    total = b.affine(b.unary("abs", b.input(2)), affine_from_rational([[Fraction(1)] * 2], [Fraction(0)]))
    return Function(b.build([total]))


def bowl() -> Function:
    """``sigmoid(x**2 + y**2)``, read by its argument."""
    b = Builder()
    squares = b.affine(b.unary("pow", b.input(2), 2), affine_from_rational([[Fraction(1)] * 2], [Fraction(0)]))
    return strip_output(b.build([b.unary("sigmoid", squares)]))


SETS = {
    "disc": (stage_of(shifted([["1", "0"], ["0", "1"]], ["0", "0"]), "1/2", [1.0, 1.0]), math.pi / 2),
    "slanted": (stage_of(shifted([["3", "2"], ["2", "5"]], ["1/7", "-1/9"]), "1", [2.0, 3.0]), math.pi / math.sqrt(11)),
    "beyond the box": (stage_of(shifted([["1", "0"], ["0", "1"]], ["0", "0"]), "100", [1.0, 2.0]), 8.0),
    "diamond": (stage_of(diamond(), "1", [2.0, 2.0]), 2.0),
    "bowl": (stage_of(bowl(), "7310585786300049/10000000000000000", [3.0, 3.0]), math.pi),
    "interval": (stage_of(shifted([["1"]], ["1/3"]), "1/100", [1.0]), 0.2),
    "ball": (stage_of(shifted([["1", "0", "0"], ["0", "4", "0"], ["0", "0", "1"]], ["0", "0", "0"]), "1", [1.5, 1.0, 1.5]), 2 * math.pi / 3),
}


@pytest.mark.parametrize("name", SETS)
def test_most_of_the_volume_is_found_and_never_more(name):
    stage, truth = SETS[name]
    found = measured(stage, grow_volume(stage, missing=0.01, depth=26))
    assert 0.97 * truth <= found <= truth * (1 + 1e-12)


def test_less_may_be_missing_when_less_is_allowed_to_be():
    stage, truth = SETS["slanted"]
    rough, fine = (measured(stage, grow_volume(stage, missing=m, depth=30)) for m in (0.05, 0.002))
    assert rough < fine <= truth and fine > 0.996 * truth


@pytest.mark.parametrize("limits", [{"depth": 3}, {"depth": 30, "most": 4}, {"depth": 30, "seconds": 0.0}])
def test_a_search_that_is_cut_off_leaves_a_tree_that_holds(limits):
    stage, truth = SETS["disc"]
    assert 0 <= measured(stage, grow_volume(stage, missing=0.0, **limits)) < truth


def test_an_empty_region_has_an_empty_tree():
    stage = stage_of(shifted([["1", "0"], ["0", "1"]], ["0", "0"]), "-1", [1.0, 1.0])
    assert measured(stage, grow_volume(stage, missing=0.01, depth=20)) == 0.0


@pytest.mark.threat("T05")
def test_the_kernel_refuses_boxes_that_were_only_guessed():
    stage, _ = SETS["slanted"]
    tree = grow_volume(stage, missing=0.01, depth=26)
    with pytest.raises(Refusal) as no:
        measured(stage, tree.replace(bytes([LEAF + NOTHING]), bytes([LEAF + INSIDE])))
    assert no.value.code is Code.LEAF_NOT_INSIDE


def round_bowl(n: int) -> Function:
    """``|x|^2``."""
    return shifted([["1" if i == j else "0" for j in range(n)] for i in range(n)], ["0"] * n)


def in_states(n: int, demanded: str | None) -> tuple[Work, Stage]:
    """A ball of radius 1 in a box of half width 3/2, and work of which the requirement and the time are asked."""
    least = None if demanded is None else Fraction(demanded)
    setting = SimpleNamespace(requirement=SimpleNamespace(min_volume=least, contains=None, min_radius=None),
                              rest=(Fraction(0),) * n, lo=(Fraction(-3, 2),) * n, hi=(Fraction(3, 2),) * n)
    stage = stage_of(round_bowl(n), "1", [1.5] * n)
    return Work(setting, None, time.monotonic() + 60, stage=stage, region=("V", Fraction(1))), stage  # type: ignore[arg-type]


def cut(work: Work, stage: Stage) -> float:
    """What the kernel reads off the tree and the frame of the one obligation."""
    (obligation,) = work.obligations
    assert obligation["id"] == "volume"
    frame = parse_matrix(obligation["proof"]["frame"], "frame", len(stage.lo))
    return check_volume(stage, work.files["proof/volume.tree"], frame, work.setting.rest, "volume")[1]


@pytest.mark.parametrize("n, share", [(4, 0.98), (5, 0.9)])
def test_from_four_states_on_boxes_count_in_part(monkeypatch, n, share):
    monkeypatch.setattr(nonvacuity, "CUT_FEW", 1_000)
    monkeypatch.setattr(nonvacuity, "CUT_MANY", 30_000)
    ball = math.pi ** (n / 2) / math.gamma(n / 2 + 1)
    work, stage = in_states(n, None)
    start_volume(work, stage, ("V", Fraction(1)))
    assert work.volume is None
    prove_nonvacuity(work)
    assert share * ball < cut(work, stage) < ball


def test_a_volume_that_is_demanded_is_grown_before_the_search(monkeypatch):
    monkeypatch.setattr(nonvacuity, "CUT_FEW", 300)
    monkeypatch.setattr(nonvacuity, "CUT_MANY", 3_000)
    for demanded, early in (("1/2", False), ("4", True)):  # where a small tree shows it, the larger one waits for the proof
        work, stage = in_states(5, demanded)
        start_volume(work, stage, ("V", Fraction(1)))
        assert (work.volume is not None) == early
        prove_nonvacuity(work)
        assert 4 < cut(work, stage) < 8 * math.pi**2 / 15
    work, stage = in_states(5, "5.27")  # more than the ball has
    with pytest.raises(Undecided, match=r"5\.27 is demanded; ask for less") as no:
        start_volume(work, stage, ("V", Fraction(1)))
    assert no.value.code is Code.VOLUME_TOO_SMALL


def test_beyond_eight_states_boxes_inside_are_grown_where_a_volume_is_demanded(monkeypatch):
    monkeypatch.setattr(nonvacuity, "MOST", 3_000)
    work, stage = in_states(9, None)
    start_volume(work, stage, ("V", Fraction(1)))
    prove_nonvacuity(work)
    assert not work.obligations
    work, stage = in_states(9, "3")
    with pytest.raises(Undecided):
        start_volume(work, stage, ("V", Fraction(1)))


def test_axes_follow_a_region_that_is_thin_and_oblique():
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 4)) * np.array([100.0, 10.0, 1.0, 0.3])
    matrix = root @ root.T
    function = quadratic([[Fraction(float(v)) for v in row] for row in matrix], [Fraction(1)] * 4)
    half = np.sqrt(np.diag(np.linalg.inv(matrix))) * 1.05
    stage = Stage(function.graph, "continuous", function, Fraction(1), 1 - half, 1 + half, 1 - half, 1 + half)
    plain, frame = axes(stage, (Fraction(1),) * 4)
    assert [[v > 0 for v in row] for row in plain] == [[i == j for j in range(4)] for i in range(4)]
    t = np.array([[float(v) for v in row] for row in frame])
    shape = t.T @ matrix @ t
    assert np.abs(shape - np.diag(np.diag(shape))).max() < 0.2 * np.diag(shape).min()
    tree, volume = grow_cuts(stage, frame, (Fraction(1),) * 4, missing=0.01, most=30_000, seconds=60)
    truth = math.pi**2 / 2 / abs(np.linalg.det(root))
    assert 0.97 * truth < check_volume(stage, tree, frame, (Fraction(1),) * 4, "volume")[1] < truth
    assert volume * abs(np.linalg.det(t)) == pytest.approx(check_volume(stage, tree, frame, (Fraction(1),) * 4, "volume")[1], rel=1e-9)


def test_where_the_region_is_the_domain_boxes_lie_along_its_axes():
    stage = stage_of(round_bowl(4), "9", [1.0, 2.0, 1.5, 1.0])  # a box all of which lies in the ball of radius 3
    tree, frame = nonvacuity.volume_tree(stage, (Fraction(0),) * 4, 60.0)
    assert 47 < check_volume(stage, tree, frame, (Fraction(0),) * 4, "volume")[1] < 48


def test_an_empty_region_has_the_axes_of_the_domain_and_no_volume():
    stage = stage_of(round_bowl(4), "-1", [1.0] * 4)
    assert len(axes(stage, (Fraction(0),) * 4)) == 1
    assert nonvacuity.volume_tree(stage, (Fraction(0),) * 4, 5.0)[1] is None


@pytest.mark.parametrize("limits", [{"most": 4}, {"most": 10_000, "seconds": 0.0}])
def test_a_search_of_cuts_that_ends_early_leaves_a_tree_that_holds(limits):
    stage, frame = stage_of(round_bowl(4), "1", [1.5] * 4), [[Fraction(int(i == j)) for j in range(4)] for i in range(4)]
    tree, volume = grow_cuts(stage, frame, (Fraction(0),) * 4, missing=0.0, **{"seconds": 60.0, **limits})
    found = check_volume(stage, tree, frame, (Fraction(0),) * 4, "volume")[1]
    assert found == pytest.approx(volume) and 0 <= found < math.pi**2 / 2
