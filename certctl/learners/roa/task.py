"""What is to be learned for: a plant in scaled coordinates, its limits, a running cost, and the linear regulator of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import casadi as ca
import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, solve_continuous_are, solve_continuous_lyapunov

import systems
from systems.signals import exact

if TYPE_CHECKING:
    from systems.plant import Plant
    from verifiers.kernel.graph import Graph

Floats = npt.NDArray[np.float64]


class CannotLearn(ValueError):
    """A task that this learner does not take: one sentence with the place and the remedy."""


@dataclass(frozen=True, eq=False)
class Task:
    r"""A plant in the coordinates :math:`\xi = (x - x^*)/L`, in which the largest box about x* inside the domain is ``[-1, 1]^n``.

    The running cost is :math:`\ell(\xi, u) = |\xi|^2 + r\,|(u - u^*)/h|^2` with h half the range of each input.

    Attributes
    ----------
    plant : Plant
        Continuous time, every input limited on both sides, parameters that are numbers.
    lo, hi : tuple of str
        The domain, exact texts.
    input_cost : float
        r.
    controller : Graph or None
        A given controller; None when one is to be learned.
    rate : str or None
        Exact text of the rate of decrease that is asked for, V' <= -rate V, in 1/s; None is plain attraction.
    """

    plant: Plant
    lo: tuple[str, ...]
    hi: tuple[str, ...]
    input_cost: float = 0.1
    controller: Graph | None = None
    rate: str | None = None

    @property
    def decay(self) -> float:
        """The rate asked for, in 1/s; 0 for plain attraction."""
        return 0.0 if self.rate is None else float(exact(self.rate))

    @property
    def timing(self) -> tuple[str, ...]:
        """Lines of the requirement that say what time is."""
        return ('time       = "continuous"',)

    @property
    def n(self) -> int:
        """Number of states."""
        return len(self.lo)

    @cached_property
    def width(self) -> Floats:
        """L (n,), the distance from the equilibrium to the nearer face, in the plant's units."""
        lo, hi = (np.array([float(exact(v)) for v in side]) for side in (self.lo, self.hi))
        return np.minimum(hi - self.rest, self.rest - lo)

    @property
    def rest(self) -> Floats:
        """x* (n,)."""
        return self.plant.rest[0]

    @cached_property
    def limits(self) -> tuple[Floats, Floats]:
        """Middle and half range (m,) of the inputs."""
        lo, hi = self.plant.input_limits
        return 0.5 * (lo + hi), 0.5 * (hi - lo)

    @cached_property
    def _field(self) -> ca.Function:
        p, outputs = self.plant, [self.plant.expression, ca.jacobian(self.plant.expression, self.plant.u)]
        return ca.Function("field", [p.x, p.u, p.p], [ca.densify(z) for z in outputs])

    def field(self, xi: Floats, u: Floats) -> tuple[Floats, Floats]:
        """Rates of the scaled states (N, n) and their slopes in the inputs (N, n, m), at states (N, n) and inputs (N, m) within the limits."""
        count, m = u.shape
        rates, slopes = self._field((self.rest + xi * self.width).T, u.T, np.repeat(self.plant.values[:, None], count, axis=1))
        slope = np.asarray(slopes).reshape(self.n, count, m).transpose(1, 0, 2)
        return np.asarray(rates).T / self.width, slope / self.width[:, None]

    @cached_property
    def _graph(self) -> Graph:
        from verifiers.kernel.plant import read_plant
        from verifiers.load.plant import plant_graph

        return plant_graph(read_plant(json.loads(self.plant.to_json())), {})

    def rates(self, xi: Floats, u: Floats) -> Floats:
        """Rates of the scaled states (N, n) alone: as :meth:`field`, but read from the plant's graph, which is an order of magnitude quicker."""
        from verifiers.load.floats import evaluate

        return np.asarray(evaluate(self._graph, self.rest + xi * self.width, u) / self.width)

    @cached_property
    def linearised(self) -> tuple[Floats, Floats]:
        """Slopes A (n, n) and B (n, m) of the rates at the equilibrium, by states (central differences) and by inputs."""
        _, slope = self.field(np.zeros((1, self.n)), self.plant.rest[1][None])
        step = 1e-6
        move = np.concatenate([step * np.eye(self.n), -step * np.eye(self.n)])
        f = self.field(move, np.repeat(self.plant.rest[1][None], 2 * self.n, axis=0))[0]
        return (f[:self.n] - f[self.n:]).T / (2 * step), slope[0]

    def given_input(self, xi: Floats) -> Floats:
        """What the given controller commands (N, m), clipped as the plant does."""
        from verifiers.load.floats import evaluate

        if self.controller is None:
            raise ValueError("the task has no given controller")
        return self.plant.clip(evaluate(self.controller, self.rest + xi * self.width))

    def running_cost(self, xi: Floats, u: Floats) -> Floats:
        """The running cost (N,)."""
        return np.asarray((xi**2).sum(axis=1) + self.input_cost * (((u - self.plant.rest[1]) / self.limits[1])**2).sum(axis=1))

    @cached_property
    def regulator(self) -> tuple[Floats, Floats]:
        """P (n, n) and K (m, n) near the equilibrium: cost xi' P xi, input u* - K xi; those of a given controller, if there is one."""
        step, (a, b) = 1e-6, self.linearised
        move = np.concatenate([step * np.eye(self.n), -step * np.eye(self.n)])
        r = np.diag(self.input_cost / self.limits[1]**2)
        try:
            if self.controller is None:
                return self._riccati(a, b, r)
            u = self.given_input(move)
            k = -(u[:self.n] - u[self.n:]).T / (2 * step)
            p = self._lyapunov(a - b @ k, np.eye(self.n) + k.T @ r @ k)
            if p is None:
                raise CannotLearn(f"{self.plant.name}: the loop with the given controller is not stable near the equilibrium")
            return p, k
        except LinAlgError:
            raise CannotLearn(f"{self.plant.name}: the linearised plant cannot be stabilised at the equilibrium; change its parameters") from None

    def _riccati(self, a: Floats, b: Floats, r: Floats) -> tuple[Floats, Floats]:
        """Cost and gain of the linear regulator, state cost 1."""
        p = solve_continuous_are(a, b, np.eye(self.n), r)
        return p, np.linalg.solve(r, b.T @ p)

    def _lyapunov(self, closed: Floats, q: Floats) -> Floats | None:
        """The cost of a linear loop with running cost q; None where the loop is not stable."""
        if not np.linalg.eigvals(closed).real.max() < 0:
            return None
        return np.asarray(solve_continuous_lyapunov(closed.T, -q))


