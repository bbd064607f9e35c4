"""The pendulum policy of the examples: what is certified beside what is true, and what refutes the same policy with its sign flipped.

    python -m paper_figs.pendulum_region [FOLDER]     # default demo-output/figures; PNG and PDF, about a minute

The region is drawn from a bundle that the kernel accepts in this run; its digest stands in the files' metadata.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from certctl import falsify, plot
from certctl.plot import palette
from examples.demo import edit_tensor
from paper_figs import common


def main() -> int:
    """Prove, refute, draw."""
    out = common.output_folder()
    with tempfile.TemporaryDirectory() as scratch:
        policy, flipped = Path(scratch) / "pendulum", Path(scratch) / "flipped"
        for folder in (policy, flipped):
            shutil.copytree(common.ROOT / "examples" / "pendulum", folder, ignore=shutil.ignore_patterns("*.cert", "*.search"))
        edit_tensor(flipped / "controller.onnx", "scale", lambda values: -values)
        view = common.proved(policy / "requirement.toml")
        answer = falsify(flipped / "requirement.toml")
        if answer.outcome != "REFUTED" or answer.counterexample is None:
            print(f"the flipped policy was not refuted: {answer.outcome} {answer.code}")
            return 1
        with plt.rc_context(common.RC):
            page, (left, right) = plt.subplots(1, 2, figsize=(common.WIDTH, 3.0), sharey=True, layout="constrained")
            lo, hi = view.domain
            window = 1.25 * lo, 1.25 * hi
            plot.region(left, view)
            plot.trajectories(left, view)
            true = {"true region, simulated": Line2D([], [], color=palette.PURPLE, linewidth=0.8)}
            if not common.basin_edge(left, view, window, seconds=15.0):
                true = {}
                left.text(0.5, 0.02, "every start simulated in this frame converges", transform=left.transAxes, ha="center", fontsize=7)
            left.set_title("(a) trained policy: proved")

            plot.domain(right, view)
            palette.label_axes(right, view.drawn.spec.states, (0, 1))
            right.set_ylabel("")
            track = np.array(answer.counterexample["trajectory"])
            plot.counterexamples(right, answer.counterexample["x"], paths=[track])
            right.set_title("(b) the same policy with its sign flipped: refuted")
            for ax in (left, right):
                ax.set(xlim=(window[0][0], window[1][0]), ylim=(window[0][1], window[1][1]))
            entries = left.certctl_legend | true | right.certctl_legend
            common.legend(page, entries, 3)
            common.write(page, out, "pendulum_region", view)
    return 0


if __name__ == "__main__":
    sys.exit(main())
