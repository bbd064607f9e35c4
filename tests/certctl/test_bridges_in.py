"""Policies and plants that come in: each is what it came from, a lost term is noticed, and what cannot be brought in says why."""

from __future__ import annotations

import numpy as np
import pytest

from certctl.bridges.imported import NotAlike, brought_in, cos_sin, parity, spread
from certctl.bridges.networks import examine_onnx
from systems import Input, Parameter, Plant, State
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load import onnx_bytes as wire
from verifiers.load.floats import evaluate

LO, HI = [-2.0, -3.0], [2.0, 3.0]


def affine(weight: list[list[float]]) -> object:
    b = Builder()
    return b.build([b.affine(b.input(2), Affine(np.array(weight), np.zeros(len(weight))))])


# what all bridges share


def test_parity_finds_the_largest_difference_and_where():
    points = spread(LO, HI)
    found = parity(lambda x: x[:, :1], lambda x: x[:, :1] + 1e-7 * x[:, 1:], points, 1e-5)
    assert found.largest == pytest.approx(3e-7, rel=1e-3) and abs(found.at[1]) == pytest.approx(3.0, rel=1e-3) and found.points == len(points)
    assert "3e-07" in str(found)


@pytest.mark.threat("T14")
@pytest.mark.threat("T08")
@pytest.mark.parametrize("built", [
    lambda x: x[:, :1] * -1, lambda x: x[:, 1:], lambda x: x[:, :1] + 1e-3, lambda x: x[:, :1] * np.nan, lambda x: x, lambda x: x[:10, :1]])
def test_what_is_not_alike_is_refused(built):
    with pytest.raises(NotAlike):
        parity(lambda x: x[:, :1], built, spread(LO, HI), 1e-5)


def test_a_lost_term_in_the_file_is_refused():
    with pytest.raises(NotAlike):
        brought_in(affine([[1.0, 2.0]]), lambda x: x[:, :1] + 2.1 * x[:, 1:], spread(LO, HI), 1e-4)


def test_a_box_without_inside_is_refused():
    for lo, hi in (([0.0], [0.0]), ([0.0], [np.inf]), ([0.0, 1.0], [1.0])):
        with pytest.raises(ValueError, match="no inside"):
            spread(lo, hi)


def test_cos_and_sin_of_angles():
    x = np.array([[0.3, 2.0]])
    assert np.allclose(evaluate(cos_sin([True, False]), x), [[np.cos(0.3), np.sin(0.3), 2.0]])


# ONNX of other exporters: the operators that they write, in their order


def _file(nodes: list[bytes], tensors: list[bytes], opset: int = 13) -> bytes:
    return wire.model(nodes, tensors, wire.value_info("x", wire.FLOAT, (1, 2)), wire.value_info("y", wire.FLOAT, (1, 1)), opset=opset)


def _floats(name: str, values: object) -> bytes:
    return wire.tensor(name, wire.FLOAT, np.array(values, dtype=np.float32))


def keras() -> bytes:
    """tf2onnx of Dense(3, relu), Dense(1, tanh): MatMul, Add, activation, Identity."""
    n = wire.node
    return _file([n("MatMul", ["x", "w:0"], ["a"]), n("Add", ["a", "b:0"], ["c"]), n("Relu", ["c"], ["d"]), n("MatMul", ["d", "v:0"], ["e"]),
                  n("Add", ["e", "z:0"], ["f"]), n("Tanh", ["f"], ["g"]), n("Identity", ["g"], ["y"])],
                 [_floats("w:0", [[1, 2, -1], [0, 1, 1]]), _floats("b:0", [0.5, 0, -0.5]), _floats("v:0", [[1], [-1], [0.25]]),
                  _floats("z:0", [0.1])])


def jax() -> bytes:
    """A dense layer with ReLU as Max with a constant, and a broadcast bias by Reshape and Expand."""
    n = wire.node
    shape = wire.tensor("shape", wire.INT64, np.array([1, 2], dtype=np.int64))
    return _file([n("MatMul", ["x", "w"], ["a"]), n("Reshape", ["b", "shape"], ["c"]), n("Expand", ["c", "shape"], ["d"]),
                  n("Add", ["a", "d"], ["e"]), n("Max", ["e", "zero"], ["f"]), n("MatMul", ["f", "v"], ["y"])],
                 [_floats("w", [[1, 2], [0, 1]]), _floats("b", [0.5, -1]), _floats("zero", 0.0), _floats("v", [[1], [-1]]), shape])


