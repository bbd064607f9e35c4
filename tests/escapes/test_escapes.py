"""Escapes: unsound bugs are injected into the prover, which then believes false claims; the kernel must not accept one of them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from types import ModuleType
from typing import Any

import injection
import pytest
from bugs import BUGS
from corpus import CLAIMS
from count import Run, attempt
from injection import Bug, blind, injected
from repository import ROOT

from verifiers import kernel
from verifiers.kernel import check as kernel_check
from verifiers.kernel.check import check
from verifiers.kernel.codes import Code
from verifiers.parts import join
from verifiers.second.claim import second_opinion

PAIRS = [(bug, claim) for bug in BUGS.values() for claim in bug.believed]
NAMES = [f"{bug.name}-{claim}" for bug, claim in PAIRS]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[tuple[str, str], Run]:
    """Each buggy prover on the claims that it believes, and under the name "honest" the unchanged prover on each of these."""
    folder = tmp_path_factory.mktemp("escapes")
    found = {(bug.name, claim): attempt(bug, claim, folder / bug.name) for bug, claim in PAIRS}
    found |= {("honest", claim): attempt(None, claim, folder / "honest", seconds=1.0) for claim in dict.fromkeys(claim for _, claim in PAIRS)}
    return found


@pytest.mark.threat("T01", "T02", "T03", "T04", "T05", "T06", "T07", "T08", "T09", "T11", "T12", "T13", "T14", "T25", "T26")
@pytest.mark.parametrize(("bug", "claim"), PAIRS, ids=NAMES)
def test_the_buggy_prover_believes_it_and_the_kernel_refuses(bug, claim, runs):
    run, honest = runs[bug.name, claim], runs["honest", claim]
    assert run.verdict.outcome == "PROVED", f"the bug does not bite: {run.verdict}"
    assert run.proof != honest.proof, "the bug changes nothing"
    assert run.receipt.outcome != "ACCEPTED", f"ESCAPE: {bug.mistake}"
    assert run.receipt.code in bug.believed[claim].split()
    assert second_opinion(run.bundle, run.requirement, 2_000).outcome != "agrees", f"ESCAPE through the second checker: {bug.mistake}"


def test_the_unchanged_prover_gets_no_false_claim_past_itself_but_for_what_only_the_kernel_measures(runs):
    """With its search for counterexamples off, all that it hands to the kernel is a sound proof of too small a region."""
    reached = {claim: run.receipt.code for (name, claim), run in runs.items() if name == "honest" and run.receipt is not None}
    assert set(reached.values()) <= {"NOT_CONTAINED", "VOLUME_TOO_SMALL"} and len(reached) <= 3


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_true_twin_is_accepted(claim, tmp_path):
    """Else a refusal of the false claim would say nothing."""
    run = attempt(None, claim, tmp_path, false=False)
    assert run.receipt is not None and run.receipt.outcome == "ACCEPTED", run.verdict
    assert second_opinion(run.bundle, run.requirement).outcome in ("agrees", "not handled")


def test_a_fresh_process_that_never_saw_a_bug_says_the_same(runs):
    program = ("import json, sys\nfrom pathlib import Path\nfrom verifiers.kernel.check import check\n"
               "print(json.dumps([check(Path(a), Path(b)).code for a, b in json.load(sys.stdin)]))")
    reached = [run for run in runs.values() if run.receipt is not None]
    asked = json.dumps([(str(run.bundle), str(run.requirement)) for run in reached])
    ended = subprocess.run([sys.executable, "-c", program], input=asked, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(ended.stdout) == [run.receipt.code for run in reached]


def test_no_false_claim_is_accepted_in_parts(runs):
    for (name, claim), run in runs.items():
        if run.receipt is not None and any(o in run.receipt.code for o in ("DECREASE", "LEAF", "CONTAINMENT", "IMAGE", "COMMAND")):
            joined = join([check(run.bundle, run.requirement, (i, 2)) for i in range(2)], 2)
            assert joined.outcome != "ACCEPTED", (name, claim)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS.values(), ids=list(BUGS))
def test_no_bug_gets_any_false_claim_past_the_kernel(bug, tmp_path):
    """Every bug on every false claim, believed or not."""
    receipts = {claim: attempt(bug, claim, tmp_path, seconds=1.0).receipt for claim in CLAIMS}
    assert [claim for claim, receipt in receipts.items() if receipt is not None and receipt.outcome == "ACCEPTED"] == []
    assert {claim for claim, receipt in receipts.items() if receipt is not None} >= set(bug.believed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_no_three_bugs_together_get_a_false_claim_past_the_kernel(seed, tmp_path):
    chance, reached = random.Random(seed), 0
    for k in range(20):
        three, claim = chance.sample(list(BUGS.values()), 3), chance.choice(list(CLAIMS))
        together = Bug("+".join(bug.name for bug in three), "", "", {}, lambda twin, three=three: [r for bug in three for r in bug.replace(twin)],
                       any(bug.twin_first for bug in three))
        receipt = attempt(together, claim, tmp_path / str(k), seconds=1.0).receipt
        reached += receipt is not None
        assert receipt is None or receipt.outcome != "ACCEPTED", (together.name, claim)
    assert reached


# the set itself -------------------------------------------------------------------------------------------------------

def kernel_objects() -> dict[str, Any]:
    """What stands in the kernel's modules, and in their classes."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith(kernel.__name__) and isinstance(module, ModuleType)}
    found = {f"{name}.{key}": value for name, module in modules.items() for key, value in vars(module).items()}
    classes = {name: value for name, value in found.items() if isinstance(value, type) and value.__module__ in modules}
    return found | {f"{name}.{key}": value for name, kind in classes.items() for key, value in vars(kind).items()}


