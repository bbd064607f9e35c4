"""Quadratics by sectors: the loop is read as it is, the chords hold, the programme means what it says, and only the kernel says proved."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from networks import network

from benchmarks.sdp_loops import YIN, published_network
from verifiers.kernel.check import check
from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.stage import quadratic
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import verify
from verifiers.sdp import programme as programmes
from verifiers.sdp import sector
from verifiers.sdp.programme import Unsolved
from verifiers.sdp.sector import chords, enlarge, programme, sectors, shifted

FAKE = Path(__file__).with_name("fake_solver.py")
SOFT = [[-2.0, -0.25], [-0.75, 0.5]], [[0.5, 0.25]]  # a tanh network of two neurons
DOMAIN = np.array([-1.0, -4.0]), np.array([1.0, 4.0])


def loop(time: str = "discrete"):
    """A pendulum pushed by a clipped tanh network; its equilibrium is the origin."""
    b = Builder()
    x = b.input(2)
    h = b.unary("tanh", b.affine(x, Affine(np.array(SOFT[0]), np.zeros(2))))
    u = b.affine(h, Affine(np.array([[6.0, 3.0]]), np.zeros(1)))
    u = b.binary("max", b.binary("min", u, b.const([3])), b.const([-3]))
    swing = b.affine(b.concat([b.take(x, [1]), b.unary("sin", b.take(x, [0])), b.take(x, [1]), u]),
                     Affine(np.array([[1.0, 0, 0, 0], [0, 4.0, -1.0, 1.0]]), np.zeros(2)))
    if time == "continuous":
        return b.build([swing])
    return b.build([b.binary("add", x, b.affine(swing, Affine(0.05 * np.eye(2), np.zeros(2))))])


def inner(found, x):
    """Differences w - w* of the functions' values at x (relative to the equilibrium)."""
    z = np.concatenate([x, np.zeros(len(found.at))])
    for i, (row, f, at) in enumerate(zip(found.arguments, found.functions, found.at, strict=True)):
        z[2 + i] = float(f(np.array(at + row @ z))) - float(f(np.array(at)))
    return z


@pytest.mark.parametrize("time", ["discrete", "continuous"])
def test_the_loop_is_read_as_it_is(time):
    graph = loop(time)
    found = sectors(graph, np.zeros(2))
    assert len(found.at) == 5  # two tanh, two of the clip, one sine
    for x in np.random.default_rng(0).uniform(*DOMAIN, (50, 2)):
        assert np.allclose(found.output @ inner(found, x), evaluate(graph, x) - evaluate(graph, np.zeros(2)), atol=1e-12)


def test_an_equilibrium_off_the_origin_and_straight_functions_are_read():
    b = Builder()
    x = b.input(1)
    half = b.binary("mul", b.const([2]), b.unary("neg", x))
    top = b.binary("div", b.const([3]), b.affine(x, Affine(np.array([[1.0]]), np.array([4.0]))))
    graph = b.build([b.binary("sub", b.binary("div", half, b.const([4])), b.binary("mul", top, b.unary("exp", b.const([0]))))])
    found = sectors(graph, np.array([1.0]))
    z = np.array([0.5, 0.0])
    z[1] = found.functions[0](found.at[0] + found.arguments[0] @ z) - found.functions[0](found.at[0])
    assert np.allclose(found.output @ z, evaluate(graph, np.array([1.5])) - evaluate(graph, np.array([1.0])))


@pytest.mark.parametrize("op", ["mul", "div"])
def test_products_of_what_varies_are_declined(op):
    b = Builder()
    x = b.input(2)
    with pytest.raises(Refusal, match="product of two that vary"):
        sectors(b.build([b.concat([b.binary(op, b.take(x, [0]), b.take(x, [1])), b.take(x, [0])])]), np.ones(2))


def test_too_many_functions_are_declined(monkeypatch):
    monkeypatch.setattr(sector, "SIZE", 4)
    with pytest.raises(Refusal, match="more than 2 scalar functions"):
        sectors(loop(), np.zeros(2))


def test_functions_lie_between_their_chords_and_deviations_below_their_arguments():
    found, reach = sectors(loop(), np.zeros(2)), np.array([0.5, 1.5])
    low, high, wide = chords(found, reach, np.full(5, np.inf))
    output, rows, alone = shifted(found, low, high, wide, reach)
    assert alone.sum() == 3 and rows.shape[1] == 2 + len(rows)
    bent = (high - low) * wide > 1e-9
    for x in np.random.default_rng(1).uniform(-reach, reach, (200, 2)):
        z = inner(found, x)
        v = found.arguments @ z
        assert (np.abs(v) <= wide + 1e-12).all()
        middle, half = 0.5 * (low + high) * v, 0.5 * (high - low)
        d = np.divide(z[2:] - middle, half, out=np.zeros(5), where=half > 1e-12)
        assert (np.abs(d) <= np.abs(v) * (1 + 1e-3) + 1e-9).all()
        y = np.concatenate([x / reach, (d / wide)[bent]])
        assert np.allclose(rows @ y, (v / wide)[bent], atol=1e-9)
        assert np.allclose(output @ y, (evaluate(loop(), x)) / reach, atol=1e-6)


