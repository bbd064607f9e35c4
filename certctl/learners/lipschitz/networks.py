r"""Networks whose Lipschitz constant is bounded by construction, as plain weights that a gradient reaches through their parameters.

A network of L hidden layers is ``W_{L+1} s(W_L s(... s(W_1 x + b_1)) + b_L) + b_{L+1}`` with s = tanh or ReLU, so that what is exported is a chain
of Gemm and activation; only ``sll`` has sums too.  The kinds differ in how the weights come from the free parameters, and gamma is the bound.

sandwich
    :math:`h \mapsto \sqrt2 A^\top \Psi\, s(\sqrt2 \Psi^{-1} B h + b)` with [A B] of orthonormal rows from a Cayley map, Psi diagonal
    positive, between factors :math:`\sqrt\gamma` [1]_.  Every bound that LipSDP proves is reached by such a network, and
    :math:`2\gamma\Psi^2` are multipliers that prove it.
aol
    Each weight is scaled column by column to a spectral norm of at most one, :math:`W \mathrm{diag}(\sum_j |W^\top W|_{ij})^{-1/2}` [2]_;
    :math:`2\gamma` for every neuron are multipliers that prove the bound.
sll
    :math:`h \mapsto h - 2 W T^{-1} s(W^\top h + b)` with :math:`T_i = \sum_j |W^\top W|_{ij}\, q_j / q_i` [3]_, one for each hidden layer, h as wide
    as the first, between two weights of the kind ``aol``; :math:`4\gamma T^{-1}` are multipliers that prove it.
penalised
    Free weights; the product of their spectral norms above gamma is penalised, so nothing is guaranteed.
plain
    Free weights, no bound: what the others are compared with.

References
----------
.. [1] R. Wang, I. Manchester, Direct parameterization of Lipschitz-bounded deep networks, ICML 2023, equations (8) to (12).
.. [2] B. Prach, C. Lampert, Almost-orthogonal layers for efficient general-purpose Lipschitz networks, ECCV 2022, theorem 1.
.. [3] A. Araujo, A. Havens, B. Delattre, A. Allauzen, B. Hu, A unified algebraic perspective on Lipschitz neural networks, ICLR 2023, theorem 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from verifiers.kernel.graph import Affine, Builder, Floats, Graph
from verifiers.load.torch_module import import_torch

KINDS = ("sandwich", "aol", "sll", "penalised", "plain")
SHY = 1e-4
"""Share by which the layers of ``aol`` and ``sll`` stay off their own bounds, so that their multipliers prove a strict inequality."""
ACTIVATIONS = ("tanh", "relu")
Weights = list[tuple[Any, Any]]


def make(kind: str, sizes: Sequence[int], *, activation: str, bound: float, centre: Floats, spread: Floats, seed: int) -> Any:
    """Make a network in float64.

    Parameters
    ----------
    kind, activation : str
        One of ``KINDS``, one of ``ACTIVATIONS``.
    sizes : sequence of int
        Inputs, neurons of the hidden layers, outputs.
    bound : float
        gamma; of no meaning for ``plain``.
    centre, spread : ndarray
        Middle (n,) and half-widths (n,) of the inputs, by which kinks and bends are placed at the start.
    seed : int
        Of the start.

    Returns
    -------
    torch.nn.Module
        ``module(x)`` maps (B, n) to (B, m); ``module.weights()`` are its (W, b), first layer first; ``module.excess()`` is what the training
        penalises.

    Raises
    ------
    ImportError
        When PyTorch is not installed.
    ValueError
        For an unknown kind or activation, no hidden layer, or a bound that is not positive.
    """
    if kind not in KINDS or activation not in ACTIVATIONS:
        raise ValueError(f"{kind} or {activation} is unknown; the networks are {', '.join(KINDS)}, the activations {', '.join(ACTIVATIONS)}")
    if len(sizes) < 3 or min(sizes) < 1 or not bound > 0:
        raise ValueError(f"sizes {list(sizes)} with bound {bound}: at least one hidden layer and a positive bound are needed")
    torch = import_torch()
    generator = torch.Generator().manual_seed(seed)

    def free(*shape: int, scale: float = 1.0) -> Any:
        return torch.nn.Parameter(scale * torch.randn(*shape, generator=generator, dtype=torch.float64))

    class Network(torch.nn.Module):  # type: ignore[misc, name-defined]  # a class of a lazily imported module
        """One of the kinds."""

        def __init__(self) -> None:
            super().__init__()
            self.kind = kind
            pairs = list(pairwise(sizes))
            if kind == "sll":
                pairs = [(sizes[0], sizes[1]), *((sizes[1], size) for size in sizes[1:-1]), (sizes[1], sizes[-1])]
            self.rows = torch.nn.ParameterList([free(out, before, scale=before**-0.5) for before, out in pairs])
            square = [free(out, out, scale=out**-0.5) for _, out in pairs] if kind == "sandwich" else []
            self.square = torch.nn.ParameterList(square)
            hidden = sizes[1:-1] if kind in ("sandwich", "sll") else []
            self.scales = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in hidden])
            self.biases = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in sizes[1:]])
            self._place()

        def _place(self) -> None:
            """Let the first layer's neurons bend somewhere in the inputs' box."""
            with torch.no_grad():
                w = self.rows[1] @ self._scaled()[0] if kind == "sll" else self.weights()[0][0]
                at = torch.tensor(centre) + torch.tensor(spread) * (2 * torch.rand(len(w), sizes[0], generator=generator, dtype=torch.float64) - 1)
                self.biases[0].copy_(-(w * at).sum(dim=1))

        def weights(self) -> Weights:
            """(W, b) of every affine map: for ``sll`` the first, two of each block, and the last."""
            if kind == "sll":
                return self._sll()
            matrices = {"sandwich": self._sandwich, "aol": self._aol}.get(kind, lambda: list(self.rows))()
            return list(zip(matrices, self.biases, strict=True))

        def _sandwich(self) -> list[Any]:
            found, left = [], np.sqrt(bound) * torch.eye(sizes[0], dtype=torch.float64)
            for k, (x, y) in enumerate(zip(self.square, self.rows, strict=True)):
                eye = torch.eye(len(x), dtype=torch.float64)
                z = x - x.T + y @ y.T
                inverse = torch.linalg.inv(eye + z)
                a_t, b_t = 2 * inverse - eye, -2 * y.T @ inverse  # (I + Z)^-1 (I - Z) = 2 (I + Z)^-1 - I
                if k == len(self.square) - 1:
                    found.append(np.sqrt(bound) * b_t.T @ left)
                    break
                psi = torch.exp(self.scales[k])
                found.append(np.sqrt(2) * (b_t.T / psi[:, None]) @ left)
                left = np.sqrt(2) * a_t * psi
            return found

        def _aol(self) -> list[Any]:
            scaled = self._scaled()
            scaled[0], scaled[-1] = np.sqrt(bound) * scaled[0], np.sqrt(bound) * scaled[-1]
            return scaled

        def _scaled(self) -> list[Any]:
            return [(1 - SHY) * w * (w.T @ w).abs().sum(dim=1).clamp_min(1e-12).rsqrt() for w in self.rows]

        def strengths(self) -> list[Any]:
            """The diagonals of T of the blocks of ``sll``, a little enlarged."""
            found = []
            for w, scale in zip(self.rows[1:-1], self.scales, strict=True):  # w is the transpose of W
                q = torch.exp(scale)
                found.append((1 + SHY) * ((w @ w.T).abs() @ q / q).clamp_min(1e-12))
            return found

        def _sll(self) -> Weights:
            first, *_, last = self._aol()
            found = [(first, torch.zeros(sizes[1], dtype=torch.float64))]
            for w, t, b in zip(self.rows[1:-1], self.strengths(), self.biases, strict=False):
                found += [(w, b), (-2 * w.T / t, torch.zeros(sizes[1], dtype=torch.float64))]
            return [*found, (last, self.biases[-1])]

        def excess(self) -> Any:
            """The logarithm of the product of spectral norms over the bound, where it is positive and the kind is ``penalised``."""
            if kind != "penalised":
                return torch.zeros((), dtype=torch.float64)
            product = sum(torch.log(torch.linalg.matrix_norm(w, 2).clamp_min(1e-12)) for w in self.rows)
            return torch.relu(product - np.log(bound))

        def forward(self, x: Any) -> Any:
            """Evaluate the network."""
            layers = self.weights()
            bend = torch.tanh if activation == "tanh" else torch.relu
            if kind == "sll":
                x = x @ layers[0][0].T
                for (w, b), (back, _) in zip(layers[1:-1:2], layers[2:-1:2], strict=True):
                    x = x + bend(x @ w.T + b) @ back.T
            else:
                for w, b in layers[:-1]:
                    x = bend(x @ w.T + b)
            w, b = layers[-1]
            return x @ w.T + b

    return Network()


def to_graph(network: Any, activation: str) -> Graph:
    """The network as a graph of affine maps, activations and (``sll``) sums, the weights being the exact float64 numbers."""
    first, *middle, last = (Affine(*(np.array(v.detach().numpy(), dtype=np.float64) for v in layer)) for layer in network.weights())
    b = Builder()
    x = b.affine(b.input(first.weight.shape[1]), first)
    if network.kind == "sll":
        for into, back in zip(middle[::2], middle[1::2], strict=True):
            x = b.binary("add", x, b.affine(b.unary(activation, b.affine(x, into)), back))
    else:
        for layer in middle:
            x = b.affine(b.unary(activation, x), layer)
        x = b.unary(activation, x)
    return b.build([b.affine(x, last)])


def shifted(graph: Graph, shift: Floats) -> Graph:
    """The graph of a network with a vector (m,) added to its last bias; its Lipschitz constant stays."""
    last = graph.nodes[-1]
    return replace(graph, nodes=(*graph.nodes[:-1], replace(last, data=Affine(last.data.weight, last.data.bias + shift))))


def multipliers(network: Any, bound: float) -> Floats | None:
    r"""Multipliers (N,) that prove the bound of a network that is Lipschitz by construction, up to rounding; None for other kinds.

    Direction: a hint.  The kernel forms the matrix of these multipliers from the exported weights, and says whether they prove anything.
    """
    if network.kind == "sandwich":
        found = [2 * np.exp(2 * v.detach().numpy()) for v in network.scales]
    elif network.kind == "aol":
        found = [np.full(len(b), 2.0) for b in network.biases[:-1]]
    elif network.kind == "sll":
        found = [4 / t.detach().numpy() for t in network.strengths()]
    else:
        return None
    return np.asarray(bound * np.concatenate(found), dtype=np.float64)
