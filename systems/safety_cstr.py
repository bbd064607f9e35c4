"""Stirred-tank reactor in three concentrations and a temperature, linear and sampled: the safety case of YANN-initialised learning."""

from __future__ import annotations

from typing import Any

from systems.plant import Plant
from systems.signals import Input, Parameter, State

ENTRIES = (("a11", "0.9506"), ("a21", "-0.0484"), ("a22", "0.9943"), ("a33", "0.9909"), ("a41", "0.697"), ("a42", "0.0678"), ("a44", "1.003"),
           ("b4", "-0.0007"))


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """C_A+ = a11 C_A, C_B+ = a21 C_A + a22 C_B, C_S+ = a33 C_S, T+ = a41 C_A + a42 C_B + a44 T + b4 u."""
    return [p.a11 * x.C_A, p.a21 * x.C_A + p.a22 * x.C_B, p.a33 * x.C_S, p.a41 * x.C_A + p.a42 * x.C_B + p.a44 * x.T + p.b4 * u.u]


def plant() -> Plant:
    """The linear model of [1]_, deviations from its operating point; the domain is that of its limits, so T <= 5 is where the safe set ends.

    Notes
    -----
    The concentrations are not controlled and decay by themselves.  The eigenvalue 1.003 of T and the weak input (|b4 u| <= 0.0385 K per step)
    can turn T only where |a41 C_A + a42 C_B + 0.003 T| is below that.

    References
    ----------
    .. [1] Braniff, Tian, YANN-initialised reinforcement learning, arXiv 2508.16474, case 2: |C| <= 2, -70 <= T <= 5, |u| <= 55, Ts = 1/60.
    """
    return Plant.from_equations(
        "safety_cstr",
        states=[State("C_A", "mol/L"), State("C_B", "mol/L"), State("C_S", "mol/L"), State("T", "K")],
        inputs=[Input("u", "1", "-input_limit", "input_limit")],
        parameters=[*(Parameter(name, "1", value) for name, value in ENTRIES), Parameter("input_limit", "1", "55")],
        dynamics=dynamics, equilibrium=(["0"] * 4, ["0"]), domain=(["-2", "-2", "-2", "-70"], ["2", "2", "2", "5"]), time="discrete", dt="1/60",
        frame="deviations from the operating point; a positive u cools; dt in hours; the unit of u is not stated by the source.",
        reference="Braniff and Tian, arXiv 2508.16474, case 2: the linear model, entries as printed.")
