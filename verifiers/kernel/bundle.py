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
from verifiers.kernel.strict import Reader, read_json, take, walk

STATEMENT, PREDICATE, FORMAT = "https://in-toto.io/Statement/v1", "certctl/certificate/v1", "certctl-bundle/1"
MAX_CERTIFICATE, MAX_BYTES = 1 << 24, 1 << 31
_FILE: dict[str, Reader] = {"name": str, "sha256": str}
_NAMES = {"requirement": "requirement.toml", "plant": "plant.json", "problem": "problem.json", "onnx": "controller.onnx", "law": "law.json"}
_PREDICATE: dict[str, Reader] = {"format": str, "requirement": dict, "functions": dict, "claim": dict, "obligations": list,
                                 "assumptions": list, "producer": dict}
_FUNCTIONS: dict[str, dict[str, Reader]] = {"onnx": {"kind": str, **_FILE}, "quadratic": {"kind": str, "matrix": list, "center": list},
                                          "polynomial": {"kind": str, "terms": list}}
_PLAIN = re.compile(r"(proof/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:\[\]-]{0,127}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BESIDE = re.compile(r"check\.json|report\.html|certificate\.dsse\.json|[^/]*\.(png|pdf|svg)", re.ASCII)  # may lie in the folder, never read
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".dill", ".npy", ".npz")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every listed file was read once and has the listed sha256.

    Attributes
    ----------
    digest : str
        sha256 over the sorted lines ``"NAME SHA256\\n"`` of certificate.json and of all files that it lists.
    requirement, plant, controller : bytes
        The very bytes hashed; the controller is None for a plant without inputs, the plant is empty for a claim about a controller alone.
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
        return None if self.controller is None else hashlib.sha256(self.controller).hexdigest()

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


def requirement_name(path: Path) -> str:
    """NAME of a requirement file: the prefix of ``NAME.requirement.toml``, or the folder's name for ``requirement.toml``.

    The embedded copy ``NAME.cert/requirement.toml`` is called NAME too.  Characters that could forge a line of output become ``_``.
    """
    path = Path(os.path.abspath(path))
    stem, folder = path.name.removesuffix("requirement.toml"), path.parent
    need(stem != path.name and (not stem or (stem.endswith(".") and len(stem) > 1)), Code.BAD_REQUIREMENT, path.name,
          "a requirement file is called requirement.toml or NAME.requirement.toml; rename it")
    if folder.suffix == ".cert":
        folder = folder.parent if folder.stem == "requirement" else folder.with_suffix("")
    return re.sub(r"[^\w.+-]", "_", stem[:-1] or folder.name or "requirement")


