"""The attack: errors within their size, never better for the plant than none, and the known worst case of one step of a linear loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from certctl import attack_loop
from certctl.cli.main import run
from certctl.learners.lipschitz.attack import attack
from certctl.learners.lipschitz.problem import open_problem
from verifiers.kernel.graph import Affine, Builder
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx


def gain(*row: float):
    b = Builder()
    return b.build([b.affine(b.input(2), Affine(np.array([row]), np.zeros(1)))])


def sampled(half: str):
    return open_problem("double_integrator", domain=((f"-{half}",) * 2, (half,) * 2), time="discrete", dt="1/10", method="euler",
                        parameters={"input_limit": "50"})


@pytest.fixture(scope="module")
def cart():
    return sampled("2")


def test_one_step_has_its_known_worst_error(cart):
    """x+ is not priced after one step, so only |u|^2 is: the worst error of size s lies along the gain, and |u| grows by s |K|."""
    k, x = np.array([-3.0, -4.0]), np.array([[0.2, 0.1], [-0.5, 0.3]])
    found = attack(cart, gain(*k), x, 0.1, steps=1)
    worst = (np.abs(x @ k) + 0.1 * 5) ** 2 + (x**2).sum(axis=1)
    assert np.allclose(found.attacked_cost, worst, rtol=1e-6) and np.allclose(found.nominal_cost, (x @ k) ** 2 + (x**2).sum(axis=1))


def test_errors_keep_their_size_and_states_are_those_of_the_loop(cart):
    policy = gain(-1.0, -1.7)
    found = attack(cart, policy, np.array([[0.5, 0.0], [0.0, -0.5], [0.1, 0.1]]), 0.2, steps=15, iterations=15)
    assert found.errors.shape == (15, 3, 2) and np.linalg.norm(found.errors, axis=2).max() <= 0.2 + 1e-12
    assert (found.attacked_cost > 1.2 * found.nominal_cost).all()
    for x, errors in ((found.nominal, 0 * found.errors), (found.attacked, found.errors)):
        for k in range(15):
            assert np.allclose(evaluate(cart.step, x[k], evaluate(policy, x[k] + errors[k])), x[k + 1])


def test_without_size_there_is_no_attack(cart):
    found = attack(cart, gain(-1.0, -1.7), np.array([[0.5, 0.0]]), 0.0, steps=10)
    assert (found.nominal == found.attacked).all() and found.nominal_cost == found.attacked_cost and not found.drives_out(cart).any()


def test_a_policy_that_reacts_wildly_is_driven_out_and_a_gentle_one_is_not():
    """A steep feedback turns an error of the measurement into a large input."""
    small = sampled("1")
    start = np.array([[0.1, 0.0]])
    driven = {k: attack(small, gain(-k, -k), start, 0.2, steps=40, iterations=30).drives_out(small)[0] for k in (1.0, 18.0)}
    assert driven == {1.0: False, 18.0: True}


@pytest.mark.parametrize("wrong", [{"size": -0.1}, {"size": float("nan")}, {"starts": np.zeros((1, 3))}, {"steps": 0}])
def test_calls_that_do_not_fit_are_refused(cart, wrong):
    given = {"starts": np.zeros((1, 2)), "size": 0.1, "steps": 2, **wrong}
    with pytest.raises(ValueError):
        attack(cart, gain(-1.0, -1.0), given.pop("starts"), given.pop("size"), **given)


def requirement(folder: Path, *, row: tuple[float, float] = (-1.0, -1.7), more: str = "") -> Path:
    """A requirement about a double integrator under a gain."""
    (folder / "policy.onnx").write_bytes(to_onnx(gain(*row), double=True))
    path = folder / "requirement.toml"
    path.write_text('property = "practical_stability"\nplant = "double_integrator"\ncontroller = "policy.onnx"\ntime = "discrete"\ndt = "1/10"\n'
                    'method = "euler"\n[parameters]\ninput_limit = "50"\n[domain]\nlo = ["-2", "-2"]\nhi = ["2", "2"]\n'
                    '[target]\nlo = ["-1/2", "-1/2"]\nhi = ["1/2", "1/2"]\n'
                    '[region]\ncontains = { lo = ["-1", "-1/4"], hi = ["1", "1/4"] }\n' + more, encoding="utf-8")
    return path


def test_the_loop_of_a_requirement_is_attacked_from_its_region(tmp_path, cart):
    found = attack_loop(requirement(tmp_path), size=0.1, count=5, steps=20, iterations=10)
    assert found.found.nominal.shape == (21, 5, 2) and (np.abs(found.found.nominal[0]) <= [1, 0.25]).all() and found.pace == 0.1
    again = attack(cart, gain(-1.0, -1.7), found.found.nominal[0], 0.1, steps=20, iterations=10)
    assert np.array_equal(again.attacked, found.found.attacked)


def test_the_command_says_as_json_what_it_found_and_keeps_it(tmp_path, capsys):
    path = requirement(tmp_path, row=(-30.0, -30.0))
    options = ["--size", "0.3", "--start", "0.1,0", "--start=0,0.1", "--steps", "30", "--iterations", "20", "-o", str(tmp_path / "a.npz")]
    assert run(["attack", str(path), *options, "--output-format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proved"] is False and (found["size"], found["steps"], found["seconds_per_step"]) == (0.3, 30, 0.1)
    assert [start["x"] for start in found["starts"]] == [[0.1, 0.0], [0.0, 0.1]]
    assert all(start["attacked_cost"] > start["nominal_cost"] for start in found["starts"])
    assert any(start["leaves_domain"] or start["misses_target"] for start in found["starts"])
    with np.load(tmp_path / "a.npz") as kept:
        assert kept["errors"].shape == (30, 2, 2) and np.allclose(kept["attacked"][-1, 0], found["starts"][0]["end"])


def test_a_gentle_loop_ends_in_its_target(tmp_path, capsys):
    path = requirement(tmp_path)
    (tmp_path / "w.toml").write_text('Q = ["2", "0.5"]\nR = ["0.1"]\n', encoding="utf-8")
    options = ["--size", "0.05", "--starts", "3", "--steps", "80", "--iterations", "5", "--weights", str(tmp_path / "w.toml")]
    assert run(["attack", str(path), *options]) == 0
    said = capsys.readouterr().out
    assert "0 of 3 trajectories leave the domain" in said and "0 of 3 end outside" in said and "nothing is proved or refuted" in said


def test_the_size_is_that_of_the_requirement(tmp_path):
    path = requirement(tmp_path, more='[attack]\nsize = "1/8"\nnorm = "l2"\n[expert]\nkind = "lqr"\ngain = [["1", "1.7"]]\nerror = "1"\n')
    path.write_text(path.read_text().replace("practical_stability", "imitation_iss"))
    found = attack_loop(path, count=2, steps=5, iterations=3)
    assert found.size == 0.125 and 0.1 < np.linalg.norm(found.found.errors, axis=2).max() <= 0.125 + 1e-12


@pytest.mark.parametrize(("arguments", "says"), [
    ([], "this requirement has no [attack]"), (["--size", "inf"], "finite"), (["--size", "0.1", "--start", "1,2,3"], "do not fit"),
    (["--size", "0.1", "--start", "one,2"], "numbers with commas"), (["--size", "0.1", "-o", "x.csv"], "FILE.npz"),
    (["--size", "0.1", "--output-format", "junit"], "text and json"), (["--size", "0.1", "--weights", "absent.toml"], "absent.toml")])
def test_wrong_calls_of_the_command_are_exit_2_with_a_sentence(tmp_path, capsys, arguments, says):
    assert run(["attack", str(requirement(tmp_path)), *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_requirement_without_controller_has_nothing_to_mislead(tmp_path, capsys):
    path = requirement(tmp_path)
    path.write_text(path.read_text().replace('controller = "policy.onnx"\n', ""))
    assert run(["attack", str(path), "--size", "1"]) == 2 and "names no controller" in capsys.readouterr().err
