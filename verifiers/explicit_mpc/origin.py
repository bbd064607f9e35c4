"""The plant behind a linear model: a shipped one, its map, its linearisation, and its limits as deviations from the equilibrium."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import expm

import systems
from systems.signals import exact as exact_number
from systems.signals import limit_value
from verifiers.explicit_mpc.condense import Limits
from verifiers.explicit_mpc.problem import BadProblem, Exact, exact
from verifiers.kernel.requirement import METHODS

if TYPE_CHECKING:
    from systems.plant import Plant


@dataclass(frozen=True, eq=False)
class Origin:
    """The plant whose linear model is meant: continuous with a step, or a discrete map.

    Attributes
    ----------
    plant : Plant
        With the file's parameters.
    method, dt : str or None
        The map of a continuous plant: ``euler``, ``midpoint``, ``rk4`` as in a requirement, or ``zoh``, the exact map of the linearised plant.
    """

    plant: Plant
    method: str | None
    dt: str | None

    def map(self) -> Plant:
        """The discrete plant; of a continuous plant with ``zoh``, its Runge-Kutta map, since there is no exact one of a nonlinear plant."""
        from systems.sampling import discretize

        if self.dt is None or self.method is None:
            return self.plant
        return discretize(self.plant, "rk4" if self.method == "zoh" else self.method, self.dt)

    def linear(self) -> tuple[Exact, Exact]:
        """A (n, n) and B (n, m) of the map at the equilibrium: derivatives by CasADi in float64, read as rationals.  Direction: none."""
        if self.method == "zoh" and self.dt is not None:
            system, step = self.plant.linearize(), float(exact_number(self.dt))
            n, m = system.B.shape
            block = np.zeros((n + m, n + m))
            block[:n] = np.hstack([system.A, system.B]) * step
            power = expm(block)[:n]
            a, b = power[:, :n], power[:, n:]
        else:
            system = self.map().linearize()
            a, b = np.asarray(system.A, dtype=np.float64), np.asarray(system.B, dtype=np.float64)
        return exact(a, "A", a.shape), exact(b, "B", b.shape)

    def input_limits(self) -> Limits:
        """The plant's own input limits, as deviations from its equilibrium."""
        rest = [Fraction(v) for v in self.plant.equilibrium[1]]
        nominal = {p.name: p.nominal for p in self.plant.parameters}
        pairs = [(limit_value(c.lo, nominal), limit_value(c.hi, nominal)) for c in self.plant.inputs]
        low, high = (tuple(None if end is None else end - at for end, at in zip(ends, rest, strict=True)) for ends in zip(*pairs, strict=True))
        return low, high

    def domain(self) -> tuple[Exact, Exact]:
        """The plant's default domain, as deviations from its equilibrium."""
        rest = [Fraction(v) for v in self.plant.equilibrium[0]]
        lo, hi = (np.array([Fraction(v) - at for v, at in zip(side, rest, strict=True)], dtype=object) for side in self.plant.domain)
        return lo, hi


def read_origin(table: dict[str, Any]) -> Origin | None:
    """The plant that a model's table names, with its map; None where it gives A and B.

    Raises
    ------
    BadProblem
        For an unknown plant, method or parameter, or a step that is missing.
    ImportError
        When CasADi is not installed.
    """
    if "plant" not in table:
        return None
    if "A" in table or "B" in table:
        raise BadProblem("plant and A, B are given; a model is one or the other")
    name, dt, method, parameters = table["plant"], table.get("dt"), table.get("method"), table.get("parameters", {})
    if type(name) is not str or type(parameters) is not dict or not (dt is None or type(dt) is str):
        raise BadProblem('plant is a name, dt a number written as "1/20", and parameters a table of such numbers')
    try:
        plant = systems.load(name).with_parameters(**{key: str(value) for key, value in parameters.items()})
    except ValueError as error:
        raise BadProblem(str(error)) from None
    if plant.time == "discrete":
        if dt is not None or method is not None:
            raise BadProblem(f"{name} is a discrete-time plant; leave out dt and method")
        return Origin(plant, None, None)
    method = "rk4" if method is None else method
    if method not in METHODS or dt is None or not _positive(dt):
        raise BadProblem(f'{name} is continuous: give dt = "1/20" or the like, and a method among {", ".join(METHODS)}')
    return Origin(plant, method, dt)


def _positive(text: str) -> bool:
    try:
        return exact_number(text) > 0
    except ValueError:
        return False
