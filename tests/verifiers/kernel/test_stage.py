"""Levels, faces, images and limits of a stage, at the very ends and one float64 beside them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.jets import JetReading
from verifiers.kernel.stage import Function, Stage, _thresholds, quadratic, strip_output

F = Fraction
BESIDE = np.nextafter(1.0, 0.0), 1.0, np.nextafter(1.0, 2.0)
V = quadratic([[F(1), F(0)], [F(0), F(1)]], [F(0), F(0)])
BOXES = np.zeros((3, 2)), np.ones((3, 2))


@dataclass(frozen=True, eq=False)
class Known(Stage):
    """Functions have known bounds; the boxes asked about are kept."""

    known: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    asked: list[tuple[list[Any], list[Any]]] = field(default_factory=list)

    def value(self, function: Function, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((lo.tolist(), hi.tolist()))
        return tuple(end[:len(lo)] for end in self.known[id(function)])  # type: ignore[return-value]


def stage(**changes: Any) -> Known:
    near, far = np.array([1.0, 2.0]), np.array([1.5, 2.5])
    made = Known(V.graph, "continuous", V, F(1), -far, far, -near, near)
    return replace(made, **{"known": {id(V): (np.array(BESIDE), np.array(BESIDE))}, **changes})


@pytest.mark.threat("T09")
def test_a_level_itself_is_inside() -> None:
    assert stage().outside(*BOXES).tolist() == [False, False, True]
    assert stage().inside(*BOXES).tolist() == [True, True, False]


@pytest.mark.threat("T09")
def test_a_box_lies_in_one_region_or_another_as_a_whole() -> None:
    other = replace(V)
    known = {id(V): (np.zeros(3), np.array(BESIDE)), id(other): (np.zeros(3), np.full(3, 3.0))}
    inner = stage(inner=((V, F(1)), (other, F(2))), known=known)
    assert inner.in_inner(*BOXES).tolist() == [True, True, False]
    inner.known[id(other)] = np.zeros(3), np.array([3.0, 2.0, 2.0])
    assert inner.in_inner(*BOXES).tolist() == [True, True, True] and not stage().in_inner(*BOXES).any()


@pytest.mark.threat("T09")
@pytest.mark.parametrize("axis", [0, 1])
def test_boxes_that_reach_the_boundary_are_checked_on_its_faces(axis: int) -> None:
    made = stage(known={id(V): (np.array([0.0] * 3), np.array([9.0] * 3))})
    end = made.inner_hi[axis]
    for at, touches in ((np.nextafter(end, 0.0), False), (end, True), (np.nextafter(end, 9.0), True)):
        for sign in (-1.0, 1.0):
            made.asked.clear()
            lo, hi = np.zeros((1, 2)), np.zeros((1, 2))
            (lo if sign < 0 else hi)[0, axis] = sign * at
            assert made.faces_outside(lo, hi).tolist() == [not touches] and len(made.asked) == touches
            if touches:
                face = sorted((sign * made.inner_hi[axis], sign * made.hi[axis]))
                assert [made.asked[0][k][0][axis] for k in (0, 1)] == face and made.asked[0][0][0][1 - axis] == 0.0
    away = stage(known={id(V): (np.array([2.0] * 3), np.array([9.0] * 3))})
    assert away.faces_outside(-away.hi[None], away.hi[None]).tolist() == [True] and len(away.asked) == 4
    one = stage(known={id(V): (np.array([0.0, 2.0, 2.0]), np.array([9.0] * 3))})
    assert one.faces_outside(np.array([[-2.0, 0.0], [-2.0, 0.0], [0.0, 0.0]]), np.zeros((3, 2))).tolist() == [False, True, True]


@pytest.mark.threat("T09")
def test_an_image_may_reach_the_inner_ends_and_no_further() -> None:
    made = stage()
    assert made.stays(*BOXES, (made.inner_lo[None], made.inner_hi[None])).tolist() == [True]
    for k in (0, 1):
        for end in (0, 1):
            image = made.inner_lo.copy()[None], made.inner_hi.copy()[None]
            image[end][0, k] *= 1 + 2.0**-52
            assert made.stays(*BOXES, image).tolist() == [False]
    assert replace(made, contained=True).stays(*BOXES, image).all()
    assert made.stays(-made.hi[None], made.hi[None], None).tolist() == [False] and made.asked


@pytest.mark.threat("T09")
def test_a_command_may_reach_its_limits_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage(command=V.graph, limits=((-1.0, 1.0), (-2.0, 2.0)))
    ends = [np.array([1.0, 2.0]) * np.ones((5, 1)) for _ in range(2)]
    ends[0][1, 0] = ends[1][2, 0] = BESIDE[2]
    ends[0][3, 1] = ends[1][4, 1] = 3.0
    monkeypatch.setattr(JetReading, "bounds", lambda self, jet: (-ends[0], ends[1]))
    assert made.command_within(np.zeros((5, 2)), np.ones((5, 2))).tolist() == [True, False, False, False, False]
    assert replace(made, command=None).command_within(*BOXES).all()


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("op", "low"), [("sigmoid", 0), ("tanh", -1)])
def test_levels_that_the_output_does_not_reach_decide_nothing(op: str, low: int) -> None:
    for level in (F(low - 1), F(low), F(1), F(2)):
        assert _thresholds(op, level) == (-np.inf, np.inf)
    assert np.isfinite(_thresholds(op, F(low) + F(1, 100))).all()


def test_leaves_of_discrete_time_have_no_graph_of_the_rise() -> None:
    with pytest.raises(Refusal) as no:
        _ = stage(time="discrete").rise
    assert no.value.code is Code.UNSUPPORTED
    assert len(stage().rise.outputs) == 2


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("op", "n", "monotone"), [("tanh", 1, "tanh"), ("sigmoid", 1, "sigmoid"), ("tanh", 2, None), ("sin", 1, None),
                                                  ("neg", 1, None)])
def test_only_a_single_output_that_rises_is_dropped(op: str, n: int, monotone: str | None) -> None:
    b = Builder()
    graph = b.build([b.unary(op, b.input(n))])
    found = strip_output(graph)
    assert found.monotone == monotone and (found.graph is graph) == (monotone is None)
    assert monotone is None or found.graph.nodes[found.graph.outputs[0]].op != op


def test_a_decrease_that_is_convex_is_bounded_by_its_tangent() -> None:
    """V' = -2 x'Ax in a narrow valley: on the first box the sum of all terms decides nothing, on the second it is enough and stays."""
    b, a = Builder(), np.array([[1.0, -0.95], [-0.95, 1.0]])
    field_ = b.build([b.affine(b.input(2), Affine(-a, np.zeros(2)))])
    half = np.full(2, 4.0)
    made = Stage(field_, "continuous", V, F(16), -half, half, -half, half, taylor=True)
    lo, hi = np.array([[0.5, 0.5], [1.0, -1.001]]), np.array([[1.5, 1.5], [1.001, -1.0]])
    found = made.evaluate(lo, hi)
    assert -0.0501 < found.decrease[0] < -0.04 and -7.82 < found.decrease[1] < -7.79
    corner = [-2 * np.array(p) @ a @ np.array(p) for p in ((0.5, 0.5), (1.0, -1.0))]
    assert (found.decrease >= corner).all()


@pytest.mark.parametrize("cached", [1, 40])
def test_boxes_read_in_parts_are_all_there(cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a part, also where a layer is larger than what is to stay in the cache, each box has its own bounds."""
    b = Builder()
    turned = b.unary("tanh", b.affine(b.input(2), Affine(np.array([[1.0, 0.5], [-0.5, 1.0]]), np.zeros(2))))
    whole = Stage(b.build([b.unary("neg", turned)]), "continuous", V, F(1), -np.ones(2), np.ones(2), -np.ones(2), np.ones(2), taylor=True)
    lo = np.random.default_rng(0).uniform(-1, 0.8, (50, 2))
    one = [whole.evaluate(lo[k:k + 1], lo[k:k + 1] + 0.1) for k in range(50)]
    monkeypatch.setattr("verifiers.kernel.stage.CACHED", cached)
    found = whole.evaluate(lo, lo + 0.1)
    for name in ("v_lo", "v_hi", "decrease", "least"):
        np.testing.assert_allclose(getattr(found, name), np.concatenate([getattr(e, name) for e in one]), rtol=1e-12)
    assert found.scores.shape == (2, 50)
