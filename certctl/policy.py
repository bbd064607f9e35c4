"""certctl.toml: which controllers must have which proof, and the digest that pins it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certctl.requirements import default_bundle, read_toml
from certctl.result import LEVELS
from certctl.signing import Key, parse_key

NAME = "certctl.toml"
_KEYS = {"": {"controller", "gate", "signer"}, "signer": {"name", "key"},
         "controller": {"path", "requirement", "bundle", "minimum", "allowed_properties"},
         "gate": {"minimum", "allowed_properties", "signatures"}}


class BadPolicy(ValueError):
    """A policy that cannot be followed; one sentence that names the file and the key."""


@dataclass(frozen=True)
class Entry:
    """One pairing: the controller that is deployed (None for a plant without inputs), a person's requirement, and the bundle between them.

    ``minimum`` and ``allowed_properties`` hold for this controller in place of the gate's, which they can only tighten.
    """

    controller: Path | None
    requirement: Path
    bundle: Path
    minimum: str | None = None
    allowed_properties: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Policy:
    """What the gate demands; ``allowed_properties`` None allows every property that a requirement states.

    Every bundle needs valid signatures of at least ``signatures`` different keys of ``signers``; 0 where the policy names no signer.
    """

    entries: tuple[Entry, ...] = ()
    minimum: str = "L2"
    allowed_properties: tuple[str, ...] | None = None
    signers: tuple[Key, ...] = ()
    signatures: int = 0


def read_policy(path: Path) -> Policy:
    """Read certctl.toml; its paths are relative to its folder.

    Raises
    ------
    BadPolicy
        For an unknown key, a missing or wrongly typed value, or a file that is not UTF-8 TOML.
    """
    try:
        table: dict[str, Any] = read_toml(path)
    except ValueError as error:
        raise BadPolicy(str(error)) from None
    _known(table, "", path)
    gate, rows, people = table.get("gate", {}), table.get("controller", []), table.get("signer", [])
    if not isinstance(gate, dict) or not all(isinstance(found, list) and all(isinstance(row, dict) for row in found) for found in (rows, people)):
        raise BadPolicy(f"{path}: write controllers as [[controller]] tables, signers as [[signer]] tables and the rest as one [gate] table")
    _known(gate, "gate", path)
    minimum, allowed = _evidence(gate, "gate", path)
    signers = tuple(_signer(row, path) for row in people)
    policy = Policy((), minimum or "L2", allowed, signers, _signatures(gate, signers, path))
    return replace(policy, entries=tuple(_entry(row, policy, path) for row in rows))


def _signer(row: dict[str, Any], path: Path) -> Key:
    _known(row, "signer", path)
    name, text = row.get("name"), row.get("key")
    if not (isinstance(name, str) and name and isinstance(text, str)):
        raise BadPolicy(f"{path}: a [[signer]] table has name and key, both texts")
    try:
        return parse_key(text, name)
    except ValueError as error:
        raise BadPolicy(f"{path}: signer {name}: {error}") from None


def _signatures(gate: dict[str, Any], signers: tuple[Key, ...], path: Path) -> int:
    """How many signers must have signed: all that is asked for must be possible, and signers that nobody asks would mislead."""
    wanted, different = gate.get("signatures", 1 if signers else 0), len({key.raw for key in signers})
    if len({key.name for key in signers}) != len(signers) or different != len(signers):
        raise BadPolicy(f"{path}: two [[signer]] tables have one name or one key")
    if type(wanted) is not int or not (1 if signers else 0) <= wanted <= different:
        raise BadPolicy(f"{path}: gate.signatures is a number from 1 to the number of [[signer]] tables, of which there are {different}")
    return wanted


def policy_digest(files: Iterable[Path], root: Path) -> str:
    """Digest of the question that a gate asks: sha256 over the sorted ``"NAME SHA256\\n"`` lines of policy and requirements.

    Names are relative to ``root``, so the digest does not depend on the machine.  A file that cannot be read counts as ``missing``.
    """
    lines = sorted(f"{_relative(file, root)} {_sha256(file)}\n" for file in {file.absolute() for file in files})
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def _relative(file: Path, root: Path) -> str:
    return os.path.relpath(file, root.absolute()).replace(os.sep, "/")


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return "missing"


def _known(table: dict[str, Any], at: str, path: Path) -> None:
    unknown = sorted(set(table) - _KEYS[at])
    if unknown:
        raise BadPolicy(f"{path}: the key {f'{at}.{unknown[0]}'.lstrip('.')} is unknown; known here are {', '.join(sorted(_KEYS[at]))}")


def _evidence(table: dict[str, Any], at: str, path: Path) -> tuple[str | None, tuple[str, ...] | None]:
    """What a table says about ``minimum`` and ``allowed_properties``."""
    minimum, allowed = table.get("minimum"), table.get("allowed_properties")
    if minimum is not None and minimum not in LEVELS:
        raise BadPolicy(f"{path}: {at}.minimum is one of {', '.join(LEVELS)}, not {minimum!r}")
    if allowed is not None and not (isinstance(allowed, list) and allowed and all(isinstance(item, str) for item in allowed)):
        raise BadPolicy(f"{path}: {at}.allowed_properties is a list of at least one property name")
    return minimum, None if allowed is None else tuple(allowed)


def _entry(row: dict[str, Any], policy: Policy, path: Path) -> Entry:
    _known(row, "controller", path)
    minimum, allowed = _evidence(row, "controller", path)
    if minimum is not None and LEVELS.index(minimum) < LEVELS.index(policy.minimum):
        raise BadPolicy(f"{path}: controller.minimum {minimum} is below gate.minimum {policy.minimum}; one controller's demands can only be tighter")
    if wider := sorted(set(allowed or ()) - set(policy.allowed_properties or allowed or ())):
        raise BadPolicy(f"{path}: controller.allowed_properties has {wider[0]}, which gate.allowed_properties does not; it can only be narrower")
    for key in ("path", "requirement"):
        if key not in row:
            raise BadPolicy(f"{path}: a [[controller]] table lacks {key}; add it")
    for key in ("path", "requirement", "bundle"):
        value = row.get(key, "x")
        if not (isinstance(value, str) and value and "\0" not in value):
            raise BadPolicy(f"{path}: controller.{key} is a path, written as a string")
    requirement = path.parent / row["requirement"]
    bundle = path.parent / row["bundle"] if "bundle" in row else default_bundle(requirement)
    return Entry(path.parent / row["path"], requirement, bundle, minimum, allowed)
