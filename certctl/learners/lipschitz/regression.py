r"""Regression without parameters: the inputs nearest to the data's that a policy with a Lipschitz bound can have.

.. math:: \min_y \sum_i |y_i - u_i|^2 \quad\text{s.t.}\quad |y_i - y_j| \le L |x_i - x_j| \text{ for all pairs}

By Kirszbraun's theorem an L-Lipschitz function with the values y exists, so for every L-Lipschitz policy the sum of squared errors on the data is at
least the minimum.  Pairs enter the programme when they are violated: first the nearest neighbours', the data graph, then the rest.

References
----------
.. [1] E. J. McShane, Extension of range of functions, Bull. AMS 40, 1934; M. D. Kirszbraun, Fund. Math. 22, 1934.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from certctl.learners.lipschitz.demonstrations import BadData, Demonstrations
from verifiers.kernel.graph import Floats
from verifiers.smt.child import MEMORY, run

NEIGHBOURS, MOST, ROUNDS, TOLERANCE = 8, 2000, 40, 1e-7
Ints = np.ndarray


@dataclass(frozen=True, eq=False)
class Regression:
    """The values and what they cost.

    Attributes
    ----------
    states, values : ndarray
        x (N, n) and y (N, m).
    bound : float
        L.
    loss : float
        Mean of |y_i - u_i|^2: up to the solver's tolerance the least that any policy with this bound has.
    violation : float
        Largest (|y_i - y_j| - L |x_i - x_j|) left, in the inputs' unit.
    pairs, rounds : int
        Pairs in the last programme; programmes solved.
    """

    states: Floats
    values: Floats
    bound: float
    loss: float
    violation: float
    pairs: int
    rounds: int

    @property
    def constant(self) -> float:
        """Lipschitz constant of :meth:`evaluate`: the bound for one output, sqrt(m) times it for m."""
        return float(self.bound * np.sqrt(self.values.shape[1]))

    def evaluate(self, x: Floats) -> Floats:
        r"""The middle of McShane's extensions, component by component, (B, n) to (B, m).

        .. math:: \tfrac12 \min_i (y_i + L|x - x_i|) + \tfrac12 \max_i (y_i - L|x - x_i|)

        Each of both has the constant L whatever the y are, and both have the value y_i at x_i up to ``violation``.
        """
        found = []
        for rows in np.array_split(np.atleast_2d(x), max(1, len(x) * len(self.states) // 4_000_000)):
            cone = self.bound * np.linalg.norm(rows[:, None] - self.states[None], axis=2)[:, :, None]
            found.append(((self.values + cone).min(axis=1) + (self.values - cone).max(axis=1)) / 2)
        return np.concatenate(found)


def lipschitz_regression(data: Demonstrations, bound: float, *, seconds: float = 120.0) -> Regression:
    """Solve the programme by Clarabel in a child process, adding violated pairs until there is none.

    Parameters
    ----------
    data : Demonstrations
        At most 2000 pairs of states and inputs.
    bound : float
        L > 0.
    seconds : float
        For each programme.

    Raises
    ------
    BadData
        For too many pairs, a bound that is not positive, or a solver that does not answer "solved".
    ImportError
        When Clarabel is not installed.
    """
    if find_spec("clarabel") is None:
        raise ImportError("the convex programme needs clarabel; pip install certctl[sdp] brings it", name="clarabel")
    x, u = data.states, data.inputs
    if not (0 < bound < np.inf and len(x) <= MOST):
        raise BadData(f"a positive bound and at most {MOST} pairs are needed, not {bound} and {len(x)}")
    _, near = cKDTree(x).query(x, k=min(NEIGHBOURS + 1, len(x)))
    pairs = np.unique(np.sort(np.stack([np.repeat(np.arange(len(x)), near.shape[1]), near.ravel()], axis=1), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    scale = max(1.0, float(np.abs(u).max()))
    turn, broken = 0, pairs
    while len(broken) and turn < ROUNDS:
        turn += 1
        y = _solve(u, pairs, bound * np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1), seconds)
        worst, broken = _violated(x, y, bound, TOLERANCE * scale)
        pairs = np.unique(np.concatenate([pairs, broken]), axis=0)
    return Regression(x, y, bound, float(((y - u) ** 2).sum(axis=1).mean()), worst, len(pairs), turn)


def _violated(x: Floats, y: Floats, bound: float, tolerance: float) -> tuple[float, Ints]:
    """The largest violation, and the worst violated pairs, a few of each point."""
    worst, found = 0.0, []
    for k in range(len(x) - 1):
        excess = np.linalg.norm(y[k + 1:] - y[k], axis=1) - bound * np.linalg.norm(x[k + 1:] - x[k], axis=1)
        worst = max(worst, float(excess.max()))
        order = np.argsort(-excess)[:4]
        found += [(k, k + 1 + int(j)) for j in order if excess[j] > tolerance]
    return worst, np.array(found, dtype=np.intp).reshape(-1, 2)


def _solve(u: Floats, pairs: Ints, reach: Floats, seconds: float) -> Floats:
    """The minimiser for these pairs."""
    text = json.dumps({"inputs": u.tolist(), "pairs": pairs.tolist(), "reach": reach.tolist()})
    ran = run([sys.executable, "-P", str(Path(__file__).with_name("regression_child.py"))], text, seconds, MEMORY)
    if ran.status != "ok":
        raise BadData(f"the convex programme was not solved ({ran.status}): {ran.says}")
    try:
        answer = json.loads(ran.text)
        y = np.array(answer["y"], dtype=np.float64)
    except (ValueError, KeyError, TypeError):
        raise BadData(f"the convex programme was not solved: {ran.text[:200]!a}") from None
    if answer["status"] != "Solved" or y.shape != u.shape or not np.isfinite(y).all():
        raise BadData(f"the convex programme was not solved: Clarabel says {answer['status']}")
    return y
