"""``certctl learn roa`` in continuous time: estimate by Zubov's equation, fit, refine by counterexamples, ask the prover, and grow."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from certctl.learners.learner import Learned, Learner, Step
from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.files import NAMES, region_volume, requirement_text, write_candidate
from certctl.learners.roa.fit import CEILING, Weights, draw, hunt, improve, violations
from certctl.learners.roa.growth import Growing, Stage, grow, scheme_at
from certctl.learners.roa.task import Floats, Task
from certctl.learners.roa.zubov import Estimate, Scheme, solve
from verifiers.kernel.check import check
from verifiers.memory import keep_freed_memory, single_threaded_products
from verifiers.prove import Verdict, verify

CHECKPOINT = "training.npz"
TRIES = 4
"""A run without a proof starts anew, with other weights, after each of so many parts of its time."""
KEPT = 600
"""Counterexamples of earlier rounds that stay in the batch."""


@dataclass(frozen=True)
class Settings:
    """What can be set about a run.

    Attributes
    ----------
    seed : int
        Seed of all random numbers.
    time_limit : float
        Seconds for training and proofs together.
    scheme : Scheme
        Of the estimate.
    widths : (int, int)
        Neurons of the hidden layers of V and of the controller.
    outputs : int
        Squares that V is made of.
    states : int
        States in a batch.
    fit_rounds : int
        Steps of the fit before the refinement.
    worth : float
        Value of V below which no violation may be left before the prover is asked.
    enough : float
        Share of the candidate's own region {V < 1} that ends a stage once it is certified.
    between_proofs, between_hunts, most_proofs : int
        Steps between two proofs, and between two harder searches for violations, one of which comes before each proof; proofs at most in a stage.
    growing : Growing
        From one certified region to a larger one.
    proof_budget : float
        Seconds for one search of the prover.
    workers : int
        Processes of the prover.
    """

    seed: int = 0
    time_limit: float = 600.0
    scheme: Scheme = field(default_factory=Scheme)
    widths: tuple[int, int] = (24, 10)
    outputs: int = 4
    states: int = 2400
    fit_rounds: int = 16
    worth: float = 0.9
    enough: float = 0.97
    between_proofs: int = 10
    between_hunts: int = 3
    most_proofs: int = 12
    growing: Growing = field(default_factory=Growing)
    proof_budget: float = 120.0
    workers: int = 1


@dataclass(eq=False)
class _State:
    """A run under way; everything but the estimate goes into the checkpoint."""

    candidate: Candidate
    rng: np.random.Generator
    kept: Floats
    round: int = 0
    damping: float = 1e-2
    seconds: float = 0.0
    loss: float = float("nan")
    against: Floats = field(default_factory=lambda: np.zeros((0, 1)))
    lowest: float = 0.0
    size: float = 0.0
    best: float = 0.0
    proofs: int = 0
    next_proof: int = 0
    restarts: int = 0
    boxes: int = 0
    stage: Stage = field(default_factory=Stage)

    @property
    def since(self) -> int:
        """Steps of the stage so far."""
        return self.round - self.stage.first_round


class ZubovLearner(Learner):
    """Learn a controller and V, or V for the task's given controller.

    Parameters
    ----------
    task : Task
        Plant, limits, domain.
    settings : Settings
        Sizes, seed, time.
    controller : bytes or None
        The file of a given controller.
    """

    name = "roa"
    kind: type[Candidate] = Candidate

    def __init__(self, task: Task, settings: Settings | None = None, controller: bytes | None = None) -> None:
        self.task, self.settings, self.controller = task, settings or Settings(), controller
        self.verdict: Verdict | None = None
        self.requirement: Path | None = None
        self.counterexamples: Floats = np.zeros((0, task.n))

    def learn(self, out: Path, report: Callable[[Step], None]) -> Learned:
        """Train until the prover has accepted nearly all of the candidate's own region and growth is over, or the time is.

        ``verdict`` is then the best answer of the prover and ``counterexamples`` the states left against the candidate, worst first.
        """
        keep_freed_memory()
        single_threaded_products()
        s, began = self.settings, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        report(Step("estimate", 0.0, float("nan"), 0.0))
        held = self._resume(out / CHECKPOINT)
        state = held or self._start()
        estimate = self.estimate(scheme_at(s.scheme, s.growing, state.stage.exponent))
        if held is not None:
            self._take_back(out, state)
        began -= state.seconds
        box = float(np.prod(2 * self.task.width))
        while (seconds := time.monotonic() - began) < s.time_limit and (state.best or state.stage.proofs < s.most_proofs):
            if self._stage_is_over(state, box):
                report(Step("estimate", min(1.0, seconds / s.time_limit), state.loss, seconds, s.time_limit - seconds,
                            {"certified volume": state.best}))
                larger = self._grow(state, box)
                if larger is None:
                    break
                estimate = larger
            if not state.best and seconds > (state.restarts + 1) * s.time_limit / TRIES:
                state = self._start(state.restarts + 1)
            fitting = state.since < self._fit_rounds(state)
            self._round(state, estimate)
            figures = {"lowest violation": state.lowest, "region": state.size * box, "certified volume": state.best,
                       "boxes": float(state.boxes)}
            report(Step("fit" if fitting else "refine", min(1.0, seconds / s.time_limit), state.loss, seconds, s.time_limit - seconds, figures))
            if state.round % 10 == 0:
                state.seconds = time.monotonic() - began
                self._save(out / CHECKPOINT, state)
            if state.lowest > s.worth and state.round >= state.next_proof and not self._hunted(state):
                report(Step("proof", min(1.0, seconds / s.time_limit), state.loss, seconds, s.time_limit - seconds, figures))
                budget = min(s.proof_budget, s.growing.proof_budget) if state.stage.first_round else s.proof_budget
                self._ask(out, state, min(budget, max(s.time_limit - seconds, 5.0)))
        if self.verdict is None:
            self._ask(out, state, s.proof_budget)
        state.seconds = time.monotonic() - began
        self._save(out / CHECKPOINT, state)
        if self.verdict is None or self.requirement is None:
            raise RuntimeError("the prover was not asked")
        self.counterexamples = self.task.rest + state.against * self.task.width
        figures = {"loss": state.loss, "rounds": float(state.round), "kappa": (state.stage.certified or state.candidate).kappa,
                   "proofs": float(state.proofs), "counterexamples": float(len(state.against)),
                   "boxes": float(self.verdict.boxes), "estimated volume": estimate.share * box, "certified volume": state.best}
        return Learned(out, self.requirement, round(state.seconds, 3), s.seed, figures)

    def estimate(self, scheme: Scheme) -> Estimate:
        """Solve Zubov's equation for the task."""
        return solve(self.task, scheme)

    def _stage_is_over(self, state: _State, box: float) -> bool:
        """Whether nearly all of the candidate's own region is certified, or the stage has had its proofs, or, a further one, its steps."""
        s, stage = self.settings, state.stage
        if stage.proofs >= s.most_proofs or (stage.first_round and state.since > s.growing.patience):
            return True
        return bool((stage.proofs or not stage.first_round) and 0 < state.size * s.enough * box < state.best)

    def _grow(self, state: _State, box: float) -> Estimate | None:
        """Begin the next stage, and return its estimate; None when growth is over."""
        s = self.settings
        failed = not 0 < state.size * s.enough * box < state.best
        found = grow(state.stage, state.candidate, state.round, state.best, failed, s.growing, s.scheme, box, self.estimate)
        if found is None:
            return None
        state.stage, state.candidate, estimate = found
        state.next_proof, state.size, state.lowest, state.damping = 0, 0.0, 0.0, 1e-2
        return estimate

    def _fit_rounds(self, state: _State) -> int:
        return self.settings.growing.fit_rounds if state.stage.first_round else self.settings.fit_rounds

    def _ask(self, out: Path, state: _State, budget: float) -> None:
        """Ask the prover about the candidate as it is, aside; the better of this answer and the last one stays, with its files."""
        s = self.settings
        aside = out / ".attempt" / out.resolve().name
        requirement = write_candidate(state.candidate, aside, self.controller)
        verdict = verify(requirement, aside / "requirement.cert", budget=budget, workers=s.workers, force=True, seed=s.seed)
        state.proofs += 1
        state.stage.proofs += 1
        state.boxes = verdict.boxes
        state.next_proof = state.round + s.between_proofs
        volume = region_volume(verdict)
        if volume > state.best:
            state.stage.certified, state.stage.certified_exponent = state.candidate, state.stage.exponent
        if self.verdict is None or volume > state.best or (self.verdict.outcome != "PROVED" and verdict.outcome != "PROVED"):
            self.requirement = out / requirement.name
            for name in NAMES:
                (aside / name).replace(out / name)
            shutil.rmtree(out / "requirement.cert", ignore_errors=True)
            if verdict.outcome == "PROVED":
                (aside / "requirement.cert").replace(out / "requirement.cert")
                verdict = replace(verdict, bundle=out / "requirement.cert", receipt=check(out / "requirement.cert", self.requirement))
            self.verdict, state.best = verdict, max(state.best, volume)
        shutil.rmtree(out / ".attempt")
        if verdict.outcome != "PROVED":
            self._take_up(state, verdict)

    def _take_back(self, out: Path, state: _State) -> None:
        """Keep what an earlier run of this question has certified, once the kernel has accepted it again."""
        requirement, bundle = out / "requirement.toml", out / "requirement.cert"
        if not bundle.is_dir() or not requirement.is_file() or requirement.read_text(encoding="utf-8") != requirement_text(self.task):
            return
        receipt = check(bundle, requirement)
        if receipt.outcome == "ACCEPTED":
            self.requirement = requirement
            self.verdict = Verdict("PROVED", None, None, receipt.message, receipt.name, receipt.property, receipt, bundle)
            state.best = region_volume(self.verdict)

    def can_resume(self, out: Path) -> bool:
        """Whether ``out`` holds a checkpoint of this very question."""
        return self._resume(out / CHECKPOINT) is not None

    def _start(self, restarts: int = 0) -> _State:
        """The regulator's candidate, with hidden layers of this seed and start."""
        s = self.settings
        rng = np.random.default_rng([s.seed, restarts] if restarts else s.seed)
        candidate = self.kind.start(self.task, s.scheme.kappa, s.scheme.power, s.widths, s.outputs, rng)
        return _State(candidate, rng, np.zeros((0, self.task.n)), restarts=restarts)

    def _weights(self, index: int, fit_rounds: int) -> Weights:
        """The schedule of a stage: fit first, then the decrease, while estimate and inputs count less and less."""
        if index < fit_rounds:
            return Weights()
        late = min(1.0, (index - fit_rounds) / 60)
        return Weights(value=max(0.02, 0.3 * (1 - late)), input=0.001 + 0.02 * (1 - late), decrease=5.0, size=0.2)

    def _round(self, state: _State, estimate: Estimate) -> None:
        """One step, and what stands against the new candidate: the states at which it does not decrease, no margin asked."""
        weights = self._weights(state.since, self._fit_rounds(state))
        if state.since == self._fit_rounds(state):
            state.damping = 1e-2
        batch = draw(state.candidate, estimate, self.settings.states, state.rng, weights, state.kept)
        state.candidate, state.damping, state.loss = improve(state.candidate, batch, weights, state.damping)
        state.round += 1
        if not len(batch.steep):
            return
        state.size = float((state.candidate.at(batch.xi).value < 1).mean()) * 0.2 + (state.size or batch.inside.mean()) * 0.8
        found, value = violations(state.candidate, batch.steep, Weights(margin=0.0, angle=0.0))
        bad = np.flatnonzero((found >= 0) & (value < CEILING))
        state.against = batch.steep[bad[np.argsort(-found[bad])]]
        state.lowest = float(value[bad].min(initial=CEILING))
        state.kept = np.concatenate([state.against[:KEPT // 3], state.kept])[:KEPT]

    def _hunted(self, state: _State) -> bool:
        """Whether a harder search finds states below ``worth`` that the samples of the steps have missed; they join the counterexamples."""
        found, value = hunt(state.candidate, 4 * self.settings.states, state.rng)
        if not len(found):
            return False
        state.kept = np.concatenate([found[:KEPT // 3], state.kept])[:KEPT]
        if not value.min() < self.settings.worth:
            return False
        state.lowest, state.next_proof = float(value.min()), state.round + self.settings.between_hunts
        return True

    def _take_up(self, state: _State, verdict: Verdict) -> None:
        """Put the prover's own state against the candidate, with a cloud about it, among the counterexamples."""
        if verdict.counterexample is None:
            return
        x = (np.array(verdict.counterexample["x"]) - self.task.rest) / self.task.width
        cloud = x + 1e-2 * state.rng.standard_normal((KEPT // 4, self.task.n)) * state.rng.uniform(0, 1, (KEPT // 4, 1))**2
        state.kept = np.concatenate([np.clip(cloud, -1, 1), state.kept])[:KEPT]

    # checkpoint -----------------------------------------------------------------------------------------------------

    def _digest(self) -> str:
        """What a checkpoint belongs to: the settings but for time, the plant and domain, the given controller."""
        told: dict[str, Any] = {**asdict(self.settings), "lo": self.task.lo, "hi": self.task.hi, "r": self.task.input_cost, "rate": self.task.rate}
        for key in ("time_limit", "proof_budget", "workers"):
            told.pop(key)
        data = repr(sorted(told.items())) + self.task.plant.to_json()
        return hashlib.sha256(data.encode() + (self.controller or b"")).hexdigest()

    def _candidate(self, like: Candidate, flat: Floats, exponent: float) -> Candidate:
        """The candidate with these weights, of the stage with this exponent."""
        scheme = scheme_at(self.settings.scheme, self.settings.growing, exponent)
        return replace(like.like(flat), kappa=scheme.kappa, power=scheme.power)

    def _save(self, path: Path, state: _State) -> None:
        """Write the checkpoint aside and rename it."""
        aside = path.with_name("." + path.name)
        with aside.open("wb") as file:
            stage = state.stage
            certified = np.zeros(0) if stage.certified is None else stage.certified.flat()
            np.savez(file, digest=self._digest(), weights=state.candidate.flat(), kept=state.kept, round=state.round, damping=state.damping,
                     seconds=state.seconds, restarts=state.restarts, certified=certified,
                     stage=[stage.exponent, stage.step, stage.first_round, stage.first_best, stage.proofs, stage.certified_exponent])
        aside.replace(path)

    def _resume(self, path: Path) -> _State | None:
        """The state of an interrupted run of the same question, or None."""
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["digest"]) != self._digest():
                    return None
                state = self._start(int(held["restarts"]))
                exponent, step, first_round, first_best, proofs, certified_exponent = held["stage"].tolist()
                state.stage = Stage(exponent, step, int(first_round), first_best, int(proofs), None, certified_exponent)
                if len(held["certified"]):
                    state.stage.certified = self._candidate(state.candidate, held["certified"], certified_exponent)
                state.candidate = self._candidate(state.candidate, held["weights"], exponent)
                state.kept, state.round = held["kept"], int(held["round"])
                state.damping, state.seconds = float(held["damping"]), float(held["seconds"])
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
        state.rng = np.random.default_rng([self.settings.seed, state.round])
        return state
