"""In discrete time, too, learned controllers have certified regions that are larger than the published ones."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pairs
from benchmarks.harness import ROOT, Check, Report, Table, clock
from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.files import write_candidate
from certctl.learners.roa.sampled import SampledTask, make_sampled_task
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate

CLAIM = "In discrete time, too, learned controllers have certified regions that are larger than the published ones"
RATE = "0.001"
"""Rate per step that the authors of the published pairs prove."""
NOTES = (
    "Each run is `certctl learn roa PLANT --time discrete --stages 0` in a fresh process on one thread: estimate, fit, refinement, proofs and the "
    "kernel's check, up to the first region. Volumes are the kernel's lower bounds, hole closed and inside of the box.",
    "Rate: `--rate`, so that training and claim ask for V(x+) <= (1 - rate) V(x), as the authors of the published pairs do; without it for plain "
    "attraction.",
    "Published pair: the certified volume of the networks of Yang et al. (ICML 2024) on the same box, plant and step, at the largest level that "
    "verify proves with the rate, in the same run where the reference cases are there. At their own levels: grid volumes 253.7 and 14.08. For the "
    "other rows nothing is published.",
    "Regulator: the saturated linear-quadratic regulator of the map, with a quadratic that verify searches. Simulated: share of a grid of starts "
    "from which the learned loop of the first seed reaches its certified region without leaving the box, times the box's volume; an estimate.",
)


@dataclass(frozen=True)
class Case:
    """A plant with a limit, its box (half-widths), step and method, kappa, the published pair on it with its grid volume, and the rate."""

    plant: str
    limit: tuple[str, str]
    box: tuple[str, str]
    dt: str
    method: str
    kappa: float
    pair: str | None = None
    published: float | None = None
    rate: str | None = None

    @property
    def name(self) -> str:
        """Plant, limit and step."""
        return f"{self.plant}, |u| <= {self.limit[1]}, {self.method} {self.dt}"

    @property
    def domain(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The box."""
        return tuple(f"-{b}" for b in self.box), self.box

    def task(self) -> SampledTask:
        """The task on this box."""
        return make_sampled_task(self.plant, dict([self.limit]), self.dt, self.method, self.domain)

    def command(self, seed: int, folder: Path, seconds: float) -> list[str]:
        """The command line that learns this case."""
        lo, hi = self.domain
        return [sys.executable, "-m", "certctl", "learn", "roa", self.plant, "--param", "=".join(self.limit), "--time", "discrete", "--dt", self.dt,
                "--method", self.method, f"--domain={','.join(lo)}:{','.join(hi)}", "--seed", str(seed), "--kappa", str(self.kappa), "--stages", "0",
                *([] if self.rate is None else ["--rate", self.rate]), "--time-limit", str(seconds), "--workers", "1", "-o", str(folder),
                "--output-format", "json"]


CASES = (Case("pendulum", ("torque_limit", "6"), ("12", "12"), "1/20", "euler", 3.0, "pendulum_dt", 253.7, RATE),
         Case("path_tracking", ("steering_limit", "0.5"), ("3", "3"), "1/20", "euler", 8.0, "path_dt_quadratic", 14.08, RATE),
         Case("van_der_pol", ("input_limit", "1"), ("4.8", "10.8"), "1/20", "rk4", 3.0),
         Case("double_integrator", ("input_limit", "1"), ("26.4", "9.6"), "1/5", "rk4", 6.0))


@dataclass(frozen=True)
class Settings:
    """Cases, seeds, seconds of a run, starts a side of the simulation and its steps."""

    cases: tuple[Case, ...] = CASES
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    seconds: float = 900.0
    starts: int = 61
    steps: int = 4000


