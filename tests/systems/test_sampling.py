"""Discrete-time maps and simulation, against SciPy and the matrix exponential."""

from __future__ import annotations

import json
from fractions import Fraction

import casadi as ca
import numpy as np
import pytest
from scipy.integrate import RK45, solve_ivp
from scipy.linalg import expm

import systems
from systems import Input, Parameter, Plant, State
from verifiers.kernel.plant import read_plant
from verifiers.load.floats import evaluate
from verifiers.load.plant import plant_graph

RNG = np.random.default_rng(7)
STEP = {"euler": 1, "midpoint": 2, "rk4": 4}


def spring(**details) -> Plant:
    return Plant.from_equations("spring", states=[State("x", "m"), State("v", "m/s")], inputs=[Input("u", "N", "-limit", "limit")],
                                parameters=[Parameter("k", "N/m", "2"), Parameter("limit", "N", "1")],
                                dynamics=lambda x, u, p: [x.v, -p.k * x.x + u.u], equilibrium=(["0", "0"], ["0"]),
                                domain=(["-1", "-1"], ["1", "1"]), **details)


# what must be refused ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "method", "dt", "message"), [
    ("pendulum", "heun", "1/20", "not a method"), ("pendulum", "euler", "0", "not positive"), ("pendulum", "euler", "-1/20", "not positive"),
    ("pendulum", "euler", "5e-2", "not an exact number"), ("pendulum", "zoh", "1/20", "not linear"), ("van_der_pol", "zoh", "1/20", "not linear"),
])
def test_sampling_that_makes_no_sense_is_refused(name, method, dt, message):
    with pytest.raises(ValueError, match=message):
        systems.load(name).discretize(method, dt)


def test_a_sampled_plant_is_not_sampled_again_and_keeps_its_step():
    sampled = systems.load("pendulum").discretize("euler", "1/20")
    with pytest.raises(ValueError, match="already a discrete-time plant"):
        sampled.discretize("euler", "1/20")
    with pytest.raises(ValueError, match="another dt"):
        sampled.with_parameters(dt="1/10")


def test_affine_or_uncertain_plants_have_no_zoh_map():
    with pytest.raises(ValueError, match="not linear"):
        Plant.from_equations("drift", states=[State("x", "m")], dynamics=lambda x, u, p: [x.x + 1], equilibrium=(["-1"], []),
                             domain=(["-2"], ["2"])).discretize("zoh", "1")
    with pytest.raises(ValueError, match="interval parameters"):
        spring().with_parameters(k=("1", "2")).discretize("zoh", "1/10")


# maps ----------------------------------------------------------------------------------------------------------------

