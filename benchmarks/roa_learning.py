"""Learned controllers have certified regions that are larger than the published ones, after minutes on one core."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Check, Report, Table, clock
from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.files import least, requirement_text, write_candidate
from certctl.learners.roa.fit import Weights, draw, improve
from certctl.learners.roa.task import Floats, Task, make_task
from certctl.learners.roa.zubov import Estimate, Scheme, solve
from certctl.learners.roa.zubov_learner import Settings as Learning
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify

CLAIM = "Learned controllers have certified regions that are larger than the published ones, after minutes on one core"


@dataclass(frozen=True)
class Case:
    """A plant with a limit, its box (half-widths), kappa, and published certified volumes: two-stage Zubov, Yang et al. 2024, CT-BaB, Fossil 2."""

    plant: str
    limit: tuple[str, str]
    box: tuple[str, str]
    kappa: float
    published: tuple[float | None, ...]

    @property
    def name(self) -> str:
        """Plant and limit."""
        return f"{self.plant}, |u| <= {self.limit[1]}"

    def task(self) -> Task:
        """The task on this box."""
        return make_task(self.plant, dict([self.limit]), (tuple(f"-{b}" for b in self.box), self.box))


CASES = (Case("van_der_pol", ("input_limit", "1"), ("4.8", "10.8"), 3.0, (57.6, 1.4, 20.0, 3.0)),
         Case("double_integrator", ("input_limit", "1"), ("26.4", "9.6"), 6.0, (302.5, 18.0, 130.0, 258.0)),
         Case("pendulum", ("torque_limit", "6"), ("20", "100"), 3.0, (2946.5, 71.0, 488.0, 107.0)),
         Case("pendulum", ("torque_limit", "0.75"), ("19.2", "64.8"), 2.0, (1169.2, 217.0, 306.0, 285.0)),
         Case("path_tracking", ("steering_limit", "0.84"), ("10", "10"), 3.0, (122.0, 24.0, 15.0, None)),
         Case("path_tracking", ("steering_limit", "0.5"), ("10", "10"), 3.0, (73.8, 15.0, 12.5, None)))
SECONDS = 600.0
BASELINES = ("regulator", "degree 6", "no refinement", "no estimate")
TIMES = ("wall", "cpu", "search_s", "check_s")
PARTS = (1, 2, 4)
"""By which the box's sides are divided: a polynomial is fitted on each part, since few samples of a wide box lie in the region."""
LONGEST = 30.0
"""Seconds of a simulation after which a start counts as lost."""
NOTES = (
    "Each run is `certctl learn roa` in a fresh process on one thread: estimate, fit, refinement, proofs and the kernel's check. Volumes are the "
    "kernel's lower bounds of the certified region, hole closed and inside of the box; none is a sample. Wall and CPU seconds are of the whole "
    "process, start-up of Python included.",
    "Published: means of five seeds from the two-stage Zubov paper (NeurIPS 2025), trained 15 to 51 minutes on a V100, and what it reports of "
    "others; quoted, on the same boxes. Their proofs leave out a hole at the equilibrium.",
    "Simulated: share of a grid of starts in the box from which the learned loop reaches the certified region without leaving the box, times the "
    "box's volume; an estimate, and the most that this controller could have certified here.",
    "Baselines, same plants and prover. Regulator: the saturated linear-quadratic regulator and a quadratic that verify searches. Degree 6: the same "
    "law and a polynomial of that degree, fitted by the SDP layer on the box, its half and its quarter, the largest region; a saturated loop is no "
    "polynomial, so that box trees prove it and not sums of squares. No refinement: "
    "our networks fitted to the estimate only. No estimate: the same networks trained by violations of the decrease and a pull outwards only, the "
    "loss of Chang et al. (2019) with our optimiser; each with the same number of steps. 0: nothing was proved.",
)


@dataclass(frozen=True)
class Settings:
    """Cases, seeds, seconds a run, steps of the baselines, starts a side of the simulation, networks, whether baselines are run; plants of
    six states, input costs of their regulators and seconds for each."""

    cases: tuple[Case, ...] = CASES
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    seconds: float = SECONDS
    steps: int = 60
    starts: int = 31
    learning: Learning = field(default_factory=Learning)
    baselines: bool = True
    six: tuple[str, ...] = ("quadrotor2d", "pvtol", "ducted_fan")
    six_costs: tuple[float, ...] = (1.0, 10.0, 100.0)
    six_seconds: float = 30.0


