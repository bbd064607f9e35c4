"""Boxes and seconds of a proof against its size, in two, four and six states: learned ellipsoids, each proved at growing shares of itself.

    python -m paper_figs.dimension [FOLDER]   # default demo-output/figures; PNG, PDF and CSV, some minutes

Every point is a bundle that the kernel accepts in this run; the digest of each plant's largest one stands in the files' metadata.  A curve ends
before the first share that has no proof within the budget.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from certctl.learners.roa.ellipsoid_learner import FILES, EllipsoidLearner, EllipsoidSettings
from certctl.learners.roa.files import ellipsoid_text, region_volume
from certctl.learners.roa.law import law_graph
from certctl.learners.roa.task import make_task
from certctl.plot import palette
from certctl.view import View, open_view
from paper_figs import common
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify

PLANTS = ("pendulum", "tora", "cartpole", "quadrotor2d", "pvtol", "ducted_fan")
COLOURS = {2: palette.BLUE, 4: palette.ORANGE, 6: palette.PURPLE}
MARKERS = "osD^v"
SHARES = (0.3, 0.5, 0.65, 0.8, 0.95)
"""Of the lengths of the ellipsoid's axes."""
BUDGET_S = 120.0
SETTINGS = EllipsoidSettings(rounds=30, neurons=0)


@dataclass(frozen=True)
class Point:
    """A proof: plant, states, share of the axes, volume, boxes searched, seconds of search and check."""

    plant: str
    states: int
    share: float
    volume: float
    boxes: int
    search_s: float
    check_s: float


def proofs(name: str, scratch: Path) -> tuple[list[Point], View]:
    """Learn an ellipsoid, prove growing shares of it, and open the largest bundle."""
    task = make_task(name, {})
    learner = EllipsoidLearner(task, SETTINGS)
    state = learner._leg(learner._start(), float("inf"))
    sampled, found, view = learner._volume(state.p), [], None
    for share in SHARES:
        folder = scratch / f"{name}-{share}"
        folder.mkdir()
        (folder / FILES[0]).write_bytes(to_onnx(law_graph(task, state.gains), double=True))
        text = ellipsoid_text(task)
        text = text[:text.index("min_volume")] + 'min_volume = "0.000000000001"\n'
        (folder / FILES[1]).write_text(text, encoding="utf-8", newline="\n")
        verdict = verify(folder / FILES[1], budget=BUDGET_S, workers=1, quadratics=(state.p / share**2 / task.width / task.width[:, None],))
        volume = region_volume(verdict)
        if verdict.receipt is None or verdict.bundle is None or volume < 0.9 * share**task.n * sampled:
            break
        view = open_view(verdict.bundle, folder / FILES[1])
        found.append(Point(name, task.n, (volume / sampled)**(1 / task.n), volume, verdict.boxes, verdict.search_s, verdict.receipt.check_s))
        print(found[-1], flush=True)
    if view is None:
        raise SystemExit(f"{name}: no share was proved; a figure shows proved regions only")
    return found, view


def main() -> int:
    """Learn, prove, draw, and write the numbers beside."""
    out, everything, views = common.output_folder(), [], []
    with tempfile.TemporaryDirectory() as scratch, plt.rc_context(common.RC):
        page, axes = plt.subplots(1, 2, figsize=(common.WIDTH, 2.9), layout="constrained", sharex=True)
        entries = {}
        for k, name in enumerate(PLANTS):
            found, view = proofs(name, Path(scratch))
            everything += found
            views.append(view)
            style = {"color": COLOURS[found[0].states], "marker": MARKERS[k % len(MARKERS)], "markersize": 3.5, "linewidth": 1.0}
            shares = [p.share for p in found]
            line, = axes[0].plot(shares, [p.boxes or float("nan") for p in found], **style)  # none where the local proof is enough
            axes[1].plot(shares, [p.search_s + p.check_s for p in found], **style)
            entries[f"{name}, {found[0].states} states"] = line
        axes[0].set(yscale="log", ylabel="boxes", title="(a) boxes searched")
        axes[1].set(yscale="log", ylabel="s", title="(b) search and kernel's check, one process")
        for ax in axes:
            ax.set_xlabel("proved share of the axes of the sampled ellipsoid")
            ax.grid(visible=True, which="major", linewidth=0.3)
        common.legend(page, entries, 4)
        common.write(page, out, "dimension", *views)
    with (out / "dimension.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Point.__dataclass_fields__)
        rows.writerows([p.plant, p.states, f"{p.share:.4f}", f"{p.volume:.6g}", p.boxes, p.search_s, p.check_s] for p in everything)
    return 0


if __name__ == "__main__":
    sys.exit(main())
