r"""What each property asks of the leaves of its trees, and what follows for volume and contained sets.

Every rule ends in "all leaves of a batch pass, or the kernel refuses with a code and the first box that does not".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from verifiers.kernel import tree
from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.graph import Bools, Floats
from verifiers.kernel.requirement import PRACTICAL
from verifiers.kernel.stage import Evaluation, Stage

Part = tuple[int, int]
Rules = list[tuple[Code, Bools]]
"""Pairs of a code and where (B,) the rule that it names holds."""


@dataclass(frozen=True, eq=False)
class Goal:
    """What the tree of a stage shows.

    ``kind``: ``attraction`` (reach an inner region), ``practical`` (reach and keep {V <= a} inside a target box),
    ``invariance`` (never leave {V <= c}), or ``gain``, which no tree shows.
    """

    kind: str
    inner_level: Fraction = Fraction(0)
    target_lo: Floats | float = math.inf
    target_hi: Floats | float = -math.inf

    def in_target(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where the box lies in the target."""
        return np.asarray((lo >= self.target_lo).all(axis=1) & (hi <= self.target_hi).all(axis=1))


def goal_of(name: str) -> Goal:
    """The goal of a property, but for the inner level and the target of a practical one."""
    return Goal({**dict.fromkeys(PRACTICAL, "practical"), "forward_invariance": "invariance", "l2_gain": "gain"}.get(name, "attraction"))


def judge_inner(stage: Stage, goal: Goal, lo: Floats, hi: Floats) -> Rules:
    """Conditions of an INNER leaf: nothing (more) has to decrease there."""
    if goal.kind == "attraction":
        return [(Code.LEAF_NOT_INSIDE, stage.in_inner(lo, hi))]
    practical, discrete = goal.kind == "practical", stage.time == "discrete"
    need(practical or not discrete, Code.MALFORMED_CERTIFICATE, "tree", "in discrete time invariance has no inner leaves")
    level, v_hi = stage.function.thresholds(goal.inner_level if practical else stage.level)[0], stage.value(stage.function, lo, hi)[1]
    rules = [(Code.LEAF_NOT_INSIDE, v_hi < level)]
    if practical:
        rules.append((Code.TARGET_NOT_CONTAINED, goal.in_target(lo, hi)))
    if not discrete:
        return [*rules, (Code.CONTAINMENT, stage.faces_outside(lo, hi))]
    found = stage.evaluate(lo, hi)
    return [*rules, (Code.NOT_PROVED, _after(found) <= level), (Code.IMAGE, stage.stays(lo, hi, found.image))]


def judge_decrease(stage: Stage, goal: Goal, lo: Floats, hi: Floats) -> tuple[Rules, Floats]:
    """Conditions of a DECREASE leaf, and the bounds of the decrease (B,)."""
    found = stage.evaluate(lo, hi)
    stays = (Code.CONTAINMENT if stage.time == "continuous" else Code.IMAGE, stage.stays(lo, hi, found.image))
    if goal.kind == "invariance" and stage.time == "discrete":
        after, low = _after(found), stage.function.thresholds(stage.level)[0]
        return [(Code.DECREASE, after <= low), stays], after - low
    rules = [(Code.RATE if stage.rate else Code.DECREASE, found.decrease < 0), stays]
    if stage.rate:
        rules.append((Code.RATE, found.v_lo >= 0))  # where V < 0 the rate condition would let V grow
    if goal.kind == "practical":
        above = found.v_lo > stage.function.thresholds(goal.inner_level)[1]
        rules.append((Code.TARGET_NOT_CONTAINED, above | goal.in_target(lo, hi)))
    return rules, found.decrease


def _after(found: Evaluation) -> Floats:
    """Upper bound (B,) of V after the step; NaN, which passes no test, where time is continuous."""
    return found.v_hi * np.nan if found.v_after is None else found.v_after


