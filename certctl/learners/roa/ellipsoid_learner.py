r"""``certctl learn roa`` beyond three states: a saturated law and a quadratic together, for the largest ellipsoid that samples allow.

.. math:: u = \bar u + h\,\mathrm{clip}(\eta_0 + G^\top \xi + \mathrm{net}(\xi), -1, 1), \qquad V = \xi^\top P \xi

A grid for Zubov's equation is out of reach there.  An ellipsoid needs n (n + 1) / 2 numbers, and its decrease is so nearly quadratic that boxes
prove it; that the gains move along is what makes it large.  The search is :func:`verifiers.region.ellipsoid.widen`, begun from linear regulators with
several weights of the input.  Beyond four states the law has a small network and :func:`certctl.learners.roa.descent.descend` searches: it takes the
hundreds of numbers, and keeps the loop from becoming so stiff that boxes cannot follow.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from certctl.learners.learner import Learned, Learner, Step
from certctl.learners.roa.descent import descend
from certctl.learners.roa.files import NAMES, ellipsoid_text, region_volume, requirement_text
from certctl.learners.roa.law import law_graph, offset, read_law
from certctl.learners.roa.task import CannotLearn, Floats, Task
from verifiers.load.to_onnx import to_onnx
from verifiers.memory import keep_freed_memory, single_threaded_products
from verifiers.parts import check_by
from verifiers.prove import Verdict, verify
from verifiers.region.ellipsoid import Loop, widen
from verifiers.smt.branch_and_bound import Progress

CHECKPOINT = "training.npz"
FEW_STATES = 4
"""Up to which a proof at a third of the ellipsoid is quick."""
FILES = (NAMES[0], NAMES[2])
"""Controller and requirement: the quadratic itself is in the bundle."""


@dataclass(frozen=True)
class EllipsoidSettings:
    """What can be set about a run.

    Attributes
    ----------
    seed : int
        Seed of all random numbers.
    time_limit : float
        Seconds for training and proof together.
    training_share : float
        Share of what is left of them for training, at most, before a proof.
    costs : tuple of float
        Weights of the input, relative to the task's, of the regulators to begin with.
    reserve : float
        The rate of decrease to keep beyond the task's, as a share of the first regulator's: room for the proof.
    rounds, legs : int
        Generations of the evolution strategy for each state in one leg; legs at most.  A checkpoint is written after each.
    gain : float
        The legs end when one changes the volume by less than this share.
    scales, wide_scales : tuple of float
        Levels of the ellipsoid that are proved one after the other, up to four states and beyond.
    step_share : float
        Share of the time left for a proof that is not the last one.
    attempts : int
        Rounds of proofs at most: after one that certifies less than ``enough`` of the sampled volume the reserve grows by ``stiffen``, and the
        legs go on.
    enough, stiffen, last_start : float
        See ``attempts``; no further one begins after the last share of the time.
    workers : int
        Processes of the prover.
    neurons : int
        Tanh neurons of the controller beyond ``FEW_STATES`` states.
    stiffness, steps : float, int
        See :func:`certctl.learners.roa.descent.descend`, which moves all numbers there; steps in one leg.
    shape, bends, shape_rate, shape_stiffness : int or None, tuple of float, float, float
        Tanh neurons of the function, 0 for none, by default 48 in four states and 16 beyond; delta of the functions grown one after the other;
        the rate to keep beyond the task's and the fastest rate, over rho_0; see :mod:`certctl.learners.roa.spread`.
    shape_steps, grow_share : int, float
        Steps for each function, and the share of the time left after which they end.
    """

    seed: int = 0
    time_limit: float = 600.0
    training_share: float = 0.6
    costs: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1000.0)
    reserve: float = 0.03
    rounds: int = 120
    legs: int = 8
    gain: float = 0.02
    scales: tuple[float, ...] = (0.3, 0.7, 1.0)
    wide_scales: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)
    step_share: float = 0.3
    attempts: int = 3
    enough: float = 0.7
    stiffen: float = 2.0
    last_start: float = 0.8
    workers: int = 1
    neurons: int = 4
    stiffness: float = 30.0
    steps: int = 300
    shape: int | None = None
    bends: tuple[float, ...] = (0.02, 0.01, 0.005, 0.0015, 0.0005)
    shape_rate: float = 0.1
    shape_stiffness: float = 4.5
    shape_steps: int = 2000
    grow_share: float = 0.15


@dataclass(frozen=True, eq=False)
class _State:
    """A run under way: P of the ellipsoid at level 1, gains, the rate to keep, legs and seconds so far."""

    p: Floats
    gains: Floats
    rate: float
    legs: int = 0
    seconds: float = 0.0
    settled: bool = False


def told_by(report: Callable[[Step], None], began: float, limit: float, figures: Mapping[str, float]) -> Callable[[Progress], None]:
    """What reports the progress of a proof as a step of a run that began then and has ``limit`` seconds."""
    def proving(told: Progress) -> None:
        seconds = time.monotonic() - began
        left = limit - seconds if told.seconds_left is None else min(told.seconds_left, limit - seconds)
        report(Step("proof", min(1.0, seconds / limit), float("nan"), seconds, left, {**figures, "proved %": 100 * told.share}))

    return proving


class EllipsoidLearner(Learner):
    """Learn gains and an ellipsoid, or an ellipsoid for the task's given controller.

    Parameters
    ----------
    task : Task
        Plant, limits, domain.
    settings : EllipsoidSettings
        Seed, time, schedule.
    controller : bytes or None
        The file of a given controller.
    """

    name = "roa"

    def __init__(self, task: Task, settings: EllipsoidSettings | None = None, controller: bytes | None = None) -> None:
        self.task, self.settings, self.controller = task, settings or EllipsoidSettings(), controller
        self.verdict: Verdict | None = None
        self.answer: Verdict | None = None
        self._proving: Callable[[Progress], None] | None = None
        self.counterexamples: Floats = np.zeros((0, task.n))

    def learn(self, out: Path, report: Callable[[Step], None]) -> Learned:
        """Train in legs and ask the prover, again with more reserve where it certifies too little; ``verdict`` is its best answer."""
        keep_freed_memory()
        single_threaded_products()
        s, began = self.settings, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        report(Step("regulators", 0.0, float("nan"), 0.0))
        state = self._resume(out / CHECKPOINT) or self._start()
        began -= state.seconds
        for attempt in range(1, s.attempts + 1):
            state = self._train(out, state, attempt * s.legs, began, report)
            seconds = time.monotonic() - began
            sampled = self._volume(state.p)
            figures = {"sampled volume": sampled, "rounds": float(state.legs)}
            report(Step("proof", min(1.0, seconds / s.time_limit), float("nan"), seconds, s.time_limit - seconds, figures))
            self._proving = told_by(report, began, s.time_limit, figures)
            requirement = self._climb(out, state, began)
            verdict = self.verdict
            if verdict is None:
                raise RuntimeError("the prover was not asked")
            if region_volume(verdict) > s.enough * sampled or time.monotonic() - began > s.last_start * s.time_limit:
                break
            decay = self.task.decay
            state = replace(state, rate=decay + s.stiffen * (state.rate - decay), settled=False)
        if verdict.counterexample is not None:
            self.counterexamples = np.array([verdict.counterexample["x"]])
        figures |= {"boxes": float(verdict.boxes), "certified volume": region_volume(verdict)}
        return Learned(out, requirement, round(time.monotonic() - began, 3), s.seed, figures)

    def _climb(self, out: Path, state: _State, began: float) -> Path:
        """Prove smaller ellipsoids of the same shape first: they are quick, in six states by far, and what is proved stays; end where one is not."""
        s = self.settings
        scales = s.scales if self.task.n <= FEW_STATES else s.wide_scales
        for k, scale in enumerate(scales):
            left = max(s.time_limit - (time.monotonic() - began), 5.0)
            requirement = self._ask(out, replace(state, p=state.p / scale), left if k + 1 == len(scales) else s.step_share * left)
            if self.verdict is None or region_volume(self.verdict) < 0.5 * scale ** (self.task.n / 2) * self._volume(state.p):
                break
        return requirement

    def _train(self, out: Path, state: _State, legs: int, began: float, report: Callable[[Step], None]) -> _State:
        """Legs until the volume stands still, there are so many of them, or their share of the time left is spent."""
        s = self.settings
        deadline = time.monotonic() + s.training_share * (s.time_limit - (time.monotonic() - began))
        while not state.settled and state.legs < legs and time.monotonic() < deadline:
            seconds = time.monotonic() - began
            figures = {"sampled volume": self._volume(state.p)}
            report(Step("widen", seconds / s.time_limit, float("nan"), seconds, s.time_limit - seconds, figures))
            state = self._leg(state, deadline)
            self._save(out / CHECKPOINT, replace(state, seconds=time.monotonic() - began))
        return state

    def can_resume(self, out: Path) -> bool:
        """Whether ``out`` holds a checkpoint of this very question."""
        return self._resume(out / CHECKPOINT) is not None

    # the loop -------------------------------------------------------------------------------------------------------

    def _loop(self, rate: float) -> Loop:
        task, (a, b) = self.task, self.task.linearised
        shift, (middle, half) = offset(task), task.limits
        return Loop(lambda gains, xi: task.rates(xi, middle + half * np.clip(shift + read_law(task, gains).command(xi), -1.0, 1.0)),
                    lambda gains: a + b @ (half[:, None] * read_law(task, gains).slope), "continuous", rate)

    def _given_loop(self, rate: float) -> Loop:
        task, (a, b) = self.task, self.task.linearised
        closed = a - b @ task.regulator[1]
        return Loop(lambda gains, xi: task.rates(xi, task.given_input(xi)), lambda gains: closed, "continuous", rate)

    def _start(self) -> _State:
        """The regulator whose own ellipsoid is the largest, each as wide as samples allow."""
        s, best = self.settings, None
        for cost in (1.0,) if self.controller is not None else s.costs:
            task = replace(self.task, input_cost=cost * self.task.input_cost)
            p, k = task.regulator
            gains = np.zeros(0) if self.controller is not None else (-k / self.task.limits[1][:, None]).T.ravel()
            loop = self._given_loop(0.0) if self.controller is not None else self._loop(0.0)
            rate = self.task.decay + s.reserve * -2 * float(np.linalg.eigvals(loop.jacobian(gains)).real.max())
            found = widen(replace(loop, rate=rate), p, gains, seed=s.seed, rounds=0)
            if found is not None and (best is None or self._volume(found[0]) > self._volume(best.p)):
                best = _State(found[0], found[1], rate)
        if best is None:
            raise CannotLearn(f"{self.task.plant.name}: no regulator decreases on samples of any ellipsoid; change the domain or the parameters")
        return best

    def _leg(self, state: _State, deadline: float) -> _State:
        s, leg = self.settings, state.legs
        seed = 1000 * s.seed + leg
        if self.task.n > FEW_STATES and self.controller is None:
            found = descend(self.task, state.p, state.gains, rate=state.rate, stiffness=s.stiffness, neurons=s.neurons, seed=seed, rounds=s.steps,
                            deadline=deadline)
        else:
            loop = self._given_loop(state.rate) if self.controller is not None else self._loop(state.rate)
            found = widen(loop, state.p, state.gains, seed=seed, rounds=s.rounds * self.task.n, deadline=deadline)
        if found is None:
            return replace(state, legs=leg + 1)
        grown = self._volume(found[0]) / self._volume(state.p)
        return replace(state, p=found[0], gains=found[1], legs=leg + 1, settled=abs(grown - 1) < s.gain)

    def _volume(self, p: Floats) -> float:
        """Volume of the ellipsoid at level 1 in the plant's units."""
        n = self.task.n
        return math.pi ** (n / 2) / math.gamma(n / 2 + 1) * float(np.prod(self.task.width)) * math.exp(-0.5 * float(np.linalg.slogdet(p)[1]))

    # files and proof ------------------------------------------------------------------------------------------------

    def _ask(self, out: Path, state: _State, budget: float) -> Path:
        """Ask the prover for an ellipsoid."""
        law = self.controller or to_onnx(law_graph(self.task, state.gains), double=True)
        files = dict(zip(FILES, (law, ellipsoid_text(self.task).encode()), strict=True))
        return self._offered(out, files, budget, (state.p / self.task.width / self.task.width[:, None],))

    def _offered(self, out: Path, files: Mapping[str, bytes], budget: float, quadratics: Sequence[Floats]) -> Path:
        """Ask the prover aside; of its answer and a bundle that this or an earlier run of this question left here, the larger region stays."""
        aside = out / ".attempt" / out.resolve().name
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, data in files.items():
            (aside / name).write_bytes(data)
        bundle, path = out / "requirement.cert", out / NAMES[2]
        verdict = verify(aside / NAMES[2], aside / bundle.name, budget=budget, workers=self.settings.workers, seed=self.settings.seed,
                         quadratics=quadratics, progress=self._proving)
        self.answer = verdict
        held = self._held(path, bundle)
        if held is not None and not region_volume(verdict) > region_volume(held):
            if self.verdict is None or region_volume(self.verdict) != region_volume(held):
                self.verdict = held
        else:
            for name in NAMES:
                if name in files:
                    (aside / name).replace(out / name)
                else:
                    (out / name).unlink(missing_ok=True)
            shutil.rmtree(bundle, ignore_errors=True)
            if verdict.outcome == "PROVED":
                (aside / bundle.name).replace(bundle)
                verdict = replace(verdict, bundle=bundle)
            self.verdict = verdict
        shutil.rmtree(out / ".attempt")
        return path

    def _held(self, path: Path, bundle: Path) -> Verdict | None:
        """What is certified here for this question, with a function of its own or without, once the kernel has accepted it again."""
        if not bundle.is_dir() or not path.is_file():
            return None
        text = path.read_text(encoding="utf-8")
        level = re.search(r'^level += "([0-9.]+)"$', text, re.MULTILINE)
        if text not in (ellipsoid_text(self.task), *([requirement_text(self.task, level[1])] if level else [])):
            return None
        receipt = check_by(self.settings.workers, bundle, path)
        if receipt.outcome != "ACCEPTED":
            return None
        return Verdict("PROVED", None, None, receipt.message, receipt.name, receipt.property, receipt, bundle)

    def _digest(self) -> str:
        """What a checkpoint belongs to: the settings but for time and legs, the plant and domain, the given controller."""
        told = {**asdict(self.settings), "lo": self.task.lo, "hi": self.task.hi, "r": self.task.input_cost, "asked": self.task.rate}
        for key in ("time_limit", "training_share", "legs", "gain", "attempts", "enough", "stiffen", "last_start", "scales",
                    "wide_scales", "step_share", "workers", "grow_share"):
            told.pop(key)
        return hashlib.sha256((repr(sorted(told.items())) + self.task.plant.to_json()).encode() + (self.controller or b"")).hexdigest()

    def _save(self, path: Path, state: _State) -> None:
        """Write the checkpoint aside and rename it."""
        aside = path.with_name("." + path.name)
        with aside.open("wb") as file:
            np.savez(file, digest=self._digest(), **asdict(state))
        aside.replace(path)

    def _resume(self, path: Path) -> _State | None:
        """The state of an interrupted run of the same question, or None."""
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["digest"]) != self._digest():
                    return None
                return _State(held["p"], held["gains"], float(held["rate"]), int(held["legs"]), float(held["seconds"]), bool(held["settled"]))
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
