r"""Network queries: which leaf shows that no state of a box satisfies a formula, and the tree that covers the box.

A query asks whether some :math:`x \in [l, h]` satisfies a boolean combination of atoms :math:`a^\top g(x) \le b` (or :math:`<`).  A refutation is a
tree of boxes in which every node first *contracts* its box by the atoms that any such x has to satisfy, and then is halved, or is a leaf on which
the formula is false.  See docs/theory/queries.md for the statement and its proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verifiers.kernel.codes import Code, need
from verifiers.kernel.graph import Bools, Builder, Floats, Graph, Node, affine_from_rational
from verifiers.kernel.jets import TINY, U
from verifiers.kernel.minimum import least, least_under
from verifiers.kernel.rational import down, up
from verifiers.kernel.taylor import MAX_ORDER_2, Model, Rows, TaylorReading, taylor_models, total
from verifiers.kernel.tree import LEAF

MAX_DOUBLINGS = 6
MAX_OPEN = 1 << 22
BATCH = 256


@dataclass(frozen=True)
class Atom:
    """``sum_k c_k y_k <= bound``, or ``<`` where strict; ``coefficients`` holds pairs (output k, c_k), each k once, c_k nonzero."""

    coefficients: tuple[tuple[int, Fraction], ...]
    bound: Fraction
    strict: bool = False

    def holds(self, y: Sequence[Fraction]) -> bool:
        """Whether outputs given as rationals satisfy the atom."""
        total = sum((c * y[k] for k, c in self.coefficients), Fraction(0))
        return total < self.bound if self.strict else total <= self.bound

    def negated(self) -> Atom:
        """``sum -c_k y_k < -bound`` (or ``<=``): the complement."""
        return Atom(tuple((k, -c) for k, c in self.coefficients), -self.bound, not self.strict)


@dataclass(frozen=True)
class And:
    """Conjunction; true when empty."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """Disjunction; false when empty."""

    parts: tuple[Formula, ...]


Formula = Atom | And | Or


def _atoms(formula: Formula) -> list[Atom]:
    return [formula] if isinstance(formula, Atom) else [a for part in formula.parts for a in _atoms(part)]


def _needed(formula: Formula) -> list[Atom]:
    """Atoms that every state has to satisfy."""
    if isinstance(formula, Atom):
        return [formula]
    return [a for part in formula.parts for a in _needed(part)] if isinstance(formula, And) else []


def _excess(graph: Graph, atoms: Sequence[Atom]) -> Graph:
    """``a'g(x) - b`` for each atom."""
    size, b = graph.output_size(), Builder("query")
    weight = [[dict(atom.coefficients).get(k, Fraction(0)) for k in range(size)] for atom in atoms]
    used = [k for k in range(size) if any(row[k] for row in weight)]
    y = b.take(b.inline(graph, [b.input(graph.input_sizes[0])])[0], used)
    return _without_idle(b.build([b.affine(y, affine_from_rational([[row[k] for k in used] for row in weight], [-atom.bound for atom in atoms]))]))


