"""pwa_equivalence: a good law is accepted, and each one-fault twin of law, proof, problem, claim or bundle is refused with its code."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verifiers.bundle_writer import reference, write_bundle
from verifiers.explicit_mpc import law as laws
from verifiers.explicit_mpc.partition import NotFeasible, partition
from verifiers.explicit_mpc.problem import make_problem, to_json
from verifiers.explicit_mpc.prove import HINTS, requirement_text
from verifiers.kernel.bundle import open_bundle
from verifiers.kernel.check import check
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import rationals as exact_numbers
from verifiers.kernel.pwa import check_equivalence, check_law, expected_claim, read_law, read_program
from verifiers.kernel.requirement import read_law_requirement
from verifiers.kernel.strict import read_json
from verifiers.parts import join

# min z1^2/2 + z2^2 + theta1 z1 + theta2 z2, |z| <= 1 in both, and z1 + z2 <= 1 + theta1: infeasible for theta1 < -3
PROBLEM = make_problem([[1, 0], [0, 2]], [0, 0], [[1, 0], [0, 1]], [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1]], [1, 1, 1, 1, 1],
                       [[0, 0], [0, 0], [0, 0], [0, 0], [1, 0]], [-4, -4], [4, 4])
PART = partition(PROBLEM, [])
TABLES = {"problem": json.loads(to_json(PROBLEM)), "law": json.loads(laws.to_json(PART.law)), "proof": json.loads(json.dumps(PART.proof))}


def judge(tables, part=(0, 1)):
    """The kernel's counts for some tables, read as from files."""
    data = {key: json.dumps(value).encode() for key, value in tables.items()}
    program = read_program(read_json(data["problem"], "problem.json", Code.BAD_PROBLEM), 2)
    return check_law(program, read_law(read_json(data["law"], "law.json", Code.BAD_LAW)), read_json(data["proof"], "proof"), PROBLEM.lb,
                     PROBLEM.ub, part)


def leaf_with_law(tables):
    """Place of the first leaf with a law among the leaves."""
    leaves = [entry for entry in tables["law"]["tree"] if entry < 0]
    return next(k for k, entry in enumerate(leaves) if entry < -1)


def place(tree, wanted):
    return next(k for k, entry in enumerate(tree) if wanted(entry))


def wrong_multiplier(t):
    k = place(t["proof"]["optimisers"], lambda o: o["active"])
    t["proof"]["optimisers"][k]["multipliers"][0][-1] = "7"


def wrong_active_row(t):
    k = place(t["proof"]["optimisers"], lambda o: len(o["active"]) == 1)
    t["proof"]["optimisers"][k]["active"] = [(t["proof"]["optimisers"][k]["active"][0] + 1) % 5]


def active_row_not_tight(t):
    k = place(t["proof"]["optimisers"], lambda o: not o["active"])
    t["proof"]["optimisers"][k] = {"active": [0], "rest": [], "multipliers": [["0", "0", "0"]]}


def shift_every_facet(t):
    for row in t["law"]["halfspaces"]:
        row[-1] = str(int(row[-1]) + 1)


def swap_laws(t):
    t["law"]["laws"][0], t["law"]["laws"][1] = t["law"]["laws"][1], t["law"]["laws"][0]


def swap_leaves(t):
    tree = t["law"]["tree"]
    i = place(tree, lambda e: e < -1)
    k = place(tree, lambda e: e < -1 and e != tree[i])
    tree[i], tree[k] = tree[k], tree[i]


def border_outside(t):
    """The border of the feasible set goes to the side without value."""
    tree, rows = t["law"]["tree"], t["law"]["halfspaces"]
    k = place(range(len(tree)), lambda i: tree[i] >= 0 and sizes(tree, i + 1) and tree[i + 1 + sizes(tree, i + 1)] == -1)
    first = sizes(tree, k + 1)
    leaves = sum(e < 0 for e in tree[:k])
    count = sum(e < 0 for e in tree[k + 1:k + 1 + first])
    rows.append([str(-int(v)) for v in rows[tree[k]]])
    tree[k:k + 2 + first] = [len(rows) - 1, -1, *tree[k + 1:k + 1 + first]]
    proofs = t["proof"]["leaves"]
    proofs[leaves:leaves + count + 1] = [proofs[leaves + count], *proofs[leaves:leaves + count]]


