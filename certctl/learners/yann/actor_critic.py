"""``learn yann-ac``: twin-critic, deterministic actor-critic from the law of explicit MPC; the current policy changes only with a proof."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from certctl.learners.learner import Learned, Learner, Step
from certctl.learners.yann.actor import LatticeActor
from certctl.learners.yann.buffer import Buffer
from certctl.learners.yann.critic import Critic
from certctl.learners.yann.performance import NoBound, cost_bound, exponential
from certctl.learners.yann.shield import Region, Shield, certified_region
from certctl.learners.yann.start import Start, inscribed
from certctl.learners.yann.task import Task
from verifiers.explicit_mpc.law import to_json as law_json
from verifiers.kernel.check import check
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.plant import read_plant
from verifiers.kernel.strict import read_json
from verifiers.load.plant import plant_graph
from verifiers.load.to_onnx import to_onnx
from verifiers.load.to_torch import to_torch
from verifiers.prove import Verdict, verify
from verifiers.region.largest_quadratic import POLISHED

COUNTS = ("episode", "updates", "interventions", "violations", "refused", "rate")
"""Counters of a run that a checkpoint keeps."""


@dataclass(frozen=True)
class Settings:
    """What can be set; each comment says what the value means."""

    episodes: int = 50  # of training
    steps: int = 100  # of an episode
    every: int = 10  # episodes between two candidates that are verified
    budget: float = 60.0  # seconds of a verification
    tests: int = 10  # episodes of the test before and after, the same starts
    compared: int = 200  # still other episodes, before and after: on few tests a gain at few starts drowns in its own spread
    checks: int = 100  # other episodes: a certified policy that is cheaper there beyond doubt (paired, 95 %) becomes the best
    seed: int = 0
    width: int = 16  # tanh units of the actor's trainable part
    critic_width: int = 32  # tanh units of each critic's trainable part
    actor_rate: float = 3e-3  # Adam's step size
    critic_rate: float = 1e-3
    batch: int = 64
    buffer: int = 100_000  # transitions kept
    delay: int = 2  # critic steps per actor step
    look_ahead: int = 5  # steps of the plant's own map through which the actor's loss is differentiated before the critic stands in; 0: TD3
    tau: float = 0.005  # share by which targets follow
    noise: float = 0.0  # standard deviation of exploration, in half-widths of the input limits; the published method has none
    consistent: bool = True  # critic of horizon N - 1; False: the regulator's
    shield: bool = True  # explore inside the certified region only
    penalty: float = 1e3  # cost of a broken limit, which ends the episode
    halvings: int = 3  # smaller steps that are tried when a candidate is not proved
    rate: str = ""  # of exponential stability, per step, by which the cost of the first and of the best policy is bounded


@dataclass(frozen=True, eq=False)
class Certified:
    """A policy with the kernel's word: weights, graph, bundle, region, and its costs from the starts by which the best is chosen."""

    weights: dict[str, Tensor]
    graph: Graph
    bundle: Path
    region: Region
    volume: float
    costs: Floats

    @property
    def cost(self) -> float:
        """Mean cost."""
        return float(self.costs.mean()) if len(self.costs) else math.nan


class YannActorCritic(Learner):
    r"""Actor and critic that are the optimal linear controller and its value at the first episode, then TD3 on the nonlinear plant.

    Critics: :math:`y = \ell + \gamma (1 - \mathrm{over}) \max_i Q_i'(x^+, \pi'(x^+))` (costs, so the larger of two is the careful one); actor:
    descent of the mean over the buffer of

    .. math:: \sum_{k < H} \gamma^k \ell(x_k, \pi(x_k)) + \gamma^H Q_1(x_H, \pi(x_H)), \qquad x_{k+1} = f(x_k, \pi(x_k)),

    through the plant's map f, which is known since the proof is about it [3]_, and through the clip, which projects the gradient at active limits.
    With H = 0 it is TD3.

    Parameters
    ----------
    start : Start
        Model, law, lattice form, plant.
    requirement : bytes
        Of ``requirement.toml``, with ``controller = "controller.onnx"``; written beside each candidate and put to ``verify``.
    settings : Settings

    References
    ----------
    .. [1] Braniff, Tian, YANN-initialised reinforcement learning, arXiv 2508.16474.
    .. [2] Fujimoto, van Hoof, Meger, Addressing function approximation error in actor-critic methods, ICML 2018.
    .. [3] Heess et al., Learning continuous control policies by stochastic value gradients, NeurIPS 2015 (SVG).
    """

    name = "yann-ac"

    def __init__(self, start: Start, requirement: bytes, settings: Settings | None = None) -> None:
        self.start, self.requirement, self.settings = start, requirement, settings or Settings()

    def learn(self, out: Path, report: Callable[[Step], None]) -> Learned:
        """Train; ``out`` then holds controller.onnx, requirement.toml and the bundle of the best certified policy, report.json, history.json.

        Raises
        ------
        NotStarted
            When the policy of the first episode has no proof, since then nothing could be shielded or compared.
        """
        out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        run = _Run(self.start, self.requirement, self.settings, out, report)
        run.train()
        return run.finish()


