"""The piecewise-affine law as comparisons (YANN form): which half-spaces hold, which region therefore, and that region's map."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from verifiers.explicit_mpc.exact import Row
from verifiers.explicit_mpc.problem import Floats
from verifiers.explicit_mpc.value import Pieces
from verifiers.kernel.graph import Affine, Builder, Graph

MARGIN = 1e-9
"""Added to the right side of each row of unit gradient, so that points of a facet belong to a region in spite of rounding."""


def unit_rows(region: Sequence[Row]) -> tuple[Floats, Floats]:
    r"""Rows E (m, d) of unit length and ends e (m,) in float64, the margin included: the region is :math:`e - E\theta \ge 0`."""
    rows, ends = np.zeros((len(region), len(region[0]) - 1)), np.zeros(len(region))
    for k, row in enumerate(region):
        size = max(map(abs, row))
        given = np.array([v / size for v in row])  # integers of any length: their quotients are rounded once
        given /= np.linalg.norm(given[:-1])
        rows[k], ends[k] = -given[:-1], given[-1] + MARGIN
    return rows, ends


def add_comparisons(builder: Builder, x: int, pieces: Pieces) -> int:
    r"""Add a law to a graph under construction and return the node of its value (p,).

    (1) :math:`h_{ik} = [e_{ik} - E_{ik}\theta \ge 0]`, (2) :math:`c_i = [\sum_k h_{ik} - m_i + \tfrac12 \ge 0]`, (3) the map of the first region i
    with :math:`c_i`; where no region holds, that of the region about the origin.

    Notes
    -----
    Direction: none; a neighbour's map may be taken within :data:`MARGIN` beyond a facet, and coefficients are rounded to float64.  Outside all
    regions, where the problem is infeasible, the value is a command like any other and no sign of that; a claim about the file covers it as it is.
    """
    halves = [unit_rows(region) for region in pieces.halfspaces]
    rows, ends = np.concatenate([rows for rows, _ in halves]), np.concatenate([ends for _, ends in halves])
    owner = np.repeat(np.arange(len(halves)), [len(part) for _, part in halves])
    one, none = (builder.const([Fraction(value)] * len(ends)) for value in (1, 0))
    held = builder.where(builder.affine(x, Affine(-rows, ends)), one, none)
    group = (owner == np.arange(len(halves))[:, None]).astype(np.float64)
    counted = builder.affine(held, Affine(group, 0.5 - group.sum(axis=1)))
    gains = np.array([law.astype(np.float64) for law in pieces.laws])
    maps = [builder.affine(x, Affine(gain[:, :-1], gain[:, -1])) for gain in gains]
    home = int(np.argmax([ends.min() for _, ends in halves]))  # of all regions the one that reaches furthest about the origin
    value = maps[home]
    for i in reversed(range(len(maps))):
        value = builder.where(builder.take(counted, (i,) * gains.shape[1]), maps[i], value)
    return value


def comparison_graph(pieces: Pieces) -> Graph:
    """The law alone: one input (d,), one output (p,); see :func:`add_comparisons`."""
    builder = Builder("law")
    return builder.build([add_comparisons(builder, builder.input(len(pieces.lb)), pieces)])
