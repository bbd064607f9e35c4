"""Known-unstable loops are never proved, whatever a prover may try; true neighbours are proved, or at least not refuted."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import build
import numpy as np
import pytest
from build import exact_matrix
from unstable import CLAIMS, TRUE

from verifiers.kernel.rational import parse
from verifiers.kernel.setting import make_stage
from verifiers.prove import read_question
from verifiers.region.sampling import FloatLoop

BY_NAME = {c.name: c for c in CLAIMS}
FALSE = [c.name for c in CLAIMS if "PROVED" not in {outcome for outcome, _ in c.answers}]


@pytest.mark.threat("T04", "T07", "T10", "T11", "T14", "T25")
@pytest.mark.filterwarnings("ignore:An ill-conditioned matrix", "ignore:Input \"a\" has an eigenvalue pair")
@pytest.mark.parametrize("name", BY_NAME)
def test_the_answer_is_right(name, tmp_path):
    claim = BY_NAME[name]
    requirement = claim.question(tmp_path / "q")
    before = sorted(requirement.parent.iterdir())
    verdict = build.prove(requirement, budget=claim.seconds)
    assert (verdict.outcome, verdict.code) in claim.answers, verdict.message
    if verdict.outcome != "PROVED":
        left = [p for p in sorted(requirement.parent.iterdir()) if p not in before and p.name != "loop.cert.search"]
        assert left == [] and verdict.bundle is None


def test_no_true_claim_may_be_called_false():
    for claim in CLAIMS:
        if set(claim.answers) & set(TRUE):
            assert {outcome for outcome, _ in claim.answers} <= {"PROVED", "UNKNOWN"}


def question(name: str, folder: Path) -> tuple[FloatLoop, np.ndarray, np.ndarray]:
    """Loop of a claim in floats, with the corners of its domain."""
    setting = read_question(BY_NAME[name].question(folder)).setting()
    lo, hi = (np.array([float(v) for v in corner]) for corner in (setting.lo, setting.hi))
    return FloatLoop(setting.loop.field, setting.requirement.time), lo, hi


@pytest.mark.parametrize("name", [n for n in FALSE if BY_NAME[n].start is not None])
def test_the_witness_of_a_false_claim_does_not_come_to_rest_at_the_equilibrium(name, tmp_path):
    """A simulated trajectory: from a state of the region claimed it leaves the domain, or is still as far away in the end."""
    claim = BY_NAME[name]
    loop, lo, hi = question(name, tmp_path / "q")
    start = np.array(claim.start)
    assert ((start >= lo) & (start <= hi)).all()
    with np.errstate(all="ignore"):
        run = loop.trajectory(start[None], 1500, 0.01)[:, 0, :len(start)]
    leaves = ~((run >= lo) & (run <= hi)).all(axis=1)
    assert leaves.any() or np.abs(run[-1]).max() >= 0.5 * np.abs(start).max()


@pytest.mark.parametrize("name", [n for n in FALSE if BY_NAME[n].between is not None])
def test_another_equilibrium_lies_in_the_region_claimed(name, tmp_path):
    """Two states of the level set at rest whose accelerations have different signs: between them, by continuity, the pendulum rests too."""
    claim = BY_NAME[name]
    setting = read_question(claim.question(tmp_path / "q")).setting()
    stage = make_stage(setting, setting.functions["V"], setting.requirement.level, None)
    ends = np.array(claim.between)
    found = FloatLoop(setting.loop.field, "continuous").field(ends)
    assert stage.inside(ends.min(axis=0)[None], ends.max(axis=0)[None]).all()
    assert (found[:, 0] == 0).all() and found[0, 1] < -1 and found[1, 1] > 1


@pytest.mark.parametrize("name", [n for n in FALSE if BY_NAME[n].start is None and BY_NAME[n].between is None])
def test_the_witness_of_a_false_claim_without_a_trajectory_is_an_exact_eigenvalue(name, tmp_path):
    """x' = A x with A upper triangular: an eigenvalue above zero (a map: above one) stands on the diagonal, exactly."""
    question = read_question(BY_NAME[name].question(tmp_path / "q"))
    found = exact_matrix(question)
    assert all(found[i][j] == 0 for i in range(len(found)) for j in range(i))
    assert max(found[i][i] for i in range(len(found))) > (1 if question.requirement.time == "discrete" else 0)


@pytest.mark.threat("T10")
def test_the_cancelling_network_is_another_one_in_floats(tmp_path):
    """Summed from the left the network's output is zero, and the loop would look stable; in exact arithmetic it is not."""
    weights = np.array([1e16, 1.0, -1e16])
    assert (weights[0] + weights[1]) + weights[2] == 0.0
    assert sum(map(Fraction, weights.tolist())) == 1


def pair(cases: Path, folder: Path, level: str) -> Path:
    """The published path-tracking pair at a level."""
    source = cases / "roa" / "path_big_seed0"
    limit = json.loads((source / "case.json").read_text())["parameters"]["steering_limit"]
    text = (build.ROA + 'plant = "path_tracking"\n' + build.CONTINUOUS + f'[parameters]\nsteering_limit = "{limit}"\n'
            + build.box("domain", ["10", "10"]) + f'[region]\nlevel = "{level}"\n')
    return build.ask(folder, text, controller=(source / "controller.onnx").read_bytes(), lyapunov=(source / "lyapunov.onnx").read_bytes())


@pytest.mark.threat("T25")
def test_a_published_level_with_an_exact_witness_is_refuted_and_the_level_below_it_is_proved(cases, tmp_path):
    above = build.prove(pair(cases, tmp_path / "above", "0.99"), budget=60)
    assert (above.outcome, above.code) == ("REFUTED", "COUNTEREXAMPLE")
    setting = read_question(tmp_path / "above" / "loop.requirement.toml").setting()
    point = np.array([above.counterexample["x"]])
    stage = make_stage(setting, setting.functions["V"], parse("0.99", "level"), None)
    assert stage.inside(point, point).all() and stage.evaluate(point, point).least[0] >= 0
    below = build.prove(pair(cases, tmp_path / "below", "0.98996"), budget=60)
    assert (below.outcome, below.code) == ("PROVED", None)


@pytest.mark.parametrize(("horizon", "outcome", "code"), [(10, "REFUTED", "UNSTABLE_EQUILIBRIUM"),
                                                          pytest.param(13, "PROVED", None, marks=pytest.mark.slow),
                                                          pytest.param(15, "PROVED", None, marks=pytest.mark.slow), (20, "PROVED", None)])
def test_published_linear_loops(horizon, outcome, code, cases, tmp_path):
    data = json.loads((cases / "linear" / f"d2oc_H{horizon}.json").read_text())
    a, b = ([[str(Fraction(v)) for v in row] for row in data[key]] for key in "AB")
    plant = build.linear_plant(a, b, time="discrete", dt=data["dt"])
    text = build.ROA + f'time = "discrete"\ndt = "{data["dt"]}"\n' + build.box("domain", ["1"] * 8) + '[region]\nmin_radius = "0.001"\n'
    requirement = build.ask(tmp_path / "q", text, plant=plant, controller=build.layers(data["K"]))
    verdict = build.prove(requirement, budget=60)
    assert (verdict.outcome, verdict.code) == (outcome, code), verdict.message
    assert hashlib.sha256(plant).hexdigest() in requirement.read_text()
