r"""Regions of attraction: choose functions and levels, grow the trees, and leave a certificate's obligations behind.

The plan (docs/theory/region.md): equilibrium; a quadratic whose local proof closes the hole; the same quadratic as a shell in
the frame that whitens it, out to where the named function takes over; the named function's shell out to its level.  Without a
named function the quadratic's shell is the region, as large as it can be proved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import affine_exact
from verifiers.kernel.graph import Floats
from verifiers.kernel.local import Enclosure, Matrix
from verifiers.kernel.properties import Goal
from verifiers.kernel.setting import Setting, Source, make_stage
from verifiers.kernel.stage import Stage
from verifiers.kernel.tree import LEAF, OUTSIDE
from verifiers.region import quadratic as quad
from verifiers.region.cuts import round_axes
from verifiers.region.largest_quadratic import POLISHED, best_quadratic
from verifiers.region.levels import just_below, level_under, short
from verifiers.region.sampling import FloatFunction, FloatLoop, float_function
from verifiers.smt import counterexample as cex
from verifiers.smt.branch_and_bound import STUCK, Outcome, Progress, Violated, search, sharpest

SAMPLES = 24_000
ZOOM_STATES = 3
"""Largest number of states for which rings about the equilibrium are split unseen: a ring has n 2**n boxes."""

FINE = Fraction(6, 5)
"""Factor between the sizes of neighbourhoods that are tried where the local proof is all there is."""
LOWERED = 8
"""How often a level is put just below the state that a search met with; after that it goes down a ladder."""
TURNED = 0.75
"""Share of the budget after which a tree along the region's own axes is given up."""
DEPTHS, FEW = (7, 12), 1000
"""Splits per state beyond the octaves of the shell; so few boxes that stay undecided are worth the second depth (kinks near the hole)."""


class Refuted(Exception):
    """The claim is false: code, place, sentence, and the replayed witness."""

    def __init__(self, code: Code, at: str, message: str, x: tuple[float, ...] | None = None) -> None:
        super().__init__(message)
        self.code, self.at, self.message, self.x = code, at, message, x


class Undecided(Exception):
    """Neither proof nor counterexample: code, place, sentence, and the worst box."""

    def __init__(self, code: Code, at: str, message: str, x: tuple[float, ...] | None = None) -> None:
        super().__init__(message)
        self.code, self.at, self.message, self.x = code, at, message, x


@dataclass(frozen=True, eq=False)
class Levels:
    """What samples say of a function: the largest value ``low`` at which it fails near the equilibrium, the largest level ``top`` that it may
    reach, the samples, the lowest violations found above ``from_``, and the least value on the boundary with its place (continuous time)."""

    samples: cex.Samples
    low: float
    top: float
    lowest: cex.Samples
    from_: float
    edge: tuple[float, Floats] | None

    def violations(self, function: FloatFunction, lo: Floats, hi: Floats, *, above: float, seed: int) -> cex.Samples:
        """The lowest violations above a value; searched again only where the samples have some that the first search left out."""
        s = self.samples
        more = ~(s.decrease < 0) & (s.value > above) & (s.value <= self.from_)
        return cex.lowest_violation(function, s, lo, hi, above=above, seed=seed) if more.any() or above > self.from_ else self.lowest


