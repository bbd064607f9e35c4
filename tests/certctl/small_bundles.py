"""Small true bundles, made by hand: a van der Pol loop with a linear controller, proved by one local ellipsoid."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certctl.view import StageView, View
from systems import plant_json_path
from verifiers.bundle_writer import write_bundle
from verifiers.kernel.bundle import open_bundle
from verifiers.kernel.check import Receipt
from verifiers.kernel.plant import read_plant
from verifiers.kernel.requirement import read_requirement
from verifiers.kernel.setting import expected_claim, open_setting
from verifiers.kernel.stage import quadratic
from verifiers.kernel.strict import read_json

LEVEL = "1/20"
MATRIX = [["3/2", "1/2"], ["1/2", "1"]]
REQUIREMENT = """property = "asymptotic_stability_roa"
plant = "van_der_pol"
controller = "{controller}"
time = "continuous"
[parameters]
input_limit = "10"
[domain]
lo = ["-2", "-2"]
hi = ["2", "2"]
[region]
contains = {{ lo = ["-1/10", "-1/10"], hi = ["1/10", "1/10"] }}
"""


def linear_controller(gains: tuple[float, ...] = (0.0, -2.0)) -> bytes:
    """ONNX bytes of u = K x."""
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    weight = onnx.numpy_helper.from_array(np.array([gains], dtype=np.float32).T.copy(), "K")
    graph = h.make_graph([h.make_node("MatMul", ["x", "K"], ["u"])], "controller",
                         [h.make_tensor_value_info("x", 1, [1, len(gains)])], [h.make_tensor_value_info("u", 1, [1, 1])], [weight])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()


def write_case(folder: Path, name: str = "loop", controller: str = "controller.onnx", gains: tuple[float, ...] = (0.0, -2.0)) -> Path:
    """Write controller and requirement into a folder; return the requirement's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / controller).write_bytes(linear_controller(gains))
    requirement = folder / f"{name}.requirement.toml"
    requirement.write_text(REQUIREMENT.format(controller=controller), encoding="utf-8")
    return requirement


def prove(requirement: Path, out: Path | None = None, **changes: Any) -> Path:
    """Write the bundle of a case beside its requirement; keyword arguments replace those of ``write_bundle``."""
    data = requirement.read_bytes()
    wanted = read_requirement(data, "loop")
    plant = plant_json_path(wanted.plant).read_bytes()
    spec = read_plant(read_json(plant, "plant.json"))
    region = {"function": "P", "level": LEVEL}
    obligations = [
        {"id": "equilibrium", "proof": {"kind": "evaluation", "center": ["0", "0"], "radius": ["0", "0"]}},
        {"id": "local", "proof": {"kind": "jacobian_lmi", "function": "P", "frame": [["1", "0"], ["0", "1"]], "neighbourhood": ["1/4", "1/4"],
                                  "level": LEVEL}},
        {"id": "contains", "proof": {"kind": "evaluation"}}, {"id": "volume", "proof": {"kind": "evaluation"}}]
    arguments: dict[str, Any] = {
        "requirement": data, "plant": plant, "controller": (requirement.parent / str(wanted.controller)).read_bytes(),
        "functions": {"P": {"kind": "quadratic", "matrix": MATRIX, "center": ["0", "0"]}}, "files": {},
        "claim": expected_claim(wanted, spec, region), "obligations": obligations,
        "assumptions": ["the full state is measured without error", "the input acts without delay"], "producer": {"name": "tests"}}
    place = out or requirement.with_name(requirement.name.removesuffix(".requirement.toml") + ".cert")
    return write_bundle(place, **{**arguments, **changes})


def swap_controller(bundle: Path, data: bytes) -> None:
    """Replace the controller in a bundle without telling the certificate."""
    (bundle / "controller.onnx").write_bytes(data)


def digest_of(path: Path) -> str:
    """The bundle digest, as the kernel computes it."""
    return open_bundle(path).digest


def sha256_of(path: Path) -> str:
    """Digest of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tamper_level(bundle: Path, level: str) -> None:
    """Claim a larger region than the proof shows, as a forger would."""
    path = bundle / "certificate.json"
    statement = json.loads(path.read_text(encoding="utf-8"))
    statement["predicate"]["claim"]["region"]["level"] = level
    next(o for o in statement["predicate"]["obligations"] if o["id"] == "local")["proof"]["level"] = level
    path.write_text(json.dumps(statement), encoding="utf-8")


def four_states(folder: Path) -> View:
    """A cart-pole under a linear controller with a candidate ellipsoid, as if the kernel had accepted it: for drawing only."""
    text = ('property = "asymptotic_stability_roa"\nplant = "cartpole"\ncontroller = "controller.onnx"\ntime = "continuous"\n'
            '[domain]\nlo = ["-1", "-1", "-3", "-3"]\nhi = ["1", "1", "3", "3"]\n[region]\nmin_volume = "1/1000"\n')
    wanted = read_requirement(text.encode(), "cart")
    setting = open_setting(wanted, plant_json_path("cartpole").read_bytes(), linear_controller((1.0, -40.0, 2.0, -12.0)))
    eye = [[Fraction(int(i == j)) for j in range(4)] for i in range(4)]
    stage = StageView("local", "P", Fraction(1, 4), quadratic(eye, [Fraction(0)] * 4).graph)
    receipt = Receipt("ACCEPTED", None, None, "for drawing", "cart", wanted.property, "L2",
                      {"function": "P", "level": "1/4", "volume_lower_bound": 0.3}, bundle_digest="0" * 64)
    return View(folder, receipt, None, wanted, setting, (stage,))
