"""mp-QP to critical regions in float64: two searches, one chosen by shape and the other there to check it.

What is found here is a list of active sets, never a proof: :mod:`verifiers.explicit_mpc.partition` rebuilds each exactly and finds what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from verifiers.explicit_mpc.problem import Floats, Problem


class Search(Enum):
    """How neighbours are found across a facet."""

    geometric = "solve the QP at points just beyond the facet"
    combinatorial = "exchange the row of the facet in the active set, and solve a QP only where that gives no region"


class Status(Enum):
    """How a search ended; the value is the sentence for the user."""

    solved = "every facet of every region was followed"
    infeasible = "no feasible parameter was found in the box"
    capped = "the search stopped at the largest number of regions; raise max_regions or shrink the box"


@dataclass(frozen=True)
class Settings:
    """All tolerances of the search; parameters are scaled so that the box is [-1, 1] in each, rows to unit gradient.

    Attributes
    ----------
    search : Search or None
        None chooses by shape: geometric for up to two parameters with at least three rows per variable, else combinatorial.
    interior : float
        A region counts when a ball of this radius fits into it.  Must exceed the QP solver's primal tolerance.
    step : float
        How far beyond a facet the QP is solved.
    primal : float
        Primal tolerance of the QP solver, in rows of unit norm.
    multiplier : float
        A row whose multiplier is larger is active.
    rank : float
        Rows are dependent when a pivot of their scaled Gram matrix falls below this.
    starts : int
        Random parameters from which the search starts, beside the centre and zero.
    max_regions : int
        The search stops there with the status ``capped``.
    seed : int
        Of the random starts.
    """

    search: Search | None = None
    interior: float = 1e-7
    step: float = 1e-5
    primal: float = 1e-9
    multiplier: float = 1e-9
    rank: float = 1e-10
    starts: int = 20
    max_regions: int = 100_000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Region:
    """A critical region in scaled parameters t.

    Attributes
    ----------
    active : tuple of int
        Row numbers of the problem, sorted.
    centre, radius : (d,) array, float
        A ball inside.
    facets : tuple of int
        Rows of the problem (multiplier where active, slack elsewhere) that bound the region; faces of the box are left out.
    points : (len(facets), d) array
        A point inside each facet.
    normals : (len(facets), d) array
        Outward, of unit length.
    """

    active: tuple[int, ...]
    centre: Floats
    radius: float
    facets: tuple[int, ...]
    points: Floats
    normals: Floats


@dataclass(frozen=True, eq=False)
class Solution:
    """What a search found.

    Attributes
    ----------
    regions : tuple of Region
    status : Status
    search : Search
        The one used.
    qps, lps : int
        Programs solved.
    residual : float
        Largest violation of a condition of optimality at a region's centre, in scaled rows; at most rounding.
    seconds : float
    """

    regions: tuple[Region, ...]
    status: Status
    search: Search
    qps: int
    lps: int
    residual: float
    seconds: float


def solve(problem: Problem, settings: Settings | None = None) -> Solution:
    r"""Find the critical regions of an mp-QP that have an interior in the box of parameters.

    Parameters
    ----------
    problem : Problem
        n variables, m rows, d parameters.
    settings : Settings, optional

    Returns
    -------
    Solution
        Direction: none; a float64 search, which may miss a region that only a degenerate point joins to the others.

    Raises
    ------
    ImportError
        Without DAQP (the extra ``mpc``).

    References
    ----------
    .. [1] P. Tøndel, T. A. Johansen, A. Bemporad, An algorithm for multi-parametric quadratic programming and explicit MPC solutions,
       Automatica 39 (2003).
    .. [2] R. Oberdieck, N. A. Diangelakis, E. N. Pistikopoulos, Explicit model predictive control: a connected-graph approach, Automatica 76 (2017).
    """
    settings = settings or Settings()
    began = time.perf_counter()
    work = _Work(problem, settings)
    chosen = settings.search or (Search.geometric if problem.d <= 2 and problem.m >= 3 * problem.n else Search.combinatorial)
    waiting, done, regions = list(work.starts()), set[int](), list[Region]()
    while waiting and len(regions) < settings.max_regions:
        mask = waiting.pop()
        if mask in done:
            continue
        done.add(mask)
        region = work.region(mask)
        if region is None:
            continue
        regions.append(region)
        for k in range(len(region.facets)):
            across = work.exchanged(mask, region, k) if chosen is Search.combinatorial else ()
            waiting += [other for other in across if work.region(other) is not None] or work.beyond(region, k)
    status = Status.capped if waiting else Status.solved if regions else Status.infeasible
    return Solution(tuple(sorted(regions, key=lambda r: (len(r.active), r.active))), status, chosen, work.qps, work.lps,
                    max((work.residual(region) for region in regions), default=0.0), time.perf_counter() - began)


def cross_check(problem: Problem, settings: Settings | None = None) -> tuple[Solution, Solution, tuple[tuple[int, ...], ...]]:
    """Run both searches; return geometric, combinatorial, and the active sets that only one of them found."""
    from dataclasses import replace

    both = [solve(problem, replace(settings or Settings(), search=search)) for search in Search]
    geometric, combinatorial = ({region.active for region in solution.regions} for solution in both)
    return both[0], both[1], tuple(sorted(geometric ^ combinatorial))


class _Work:
    """The scaled problem in its multipliers (see :class:`verifiers.explicit_mpc.exact.ExactProblem`), and the programs solved on it."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        import daqp

        self.daqp, self.settings, self.problem = daqp, settings, problem
        data = problem.floats()
        middle, half = self.middle, self.half = (data["lb"] + data["ub"]) / 2, (data["ub"] - data["lb"]) / 2
        size = np.linalg.norm(data["A"], axis=1)
        size[size == 0] = 1.0
        self.H, self.A = data["H"], np.ascontiguousarray(data["A"] / size[:, None])
        self.cost = np.column_stack([data["F"] * half, data["f"] + data["F"] @ middle])
        self.bound = np.column_stack([data["B"] * half, data["b"] + data["B"] @ middle]) / size[:, None]
        self.gram = self.A @ np.linalg.solve(self.H, self.A.T)
        self.omega = self.bound + self.A @ np.linalg.solve(self.H, self.cost)
        eye = np.eye(problem.d)
        self.box = np.column_stack([np.vstack([-eye, eye]), np.ones(2 * problem.d)])  # rows (a, c): a . t <= c
        self.qps = self.lps = 0
        self.known: dict[int, Region | None] = {}

    def starts(self) -> Iterator[int]:
        """Active sets at the centre, at the parameter zero where the box holds it (an MPC problem is feasible there), and at random ones."""
        draw = np.random.default_rng(self.settings.seed).uniform(-1, 1, (self.settings.starts, self.problem.d))
        zero = -self.middle / self.half
        for point in [np.zeros(self.problem.d), *([zero] if np.abs(zero).max() < 1 else []), *draw]:
            if (mask := self.active_at(point)) is not None:
                yield mask

    def active_at(self, point: Floats) -> int | None:
        """Bits of the rows with a positive multiplier at a parameter; None where the QP is infeasible or the solver gives up."""
        self.qps += 1
        at = np.append(point, 1.0)
        _, _, flag, info = self.daqp.solve(self.H, self.cost @ at, self.A, self.bound @ at, primal_tol=self.settings.primal)
        if flag != 1:
            return None
        return sum(1 << int(j) for j in np.nonzero(np.asarray(info["lam"]) > self.settings.multiplier)[0])

    def conditions(self, mask: int) -> tuple[list[int], Floats] | None:
        """Rows (m, d+1) that are non-negative where the active set is optimal; None when its rows are dependent."""
        active = [j for j in range(self.problem.m) if mask >> j & 1]
        rows = self.omega.copy()
        if active:
            middle = self.gram[np.ix_(active, active)]
            if len(active) > self.problem.n or not middle.diagonal().min() > 0:
                return None
            scale = 1 / np.sqrt(middle.diagonal())
            try:
                factor = np.linalg.cholesky(middle * np.outer(scale, scale))
            except np.linalg.LinAlgError:
                return None
            if not factor.diagonal().min() ** 2 > self.settings.rank:
                return None
            multipliers = -np.linalg.solve(middle, self.omega[active])
            rows += self.gram[:, active] @ multipliers
            rows[active] = multipliers
        return active, rows

    def region(self, mask: int) -> Region | None:
        """The critical region of an active set, where it has an interior."""
        if mask not in self.known:
            self.known[mask] = self._region(mask)
        return self.known[mask]

    def _region(self, mask: int) -> Region | None:
        found = self.conditions(mask)
        if found is None:
            return None
        active, rows = found
        size = np.linalg.norm(rows[:, :-1], axis=1)
        flat = size <= 1e-12 * np.maximum(1.0, np.abs(rows[:, -1]))
        if (rows[flat, -1] < -self.settings.interior).any():
            return None
        kept = np.nonzero(~flat)[0]
        walls = np.vstack([np.column_stack([-rows[kept, :-1], rows[kept, -1]]) / size[kept, None], self.box])
        ball = self.ball(walls)
        if ball is None or not ball[1] > self.settings.interior:
            return None
        numbers, points = facets(walls, ball[0])
        inner = [(k, p) for k, p in zip(numbers, points, strict=True) if k < len(kept)]
        return Region(tuple(active), ball[0], ball[1], tuple(int(kept[k]) for k, _ in inner),
                      np.array([p for _, p in inner]).reshape(-1, self.problem.d), walls[[k for k, _ in inner], :-1])

    def ball(self, walls: Floats) -> tuple[Floats, float] | None:
        """Centre and radius of a largest ball within ``a . t <= c`` (rows of unit a): one LP."""
        self.lps += 1
        d = self.problem.d
        upper = np.append(walls[:, -1], 2.0)
        rows = np.vstack([np.column_stack([walls[:, :-1], np.ones(len(walls))]), np.append(np.zeros(d), 1.0)])
        x, _, flag, _ = self.daqp.solve(np.zeros((d + 1, d + 1)), np.append(np.zeros(d), -1.0), rows, upper, primal_tol=self.settings.primal)
        return (np.asarray(x[:d]), float(x[d])) if flag == 1 else None

    def exchanged(self, mask: int, region: Region, k: int) -> Iterator[int]:
        """Active sets that differ by the facet's row, and where that makes the rows dependent, by one more."""
        bit = 1 << region.facets[k]
        if mask & bit:
            yield mask ^ bit
        elif self.conditions(mask | bit) is not None:
            yield mask | bit
        else:
            yield from (mask ^ bit ^ (1 << i) for i in region.active)

    def beyond(self, region: Region, k: int) -> Iterator[int]:
        """The active set just beyond a facet, where that is in the box and feasible."""
        point = region.points[k] + self.settings.step * region.normals[k]
        if np.abs(point).max() < 1 and (mask := self.active_at(point)) is not None:
            yield mask

    def residual(self, region: Region) -> float:
        """Violation of stationarity and feasibility at a region's centre, by a second route: z from the multipliers, then the rows of A."""
        at, active = np.append(region.centre, 1.0), list(region.active)
        found = self.conditions(sum(1 << j for j in active))
        if found is None:
            return float("inf")
        multipliers = found[1][active] @ at
        z = -np.linalg.solve(self.H, self.cost @ at + self.A[active].T @ multipliers)
        slack = self.bound @ at - self.A @ z
        return float(max(-slack.min(), np.abs(slack[active]).max(initial=0.0), -multipliers.min(initial=0.0), 0.0))


def facets(walls: Floats, centre: Floats) -> tuple[list[int], list[Floats]]:
    r"""Irredundant rows of a bounded polytope around an interior point, and a point inside each of their facets.

    The rows are the corners of the polar polytope, conv of :math:`a_i / (c_i - a_i \cdot x)`; its facets are the vertices of this one.
    """
    reach = walls[:, -1] - walls[:, :-1] @ centre
    polar = walls[:, :-1] / reach[:, None]
    if polar.shape[1] == 1:
        ends = [int(polar[:, 0].argmax()), int(polar[:, 0].argmin())]
        return ends, [centre + 1 / polar[k] for k in ends]
    try:
        hull = ConvexHull(polar)
    except QhullError:
        hull = ConvexHull(polar, qhull_options="QJ")
    corners = centre - hull.equations[:, :-1] / hull.equations[:, -1:]
    touching: dict[int, list[int]] = {}
    for k, simplex in enumerate(hull.simplices):
        for row in simplex.tolist():
            touching.setdefault(row, []).append(k)
    rows = sorted(touching)
    return rows, [corners[touching[row]].mean(axis=0) for row in rows]
