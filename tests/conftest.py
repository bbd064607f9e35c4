"""Fixtures that more than one test file uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from repository import ROOT


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of the published reference cases, beside the repository; the test skips where it is absent."""
    path = ROOT.parent / "shared" / "cases"
    if not path.is_dir():
        pytest.skip("the reference cases (../shared/cases) are not on this machine")
    return path
