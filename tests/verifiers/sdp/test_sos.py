"""Whole-set proofs by sums of squares: published levels proved or refused, and every single fault of a proof refused with its code."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from polynomial_loops import case, quadratic_onnx

from verifiers.bundle_writer import write_bundle
from verifiers.kernel.bundle import open_bundle
from verifiers.kernel.check import check
from verifiers.kernel.requirement import read_requirement
from verifiers.kernel.setting import expected_claim, open_setting, plant_bytes
from verifiers.kernel.tree import INSIDE, LEAF, OUTSIDE
from verifiers.prove import verify
from verifiers.sdp import sos
from verifiers.sdp.programme import solve
from verifiers.sdp.sos import first_failure, plan, programme, prove_levels, scale_of
from verifiers.sdp.whole import directions

VAN_DER_POL = [[1.5, -0.5], [-0.5, 1.0]]


def star() -> list[dict[tuple[int, ...], int]]:
    """x' = (U - 1) grad U, U = 100 x^4 - 384 x^2 y^2 + 400 y^4: the true level of |x|^2 is 1/20, the Jacobian at the origin is zero."""
    u = {(4, 0): 100, (2, 2): -384, (0, 4): 400}
    fields = []
    for i in range(2):
        slope = {tuple(k - (j == i) for j, k in enumerate(m)): v * m[i] for m, v in u.items() if m[i]}
        field = {m: -v for m, v in slope.items()}
        for a, p in u.items():
            for b, q in slope.items():
                m = tuple(x + y for x, y in zip(a, b, strict=True))
                field[m] = field.get(m, 0) + p * q
        fields.append(field)
    return fields


def motzkin(shift: Fraction) -> list[dict[tuple[int, ...], Fraction]]:
    """x' = -x/2 (M(x) - shift): with V = |x|^2, -V' = |x|^2 (M - shift); Motzkin's M is nonnegative and zero at (+-1, +-1)."""
    m = {(4, 2): Fraction(1), (2, 4): Fraction(1), (2, 2): Fraction(-3), (0, 0): 1 - shift}
    return [{(k[0] + (i == 0), k[1] + (i == 1)): -v / 2 for k, v in m.items()} for i in range(2)]


@pytest.fixture(scope="module")
def proved(tmp_path_factory) -> Path:
    """Reversed van der Pol with the named V = 1.5 x^2 - x y + y^2 at the level 2.304477."""
    pytest.importorskip("cvxpy")
    path = case(tmp_path_factory.mktemp("sos"), 'level = "2.304477"', function=quadratic_onnx(VAN_DER_POL))
    verdict = verify(path)
    assert verdict.outcome == "PROVED", verdict.message
    return path


def test_van_der_pol_is_proved_to_seven_digits(proved):
    receipt = check(proved.with_suffix(".cert"), proved)
    assert (receipt.outcome, receipt.level, receipt.region["level"]) == ("ACCEPTED", "L2", "2304477/1000000")
    assert 6.4 < receipt.region["volume_lower_bound"] <= np.pi * 2.304477 / np.sqrt(1.25)


def refused(folder, region, **more):
    verdict = verify(case(folder, region, **more))
    assert verdict.outcome in ("UNKNOWN", "REFUTED")
    assert not (folder / "requirement.cert").exists()
    return verdict


@pytest.mark.threat("T06")
@pytest.mark.threat("T25")
def test_what_drake_certifies_wrongly_is_not_proved(tmp_path):
    pytest.importorskip("cvxpy")
    refused(tmp_path / "van", 'level = "2.304477572"', function=quadratic_onnx(VAN_DER_POL))
    circle = quadratic_onnx([[1.0, 0.0], [0.0, 1.0]])
    assert verify(case(tmp_path / "star", 'level = "0.0499"', fields=star(), function=circle, half="1")).outcome == "PROVED"
    refused(tmp_path / "above", 'level = "0.0501"', fields=star(), function=circle, half="1")


@pytest.mark.threat("T06")
@pytest.mark.parametrize("digits", [0, 3, 9])
def test_motzkin_and_what_lies_below_it_are_not_proved(tmp_path, digits):
    """Every solver's Gram matrix for |x|^2 (M - 10^-k) on |x|^2 <= 9/4 comes out as no proof."""
    pytest.importorskip("cvxpy")
    fields = motzkin(Fraction(1, 10**digits) if digits else Fraction(0))
    refused(tmp_path, 'level = "9/4"', fields=fields, function=quadratic_onnx([[1.0, 0.0], [0.0, 1.0]]), half="2")


