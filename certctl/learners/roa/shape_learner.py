r"""An ellipsoid first, then a network as the function, whose level sets follow the loop.

The ellipsoid (:mod:`certctl.learners.roa.ellipsoid_learner`) is quick to learn and to prove, and what is proved stays.  From it
:class:`certctl.learners.roa.spread.Spread` grows a function :math:`|L y + A\tanh(\cdot)|^2` whose level sets follow the loop, less and less
punished for bending, until the tree that proves it is forecast to outlast the time (:mod:`verifiers.smt.forecast`): the boxes a proof needs are a
figure of the training.  The largest level whose tree fits is then asked of ``verify``.

The volume of such a region is proved by boxes that lie in it in part, along its own axes (:mod:`verifiers.region.cuts`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from certctl.learners.learner import Learned, Step
from certctl.learners.roa.ellipsoid_learner import CHECKPOINT, FEW_STATES, EllipsoidLearner, _State, told_by
from certctl.learners.roa.files import NAMES, region_volume, requirement_text
from certctl.learners.roa.law import law_graph, read_law
from certctl.learners.roa.shape import Shape, radii, shape_graph
from certctl.learners.roa.spread import Grown, Spread
from certctl.learners.roa.task import Floats
from verifiers.kernel.properties import Goal
from verifiers.kernel.requirement import read_requirement
from verifiers.kernel.setting import Source, make_stage, open_setting, plant_bytes
from verifiers.load.to_onnx import to_onnx
from verifiers.region.cuts import round_axes
from verifiers.smt.branch_and_bound import sharpest
from verifiers.smt.forecast import Forecast, forecast

SHAPES = "shapes.npz"
WORTH, ELLIPSOID = 300.0, 600.0
"""Seconds that a run has to have for a function to be learned, and what the ellipsoid may take of them."""
ENOUGH, HALF = 60.0, 0.5
"""Seconds that have to be left for the next function; share of a short run that the ellipsoid may take."""
UNITS, MORE_UNITS = 48, 16
"""Neurons of the function in four states, where boxes are few, and beyond."""
LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
LOWER = (1.0, 0.95, 0.9, 0.8)
"""Shares of the level chosen that are asked for one after the other while a counterexample stands against each."""
BOXES_A_LEAF, PART = 1.7, 0.6
"""Boxes decided for a leaf (measured: docs/results.md), and the share of the time left that a proof is forecast to take."""
NEAR, FAR, DRAWN = 0.3, 3.0, 600
"""The states of a forecast: their distances from the equilibrium over the boundary's, and how many."""


@dataclass(frozen=True, eq=False)
class Offer:
    """A grown function and law, a level of it, the volume there on samples, and the leaves that its proof is forecast to need."""

    grown: Grown
    level: float
    volume: float
    leaves: float


