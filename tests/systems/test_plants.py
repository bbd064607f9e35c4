"""Shipped plants: values computed by hand, exact derivatives against differences, equilibria, limits, registry."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from math import exp, pi

import numpy as np
import pytest
from repository import ROOT

import systems
from systems import Input, Parameter, Plant, State
from systems.quadrotor2d import from_safe_control_gym, to_safe_control_gym

RNG = np.random.default_rng(20240611)


def random_states(plant: Plant, count: int) -> np.ndarray:
    lo, hi = (np.array([float(Fraction(v)) for v in side]) for side in plant.domain)
    return RNG.uniform(lo, hi, (count, len(lo)))


def one(**changes) -> Plant:
    details = {"states": [State("x", "m")], "inputs": [Input("u", "N", "-limit", "limit")], "parameters": [Parameter("limit", "N", "2")],
               "dynamics": lambda x, u, p: [u.u - x.x], "equilibrium": (["0"], ["0"]), "domain": (["-1"], ["1"])}
    return Plant.from_equations("one", **{**details, **changes})


# what must be refused ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("changes", "message"), [
    ({"states": [State("u", "m")], "dynamics": lambda x, u, p: [u.u]}, "share a name"),
    ({"states": [], "dynamics": lambda x, u, p: []}, "no states"),
    ({"dynamics": lambda x, u, p: [x.x, x.x]}, "shape"),
    ({"inputs": [Input("u", "N", "-force_limit", "2")]}, "names no parameter"),
    ({"inputs": [Input("u", "N", "3", "2")]}, "limits 3 > 2"),
    ({"parameters": [Parameter("limit", "N", "-2")]}, "limit parameter is negative"),
    ({"equilibrium": (["0", "0"], ["0"])}, "equilibrium and domain"),
    ({"equilibrium": (["1e-3"], ["0"])}, "not an exact number"),
    ({"domain": (["1"], ["1"])}, "is empty"),
    ({"time": "continuous", "dt": "1/10"}, "continuous"),
    ({"time": "sampled"}, "continuous"),
    ({"time": "discrete", "dt": "0"}, "not positive"),
])
def test_a_contradictory_plant_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        one(**changes)


@pytest.mark.parametrize("value", ["nan", "inf", "1e3", "0x1", " 1", "1/0", "٣", "+1", 0.15, ("2", "1")])
@pytest.mark.threat("T15")
def test_a_parameter_is_an_exact_number(value):
    with pytest.raises(ValueError, match=r"exact number|empty"):
        Parameter("m", "kg", value)


@pytest.mark.parametrize("name", ["", "2x", "-x", "a b", "é", "x" * 65])
def test_a_name_is_plain(name):
    with pytest.raises(ValueError, match="cannot be a name"):
        State(name, "m")


def test_unknown_parameters_and_plants_are_named():
    with pytest.raises(ValueError, match=r"no parameter 'M'.*torque_limit"):
        systems.load("pendulum").with_parameters(M="1")
    for call in (systems.load, systems.plant_json_path):
        with pytest.raises(ValueError, match=r"no plant is called '../pendulum'.*cartpole"):
            call("../pendulum")


# values --------------------------------------------------------------------------------------------------------------

# states, inputs, right side; the third column is worked out by hand from the equations in PLANTS.md
BY_HAND = [
    ("double_integrator", [3, -2], [0.25], [-2, 0.25]),
    ("van_der_pol", [2, 1], [0.5], [1, -2 + (1 - 4) * 1 + 0.5]),
    ("reversed_van_der_pol", [2, 1], [], [-1, 2 + 3 * 1]),
    # g/l = 19.62, b/(m l^2) = 8/3, 1/(m l^2) = 80/3: 19.62 - 3 * 8/3 + 0.6 * 80/3
    ("pendulum", [pi / 2, 3], [0.6], [3, 27.62]),
    # theta = pi/6: sin = 1/2, R/v - 1/2 = 4.5, cos/4.5 = sqrt(3)/9
    ("path_tracking", [1, pi / 6], [0.3], [1, 0.6 - 3**0.5 / 9]),
    # theta = pi/2: s = 1, c = 0, m_c + m_p = 1.1: (2 + .1 * 4)/1.1 and 1.1 * 9.81/1.1
    ("cartpole", [7, pi / 2, 5, 2], [2], [5, 2, 2.4 / 1.1, 9.81]),
    # theta = pi: s = 0, c = -1: (2 + 0)/1 and (2 + 0)/1
    ("cartpole", [0, pi, 0, 2], [2], [0, 2, 2, 2]),
    # theta = pi/2, u1 + u2 = .972 = 2 m: x'' = -2, y'' = -g, theta'' = .25/.00383 * (-.383/10)
    ("quadrotor2d", [1, 2, pi / 2, 3, 4, 5], [0.46685, 0.50515], [3, 4, 5, -2, -9.81, -2.5]),
    # theta = pi/2: x' = -y_dot, y' = x_dot, then 4 * 5 - 9.8, -3 * 5 + 8/4, .25/.0475 * .38
    ("pvtol", [1, 2, pi / 2, 3, 4, 5], [4.19, 3.81], [-4, 3, 5, 10.2, -13, 2]),
    # theta = pi: -4 * 5 - 0 and -3 * 5 - 9.8 * (-1) + 8/4
    ("pvtol", [0, 0, pi, 3, 4, 5], [4, 4], [-3, -4, 5, 20, -3.2, 0]),
    # theta = pi/2: (-.1 * 11.2 - 5.6)/11.2, (-.1 * 22.4 + 2.31)/11.2 - .28, .156 * 2.31/.0462
    ("ducted_fan", [1, 2, pi / 2, 11.2, 22.4, 5], [2.31, 5.6], [11.2, 22.4, 5, -0.6, 0.07 / 11.2 - 0.28, 7.8]),
    ("ducted_fan", [0, 0, 0, 0, 0, 0], [1.12, 11.2], [0, 0, 0, 0.1, 0.72, 0.156 * 1.12 / 0.0462]),
    ("tora", [3, 2, pi / 2, 5], [-7], [2, -2.9, 5, -7]),
    # 3 g / 2 l = 15, 3 / (m l^2) = 3
    ("gym_pendulum", [pi / 2, 3], [2], [3, 21]),
    ("safety_cstr", [1, 2, -1, 10], [-50], [0.9506, -0.0484 + 1.9886, -0.9909, 0.697 + 0.1356 + 10.03 + 0.035]),
    # T = 350: both rates are k C_A with k = 7.2e10 exp(-25); h / (rho C_p) = 50000 / 239, UA / (V rho C_p) = 500 / 239
    ("cstr", [0.1, 0], [2.39], [-0.1 - 7.2e9 * exp(-25), 50000 / 239 * 7.2e9 * exp(-25) + 5]),
]


def test_reactor_in_deviations_is_the_reactor_in_its_own_units():
    plant, rate = systems.load("cstr"), 7.2e10 * exp(-25)
    c_s, t_s = 1 / (1 + rate), 350.0
    coolant = t_s - 100 * rate * c_s
    for x in random_states(plant, 20):
        u = RNG.uniform(-20, 20)
        c, t = c_s + x[0], t_s + x[1]
        r = 7.2e10 * exp(-8750 / t) * c
        assert plant.rhs(x, [u]) == pytest.approx([1 - c - r, 350 - t + 50000 / 239 * r + 500 / 239 * (coolant + u - t)], abs=1e-9)


@pytest.mark.parametrize(("name", "x", "u", "expected"), BY_HAND)
def test_values_computed_by_hand(name, x, u, expected):
    assert systems.load(name).rhs(x, u) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", systems.names())
def test_equilibrium_is_one(name):
    plant = systems.load(name)
    assert plant.rhs(plant.rest[0]) == pytest.approx(0, abs=1e-12)
    assert (plant.clip(plant.rest[1]) == plant.rest[1]).all()


def test_equilibrium_follows_the_parameters():
    path = systems.load("path_tracking")
    assert path.equilibrium[1] == ("1/10",)
    tighter = path.with_parameters(R="4", L="0.5")
    assert tighter.equilibrium[1] == ("1/8",)
    assert tighter.rhs([3.0, 0.0]) == pytest.approx(0, abs=1e-15)
    assert path.with_parameters(R=("5", "15")).equilibrium[1] == ("1/10",)
    heavy = systems.load("quadrotor2d").with_parameters(m="1", g="10")
    assert heavy.equilibrium[1] == ("5", "5")


@pytest.mark.parametrize("name", systems.names())
def test_linearization_agrees_with_central_differences(name):
    plant = systems.load(name)
    h = 1e-6
    for x in random_states(plant, 5):
        u = plant.rest[1] + RNG.uniform(-0.5, 0.5, len(plant.inputs))
        system = plant.linearize(x, u)
        steps_x, steps_u = h * np.eye(len(x)), h * np.eye(len(u))
        slope_x = [(plant.rhs(x + e, u) - plant.rhs(x - e, u)) / (2 * h) for e in steps_x]
        slope_u = [(plant.rhs(x, u + e) - plant.rhs(x, u - e)) / (2 * h) for e in steps_u]
        np.testing.assert_allclose(np.array(slope_x).T, system.A, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(np.array(slope_u).reshape(len(u), len(x)).T, system.B, rtol=1e-5, atol=1e-4)


def test_linearization_keeps_names_and_default_point():
    system = systems.load("pendulum").linearize()
    assert (system.state_labels, system.input_labels, system.dt) == (["theta", "omega"], ["u"], 0)
    np.testing.assert_allclose(system.A, [[0, 1], [19.62, -8 / 3]], rtol=1e-14)
    np.testing.assert_allclose(system.B, [[0], [80 / 3]], rtol=1e-14)


def test_cartpole_conserves_energy_for_the_stated_frame():
    """Kinetic and potential energy with the pole tip at x + l sin(theta); the mirrored tip would not conserve it."""
    plant = systems.load("cartpole")
    _, theta, v, w = plant.simulate([0, 2.0, 0.3, -0.5], t_end=3.0).states.T

    def energy(side: float) -> np.ndarray:
        speed = (v + side * w * np.cos(theta))**2 + (w * np.sin(theta))**2
        return 0.5 * v**2 + 0.05 * speed + 0.1 * 9.81 * np.cos(theta)

    assert np.ptp(energy(1.0)) < 1e-6
    assert np.ptp(energy(-1.0)) > 0.1


@pytest.mark.threat("T14")
def test_quadrotor_adapter_maps_to_the_order_and_sign_of_safe_control_gym():
    plant = systems.load("quadrotor2d")
    assert to_safe_control_gym([1, 2, 3, 4, 5, 6]).tolist() == [1, 4, 2, 5, -3, -6]
    for x in random_states(plant, 5):
        u = RNG.uniform(0, 5, 2)
        _, vx, _, vz, theta, w = to_safe_control_gym(x)
        theirs = [vx, np.sin(theta) * u.sum() / 0.486, vz, np.cos(theta) * u.sum() / 0.486 - 9.81, w, 0.25 / 0.00383 * (u[1] - u[0])]
        assert to_safe_control_gym(plant.rhs(x, u)) == pytest.approx(theirs)
        assert from_safe_control_gym(to_safe_control_gym(x)).tolist() == x.tolist()


def test_pvtol_is_the_quadrotor_seen_from_its_body():
    """Inertial accelerations of both agree once the body's velocity is turned, for equal constants."""
    quad = systems.load("quadrotor2d").with_parameters(m="4", I="0.0475", g="9.8", thrust_max="39.2")
    plant = systems.load("pvtol")
    for x in random_states(plant, 5):
        u, turn = RNG.uniform(0, 30, 2), np.array([[np.cos(x[2]), -np.sin(x[2])], [np.sin(x[2]), np.cos(x[2])]])
        inertial = np.concatenate([x[:3], turn @ x[3:5], x[5:]])
        rates, theirs = plant.rhs(x, u), quad.rhs(inertial, u)
        assert rates[[0, 1, 2, 5]] == pytest.approx(theirs[[0, 1, 2, 5]])
        assert turn @ (rates[3:5] + x[5] * np.array([-x[4], x[3]])) == pytest.approx(theirs[3:5])


