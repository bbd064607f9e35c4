r"""Damped Gauss-Newton on everything that a candidate should satisfy, all of it written as least squares.

Five kinds of residual, each a mean over its states:

* *value*: :math:`(V - V_t)/(2\sqrt{V_t + .01})` against the estimate, on the box;
* *input*: :math:`(u - u_t)/h`;
* *decrease*: :math:`\max(0, \dot V + \rho V + m\,\ell/\kappa + \gamma\,|\nabla V||f|)/(|\xi|^2 + \beta\,|\nabla V||f|)`, with rho the rate that is
  asked for, where V is at most a little above its level 1, at all scales about the equilibrium, and at the worst states of a larger sample (the
  counterexamples); the margins m and gamma shorten the proof;
* *size*: :math:`\max(0, V - .97)` on the estimated region;
* *local*: V and u against the regulator's cost and law near the equilibrium, relative to these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from certctl.learners.roa.candidate import Candidate, Point
from certctl.learners.roa.task import Floats
from certctl.learners.roa.zubov import Estimate

CEILING = 1.05
"""V up to which a decrease is asked for: a little above the level 1."""
CUT = 1.2
"""V above which the estimate is not followed."""
FLOOR = 1e-9
LOCAL = 1.7
"""Decades about the equilibrium within which the regulator is the example."""
SCALES = 4.0
"""Decades about the equilibrium over which states are drawn."""


@dataclass(frozen=True)
class Weights:
    """What each kind of residual counts, the margins m and gamma, and beta."""

    value: float = 1.0
    input: float = 0.3
    decrease: float = 0.0
    size: float = 0.0
    local: float = 0.05
    margin: float = 0.2
    angle: float = 0.01
    slack: float = 0.1


@dataclass(frozen=True, eq=False)
class Batch:
    """States (N, n) of three kinds: for value, input and size with their targets; for the decrease; and near the equilibrium."""

    xi: Floats
    value: Floats
    input: Floats
    inside: Floats
    steep: Floats
    near: Floats


def draw(candidate: Candidate, estimate: Estimate, count: int, rng: np.random.Generator, weights: Weights, kept: Floats) -> Batch:
    """Draw a batch: uniform states; for the decrease some uniform below the ceiling, some at all scales, the worst of many, and those ``kept``."""
    n = candidate.task.n
    xi = rng.uniform(-1, 1, (count // 3, n))
    cost, u = estimate.at(xi)
    target = cost + (xi**candidate.power).sum(axis=1)
    local = _at_scales(rng, count // 10, n, LOCAL, SCALES)
    if not weights.decrease:
        return Batch(xi, target, u, (target < 1).astype(float), xi[:0], local)
    pool = rng.uniform(-1, 1, (4 * count, n))
    near = _at_scales(rng, count // 4, n, 0.0, SCALES)
    violation, value = violations(candidate, pool, weights)
    below = value < CEILING
    hard = np.argsort(np.where(below, -violation, np.inf))[:count // 3]
    return Batch(xi, target, u, (target < 1).astype(float), np.concatenate([pool[below][:count // 3], near, pool[hard], kept]), local)


def _at_scales(rng: np.random.Generator, count: int, n: int, first: float, last: float) -> Floats:
    """States in random directions, at distances of 10**-first down to 10**-last."""
    direction = rng.standard_normal((count, n))
    return np.asarray(direction * (10.0**-rng.uniform(first, last, count) / np.linalg.norm(direction, axis=1))[:, None])


def violations(candidate: Candidate, xi: Floats, weights: Weights) -> tuple[Floats, Floats]:
    """Scaled violation of the decrease (N,), positive where the margins are missed, and V."""
    at = candidate.at(xi)
    short, scale = _decrease(at, weights)
    return short / scale, at.value


def hunt(candidate: Candidate, count: int, rng: np.random.Generator, climbers: int = 300, steps: int = 40) -> tuple[Floats, Floats]:
    """Look harder for states (K, n) below the ceiling at which V does not decrease, no margin asked; with V at them, the worst first.

    The worst of ``count`` states, uniform in the box and at all scales about the equilibrium, climb by random steps that grow where they
    succeed and shrink where they fail, from a tenth of the distance to the equilibrium.
    """
    n, exact = candidate.task.n, Weights(margin=0.0, angle=0.0)
    pool = np.concatenate([rng.uniform(-1, 1, (count, n)), _at_scales(rng, count // 4, n, 0.0, SCALES)])

    def judged(xi: Floats) -> tuple[Floats, Floats]:
        violation, value = violations(candidate, xi, exact)
        return np.where((value < CEILING) & (np.abs(xi) <= 1).all(axis=1), violation, -np.inf), value

    violation, value = judged(pool)
    first = np.argsort(-violation)[:climbers]
    xi, violation, value = pool[first], violation[first], value[first]
    size = 0.1 * np.linalg.norm(xi, axis=1)
    for _ in range(steps):
        tried = xi + size[:, None] * rng.standard_normal(xi.shape)
        higher, at = judged(tried)
        better = higher > violation
        xi, violation, value = np.where(better[:, None], tried, xi), np.where(better, higher, violation), np.where(better, at, value)
        size = size * np.where(better, 1.5, 0.8)
    bad = np.flatnonzero(violation >= 0)
    bad = bad[np.argsort(-violation[bad])]
    return xi[bad], value[bad]


def _decrease(at: Point, weights: Weights) -> tuple[Floats, Floats]:
    """By how much the decrease is missed (N,), positive where it is, and the scale that this is measured on (N,)."""
    length = np.linalg.norm(at.gradient, axis=1) * np.linalg.norm(at.rates, axis=1)
    need = weights.margin / at.candidate.kappa * at.candidate.task.running_cost(at.xi, at.input) + weights.angle * length
    return at.rate + at.candidate.task.decay * at.value + need, (at.xi**2).sum(axis=1) + weights.slack * length + FLOOR


def _decrease_by_weights(at: Point) -> Floats:
    """Derivatives (N, weights) of the rate of V plus its value times the rate asked for; the margins are held fixed."""
    decay = at.candidate.task.decay
    return at.rate_by_weights() + decay * at.value_by_weights() if decay else at.rate_by_weights()


def residuals(candidate: Candidate, batch: Batch, weights: Weights, slopes: bool = True) -> tuple[Floats, Floats | None]:
    """All residuals that are not zero (K,) and, with ``slopes``, their derivatives (K, weights)."""
    found: list[Floats] = []
    table: list[Floats] = []

    def add(values: Floats, by_weights: Callable[[Point], Floats], at: Point, unit: Floats, weight: float) -> None:
        """Values (N,), and the derivatives of what they are ``unit`` (N,) times of, at the states where they are not zero."""
        live = np.flatnonzero(values)
        factor = (weight / max(len(values), 1))**0.5
        found.append(factor * values[live])
        if slopes and len(live):
            table.append(factor * unit[live, None] * by_weights(at if len(live) == len(values) else candidate.at(at.xi[live])))

    at = candidate.at(batch.xi)
    if weights.value:
        unit = 0.5 / np.sqrt(batch.value + 0.01)
        error = np.where((batch.value > CUT) & (at.value > CUT), 0.0, at.value - np.minimum(batch.value, CUT))
        add(error * unit, Point.value_by_weights, at, unit, weights.value)
    if weights.size:
        add(np.maximum(at.value - 0.97, 0.0) * batch.inside, Point.value_by_weights, at, batch.inside, weights.size)
    if weights.input and candidate.policy is not None:
        for j, half in enumerate(candidate.task.limits[1]):
            add((at.input[:, j] - batch.input[:, j]) / half, partial(Point.input_by_weights, channel=j), at, np.ones(len(batch.xi)), weights.input)
    if weights.local:
        p, k = candidate.task.regulator
        at = candidate.at(batch.near)
        cost = np.einsum("ni,ij,nj->n", batch.near, p, batch.near) / candidate.kappa
        add(at.value / cost - 1, Point.value_by_weights, at, 1 / cost, weights.local)
        for j, half in enumerate(candidate.task.limits[1] if candidate.policy is not None else ()):
            size = np.linalg.norm(batch.near, axis=1) * np.linalg.norm(k[j]) / half + 1e-12
            error = (at.input[:, j] - candidate.task.plant.rest[1][j] + batch.near @ k[j]) / half
            add(error / size, partial(Point.input_by_weights, channel=j), at, 1 / size, weights.local)
    if weights.decrease and len(batch.steep):
        at = candidate.at(batch.steep)
        short, scale = _decrease(at, weights)
        add(np.maximum(short, 0.0) / scale, _decrease_by_weights, at, 1 / scale, weights.decrease)
    return np.concatenate(found), np.concatenate(table) if slopes else None


def improve(candidate: Candidate, batch: Batch, weights: Weights, damping: float) -> tuple[Candidate, float, float]:
    """One damped step that lowers the sum of squares on this batch; returns candidate, next damping, and the loss now."""
    error, table = residuals(candidate, batch, weights)
    if table is None:
        raise RuntimeError("derivatives were asked for")
    loss = float(error @ error)
    normal, slope, flat = table.T @ table, table.T @ error, candidate.flat()
    for _ in range(6):
        damped = normal.copy()
        damped[np.diag_indices_from(damped)] += damping * (np.diag(normal) + 1e-3 * np.diag(normal).mean() + 1e-12)
        try:
            step = np.linalg.solve(damped, slope)
        except np.linalg.LinAlgError:
            damping *= 10
            continue
        tried = candidate.like(flat - step)
        new = residuals(tried, batch, weights, slopes=False)[0]
        if float(new @ new) < loss:
            return tried, max(damping / 3, 1e-7), float(new @ new)
        damping *= 4
    return candidate, min(damping, 1e3), loss
