"""A bundle is read strictly: every edit, trick of the parser, path, link and extra file has its code; then what a good one gives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import CONTROLLER, LYAPUNOV, REQUIREMENT, TREE, only, refresh, tamper, tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from repository import ROOT

from verifiers.bundle_writer import reference
from verifiers.kernel import bundle as bundle_module
from verifiers.kernel.bundle import forbid_pickle, open_bundle, read_file
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.strict import MAX_DEPTH, MAX_STRING, read_json, take


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh tiny bundle."""
    return tiny(tmp_path / "tiny.cert")


def refusal(path: Path) -> Refusal:
    with pytest.raises(Refusal) as caught:
        open_bundle(path)
    return caught.value


def edit(old: str, new: str):
    """An edit of the certificate's text that must hit exactly once."""
    def change(folder: Path) -> None:
        text = (folder / "certificate.json").read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        (folder / "certificate.json").write_text(text.replace(old, new), encoding="utf-8")
    return change


# parser tricks ------------------------------------------------------------------------------------------------------

@pytest.mark.threat("T15")
@pytest.mark.parametrize(("data", "code"), [
    (b'{"a": 1, "a": 1}', Code.MALFORMED_CERTIFICATE), (b'{"a": {"b": 1, "\\u0062": 2}}', Code.MALFORMED_CERTIFICATE),
    (b"NaN", Code.MALFORMED_CERTIFICATE), (b"[Infinity]", Code.MALFORMED_CERTIFICATE), (b"[-Infinity]", Code.MALFORMED_CERTIFICATE),
    (b"1.0", Code.MALFORMED_CERTIFICATE), (b"1e5", Code.MALFORMED_CERTIFICATE), (b"1e999", Code.MALFORMED_CERTIFICATE),
    (b"01", Code.MALFORMED_CERTIFICATE), (b"+1", Code.MALFORMED_CERTIFICATE), (b"0x10", Code.MALFORMED_CERTIFICATE),
    ("١".encode(), Code.MALFORMED_CERTIFICATE), ("1١".encode(), Code.MALFORMED_CERTIFICATE),
    (b"{} {}", Code.MALFORMED_CERTIFICATE), (b"{}\x00", Code.MALFORMED_CERTIFICATE), (b"{},", Code.MALFORMED_CERTIFICATE),
    (b"", Code.MALFORMED_CERTIFICATE), (b"{'a': 1}", Code.MALFORMED_CERTIFICATE), (b"[1,]", Code.MALFORMED_CERTIFICATE),
    (b"// c\n{}", Code.MALFORMED_CERTIFICATE), (b"\xef\xbb\xbf{}", Code.MALFORMED_CERTIFICATE), ("{}".encode("utf-16"), Code.MALFORMED_CERTIFICATE),
    (b'"\xff"', Code.MALFORMED_CERTIFICATE), (b'"\xed\xa0\x80"', Code.MALFORMED_CERTIFICATE), (b'"\\ud800"', Code.MALFORMED_CERTIFICATE),
    (b'{"\\udfff": 1}', Code.MALFORMED_CERTIFICATE), (b'"\\u0000"', Code.MALFORMED_CERTIFICATE), (b'"\x00"', Code.MALFORMED_CERTIFICATE),
    (b'"\\u001b[2K"', Code.MALFORMED_CERTIFICATE), (b'"\\u202e"', Code.MALFORMED_CERTIFICATE), (b'{"a\\n": 1}', Code.MALFORMED_CERTIFICATE),
], ids=str)
def test_json_with_two_meanings_is_malformed(data, code):
    with pytest.raises(Refusal) as caught:
        read_json(data, "file")
    assert (caught.value.code, caught.value.at) == (code, "file")
    assert str(caught.value).isprintable()


@pytest.mark.threat("T23")
@pytest.mark.parametrize("data", [
    b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000, b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), b'{"a":' * 100_000,
    b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), b"9" * 100_000, b"-" + b"9" * 18,
    b'"' + b"a" * (MAX_STRING + 1) + b'"', b'{"' + b"a" * (MAX_STRING + 1) + b'": 1}',
], ids=["open", "nested", "one_too_deep", "objects", "one_object_too_deep", "digits", "nineteen", "string", "key"])
def test_json_bombs_are_declined(data):
    with pytest.raises(Refusal) as caught:
        read_json(data, "file")
    assert caught.value.code is Code.TOO_LARGE


