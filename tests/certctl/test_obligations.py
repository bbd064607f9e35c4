"""The obligations of a bundle as queries and as files: true claims are unsat, false ones sat with a state, and every property has its own."""

from __future__ import annotations

import dataclasses
import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from small_bundles import prove, swap_controller, write_case

from certctl.cli.main import run
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Builder, affine_from_rational
from verifiers.load.floats import evaluate
from verifiers.smt.decider import Sat, Unknown, Unsat, replay
from verifiers.smt.obligations import _lie, obligations_as_queries, open_claim, queries_of
from verifiers.smt.query import And, Query, at_least, at_most, holds
from verifiers.smt.z3 import Z3

F = Fraction
LOCAL = {"kind": "jacobian_lmi", "function": "P", "frame": [["1", "0"], ["0", "1"]], "neighbourhood": ["1/4", "1/4"], "level": "1/20"}
EQUILIBRIUM = {"id": "equilibrium", "proof": {"kind": "evaluation", "center": ["0", "0"], "radius": ["0", "0"]}}
ATTRACTION = 'property = "asymptotic_stability_roa"'


@pytest.fixture
def z3() -> Z3:
    decider = Z3()
    if (reason := decider.absent()) is not None:
        pytest.skip(reason)
    return decider


def bundle(folder: Path, level: str = "1/2", obligations: list | None = None, gain: float = -2.0, **replaced: str) -> Path:
    """A bundle with one shell over the small case; ``replaced`` exchanges texts of its requirement.  Its proofs are not read here."""
    requirement = write_case(folder, gains=(0.0, gain))
    text = requirement.read_text(encoding="utf-8").replace('input_limit = "10"', 'input_limit = "100"')
    for old, new in ((ATTRACTION, replaced.get("property", ATTRACTION)), ('time = "continuous"', replaced.get("time", 'time = "continuous"')),
                     ("[region]", replaced.get("more", "") + "\n[region]")):
        text = text.replace(old, new)
    requirement.write_text(text, encoding="utf-8")
    data, shell = b"\x00", {"id": "shell-1", "proof": {"kind": "box_tree", "function": "P", "level": level, "tree": _reference(b"\x00")}}
    return prove(requirement, files={"proof/shell-1.tree": data},
                 obligations=[*(obligations if obligations is not None else [EQUILIBRIUM, {"id": "local", "proof": LOCAL}]), shell])


def _reference(data: bytes) -> dict[str, str]:
    return {"name": "proof/shell-1.tree", "sha256": hashlib.sha256(data).hexdigest()}


def test_a_claim_that_is_false_has_a_state_against_it(tmp_path, z3):
    queries = dict(obligations_as_queries(bundle(tmp_path, "12", gain=-0.5)))  # the oscillator's own damping wins
    answer = z3.decide(queries["shell-1.decrease"], 20.0)
    assert isinstance(answer, Sat)
    v, d, inner = answer.witnesses[0].y[0], answer.witnesses[0].y[2], answer.witnesses[0].y[1]
    assert v <= 12 and d >= 0 and inner > 0.05
    face = z3.decide(queries["shell-1.face-x1-lo"], 20.0)
    assert isinstance(face, Sat) and face.witnesses[0].x[0] == -2


def test_a_claim_that_is_true_is_unsat(tmp_path, z3):
    queries = obligations_as_queries(bundle(tmp_path))
    assert [name for name, _ in queries] == ["shell-1.decrease", *(f"shell-1.face-{state}-{end}" for state in ("x1", "x2") for end in ("lo", "hi")),
                                             "contains"]
    answers = {name: type(z3.decide(query, 20.0)) for name, query in queries}
    assert answers == {name: Unsat for name, _ in queries}


def test_a_box_beyond_the_region_is_sat(tmp_path, z3):
    path = bundle(tmp_path, "1/100", [EQUILIBRIUM])  # without a local region; the box [-1/10, 1/10]^2 reaches V = 1/25
    answer = z3.decide(dict(obligations_as_queries(path))["contains"], 20.0)
    assert isinstance(answer, Sat) and answer.witnesses[0].y[0] > 0.01


def test_a_ball_beyond_the_region_is_sat_and_one_inside_unsat(tmp_path, z3):
    for radius, expected in (("1/10", Unsat), ("9/10", Sat)):
        path = bundle(tmp_path / radius.replace("/", "_"), more="")
        claim = open_claim(path)
        wanted = dataclasses.replace(claim.requirement, contains=None, min_radius=F(radius))
        claim.setting.requirement = wanted
        assert isinstance(z3.decide(dict(queries_of(claim))["radius"], 20.0), expected)


def test_a_rate_is_part_of_the_decrease(tmp_path, z3):
    for rate, expected in (("1/10", Unsat), ("50", Sat)):
        path = bundle(tmp_path / rate.replace("/", "_"), property='property = "exponential_stability_roa"', more=f'[decrease]\nrate = "{rate}"')
        assert isinstance(z3.decide(dict(obligations_as_queries(path))["shell-1.decrease"], 20.0), expected)


def test_discrete_time_asks_for_the_image(tmp_path, z3):
    path = bundle(tmp_path, time='time = "discrete"\ndt = "1/20"\nmethod = "euler"')
    queries = dict(obligations_as_queries(path))
    assert set(queries) == {"shell-1.decrease", "shell-1.image", "contains"}
    assert all(isinstance(z3.decide(query, 20.0), Unsat) for query in queries.values())


