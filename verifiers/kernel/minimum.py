r"""Lower bounds of quadratic polynomials over the box :math:`[-1, 1]^n`, alone and under constraints.

A polynomial is a triple ``p`` (1 + s, R), ``q`` (pairs, R), ``e`` (R,) of a :class:`verifiers.kernel.taylor.Model` with one entry.
Direction: every bound is at most the true minimum.
"""

from __future__ import annotations

import numpy as np

from verifiers.kernel.graph import Floats
from verifiers.kernel.jets import TINY, U
from verifiers.kernel.taylor import Model, TaylorReading, total

STEPS, ROUND, STIFFNESS = 20, 5, 2.0


def least(reading: TaylorReading, model: Model) -> Floats:
    r"""Lower bounds (R, m): the model's own, or :math:`p_0 - \sum_k |p_k| - \sum_{i<j} |q_{ij}| - \sum_i \max(0, -q_{ii}) - e`."""
    return np.fmax(model.lo, _least(reading, model.p, model.q, model.e))


def _least(reading: TaylorReading, p: Floats, q: Floats, e: Floats) -> Floats:
    spread = total(p[1:]) + _spread(reading, q, 0) + e
    return np.asarray(p[0] - spread * (1 + 8 * U) - 4 * U * np.abs(p[0]))


def _spread(reading: TaylorReading, q: Floats, first: int) -> Floats:
    """How far the quadratic terms from number ``first`` on can go below 0, rounded up."""
    square = reading.square[first:len(q)].reshape(-1, *(1,) * (q.ndim - 1))
    return total(np.where(square, np.minimum(q[first:], 0.0), q[first:]))


def hessian(reading: TaylorReading, q: Floats, n: int) -> Floats:
    """Symmetric matrices H (R, n, n) with ``v' H v / 2`` the quadratic part (pairs, R) in the first n variables; exact."""
    many = reading.pairs(n)
    h = np.zeros((q.shape[1], n, n))
    h[:, reading.first[:many], reading.second[:many]] = q[:many].T
    return h + h.transpose(0, 2, 1)


def least_by_tangent(reading: TaylorReading, p: Floats, q: Floats, e: Floats) -> Floats:
    r"""Lower bounds (R,) from a tangent of a convex function below the polynomial.

    .. math:: p(v) \ge m(v) = p(v) + \sum_i d_i (v_i^2 - 1) \ge m(z) + \sum_i \min_{-1 \le v_i \le 1} \partial_i m(z)\,(v_i - z_i)

    for any z in the box (here some steps of projected gradient descent) and any :math:`d \ge 0` with :math:`H + 2\,\mathrm{diag}(d) \succeq 0`; v are
    the inputs and the paired symbols.  Other symbols count at their worst.

    Notes
    -----
    Such a d: let L, Q be factors of any quality and :math:`R = H - Q L Q^\top`.  Columns with a positive factor add something positive
    semidefinite; for the others :math:`(Q_k^\top t)^2 \le \bigl(\sum_j |Q_{jk}|\bigr) \sum_i |Q_{ik}|\,t_i^2` (Cauchy and Schwarz), and
    :math:`R \succeq -\|R\|_F I`.  So nothing is assumed of the eigenvalue routine.

    References
    ----------
    .. [1] C. Adjiman et al., A global optimization method, alphaBB, for general twice-differentiable constrained NLPs, Comput. Chem. Eng. 22 (1998).
    """
    n = min(reading.paired, len(p) - 1)
    h, g = hessian(reading, q, n), p[1:1 + n].T
    known = np.asarray(np.isfinite(h).all(axis=(1, 2)) & np.isfinite(g).all(axis=1))
    h, g = np.where(known[:, None, None], h, 0.0), np.where(known[:, None], g, 0.0)
    factor, columns = np.linalg.eigh(h)
    wide, grown = np.abs(columns), 1 + 8 * (n + 4) * U
    miss = np.abs(h - (columns * factor[:, None, :]) @ columns.transpose(0, 2, 1))
    miss += 4 * (n + 4) * U * ((wide * np.abs(factor)[:, None, :]) @ wide.transpose(0, 2, 1) + np.abs(h))
    gap = np.sqrt((miss * miss).sum(axis=(1, 2)))
    d = 0.5 * grown * (np.einsum("rik,rk->ri", wide, np.maximum(-factor, 0.0) * wide.sum(axis=1)) + gap[:, None]) + TINY
    z, step = np.zeros_like(g), 1.0 / np.maximum(np.abs(h).sum(axis=2) + 2 * d, 1e-300)
    for _ in range(STEPS):
        z = np.clip(z - step * (g + np.einsum("rij,rj->ri", h, z) + 2 * d * z), -1.0, 1.0)
    slope = g + np.einsum("rij,rj->ri", h, z) + 2 * d * z
    ends = (np.abs(slope) + slope * z).sum(axis=1)
    at = p[0] + np.einsum("ri,ri->r", g, z) + 0.5 * np.einsum("ri,rij,rj->r", z, h, z) - (d * (1.0 - z * z)).sum(axis=1)
    # chains of at most 4n + 16 operations on terms that sum to at most 8 (|p|_1 + |q|_1 + |d|_1), and more
    slack = 32 * (n + 8) ** 2 * U * (total(p) + total(q) + d.sum(axis=1))
    found = at - ends - (e + total(p[1 + n:]) + slack) * (1 + 8 * U)
    return np.where(known, found, -np.inf)


