"""YANN actor-critic: starts as the linear MPC, learns on the nonlinear plant, stays certified; beside learners from random weights and MPC."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Check, Report, Table

CLAIM = "YANN actor-critic: starts as the linear MPC, learns on the nonlinear plant, stays certified"
MODELS = {"pendulum": ("1/50", "1/50"), "reactor": ("1/50", "1"), "safety": ("1/50", "1/50", "1/10", "1/10")}
RATE = "1/20"
NOTES = (
    "Cost of an episode: the sum of |x - x*|²_Q + |u - u*|²_R of the model (`examples/yann/NAME.toml`), the map is rk4 with the model's dt; a broken "
    "limit of x costs 1000 and ends it. Starts of all tests: uniform in the region certified for the first policy, inside the domain of the MPC with "
    "terminal set; each seed has its own 10, the same for every policy.",
    "Learners from random weights are those of Stable-Baselines3 with their defaults, trained for the same number of steps; their starts in training "
    "are the MPC's whole domain, since no region is certified for them. `above YANN`: cost after training less YANN's after learning, on tests of "
    "the row's seeds.",
    "`bound`: proved upper bound of the closed loop's cost for ever, mean over the tests that start in the region of exponential stability (rate "
    f"{RATE} a step), before and after learning; `cost there` what these tests cost.",
    "`change` is the paired difference of YANN's episodes after and before learning from 200 starts of each seed, not the tests nor those by which "
    "policies are chosen, with its 95 % interval over all seeds: the gain is large from a tenth of the starts and small from the others, so that "
    "the tests of few seeds do not show it; `in the tests` is that of the tests in the table of costs.  Zero "
    "where no certified candidate was cheaper beyond doubt, so that the first policy was kept.",
)


@dataclass(frozen=True)
class Settings:
    """What to run: models, seeds, episodes of training and their steps, baselines and their first so many seeds, seconds of a verification.

    With a folder each finished row is kept there, and an interrupted run goes on from them.
    """

    models: tuple[str, ...] = ("pendulum", "reactor", "safety")
    seeds: tuple[int, ...] = tuple(range(10))
    episodes: int = 50
    steps: int = 60
    baselines: tuple[str, ...] = ("lqr", "mpc", "nmpc", "ddpg", "td3", "sac")
    baseline_seeds: int = 1
    budget: float = 60.0
    folder: Path | None = None


def run(settings: Settings | None = None) -> Report:
    """Learn on each model with each seed, and run the baselines on the same tests.

    Raises
    ------
    FileNotFoundError
        When PyTorch, or what a baseline needs, is not installed.
    """
    s = settings or Settings()
    try:
        from certctl.learners.yann import actor_critic  # noqa: F401 - asked early, so that a missing PyTorch is told at once
    except ImportError as error:
        raise FileNotFoundError(f"{error.name} is not installed") from None
    checks, tables = list[Check](), list[Table]()
    for name in s.models:
        found = {"YANN": [kept(s, name, "YANN", seed, partial(learn, s, name, seed)) for seed in s.seeds]}
        for other in s.baselines:
            few = found["YANN"][:s.baseline_seeds]
            found[other] = [kept(s, name, other, row["seed"], partial(compare, s, name, other, row)) for row in few]
        tables += [costs(s, name, found), proved(name, found["YANN"])]
        checks += judged(name, found)
    return Report(CLAIM, tuple(checks), tuple(tables), NOTES)


def kept(s: Settings, name: str, policy: str, seed: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A row of the folder, made and put there if it is not; the key holds what the row depends on, the learner's sources too."""
    if s.folder is None:
        return make()
    sources = b"".join(path.read_bytes() for path in sorted((ROOT / "certctl" / "learners" / "yann").glob("*.py")))
    digest = hashlib.sha256(sources + (ROOT / "examples" / "yann" / f"{name}.toml").read_bytes()).hexdigest()[:12]
    path = s.folder / f"{name}-{policy}-{seed}-{s.episodes}x{s.steps}-{s.budget:g}-{digest}.json"
    if not path.is_file():
        row = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".part").write_text(json.dumps(row), encoding="ascii")
        path.with_suffix(".part").rename(path)
    return dict(json.loads(path.read_text(encoding="ascii")))


def learn(s: Settings, name: str, seed: int) -> dict[str, Any]:
    """One run of YANN: figures, tests, costs, and what the kernel says about the final bundle."""
    from certctl.learners.yann import actor_critic
    from certctl.learners.yann.start import read_start, requirement_text
    from verifiers.kernel.check import check

    start = read_start(ROOT / "examples" / "yann" / f"{name}.toml")
    text = requirement_text(start, [Fraction(v) for v in MODELS[name]])
    chosen = actor_critic.Settings(episodes=s.episodes, steps=s.steps, budget=s.budget, seed=seed, rate=RATE)
    with tempfile.TemporaryDirectory() as folder:
        learned = actor_critic.YannActorCritic(start, text, chosen).learn(Path(folder), lambda step: None)
        receipt = check(learned.folder / "requirement.cert", learned.folder / "requirement.toml")
        report = json.loads((learned.folder / "report.json").read_text(encoding="ascii"))
    return {"seed": seed, "accepted": receipt.outcome == "ACCEPTED", "seconds": learned.seconds, **learned.figures,
            **{key: report[key] for key in ("starts", "costs_before", "costs_after", "differences")}}


