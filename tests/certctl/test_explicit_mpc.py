"""The commands explicit-mpc and evaluate, and what the other commands make of a law's bundle."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_bundles import prove, write_case

from certctl import load_deployable
from certctl.api import NotDeployable
from certctl.cli.main import run

ARRAYS = {"H": [[1.0, 0.0], [0.0, 2.0]], "f": [0.0, 0.0], "F": [[1.0, 0.0], [0.0, 1.0]], "A": [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
          "b": [[1.0], [1.0], [1.0], [1.0]], "B": [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], "lb": [-4.0, -4.0], "ub": [4.0, 4.0]}


@pytest.fixture
def problem(tmp_path):
    """A folder with a small problem of two parameters."""
    path = tmp_path / "small.npz"
    np.savez(path, **{key: np.array(value) for key, value in ARRAYS.items()}, note=np.array("left alone"))
    return path


def last(capsys):
    return capsys.readouterr().out.strip().splitlines()[-1]


def test_problem_becomes_a_proved_bundle_that_evaluates(problem, capsys):
    assert run(["explicit-mpc", str(problem), "--output-format", "json", "--search", "both"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["property"], found["level"], found["added"]) == ("PROVED", "pwa_equivalence", "L2", 0)
    assert found["regions"] > 3 and found["halfspaces"] > 3 and found["solve_s"] >= 0 and found["leaves"] >= found["regions"]
    bundle = problem.with_suffix(".cert")
    assert run(["check", str(bundle)]) == 0
    assert last(capsys).startswith("PROVED small pwa_equivalence level=L2")
    theta = np.array([[0.0, 0.0], [0.25, 2.0], [-4.0, 0.0], [9.0, 0.0]])
    np.save(problem.with_name("theta.npy"), theta)
    assert run(["evaluate", str(bundle), str(problem.with_name("theta.npy")), "-o", str(problem.with_name("u.npy"))]) == 0
    values = np.load(problem.with_name("u.npy"))
    np.testing.assert_allclose(values[:2], [[0.0, 0.0], [-0.25, -1.0]])
    np.testing.assert_allclose(values[2], [-2 / 3, -7 / 3])
    assert np.isnan(values[3]).all()


def test_law_of_ones_own_requirement_is_verified_gated_and_loaded(problem, capsys):
    assert run(["explicit-mpc", str(problem)]) == 0
    folder = problem.parent / "mine"
    folder.mkdir()
    for name in ("requirement.toml", "problem.json"):
        shutil.copy(problem.with_suffix(".cert") / name, folder / name)
    requirement = folder / "requirement.toml"
    assert run(["verify", str(requirement)]) == 0
    assert last(capsys).startswith("PROVED")
    bundle = folder / "requirement.cert"
    shutil.copy(bundle / "law.json", folder / "law.json")
    assert run(["gate", str(folder)]) == 0
    assert load_deployable(bundle, requirement).controller == (folder / "law.json").read_bytes()
    assert run(["explicit-mpc", str(requirement), "--force"]) == 0
    (folder / "problem.json").write_bytes((folder / "problem.json").read_bytes() + b" ")
    assert run(["check", str(bundle), "--requirement", str(requirement)]) == 4
    assert run(["verify", str(requirement), "--force"]) == 4
    assert "PROBLEM_MISMATCH" in last(capsys)
    with pytest.raises(NotDeployable, match="PROBLEM_MISMATCH"):
        load_deployable(bundle, requirement)


def test_law_is_shown_and_reported(problem, capsys):
    assert run(["explicit-mpc", str(problem)]) == 0
    capsys.readouterr()
    assert run(["show", str(problem.with_suffix(".cert"))]) == 0
    shown = capsys.readouterr().out
    assert "is the minimiser of the problem" in shown and "no plant is part of this claim" in shown and "pwa_tree" in shown
    page = problem.with_name("page.html")
    assert run(["report", str(problem.with_suffix(".cert")), "-o", str(page)]) == 0
    assert "is the minimiser of the problem" in page.read_text(encoding="utf-8")


def test_changed_law_is_refused(problem, capsys):
    assert run(["explicit-mpc", str(problem)]) == 0
    law = problem.with_suffix(".cert") / "law.json"
    law.write_bytes(law.read_bytes().replace(b'"-1"', b'"-2"', 1))
    assert run(["check", str(problem.with_suffix(".cert"))]) == 4
    np.save(problem.with_name("theta.npy"), np.zeros((1, 2)))
    assert run(["evaluate", str(problem.with_suffix(".cert")), str(problem.with_name("theta.npy"))]) == 4
    assert "DIGEST_MISMATCH" in capsys.readouterr().err


def test_network_of_a_bundle_is_evaluated(tmp_path, capsys):
    bundle = prove(write_case(tmp_path, gains=(-1.5, -2.0)))
    np.save(tmp_path / "x.npy", np.array([[0.5, 0.25]]))
    assert run(["evaluate", str(bundle), str(tmp_path / "x.npy")]) == 0
    assert float(capsys.readouterr().out) == -1.25
    np.save(tmp_path / "x.npy", np.zeros((3, 5)))
    assert run(["evaluate", str(bundle), str(tmp_path / "x.npy")]) == 2


@pytest.mark.parametrize(("change", "says"), [
    ({"H": [[1.0, 0.0], [0.0, -2.0]]}, "BAD_PROBLEM"), ({"b": [1.0]}, "BAD_PROBLEM"), ({"lb": [4.0, -4.0]}, "BAD_PROBLEM"),
    ({"b": [-9.0, 1.0, 1.0, 1.0], "lb": [-1.0, -1.0], "ub": [1.0, 1.0]}, "EMPTY_REGION")])
def test_problems_without_a_law_leave_no_bundle(problem, capsys, change, says):
    np.savez(problem, **{key: np.array(value) for key, value in {**ARRAYS, **change}.items()})
    assert run(["explicit-mpc", str(problem)]) in (1, 2)
    assert f"code={says}" in last(capsys)
    assert not problem.with_suffix(".cert").exists()


def test_model_becomes_the_law_of_its_first_move(tmp_path, capsys):
    model = tmp_path / "loop.toml"
    model.write_text("""
