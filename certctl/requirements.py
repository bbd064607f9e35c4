"""Where things lie: requirement files, their names, the controller that each names, and the default place of its bundle."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from verifiers.kernel.bundle import requirement_name
from verifiers.kernel.codes import Refusal

MAX_TEXT = 1 << 20
_PLAIN, _SUFFIX = "requirement.toml", ".requirement.toml"


@dataclass(frozen=True)
class Named:
    """The files that a requirement names, as paths beside it; None where it names none."""

    controller: Path | None
    lyapunov: Path | None
    expert: Path | None = None


def is_requirement(path: Path) -> bool:
    """True for ``requirement.toml`` and ``NAME.requirement.toml``."""
    return path.name == _PLAIN or (path.name.endswith(_SUFFIX) and len(path.name) > len(_SUFFIX))


def name_of(path: Path) -> str:
    """NAME of a requirement as the kernel calls it: its prefix, or the folder's name for ``requirement.toml``; else the file's name."""
    try:
        return requirement_name(path)
    except Refusal:
        return path.name


def default_bundle(path: Path) -> Path:
    """``requirement.cert`` or ``NAME.cert`` beside the requirement."""
    return path.with_name(path.name.removesuffix(_PLAIN).removesuffix(".") + ".cert" if path.name != _PLAIN else "requirement.cert")


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file of at most one megabyte.

    Raises
    ------
    ValueError
        When it cannot be read, is too long, or is not UTF-8 TOML; the message is one sentence with the path.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_TEXT:
        raise ValueError(f"{path} is longer than {MAX_TEXT} bytes; shorten it")
    try:
        return tomllib.loads(data.decode("utf-8"), parse_float=str)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not UTF-8 TOML: {error}") from None


def files_named(requirement: Path) -> Named:
    """Read which controller, Lyapunov function and expert a requirement names; whether it is sound otherwise is the kernel's to say.

    Raises
    ------
    ValueError
        When the file cannot be read as TOML or the names are no strings.
    """
    table = read_toml(requirement)
    found: list[Path | None] = []
    for key in ("controller", "lyapunov"):
        value = table.get(key)
        if value is not None and not (isinstance(value, str) and value and "\0" not in value):
            raise ValueError(f"{requirement}: {key} is not a path; write it as a string")
        found.append(requirement.parent / value if isinstance(value, str) else None)
    expert = table.get("expert")
    file = expert.get("file") if isinstance(expert, dict) else None
    path = file.get("path") if isinstance(file, dict) else None
    return Named(*found, expert=requirement.parent / path if isinstance(path, str) and path and "\0" not in path else None)
