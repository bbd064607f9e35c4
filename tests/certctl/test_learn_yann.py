"""The YANN: equal to the law, zero where nothing was learned yet, consistent critic; and learning that keeps what is proved only."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from certctl.cli.main import run

torch = pytest.importorskip("torch", reason="PyTorch is not installed here (the extra learn brings it)")
pytest.importorskip("casadi", reason="CasADi is not installed here (the extra model brings it)")
pytest.importorskip("daqp", reason="DAQP is not installed here (the extra mpc brings it)")

from certctl.learners.yann.actor import LatticeActor  # noqa: E402
from certctl.learners.yann.actor_critic import Settings, YannActorCritic, paired  # noqa: E402
from certctl.learners.yann.critic import Critic, reach  # noqa: E402
from certctl.learners.yann.network import Winner, Yann, largest, refuse_constant, yann_onnx  # noqa: E402
from certctl.learners.yann.performance import NoBound, cost_bound, exponential, stage_forms  # noqa: E402
from certctl.learners.yann.shield import Region, Shield, certified_region  # noqa: E402
from certctl.learners.yann.start import inscribed, read_start, requirement_text, yann_graph  # noqa: E402
from certctl.learners.yann.task import Task  # noqa: E402
from verifiers.explicit_mpc.lattice import lattice_graph, law_cells  # noqa: E402
from verifiers.explicit_mpc.problem import BadProblem  # noqa: E402
from verifiers.explicit_mpc.value import pieces  # noqa: E402
from verifiers.kernel.check import check  # noqa: E402
from verifiers.kernel.codes import Code, Refusal  # noqa: E402
from verifiers.kernel.onnx_reader import read_onnx  # noqa: E402
from verifiers.load.floats import evaluate  # noqa: E402
from verifiers.load.to_onnx import to_onnx  # noqa: E402
from verifiers.prove import verify  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PENDULUM = """
plant = "gym_pendulum"
dt = "1/20"
horizon = 2
{discount}
[weights]
Q = [["1", "0"], ["0", "1"]]
R = [["1/10"]]
[limits]
x = {{ lo = ["-2", "-8"], hi = ["2", "8"] }}
[terminal]
set = "invariant"
"""
REACTOR = """
plant = "safety_cstr"
horizon = 2
[weights]
Q = [["0.1", 0, 0, 0], [0, "0.1", 0, 0], [0, 0, "0.1", 0], [0, 0, 0, "0.1"]]
R = [["0.0001"]]
[limits]
x = { lo = ["-2", "-2", "-2", "-70"], hi = ["2", "2", "2", "5"] }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def pendulum(folder):
    (folder / "pendulum.toml").write_text(PENDULUM.format(discount=""), encoding="utf-8")
    return read_start(folder / "pendulum.toml")


@pytest.fixture(scope="module")
def reactor(folder):
    (folder / "reactor.toml").write_text(REACTOR, encoding="utf-8")
    return read_start(folder / "reactor.toml")


def points_of(start, count, seed=0):
    """Uniform points, and points on facets: middles of vertices of the cells of the tree."""
    draw = np.random.default_rng(seed)
    lo, hi = start.model.lb.astype(float), start.model.ub.astype(float)
    _, cells = law_cells(start.law)
    corners = [np.array([[v / vertex.point[-1] for v in vertex.point[:-1]] for vertex in cell.vertices]) for cell, _ in cells]
    edges = [0.5 * (c[draw.integers(len(c), size=20)] + c[draw.integers(len(c), size=20)]) for c in corners]
    return np.concatenate([draw.uniform(lo, hi, (count, len(lo))), *edges, *corners])


