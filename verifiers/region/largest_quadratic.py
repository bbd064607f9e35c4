"""The search for a quadratic where no function is named: the one with the largest sampled ellipsoid."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from verifiers.kernel.graph import Floats
from verifiers.region import ellipsoid
from verifiers.region import quadratic as quad
from verifiers.region.sampling import FloatLoop

if TYPE_CHECKING:
    from verifiers.region.attraction import Work

RESERVE = 0.05
"""Share of the linearised loop's rate that a quadratic of ours has to keep everywhere, so that boxes find room to prove it."""
WIDE_RESERVE = 0.15
"""The same beyond ``POLISHED`` states, where samples are thin and boxes many."""
ROUNDS = 300
"""Generations of the evolution strategy for each state."""
POLISHED = 3
"""Largest number of states for which a few random changes of a quadratic find the best one; beyond it an evolution strategy does."""


def _reserve(loop: FloatLoop, x: Floats) -> Fraction:
    """A small share of the rate at which the linearised loop decays: a quadratic that decays no faster than nothing has no proof by boxes."""
    eigenvalues = np.concatenate([np.linalg.eigvals(each.jacobian(x)) for each in loop.all])
    slack = -2 * float(eigenvalues.real.max()) if loop.time == "continuous" else 1 - float(np.abs(eigenvalues).max()) ** 2
    return Fraction((RESERVE if len(x) <= POLISHED else WIDE_RESERVE) * max(slack, 0.0))


def best_quadratic(work: Work, origin: tuple[Fraction, ...], linear: bool = False, starts: Sequence[Floats] = ()
                   ) -> tuple[Floats, float] | None:
    """The quadratic with the largest sampled ellipsoid, and its level: Lyapunov solutions and ``starts``, fits on growing sets, then a polish.

    Beyond ``POLISHED`` states an evolution strategy takes the place of the polish.  Where the caller has guesses, at level 1 each, only their level
    is searched.  None where the linearised loop is not stable.
    """
    centre = np.array([float(v) for v in origin])
    lo, hi = work.box
    n, jacobian = len(origin), work.loop.jacobian(centre)
    if work.guesses:  # whoever guesses has searched
        guessed = [(p, min(1.0, quad.sampled_level(work.loop, p, centre, lo, hi, work.setting.rate, work.seed + 1, 60_000))) for p in work.guesses]
        return max(guessed, key=lambda each: n * math.log(each[1]) - float(np.linalg.slogdet(each[0])[1]))
    rate = work.setting.rate or _reserve(work.loop, centre)
    width = np.minimum(hi - centre, centre - lo)
    weights = [np.diag(1 / width**2), np.eye(n), np.diag(1 / width)]
    found = [p for p in (quad.from_linearisation(jacobian, work.loop.time, w, float(rate)) for w in weights) if p is not None]
    found += starts
    if not found:
        return None

    spread = quad.interval_jacobian(work.setting.loop.field, work.where) if work.loop.vertices and work.where is not None else None

    def volume(p: Floats, count: int = 6000) -> float:
        if spread is not None and not quad.robust(p, *spread, work.loop.time, float(work.setting.rate)) > 0:
            return -math.inf
        level = quad.sampled_level(work.loop, p, centre, lo, hi, rate, work.seed, count)
        return n / 2 * math.log(max(level, 1e-300)) - 0.5 * float(np.linalg.slogdet(p)[1])

    if spread is not None and all(volume(p) == -math.inf for p in found):
        found += [quad.more_robust(p, *spread, work.loop.time, float(work.setting.rate)) for p in found]
    best = max(found, key=volume)
    score = volume(best)
    rng = np.random.default_rng(work.seed)
    for factor in () if linear else (1.3, 1.3, 1.3, 1.3):  # a linear loop decreases at every scale or at none: samples further out say nothing new
        level = quad.sampled_level(work.loop, best, centre, lo, hi, rate, work.seed, 6000)
        direction = rng.standard_normal((500, n))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        points = direction @ np.linalg.cholesky(np.linalg.inv(best)).T * math.sqrt(level) * factor
        p = quad.fit(work.loop, quad.scaled_samples(points, 8), centre, float(rate))
        if p is None or not volume(p) > score:
            break
        best, score = p, volume(p)
    if n > POLISHED and not linear and spread is None:
        wide = _widen(work, best, centre, width, float(rate))
        level = quad.sampled_level(work.loop, best if wide is None else wide, centre, lo, hi, rate, work.seed + 1, 60_000)
        return (best, level) if wide is None else (wide, min(level, 1.0))
    factor, step = np.linalg.cholesky(best), 0.2
    for trial in range(80 if n <= 4 else 30):
        new = factor * (1 + step * rng.standard_normal(factor.shape)) + step * 0.1 * np.tril(rng.standard_normal(factor.shape)) * np.abs(factor).max()
        new = np.tril(new)
        p = new @ new.T
        if np.linalg.cond(p) < 1e12 and (value := volume(p)) > score:
            factor, best, score = new, p, value
        elif trial % 10 == 9:
            step *= 0.7
    return best, quad.sampled_level(work.loop, best, centre, lo, hi, rate, work.seed + 1, 60_000)


def _widen(work: Work, p: Floats, centre: Floats, width: Floats, rate: float) -> Floats | None:
    """The largest sampled ellipsoid, in the domain's units; None where there is none."""
    n, field = len(centre), work.loop.field
    shift = 0.0 if work.loop.time == "continuous" else centre
    jacobian = work.loop.jacobian(centre) * width / width[:, None]
    loop = ellipsoid.Loop(lambda gains, z: (field(centre + z * width) - shift) / width, lambda gains: jacobian, work.loop.time, rate)
    found = ellipsoid.widen(loop, p * width * width[:, None], np.zeros(0), seed=work.seed, rounds=ROUNDS * n,
                            deadline=time.monotonic() + 0.25 * work.left)
    return None if found is None else found[0] / width / width[:, None]
