"""The certified region of a bundle, and exploration that never leaves it: where a step would, the certified policy's command is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from systems.plant import Plant
from verifiers.kernel.bundle import open_bundle
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load import floats

ROOM = 1e-9
"""Of the level: by so much less a state may have, since values are float64 here."""


@dataclass(frozen=True, eq=False)
class Region:
    """{V <= level} inside a box, evaluated in float64.

    Attributes
    ----------
    value : callable
        V (B,) at states (B, n).
    level : float
    lo, hi : (n,) arrays
        The claim's domain.
    """

    value: Callable[[Floats], Floats]
    level: float
    lo: Floats
    hi: Floats

    def holds(self, x: Floats) -> np.ndarray:
        """Which states (B, n) lie inside, by :data:`ROOM`."""
        below = self.value(x) <= self.level - ROOM * abs(self.level)
        return np.asarray(below & (x >= self.lo).all(axis=1) & (x <= self.hi).all(axis=1))


def certified_region(bundle: Path) -> Region:
    """The outermost region that an accepted bundle claims; the caller has had it checked.

    Raises
    ------
    Refusal, ValueError
        When the bundle cannot be read, or its region is that of another kind of function.
    """
    opened = open_bundle(bundle)
    claim = opened.claim
    name, level = claim["region"]["function"], float(Fraction(claim["region"]["level"]))
    function = opened.functions[name]
    lo, hi = (np.array([float(Fraction(v)) for v in claim["domain"][side]]) for side in ("lo", "hi"))
    if function["kind"] == "quadratic":
        matrix = np.array([[float(Fraction(v)) for v in row] for row in function["matrix"]])
        centre = np.array([float(Fraction(v)) for v in function["center"]])
        return Region(lambda x: np.einsum("bi,ij,bj->b", x - centre, matrix, x - centre), level, lo, hi)
    if function["kind"] == "onnx":
        graph = read_onnx(opened.files[function["name"]], function["name"]).graph
        return Region(lambda x: floats.evaluate(graph, x)[:, 0], level, lo, hi)
    raise ValueError(f"{bundle.name}: a region of a {function['kind']} cannot shield")


@dataclass(frozen=True, eq=False)
class Shield:
    """Commands that keep the next state in a certified region.

    Attributes
    ----------
    region : Region
        Invariant under the policy.
    policy : Graph
        The certified policy, as its file has it.
    plant : Plant
        The map of the claim, which clips.
    """

    region: Region
    policy: Graph
    plant: Plant

    def __call__(self, x: Floats, u: Floats) -> tuple[Floats, bool]:
        """The command (m,) where its successor stays inside, else the certified one; and whether that was needed."""
        after = self.plant.rhs(x, self.plant.clip(u))
        if bool(self.region.holds(after[None])[0]):
            return u, False
        return np.asarray(floats.evaluate(self.policy, x[None])[0]), True
