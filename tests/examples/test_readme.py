"""The README's first requirement and commands work word for word, and what it links to exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SPECIAL = {". .venv/bin/activate", "$EDITOR mine/requirement.toml"}
"""Lines that a person's shell and editor do; the test does them by PATH and by writing the file."""

ANSWER = r'^PROVED mine asymptotic_stability_roa level=L2 region="Q<=[0-9.]+" volume>=[0-9.]+ '
"""The last line, as the README quotes it."""


def block(language: str) -> str:
    """The README's only code block in a language."""
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    assert len(found) == 1, f"the README has {len(found)} blocks of {language}, the test runs one"
    return found[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that looks like the repository to the README's commands, with ``certctl`` on the path."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "certctl"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m certctl "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return tmp_path


def shell(line: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run one line of the README."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": os.pathsep.join([str(place / "bin"), os.environ["PATH"]]),
                   "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(["sh", "-c", line], cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_first_requirement_works_word_for_word(place: Path) -> None:
    lines = [line.split("  #")[0].strip() for line in block("sh").splitlines()]
    assert set(lines) >= SPECIAL
    ran = []
    for line in lines:
        if line == "$EDITOR mine/requirement.toml":
            (place / "mine" / "requirement.toml").write_text(block("toml"), encoding="utf-8")
        elif line not in SPECIAL:
            done = shell(line, place)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            if line.startswith("certctl"):
                ran.append(line.split()[1])
                assert re.search(ANSWER, done.stdout, re.MULTILINE), done.stdout
    assert ran == ["verify", "check", "gate", "report"]
    assert (place / "mine" / "report.html").is_file()


def test_a_region_that_is_not_there_is_not_proved(place: Path) -> None:
    """The same requirement, asking for a box beyond the domain's ellipsoids, ends with another exit code than 0."""
    (place / "mine").mkdir()
    (place / "mine" / "controller.onnx").write_bytes((ROOT / "examples" / "pendulum" / "controller.onnx").read_bytes())
    asked = block("toml").replace('"-0.2", "-0.5"', '"-0.99", "-7.9"').replace('"0.2", "0.5"', '"0.99", "7.9"')
    (place / "mine" / "requirement.toml").write_text(asked, encoding="utf-8")
    done = shell("certctl verify mine/requirement.toml", place)
    assert done.returncode == 3 and "code=NOT_CONTAINED" in done.stdout, f"{done.stdout}\n{done.stderr}"
    assert not (place / "mine" / "requirement.cert").exists()


def test_requirement_is_one_that_a_person_can_read() -> None:
    wanted = tomllib.loads(block("toml"))
    assert wanted["region"]["level"] == "max" and wanted["controller"] == "controller.onnx"


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_picture_is_small() -> None:
    figures = [ROOT / link for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)]
    assert figures and all(path.stat().st_size < 200_000 for path in figures)
