"""Gymnasium and plants: an environment made from a Plant, and a check that a Plant and a user's environment step alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from certctl.bridges.imported import Parity, parity, spread
from systems.plant import Plant
from systems.sampling import discretize
from verifiers.kernel.graph import Floats

Reward = Callable[[Floats, Floats], float]


@dataclass(frozen=True)
class Safety:
    """The box that no state may leave.

    Attributes
    ----------
    lo, hi : sequence of float
        Corners (n,), infinite where a state is not limited.
    penalty : float
        Cost of a state outside.
    ends : bool
        Whether such a state ends the episode.
    """

    lo: Sequence[float]
    hi: Sequence[float]
    penalty: float = 0.0
    ends: bool = False

    def violated(self, x: Floats) -> bool:
        """Whether the state (n,) is outside; a NaN is."""
        return not all(a <= v <= b for a, v, b in zip(self.lo, x, self.hi, strict=True))


def import_gymnasium() -> Any:
    """Return the module ``gymnasium``.

    Raises
    ------
    ImportError
        When it is not installed; the message names the extra that brings it.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError(f"environments need {error.name}; pip install certctl[rl] brings it", name=error.name) from None
    return gymnasium


def one_step(plant: Plant, dt: str | None, method: str = "rk4") -> Callable[[Floats, Floats], Floats]:
    """The map that the environment steps by: the plant's own, or a Runge-Kutta step of a continuous plant with the input held.

    Returns
    -------
    callable
        Maps a state (n,) and a command (m,), which is clipped to the plant's limits, to the next state (n,).
    """
    stepped = plant if plant.time == "discrete" else discretize(plant, method, _needed(dt))
    return lambda x, u: stepped.rhs(x, stepped.clip(u))


def _needed(dt: str | None) -> str:
    if dt is None:
        raise ValueError('a continuous plant needs a step for its environment; give dt, for example dt="1/20"')
    return dt


def make_env(plant: Plant, *, dt: str | None = None, method: str = "rk4", start: Sequence[float] | None = None, steps: int = 200,
             reward: Reward | None = None, safety: Safety | None = None, sample: Callable[[np.random.Generator], Floats] | None = None) -> Any:
    r"""Make a Gymnasium environment that steps exactly as the discrete-time claim of certctl has it.

    Parameters
    ----------
    plant : Plant
        Continuous (then ``dt`` is needed) or discrete.  The observation is the state, the action the command in the plant's units.
    dt : str, optional
        Exact step in s, as in the requirement.
    method : str
        ``euler``, ``midpoint`` or ``rk4``, as in the requirement.
    start : sequence of float, optional
        Half-widths (n,) of the box about the equilibrium in which episodes start; default: half the plant's domain.
    steps : int
        Length of an episode; it ends earlier when the state leaves twice the domain.
    reward : callable, optional
        Of (state, clipped command).  Default: minus the mean of the squared state and a hundredth of that of the command, in
        units of the domain's half-widths and the limits.
    safety : Safety, optional
        Limits of the states: they count as violations, cost their penalty, and end the episode where wanted.
    sample : callable, optional
        Draws the start (n,) with a generator, in place of ``start``.

    Returns
    -------
    gymnasium.Env
        With ``action_space`` the input limits and ``observation_space`` unbounded.  ``info["violation"]`` says whether the state breaks a limit,
        and ``violations`` counts such steps since the environment was made.

    Raises
    ------
    ImportError
        When Gymnasium is not installed.
    ValueError
        When an input has no limits, ``dt`` is missing, or a size does not fit.
    """
    gym = import_gymnasium()
    lo, hi = plant.input_limits
    if not (plant.inputs and np.isfinite([lo, hi]).all()):
        raise ValueError(f"{plant.name}: an action space needs an input with two limits each; set them in the plant")
    corners = np.array([[float(_fraction(v)) for v in side] for side in plant.domain])
    half, (rest, at_rest) = (corners[1] - corners[0]) / 2, plant.rest
    width = half / 2 if start is None else np.asarray(start, dtype=np.float64)
    if width.shape != half.shape:
        raise ValueError(f"start has {width.size} half-widths; {plant.name} has {half.size} states")
    advance, span = one_step(plant, dt, method), np.maximum(hi - lo, 1e-12) / 2
    limits = Safety([-np.inf] * half.size, [np.inf] * half.size) if safety is None else safety
    if not (len(limits.lo) == len(limits.hi) == half.size and all(a < b for a, b in zip(limits.lo, limits.hi, strict=True))):
        raise ValueError(f"safety: a box in the {half.size} states of {plant.name} is expected, lower below upper corner")

    def cost(x: Floats, u: Floats) -> float:
        return -float((((x - rest) / half) ** 2).mean() + 0.01 * (((u - at_rest) / span) ** 2).mean())

    earn = cost if reward is None else reward

    class PlantEnv(gym.Env):  # type: ignore[misc, name-defined]  # a class of a lazily imported module
        """The plant as an environment."""

        metadata = {"render_modes": []}  # noqa: RUF012

        def __init__(self) -> None:
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, half.shape, np.float32)
            self.action_space = gym.spaces.Box(lo.astype(np.float32), hi.astype(np.float32), dtype=np.float32)
            self.state, self.count, self.violations = rest.copy(), 0, 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            """Start at a random state."""
            super().reset(seed=seed)
            drawn = rest + width * self.np_random.uniform(-1, 1, half.size) if sample is None else sample(self.np_random)
            self.state, self.count = np.asarray(drawn, dtype=np.float64), 0
            return self.state.astype(np.float32), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            """Hold the command for one step."""
            u = plant.clip(np.asarray(action, dtype=np.float64))
            gained = earn(self.state, u)
            self.state, self.count = advance(self.state, u), self.count + 1
            lost = not bool((np.abs(self.state - rest) <= 2 * half).all())
            violated = limits.violated(self.state)
            self.violations += violated
            gained -= 10.0 * lost + limits.penalty * violated
            return self.state.astype(np.float32), gained, lost or (limits.ends and violated), self.count >= steps, {"violation": violated}

    return PlantEnv()


