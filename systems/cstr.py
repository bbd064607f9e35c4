"""Stirred-tank reactor with one exothermic reaction of first order, after Seborg: cooled by its jacket, about its unstable operating point."""

from __future__ import annotations

from typing import Any

import casadi as ca

from systems.plant import Plant
from systems.signals import Input, Parameter, State


def dynamics(x: Any, u: Any, p: Any) -> list[Any]:
    """C_A' = q/V (C_Af - C_A) - r, T' = q/V (T_f - T) + h r / (rho C_p) + UA (T_c - T) / (V rho C_p), with r = k0 exp(-E_R / T) C_A.

    In deviations from the steady state at T_s, whose C_A and T_c follow from these equations.  h = -dH > 0.
    """
    k_s = p.k0 * ca.exp(-p.E_R / p.T_s)
    flow, heat, exchange = p.q / p.V, p.h / (p.rho * p.C_p), p.UA / (p.V * p.rho * p.C_p)
    c_s = flow * p.C_Af / (flow + k_s)
    change = p.k0 * ca.exp(-p.E_R / (p.T_s + x.T)) * (c_s + x.C_A) - k_s * c_s
    return [-flow * x.C_A - change, -flow * x.T + heat * change + exchange * (u.T_c - x.T)]


def plant() -> Plant:
    """The reactor with the constants of [1]_; limits as in [2]_: 280 K <= T_c <= 320 K (symmetric here), 330 K <= T <= 370 K.

    Notes
    -----
    Time in minutes.  At T_s = 350 K the steady state is C_A = 0.50002 mol/L with T_c = 300.002 K; both follow from T_s, since k0 exp(-E_R / T_s)
    is 0.99993 per minute and not 1.  The upper end of the domain's T, 20 K above it, is the safety limit.

    References
    ----------
    .. [1] D. E. Seborg, T. F. Edgar, D. A. Mellichamp, Process Dynamics and Control, 2nd ed., 2004, example of the nonlinear CSTR.
    .. [2] L. Magni, G. De Nicolao, L. Magnani, R. Scattolini, A stabilizing model-based predictive control algorithm for nonlinear systems,
       Automatica 37 (2001).
    """
    return Plant.from_equations(
        "cstr",
        states=[State("C_A", "mol/L"), State("T", "K")],
        inputs=[Input("T_c", "K", "-input_limit", "input_limit")],
        parameters=[Parameter("q", "L/min", "100"), Parameter("V", "L", "100"), Parameter("rho", "g/L", "1000"), Parameter("C_p", "J/(g*K)", "0.239"),
                    Parameter("h", "J/mol", "50000"), Parameter("E_R", "K", "8750"), Parameter("k0", "1/min", "72000000000"),
                    Parameter("UA", "J/(min*K)", "50000"), Parameter("C_Af", "mol/L", "1"), Parameter("T_f", "K", "350"),
                    Parameter("T_s", "K", "350"), Parameter("input_limit", "K", "20")],
        dynamics=dynamics, equilibrium=(["0", "0"], ["0"]), domain=(["-0.4", "-20"], ["0.4", "20"]),
        frame="deviations from the steady state at T = T_s; dt in minutes.",
        reference="Seborg, Edgar and Mellichamp, Process Dynamics and Control, 2nd ed.: component and energy balances of the jacketed reactor.")
