"""The plant: a CasADi expression with named signals, exact parameters, limits, equilibrium and domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import casadi as ca
import numpy as np
import numpy.typing as npt

from systems.signals import Input, Parameter, State, checked_name, exact, limit_value, text

if TYPE_CHECKING:
    import control

    from systems.simulation import Simulation

Floats = npt.NDArray[np.float64]
Vector = tuple[str, ...]
Rule = Callable[[SimpleNamespace], tuple[Sequence[str | Fraction], Sequence[str | Fraction]]]
Dynamics = Callable[[SimpleNamespace, SimpleNamespace, SimpleNamespace], Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Plant:
    r"""A plant :math:`x' = f(x, u, p)` (continuous) or :math:`x^+ = f(x, u, p)` (discrete), SI units and radians.

    The input that enters ``f`` is the clipped one: limits are part of the plant (see :meth:`clip`).

    Parameters
    ----------
    name : str
        Name of the plant.
    states, inputs, parameters : tuple of State, Input, Parameter
        Signals with units; the order is binding.
    x, u, p : casadi.SX
        Symbols (n, 1), (m, 1), (k, 1).
    expression : casadi.SX
        Right side (n, 1).  Every physical number is a parameter, since a constant of the expression is a float64.
    equilibrium : (tuple of str, tuple of str)
        Exact x* (n) and u* (m) for the parameters' values.
    domain : (tuple of str, tuple of str)
        Default domain, lower and upper corner, in the states' units.
    time : str
        ``"continuous"`` or ``"discrete"``.
    dt : str or None
        Exact sampling time in s of a discrete plant; None where it has no meaning.
    frame : str
        Sign and axis conventions where they are not obvious.
    reference : str
        Where the equations stand.
    rule : callable or None
        Equilibrium as a function of the parameters (a namespace of Fractions), used by :meth:`with_parameters`.
    """

    name: str
    states: tuple[State, ...]
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    x: ca.SX
    u: ca.SX
    p: ca.SX
    expression: ca.SX
    equilibrium: tuple[Vector, Vector]
    domain: tuple[Vector, Vector]
    time: str = "continuous"
    dt: str | None = None
    frame: str = ""
    reference: str = ""
    rule: Rule | None = None

    def __post_init__(self) -> None:
        checked_name(self.name)
        n, m = len(self.states), len(self.inputs)
        used = [s.name for s in (*self.states, *self.inputs, *self.parameters)]
        if not (n and len(set(used)) == len(used)):
            raise ValueError(f"{self.name}: there are no states, or two of {', '.join(used)} share a name; rename one")
        if self.expression.shape != (n, 1) or (self.x.numel(), self.u.numel(), self.p.numel()) != (n, m, len(self.parameters)):
            raise ValueError(f"{self.name}: the expression has shape {self.expression.shape} where {n} states need ({n}, 1)")
        if self.time not in ("continuous", "discrete") or (self.time == "continuous" and self.dt is not None):
            raise ValueError(f'{self.name}: time is "continuous" without dt, or "discrete"')
        if self.dt is not None and not exact(self.dt) > 0:
            raise ValueError(f"{self.name}: dt = {self.dt} is not positive")
        if [len(v) for v in (*self.equilibrium, *self.domain)] != [n, m, n, n]:
            raise ValueError(f"{self.name}: equilibrium and domain need {n} states and {m} inputs")
        for number in (v for vector in self.equilibrium for v in vector):
            exact(number)
        for lo, hi, state in zip(*self.domain, self.states, strict=True):
            if not exact(lo) < exact(hi):
                raise ValueError(f"{self.name}: the domain of {state.name} is empty: [{lo}, {hi}]")
        for channel, (lower, upper) in zip(self.inputs, self._limits, strict=True):
            if lower is not None and upper is not None and not lower <= upper:
                raise ValueError(f"{self.name}: input {channel.name} has limits {lower} > {upper}; the limit parameter is negative")

    # making one -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_equations(cls, name: str, *, states: Sequence[State], inputs: Sequence[Input] = (), parameters: Sequence[Parameter] = (),
                       dynamics: Dynamics, equilibrium: Rule | tuple[Sequence[str], Sequence[str]],
                       domain: tuple[Sequence[str], Sequence[str]], **details: Any) -> Plant:
        """Build a plant from a function ``dynamics(x, u, p)`` of namespaces that returns one CasADi expression per state.

        ``equilibrium`` is a pair (x, u), or a function of the parameters that returns one.
        """
        symbols = [{s.name: ca.SX.sym(s.name) for s in signals} for signals in (states, inputs, parameters)]
        x, u, p = (ca.vertcat(ca.SX(0, 1), *group.values()) for group in symbols)
        right = dynamics(*(SimpleNamespace(**group) for group in symbols))
        rule = equilibrium if callable(equilibrium) else None
        at = _equilibrium(equilibrium, tuple(parameters)) if callable(equilibrium) else equilibrium
        return cls(name, tuple(states), tuple(inputs), tuple(parameters), x, u, p, ca.vertcat(ca.SX(0, 1), *right),
                   (tuple(at[0]), tuple(at[1])), (tuple(domain[0]), tuple(domain[1])), rule=rule, **details)

    @classmethod
    def from_control(cls, system: control.StateSpace, *, name: str, domain: tuple[Sequence[str], Sequence[str]],
                     limits: Sequence[tuple[str | None, str | None]] | None = None, units: Mapping[str, str] | None = None,
                     angles: Sequence[str] = (), dt: str | None = None, reference: str = "") -> Plant:
        """Take A, B and the names of states and inputs from a linear system of python-control; C and D are not used.

        The entries of A and B become the rationals that the floats are.  The sampling time is a number that a person
        wrote, so it is read as its decimal text (0.1 is 1/10), or from ``dt``.

        Parameters
        ----------
        system : control.StateSpace
            Linear system; the state is taken as fully measured.
        domain : (sequence of str, sequence of str)
            Default domain.
        limits : sequence of (str or None, str or None), optional
            Lower and upper limit of each input.
        units : mapping of str to str, optional
            Unit of each signal, ``"1"`` where none is given.
        angles : sequence of str
            States that are angles.
        dt : str, optional
            Exact sampling time, when the decimal text of ``system.dt`` is not it.

        Raises
        ------
        ValueError
            When a matrix entry is NaN or infinite, the time base is unspecified, or ``dt`` contradicts the system's.
        """
        a, b = (np.asarray(matrix, dtype=np.float64) for matrix in (system.A, system.B))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ValueError(f"{name}: an entry of A or B is NaN or infinite")
        if system.dt is None:
            raise ValueError(f"{name}: the system's time base is unspecified; give dt=0 (continuous), True or a sampling time")
        continuous = system.dt is not True and system.dt == 0
        if not continuous and system.dt is not True and dt is None:
            dt = text(Fraction(np.format_float_positional(system.dt, trim="-")))
        if dt is not None and (continuous or system.dt is True or float(exact(dt)) != system.dt):
            raise ValueError(f"{name}: dt = {dt} contradicts the system's dt = {system.dt}")
        unit = dict(units or {})
        bounds = limits if limits is not None else [(None, None)] * b.shape[1]
        return cls.from_equations(
            name, states=[State(s, unit.get(s, "1"), s in angles) for s in system.state_labels],
            inputs=[Input(s, unit.get(s, "1"), lo, hi) for s, (lo, hi) in zip(system.input_labels, bounds, strict=True)],
            dynamics=lambda x, u, p: linear_rows(a, b, list(vars(x).values()), list(vars(u).values())),
            equilibrium=(["0"] * a.shape[0], ["0"] * b.shape[1]), domain=domain, reference=reference,
            time="continuous" if continuous else "discrete", dt=dt)

    @classmethod
    def from_casadi(cls, function: ca.Function, *, name: str, states: Sequence[State], inputs: Sequence[Input] = (),
                    parameters: Sequence[Parameter] = (), equilibrium: Rule | tuple[Sequence[str], Sequence[str]],
                    domain: tuple[Sequence[str], Sequence[str]], **details: Any) -> Plant:
        """Take the dynamics from a CasADi function of (x), (x, u) or (x, u, p) with one output; MX is expanded to SX.

        Constants inside the function are float64: what must be exact belongs into ``p``.

        Raises
        ------
        ValueError
            When the sizes of the function's inputs and output are not those of states, inputs and parameters.
        """
        sizes = [len(states), len(inputs), len(parameters)]
        have = [function.numel_in(k) for k in range(function.n_in())]
        if function.n_in() > 3 or have + [0] * (3 - len(have)) != sizes or function.n_out() != 1 or function.numel_out(0) != sizes[0]:
            raise ValueError(f"{name}: the function maps sizes {have} to {[function.numel_out(k) for k in range(function.n_out())]}; "
                             f"(x, u, p) of sizes {sizes} and one output of size {sizes[0]} are expected")
        expanded = function.expand()

        def dynamics(*spaces: SimpleNamespace) -> list[Any]:
            vectors = [ca.vertcat(ca.SX(0, 1), *vars(space).values()) for space in spaces]
            return list(ca.vertsplit(ca.densify(ca.vec(expanded(*vectors[:function.n_in()])))))

        return cls.from_equations(name, states=states, inputs=inputs, parameters=parameters, dynamics=dynamics,
                                  equilibrium=equilibrium, domain=domain, **details)

    def with_parameters(self, **values: str | tuple[str, str]) -> Plant:
        """Return the plant with other parameter values; a pair (lo, hi) is an unknown constant in between.

        The equilibrium is computed again where it depends on parameters (from the middle of an interval).

        Raises
        ------
        ValueError
            When a name is no parameter, a value is not exact, or the sampling time of a sampled plant would change.
        """
        known = [p.name for p in self.parameters]
        for name in values:
            if name not in known:
                raise ValueError(f"{self.name} has no parameter {name!r}; its parameters are {', '.join(known) or 'none'}")
            if name == "dt" and self.dt is not None:
                raise ValueError(f"{self.name} is sampled with dt = {self.dt}; discretize the continuous plant with another dt instead")
        parameters = tuple(replace(p, value=values[p.name]) if p.name in values else p for p in self.parameters)
        at = self.equilibrium if self.rule is None else _equilibrium(self.rule, parameters)
        return replace(self, parameters=parameters, equilibrium=at)

    def discretize(self, method: str, dt: str) -> Plant:
        """Sample the plant with its input held: see :func:`systems.sampling.discretize`."""
        from systems.sampling import discretize

        return discretize(self, method, dt)

    # numbers --------------------------------------------------------------------------------------------------------

    @property
    def _limits(self) -> list[tuple[Fraction | None, Fraction | None]]:
        nominal = {p.name: p.nominal for p in self.parameters}
        return [(limit_value(c.lo, nominal), limit_value(c.hi, nominal)) for c in self.inputs]

    @cached_property
    def values(self) -> Floats:
        """Parameter values (k,), middles of intervals, rounded to float64."""
        return np.array([float(p.nominal) for p in self.parameters])

    @cached_property
    def function(self) -> ca.Function:
        """The right side as a CasADi function of (x, u, p)."""
        return ca.Function(self.name, [self.x, self.u, self.p], [ca.densify(self.expression)], ["x", "u", "p"], ["f"])

    @cached_property
    def jacobians(self) -> ca.Function:
        """df/dx (n, n) and df/du (n, m) as a CasADi function of (x, u, p); derivatives are exact."""
        slopes = [ca.densify(ca.jacobian(self.expression, z)) for z in (self.x, self.u)]
        return ca.Function("jacobians", [self.x, self.u, self.p], slopes)

    @cached_property
    def rest(self) -> tuple[Floats, Floats]:
        """Equilibrium (x*, u*) in float64."""
        x, u = (np.array([float(exact(v)) for v in vector]) for vector in self.equilibrium)
        return x, u

    @cached_property
    def input_limits(self) -> tuple[Floats, Floats]:
        """Lower and upper input limits (m,), infinite where there is none."""
        lo = np.array([-np.inf if a is None else float(a) for a, _ in self._limits])
        hi = np.array([np.inf if b is None else float(b) for _, b in self._limits])
        return lo, hi

    def clip(self, u: npt.ArrayLike) -> Floats:
        """Limit a command (m,) or (B, m) to the input limits, as the plant does."""
        lo, hi = self.input_limits
        return np.clip(np.asarray(u, dtype=np.float64), lo, hi)

    def rhs(self, x: npt.ArrayLike, u: npt.ArrayLike | None = None) -> Floats:
        """Evaluate the right side in float64 at states (n,) or (B, n) and inputs (m,) or (B, m) that are not clipped here.

        Without ``u`` the equilibrium's input is taken.
        """
        states = np.atleast_2d(np.asarray(x, dtype=np.float64))
        command = np.asarray(self.rest[1] if u is None else u, dtype=np.float64)
        inputs = np.broadcast_to(np.atleast_2d(command) if self.inputs else np.zeros((1, 0)), (states.shape[0], len(self.inputs)))
        values = np.broadcast_to(self.values, (states.shape[0], len(self.parameters)))
        result = np.asarray(self.function(states.T, inputs.T, values.T), dtype=np.float64).T
        return result[0] if np.ndim(x) == 1 else result

    def linearize(self, x: npt.ArrayLike | None = None, u: npt.ArrayLike | None = None) -> control.StateSpace:
        r"""Linearize about (x, u), by default the equilibrium, with exact derivatives by CasADi; the limits are left out.

        Returns
        -------
        control.StateSpace
            :math:`A = \partial f/\partial x` (n, n), :math:`B = \partial f/\partial u` (n, m), C = I, D = 0, with the
            plant's names and time base.
        """
        import control

        at = [self.rest[k] if z is None else np.asarray(z, dtype=np.float64) for k, z in enumerate((x, u))]
        a, b = (np.asarray(slope, dtype=np.float64) for slope in self.jacobians(at[0], at[1], self.values))
        n, m = len(self.states), len(self.inputs)
        labels = [s.name for s in self.states]
        return control.StateSpace(a, b.reshape(n, m), np.eye(n), np.zeros((n, m)), self._time_base, name=self.name, states=labels,
                                  inputs=[s.name for s in self.inputs], outputs=labels, remove_useless_states=False)

    @property
    def _time_base(self) -> float | bool:
        return 0 if self.time == "continuous" else True if self.dt is None else float(exact(self.dt))

    def to_control(self) -> control.NonlinearIOSystem:
        """The plant as a nonlinear system of python-control with full state output; inputs are clipped there.

        Its ``params`` are the plant's parameters as floats; limits that name parameters follow them.
        """
        import control

        names = [p.name for p in self.parameters]

        def update(t: float, x: Floats, u: Floats, params: Mapping[str, float]) -> Floats:
            given = {p.name: Fraction(params[p.name]) if p.name in params else p.nominal for p in self.parameters}
            bounds = [(limit_value(c.lo, given), limit_value(c.hi, given)) for c in self.inputs]
            command = [np.clip(v, -np.inf if lo is None else float(lo), np.inf if hi is None else float(hi))
                       for v, (lo, hi) in zip(np.atleast_1d(u), bounds, strict=True)] if self.inputs else []
            return np.asarray(self.function(x, np.array(command), np.array([float(given[k]) for k in names])), dtype=np.float64).ravel()

        return control.NonlinearIOSystem(
            update, None, name=self.name, states=[s.name for s in self.states], inputs=[s.name for s in self.inputs],
            outputs=[s.name for s in self.states], dt=self._time_base, params=dict(zip(names, self.values.tolist(), strict=True)))

    def simulate(self, x0: npt.ArrayLike, controller: Callable[[Floats], npt.ArrayLike] | None = None, *,
                 t_end: float | None = None, steps: int | None = None, escape: float = 1e6) -> Simulation:
        """Simulate from ``x0`` under ``controller`` (u* without one): see :func:`systems.simulation.simulate`."""
        from systems.simulation import simulate

        return simulate(self, x0, controller, t_end=t_end, steps=steps, escape=escape)

    # out ------------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Content of the plant's plant.json; see :mod:`systems.export`."""
        from systems.export import plant_json

        return plant_json(self)

    def save(self, path: str | Path) -> Path:
        """Write the plant's plant.json and return its path."""
        path = Path(path)
        path.write_text(self.to_json(), encoding="ascii", newline="\n")
        return path

    def describe(self) -> str:
        """Text for people: signals with units and limits, parameters, equilibrium, domain, equations."""
        from systems.describe import describe
        from systems.export import plant_data

        return describe(plant_data(self))


def _equilibrium(rule: Rule, parameters: tuple[Parameter, ...]) -> tuple[Vector, Vector]:
    x, u = rule(SimpleNamespace(**{p.name: p.nominal for p in parameters}))
    return tuple(v if isinstance(v, str) else text(v) for v in x), tuple(v if isinstance(v, str) else text(v) for v in u)


def linear_rows(a: Floats, b: Floats, x: Sequence[Any], u: Sequence[Any]) -> list[Any]:
    """Rows of ``A x + B u`` as expressions, coefficient by coefficient so that no float is combined with another."""
    rows = []
    for row_a, row_b in zip(a, b, strict=True):
        terms = [float(c) * z for c, z in zip((*row_a, *row_b), (*x, *u), strict=True) if c != 0]
        rows.append(sum(terms[1:], terms[0]) if terms else ca.SX(0))
    return rows