def sizes(tree, at):
    """Number of entries of the subtree at a place."""
    need, k = 1, at
    while need:
        need += 1 if tree[k] >= 0 else -1
        k += 1
    return k - at


def forget_condition(t):
    leaf = t["proof"]["leaves"][leaf_with_law(t)]
    leaf[0][1].pop()


def first_basis(change):
    def fault(t):
        leaf = t["proof"]["leaves"][leaf_with_law(t)]
        leaf[0][0] = change(leaf[0][0])
    return fault


def set_at(*path, value):
    def fault(t):
        for key in path[:-1]:
            t = t[key]
        t[path[-1]] = value(t[path[-1]]) if callable(value) else value
    return fault


def ray(change):
    def fault(t):
        t["proof"]["rays"][0] = change(t["proof"]["rays"][0])
    return fault


def outside_to_law(t):
    tree = t["law"]["tree"]
    tree[place(tree, lambda e: e == -1)] = -2


def law_to_outside(t):
    tree = t["law"]["tree"]
    k = place(tree, lambda e: e < -1)
    at = sum(e < 0 for e in tree[:k])
    tree[k] = -1
    t["proof"]["leaves"][at] = [0, t["proof"]["leaves"][at][0][0]]


def deeper(t):
    t["law"]["tree"] = [0] * 401 + [-1] * 402


