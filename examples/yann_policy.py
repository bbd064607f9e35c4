"""From a linear model to a certified policy that learned on the nonlinear plant: Gymnasium's pendulum, torque clipped at 2 N m.

    python examples/yann_policy.py [FOLDER]      # default demo-output/yann; needs pip install "certctl[learn,mpc]", a few minutes

The policy is the law of explicit MPC at the first episode, as a network that is proved to be the law.  It learns inside the region that is certified
for it, and a candidate becomes the policy only when `verify` has proved it.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

from certctl import load_deployable
from certctl.learners.yann.actor_critic import Settings, YannActorCritic
from certctl.learners.yann.start import read_start, requirement_text

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/yann")
SETTINGS = Settings(episodes=6, steps=40, every=3, seed=0)


def main() -> int:
    """Solve, learn, load."""
    start = read_start(ROOT / "examples" / "yann" / "pendulum.toml")
    form = start.forms[0]
    print(f"{len(start.active)} critical regions, as a network: {len(form.laws)} maps in {len(form.terms)} terms, proved equal within 1e-9")
    requirement = requirement_text(start, [Fraction(1, 50), Fraction(1, 50)])
    learner = YannActorCritic(start, requirement, SETTINGS)
    found = learner.learn(FOLDER, lambda step: print(f"{step.phase}: {100 * step.done:.0f} %", file=sys.stderr))
    f = found.figures
    print(f"test cost {f['initial_cost']:.6g} before, {f['final_cost']:.6g} after, violations {f['violations']:.0f}")
    print(f"certified area {f['volume_before']:.4g} before, {f['volume']:.4g} after, {f['refused']:.0f} candidates without a proof")
    ready = load_deployable(found.folder / "requirement.cert", found.folder / "requirement.toml")
    print(f"deployable: {len(ready.controller)} bytes, sha256 {ready.sha256[:12]}…")
    return 0


if __name__ == "__main__":
    sys.exit(main())
