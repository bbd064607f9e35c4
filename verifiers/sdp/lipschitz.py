r"""Lipschitz bounds of networks (LipSDP): find diagonal multipliers, round them, and look for a pair that refutes the bound.

With M(t) of :mod:`verifiers.kernel.lipschitz`: one multiplier per layer (LipSDP-Layer) is a small programme with a looser bound, one per neuron
(LipSDP-Neuron) a larger one with the best bound of this kind.  Off-diagonal ("Network") multipliers are not used: their proof is disputed.

References
----------
.. [1] M. Fazlyab, A. Robey, H. Hassani, M. Morari, G. Pappas, Efficient and accurate estimation of Lipschitz constants for deep neural networks,
   NeurIPS 2019, Theorem 2.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from scipy import sparse

from verifiers.kernel.graph import Floats
from verifiers.kernel.lipschitz import Differences
from verifiers.sdp.layerwise import METHODS as LAYERWISE
from verifiers.sdp.layerwise import layerwise
from verifiers.sdp.programme import Programme, Solution, Unsolved, solve
from verifiers.sdp.rounding import significant

METHODS = (*LAYERWISE, "lipsdp-layer", "lipsdp-neuron")


@dataclass(frozen=True)
class Multipliers:
    """Multipliers t >= 0 (N,) for which M(t) was found semidefinite in exact arithmetic, the method, and the solver's seconds."""

    values: tuple[Fraction, ...]
    method: str
    solver: str
    seconds: float


@dataclass(frozen=True, eq=False)
class _Forms:
    """The same in floats: the quadratic forms Q_i (N, K, K) of the neurons' slope conditions, and H'H."""

    inputs: int
    neurons: Floats
    output: Floats


def _forms(found: Differences) -> _Forms:
    h, v, low, high = (np.asarray(a, dtype=np.float64) for a in (found.output, found.arguments, found.low, found.high))
    own = np.hstack([np.zeros((len(low), found.inputs)), np.eye(len(low))])
    below, above = own - low[:, None] * v, high[:, None] * v - own
    forms = np.einsum("ki,kj->kij", below, above)
    return _Forms(found.inputs, (forms + forms.transpose(0, 2, 1)) / 2, h.T @ h)


def groups(layers: Sequence[int], method: str) -> list[list[int]]:
    """Which neurons share a multiplier: those of a layer, or none."""
    ends = np.cumsum([0, *layers]).tolist()
    if method == "lipsdp-layer":
        return [list(range(a, b)) for a, b in pairwise(ends)]
    return [[i] for i in range(ends[-1])]


def _programme(forms: _Forms, shared: list[list[int]], bound: float | None, scale: Floats) -> Programme:
    r"""Minimise :math:`\gamma^2` (bound None; then x = (gamma^2, t)), or maximise the margin s of ``M(t) >= s I`` (x = (s, t)), after scaling."""
    size, first = len(scale), np.diag([1.0] * forms.inputs + [0.0] * (len(scale) - forms.inputs))
    s = np.diag(scale)
    parts = [s @ forms.neurons[group].sum(axis=0) @ s for group in shared]
    lead = s @ first @ s if bound is None else -np.eye(size)
    constant = -s @ forms.output @ s + (0.0 if bound is None else bound**2 * (s @ first @ s))
    linear = sparse.csr_matrix(np.column_stack([lead.ravel(), *[-p.ravel() for p in parts]]))
    objective = np.zeros(1 + len(shared))
    objective[0] = -1.0 if bound is None else 1.0
    return Programme(objective, ((size, linear, constant.ravel()),), None, tuple(range(1, 1 + len(shared))))


def least_bound(found: Differences, layers: Sequence[int], method: str, *, solver: str = "CLARABEL", seconds: float = 60.0) -> Solution | Unsolved:
    r"""The solver's estimate of the least provable bound: x = (gamma^2, multipliers).  In floats, hence no proof; used to scale and to report."""
    forms = _forms(found)
    return solve([_programme(forms, groups(layers, method), None, np.ones(forms.output.shape[0]))], solver=solver, seconds=seconds)[0]