FAULTS = {
    "wrong multiplier": (wrong_multiplier, Code.NOT_OPTIMAL), "wrong active row": (wrong_active_row, Code.NOT_OPTIMAL),
    "active row that is not tight": (active_row_not_tight, Code.NOT_OPTIMAL),
    "shifted facets": (shift_every_facet, {Code.NOT_OPTIMAL, Code.NOT_INFEASIBLE}),
    "swapped laws": (swap_laws, Code.NOT_OPTIMAL), "swapped leaves": (swap_leaves, Code.NOT_OPTIMAL),
    "constant of a law": (set_at("law", "laws", 0, 0, 2, value=lambda v: str(Fraction(v) + Fraction(1, 10**12))), Code.NOT_OPTIMAL),
    "border of the feasible set without value": (border_outside, Code.NOT_INFEASIBLE),
    "condition left out": (forget_condition, Code.NOT_OPTIMAL),
    "leaf missing": (set_at("law", "tree", value=lambda tree: tree[:-1]), Code.TREE_INCOMPLETE),
    "leaf too many": (set_at("law", "tree", value=lambda tree: [*tree, -1]), Code.TREE_TRAILING),
    "empty tree": (set_at("law", "tree", value=[]), Code.TREE_INCOMPLETE),
    "proof of a leaf missing": (set_at("proof", "leaves", value=lambda leaves: leaves[:-1]), Code.MISSING_OBLIGATION),
    "proof of no leaf": (set_at("proof", "leaves", value=lambda leaves: [*leaves, leaves[0]]), Code.UNEXPECTED_OBLIGATION),
    "law where infeasible": (outside_to_law, Code.MALFORMED_CERTIFICATE), "no value where feasible": (law_to_outside, Code.NOT_INFEASIBLE),
    "another basis": (first_basis(lambda basis: [0, 1] if basis != [0, 1] else [2, 3]), Code.NOT_OPTIMAL),
    "dependent basis": (first_basis(lambda _: [0, 2]), Code.NOT_DEFINITE), "short basis": (first_basis(lambda b: b[:1]), Code.MALFORMED_CERTIFICATE),
    "basis twice the same": (first_basis(lambda b: [b[0], b[0]]), Code.MALFORMED_CERTIFICATE),
    "basis off the path": (first_basis(lambda b: [b[0], 99]), Code.MALFORMED_CERTIFICATE),
    "basis from behind": (first_basis(lambda b: [b[0], -1]), Code.MALFORMED_CERTIFICATE),
    "basis of booleans": (first_basis(lambda _: [False, True]), Code.MALFORMED_CERTIFICATE),
    "negative ray": (ray(lambda r: [[row, "-" + v] for row, v in r]), Code.NOT_INFEASIBLE), "short ray": (ray(lambda r: r[1:]), Code.NOT_INFEASIBLE),
    "empty ray": (ray(lambda r: []), Code.NOT_INFEASIBLE), "no ray": (ray(lambda r: "x"), Code.MALFORMED_CERTIFICATE),
    "row twice in a ray": (ray(lambda r: [*r, r[0]]), Code.MALFORMED_CERTIFICATE),
    "right side of the problem": (set_at("problem", "b", 1, value="2"), Code.NOT_OPTIMAL),
    "cost of the problem": (set_at("problem", "H", 1, 1, value="3"), Code.NOT_OPTIMAL),
    "linear cost of the problem": (set_at("problem", "F", 0, 0, value="2"), Code.NOT_OPTIMAL),
    "row of the problem dropped": (lambda t: [t["problem"][key].pop() for key in ("A", "b", "B")], {Code.NOT_OPTIMAL, Code.MALFORMED_CERTIFICATE}),
    "indefinite cost": (set_at("problem", "H", 1, 1, value="-2"), Code.NOT_DEFINITE),
    "semidefinite cost": (set_at("problem", "H", 1, 1, value="0"), Code.NOT_DEFINITE),
    "asymmetric cost": (set_at("problem", "H", 0, 1, value="1"), Code.NOT_DEFINITE),
    "not a number": (set_at("problem", "b", 0, value="NaN"), Code.BAD_NUMBER),
    "exponent": (set_at("law", "laws", 0, 0, 0, value="1e3"), Code.BAD_NUMBER),
    "endless number": (set_at("law", "laws", 0, 0, 0, value="1" * 4001), Code.BAD_NUMBER),
    "integer": (set_at("problem", "b", 0, value=1), Code.BAD_NUMBER), "short row": (set_at("problem", "A", 0, value=["1"]), Code.BAD_SHAPE),
    "half-space of another width": (set_at("law", "halfspaces", 0, value=["1", "0"]), Code.BAD_SHAPE),
    "law of another width": (set_at("law", "inputs", value=3), Code.BAD_SHAPE),
    "unknown law": (set_at("law", "tree", value=[-99]), Code.BAD_LAW),
    "unknown half-space": (set_at("law", "tree", value=[99, -1, -1]), Code.BAD_LAW),
    "boolean in the tree": (set_at("law", "tree", value=[True, -1, -1]), Code.BAD_LAW),
    "unknown field": (lambda t: t["law"].update(verdict="optimal"), Code.BAD_LAW),
    "unknown field of the problem": (lambda t: t["problem"].update(lb=[]), Code.BAD_PROBLEM),
    "other format": (set_at("problem", "format", value="certctl-mpqp/2"), Code.BAD_PROBLEM),
    "other format of the law": (set_at("law", "format", value="certctl-law/2"), Code.BAD_LAW),
    "too many outputs": (set_at("law", "outputs", value=99), Code.TOO_LARGE), "no inequality": (
        lambda t: t["problem"].update(A=[], b=[], B=[]), Code.TOO_LARGE),
    "deep tree": (deeper, Code.TOO_LARGE),
    "optimiser missing": (set_at("proof", "optimisers", value=lambda o: o[:-1]), Code.MALFORMED_CERTIFICATE),
    "multiplier missing": (lambda t: t["proof"]["optimisers"][place(t["proof"]["optimisers"], lambda o: o["active"])].update(
        multipliers=[]), Code.BAD_SHAPE),
}


def test_good_law_is_accepted_with_leaves_of_both_kinds():
    leaves, outside = judge(TABLES)
    assert (leaves, outside) == (PART.leaves, PART.outside)
    assert 0 < outside < leaves


def test_parts_share_the_leaves():
    counts = [judge(TABLES, (i, 3))[0] for i in range(3)]
    assert sum(counts) == PART.leaves and min(counts) > 0


