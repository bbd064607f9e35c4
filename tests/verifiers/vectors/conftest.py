"""Fixtures of the vectors: every base bundle is proved once a session."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import build
import pytest


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a base question with its proved bundle, made on first use: (name) -> Path."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name, numbered=False)
            verdict = build.prove(build.BASES[name](folder))
            if verdict.outcome != "PROVED":
                raise RuntimeError(f"{name}: {verdict}")
            made[name] = folder
        return made[name]

    return get


@pytest.fixture(scope="session")
def twin(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], build.Twin]:
    """A fresh copy of a base question: (name) -> Twin."""
    root, numbers = tmp_path_factory.mktemp("twins"), count()
    return lambda name: build.Twin(bases(name), root / f"{next(numbers)}-{name}")
