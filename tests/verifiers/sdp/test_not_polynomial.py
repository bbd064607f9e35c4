"""Loops with sines, saturation and steps: the function is a polynomial in (sin, cos, omega) or in the states, and boxes prove it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from test_sector import published

from verifiers.kernel.check import check
from verifiers.kernel.graph import Builder, affine_from_rational
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify

S11, S12, S22 = (Fraction(v) for v in ("67.174812", "20.117090", "6.322163"))


def row(*numbers) -> object:
    """An affine map to one number; the last of these is the constant."""
    return affine_from_rational([[Fraction(v) for v in numbers[:-1]]], [Fraction(numbers[-1])])


def torque_limited(folder: Path, limit: str, region: str, half: tuple[str, str] = ("3", "12"), more: str = "", named: bool = True) -> Path:
    """A pendulum, u = -sat(20.1171 sin(theta) + 6.3222 omega), with V = 2 S11 (1 - cos) + 2 S12 sin omega + S22 omega^2."""
    folder.mkdir(parents=True, exist_ok=True)
    law, b = Builder(), Builder()
    x = law.input(2)
    parts = law.concat([law.unary("sin", law.take(x, [0])), law.take(x, [1])])
    (folder / "controller.onnx").write_bytes(to_onnx(law.build([law.affine(parts, row("-20.1171", "-6.3222", 0))])))
    x = b.input(2)
    theta, omega = b.take(x, [0]), b.take(x, [1])
    parts = b.concat([b.unary("cos", theta), b.binary("mul", b.unary("sin", theta), omega), b.unary("pow", omega, 2)])
    (folder / "V.onnx").write_bytes(to_onnx(b.build([b.affine(parts, row(-2 * S11, 2 * S12, S22, 2 * S11))])))
    path, (a, c) = folder / "requirement.toml", half
    path.write_text('property = "asymptotic_stability_roa"\nplant = "pendulum"\ncontroller = "controller.onnx"\ntime = "continuous"\n'
                    + ('lyapunov = "V.onnx"\n' if named else "")
                    + f'[parameters]\nm = "1"\nl = "1"\nb = "0.1"\ng = "9.81"\ntorque_limit = "{limit}"\n[domain]\nlo = ["-{a}", "-{c}"]\n'
                    f'hi = ["{a}", "{c}"]\n[region]\n{region}\n[prover]\nmethod = "sos"\n{more}')
    return path


@pytest.mark.parametrize(("limit", "level"), [("5", "16.4"), ("3", "5.88")])
def test_the_torque_limited_pendulum_is_proved_at_its_level(limit, level, tmp_path):
    path = torque_limited(tmp_path, limit, f'level = "{level}"\nmin_volume = "1"')
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    assert check(path.with_suffix(".cert"), path).outcome == "ACCEPTED"


@pytest.mark.parametrize(("limit", "level"), [("5", "16.54"), ("3", "5.93")])
def test_and_refuted_above_the_truth(limit, level, tmp_path):
    verdict = verify(torque_limited(tmp_path, limit, f'level = "{level}"\nmin_volume = "1"'), workers=1)
    assert verdict.outcome == "REFUTED" and verdict.counterexample is not None


def test_a_fitted_polynomial_is_proved_by_boxes(tmp_path):
    path = torque_limited(tmp_path, "5", 'min_volume = "3/2"', ("1.2", "6"), "degree = 4\n", named=False)
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED" and verdict.receipt.region["function"] == "V", verdict
    assert check(path.with_suffix(".cert"), path).outcome == "ACCEPTED"


def test_another_property_is_declined(tmp_path):
    path = torque_limited(tmp_path, "5", 'level = "1"')
    text = path.read_text().replace("asymptotic_stability_roa", "practical_stability")
    path.write_text(text.replace("[region]", '[target]\nlo = ["-1/2", "-1"]\nhi = ["1/2", "1"]\n[region]'))
    verdict = verify(path, workers=1)
    assert (verdict.outcome, verdict.code, verdict.at) == ("UNKNOWN", "UNSUPPORTED", "prover.method")


@pytest.mark.slow
def test_a_fit_in_discrete_time_covers_most_of_what_converges(tmp_path):
    """The published pendulum with |u| <= 0.7: the paper's region has area 1.750, simulation converges from 19.95."""
    path = published(tmp_path, "0.7", ("4", "4"), 'min_volume = "16"', "sos")
    path.write_text(path.read_text() + "degree = 6\n")
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
