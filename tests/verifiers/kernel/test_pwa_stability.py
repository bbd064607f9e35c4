"""Exponential stability of a law's loop by a piecewise-quadratic function: a good proof is accepted, each one-fault twin is refused."""

from __future__ import annotations

import copy
from fractions import Fraction

import numpy as np
import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import rationals
from verifiers.kernel.pwa import check_stability


def row(a, c):
    return rationals([Fraction(a), Fraction(c)])


# x+ = u on [-1, 1] in three cells: u = x/2 for |x| <= 1/2, x/2 - 1/8 above, x/2 + 1/8 below: the law jumps.  V = x^2, and x^2 - 1/10 beyond 1/2.
BOX = [(row(1, 1), False), (row(-1, 1), False)]
CELLS = [([*BOX, (row(-1, "1/2"), False), (row(1, "1/2"), False)], 0), ([*BOX, (row(1, "-1/2"), True)], 1),
         ([*BOX, (row(-1, "1/2"), False), (row(-1, "-1/2"), True)], 2)]
LAWS = [rationals([[Fraction(1, 2), Fraction(c)]]) for c in (0, Fraction(-1, 8), Fraction(1, 8))]
LOOP = rationals([[Fraction(0)]]), rationals([[Fraction(1)]])
# rows: 0 the constant one, 1 and 2 the box, then the cell's own; those of the successor's cell follow
PROOF = {
    "margin": "1/4", "forms": [[["1", "0"], ["0", "0"]], *[[["1", "0"], ["0", "-1/10"]]] * 2],
    "positive": [[], [[0, 3, "3/10"]], [[0, 4, "3/10"]]],
    "steps": [[{"falls": []}, {"empty": [[3, "1"], [7, "2"]]}, {"empty": [[4, "1"], [8, "2"]]}],
              [{"falls": [[0, 3, "1/5"]]}, {"empty": [[2, "1"], [6, "2"]]}, {"empty": [[3, "1"], [7, "2"]]}],
              [{"falls": [[0, 4, "1/5"]]}, {"empty": [[4, "1"], [7, "2"]]}, {"empty": [[1, "1"], [8, "2"]]}]]}


def judge(proof, cells=CELLS, laws=LAWS, loop=LOOP, part=(0, 1)):
    check_stability(cells, laws, loop, proof, part)


def put(*path, value):
    def fault(t):
        for key in path[:-1]:
            t = t[key]
        t[path[-1]] = value(t[path[-1]]) if callable(value) else value
    return fault


def swap(t):
    t["steps"][0], t["steps"][1] = t["steps"][1], t["steps"][0]