@pytest.mark.parametrize("time", ["continuous", pytest.param("discrete", marks=pytest.mark.slow)])
def test_the_ellipsoid_found_lies_in_the_domain_and_is_attracted(time):
    pytest.importorskip("cvxpy")
    graph = loop(time)
    p = enlarge(graph, time, np.zeros(2), DOMAIN)
    assert not isinstance(p, Unsolved)
    assert (np.sqrt(np.linalg.inv(p).diagonal()) <= DOMAIN[1] * (1 + 1e-6)).all() and math.pi / math.sqrt(np.linalg.det(p)) > 0.2
    angle = np.linspace(0, 2 * np.pi, 400)
    edge = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ np.linalg.cholesky(np.linalg.inv(p)).T
    for x in (edge, 0.5 * edge, 0.1 * edge):
        f = evaluate(graph, x)
        change = ((f @ p) * f).sum(axis=1) - ((x @ p) * x).sum(axis=1) if time == "discrete" else 2 * ((x @ p) * f).sum(axis=1)
        assert (change < 0).all()


@pytest.mark.parametrize("time", ["discrete", "continuous"])
def test_the_programme_is_the_inequality(time):
    """For any P and t: z'M z of the large matrix, its added rows eliminated, is the sum of the docstring."""
    rng, found, reach = np.random.default_rng(3), sectors(loop(time), np.zeros(2)), np.array([0.5, 1.5])
    turned = shifted(found, *chords(found, reach, np.full(5, np.inf)), reach)
    made = programme(turned, time, np.eye(2), 0.01)
    output, rows, _ = turned
    size, linear, constant = made.blocks[0]
    x = np.concatenate([[1.5, 0.2, 0.8], rng.uniform(0.5, 2.0, len(rows))])
    whole = (linear @ x + constant + sector.MARGIN * np.eye(size).ravel()).reshape(size, size)
    n = output.shape[1]
    assert np.allclose(whole, whole.T)
    rest = whole[:n, :n] - whole[:n, n:] @ np.linalg.solve(whole[n:, n:], whole[n:, :n]) if size > n else whole
    gain = np.linalg.norm(output[:, 2:], axis=0)
    gain = np.sqrt(np.maximum(gain, 1e-6 * gain.max()))
    p, t = np.array([[1.5, 0.2], [0.2, 0.8]]), x[3:] * gain**2
    y = rng.normal(size=n)
    now, after, v = y[:2], output @ y, rows @ y
    fall = (1 - 0.01) * now @ p @ now - after @ p @ after if time == "discrete" else -2 * now @ p @ after - 0.01 * now @ p @ now
    inside = y * np.concatenate([np.ones(2), gain])
    assert inside @ rest @ inside == pytest.approx(fall - t @ (v**2 - y[2:] ** 2), rel=1e-9)


# through the door ---------------------------------------------------------------------------------------------------------