def matlab() -> bytes:
    """exportONNXNetwork of a feature input with z-score normalisation, fully connected layers and tanh: Sub, Div, Flatten, Gemm."""
    n = wire.node
    return _file([n("Sub", ["x", "mean"], ["a"]), n("Div", ["a", "std"], ["b"]), n("Flatten", ["b"], ["c"], axis=1),
                  n("Gemm", ["c", "w", "v"], ["d"], transB=1), n("Tanh", ["d"], ["e"]), n("Gemm", ["e", "u", "z"], ["y"], transB=1)],
                 [_floats("mean", [[0.5, 1]]), _floats("std", [[2, 4]]), _floats("w", [[1, -1], [0.5, 2]]), _floats("v", [0, 1]),
                  _floats("u", [[1, 1]]), _floats("z", [0.25])])


@pytest.mark.parametrize("made", [keras, jax, matlab])
def test_operators_of_other_exporters_are_read(made):
    ort = pytest.importorskip("onnxruntime")
    data, x = made(), spread(LO, HI, 200)
    found = examine_onnx(data)
    assert found.missing == () and found.folded is None and "as it is" in found.says and found.graph is not None
    session = ort.InferenceSession(data)
    values = np.concatenate([session.run(None, {"x": row[None].astype(np.float32)})[0] for row in x])
    assert parity(lambda _: values, lambda rows: evaluate(found.graph, rows.astype(np.float32).astype(np.float64)), x, 1e-5).largest < 1e-5


@pytest.mark.parametrize("op", ["Elu", "Selu", "Erf", "Softmax", "Einsum", "LSTM"])
def test_an_operator_off_the_list_is_named(op):
    found = examine_onnx(_file([wire.node(op, ["x"], ["y"])], []))
    assert found.missing == (op,) and found.graph is None and op in found.says


def test_bytes_that_are_no_onnx_say_so():
    assert examine_onnx(b"PK\x03\x04").graph is None and examine_onnx(b"\xff" * 40).graph is None


# CasADi


def test_a_casadi_controller_comes_in():
    ca = pytest.importorskip("casadi")
    from certctl.bridges.casadi_function import import_function

    x = ca.MX.sym("x", 2)
    law = ca.Function("law", [x], [ca.vertcat(ca.fmin(ca.fmax(-2 * x[0] - 0.3 * ca.sin(x[1]), -1), 1), x[0] * x[1] / (2 + x[1] ** 2))])
    found = import_function(law, lo=LO, hi=HI)
    assert found.parity.largest <= 1e-12 and found.graph.output_size() == 2
    assert read_onnx(found.data).graph.output_size() == 2
    with pytest.raises(ValueError, match="one of 3 entries"):
        import_function(law, lo=[0, 0, 0], hi=[1, 1, 1])
    with pytest.raises(Refusal) as no:
        import_function(ca.Function("law", [x], [ca.atan(x[0])]), lo=LO, hi=HI)
    assert no.value.code is Code.UNKNOWN_OPERATOR


# python-control


def motor(dt: float = 0) -> object:
    control = pytest.importorskip("control")
    system = control.ss([[0, 1], [4, -2]], [[0], [3]], [[1, 0]], 0, states=["phi", "omega"], inputs=["v"], outputs=["phi_m"], name="motor")
    return system if dt == 0 else control.c2d(system, dt, copy_names=True, name="motor")


@pytest.mark.parametrize("dt", [0, 0.05])
def test_a_linear_system_comes_in(dt):
    from certctl.bridges.python_control import import_system

    plant, found = import_system(motor(dt), name="motor", domain=(["-1", "-5"], ["1", "5"]), limits=[("-12", "12")])
    assert found.largest <= 1e-12 and len(plant.states) == 2
    assert plant.time == ("continuous" if dt == 0 else "discrete")


