"""Counting: every threat of docs/threats.md is met by a test that carries its id, or listed as pending with a reason."""

from __future__ import annotations

import re

from repository import ROOT, disagreements, pending, python_files, threats_met

KNOWN = {f"T{i:02d}" for i in range(1, 27)}


def test_each_threat_is_met_or_listed():
    met = set().union(*(threats_met(p.read_text(encoding="utf-8")) for p in python_files("tests")))
    print("met:", *sorted(met))
    assert list(disagreements(KNOWN, met, set(pending(ROOT / "tests" / "threats_pending.txt")))) == []


def test_the_table_of_threats_is_complete():
    table = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (T\d\d) \|", table, re.M) == sorted(KNOWN)


def test_a_marker_is_found_and_a_comment_is_not():
    assert threats_met('@pytest.mark.threat("T05")\ndef test_a():\n    pass  # T06\n') == {"T05"}


def test_each_disagreement_is_seen():
    assert len(list(disagreements({"T01", "T02"}, {"T01", "T99"}, {"T01"}))) == 3
    assert list(disagreements({"T01", "T02"}, {"T01"}, {"T02"})) == []