def test_a_quadratic_is_found_where_none_is_named(tmp_path):
    pytest.importorskip("cvxpy")
    verdict = verify(case(tmp_path, 'level = "max"\nmin_volume = "6"'))
    assert verdict.outcome == "PROVED"
    assert verdict.receipt.region["function"] == "Q" and verdict.receipt.region["volume_lower_bound"] > 6


@pytest.mark.slow
def test_degree_six_fills_the_region(tmp_path):
    """At least 98 % of the true area 13.72222 of reversed van der Pol is certified; the fit alone has 96 %."""
    pytest.importorskip("cvxpy")
    path = case(tmp_path, 'level = "max"\nmin_volume = "13.44777"', more="degree = 6\n")
    text = path.read_text(encoding="utf-8").replace('["-3", "-3"]', '["-2.1", "-2.75"]').replace('["3", "3"]', '["2.1", "2.75"]')
    path.write_text(text, encoding="utf-8")
    verdict = verify(path)
    assert verdict.outcome == "PROVED" and verdict.receipt.region["function"] == "P"
    assert verdict.receipt.region["volume_lower_bound"] >= 0.98 * 13.72222


def test_where_everything_converges_a_fit_parts_what_leaves_the_domain():
    """x' = y, y' = -x - y / 2 settles from everywhere; V <= 1 must hold no state that leaves the square on its way."""
    from verifiers.kernel.graph import Affine, Builder
    from verifiers.region.sampling import FloatLoop
    from verifiers.sdp.fit import fit
    from verifiers.sdp.sos import values

    b = Builder("loop")
    loop = FloatLoop(b.build([b.affine(b.input(2), Affine(np.array([[0.0, 1.0], [-1.0, -0.5]]), np.zeros(2)))]), "continuous")
    v = fit(loop, np.zeros(2), (-np.ones(2), np.ones(2)), 4)
    assert v is not None
    start = np.random.default_rng(1).uniform(-1, 1, (800, 2))
    leaves = (np.abs(loop.trajectory(start, 300, 0.02)) > 1.01).any(axis=(0, 2))
    value = values(v, start)
    assert leaves.sum() > 50 and (value[leaves] > 1).mean() > 0.97 and (value[~leaves] <= 1).mean() > 0.6


def test_a_fit_parts_what_converges_from_what_does_not(proved):
    """The candidate falls on the samples and its unit level set holds no sample that leaves."""
    from verifiers.kernel.polynomial import polynomials, shifted
    from verifiers.prove import read_question
    from verifiers.region.sampling import FloatLoop
    from verifiers.sdp.fit import fit
    from verifiers.sdp.sos import decrease, values

    setting = read_question(proved).setting()
    f = tuple(polynomials(setting.loop.field, shifted([Fraction(0)] * 2)))
    v = fit(FloatLoop(setting.loop.field, "continuous"), np.zeros(2), (np.full(2, -3.0), np.full(2, 3.0)), 4, rate=0.02, shrink=0.9)
    assert v is not None
    points = np.random.default_rng(5).uniform(-1, 1, (2000, 2))
    inside = points[values(v, points) <= 0.9]
    assert len(inside) > 500 and (values(decrease(v, f), inside) > 0).all()


@pytest.mark.threat("T06")
@pytest.mark.threat("T07")
@pytest.mark.parametrize("mode", ["panic", "abort", "infeasible", "inaccurate", "nan", "good", "unbounded", "hang", "exit 1"])
def test_whatever_the_solver_does_nothing_is_proved(mode, tmp_path, monkeypatch):
    """"good" calls a quarter for every variable optimal: neither a Gram matrix nor its projection is definite."""
    fake = [sys.executable, str(Path(__file__).with_name("fake_solver.py")), mode]
    monkeypatch.setattr(sos, "solve", lambda items, **_: solve(items, command=fake, seconds=2.0 if mode == "hang" else 20.0))
    refused(tmp_path, 'level = "2"', function=quadratic_onnx(VAN_DER_POL))


# one fault each ------------------------------------------------------------------------------------------------------------

def whole(predicate):
    return next(o["proof"] for o in predicate["obligations"] if o["id"] == "whole")


def nudged(rows, i, j, by):
    rows[i][j] = str(Fraction(rows[i][j]) + by)
    if i != j:
        rows[j][i] = rows[i][j]


