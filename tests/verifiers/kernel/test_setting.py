"""The caller's own plant, the domain's size and the shape of a function."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onnx_models import floats, helper, ints, model

from verifiers.kernel import setting
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Builder, affine_from_rational
from verifiers.kernel.requirement import Box
from verifiers.kernel.setting import PLANTS, Source, make_stage, open_setting, plant_bytes, read_function

OWN, OTHER = b"{}", b"[]"


def refused(call: Any) -> Code:
    with pytest.raises(Refusal) as no:
        call()
    return no.value.code


def named(own: bytes = OWN) -> Any:
    return SimpleNamespace(plant="own.plant.json", plant_sha256=hashlib.sha256(own).hexdigest())


@pytest.mark.threat("T04")
def test_a_plant_of_ones_own_has_the_digest_that_the_requirement_names(tmp_path: Path) -> None:
    (tmp_path / "own.plant.json").write_bytes(OWN)
    assert plant_bytes(named(), tmp_path, OTHER) == plant_bytes(named(), tmp_path) == plant_bytes(named(), None, OWN) == OWN
    for wrong in (lambda: plant_bytes(named(OTHER), tmp_path, OTHER), lambda: plant_bytes(named(OTHER), tmp_path),
                  lambda: plant_bytes(named(), None, OTHER), lambda: plant_bytes(named(b""), None, OWN)):
        assert refused(wrong) is Code.PLANT_MISMATCH


@pytest.mark.threat("T04")
@pytest.mark.parametrize("more", [-1, 1])
def test_a_domain_has_the_states_of_the_plant(more: int) -> None:
    plant = (PLANTS / "van_der_pol.plant.json").read_bytes()
    requirement: Any = SimpleNamespace(domain=Box((Fraction(-1),) * (2 + more), (Fraction(1),) * (2 + more)))
    assert refused(lambda: open_setting(requirement, plant, None)) is Code.BAD_SHAPE


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_function_maps_the_states_to_one_number(inputs: int, outputs: int) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    data = model(nodes, [floats("w", [[0.5] * outputs] * inputs)], (1, inputs), out=(1, outputs)).SerializeToString()
    if (inputs, outputs) == (1, 1):
        assert read_function(data, 1, "V").input_sizes == (1,)
    else:
        assert refused(lambda: read_function(data, 1, "V")) is Code.BAD_SHAPE


def setting_of(lo: str, hi: str, *limits: Any) -> Any:
    """A plant of two states at rest, whose second state is free between -9 and 9."""
    field, ends = Builder(), [(Fraction(lo), Fraction(-9)), (Fraction(hi), Fraction(9))]
    loop = SimpleNamespace(field=field.build([field.input(2)]), command=None, limits=limits)
    return SimpleNamespace(requirement=SimpleNamespace(time="continuous", saturation="allow"), rate=Fraction(0), loop=loop, lo=ends[0], hi=ends[1],
                           spec=SimpleNamespace(states=[SimpleNamespace(name=name) for name in "ab"]), functions={}, stages=())


EYE = ((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1)))
BALL = Source(EYE, (Fraction(0),) * 2, None)


@pytest.mark.threat("T09")
def test_an_ellipsoid_lies_in_the_interior_of_the_domain_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting, "ellipsoid_reach", lambda matrix, level: [1.0, 1.0])
    assert make_stage(setting_of("-1.001", "1.001"), BALL, Fraction(1), EYE).contained
    for lo, hi in (("-1", "2"), ("-2", "1"), ("-1/2", "2"), ("-2", "1/2")):
        assert refused(lambda lo=lo, hi=hi: make_stage(setting_of(lo, hi), BALL, Fraction(1), EYE)) is Code.CONTAINMENT


@pytest.mark.threat("T09")
def test_limits_of_the_command_are_rounded_inward() -> None:
    for third in (Fraction(1, 3), Fraction(-1, 3), Fraction(2, 3), Fraction(1, 10)):
        made = make_stage(setting_of("-2", "2", ((third - 1, third), (third, third + 1)), (None, None)), BALL, Fraction(1), None)
        assert third < Fraction(made.limits[0][0]) < third + Fraction(1, 10**15) and third - Fraction(1, 10**15) < Fraction(made.limits[0][1]) < third
        assert made.limits[1] == (-math.inf, math.inf)


@pytest.mark.threat("T09")
@pytest.mark.parametrize(("time", "code"), [("continuous", Code.UNSUPPORTED), ("discrete", None)])
def test_only_a_loop_in_discrete_time_may_have_a_policy_that_jumps(time: str, code: Code | None) -> None:
    """u = 1 where the states' sum is at least 0, -1 elsewhere."""
    nodes = [helper.make_node("ReduceSum", ["x", "one"], ["s"]), helper.make_node("GreaterOrEqual", ["s", "zero"], ["c"]),
             helper.make_node("Where", ["c", "up", "down"], ["y"])]
    law = model(nodes, [ints("one", [1]), floats("zero", 0.0), floats("up", 1.0), floats("down", -1.0)], (1, 2), out=(1, 1)).SerializeToString()
    timing: Any = {"dt": None, "method": None} if time == "continuous" else {"dt": Fraction(1, 100), "method": "euler"}
    domain = Box((Fraction(-1),) * 2, (Fraction(1),) * 2)
    requirement: Any = SimpleNamespace(domain=domain, time=time, parameters={}, safe=None, imitation=None, **timing)
    plant = (PLANTS / "pendulum.plant.json").read_bytes()
    if code is None:
        assert {"where"} < {node.op for node in open_setting(requirement, plant, law).loop.field.nodes}
    else:
        assert refused(lambda: open_setting(requirement, plant, law)) is code


@pytest.mark.threat("T09")
@pytest.mark.parametrize("rate", [Fraction(0), Fraction(1, 9)])
def test_a_monotone_output_is_dropped_only_where_no_rate_is_asked(rate: Fraction) -> None:
    """V' <= -rate V is another demand on the argument of a sigmoid than on the sigmoid, and so it is for the stages before."""
    b = Builder()
    squares = b.affine(b.binary("mul", x := b.input(2), x), affine_from_rational([[Fraction(1)] * 2], [Fraction(0)]))
    network = Source(None, (Fraction(0),) * 2, b.build([b.unary("sigmoid", squares)]))
    about = setting_of("-2", "2")
    about.rate, about.functions, about.stages = rate, {"V": network}, [("V", Fraction(3, 4))]
    made = make_stage(about, network, Fraction(4, 5), None)
    for function in (made.function, made.inner[0][0]):
        assert (function.graph.nodes[function.graph.outputs[0]].op == "sigmoid") is (rate > 0)