def make_task(name: str, parameters: Mapping[str, str], domain: tuple[Sequence[str], Sequence[str]] | None = None,
              controller: Graph | None = None, input_cost: float = 0.1, rate: str | None = None) -> Task:
    """Take a shipped plant with other parameter values, and a domain (the plant's own by default).

    Raises
    ------
    CannotLearn
        With the reason: no such plant or parameter, an interval, an input without limits, an equilibrium outside of the domain or of the limits,
        a rate that is not positive.
    """
    try:
        plant = systems.load(name).with_parameters(**parameters)
    except ValueError as problem:
        raise CannotLearn(str(problem)) from None
    if plant.time != "continuous":
        raise CannotLearn(f"{name}: Zubov's equation is solved in continuous time only")
    if not plant.inputs and controller is None:
        raise CannotLearn(f"{name}: the plant has no input, so there is no controller to learn")
    if not (np.isfinite(np.concatenate(plant.input_limits)).all() and (plant.input_limits[0] < plant.input_limits[1]).all()):
        raise CannotLearn(f"{name}: an input has no limit on one side or no range; limits are part of what is learned")
    lo, hi = (tuple(side) for side in domain or plant.domain)
    try:
        inside = len(lo) == len(hi) == len(plant.states) and all(
            exact(a) < exact(x) < exact(b) for a, x, b in zip(lo, plant.equilibrium[0], hi, strict=True))
    except ValueError as problem:
        raise CannotLearn(f"domain: {problem}") from None
    if not inside:
        raise CannotLearn(f"{name}: the domain needs {len(plant.states)} lower and upper ends with the equilibrium between them")
    if not (np.abs(plant.rest[1] - 0.5 * sum(plant.input_limits)) < 0.5 * (plant.input_limits[1] - plant.input_limits[0])).all():
        raise CannotLearn(f"{name}: the input at the equilibrium does not lie between its limits; raise the limits")
    try:
        positive = rate is None or exact(rate) > 0
    except ValueError as problem:
        raise CannotLearn(f"rate: {problem}") from None
    if not positive:
        raise CannotLearn(f"rate {rate}: a rate of decrease is positive; leave it out for plain attraction")
    return Task(plant, lo, hi, input_cost, controller, rate)
