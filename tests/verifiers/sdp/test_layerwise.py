"""Bounds layer by layer: multipliers that the large matrix accepts, bounds between the true constant and the product of norms."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from networks import bound_case, network

from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.lipschitz import differences, layers
from verifiers.kernel.requirement import Box
from verifiers.load.floats import evaluate
from verifiers.prove import verify
from verifiers.sdp import layerwise as module
from verifiers.sdp import programme as programmes
from verifiers.sdp.layerwise import Layer, chain, eliminated, layerwise
from verifiers.sdp.lipschitz import Multipliers, find_multipliers
from verifiers.sdp.programme import Unsolved

FAKE = Path(__file__).with_name("fake_solver.py")


def deep(count: int = 5, size: int = 8, act: str = "tanh", seed: int = 0):
    """A random network, and the product of its layers' norms."""
    rng, b = np.random.default_rng(seed), Builder()
    x, before, product = b.input(3), 3, 1.0
    for _ in range(count):
        w = rng.normal(size=(size, before)) / np.sqrt(before) * 1.3
        x, before, product = b.unary(act, b.affine(x, Affine(w, rng.normal(size=size)))), size, product * np.linalg.norm(w, 2)
    w = rng.normal(size=(2, before))
    return b.build([b.affine(x, Affine(w, np.zeros(2)))]), product * np.linalg.norm(w, 2)


@pytest.mark.parametrize("domain", [None, Box((Fraction(-1, 4),) * 3, (Fraction(1, 4),) * 3)], ids=["everywhere", "domain"])
@pytest.mark.parametrize("act", ["relu", "tanh", "sigmoid", "sin"])
def test_the_multipliers_are_proved_and_the_bound_lies_between(act, domain):
    graph, product = deep(act=act)
    found = differences(graph, domain)
    answer = layerwise(found, layers(graph), "eclipse-fast")
    assert not isinstance(answer, Unsolved)
    bound = Fraction(answer[0] * (1 + 1e-6))
    proved = find_multipliers(found, layers(graph), bound, "eclipse-fast")
    assert isinstance(proved, Multipliers) and found.proves(bound, proved.values)
    assert isinstance(find_multipliers(found, layers(graph), bound * Fraction(99, 100), "eclipse-fast"), Unsolved)
    x = np.random.default_rng(1).uniform(-0.25, 0.25, (2000, 3))
    steep = np.linalg.norm(evaluate(graph, x[:1000]) - evaluate(graph, x[1000:]), axis=1) / np.linalg.norm(x[:1000] - x[1000:], axis=1)
    assert steep.max() <= answer[0] <= product * (1 + 1e-3)


def test_elimination_is_that_of_the_large_matrix():
    """Positive definite blocks and the last gain are those of M(t) over gamma squared."""
    graph, _ = deep(2, 4)
    found = differences(graph, None)
    made, last = chain(found, layers(graph))
    t = np.random.default_rng(2).uniform(0.05, 0.2, 8)
    first = eliminated(np.eye(3), made[0], t[:4])
    second = None if first is None else eliminated(first, made[1], t[4:])
    whole = np.asarray(found.matrix(Fraction(1), [Fraction(float(v)) for v in t]), dtype=float)
    whole = whole + np.asarray(found.output, dtype=float).T @ np.asarray(found.output, dtype=float)
    assert second is not None
    assert np.allclose(second, whole[-4:, -4:] - whole[-4:, :-4] @ np.linalg.solve(whole[:-4, :-4], whole[:-4, -4:]))
    assert module.gain(second, last) == pytest.approx(float(np.linalg.eigvalsh(last @ np.linalg.inv(second) @ last.T)[-1]))
    assert eliminated(np.eye(3), made[0], np.full(4, 1e3)) is None
    assert eliminated(-np.eye(3), Layer(made[0].weight, made[0].low, made[0].high), t[:4]) is None


def test_a_shortcut_is_no_chain():
    b = Builder()
    x = b.input(2)
    h = b.unary("relu", b.affine(x, Affine(np.eye(2), np.zeros(2))))
    g = b.unary("relu", b.binary("add", h, x))
    for end, says in ((g, "lipsdp-neuron"), (b.binary("add", h, x), "lipsdp-neuron")):
        graph = b.build([end])
        answer = layerwise(differences(graph, None), layers(graph), "eclipse-fast")
        assert isinstance(answer, Unsolved) and says in answer.says


def test_a_linear_network_has_the_norm_of_its_weights():
    b = Builder()
    w = np.array([[3.0, 1.0], [0.0, 2.0]])
    graph = b.build([b.affine(b.input(2), Affine(w, np.zeros(2)))])
    gamma, t = layerwise(differences(graph, None), [], "eclipse-fast")
    assert gamma == pytest.approx(np.linalg.norm(w, 2)) and t.size == 0


@pytest.mark.slow
def test_programmes_for_each_layer_do_at_least_as_well():
    pytest.importorskip("cvxpy")
    graph, _ = deep(2, 6, seed=3)
    found = differences(graph, None)
    fast, slow = (layerwise(found, layers(graph), method) for method in ("eclipse-fast", "eclipse"))
    assert not isinstance(fast, Unsolved) and not isinstance(slow, Unsolved) and slow[0] < fast[0] * 1.01
    assert isinstance(find_multipliers(found, layers(graph), Fraction(slow[0] * (1 + 1e-4)), "eclipse"), Multipliers)


@pytest.mark.threat("T06")
@pytest.mark.threat("T07")
@pytest.mark.parametrize("mode", ["panic", "abort", "infeasible", "inaccurate", "nan", "good"])
def test_whatever_the_solver_does_nothing_false_is_proved(mode, monkeypatch):
    def fake(items, **options):
        return programmes.solve(items, **{**options, "command": [sys.executable, str(FAKE), mode]})

    monkeypatch.setattr(module, "solve", fake)
    graph, _ = deep(2, 4)
    answer = find_multipliers(differences(graph, None), layers(graph), Fraction(1, 100), "eclipse")
    assert isinstance(answer, Unsolved)


def test_the_default_needs_no_solver_where_the_bound_is_not_tight(tmp_path, monkeypatch):
    monkeypatch.setattr(programmes, "find_spec", lambda name: None)
    w = [[[0.5, -1.0], [1.25, 0.25], [-0.75, 0.5]], [[1.0, -0.5, 0.25], [0.5, 1.0, -1.0]], [[0.75, -0.5]]]
    assert verify(bound_case(tmp_path / "loose", network(w, "Tanh"), "2.2")).outcome == "PROVED"
    tight = verify(bound_case(tmp_path / "tight", network(w, "Tanh"), "1.65"))
    assert (tight.outcome, tight.code) == ("UNKNOWN", "UNSUPPORTED") and "certctl[sdp]" in tight.message
    assert verify(bound_case(tmp_path / "named", network(w, "Tanh"), "2.2", '[prover]\nmethod = "eclipse-fast"\n')).outcome == "PROVED"