@dataclass(eq=False)
class Work:
    """A proof under way: setting, float loop, time budget, executor, and the obligations and files collected so far."""

    setting: Setting
    loop: FloatLoop
    deadline: float
    executor: Executor | None = None
    progress: Callable[[Progress], None] | None = None
    seed: int = 0
    where: Enclosure | None = None
    obligations: list[dict[str, Any]] = field(default_factory=list)
    functions: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    stage: Stage | None = None
    region: tuple[str, Fraction] | None = None
    boxes: int = 0
    saved: Any = None
    volume: tuple[tuple[str, Fraction], Future[tuple[bytes, Matrix | None]]] | None = None
    known_levels: Levels | None = None
    guesses: tuple[Floats, ...] = ()
    lowest_stuck: float = 0.0

    @property
    def left(self) -> float:
        """Seconds left of the budget."""
        return self.deadline - time.monotonic()

    @property
    def box(self) -> tuple[Floats, Floats]:
        """The domain in floats."""
        return np.array([float(v) for v in self.setting.lo]), np.array([float(v) for v in self.setting.hi])

    def states(self, x: Floats | tuple[float, ...]) -> str:
        """A state written with its names."""
        return ", ".join(f"{s.name}={v:.6g}" for s, v in zip(self.setting.spec.states, x, strict=True))

    def tree(self, name: str, data: bytes) -> dict[str, Any]:
        """Keep a tree as a file of the bundle and return its reference."""
        from verifiers.bundle_writer import reference

        self.files[f"proof/{name}.tree"] = data
        return reference(f"proof/{name}.tree", data)

    def run(self, stage: Stage, goal: Goal, name: str, depth: int, shallow: tuple[float, int] | None = None, refute: bool = False,
            zoom: int = 0, share: float = 1.0) -> Outcome:
        """Search a stage's tree within the budget (:func:`verifiers.smt.branch_and_bound.search`),
        or a share of what is left of it; a violation leaves its boxes as stuck."""
        done = self.saved.load(name, stage) if self.saved is not None else None
        keep = (lambda groups: self.saved.store(name, stage, groups)) if self.saved is not None else None
        try:
            out = search(sharpest(stage), goal, executor=self.executor, budget=share * self.left, depth=depth, shallow=shallow, refute=refute,
                         zoom=zoom, phase=name, progress=self.progress, done=done, keep=keep)
        except Violated as no:
            return Outcome(finished=True, stuck_lo=no.args[0], stuck_hi=no.args[1])
        self.boxes += out.boxes
        if out.interrupted:
            raise Undecided(Code.INTERRUPTED, name, f"interrupted after {out.boxes} boxes; run again with --resume")
        if not out.finished:
            raise Undecided(Code.BUDGET, name, f"the budget ended after {out.boxes} boxes, the worst open one near {self.states(out.worst_at)}; "
                            "raise --budget, or go on with --resume", out.worst_at)
        return out


def text(q: Fraction) -> str:
    """A rational as certificate text."""
    return str(q)


def texts(matrix: Any) -> Any:
    """Rational vectors and matrices as certificate text."""
    return [texts(row) for row in matrix] if isinstance(matrix, list | tuple) else text(matrix)


def prove_attraction(work: Work, starts: Sequence[Floats] = ()) -> None:
    """Prove the region of attraction of the setting; fills ``work`` or raises :class:`Refuted` or :class:`Undecided`.

    ``starts`` are matrices P (n, n) to begin with where no function is named, beside those of the linearised loop.
    """
    setting = work.setting
    origin = work.where.centre if work.where is not None else ()
    linear = affine_exact(setting.loop.field) is not None
    if "V" not in setting.functions:
        found = best_quadratic(work, origin, linear, starts)
        if found is None:
            raise Undecided(Code.NO_PROOF_FOUND, "local", "the linearised loop is not proved stable: no quadratic Lyapunov function exists for it")
        _own_region(work, *found, linear)
        return
    function = float_function(setting.functions["V"].network, work.loop, setting.rate)  # type: ignore[arg-type]
    found = levels(work, function)
    _inner_quadratic(work, function, found.samples, found.low, found.top, origin, linear)
    _network_shell(work, found.low, found.top)


def levels(work: Work, function: FloatFunction) -> Levels:
    """Estimate between which levels the function decreases, once for every search that asks."""
    if work.known_levels is None:
        lo, hi = work.box
        centre = np.array([float(c) for c in (work.where.centre if work.where is not None else work.setting.spec.equilibrium_x)])
        samples = cex.draw(function, lo, hi, centre, count=SAMPLES, seed=work.seed)
        work.known_levels = _levels(work, function, samples)
    return work.known_levels


def _levels(work: Work, function: FloatFunction, samples: cex.Samples) -> Levels:
    lo, hi = work.box
    lowest_edge = None
    if work.loop.time == "continuous":
        lowest_edge = cex.lowest_on_boundary(function, lo, hi, count=8000, seed=work.seed)
        edge = lowest_edge[0]
    else:
        after = work.loop.field(samples.x)
        leaves = ~((after >= lo) & (after <= hi)).all(axis=1)
        edge = float(samples.value[leaves].min(initial=math.inf))
    wanted = work.setting.requirement.level
    ceiling = min(edge, float(wanted)) if wanted is not None else edge
    finite = np.isfinite(samples.value)
    bad = np.sort(samples.value[finite & ~(samples.decrease < 0) & (samples.value < ceiling)])
    floor = float(samples.value[finite].min())
    # violations fall into those around the equilibrium and those that bound the level: the widest gap in value parts them
    edges = np.concatenate([[floor], bad, [ceiling if math.isfinite(ceiling) else float(samples.value[finite].max())]])
    k = int(np.argmax(np.diff(edges)))
    inner = float(edges[k])
    above = inner + (0.25 if bad.size else 0.05) * (edges[k + 1] - inner)
    lowest = cex.lowest_violation(function, samples, lo, hi, above=above, seed=work.seed)
    return Levels(samples, inner, min(ceiling, float(lowest.value.min(initial=math.inf))), lowest, above, lowest_edge)


