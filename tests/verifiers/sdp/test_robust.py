"""Gains and invariant sets under a disturbance: what is false is refused at every step, what is proved holds along simulated disturbances."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import network

from verifiers.kernel.check import check
from verifiers.kernel.codes import Refusal
from verifiers.kernel.dissipation import dissipates, undisturbed, unknowns
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.lipschitz import differences
from verifiers.kernel.requirement import Box
from verifiers.load.floats import evaluate
from verifiers.prove import read_question, verify
from verifiers.sdp import robust
from verifiers.sdp.programme import solve
from verifiers.sdp.robust import disturbed, gain_programme, invariant_programme

F = Fraction
SPRING = [["0", "1"], ["-1", "-1/2"]]
TURN = [["4/5", "1/2"], ["-1/2", "4/5"]]
PUSH = [["0"], ["1"]]
GAIN = '[gain]\nvalue = "{}"\nenergy = "{}"\noutput = {{ x0 = "1" }}\n[region]\n'
HALF = 10


def linear(a: Sequence[Sequence[str]], b: Sequence[Sequence[str]]) -> tuple[list[list[Any]], list[int]]:
    """Nodes and outputs of A x + B w, w the parameters w0, w1, ..."""
    n, m = len(a), len(b[0])
    nodes: list[list[Any]] = [["x", i] for i in range(n)] + [["p", f"w{j}"] for j in range(m)]
    outputs = []
    for i in range(n):
        total = None
        for k, q in enumerate([*a[i], *b[i]]):
            nodes += [["c", q], ["mul", len(nodes), k]]
            if total is not None:
                nodes.append(["add", total, len(nodes) - 1])
            total = len(nodes) - 1
        outputs.append(total)
    return nodes, outputs


def case(folder: Path, text: str, loop: tuple[list[list[Any]], list[int]], *, time: str = "continuous", states: int = 2, disturbances: int = 1,
         inputs: Sequence[tuple[str | None, str | None]] = (), controller: bytes | None = None, prop: str = "l2_gain", half: int = HALF,
         width: str = '["-1", "1"]', rest: str = "0", more: str = "") -> Path:
    """A requirement about a plant whose parameters w0, w1, ... are the disturbance."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps({
        "format": "certctl-plant/1", "name": "pushed", "time": time, "dt": None,
        "states": [{"name": f"x{i}", "unit": "1", "angle": False} for i in range(states)],
        "inputs": [{"name": f"u{i}", "unit": "1", "lo": lo, "hi": hi} for i, (lo, hi) in enumerate(inputs)],
        "parameters": [{"name": f"w{j}", "unit": "1", "value": "0"} for j in range(disturbances)],
        "equilibrium": {"x": [rest] * states, "u": ["0"] * len(inputs)}, "domain": {"lo": [f"-{half}"] * states, "hi": [str(half)] * states},
        "nodes": loop[0], "outputs": loop[1], "reference": "tests"}).encode()
    (folder / "p.plant.json").write_bytes(data)
    head = ""
    if controller is not None:
        (folder / "controller.onnx").write_bytes(controller)
        head = 'controller = "controller.onnx"\n'
    path = folder / "requirement.toml"
    lo, hi = (json.dumps([f"{sign}{half}"] * states) for sign in ("-", ""))
    path.write_text(f'property = "{prop}"\nplant = {{ path = "p.plant.json", sha256 = "{hashlib.sha256(data).hexdigest()}" }}\n{head}'
                    f'time = "{time}"\n{more}[parameters]\n' + "".join(f"w{j} = {width}\n" for j in range(disturbances))
                    + f"[domain]\nlo = {lo}\nhi = {hi}\n{text}", encoding="utf-8")
    return path


def unproved(path: Path, code: str | None = None) -> None:
    """The answer is not PROVED, and no bundle is left behind."""
    verdict = verify(path, workers=1)
    assert verdict.outcome not in ("PROVED", "REFUTED") and not path.with_suffix(".cert").exists()
    assert code is None or verdict.code == code, verdict


