"""What imitation learns from: data sets are read with names and units or refused with the place, and experts are what they claim to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from certctl.cli.main import run
from certctl.learners.lipschitz.demonstrations import BadData, Demonstrations, read_demonstrations, signals_of
from certctl.learners.lipschitz.experts import ask, clipped, from_callable, open_expert, spread_states
from certctl.learners.lipschitz.problem import open_problem
from systems import pendulum
from verifiers.kernel.codes import Refusal
from verifiers.load.floats import evaluate

ROWS = "0.1,0.2,-1\n-0.3,1e-3,0.5\n0,0,0\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plant():
    return open_problem("pendulum", domain=(("-1", "-3"), ("1", "3")), parameters={"torque_limit": "1"})


@pytest.fixture(scope="module")
def cart():
    return open_problem("double_integrator", domain=(("-2", "-2"), ("2", "2")), time="discrete", dt="1/10", method="rk4")


# data sets


def test_columns_are_picked_by_name_in_the_plants_order(tmp_path, plant):
    path = write(tmp_path / "d.csv", "u [N*m],omega [rad/s],theta\n" + ROWS)
    data = read_demonstrations(path, problem=plant)
    assert data.states.tolist() == [[-1.0, 0.2], [0.5, 1e-3], [0.0, 0.0]] and data.inputs[:, 0].tolist() == [0.1, -0.3, 0.0]
    assert data.state_signals == (("theta", "rad"), ("omega", "rad/s")) and data.input_signals == (("u", "N*m"),)


@pytest.mark.threat("T14")
@pytest.mark.parametrize(("text", "says"), [
    ("theta [deg],omega [rad/s],u\n" + ROWS, "convert the data"), ("theta,u\n1,2\n3,4\n", "no column 'omega'"),
    ("theta,omega,theta\n" + ROWS, "no heading of its own"), ("theta,omega,u\n1,2\n3,4,5\n", "line 2: 2 cells under 3"),
    ("theta,omega,u\n1,2,x\n3,4,5\n", "line 2"), ("theta,omega,u\n1,2,nan\n3,4,5\n", "row 1 holds"), ("theta,omega,u\n1,2,3\n", "at least two rows"),
])
def test_what_is_wrong_with_a_csv_file_is_said_with_its_place(tmp_path, plant, text, says):
    with pytest.raises(BadData, match=says):
        read_demonstrations(write(tmp_path / "d.csv", text), problem=plant)


def test_without_a_plant_the_inputs_are_named(tmp_path):
    path = write(tmp_path / "d.csv", "a [m],force [N],b\n" + ROWS)
    data = read_demonstrations(path, inputs=["force"])
    assert data.state_signals == (("a", "m"), ("b", "")) and data.input_signals == (("force", "N"),)
    with pytest.raises(BadData, match="name them with --inputs"):
        read_demonstrations(path)
    with pytest.raises(BadData, match="no column 'pull'"):
        read_demonstrations(path, inputs=["pull"])


def test_archives_come_back_as_they_were_saved(tmp_path, plant):
    rng = np.random.default_rng(0)
    data = Demonstrations(rng.normal(size=(9, 2)), rng.normal(size=(9, 1)), *signals_of(plant))
    again = read_demonstrations(data.save(tmp_path / "d.npz"), problem=plant)
    assert (again.states == data.states).all() and (again.inputs == data.inputs).all() and again.state_signals == data.state_signals
    np.savez(tmp_path / "swapped.npz", states=data.states, inputs=data.inputs, state_names=np.array(["omega", "theta"]))
    with pytest.raises(BadData, match="'omega' stands where pendulum has 'theta'"):
        read_demonstrations(tmp_path / "swapped.npz", problem=plant)
    np.savez(tmp_path / "wide.npz", states=data.states[:, :1], inputs=data.inputs)
    with pytest.raises(BadData, match="has 1 states, pendulum has 2"):
        read_demonstrations(tmp_path / "wide.npz", problem=plant)


@pytest.mark.parametrize("name", ["d.npz", "d.xlsx", "gone.csv"])
def test_files_that_are_no_data_are_refused(tmp_path, name):
    if "gone" not in name:
        write(tmp_path / name, "no data")
    with pytest.raises(BadData):
        read_demonstrations(tmp_path / name, inputs=["u"])


def test_parquet_is_read_where_pyarrow_is_there(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"a [m]": [1.0, 2.0], "u": [3.0, 4.0]}), tmp_path / "d.parquet")
    assert read_demonstrations(tmp_path / "d.parquet", inputs=["u"]).inputs[:, 0].tolist() == [3.0, 4.0]


def test_the_steepest_pair_is_found():
    x = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.5]])
    data = Demonstrations(x, np.array([[0.0], [1.0], [2.0]]), (("a", ""), ("b", "")), (("u", ""),))
    assert data.steepest() == pytest.approx(2.0)
    twice = Demonstrations(np.zeros((2, 2)), np.array([[0.0], [1.0]]), data.state_signals, data.input_signals)
    assert twice.steepest() == np.inf


# the plant that is asked about


def test_limits_rest_and_step_are_those_of_the_plant(plant):
    assert [v.tolist() for v in plant.limits] == [[-1.0], [1.0]] and plant.rest[1].tolist() == [0.0]
    track = open_problem("path_tracking", domain=(("-1", "-1"), ("1", "1")))
    assert track.rest[1] == pytest.approx([0.1], abs=1e-15)
    sampled = open_problem("pendulum", parameters={"torque_limit": "1"}, time="discrete", dt="1/20", method="rk4")
    own = pendulum.plant().with_parameters(torque_limit="1").discretize("rk4", "1/20")
    x, u = np.random.default_rng(0).normal(size=(20, 2)), np.random.default_rng(1).normal(size=(20, 1)) * 3
    assert np.allclose(evaluate(sampled.step, x, u), own.rhs(x, own.clip(u)), atol=1e-13)


@pytest.mark.parametrize("wrong", [{"domain": (("-1",), ("1",))}, {"domain": (("1", "1"), ("2", "2"))}, {"domain": (("1", "-1"), ("-1", "1"))}])
def test_a_domain_that_does_not_fit_is_refused(wrong):
    with pytest.raises(ValueError, match="domain"):
        open_problem("pendulum", **wrong)


def test_a_plant_without_inputs_or_with_a_wrong_parameter_is_refused():
    with pytest.raises(ValueError, match="no inputs"):
        open_problem("reversed_van_der_pol")
    with pytest.raises(Refusal, match="no parameter"):
        open_problem("pendulum", parameters={"mass": "1"})


# experts


def test_lqr_is_the_saturated_gain(plant, tmp_path):
    expert = open_expert(f"lqr:{write(tmp_path / 'w.toml', 'Q = [10, 1]' + chr(10) + 'R = [2.5]' + chr(10))}", plant)
    a, b = plant.jacobians(*plant.rest)
    assert (np.linalg.eigvals(a - b @ expert.gain).real < 0).all()
    x = np.array([[0.01, 0.02], [1.0, 3.0], [-1.0, -3.0]])
    assert np.allclose(expert.answer(x), np.clip(-x @ expert.gain.T, -1, 1)) and expert.answer(x)[1:, 0].tolist() == [-1.0, 1.0]


def test_mpc_without_active_limits_is_the_discrete_lqr(cart):
    """With the Riccati cost at its end, the horizon does not matter: a known answer, to the solver's tolerance."""
    pytest.importorskip("casadi")
    near = np.random.default_rng(0).uniform(-0.2, 0.2, (5, 2))
    assert np.allclose(open_expert("mpc", cart).answer(near), open_expert("lqr", cart).answer(near), atol=1e-6)


