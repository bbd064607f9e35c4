"""A piecewise-affine law as a hyperplane tree: exact rationals, every point in exactly one leaf, no value outside the feasible set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from verifiers.explicit_mpc.exact import Row, primitive
from verifiers.explicit_mpc.problem import Exact, Floats
from verifiers.kernel.pwa import FORMAT, OUTSIDE, read_law
from verifiers.kernel.strict import read_json


@dataclass(frozen=True, eq=False)
class Law:
    r"""A piecewise-affine law on a box: go down the tree to a leaf, and apply its affine map.

    Attributes
    ----------
    lb, ub : (d,) array of Fraction
        The box on which the tree is meant.
    halfspaces : tuple of Row
        Integers (a, c): the half-space :math:`a \cdot \theta + c \ge 0`.
    laws : tuple of (p, d+1) array of Fraction
        Affine maps :math:`u = K\theta + k`, the last column k.
    outputs : int
        p, the number of components of u.
    tree : tuple of int
        Pre-order: s >= 0 asks half-space s, the subtree of the points inside first; -1 is a leaf without value; -2-k a leaf with law k.

    Notes
    -----
    The tree is a decision for every point: a point on a hyperplane belongs to the side inside, so overlaps and gaps cannot be expressed.
    """

    lb: Exact
    ub: Exact
    halfspaces: tuple[Row, ...]
    laws: tuple[Exact, ...]
    outputs: int
    tree: tuple[int, ...]

    def leaf(self, theta: Sequence[Fraction]) -> int:
        """The leaf's entry at a rational point, exact."""
        point, at = (*theta, Fraction(1)), 0
        after = self._after
        while self.tree[at] >= 0:
            inside = sum(a * x for a, x in zip(self.halfspaces[self.tree[at]], point, strict=True)) >= 0
            at = at + 1 if inside else after[at]
        return self.tree[at]

    def exact(self, theta: Sequence[Fraction]) -> tuple[Fraction, ...] | None:
        """The value at a rational point, exact; None outside the box and where the problem is infeasible."""
        if not all(a <= x <= b for a, x, b in zip(self.lb, theta, self.ub, strict=True)) or (entry := self.leaf(theta)) == OUTSIDE:
            return None
        return tuple(self.laws[-2 - entry] @ np.array([*theta, Fraction(1)], dtype=object))

    def evaluate(self, points: Any) -> Floats:
        """Values (N, p) at points (N, d) in float64; NaN outside the box and where the problem is infeasible.

        Direction: none.  Within rounding of a hyperplane the leaf on its other side may be taken; the law of a strictly convex mp-QP is
        continuous, so the value then moves by rounding only, and by the border of the feasible set a value may appear or be missing.

        Raises
        ------
        ValueError
            When the points have another shape.
        """
        theta = np.asarray(points, dtype=np.float64)
        if theta.ndim != 2 or theta.shape[1] != len(self.lb):
            raise ValueError(f"points have shape {theta.shape}; (N, {len(self.lb)}) is expected")
        lifted = np.column_stack([theta, np.ones(len(theta))])
        lb, ub, rows, gains = self._floats
        values = np.full((len(theta), self.outputs), np.nan)
        inside = (theta >= lb).all(axis=1) & (theta <= ub).all(axis=1)
        after, waiting = self._after, [(0, np.nonzero(inside)[0])]
        while waiting:
            at, chosen = waiting.pop()
            entry = self.tree[at]
            if entry >= 0:
                side = lifted[chosen] @ rows[entry] >= 0
                waiting += [(i, part) for i, part in ((at + 1, chosen[side]), (after[at], chosen[~side])) if len(part)]
            elif entry != OUTSIDE:
                values[chosen] = lifted[chosen] @ gains[-2 - entry].T
        return values

    @cached_property
    def _floats(self) -> tuple[Floats, Floats, Floats, list[Floats]]:
        """Both corners of the box, the half-spaces scaled to entries of at most one, and the maps, rounded once."""
        rows = np.array([[v / max(map(abs, row)) for v in row] for row in self.halfspaces]).reshape(-1, len(self.lb) + 1)
        return self.lb.astype(np.float64), self.ub.astype(np.float64), rows, [law.astype(np.float64) for law in self.laws]

    @cached_property
    def _after(self) -> list[int]:
        """For each question the place of its second subtree."""
        end = [0] * len(self.tree)
        for at in range(len(self.tree) - 1, -1, -1):
            end[at] = at + 1 if self.tree[at] < 0 else end[end[at + 1]]
        return [0 if entry < 0 else end[at + 1] for at, entry in enumerate(self.tree)]


def to_json(law: Law) -> bytes:
    """The bytes of law.json, the controller file (the box stands in the requirement)."""
    table = {"format": FORMAT, "inputs": len(law.lb), "outputs": law.outputs, "tree": list(law.tree),
             "halfspaces": [[str(v) for v in row] for row in law.halfspaces],
             "laws": [[[str(v) for v in row] for row in entries] for entries in law.laws]}
    return (json.dumps(table, sort_keys=True) + "\n").encode("ascii")


def from_json(data: bytes, lb: Sequence[Fraction], ub: Sequence[Fraction]) -> Law:
    """Read law.json with the kernel's reader, and put the box beside it."""
    read = read_law(read_json(data, "law.json"))
    rows = tuple(primitive(row) for row in read.halfspaces)
    return Law(np.array(lb, dtype=object), np.array(ub, dtype=object), rows, tuple(read.laws), read.outputs, tuple(read.tree))
