"""Points and paths for figures: where rays leave the region, and trajectories of the loop.  Float64, for eyes only."""

from __future__ import annotations

import numpy as np

from certctl.view import View
from verifiers.kernel.graph import Floats, Graph
from verifiers.load.floats import evaluate

MAX_STEPS = 8000
_FIRST = 1e-7
_SAMPLES, _HALVINGS = {2: 160}, {2: 40}  # in more states there are many rays, and 48 and 14 are plenty


def boundary_points(view: View, count: int = 24, seed: int = 0) -> Floats:
    """Points (k, n), k <= count, just inside the region's edge: rays from the equilibrium to where they first leave it or the domain.

    Parameters
    ----------
    view : View
        An opened bundle.
    count : int
        Number of rays; evenly spread angles in two states, random directions (scaled by the domain) in more.
    seed : int
        Of the random directions.

    Returns
    -------
    ndarray
        Empty when the equilibrium itself is not inside.
    """
    (lo, hi), start = view.domain, view.equilibrium
    half, n = (hi - lo) / 2, lo.size
    if n == 2:
        angle = 2 * np.pi * (np.arange(count) + 0.5) / count
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    else:
        direction = np.random.default_rng(seed).normal(size=(count, n))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction = direction * half
    with np.errstate(divide="ignore"):
        reach = np.where(direction > 0, (hi - start) / direction, np.where(direction < 0, (lo - start) / direction, np.inf)).min(axis=1)
    share = np.concatenate([[0.0], np.geomspace(_FIRST, 1.0, _SAMPLES.get(n, 48))])
    steps = share[None, :] * reach[:, None]
    inside = view.signed((start + steps[:, :, None] * direction[:, None, :]).reshape(-1, n)).reshape(count, -1) <= 0
    keep = inside[:, 0]
    if not keep.any():
        return np.zeros((0, n))
    first_out = np.where(inside.all(axis=1), share.size, np.argmin(inside, axis=1))
    low = steps[np.arange(count), np.maximum(first_out - 1, 0)]
    high = np.where(first_out < share.size, steps[np.arange(count), np.minimum(first_out, share.size - 1)], low)
    for _ in range(_HALVINGS.get(n, 14)):
        middle = (low + high) / 2
        within = view.signed(start + middle[:, None] * direction) <= 0
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return np.asarray((start + low[:, None] * direction)[keep])


def simulate(view: View, starts: Floats, *, close: float = 0.01, max_steps: int = MAX_STEPS) -> list[Floats]:
    """Trajectories (k_i, n) of the closed loop from ``starts`` (B, n).

    Continuous time: classical Runge-Kutta of fourth order with a step below the reciprocal of the fastest eigenvalue that samples show;
    discrete time: iteration of the map.  Each ends when all are within ``close`` of the equilibrium (as a share of the farthest start),
    when ``max_steps`` are done, or where it leaves three times the domain.
    """
    loop, rest = view.drawn.loop, view.equilibrium
    lo, hi = view.domain
    half, field = (hi - lo) / 2, loop.field
    discrete = loop.time == "discrete"
    x = np.atleast_2d(np.asarray(starts, dtype=np.float64))
    scale = max(float((np.abs(x - rest) / half).max(initial=0.0)), 1e-300)
    step = 1.0 if discrete else _step(field, x, rest, half)
    path = [x]
    with np.errstate(all="ignore"):
        for _ in range(max_steps):
            x = evaluate(field, x) if discrete else _runge_kutta(field, x, step)
            path.append(x)
            far = np.abs(x - rest) / half
            if not (np.nan_to_num(far, nan=np.inf).max(axis=1) <= 3).any() or float(np.nanmax(far)) < close * scale:
                break
    whole = np.stack(path)
    valid = np.isfinite(whole).all(axis=2) & (np.abs(whole - rest) / half <= 3).all(axis=2)
    length = np.where(valid.all(axis=0), whole.shape[0], np.argmin(valid, axis=0))
    return [_thinned(whole[: length[k], k]) for k in range(whole.shape[1])]


def jacobian(graph: Graph, x: Floats, half: Floats) -> Floats:
    """Central differences (B, k, n) of a graph at points (B, n), steps of 1e-6 of the half-widths (n,)."""
    columns = []
    for i, width in enumerate(half):
        shift = np.zeros(x.shape[1])
        shift[i] = 1e-6 * width
        columns.append((evaluate(graph, x + shift) - evaluate(graph, x - shift)) / (2 * shift[i]))
    return np.stack(columns, axis=2)


def _step(field: Graph, x: Floats, rest: Floats, half: Floats) -> float:
    shares = np.array([0.0, 0.01, 0.1, 0.3, 0.6, 1.0])
    points = (rest + shares[:, None, None] * (x - rest)).reshape(-1, rest.size)
    slopes = jacobian(field, points, half)
    slopes = slopes[np.isfinite(slopes).all(axis=(1, 2))]
    rates = np.abs(np.linalg.eigvals(slopes)) if slopes.size else np.ones((1, 1))
    fastest, slowest = max(float(rates.max()), 1e-9), max(float(rates[0].min()), 1e-9)
    return (0.5 if fastest > 100 * slowest else 0.1) / fastest


def _runge_kutta(field: Graph, x: Floats, h: float) -> Floats:
    k1 = evaluate(field, x)
    k2 = evaluate(field, x + h / 2 * k1)
    k3 = evaluate(field, x + h / 2 * k2)
    k4 = evaluate(field, x + h * k3)
    return np.asarray(x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))


def _thinned(path: Floats, most: int = 1500) -> Floats:
    if path.shape[0] <= most:
        return path
    return np.asarray(path[np.unique(np.linspace(0, path.shape[0] - 1, most).astype(int))])
