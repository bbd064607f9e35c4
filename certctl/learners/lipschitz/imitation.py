"""Imitation of an expert under a Lipschitz bound: data, training, files, and what ``verify`` says about them."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certctl.learners.learner import Learned, Learner, Step
from certctl.learners.lipschitz import networks
from certctl.learners.lipschitz.demonstrations import BadData, Demonstrations, read_demonstrations, signals_of
from certctl.learners.lipschitz.experts import Expert, ask, spread_states
from certctl.learners.lipschitz.problem import Problem
from certctl.learners.lipschitz.regression import lipschitz_regression
from certctl.learners.lipschitz.training import Report, Settings, Trained, train
from certctl.result import Result, from_verdict
from certctl.scaffold import Wish, requirement_text
from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.rational import parse
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx

if TYPE_CHECKING:
    from certctl.learners.lipschitz.guarantee import Guarantee

NONE = "none"
"""The bound of a network without one."""


@dataclass(frozen=True)
class DAgger:
    """Data aggregation: in each round the policy drives the plant from ``starts`` states for ``steps`` steps, and the expert is asked at up to
    ``count`` of the states visited inside the domain, which join the data.
    """

    rounds: int = 0
    starts: int = 20
    steps: int = 60
    count: int = 200


DEFAULT, NO_DAGGER = Settings(), DAgger()


@dataclass(frozen=True, eq=False)
class LipschitzImitation(Learner):
    """Train one policy for one bound, and write it with its requirements.

    Attributes
    ----------
    data : Demonstrations
        The pairs.
    bound : str
        The Lipschitz bound with respect to Euclidean norms, in the units of inputs over states, exact; ``none`` for a plain network.
    settings : Settings
        How the network is trained.
    problem : Problem or None
        The plant, where the closed loop is to be proved too; then the output bias is shifted so that the policy holds the equilibrium.
    expert : Expert or None
        Whom to ask in DAgger.
    dagger : DAgger
        Rounds of data aggregation.
    name : str
        Stem of the files.
    contains : (tuple of str, tuple of str) or None
        Box that the region must hold; a tenth of the domain by default.
    project : bool
        Train on the inputs nearest to the data's that a policy with this bound can have
        (:func:`certctl.learners.lipschitz.regression.lipschitz_regression`), and say what they cost.
    """

    data: Demonstrations
    bound: str
    settings: Settings = DEFAULT
    problem: Problem | None = None
    expert: Expert | None = None
    dagger: DAgger = NO_DAGGER
    name: str = "policy"
    contains: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    project: bool = False

    def learn(self, out: Path, report: Callable[[Step], None]) -> Learned:
        """Train, and write ``NAME.onnx``, ``NAME.requirement.toml``, ``NAME_loop.requirement.toml`` and ``learned.json`` below ``out``."""
        began = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        data, settings = self.data, self.settings
        if self.bound == NONE:
            settings = replace(settings, network="plain")
        bound = math.inf if self.bound == NONE else float(exact_bound(self.bound))
        for turn in range(self.dagger.rounds + 1):
            aim = self._aim(data, bound)
            found = train(aim, bound, settings, out / f"checkpoint_{turn}.npz", _named(report, turn, self.dagger.rounds))
            graph = self._pinned(networks.to_graph(found.network, settings.activation))
            if turn < self.dagger.rounds:
                data = self._aggregated(data, graph, out / f"data_{turn + 1}.npz", turn)
        figures = self._figures(data, aim, graph, found)
        self._write(out, graph, found, bound)
        learned = Learned(out, out / f"{self.name}.requirement.toml" if self.bound != NONE else None, round(time.monotonic() - began, 3),
                          settings.seed, figures)
        return self._remembered(learned)

    def _remembered(self, learned: Learned) -> Learned:
        """Write what was measured; the time of a run that only loaded its checkpoints is that of the first."""
        path = learned.folder / "learned.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if before.get("figures") == dict(learned.figures):
            learned = replace(learned, seconds=before["seconds"])
        content = {"bound": self.bound, "network": self.settings.network if self.bound != NONE else "plain", "seconds": learned.seconds,
                   "seed": learned.seed, "figures": dict(learned.figures)}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return learned

    def _pinned(self, graph: Graph) -> Graph:
        """The network with its last bias shifted so that it holds the plant's equilibrium; its Lipschitz constant stays."""
        if self.problem is None:
            return graph
        rest, held = self.problem.rest
        for _ in range(3):
            graph = networks.shifted(graph, held - evaluate(graph, rest))
        return graph

    def _aggregated(self, data: Demonstrations, policy: Graph, path: Path, turn: int) -> Demonstrations:
        """The data with the expert's answers where this policy goes."""
        if path.exists():
            return read_demonstrations(path, problem=self.problem)
        if self.problem is None or self.expert is None:
            raise BadData("DAgger needs a plant to drive and an expert to ask")
        rng = np.random.default_rng((self.settings.seed, turn))
        lo, hi = self.problem.box
        x, seen = rng.uniform(lo, hi, (self.dagger.starts, len(lo))), []
        for _ in range(self.dagger.steps):
            x = evaluate(self.problem.step, x, evaluate(policy, x))
            x = x[((x >= lo) & (x <= hi)).all(axis=1)]
            seen.append(x)
            if not len(x):
                break
        visited = np.concatenate(seen)
        if len(visited) < 2:
            raise BadData("in DAgger the policy left the domain at once; enlarge the domain, or give more data before")
        asked, given, _ = ask(self.expert, visited[rng.permutation(len(visited))[:self.dagger.count]])
        joined = data.joined(asked, given)
        joined.save(path)
        return joined

    def _aim(self, data: Demonstrations, bound: float) -> Demonstrations:
        """What is trained on: the data, or the nearest that a policy with the bound can do."""
        if not self.project or bound == math.inf:
            return data
        return replace(data, inputs=lipschitz_regression(data, bound).values)

    def _figures(self, data: Demonstrations, aim: Demonstrations, graph: Graph, found: Trained) -> dict[str, float]:
        gap = np.linalg.norm(evaluate(graph, data.states) - data.inputs, axis=1)
        values = {"loss": found.loss, "held_out": found.held_out, "rms": float(np.sqrt((gap**2).mean())), "largest_error": float(gap.max()),
                  "pairs": float(len(data)), "epochs": float(found.epochs)}
        if aim is not data:
            values["least_loss"] = float(((aim.inputs - data.inputs) ** 2).sum(axis=1).mean())
        return {key: value for key, value in values.items() if math.isfinite(value)}

    def _write(self, out: Path, graph: Graph, found: Trained, bound: float) -> None:
        """The policy as plain float64 weights, the requirements, and the guess at the multipliers."""
        controller = out / f"{self.name}.onnx"
        controller.write_bytes(to_onnx(graph, double=True))
        if self.bound != NONE:
            (out / f"{self.name}.requirement.toml").write_text(bound_text(controller.name, self.bound), encoding="utf-8")
            guess = networks.multipliers(found.network, bound * (1 - self.settings.margin))
            if guess is not None:
                np.save(out / "multipliers.npy", guess)
        if self.problem is not None:
            (out / f"{self.name}_loop.requirement.toml").write_text(self._loop_text(out, controller), encoding="utf-8")

    def _loop_text(self, out: Path, controller: Path) -> str:
        p = self.problem
        plant = p.plant
        if plant.endswith(".json"):
            plant = str(out / Path(plant).name)
            if Path(p.plant).resolve() != Path(plant).resolve():
                shutil.copyfile(p.plant, plant)
        corners = tuple(tuple(str(v) for v in side) for side in p.domain)
        return requirement_text(Wish(out, controller, plant, time=p.time, dt=p.dt, method=p.method, domain=corners, contains=self.contains,
                                     parameters=p.parameters))


