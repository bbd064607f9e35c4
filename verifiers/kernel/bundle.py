"""A bundle on disk: read once, safely, and hand out only the bytes whose sha256 was checked."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.strict import Types, read_json, take, walk

__all__ = ["Bundle", "forbid_pickle", "open_bundle", "read_file", "take"]

STATEMENT, PREDICATE, FORMAT = "https://in-toto.io/Statement/v1", "certctl/certificate/v1", "certctl-bundle/1"
MAX_CERTIFICATE, MAX_BYTES = 1 << 24, 1 << 31
_FILE: Mapping[str, Types] = {"name": str, "sha256": str}
_NAMES = {"requirement": "requirement.toml", "plant": "plant.json", "controller": "controller.onnx"}
_PARTS: Mapping[str, Types] = {"format": str, "requirement": dict, "plant": dict, "functions": dict, "claim": dict, "obligations": list,
                               "assumptions": list, "producer": dict}
_FUNCTIONS: Mapping[str, Mapping[str, Types]] = {"onnx": _FILE, "quadratic": {"matrix": list, "center": list}}
_PLAIN = re.compile(r"(proof/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:\[\]-]{0,127}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BESIDE = re.compile(r"check\.json|report\.html|[^/]*\.(png|pdf|svg)", re.ASCII)  # may lie in the folder, never read
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".dill", ".npy", ".npz")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every listed file was read once and has the listed sha256.

    Attributes
    ----------
    digest : str
        sha256 over the sorted lines ``"NAME SHA256\\n"`` of certificate.json and of all files that it lists.
    requirement, plant, controller : bytes
        The very bytes hashed; the controller is None for a plant without inputs.
    functions, claim : dict
        As written; the shape of each function is checked, its numbers and the claim are not.
    obligations : dict
        Obligation id to proof, as written (each has a text field ``kind``).
    assumptions : tuple of str
        Texts for the reader.
    files, digests : mapping
        Bytes of every listed file, and sha256 of these and of certificate.json.
    """

    path: Path
    digest: str
    requirement: bytes
    plant: bytes
    controller: bytes | None
    functions: dict[str, dict[str, Any]]
    claim: dict[str, Any]
    obligations: dict[str, dict[str, Any]]
    assumptions: tuple[str, ...]
    files: Mapping[str, bytes]
    digests: Mapping[str, str]

    @property
    def controller_sha256(self) -> str | None:
        """Digest of the controller, equal to the statement's subject (the subject is the plant where there is no controller)."""
        return self.digests.get("controller.onnx")

    def read(self, reference: object, at: str) -> bytes:
        """Return the checked bytes of a reference ``{name, sha256[, bytes]}`` that stands in the certificate.

        Raises
        ------
        Refusal
            ``MALFORMED_CERTIFICATE`` when this is not such a reference.
        """
        fields = take(reference, at, _FILE, {"bytes": int})
        _need(fields["name"] in self.files and fields["sha256"] == self.digests[fields["name"]], at,
              "no file of this name and sha256 is among those that were checked")
        return self.files[fields["name"]]


