"""Loops of explicit MPC are exponentially stable by piecewise-quadratic functions, also where the value function is no proof."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT, Check, Report, Table, clock
from benchmarks.yann_law import model_of
from verifiers.explicit_mpc.condense import Model, condense
from verifiers.explicit_mpc.model_file import read_model
from verifiers.explicit_mpc.partition import NotFeasible
from verifiers.explicit_mpc.piecewise import NoFunction
from verifiers.explicit_mpc.problem import Floats, exact
from verifiers.explicit_mpc.prove import certify
from verifiers.explicit_mpc.value import Pieces, pieces

CLAIM = "Loops of explicit MPC are exponentially stable by piecewise-quadratic functions, also where the value function is no proof"
NOTES = (
    "`dint N=5` is the reference case (|x| <= 5, |u| <= 1, the regulator's cost at the end, no terminal set); `dint N=4` has R = 1 and the "
    "terminal cost |x|², `dint N=4, low` R = 1/10 and 0.01 |x|². `pendulum` and `cstr` are `examples/yann/pendulum.toml` and `reactor.toml`, "
    "`reactor` Braniff and Tian's second case with `set = \"modal\"`. The loop is the linear one that the MPC was made for, the set all states at "
    "which its law has a value.",
    "`cells` are leaves of the law's tree with a value, `steps` pairs of them with an inequality, `empty` those with a Farkas certificate. "
    "`value function rises` is the share of random states of the feasible set (20,000 points of the box) at which the minimum of the problem is "
    "larger at the successor, `by` the largest ratio there: in float64, to show where that function proves nothing.",
    "`all` is CPU seconds of everything, solver and the kernel's check included; `proof` the size of the hints.",
)


@dataclass(frozen=True)
class Settings:
    """Which loops."""

    models: tuple[str, ...] = ("dint N=5", "dint N=4", "dint N=4, low", "pendulum", "cstr", "reactor")
    points: int = 20_000


def model(name: str) -> Model:
    """A model by its name.

    Raises
    ------
    FileNotFoundError
        When the reference cases are not on this machine.
    """
    if name.startswith("dint"):
        base = model_of("double integrator")
        if name == "dint N=5":
            return base
        end, weight = (Fraction(1, 100), Fraction(1, 10)) if name.endswith("low") else (Fraction(1), Fraction(1))
        eye = exact(np.eye(2), "P", (2, 2))
        return replace(base, horizon=4, Q=eye, P=end * eye, R=np.array([[weight]], dtype=object))
    if name == "reactor":
        return model_of("reactor", "modal")
    return read_model(ROOT / "examples" / "yann" / {"pendulum": "pendulum.toml", "cstr": "reactor.toml"}[name])


def rises(model: Model, own: Pieces, points: int) -> tuple[float, float]:
    """Share of random feasible states at which the value function is larger at the successor, and the largest ratio of the two values."""
    rows = [np.array([[v / max(map(abs, row)) for v in row] for row in region]) for region in own.halfspaces]
    laws, forms = [law.astype(np.float64) for law in own.laws], [form.astype(np.float64) for form in own.forms]

    def read(x: Floats) -> tuple[Floats, Floats]:
        lifted, value, u = np.column_stack([x, np.ones(len(x))]), np.full(len(x), np.nan), np.full((len(x), len(laws[0])), np.nan)
        for region, law, form in zip(rows, laws, forms, strict=True):
            inside = (lifted @ region.T >= -1e-9).all(axis=1)
            value[inside], u[inside] = np.einsum("bi,ij,bj->b", lifted[inside], form, lifted[inside]), lifted[inside] @ law.T
        return value, u

    x = np.random.default_rng(0).uniform(own.lb.astype(np.float64), own.ub.astype(np.float64), (points, len(own.lb)))
    value, u = read(x)
    x, value, u = (part[np.isfinite(value)] for part in (x, value, u))
    if not len(x):
        return np.nan, np.nan
    ratio = read(x @ model.A.astype(np.float64).T + u @ model.B.astype(np.float64).T)[0] / value
    return float((ratio > 1 + 1e-9).mean()), float(np.nanmax(ratio))


def row(s: Settings, name: str) -> tuple[tuple[object, ...], Check]:
    """One loop: proof and figures."""
    own = model(name)
    with tempfile.TemporaryDirectory() as folder, clock() as spent:
        bundle = Path(folder) / "loop.cert"
        try:
            found = certify(condense(own), bundle, outputs=own.B.shape[1], loop=(own.A, own.B), stable=True)
        except (NotFeasible, NoFunction) as no:
            return (name, len(own.A), *(None,) * 9, str(no)), Check(f"{name}: the loop is proved to be exponentially stable", None)
        size = sum(path.stat().st_size for path in (bundle / "proof").iterdir()) if found.bundle is not None else None
    share, ratio = rises(own, pieces(own, found.partition.active), s.points)
    function = found.function
    good = found.receipt.outcome == "ACCEPTED" and function is not None
    cells, steps = (function.cells, function.transitions) if function is not None else (0, 0)
    return ((name, len(own.A), "no" if own.terminal is None else "yes", found.partition.regions, cells, steps, cells**2 - steps, share, ratio,
             spent.cpu, None if size is None else round(size / 1000), "proved" if good else found.receipt.message),
            Check(f"{name}: the loop is proved to be exponentially stable on its whole feasible set", good))


def run(settings: Settings | None = None) -> Report:
    """Prove each loop."""
    s = settings or Settings()
    found = [row(s, name) for name in s.models]
    beyond = [r for r, _ in found if r[2] == "no" and isinstance(r[7], float) and r[7] > 0 and r[-1] == "proved"]
    checks = [check for _, check in found]
    checks.append(Check("among them is a loop without terminal ingredients whose value function rises somewhere", bool(beyond)))
    return Report(CLAIM, tuple(checks), (Table("Piecewise-quadratic functions of linear loops", (
        "loop", "states", "terminal set", "regions", "cells", "steps", "empty", "value function rises", "by", "all, CPU s", "proof, kB", "outcome"),
        tuple(r for r, _ in found)),), NOTES)
