"""``certctl decide``: every answer has its exit code and form, bad questions are one sentence, and no decider is believed without a replay."""

from __future__ import annotations

import csv
import hashlib
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from small_bundles import prove, write_case

from certctl import network_queries
from certctl.cli.main import run
from certctl.network_queries import answer, number_text, open_question
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Affine, Builder
from verifiers.load.to_onnx import to_onnx
from verifiers.smt.decider import Evidence, Sat, Unknown, Unsat, Witness
from verifiers.smt.obligations import obligations_as_queries
from verifiers.smt.query import holds

F = Fraction
SPEC = ("(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n"
        "(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))\n")
TWO_BOXES = SPEC + "(assert (or (<= X_0 -0.5) (>= X_0 0.5)))"


class Corners:
    """A decider that tries a grid of each box, and says unsat when nothing on it satisfies the formula (true for this network)."""

    name = "corners"

    def __init__(self, steps=5):
        self.steps, self.budgets, self.asked = steps, [], []

    def absent(self):
        return None

    def decide(self, query, budget=60.0, witnesses=1):
        self.budgets.append(budget)
        self.asked.append(witnesses)
        sides = [[a + (b - a) * k / (self.steps - 1) for k in range(self.steps)] for a, b in zip(query.lo, query.hi, strict=True)]
        found = [Witness(x, (), "grid") for x in ((p, q) for p in sides[0] for q in sides[1]) if holds(query.formula, evaluate_exact(query.graph, x))]
        return Sat(tuple(found[:witnesses])) if found else Unsat(Evidence("corners 1.0", 1, "no corner satisfies it"))


class Says:
    """A decider with answers fixed beforehand."""

    name = "says"

    def __init__(self, *answers):
        self.answers = list(answers)

    def absent(self):
        return None

    def decide(self, query, budget=60.0, witnesses=1):
        return self.answers.pop(0)


def proved(level):
    """An unsat of that level."""
    return Unsat(Evidence("fake", level, f"evidence of level {level}"))


@pytest.fixture
def folder(tmp_path):
    """A folder with the network y = relu(x0) + x1 / 2, whose inference is exact in float32, and a few specifications."""
    b = Builder()
    x = b.input(2)
    y = b.affine(b.concat([b.unary("relu", b.take(x, (0,))), x]), Affine(np.array([[1.0, 0.0, 0.5]]), np.zeros(1)))
    (tmp_path / "net.onnx").write_bytes(to_onnx(b.build([y])))
    for name, text in {"sat": "(assert (>= Y_0 1.5))", "unsat": "(assert (> Y_0 1.5))", "inputs": "(assert (>= Y_0 (+ X_0 0.5)))"}.items():
        (tmp_path / f"{name}.vnnlib").write_text(SPEC + text)
    return tmp_path


@pytest.fixture
def certctl(capsys, monkeypatch):
    """Run the command line with a fake decider: exit code, stdout, stderr."""
    def call(*arguments, decider=None):
        monkeypatch.setattr(network_queries, "decider_named", lambda name: decider or Corners())
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err
    return call


# ------------------------------------------------------------------------------------------------------------ bad questions

@pytest.mark.parametrize(("arguments", "says"), [
    ([], "give a network and a specification"), (["net.onnx"], "give a network and a specification"),
    (["no.onnx", "sat.vnnlib"], "the network no.onnx cannot be read"), (["net.onnx", "no.vnnlib"], "the specification no.vnnlib cannot be read"),
    ([".", "sat.vnnlib"], "cannot be read"), (["sat.vnnlib", "sat.vnnlib"], "sat.vnnlib"), (["net.onnx", "net.onnx"], "no text in UTF-8"),
    (["net.onnx", "broken.vnnlib"], "broken.vnnlib: line 5: 'Y_7' is neither"), (["net.onnx", "other.vnnlib"], "pair it with the network"),
    (["net.onnx", "sat.vnnlib", "--timeout", "0"], "--timeout is a positive number"), (["net.onnx", "sat.vnnlib", "--timeout", "nan"], "--timeout"),
    (["net.onnx", "sat.vnnlib", "--timeout", "soon"], "timeout"), (["net.onnx", "sat.vnnlib", "--solver", "oracle"], "oracle"),
    (["net.onnx", "sat.vnnlib", "--witnesses", "0"], "witnesses"), (["net.onnx", "sat.vnnlib", "--format", "xml"], "xml"),
    (["net.onnx", "sat.vnnlib", "--results", "r.csv"], "belong to --instances"), (["net.onnx", "--instances", "list.csv"], "leave out NET.onnx"),
    (["--instances", "no.csv"], "the list no.csv cannot be read"), (["--instances", "net.onnx"], "CSV"),
    (["--instances", "list.csv", "--results", "list.csv"], "exists already"),
    (["--instances", "list.csv", "--results", "no/r.csv"], "cannot be written")])