@pytest.mark.parametrize("case", ["pendulum", "reactor"])
@pytest.mark.parametrize("regional", [False, True])
def test_yann_is_the_law_facets_included(case, regional, request):
    start = request.getfixturevalue(case)
    found = pieces(start.model, start.active)
    theta = points_of(start, 20_000)
    wanted = start.law.evaluate(theta)
    gains = np.array([law.astype(float)[:, :-1] for law in found.laws])
    apart = max(np.linalg.norm(a - b) for a in gains for b in gains)
    with torch.no_grad():
        command, outside = Yann(found, width=4, regional=regional, seed=3)(torch.from_numpy(theta))
    inside = np.isfinite(wanted[:, 0])
    assert not np.isnan(command.numpy()[inside]).any(), "each point of the domain, facets included, lies in a region"
    assert np.abs(command.numpy() - wanted)[inside].max() <= 1e-9 * (1 + apart)
    far = ~inside & ~start.has_value(theta * (1 - 1e-6) + start.plant.rest[0])
    assert far.any() and (outside.numpy()[far] == 1).all() and np.isnan(command.numpy()[far]).all(), "never a silent zero"


def test_yann_form_in_onnx_is_the_module_and_the_kernel_does_not_read_two_outputs(pendulum):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed here")
    pytest.importorskip("onnx", reason="onnx is not installed here (the extra learn brings it)")
    data = yann_onnx(Yann(pieces(pendulum.model, pendulum.active), width=4, seed=1))
    theta = points_of(pendulum, 5000)
    command, outside = runtime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": theta})
    wanted = pendulum.law.evaluate(theta)
    inside = np.isfinite(wanted[:, 0])
    assert np.abs(command - wanted)[inside].max() < 1e-6 and (np.isnan(command[:, 0]) == (outside == 1)).all() and (outside == 1).any()
    with pytest.raises(Refusal) as no:
        read_onnx(data)
    assert no.value.code is Code.BAD_ONNX and "2 outputs" in no.value.message


@pytest.mark.parametrize("case", ["pendulum", "reactor"])
def test_the_kernels_yann_form_runs_in_onnx_runtime_as_the_law(case, request):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed here")
    start = request.getfixturevalue(case)
    data = to_onnx(yann_graph(start), double=True)
    theta = points_of(start, 2000)
    wanted = start.law.evaluate(theta)
    gains = np.array([law.astype(float)[:, :-1] for law in pieces(start.model, start.active).laws])
    apart, inside = max(np.linalg.norm(a - b) for a in gains for b in gains), np.isfinite(wanted[:, 0])
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = np.array([session.run(None, {"X": x[None]})[0][0] for x in theta[inside] + start.plant.rest[0]]) - start.plant.rest[1]
    assert inside.sum() > 500 and np.abs(found - wanted[inside]).max() <= 1e-9 * (1 + apart)
    graph = read_onnx(data, jumps=True).graph
    assert (evaluate(graph, theta[inside] + start.plant.rest[0]) - start.plant.rest[1] == pytest.approx(found, abs=1e-9)) and not graph.is_smooth
    assert {node.op for node in graph.nodes} >= {"where"} and b"GreaterOrEqual" in data and b"Where" in data


def test_the_law_in_yann_form_is_certified_as_the_lattice_is(pendulum, tmp_path):
    (tmp_path / "controller.onnx").write_bytes(to_onnx(yann_graph(pendulum), double=True))
    (tmp_path / "requirement.toml").write_bytes(requirement_text(pendulum, [Fraction(1, 50)] * 2))
    verdict = verify(tmp_path / "requirement.toml", budget=60, workers=1)
    assert verdict.outcome == "PROVED" and verdict.bundle is not None
    receipt = check(verdict.bundle, tmp_path / "requirement.toml")
    assert receipt.outcome == "ACCEPTED" and receipt.region is not None and receipt.region["volume_lower_bound"] > 1


def test_one_constant_for_all_regions_is_refused_where_it_is_too_small(reactor):
    found = pieces(reactor.model, reactor.active)
    assert len(found.laws) == 7
    with pytest.raises(ValueError, match=r"M = 500 is too small.*3351\.9"):
        refuse_constant(found, 500.0)
    refuse_constant(found, 3352.0)
    net = Yann(found)
    theta = points_of(reactor, 20_000)
    wanted = reactor.law.evaluate(theta)
    inside = np.isfinite(wanted[:, 0])
    net.bound[:] = 500.0
    with torch.no_grad():
        error = np.abs(net(torch.from_numpy(theta))[0].numpy() - wanted)[inside].max()
    assert error > 1.0, "the published construction fails on the published reactor"


