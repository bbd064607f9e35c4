"""The benchmarks: their tools refuse nonsense, their estimators agree with full counts, and a tiny instance of each runs through."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from benchmarks import (
    agreement,
    cartpole,
    chain,
    disturbances,
    drake_regions,
    explicit_mpc,
    first_order_peer,
    fixed_controllers,
    harness,
    imitation,
    kernel_speed,
    linear_loops,
    lsnc,
    pairs,
    precise,
    published_pairs,
    roa_discrete,
    roa_ellipsoids,
    roa_learning,
    run,
    sdp_layer,
    stable_loops,
    yann,
    yann_law,
)
from benchmarks.deciding import Asked, present
from benchmarks.queries import ball, convex_relu, larger_networks, van_der_pol
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Builder
from verifiers.kernel.plant import closed_loop, read_plant
from verifiers.kernel.properties import Goal
from verifiers.kernel.stage import Stage, quadratic
from verifiers.kernel.strict import read_json
from verifiers.load.floats import evaluate
from verifiers.smt.branch_and_bound import Task, grow
from verifiers.smt.decider import replay


def plain_stage(half_width: float = 1.4, level: Fraction = Fraction(2)) -> Stage:
    """x1' = -x1 - x2^3, x2' = -x2 + x1^3 with |x|^2: needs a few hundred boxes down to |x|^2 = 1/100; {|x|^2 <= 2} leaves the domain."""
    b = Builder()
    x = b.input(2)
    one, two = b.take(x, [0]), b.take(x, [1])
    first = b.binary("sub", b.unary("neg", one), b.unary("pow", two, 3))
    second = b.binary("sub", b.unary("pow", one, 3), two)
    function = quadratic([[Fraction(1), Fraction(0)], [Fraction(0), Fraction(1)]], [Fraction(0)] * 2)
    half = np.array([half_width, half_width])
    field = b.build([b.concat([first, second])])
    return Stage(field, "continuous", function, level, -half, half, -half, half, ((function, Fraction(1, 100)),))


def failed(report: harness.Report) -> list[str]:
    """Sentences of the checks that do not hold."""
    return [check.says for check in report.checks if check.holds is False]


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a row has 1 entries for 2 columns"):
        harness.Table("Sizes", ("a", "b"), ((1,),))


def test_an_absent_case_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pairs.read_pair("nowhere", tmp_path)


def test_a_proof_that_crashes_is_an_error_not_a_row(tmp_path):
    with pytest.raises(RuntimeError, match="exit code 2"):
        pairs.prove(tmp_path / "requirement.toml", budget=1.0, workers="many")  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [["nothing"], ["cartpole", "--hours", "1"], ["linear_loops", "--hours", "1", "--folder", "kept"]])
def test_bad_arguments_write_nothing(words, tmp_path, capsys):
    assert run.main([*words, "--out", str(tmp_path / "results.md")]) == 2
    assert not (tmp_path / "results.md").exists() and capsys.readouterr().err


def test_a_failed_check_is_loud_and_decides_the_exit_code(tmp_path, monkeypatch, capsys):
    report = harness.Report("Claim", (harness.Check("it is so", False), harness.Check("perhaps", None)), (harness.Table("T", ("a|b",), ((None,),)),))
    monkeypatch.setattr(linear_loops, "run", lambda: report)
    out = tmp_path / "deep" / "results.md"
    assert run.main(["linear_loops", "--out", str(out)]) == 1
    assert "**DOES NOT HOLD**: it is so" in out.read_text() and "commit" in out.read_text() and "**DOES NOT HOLD**" in capsys.readouterr().out


def test_a_section_replaces_its_own_and_leaves_the_others_in_order():
    order = ("one", "two")
    document = harness.replace_section(harness.replace_section("# Results\n", "two", "second", order), "one", "first", order)
    assert document.startswith("# Results\n") and document.index("first") < document.index("second")
    again = harness.replace_section(document, "one", "third", order)
    assert "first" not in again and again.index("third") < again.index("second") and again.count("<!-- begin one -->") == 1
    assert again.startswith("# Results\n")


@pytest.mark.parametrize(("value", "text"), [
    (None, "–"), (1234567, "1,234,567"), (0.000123456, "0.0001235"), (4321.9, "4,322"), (True, "yes"), ("a|b", "a\\|b")])
def test_cells(value, text):
    assert harness.shown(value) == text


def test_precise_value_and_slope_of_a_known_function():
    b = Builder()
    x = b.input(1)
    field, function = b.build([b.unary("neg", b.unary("sin", x))]), None
    b = Builder()
    function = b.build([b.unary("sigmoid", b.unary("pow", b.input(1), 2))])
    value, slope = precise.value_and_slope(function, field, [0.75])
    s = 1 / (1 + np.exp(-0.75**2))
    assert float(value) == pytest.approx(s, rel=1e-14)
    assert float(slope) == pytest.approx(-2 * 0.75 * np.sin(0.75) * s * (1 - s), rel=1e-13)


def test_grid_volume_of_a_disc():
    disc = quadratic([[Fraction(1), Fraction(0)], [Fraction(0), Fraction(1)]], [Fraction(0)] * 2).graph
    assert pairs.grid_volume(disc, 1.0, np.array([1.5, 2.0]), 400) == pytest.approx(np.pi, rel=1e-3)


def test_peer_bounds_hold_samples_and_its_answers_need_all_conditions():
    stage = plain_stage()
    peer = first_order_peer.peer_of(stage)
    lo = np.random.default_rng(0).uniform(-1.4, 1.2, (200, 2))
    hi = lo + 0.2
    low, high = peer.bounds(peer.decrease, lo, hi)
    for share in np.random.default_rng(1).uniform(size=(20, 2)):
        d = evaluate(peer.decrease, lo + share * (hi - lo))
        assert (low - 1e-12 <= d).all() and (d <= high + 1e-12).all()
    # around the equilibrium nothing decreases strictly, and on the face the level set leaves the domain
    assert not peer.decided(np.array([[-0.2, -0.2]]), np.array([[0.2, 0.2]]))[0]
    assert not peer.decided(np.array([[1.35, 0.0]]), np.array([[1.4, 0.05]]))[0]
    assert peer.decided(np.array([[1.34, 0.0]]), np.array([[1.39, 0.05]]))[0]


def test_probe_without_thinning_counts_the_tree_and_with_it_is_right_on_average():
    stage = plain_stage(1.35, Fraction(9, 5))
    task = Task(stage, Goal("attraction"), 52)
    with np.errstate(all="ignore"):  # the plain tree: a search may split the top of its own unseen
        whole = grow(task, stage.lo[None], stage.hi[None], np.zeros(1))[2]

    def size(width: int, seed: int) -> float:
        with np.errstate(all="ignore"):
            found = cartpole.probe(task, stage.lo[None], stage.hi[None], np.zeros(1), width, np.random.default_rng(seed))
        assert not found.stuck and found.thinned == (width < 10**6)
        return found.boxes

    assert whole.finished and whole.boxes > 100 and size(10**6, 0) == whole.boxes
    drawn = np.array([size(12, seed) for seed in range(60)])
    assert abs(drawn.mean() - whole.boxes) < 4 * drawn.std(ddof=1) / np.sqrt(drawn.size)


def test_each_box_is_kept_with_its_own_probability():
    size = np.array([1.0, 1.0, 2.0, 4.0, 100.0])
    share = cartpole.inclusion(size, 3)
    np.testing.assert_allclose(share, [0.25, 0.25, 0.5, 1.0, 1.0])
    assert (cartpole.inclusion(size, 5) == 1.0).all()
    rng = np.random.default_rng(0)
    drawn = [cartpole.systematic(share, rng) for _ in range(4000)]
    assert {len(at) for at in drawn} == {3}
    np.testing.assert_allclose(np.bincount(np.concatenate(drawn)) / 4000, share, atol=0.04)


def test_unstable_linear_loops_are_never_proved(cases):
    report = linear_loops.run(linear_loops.Settings(horizons=(10,), distances=("1/1000000000",), repeat=1, budget=10.0))
    assert failed(report) == [] and {row[2] for row in report.tables[0].rows} == {"REFUTED"}


def test_published_pairs_in_small(cases):
    report = published_pairs.run(published_pairs.Settings(names=("path_dt_quadratic",), levels=("published",), repeat=1, grid=300, workers=1))
    assert [check.says for check in report.checks if check.holds is False and "proved" not in check.says] == []
    assert report.tables[0].rows[0][2] == "PROVED"


def test_first_order_peer_in_small(cases):
    report = first_order_peer.run(first_order_peer.Settings(names=("path_dt_quadratic",), limit=0.2))
    assert failed(report) == [] and report.tables[0].rows[0][-2].startswith(">= ")


def test_cartpole_in_small(cases):
    report = cartpole.run(cartpole.Settings(wave=8, seconds=0.5, least=2))
    assert {row[0]: row[1] for row in report.tables[0].rows}["repetitions"] >= 2


def test_cartpole_whole_search_goes_on_where_it_stopped(cases, tmp_path):
    settings = cartpole.Settings(frontier=40)
    first = cartpole.run_whole(tmp_path, 1e-9, settings)
    assert first.checks[0].holds is None and first.tables[0].rows[1][1] == 0
    (tmp_path / "40-000000.tree").write_bytes(b"")
    assert cartpole.run_whole(tmp_path, 1e-9, settings).tables[0].rows[1][1] == 1


def test_cartpole_whole_search_puts_its_subtrees_together(monkeypatch, tmp_path):
    monkeypatch.setattr(cartpole, "cartpole_stage", lambda pair: plain_stage(1.35, Fraction(9, 5)))
    monkeypatch.setattr(pairs, "read_pair", lambda name: None)
    report = cartpole.run_whole(tmp_path, 0.05, cartpole.Settings(frontier=20), workers=1)
    figures = {row[0]: row[1] for row in report.tables[0].rows}
    assert report.checks[0].holds is True and figures["leaves accepted by the kernel's rules"] > 100
    # a tree that covers less is refused when the search is taken up again
    path = sorted(tmp_path.glob("*.tree"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Refusal):
        cartpole.run_whole(tmp_path, 0.05, cartpole.Settings(frontier=20), workers=1)


def test_kernel_speed_in_small(cases):
    report = kernel_speed.run(kernel_speed.Settings(names=("path_dt_quadratic",), speed=("path_dt_quadratic",), elements=100, boxes=8, seconds=0.01))
    assert [len(table.rows) for table in report.tables] == [1, len(kernel_speed.RANGES), 1]


# deciders

QUICK = ("ball 2-D, unsat", "ball 2-D, sat", "1-norm 5-D, unsat", "convex relu 2-32-1, sat")


def asked(result: str, seconds: float = 1.0) -> Asked:
    """An answer that nobody gave."""
    return Asked(result, seconds, seconds, 2 if result == "unsat" else None, "made up")


def test_agreement_in_small():
    report = agreement.run(agreement.Settings(deciders=("z3",), names=QUICK, pendulum=False))
    assert failed(report) == [] and [row[0] for row in report.tables[0].rows] == list(QUICK)
    assert [row[-1].split()[0] for row in report.tables[0].rows[:3]] == ["unsat", "sat", "unsat"]
    reasons = dict(report.tables[1].rows)
    assert set(reasons) == {"ball 2-D", "1-norm 5-D", "convex relu 2-32-1"} and all(reasons.values())


def test_a_wrong_answer_and_a_slow_one_do_not_hold():
    case = larger_networks()[0]
    assert case.truth == "unsat"
    assert agreement.contradictions([case], [{"z3": asked("unsat"), "cvc5": asked("timeout")}]) == []
    assert len(agreement.contradictions([case], [{"z3": asked("sat")}])) == 1
    assert len(agreement.contradictions([case], [{"z3": asked("sat"), "native": asked("unsat")}])) == 2


@pytest.mark.parametrize(("native", "others", "won"), [
    (("unsat", 1.0), [("unsat", 2.0)], True), (("unsat", 2.0), [("unsat", 1.0)], False), (("unsat", 9.0), [("timeout", 1.0)], True),
    (("timeout", 1.0), [("unsat", 9.0)], False), (("timeout", 1.0), [("timeout", 1.0)], None),
    (("unsat", 2.0), [("unsat", 3.0), ("unsat", 1.0)], False), (("unsat", 2.0), [("unsupported", 0.0), ("unsat", 3.0)], True),
    (("unsat", 2.0), [("unsupported", 0.0)], None)])
def test_who_is_fastest(native, others, won):
    row = {"native": asked(*native), **{f"other{k}": asked(*one) for k, one in enumerate(others)}}
    assert agreement.fastest(row) is won


def test_cpu_seconds_may_judge_otherwise():
    row = {"native": Asked("unsat", 2.0, 0.5, 2, ""), "other": Asked("unsat", 1.0, 0.75, 1, "")}
    assert agreement.fastest(row) is False and agreement.fastest(row, "cpu") is True


def test_larger_networks_are_larger_and_their_truth_is_not_contradicted_by_samples():
    found = larger_networks()
    assert len({case.name for case in found}) == len(found) and {len(case.query.lo) for case in found} >= {2, 3, 4, 5, 6}
    for case in found:
        assert case.neurons == agreement.neurons(case.query.graph) > agreement.SMALL and case.why
        assert case.truth == "sat" or agreement.sampled_state(case.query, count=2000) is None


def test_sampled_states_satisfy_their_query():
    assert agreement.sampled_state(ball(2, Fraction(1, 100)), count=2000) is None
    assert agreement.sampled_state(ball(2, Fraction(-1, 2)), count=2000) is not None
    assert agreement.sampled_state(convex_relu(1, (2, 8, 1), Fraction(-1)), count=2000) is not None


@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_the_chain_is_as_its_comment_says(pairs):
    """The level 13/20 keeps V' negative on a sample, and the state of the comment violates level 4 exactly."""
    assert agreement.sampled_state(van_der_pol(pairs, Fraction(13, 20))) is None
    query, state = van_der_pol(pairs, Fraction(4)), (Fraction(3, 2),) * 2 + (Fraction(0),) * (2 * pairs - 2)
    assert replay(query, state) is not None