def _without_idle(graph: Graph) -> Graph:
    """The same output, with zeros for the nodes of which no entry can change it: what is only joined to a vector, or has weight 0."""
    used, nodes = [np.zeros(node.size, dtype=bool) for node in graph.nodes], list(graph.nodes)
    used[graph.outputs[0]][:] = True
    for i in range(len(nodes) - 1, -1, -1):
        node, mine, at = nodes[i], used[i], 0
        if not mine.any() and node.op != "input":
            nodes[i] = Node("const", (), node.size, ((Fraction(0), Fraction(0)),) * node.size)
            continue
        for a in node.args:
            if node.op == "affine":
                weight, radius = node.data.weight, node.data.weight_radius
                used[a] |= ((weight[mine] != 0) | (radius is not None and radius[mine] != 0)).any(axis=0)
            elif node.op == "take":
                used[a][np.array(node.data)[mine]] = True
            else:  # entry by entry, for a concatenation from where the argument begins
                used[a] |= mine[at:at + used[a].size]
                at += used[a].size if node.op == "concat" else 0
    b = Builder("query")
    return b.build(b.inline(Graph(tuple(nodes), graph.input_sizes, graph.outputs), [b.input(graph.input_sizes[0])]))


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was shown: True (B,) where the formula is false on the box, True (R,) on the row, True (R, k) where an atom was tested in vain."""

    refuted: Bools
    false: Bools
    failed: Bools
    reading: TaylorReading
    excess: Model


class Refuter:
    """A query as the kernel reads it: excess of each atom, and of those atoms that are needed.

    Parameters
    ----------
    graph : Graph
        One input (n,), one output (m,).
    formula : Formula
        About the outputs.
    margin : float
        Relative excess that a leaf must show: 0 for a proof; a search asks for more, so that rounding does not decide.
    kind : type
        The reading: a search's own may note more on the way, and be more careful.
    """

    def __init__(self, graph: Graph, formula: Formula, margin: float = 0.0, kind: type[TaylorReading] = TaylorReading) -> None:
        self.formula, self.margin, self.kind = formula, margin, kind
        self.atoms = [a for a in dict.fromkeys(_atoms(formula)) if a.coefficients] or [Atom(((0, Fraction(1)),), Fraction(0))]
        self.place = {atom: k for k, atom in enumerate(self.atoms)}
        self.given = [a for a in dict.fromkeys(_needed(formula)) if a.coefficients]
        self.graph = _excess(graph, self.atoms)
        self.needed = _excess(graph, self.given) if self.given else None

    def contract(self, lo: Floats, hi: Floats) -> tuple[Floats, Floats, Bools]:
        """Boxes (B, n) that hold every state of the given ones at which the needed atoms hold, and True (B,) where there is none."""
        empty = np.zeros(lo.shape[0], dtype=bool)
        if self.needed is not None:
            reading, excess = taylor_models(self.needed, lo, hi, 0, self.kind)
            centre, radius = reading.centre, reading.radius
            slack = 8 * U * (np.abs(centre) + radius)
            for k in range(excess.e.shape[1]):
                low, high = _solutions(reading, excess.p[:, :, k], excess.q[:, :, k], excess.e[:, k])
                empty |= (low > high + self.margin).any(axis=1) | (excess.lo[:, k] > self.margin * excess.size()[:, k])
                lo, hi = np.fmax(lo, centre + radius * low - slack), np.fmin(hi, centre + radius * high + slack)
            empty |= (lo > hi + self.margin * radius).any(axis=1)
            lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
        return lo, hi, empty

    def judge(self, lo: Floats, hi: Floats, splits: int) -> Judgement:
        """Try to show that no state of a box (B, n) satisfies the formula; a box may be doubled into ``2**splits`` rows of phases."""
        reading, excess = taylor_models(self.graph, lo, hi, splits, self.kind)
        trial = _Trial(reading, excess, self.place, self.margin, reading.n <= MAX_ORDER_2)
        false = trial.false(self.formula, (), np.arange(len(reading.rows)))
        good = np.ones(lo.shape[0], dtype=bool)
        np.logical_and.at(good, reading.rows, false)
        return Judgement(good, false, trial.failed, reading, excess)


class _Trial:
    """Which rows show that a formula is false.

    An atom is tested at the points where the atoms that a satisfying state needs besides (its ``context``) hold, and the row's phases.
    """

    def __init__(self, reading: TaylorReading, excess: Model, place: dict[Atom, int], margin: float, multiply: bool) -> None:
        self.reading, self.excess, self.place, self.multiply = reading, excess, place, multiply
        self.phases, self.slack = reading.constraints(), excess.size() * margin
        self.low = least(reading, excess) - self.slack
        self.failed = np.zeros(self.low.shape, dtype=bool)

    def false(self, formula: Formula, context: tuple[Atom, ...], rows: Rows) -> Bools:
        """True for each of the rows on which the formula is false wherever the context holds."""
        if isinstance(formula, Atom):
            return self._atom(formula, context, rows)
        every = isinstance(formula, Or)
        found = np.full(len(rows), every)
        for part in sorted(formula.parts, key=lambda part: not isinstance(part, Atom)):
            at = np.flatnonzero(found == every)  # rows that this part can still change
            if at.size:
                more = () if every else tuple(a for other in formula.parts if other is not part for a in _needed(other))
                found[at] = self.false(part, context + more, rows[at])
        return found

    def _atom(self, atom: Atom, context: tuple[Atom, ...], rows: Rows) -> Bools:
        if not atom.coefficients:
            return np.full(len(rows), not atom.holds(()))
        k = self.place[atom]
        low = self.low[rows, k]
        at = np.flatnonzero(~(low > 0)) if self.multiply else np.zeros(0, dtype=np.intp)
        if at.size:
            own, others = rows[at], [j for j in dict.fromkeys(self.place[a] for a in context if a.coefficients) if j != k]
            p, q, e = (np.concatenate([a[..., own, :], b[..., own, :][..., others]], axis=-1) for a, b in
                zip(self.phases, (self.excess.p, self.excess.q, self.excess.e), strict=True))
            found = least_under(self.reading, self.excess.p[:, own, k], self.excess.q[:, own, k], self.excess.e[own, k], p, q, e)
            low[at] = np.fmax(low[at], found - self.slack[own, k])
        false = low >= 0 if atom.strict else low > 0
        self.failed[rows, k] |= ~false
        return np.asarray(false)


def _solutions(reading: TaylorReading, p: Floats, q: Floats, e: Floats) -> tuple[Floats, Floats]:
    r"""Bounds (B, n) of each :math:`\xi_i` in [-1, 1] where a quadratic polynomial with error (B,) can be at most 0; 2 and -2 where it cannot.

    :math:`p_i \xi_i + q_{ii} \xi_i^2 \le R_i`, the most that all other terms leave; a :math:`q_{ii} \le 0` counts among those, at its worst.
    """
    n = reading.n
    g, square = p[1:1 + n], q[reading.square[:len(q)]][:n] if len(q) else np.zeros((n, p.shape[1]))
    every = total(p[1:]) + total(q)
    convex = np.maximum(square, 0.0)
    room = -p[0] + e + every - convex.sum(axis=0) - np.abs(g)
    room = room + 16 * (n + 4) * U * (np.abs(p[0]) + every + e)
    root = g * g + 4 * convex * room
    width = np.sqrt(np.maximum(root + 16 * U * (g * g + 4 * convex * np.abs(room)), 0.0))
    slack = 8 * U * (np.abs(g) + width)
    curved = convex > 0
    twice = np.where(curved, 2 * convex, 1.0)
    line = room / np.where(g == 0, 1.0, np.abs(g))
    line = line + 8 * U * np.abs(line) + TINY
    low = np.where(curved, (-g - width - slack) / twice, np.where(g < 0, -line, -1.0))
    high = np.where(curved, (-g + width + slack) / twice, np.where(g > 0, line, 1.0))
    never = np.where(curved, root + 16 * U * (g * g + 4 * convex * np.abs(room)), np.where(g == 0, room, 1.0)) < 0
    low, high = np.fmax(-1.0, low - 8 * U * np.abs(low)), np.fmin(1.0, high + 8 * U * np.abs(high))
    return np.where(never, 2.0, low).T, np.where(never, -2.0, high).T


def refute(graph: Graph, lo: Sequence[Fraction], hi: Sequence[Fraction], formula: Formula, tree: bytes, part: tuple[int, int] = (0, 1)) -> int:
    r"""Check a refutation: no x in [lo, hi] satisfies the formula about the first output of the graph.

    Parameters
    ----------
    graph : Graph
        One input (n,), first output (m,).
    lo, hi : sequence of Fraction
        The box, (n,) each.
    formula : Formula
        Atoms name outputs below m.
    tree : bytes
        One byte a node, level by level from the root: ``d < n`` halves coordinate d of the contracted box, ``128 + k`` is a leaf that is doubled
        into at most ``2**k`` rows of phases, k <= 6.
    part : (int, int)
        ``(i, n)``: of each level only every n-th batch of boxes has its leaves checked, starting at i.  The claim is shown when all n parts return.

    Returns
    -------
    int
        Number of leaves of the whole tree.

    Raises
    ------
    Refusal
        ``BAD_SHAPE``; ``TREE_INCOMPLETE``, ``TREE_TRAILING``, ``MALFORMED_CERTIFICATE`` for a tree that is none; ``TOO_LARGE``;
        ``NOT_PROVED`` with the box of a leaf on which the formula was not shown to be false.

    Notes
    -----
    Direction: returns only when the claim holds (docs/theory/queries.md).  Levels instead of pre-order, because a child's box depends on how its
    parent was contracted, which is done for many boxes at once.
    """
    n, m = len(lo), graph.output_size()
    named = all(0 <= k < m for atom in _atoms(formula) for k, _ in atom.coefficients)
    need(graph.input_sizes == (n,) and len(hi) == n and named and 0 <= part[0] < part[1], Code.BAD_SHAPE, "query",
         "box, graph, formula and part do not fit")
    if not all(a <= b for a, b in zip(lo, hi, strict=True)):
        return 0
    refuter, at, leaves = Refuter(graph, formula), 0, 0
    low, high = np.array([[down(a) for a in lo]]), np.array([[up(b) for b in hi]])
    need(np.isfinite(low).all() and np.isfinite(high).all(), Code.TOO_LARGE, "query", "the box exceeds float64")
    while low.shape[0]:
        need(low.shape[0] <= MAX_OPEN, Code.TOO_LARGE, "tree", f"more than {MAX_OPEN} boxes are open")
        need(len(tree) - at >= low.shape[0], Code.TREE_INCOMPLETE, "tree", "the tree ends before its boxes cover the root")
        level = np.frombuffer(tree, dtype=np.uint8, count=low.shape[0], offset=at)
        at += low.shape[0]
        need((((level >= LEAF) & (level <= LEAF + MAX_DOUBLINGS)) | (level < min(n, LEAF))).all(), Code.MALFORMED_CERTIFICATE, "tree",
             f"a byte is neither a split of {n} dimensions nor a leaf")
        parts = [_children(refuter, low[k:k + BATCH], high[k:k + BATCH], level[k:k + BATCH], k // BATCH % part[1] == part[0])
                 for k in range(0, low.shape[0], BATCH)]
        leaves += int((level >= LEAF).sum())
        low, high = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    need(at == len(tree), Code.TREE_TRAILING, "tree", "bytes follow the end of the tree")
    return leaves


def _children(refuter: Refuter, lo: Floats, hi: Floats, level: NDArray[np.uint8], own: bool) -> tuple[Floats, Floats]:
    """Contract the boxes of a batch, check its leaves where it is one of our own, and halve the others."""
    with np.errstate(all="ignore"):
        lo, hi, empty = refuter.contract(lo, hi)
        for byte in np.unique(level[level >= LEAF]).tolist() if own else ():
            leaves, most = np.flatnonzero((level == byte) & ~empty), max(1, BATCH >> (byte - LEAF))
            for at in (leaves[k:k + most] for k in range(0, leaves.size, most)):
                bad = at[~refuter.judge(lo[at], hi[at], byte - LEAF).refuted]
                need(not bad.size, Code.NOT_PROVED, "tree", f"a leaf does not show that the formula is false between {lo[bad[:1]]} and {hi[bad[:1]]}")
    return halved(lo, hi, level)


def halved(lo: Floats, hi: Floats, level: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Both halves, lower first, of each box (B, n) whose byte names a coordinate."""
    at = np.flatnonzero(level < LEAF)
    axis, rows = level[at].astype(np.intp), np.arange(at.size)
    low, high = np.repeat(lo[at], 2, axis=0), np.repeat(hi[at], 2, axis=0)
    middle = 0.5 * lo[at, axis] + 0.5 * hi[at, axis]
    high[2 * rows, axis] = middle
    low[2 * rows + 1, axis] = middle
    return low, high