FAULTS = {
    "gram-entry": ("DECREASE", lambda p: nudged(whole(p)["gram"], 0, 1, Fraction(1, 10**20))),
    "gram-diagonal": ("DECREASE", lambda p: nudged(whole(p)["gram"], 0, 0, Fraction(1))),
    "gram-indefinite": ("NOT_DEFINITE", lambda p: nudged(whole(p)["gram"], 0, 0, Fraction(-100))),
    "gram-asymmetric": ("NOT_DEFINITE", lambda p: whole(p)["gram"][0].__setitem__(1, "0")),
    "gram-zero": ("NOT_DEFINITE", lambda p: whole(p).update(gram=[["0"] * len(r) for r in whole(p)["gram"]])),
    "gram-shape": ("BAD_SHAPE", lambda p: whole(p)["gram"].pop()),
    "multiplier-indefinite": ("NOT_DEFINITE", lambda p: nudged(whole(p)["multipliers"][0]["gram"], 0, 0, Fraction(-100))),
    "multiplier-larger": ("DECREASE", lambda p: nudged(whole(p)["multipliers"][0]["gram"], 0, 0, Fraction(1, 100))),
    "multiplier-missing": ("DECREASE", lambda p: whole(p)["multipliers"].pop()),
    "multiplier-of-nothing": ("MALFORMED_CERTIFICATE", lambda p: whole(p)["multipliers"][0].update(of="minus-level")),
    "multiplier-of-another": ("DECREASE", lambda p: whole(p)["multipliers"][0].update(of="domain-0")),
    "multiplier-field": ("MALFORMED_CERTIFICATE", lambda p: whole(p)["multipliers"][0].update(sign="-1")),
    "basis-twice": ("MALFORMED_CERTIFICATE", lambda p: whole(p)["basis"].__setitem__(1, whole(p)["basis"][0])),
    "basis-negative": ("MALFORMED_CERTIFICATE", lambda p: whole(p)["basis"].__setitem__(0, [-1, 2])),
    "basis-true": ("MALFORMED_CERTIFICATE", lambda p: whole(p)["basis"].__setitem__(0, [True, 0])),
    "basis-empty": ("TOO_LARGE", lambda p: whole(p).update(basis=[])),
    "basis-short": ("MALFORMED_CERTIFICATE", lambda p: whole(p)["basis"].__setitem__(0, [1])),
    "level-above": ("CLAIM_MISMATCH", lambda p: p["claim"]["region"].update(level="2.4")),
    "level-of-the-proof": ("DECREASE", lambda p: whole(p).update(level="2.3")),
    "no-tree": ("CONTAINMENT", lambda p: whole(p).pop("tree")),
    "kind": ("UNSUPPORTED", lambda p: whole(p).update(kind="lmi")),
    "local-too": ("UNEXPECTED_OBLIGATION", lambda p: p["obligations"].append({"id": "local", "proof": {"kind": "lmi"}})),
    "equilibrium-wide": ("UNSUPPORTED", lambda p: p["obligations"][0]["proof"].update(radius=["1/10000000", "1/10000000"])),
    "equilibrium-elsewhere": ("EQUILIBRIUM_NOT_PROVED", lambda p: p["obligations"][0]["proof"].update(center=["1/10000000", "0"])),
    "no-equilibrium": ("MISSING_OBLIGATION", lambda p: p["obligations"].pop(0)),
    "no-whole": ("MISSING_OBLIGATION", lambda p: p["obligations"].remove(next(o for o in p["obligations"] if o["id"] == "whole"))),
    "function-kind": ("DIGEST_MISMATCH", lambda p: p["functions"].update(
        V={"kind": "polynomial", "terms": [[[2, 0], "3/2"], [[1, 1], "-1"], [[0, 2], "1"]]})),
    "function-of-nothing": ("MALFORMED_CERTIFICATE", lambda p: whole(p).update(function="W")),
}


@pytest.mark.threat("T03")
@pytest.mark.threat("T06")
@pytest.mark.parametrize(("code", "change"), FAULTS.values(), ids=FAULTS)
def test_a_single_fault_is_refused(proved, tmp_path, code, change):
    receipt = check(changed(proved, tmp_path / "twin", change), proved)
    assert (receipt.outcome == "ACCEPTED", receipt.code) == (False, code)


@pytest.mark.threat("T03")
def test_the_level_of_a_named_function_is_not_one_of_another(proved, tmp_path):
    """A polynomial in the certificate does not stand for the file that the requirement names, not even where that file is not at hand."""
    assert check(changed(proved, tmp_path / "twin", FAULTS["function-kind"][1])).code == "CLAIM_MISMATCH"


