"""Imitation under measurement errors: what is proved holds in simulation, what is false is refuted with a replayed state, the rest is undecided."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verifiers.kernel.check import check
from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import falsify, read_question, verify
from verifiers.region.imitation import corner_errors, soften

DATA = "x [m],v [m/s],u [N]\n0,0,0\n1/2,0,-0.5\n-1e-1,0.2,-0.2\n"
DISCRETE = 'time = "discrete"\ndt = "1/5"\nmethod = "rk4"\n'
PLANT = ("""{"format": "certctl-plant/1", "name": "cart", "time": "continuous", "dt": null, "states": [
{"name": "x", "unit": "m", "angle": false}, {"name": "v", "unit": "m/s", "angle": false}],
"inputs": [{"name": "u", "unit": "N", "lo": "-2", "hi": "2"}], "parameters": [], "equilibrium": {"x": ["0", "0"], "u": ["0"]},
"domain": {"lo": ["-1", "-1"], "hi": ["1", "1"]}, "nodes": [["x", 1], ["u", 0]], "outputs": [0, 1], "reference": "tests"}\n""")


def policy(gain: tuple[float, float] = (-1.0, -1.5), bend: float = 0.02) -> Graph:
    """``gain x + bend sin(3 x)``."""
    b = Builder()
    x = b.input(2)
    wave = b.unary("sin", b.affine(x, Affine(np.array([[3.0, 0.0]]), np.zeros(1))))
    line = b.affine(x, Affine(np.array([gain]), np.zeros(1)))
    return b.build([b.binary("add", line, b.affine(wave, Affine(np.array([[bend]]), np.zeros(1))))])


def question(folder: Path, *, size: str = "1/50", error: str = "1/40", fit: str = "1/40", expert: str = 'kind = "lqr"\ngain = [["1", "3/2"]]\n',
             target: str = "1/4", more: str = "", gain: tuple[float, float] = (-1.0, -1.5), time: str = DISCRETE,
             data: str = DATA) -> Path:
    """A double integrator under a policy near a linear expert."""
    (folder / "policy.onnx").write_bytes(to_onnx(policy(gain), double=True))
    (folder / "cart.plant.json").write_text(PLANT, encoding="utf-8")
    (folder / "data.csv").write_text(data, encoding="utf-8")
    path = folder / "requirement.toml"
    named = f'error = "{error}"\n' if error else ""
    path.write_text(
        f'property = "imitation_iss"\nplant = {{ path = "cart.plant.json", sha256 = "{hashlib.sha256(PLANT.encode()).hexdigest()}" }}\n'
        f'controller = "policy.onnx"\n{time}[domain]\nlo = ["-1", "-1"]\nhi = ["1", "1"]\n[target]\nlo = ["-{target}", "-{target}"]\n'
        f'hi = ["{target}", "{target}"]\n[region]\ncontains = {{ lo = ["-3/10", "-3/10"], hi = ["3/10", "3/10"] }}\n'
        f'[attack]\nsize = "{size}"\nnorm = "l2"\n[expert]\n{expert}{named}'
        f'[data]\nfile = {{ path = "data.csv", sha256 = "{hashlib.sha256(data.encode()).hexdigest()}" }}\nerror = "{fit}"\n{more}', encoding="utf-8")
    return path


@pytest.mark.parametrize("time", ['time = "continuous"\n', DISCRETE], ids=["continuous", "discrete"])
def test_what_is_proved_holds_under_errors_that_change_at_each_step(time, tmp_path):
    path = question(tmp_path, time=time, more='[regret]\nQ = ["1", "1"]\nR = ["1"]\nbound = "3/5"\n')
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    receipt = check(path.with_suffix(".cert"), path)
    assert (receipt.outcome, receipt.level) == ("ACCEPTED", "L2") and "error of a Euclidean norm of at most 1/50" in receipt.assumptions[0]
    assert {"inner", "shell-1", "error", "fit", "regret", "contains"} <= {o["id"] for o in receipt.obligations}
    rng = np.random.default_rng(0)
    question_, h = read_question(path), 0.05
    law, plant = policy(), question_.setting().spec
    x = rng.uniform(-0.3, 0.3, (500, 2))
    cost = []
    for k in range(400):
        d = rng.standard_normal((500, 2)) if k % 2 else np.sign(x) * [1, 1]  # random errors, and ones that always push outward
        d *= 0.02 / np.linalg.norm(d, axis=1, keepdims=True).clip(1e-9)
        u = np.clip(evaluate(law, x + d), -2, 2)
        cost.append((x**2).sum(axis=1) + u[:, 0] ** 2)
        if question_.requirement.time == "discrete":
            x = np.stack([x[:, 0] + 0.2 * x[:, 1] + 0.02 * u[:, 0], x[:, 1] + 0.2 * u[:, 0]], axis=1)  # rk4 is exact for this plant
        else:
            x = x + h * np.stack([x[:, 1], u[:, 0]], axis=1)
        assert (np.abs(x) <= 1).all()
    assert (np.abs(x) <= 0.25).all() and np.mean(cost[200:]) <= 0.6 and plant.name == "cart"


@pytest.mark.threat("T05", "T11")
def test_an_attack_that_the_loop_does_not_bear_is_not_proved(tmp_path):
    verdict = verify(question(tmp_path, size="1/2"), workers=1)
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "NO_PROOF_FOUND") and "[attack]" in verdict.message


def test_a_policy_that_drives_the_loop_apart_is_not_proved(tmp_path):
    data = DATA.replace("-0.5", "0.5").replace("-0.2\n", "0.2\n")
    path = question(tmp_path, gain=(1.0, 1.5), expert='kind = "lqr"\ngain = [["-1", "-3/2"]]\n', data=data)
    assert verify(path, workers=1).outcome == "UNKNOWN"


@pytest.mark.threat("T11")
@pytest.mark.parametrize(("changes", "says"), [({"error": "1/100"}, "policy and expert differ by at least 0.02"),
                                              ({"fit": "1/100"}, "row 3 of the data is missed by at least 0.0199")])
@pytest.mark.parametrize("asked", [verify, falsify])
def test_a_distance_that_is_exceeded_is_refuted_with_a_state(asked, changes, says, tmp_path):
    verdict = asked(question(tmp_path, **changes))
    assert (verdict.outcome, verdict.code) == ("REFUTED", "COUNTEREXAMPLE") and says in verdict.message
    x = np.array(verdict.counterexample["x"])
    assert abs(evaluate(policy(bend=1.0), x[None])[0, 0] - evaluate(policy(bend=0.0), x[None])[0, 0]) * 0.02 > 0.01


def test_nothing_is_refuted_that_holds(tmp_path):
    verdict = falsify(question(tmp_path))
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "NO_PROOF_FOUND")


def test_a_regret_that_is_not_shown_is_undecided(tmp_path):
    verdict = verify(question(tmp_path, more='[regret]\nQ = ["1", "1"]\nR = ["1"]\nbound = "1/50"\n'), workers=1)
    assert (verdict.outcome, verdict.at) == ("UNKNOWN", "regret.bound")


@pytest.mark.parametrize("kind", ["file", "mpc"])
def test_experts_that_are_files(kind, tmp_path):
    (tmp_path / "expert.onnx").write_bytes(to_onnx(policy(bend=0.0), double=True))
    (tmp_path / "mpc.toml").write_text('Q = ["1", "1"]\nR = ["1"]\n')
    name = "expert.onnx" if kind == "file" else "mpc.toml"
    file = f'file = {{ path = "{name}", sha256 = "{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}" }}\n'
    path = question(tmp_path, expert=file if kind == "file" else 'kind = "mpc"\n' + file, error="1/40" if kind == "file" else "")
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    assert ("error" in {o["id"] for o in verdict.receipt.obligations}) == (kind == "file")


@pytest.mark.threat("T01", "T17")
@pytest.mark.parametrize("name", ["data.csv", "expert.onnx"])
def test_a_file_with_another_digest_is_refused(name, tmp_path):
    (tmp_path / "expert.onnx").write_bytes(to_onnx(policy(bend=0.0), double=True))
    digest = hashlib.sha256((tmp_path / "expert.onnx").read_bytes()).hexdigest()
    path = question(tmp_path, expert=f'file = {{ path = "expert.onnx", sha256 = "{digest}" }}\n')
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    verdict = verify(path, workers=1)
    assert (verdict.outcome, verdict.code) == ("REFUSED", "DIGEST_MISMATCH")
    with pytest.raises(Refusal, match=r"(data|expert)\.file"):
        read_question(path)


def test_corners_of_the_errors_are_among_what_the_kernel_encloses(tmp_path):
    """The loop's graph over the interval of errors contains each corner's value, and the middle is the loop without errors."""
    law, setting = policy(), read_question(question(tmp_path, size="1/10", time='time = "continuous"\n')).setting()
    whole = setting.loop.field
    x = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    corners = [evaluate(graph, x) for graph in corner_errors(setting, whole)]
    assert len(corners) == 4
    for value, d in zip(corners, [(-0.1, -0.1), (0.1, -0.1), (-0.1, 0.1), (0.1, 0.1)], strict=True):
        assert np.allclose(value[:, 1], evaluate(law, x + np.array(d))[:, 0].clip(-2, 2))
    assert np.allclose(evaluate(whole, x)[:, 1], evaluate(law, x)[:, 0].clip(-2, 2))


def test_a_constant_bounds_what_errors_do_to_the_command(tmp_path):
    """The push is a Lipschitz constant times the size, above what errors of that size were seen to do, and below what enclosures make of them."""
    setting = read_question(question(tmp_path, size="1/10", time='time = "continuous"\n')).setting()
    blown = corner_errors(setting, setting.loop.field)
    found = soften(setting, 20.0)
    push = float(Fraction(found["proof"]["level"])) / 10
    pushed = corner_errors(setting, setting.loop.field)
    assert len(blown) == 4 and len(pushed) == 2
    rng = np.random.default_rng(0)
    x, d = rng.uniform(-1, 1, (20_000, 2)), rng.standard_normal((20_000, 2))
    d *= 0.1 / np.linalg.norm(d, axis=1, keepdims=True)
    seen = np.abs(evaluate(policy(), x + d) - evaluate(policy(), x)).max()
    assert 0.9 * push < seen <= push
    assert np.allclose(evaluate(pushed[1], x)[:, 1], (evaluate(policy(), x)[:, 0] + push).clip(-2, 2))
    apart = np.stack([np.abs(evaluate(graph, x)[:, 1] - evaluate(setting.loop.field, x)[:, 1]) for graph in blown])
    assert push < apart.max()  # the box of errors holds some that are longer than the size
