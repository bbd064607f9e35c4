"""Comparisons: a policy may jump in discrete time, a jump is never proved away, and whatever needs continuity refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_models import floats, model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "escapes"))
from corpus import plant
from injection import read_as

from verifiers.kernel.check import check
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import affine_exact, evaluate_exact
from verifiers.kernel.gradient import differentiate
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.lipschitz import differences
from verifiers.kernel.local import jacobian
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.polynomial import Polynomial, polynomials
from verifiers.kernel.requirement import Box
from verifiers.kernel.taylor import taylor_models
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify
from verifiers.second.claim import second_opinion

CUT = Fraction(7, 16)
Piece = Callable[[Builder, int], int]


def line(slope: Fraction | int, offset: Fraction | int = 0) -> Piece:
    return lambda b, x: b.affine(x, Affine(np.array([[float(slope)]]), np.array([float(offset)])))


def chosen(z: Piece, a: Piece, b: Piece) -> Piece:
    """a where z >= 0, b elsewhere."""
    return lambda g, x: g.where(z(g, x), a(g, x), b(g, x))


def graph_of(piece: Piece) -> Graph:
    b = Builder()
    return b.build([piece(b, b.input(1))])


ABOVE, BELOW = line(1, -CUT), line(-1, CUT)


def calm(b: Builder, x: int) -> int:
    """3/4 x sin(8x): smaller than x, and so steep away from rest that a proof needs boxes there."""
    wave = b.unary("sin", b.affine(x, Affine(np.array([[8.0]]), np.zeros(1))))
    return b.affine(b.binary("mul", x, wave), Affine(np.array([[0.75]]), np.zeros(1)))


TRUE = {"smaller beyond a cut": chosen(ABOVE, line(Fraction(1, 4)), calm),
        "cut twice": chosen(ABOVE, line(Fraction(1, 4)), chosen(line(-1, -CUT), line(0), calm))}
FALSE = {
    "runs away beyond a cut": chosen(ABOVE, line(2), calm),
    "jumps at a single point": chosen(ABOVE, chosen(BELOW, line(0, 2), calm), calm),
    "jumps in a sliver": chosen(ABOVE, chosen(line(-1, CUT + Fraction(1, 2**40)), line(0, 2), calm), calm),
    "does not rest": chosen(line(1), calm, line(Fraction(1, 2), -1)),
    "jumps beside the equilibrium": chosen(line(1, Fraction(-1, 2**40)), line(Fraction(1, 2), 1), calm),
    "stands still beyond a cut": chosen(ABOVE, line(1), calm),
}


def write(folder: Path, piece: Piece, time: str = "discrete", lyapunov: Piece | None = None) -> Path:
    """A requirement for x+ = u (or x' = u), |u| <= 4, and its files."""
    import hashlib
    import json

    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(plant([["u", 0]], [0], time=time, inputs=1, limit="4")).encode()
    (folder / "p.plant.json").write_bytes(data)
    (folder / "controller.onnx").write_bytes(to_onnx(graph_of(piece), double=True))
    lines = ['property = "asymptotic_stability_roa"', f'plant = {{ path = "p.plant.json", sha256 = "{hashlib.sha256(data).hexdigest()}" }}',
             'controller = "controller.onnx"', f'time = "{time}"', *(['dt = "1"'] if time == "discrete" else [])]
    if lyapunov is not None:
        (folder / "lyapunov.onnx").write_bytes(to_onnx(graph_of(lyapunov), double=True))
        lines.append('lyapunov = "lyapunov.onnx"')
    lines += ["[domain]", 'lo = ["-1"]', 'hi = ["1"]', "[region]", 'level = "max"', 'contains = { lo = ["-1/2"], hi = ["1/2"] }']
    (folder / "requirement.toml").write_text("\n".join(lines) + "\n", encoding="ascii")
    return folder / "requirement.toml"


@pytest.mark.parametrize("name", TRUE)
def test_a_policy_that_jumps_is_proved_where_every_branch_decreases(name, tmp_path):
    verdict = verify(write(tmp_path, TRUE[name]), budget=30, workers=1)
    assert verdict.outcome == "PROVED" and verdict.bundle is not None
    assert check(verdict.bundle, tmp_path / "requirement.toml").outcome == "ACCEPTED"
    assert second_opinion(verdict.bundle, tmp_path / "requirement.toml").outcome == "not handled"


@pytest.mark.threat("T09")
@pytest.mark.parametrize("name", FALSE)
def test_a_false_claim_about_a_policy_that_jumps_is_not_proved(name, tmp_path):
    assert verify(write(tmp_path, FALSE[name]), budget=5, workers=1).outcome != "PROVED"


@pytest.mark.threat("T09")
@pytest.mark.parametrize("name", FALSE)
def test_the_kernel_refuses_the_proof_of_a_policy_whose_jump_the_prover_did_not_see(name, tmp_path, monkeypatch):
    path = write(tmp_path, FALSE[name])
    blind = to_onnx(graph_of(calm), double=True)
    for module, target, value in read_as(lambda r, p, c: (r, p, blind)):
        monkeypatch.setattr(module, target, value)
    verdict = verify(path, budget=30, workers=1)
    assert verdict.outcome in ("REFUSED", "UNKNOWN") and verdict.receipt is not None and verdict.receipt.code == verdict.code, verdict
    near = {"does not rest": ("UNSUPPORTED", "where"), "jumps beside the equilibrium": ("NOT_PROVED", "jacobian")}
    assert (verdict.code, verdict.at) == near.get(name, ("DECREASE", "shell-1")), verdict


@pytest.mark.threat("T09")
def test_at_a_tie_both_branches_count(tmp_path):
    always = chosen(line(0), calm, line(2))  # x+ = x/2 in exact arithmetic; on the other side of rounding it runs away
    assert evaluate(graph_of(always), np.array([0.5]))[0] == np.sin(4.0) * 0.5 * 0.75
    assert verify(write(tmp_path, always), budget=5, workers=1).outcome != "PROVED"


def test_a_policy_that_jumps_is_refused_in_continuous_time(tmp_path):
    verdict = verify(write(tmp_path, chosen(ABOVE, line(-2), line(-1)), time="continuous"), budget=5, workers=1)
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "UNSUPPORTED") and "discrete time" in verdict.message


