"""The plants that certctl ships, as data: no CasADi is needed to read them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SUFFIX = ".plant.json"


def plant_folder() -> Path:
    """Folder of the shipped ``NAME.plant.json`` files."""
    found = find_spec("systems")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if not places:
        raise FileNotFoundError("the package systems is missing, so this installation is incomplete: install certctl again")
    return Path(places[0]) / "data"


def plant_names() -> list[str]:
    """Names of the shipped plants, sorted."""
    return sorted(path.name.removesuffix(SUFFIX) for path in plant_folder().glob(f"*{SUFFIX}"))


def plant_data(name: str) -> dict[str, Any]:
    """Content of a plant.json: a shipped plant by name, or any file by path.

    Raises
    ------
    FileNotFoundError
        When there is no such plant; the message lists the shipped ones.
    ValueError
        When the file is not a plant.json.
    """
    path = Path(name) if name.endswith(".json") else plant_folder() / f"{name}{SUFFIX}"
    if name not in plant_names() and not (name.endswith(".json") and path.is_file()):
        raise FileNotFoundError(f"there is no plant {name!r}; shipped are {', '.join(plant_names())}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not (isinstance(data, dict) and isinstance(data.get("states"), list)):
        raise ValueError(f"{path} is not a plant.json: it has no list of states")
    return data


def signal_text(signal: dict[str, Any]) -> str:
    """A state or input with its unit, as in ``theta [rad]``."""
    unit = signal.get("unit")
    return f"{signal['name']} [{unit}]" if unit else str(signal["name"])


def limit_text(signal: dict[str, Any]) -> str:
    """Limits of an input, as in ``-torque_limit <= u <= torque_limit``."""
    low, high = signal.get("lo"), signal.get("hi")
    return f"{'' if low is None else f'{low} <= '}{signal['name']}{'' if high is None else f' <= {high}'}"


def value_text(value: Any) -> str:
    """A parameter's value: exact text, or the interval of an unknown constant."""
    return f"[{value[0]}, {value[1]}]" if isinstance(value, list) else str(value)
