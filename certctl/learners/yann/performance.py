r"""A proved upper bound of the closed loop's cost on the nonlinear plant, from an accepted claim of exponential stability and exact algebra."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.linalg import eigh

from certctl.learners.yann.actor import LatticeActor
from certctl.learners.yann.shield import Region, certified_region
from certctl.learners.yann.start import Start
from verifiers.explicit_mpc.problem import Exact
from verifiers.kernel.bundle import open_bundle
from verifiers.kernel.check import check
from verifiers.kernel.definite import is_positive_definite, rationals
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.requirement import read_requirement
from verifiers.load.to_onnx import to_onnx


class NoBound(ValueError):
    """A bundle from which no bound of the cost follows: one sentence."""


@dataclass(frozen=True, eq=False)
class CostBound:
    r"""From each state of the region the loop costs at most ``factor`` V(x).

    Attributes
    ----------
    factor : Fraction
    rate : Fraction
        Of the accepted claim: V+ <= (1 - rate) V.
    region : Region
        {V <= level}, the claim's.
    """

    factor: Fraction
    rate: Fraction
    region: Region

    def cost(self, x: np.ndarray) -> np.ndarray:
        """Bounds (B,) at states (B, n) of the region, evaluated in float64."""
        return float(self.factor) * self.region.value(x)


def cost_bound(bundle: Path, requirement: Path, start: Start, actor: LatticeActor) -> CostBound:
    r"""Bound the cost :math:`\sum_k |x_k - x^*|_Q^2 + |u_k - u^*|_R^2` of a certified policy, for ever.

    Parameters
    ----------
    bundle, requirement : Path
        Of ``exponential_stability_roa`` for the actor's own file; the kernel runs here.
    start : Start
        Q, R and the plant.
    actor : LatticeActor
        The policy whose export the bundle holds.

    Returns
    -------
    CostBound

    Raises
    ------
    NoBound

    Notes
    -----
    Direction: over-approximation.  The kernel shows :math:`V^+ \le (1 - r) V` with :math:`V = |x - x^*|_P^2` on an invariant region.  Along the line
    from x* to x the policy's slope is one of the lattice's gains and that of n, so that for each :math:`\varepsilon > 0`

    .. math:: |u - u^*|^2 \le (1 + \varepsilon) \max_j (K_j (x - x^*))^2 + (1 + 1/\varepsilon) |x - x^*|_M^2, \qquad
       M = \Bigl(\sum_i |c_i|\Bigr) \sum_i |c_i| w_i w_i^T,

    by the triangle inequality and Cauchy's; the clip contains u* and only shortens.  If :math:`\beta P` exceeds Q + R (...) for each j, which is
    decided exactly, :math:`\ell \le \beta V`, and with :math:`\bar V = (\beta / r) V`: :math:`\bar V^+ - \bar V \le -\beta V \le -\ell`.  The sum
    is at most :math:`\bar V(x_0)`.  The last steps are exact rational arithmetic here and not the kernel's.
    """
    if check(bundle, requirement).outcome != "ACCEPTED":
        raise NoBound(f"the kernel does not accept {bundle.name}; certctl check says why")
    opened, wanted = open_bundle(bundle), read_requirement(requirement.read_bytes(), "requirement")
    if wanted.rate is None or list(opened.functions) != ["Q"] or wanted.time != "discrete":
        raise NoBound("a bound needs exponential_stability_roa in discrete time, shown with one quadratic")
    if opened.controller != to_onnx(actor.graph(), double=True):
        raise NoBound("the bundle holds another policy")
    plant, weights = start.plant, start.model
    rest = [Fraction(v) for v in plant.equilibrium[0]]
    centre = [Fraction(v) for v in opened.functions["Q"]["center"]]
    asked = (wanted.plant, wanted.plant_sha256, wanted.dt, wanted.saturation)
    if asked != (start.origin.plant.name, None, Fraction(plant.dt or "1"), "clip"):
        raise NoBound("the claim is about another plant or step")
    if len(plant.inputs) != 1 or centre != rest or wanted.parameters or not _rests(actor):
        raise NoBound("a bound is for one input, the plant's own parameters, and a quadratic about its equilibrium, where the policy rests")
    matrix = rationals([[Fraction(v) for v in row] for row in opened.functions["Q"]["matrix"]])
    forms = stage_forms(actor, weights.Q, weights.R[0, 0])
    beta = max(_exceeding(matrix, form) for form in forms)
    return CostBound(beta / wanted.rate, wanted.rate, certified_region(bundle))


def _rests(actor: LatticeActor) -> bool:
    """Whether the lattice is exactly zero at the equilibrium with the coefficients that are exported."""
    from verifiers.explicit_mpc.lattice import lattice_graph

    return not any(evaluate_exact(lattice_graph(list(actor.forms)), [Fraction(0)] * len(actor.rest_x)))


def stage_forms(actor: LatticeActor, q: Exact, r: Fraction) -> list[Exact]:
    """Quadratic forms (n, n), the largest of which bounds the stage cost at each state."""
    scale = (actor.weight / actor.scale).detach().numpy()
    out = np.abs(actor.out.detach().numpy()[0])
    learned = [Fraction(float(c)) for c in out]
    rows = rationals([[Fraction(float(v)) for v in row] for row in scale])
    total = sum(learned, Fraction(0))
    smooth = total * sum((c * np.outer(row, row) for c, row in zip(learned, rows, strict=True)), 0 * q)
    found = []
    for law in actor.forms[0].laws:
        gain = rationals([Fraction(float(v)) for v in law[:-1]])
        steep = np.outer(gain, gain)
        if not total:
            found.append(q + r * steep)
            continue
        ratio = float(np.trace(smooth)) / max(float(np.trace(steep)), 1e-300)
        share = Fraction(max(1e-6, min(1e6, ratio**0.5))).limit_denominator(10**6)
        found.append(q + r * ((1 + share) * steep + (1 + 1 / share) * smooth))
    return found


def _exceeding(matrix: Exact, form: Exact) -> Fraction:
    """A number beta, near the least, for which beta times the matrix minus the form is positive definite, decided exactly."""
    least = float(eigh(form.astype(np.float64), matrix.astype(np.float64), eigvals_only=True)[-1])
    for margin in (1e-9, 1e-6, 1e-3, 1.0):
        beta = Fraction(max(least, 0.0) * (1 + margin) + 1e-12).limit_denominator(10**12)
        if is_positive_definite(beta * matrix - form):
            return beta
    raise NoBound("no multiple of the quadratic exceeds the stage cost")


def exponential(requirement: bytes, rate: Fraction) -> bytes:
    """A requirement of asymptotic stability as one of exponential stability."""
    text = requirement.decode("ascii").replace("asymptotic_stability_roa", "exponential_stability_roa")
    return f'{text}[decrease]\nrate = "{rate}"\n'.encode("ascii")
