"""The gate: every controller in some folders must have a bundle that the kernel accepts now, against the caller's own requirement.

Nothing stored is believed: the gate reads no ``check.json``, no report and no embedded requirement (T20, T21).  What it cannot pair
it refuses, and finding nothing at all is not a pass (T19).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from certctl.policy import NAME, BadPolicy, Entry, Policy, policy_digest, read_policy
from certctl.requirements import default_bundle, files_named, is_requirement, name_of
from certctl.result import LEVELS, Result, error, from_receipt, stated_property
from certctl.signing import Key, SignatureFault, names, signed_by

CONTROLLERS = (".onnx", ".safetensors")
_LAW = b"certctl-law/"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class GateReport:
    """What the gate decided: one result per controller, and the digest of the question asked."""

    controllers: tuple[Result, ...]
    policy: str | None
    policy_digest: str

    @property
    def deployable(self) -> int:
        """Number of controllers with a passing bundle."""
        return sum(result.is_proved for result in self.controllers)

    @property
    def refused(self) -> int:
        """Number of all others, for whatever reason."""
        return len(self.controllers) - self.deployable


@dataclass(frozen=True)
class _Plan:
    """What is to be checked: pairings, results already known to be refusals, and the files that make up the question."""

    policy: Policy
    entries: tuple[Entry, ...]
    refusals: tuple[Result, ...]
    files: tuple[Path, ...]
    root: Path


def gate(paths: Sequence[str | Path] = (), policy: str | Path | None = None, *, pinned: str | None = None,
         progress: Callable[[str], None] | None = None) -> GateReport:
    """Check every controller under ``paths``.

    Parameters
    ----------
    paths : sequence of path
        Folders (or single requirement files).  Default: the policy's folder, or the current one.
    policy : path, optional
        certctl.toml.  Without it ``certctl.toml`` of the first folder is used where there is one; else every requirement file is paired
        with the controller that it names and the bundle at its default place.
    pinned : str, optional
        The policy digest that a person approved.  Any other digest refuses everything with ``POLICY_CHANGED`` (T18).
    progress : callable, optional
        Told the name of each controller before it is checked.

    Returns
    -------
    GateReport

    Raises
    ------
    BadPolicy
        When the policy cannot be followed.
    FileNotFoundError
        When one of ``paths`` does not exist.

    Notes
    -----
    Direction: refuses when in doubt.  A controller file (``*.onnx``, ``*.safetensors``, an explicit law) under ``paths`` that nothing names is
    refused, also with a policy, so that listing one controller does not let another one through.
    """
    folders = [Path(path) for path in paths]
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"{folder} does not exist; give the folder that holds the controllers")
    chosen = Path(policy) if policy is not None else _policy_in(folders)
    plan = _plan_from_policy(chosen, folders) if chosen is not None else _plan_from_folders(folders or [Path()])
    digest = policy_digest(plan.files, plan.root)
    if pinned is not None and pinned.removeprefix("sha256:").lower() != digest:
        changed = error("policy", "POLICY_CHANGED", str(chosen or plan.root), f"the policy digest is {digest}, pinned is {pinned}", "REFUSED")
        return GateReport((changed,), _or_none(chosen), digest)
    results = []
    for entry in plan.entries:
        if progress is not None:
            progress(name_of(entry.requirement))
        results.append(_judge(entry, plan.policy))
    return GateReport((*results, *plan.refusals), _or_none(chosen), digest)


def _policy_in(folders: Sequence[Path]) -> Path | None:
    found = [folder / NAME for folder in folders or [Path()] if folder.is_dir() and (folder / NAME).exists()]
    if len(found) > 1:
        raise BadPolicy(f"{found[0]} and {found[1]} are both policies; say with --policy which one counts")
    return found[0] if found else None


def _plan_from_policy(path: Path, folders: Sequence[Path]) -> _Plan:
    policy = read_policy(path)
    requirements = [entry.requirement for entry in policy.entries]
    named = _named_by(requirements) | {_same(entry.controller) for entry in policy.entries if entry.controller}
    strays = _strays(folders or [path.parent], named, {_same(entry.bundle) for entry in policy.entries})
    return _Plan(policy, policy.entries, tuple(strays), (path, *requirements), path.parent)


def _plan_from_folders(folders: Sequence[Path]) -> _Plan:
    requirements = sorted({file for folder in folders for file in _requirements(folder)}, key=str)
    entries, broken = [], []
    for requirement in requirements:
        try:
            entries.append(Entry(files_named(requirement).controller, requirement, default_bundle(requirement)))
        except ValueError as problem:
            broken.append(replace(error(name_of(requirement), "BAD_REQUIREMENT", str(requirement), str(problem)), requirement_file=str(requirement)))
    strays = _strays(folders, _named_by(requirements), {_same(entry.bundle) for entry in entries})
    root = folders[0] if folders[0].is_dir() else folders[0].parent
    return _Plan(Policy(), tuple(entries), (*broken, *strays), tuple(requirements), root)


def _requirements(place: Path) -> list[Path]:
    """The requirement files under a folder; for a controller file, those beside it that name it."""
    if place.is_file() and is_controller(place):
        return [file for file in place.parent.iterdir() if is_requirement(file) and _same(place) in _named_by([file])]
    return [file for file in _files(place, lambda folder: folder.suffix == ".cert") if is_requirement(file)]


def _judge(entry: Entry, policy: Policy) -> Result:
    """Run the kernel on one pairing and add what only the caller's side can know."""
    from verifiers.kernel.check import check

    own = Result("ERROR", name_of(entry.requirement), property=stated_property(entry.requirement), bundle=str(entry.bundle),
                 controller=_or_none(entry.controller), requirement_file=str(entry.requirement))
    try:
        own = replace(own, controller_sha256=None if entry.controller is None else _sha256(entry.controller))
    except OSError:
        return replace(own, code="MISSING_FILE", at=str(entry.controller), message=f"the controller {entry.controller} cannot be read")
    if not entry.bundle.is_dir():
        return own.refuse("NO_BUNDLE", str(entry.bundle), f"there is no bundle at {entry.bundle}; run certctl verify {entry.requirement}")
    receipt = check(entry.bundle, entry.requirement)
    result = replace(from_receipt(receipt, entry.bundle), controller=own.controller, requirement_file=own.requirement_file)
    if not result.is_proved:
        return replace(result, property=result.property or own.property)
    if receipt.requirement_source != "given":
        return result.refuse("INTERNAL", str(entry.bundle), "the kernel answered the embedded requirement, not the given one")
    if receipt.controller_sha256 != own.controller_sha256:
        return result.refuse("CONTROLLER_MISMATCH", str(entry.controller), f"{entry.controller} is not the controller in {entry.bundle}")
    minimum, allowed = entry.minimum or policy.minimum, entry.allowed_properties or policy.allowed_properties
    if allowed is not None and result.property not in allowed:
        return result.refuse("PROPERTY_NOT_ALLOWED", str(entry.requirement), f"{result.property} is not among {', '.join(allowed)}")
    if result.level not in LEVELS or LEVELS.index(result.level) < LEVELS.index(minimum):
        return result.refuse("LEVEL_TOO_LOW", str(entry.bundle), f"the evidence is {result.level}, the policy demands {minimum}")
    return with_signatures(result, entry.bundle, policy.signers, policy.signatures)


