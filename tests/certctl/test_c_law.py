"""An explicit law as C: it computes what the law says, and its monitor never says inside where the law has no value."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from certctl.bridges.c_code import write_c
from certctl.bridges.c_law import open_law
from certctl.cli.main import run
from certctl.view import open_view

GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not on this machine")
ARRAYS = {"H": [[1.0, 0.0], [0.0, 2.0]], "f": [0.0, 0.0], "F": [[1.0, 0.0], [0.0, 1.0]], "A": [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
          "b": [[1.0], [1.0], [1.0], [1.0]], "B": [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], "lb": [-4.0, -4.0], "ub": [4.0, 4.0]}
DRIVER = """#include "law.h"
void many(const double *x, double *u, int *valued, int *inside, int count);
void many(const double *x, double *u, int *valued, int *inside, int count)
{
    for (int i = 0; i < count; ++i) {
        valued[i] = law_command(x + i * LAW_STATES, u + i * LAW_INPUTS);
        inside[i] = law_inside(x + i * LAW_STATES);
    }
}
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a small law of two parameters, beside its C code, compiled."""
    pytest.importorskip("daqp", reason="daqp is not installed here (the extra mpc brings it)")
    folder = tmp_path_factory.mktemp("law")
    more = {"A": [[0.0, -1.0]], "b": [[0.0]], "B": [[1.0, 1.0]]}  # infeasible on a part of the box
    bounds = {key: [*value, *more.get(key, [])] for key, value in ARRAYS.items()}
    np.savez(folder / "small.npz", **{key: np.array(value) for key, value in bounds.items()})
    assert run(["explicit-mpc", str(folder / "small.npz")]) == 0
    write_c(open_view(folder / "small.cert"), folder, "law")
    (folder / "driver.c").write_text(DRIVER, encoding="ascii")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wconversion", "-Wvla", "-O2"]
    subprocess.run([str(GCC), *flags, "-shared", "-fPIC", "-o", "code.so", "law.c", "driver.c", "-lm"], cwd=folder, check=True)
    return folder


def called(folder: Path, x: np.ndarray, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.ascontiguousarray(x)
    u, valued, inside = np.empty((len(x), outputs)), np.empty(len(x), dtype=np.int32), np.empty(len(x), dtype=np.int32)
    ctypes.CDLL(str(folder / "code.so")).many(*(array.ctypes.data_as(ctypes.c_void_p) for array in (x, u, valued, inside)), len(x))
    return u, valued.astype(bool), inside.astype(bool)


def test_the_code_computes_the_law(exported):
    law = open_law(open_view(exported / "small.cert"))
    x = np.random.default_rng(0).uniform(-4.4, 4.4, (100_000, 2))
    u, valued, inside = called(exported, x, law.outputs)
    expected = law.evaluate(x)
    known = ~np.isnan(expected).any(axis=1)
    assert 0.1 < known.mean() < 0.9 and (known == valued).mean() > 0.9999 and (known == inside).mean() > 0.9999
    both = known & valued
    assert float(np.abs(u - expected)[both].max()) <= 1e-6 and np.isnan(u[~valued]).all()


@pytest.mark.threat("T09")
def test_the_monitor_never_says_inside_where_the_law_has_no_value(exported):
    law = open_law(open_view(exported / "small.cert"))
    rng = np.random.default_rng(1)
    starts = rng.uniform(-4, 4, (60, 2))
    ends = rng.uniform(-4.4, 4.4, (60, 2))
    for _ in range(60):  # halve each segment toward the border between value and none
        middle = (starts + ends) / 2
        same = np.isnan(law.evaluate(middle)).any(axis=1) == np.isnan(law.evaluate(starts)).any(axis=1)
        starts, ends = np.where(same[:, None], middle, starts), np.where(same[:, None], ends, middle)
    near = (starts + rng.integers(-3, 4, (8, *starts.shape)) * np.spacing(starts)).reshape(-1, 2)
    truth = np.array([law.exact([Fraction(v) for v in row.tolist()]) is not None for row in near])
    inside = called(exported, near, law.outputs)[2]
    assert truth.any() and not truth.all() and not (inside & ~truth).any()
    for bad in (np.nan, np.inf, 1e300):
        assert not called(exported, np.array([[bad, 0.0], [0.0, bad]]), law.outputs)[2].any()


def test_only_c_is_written_of_a_law(exported, tmp_path, capsys):
    bundle = exported / "small.cert"
    assert run(["export", str(bundle), "--format", "c", "-o", str(tmp_path / "c")]) == 0
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"small.h", "small.c"}
    assert run(["export", str(bundle), "--format", "json", "-o", str(tmp_path / "json")]) == 2
    assert "an explicit law as C" in capsys.readouterr().err and not (tmp_path / "json").exists()
