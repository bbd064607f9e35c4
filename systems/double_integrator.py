"""Double integrator: a mass on a line, driven by its acceleration."""

from __future__ import annotations

from typing import Any

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """x' = v, v' = u."""
    return [x.v, u.u]


def plant() -> Plant:
    """The double integrator; default limit and domain are chosen here, the input limit follows [1]_.

    References
    ----------
    .. [1] Two-stage neural controller training, NeurIPS 2025, arXiv 2506.01356: |u| <= 1.
    """
    return Plant.from_equations(
        "double_integrator",
        states=[State("x", "m"), State("v", "m/s")],
        inputs=[Input("u", "m/s^2", "-input_limit", "input_limit")],
        parameters=[Parameter("input_limit", "m/s^2", "1")],
        dynamics=dynamics, equilibrium=(["0", "0"], ["0"]), domain=(["-20", "-10"], ["20", "10"]),
        reference="x' = v, v' = u: Newton's second law for a unit mass.")
