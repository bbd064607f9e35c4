"""Requirements of the SDP layer's benchmark about loops with a network, sines and saturation: the published pendulum, and one with a weak motor."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.harness import CASES
from verifiers.kernel.graph import Affine, Builder, Graph, affine_from_rational
from verifiers.kernel.stage import quadratic
from verifiers.load.to_onnx import to_onnx

YIN = CASES / "sdp" / "yin_pendulum"
ELLIPSE = (("0.248742", "0.023445"), ("0.023445", "0.044059"))
"""The published ellipse at level 1 (area 30.79), no input limit."""
LIMITED = (("2.414925", "0.576428"), ("0.576428", "1.472280"))
"""The ellipse for |u| <= 0.7, re-derived from the published programme, whose area (1.750) it has; its numbers are not published."""


def published_network() -> Graph:
    """The published controller (2-32-32-1, tanh, no biases) from its weights.

    Raises
    ------
    FileNotFoundError
        Where the published weights are not on this machine.
    """
    if not YIN.exists():
        raise FileNotFoundError(f"{YIN} is not on this machine")
    b = Builder()
    x = b.input(2)
    for k in (1, 2, 3):
        w = np.loadtxt(YIN / f"W{k}.csv", delimiter=",", ndmin=2)
        x = b.affine(x, Affine(w, np.zeros(len(w))))
        x = b.unary("tanh", x) if k < 3 else x
    return b.build([x])


def sampled(folder: Path, limit: str, half: tuple[str, str], region: str, prover: str,
            named: tuple[tuple[str, ...], ...] | None = None) -> Path:
    """The published network (2-32-32-1, tanh) on its pendulum, Euler's step of 0.02 s; ``named`` is an ellipse as V.

    Raises
    ------
    FileNotFoundError
        Where the published weights are not on this machine.
    """
    v = None if named is None else quadratic([[Fraction(q) for q in row] for row in named], [Fraction(0)] * 2).graph
    parameters = f'g = "10"\nm = "0.15"\nl = "0.5"\nb = "0.05"\ntorque_limit = "{limit}"\n'
    return _write(folder, published_network(), v, 'time = "discrete"\ndt = "1/50"\nmethod = "euler"\n', parameters, half, region, prover)


def weak_motor(folder: Path, limit: str, half: tuple[str, str], region: str, prover: str) -> Path:
    """u = -sat(20.1171 sin(theta) + 6.3222 omega), V = 2 S11 (1 - cos) + 2 S12 sin omega + S22 omega^2, in continuous time."""
    law, b = Builder(), Builder()
    x = law.input(2)
    parts = law.concat([law.unary("sin", law.take(x, [0])), law.take(x, [1])])
    u = law.build([law.affine(parts, affine_row("-20.1171", "-6.3222", "0"))])
    x = b.input(2)
    theta, omega = b.take(x, [0]), b.take(x, [1])
    parts = b.concat([b.unary("cos", theta), b.binary("mul", b.unary("sin", theta), omega), b.unary("pow", omega, 2)])
    v = b.build([b.affine(parts, affine_row("-134.349624", "40.234180", "6.322163", "134.349624"))])
    parameters = f'm = "1"\nl = "1"\nb = "0.1"\ng = "9.81"\ntorque_limit = "{limit}"\n'
    return _write(folder, u, v, 'time = "continuous"\n', parameters, half, region, prover)


def affine_row(*numbers: str) -> Affine:
    """An affine map to one number; the last of these is the constant."""
    return affine_from_rational([[Fraction(v) for v in numbers[:-1]]], [Fraction(numbers[-1])])


def _write(folder: Path, law: Graph, v: Graph | None, time: str, parameters: str, half: tuple[str, str], region: str, prover: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "controller.onnx").write_bytes(to_onnx(law))
    if v is not None:
        (folder / "V.onnx").write_bytes(to_onnx(v))
    lo, hi = (", ".join(f'"{sign}{q}"' for q in half) for sign in ("-", ""))
    path = folder / "requirement.toml"
    named = 'lyapunov = "V.onnx"\n' if v is not None else ""
    path.write_text(f'property = "asymptotic_stability_roa"\nplant = "pendulum"\ncontroller = "controller.onnx"\n{named}'
                    f"{time}[parameters]\n{parameters}[domain]\nlo = [{lo}]\nhi = [{hi}]\n[region]\n{region}\n[prover]\n{prover}\n", encoding="utf-8")
    return path
