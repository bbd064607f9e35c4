r"""A Lyapunov function whose level sets are no ellipsoids: the squared length of a network, beyond three states, where no grid reaches.

In :math:`y = F^\top \xi`, in which a first ellipsoid is the unit ball,

.. math:: V(y) = |z|^2, \qquad z = L y + A\,[\tanh(B y + c) - \tanh(c)] ,

so that V(0) = 0, V >= 0, and V is the ellipsoid's quadratic while A = 0.  Along :math:`\dot y = f` with :math:`a = B f`, :math:`s = 1 - h^2`,

.. math:: \dot V = 2\, z^\top w, \qquad w = L f + A\,(s \circ a) .

Here are values, the rate of V, and the derivatives of weighted sums of both by L, A, B, c, written out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from certctl.learners.roa.task import Floats, Task
from verifiers.kernel.graph import Affine, Builder, Graph


@dataclass(frozen=True, eq=False)
class Shape:
    """Weights L (n, n), A (n, k), B (k, n), c (k,), in the coordinates y."""

    linear: Floats
    turn: Floats
    hidden: Floats
    shift: Floats

    @staticmethod
    def start(n: int, neurons: int, rng: np.random.Generator) -> Shape:
        """The unit ball's quadratic, with neurons that do not count yet: rows of B of length ``STEEP``."""
        w = rng.standard_normal((neurons, n))
        w *= STEEP / np.linalg.norm(w, axis=1, keepdims=True)
        return Shape(np.eye(n), np.zeros((n, neurons)), w, SPREAD * rng.standard_normal(neurons))

    @property
    def parts(self) -> tuple[Floats, ...]:
        """L, A, B, c."""
        return self.linear, self.turn, self.hidden, self.shift

    @property
    def vector(self) -> Floats:
        """All weights as one vector."""
        return np.concatenate([part.ravel() for part in self.parts])

    def like(self, vector: Floats) -> Shape:
        """A function of the same shape with other weights."""
        pieces = np.split(vector, np.cumsum([part.size for part in self.parts])[:-1])
        return Shape(*(piece.reshape(part.shape) for piece, part in zip(pieces, self.parts, strict=True)))

    def scaled(self, level: float) -> Shape:
        """V over a level, so that the region {V <= level} becomes {V <= 1}."""
        return Shape(self.linear / level**0.5, self.turn / level**0.5, self.hidden, self.shift)

    @property
    def slope(self) -> Floats:
        """Derivative (n, n) of z at the equilibrium: V is about ``|slope y|^2`` there."""
        return np.asarray(self.linear + (self.turn * (1 - np.tanh(self.shift) ** 2)) @ self.hidden)

    def at(self, y: Floats) -> ShapeAt:
        """Evaluate at states (N, n)."""
        return ShapeAt(self, y)


STEEP, SPREAD = 1.5, 0.6
"""Length of a new neuron's weights, and the deviation of its shift."""


