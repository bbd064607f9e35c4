"""Cart-pole without friction: a point mass on a massless rod, hinged to a cart that a force pushes."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """Cart-pole accelerations with s = sin(theta), c = cos(theta).

    x'' = (u + m_p s (l theta'^2 - g c)) / (m_c + m_p s^2),
    theta'' = (-u c - m_p l theta'^2 c s + (m_c + m_p) g s) / (l (m_c + m_p s^2)).
    """
    s, c = ca.sin(x.theta), ca.cos(x.theta)
    mass = p.m_c + p.m_p * s**2
    cart = (u.u + p.m_p * s * (p.l * x.theta_dot**2 - p.g * c)) / mass
    pole = (-u.u * c - p.m_p * p.l * x.theta_dot**2 * c * s + (p.m_c + p.m_p) * p.g * s) / (p.l * mass)
    return [x.x_dot, x.theta_dot, cart, pole]


def plant() -> Plant:
    """The cart-pole, upright at theta = 0; limit 30 and domain as in [1]_.

    Notes
    -----
    The equations are those of Lagrange for a pole tip at (x + l sin(theta), l cos(theta)): a push to the right lets the
    upright pole fall to the left.  Energy is conserved without force, which a test checks.

    References
    ----------
    .. [1] Two-stage neural controller training, NeurIPS 2025, arXiv 2506.01356.
    """
    return Plant.from_equations(
        "cartpole",
        states=[State("x", "m"), State("theta", "rad", angle=True), State("x_dot", "m/s"), State("theta_dot", "rad/s")],
        inputs=[Input("u", "N", "-force_limit", "force_limit")],
        parameters=[Parameter("m_c", "kg", "1"), Parameter("m_p", "kg", "0.1"), Parameter("l", "m", "1"), Parameter("g", "m/s^2", "9.81"),
                    Parameter("force_limit", "N", "30")],
        dynamics=dynamics, equilibrium=(["0"] * 4, ["0"]), domain=(["-3.6", "-2.4", "-12", "-12"], ["3.6", "2.4", "12", "12"]),
        frame="theta = 0 upright; pole tip at (x + l sin(theta), l cos(theta)).",
        reference="Lagrange's equations of a cart and a point mass on a massless rod, as in Barto, Sutton and Anderson, IEEE Trans. SMC 13(5), "
                  "1983, without friction and with the pole's mass at its tip.")