def _inner_quadratic(work: Work, function: FloatFunction, samples: cex.Samples, low: float, top: float, origin: tuple[Fraction, ...],
                     linear: bool) -> None:
    """Prove a quadratic's ellipsoid around the set where the named function fails."""
    centre = np.array([float(v) for v in origin])
    ceiling = low + 0.5 * ((top if math.isfinite(top) else float(samples.value.max())) - low)
    near = samples.x[(samples.value <= low * (1 + 1e-9) if low > 0 else samples.value <= low)] - centre
    failing = samples.x[~(samples.decrease < 0) & (samples.value <= low + 1e-12 * abs(low))] - centre
    if len(near) < 50:
        order = np.argsort(samples.value)[:400]
        near = samples.x[order] - centre
    need_set = failing if len(failing) else near[:1]
    near = near[np.linalg.norm(near, axis=1) > 0]
    points = near[np.random.default_rng(work.seed).permutation(len(near))[:240]]
    jacobian, rate = work.loop.jacobian(centre), work.setting.rate
    lo, hi = work.box
    weight = np.diag(1 / np.abs(near).max(axis=0) ** 2)
    p = quad.from_linearisation(jacobian, work.loop.time, weight, float(rate))
    rows = quad.scaled_samples(1.2 * points, 10)
    for _ in range(12):
        if p is not None:
            have = 0.95 * quad.sampled_level(work.loop, p, centre, lo, hi, rate, work.seed)
            far = cex.farthest_violation(function, need_set + centre, p, centre, below=ceiling, seed=work.seed) - centre
            need = 1.02 * float(np.einsum("bi,ij,bj->b", far, p, far).max(initial=0.0))
            if need < have:
                for level in (math.sqrt(max(need, 0.01 * have) * have), need * 1.03):
                    if _prove_quadratic(work, p, Fraction(float(level)), origin, linear):
                        return
            need_set = np.concatenate([need_set, far])
            rows = np.concatenate([rows, quad.violations(work.loop, p, centre, 1.3 * need, rate, work.seed)])
        p = quad.fit(work.loop, rows, centre, float(rate))
        if p is None:
            break
    raise Undecided(Code.NO_PROOF_FOUND, "local", "no quadratic was found that decreases on the set where the Lyapunov function does not "
                    f"(values up to {low:.6g}); train it closer to the equilibrium")


def _scale(p: Floats, candidate: quad.Quadratic) -> Fraction:
    """Factor between the float P and the exact one, as make() scales it."""
    exact, _, _ = candidate.floats
    return Fraction(float(np.trace(exact) / np.trace(p)))


def _around(work: Work, p: Floats, level: Fraction, origin: tuple[Fraction, ...], linear: bool, step: Fraction
            ) -> tuple[quad.Quadratic, Fraction, quad.Local] | None:
    """The quadratic in exact numbers, the level in its scale, and its local proof; with fine steps in a frame along the policy's gain."""
    try:
        candidate = quad.make(p, origin)
    except np.linalg.LinAlgError:
        return None
    setting, level = work.setting, short(level * _scale(p, candidate))
    if work.where is None:
        return None
    if step == FINE and setting.policy is not None:
        try:
            candidate = quad.aligned(candidate, quad.interval_jacobian(setting.policy, work.where)[0])
        except Refusal:  # the policy has no slope there
            return None
    local = quad.local_proof(setting.loop.field, setting.requirement.time, candidate, work.where, (setting.lo, setting.hi), setting.rate,
                             level, linear, step)
    return None if local is None else (candidate, level, local)


