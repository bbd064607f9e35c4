r"""Signatures: a DSSE envelope over the very bytes of certificate.json that the kernel hashed, with ed25519 keys.

What is signed is :math:`\mathrm{PAE}(t, b)`, "DSSEv1" and the lengths and values of payload type t and payload b, separated by blanks [1]_.  The
payload is the in-toto statement ``certificate.json`` [2]_, byte for byte.

A signature counts for a check only when the digest of the bundle that *follows from the signed payload* equals the bundle digest in the kernel's
receipt.  Both are sha256 over the same list, in which ``certificate.json`` stands with the sha256 of its bytes; so, as long as nobody finds a
collision, the bytes verified here are the bytes checked there, whatever happened to the folder in between (T17).

References
----------
.. [1] DSSE: Dead Simple Signing Envelope, protocol and envelope, version 1.0.2, https://github.com/secure-systems-lab/dsse
.. [2] in-toto Attestation Framework, Statement v1 and its payload type ``application/vnd.in-toto+json``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifiers.kernel.bundle import MAX_CERTIFICATE, read_file
from verifiers.kernel.codes import Refusal
from verifiers.kernel.strict import read_json, walk

if TYPE_CHECKING:
    from verifiers.kernel.check import Receipt

ENVELOPE = "certificate.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PASSPHRASE = "CERTCTL_KEY_PASSPHRASE"
MAX_ENVELOPE, MAX_SIGNATURES = 2 * MAX_CERTIFICATE, 64
_KEY = re.compile(r"ed25519:([A-Za-z0-9+/]{43}=)", re.ASCII)


class SignatureFault(Exception):
    """No signature that counts: the code (``UNSIGNED`` or ``BAD_SIGNATURE``) and one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Key:
    """A public ed25519 key that somebody trusts: a name for people, and the 32 bytes."""

    name: str
    raw: bytes

    @property
    def identifier(self) -> str:
        """The envelope's ``keyid``, sha256 of the 32 bytes: a hint that saves time and is never believed."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def text(self) -> str:
        """The key as it stands in certctl.toml and in ``.pub`` files."""
        return "ed25519:" + base64.b64encode(self.raw).decode("ascii")


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope, read and not verified: payload type, payload, and pairs of keyid and signature."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE version 1: what is signed, in which type and payload cannot be confused."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def parse_key(text: str, name: str = "") -> Key:
    """Read ``ed25519:BASE64``, as in certctl.toml or on the first line of a ``.pub`` file.

    Raises
    ------
    ValueError
        When this is no such key; one sentence.
    """
    found = _KEY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:60]!r} is no public key; write ed25519: and the 44 characters that certctl keygen wrote")
    raw = base64.b64decode(found[1])
    return Key(name or f"ed25519 {hashlib.sha256(raw).hexdigest()[:12]}", raw)


def read_key(path: Path) -> Key:
    """Read a ``.pub`` file; the key is called as the file is.

    Raises
    ------
    ValueError
        When the file cannot be read or holds no key.
    """
    try:
        text = path.read_text(encoding="utf-8")[:4096]
    except (OSError, ValueError) as error:
        raise ValueError(f"the public key {path} cannot be read: {error}") from None
    return parse_key((text.splitlines() or [""])[0], path.stem)


def bundle_digest(payload: bytes) -> str:
    """The digest of the bundle whose certificate.json these bytes are, from the sha256 values that they list.

    It is the kernel's digest when the kernel accepts the bundle; for any other bytes it is some text that equals no receipt's.

    Raises
    ------
    Refusal
        When the bytes are not strict JSON.
    """
    top = read_json(payload, "certificate.json")
    predicate = top.get("predicate") if isinstance(top, dict) else None
    kept = {key: value for key, value in predicate.items() if key != "producer"} if isinstance(predicate, dict) else {}
    listed = {str(item.get("name")): str(item["sha256"]) for _, item in walk(kept) if isinstance(item, dict) and "sha256" in item}
    listed["certificate.json"] = hashlib.sha256(payload).hexdigest()
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in sorted(listed.items())).encode("utf-8")).hexdigest()


def signed_by(bundle: Path, receipt: Receipt, keys: Sequence[Key], least: int = 1) -> tuple[Key, ...]:
    """The keys that have signed what the kernel accepted.

    Parameters
    ----------
    bundle : Path
        The bundle's folder; only its envelope is read, once.
    receipt : Receipt
        The kernel's own answer of this run.
    keys : sequence of Key
        Whom to trust; all others are ignored.
    least : int
        How many different ones of them must have signed.

    Returns
    -------
    tuple of Key
        At least ``least`` different keys.

    Raises
    ------
    SignatureFault
        ``UNSIGNED`` without an envelope, ``BAD_SIGNATURE`` for everything else that is not enough.
    """
    if receipt.outcome != "ACCEPTED" or receipt.bundle_digest is None:
        raise SignatureFault("BAD_SIGNATURE", "the kernel has not accepted this bundle, so no signature of it counts")
    try:
        data = read_file(bundle / ENVELOPE, ENVELOPE, MAX_ENVELOPE)
    except Refusal as no:
        if not os.path.lexists(bundle / ENVELOPE):
            raise SignatureFault("UNSIGNED", f"{bundle} is not signed: there is no {ENVELOPE}; run certctl sign") from None
        raise SignatureFault("BAD_SIGNATURE", f"{ENVELOPE}: {no.message}") from None
    envelope = read_envelope(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureFault("BAD_SIGNATURE", f"{ENVELOPE} holds {envelope.payload_type[:60]!r}, not {PAYLOAD_TYPE}")
    try:
        digest = bundle_digest(envelope.payload)
    except Refusal as no:
        raise SignatureFault("BAD_SIGNATURE", f"what was signed is no certificate: {no.message}") from None
    if digest != receipt.bundle_digest:
        raise SignatureFault("BAD_SIGNATURE", "what was signed is not the certificate that the kernel has just checked; sign the bundle again")
    message = pae(envelope.payload_type, envelope.payload)
    found = tuple(key for key in {key.raw: key for key in keys}.values() if any(_verifies(key, sig, message) for _, sig in envelope.signatures))
    if not len(found) >= max(least, 1):
        names = ", ".join(key.name for key in keys)
        raise SignatureFault("BAD_SIGNATURE", f"{len(found)} of the {least} signatures that are demanded verify, by keys of: {names}")
    return found


def read_envelope(data: bytes) -> Envelope:
    """Read the JSON of an envelope; fields that DSSE does not know are ignored, as it demands.

    Raises
    ------
    SignatureFault
        ``BAD_SIGNATURE`` when a field is missing, wrongly typed or no base64, a key stands twice, or there are too many signatures.
    """
    try:
        table = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
        listed = table["signatures"]
        if not (isinstance(listed, list) and 0 < len(listed) <= MAX_SIGNATURES and type(table["payloadType"]) is str):
            raise ValueError("it has no signature, too many, or no payload type")
        pairs = tuple((str(item.get("keyid", "")), _base64(item["sig"])) for item in listed)
        return Envelope(table["payloadType"], _base64(table["payload"]), pairs)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SignatureFault("BAD_SIGNATURE", f"{ENVELOPE} is no DSSE envelope, remove it: {type(error).__name__} {error}"[:200]) from None


def sign(payload: bytes, private: Any, present: Envelope | None = None) -> bytes:
    """The JSON of an envelope over a payload, signed with a private key; signatures of others over the same payload are kept.

    Parameters
    ----------
    payload : bytes
        The bytes of certificate.json.
    private : Ed25519PrivateKey
        As :func:`read_private_key` returns it.
    present : Envelope, optional
        An envelope that lies there already.
    """
    raw = private.public_key().public_bytes_raw()
    own = Key("", raw).identifier
    same = present is not None and (present.payload_type, present.payload) == (PAYLOAD_TYPE, payload)
    pairs = [*((k, s) for k, s in (present.signatures if same and present is not None else ()) if k != own),
             (own, private.sign(pae(PAYLOAD_TYPE, payload)))]
    table = {"payload": _text(payload), "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": k, "sig": _text(s)} for k, s in sorted(pairs)]}
    return (json.dumps(table, indent=1) + "\n").encode("ascii")


def new_private_key() -> tuple[bytes, Key]:
    """A new key pair: the private key as PEM (encrypted with the passphrase in ``CERTCTL_KEY_PASSPHRASE`` where it is set), and the public one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    secret = os.environ.get(PASSPHRASE, "").encode("utf-8")
    lock = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    return pem, Key("", private.public_key().public_bytes_raw())


def read_private_key(path: Path) -> Any:
    """Read a PEM file that :func:`new_private_key` wrote.

    Raises
    ------
    ValueError
        When it cannot be read, is another kind of key, or the passphrase is missing or wrong; one sentence without the key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secret = os.environ.get(PASSPHRASE, "").encode("utf-8") or None
    try:
        private = load_pem_private_key(path.read_bytes(), secret)
    except OSError as error:
        raise ValueError(f"the private key {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ValueError(f"{path} is no private key that can be read; set {PASSPHRASE} where it is encrypted, and only there") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"{path} is not an ed25519 key; certctl keygen makes one")
    return private


def _verifies(key: Key, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _base64(text: object) -> bytes:
    """Standard or URL-safe base64, both of which DSSE allows."""
    if type(text) is not str:
        raise ValueError("a value is no text")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a value is no base64: {error}") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def names(keys: Iterable[Key]) -> tuple[str, ...]:
    """The keys' names, for a result."""
    return tuple(key.name for key in keys)
