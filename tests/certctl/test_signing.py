"""Signatures: the encoding of DSSE, keys, and that only a signature of what the kernel has just accepted counts."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from dataclasses import replace

import pytest
from small_bundles import linear_controller, prove, sha256_of, write_case

import verifiers.kernel.check as kernel
from certctl import NotDeployable, load_deployable, signing
from certctl.cli.exit_codes import combine, exit_code
from certctl.cli.main import run
from certctl.gatekeeper import BadPolicy, gate
from certctl.signing import ENVELOPE, SignatureFault, bundle_digest, pae, parse_key, read_envelope, signed_by

pytest.importorskip("cryptography")
ENTRY = '[[controller]]\npath = "controller.onnx"\nrequirement = "loop.requirement.toml"\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two key pairs and one certified controller, signed with the first key."""
    folder = tmp_path_factory.mktemp("signing") / "policies"
    prove(write_case(folder))
    for name in ("one", "two"):
        assert run(["keygen", "-o", str(folder / name)]) == 0
    assert run(["sign", str(folder / "loop.cert"), "--key", str(folder / "one")]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A private copy, which is also the current folder."""
    copy = shutil.copytree(made, tmp_path / "policies")
    monkeypatch.chdir(copy)
    return copy


def key(folder, name):
    """The text of a public key."""
    return (folder / f"{name}.pub").read_text(encoding="utf-8").strip()


def policy(folder, signers, gate_rule=""):
    """A policy with these signers."""
    tables = "".join(f'[[signer]]\nname = "{name}"\nkey = "{text}"\n' for name, text in signers.items())
    (folder / "certctl.toml").write_text(f"{ENTRY}{tables}[gate]\n{gate_rule}\n", encoding="utf-8")


def judged(folder):
    """Codes and exit code of the gate."""
    found = gate([folder]).controllers
    return [r.code for r in found], int(combine(exit_code(r.outcome, r.code) for r in found))


def change(folder, **fields):
    """Replace fields of the envelope."""
    path = folder / "loop.cert" / ENVELOPE
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def test_the_encoding_is_that_of_the_specification():
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("", b"") == b"DSSEv1 0  0 " and pae("é", "é".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xa9"
    assert pae("a 1 b", b"c") != pae("a", b"b c")


def test_a_signature_of_the_specification_of_ed25519_verifies():
    """RFC 8032, section 7.1, test 2: the library underneath does what the standard says."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                              "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
    assert signing._verifies(signing.Key("a", public), signature, b"\x72") and not signing._verifies(signing.Key("a", public), signature, b"\x73")


def test_the_payload_is_the_certificate_byte_for_byte_and_its_digest_the_kernels(folder):
    envelope = read_envelope((folder / "loop.cert" / ENVELOPE).read_bytes())
    assert envelope.payload_type == "application/vnd.in-toto+json" and envelope.payload == (folder / "loop.cert" / "certificate.json").read_bytes()
    assert bundle_digest(envelope.payload) == kernel.check(folder / "loop.cert").bundle_digest
    assert [k for k, _ in envelope.signatures] == [parse_key(key(folder, "one")).identifier]


def test_a_signed_bundle_passes_and_says_who_signed(folder, capsys):
    policy(folder, {"release": key(folder, "one"), "other": key(folder, "two")})
    assert judged(folder) == ([None], 0) and gate([folder]).controllers[0].signed_by == ("release",)
    assert run(["check", "loop.cert", "--signed-by", "one.pub"]) == 0 and "signed by    one" in capsys.readouterr().out
    assert load_deployable("loop.cert", "loop.requirement.toml", [key(folder, "one")]).sha256 == sha256_of(folder / "controller.onnx")


def test_signatures_of_several_people_add_up(folder):
    policy(folder, {"a": key(folder, "one"), "b": key(folder, "two")}, "signatures = 2")
    assert judged(folder) == (["BAD_SIGNATURE"], 4)
    assert run(["sign", "loop.cert", "--key", "two"]) == 0 and run(["sign", "loop.cert", "--key", "two"]) == 0
    assert judged(folder) == ([None], 0) and len(read_envelope((folder / "loop.cert" / ENVELOPE).read_bytes()).signatures) == 2
    assert run(["check", "loop.cert", "--signed-by", "one.pub", "--signed-by", "two.pub"]) == 0


@pytest.mark.threat("T21")
def test_an_unsigned_or_wrongly_signed_bundle_is_an_integrity_failure(folder, capsys):
    policy(folder, {"b": key(folder, "two")})
    assert judged(folder) == (["BAD_SIGNATURE"], 4) and run(["check", "loop.cert", "--signed-by", "two.pub"]) == 4
    assert "code=BAD_SIGNATURE" in capsys.readouterr().out
    with pytest.raises(NotDeployable, match="BAD_SIGNATURE"):
        load_deployable("loop.cert", "loop.requirement.toml", [key(folder, "two")])
    (folder / "loop.cert" / ENVELOPE).unlink()
    assert judged(folder) == (["UNSIGNED"], 4) and run(["check", "loop.cert", "--signed-by", "one.pub"]) == 4
    policy(folder, {})
    assert judged(folder) == ([None], 0), "without signers in the policy nothing is asked"


def _forged(folder, name):
    envelope = json.loads((folder / "loop.cert" / ENVELOPE).read_text(encoding="utf-8"))
    payload, (entry,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
    sig = bytearray(base64.b64decode(entry["sig"]))
    sig[3] ^= 1
    b64 = lambda data: base64.b64encode(data).decode()  # noqa: E731
    return {
        "one bit of the signature": {"signatures": [{**entry, "sig": b64(sig)}]}, "no signature": {"signatures": []},
        "a short signature": {"signatures": [{**entry, "sig": b64(sig[:63])}]}, "no list": {"signatures": {"sig": entry["sig"]}},
        "another payload": {"payload": b64(payload + b" ")}, "an empty payload": {"payload": ""}, "no json": {"payload": b64(b"\xff")},
        "a payload that is a list": {"payload": b64(b"[]")}, "another type": {"payloadType": "text/plain"}, "no type": {"payloadType": None},
        "no base64": {"payload": "*"}, "too many signatures": {"signatures": [{**entry, "sig": b64(sig)}] * 65},
    }[name]


@pytest.mark.threat("T21")
@pytest.mark.parametrize("name", [
    "one bit of the signature", "no signature", "a short signature", "no list", "another payload", "an empty payload", "no json",
    "a payload that is a list", "another type", "no type", "no base64", "too many signatures"])
def test_each_fault_of_an_envelope_is_seen(folder, name):
    policy(folder, {"a": key(folder, "one")})
    assert judged(folder) == ([None], 0)
    change(folder, **_forged(folder, name))
    assert judged(folder) == (["BAD_SIGNATURE"], 4)


@pytest.mark.threat("T15")
@pytest.mark.parametrize("data", [
    b"", b"{", b"[]", b"\xff", b'{"payload":"","payload":"","payloadType":"a","signatures":[{"sig":""}]}', b"[" * 100_000])
def test_what_is_no_envelope_is_refused(data):
    with pytest.raises(SignatureFault, match="no DSSE envelope"):
        read_envelope(data)


def test_fields_that_dsse_does_not_know_and_a_lying_keyid_are_ignored_and_base64_may_be_url_safe(folder):
    policy(folder, {"a": key(folder, "one")})
    envelope = json.loads((folder / "loop.cert" / ENVELOPE).read_text(encoding="utf-8"))
    (entry,) = envelope["signatures"]
    change(folder, extra=1, payload=envelope["payload"].replace("+", "-").replace("/", "_"), signatures=[{**entry, "keyid": "x", "more": 2}])
    assert judged(folder) == ([None], 0)


@pytest.mark.threat("T17")
def test_a_true_signature_of_another_certificate_does_not_count(folder, tmp_path):
    """The signed bundle is swapped in after the kernel has accepted an unsigned one: the payload is not what the kernel hashed."""
    policy(folder, {"a": key(folder, "one")})
    other = tmp_path / "other"
    prove(write_case(other), assumptions=["nothing is assumed"])
    shutil.copy(folder / "loop.cert" / ENVELOPE, other / "loop.cert" / ENVELOPE)
    receipt = kernel.check(other / "loop.cert", other / "loop.requirement.toml")
    assert receipt.outcome == "ACCEPTED"
    with pytest.raises(SignatureFault, match="not the certificate that the kernel has just checked") as no:
        signed_by(folder / "loop.cert", receipt, [parse_key(key(folder, "one"))])
    assert no.value.code == "BAD_SIGNATURE"
    with pytest.raises(SignatureFault, match="not accepted"):
        signed_by(folder / "loop.cert", replace(kernel.check(folder / "loop.cert"), outcome="REFUSED"), [parse_key(key(folder, "one"))])


@pytest.mark.threat("T17")
def test_an_envelope_behind_a_link_is_refused(folder, tmp_path):
    policy(folder, {"a": key(folder, "one")})
    shutil.move(folder / "loop.cert" / ENVELOPE, tmp_path / "envelope")
    (folder / "loop.cert" / ENVELOPE).symlink_to(tmp_path / "envelope")
    codes, exit_ = judged(folder)
    assert exit_ == 4 and codes in (["UNSAFE_PATH"], ["BAD_SIGNATURE"])


@pytest.mark.threat("T17")
def test_a_signature_is_no_substitute_for_the_kernel(folder, capsys):
    (folder / "loop.cert" / "controller.onnx").write_bytes(linear_controller((0.0, 2.0)))
    policy(folder, {"a": key(folder, "one")})
    assert judged(folder) == (["DIGEST_MISMATCH"], 4) and run(["check", "loop.cert", "--signed-by", "one.pub"]) == 4
    (folder / "loop.cert" / ENVELOPE).unlink()
    assert run(["sign", "loop.cert", "--key", "one"]) == 4 and not (folder / "loop.cert" / ENVELOPE).exists()


def test_proving_again_takes_the_signature_away(folder):
    prove(folder / "loop.requirement.toml", force=True)
    assert not (folder / "loop.cert" / ENVELOPE).exists()


# ------------------------------------------------------------------------------------------------------------ policies and keys

@pytest.mark.parametrize("text", [
    "[signer]\nname='a'\n", "[[signer]]\nname='a'\n", "[[signer]]\nname='a'\nkey='x'\n", "[[signer]]\nname='a'\nkey='KEY'\nrole='b'\n",
    "[[signer]]\nname=''\nkey='KEY'\n", "[[signer]]\nname='a'\nkey='KEY'\n[[signer]]\nname='b'\nkey='KEY'\n", "[gate]\nsignatures=1\n",
    "[[signer]]\nname='a'\nkey='KEY'\n[gate]\nsignatures=0\n", "[[signer]]\nname='a'\nkey='KEY'\n[gate]\nsignatures=2\n",
    "[[signer]]\nname='a'\nkey='KEY'\n[gate]\nsignatures=true\n", "[[signer]]\nname='a'\nkey='ed25519:AAAA'\n"])
def test_a_policy_whose_signers_make_no_sense_is_an_error(folder, text):
    (folder / "certctl.toml").write_text(ENTRY + text.replace("KEY", key(folder, "one")), encoding="utf-8")
    with pytest.raises(BadPolicy, match=r"certctl\.toml"):
        gate([folder])


def test_a_key_is_secret_and_never_overwritten(folder, capsys):
    assert (folder / "one").stat().st_mode & 0o077 == 0 and b"PRIVATE" not in (folder / "one.pub").read_bytes()
    before = (folder / "one").read_bytes()
    assert run(["keygen", "-o", "one"]) == 2 and (folder / "one").read_bytes() == before
    (folder / "three.pub").write_text("", encoding="utf-8")
    assert run(["keygen", "-o", "three"]) == 2 and not (folder / "three").exists()


def test_an_encrypted_key_needs_its_passphrase(folder, monkeypatch, capsys):
    monkeypatch.setenv(signing.PASSPHRASE, "correct horse")
    assert run(["keygen", "-o", "locked"]) == 0 and b"ENCRYPTED" in (folder / "locked").read_bytes()
    assert run(["sign", "loop.cert", "--key", "locked"]) == 0
    monkeypatch.setenv(signing.PASSPHRASE, "wrong")
    assert run(["sign", "loop.cert", "--key", "locked"]) == 2
    monkeypatch.delenv(signing.PASSPHRASE)
    assert run(["sign", "loop.cert", "--key", "locked"]) == 2 and signing.PASSPHRASE in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ["sign", "loop.cert", "--key", "nowhere"], ["sign", "loop.cert", "--key", "one.pub"], ["check", "loop.cert", "--signed-by", "one"],
    ["check", "loop.cert", "--signed-by", "nowhere"], ["check", "loop.cert", "--signed-by", "one.pub", "--signed-by", "one.pub"],
    ["sign", "loop.cert"], ["keygen"], ["keygen", "-o", "no/such/folder/key"]])
def test_a_wrong_call_is_exit_2(folder, capsys, arguments):
    assert run(arguments) == 2 and capsys.readouterr().err.startswith("certctl: ")


def test_without_the_extra_one_sentence_says_so(folder, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    policy(folder, {"a": key(folder, "one")})
    for arguments in (["gate", "."], ["sign", "loop.cert", "--key", "one"], ["keygen", "-o", "new"],
                      ["check", "loop.cert", "--signed-by", "one.pub"]):
        assert run(arguments) == 2
        captured = capsys.readouterr()
        assert "certctl[sign]" in captured.out + captured.err and "PROVED" not in captured.out
    assert run(["check", "loop.cert"]) == 0, "what asks for no signature needs no extra"
