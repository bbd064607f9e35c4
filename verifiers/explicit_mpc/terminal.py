"""Terminal ingredients: cost and gain of the unconstrained regulator, and sets where it respects the limits, the largest and one of few rows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.linalg import LinAlgError, solve_discrete_are
from scipy.optimize import linprog, minimize

from verifiers.explicit_mpc.condense import Limits
from verifiers.explicit_mpc.problem import BadProblem, Exact

MAX_STEPS = 200
MAX_SIDES = 200
"""Of the polygon for a pair of complex modes."""
CONTRACTION = 1e-6
"""By so much in each step the terminal set shrinks under the regulator, so that it is invariant in exact numbers too, in spite of rounded rows."""
SHRINKING = 1e-9
"""By so much the set found is smaller, so that it keeps the limits in exact numbers too."""


def dare(a: Exact, b: Exact, q: Exact, r: Exact, discount: Fraction = Fraction(1)) -> tuple[Exact, Exact]:
    r"""Cost P and gain K of the regulator: :math:`P = A^T P A - A^T P B (R + B^T P B)^{-1} B^T P A + Q`, :math:`u = K x`.

    Parameters
    ----------
    a, b, q, r : (n, n), (n, m), (n, n), (m, m) arrays of Fraction
    discount : Fraction
        gamma of the sum of costs; it acts as a factor sqrt(gamma) of A and B.

    Returns
    -------
    (P, K)
        Float64 values read as rationals, P symmetric.  Direction: none; nothing is proved about them, and the problem that they enter is exact.

    Raises
    ------
    BadProblem
        When there is no stabilising solution.
    """
    floats = [np.asarray(x, dtype=np.float64) for x in (a, b, q, r)]
    floats[:2] = [x * np.sqrt(float(discount)) for x in floats[:2]]
    try:
        p = solve_discrete_are(*floats)
    except (LinAlgError, ValueError) as error:
        raise BadProblem(f"the Riccati equation has no stabilising solution: {error}") from None
    p = (p + p.T) / 2
    gain = -np.linalg.solve(floats[3] + floats[1].T @ p @ floats[1], floats[1].T @ p @ floats[0])
    return _exact(p), _exact(gain)


def invariant_set(a: Exact, b: Exact, gain: Exact, x: Limits, u: Limits, tolerance: float = 1e-9) -> tuple[Exact, Exact]:
    r"""Rows :math:`G x \le g` of the largest set in which u = K x keeps the limits for ever and which shrinks a little, after Gilbert and Tan.

    Parameters
    ----------
    a, b, gain : arrays of Fraction
        The loop is x+ = (A + B K) x; the set X found has x+ in (1 - 1e-6) X.
    x, u : Limits
        The origin must be in their interior.
    tolerance : float
        A row is redundant when it exceeds its bound by no more than this over the set.

    Returns
    -------
    (G, g)
        Direction: none; float64 linear programs.  Invariance is not proved here, and no claim about a law rests on it.

    Raises
    ------
    BadProblem
        When a limit does not surround the origin, or the set is not determined after 200 steps.

    References
    ----------
    .. [1] E. G. Gilbert, K. T. Tan, Linear systems with state and control constraints: the theory and application of maximal output admissible
       sets, IEEE Trans. Automatic Control 36 (1991).
    """
    first, ends = _given(len(a), gain, x, u)
    loop = np.asarray(a + b @ gain, dtype=np.float64) / (1 - CONTRACTION)
    rows, bounds, power = first, ends, loop
    for _ in range(MAX_STEPS):
        more = first @ power
        new = [k for k in range(len(more)) if _exceeds(more[k], ends[k], rows, bounds, tolerance)]
        if not new:
            kept = _irredundant(rows, bounds, tolerance)
            return _exact(rows[kept]), _exact(bounds[kept] * (1 - SHRINKING))
        rows, bounds, power = np.vstack([rows, more[new]]), np.append(bounds, ends[new]), power @ loop
    raise BadProblem(f"the invariant set is not determined after {MAX_STEPS} steps; tighten the limits or change the weights")


def _given(n: int, gain: Exact, x: Limits, u: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Rows and ends of the limits of x and of u = K x."""
    given = [(sign * row, sign * float(end)) for rows, limits in ((np.eye(n), x), (np.asarray(gain, dtype=np.float64), u))
             for sign, ends in ((-1.0, limits[0]), (1.0, limits[1])) for row, end in zip(rows, ends, strict=False) if end is not None]
    if not given or not min(end for _, end in given) > 0:
        raise BadProblem("an invariant terminal set needs limits with the origin in their interior")
    return np.array([row for row, _ in given]), np.array([end for _, end in given])


