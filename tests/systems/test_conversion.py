"""Plants from python-control and CasADi, and back."""

from __future__ import annotations

import json
from fractions import Fraction

import casadi as ca
import control
import numpy as np
import pytest

import systems
from systems import Input, Parameter, Plant, State
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.plant import closed_loop, read_plant
from verifiers.load.floats import evaluate
from verifiers.load.plant import plant_graph

BOX2 = (["-1", "-1"], ["1", "1"])


def linear(a=((0.5, 0.1), (0.0, 0.9)), b=((0.0,), (1.0,)), dt=0.1) -> control.StateSpace:
    return control.StateSpace(np.array(a), np.array(b), np.eye(2), 0, dt, states=["p", "q"], inputs=["f"])


# what must be refused ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("system", "options", "message"), [
    (linear(dt=None), {}, "unspecified"), (linear(), {"dt": "1/9"}, "contradicts"), (linear(dt=0), {"dt": "1/10"}, "contradicts"),
    (linear(dt=True), {"dt": "1/10"}, "contradicts"), (linear(), {"domain": (["-1"], ["1"])}, "2 states"),
    (linear(), {"limits": [(None, None)] * 2}, "zip"), (linear(), {"limits": [("2", "1")]}, "limits 2 > 1"),
])
def test_a_system_that_contradicts_itself_is_refused(system, options, message):
    with pytest.raises(ValueError, match=message):
        Plant.from_control(system, **{"name": "mine", "domain": BOX2, **options})


@pytest.mark.threat("T08")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite_is_refused(bad):
    system = linear()
    system.A[0, 0] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        Plant.from_control(system, name="mine", domain=BOX2)


@pytest.mark.parametrize("sizes", [(2,), (2, 2), (2, 1, 1), (2, 1, 0, 1), (1, 1)])
def test_a_function_of_other_sizes_is_refused(sizes):
    arguments = [ca.SX.sym("z", k) for k in sizes]
    function = ca.Function("f", arguments, [ca.vertcat(arguments[0][0], arguments[0][0])])
    with pytest.raises(ValueError, match="are expected"):
        Plant.from_casadi(function, name="mine", states=[State("a", "1"), State("b", "1")], inputs=[Input("u", "1")], equilibrium=(["0", "0"], ["0"]),
                          domain=BOX2)


# there and back ------------------------------------------------------------------------------------------------------

def test_a_linear_system_keeps_names_units_and_the_exact_values_of_its_floats():
    plant = Plant.from_control(linear(), name="mine", domain=BOX2, limits=[("-3", "3")], units={"p": "m"}, angles=["q"])
    data = json.loads(plant.to_json())
    assert data["states"] == [{"name": "p", "unit": "m", "angle": False}, {"name": "q", "unit": "1", "angle": True}]
    assert data["inputs"] == [{"name": "f", "unit": "1", "lo": "-3", "hi": "3"}]
    assert (data["time"], data["dt"]) == ("discrete", "1/10")
    weight = plant_graph(read_plant(data), {}).nodes[-1].data.rational()[0]
    assert weight == ((Fraction(0.5), Fraction(0.1), 0), (0, Fraction(0.9), 1))


def test_a_linear_system_comes_back_as_it_was():
    for dt in (0, 0.1, 1.0, True):
        system = linear(dt=dt)
        back = Plant.from_control(system, name="mine", domain=BOX2).linearize()
        assert (back.A.tolist(), back.B.tolist()) == (system.A.tolist(), system.B.tolist())
        assert (back.dt, back.state_labels, back.input_labels) == (dt, ["p", "q"], ["f"])


def test_names_of_python_controls_making_can_be_written():
    system = control.StateSpace(np.diag([0.5, 0.2]), np.ones((2, 1)), np.eye(2), 0, True)
    data = json.loads(Plant.from_control(system, name="mine", domain=BOX2).to_json())
    assert ([s["name"] for s in data["states"]], data["dt"]) == (["x[0]", "x[1]"], None)
    assert len(read_plant(data).states) == 2