def with_signatures(result: Result, bundle: Path, keys: Sequence[Key], least: int) -> Result:
    """The same result, refused unless at least ``least`` of the keys have signed what the kernel accepted in it."""
    if least < 1:
        return result
    if result.receipt is None:
        return result.refuse("BAD_SIGNATURE", str(bundle), "there is no receipt of the kernel that a signature could belong to")
    try:
        return replace(result, signed_by=names(signed_by(bundle, result.receipt, keys, least)))
    except SignatureFault as fault:
        return result.refuse(fault.code, str(bundle), fault.message)


def is_controller(file: Path) -> bool:
    """True for a network by its name, and for an explicit law by its name, ``law.json`` or ``NAME.law.json``, or by the format that it states.

    Direction: a JSON file that cannot be read may be one.
    """
    name = file.name.lower()
    if name.endswith(CONTROLLERS) or name == "law.json" or name.endswith(".law.json"):
        return True
    if not name.endswith(".json"):
        return False
    try:
        with file.open("rb") as opened:
            tail = b""
            while block := opened.read(_CHUNK):
                if _LAW in tail + block:
                    return True
                tail = block[-len(_LAW):]
    except OSError:
        return True
    return False


def _strays(places: Sequence[Path], named: set[str], bundles: set[str]) -> Iterator[Result]:
    """Controller files that nothing names; a ``.cert`` folder is passed over only when it is a bundle or a bundle's place."""
    def is_bundle(folder: Path) -> bool:
        return _same(folder) in bundles or (folder.suffix == ".cert" and (folder / "certificate.json").is_file())

    files = {file for place in places for file in _files(place, is_bundle) if is_controller(file)}
    for file in sorted(files, key=str):
        if _same(file) not in named:
            stray = error(file.name, "UNNAMED_CONTROLLER", str(file), f"no requirement names {file}; write one and verify it", "REFUSED")
            yield replace(stray, controller=str(file))


def _files(place: Path, skip: Callable[[Path], bool]) -> Iterator[Path]:
    """Files under a folder, through links, without ``.git``, virtual environments and what ``skip`` says; a file stands for itself."""
    if not place.is_dir():
        yield place
        return
    seen: set[str] = set()
    for here, folders, files in os.walk(place, followlinks=True):
        real = os.path.realpath(here)
        if real in seen or "pyvenv.cfg" in files:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name != ".git" and not skip(Path(here, name)))
        yield from (Path(here, name) for name in files)


def _named_by(requirements: Iterable[Path]) -> set[str]:
    found: set[str] = set()
    for requirement in requirements:
        try:
            named = files_named(requirement)
        except ValueError:
            continue
        found |= {_same(path) for path in (named.controller, named.lyapunov, named.expert) if path is not None}
    return found


def _or_none(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _same(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


__all__ = ["BadPolicy", "GateReport", "gate"]
