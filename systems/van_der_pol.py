"""Van der Pol oscillator with a force: the origin is unstable without control."""

from __future__ import annotations

from typing import Any

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """x1' = x2, x2' = -x1 + (1 - x1^2) x2 + u."""
    return [x.x2, -x.x1 + (1 - x.x1**2) * x.x2 + u.u]


def plant() -> Plant:
    """The van der Pol oscillator with damping coefficient 1; limit 1 and domain as in [1]_.

    References
    ----------
    .. [1] Two-stage neural controller training, NeurIPS 2025, arXiv 2506.01356.
    """
    return Plant.from_equations(
        "van_der_pol",
        states=[State("x1", "1"), State("x2", "1/s")],
        inputs=[Input("u", "1/s^2", "-input_limit", "input_limit")],
        parameters=[Parameter("input_limit", "1/s^2", "1")],
        dynamics=dynamics, equilibrium=(["0", "0"], ["0"]), domain=(["-4.8", "-10.8"], ["4.8", "10.8"]),
        reference="Khalil, Nonlinear Systems, 3rd ed., 2002, Example 2.6 (van der Pol oscillator, damping coefficient 1), with a force u.")
