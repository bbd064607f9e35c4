r"""The largest ellipsoid of a law by damped Gauss-Newton steps on its violations: what the evolution strategy does, with hundreds of numbers.

In :math:`\xi = L^{-\top} y`, y in the unit ball, with P = L L', minimise over L and the law

.. math:: \log\det L + w \Big[\sum_i \max(0, \rho\text{-excess}_i / \rho_0 + \mu)^2 + 40^2 \sum_j \max(0, (P^{-1})_{jj} - 1)^2
          + 4^2 \max(0, s / s_{\max} - 1)^2 + 4^2 \max(0, \lambda - r / \rho_0)^2\Big] + \epsilon |A|^2 + \delta |B L^{-\top}|^2

where the excess of a state is :math:`2 y^\top L^\top f / |y|^2 + \rho`, rho_0 the slowest rate of the first loop, and s the fastest rate of the
quadratic at the equilibrium, r its slowest one: a loop that is much faster in one direction than in another, or slow at the equilibrium, needs many
boxes, which the bounds on s and r save, and so does a network that bends much, which the last terms are for.  The states are those that climbing
from a cloud has found, and w grows.  L moves by ``L (I + X)``, in which a step has the same size in every direction of the ellipsoid.

Direction: an estimate, nothing here is proved.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from certctl.learners.roa.law import Law, offset, read_law
from certctl.learners.roa.task import Floats, Task
from verifiers.region.ellipsoid import ball

MARGIN, NEAR = 0.01, 0.03
"""Share of the slowest rate that a state keeps, and within which it is looked at for the next step."""
BOX, SPEED = 40.0, 4.0
"""What leaving the domain counts, and what being too fast or too slow at the equilibrium does."""
SLOWEST = 0.2
"""Least rate of the quadratic at the equilibrium, as a share of the first loop's."""
RIDGE, BEND = 0.5, 0.005
"""What |A|^2 and |B L^{-T}|^2 count."""
CLOUD, FRESH, MOST, WORST = 9000, 3000, 4500, 120
"""States of the cloud, new ones for each search of violations, the most in the working set, and those that climb."""
SEARCH, JUDGE = 3, 30
"""Steps between two searches of violations, and between two judgements."""
FIRST, GROWTH, LAST = 0.5, 1.6, 2000.0
"""First weight of the violations, its growth after a judgement, and its largest value."""
SHRINK = (1.0, 1.01, 1.02, 1.04, 1.06, 1.1, 1.15)
"""Factors of L that are tried when a judgement finds a violation."""
KEPT = 0.6
"""Share of the rate to keep with which an ellipsoid is judged good."""
WIDTHS = tuple(0.3 * 0.6**k for k in range(9))


@dataclass(frozen=True, eq=False)
class _Point:
    """Factor L of P and a law."""

    factor: Floats
    law: Law

    def moved(self, step: Floats) -> _Point:
        """The point after a step ``[X, G, A, B L^{-T}, c]``."""
        n, m, k = *self.law.gains.shape, self.law.shift.size
        lower = np.tril_indices(n)
        turn = np.eye(n)
        turn[lower] += step[:lower[0].size]
        g, a, b, c = np.split(step[lower[0].size:], np.cumsum([n * m, m * k, k * n]))
        law = Law(self.law.gains + g.reshape(m, n).T, self.law.turn + a.reshape(m, k), self.law.hidden + b.reshape(k, n) @ self.factor.T,
                  self.law.shift + c)
        return _Point(self.factor @ turn, law)

    @property
    def volume(self) -> float:
        """Logarithm of the ellipsoid's volume, up to a constant."""
        return -float(np.log(np.abs(self.factor.diagonal())).sum())

    @property
    def steepness(self) -> Floats:
        """B L^{-T} (k, n), the hidden weights where the ellipsoid is the unit ball."""
        return np.asarray(self.law.hidden @ np.linalg.inv(self.factor).T)

    @property
    def reach(self) -> Floats:
        """Squares (n,) of the half-widths of the ellipsoid."""
        return np.asarray((np.linalg.inv(self.factor) ** 2).sum(axis=0))


