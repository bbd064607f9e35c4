"""Lipschitz bounds: what is proved holds on samples, and every single fault in bundle or requirement is refused with its code."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from networks import bound_case, helper, network, onnx

from verifiers.kernel.bundle import open_bundle
from verifiers.kernel.check import check
from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Builder
from verifiers.kernel.lipschitz import MAX_SIZE, differences, layers
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.requirement import Box, read_bound
from verifiers.load.floats import evaluate
from verifiers.prove import falsify, verify
from verifiers.sdp.lipschitz import Multipliers, find_multipliers

W = [[[0.5, -1.0], [1.25, 0.25], [-0.75, 0.5]], [[1.0, -0.5, 0.25], [0.5, 1.0, -1.0]], [[0.75, -0.5]]]
BIAS = [[0.25, -0.5, 0.0], [0.125, 0.25], [0.5]]
DOMAIN = '[domain]\nlo = ["-1/4", "-1/4"]\nhi = ["1/4", "1/4"]\n'


@pytest.fixture(scope="module")
def proved(tmp_path_factory) -> Path:
    """A requirement whose bundle was proved."""
    pytest.importorskip("cvxpy")
    path = bound_case(tmp_path_factory.mktemp("lipschitz"), network(W, "Tanh", BIAS), "1.65")
    verdict = verify(path)
    assert verdict.outcome == "PROVED", verdict.message
    return path


def test_the_bundle_is_accepted_against_the_callers_requirement(proved):
    receipt = check(proved.with_suffix(".cert"), proved)
    assert (receipt.outcome, receipt.property, receipt.level) == ("ACCEPTED", "lipschitz_bound", "L2")
    assert receipt.region == {"function": "lipschitz_l2", "level": "33/20", "volume_lower_bound": None}


def edit(bundle: Path, change) -> None:
    """Change certificate.json as a forger would."""
    path = bundle / "certificate.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    change(table["predicate"])
    path.write_text(json.dumps(table), encoding="utf-8")


def proof(predicate):
    return predicate["obligations"][0]["proof"]


FAULTS = {
    "negative": ("NOT_DEFINITE", lambda p: proof(p)["multipliers"].__setitem__(0, "-1")),
    "zero": ("NOT_DEFINITE", lambda p: proof(p)["multipliers"].__setitem__(3, "0")),
    "huge": ("NOT_DEFINITE", lambda p: proof(p)["multipliers"].__setitem__(3, "1000000")),
    "one-missing": ("BAD_SHAPE", lambda p: proof(p)["multipliers"].pop()),
    "one-more": ("BAD_SHAPE", lambda p: proof(p)["multipliers"].append("1")),
    "nan": ("BAD_NUMBER", lambda p: proof(p)["multipliers"].__setitem__(0, "NaN")),
    "kind": ("UNSUPPORTED", lambda p: proof(p).update(kind="lmi")),
    "field": ("MALFORMED_CERTIFICATE", lambda p: proof(p).update(slopes=["0", "1"])),
    "no-obligation": ("MISSING_OBLIGATION", lambda p: p["obligations"].clear()),
    "more": ("UNEXPECTED_OBLIGATION", lambda p: p["obligations"].append({"id": "volume", "proof": {"kind": "evaluation"}})),
    "function": ("UNEXPECTED_OBLIGATION", lambda p: p["functions"].update(P={"kind": "quadratic", "matrix": [["1"]], "center": ["0"]})),
    "smaller-bound": ("CLAIM_MISMATCH", lambda p: p["claim"].update(bound="3/2")),
    "other-norm": ("CLAIM_MISMATCH", lambda p: p["claim"].update(norm="linf")),
    "smaller-domain": ("CLAIM_MISMATCH", lambda p: p["claim"].update(domain={"lo": ["0", "0"], "hi": ["1", "1"]})),
    "other-property": ("CLAIM_MISMATCH", lambda p: p["claim"].update(property="forward_invariance")),
    "claim-more": ("CLAIM_MISMATCH", lambda p: p["claim"].update(deployable="yes")),
    "no-controller": ("MALFORMED_CERTIFICATE", lambda p: p.pop("controller")),
}


@pytest.mark.threat("T03")
@pytest.mark.threat("T04")
@pytest.mark.threat("T06")
@pytest.mark.parametrize(("code", "change"), FAULTS.values(), ids=FAULTS)
def test_a_single_fault_is_refused(proved, tmp_path, code, change):
    twin = tmp_path / "twin"
    twin.mkdir()
    for file in proved.with_suffix(".cert").iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    edit(twin, change)
    receipt = check(twin, proved)
    assert (receipt.outcome == "ACCEPTED", receipt.code) == (False, code)


@pytest.mark.threat("T01")
@pytest.mark.threat("T18")
def test_other_files_than_those_proved_are_refused(proved, tmp_path):
    own = bound_case(tmp_path / "controller", network(W, "Relu", BIAS), "1.65")
    assert check(proved.with_suffix(".cert"), own).code == "CONTROLLER_MISMATCH"
    own = bound_case(tmp_path / "bound", network(W, "Tanh", BIAS), "1.5")
    assert check(proved.with_suffix(".cert"), own).code == "REQUIREMENT_MISMATCH"
    own = bound_case(tmp_path / "L3", network(W, "Tanh", BIAS), "1.65", '[evidence]\nminimum = "L3"\n')
    data = own.read_bytes()
    from verifiers.bundle_writer import write_bundle
    from verifiers.kernel.lipschitz import claim_of

    given = open_bundle(proved.with_suffix(".cert"))
    for plant, code in ((None, "EVIDENCE_TOO_LOW"), (b"{}", "UNEXPECTED_OBLIGATION")):
        out = tmp_path / code
        write_bundle(out, requirement=data, plant=plant, controller=given.controller, functions={}, files={}, claim=claim_of(read_bound(data, "L3")),
                     obligations=[{"id": "bound", "proof": given.obligations["bound"]}], assumptions=[], producer={})
        assert check(out, own).code == code


@pytest.mark.threat("T04")
def test_a_bundle_about_a_plant_does_not_answer_a_bound(proved, tmp_path):
    """The same files under a requirement about a loop: there is no plant in the bundle."""
    own = tmp_path / "requirement.toml"
    own.write_text('property = "forward_invariance"\nplant = "pendulum"\ncontroller = "controller.onnx"\ntime = "continuous"\n'
                   '[domain]\nlo = ["-1", "-1"]\nhi = ["1", "1"]\n[region]\nmin_radius = "1/2"\n', encoding="utf-8")
    assert check(proved.with_suffix(".cert"), own).code == "REQUIREMENT_MISMATCH"
    twin = tmp_path / "twin"
    twin.mkdir()
    from hashlib import sha256

    for file in proved.with_suffix(".cert").iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    (twin / "requirement.toml").write_bytes(own.read_bytes())
    edit(twin, lambda p: p["requirement"].update(sha256=sha256(own.read_bytes()).hexdigest()))
    assert check(twin, own).code == "PLANT_MISMATCH"


REQUIREMENTS = {
    "no-value": ('value = "1.65"\n', "", "BAD_REQUIREMENT"), "zero": ('"1.65"', '"0"', "BAD_REQUIREMENT"),
    "negative": ('"1.65"', '"-1"', "BAD_REQUIREMENT"),
    "nan": ('"1.65"', '"nan"', "BAD_NUMBER"), "norm": ('"l2"', '"linf"', "BAD_REQUIREMENT"), "no-norm": ('norm = "l2"\n', "", "BAD_REQUIREMENT"),
    "unknown": ("[bound]", 'plant = "pendulum"\n[bound]', "BAD_REQUIREMENT"),
    "domain": ("[bound]", '[domain]\nlo = ["0"]\nhi = ["1"]\n[bound]', "BAD_SHAPE"),
    "empty-domain": ("[bound]", '[domain]\nlo = ["0", "0"]\nhi = ["0", "1"]\n[bound]', "BAD_REQUIREMENT"),
    "method": ("[bound]", '[prover]\nmethod = "lipsdp-network"\n[bound]', "BAD_REQUIREMENT"),
    "missing-file": ("controller.onnx", "other.onnx", "MISSING_FILE"),
}


@pytest.mark.parametrize(("old", "new", "code"), REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_a_bad_requirement_is_refused_at_the_door(tmp_path, old, new, code):
    path = bound_case(tmp_path, network(W, "Tanh", BIAS), "1.65")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    verdict = verify(path)
    assert (verdict.outcome, verdict.code) == ("ERROR", code)
    assert not path.with_suffix(".cert").exists()


@pytest.mark.parametrize("act", ["Relu", "Tanh", "Sigmoid", "Softplus", "LeakyRelu", "Abs", "Sin", "Atan"])
def test_multipliers_bound_the_quotient_on_samples(act):
    """The form of the differences: no sampled pair exceeds a bound that the exact matrix proves, for each allowed function."""
    attributes = {"alpha": 0.125} if act == "LeakyRelu" else {}
    graph = read_onnx(network(W, act, BIAS, **attributes), "net").graph if act not in ("Atan",) else by_hand("atan")
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 4000, 2)) * rng.choice([0.1, 1, 10], (2, 4000, 1))
    y[::2] = x[::2] + 1e-3 * y[::2]
    for domain in (None, Box((Fraction(-1, 2),) * 2, (Fraction(1, 2),) * 2)):
        found, keep = differences(graph, domain), np.ones(len(x), dtype=bool) if domain is None else (np.abs([x, y]).max(axis=(0, 2)) <= 0.5)
        ratio = (np.linalg.norm(evaluate(graph, x) - evaluate(graph, y), axis=1) / np.linalg.norm(x - y, axis=1))[keep].max()
        least = next(b for b in np.geomspace(0.05, 60, 30) if found.proves(Fraction(b), trial(found, 1)) or b > 59)
        assert ratio <= least < 59


def trial(found, scale):
    """Multipliers by hand: layer by layer, enough to dominate what the next layer takes; they prove some bound, not the best."""
    v = np.abs(found.arguments.astype(float))
    h = np.abs(found.output.astype(float))
    t = np.zeros(len(v))
    for i in range(len(v) - 1, -1, -1):
        column = found.inputs + i
        taken = (h[:, column] * h.sum(axis=1)).sum() + (t * v[:, column] * v.sum(axis=1)).sum()
        t[i] = scale * max(2 * taken, 1e-3)
    return tuple(Fraction(float(x)) for x in t)


def by_hand(op):
    """A network of one layer with a function that the ONNX allow-list does not have."""
    from verifiers.kernel.graph import affine_from_rational

    b = Builder()
    x = b.input(2)
    return b.build([b.unary(op, b.affine(x, affine_from_rational([[Fraction(1), Fraction(-2)]], [Fraction(1, 3)])))])


def test_slopes_over_a_domain_are_within_those_everywhere():
    graph = read_onnx(network(W, "Tanh", BIAS), "net").graph
    everywhere, here = differences(graph, None), differences(graph, Box((Fraction(-1, 4),) * 2, (Fraction(1, 4),) * 2))
    assert (everywhere.low <= here.low).all() and (here.high <= everywhere.high).all() and (everywhere.low < here.low).any()
    lo, hi = differences(read_onnx(network(W, "Relu", BIAS), "net").graph, Box((Fraction(1),) * 2, (Fraction(5, 4),) * 2)).low, None
    assert set(lo.tolist()) == {Fraction(0), Fraction(1)} and hi is None  # some neurons are known to be on


@pytest.mark.threat("T10")
def test_a_kinked_slope_counts_only_the_branches_that_are_met():
    weights, graph = [[[1.0], [-1.0]], [[1.0, 1.0]]], None
    graph = read_onnx(network(weights, "Relu"), "net").graph
    found = differences(graph, Box((Fraction(1, 2),), (Fraction(1),)))
    assert (found.low.tolist(), found.high.tolist()) == ([1, 0], [1, 0])
    touching = differences(graph, Box((Fraction(-1),), (Fraction(1),)))
    assert (touching.low.tolist(), touching.high.tolist()) == ([0, 0], [1, 1])


def test_clipping_and_shortcuts_are_read():
    """x + max(min(x, 1), -1) in one dimension: two neurons; the least constant is 2."""
    nodes = [helper.make_node("Clip", ["x", "lo", "hi"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [1, 1]) for name in ("x", "y")]
    constants = [onnx.numpy_helper.from_array(np.array(v), k) for k, v in (("lo", -1.0), ("hi", 1.0))]
    inner = helper.make_graph(nodes, "clip", ends[:1], ends[1:], constants)
    model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    graph = read_onnx(model.SerializeToString(), "clip").graph
    assert layers(graph) == [1, 1]
    pytest.importorskip("cvxpy")
    found = find_multipliers(differences(graph, None), layers(graph), Fraction(2001, 1000), "lipsdp-neuron")
    assert isinstance(found, Multipliers)
    assert not differences(graph, None).proves(Fraction(1999, 1000), found.values)


def product() -> Builder:
    b = Builder()
    x = b.input(2)
    return b.build([b.binary("mul", b.take(x, [0]), b.take(x, [1]))])


def test_what_has_no_slope_is_declined():
    with pytest.raises(Refusal, match="UNSUPPORTED"):
        differences(product(), None)
    b = Builder()
    exponential = b.build([b.unary("exp", b.input(1))])
    with pytest.raises(Refusal, match="UNSUPPORTED"):
        differences(exponential, None)
    assert differences(exponential, Box((Fraction(0),), (Fraction(1),))).high[0] >= Fraction(271, 100)
    b = Builder()
    root = b.build([b.unary("sqrt", b.input(1))])
    with pytest.raises(Refusal, match="UNSUPPORTED"):
        differences(root, Box((Fraction(0),), (Fraction(1),)))


@pytest.mark.threat("T23")
def test_a_network_that_is_too_large_is_declined():
    wide = read_onnx(network([np.ones((MAX_SIZE, 1)), np.ones((1, MAX_SIZE))]), "wide").graph
    with pytest.raises(Refusal, match="TOO_LARGE"):
        differences(wide, None)


def test_a_linear_controller_has_its_norm_as_bound(tmp_path):
    pytest.importorskip("cvxpy")
    for value, outcome in (("2.0001", "PROVED"), ("1.9999", "REFUTED")):
        assert verify(bound_case(tmp_path / value, network([[[2.0, 0.0], [0.0, 1.0]]]), value)).outcome == outcome


def test_too_small_a_bound_is_refuted_with_a_pair_or_unknown(tmp_path):
    path = bound_case(tmp_path, network(W, "Tanh", BIAS), "0.5")
    for verdict in (verify(path), falsify(path)):
        assert (verdict.outcome, verdict.code) == ("REFUTED", "COUNTEREXAMPLE")
        assert verdict.counterexample is not None and len(verdict.counterexample["x"]) == 2


def test_over_a_domain_a_smaller_bound_is_proved(tmp_path):
    pytest.importorskip("cvxpy")
    everywhere = bound_case(tmp_path / "all", network(W, "Tanh", [[1.5, 2.0, -1.0], [0.5, 0.25], [0.0]]), "0.75")
    here = bound_case(tmp_path / "box", (everywhere.parent / "controller.onnx").read_bytes(), "0.75", DOMAIN)
    assert (verify(everywhere).outcome, verify(here).outcome) == ("REFUTED", "PROVED")


@pytest.mark.threat("T07")
def test_without_the_solver_the_answer_is_unknown(tmp_path, monkeypatch):
    from verifiers.sdp import programme

    monkeypatch.setattr(programme, "find_spec", lambda name: None)
    verdict = verify(bound_case(tmp_path, network(W, "Tanh", BIAS), "1.65"))
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "UNSUPPORTED")
    assert "certctl[sdp]" in verdict.message


@pytest.mark.slow
def test_the_published_network(cases, tmp_path):
    """lipsdp_random: true constant 36.48222960; proved 36.4823 per neuron and 39.84 per layer; 36.48 and 36.47 refuted with a pair."""
    data = np.load(cases / "sdp" / "lipsdp_random.npz")
    controller = network([data[f"W{k}"] for k in range(1, 5)])
    for value, method, outcome in (("36.4823", "lipsdp-neuron", "PROVED"), ("39.84", "lipsdp-layer", "PROVED"), ("36.48", "lipsdp-neuron", "REFUTED"),
                                   ("36.47", "lipsdp-neuron", "REFUTED"), ("36.4823", "lipsdp-layer", "UNKNOWN")):
        path = bound_case(tmp_path / f"{method}-{value}", controller, value, f'[prover]\nmethod = "{method}"\n')
        assert verify(path).outcome == outcome
