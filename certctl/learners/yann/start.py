"""Everything that is known before the first episode: the model, its law, the law's lattice form, and the plant that it was linearised from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from systems.plant import Plant
from verifiers.explicit_mpc.comparisons import add_comparisons
from verifiers.explicit_mpc.condense import Model, condense
from verifiers.explicit_mpc.equivalence import prove_equivalence
from verifiers.explicit_mpc.lattice import Lattice, lattice, lattice_graph
from verifiers.explicit_mpc.law import Law
from verifiers.explicit_mpc.model_file import read_model, read_table
from verifiers.explicit_mpc.origin import Origin, read_origin
from verifiers.explicit_mpc.partition import partition
from verifiers.explicit_mpc.problem import BadProblem
from verifiers.explicit_mpc.solve import solve
from verifiers.explicit_mpc.value import pieces
from verifiers.kernel.graph import Affine, Builder, Floats, Graph

TOLERANCE = Fraction(1, 10**9)
"""Within which the lattice network is proved to be the law, in the input's units."""


@dataclass(frozen=True, eq=False)
class Start:
    """A linear MPC problem of a shipped plant, solved.

    Attributes
    ----------
    model : Model
    origin : Origin
        Where A and B come from.
    plant : Plant
        The discrete map of the nonlinear plant.
    law : Law
        In deviations from the equilibrium.
    forms : tuple of Lattice
        One per input, proved equal to the law within :data:`TOLERANCE`.
    active : tuple of tuple of int
        Active sets of the critical regions.
    """

    model: Model
    origin: Origin
    plant: Plant
    law: Law
    forms: tuple[Lattice, ...]
    active: tuple[tuple[int, ...], ...]

    def has_value(self, x: Floats) -> np.ndarray:
        """Where the law has a value: states (B, n) from which the linear problem is feasible."""
        return np.asarray(np.isfinite(self.law.evaluate(x - self.plant.rest[0])).all(axis=1))


def read_start(path: Path) -> Start:
    """Read a model that names a plant, and solve it.

    Raises
    ------
    BadProblem
        When it names none, or has parameters other than the state.
    """
    model, origin = read_model(path), read_origin(read_table(path))
    if origin is None:
        raise BadProblem(f'{path.name}: learning needs the plant itself; write plant = "NAME" in place of A and B')
    if model.remembers or model.C is not None or model.E is not None:
        raise BadProblem(f"{path.name}: a policy of the state alone is learned; leave out tracking, limits.du and weights.S")
    problem = condense(model)
    found = partition(problem, [region.active for region in solve(problem).regions], model.B.shape[1])
    forms = tuple(lattice(found.law, k) for k in range(found.law.outputs))
    prove_equivalence(found.law, lattice_graph(list(forms)), TOLERANCE)
    return Start(model, origin, origin.map(), found.law, forms, found.active)


def yann_graph(start: Start) -> Graph:
    """The law in YANN form as a policy of the plant, states and inputs as the plant has them: what may be exported and certified beside the lattice.

    See :func:`verifiers.explicit_mpc.comparisons.add_comparisons`; the plant's clip is left to the plant.
    """
    builder, (rest_x, rest_u) = Builder("policy"), start.plant.rest
    x = builder.input(len(rest_x))
    theta = builder.affine(x, Affine(np.eye(len(rest_x)), -rest_x)) if rest_x.any() else x
    u = add_comparisons(builder, theta, pieces(start.model, start.active))
    return builder.build([builder.affine(u, Affine(np.eye(len(rest_u)), rest_u)) if rest_u.any() else u])


