"""Counterexamples: search them in floats, then replay them with the kernel's enclosures at a single point.

A float sample refutes nothing.  :func:`replay` returns a sentence only when the enclosures *prove* that the point violates the
claim: it lies in the level set, outside the regions proved inside, and does not decrease, or it reaches the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifiers.kernel.graph import Floats
from verifiers.kernel.stage import Stage
from verifiers.region.sampling import FloatFunction


@dataclass(frozen=True)
class Witness:
    """An exactly replayed counterexample: the state, and why it violates the claim."""

    x: tuple[float, ...]
    why: str


@dataclass(frozen=True, eq=False)
class Samples:
    """Points (B, n) with value and decrease (B,) of a function along the loop."""

    x: Floats
    value: Floats
    decrease: Floats

    def join(self, other: Samples) -> Samples:
        """Both sets of points."""
        return Samples(np.concatenate([self.x, other.x]), np.concatenate([self.value, other.value]), np.concatenate([self.decrease, other.decrease]))


def measure(function: FloatFunction, x: Floats) -> Samples:
    """Value and decrease at points (B, n)."""
    return Samples(x, *function.value_and_decrease(x))


def draw(function: FloatFunction, lo: Floats, hi: Floats, centre: Floats, *, count: int, seed: int) -> Samples:
    """Points of the box [lo, hi]: half of them uniform, half at all scales about the centre."""
    rng = np.random.default_rng(seed)
    uniform = rng.uniform(lo, hi, (count // 2, len(lo)))
    scale = 10.0 ** rng.uniform(-5, 0, (count - count // 2, 1))
    near = np.clip(centre + scale * rng.uniform(lo - centre, hi - centre, (count - count // 2, len(lo))), lo, hi)
    return measure(function, np.concatenate([uniform, near]))


def lowest_violation(function: FloatFunction, start: Samples, lo: Floats, hi: Floats, *, above: float, seed: int, rounds: int = 14,
                     keep: int = 64) -> Samples:
    """Move towards points that do not decrease and whose value is as low as possible, but above ``above``: (keep, n) of them, lowest first.

    Starts from the violating points of ``start``; each round resamples about the best ones with a shrinking radius.
    """
    rng = np.random.default_rng(seed)
    bad = ~(start.decrease < 0) & (start.value > above)
    best = Samples(start.x[bad], start.value[bad], start.decrease[bad])
    radius = 0.05 * (hi - lo)
    for _ in range(rounds):
        if best.x.shape[0] == 0:
            break
        order = np.argsort(best.value)[:keep]
        best = Samples(best.x[order], best.value[order], best.decrease[order])
        around = np.repeat(best.x, 40, axis=0)
        more = measure(function, np.clip(around + radius * rng.uniform(-1, 1, around.shape), lo, hi))
        bad = ~(more.decrease < 0) & (more.value > above)
        best = best.join(Samples(more.x[bad], more.value[bad], more.decrease[bad]))
        radius = radius * 0.6
    order = np.argsort(best.value)[:keep]
    return Samples(best.x[order], best.value[order], best.decrease[order])


def farthest_violation(function: FloatFunction, start: Floats, metric: Floats, centre: Floats, *, below: float, seed: int, rounds: int = 8) -> Floats:
    """Move violating points outward in the metric ``x'Px`` while their value stays at most ``below``: the points (B, n) reached."""
    rng = np.random.default_rng(seed)
    factor = np.linalg.inv(np.linalg.cholesky(metric)).T
    best, radius = start, 0.3
    for _ in range(rounds):
        far = np.einsum("bi,ij,bj->b", best - centre, metric, best - centre)
        best = best[np.argsort(-far)[:40]]
        size = np.sqrt(np.einsum("bi,ij,bj->b", best - centre, metric, best - centre)).max(initial=0.0)
        around = np.repeat(best, 30, axis=0)
        more = measure(function, around + radius * size * rng.standard_normal(around.shape) @ factor.T)
        best = np.concatenate([best, more.x[~(more.decrease < 0) & (more.value <= below)]])
        radius *= 0.7
    return best


def lowest_on_boundary(function: FloatFunction, lo: Floats, hi: Floats, *, count: int, seed: int, rounds: int = 12) -> tuple[float, Floats]:
    """Smallest value found on the boundary of the box, and where."""
    rng = np.random.default_rng(seed)
    n = len(lo)
    side = rng.integers(0, 2 * n, count)
    x = rng.uniform(lo, hi, (count, n))
    axis, upper = side % n, side >= n

    def project(points: Floats, axis: np.ndarray, upper: np.ndarray) -> Floats:
        points = np.clip(points, lo, hi)
        points[np.arange(len(points)), axis] = np.where(upper, hi[axis], lo[axis])
        return points

    x = project(x, axis, upper)
    value = function.value(x)
    radius = 0.05 * (hi - lo)
    for _ in range(rounds):
        order = np.argsort(value)[:48]
        x, value, axis, upper = x[order], value[order], axis[order], upper[order]
        more_axis, more_upper = np.repeat(axis, 24), np.repeat(upper, 24)
        more = project(np.repeat(x, 24, axis=0) + radius * rng.uniform(-1, 1, (len(more_axis), n)), more_axis, more_upper)
        x, value = np.concatenate([x, more]), np.concatenate([value, function.value(more)])
        axis, upper = np.concatenate([axis, more_axis]), np.concatenate([upper, more_upper])
        radius = radius * 0.6
    k = int(np.argmin(value))
    return float(value[k]), x[k]


def replay(stage: Stage, x: Floats) -> str | None:
    """Prove at one point that the stage's claim is false, or return None.

    Returns
    -------
    str or None
        The reason, with the enclosed numbers.  Direction: a sentence is returned only when the enclosures prove it.
    """
    point = x[None].astype(float)
    if not ((point >= stage.inner_lo).all() and (point <= stage.inner_hi).all()):
        return None
    with np.errstate(all="ignore"):
        if not stage.inside(point, point).all():
            return None
        for function, level in stage.inner:
            if not stage.value(function, point, point)[0][0] > function.thresholds(level)[1]:
                return None
        found = stage.evaluate(point, point)
        if found.least[0] >= 0:
            kind = "dV/dt" if stage.time == "continuous" else "V(x+) - V(x)"
            return f"{kind} >= {found.least[0]:.3g} although V(x) is within the level"
        if found.image is not None and ((found.image[0] > stage.hi) | (found.image[1] < stage.lo)).any():
            return "the next state is outside the domain although V(x) is within the level"
        touches = (point <= stage.inner_lo) | (point >= stage.inner_hi)
        if stage.time == "continuous" and not stage.contained and touches.any():
            return "V(x) is within the level on the boundary of the domain"
    return None


def find(stage: Stage, candidates: Floats, *, most: int = 200) -> Witness | None:
    """The first of the candidates (B, n) that replays."""
    for x in candidates[:most]:
        why = replay(stage, x)
        if why is not None:
            return Witness(tuple(float(v) for v in x), why)
    return None
