r"""Make the region of an ellipsoid larger with a network as the function: stochastic gradients on volume and violations.

Over the weights of a :class:`~certctl.learners.roa.shape.Shape` and of the law, with unit vectors s, distances r(s) at which V = 1, and rho_0 the
slowest rate of the first loop, minimise

.. math:: -\log \mathbb{E}\, r^n + \lambda \Big[10\,\mathbb{E} \max(0, e + \mu)^2 + 40\,\mathbb{E} \max_i \max(0, |\xi_i| - b)^2
          + 10\,\mathbb{E} \max(0, \sigma - y^\top \nabla V / V)^2 + 4\,\ell\Big] + \epsilon |A|^2 + \delta |B|^2

where :math:`e = (\dot V / V + \rho) / \rho_0` at states :math:`t\,r(s)\,s` inside, which move with the region, half of them found by climbing;
xi_i are the states of the boundary over the domain's half-widths; in the third term y lies on the boundary and beyond it in the domain, where V has
to grow along rays (the region is then star-shaped, and boxes outside of it are few); l punishes a quadratic that is too slow or too fast at the
equilibrium.  A and B are those of the function and of the law, and lambda grows.  What a proof costs is a matter of delta and of the fastest rate:
boxes prove what is nearly quadratic in them (docs/howto/learn_a_region.md has measurements).

Direction: an estimate, nothing here is proved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh

from certctl.learners.roa.law import Law, offset, read_law
from certctl.learners.roa.shape import Shape, ShapeAt, radii
from certctl.learners.roa.task import Floats, Task

BOUNDARY, POOL, DRAWN = 1500, 4000, 1200
"""Directions of a step, found states that are kept, and those of them that a step looks at."""
HUNT, FRESH, CLIMB, WIDTHS = 10, 8000, 300, tuple(0.4 * 0.7**(k // 2) for k in range(24))
"""Steps between two hunts, states of one, those that climb, and how far they look, as shares of their distance."""
MARGIN, INSIDE, STAR, SLOWEST, BEYOND, ROOM = 0.02, 0.97, 1.0, 0.2, 2.5, 1.08
"""mu; b; sigma; least rate of the quadratic at the equilibrium over rho_0, where the rate asked for is not larger; how far
beyond the boundary V has to grow, and how far it has to decrease, both as multiples of r(s): a box that is cut by the boundary has to pass whole."""
RIDGE, FIRST, LAST, GROWN = 1e-3, 3.0, 3000.0, 0.8
"""epsilon; lambda at the start and at its largest, and the share of the steps after which it is that."""
RATE, LONGEST, SLOW_FROM = 3e-3, 20.0, 0.6
"""Step of Adam, longest gradient, and the share of the steps after which the step shrinks."""
LEVELS = tuple(0.97**k for k in range(24))
"""Levels that are judged, the largest first."""


@dataclass(frozen=True, eq=False)
class Grown:
    """A function and a law (:mod:`certctl.learners.roa.law`), and the volume of {V <= 1} over the unit ball's in y, on samples."""

    shape: Shape
    law: Floats
    volume: float


