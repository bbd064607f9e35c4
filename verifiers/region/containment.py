r"""Whether one function's level set lies in another's: a tree that the kernel's rules for leaves accept.

.. math:: \{x \in D : V_1(x) \le c_1\} \subset \{V_2 \le c_2\}

is the shell of V_1 with the loop :math:`x' = 0`, which decreases nowhere, about the region of V_2: each of its leaves has to show V_1 > c_1 or
V_2 <= c_2.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.kernel.graph import Affine, Builder, Floats
from verifiers.kernel.properties import Goal, check_shell
from verifiers.kernel.stage import Function, Stage
from verifiers.kernel.tree import INNER, OUTSIDE, TAYLOR
from verifiers.smt.branch_and_bound import UNDECIDED, pack

BATCH = 1024
GOAL = Goal("attraction")


@dataclass(frozen=True)
class Containment:
    """The tree's bytes (None where there is no proof), boxes looked at, leaves that the kernel accepted, and the middle of a box left open."""

    tree: bytes | None
    boxes: int
    leaves: int
    open_at: tuple[float, ...] | None


def containment_stage(inner: tuple[Function, Fraction], outer: tuple[Function, Fraction], lo: Floats, hi: Floats) -> Stage:
    """The stage whose trees prove that ``{inner <= level}`` within the box (lo, hi) lies in ``{outer <= level}``."""
    b, n = Builder("at rest"), len(lo)
    still = b.build([b.affine(b.input(n), Affine(np.zeros((n, n)), np.zeros(n)))])
    smooth = inner[0].graph.is_smooth and outer[0].graph.is_smooth
    return Stage(still, "continuous", inner[0], inner[1], lo, hi, lo, hi, (outer,), contained=True, taylor=smooth)


def prove_containment(inner: tuple[Function, Fraction], outer: tuple[Function, Fraction], lo: Floats, hi: Floats, *, depth: int = 18,
                      seconds: float = 60.0) -> Containment:
    """Prove that ``{V_1 <= c_1}`` within a box lies in ``{V_2 <= c_2}``.

    Parameters
    ----------
    inner, outer : (Function, Fraction)
        V_1 and c_1; V_2 and c_2.
    lo, hi : ndarray
        The box (n,), rounded outward.
    depth : int
        Splits per coordinate at most.
    seconds : float
        Of the search.

    Returns
    -------
    Containment
        With a tree only when :func:`verifiers.kernel.properties.check_shell` has accepted it.

    Notes
    -----
    Direction: the search may only fail.  A leaf DECREASE cannot hold, since the decrease along x' = 0 is zero.
    """
    stage, end, n = containment_stage(inner, outer, lo, hi), time.monotonic() + seconds, len(lo)
    method = TAYLOR if stage.taylor else 0
    tags: list[np.ndarray] = []
    splits: list[np.ndarray] = []
    low, high, boxes = lo[None].astype(np.float64), hi[None].astype(np.float64), 0
    with np.errstate(all="ignore"):
        while len(low):
            tag = np.full(len(low), UNDECIDED, dtype=np.uint8)
            for k in range(0, len(low), BATCH):
                part = slice(k, k + BATCH)
                tag[part][stage.in_inner(low[part], high[part])] = INNER + method
                tag[part][stage.outside(low[part], high[part])] = OUTSIDE + method
            boxes += len(low)
            axis = ((high - low) / (hi - lo)).argmax(axis=1)
            tags.append(tag)
            splits.append(axis)
            opened = np.flatnonzero(tag == UNDECIDED)
            if opened.size and (len(tags) > depth * n or time.monotonic() > end):
                return Containment(None, boxes, 0, tuple((0.5 * low[opened[0]] + 0.5 * high[opened[0]]).tolist()))
            middle, at = 0.5 * low[opened, axis[opened]] + 0.5 * high[opened, axis[opened]], np.arange(opened.size)
            low, high = np.repeat(low[opened], 2, axis=0), np.repeat(high[opened], 2, axis=0)
            high[2 * at, axis[opened]] = middle
            low[2 * at + 1, axis[opened]] = middle
        tree = pack(tags, splits)[0]
        leaves, _ = check_shell(stage, GOAL, tree, "containment")
    return Containment(tree, boxes, leaves, None)