def test_json_at_the_caps_is_read():
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "file")
    assert read_json(b"999999999999999999", "file") == 10**18 - 1
    assert read_json(b'"' + b"a" * MAX_STRING + b'"', "file") == "a" * MAX_STRING
    assert read_json('{"\\u00f6": [true, null, -1, "ö ∇V"]}'.encode(), "file") == {"ö": [True, None, -1, "ö ∇V"]}


@pytest.mark.parametrize(("table", "at", "place"), [
    ([], "claim", "claim"), ({"a": 1, "b": "x", "verdict": 1}, "claim", "claim.verdict"), ({"a": 1}, "claim", "claim.b"), ({"a": 1}, "", "b"),
    ({"a": True, "b": ""}, "claim", "claim.a"), ({"a": "1", "b": ""}, "claim", "claim.a"), ({"a": 1, "b": None}, "claim", "claim.b"),
    ({"a": 1, "b": "", "c": None}, "claim", "claim.c"), ({"a": 1, "b": "", "\x1b": 1}, "claim", r"claim.'\x1b'"),
])
def test_take_names_the_field(table, at, place):
    with pytest.raises(Refusal) as caught:
        take(table, at, {"a": int, "b": (str, list)}, {"c": dict})
    assert (caught.value.code, caught.value.at) == (Code.MALFORMED_CERTIFICATE, place)


def test_take_returns_what_is_there_and_none_for_what_is_not():
    assert take({"a": 1, "b": []}, "claim", {"a": int, "b": (str, list)}, {"c": dict}) == {"a": 1, "b": [], "c": None}


# the certificate's shape --------------------------------------------------------------------------------------------

