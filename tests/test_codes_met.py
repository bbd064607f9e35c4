"""Counting: every refusal code of the kernel is named by a test, or listed as pending with a reason."""

from __future__ import annotations

from repository import ROOT, codes_met, disagreements, pending, python_files

from verifiers.kernel.codes import Code

KNOWN = frozenset(Code.__members__)


def test_each_code_is_met_or_listed():
    met = set().union(*(codes_met(p.read_text(encoding="utf-8"), KNOWN) for p in python_files("tests")))
    assert list(disagreements(set(KNOWN), met, set(pending(ROOT / "tests" / "codes_pending.txt")))) == []


def test_a_code_counts_as_attribute_or_string_and_not_as_comment():
    known = frozenset({"BAD_NUMBER", "BAD_SHAPE", "BAD_KEY"})
    assert codes_met('x = Code.BAD_NUMBER\ny = "BAD_SHAPE"\n# BAD_KEY\n', known) == {"BAD_NUMBER", "BAD_SHAPE"}


def test_a_reason_is_demanded(tmp_path):
    path = tmp_path / "pending.txt"
    for text in ("BAD_NUMBER\n", "BAD_NUMBER soon\n", "BAD_NUMBER needs the bundle reader\nBAD_NUMBER needs the bundle reader\n"):
        path.write_text(text, encoding="utf-8")
        try:
            pending(path)
        except ValueError as error:
            assert "BAD_NUMBER" in str(error)
        else:
            raise AssertionError(f"{text!r} was accepted")