def test_a_function_that_jumps_is_refused(tmp_path):
    square = chosen(ABOVE, lambda b, x: b.unary("pow", x, 2), lambda b, x: b.unary("pow", x, 2))
    verdict = verify(write(tmp_path, calm, lyapunov=square), budget=5, workers=1)
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "UNSUPPORTED")


def test_a_network_that_jumps_is_read_only_where_it_may():
    data = to_onnx(graph_of(TRUE["cut twice"]), double=True)
    with pytest.raises(Refusal) as no:
        read_onnx(data)
    assert no.value.code is Code.UNSUPPORTED
    graph, session = read_onnx(data, jumps=True).graph, onnxruntime.InferenceSession(data)
    for x in (-1.0, -0.4375, -0.2, 0.4375, 0.4374, 1.0):
        assert evaluate(graph, np.array([x])) == session.run(None, {"X": np.array([[x]])})[0][0]


READINGS: dict[str, Callable[[Graph], Any]] = {
    "taylor": lambda g: taylor_models(g, np.array([[-1.0]]), np.array([[1.0]])),
    "differences": lambda g: differences(g, Box((Fraction(-1),), (Fraction(1),))),
    "differences everywhere": lambda g: differences(g, None),
    "gradient": differentiate,
    "expert or function": lambda g: read_onnx(to_onnx(g, double=True)),
    "polynomial": lambda g: polynomials(g, [Polynomial({(1,): Fraction(1)})]),
}


