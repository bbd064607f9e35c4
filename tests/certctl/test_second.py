"""`certctl check --second`: the second checker can only take away, and each of its answers has a word, a code and an exit code."""

from __future__ import annotations

import json

import pytest
from small_bundles import prove, write_case

from certctl import second_opinion
from certctl.cli.main import run
from verifiers.second import claim
from verifiers.second.claim import Opinion

pytest.importorskip("flint")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bundle and requirement of a true claim."""
    requirement = write_case(tmp_path_factory.mktemp("second"))
    return prove(requirement), requirement


def test_agreement_is_printed_and_changes_nothing_else(made, capsys):
    bundle, requirement = map(str, made)
    assert run(["check", bundle, "--requirement", requirement]) == 0
    plain = capsys.readouterr().out
    assert run(["check", bundle, "--requirement", requirement, "--second"]) == 0
    text = capsys.readouterr().out
    assert "checker agrees, boxes 2" in text and "checker agrees" not in plain
    assert text.splitlines()[-1].startswith("PROVED loop asymptotic_stability_roa level=L2")
    assert run(["check", bundle, "--second", "--output-format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "PROVED" and found["second"]["outcome"] == "agrees" and found["second"]["boxes"] == 2
    assert second_opinion(*made).outcome == "agrees"


@pytest.mark.parametrize(("word", "code", "says", "ends"), [
    ("disagrees", "SECOND_DISAGREES", "REFUSED", 1), ("undecided", "SECOND_UNDECIDED", "UNKNOWN", 3),
    ("not handled", "SECOND_UNDECIDED", "UNKNOWN", 3),
    ("something else", "SECOND_UNDECIDED", "UNKNOWN", 3)])
def test_anything_but_agreement_takes_the_proof_away(word, code, says, ends, made, capsys, monkeypatch):
    monkeypatch.setattr(claim, "second_opinion", lambda *_: Opinion(word, "because", 7))
    assert run(["check", str(made[0]), "--second"]) == ends
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{says} loop ") and f"code={code}" in last and "volume" not in last and "level" not in last


def test_it_is_not_asked_about_what_the_kernel_refused(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(claim, "second_opinion", lambda *_: pytest.fail("asked"))
    assert run(["check", str(tmp_path / "none"), "--second"]) != 0


def test_too_few_boxes_are_undecided(made, capsys):
    assert run(["check", str(made[0]), "--second", "--second-boxes", "1"]) == 3
    assert "code=SECOND_UNDECIDED" in capsys.readouterr().out
