r"""Action values that fit the actor at the start: :math:`Q(x, u) = \ell(x, u) + \gamma V_{N-1}(A x + B u)`, and the regulator's for comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from certctl.learners.yann.network import Injected, Winner
from verifiers.explicit_mpc.condense import Model
from verifiers.explicit_mpc.problem import Exact
from verifiers.explicit_mpc.value import pieces


class Regulator(nn.Module):
    r"""The unconstrained regulator's cost :math:`x^T P x`, and that of the first step: the value function of horizon zero, and the paper's critic."""

    P: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.register_buffer("P", torch.from_numpy(model.P.astype(np.float64)))

    def forward(self, theta: Tensor) -> Tensor:
        """Values (B,) at deviations (B, n)."""
        return torch.einsum("bi,ij,bj->b", theta, self.P, theta)


class ValueFunction(nn.Module):
    r"""The piecewise-quadratic value of a linear MPC problem; where the problem is infeasible the regulator's cost and a penalty.

    Parameters
    ----------
    model : Model
        With the horizon of the value wanted; its box is replaced by ``box``.
    box : (lo, hi)
        Where the value is needed: deviations that one step may lead to.
    penalty : float
        Added outside the feasible set.  Direction: none; a convention, and the jump has no gradient.
    """

    forms: Tensor

    def __init__(self, model: Model, box: tuple[Exact, Exact], penalty: float) -> None:
        super().__init__()
        found = pieces(replace(model, lb=box[0], ub=box[1]))
        self.winner, self.regulator, self.penalty = Winner(found), Regulator(model), penalty
        self.register_buffer("forms", torch.from_numpy(np.array([form.astype(np.float64) for form in found.forms])))

    def forward(self, theta: Tensor) -> Tensor:
        """Values (B,) at deviations (B, n)."""
        won = self.winner(theta)
        lifted = torch.cat([theta, torch.ones_like(theta[:, :1])], dim=1)
        inside = torch.einsum("bq,qij,bi,bj->b", won, self.forms, lifted, lifted)
        outside = 1 - won.sum(dim=1)
        return inside + outside * (self.regulator(theta) + self.penalty)


class Critic(nn.Module):
    r"""An action value with a trainable part that is zero at the start.

    Parameters
    ----------
    model : Model
        The linear problem whose law the actor starts from.
    consistent : bool
        V of horizon N - 1, so that the law minimises Q; else the regulator's cost, as in the paper.
    scale : (n,), (m,) arrays
        Half-widths of states and inputs.
    size : float
        Costs by which the trainable part is multiplied.
    penalty : float
        Of infeasible successors.
    width, seed : int

    References
    ----------
    .. [1] Braniff, Tian, YANN-initialised reinforcement learning, arXiv 2508.16474 (the regulator's Q).
    """

    A: Tensor
    B: Tensor
    Q: Tensor
    R: Tensor

    def __init__(self, model: Model, consistent: bool, scale: tuple[np.ndarray, np.ndarray], size: float, penalty: float, width: int,
                 seed: int) -> None:
        super().__init__()
        for name in ("A", "B", "Q", "R"):
            self.register_buffer(name, torch.from_numpy(getattr(model, name).astype(np.float64)))
        self.discount, self.size = float(model.discount), size
        shorter = replace(model, horizon=model.horizon - 1, blocks=())
        self.value = ValueFunction(shorter, reach(model), penalty) if consistent and model.horizon > 1 else Regulator(model)
        self.learned = Injected(len(scale[0]) + len(scale[1]), width, 1, np.concatenate(scale), seed)

    def stage(self, theta: Tensor, command: Tensor) -> Tensor:
        """Stage costs (B,) of deviations (B, n) and (B, m)."""
        return torch.einsum("bi,ij,bj->b", theta, self.Q, theta) + torch.einsum("bi,ij,bj->b", command, self.R, command)

    def start(self, theta: Tensor, command: Tensor) -> Tensor:
        """Q (B,) at the start, of deviations (B, n) and (B, m)."""
        return self.stage(theta, command) + self.discount * self.value(theta @ self.A.T + command @ self.B.T)

    def forward(self, theta: Tensor, command: Tensor) -> Tensor:
        """Q (B,) now."""
        return self.start(theta, command) + self.size * self.learned(torch.cat([theta, command], dim=1))[:, 0]


def reach(model: Model) -> tuple[Exact, Exact]:
    """The smallest box that holds A x + B u for x in the model's box and u in its limits, joined with the model's box, a tenth larger.

    Raises
    ------
    ValueError
        When an input has no limits.
    """
    if not (model.u[0] and model.u[1]) or None in (*model.u[0], *model.u[1]):
        raise ValueError("the critic needs two limits for each input; add limits.u to the model")
    lo, hi = (np.concatenate([ends, np.array(limit, dtype=object)]) for ends, limit in ((model.lb, model.u[0]), (model.ub, model.u[1])))
    rows = np.column_stack([model.A, model.B])
    middle, half = rows @ ((lo + hi) / 2), abs(rows) @ ((hi - lo) / 2)
    return np.minimum(middle - half * 11 / 10, model.lb), np.maximum(middle + half * 11 / 10, model.ub)
