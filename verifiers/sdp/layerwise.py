r"""Lipschitz bounds of deep networks layer by layer (ECLipsE): one small programme per layer, or none, instead of one large one.

For a chain, :math:`v_k = W_k w_{k-1}` with slopes in [a, b], the matrix M(t) of :mod:`verifiers.kernel.lipschitz`, divided by gamma squared, is
eliminated from the input on.  With :math:`S_0 = I` and diagonal T_k,

.. math:: S_k = T_k - \tfrac14 C_k^\top R_k^{-1} C_k,\qquad R_k = S_{k-1} + W_k^\top T_k\, \mathrm{diag}(ab)\, W_k,\qquad
          C_k = W_k^\top T_k\, \mathrm{diag}(a + b),

and where all R_k and S_k are positive definite the last weights give :math:`\gamma^2 = \lambda_{\max}(W S^{-1} W^\top)`.  T_k is chosen so that the
next weights see as large an S_k as possible: a multiple of the identity by a search on a line (``eclipse-fast``), or every entry by a programme with
two layers in it (``eclipse``).  Greedy, hence looser than LipSDP-Neuron, and for deep networks far cheaper.

References
----------
.. [1] Y. Xu, S. Sivaranjani, ECLipsE: efficient compositional Lipschitz constant estimation for deep neural networks, NeurIPS 2024.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import linalg, optimize, sparse

from verifiers.kernel.graph import Floats
from verifiers.kernel.lipschitz import Differences
from verifiers.sdp.programme import Programme, Unsolved, solve

METHODS = ("eclipse-fast", "eclipse")
DECADES = 6.0
SHRINK = 1e-6
"""Share by which multipliers of a programme are drawn back from the edge on which it leaves them."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights W (N, M) from the layer before, and the slopes a, b (N,)."""

    weight: Floats
    low: Floats
    high: Floats


def chain(found: Differences, layers: Sequence[int]) -> tuple[list[Layer], Floats] | None:
    """The layers and the last weights of a network that is a chain; None where a layer reads more than the one before."""
    v, h = (np.asarray(a, dtype=np.float64) for a in (found.arguments, found.output))
    low, high = (np.asarray(a, dtype=np.float64) for a in (found.low, found.high))
    ends = [0, found.inputs, *(found.inputs + np.cumsum(layers)).tolist()]
    made = []
    for (before, at), after in zip(pairwise(ends), ends[2:], strict=False):
        rows = v[at - found.inputs:after - found.inputs]
        if np.delete(rows, np.s_[before:at], axis=1).any():
            return None
        made.append(Layer(rows[:, before:at], low[at - found.inputs:after - found.inputs], high[at - found.inputs:after - found.inputs]))
    if np.delete(h, np.s_[ends[-2]:ends[-1]], axis=1).any():
        return None
    return made, h[:, ends[-2]:ends[-1]]


def eliminated(before: Floats, layer: Layer, t: Floats) -> Floats | None:
    """S_k from S_{k-1} and the diagonal of T_k; None where R_k or S_k is not positive definite."""
    w = layer.weight
    cross = w.T * (t * (layer.low + layer.high))
    try:
        factor = linalg.cho_factor(before + (w.T * (t * layer.low * layer.high)) @ w)
        rest = np.diag(t) - 0.25 * cross.T @ linalg.cho_solve(factor, cross)
        np.linalg.cholesky(rest)
    except np.linalg.LinAlgError:
        return None
    return np.asarray((rest + rest.T) / 2)


def gain(rest: Floats, weight: Floats) -> float:
    r""":math:`\lambda_{\max}(W S^{-1} W^\top)`."""
    return float(np.linalg.eigvalsh(weight @ np.linalg.solve(rest, weight.T))[-1])


def _on_a_line(before: Floats, layer: Layer, then: Floats) -> Floats | None:
    """T = lambda I with the least gain of the next weights."""
    size = len(layer.low)
    middle = 2 / max(gain(before, layer.weight * np.maximum(np.abs(layer.high), np.abs(layer.low))[:, None]), 1e-300)

    def cost(power: float) -> float:
        rest = eliminated(before, layer, np.full(size, middle * 10.0**power))
        return 1e300 if rest is None else np.log(max(gain(rest, then), 1e-300))

    best = optimize.minimize_scalar(cost, bounds=(-DECADES, 0.3), method="bounded", options={"xatol": 1e-4})
    powers = [float(best.x), 0.0]
    power = min(powers, key=cost)
    return None if cost(power) >= 1e300 else np.full(size, middle * 10.0**power)


def _by_programme(before: Floats, layer: Layer, then: Floats, solver: str, seconds: float) -> Floats | Unsolved:
    r"""The diagonal T for which :math:`S_k \succeq c\, W_{k+1}^\top W_{k+1}` with the largest c; variables (c, T)."""
    w, size, first = layer.weight, len(layer.low), before.shape[0]
    scale = np.sqrt(max(float(np.abs(before).max()), 1e-300))
    columns = [np.zeros((first + size,) * 2)]
    columns[0][first:, first:] = -(then.T @ then)
    for i, (row, a, b) in enumerate(zip(w, layer.low, layer.high, strict=True)):
        part = np.zeros((first + size,) * 2)
        part[:first, :first] = a * b * np.outer(row, row)
        part[:first, first + i] = part[first + i, :first] = -0.5 * (a + b) * row
        part[first + i, first + i] = 1.0
        columns.append(part)
    constant = np.zeros((first + size,) * 2)
    constant[:first, :first] = before / scale**2
    linear = sparse.csr_matrix(np.column_stack([c.ravel() for c in columns]))
    objective = np.append(1.0, np.zeros(size))
    made = Programme(objective, ((first + size, linear, constant.ravel()),), None, tuple(range(1 + size)))
    answer = solve([made], solver=solver, seconds=seconds)[0]
    return answer if isinstance(answer, Unsolved) else answer.x[1:] * scale**2


def layerwise(found: Differences, layers: Sequence[int], method: str, *, solver: str = "CLARABEL", seconds: float = 60.0
              ) -> tuple[float, Floats] | Unsolved:
    r"""A bound and the multipliers that go with it, divided by gamma squared.

    Parameters
    ----------
    found, layers
        The network in differences, and the numbers of its neurons by layer.
    method : str
        One of ``METHODS``.

    Returns
    -------
    (gamma, (N,) array) or Unsolved
        In floats: an estimate; :func:`verifiers.sdp.lipschitz.find_multipliers` rounds the multipliers and proves them at the bound demanded.
    """
    made, end = chain(found, layers), time.monotonic() + seconds
    if made is None:
        return Unsolved("infeasible", f"{method} needs a network whose layers read the one before only; use lipsdp-neuron")
    chained, last = made
    rest, all_t = np.eye(found.inputs), []
    for k, layer in enumerate(chained):
        then = chained[k + 1].weight if k + 1 < len(chained) else last
        if method == "eclipse":
            chosen = _by_programme(rest, layer, then, solver, max(1.0, end - time.monotonic()))
            if isinstance(chosen, Unsolved):
                return chosen
            t: Floats | None = np.maximum(chosen, 0.0) * (1 - SHRINK)
        else:
            t = _on_a_line(rest, layer, then)
        after = None if t is None else eliminated(rest, layer, t)
        if t is None or after is None:
            return Unsolved("inaccurate", f"{method}: the matrix of layer {k + 1} is not positive definite")
        all_t.append(t)
        rest = after
    return float(np.sqrt(gain(rest, last))), np.concatenate(all_t) if all_t else np.zeros(0)
