r"""A polynomial V of higher degree for a loop, fitted to samples by linear programming; a candidate for a proof, and nothing more.

Samples of the domain are simulated and parted into those that come near the equilibrium and the rest (where all do: those that leave the domain on
the way), then both sets are shrunk by a factor k < 1 towards it.  The linear programme looks for coefficients with

.. math:: -\nabla V(x) \cdot f(x) \ge \varepsilon |x - x^*|^2 \;\;(x \in k I),\qquad V(x) \ge 1 \;\;(x \in k O),\qquad
          \min \sum_{x \in k I} \max(0, V(x) - 1),

so that {V <= 1} fills the shrunk region.  Constraints are added where they are violated most, until none is.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from verifiers.kernel.graph import Bools, Floats
from verifiers.kernel.polynomial import Monomial, Polynomial
from verifiers.region.sampling import FloatLoop
from verifiers.sdp.rounding import significant
from verifiers.sdp.sos import monomials, scaled, values

SAMPLES, STEPS, DT = 12_000, 500, 0.04
FIRST, MORE, ROUNDS = 250, 60, 14
NEAR = 0.2
LARGEST = 50.0
"""Bound of the coefficients in the units asked for."""


def fit(loop: FloatLoop, centre: Floats, domain: tuple[Floats, Floats], degree: int, *, shrink: float = 0.992, rate: float = 0.003, seed: int = 0,
        units: Floats | None = None) -> Polynomial | None:
    """Fit V(x* + y) of this degree, without constant and linear terms.

    Parameters
    ----------
    loop : FloatLoop
        The loop in floats, of continuous time (V' falls) or discrete time (V(x+) - V(x) does).
    centre : (n,) array
        x*.
    domain : (lo, hi)
        Corners, each (n,).
    degree : int
        Of V, even.
    shrink, rate : float
        k and epsilon of the module's docstring; epsilon is a share of the linearised loop's rate (per square of the state, after scaling by the
        domain's half-widths).
    units : (n,) array, optional
        The coefficients of the monomials of y / units are at most ``LARGEST``; the domain's half-widths by default.

    Returns
    -------
    Polynomial or None
        In y, coefficients rounded to rationals; None where no sample converges or the programme fails.
    """
    half = (domain[1] - domain[0]) / 2
    start, inside = parted(loop, centre, domain, seed)
    y = shrink * (start - centre)
    eigenvalues = np.linalg.eigvals(loop.jacobian(centre))
    slack = -2 * float(eigenvalues.real.max()) if loop.time == "continuous" else 1 - float(np.abs(eigenvalues).max()) ** 2
    if not inside.any() or inside.all() or not slack > 0:
        return None
    basis = monomials(len(half), 2, degree)
    largest = np.array([LARGEST * float(np.prod((half / (half if units is None else units)) ** np.array(m))) for m in basis])
    found = _programme(_falls(loop, centre, y[inside], basis, half), (y[inside] / half, y[~inside] / half), basis, (rate * slack, largest), seed)
    return None if found is None else scaled(found, [1 / Fraction(float(h)) for h in half])


def parted(loop: FloatLoop, centre: Floats, domain: tuple[Floats, Floats], seed: int = 0) -> tuple[Floats, Bools]:
    """States of the domain (``SAMPLES``, n), and which of them come near the equilibrium; where all do, which stay in the domain."""
    lo, hi = domain
    start = np.random.default_rng(seed).uniform(lo, hi, (SAMPLES, len(lo)))
    with np.errstate(all="ignore"):
        path = np.asarray(loop.trajectory(start, STEPS, DT))
        near = np.asarray((np.abs(path[-1] - centre) < NEAR * (hi - lo) / 2).all(axis=1))
        return start, near if not near.all() else np.asarray(((path >= lo) & (path <= hi)).all(axis=(0, 2)))


def _falls(loop: FloatLoop, centre: Floats, near: Floats, basis: Sequence[Monomial], half: Floats) -> Floats:
    """The fall of each monomial of y / half (B, m) along the loop, per square of y / half, at these points and at some nearer to x*."""
    close = np.concatenate([near, *(factor * near[:500] for factor in (0.3, 0.1, 0.03))])
    f, z = loop.field(centre + close), close / half
    single = [Polynomial({m: Fraction(1)}) for m in basis]
    if loop.time == "discrete":
        after = (f - centre) / half
        slopes = np.stack([values(p, after) - values(p, z) for p in single], axis=1)
    else:
        slopes = np.stack([sum(values(p.derivative(i), z) * f[:, i] / half[i] for i in range(len(half))) for p in single], axis=1)
    return np.asarray(slopes / (z**2).sum(axis=1, keepdims=True))


def _programme(falls: Floats, points: tuple[Floats, Floats], basis: tuple[Monomial, ...], options: tuple[float, Floats], seed: int
               ) -> Polynomial | None:
    """The linear programme of the module's docstring: points inside and outside; epsilon and the coefficients' bounds."""
    (near, far), (rate, largest) = points, options
    rng = np.random.default_rng(seed)
    low, high = (np.stack([values(Polynomial({m: Fraction(1)}), at) for m in basis], axis=1) for at in (near, far))
    kept = [set(rng.choice(len(a), min(FIRST, len(a)), replace=False).tolist()) for a in (falls, high, low)]
    coefficients = None
    for _ in range(ROUNDS):
        a, b, c = (sorted(k) for k in kept)
        rows = sparse.vstack([sparse.hstack([sparse.csr_matrix(falls[a]), sparse.csr_matrix((len(a), len(c)))]),
                              sparse.hstack([sparse.csr_matrix(-high[b]), sparse.csr_matrix((len(b), len(c)))]),
                              sparse.hstack([sparse.csr_matrix(low[c]), -sparse.identity(len(c))])]).tocsr()
        limits = np.concatenate([np.full(len(a), -rate), -np.ones(len(b)), np.ones(len(c))])
        cost = np.concatenate([np.zeros(len(basis)), np.full(len(c), 1 / len(c))])
        found = linprog(cost, A_ub=rows, b_ub=limits, bounds=[*((-b, b) for b in largest), *([(0, None)] * len(c))], method="highs")
        if found.status != 0:
            break
        coefficients = found.x[:len(basis)]
        broken = falls @ coefficients + rate, 1 - high @ coefficients, low @ coefficients - 1
        if broken[0].max() < 0.02 * rate and broken[1].max() < 2e-3:
            break
        for k, violation in zip(kept, broken, strict=True):
            k |= {int(i) for i in np.argsort(-violation)[:MORE] if violation[i] > 0}
    if coefficients is None:
        return None
    return Polynomial({m: v for m, v in zip(basis, significant(coefficients, 30), strict=True) if v})