POLICY = network([[[0.5, 0.25], [0.25, 0.5]], [[-1.0, -0.5]]], "Tanh")
STABLE = [["x", 0], ["x", 1], ["u", 0], ["p", "w0"], ["neg", 0], ["sub", 4, 1], ["add", 5, 2], ["add", 6, 3]], [1, 7]
"""x0' = x1, x1' = -x0 - x1 + u + w."""


# what is false or not of this kind --------------------------------------------------------------------------------------------

@pytest.mark.threat("T06")
@pytest.mark.parametrize(("a", "time", "gain"), [(SPRING, "continuous", "2.06559"), (SPRING, "continuous", "1/100"), (TURN, "discrete", "8.576"),
                                                 ([["0", "1"], ["-1", "0"]], "continuous", "1000"), ([["0", "1"], ["1", "-1"]], "continuous", "1000"),
                                                 ([["1", "0"], ["0", "1/2"]], "discrete", "1000")])
def test_a_gain_below_the_norm_or_of_a_loop_that_is_not_stable_is_not_proved(a, time, gain, tmp_path):
    """True norms: 1 / (2 z sqrt(1 - z^2)) = 2.0655911 with z = 1/4, and 8.57630 by a sweep; the others have none."""
    pytest.importorskip("cvxpy")
    unproved(case(tmp_path, GAIN.format(gain, "1/10"), linear(a, PUSH), time=time), "NO_PROOF_FOUND")


def test_a_disturbance_of_more_energy_than_the_domain_bears_is_not_proved(tmp_path):
    """From rest the spring reaches 10 with an energy of 200 at most; 10,000 takes it out of the domain."""
    pytest.importorskip("cvxpy")
    unproved(case(tmp_path, GAIN.format("3", "10000"), linear(SPRING, PUSH)), "NO_PROOF_FOUND")


KINDS = {
    "times the state": ([["x", 0], ["x", 1], ["p", "w0"], ["mul", 0, 2], ["neg", 1], ["sub", 3, 1]], [4, 5], "UNSUPPORTED"),
    "of no consequence": ([["x", 0], ["x", 1], ["neg", 0], ["neg", 1]], [2, 3], "BAD_REQUIREMENT"),
    "off rest": ([["x", 0], ["x", 1], ["p", "w0"], ["neg", 0], ["c", "1"], ["add", 3, 4], ["add", 5, 2], ["neg", 1]], [6, 7],
                 "EQUILIBRIUM_NOT_PROVED"),
}


@pytest.mark.parametrize(("nodes", "outputs", "code"), KINDS.values(), ids=KINDS)
def test_what_is_no_disturbance_of_a_loop_at_rest_is_declined(nodes, outputs, code, tmp_path):
    unproved(case(tmp_path, GAIN.format("100", "1/10"), (nodes, outputs)), code)


def test_an_output_that_is_no_state_is_an_error(tmp_path):
    pytest.importorskip("cvxpy")
    verdict = verify(case(tmp_path, GAIN.format("3", "1").replace("x0", "speed"), linear(SPRING, PUSH)), workers=1)
    assert (verdict.outcome, verdict.code, verdict.at) == ("ERROR", "BAD_REQUIREMENT", "gain.output")


REQUIREMENTS = {
    "no gain": (GAIN.format("3", "1"), "[region]\n", "gain"), "another property": ('"l2_gain"', '"forward_invariance"', "gain"),
    "no output": ('output = { x0 = "1" }\n', "", "gain.output"), "empty output": ('{ x0 = "1" }', "{}", "gain.output"),
    "a weight of zero": ('x0 = "1"', 'x0 = "0"', "gain.output.'x0'"), "no energy": ('energy = "1"\n', "", "gain.energy"),
    "a negative gain": ('value = "3"', 'value = "-3"', "gain.value"), "more": ('value = "3"', 'value = "3"\nnorm = "l2"', "gain.norm"),
}


