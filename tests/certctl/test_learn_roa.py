"""Learning regions of attraction: derivatives, Zubov's equation against known solutions, limits and equilibria exact, and broken runs refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from certctl.cli.main import run
from certctl.learners.roa.candidate import Candidate
from certctl.learners.roa.files import function_graph, policy_graph, requirement_text, write_candidate
from certctl.learners.roa.fit import Weights, _decrease_by_weights, draw, improve, residuals, violations
from certctl.learners.roa.growth import Growing
from certctl.learners.roa.network import Map
from certctl.learners.roa.task import CannotLearn, Task, make_task
from certctl.learners.roa.zubov import Estimate, Scheme, solve
from certctl.learners.roa.zubov_learner import CHECKPOINT, Settings, ZubovLearner
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.derivative import value_and_gradient
from verifiers.load.floats import evaluate, evaluate_all
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify

RNG = np.random.default_rng(11)
BOX = (("-2", "-2"), ("2", "2"))
QUICK = Settings(scheme=Scheme(points=41, inputs=5), widths=(6, 4), outputs=3, states=500, fit_rounds=6, time_limit=120, growing=Growing(stages=0))


def integrator(**changes) -> Task:
    return make_task("double_integrator", changes, BOX)


def random_candidate(task: Task) -> Candidate:
    start = Candidate.start(task, 2.0, 6, (5, 4), 3, RNG)
    return start.like(start.flat() + 0.5 * RNG.standard_normal(start.flat().size))


@pytest.fixture(scope="module")
def estimate() -> Estimate:
    return solve(integrator(), QUICK.scheme)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> ZubovLearner:
    learner = ZubovLearner(integrator(), QUICK)
    learner.learn(tmp_path_factory.mktemp("trained"), lambda step: None)
    return learner


# what must be refused ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "parameters", "domain", "message"), [
    ("no_such_plant", {}, None, "no plant is called"),
    ("pendulum", {"mass": "1"}, None, "no parameter 'mass'"),
    ("pendulum", {"m": "1e-1"}, None, "not an exact number"),
    ("reversed_van_der_pol", {}, None, "no controller to learn"),
    ("pendulum", {}, (("1", "-1"), ("2", "1")), "the equilibrium between them"),
    ("pendulum", {}, (("-1",), ("1",)), "the equilibrium between them"),
    ("pendulum", {}, (("-1", "x"), ("1", "1")), "domain"),
    ("pendulum", {"torque_limit": "0"}, None, "no range"),
    ("path_tracking", {"steering_limit": "0.1"}, None, "does not lie between"),
])
def test_what_cannot_be_learned_is_one_sentence(name, parameters, domain, message):
    with pytest.raises(CannotLearn, match=message):
        make_task(name, parameters, domain)


def test_a_grid_of_six_dimensions_is_refused():
    with pytest.raises(CannotLearn, match="affordable up to 3"):
        solve(make_task("pvtol", {}), Scheme(points=5))


@pytest.mark.parametrize("arguments", [
    ["nowhere"], ["pendulum", "--param", "m"], ["pendulum", "--domain", "1,2"], ["pendulum", "--controller", "absent.onnx"],
    ["pendulum", "--time-limit", "0"]])
def test_usage_errors_write_nothing(arguments, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(["learn", "roa", *arguments, "-o", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_folder_of_another_question_is_left_alone(tmp_path, capsys):
    (tmp_path / "controller.onnx").write_bytes(b"mine")
    assert run(["learn", "roa", "double_integrator", "-o", str(tmp_path)]) == 2
    assert "give --force" in capsys.readouterr().err
    assert (tmp_path / "controller.onnx").read_bytes() == b"mine"


# derivatives and exactness -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["double_integrator", "path_tracking", "quadrotor2d"])
def test_derivatives_by_weights_agree_with_differences(name):
    task = make_task(name, {})
    candidate, xi = random_candidate(task), RNG.uniform(-0.9, 0.9, (6, task.n))
    flat, h, at = candidate.flat(), 1e-6, candidate.at(xi)
    moved = [(candidate.like(flat + h * e).at(xi), candidate.like(flat - h * e).at(xi)) for e in np.eye(flat.size)]
    for exact, what in ((at.value_by_weights(), lambda p: p.value), (at.rate_by_weights(), lambda p: p.rate),
                        (at.input_by_weights(0), lambda p: p.input[:, 0] / task.limits[1][0])):
        slope = np.stack([(what(a) - what(b)) / (2 * h) for a, b in moved], axis=1)
        np.testing.assert_allclose(exact, slope, rtol=1e-5, atol=1e-6 * max(1.0, float(np.abs(exact).max())))


def test_residuals_and_their_derivatives_agree_with_differences(estimate):
    candidate = random_candidate(integrator())
    weights = Weights(decrease=0.0, size=1.0)  # the denominator of the decrease is held fixed in a step, which is no derivative of it
    batch = draw(candidate, estimate, 60, RNG, weights, np.zeros((0, 2)))
    _, table = residuals(candidate, batch, weights)
    flat = candidate.flat()
    for e in RNG.standard_normal((8, flat.size)):
        ahead, behind = (residuals(candidate.like(flat + s * 1e-7 * e), batch, weights, slopes=False)[0] for s in (1, -1))
        np.testing.assert_allclose(table @ e, (ahead - behind) / 2e-7, rtol=1e-4, atol=1e-4)


def test_rate_is_that_of_the_exported_functions():
    task = make_task("path_tracking", {"steering_limit": "0.5"})
    candidate, xi = random_candidate(task), RNG.uniform(-1, 1, (20, 2))
    x, at = task.rest + xi * task.width, candidate.at(xi)
    law = read_onnx(to_onnx(policy_graph(candidate), double=True)).graph
    u = evaluate(law, x)
    np.testing.assert_allclose(u, at.input, rtol=1e-12, atol=1e-12)
    value, slope = evaluate_all(value_and_gradient(function_graph(candidate)), x)
    np.testing.assert_allclose(value[:, 0], at.value, rtol=1e-12)
    np.testing.assert_allclose((slope * task.plant.rhs(x, u)).sum(axis=1), at.rate, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "parameters"), [("path_tracking", {}), ("pvtol", {}), ("ducted_fan", {}), ("cartpole", {})])
def test_inputs_keep_their_limits_and_meet_the_equilibrium(name, parameters):
    task = make_task(name, parameters)
    candidate = random_candidate(task)
    lo, hi = task.plant.input_limits
    wild = candidate.like(50 * candidate.flat()).at(RNG.uniform(-1, 1, (200, task.n))).input
    assert (wild >= lo - 1e-12).all() and (wild <= hi + 1e-12).all()
    np.testing.assert_allclose(candidate.at(np.zeros((1, task.n))).input[0], task.plant.rest[1], rtol=1e-14, atol=1e-14)
    start = Candidate.start(task, 1.0, 6, (5, 4), 8, RNG)
    near = 1e-5 * RNG.standard_normal((50, task.n))
    np.testing.assert_allclose(start.at(near).input, task.plant.rest[1] - near @ task.regulator[1].T, atol=1e-7 * float(np.abs(task.limits[1]).max()))
    np.testing.assert_allclose(start.at(near).rate, -task.running_cost(near, start.at(near).input), rtol=1e-3)


def test_maps_vanish_at_the_equilibrium():
    net = Map.start(RNG.standard_normal((2, 3)), 7, RNG)
    net = net.like(RNG.standard_normal(net.flat().size))
    assert not net.forward(np.zeros((1, 3))).y.any()


# Zubov's equation ----------------------------------------------------------------------------------------------------

def test_the_estimate_without_a_choice_is_the_cost_of_the_loop():
    """For a given controller z is an integral along the loop, which an integrator of another make computes."""
    task = integrator()
    law = read_onnx(to_onnx(policy_graph(Candidate.start(task, 1.0, 6, (3, 3), 2, RNG)), double=True)).graph
    fixed = replace(task, controller=law)
    scheme = Scheme(points=121, kappa=1.0)
    found = solve(fixed, scheme)

    def cost(t, z):
        xi = z[None, :2]
        u = fixed.given_input(xi)
        rate = fixed.field(xi, u)[0]
        wall = (6 * xi**5 * rate).sum()
        return [*rate[0], float(fixed.running_cost(xi, u)[0]) + max(0.0, wall)]

    for xi in ([0.3, 0.2], [-0.4, 0.5], [-0.5, -0.1]):
        end = solve_ivp(cost, (0, 20), [*xi, 0.0], rtol=1e-7, atol=1e-9).y[:, -1]
        assert np.abs(end[:2]).max() < 1e-3
        assert float(found.at(np.array([xi]))[0][0]) == pytest.approx(end[2], rel=0.05)


def test_states_from_which_the_box_must_be_left_have_no_cost():
    """With |u| <= 1 and x <= 2 the double integrator stops in time from (x, v) only if x + v^2 / 2 <= 2."""
    found = solve(integrator(), Scheme(points=81, kappa=4.0))
    ticks = found.axis * 2
    x, v = np.meshgrid(ticks, ticks, indexing="ij")
    lost = (x + v**2 / 2 > 2.15) & (v > 0)
    saved = (np.abs(x) < 1.2) & (np.abs(v) < 0.8)
    assert (found.cost[lost] > 1).all() and np.isinf(found.cost[-1, -1])
    assert (found.cost[saved] < 1).all()


# training ------------------------------------------------------------------------------------------------------------

def test_a_step_lowers_the_loss(estimate):
    candidate, rng = random_candidate(integrator()), np.random.default_rng(2)
    batch = draw(candidate, estimate, 300, rng, Weights(), np.zeros((0, 2)))
    first = residuals(candidate, batch, Weights(), slopes=False)[0]
    damping = 1e-2
    for _ in range(8):
        candidate, damping, loss = improve(candidate, batch, Weights(), damping)
    assert loss < 0.5 * float(first @ first)


def test_a_run_ends_certified_with_more_than_the_regulators_region(trained):
    assert trained.verdict.outcome == "PROVED" and trained.verdict.receipt.outcome == "ACCEPTED"
    assert trained.verdict.bundle.name == "requirement.cert" and trained.verdict.bundle.is_dir()
    start = Candidate.start(trained.task, 2.0, 6, (6, 4), 3, np.random.default_rng(0))
    xi = RNG.uniform(-1, 1, (4000, 2))
    violation, value = violations(start, xi, Weights(margin=0.0, angle=0.0))
    regulator = 16 * float((value < value[violation >= 0].min(initial=1.0)).mean())
    assert trained.verdict.receipt.region["volume_lower_bound"] > max(6.0, 1.05 * regulator)


def test_boxes_of_the_last_proof_are_reported_while_training_goes_on(tmp_path):
    steps = []
    ZubovLearner(integrator(), replace(QUICK, enough=2.0, most_proofs=2, between_proofs=2)).learn(tmp_path, steps.append)
    boxes = [step.figures["boxes"] for step in steps if step.phase in ("fit", "refine")]
    assert boxes[0] == 0 and boxes[-1] > 0 and set(boxes[:QUICK.fit_rounds]) == {0}


def test_command_line_reports_and_resumes(tmp_path, capsys):
    arguments = ["learn", "roa", "double_integrator", "--domain=-2,-2:2,2", "--width", "5", "--time-limit", "1", "--workers", "1",
                 "-o", str(tmp_path / "di"), "--output-format", "json"]
    assert run(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["outcome"] == "PROVED" and first["region"]["volume_lower_bound"] > 0.5
    assert first["training"]["figures"]["certified volume"] == first["region"]["volume_lower_bound"]
    names = ["controller.onnx", "lyapunov.onnx", "requirement.cert", "requirement.toml", CHECKPOINT]
    assert sorted(p.name for p in (tmp_path / "di").iterdir()) == names
    assert run(["check", str(tmp_path / "di" / "requirement.cert"), "--requirement", str(tmp_path / "di" / "requirement.toml")]) == 0
    capsys.readouterr()
    assert run([*arguments, "--time-limit", "2"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["training"]["figures"]["rounds"] >= first["training"]["figures"]["rounds"]
    assert second["outcome"] == "PROVED" and second["region"]["volume_lower_bound"] >= first["region"]["volume_lower_bound"]


# a rate ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rate", "message"), [("0", "is positive"), ("-1/10", "is positive"), ("1e-3", "not an exact number")])
def test_a_rate_that_is_none_is_one_sentence(rate, message):
    with pytest.raises(CannotLearn, match=message):
        make_task("double_integrator", {}, BOX, rate=rate)


def test_a_decrease_slower_than_the_rate_is_a_violation():
    """With margins of zero the residual is V' + rate V over the scale, and its derivatives by the weights are the differences."""
    plain, quick = random_candidate(integrator()), Weights(margin=0.0, angle=0.0)
    xi = RNG.uniform(-0.9, 0.9, (200, 2))
    at = plain.at(xi)
    falls = at.rate < 0
    asked_for = replace(plain, task=replace(plain.task, rate="3"))
    scale = at.rate / violations(plain, xi, quick)[0]
    found = violations(asked_for, xi, quick)[0]
    np.testing.assert_allclose(found * scale, at.rate + 3 * at.value, rtol=1e-9, atol=1e-12)
    assert ((found > 0) & falls).any()
    flat, h = asked_for.flat(), 1e-6
    moved = [(asked_for.like(flat + h * e).at(xi[:6]), asked_for.like(flat - h * e).at(xi[:6])) for e in np.eye(flat.size)]
    slope = np.stack([((a.rate + 3 * a.value) - (b.rate + 3 * b.value)) / (2 * h) for a, b in moved], axis=1)
    np.testing.assert_allclose(_decrease_by_weights(asked_for.at(xi[:6])), slope, rtol=1e-5, atol=1e-6 * float(np.abs(slope).max()))


