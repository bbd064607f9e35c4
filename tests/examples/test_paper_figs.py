"""Figures for papers: drawn from bundles of the same run, with their digests inside; the true region is where it is known to be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

from paper_figs import common

FIGURES = {"pendulum_region": 1, "published_regions": 3, "learned_regions": 9, "dimension": 6, "imitation": 2, "yann": 2}
"""Program and number of bundles that it draws."""


def draw(name: str, folder: Path) -> bytes:
    """Run a program as `make figures` does; returns its PNG."""
    done = subprocess.run([sys.executable, "-m", f"paper_figs.{name}", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    return (folder / f"{name}.png").read_bytes()


def digests(png: bytes) -> list[bytes]:
    """Digests in the metadata of a PNG, of bundles that the kernel accepted."""
    return re.findall(rb"bundle sha256:([0-9a-f]{64}); kernel: ACCEPTED", png)


def test_every_program_is_listed_here() -> None:
    assert {path.stem for path in (ROOT / "paper_figs").glob("*.py")} == {*FIGURES, "common"}


def test_pendulum_figure_names_its_bundle(tmp_path: Path) -> None:
    assert len(set(digests(draw("pendulum_region", tmp_path)))) == FIGURES["pendulum_region"]


@pytest.mark.slow
def test_published_figure_names_its_bundles(tmp_path: Path, cases: Path) -> None:
    assert (cases / "roa").is_dir()
    assert len(set(digests(draw("published_regions", tmp_path)))) == FIGURES["published_regions"]


@pytest.mark.slow
def test_imitation_figure_in_small(tmp_path: Path) -> None:
    """Few pairs and epochs: every bound and both regions are proved all the same, and the numbers stand beside the figure."""
    pytest.importorskip("torch")
    pytest.importorskip("casadi")
    from paper_figs import imitation

    imitation.make(imitation.Size(pairs=40, epochs=60, bounds=("1", "4"), counts=(16, 64), ascent=2), tmp_path)
    assert len(set(digests((tmp_path / "imitation.png").read_bytes()))) == FIGURES["imitation"]
    found = json.loads((tmp_path / "imitation.json").read_text(encoding="utf-8"))
    for rows in (found["bound"]["exact"], found["bound"]["noisy"]):
        assert [row["bound"] for row in rows] == ["1", "4", "none"]
        assert all(0 < a <= b for row in rows for a, b in zip(row["nominal"], row["attacked"], strict=True))
        assert all(row["least"] <= row["rms"] + 1e-6 for row in rows[:-1])
    assert all(row["delta"] <= row["theorem"] and row["enclosed"] <= row["theorem"] <= row["before"] for row in found["samples"])


@pytest.mark.slow
def test_yann_figure_names_its_bundles(tmp_path: Path) -> None:
    for name in ("torch", "daqp", "casadi", "stable_baselines3"):
        pytest.importorskip(name, reason=f"{name} is not installed here (the extras learn, mpc and rl bring it)")
    assert len(set(digests(draw("yann", tmp_path)))) in (1, FIGURES["yann"])  # one where no candidate was better than the first policy


@pytest.mark.slow
def test_learned_figure_names_its_bundles(tmp_path: Path, cases: Path) -> None:
    assert (cases / "roa").is_dir()
    assert len(set(digests(draw("learned_regions", tmp_path)))) == FIGURES["learned_regions"]


@pytest.mark.slow
def test_dimension_figure_names_its_bundles_and_writes_its_numbers(tmp_path: Path) -> None:
    assert len(set(digests(draw("dimension", tmp_path)))) == FIGURES["dimension"]
    rows = [line.split(",") for line in (tmp_path / "dimension.csv").read_text(encoding="utf-8").splitlines()[1:]]
    shares = {row[0]: [float(other[2]) for other in rows if other[0] == row[0]] for row in rows}
    assert {row[1] for row in rows} == {"2", "4", "6"} and all(each == sorted(each) and each[-1] < 1 for each in shares.values())
    assert min(float(row[3]) for row in rows) > 0


def test_no_figure_without_a_proof(tmp_path: Path) -> None:
    """A requirement whose controller is missing is not proved, so there is nothing to draw."""
    path = tmp_path / "requirement.toml"
    path.write_text('property = "asymptotic_stability_roa"\nplant = "van_der_pol"\ncontroller = "controller.onnx"\ntime = "continuous"\n'
                    '[domain]\nlo = ["-1", "-1"]\nhi = ["1", "1"]\n[region]\nlevel = "max"\nmin_volume = "0.1"\n', encoding="utf-8")
    with pytest.raises(SystemExit, match="a figure shows proved regions only"):
        common.proved(path)


def test_true_region_by_simulation_is_the_known_one(tmp_path: Path) -> None:
    """Inside the limit cycle of the reversed van der Pol oscillator, whose area is 13.7222, and only there, trajectories converge."""
    path = tmp_path / "requirement.toml"
    path.write_text('property = "asymptotic_stability_roa"\nplant = "reversed_van_der_pol"\ntime = "continuous"\n'
                    '[domain]\nlo = ["-3", "-3"]\nhi = ["3", "3"]\n[region]\nlevel = "max"\nmin_volume = "0.1"\n', encoding="utf-8")
    view = common.proved(path)
    ticks = np.linspace(-3, 3, 121)
    area = common.reaches(view, common.points([ticks, ticks]), 40.0).mean() * 6.05**2
    assert area == pytest.approx(13.7222, rel=0.01)
