"""The search: what it answers when the claim fails inside a box, when time is up, and when others do its work."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "escapes"))
from corpus import CLAIMS, square

from verifiers import prove
from verifiers.kernel.codes import Refusal
from verifiers.kernel.properties import Goal, check_shell
from verifiers.kernel.setting import make_stage
from verifiers.kernel.stage import Stage, quadratic
from verifiers.kernel.tree import LEAF, leaves
from verifiers.smt import branch_and_bound as bb
from verifiers.smt.branch_and_bound import STUCK, Progress, Violated, process_pool, search
from verifiers.smt.skeleton import HOLE, skeleton

GOAL = Goal("attraction")


def stage_of(folder: Path, name: str, level: str) -> Stage:
    """Shell of a claim of the corpus between a small ball about the origin and the level."""
    setting = prove.read_question(CLAIMS[name].write(folder)).setting()
    n = len(setting.lo)
    eye = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    ball = quadratic(eye, [Fraction(0)] * n), Fraction(1, 10000)
    return replace(make_stage(setting, setting.functions["V"], Fraction(level), None), inner=(ball,))


@pytest.mark.threat("T11")
def test_a_box_on_which_the_claim_fails_ends_the_search(tmp_path):
    stage = stage_of(tmp_path, "reversed", "15/2")  # far outside the cycle
    with pytest.raises(Violated) as failed:
        search(stage, GOAL, refute=True)
    lo, hi = failed.value.args
    found = stage.evaluate(0.5 * (lo + hi), 0.5 * (lo + hi))
    assert (found.least >= 0).all() and (found.v_hi <= 7.5).all()


def test_without_refuting_such_boxes_are_stuck_and_never_leaves(tmp_path):
    stage = stage_of(tmp_path, "reversed", "15/2")
    out = search(stage, GOAL, depth=16)
    assert out.finished and len(out.stuck_lo) and bytes([STUCK]) in out.tree
    with pytest.raises(Refusal):
        check_shell(stage, GOAL, out.tree, "shell")


@pytest.mark.threat("T12")
@pytest.mark.parametrize("most", [1, 7, 64])
def test_work_dealt_out_to_an_executor_gives_the_tree_of_one_process(tmp_path, monkeypatch, most):
    stage = stage_of(tmp_path, "reversed", "1/2")
    alone = search(stage, GOAL)
    monkeypatch.setattr(bb, "PARALLEL_FROM", most)
    monkeypatch.setattr(bb, "GROUP", 5)
    with ThreadPoolExecutor(2) as pool:
        dealt = search(stage, GOAL, executor=pool)
    assert alone.finished and dealt.finished and not len(alone.stuck_lo) and dealt.boxes >= alone.boxes > 64
    for out in (alone, dealt):
        count, worst = check_shell(stage, GOAL, out.tree, "shell")
        assert count == out.leaves == sum(byte >= LEAF for byte in out.tree) and worst < 0


@pytest.mark.threat("T07")
def test_a_search_out_of_time_is_not_finished_and_names_a_box(tmp_path):
    stage = stage_of(tmp_path, "reversed", "1/2")
    out = search(stage, GOAL, budget=0.0)
    assert not out.finished and not out.tree and len(out.worst_at) == 2
    assert (stage.lo <= out.worst_at).all() and (stage.hi >= out.worst_at).all()


def test_what_was_kept_when_time_ran_out_is_not_done_again(tmp_path, monkeypatch):
    stage = stage_of(tmp_path, "reversed", "1/2")
    monkeypatch.setattr(bb, "GROUP", 8)
    monkeypatch.setattr(bb, "BATCH", 4)  # without an executor groups are dealt from 16 batches on
    whole = search(stage, GOAL)
    kept, calls = {}, []
    work = bb._work

    def slow(*task):
        calls.append(None)
        if len(calls) > 3:
            return [], bb.Outcome()  # time is up in every group from the fourth on
        return work(*task)

    monkeypatch.setattr(bb, "_work", slow)
    first = search(stage, GOAL, keep=kept.update)
    assert not first.finished and len(kept) == 3 and len(first.worst_at) == 2
    monkeypatch.setattr(bb, "_work", work)
    again = search(stage, GOAL, done=kept)
    assert again.finished and again.tree == whole.tree


def test_progress_says_share_open_boxes_and_worst_bound(tmp_path, monkeypatch):
    stage, seen = stage_of(tmp_path, "reversed", "1/2"), []
    monkeypatch.setattr(bb, "GROUP", 8)
    monkeypatch.setattr(bb, "BATCH", 4)
    ticks = iter(range(10**6))
    monkeypatch.setattr(bb, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    assert search(stage, GOAL, progress=seen.append).finished
    assert len(seen) > 2 and all(isinstance(p, Progress) and p.phase == "shell" for p in seen)
    assert [p.share for p in seen] == sorted(p.share for p in seen) and seen[-1].share == pytest.approx(1)
    assert [p.open_boxes for p in seen] == sorted((p.open_boxes for p in seen), reverse=True) and seen[0].open_boxes > 0
    assert all(math.isfinite(p.worst) for p in seen[:-1] if p.open_boxes)


def test_fixing_splits_ahead_changes_no_verdict(tmp_path, monkeypatch):
    stage = stage_of(tmp_path, "cubic", "4/5")
    monkeypatch.setattr(bb, "FAR", -math.inf)
    eager = search(stage, GOAL)
    monkeypatch.setattr(bb, "FAR", math.inf)
    careful = search(stage, GOAL)
    assert eager.finished and careful.finished and eager.leaves >= careful.leaves
    for out in (eager, careful):
        assert check_shell(stage, GOAL, out.tree, "shell")[1] < 0


@pytest.mark.threat("T12")
@pytest.mark.parametrize(("half", "zoom"), [([1.0], 0), ([1.0, 3.0], 0), ([2.0, 1.0], 5), ([1.0], 3), ([1.0, 2.0, 1.0], 2)])
def test_a_skeleton_covers_the_root_with_the_boxes_that_it_names(half, zoom):
    top = skeleton(-np.array(half), np.array(half), zoom)
    filled = top.fill([bytes([LEAF])] * len(top.lo))
    ((_, lo, hi),) = list(leaves(filled, -np.array(half), np.array(half), "top", batch=10**6))
    assert (lo == top.lo).all() and (hi == top.hi).all() and len(top.depth) == top.nodes.count(HOLE)
    volume = np.prod(top.hi - top.lo, axis=1)
    assert volume.sum() == pytest.approx(np.prod(2 * np.array(half))) and (volume * 2.0**top.depth == np.prod(2 * np.array(half))).all()
    touching = ((top.lo <= 0) & (top.hi >= 0)).all(axis=1)
    if zoom:
        assert (top.hi[touching] - top.lo[touching] == np.array(half) / 2.0**zoom).all() and touching.sum() == 2 ** len(half)


@pytest.mark.parametrize("count", [1, None])
def test_process_pool(count):
    with process_pool(count) as pool:
        assert pool is None if count == 1 else pool is None or pool.submit(np.add, 1, 2).result() == 3


def test_a_bundle_is_replaced_only_by_one_that_the_kernel_accepts(tmp_path, monkeypatch):
    path = CLAIMS["cubic"].write(tmp_path, false=False)
    first = prove.verify(path, workers=1, budget=20)
    assert first.outcome == "PROVED"
    before = {p.name: p.read_bytes() for p in first.bundle.rglob("*") if p.is_file()}
    (tmp_path / "lyapunov.onnx").write_bytes(square([[1.01]])())
    check = prove.check_by
    monkeypatch.setattr(prove, "check_by", lambda *a: replace(check(*a), outcome="REFUSED", code="DECREASE"))
    again = prove.verify(path, workers=1, budget=20, force=True)
    assert (again.outcome, again.bundle) == ("REFUSED", None)
    assert before == {p.name: p.read_bytes() for p in first.bundle.rglob("*") if p.is_file()}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
