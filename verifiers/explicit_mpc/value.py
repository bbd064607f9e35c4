"""The value function of a linear MPC problem: one quadratic form per critical region, in exact numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifiers.explicit_mpc.condense import Model, condense, cost_of
from verifiers.explicit_mpc.exact import Row
from verifiers.explicit_mpc.partition import Critical, critical_regions, partition
from verifiers.explicit_mpc.problem import Exact
from verifiers.explicit_mpc.solve import Settings, solve


@dataclass(frozen=True, eq=False)
class Pieces:
    r"""A piecewise function of the parameter, and the law beside it.

    Attributes
    ----------
    halfspaces : tuple of tuple of Row
        For each region the rows (a, c) of its facets, and of the faces of the box that bound it: :math:`a \cdot \theta + c \ge 0`.
    laws : tuple of (p, d+1) array of Fraction
        The first move, the last column constant.
    forms : tuple of (d+1, d+1) array of Fraction
        Symmetric S with :math:`V(\theta) = (\theta, 1)^T S\, (\theta, 1)`.
    lb, ub : (d,) arrays of Fraction
        The box.
    """

    halfspaces: tuple[tuple[Row, ...], ...]
    laws: tuple[Exact, ...]
    forms: tuple[Exact, ...]
    lb: Exact
    ub: Exact


def pieces(model: Model, active_sets: Sequence[tuple[int, ...]] | None = None, settings: Settings | None = None) -> Pieces:
    r"""Laws and value function of a model, region by region.

    .. math:: V(\theta) = \min_z \tfrac12 (z, \theta)^T S (z, \theta) + s^T z, \qquad z = Z \theta + z_0 \text{ on a region}

    Parameters
    ----------
    model : Model
    active_sets : sequence of tuple of int, optional
        Those of a partition; by default one is made, so that no region is missing.
    settings : Settings, optional
        Of the search.

    Returns
    -------
    Pieces
        Exact.
    """
    problem = condense(model)
    if active_sets is None:
        active_sets = partition(problem, [region.active for region in solve(problem, settings).regions]).active
    regions, planes = critical_regions(problem, active_sets)
    form, linear = cost_of(model)
    d, p = problem.d, model.B.shape[1]
    parameter = np.array([[int(i == k) for k in range(d + 1)] for i in range(d)], dtype=object)

    def value(region: Critical) -> Exact:
        stacked = np.vstack([region.optimiser.z, parameter])
        twice = stacked.T @ form @ stacked
        slope = linear @ region.optimiser.z
        twice[d] = twice[d] + slope
        twice[:, d] = twice[:, d] + slope
        return twice / 2

    halfspaces = tuple(tuple(tuple(sign * v for v in planes.rows[plane]) for plane, sign in sides(region, d)) for region in regions)
    return Pieces(halfspaces, tuple(r.optimiser.z[:p] for r in regions), tuple(value(r) for r in regions), problem.lb, problem.ub)


def sides(region: Critical, d: int) -> list[tuple[int, int]]:
    """The half-spaces of a region's cell that are tight at d vertices at least, as (plane, sign)."""
    cell = region.cell
    return sorted({side for k, side in enumerate(cell.path) if sum(t >> k & 1 for t in cell.tight) >= d})
