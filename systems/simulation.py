"""Simulation of a plant under a controller, for plots and checks; a simulation is evidence, never a proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from systems.signals import exact

if TYPE_CHECKING:
    from systems.plant import Plant

Floats = npt.NDArray[np.float64]
Controller = Callable[[Floats], npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated trajectory.

    Parameters
    ----------
    times : (N,) array
        Times in s (or step numbers, where a discrete plant has no dt).
    states : (N, n) array
        States at these times.
    inputs : (N, m) array
        Clipped inputs at these times.
    escaped : bool
        Whether the simulation ended early because a state grew beyond the bound.
    """

    times: Floats
    states: Floats
    inputs: Floats
    escaped: bool


def simulate(plant: Plant, x0: npt.ArrayLike, controller: Controller | None = None, *, t_end: float | None = None,
             steps: int | None = None, escape: float = 1e6) -> Simulation:
    """Simulate from ``x0`` (n,) under ``u = clip(controller(x))``.

    Parameters
    ----------
    controller : callable, optional
        Maps x (n,) to the command (m,); without one the equilibrium's input is held.
    t_end : float
        End time in s of a continuous plant, which is integrated by LSODA with relative tolerance 1e-9.
    steps : int
        Number of steps of a discrete plant; number of output intervals (200) of a continuous one.
    escape : float
        The simulation ends early when the largest entry of the state exceeds this.

    Raises
    ------
    ValueError
        When ``t_end`` (continuous) or ``steps`` (discrete) is missing or superfluous, or a size does not fit.
    RuntimeError
        When the integrator fails.
    """
    start = np.asarray(x0, dtype=np.float64)
    if start.shape != (len(plant.states),):
        raise ValueError(f"x0 has shape {start.shape}; {plant.name} has {len(plant.states)} states")

    def command(x: Floats) -> Floats:
        u = plant.rest[1] if controller is None else np.atleast_1d(np.asarray(controller(x), dtype=np.float64)).ravel()
        if u.shape != (len(plant.inputs),):
            raise ValueError(f"the controller returned {u.size} values; {plant.name} has {len(plant.inputs)} inputs")
        return plant.clip(u)

    if plant.time == "discrete":
        if steps is None or t_end is not None:
            raise ValueError(f"{plant.name} is a discrete-time plant: give steps, not t_end")
        times, states, escaped = _iterate(plant, start, command, steps, escape)
    else:
        if t_end is None:
            raise ValueError(f"{plant.name} is a continuous-time plant: give t_end")
        times, states, escaped = _integrate(plant, start, command, float(t_end), 200 if steps is None else steps, escape)
    inputs = np.array([command(x) for x in states]).reshape(len(states), len(plant.inputs))
    return Simulation(times, states, inputs, escaped)


def _iterate(plant: Plant, x: Floats, command: Callable[[Floats], Floats], steps: int, escape: float) -> tuple[Floats, Floats, bool]:
    states = [x]
    while len(states) <= steps and np.abs(states[-1]).max() < escape:
        states.append(plant.rhs(states[-1], command(states[-1])))
    step = 1.0 if plant.dt is None else float(exact(plant.dt))
    return np.asarray(step * np.arange(len(states)), dtype=np.float64), np.array(states), not np.abs(states[-1]).max() < escape


def _integrate(plant: Plant, x: Floats, command: Callable[[Floats], Floats], t_end: float, steps: int, escape: float) -> tuple[Floats, Floats, bool]:
    from scipy.integrate import solve_ivp

    def leaves(t: float, y: Floats) -> float:
        return float(np.abs(y).max()) - escape

    leaves.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(lambda t, y: plant.rhs(y, command(y)), (0.0, t_end), x, method="LSODA", rtol=1e-9, atol=1e-12,
                      t_eval=np.linspace(0.0, t_end, steps + 1), events=leaves)
    if not found.success:
        raise RuntimeError(f"{plant.name}: the integrator gave up at t = {found.t[-1] if found.t.size else 0.0}: {found.message}")
    if found.t_events[0].size:
        return np.append(found.t, found.t_events[0]), np.vstack([found.y.T, found.y_events[0]]), True
    return found.t, found.y.T, False
