"""Exact critical regions: the law, multipliers and slacks of an active set, and the active set at a rational parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.explicit_mpc.problem import BadProblem, Exact, Problem
from verifiers.kernel.codes import Refusal
from verifiers.kernel.definite import inverse, is_positive_definite, rationals

Row = tuple[int, ...]
"""Integers (a, c) without common factor: the affine function a . theta + c, known up to a positive factor."""


def primitive(row: Exact) -> Row:
    """The integers without common factor that are a positive multiple of a rational row."""
    scale = math.lcm(*(q.denominator for q in row))
    whole = [q.numerator * (scale // q.denominator) for q in row]
    common = math.gcd(*whole) or 1
    return tuple(v // common for v in whole)


@dataclass(frozen=True, eq=False)
class Optimiser:
    """The solution of the problem with exactly the rows of an active set tight, as affine functions of the parameter.

    Attributes
    ----------
    active : tuple of int
        Row numbers, linearly independent rows of A.
    z : (n, d+1) array of Fraction
        z(theta) = z[:, :d] theta + z[:, d].
    multipliers : (len(active), d+1) array of Fraction
    rows : tuple of Row
        The m conditions under which z is optimal, one for each row of A: its multiplier where active, its slack elsewhere, at least zero.
    """

    active: tuple[int, ...]
    z: Exact
    multipliers: Exact
    rows: tuple[Row, ...]


class ExactProblem:
    r"""The problem in its multipliers, exact.

    With :math:`G = A H^{-1} A^T` and :math:`\omega(\theta) = b + B\theta + A H^{-1}(f + F\theta)` its conditions of optimality are

    .. math:: s = \omega + G\lambda, \qquad \lambda \ge 0, \quad s \ge 0, \quad \lambda^T s = 0.

    Affine functions of the parameter are rows (a, c) of length d + 1.
    """

    def __init__(self, problem: Problem) -> None:
        if not is_positive_definite(problem.H):
            raise BadProblem("H is not positive definite; the law needs a strictly convex cost")
        self.problem = problem
        weight = rationals(inverse(problem.H))
        self.free = -weight @ np.column_stack([problem.F, problem.f])
        self.reach = -weight @ problem.A.T
        self.gram = -problem.A @ self.reach
        self.omega = np.column_stack([problem.B, problem.b]) - problem.A @ self.free

    def optimiser(self, active: tuple[int, ...]) -> Optimiser | None:
        """Solve with the rows of ``active`` tight; None when they are linearly dependent."""
        tight = list(active)
        if tight:
            try:
                middle = rationals(inverse(self.gram[np.ix_(tight, tight)]))
            except Refusal:
                return None
            multipliers = -middle @ self.omega[tight]
        else:
            multipliers = np.zeros((0, self.problem.d + 1), dtype=object)
        z = self.free + self.reach[:, tight] @ multipliers if tight else self.free
        slack = self.omega + self.gram[:, tight] @ multipliers if tight else self.omega
        place = {row: k for k, row in enumerate(tight)}
        rows = tuple(primitive(multipliers[place[j]] if j in place else slack[j]) for j in range(self.problem.m))
        return Optimiser(active, z, multipliers, rows)

    def active_set(self, theta: Exact) -> tuple[tuple[int, ...], None] | tuple[None, dict[int, Fraction]]:
        r"""Decide the problem at one rational parameter by the dual method of Goldfarb and Idnani, without rounding.

        Returns
        -------
        (active, None)
            Linearly independent rows with non-negative multipliers whose solution is feasible, hence optimal.
        (None, ray)
            Or y >= 0, by row, with :math:`A^T y = 0` and :math:`y^T (b + B\theta) < 0`: the problem is infeasible there.

        References
        ----------
        .. [1] D. Goldfarb, A. Idnani, A numerically stable dual method for solving strictly convex quadratic programs, Math. Programming 27 (1983).
        """
        omega = self.omega @ np.append(theta, Fraction(1))
        multiplier, active = rationals([Fraction(0)] * self.problem.m), list[int]()
        while True:
            slack = omega + self.gram @ multiplier
            j = int(np.argmin(slack))
            if slack[j] >= 0:
                return tuple(sorted(active)), None
            while True:
                direction = rationals([Fraction(0)] * self.problem.m)
                if active:
                    direction[active] = -rationals(inverse(self.gram[np.ix_(active, active)])) @ self.gram[active, j]
                direction[j] = Fraction(1)
                curvature = self.gram[j] @ direction
                blocking = [(-multiplier[i] / direction[i], i) for i in active if direction[i] < 0]
                value = omega[j] + self.gram[j] @ multiplier
                full = -value / curvature if curvature > 0 else None
                if full is None and not blocking:
                    return None, {i: direction[i] for i in range(self.problem.m) if direction[i] > 0}
                step, drop = min(blocking) if blocking else (None, -1)
                if step is None or (full is not None and full <= step):
                    multiplier = multiplier + full * direction
                    active.append(j)
                    break
                multiplier = multiplier + step * direction
                active.remove(drop)