@pytest.mark.threat("T02", "T03", "T08", "T12", "T15")
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_refused_with_its_code(name):
    fault, code = FAULTS[name]
    tables = copy.deepcopy(TABLES)
    fault(tables)
    assert tables != TABLES
    with pytest.raises(Refusal) as caught:
        judge(tables)
    assert caught.value.code in (code if isinstance(code, set) else {code}), caught.value


def test_each_number_of_a_law_counts():
    for i in range(len(TABLES["law"]["laws"])):
        for k in range(3):
            tables = copy.deepcopy(TABLES)
            row = tables["law"]["laws"][i][0]
            row[k] = str(Fraction(row[k]) + Fraction(1, 10**300))
            with pytest.raises(Refusal) as caught:
                judge(tables)
            assert caught.value.code is Code.NOT_OPTIMAL


def test_a_moved_half_space_is_refused_or_harmless():
    """Some questions may move a little, where both sides have one law; whatever is accepted is still the minimiser, also on the moved border."""
    refused = 0
    for i in range(len(TABLES["law"]["halfspaces"])):
        for k in range(3):
            tables = copy.deepcopy(TABLES)
            row = tables["law"]["halfspaces"][i]
            row[k] = str(Fraction(row[k]) + Fraction(1, 100))
            try:
                judge(tables)
            except Refusal as no:
                assert no.code in (Code.NOT_OPTIMAL, Code.NOT_INFEASIBLE)
                refused += 1
                continue
            law = laws.from_json(json.dumps(tables["law"]).encode(), PROBLEM.lb, PROBLEM.ub)
            a, b, c = law.halfspaces[i]
            for t in range(-4, 5):
                points = [(Fraction(t), Fraction(-a * t - c, b))] if b else []
                points += [(Fraction(-b * t - c, a), Fraction(t))] if a else []
                for theta in points:
                    for shift in (0, Fraction(1, 200), Fraction(-1, 200)):
                        near = np.array([theta[0] + shift, theta[1]], dtype=object)
                        if (abs(near) <= 4).all():
                            assert law.exact(near) == PART.law.exact(near)
    assert refused > 10


# loops ------------------------------------------------------------------------------------------------------------------

# theta+ = theta1 / 2 + u1, theta2 / 2: from theta1 >= -3 the minimiser u1 >= -1 leads to -3/2 - 1 at least
def rationals(rows):
    return exact_numbers([[Fraction(v) for v in row] for row in rows])


LOOP = tuple(rationals(rows) for rows in ([["1/2", "0"], ["0", "1/2"]], [["1", "0"], ["0", "0"]]))
LOOPING = partition(PROBLEM, [], loop=LOOP)
WITH_LOOP = {**TABLES, "law": json.loads(laws.to_json(LOOPING.law)), "proof": json.loads(json.dumps(LOOPING.proof))}


def judge_loop(tables, loop=LOOP, part=(0, 1)):
    return check_law(read_program(tables["problem"], 2), read_law(tables["law"]), tables["proof"], PROBLEM.lb, PROBLEM.ub, part, loop)


def image(change):
    """A change of the images of the first leaf with a map."""
    def fault(t):
        k = leaf_with_law(t)
        t["proof"]["images"][k] = change(t["proof"]["images"][k])
    return fault


LOOP_FAULTS = {
    "no images": (lambda t: t["proof"].pop("images"), Code.MALFORMED_CERTIFICATE),
    "an image missing": (lambda t: t["proof"]["images"].pop(), Code.MISSING_OBLIGATION),
    "a leaf without": (image(lambda pairs: []), Code.IMAGE),
    "a condition left out": (image(lambda pairs: [*pairs[:-1], [pairs[-1][0], pairs[-1][1][1:]]]), Code.IMAGE),
    "a condition twice": (image(lambda pairs: [[pairs[0][0], [*pairs[0][1], pairs[0][1][0]]], *pairs[1:]]), Code.MALFORMED_CERTIFICATE),
    "condition of no row": (image(lambda pairs: [*pairs, [pairs[0][0], [99]]]), Code.MALFORMED_CERTIFICATE),
    "another leaf's": (lambda t: t["proof"].update(images=t["proof"]["images"][::-1]), {Code.IMAGE, Code.MALFORMED_CERTIFICATE}),
    "no list": (image(lambda pairs: "x"), Code.MALFORMED_CERTIFICATE),
    "swapped laws": (swap_laws, Code.NOT_OPTIMAL),
}


