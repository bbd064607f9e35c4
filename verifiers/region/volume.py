r"""A tree whose INSIDE leaves fill most of a region: the certified volume.

Any part of the domain may be left out of a volume, so only what is put in needs the kernel's enclosures.  Where a box goes is guessed
from the jet of an ancestor, V(c) + g (x - c) with the width of the enclosed gradient as the doubt of the guess; a box that is guessed to
lie inside is enclosed itself, and one whose doubt is too large gets a jet of its own.  Boxes are halved where V changes most, so that they
align with the boundary.

Direction: an INSIDE leaf passes the kernel's own test; a wrong guess only makes the volume smaller, or the search longer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from verifiers.kernel.graph import Floats
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.stage import Stage
from verifiers.kernel.tree import INSIDE, NOTHING
from verifiers.smt.branch_and_bound import UNDECIDED, pack

BATCH = 1024
DOUBT = 0.5
"""Largest doubt of a guess, as a share of the change of V over the box, with which no jet of its own is computed."""


@dataclass(frozen=True, eq=False)
class Guess:
    """Linear models over boxes: corners (B, n), V at the middle (B,), gradient and its radius (B, n), error of the middle value (B,)."""

    lo: Floats
    hi: Floats
    value: Floats
    slope: Floats
    bend: Floats
    error: Floats

    def pick(self, at: np.ndarray) -> Guess:
        """The boxes ``at``."""
        return Guess(*(getattr(self, name)[at] for name in self.__dataclass_fields__))

    def halves(self, axis: np.ndarray) -> Guess:
        """Both halves of every box, in pairs, with the models moved to their middles."""
        at, box = np.arange(axis.size), np.repeat(np.arange(axis.size), 2)
        middle, quarter = 0.5 * self.lo[at, axis] + 0.5 * self.hi[at, axis], 0.25 * (self.hi[at, axis] - self.lo[at, axis])
        half = self.pick(box)
        half.hi[2 * at, axis] = middle
        half.lo[2 * at + 1, axis] = middle
        half.value[0::2] -= self.slope[at, axis] * quarter
        half.value[1::2] += self.slope[at, axis] * quarter
        half.error[:] += np.repeat(self.bend[at, axis] * quarter, 2)
        return half


def grow_volume(stage: Stage, *, missing: float, depth: int, most: int = 200_000, seconds: float = 60.0) -> bytes:
    """Tree over the domain whose INSIDE leaves lie in {V <= c}; all else is NOTHING.

    Parameters
    ----------
    stage : Stage
        Its function, level and domain.
    missing : float
        The search ends when the boxes that are neither in nor out hold no more than twice this share of the volume found.
    depth, most, seconds
        No box deeper than this is split, none when there are more than ``most`` open boxes, and none after this time.
    """
    deadline = time.monotonic() + seconds
    below, above = stage.function.thresholds(stage.level)
    lo, hi = stage.lo[None], stage.hi[None]
    n, filled = lo.shape[1], 0.0
    boxes = Guess(lo, hi, np.zeros(1), np.zeros((1, n)), np.full((1, n), np.inf), np.zeros(1))
    tags, splits = [], []
    for level in range(depth + 1):
        tag, boxes = _decide(stage, boxes, below, above)
        volume = np.prod(boxes.hi - boxes.lo, axis=1)
        filled += float(volume[tag == INSIDE].sum())
        opened = np.flatnonzero(tag == UNDECIDED)
        ends = float(volume[opened].sum()) <= 2 * missing * filled or level == depth or opened.size > most or time.monotonic() > deadline
        if ends:
            tag[opened] = NOTHING
        axis = (np.nan_to_num(np.abs(boxes.slope) + boxes.bend, nan=np.inf, posinf=1e300) * (boxes.hi - boxes.lo)).argmax(axis=1)
        tags.append(tag)
        splits.append(axis)
        if ends or not opened.size:
            break
        boxes = boxes.pick(opened).halves(axis[opened])
    return pack(tags, splits)[0]


def _decide(stage: Stage, boxes: Guess, below: float, above: float) -> tuple[np.ndarray, Guess]:
    """INSIDE where proved, NOTHING where guessed or proved to be outside; and the boxes, some with a jet of their own."""
    half = 0.5 * (boxes.hi - boxes.lo)
    change, doubt = (np.abs(boxes.slope) * half).sum(axis=1), (boxes.bend * half).sum(axis=1) + boxes.error
    tag = np.full(len(doubt), UNDECIDED, dtype=np.uint8)
    tag[boxes.value - change - doubt > above] = NOTHING
    asked = np.flatnonzero((tag == UNDECIDED) & ((boxes.value + change <= below) | ~(doubt <= DOUBT * change)))
    for k in range(0, asked.size, BATCH):
        at = asked[k:k + BATCH]
        centre, radius = split_boxes(boxes.lo[at], boxes.hi[at])
        reading = JetReading(radius, 1)
        with np.errstate(all="ignore"):
            jet = read_jets(stage.function.graph, reading, reading.start(centre))
        low, high = reading.bounds(jet)
        boxes.value[at], boxes.error[at] = jet.mid[0, :, 0], 0.0
        boxes.slope[at], boxes.bend[at] = jet.mid[2:, :, 0].T, jet.rad[2:, :, 0].T
        tag[at[low[:, 0] > above]] = NOTHING
        tag[at[high[:, 0] <= below]] = INSIDE
    return tag, boxes