class ShapeAt:
    """A function at states y (N, n): ``value`` V (N,), and what derivatives need."""

    def __init__(self, shape: Shape, y: Floats) -> None:
        self.shape, self.y = shape, y
        self.h = np.tanh(y @ shape.hidden.T + shape.shift)
        self.h0 = np.tanh(shape.shift)
        self.z = y @ shape.linear.T + (self.h - self.h0) @ shape.turn.T
        self.value = (self.z * self.z).sum(axis=1)

    def push(self, f: Floats) -> Floats:
        """w (N, n), the rate of z along f (N, n)."""
        return np.asarray(f @ self.shape.linear.T + ((1 - self.h**2) * (f @ self.shape.hidden.T)) @ self.shape.turn.T)

    def rate(self, f: Floats) -> Floats:
        """The rate (N,) of V along f (N, n)."""
        return np.asarray(2 * (self.z * self.push(f)).sum(axis=1))

    @property
    def gradient(self) -> Floats:
        """Gradient (N, n) of V in y."""
        back = ((self.z @ self.shape.turn) * (1 - self.h**2)) @ self.shape.hidden
        return np.asarray(2 * (self.z @ self.shape.linear + back))

    def by_weights(self, on_value: Floats, on_rate: Floats | None = None, f: Floats | None = None) -> Floats:
        r"""Derivatives (weights,) of :math:`\sum_i \alpha_i V_i + \beta_i \dot V_i` with alpha, beta (N,) and f (N, n) held fixed."""
        shape, s = self.shape, 1 - self.h**2
        on_z = 2 * on_value[:, None] * self.z
        rest = self.h - self.h0
        if on_rate is None or f is None:
            on_t = s * (on_z @ shape.turn)
            return np.concatenate([(on_z.T @ self.y).ravel(), (on_z.T @ rest).ravel(), (on_t.T @ self.y).ravel(), self._shifts(on_t, on_z)])
        a = f @ shape.hidden.T
        on_z = on_z + 2 * on_rate[:, None] * self.push(f)
        on_w = 2 * on_rate[:, None] * self.z
        back = on_w @ shape.turn
        on_t, on_a = s * (on_z @ shape.turn - 2 * self.h * back * a), back * s
        return np.concatenate([(on_z.T @ self.y + on_w.T @ f).ravel(), (on_z.T @ rest + on_w.T @ (s * a)).ravel(),
                               (on_t.T @ self.y + on_a.T @ f).ravel(), self._shifts(on_t, on_z)])

    def _shifts(self, on_t: Floats, on_z: Floats) -> Floats:
        return np.asarray(on_t.sum(axis=0) - (1 - self.h0**2) * (on_z.sum(axis=0) @ self.shape.turn))


def radii(shape: Shape, directions: Floats) -> Floats:
    """Distances r (N,) at which V(r s) = 1 along unit vectors s (N, n): Newton steps on sqrt(V), which is nearly straight; halved else."""
    r = np.ones(len(directions))
    for _ in range(NEWTON):
        at = shape.at(r[:, None] * directions)
        root = np.sqrt(at.value)
        r *= np.clip(1 - (root - 1) * 2 * root / np.maximum((at.gradient * directions).sum(axis=1) * r, 1e-9), 0.6, 1.6)
    bad = np.flatnonzero(~(np.abs(shape.at(r[:, None] * directions).value - 1) < 1e-6))
    if bad.size:
        r[bad] = _halved(shape, directions[bad])
    return r


NEWTON = 7


def _halved(shape: Shape, directions: Floats) -> Floats:
    """The first crossing of V = 1 on a ladder of distances, halved."""
    steps = 0.02 * 1.1 ** np.arange(75)
    above = np.stack([shape.at(step * directions).value >= 1 for step in steps])
    above[-1] = True
    high = steps[above.argmax(axis=0)]
    low = high / 1.1
    for _ in range(24):
        middle = 0.5 * (low + high)
        inside = shape.at(middle[:, None] * directions).value < 1
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(low)


def shape_graph(task: Task, factor: Floats, shape: Shape) -> Graph:
    """V as a graph of the plant's states; F is ``factor`` (n, n)."""
    b = Builder("lyapunov.onnx")
    x = b.input(task.n)

    def scaled(weight: Floats, bias: Floats) -> Affine:
        plain = weight @ factor.T / task.width
        return Affine(plain, bias - plain @ task.rest)

    z = b.affine(x, scaled(shape.linear, np.zeros(task.n)))
    if shape.shift.size:
        turned = b.unary("tanh", b.affine(x, scaled(shape.hidden, shape.shift)))
        z = b.binary("add", b.affine(turned, Affine(shape.turn, -shape.turn @ np.tanh(shape.shift))), z)
    return b.build([b.affine(b.unary("pow", z, 2), Affine(np.ones((1, task.n)), np.zeros(1)))])
