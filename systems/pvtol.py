"""Planar vertical take-off and landing vehicle: a planar quadrotor whose velocities are measured in its own frame."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """Position rates turn with theta; v_x' = v_y w - g sin(theta), v_y' = -v_x w - g cos(theta) + (u1 + u2)/m, w' = (d/I) (u1 - u2)."""
    s, c = ca.sin(x.theta), ca.cos(x.theta)
    return [x.x_dot * c - x.y_dot * s, x.x_dot * s + x.y_dot * c, x.theta_dot, x.y_dot * x.theta_dot - p.g * s,
            -x.x_dot * x.theta_dot - p.g * c + (u.u1 + u.u2) / p.m, p.d / p.I * (u.u1 - u.u2)]


def plant() -> Plant:
    """The vehicle, hovering at u1 = u2 = m g / 2; thrust_max is m g for each rotor and the domain that of quadrotor2d, both our choice.

    References
    ----------
    .. [1] Singh, Landry, Majumdar, Slotine, Pavone, Robust feedback motion planning via contraction theory, 2019 (PVTOL example).
    """
    return Plant.from_equations(
        "pvtol",
        states=[State("x", "m"), State("y", "m"), State("theta", "rad", angle=True), State("x_dot", "m/s"), State("y_dot", "m/s"),
                State("theta_dot", "rad/s")],
        inputs=[Input("u1", "N", "0", "thrust_max"), Input("u2", "N", "0", "thrust_max")],
        parameters=[Parameter("m", "kg", "4"), Parameter("I", "kg*m^2", "0.0475"), Parameter("d", "m", "0.25"), Parameter("g", "m/s^2", "9.8"),
                    Parameter("thrust_max", "N", "39.2")],
        dynamics=dynamics, equilibrium=lambda p: (["0"] * 6, [p.m * p.g / 2] * 2),
        domain=(["-0.75", "-0.75", "-1.57", "-4", "-4", "-3"], ["0.75", "0.75", "1.57", "4", "4", "3"]),
        frame="x to the right and y up are inertial, theta counter-clockwise; x_dot and y_dot are the velocity in the axes of the body, not "
              "the rates of x and y; rotor 1 on the right.",
        reference="Singh et al., Robust feedback motion planning via contraction theory, 2019 (PVTOL).")