SHAPES = {
    "verdict": (lambda s: s["predicate"].update(verdict="ACCEPTED"), Code.MALFORMED_CERTIFICATE, "predicate.verdict"),
    "level": (lambda s: s["predicate"].update(level="L3"), Code.MALFORMED_CERTIFICATE, "predicate.level"),
    "deployable": (lambda s: s["predicate"].update(deployable=True), Code.MALFORMED_CERTIFICATE, "predicate.deployable"),
    "beside_predicate": (lambda s: s.update(verdict="ACCEPTED"), Code.MALFORMED_CERTIFICATE, "verdict"),
    "in_reference": (lambda s: s["predicate"]["plant"].update(path="/etc/passwd"), Code.MALFORMED_CERTIFICATE, "predicate.plant.path"),
    "in_controller": (lambda s: s["predicate"]["controller"].update(opset=17), Code.MALFORMED_CERTIFICATE, "predicate.controller.opset"),
    "in_function": (lambda s: s["predicate"]["functions"]["local"].update(scale="2"), Code.MALFORMED_CERTIFICATE, "functions.local.scale"),
    "in_obligation": (lambda s: s["predicate"]["obligations"][0].update(ok=True), Code.MALFORMED_CERTIFICATE, "obligations[0].ok"),
    "no_claim": (lambda s: s["predicate"].pop("claim"), Code.MALFORMED_CERTIFICATE, "predicate.claim"),
    "claim_list": (lambda s: s["predicate"].update(claim=[]), Code.MALFORMED_CERTIFICATE, "predicate.claim"),
    "obligations_object": (lambda s: s["predicate"].update(obligations={}), Code.MALFORMED_CERTIFICATE, "predicate.obligations"),
    "proof_missing": (lambda s: s["predicate"]["obligations"][0].pop("proof"), Code.MALFORMED_CERTIFICATE, "obligations[0].proof"),
    "proof_kind": (lambda s: s["predicate"]["obligations"][0]["proof"].update(kind=1), Code.MALFORMED_CERTIFICATE, "obligations[0].proof.kind"),
    "proof_text": (lambda s: s["predicate"]["obligations"][0].update(proof="trust me"), Code.MALFORMED_CERTIFICATE, "obligations[0].proof"),
    "id_spaces": (lambda s: s["predicate"]["obligations"][0].update(id="a b"), Code.MALFORMED_CERTIFICATE, "obligations[0].id"),
    "id_twice": (lambda s: s["predicate"]["obligations"][1].update(id="equilibrium"), Code.UNEXPECTED_OBLIGATION, "equilibrium"),
    "assumption": (lambda s: s["predicate"]["assumptions"].append(1), Code.MALFORMED_CERTIFICATE, "predicate.assumptions"),
    "function_kind": (lambda s: s["predicate"]["functions"]["V"].update(kind="python"), Code.MALFORMED_CERTIFICATE, "functions.V"),
    "function_list_kind": (lambda s: s["predicate"]["functions"]["V"].update(kind=["onnx"]), Code.MALFORMED_CERTIFICATE, "functions.V"),
    "function_text": (lambda s: s["predicate"]["functions"].update(V="lyapunov.onnx"), Code.MALFORMED_CERTIFICATE, "functions.V"),
    "function_name": (lambda s: s["predicate"]["functions"].update({"": {"kind": "onnx"}}), Code.MALFORMED_CERTIFICATE, "functions"),
    "function_file": (lambda s: s["predicate"]["functions"]["V"].update(name="proof/shell.tree"), Code.MALFORMED_CERTIFICATE, "functions.V"),
    "producer_text": (lambda s: s["predicate"].update(producer="me"), Code.MALFORMED_CERTIFICATE, "predicate.producer"),
    "statement_type": (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), Code.UNSUPPORTED, "predicateType"),
    "predicate_type": (lambda s: s.update(predicateType="certctl/certificate/v2"), Code.UNSUPPORTED, "predicateType"),
    "format": (lambda s: s["predicate"].update(format="certctl-bundle/2"), Code.UNSUPPORTED, "predicate.format"),
    "controller_format": (lambda s: s["predicate"]["controller"].update(format="torch"), Code.MALFORMED_CERTIFICATE, "predicate.controller"),
    "controller_name": (lambda s: s["predicate"]["controller"].update(name="other.onnx"), Code.MALFORMED_CERTIFICATE, "predicate.controller"),
    "requirement_is_plant": (lambda s: s["predicate"].update(requirement=s["predicate"]["plant"]), Code.MALFORMED_CERTIFICATE,
                             "predicate.requirement"),
    "no_subject": (lambda s: s.update(subject=[]), Code.MALFORMED_CERTIFICATE, "subject"),
    "two_subjects": (lambda s: s["subject"].append(s["subject"][0]), Code.MALFORMED_CERTIFICATE, "subject"),
    "other_subject": (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), Code.MALFORMED_CERTIFICATE, "subject"),
    "more_digests": (lambda s: s["subject"][0]["digest"].update(md5="0" * 32), Code.MALFORMED_CERTIFICATE, "subject"),
    "sha_upper": (lambda s: s["predicate"]["plant"].update(sha256="A" * 64), Code.MALFORMED_CERTIFICATE, "'plant.json'"),
    "sha_short": (lambda s: s["predicate"]["plant"].update(sha256="a" * 63), Code.MALFORMED_CERTIFICATE, "'plant.json'"),
    "sha_number": (lambda s: tree(s).update(sha256=0), Code.MALFORMED_CERTIFICATE, "'proof/shell.tree'"),
    "bytes_text": (lambda s: tree(s).update(bytes="1"), Code.MALFORMED_CERTIFICATE, "'proof/shell.tree'"),
    "name_missing": (lambda s: tree(s).pop("name"), Code.MALFORMED_CERTIFICATE, "None"),
    "two_digests": (lambda s: s["predicate"]["claim"].update(x={"name": "plant.json", "sha256": "0" * 64}), Code.MALFORMED_CERTIFICATE, "plant.json"),
}


def tree(statement: dict) -> dict:
    """The reference to the proof tree."""
    return statement["predicate"]["obligations"][1]["proof"]["tree"]


