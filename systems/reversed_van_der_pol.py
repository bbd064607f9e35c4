"""Van der Pol oscillator in reverse time: no input, and the region of attraction is the inside of the limit cycle."""

from __future__ import annotations

from typing import Any

from systems.plant import Plant
from systems.signals import State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """x1' = -x2, x2' = x1 + (x1^2 - 1) x2."""
    return [-x.x2, x.x1 + (x.x1**2 - 1) * x.x2]


def plant() -> Plant:
    """The reversed van der Pol oscillator; its true region of attraction has area 13.72222."""
    return Plant.from_equations(
        "reversed_van_der_pol", states=[State("x1", "1"), State("x2", "1/s")],
        dynamics=dynamics, equilibrium=(["0", "0"], []), domain=(["-3", "-3"], ["3", "3"]),
        reference="Khalil, Nonlinear Systems, 3rd ed., 2002, Example 8.9 (van der Pol equation in reverse time).")
