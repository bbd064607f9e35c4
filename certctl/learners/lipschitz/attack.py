r"""The worst measurement error of a given size, by gradient ascent along the closed loop; for figures and falsification, never a bound.

The policy sees :math:`x_t + d_t` with :math:`|d_t|_2 \le \bar d`; the plant moves by :math:`x_{t+1} = \phi(x_t, \mathrm{clip}(\pi(x_t + d_t)))`.
Sought are d_0 ... d_{T-1} with a large cost :math:`\sum_t |x_t - x^*|_Q^2 + |u_t - u^*|_R^2`, by projected steps along the normalised gradient
from several starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from certctl.learners.lipschitz.problem import Problem, open_problem
from verifiers.kernel.bundle import read_file, requirement_name
from verifiers.kernel.graph import Bools, Floats, Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.requirement import Requirement, read_requirement
from verifiers.load.to_torch import to_torch
from verifiers.load.torch_module import import_torch


@dataclass(frozen=True, eq=False)
class Attack:
    """What was found, one trajectory per start.

    Attributes
    ----------
    errors : ndarray
        Measurement errors (T, B, n), each of Euclidean norm at most the size.
    nominal, attacked : ndarray
        States (T + 1, B, n) without and with them.
    nominal_cost, attacked_cost : ndarray
        Sums over the horizon (B,).
    """

    errors: Floats
    nominal: Floats
    attacked: Floats
    nominal_cost: Floats
    attacked_cost: Floats

    def drives_out(self, problem: Problem) -> Bools:
        """(B,): whether the attacked trajectory leaves the domain where the nominal one does not; a simulation, no proof."""
        lo, hi = problem.box
        left, stayed = (~((run >= lo) & (run <= hi)).all(axis=(0, 2)) for run in (self.attacked, self.nominal))
        return np.asarray(left & ~stayed)


def attack(problem: Problem, policy: Graph, starts: Floats, size: float, *, steps: int = 60, weights: tuple[Floats, Floats] | None = None,
           iterations: int = 60, tries: int = 2, seed: int = 0) -> Attack:
    """Search the worst measurement errors along the closed loop.

    Parameters
    ----------
    problem : Problem
        The plant; a step is ``problem.step``, so a continuous loop is simulated with its input held.
    policy : Graph
        States (n,) to commands (m,), before the limits.
    starts : ndarray
        Where trajectories begin (B, n).
    size : float
        Largest Euclidean norm of an error, in the units of the states; zero gives the nominal trajectories twice.
    steps : int
        T.
    weights : (ndarray, ndarray), optional
        Q (n, n) and R (m, m); identities by default.
    iterations, tries : int
        Steps of ascent, and starts of it: none at first, then random ones.
    seed : int
        Of the random starts.

    Returns
    -------
    Attack
        The worst per trajectory; never better for the plant than no attack.

    Raises
    ------
    ValueError
        When the size is negative or not finite, or sizes do not fit.
    ImportError
        When PyTorch is not installed.

    Notes
    -----
    Direction: an under-approximation of the worst cost.
    """
    torch = import_torch()
    n, m = len(problem.spec.states), len(problem.spec.inputs)
    begin = np.atleast_2d(np.asarray(starts, dtype=np.float64))
    if not 0 <= size < np.inf or begin.shape[1] != n or (policy.input_sizes, policy.output_size()) != ((n,), m) or min(steps, tries) < 1:
        raise ValueError(f"the size {size}, starts {begin.shape} or the policy do not fit {n} states and {m} inputs, or steps is not positive")
    q, r = weights if weights is not None else (np.eye(n), np.eye(m))
    loop = _Loop(torch, problem, policy, q, r, begin, steps)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        zero = torch.zeros(steps, *begin.shape, dtype=torch.float64)
        nominal, cost = loop.run(zero)
        best, worst = zero, cost.detach()
        generator = torch.Generator().manual_seed(seed)
        for k in range(tries if size > 0 else 0):
            start = zero if k == 0 else torch.randn(zero.shape, generator=generator, dtype=torch.float64)
            found, value = _ascend(torch, loop, _inside(start, size), size, iterations)
            better = value > worst
            best, worst = torch.where(better[None, :, None], found, best), torch.where(better, value, worst)
        attacked, _ = loop.run(best)
        return Attack(*(np.array(v.detach().numpy()) for v in (best, nominal, attacked, cost, worst)))
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class AttackedLoop:
    """The worst errors found against the loop of a requirement: what was attacked, the size and seconds between two errors, and what was found."""

    requirement: Requirement
    problem: Problem
    size: float
    found: Attack

    @property
    def pace(self) -> float:
        """Seconds between two errors; in a loop in continuous time the simulation holds input and error so long."""
        return float(self.problem.pace)

    @property
    def leaves(self) -> Bools:
        """(B,): whether the attacked trajectory leaves the domain where the one without errors does not."""
        return self.found.drives_out(self.problem)

    @property
    def misses(self) -> Bools | None:
        """(B,): whether the attacked trajectory ends outside the requirement's target; None where it has none."""
        target, last = self.requirement.target, self.found.attacked[-1]
        if target is None:
            return None
        lo, hi = (np.array([float(v) for v in side]) for side in (target.lo, target.hi))
        return np.asarray(~((last >= lo) & (last <= hi)).all(axis=1))

    def to_json(self) -> dict[str, Any]:
        """The account as plain data; numbers that are not finite are null."""
        def plain(values: Floats) -> list[Any]:
            return [float(v) if np.isfinite(v) else None for v in values]
        misses = self.misses
        starts = [{"x": plain(self.found.nominal[0, k]), "nominal_cost": plain(self.found.nominal_cost[k:k + 1])[0],
                   "attacked_cost": plain(self.found.attacked_cost[k:k + 1])[0], "leaves_domain": bool(self.leaves[k]),
                   "misses_target": None if misses is None else bool(misses[k]), "end": plain(self.found.attacked[-1, k])}
                  for k in range(self.found.nominal.shape[1])]
        return {"proved": False, "size": self.size, "norm": "l2", "steps": len(self.found.errors), "seconds_per_step": self.pace,
                "worst_ratio": plain(np.array([(self.found.attacked_cost / self.found.nominal_cost).max()]))[0], "starts": starts}

    def save(self, path: Path) -> Path:
        """Write errors, both runs and their costs as a NumPy archive."""
        f = self.found
        np.savez(path, errors=f.errors, nominal=f.nominal, attacked=f.attacked, nominal_cost=f.nominal_cost, attacked_cost=f.attacked_cost)
        return path