def find_multipliers(found: Differences, layers: Sequence[int], bound: Fraction, method: str, *, solver: str = "CLARABEL",
                     seconds: float = 60.0) -> Multipliers | Unsolved:
    r"""Search multipliers that prove a bound, and prove them in exact arithmetic.

    Parameters
    ----------
    found : Differences
        The network in differences, N neurons.
    layers : sequence of int
        Numbers of neurons of the layers, in order; their sum is N.
    bound : Fraction
        gamma > 0, the Lipschitz constant to prove with respect to the Euclidean norms of input and output.
    method : str
        One of ``METHODS``.

    Returns
    -------
    Multipliers or Unsolved
        Multipliers with M(t) semidefinite, tested exactly; otherwise why there are none, which says nothing about the network.

    Notes
    -----
    First gamma^2 is minimised, and the multipliers are tried at the bound demanded.  Where they do not prove it, the neurons are scaled by them (they
    differ by orders of magnitude), and the least eigenvalue of M(t) is maximised, so that rounding finds room on all sides.
    """
    if method in LAYERWISE:
        return _layer_by_layer(found, layers, bound, method, solver, seconds)
    forms, shared = _forms(found), groups(layers, method)
    rough = solve([_programme(forms, shared, None, np.ones(forms.output.shape[0]))], solver=solver, seconds=seconds)[0]
    if isinstance(rough, Unsolved):
        return rough
    if not rough.x[0] <= float(bound) ** 2:
        return Unsolved("infeasible", f"{method}: the least bound that {rough.solver} finds is {np.sqrt(max(rough.x[0], 0.0)):.9g}")
    taken = rough.seconds
    if (proved := _rounded(found, bound, _spread(rough.x[1:], shared))) is None:
        each = np.maximum(_spread(rough.x[1:], shared), 0.0)
        scale = np.concatenate([np.full(forms.inputs, 1 / float(bound)), 1 / np.sqrt(np.maximum(each, 1e-6 * each.max(initial=1e-300)))])
        sharp = solve([_programme(forms, shared, float(bound), scale)], solver=solver, seconds=seconds)[0]
        if isinstance(sharp, Unsolved):
            return sharp
        taken += sharp.seconds
        proved = _rounded(found, bound, _spread(sharp.x[1:], shared))
    if proved is None:
        return Unsolved("inaccurate", f"{method}: no multipliers found by {rough.solver} prove the bound after rounding")
    return Multipliers(proved, method, rough.solver, taken)


def _layer_by_layer(found: Differences, layers: Sequence[int], bound: Fraction, method: str, solver: str, seconds: float) -> Multipliers | Unsolved:
    began = time.monotonic()
    answer = layerwise(found, layers, method, solver=solver, seconds=seconds)
    if isinstance(answer, Unsolved):
        return answer
    least, values = answer
    if (proved := _rounded(found, bound, float(bound) ** 2 * values)) is None:
        reason = "infeasible" if least > float(bound) else "inaccurate"
        return Unsolved(reason, f"{method}: the least bound found is {least:.9g}")
    return Multipliers(proved, method, solver if method == "eclipse" else "none", time.monotonic() - began)


def _rounded(found: Differences, bound: Fraction, values: Floats) -> tuple[Fraction, ...] | None:
    """Multipliers rounded to rationals, where these prove the bound in exact arithmetic."""
    rounded = tuple(significant(np.maximum(values, 0.0)))
    return rounded if found.proves(bound, rounded) else None


def _spread(shared_values: Floats, shared: list[list[int]]) -> Floats:
    """One value per neuron from one per group."""
    each = np.zeros(sum(map(len, shared)))
    for value, group in zip(shared_values, shared, strict=True):
        each[group] = value
    return each