def exact_bound(text: str) -> Fraction:
    """A bound as the exact number that it is.

    Raises
    ------
    BadData
        When it is no positive decimal or fraction.
    """
    try:
        value = parse(text, "bound")
    except Refusal:
        value = Fraction(0)
    if not value > 0:
        raise BadData(f"the bound {text!r} is not a positive number such as 2, 0.5 or 7/3")
    return value


def bound_text(controller: str, bound: str) -> str:
    """The requirement that a controller has a Lipschitz bound everywhere."""
    return (f"# The Lipschitz constant of {controller} with respect to Euclidean norms; `certctl verify` answers whether it holds.\n"
            f'property   = "lipschitz_bound"\ncontroller = {json.dumps(controller)}\n\n[bound]\nvalue = "{bound}"\nnorm  = "l2"\n')


def _named(report: Report, turn: int, turns: int) -> Report:
    if not turns:
        return report
    return lambda step: report(replace(step, phase=f"round {turn}", done=(turn + step.done) / (turns + 1), seconds_left=None))


@dataclass(frozen=True, eq=False)
class Candidate:
    """One policy of a sweep: its bound, what was learned, what was proved about it, and the report on what it keeps of its expert (None where
    nothing was asked)."""

    bound: str
    learned: Learned
    lipschitz: Result | None = None
    loop: Result | None = None
    guarantee: Guarantee | None = None

    @property
    def results(self) -> list[Result]:
        """What verify said."""
        return [result for result in (self.lipschitz, self.loop) if result is not None]


