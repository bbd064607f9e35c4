"""The caller's own plant, the domain's size and the shape of a function."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onnx_models import floats, helper, model

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.requirement import Box
from verifiers.kernel.setting import PLANTS, open_setting, plant_bytes, read_function

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
