r"""States that satisfy a formula, searched in floats: random starts, projected gradient descent on the formula's excess.

The excess of an atom :math:`a^\top y \le b` is :math:`a^\top y - b`, over a scale; of a conjunction the largest, of a disjunction the least of its
parts.  A state with an excess of at most 0 is a candidate; only a replay (:func:`verifiers.smt.decider.replay`) makes it a witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.jets import JetReading, read_jets
from verifiers.load.floats import evaluate
from verifiers.smt.query import And, Atom, Formula

STRICT = 1e-300
SAMPLES, STARTS, STEPS = 1024, 64, 40
ENOUGH = -1e-3
"""Excess, in units of its spread over the box, at which descent need not go on."""
SCALES, DRAWN = 16, 64
DENOMINATORS = (1, 2, 4, 10, 60, 1000)


@dataclass(frozen=True, eq=False)
class Violation:
    """Excess of a formula about a graph's output, with a scale for each of its atoms."""

    graph: Graph
    formula: Formula
    scales: dict[Atom, float]

    def __call__(self, x: Floats) -> Floats:
        """Excess (B,) at states (B, n); infinite where the graph is not defined."""
        with np.errstate(all="ignore"):
            return self._excess(self.formula, evaluate(self.graph, x))[0]

    def gradient(self, x: Floats) -> Floats:
        """A (Clarke) gradient (B, n) of the excess."""
        n = x.shape[1]
        reading = JetReading(np.zeros((n, x.shape[0], 1)), 1)
        with np.errstate(all="ignore"):
            jet = read_jets(self.graph, reading, reading.start(x))
            weight = self._excess(self.formula, jet.mid[1])[1]
            return np.nan_to_num(np.einsum("bm,ibm->bi", weight, jet.mid[2:2 + n]), nan=0.0, posinf=0.0, neginf=0.0)

    def _excess(self, formula: Formula, y: Floats) -> tuple[Floats, Floats]:
        """Excess (B,) and its gradient (B, m) in the outputs."""
        if isinstance(formula, Atom):
            scale, weight = self.scales[formula], np.zeros(y.shape)
            for k, c in formula.coefficients:
                weight[:, k] = float(c) / scale
            excess = (weight * y).sum(axis=1) - float(formula.bound) / scale + (STRICT if formula.strict else 0.0)
            return np.where(np.isfinite(excess), excess, np.inf), weight
        if not formula.parts:
            return np.full(y.shape[0], -np.inf if isinstance(formula, And) else np.inf), np.zeros(y.shape)
        parts = [self._excess(part, y) for part in formula.parts]
        values = np.stack([part[0] for part in parts])
        pick = values.argmax(axis=0) if isinstance(formula, And) else values.argmin(axis=0)
        at = np.arange(y.shape[0])
        return values[pick, at], np.stack([part[1] for part in parts])[pick, at]


def violation_of(graph: Graph, formula: Formula, lo: Floats, hi: Floats, seed: int) -> Violation:
    """Excess of a formula, each atom scaled by its spread over the box."""
    from verifiers.smt.query import atoms

    x = np.random.default_rng(seed).uniform(lo, hi, (256, len(lo)))
    y = np.nan_to_num(evaluate(graph, x), nan=0.0, posinf=0.0, neginf=0.0)
    scales = {}
    for atom in atoms(formula):
        spread = float(np.std(sum((float(c) * y[:, k] for k, c in atom.coefficients), np.zeros(len(y)))))
        scales[atom] = spread if 1e-9 < spread < 1e300 else 1.0
    return Violation(graph, formula, scales)


def samples(violation: Violation, lo: Floats, hi: Floats, *, starts: Floats | None = None, seed: int = 0) -> Floats:
    """States (C, n) of the box [lo, hi], least excess first: the middle, random ones, corners, and ``starts``."""
    rng = np.random.default_rng(seed)
    n = len(lo)
    corners = np.where(rng.integers(0, 2, (min(SAMPLES // 8, 2**min(n, 12)), n)) > 0, hi, lo)
    x = np.concatenate([0.5 * (lo + hi)[None], rng.uniform(lo, hi, (SAMPLES, n)), corners, *([] if starts is None else [starts])])
    return np.asarray(x[np.argsort(violation(x), kind="stable")[:STARTS]])


def candidates(violation: Violation, lo: Floats, hi: Floats, *, starts: Floats | None = None, seed: int = 0) -> Floats:
    """States (C, n) of the box [lo, hi] with the least excess that descent from samples and ``starts`` found, least first."""
    rng = np.random.default_rng(seed)
    x = samples(violation, lo, hi, starts=starts, seed=seed)
    if starts is not None:
        x = np.concatenate([x, starts[:STARTS]])
    best, value = x, violation(x)
    step = 0.1 * (hi - lo)
    for k in range(STEPS):
        if k % 8 == 0 and (value <= ENOUGH).any():
            break
        x = np.clip(x - step * np.sign(violation.gradient(x)) * rng.uniform(0.2, 1.0, (x.shape[0], 1)), lo, hi)
        now = violation(x)
        better = now < value
        best, value = np.where(better[:, None], x, best), np.where(better, now, value)
        if k % 8 == 7:
            x, step = best.copy(), 0.5 * step
    return best[np.argsort(value, kind="stable")]


def around(violation: Violation, states: Floats, lo: Floats, hi: Floats, seed: int) -> Floats:
    """States (C, n) that satisfy the formula in floats, drawn about some that do (K, n), from the whole box down to a small part of it.

    Descent ends where the excess is least, often in one and the same corner; what lies between there and the boundary of the solutions is found so.
    """
    rng = np.random.default_rng(seed)
    scale = np.repeat(0.5 ** np.arange(SCALES), DRAWN)[:, None]
    x = states[rng.integers(0, states.shape[0], scale.shape[0])] + scale * (hi - lo) * rng.uniform(-1.0, 1.0, (scale.shape[0], len(lo)))
    x = np.clip(x, lo, hi)
    return np.asarray(x[violation(x) <= 0])


def rounded(x: Floats, lo: tuple[Fraction, ...], hi: tuple[Fraction, ...]) -> list[tuple[Fraction, ...]]:
    """The state as it is, and near ones with small denominators: sets without interior often hold one of those."""
    exact = [Fraction(float(v)) for v in x]
    tries = [exact, *([Fraction(round(v * d), d) for v in exact] for d in DENOMINATORS)]
    return list(dict.fromkeys(tuple(min(max(v, a), b) for v, a, b in zip(point, lo, hi, strict=True)) for point in tries))
