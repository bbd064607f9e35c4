r"""Damped Gauss-Newton on everything that a candidate should satisfy, all of it written as least squares.

Five kinds of residual, each a mean over its states:

* *value*: :math:`(V - V_t)/(2\sqrt{V_t + .01})` against the estimate, on the box;
* *input*: :math:`(u - u_t)/h`;
* *decrease*: :math:`\max(0, \dot V + m\,\ell/\kappa)/(|\xi|^2 + \beta\,|\nabla V||f|)` where V is at most a little above its level 1, at all scales
  about the equilibrium, and at the worst states of a larger sample (the counterexamples);
* *size*: :math:`\max(0, V - .97)` on the estimated region;
* *local*: V and u against the regulator's cost and law near the equilibrium, relative to these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from certctl.learners.roa.candidate import Candidate, Point
from certctl.learners.roa.task import Floats
from certctl.learners.roa.zubov import Estimate

CEILING = 1.05
"""V up to which a decrease is asked for: a little above the level 1."""
FLOOR = 1e-9
LOCAL = 1.7
"""Decades about the equilibrium within which the regulator is the example."""
SCALES = 4.0
"""Decades about the equilibrium over which states are drawn."""


@dataclass(frozen=True)
class Weights:
    """What each kind of residual counts, the margin m, and beta."""

    value: float = 1.0
    input: float = 0.3
    decrease: float = 0.0
    size: float = 0.0
    local: float = 0.05
    margin: float = 0.2
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
    """Scaled violation of the decrease (N,), positive where V' > -margin l / kappa, and V."""
    at = candidate.at(xi)
    return _short(at, weights) / _scale(at, weights), at.value


def _short(at: Point, weights: Weights) -> Floats:
    return at.rate + weights.margin / at.candidate.kappa * at.candidate.task.running_cost(at.xi, at.input)


def _scale(at: Point, weights: Weights) -> Floats:
    length = np.linalg.norm(at.gradient, axis=1) * np.linalg.norm(at.rates, axis=1)
    return np.asarray((at.xi**2).sum(axis=1) + weights.slack * length + FLOOR)


def residuals(candidate: Candidate, batch: Batch, weights: Weights, slopes: bool = True) -> tuple[Floats, Floats | None]:
    """All residuals (K,) and, with ``slopes``, their derivatives (K, weights)."""
    found: list[Floats] = []
    table: list[Floats] = []

    def add(values: Floats, derivative: Floats | None, weight: float) -> None:
        factor = (weight / max(len(values), 1))**0.5
        found.append(factor * values)
        if derivative is not None:
            table.append(factor * derivative)

    at = candidate.at(batch.xi)
    by_value = at.value_by_weights() if slopes else None
    if weights.value:
        unit = 0.5 / np.sqrt(batch.value + 0.01)
        low = np.minimum(batch.value, 1.2)
        error = np.where((batch.value > 1.2) & (at.value > 1.2), 0.0, at.value - low)
        live = np.where(error == 0.0, 0.0, unit)
        add(error * unit, None if by_value is None else live[:, None] * by_value, weights.value)
    if weights.size:
        over = np.maximum(at.value - 0.97, 0.0) * batch.inside
        add(over, None if by_value is None else (over > 0)[:, None] * by_value, weights.size)
    if weights.input and candidate.policy is not None:
        for j in range(at.input.shape[1]):
            add((at.input[:, j] - batch.input[:, j]) / candidate.task.limits[1][j], at.input_by_weights(j) if slopes else None, weights.input)
    if weights.local:
        p, k = candidate.task.regulator
        at = candidate.at(batch.near)
        cost = np.einsum("ni,ij,nj->n", batch.near, p, batch.near) / candidate.kappa
        add(at.value / cost - 1, at.value_by_weights() / cost[:, None] if slopes else None, weights.local)
        half, unit = candidate.task.limits[1], np.linalg.norm(batch.near, axis=1)
        for j in range(at.input.shape[1] if candidate.policy is not None else 0):
            size = unit * np.linalg.norm(k[j]) / half[j] + 1e-12
            error = (at.input[:, j] - candidate.task.plant.rest[1][j] + batch.near @ k[j]) / half[j]
            add(error / size, at.input_by_weights(j) / size[:, None] if slopes else None, weights.local)
    if weights.decrease and len(batch.steep):
        at = candidate.at(batch.steep)
        scale = _scale(at, weights)
        short = np.maximum(_short(at, weights), 0.0) / scale
        live = np.flatnonzero(short > 0)
        derivative = None
        if slopes:
            derivative = np.zeros((len(short), candidate.flat().size))
            derivative[live] = candidate.at(batch.steep[live]).rate_by_weights() / scale[live, None]
        add(short, derivative, weights.decrease)
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
            step = cho_solve(cho_factor(damped), slope)
        except LinAlgError:
            damping *= 10
            continue
        tried = candidate.like(flat - step)
        new = residuals(tried, batch, weights, slopes=False)[0]
        if float(new @ new) < loss:
            return tried, max(damping / 3, 1e-7), float(new @ new)
        damping *= 4
    return candidate, min(damping, 1e3), loss
