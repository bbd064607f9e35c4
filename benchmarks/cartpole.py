"""The published cart-pole network can be proved by box trees in core-hours that this sample projects."""

from __future__ import annotations

import math
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from time import monotonic

import numpy as np

from benchmarks import pairs
from benchmarks.harness import Check, Report, Table, clock
from verifiers.kernel.graph import Floats
from verifiers.kernel.properties import Goal, check_shell
from verifiers.kernel.stage import Stage
from verifiers.smt.branch_and_bound import UNDECIDED, Outcome, Task, decide_wave, grow, pack, process_pool, search

CLAIM = "The published cart-pole network can be proved by box trees in core-hours that this sample projects"
NAME = "cartpole_seed1"
INNER = Fraction("0.0075")
GOAL = Goal("attraction")
PUBLISHED_S = 76_443.0
"""Published seconds of alpha-beta-CROWN on an RTX 5090; dReal did not end."""
NOTES = (
    "Shell of the network alone, from V = 0.0075 (where it begins to decrease) to V = 0.95; what lies inside V = 0.0075 is not part of this "
    "benchmark.",
    "The search is grown from the domain until more boxes than the frontier's number are open; these boxes are the population. Their subtrees "
    "are worked off with certctl's own tests down to the last leaf. Where a wave grows wider than a cap, a uniform random part of it goes on "
    "with correspondingly larger weight, so that the expected weighted count stays the true count (Chen 1992 [1]).",
    "Projection A: a simple random sample of frontier boxes without replacement, the cap applying to each subtree; a subtree that was never "
    "thinned is complete. The standard error is that of a sample mean with the correction for a finite population. Subtree sizes have a long "
    "tail.",
    "Projection B: the whole frontier in one wave under one cap, which spends its boxes where the tree is large; independent repetitions give the "
    "standard error. They are unbiased but skewed: a few small places hold a large part of the tree, most repetitions miss them, and a repetition "
    "that meets one is far above the others. Seconds and shares are projected from B.",
    "The numbers of batches and repetitions follow from the seconds that a first one took.",
    "A leaf that the search accepts is one that the kernel accepts, but only a whole tree is a proof: this is a projection, not a proof.",
    "The published figure is quoted: another machine, the shell from 0.0068.",
    "[1] P. C. Chen, Heuristic sampling: a method for predicting the performance of tree searching programs, SIAM J. Computing 21 (1992) "
    "295-315.",
)


@dataclass(frozen=True)
class Settings:
    """The samples: frontier boxes, A's boxes a batch and cap of a subtree's wave, B's cap of the wave, seconds in all, depth limit, seed."""

    frontier: int = 4000
    batch: int = 24
    width: int = 128
    wave: int = 2000
    seconds: float = 300.0
    depth: int = 104
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Probe:
    """Weighted counts of sampled subtrees, each (roots,): boxes, stuck leaves, their volume, and whether the subtree was thinned; boxes evaluated."""

    boxes: Floats
    stuck: Floats
    stuck_volume: Floats
    thinned: np.ndarray
    evaluated: int


def cartpole_stage(pair: pairs.Pair) -> Stage:
    """The network's shell of the cart-pole, from the inner level to the published one."""
    setting = pair.setting()
    function = setting.functions["V"].function(None, (), True)
    half = pair.box
    return Stage(setting.loop.field, "continuous", function, Fraction(pair.level), -half, half, -half, half, ((function, INNER),))