def test_a_loop_that_stays_feasible_is_accepted():
    assert judge_loop(WITH_LOOP) == (LOOPING.leaves, LOOPING.outside)
    counts = [judge_loop(WITH_LOOP, part=(i, 3))[0] for i in range(3)]
    assert sum(counts) == LOOPING.leaves and min(counts) > 0


@pytest.mark.threat("T12", "T13")
@pytest.mark.parametrize("name", LOOP_FAULTS)
def test_each_fault_of_a_loops_proof_is_refused_with_its_code(name):
    fault, code = LOOP_FAULTS[name]
    tables = copy.deepcopy(WITH_LOOP)
    fault(tables)
    assert tables != WITH_LOOP
    with pytest.raises(Refusal) as caught:
        judge_loop(tables)
    assert caught.value.code in (code if isinstance(code, set) else {code}), caught.value


@pytest.mark.threat("T13")
@pytest.mark.parametrize(("a", "b", "code"), [
    ([["2", "0"], ["0", "1/2"]], [["1", "0"], ["0", "0"]], Code.IMAGE),  # leaves the box
    ([["1", "0"], ["0", "1/2"]], [["1/2", "0"], ["0", "0"]], Code.IMAGE),  # from -3 to -3.5: in the box, but infeasible
    ([["1/2", "0"], ["0", "3/2"]], [["1", "0"], ["0", "0"]], Code.IMAGE), ([["1/2", "0"], ["0", "1/2"]], [["1"], ["0"]], Code.BAD_SHAPE),
    ([["1/2"]], [["1", "0"]], Code.BAD_SHAPE), ([["1/2", "0", "0"], ["0", "1/2", "0"]], [["1", "0"], ["0", "0"]], Code.BAD_SHAPE)])
def test_another_loop_than_the_one_that_was_proved_is_refused(a, b, code):
    with pytest.raises(Refusal) as caught:
        judge_loop(WITH_LOOP, tuple(rationals(rows) for rows in (a, b)))
    assert caught.value.code is code


def test_the_prover_refuses_with_a_step_that_leaves():
    for a, b in (([["1", "0"], ["0", "1/2"]], [["1/2", "0"], ["0", "0"]]), ([["2", "0"], ["0", "1/2"]], [["1", "0"], ["0", "0"]])):
        loop = tuple(rationals(rows) for rows in (a, b))
        with pytest.raises(NotFeasible) as no:
            partition(PROBLEM, [], loop=loop)
        first, second = no.value.states
        value = PART.law.exact(first)
        assert value is not None and (loop[0] @ first + loop[1] @ np.array(value, dtype=object) == second).all()
        assert PART.law.exact(second) is None


def test_images_in_a_proof_without_a_loop_are_refused():
    with pytest.raises(Refusal) as caught:
        judge(WITH_LOOP)
    assert caught.value.code is Code.MALFORMED_CERTIFICATE


# this loop is exponentially stable: V = |θ|^2 falls by half of itself at least, in each leaf; with the law u1 = -θ1 / 2 at the origin
def stability(cells):
    """V = |θ|² with a small margin and no multiplier, every pair as a step."""
    eye = [["1", "0", "0"], ["0", "1", "0"], ["0", "0", "0"]]
    return {"margin": "1/100", "forms": [eye] * len(LOOPING.law.laws), "positive": [[]] * cells, "steps": [[{"falls": []}] * cells] * cells}