def _prove_quadratic(work: Work, p: Floats, level: Fraction, origin: tuple[Fraction, ...], linear: bool, share: float = 1.0,
                     shell: bool = True) -> bool:
    """Local proof and shell of a quadratic up to a level, within a share of what is left of the budget; records both when they succeed.

    Without a shell the level is at most that of the local proof.
    """
    setting, around = work.setting, _around(work, p, level, origin, linear, Fraction(4) if shell else FINE)
    if around is None:
        return False
    candidate, level, local = around
    source = Source(candidate.matrix, candidate.origin, None)
    name = "Q"
    setting.functions[name] = source
    obligations = [{"id": "local", "proof": {"kind": local.kind, "function": name, "frame": texts(candidate.frame),
                                             "neighbourhood": texts(local.reach), "level": text(local.level)}}]
    inner = min(local.level, level)
    level = level if shell else inner
    obligations[0]["proof"]["level"] = text(inner)
    setting.stages[:] = [(name, inner)]
    stage = make_stage(setting, source, inner, candidate.frame)
    if inner < level:
        try:
            stage = make_stage(setting, source, level, candidate.frame)
        except Refusal:
            setting.stages.clear()
            return False
        n = len(origin)
        octaves = 0.5 * math.log2(level / inner)
        for beyond in DEPTHS:
            out = work.run(stage, Goal("attraction"), "shell-1", int(n * (octaves + beyond)), zoom=int(octaves) if n <= ZOOM_STATES else 0,
                           refute=n > POLISHED, share=share)
            if not 0 < len(out.stuck_lo) <= FEW:
                break
        if out.stuck_lo.size:
            work.lowest_stuck = float(stage.value(stage.function, out.stuck_lo, out.stuck_hi)[0].min()) / float(level)
            setting.stages.clear()
            return False
        obligations.append({"id": "shell-1", "proof": {"kind": "box_tree", "function": name, "level": text(level), "frame": texts(candidate.frame),
                                                       "tree": work.tree("shell-1", out.tree)}})
        setting.stages.append((name, level))
    work.obligations += obligations
    work.functions[name] = {"kind": "quadratic", "matrix": texts(candidate.matrix), "center": texts(candidate.origin)}
    work.stage, work.region = stage, setting.stages[-1]
    return True


def _own_region(work: Work, p: Floats, level: float, linear: bool) -> None:
    """Prove the quadratic's ellipsoid as the region, at the largest of a few levels that goes through."""
    origin = work.where.centre if work.where is not None else ()
    few, lowered = len(origin) <= POLISHED, 0

    def alone() -> float:
        """The share of the level that needs no boxes."""
        around = _around(work, p, Fraction(level), origin, linear, FINE)
        return 0.0 if around is None else float(around[2].level / around[1])

    floor = alone() if work.guesses else 0.0
    ladder = (0.995, 0.97, 0.93, 0.85, 0.7, 0.5, 0.25, 0.1, 0.01) if few else (0.995, 0.85, 0.6, 0.35, 0.15, 0.05, 0.01)
    share: float | None = ladder[0]
    while share is not None and share > floor and work.left > 0:
        work.lowest_stuck = 0.0
        try:
            if _prove_quadratic(work, p, Fraction(share * level), origin, linear, 1.0 if few else 0.5):
                return
        except Undecided as no:  # a smaller ellipsoid is quicker to prove
            if no.code is not Code.BUDGET:
                raise
            work.setting.stages.clear()
        floor = floor or alone()
        below, lower = 0.998 * work.lowest_stuck * share, next((step for step in ladder if step < share), None)
        lowered += below > (lower or 0.0)
        share = below if not few and lower is not None and lowered <= LOWERED and lower < below < share else lower
    if _prove_quadratic(work, p, Fraction(level), origin, linear, shell=False):  # no boxes: what the Jacobian alone shows about the equilibrium
        return
    if work.left < 0:
        raise Undecided(Code.BUDGET, "shell-1", "the budget ended; raise --budget")
    raise Undecided(Code.NO_PROOF_FOUND, "shell-1", "no level of the quadratic could be proved; name a Lyapunov function or shrink [domain]")