def test_a_bad_question_is_exit_2_with_a_sentence(certctl, folder, monkeypatch, arguments, says):
    (folder / "broken.vnnlib").write_text(SPEC + "(assert (<= Y_7 1))")
    (folder / "other.vnnlib").write_text(SPEC + "(declare-const Y_1 Real)")
    (folder / "list.csv").write_text("net.onnx,sat.vnnlib,5\n")
    monkeypatch.chdir(folder)
    code, out, err = certctl("decide", *arguments)
    assert (code, out) == (2, "") and err.startswith("certctl: ") and says in err and "Traceback" not in err


@pytest.mark.threat("T15")
@pytest.mark.parametrize("line", ["net.onnx,sat.vnnlib", "net.onnx,sat.vnnlib,-1", "net.onnx,sat.vnnlib,0", "net.onnx,sat.vnnlib,nan",
                                  "net.onnx,sat.vnnlib,1e3", "net.onnx,sat.vnnlib,\u0663",
                                  ",sat.vnnlib,3", "net.onnx,sat.vnnlib,3,4", '"net.onnx,sat'])
def test_a_list_with_a_bad_line_is_refused_before_anything_runs(certctl, folder, line):
    (folder / "list.csv").write_text(f"net.onnx,sat.vnnlib,5\n\n{line}\n", encoding="utf-8")
    code, out, err = certctl("decide", "--instances", folder / "list.csv", decider=Says())
    assert (code, out) == (2, "") and "line 3" in err


@pytest.mark.parametrize("solver", ["native", "z3", "cvc5", "dreal"])
def test_a_decider_that_is_not_there_is_a_sentence(capsys, folder, monkeypatch, solver):
    monkeypatch.setattr(network_queries, "find_spec", lambda name: None)
    code = run(["decide", str(folder / "net.onnx"), str(folder / "sat.vnnlib"), "--solver", solver])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "") and f"no decider {solver}" in captured.err


def test_a_decider_that_cannot_be_used_says_how_to_get_it(folder, monkeypatch):
    class Missing(Corners):
        def absent(self):
            return "install it with pip"

    module = type("module", (), {"Z3": Missing})
    monkeypatch.setattr(network_queries, "find_spec", lambda name: module)
    monkeypatch.setattr(network_queries, "import_module", lambda name: module)
    with pytest.raises(network_queries.BadQuestion, match="install it with pip"):
        network_queries.decider_named("z3")


# ------------------------------------------------------------------------------------------------------------ nobody is believed

@pytest.mark.threat("T07")
def test_a_witness_that_does_not_replay_is_never_sat(certctl, folder):
    wrong = Sat((Witness((F(1), F(1, 2)), (9.0,), "the solver's word"), Witness((F(2), F(2)), (9.0,), "outside")))
    code, out, err = certctl("decide", folder / "net.onnx", folder / "sat.vnnlib", decider=Says(wrong))
    assert code == 3 and out.splitlines()[-1].startswith("unknown ") and "does not replay" in err