def test_mpc_keeps_the_limits(cart):
    pytest.importorskip("casadi")
    low, high = cart.limits
    u = open_expert("mpc", cart).answer(np.array([[2.0, 2.0], [-2.0, -2.0]]))
    assert (u >= low).all() and (u <= high).all() and u[0, 0] == low[0] and u[1, 0] == high[0]


def test_states_without_an_answer_are_left_out(plant):
    expert = from_callable(lambda x: np.where(x[:, :1] > 0, np.nan, 5 * x[:, 1:]), plant)
    states, given, unanswered = ask(expert, spread_states(plant, 64, 0))
    assert len(states) == len(given) == 64 - unanswered and (states[:, 0] <= 0).all() and (given == clipped(plant, 5 * states[:, 1:])).all()
    with pytest.raises(BadData, match="no answer"):
        ask(from_callable(lambda x: x[:, :1] * np.nan, plant), spread_states(plant, 8, 0))


def test_states_are_spread_over_the_domain_with_the_equilibrium_first(plant):
    states = spread_states(plant, 200, 3)
    lo, hi = plant.box
    assert states.shape == (200, 2) and (states[0] == 0).all() and (states >= lo).all() and (states <= hi).all()
    assert (np.histogram2d(*states.T, bins=4)[0] >= 5).all()


@pytest.mark.parametrize("text", ["pid", "onnx:gone.onnx", "python:numpy", "python:no_such_module:f", "python:numpy:shape", "lqr:gone.toml",
                                  "sb3:PPO:gone.zip"])
def test_experts_that_do_not_exist_are_refused(plant, text):
    with pytest.raises((BadData, Refusal, ImportError)):
        open_expert(text, plant)


@pytest.mark.parametrize("text", ['Q = ["a", 1]', "Q = [1]", "horizon = 0", "gain = [1]", "Q = [[1, 2], [3, 4]]"])
def test_weights_that_make_no_sense_are_refused(tmp_path, plant, text):
    with pytest.raises(BadData):
        open_expert(f"lqr:{write(tmp_path / 'w.toml', text)}", plant)


# the command's own refusals


@pytest.mark.parametrize(("arguments", "says"), [
    ([], "give --data"), (["--expert", "lqr"], "needs the plant"), (["--data", "d.csv", "--dagger", "1"], "asks an expert"),
    (["--data", "d.csv", "--domain", "0:1"], "--domain is about a plant"), (["--data", "gone.csv"], "there is no data set"),
    (["--data", "gone.csv", "--name", "../x"], "make a stem"), (["--data", "gone.csv", "--hidden", "a"], "numbers of neurons"),
    (["--plant", "nothing", "--expert", "lqr"], "there is no plant"), (["--plant", "pendulum", "--expert", "pid"], "is none of"),
])
def test_calls_that_contradict_themselves_are_usage_errors(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert run(["learn", "lipschitz-imitation", "-o", "out", "--bound", "1", *arguments]) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("bound", ["0", "-1", "fast", "1,1", ""])
def test_bounds_that_are_no_bounds_are_usage_errors(tmp_path, monkeypatch, bound):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "d.csv", "a,u\n1,2\n3,4\n")
    assert run(["learn", "lipschitz-imitation", "-o", "out", f"--bound={bound}", "--data", "d.csv", "--inputs", "u"]) == 2
    assert not (tmp_path / "out").exists()


def test_help_lists_the_method():
    from certctl.cli.main import app

    assert "lipschitz-imitation" in CliRunner().invoke(app, ["learn", "--help"]).output