def butcher(plant: Plant, method: str, h: float, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """One explicit Runge-Kutta step from the method's Butcher tableau."""
    a, b = {"euler": ([[]], [1]), "midpoint": ([[], [0.5]], [0, 1]), "rk4": ([[], [0.5], [0, 0.5], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6])}[method]
    k: list[np.ndarray] = []
    for row in a:
        k.append(plant.rhs(x + h * sum((c * s for c, s in zip(row, k, strict=True)), np.zeros_like(x)), u))
    return x + h * sum(c * s for c, s in zip(b, k, strict=True))


@pytest.mark.parametrize("method", STEP)
@pytest.mark.parametrize("name", ["pendulum", "cartpole", "reversed_van_der_pol"])
def test_one_step_is_the_tableaus(name, method):
    plant = systems.load(name)
    sampled = plant.discretize(method, "1/20")
    assert (sampled.time, sampled.dt) == ("discrete", "1/20")
    for x in RNG.uniform(-1, 1, (5, len(plant.states))):
        u = RNG.uniform(-1, 1, len(plant.inputs))
        assert sampled.rhs(x, u) == pytest.approx(butcher(plant, method, 0.05, x, u), rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("method", STEP)
def test_order_of_accuracy_against_scipy(method):
    """Halving the step divides the error of one step by 2^(order + 1)."""
    plant = systems.load("cartpole")
    x, u = np.array([0.1, 0.8, -0.5, 1.0]), np.array([3.0])

    def error(dt: str) -> float:
        exact = solve_ivp(lambda t, y: plant.rhs(y, u), (0, float(Fraction(dt))), x, rtol=1e-13, atol=1e-14, method="DOP853").y[:, -1]
        return float(np.abs(plant.discretize(method, dt).rhs(x, u) - exact).max())

    assert error("1/16") / error("1/32") == pytest.approx(2 ** (STEP[method] + 1), rel=0.25)


def test_zoh_of_a_nilpotent_plant_is_exact_and_keeps_parameters():
    sampled = systems.load("double_integrator").discretize("zoh", "1/10")
    assert [p.name for p in sampled.parameters] == ["input_limit", "dt"]
    weight = plant_graph(read_plant(json.loads(sampled.to_json())), {}).nodes[-1].data.rational()[0]
    assert weight == ((1, Fraction(1, 10), Fraction(1, 200)), (0, 1, Fraction(1, 10)))


def test_zoh_of_a_chain_of_integrators_is_exact():
    chain = Plant.from_equations("chain", states=[State(s, "1") for s in "abcd"], inputs=[Input("u", "1")],
                                 dynamics=lambda x, u, p: [x.b, x.c, x.d, u.u], equilibrium=(["0"] * 4, ["0"]), domain=(["-1"] * 4, ["1"] * 4))
    graph = plant_graph(read_plant(json.loads(chain.discretize("zoh", "1/10").to_json())), {})
    assert graph.nodes[-1].data.rational()[0][0] == (1, Fraction(1, 10), Fraction(1, 200), Fraction(1, 6000), Fraction(1, 240000))


def test_zoh_of_any_linear_plant_is_the_matrix_exponential():
    sampled = spring().discretize("zoh", "1/10")
    assert [p.name for p in sampled.parameters] == ["limit"]
    both = expm(0.1 * np.array([[0, 1, 0], [-2, 0, 1], [0, 0, 0]]))[:2]
    for z in RNG.uniform(-1, 1, (4, 3)):
        assert sampled.rhs(z[:2], z[2:]) == pytest.approx(both @ z, abs=1e-15)
    np.testing.assert_array_equal(sampled.linearize().A, both[:, :2])


def test_the_kernels_graph_agrees_with_the_sampled_expression():
    sampled = systems.load("pendulum").discretize("rk4", "1/20")
    spec = read_plant(json.loads(sampled.to_json()))
    assert (spec.time, spec.dt) == ("discrete", Fraction(1, 20))
    x, u = RNG.uniform(-3, 3, (20, 2)), RNG.uniform(-6, 6, (20, 1))
    assert evaluate(plant_graph(spec, {}), x, u) == pytest.approx(sampled.rhs(x, u), rel=1e-13, abs=1e-13)


# simulation ----------------------------------------------------------------------------------------------------------

def test_simulation_needs_the_arguments_of_its_time():
    plant = systems.load("pendulum")
    sampled = plant.discretize("euler", "1/20")
    for call, message in [(lambda: plant.simulate([0, 0]), "give t_end"), (lambda: sampled.simulate([0, 0]), "give steps"),
                          (lambda: sampled.simulate([0, 0], t_end=1.0), "give steps"), (lambda: plant.simulate([0, 0, 0], t_end=1.0), "2 states"),
                          (lambda: plant.simulate([0, 0], lambda x: x, t_end=1.0), "returned 2 values")]:
        with pytest.raises(ValueError, match=message):
            call()


def test_continuous_simulation_agrees_with_scipy_and_clips():
    plant = systems.load("pendulum").with_parameters(torque_limit="0.5")
    run = plant.simulate([0.05, 0.0], lambda x: [-20 * x[0] - 3 * x[1]], t_end=2.0, steps=20)
    stepper = RK45(lambda t, y: plant.rhs(y, np.clip([-20 * y[0] - 3 * y[1]], -0.5, 0.5)), 0, np.array([0.05, 0.0]), 2.0, rtol=1e-10, atol=1e-12)
    while stepper.status == "running":
        stepper.step()
    assert run.states[-1] == pytest.approx(stepper.y, abs=1e-7)
    assert (run.times.shape, run.states.shape, run.inputs.shape) == ((21,), (21, 2), (21, 1))
    assert (run.inputs[0, 0], run.escaped) == (-0.5, False)


def test_discrete_simulation_iterates_the_map():
    sampled = systems.load("van_der_pol").discretize("euler", "1/10")
    run = sampled.simulate([0.5, 0.5], lambda x: -x[0] - 2 * x[1], steps=3)
    x = np.array([0.5, 0.5])
    for k in range(3):
        assert run.states[k] == pytest.approx(x, abs=1e-14)
        u = np.clip(-x[0] - 2 * x[1], -1, 1)
        x = x + 0.1 * np.array([x[1], -x[0] + (1 - x[0]**2) * x[1] + u])
    assert run.times == pytest.approx([0, 0.1, 0.2, 0.3])


def test_without_a_controller_the_equilibrium_input_is_held():
    assert systems.load("path_tracking").simulate([2.0, 0.0], t_end=1.0).states[-1] == pytest.approx([2.0, 0.0], abs=1e-12)


def test_an_escaping_trajectory_ends_early_and_says_so():
    run = systems.load("reversed_van_der_pol").simulate([2.5, 2.5], t_end=10.0, escape=100.0)
    assert run.escaped
    assert run.times[-1] < 10.0
    assert np.abs(run.states[-1]).max() == pytest.approx(100.0)
    grown = Plant.from_equations("grow", states=[State("x", "1")], dynamics=lambda x, u, p: [2 * x.x], equilibrium=(["0"], []),
                                 domain=(["-1"], ["1"]), time="discrete").simulate([1.0], steps=50, escape=100.0)
    assert (grown.escaped, grown.states[-1, 0], grown.times[-1]) == (True, 128.0, 7.0)


def test_a_state_that_becomes_nan_counts_as_escaped():
    plant = Plant.from_equations("root", states=[State("x", "1")], dynamics=lambda x, u, p: [ca.sqrt(x.x - 1)], equilibrium=(["0"], []),
                                 domain=(["-1"], ["1"]), time="discrete")
    assert plant.simulate([0.0], steps=5).escaped