def _network_shell(work: Work, low: float, top: float) -> None:
    """The named function's shell at the level demanded, or at the largest that goes through."""
    setting = work.setting
    wanted = setting.requirement.level
    source = setting.functions["V"]
    frame = None
    if wanted is not None:
        stage = make_stage(setting, source, wanted, None)
        frame, tree = _demanded(work, source, stage, low)
        level = wanted
    else:
        level, stage, tree = _largest(work, source, low, top)
    work.obligations.append({"id": f"shell-{len(setting.stages)}", "proof": {
        "kind": "box_tree", "function": "V", "level": text(level), "tree": work.tree(f"shell-{len(setting.stages)}", tree)} | (
            {} if frame is None else {"frame": texts(frame)})})
    setting.stages.append(("V", level))
    work.stage, work.region = stage, ("V", level)


def _demanded(work: Work, source: Source, stage: Stage, low: float) -> tuple[Matrix | None, bytes]:
    """The tree of the level demanded, with its frame: along the region's own axes where that ends in a part of the time, which it may not do for a
    function that does not decrease beyond the domain's faces; else along the plant's."""
    frame, n, name = round_axes(stage, work.setting.rest), len(stage.lo), f"shell-{len(work.setting.stages)}"
    shallow = stage.function.thresholds(Fraction(low + 0.25 * (float(stage.level) - low)))[0], 22 * n
    for chosen in (frame, None) if frame is not None else (None,):
        here = stage if chosen is None else make_stage(work.setting, source, stage.level, chosen)
        try:
            out = work.run(here, Goal("attraction"), name, 26 * n, shallow, refute=True, share=1.0 if chosen is None else TURNED)
            if here.image is not None and out.stuck_lo.size:  # the middles of the boxes, in the plant's coordinates
                out.stuck_lo = out.stuck_hi = (0.5 * out.stuck_lo + 0.5 * out.stuck_hi) @ here.image.weight.T + here.image.bias
            if out.stuck_lo.size:
                _explain_stuck(work, stage, out)
            return chosen, out.tree
        except Undecided as no:
            if chosen is None or no.code not in (Code.BUDGET, Code.NO_PROOF_FOUND):
                raise
    raise RuntimeError("the last search raises or returns")


def _explain_stuck(work: Work, stage: Stage, out: Outcome) -> None:
    """A box that cannot be decided at the level demanded: a witness in it refutes, else the answer is Unknown with the worst box."""
    middle = 0.5 * out.stuck_lo + 0.5 * out.stuck_hi
    points = np.concatenate([middle, out.stuck_lo, out.stuck_hi])
    if work.known_levels is not None:  # near the equilibrium the regions inside are our choice: what fails there refutes nothing
        low = work.known_levels.low
        function = float_function(work.setting.functions["V"].network, work.loop, work.setting.rate)  # type: ignore[arg-type]
        points = points[function.value(points) > low + 0.25 * (float(stage.level) - low)]
    witness = cex.find(stage, points, most=3000)
    if witness is not None:
        raise Refuted(Code.COUNTEREXAMPLE, work.states(witness.x), f"{witness.why} at {work.states(witness.x)}", witness.x)
    x = tuple(float(v) for v in middle[0])
    raise Undecided(Code.NO_PROOF_FOUND, work.states(x), f"{len(middle)} boxes stay undecided, the worst near {work.states(x)}; lower the level", x)


def _largest(work: Work, source: Source, low: float, top: float) -> tuple[Fraction, Stage, bytes]:
    """Grow the tree at a level just below the lowest violation found; boxes that stay undecided push the level below their values."""
    setting, n = work.setting, len(work.setting.lo)
    if not math.isfinite(top):
        top = 1e9
    for share in (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5):
        level = just_below(source, top, share)
        stage = make_stage(setting, source, level, None)
        parting = Fraction(low + 0.25 * (top - low))
        out = work.run(stage, Goal("attraction"), f"shell-{len(setting.stages)}", 26 * n, (stage.function.thresholds(parting)[0], 14 * n))
        if not out.stuck_lo.size:
            return level, stage, out.tree
        lowest = float(stage.value(stage.function, out.stuck_lo, out.stuck_hi)[0].min())
        lowered = level_under(stage, lowest, level)
        if lowered is not None and len(out.stuck_lo) < 200_000:
            return lowered, make_stage(setting, source, lowered, None), out.tree.replace(bytes([STUCK]), bytes([LEAF + OUTSIDE]))
    raise Undecided(Code.NO_PROOF_FOUND, "level", "no level of the Lyapunov function could be proved; train it further or shrink [domain]")