def test_chain_in_small():
    report = chain.run(chain.Settings(deciders=("cvc5",), pairs=(1,), limit=20.0))
    assert failed(report) == [] and [row[2].split()[0] for row in report.tables[0].rows] == ["unsat", "sat"]
    assert chain.ratio(asked("unsat", 2.0), asked("timeout", 60.0)) == "> 30" and chain.ratio(asked("timeout"), asked("unsat")) is None


def test_absent_deciders_are_named_with_the_reason():
    here, absent = present(("z3", "dreal"))
    assert "z3" in here and ("dreal" in here or "docs/dreal.md" in absent["dreal"])


def test_lsnc_in_small(cases):
    """A given box that the level set does not meet: unsat, mutated or not."""
    report = lsnc.run(lsnc.Settings(names=("output_0",), repeat=1, own=0, limit=60.0))
    assert [len(table.rows) for table in report.tables] == [1, 0, 1, 2]
    assert [row[1] for table in report.tables for row in table.rows] == ["unsat"] * 4


@pytest.mark.slow
def test_own_specifications_of_the_kind_and_mutated_ones(cases):
    report = lsnc.run(lsnc.Settings(names=("state_0",), repeat=1, own=2, changed=1, limit=100.0))
    assert [len(table.rows) for table in report.tables] == [1, 4, 3, 6]
    assert not [c.says for c in report.checks if c.holds is False and ("slack" in c.says or "sign" in c.says or "shrunk" in c.says)]


