"""The published controller / Lyapunov pairs as requirements, proofs of them in fresh processes, and the stages that a bundle holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import CASES, ROOT, clock
from verifiers.kernel.bundle import open_bundle
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.rational import parse, parse_matrix, parse_vector
from verifiers.kernel.requirement import read_requirement
from verifiers.kernel.setting import Setting, Source, make_stage, open_setting, read_function
from verifiers.kernel.stage import Stage
from verifiers.load.floats import evaluate

PLANE = ("van_seed0", "pendulum_big_seed3", "path_big_seed0", "pendulum_dt", "path_dt_quadratic")
GRID_CHUNK = 100_000


@dataclass(frozen=True)
class Pair:
    """A published pair: its name, its folder and what ``case.json`` says of it."""

    name: str
    folder: Path
    case: dict[str, Any]

    @property
    def level(self) -> str:
        """The published level of the region, as text."""
        return str(self.case.get("c2", self.case.get("rho")))

    @property
    def box(self) -> Floats:
        """Half widths (n,) of the published domain, which is symmetric about 0."""
        return np.array([float(b) for b in self.case["box"]])

    def requirement(self, level: str) -> str:
        """The requirement in TOML: the published rate per step where there is one, plain attraction otherwise."""
        case, rate = self.case, self.case.get("kappa")
        lines = [f'property = "{"asymptotic" if rate is None else "exponential"}_stability_roa"', f'plant = "{case["plant"]}"',
                 'controller = "controller.onnx"', 'lyapunov = "lyapunov.onnx"', f'time = "{case["time"]}"']
        if case["time"] == "discrete":
            lines += [f'dt = "{case["dt"]}"', f'method = "{case["method"]}"']
        lines += ["[parameters]", *(f'{key} = "{value}"' for key, value in case["parameters"].items())]
        lines += ["[domain]", "lo = " + json.dumps([f"-{b}" for b in case["box"]]), "hi = " + json.dumps([str(b) for b in case["box"]])]
        lines += ["[region]", f'level = "{level}"', 'min_volume = "0.001"']
        return "\n".join(lines + ([] if rate is None else ["[decrease]", f'rate = "{rate}"'])) + "\n"

    def write(self, folder: Path, level: str) -> Path:
        """Write requirement and networks into a new folder; return the requirement's path."""
        folder.mkdir(parents=True)
        for name in ("controller.onnx", "lyapunov.onnx"):
            shutil.copyfile(self.folder / name, folder / name)
        path = folder / "requirement.toml"
        path.write_text(self.requirement(level), encoding="utf-8")
        return path

    def setting(self, level: str = "max") -> Setting:
        """Loop, domain and the function V, as the kernel composes them."""
        requirement = read_requirement(self.requirement(level).encode(), self.name)
        plant = (ROOT / "systems" / "data" / f"{self.case['plant']}.plant.json").read_bytes()
        setting = open_setting(requirement, plant, (self.folder / "controller.onnx").read_bytes())
        network = read_function((self.folder / "lyapunov.onnx").read_bytes(), len(setting.lo), "lyapunov.onnx")
        setting.functions["V"] = Source(None, (), network)
        return setting

    def network(self) -> Graph:
        """V itself, its output function included."""
        graph = self.setting().functions["V"].network
        if graph is None:
            raise ValueError(f"{self.name}: V is no network; name one in the case")
        return graph


def read_pair(name: str, cases: Path = CASES) -> Pair:
    """Read a case of ``cases/roa``.

    Raises
    ------
    FileNotFoundError
        When the reference cases are not on this machine.
    """
    folder = cases / "roa" / name
    if not (folder / "case.json").is_file():
        raise FileNotFoundError(f"the reference case {name} is not below {cases.name}/roa; put the reference cases beside the repository")
    return Pair(name, folder, json.loads((folder / "case.json").read_text(encoding="utf-8")))


def prove(requirement: Path, *, budget: float, workers: int) -> dict[str, Any]:
    """Run ``verify`` once in a fresh process.

    Returns
    -------
    dict
        What ``benchmarks.one_proof`` prints, with ``wall`` and ``cpu``: seconds of the whole process tree, start-up included.
    """
    command = [sys.executable, "-m", "benchmarks.one_proof", str(requirement), "--budget", str(budget), "--workers", str(workers)]
    with clock() as spent:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"the proof of {requirement.parent.name} ended with exit code {done.returncode}: {done.stderr.strip()[-400:]}")
    return {**json.loads(done.stdout), "wall": spent.wall, "cpu": spent.cpu}


def grid_volume(function: Graph, level: float, half: Floats, points: int) -> float:
    """Volume of ``{V <= level}`` in the plane box |x_i| <= half_i, by the midpoints of ``points`` x ``points`` cells; an estimate, no bound."""
    ticks = (np.arange(points) + 0.5) / points * 2 - 1
    inside = 0
    for rows in np.array_split(ticks, max(1, points * points // GRID_CHUNK)):
        x = np.stack(np.meshgrid(rows * half[0], ticks * half[1], indexing="ij"), axis=-1).reshape(-1, 2)
        inside += int((evaluate(function, x)[:, 0] <= level).sum())
    return inside / points**2 * float(np.prod(2 * half))


def shells(bundle: Path) -> Iterator[tuple[str, Stage, bytes]]:
    """The shells of an accepted bundle of attraction, inside out: name, stage as the kernel builds it, and the tree's bytes."""
    held = open_bundle(bundle)
    requirement = read_requirement(held.requirement, "bundle")
    setting = open_setting(requirement, held.plant, held.controller)
    n = len(setting.lo)
    for name, item in held.functions.items():
        if item["kind"] == "quadratic":
            setting.functions[name] = Source(parse_matrix(item["matrix"], name, n), parse_vector(item["center"], name, n), None)
        else:
            data = held.read({k: v for k, v in item.items() if k != "kind"}, name)
            setting.functions[name] = Source(None, (), read_function(data, n, name))
    local = held.obligations["local"]
    setting.stages.append((local["function"], parse(local["level"], "local")))
    for k in range(1, len(held.obligations)):
        proof = held.obligations.get(f"shell-{k}")
        if proof is None:
            return
        frame = None if proof.get("frame") is None else parse_matrix(proof["frame"], "frame", n)
        level: Fraction = parse(proof["level"], "level")
        yield f"shell-{k}", make_stage(setting, setting.functions[proof["function"]], level, frame), held.read(proof["tree"], "tree")
        setting.stages.append((proof["function"], level))
