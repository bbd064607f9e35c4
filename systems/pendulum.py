"""Damped pendulum with a torque at the pivot; theta = 0 is upright."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """theta' = omega, omega' = (g/l) sin(theta) - b/(m l^2) omega + u/(m l^2)."""
    inertia = p.m * p.l**2
    return [x.omega, p.g / p.l * ca.sin(x.theta) - p.b / inertia * x.omega + u.u / inertia]


def plant() -> Plant:
    """The inverted pendulum; limit 6 and domain as in [1]_.

    References
    ----------
    .. [1] Yang et al., Lyapunov-stable neural control for state and output feedback, ICML 2024.
    """
    return Plant.from_equations(
        "pendulum",
        states=[State("theta", "rad", angle=True), State("omega", "rad/s")],
        inputs=[Input("u", "N*m", "-torque_limit", "torque_limit")],
        parameters=[Parameter("m", "kg", "0.15"), Parameter("l", "m", "0.5"), Parameter("b", "N*m*s", "0.1"), Parameter("g", "m/s^2", "9.81"),
                    Parameter("torque_limit", "N*m", "6")],
        dynamics=dynamics, equilibrium=(["0", "0"], ["0"]), domain=(["-12", "-12"], ["12", "12"]),
        frame="theta = 0 upright, u and theta counted in the same sense.",
        reference="m l^2 theta'' = m g l sin(theta) - b theta' + u: moments about the pivot of a point mass on a massless rod.")