def read_file(path: Path, at: str, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file that is not a link.

    Raises
    ------
    Refusal
        ``MISSING_FILE``, ``UNSAFE_PATH`` (link, folder, device, pipe), or ``TOO_LARGE``.
    """
    def regular(found: os.stat_result) -> int:
        need(stat.S_ISREG(found.st_mode), Code.UNSAFE_PATH, at, "this is a link, a folder or a special file where a regular file is expected")
        need(found.st_size <= limit, Code.TOO_LARGE, at, f"the file has {found.st_size} bytes where at most {limit} are read")
        return found.st_size

    try:
        regular(os.lstat(path))
        # the file may be exchanged between the two calls: open no link, wait for no pipe, and look again
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            return file.read(regular(os.fstat(file.fileno())))
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
    present = set(_listing(path))
    data = read_file(path / "certificate.json", "certificate.json", MAX_CERTIFICATE)
    top = take(read_json(data, "certificate.json"), "", {"_type": str, "subject": list, "predicateType": str, "predicate": dict})
    fields = take(top["predicate"], "predicate", _PREDICATE, {"plant": dict, "problem": dict, "controller": dict})
    found = top["_type"], top["predicateType"], fields["format"]
    need(found == (STATEMENT, PREDICATE, FORMAT), Code.UNSUPPORTED, "predicateType" if found[2] == FORMAT else "predicate.format",
         f"only {FORMAT} in {PREDICATE} in {STATEMENT} is read")
    references = list(_references({key: value for key, value in fields.items() if key != "producer"}))
    _files(fields, top["subject"])
    functions, obligations = _functions(fields["functions"]), _obligations(fields["obligations"])
    _need(all(type(text) is str for text in fields["assumptions"]), "predicate.assumptions", "every assumption is a text")
    digests: dict[str, str] = {}
    for reference in references:
        same = digests.setdefault(reference["name"], reference["sha256"]) == reference["sha256"]
        _need(same, reference["name"], "this file is listed twice with different digests")
    unlisted = sorted(present - {*digests, "certificate.json"})
    need(not unlisted, Code.UNLISTED_FILE, ascii("".join(unlisted[:1])[:130]), "certificate.json does not list this; remove it or write it again")
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for name, digest in digests.items():
        files[name] = read_file(path / name, name, left)
        left -= len(files[name])
        same = hashlib.sha256(files[name]).hexdigest() == digest
        need(same, Code.DIGEST_MISMATCH, name, "the sha256 differs from the one in certificate.json; restore the file or verify again")
        forbid_pickle(name, files[name] if name.endswith(".onnx") else b"")
    for reference in references:
        size = len(files[reference["name"]])
        need(reference.get("bytes", size) == size, Code.DIGEST_MISMATCH, reference["name"], "the number of bytes differs from certificate.json")
    digests["certificate.json"] = hashlib.sha256(data).hexdigest()
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return Bundle(path, hashlib.sha256(lines.encode("ascii")).hexdigest(), files["requirement.toml"], files.get("plant.json", b""),
                  None if fields["controller"] is None else files[fields["controller"]["name"]], functions, fields["claim"], obligations,
                  tuple(fields["assumptions"]), MappingProxyType(files), MappingProxyType(digests))


def _need(condition: object, at: str, sentence: str) -> None:
    need(condition, Code.MALFORMED_CERTIFICATE, at, sentence)


def _listing(folder: Path, prefix: str = "") -> Iterator[str]:
    """Names of what lies in the folder and must be listed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise Refusal(Code.MISSING_FILE, folder.name, f"the bundle's folder cannot be read ({error.strerror}); check the path") from None
    for entry in entries:
        name, inside = prefix + entry.name, entry.is_dir(follow_symlinks=False)
        plain = inside or entry.is_file(follow_symlinks=False)
        need(plain, Code.UNSAFE_PATH, ascii(name[:130]), "a bundle holds no link and no special file; write it again")
        if inside and name == "proof":
            yield from _listing(folder / name, "proof/")
        elif inside or not _BESIDE.fullmatch(name):
            yield name


def _references(value: Any) -> Iterator[dict[str, Any]]:
    """Every object with a sha256, wherever it stands, is a reference to a file."""
    for _, item in walk(value):
        if isinstance(item, dict) and "sha256" in item:
            name: Any = item.get("name")
            digest = type(item["sha256"]) is str and _SHA256.fullmatch(item["sha256"])
            _need(type(name) is str and digest and type(item.get("bytes", 0)) is int, f"{name!a}"[:130],
                  "a file reference has a name, a sha256 of 64 lower-case hexadecimal digits, and perhaps bytes")
            plain = _PLAIN.fullmatch(name) and ".." not in name and not _BESIDE.fullmatch(name) and name != "certificate.json"
            need(plain, Code.UNSAFE_PATH, ascii(name[:130]), "a file in a bundle has a plain name, or proof/ and a plain name")
            forbid_pickle(name, b"")
            yield item


def _files(fields: dict[str, Any], subjects: list[Any]) -> None:
    """Refuse a requirement, plant, problem or controller of another name or form, and another subject than the controller (else, the plant).

    A law belongs to a problem and a network does not, so neither can be taken for the other.
    """
    subject = "controller" if fields["controller"] is not None else "plant"
    form = "law" if fields["problem"] is not None else "onnx"
    for key in {"requirement", subject, *(name for name in ("plant", "problem") if fields[name] is not None)}:
        item = take(fields[key], f"predicate.{key}", {**_FILE, "format": str} if key == "controller" else _FILE)
        name = _NAMES[form if key == "controller" else key]
        _need(item["name"] == name and item.get("format", form) == form, f"predicate.{key}", f"this file is called {name} in a bundle")
    wanted = [{"name": fields[subject]["name"], "digest": {"sha256": fields[subject]["sha256"]}}]
    _need(subjects == wanted, "subject", f"the subject is exactly the {subject}, with the sha256 of predicate.{subject}")


def _label(text: Any, at: str) -> str:
    _need(type(text) is str and _LABEL.fullmatch(text), at, f"{text!a}"[:60] + " is not a plain identifier")
    return str(text)


def _functions(items: dict[str, Any]) -> dict[str, dict[str, Any]]:
    for name, item in items.items():
        at = f"functions.{_label(name, 'functions')}"
        kind = item.get("kind") if isinstance(item, dict) else None
        _need(kind in [*_FUNCTIONS], at, f"a function is of kind {' or '.join(_FUNCTIONS)}")
        take(item, at, _FUNCTIONS[str(kind)])
        _need(kind != "onnx" or item["name"].endswith(".onnx"), at, "the file of a function of kind onnx is called NAME.onnx")
    return items


def _obligations(items: list[Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for i, item in enumerate(items):
        fields = take(item, f"obligations[{i}]", {"id": _label, "proof": dict})
        _need(type(fields["proof"].get("kind")) is str, f"obligations[{i}].proof.kind", "a proof names its kind")
        need(fields["id"] not in found, Code.UNEXPECTED_OBLIGATION, fields["id"], "this obligation is proved twice; keep one proof")
        found[fields["id"]] = fields["proof"]
    return found


def compare_file(named: str | None, inside: str, code: Code, bundle: Bundle, given: Path | None) -> None:
    """Compare a file of the caller's, where it exists beside the requirement ``given``, with the one in the bundle.

    Parameters
    ----------
    named, inside : str or None, str
        The file's path relative to the requirement's folder, and its name in the bundle.
    code : Code
        With which a difference is refused.
    """
    if given is not None and named is not None and (given.parent / named).exists():
        same = bundle.files.get(inside) == read_file((given.parent / named).resolve(), named)
        need(same, code, named, f"this file is not the {inside} that the bundle certifies; verify again or restore it")
