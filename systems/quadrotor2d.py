"""Planar quadrotor: two rotors on a bar, thrusts u1 and u2 along the body's axis."""

from __future__ import annotations

from typing import Any

import casadi as ca
import numpy as np
import numpy.typing as npt

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """x'' = -sin(theta) (u1 + u2)/m, y'' = cos(theta) (u1 + u2)/m - g, theta'' = (r/I) (u1 - u2)."""
    thrust = (u.u1 + u.u2) / p.m
    return [x.x_dot, x.y_dot, x.theta_dot, -ca.sin(x.theta) * thrust, ca.cos(x.theta) * thrust - p.g, p.r / p.I * (u.u1 - u.u2)]


def plant() -> Plant:
    """The planar quadrotor, hovering at u1 = u2 = m g / 2; the default thrust_max is 1.25 m g for each rotor, the domain that of [1]_.

    References
    ----------
    .. [1] Yang et al., Lyapunov-stable neural control for state and output feedback, ICML 2024.
    """
    return Plant.from_equations(
        "quadrotor2d",
        states=[State("x", "m"), State("y", "m"), State("theta", "rad", angle=True), State("x_dot", "m/s"), State("y_dot", "m/s"),
                State("theta_dot", "rad/s")],
        inputs=[Input("u1", "N", "0", "thrust_max"), Input("u2", "N", "0", "thrust_max")],
        parameters=[Parameter("m", "kg", "0.486"), Parameter("r", "m", "0.25"), Parameter("I", "kg*m^2", "0.00383"), Parameter("g", "m/s^2", "9.81"),
                    Parameter("thrust_max", "N", "5.959575")],
        dynamics=dynamics, equilibrium=lambda p: (["0"] * 6, [p.m * p.g / 2] * 2),
        domain=(["-0.75", "-0.75", "-1.57", "-4", "-4", "-3"], ["0.75", "0.75", "1.57", "4", "4", "3"]),
        frame="inertial axes x to the right and y up, theta counter-clockwise, rotor 1 on the right.",
        reference="Tedrake, Underactuated Robotics, chapter on acrobots, cart-poles and quadrotors (planar quadrotor); constants of Yang et al., "
                  "ICML 2024.")


_TO_GYM = np.zeros((6, 6))
for _row, (_column, _sign) in enumerate([(0, 1), (3, 1), (1, 1), (4, 1), (2, -1), (5, -1)]):
    _TO_GYM[_row, _column] = _sign


def to_safe_control_gym(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """States (6,) or (B, 6) in the order (x, x', z, z', theta, theta') and sign of safe-control-gym.

    Notes
    -----
    There x'' = sin(theta) (T1 + T2)/m and theta'' = l/sqrt(2) (T2 - T1)/I with arm l: our angle is minus theirs, our r is
    their l/sqrt(2), and rotors keep their numbers (u1 = T1, u2 = T2).
    """
    return np.asarray(np.asarray(x, dtype=np.float64) @ _TO_GYM.T)


def from_safe_control_gym(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """States (6,) or (B, 6) of safe-control-gym in the order and sign of this plant; see :func:`to_safe_control_gym`."""
    return np.asarray(np.asarray(x, dtype=np.float64) @ _TO_GYM)
