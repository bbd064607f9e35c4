"""A candidate as files: two ONNX networks whose numbers are the float64 weights, and the requirement that asks for the largest level."""

from __future__ import annotations

import json
from fractions import Fraction
from math import prod
from pathlib import Path

import numpy as np

from certctl.learners.roa.candidate import Candidate, offset
from certctl.learners.roa.network import Map
from certctl.learners.roa.task import Floats, Task
from systems.signals import exact
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import Verdict

NAMES = ("controller.onnx", "lyapunov.onnx", "requirement.toml")


def write_candidate(candidate: Candidate, folder: Path, controller: bytes | None = None) -> Path:
    """Write controller (the given one's bytes, where it was given), Lyapunov function and requirement; return the requirement's path."""
    folder.mkdir(parents=True, exist_ok=True)
    law = controller if controller is not None else to_onnx(policy_graph(candidate), double=True)
    (folder / "controller.onnx").write_bytes(law)
    (folder / "lyapunov.onnx").write_bytes(to_onnx(function_graph(candidate), double=True))
    path = folder / "requirement.toml"
    path.write_text(requirement_text(candidate.task), encoding="utf-8", newline="\n")
    return path


def requirement_text(task: Task, level: str = "max") -> str:
    """The question: a level on the domain, by default the largest provable one, for the plant's parameters, with the rate where there is one."""
    lines = [f'property   = "{"asymptotic" if task.rate is None else "exponential"}_stability_roa"', f'plant      = "{task.plant.name}"',
             'controller = "controller.onnx"', 'lyapunov   = "lyapunov.onnx"', *task.timing, 'saturation = "clip"', "", "[parameters]",
             *(f"{p.name} = {json.dumps(p.value)}" for p in task.plant.parameters if task.plant.dt is None or p.name != "dt"), "", "[domain]",
             f"lo = {json.dumps(task.lo)}",
             f"hi = {json.dumps(task.hi)}", "", "[region]", f'level = "{level}"', f'min_volume = "{least(task)}"']
    if task.rate is not None:
        lines += ["", "[decrease]", f'rate = "{task.rate}"']
    return "\n".join(lines) + "\n"


def ellipsoid_text(task: Task) -> str:
    """The question about a controller alone: the largest ellipsoid that verify finds and proves."""
    return requirement_text(task).replace('lyapunov   = "lyapunov.onnx"\n', "")


def region_volume(verdict: Verdict) -> float:
    """The certified volume; 0 without a proof."""
    if verdict.outcome != "PROVED" or verdict.receipt is None:
        return 0.0
    return float((verdict.receipt.region or {}).get("volume_lower_bound") or 0.0)


def least(task: Task) -> str:
    """A millionth of the domain's volume: a requirement has to demand something of the region."""
    sides = (exact(b) - exact(a) for a, b in zip(task.lo, task.hi, strict=True))
    return f"{float(prod(sides, start=Fraction(1))) * 1e-6:.12f}"


def function_graph(candidate: Candidate) -> Graph:
    """V as a graph of the plant's states."""
    task, b = candidate.task, Builder("lyapunov.onnx")
    x = b.input(task.n)
    squares = b.unary("pow", _mapped(b, x, candidate.function, task, np.zeros(len(candidate.function.a))), 2)
    wall = b.unary("pow", b.affine(x, _scaled(np.eye(task.n), np.zeros(task.n), task)), candidate.power)
    both = b.concat([squares, wall])
    return b.build([b.affine(both, Affine(np.ones((1, b.size(both))), np.zeros(1)))])


def policy_graph(candidate: Candidate) -> Graph:
    """The learned controller as a graph of the plant's states."""
    if candidate.policy is None:
        raise ValueError("the controller was given, not learned")
    task, b = candidate.task, Builder("controller.onnx")
    x = b.input(task.n)
    turned = b.unary("tanh", _mapped(b, x, candidate.policy, task, offset(task)))
    middle, half = task.limits
    return b.build([b.affine(turned, Affine(np.diag(half), middle))])


def _mapped(b: Builder, x: int, net: Map, task: Task, shift: Floats) -> int:
    h1 = b.unary("tanh", b.affine(x, _scaled(net.w1, net.b1, task)))
    h2 = b.unary("tanh", b.affine(h1, Affine(net.w2, net.b2)))
    at_zero = np.tanh(net.w2 @ np.tanh(net.b1) + net.b2)
    return b.binary("add", b.affine(h2, Affine(net.a, shift - net.a @ at_zero)), b.affine(x, _scaled(net.r, np.zeros(len(net.r)), task)))


def _scaled(weight: Floats, bias: Floats, task: Task) -> Affine:
    """The affine map of scaled states as one of the plant's states."""
    plain = weight / task.width
    return Affine(plain, bias - plain @ task.rest)