def run(settings: Settings | None = None) -> Report:
    """Learn every case with every seed, and prove the published pairs."""
    s = settings or Settings()
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for k, case in enumerate(s.cases):
            folder = Path(scratch) / str(k)
            found = [learn(case, seed, folder / str(seed), s) for seed in s.seeds]
            volumes = [f["volume"] for f in found]
            published = _published(case, folder / "published")
            rows.append((case.name, case.rate, sum(v > 0 for v in volumes), float(np.mean(volumes)), min(volumes), published,
                         _regulator(case, folder / "regulator"), _simulated(case, folder / str(s.seeds[0]), found[0]["level"], s),
                         float(np.prod([2 * float(b) for b in case.box])),
                         *(max(f[key] for f in found) for key in ("boxes", "search_s", "check_s", "wall", "cpu"))))
            checks.append(Check(f"{case.name}: every seed certified ({rows[-1][2]} of {len(volumes)}), {min(volumes):.5g} at least",
                                min(volumes) > 0))
            if published is not None:
                checks.append(Check(f"{case.name}: with the rate {case.rate} each seed ({min(volumes):.5g} at least) > {published:.5g} published",
                                    min(volumes) > published))
    table = Table(f"Learned in discrete time, seeds {', '.join(map(str, s.seeds))}; boxes and seconds of the worst", (
        "case", "rate", "certified", "mean volume >=", "least", "published pair", "regulator", "simulated", "box", "boxes", "search s", "check s",
        "wall s", "CPU s"), tuple(rows))
    return Report(CLAIM, tuple(checks), (table,), NOTES)


def learn(case: Case, seed: int, folder: Path, s: Settings) -> dict[str, Any]:
    """One run in a fresh process: volume, level, boxes and seconds."""
    with clock() as spent:
        done = subprocess.run(case.command(seed, folder, s.seconds), cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not done.stdout:
        raise RuntimeError(f"{case.name}, seed {seed}: {done.stderr.strip()[-400:]}")
    told = json.loads(done.stdout)
    region = told["region"] or {}
    return {"volume": region.get("volume_lower_bound") or 0.0, "level": region.get("level"), "wall": spent.wall,
            "cpu": spent.cpu, "search_s": told["search_s"] or 0.0, "check_s": told["check_s"] or 0.0,
            "boxes": told["training"]["figures"]["boxes"] or 0.0}


def _published(case: Case, folder: Path) -> float | None:
    """The published pair's certified volume with the rate, the published grid volume where the pair is not here, None where there is none."""
    if case.pair is None:
        return None
    try:
        pair = pairs.read_pair(case.pair)
    except FileNotFoundError:
        return case.published
    return float(pairs.prove(pair.write(folder, "max"), budget=60, workers=1)["volume"])


def _regulator(case: Case, folder: Path) -> float:
    """Certified volume of the saturated regulator with a quadratic that verify searches."""
    task = case.task()
    path = write_candidate(Candidate.start(task, 1.0, 6, (2, 2), task.n, np.random.default_rng(0)), folder)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("lyapunov")), encoding="utf-8")
    return float(pairs.prove(path, budget=60, workers=1)["volume"] or 0.0)


def _simulated(case: Case, folder: Path, level: str | None, s: Settings) -> float | None:
    """Volume of the starts that reach the certified region inside of the box; None where nothing was certified."""
    if level is None:
        return None
    law, function = (read_onnx((folder / name).read_bytes(), name).graph for name in ("controller.onnx", "lyapunov.onnx"))
    task = replace(case.task(), controller=law)
    ticks = (np.arange(s.starts) + 0.5) / s.starts * 2 - 1
    xi = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    reached, total = 0, len(xi)
    for _ in range(s.steps):
        inside = evaluate(function, task.rest + xi * task.width)[:, 0] <= float(Fraction(level))
        reached += int(inside.sum())
        xi = xi[~inside & (np.abs(xi) <= 1).all(axis=1)]
        if not len(xi):
            break
        xi = xi + task.step * task.rates(xi, task.given_input(xi))
    return reached / total * float(np.prod(2 * task.width))
