"""The requirement that a learner writes about its policy: what it demands is near what is measured, and verify answers it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from certctl.learners.lipschitz.demand import as_csv, measured_target, write_demand
from certctl.learners.lipschitz.demonstrations import Demonstrations, signals_of
from certctl.learners.lipschitz.experts import ask, from_callable, open_expert, spread_states
from certctl.learners.lipschitz.problem import open_problem
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.requirement import read_requirement
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify


@pytest.fixture(scope="module")
def cart():
    return open_problem("double_integrator", domain=(("-1", "-1"), ("1", "1")), time="discrete", dt="1/5", method="rk4",
                        parameters={"input_limit": "5"})


def bent(gain: np.ndarray, wrong: float = 0.02) -> Graph:
    """A linear law and a small bend."""
    b = Builder()
    x = b.input(2)
    bend = b.unary("sin", b.affine(x, Affine(np.array([[3.0, 0.0]]), np.zeros(1))))
    return b.build([b.binary("add", b.affine(x, Affine(-gain, np.zeros(1))), b.affine(bend, Affine(np.array([[wrong]]), np.zeros(1))))])


def pairs(cart, expert) -> Demonstrations:
    states, given, _ = ask(expert, spread_states(cart, 40, 0))
    return Demonstrations(states, given, *signals_of(cart))


def test_what_is_written_is_proved(cart, tmp_path):
    expert = open_expert("lqr", cart)
    policy = bent(expert.gain)
    (tmp_path / "policy.onnx").write_bytes(to_onnx(policy, double=True))
    path = write_demand(tmp_path, "policy", cart, policy, pairs(cart, expert), expert, "1/100")
    asked = read_requirement(path.read_bytes(), "policy_iss").imitation
    assert asked.size == Fraction(1, 100) and asked.kind == "onnx" and 0.02 < asked.error < 0.03 and 0.02 < asked.fit < 0.03
    verdict = verify(path, workers=1, budget=60)
    assert verdict.outcome == "PROVED", verdict


def test_an_mpc_is_asked_about_at_its_data_only(cart, tmp_path):
    expert = replace(open_expert("lqr", cart), kind="mpc", graph=None)
    policy = bent(expert.gain)
    (tmp_path / "policy.onnx").write_bytes(to_onnx(policy, double=True))
    path = write_demand(tmp_path, "policy", cart, policy, pairs(cart, expert), expert, "1/100")
    asked = read_requirement(path.read_bytes(), "policy_iss").imitation
    assert asked.kind == "mpc" and asked.error is None and asked.fit is not None
    assert verify(path, workers=1, budget=60).outcome == "PROVED"


def test_nothing_is_written_where_nothing_can_be_asked(cart, tmp_path):
    expert = open_expert("lqr", cart)
    data = pairs(cart, expert)
    assert write_demand(tmp_path, "policy", cart, bent(expert.gain), data, expert, "0") is None
    assert write_demand(tmp_path, "policy", cart, bent(-expert.gain), data, expert, "1/100") is None  # not stable
    assert write_demand(tmp_path, "policy", cart, bent(expert.gain), data, from_callable(lambda x: x[:, :1], cart), "1/100") is None
    assert list(tmp_path.iterdir()) == []


def test_a_larger_attack_ends_in_a_larger_box(cart):
    gain = open_expert("lqr", cart).gain
    small, large = (measured_target(cart, bent(gain), size)[1] for size in (0.01, 0.02))
    assert (small < large).all()
    assert measured_target(cart, bent(gain), 10.0) is None


def test_numbers_survive_the_text(cart):
    data = Demonstrations(np.array([[1 / 3, 1e-7], [-2.5e30, 1e-120]]), np.array([[0.1], [3.0]]), *signals_of(cart))
    head, *rows = as_csv(data).splitlines()
    assert head == "x [m],v [m/s],u [m/s^2]"
    assert [[float(cell) for cell in row.split(",")] for row in rows] == [[1 / 3, 1e-7, 0.1], [-2.5e30, 0.0, 3.0]]
