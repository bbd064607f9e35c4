"""Checking costs less than searching, and rigorous enclosures cost a known small multiple of plain NumPy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pairs
from benchmarks.harness import Check, Report, Table, fastest
from verifiers.kernel import elementary
from verifiers.kernel.check import check
from verifiers.kernel.graph import Node
from verifiers.kernel.setting import make_stage
from verifiers.load.derivative import lie_derivative
from verifiers.load.floats import FloatReading, evaluate

CLAIM = "Checking costs less than searching, and rigorous enclosures cost a known small multiple of plain NumPy"
NOTES = (
    "Bundles: written by `verify` at the start of this run, at the published level (path_big_seed0: the largest). Search seconds: from the "
    "question to the tree, two processes, wall. Check CPU: `verifiers.kernel.check` alone, in this process, least of the repetitions.",
    "Elementary functions: an enclosure of an interval [x, x + 1/1000] against NumPy's function at both of its ends, without any bound of its "
    "error; random x, one thread, least CPU seconds of the repetitions.",
    "Boxes: `Stage.evaluate` (bounds of V, of the decrease with second-order enclosures, and of its slopes, outward rounded) over random "
    "boxes of a hundredth of the domain, in batches of 1,024 and on one thread, against NumPy's float64 value of V, and of grad V . f or "
    "V(f(x)), at as many points.",
)
RANGES = {"tanh": (-6.0, 6.0), "sigmoid": (-12.0, 12.0), "softplus": (-12.0, 12.0), "exp": (-20.0, 20.0), "log": (1e-3, 100.0), "sqrt": (0.0, 100.0),
          "atan": (-20.0, 20.0), "sin": (-20.0, 20.0), "cos": (-20.0, 20.0)}


@dataclass(frozen=True)
class Settings:
    """What to run: pairs, networks for the box speed, elements and boxes a batch, and seconds a measurement."""

    names: tuple[str, ...] = pairs.PLANE
    speed: tuple[str, ...] = (*pairs.PLANE, "cartpole_seed1")
    elements: int = 100_000
    boxes: int = 1024
    seconds: float = 2.0
    budget: float = 600.0


def run(settings: Settings | None = None) -> Report:
    """Measure check against search, enclosures against NumPy's functions, and boxes against points."""
    s = settings or Settings()
    checks, bundles = _bundles(s)
    functions = [_function(name, s) for name in RANGES]
    boxes = [_boxes(name, s) for name in s.speed]
    head = ("network", "boxes/s", "us a box", "V: us a point", "ratio", "decrease: us a point", "ratio ")
    return Report(CLAIM, (*checks, *_gates(functions, boxes)), (
        Table("Kernel check against search", ("pair", "level", "search s", "search boxes", "check s", "check CPU s", "leaves", "us a leaf",
                                              "search s / check s"), tuple(bundles)),
        Table("Elementary functions, ns an interval", ("function", "certctl", "NumPy, both ends", "ratio"), tuple(functions)),
        Table("Boxes a second on one thread", head, tuple(boxes))), NOTES)


def _gates(functions: list[tuple[Any, ...]], boxes: list[tuple[Any, ...]]) -> list[Check]:
    """What the two ratios may be for the claim to stand."""
    function, box = max(r[3] for r in functions), max(r[6] for r in boxes)
    return [Check(f"an enclosure costs at most 50 evaluations of NumPy (most: {function:.1f})", function <= 50),
            Check(f"a box costs at most 500 points of the decrease (most: {box:.0f})", box <= 500)]


def _bundles(s: Settings) -> tuple[list[Check], list[tuple[Any, ...]]]:
    checks, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in s.names:
            pair = pairs.read_pair(name)
            path = pair.write(Path(folder) / name, "max" if name == "path_big_seed0" else pair.level)
            answer = pairs.prove(path, budget=s.budget, workers=2)
            if answer["outcome"] != "PROVED":
                checks.append(Check(f"{name}: {answer['outcome']}, so there is nothing to check", False))
                continue
            bundle = Path(answer["bundle"])
            receipts = []
            spent = fastest(lambda at=bundle, of=path, to=receipts: to.append(check(at, of).outcome), s.seconds)  # type: ignore[misc]
            ratio = answer["search_s"] / answer["check_s"]
            checks.append(Check(f"{name}: the kernel accepts, in less time than the search took", set(receipts) == {"ACCEPTED"} and ratio > 1))
            rows.append((name, f"{float(Fraction(answer['level'])):.9g}", answer["search_s"], answer["boxes"], answer["check_s"], spent,
                         answer["leaves"], spent / answer["leaves"] * 1e6, ratio))
    return checks, rows


def _plain(name: str) -> Callable[[Any], Any]:
    """NumPy's function of that name, as the float reading of a graph applies it."""
    node, reading = Node(name, (0,), 1), FloatReading()
    return lambda x: reading.unary(node, x)


def _function(name: str, s: Settings) -> tuple[Any, ...]:
    lo = np.random.default_rng(0).uniform(*RANGES[name], s.elements)
    hi, enclosure, plain = lo + 1e-3, getattr(elementary, name), _plain(name)
    ours = fastest(lambda: enclosure(lo, hi), s.seconds / 4) / s.elements * 1e9
    theirs = fastest(lambda: (plain(lo), plain(hi)), s.seconds / 4) / s.elements * 1e9
    return name, ours, theirs, ours / theirs


def _boxes(name: str, s: Settings) -> tuple[Any, ...]:
    pair = pairs.read_pair(name)
    setting = pair.setting()
    stage = make_stage(setting, setting.functions["V"], Fraction(pair.level), None)
    rng, half = np.random.default_rng(0), pair.box
    centre = rng.uniform(-0.8, 0.8, (s.boxes, half.size)) * half
    lo, hi, graph = centre - 0.005 * half, centre + 0.005 * half, stage.function.graph
    with np.errstate(all="ignore"):
        box = fastest(lambda: stage.evaluate(lo, hi), s.seconds) / s.boxes * 1e6
        value = fastest(lambda: evaluate(graph, centre), s.seconds / 2) / s.boxes * 1e6
        if stage.time == "continuous":
            decrease = lie_derivative(graph, stage.field)
            moved = fastest(lambda: evaluate(decrease, centre), s.seconds / 2) / s.boxes * 1e6
        else:
            moved = fastest(lambda: evaluate(graph, evaluate(stage.field, centre)), s.seconds / 2) / s.boxes * 1e6
    return name, 1e6 / box, box, value, box / value, moved, box / moved