@pytest.mark.threat("T07")
def test_a_decider_that_raises_has_not_decided(certctl, folder):
    class Breaks(Corners):
        def decide(self, query, budget=60.0, witnesses=1):
            raise MemoryError("out of memory")

    code, out, _ = certctl("decide", folder / "net.onnx", folder / "unsat.vnnlib", decider=Breaks())
    assert code == 3 and "crash: MemoryError" in out and out.splitlines()[-1].startswith("unknown ")


@pytest.mark.threat("T07")
@pytest.mark.parametrize(("answers", "result", "exit_code", "level"), [
    ([proved(2), proved(2)], "unsat", 0, "L2"), ([proved(2), proved(1)], "unsat", 0, "L1"),
    ([proved(2), Unknown("crash", "it died")], "unknown", 3, None), ([Unknown("delta-sat", "nearly"), proved(2)], "unknown", 3, None),
    ([Unknown("timeout", "late"), proved(2)], "timeout", 3, None), ([Unknown("crash", "x"), Unknown("timeout", "late")], "timeout", 3, None),
    ([Unknown("timeout", "late"), Sat((Witness((F(1), F(1)), (), ""),))], "sat", 1, None),
    ([proved(2), Sat((Witness((F(1), F(1)), (), ""),))], "sat", 1, None), ([proved(2), Sat(())], "unknown", 3, None)])
def test_several_boxes_are_unsat_only_together(certctl, folder, answers, result, exit_code, level):
    (folder / "two.vnnlib").write_text(TWO_BOXES)
    code, out, _ = certctl("decide", folder / "net.onnx", folder / "two.vnnlib", "--format", "json", decider=Says(*answers))
    told = json.loads(out)
    assert (code, told["result"], told["level"], told["boxes"]) == (exit_code, result, level, 2)


def test_no_box_at_all_is_unsat_without_a_decider(certctl, folder):
    (folder / "none.vnnlib").write_text(TWO_BOXES + "(assert (>= X_0 0)) (assert (<= X_0 0.25))")
    code, out, _ = certctl("decide", folder / "net.onnx", folder / "none.vnnlib", decider=Says())
    assert code == 0 and "no input satisfies the bounds" in out


def test_time_that_is_spent_is_a_timeout(folder):
    (folder / "two.vnnlib").write_text(TWO_BOXES + "(assert (>= Y_0 9))")
    question, corners = open_question(folder / "net.onnx", folder / "two.vnnlib"), Corners()
    assert answer(question, corners, 0.0).result == "timeout" and corners.budgets == []
    assert answer(question, corners, 100.0).result == "unsat"
    assert corners.budgets[0] <= 50.0 < corners.budgets[1] <= 100.0


# ------------------------------------------------------------------------------------------------------------ answers

def test_text_ends_with_the_answer(certctl, folder):
    code, out, err = certctl("decide", folder / "net.onnx", folder / "unsat.vnnlib")
    assert code == 0 and out.splitlines()[-1].startswith("unsat ") and " level=L1 solver=corners time=" in out and err == ""
    code, out, err = certctl("decide", folder / "net.onnx", folder / "sat.vnnlib")
    assert code == 1 and "witness" in out and "X = [1.0, 1.0]" in out and "Y = [1.5]" in out and "level=" not in out
    assert out.splitlines()[-1].startswith("sat ") and err == ""


def test_the_competitions_form(certctl, folder):
    def told(name, decider=None):
        return certctl("decide", folder / "net.onnx", folder / f"{name}.vnnlib", "--format", "vnncomp", decider=decider)[:2]

    assert told("unsat") == (0, "unsat\n")
    assert told("sat") == (1, "sat\n((X_0 1.0)\n (X_1 1.0)\n (Y_0 1.5))\n")
    assert told("sat", Says(Unknown("timeout", "late"))) == (3, "timeout\n")


