r"""A polynomial V whose level set a polynomial loop never leaves, by sums of squares: a candidate for the box tree, and nothing more.

With y = x - m, m the middle of the domain, a rate kappa > 0 and sides g_i of the domain,

.. math:: -\nabla V \cdot f + \kappa\,(1 - V) - \sum_i s_i\, g_i = z^\top G z, \qquad G \succeq \tau I

makes V' < 0 in the domain wherever V = 1, and is linear in V.  The programme is that of :mod:`verifiers.sdp.expand` with the constant multiplier
-kappa: V is below 1 on the box that the set has to hold, at least 1 on the boundary of the domain, and as seldom above 1 as can be on simulated
states that stay.  No equilibrium is needed: the set may lie about a limit cycle.

References
----------
.. [1] S. Prajna, A. Jadbabaie, Safety verification of hybrid systems using barrier certificates, HSCC 2004.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats
from verifiers.kernel.polynomial import Polynomial, constant, polynomials, shifted
from verifiers.kernel.setting import Source
from verifiers.kernel.sos import constraints, polynomial_graph
from verifiers.region.attraction import Undecided, Work
from verifiers.sdp.expand import KEPT_OUT, WANTED, found_in, on_faces, search
from verifiers.sdp.programme import Unsolved, solve
from verifiers.sdp.sos import claim_terms, degrees, monomials, scaled, values

RATES = (0.1, 0.3, 1.0, 3.0)
"""Values of kappa that are tried, times the loop's own rate in the middle of the domain."""
TAUS = (1e-2, 1e-3, 1e-4)
DEGREE, SAMPLES, STEPS, EDGE, ABOVE = 4, 4000, 400, 600, 1.05
"""V is at least ``ABOVE`` on ``EDGE`` points of the boundary, so that it is above 1 between them."""
SPREAD = 7
"""Points along each side of the box that the set has to hold."""


def fit_barrier(work: Work, degree: int | None) -> Fraction:
    """Give the setting a polynomial V for forward invariance, and return the level that a box tree has to prove.

    Parameters
    ----------
    work : Work
        The proof under way; ``V`` becomes one of its functions.
    degree : int, optional
        Of V; 4 by default.

    Raises
    ------
    Undecided
        For a loop that is no polynomial or not of continuous time, a missing solver, and where no programme has a solution.
    """
    setting, (lo, hi) = work.setting, work.box
    middle = tuple((a + b) / 2 for a, b in zip(setting.lo, setting.hi, strict=True))
    n, x = len(middle), shifted(middle)
    if work.loop.time != "continuous":
        raise Undecided(Code.UNSUPPORTED, "prover.method", "sums of squares keep sets of loops in continuous time only")
    try:
        f = polynomials(setting.loop.field, x)
    except Refusal as no:
        raise Undecided(Code.UNSUPPORTED, "prover.method", f"sums of squares need a polynomial loop: {no.message}") from None
    centre, half = np.array([float(v) for v in middle]), (hi - lo) / 2
    scale = [Fraction(2) ** round(np.log2(h)) for h in half]
    rng = np.random.default_rng(work.seed)
    pace = float(np.abs(np.linalg.eigvals(work.loop.jacobian(centre))).max(initial=0.0)) or 1.0
    stay, leave = _parted(work, rng.uniform(lo, hi, (SAMPLES, n)), 5 / (pace * STEPS))
    outside = np.concatenate([leave[:KEPT_OUT], on_faces(lo, hi, EDGE, rng)])
    most = DEGREE if degree is None else degree
    basis = monomials(n, 0, most)
    rows = [np.stack([values(Polynomial({m: Fraction(1)}), (p - centre) / np.array([float(r) for r in scale])) for m in basis], axis=1)
            for p in (stay[:WANTED], outside, _held(work))]
    rows[1][-EDGE:] /= ABOVE
    top = (most + max(degrees(p)[1] for p in f)) // 2
    sides = constraints(constant(Fraction(0), n), Fraction(0), x, (setting.lo, setting.hi))
    squares = [(monomials(n, 0, top), constant(Fraction(1), n)),
               *((monomials(n, 0, top - 1), scaled(sides[f"domain-{i}"], scale)) for i in range(n))]
    scaled_f = [scaled(p, scale) for p in f]
    for tau in TAUS:
        rates = [constant(Fraction(-k * pace).limit_denominator(10**6), n) for k in RATES]
        made = [search(basis, scaled_f, scale, s, squares, tau, (rows[0], rows[1], rows[2])) for s in rates]
        answers = solve(made, seconds=max(1.0, work.left / 2))
        good = [(float(np.maximum(rows[0] @ a.x[:len(basis)] - 1, 0).mean()), a.x) for a in answers if not isinstance(a, Unsolved)]
        if good:
            v = found_in(basis, min(good, key=lambda item: item[0])[1], scale)
            terms = claim_terms(v, middle)
            setting.functions["V"] = Source(None, (), polynomial_graph(terms, n, "functions.V"))
            work.functions["V"] = {"kind": "polynomial", "terms": terms}
            return Fraction(1)
        absent = [a for a in answers if isinstance(a, Unsolved) and a.reason == "absent"]
        if absent:
            raise Undecided(Code.UNSUPPORTED, "prover.method", absent[0].says)
    raise Undecided(Code.NO_PROOF_FOUND, "shell-1", f"no polynomial of degree {most} was found whose level set the loop does not leave; raise the "
                    "degree, or name a function")


def _parted(work: Work, x: Floats, dt: float) -> tuple[Floats, Floats]:
    """States that stay in the domain in a simulation, and the others."""
    lo, hi = work.box
    run = work.loop.trajectory(x, STEPS, dt)
    stays = ((run >= lo) & (run <= hi)).all(axis=(0, 2))
    return x[stays], x[~stays]


def _held(work: Work) -> Floats:
    """A grid of the box that the set has to hold; without one, the middle of the domain."""
    box = work.setting.requirement.contains
    if box is None:
        return np.asarray(sum(work.box))[None] / 2
    ticks = [np.linspace(float(a), float(b), SPREAD if len(box.lo) < 4 else 2) for a, b in zip(box.lo, box.hi, strict=True)]
    return np.array(list(itertools.product(*ticks)))