@pytest.mark.parametrize(("old", "new", "at"), REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_a_requirement_without_sense_is_an_error(old, new, at, tmp_path):
    path = case(tmp_path, GAIN.format("3", "1"), linear(SPRING, PUSH))
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    verdict = verify(path, workers=1)
    assert (verdict.outcome, verdict.code, verdict.at) == ("ERROR", "BAD_REQUIREMENT", at)


@pytest.fixture(scope="module")
def proved(tmp_path_factory) -> Path:
    """A gain of the loop with a policy, whose functions have multipliers."""
    pytest.importorskip("cvxpy")
    path = case(tmp_path_factory.mktemp("gain"), GAIN.format("3", "1/10"), STABLE, inputs=[("-20", "20")], controller=POLICY, half=3)
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A set that is never left, in discrete time, by the inequality."""
    pytest.importorskip("cvxpy")
    path = case(tmp_path_factory.mktemp("kept"), '[region]\nmin_volume = "10"\n[prover]\nmethod = "sector"\n', linear(TURN, PUSH), time="discrete",
                prop="forward_invariance", width='["-1/4", "1/5"]')
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    return path


ASKED = {
    "smaller gain": ('value = "3"', 'value = "1/10"', "NOT_DEFINITE"), "more energy": ('energy = "1/10"', 'energy = "1000"', "CONTAINMENT"),
    "heavier output": ('x0 = "1"', 'x0 = "100"', "NOT_DEFINITE"), "other output": ('x0 = "1"', 'speed = "1"', "BAD_REQUIREMENT"),
    "an interval beside zero": ('w0 = ["-1", "1"]', 'w0 = ["1/2", "1"]', "UNSUPPORTED"),
    "no disturbance": ('w0 = ["-1", "1"]', 'w0 = "0"', "BAD_REQUIREMENT"),
    "another rest": ("[gain]", '[equilibrium]\nx = ["1/100", "0"]\n[gain]', "EQUILIBRIUM_ELSEWHERE"),
    "a command within limits": ('time = "continuous"', 'time = "continuous"\nsaturation = "forbid"', None),
}


@pytest.mark.threat("T02")
@pytest.mark.parametrize(("old", "new", "code"), ASKED.values(), ids=ASKED)
def test_the_same_proof_for_a_stronger_requirement_is_refused(proved, tmp_path, old, new, code):
    """Bundle and requirement changed together, the claim with them: only the proof is left to fail."""
    from verifiers.bundle_writer import write_bundle
    from verifiers.kernel.bundle import open_bundle
    from verifiers.kernel.requirement import read_requirement
    from verifiers.kernel.setting import expected_claim, open_setting

    given = open_bundle(proved.with_suffix(".cert"))
    for name in ("controller.onnx", "p.plant.json"):
        (tmp_path / name).write_bytes((proved.parent / name).read_bytes())
    path = tmp_path / "requirement.toml"
    path.write_text(proved.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    data = path.read_bytes()
    wanted = read_requirement(data, "twin")
    claim = expected_claim(wanted, open_setting(wanted, given.plant, given.controller).spec, given.claim["region"])
    write_bundle(path.with_suffix(".cert"), requirement=data, plant=given.plant, controller=given.controller, functions=given.functions, files={},
                 claim=claim, obligations=[{"id": name, "proof": item} for name, item in given.obligations.items()], assumptions=[], producer={})
    receipt = check(path.with_suffix(".cert"), path)
    assert receipt.code == code and (receipt.outcome == "ACCEPTED") is (code is None), receipt


@pytest.mark.threat("T02")
def test_a_limit_of_an_input_is_no_disturbance(tmp_path):
    """Each end of the limit would be a disturbance of its own, and the energy of one would count twice."""
    path = case(tmp_path, GAIN.format("3", "1/10"), STABLE, inputs=[("-w0", "w0")], controller=POLICY, width='["0", "1"]', half=3)
    verdict = verify(path, workers=1)
    assert verdict.outcome == "UNKNOWN", verdict


@pytest.mark.parametrize("mode", ["panic", "abort", "infeasible", "inaccurate", "nan", "good", "unbounded", "exit 1", "hang"])
def test_whatever_the_solver_does_nothing_is_proved(mode, tmp_path, monkeypatch):
    """"good" is a wrong optimum: every variable is a quarter."""
    fake = [sys.executable, str(Path(__file__).with_name("fake_solver.py")), mode]
    monkeypatch.setattr(robust, "solve", lambda programmes, **_: solve(programmes, command=fake, seconds=2.0 if mode == "hang" else 20.0))
    unproved(case(tmp_path / "gain", GAIN.format("2.1", "1/10"), linear(SPRING, PUSH)))
    kept = '[region]\nmin_volume = "1"\n[prover]\nmethod = "sector"\n'
    unproved(case(tmp_path / "kept", kept, linear(SPRING, PUSH), prop="forward_invariance"))


def test_without_a_solver_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("verifiers.sdp.programme.find_spec", lambda name: None)
    verdict = verify(case(tmp_path, GAIN.format("3", "1/10"), linear(SPRING, PUSH)), workers=1)
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "UNSUPPORTED") and "certctl[sdp]" in verdict.message


def test_a_set_that_the_largest_disturbance_leaves_is_not_proved(tmp_path):
    """|w| <= 8 moves the spring's rest to 8 and its swing beyond 10."""
    pytest.importorskip("cvxpy")
    kept = '[region]\nmin_volume = "1"\n[prover]\nmethod = "sector"\n'
    unproved(case(tmp_path, kept, linear(SPRING, PUSH), prop="forward_invariance", width='["-8", "8"]'))


# the matrix ------------------------------------------------------------------------------------------------------------------

def loop_with_a_function(step: float = 1.0):
    """(x, w) -> step (tanh(x0 + x1 - w1) - 3 x0 + w0, clip(x1, -1, 1) - 2 x1) with two unknown constants."""
    b = Builder()
    x = b.input(2)
    w0, w1 = b.const([(F(-1), F(1))]), b.const([(F(-2), F(1, 2))])
    inner = b.binary("sub", b.affine(x, Affine(np.array([[1.0, 1.0]]), np.zeros(1))), w1)
    first = b.binary("add", b.binary("sub", b.unary("tanh", inner), b.affine(b.take(x, [0]), Affine(np.array([[3.0]]), np.zeros(1)))), w0)
    second = b.binary("sub", b.clip(b.take(x, [1]), [F(-1)], [F(1)]), b.affine(b.take(x, [1]), Affine(np.array([[2.0]]), np.zeros(1))))
    return b.build([b.affine(b.concat([first, second]), Affine(step * np.eye(2), np.zeros(2)))])


def at(field, w):
    """The field with its unknown constants at w."""
    from dataclasses import replace

    from verifiers.kernel.graph import Graph
    values = iter(w)
    nodes = []
    for node in field.nodes:
        data = node.data
        if node.op == "const":
            data = tuple((v := F(float(next(values))), v) if lo < hi else (lo, hi) for lo, hi in data)
        nodes.append(replace(node, data=data))
    return Graph(tuple(nodes), field.input_sizes, field.outputs)


def test_unknown_constants_are_inputs_of_the_differences():
    field = loop_with_a_function()
    assert unknowns(field) == [(F(-1), F(1)), (F(-2), F(1, 2))] and unknowns(undisturbed(field)) == []
    found = differences(field, Box((F(-3), F(-3)), (F(3), F(3))))
    assert found.inputs == 4 and len(found.low) == 3 and [float(v) for v in found.output[0]] == [-3, 0, 1, 0, 1, 0, 0]
    rng = np.random.default_rng(0)
    still = undisturbed(field)
    for _ in range(40):
        x, w = rng.uniform(-3, 3, 2), np.array([rng.uniform(-1, 1), rng.uniform(-2, 0.5)])
        change = evaluate(at(field, w), x[None])[0] - evaluate(still, np.zeros((1, 2)))[0]
        outer = np.tanh(x.sum() - w[1])
        z = [*x, *w, outer, max(x[1] + 1.0, 0.0) - 1.0, max(max(x[1], -1.0) - 1.0, 0.0)]  # max(x, -1) and min(., 1) by rectifiers, less their rest
        assert found.output.astype(float) @ z == pytest.approx(change, abs=1e-12)
        v = found.arguments.astype(float) @ z
        for value, argument, a, b in zip(z[4:], v, found.low, found.high, strict=True):
            assert (value - float(a) * argument) * (float(b) * argument - value) >= -1e-12


def test_kinks_that_are_not_met_have_one_slope():
    b = Builder()
    x = b.input(1)
    field = b.build([b.clip(x, [F(-2)], [F(2)])])
    narrow, wide = (differences(field, Box((F(-r),), (F(r),))) for r in (1, 3))
    assert list(narrow.low) == [1, 0] and list(narrow.high) == [1, 0]
    assert list(wide.low) == [0, 0] and list(wide.high) == [1, 1] and list(differences(field, None).low) == [0, 0]


@pytest.mark.parametrize("time", ["continuous", "discrete"])
def test_the_inequality_holds_along_every_step_that_it_speaks_of(time):
    """x'Px of random matrices: whatever is proved is true of the quadratic form itself, also with multipliers that prove nothing."""
    field = loop_with_a_function(0.2 if time == "discrete" else 1.0)
    found = differences(field, Box((F(-3), F(-3)), (F(3), F(3))))
    rng, proved = np.random.default_rng(1), 0
    for k in range(60):
        scale = 4.0 ** rng.integers(-3, 4)
        p = np.diag(rng.uniform(0.5, 2, 2)) * scale
        supply, outputs = ([F(float(v)) for v in size * scale * rng.uniform(0.5, 1, 2)] for size in (50, 0.05))
        multipliers, decay = [F(float(v)) for v in scale * rng.uniform(0, 4, 3)], F(k % 3, 20)
        if not dissipates(found, time, tuple(map(tuple, [[F(float(v)) for v in row] for row in p])), supply, outputs, decay, multipliers):
            continue
        proved += 1
        x, w = rng.uniform(-3, 3, (50, 2)), np.stack([rng.uniform(-1, 1, 50), rng.uniform(-2, 0.5, 50)], axis=1)
        for one, push in zip(x, w, strict=True):
            after = evaluate(at(field, push), one[None])[0]
            change = after @ p @ after - one @ p @ one if time == "discrete" else 2 * one @ p @ after
            fed = np.array([float(s) for s in supply]) @ push**2 - np.array([float(q) for q in outputs]) @ one**2 - float(decay) * one @ p @ one
            assert change <= fed + 1e-9
    assert proved >= 3


@pytest.mark.parametrize("time", ["continuous", "discrete"])
def test_the_programmes_are_the_inequality(time, tmp_path):
    """Each column is a matrix that the kernel would form, in the units of the domain."""
    loop = STABLE if time == "continuous" else ([["x", 0], ["x", 1], ["u", 0], ["p", "w0"], ["c", "1/2"], ["mul", 4, 0], ["mul", 4, 1], ["add", 5, 2],
                                                 ["add", 6, 3]], [7, 8])
    path = case(tmp_path, GAIN.format("3", "1/10"), loop, time=time, inputs=[("-20", "20")], controller=POLICY, half=3)
    question = read_question(path)
    setting = question.setting()
    from verifiers.region.attraction import Work

    found = disturbed(Work(setting, question.loop(setting), 0.0))
    n, m, count = 2, 1, len(found.low)
    units = np.concatenate([found.half, found.size, found.reach])
    rng = np.random.default_rng(0)
    upper, t, gain = rng.normal(size=3), rng.uniform(0, 1, count), 3.0
    p = np.array([[upper[0], upper[1]], [upper[1], upper[2]]]) / np.outer(found.half, found.half)
    programme = gain_programme(found, np.array([1.0, 0.0]), 0.1, gain)
    size, linear_part, constant = programme.blocks[0]
    block = (linear_part @ np.concatenate([[0.0], upper, t]) + constant).reshape(size, size)
    e = np.eye(n, size)
    h = np.array(found.exact.output, dtype=float)
    square = gain**2
    change = h.T @ (p * square) @ h - e.T @ (p * square) @ e if time == "discrete" else e.T @ (p * square) @ h + h.T @ (p * square) @ e
    sectors = np.array(found.exact.sectors([F(float(v)) for v in t * square / found.reach**2]), dtype=float)
    plain = np.diag([-1.0, 0.0, square, *[0.0] * count]) - change - sectors
    np.testing.assert_allclose(block * square, plain * np.outer(units, units), atol=1e-9)
    kept = invariant_programme(found, 0.1, np.zeros((0, 2)))
    size, linear_part, constant = kept.blocks[0]
    block = (linear_part @ np.concatenate([upper, t, [0.7]]) + constant).reshape(size, size)
    change = h.T @ p @ h - e.T @ p @ e if time == "discrete" else e.T @ p @ h + h.T @ p @ e
    sectors = np.array(found.exact.sectors([F(float(v)) for v in t / found.reach**2]), dtype=float)
    plain = np.diag([0.0, 0.0, 0.7 / found.size[0] ** 2, *[0.0] * count]) - change - 0.1 * e.T @ p @ e - sectors
    np.testing.assert_allclose(block + 1e-7 * np.eye(size), plain * np.outer(units, units), atol=1e-9)
    assert m == len(found.size)


# what is proved ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("a", "time", "gain"), [(SPRING, "continuous", "2.06560"), (TURN, "discrete", "8.5764")])
def test_the_norm_of_a_linear_loop_is_proved_to_five_digits(a, time, gain, tmp_path):
    pytest.importorskip("cvxpy")
    path = case(tmp_path, GAIN.format(gain, "1/100"), linear(a, PUSH), time=time)
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    receipt = check(path.with_suffix(".cert"), path)
    assert (receipt.outcome, receipt.property, receipt.level) == ("ACCEPTED", "l2_gain", "L2")


def test_a_loop_with_a_policy_keeps_its_gain_along_simulated_disturbances(proved):
    """Energies from rest, by small Euler steps."""
    receipt = check(proved.with_suffix(".cert"), proved)
    assert receipt.outcome == "ACCEPTED" and receipt.region["volume_lower_bound"] > 0
    field = read_question(proved).setting().loop.field
    rng, dt = np.random.default_rng(0), 0.01
    for frequency in (0.3, 0.8, 1.2, 3.0):
        x, seen, given = np.zeros(2), 0.0, 0.0
        for k in range(2000):
            w = 0.02 * np.sin(frequency * k * dt) + 0.005 * rng.normal()
            seen, given = seen + x[0] ** 2 * dt, given + w * w * dt
            x = x + dt * evaluate(at(field, [w]), x[None])[0]
        assert given <= 0.1 and seen <= 9 * given


def test_a_loop_that_is_stable_only_with_its_policy_has_a_gain(tmp_path):
    """x1 alone would grow; the policy's slopes over the domain are what holds it."""
    pytest.importorskip("cvxpy")
    path = case(tmp_path, GAIN.format("40", "1/1000"), ([["x", 0], ["x", 1], ["u", 0], ["p", "w0"], ["add", 0, 2], ["add", 4, 3]], [1, 5]),
                inputs=[("-20", "20")], controller=network([[[1.0, 0.0], [0.0, 1.0]], [[-3.0, -3.0]]], "Tanh"), half=1)
    assert verify(path, workers=1).outcome == "PROVED"


def test_a_kept_set_holds_simulated_disturbances(kept):
    receipt = check(kept.with_suffix(".cert"), kept)
    table = json.loads((kept.with_suffix(".cert") / "certificate.json").read_text(encoding="utf-8"))["predicate"]
    p = np.array([[float(F(v)) for v in row] for row in table["functions"]["Q"]["matrix"]])
    level = float(F(receipt.region["level"]))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2))
    x *= np.sqrt(level / np.einsum("bi,ij,bj->b", x, p, x))[:, None]
    a = np.array([[0.8, 0.5], [-0.5, 0.8]])
    for _ in range(50):
        x = x @ a.T + np.array([0.0, 1.0]) * rng.choice([-0.25, 0.2], (500, 1))
        assert (np.einsum("bi,ij,bj->b", x, p, x) <= level * (1 + 1e-9)).all()


