r"""The estimate: Zubov's equation with inputs, solved on a grid by a semi-Lagrangian scheme and policy iteration.

With running cost :math:`\ell` and a wall :math:`B(\xi) = \sum_i \xi_i^p` that is 1 on the faces of ``[-1, 1]^n``, let z be the least cost

.. math:: z(\xi) = \min_u \int_0^\infty \ell + \kappa\,\max(0, \dot B)\,dt

of going to the equilibrium without leaving the box, infinite where that cannot be done.  :math:`W = 1 - e^{-z}` in [0, 1] is a fixed point of

.. math:: W(\xi) = \min_u\; 1 - e^{-h\ell}\,(1 - W(\xi + h f(\xi, u))).

:math:`V = z/\kappa + B` then decreases along the best loop, :math:`\dot V \le -\ell/\kappa`, wherever z is finite, because the cost pays for every
rise of the wall; and V exceeds 1 on the faces, so that its level 1 is a region of attraction.  The larger kappa, the more of the box that fills,
and the steeper V is.

References
----------
.. [1] Camilli, Gruene, Wirth, Control Lyapunov functions and Zubov's method, SIAM J. Control Optim. 2008, equations (1.4) and (4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy import sparse
from scipy.interpolate import RegularGridInterpolator
from scipy.sparse.linalg import spsolve

from certctl.learners.roa.task import CannotLearn, Floats, Task

CELLS = 1.5
"""Cells that a step of the scheme moves, at most."""
INNER = 2.5
"""Cells about the equilibrium in which the regulator's cost is taken."""
LONGEST = 0.3
"""Longest step in s."""
STABLE = 1.5
"""Longest part of a step, times the largest row of the Jacobian, with which the midpoint rule does not ring (its limit is 2)."""
MOST_PARTS = 48
MOST_STATES = 3


@dataclass(frozen=True)
class Scheme:
    """Grid points per side, inputs tried per channel, kappa, and the (even) power of the wall."""

    points: int = 121
    inputs: int = 9
    kappa: float = 3.0
    power: int = 6


Move = Callable[[Task, Floats, Floats, float, Scheme], tuple[Floats, Floats]]
"""A step of the scheme from states (N, n) with inputs (N, m) on cells of one size: where it leads, and its cost."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """The solution on the grid: ``cost`` z / kappa (inf where the equilibrium is not reached) and ``input`` (..., m), and its scheme."""

    axis: Floats
    cost: Floats
    input: Floats
    scheme: Scheme

    def at(self, xi: Floats) -> tuple[Floats, Floats]:
        """z / kappa, cut off at 3, and the input at states (N, n)."""
        n = xi.shape[1]
        ask = [RegularGridInterpolator((self.axis,) * n, values, bounds_error=False, fill_value=None)
               for values in (np.minimum(self.cost, 3.0), self.input)]
        return np.asarray(ask[0](xi)), np.asarray(ask[1](xi))

    @property
    def share(self) -> float:
        """Share of the box with V < 1."""
        n = self.cost.ndim
        total = self.cost + sum((self.axis**self.scheme.power).reshape([-1 if k == j else 1 for k in range(n)]) for j in range(n))
        return float((total < 1).mean())


def solve(task: Task, scheme: Scheme, rounds: int = 12, sweeps: int = 10, move: Move | None = None) -> Estimate:
    """Solve on the grid: ``sweeps`` of value iteration, then the linear system of the policy found, until it stays; ``move`` makes the steps.

    Raises
    ------
    CannotLearn
        For more than three states: the grid has ``points ** n`` nodes.
    """
    n, count = task.n, scheme.points
    if n > MOST_STATES:
        raise CannotLearn(f"{task.plant.name} has {n} states; a grid for Zubov's equation is affordable up to {MOST_STATES}")
    axis = np.linspace(-1.0, 1.0, count)
    xi = np.stack(np.meshgrid(*(axis,) * n, indexing="ij"), axis=-1).reshape(-1, n)
    local = np.einsum("ni,ij,nj->n", xi, task.regulator[0], xi)
    inner = local <= INNER**2 * (2 / (count - 1))**2 * np.diag(task.regulator[0]).max()
    choices = _choices(task, xi, scheme)
    transitions = [_transition(task, xi, u, axis, scheme, move or _move) for u in choices]
    value = np.where(inner, 1 - np.exp(-local), 1.0)
    best = np.zeros(len(xi), dtype=int)
    for _ in range(rounds):
        for _ in range(sweeps):
            tried = np.stack([cost + matrix @ value for matrix, cost in transitions])
            best = tried.argmin(axis=0)
            value = np.where(inner, value, tried.min(axis=0))
        new = value.copy()
        new[~inner] = _policy_value(transitions, best, value, inner)
        change, value = np.abs(new - value).max(), new
        if change < 1e-6:
            break
    with np.errstate(divide="ignore"):
        z = np.where(value < 1, -np.log1p(-np.minimum(value, 1.0)), np.inf) / scheme.kappa
    u = np.stack(choices)[best, np.arange(len(xi))]
    if task.controller is None:
        linear = task.plant.clip(task.plant.rest[1] - xi @ task.regulator[1].T)
        u = np.where(inner[:, None], linear, u)
    return Estimate(axis, z.reshape((count,) * n), u.reshape((count,) * n + (-1,)), scheme)


def _choices(task: Task, xi: Floats, scheme: Scheme) -> list[Floats]:
    """The inputs (N, m) that are tried at each node: a lattice over the limits, or the given controller's."""
    if task.controller is not None:
        return [task.given_input(xi)]
    middle, half = task.limits
    lattice = product(np.linspace(-1, 1, scheme.inputs), repeat=len(middle))
    return [np.broadcast_to(middle + half * np.array(u), (len(xi), len(middle))) for u in lattice]


