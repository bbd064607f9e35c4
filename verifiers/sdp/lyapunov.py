r"""One quadratic for many linear systems: the corners of unknown constants, and Jacobians over a set of states.

For matrices A_k find P with the largest t such that, with W a diagonal of squared half-widths of the domain (so that units do not matter),

.. math:: A_k^\top P + P A_k + r P \preceq -t\, W^{-1} \qquad\text{or}\qquad
          \begin{pmatrix} (1 - r) P - t\, W^{-1} & A_k^\top P \\\\ P A_k & P \end{pmatrix} \succeq 0,
          \qquad 0 \preceq P \preceq W^{-1} .

It then holds for every matrix in their convex hull (polytope).  Corners of parameters are no proof where these enter nonlinearly, and states are
samples: P is a start for :mod:`verifiers.region.attraction`, and the kernel proves it for every value in the intervals.

References
----------
.. [1] S. Boyd, L. El Ghaoui, E. Feron, V. Balakrishnan, Linear matrix inequalities in system and control theory, SIAM 1994, sections 5.1 and 6.1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from scipy import sparse

from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.requirement import Requirement
from verifiers.kernel.setting import open_setting
from verifiers.region.attraction import Work
from verifiers.region.quadratic import interval_jacobian
from verifiers.sdp.programme import Programme, Solution, Unsolved, solve

CORNERS, STATES, ENTRIES = 16, 40, 6
SHARES = (1.0, 0.5, 0.25, 0.1, 0.0)
"""Shares of the domain from which Jacobians are drawn; zero is the linearisation alone."""
SECONDS = 60.0


def corner_loops(requirement: Requirement, plant: bytes, controller: bytes | None) -> tuple[Graph, ...]:
    """The closed loops with parameters at corners of their intervals: all of them, or ``CORNERS`` drawn with a fixed seed; none without intervals.

    Raises
    ------
    Refusal
        What the kernel's readers raise.
    """
    open_ = [(name, ends) for name, ends in sorted(requirement.parameters.items()) if ends[0] != ends[1]]
    if not open_:
        return ()
    picks: list[tuple[int, ...]] = list(itertools.product((0, 1), repeat=len(open_))) if 2 ** len(open_) <= CORNERS else [
        tuple(row) for row in np.random.default_rng(0).integers(0, 2, (CORNERS, len(open_))).tolist()]
    loops = []
    for pick in picks:
        chosen: dict[str, tuple[Fraction, Fraction]] = {name: (ends[i], ends[i]) for (name, ends), i in zip(open_, pick, strict=True)}
        loops.append(open_setting(replace(requirement, parameters={**requirement.parameters, **chosen}), plant, controller).loop.field)
    return tuple(loops)


def programme(matrices: Sequence[Floats], time: str, half: Floats, rate: float = 0.0) -> Programme:
    """The programme of the module's docstring in coordinates x / half; variables: t, then the upper triangle of P there.

    Parameters
    ----------
    matrices : sequence of (n, n) array
        A_k.
    time : str
        ``continuous`` or ``discrete``.
    half : (n,) array
        Half-widths of the domain.
    rate : float
        r.
    """
    n = len(half)
    entries = [np.zeros((n, n)) for _ in range(n * (n + 1) // 2)]
    for e, i, j in zip(entries, *np.triu_indices(n), strict=True):
        e[i, j] = e[j, i] = 1.0
    eye = np.eye(n)
    blocks = []
    for matrix in matrices:
        a = matrix * half / half[:, None]
        if time == "continuous":
            parts = [-eye, *(-(a.T @ e + e @ a) - rate * e for e in entries)]
        else:
            zero = np.zeros((n, n))
            parts = [np.block([[-eye, zero], [zero, zero]]), *(np.block([[(1 - rate) * e, a.T @ e], [e @ a, e]]) for e in entries)]
        size = len(parts[0])
        blocks.append((size, sparse.csr_matrix(np.column_stack([p.ravel() for p in parts])), np.zeros(size * size)))
    inner = sparse.csr_matrix(np.column_stack([np.zeros(n * n), *(e.ravel() for e in entries)]))
    blocks += [(n, inner, np.zeros(n * n)), (n, -inner, eye.ravel())]
    objective = np.zeros(1 + len(entries))
    objective[0] = 1.0
    return Programme(objective, tuple(blocks))


def common_quadratic(groups: Sequence[Sequence[Floats]], time: str, half: Floats, rate: float = 0.0, *, solver: str = "CLARABEL",
                     seconds: float = SECONDS) -> Floats | Unsolved:
    """P (n, n) for the first group of matrices that has one; all are asked of one child process.

    Returns
    -------
    (n, n) array or Unsolved
        In floats, hence no proof; else what was said of the last group.
    """
    answers = solve([programme(group, time, half, rate) for group in groups], solver=solver, seconds=seconds)
    last: Unsolved = Unsolved("infeasible", "no common quadratic was found")
    for answer in answers:
        if isinstance(answer, Solution):
            p = np.zeros((len(half), len(half)))
            p[np.triu_indices(len(half))] = answer.x[1:]
            p = (p + np.triu(p, 1).T) / np.outer(half, half)
            if answer.x[0] > 0 and np.linalg.eigvalsh(p)[0] > 0:
                return p
        else:
            last = answer
    return last


def hull(work: Work) -> list[Floats]:
    """Corners of the enclosure of the Jacobian at the equilibrium, which holds the unknown constants in each entry for itself; none if too many.

    The kernel's local proof is one for all matrices between them.
    """
    if work.where is None or not work.loop.vertices:
        return []
    mid, rad = interval_jacobian(work.setting.loop.field, work.where)
    wide = np.argwhere(rad > 1e-9 * np.abs(mid).max())
    if len(wide) > ENTRIES:
        return []
    found = []
    for signs in itertools.product((-1.0, 1.0), repeat=len(wide)):
        corner = mid.copy()
        for (i, j), sign in zip(wide, signs, strict=True):
            corner[i, j] += sign * rad[i, j]
        found.append(corner)
    return found


def lyapunov_starts(work: Work) -> tuple[Floats, ...]:
    """A quadratic that falls at every corner of the unknown constants, for Jacobians over as large a share of the domain as has one; or none.

    None too where a function is named, or without a solver: the search then goes on from the linearised loop.
    """
    if "V" in work.setting.functions or work.where is None:
        return ()
    centre = np.array([float(v) for v in work.where.centre])
    lo, hi = work.box
    half = np.minimum(hi - centre, centre - lo)
    ends = hull(work)
    spread = np.random.default_rng(work.seed).uniform(-1, 1, (STATES, len(centre))) * half
    loops = work.loop.all
    groups = [ends + [each.jacobian(centre + share * d) for each in loops for d in (spread if share else spread[:1])] for share in SHARES]
    finite = [group for group in groups if all(np.isfinite(a).all() for a in group)]
    found = common_quadratic(finite, work.loop.time, half, float(work.setting.rate), seconds=min(SECONDS, max(1.0, work.left / 3)))
    return () if isinstance(found, Unsolved) else (found,)