def probe(task: Task, lo: Floats, hi: Floats, depth: Floats, root: np.ndarray, width: int, rng: np.random.Generator) -> Probe:
    r"""Size the subtrees of boxes (B, n), all in one wave; boxes of one ``root`` are counted and thinned together.

    .. math:: \mathrm E \sum_k w_k \lvert S_k \rvert = N

    for each root, where :math:`S_k` is what is evaluated and kept of wave k, :math:`w_k` its weight and N the number of boxes evaluated in
    its subtrees: a wave wider than ``width`` is cut to a uniform random part of that size, and its weight grows by the inverse of the share
    kept.

    Parameters
    ----------
    task : Task
        Stage, goal and depth limit.
    lo, hi : (B, n) arrays
        The boxes.
    depth, root : (B,) arrays
        Their depths, and the number of the root, from 0, that each belongs to.
    width : int
        Widest wave of one root, after the first.
    rng : Generator
        Chooses what is kept.
    """
    roots = int(root.max()) + 1
    weight = np.ones(roots)
    boxes, stuck, stuck_volume = np.zeros(roots), np.zeros(roots), np.zeros(roots)
    thinned, evaluated, ahead = np.zeros(roots, dtype=bool), 0, np.full(lo.shape[0], -1)
    while lo.shape[0]:
        wave = decide_wave(task, lo, hi, ahead, math.inf)
        if wave is None:
            break
        tag, split, asked = wave.tag, wave.split, ahead < 0
        evaluated += int(asked.sum())
        boxes += np.bincount(root[asked], weight[root[asked]], roots)
        given_up = (tag == UNDECIDED) & asked & (task.given_up(depth, wave.v_lo) | wave.violated)
        stuck += np.bincount(root[given_up], weight[root[given_up]], roots)
        stuck_volume += np.bincount(root[given_up], (weight[root] * np.prod(hi - lo, axis=1))[given_up], roots)
        at = np.flatnonzero((tag == UNDECIDED) & ~given_up)
        at = np.repeat(at, 2)
        upper = np.arange(at.size) % 2 == 1
        keep = _thin(root[at], roots, width, rng)
        counts, kept = np.bincount(root[at], minlength=roots), np.bincount(root[at[keep]], minlength=roots)
        thinned |= kept < counts
        weight = weight * counts / np.maximum(kept, 1)
        at, upper = at[keep], upper[keep]
        axis, row = split[at], np.arange(at.size)
        middle = 0.5 * lo[at, axis] + 0.5 * hi[at, axis]
        low, high = lo[at], hi[at]
        low[row[upper], axis[upper]] = middle[upper]
        high[row[~upper], axis[~upper]] = middle[~upper]
        lo, hi, depth, root, ahead = low, high, depth[at] + 1, root[at], wave.after[at]
    return Probe(boxes, stuck, stuck_volume, thinned, evaluated)


