"""The attack: errors within their size, never better for the plant than none, and the known worst case of one step of a linear loop."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from certctl.learners.lipschitz.attack import attack
from certctl.learners.lipschitz.problem import open_problem
from verifiers.kernel.graph import Affine, Builder
from verifiers.load.floats import evaluate


def gain(*row: float):
    b = Builder()
    return b.build([b.affine(b.input(2), Affine(np.array([row]), np.zeros(1)))])


def sampled(half: str):
    return open_problem("double_integrator", domain=((f"-{half}",) * 2, (half,) * 2), time="discrete", dt="1/10", method="euler",
                        parameters={"input_limit": "50"})


@pytest.fixture(scope="module")
def cart():
    return sampled("2")


def test_one_step_has_its_known_worst_error(cart):
    """x+ is not priced after one step, so only |u|^2 is: the worst error of size s lies along the gain, and |u| grows by s |K|."""
    k, x = np.array([-3.0, -4.0]), np.array([[0.2, 0.1], [-0.5, 0.3]])
    found = attack(cart, gain(*k), x, 0.1, steps=1)
    worst = (np.abs(x @ k) + 0.1 * 5) ** 2 + (x**2).sum(axis=1)
    assert np.allclose(found.attacked_cost, worst, rtol=1e-6) and np.allclose(found.nominal_cost, (x @ k) ** 2 + (x**2).sum(axis=1))


def test_errors_keep_their_size_and_states_are_those_of_the_loop(cart):
    policy = gain(-1.0, -1.7)
    found = attack(cart, policy, np.array([[0.5, 0.0], [0.0, -0.5], [0.1, 0.1]]), 0.2, steps=15, iterations=15)
    assert found.errors.shape == (15, 3, 2) and np.linalg.norm(found.errors, axis=2).max() <= 0.2 + 1e-12
    assert (found.attacked_cost > 1.2 * found.nominal_cost).all()
    for run, errors in ((found.nominal, 0 * found.errors), (found.attacked, found.errors)):
        for k in range(15):
            assert np.allclose(evaluate(cart.step, run[k], evaluate(policy, run[k] + errors[k])), run[k + 1])


def test_without_size_there_is_no_attack(cart):
    found = attack(cart, gain(-1.0, -1.7), np.array([[0.5, 0.0]]), 0.0, steps=10)
    assert (found.nominal == found.attacked).all() and found.nominal_cost == found.attacked_cost and not found.drives_out(cart).any()


def test_a_policy_that_reacts_wildly_is_driven_out_and_a_gentle_one_is_not():
    """A steep feedback turns an error of the measurement into a large input."""
    small = sampled("1")
    start = np.array([[0.1, 0.0]])
    driven = {k: attack(small, gain(-k, -k), start, 0.2, steps=40, iterations=30).drives_out(small)[0] for k in (1.0, 18.0)}
    assert driven == {1.0: False, 18.0: True}


@pytest.mark.parametrize("wrong", [{"size": -0.1}, {"size": float("nan")}, {"starts": np.zeros((1, 3))}, {"steps": 0}])
def test_calls_that_do_not_fit_are_refused(cart, wrong):
    given = {"starts": np.zeros((1, 2)), "size": 0.1, "steps": 2, **wrong}
    with pytest.raises(ValueError):
        attack(cart, gain(-1.0, -1.0), given.pop("starts"), given.pop("size"), **given)
