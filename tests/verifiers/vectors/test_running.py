"""The check in other hands: without asserts, isolated from the environment, and in parts that are joined."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import build
import pytest
from repository import ROOT

from verifiers import parts as parts_of_a_check
from verifiers.kernel.check import check
from verifiers.parts import check_by, join
from verifiers.region import attraction

RUN = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'kernel'; runpy.run_module('verifiers.kernel', run_name='__main__')"


def run(*arguments: str, flags: tuple[str, ...] = ("-I", "-O")) -> tuple[int, dict]:
    """Exit code and receipt of the kernel in a process of its own."""
    done = subprocess.run([sys.executable, *flags, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.threat("T22")
@pytest.mark.parametrize("flags", [("-I",), ("-I", "-O"), ("-I", "-OO")])
def test_without_asserts_the_kernel_says_the_same(flags, twin):
    good, bad = twin("pendulum"), twin("pendulum")
    bad.tree("shell-1", lambda data: data[:-1])
    bad.save()
    exit_code, receipt = run(str(good.bundle), "--requirement", str(good.requirement), flags=flags)
    here = check(good.bundle, good.requirement)
    assert (exit_code, receipt["outcome"], receipt["leaves"], receipt["bundle_digest"]) == (0, "ACCEPTED", here.leaves, here.bundle_digest)
    exit_code, receipt = run(str(bad.bundle), "--requirement", str(bad.requirement), flags=flags)
    assert (exit_code, receipt["outcome"], receipt["code"]) == (1, "REFUSED", "TREE_INCOMPLETE")


@pytest.mark.threat("T22")
def test_a_module_beside_the_bundle_does_not_shadow_numpy(twin):
    made = twin("pendulum")
    (made.folder / "numpy.py").write_text("raise SystemExit(0)\n")
    done = subprocess.run([sys.executable, "-I", "-c", RUN, str(made.bundle)], cwd=made.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "ACCEPTED")


def test_an_integrity_failure_and_a_part_have_their_exit_codes(twin):
    made = twin("pendulum")
    assert run(str(made.bundle), "--part", "0/2")[0] == 3
    (made.bundle / "controller.onnx").write_bytes(b"")
    assert run(str(made.bundle))[0] == 4


@pytest.mark.threat("T12", "T21")
def test_parts_join_only_when_all_of_one_bundle_are_there(bases):
    here, there = bases("network_shell") / "loop.cert", bases("discrete_shell") / "loop.cert"
    parts = [check(here, None, (i, 3)) for i in range(3)]
    assert {(p.outcome, p.code, p.level) for p in parts} == {("DECLINED", "PART_MISSING", None)}
    whole = join(parts, 3)
    assert (whole.outcome, whole.level, whole.region) == ("ACCEPTED", "L2", check(here).region)
    foreign, complete = check(there, None, (2, 3)), check(here)
    for wrong, count in ((parts[:2], 3), ([*parts, parts[0]], 3), ([parts[0]] * 3, 3), ([*parts[:2], foreign], 3), (parts, 2), (parts, 4), ([], 0),
                         ([], 1), ([complete, *parts[:2]], 3), ([complete, check(there)], 2), ([*parts[:2], replace(parts[2], name="other")], 3),
                         (parts[:1], 1)):
        joined = join(wrong, count)
        assert (joined.outcome, joined.code, joined.level) == ("DECLINED", "PART_MISSING", None)
    assert join([complete], 1).outcome == "ACCEPTED"


@pytest.mark.threat("T12")
def test_a_large_bundle_is_checked_in_parts_which_say_what_the_whole_says(monkeypatch, twin, bases):
    monkeypatch.setattr(parts_of_a_check, "LARGE", 1)
    folder = bases("network_shell")
    whole, joined = check(folder / "loop.cert", folder / "loop.requirement.toml"), check_by(2, folder / "loop.cert", folder / "loop.requirement.toml")
    assert joined.at is None and replace(joined, check_s=whole.check_s, obligations=()) == replace(whole, obligations=())
    for ours, theirs in zip(joined.obligations, whole.obligations, strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    assert check_by(1, folder / "loop.cert", None).outcome == "ACCEPTED"
    bad = twin("network_shell")
    bad.tree("shell-1", lambda data: data[:-1])
    bad.save()
    assert check_by(2, bad.bundle, bad.requirement).code == "TREE_INCOMPLETE"
    assert check_by(2, folder / "nothing.cert", None).outcome == "ERROR"


def test_a_refused_part_refuses_the_whole_whatever_stands_beside_it(twin):
    good, bad = twin("network_shell"), twin("network_shell")
    bad.tree("shell-1", lambda data: data + b"\x80")
    bad.save()
    for receipts in ([check(good.bundle), check(bad.bundle)], [check(bad.bundle, None, (0, 2)), check(good.bundle, None, (1, 2))]):
        joined = join(receipts, 2)
        assert (joined.outcome, joined.code) == ("REFUSED", "TREE_TRAILING")


def test_every_faulty_batch_is_in_some_part(twin):
    """All leaves of a wrong kind, spread over batches: the parts together see what the whole sees."""
    made = twin("network_shell")
    made.tree("shell-1", lambda data: data.replace(b"\x88", b"\x8a"))
    made.save()
    parts = [check(made.bundle, None, (i, 5)) for i in range(5)]
    assert [p.code for p in parts if p.outcome == "REFUSED"] and join(parts, 5).outcome == "REFUSED"


@pytest.mark.parametrize("part", [(0, 0), (-1, 2), (2, 2), (1, 1)])
def test_a_part_that_does_not_exist_is_an_error(part, bases):
    receipt = check(bases("pendulum") / "loop.cert", None, part)
    assert (receipt.outcome, receipt.code) == ("ERROR", "BAD_NUMBER")


def test_where_a_process_of_the_check_is_killed_the_whole_is_checked(monkeypatch, twin, bases):
    class Killed:
        """An executor whose processes have died."""

        def __init__(self, *arguments, **options):
            raise BrokenProcessPool

    monkeypatch.setattr(parts_of_a_check, "LARGE", 1)
    monkeypatch.setattr(parts_of_a_check, "ProcessPoolExecutor", Killed)
    folder, bad = bases("network_shell"), twin("network_shell")
    assert check_by(2, folder / "loop.cert", folder / "loop.requirement.toml").outcome == "ACCEPTED"
    bad.tree("shell-1", lambda data: data[:-1])
    bad.save()
    assert check_by(2, bad.bundle, bad.requirement).code == "TREE_INCOMPLETE"


def test_where_the_regions_own_axes_do_not_end_the_plants_do(tmp_path, monkeypatch):
    monkeypatch.setattr(attraction, "TURNED", 0.0)
    verdict = build.prove(build.turned_shell(tmp_path))
    proofs = {o["id"]: o["proof"] for o in json.loads((verdict.bundle / "certificate.json").read_text())["predicate"]["obligations"]}
    assert verdict.outcome == "PROVED" and "frame" not in proofs["shell-1"] and "frame" in proofs["volume"]
