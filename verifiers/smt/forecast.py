r"""How many leaves a box tree will have, before it is grown.

Every state x of the root lies in one leaf B(x), and the leaves number

.. math:: \int \frac{dx}{\mathrm{vol}\,B(x)} = \mathbb{E}\Big[\frac{1}{p(x)\,\mathrm{vol}\,B(x)}\Big]

for states drawn with any density p.  So a few hundred states, each followed down the branch that holds it, with the splits that the search would
choose, forecast a tree of millions.

Direction: an unbiased estimate with its standard error, nothing is proved.  Where few states carry most of the sum it is too small more often
than too large.

References
----------
.. [1] D. E. Knuth, Estimating the efficiency of backtrack programs, Math. Comp. 29 (1975), 121-136.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from verifiers.kernel.graph import Floats
from verifiers.kernel.properties import Goal
from verifiers.kernel.stage import Stage
from verifiers.smt.branch_and_bound import BATCH, UNDECIDED, decide
from verifiers.smt.skeleton import skeleton


@dataclass(frozen=True)
class Forecast:
    """Leaves expected, standard error of that, and boxes that are decided in a second in a batch of leaves."""

    leaves: float
    error: float
    pace: float


def forecast(stage: Stage, goal: Goal, states: Floats, weights: Floats, depth: int = 200) -> Forecast:
    """Follow states (N, n) of the root down to their leaves; ``weights`` (N,) are 1 / p, and a branch ends at ``depth`` splits.

    Raises
    ------
    ValueError
        When a state lies outside of the root.
    """
    if not ((states >= stage.lo) & (states <= stage.hi)).all():
        raise ValueError("a state lies outside of the tree's root")
    top = skeleton(stage.lo, stage.hi, 0)
    first = np.array([int(((x >= top.lo) & (x <= top.hi)).all(axis=1).argmax()) for x in states])
    lo, hi = top.lo[first], top.hi[first]
    open_, leaves = np.arange(len(states)), np.zeros(len(states))
    with np.errstate(all="ignore"):
        for level in range(depth + 1):
            if not open_.size:
                break
            found = decide(stage, goal, lo[open_], hi[open_])
            ends = (found.tag != UNDECIDED) | (level == depth)
            at = open_[ends]
            leaves[at] = weights[at] / np.prod(hi[at] - lo[at], axis=1)
            open_ = open_[~ends]
            for axis in (found.split[~ends], found.after[~ends]):
                halved = axis >= 0  # the second split is made unseen
                _halve(lo, hi, states, open_[halved], axis[halved])
        began, batch = time.perf_counter(), np.arange(BATCH) % len(states)
        decide(stage, goal, lo[batch], hi[batch])
    return Forecast(float(leaves.mean()), float(leaves.std() / len(states) ** 0.5), BATCH / (time.perf_counter() - began))


def _halve(lo: Floats, hi: Floats, states: Floats, at: np.ndarray, axis: np.ndarray) -> None:
    """Keep the half that holds the state, in place."""
    middle = 0.5 * lo[at, axis] + 0.5 * hi[at, axis]
    below = states[at, axis] < middle
    hi[at[below], axis[below]] = middle[below]
    lo[at[~below], axis[~below]] = middle[~below]