def test_bound_per_region_is_the_maximum_over_the_box():
    gains = np.array([[[1.0, -2.0, 3.0]]])
    assert largest(gains, np.array([-1.0, 0.0]), np.array([2.0, 5.0]))[0, 0] == pytest.approx(8.0)  # |-1 - 10 + 3|


def test_the_first_of_several_regions_wins(pendulum):
    found = pieces(pendulum.model, pendulum.active)
    doubled = replace(found, halfspaces=found.halfspaces * 2, laws=found.laws * 2, forms=found.forms * 2)
    theta = torch.from_numpy(points_of(pendulum, 2000))
    won = Winner(doubled)(theta)
    assert ((won == 0) | (won == 1)).all() and (won.sum(dim=1) <= 1).all() and not won[:, len(found.laws):].any()


def test_injected_layers_are_zero_exactly_and_learn(pendulum):
    net = Yann(pieces(pendulum.model, pendulum.active), width=6, seed=1)
    theta = torch.from_numpy(points_of(pendulum, 500))
    assert (net.injected(theta) == 0).all()
    command, outside = net(theta)
    command[outside == 0].sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in net.injected.parameters())


def test_the_actor_is_the_law_and_its_export_is_the_actor(pendulum):
    scale = (pendulum.model.ub - pendulum.model.lb).astype(float) / 2
    actor = LatticeActor(pendulum.plant, pendulum.forms, scale, seed=2)
    x = points_of(pendulum, 5000)
    wanted = pendulum.law.evaluate(x)
    inside = np.isfinite(wanted[:, 0])
    assert np.abs(actor.evaluate(x) - wanted)[inside].max() < 1e-12
    with torch.no_grad():
        actor.out += 0.3
    rest = actor.evaluate(pendulum.plant.rest[0])
    assert rest.tolist() == pendulum.plant.rest[1].tolist(), "the correction vanishes at the equilibrium"
    graph = read_onnx(to_onnx(actor.graph(), double=True)).graph
    assert np.abs(pendulum.plant.clip(evaluate(graph, x)) - actor.evaluate(x)).max() < 1e-12


@pytest.mark.parametrize("discount", ["1", "0.95"])
def test_the_law_minimises_the_consistent_critic_and_not_the_regulators(folder, discount):
    (folder / "discounted.toml").write_text(PENDULUM.format(discount=f'discount = "{discount}"'), encoding="utf-8")
    start = read_start(folder / "discounted.toml")
    x = points_of(start, 30_000)
    x = x[start.has_value(x * 1.001)][:300]
    law = start.law.evaluate(x)
    scale = (np.ones(2), np.ones(1))
    worse = {}
    for consistent in (True, False):
        critic = Critic(start.model, consistent, scale, 1.0, 1e3, 4, 0)
        with torch.no_grad():
            theta = torch.from_numpy(x)
            best = critic(theta, torch.from_numpy(law))
            tries = torch.stack([critic(theta, torch.from_numpy(np.clip(law + step, -2, 2))) for step in np.linspace(-2, 2, 81)])
            worse[consistent] = float((best - tries.amin(dim=0)).max())
    assert worse[True] < 1e-6 < worse[False]


def test_the_consistent_critic_is_the_value_function_of_the_full_horizon_at_the_law(pendulum):
    found = pieces(pendulum.model, pendulum.active)
    x = points_of(pendulum, 30_000)
    x = x[pendulum.has_value(x * 1.001)][:200]
    won = Winner(found)(torch.from_numpy(x)).numpy()
    forms = np.array([form.astype(float) for form in found.forms])
    lifted = np.column_stack([x, np.ones(len(x))])
    value = np.einsum("bq,qij,bi,bj->b", won, forms, lifted, lifted)
    critic = Critic(pendulum.model, True, (np.ones(2), np.ones(1)), 1.0, 1e3, 4, 0)
    with torch.no_grad():
        action_value = critic(torch.from_numpy(x), torch.from_numpy(pendulum.law.evaluate(x))).numpy()
    np.testing.assert_allclose(action_value, value, rtol=1e-9, atol=1e-9)


