"""What the learned policy is compared with: the regulator, linear and nonlinear MPC, and learners of Stable-Baselines3 from random weights."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

from certctl.learners.yann.start import Start
from certctl.learners.yann.task import Policy, Task
from verifiers.explicit_mpc.terminal import dare
from verifiers.kernel.graph import Floats

NAMES = ("lqr", "mpc", "nmpc", "ddpg", "td3", "sac")
LOOK_AHEAD = 20
"""Steps of nonlinear MPC."""


@dataclass(frozen=True)
class Baseline:
    """What a baseline gave on the test starts.

    Attributes
    ----------
    name : str
    cost, initial_cost : float
        Mean of the test episodes; before training, for what is trained.
    test_violations, violations : int
        Test episodes, and episodes of training, in which a limit was broken.
    seconds : float
        Of training and test.
    curve : tuple of (float, int)
        Cost and length of each episode of training.
    """

    name: str
    cost: float
    initial_cost: float | None
    test_violations: int
    violations: int
    seconds: float
    curve: tuple[tuple[float, int], ...] = ()


def regulator(start: Start) -> Policy:
    """The linear-quadratic regulator, clipped."""
    model, plant = start.model, start.plant
    gain = dare(model.A, model.B, model.Q, model.R, model.discount)[1].astype(np.float64)
    return lambda x: plant.clip(plant.rest[1] + (x - plant.rest[0]) @ gain.T)


def linear_mpc(start: Start) -> Policy:
    """The law; where it has no value the regulator."""
    plant, other = start.plant, regulator(start)

    def policy(x: Floats) -> Floats:
        u = plant.rest[1] + start.law.evaluate(x - plant.rest[0])
        return np.where(np.isfinite(u), u, other(x))

    return policy


def nonlinear_mpc(start: Start, look_ahead: int = LOOK_AHEAD) -> Policy:
    """Multiple shooting over the plant's own map with IPOPT: hard input limits, limits of x with a quadratic penalty, the regulator's terminal cost.

    Each state is solved by itself, from the linear MPC's command; where IPOPT ends without success its last iterate is taken.
    """
    model, plant = start.model, start.plant
    n, m = len(plant.states), len(plant.inputs)
    x, u, first = ca.SX.sym("x", n, look_ahead), ca.SX.sym("u", m, look_ahead), ca.SX.sym("first", n)
    rest_x, rest_u = plant.rest
    q, r, p = (ca.DM(weight.astype(np.float64)) for weight in (model.Q, model.R, model.P))
    lo, hi = Task(plant, model, 1, 0.0, start.has_value).limits()
    cost, gaps, before = ca.SX(0), [], first
    for k in range(look_ahead):
        gaps.append(plant.function(before, u[:, k], plant.values) - x[:, k])
        dx, du, after = before - rest_x, u[:, k] - rest_u, x[:, k]
        cost += dx.T @ q @ dx + du.T @ r @ du
        for i in range(n):
            cost += 1e3 * sum(ca.fmax(0, gap) ** 2 for gap, end in ((after[i] - hi[i], hi[i]), (lo[i] - after[i], lo[i])) if np.isfinite(end))
        before = after
    cost += (before - rest_x).T @ p @ (before - rest_x)
    options = {"ipopt.print_level": 0, "print_time": 0, "ipopt.sb": "yes", "ipopt.max_iter": 200}
    solver = ca.nlpsol("nmpc", "ipopt", {"x": ca.vertcat(ca.vec(x), ca.vec(u)), "p": first, "f": cost, "g": ca.vertcat(*gaps)}, options)
    low, high = plant.input_limits
    ends = {"lbx": np.concatenate([np.full(n * look_ahead, -np.inf), np.tile(low, look_ahead)]),
            "ubx": np.concatenate([np.full(n * look_ahead, np.inf), np.tile(high, look_ahead)]), "lbg": 0, "ubg": 0}
    guess = linear_mpc(start)

    def one(state: Floats) -> Floats:
        states, commands, at = [], [], state
        for _ in range(look_ahead):
            commands.append(plant.clip(guess(at[None])[0]))
            at = plant.rhs(at, commands[-1])
            states.append(at)
        found = solver(x0=np.concatenate([np.ravel(states), np.ravel(commands)]), p=state, **ends)
        return plant.clip(np.asarray(found["x"]).ravel()[n * look_ahead:n * look_ahead + m])

    return lambda states: np.array([one(state) for state in states])


def compare(name: str, start: Start, task: Task, tests: Floats, train_from: Any, episodes: int, seed: int) -> Baseline:
    """Run a baseline on the test starts; learners get as many steps as the episodes have.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`.
    start, task : Start, Task
    tests : (B, n) array
        Starts.
    train_from : callable
        Draws a start (n,) with a generator.
    episodes, seed : int

    Raises
    ------
    ImportError
        When Stable-Baselines3 is not installed.
    """
    began = time.monotonic()
    fixed = {"lqr": regulator, "mpc": linear_mpc, "nmpc": nonlinear_mpc}
    if name in fixed:
        found = task.episodes(fixed[name](start), tests)
        return Baseline(name, float(found.costs.mean()), None, int(found.violations.sum()), 0, round(time.monotonic() - began, 2))
    from certctl.bridges.gymnasium_env import Safety, make_env

    try:
        import stable_baselines3 as sb3
        from stable_baselines3.common.monitor import Monitor
    except ImportError as error:
        raise ImportError(f"{name} needs {error.name}; pip install certctl[rl] brings it", name=error.name) from None
    lo, hi = task.limits()
    env = Monitor(make_env(start.plant, steps=task.steps, safety=Safety(lo.tolist(), hi.tolist(), task.penalty, ends=True), sample=train_from,
                   reward=lambda x, u: -float(task.cost(x[None], u[None])[0])))
    model = getattr(sb3, name.upper())("MlpPolicy", env, seed=seed, device="cpu")

    def policy(x: Floats) -> Floats:
        return np.asarray(model.predict(x.astype(np.float32), deterministic=True)[0], dtype=np.float64)

    before = task.episodes(policy, tests)
    model.learn(episodes * task.steps)
    after = task.episodes(policy, tests)
    return Baseline(name, float(after.costs.mean()), float(before.costs.mean()), int(after.violations.sum()), int(env.unwrapped.violations),
                    round(time.monotonic() - began, 2), tuple(zip([-r for r in env.get_episode_rewards()], env.get_episode_lengths(), strict=True)))
