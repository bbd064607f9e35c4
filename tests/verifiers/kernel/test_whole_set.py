"""Whole-set decrease in exact numbers: hand-made proofs, and each condition broken by one fault."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from verifiers.kernel.check import _whole
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Builder, Graph
from verifiers.kernel.polynomial import Polynomial, shifted
from verifiers.kernel.sos import MAX_BASIS, MAX_POWER, check_decrease, constraints, decrease, polynomial_graph, read_basis

F = Fraction
DOMAIN = ([F(-2)], [F(2)])


def line(*coefficients: str) -> Graph:
    """A polynomial in one variable, coefficients from the constant on."""
    return polynomial_graph([[[k], c] for k, c in enumerate(coefficients)], 1, "p")


CUBIC = line("0", "-1", "0", "1")  # x' = -x + x^3
SQUARE = line("0", "0", "1")  # V = x^2; -V' = 2 x^2 - 2 x^4 = 2 x^2 (1/2 - V) + x^2
PROOF: dict[str, Any] = {"basis": [[1]], "gram": [["1"]], "multipliers": [{"of": "level", "basis": [[1]], "gram": [["2"]]}]}


def shown(proof: Any = PROOF, level: str = "1/2", field: Graph = CUBIC, v: Graph = SQUARE, origin: str = "0") -> str | None:
    """The code of the refusal; None where there is none."""
    try:
        check_decrease(field, v, [F(origin)], F(level), DOMAIN, proof)
    except Refusal as no:
        return no.code.name
    return None


def other(**fields: Any) -> dict[str, Any]:
    return {**deepcopy(PROOF), **fields}


def multiplier(**fields: Any) -> dict[str, Any]:
    return other(multipliers=[{**PROOF["multipliers"][0], **fields}])


# negative


@pytest.mark.parametrize(("items", "code"), [
    ([], Code.TOO_LARGE), ([[k, 0] for k in range(MAX_POWER + 1)] * 4, Code.TOO_LARGE), ({}, Code.TOO_LARGE), ("", Code.TOO_LARGE),
    ({"a": 1}, Code.TOO_LARGE), ([(1, 0)], Code.MALFORMED_CERTIFICATE), ([[1]], Code.MALFORMED_CERTIFICATE),
    ([[1, 0, 0]], Code.MALFORMED_CERTIFICATE),
    ([[1, -1]], Code.MALFORMED_CERTIFICATE), ([[1, MAX_POWER + 1]], Code.MALFORMED_CERTIFICATE), ([[1, True]], Code.MALFORMED_CERTIFICATE),
    ([[1, 1.0]], Code.MALFORMED_CERTIFICATE), ([[1, "0"]], Code.MALFORMED_CERTIFICATE), ([[1, 0], [1, 0]], Code.MALFORMED_CERTIFICATE)])
def test_what_is_no_basis_is_refused(items, code):
    with pytest.raises(Refusal) as no:
        read_basis(items, 2, "b")
    assert no.value.code is code


@pytest.mark.parametrize("items", [{}, [{}], [[[1]]], [[[1], "1"], [[2]]], [[[1], "1", "1"]], ["11"], [([1], "1")]])
def test_what_is_no_list_of_terms_is_refused(items):
    with pytest.raises(Refusal) as no:
        polynomial_graph(items, 1, "p")
    assert no.value.code is Code.MALFORMED_CERTIFICATE


@pytest.mark.threat("T06")
@pytest.mark.parametrize(("proof", "code"), [
    (other(gram=[["2"]]), "DECREASE"), (other(gram=[["1/2"]]), "DECREASE"), (other(multipliers=[]), "DECREASE"),
    (other(gram=[["0"]]), "NOT_DEFINITE"),
    (other(gram=[["-1"]]), "NOT_DEFINITE"), (multiplier(gram=[["0"]]), "NOT_DEFINITE"), (multiplier(gram=[["-2"]]), "NOT_DEFINITE"),
    (multiplier(gram=[["3"]]), "DECREASE"), (multiplier(of="domain-0"), "DECREASE"), (multiplier(of="domain-1"), "MALFORMED_CERTIFICATE"),
    (multiplier(of="rim"), "MALFORMED_CERTIFICATE"), (multiplier(more=1), "MALFORMED_CERTIFICATE"),
    (other(multipliers=PROOF["multipliers"] * (MAX_BASIS + 1)), "TOO_LARGE"), (other(multipliers=PROOF["multipliers"] * MAX_BASIS), "DECREASE"),
    (other(basis=[[2]]), "DECREASE"), (other(basis=[[0]]), "DECREASE")])
def test_a_proof_with_one_fault_is_refused(proof, code):
    assert shown(proof) == code


@pytest.mark.threat("T05")
def test_a_level_at_the_least_value_claims_nothing():
    assert shown(level="0") == "EMPTY_REGION" and shown(level="-1") == "EMPTY_REGION"
    assert shown(level="1/2", v=line("1/2", "0", "1")) == "EMPTY_REGION"


@pytest.mark.threat("T13")
def test_a_level_above_the_true_one_is_refused():
    assert shown(level="1") == shown(level="1/4") == "DECREASE"


def test_a_basis_that_vanishes_on_a_line_is_refused():
    """x' = -x, y' = 0 with V = x^2 + y^2: -V' = 2 x^2 is zero on the whole y-axis."""
    field = polynomial_graph([[[1, 0], "-1"]], 2, "p")
    both = polynomial_graph([[[2, 0], "1"], [[0, 2], "1"]], 2, "p")
    b = Builder()
    x = b.input(2)
    still = b.build([b.concat([b.inline(field, [x])[0], b.const([F(0)])])])
    for basis, gram in (([[1, 0]], [["2"]]), ([[1, 0], [1, 1]], [["2", "0"], ["0", "1"]])):
        with pytest.raises(Refusal) as no:
            check_decrease(still, both, [F(0), F(0)], F(1), ([F(-2)] * 2, [F(2)] * 2), {"basis": basis, "gram": gram, "multipliers": []})
        assert no.value.code is Code.DECREASE and "vanish" in no.value.message