def changed(path: Path, twin: Path, change, **files: bytes) -> Path:
    """A copy of a bundle with a change of its predicate, and files replaced with their digests put right."""
    bundle = open_bundle(path.with_suffix(".cert"))
    table = json.loads((path.with_suffix(".cert") / "certificate.json").read_text(encoding="utf-8"))["predicate"]
    change(table)
    twin.mkdir(parents=True)
    text = json.loads((path.with_suffix(".cert") / "certificate.json").read_text(encoding="utf-8"))
    text["predicate"] = table
    whole_text = json.dumps(text)
    for name, data in bundle.files.items():
        if sha256(data).hexdigest() not in whole_text:  # nothing refers to it any more
            continue
        new = files.get(name.replace("/", "_").replace(".", "_"), data)
        whole_text = whole_text.replace(sha256(data).hexdigest(), sha256(new).hexdigest()).replace(f'"bytes": {len(data)}, "name": "{name}"',
                                                                                                    f'"bytes": {len(new)}, "name": "{name}"')
        (twin / name).parent.mkdir(exist_ok=True)
        (twin / name).write_bytes(new)
    (twin / "certificate.json").write_text(whole_text, encoding="utf-8")
    return twin


@pytest.mark.threat("T13")
@pytest.mark.parametrize(("tree", "code"), [(bytes([LEAF + 4]), "CONTAINMENT"), (bytes([LEAF + INSIDE]), "MALFORMED_CERTIFICATE"),
                                            (bytes([LEAF + OUTSIDE]), "MALFORMED_CERTIFICATE"), (bytes([0, LEAF + 4]), "TREE_INCOMPLETE")])
def test_the_boundary_of_the_domain_is_covered_by_leaves_that_show_it(proved, tmp_path, tree, code):
    assert check(changed(proved, tmp_path / "twin", lambda p: None, proof_whole_tree=tree), proved).code == code


def bundle_of(path: Path, name: str, function: dict, level: str, fields: dict, *, equilibrium=("0", "0")) -> Path:
    """A bundle with this whole-set proof, written by hand."""
    data = path.read_bytes()
    wanted = read_requirement(data, "by hand")
    plant = plant_bytes(wanted, path.parent)
    spec = open_setting(wanted, plant, None).spec
    obligations = [{"id": "equilibrium", "proof": {"kind": "evaluation", "center": list(equilibrium), "radius": ["0"] * len(equilibrium)}},
                   {"id": "whole", "proof": {"kind": "sos", "function": name, "level": level, **fields}},
                   {"id": "volume", "proof": {"kind": "evaluation"}}]
    return write_bundle(path.with_suffix(".cert"), requirement=data, plant=plant, controller=None, functions={name: function}, files={},
                        claim=expected_claim(wanted, spec, {"function": name, "level": level}), obligations=obligations, assumptions=[], producer={})


IDENTITY = {"kind": "quadratic", "matrix": [["1", "0"], ["0", "1"]], "center": ["0", "0"]}
PLAIN = {"basis": [[1, 0], [0, 1]], "gram": [["2", "0"], ["0", "2"]], "multipliers": []}
STABLE, UNSTABLE = [{(1, 0): -1}, {(0, 1): -1}], [{(1, 0): 1}, {(0, 1): 1}]


def by_hand(tmp_path, fields=STABLE, proof=PLAIN, function=IDENTITY, level="1", region='min_volume = "1"', more="", swap=None):
    path = case(tmp_path, region, fields=fields, half="2", more=more)
    if swap:
        path.write_text(path.read_text(encoding="utf-8").replace(*swap), encoding="utf-8")
    return check(bundle_of(path, "Q", function, level, proof), path)


def test_a_proof_by_hand_is_accepted(tmp_path):
    assert by_hand(tmp_path).outcome == "ACCEPTED"


HAND = {
    "unstable": ("DECREASE", {"fields": UNSTABLE}),
    "marginal": ("DECREASE", {"fields": [{(0, 1): 1}, {(1, 0): -1}]}),
    "leaves-the-domain": ("CONTAINMENT", {"level": "4"}),
    "no-level": ("EMPTY_REGION", {"level": "0"}),
    "saturated-forbid": ("UNSUPPORTED", {"swap": ('time = "continuous"\n', 'time = "continuous"\nsaturation = "forbid"\n')}),
    "other-centre": ("DECREASE", {"function": {**IDENTITY, "center": ["1/10", "0"]}}),
    "vanishes-on-an-axis": ("DECREASE", {"fields": [{(1, 0): -1}, {}], "proof": {"basis": [[1, 0]], "gram": [["2"]], "multipliers": []}}),
    "vanishes-on-both-axes": ("DECREASE", {"fields": [{(1, 2): -1}, {}], "proof": {"basis": [[1, 1]], "gram": [["2"]], "multipliers": []}}),
    "constant-in-the-basis": ("DECREASE", {"proof": {"basis": [[1, 0], [0, 1], [0, 0]], "gram": [["2", "0", "0"], ["0", "2", "0"], ["0", "0", "1"]],
                                                     "multipliers": []}}),
    "cubic": ("DECREASE", {"fields": [{(1, 0): -1, (3, 0): 1}, {(0, 1): -1}], "level": "2"}),  # x = 1 rests, and lies in {V <= 2}
    "undefinite-function": ("NOT_DEFINITE", {"function": {**IDENTITY, "matrix": [["1", "0"], ["0", "-1"]]}}),
}


