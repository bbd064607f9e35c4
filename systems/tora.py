"""Translational oscillator with a rotating actuator, in the coordinates in which the actuator is a double integrator."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """x1' = x2, x2' = -x1 + epsilon sin(x3), x3' = x4, x4' = u."""
    return [x.x2, -x.x1 + p.epsilon * ca.sin(x.x3), x.x4, u.u]


def plant() -> Plant:
    """The oscillator with epsilon = .1; input_limit and domain are our choice.

    References
    ----------
    .. [1] Jankovic, Fontaine, Kokotovic, TORA example: cascade- and passivity-based control designs, 1996, equation (4).
    """
    return Plant.from_equations(
        "tora", states=[State("x1", "1"), State("x2", "1"), State("x3", "rad", angle=True), State("x4", "rad")],
        inputs=[Input("u", "1", "-input_limit", "input_limit")],
        parameters=[Parameter("epsilon", "1", "0.1"), Parameter("input_limit", "1", "10")],
        dynamics=dynamics, equilibrium=(["0"] * 4, ["0"]), domain=(["-2"] * 4, ["2"] * 4),
        frame="time and displacement are dimensionless, x3 is the angle of the rotating mass.",
        reference="Jankovic, Fontaine, Kokotovic, TORA example: cascade- and passivity-based control designs, 1996.")
