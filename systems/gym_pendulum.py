"""Gymnasium's pendulum: a uniform rod without friction, its torque clipped; theta = 0 is upright."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """theta' = omega, omega' = (3 g / 2 l) sin(theta) + 3 u / (m l^2)."""
    return [x.omega, 3 * p.g / (2 * p.l) * ca.sin(x.theta) + 3 * u.u / (p.m * p.l**2)]


def plant() -> Plant:
    """The rod pendulum; limit and domain as in [1]_, which clips the speed at 8 rad/s (here the border of the domain).

    References
    ----------
    .. [1] Gymnasium, environment Pendulum-v1.
    .. [2] Braniff, Tian, YANN-initialised reinforcement learning, arXiv 2508.16474, case 1: |theta| <= 2, |omega| <= 8, |u| <= 2, dt = 1/20.
    """
    return Plant.from_equations(
        "gym_pendulum",
        states=[State("theta", "rad", angle=True), State("omega", "rad/s")],
        inputs=[Input("u", "N*m", "-torque_limit", "torque_limit")],
        parameters=[Parameter("m", "kg", "1"), Parameter("l", "m", "1"), Parameter("g", "m/s^2", "10"), Parameter("torque_limit", "N*m", "2")],
        dynamics=dynamics, equilibrium=(["0", "0"], ["0"]), domain=(["-2", "-8"], ["2", "8"]),
        frame="theta = 0 upright, u and theta counted in the same sense.",
        reference="m l^2 / 3 theta'' = m g l / 2 sin(theta) + u: moments about the pivot of a uniform rod; Gymnasium, Pendulum-v1.")
