"""Second-order enclosures need far fewer boxes than plain first-order intervals, on the same shells."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import pairs
from benchmarks.harness import Check, Report, Table, clock
from verifiers.kernel.graph import Bools, Builder, Floats, Graph, read
from verifiers.kernel.properties import Goal
from verifiers.kernel.stage import Function, Stage
from verifiers.load.derivative import lie_derivative
from verifiers.load.floats import evaluate
from verifiers.load.relaxation import IntervalReading
from verifiers.smt.branch_and_bound import search, sharpest

CLAIM = "Second-order enclosures need far fewer boxes than plain first-order intervals, on the same shells"
BATCH = 4096
LEVELS = {"path_big_seed0": "max"}
"""The published level is asked, but for this pair, where it is false."""
NOTES = (
    "The shell is the outer one of the bundle that `verify` wrote at the start of this run: the network's function, from the proved ellipsoid "
    "to the level.",
    "The peer, written here: natural interval extension of the gradient graph of V times the field (continuous time) or of V(f(x)) - (1 - "
    "kappa) V(x), NumPy over 4096 boxes at once, no mean-value form, no tightening, no outward rounding (so it is given an advantage, and "
    "proves nothing). It decides boxes depth first and halves the coordinate with the largest change of the decrease across the box, as "
    "certctl does with its bounds.",
    "Both run in one process. When the peer does not finish, its boxes and seconds are lower bounds, so the ratios are too, and the share is "
    "that of the domain's volume which it decided.",
)


@dataclass(frozen=True)
class Settings:
    """What to run: pairs, and the seconds that the peer is given for each."""

    names: tuple[str, ...] = pairs.PLANE
    limit: float = 120.0
    budget: float = 600.0


@dataclass(frozen=True)
class Spent:
    """Boxes evaluated, seconds, whether every box was decided, and the share of the domain's volume that was."""

    boxes: int
    wall: float
    cpu: float
    finished: bool
    share: float