def test_stability_is_asked_for_or_refused():
    """Without the images, without the table, or with a table that nobody asks for: refused; and a loop that stays is not yet stable."""
    cells = sum(entry < -1 for entry in LOOPING.law.tree)
    tables = {**WITH_LOOP, "proof": {**WITH_LOOP["proof"], "stability": stability(cells)}}

    def judged(tables, stable):
        return check_law(read_program(tables["problem"], 2), read_law(tables["law"]), tables["proof"], PROBLEM.lb, PROBLEM.ub, (0, 1), LOOP, stable)

    assert judged(WITH_LOOP, False) == (LOOPING.leaves, LOOPING.outside)
    for given, stable, code in ((WITH_LOOP, True, Code.MALFORMED_CERTIFICATE), (tables, False, Code.MALFORMED_CERTIFICATE),
                                (tables, True, Code.DECREASE)):  # in the leaf with u1 = -1, V = |θ|² does not fall without multipliers
        with pytest.raises(Refusal) as caught:
            judged(given, stable)
        assert caught.value.code is code
    with pytest.raises(Refusal) as caught:
        alone = {**TABLES["proof"], "stability": stability(cells)}
        check_law(read_program(TABLES["problem"], 2), read_law(TABLES["law"]), alone, PROBLEM.lb, PROBLEM.ub, stable=True)
    assert caught.value.code is Code.BAD_REQUIREMENT, "stability without a loop is nothing that can be shown"
    leaving = {**tables, "proof": {**tables["proof"], "images": [[] for _ in tables["proof"]["images"]]}}
    with pytest.raises(Refusal) as caught:
        judged(leaving, True)
    assert caught.value.code is Code.IMAGE, "states that leave are refused before anything is said about stability"


# bundles --------------------------------------------------------------------------------------------------------------

DATA = {"problem": to_json(PROBLEM), "law": laws.to_json(PART.law), "proof": json.dumps(PART.proof).encode()}
TEXT = requirement_text(PROBLEM, DATA["problem"])


def written(folder, text=TEXT, problem=DATA["problem"], law=DATA["law"], proof=DATA["proof"], claim=None, obligations=None, functions=None):
    """A bundle with all digests right, whatever else is wrong."""
    wanted = read_law_requirement(text, "law")
    found = {"id": "optimality", "proof": {"kind": "pwa_tree", "hints": reference(HINTS, proof)}}
    write_bundle(folder, requirement=text, plant=None, problem=problem, controller=law, functions=functions or {}, files={HINTS: proof},
                 claim={**expected_claim(wanted), **(claim or {})}, obligations=[found] if obligations is None else obligations(found),
                 assumptions=[], producer={})
    return folder


@pytest.fixture
def own(tmp_path):
    """The caller's folder: requirement, problem and law."""
    for name, data in (("requirement.toml", TEXT), ("problem.json", DATA["problem"]), ("law.json", DATA["law"])):
        (tmp_path / name).write_bytes(data)
    return tmp_path / "requirement.toml"


def test_bundle_is_accepted_against_the_callers_files(own):
    folder = written(own.parent / "law.cert")
    for requirement in (own, None):
        receipt = check(folder, requirement)
        assert (receipt.outcome, receipt.level, receipt.property) == ("ACCEPTED", "L2", "pwa_equivalence"), receipt
    assert receipt.controller_sha256 == hashlib.sha256(DATA["law"]).hexdigest()
    assert (receipt.region, receipt.equilibrium, receipt.leaves) == (None, None, PART.leaves)
    parts = [check(folder, own, (i, 2)) for i in range(2)]
    assert {p.code for p in parts} == {"PART_MISSING"} and join(parts, 2).outcome == "ACCEPTED"
    assert sum(p.leaves for p in parts) == PART.leaves


OTHER = to_json(make_problem([[1, 0], [0, 2]], [0, 0], [[1, 0], [0, 1]], [[1, 0]], [1], [[0, 0]], [-4, -4], [4, 4]))
NOWHERE = make_problem([[1]], [0], [[1]], [[1], [-1]], [-2, 1], [[0], [0]], [-1], [1])
EMPTY = partition(NOWHERE, [])

