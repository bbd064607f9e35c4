"""A quadratic for a loop that measurement errors push: of several Lyapunov solutions the one whose level set in the target is kept best."""

from __future__ import annotations

import numpy as np

from verifiers.kernel.graph import Floats
from verifiers.region import quadratic as quad
from verifiers.region.sampling import FloatLoop, float_quadratic

SHARES, SAMPLES, KEPT, MARGIN = (0.0, 0.3, 0.6, 0.85), 3000, 0.8, 0.25
"""Shares of the linearised loop's own decay that are asked for, states drawn for each P, how near its unsteady set may come to the edge, and the
share of that decay, relative to V, below which a sampled decrease counts as none: a smaller one is true and too slight for boxes to show."""


def steadiest_quadratic(loop: FloatLoop, centre: Floats, box: tuple[Floats, Floats], target: tuple[Floats, Floats], seed: int = 0) -> Floats | None:
    r"""P (n, n) of an ellipsoid about the centre that decreases, under every corner of the unknown constants, from far outside of it to inside.

    For each P let *top* be the largest level that fits into the target and *low* the largest sampled value below it at which V need not decrease by
    a margin; a region is kept where low < top.  Of those with low <= 0.8 top the one is taken whose level set, up to the next sampled violation, is
    largest; else the one with the least low/top.

    Parameters
    ----------
    loop : FloatLoop
        With the corners as its ``vertices``.
    centre : ndarray
        The equilibrium (n,).
    box, target : (ndarray, ndarray)
        Corners of domain and target.

    Returns
    -------
    ndarray or None
        None where the linearised loop is not stable.  Direction: samples, hence no proof.
    """
    n, jacobian = len(centre), loop.jacobian(centre)
    widths = [np.minimum(hi - centre, centre - lo) for lo, hi in (box, target)]
    eigenvalues = np.linalg.eigvals(jacobian)
    decay = -2 * float(eigenvalues.real.max()) if loop.time == "continuous" else 1 - float(np.abs(eigenvalues).max()) ** 2
    rng, best, score = np.random.default_rng(seed), None, (-1, -np.inf)
    way = rng.standard_normal((SAMPLES, n))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    for share in SHARES if decay > 0 else ():
        for weight in (np.diag(1 / widths[0]**2), np.diag(1 / widths[1]**2), np.eye(n), np.diag(1 / widths[0])):
            p = quad.from_linearisation(jacobian, loop.time, weight, share * decay)
            if p is None:
                continue
            spread = np.diag(np.linalg.inv(p))
            edge, top = (float(np.min(width**2 / spread)) for width in widths)
            top = min(top, edge)
            if not top > 0:
                continue
            value = np.exp(rng.uniform(np.log(1e-4 * top), np.log(edge), SAMPLES))
            points = centre + np.sqrt(value)[:, None] * way @ np.linalg.inv(np.linalg.cholesky(p))
            bad = ~(float_quadratic(p, centre, loop).decrease(points) < -MARGIN * decay * value)
            low = float(value[bad & (value < top)].max(initial=0.0))
            high = float(value[bad & (value >= top)].min(initial=edge))
            size = n / 2 * np.log(high) - 0.5 * float(np.linalg.slogdet(p)[1])
            found = (1, size) if low <= KEPT * top and high > top else (0, -low / top if high > top else -np.inf)
            if best is None or found > score:
                best, score = p, found
    return best
