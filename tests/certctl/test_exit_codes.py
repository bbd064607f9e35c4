"""Exit codes: nothing but an accepted proof gives 0, and several inputs end with the worst."""

from __future__ import annotations

import itertools

import pytest

from certctl.cli.exit_codes import ExitCode, combine, exit_code, table
from certctl.codes import OwnCode
from verifiers.kernel.codes import Code


@pytest.mark.parametrize(("outcome", "code", "expected"), [
    ("PROVED", None, 0), ("PROVED", "DECREASE", 2), ("REFUTED", "COUNTEREXAMPLE", 1), ("REFUTED", None, 1), ("REFUSED", "DECREASE", 1),
    ("REFUSED", "CONTROLLER_MISMATCH", 4), ("REFUSED", "DIGEST_MISMATCH", 4), ("REFUSED", "POLICY_CHANGED", 4), ("REFUSED", "NO_BUNDLE", 1),
    ("REFUSED", "UNNAMED_CONTROLLER", 1), ("REFUSED", "NOTHING_TO_CHECK", 5), ("REFUSED", "INTERNAL", 2), ("REFUSED", None, 1),
    ("UNKNOWN", "BUDGET", 3), ("UNKNOWN", "INTERRUPTED", 3), ("UNKNOWN", None, 3), ("ERROR", "INTERNAL", 2), ("ERROR", "DIGEST_MISMATCH", 2),
    ("ACCEPTED", None, 2), ("proved", None, 2), ("", None, 2), ("REFUSED", "NO_SUCH_CODE", 1)])
def test_exit_code_of_one_result(outcome, code, expected):
    assert exit_code(outcome, code) == expected


@pytest.mark.parametrize("code", [*Code.__members__, *OwnCode.__members__])
def test_no_code_turns_a_refusal_into_zero(code):
    assert all(exit_code(outcome, code) != 0 for outcome in ("PROVED", "REFUSED", "REFUTED", "UNKNOWN", "ERROR", "anything"))


def test_the_worst_of_several_inputs_counts():
    order = [ExitCode.ERROR, ExitCode.INTEGRITY, ExitCode.REFUSED, ExitCode.UNDECIDED, ExitCode.NOTHING, ExitCode.PROVED]
    for first, second in itertools.combinations(range(len(order)), 2):
        assert combine([order[second], order[first], order[second]]) is order[first]


def test_nothing_at_all_is_not_a_pass():
    assert combine([]) is ExitCode.NOTHING


def test_the_table_names_every_exit_code_and_the_order():
    text = table()
    assert all(f"{int(code)} {code.meaning}" in text for code in ExitCode)
    assert "2 > 4 > 1 > 3 > 5 > 0" in text
