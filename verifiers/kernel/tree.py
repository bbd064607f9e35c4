"""Covers as binary trees in pre-order: a gap cannot be expressed.

One byte a node: ``d < 64`` splits dimension ``d`` of the current box at the float64 midpoint ``lo/2 + hi/2`` (left child
first); ``128 + tag`` is a leaf.  Both children share the splitting face, so the leaves cover the root whatever the
rounding of the midpoint is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats

DECREASE, OUTSIDE, INNER, INSIDE, NOTHING = range(5)
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
        A tag and the corners (B, n) of leaves that carry it.

    Raises
    ------
    Refusal
        TREE_INCOMPLETE, TREE_TRAILING, TOO_LARGE (depth), MALFORMED_CERTIFICATE (unknown byte).
    """
    n = lo.shape[0]
    stack = [(tuple(lo.tolist()), tuple(hi.tolist()), 0)]
    waiting: dict[int, list[tuple[float, ...]]] = {tag: [] for tag in (DECREASE, OUTSIDE, INNER, INSIDE, NOTHING)}

    def out(tag: int) -> tuple[int, Floats, Floats]:
        corners = np.array(waiting[tag])
        waiting[tag].clear()
        return tag, corners[0::2], corners[1::2]

    for byte in data:
        if not stack:
            raise Refusal(Code.TREE_TRAILING, at, "bytes follow the end of the tree")
        low, high, depth = stack.pop()
        if byte < n and byte < MAX_SPLIT:
            if not depth < MAX_DEPTH:
                raise Refusal(Code.TOO_LARGE, at, f"the tree is deeper than {MAX_DEPTH}")
            middle = 0.5 * low[byte] + 0.5 * high[byte]
            stack.append(((*low[:byte], middle, *low[byte + 1:]), high, depth + 1))
            stack.append((low, (*high[:byte], middle, *high[byte + 1:]), depth + 1))
        elif byte - LEAF in waiting:
            tag = byte - LEAF
            waiting[tag] += (low, high)
            if len(waiting[tag]) >= 2 * batch:
                yield out(tag)
        else:
            raise Refusal(Code.MALFORMED_CERTIFICATE, at, f"byte {byte} is neither a split of {n} dimensions nor a leaf")
    if stack:
        raise Refusal(Code.TREE_INCOMPLETE, at, "the tree ends before its boxes cover the root")
    for tag, corners in waiting.items():
        if corners:
            yield out(tag)
