"""The lattice form of a law, its network, and the proof that a network is the law: good ones pass, one-fault twins meet an exact witness."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from small_problems import CASES, COUNTS, dependent_rows, one_input, random_problem, stored, two_steps

from verifiers.explicit_mpc.equivalence import NotEqual, Undecidable, prove_equivalence
from verifiers.explicit_mpc.lattice import Lattice, NotContinuous, lattice, lattice_graph, law_cells
from verifiers.explicit_mpc.law import Law
from verifiers.explicit_mpc.partition import partition
from verifiers.explicit_mpc.solve import solve
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx

NANO = Fraction(1, 10**9)
PROBLEMS = {"one input": one_input, "two steps": two_steps, "dependent rows": dependent_rows,
            **{f"random {k}": lambda k=k: random_problem(k) for k in range(1, 4)}}


def law_of(problem, outputs=None):
    return partition(problem, [region.active for region in solve(problem).regions], outputs).law


def forms_of(law):
    return [lattice(law, k) for k in range(law.outputs)]


@pytest.mark.parametrize("name", PROBLEMS)
def test_lattice_network_is_the_law_and_is_proved_to_be(name):
    problem = PROBLEMS[name]()
    law = law_of(problem)
    forms = forms_of(law)
    points = np.random.default_rng(0).uniform(problem.lb.astype(float), problem.ub.astype(float), (5000, problem.d))
    values = law.evaluate(points)
    inside = np.isfinite(values).all(axis=1)
    graph = read_onnx(to_onnx(lattice_graph(forms), double=True)).graph
    assert inside.any() and np.abs(evaluate(graph, points) - values)[inside].max() < 1e-12
    for k, form in enumerate(forms):
        np.testing.assert_allclose(form.evaluate(points)[inside], values[inside, k], atol=1e-12)
    found = prove_equivalence(law, graph, NANO)
    assert found.cells >= len(law_cells(law)[1]) and found.bound <= NANO


@pytest.mark.parametrize("name", sorted(COUNTS, key=COUNTS.get)[:4])
def test_published_laws_have_a_small_lattice_form(name):
    if not CASES.is_dir():
        pytest.skip("the reference cases are not beside the repository")
    law = law_of(stored(name), 1)
    form = lattice(law)
    assert len(form.terms) < len(form.laws) < COUNTS[name]
    assert prove_equivalence(law, lattice_graph([form]), NANO).bound <= NANO


def test_each_missing_term_and_each_missing_law_is_refuted_with_an_exact_witness():
    law = law_of(two_steps(), 1)
    form = lattice(law)
    twins = [Lattice(form.laws, form.terms[:t] + form.terms[t + 1:]) for t in range(len(form.terms))]
    twins += [Lattice(form.laws, (*form.terms[:t], tuple(j for j in term if j != out), *form.terms[t + 1:]))
              for t, term in enumerate(form.terms) for out in term if len(term) > 1]
    for twin in twins:
        graph = lattice_graph([twin])
        with pytest.raises(NotEqual) as no:
            prove_equivalence(law, graph, NANO)
        exact = law.exact(no.value.theta)
        assert exact is not None and abs(evaluate_exact(graph, no.value.theta)[0] - exact[0]) == no.value.difference > NANO


def test_a_shift_above_the_tolerance_is_refuted_and_one_below_is_not():
    law = law_of(one_input())
    for shift, allowed in ((2e-9, False), (0.5e-9, True)):
        form = lattice(law)
        form.laws[:, -1] += Fraction(shift)
        if allowed:
            assert prove_equivalence(law, lattice_graph([form]), NANO).bound >= Fraction(shift) / 2
        else:
            with pytest.raises(NotEqual):
                prove_equivalence(law, lattice_graph([form]), NANO)


def test_a_network_of_relus_is_proved_too():
    """|theta| clipped, written with Relu and Abs, against the law max(-1, min(1, -theta)) of the problem with one input, feasible up to 1."""
    law = law_of(one_input())
    builder = Builder()
    x = builder.input(1)
    up, down = (builder.unary("relu", builder.affine(x, Affine(np.array([[1.0]]), np.array([c])))) for c in (1.0, -1.0))
    clipped = builder.binary("sub", up, down)  # 0 below -1, x + 1, 2 above 1
    one = builder.affine(clipped, Affine(np.array([[-1.0]]), np.array([1.0])))
    floor = builder.binary("min", one, builder.affine(x, Affine(np.array([[1.0]]), np.array([3.0]))))
    assert prove_equivalence(law, builder.build([floor]), NANO).bound <= NANO
    with pytest.raises(NotEqual):
        prove_equivalence(law, builder.build([one]), NANO)
    with pytest.raises(Undecidable, match="tanh"):
        prove_equivalence(law, builder.build([builder.unary("tanh", one)]), NANO)
    with pytest.raises(ValueError, match="the law maps"):
        prove_equivalence(law, builder.build([builder.concat([one, one])]), NANO)


def test_a_law_that_jumps_has_no_lattice_form():
    ends = np.array([Fraction(1)], dtype=object)
    rows = [np.array([[Fraction(a), Fraction(b)]], dtype=object) for a, b in ((0, 0), (0, 1))]
    with pytest.raises(NotContinuous, match="jumps"):
        lattice(Law(-ends, ends, ((1, 0),), tuple(rows), 1, (0, -3, -2)))
    empty = Law(-ends, ends, (), (rows[0],), 1, (-1,))
    with pytest.raises(NotContinuous, match="no value"):
        lattice(empty)
    with pytest.raises(Undecidable, match="no value"):
        prove_equivalence(empty, lattice_graph([Lattice(np.array([[0, 0]], dtype=object), ((0,),))]), NANO)


def test_a_changed_law_is_told_from_its_lattice_network():
    law = law_of(two_steps(), 1)
    graph = lattice_graph(forms_of(law))
    for k in range(len(law.laws)):
        changed = law.laws[k].copy()
        changed[0, -1] += Fraction(1, 10**6)
        with pytest.raises(NotEqual):
            prove_equivalence(replace(law, laws=(*law.laws[:k], changed, *law.laws[k + 1:])), graph, NANO)