def test_many_witnesses_over_all_boxes_are_distinct_and_hold(certctl, folder):
    (folder / "two.vnnlib").write_text(TWO_BOXES + "(assert (<= Y_0 (+ X_0 0.5)))")
    corners = Corners()
    code, out, _ = certctl("decide", folder / "net.onnx", folder / "two.vnnlib", "--format", "json", "--witnesses", "30", decider=corners)
    told = json.loads(out)
    found = [tuple(F(v) for v in one["x_exact"]) for one in told["witnesses"]]
    assert code == 1 and len(set(found)) == len(found) == 30 and corners.asked[1] < corners.asked[0] == 30
    for (p, q), one in zip(found, told["witnesses"], strict=True):
        assert abs(p) >= F(1, 2) and max(p, 0) + q / 2 <= p + F(1, 2) and len(one["y"]) == 1 and one["y"][0] == max(p, 0) + q / 2


def test_onnx_runtime_is_asked_and_its_rounding_is_a_warning(certctl, folder):
    pytest.importorskip("onnxruntime")
    _, out, _ = certctl("decide", folder / "net.onnx", folder / "sat.vnnlib", "--format", "json")
    (one,) = json.loads(out)["witnesses"]
    assert one["onnxruntime"] == [1.5] and one["agrees"] is True
    (folder / "thin.vnnlib").write_text(SPEC.replace("X_0 -1", "X_0 0.7").replace("X_0 1", "X_0 0.7") + "(assert (<= Y_0 0.7)) (assert (>= X_1 0))")
    code, out, err = certctl("decide", folder / "net.onnx", folder / "thin.vnnlib", "--format", "json")
    (one,) = json.loads(out)["witnesses"]
    assert code == 1 and one["x_exact"][0] == "7/10" and one["agrees"] is False
    assert "misses the specification by 1.2e-08" in err and "the exact replay decides" in err


@pytest.mark.parametrize(("raised", "says"), [(ModuleNotFoundError("onnxruntime"), None),
                                             (RuntimeError("no such operator"), "cannot run the network")])
def test_without_onnx_runtime_the_exact_replay_stands_alone(certctl, folder, monkeypatch, raised, says):
    def broken(data, x):
        raise raised

    monkeypatch.setattr(network_queries, "run_network", broken)
    code, out, err = certctl("decide", folder / "net.onnx", folder / "sat.vnnlib")
    assert code == 1 and "onnxruntime" not in out and (says in err if says else err == "")


@pytest.mark.parametrize(("value", "lo", "hi", "text"), [
    (F(1, 2), 0, 1, "0.5"), (F(0.1), 0, 1, "0.1"), (F(0.1), F(0.1), 1, "0.1000000000000000055511151231257827021181583404541015625"),
    (F(7, 10), F(7, 10), F(7, 10), "0.7"), (F(1, 3), F(1, 3), 1, "0.3333333333333333")])
def test_a_coordinate_is_short_where_that_stays_in_the_box(value, lo, hi, text):
    assert number_text(value, F(lo), F(hi)) == text


# ------------------------------------------------------------------------------------------------------------ lists

def test_a_list_is_run_to_its_end_and_the_worst_answer_counts(certctl, folder, monkeypatch):
    (folder / "lists").mkdir()
    (folder / "lists" / "list.csv").write_text("../net.onnx,../sat.vnnlib,5\n../net.onnx,../no.vnnlib,5\n../net.onnx,../unsat.vnnlib,7.5\n")
    corners = Corners()
    code, out, err = certctl("decide", "--instances", folder / "lists" / "list.csv", "--results", folder / "out.csv", decider=corners)
    assert code == 2 and [line.split()[0] for line in out.splitlines()] == ["sat", "error", "unsat"]
    assert "no.vnnlib" in err and "3 instances: 1 sat, 1 error, 1 unsat" in err and "1/3" in err
    assert 4.0 < corners.budgets[0] <= 5.0 < corners.budgets[1] <= 7.5
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["spec"], row["result"], row["level"]) for row in rows] == [
        ("../sat.vnnlib", "sat", ""), ("../no.vnnlib", "error", ""), ("../unsat.vnnlib", "unsat", "L1")]
    assert (folder / rows[0]["witness"]).read_text() == "sat\n((X_0 1.0)\n (X_1 1.0)\n (Y_0 1.5))\n" and rows[2]["witness"] == ""


