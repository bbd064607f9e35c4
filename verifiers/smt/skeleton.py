"""The top of a tree, split before anything is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifiers.kernel.graph import Floats

FIRST = 6
"""Levels of a tree that are split unseen: hardly any box of the first waves is decided, and a wave of few boxes costs as much as one of many."""
HOLE = -1


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The top of a tree, split before anything is evaluated: its bytes in pre-order, HOLE for each open box; the boxes (B, n) and their depths."""

    nodes: list[int]
    lo: Floats
    hi: Floats
    depth: Floats

    def fill(self, trees: list[bytes]) -> bytes:
        """The tree with the subtrees of the open boxes in place."""
        rest = iter(trees)
        return b"".join(next(rest) if node == HOLE else bytes([node]) for node in self.nodes)


def skeleton(lo: Floats, hi: Floats, zoom: int) -> Skeleton:
    """Split a root box (n,) where it is known that nothing can be decided yet.

    ``zoom = 0`` halves the widest coordinate down to ``FIRST`` levels.  A positive ``zoom`` makes rings about the middle instead, each half as
    wide as the one before: the boxes that touch the middle are halved ``zoom`` times in every coordinate, the others not at all.
    """
    n, width, middle = lo.shape[0], hi - lo, 0.5 * lo + 0.5 * hi
    nodes: list[int] = []
    found: list[tuple[Floats, Floats, int]] = []
    stack = [(lo, hi, 0)]
    while stack:
        low, high, depth = stack.pop()
        inside = bool(((low <= middle) & (middle <= high)).all())
        if depth >= (n * (zoom + 1) if zoom and inside else 0 if zoom else FIRST):
            nodes.append(HOLE)
            found.append((low, high, depth))
            continue
        axis = int(((high - low) / width).argmax())
        nodes.append(axis)
        half = 0.5 * low[axis] + 0.5 * high[axis]
        below, above = high.copy(), low.copy()
        below[axis] = above[axis] = half
        stack += [(above, high, depth + 1), (low, below, depth + 1)]
    return Skeleton(nodes, *(np.array([item[k] for item in found], dtype=float) for k in range(3)))