def run(settings: Settings | None = None) -> Report:
    """Learn every case with every seed, then the baselines with the first."""
    s = settings or Settings()
    rows, checks, peers = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for k, case in enumerate(s.cases):
            folder = Path(scratch) / str(k)
            found = [_learn(case, seed, folder / str(seed), s) for seed in s.seeds]
            volumes = [f["volume"] for f in found]
            mean, simulated = float(np.mean(volumes)), _simulated(case, folder / str(s.seeds[0]), found[0]["level"], s.starts)
            reach = case.published[0] or 0.0
            rows.append((case.name, sum(v > 0 for v in volumes), mean, min(volumes), reach, mean / reach, simulated,
                         float(np.prod([2 * float(b) for b in case.box])), *(max(f[key] for f in found) for key in TIMES),
                         int(np.mean([f["boxes"] for f in found]))))
            checks.append(Check(f"{case.name}: every seed certified ({rows[-1][1]} of {len(volumes)}), mean {mean:.5g} > {reach:.5g} published",
                                min(volumes) > 0 and mean > reach))
            others = [_baseline(case, kind, folder, s) for kind in BASELINES] if s.baselines else [None] * len(BASELINES)
            peers.append((case.name, mean, *others, *case.published))
    slowest = max(float(row[8]) for row in rows)
    checks.append(Check(f"no run took longer than {SECONDS:.0f} s (slowest {slowest:.0f} s)", slowest <= SECONDS))
    learned = Table(f"Learned, seeds {', '.join(map(str, s.seeds))}; seconds of the slowest", (
        "case", "certified", "mean volume >=", "least", "published", "ratio", "simulated", "box", "wall s", "CPU s", "search s", "check s", "boxes"),
        tuple(rows))
    compared = Table("Certified volumes beside baselines (first seed) and published ones", (
        "case", "ours, mean", *BASELINES, "two-stage Zubov", "Yang et al. 2024", "CT-BaB", "Fossil 2"), tuple(peers))
    tables = (learned, compared, *([_six(s)] if s.six else []))
    return Report(CLAIM, tuple(checks), tables, NOTES)


def command(case: Case, seed: int, folder: Path, seconds: float) -> list[str]:
    """The command line that learns a case."""
    lo = ",".join(f"-{b}" for b in case.box)
    return [sys.executable, "-m", "certctl", "learn", "roa", case.plant, "--param", "=".join(case.limit), f"--domain={lo}:{','.join(case.box)}",
            "--seed", str(seed), "--kappa", str(case.kappa), "--time-limit", str(seconds), "--workers", "1", "-o", str(folder),
            "--output-format", "json"]


def _learn(case: Case, seed: int, folder: Path, s: Settings) -> dict[str, Any]:
    words = [*command(case, seed, folder, s.seconds), "--width", str(s.learning.widths[0])]
    with clock() as spent:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not done.stdout:
        raise RuntimeError(f"{case.name}, seed {seed}: {done.stderr.strip()[-400:]}")
    told = json.loads(done.stdout)
    region = told["region"] or {}
    return {"volume": region.get("volume_lower_bound") or 0.0, "level": region.get("level"), "wall": spent.wall, "cpu": spent.cpu,
            "search_s": told["search_s"], "check_s": told["check_s"], "boxes": told["training"]["figures"]["boxes"] or 0.0}


def _simulated(case: Case, folder: Path, level: str | None, starts: int) -> float | None:
    """Volume of the starts that reach the certified region inside of the box; None where nothing was certified."""
    if level is None:
        return None
    task, top = case.task(), float(Fraction(level))
    law, function = (read_onnx((folder / name).read_bytes(), name).graph for name in ("controller.onnx", "lyapunov.onnx"))
    loop = replace(task, controller=law)
    ticks = (np.arange(starts) + 0.5) / starts * 2 - 1
    xi = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)

    def rate(at: Floats) -> Floats:
        return loop.field(at, loop.given_input(at))[0]

    slope = np.stack([(rate(e[None]) - rate(-e[None]))[0] / 2e-6 for e in 1e-6 * np.eye(2)], axis=1)
    step = min(0.01, 0.5 / float(np.abs(np.linalg.eigvals(slope)).max()))
    reached, total = 0, len(xi)
    for _ in range(int(LONGEST / step)):
        inside = evaluate(function, task.rest + xi * task.width)[:, 0] <= top
        reached += int(inside.sum())
        xi = xi[~inside & (np.abs(xi) <= 1).all(axis=1)]
        if not len(xi):
            break
        xi = xi + step * rate(xi + step / 2 * rate(xi))
    return reached / total * float(np.prod(2 * task.width))


