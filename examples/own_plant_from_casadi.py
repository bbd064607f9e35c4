"""Certify a controller for a plant of your own: CasADi equations become plant.json, and the proof is bound to exactly that file.

    python examples/own_plant_from_casadi.py [FOLDER]      # default demo-output/own_plant; needs casadi, control, onnx: make test installs them

The plant is a steel ball under an electromagnet: unstable, and nonlinear in current and gap.  The controller is a linear-quadratic
regulator whose current is limited smoothly by a tanh, as a network would limit it.  The friction of the guide is an unknown constant:
the proof holds for every value between its limits.  Exit code 0 only when the loop is proved and the report is written.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import control
import numpy as np
from onnx import TensorProto, helper

import certctl
from certctl.report.page import write_report
from certctl.view import open_view
from systems import Input, Parameter, Plant, State
from systems.export import plant_json

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/own_plant")

REQUIREMENT = """
property   = "asymptotic_stability_roa"
plant      = {{ path = "ball.plant.json", sha256 = "{sha256}" }}
controller = "controller.onnx"
time       = "continuous"
saturation = "clip"

[domain]                             # 4 mm around the gap of 10 mm
lo = ["-0.004", "-0.3"]
hi = ["0.004", "0.3"]

[region]
level    = "max"
contains = {{ lo = ["-0.001", "-0.02"], hi = ["0.001", "0.02"] }}
"""


def ball_under_magnet() -> Plant:
    """Gap z0 + z below the magnet, pulled up by k (i0 + u)^2 / (z0 + z)^2, down by its weight, and slowed by friction b w.

    Every physical number is a parameter, written exactly: at the equilibrium k i0^2 / z0^2 = m g.  A pair is an unknown constant in between.
    """
    def dynamics(x, u, p):
        pull = p.k * (p.i0 + u.u) ** 2 / (p.z0 + x.z) ** 2
        return [x.w, p.g - pull / p.m - p.b / p.m * x.w]

    return Plant.from_equations(
        "ball", states=[State("z", "m"), State("w", "m/s")], inputs=[Input("u", "A", "-current_limit", "current_limit")],
        parameters=[Parameter("m", "kg", "0.1"), Parameter("g", "m/s^2", "9.81"), Parameter("k", "N*m^2/A^2", "0.0000981"),
                    Parameter("i0", "A", "1"), Parameter("z0", "m", "0.01"), Parameter("b", "N*s/m", ("0.2", "0.3")),
                    Parameter("current_limit", "A", "0.8")],
        dynamics=dynamics, equilibrium=(["0", "0"], ["0"]), domain=(["-0.004", "-0.3"], ["0.004", "0.3"]),
        reference="Newton's law with the reluctance force of a magnet whose inductance falls as 1/gap.")


def write_controller(path: Path, gain: np.ndarray, limit: float) -> None:
    """u = limit tanh(gain x / limit) as float32 ONNX."""
    weight = helper.make_tensor("gain", TensorProto.FLOAT, gain.shape, (gain / limit).astype("<f4").tobytes(), raw=True)
    scale = helper.make_tensor("limit", TensorProto.FLOAT, [1], np.array([limit], "<f4").tobytes(), raw=True)
    nodes = [helper.make_node("Gemm", ["x", "gain"], ["v"], transB=1), helper.make_node("Tanh", ["v"], ["w"]),
             helper.make_node("Mul", ["w", "limit"], ["u"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in (("x", gain.shape[1]), ("u", gain.shape[0]))]
    graph = helper.make_graph(nodes, "policy", values[:1], values[1:], [weight, scale])
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def main() -> int:
    """Write plant, controller and requirement; prove; report."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    plant = ball_under_magnet()
    (FOLDER / "ball.plant.json").write_text(plant_json(plant), encoding="ascii", newline="\n")
    sha256 = hashlib.sha256((FOLDER / "ball.plant.json").read_bytes()).hexdigest()

    linear = plant.linearize()  # a python-control StateSpace, with exact derivatives by CasADi
    gain, _, poles = control.lqr(linear, np.diag([1e6, 1e2]), np.eye(1))
    print(f"linearisation's poles {np.round(linear.poles(), 1)}, with the regulator {np.round(poles, 1)}")
    write_controller(FOLDER / "controller.onnx", -gain, 0.8)

    requirement, bundle = FOLDER / "requirement.toml", FOLDER / "requirement.cert"
    requirement.write_text(REQUIREMENT.format(sha256=sha256), encoding="utf-8")
    verdict = certctl.verify(requirement, bundle, budget=60, force=True)
    print(f"{verdict.outcome}: {verdict.message} (search {verdict.search_s:.1f} s)")
    if verdict.outcome != "PROVED":
        print(f"{verdict.code} at {verdict.at}")
        return 1
    view = open_view(bundle, requirement)
    for path in write_report(view, FOLDER / "report.html", own_requirement=requirement):
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