@pytest.mark.parametrize("dt", [0, 0.05])
def test_an_interconnected_loop_comes_in(dt):
    control = pytest.importorskip("control")
    from certctl.bridges.python_control import import_system

    gain = control.ss(np.zeros((0, 0)), np.zeros((0, 1)), np.zeros((1, 0)), [[-3.0]], dt, inputs=["phi_m"], outputs=["v"], name="gain")
    push = control.summing_junction(["u", "d"], "v", name="push")
    gain.set_outputs(["u"])
    loop = control.interconnect([motor(dt), gain, push], inputs=["d"], outputs=["phi_m"], name="loop")
    plant, found = import_system(loop, name="loop", domain=(["-1", "-5"], ["1", "5"]), inputs=[])
    assert found.largest <= 1e-12 and plant.inputs == () and len(plant.states) == 2
    assert np.abs(plant.rhs([0.3, 1.0]) - loop.dynamics(0, np.array([0.3, 1.0]), [0.0])).max() < 1e-12
    pushed, found = import_system(loop, name="loop", domain=(["-1", "-5"], ["1", "5"]))
    assert found.largest <= 1e-12 and [i.name for i in pushed.inputs] == ["d"]
    with pytest.raises(ValueError, match="no input q"):
        import_system(loop, name="loop", domain=(["-1", "-5"], ["1", "5"]), inputs=["q"])


def test_a_nonlinear_system_is_sent_to_casadi():
    control = pytest.importorskip("control")
    from certctl.bridges.python_control import import_system

    system = control.NonlinearIOSystem(lambda t, x, u, p: -x**3, None, states=1, inputs=0, outputs=1)
    with pytest.raises(ValueError, match="from_casadi"):
        import_system(system, name="cubic", domain=(["-1"], ["1"]))


@pytest.mark.parametrize("dt", [0, 0.05])
def test_an_observer_stands_in_the_loop(dt):
    control = pytest.importorskip("control")
    from certctl.bridges.python_control import import_gain, observer_loop, on_estimate

    system = motor(dt)
    gain = control.lqr(system, np.eye(2), np.eye(1))[0] if dt == 0 else control.dlqr(system, np.eye(2), np.eye(1))[0]
    dual = control.ss(system.A.T, system.C.T, np.eye(2), np.zeros((2, 1)), dt)
    observer = (control.lqr if dt == 0 else control.dlqr)(dual, np.eye(2), np.eye(1))[0].T
    plant, found = observer_loop(system, observer, name="observed", domain=(["-1", "-5"] * 2, ["1", "5"] * 2), limits=[("-12", "12")])
    assert found.largest <= 1e-12 and len(plant.states) == 4 and plant.states[2].name.endswith("_hat")
    law = on_estimate(import_gain(-gain, lo=LO, hi=HI), lo=LO * 2, hi=HI * 2)
    linear = plant.linearize()
    weight = np.hstack([np.zeros((1, 2)), -gain])
    assert np.abs(evaluate(law.graph, np.array([[9.0, 9.0, 0.5, 0.25]])) - weight @ [9, 9, 0.5, 0.25]).max() < 1e-9
    poles = np.sort_complex(np.linalg.eigvals(linear.A + linear.B @ weight))
    expected = np.sort_complex(np.concatenate([np.linalg.eigvals(system.A - system.B @ gain), np.linalg.eigvals(system.A - observer @ system.C)]))
    assert np.abs(poles - expected).max() < 1e-6, "separation: the loop's poles are those of the regulator and of the observer"


def test_a_dynamic_controller_is_no_gain():
    from certctl.bridges.python_control import import_gain

    with pytest.raises(ValueError, match="states of its own"):
        import_gain(motor(), lo=LO, hi=HI)


# scikit-learn


def test_a_sklearn_network_comes_in_with_its_scaler():
    neural = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed here")
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler

    from certctl.bridges.networks import import_sklearn

    x = spread(LO, HI, 300)
    y = np.tanh(-x @ [2.0, 1.0])
    for activation in ("tanh", "relu", "logistic", "identity"):
        for scaler in (StandardScaler(), MinMaxScaler()):
            last = neural.MLPRegressor(hidden_layer_sizes=(6, 5), activation=activation, max_iter=40, random_state=0)
            network = make_pipeline(scaler, last).fit(x, y)
            found = import_sklearn(network, lo=LO, hi=HI)
            assert found.parity.largest < 1e-4 and type(scaler).__name__ in found.notes[0]
    for wrong in (Ridge().fit(x, y), make_pipeline(PolynomialFeatures(), neural.MLPRegressor(hidden_layer_sizes=(3,), max_iter=5)).fit(x, y)):
        with pytest.raises(ValueError, match=r"controllers|cannot be brought in"):
            import_sklearn(wrong, lo=LO, hi=HI)