def _move(task: Task, xi: Floats, u: Floats, cell: float, scheme: Scheme) -> tuple[Floats, Floats]:
    """Where one step with the inputs (N, m) leads, and what it costs (N,): the midpoint rule in short parts; a given controller acts all along."""
    def rates(at: Floats) -> tuple[Floats, Floats]:
        command = u if task.controller is None else task.given_input(np.clip(at, -2, 2))
        return task.field(at, command)[0], command

    first = rates(xi)[0]
    h = np.minimum(CELLS * cell / np.maximum(np.abs(first).max(axis=1), 1e-12), LONGEST)
    bend = max(float(np.abs(rates(xi + 1e-6 * e)[0] - first).sum(axis=1).max()) for e in np.eye(task.n)) / 1e-6
    parts = int(min(MOST_PARTS, max(1, np.ceil(bend * h.max() / STABLE))))
    h = np.minimum(h, parts * STABLE / bend)[:, None] / parts
    at, cost = xi, np.zeros(len(xi))
    for _ in range(parts):
        middle = at + h / 2 * rates(at)[0]
        rate, command = rates(middle)
        after = np.clip(at + h * rate, -9, 9)
        rise = np.maximum((after**scheme.power).sum(axis=1) - (at**scheme.power).sum(axis=1), 0.0)
        cost = cost + h[:, 0] * task.running_cost(middle, command) + scheme.kappa * rise
        at = after
    return at, cost


def _transition(task: Task, xi: Floats, u: Floats, axis: Floats, scheme: Scheme, move: Move) -> tuple[sparse.csr_matrix, Floats]:
    """The affine map W -> cost + M W of one step with the inputs (N, m): multilinear interpolation, 1 outside of the box."""
    count, n = len(axis), xi.shape[1]
    cell = axis[1] - axis[0]
    after, cost = move(task, xi, u, cell, scheme)
    keep = np.exp(-cost)
    outside = ~(np.abs(after) <= 1 + 1e-9).all(axis=1)
    place = np.clip((after + 1) / cell, 0, count - 1 - 1e-9)
    place[outside] = 0
    low = place.astype(int)
    part = place - low
    rows, columns, weights = [], [], []
    for corner in product((0, 1), repeat=n):
        at = np.zeros(len(xi), dtype=int)
        weight = np.where(outside, 0.0, keep)
        for j, c in enumerate(corner):
            at = at * count + low[:, j] + c
            weight = weight * (part[:, j] if c else 1 - part[:, j])
        rows.append(np.arange(len(xi)))
        columns.append(at)
        weights.append(weight)
    matrix = sparse.csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(len(xi), len(xi)))
    return matrix, np.where(outside, 1.0, 1 - keep)


def _policy_value(transitions: list[tuple[sparse.csr_matrix, Floats]], best: Any, value: Floats, inner: Any) -> Floats:
    """Values at the nodes outside ``inner`` under a fixed policy, from its linear system."""
    pick = [sparse.diags((best == k).astype(float)) @ matrix for k, (matrix, _) in enumerate(transitions)]
    matrix = sum(pick[1:], pick[0]).tocsr()
    cost = np.stack([cost for _, cost in transitions])[best, np.arange(len(best))]
    free, held = np.flatnonzero(~inner), np.flatnonzero(inner)
    right = cost[free] + matrix[free][:, held] @ value[held]
    system = sparse.identity(len(free), format="csc") - matrix[free][:, free].tocsc()
    return np.clip(spsolve(system, right), 0.0, 1.0)
