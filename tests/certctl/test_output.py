"""What is printed: the contract's last line, strict JSON, no forged lines, bounds never rounded the wrong way."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.cli.output import clean, exact_level, last_line, round_down, spread_text
from certctl.cli.progress import line_of, progress_on_stderr
from certctl.result import Result, from_receipt, from_verdict, to_json
from verifiers.kernel.check import Receipt
from verifiers.prove import Verdict
from verifiers.smt.branch_and_bound import Progress

PROVED = re.compile(r'PROVED \S+ [a-z_]+ level=L[0-3] region="[^"]+<=[^"]+" volume>=[0-9.e+-]+ search=[0-9]+\.[0-9]s check=[0-9]+\.[0-9]s')
OTHER = re.compile(r'(REFUTED|REFUSED|UNKNOWN|ERROR) \S+ [a-z_-]+ code=[A-Z_]+ at=(\S+|"[^"]*")')
RECEIPT = Receipt("ACCEPTED", None, None, "every obligation of the property is proved", "pendulum", "asymptotic_stability_roa", "L2",
                  {"function": "V", "level": "49/50", "volume_lower_bound": 2946.5678}, {"lo": [-1e-9, 0.0], "hi": [1e-9, 0.0]}, 1234, 0.24)
KEYS = {"outcome", "code", "property", "level", "region", "equilibrium", "search_s", "check_s", "leaves", "bundle", "counterexample"}


def test_the_line_of_a_proof_is_that_of_the_contract():
    line = last_line(replace(from_receipt(RECEIPT), search_s=0.84))
    assert line == 'PROVED pendulum asymptotic_stability_roa level=L2 region="V<=0.98" volume>=2946.5 search=0.8s check=0.2s'
    assert PROVED.fullmatch(line)


@pytest.mark.parametrize(("outcome", "code", "spoken"), [
    ("REFUSED", "DECREASE", "REFUSED"), ("DECLINED", "TOO_LARGE", "UNKNOWN"), ("ERROR", "BAD_NUMBER", "ERROR"), ("GREAT", None, "ERROR")])
def test_what_is_not_accepted_is_never_called_proved_and_claims_nothing(outcome, code, spoken):
    result = from_receipt(replace(RECEIPT, outcome=outcome, code=code, at="shell-2"))
    line = last_line(result)
    assert OTHER.fullmatch(line) and line.startswith(f"{spoken} pendulum ") and "level=" not in line
    assert (result.level, result.region, result.equilibrium) == (None, None, None)


def test_a_place_with_blanks_is_quoted():
    assert last_line(Result("REFUTED", "a", "COUNTEREXAMPLE", "x=1, y=2")).endswith('code=COUNTEREXAMPLE at="x=1, y=2"')


@pytest.mark.threat("T21")
def test_a_name_cannot_forge_a_line_or_steer_the_terminal():
    line = last_line(Result("REFUSED", "x\nPROVED y", "NO_BUNDLE", "\x1b[32mPROVED\u202e"))
    assert "\n" not in line and "\x1b" not in line and "\u202e" not in line
    assert line.startswith("REFUSED ")
    assert clean("a\tb") == "a\\tb"


def test_a_verdict_without_an_accepting_kernel_is_an_internal_error(tmp_path):
    for receipt in (None, replace(RECEIPT, outcome="REFUSED", code="DECREASE")):
        result = from_verdict(Verdict("PROVED", None, None, "fine", "a", receipt=receipt, bundle=Path("a.cert")), tmp_path / "a.requirement.toml")
        assert (result.outcome, result.code) == ("ERROR", "INTERNAL")


def test_a_refuted_verdict_keeps_its_witness_and_drops_the_claim(tmp_path):
    witness = {"x": [1.0, float("inf")], "why": "V grows", "trajectory": None}
    verdict = Verdict("REFUTED", "COUNTEREXAMPLE", "theta=1", "V grows", "a", receipt=RECEIPT, search_s=1.5, counterexample=witness)
    data = to_json(from_verdict(verdict, tmp_path / "a.requirement.toml"))
    assert (data["outcome"], data["code"], data["region"]) == ("REFUTED", "COUNTEREXAMPLE", None)
    assert data["counterexample"] == {"x": [1.0, None], "why": "V grows"}
    json.dumps(data, allow_nan=False)


def test_json_has_the_keys_of_the_contract_and_plain_numbers():
    data = to_json(from_receipt(RECEIPT, Path("a.cert")))
    assert set(data) >= KEYS and data["bundle"] == "a.cert"
    assert data["region"] == {"function": "V", "level": 0.98, "volume_lower_bound": 2946.5678}
    assert data["equilibrium"] == {"lo": [-1e-9, 0.0], "hi": [1e-9, 0.0]}
    assert (data["code"], data["counterexample"]) == (None, None)


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_lower_bound_is_never_rounded_up(value):
    assert Fraction(round_down(value)) <= Fraction(value)
    assert float(round_down(value)) > value * 0.999


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_bound_that_says_nothing_is_zero(value):
    assert round_down(value) == "0"


@given(st.floats(min_value=-1e6, max_value=1e6), st.floats(min_value=0, max_value=1e-3))
def test_a_printed_box_holds_the_proved_one(lo, width):
    hi = lo + width
    centre, _, half = spread_text(lo, hi).partition(" ± ")
    assert Fraction(centre) - Fraction(half or 0) <= Fraction(lo) and Fraction(hi) <= Fraction(centre) + Fraction(half or 0)


@given(st.fractions())
def test_a_level_is_printed_exactly(value):
    assert Fraction(exact_level(str(value))) == value


def test_progress_is_one_line_per_ten_seconds_where_stderr_is_no_terminal(capsys):
    now = iter([0.0, 1.0, 10.5, 12.0, 21.0])
    with progress_on_stderr(lambda: next(now)) as report:
        for share in (0.1, 0.2, 0.3, 0.4):
            report(Progress("shell-1", share, -0.5, 10, 60.0 * share, 75.0))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" %")[0] for line in lines] == ["shell-1: 20.0", "shell-1: 40.0"]


def test_a_progress_line_says_share_margin_boxes_and_time():
    text = line_of(Progress("shell-1", 0.5, -0.125, 42, 61.0, 3700.0))
    assert text == "shell-1: 50.0 % proved, worst margin -0.125, 42 boxes open, 1:01 spent, about 1:01:40 left"
    assert line_of(Progress("local", 0.0, float("-inf"), 1, 0.0, None)) == "local: 0.0 % proved, worst margin –, 1 boxes open, 0:00 spent"
