"""Learn a controller and a Lyapunov function for the van der Pol oscillator with |u| <= 1, certify the region, and draw it; then only the function.

    python examples/learn_van_der_pol.py [FOLDER]      # default demo-output/van_der_pol; about a minute, needs certctl[model]

The second part takes the controller of the first as if it were yours (any ONNX file will do) and learns a function for it anew, on a smaller box.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from certctl import plot
from certctl.learners.learner import Step
from certctl.learners.roa.task import Task, make_task
from certctl.learners.roa.zubov import Scheme
from certctl.learners.roa.zubov_learner import Settings, ZubovLearner
from certctl.view import open_view
from verifiers.kernel.onnx_reader import read_onnx

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/van_der_pol")


def told(step: Step) -> None:
    """Print when something new begins."""
    if step.phase == "proof":
        print(f"  {step.seconds:.0f} s: loss {step.loss:.2g}, no violation below V = {step.figures['lowest violation']:.3g}; asking the prover")


def learn(name: str, task: Task, controller: bytes | None = None) -> bool:
    """Learn, prove, and draw the certified region; True when the kernel has accepted it."""
    learner = ZubovLearner(task, Settings(time_limit=300, widths=(16, 10), scheme=Scheme(points=101, kappa=2.0)), controller)
    learned = learner.learn(FOLDER / name, told)
    verdict = learner.verdict
    if verdict is None or verdict.outcome != "PROVED" or verdict.bundle is None or verdict.receipt is None:
        print(f"{name}: not proved; V does not decrease at {learner.counterexamples[:3].tolist()}")
        return False
    print(f"{name}: PROVED, area at least {verdict.receipt.region['volume_lower_bound']:.4g}, {learned.figures['rounds']:.0f} steps, "
          f"{verdict.boxes} boxes, check {verdict.receipt.check_s:.1f} s")
    view = open_view(verdict.bundle, learner.requirement)
    page, ax = plt.subplots(figsize=(4, 4), layout="constrained")
    plot.region(ax, view)
    plot.trajectories(ax, view)
    plot.save(page, FOLDER / f"{name}.png", view)
    plt.close(page)
    return True


def main() -> int:
    """A controller with its function, then the function for a given controller."""
    if not learn("learned", make_task("van_der_pol", {"input_limit": "1"}, (("-4.8", "-10.8"), ("4.8", "10.8")))):
        return 1
    data = (FOLDER / "learned" / "controller.onnx").read_bytes()
    given = make_task("van_der_pol", {"input_limit": "1"}, (("-3", "-5"), ("3", "5")), controller=read_onnx(data, "controller.onnx").graph)
    return 0 if learn("given", given, data) else 1


if __name__ == "__main__":
    sys.exit(main())
