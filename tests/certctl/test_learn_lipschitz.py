"""Learning under a Lipschitz bound: the bound holds by construction and is proved on the exported bytes, and what breaks it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import certctl
from certctl.cli.main import run
from certctl.learners.lipschitz import networks
from certctl.learners.lipschitz.demonstrations import BadData, Demonstrations
from certctl.learners.lipschitz.experts import from_callable, open_expert
from certctl.learners.lipschitz.imitation import DAgger, LipschitzImitation, learn_lipschitz_imitation, prove_candidate
from certctl.learners.lipschitz.problem import open_problem
from certctl.learners.lipschitz.training import Settings, train
from verifiers.kernel.graph import Affine
from verifiers.kernel.lipschitz import differences
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate

QUICK = Settings(hidden=(6, 6), epochs=150, patience=150)


@pytest.fixture(scope="module")
def cart():
    return open_problem("double_integrator", domain=(("-2", "-2"), ("2", "2")))


def sine(count: int = 80) -> Demonstrations:
    """sin(3 a) + b / 2 on [-1, 1]^2, whose steepest slope is sqrt(9.25)."""
    x = np.random.default_rng(0).uniform(-1, 1, (count, 2))
    return Demonstrations(x, np.sin(3 * x[:, :1]) + x[:, 1:] / 2, (("a", ""), ("b", "")), (("u", ""),))


def made(kind: str, activation: str, bound: float, seed: int, sizes: tuple[int, ...] = (3, 7, 5, 2)):
    import torch

    network = networks.make(kind, sizes, activation=activation, bound=bound, centre=np.zeros(3), spread=np.ones(3), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return network


# networks


BUILT_IN = ("sandwich", "aol", "sll")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_network_that_is_lipschitz_by_construction_proves_its_bound(kind, activation, seed):
    """For any free parameters: no solver is needed; and a bound that two points violate is not proved."""
    bound = Fraction(3)
    network = made(kind, activation, float(bound) * (1 - 1e-3), seed)
    graph = networks.to_graph(network, activation)
    found = differences(graph, None)
    guess = [Fraction(float(v)) for v in networks.multipliers(network, float(bound))]
    assert found.proves(bound, guess)
    x = np.random.default_rng(0).normal(size=(2000, 3))
    gap = np.linalg.norm(evaluate(graph, x) - evaluate(graph, x + 1e-3), axis=1).max() / np.linalg.norm(np.full(3, 1e-3))
    assert not found.proves(Fraction(0.999 * gap), guess)


def test_a_block_with_half_its_t_is_not_proved():
    """Of one neuron and one state: it maps h to h - 4 s(h), which is steeper than one."""
    network = made("sll", "relu", 1.0, 0, (1, 1, 1))
    graph = networks.to_graph(network, "relu")
    back = [n for n in graph.nodes if n.op == "affine"][2]
    wrong = replace(graph, nodes=tuple(replace(n, data=Affine(2 * n.data.weight, n.data.bias)) if n is back else n for n in graph.nodes))
    guess = [Fraction(float(v)) for v in networks.multipliers(network, 1.0)]
    assert differences(graph, None).proves(Fraction(1), guess)
    for factor in (Fraction(1, 4), Fraction(1, 2), 1, 2, 4):
        assert not differences(wrong, None).proves(Fraction(1), [factor * t for t in guess])


@pytest.mark.parametrize("kind", BUILT_IN)
def test_no_pair_of_points_is_steeper_than_the_bound(kind):
    network = made(kind, "relu", 0.7, 1)
    x = np.random.default_rng(0).normal(size=(4000, 3))
    y = x + 10.0 ** np.random.default_rng(1).uniform(-4, 0, (4000, 1)) * np.random.default_rng(2).normal(size=(4000, 3))
    graph = networks.to_graph(network, "relu")
    steep = np.linalg.norm(evaluate(graph, x) - evaluate(graph, y), axis=1) / np.linalg.norm(x - y, axis=1)
    assert 0.01 < steep.max() <= 0.7


def test_the_graph_is_the_network():
    import torch

    for kind in networks.KINDS:
        network = made(kind, "tanh", 2.0, 3)
        x = np.random.default_rng(0).normal(size=(50, 3))
        with torch.no_grad():
            assert np.allclose(network(torch.tensor(x)).numpy(), evaluate(networks.to_graph(network, "tanh"), x), atol=1e-12)


def test_only_the_penalised_network_is_penalised():
    excess = {kind: float(made(kind, "tanh", 0.01, 0).excess().detach()) for kind in networks.KINDS}
    assert excess["penalised"] > 1 and {excess[kind] for kind in (*BUILT_IN, "plain")} == {0.0}


@pytest.mark.parametrize("wrong", [{"kind": "spectral"}, {"activation": "gelu"}, {"sizes": (2, 1)}, {"bound": 0.0}, {"bound": float("nan")}])
def test_networks_that_cannot_be_made_are_refused(wrong):
    given = {"kind": "aol", "sizes": (2, 3, 1), "activation": "tanh", "bound": 1.0, "centre": np.zeros(2), "spread": np.ones(2), "seed": 0, **wrong}
    with pytest.raises(ValueError):
        networks.make(given.pop("kind"), given.pop("sizes"), **given)


# training


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path):
    data, whole = sine(), train(sine(), 2.0, QUICK)

    class Stop(Exception):
        pass

    def interrupt(step):
        if step.done > 0.4:
            raise Stop

    import certctl.learners.lipschitz.training as training
    saved, training.SAVED_S = training.SAVED_S, -1.0
    try:
        with pytest.raises(Stop):
            train(data, 2.0, QUICK, tmp_path / "c.npz", interrupt)
    finally:
        training.SAVED_S = saved
    again = train(data, 2.0, QUICK, tmp_path / "c.npz")
    assert again.epochs == whole.epochs and again.loss == whole.loss
    for a, b in zip(again.network.parameters(), whole.network.parameters(), strict=True):
        assert (a == b).all()
    with pytest.raises(BadData, match="other data or settings"):
        train(data, 2.5, QUICK, tmp_path / "c.npz")
    (tmp_path / "c.npz").write_bytes(b"PK")
    with pytest.raises(BadData, match="no checkpoint"):
        train(data, 2.0, QUICK, tmp_path / "c.npz")


def test_a_larger_bound_fits_better_and_training_stops_early():
    losses = [train(sine(), bound, Settings(hidden=(8, 8), epochs=300)).loss for bound in (0.5, 1.0, 3.2)]
    assert losses[0] > losses[1] > losses[2]
    rng = np.random.default_rng(0)
    noise = Demonstrations(rng.normal(size=(40, 2)), rng.normal(size=(40, 1)), (("a", ""), ("b", "")), (("u", ""),))
    found = train(noise, 10.0, Settings(hidden=(8,), epochs=2000, patience=20))
    assert found.stopped and found.epochs < 2000


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"held_out": 0.9}, {"margin": 0.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError):
        Settings(**wrong)


# the learner and what verify says


def test_bound_and_loop_are_proved_on_the_exported_bytes(tmp_path, cart):
    found = learn_lipschitz_imitation(tmp_path, bounds=["2"], expert=open_expert("lqr", cart), problem=cart, samples=60, settings=QUICK, workers=1,
                                      budget=60, attack=0.0)
    (candidate,) = found.candidates
    assert 0 < candidate.guarantee.sup_error < 1 and not candidate.guarantee.is_proved
    assert candidate.lipschitz.is_proved and candidate.loop.is_proved
    assert candidate.lipschitz.controller_sha256 == candidate.loop.controller_sha256
    policy = read_onnx((tmp_path / "policy.onnx").read_bytes(), "policy.onnx").graph
    assert abs(evaluate(policy, np.zeros(2))).max() < 1e-12 and {n.op for n in policy.nodes} <= {"input", "affine", "tanh"}
    receipt = certctl.check(Path(candidate.lipschitz.bundle), tmp_path / "policy.requirement.toml")
    assert receipt.outcome == "ACCEPTED" and receipt.property == "lipschitz_bound"


@pytest.mark.parametrize("kind", BUILT_IN[1:])
def test_baselines_are_proved_on_the_exported_bytes_without_a_solver(tmp_path, cart, kind, monkeypatch):
    """Bound and loop; the policy holds the equilibrium; the bound that the data needs is too large for this one."""
    monkeypatch.setattr("verifiers.sdp.lipschitz.solve", lambda *given, **more: pytest.fail("a solver was asked"))
    found = learn_lipschitz_imitation(tmp_path, bounds=["2"], expert=open_expert("lqr", cart), problem=cart, samples=60, workers=1, budget=60,
                                      settings=replace(QUICK, network=kind))
    (candidate,) = found.candidates
    assert candidate.lipschitz.is_proved and candidate.loop.is_proved and candidate.learned.figures["rms"] < 0.3
    policy = read_onnx((tmp_path / "policy.onnx").read_bytes(), "policy.onnx").graph
    assert abs(evaluate(policy, np.zeros(2))).max() < 1e-12
    assert certctl.check(Path(candidate.lipschitz.bundle), tmp_path / "policy.requirement.toml").outcome == "ACCEPTED"


def test_a_policy_whose_training_broke_its_bound_is_refuted(tmp_path):
    """No penalty: the network fits the data, whose steepest pair lies above the bound demanded."""
    data = sine()
    assert data.steepest() > 1
    learner = LipschitzImitation(data, "1", Settings(network="penalised", penalty=0.0, hidden=(8, 8), epochs=300))
    bound, loop = prove_candidate(learner.learn(tmp_path, lambda step: None), "policy", budget=30.0)
    assert bound.outcome == "REFUTED" and bound.code == "COUNTEREXAMPLE" and loop is None and not list(tmp_path.glob("*.cert"))


def test_a_wrong_guess_at_the_multipliers_proves_nothing(tmp_path):
    learned = LipschitzImitation(sine(), "1/5", Settings(hidden=(4,), epochs=20)).learn(tmp_path, lambda step: None)
    (tmp_path / "policy.requirement.toml").write_text((tmp_path / "policy.requirement.toml").read_text().replace('"1/5"', '"1/500"'))
    bound, _ = prove_candidate(learned, "policy", budget=20.0)
    assert not bound.is_proved


def test_dagger_asks_where_the_policy_goes(tmp_path, cart):
    expert = from_callable(lambda x: -x[:, :1] - 1.5 * x[:, 1:], cart)
    found = learn_lipschitz_imitation(tmp_path, bounds=["2"], expert=expert, problem=cart, samples=20, settings=QUICK, certify=False,
                                      dagger=DAgger(rounds=1, starts=5, steps=10, count=30))
    (candidate,) = found.candidates
    assert len(found.data) == 20 and 30 <= candidate.learned.figures["pairs"] <= 50
    again = learn_lipschitz_imitation(tmp_path, bounds=["2"], expert=expert, problem=cart, samples=20, settings=QUICK, certify=False,
                                      dagger=DAgger(rounds=1, starts=5, steps=10, count=30))
    assert again.candidates[0].learned.figures == candidate.learned.figures and again.candidates[0].learned.seconds == candidate.learned.seconds
    with pytest.raises(BadData, match="DAgger"):
        learn_lipschitz_imitation(tmp_path / "x", bounds=["2"], data=sine(), dagger=DAgger(rounds=1))


def test_the_command_sweeps_and_tells_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{a},{b},{u}" for (a, b), (u,) in zip(sine(30).states, sine(30).inputs, strict=True))
    Path("d.csv").write_text(f"a [m],b [m/s],u [N]\n{rows}\n", encoding="utf-8")
    arguments = ["learn", "lipschitz-imitation", "-o", "out", "--bound", "1,4,none", "--data", "d.csv", "--inputs", "u", "--hidden", "4,4",
                 "--epochs", "40", "--output-format", "json"]
    assert run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    one, four, plain = found["candidates"]
    assert [c["lipschitz"]["outcome"] for c in (one, four)] == ["PROVED"] * 2 and plain["lipschitz"] is None and one["loop"] is None
    assert found["pairs"] == 30 and found["steepest_pair"] > 1 and (Path("out") / "bound_4" / "policy.cert" / "certificate.json").is_file()
    assert run([*arguments[:-2], "--no-verify"]) == 3
    assert "not certified" in capsys.readouterr().out


def test_projected_data_says_what_every_policy_loses(tmp_path):
    pytest.importorskip("clarabel")
    found = learn_lipschitz_imitation(tmp_path, bounds=["1/2"], data=sine(40), settings=QUICK, certify=False, project=True).candidates[0].learned
    assert 0.01 < found.figures["least_loss"] < found.figures["rms"] ** 2 < 1.3 * found.figures["least_loss"]


def test_a_policy_of_stable_baselines3_is_an_expert(tmp_path, cart):
    """An untrained policy will do: what the file answers is what predict answers, within the plant's limits."""
    sb3 = pytest.importorskip("stable_baselines3")
    from certctl.bridges.gymnasium_env import make_env
    from systems import double_integrator

    model = sb3.PPO("MlpPolicy", make_env(double_integrator.plant(), dt="1/20"), seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    model.save(tmp_path / "ppo.zip")
    expert = open_expert(f"sb3:PPO:{tmp_path / 'ppo.zip'}", cart)
    x = np.random.default_rng(0).uniform(-2, 2, (50, 2))
    assert np.allclose(expert.answer(x), np.clip(model.predict(x.astype(np.float32), deterministic=True)[0], -1, 1), atol=1e-4)
    with pytest.raises(BadData, match="write sb3:PPO"):
        open_expert(f"sb3:DQNN:{tmp_path / 'ppo.zip'}", cart)
