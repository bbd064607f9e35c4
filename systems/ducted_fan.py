"""Ducted fan in the plane: a thrust along the body's axis and a side force below the centre of mass, with viscous drag."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """x'' = (-d x' + u1 c - u2 s)/m, y'' = (-d y' + u1 s + u2 c)/m - g, theta'' = r u1 / I, with s, c the sine and cosine of theta."""
    s, c = ca.sin(x.theta), ca.cos(x.theta)
    return [x.x_dot, x.y_dot, x.theta_dot, (-p.d * x.x_dot + u.u1 * c - u.u2 * s) / p.m,
            (-p.d * x.y_dot + u.u1 * s + u.u2 * c) / p.m - p.g, p.r * u.u1 / p.I]


def plant() -> Plant:
    """The ducted fan, hovering at u1 = 0, u2 = m g; limits and domain are our choice.

    References
    ----------
    .. [1] Jadbabaie and Hauser, Control of a thrust-vectored flying wing: a receding horizon LPV approach, 2002 (Caltech ducted fan).
    """
    return Plant.from_equations(
        "ducted_fan",
        states=[State("x", "m"), State("y", "m"), State("theta", "rad", angle=True), State("x_dot", "m/s"), State("y_dot", "m/s"),
                State("theta_dot", "rad/s")],
        inputs=[Input("u1", "N", "-side_limit", "side_limit"), Input("u2", "N", "0", "thrust_max")],
        parameters=[Parameter("m", "kg", "11.2"), Parameter("I", "kg*m^2", "0.0462"), Parameter("r", "m", "0.156"), Parameter("d", "N*s/m", "0.1"),
                    Parameter("g", "m/s^2", "0.28"), Parameter("side_limit", "N", "10"), Parameter("thrust_max", "N", "10")],
        dynamics=dynamics, equilibrium=lambda p: (["0"] * 6, ["0", p.m * p.g]),
        domain=(["-1", "-1", "-1.57", "-1", "-1", "-3"], ["1", "1", "1.57", "1", "1", "3"]),
        frame="inertial axes x to the right and y up, theta counter-clockwise, u1 to the body's right; g is what a counterweight leaves of gravity.",
        reference="Jadbabaie and Hauser, Control of a thrust-vectored flying wing: a receding horizon LPV approach, 2002.")
