"""Common quadratics: the programme means what it says, unknown constants are met at their corners, and the kernel proves the whole interval."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from networks import network
from scipy import linalg

from verifiers.kernel.check import check
from verifiers.prove import read_question, verify
from verifiers.region.quadratic import interval_jacobian, more_robust, robust
from verifiers.sdp import lyapunov
from verifiers.sdp import programme as programmes
from verifiers.sdp.lyapunov import common_quadratic, programme
from verifiers.sdp.programme import Solution, Unsolved

FAKE = Path(__file__).with_name("fake_solver.py")
FALLING = [np.array([[0.0, 1.0], [-k, -c]]) for k in (1.0, 2.0) for c in (1.0, 3.0)]
HALF = np.array([1.0, 5.0])


@pytest.mark.parametrize("time", ["continuous", "discrete"])
def test_the_quadratic_falls_on_every_matrix_and_on_their_mixtures(time):
    pytest.importorskip("cvxpy")
    rate = 0.05
    matrices = FALLING if time == "continuous" else [linalg.expm(0.2 * a) for a in FALLING]
    p = common_quadratic([matrices], time, HALF, rate)
    assert not isinstance(p, Unsolved) and np.linalg.eigvalsh(p)[0] > 0
    for weights in [*np.eye(4), *np.random.default_rng(0).dirichlet(np.ones(4), 20)]:
        a = sum(w * m for w, m in zip(weights, matrices, strict=True))
        change = a.T @ p + p @ a + rate * p if time == "continuous" else a.T @ p @ a - (1 - rate) * p
        assert np.linalg.eigvalsh(change)[-1] < 0


def test_the_first_group_that_has_one_is_taken_and_none_is_said():
    pytest.importorskip("cvxpy")
    switching = [np.array([[-0.1, 1.0], [-10.0, -0.1]]), np.array([[-0.1, 10.0], [-1.0, -0.1]])]  # each stable, no common quadratic
    found = common_quadratic([switching, switching[:1]], "continuous", np.ones(2))
    assert not isinstance(found, Unsolved)
    assert np.linalg.eigvalsh(switching[0].T @ found + found @ switching[0])[-1] < 0
    assert isinstance(common_quadratic([switching], "continuous", np.ones(2)), Unsolved)


@pytest.mark.parametrize("time", ["continuous", "discrete"])
def test_the_blocks_are_the_inequalities(time):
    a, p, t, rate = np.array([[0.3, -1.0], [0.5, 0.2]]), np.array([[2.0, 0.3], [0.3, 1.0]]), 0.7, 0.1
    made = programme([a], time, HALF, rate)
    x = np.array([t, *p[np.triu_indices(2)]])
    size, linear, constant = made.blocks[0]
    block = (linear @ x + constant).reshape(size, size)
    b = a * HALF / HALF[:, None]
    if time == "continuous":
        assert np.allclose(block, -(b.T @ p + p @ b) - rate * p - t * np.eye(2))
    else:
        assert np.allclose(block, np.block([[(1 - rate) * p - t * np.eye(2), b.T @ p], [p @ b, p]]))
    assert np.allclose((made.blocks[2][1] @ x + made.blocks[2][2]).reshape(2, 2), np.eye(2) - p)


def uncertain(folder: Path, m: str = '["0.14", "0.16"]', region: str = 'min_volume = "5"', more: str = "", time: str = "continuous") -> Path:
    """A pendulum of unknown mass under a linear law."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "controller.onnx").write_bytes(network([[[-4.0, -1.0]]]))
    path = folder / "requirement.toml"
    step = 'dt = "1/50"\nmethod = "euler"\n' if time == "discrete" else ""
    path.write_text(f'property = "asymptotic_stability_roa"\nplant = "pendulum"\ncontroller = "controller.onnx"\ntime = "{time}"\n{step}'
                    f'[parameters]\nm = {m}\ntorque_limit = "10"\n{more}[domain]\nlo = ["-1", "-5"]\nhi = ["1", "5"]\n[region]\n{region}\n')
    return path


@pytest.mark.parametrize("time", ["continuous", pytest.param("discrete", marks=pytest.mark.slow)])
def test_an_unknown_mass_is_proved_for_the_whole_interval(time, tmp_path):
    pytest.importorskip("cvxpy")
    path = uncertain(tmp_path, time=time)
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    assert check(path.with_suffix(".cert"), path).outcome == "ACCEPTED"


