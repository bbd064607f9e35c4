"""YANN actor-critic: starts as the linear MPC, learns on the nonlinear plant, stays certified; beside learners from random weights and MPC."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT, Check, Report, Table

CLAIM = "YANN actor-critic: starts as the linear MPC, learns on the nonlinear plant, stays certified"
MODELS = {"pendulum": ("1/50", "1/50"), "reactor": ("1/50", "1")}
NOTES = (
    "Cost of an episode: the sum of |x - x*|²_Q + |u - u*|²_R of the model (`examples/yann/NAME.toml`), the map is rk4 with the model's dt; a broken "
    "limit of x costs 1000 and ends it. Starts of all tests: uniform in the region certified for the first policy, inside the domain of the MPC with "
    "terminal set; each seed has its own 10, the same for every policy.",
    "Learners from random weights are those of Stable-Baselines3 with their defaults, trained for the same number of steps; their starts in training "
    "are the MPC's whole domain, since no region is certified for them. TD3 and SAC are run by `Settings(baselines=...)` or `certctl learn yann-ac "
    "--baselines`.",
    "`change` is the paired difference of the YANN's test episodes after and before learning, over all seeds, with its 95 % interval; zero where "
    "no certified candidate was cheaper beyond doubt, so that the first policy was kept.",
)


@dataclass(frozen=True)
class Settings:
    """What to run: models, seeds, episodes of training and their steps, baselines and their first so many seeds, seconds of a verification."""

    models: tuple[str, ...] = ("pendulum", "reactor")
    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 50
    steps: int = 60
    baselines: tuple[str, ...] = ("lqr", "mpc", "nmpc", "ddpg")
    baseline_seeds: int = 1
    budget: float = 60.0


def run(settings: Settings | None = None) -> Report:
    """Learn on each model with each seed, and run the baselines on the same tests.

    Raises
    ------
    FileNotFoundError
        When PyTorch, or what a baseline needs, is not installed.
    """
    s = settings or Settings()
    try:
        from certctl.learners.yann import actor_critic, baselines
        from certctl.learners.yann.start import read_start, requirement_text
        from certctl.learners.yann.task import Task
        from verifiers.kernel.check import check
    except ImportError as error:
        raise FileNotFoundError(f"{error.name} is not installed") from None
    checks, tables = [], []
    for name in s.models:
        start = read_start(ROOT / "examples" / "yann" / f"{name}.toml")
        text = requirement_text(start, [Fraction(v) for v in MODELS[name]])
        chosen = actor_critic.Settings(episodes=s.episodes, steps=s.steps, budget=s.budget)
        task = Task(start.plant, start.model, s.steps, chosen.penalty, start.has_value)
        ours, others, accepted, differences = [], dict[str, list[baselines.Baseline]](), True, []
        for seed in s.seeds:
            with tempfile.TemporaryDirectory() as folder:
                learner = actor_critic.YannActorCritic(start, text, replace(chosen, seed=seed))
                learned = learner.learn(Path(folder), lambda step: None)
                accepted &= check(learned.folder / "requirement.cert", learned.folder / "requirement.toml").outcome == "ACCEPTED"
                ours.append(learned)
                tests, change = actor_critic.tests_of(learned.folder)
            differences.append(change)
            for other in s.baselines if len(ours) <= s.baseline_seeds else ():
                try:
                    found = baselines.compare(other, start, task, tests, task.start, s.episodes, seed)
                except ImportError as error:
                    raise FileNotFoundError(str(error)) from None
                others.setdefault(other, []).append(found)
        change, spread = actor_critic.paired(np.concatenate(differences))
        figures = {key: [learned.figures[key] for learned in ours] for key in ours[0].figures}
        before, after = float(np.mean(figures["initial_cost"])), float(np.mean(figures["final_cost"]))
        rows: list[tuple[object, ...]] = [("YANN", len(ours), before, after, int(sum(figures["test_violations"])), int(sum(figures["violations"])),
                                           float(np.mean([learned.seconds for learned in ours])))]
        if others and len(ours) > s.baseline_seeds:
            few = ours[:s.baseline_seeds]
            costs = (float(np.mean([o.figures[key] for o in few])) for key in ("initial_cost", "final_cost"))
            broken = (int(sum(o.figures[key] for o in few)) for key in ("test_violations", "violations"))
            rows.append(("YANN, tests of the rows below", len(few), *costs, *broken, float(np.mean([o.seconds for o in few]))))
        for other, runs in others.items():
            initial = None if runs[0].initial_cost is None else float(np.mean([r.initial_cost for r in runs if r.initial_cost is not None]))
            rows.append((other, len(runs), initial, float(np.mean([r.cost for r in runs])), sum(r.test_violations for r in runs),
                         sum(r.violations for r in runs), float(np.mean([r.seconds for r in runs]))))
        tables.append(Table(f"{name}: mean test cost, {s.episodes} episodes of {s.steps} steps",
                            ("policy", "seeds", "before", "after", "violations in tests", "in training", "seconds"), tuple(rows)))
        tables.append(Table(f"{name}: what was proved", ("seeds", "change", "95 %", "volume before", "volume after", "candidates without a proof",
                                                         "steps taken over by the shield"), ((
            len(s.seeds), change, spread, float(np.mean(figures["volume_before"])), float(np.mean(figures["volume"])), int(sum(figures["refused"])),
            int(sum(figures["interventions"]))),)))
        checks += [Check(f"{name}: the final policy of every seed is accepted by the kernel", accepted),
                   Check(f"{name}: YANN breaks no limit, in training nor in tests", not any(figures["violations"] + figures["test_violations"])),
                   Check(f"{name}: after learning it costs no more than before (mean of paired differences)", change <= 0)]
        if "ddpg" in others:
            first = float(np.mean([r.initial_cost for r in others["ddpg"] if r.initial_cost is not None]))
            checks.append(Check(f"{name}: its initial cost is a tenth of DDPG's or less", 10 * before <= first))
    return Report(CLAIM, tuple(checks), tuple(tables), NOTES)
