r"""The controller of a task beyond three states: a linear law plus a tanh network, clipped to the plant's limits.

.. math:: u = \bar u + h\,\mathrm{clip}(\eta_0 + G^\top \xi + A\,[\tanh(B \xi + c) - \tanh(c)], -1, 1)

With eta_0 from :func:`offset` the input at the equilibrium is u*.  All numbers are one vector ``[G, A, B, c]``, so that searches need not know what
they move; its length says how many neurons there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from certctl.learners.roa.task import Floats, Task
from verifiers.kernel.graph import Affine, Builder, Graph


@dataclass(frozen=True, eq=False)
class Law:
    """Gains G (n, m), output weights A (m, k), hidden weights B (k, n) and shifts c (k,), all in the task's scaled coordinates."""

    gains: Floats
    turn: Floats
    hidden: Floats
    shift: Floats

    @property
    def vector(self) -> Floats:
        """All numbers, ``(n m + k (m + n + 1),)``."""
        return np.concatenate([part.ravel() for part in (self.gains, self.turn, self.hidden, self.shift)])

    def network(self, xi: Floats) -> tuple[Floats, Floats]:
        """Values tanh(B xi + c) - tanh(c), and tanh(B xi + c), each (N, k)."""
        turned = np.tanh(xi @ self.hidden.T + self.shift)
        return turned - np.tanh(self.shift), turned

    def command(self, xi: Floats) -> Floats:
        """The unclipped command less eta_0, in half ranges (N, m), at scaled states (N, n)."""
        out = xi @ self.gains
        return out + self.network(xi)[0] @ self.turn.T if self.shift.size else out

    @property
    def slope(self) -> Floats:
        """Derivative (m, n) of the command at the equilibrium."""
        return np.asarray(self.gains.T + (self.turn * (1 - np.tanh(self.shift) ** 2)) @ self.hidden)

    def widened(self, neurons: int, scale: Floats, rng: np.random.Generator) -> Law:
        """The same law with so many neurons in all: new ones, whose A is still 0, have B = w S' with |w| = ``STEEP``, S the scale (n, n)."""
        new = neurons - self.shift.size
        if new <= 0:
            return self
        w = rng.standard_normal((new, len(scale)))
        w *= STEEP / np.linalg.norm(w, axis=1, keepdims=True)
        return Law(self.gains, np.concatenate([self.turn, np.zeros((len(self.turn), new))], axis=1), np.concatenate([self.hidden, w @ scale.T]),
                   np.concatenate([self.shift, SPREAD * rng.standard_normal(new)]))


STEEP, SPREAD = 1.5, 0.6
"""Norm of a new neuron's weights in coordinates in which the ellipsoid is the unit ball, and the deviation of its shift."""


def read_law(task: Task, vector: Floats) -> Law:
    """The law of a vector.

    Raises
    ------
    ValueError
        When no number of neurons has that many entries.
    """
    n, m = task.n, len(task.limits[1])
    k, rest = divmod(vector.size - n * m, n + m + 1)
    if k < 0 or rest:
        raise ValueError(f"{vector.size} numbers are no law of {n} states and {m} inputs")
    parts = np.split(vector, np.cumsum([n * m, m * k, k * n]))
    return Law(parts[0].reshape(n, m), parts[1].reshape(m, k), parts[2].reshape(k, n), parts[3])


def offset(task: Task) -> Floats:
    """eta_0 (m,), for which the input at the equilibrium is u*."""
    return np.asarray((task.plant.rest[1] - task.limits[0]) / task.limits[1])


def law_graph(task: Task, vector: Floats) -> Graph:
    """The law of a vector, clipped to the plant's limits, as a graph of the plant's states."""
    law, b = read_law(task, vector), Builder("controller.onnx")
    half, (lo, hi) = task.limits[1], task.plant.input_limits
    weight, x = half[:, None] * law.gains.T / task.width, b.input(task.n)
    u = b.affine(x, Affine(weight, task.plant.rest[1] - weight @ task.rest))
    if law.shift.size:
        inner, outer = law.hidden / task.width, half[:, None] * law.turn
        turned = b.unary("tanh", b.affine(x, Affine(inner, law.shift - inner @ task.rest)))
        u = b.binary("add", u, b.affine(turned, Affine(outer, -outer @ np.tanh(law.shift))))
    floor, ceiling = (b.const([(Fraction(float(v)),) * 2 for v in side]) for side in (lo, hi))
    return b.build([b.binary("min", b.binary("max", u, floor), ceiling)])
