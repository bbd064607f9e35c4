"""Whatever a solver does, the answer is Unknown with the right reason, and nothing survives it; only a clean, replayed answer counts."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.queries import ball
from verifiers.smt import child
from verifiers.smt.child import run
from verifiers.smt.cvc5 import Cvc5
from verifiers.smt.decider import Sat, Unknown, Unsat
from verifiers.smt.dreal import DReal
from verifiers.smt.z3 import Z3

FAKE = Path(__file__).with_name("fake_solver.py")
QUERY = ball(2, Fraction(-1, 2))  # |x|^2 <= 1 and x0 + x1 >= about 0.91 on [-2, 2]^2: (1, 0) and (0, 1), but neither (-2, -2) nor (1, 1)
EASY = ball(2, Fraction(1, 2))  # unsat
MEMORY = 1 << 30
NOBODY = (1 << 22) + 1  # beyond the greatest number of a process


def command(mode: str, *more: str) -> list[str]:
    return [sys.executable, str(FAKE), mode, *more]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not); apart from the code's own, which the tests would else believe."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found through /proc")
def test_a_process_that_runs_is_alive_and_one_that_is_gone_is_not():
    assert alive(os.getpid()) and child.alive(os.getpid())
    assert not alive(NOBODY) and not child.alive(NOBODY)


STRICT = [("hang", "timeout"), ("deaf", "timeout"), ("allocate", "memory"), ("abort", "crash"), ("segfault", "crash"), ("garbage", "garbage"),
          ("unsat then exit 1", "crash"), ("unsat with values", "garbage"), ("unsat of another script", "garbage"), ("two answers", "garbage"),
          ("partial", "garbage"), ("partial unsat", "garbage"), ("silent", "garbage"), ("unknown", "unknown"), ("delta-sat", "delta-sat"),
          ("sat", "unknown"), ("model in words", "garbage"), ("model of infinite size", "garbage"), ("short model", "garbage"),
          ("outside the box", "unknown"), ("flood", "crash"), ("no such mode", "crash")]


@pytest.mark.threat("T07")
@pytest.mark.parametrize(("mode", "reason"), STRICT, ids=[mode for mode, _ in STRICT])
def test_a_misbehaving_child_is_unknown(mode, reason):
    budget = 0.5 if reason == "timeout" else 20.0
    answer = Z3(command(mode), memory=MEMORY).decide(QUERY, budget)
    assert isinstance(answer, Unknown)
    assert answer.reason == reason and answer.text


@pytest.mark.parametrize("decider", [Z3, Cvc5])
def test_an_absent_program_is_unknown(decider):
    answer = decider(["no-such-solver-here"]).decide(QUERY, 5.0)
    assert isinstance(answer, Unknown) and answer.reason == "absent"


def test_a_model_that_does_not_satisfy_the_query_is_no_witness():
    answer = Cvc5(command("right model")).decide(QUERY, 20.0)  # (1, 1) lies outside the disc
    assert isinstance(answer, Unknown) and answer.reason == "unknown" and "exact arithmetic" in answer.text


def test_a_clean_unsat_counts_and_says_on_whose_word():
    answer = Z3(command("unsat")).decide(EASY, 20.0)
    assert isinstance(answer, Unsat)
    assert answer.evidence.level == 1 and answer.evidence.proof is None and "alone" in answer.evidence.text


DREAL = [("dreal delta-sat", "delta-sat"), ("dreal twice", "garbage"), ("dreal late", "garbage"), ("dreal nothing known", "garbage"),
         ("dreal without x1", "garbage"), ("hang", "timeout"), ("segfault", "crash"), ("silent", "garbage"), ("unsat", "garbage")]


@pytest.mark.threat("T07")
@pytest.mark.parametrize(("mode", "reason"), DREAL, ids=[mode for mode, _ in DREAL])
def test_a_misbehaving_dreal_is_unknown(mode, reason):
    answer = DReal(command=command(mode)).decide(QUERY, 0.5 if reason == "timeout" else 20.0)
    assert isinstance(answer, Unknown)
    assert answer.reason == reason


def test_dreals_clean_answers_count():
    unsat = DReal(command=command("dreal unsat")).decide(EASY, 20.0)
    assert isinstance(unsat, Unsat) and unsat.evidence.level == 1 and "1e-06" in unsat.evidence.solver
    wide = ball(2, Fraction(1, 2))
    found = DReal(command=command("dreal right")).decide(type(wide)(wide.graph, wide.lo, wide.hi, wide.formula.parts[1]), 20.0)
    assert isinstance(found, Sat) and found.witnesses[0].x == (1, 1)  # the middle of its box, replayed


@pytest.mark.threat("T07")
def test_a_precision_too_coarse_does_not_make_a_witness():
    answer = DReal(precision=0.5, command=command("dreal delta-sat")).decide(EASY, 20.0)
    assert isinstance(answer, Unknown) and answer.reason == "delta-sat"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found through /proc")
@pytest.mark.parametrize("mode", ["grandchild", "daemon"])
def test_nothing_survives_the_solver(mode, tmp_path):
    note = tmp_path / "pid"
    ran = run(command(mode, str(note)), "", 20.0)
    pid = int(note.read_text(encoding="ascii"))
    assert ran.status == "ok" and pid != os.getpid()
    assert not alive(pid)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found through /proc")
def test_nothing_survives_a_timeout(tmp_path):
    note = tmp_path / "pid"
    program = "import subprocess, sys, time; " \
              "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); " \
              f"open({str(note)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    assert run([sys.executable, "-c", program], "", 1.0).status == "timeout"
    assert not alive(int(note.read_text(encoding="ascii")))


@pytest.mark.parametrize("seen", [([NOBODY], []), ([], [NOBODY])], ids=["by its token", "by its session"])
def test_a_killed_process_is_waited_for(seen, monkeypatch):
    """On its way out a process has lost its environment but still runs, for a while that depends on the machine's load."""
    scans = iter([seen])
    answers = iter([True, True, True, False])
    monkeypatch.setattr(child, "_descendants", lambda leader, token: next(scans, ([], [])))
    monkeypatch.setattr(child, "alive", lambda pid: pid == NOBODY and next(answers))
    assert run([sys.executable, "-c", ""], "", 20.0).status == "ok"
    assert list(answers) == []


def test_output_is_read_only_up_to_its_cap():
    ran = run([sys.executable, "-c", "import sys; sys.stdout.write('y' * 200)"], "", 20.0, output=100)
    assert ran.status == "crash" and len(ran.text) <= 100


def test_the_text_reaches_the_child_unchanged():
    text = "(check-sat)\n" * 50_000
    assert run([sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read())"], text, 20.0).text == text


def test_no_shell_reads_the_arguments():
    assert run([sys.executable, "-c", "import sys; print(sys.argv[1])", "$(echo no); `id`"], "", 20.0).text == "$(echo no); `id`\n"
