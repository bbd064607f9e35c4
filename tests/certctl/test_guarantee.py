"""The report on what a policy keeps of its expert: no bound is below what simulations show, nothing unproved passes, and it never says proved."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from certctl.learners.lipschitz.demonstrations import Demonstrations, signals_of
from certctl.learners.lipschitz.experts import Expert, ask, from_callable, open_expert, spread_states
from certctl.learners.lipschitz.guarantee import DECLARED, ENCLOSED, KERNEL, UNPROVED, describe, guarantee
from certctl.learners.lipschitz.imitation import bound_text
from certctl.learners.lipschitz.problem import Problem, open_problem
from certctl.learners.lipschitz.sampling import cells, radius_with, states_needed
from certctl.result import Result, from_verdict
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify


@pytest.fixture(scope="module")
def plant() -> Problem:
    return open_problem("double_integrator", domain=(("-1", "-1"), ("1", "1")), time="discrete", dt="1/5", method="rk4",
                        parameters={"input_limit": "10"})


@pytest.fixture(scope="module")
def expert(plant: Problem) -> Expert:
    return open_expert("lqr", plant)


@pytest.fixture(scope="module")
def data(plant: Problem, expert: Expert) -> Demonstrations:
    states, given, _ = ask(expert, spread_states(plant, 256, 0))
    return Demonstrations(states, given, *signals_of(plant))


def near(expert: Expert, wrong: float) -> Graph:
    """The expert's gain and a bend that adds at most ``wrong``, with the constant |K| + 3 wrong at most."""
    b = Builder()
    x = b.input(2)
    bend = b.unary("sin", b.affine(x, Affine(np.array([[3.0, 0.0]]), np.zeros(1))))
    return b.build([b.binary("add", b.affine(x, Affine(-expert.gain, np.zeros(1))), b.affine(bend, Affine(np.array([[wrong]]), np.zeros(1))))])


@pytest.fixture(scope="module")
def proved(expert: Expert, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Result, str]:
    """A policy 0.02 away from the expert, its proved bound, and that bound."""
    folder = tmp_path_factory.mktemp("policy")
    policy = to_onnx(near(expert, 0.02), double=True)
    (folder / "policy.onnx").write_bytes(policy)
    asked = folder / "policy.requirement.toml"
    bound = str(Fraction(f"{np.linalg.norm(expert.gain) + 0.1:.4f}"))
    asked.write_text(bound_text("policy.onnx", bound), encoding="utf-8")
    return policy, from_verdict(verify(asked, workers=1), asked), bound


def test_every_bound_is_above_what_is_seen(plant, expert, data, proved, tmp_path):
    policy, result, bound = proved
    assert result.is_proved
    found = guarantee(plant, policy, result, bound, data, expert, attack=0.02, folder=tmp_path)
    facts = {fact.name: fact for fact in found.facts}
    assert facts["alpha"].how == facts["L*"].how == KERNEL and facts["epsilon"].how == ENCLOSED and not found.is_proved
    assert np.linalg.norm(expert.gain) <= facts["L*"].value <= 1.001 * np.linalg.norm(expert.gain)
    graph = near(expert, 0.02)
    x = np.random.default_rng(0).uniform(-1, 1, (50_000, 2))
    gap = np.abs(evaluate(graph, x) - expert.answer(x)).max()
    assert 0.019 < gap <= found.sup_error <= 0.021 and found.sup_error < facts["eta"].value
    assert found.vacuous is None and found.radius > 0
    worst = run(plant, graph, found.radius, 0.02)
    assert (worst <= found.ultimate_box).all() and np.linalg.norm(worst) <= found.ultimate * np.sqrt(2)
    assert (worst > 0.02 * np.array(found.ultimate_box)).all(), "the bound is not so loose that the test says nothing"
    assert found.to_json()["kernel_checked"] is False and any("no certificate" in text for _, text in describe(found))


