r"""What each property asks of the leaves of its trees, and what follows for volume and contained sets.

Every rule ends in "all leaves of a batch pass, or the kernel refuses with a code and the first box that does not".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.kernel import tree
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Bools, Floats
from verifiers.kernel.stage import Stage

Part = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Goal:
    """What the tree of a stage shows.

    ``kind``: ``attraction`` (reach an inner region), ``practical`` (reach and keep {V <= a} inside a target box) or
    ``invariance`` (never leave {V <= c}).
    """

    kind: str
    inner_level: Fraction = Fraction(0)
    target_lo: Floats | None = None
    target_hi: Floats | None = None

    def in_target(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where the box lies in the target."""
        if self.target_lo is None or self.target_hi is None:
            return np.zeros(lo.shape[0], dtype=bool)
        return np.asarray((lo >= self.target_lo).all(axis=1) & (hi <= self.target_hi).all(axis=1))


def judge_inner(stage: Stage, goal: Goal, lo: Floats, hi: Floats) -> list[tuple[Code, Bools]]:
    """Conditions of an INNER leaf: nothing (more) has to decrease there."""
    if goal.kind == "attraction":
        return [(Code.LEAF_NOT_INSIDE, stage.in_inner(lo, hi))]
    v_hi = stage.value(stage.function, lo, hi)[1]
    if goal.kind == "invariance":
        if stage.time == "discrete":
            raise Refusal(Code.MALFORMED_CERTIFICATE, "tree", "in discrete time invariance has no inner leaves")
        return [(Code.LEAF_NOT_INSIDE, v_hi < stage.function.thresholds(stage.level)[0]), (Code.CONTAINMENT, stage.faces_outside(lo, hi))]
    level = stage.function.thresholds(goal.inner_level)[0]
    rules = [(Code.LEAF_NOT_INSIDE, v_hi < level), (Code.TARGET_NOT_CONTAINED, goal.in_target(lo, hi))]
    if stage.time == "discrete":
        found = stage.evaluate(lo, hi)
        after = np.full(lo.shape[0], np.nan) if found.v_after is None else found.v_after
        rules += [(Code.NOT_PROVED, after <= level), (Code.IMAGE, stage.stays(lo, hi, found.image))]
    else:
        rules += [(Code.CONTAINMENT, stage.faces_outside(lo, hi))]
    return rules


def judge_decrease(stage: Stage, goal: Goal, lo: Floats, hi: Floats) -> tuple[list[tuple[Code, Bools]], Floats]:
    """Conditions of a DECREASE leaf, and the bounds of the decrease (B,)."""
    found = stage.evaluate(lo, hi)
    leave = Code.CONTAINMENT if stage.time == "continuous" else Code.IMAGE
    rules = [(leave, stage.stays(lo, hi, found.image))]
    if goal.kind == "invariance" and stage.time == "discrete":
        after = np.full(lo.shape[0], np.nan) if found.v_after is None else found.v_after
        low = stage.function.thresholds(stage.level)[0]
        return [(Code.DECREASE, after <= low), *rules], after - low
    rules = [(Code.RATE if stage.rate else Code.DECREASE, found.decrease < 0), *rules]
    if stage.rate:
        rules.append((Code.RATE, found.v_lo >= 0))  # where V < 0 the rate condition would let V grow
    if goal.kind == "practical":
        above = found.v_lo > stage.function.thresholds(goal.inner_level)[1]
        rules.append((Code.TARGET_NOT_CONTAINED, above | goal.in_target(lo, hi)))
    return rules, found.decrease


def check_shell(stage: Stage, goal: Goal, data: bytes, at: str, part: Part = (0, 1)) -> tuple[int, float]:
    """Check the tree of a stage; return the number of leaves and the worst (largest) bound of the decrease.

    Raises
    ------
    Refusal
        With the code of the first rule that a leaf breaks, and the leaf.
    """
    count, worst = 0, -math.inf
    for k, (tag, lo, hi) in enumerate(tree.leaves(data, stage.lo, stage.hi, at)):
        count += lo.shape[0]
        if k % part[1] != part[0]:
            continue
        if tag == tree.OUTSIDE:
            rules = [(Code.LEAF_NOT_OUTSIDE, stage.outside(lo, hi))]
        elif tag == tree.INNER:
            rules = judge_inner(stage, goal, lo, hi)
        elif tag == tree.DECREASE:
            rules, bounds = judge_decrease(stage, goal, lo, hi)
            worst = max(worst, float(bounds.max()))
        else:
            raise Refusal(Code.MALFORMED_CERTIFICATE, at, "a leaf of this kind has no meaning in this tree")
        if tag != tree.OUTSIDE:
            rules.append((Code.COMMAND_EXCEEDS_LIMIT, stage.command_within(lo, hi)))
        for code, good in rules:
            if not good.all():
                i = int(np.argmin(good))
                raise Refusal(code, at, f"not shown on the box {_box(lo[i], hi[i])}")
    return count, worst


def _box(lo: Floats, hi: Floats) -> str:
    return " x ".join(f"[{a:.6g}, {b:.6g}]" for a, b in zip(lo, hi, strict=True))


def check_covered(stage: Stage, data: bytes, lo: Floats, hi: Floats, at: str, code: Code,
                  free: Callable[[Floats, Floats], Bools] | None = None) -> int:
    """Check that the box [lo, hi] lies in the region of the stage, but for leaves NOTHING that ``free`` excuses; count the leaves."""
    count = 0
    for tag, low, high in tree.leaves(data, lo, hi, at):
        count += low.shape[0]
        if tag == tree.INSIDE:
            good = stage.inside(low, high)
        elif tag == tree.INNER:
            good = stage.in_inner(low, high)
        elif tag == tree.NOTHING and free is not None:
            good = free(low, high)
        else:
            raise Refusal(Code.MALFORMED_CERTIFICATE, at, "a leaf of this kind has no meaning in this tree")
        if not good.all():
            i = int(np.argmin(good))
            raise Refusal(code, at, f"not shown on the box {_box(low[i], high[i])}")
    return count


def check_volume(stage: Stage, data: bytes, at: str) -> tuple[int, float]:
    r"""Lower bound of the region's volume: the leaves that lie in it, cut to the domain.

    Returns
    -------
    (leaves, volume)
        ``volume`` is rounded down: a sum of at most 2**40 non-negative products of n <= 64 factors has a relative error below 1e-12
        when batches are summed pairwise and then exactly (``math.fsum``).
    """
    count, parts = 0, []
    for tag, lo, hi in tree.leaves(data, stage.lo, stage.hi, at):
        count += lo.shape[0]
        if tag == tree.NOTHING:
            continue
        if tag not in (tree.INSIDE, tree.INNER):
            raise Refusal(Code.MALFORMED_CERTIFICATE, at, "a leaf of this kind has no meaning in a volume tree")
        good = stage.inside(lo, hi) if tag == tree.INSIDE else stage.in_inner(lo, hi)
        if not good.all():
            i = int(np.argmin(good))
            raise Refusal(Code.LEAF_NOT_INSIDE, at, f"not shown on the box {_box(lo[i], hi[i])}")
        width = np.maximum(np.minimum(hi, stage.inner_hi) - np.maximum(lo, stage.inner_lo), 0.0)
        parts.append(float(width.prod(axis=1).sum()))
    return count, math.fsum(parts) * (1 - 1e-12)
