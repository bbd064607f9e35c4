"""Upper bounds of a function over a box by branch and bound: covering radii, norms of graphs, of their Jacobians.

Every number here is rounded outward in float64, and none is re-checked by the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.jets import Jet, JetReading, read_jets, split_boxes

Bounds = Callable[[Floats, Floats], tuple[Floats, Floats]]
SLACK = 2.0**-40
"""Relative slack for sums and roots of fewer than a thousand terms that are not negative: each rounding is at most 2**-53 of them."""
_POWERS, _BATCH = 12, 20_000


@dataclass(frozen=True)
class Maximum:
    """``upper`` is at least the supremum over the box; ``lower`` is a value near one that occurs (floats, no bound); boxes looked at."""

    upper: float
    lower: float
    boxes: int


def maximum(bounds: Bounds, lo: Floats, hi: Floats, *, gap: float = 0.02, most: int = 200_000, scale: Floats | None = None,
            enough: float = np.inf) -> Maximum:
    """Bound a function's supremum over a box from above.

    Parameters
    ----------
    bounds : callable
        Boxes (B, n), (B, n) to an upper bound of the supremum over each (-inf where the box does not matter), and a value in it (-inf for none).
    lo, hi : ndarray
        The box (n,).
    gap : float
        Boxes whose upper bound is within this share of the largest value seen are not split.
    most : int
        Boxes at most; then the bound is what it is.
    scale : ndarray, optional
        Lengths by which sides are compared, those of the box by default.
    enough : float
        Ends early once a value seen is above this: the supremum is then known to be too large for whoever asks.

    Returns
    -------
    Maximum
        ``upper`` is infinite where a bound is NaN.

    Notes
    -----
    Direction: over-approximation.  Soundness: the two halves of a box share their face as the same float, so the boxes cover what they are split
    from, and ``upper`` is the largest bound of the boxes that are left.
    """
    sides = np.asarray(hi - lo if scale is None else scale, dtype=np.float64)
    left, right = lo[None].astype(np.float64), hi[None].astype(np.float64)
    closed, best, seen = -np.inf, -np.inf, 0
    while len(left):
        parts = [bounds(left[k:k + _BATCH], right[k:k + _BATCH]) for k in range(0, len(left), _BATCH)]
        upper, value = (np.concatenate([part[j] for part in parts]) for j in (0, 1))
        upper = np.where(np.isnan(upper), np.inf, upper)
        seen += len(left)
        best = max(best, float(np.nan_to_num(value, nan=-np.inf).max()))
        done = upper <= best + gap * abs(best) if np.isfinite(best) else upper == -np.inf
        middle = 0.5 * left + 0.5 * right
        widest = np.argmax((right - left) / sides, axis=1)
        rows = np.arange(len(left))
        done |= ~((left < middle) & (middle < right))[rows, widest]
        closed = max(closed, float(upper[done].max(initial=-np.inf)))
        if seen + 2 * int((~done).sum()) > most or best > enough:
            return Maximum(max(closed, float(upper.max())), best, seen)
        left, right, middle, widest = (v[~done] for v in (left, right, middle, widest))
        rows = np.arange(len(left))
        first, second = right.copy(), left.copy()
        first[rows, widest] = second[rows, widest] = middle[rows, widest]
        left, right = np.concatenate([left, second]), np.concatenate([first, right])
    return Maximum(closed, best, seen)


def covering_radius(points: Floats, lo: Floats, hi: Floats, *, gap: float = 0.02, most: int = 400_000) -> Maximum:
    r"""Bound how far a point of a box can be from the data.

    .. math:: \epsilon = \sup_{x \in [lo, hi]} \min_i |x - x_i|_2

    Parameters
    ----------
    points : ndarray
        x_i (N, n), inside the box or outside.
    lo, hi : ndarray
        The box (n,), in the points' units.

    Returns
    -------
    Maximum
        ``upper`` is at least the covering radius.

    Notes
    -----
    Over a box B, :math:`\sup_{x \in B} \min_i |x - x_i| \le \min_{i \in S} \max_{x \in B} |x - x_i|` for any points S; S are the eight nearest to the
    middle, and the inner maximum is at a corner.  Sums of squares and roots carry the slack.
    """
    tree, count = cKDTree(points), min(8, len(points))

    def bounds(left: Floats, right: Floats) -> tuple[Floats, Floats]:
        near, which = tree.query(0.5 * left + 0.5 * right, k=count)
        p = points[which.reshape(len(left), count)]
        far = np.maximum(np.abs(left[:, None] - p), np.abs(right[:, None] - p))
        reach = np.sqrt((far * far).sum(axis=2)) * (1 + SLACK) + 1e-150
        return reach.min(axis=1), near.reshape(len(left), count)[:, 0]

    return maximum(bounds, lo, hi, gap=gap, most=most, scale=np.ones(len(lo)))


def value_norm(graph: Graph, lo: Floats, hi: Floats, *, gap: float = 0.02, most: int = 200_000) -> Maximum:
    """Bound the Euclidean norm of a graph's output over a box, by interval jets of first order."""
    def bounds(left: Floats, right: Floats) -> tuple[Floats, Floats]:
        _, jet = jets(graph, left, right)
        centre, low, high = np.abs(jet.mid[0]) - jet.rad[0], jet.mid[1] - jet.rad[1], jet.mid[1] + jet.rad[1]
        return norm_up(np.maximum(np.abs(low), np.abs(high))), np.sqrt((np.maximum(centre, 0.0) ** 2).sum(axis=1))

    return maximum(bounds, lo, hi, gap=gap, most=most)


