"""From model to mp-QP: the minimiser is that of the model, simulated step by step; and what does not fit is refused by name."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from small_problems import CASES, stored

from verifiers.explicit_mpc.condense import Model, condense
from verifiers.explicit_mpc.exact import ExactProblem
from verifiers.explicit_mpc.model_file import read_model
from verifiers.explicit_mpc.problem import BadProblem
from verifiers.explicit_mpc.terminal import dare, invariant_set, modal_set

ONE = Fraction(1)


def fractions(rows):
    return np.array([[Fraction(str(v)) for v in row] for row in rows], dtype=object)


A, B, Q, R = fractions([[1, 1], [0, 1]]), fractions([[0.5], [1]]), fractions([[1, 0], [0, 1]]), fractions([[0.1]])
FIVE = ((-5 * ONE, -5 * ONE), (5 * ONE, 5 * ONE))
UNIT = ((-ONE,), (ONE,))


def double_integrator(**changes):
    size = changes.pop("parameters", 2)
    ends = np.array([5 * ONE] * size, dtype=object)
    return replace(Model(A, B, 3, Q, R, Q, -ends, ends, x=FIVE, u=UNIT), **changes)


MODELS = {
    "plain": double_integrator(), "blocked": double_integrator(blocks=(1, 2)), "soft": double_integrator(soft=(100 * ONE, 10 * ONE)),
    "increments": double_integrator(parameters=3, S=fractions([[0.5]]), du=((-ONE / 4,), (ONE / 4,))),
    "tracking": double_integrator(parameters=3, C=fractions([[1, 0]])),
    "disturbed": double_integrator(parameters=4, C=fractions([[1, 0]]), E=fractions([[0.1], [0.2]])),
    "half limits": double_integrator(x=((), (5 * ONE, None)), terminal=(fractions([[1, 1]]), np.array([2 * ONE], dtype=object))),
}


def simulate(model, theta, moves, slack):
    """Cost and smallest slack of the limits, step by step in floats."""
    n, m = model.B.shape
    f = {name: np.asarray(getattr(model, name), dtype=float) for name in "ABQRPSCE" if getattr(model, name) is not None}
    x, rest = theta[:n], theta[n:]
    last, rest = (rest[:m], rest[m:]) if model.remembers else (None, rest)
    r, w = (rest[:len(f["C"])], rest[len(f["C"]):]) if "C" in f else (None, rest)
    drift = f["E"] @ w if "E" in f else np.zeros(n)
    xs, us = np.zeros(n), np.zeros(m)
    if r is not None:
        both = np.linalg.solve(np.block([[f["A"] - np.eye(n), f["B"]], [f["C"], np.zeros((m, m))]]), np.r_[-drift, r])
        xs, us = both[:n], both[n:]
    cost, gaps = 0.0, []

    def limit(value, limits, give=0.0):
        for sign, ends in ((-1, limits[0]), (1, limits[1])):
            gaps.extend(sign * float(e) + give - sign * v for v, e in zip(value, ends, strict=False) if e is not None)

    blocks = model.blocks or (1,) * model.horizon
    for u in np.repeat(moves.reshape(len(blocks), m), blocks, axis=0):
        cost += (x - xs) @ f["Q"] @ (x - xs) + (u - us) @ f["R"] @ (u - us)
        if last is not None and "S" in f:
            cost += (u - last) @ f["S"] @ (u - last)
        limit(u, model.u)
        if last is not None:
            limit(u - last, model.du)
        last = u if last is not None else None
        x = f["A"] @ x + f["B"] @ u + drift
        limit(x, model.x, slack)
    cost += (x - xs) @ f["P"] @ (x - xs)
    if model.terminal is not None:
        gaps.extend(np.asarray(model.terminal[1], dtype=float) - np.asarray(model.terminal[0], dtype=float) @ x)
    if model.soft is not None:
        cost += float(model.soft[0]) * slack**2 + float(model.soft[1]) * slack
        gaps.append(slack)
    return cost, np.array(gaps)


@pytest.mark.parametrize("name", MODELS)
def test_minimiser_is_that_of_the_model(name):
    model = MODELS[name]
    problem = condense(model)
    exact = ExactProblem(problem)
    soft, found = model.soft is not None, 0
    for theta in np.random.default_rng(2).uniform(-1.5, 1.5, (6, problem.d)):
        active, _ = exact.active_set(np.array([Fraction(v) for v in theta], dtype=object))
        if active is None:
            continue
        z = (exact.optimiser(active).z @ np.append(theta, 1.0)).astype(float)
        moves, slack = (z[:-1], z[-1]) if soft else (z, 0.0)
        cost, gaps = simulate(model, theta, moves, slack)
        assert gaps.min() > -1e-9
        split = (lambda v: (v[:-1], v[-1])) if soft else (lambda v: (v, 0.0))
        other = minimize(lambda v: simulate(model, theta, *split(v))[0], z + 0.01, method="SLSQP", options={"ftol": 1e-12, "maxiter": 300},  # noqa: B023
                         constraints={"type": "ineq", "fun": lambda v: simulate(model, theta, *split(v))[1]})  # noqa: B023
        assert cost <= other.fun + 1e-6 * (1 + abs(other.fun))
        found += 1
    assert found >= 3


@pytest.mark.skipif(not CASES.is_dir(), reason="the reference cases are not on this machine")
def test_reference_case_is_the_condensed_double_integrator():
    problem = stored("dint_N5")
    p, _ = dare(A, B, Q, R)
    own = condense(double_integrator(horizon=5, P=p))
    ratio = float(problem.H[0, 0]) / float(own.H[0, 0])
    np.testing.assert_allclose(own.H.astype(float) * ratio, problem.H.astype(float), rtol=1e-6)
    np.testing.assert_allclose(own.F.astype(float) * ratio, problem.F.astype(float), rtol=1e-6)
    assert {tuple(row) for row in np.column_stack([own.A, own.b, own.B]).tolist()} == {
        tuple(row) for row in np.column_stack([problem.A, problem.b, problem.B]).tolist()}


def test_riccati_equation_and_invariance():
    p, gain = (v.astype(float) for v in dare(A, B, Q, R))
    a, b, q = (v.astype(float) for v in (A, B, Q))
    np.testing.assert_allclose(a.T @ p @ a + a.T @ p @ b @ gain + q, p, rtol=1e-9)
    assert np.abs(np.linalg.eigvals(a + b @ gain)).max() < 1
    rows, ends = (v.astype(float) for v in invariant_set(A, B, dare(A, B, Q, R)[1], FIVE, UNIT))
    points = np.random.default_rng(0).uniform(-5, 5, (4000, 2))
    inside = (points @ rows.T <= ends).all(axis=1)
    assert 100 < inside.sum() < 4000
    after = points[inside] @ (a + b @ gain).T
    assert (after @ rows.T <= ends + 1e-8).all() and (np.abs(points[inside] @ gain.T) <= 1 + 1e-9).all()
    for point in points[~inside][:300]:  # it is the largest: whoever is outside breaks a limit at some time
        x, broken = point, False
        for _ in range(60):
            broken |= abs(gain @ x).max() > 1 - 1e-9 or abs(x).max() > 5 - 1e-9
            x = (a + b @ gain) @ x
        assert broken


FOUR = (fractions([["0.9506", 0, 0, 0], ["-0.0484", "0.9943", 0, 0], [0, 0, "0.9909", 0], ["0.6970", "0.0678", 0, "1.0030"]]),
        fractions([["0"], ["0"], ["0"], ["-0.0007"]]))


@pytest.mark.parametrize("case", ["double integrator", "complex pair", "four states"])
def test_modal_sets_have_few_rows_keep_the_limits_and_lie_in_the_largest(case):
    (a, b), x, u = (A, B), FIVE, UNIT
    if case == "four states":
        (a, b), x, u = FOUR, (tuple(map(Fraction, (-2, -2, -2, -70))), tuple(map(Fraction, (2, 2, 2, 5)))), ((Fraction(-55),), (Fraction(55),))
        gain = dare(a, b, fractions((np.eye(4) / 8).tolist()), fractions([["0.0001"]]))[1]
    elif case == "complex pair":
        a, gain = fractions([["0.7", "0.4"], ["-0.4", "0.7"]]), fractions([["0.01", "0"]])
    else:
        gain = dare(a, b, Q, fractions([[10]]))[1]
    rows, ends = (v.astype(float) for v in modal_set(a, b, gain, x, u))
    loop, k, n = (a + b @ gain).astype(float), gain.astype(float), len(a)
    assert len(rows) == 2 * n or np.iscomplex(np.linalg.eigvals(loop)).any()

    def highest(row):
        return -linprog(-row, A_ub=rows, b_ub=ends, bounds=(None, None)).fun

    assert all(highest(row @ loop) <= end * (1 - 1e-9) for row, end in zip(rows, ends, strict=True)), "the set shrinks in each step"
    limits = [*((sign * np.eye(n)[i], float(sign * edge)) for sign, side in zip((-1, 1), x, strict=True) for i, edge in enumerate(side)),
              *((sign * k[0], float(sign * edge[0])) for sign, edge in zip((-1, 1), u, strict=True))]
    reached = [highest(row) / end for row, end in limits]
    assert 1 - 1e-6 < max(reached) <= 1, "it keeps the limits, and is as large as one of them allows"
    if n == 2:
        outer, bounds = (v.astype(float) for v in invariant_set(a, b, gain, x, u))
        assert all(highest(row) <= end * (1 + 1e-5) for row, end in zip(outer, bounds, strict=True))


@pytest.mark.parametrize(("rows", "says"), [([["1", "0"], ["0", "1/2"]], "no stable modes"), ([["1/2", "1"], ["0", "1/2"]], "no stable modes"),
                                            ([["0.9999", "0.001"], ["-0.001", "0.9999"]], "polygon of")])
def test_loops_without_a_modal_set_are_told(rows, says):
    with pytest.raises(BadProblem, match=says):
        modal_set(fractions(rows), fractions([["0"], ["0"]]), fractions([["0", "0"]]), FIVE, UNIT)


MODEL_FILE = """
A = [["1", "1"], ["0", "1"]]
B = [["0.5"], [1]]
horizon = 2
[weights]
Q = [[1, 0], [0, 1]]
R = [["0.1"]]
[limits]
x = { lo = ["-5", ""], hi = [5, "5"] }
u = { lo = ["-1"], hi = ["1"] }
[terminal]
set = "invariant"
[domain]
lo = [-5, -5]
hi = [5, 5]
"""


def test_model_file_is_read(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text(MODEL_FILE, encoding="utf-8")
    model = read_model(path)
    assert (model.B[0, 0], model.horizon, model.x[0]) == (ONE / 2, 2, (-5 * ONE, None))
    assert model.terminal is not None and condense(model).d == 2


@pytest.mark.parametrize(("old", "new", "says"), [
    ("horizon = 2", "horizon = \"2\"", "whole number"), ("horizon = 2", "horizon = 0", "at least one"), ("horizon = 2", "", "whole number"),
    ("Q = [[1, 0], [0, 1]]", "Q = [[1, 1], [0, 1]]", "symmetric"), ("Q = [[1, 0], [0, 1]]", "Q = [[1, 0]]", "Riccati"),
    ("R = [[\"0.1\"]]", "R = [[\"nan\"]]", "a number is expected"), ("[domain]", "[domains]", "unknown"), ("hi = [5, 5]", "hi = [5]", "ub has shape"),
    ("\"invariant\"", "\"largest\"", "terminal.set"), ("horizon = 2", "horizon = 2\nblocks = [1, 2]", "do not sum up"),
    ("u = { lo = [\"-1\"]", "u = { lo = [\"1\"]", "origin in their interior"), ("B = [[\"0.5\"], [1]]", "B = [[0], [0]]", "Riccati"),
    ("u = { lo", "soft = { quadratic = 0 }\nu = { lo", "must be positive"), ("u = { lo", "soft = 3\nu = { lo", "table"),
    ("[domain]", "[tracking]\nC = [[1, 0], [0, 1]]\n[domain]", "C has shape")])
def test_bad_models_are_refused(tmp_path, old, new, says):
    path = tmp_path / "model.toml"
    text = MODEL_FILE.replace(old, new, 1)
    assert text != MODEL_FILE
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadProblem, match=says):
        condense(read_model(path))


def of_plant(tmp_path, head, tail=""):
    path = tmp_path / "model.toml"
    path.write_text(f'{head}\nhorizon = 2\nweights = {{ Q = [[1, 0], [0, 1]], R = [["0.001"]] }}\n{tail}', encoding="utf-8")
    return read_model(path)


def test_a_model_is_taken_from_a_plant(tmp_path):
    pytest.importorskip("casadi")
    model = of_plant(tmp_path, 'plant = "gym_pendulum"\ndt = "1/20"')
    power = np.array([[0.0, 1.0], [15.0, 0.0]]) / 20
    expected = np.eye(2) + power + power @ power / 2 + power @ power @ power / 6 + power @ power @ power @ power / 24
    np.testing.assert_allclose(model.A.astype(float), expected, rtol=1e-13)  # of rk4: the series up to the fourth power
    assert (model.u, model.lb.tolist(), model.ub.tolist()) == (((-2,), (2,)), [-2, -8], [2, 8])
    root = 15**0.5
    zoh = of_plant(tmp_path, 'plant = "gym_pendulum"\ndt = "1/20"\nmethod = "zoh"\nparameters = { torque_limit = "3/2" }')
    c, s = np.cosh(root / 20), np.sinh(root / 20)
    np.testing.assert_allclose(zoh.A.astype(float), [[c, s / root], [root * s, c]])
    assert zoh.u == ((Fraction(-3, 2),), (Fraction(3, 2),))
    tracked = of_plant(tmp_path, 'plant = "path_tracking"\ndt = "1/10"\nmethod = "euler"')
    assert tracked.u == ((Fraction("-0.94"),), (Fraction("0.74"),))  # deviations: the limit 0.84 less the equilibrium's 0.1
    limited = of_plant(tmp_path, 'plant = "gym_pendulum"\ndt = "1/20"',
                       "limits = { u = { lo = [-1], hi = [1] } }\ndomain = { lo = [-1, -1], hi = [1, 1] }")
    assert (limited.u, limited.ub.tolist()) == (UNIT, [1, 1])


@pytest.mark.parametrize(("head", "says"), [
    ('plant = "gym_pendulum"', "give dt"), ('plant = "gym_pendulum"\ndt = "0"', "give dt"), ('plant = "gym_pendulum"\ndt = "1e-2"', "give dt"),
    ('plant = "gym_pendulum"\ndt = "1/20"\nmethod = "rk5"', "a method among"), ('plant = "unknown"\ndt = "1/20"', "no plant is called"),
    ('plant = "gym_pendulum"\ndt = "1/20"\nparameters = { M = "1" }', "no parameter"), ('plant = "safety_cstr"\ndt = "1/60"', "leave out dt"),
    ('plant = "gym_pendulum"\nA = [[1]]\ndt = "1/20"', "one or the other"), ('dt = "1/20"', "belong to a plant"),
    ('plant = "gym_pendulum"\ndt = 1', "plant is a name")])
def test_a_contradictory_plant_of_a_model_is_refused(tmp_path, head, says):
    pytest.importorskip("casadi")
    with pytest.raises(BadProblem, match=says):
        of_plant(tmp_path, head)


def test_discounted_model_has_the_regulator_as_its_law_where_no_limit_acts():
    discount = Fraction(9, 10)
    cost, gain = dare(A, B, Q, R, discount)
    problem = condense(double_integrator(P=cost, discount=discount))
    free = ExactProblem(problem).free[0, :2].astype(float)
    np.testing.assert_allclose(free, gain[0].astype(float), rtol=1e-10)
    with pytest.raises(BadProblem, match="discount"):
        condense(double_integrator(discount=Fraction(11, 10)))