FAULTS = {
    "dropped transition": (put("steps", 1, 0, value={"empty": [[3, "1"], [5, "1"]]}), Code.DECREASE),
    "transition left out": (put("steps", 1, value=lambda steps: steps[1:]), Code.MISSING_OBLIGATION),
    "cell left out": (put("steps", value=lambda steps: steps[1:]), Code.MISSING_OBLIGATION),
    "no positivity": (put("positive", value=lambda cells: cells[1:]), Code.MISSING_OBLIGATION),
    "neither": (put("steps", 1, 0, value={}), Code.MALFORMED_CERTIFICATE),
    "both": (put("steps", 0, 0, value={"falls": [], "empty": []}), Code.MALFORMED_CERTIFICATE),
    "a number of a Farkas certificate": (put("steps", 0, 1, "empty", 0, 1, value="2"), Code.DECREASE),
    "a Farkas certificate a little off": (put("steps", 0, 1, "empty", 0, 1, value=str(1 + Fraction(1, 10**50))), Code.DECREASE),
    "a negative Farkas number": (put("steps", 0, 1, "empty", value=[[3, "-1"], [7, "-2"]]), Code.DECREASE),
    "Farkas numbers of both signs": (put("steps", 1, 0, value={"empty": [[3, "1"], [1, "-1"]]}), Code.DECREASE),
    "an empty Farkas certificate": (put("steps", 0, 1, "empty", value=[]), Code.DECREASE),
    "a Farkas row twice": (put("steps", 0, 1, "empty", value=[[3, "1/2"], [3, "1/2"], [7, "2"]]), Code.MALFORMED_CERTIFICATE),
    "a Farkas row that is none": (put("steps", 0, 1, "empty", 0, 0, value=99), Code.MALFORMED_CERTIFICATE),
    "another row": (put("steps", 0, 1, "empty", 1, 0, value=8), Code.MALFORMED_CERTIFICATE),
    "emptiness by the constant alone": (put("steps", 1, 0, value={"empty": [[0, "1"]]}), Code.DECREASE),
    "a negative multiplier": (put("steps", 1, 0, "falls", 0, 2, value="-1/5"), Code.DECREASE),
    "a negative multiplier of the constant": (put("steps", 1, 0, "falls", value=lambda p: [*p, [0, 0, "-1"]]), Code.DECREASE),
    "a negative multiplier of positivity": (put("positive", 1, 0, 2, value="-3/10"), Code.NOT_DEFINITE),
    "no multiplier": (put("steps", 1, 0, "falls", value=[]), Code.DECREASE),
    "a multiplier too large": (put("steps", 1, 0, "falls", 0, 2, value="1"), Code.DECREASE),
    "a multiplier of a row that is none": (put("steps", 1, 0, "falls", 0, 1, value=99), Code.MALFORMED_CERTIFICATE),
    "a row from behind": (put("steps", 1, 0, "falls", 0, 1, value=-1), Code.MALFORMED_CERTIFICATE),
    "a pair for a product": (put("steps", 1, 0, "falls", 0, value=[0, "1/5"]), Code.MALFORMED_CERTIFICATE),
    "a product of four": (put("steps", 1, 0, "falls", 0, value=[0, 3, "1/5", "0"]), Code.MALFORMED_CERTIFICATE),
    "a text for a product": (put("steps", 1, 0, "falls", 0, value="035"), Code.MALFORMED_CERTIFICATE),
    "a number for products": (put("positive", 0, value=7), Code.MALFORMED_CERTIFICATE),
    "a row for a product": (put("steps", 1, 0, "falls", value="x"), Code.MALFORMED_CERTIFICATE),
    "a constant at the origin": (put("forms", 0, 1, 1, value="1/100"), Code.NOT_DEFINITE),
    "a negative constant at the origin": (put("forms", 0, 1, 1, value="-1/100"), Code.NOT_DEFINITE),
    "a linear part at the origin": (put("forms", 0, value=[["1", "1/100"], ["1/100", "0"]]), Code.NOT_DEFINITE),
    "an asymmetric form": (put("forms", 0, value=[["1", "1/100"], ["0", "0"]]), Code.NOT_DEFINITE),
    "a form that is negative": (put("forms", 1, 1, 1, value="-9/10"), Code.NOT_DEFINITE),
    "a form too low for its step": (put("forms", 1, 1, 1, value="-3/20"), {Code.NOT_DEFINITE, Code.DECREASE}),
    "a form too high": (put("forms", 0, 0, 0, value="8"), Code.DECREASE),
    "a form missing": (put("forms", value=lambda forms: forms[1:]), Code.MISSING_OBLIGATION),
    "a form of another size": (put("forms", 0, value=[["1"]]), Code.BAD_SHAPE),
    "no margin": (put("margin", value="0"), Code.DECREASE), "a negative margin": (put("margin", value="-1"), Code.DECREASE),
    "too much margin": (put("margin", value="4/5"), {Code.NOT_DEFINITE, Code.DECREASE}),
    "a margin that is no number": (put("margin", value="NaN"), Code.BAD_NUMBER),
    "proofs of other cells": (swap, Code.DECREASE), "an unknown field": (put("verdict", value="stable"), Code.MALFORMED_CERTIFICATE),
}


def test_a_good_proof_is_accepted_whole_and_in_parts():
    judge(PROOF)
    for k in range(3):
        judge(PROOF, part=(k, 3))


@pytest.mark.threat("T06", "T12", "T13")
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_refused_with_its_code(name):
    fault, code = FAULTS[name]
    proof = copy.deepcopy(PROOF)
    fault(proof)
    assert proof != PROOF
    with pytest.raises(Refusal) as caught:
        judge(proof)
    assert caught.value.code in (code if isinstance(code, set) else {code}), caught.value


def test_each_part_sees_its_own_cells_and_a_constant_at_the_origin_always():
    wrong = copy.deepcopy(PROOF)
    wrong["steps"][1][0]["falls"] = []
    judge(wrong, part=(0, 3))
    with pytest.raises(Refusal):
        judge(wrong, part=(1, 3))
    wrong = copy.deepcopy(PROOF)
    wrong["forms"][0][1][1] = "1/100"
    for k in range(3):
        with pytest.raises(Refusal):
            judge(wrong, part=(k, 3))


@pytest.mark.threat("T03")
@pytest.mark.parametrize(("law", "gain", "constant"), [(0, "3/2", "0"), (0, "1", "0"), (0, "1/2", "1/100"), (1, "1/2", "1/8"), (1, "3/2", "-1/2"),
                                                       (2, "1/2", "-1/8")])
def test_another_law_than_the_one_that_was_proved_is_refused(law, gain, constant):
    laws = [*LAWS]
    laws[law] = rationals([[Fraction(gain), Fraction(constant)]])
    with pytest.raises(Refusal) as caught:
        judge(PROOF, laws=laws)
    assert caught.value.code is Code.DECREASE
    with pytest.raises(Refusal):
        judge(PROOF, loop=(rationals([[Fraction(1)]]), LOOP[1]))