BUNDLES = {
    "other problem": ({"problem": OTHER}, Code.PROBLEM_MISMATCH), "claim on another domain": ({"claim": {"domain": None}}, Code.CLAIM_MISMATCH),
    "claim says more": ({"claim": {"stable": "yes"}}, Code.CLAIM_MISMATCH),
    "claim in floats": ({"claim": {"arithmetic": "float64"}}, Code.CLAIM_MISMATCH),
    "no proof": ({"obligations": lambda o: [{"id": "other", "proof": o["proof"]}]}, Code.MISSING_OBLIGATION),
    "second proof": ({"obligations": lambda o: [o, {"id": "other", "proof": o["proof"]}]}, Code.UNEXPECTED_OBLIGATION),
    "other kind": ({"obligations": lambda o: [{"id": "optimality", "proof": {**o["proof"], "kind": "box_tree"}}]}, Code.UNSUPPORTED),
    "a function": ({"functions": {"V": {"kind": "quadratic", "matrix": [], "center": []}}}, Code.CLAIM_MISMATCH),
    "fewer outputs required": ({"text": TEXT.replace(b"[domain]", b"outputs = 1\n[domain]")}, Code.BAD_SHAPE),
    "level that is not reached": ({"text": TEXT + b'[evidence]\nminimum = "L3"\n'}, Code.EVIDENCE_TOO_LOW),
    "loop that is not proved": ({"text": requirement_text(PROBLEM, DATA["problem"], loop=LOOP)}, Code.MALFORMED_CERTIFICATE),
    "loop that is not required": ({"claim": {"loop": []}}, Code.CLAIM_MISMATCH),
    "loop of another size": ({"text": requirement_text(PROBLEM, DATA["problem"], loop=(LOOP[0][:1, :1], LOOP[1][:1])),
                              "proof": json.dumps(LOOPING.proof).encode(), "law": laws.to_json(LOOPING.law)}, Code.BAD_SHAPE),
    "law without value": ({"text": requirement_text(NOWHERE, to_json(NOWHERE)), "problem": to_json(NOWHERE), "law": laws.to_json(EMPTY.law),
                           "proof": json.dumps(EMPTY.proof).encode()}, Code.EMPTY_REGION),
}


@pytest.mark.threat("T03", "T04", "T05")
@pytest.mark.parametrize("name", BUNDLES)
def test_each_faulty_bundle_is_refused_with_its_code(tmp_path, name):
    change, code = BUNDLES[name]
    receipt = check(written(tmp_path / "law.cert", **change), None)
    assert receipt.code in {c.name for c in (code if isinstance(code, set) else {code})}, receipt
    assert receipt.outcome != "ACCEPTED" and receipt.level is None


@pytest.mark.threat("T01", "T02")
@pytest.mark.parametrize(("name", "code"), [("problem.json", "PROBLEM_MISMATCH"), ("law.json", "CONTROLLER_MISMATCH"),
                                            ("requirement.toml", "REQUIREMENT_MISMATCH")])
def test_callers_own_files_count(own, name, code):
    folder = written(own.parent / "law.cert")
    path = own.parent / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert check(folder, own).code == code


@pytest.mark.threat("T01")
@pytest.mark.parametrize("name", ["problem.json", "law.json", HINTS, "requirement.toml"])
def test_changed_bytes_are_noticed(tmp_path, name):
    folder = written(tmp_path / "law.cert")
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert check(folder).code == "DIGEST_MISMATCH"


def test_a_loop_is_accepted_in_a_bundle_and_against_the_callers_files_only_with_the_same_numbers(tmp_path):
    text = requirement_text(PROBLEM, DATA["problem"], loop=LOOP)
    folder = written(tmp_path / "law.cert", text=text, law=laws.to_json(LOOPING.law), proof=json.dumps(LOOPING.proof).encode())
    for name, data in (("requirement.toml", text), ("problem.json", DATA["problem"]), ("law.json", laws.to_json(LOOPING.law))):
        (tmp_path / name).write_bytes(data)
    assert check(folder, tmp_path / "requirement.toml").outcome == "ACCEPTED"
    (tmp_path / "requirement.toml").write_bytes(text.replace(b"1/2", b"1/3"))
    assert check(folder, tmp_path / "requirement.toml").outcome != "ACCEPTED"
    (tmp_path / "requirement.toml").write_bytes(TEXT)
    assert check(folder, tmp_path / "requirement.toml").outcome != "ACCEPTED"


