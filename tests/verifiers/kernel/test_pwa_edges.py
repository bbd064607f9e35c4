"""Laws at the edge of each rule: what is just true is accepted, what is just false is refused, one condition at a time."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import Exact, rationals
from verifiers.kernel.pwa import (
    MAX_DEPTH,
    MAX_SIZE,
    Law,
    Program,
    _check_optimal,
    _check_outside,
    _conditions,
    _indices,
    _pair,
    _ray,
    _whole,
    check_law,
    read_law,
    read_program,
)

F = Fraction


def rows(*texts: str) -> Exact:
    """An array of exact numbers, a row for each text."""
    return rationals([[F(v) for v in text.split()] for text in texts])


def refused(code: Code, function: Any, *arguments: Any) -> None:
    with pytest.raises(Refusal) as no:
        function(*arguments)
    assert no.value.code is code


def program(n: int, d: int, m: int = 1) -> dict[str, Any]:
    return {"format": "certctl-mpqp/1", "H": [[str(int(i == j)) for j in range(n)] for i in range(n)], "f": ["0"] * n, "F": [["0"] * d] * n,
            "A": [["0"] * n] * m, "b": ["1"] * m, "B": [["0"] * d] * m}


def law(inputs: int = 1, outputs: int = 1, entry: int = -2) -> dict[str, Any]:
    """A law with one half-space and one map, whose tree is one leaf."""
    return {"format": "certctl-law/1", "inputs": inputs, "outputs": outputs, "halfspaces": [["1"] * (inputs + 1)],
            "laws": [[["0"] * (inputs + 1)] * outputs], "tree": [entry]}


@pytest.mark.threat("T23")
def test_as_many_variables_and_parameters_as_the_caps_say_are_read():
    for n, d in ((1, 1), (MAX_SIZE, 1), (1, MAX_SIZE)):
        assert read_program(program(n, d), d).cost.shape == (n, d + 1)
        assert read_law(law(d, n)).laws[0].shape == (n, d + 1)
    for n, d, m in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (MAX_SIZE + 1, 1, 1), (1, MAX_SIZE + 1, 1)):
        refused(Code.TOO_LARGE, read_program, program(n, d, m), d)
        if m:
            refused(Code.TOO_LARGE, read_law, law(d, n))


def test_a_row_is_a_list_and_not_a_text_of_the_same_length():
    refused(Code.BAD_SHAPE, read_program, {**program(1, 1), "H": ["1"]}, 1)
    refused(Code.BAD_SHAPE, read_program, {**program(1, 1), "b": ["1", "1"]}, 1)


def test_a_tree_names_what_there_is():
    assert [read_law(law(entry=entry)).tree for entry in (0, -1, -2)] == [[0], [-1], [-2]]
    for entry in (1, -3):
        refused(Code.BAD_LAW, read_law, law(entry=entry))


def test_indices_are_different_and_below_their_end():
    assert _indices([2, 0, 1], 3, "i") == [2, 0, 1] and _indices([], 0, "i") == []
    for items in ([3], [-1], [0, 3], [0, 0], [True], ["0"], "", None):
        refused(Code.MALFORMED_CERTIFICATE, _indices, items, 3, "i")
    assert _pair([1, 2], "p") == (1, 2)
    for pair in ([1, 2, 3], [1], "ab", {"0": 1, "1": 2}):
        refused(Code.MALFORMED_CERTIFICATE, _pair, pair, "p")


def test_rows_become_whole_numbers_without_common_factor():
    assert _whole(rows("1/2 1/3 0", "-4 6 2", "0 0 0", "0 -5/7 0")).tolist() == [[3, 2, 0], [-2, 3, 1], [0, 0, 0], [0, -1, 0]]


# z = 0 is the minimiser of |z|^2 / 2 with z1 <= 1, for every theta
PLAIN = Program(rows("1 0", "0 1"), rows("0 0", "0 0"), rows("1 0"), rows("0 1"))


@pytest.mark.threat("T12")
def test_every_entry_of_stationarity_and_of_an_active_row_counts():
    none: dict[str, Any] = {"active": [], "rest": [], "multipliers": []}
    assert _conditions(PLAIN, rows("0 0", "0 0"), none, "o").tolist() == [[0, 1]]
    assert _conditions(PLAIN, rows("0 0"), {**none, "rest": [["0", "0"]]}, "o").tolist() == [[0, 1]]
    for moved in (rows("0 1", "0 0"), rows("0 0", "1 0"), rows("1 1", "1 1")):
        refused(Code.NOT_OPTIMAL, _conditions, PLAIN, moved, none, "o")
    refused(Code.NOT_OPTIMAL, _conditions, PLAIN, rows("0 0", "0 0"), {**none, "active": [0], "multipliers": [["0", "0"]]}, "o")
    assert _conditions(PLAIN, rows("0 1", "0 0"), {**none, "active": [0], "multipliers": [["0", "-1"]]}, "o").tolist() == [[0, -1]]
    for shape in (rows("0 0", "0 0", "0 0"), rows("0 0 0", "0 0 0"), rows("0", "0")):
        refused(Code.BAD_SHAPE, _conditions, PLAIN, shape, none, "o")


@pytest.mark.threat("T12")
def test_a_ray_is_not_negative_and_cancels_every_column():
    given = Program(rows("1 0", "0 1"), rows("0 0", "0 0"), rows("1 0", "-1 0", "0 0", "-1 1"), rows("0 1", "0 -3", "1 -1", "0 0"))
    assert _ray(given, [[0, "1"], [1, "1"]], "r").tolist() == [0, -1]
    assert _ray(given, [[0, "1"], [1, "1"], [2, "0"]], "r").tolist() == [0, -1]
    assert _ray(given, [[2, "2"]], "r").tolist() == [1, -1]
    for wrong in ([[0, "1"], [1, "1"], [2, "-1"]], [[0, "-1"], [1, "-1"]], [[0, "1"], [3, "1"]], [[0, "1"]]):
        refused(Code.NOT_INFEASIBLE, _ray, given, wrong, "r")


@pytest.mark.threat("T15")
@pytest.mark.parametrize("given", [None, 5, {}, "x", "xy"])
def test_what_is_no_list_of_pairs_is_refused(given):
    refused(Code.MALFORMED_CERTIFICATE, _ray, PLAIN, given, "r")
    refused(Code.MALFORMED_CERTIFICATE, _check_optimal, rows("1 0"), BETWEEN, given, "leaf")
    refused(Code.MALFORMED_CERTIFICATE, _check_outside, [rows("0 -1")[0]], BETWEEN, given, "leaf")
    refused(Code.MALFORMED_CERTIFICATE, check_law, SINGLE, Law(1, [], [rows("0 0")], [-2]), {**PROOF, "rays": [given]}, rows("-1")[0], rows("1")[0])


BETWEEN = [(rows("1 0")[0], False), (rows("-1 1")[0], False)]
"""The leaf 0 <= theta <= 1."""
BELOW = [(rows("1 0")[0], True), (rows("-1 1")[0], False)]
"""The leaf 0 < theta <= 1."""


@pytest.mark.threat("T12")
def test_every_condition_is_a_combination_with_no_negative_factor():
    def shown(conditions: Exact, *pairs: list[list[int]], path: Any = BETWEEN) -> None:
        _check_optimal(conditions, path, list(pairs), "leaf")

    shown(rows("1 0"), [[0], [0]])  # theta >= 0: nothing is left
    shown(rows("0 1"), [[0], [0]])  # 1 >= 0: no row is used
    shown(rows("1 0", "-2 2"), [[0], [0]], [[1], [1]])
    for wrong, basis in (("1 -1", 0), ("-1 1", 0), ("-1 1/2", 1), ("-1 0", 0)):
        refused(Code.NOT_OPTIMAL, shown, rows(wrong), [[basis], [0]])
        refused(Code.NOT_OPTIMAL, shown, rows("1 0", wrong), [[0], [0]], [[basis], [1]])
        refused(Code.NOT_OPTIMAL, shown, rows("0 3", wrong), [[basis], [0, 1]])  # two at once, one of them right
    refused(Code.NOT_OPTIMAL, shown, rows("1 0", "0 1"), [[0], [0]])
    plane = [(rows("1 0 0")[0], False), (rows("0 1 0")[0], False)]
    shown(rows("1 2 0"), [[0, 1], [0]], path=plane)
    for wrong in ("1 -1 0", "-1 1 5"):
        with pytest.raises(Refusal):
            shown(rows(wrong), [[0, 1], [0]], path=plane)


@pytest.mark.threat("T12", "T13")
def test_a_leaf_without_value_is_infeasible_in_every_point_of_it():
    def outside(ray: str, path: Any, *basis: int) -> None:
        _check_outside([rows(ray)[0]], path, [0, list(basis)], "leaf")

    outside("-1 -1", BETWEEN, 0)
    outside("0 -1", BETWEEN, 0)
    outside("1 -2", BETWEEN, 1)
    outside("-1 0", BELOW, 0)  # zero only where the leaf does not reach
    for ray, path, basis in (("-1 0", BETWEEN, 0), ("0 0", BELOW, 0), ("-1 1/2", BELOW, 0), ("1 -2", BELOW, 0), ("1 -1", BELOW, 1)):
        refused(Code.NOT_INFEASIBLE, outside, ray, path, basis)
    for strict in ((True, False), (False, True)):
        corner = [(rows("1 0 0")[0], strict[0]), (rows("0 1 0")[0], strict[1])]
        outside("-1 -1 0", corner, 0, 1)
        refused(Code.NOT_INFEASIBLE, outside, "1 -1 -1", corner, 0, 1)
        refused(Code.NOT_INFEASIBLE, outside, f"{-int(strict[1])} {-int(strict[0])} 0", corner, 0, 1)  # the strict row is not used


# one leaf: z = 0 on -1 <= theta <= 1
SINGLE = Program(rows("1"), rows("0 0"), rows("1"), rows("0 2"))
PROOF: dict[str, Any] = {"optimisers": [{"active": [], "rest": [], "multipliers": []}], "rays": [], "leaves": [[[[0], [0]]]]}


def test_a_law_without_questions_has_one_leaf():
    assert check_law(SINGLE, Law(1, [], [rows("0 0")], [-2]), PROOF, rows("-1")[0], rows("1")[0]) == (1, 0)


def test_questions_in_another_number_of_parameters_than_the_box_are_refused():
    for width in ("1", "1 0 0"):
        wrong = Law(1, [rows(width)[0]], [rows("0 0")], [0, -2, -2])
        refused(Code.BAD_SHAPE, check_law, SINGLE, wrong, {**PROOF, "leaves": PROOF["leaves"] * 2}, rows("-1")[0], rows("1")[0])


@pytest.mark.parametrize(("depth", "code"), [(MAX_DEPTH, Code.MISSING_OBLIGATION), (MAX_DEPTH + 1, Code.TOO_LARGE)])
def test_a_tree_may_be_as_deep_as_the_cap_says(depth, code):
    deep = Law(1, [rows("1 0")[0]], [], [0] * depth + [-1] * (depth + 1))
    refused(code, check_law, SINGLE, deep, {"optimisers": [], "rays": [], "leaves": []}, rows("-1")[0], rows("1")[0])