@dataclass(eq=False)
class _Descent:
    """The problem: task, rate to keep, slowest rate of the first loop, largest fast rate."""

    task: Task
    rate: float
    unit: float
    fastest: float
    rng: np.random.Generator

    def command(self, at: _Point, xi: Floats) -> Floats:
        """The unclipped command (N, m) in half ranges."""
        return offset(self.task) + at.law.command(xi)

    def rates(self, at: _Point, y: Floats, command: Floats) -> Floats:
        """``2 y' L' f / |y|^2`` (N,) with these commands."""
        middle, half = self.task.limits
        f = self.task.rates(y @ np.linalg.inv(at.factor), middle + half * np.clip(command, -1.0, 1.0)) @ at.factor
        return np.asarray(2 * (y * f).sum(axis=1) / (y * y).sum(axis=1))

    def excess(self, at: _Point, y: Floats) -> Floats:
        """The excess (N,) at states (N, n) of the unit ball."""
        with np.errstate(all="ignore"):
            return np.nan_to_num(self.rates(at, y, self.command(at, y @ np.linalg.inv(at.factor))) + self.rate, nan=1e6, posinf=1e6)

    def local(self, at: _Point) -> tuple[Floats, Floats]:
        """Rates (n,) of the quadratic at the equilibrium, the fastest first, and their directions as columns."""
        a, b = self.task.linearised
        j = a + b @ (self.task.limits[1][:, None] * at.law.slope)
        m = at.factor.T @ j @ np.linalg.inv(at.factor).T
        values, vectors = np.linalg.eigh(m + m.T)
        return values, vectors

    def worst(self, at: _Point, cloud: Floats, count: int = WORST) -> tuple[Floats, float]:
        """States near the worst of a cloud that are worse, with those next to the equilibrium, and the largest excess met."""
        y = cloud[np.argsort(-self.excess(at, cloud))[:count]]
        best = self.excess(at, y)
        for width in WIDTHS:
            near = y + width * np.linalg.norm(y, axis=1, keepdims=True) * self.rng.standard_normal(y.shape)
            near /= np.maximum(1.0, np.linalg.norm(near, axis=1, keepdims=True))
            found = self.excess(at, near)
            better = found > best
            y, best = np.where(better[:, None], near, y), np.where(better, found, best)
        values, vectors = self.local(at)
        return np.concatenate([y, 0.01 * vectors.T]), max(float(best.max()), float(values[-1]) + self.rate)

    def residuals(self, at: _Point, y: Floats) -> Floats:
        """What is squared: states, reach, speed at the equilibrium."""
        return np.concatenate([np.maximum(self.excess(at, y) / self.unit + MARGIN, 0), BOX * np.maximum(at.reach - 1, 0),
                               np.maximum(self.speeds(at), 0)])

    def speeds(self, at: _Point) -> Floats:
        """By how much the quadratic is too fast at the equilibrium, and by how much too slow, (2,)."""
        values = self.local(at)[0]
        return SPEED * np.array([-values[0] / self.fastest - 1, values[-1] / self.unit + SLOWEST])

    def objective(self, at: _Point, y: Floats, weight: float) -> float:
        """What is minimised, on states y (N, n)."""
        decay = RIDGE * float((at.law.turn**2).sum()) + BEND * float((at.steepness**2).sum())
        return -at.volume + weight * float((self.residuals(at, y) ** 2).sum()) + decay

    def system(self, at: _Point, y: Floats) -> tuple[Floats, Floats]:
        """Residuals that count and their derivatives (N, parameters); derivatives by L and at the equilibrium are differences."""
        law, lower, h = at.law, np.tril_indices(len(at.factor)), 1e-6
        excess = self.excess(at, y)
        on = np.flatnonzero(excess / self.unit > -MARGIN)
        y, excess = y[on], excess[on]
        z, count = y @ np.linalg.inv(at.factor), len(on)
        command, (value, turned) = self.command(at, z), law.network(z)
        base = self.rates(at, y, command)
        m, k, size = len(law.turn), law.shift.size, lower[0].size
        by_command = np.stack([self._by_input(at, y, command, base, j) for j in range(m)], axis=1)
        back = (by_command @ law.turn) * (1 - turned**2)
        by_factor, by_reach = np.empty((count, size)), np.empty((len(at.factor), size))
        for q in range(size):
            step = np.zeros(size + law.vector.size)
            step[q] = h
            near = at.moved(step)
            by_factor[:, q] = (self.excess(near, y) - excess) / h
            by_reach[:, q] = (near.reach - at.reach) / h
        n = len(at.factor)
        slopes = np.concatenate([
            by_factor, (by_command[:, :, None] * z[:, None, :]).reshape(count, m * n),
            (by_command[:, :, None] * value[:, None, :]).reshape(count, m * k),
            (back[:, :, None] * (z @ at.factor)[:, None, :]).reshape(count, k * n),
            back - (by_command @ law.turn) * (1 - np.tanh(law.shift) ** 2)], axis=1)
        out = at.reach > 1
        rows = [slopes / self.unit, BOX * np.pad(by_reach[out], ((0, 0), (0, slopes.shape[1] - size)))]
        left = [excess / self.unit + MARGIN, BOX * (at.reach[out] - 1)]
        speeds = self.speeds(at)
        if (wrong := speeds > 0).any():
            slope = np.array([self.speeds(at.moved(step)) - speeds for step in h * np.eye(slopes.shape[1])]).T / h
            rows.append(slope[wrong])
            left.append(speeds[wrong])
        return np.concatenate(left), np.concatenate(rows)

    def _by_input(self, at: _Point, y: Floats, command: Floats, base: Floats, j: int) -> Floats:
        """Derivative (N,) by one command, 0 where it is clipped; the rates are affine in the inputs of most plants, so that a difference is exact."""
        h = 1e-4
        moved = command.copy()
        moved[:, j] += np.where(command[:, j] > 1 - h, -h, h)
        free = np.abs(command[:, j]) < 1
        return np.where(free, (self.rates(at, y, moved) - base) / np.where(command[:, j] > 1 - h, -h, h), 0.0)