class NotStarted(ValueError):
    """The policy of the first episode has no proof; the message says why."""


class _Run:
    def __init__(self, start: Start, requirement: bytes, settings: Settings, out: Path, report: Callable[[Step], None]) -> None:
        self.start, self.requirement, self.s, self.out, self.report = start, requirement, settings, out, report
        self.began = time.monotonic()
        self.rng = np.random.default_rng(settings.seed)
        model, plant = start.model, start.plant
        self.task = Task(plant, model, settings.steps, settings.penalty, start.has_value)
        scale = (model.ub - model.lb).astype(np.float64) / 2
        lo, hi = plant.input_limits
        self.reach = (hi - lo) / 2
        self.actor = LatticeActor(plant, start.forms, scale, settings.width, settings.seed)
        self.checks = self.tests = np.zeros((0, len(scale)))
        self.buffer = Buffer(settings.buffer, len(scale), len(lo))
        self.history: list[dict[str, Any]] = []
        self.guesses = inscribed(start) if len(scale) > POLISHED else []
        self.certified = self.first()
        self.tests, self.checks, self.compared = (self.starts(count, np.random.default_rng([settings.seed, use]))
                                                  for use, count in ((1, settings.tests), (2, settings.checks), (3, settings.compared)))
        self.before, self.compared_before = (self.task.episodes(self.actor.evaluate, starts) for starts in (self.tests, self.compared))
        self.certified = self.best = replace(self.certified, costs=self.check_costs())
        size = max(1e-9, self.certified.cost / settings.steps)
        self.critics = [Critic(model, settings.consistent, (scale, self.reach), size, settings.penalty, settings.critic_width, settings.seed + 1 + k)
                        for k in range(2)]
        self.targets = copy.deepcopy([self.actor, *self.critics])
        self.map = to_torch(plant_graph(read_plant(read_json(plant.to_json().encode("utf-8"), "plant")), {}))
        self.first_volume, self.first_weights = self.certified.volume, self.certified.weights
        self.rate = settings.actor_rate
        self.optimisers = self.make_optimisers()
        self.episode = self.updates = self.interventions = self.violations = self.refused = 0
        self.resume()

    # certified policies ---------------------------------------------------------------------------------------------

    def first(self) -> Certified:
        """Prove the policy of the first episode."""
        found, verdict = self.certify("first")
        if found is None:
            raise NotStarted(f"the law of the model has no proof of this requirement ({verdict.code} at {verdict.at}: {verdict.message}); "
                             "choose other weights, a terminal set, or a smaller contains")
        return found

    def certify(self, name: str) -> tuple[Certified | None, Verdict]:
        """Verify the actor as it is now; its files are left in ``candidates/NAME``."""
        folder = self.out / "candidates" / name
        folder.mkdir(parents=True, exist_ok=True)
        data = to_onnx(self.actor.graph(), double=True)
        (folder / "controller.onnx").write_bytes(data)
        (folder / "requirement.toml").write_bytes(self.requirement)
        verdict = verify(folder / "requirement.toml", budget=self.s.budget, workers=1, force=True, seed=self.s.seed, quadratics=self.guesses)
        if verdict.outcome != "PROVED" or verdict.bundle is None or verdict.receipt is None:
            return None, verdict
        volume = (verdict.receipt.region or {}).get("volume_lower_bound")
        costs = self.check_costs() if len(self.checks) else np.zeros(0)
        weights = {key: value.detach().clone() for key, value in self.actor.state_dict().items()}
        return Certified(weights, read_onnx(data).graph, verdict.bundle, certified_region(verdict.bundle), float(volume or 0.0), costs), verdict

    def improve(self) -> None:
        """Take the actor as the current policy if it is proved, else a smaller step towards it, else the last one."""
        wanted = {key: value.detach().clone() for key, value in self.actor.state_dict().items()}
        for k in range(self.s.halvings + 1):
            share = 0.5**k
            self.actor.load_state_dict({key: old + share * (wanted[key] - old) for key, old in self.certified.weights.items()})
            found, verdict = self.certify(f"episode-{self.episode}-{k}")
            self.history.append({"episode": self.episode, "candidate": verdict.outcome, "code": verdict.code, "share": share,
                                 "volume": found.volume if found else None, "cost": float(self.check_costs().mean()), "best": self.best.cost,
                                 "search_s": verdict.search_s})
            if found is not None:
                self.certified = found
                change, spread = paired(found.costs - self.best.costs)
                if change + spread < 0:  # beyond doubt, since some of many candidates seem better by chance
                    self.best = found
                return
            self.refused += 1
        self.actor.load_state_dict(self.certified.weights)
        self.targets[0] = copy.deepcopy(self.actor)
        self.rate /= 2
        self.optimisers = self.make_optimisers()

    # learning -------------------------------------------------------------------------------------------------------

    def make_optimisers(self) -> list[torch.optim.Adam]:
        return [torch.optim.Adam(self.actor.parameters(), lr=self.rate),
                torch.optim.Adam([p for critic in self.critics for p in critic.learned.parameters()], lr=self.s.critic_rate)]

    def starts(self, count: int, rng: np.random.Generator) -> Floats:
        """Starts in the region certified now, where the law has values."""
        region = self.certified.region
        inside = Task(self.task.plant, self.task.model, 1, 0.0, lambda x: self.start.has_value(x) & region.holds(x))
        return inside.starts(count, rng)

    def train(self) -> None:
        while self.episode < self.s.episodes:
            self.run_episode()
            self.episode += 1
            if self.episode % self.s.every == 0 or self.episode == self.s.episodes:
                self.improve()
                self.checkpoint()
            self.tell("learning")

    def run_episode(self) -> None:
        shield = Shield(self.certified.region, self.certified.graph, self.task.plant) if self.s.shield else None
        x, total, broken = self.starts(1, self.rng)[0], 0.0, False
        taken = 0
        for _ in range(self.s.steps):
            u = self.actor.evaluate(x)
            if self.s.noise:
                u = u + self.s.noise * self.reach * self.rng.standard_normal(len(u))
            if shield is not None:
                u, needed = shield(x, u)
                taken += needed
            u = self.task.plant.clip(u)
            cost, after = float(self.task.cost(x[None], u[None])[0]), self.task.plant.rhs(x, u)
            broken = bool(self.task.violated(after[None])[0])
            cost += self.s.penalty * broken
            self.buffer.add(x, u, cost, after, broken)
            x, total = after, total + cost
            self.update()
            if broken:
                break
        self.violations += broken
        self.interventions += taken
        self.history.append({"episode": self.episode, "cost": total, "violation": broken, "interventions": taken})

    def update(self) -> None:
        """One step of the critics, and of the actor every ``delay``-th time."""
        if self.buffer.at < self.s.batch and not self.buffer.full:
            return
        x, u, after, cost, over = self.buffer.draw(self.s.batch, self.rng)
        rest_x, rest_u = self.actor.rest_x, self.actor.rest_u
        target_actor, *target_critics = self.targets
        with torch.no_grad():
            command = target_actor(after) - rest_u
            worst = torch.stack([critic(after - rest_x, command) for critic in target_critics]).amax(dim=0)
            wanted = cost + float(self.start.model.discount) * (1 - over) * worst
        scale = self.critics[0].size
        loss = torch.stack([torch.nn.functional.smooth_l1_loss(critic(x - rest_x, u - rest_u) / scale, wanted / scale)
                            for critic in self.critics]).sum()
        self.optimisers[1].zero_grad()
        loss.backward()
        self.optimisers[1].step()
        self.loss = float(loss.detach())
        self.updates += 1
        if self.updates % self.s.delay:
            return
        value = self.ahead(x).mean() / scale
        self.optimisers[0].zero_grad()
        value.backward()
        self.optimisers[0].step()
        with torch.no_grad():
            for module, target in zip([self.actor, *self.critics], self.targets, strict=True):
                for p, q in zip(module.parameters(), target.parameters(), strict=True):
                    q.lerp_(p, self.s.tau)

    def ahead(self, x: Tensor) -> Tensor:
        """Cost (B,) of ``look_ahead`` steps from states (B, n), and the first critic's value after them; differentiable in the actor."""
        model, total = self.start.model, torch.zeros(len(x), dtype=torch.float64)
        discount = float(model.discount)
        for k in range(self.s.look_ahead):
            u = self.actor(x)
            total = total + discount**k * self.critics[0].stage(x - self.actor.rest_x, u - self.actor.rest_u)
            x = self.map(x, u)
        last = self.critics[0](x - self.actor.rest_x, self.actor(x) - self.actor.rest_u)
        return total + discount**self.s.look_ahead * last

    # results --------------------------------------------------------------------------------------------------------

    loss = math.nan

    def check_costs(self) -> Floats:
        """Costs of the actor from the starts by which the best is chosen."""
        return self.task.episodes(self.actor.evaluate, self.checks).costs

    def tell(self, phase: str) -> None:
        spent = time.monotonic() - self.began
        done = self.episode / self.s.episodes
        self.report(Step(phase, done, self.loss, spent, spent * (1 - done) / done if done else None,
                         {"cost": self.certified.cost, "violations": self.violations, "volume": self.certified.volume, "refused": self.refused}))

    @property
    def key(self) -> str:
        """Of the run: settings, requirement and law; another run's checkpoint is left alone."""
        parts = (json.dumps(asdict(self.s)).encode(), self.requirement, law_json(self.start.law))
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def checkpoint(self) -> None:
        """Everything that the rest of the run depends on; written aside and renamed."""
        kept = {name: {"bundle": str(policy.bundle.relative_to(self.out)), "weights": policy.weights, "costs": policy.costs.tolist()}
                for name, policy in (("certified", self.certified), ("best", self.best))}
        counts = {name: getattr(self, name) for name in COUNTS}
        torch.save({"key": self.key, "modules": [m.state_dict() for m in (self.actor, *self.critics, *self.targets)], **kept, "counts": counts,
                    "optimisers": [o.state_dict() for o in self.optimisers], "buffer": torch.from_numpy(self.buffer.data[:self.buffer.used]),
                    "at": self.buffer.at, "rng": json.dumps(self.rng.bit_generator.state), "history": json.dumps(self.history)},
                   self.out / "checkpoint.part")
        (self.out / "checkpoint.part").rename(self.out / "checkpoint.pt")
        (self.out / "history.json").write_text(json.dumps(self.history, indent=1) + "\n", encoding="ascii")

    def resume(self) -> None:
        """Go on from the checkpoint of the same run, if there is one and the kernel accepts its bundles now."""
        path = self.out / "checkpoint.pt"
        saved = torch.load(path, weights_only=True) if path.is_file() else {}
        if saved.get("key") != self.key:
            return
        kept = [self.reopen(**saved[name]) for name in ("certified", "best")]
        if kept[0] is None or kept[1] is None:
            return
        self.certified, self.best = kept
        for name, value in saved["counts"].items():
            setattr(self, name, value)
        for module, state in zip((self.actor, *self.critics, *self.targets), saved["modules"], strict=True):
            module.load_state_dict(state)
        self.optimisers = self.make_optimisers()
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        rows = saved["buffer"].numpy()
        self.buffer.data[:len(rows)], self.buffer.at, self.buffer.full = rows, saved["at"], len(rows) == self.buffer.size
        self.rng.bit_generator.state = json.loads(saved["rng"])
        self.history = json.loads(saved["history"])

    def reopen(self, bundle: str, weights: dict[str, Tensor], costs: list[float]) -> Certified | None:
        """A certified policy of a checkpoint; None unless the kernel accepts its bundle against this run's requirement."""
        folder = self.out / bundle
        (folder.parent / "requirement.toml").write_bytes(self.requirement)
        receipt = check(folder, folder.parent / "requirement.toml")
        if receipt.outcome != "ACCEPTED":
            return None
        graph = read_onnx((folder / "controller.onnx").read_bytes()).graph
        return Certified(weights, graph, folder, certified_region(folder), float((receipt.region or {}).get("volume_lower_bound") or 0.0),
                         np.array(costs))

    def finish(self) -> Learned:
        """Put the best certified policy in place, with its bundle."""
        for name in ("controller.onnx", "requirement.toml"):
            shutil.copy(self.best.bundle.parent / name, self.out / name)
        bundle = self.out / "requirement.cert"
        if bundle.exists():
            shutil.rmtree(bundle)
        shutil.copytree(self.best.bundle, bundle)
        self.actor.load_state_dict(self.best.weights)
        after = self.task.episodes(self.actor.evaluate, self.tests)
        change, spread = paired(after.costs - self.before.costs)
        compared = self.task.episodes(self.actor.evaluate, self.compared)
        differences = compared.costs - self.compared_before.costs
        figures = {"initial_cost": float(self.before.costs.mean()), "final_cost": float(after.costs.mean()), "change": change, "change_95": spread,
                   "test_violations": int(after.violations.sum()), "violations": self.violations, "interventions": self.interventions,
                   "compared": float(differences.mean()), "compared_95": paired(differences)[1],
                   "compared_violations": int(compared.violations.sum()),
                   "refused": self.refused, "volume_before": self.first_volume, "volume": self.best.volume}
        if self.s.rate:
            figures |= self.bounds({"before": (self.first_weights, self.before.costs), "after": (self.best.weights, after.costs)})
        seconds = round(time.monotonic() - self.began, 3)
        table = {"settings": asdict(self.s), "seconds": seconds, "figures": figures, "starts": self.tests.tolist(),
                 "costs_before": self.before.costs.tolist(), "costs_after": after.costs.tolist(), "differences": differences.tolist()}
        (self.out / "report.json").write_text(json.dumps(table, indent=1) + "\n", encoding="ascii")
        return Learned(self.out, self.out / "requirement.toml", seconds, self.s.seed, figures)


    def bounds(self, policies: dict[str, tuple[dict[str, Tensor], Floats]]) -> dict[str, float]:
        """Mean proved bounds of the cost, on those tests that start in the region of the exponential claim; NaN where it has no proof."""
        found: dict[str, float] = {}
        for name, (weights, costs) in policies.items():
            self.actor.load_state_dict(weights)
            folder = self.out / "candidates" / f"exponential-{name}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "controller.onnx").write_bytes(to_onnx(self.actor.graph(), double=True))
            (folder / "requirement.toml").write_bytes(exponential(self.requirement, Fraction(self.s.rate)))
            verdict = verify(folder / "requirement.toml", budget=self.s.budget, workers=1, force=True, seed=self.s.seed, quadratics=self.guesses)
            mean, simulated = math.nan, math.nan
            if verdict.outcome == "PROVED" and verdict.bundle is not None:
                try:
                    bound = cost_bound(verdict.bundle, folder / "requirement.toml", self.start, self.actor)
                except NoBound:
                    continue
                inside = bound.region.holds(self.tests)
                if inside.any():
                    mean, simulated = float(bound.cost(self.tests[inside]).mean()), float(costs[inside].mean())
            found |= {f"bound_{name}": mean, f"cost_in_bound_{name}": simulated}
        return found


def paired(differences: Floats) -> tuple[float, float]:
    """Mean of paired differences, and the half-width of its 95 % confidence interval (Student's t); infinite for a single pair."""
    from scipy.stats import t

    count = len(differences)
    spread = float(t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count)) if count > 1 else math.inf
    return float(differences.mean()), spread


def tests_of(folder: Path) -> tuple[Floats, Floats]:
    """Of a finished run: the starts (B, n) of its tests, and cost after less cost before (B,)."""
    table = json.loads((folder / "report.json").read_text(encoding="ascii"))
    return np.array(table["starts"]), np.array(table["costs_after"]) - np.array(table["costs_before"])
