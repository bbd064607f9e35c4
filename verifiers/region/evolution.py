"""Evolution strategy with an adapted covariance, for objectives that are only piecewise smooth and cost little."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from verifiers.kernel.graph import Floats

EVERY = 20
"""Rounds between two judgements of the mean."""
STILL = 1e-5
"""Step size, as a share of the spread, below which nothing more is expected."""
ENOUGH, PATIENCE = 2e-3, 12
"""The search ends when so many judgements in a row have not added this much."""


def evolve(score: Callable[[Floats], float], judge: Callable[[Floats], float], start: Floats, spread: Floats, *, rounds: int, seed: int,
           step: float = 0.05, deadline: float = math.inf) -> tuple[Floats, float]:
    r"""Maximise ``score`` by CMA-ES with weighted recombination, rank-one and rank-mu updates.

    .. math:: x_k = m + \sigma\,y_k,\; y_k \sim \mathcal N(0, C),\qquad m \leftarrow m + \sigma \sum_{i \le \mu} w_i\, y_{i:\lambda}

    Parameters
    ----------
    score : callable
        Of a point (n,); larger is better.  It may change at each judgement, for instance by a growing set of states.
    judge : callable
        The score that counts, of the mean, every ``EVERY`` rounds.
    start, spread : ndarray
        First mean (n,), and the lengths (n,) in which the coordinates are comparable.
    rounds : int
        Generations at most.
    seed : int
        Of the normal samples.
    step : float
        First step size, as a share of the spread.
    deadline : float
        Of ``time.monotonic``.

    Returns
    -------
    (ndarray, float)
        The mean (n,) that was judged best, the start included, and its judgement.

    References
    ----------
    .. [1] N. Hansen, The CMA evolution strategy: a tutorial, arXiv 1604.00772, equations (9) to (46) and table 1.
    """
    rng, n = np.random.default_rng(seed), start.size
    count = 8 + 2 * int(3 * math.log(n))
    weight = math.log(count / 2 + 0.5) - np.log(np.arange(1, count // 2 + 1))
    weight /= weight.sum()
    mass = 1 / float((weight**2).sum())
    c_path, c_step = (4 + mass / n) / (n + 4 + 2 * mass / n), (mass + 2) / (n + mass + 5)
    c_one = 2 / ((n + 1.3) ** 2 + mass)
    c_many = min(1 - c_one, 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass))
    damping, normal = 1 + c_step + 2 * max(0.0, math.sqrt((mass - 1) / (n + 1)) - 1), math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    mean, covariance, path, step_path = start / spread, np.eye(n), np.zeros(n), np.zeros(n)
    best, most, since = start, judge(start), 0
    for index in range(1, rounds + 1):
        values, axes = np.linalg.eigh(covariance)
        root = np.sqrt(np.maximum(values, 1e-20))
        moves = (rng.standard_normal((count, n)) * root) @ axes.T
        scores = np.nan_to_num([score((mean + step * y) * spread) for y in moves], nan=-math.inf)
        chosen = moves[np.argsort(-scores)[:count // 2]]
        move = weight @ chosen
        mean = mean + step * move
        step_path = (1 - c_step) * step_path + math.sqrt(c_step * (2 - c_step) * mass) * (axes @ (axes.T @ move / root))
        length = float(np.linalg.norm(step_path))
        steady = length / math.sqrt(1 - (1 - c_step) ** (2 * index)) < (1.4 + 2 / (n + 1)) * normal
        path = (1 - c_path) * path + steady * math.sqrt(c_path * (2 - c_path) * mass) * move
        covariance = (1 - c_one - c_many) * covariance + c_one * np.outer(path, path) + c_many * (chosen.T * weight) @ chosen
        step *= math.exp(min(1.0, c_step / damping * (length / normal - 1)))
        if index % EVERY == 0 or index == rounds:
            value, since = judge(mean * spread), since + 1
            if value > most + ENOUGH:
                since = 0
            if value > most:
                best, most = mean * spread, value
            if not step * root.max() > STILL or time.monotonic() > deadline or (since >= PATIENCE and most > -math.inf):
                break
    return best, most