def _regulator(task: Task, folder: Path, s: Settings, hints: str = "") -> float:
    candidate = Candidate.start(task, 1.0, 6, (2, 2), task.n, np.random.default_rng(0))
    path = write_candidate(candidate, folder)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("lyapunov")) + hints, encoding="utf-8")
    return _proved(path, s)


def polynomial(case: Case, folder: Path, s: Settings) -> float:
    """Certified volume of the regulator with a fitted polynomial of degree 6, the largest over parts of the box."""
    tasks = [replace(case, box=(str(Fraction(case.box[0]) / part), str(Fraction(case.box[1]) / part))).task() for part in PARTS]
    return max(_regulator(task, folder / str(k), s, '\n[prover]\nmethod = "sos"\ndegree = 6\n') for k, task in enumerate(tasks))


def _trained(task: Task, folder: Path, s: Settings, estimate: Estimate, weights: Weights) -> float:
    rng = np.random.default_rng(s.seeds[0])
    damping, candidate = 1e-2, Candidate.start(task, estimate.scheme.kappa, 6, s.learning.widths, s.learning.outputs, rng)
    for _ in range(s.steps):
        batch = draw(candidate, estimate, s.learning.states, rng, weights, np.zeros((0, task.n)))
        candidate, damping, _ = improve(candidate, batch, weights, damping)
    return _proved(write_candidate(candidate, folder), s)


def _proved(path: Path, s: Settings) -> float:
    verdict = verify(path, budget=s.seconds / 10, workers=1, force=True)
    region = verdict.receipt.region if verdict.outcome == "PROVED" and verdict.receipt is not None else None
    return float((region or {}).get("volume_lower_bound") or 0.0)


def _six(s: Settings) -> Table:
    """Linear regulators of plants with six states and the quadratic that verify finds, on their default domains."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, cost in product(s.six, s.six_costs):
            task = make_task(name, {}, input_cost=cost)
            gain, b = task.regulator[1] / task.width, Builder()
            law = b.build([b.affine(b.input(task.n), Affine(-gain, task.plant.rest[1] + gain @ task.rest))])
            folder = Path(scratch) / f"{name}-{cost:g}"
            folder.mkdir()
            (folder / "controller.onnx").write_bytes(to_onnx(law, double=True))
            path = folder / "requirement.toml"
            text = requirement_text(task).replace('lyapunov   = "lyapunov.onnx"\n', "")
            path.write_text(text.replace(f'min_volume = "{least(task)}"', 'min_volume = "0.000001"'), encoding="utf-8")
            verdict = verify(path, budget=s.six_seconds, workers=1)
            region = (verdict.receipt.region if verdict.outcome == "PROVED" and verdict.receipt is not None else None) or {}
            rows.append((name, cost, verdict.outcome, region.get("volume_lower_bound"), float(np.prod(2 * task.width)), verdict.search_s,
                         verdict.boxes, verdict.receipt.check_s if region and verdict.receipt is not None else None))
    return Table(f"Six states: linear regulators by the weight of their input cost, and a quadratic, {s.six_seconds:.0f} s each", (
        "plant", "input cost", "outcome", "certified volume >=", "domain", "search s", "boxes", "check s"), tuple(rows))


def _no_estimate(estimate: Estimate) -> Estimate:
    return replace(estimate, cost=np.zeros_like(estimate.cost))


def _baseline(case: Case, kind: str, folder: Path, s: Settings) -> float:
    task, place = case.task(), folder / kind.replace(" ", "_")
    if kind == "regulator":
        return _regulator(task, place, s)
    if kind == "degree 6":
        return polynomial(case, place, s)
    estimate = solve(task, Scheme(kappa=case.kappa))
    makers: dict[str, Callable[[], float]] = {
        "no refinement": lambda: _trained(task, place, s, estimate, Weights()),
        "no estimate": lambda: _trained(task, place, s, _no_estimate(estimate), Weights(value=0.0, input=0.0, decrease=5.0, size=0.2))}
    return makers[kind]()