def read_file(path: Path, at: str, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file that is not a link.

    Raises
    ------
    Refusal
        ``MISSING_FILE``, ``UNSAFE_PATH`` (link, folder, device, pipe), or ``TOO_LARGE``.
    """
    special = Refusal(Code.UNSAFE_PATH, at, "this is a link, a folder or a special file where a regular file is expected")
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise special
        # the file may be exchanged between the two calls: open no link, wait for no pipe, and look again
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise special
            need(found.st_size <= limit, Code.TOO_LARGE, at, f"the file has {found.st_size} bytes where at most {limit} are read")
            return file.read(found.st_size)
    except OSError as error:
        raise Refusal(Code.MISSING_FILE, at, f"the file cannot be read ({error.strerror}); check the path") from None


def forbid_pickle(name: str, data: bytes) -> None:
    """Refuse (``FORBIDDEN_FORMAT``) a pickle or a container that may hold one, by its name and by its first and last bytes."""
    binary = data[:4] == b"PK\x03\x04" or (data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))
    text = data[:1] in (b"(", b")", b"]", b"}", b"c") and data.endswith(b".")
    need(not (name.lower().endswith(_PICKLES) or binary or text), Code.FORBIDDEN_FORMAT, name,
         "this is a pickle, or a file that may hold one; export the model as ONNX")


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's folder: strict certificate, plain names, no link, no unlisted file, every digest checked.

    The certificate's shape is checked and its claim is not: nothing is proved yet.

    Raises
    ------
    Refusal
        ``MISSING_FILE``, ``UNSAFE_PATH``, ``UNLISTED_FILE``, ``DIGEST_MISMATCH``, ``MALFORMED_CERTIFICATE``,
        ``UNEXPECTED_OBLIGATION`` (an id twice), ``FORBIDDEN_FORMAT``, ``UNSUPPORTED`` (another format), ``TOO_LARGE``.
    """
    need(not path.is_symlink(), Code.UNSAFE_PATH, path.name, "the bundle is a link; name the folder itself")
    present = set(_listing(path, ""))
    data = read_file(path / "certificate.json", "certificate.json", MAX_CERTIFICATE)
    fields = _statement(data)
    references = list(_references({key: value for key, value in fields.items() if key != "producer"}))
    functions = {_label(name, "functions"): _function(item, f"functions.{name}") for name, item in fields["functions"].items()}
    obligations = _obligations(fields["obligations"])
    digests: dict[str, str] = {}
    for reference in references:
        same = digests.setdefault(reference["name"], reference["sha256"]) == reference["sha256"]
        _need(same, reference["name"], "this file is listed twice with different digests")
    if unlisted := sorted(present - {*digests, "certificate.json"}):
        raise Refusal(Code.UNLISTED_FILE, f"{unlisted[0][:130]!a}", "certificate.json does not list this; remove it or write the bundle again")
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for name, digest in digests.items():
        files[name] = read_file(path / name, name, left)
        left -= len(files[name])
        need(hashlib.sha256(files[name]).hexdigest() == digest, Code.DIGEST_MISMATCH, name,
             "the sha256 differs from the one in certificate.json; restore the file or verify again")
        forbid_pickle(name, files[name] if name.endswith(".onnx") else b"")
    for reference in references:
        size = len(files[reference["name"]])
        need(reference.get("bytes", size) == size, Code.DIGEST_MISMATCH, reference["name"], "the number of bytes differs from certificate.json")
    digests["certificate.json"] = hashlib.sha256(data).hexdigest()
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return Bundle(path, hashlib.sha256(lines.encode("ascii")).hexdigest(), files["requirement.toml"], files["plant.json"],
                  files.get("controller.onnx"), functions, fields["claim"], obligations, tuple(fields["assumptions"]),
                  MappingProxyType(files), MappingProxyType(digests))


def _need(condition: object, at: str, sentence: str) -> None:
    need(condition, Code.MALFORMED_CERTIFICATE, at, sentence)


def _listing(folder: Path, prefix: str) -> Iterator[str]:
    """Names of what lies in the folder and must be listed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise Refusal(Code.MISSING_FILE, folder.name, f"the bundle's folder cannot be read ({error.strerror}); check the path") from None
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _listing(folder / entry.name, "proof/") if name == "proof" else [f"{name}/"]
        elif not entry.is_file(follow_symlinks=False):
            raise Refusal(Code.UNSAFE_PATH, f"{name[:130]!a}", "a bundle holds no link and no special file; write it again")
        elif not _BESIDE.fullmatch(name):
            yield name


def _statement(data: bytes) -> dict[str, Any]:
    """The predicate's fields, when frame and file names are as they must be."""
    top = take(read_json(data, "certificate.json"), "", {"_type": str, "subject": list, "predicateType": str, "predicate": dict})
    need((top["_type"], top["predicateType"]) == (STATEMENT, PREDICATE), Code.UNSUPPORTED, "predicateType",
         f"only {PREDICATE} in {STATEMENT} is read")
    fields = take(top["predicate"], "predicate", _PARTS, {"controller": dict})
    need(fields["format"] == FORMAT, Code.UNSUPPORTED, "predicate.format", f"only {FORMAT} is read")
    subject = "controller" if fields["controller"] is not None else "plant"
    for key in ("requirement", "plant", subject):
        item = take(fields[key], f"predicate.{key}", {**_FILE, "format": str} if key == "controller" else _FILE)
        forbid_pickle(item["name"], b"")
        plain = item["name"] == _NAMES[key] and item.get("format", "onnx") == "onnx"
        _need(plain, f"predicate.{key}", f"this file is called {_NAMES[key]} in a bundle")
    wanted = [{"name": _NAMES[subject], "digest": {"sha256": fields[subject]["sha256"]}}]
    _need(top["subject"] == wanted, "subject", f"the subject is exactly the {subject}, with the sha256 of predicate.{subject}")
    _need(all(type(text) is str for text in fields["assumptions"]), "predicate.assumptions", "every assumption is a text")
    return fields


def _references(value: Any) -> Iterator[dict[str, Any]]:
    """Every object with a sha256, wherever it stands, is a reference to a file."""
    for _, item in walk(value):
        if not (isinstance(item, dict) and "sha256" in item):
            continue
        name: Any = item.get("name")
        digest = type(item["sha256"]) is str and _SHA256.fullmatch(item["sha256"])
        _need(type(name) is str and digest and type(item.get("bytes", 0)) is int, f"{name!a}"[:130],
              "a file reference has a name, a sha256 of 64 lower-case hexadecimal digits, and perhaps bytes")
        plain = _PLAIN.fullmatch(name) and ".." not in name and not _BESIDE.fullmatch(name) and name != "certificate.json"
        need(plain, Code.UNSAFE_PATH, f"{name[:130]!a}", "a file in a bundle has a plain name, or proof/ and a plain name")
        forbid_pickle(name, b"")
        yield item


def _label(text: str, at: str) -> str:
    _need(_LABEL.fullmatch(text), at, f"{text[:60]!a} is not a plain identifier")
    return text


def _function(item: Any, at: str) -> dict[str, Any]:
    kind: Any = item.get("kind") if isinstance(item, dict) else None
    _need(isinstance(kind, str) and kind in _FUNCTIONS, at, f"a function is of kind {' or '.join(_FUNCTIONS)}")
    fields = take(item, at, {"kind": str, **_FUNCTIONS[kind]})
    _need(kind != "onnx" or fields["name"].endswith(".onnx"), at, "the file of a function of kind onnx is called NAME.onnx")
    return fields


def _obligations(items: list[Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for i, item in enumerate(items):
        fields = take(item, f"obligations[{i}]", {"id": str, "proof": dict})
        _need(type(fields["proof"].get("kind")) is str, f"obligations[{i}].proof.kind", "a proof names its kind")
        label = _label(fields["id"], f"obligations[{i}].id")
        need(label not in found, Code.UNEXPECTED_OBLIGATION, label, "this obligation is proved twice; keep one proof")
        found[label] = fields["proof"]
    return found
