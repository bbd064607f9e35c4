"""Learning beyond three states: what does not stabilise is not certified, limits are exact, and the cart-pole's region is larger than published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from certctl.cli.main import run
from certctl.learners.roa.ellipsoid_learner import CHECKPOINT, FILES, EllipsoidLearner, EllipsoidSettings
from certctl.learners.roa.files import ellipsoid_text, region_volume
from certctl.learners.roa.law import law_graph
from certctl.learners.roa.task import CannotLearn, make_task
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify

RNG = np.random.default_rng(3)
QUICK = EllipsoidSettings(time_limit=600, rounds=60, legs=2, attempts=1)
PUBLISHED = 306.1
"""Certified volume of the two-stage Zubov method for |u| <= 30 on this box, the mean of five seeds."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[EllipsoidLearner, Path]:
    learner, folder = EllipsoidLearner(make_task("cartpole", {}), QUICK), tmp_path_factory.mktemp("cartpole")
    learner.learn(folder, lambda step: None)
    return learner, folder


@pytest.mark.parametrize("fault", ["sign", "limit", "parameter", "truncated"])
def test_a_broken_run_is_never_proved_with_its_ellipsoid(fault, trained, tmp_path):
    """The learned P is offered with another loop: the prover may find a region of its own there, but not this one."""
    learner, folder = trained
    state, task = learner._resume(folder / CHECKPOINT), learner.task
    gains, asked = state.gains, task
    if fault == "sign":
        gains = -gains
    elif fault == "truncated":
        gains = 0.15 * gains
    else:
        asked = make_task("cartpole", {"force_limit": "3"} if fault == "limit" else {"l": "6"})
    (tmp_path / FILES[0]).write_bytes(to_onnx(law_graph(task, gains), double=True))
    text = ellipsoid_text(asked)
    (tmp_path / FILES[1]).write_text(text[:text.index("min_volume")] + 'min_volume = "300"\n', encoding="utf-8")
    verdict = verify(tmp_path / FILES[1], budget=20, workers=1, quadratics=(state.p / task.width / task.width[:, None],))
    print("outcome", verdict.outcome)
    assert verdict.outcome in ("REFUTED", "UNKNOWN") and verdict.bundle is None and not list(tmp_path.rglob("*.cert"))


def test_a_rate_is_kept_beside_the_reserve_and_is_part_of_the_question():
    plain, fast = (EllipsoidLearner(make_task("cartpole", {}, rate=rate), QUICK) for rate in (None, "1/5"))
    assert fast._start().rate == pytest.approx(plain._start().rate + 0.2, rel=0.5) and fast._start().rate > 0.2
    assert fast._digest() != plain._digest()
    assert 'rate = "1/5"' in ellipsoid_text(fast.task) and "exponential" in ellipsoid_text(fast.task) and "lyapunov" not in ellipsoid_text(fast.task)


def test_a_given_controller_that_does_not_stabilise_is_no_task():
    task = make_task("cartpole", {})
    law = law_graph(task, np.array([1.0, 2.0, 1.0, 2.0]))
    with pytest.raises(CannotLearn, match="not stable near"):
        EllipsoidLearner(replace(task, controller=law), QUICK, b"")._start()


def test_a_checkpoint_of_another_question_is_passed_over(trained):
    learner, folder = trained
    assert learner.can_resume(folder)
    for other in (EllipsoidLearner(make_task("cartpole", {"force_limit": "20"}), QUICK), EllipsoidLearner(learner.task, replace(QUICK, seed=1))):
        assert not other.can_resume(folder)
    (folder.parent / "torn").mkdir()
    (folder.parent / "torn" / CHECKPOINT).write_bytes((folder / CHECKPOINT).read_bytes()[:200])
    assert not learner.can_resume(folder.parent / "torn")


@pytest.mark.parametrize("name", ["cartpole", "quadrotor2d", "ducted_fan"])
def test_the_law_keeps_its_limits_and_meets_the_equilibrium(name):
    task = make_task(name, {})
    law = law_graph(task, 30 * RNG.standard_normal(task.n * len(task.limits[1])))
    u = evaluate(law, task.rest + task.width * RNG.uniform(-1, 1, (500, task.n)))
    lo, hi = task.plant.input_limits
    assert (u >= lo - 1e-12).all() and (u <= hi + 1e-12).all()
    np.testing.assert_allclose(evaluate(law, task.rest), task.plant.rest[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["cartpole", "pvtol"])
def test_rates_of_the_graph_are_those_of_the_equations(name):
    task = make_task(name, {})
    xi, u = RNG.uniform(-1, 1, (40, task.n)), RNG.uniform(*task.plant.input_limits, (40, len(task.limits[1])))
    np.testing.assert_allclose(task.rates(xi, u), task.field(xi, u)[0], rtol=1e-12, atol=1e-12)
    loop = EllipsoidLearner(task)._loop(0.0)
    gains, h = 0.3 * RNG.standard_normal(task.n * len(task.limits[1])), 1e-6
    slopes = [(loop.field(gains, h * e[None]) - loop.field(gains, -h * e[None]))[0] / (2 * h) for e in np.eye(task.n)]
    np.testing.assert_allclose(loop.jacobian(gains), np.stack(slopes, axis=1), rtol=1e-5, atol=1e-6 * np.abs(slopes).max())


def test_the_cart_pole_is_certified_beyond_the_published_volume(trained):
    learner, folder = trained
    assert learner.verdict.outcome == "PROVED" and learner.verdict.receipt.outcome == "ACCEPTED"
    assert region_volume(learner.verdict) > PUBLISHED
    assert sorted(p.name for p in folder.iterdir()) == ["controller.onnx", "requirement.cert", "requirement.toml", CHECKPOINT]


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(trained, tmp_path):
    """Legs draw their random numbers from seed and number, so two legs in two runs are the two legs of one."""
    learner, folder = trained
    for legs in (1, 2):
        again = EllipsoidLearner(learner.task, replace(QUICK, legs=legs))
        again._ask = lambda out, state, budget: out  # type: ignore[method-assign]
        again.verdict = learner.verdict
        again.learn(tmp_path, lambda step: None)
    one, two = learner._resume(folder / CHECKPOINT), learner._resume(tmp_path / CHECKPOINT)
    np.testing.assert_array_equal(one.p, two.p)
    np.testing.assert_array_equal(one.gains, two.gains)


def test_a_smaller_region_does_not_replace_a_larger_one(trained, tmp_path):
    learner, folder = trained
    held = region_volume(learner.verdict)
    again = EllipsoidLearner(learner.task, QUICK)
    state = learner._resume(folder / CHECKPOINT)
    again._ask(folder, replace(state, p=2 * state.p), 30)
    assert region_volume(again.verdict) == held and not (folder / ".attempt").exists()


def test_the_command_takes_six_states_and_a_given_controller(tmp_path, capsys):
    task = make_task("pvtol", {}, input_cost=1.0)
    half = task.limits[1]
    (tmp_path / "law.onnx").write_bytes(to_onnx(law_graph(task, (-task.regulator[1] / half[:, None]).T.ravel()), double=True))
    code = run(["learn", "roa", "pvtol", "--controller", str(tmp_path / "law.onnx"), "--time-limit", "20", "--workers", "1",
                "-o", str(tmp_path / "out"), "--output-format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert code in (0, 3) and told["outcome"] in ("PROVED", "UNKNOWN")
    assert told["training"]["figures"]["sampled volume"] > 0
    assert (tmp_path / "out" / "controller.onnx").read_bytes() == (tmp_path / "law.onnx").read_bytes()