def test_the_answers_of_a_list_combine(certctl, folder):
    for names, expected in ((["unsat", "unsat"], 0), (["unsat", "sat"], 1), ([], 5)):
        (folder / "list.csv").write_text("".join(f"net.onnx,{name}.vnnlib,5\n" for name in names))
        assert certctl("decide", "--instances", folder / "list.csv")[0] == expected


def test_a_table_is_replaced_only_with_force_and_the_time_is_capped(certctl, folder):
    (folder / "list.csv").write_text("net.onnx,sat.vnnlib,5\n")
    (folder / "out.csv").write_text("mine")
    corners = Corners()
    assert certctl("decide", "--instances", folder / "list.csv", "--results", folder / "out.csv", decider=corners)[0] == 2
    assert (folder / "out.csv").read_text() == "mine" and corners.budgets == []
    options = ["--results", folder / "out.csv", "--force", "--timeout", "2", "--format", "json"]
    code, out, _ = certctl("decide", "--instances", folder / "list.csv", *options, decider=corners)
    assert code == 1 and [one["result"] for one in json.loads(out)] == ["sat"] and 1.0 < corners.budgets[0] <= 2.0


def test_what_was_found_before_an_interruption_is_in_the_table(certctl, folder):
    class Stops(Corners):
        def decide(self, query, budget=60.0, witnesses=1):
            if self.budgets:
                raise KeyboardInterrupt
            return super().decide(query, budget, witnesses)

    (folder / "list.csv").write_text("net.onnx,sat.vnnlib,5\nnet.onnx,unsat.vnnlib,5\n")
    code, _, err = certctl("decide", "--instances", folder / "list.csv", "--results", folder / "out.csv", decider=Stops())
    assert code == 3 and "interrupted" in err and len((folder / "out.csv").read_text().splitlines()) == 2


# ------------------------------------------------------------------------------------------------------------ our own obligations

@pytest.fixture
def bundle(tmp_path):
    """A bundle with one shell, whose proofs are not read here."""
    local = {"kind": "jacobian_lmi", "function": "P", "frame": [["1", "0"], ["0", "1"]], "neighbourhood": ["1/4", "1/4"], "level": "1/20"}
    centre = {"kind": "evaluation", "center": ["0", "0"], "radius": ["0", "0"]}
    tree = {"kind": "box_tree", "function": "P", "level": "1/2",
            "tree": {"name": "proof/shell-1.tree", "sha256": hashlib.sha256(b"\x00").hexdigest()}}
    named = {"equilibrium": centre, "local": local, "shell-1": tree}
    return prove(write_case(tmp_path / "case", gains=(0.0, -2.0)), files={"proof/shell-1.tree": b"\x00"},
                 obligations=[{"id": name, "proof": proof} for name, proof in named.items()])


def test_exported_obligations_are_questions_that_decide_takes(certctl, tmp_path, bundle):
    code, out, err = certctl("export", bundle, "--format", "vnnlib", "-o", tmp_path / "asked", "--output-format", "json")
    told = json.loads(out)
    assert code == 0 and err == "" and {item["dialect"] for item in told["files"]} == {"vnnlib"}
    queries = dict(obligations_as_queries(bundle))
    assert [item["obligation"] for item in told["files"]] == list(queries)
    for item in told["files"]:
        question, query = open_question(Path(item["network"]), Path(item["path"])), queries[item["obligation"]]
        (asked,) = question.queries
        assert (asked.lo, asked.hi) == (query.lo, query.hi)
        point = [(a + 2 * b) / 3 for a, b in zip(query.lo, query.hi, strict=True)]
        values = evaluate_exact(query.graph, point)
        assert evaluate_exact(asked.graph, point) == values and holds(asked.formula, values) == holds(query.formula, values)
        assert f"bundle sha256:{told['bundle_digest']}" in Path(item["path"]).read_text()


def test_a_dialect_of_smtlib_does_not_go_with_vnnlib(certctl, bundle):
    code, out, err = certctl("export", bundle, "--format", "vnnlib", "--dialect", "dreal")
    assert (code, out) == (2, "") and "--dialect" in err