def test_reach_holds_every_successor(pendulum):
    lo, hi = (side.astype(float) for side in reach(pendulum.model))
    draw = np.random.default_rng(0)
    x, u = draw.uniform(-1, 1, (1000, 2)) * [2, 8], draw.uniform(-2, 2, (1000, 1))
    after = x @ pendulum.model.A.astype(float).T + u @ pendulum.model.B.astype(float).T
    assert ((after >= lo) & (after <= hi)).all()
    with pytest.raises(ValueError, match="limits for each input"):
        reach(replace(pendulum.model, u=((None,), (None,))))


def test_task_counts_violations_and_ends_there(pendulum):
    task = Task(pendulum.plant, pendulum.model, 30, 1000.0, pendulum.has_value)
    found = task.episodes(lambda x: np.full((len(x), 1), 2.0), np.array([[1.9, 3.0], [0.0, 0.0]]))
    assert found.violations.tolist() == [True, True] and (found.costs > 1000).all() and (found.costs < 2200).all()
    still = task.episodes(lambda x: np.zeros((len(x), 1)), np.zeros((1, 2)))
    assert still.costs.tolist() == [0.0] and not still.violations.any()
    assert task.violated(np.array([[np.nan, 0.0]])).all()
    starts = task.starts(50, np.random.default_rng(0))
    assert pendulum.has_value(starts).all()
    with pytest.raises(ValueError, match="may be starts"):
        Task(pendulum.plant, pendulum.model, 1, 0.0, lambda x: np.zeros(len(x), dtype=bool)).starts(1, np.random.default_rng(0))