@pytest.mark.threat("T14")
def test_order_of_states_and_names_are_binding():
    order = {name: [s.name for s in systems.load(name).states] for name in systems.names()}
    assert order == {
        "double_integrator": ["x", "v"], "van_der_pol": ["x1", "x2"], "reversed_van_der_pol": ["x1", "x2"], "pendulum": ["theta", "omega"],
        "path_tracking": ["d", "theta"], "cartpole": ["x", "theta", "x_dot", "theta_dot"],
        **{name: ["x", "y", "theta", "x_dot", "y_dot", "theta_dot"] for name in ("quadrotor2d", "pvtol", "ducted_fan")},
        "tora": ["x1", "x2", "x3", "x4"],
        "gym_pendulum": ["theta", "omega"], "safety_cstr": ["C_A", "C_B", "C_S", "T"], "cstr": ["C_A", "T"]}
    limits = {name: {limit.removeprefix("-") for u in systems.load(name).inputs for limit in (u.lo, u.hi)} for name in systems.names()}
    assert limits == {
        "double_integrator": {"input_limit"}, "van_der_pol": {"input_limit"}, "reversed_van_der_pol": set(), "pendulum": {"torque_limit"},
        "path_tracking": {"steering_limit"}, "cartpole": {"force_limit"}, "quadrotor2d": {"0", "thrust_max"},
        "pvtol": {"0", "thrust_max"}, "ducted_fan": {"side_limit", "0", "thrust_max"}, "tora": {"input_limit"},
        "gym_pendulum": {"torque_limit"}, "safety_cstr": {"input_limit"}, "cstr": {"input_limit"}}