# positive


def test_a_hand_made_proof_is_accepted():
    assert shown() is None


def test_the_equilibrium_may_lie_elsewhere():
    """The same loop and function about 1."""
    field, v = line("0", "2", "-3", "1"), line("1", "-2", "1")
    assert shown(field=field, v=v, origin="1") is None
    assert shown(field=field, v=v) is not None


def test_a_multiplier_of_the_domain():
    """x' = -x + x^3/16: -V' = 2 x^2 - x^4/8 = x^2/8 (4 - x^2) + 3/2 x^2, whatever the level is."""
    proof = {"basis": [[1]], "gram": [["3/2"]], "multipliers": [{"of": "domain-0", "basis": [[1]], "gram": [["1/8"]]}]}
    assert shown(proof, field=line("0", "-1", "0", "1/16"), level="100") is None


def test_constraints_are_at_least_zero_on_the_set_alone():
    v, x = Polynomial({(2, 0): F(1), (0, 1): F(3)}), shifted([F(1), F(0)])
    found = constraints(v, F(5), x, ([F(-1), F(-2)], [F(3), F(4)]))
    assert set(found) == {"level", "domain-0", "domain-1"}
    for y in ((F(0), F(0)), (F(-2), F(1)), (F(1, 2), F(-7, 3))):
        at = {name: sum(c * y[0] ** m[0] * y[1] ** m[1] for m, c in p.terms.items()) for name, p in found.items()}
        assert at == {"level": 5 - y[0] ** 2 - 3 * y[1], "domain-0": (1 + y[0] + 1) * (3 - 1 - y[0]), "domain-1": (y[1] + 2) * (4 - y[1])}


def test_the_decrease_is_minus_the_derivative_along_the_loop():
    v, f = Polynomial({(2, 0): F(1), (1, 1): F(3)}), [Polynomial({(0, 1): F(1)}), Polynomial({(1, 0): F(-2)})]
    assert decrease(v, f).terms == {(1, 1): F(-2), (0, 2): F(-3), (2, 0): F(6)}


def test_a_polynomial_as_a_graph():
    graph = polynomial_graph([[[0, 0], "1/3"], [[2, 1], "-2"], [[0, MAX_POWER], "5"]], 2, "p")
    assert evaluate_exact(graph, [F(3), F(1, 2)]) == (F(1, 3) - 2 * 9 * F(1, 2) + 5 * F(1, 2) ** MAX_POWER,)
    assert len(read_basis([[k, j] for k in range(12) for j in range(10)], 2, "b")) == MAX_BASIS


def case(time: str = "continuous", saturation: str = "clip", rate: Fraction | int = 0, radius: tuple[Fraction | int, ...] = (0, 0)) -> Any:
    """As much of a case as is looked at before the function."""
    setting = SimpleNamespace(requirement=SimpleNamespace(time=time, saturation=saturation), rate=rate, functions={}, lo=(F(-1),) * 2, hi=(F(1),) * 2)
    where = SimpleNamespace(centre=(F(0), F(0)), radius=radius)
    return SimpleNamespace(setting=setting, equilibrium=where, proof=lambda *_: {"function": "V", "level": F(1), "tree": None})


@pytest.mark.threat("T04")
@pytest.mark.parametrize("wrong", [
    {"time": "discrete"}, {"saturation": "forbid"}, {"rate": F(1, 10)}, {"radius": (F(1, 10), 0)}, {"radius": (0, F(1, 10))}])
def test_a_sum_of_squares_shows_one_kind_of_claim_only(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        _whole(case(**wrong), "whole")
    assert refused.value.code is Code.UNSUPPORTED
    with pytest.raises(KeyError):
        _whole(case(), "whole")  # what is allowed gets as far as the function
