"""Gauss-Newton on an ellipsoid and a law with neurons: derivatives, limits, the stiffness bound, and a proved region in six states."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from certctl.cli.main import run
from certctl.learners.roa.descent import _Descent, _Point, descend
from certctl.learners.roa.ellipsoid_learner import FILES, EllipsoidLearner, EllipsoidSettings
from certctl.learners.roa.files import ellipsoid_text, region_volume
from certctl.learners.roa.law import Law, law_graph, offset, read_law
from certctl.learners.roa.task import make_task
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify
from verifiers.region.ellipsoid import ball

RNG = np.random.default_rng(5)


def some_law(n: int, m: int, k: int) -> Law:
    return Law(0.3 * RNG.standard_normal((n, m)), 0.2 * RNG.standard_normal((m, k)), RNG.standard_normal((k, n)), RNG.standard_normal(k))


@pytest.fixture(scope="module")
def start():
    task = make_task("pvtol", {})
    state = EllipsoidLearner(task)._start()
    return task, state


@pytest.fixture(scope="module")
def grown(start):
    task, state = start
    return descend(task, state.p, state.gains, rate=state.rate, stiffness=30.0, neurons=3, seed=1, rounds=240)


@pytest.mark.parametrize("name", ["pvtol", "ducted_fan"])
def test_the_law_with_neurons_keeps_its_limits_and_meets_the_equilibrium(name):
    task = make_task(name, {})
    law = some_law(task.n, 2, 4)
    again = read_law(task, law.vector)
    np.testing.assert_array_equal(again.vector, law.vector)
    xi = RNG.uniform(-1, 1, (300, task.n))
    middle, half = task.limits
    u = evaluate(law_graph(task, law.vector), task.rest + task.width * xi)
    np.testing.assert_allclose(u, middle + half * np.clip(offset(task) + law.command(xi), -1, 1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(evaluate(law_graph(task, law.vector), task.rest), task.plant.rest[1], rtol=1e-12, atol=1e-12)
    h = 1e-6
    slopes = np.stack([(law.command(h * e[None]) - law.command(-h * e[None]))[0] / (2 * h) for e in np.eye(task.n)], axis=1)
    np.testing.assert_allclose(law.slope, slopes, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="no law of 6 states"):
        read_law(task, law.vector[:-1])


def test_new_neurons_do_not_change_the_command():
    law = some_law(6, 2, 2)
    wider = law.widened(5, np.eye(6), RNG)
    xi = RNG.uniform(-1, 1, (50, 6))
    np.testing.assert_allclose(wider.command(xi), law.command(xi), rtol=0, atol=1e-15)
    assert wider.shift.size == 5 and law.widened(1, np.eye(6), RNG) is law


def test_the_derivatives_are_those_of_the_residuals(start):
    """Along random directions, where clips and maxima do not switch: the squared violations and their derivative by differences."""
    task, state = start
    law = some_law(6, 2, 3)
    at = _Point(np.linalg.cholesky(state.p), Law(state.gains.reshape(6, 2), 0.05 * law.turn, law.hidden, law.shift))
    search = _Descent(task, 5.0, 1.0, 3.0, np.random.default_rng(0))
    y = ball(np.random.default_rng(1), 400, 6)
    left, rows = search.system(at, y)
    np.testing.assert_allclose((left**2).sum(), (search.residuals(at, y) ** 2).sum(), rtol=1e-9)
    gradient = 2 * rows.T @ left
    for _ in range(5):
        step = RNG.standard_normal(rows.shape[1])
        h = 1e-6
        change = ((search.residuals(at.moved(h * step), y) ** 2).sum() - (search.residuals(at.moved(-h * step), y) ** 2).sum()) / (2 * h)
        assert math.isclose(change, float(gradient @ step), rel_tol=2e-3, abs_tol=1e-3 * np.abs(gradient).max())


def test_the_ellipsoid_grows_within_the_domain_and_the_bound_on_its_rates(start, grown):
    task, state = start
    assert grown is not None
    p, vector = grown
    law, learner = read_law(task, vector), EllipsoidLearner(task)
    assert law.shift.size == 3 and np.abs(law.turn).max() > 0
    assert learner._volume(p) > 10 * learner._volume(state.p)
    assert np.diag(np.linalg.inv(p)).max() <= 1
    loop = learner._loop(0.0)
    factor = np.linalg.cholesky(p)
    m = factor.T @ loop.jacobian(vector) @ np.linalg.inv(factor).T
    slowest = 2 * np.abs(np.linalg.eigvals(loop.jacobian(state.gains)).real).min()
    values = np.linalg.eigvalsh(m + m.T)
    assert -values[0] <= 1.03 * 30 * slowest and values[-1] < 0
    y = ball(np.random.default_rng(8), 20_000, 6)
    xi = y @ np.linalg.inv(factor)
    assert (np.einsum("bi,bi->b", y, loop.field(vector, xi) @ factor) < 0).all()


def test_a_law_that_does_not_stabilise_is_no_start(start):
    task, state = start
    assert descend(task, state.p, -state.gains, rate=0.1, stiffness=30.0, neurons=2, seed=0, rounds=10) is None


def test_a_loop_stiffer_than_allowed_is_not_returned(start):
    """No judgement passes while the loop is faster than the bound, whatever it decreases by."""
    task, state = start
    assert descend(task, state.p, state.gains, rate=state.rate, stiffness=1e-3, neurons=0, seed=0, rounds=30) is None


def test_a_region_of_a_law_with_neurons_is_proved_in_six_states(start, grown, tmp_path):
    """A fifth of the axes, so that it is quick; the same ellipsoid with the sign of the law turned is not proved."""
    task, _ = start
    p, vector = grown
    text = ellipsoid_text(task)
    text = text[:text.index("min_volume")] + 'min_volume = "0.000000001"\n'
    volumes = {}
    for name, sign in (("right", 1.0), ("turned", -1.0)):
        folder = tmp_path / name
        folder.mkdir()
        law = read_law(task, vector)
        (folder / FILES[0]).write_bytes(to_onnx(law_graph(task, Law(sign * law.gains, sign * law.turn, law.hidden, law.shift).vector), double=True))
        (folder / FILES[1]).write_text(text, encoding="utf-8", newline="\n")
        verdict = verify(folder / FILES[1], budget=60, workers=1, quadratics=(25 * p / task.width / task.width[:, None],))
        volumes[name] = region_volume(verdict)
        assert (verdict.bundle is not None) == (sign > 0)
    assert volumes["right"] > 0.9 * EllipsoidLearner(task)._volume(25 * p) and volumes["turned"] == 0


def test_the_command_takes_a_number_of_neurons(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(EllipsoidLearner, "_train", lambda self, out, state, legs, began, report: asked.append(self.settings) or state)
    words = ["learn", "roa", "pvtol", "--neurons", "5", "--time-limit", "20", "--workers", "1", "-o", str(tmp_path / "out")]
    code = run([*words, "--output-format", "json"])
    assert code in (0, 3) and json.loads(capsys.readouterr().out)["outcome"] in ("PROVED", "UNKNOWN")
    assert asked and all(s.neurons == 5 for s in asked) and EllipsoidSettings().neurons > 0
