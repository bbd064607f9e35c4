"""The hyperplane tree of a law, built exactly from active sets, with the hints by which the kernel checks each leaf."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from verifiers.explicit_mpc.cell import Cell, Planes, box_cell
from verifiers.explicit_mpc.exact import ExactProblem, Optimiser, Row, primitive
from verifiers.explicit_mpc.law import OUTSIDE, Law
from verifiers.explicit_mpc.problem import Exact, Problem
from verifiers.kernel.codes import Refusal
from verifiers.kernel.definite import adjugate, rationals

Signs = NDArray[np.int8]
MAX_LEAVES, TRIES = 200_000, 100


class TooManyLeaves(ValueError):
    """The tree grew beyond what is written; a smaller box or a shorter horizon has fewer regions."""


@dataclass(frozen=True, eq=False)
class Critical:
    """A critical region with interior: its solution, its cell, and its facets and conditions as (plane, sign)."""

    optimiser: Optimiser
    cell: Cell
    facets: list[tuple[int, int]]
    conditions: list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Partition:
    """A law with its proof.

    Attributes
    ----------
    law : Law
    proof : dict
        The table of proof/law.json (:func:`verifiers.kernel.pwa.check_law` says what stands in it).
    regions : int
        Critical regions with interior in the box.
    added : int
        Those among them that the search had missed.
    active : tuple of tuple of int
        The active sets of all regions.
    leaves, outside, depth : int
        Leaves of the tree, those among them where the problem is infeasible, and questions above the deepest.
    """

    law: Law
    proof: dict[str, Any]
    regions: int
    added: int
    leaves: int
    outside: int
    depth: int
    active: tuple[tuple[int, ...], ...] = ()


class NotFeasible(ValueError):
    """A loop that leaves the set where the law has a value: the sentence, and the exact trajectory (steps, d) that shows it."""

    def __init__(self, message: str, states: list[Exact]) -> None:
        super().__init__(message)
        self.states = states


def partition(problem: Problem, active_sets: Iterable[tuple[int, ...]], outputs: int | None = None,
              loop: tuple[Exact, Exact] | None = None) -> Partition:
    """Build the tree of the law over the whole box, and a proof for each leaf.

    Parameters
    ----------
    problem : Problem
        n variables, m rows, d parameters.
    active_sets : iterable of tuple of int
        What a search found; wrong or missing ones cost time, never correctness.
    outputs : int, optional
        The law is the first so many components of z; all by default.
    loop : (A, B), optional
        Show too that A theta + B u(theta) is feasible wherever theta is.

    Raises
    ------
    BadProblem
        When H is not positive definite.
    TooManyLeaves
    NotFeasible
        With a state from which the loop leaves the feasible set.

    Notes
    -----
    Each question is a facet of a critical region that cuts the cell, chosen so that the larger side keeps as few regions as possible [1]_.
    All decisions are exact, so the tree has a leaf for every point.  Where no known region is left, the problem is solved exactly at an inner
    point: that gives a region that the search had missed, or a ray that shows the problem infeasible there.

    References
    ----------
    .. [1] P. Tøndel, T. A. Johansen, A. Bemporad, Evaluation of piecewise affine control via binary search tree, Automatica 39 (2003).
    """
    work = _Builder(problem)
    for active in sorted(set(active_sets)):
        work.add(active)
    known = len(work.regions)
    work.index()
    work.grow(work.box, np.arange(known), 0)
    count = problem.n if outputs is None else outputs
    return work.result(count, len(work.regions) - known, None if loop is None else work.images(loop, count))


def critical_regions(problem: Problem, active_sets: Iterable[tuple[int, ...]]) -> tuple[list[Critical], Planes]:
    """The critical regions with interior of active sets, exact, and the planes that their facets name.

    Raises
    ------
    BadProblem
        When H is not positive definite.
    """
    work = _Builder(problem)
    for active in sorted(set(active_sets)):
        work.add(active)
    return work.regions, work.planes


@dataclass(eq=False)
class _Builder:
    problem: Problem
    regions: list[Critical] = field(default_factory=list)
    known: dict[tuple[int, ...], int] = field(default_factory=dict)
    rays: list[tuple[int, int]] = field(default_factory=list)
    ray_texts: list[list[list[Any]]] = field(default_factory=list)
    tree: list[int] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)
    cells: dict[int, tuple[Cell, Critical]] = field(default_factory=dict)
    depth: int = 0

    def __post_init__(self) -> None:
        self.exact = ExactProblem(self.problem)
        self.planes, self.box = box_cell(self.problem.lb, self.problem.ub)
        self.right = np.column_stack([self.problem.B, self.problem.b])
        self.places: dict[int, int] = {}
        self.questions = np.zeros(0, dtype=int)
        self.sides = np.zeros((0, 0, 2), dtype=bool)
        self.bounds: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    # regions --------------------------------------------------------------------------------------------------------

    def add(self, active: tuple[int, ...]) -> bool:
        """Keep the critical region of an active set where it has an interior, and say whether it has."""
        if active in self.known:
            return True
        optimiser = self.exact.optimiser(active)
        if optimiser is None:
            return False
        cell, conditions = self.box, [self.planes.add(row) for row in optimiser.rows]
        for plane, sign in conditions:
            signs = self.signs(cell, plane) * sign
            if sign == 0 or (signs >= 0).all():
                continue
            if not (signs > 0).any():
                return False
            cell = cell.cut(self.planes, plane, (signs * sign).tolist())[0 if sign > 0 else 1]
        self.known[active] = len(self.regions)
        self.regions.append(Critical(optimiser, cell, self.facets(cell), [c for c in conditions if c[1]]))
        return True

    def facets(self, cell: Cell) -> list[tuple[int, int]]:
        """Half-spaces that bound the cell and are no faces of the box; those that only touch it may be among them."""
        d = self.problem.d
        walls = set(cell.path[:2 * d])
        return sorted({side for k, side in enumerate(cell.path) if sum(t >> k & 1 for t in cell.tight) >= d} - walls)

    def index(self) -> None:
        """On which sides of each facet's plane each region lies."""
        self.questions = np.array(sorted({plane for region in self.regions for plane, _ in region.facets}), dtype=int)
        self.places = {int(plane): k for k, plane in enumerate(self.questions)}
        self.sides = np.zeros((len(self.regions), len(self.questions), 2), dtype=bool)
        for i, region in enumerate(self.regions):
            signs = self.planes.signs(region.cell.vertices, self.questions)
            self.sides[i, :, 0], self.sides[i, :, 1] = (signs > 0).any(axis=0), (signs < 0).any(axis=0)
        self.bounds = [(np.array([self.places[plane] for plane, _ in region.facets], dtype=int), np.array([s for _, s in region.facets], dtype=int))
                       for region in self.regions]

    def signs(self, cell: Cell, plane: int) -> Signs:
        """Signs of one plane's row at the cell's vertices."""
        return self.planes.signs(cell.vertices, np.array([plane]))[:, 0] if plane >= 0 else np.zeros(len(cell.vertices), dtype=np.int8)

    # the tree -------------------------------------------------------------------------------------------------------

    def grow(self, cell: Cell, candidates: NDArray[np.int64], depth: int) -> None:
        """Append the subtree of a cell, of which ``candidates`` are the known regions that may meet its interior."""
        self.depth = max(self.depth, depth)
        if len(self.leaves) > MAX_LEAVES:
            raise TooManyLeaves(f"the tree has more than {MAX_LEAVES} leaves; shrink the box of parameters or the horizon")
        met, above, below, whole = self.meeting(cell, candidates)
        if whole is not None:
            self.tree.append(-2 - whole)
            self.held(cell, self.regions[whole])
            return
        if not len(met):
            self.without_region(cell, depth)
            return
        cutting = np.nonzero(above & below)[0]
        cutting = cutting[np.isin(cutting, np.concatenate([self.bounds[i][0] for i in met]))]
        upper, lower = self.sides[np.ix_(met, cutting)].transpose(2, 0, 1)
        counts = upper.sum(axis=0), lower.sum(axis=0)
        k = int(np.argmin(np.maximum(*counts) * (2 * len(met) + 1) + np.add(*counts)))
        sign = 1 if self.sides[:, cutting[k], 0].any() else -1  # the border of the feasible set belongs to the feasible side
        self.ask(cell, int(self.questions[cutting[k]]), sign, (met[upper[:, k]], met[lower[:, k]]), depth)

    def meeting(self, cell: Cell, candidates: NDArray[np.int64]) -> tuple[NDArray[np.int64], Signs, Signs, int | None]:
        """Regions that may meet the interior, the questions' planes that have points of the cell on either side, and a region that holds it all."""
        above = np.zeros(len(self.questions), dtype=bool)
        below, met = above.copy(), []
        if len(candidates):
            asked = np.unique(np.concatenate([self.bounds[i][0] for i in candidates]))
            signs = self.planes.signs(cell.vertices, self.questions[asked])
            above[asked], below[asked] = (signs > 0).any(axis=0), (signs < 0).any(axis=0)
        for i in candidates:
            places, sign = self.bounds[i]
            inner, outer = np.where(sign > 0, above[places], below[places]), np.where(sign > 0, below[places], above[places])
            if not outer.any():
                return candidates, above, below, int(i)
            if inner.all():
                met.append(int(i))
        return np.array(met, dtype=np.int64), above, below, None

    def ask(self, cell: Cell, plane: int, sign: int, candidates: tuple[NDArray[np.int64], NDArray[np.int64]], depth: int) -> None:
        """Append a question and both subtrees; the half-space asked is ``sign`` times the plane's row."""
        parts = cell.cut(self.planes, plane, self.signs(cell, plane).tolist(), sign)
        self.tree.append(2 * plane + (sign < 0))
        for part, known in zip(parts[::sign], candidates[::sign], strict=True):
            if (self.signs(part, plane) == 0).all():
                self.face(part, depth + 1)
            else:
                self.grow(part, known, depth + 1)

    def face(self, cell: Cell, depth: int) -> None:
        """Append the subtree of a cell without interior, where an infeasible cell touches the border of the feasible set."""
        self.depth = max(self.depth, depth)
        for k, region in enumerate(self.regions):
            if all((self.signs(cell, plane) * sign >= 0).all() for plane, sign in region.conditions):
                self.tree.append(-2 - k)
                self.held(cell, region)
                return
        for plane in self.questions.tolist():
            signs = self.signs(cell, plane)
            if (signs > 0).any() and (signs < 0).any():
                self.tree.append(2 * plane)
                for part in cell.cut(self.planes, plane, signs.tolist()):
                    self.face(part, depth + 1)
                return
        raise ArithmeticError("a face of the feasible set lies in no known region")

    def without_region(self, cell: Cell, depth: int) -> None:
        """A cell that no known region meets: infeasible by a known ray, cut by one, or solved at an inner point."""
        nobody = np.zeros(0, dtype=np.int64)
        for k, (plane, sign) in enumerate(self.rays):
            signs = self.signs(cell, plane) * sign
            if (signs <= 0).all():
                basis = self.basis(cell, plane, -sign, strict=True)
                if not basis:  # it touches the feasible set in points that are its own
                    self.ask(cell, plane, sign, (nobody, nobody), depth)
                    return
                self.tree.append(OUTSIDE)
                self.leaves.append([k, basis])
                return
            if (signs < 0).any():
                self.ask(cell, plane, sign, (nobody, nobody), depth)
                return
        for point in itertools.islice(cell.inner_points(self.planes), TRIES):
            active, ray = self.exact.active_set(point)
            if ray is not None:
                row = primitive(sum(value * self.right[j] for j, value in ray.items()))
                self.rays.append(self.planes.add(row))
                self.ray_texts.append([[int(j), str(value)] for j, value in sorted(ray.items())])
                break
            if active is not None and self.add(active):  # a point on the border of regions may give an active set without interior
                if len(self.regions) > len(self.bounds):
                    self.index()
                nobody = np.array([self.known[active]])
                break
        else:
            raise ArithmeticError(f"{TRIES} inner points of a cell lie on borders of critical regions")
        self.grow(cell, nobody, depth)

    # hints for the kernel -------------------------------------------------------------------------------------------

    def held(self, cell: Cell, region: Critical) -> None:
        """Append the hints of a leaf with a map."""
        self.cells[len(self.leaves)] = cell, region
        self.leaves.append(self.optimality(cell, region.optimiser.rows))

    def images(self, loop: tuple[Exact, Exact], outputs: int) -> list[Any]:
        """For each leaf the hints that its image under the loop is feasible: that no ray's function is negative there, and that it is in the box."""
        d = self.problem.d
        kept = rationals([[sign * v for v in self.planes.rows[plane]] for plane, sign in (*self.rays, *self.box.path[:2 * d])])
        found: list[Any] = []
        for k in range(len(self.leaves)):
            if k not in self.cells:
                found.append([])
                continue
            cell, region = self.cells[k]
            after = loop[1] @ region.optimiser.z[:outputs]
            after[:, :d] = after[:, :d] + loop[0]
            moved = kept[:, :d] @ after
            moved[:, d] = moved[:, d] + kept[:, d]
            rows = [primitive(row) for row in moved]
            self.escape(cell, rows, loop, outputs)
            found.append(self.optimality(cell, rows))
        return found

    def escape(self, cell: Cell, rows: Sequence[Row], loop: tuple[Exact, Exact], outputs: int) -> None:
        """Raise where a vertex of the cell leaves the feasible set in one step."""
        for vertex in cell.vertices:
            if any(sum(map(int.__mul__, row, vertex.point)) < 0 for row in rows):
                theta = rationals([Fraction(v, vertex.point[-1]) for v in vertex.point[:-1]])
                active, _ = self.exact.active_set(theta)
                optimiser = None if active is None else self.exact.optimiser(active)
                if optimiser is not None:
                    move = optimiser.z[:outputs] @ np.append(theta, Fraction(1))
                    states = [theta, loop[0] @ theta + loop[1] @ move]
                    at = ", ".join(f"{float(v):.6g}" for v in theta)
                    raise NotFeasible(f"the loop leaves the feasible set from ({at}) in one step; give the model a terminal set and cost", states)

    def optimality(self, cell: Cell, rows: Sequence[Row]) -> list[list[list[int]]]:
        """Bases of the leaf's rows, each with the conditions that it shows to be non-negative; few, because each costs the kernel a solution."""
        varying = [j for j, row in enumerate(rows) if any(row[:-1])]
        sides = [self.planes.add(rows[j]) for j in varying]
        scaled = np.array([sign * self.planes.scaled[plane] for plane, sign in sides]).reshape(-1, self.problem.d + 1)
        values = np.array([v.scaled for v in cell.vertices]) @ scaled.T
        near = values <= values.min(axis=0) + 1e-9  # for each condition the vertices where it is least
        open_, found = np.ones(len(varying), dtype=bool), list[list[list[int]]]()
        while open_.any():
            k = int((near & open_).sum(axis=1).argmax())
            mine = np.nonzero(near[k] & open_)[0]
            basis = self.guess(cell, k, *sides[mine[0]]) if len(mine) else []
            shown = mine[self.shows(cell, basis, [rows[varying[i]] for i in mine])] if basis else mine[:0]
            near[k] = False
            if not near[:, open_].any() and not len(shown):  # the cheap choices are used up: the first condition by itself
                shown = np.nonzero(open_)[0][:1]
                basis = self.basis(cell, *sides[shown[0]])
            if len(shown):
                found.append([list(basis), [varying[i] for i in shown]])
                open_[shown] = False
        constant = [j for j, row in enumerate(rows) if not any(row[:-1])]
        return [*found, [list(range(self.problem.d)), constant]] if constant else found

    def basis(self, cell: Cell, plane: int, sign: int, strict: bool = False) -> list[int]:
        """d independent rows of the path of which the row, non-negative on the cell, is a non-negative combination and a constant.

        With ``strict`` the combination must show that the row is positive, and the basis is empty when there is none.
        """
        values = np.array([v.scaled for v in cell.vertices]) @ (sign * self.planes.scaled[plane])
        for k in np.argsort(values, kind="stable"):
            if values[k] > values.min() + 1e-7:
                break
            tight = [i for i in range(len(cell.path)) if cell.tight[k] >> i & 1]
            for basis in itertools.chain([self.guess(cell, int(k), plane, sign)], itertools.combinations(tight, self.problem.d)):
                if len(basis) and self.shows(cell, list(basis), [tuple(sign * v for v in self.planes.rows[plane])], strict).all():
                    return list(basis)
        if strict:
            return []
        raise ArithmeticError("a condition that holds at every vertex of a cell was not shown to hold on the cell")

    def guess(self, cell: Cell, k: int, plane: int, sign: int) -> list[int]:
        """One guess: the rows tight at a vertex, those first that carry the given row; empty when they seem to be dependent."""
        d = self.problem.d
        tight = [i for i in range(len(cell.path)) if cell.tight[k] >> i & 1]
        if len(tight) > d:
            normals = np.array([s * self.planes.scaled[p][:d] for p, s in (cell.path[i] for i in tight)])
            factors = nnls(normals.T, sign * self.planes.scaled[plane][:d], maxiter=100 * len(tight))[0]
            factors += [2.0 * (cell.path[i] == (plane, sign)) for i in tight]
            tight = _independent([tight[i] for i in np.argsort(-factors, kind="stable")], normals[np.argsort(-factors, kind="stable")])
        return tight if len(tight) == d else []

    def shows(self, cell: Cell, basis: Sequence[int], rows: Sequence[Row], strict: bool = False) -> NDArray[np.bool_]:
        """For which rows the kernel will accept the basis."""
        d = self.problem.d
        base = rationals([[cell.path[i][1] * v for v in self.planes.rows[cell.path[i][0]]] for i in basis])
        try:
            solved, scale = adjugate(base[:, :d])
        except Refusal:
            return np.zeros(len(rows), dtype=bool)
        given = rationals(rows)
        factors = given[:, :d] @ solved
        rest = scale * given[:, d] - factors @ base[:, d]
        good = (factors >= 0).all(axis=1) & (rest >= 0)
        if strict:
            good &= (rest > 0) | (factors[:, [bool(cell.strict >> i & 1) for i in basis]] > 0).any(axis=1)
        return good.astype(bool)

    def result(self, outputs: int, added: int, images: list[Any] | None = None) -> Partition:
        """Law and proof, with only those half-spaces and maps that the tree uses."""
        asked = sorted({entry for entry in self.tree if entry >= 0})
        used = sorted({-2 - entry for entry in self.tree if entry < OUTSIDE})
        new = {old: k for k, old in enumerate(asked)} | {-2 - old: -2 - k for k, old in enumerate(used)} | {OUTSIDE: OUTSIDE}
        rows = tuple(tuple((-v if entry % 2 else v) for v in self.planes.rows[entry // 2]) for entry in asked)
        found = [self.regions[k].optimiser for k in used]
        law = Law(self.problem.lb, self.problem.ub, rows, tuple(o.z[:outputs] for o in found), outputs, tuple(new[entry] for entry in self.tree))
        proof = {"rays": self.ray_texts, "leaves": self.leaves, "optimisers": [
            {"active": list(o.active), "rest": [list(map(str, row)) for row in o.z[outputs:]],
             "multipliers": [list(map(str, row)) for row in o.multipliers]} for o in found], **({} if images is None else {"images": images})}
        outside = sum(entry == OUTSIDE for entry in self.tree)
        return Partition(law, proof, len(self.regions), added, len(self.leaves), outside, self.depth,
                         tuple(region.optimiser.active for region in self.regions))


def _independent(order: list[int], normals: NDArray[np.float64]) -> list[int]:
    """The first independent entries, by Gram-Schmidt on their unit normals."""
    chosen, frame = list[int](), np.zeros((0, normals.shape[1]))
    for i, normal in zip(order, normals, strict=True):
        rest = normal - frame.T @ (frame @ normal)
        if (size := np.linalg.norm(rest)) > 1e-9:
            chosen, frame = [*chosen, i], np.vstack([frame, rest / size])
        if len(chosen) == normals.shape[1]:
            break
    return chosen