@dataclass(frozen=True, eq=False)
class Peer:
    """First-order interval tests of a stage's leaves, without outward rounding."""

    stage: Stage
    decrease: Graph

    def bounds(self, graph: Graph, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
        """Natural interval bounds (B, m) of a graph over boxes (B, n)."""
        low, high = read(graph, IntervalReading(), [(lo, hi)])[0]
        shape = (lo.shape[0], low.shape[1])
        return np.broadcast_to(low, shape), np.broadcast_to(high, shape)

    def between(self, function: Function, level: object, lo: Floats, hi: Floats) -> tuple[Bools, Bools]:
        """True (B,) where the function is above the level, and where it is not, on the whole box."""
        low, high = self.bounds(function.graph, lo, hi)
        below, above = function.thresholds(level)  # type: ignore[arg-type]
        return low[:, 0] > above, high[:, 0] <= below

    def stays(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where no trajectory leaves the domain through the box: as :meth:`verifiers.kernel.stage.Stage.stays`."""
        stage = self.stage
        if stage.time == "discrete":
            low, high = self.bounds(stage.field, lo, hi)
            return np.asarray((low >= stage.lo).all(axis=1) & (high <= stage.hi).all(axis=1))
        good = np.ones(lo.shape[0], dtype=bool)
        for i in range(lo.shape[1]):
            for touches, end in ((lo[:, i] <= stage.lo[i], stage.lo[i]), (hi[:, i] >= stage.hi[i], stage.hi[i])):
                at = np.flatnonzero(touches)
                if at.size:
                    low, high = lo[at].copy(), hi[at].copy()
                    low[:, i] = high[:, i] = end
                    good[at] &= self.between(stage.function, stage.level, low, high)[0]
        return good

    def decided(self, lo: Floats, hi: Floats) -> Bools:
        """True (B,) where the box is outside, in an inner region, or decreasing without letting a trajectory out."""
        done, _ = self.between(self.stage.function, self.stage.level, lo, hi)
        for function, level in self.stage.inner:
            done = done | self.between(function, level, lo, hi)[1]
        at = np.flatnonzero(~done)
        if at.size:
            falls = self.bounds(self.decrease, lo[at], hi[at])[1][:, 0] < 0
            falls[falls] = self.stays(lo[at][falls], hi[at][falls])
            done[at] = falls
        return np.asarray(done)

    def split(self, lo: Floats, hi: Floats) -> np.ndarray:
        """The coordinate (B,) across which the decrease changes most; the widest one where that is not finite."""
        middle, changes = 0.5 * (lo + hi), []
        for i in range(lo.shape[1]):
            ahead, behind = middle.copy(), middle.copy()
            ahead[:, i], behind[:, i] = hi[:, i], lo[:, i]
            changes.append(np.abs(evaluate(self.decrease, ahead) - evaluate(self.decrease, behind))[:, 0])
        change, wide = np.array(changes), ((hi - lo) / (self.stage.hi - self.stage.lo)).T
        use = np.where(np.isfinite(change).all(axis=0), change, wide)
        return np.asarray(np.where(wide < 1e-3 * wide.max(axis=0), 0.0, use).argmax(axis=0))


def peer_of(stage: Stage) -> Peer:
    """The peer of a stage; with a rate in discrete time it bounds V(f(x)) - (1 - rate) V(x)."""
    if stage.time == "continuous":
        return Peer(stage, lie_derivative(stage.function.graph, stage.field))
    b = Builder()
    x = b.input(stage.lo.shape[0])
    now = b.inline(stage.function.graph, [x])[0]
    then = b.inline(stage.function.graph, [b.inline(stage.field, [x])[0]])[0]
    return Peer(stage, b.build([b.binary("sub", then, b.binary("mul", b.const([1 - stage.rate]), now))]))


def search_plainly(peer: Peer, limit: float) -> Spent:
    """Branch and bound with the peer's tests, depth first, until all boxes are decided or ``limit`` seconds are over."""
    stage, boxes, open_volume = peer.stage, 0, 0.0
    stack = [(stage.lo[None], stage.hi[None])]
    with clock() as spent, np.errstate(all="ignore"):
        deadline = time.monotonic() + limit
        while stack and time.monotonic() < deadline:
            lo, hi = stack.pop()
            while stack and lo.shape[0] < BATCH:
                more = stack.pop()
                lo, hi = np.concatenate([lo, more[0]]), np.concatenate([hi, more[1]])
            if lo.shape[0] > BATCH:
                stack.append((lo[:-BATCH], hi[:-BATCH]))
                lo, hi = lo[-BATCH:], hi[-BATCH:]
            boxes += lo.shape[0]
            left = ~peer.decided(lo, hi)
            lo, hi = lo[left], hi[left]
            if lo.shape[0]:
                axis, at = peer.split(lo, hi), np.arange(lo.shape[0])
                middle = 0.5 * lo[at, axis] + 0.5 * hi[at, axis]
                low, high = lo.copy(), hi.copy()
                high[at, axis] = middle
                low[at, axis] = middle
                stack.append((np.concatenate([lo, low]), np.concatenate([high, hi])))
        open_volume = sum(float(np.prod(hi - lo, axis=1).sum()) for lo, hi in stack)
    return Spent(boxes, spent.wall, spent.cpu, not stack, 1 - open_volume / float(np.prod(stage.hi - stage.lo)))


def search_here(stage: Stage, budget: float) -> Spent:
    """certctl's own search of the same stage, in this process."""
    with clock() as spent:
        out = search(sharpest(stage), Goal("attraction"), budget=budget)
    return Spent(out.boxes, spent.wall, spent.cpu, out.finished and not out.stuck_lo.size, 1.0)


def run(settings: Settings | None = None) -> Report:
    """Both searches on the outer shell of each pair."""
    s = settings or Settings()
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in s.names:
            pair = pairs.read_pair(name)
            answer = pairs.prove(pair.write(Path(folder) / name, LEVELS.get(name, pair.level)), budget=s.budget, workers=2)
            if answer["outcome"] != "PROVED":
                checks.append(Check(f"{name}: {answer['outcome']}, so there is no shell to compare on", False))
                continue
            stage = list(pairs.shells(Path(answer["bundle"])))[-1][1]
            ours, peer = search_here(stage, s.budget), search_plainly(peer_of(stage), s.limit)
            mark = "" if peer.finished else ">= "
            rows.append((name, f"{float(stage.level):.9g}", ours.boxes, ours.wall, ours.cpu, peer.boxes, peer.wall, peer.cpu, peer.finished,
                         peer.share, f"{mark}{peer.boxes / ours.boxes:.3g}", f"{mark}{peer.cpu / ours.cpu:.3g}"))
            checks.append(Check(f"{name}: certctl finishes, with fewer boxes than the peer", ours.finished and ours.boxes < peer.boxes))
    return Report(CLAIM, tuple(checks), (Table(
        f"Outer shells, one process, the peer limited to {s.limit:g} s",
        ("pair", "level", "boxes", "wall s", "CPU s", "boxes, peer", "wall s, peer", "CPU s, peer", "peer finished", "share decided, peer",
         "ratio of boxes", "ratio of CPU s"), tuple(rows)),), NOTES)
