"""What a learner of imitation is about: states and inputs with names and units, a plant where there is one, and the region that matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from certctl.plants import SUFFIX, plant_data, plant_folder
from verifiers.kernel.codes import Code
from verifiers.kernel.graph import Affine, Builder, Floats, Graph
from verifiers.kernel.plant import METHODS, PlantSpec, closed_loop, read_plant, resolve
from verifiers.kernel.strict import read_json
from verifiers.load.floats import evaluate
from verifiers.load.plant import plant_graph

Box = tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class Problem:
    """A plant with its parameters, the box of states that the policy is for, and the time of the claim.

    Attributes
    ----------
    plant : str
        A shipped plant's name, or the path of a plant.json.
    spec : PlantSpec
        The plant as the kernel reads it.
    parameters : mapping of str to str
        Exact overrides.
    domain : (tuple of Fraction, tuple of Fraction)
        Corners, in the plant's units and order of states.
    time, dt, method : str
        As in a requirement; ``dt`` and ``method`` empty in continuous time.
    """

    plant: str
    spec: PlantSpec
    parameters: Mapping[str, str]
    domain: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
    time: str = "continuous"
    dt: str = ""
    method: str = ""

    @cached_property
    def box(self) -> Box:
        """The domain in float64."""
        return np.array([float(v) for v in self.domain[0]]), np.array([float(v) for v in self.domain[1]])

    @cached_property
    def table(self) -> dict[str, tuple[Fraction, Fraction]]:
        """Overrides of the plant's parameters as intervals."""
        return {name: (Fraction(value), Fraction(value)) for name, value in self.parameters.items()}

    @cached_property
    def graph(self) -> Graph:
        """The plant's right side, inputs x (n,) and u (m,), without limits."""
        return plant_graph(self.spec, self.table)

    @cached_property
    def limits(self) -> Box:
        """Input limits (m,), infinite where there is none."""
        known, ends = resolve(self.spec, self.table), []
        for signal in self.spec.inputs:
            ends.append([_limit(signal.lo, known, -np.inf), _limit(signal.hi, known, np.inf)])
        low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
        return low, high

    @cached_property
    def rest(self) -> tuple[Floats, Floats]:
        """Equilibrium x* (n,) and the input u* (m,) that holds it, by Newton's method on the least squares in u."""
        x = np.array([float(v) for v in self.spec.equilibrium_x])
        u = np.zeros(len(self.spec.inputs))
        target = x if self.spec.time == "discrete" else np.zeros_like(x)
        for _ in range(30):
            _, b = self.jacobians(x, u)
            step = np.linalg.lstsq(b, target - evaluate(self.graph, x, u), rcond=None)[0]
            u = u + step
            if np.abs(step).max(initial=0.0) <= 1e-15 * (1 + np.abs(u).max(initial=0.0)):
                break
        return x, np.asarray(u + 0.0)

    def jacobians(self, x: Floats, u: Floats, step: float = 1e-6) -> tuple[Floats, Floats]:
        """Central-difference Jacobians (n, n) and (n, m) of the right side; for experts and searches, not for proofs."""
        n, both = len(x), np.concatenate([x, u])
        h = step * np.maximum(1.0, np.abs(both))
        columns = [(evaluate(self.graph, (both + d)[:n], (both + d)[n:]) - evaluate(self.graph, (both - d)[:n], (both - d)[n:])) / (2 * d.max())
                   for d in np.diag(h)]
        whole = np.stack(columns, axis=1)
        return whole[:, :n], whole[:, n:]

    @cached_property
    def step(self) -> Graph:
        """One step x+ (n,) of the held, clipped input: the loop's own map in discrete time, classical Runge-Kutta of ``pace`` seconds else."""
        sides = [[Fraction(float(v)) if np.isfinite(v) else None for v in side] for side in self.limits]
        b = Builder()
        x, u = b.input(len(self.spec.states)), b.input(len(self.spec.inputs))
        return b.build(b.inline(self.free_step, [x, b.clip(u, *sides)]))

    @cached_property
    def free_step(self) -> Graph:
        """The same without the limits."""
        b = Builder()
        x, u = b.input(len(self.spec.states)), b.input(len(self.spec.inputs))
        if self.spec.time == "discrete":
            return b.build([b.inline(self.graph, [x, u])[0]])
        h = self.pace
        method = self.method or "rk4"
        places, weights = METHODS[method]
        slopes = [b.inline(self.graph, [x, u])[0]]
        for c in places:
            slopes.append(b.inline(self.graph, [_move(b, x, slopes[-1], c * h), u])[0])
        for slope, weight in zip(slopes, weights, strict=True):
            x = _move(b, x, slope, weight * h)
        return b.build([x])

    @cached_property
    def pace(self) -> Fraction:
        """Seconds between two samples of a simulated trajectory: dt, or 1/20 of a continuous loop."""
        return Fraction(self.dt) if self.dt else (self.spec.dt or Fraction(1, 20))


def open_problem(plant: str, *, parameters: Mapping[str, str] | None = None, domain: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
                 time: str = "", dt: str = "", method: str = "") -> Problem:
    """Read a plant and what is to be proved about it.

    Parameters
    ----------
    plant : str
        A shipped plant's name, or the path of a plant.json.
    parameters : mapping of str to str, optional
        Exact overrides of the plant's parameters.
    domain : (tuple of str, tuple of str), optional
        Corners; the plant's own domain by default.
    time, dt, method : str
        As in a requirement; the plant's own time by default.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no such plant, or the domain does not fit it.
    Refusal
        What the kernel finds wrong with the plant, its parameters, or the time of the claim.
    """
    plant_data(plant)
    path = Path(plant) if plant.endswith(".json") else plant_folder() / f"{plant}{SUFFIX}"
    spec = read_plant(read_json(path.read_bytes(), path.name, Code.BAD_PLANT))
    if not spec.inputs:
        raise ValueError(f"{spec.name} has no inputs, so there is no policy to learn")
    n = len(spec.states)
    corners = spec.domain if domain is None else (tuple(map(Fraction, domain[0])), tuple(map(Fraction, domain[1])))
    if not (len(corners[0]) == len(corners[1]) == n and all(a < b for a, b in zip(*corners, strict=True))):
        raise ValueError(f"the domain needs {n} lower and {n} upper ends with lower < upper, in the order {', '.join(s.name for s in spec.states)}")
    if not all(a < x < b for a, x, b in zip(corners[0], spec.equilibrium_x, corners[1], strict=True)):
        raise ValueError(f"the equilibrium of {spec.name} is not inside the domain; enlarge the domain")
    time = time or spec.time
    dt = dt or (str(spec.dt) if time == spec.time == "discrete" and spec.dt is not None else "")
    found = Problem(plant, spec, dict(parameters or {}), corners, time, dt, method)
    b = Builder()
    nothing = b.build([b.affine(b.input(n), Affine(np.zeros((len(spec.inputs), n)), np.zeros(len(spec.inputs))))])
    closed_loop(spec, nothing, found.table, time=found.time, dt=Fraction(dt) if dt else None, method=method or None)
    return found


def _limit(limit: str | None, known: Mapping[str, tuple[Fraction, Fraction]], absent: float) -> float:
    if limit is None:
        return absent
    name = limit.removeprefix("-")
    value = sum(known[name]) / 2 if name in known else Fraction(limit)
    return float(-value if name in known and limit != name else value)


def _move(b: Builder, x: int, slope: int, h: Fraction) -> int:
    return b.binary("add", x, b.binary("mul", b.const([h] * b.size(x)), slope)) if h else x
