"""The nearest values that a policy with a Lipschitz bound can have: known answers, feasibility, and that nothing feasible is nearer."""

from __future__ import annotations

import numpy as np
import pytest

from certctl.learners.lipschitz import regression
from certctl.learners.lipschitz.demonstrations import BadData, Demonstrations
from certctl.learners.lipschitz.regression import lipschitz_regression

pytest.importorskip("clarabel")


def data(x: np.ndarray, u: np.ndarray) -> Demonstrations:
    return Demonstrations(x, u, (("x", ""),) * x.shape[1], (("u", ""),) * u.shape[1])


def test_two_points_meet_in_the_middle():
    """Two values 2 apart at distance 1 with L = 1: each gives way by 1/2, mean square 1/4."""
    found = lipschitz_regression(data(np.array([[0.0], [1.0]]), np.array([[-1.0], [1.0]])), 1.0)
    assert np.allclose(found.values, [[-0.5], [0.5]], atol=1e-6) and found.loss == pytest.approx(0.25, abs=1e-6)


def test_data_that_keeps_the_bound_is_left_alone():
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    found = lipschitz_regression(data(x, np.sin(x.sum(axis=1, keepdims=True))), 1.5)
    assert found.loss < 1e-12 and found.rounds == 1


@pytest.mark.parametrize("outputs", [1, 2])
def test_values_keep_the_bound_and_no_smaller_loss_does(outputs):
    rng = np.random.default_rng(1)
    x, u = rng.uniform(-1, 1, (60, 2)), rng.normal(size=(60, outputs))
    found = lipschitz_regression(data(x, u), 0.8)
    gap = np.linalg.norm(found.values[:, None] - found.values[None], axis=2) - 0.8 * np.linalg.norm(x[:, None] - x[None], axis=2)
    assert gap.max() <= 1e-5 and found.violation <= 1e-5 and found.loss > 0.1
    for seed in range(20):  # values of 0.8-Lipschitz functions: none is nearer to the data
        w = np.random.default_rng(seed).normal(size=(2, outputs))
        other = x @ w * 0.8 / np.linalg.norm(w, 2) + u.mean(axis=0)
        assert ((other - u) ** 2).sum(axis=1).mean() >= found.loss
    toward = found.values.mean(axis=0) + 0.999 * (found.values - found.values.mean(axis=0))
    assert ((toward - u) ** 2).sum(axis=1).mean() >= found.loss - 1e-9


def test_the_extension_goes_through_the_values_and_is_no_steeper():
    rng = np.random.default_rng(2)
    x, u = rng.uniform(-1, 1, (40, 2)), rng.normal(size=(40, 1))
    found = lipschitz_regression(data(x, u), 1.2)
    assert np.abs(found.evaluate(x) - found.values).max() <= 1e-5 and found.constant == 1.2
    a, b = rng.uniform(-2, 2, (3000, 2)), rng.uniform(-2, 2, (3000, 2))
    steep = np.abs(found.evaluate(a) - found.evaluate(b))[:, 0] / np.linalg.norm(a - b, axis=1)
    assert 0.1 < steep.max() <= 1.2 + 1e-9


def test_what_the_solver_does_not_answer_is_no_answer(monkeypatch):
    two = data(np.array([[0.0], [1.0]]), np.array([[-1.0], [1.0]]))
    for bound in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadData, match="positive bound"):
            lipschitz_regression(two, bound)
    for text in ("", '{"status": "AlmostSolved", "y": [[0.0], [0.0]]}', '{"status": "Solved", "y": [[0.0]]}',
                 '{"status": "Solved", "y": [[NaN], [0.0]]}'):
        monkeypatch.setattr(regression, "run", lambda *a, text=text: type("Ran", (), {"status": "ok", "text": text, "says": ""}))
        with pytest.raises(BadData, match="was not solved"):
            lipschitz_regression(two, 1.0)