def test_the_nonlinear_system_clips_and_follows_its_parameters():
    plant = systems.load("pendulum")
    system = plant.to_control()
    assert (system.state_labels, system.input_labels, system.output_labels) == (["theta", "omega"], ["u"], ["theta", "omega"])
    x, u = np.array([0.3, -0.2]), np.array([50.0])
    assert system.dynamics(0, x, u) == pytest.approx(plant.rhs(x, [6.0]))
    lighter = plant.with_parameters(m="0.1", torque_limit="2")
    assert system.dynamics(0, x, u, {"m": 0.1, "torque_limit": 2.0}) == pytest.approx(lighter.rhs(x, [2.0]))
    assert systems.load("reversed_van_der_pol").to_control().dynamics(0, np.array([2.0, 1.0]), np.array([])) == pytest.approx([-1, 5])
    np.testing.assert_allclose(system.linearize([0, 0], [0]).A, plant.linearize().A, atol=1e-5)


@pytest.mark.parametrize("kind", [ca.SX, ca.MX])
def test_a_casadi_function_gives_the_plant_that_it_is(kind):
    x, u, p = kind.sym("x", 2), kind.sym("u"), kind.sym("p", 2)
    f = ca.Function("f", [x, u, p], [ca.vertcat(x[1], p[0] * ca.sin(x[0]) - p[1] * x[1] + u)])
    plant = Plant.from_casadi(f, name="mine", states=[State("a", "rad", angle=True), State("w", "rad/s")], inputs=[Input("u", "N*m", "-2", "k")],
                              parameters=[Parameter("k", "1/s^2", "3"), Parameter("c", "1/s", ("0.1", "0.3"))],
                              equilibrium=(["0", "0"], ["0"]), domain=BOX2)
    points, commands = np.random.default_rng(1).uniform(-1, 1, (10, 2)), np.random.default_rng(2).uniform(-1, 1, (10, 1))
    expected = np.array([np.asarray(f(a, b, [3, 0.2])).ravel() for a, b in zip(points, commands, strict=True)])
    spec = read_plant(json.loads(plant.to_json()))
    assert evaluate(plant_graph(spec, {}), points, commands) == pytest.approx(expected, abs=1e-15)
    assert spec.parameters["c"] == (Fraction(1, 10), Fraction(3, 10))
    assert plant.with_parameters(k="4").rhs([1.0, 0.0], [0.0]) == pytest.approx([0, 4 * np.sin(1)])


def test_an_autonomous_function_with_a_sparse_output_is_taken():
    x = ca.MX.sym("x", 2)
    f = ca.Function("f", [x], [ca.vertcat(-x[0], ca.MX(1, 1))])
    plant = Plant.from_casadi(f, name="mine", states=[State("a", "1"), State("b", "1")], equilibrium=(["0", "0"], []), domain=BOX2)
    assert plant.rhs([2.0, 3.0]).tolist() == [-2.0, 0.0]
    assert evaluate(plant_graph(read_plant(json.loads(plant.to_json())), {}), [2.0, 3.0]).tolist() == [-2.0, 0.0]


@pytest.mark.parametrize("horizon", [10, 13, 15, 20])
def test_published_linear_loops_are_expressed_exactly(cases, horizon):
    """The closed map is A + B K in exact rationals, and its spectral radius is the published one."""
    case = json.loads((cases / "linear" / f"d2oc_H{horizon}.json").read_text())
    a, b, k = (np.array(case[key]) for key in "ABK")
    system = control.StateSpace(a, b, np.eye(8), 0, dt=0.1, states=case["states"])
    plant = Plant.from_control(system, name="d2oc_agent", domain=(["-1"] * 8, ["1"] * 8))
    builder = Builder()
    law = builder.build([builder.affine(builder.input(8), Affine(k, np.zeros(2)))])
    loop = closed_loop(read_plant(json.loads(plant.to_json())), law, {}, time="discrete", dt=Fraction(case["dt"]), method=None)
    steps = np.column_stack([evaluate(loop.field, e) for e in np.eye(8)])
    assert np.abs(np.linalg.eigvals(steps)).max() == pytest.approx(case["spectral_radius_of_A_plus_BK"], rel=1e-9)
    weight = loop.field.nodes[-1].data.rational()[0]
    assert [list(row[:8]) for row in weight] == [[Fraction(v) for v in row] for row in a.tolist()]
    assert loop.limits == ((None, None), (None, None))
