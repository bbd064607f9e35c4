"""Certify a python-control loop whose actuator saturates, and see the same gain fail when it is sampled too slowly.

    python examples/python_control_loop.py [FOLDER]      # default demo-output/python_control; needs casadi, control, onnx: make test installs them

The plant is a geared DC motor on a spring-loaded joint, a ``control.StateSpace``; the controller is the gain of ``control.lqr`` wrapped as
a static ``control`` system; the voltage is limited to 12 V, inside the proof.  A control engineer learns three things:

* poles speak of small signals: past some angle the spring beats the 12 V, so what is proved of the loop is a region, not a number;
* a proof in continuous time is not one for the computer that runs the gain: sampled every 20 ms the loop gets a claim of its own,
  on the exact zero-order-hold map;
* sampled every 100 ms the same gain is unstable, which certctl proves too, and shows a trajectory that grows until the limit holds it.

Exit code 0 only if the three answers are proved, proved, refuted.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import control
import matplotlib
import numpy as np
from onnx import TensorProto, helper

import certctl
from certctl import plot
from certctl.plot.palette import RC
from certctl.view import View, open_question, open_view
from systems import Plant
from verifiers.prove import Verdict

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/python_control")
DOMAIN = (["-1", "-10"], ["1", "10"])  # rad, rad/s
VOLTS = "12"

REQUIREMENT = """
property   = "asymptotic_stability_roa"
plant      = {{ path = "{plant}.plant.json", sha256 = "{sha256}" }}
controller = "controller.onnx"
{time}
saturation = "clip"

[domain]
lo = ["-1", "-10"]
hi = ["1", "10"]

[region]
level    = "max"
contains = {{ lo = ["-0.1", "-0.5"], hi = ["0.1", "0.5"] }}
"""


def motor() -> control.StateSpace:
    """Joint angle phi and speed omega; a spring pushes the joint away from phi = 0, so the open loop is unstable."""
    inertia, torque_constant, resistance, friction, spring = 0.02, 0.25, 1.5, 0.02, 4.0  # kg m^2, N m/A, ohm, N m s/rad, N m/rad
    damping = friction + torque_constant**2 / resistance  # the back-EMF brakes
    a = [[0.0, 1.0], [spring / inertia, -damping / inertia]]
    b = [[0.0], [torque_constant / resistance / inertia]]
    return control.ss(a, b, np.eye(2), np.zeros((2, 1)), states=["phi", "omega"], inputs=["u"], outputs=["phi", "omega"], name="motor")


def write_controller(feedback: control.StateSpace, path: Path) -> None:
    """u = D x, the static control system, as float32 ONNX: what is proved, and what would run."""
    gain = np.asarray(feedback.D, dtype="<f4")
    weight = helper.make_tensor("gain", TensorProto.FLOAT, gain.shape, gain.tobytes(), raw=True)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in (("x", gain.shape[1]), ("u", gain.shape[0]))]
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "gain"], ["u"], transB=1)], "feedback", values[:1], values[1:], [weight])
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def ask(system: control.StateSpace, feedback: control.StateSpace, name: str, dt: str | None) -> Verdict:
    """Write plant, controller and requirement into FOLDER/NAME, and verify."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    plant = Plant.from_control(system, name=name, domain=DOMAIN, limits=[(f"-{VOLTS}", VOLTS)], units={"phi": "rad", "omega": "rad/s", "u": "V"},
                               angles=["phi"], dt=dt, reference="DC motor without inductance, spring-loaded joint.")
    sha256 = hashlib.sha256(plant.save(folder / f"{name}.plant.json").read_bytes()).hexdigest()
    write_controller(feedback, folder / "controller.onnx")
    time = 'time       = "continuous"' if dt is None else f'time       = "discrete"\ndt         = "{dt}"'
    requirement = folder / "requirement.toml"
    requirement.write_text(REQUIREMENT.format(plant=name, sha256=sha256, time=time), encoding="utf-8")
    verdict = certctl.verify(requirement, budget=30, force=True)
    closed = control.ss(system.A + system.B @ feedback.D, system.B, system.C, system.D, system.dt)
    print(f"{name}: poles of the linear loop {np.round(closed.poles(), 3)}\n  {verdict.outcome} {verdict.code or ''} {verdict.message}")
    if verdict.receipt is not None and verdict.outcome == "PROVED":
        print(f"  area of the region at least {verdict.receipt.region['volume_lower_bound']:.4g} rad*rad/s")
    return verdict


def open_answer(verdict: Verdict) -> View:
    """The checked bundle, or the bare question where there is none."""
    requirement = FOLDER / verdict.name / "requirement.toml"
    return open_question(requirement) if verdict.bundle is None else open_view(verdict.bundle, requirement)


def picture(verdicts: dict[str, Verdict], feedback: control.StateSpace) -> Path:
    """One panel per answer; the dotted lines are where the command reaches its limit."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with matplotlib.rc_context(RC):
        page, panels = plt.subplots(1, len(verdicts), figsize=(9.2, 3.9), sharex=True, sharey=True, layout="constrained")
        entries, views = {}, [open_answer(verdict) for verdict in verdicts.values()]
        for ax, view, (title, verdict) in zip(panels, views, verdicts.items(), strict=True):
            plot.region(ax, view)
            if view.is_certified:
                plot.trajectories(ax, view)
            else:  # the first seconds show how it grows; afterwards it swings for ever
                plot.counterexamples(ax, verdict.counterexample["x"], paths=[verdict.counterexample["trajectory"][:14]])
            phi, (k_phi, k_omega) = np.array([-1.05, 1.05]), feedback.D[0]
            for volts in (-float(VOLTS), float(VOLTS)):
                line, = ax.plot(phi, (volts - k_phi * phi) / k_omega, color="black", linestyle=":", linewidth=0.8)
            ax.set(xlim=(-1.05, 1.05), ylim=(-10.5, 10.5), xticks=(-0.5, 0.0, 0.5), title=f"{title}: {verdict.outcome.lower()}")
            # every panel has a level of its own, so the shared legend names the colour only
            entries |= {label.split(":")[0]: key for label, key in ax.certctl_legend.items()}
        for ax in panels[1:]:
            ax.set_ylabel("")
        entries[f"command at ±{VOLTS} V"] = line
        page.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=6)
        return plot.save(page, FOLDER / "regions.png", *views)


def main() -> int:
    """Design once, ask three times."""
    plant = motor()
    gain, _, _ = control.lqr(plant, np.diag([100.0, 1.0]), np.eye(1))
    feedback = control.ss([], [], [], -gain, inputs=["phi", "omega"], outputs=["u"], name="feedback")
    fast, slow = (plant.sample(dt, method="zoh") for dt in (0.02, 0.1))
    verdicts = {"continuous": ask(plant, feedback, "continuous", None), "every 20 ms": ask(fast, feedback, "sampled_20ms", "1/50"),
                "every 100 ms": ask(slow, feedback, "sampled_100ms", "1/10")}
    as_expected = [verdict.outcome for verdict in verdicts.values()] == ["PROVED", "PROVED", "REFUTED"]
    if as_expected:
        print(f"  {picture(verdicts, feedback)}")
    print("as expected: proved, proved, refuted" if as_expected else "NOT as expected: proved, proved and refuted were")
    return 0 if as_expected else 1


if __name__ == "__main__":
    sys.exit(main())