def test_a_rate_beyond_the_loops_own_is_refuted(trained, tmp_path):
    candidate = last_candidate(trained, trained.requirement.parent)
    verdict = asked(candidate, tmp_path, "9/10", make_task("double_integrator", {}, BOX, rate="20"))
    assert verdict.outcome == "REFUTED" and verdict.bundle is None and not list(tmp_path.rglob("*.cert"))


def test_a_checkpoint_of_another_rate_is_passed_over(trained):
    other = ZubovLearner(make_task("double_integrator", {}, BOX, rate="1/10"), trained.settings)
    assert trained.can_resume(trained.requirement.parent) and not other.can_resume(trained.requirement.parent)


# broken runs ---------------------------------------------------------------------------------------------------------

def asked(candidate: Candidate, folder: Path, level: str, plant_task: Task | None = None):
    """The verdict on a candidate at a level, for the plant of another task."""
    path = write_candidate(candidate, folder)
    path.write_text(requirement_text(plant_task or candidate.task, level), encoding="utf-8")
    return verify(path, budget=20, workers=1)


def last_candidate(learner: ZubovLearner, folder: Path) -> Candidate:
    state = learner._resume(folder / CHECKPOINT)
    assert state is not None
    return state.candidate


LIMITS = {"double_integrator": "input_limit", "van_der_pol": "input_limit", "pendulum": "torque_limit", "path_tracking": "steering_limit"}
WEAK = {"input_limit": "0.05", "torque_limit": "0.05", "steering_limit": "0.12"}
WRONG = {"pendulum": {"l": "2"}, "path_tracking": {"L": "6"}}


