"""Experts to ask: LQR, MPC by CasADi, an ONNX file, a policy of Stable-Baselines3, or a function of Python."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from certctl.learners.lipschitz.demonstrations import BadData
from certctl.learners.lipschitz.problem import Problem
from certctl.requirements import read_toml
from verifiers.kernel.graph import Affine, Builder, Floats, Graph
from verifiers.load.floats import evaluate

KINDS = ("lqr", "mpc", "onnx", "sb3", "python")
_KEYS = {"Q", "R", "P", "horizon", "dt"}


@dataclass(frozen=True, eq=False)
class Expert:
    """A policy that can be asked.

    Attributes
    ----------
    kind, says : str
        One of ``KINDS``, and what it is in one line.
    answer : callable
        States (B, n) to commands (B, m) within the limits of the plant; a row of NaN where the expert has no answer.
    graph : Graph or None
        The same before the limits as a graph, where it is one; then its Lipschitz constant can be proved.
    gain : ndarray or None
        K (m, n) of ``u = u* - K (x - x*)``, before the limits.
    """

    kind: str
    says: str
    answer: Callable[[Floats], Floats]
    graph: Graph | None = None
    gain: Floats | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of a quadratic cost: Q (n, n), R (m, m), P (n, n) or None (Riccati), the horizon in steps and the step in s of an MPC."""

    q: Floats
    r: Floats
    p: Floats | None
    horizon: int
    dt: str


def open_expert(text: str, problem: Problem) -> Expert:
    """Make an expert from ``KIND`` or ``KIND:SOURCE``.

    Parameters
    ----------
    text : str
        ``lqr`` or ``lqr:WEIGHTS.toml``, ``mpc`` or ``mpc:WEIGHTS.toml``, ``onnx:POLICY.onnx``, ``sb3:ALGORITHM:MODEL.zip``, or
        ``python:module:function`` of states (B, n) that returns commands (B, m).
    problem : Problem
        The plant that it acts on.

    Raises
    ------
    BadData
        For an unknown kind, a source that cannot be read, or an answer of the wrong shape.
    ImportError
        When CasADi or Stable-Baselines3 is needed and absent.
    """
    kind, _, source = text.partition(":")
    if kind not in KINDS:
        raise BadData(f"the expert {text!r} is none of {', '.join(KINDS)}; write for example mpc:weights.toml")
    if kind in ("lqr", "mpc"):
        weights = read_weights(Path(source) if source else None, problem)
        return lqr(problem, weights) if kind == "lqr" else mpc(problem, weights)
    found = {"onnx": _onnx, "sb3": _sb3, "python": _python}[kind](source, problem)
    n, m = len(problem.spec.states), len(problem.spec.inputs)
    tried = np.asarray(found.answer(np.stack([problem.rest[0]] * 2)), dtype=np.float64)
    if tried.shape != (2, m):
        raise BadData(f"the expert {text} returns shape {tried.shape} for states of shape (2, {n}); (2, {m}) is expected")
    return found


def read_weights(path: Path | None, problem: Problem) -> Weights:
    """Read ``Q``, ``R`` and optionally ``P`` (diagonals or matrices), ``horizon`` and ``dt``; identities, 20 steps and 1/20 s by default."""
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = dict(read_toml(path))
        except ValueError as error:
            raise BadData(str(error)) from None
    if extra := sorted(set(table) - _KEYS):
        raise BadData(f"{path}: {extra[0]} is unknown; known are {', '.join(sorted(_KEYS))}")
    n, m = len(problem.spec.states), len(problem.spec.inputs)
    horizon, dt = table.get("horizon", 20), str(table.get("dt", problem.dt or "1/20"))
    if type(horizon) is not int or not 1 <= horizon <= 500:
        raise BadData(f"{path}: horizon is a whole number of steps from 1 to 500")
    p = _matrix(table["P"], n, "P", path) if "P" in table else None
    return Weights(_matrix(table.get("Q", [1] * n), n, "Q", path), _matrix(table.get("R", [1] * m), m, "R", path), p, horizon, dt)


