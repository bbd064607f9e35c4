"""The task: a nonlinear plant in discrete time with the cost, the limits and the starts of a linear MPC problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from systems.plant import Plant
from verifiers.explicit_mpc.condense import Model
from verifiers.kernel.graph import Floats

Policy = Callable[[Floats], Floats]
TRIES = 100_000


@dataclass(frozen=True, eq=False)
class Task:
    r"""Episodes of a fixed number of steps with cost :math:`\sum_k |x_k - x^*|_Q^2 + |u_k - u^*|_R^2`, and a penalty where a limit of x is broken.

    Attributes
    ----------
    plant : Plant
        The discrete-time map; it clips the input.
    model : Model
        Weights and limits, in deviations from the equilibrium.
    steps : int
        Of an episode.
    penalty : float
        Cost of a state outside the limits, which ends the episode.
    inside : callable
        Of states (B, n): which may be starts.
    """

    plant: Plant
    model: Model
    steps: int
    penalty: float
    inside: Callable[[Floats], np.ndarray]

    def limits(self) -> tuple[Floats, Floats]:
        """Lower and upper limits (n,) of the state, infinite where there is none."""
        n = len(self.plant.states)
        lo, hi = (np.array([np.nan if v is None else float(v) for v in side] if side else [np.nan] * n) for side in self.model.x)
        return self.plant.rest[0] + np.where(np.isnan(lo), -np.inf, lo), self.plant.rest[0] + np.where(np.isnan(hi), np.inf, hi)

    def cost(self, x: Floats, u: Floats) -> Floats:
        """Stage costs (B,) of states (B, n) and clipped commands (B, m)."""
        dx, du = x - self.plant.rest[0], u - self.plant.rest[1]
        q, r = (weight.astype(np.float64) for weight in (self.model.Q, self.model.R))
        return np.asarray(np.einsum("bi,ij,bj->b", dx, q, dx) + np.einsum("bi,ij,bj->b", du, r, du))

    def violated(self, x: Floats) -> np.ndarray:
        """Which states (B, n) break a limit; NaN does."""
        lo, hi = self.limits()
        return np.asarray(~((x >= lo) & (x <= hi)).all(axis=1))

    def starts(self, count: int, rng: np.random.Generator) -> Floats:
        """Starts (count, n), uniform on the part of the model's box where ``inside`` holds.

        Raises
        ------
        ValueError
            When that part is hardly there.
        """
        lo, hi = (self.plant.rest[0] + side.astype(np.float64) for side in (self.model.lb, self.model.ub))
        found = np.zeros((0, len(lo)))
        for _ in range(20):
            points = rng.uniform(lo, hi, (TRIES // 20, len(lo)))
            found = np.concatenate([found, points[self.inside(points)]])
            if len(found) >= count:
                return found[:count]
        raise ValueError(f"{len(found)} of {TRIES} states of the model's box may be starts; shrink [domain] to where the law has values")

    def start(self, rng: np.random.Generator) -> Floats:
        """One start (n,)."""
        return np.asarray(self.starts(1, rng)[0])

    def episodes(self, policy: Policy, starts: Floats) -> Episodes:
        """Run a policy from starts (B, n) at once."""
        x, alive = starts.copy(), np.ones(len(starts), dtype=bool)
        costs, violations, path = np.zeros(len(starts)), np.zeros(len(starts), dtype=bool), [starts]
        for _ in range(self.steps):
            u = self.plant.clip(np.where(alive[:, None], policy(x), self.plant.rest[1]))
            costs += np.where(alive, self.cost(x, u), 0.0)
            x = np.where(alive[:, None], self.plant.rhs(x, u), x)
            path.append(x)
            broken = alive & self.violated(x)
            costs += self.penalty * broken
            violations |= broken
            alive &= ~broken
        return Episodes(costs, violations, np.array(path))


@dataclass(frozen=True, eq=False)
class Episodes:
    """Costs (B,), whether a limit was broken (B,), and states (steps + 1, B, n)."""

    costs: Floats
    violations: np.ndarray
    states: Floats