def test_a_wider_cell_needs_its_own_proof():
    """The cell beyond 1/2 begins at 1/10: there its form is negative, whoever proved it from 1/2 on."""
    cells = [CELLS[0], ([*BOX, (row(1, "-1/10"), True)], 1), CELLS[2]]
    with pytest.raises(Refusal) as caught:
        judge(PROOF, cells, part=(1, 3))
    assert caught.value.code is Code.NOT_DEFINITE
    with pytest.raises(Refusal) as caught:
        judge(PROOF, cells)
    assert caught.value.code is Code.DECREASE, "the step into it is no longer shown to be empty"


@pytest.mark.threat("T05")
@pytest.mark.parametrize(("cells", "keep"), [(CELLS[1:], [1, 2]), ([([*BOX, (row(1, 0), True)], 0)], [0]), ([], []),
                                             ([([*BOX, (row(1, "-1/2"), False)], 1), CELLS[2]], [1, 2])])
def test_a_law_without_a_value_at_the_origin_claims_nothing(cells, keep):
    proof = {**PROOF, "positive": [PROOF["positive"][k] for k in keep], "steps": [[PROOF["steps"][i][k] for k in keep] for i in keep]}
    with pytest.raises(Refusal) as caught:
        judge(proof, cells)
    assert caught.value.code is Code.EMPTY_REGION


def test_zeros_are_harmless():
    proof = copy.deepcopy(PROOF)
    proof["steps"][1][0]["falls"].append([1, 2, "0"])
    proof["steps"][0][1]["empty"].append([1, "0"])
    judge(proof)


def test_each_coordinate_of_a_farkas_certificate_counts():
    """Two cells of the plane, x2 <= 1/2 and above, and a loop that goes to the origin at once."""
    wide = [(rationals([Fraction(v) for v in r]), False) for r in ((1, 0, 1), (0, 1, 1), (-1, 0, 1), (0, -1, 1))]
    half = rationals([Fraction(0), Fraction(1), Fraction(-1, 2)])
    cells, law = [([*wide, (-half, False)], 0), ([*wide, (half, True)], 0)], rationals([[Fraction(0)] * 3])
    form = [["1", "0", "0"], ["0", "1", "0"], ["0", "0", "0"]]
    empty = {"empty": [[10, "1"]]}  # the successor's x2 - 1/2 is -1/2 everywhere
    proof = {"margin": "1/2", "forms": [form], "positive": [[], []], "steps": [[{"falls": []}, empty], [{"falls": []}, empty]]}
    loop = rationals([[Fraction(0)] * 2] * 2), rationals([[Fraction(0)], [Fraction(0)]])
    judge(proof, cells, [law], loop)
    for pairs in ([[5, "1"]], [[5, "1"], [1, "1"], [3, "1"]]):  # x2 - 1/2 itself: its gradient is zero in one coordinate only
        wrong = {**proof, "steps": [proof["steps"][0], [{"empty": pairs}, empty]]}
        with pytest.raises(Refusal) as caught:
            judge(wrong, cells, [law], loop)
        assert caught.value.code is Code.DECREASE


def test_the_origin_may_lie_on_a_facet_that_belongs_to_its_leaf():
    """One cell, x >= 0, with x+ = x / 2: the origin is its own; with the facet on the other side it is nobody's."""
    proof = {"margin": "1/4", "forms": [PROOF["forms"][0]] * 3, "positive": [[]], "steps": [[{"falls": []}]]}
    judge(proof, [([*BOX, (row(1, 0), False)], 0)])
    offset = {**proof, "forms": [[["1", "0"], ["0", "1/100"]]] * 3}  # V = x^2 + 1/100 is positive and falls in every step
    with pytest.raises(Refusal) as caught:
        judge(offset, [([*BOX, (row(1, 0), False)], 0)])
    assert caught.value.code is Code.NOT_DEFINITE
    with pytest.raises(Refusal) as caught:
        judge(proof, [([*BOX, (row(1, 0), True)], 0)])
    assert caught.value.code is Code.EMPTY_REGION


def test_the_claim_is_true_in_exact_numbers():
    """V has the bounds and falls by the margin at every point tried, edges included."""
    def value(x):
        return x * x - (Fraction(1, 10) if abs(x) > Fraction(1, 2) else 0)

    for n in range(-200, 201):
        x = Fraction(n, 200)
        k = 0 if abs(x) <= Fraction(1, 2) else 1 if x > 0 else 2
        after = (LAWS[k] @ np.array([x, Fraction(1)], dtype=object))[0]
        assert value(x) >= x * x / 4 and value(after) <= value(x) - x * x / 4