@dataclass(frozen=True, eq=False)
class Imitation:
    """What a sweep over bounds gave.

    Attributes
    ----------
    data : Demonstrations
        The pairs of the first round.
    unanswered : int
        States at which the expert had no answer.
    steepest : float
        Largest quotient of two pairs, a lower bound of the constant of every policy that goes through the data.
    candidates : tuple of Candidate
        In the order of the bounds.
    """

    data: Demonstrations
    unanswered: int
    steepest: float
    candidates: tuple[Candidate, ...]


def prove_candidate(learned: Learned, name: str, *, budget: float, workers: int | None = None, loop: bool = True,
                    progress: Any = None) -> tuple[Result | None, Result | None]:
    """Ask ``verify`` about a candidate's bound, and about its closed loop where it has a requirement for that.

    Returns
    -------
    (Result or None, Result or None)
        The bound and the loop; None where there is no such requirement, or the loop was not asked for.
    """
    from certctl import verify

    bound = region = None
    if learned.requirement is not None:
        guess = learned.folder / "multipliers.npy"
        hint = [Fraction(v) for v in np.load(guess, allow_pickle=False).tolist()] if guess.exists() else None
        bound = from_verdict(verify(learned.requirement, budget=budget, workers=1, force=True, multipliers=hint), learned.requirement)
    asked = learned.folder / f"{name}_loop.requirement.toml"
    if loop and asked.exists():
        region = from_verdict(verify(asked, budget=budget, workers=workers, force=True, progress=progress), asked)
    return bound, region


def gather(source: Path | Expert, problem: Problem | None, *, samples: int, inputs: Sequence[str] = (), seed: int = 0) -> tuple[Demonstrations, int]:
    """The data: a file, or the expert's answers at states spread over the domain; and how many states had no answer."""
    if isinstance(source, Expert):
        if problem is None:
            raise BadData("an expert needs the plant that it acts on")
        states, given, unanswered = ask(source, spread_states(problem, samples, seed))
        return Demonstrations(states, given, *signals_of(problem)), unanswered
    return read_demonstrations(source, problem=problem, inputs=inputs), 0


@contextmanager
def quiet() -> Iterator[Callable[[Any], None]]:
    """A context for whoever watches nothing."""
    yield lambda seen: None


