"""Volumes: what the tree holds is proved by the kernel's own test, and it is most of what is there."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Builder, affine_from_rational
from verifiers.kernel.properties import check_cover
from verifiers.kernel.stage import Function, Stage, quadratic, strip_output
from verifiers.kernel.tree import INSIDE, LEAF, NOTHING
from verifiers.region import nonvacuity
from verifiers.region.attraction import Undecided, Work
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


def in_five_states(demanded: str | None) -> tuple[Work, Stage]:
    """A ball of radius 1 in five states, volume 5.26, in a box of half width 1, and work of which the requirement and the time are asked."""
    eye = [["1" if i == j else "0" for j in range(5)] for i in range(5)]
    least = None if demanded is None else Fraction(demanded)
    setting = SimpleNamespace(requirement=SimpleNamespace(min_volume=least, contains=None, min_radius=None),
                              lo=(Fraction(-1),) * 5, hi=(Fraction(1),) * 5)
    stage = stage_of(shifted(eye, ["0"] * 5), "1", [1.0] * 5)
    return Work(setting, None, time.monotonic() + 60, stage=stage, region=("V", Fraction(1))), stage  # type: ignore[arg-type]


def test_beyond_four_states_a_volume_is_grown_where_one_is_demanded(monkeypatch):
    monkeypatch.setattr(nonvacuity, "OPEN", 30_000)
    work, stage = in_five_states("0.1")
    start_volume(work, stage, ("V", Fraction(1)))
    prove_nonvacuity(work)
    (obligation,) = work.obligations
    assert obligation["id"] == "volume" and 0.1 < measured(stage, work.files["proof/volume.tree"]) < 8 * math.pi**2 / 15
    work, stage = in_five_states(None)
    start_volume(work, stage, ("V", Fraction(1)))
    prove_nonvacuity(work)
    assert work.volume is None and not work.obligations


def test_beyond_four_states_a_volume_that_boxes_do_not_show_is_told_before_the_search(monkeypatch):
    monkeypatch.setattr(nonvacuity, "OPEN", 30_000)
    work, stage = in_five_states("5.2")
    with pytest.raises(Undecided, match=r"5\.2 is demanded; in 5 states") as no:
        start_volume(work, stage, ("V", Fraction(1)))
    assert no.value.code is Code.VOLUME_TOO_SMALL