def case(folder: Path, more: str = "", *, plant: str = "pendulum", region: str = 'min_volume = "1/4"', method: str = "sector") -> Path:
    """A requirement about a pendulum with a tanh network of two neurons in discrete time."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = [[[-1.0, -0.25], [-0.5, -0.125]], [[1.0, 0.5]]]
    (folder / "controller.onnx").write_bytes(network(weights, "Tanh"))
    path = folder / "requirement.toml"
    path.write_text(f'property = "asymptotic_stability_roa"\nplant = "{plant}"\ncontroller = "controller.onnx"\ntime = "discrete"\ndt = "1/20"\n'
                    f'method = "euler"\n{more}[domain]\nlo = ["-1", "-5"]\nhi = ["1", "5"]\n[region]\n{region}\n[prover]\nmethod = "{method}"\n')
    return path


def test_a_loop_with_a_network_is_proved_and_the_ellipsoid_is_a_start(tmp_path):
    pytest.importorskip("cvxpy")
    path = case(tmp_path)
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    assert check(path.with_suffix(".cert"), path).outcome == "ACCEPTED"


BAD = ["panic", "abort", "infeasible", "inaccurate", "solver error", "nan", "short"]


@pytest.mark.threat("T06")
@pytest.mark.threat("T07")
@pytest.mark.parametrize("mode", BAD)
def test_whatever_the_solver_does_the_answer_is_the_kernels(mode, tmp_path, monkeypatch):
    """With no candidate by sectors the search goes on from the linearised loop."""
    asked = []

    def fake(items, **options):
        asked.append(len(items))
        return programmes.solve(items, **{**options, "command": [sys.executable, str(FAKE), mode]})

    monkeypatch.setattr(sector, "solve", fake)
    monkeypatch.setattr(sector, "SHARES", ((0.2, 0.1),))
    verdict = verify(case(tmp_path), workers=1)
    assert asked and verdict.outcome == "PROVED" and verdict.receipt.outcome == "ACCEPTED"


@pytest.mark.threat("T06")
def test_a_wrong_optimum_proves_nothing(tmp_path, monkeypatch):
    """A P that does not fall is called optimal: it is sampled, dropped, and never believed."""
    def wrong(items, **_):
        return [programmes.Solution(np.concatenate([[4.0, 1.9, 1.0], np.ones(item.objective.size - 3)]), 0.0, "wrong") for item in items]

    monkeypatch.setattr(sector, "solve", wrong)
    verdict = verify(case(tmp_path), workers=1)
    assert verdict.outcome == "PROVED" and check(tmp_path / "requirement.cert", tmp_path / "requirement.toml").outcome == "ACCEPTED"


def test_without_a_solver_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(programmes, "find_spec", lambda name: None)
    verdict = verify(case(tmp_path), workers=1)
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "UNSUPPORTED") and "certctl[sdp]" in verdict.message


def test_a_loop_with_products_is_declined(tmp_path):
    path = case(tmp_path, plant="van_der_pol")
    (tmp_path / "controller.onnx").write_bytes(network([[[0.0, -3.0]], [[1.0]]], "Tanh"))
    verdict = verify(path, workers=1)
    assert (verdict.outcome, verdict.code) == ("UNKNOWN", "UNSUPPORTED") and "product" in verdict.message


def test_another_property_is_declined(tmp_path):
    path = case(tmp_path)
    text = path.read_text().replace("asymptotic_stability_roa", "practical_stability")
    path.write_text(text.replace("[region]", '[target]\nlo = ["-1/2", "-1"]\nhi = ["1/2", "1"]\n[region]'))
    verdict = verify(path, workers=1)
    assert (verdict.outcome, verdict.at) == ("UNKNOWN", "prover.method")


# the published pendulum ------------------------------------------------------------------------------------------------------

def published(folder: Path, limit: str, half: tuple[str, str], region: str, method: str, function: bytes | None = None) -> Path:
    """The published network (2-32-32-1, tanh) on its pendulum."""
    if not YIN.exists():
        pytest.skip(f"{YIN} is not on this machine")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "controller.onnx").write_bytes(to_onnx(published_network()))
    named = "" if function is None else 'lyapunov = "V.onnx"\n'
    if function is not None:
        (folder / "V.onnx").write_bytes(function)
    path = folder / "requirement.toml"
    lo, hi = (", ".join(f'"{sign}{v}"' for v in half) for sign in ("-", ""))
    path.write_text(f'property = "asymptotic_stability_roa"\nplant = "pendulum"\ncontroller = "controller.onnx"\n{named}time = "discrete"\n'
                    f'dt = "1/50"\nmethod = "euler"\n[parameters]\ng = "10"\nm = "0.15"\nl = "0.5"\nb = "0.05"\ntorque_limit = "{limit}"\n'
                    f"[domain]\nlo = [{lo}]\nhi = [{hi}]\n[region]\n{region}\n[prover]\nmethod = \"{method}\"\n")
    return path


@pytest.mark.parametrize(("limit", "half", "area"), [("1000", ("2.5", "8"), "60"), ("0.7", ("4", "4"), "11.5")])
def test_the_published_pendulum_is_proved_beyond_the_published_areas(limit, half, area, tmp_path):
    """30.79 without an input limit, 1.750 with |u| <= 0.7."""
    verdict = verify(published(tmp_path, limit, half, f'min_volume = "{area}"', "quadratic"), workers=1)
    assert verdict.outcome == "PROVED", verdict


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "half", "area"), [("1000", ("2.5", "8"), "60"), ("0.7", ("4", "4"), "11.5")])
def test_the_published_pendulum_by_sectors(limit, half, area, tmp_path):
    pytest.importorskip("cvxpy")
    verdict = verify(published(tmp_path, limit, half, f'min_volume = "{area}"', "sector"), workers=1)
    assert verdict.outcome == "PROVED", verdict


def ellipse(a: str, b: str, c: str) -> bytes:
    """V = a x1^2 + 2 b x1 x2 + c x2^2."""
    p = [[Fraction(a), Fraction(b)], [Fraction(b), Fraction(c)]]
    return to_onnx(quadratic(p, [Fraction(0)] * 2).graph)


PUBLISHED = partial(ellipse, "0.248742", "0.023445", "0.044059")


def test_the_published_ellipse_is_refused_beyond_its_level(tmp_path):
    path = published(tmp_path, "1000", ("4", "8"), 'level = "2.56"', "quadratic", PUBLISHED())
    verdict = verify(path, workers=1)
    assert verdict.outcome == "REFUTED" and verdict.counterexample is not None


@pytest.mark.slow
def test_the_published_ellipse_is_proved_at_its_level(tmp_path):
    assert verify(published(tmp_path, "1000", ("2.5", "8"), 'level = "1"', "quadratic", PUBLISHED()), workers=1).outcome == "PROVED"


LIMITED = "2.414925", "0.576428", "1.472280"
"""The ellipse for |u| <= 0.7, re-derived: its numbers are not published, its area 1.750 and V(x+)/V(x) = 1.0055 at level 4 are."""


@pytest.mark.threat("T25")
def test_the_limited_ellipse_is_refused_beyond_its_level(tmp_path):
    path = published(tmp_path, "0.7", ("4", "4"), 'level = "4"', "quadratic", ellipse(*LIMITED))
    verdict = verify(path, workers=1)
    assert verdict.outcome == "REFUTED" and verdict.counterexample is not None and not path.with_suffix(".cert").exists()


def test_the_limited_ellipse_is_proved_at_its_level(tmp_path):
    assert verify(published(tmp_path, "0.7", ("4", "4"), 'level = "1"', "quadratic", ellipse(*LIMITED)), workers=1).outcome == "PROVED"


@pytest.mark.slow
@pytest.mark.parametrize(("reach", "angle", "limit", "area", "entries"), [
    (0.5, 2.5, None, 30.7915, ("0.248742", "0.023445", "0.044059")), (0.1, 0.73, 0.7, 1.750, LIMITED)])
def test_the_ellipses_are_those_of_the_published_programme(reach, angle, limit, area, entries):
    """Least trace of P with chords about 0 from bounds on the first layer's arguments and the angle, and the input's limit as one more chord."""
    cp = pytest.importorskip("cvxpy")
    if not YIN.exists():
        pytest.skip(f"{YIN} is not on this machine")
    w1, w2, w3 = (np.loadtxt(YIN / f"W{k}.csv", delimiter=",", ndmin=2) for k in (1, 2, 3))
    dt, inertia = 0.02, 0.15 * 0.5**2
    first = np.full(len(w1), reach)
    second = np.abs(w2) @ np.tanh(first)
    most = float((np.abs(w3) @ np.tanh(second))[0])
    eye = np.eye(2 + 64 + (limit is not None) + 1)
    x, one, two, sine = eye[:2], eye[2:34], eye[34:66], eye[-1:]  # the last is theta - sin(theta)
    u = w3 @ two if limit is None else eye[66:67]
    arguments, values = [w1 @ x, w2 @ one, eye[:1]], [one, two, sine]
    low = [np.tanh(first) / first, np.tanh(second) / second, np.zeros(1)]
    high = [np.ones(32), np.ones(32), np.array([1 - np.sin(angle) / angle])]
    if limit is not None:
        arguments, values, low, high = [*arguments, w3 @ two], [*values, u], [*low, np.array([limit / most])], [*high, np.ones(1)]
    v, e, a, b = np.vstack(arguments), np.vstack(values), np.concatenate(low), np.concatenate(high)
    step = np.array([[1.0, dt], [20 * dt, 1 - 0.05 / inertia * dt]]) @ x + np.array([[0.0], [dt / inertia]]) @ u - np.array([[0.0], [20 * dt]]) @ sine
    p, t = cp.Variable((2, 2), symmetric=True), cp.Variable(len(a), nonneg=True)
    sectors = (e - a[:, None] * v).T @ cp.diag(t) @ (b[:, None] * v - e)
    m = x.T @ p @ x - step.T @ p @ step - (sectors + sectors.T) / 2
    held = [p >> np.outer(row, row) / reach**2 for row in w1] + [p >> np.diag([1 / angle**2, 0.0])]
    cp.Problem(cp.Minimize(cp.trace(p)), [m >> 1e-9 * np.eye(len(eye)), *held]).solve(solver="CLARABEL")
    found = [[float(entries[0]), float(entries[1])], [float(entries[1]), float(entries[2])]]
    np.testing.assert_allclose(p.value, found, atol=5e-6)
    assert np.pi / np.sqrt(np.linalg.det(p.value)) == pytest.approx(area, abs=5e-4)
