"""Every refusal code has a plain name and ends in one of four ways; none of them is good."""

from __future__ import annotations

import pickle
import re

import pytest

from verifiers.kernel.codes import Code, Ending, Refusal


def test_names_are_unique():
    assert len(Code) == len(Code.__members__), "two codes share a value, so one name is an alias of the other"
    assert all(re.fullmatch(r"[A-Z]+(_[A-Z]+)*", code.name) for code in Code)


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_no_code_ends_well(code):
    assert code.ending is not Ending.ACCEPTED
    assert code.exit_code in (1, 2, 3, 4)
    assert code.ending is (Ending.REFUSED if code.exit_code == 4 else Ending(code.exit_code))


def test_exit_codes_are_the_public_ones():
    expected = {1: Code.MALFORMED_CERTIFICATE, 2: Code.BAD_REQUIREMENT, 3: Code.TOO_LARGE, 4: Code.DIGEST_MISMATCH}
    assert {code.exit_code: code for code in expected.values()} == expected
    assert (Ending.ACCEPTED.value, Ending.REFUSED.value, Ending.ERROR.value, Ending.DECLINED.value) == (0, 1, 2, 3)


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_a_code_is_itself_after_crossing_processes(code):
    assert pickle.loads(pickle.dumps(code)) is code


def test_a_refusal_says_code_place_and_sentence_and_crosses_processes():
    refusal = pickle.loads(pickle.dumps(Refusal(Code.UNSAFE_PATH, "shell", "the name is ../x, not plain")))
    assert (refusal.code, refusal.at) == (Code.UNSAFE_PATH, "shell")
    assert str(refusal) == "UNSAFE_PATH at shell: the name is ../x, not plain"