@dataclass(eq=False)
class Spread:
    """The search: task, factor F (n, n) of ``y = F' xi``, rate to keep, rho_0, largest fast rate over rho_0, delta.

    A law is that of the task's scaled states as one vector; a search moves its numbers in the coordinates y.  Where the task's controller is given
    the vector is empty and the function alone moves.
    """

    task: Task
    factor: Floats
    rate: float
    unit: float
    stiffness: float
    bend: float
    rng: np.random.Generator
    pool: Floats = field(init=False)
    share: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.inverse = np.linalg.inv(self.factor)
        self.pool, self.share = self.directions(POOL // 2), np.full(POOL // 2, ROOM)

    # the loop in y --------------------------------------------------------------------------------------------------

    def directions(self, count: int) -> Floats:
        """Unit vectors (count, n), alike."""
        s = self.rng.standard_normal((count, self.task.n))
        return np.asarray(s / np.linalg.norm(s, axis=1, keepdims=True))

    def inner(self, vector: Floats) -> Law | None:
        """The law of a vector as a function of y; None where the controller is given."""
        if self.task.controller is not None:
            return None
        law = read_law(self.task, vector)
        return Law(self.inverse @ law.gains, law.turn, law.hidden @ self.inverse.T, law.shift)

    def outer(self, law: Law | None) -> Floats:
        """The vector of a law of y."""
        return np.zeros(0) if law is None else Law(self.factor @ law.gains, law.turn, law.hidden @ self.factor.T, law.shift).vector

    def field(self, y: Floats, command: Floats | None) -> Floats:
        """Rates (N, n) of y with unclipped commands (N, m) in half ranges, or those of the given controller."""
        (middle, half), xi = self.task.limits, y @ self.inverse
        u = self.task.given_input(xi) if command is None else middle + half * np.clip(command, -1.0, 1.0)
        return np.asarray(self.task.rates(xi, u) @ self.factor)

    def command(self, law: Law | None, y: Floats) -> Floats | None:
        """Unclipped commands (N, m) of a law of y."""
        return None if law is None else np.asarray(offset(self.task) + law.command(y))

    def excess(self, at: ShapeAt, f: Floats) -> Floats:
        """e (N,)."""
        with np.errstate(all="ignore"):
            return np.asarray(np.nan_to_num((at.rate(f) / at.value + self.rate) / self.unit, nan=1e6, posinf=1e6))

    def look(self, shape: Shape, law: Law | None, y: Floats) -> tuple[ShapeAt, Floats]:
        """The function and e at states (N, n)."""
        at = shape.at(y)
        return at, self.excess(at, self.field(y, self.command(law, y)))

    def local(self, shape: Shape, law: Law | None) -> tuple[Floats, Floats]:
        """Rates (n,) of V at the equilibrium over V, the fastest first, and states (n, n) next to it that have them, as rows."""
        a, b = self.task.linearised
        if law is None:
            scaled = a - b @ self.task.regulator[1]
        else:
            scaled = a + b @ (self.task.limits[1][:, None] * read_law(self.task, self.outer(law)).slope)
        flow, root = self.factor.T @ scaled @ self.inverse.T, shape.slope
        v = root.T @ root
        values, vectors = eigh(v @ flow + flow.T @ v, v)
        return values, 1e-3 * (vectors / np.linalg.norm(vectors, axis=0)).T

    # one step ---------------------------------------------------------------------------------------------------------

    def hunt(self, shape: Shape, law: Law | None, fresh: int = 0, climb: int = 0) -> float:
        """States near the worst ones join the pool; the largest e met.  0 means ``FRESH`` states and ``CLIMB`` that climb."""
        fresh, climb = fresh or FRESH, climb or CLIMB
        drawn = self.directions(fresh)
        share = ROOM * np.where(np.arange(fresh) < fresh // 2, 1.0, self.rng.uniform(0, 1, fresh) ** (1 / 3))
        s, share = np.concatenate([drawn, self.pool]), np.concatenate([share, self.share])
        y = s * (radii(shape, s) * share)[:, None]
        e = self.look(shape, law, y)[1]
        of_fresh, of_pool = np.argsort(-e[:fresh]), fresh + np.argsort(-e[fresh:])
        third = climb // 3  # from the worst new states, from any of the worse ones, and from the pool: there is more than one pocket
        any_ = self.rng.choice(of_fresh[third:fresh // 4], third, replace=False)
        from_ = np.concatenate([of_fresh[:third], any_, of_pool[:third]])
        y, best = y[from_], e[from_]
        for width in WIDTHS:
            near = y + width * np.linalg.norm(y, axis=1, keepdims=True) * self.rng.standard_normal(y.shape)
            at, found = self.look(shape, law, near)
            better = (found > best) & (at.value <= ROOM**2)
            y, best = np.where(better[:, None], near, y), np.where(better, found, best)
        length = np.linalg.norm(y, axis=1)
        kept = of_pool[:POOL - len(y)] - fresh
        new = y / length[:, None]
        self.pool = np.concatenate([self.pool[kept], new])
        self.share = np.concatenate([self.share[kept], np.minimum(length / radii(shape, new), ROOM)])
        return float(best.max(initial=-math.inf))

    def gradient(self, shape: Shape, law: Law | None, weight: float) -> tuple[Floats, float]:
        """Derivative of the objective by all weights on drawn states, and the volume over the unit ball's that they show."""
        n, drawn = self.task.n, self.rng.choice(len(self.pool), min(DRAWN, len(self.pool)), replace=False)
        s = np.concatenate([self.directions(BOUNDARY), self.pool[drawn]])
        share = np.concatenate([ROOM * self.rng.uniform(0, 1, BOUNDARY) ** 0.3, self.share[drawn]])
        sides = np.where(np.arange(len(s)) < BOUNDARY, 1 / BOUNDARY, 1 / len(drawn))
        r = radii(shape, s)
        y = s * r[:, None]
        edge = shape.at(y)
        steep = np.maximum((edge.gradient * s).sum(axis=1), 1e-3)  # dV / dr, so that a weight moves r by -dV / steep
        powers = np.where(np.arange(len(s)) < BOUNDARY, r**n, 0.0)
        on_radius = -n * powers / r / powers.sum()
        xi = y @ self.inverse
        worst = np.abs(xi).argmax(axis=1)
        side = xi[np.arange(len(s)), worst]
        over = np.maximum(np.abs(side) - INSIDE, 0)
        on_radius += weight * 40 * sides * 2 * over * np.sign(side) * (s @ self.inverse)[np.arange(len(s)), worst]
        out = self._inside(shape, law, s, r, share, sides, weight, on_radius)  # adds to on_radius
        out[:shape.vector.size] += edge.by_weights(-on_radius / steep) + self._growth(shape, y, weight)
        self._at_rest(shape, law, weight, out)
        size, turn = shape.linear.size, shape.turn.size
        out[size:size + turn] += 2 * RIDGE * shape.turn.ravel()
        out[size + turn:size + turn + shape.hidden.size] += 2 * self.bend * shape.hidden.ravel()
        if law is not None and law.shift.size:
            first = shape.vector.size + law.gains.size
            out[first:first + law.turn.size] += 2 * RIDGE * law.turn.ravel()
            out[first + law.turn.size:first + law.turn.size + law.hidden.size] += 2 * self.bend * law.hidden.ravel()
        return out, float(powers.sum() / BOUNDARY)

    def _growth(self, shape: Shape, y: Floats, weight: float) -> Floats:
        """Derivative of the term that wants V to grow along rays, on the boundary's states (N, n) and beyond, by the function's weights."""
        far = y * self.rng.uniform(1, BEYOND, len(y))[:, None]
        y = np.concatenate([y, far[(np.abs(far @ self.inverse) <= 1.05).all(axis=1)]])
        at = shape.at(y)
        growth = at.rate(y) / at.value
        by_growth = -weight * 20 * np.maximum(STAR - growth, 0) / len(y)
        return at.by_weights(-by_growth * growth / at.value, by_growth / at.value, y)

    def _inside(self, shape: Shape, law: Law | None, s: Floats, r: Floats, share: Floats, sides: Floats, weight: float, on_radius: Floats) -> Floats:
        """The decrease at states inside: derivatives by all weights at states held fixed; what moves the states is added to ``on_radius``."""
        e = self.look(shape, law, s * (r * share)[:, None])[1]
        on = np.flatnonzero(e > -MARGIN)
        y, by_excess = s[on] * (r[on] * share[on])[:, None], weight * 20 * sides[on] * (e[on] + MARGIN)
        h = 1e-5
        on_radius[on] += by_excess * share[on] * (self.look(shape, law, y + h * s[on])[1] - e[on]) / h
        return self._by_excess(shape, law, y, by_excess)

    def _by_excess(self, shape: Shape, law: Law | None, y: Floats, by_excess: Floats) -> Floats:
        """Derivative by all weights of a weighted sum of e."""
        at, command = shape.at(y), self.command(law, y)
        f = self.field(y, command)
        rate, scale = at.rate(f), by_excess / (at.value * self.unit)
        on_shape = at.by_weights(-scale * rate / at.value, scale, f)
        if law is None or command is None:
            return on_shape
        h, on_command = 1e-4, np.zeros_like(command)
        for j in range(command.shape[1]):  # most plants are affine in their inputs, so that a difference is exact
            step = np.where(command[:, j] > 1 - h, -h, h)
            moved = command.copy()
            moved[:, j] += step
            on_command[:, j] = np.where(np.abs(command[:, j]) < 1, scale * (at.rate(self.field(y, moved)) - rate) / step, 0.0)
        parts = [(y.T @ on_command).ravel()]
        if law.shift.size:
            value, turned = law.network(y)
            back = (on_command @ law.turn) * (1 - turned**2)
            ends = (1 - np.tanh(law.shift) ** 2) * (on_command.sum(axis=0) @ law.turn)
            parts += [(on_command.T @ value).ravel(), (back.T @ y).ravel(), back.sum(axis=0) - ends]
        return np.concatenate([on_shape, *parts])

    def _at_rest(self, shape: Shape, law: Law | None, weight: float, out: Floats) -> None:
        """l, by states next to the equilibrium: max(0, least - slowest / rho_0)^2 + max(0, fastest / (rho_0 most) - 1)^2."""
        values, states = self.local(shape, law)
        slow = max(float(values[-1]) / self.unit + max(SLOWEST, self.rate / self.unit), 0.0)
        fast = max(-float(values[0]) / (self.unit * self.stiffness) - 1, 0.0)
        if slow > 0 or fast > 0:
            out += self._by_excess(shape, law, states[[-1, 0]], weight * 8 * np.array([slow, -fast / self.stiffness]))

    # the search -------------------------------------------------------------------------------------------------------

    def run(self, shape: Shape, vector: Floats, steps: int, deadline: float = math.inf, report: Callable[[float, float], None] | None = None
            ) -> tuple[Shape, Floats]:
        """Adam from a function and a law of the task's scaled states; ``report`` gets the share done and the volume over the unit ball's."""
        law, began = self.inner(vector), time.monotonic()
        x = shape.vector if law is None else np.concatenate([shape.vector, law.vector])
        size, m, v, k = shape.vector.size, np.zeros_like(x), np.zeros_like(x), 0
        done = 0.0
        while done < 1:
            shape, law = shape.like(x[:size]), None if law is None else read_law(self.task, x[size:])
            if k % HUNT == 0:
                self.hunt(shape, law)
            g, volume = self.gradient(shape, law, FIRST * (LAST / FIRST) ** min(1.0, done / GROWN))
            g *= min(1.0, LONGEST / max(float(np.linalg.norm(g)), 1e-300))
            if not np.isfinite(g).all():
                break
            k += 1
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            pace = RATE * (1 if done < SLOW_FROM else max(0.03, (1 - done) / (1 - SLOW_FROM)))
            x = x - pace * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.99**k)) + 1e-8)
            spent = (time.monotonic() - began) / max(deadline - began, 1e-9) if math.isfinite(deadline) else 0.0
            done = max(k / steps, spent)
            if report is not None and k % 50 == 0:
                report(min(done, 1.0), volume)
        return shape.like(x[:size]), self.outer(None if law is None else read_law(self.task, x[size:]))

    def judge(self, shape: Shape, vector: Floats, states: int = 60_000) -> Grown | None:
        """The largest level at which V decreases on all states drawn and climbed to, keeps half of the rate, and leaves a face alone; V over it."""
        law, s = self.inner(vector), self.directions(states)
        for level in LEVELS:
            small = shape.scaled(level)
            r = radii(small, s)
            if float(np.abs((s * r[:, None]) @ self.inverse).max()) > 1 - 0.25 * (1 - INSIDE):
                continue
            if max(self.hunt(small, law, states // 2, 2 * CLIMB) for _ in range(2)) <= 0.5 * self.rate / self.unit:
                return Grown(small, vector, float((r**self.task.n).mean()))
        return None
