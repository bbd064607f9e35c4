"""The exact tree: the minimiser everywhere, also on hyperplanes, with or without the help of a search; and evaluation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from small_problems import CASES, COUNTS, dependent_rows, minimiser, one_input, random_problem, stored, two_steps

from verifiers.explicit_mpc import law as laws
from verifiers.explicit_mpc.exact import ExactProblem
from verifiers.explicit_mpc.partition import partition
from verifiers.explicit_mpc.problem import BadProblem, from_json, make_problem, read_npz, to_json
from verifiers.kernel.pwa import check_law, read_law, read_program
from verifiers.kernel.strict import read_json

PROBLEMS = {"one_input": one_input(), "two_steps": two_steps(), "dependent_rows": dependent_rows(),
            **{f"random{seed}": random_problem(seed) for seed in (0, 3, 4, 5)}, "random_1d": random_problem(20, 2, 1, 5),
            "random_3d": random_problem(5, 2, 3, 5)}


def checked(problem, part):
    """What the kernel counts, after a round trip through the files."""
    import json

    program = read_program(read_json(to_json(problem), "problem"), problem.d)
    return check_law(program, read_law(read_json(laws.to_json(part.law), "law")), read_json(json.dumps(part.proof).encode(), "proof"),
                     problem.lb, problem.ub)


def points(problem, part, count=15):
    """Rational points: random, corners, and points on hyperplanes of the tree."""
    rng = np.random.default_rng(1)
    grid = [[a + (b - a) * Fraction(int(k), 16) for a, b, k in zip(problem.lb, problem.ub, rng.integers(0, 17, problem.d), strict=True)]
            for _ in range(count)]
    for row in part.law.halfspaces[:10]:
        i = next(k for k in range(problem.d) if row[k])
        point = list(grid[int(rng.integers(count))])
        point[i] -= Fraction(sum(a * x for a, x in zip(row, [*point, 1], strict=True)), row[i])
        grid.append(point)
    return [np.array(p, dtype=object) for p in grid if all(a <= x <= b for a, x, b in zip(problem.lb, p, problem.ub, strict=True))]


@pytest.mark.parametrize("name", PROBLEMS)
def test_tree_is_the_minimiser_at_every_point_tried_and_the_kernel_agrees(name):
    problem = PROBLEMS[name]
    part = partition(problem, [])  # no search: every region is found exactly
    assert checked(problem, part) == (part.leaves, part.outside)
    assert part.added == part.regions
    for theta in points(problem, part):
        assert part.law.exact(theta) == minimiser(problem, theta), theta


def test_wrong_and_missing_active_sets_change_nothing_but_the_time():
    problem = two_steps()
    whole = partition(problem, [])
    some = partition(problem, [(0, 1), (0, 2), (0, 1, 2, 3), (5,), ()])
    assert some.regions == whole.regions
    assert checked(problem, some)[0] == some.leaves


def test_points_of_the_border_of_the_feasible_set_have_a_value():
    problem = one_input()
    law = partition(problem, []).law
    assert law.exact([Fraction(-4)]) == (Fraction(-1),)
    assert law.exact([Fraction(-4) - Fraction(1, 10**30)]) is None
    assert law.exact([Fraction(6)]) is None


def test_floats_follow_the_exact_law_and_are_nan_outside():
    problem = two_steps()
    law = partition(problem, []).law
    theta = np.random.default_rng(0).uniform(-6, 6, (400, 2))
    values = law.evaluate(theta)
    for point, value in zip(theta, values, strict=True):
        exact = law.exact([Fraction(v) for v in point])
        if exact is None:
            assert np.isnan(value).all()
        else:
            np.testing.assert_allclose(value, [float(v) for v in exact], atol=1e-12)
    with pytest.raises(ValueError, match="shape"):
        law.evaluate(np.zeros((3, 3)))


def test_law_file_is_read_back():
    problem = two_steps()
    law = partition(problem, [], outputs=1).law
    again = laws.from_json(laws.to_json(law), problem.lb, problem.ub)
    theta = np.random.default_rng(3).uniform(-5, 5, (200, 2))
    np.testing.assert_array_equal(again.evaluate(theta), law.evaluate(theta))
    assert again.outputs == 1
    assert laws.to_json(again) == laws.to_json(law)


def test_infeasible_everywhere_is_a_tree_without_laws():
    problem = make_problem([[1]], [0], [[1]], [[1], [-1]], [-2, 1], [[0], [0]], [-1], [1])
    part = partition(problem, [])
    assert (part.regions, part.outside, part.law.laws) == (0, part.leaves, ())
    assert checked(problem, part) == (1, 1)


def test_exact_solver_gives_a_ray_where_the_problem_is_infeasible():
    problem = one_input()
    active, ray = ExactProblem(problem).active_set(np.array([Fraction(-9, 2)], dtype=object))
    assert active is None
    y = np.array([ray.get(j, Fraction(0)) for j in range(problem.m)], dtype=object)
    assert (y >= 0).all() and (y @ problem.A == 0).all() and y @ (problem.b + problem.B @ [Fraction(-9, 2)]) < 0


@pytest.mark.parametrize(("change", "says"), [
    ({"H": [[0]]}, "positive definite"), ({"A": [[1], [-1]]}, "b has shape"), ({"b": [1, np.inf, 3]}, "NaN or infinity"),
    ({"lb": [5]}, "not below"), ({"F": [[1, 2]]}, "F has shape"), ({"H": [["x"]]}, "real numbers")])
def test_bad_data_are_refused_by_name(change, says):
    data = {"H": [[1]], "f": [0], "F": [[1]], "A": [[1], [-1], [1]], "b": [1, 1, 3], "B": [[0], [0], [1]], "lb": [-5], "ub": [5], **change}
    with pytest.raises(BadProblem, match=says):
        partition(make_problem(**data), [])


def test_archives_without_the_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "p.npz", H=np.eye(2))
    with pytest.raises(BadProblem, match="lacks f, F"):
        read_npz(tmp_path / "p.npz")
    (tmp_path / "q.npz").write_bytes(b"PK not an archive")
    with pytest.raises(BadProblem, match="no NumPy archive"):
        read_npz(tmp_path / "q.npz")
    np.savez(tmp_path / "r.npz", **{key: np.array([{}], dtype=object) for key in ("H", "f", "F", "A", "b", "B", "lb", "ub")})
    with pytest.raises(BadProblem):
        read_npz(tmp_path / "r.npz")


def test_problem_file_is_exact():
    problem = two_steps()
    again = from_json(to_json(problem), problem.lb, problem.ub)
    assert all((getattr(again, name) == getattr(problem, name)).all() for name in ("H", "f", "F", "A", "b", "B"))
    assert problem.H[0, 0] == Fraction(float(problem.H[0, 0]))


@pytest.mark.skipif(not CASES.is_dir(), reason="the reference cases are not on this machine")
@pytest.mark.parametrize("name", [n for n in COUNTS if n != "cartpole_N5"] + [pytest.param("cartpole_N5", marks=pytest.mark.slow)])
def test_reference_cases_are_proved_and_equal_to_the_stored_solutions(name):
    from verifiers.explicit_mpc.solve import solve

    problem = stored(name)
    part = partition(problem, [region.active for region in solve(problem).regions])
    assert (part.regions, part.added) == (COUNTS[name], 0)
    assert checked(problem, part) == (part.leaves, part.outside)
    with np.load(CASES / f"{name}__samples.npz") as samples:
        np.testing.assert_allclose(part.law.evaluate(samples["theta"]), samples["z"], rtol=0, atol=1e-9)
