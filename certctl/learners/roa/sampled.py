r"""``certctl learn roa --time discrete``: the plant's own map over a step with the input held, and a function that falls from step to step.

Everything is the continuous-time learner's but three things.  The rates of the states are means over a step, :math:`(\xi^+ - \xi)/h`, and the rate
of V is :math:`(V(\xi^+) - V(\xi))/h`; the regulator is that of the map; and the estimate moves by whole steps.  As h tends to 0 each becomes what it
is in continuous time, so that all weights, margins and schedules stay.  V is a quadratic plus a network, begun as the regulator's cost,
:math:`V = |R\xi + A(h_2(\xi) - h_2(0))|^2 + B(\xi)`; beyond an edge of the domain B alone exceeds the level 1, so that a decrease also keeps
trajectories inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_discrete_are, solve_discrete_lyapunov

from certctl.learners.roa.candidate import Candidate, Point
from certctl.learners.roa.task import CannotLearn, Floats, Task, make_task
from certctl.learners.roa.zubov import CELLS, LONGEST, MOST_STATES, Estimate, Scheme, solve
from certctl.learners.roa.zubov_learner import ZubovLearner

if TYPE_CHECKING:
    from verifiers.kernel.graph import Graph

METHODS = ("euler", "midpoint", "rk4")
FARTHEST = 1.5
"""Scaled states beyond which a step is not followed: V exceeds its level there by an order of magnitude."""


@dataclass(frozen=True, eq=False)
class SampledTask(Task):
    """A task whose plant is the map over one step of ``plant.dt`` seconds.

    Attributes
    ----------
    method : str
        How the continuous plant was discretised.
    """

    method: str = "rk4"

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return float(self.plant.values[-1])

    @property
    def decay(self) -> float:
        """The rate asked for, V(x+) <= (1 - rate) V(x), as one of the mean rate of V, in 1/s."""
        return super().decay / self.step

    @property
    def timing(self) -> tuple[str, ...]:
        """Lines of the requirement that say what time is."""
        return 'time       = "discrete"', f'dt         = "{self.plant.dt}"', f'method     = "{self.method}"'

    def field(self, xi: Floats, u: Floats) -> tuple[Floats, Floats]:
        """Mean rates of the scaled states over a step (N, n), and their slopes in the inputs (N, n, m)."""
        after, slopes = super().field(xi, u)
        return (after - (self.rest / self.width + xi)) / self.step, slopes / self.step

    def rates(self, xi: Floats, u: Floats) -> Floats:
        """Mean rates alone."""
        return self.field(xi, u)[0]

    def _riccati(self, a: Floats, b: Floats, r: Floats) -> tuple[Floats, Floats]:
        h, eye = self.step, np.eye(self.n)
        advance, held = eye + h * a, h * b
        p = solve_discrete_are(advance, held, h * eye, h * r)
        return p, np.linalg.solve(h * r + held.T @ p @ held, held.T @ p @ advance)

    def _lyapunov(self, closed: Floats, q: Floats) -> Floats | None:
        advance = np.eye(self.n) + self.step * closed
        if not np.abs(np.linalg.eigvals(advance)).max() < 1:
            return None
        return np.asarray(solve_discrete_lyapunov(advance.T, self.step * q))


class SampledPoint(Point):
    """As Point, with V's mean rate over a step."""

    def __init__(self, candidate: Candidate, xi: Floats) -> None:
        super().__init__(candidate, xi)
        task = candidate.task
        if not isinstance(task, SampledTask):
            raise TypeError("a sampled candidate needs a sampled task")
        self.step = task.step
        self.after = np.clip(xi + self.step * self.rates, -FARTHEST, FARTHEST)
        self.later, p = candidate.function.forward(self.after), candidate.power
        self.rate = ((self.later.y**2).sum(axis=1) + (self.after**p).sum(axis=1) - self.value) / self.step

    def rate_by_weights(self) -> Floats:
        """Derivatives (N, weights) of the mean rate of V."""
        on_function = (self.later.by_weights(2 * self.later.y) - self.forward.by_weights(2 * self.forward.y)) / self.step
        if self.policy is None:
            return on_function
        p = self.candidate.power
        gradient = (self.later.pull(2 * self.later.y) + p * self.after**(p - 1)) * (np.abs(self.after) < FARTHEST)
        pull = (gradient[:, :, None] * self.slopes).sum(axis=1)
        return np.concatenate([on_function, self.policy.by_weights(pull * self._input_slope)], axis=1)


class SampledCandidate(Candidate):
    """As Candidate, for a sampled task."""

    def at(self, xi: Floats) -> Point:
        """Evaluate at states (N, n)."""
        return SampledPoint(self, xi)


class SampledLearner(ZubovLearner):
    """Learn a controller and V for a sampled task, or V for its given controller: as ZubovLearner."""

    kind = SampledCandidate

    def estimate(self, scheme: Scheme) -> Estimate:
        """Solve the equation with whole steps of the map."""
        return solve(self.task, scheme, move=move)


def move(task: Task, xi: Floats, u: Floats, cell: float, scheme: Scheme) -> tuple[Floats, Floats]:
    """Where whole steps with the inputs (N, m) lead, and what they cost (N,): at least one, then more while less than ``CELLS`` cells are gone."""
    h = task.step if isinstance(task, SampledTask) else LONGEST
    at, cost, going = xi, np.zeros(len(xi)), np.ones(len(xi), dtype=bool)
    for _ in range(max(1, round(LONGEST / h))):
        command = u if task.controller is None else task.given_input(np.clip(at, -2, 2))
        after = np.where(going[:, None], np.clip(at + h * task.field(at, command)[0], -9, 9), at)
        rise = np.maximum((after**scheme.power).sum(axis=1) - (at**scheme.power).sum(axis=1), 0.0)
        cost = cost + np.where(going, h * task.running_cost(at, command) + scheme.kappa * rise, 0.0)
        at = after
        going = going & (np.abs(at - xi).max(axis=1) < CELLS * cell)
        if not going.any():
            break
    return at, cost


def make_sampled_task(name: str, parameters: Mapping[str, str], dt: str, method: str = "rk4",
                      domain: tuple[Sequence[str], Sequence[str]] | None = None, controller: Graph | None = None,
                      input_cost: float = 0.1, rate: str | None = None) -> SampledTask:
    """Take a shipped continuous plant and sample it.

    Raises
    ------
    CannotLearn
        As :func:`make_task`; and for a step that is not positive, an unknown method, a rate of 1 or more, or more than three states.
    """
    task = make_task(name, parameters, domain, controller, input_cost, rate)
    if not task.decay < 1:
        raise CannotLearn(f"rate {rate}: in discrete time V+ <= (1 - rate) V needs a rate below 1")
    if method not in METHODS:
        raise CannotLearn(f"method {method}: write one of {', '.join(METHODS)}")
    if task.n > MOST_STATES:
        raise CannotLearn(f"{name} has {task.n} states; in discrete time regions are learned up to {MOST_STATES}, in continuous time beyond")
    try:
        plant = task.plant.discretize(method, dt)
    except ValueError as problem:
        raise CannotLearn(str(problem)) from None
    return SampledTask(plant, task.lo, task.hi, input_cost, controller, rate, method)