def jets(graph: Graph, left: Floats, right: Floats) -> tuple[JetReading, Jet]:
    """Reading and first-order jet of a graph's first output over boxes (B, n)."""
    with np.errstate(all="ignore"):
        centre, radius = split_boxes(left, right)
        reading = JetReading(radius, 1)
        return reading, read_jets(graph, reading, reading.start(centre))


def derivative(jet: Jet, directions: slice) -> tuple[Floats, Floats]:
    """Midpoints and radii (B, m, k) of the Clarke Jacobian with respect to some directions."""
    part = slice(2 + directions.start, 2 + directions.stop)
    return tuple(np.ascontiguousarray(v[part].transpose(1, 2, 0)) for v in (jet.mid, jet.rad))  # type: ignore[return-value]


def norm_up(entries: Floats) -> Floats:
    """Upper bounds of Euclidean norms along the last axis of entries that bound absolute values."""
    with np.errstate(all="ignore"):
        return np.asarray(np.sqrt((entries * entries).sum(axis=-1)) * (1 + SLACK) + 1e-150)


def spectral_up(mid: Floats, rad: Floats) -> Floats:
    r"""Upper bounds (B,) of the spectral norm of every matrix in mid +- rad, (B, m, k) each.

    .. math:: \|A\|_2 \le \|(A_c^\top A_c)^{p}\|_F^{1/(2p)} + \|R\|_F, \qquad p = 2^{12}

    Notes
    -----
    Each squaring of an n x n matrix of Frobenius norm one is wrong by at most ``2 n**2 u``, and earlier errors double; in the root of order 2p the
    sum of all is below ``n**2 * 13 * 2**-52``, far inside the slack for n <= 64.  The factor n**(1/(4p)) by which a Frobenius norm exceeds a spectral
    one is 1.0003 at most.
    """
    with np.errstate(all="ignore"):
        g = mid.transpose(0, 2, 1) @ mid
        logarithm = np.zeros(len(mid))
        for k in range(_POWERS + 1):
            size = np.sqrt((g * g).sum(axis=(1, 2)))
            logarithm += np.log(size) / 2.0 ** (k + 1)  # -inf of a zero matrix, NaN of NaN
            if k < _POWERS:
                g = g / np.where(size == 0, 1.0, size)[:, None, None]
                g = g @ g
        return np.asarray(np.exp(logarithm) * (1 + 2 * SLACK) + norm_up(rad.reshape(len(rad), -1)) + 1e-150)


def growth_up(mid: Floats, rad: Floats) -> Floats:
    r"""Upper bounds (B,) of the logarithmic norm :math:`\lambda_{\max}((A + A^\top)/2)` of every square matrix in mid +- rad, (B, n, n) each.

    The symmetric part S is shifted by c, at least its norm, so that S + c is positive semidefinite and its spectral norm is its largest eigenvalue.
    """
    with np.errstate(all="ignore"):
        s = 0.5 * (mid + mid.transpose(0, 2, 1))
        shift = norm_up(s.reshape(len(s), -1))
        lifted = s + shift[:, None, None] * np.eye(s.shape[1])
        return np.asarray(spectral_up(lifted, rad + 4e-16 * np.abs(lifted)) - shift + SLACK * shift)