def _matrix(value: Any, size: int, key: str, path: Path | None) -> Floats:
    from fractions import Fraction

    try:
        rows = [[float(Fraction(v)) for v in row] if isinstance(row, list) else float(Fraction(row)) for row in value]
        found = np.diag(rows) if np.ndim(rows) == 1 else np.array(rows)
    except (TypeError, ValueError, ZeroDivisionError):
        raise BadData(f'{path}: {key} is a list of numbers, or of rows of them, such as ["10", "0.1"]') from None
    if found.shape != (size, size) or not np.allclose(found, found.T):
        raise BadData(f"{path}: {key} needs {size} diagonal entries, or a symmetric matrix of that size")
    return np.asarray(found, dtype=np.float64)


def clipped(problem: Problem, u: Floats) -> Floats:
    """A command within the plant's input limits."""
    return np.asarray(np.clip(u, *problem.limits), dtype=np.float64)


def riccati(problem: Problem, weights: Weights, discrete: bool) -> tuple[Floats, Floats]:
    """Cost P (n, n) and gain K (m, n) of the linearised plant, in continuous time or for the held input at ``weights.dt``."""
    from scipy import linalg

    x, u = problem.rest
    a, b = problem.jacobians(x, u)
    if discrete and problem.spec.time == "continuous":
        a, b = discretised(a, b, weights)
    try:
        if discrete or problem.spec.time == "discrete":
            p = linalg.solve_discrete_are(a, b, weights.q, weights.r)
            return p, np.linalg.solve(weights.r + b.T @ p @ b, b.T @ p @ a)
        p = linalg.solve_continuous_are(a, b, weights.q, weights.r)
        return p, np.linalg.solve(weights.r, b.T @ p)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise BadData(f"the Riccati equation of {problem.spec.name} has no solution with these weights ({error}); is Q positive definite?") from None


def discretised(a: Floats, b: Floats, weights: Weights) -> tuple[Floats, Floats]:
    """A and B of the held input over ``weights.dt`` seconds."""
    from fractions import Fraction

    from scipy import linalg

    n = len(a)
    block = np.zeros((n + b.shape[1],) * 2)
    block[:n, :n], block[:n, n:] = a, b
    both = linalg.expm(block * float(Fraction(weights.dt)))[:n]
    return both[:, :n], both[:, n:]


def lqr(problem: Problem, weights: Weights) -> Expert:
    r"""The saturated linear-quadratic regulator :math:`u = \mathrm{clip}(u^* - K(x - x^*))`."""
    _, gain = riccati(problem, weights, problem.time == "discrete")
    x, u = problem.rest
    b = Builder()
    graph = b.build([b.affine(b.input(len(x)), Affine(-gain, u + gain @ x))])
    gains = "; ".join(", ".join(f"{v:.6g}" for v in row) for row in gain)
    return Expert("lqr", f"LQR, K = [{gains}], then the plant's limits", lambda rows: clipped(problem, evaluate(graph, rows)), graph, gain)


