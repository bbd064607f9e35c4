r"""The largest ellipsoid on whose samples a quadratic decreases, with the gains of the loop free or fixed.

In :math:`\xi = (x - x^*) / L`, with L the distances from the equilibrium to the nearer faces of the domain, maximise

.. math:: -\tfrac12 \log\det P \quad\text{s.t.}\quad (P^{-1})_{ii} \le 1,\quad 2\,\xi^\top P f(\xi) \le -\rho\, \xi^\top P \xi
          \;\;\text{on}\;\; \xi^\top P \xi \le 1

(in discrete time :math:`f^\top P f \le (1 - \rho)\,\xi^\top P \xi`) over P and the gains, by an exact penalty and an evolution strategy.  The
states are a cloud of the unit ball, mapped into each ellipsoid, which grows by climbing from its worst states; a working set of it is looked at.
At the equilibrium the condition is one on eigenvalues of the Jacobian, which no cloud in four dimensions would show.

Direction: an estimate, nothing here is proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from verifiers.kernel.graph import Floats
from verifiers.region.evolution import evolve

FIRST, MORE, MOST, FRESH = 1500, 120, 4000, 8000
"""States of the first working set; how many join it after each judgement; how many make it too large, so that the worse half stays;
how many new ones each judgement looks at."""
WIDTHS = tuple(0.3 * 0.7**k for k in range(12))
"""Widths of the random steps that look for worse states, as shares of the distance from the equilibrium."""


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop in scaled coordinates with gains: offsets (B, n) to their rates (or next offsets), the Jacobian (n, n) at 0, and rho."""

    field: Callable[[Floats, Floats], Floats]
    jacobian: Callable[[Floats], Floats]
    time: str
    rate: float


