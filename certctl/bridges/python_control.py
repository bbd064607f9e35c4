"""python-control: linear systems, interconnected loops and gains brought in, also with an observer in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from certctl.bridges.imported import Imported, Parity, brought_in, parity, spread
from systems.plant import Plant, linear_rows
from systems.signals import State
from verifiers.kernel.graph import Affine, Builder, Floats

if TYPE_CHECKING:
    import control

ALLOWED = 1e-9
Limits = Sequence[tuple[str | None, str | None]]


def import_system(system: control.StateSpace, *, name: str, domain: tuple[Sequence[str], Sequence[str]], inputs: Sequence[str] | None = None,
                  **details: Any) -> tuple[Plant, Parity]:
    """Bring in a linear system, or a loop of linear systems joined by ``interconnect`` or ``feedback``, as a plant.

    Parameters
    ----------
    system : control.StateSpace
        Continuous or discrete; ``interconnect`` of linear systems gives one.
    name : str
        Of the plant.
    domain : (sequence of str, sequence of str)
        Default domain.
    inputs : sequence of str, optional
        The inputs that a controller sets, default all; the others (references, disturbances) are held at zero.  With none, the loop is a plant
        without inputs, whose requirement names no controller.
    **details
        As in :meth:`systems.Plant.from_control`: limits, units, angles, dt, reference.

    Returns
    -------
    (Plant, Parity)
        The plant, and the largest difference of its right side from the system's ``dynamics``.

    Raises
    ------
    ValueError
        For a system that is not linear in state-space form, with the remedy.
    NotAlike
        When the right sides differ.
    """
    if not (hasattr(system, "A") and hasattr(system, "B")):
        raise ValueError(f"{name}: {type(system).__name__} is not linear; write its equations in CasADi and use Plant.from_casadi, or give its "
                         "linear parts to control.interconnect")
    free = list(system.input_labels if inputs is None else inputs)
    if unknown := [label for label in free if label not in system.input_labels]:
        raise ValueError(f"{name}: there is no input {unknown[0]}; the system has {', '.join(system.input_labels) or 'none'}")
    places = [system.input_labels.index(label) for label in free]
    labels = [label.replace("[", "_").replace("]", "").replace(".", "_") for label in system.state_labels]  # interconnect has SYSTEM_STATE[i]
    chosen: Any = SimpleNamespace(A=system.A, B=np.asarray(system.B)[:, places], dt=system.dt, state_labels=labels, input_labels=free)
    plant = Plant.from_control(chosen, name=name, domain=domain, **details)
    n, m = len(plant.states), len(plant.inputs)
    corners = [[float(v) for v in _floats(side)] for side in domain]
    points = spread([*corners[0], *[-1.0] * m], [*corners[1], *[1.0] * m], 500)

    def given(rows: Floats) -> list[Any]:
        commands = np.zeros((len(rows), len(system.input_labels)))
        commands[:, places] = rows[:, n:]
        return [system.dynamics(0.0, row[:n], u) for row, u in zip(rows, commands, strict=True)]

    return plant, parity(given, lambda rows: plant.rhs(rows[:, :n], rows[:, n:] if m else None), points, ALLOWED)


def _floats(side: Sequence[str]) -> list[float]:
    from systems.signals import exact

    return [float(exact(v)) for v in side]


def import_gain(gain: Any, *, lo: Sequence[float], hi: Sequence[float]) -> Imported:
    """Bring in a static gain ``u = K x``: a matrix (m, n), or a static system of python-control whose D is K.

    Raises
    ------
    ValueError
        For a system with states: join it to the plant with ``interconnect`` or :func:`observer_loop`.
    """
    if getattr(gain, "nstates", 0):
        raise ValueError("the controller has states of its own; join it to the plant, so that they are states of the loop")
    matrix = np.atleast_2d(np.asarray(getattr(gain, "D", gain), dtype=np.float64))
    builder = Builder()
    graph = builder.build([builder.affine(builder.input(matrix.shape[1]), Affine(matrix, np.zeros(matrix.shape[0])))])
    return brought_in(graph, lambda rows: rows @ matrix.T, spread(lo, hi), ALLOWED)


def observer_loop(system: control.StateSpace, observer: Any, *, name: str, domain: tuple[Sequence[str], Sequence[str]], limits: Limits | None = None,
                  units: dict[str, str] | None = None) -> tuple[Plant, Parity]:
    r"""The plant together with a Luenberger observer, for a controller that sees the estimate alone.

    .. math:: x' = A x + B u, \qquad \hat x' = A \hat x + B u + L (C x - C \hat x)

    and with :math:`x^+` in discrete time; u is the *clipped* command in both, as it is when the observer is told what the actuator did.

    Parameters
    ----------
    system : control.StateSpace
        (A, B, C) with D = 0.
    observer : array_like
        L (n, p).
    name : str
        Of the new plant.
    domain : (sequence of str, sequence of str)
        Of the 2n states x and estimates, in this order.
    limits : sequence of (str or None, str or None), optional
        Of each input.
    units : dict of str to str, optional
        Unit of each signal of ``system``; an estimate has the unit of its state.

    Returns
    -------
    (Plant, Parity)
        A plant with states ``x, x_hat``; a controller for it takes 2n numbers, see :func:`on_estimate`.

    Raises
    ------
    ValueError
        When D is not zero or L does not fit.
    NotAlike
        When the right side differs from that of the two systems joined by python-control.
    """
    a, b, c, d = (np.asarray(m, dtype=np.float64) for m in (system.A, system.B, system.C, system.D))
    gain = np.asarray(observer, dtype=np.float64).reshape(a.shape[0], -1)
    if d.any() or gain.shape[1] != c.shape[0]:
        raise ValueError(f"{name}: the observer needs D = 0 and L with one column per output, {c.shape[0]} here")
    n, unit = a.shape[0], units or {}
    whole_a, whole_b = np.block([[a, np.zeros_like(a)], [gain @ c, a - gain @ c]]), np.vstack([b, b])
    single = Plant.from_control(system, name=name, domain=(domain[0][:n], domain[1][:n]), limits=limits, units=unit)
    states = [State(s.name + tail, s.unit) for tail in ("", "_hat") for s in single.states]
    plant = Plant.from_equations(
        name, states=states, inputs=single.inputs,
        dynamics=lambda x, u, p: linear_rows(whole_a, whole_b, list(vars(x).values()), list(vars(u).values())),
        equilibrium=(["0"] * (2 * n), ["0"] * b.shape[1]), domain=domain, time=single.time, dt=single.dt,
        reference="linear plant with a Luenberger observer that is told the clipped input")
    m = b.shape[1]
    points = spread([-1.0] * (2 * n + m), [1.0] * (2 * n + m), 300)

    def given(rows: Floats) -> list[Any]:
        found = []
        for row in rows:
            x, estimate, u = row[:n], row[n: 2 * n], row[2 * n:]
            innovation = system.output(0.0, x, u) - system.output(0.0, estimate, u)
            found.append(np.concatenate([system.dynamics(0.0, x, u), system.dynamics(0.0, estimate, u) + gain @ innovation]))
        return found

    return plant, parity(given, lambda rows: plant.rhs(rows[:, : 2 * n], rows[:, 2 * n:]), points, ALLOWED)


def on_estimate(controller: Imported, *, lo: Sequence[float], hi: Sequence[float]) -> Imported:
    """The same controller for the plant of :func:`observer_loop`: of 2n numbers it reads the n estimates."""
    from verifiers.load.floats import evaluate

    n = controller.graph.input_sizes[0]
    builder = Builder()
    graph = builder.build(builder.inline(controller.graph, [builder.take(builder.input(2 * n), range(n, 2 * n))]))
    return brought_in(graph, lambda rows: evaluate(controller.graph, rows[:, n:]), spread(lo, hi), ALLOWED, controller.notes)