def broken(kind: str, candidate: Candidate) -> tuple[Candidate, Task]:
    """A candidate with a fault of this kind, and the task whose plant it is asked about."""
    task, policy = candidate.task, candidate.policy
    if kind == "sign":
        return replace(candidate, policy=replace(policy, a=-policy.a, r=-policy.r)), task
    limit = LIMITS[task.plant.name]
    change = {limit: WEAK[limit]} if kind == "limit" else WRONG.get(task.plant.name, {limit: "0.1"})
    return candidate, make_task(task.plant.name, {**parameters_of(task), **change}, (task.lo, task.hi))


def parameters_of(task: Task) -> dict[str, str]:
    return {p.name: p.value for p in task.plant.parameters}


@pytest.mark.parametrize("kind", ["sign", "limit", "parameter"])
def test_a_broken_candidate_is_refuted(kind, trained, tmp_path):
    candidate, task = broken(kind, last_candidate(trained, trained.requirement.parent))
    verdict = asked(candidate, tmp_path, "9/10", task)
    assert verdict.outcome == "REFUTED" and verdict.bundle is None and not (tmp_path / "requirement.cert").exists()


def test_a_truncated_training_is_refuted_at_the_level_aimed_at(estimate, tmp_path):
    candidate = Candidate.start(integrator(), 2.0, 6, (6, 4), 3, np.random.default_rng(3))
    verdict = asked(candidate, tmp_path, "9/10")
    assert verdict.outcome in ("REFUTED", "UNKNOWN") and verdict.bundle is None