def test_inputs_are_clipped_by_the_plant():
    plant = systems.load("pendulum").with_parameters(torque_limit="2")
    assert plant.clip([[5.0], [-9.0], [1.5]]).tolist() == [[2.0], [-2.0], [1.5]]
    assert systems.load("quadrotor2d").clip([-1.0, 9.0]).tolist() == [0.0, 5.959575]


def test_batches_are_evaluated_row_by_row():
    for name in systems.names():
        plant = systems.load(name)
        x, u = random_states(plant, 4), RNG.uniform(0, 1, (4, len(plant.inputs)))
        assert plant.rhs(x, u).tolist() == [plant.rhs(a, b).tolist() for a, b in zip(x, u, strict=True)]


def test_description_names_signals_units_limits_and_equations():
    text = systems.load("pendulum").describe()
    for part in ("theta [rad, angle]", "u [N*m]", "torque_limit = 6 [N*m]", "omega' = g / l * sin(theta) - b / (m * l^2) * omega + u / (m * l^2)"):
        assert part in text
    assert "l = [0.4, 0.6] (unknown constant)" in systems.load("pendulum").with_parameters(l=("0.4", "0.6")).describe()


def test_importing_the_package_needs_neither_casadi_nor_control():
    code = ("import sys, systems\nassert systems.plant_json_path('pendulum').is_file()\n"
            "import systems.describe, systems.signals, systems.simulation\n"
            "assert not {'casadi', 'control', 'scipy'} & set(sys.modules), sorted(sys.modules)")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_missing_casadi_is_one_sentence():
    code = ("import sys\nsys.modules['casadi'] = None\nimport systems\n"
            "try:\n    systems.load('pendulum')\nexcept ImportError as error:\n    assert 'certctl[model]' in str(error), error\n"
            "else:\n    raise SystemExit(1)")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