def test_shield_takes_over_exactly_where_the_region_would_be_left(pendulum):
    actor = LatticeActor(pendulum.plant, pendulum.forms, np.ones(2))
    region = Region(lambda x: (x**2).sum(axis=1), 0.04, np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    shield = Shield(region, actor.graph(), pendulum.plant)
    x = np.array([0.05, 0.1])
    kept, taken = shield(x, np.array([0.1]))
    assert kept.tolist() == [0.1] and not taken
    other, taken = shield(x, np.array([2.0]))
    assert taken and other == pytest.approx(pendulum.law.evaluate(x[None])[0])
    assert not region.holds(np.array([[np.nan, 0.0], [0.2, 0.2], [0.0, 0.2]])).any() and region.holds(np.array([[0.0, 0.199]])).all()


@pytest.fixture(scope="module")
def learned(pendulum, tmp_path_factory):
    out = tmp_path_factory.mktemp("learned") / "policy"
    seen = []
    settings = Settings(episodes=4, steps=40, every=2, budget=60.0, batch=32, noise=0.5, seed=1)
    text = requirement_text(pendulum, [Fraction(1, 50)] * 2)
    return YannActorCritic(pendulum, text, settings).learn(out, seen.append), seen


def test_learning_ends_with_a_policy_that_the_kernel_accepts(learned, pendulum):
    found, seen = learned
    receipt = check(found.folder / "requirement.cert", found.folder / "requirement.toml")
    assert receipt.outcome == "ACCEPTED" and receipt.property == "asymptotic_stability_roa"
    assert (found.folder / "controller.onnx").read_bytes() == (found.folder / "requirement.cert" / "controller.onnx").read_bytes()
    assert found.figures["violations"] == found.figures["test_violations"] == 0
    assert seen[-1].done == 1.0 and "volume" in seen[-1].figures
    report = json.loads((found.folder / "report.json").read_text())
    assert len(report["starts"]) == len(report["costs_after"]) == 10
    assert len(report["differences"]) == 200 and found.figures["compared"] == pytest.approx(np.mean(report["differences"]))
    history = json.loads((found.folder / "history.json").read_text())
    assert sum("cost" in row and "violation" in row for row in history) == 4 and sum("candidate" in row for row in history) >= 2
    region = certified_region(found.folder / "requirement.cert")
    inside = np.random.default_rng(0).uniform(region.lo, region.hi, (4000, 2))
    inside = inside[region.holds(inside)]
    graph = read_onnx((found.folder / "controller.onnx").read_bytes()).graph
    after = pendulum.plant.rhs(inside, pendulum.plant.clip(evaluate(graph, inside)))
    assert len(inside) > 100 and (region.value(after) < region.value(inside) + 1e-12).all()


def test_a_policy_without_a_proof_never_becomes_the_current_one(pendulum, tmp_path, monkeypatch):
    """The candidate is a push to one side, which no requirement holds for: the run goes back to the last certified policy and halves its step."""
    from certctl.learners.yann import actor_critic

    def push(self):
        with torch.no_grad():
            self.actor.out += 50.0

    monkeypatch.setattr(actor_critic._Run, "update", push)
    settings = Settings(episodes=1, steps=3, every=1, budget=20.0, halvings=0, checks=3, tests=2)
    found = YannActorCritic(pendulum, requirement_text(pendulum, [Fraction(1, 50)] * 2), settings).learn(tmp_path / "out", lambda step: None)
    assert found.figures["refused"] == 1 and found.figures["change"] == found.figures["compared"] == 0.0
    assert check(found.folder / "requirement.cert", found.folder / "requirement.toml").outcome == "ACCEPTED"
    first = tmp_path / "out" / "candidates" / "first" / "controller.onnx"
    assert (found.folder / "controller.onnx").read_bytes() == first.read_bytes()


@pytest.fixture(scope="module")
def ready(pendulum, tmp_path_factory):
    from certctl.learners.yann.actor_critic import _Run

    found = _Run(pendulum, requirement_text(pendulum, [Fraction(1, 50)] * 2), Settings(episodes=1, steps=40, look_ahead=3, checks=3, tests=2),
                 tmp_path_factory.mktemp("ready"), lambda step: None)
    with torch.no_grad():
        found.actor.out += 0.3
    return found


def test_look_ahead_is_the_cost_of_these_steps_on_the_plant_and_the_critic_after_them(ready, pendulum):
    x = np.random.default_rng(0).uniform([-0.3, -1.0], [0.3, 1.0], (50, 2))
    at, total = x, np.zeros(len(x))
    for _ in range(3):
        u = ready.actor.evaluate(at)
        total += ready.task.cost(at, u)
        at = pendulum.plant.rhs(at, u)
    with torch.no_grad():
        rest = ready.critics[0](torch.from_numpy(at), torch.from_numpy(ready.actor.evaluate(at))).numpy()
        assert ready.ahead(torch.from_numpy(x)).numpy() == pytest.approx(total + rest, rel=1e-9)


def test_look_ahead_has_the_slope_of_its_values_in_the_weights(ready):
    x = torch.from_numpy(np.random.default_rng(1).uniform([-0.1, -0.1], [0.1, 0.1], (20, 2)))
    (slope,) = torch.autograd.grad(ready.ahead(x).mean(), ready.actor.out)
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            ready.actor.out[0, 2] += sign * 1e-6
            values.append(float(ready.ahead(x).mean()))
            ready.actor.out[0, 2] -= sign * 1e-6
    assert abs(float(slope[0, 2])) > 1e-4 and float(slope[0, 2]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3)


def test_an_interrupted_run_goes_on_to_the_same_weights(learned, pendulum, tmp_path):
    class Stop(Exception):
        pass

    def stop(step):
        if step.done >= 0.5:
            raise Stop

    settings = Settings(episodes=4, steps=40, every=2, budget=60.0, batch=32, noise=0.5, seed=1)
    text = requirement_text(pendulum, [Fraction(1, 50)] * 2)
    with pytest.raises(Stop):
        YannActorCritic(pendulum, text, settings).learn(tmp_path, stop)
    assert not (tmp_path / "report.json").exists() and (tmp_path / "checkpoint.pt").exists()
    found = YannActorCritic(pendulum, text, settings).learn(tmp_path, lambda step: None)
    whole, _ = learned
    assert found.figures == whole.figures
    assert (found.folder / "controller.onnx").read_bytes() == (whole.folder / "controller.onnx").read_bytes()
    rows = [[{k: v for k, v in row.items() if k != "search_s"} for row in json.loads((folder / "history.json").read_text())]
            for folder in (found.folder, whole.folder)]
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def exponentially(tmp_path_factory):
    """A bundle of exponential stability of the first policy, its requirement, and the policy."""
    from verifiers.prove import verify

    folder = tmp_path_factory.mktemp("exponential")
    start = read_start(ROOT / "examples" / "yann" / "reactor.toml")
    actor = LatticeActor(start.plant, start.forms, np.array([0.4, 20.0]))
    (folder / "controller.onnx").write_bytes(to_onnx(actor.graph(), double=True))
    requirement = folder / "requirement.toml"
    requirement.write_bytes(exponential(requirement_text(start, [Fraction(1, 50), Fraction(1)]), Fraction(1, 20)))
    verdict = verify(requirement, budget=60, workers=1)
    assert verdict.outcome == "PROVED", verdict
    return verdict.bundle, requirement, start, actor


def test_proved_bound_of_the_cost_holds_in_simulation_and_at_each_step(exponentially):
    bundle, requirement, start, actor = exponentially
    bound = cost_bound(bundle, requirement, start, actor)
    task = Task(start.plant, start.model, 300, 1e3, bound.region.holds)
    starts = task.starts(100, np.random.default_rng(0))
    found = task.episodes(actor.evaluate, starts)
    assert (found.costs <= bound.cost(starts)).all() and not found.violations.any()
    u = start.plant.clip(actor.evaluate(starts))
    after = start.plant.rhs(starts, u)
    assert (bound.cost(after) - bound.cost(starts) <= -task.cost(starts, u) + 1e-9).all(), "V falls by the stage cost"
    assert (bound.cost(starts) < 50 * found.costs).all(), "and it is no empty bound"


def test_no_bound_without_the_kernel_or_of_another_policy(exponentially, pendulum, learned, tmp_path):
    bundle, requirement, start, actor = exponentially
    other = LatticeActor(start.plant, start.forms, np.array([0.4, 20.0]), seed=1)
    with torch.no_grad():
        other.out += 1e-3
    with pytest.raises(NoBound, match="another policy"):
        cost_bound(bundle, requirement, start, other)
    changed = tmp_path / "requirement.toml"
    changed.write_bytes(requirement.read_bytes().replace(b'rate = "1/20"', b'rate = "1/10"'))
    with pytest.raises(NoBound, match="does not accept"):
        cost_bound(bundle, changed, start, actor)
    done, _ = learned
    with pytest.raises(NoBound, match="exponential_stability_roa"):
        cost_bound(done.folder / "requirement.cert", done.folder / "requirement.toml", pendulum, actor)
    with pytest.raises(NoBound, match="another plant"):
        cost_bound(bundle, requirement, replace(start, origin=pendulum.origin), actor)


def test_stage_forms_bound_the_stage_cost_of_a_policy_that_learned(pendulum):
    actor = LatticeActor(pendulum.plant, pendulum.forms, np.array([2.0, 8.0]), seed=4)
    with torch.no_grad():
        actor.out += 0.7
    forms = np.array([form.astype(float) for form in stage_forms(actor, pendulum.model.Q, pendulum.model.R[0, 0])])
    x = np.random.default_rng(0).uniform([-2, -8], [2, 8], (20_000, 2))
    task = Task(pendulum.plant, pendulum.model, 1, 0.0, pendulum.has_value)
    allowed = np.einsum("kij,bi,bj->bk", forms, x, x).max(axis=1)
    assert (task.cost(x, evaluate(read_onnx(to_onnx(actor.graph(), double=True)).graph, x)) <= allowed * (1 + 1e-9)).all()


def test_paired_interval_by_hand():
    mean, spread = paired(np.array([1.0, 2.0, 3.0]))
    assert mean == 2.0 and spread == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_a_model_without_a_plant_cannot_be_learned_on(tmp_path):
    path = tmp_path / "plain.toml"
    path.write_text('A = [["1"]]\nB = [["1"]]\nhorizon = 1\nweights = { Q = [[1]], R = [[1]] }\ndomain = { lo = [-1], hi = [1] }\n', encoding="utf-8")
    with pytest.raises(BadProblem, match="write plant"):
        read_start(path)


def test_the_command_learns_compares_and_says_what_is_proved(folder, pendulum, tmp_path, capsys):
    out = tmp_path / "out"
    call = ["learn", "yann-ac", str(folder / "pendulum.toml"), "-o", str(out), "--episodes", "1", "--steps", "10", "--contains", "1/50,1/50",
            "--baselines", "lqr,mpc,nmpc", "--output-format", "json"]
    assert run(call) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "PROVED" and [b["name"] for b in found["baselines"]] == ["lqr", "mpc", "nmpc"]
    assert found["baselines"][1]["cost"] == pytest.approx(found["figures"]["initial_cost"], rel=1e-9), "the policy starts as the linear MPC"
    assert run(call) == 2 and "--force" in capsys.readouterr().err
    own = tmp_path / "mine.requirement.toml"
    own.write_bytes((out / "requirement.toml").read_bytes().replace(b"controller.onnx", b"other.onnx"))
    assert run([*call[:3], "-o", str(tmp_path / "b"), "--requirement", str(own)]) == 2 and "controller.onnx" in capsys.readouterr().err
    own.write_bytes((out / "requirement.toml").read_bytes().replace(b'"-1/50", "-1/50"', b'"-2", "-8"').replace(b'"1/50", "1/50"', b'"2", "8"'))
    assert run([*call[:3], "-o", str(tmp_path / "c"), "--requirement", str(own), "--budget", "20"]) == 3
    assert "has no proof" in capsys.readouterr().out


def test_a_learner_from_random_weights_runs_on_the_same_task(pendulum):
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed here (the extra rl brings it)")
    from certctl.learners.yann.baselines import compare

    task = Task(pendulum.plant, pendulum.model, 20, 1000.0, pendulum.has_value)
    tests = task.starts(5, np.random.default_rng(1))
    found = compare("ddpg", pendulum, task, tests, task.start, 8, 0)
    assert found.cost > 0 and found.initial_cost is not None and 0 <= found.test_violations <= 5 and found.violations >= 0
    assert len(found.curve) >= 8 and all(cost > 0 and 1 <= length <= 20 for cost, length in found.curve)


@pytest.mark.parametrize(("options", "says"), [
    (["--baselines", "lqr,pid"], "the baselines are"), (["--critic", "big"], "value or regulator"), (["--budget", "0"], "positive"),
    (["--rate", "2"], "between 0 and 1"), (["--contains", "1"], "2 positive numbers"), (["--contains", "a,b"], "numbers with commas")])
def test_wrong_calls_name_the_option(folder, pendulum, tmp_path, capsys, options, says):
    assert run(["learn", "yann-ac", str(folder / "pendulum.toml"), "-o", str(tmp_path / "x"), *options]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_safety_case_is_certified_from_an_ellipsoid_within_the_limits(tmp_path):
    pytest.importorskip("cvxpy", reason="CVXPY is not installed here (the extra sdp brings it)")
    start = read_start(ROOT / "examples" / "yann" / "safety.toml")
    (tmp_path / "controller.onnx").write_bytes(to_onnx(lattice_graph(list(start.forms)), double=True))
    (tmp_path / "requirement.toml").write_bytes(requirement_text(start, [Fraction(1, 50), Fraction(1, 50), Fraction(1, 10), Fraction(1, 10)]))
    (guess,) = inscribed(start)
    verdict = verify(tmp_path / "requirement.toml", budget=60, workers=1, quadratics=[guess])
    assert verdict.outcome == "PROVED" and verdict.boxes == 0 and verdict.receipt is not None and verdict.receipt.region is not None
    assert verdict.receipt.region["volume_lower_bound"] == pytest.approx(np.pi**2 / 2 / np.linalg.det(guess) ** 0.5, rel=1e-3)


def test_where_boxes_do_not_end_what_the_jacobian_shows_is_the_region(tmp_path):
    start = read_start(ROOT / "examples" / "yann" / "safety.toml")
    (tmp_path / "controller.onnx").write_bytes(to_onnx(lattice_graph(list(start.forms)), double=True))
    (tmp_path / "requirement.toml").write_bytes(requirement_text(start, [Fraction(1, 1000)] * 4))
    verdict = verify(tmp_path / "requirement.toml", budget=6, workers=1)
    assert verdict.outcome == "PROVED" and verdict.receipt is not None
    assert [o["id"] for o in verdict.receipt.obligations][:2] == ["equilibrium", "local"]
    assert not any(o["id"].startswith("shell") for o in verdict.receipt.obligations)
