"""Linear model, weights and limits to a multiparametric QP: states eliminated, everything exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.explicit_mpc.problem import BadProblem, Exact, Problem, make_problem
from verifiers.kernel.codes import Refusal
from verifiers.kernel.definite import inverse, rationals

Limits = tuple[tuple[Fraction | None, ...], tuple[Fraction | None, ...]]
"""Lower and upper ends, None where there is none."""


@dataclass(frozen=True, eq=False)
class Model:
    r"""A linear MPC problem.

    .. math:: \min \sum_{k<N} \gamma^k (|x_k - x_s|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_S^2) + \gamma^N |x_N - x_s|_P^2 + \rho_2 \epsilon^2
       + \rho_1 \epsilon,
       \qquad x_{k+1} = A x_k + B u_k + E w

    subject to limits of x_1 ... x_N, of u and of its increments, and to :math:`G x_N \le g`.  Targets fulfil
    :math:`x_s = A x_s + B u_s + E w,\; C x_s = r`, and are zero without C.

    Attributes
    ----------
    A, B : (n, n), (n, m) arrays of Fraction
    horizon : int
        N, steps.
    Q, R, P : (n, n), (m, m), (n, n) arrays of Fraction
        Weights, symmetric; R positive definite.
    S : (m, m) array of Fraction or None
        Weight of increments.
    x, u, du : Limits
    terminal : (G, g) or None
        Rows of the terminal set.
    blocks : tuple of int
        The input is held for so many steps each; they sum up to N.
    soft : (quadratic, linear) or None
        Penalties of the one slack epsilon >= 0 by which the limits of x may be exceeded.
    C : (m, n) array of Fraction or None
        Outputs that follow a reference r, as many as inputs.
    E : (n, q) array of Fraction or None
        How a measured disturbance w, constant over the horizon, enters.
    discount : Fraction
        gamma, in (0, 1].
    lb, ub : (d,) arrays of Fraction
        Box of the parameters: x, then the last input where increments count, then r, then w.
    """

    A: Exact
    B: Exact
    horizon: int
    Q: Exact
    R: Exact
    P: Exact
    lb: Exact
    ub: Exact
    S: Exact | None = None
    x: Limits = ((), ())
    u: Limits = ((), ())
    du: Limits = ((), ())
    terminal: tuple[Exact, Exact] | None = None
    blocks: tuple[int, ...] = ()
    soft: tuple[Fraction, Fraction] | None = None
    C: Exact | None = None
    E: Exact | None = None
    discount: Fraction = Fraction(1)

    @property
    def remembers(self) -> bool:
        """Whether the last input is a parameter."""
        return self.S is not None or bool(self.du[0] or self.du[1])


class _Forms:
    """Linear forms in (z, theta) as rows: inputs, states and targets."""

    def __init__(self, model: Model) -> None:
        self.model = model
        n, m = model.B.shape
        self.moves = model.blocks or (1,) * model.horizon
        if sum(self.moves) != model.horizon or min(self.moves) < 1:
            raise BadProblem(f"blocks {list(self.moves)} do not sum up to the horizon {model.horizon}")
        self.free = m * len(self.moves) + (model.soft is not None)
        sizes = {"x": n, "u": m if model.remembers else 0, "r": 0 if model.C is None else len(model.C),
                 "w": 0 if model.E is None else model.E.shape[1]}
        if len(model.lb) != sum(sizes.values()):
            raise BadProblem(f"the box of parameters has {len(model.lb)} entries where {sum(sizes.values())} are expected: " +
                             ", ".join(f"{name} {size}" for name, size in sizes.items() if size))
        self.width, at = self.free + sum(sizes.values()), self.free
        self.parameter: dict[str, Exact] = {}
        for name, size in sizes.items():
            self.parameter[name] = _eye(size, self.width, at)
            at += size
        step = [block for block, length in enumerate(self.moves) for _ in range(length)]
        self.inputs = [_eye(m, self.width, m * block) for block in step]
        self.states = [self.parameter["x"]]
        drift = model.E @ self.parameter["w"] if model.E is not None else 0 * self.parameter["x"]
        for move in self.inputs:
            self.states.append(model.A @ self.states[-1] + model.B @ move + drift)
        self.x_target, self.u_target = 0 * self.states[0], 0 * self.inputs[0]
        if model.C is not None:
            self._targets(drift)

    def _targets(self, drift: Exact) -> None:
        model, (n, m) = self.model, self.model.B.shape
        rows = model.C
        if rows is None or len(rows) != m:
            raise BadProblem(f"C has {0 if rows is None else len(rows)} rows; as many outputs as inputs, {m}, can follow a reference without offset")
        left = np.block([[model.A - _eye(n, n, 0), model.B], [rows, _eye(m, m, 0) * 0]])
        found = solve_exact(left, np.vstack([-drift, self.parameter["r"]]))
        if found is None:
            raise BadProblem("the steady state is not determined by the reference; choose other outputs C")
        self.x_target, self.u_target = found[:n], found[n:]

    def increments(self) -> list[tuple[int, Exact]]:
        """k and u_k - u_{k-1} for the first step k of each block."""
        before = [self.parameter["u"], *self.inputs[:-1]]
        return [(k, now - last) for k, (now, last) in enumerate(zip(self.inputs, before, strict=True)) if (now != last).any()]


def condense(model: Model) -> Problem:
    """Eliminate the states.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Problem
        z are the moves, block by block, then the slack where limits are soft; exact, so that the law of the problem is that of the model.
        The first m components of z are what is applied.

    Raises
    ------
    BadProblem
        With what does not fit.
    """
    _check(model)
    forms = _Forms(model)
    form, linear = _cost(model, forms)
    rows, ends = map(list, zip(*_rows(model, forms), strict=True))
    table, free = np.array(rows, dtype=object), forms.free
    return make_problem(form[:free, :free], linear, form[:free, free:], table[:, :free], np.array(ends, dtype=object), -table[:, free:],
                        model.lb, model.ub)


def cost_of(model: Model) -> tuple[Exact, Exact]:
    r"""S (n+d, n+d) and s (n,) with cost :math:`\tfrac12 (z, \theta)^T S (z, \theta) + s^T z`, the part of the parameters alone included.

    Raises
    ------
    BadProblem
        With what does not fit.
    """
    _check(model)
    return _cost(model, _Forms(model))


def _cost(model: Model, forms: _Forms) -> tuple[Exact, Exact]:
    form = np.zeros((forms.width, forms.width), dtype=object)
    terms = [(k, state - forms.x_target, model.P if k == model.horizon else model.Q) for k, state in enumerate(forms.states)]
    terms += [(k, move - forms.u_target, model.R) for k, move in enumerate(forms.inputs)]
    if model.S is not None:
        terms += [(k, change, model.S) for k, change in forms.increments()]
    for k, rows, weight in terms:
        form = form + 2 * model.discount**k * rows.T @ weight @ rows
    linear = np.array([Fraction(0)] * forms.free, dtype=object)
    if model.soft is not None:
        form[forms.free - 1, forms.free - 1] += 2 * model.soft[0]
        linear[-1] = model.soft[1]
    return form, linear


def _rows(model: Model, forms: _Forms) -> Iterator[tuple[Exact, Fraction]]:
    """Rows and right sides of ``row . (z, theta) <= end``."""
    m = model.B.shape[1]
    give = np.array([Fraction(0)] * forms.width, dtype=object)
    if model.soft is not None:
        give[forms.free - 1] = Fraction(1)
    for block in range(len(forms.moves)):
        yield from _limited(_eye(m, forms.width, m * block), model.u)
    if model.du[0] or model.du[1]:
        for _, change in forms.increments():
            yield from _limited(change, model.du)
    for state in forms.states[1:]:
        yield from ((row - give, end) for row, end in _limited(state, model.x))
    if model.terminal is not None:
        yield from zip(model.terminal[0] @ forms.states[-1], model.terminal[1], strict=True)
    if model.soft is not None:
        yield -give, Fraction(0)


def _limited(rows: Exact, limits: Limits) -> Iterator[tuple[Exact, Fraction]]:
    low, high = limits
    for i, row in enumerate(rows):
        if high and (end := high[i]) is not None:
            yield row, end
        if low and (end := low[i]) is not None:
            yield -row, -end


def _check(model: Model) -> None:
    n, m = model.B.shape
    wanted = {"A": (n, n), "Q": (n, n), "R": (m, m), "P": (n, n), "S": (m, m), "C": (m, n), "E": (n, -1)}
    for name, shape in wanted.items():
        given = getattr(model, name)
        if given is not None and not all(size in (expected, -1) or expected == -1 for size, expected in zip(given.shape, shape, strict=True)):
            raise BadProblem(f"{name} has shape {given.shape}, {shape} is expected")
    for name in ("Q", "R", "P", "S"):
        weight = getattr(model, name)
        if weight is not None and not (weight == weight.T).all():
            raise BadProblem(f"the weight {name} is not symmetric")
    for name, size in (("x", n), ("u", m), ("du", m)):
        for ends in getattr(model, name):
            if len(ends) not in (0, size):
                raise BadProblem(f"the limits of {name} have {len(ends)} entries, {size} are expected")
    if not 0 < model.discount <= 1:
        raise BadProblem("the discount lies above 0 and is at most 1")
    if model.horizon < 1:
        raise BadProblem("the horizon is a number of steps, at least one")
    if model.soft is not None and not (model.soft[0] > 0 and model.soft[1] >= 0):
        raise BadProblem("the quadratic penalty of the slack must be positive and the linear one not negative")


def _eye(rows: int, width: int, at: int) -> Exact:
    found = np.full((rows, width), Fraction(0), dtype=object)
    for i in range(rows):
        found[i, at + i] = Fraction(1)
    return found


def solve_exact(left: Exact, right: Exact) -> Exact | None:
    """X with ``left @ X = right`` for a square rational matrix; None when it is singular."""
    try:
        return np.asarray(rationals(inverse(left)) @ right)
    except Refusal:
        return None
