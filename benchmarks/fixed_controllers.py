"""For published fixed controllers, learned functions certify regions that contain their authors' own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks import pairs
from benchmarks.harness import ROOT, Check, Report, Table, clock
from benchmarks.pairs import Pair
from verifiers.region.containment import Containment, prove_containment

CLAIM = "For published fixed controllers, learned functions certify regions that contain their authors' own"
NAMES = ("van_seed0", "pendulum_big_seed3", "path_big_seed0", "pendulum_dt", "path_dt_quadratic")
WIDER = {"pendulum_dt": Fraction(5, 4), "path_dt_quadratic": Fraction(5, 4)}
"""By how much the box is wider than the published one, where the authors' set reaches the faces of that."""
NOTES = (
    "`certctl learn roa --controller FILE.onnx` learns V only; the controller's bytes are the authors'. Volumes are the kernel's lower bounds; that "
    "of the authors' function is at the largest level that verify proves, in the same run. Each run ends with its first region (`--stages 0`).",
    "Contained: {V_authors <= published level} within the box lies in our certified {V <= level}, by a box tree whose leaves show V_authors > level "
    "or V <= level and which the kernel's rules for leaves accepted. The published level of path_big_seed0 is false as a claim about its own "
    "function (see the published pairs), but the set lies in our region, and so in the true one.",
    "The last two are loops in discrete time (Yang et al. 2024). Their authors' sets are level sets cut off by the faces of the published box, where "
    "V is 268 and 1.24 at least and their levels are 672 and 1.86: steps from there go inwards. A learned V exceeds its level on the faces of its "
    "box, so that on the published box no learned region can contain these sets. V is therefore learned on a box wider by a quarter, on which the "
    "same controllers act: the ratio is one of regions in different boxes, and states may be visited that the authors' claim does not visit.",
    "The authors' rate of 0.001 a step is part of the proof of their function in these two rows; ours is plain attraction.",
)


@dataclass(frozen=True)
class Settings:
    """Cases, kappa, seconds of a run, width of the hidden layers, seed."""

    names: tuple[str, ...] = NAMES
    kappa: float = 8.0
    seconds: float = 400.0
    width: int = 24
    seed: int = 0


def run(settings: Settings | None = None) -> Report:
    """Learn V for every controller and prove that the authors' set is contained."""
    s = settings or Settings()
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name in s.names:
            pair, folder = pairs.read_pair(name), Path(scratch) / name
            theirs = pairs.prove(pair.write(Path(scratch) / f"{name}-authors", "max"), budget=60, workers=1)
            ours = learn(pair, folder, s)
            with clock() as spent:
                found = contained(pair, folder / "requirement.cert") if ours["volume"] else Containment(None, 0, 0, None)
            rows.append((name, pair.level, theirs["volume"], ours["volume"], ours["volume"] / theirs["volume"] if theirs["volume"] else None,
                         "yes" if found.tree is not None else "not proved", found.boxes, found.leaves, spent.cpu, ours["wall"], ours["cpu"]))
            checks.append(Check(f"{name}: the authors' set at level {pair.level} lies in the learned certified region", found.tree is not None))
    table = Table(f"The authors' controllers, seed {s.seed}, one process", (
        "case", "authors' level", "authors' certified volume >=", "ours >=", "ratio", "contained", "boxes", "leaves accepted", "containment CPU s",
        "learning wall s", "learning CPU s"), tuple(rows))
    return Report(CLAIM, tuple(checks), (table,), NOTES)


def learn(pair: Pair, folder: Path, s: Settings) -> dict[str, Any]:
    """Learn V for a pair's controller on its box, or the wider one, in a fresh process."""
    box = [str(WIDER.get(pair.name, 1) * Fraction(str(b))) for b in pair.case["box"]]
    words = [sys.executable, "-m", "certctl", "learn", "roa", pair.case["plant"], "--controller", str(pair.folder / "controller.onnx"),
             "--domain=" + ",".join(f"-{b}" for b in box) + ":" + ",".join(box), "--kappa", str(s.kappa), "--stages", "0",
             "--time-limit", str(s.seconds), "--width", str(s.width), "--seed", str(s.seed), "--workers", "1", "-o", str(folder),
             "--output-format", "json"]
    words += [word for key, value in pair.case["parameters"].items() for word in ("--param", f"{key}={value}")]
    if pair.case["time"] == "discrete":
        words += ["--time", "discrete", "--dt", pair.case["dt"], "--method", pair.case["method"]]
    with clock() as spent:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not done.stdout:
        raise RuntimeError(f"{pair.name}: {done.stderr.strip()[-400:]}")
    region = json.loads(done.stdout)["region"] or {}
    return {"volume": region.get("volume_lower_bound") or 0.0, "wall": spent.wall, "cpu": spent.cpu}


def contained(pair: Pair, bundle: Path) -> Containment:
    """Whether the authors' set at the published level lies in the region of our bundle."""
    *_, (_, stage, _) = pairs.shells(bundle)
    theirs = pair.setting().functions["V"].function(None, (), True)
    half = pair.box
    return prove_containment((theirs, Fraction(pair.level)), (stage.function, stage.level), -half, half)
