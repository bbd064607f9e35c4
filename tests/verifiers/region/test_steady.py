"""The quadratic for a loop that errors push, against loops whose unsteady sets are known by hand."""

import numpy as np
import pytest

from tests.verifiers.vectors.build import layers
from verifiers.kernel.graph import Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.region.sampling import FloatLoop, float_quadratic
from verifiers.region.steady import steadiest_quadratic

BOX = np.full(2, -4.0), np.full(2, 4.0)


def pushed(push: float, rate: float = -1.0, time: str = "continuous") -> FloatLoop:
    """x' (or the next x) = rate x + rotation + a push of either sign along the first state: unsteady only where |x| is about the push."""

    def graph(offset: float) -> Graph:
        return read_onnx(layers([[rate, 0.5], [-0.5, rate]], biases=[[offset, 0.0]])).graph

    return FloatLoop(graph(0.0), time, (graph(push), graph(-push)))


def kept(p: np.ndarray, loop: FloatLoop, target: tuple[np.ndarray, np.ndarray]) -> float:
    """The largest sampled V without decrease, as a share of the largest level in the target."""
    top = float(np.min(target[1] ** 2 / np.diag(np.linalg.inv(p))))
    way = np.random.default_rng(5).standard_normal((20_000, 2)) @ np.linalg.inv(np.linalg.cholesky(p)).T * 0.5
    value, change = float_quadratic(p, np.zeros(2), loop).value_and_decrease(way)
    return float(value[~(change < 0)].max(initial=0.0)) / top


@pytest.mark.parametrize("half", [(0.5, 0.5), (0.3, 2.0), (2.0, 0.3)])
def test_the_unsteady_set_fits_into_the_target_with_room(half):
    target = -np.array(half), np.array(half)
    loop = pushed(0.1)
    p = steadiest_quadratic(loop, np.zeros(2), BOX, target)
    assert np.linalg.eigvalsh(p).min() > 0 and kept(p, loop, target) < 0.8


def test_no_candidate_is_taken_whose_decrease_is_true_and_slight():
    # at the edge of the target the chosen P decreases by a quarter of the loop's own decay; boxes could not show one of a hundredth
    target = np.array([-0.25, -0.5]), np.array([0.25, 0.5])
    loop = pushed(0.05)
    p = steadiest_quadratic(loop, np.zeros(2), BOX, target)
    top = float(np.min(target[1] ** 2 / np.diag(np.linalg.inv(p))))
    turn = np.linspace(0, 2 * np.pi, 500)
    edge = np.stack([np.cos(turn), np.sin(turn)], 1) @ np.linalg.inv(np.linalg.cholesky(p)).T * np.sqrt(top)
    assert (float_quadratic(p, np.zeros(2), loop).decrease(edge) < -0.25 * 2.0 * top * 0.99).all()


def test_of_a_push_too_large_for_the_target_the_least_bad_is_given():
    target = np.full(2, -0.1), np.full(2, 0.1)
    loop = pushed(1.0)
    p = steadiest_quadratic(loop, np.zeros(2), BOX, target)
    assert p is not None and kept(p, loop, target) > 1


def test_an_unstable_loop_has_none():
    assert steadiest_quadratic(pushed(0.1, rate=0.1), np.zeros(2), BOX, (BOX[0] / 8, BOX[1] / 8)) is None


def test_discrete_time():
    target = np.full(2, -0.5), np.full(2, 0.5)
    loop = pushed(0.05, rate=0.5, time="discrete")
    p = steadiest_quadratic(loop, np.zeros(2), BOX, target)
    assert kept(p, loop, target) < 0.8