A = [["1", "1"], ["0", "1"]]
B = [["1/2"], ["1"]]
horizon = 2
weights = { Q = [[1, 0], [0, 1]], R = [["1/10"]] }
limits = { u = { lo = [-1], hi = [1] } }
domain = { lo = [-2, -2], hi = [2, 2] }
""", encoding="utf-8")
    assert run(["explicit-mpc", str(model), "--output-format", "json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["outside"] == 0 and "no terminal set" in captured.err
    np.save(tmp_path / "x.npy", np.array([[2.0, 2.0], [0.0, 0.0], [-2.0, -2.0]]))
    assert run(["evaluate", str(tmp_path / "loop.cert"), str(tmp_path / "x.npy")]) == 0
    assert [float(line) for line in capsys.readouterr().out.split()] == [-1.0, 0.0, 1.0]
    model.write_text("A = 3", encoding="utf-8")
    assert run(["explicit-mpc", str(model), "--force"]) == 2


def test_wrong_calls_are_usage_errors(problem, capsys):
    assert run(["explicit-mpc", str(problem.with_name("absent.npz"))]) == 2
    assert run(["explicit-mpc", str(problem)]) == 0
    assert run(["explicit-mpc", str(problem)]) == 2
    assert "--force" in capsys.readouterr().out
    assert run(["evaluate", str(problem.with_suffix(".cert")), str(problem)]) == 2
    np.save(problem.with_name("flat.npy"), np.zeros(3))
    assert run(["evaluate", str(problem.with_suffix(".cert")), str(problem.with_name("flat.npy"))]) == 2
    np.save(problem.with_name("wide.npy"), np.zeros((3, 7)))
    assert run(["evaluate", str(problem.with_suffix(".cert")), str(problem.with_name("wide.npy"))]) == 2
    assert "(N, 2) is expected" in capsys.readouterr().err


def test_a_law_is_drawn_and_only_as_what_it_is(tmp_path, problem, capsys):
    from PIL import Image

    assert run(["explicit-mpc", str(problem)]) == 0
    bundle = problem.with_suffix(".cert")
    figure = tmp_path / "law.png"
    assert run(["plot", str(bundle), "--kind", "law", "-o", str(figure)]) == 0
    digest = next(line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("digest"))
    with Image.open(figure) as image:
        assert image.width > 900 and digest.removeprefix("sha256:") in "".join(map(str, image.text.values()))
    assert run(["plot", str(bundle), "-o", str(tmp_path / "other.png")]) == 2 and "--kind law" in capsys.readouterr().err
    network = prove(write_case(tmp_path, gains=(-1.5, -2.0)))
    assert run(["plot", str(network), "--kind", "law", "-o", str(tmp_path / "other.png")]) == 2
    assert "accepted bundle of pwa_equivalence" in capsys.readouterr().err and not (tmp_path / "other.png").exists()


SHORT = """
A = [["1", "1"], ["0", "1"]]
B = [["1/2"], ["1"]]
horizon = 4
[weights]
Q = [[1, 0], [0, 1]]
R = [[1]]
P = [[1, 0], [0, 1]]
[limits]
x = { lo = [-5, -5], hi = [5, 5] }
u = { lo = [-1], hi = [1] }
[domain]
lo = [-5, -5]
hi = [5, 5]
"""


def test_a_loop_is_proved_stable_by_a_piecewise_quadratic_function(tmp_path, capsys, monkeypatch):
    pytest.importorskip("cvxpy", reason="CVXPY is not installed here (the extra sdp brings it)")
    model = tmp_path / "short.toml"
    model.write_text(SHORT, encoding="utf-8")
    assert run(["explicit-mpc", str(model), "--stable", "--output-format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "PROVED" and found["regions"] == 11
    assert found["regions"] <= found["cells"] <= found["transitions"] < found["cells"] ** 2
    bundle = tmp_path / "short.cert"
    assert "stable     = true" in (bundle / "requirement.toml").read_text() and run(["check", str(bundle)]) == 0
    capsys.readouterr()
    assert run(["show", str(bundle)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "converges to the origin exponentially" in shown and "Stability, and anything" not in shown
    own = tmp_path / "own"
    own.mkdir()
    for name in ("requirement.toml", "problem.json"):
        shutil.copy(bundle / name, own / name)
    from verifiers.explicit_mpc import piecewise
    from verifiers.sdp.programme import Unsolved

    monkeypatch.setattr(piecewise, "solve", lambda *_, **__: [Unsolved("infeasible", "there is none")])
    assert run(["verify", str(own / "requirement.toml")]) == 3
    assert "NO_PROOF_FOUND" in last(capsys)
    assert run(["explicit-mpc", str(model), "--stable", "--force", "-o", str(tmp_path / "none.cert")]) == 3
    assert "UNKNOWN" in last(capsys) and not (tmp_path / "none.cert").exists()
    assert run(["explicit-mpc", str(own / "requirement.toml"), "--stable", "--force"]) == 2


LOOP = """
A = [["1", "1"], ["0", "1"]]
B = [["1/2"], ["1"]]
horizon = 2
[weights]
Q = [[1, 0], [0, 1]]
R = [["1/10"]]
[limits]
x = { lo = [-5, -5], hi = [5, 5] }
u = { lo = [-1], hi = [1] }
[terminal]
set = "invariant"
[domain]
lo = [-5, -5]
hi = [5, 5]
"""


def test_a_loop_with_a_terminal_set_is_feasible_for_ever_and_one_without_is_refuted(tmp_path, capsys):
    model = tmp_path / "loop.toml"
    model.write_text(LOOP, encoding="utf-8")
    assert run(["explicit-mpc", str(model), "--feasible"]) == 0
    assert last(capsys).startswith("PROVED loop pwa_equivalence")
    assert run(["show", str(tmp_path / "loop.cert")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "it has a value at every successor" in shown and "Stability, and anything about a loop with another plant" in shown
    model.write_text(LOOP.replace('"invariant"', '"none"'), encoding="utf-8")
    other = tmp_path / "other.cert"
    assert run(["explicit-mpc", str(model), "-o", str(other), "--feasible", "--output-format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["code"]) == ("REFUTED", "IMAGE") and not other.exists()
    assert max(map(abs, found["counterexample"]["x"])) <= 5 and "in one step" in found["counterexample"]["why"]
    assert run(["explicit-mpc", str(model), "-o", str(other)]) == 0, "the law itself is proved all the same"
    own = tmp_path / "own"
    own.mkdir()
    for name in ("requirement.toml", "problem.json"):
        shutil.copy(other / name, own / name)
    text = (own / "requirement.toml").read_text().replace("[domain]", 'loop = { A = [["1", "1"], ["0", "1"]], B = [["1/2"], ["1"]] }\n[domain]')
    (own / "requirement.toml").write_text(text)
    assert run(["verify", str(own / "requirement.toml")]) == 1
    assert "REFUTED" in last(capsys)
    assert run(["explicit-mpc", str(own / "requirement.toml"), "--feasible"]) == 2