def _thin(root: np.ndarray, roots: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Indices kept, in order: all of each root's boxes where there are at most ``width``, a random ``width`` of them elsewhere."""
    shuffled = rng.permutation(root.size)
    order = shuffled[np.argsort(root[shuffled], kind="stable")]
    counts = np.bincount(root, minlength=roots)
    rank = np.arange(root.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[rank < width])


def total_and_error(values: Floats, population: int) -> tuple[float, float]:
    """Estimate of the population's total from a simple random sample without replacement, and its standard error."""
    m = values.size
    if m < 2:
        return float(values.sum()) * population / max(m, 1), math.inf
    return population * float(values.mean()), population * float(values.std(ddof=1)) * math.sqrt(max(0.0, 1 - m / population) / m)


def run(settings: Settings | None = None) -> Report:
    """Sample the search, and project boxes and core-hours with standard errors."""
    s = settings or Settings()
    stage = cartpole_stage(pairs.read_pair(NAME))
    task, rng = Task(stage, GOAL, s.depth), np.random.default_rng(s.seed)
    with np.errstate(all="ignore"):
        _, _, out, (lo, hi, depth, _) = grow(task, stage.lo[None], stage.hi[None], np.zeros(1), most=s.frontier)
        population, whole = lo.shape[0], float(np.prod(stage.hi - stage.lo))

        def some(at: np.ndarray) -> Probe:
            return probe(task, lo[at], hi[at], depth[at], np.arange(at.size), s.width, rng)

        def all_of_it() -> Probe:
            return probe(task, lo, hi, depth, np.zeros(population, dtype=int), s.wave, rng)

        with clock() as first:
            some(rng.permutation(population)[:s.batch])
        count = max(1, int(s.seconds / 3 / first.wall)) * s.batch
        order = rng.permutation(population)[:count]
        with clock() as spent:
            a = [some(order[k:k + s.batch]) for k in range(0, order.size, s.batch)]
            with clock() as first:
                b = [all_of_it()]
            b += [all_of_it() for _ in range(max(2, int(s.seconds * 2 / 3 / first.wall)) - 1)]
    size, thinned = np.concatenate([p.boxes for p in a]), np.concatenate([p.thinned for p in a])
    sampled, sampled_error = total_and_error(size, population)
    waves = np.array([p.boxes[0] for p in b])
    boxes, error = float(waves.mean()), float(waves.std(ddof=1)) / math.sqrt(waves.size)
    lost = np.array([p.stuck_volume[0] for p in b]) / whole
    evaluated = sum(p.evaluated for p in a + b)
    speed = evaluated / spent.cpu
    hours = (boxes + out.boxes) / speed / 3600
    rows = (
        ("frontier: boxes that follow the first waves", population, None), ("boxes evaluated above the frontier", out.boxes, None),
        ("share of the domain's volume decided above the frontier", 1 - float(np.prod(hi - lo, axis=1).sum()) / whole, None),
        ("A: sampled frontier boxes", size.size, None), ("A: worked off completely", int((~thinned).sum()), None),
        ("A: thinned", int(thinned.sum()), None), ("A: median subtree, boxes", float(np.median(size)), None),
        ("A: largest subtree, boxes", float(size.max()), None), ("A: boxes in all, projected", sampled + out.boxes, sampled_error),
        ("B: repetitions", waves.size, None), ("B: each, sorted", ", ".join(f"{v:.2g}" for v in np.sort(waves + out.boxes)), None),
        ("B: boxes in all, projected", boxes + out.boxes, error),
        ("B: share of the domain's volume decided, projected", 1 - float(lost.mean()), float(lost.std(ddof=1)) / math.sqrt(lost.size)),
        ("boxes evaluated in both samples", evaluated, None), ("leaves that stay undecided at the depth limit in both samples, weighted",
                                                               float(sum(p.stuck.sum() for p in a + b)), None),
        ("boxes a second and core (CPU seconds)", speed, None), ("core-hours in all, projected", hours, error / speed / 3600),
        ("hours on an RTX 5090, published", PUBLISHED_S / 3600, None), ("ratio published hours / core-hours", PUBLISHED_S / 3600 / hours, None),
        ("wall s of both samples", spent.wall, None), ("CPU s of both samples", spent.cpu, None))
    checks = (Check("no leaf of the samples stays undecided at the depth limit", not any(p.stuck.any() for p in a + b)),
              Check("the two projections agree within three standard errors of their difference",
                    abs(sampled - boxes) <= 3 * math.hypot(error, sampled_error)),
              Check("the relative standard error of the projection is below one half, so the order of magnitude is known", error < 0.5 * boxes))
    caption = f"Samples, one process, seed {s.seed}, waves capped at {s.width} boxes a subtree (A) and {s.wave} boxes in all (B)"
    return Report(CLAIM, checks, (Table(caption, ("figure", "value", "standard error"), rows),), NOTES)


def _subtree(stage: Stage, seconds: float) -> Outcome:
    return search(stage, GOAL, budget=seconds)


def run_whole(folder: Path, hours: float, settings: Settings | None = None, workers: int = 2) -> Report:
    """Run the real search for ``hours``: every finished subtree is kept in ``folder``, and a later run goes on there.

    When all are there, the tree is put together and shown to the kernel's rules for leaves.
    """
    s = settings or Settings()
    stage = cartpole_stage(pairs.read_pair(NAME))
    folder.mkdir(parents=True, exist_ok=True)
    with np.errstate(all="ignore"):
        tags, splits, _, (lo, hi, *_) = grow(Task(stage, GOAL, s.depth), stage.lo[None], stage.hi[None], np.zeros(1), most=s.frontier)
    files = [folder / f"{s.frontier}-{k:06d}.tree" for k in range(lo.shape[0])]
    deadline, stuck, boxes = monotonic() + hours * 3600, 0, 0
    waiting = [int(k) for k in np.random.default_rng(s.seed).permutation(lo.shape[0]) if not files[k].exists()]
    with clock() as spent, process_pool(max(2, workers)) as pool:
        pending: dict[Future[Outcome], int] = {}
        while pool is not None and (waiting or pending) and monotonic() < deadline:
            while waiting and len(pending) < 2 * workers:
                k = waiting.pop()
                pending[pool.submit(_subtree, replace(stage, lo=lo[k], hi=hi[k]), deadline - monotonic())] = k
            for future in wait(pending, timeout=1.0, return_when=FIRST_COMPLETED).done:
                k, found = pending.pop(future), future.result()
                stuck, boxes = stuck + len(found.stuck_lo), boxes + found.boxes
                if found.finished and not found.stuck_lo.size:
                    aside = files[k].with_suffix(".tmp")
                    aside.write_bytes(found.tree)
                    aside.replace(files[k])
    have = sum(path.exists() for path in files)
    rows = [("frontier boxes", len(files), None), ("of these proved so far", have, None), ("boxes given up as stuck in this run", stuck, None),
            ("boxes evaluated in this run", boxes, None), ("wall s of this run", spent.wall, None), ("CPU s of this run", spent.cpu, None)]
    complete = have == len(files)
    if complete:
        tree = pack(tags, splits, [path.read_bytes() for path in files])[0]
        with clock() as check, np.errstate(all="ignore"):
            leaves, worst = check_shell(stage, GOAL, tree, "cartpole")
        rows += [("leaves accepted by the kernel's rules", leaves, None), ("largest bound of the decrease", worst, None),
                 ("check CPU s", check.cpu, None)]
    return Report(CLAIM, (Check("every frontier box is proved, and the kernel's rules accept the whole tree", complete or None),),
                  (Table("The search itself", ("figure", "value", "standard error"), tuple(rows)),), NOTES)