# torch and Stable-Baselines3


def test_a_torch_module_comes_in():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here (the extra learn brings it)")
    from certctl.bridges.networks import import_module

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    found = import_module(module, lo=LO, hi=HI)
    assert found.parity.largest < 1e-5 and module.training


@pytest.fixture(scope="module")
def rl() -> object:
    """stable_baselines3, or skip."""
    pytest.importorskip("torch", reason="PyTorch is not installed here (the extra rl brings it)")
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed here (the extra rl brings it)")
    return pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed here (the extra rl brings it)")


def pendulum(limit: str = "2") -> Plant:
    import systems

    return systems.load("pendulum").with_parameters(torque_limit=limit)


@pytest.mark.threat("T14")
@pytest.mark.parametrize("name", ["PPO", "A2C", "SAC", "TD3", "DDPG"])
@pytest.mark.parametrize("normalised", [False, True])
def test_a_policy_comes_in_with_everything_around_it(rl, name, normalised):
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from certctl.bridges.gymnasium_env import make_env
    from certctl.bridges.stable_baselines3 import import_policy

    env = DummyVecEnv([lambda: make_env(pendulum(), dt="1/20")])
    env = VecNormalize(env, clip_obs=1.5) if normalised else env
    model = getattr(rl, name)("MlpPolicy", env, policy_kwargs={"net_arch": [12, 8]}, seed=1)
    if normalised:
        env.reset()
        for _ in range(200):
            env.step(np.array([env.action_space.sample()]))
        env.obs_rms.mean[:] = [0.3, -0.2]
    found = import_policy(model, lo=[-3, -8], hi=[3, 8])
    assert found.parity.largest < 1e-4 and any(("are normalised in the graph" if normalised else "not normalised") in note for note in found.notes)
    assert float(np.abs(evaluate(found.graph, spread([-50, -50], [50, 50], 200))).max()) <= 2.0 + 1e-6
    if normalised:
        env.obs_rms.mean[:] = [0.0, 0.0]
        with pytest.raises(NotAlike):
            parity(lambda x: model.predict(env.normalize_obs(x.astype(np.float32)), deterministic=True)[0], lambda x: evaluate(found.graph, x),
                   spread([-1, -1], [1, 1]), 1e-4)


def test_squashed_and_state_dependent_noise_policies_come_in(rl):
    from certctl.bridges.gymnasium_env import make_env
    from certctl.bridges.stable_baselines3 import import_policy

    env = make_env(pendulum(), dt="1/20")
    for name in ("PPO", "SAC"):
        extra = {"squash_output": True} if name == "PPO" else {}
        model = getattr(rl, name)("MlpPolicy", env, use_sde=True, policy_kwargs={"net_arch": [8], **extra}, seed=0)
        assert "squashed" in import_policy(model, lo=LO, hi=HI).notes[-1]


def test_a_policy_on_cos_and_sin_comes_in(rl):
    import gymnasium

    from certctl.bridges.stable_baselines3 import import_policy

    model = rl.PPO("MlpPolicy", gymnasium.make("Pendulum-v1"), policy_kwargs={"net_arch": [8]}, seed=0)
    with pytest.raises(ValueError, match="observes 3 numbers"):
        import_policy(model, lo=LO, hi=HI)
    assert import_policy(model, lo=LO, hi=HI, observation=cos_sin([True, False])).parity.largest < 1e-4


def test_what_is_no_flat_policy_is_refused(rl):
    import gymnasium

    from certctl.bridges.stable_baselines3 import import_policy

    with pytest.raises(ValueError, match="only a Box"):
        import_policy(rl.PPO("MlpPolicy", gymnasium.make("CartPole-v1"), policy_kwargs={"net_arch": [4]}), lo=[-1] * 4, hi=[1] * 4)


# Gymnasium