def _demand(rules: Rules, lo: Floats, hi: Floats, at: str) -> None:
    """Refuse with the code of the first rule that does not hold on all boxes, and the first box."""
    for code, good in rules:
        if not good.all():
            i = int(np.argmin(good))
            box = " x ".join(f"[{a:.6g}, {b:.6g}]" for a, b in zip(lo[i], hi[i], strict=True))
            raise Refusal(code, at, f"not shown on the box {box}")


def check_shell(stage: Stage, goal: Goal, data: bytes, at: str, part: Part = (0, 1)) -> tuple[int, float]:
    """Check the tree of a stage; return the number of leaves and the worst (largest) bound of the decrease.

    Raises
    ------
    Refusal
        With the code of the first rule that a leaf breaks, and the leaf.
    """
    count, worst, by_taylor = 0, -math.inf, replace(stage, taylor=True)
    for k, (tag, lo, hi) in enumerate(tree.leaves(data, stage.lo, stage.hi, at)):
        count += lo.shape[0]
        if k % part[1] != part[0]:
            continue
        here, kind = (by_taylor, tag - tree.TAYLOR) if tag >= tree.TAYLOR else (stage, tag)
        need(kind in (tree.OUTSIDE, tree.INNER, tree.DECREASE), Code.MALFORMED_CERTIFICATE, at, "a leaf of this kind has no meaning in this tree")
        if kind == tree.OUTSIDE:
            _demand([(Code.LEAF_NOT_OUTSIDE, here.elsewhere(lo, hi))], lo, hi, at)
            continue
        if kind == tree.INNER:
            rules = judge_inner(here, goal, lo, hi)
        else:
            rules, bounds = judge_decrease(here, goal, lo, hi)
            worst = max(worst, float(bounds.max()))
        _demand([*rules, (Code.COMMAND_EXCEEDS_LIMIT, stage.command_within(lo, hi))], lo, hi, at)
    return count, worst


def check_boundary(stage: Stage, data: bytes, at: str) -> int:
    """Check that V > c on the boundary of the domain, by a tree of leaves NOTHING over the domain; return their number.

    Raises
    ------
    Refusal
        ``CONTAINMENT`` with the first leaf on whose part of the boundary this is not shown.
    """
    count = 0
    for tag, lo, hi in tree.leaves(data, stage.lo, stage.hi, at):
        need(tag == tree.NOTHING, Code.MALFORMED_CERTIFICATE, at, "a leaf of this kind has no meaning in this tree")
        _demand([(Code.CONTAINMENT, stage.faces_outside(lo, hi))], lo, hi, at)
        count += lo.shape[0]
    return count


def check_cover(stage: Stage, data: bytes, lo: Floats, hi: Floats, at: str, code: Code,
                free: Callable[[Floats, Floats], Bools] | None = None) -> tuple[int, float]:
    r"""Check that the box [lo, hi] lies in the region of the stage, but for leaves NOTHING that ``free`` excuses.

    Returns
    -------
    (leaves, volume)
        ``volume`` is a lower bound of that of the leaves that lie in the region, cut to the domain and rounded down: a sum of at most
        2**40 non-negative products of n <= 64 factors has a relative error below 1e-12 when batches are summed pairwise and then
        exactly (``math.fsum``).

    Raises
    ------
    Refusal
        With the given code and the first leaf that does not do what it says.
    """
    count, volumes = 0, []
    for tag, low, high in tree.leaves(data, lo, hi, at):
        count += low.shape[0]
        if tag == tree.NOTHING and free is not None:
            good = free(low, high)
        else:
            need(tag in (tree.INSIDE, tree.INNER), Code.MALFORMED_CERTIFICATE, at, "a leaf of this kind has no meaning in this tree")
            good = stage.inside(low, high) if tag == tree.INSIDE else stage.in_inner(low, high)
            width = np.maximum(np.minimum(high, stage.inner_hi) - np.maximum(low, stage.inner_lo), 0.0)
            volumes.append(float(width.prod(axis=1).sum()))
        _demand([(code, good)], low, high, at)
    return count, math.fsum(volumes) * (1 - 1e-12)
