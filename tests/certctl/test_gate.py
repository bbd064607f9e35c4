"""The gate: what it cannot pair it refuses, what it finds it checks now, and nothing found is not a pass."""

from __future__ import annotations

import json
import shutil

import pytest
from small_bundles import linear_controller, prove, swap_controller, write_case

from certctl.cli.exit_codes import combine, exit_code
from certctl.gatekeeper import BadPolicy, gate
from verifiers.kernel.check import Receipt, check


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one certified controller, made once and copied."""
    folder = tmp_path_factory.mktemp("gate") / "policies"
    prove(write_case(folder))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A private copy of the certified folder."""
    return shutil.copytree(made, tmp_path / "policies")


def verdict(report):
    """Codes of a report in order, and its exit code."""
    return [r.code for r in report.controllers], int(combine(exit_code(r.outcome, r.code) for r in report.controllers))


def policy(folder, text):
    """Write certctl.toml into a folder."""
    (folder / "certctl.toml").write_text(text, encoding="utf-8")
    return folder / "certctl.toml"


BOTH = '["asymptotic_stability_roa", "forward_invariance"]'
ENTRY = '[[controller]]\npath = "controller.onnx"\nrequirement = "loop.requirement.toml"\nbundle = "loop.cert"\n'


@pytest.mark.threat("T19")
def test_an_empty_folder_is_nothing_to_check(tmp_path):
    assert verdict(gate([tmp_path])) == ([], 5)


@pytest.mark.threat("T19")
def test_a_policy_that_lists_nothing_is_nothing_to_check(tmp_path):
    assert verdict(gate([tmp_path], policy(tmp_path, '[gate]\nminimum = "L2"\n'))) == ([], 5)


@pytest.mark.threat("T19")
def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        gate([tmp_path / "absent"])