def test_seven_states_are_kept_without_boxes(tmp_path):
    """More states than boxes reach; the set has to hold a box."""
    pytest.importorskip("cvxpy")
    rng = np.random.default_rng(0)
    m = rng.normal(size=(7, 7))
    m -= (np.linalg.eigvals(m).real.max() + 0.4) * np.eye(7)
    a, b = [[f"{v:.3f}" for v in row] for row in m], [[f"{v:.3f}"] for v in rng.normal(size=7)]
    held = '[region]\ncontains = { lo = ' + json.dumps(["-1/2"] * 7) + ", hi = " + json.dumps(["1/2"] * 7) + " }\n"
    path = case(tmp_path, held, linear(a, b), states=7, prop="forward_invariance")
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED" and verdict.boxes == 0, verdict


def test_a_set_that_boxes_keep_is_still_proved_by_boxes(tmp_path):
    path = case(tmp_path, '[region]\nmin_volume = "1"\n', linear(SPRING, PUSH), prop="forward_invariance", width='["-1/10", "1/10"]')
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED" and verdict.receipt.obligations[0]["kind"] == "box_tree"


def test_products_of_what_varies_have_no_differences():
    b = Builder()
    x, w = b.input(1), b.const([(F(-1), F(1))])
    with pytest.raises(Refusal) as no:
        differences(b.build([b.binary("mul", x, w)]), Box((F(-1),), (F(1),)))
    assert no.value.code.name == "UNSUPPORTED"


