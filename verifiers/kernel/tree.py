"""Covers as binary trees in pre-order: a gap cannot be expressed.

One byte a node: ``d < 64`` splits dimension ``d`` of the current box at the float64 midpoint ``lo/2 + hi/2`` (left child
first); ``128 + tag`` is a leaf whose bounds are those of interval jets, ``136 + tag`` one whose bounds are those of Taylor models.
Both children share the splitting face, so the leaves cover the root whatever the rounding of the midpoint is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats

DECREASE, OUTSIDE, INNER, INSIDE, NOTHING = range(5)
TAYLOR = 8
LEAF = 128
MAX_DEPTH = 400
MAX_SPLIT = 64


def leaves(data: bytes, lo: Floats, hi: Floats, at: str, batch: int = 1024) -> Iterator[tuple[int, Floats, Floats]]:
    """Stream the leaves of a tree over the root box [lo, hi] in batches of one tag each.

    Parameters
    ----------
    data : bytes
        The nodes in pre-order.
    lo, hi : (n,) arrays
        The root box.
    at : str
        Named in refusals.
    batch : int
        Largest number of leaves handed out at once; memory stays at a few batches.

    Yields
    ------
    (tag, lo, hi)
        A tag, TAYLOR included, and the corners (B, n) of leaves that carry it.

    Raises
    ------
    Refusal
        TREE_INCOMPLETE, TREE_TRAILING, TOO_LARGE (depth), MALFORMED_CERTIFICATE (unknown byte).
    """
    n = min(lo.shape[0], MAX_SPLIT)
    stack = [(lo.tolist(), hi.tolist(), 0)]
    waiting: dict[int, list[float]] = {method + tag: [] for tag in (DECREASE, OUTSIDE, INNER, INSIDE, NOTHING) for method in (0, TAYLOR)}
    full = 2 * batch * lo.shape[0]

    def out(tag: int) -> tuple[int, Floats, Floats]:
        corners = np.array(waiting[tag]).reshape(-1, 2, lo.shape[0])
        waiting[tag].clear()
        return tag, np.ascontiguousarray(corners[:, 0]), np.ascontiguousarray(corners[:, 1])

    for byte in data:
        if not stack:
            raise Refusal(Code.TREE_TRAILING, at, "bytes follow the end of the tree")
        low, high, depth = stack.pop()
        if byte < n:
            if not depth < MAX_DEPTH:
                raise Refusal(Code.TOO_LARGE, at, f"the tree is deeper than {MAX_DEPTH}")
            above, below = low.copy(), high.copy()
            above[byte] = below[byte] = 0.5 * low[byte] + 0.5 * high[byte]
            stack.append((above, high, depth + 1))
            stack.append((low, below, depth + 1))
        elif byte - LEAF in waiting:
            corners = waiting[byte - LEAF]
            corners += low
            corners += high
            if len(corners) >= full:
                yield out(byte - LEAF)
        else:
            raise Refusal(Code.MALFORMED_CERTIFICATE, at, f"byte {byte} is neither a split of {lo.shape[0]} dimensions nor a leaf")
    if stack:
        raise Refusal(Code.TREE_INCOMPLETE, at, "the tree ends before its boxes cover the root")
    for tag, rest in waiting.items():
        if rest:
            yield out(tag)
