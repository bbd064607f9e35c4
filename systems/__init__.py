"""What is controlled: one file per plant, dynamics written once in CasADi, and the generated ``plant.json`` that proofs read.

Importing this package needs neither CasADi nor python-control; :func:`load` and :class:`Plant` do.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from systems.plant import Plant

_NAMES = ("double_integrator", "van_der_pol", "reversed_van_der_pol", "pendulum", "path_tracking", "cartpole", "quadrotor2d", "pvtol",
          "ducted_fan", "tora", "gym_pendulum", "safety_cstr", "cstr")
_LAZY = {"Plant": "systems.plant", "State": "systems.signals", "Input": "systems.signals", "Parameter": "systems.signals"}


def names() -> tuple[str, ...]:
    """Names of the plants that are shipped."""
    return _NAMES


def plant_json_path(name: str) -> Path:
    """Path of the generated ``plant.json`` of a shipped plant.

    Raises
    ------
    ValueError
        When no plant has this name.
    """
    if name not in _NAMES:
        raise ValueError(f"no plant is called {name!r}; the plants are {', '.join(_NAMES)}")
    return Path(__file__).resolve().parent / "data" / f"{name}.plant.json"


def load(name: str) -> Plant:
    """Build a shipped plant from its file (needs CasADi).

    Raises
    ------
    ValueError
        When no plant has this name.
    ImportError
        When CasADi is not installed; ``pip install certctl[model]`` brings it.
    """
    plant_json_path(name)
    try:
        built: Plant = import_module(f"systems.{name}").plant()
    except ModuleNotFoundError as error:
        if error.name in ("casadi", "control"):
            raise ImportError(f"systems.load needs {error.name}; pip install certctl[model] brings it", name=error.name) from None
        raise
    return built


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'systems' has no attribute {name!r}")