def gym_pendulum() -> Plant:
    """Gymnasium's Pendulum-v1 as the map that its source has: semi-implicit Euler with g = 10, m = l = 1, dt = 1/20."""
    ca = pytest.importorskip("casadi")

    def step(x, u, p):
        faster = x.omega + (3 * p.g / (2 * p.l) * ca.sin(x.theta) + 3 / (p.m * p.l**2) * u.u) * p.dt
        return [x.theta + faster * p.dt, faster]

    return Plant.from_equations(
        "gym_pendulum", states=[State("theta", "rad", angle=True), State("omega", "rad/s")],
        inputs=[Input("u", "N*m", "-torque_limit", "torque_limit")],
        parameters=[Parameter("m", "kg", "1"), Parameter("l", "m", "1"), Parameter("g", "m/s^2", "10"), Parameter("dt", "s", "1/20"),
                    Parameter("torque_limit", "N*m", "2")],
        dynamics=step, equilibrium=(["0", "0"], ["0"]), domain=(["-1", "-4"], ["1", "4"]), time="discrete", dt="1/20")


@pytest.mark.threat("T02")
def test_a_plant_and_an_environment_step_alike_or_the_check_says_so():
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not installed here (the extra rl brings it)")
    from certctl.bridges.gymnasium_env import steps_alike

    env = gymnasium.make("Pendulum-v1")
    access = {"get_state": lambda e: e.unwrapped.state, "set_state": lambda e, x: setattr(e.unwrapped, "state", np.array(x)),
              "lo": [-3, -6], "hi": [3, 6]}
    assert steps_alike(gym_pendulum(), env, **access).largest < 1e-6
    with pytest.raises(NotAlike):
        steps_alike(gym_pendulum().with_parameters(g="9.81"), env, **access)
    with pytest.raises(NotAlike):
        steps_alike(pendulum(), env, dt="1/20", **access)


def test_an_environment_made_from_a_plant_steps_as_the_plant():
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed here (the extra rl brings it)")
    from gymnasium.utils.env_checker import check_env

    from certctl.bridges.gymnasium_env import make_env, steps_alike

    env = make_env(pendulum(), dt="1/20", steps=20)
    check_env(env, skip_render_check=True)
    access = {"get_state": lambda e: e.state, "set_state": lambda e, x: setattr(e, "state", np.array(x)), "lo": LO, "hi": HI}
    assert steps_alike(pendulum(), env, dt="1/20", **access).largest < 1e-12
    with pytest.raises(NotAlike):
        steps_alike(pendulum(), env, dt="1/20", method="euler", **access)
    env.reset(seed=1)
    _, reward, lost, over, _ = env.step(env.action_space.sample())
    assert reward <= 0 and not lost and not over
    env.state = np.array([1e3, 0.0])
    assert env.step(env.action_space.sample())[2], "an episode ends where the plant has left twice its domain"
    with pytest.raises(ValueError, match="give dt"):
        make_env(pendulum())


@pytest.mark.parametrize("name", ["gym_pendulum", "safety_cstr", "cstr"])
def test_limits_of_states_are_counted_and_cost(name):
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed here (the extra rl brings it)")
    from gymnasium.utils.env_checker import check_env

    import systems
    from certctl.bridges.gymnasium_env import Safety, make_env

    plant = systems.load(name)
    step = None if plant.time == "discrete" else "1/20"
    n = len(plant.states)
    box = [-np.inf] * n, [np.inf] * (n - 1) + [4.0]
    check_env(make_env(plant, dt=step, steps=20, safety=Safety(*box, penalty=7.0, ends=True)), skip_render_check=True)
    free, limited, ended = (make_env(plant, dt=step, safety=safety, sample=lambda rng: np.array([0.0] * (n - 1) + [4.9])) for safety in (
        None, Safety(*box, penalty=7.0), Safety(*box, penalty=7.0, ends=True)))
    found = []
    for env in (free, limited, ended):
        env.reset(seed=0)
        assert env.state.tolist() == [0.0] * (n - 1) + [4.9]
        found.append(env.step(env.action_space.high * 0))
    assert [info["violation"] for *_, info in found] == [False, True, True] and [env.violations for env in (free, limited, ended)] == [0, 1, 1]
    assert found[0][1] - found[1][1] == pytest.approx(7.0) and [ends for _, _, ends, _, _ in found] == [False, False, True]
    with pytest.raises(ValueError, match="safety"):
        make_env(plant, dt=step, safety=Safety([0.0], [1.0, 2.0]))