def learn_lipschitz_imitation(
        out: Path, *, bounds: Sequence[str], data: Path | Demonstrations | None = None, expert: Expert | None = None, problem: Problem | None = None,
        settings: Settings = DEFAULT, samples: int = 1000, dagger: DAgger = NO_DAGGER, inputs: Sequence[str] = (), name: str = "policy",
        contains: tuple[tuple[str, ...], tuple[str, ...]] | None = None, project: bool = False, certify: bool = True, loop: bool = True,
        budget: float = 600.0, workers: int | None = None, training: Callable[[], AbstractContextManager[Report]] = quiet,
        proving: Callable[[], AbstractContextManager[Any]] = quiet, attack: float | None = None) -> Imitation:
    """Imitate an expert under one Lipschitz bound or several, and ask ``verify`` about each policy.

    Parameters
    ----------
    out : Path
        Folder; with several bounds each policy gets a folder ``bound_B`` below it.
    bounds : sequence of str
        Exact bounds with respect to Euclidean norms, or ``none``.
    data : Path or Demonstrations, optional
        A data set; without one the expert is asked at ``samples`` states of the domain.
    expert : Expert, optional
        Whom to ask, see :func:`certctl.learners.lipschitz.experts.open_expert`.
    problem : Problem, optional
        The plant; then the closed loop is proved too, where ``loop`` is true.
    settings, dagger, inputs, name, contains, project
        See :class:`LipschitzImitation` and :func:`certctl.learners.lipschitz.demonstrations.read_demonstrations`.
    certify, loop : bool
        Whether to verify the bound, and with it the closed loop.
    budget, workers
        As of ``verify``, for each requirement.
    training, proving : callable
        Give a context whose value is called with a Step, or with the prover's Progress, now and then.

    attack : float, optional
        Also report what each policy with a proved bound keeps of the expert, under measurement errors of this size
        (:func:`certctl.learners.lipschitz.guarantee.guarantee`), and write the requirement ``NAME_iss.requirement.toml``
        (:func:`certctl.learners.lipschitz.demand.write_demand`); needs plant and expert.

    Returns
    -------
    Imitation
        Nothing in it is certified but what a Result with the outcome PROVED says.

    Raises
    ------
    BadData
        When data, expert or bounds do not fit together.
    ImportError
        When a part is missing.
    """
    if not bounds or len(set(bounds)) != len(bounds):
        raise BadData("give at least one bound, each once")
    for bound in bounds:
        if bound != NONE:
            exact_bound(bound)
    source = data if data is not None else expert
    if source is None:
        raise BadData("give a data set or an expert")
    if attack is not None and (problem is None or expert is None or not certify):
        raise BadData("the report on what a policy keeps of its expert needs the plant, the expert, and proved bounds")
    if dagger.rounds and (problem is None or expert is None):
        raise BadData("DAgger needs a plant to drive and an expert to ask")
    kept = out / "data_0.npz"
    if isinstance(source, Demonstrations):
        pairs, unanswered = source, 0
    elif isinstance(source, Expert) and kept.exists() and _same_question(out, source, problem, samples, settings.seed):
        pairs = read_demonstrations(kept, problem=problem)
        unanswered = samples - len(pairs)
    else:
        pairs, unanswered = gather(source, problem, samples=samples, inputs=inputs, seed=settings.seed)
    pairs.save(kept)
    if isinstance(source, Expert):
        _question_path(out).write_text(_question(source, problem, samples, settings.seed), encoding="utf-8")
    found = []
    for bound in bounds:
        folder = out if len(bounds) == 1 else out / f"bound_{bound.replace('/', '_')}"
        learner = LipschitzImitation(pairs, bound, settings, problem, expert, dagger, name, contains, project)
        with training() as report:
            learned = learner.learn(folder, report)
        results: tuple[Result | None, Result | None] = (None, None)
        if certify:
            with proving() as progress:
                results = prove_candidate(learned, name, budget=budget, workers=workers, loop=loop, progress=progress)
        report_on = None
        if attack is not None and results[0] is not None and problem is not None and expert is not None:
            from certctl.learners.lipschitz.demand import write_demand
            from certctl.learners.lipschitz.guarantee import guarantee

            policy = read_onnx((folder / f"{name}.onnx").read_bytes(), f"{name}.onnx").graph
            write_demand(folder, name, problem, policy, learned_from(folder, pairs, dagger), expert, str(attack), contains)
            report_on = guarantee(problem, (folder / f"{name}.onnx").read_bytes(), results[0], bound, learned_from(folder, pairs, dagger), expert,
                                  attack=attack, folder=out / "expert")
        found.append(Candidate(bound, learned, *results, report_on))
    return Imitation(pairs, unanswered, pairs.steepest(), tuple(found))


def learned_from(folder: Path, pairs: Demonstrations, dagger: DAgger) -> Demonstrations:
    """The pairs that a policy was trained on last: those of the last round of DAgger, or the first ones."""
    last = folder / f"data_{dagger.rounds}.npz"
    return read_demonstrations(last) if dagger.rounds and last.exists() else pairs


def _question_path(out: Path) -> Path:
    return out / "data_0.txt"


def _question(expert: Expert, problem: Problem | None, samples: int, seed: int) -> str:
    """What the expert was asked, so that an interrupted run does not ask again."""
    where = None if problem is None else (problem.plant, dict(problem.parameters), [[str(v) for v in side] for side in problem.domain])
    return f"{expert.kind}: {expert.says}\n{where}\nstates {samples}, seed {seed}\n"


def _same_question(out: Path, expert: Expert, problem: Problem | None, samples: int, seed: int) -> bool:
    path = _question_path(out)
    return path.exists() and path.read_text(encoding="utf-8") == _question(expert, problem, samples, seed)