def mpc(problem: Problem, weights: Weights) -> Expert:
    r"""Nonlinear model-predictive control: the first input of the minimiser, by CasADi and IPOPT.

    .. math:: \min_u \sum_{k<H} |x_k - x^*|_Q^2 + |u_k - u^*|_R^2 + |x_H - x^*|_P^2, \quad x_{k+1} = \phi(x_k, u_k),\ u_{lo} \le u_k \le u_{hi},

    with phi the classical Runge-Kutta step of ``weights.dt`` seconds (a discrete plant's own map), and P of the Riccati equation by default.
    """
    from dataclasses import replace

    from verifiers.load.to_casadi import to_casadi

    try:
        import casadi as ca
    except ImportError as error:
        raise ImportError(f"model-predictive control needs {error.name}; pip install certctl[mpc] brings it", name=error.name) from None
    sampled = problem if problem.spec.time == "discrete" else replace(problem, time="discrete", dt=weights.dt, method="rk4")
    phi, (rest, held) = to_casadi(sampled.free_step, "phi"), problem.rest
    n, m, steps = len(rest), len(held), weights.horizon
    p = riccati(problem, weights, True)[0] if weights.p is None else weights.p
    x0, inputs, states = ca.SX.sym("x0", n), ca.SX.sym("u", m, steps), ca.SX.sym("x", n, steps)
    cost, gaps, x = 0, [], x0
    for k in range(steps):
        dx, du = x - rest, inputs[:, k] - held
        cost += dx.T @ weights.q @ dx + du.T @ weights.r @ du
        gaps.append(phi(x, inputs[:, k]) - states[:, k])
        x = states[:, k]
    cost += (x - rest).T @ p @ (x - rest)
    solver = ca.nlpsol("mpc", "ipopt", {"x": ca.vertcat(ca.vec(inputs), ca.vec(states)), "p": x0, "f": cost, "g": ca.vertcat(*gaps)},
                       {"print_time": False, "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-9, "max_iter": 200}, "error_on_fail": False})
    low, high = problem.limits
    free = np.full(n * steps, np.inf)
    bounds = {"lbx": np.concatenate([np.tile(low, steps), -free]), "ubx": np.concatenate([np.tile(high, steps), free]), "lbg": 0.0, "ubg": 0.0}
    start = np.concatenate([np.tile(held, steps), np.tile(rest, steps)])

    def answer(rows: Floats) -> Floats:
        found = np.full((len(rows), m), np.nan)
        for k, row in enumerate(rows):
            result = solver(x0=start, p=row, **bounds)
            if solver.stats()["success"]:
                found[k] = np.asarray(result["x"]).ravel()[:m]
        return clipped(problem, found)

    return Expert("mpc", f"MPC, {steps} steps of {weights.dt} s, within the plant's limits", answer)


def _onnx(source: str, problem: Problem) -> Expert:
    from verifiers.kernel.bundle import read_file
    from verifiers.kernel.onnx_reader import read_onnx

    graph = read_onnx(read_file(Path(source), source), source).graph
    if (graph.input_sizes, graph.output_size()) != ((len(problem.spec.states),), len(problem.spec.inputs)):
        raise BadData(f"{source} maps {graph.input_sizes} to {graph.output_size()}; {problem.spec.name} has {len(problem.spec.states)} states and "
                      f"{len(problem.spec.inputs)} inputs")
    return Expert("onnx", f"the network {Path(source).name}, then the plant's limits", lambda rows: clipped(problem, evaluate(graph, rows)), graph)


def _sb3(source: str, problem: Problem) -> Expert:
    from certctl.bridges.stable_baselines3 import import_policy

    name, _, path = source.partition(":")
    try:
        import stable_baselines3
    except ImportError as error:
        raise ImportError(f"a policy of Stable-Baselines3 needs {error.name}; pip install certctl[rl] brings it", name=error.name) from None
    algorithm = getattr(stable_baselines3, name, None)
    if algorithm is None or not Path(path).is_file():
        raise BadData(f"sb3:{source}: write sb3:PPO:model.zip with an algorithm of Stable-Baselines3 and the file that model.save wrote")
    lo, hi = problem.box
    graph = import_policy(algorithm.load(path, device="cpu"), lo=lo.tolist(), hi=hi.tolist()).graph
    return Expert("sb3", f"{name} policy {Path(path).name}, then the plant's limits", lambda rows: clipped(problem, evaluate(graph, rows)), graph)


def _python(source: str, problem: Problem) -> Expert:
    module, _, name = source.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadData(f"python:{source} cannot be loaded: {error}; write python:module:function, with the module on the path") from None
    return from_callable(function, problem, f"the function {source}")


def from_callable(function: Callable[[Floats], Any], problem: Problem, says: str = "a function of Python") -> Expert:
    """An expert from a function of states (B, n) that returns commands (B, m)."""
    def answer(rows: Floats) -> Floats:
        return clipped(problem, np.asarray(function(rows), dtype=np.float64))

    return Expert("python", f"{says}, then the plant's limits", answer)


def ask(expert: Expert, states: Floats) -> tuple[Floats, Floats, int]:
    """States with an answer, the answers, and how many had none.

    Raises
    ------
    BadData
        When fewer than two states have an answer.
    """
    given = np.asarray(expert.answer(states), dtype=np.float64)
    good = np.isfinite(given).all(axis=1)
    if good.sum() < 2:
        raise BadData(f"the expert ({expert.says}) has no answer at {int((~good).sum())} of {len(states)} states; shrink the domain")
    return states[good], given[good], int((~good).sum())


def spread_states(problem: Problem, count: int, seed: int) -> Floats:
    """States (count, n) of the domain by a scrambled Sobol sequence, with the equilibrium as the first."""
    from scipy.stats import qmc

    lo, hi = problem.box
    drawn = qmc.Sobol(len(lo), seed=seed).random_base2(max(1, math.ceil(math.log2(max(count, 2)))))[:max(count - 1, 1)]
    return np.concatenate([problem.rest[0][None], lo + drawn * (hi - lo)])
