"""Train a Stable-Baselines3 policy, certify it, and hand over a report and C code: one run, no hand work.

    python examples/stable_baselines3_policy.py [FOLDER]      # default demo-output/sb3; needs the extras rl and model: make test-rl installs them

PPO learns to hold a pendulum upright with 2 N·m in an environment made from the same plant that the proof is about, sampled every 50 ms;
about a minute on one core.  The deterministic action comes in with its observation normalisation and its clip, as one ONNX file.  Nobody gives a
Lyapunov function: the prover searches a quadratic.  A learned policy does not settle at exactly zero; the requirement says how far off is
accepted, and the certificate says where the equilibrium is.  Exit code 0 only when the loop is proved; else the program says what stands in the way.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import certctl
import systems
from certctl.bridges.c_code import write_c
from certctl.bridges.gymnasium_env import make_env
from certctl.bridges.stable_baselines3 import import_policy
from certctl.report.page import write_report
from certctl.view import open_view

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/sb3")
STEPS = 24_576

REQUIREMENT = """
property   = "asymptotic_stability_roa"
plant      = "pendulum"
controller = "controller.onnx"
time       = "discrete"              # what runs: a new command every 50 ms, held in between
dt         = "1/20"
method     = "rk4"
saturation = "clip"

[parameters]
torque_limit = "2"

[domain]
lo = ["-1.5", "-6"]
hi = ["1.5", "6"]

[equilibrium]                        # a learned policy settles near upright, not at it
tolerance = ["0.3", "0.01"]

[region]
level    = "max"
contains = { lo = ["-0.3", "-0.3"], hi = ["0.3", "0.3"] }
"""


def train(plant: systems.Plant) -> PPO:
    """PPO on the plant's own 50 ms map: angle squared, and a little for speed and torque."""
    def reward(x, u):
        return -float(x[0] ** 2 + 0.05 * x[1] ** 2 + 0.02 * u[0] ** 2)

    torch.set_num_threads(1)
    env = VecNormalize(DummyVecEnv([lambda: make_env(plant, dt="1/20", start=[1.0, 2.0], steps=100, reward=reward)] * 4))
    model = PPO("MlpPolicy", env, policy_kwargs={"net_arch": [8, 8], "log_std_init": -0.5}, n_steps=256, batch_size=128, learning_rate=1e-3,
                gamma=0.97, n_epochs=8, seed=0)
    return model.learn(STEPS)


def main() -> int:
    """Train, bring in, prove, report."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    plant = systems.load("pendulum").with_parameters(torque_limit="2")
    print(f"training PPO for {STEPS} steps of 50 ms ...", flush=True)
    policy = import_policy(train(plant), lo=[-1.5, -6], hi=[1.5, 6])
    print(f"brought in: {policy.parity}")
    for note in policy.notes:
        print(f"  {note}")
    policy.save(FOLDER / "controller.onnx")

    requirement, bundle = FOLDER / "requirement.toml", FOLDER / "requirement.cert"
    requirement.write_text(REQUIREMENT, encoding="utf-8")
    verdict = certctl.verify(requirement, bundle, budget=300, force=True)
    print(f"{verdict.outcome}: {verdict.message} (search {verdict.search_s:.1f} s)")
    if verdict.outcome != "PROVED":
        print(f"not certified: {verdict.code} at {verdict.at}\n{certctl.explain(str(verdict.code))}")
        return 1
    view = open_view(bundle, requirement)
    region, rest = view.receipt.region or {}, view.equilibrium
    print(f"region {region['function']} <= {region['level']}, volume at least {region['volume_lower_bound']:.4g} rad²/s; "
          f"settles at theta = {rest[0]:.4f} rad")
    for path in (*write_report(view, FOLDER / "report.html", own_requirement=requirement), *write_c(view, FOLDER, "policy")):
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