def test_the_sdp_layer_runs_through():
    """One level of the named V; the bounds need the published network."""
    pytest.importorskip("cvxpy")
    weak = ("weak motor", "5", ("3", "12"), 'level = "10"', 'method = "sos"', "PROVED")
    report = sdp_layer.run(sdp_layer.Settings((), (("2", None, ("3", "3"), "PROVED"),), (weak,), 60.0))
    assert failed(report) == [] and report.tables[1].rows[0][2] == report.tables[2].rows[0][4] == "proved"


@pytest.mark.parametrize("time", ["continuous", "discrete"])
def test_a_gain_is_proved_above_the_norm_of_a_sweep_and_not_below(time):
    pytest.importorskip("cvxpy")
    assert disturbances.norm_of(np.array([[-0.5]]) if time == "continuous" else np.array([[0.5]]), np.array([[1.0]]), time) == pytest.approx(2.0)
    report = disturbances.run(disturbances.Settings((2,), (time,), 60.0))
    assert failed(report) == [] and report.tables[0].rows[0][3::3] == ("proved", "unknown")


@pytest.fixture
def printing(tmp_path, monkeypatch):
    """A program that stands for a Python with Drake and prints what it is told."""
    def make(words: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\ncat > /dev/null\n{words}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv(drake_regions.PEER, str(program))

    return make


def test_without_drake_ours_is_proved_and_nothing_is_said_of_the_peer(monkeypatch):
    monkeypatch.delenv(drake_regions.PEER, raising=False)
    report = drake_regions.run(drake_regions.Settings(("pendulum under LQR",)))
    assert [check.holds for check in report.checks] == [True, None] and report.tables[0].rows[0][5:] == (None,) * 4


def test_a_level_of_the_peer_is_put_to_us(printing):
    printing("echo '[18.98960169356504, 0.25]'")
    report = drake_regions.run(drake_regions.Settings(("pendulum under LQR",)))
    assert [check.holds for check in report.checks] == [True, True] and report.tables[0].rows[0][5:] == ("18.98960169", 0.25, "refuted", "refuted")
    printing("echo '[17.5, 0.25]'")
    report = drake_regions.run(drake_regions.Settings(("pendulum under LQR",)))
    assert [check.holds for check in report.checks] == [True, False] and report.tables[0].rows[0][7:] == ("proved", "proved")


@pytest.mark.parametrize("words", ["exit 1", "echo", "echo nothing", "echo '[1.0]'", "kill -ABRT $$"])
def test_a_drake_that_fails_is_no_level(printing, words):
    printing(words)
    assert drake_regions.peer(drake_regions.LOOPS["cubic"], 10.0) is None


def test_the_star_is_the_gradient_system_of_the_issue():
    data = drake_regions.polynomial_plant(drake_regions.star(), ("1", "1"))
    spec = read_plant(read_json(data, "plant.json", Code.BAD_PLANT))
    field = closed_loop(spec, None, {}, time="continuous", dt=None, method=None).field
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 20))
    u = 100 * x**4 - 384 * x**2 * y**2 + 400 * y**4
    slope = np.stack([400 * x**3 - 768 * x * y**2, -768 * x**2 * y + 1600 * y**3], axis=1)
    np.testing.assert_allclose(evaluate(field, np.stack([x, y], axis=1)), (u - 1)[:, None] * slope, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_imitation_in_small():
    pytest.importorskip("torch")
    pytest.importorskip("casadi")
    case = replace(imitation.CASES[0], pairs=60)
    report = imitation.run(imitation.Settings(cases=(case,), shares=("0.5", "1.25"), epochs=200, unseen=30, budget=60.0))
    proved, region, _ = report.checks
    assert proved.holds and region.holds and [row[3] for row in report.tables[0].rows] == ["PROVED", "PROVED", None]
    assert report.tables[0].rows[0][2] > 1.5


def test_explicit_mpc_in_small(cases, monkeypatch):
    monkeypatch.delenv(explicit_mpc.PEER, raising=False)
    report = explicit_mpc.run(explicit_mpc.Settings(cases=("yannrl_pend_N2",), horizons=(5,)))
    assert failed(report) == [] and report.tables[0].rows[0][3] == 9 and report.tables[1].rows[0][1] == 191
    assert [check.holds for check in report.checks] == [True, True, None]
    online = dict(zip(report.tables[2].columns, report.tables[2].rows[0], strict=True))
    assert online["Python, many, µs"] > 0 and online["DAQP"] < 1e-8 and (online["C code, µs"] is None or online["largest difference, C"] < 1e-12)


def test_a_peer_that_fails_is_no_time(monkeypatch, tmp_path, cases):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv(explicit_mpc.PEER, str(broken))
    assert explicit_mpc.peer(explicit_mpc.cartpole(5), "geometric", 10.0) is None


def test_finished_rows_of_yann_are_kept_and_belong_to_their_settings(tmp_path):
    made = []

    def make():
        made.append(len(made))
        return {"seed": 3, "cost": 0.1 + 0.2 + len(made)}

    settings = yann.Settings(folder=tmp_path / "rows")
    first = yann.kept(settings, "pendulum", "YANN", 3, make)
    assert yann.kept(settings, "pendulum", "YANN", 3, make) == first and made == [0]
    shorter, unkept = yann.Settings(folder=tmp_path / "rows", episodes=2), yann.Settings()
    others = [yann.kept(*call, make) for call in ((shorter, "pendulum", "YANN", 3), (settings, "reactor", "YANN", 3),
                                                  (settings, "pendulum", "ddpg", 3), (unkept, "pendulum", "YANN", 3))]
    assert len({first["cost"], *(row["cost"] for row in others)}) == 5


@pytest.mark.slow
def test_a_tiny_instance_of_yann_runs_through():
    pytest.importorskip("torch", reason="PyTorch is not installed here (the extra learn brings it)")
    report = yann.run(yann.Settings(("pendulum",), (0,), 2, 20, ("lqr", "mpc")))
    assert report.checks[0].holds and report.checks[1].holds and len(report.tables) == 2
    yann_row, lqr_row, mpc_row = report.tables[0].rows
    assert yann_row[2] == pytest.approx(mpc_row[3], rel=1e-9) and lqr_row[3] > 0


def test_networks_and_loops_of_laws_in_small():
    pytest.importorskip("torch", reason="PyTorch is not installed here (the extra learn brings it)")
    report = yann_law.run(yann_law.Settings(("pendulum",), 3000, 200))
    assert failed(report) == [] and len(report.checks) == 3
    (row,), (constant,), (without, with_set) = (table.rows for table in report.tables)
    assert row[3] >= 3000 and 1900 < row[4] < row[3] and 0 <= row[5] <= row[6] < 1e-7
    assert constant[1] == pytest.approx(82.99, rel=1e-3) and constant[2] == "no"
    assert without[6] > 100 and str(without[7]).endswith("steps") and with_set[6] == 0 and with_set[8] and not without[8]


def test_a_stable_loop_in_small(cases):
    report = stable_loops.run(stable_loops.Settings(("dint N=4",), 2000))
    (row,) = report.tables[0].rows
    assert failed(report) == [] and row[2:4] == ("no", 11) and row[4] ** 2 == row[5] + row[6] and row[-1] == "proved"
    assert 0 < row[7] < 0.1 < 1 < row[8] < 1.1


@pytest.mark.slow
def test_learning_in_small():
    """A small box and few starts; the figures beside it are the published ones of the large box."""
    case = roa_learning.Case("double_integrator", ("input_limit", "1"), ("2", "2"), 3.0, (4.0, None, None, None))
    learning = roa_learning.Learning(widths=(6, 10), states=600)
    report = roa_learning.run(roa_learning.Settings((case,), (0,), 60.0, 10, 9, learning, six=("quadrotor2d",), six_costs=(10.0,)))
    row, peers = report.tables[0].rows[0], report.tables[1].rows[0]
    assert failed(report) == [] and row[1] == 1 and row[2] <= row[7] == 16.0
    six = report.tables[2].rows[0]
    assert six[2] == "PROVED" and 0.01 < six[3] < six[4]
    assert row[2] < 1.2 * row[6] and 0 < peers[2] < row[2]  # a coarse simulation, and the regulator


@pytest.mark.slow
def test_learning_in_discrete_time_in_small():
    """The figure beside it is the published one of another box, and counts only as something to exceed."""
    case = roa_discrete.Case("double_integrator", ("input_limit", "1"), ("2", "2"), "1/5", "rk4", 3.0, "no_such_pair", 4.0, "1/1000")
    report = roa_discrete.run(roa_discrete.Settings((case,), (0,), 30.0, 21))
    row = report.tables[0].rows[0]
    assert failed(report) == [] and row[1:3] == ("1/1000", 1) and row[5] == 4.0 < row[4] <= row[3] * 1.001
    assert 0 < row[6] < row[3] < 1.2 * row[7] <= 1.2 * row[8]


@pytest.mark.slow
def test_learning_beyond_three_states_in_small():
    report = roa_ellipsoids.run(roa_ellipsoids.Settings((("cartpole", (0,), 60.0, 0),)))
    row = report.tables[0].rows[0]
    assert failed(report) == [] and row[1] == 4 and roa_ellipsoids.CARTPOLE < row[5] <= row[7] < row[9] and row[7] < row[8] < row[9]


@pytest.mark.slow
def test_a_fixed_controller_in_small(cases):
    report = fixed_controllers.run(fixed_controllers.Settings(("pendulum_big_seed3",), seconds=60.0, width=12))
    row = report.tables[0].rows[0]
    assert failed(report) == [] and row[5] == "yes" and row[2] < row[3] and row[7] > 10


@pytest.mark.slow
def test_a_region_too_small_does_not_contain_the_authors_set(cases, tmp_path):
    pair = pairs.read_pair("pendulum_big_seed3")
    requirement = pair.write(tmp_path / "small", "0.5")
    assert pairs.prove(requirement, budget=60, workers=1)["outcome"] == "PROVED"
    found = fixed_controllers.contained(pair, requirement.with_suffix(".cert"))
    assert found.tree is None and found.open_at is not None
