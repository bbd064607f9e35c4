"""A state that satisfies a formula is never refuted: not by a leaf, not by contraction, not by the native decider, however tight the formula is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import EVERY, RANDOM, graphs

from verifiers.kernel.graph import Graph
from verifiers.kernel.query import Refuter
from verifiers.load.floats import evaluate
from verifiers.smt.decider import Unsat, replay
from verifiers.smt.native import Native
from verifiers.smt.query import And, Atom, Formula, Or, Query

F = Fraction
GAPS = [F(0), *(F(2) ** k for k in range(-56, -8, 4))]


def true_formula(rng: np.random.Generator, y: np.ndarray, gap: Fraction, depth: int = 2) -> Formula:
    """A random formula that outputs y (m,) satisfy, each atom that counts by ``gap`` only; other branches of a disjunction are arbitrary."""
    kind = rng.integers(3) if depth else 0
    if kind == 0:
        return atom(rng, y, gap)
    parts = [true_formula(rng, y, gap, depth - 1) for _ in range(2 if kind == 1 else 1)]
    if kind == 1:
        return And(tuple(parts))
    others = [atom(rng, y, F(float(rng.normal()))) for _ in range(2)]
    return Or((*parts, others[0], And((others[1], atom(rng, y, -F(1))))))


def atom(rng: np.random.Generator, y: np.ndarray, gap: Fraction) -> Atom:
    """A random atom whose bound lies ``gap``, in units of its terms, above its value at y (m,)."""
    factors = [F(int(c)) for c in rng.choice([-2, -1, 1, 3], y.size)]
    terms = [c * F(float(v)) for c, v in zip(factors, y, strict=True)]
    return Atom(tuple(enumerate(factors)), sum(terms, F(0)) + gap * (1 + sum(map(abs, terms))), bool(rng.integers(2)))


def tight(graph: Graph, x: np.ndarray, seed: int) -> Formula | None:
    """A formula that the state x (n,) satisfies, by as little as can be shown; None where not even a loose one can."""
    y, state = evaluate(graph, x[None])[0], tuple(F(v) for v in x.tolist())
    for gap in GAPS if np.isfinite(y).all() else []:
        formula = true_formula(np.random.default_rng(seed), y, gap)
        if replay(Query(graph, state, state, formula), state) is not None:
            return formula
    return None


def boxes_about(x: np.ndarray, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (count, n) of all sizes in [-2, 2] that hold the state x (n,), often on a face."""
    size, share = 10.0 ** rng.uniform(-9, 0.6, (count, 1)), rng.choice([0.0, 1.0, 0.5, 0.1], (count, x.size))
    return np.minimum(np.maximum(x - share * size, -2.0), x), np.maximum(np.minimum(x + (1 - share) * size, 2.0), x)


def state_of(rng: np.random.Generator, n: int) -> np.ndarray:
    """A state in [-2, 2], now and then with entries on kinks and corners."""
    return np.where(rng.random(n) < 0.3, rng.choice([-2.0, 0.0, 0.5, 2.0], n), rng.uniform(-2, 2, n))


@pytest.mark.threat("T09")
@RANDOM
@given(graph=graphs(EVERY), seed=st.integers(0, 10**6))
def test_no_leaf_and_no_contraction_loses_a_state_that_satisfies_the_formula(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = state_of(rng, graph.input_sizes[0])
    formula = tight(graph, x, seed)
    if formula is None:
        return
    refuter, (lo, hi) = Refuter(graph, formula), boxes_about(x, rng, 12)
    with np.errstate(all="ignore"):
        low, high, empty = refuter.contract(lo, hi)
        assert not empty.any() and (low <= x).all() and (x <= high).all()
        for splits in (0, 3):
            assert not refuter.judge(lo, hi, splits).refuted.any() and not refuter.judge(low, high, splits).refuted.any()


@pytest.mark.slow
@RANDOM
@given(graph=graphs(EVERY), seed=st.integers(0, 10**6))
def test_the_native_decider_never_refutes_what_a_state_satisfies(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = state_of(rng, graph.input_sizes[0])
    formula = tight(graph, x, seed)
    if formula is not None:
        box = (F(-2),) * x.size, (F(2),) * x.size
        assert not isinstance(Native(workers=1).decide(Query(graph, *box, formula), 2.0), Unsat)