class ShapeLearner(EllipsoidLearner):
    """An ellipsoid, and a network as the function where there is time for it; settings, task and controller as of the ellipsoid's learner."""

    def learn(self, out: Path, report: Callable[[Step], None]) -> Learned:
        """The ellipsoid in a part of the time, then functions that bend more and more, and the proof of the largest that fits the rest."""
        whole = self.settings
        if whole.shape == 0 or whole.time_limit < WORTH:
            return super().learn(out, report)
        self.settings = replace(whole, time_limit=min(ELLIPSOID, HALF * whole.time_limit))
        try:
            learned = super().learn(out, report)
        finally:
            self.settings = whole
        state, began = self._resume(out / CHECKPOINT), time.monotonic() - learned.seconds  # a resumed run counts what was spent before
        if state is None or whole.time_limit - learned.seconds < ENOUGH:
            return learned
        return self._reshape(out, state, learned, began, report)

    def _reshape(self, out: Path, state: _State, learned: Learned, began: float, report: Callable[[Step], None]) -> Learned:
        """Learn functions, ask for the best, and tell of what stays in ``out``."""
        s, figures, factor = self.settings, dict(learned.figures), np.asarray(np.linalg.cholesky(state.p), dtype=np.float64)
        ball = self._volume(state.p)

        def left() -> float:
            return s.time_limit - (time.monotonic() - began)

        def tell(phase: str) -> None:
            seconds = s.time_limit - left()
            report(Step(phase, min(1.0, seconds / s.time_limit), float("nan"), seconds, left(), dict(figures)))

        def growing(done: float, volume: float) -> None:
            figures["sampled volume"] = volume * ball
            tell("grow")

        first, shape, vector = self._resume_shape(out / SHAPES, state) or (0, Shape.start(self.task.n, self._units, np.random.default_rng(s.seed)),
                                                                           state.gains)
        best: Offer | None = None
        for k in range(first, len(s.bends)):
            search = self._spread(state, factor, k)
            shape, vector = search.run(shape, vector, s.shape_steps, time.monotonic() + s.grow_share * left(), growing)
            self._save_shape(out / SHAPES, state, k + 1, shape, vector)
            grown = search.judge(shape, vector)
            offer = None if grown is None else self._offer(grown, factor, ball, left())
            if offer is None:
                break
            if best is None or offer.volume > best.volume:
                best = offer
            figures |= {"sampled volume": offer.volume, "boxes expected": BOXES_A_LEAF * offer.leaves}
            tell("forecast")
            if offer.level < 1 or left() < ENOUGH:  # what bends more needs more boxes still
                break
        if best is not None and (self.verdict is None or best.volume > region_volume(self.verdict)):
            figures |= {"sampled volume": best.volume, "boxes expected": BOXES_A_LEAF * best.leaves}
            tell("proof")
            self._proving = told_by(report, began, s.time_limit, figures)
            for lower in LOWER:
                offer = replace(best, level=round(best.level * lower, 6))
                learned = replace(learned, requirement=self._offered(out, self._files(offer, factor), max(left(), 5.0), ()))
                if self.answer is None or self.answer.outcome != "REFUTED":
                    break
            if self.answer is not None and self.answer.outcome != "PROVED":
                tell(f"function not proved ({self.answer.code})")
        if self.verdict is not None:
            figures |= {"boxes": float(self.verdict.boxes), "certified volume": region_volume(self.verdict)}
        return replace(learned, figures=figures, seconds=round(time.monotonic() - began, 3))

    @property
    def _units(self) -> int:
        return self.settings.shape or (UNITS if self.task.n <= FEW_STATES else MORE_UNITS)

    # functions --------------------------------------------------------------------------------------------------------

    def _spread(self, state: _State, factor: Floats, k: int) -> Spread:
        s, task, (a, b) = self.settings, self.task, self.task.linearised
        given = self.controller is not None
        slope = -task.regulator[1] if given else task.limits[1][:, None] * read_law(task, state.gains).slope
        unit = -2 * float(np.linalg.eigvals(a + b @ slope).real.max())
        search = Spread(task, factor, task.decay + s.shape_rate * unit, unit, s.shape_stiffness, s.bends[k], np.random.default_rng((s.seed, k)))
        fastest = -search.local(Shape.start(task.n, 0, search.rng), search.inner(state.gains))[0][0] / unit
        return replace(search, stiffness=max(s.shape_stiffness, float(fastest)))  # what the ellipsoid has is not punished

    def _offer(self, grown: Grown, factor: Floats, ball: float, left: float) -> Offer | None:
        """The largest level whose proof is forecast to end in a part of the time left; None where none is."""
        for level in LEVELS:
            found = self.expected(grown, factor, level)
            seconds = BOXES_A_LEAF * (found.leaves + found.error) / (found.pace * self.settings.workers)
            if seconds < PART * left:
                return Offer(grown, level, grown.volume * ball * level ** (self.task.n / 2), found.leaves)
        return None

    def expected(self, grown: Grown, factor: Floats, level: float) -> Forecast:
        """The tree of a level: states at distances from ``NEAR`` to ``FAR`` times the boundary's, alike in the logarithm, where most leaves are."""
        task, n, rng = self.task, self.task.n, np.random.default_rng(self.settings.seed)
        s = rng.standard_normal((DRAWN, n))
        s /= np.linalg.norm(s, axis=1, keepdims=True)
        far = radii(grown.shape.scaled(level), s) * np.exp(rng.uniform(math.log(NEAR), math.log(FAR), DRAWN))
        xi = (far[:, None] * s) @ np.linalg.inv(factor)
        sphere = n * math.pi ** (n / 2) / math.gamma(n / 2 + 1)
        weights = math.log(FAR / NEAR) * sphere * far**n * float(np.prod(task.width)) / abs(float(np.linalg.det(factor)))
        requirement = read_requirement(requirement_text(task, str(level)).encode(), NAMES[2])
        setting = open_setting(requirement, plant_bytes(requirement, None), self._law(grown.law))
        source = Source(None, (), shape_graph(task, factor, grown.shape))
        stage = make_stage(setting, source, Fraction(str(level)), None)
        states, frame = task.rest + xi * task.width, round_axes(stage, setting.rest)
        if frame is not None:
            turn = np.array([[float(v) for v in row] for row in frame])
            stage = make_stage(setting, source, Fraction(str(level)), frame)
            states, weights = np.linalg.solve(turn, (states - task.rest).T).T, weights / abs(float(np.linalg.det(turn)))
        inside = ((states > stage.lo) & (states < stage.hi)).all(axis=1)
        return forecast(sharpest(stage), Goal("attraction"), states[inside], weights[inside] * inside.mean())

    # files ------------------------------------------------------------------------------------------------------------

    def _law(self, vector: Floats) -> bytes:
        return self.controller or to_onnx(law_graph(self.task, vector), double=True)

    def _files(self, offer: Offer, factor: Floats) -> dict[str, bytes]:
        """Controller, function and requirement of an offer."""
        function = to_onnx(shape_graph(self.task, factor, offer.grown.shape), double=True)
        return dict(zip(NAMES, (self._law(offer.grown.law), function, requirement_text(self.task, str(offer.level)).encode()), strict=True))

    def _save_shape(self, path: Path, state: _State, k: int, shape: Shape, vector: Floats) -> None:
        """Write the checkpoint aside and rename it."""
        aside = path.with_name("." + path.name)
        with aside.open("wb") as file:
            np.savez(file, digest=self._digest(), p=state.p, k=k, shape=shape.vector, law=vector)
        aside.replace(path)

    def _resume_shape(self, path: Path, state: _State) -> tuple[int, Shape, Floats] | None:
        """How many functions an interrupted run of the same question has grown from this ellipsoid, the last one and its law."""
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["digest"]) != self._digest() or not np.array_equal(held["p"], state.p):
                    return None
                like = Shape.start(self.task.n, self._units, np.random.default_rng(0))
                return min(int(held["k"]), len(self.settings.bends) - 1), like.like(held["shape"]), held["law"]
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