@pytest.mark.threat("T09")
@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize("z", [ABOVE, line(0, 1)])
def test_readings_that_need_slopes_refuse_a_comparison_even_a_decided_one(name, z):
    with pytest.raises(Refusal) as no:
        READINGS[name](graph_of(chosen(z, line(2), calm)))
    assert no.value.code is Code.UNSUPPORTED


def test_exact_values_have_no_tie_and_no_matrix():
    graph = graph_of(chosen(ABOVE, line(2), line(Fraction(1, 2))))
    assert evaluate_exact(graph, [Fraction(1)]) == (2,) and evaluate_exact(graph, [Fraction(0)]) == (0,)
    with pytest.raises(Refusal):
        evaluate_exact(graph, [CUT])
    assert affine_exact(graph) is None and not graph.is_smooth


def test_no_jacobian_across_a_jump():
    graph, one = graph_of(chosen(ABOVE, line(2), line(Fraction(1, 2)))), ((Fraction(1),),)
    mid, rad = jacobian(graph, (Fraction(0),), one, (Fraction(1, 4),))[2:]
    assert abs(mid[0, 0] - Fraction(1, 2)) <= rad[0, 0] < Fraction(1, 10**9)
    for reach in (CUT, Fraction(1, 2)):  # the jump on the edge of the neighbourhood, and inside
        with pytest.raises(Refusal):
            jacobian(graph, (Fraction(0),), one, (reach,))


def nested(rng: np.random.Generator) -> Graph:
    """Comparisons of affine maps, nested, with layers before and after."""
    b = Builder()
    x = b.input(2)
    h = b.affine(x, Affine(rng.integers(-4, 5, (4, 2)) / 4, rng.integers(-4, 5, 4) / 8))
    v = b.where(b.affine(x, Affine(rng.integers(-2, 3, (4, 2)) / 2, rng.integers(-1, 2, 4) / 4)), h, b.unary("relu", b.unary("neg", h)))
    w = b.where(b.affine(v, Affine(rng.integers(-2, 3, (4, 4)) / 2, rng.integers(-1, 2, 4) / 4)), v, b.binary("mul", h, h))
    return b.build([b.affine(w, Affine(rng.standard_normal((3, 4)), np.zeros(3)))])


@pytest.mark.threat("T09")
@pytest.mark.parametrize("order", [1, 2])
def test_jets_hold_every_value_and_slopes_only_where_nothing_jumps(order):
    rng, decided, open_ = np.random.default_rng(order), 0, 0
    for _ in range(60):
        graph = nested(rng)
        lo = rng.integers(-8, 8, (20, 2)) / 8
        hi = lo + rng.choice([1 / 64, 1 / 8, 1.0], (20, 1))
        centre, radius = split_boxes(lo, hi)
        reading = JetReading(radius, order)
        with np.errstate(all="ignore"):
            jet = read_jets(graph, reading, reading.start(centre))
            low, high = reading.bounds(jet)
        corners = np.stack([lo, hi, lo + (hi - lo) * [1, 0], lo + (hi - lo) * [0, 1], centre, lo + (hi - lo) * rng.random((20, 2))])
        values = np.stack([evaluate(graph, points) for points in corners])
        assert (low <= values + 1e-12).all() and (high >= values - 1e-12).all()
        slopes = jet.rad[reading.v + 1:reading.v + 3]
        known = np.isfinite(slopes).all(axis=0)
        steps = values - values[4]
        for k in range(len(corners)):  # where slopes are known the mean-value form holds, so nothing jumped
            moved = np.abs(corners[k] - centre).T[:, :, None]
            room = ((np.abs(jet.mid[reading.v + 1:reading.v + 3]) + np.where(known, slopes, 0.0)) * moved).sum(axis=0) + 1e-12
            assert (np.abs(steps[k])[known] <= room[known]).all()
        decided, open_ = decided + int(known.sum()), open_ + int((~known).sum())
    assert decided > 100 and open_ > 100