@pytest.mark.threat("T05")
@pytest.mark.threat("T04")
@pytest.mark.parametrize(("code", "more"), HAND.values(), ids=HAND)
def test_a_false_claim_by_hand_is_refused(tmp_path, code, more):
    receipt = by_hand(tmp_path, **more)
    assert (receipt.outcome, receipt.code) == ("DECLINED" if code == "UNSUPPORTED" else "REFUSED", code)


@pytest.mark.parametrize("node", [["sin", 0], ["relu", 0], ["abs", 0], ["div", 0, 1]])
def test_a_loop_that_is_no_polynomial_is_declined(tmp_path, node):
    """x0 sin(x0), say, is added to the first right-hand side: the identity cannot be formed."""
    path = case(tmp_path, 'min_volume = "1"', fields=STABLE, half="2")
    own = tmp_path / "own.plant.json"
    data, old = json.loads(own.read_bytes()), sha256(own.read_bytes()).hexdigest()
    k = len(data["nodes"])
    data["nodes"] += [["c", "1"], ["mul", 0, 0], ["add", k + 1, k], [node[0], 0, k + 2] if node[0] == "div" else node, ["mul", 0, k + 3],
                      ["add", data["outputs"][0], k + 4]]
    data["outputs"][0] = k + 5
    own.write_text(json.dumps(data), encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(old, sha256(own.read_bytes()).hexdigest()), encoding="utf-8")
    assert check(bundle_of(path, "Q", IDENTITY, "1", PLAIN), path).code == "UNSUPPORTED"


@pytest.mark.threat("T04")
def test_a_rate_and_other_properties_are_not_sold(tmp_path):
    rate = by_hand(tmp_path / "rate", more='[decrease]\nrate = "1"\n', swap=("asymptotic_stability_roa", "exponential_stability_roa"))
    assert (rate.outcome, rate.code) == ("DECLINED", "UNSUPPORTED")
    kept = by_hand(tmp_path / "kept", swap=("asymptotic_stability_roa", "forward_invariance"))
    assert (kept.outcome, kept.code) == ("REFUSED", "UNEXPECTED_OBLIGATION")


def test_a_polynomial_function_is_read(tmp_path):
    """V as a list of terms: the same claim, with a tree for the boundary."""
    terms = [[[2, 0], "1"], [[0, 2], "1"]]
    missing = by_hand(tmp_path / "tree", function={"kind": "polynomial", "terms": terms})
    assert missing.code == "CONTAINMENT"
    for bad in ([[[2, 0], "1"], [[2, 0], "1"]], [[[2], "1"]], [[[2, 0]]], [[[99, 0], "1"]]):
        assert by_hand(tmp_path / str(bad)[:20], function={"kind": "polynomial", "terms": bad}).code in ("MALFORMED_CERTIFICATE", "BAD_GRAPH")


def test_rays_find_the_published_level(proved):
    from verifiers.kernel.polynomial import polynomials, shifted
    from verifiers.prove import read_question
    from verifiers.sdp.sos import Problem

    setting = read_question(proved).setting()
    x = shifted([Fraction(0)] * 2)
    v = polynomials(setting.functions["V"].network, x)[0]
    problem = Problem(v, tuple(polynomials(setting.loop.field, x)), tuple(x), (setting.lo, setting.hi), True)
    assert abs(first_failure(problem, directions(2, 4001)).min() - 2.304477564999) < 1e-4
    above = prove_levels(problem, [Fraction(3), Fraction(2)])
    assert not hasattr(above, "reason") and above[0] == 2
    chosen = plan(problem, Fraction(2))
    (solved,) = solve([programme(chosen, scale_of(problem, Fraction(2)))], seconds=60)
    assert solved.x[0] > 0
