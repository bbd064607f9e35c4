"""Float views of a closed loop for everything that searches: decrease, value, integration.  Nothing here proves anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.kernel.graph import Floats, Graph
from verifiers.load.derivative import value_and_gradient
from verifiers.load.floats import evaluate, evaluate_all

Field = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class FloatLoop:
    """The loop in floats: ``field`` maps (B, n) to (B, n); ``time`` says whether that is x' or the next x.

    ``vertices`` are the same loop with its unknown constants at corners of their box; ``graph`` has them in the middle.
    """

    graph: Graph
    time: str
    vertices: tuple[Graph, ...] = ()

    @property
    def all(self) -> tuple[FloatLoop, ...]:
        """The loop in the middle of the unknown constants, and those at their corners."""
        return FloatLoop(self.graph, self.time), *(FloatLoop(g, self.time) for g in self.vertices)

    def field(self, x: Floats) -> Floats:
        """x' or the next x at the points (B, n)."""
        with np.errstate(all="ignore"):
            return evaluate(self.graph, x)

    def jacobian(self, x: Floats, step: float = 1e-6) -> Floats:
        """Central-difference Jacobian (n, n) at one point (n,)."""
        n = x.shape[0]
        h = step * np.maximum(1.0, np.abs(x))
        points = np.concatenate([x + np.diag(h), x - np.diag(h)])
        f = self.field(points)
        return ((f[:n] - f[n:]) / (2 * h[:, None])).T

    def trajectory(self, x: Floats, steps: int, dt: float) -> Floats:
        """States (steps + 1, B, n) by the classical Runge-Kutta method, or by iteration in discrete time."""
        out = [x]
        for _ in range(steps):
            if self.time == "discrete":
                x = self.field(x)
            else:
                k1 = self.field(x)
                k2 = self.field(x + dt / 2 * k1)
                k3 = self.field(x + dt / 2 * k2)
                k4 = self.field(x + dt * k3)
                x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            out.append(x)
        return np.stack(out)


@dataclass(frozen=True, eq=False)
class FloatFunction:
    """A Lyapunov candidate in floats, with its decrease along a loop."""

    value: Field
    value_and_slope: Callable[[Floats], tuple[Floats, Floats]]
    loop: FloatLoop
    rate: float = 0.0

    def value_and_decrease(self, x: Floats) -> tuple[Floats, Floats]:
        """V, and ``grad V . f + rate V`` or ``V(f) - (1 - rate) V``, at the points (B, n); a negative decrease is good.

        Of a loop with unknown constants it is the worst of the middle and the corners.
        """
        with np.errstate(all="ignore"):
            fields = [loop.field(x) for loop in self.loop.all]
            if self.loop.time == "discrete":
                value = self.value(x)
                return value, _worst([self.value(f) for f in fields]) - (1 - self.rate) * value
            value, slope = self.value_and_slope(x)
            return value, _worst([(slope * f).sum(axis=1) for f in fields]) + self.rate * value

    def decrease(self, x: Floats) -> Floats:
        """The decrease alone."""
        return self.value_and_decrease(x)[1]


def _worst(values: Sequence[Floats]) -> Floats:
    """The largest of values (B,) point by point; NaN where one is."""
    return np.asarray(np.maximum.reduce(values))


def float_function(graph: Graph, loop: FloatLoop, rate: Fraction = Fraction(0)) -> FloatFunction:
    """The float view of a scalar function given as a graph."""
    both = value_and_gradient(graph) if loop.time == "continuous" else graph

    def value_and_slope(x: Floats) -> tuple[Floats, Floats]:
        value, slope = evaluate_all(both, x)
        return value[:, 0], slope

    return FloatFunction(lambda x: evaluate(graph, x)[:, 0], value_and_slope, loop, float(rate))


def float_quadratic(matrix: Floats, origin: Floats, loop: FloatLoop, rate: Fraction = Fraction(0)) -> FloatFunction:
    """The float view of ``(x - o)' P (x - o)``."""

    def value_and_slope(x: Floats) -> tuple[Floats, Floats]:
        z = x - origin
        half = z @ matrix
        return (half * z).sum(axis=1), 2 * half

    return FloatFunction(lambda x: value_and_slope(x)[0], value_and_slope, loop, float(rate))


