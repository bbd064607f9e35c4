r"""The one network shape of this learner, with its tangents and the derivatives by its weights written out.

.. math:: y(\xi) = A\,(h_2(\xi) - h_2(0)) + R\,\xi,\qquad h_2 = \tanh(W_2 h_1 + b_2),\quad h_1 = \tanh(W_1\xi + b_1)

vanishes at 0 exactly and is linear at the start (A = 0), so that the first controller and the first Lyapunov function are the regulator's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from certctl.learners.roa.task import Floats


@dataclass(frozen=True, eq=False)
class Map:
    """Weights W1 (h, n), b1 (h,), W2 (h, h), b2 (h,), A (k, h), R (k, n)."""

    w1: Floats
    b1: Floats
    w2: Floats
    b2: Floats
    a: Floats
    r: Floats

    @staticmethod
    def start(linear: Floats, hidden: int, rng: np.random.Generator, spread: float = 1.5) -> Map:
        """The linear map ``linear`` (k, n), with hidden layers that do not count yet."""
        k, n = linear.shape
        first, second = spread * rng.standard_normal((hidden, n)), rng.standard_normal((hidden, hidden)) / hidden**0.5
        return Map(first, spread * rng.uniform(-1, 1, hidden), second, 0.5 * rng.standard_normal(hidden), np.zeros((k, hidden)), linear.copy())

    @property
    def parts(self) -> tuple[Floats, ...]:
        """The weights in the order of :meth:`flat`."""
        return self.w1, self.b1, self.w2, self.b2, self.a, self.r

    def flat(self) -> Floats:
        """All weights as one vector."""
        return np.concatenate([part.ravel() for part in self.parts])

    def like(self, flat: Floats) -> Map:
        """A map of the same shape with other weights."""
        ends = np.cumsum([part.size for part in self.parts])
        return Map(*(piece.reshape(part.shape) for piece, part in zip(np.split(flat, ends[:-1]), self.parts, strict=True)))

    def forward(self, xi: Floats) -> Forward:
        """Evaluate at states (N, n)."""
        return Forward(self, xi)


class Forward:
    """A map evaluated at states (N, n): value ``y`` (N, k), and what derivatives need."""

    def __init__(self, net: Map, xi: Floats) -> None:
        self.net, self.xi = net, xi
        self.h1 = np.tanh(xi @ net.w1.T + net.b1)
        self.h2 = np.tanh(self.h1 @ net.w2.T + net.b2)
        self.z1 = np.tanh(net.b1)
        self.z2 = np.tanh(net.w2 @ self.z1 + net.b2)
        self.y = (self.h2 - self.z2) @ net.a.T + xi @ net.r.T

    def pull(self, c: Floats) -> Floats:
        """Gradient (N, n) in the states of ``c . y``, c (N, k)."""
        net = self.net
        back = ((c @ net.a) * (1 - self.h2**2)) @ net.w2
        return np.asarray((back * (1 - self.h1**2)) @ net.w1 + c @ net.r)

    def push(self, rate: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Rates along ``rate`` (N, n): of the first sums, of h1, of the second sums, and of y (N, k)."""
        net = self.net
        a1 = rate @ net.w1.T
        d1 = (1 - self.h1**2) * a1
        a2 = d1 @ net.w2.T
        return a1, d1, a2, ((1 - self.h2**2) * a2) @ net.a.T + rate @ net.r.T

    def by_weights(self, c: Floats, rate: Floats | None = None, e: Floats | None = None) -> Floats:
        r"""Derivatives (N, weights) of :math:`c \cdot y + e \cdot \dot y` by the weights, c and e (N, k) held fixed."""
        net, count = self.net, len(self.xi)
        s1, s2 = 1 - self.h1**2, 1 - self.h2**2
        on_h2, at_zero = c @ net.a, (c @ net.a) * (1 - self.z2**2)
        on_c = on_h2 * s2
        ga = _outer(c, self.h2 - self.z2)
        gr = _outer(c, self.xi)
        if rate is not None and e is not None:
            a1, d1, a2, _ = self.push(rate)
            on_d2 = e @ net.a
            ga += _outer(e, s2 * a2)
            gr += _outer(e, rate)
            on_c += on_d2 * a2 * (-2 * self.h2 * s2)
            on_a2 = on_d2 * s2
            on_d1 = on_a2 @ net.w2
            gw2 = _outer(on_c, self.h1) + _outer(on_a2, d1)
            on_a = (on_c @ net.w2) * s1 + on_d1 * a1 * (-2 * self.h1 * s1)
            gw1 = _outer(on_a, self.xi) + _outer(on_d1 * s1, rate)
        else:
            gw2 = _outer(on_c, self.h1)
            on_a = (on_c @ net.w2) * s1
            gw1 = _outer(on_a, self.xi)
        gw2 -= _outer(at_zero, np.broadcast_to(self.z1, (count, len(self.z1))))
        gb1 = on_a - (at_zero @ net.w2) * (1 - self.z1**2)
        return np.concatenate([gw1, gb1, gw2, on_c - at_zero, ga, gr], axis=1)


def _outer(a: Floats, b: Floats) -> Floats:
    return np.asarray((a[:, :, None] * b[:, None, :]).reshape(len(a), -1))
