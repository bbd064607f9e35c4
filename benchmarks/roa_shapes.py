"""A network as the Lyapunov function certifies a larger region than the ellipsoid it begins from, in four states and in six."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Check, Report, Table
from benchmarks.roa_ellipsoids import CARTPOLE, FIGURES, against_published, figures, learn
from certctl.learners.roa.task import make_task

CLAIM = "A network as the Lyapunov function certifies more than the best ellipsoid, in four states and in six"
NOTES = (
    "Each run is `certctl learn roa PLANT --time-limit S --workers 2` on the plant's default domain in a fresh process: an ellipsoid and its proof, "
    "functions |L y + A tanh(.)|^2 of 48 neurons in four states and 16 in six, a forecast that chooses function and level, the proof and the "
    "kernel's check, in two parts where it is large. Volumes are the kernel's lower bounds, hole closed and inside of the domain.",
    "Ellipsoid: what `roa_ellipsoids` certifies for the plant, in the same limits of input and domain (docs/results.md). Sampled: volume of the "
    "region asked for, from 60,000 rays; an estimate. Simulated: as in `roa_ellipsoids`. Boxes, search and check are those of the proof kept.",
    "Published, cart-pole: mean of five seeds of the two-stage Zubov method (NeurIPS 2025), 76,443 s of proof on an RTX 5090, quoted. For six "
    "states no formal region is published.",
)


@dataclass(frozen=True)
class Settings:
    """Plants with seeds, seconds of a run, and the volume that an ellipsoid certifies."""

    runs: tuple[tuple[str, tuple[int, ...], float, float], ...] = (
        ("cartpole", (0, 1, 2, 3, 4), 600.0, 403.2), ("quadrotor2d", (0,), 2700.0, 17.05))
    published: float = CARTPOLE


def run(settings: Settings | None = None) -> Report:
    """Learn every plant with every seed."""
    s = settings or Settings()
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name, seeds, seconds, ellipsoid in s.runs:
            task = make_task(name, {})
            found = [learn(name, seed, Path(scratch) / f"{name}-{seed}", seconds, 4, None, 2) for seed in seeds]
            volumes = [f["volume"] for f in found]
            mean = float(np.mean(volumes))
            rows.append((name, task.n, seconds, f"{sum(v > 0 for v in volumes)} of {len(seeds)}", mean, min(volumes), ellipsoid,
                         *figures(task, found)))
            checks += [Check(f"{name}: every seed certified, {min(volumes):.4g} at least", min(volumes) > 0),
                       Check(f"{name}: mean {mean:.4g} > {ellipsoid:.4g} of an ellipsoid", mean > ellipsoid),
                       *against_published(name, found, s.published)]
    table = Table("Learned; boxes and seconds of the worst seed", (
        "plant", "states", "limit s", "certified", "mean volume >=", "least", "ellipsoid", *FIGURES), tuple(rows))
    return Report(CLAIM, tuple(checks), (table,), NOTES)