def test_a_comparison_of_something_undefined_is_undefined():
    b = Builder()
    x = b.input(1)
    graph = b.build([b.where(b.binary("div", b.const([Fraction(1)]), x), b.const([Fraction(1)]), b.const([Fraction(0)]))])
    centre, radius = split_boxes(np.array([[-1.0], [1.0]]), np.array([[1.0], [2.0]]))
    reading = JetReading(radius, 1)
    with np.errstate(all="ignore"):
        low, high = reading.bounds(read_jets(graph, reading, reading.start(centre)))
    assert np.isnan([low[0, 0], high[0, 0]]).all() and low[1, 0] <= 1 <= high[1, 0] and low[1, 0] > 0.99


GE = helper.make_node("GreaterOrEqual", ["x", "zero"], ["c"])
TENSORS = [floats("zero", np.zeros((1, 3))), floats("one", np.ones((1, 3))), helper.make_tensor("yes", TensorProto.BOOL, [1, 3], [True] * 3)]


@pytest.mark.parametrize("nodes", [
    [helper.make_node("Where", ["x", "one", "zero"], ["y"])],
    [helper.make_node("Where", ["one", "x", "zero"], ["y"])],
    [GE, helper.make_node("Where", ["c", "c", "zero"], ["y"])],
    [GE, helper.make_node("Add", ["c", "x"], ["y"])], [GE, helper.make_node("Relu", ["c"], ["y"])],
    [GE, helper.make_node("Cast", ["c"], ["y"], to=1)],
    [GE, helper.make_node("GreaterOrEqual", ["c", "zero"], ["d"]), helper.make_node("Where", ["d", "x", "zero"], ["y"])],
    [GE, helper.make_node("Concat", ["c", "x"], ["y"], axis=1)], [GE, helper.make_node("MatMul", ["c", "x"], ["y"])],
    [GE, helper.make_node("Where", ["c", "x"], ["y"])], [GE, helper.make_node("ReduceSum", ["c"], ["y"])],
])
def test_truth_values_are_read_by_where_alone(nodes):
    made = model(nodes, TENSORS[:2], (1, 3), out=[1, 3])
    with pytest.raises(Refusal) as no:
        read_onnx(made.SerializeToString(), jumps=True)
    assert no.value.code in (Code.UNKNOWN_OPERATOR, Code.BAD_ONNX, Code.BAD_SHAPE)


def test_truth_values_given_as_constants_or_results_are_refused():
    given = model([helper.make_node("Where", ["yes", "x", "zero"], ["y"])], [TENSORS[0], TENSORS[2]], (1, 3), out=[1, 3])
    result = model([helper.make_node("GreaterOrEqual", ["x", "zero"], ["y"])], TENSORS[:1], (1, 3), out=[1, 3])
    result.graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    old = model([GE, helper.make_node("Where", ["c", "x", "zero"], ["y"])], TENSORS[:1], (1, 3), out=[1, 3], opset=11)
    for made in (given, result, old):
        with pytest.raises(Refusal):
            read_onnx(made.SerializeToString(), jumps=True)


@pytest.mark.parametrize("between", [
    [], [helper.make_node("Reshape", ["c", "shape"], ["d"])], [helper.make_node("Transpose", ["c"], ["d"], perm=[1, 0])]])
def test_truth_values_may_be_moved(between):
    from onnx import numpy_helper

    shape = numpy_helper.from_array(np.array([3, 1], dtype=np.int64), "shape")
    made = model([GE, *between, helper.make_node("Where", ["d" if between else "c", "x", "minus"], ["y"])],
                 [TENSORS[0], shape, floats("minus", [[-1.0]])], (1, 3), out=[3, 3] if between else [1, 3])
    graph, session = read_onnx(made.SerializeToString(), jumps=True).graph, onnxruntime.InferenceSession(made.SerializeToString())
    for x in np.random.default_rng(0).integers(-2, 3, (20, 3)).astype(np.float32):
        assert (evaluate(graph, x.astype(float)) == session.run(None, {"x": x[None]})[0].ravel()).all()