def _fraction(text: str) -> Any:
    from systems.signals import exact

    return exact(text)


def steps_alike(plant: Plant, env: Any, *, get_state: Callable[[Any], Any], set_state: Callable[[Any, Floats], None], lo: Sequence[float],
                hi: Sequence[float], dt: str | None = None, method: str = "rk4", allowed: float = 1e-6, count: int = 300) -> Parity:
    """Compare one step of a user's environment with one step of a Plant, at random states and actions.

    Parameters
    ----------
    plant : Plant
        What the certificate will be about.
    env : gymnasium.Env
        The user's environment; it is reset once.
    get_state, set_state : callable
        Read and write the environment's full state in the order and units of the plant's states, for example
        ``lambda env: env.unwrapped.state``.
    lo, hi : sequence of float
        Box of states to try.
    dt, method
        The map of a continuous plant.
    allowed : float
        Largest difference that passes, as a multiple of ``1 + |next state|``.
    count : int
        Number of steps.

    Returns
    -------
    Parity
        The largest difference of a next state; its point is (state, action).

    Raises
    ------
    NotAlike
        When a step differs by more.
    """
    import_gymnasium()
    env.reset(seed=0)
    low, high = env.action_space.low.ravel(), env.action_space.high.ravel()
    points = spread([*lo, *low.tolist()], [*hi, *high.tolist()], count)
    points[:, len(lo):] = points[:, len(lo):].astype(np.float32)  # the environment's actions are float32
    advance, n = one_step(plant, dt, method), len(lo)

    def theirs(rows: Floats) -> list[Any]:
        found = []
        for row in rows:
            set_state(env, row[:n])
            env.step(row[n:].astype(np.float32).reshape(env.action_space.shape))
            found.append(np.asarray(get_state(env), dtype=np.float64).ravel())
        return found

    return parity(theirs, lambda rows: [advance(row[:n], row[n:]) for row in rows], points, allowed)