def inscribed(start: Start, contraction: float = 0.995, room: float = 0.95) -> list[Floats]:
    r"""The largest ellipsoid in the domain on which the regulator's command stays within its limits and which the loop maps into itself, smaller.

    Parameters
    ----------
    start : Start
    contraction : float
        Of the ellipsoid in a step, as a factor of V.
    room : float
        Share of the limits of inputs and states that it may use.

    Returns
    -------
    list of (n, n) arrays
        P with level 1, a guess for ``verify`` beyond the states that boxes reach; none where CVXPY is not installed or there is none.

    Notes
    -----
    Direction: none; the kernel decides.  With W the inverse of P, the determinant of W is largest under
    :math:`F W F^T \preceq \rho W`, :math:`K_j W K_j^T \le (\eta \bar u_j)^2` and :math:`W_{ii} \le (\eta \bar x_i)^2`.

    References
    ----------
    .. [1] S. Boyd et al., Linear Matrix Inequalities in System and Control Theory, SIAM 1994, section 5.
    """
    try:
        import cvxpy as cp
    except ImportError:
        return []
    model, plant = start.model, start.plant
    n, zero = len(model.lb), np.zeros((1, len(model.lb)))
    gain = np.array([(start.law.evaluate(h) - start.law.evaluate(-h))[0] / 2e-6 for h in 1e-6 * np.eye(n)[:, None]]).T
    reach = np.minimum(-model.lb.astype(np.float64), model.ub.astype(np.float64))
    limit = np.minimum(plant.input_limits[1] - plant.rest[1], plant.rest[1] - plant.input_limits[0])
    loop = (model.A.astype(np.float64) + model.B.astype(np.float64) @ gain) * reach / reach[:, None]
    if not np.isfinite([*start.law.evaluate(zero)[0], *gain.ravel(), *loop.ravel()]).all():
        return []
    w = cp.Variable((n, n), PSD=True)
    shrinks = cp.bmat([[contraction * w, w @ loop.T], [loop @ w, w]]) >> 0
    inside = [row @ w @ row <= (room * most) ** 2 for row, most in zip(gain * reach, limit, strict=True)]
    problem = cp.Problem(cp.Maximize(cp.log_det(w)), [shrinks, *inside, cp.diag(w) <= room**2])
    try:
        problem.solve(solver=cp.CLARABEL)
    except cp.error.SolverError:
        return []
    if problem.status != cp.OPTIMAL:
        return []
    return [np.linalg.inv(np.asarray(w.value)) / reach / reach[:, None]]


def requirement_text(start: Start, contains: Sequence[Fraction]) -> bytes:
    """A requirement of asymptotic stability for the plant's discrete map on the model's box, whose limits of x are never left.

    Parameters
    ----------
    start : Start
    contains : sequence of Fraction
        Half-widths of the box about the equilibrium that the region has to contain.
    """
    plant, model = start.origin.plant, start.model
    rest = [Fraction(v) for v in plant.equilibrium[0]]

    def numbers(values: Sequence[Fraction]) -> str:
        return "[" + ", ".join(f'"{v}"' for v in values) + "]"

    def shifted(values: Sequence[Fraction]) -> str:
        return numbers([at + v for at, v in zip(rest, values, strict=True)])

    lines = ['property   = "asymptotic_stability_roa"', f'plant      = "{plant.name}"', 'controller = "controller.onnx"', 'time       = "discrete"']
    if start.origin.dt is None and plant.dt is not None:
        lines += [f'dt         = "{plant.dt}"']
    if start.origin.dt is not None:
        method = "rk4" if start.origin.method == "zoh" else start.origin.method
        lines += [f'dt         = "{start.origin.dt}"', f'method     = "{method}"']
    if parameters := [p for p in plant.parameters if not isinstance(p.value, str) or p.value != _default(plant, p.name)]:
        lines += ["[parameters]", *(f'{p.name} = "{p.value}"' for p in parameters)]
    lo, hi = model.lb.tolist(), model.ub.tolist()
    low = [max(a, b) if b is not None else a for a, b in zip(lo, model.x[0] or [None] * len(lo), strict=True)]
    high = [min(a, b) if b is not None else a for a, b in zip(hi, model.x[1] or [None] * len(hi), strict=True)]
    lines += ["[domain]                                   # of the model, within its limits of x: the region stays inside", f"lo = {shifted(low)}",
              f"hi = {shifted(high)}", "[region]", 'level    = "max"',
              f"contains = {{ lo = {shifted([-v for v in contains])}, hi = {shifted(contains)} }}"]
    return ("\n".join(lines) + "\n").encode("ascii")


def _default(plant: Plant, name: str) -> object:
    import systems

    return next(p.value for p in systems.load(plant.name).parameters if p.name == name)