@dataclass(eq=False)
class _Search:
    """Scores of (gains, Cholesky factor of P); ``slack`` is the unit of violations."""

    loop: Loop
    n: int
    slack: float
    cloud: Floats
    active: Floats
    rng: np.random.Generator
    penalty: float = 3.0
    lower: tuple[NDArray[np.intp], NDArray[np.intp]] = field(init=False)

    def __post_init__(self) -> None:
        self.lower = np.tril_indices(self.n)

    def split(self, v: Floats) -> tuple[Floats, Floats]:
        """Gains, and the factor of P, made larger where the ellipsoid would leave the box."""
        count = self.lower[0].size
        factor = np.zeros((self.n, self.n))
        factor[self.lower] = v[v.size - count:]
        inverse = np.linalg.inv(factor)
        return v[:v.size - count], factor * max(1.0, math.sqrt(float((inverse**2).sum(axis=0).max())))

    def violations(self, gains: Floats, factor: Floats, y: Floats) -> tuple[Floats, float]:
        """Excess of the rate (B,) at states (B, n) of the unit ball, mapped into the ellipsoid, and at the equilibrium."""
        loop, inverse = self.loop, np.linalg.inv(factor)
        z = y @ inverse
        with np.errstate(all="ignore"):
            f = loop.field(gains, z) @ factor
            size = (y * y).sum(axis=1)
            j = factor.T @ loop.jacobian(gains) @ inverse.T
            if loop.time == "continuous":
                return 2 * (y * f).sum(axis=1) / size + loop.rate, float(np.linalg.eigvalsh(j + j.T)[-1]) + loop.rate
            return (f * f).sum(axis=1) / size - 1 + loop.rate, float(np.linalg.eigvalsh(j.T @ j)[-1]) - 1 + loop.rate

    def score(self, v: Floats) -> float:
        """Logarithm of the volume, less the penalty of the worst violation of the working set."""
        try:
            gains, factor = self.split(v)
            found, local = self.violations(gains, factor, self.active)
        except np.linalg.LinAlgError:
            return -math.inf
        worst = max(0.0, float(found.max()), local) / self.slack
        return -float(np.log(np.abs(factor.diagonal())).sum()) - self.penalty * worst

    def judge(self, v: Floats) -> float:
        """Logarithm of the volume if the whole cloud decreases, else minus infinity; what it violates, or nearly, joins the working set."""
        self.cloud = np.concatenate([self.cloud, ball(self.rng, FRESH, self.n)])
        try:
            gains, factor = self.split(v)
            found, local = self.violations(gains, factor, self.cloud)
        except np.linalg.LinAlgError:
            return -math.inf
        worst = self.cloud[np.argsort(-np.nan_to_num(found, nan=math.inf))[:MORE]]
        climbed, most = self._climb(gains, factor, worst)
        self.cloud = np.concatenate([self.cloud[:-FRESH], climbed])
        self.active = np.unique(np.concatenate([self.active, worst, climbed]), axis=0)
        if len(self.active) > MOST:
            self.active = self.active[np.argsort(-self.violations(gains, factor, self.active)[0])[:MOST // 2]]
        if max(float(found.max()), most, local) <= 0:
            return -float(np.log(np.abs(factor.diagonal())).sum())
        self.penalty *= 1.1
        return -math.inf

    def _climb(self, gains: Floats, factor: Floats, y: Floats) -> tuple[Floats, float]:
        """States of the ball near these (B, n) that are worse, by random steps that shrink, and the worst excess."""
        best = self.violations(gains, factor, y)[0]
        for width in WIDTHS:
            near = y + width * np.linalg.norm(y, axis=1, keepdims=True) * self.rng.standard_normal(y.shape)
            near /= np.maximum(1.0, np.linalg.norm(near, axis=1, keepdims=True))
            found = self.violations(gains, factor, near)[0]
            better = found > best
            y, best = np.where(better[:, None], near, y), np.where(better, found, best)
        return y, float(best.max())


def ball(rng: np.random.Generator, count: int, n: int) -> Floats:
    """States (count, n) of the unit ball: a third on the sphere, a third at any distance alike, a third down to a thousandth."""
    y, third = rng.standard_normal((count, n)), count // 3
    radius = np.concatenate([np.ones(third), rng.uniform(0, 1, third), 10 ** -rng.uniform(0, 3, count - 2 * third)])
    return np.asarray(y * (rng.permutation(radius) / np.linalg.norm(y, axis=1))[:, None])


def widen(loop: Loop, p: Floats, gains: Floats, *, seed: int, rounds: int, states: int = 20_000, deadline: float = math.inf
          ) -> tuple[Floats, Floats] | None:
    """Make an ellipsoid as large as samples allow.

    Parameters
    ----------
    loop : Loop
        The loop in scaled coordinates, about 0; the domain is ``[-1, 1]^n``.
    p : ndarray
        P (n, n) to begin with, of any size.
    gains : ndarray
        First gains (k,), none for a loop that is fixed.
    seed : int
        Of the cloud and the strategy.
    rounds : int
        Generations at most.
    states : int
        Of the cloud.
    deadline : float
        Of ``time.monotonic``.

    Returns
    -------
    (ndarray, ndarray) or None
        P (n, n) at whose level 1 the quadratic decreases on all samples, and the gains (k,); None where no size of the first P does.
    """
    n, rng = len(p), np.random.default_rng(seed)
    cloud = ball(rng, states, n)
    j = loop.jacobian(gains)
    own = -2 * float(np.linalg.eigvals(j).real.max()) if loop.time == "continuous" else 1 - float(np.abs(np.linalg.eigvals(j)).max()) ** 2
    if not own > 0:
        return None
    search = _Search(loop, n, own, cloud, cloud[:FIRST], rng)
    try:
        factor = np.linalg.cholesky(p / np.trace(p))
    except np.linalg.LinAlgError:
        return None
    for _ in range(60):
        start = np.concatenate([gains, factor[search.lower]])
        if search.judge(start) > -math.inf:
            break
        factor = 1.25 * factor
    else:
        return None
    factor = search.split(start)[1]
    start = np.concatenate([gains, factor[search.lower]])
    search.penalty = 3.0
    size = np.abs(start)
    spread = np.concatenate([np.maximum(part, 0.1 * part.max(initial=0.0)) for part in (size[:gains.size], size[gains.size:])])
    found, _ = evolve(search.score, search.judge, start, spread, rounds=rounds, seed=seed, deadline=deadline)
    gains, factor = search.split(found)
    return np.asarray(factor @ factor.T), gains
