"""The policy that is trained: the law in lattice form, a smooth network that is zero at the start and at the equilibrium, and the clip."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from systems.plant import Plant
from verifiers.explicit_mpc.lattice import Lattice, add_lattice
from verifiers.kernel.graph import Affine, Builder, Graph


class LatticeActor(nn.Module):
    r"""A continuous policy that is the law of explicit MPC at the first episode.

    .. math:: \pi(x) = \operatorname{clip}(u^* + \max_t \min_{j \in S_t} \ell_j(x - x^*) + n(x) - n(x^*)), \qquad n(x) = C \tanh(W (x - x^*) + b)

    Parameters
    ----------
    plant : Plant
        n states, m inputs; gives equilibrium (x*, u*) and limits.
    forms : sequence of Lattice
        One per input, in deviations.
    scale : (n,) array
        Half-widths by which states are divided before W.
    width : int
        Units of n; C is zero at the start.
    seed : int
        Of W and b.

    Notes
    -----
    :meth:`graph` gives what is exported and proved.  Its coefficients are those of this module rounded to float64, so the two agree within
    rounding, and a proof is about the graph.
    """

    scale: Tensor
    rest_x: Tensor
    rest_u: Tensor
    lo: Tensor
    hi: Tensor

    def __init__(self, plant: Plant, forms: Sequence[Lattice], scale: np.ndarray, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.forms = tuple(forms)
        n, m = len(plant.states), len(plant.inputs)
        fixed = {"scale": scale, "rest_x": plant.rest[0], "rest_u": plant.rest[1], "lo": plant.input_limits[0], "hi": plant.input_limits[1]}
        for name, value in fixed.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self._laws = [torch.from_numpy(form.laws.astype(np.float64)) for form in forms]
        self._terms = [torch.tensor([[*term, *[term[0]] * (max(map(len, form.terms)) - len(term))] for term in form.terms]) for form in forms]
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn((width, n), generator=draw, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn((width,), generator=draw, dtype=torch.float64))
        self.out = nn.Parameter(torch.zeros((m, width), dtype=torch.float64))

    def start(self, theta: Tensor) -> Tensor:
        """The law in lattice form (B, m) at deviations (B, n)."""
        columns = []
        for laws, terms in zip(self._laws, self._terms, strict=True):
            values = theta @ laws[:, :-1].T + laws[:, -1]
            columns.append(values[:, terms].amin(dim=2).amax(dim=1))
        return torch.stack(columns, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Commands (B, m), clipped, at states (B, n)."""
        theta = x - self.rest_x
        extra = (torch.tanh(theta / self.scale @ self.weight.T + self.bias) - torch.tanh(self.bias)) @ self.out.T
        return torch.clamp(self.rest_u + self.start(theta) + extra, self.lo, self.hi)

    def graph(self) -> Graph:
        """The policy without its clip, which the plant does, as the kernel reads it from the exported file; u* at x* in exact numbers."""
        weight, bias, out = (p.detach().numpy() for p in (self.weight / self.scale, self.bias, self.out))
        rest_x, rest_u = self.rest_x.numpy(), self.rest_u.numpy()
        builder = Builder("policy")
        x = builder.input(len(rest_x))
        theta = builder.affine(x, Affine(np.eye(len(rest_x)), -rest_x)) if rest_x.any() else x
        total = builder.concat([add_lattice(builder, theta, form) for form in self.forms])
        if out.any():
            arguments = builder.affine(theta, Affine(weight, bias)), builder.const([Fraction(float(v)) for v in bias])
            hidden, still = (builder.unary("tanh", at) for at in arguments)
            total = builder.binary("add", total, builder.affine(builder.binary("sub", hidden, still), Affine(out, rest_u)))
        elif rest_u.any():
            total = builder.affine(total, Affine(np.eye(len(rest_u)), rest_u))
        return builder.build([total])

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Commands (m,) or (B, m) in float64."""
        with torch.no_grad():
            return np.asarray(self(torch.from_numpy(np.atleast_2d(x))).numpy()).reshape(*np.shape(x)[:-1], -1)
