"""Learning in discrete time: what does not settle is never certified, derivatives by weights are those of the map, and one small run is certified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from certctl.cli.main import run
from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.files import function_graph, policy_graph, region_volume, requirement_text, write_candidate
from certctl.learners.roa.growth import Growing
from certctl.learners.roa.sampled import SampledCandidate, SampledLearner, SampledTask, make_sampled_task, move
from certctl.learners.roa.task import CannotLearn, make_task
from certctl.learners.roa.zubov import Scheme, solve
from certctl.learners.roa.zubov_learner import CHECKPOINT, Settings
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify

RNG = np.random.default_rng(5)
BOX = (("-2", "-2"), ("2", "2"))
QUICK = Settings(scheme=Scheme(points=41, inputs=5), widths=(6, 4), outputs=3, states=500, fit_rounds=6, time_limit=120, growing=Growing(stages=0))


def integrator(dt: str = "1/5", controller: Graph | None = None, **changes: str) -> SampledTask:
    return make_sampled_task("double_integrator", changes, dt, "rk4", BOX, controller)


def linear(gain: np.ndarray) -> Graph:
    b = Builder("controller.onnx")
    return b.build([b.affine(b.input(gain.shape[1]), Affine(gain, np.zeros(len(gain))))])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> SampledLearner:
    learner = SampledLearner(integrator(), QUICK)
    learner.learn(tmp_path_factory.mktemp("sampled"), lambda step: None)
    return learner


def last_candidate(learner: SampledLearner) -> Candidate:
    state = learner._resume(learner.requirement.parent / CHECKPOINT)
    assert state is not None
    return state.candidate


# what must be refused ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("fault", "change"), [("sign", {}), ("limit", {"input_limit": "1/10"}), ("step", {"dt": "4"}), ("truncated", {})])
def test_a_broken_run_is_never_proved_at_the_level_aimed_at(fault, change, trained, tmp_path):
    """A sign, a limit, a step length or a training other than that of the candidate: the prover says so, and no bundle is left."""
    candidate = last_candidate(trained)
    if fault == "sign":
        candidate = replace(candidate, policy=replace(candidate.policy, a=-candidate.policy.a, r=-candidate.policy.r))
    elif fault == "truncated":
        candidate = SampledCandidate.start(trained.task, 2.0, 6, (6, 4), 3, np.random.default_rng(3))
    path = write_candidate(candidate, tmp_path)
    path.write_text(requirement_text(integrator(**{"dt": "1/5", **change}), "9/10"), encoding="utf-8")
    verdict = verify(path, budget=20, workers=1)
    print("outcome", verdict.outcome)
    assert verdict.outcome in ("REFUTED", "UNKNOWN") and verdict.bundle is None and not list(tmp_path.rglob("*.cert"))
    assert fault == "truncated" or verdict.outcome == "REFUTED"


@pytest.mark.parametrize(("dt", "gain"), [("1/5", [[1.0, 1.0]]), ("4", [[-1.0, -1.0]])])
def test_a_given_controller_that_does_not_settle_is_no_task(dt, gain):
    """The second gain settles in continuous time, and with a shorter step."""
    law = linear(np.array(gain))
    with pytest.raises(CannotLearn, match="not stable near"):
        print(integrator(dt, law).regulator)
    assert dt != "4" or np.isfinite(integrator("1/5", law).regulator[0]).all()


@pytest.mark.parametrize(("arguments", "message"), [
    (("pendulum", {}, "1/20", "zoh"), "write one of euler"), (("pendulum", {}, "0", "rk4"), "not positive"),
    (("pendulum", {}, "1e-2", "rk4"), "not an exact number"), (("cartpole", {}, "1/20", "rk4"), "up to 3"),
    (("nowhere", {}, "1/20", "rk4"), "no plant is called"), (("safety_cstr", {}, "1/60", "rk4"), "continuous time only")])
def test_what_cannot_be_learned_is_one_sentence(arguments, message):
    with pytest.raises(CannotLearn, match=message):
        make_sampled_task(*arguments)


@pytest.mark.parametrize("words", [["--time", "discrete"], ["--dt", "1/20"], ["--method", "euler"], ["--time", "discrete", "--dt", "nought"]])
def test_half_a_question_is_a_usage_error(words, tmp_path, capsys):
    assert run(["learn", "roa", "double_integrator", *words, "-o", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


# the map and its derivatives -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "method", "dt"), [("double_integrator", "rk4", "1/2"), ("path_tracking", "euler", "1/20"),
                                                    ("pendulum", "midpoint", "1/10")])
def test_rates_are_those_of_the_exported_functions_along_the_map(name, method, dt):
    task = make_sampled_task(name, {}, dt, method)
    start = SampledCandidate.start(task, 2.0, 6, (5, 4), 3, RNG)
    candidate = start.like(start.flat() + 0.3 * RNG.standard_normal(start.flat().size))
    xi = RNG.uniform(-0.7, 0.7, (30, 2))
    at, x = candidate.at(xi), task.rest + xi * task.width
    law, function = (read_onnx(to_onnx(graph(candidate), double=True)).graph for graph in (policy_graph, function_graph))
    after = task.plant.rhs(x, evaluate(law, x))
    kept = (np.abs(at.after) < 1.5).all(axis=1)
    assert kept.sum() > 15
    fall = (evaluate(function, after)[:, 0] - evaluate(function, x)[:, 0]) / task.step
    np.testing.assert_allclose(at.rate[kept], fall[kept], rtol=1e-8, atol=1e-8)
    flat, h = candidate.flat(), 1e-6
    moved = [(candidate.like(flat + h * e).at(xi).rate - candidate.like(flat - h * e).at(xi).rate) / (2 * h) for e in np.eye(flat.size)]
    exact = at.rate_by_weights()
    np.testing.assert_allclose(exact[kept], np.stack(moved, axis=1)[kept], rtol=1e-5, atol=1e-6 * float(np.abs(exact).max()))


def test_the_regulators_cost_falls_by_the_running_cost_of_a_step():
    task = integrator("1/2")
    start, near = SampledCandidate.start(task, 1.0, 6, (5, 4), 3, RNG), 1e-4 * RNG.standard_normal((40, 2))
    at = start.at(near)
    np.testing.assert_allclose(at.rate, -task.running_cost(near, at.input), rtol=1e-3)


def test_a_step_of_the_estimate_is_a_number_of_steps_of_the_map():
    task, xi = integrator("1/10"), np.array([[0.1, 0.05], [0.0, 0.9]])
    after, cost = move(task, xi, np.zeros((2, 1)), 0.05, Scheme())
    steps = (after[:, 0] - xi[:, 0]) / (0.1 * xi[:, 1])
    np.testing.assert_allclose(steps, [3, 1], rtol=1e-9)  # 3 is the longest time of a step, and one step of the other goes far enough
    assert (cost > 0.1 * steps * xi[:, 1]**2).all()


def test_the_estimate_is_that_of_continuous_time_where_steps_are_short():
    held = integrator("1/50")
    scheme = Scheme(points=61, inputs=5, kappa=2.0)
    xi = RNG.uniform(-0.5, 0.5, (50, 2))
    found = solve(held, scheme, move=move).at(xi)[0]
    plain = solve(make_task("double_integrator", {}, BOX), scheme).at(xi)[0]
    assert np.median(np.abs(found - plain) / (0.02 + plain)) < 0.15


# training ------------------------------------------------------------------------------------------------------------

def test_a_run_ends_certified_and_says_discrete(trained):
    assert trained.verdict.outcome == "PROVED" and trained.verdict.receipt.outcome == "ACCEPTED"
    assert region_volume(trained.verdict) > 6.0
    claim = json.loads((trained.verdict.bundle / "certificate.json").read_text(encoding="utf-8"))["predicate"]["claim"]
    assert claim["time"] == "discrete" and claim["dt"] == "1/5"


def test_command_line_learns_for_a_given_controller_and_resumes(tmp_path, capsys):
    law = to_onnx(linear(np.array([[-0.5, -1.0]])), double=True)
    (tmp_path / "law.onnx").write_bytes(law)
    arguments = ["learn", "roa", "double_integrator", "--time", "discrete", "--dt", "1/5", "--domain=-2,-2:2,2", "--width", "5", "--workers", "1",
                 "--controller", str(tmp_path / "law.onnx"), "-o", str(tmp_path / "di"), "--output-format", "json"]
    assert run([*arguments, "--time-limit", "4"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["outcome"] == "PROVED" and first["region"]["volume_lower_bound"] > 0.5
    assert (tmp_path / "di" / "controller.onnx").read_bytes() == law
    assert 'method     = "rk4"' in Path(tmp_path / "di" / "requirement.toml").read_text(encoding="utf-8")
    assert run([*arguments, "--time-limit", "6"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["region"]["volume_lower_bound"] >= first["region"]["volume_lower_bound"]
    assert run([*arguments, "--dt", "1/4"]) == 2  # another question in the same folder


@pytest.mark.parametrize("rate", ["1", "3/2", "0"])
def test_a_rate_that_no_step_has_is_one_sentence(rate):
    with pytest.raises(CannotLearn, match="rate"):
        make_sampled_task("double_integrator", {}, "1/5", "rk4", BOX, rate=rate)


def test_a_rate_is_trained_for_and_is_part_of_the_claim(tmp_path, capsys):
    """A rate per step is one of the mean rate of V over the step's length; the bundle claims exponential stability with it."""
    assert make_sampled_task("double_integrator", {}, "1/5", "rk4", BOX, rate="1/50").decay == pytest.approx(0.1)
    arguments = ["learn", "roa", "double_integrator", "--time", "discrete", "--dt", "1/5", "--domain=-2,-2:2,2", "--width", "5", "--workers", "1",
                 "--stages", "0", "--rate", "1/50", "--time-limit", "60", "-o", str(tmp_path / "di"), "--output-format", "json"]
    assert run(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == "PROVED" and told["property"] == "exponential_stability_roa" and told["region"]["volume_lower_bound"] > 3
    claim = json.loads((tmp_path / "di" / "requirement.cert" / "certificate.json").read_text(encoding="utf-8"))["predicate"]["claim"]
    assert claim["rate"] == "1/50"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters", "half", "published"), [
    ("pendulum", {"torque_limit": "6"}, "12", 253.7), ("path_tracking", {"steering_limit": "0.5"}, "3", 14.08)])
def test_published_cases_in_discrete_time_are_certified_beyond_their_volumes(name, parameters, half, published, tmp_path):
    """Volumes of Yang et al. 2024 with Euler's method, dt = 1/20, on the same boxes; grid estimates of theirs, a lower bound of ours."""
    task = make_sampled_task(name, parameters, "1/20", "euler", ((f"-{half}",) * 2, (half,) * 2))
    learner = SampledLearner(task, Settings(time_limit=200))
    learner.learn(tmp_path, lambda step: None)
    assert learner.verdict.outcome == "PROVED" and region_volume(learner.verdict) > published
