"""Containment of level sets: false ones are never proved, whatever the tree says; true ones are, and the kernel's rules accept the tree."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.codes import Refusal
from verifiers.kernel.properties import check_shell
from verifiers.kernel.stage import Function, quadratic, strip_output
from verifiers.kernel.tree import DECREASE, INNER, LEAF, OUTSIDE
from verifiers.region.containment import GOAL, containment_stage, prove_containment

BOX = np.array([-2.0, -2.0]), np.array([2.0, 2.0])
ZERO = [Fraction(0), Fraction(0)]


def ellipse(a: str, b: str, centre: list[Fraction] | None = None) -> Function:
    return quadratic([[Fraction(a), Fraction(0)], [Fraction(0), Fraction(b)]], centre or ZERO)


@pytest.mark.parametrize(("inner", "outer"), [
    ((ellipse("1", "1"), Fraction("1.001")), (ellipse("1", "1"), Fraction(1))),          # a little larger
    ((ellipse("1", "1"), Fraction(1)), (ellipse("1", "1"), Fraction("0.9999"))),
    ((ellipse("1", "4"), Fraction(1)), (ellipse("4", "1"), Fraction(1))),                # crossing
    ((ellipse("1", "1", [Fraction(1, 2), Fraction(0)]), Fraction(1, 4)), (ellipse("1", "1"), Fraction(99, 100)))])  # touching from outside
def test_a_false_containment_is_not_proved(inner, outer):
    found = prove_containment(inner, outer, *BOX, depth=9)
    assert found.tree is None and found.open_at is not None


@pytest.mark.parametrize("leaf", [DECREASE, INNER, OUTSIDE])
def test_a_forged_tree_is_refused(leaf):
    """x' = 0 decreases nowhere, so that no leaf of a third kind can be smuggled in."""
    stage = containment_stage((ellipse("1", "1"), Fraction(1)), (ellipse("1", "1"), Fraction(1, 2)), *BOX)
    for method in (0, 8):
        with pytest.raises(Refusal):
            check_shell(stage, GOAL, bytes([LEAF + method + leaf]), "forged")


@pytest.mark.parametrize(("inner", "outer"), [
    ((ellipse("1", "1"), Fraction("0.98")), (ellipse("1", "1"), Fraction(1))),
    ((ellipse("4", "9"), Fraction(1)), (ellipse("1", "1"), Fraction("0.3"))),
    ((ellipse("1", "1"), Fraction(-1)), (ellipse("1", "1"), Fraction("0.01")))])         # the empty set
def test_a_true_containment_is_proved(inner, outer):
    found = prove_containment(inner, outer, *BOX)
    assert found.tree is not None and found.leaves >= 1 and found.open_at is None


def test_what_leaves_the_box_is_not_asked_about():
    inner, outer = (ellipse("1", "1"), Fraction(100)), (ellipse("1", "1"), Fraction("8.1"))
    assert prove_containment(inner, outer, *BOX).tree is not None


def test_the_levels_of_a_squashed_function_are_those_of_its_argument():
    from verifiers.kernel.graph import Builder

    b = Builder()
    squashed = strip_output(b.build([b.unary("sigmoid", b.inline(ellipse("1", "1").graph, [b.input(2)])[0])]))
    level = Fraction("0.7")  # sigmoid(z) <= 0.7 iff z <= 0.8473
    assert prove_containment((squashed, level), (ellipse("1", "1"), Fraction("0.86")), *BOX).tree is not None
    assert prove_containment((squashed, level), (ellipse("1", "1"), Fraction("0.84")), *BOX, depth=9).tree is None