def run(plant: Problem, policy: Graph, radius: float, size: float) -> np.ndarray:
    """Largest |x_i| after the transient, from the sphere of the radius, with errors along the gain's direction, of either sign."""
    angle = np.linspace(0, 2 * np.pi, 32)
    x = radius * 0.999 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    worst, rng = np.zeros(2), np.random.default_rng(0)
    for k in range(400):
        d = rng.normal(size=x.shape) if k % 2 else np.ones_like(x)
        x = evaluate(plant.step, x, evaluate(policy, x + size * d / np.linalg.norm(d, axis=1, keepdims=True)))
        assert (np.abs(x) <= 1).all(), "the ball is not kept"
        worst = np.maximum(worst, np.abs(x).max(axis=0)) if k > 200 else worst
    return worst


def test_an_attack_that_is_too_large_is_called_vacuous(plant, expert, data, proved, tmp_path):
    policy, result, bound = proved
    found = guarantee(plant, policy, result, bound, data, expert, attack=50.0, folder=tmp_path)
    assert found.vacuous and found.radius is found.ultimate is found.ultimate_box is found.regret is None and found.sup_error < 0.021
    assert any(key == "vacuous" for key, _ in describe(found))


def test_a_bound_that_is_not_proved_is_not_used(plant, expert, data, proved, tmp_path):
    policy, result, bound = proved
    found = guarantee(plant, policy, replace(result, outcome="UNKNOWN"), bound, data, expert, attack=0.02, folder=tmp_path)
    alpha = next(fact for fact in found.facts if fact.name == "alpha")
    assert alpha.how == UNPROVED and alpha.value == np.inf and found.vacuous
    assert next(f for f in found.facts if f.name == "eta").value == np.inf


def test_an_expert_that_is_no_graph_needs_a_declared_constant(plant, expert, data, proved):
    policy, result, bound = proved
    black = from_callable(expert.answer, plant)
    without = guarantee(plant, policy, result, bound, data, black)
    assert without.sup_error is None and without.vacuous and next(f for f in without.facts if f.name == "L*").how == UNPROVED
    told = guarantee(plant, policy, result, bound, data, black, expert_bound="2.2")
    assert next(f for f in told.facts if f.name == "L*").how == DECLARED and any("2.2" in text for text in told.assumptions)
    facts = {fact.name: fact.value for fact in told.facts}
    assert told.sup_error == pytest.approx(facts["delta"] + (facts["alpha"] + 2.2) * facts["epsilon"]) and told.sup_error > 0.02


def test_the_fit_error_counts_the_worst_pair(plant, expert, data, proved):
    policy, result, bound = proved
    off = data.inputs.copy()
    off[17] += 0.3
    found = guarantee(plant, policy, result, bound, replace(data, inputs=off), from_callable(expert.answer, plant))
    delta = next(f for f in found.facts if f.name == "delta").value
    assert 0.28 <= delta <= 0.3201


def test_uniform_states_cover_as_often_as_the_bound_says():
    lo, hi = np.array([-1.0, 0.0]), np.array([1.0, 1.0])
    assert cells(lo, hi, 0.5) == 6 * 3 and cells(lo, hi, 10.0) == 1 == states_needed(lo, hi, 10.0, 0.1)
    count = states_needed(lo, hi, 0.5, 0.1)
    assert 18 * (1 - 1 / 18) ** count <= 0.1 < 18 * (1 - 1 / 18) ** (count - 1)
    assert states_needed(lo, hi, radius_with(lo, hi, count, 0.1), 0.1) <= count and radius_with(lo, hi, count, 0.1) <= 0.501
    from verifiers.region.maximum import covering_radius

    rng = np.random.default_rng(0)
    missed = sum(covering_radius(rng.uniform(lo, hi, (count, 2)), lo, hi).lower > 0.5 for _ in range(40))
    assert missed <= 8
    for wrong in ({"epsilon": 0.0, "risk": 0.1}, {"epsilon": 0.1, "risk": 0.0}, {"epsilon": 0.1, "risk": float("nan")}):
        with pytest.raises(ValueError):
            states_needed(lo, hi, **wrong)
