"""Continuous plants in discrete time: one-step maps with the input held over the step."""

from __future__ import annotations

import math
from dataclasses import replace

import casadi as ca
import numpy as np

from systems.plant import Plant, linear_rows
from systems.signals import Parameter, exact

METHODS = ("euler", "midpoint", "rk4", "zoh")


def discretize(plant: Plant, method: str, dt: str) -> Plant:
    r"""Discrete-time plant of a continuous one.

    euler :math:`x^+ = x + h k_1`; midpoint :math:`x^+ = x + h k_2`; rk4
    :math:`x^+ = x + \tfrac{h}{6}(k_1 + 2 k_2 + 2 k_3 + k_4)`, with :math:`k_1 = f(x, u)`,
    :math:`k_2 = f(x + \tfrac{h}{2} k_1, u)`, :math:`k_3 = f(x + \tfrac{h}{2} k_2, u)`, :math:`k_4 = f(x + h k_3, u)`.
    The step h is an exact parameter called ``dt``.  zoh is the exact map of a linear plant: the finite series where A is
    nilpotent, else the matrix exponential rounded to float64 at the parameters' values (then only parameters that name
    input limits are left).

    Parameters
    ----------
    plant : Plant
        Continuous plant.
    method : str
        ``"euler"``, ``"midpoint"``, ``"rk4"`` or ``"zoh"``.
    dt : str
        Exact step in s.

    Raises
    ------
    ValueError
        When the plant is discrete, the method unknown, dt not positive, or zoh is asked for a nonlinear plant or for one
        whose parameters are intervals.
    """
    if plant.time != "continuous":
        raise ValueError(f"{plant.name} is already a discrete-time plant")
    if method not in METHODS:
        raise ValueError(f"{method!r} is not a method; the methods are {', '.join(METHODS)}")
    if not exact(dt) > 0:
        raise ValueError(f"dt = {dt} is not positive")
    if "dt" in [s.name for s in (*plant.states, *plant.inputs, *plant.parameters)]:
        raise ValueError(f"{plant.name} already has a signal or parameter called dt; rename it")
    if method == "zoh":
        return _zoh(plant, dt)
    h = ca.SX.sym("dt")
    return _sampled(plant, _step(plant, method, h), h, dt)


def _sampled(plant: Plant, expression: ca.SX, h: ca.SX, dt: str) -> Plant:
    return replace(plant, expression=expression, p=ca.vertcat(plant.p, h), parameters=(*plant.parameters, Parameter("dt", "s", dt)),
                   time="discrete", dt=dt)


def _step(plant: Plant, method: str, h: ca.SX) -> ca.SX:
    def slope(x: ca.SX) -> ca.SX:
        return plant.function(x, plant.u, plant.p)

    x, k1 = plant.x, plant.expression
    if method == "euler":
        return x + h * k1
    k2 = slope(x + h / 2 * k1)
    if method == "midpoint":
        return x + h * k2
    k3 = slope(x + h / 2 * k2)
    k4 = slope(x + h * k3)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def _zoh(plant: Plant, dt: str) -> Plant:
    a, b = (ca.sparsify(ca.simplify(ca.jacobian(plant.expression, z))) for z in (plant.x, plant.u))
    offset = ca.simplify(ca.substitute(plant.expression, ca.vertcat(plant.x, plant.u), ca.DM.zeros(plant.x.numel() + plant.u.numel())))
    if ca.depends_on(ca.vertcat(ca.vec(ca.densify(a)), ca.vec(ca.densify(b))), ca.vertcat(plant.x, plant.u)) or not offset.is_zero():
        raise ValueError(f"{plant.name} is not linear; zoh is exact for linear plants only, use rk4")
    n, h = len(plant.states), ca.SX.sym("dt")
    power, advance, held = ca.SX.eye(n), ca.SX.eye(n), ca.SX.eye(n) * h
    for k in range(1, n + 1):
        power = ca.sparsify(power @ a)
        if power.nnz() == 0:
            return _sampled(plant, advance @ plant.x + held @ b @ plant.u, h, dt)
        advance, held = advance + h**k * power / math.factorial(k), held + h ** (k + 1) * power / math.factorial(k + 1)
    return _rounded_zoh(plant, dt)


def _rounded_zoh(plant: Plant, dt: str) -> Plant:
    from scipy.linalg import expm

    limits = {limit.removeprefix("-") for channel in plant.inputs for limit in (channel.lo, channel.hi) if limit is not None}
    if any(lo != hi for lo, hi in (p.interval for p in plant.parameters if p.name not in limits)):
        raise ValueError(f"{plant.name} has interval parameters; the zoh map of an unknown plant is not one matrix, use rk4")
    n, m = len(plant.states), len(plant.inputs)
    system = plant.linearize()
    block = np.zeros((n + m, n + m))
    block[:n, :n], block[:n, n:] = system.A, system.B
    both = expm(block * float(exact(dt)))[:n]
    kept = [k for k, p in enumerate(plant.parameters) if p.name in limits]
    rows = linear_rows(both[:, :n], both[:, n:], ca.vertsplit(plant.x), ca.vertsplit(plant.u) if m else [])
    return replace(plant, expression=ca.vertcat(*rows), p=plant.p[kept], parameters=tuple(plant.parameters[k] for k in kept),
                   time="discrete", dt=dt, rule=None)