def least_under(reading: TaylorReading, p: Floats, q: Floats, e: Floats, given_p: Floats, given_q: Floats, given_e: Floats) -> Floats:
    r"""Lower bounds (R,) over the points where each of m polynomials c, given as (., R, m), is at most 0: :math:`\min p + \sum_k w_k c_k`.

    Notes
    -----
    Weak duality: at such a point :math:`\sum_k w_k c_k \le 0`, whatever :math:`w \ge 0` is.  Here w is what a few steps of an augmented Lagrangian
    method give.
    """
    w = _weights(reading, p, q, given_p, given_q)
    part = (w * (total(given_p) + total(given_q) + given_e)).sum(axis=1)
    e = e + (w * given_e).sum(axis=1) + 4 * (w.shape[1] + 4) * U * (total(p) + total(q) + part)
    p, q = p + np.einsum("rm,krm->kr", w, given_p), q + np.einsum("rm,krm->kr", w, given_q)
    return np.fmax(_least(reading, p, q, e), least_by_tangent(reading, p, q, e))


def _weights(reading: TaylorReading, p: Floats, q: Floats, given_p: Floats, given_q: Floats) -> Floats:
    """Weights (R, m), finite and at least 0, for which the minimum is nearly the largest: a heuristic, of which nothing is assumed."""
    n, tiny = reading.n, 1e-300
    size_p, size_c = total(p[1:1 + n]) + total(q) + tiny, total(given_p[1:1 + n]) + total(given_q) + tiny
    g, h = (p[1:1 + n] / size_p).T, hessian(reading, q / size_p, n)
    start, slopes = given_p[0] / size_c, (given_p[1:1 + n] / size_c).transpose(1, 2, 0)
    pairs, rows, many = given_q.shape
    bends = hessian(reading, (given_q / size_c).reshape(pairs, rows * many), n).reshape(rows, many, n, n)
    bent = np.abs(bends).sum(axis=3)
    stiff = np.abs(h).sum(axis=2) + STIFFNESS * (np.abs(slopes) + bent).sum(axis=1) + tiny
    z, w, before = np.zeros((rows, n)), np.zeros((rows, many)), np.zeros((rows, many))
    for k in range(STEPS):
        turned = np.einsum("rmij,rj->rmi", bends, z)
        value = start + np.einsum("rmi,ri->rm", slopes + 0.5 * turned, z)
        w = np.maximum(0.0, before + STIFFNESS * value)
        if k % ROUND == ROUND - 1:
            before = w
        slope = g + np.einsum("rij,rj->ri", h, z) + np.einsum("rm,rmi->ri", w, slopes + turned)
        z = np.clip(z - slope / (stiff + np.einsum("rm,rmi->ri", w, bent)), -1.0, 1.0)
    w = w * (size_p[:, None] / size_c)
    return np.where(np.isfinite(w), w, 0.0)