def test_missing_problem_of_the_caller_is_an_error(own):
    folder = written(own.parent / "law.cert")
    (own.parent / "problem.json").unlink()
    assert check(folder, own).code == "MISSING_FILE"


def test_law_is_the_file_that_the_certificate_calls_the_controller(tmp_path):
    """Hints called controller.onnx do not become the controller, and a network is no law."""
    folder = written(tmp_path / "law.cert")
    path = folder / "certificate.json"
    statement = json.loads(path.read_bytes())
    shutil.copy(folder / "law.json", folder / "controller.onnx")
    for key in ("name",):
        statement["predicate"]["controller"][key] = statement["subject"][0][key] = "controller.onnx"
    (folder / "law.json").unlink()
    path.write_text(json.dumps(statement), encoding="utf-8")
    assert check(folder).code == "MALFORMED_CERTIFICATE"
    statement["predicate"]["controller"]["format"] = "onnx"
    path.write_text(json.dumps(statement), encoding="utf-8")
    assert check(folder).code == "MALFORMED_CERTIFICATE"
    del statement["predicate"]["problem"]
    (folder / "problem.json").unlink()
    path.write_text(json.dumps(statement), encoding="utf-8")
    assert open_bundle(folder).controller == DATA["law"]
    assert check(folder).code == "PROBLEM_MISMATCH"


@pytest.mark.threat("T01", "T02")
@pytest.mark.parametrize("controller", [None, b"", DATA["law"] + b" "])
def test_no_other_file_than_the_controller_is_the_law(tmp_path, controller):
    bundle, wanted = open_bundle(written(tmp_path / "law.cert")), read_law_requirement(TEXT, "law")
    assert check_equivalence(wanted, bundle, "optimality", (0, 1))[:2] == ("pwa_tree", PART.leaves)
    with pytest.raises(Refusal) as no:
        check_equivalence(wanted, replace(bundle, controller=controller), "optimality", (0, 1))
    assert (no.value.code, no.value.at) == (Code.MALFORMED_CERTIFICATE, "predicate.controller")


@pytest.mark.parametrize(("old", "new", "code"), [
    (b'"pwa_equivalence"', b'"forward_invariance"', "BAD_REQUIREMENT"), (b"[domain]", b"outputs = 0\n[domain]", "BAD_REQUIREMENT"),
    (b"[domain]", b"outputs = true\n[domain]", "BAD_REQUIREMENT"), (b"sha256", b"sha", "BAD_REQUIREMENT"),
    (b"[domain]", b'time = "discrete"\n[domain]', "BAD_REQUIREMENT"),
    (b"[domain]", b'loop = { A = [["1"]] }\n[domain]', "BAD_REQUIREMENT"), (b"[domain]", b'loop = { A = [["1"]], B = [] }\n[domain]', "BAD_SHAPE"),
    (b"[domain]", b'loop = { A = [["1", "0"]], B = [["1"]] }\n[domain]', "BAD_SHAPE"),
    (b"[domain]", b'loop = { A = [], B = [] }\n[domain]', "BAD_SHAPE"),
    (b"[domain]", b'loop = { A = [[1.5]], B = ["1"] }\n[domain]', "BAD_REQUIREMENT"),
    (b"[domain]", b"stable = true\n[domain]", "BAD_REQUIREMENT"), (b"[domain]", b'stable = "yes"\n[domain]', "BAD_REQUIREMENT"),
    (b"[domain]", b'stable = 1\nloop = { A = [["1"]], B = [["1"]] }\n[domain]', "BAD_REQUIREMENT"),
    (b'lo = ["-4"', b'lo = ["9"', "BAD_REQUIREMENT"), (b'lo = ["-4"', b'lo = ["nan"', "BAD_NUMBER")])
def test_requirements_are_read_strictly(own, old, new, code):
    folder = written(own.parent / "law.cert")
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    own.write_bytes(text)
    assert check(folder, own).code == code
