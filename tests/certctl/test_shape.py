"""A network as the function beyond three states: derivatives, distances to the boundary, the objective, and a region larger than its ellipsoid's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from certctl.learners.roa import shape_learner, spread
from certctl.learners.roa.ellipsoid_learner import CHECKPOINT, EllipsoidLearner, EllipsoidSettings
from certctl.learners.roa.files import NAMES, region_volume
from certctl.learners.roa.law import Law, law_graph, read_law
from certctl.learners.roa.shape import Shape, radii, shape_graph
from certctl.learners.roa.shape_learner import SHAPES, ShapeLearner
from certctl.learners.roa.spread import Spread
from certctl.learners.roa.task import make_task
from verifiers.kernel.check import check
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify

QUICK = EllipsoidSettings(time_limit=400, rounds=40, legs=1, attempts=1, shape=6, bends=(0.002,), shape_steps=900, neurons=0)


def some_shape(n: int, k: int, rng: np.random.Generator, size: float = 0.25) -> Shape:
    start = Shape.start(n, k, rng)
    return start.like(start.vector + size * rng.standard_normal(start.vector.size))


def some_search(name: str, seed: int = 0, stiffness: float = 4.0, controller: bool = False, rate: float = 0.3) -> tuple[Spread, np.ndarray]:
    """A search on a plant from its regulator's ellipsoid, and the vector of a law with three neurons, empty where the controller is given."""
    task, rng = make_task(name, {}), np.random.default_rng(seed)
    p, k = task.regulator
    vector = (-k / task.limits[1][:, None]).T.ravel()
    if controller:
        return Spread(replace(task, controller=law_graph(task, vector)), 2 * np.linalg.cholesky(p), rate, 1.0, stiffness, 0.01, rng), np.zeros(0)
    law = read_law(task, vector).widened(3, np.eye(task.n), rng)
    law = Law(law.gains, 0.2 * rng.standard_normal(law.turn.shape), law.hidden, law.shift)
    return Spread(task, 2 * np.linalg.cholesky(p), rate, 1.0, stiffness, 0.01, rng), law.vector