@pytest.mark.slow
def test_two_unknown_constants_are_proved_together(tmp_path):
    pytest.importorskip("cvxpy")
    assert verify(uncertain(tmp_path, more='b = ["0.01", "0.5"]\n'), workers=1).outcome == "PROVED"


def test_a_mass_four_times_as_large_is_proved_by_the_corners(tmp_path):
    """The same test with all entries at once stops at about 0.24 kg."""
    pytest.importorskip("cvxpy")
    path = uncertain(tmp_path, '["0.1", "0.4"]', 'min_volume = "1"')
    assert verify(path, workers=1).outcome == "PROVED" and check(path.with_suffix(".cert"), path).outcome == "ACCEPTED"


@pytest.mark.threat("T02")
def test_a_mass_that_the_law_cannot_hold_is_not_proved(tmp_path, monkeypatch):
    """At m = 1.2 gravity wins: the middle of the interval holds, one corner does not."""
    monkeypatch.setattr(programmes, "find_spec", lambda name: None)
    assert verify(uncertain(tmp_path, '["0.1", "1.2"]', 'min_volume = "1/100"'), workers=1).outcome != "PROVED"


@pytest.mark.threat("T06")
@pytest.mark.threat("T07")
@pytest.mark.parametrize("mode", ["panic", "abort", "infeasible", "inaccurate", "nan", "good"])
def test_whatever_the_solver_does_only_the_kernel_says_proved(mode, tmp_path, monkeypatch):
    def fake(items, **options):
        return programmes.solve(items, **{**options, "command": [sys.executable, str(FAKE), mode]})

    monkeypatch.setattr(lyapunov, "solve", fake)
    verdict = verify(uncertain(tmp_path), workers=1)
    assert verdict.outcome == "UNKNOWN" or check(tmp_path / "requirement.cert", tmp_path / "requirement.toml").outcome == "ACCEPTED"


@pytest.mark.threat("T06")
def test_a_quadratic_of_one_corner_that_is_called_optimal_proves_nothing_false(tmp_path, monkeypatch):
    def wrong(items, **_):
        return [Solution(np.array([1.0, 1.0, -0.99, 1.0]), 0.0, "wrong") for _ in items]

    monkeypatch.setattr(lyapunov, "solve", wrong)
    path = uncertain(tmp_path, '["0.1", "1.2"]', 'min_volume = "1/100"')
    assert verify(path, workers=1).outcome != "PROVED"


def test_corners_are_all_combinations_of_the_ends(tmp_path):
    question = read_question(uncertain(tmp_path, more='b = ["0.01", "0.5"]\n'))
    loop = question.loop(question.setting())
    found = sorted(float(each.jacobian(np.zeros(2))[1, 1]) for each in loop.all[1:])
    assert np.allclose(found, sorted(-(1.0 + b) / (m * 0.25) for m in (0.14, 0.16) for b in (0.01, 0.5)), rtol=1e-6)
    assert not read_question(uncertain(tmp_path / "fixed", '"0.15"')).loop(question.setting()).vertices


def test_the_worst_corner_counts_and_robustness_is_that_of_the_interval(tmp_path):
    from verifiers.kernel.local import Enclosure
    from verifiers.region.sampling import float_quadratic

    question = read_question(uncertain(tmp_path))
    setting = question.setting()
    loop, x = question.loop(setting), np.array([[0.2, -0.7], [0.1, 1.0]])
    p = np.array([[1.0, 0.05], [0.05, 0.05]])
    each = [float_quadratic(p, np.zeros(2), one).decrease(x) for one in loop.all]
    assert len(each) == 3 and np.allclose(float_quadratic(p, np.zeros(2), loop).decrease(x), np.max(each, axis=0))
    mid, rad = interval_jacobian(setting.loop.field, Enclosure((0, 0), (0, 0)))
    assert (rad[1] > 0).all() and np.allclose(mid[0], [0, 1])
    better = more_robust(p, mid, rad, "continuous")
    assert robust(better, mid, rad, "continuous") >= robust(p, mid, rad, "continuous")
    assert robust(-p, mid, rad, "continuous") == -np.inf