@pytest.mark.threat("T15")
@pytest.mark.threat("T21")
@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_an_unknown_missing_or_wrong_field_is_refused(folder, case):
    change, code, at = case
    found = refusal(tamper(folder, change))
    assert (found.code, found.at) == (code, at)


@pytest.mark.threat("T15")
@pytest.mark.parametrize(("old", "new"), [
    ('"claim": {', '"claim": {}, "claim": {'), ('"claim": {', '"cl\\u0061im": {}, "claim": {'),
    ('"name": "tests"', '"name": "tests", "seconds": 0.5'),
    ('"name": "tests"', '"name": "tests", "name": "x"'), ('"name": "tests"', '"name": NaN'), ('"name": "tests"', '"name": "\\ud800"'),
], ids=["twice", "twice_escaped", "float", "producer_twice", "nan", "surrogate"])
def test_tricks_anywhere_in_the_certificate_are_refused_even_where_nothing_is_read(folder, old, new):
    edit(old, new)(folder)
    assert refusal(folder).code is Code.MALFORMED_CERTIFICATE


@pytest.mark.threat("T15")
@pytest.mark.parametrize("extra", [b"{}", b"\x00", b"\xff", b"trailing"])
def test_trailing_bytes_are_refused(folder, extra):
    with (folder / "certificate.json").open("ab") as file:
        file.write(extra)
    assert refusal(folder).code is Code.MALFORMED_CERTIFICATE


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("proof/shell.tree"),
                      lambda inner: (st.lists(inner, max_size=3)
                                     | st.dictionaries(st.sampled_from(["name", "sha256", "kind", "id", "x"]), inner, max_size=4)), max_leaves=6)