# what others make of it --------------------------------------------------------------------------------------------------------

def test_queries_about_states_do_not_state_a_gain(proved):
    from verifiers.smt.obligations import obligations_as_queries

    with pytest.raises(Refusal) as no:
        obligations_as_queries(proved.with_suffix(".cert"))
    assert no.value.code.name == "UNSUPPORTED"


def test_a_second_look_says_that_it_does_not_know_these(proved, kept):
    pytest.importorskip("flint")
    from verifiers.second.claim import second_opinion

    assert [second_opinion(path.with_suffix(".cert"), path).outcome for path in (proved, kept)] == ["not handled"] * 2


def test_the_report_says_what_the_gain_is(proved):
    from certctl.report.words import not_claimed, obligation_rows, statement
    from certctl.view import open_view

    view = open_view(proved.with_suffix(".cert"), proved)
    assert [stage.identifier for stage in view.stages] == ["gain"]
    said = statement(view)
    assert "the output 1·x0 is at most V(x(0)) and 3²" in said and said.endswith("for every disturbance w0 in [-1, 1].")
    assert any("least" in line for line in not_claimed(view)) and "storage" in obligation_rows(view.receipt)[0][-1]
    assert "constant" not in " ".join(view.receipt.assumptions)


def test_a_weaker_gain_is_a_loss(proved):
    from dataclasses import replace

    from certctl.difference import differences as compare
    from certctl.view import open_view

    view = open_view(proved.with_suffix(".cert"), proved)
    for change, kinds in (({"value": F(4)}, ["lost", "gained"]), ({"energy": F(1)}, ["gained", "lost"]), ({"output": {"x0": F(2)}}, ["changed"] * 2)):
        other = replace(view, requirement=replace(view.requirement, gain=replace(view.requirement.gain, **change)))
        assert [str(c.kind.name) for pair in ((view, other), (other, view)) for c in compare(*pair)] == kinds