def modal_set(a: Exact, b: Exact, gain: Exact, x: Limits, u: Limits) -> tuple[Exact, Exact]:
    r"""Rows :math:`G x \le g` of an invariant set of few rows: a box in the coordinates of the modes of x+ = (A + B K) x.

    A real mode :math:`y = w \cdot x`, :math:`y^+ = \lambda y`, gets the rows :math:`|y| \le c`, a complex pair of modulus :math:`\rho` a regular
    polygon of k sides, :math:`\rho \le \cos(\pi/k)`, which a rotation and shrinking by :math:`\rho` maps into its inner circle.  Sizes c have the
    largest product for which the set keeps the limits.

    Parameters
    ----------
    a, b, gain : arrays of Fraction
    x, u : Limits
        The origin must be in their interior; of two ends the nearer one counts, since the set is symmetric.

    Returns
    -------
    (G, g)
        2 n rows where all modes are real.  Direction: none; float64.  It lies in the largest set, :func:`invariant_set`, and a law with it has far
        fewer regions: in four states that one has hundreds of rows.

    Raises
    ------
    BadProblem
        When the loop is not stable, or has no basis of modes that float64 resolves, or a mode needs more than 200 sides.
    """
    first, ends = _given(len(a), gain, x, u)
    values, modes = np.linalg.eig(np.asarray(a + b @ gain, dtype=np.float64))
    if not (np.abs(values).max() < 1 - 1e-9 and np.linalg.cond(modes) < 1e8):
        raise BadProblem('the loop has no stable modes that float64 tells apart; take set = "invariant"')
    back, blocks, columns = np.linalg.inv(modes), list[np.ndarray](), list[np.ndarray]()
    for value, mode, row in zip(values, modes.T, back, strict=True):
        if value.imag == 0:
            blocks.append(np.vstack([row.real, -row.real]))
            columns.append(np.abs(first @ mode.real))
        elif value.imag > 0:
            k = max(4, int(np.ceil(np.pi / np.arccos(min(abs(value) * (1 + 1e-9), 1.0)))))
            if k > MAX_SIDES:
                raise BadProblem(f'a mode of modulus {abs(value):.6g} needs a polygon of {k} sides; take set = "invariant"')
            angle = 2 * np.pi * np.arange(k) / k  # x = 2 Re(mode y) with y = row x
            blocks.append(np.outer(np.cos(angle), row.real) + np.outer(np.sin(angle), row.imag))
            corner = np.exp(1j * (angle + np.pi / k)) / np.cos(np.pi / k)
            columns.append((2 * np.outer(first @ mode, corner).real).max(axis=1))
    reach = np.array(columns).T / ends[:, None]
    weight = np.array([2.0 if len(block) > 2 else 1.0 for block in blocks])
    start = 1 / (reach.sum(axis=1).max() * np.ones(len(blocks)))
    found = minimize(lambda t: -weight @ t, np.log(start), jac=lambda t: -weight, method="SLSQP", options={"maxiter": 500}, constraints={
        "type": "ineq", "fun": lambda t: 1 - reach @ np.exp(t), "jac": lambda t: -reach * np.exp(t)}).x
    sizes = np.exp(found) if np.isfinite(found).all() else start
    sizes *= (1 - SHRINKING) / (reach @ sizes).max()
    return _exact(np.vstack(blocks)), _exact(np.concatenate([np.full(len(block), c) for block, c in zip(blocks, sizes, strict=True)]))


def _exceeds(row: np.ndarray, bound: float, rows: np.ndarray, bounds: np.ndarray, tolerance: float) -> bool:
    found = linprog(-row, A_ub=rows, b_ub=bounds, bounds=(None, None), method="highs")
    return not (found.status == 0 and -found.fun <= bound + tolerance)


def _irredundant(rows: np.ndarray, bounds: np.ndarray, tolerance: float) -> list[int]:
    kept = list(range(len(rows)))
    for k in range(len(rows)):
        others = [i for i in kept if i != k]
        if others and not _exceeds(rows[k], bounds[k], rows[others], bounds[others], tolerance):
            kept = others
    return kept


def _exact(values: np.ndarray) -> Exact:
    return np.array([Fraction(v) for v in values.ravel().tolist()], dtype=object).reshape(values.shape)