def attack_loop(requirement: Path, *, size: float | None = None, starts: Floats | None = None, count: int = 12, steps: int = 60,
                weights: tuple[Floats, Floats] | None = None, iterations: int = 60, tries: int = 2, seed: int = 0) -> AttackedLoop:
    """Search the worst measurement errors against the loop of a requirement.

    Parameters
    ----------
    requirement : Path
        A requirement about a plant with a controller, of any property.
    size : float, optional
        Largest Euclidean norm of an error in the states' units; that of ``[attack]`` by default.
    starts : ndarray, optional
        (B, n); by default ``count`` states drawn from the box of ``[region] contains``, else from a tenth of the domain.
    steps, weights, iterations, tries, seed
        As of :func:`attack`.

    Returns
    -------
    AttackedLoop
        Unknown constants of the plant are taken in the middle of their intervals.

    Raises
    ------
    Refusal
        What the kernel's readers find wrong.
    ValueError
        Without a controller or a size, and what :func:`attack` raises.
    ImportError
        When PyTorch is not installed.

    Notes
    -----
    Direction: an under-approximation; a simulation that refutes nothing and proves nothing.
    """
    r = read_requirement(read_file(requirement, str(requirement)), requirement_name(requirement))
    if r.controller is None:
        raise ValueError(f"{requirement.name} names no controller, so nothing measures the state")
    if size is None:
        if r.imitation is None:
            raise ValueError("give the size of the errors: this requirement has no [attack]")
        size = float(r.imitation.size)
    plant = r.plant if r.plant_sha256 is None else str((requirement.parent / r.plant).resolve())
    middle = {name: str((lo + hi) / 2) for name, (lo, hi) in r.parameters.items()}
    corners = tuple(map(str, r.domain.lo)), tuple(map(str, r.domain.hi))
    problem = open_problem(plant, parameters=middle, domain=corners, time=r.time, dt="" if r.dt is None else str(r.dt), method=r.method or "")
    policy = read_onnx(read_file((requirement.parent / r.controller).resolve(), r.controller), r.controller).graph
    if starts is None:
        rest, box = problem.rest[0], problem.box
        near = tuple(rest + (side - rest) / 10 for side in box)
        held = near if r.contains is None else tuple(np.array([float(Fraction(v)) for v in side]) for side in (r.contains.lo, r.contains.hi))
        starts = np.random.default_rng(seed).uniform(*held, (count, len(rest)))
    found = attack(problem, policy, starts, size, steps=steps, weights=weights, iterations=iterations, tries=tries, seed=seed)
    return AttackedLoop(r, problem, size, found)


def _inside(errors: Any, size: float) -> Any:
    """Errors scaled back into the ball of this size."""
    return errors * (size / errors.norm(dim=-1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)


def _ascend(torch: Any, loop: _Loop, errors: Any, size: float, iterations: int) -> tuple[Any, Any]:
    """The worst errors on the way up, and their cost (B,)."""
    best, worst = errors, torch.full((errors.shape[1],), -np.inf, dtype=torch.float64)
    for k in range(iterations + 1):
        errors = errors.detach().requires_grad_(True)
        _, cost = loop.run(errors)
        better = cost.detach() > worst
        best, worst = torch.where(better[None, :, None], errors.detach(), best), torch.where(better, cost.detach(), worst)
        if k == iterations:
            break
        cost.sum().backward()
        slope = torch.nan_to_num(errors.grad, nan=0.0, posinf=0.0, neginf=0.0)
        step = 0.5 * size * (1 - k / (iterations + 1))
        errors = _inside(errors.detach() + step * slope / slope.norm(dim=-1, keepdim=True).clamp_min(1e-300), size)
    return best, worst


class _Loop:
    """The closed loop in tensors."""

    def __init__(self, torch: Any, problem: Problem, policy: Graph, q: Floats, r: Floats, starts: Floats, steps: int) -> None:
        self.torch, self.phi, self.pi, self.steps = torch, to_torch(problem.step), to_torch(policy), steps
        self.q, self.r, self.start = torch.tensor(q), torch.tensor(r), torch.tensor(starts)
        self.low, self.high = (torch.tensor(v) for v in problem.limits)
        self.rest, self.held = (torch.tensor(v) for v in problem.rest)

    def run(self, errors: Any) -> tuple[Any, Any]:
        """States (T + 1, B, n) and costs (B,) under errors (T, B, n)."""
        x, states, cost = self.start, [self.start], 0.0
        for k in range(self.steps):
            u = self.torch.minimum(self.torch.maximum(self.pi(x + errors[k]), self.low), self.high)
            dx, du = x - self.rest, u - self.held
            cost = cost + ((dx @ self.q) * dx).sum(dim=-1) + ((du @ self.r) * du).sum(dim=-1)
            x = self.phi(x, u)
            states.append(x)
        return self.torch.stack(states), cost