def test_invariance_asks_for_the_boundary_of_the_level_only(tmp_path, z3):
    path = bundle(tmp_path, obligations=[], property='property = "forward_invariance"')
    queries = dict(obligations_as_queries(path))
    assert isinstance(z3.decide(queries["shell-1.decrease"], 20.0), Unsat)
    at_rest = evaluate_exact(queries["shell-1.decrease"].graph, [F(0), F(0)])
    assert not holds(queries["shell-1.decrease"].formula, at_rest)  # d = 0 there, which is allowed inside


def test_practical_stability_asks_for_its_target(tmp_path, z3):
    for reach, expected in (("1", Unsat), ("1/10", Sat)):
        path = bundle(tmp_path / reach.replace("/", "_"), obligations=[{"id": "inner", "proof": {"kind": "evaluation", "level": "1/10"}}],
                      property='property = "practical_stability"', more=f'[target]\nlo = ["-{reach}", "-{reach}"]\nhi = ["{reach}", "{reach}"]')
        queries = dict(obligations_as_queries(path))
        assert isinstance(z3.decide(queries["inner.target"], 20.0), expected)
        assert isinstance(z3.decide(queries["shell-1.decrease"], 20.0), Unsat)


def test_a_forbidden_saturation_is_asked_for(tmp_path, z3):
    for limit, expected in (("100", Unsat), ("1", Sat)):
        path = bundle(tmp_path / limit, time='time = "continuous"\nsaturation = "forbid"')
        claim = open_claim(path)
        claim.setting.loop = dataclasses.replace(claim.setting.loop, limits=(((F(-int(limit)),) * 2, (F(int(limit)),) * 2),))
        assert isinstance(z3.decide(dict(queries_of(claim))["shell-1.command"], 20.0), expected)


def test_the_slope_at_a_kink_is_any_between_the_one_sided_ones(tmp_path, z3):
    """V = |x1| along x1' = x2: at x1 = 0 and x2 = 1 the decrease takes every value in [-1, 1], elsewhere exactly 1."""
    claim = open_claim(bundle(tmp_path))
    b = Builder()
    v = b.build([b.affine(b.unary("abs", b.input(2)), affine_from_rational([[F(1), F(0)]], [F(0)]))])
    values = claim.start()
    d, kinks = _lie(claim, values, v)

    def answer(x1: Fraction, bound) -> str:
        found = z3.decide(claim.query(values, And((*kinks, bound)), [x1, F(1)], [x1, F(1)]), 20.0)
        return found.text if isinstance(found, Unknown) else type(found).__name__

    assert d == 0 and kinks
    sign = F(1) if evaluate(claim.setting.loop.field, np.array([[0.0, 1.0]]))[0, 0] > 0 else F(-1)
    high, low = (at_least, at_most)
    assert answer(F(0), high(d, F(101, 100))) == answer(F(0), low(d, F(-101, 100))) == "Unsat"
    # z3 has a model, but an unknown slope is no state that could be replayed
    assert "says sat" in answer(F(0), high(d, F(1))) and "says sat" in answer(F(0), low(d, F(-1)))
    assert answer(F(1, 2), high(d, sign + F(1, 100))) == answer(F(1, 2), low(d, sign - F(1, 100))) == "Unsat"


def test_a_witness_replays_in_the_loop_itself(tmp_path, z3):
    path = bundle(tmp_path, "12", gain=-0.5)
    query: Query = dict(obligations_as_queries(path))["shell-1.decrease"]
    answer = z3.decide(query, 20.0, witnesses=3)
    assert isinstance(answer, Sat) and len({w.x for w in answer.witnesses}) == len(answer.witnesses) > 1
    field = open_claim(path).setting.loop.field
    for witness in answer.witnesses:
        assert replay(query, witness.x) is not None
        x, f = witness.x, evaluate_exact(field, witness.x)
        slope = (2 * (F(3, 2) * x[0] + x[1] / 2), 2 * (x[0] / 2 + x[1]))
        assert slope[0] * f[0] + slope[1] * f[1] >= 0


def test_another_requirement_is_refused(tmp_path):
    path, other = bundle(tmp_path), tmp_path / "other.requirement.toml"
    other.write_text("", encoding="utf-8")
    with pytest.raises(Refusal) as no:
        obligations_as_queries(path, other)
    assert no.value.code is Code.REQUIREMENT_MISMATCH


# the command


def test_export_writes_files_that_a_solver_reads(tmp_path, capsys):
    path = bundle(tmp_path / "case")
    assert run(["export", str(path)]) == 0
    files = sorted(path.with_suffix(".smtlib").glob("*.smt2"))
    assert len(files) == 6 and all(str(file) in capsys.readouterr().out or file.exists() for file in files)
    text = next(file for file in files if "decrease" in file.name).read_text(encoding="utf-8")
    assert text.startswith("; certctl obligation shell-1.decrease\n; bundle sha256:") and text.endswith("(check-sat)\n")
    z3 = pytest.importorskip("z3")
    solver = z3.Solver()
    solver.from_string(text)
    assert solver.check() == z3.unsat


def test_export_refuses_to_write_into_the_bundle(tmp_path, capsys):
    path = bundle(tmp_path)
    assert run(["export", str(path), "-o", str(path / "smtlib")]) == 2
    assert "breaks it" in capsys.readouterr().err and not (path / "smtlib").exists()


def test_export_of_a_tampered_or_missing_bundle_writes_nothing(tmp_path):
    path = bundle(tmp_path)
    swap_controller(path, b"other bytes")
    assert run(["export", str(path)]) == 4
    assert run(["export", str(tmp_path / "nowhere")]) == 2
    assert not path.with_suffix(".smtlib").exists()