@pytest.mark.threat("T19")
@pytest.mark.parametrize("name", ["new.onnx", "deep/er/new.onnx", "NEW.ONNX", "model.safetensors", ".hidden/new.onnx", "fake.cert/new.onnx"])
def test_a_controller_that_nothing_names_is_refused(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert verdict(gate([folder])) == ([None, "UNNAMED_CONTROLLER"], 1)


@pytest.mark.threat("T19")
@pytest.mark.parametrize(("name", "data"), [
    ("law.json", b""), ("deep/LAW.JSON", b"{}"), ("tank.law.json", b"{}"), ("other.json", b'{"format": "certctl-law/1", "tree": []}'),
    ("late.json", b'{"tree": [' + b"0, " * (1 << 19) + b'0], "format": "certctl-law/1"}')])
def test_an_explicit_law_that_nothing_names_is_refused(folder, name, data):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    assert verdict(gate([folder])) == ([None, "UNNAMED_CONTROLLER"], 1)
    assert verdict(gate([], policy(folder, ENTRY))) == ([None, "UNNAMED_CONTROLLER"], 1)
    assert verdict(gate([folder / name])) == (["UNNAMED_CONTROLLER"], 1)


def test_other_json_files_are_no_controllers(folder):
    (folder / "check.json").write_text('{"format": "certctl-report/1"}', encoding="utf-8")
    (folder / "outlaw.json").write_text("{}", encoding="utf-8")
    assert verdict(gate([folder])) == ([None], 0)


@pytest.mark.threat("T19")
def test_a_controller_behind_a_link_is_seen(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "new.onnx").write_bytes(b"x")
    (folder / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    assert verdict(gate([folder])) == ([None, "UNNAMED_CONTROLLER"], 1)


def test_a_single_controller_file_needs_a_requirement_beside_it(folder, tmp_path):
    assert verdict(gate([folder / "controller.onnx"])) == ([None], 0)
    (tmp_path / "alone.onnx").write_bytes(b"x")
    assert verdict(gate([tmp_path / "alone.onnx"])) == (["UNNAMED_CONTROLLER"], 1)


@pytest.mark.threat("T19")
def test_listing_one_controller_does_not_let_another_one_through(folder):
    (folder / "new.onnx").write_bytes(b"x")
    assert verdict(gate([folder], policy(folder, ENTRY))) == ([None, "UNNAMED_CONTROLLER"], 1)
    assert verdict(gate([], policy(folder, ENTRY))) == ([None, "UNNAMED_CONTROLLER"], 1)


def test_a_requirement_without_bundle_is_refused(folder):
    shutil.rmtree(folder / "loop.cert")
    assert verdict(gate([folder])) == (["NO_BUNDLE"], 1)


def test_a_missing_controller_is_an_error(folder):
    (folder / "controller.onnx").unlink()
    assert verdict(gate([folder])) == (["MISSING_FILE"], 2)


def test_a_requirement_that_cannot_be_read_is_an_error_and_hides_nothing(folder):
    (folder / "loop.requirement.toml").write_text("property = [", encoding="utf-8")
    codes, exit_ = verdict(gate([folder]))
    assert (codes, exit_) == (["BAD_REQUIREMENT", "UNNAMED_CONTROLLER"], 2)


@pytest.mark.threat("T01")
def test_changed_weights_are_an_integrity_failure(folder):
    (folder / "controller.onnx").write_bytes(linear_controller((0.0, -2.5)))
    assert verdict(gate([folder])) == (["CONTROLLER_MISMATCH"], 4)


@pytest.mark.threat("T01")
def test_the_gate_compares_the_controller_itself(folder, monkeypatch):
    accepted = check(folder / "loop.cert", folder / "loop.requirement.toml")
    monkeypatch.setattr("verifiers.kernel.check.check", lambda bundle, requirement: accepted)
    assert verdict(gate([folder])) == ([None], 0)
    (folder / "controller.onnx").write_bytes(linear_controller((0.0, -2.5)))
    assert verdict(gate([folder])) == (["CONTROLLER_MISMATCH"], 4)


@pytest.mark.threat("T01")
def test_weights_changed_in_controller_and_bundle_alike_are_an_integrity_failure(folder):
    other = linear_controller((0.0, -2.5))
    (folder / "controller.onnx").write_bytes(other)
    swap_controller(folder / "loop.cert", other)
    assert verdict(gate([folder])) == (["DIGEST_MISMATCH"], 4)


@pytest.mark.threat("T03")
def test_a_valid_bundle_of_another_question_does_not_pass(folder):
    requirement = folder / "loop.requirement.toml"
    requirement.write_text(requirement.read_text(encoding="utf-8").replace("1/10", "1/5"), encoding="utf-8")
    codes, exit_ = verdict(gate([folder]))
    assert (codes, exit_) == (["REQUIREMENT_MISMATCH"], 4)


@pytest.mark.threat("T20")
@pytest.mark.threat("T21")
def test_a_stale_or_forged_receipt_or_report_changes_nothing(folder):
    bundle = folder / "loop.cert"
    (folder / "controller.onnx").write_bytes(linear_controller((0.0, -2.5)))
    before = verdict(gate([folder]))
    (bundle / "check.json").write_text(json.dumps({"outcome": "ACCEPTED", "code": None, "level": "L3"}), encoding="utf-8")
    (bundle / "report.html").write_text("<h1>PROVED</h1>", encoding="utf-8")
    assert verdict(gate([folder])) == before == (["CONTROLLER_MISMATCH"], 4)


@pytest.mark.threat("T20")
def test_a_forged_refusal_does_not_matter_either(folder):
    (folder / "loop.cert" / "check.json").write_text('{"outcome": "REFUSED"}', encoding="utf-8")
    assert verdict(gate([folder])) == ([None], 0)


def test_the_embedded_requirement_is_never_used(folder, monkeypatch):
    seen = []

    def fake(bundle, requirement=None):
        seen.append(requirement)
        return Receipt("ACCEPTED", None, None, "", "loop", "asymptotic_stability_roa", "L2", requirement_source="embedded")

    monkeypatch.setattr("verifiers.kernel.check.check", fake)
    assert verdict(gate([folder])) == (["INTERNAL"], 2)
    assert seen == [folder / "loop.requirement.toml"]


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("rule", "code"), [
    ('allowed_properties = ["forward_invariance"]', "PROPERTY_NOT_ALLOWED"), ('minimum = "L3"', "LEVEL_TOO_LOW"),
    ('allowed_properties = ["asymptotic_stability_roa"]', None), ('minimum = "L2"', None), ('minimum = "L0"', None)])
def test_the_policy_decides_which_evidence_is_enough(folder, rule, code):
    assert verdict(gate([folder], policy(folder, f"[gate]\n{rule}\n{ENTRY}"))) == ([code], 0 if code is None else 1)


@pytest.mark.threat("T04")
@pytest.mark.parametrize(("gate_rule", "rule", "code"), [
    ("", 'minimum = "L3"', "LEVEL_TOO_LOW"), ('minimum = "L1"', 'minimum = "L2"', None), ("", 'minimum = "L2"', None),
    ("", 'allowed_properties = ["forward_invariance"]', "PROPERTY_NOT_ALLOWED"),
    (f"allowed_properties = {BOTH}", 'allowed_properties = ["forward_invariance"]', "PROPERTY_NOT_ALLOWED"),
    (f"allowed_properties = {BOTH}", 'allowed_properties = ["asymptotic_stability_roa"]', None)])
def test_one_controller_may_have_tighter_rules(folder, gate_rule, rule, code):
    assert verdict(gate([folder], policy(folder, f"[gate]\n{gate_rule}\n{ENTRY}{rule}\n"))) == ([code], 0 if code is None else 1)


@pytest.mark.threat("T18")
@pytest.mark.parametrize(("gate_rule", "rule"), [
    ("", 'minimum = "L1"'), ('minimum = "L3"', 'minimum = "L2"'), ("", "minimum = 2"), ("", "allowed_properties = []"),
    ('allowed_properties = ["forward_invariance"]', 'allowed_properties = ["forward_invariance", "asymptotic_stability_roa"]')])
def test_no_controller_may_have_looser_rules_than_the_gate(folder, gate_rule, rule):
    with pytest.raises(BadPolicy, match="controller"):
        gate([folder], policy(folder, f"[gate]\n{gate_rule}\n{ENTRY}{rule}\n"))


@pytest.mark.parametrize("text", [
    "[gate", "gate = 3", "[gates]\n", '[gate]\nminimum = "L4"\n', "[gate]\nminimum = 2\n", "[gate]\nallowed_properties = []\n",
    '[gate]\nallowed_properties = "x"\n', '[gate]\nmin = "L2"\n', "controller = 1", '[[controller]]\npath = "a"\n',
    '[[controller]]\nrequirement = "a"\n', f'{ENTRY}skip = true\n', ENTRY.replace('"loop.cert"', "3"),
    ENTRY + ENTRY.replace("[[", "[").replace("]]", "]")])
def test_a_policy_that_cannot_be_followed_is_an_error(folder, text):
    with pytest.raises(BadPolicy, match=r"certctl\.toml"):
        gate([folder], policy(folder, text))


def test_two_policies_need_a_choice(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    policy(folder, ENTRY), policy(other, ENTRY)
    with pytest.raises(BadPolicy, match="--policy"):
        gate([folder, other])


def test_the_policy_of_a_folder_is_used_without_being_named(folder):
    policy(folder, '[gate]\nallowed_properties = ["forward_invariance"]\n' + ENTRY)
    assert verdict(gate([folder])) == (["PROPERTY_NOT_ALLOWED"], 1)


@pytest.mark.threat("T18")
def test_a_policy_or_requirement_edited_after_it_was_pinned_is_an_integrity_failure(folder):
    path = policy(folder, f'[gate]\nminimum = "L2"\n{ENTRY}')
    pinned = gate([folder], path).policy_digest
    assert verdict(gate([folder], path, pinned=pinned)) == ([None], 0)
    assert verdict(gate([folder], path, pinned=f"sha256:{pinned}")) == ([None], 0)
    requirement = folder / "loop.requirement.toml"
    before = requirement.read_bytes()
    requirement.write_bytes(before + b"\n")
    assert verdict(gate([folder], path, pinned=pinned)) == (["POLICY_CHANGED"], 4)
    requirement.write_bytes(before)
    path.write_text(ENTRY, encoding="utf-8")
    assert verdict(gate([folder], path, pinned=pinned)) == (["POLICY_CHANGED"], 4)


@pytest.mark.threat("T18")
def test_the_pin_covers_requirements_that_are_paired_without_a_policy(folder):
    pinned = gate([folder]).policy_digest
    shutil.copy(folder / "loop.requirement.toml", folder / "weaker.requirement.toml")
    assert verdict(gate([folder], pinned=pinned)) == (["POLICY_CHANGED"], 4)
    assert verdict(gate([folder], pinned="")) == (["POLICY_CHANGED"], 4)


def test_the_policy_digest_does_not_depend_on_the_place(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved" / "again")
    assert gate([folder]).policy_digest == gate([moved]).policy_digest


def test_controllers_in_bundles_and_virtual_environments_are_not_controllers_in_the_folder(folder):
    environment = folder / ".venv" / "lib"
    environment.mkdir(parents=True)
    (folder / ".venv" / "pyvenv.cfg").write_text("home = x\n", encoding="utf-8")
    (environment / "test.onnx").write_bytes(b"x")
    report = gate([folder])
    assert verdict(report) == ([None], 0)
    assert (report.deployable, report.refused) == (1, 0)


def test_one_bad_controller_does_not_hide_another_good_one(folder):
    write_case(folder / "second", gains=(0.0, -3.0))
    report = gate([folder])
    assert verdict(report) == ([None, "NO_BUNDLE"], 1)
    assert (report.deployable, report.refused) == (1, 1)
