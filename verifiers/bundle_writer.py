"""Write a bundle: deterministic bytes, aside first, then renamed; the kernel's own reader must accept the folder before it counts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from verifiers.kernel.bundle import FORMAT, PREDICATE, STATEMENT, open_bundle

CONTROLLERS = {"onnx": "controller.onnx", "law": "law.json"}


def reference(name: str, data: bytes) -> dict[str, Any]:
    """A file reference of a certificate: name, sha256 and number of bytes."""
    return {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def certificate(*, requirement: bytes, plant: bytes | None, controller: bytes | None, functions: Mapping[str, Any], claim: Mapping[str, Any],
                obligations: Sequence[Mapping[str, Any]], assumptions: Sequence[str], producer: Mapping[str, Any],
                problem: bytes | None = None) -> bytes:
    """The bytes of certificate.json: an in-toto Statement about the controller (about the plant where there is no controller).

    Parameters
    ----------
    functions, claim, obligations, assumptions, producer
        As docs/architecture.md and the kernel's reader describe them; numbers are integers or exact decimal or fraction strings.

    Returns
    -------
    bytes
        UTF-8 JSON with sorted keys, the same on every machine and at every time.
    """
    form = "onnx" if problem is None else "law"
    files = {"requirement": ("requirement.toml", requirement), "plant": ("plant.json", plant), "problem": ("problem.json", problem),
             "controller": (CONTROLLERS[form], controller)}
    parts: dict[str, Any] = {key: {"name": name, "sha256": hashlib.sha256(data).hexdigest()}
                             for key, (name, data) in files.items() if data is not None}
    subject = dict(parts.get("controller") or parts["plant"])
    if "controller" in parts:
        parts["controller"]["format"] = form
    statement = {
        "_type": STATEMENT, "subject": [{"name": subject["name"], "digest": {"sha256": subject["sha256"]}}], "predicateType": PREDICATE,
        "predicate": {"format": FORMAT, **parts, "functions": functions, "claim": claim, "obligations": obligations,
                      "assumptions": assumptions, "producer": producer}}
    return (json.dumps(statement, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def write_bundle(out: Path, *, requirement: bytes, plant: bytes | None, controller: bytes | None, functions: Mapping[str, Any],
                 files: Mapping[str, bytes], claim: Mapping[str, Any], obligations: Sequence[Mapping[str, Any]], assumptions: Sequence[str],
                 producer: Mapping[str, Any], force: bool = False, judge: Callable[[Path], bool] | None = None,
                 problem: bytes | None = None) -> Path:
    """Write a bundle and return its folder; whatever fails, ``out`` is either what it was or complete.

    Parameters
    ----------
    out : Path
        The folder to make, for example ``NAME.cert``.
    requirement, plant, controller : bytes
        Written unchanged as requirement.toml, plant.json and controller.onnx; no controller for a plant without inputs, no plant for a claim
        without one.
    problem : bytes or None
        The optimisation problem, for a law: written as problem.json, and the controller as law.json.
    files : mapping
        Further files, ``lyapunov.onnx`` or ``proof/NAME``, each of which ``functions`` or ``obligations`` refer to (see :func:`reference`).
    force : bool
        Replace an existing bundle (never a folder that is not one).
    judge : callable or None
        Asked about the complete folder before it takes its place; what it answers False to is thrown away, and ``out`` stays what it was.

    Raises
    ------
    FileExistsError
        When ``out`` exists and is not to be replaced.
    Refusal
        When the kernel's reader does not accept the folder: a file that nothing refers to, a wrong digest, an unknown field.
    """
    out = Path(os.path.abspath(out))
    _may_be_replaced(out, force)
    data = certificate(requirement=requirement, plant=plant, controller=controller, functions=functions, claim=claim, obligations=obligations,
                       assumptions=assumptions, producer=producer, problem=problem)
    known = {"requirement.toml": requirement, "plant.json": plant, "problem.json": problem, "certificate.json": data,
             CONTROLLERS["onnx" if problem is None else "law"]: controller}
    if wrong := sorted(name for name in files if name in known or PurePosixPath(name).parent.as_posix() not in (".", "proof")):
        raise ValueError(f"files: {wrong[0]} is written from its own argument, or is neither NAME nor proof/NAME")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        new = aside / "new"
        new.mkdir()  # unlike mkdtemp, with the permissions that the user gives to new folders
        for name, content in {**known, **files}.items():
            if content is not None:
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_bytes(content)
        open_bundle(new)
        if judge is not None and not judge(new):
            return out
        _exchange(new, out, aside / "old")
    finally:
        if os.path.lexists(out) or not (aside / "old").exists():  # never remove the only copy
            shutil.rmtree(aside, ignore_errors=True)
    return out


def _may_be_replaced(out: Path, force: bool) -> None:
    if not os.path.lexists(out):
        return
    if not force:
        raise FileExistsError(f"{out.name} exists already; give --force to replace it, or -o for another place")
    if out.is_symlink() or not out.is_dir() or (any(out.iterdir()) and not (out / "certificate.json").is_file()):
        raise FileExistsError(f"{out.name} exists and is not a bundle, so it is never replaced; choose another place with -o")


def _exchange(new: Path, out: Path, old: Path) -> None:
    """Rename ``new`` to ``out``; what stood there is moved aside first, and comes back when that fails."""
    replaced = os.path.lexists(out)
    if replaced:
        os.rename(out, old)
    try:
        os.rename(new, out)
    except BaseException:
        if replaced:
            os.rename(old, out)
        raise