def compare(s: Settings, name: str, other: str, row: dict[str, Any]) -> dict[str, Any]:
    """One baseline on the tests of one run of YANN."""
    from certctl.learners.yann import actor_critic, baselines
    from certctl.learners.yann.start import read_start
    from certctl.learners.yann.task import Task

    start = read_start(ROOT / "examples" / "yann" / f"{name}.toml")
    task = Task(start.plant, start.model, s.steps, actor_critic.Settings().penalty, start.has_value)
    try:
        found = baselines.compare(other, start, task, np.array(row["starts"]), task.start, s.episodes, row["seed"])
    except ImportError as error:
        raise FileNotFoundError(str(error)) from None
    return {"seed": row["seed"], **asdict(found)}


def mean(rows: list[dict[str, Any]], key: str) -> float:
    """Mean of a figure over runs."""
    return float(np.mean([row[key] for row in rows]))


def costs(s: Settings, name: str, found: dict[str, list[dict[str, Any]]]) -> Table:
    """Costs before and after, and violations, of YANN and of the baselines."""
    ours = found["YANN"]
    rows: list[tuple[object, ...]] = [("YANN", len(ours), mean(ours, "initial_cost"), mean(ours, "final_cost"), None,
                                       int(sum(r["test_violations"] for r in ours)), int(sum(r["violations"] for r in ours)), mean(ours, "seconds"))]
    for other, runs in found.items():
        if other == "YANN" or not runs:
            continue
        initial = None if runs[0]["initial_cost"] is None else mean(runs, "initial_cost")
        above = mean(runs, "cost") - mean(ours[:len(runs)], "final_cost")
        rows.append((other, len(runs), initial, mean(runs, "cost"), above, sum(r["test_violations"] for r in runs),
                     sum(r["violations"] for r in runs), mean(runs, "seconds")))
    return Table(f"{name}: mean test cost, {s.episodes} episodes of {s.steps} steps",
                 ("policy", "seeds", "before", "after", "above YANN", "violations in tests", "in training", "seconds"), tuple(rows))


def change(ours: list[dict[str, Any]]) -> tuple[float, float]:
    """Paired difference of the episodes compared, all seeds, after less before, and the half-width of its 95 % interval."""
    from certctl.learners.yann.actor_critic import paired

    return paired(np.concatenate([row["differences"] for row in ours]))


def tests_changed(ours: list[dict[str, Any]]) -> tuple[float, float]:
    """As :func:`change`, of the tests: few of a seed, those of the table of costs."""
    from certctl.learners.yann.actor_critic import paired

    return paired(np.concatenate([np.subtract(row["costs_after"], row["costs_before"]) for row in ours]))


def proved(name: str, ours: list[dict[str, Any]]) -> Table:
    """What the kernel accepted: regions, bounds of the cost; and candidates."""
    middle, spread = change(ours)
    tests = tests_changed(ours)
    bounded = [row for row in ours if all(np.isfinite(row.get(f"bound_{when}", np.nan)) for when in ("before", "after"))]
    bounds = tuple(mean(bounded, f"{key}_{when}") if bounded else None for key in ("bound", "cost_in_bound") for when in ("before", "after"))
    better = sum(row["final_cost"] != row["initial_cost"] for row in ours)
    return Table(f"{name}: what was proved", (
        "seeds", "with a learned policy at the end", "change", "95 %", "in the tests", "95 %", "volume before", "volume after",
        "seeds with bounds", "bound before",
        "bound after", "cost there before", "after", "candidates without a proof", "steps taken over by the shield"), ((
            len(ours), better, middle, spread, *tests, mean(ours, "volume_before"), mean(ours, "volume"), len(bounded), *bounds,
            int(sum(r["refused"] for r in ours)), int(sum(r["interventions"] for r in ours))),))


def judged(name: str, found: dict[str, list[dict[str, Any]]]) -> list[Check]:
    """What is claimed of a model."""
    ours = found["YANN"]
    middle, spread = change(ours)
    checks = [Check(f"{name}: the final policy of every seed is accepted by the kernel", all(row["accepted"] for row in ours)),
              Check(f"{name}: YANN breaks no limit, in training nor in tests",
                    not any(row["violations"] + row["test_violations"] + row["compared_violations"] for row in ours)),
              Check(f"{name}: after learning it costs no more than before (mean of paired differences)", middle <= 0),
              Check(f"{name}: after learning it costs less beyond doubt (95 % interval of the paired differences below zero)", middle + spread < 0)]
    if found.get("ddpg"):
        runs = found["ddpg"]
        checks.append(Check(f"{name}: its initial cost is a tenth of DDPG's or less",
                            10 * mean(ours[:len(runs)], "initial_cost") <= mean(runs, "initial_cost")))
    return checks