def places(item: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value as a path of keys."""
    yield path
    for key, child in item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ():
        yield from places(child, (*path, key))


@pytest.mark.threat("T15")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_at_a_place_of_the_certificate_is_read_or_refused(folder, data):
    file = folder / "certificate.json"
    genuine = file.read_bytes()
    statement = json.loads(genuine)
    *way, last = data.draw(st.sampled_from([place for place in places(statement) if place]))
    parent = statement
    for key in way:
        parent = parent[key]
    parent[last] = data.draw(VALUES)
    try:
        file.write_text(json.dumps(statement), encoding="utf-8")
        found = open_bundle(folder)
        assert found.digest == hashlib.sha256("".join(f"{k} {v}\n" for k, v in sorted(found.digests.items())).encode()).hexdigest()
    except Refusal as no:
        assert no.code is not Code.MISSING_FILE and str(no).isprintable()
    finally:
        file.write_bytes(genuine)


@pytest.mark.threat("T21")
def test_the_producer_is_never_read(folder):
    tamper(folder, lambda s: s["predicate"].update(producer={"verdict": "ACCEPTED", "level": "L3", "deployable": True, "sha256": 7, "name": "../x"}))
    assert not any("ACCEPTED" in str(v) for k, v in vars(open_bundle(folder)).items() if k != "path")


@pytest.mark.threat("T21")
def test_a_forged_report_beside_the_proof_changes_nothing(folder):
    before = open_bundle(folder)
    for name in ("check.json", "report.html", "region.png", "region.pdf", "region.svg"):
        (folder / name).write_text('{"outcome": "ACCEPTED", "level": "L3"}')
    after = open_bundle(folder)
    assert (after.digest, set(after.files)) == (before.digest, set(before.files))


@pytest.mark.threat("T21")
def test_a_file_beside_the_proof_cannot_be_referred_to(folder):
    (folder / "check.json").write_bytes(TREE)
    tamper(folder, lambda s: s["predicate"]["obligations"][1]["proof"].update(tree=reference("check.json", TREE)))
    assert refusal(folder).code is Code.UNSAFE_PATH


# paths, links and formats -------------------------------------------------------------------------------------------

@pytest.mark.threat("T16")
@pytest.mark.parametrize("name", [
    "/etc/passwd", "../secret", "..", ".", "", "proof/../plant.json", "proof/..", "proof//x", "proof/", "proof", "./plant.json", "proof/a/b", "a/b",
    "a..b", ".hidden", "proof/.hidden", "a\\b", "a b", "x\n", "~root", "C:x", "-rf", "ö.tree", "a\u2024tree", "x" * 200,
    "certificate.json", "report.html", "a.png",
], ids=ascii)
def test_names_that_are_not_plain_are_refused(folder, name):
    (folder.parent / "secret").write_bytes(TREE)
    tamper(folder, lambda s: tree(s).update(name=name))
    found = refusal(folder)
    if name == "x\n":
        assert found.code is Code.MALFORMED_CERTIFICATE
    elif name == "proof":
        assert found.code in (Code.UNSAFE_PATH, Code.UNLISTED_FILE)
    else:
        assert found.code is Code.UNSAFE_PATH
    assert str(found).isprintable()


@pytest.mark.threat("T16")
@pytest.mark.parametrize("name", ["controller.onnx", "plant.json", "requirement.toml", "certificate.json", "proof/shell.tree", "lyapunov.onnx"])
def test_a_link_in_place_of_a_file_is_refused(folder, name):
    elsewhere = folder.parent / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    assert refusal(folder).code is Code.UNSAFE_PATH


@pytest.mark.threat("T16")
def test_a_link_in_place_of_a_folder_is_refused(folder, tmp_path):
    (folder / "proof").rename(tmp_path / "elsewhere")
    (folder / "proof").symlink_to(tmp_path / "elsewhere")
    assert refusal(folder).code is Code.UNSAFE_PATH
    link = tmp_path / "link.cert"
    link.symlink_to(tiny(tmp_path / "good.cert"))
    assert refusal(link).code is Code.UNSAFE_PATH


@pytest.mark.threat("T16")
@pytest.mark.parametrize("name", ["proof/shell.tree", "extra", "check.json"])
def test_a_pipe_is_refused_and_not_waited_for(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert refusal(folder).code is Code.UNSAFE_PATH


@pytest.mark.threat("T16")
def test_a_dangling_link_that_nobody_reads_is_refused(folder):
    (folder / "check.json").symlink_to("nowhere")
    assert refusal(folder).code is Code.UNSAFE_PATH


@pytest.mark.threat("T16")
@pytest.mark.parametrize("name", [
    "extra.onnx", ".DS_Store", "proof/extra.tree", "proof/report.html", "sub/x", "check.json.bak", "conftest.py", "numpy.py", "verifiers/__init__.py",
])
def test_an_unlisted_file_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert refusal(folder).code is Code.UNLISTED_FILE


@pytest.mark.threat("T16")
def test_an_empty_folder_is_unlisted_and_so_is_a_file_called_proof(folder, tmp_path):
    (folder / "sub").mkdir()
    assert refusal(folder).code is Code.UNLISTED_FILE
    flat = tiny(tmp_path / "flat.cert")
    shutil.rmtree(flat / "proof")
    (flat / "proof").write_bytes(b"x")
    assert refusal(flat).code is Code.UNLISTED_FILE


@pytest.mark.threat("T16")
def test_an_unlisted_name_that_is_no_text_is_refused_in_printable_words(folder):
    Path(os.fsdecode(bytes(folder) + b"/\xff\x1b")).write_bytes(b"x")
    found = refusal(folder)
    assert found.code is Code.UNLISTED_FILE and str(found).isprintable()


@pytest.mark.threat("T16")
@pytest.mark.parametrize("name", ["proof/x.pkl", "weights.pt", "x.PTH", "proof/x.npy", "x.joblib", "controller.pickle"])
def test_a_pickle_is_refused_by_name(folder, name):
    tamper(folder, lambda s: tree(s).update(name=name))
    assert refusal(folder).code is Code.FORBIDDEN_FORMAT


PICKLES = {"protocol0": b"cposix\nsystem\n(S'true'\ntR.", "protocol0_list": b"(lp0\n.", "protocol1": b"]q\x00.", "protocol2": b"\x80\x02]q\x00.",
           "protocol4": b"\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00].", "torch_zip": b"PK\x03\x04archive/data.pkl"}


@pytest.mark.threat("T16")
@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES)
@pytest.mark.parametrize("name", ["controller.onnx", "lyapunov.onnx"])
def test_a_pickle_is_refused_by_its_bytes_even_with_fresh_digests(folder, name, data):
    (folder / name).write_bytes(data)
    assert refusal(folder).code is Code.DIGEST_MISMATCH
    assert refusal(refresh(folder)).code is Code.FORBIDDEN_FORMAT


def test_a_model_is_not_taken_for_a_pickle(cases):
    models = sorted(cases.glob("roa/*/*.onnx"))
    assert models
    for model in models:
        forbid_pickle(model.name, model.read_bytes())
    for data in (b"\x08\x03", b"\x80\x01", b"(a", b"\x08."):  # half of what marks a pickle marks none
        forbid_pickle("controller.onnx", data)


# digests and exchanged files ----------------------------------------------------------------------------------------

@pytest.mark.threat("T01")
@pytest.mark.parametrize("name", ["controller.onnx", "plant.json", "requirement.toml", "proof/shell.tree", "lyapunov.onnx"])
def test_a_flipped_bit_or_another_length_is_seen(folder, name):
    data = (folder / name).read_bytes()
    for k in range(0, 8 * len(data), 1 if len(data) < 60 else 7):
        changed = bytearray(data)
        changed[k // 8] ^= 1 << k % 8
        (folder / name).write_bytes(changed)
        assert refusal(folder).code is Code.DIGEST_MISMATCH
    for changed in (data[:-1], data + b"\n", b""):
        (folder / name).write_bytes(changed)
        assert refusal(folder).code is Code.DIGEST_MISMATCH
    (folder / name).unlink()
    assert refusal(folder).code is Code.MISSING_FILE


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_the_certificate_is_refused_or_changes_the_digest(folder, step):
    before = open_bundle(folder)
    data = (folder / "certificate.json").read_bytes()
    refused = 0
    for k in range(0, 8 * len(data), step):
        changed = bytearray(data)
        changed[k // 8] ^= 1 << k % 8
        (folder / "certificate.json").write_bytes(changed)
        try:
            after = open_bundle(folder)
        except Refusal:
            refused += 1
        else:
            assert after.digest != before.digest
    assert refused > 4 * len(data) // step


def test_fresh_digests_give_another_bundle(folder):
    before = open_bundle(folder)
    (folder / "controller.onnx").write_bytes(CONTROLLER[:-1] + b"!")
    after = open_bundle(refresh(folder))
    assert before.controller_sha256 != after.controller_sha256 and before.digest != after.digest


def test_a_wrong_number_of_bytes_is_refused(folder):
    found = refusal(tamper(folder, lambda s: tree(s).update(bytes=len(TREE) + 1)))
    assert (found.code, found.at) == (Code.DIGEST_MISMATCH, "proof/shell.tree")


@pytest.mark.threat("T17")
def test_a_file_exchanged_after_the_check_is_not_what_is_handed_on(folder):
    held = open_bundle(folder)
    for name in ("controller.onnx", "lyapunov.onnx", "proof/shell.tree"):
        (folder / name).write_bytes(b"exchanged")
    assert held.controller == CONTROLLER
    assert held.read(only(reference("lyapunov.onnx", LYAPUNOV)), "V") == LYAPUNOV
    shutil.rmtree(folder)
    assert held.read(reference("proof/shell.tree", TREE), "shell") == TREE


@pytest.mark.threat("T17")
def test_each_file_is_opened_once_so_the_bytes_hashed_are_the_bytes_parsed(folder, monkeypatch):
    opened: list[str] = []
    genuine = os.open

    def counting(path, flags, *rest):
        opened.append(Path(path).name)
        data = genuine(path, flags, *rest)
        Path(path).unlink()  # nothing is left to be read a second time
        return data

    monkeypatch.setattr(bundle_module.os, "open", counting)
    open_bundle(folder)
    assert sorted(opened) == sorted(["certificate.json", "controller.onnx", "lyapunov.onnx", "plant.json", "requirement.toml", "shell.tree"])


@pytest.mark.threat("T17")
def test_a_file_that_turns_into_a_link_or_pipe_between_look_and_open_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"good")
    was_regular = os.lstat(path)
    monkeypatch.setattr(bundle_module.os, "lstat", lambda _: was_regular)
    path.unlink()
    (tmp_path / "secret").write_bytes(b"secret")
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(Refusal) as caught:
        read_file(path, "file")
    assert caught.value.code is Code.MISSING_FILE
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Refusal) as caught:
        read_file(path, "file")
    assert caught.value.code is Code.UNSAFE_PATH


@pytest.mark.threat("T17")
@pytest.mark.parametrize("wrong", [
    {"name": "proof/shell.tree", "sha256": "0" * 64}, {"name": "proof/other.tree", "sha256": "0" * 64}, {"name": "proof/shell.tree"},
    "proof/shell.tree", None,
    {"name": "proof/shell.tree", "sha256": "0" * 64, "path": "x"}, {"name": "certificate.json", "sha256": "0" * 64},
])
def test_only_checked_files_are_handed_out(folder, wrong):
    with pytest.raises(Refusal) as caught:
        open_bundle(folder).read(wrong, "shell")
    assert caught.value.code is Code.MALFORMED_CERTIFICATE


# caps ---------------------------------------------------------------------------------------------------------------

@pytest.mark.threat("T23")
def test_a_certificate_over_the_cap_is_declined(folder, monkeypatch):
    size = (folder / "certificate.json").stat().st_size
    monkeypatch.setattr(bundle_module, "MAX_CERTIFICATE", size)
    open_bundle(folder)
    monkeypatch.setattr(bundle_module, "MAX_CERTIFICATE", size - 1)
    assert (refusal(folder).code, refusal(folder).at) == (Code.TOO_LARGE, "certificate.json")


@pytest.mark.threat("T23")
def test_files_over_the_cap_together_are_declined(folder, monkeypatch):
    total = sum(map(len, open_bundle(folder).files.values()))
    monkeypatch.setattr(bundle_module, "MAX_BYTES", total)
    open_bundle(folder)
    monkeypatch.setattr(bundle_module, "MAX_BYTES", total - 1)
    assert refusal(folder).code is Code.TOO_LARGE


@pytest.mark.threat("T23")
def test_a_sparse_giant_is_declined_without_being_read(folder):
    with (folder / "proof" / "shell.tree").open("r+b") as file:
        file.truncate(bundle_module.MAX_BYTES + 1)
    assert refusal(folder).code is Code.TOO_LARGE


@pytest.mark.threat("T22")
def test_optimised_python_and_shadowing_modules_change_nothing(folder):
    tamper(folder, lambda s: s["predicate"].update(verdict="ACCEPTED"))
    for name in ("json", "hashlib", "re", "verifiers"):
        (folder.parent / f"{name}.py").write_text("raise SystemExit(0)")
    code = (f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\nfrom verifiers.kernel.bundle import open_bundle\n"
            "from verifiers.kernel.codes import Refusal\ntry:\n    open_bundle(Path(sys.argv[1]))\n"
            "except Refusal as no:\n    sys.exit(40 + no.code.exit_code)")
    for flags in ([], ["-O"], ["-OO"]):
        done = subprocess.run([sys.executable, "-I", *flags, "-c", code, str(folder)], cwd=folder.parent, capture_output=True, check=False)
        assert done.returncode == 41, done.stderr


# absent and good ----------------------------------------------------------------------------------------------------

def test_absent_things_are_missing_files(tmp_path, folder):
    assert refusal(tmp_path / "none.cert").code is Code.MISSING_FILE
    assert refusal(folder / "plant.json").code is Code.MISSING_FILE
    (folder / "certificate.json").unlink()
    assert (refusal(folder).code, refusal(folder).at) == (Code.MISSING_FILE, "certificate.json")
    assert refusal(tmp_path).code is Code.MISSING_FILE


def test_a_good_bundle_gives_its_bytes(folder):
    found = open_bundle(folder)
    assert (found.requirement, found.controller) == (REQUIREMENT, CONTROLLER)
    assert found.controller_sha256 == hashlib.sha256(CONTROLLER).hexdigest()
    assert found.functions["local"] == {"kind": "quadratic", "matrix": [["1", "0"], ["0", "1"]], "center": ["0", "0"]}
    assert list(found.obligations) == ["equilibrium", "shell"] and found.claim == {"property": "asymptotic_stability_roa"}
    assert found.assumptions == ("The full state is measured.",)
    assert found.read(found.obligations["shell"]["tree"], "shell") == TREE


def test_the_digest_is_that_of_the_sorted_list_of_names_and_digests(folder):
    names = ["certificate.json", "controller.onnx", "lyapunov.onnx", "plant.json", "proof/shell.tree", "requirement.toml"]
    lines = "".join(f"{name} {hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n" for name in names)
    assert open_bundle(folder).digest == hashlib.sha256(lines.encode()).hexdigest()


def test_the_digest_does_not_depend_on_time_or_place(tmp_path):
    assert open_bundle(tiny(tmp_path / "a.cert")).digest == open_bundle(tiny(tmp_path / "b" / "c.cert")).digest


def test_a_plant_without_inputs_has_no_controller_and_is_itself_the_subject(tmp_path):
    folder = tiny(tmp_path / "free.cert", controller=None)
    found = open_bundle(folder)
    assert found.controller is None and found.controller_sha256 is None and not (folder / "controller.onnx").exists()
    assert json.loads((folder / "certificate.json").read_bytes())["subject"][0]["name"] == "plant.json"
    (folder / "controller.onnx").write_bytes(CONTROLLER)
    assert refusal(folder).code is Code.UNLISTED_FILE


# writing ------------------------------------------------------------------------------------------------------------

def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_existing_bundle_is_replaced_only_with_force(folder):
    (folder / "check.json").write_text("old")
    before = contents(folder)
    with pytest.raises(FileExistsError, match="--force"):
        tiny(folder, producer={"name": "second"})
    assert contents(folder) == before
    tiny(folder, producer={"name": "second"}, force=True)
    assert b"second" in (folder / "certificate.json").read_bytes() and not (folder / "check.json").exists()
    assert os.listdir(folder.parent) == [folder.name]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years")
    for out in (home, home / "thesis.tex"):
        with pytest.raises(FileExistsError, match="not a bundle"):
            tiny(out, force=True)
    assert contents(tmp_path) == {"home/thesis.tex": b"years"}


@pytest.mark.parametrize("fault", [
    {"files": {"lyapunov.onnx": LYAPUNOV}}, {"files": {"lyapunov.onnx": LYAPUNOV, "proof/shell.tree": TREE, "proof/extra.tree": b""}},
    {"files": {"lyapunov.onnx": LYAPUNOV, "proof/shell.tree": TREE + b"!"}}, {"claim": {"x": "\ud800"}}, {"claim": {"x": float("nan")}},
    {"claim": {"x": 0.5}}, {"files": {"../escape": b""}}, {"files": {"certificate.json": b""}}, {"claim": {"x": {1, 2}}}, {"assumptions": ["a\nb"]},
], ids=["missing", "unlisted", "digest", "surrogate", "nan", "float", "path", "certificate", "type", "newline"])
def test_a_fault_leaves_nothing_half_written(tmp_path, folder, fault):
    before = contents(tmp_path)
    for out in (folder, tmp_path / "new.cert"):
        with pytest.raises((Refusal, ValueError, TypeError)):
            tiny(out, **fault, force=True)
    assert contents(tmp_path) == before and os.listdir(tmp_path) == [folder.name]


@pytest.mark.parametrize("failing", [1, 2], ids=["moving the old one aside", "moving the new one in"])
def test_a_failed_exchange_restores_the_old_bundle(folder, monkeypatch, failing):
    before, count, genuine = contents(folder), 0, os.rename

    def rename(source, target):
        nonlocal count
        count += 1
        if count == failing:
            raise OSError("disk full")
        genuine(source, target)

    monkeypatch.setattr("verifiers.bundle_writer.os.rename", rename)
    with pytest.raises(OSError, match="disk full"):
        tiny(folder, producer={"name": "second"}, force=True)
    assert contents(folder) == before and os.listdir(folder.parent) == [folder.name]