@pytest.mark.threat("T24")
@pytest.mark.parametrize("bug", BUGS.values(), ids=list(BUGS))
def test_a_bug_touches_the_prover_and_never_the_kernel(bug, tmp_path):
    claim = next(iter(bug.believed))
    before = kernel_objects()
    with injected([*blind(), *bug.replace(CLAIMS[claim].write(tmp_path, false=False))]):
        during = kernel_objects()
    assert len(before) > 300 and before.keys() == during.keys() and all(before[name] is during[name] for name in before)


def test_a_replacement_in_the_kernel_is_not_allowed():
    with pytest.raises(ValueError, match="no part of the prover"), injected([(kernel_check, "check_local", None)]):
        raise AssertionError("the kernel was changed")


def test_an_escape_would_be_seen(runs, monkeypatch):
    """A kernel that does not look at leaves accepts what the buggy provers believe: the claims are refused for their own fault."""
    monkeypatch.setattr(kernel_check, "check_shell", lambda *_: (1, -1.0))
    reached = {key: run for key, run in runs.items() if run.receipt is not None}
    blinded = [key for key, run in reached.items() if check(run.bundle, run.requirement).outcome == "ACCEPTED"]
    assert ("nothing_decided", "cubic") in blinded and len(blinded) >= 20, blinded


def test_each_bug_says_what_was_done_and_which_codes_are_expected():
    assert len(BUGS) >= 16
    for name, bug in BUGS.items():
        assert bug.name == name and bug.believed and len(bug.mistake) > 40 and bug.mistake.endswith(".")
        assert set(bug.believed) <= set(CLAIMS)
        assert {code for codes in bug.believed.values() for code in codes.split()} <= set(Code.__members__)
    assert {bug.threat for bug in BUGS.values()} == {i for mark in
        test_the_buggy_prover_believes_it_and_the_kernel_refuses.pytestmark if mark.name == "threat" for i in mark.args}


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="twice"):
        injection.bug("T01", cubic="DECREASE")(BUGS["nothing_decided"].replace)


def test_each_false_claim_is_believed_by_some_bug():
    assert set(CLAIMS) - {claim for bug in BUGS.values() for claim in bug.believed} == set()


def test_the_readme_gives_the_count():
    lines = re.findall(r"(\d+) injected bugs, (\d+) runs reached the kernel, (\d+) escapes", (ROOT / "README.md").read_text(encoding="utf-8"))
    if not lines:
        pytest.skip("README.md does not give the count")
    assert set(lines) == {(str(len(BUGS)), str(len(PAIRS)), "0")}
