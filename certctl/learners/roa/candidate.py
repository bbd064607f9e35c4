r"""A controller and a Lyapunov function in floats: :math:`V = |y(\xi)|^2 + \sum_i \xi_i^p`, :math:`u = \bar u + h\tanh(\eta(\xi) + \eta_0)`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from certctl.learners.roa.network import Forward, Map
from certctl.learners.roa.task import Floats, Task


@dataclass(frozen=True, eq=False)
class Candidate:
    """The map y of V, the map eta of the controller (None where it is given), and kappa and the even power p of the wall."""

    task: Task
    function: Map
    policy: Map | None
    kappa: float
    power: int

    @classmethod
    def start(cls, task: Task, kappa: float, power: int, widths: tuple[int, int], outputs: int, rng: np.random.Generator) -> Candidate:
        """The regulator and its cost over kappa, with hidden layers that do not count yet."""
        p, k = task.regulator
        root = np.linalg.cholesky(p / kappa).T
        function = Map.start(np.concatenate([root, np.zeros((max(0, outputs - task.n), task.n))]), widths[0], rng)
        policy = None if task.controller is not None else Map.start(-k / task.limits[1][:, None] / _slope(task)[:, None], widths[1], rng)
        return cls(task, function, policy, kappa, power)

    def flat(self) -> Floats:
        """All weights as one vector."""
        return np.concatenate([m.flat() for m in (self.function, self.policy) if m is not None])

    def like(self, flat: Floats) -> Candidate:
        """The same shape with other weights."""
        count = self.function.flat().size
        return replace(self, function=self.function.like(flat[:count]), policy=None if self.policy is None else self.policy.like(flat[count:]))

    def at(self, xi: Floats) -> Point:
        """Evaluate at states (N, n)."""
        return Point(self, xi)


class Point:
    """A candidate at states (N, n): input (N, m), rates (N, n) and their slopes in the input, V and its rate (N,)."""

    def __init__(self, candidate: Candidate, xi: Floats) -> None:
        task, p = candidate.task, candidate.power
        self.candidate, self.xi = candidate, xi
        self.policy: Forward | None = None
        if candidate.policy is None:
            self.input = task.given_input(xi)
        else:
            self.policy = candidate.policy.forward(xi)
            self.turned = np.tanh(self.policy.y + offset(task))
            self.input = task.limits[0] + task.limits[1] * self.turned
        self.rates, self.slopes = task.field(xi, self.input)
        self.forward = candidate.function.forward(xi)
        self.wall_slope = p * xi**(p - 1)
        self.value = (self.forward.y**2).sum(axis=1) + (xi**p).sum(axis=1)
        self.output_rate = self.forward.push(self.rates)[3]
        self.rate = 2 * (self.forward.y * self.output_rate).sum(axis=1) + (self.wall_slope * self.rates).sum(axis=1)

    @property
    def gradient(self) -> Floats:
        """Gradient (N, n) of V."""
        return self.forward.pull(2 * self.forward.y) + self.wall_slope

    def value_by_weights(self) -> Floats:
        """Derivatives (N, weights) of V."""
        on_function = self.forward.by_weights(2 * self.forward.y)
        return on_function if self.policy is None else np.concatenate([on_function, np.zeros((len(self.xi), self._policy_size))], axis=1)

    def rate_by_weights(self) -> Floats:
        """Derivatives (N, weights) of the rate of V."""
        on_function = self.forward.by_weights(2 * self.output_rate, self.rates, 2 * self.forward.y)
        if self.policy is None:
            return on_function
        pull = (self.gradient[:, :, None] * self.slopes).sum(axis=1)
        return np.concatenate([on_function, self.policy.by_weights(pull * self._input_slope)], axis=1)

    def input_by_weights(self, channel: int) -> Floats:
        """Derivatives (N, weights) of one input over its half range."""
        if self.policy is None:
            raise ValueError("a given controller has no weights to learn")
        c = np.zeros_like(self.turned)
        c[:, channel] = 1 - self.turned[:, channel]**2
        return np.concatenate([np.zeros((len(self.xi), self.candidate.function.flat().size)), self.policy.by_weights(c)], axis=1)

    @property
    def _input_slope(self) -> Floats:
        return np.asarray(self.candidate.task.limits[1] * (1 - self.turned**2))

    @property
    def _policy_size(self) -> int:
        return self.candidate.policy.flat().size if self.candidate.policy is not None else 0


def offset(task: Task) -> Floats:
    """eta_0 (m,), for which the input at the equilibrium is u*."""
    return np.arctanh((task.plant.rest[1] - task.limits[0]) / task.limits[1])


def _slope(task: Task) -> Floats:
    return np.asarray(1 - np.tanh(offset(task))**2)
