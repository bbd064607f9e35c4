"""Terminal ingredients in exact numbers, and what follows: the value function is a Lyapunov function, and an upper bound of the loop's cost."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.explicit_mpc.cell import Cell, Planes, box_cell
from verifiers.explicit_mpc.condense import Limits, Model
from verifiers.explicit_mpc.exact import primitive
from verifiers.explicit_mpc.problem import Exact
from verifiers.explicit_mpc.terminal import dare
from verifiers.kernel.definite import is_positive_definite, rationals


class NotTerminal(ValueError):
    """A terminal cost or set that does not do what is needed: one sentence."""


@dataclass(frozen=True, eq=False)
class Terminal:
    """Terminal ingredients that were checked, for u = K x on X = {G x <= g}.

    Attributes
    ----------
    gain : (m, n) array of Fraction
        K.
    vertices : (v, n) array of Fraction
        Of X.
    """

    gain: Exact
    vertices: Exact


def prove_terminal(model: Model, gain: Exact | None = None) -> Terminal:
    r"""Check the terminal cost and set of a linear MPC problem in rationals.

    With :math:`u = K x` on :math:`X = \{G x \le g\}`: (1) :math:`P - Q - K^T R K - \gamma (A + BK)^T P (A + BK) \succ 0`, (2) X is bounded,
    (3) :math:`(A + BK) X \subset X`, (4) x and K x keep their limits on X.

    Parameters
    ----------
    model : Model
        n states, m inputs; without tracking, increments, blocks and soft limits.
    gain : (m, n) array of Fraction, optional
        K; by default that of the regulator, in float64 read as rationals.

    Returns
    -------
    Terminal

    Raises
    ------
    NotTerminal
        With what fails.

    Notes
    -----
    Soundness: affine functions are compared at the vertices of X, which are exact, and definiteness is decided exactly.  Then, wherever the problem
    is feasible, it is at A x + B u(x) [1]_, and its value function V (the whole cost, that of x_0 included) fulfils

    .. math:: \gamma V(A x + B u(x)) \le V(x) - \ell(x, u(x)), \qquad \ell(x, u) = x^T Q x + u^T R u,

    because the moves of the last step, shifted, with K x_N behind them, are feasible.  So V(x_0) bounds the (discounted) cost of the loop, and
    V is a Lyapunov function on the whole feasible set where Q is positive definite and gamma is one.

    References
    ----------
    .. [1] D. Q. Mayne, J. B. Rawlings, C. V. Rao, P. O. M. Scokaert, Constrained model predictive control: stability and optimality,
       Automatica 36 (2000), conditions A1 to A4.
    """
    if model.terminal is None:
        raise NotTerminal("the model has no terminal set; add [terminal] set = \"invariant\"")
    if model.remembers or model.C is not None or model.E is not None or model.soft is not None or any(step > 1 for step in model.blocks):
        raise NotTerminal("terminal ingredients are checked for models without tracking, increments, blocks and soft limits")
    n = len(model.A)
    gain = dare(model.A, model.B, model.Q, model.R, model.discount)[1] if gain is None else gain
    loop = model.A + model.B @ gain
    falls = model.P - model.Q - gain.T @ model.R @ gain - model.discount * loop.T @ model.P @ loop
    if not is_positive_definite(rationals(falls)):
        raise NotTerminal("the terminal cost does not fall by the stage cost under the terminal gain; take P = \"dare\"")
    rows, ends = model.terminal
    vertices = _vertices(rows, ends)
    points = rationals([[Fraction(v, vertex.point[-1]) for v in vertex.point[:-1]] for vertex in vertices.vertices])
    if not (points @ (rows @ loop).T <= ends).all():
        raise NotTerminal("the terminal set is not invariant under the terminal gain")
    for name, values, limits in (("x", points, model.x), ("u", points @ gain.T, model.u)):
        if not _within(values, limits):
            raise NotTerminal(f"a limit of {name} is broken in the terminal set")
    if not (ends > 0).all() or points.shape[1] != n:
        raise NotTerminal("the origin is not inside the terminal set")
    return Terminal(gain, points)


def _within(values: Exact, limits: Limits) -> bool:
    low, high = limits
    above = all(end is None or (values[:, i] >= end).all() for i, end in enumerate(low))
    return above and all(end is None or (values[:, i] <= end).all() for i, end in enumerate(high))


def _vertices(rows: Exact, ends: Exact, largest: int = 2**40) -> Cell:
    """The polytope {rows x <= ends} as a cell: a cube is cut, larger ones until none of its faces is left.

    Raises
    ------
    NotTerminal
        When the set is empty, has no interior, or is unbounded.
    """
    n, size = rows.shape[1], 1
    while size <= largest:
        planes, cell = box_cell(rationals([-size] * n), rationals([size] * n))
        for row, end in zip(rows, ends, strict=True):
            cell = _cut(planes, cell, np.append(-row, end))
        walls = (1 << 2 * n) - 1
        if not any(tight & walls for tight in cell.tight):
            return cell
        size *= 16
    raise NotTerminal("the terminal set is not bounded")


def _cut(planes: Planes, cell: Cell, row: Exact) -> Cell:
    plane, sign = planes.add(primitive(row))
    if sign == 0:
        return cell
    signs = planes.signs(cell.vertices, np.array([plane]))[:, 0]
    if (signs * sign >= 0).all():
        return cell
    if not (signs * sign > 0).any():
        raise NotTerminal("the terminal set has no interior")
    return cell.cut(planes, plane, signs.tolist())[0 if sign > 0 else 1]
