"""In four states the certified region is larger than the published one after a minute on one core; in six there is one at all."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Check, Report, Table, clock
from certctl.learners.roa.task import Floats, Task, make_task
from verifiers.kernel.onnx_reader import read_onnx

CLAIM = "In four states the certified region is larger than the published one after a minute on one core; in six there is one at all"
CARTPOLE = 306.1
"""Certified volume of the two-stage Zubov method, mean of five seeds; its proof took 21 hours on an RTX 5090."""
PUBLISHED_PROOF_S = 76_443.0
NOTES = (
    "Each run is `certctl learn roa PLANT` on the plant's default domain in a fresh process on one thread: regulators, search of law and "
    "ellipsoid, proofs and the kernel's check. Volumes are the kernel's lower bounds, hole closed and inside of the domain. The controller is a "
    "saturated law, linear or with so many tanh neurons (`--neurons`), the function a quadratic.",
    "Sampled: volume of the ellipsoid on whose samples the quadratic decreases when the last proof begins; an estimate. Boxes, search and check are "
    "those of the proof that is kept. Simulated: states of the domain times the share of 4,000 drawn alike from which the learned loop stays in it "
    "and comes within a tenth of its half-widths (Runge-Kutta, 0.01 s, 12 s); no bound, and it shows what an ellipsoid leaves.",
    "Published, cart-pole, |u| <= 30, same box: mean of five seeds of the two-stage Zubov method (NeurIPS 2025), networks 4-128-128-1, 2.1 h of "
    "training on a V100, 76,443 s of proof on an RTX 5090; CT-BaB 0.93; all quoted. For six states no formal region is published. Its authors give "
    "networks for plants of these names that projected gradients did not refute, without proof; no text at hand gives volumes, so none is quoted.",
)


@dataclass(frozen=True)
class Settings:
    """Plants with seeds, seconds of a run and neurons of the law, and the published volume of the cart-pole."""

    runs: tuple[tuple[str, tuple[int, ...], float, int], ...] = (
        ("cartpole", (0, 1, 2, 3, 4), 120.0, 0), ("tora", (0,), 120.0, 0),
        *((name, (0,), 900.0, neurons) for name in ("quadrotor2d", "pvtol", "ducted_fan") for neurons in (0, 4)))
    published: float = CARTPOLE


def run(settings: Settings | None = None) -> Report:
    """Learn every plant with every seed."""
    s = settings or Settings()
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name, seeds, seconds, neurons in s.runs:
            task = make_task(name, {})
            found = [learn(name, seed, Path(scratch) / f"{name}-{neurons}-{seed}", seconds, neurons) for seed in seeds]
            volumes = [f["volume"] for f in found]
            rows.append((name, task.n, neurons, seconds, f"{sum(v > 0 for v in volumes)} of {len(seeds)}", float(np.mean(volumes)), min(volumes),
                         *figures(task, found)))
            checks += [Check(f"{name}, {neurons} neurons: every seed certified, {min(volumes):.4g} at least", min(volumes) > 0),
                       *against_published(name, found, s.published)]
    table = Table("Learned; boxes and seconds of the worst seed", (
        "plant", "states", "neurons", "limit s", "certified", "mean volume >=", "least", *FIGURES), tuple(rows))
    return Report(CLAIM, tuple(checks), (table,), NOTES)


FIGURES = ("sampled", "simulated", "domain", "boxes", "search s", "check s", "wall s", "CPU s")
"""Columns of :func:`figures`."""


def figures(task: Task, found: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Sampled and simulated volumes on average, the domain's, and boxes and seconds of the worst seed."""
    return (*(float(np.mean([f[key] for f in found])) for key in ("sampled", "simulated")), float(np.prod(2 * task.width)),
            *(max(f[key] for f in found) for key in ("boxes", "search_s", "check_s", "wall", "cpu")))


def against_published(name: str, found: Sequence[dict[str, Any]], published: float) -> list[Check]:
    """What the cart-pole's runs have to exceed; nothing for other plants, of which nothing is published."""
    if name != "cartpole":
        return []
    mean, slowest = float(np.mean([f["volume"] for f in found])), max(f["search_s"] + f["check_s"] for f in found)
    return [Check(f"cartpole: mean {mean:.4g} > {published:.4g} published", mean > published),
            Check(f"cartpole: proof and check within an hour (slowest {slowest:.3g} s; published {PUBLISHED_PROOF_S:.0f} s)", slowest < 3600)]


def simulated(task: Task, folder: Path, count: int = 4000, seconds: float = 12.0, step: float = 0.01) -> float:
    """Volume of the states from which the learned loop stays in the domain and nears the equilibrium; from samples."""
    given = replace(task, controller=read_onnx((folder / "controller.onnx").read_bytes(), "controller.onnx").graph)
    xi = np.random.default_rng(0).uniform(-1, 1, (count, task.n))
    inside = np.ones(count, dtype=bool)

    def rates(at: Floats) -> Floats:
        return given.rates(at, given.given_input(at))

    for _ in range(round(seconds / step)):
        at = xi[inside]
        one = rates(at)
        two = rates(at + step / 2 * one)
        three = rates(at + step / 2 * two)
        xi[inside] = at + step / 6 * (one + 2 * two + 2 * three + rates(at + step * three))
        inside &= (np.abs(xi) <= 1).all(axis=1)
    return float(np.prod(2 * task.width)) * float((inside & (np.abs(xi) < 0.1).all(axis=1)).mean())


def learn(name: str, seed: int, folder: Path, seconds: float, neurons: int, shape: int | None = 0, workers: int = 1) -> dict[str, Any]:
    """Learn one plant with one seed in a fresh process."""
    words = [sys.executable, "-m", "certctl", "learn", "roa", name, "--seed", str(seed), "--time-limit", str(seconds), "--workers", str(workers),
             "--neurons", str(neurons), *(() if shape is None else ("--shape", str(shape))), "-o", str(folder), "--output-format", "json"]
    with clock() as spent:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not done.stdout:
        raise RuntimeError(f"{name}, seed {seed}: {done.stderr.strip()[-400:]}")
    told = json.loads(done.stdout)
    region, figures = told["region"] or {}, told["training"]["figures"]
    return {"volume": region.get("volume_lower_bound") or 0.0, "sampled": figures["sampled volume"],
            "simulated": simulated(make_task(name, {}), folder), "boxes": figures["boxes"] or 0.0,
            "search_s": told["search_s"] or 0.0, "check_s": told["check_s"] or 0.0, "wall": spent.wall, "cpu": spent.cpu}
