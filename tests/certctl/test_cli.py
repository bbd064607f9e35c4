"""The command line from outside: every ending has its exit code, results on stdout, the rest on stderr."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_bundles import digest_of, linear_controller, prove, sha256_of, swap_controller, write_case
from test_output import KEYS, OTHER, PROVED

import verifiers.kernel.check as kernel
import verifiers.prove as door
from certctl import __version__
from certctl.cli.exit_codes import ExitCode
from certctl.cli.main import run
from verifiers.kernel.codes import Code, Refusal
from verifiers.prove import Verdict
from verifiers.smt.branch_and_bound import Progress

TRUE_VERIFY = door.verify
FORMATS_OF_VERDICTS = ("junit", "sarif", "github", "markdown")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one certified controller, made once and copied."""
    folder = tmp_path_factory.mktemp("cli") / "policies"
    prove(write_case(folder))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A private copy of the certified folder."""
    return shutil.copytree(made, tmp_path / "policies")


@pytest.fixture
def certctl(capsys):
    """Run the command line in this process: exit code, stdout, stderr."""
    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err
    return call


def ends(out):
    """The last line of a text output."""
    return out.rstrip("\n").splitlines()[-1]


# ------------------------------------------------------------------------------------------------------------ usage and accidents

@pytest.mark.parametrize("arguments", [
    [], ["frobnicate"], ["check"], ["check", "a", "b"], ["check", "--sideways", "a"], ["verify"], ["verify", "a", "--workers", "0"],
    ["verify", "a", "--budget", "nan"], ["verify", "a", "--budget", "0"], ["verify", "a", "--budget", "many"],
    ["falsify", "a", "--seed", "-1"], ["check", "a", "--output-format", "yaml"], ["digest", "no/such/file"], ["systems", "no_such_plant"],
    ["explain", "NO_SUCH_CODE"], ["gate", "no/such/folder"], ["gate", "--policy", "no/such/certctl.toml"], ["report", "a", "-o", "page.txt"]])
def test_a_wrong_call_is_exit_2_with_a_sentence_and_no_traceback(certctl, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = certctl(*arguments)
    assert code == ExitCode.ERROR and "PROVED" not in out and "Traceback" not in err
    assert err.startswith("certctl: ") if arguments else "Usage" in out


@pytest.mark.parametrize("command", ["show", "report", "explain", "doctor", "systems", "digest"])
@pytest.mark.parametrize("form", FORMATS_OF_VERDICTS)
def test_a_command_that_decides_nothing_has_no_format_of_verdicts(certctl, command, form):
    argument = [] if command in ("explain", "doctor", "systems") else ["x"]
    code, out, err = certctl(command, *argument, "--output-format", form)
    assert (code, out) == (2, "") and "text or json" in err


def test_an_uncaught_exception_is_exit_2_and_shows_its_traceback_only_on_demand(folder, monkeypatch):
    script = ("import sys\nimport certctl.gatekeeper as g\ng.read_policy = lambda path: 1 / 0\n"
              "from certctl.cli.main import run\nsys.exit(run(sys.argv[1:]))\n")
    (folder / "certctl.toml").write_text("", encoding="utf-8")
    for extra, shown in (([], False), (["--debug"], True)):
        ended = subprocess.run([sys.executable, "-c", script, "gate", str(folder), *extra], capture_output=True, text=True)
        assert ended.returncode == 2 and ended.stdout == ""
        assert ("Traceback" in ended.stderr) is shown and "ZeroDivisionError" in ended.stderr


def test_an_exception_inside_the_prover_is_an_error_result(certctl, folder, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("PROVED everything")

    monkeypatch.setattr(door, "verify", broken)
    code, out, _ = certctl("verify", folder / "loop.requirement.toml", "--force")
    assert code == 2 and ends(out) == "ERROR loop asymptotic_stability_roa code=INTERNAL at=verify"


@pytest.mark.parametrize(("error", "code", "word"), [
    (Refusal(Code.BAD_PLANT, "plant", "no"), 2, "ERROR"), (Refusal(Code.UNSUPPORTED, "p", "no"), 3, "UNKNOWN"),
    (Refusal(Code.PLANT_MISMATCH, "p", "no"), 4, "REFUSED"), (ModuleNotFoundError("no casadi", name="casadi"), 2, "ERROR"),
    (KeyboardInterrupt(), 3, "UNKNOWN"), (MemoryError(), 2, "ERROR")])
def test_whatever_the_prover_raises_ends_orderly(certctl, folder, monkeypatch, error, code, word):
    def broken(*args, **options):
        raise error

    monkeypatch.setattr(door, "falsify", broken)
    ended, out, _ = certctl("falsify", folder / "loop.requirement.toml")
    assert ended == code and ends(out).startswith(f"{word} loop asymptotic_stability_roa code=")


def test_a_missing_part_names_the_extra(certctl, folder, monkeypatch):
    def broken(*args, **options):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(door, "verify", broken)
    code, out, _ = certctl("verify", folder / "loop.requirement.toml", "--force")
    assert code == 2 and "certctl[learn]" in out and "code=MISSING_EXTRA" in ends(out)


def test_the_readers_own_sentence_about_a_missing_part_is_kept(certctl, folder, monkeypatch):
    def broken(*args, **options):
        raise ImportError("this needs casadi; pip install certctl[model] brings it", name="casadi")

    monkeypatch.setattr("certctl.view.open_view", broken)
    code, out, err = certctl("show", folder / "loop.cert")
    assert (code, out) == (2, "") and "certctl: this needs casadi; pip install certctl[model] brings it" in err


def test_ctrl_c_is_undecided(certctl, folder, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("certctl.gatekeeper.gate", interrupted)
    code, out, err = certctl("gate", folder)
    assert (code, out) == (3, "") and "interrupted" in err


# ------------------------------------------------------------------------------------------------------------ verify and falsify

def test_an_existing_bundle_is_kept_without_force(certctl, folder, monkeypatch):
    monkeypatch.setattr(door, "verify", lambda *args, **options: pytest.fail("the prover was called"))
    before = digest_of(folder / "loop.cert")
    code, out, _ = certctl("verify", folder / "loop.requirement.toml")
    assert code == 2 and "--force" in out and "code=USAGE" in ends(out)
    assert digest_of(folder / "loop.cert") == before


def test_a_missing_requirement_is_an_error(certctl, tmp_path):
    for command in ("verify", "falsify"):
        code, out, _ = certctl(command, tmp_path / "a.requirement.toml")
        assert code == 2 and "code=MISSING_FILE" in ends(out)


def test_verify_hands_its_options_to_the_prover(certctl, folder, monkeypatch):
    seen = {}

    def fake(requirement, out, **options):
        seen.update(options, requirement=requirement, out=out)
        options["progress"](Progress("shell-1", 0.5, -1.0, 3, 1.0, None))
        receipt = kernel.check(folder / "loop.cert", requirement)
        return Verdict("PROVED", None, None, receipt.message, "loop", receipt.property, receipt, folder / "loop.cert", 1.25)

    monkeypatch.setattr(door, "verify", fake)
    code, out, _ = certctl("verify", folder / "loop.requirement.toml", "-o", folder / "b.cert", "--budget", "7", "--workers", "2", "--resume")
    assert code == 0 and PROVED.fullmatch(ends(out)) and "search=1.2s" in ends(out)
    assert (seen["requirement"], seen["out"]) == (folder / "loop.requirement.toml", folder / "b.cert")
    assert set(seen) - {"requirement", "out"} <= set(inspect.signature(TRUE_VERIFY).parameters)
    assert (seen["budget"], seen["workers"], seen["resume"], seen["force"]) == (7.0, 2, True, False)


@pytest.mark.parametrize(("outcome", "code", "exit_"), [
    ("REFUTED", "COUNTEREXAMPLE", 1), ("REFUSED", "DECREASE", 1), ("UNKNOWN", "BUDGET", 3), ("UNKNOWN", "INTERRUPTED", 3),
    ("ERROR", "BAD_REQUIREMENT", 2), ("PROVED", None, 2), ("FINE", None, 2)])
def test_every_verdict_ends_with_its_exit_code(certctl, folder, monkeypatch, outcome, code, exit_):
    verdict = Verdict(outcome, code, "shell-1", "why", "loop", counterexample={"x": [0.5, -0.25], "why": "V grows", "trajectory": None})
    monkeypatch.setattr(door, "verify", lambda *args, **options: verdict)
    ended, out, _ = certctl("verify", folder / "loop.requirement.toml", "--force")
    assert ended == exit_ and OTHER.fullmatch(ends(out))
    ended, out, _ = certctl("verify", folder / "loop.requirement.toml", "--force", "--output-format", "json")
    assert ended == exit_ and set(json.loads(out)) >= KEYS and json.loads(out)["region"] is None


def test_a_search_for_counterexamples_never_proves(certctl, folder, monkeypatch):
    receipt = kernel.check(folder / "loop.cert")
    monkeypatch.setattr(door, "falsify", lambda *args, **options: Verdict("PROVED", None, None, "", "loop", receipt=receipt))
    code, out, _ = certctl("falsify", folder / "loop.requirement.toml")
    assert code == 2 and ends(out).startswith("ERROR loop ")


def test_falsify_finds_a_true_violation_and_none_where_there_is_none(certctl, folder):
    code, out, _ = certctl("falsify", folder / "loop.requirement.toml", "--budget", "5")
    assert code == 3 and ends(out).startswith("UNKNOWN loop ")
    (folder / "controller.onnx").write_bytes(linear_controller((0.0, 2.0)))
    code, out, _ = certctl("falsify", folder / "loop.requirement.toml", "--budget", "5", "--output-format", "json")
    assert code == 1 and json.loads(out)["outcome"] == "REFUTED"


# ------------------------------------------------------------------------------------------------------------ check and gate

def test_check_says_when_the_question_came_from_the_bundle(certctl, folder):
    code, out, _ = certctl("check", folder / "loop.cert")
    assert code == 0 and "requirement=embedded" in out.splitlines() and PROVED.fullmatch(ends(out))
    code, out, _ = certctl("check", folder / "loop.cert", "--requirement", folder / "loop.requirement.toml")
    assert code == 0 and "requirement=embedded" not in out and PROVED.fullmatch(ends(out))


def test_check_prints_the_json_of_the_contract(certctl, folder):
    code, out, err = certctl("check", folder / "loop.cert", "--output-format", "json")
    data = json.loads(out)
    assert code == 0 and set(data) >= KEYS and (data["outcome"], data["requirement"]) == ("PROVED", "embedded")
    assert data["region"]["level"] == 0.05 and 0 < data["region"]["volume_lower_bound"] < 0.1405
    assert "requirement=embedded" in err


@pytest.mark.threat("T20")
@pytest.mark.threat("T21")
def test_a_forged_receipt_or_report_does_not_help_a_broken_bundle(certctl, folder):
    bundle = folder / "loop.cert"
    assert certctl("check", bundle, "--output-format", "json")[0] == 0
    (bundle / "check.json").write_text('{"outcome": "ACCEPTED"}', encoding="utf-8")
    (bundle / "report.html").write_text("PROVED", encoding="utf-8")
    swap_controller(bundle, linear_controller((0.0, 2.0)))
    for command in ("check", "show", "digest"):
        code, out, _ = certctl(command, bundle)
        assert code == 4 and "PROVED" not in out


def test_the_gate_prints_one_line_each_and_counts(certctl, folder):
    write_case(folder / "second", "second")
    code, out, err = certctl("gate", folder)
    lines = out.splitlines()
    assert code == 1 and len(lines) == 2 and PROVED.fullmatch(lines[0]) and OTHER.fullmatch(lines[1])
    assert "1 deployable, 1 refused" in err and "policy digest " in err
    code, out, _ = certctl("gate", folder, "--output-format", "json")
    data = json.loads(out)
    assert code == 1 and (data["deployable"], data["refused"]) == (1, 1)
    assert [set(item) >= KEYS for item in data["controllers"]] == [True, True]


@pytest.mark.threat("T19")
def test_a_gate_that_matched_nothing_is_exit_5(certctl, tmp_path):
    code, out, _ = certctl("gate", tmp_path)
    assert code == 5 and ends(out).startswith("REFUSED gate - code=NOTHING_TO_CHECK at=")
    code, out, _ = certctl("gate", tmp_path, "--output-format", "json")
    assert code == 5 and json.loads(out)["controllers"] == []


@pytest.mark.threat("T18")
def test_the_gate_takes_a_pinned_policy_digest(certctl, folder):
    _, _, err = certctl("gate", folder)
    digest = err.split("policy digest ")[1].split()[0]
    assert certctl("gate", folder, "--policy-digest", digest)[0] == 0
    (folder / "loop.requirement.toml").write_text("", encoding="utf-8")
    code, out, _ = certctl("gate", folder, "--policy-digest", digest)
    assert code == 4 and "code=POLICY_CHANGED" in ends(out)


def test_a_page_in_a_bundle_under_another_name_is_a_wrong_call(certctl, folder):
    code, _, err = certctl("report", folder / "loop.cert", "-o", folder / "loop.cert" / "other.html")
    assert code == 2 and err.endswith("any other file would make the kernel refuse the bundle\n") and "internal" not in err


# ------------------------------------------------------------------------------------------------------------ help, hash, environment

def test_help_prints_the_exit_codes(certctl):
    for arguments in (["--help"], ["check", "--help"], ["gate", "-h"]):
        code, out, _ = certctl(*arguments)
        words = " ".join(out.replace("│", " ").split())
        assert code == 0 and "2 > 4 > 1 > 3 > 5 > 0" in words and "0 proved, accepted" in words


def test_version(certctl):
    assert certctl("--version")[:2] == (0, f"certctl {__version__}\n")


def test_digest_of_a_file_and_of_a_bundle(certctl, folder):
    assert certctl("digest", folder / "controller.onnx")[1].startswith(f"sha256:{sha256_of(folder / 'controller.onnx')}  ")
    assert certctl("digest", folder / "loop.cert")[1].startswith(f"sha256:{digest_of(folder / 'loop.cert')}  ")


def test_blas_is_told_to_use_one_thread_unless_the_user_says_otherwise():
    program = "import os, certctl.cli.main\nprint(os.environ['OPENBLAS_NUM_THREADS'])"
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    for given, expected in ((None, "1"), ("3", "3")):
        ended = subprocess.run([sys.executable, "-c", program], env=environment | ({"OPENBLAS_NUM_THREADS": given} if given else {}),
                               capture_output=True, text=True, check=True)
        assert ended.stdout.strip() == expected


def test_asking_for_help_loads_nothing_heavy():
    program = ("import sys\nfrom certctl.cli.main import run\nassert run(['--help']) == 0\n"
               "heavy = {'torch', 'casadi', 'onnx', 'scipy', 'matplotlib', 'verifiers.prove'}\nassert not heavy & set(sys.modules)")
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_the_module_runs_as_a_program(folder):
    root = Path(door.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-m", "certctl", "check", str(folder / "loop.cert")], capture_output=True, text=True, cwd=root)
    assert ended.returncode == 0 and PROVED.fullmatch(ends(ended.stdout))
