"""Path tracking: a kinematic bicycle at constant speed beside a circle of radius R."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """d' = v sin(theta), theta' = v u / L - cos(theta) / (R/v - sin(theta))."""
    return [p.v * ca.sin(x.theta), p.v * u.u / p.L - ca.cos(x.theta) / (p.R / p.v - ca.sin(x.theta))]


def plant() -> Plant:
    """The path-tracking vehicle; u is the tangent of the steering angle, u* = L/R; limit .84 and domain as in [1]_.

    References
    ----------
    .. [1] Two-stage neural controller training, NeurIPS 2025, arXiv 2506.01356.
    """
    return Plant.from_equations(
        "path_tracking",
        states=[State("d", "m"), State("theta", "rad", angle=True)],
        inputs=[Input("u", "1", "-steering_limit", "steering_limit")],
        parameters=[Parameter("v", "m/s", "2"), Parameter("L", "m", "1"), Parameter("R", "m", "10"), Parameter("steering_limit", "1", "0.84")],
        dynamics=dynamics, equilibrium=lambda p: (["0", "0"], [p.L / p.R]), domain=(["-10", "-10"], ["10", "10"]),
        frame="d is the distance from the path, theta the heading error against the path's tangent.",
        reference="Yang et al., Lyapunov-stable neural control for state and output feedback, ICML 2024 (path tracking); "
                  "R enters as R/v - sin(theta), as their networks were trained.")
