"""Unknown constants: two parameters with the same bounds are two unknowns, one parameter used twice is one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifiers.kernel.graph import Builder, Graph
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.plant import closed_loop, read_plant
from verifiers.kernel.stage import Stage, quadratic

ONE_TO_TWO = (Fraction(1), Fraction(2))


def plant(nodes: list[list[Any]], output: int) -> Graph:
    data = {"format": "certctl-plant/1", "name": "t", "time": "continuous", "dt": None,
            "states": [{"name": "x", "unit": "m", "angle": False}], "inputs": [],
            "parameters": [{"name": "a", "unit": "1", "value": "1"}, {"name": "b", "unit": "1", "value": "1"}],
            "equilibrium": {"x": ["0"], "u": []}, "domain": {"lo": ["-1"], "hi": ["1"]}, "nodes": nodes, "outputs": [output], "reference": "r"}
    unknown = {"a": ONE_TO_TWO, "b": ONE_TO_TWO}
    return closed_loop(read_plant(data), None, unknown, time="continuous", dt=None, method=None).field


def bounds(graph: Graph, lo: float, hi: float) -> tuple[float, float]:
    centre, radius = split_boxes(np.array([[lo]]), np.array([[hi]]))
    reading = JetReading(radius, 1)
    low, high = reading.bounds(read_jets(graph, reading, reading.start(centre)))
    return float(low[0, 0]), float(high[0, 0])


@pytest.mark.threat("T04")
def test_the_difference_of_two_unknowns_does_not_cancel() -> None:
    """x' = a x - b x - x/2 with a, b in [1, 2] is unstable for a = 2, b = 1, and no decrease may be shown for it."""
    field = plant([["x", 0], ["p", "a"], ["p", "b"], ["mul", 1, 0], ["mul", 2, 0], ["sub", 3, 4], ["c", "-1/2"], ["mul", 6, 0], ["add", 5, 7]], 8)
    low, high = bounds(field, 1.0, 1.0)
    assert low <= -1.5 and high >= 0.5
    edge = np.array([1.0])
    stage = Stage(field, "continuous", quadratic([[Fraction(1)]], [Fraction(0)]), Fraction(1), -edge, edge, -edge, edge)
    assert not (stage.evaluate(np.array([[0.5]]), np.array([[0.6]])).decrease < 0).any()


def test_one_unknown_used_twice_is_one() -> None:
    field = plant([["x", 0], ["p", "a"], ["mul", 1, 0], ["mul", 1, 0], ["sub", 2, 3], ["sub", 4, 0]], 5)
    low, high = bounds(field, 1.0, 1.0)
    assert abs(low + 1) < 1e-9 and abs(high + 1) < 1e-9


def test_the_product_of_two_unknowns_is_no_square() -> None:
    b = Builder()
    b.input(1)
    signed = (Fraction(-1), Fraction(1))
    p, q = b.const([signed]), b.const([signed])
    assert p != q
    graph = b.build([b.binary("mul", p, q)])
    low, high = bounds(graph, 0.0, 0.0)
    assert low <= -1 and high >= 1


def test_inlining_twice_keeps_unknowns_apart() -> None:
    inner = Builder()
    inner.input(1)
    graph = inner.build([inner.const([ONE_TO_TWO])])
    outer = Builder()
    x = outer.input(1)
    first, second = outer.inline(graph, [x])[0], outer.inline(graph, [x])[0]
    assert first != second