def descend(task: Task, p: Floats, vector: Floats, *, rate: float, stiffness: float, neurons: int, seed: int, rounds: int,
            deadline: float = math.inf) -> tuple[Floats, Floats] | None:
    """Make an ellipsoid and its law larger on samples.

    Parameters
    ----------
    task : Task
        Plant, limits, domain.
    p, vector : ndarray
        P (n, n) whose ellipsoid at level 1 is the first one, and the law to begin with.
    rate : float
        The rate of decrease to keep.
    stiffness : float
        Largest ratio of the quadratic's fastest rate at the equilibrium and twice the real part of the first loop's slowest pole.
    neurons : int
        Of the law; 0 leaves it linear.
    seed : int
        Of clouds and new neurons.
    rounds : int
        Steps at most.
    deadline : float
        Of ``time.monotonic``.

    Returns
    -------
    (ndarray, ndarray) or None
        P at whose level 1 the decrease keeps ``KEPT`` of the rate on all samples, and the law; None when no judgement was passed.
    """
    rng = np.random.default_rng(seed)
    law = read_law(task, vector)
    a, b = task.linearised
    unit = -2 * float(np.linalg.eigvals(a + b @ (task.limits[1][:, None] * law.slope)).real.max())
    if not unit > 0:
        return None
    factor = np.linalg.cholesky(p)
    at = _Point(factor, law.widened(neurons, factor, rng))
    search = _Descent(task, rate, unit, stiffness * unit, rng)
    cloud = ball(rng, CLOUD, task.n)
    active = np.concatenate([cloud[:1500], search.worst(at, cloud)[0]])
    weight, damping, radius, best = FIRST, 1e-2, 0.1, None
    for index in range(1, rounds + 1):
        at, damping, radius = _step(search, at, active, weight, damping, radius)
        if index % SEARCH == 0:
            cloud = np.concatenate([ball(rng, FRESH, task.n), cloud[:CLOUD]])
            found, _ = search.worst(at, cloud)
            cloud, active = np.concatenate([found, cloud]), np.concatenate([active, found])
            if len(active) > MOST:
                active = active[np.argsort(-search.excess(at, active))[:2 * MOST // 3]]
        if index % JUDGE == 0 or index == rounds:
            weight = min(GROWTH * weight, LAST)
            good, found = _judge(search, at, cloud)
            active = np.concatenate([active, found])
            if good is not None and (best is None or good.volume > best.volume):
                best = good
            if time.monotonic() > deadline:
                break
    return None if best is None else (best.factor @ best.factor.T, best.law.vector)


def _step(search: _Descent, at: _Point, active: Floats, weight: float, damping: float, radius: float) -> tuple[_Point, float, float]:
    """One damped step that lowers the objective, or none; the next damping and longest step."""
    left, rows = search.system(at, active)
    lower, (m, k) = np.tril_indices(len(at.factor)), at.law.turn.shape
    cost, ridge = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    cost[:lower[0].size][lower[0] == lower[1]] = 1.0
    first = lower[0].size + at.law.gains.size
    turn, hidden = slice(first, first + m * k), slice(first + m * k, first + m * k + at.law.hidden.size)
    cost[turn], ridge[turn] = 2 * RIDGE * at.law.turn.ravel(), 2 * RIDGE
    cost[hidden], ridge[hidden] = 2 * BEND * at.steepness.ravel(), 2 * BEND
    gradient, hessian = cost + 2 * weight * rows.T @ left, 2 * weight * rows.T @ rows + np.diag(ridge)
    size, old = hessian.diagonal(), search.objective(at, active, weight)
    for _ in range(6):
        step = -np.linalg.solve(hessian + np.diag(damping * np.maximum(size, 1e-3 * size.max()) + 1e-6), gradient)
        inner, outer = np.abs(step[:lower[0].size]).max(), np.abs(step[lower[0].size:]).max()
        step *= min(1.0, radius / max(inner, 1e-12), 3 * radius / max(outer, 1e-12))
        new = at.moved(step)
        if np.isfinite(new.volume) and search.objective(new, active, weight) < old:
            return new, max(0.4 * damping, 1e-5), min(0.1, 1.5 * radius)
        damping, radius = min(4 * damping, 1e3), 0.4 * radius
    return at, damping, max(radius, 1e-4)


def _judge(search: _Descent, at: _Point, cloud: Floats) -> tuple[_Point | None, Floats]:
    """The ellipsoid, a little smaller where need be, if it decreases on many samples; and the states met."""
    inside = math.sqrt(float(at.reach.max())) * (1 + 1e-12)
    met, allowed = [], (1 - KEPT) * search.rate
    for scale in SHRINK:
        point = _Point(at.factor * max(scale, inside), at.law)
        if -float(search.local(point)[0][0]) > 1.02 * search.fastest:
            break
        found, most = search.worst(point, cloud, 300)
        for _ in range(2):
            if most <= allowed:
                found, more = search.worst(point, np.concatenate([ball(search.rng, 20_000, search.task.n), found]), 300)
                most = max(most, more)
        met.append(found)
        if most <= allowed:
            return point, found
    return None, np.concatenate([np.zeros((0, search.task.n)), *met])