TASKS = [("double_integrator", {}, BOX), ("van_der_pol", {}, (("-3", "-4"), ("3", "4"))),
         ("pendulum", {"torque_limit": "1"}, (("-4", "-12"), ("4", "12"))),
         ("path_tracking", {}, (("-2", "-2"), ("2", "2"))), ("double_integrator", {"input_limit": "2"}, (("-4", "-3"), ("4", "3")))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sign", "limit", "parameter", "truncated"])
@pytest.mark.parametrize("index", range(len(TASKS)))
def test_twenty_broken_runs_are_never_proved(index, kind, tmp_path):
    """`pytest -m slow -rP` shows the outcomes."""
    name, parameters, box = TASKS[index]
    task = make_task(name, parameters, box)
    learner = ZubovLearner(task, replace(QUICK, seed=index, widths=(8, 5), fit_rounds=1 if kind == "truncated" else 10,
                                         time_limit=1.0 if kind == "truncated" else 60.0, most_proofs=1))
    learner.learn(tmp_path / "run", lambda step: None)
    candidate = last_candidate(learner, tmp_path / "run")
    plant = task
    if kind == "truncated":
        candidate = Candidate.start(task, 2.0, 6, (8, 5), 3, np.random.default_rng(index))
    else:
        candidate, plant = broken(kind, candidate)
    verdict = asked(candidate, tmp_path / "asked", "9/10", plant)
    print("outcome", verdict.outcome)
    assert verdict.outcome in ("REFUTED", "UNKNOWN") and verdict.bundle is None and not list((tmp_path / "asked").rglob("*.cert"))