def test_values_rates_and_derivatives():
    rng = np.random.default_rng(1)
    shape, y, f = some_shape(5, 4, rng), rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    at, h = shape.at(y), 1e-6
    assert shape.at(np.zeros((1, 5))).value[0] == 0 and (at.value > 0).all()
    np.testing.assert_allclose(at.rate(f), (shape.at(y + h * f).value - shape.at(y - h * f).value) / (2 * h), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose((at.gradient * f).sum(axis=1), at.rate(f), rtol=1e-10, atol=1e-10)
    alpha, beta = rng.standard_normal(7), rng.standard_normal(7)

    def both(x: np.ndarray) -> tuple[float, float]:
        moved = shape.like(x).at(y)
        return float(alpha @ moved.value), float(alpha @ moved.value + beta @ moved.rate(f))

    steps = h * np.eye(shape.vector.size)
    slopes = np.array([(np.array(both(shape.vector + e)) - both(shape.vector - e)) / (2 * h) for e in steps])
    np.testing.assert_allclose(at.by_weights(alpha), slopes[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(at.by_weights(alpha, beta, f), slopes[:, 1], rtol=1e-5, atol=1e-6)
    tiny = 1e-5 * np.eye(5)
    np.testing.assert_allclose(shape.at(tiny).value, ((tiny @ shape.slope.T) ** 2).sum(axis=1), rtol=1e-3)
    np.testing.assert_allclose(shape.scaled(0.7).at(y).value, at.value / 0.7, rtol=1e-12)


@pytest.mark.parametrize("size", [0.0, 0.3, 1.5])
def test_distances_meet_the_level_also_where_newton_fails(size):
    rng = np.random.default_rng(2)
    shape = some_shape(4, 6, rng, size)
    s = rng.standard_normal((400, 4))
    s /= np.linalg.norm(s, axis=1, keepdims=True)
    r = radii(shape, s)
    np.testing.assert_allclose(shape.at(r[:, None] * s).value, 1, atol=2e-5)
    if size == 0:
        np.testing.assert_allclose(r, 1, rtol=1e-9)


def test_the_graph_is_the_function():
    task, rng = make_task("pvtol", {}), np.random.default_rng(3)
    shape, factor = some_shape(6, 5, rng), np.linalg.cholesky(task.regulator[0])
    xi = rng.uniform(-1, 1, (50, 6))
    value = evaluate(shape_graph(task, factor, shape), task.rest + xi * task.width)[:, 0]
    np.testing.assert_allclose(value, shape.at(xi @ factor).value, rtol=1e-9)
    assert evaluate(shape_graph(task, factor, some_shape(6, 0, rng)), task.rest + xi * task.width).shape == (50, 1)


@pytest.mark.parametrize("controller", [False, True])
def test_the_gradient_is_that_of_the_objective(controller, monkeypatch):
    """Every term is active: states that do not decrease, states beyond a face, a function that hardly grows, a quadratic too slow and too fast."""
    monkeypatch.setattr(spread, "STAR", 1.9)
    monkeypatch.setattr(spread, "INSIDE", 0.2)
    search, vector = some_search("pvtol", stiffness=0.5, controller=controller)
    n, weight, rng = 6, 30.0, np.random.default_rng(4)
    shape, law = some_shape(n, 3, rng, 0.1), search.inner(vector)
    size = shape.vector.size
    x = shape.vector if law is None else np.concatenate([shape.vector, law.vector])

    def objective(x: np.ndarray) -> float:
        search.rng = np.random.default_rng(7)
        f, g = shape.like(x[:size]), None if law is None else read_law(search.task, x[size:])
        drawn = search.rng.choice(len(search.pool), min(spread.DRAWN, len(search.pool)), replace=False)
        s = np.concatenate([search.directions(spread.BOUNDARY), search.pool[drawn]])
        share = np.concatenate([spread.ROOM * search.rng.uniform(0, 1, spread.BOUNDARY) ** 0.3, search.share[drawn]])
        each = np.repeat([1 / spread.BOUNDARY, 1 / len(drawn)], [spread.BOUNDARY, len(drawn)])
        r = radii(f, s)
        y, e = r[:, None] * s, search.look(f, g, s * (r * share)[:, None])[1]
        over = np.maximum(np.abs(y @ search.inverse).max(axis=1) - spread.INSIDE, 0)
        values = search.local(f, g)[0]
        slow, fast = max(values[-1] + max(spread.SLOWEST, search.rate), 0), max(-values[0] / search.stiffness - 1, 0)
        assert (e > 0.01).any() and (over > 0).any() and fast > 0
        inside = 10 * each @ np.maximum(e + spread.MARGIN, 0) ** 2 + 40 * each @ over**2 + 4 * (slow**2 + fast**2)
        total = -np.log((r[:spread.BOUNDARY] ** n).mean()) + weight * inside + spread.RIDGE * (f.turn**2).sum() + search.bend * (f.hidden**2).sum()
        return float(total if g is None else total + spread.RIDGE * (g.turn**2).sum() + search.bend * (g.hidden**2).sum())

    search.rng = np.random.default_rng(7)
    found, _ = search.gradient(shape, law, weight)
    edge_free = found.copy()
    search.rng = np.random.default_rng(7)  # the term of growth holds its states fixed, so it is taken apart
    drawn = search.rng.choice(len(search.pool), min(spread.DRAWN, len(search.pool)), replace=False)
    s = np.concatenate([search.directions(spread.BOUNDARY), search.pool[drawn]])
    search.rng.uniform(0, 1, spread.BOUNDARY)
    state = search.rng.bit_generator.state
    y = s * radii(shape, s)[:, None]
    growth = search._growth(shape, y, weight)
    edge_free[:size] -= growth
    assert np.abs(growth).max() > 0.1

    def growing(x: np.ndarray) -> float:
        search.rng.bit_generator.state = state
        far = y * search.rng.uniform(1, spread.BEYOND, len(y))[:, None]
        at = shape.like(x).at(np.concatenate([y, far[(np.abs(far @ search.inverse) <= 1.05).all(axis=1)]]))
        return float(weight * 10 * (np.maximum(spread.STAR - at.rate(at.y) / at.value, 0) ** 2).mean())

    h = 1e-6
    for k in rng.choice(x.size, 25, replace=False):
        step = np.zeros_like(x)
        step[k] = h
        want = (objective(x + step) - objective(x - step)) / (2 * h)
        assert edge_free[k] == pytest.approx(want, rel=5e-3, abs=2e-4 * np.abs(found).max()), k
        if k < size:
            assert growth[k] == pytest.approx((growing(x[:size] + step[:size]) - growing(x[:size] - step[:size])) / (2 * h), rel=1e-4, abs=1e-3)
    assert found.size == x.size


def test_what_moves_the_gradient_is_what_the_file_holds():
    """The law of y, back in the task's states, commands the same."""
    search, vector = some_search("ducted_fan")
    y = search.rng.standard_normal((40, 6))
    law = search.inner(vector)
    np.testing.assert_allclose(search.outer(law), vector, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(law.command(y), read_law(search.task, vector).command(y @ search.inverse), rtol=1e-9, atol=1e-9)


def test_a_function_that_does_not_decrease_is_not_judged_good():
    search, vector = some_search("pvtol", rate=0.0)
    assert search.judge(Shape.start(6, 4, np.random.default_rng(0)), np.zeros_like(vector), states=4000) is None  # no feedback: it drifts


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The whole learner in two states, where it takes seconds."""
    folder, patch = tmp_path_factory.mktemp("shape"), pytest.MonkeyPatch()
    for name, seconds in (("ELLIPSOID", 200.0), ("ENOUGH", 30.0)):
        patch.setattr(shape_learner, name, seconds)
    for name, count in (("BOUNDARY", 300), ("POOL", 800), ("DRAWN", 240), ("FRESH", 1500), ("CLIMB", 60)):  # two states need fewer than six
        patch.setattr(spread, name, count)
    learner, phases = ShapeLearner(make_task("pendulum", {}), QUICK), []
    done = learner.learn(folder, phases.append)
    yield learner, folder, done, phases
    patch.undo()


def test_the_region_is_larger_than_that_of_its_ellipsoid(learned, tmp_path):
    learner, folder, done, phases = learned
    ellipsoid = EllipsoidLearner(make_task("pendulum", {}), replace(QUICK, time_limit=200.0))
    ellipsoid.learn(tmp_path, lambda step: None)
    assert learner.verdict.outcome == "PROVED" and check(folder / "requirement.cert", folder / NAMES[2]).outcome == "ACCEPTED"
    assert region_volume(learner.verdict) > 1.05 * region_volume(ellipsoid.verdict) > 0
    assert 'lyapunov   = "lyapunov.onnx"' in (folder / NAMES[2]).read_text() and (folder / NAMES[1]).is_file()
    assert {"grow", "forecast", "proof"} <= {step.phase for step in phases}
    assert 0.1 < done.figures["boxes expected"] / done.figures["boxes"] < 10


def test_a_run_goes_on_from_its_checkpoints_and_keeps_what_is_certified(learned):
    learner, folder, _, _ = learned
    assert (folder / SHAPES).is_file()
    again = ShapeLearner(learner.task, QUICK)
    assert again.can_resume(folder)
    state = again._resume(folder / CHECKPOINT)
    k, shape, law = again._resume_shape(folder / SHAPES, state)
    assert k == 0 and shape.shift.size == 6 and law.size == state.gains.size
    for other in (replace(QUICK, seed=1), replace(QUICK, bends=(0.1,))):
        assert ShapeLearner(learner.task, other)._resume_shape(folder / SHAPES, state) is None
    assert again._resume_shape(folder / SHAPES, replace(state, p=2 * state.p)) is None
    held = again._held(folder / NAMES[2], folder / "requirement.cert")
    assert held is not None and region_volume(held) == region_volume(learner.verdict)
    assert ShapeLearner(make_task("pendulum", {"torque_limit": "3"}), QUICK)._held(folder / NAMES[2], folder / "requirement.cert") is None


@pytest.mark.parametrize("fault", ["sign", "limit", "function"])
def test_a_broken_run_is_not_certified(fault, learned, tmp_path):
    learner, folder, _, _ = learned
    for name in NAMES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    text = (tmp_path / NAMES[2]).read_text()
    state = learner._resume(folder / CHECKPOINT)
    if fault == "sign":
        (tmp_path / NAMES[0]).write_bytes(to_onnx(law_graph(learner.task, -state.gains), double=True))
    elif fault == "limit":
        assert "torque_limit" in text
        limit = next(line for line in text.splitlines() if line.startswith("torque_limit"))
        (tmp_path / NAMES[2]).write_text(text.replace(limit, 'torque_limit = "1/10"'))
    else:
        shape = some_shape(2, 6, np.random.default_rng(0), 1.0)
        (tmp_path / NAMES[1]).write_bytes(to_onnx(shape_graph(learner.task, np.linalg.cholesky(state.p), shape), double=True))
    verdict = verify(tmp_path / NAMES[2], budget=60, workers=1)
    assert verdict.outcome in ("REFUTED", "UNKNOWN") and verdict.bundle is None and not list(tmp_path.glob("*.cert"))


def test_no_time_for_a_function_leaves_the_ellipsoid(tmp_path):
    learner = ShapeLearner(make_task("pendulum", {}), replace(QUICK, time_limit=100.0))
    done = learner.learn(tmp_path, lambda step: None)
    assert learner.verdict.outcome == "PROVED" and not (tmp_path / NAMES[1]).exists() and "boxes expected" not in done.figures
