"""``load_deployable``: bytes that the kernel accepted just now, or an exception."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from small_bundles import linear_controller, prove, swap_controller, write_case

import certctl
import verifiers.kernel.check as kernel
from certctl import NotDeployable, load_deployable


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one certified controller, made once and copied."""
    folder = tmp_path_factory.mktemp("api") / "policies"
    prove(write_case(folder))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A private copy of the certified folder."""
    return shutil.copytree(made, tmp_path / "policies")


def refused(folder):
    """The code with which the folder's bundle is refused."""
    with pytest.raises(NotDeployable) as no:
        load_deployable(folder / "loop.cert", folder / "loop.requirement.toml")
    assert no.value.code in str(no.value) and no.value.message
    return no.value.code


@pytest.mark.threat("T17")
def test_a_controller_swapped_between_check_and_load_is_refused(folder, monkeypatch):
    true_check = kernel.check

    def check_then_swap(bundle, requirement=None):
        receipt = true_check(bundle, requirement)
        swap_controller(bundle, linear_controller((0.0, 2.0)))
        return receipt

    monkeypatch.setattr(kernel, "check", check_then_swap)
    assert refused(folder) == "CONTROLLER_MISMATCH"


@pytest.mark.threat("T17")
def test_a_controller_replaced_by_a_link_or_removed_after_the_check_is_refused(folder, monkeypatch):
    true_check = kernel.check

    def check_then_link(bundle, requirement=None):
        receipt = true_check(bundle, requirement)
        (bundle / "controller.onnx").unlink()
        (bundle / "controller.onnx").symlink_to(folder / "controller.onnx")
        return receipt

    monkeypatch.setattr(kernel, "check", check_then_link)
    assert refused(folder) == "UNSAFE_PATH"
    monkeypatch.setattr(kernel, "check", lambda bundle, requirement: replace(true_check(bundle), outcome="ACCEPTED", requirement_source="given",
                                                                             controller_sha256="0" * 64))
    (folder / "loop.cert" / "controller.onnx").unlink()
    assert refused(folder) == "MISSING_FILE"


@pytest.mark.threat("T17")
def test_what_is_returned_is_what_was_hashed(folder):
    deployable = load_deployable(str(folder / "loop.cert"), folder / "loop.requirement.toml")
    assert hashlib.sha256(deployable.controller).hexdigest() == deployable.sha256 == deployable.receipt.controller_sha256
    assert deployable.controller == (folder / "controller.onnx").read_bytes()
    assert deployable.receipt.requirement_source == "given"


@pytest.mark.threat("T01")
def test_changed_weights_are_refused(folder):
    swap_controller(folder / "loop.cert", linear_controller((0.0, 2.0)))
    assert refused(folder) == "DIGEST_MISMATCH"


def test_a_missing_bundle_or_requirement_is_refused(folder):
    with pytest.raises(NotDeployable, match="MISSING_FILE"):
        load_deployable(folder / "absent.cert", folder / "loop.requirement.toml")
    with pytest.raises(NotDeployable, match="MISSING_FILE"):
        load_deployable(folder / "loop.cert", folder / "absent.requirement.toml")


@pytest.mark.parametrize("outcome", ["REFUSED", "DECLINED", "ERROR", "accepted", "PROVED", ""])
def test_only_the_word_accepted_deploys(folder, monkeypatch, outcome):
    receipt = replace(kernel.check(folder / "loop.cert", folder / "loop.requirement.toml"), outcome=outcome, code=None)
    monkeypatch.setattr(kernel, "check", lambda bundle, requirement: receipt)
    assert refused(folder) == "INTERNAL"


def test_an_answer_about_the_embedded_requirement_or_without_a_controller_does_not_deploy(folder, monkeypatch):
    receipt = kernel.check(folder / "loop.cert", folder / "loop.requirement.toml")
    for wrong in (replace(receipt, requirement_source="embedded"), replace(receipt, controller_sha256=None)):
        monkeypatch.setattr(kernel, "check", lambda bundle, requirement, wrong=wrong: wrong)
        assert refused(folder) == "INTERNAL"


@pytest.mark.parametrize("name", certctl.__all__)
def test_public_names_load(name):
    assert callable(getattr(certctl, name)) and name in dir(certctl)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="frobnicate"):
        _ = certctl.frobnicate


def test_importing_certctl_and_checking_need_neither_solver_nor_learner_nor_pictures(folder):
    program = ("import sys, certctl\nlean = set(sys.modules)\n"
               f"certctl.load_deployable({str(folder / 'loop.cert')!r}, {str(folder / 'loop.requirement.toml')!r})\n"
               f"assert certctl.gate([{str(folder)!r}]).deployable == 1\n"
               "heavy = {'torch', 'casadi', 'onnx', 'scipy', 'matplotlib', 'control', 'cvxpy', 'typer', 'rich', 'verifiers.prove'}\n"
               "assert not heavy & set(sys.modules), heavy & set(sys.modules)\nassert 'numpy' not in lean\n")
    subprocess.run([sys.executable, "-c", program], check=True)
