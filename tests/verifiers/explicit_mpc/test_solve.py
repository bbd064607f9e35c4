"""The search in float64: counts of the reference cases by both searches, and how it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_problems import CASES, COUNTS, dependent_rows, one_input, random_problem, stored, two_steps

from verifiers.explicit_mpc.partition import partition
from verifiers.explicit_mpc.problem import make_problem
from verifiers.explicit_mpc.solve import Search, Settings, Status, cross_check, facets, solve


@pytest.mark.skipif(not CASES.is_dir(), reason="the reference cases are not on this machine")
@pytest.mark.parametrize("name", COUNTS)
def test_both_searches_find_the_regions_of_the_reference_cases(name):
    geometric, combinatorial, apart = cross_check(stored(name))
    assert (len(geometric.regions), len(combinatorial.regions), apart) == (COUNTS[name], COUNTS[name], ())
    assert max(geometric.residual, combinatorial.residual) < 1e-9
    assert geometric.search is Search.geometric and combinatorial.search is Search.combinatorial


@pytest.mark.parametrize("search", Search)
@pytest.mark.parametrize("problem", [one_input(), two_steps(), dependent_rows(), *(random_problem(seed) for seed in (0, 3, 4, 5))])
def test_searches_find_what_the_exact_tree_finds(problem, search):
    found = solve(problem, Settings(search=search))
    assert found.status is Status.solved
    part = partition(problem, [region.active for region in found.regions])
    assert part.added == 0
    assert part.regions == len(found.regions)


def test_shape_chooses_the_search():
    assert solve(two_steps()).search is Search.geometric
    assert solve(dependent_rows()).search is Search.combinatorial


def test_infeasible_and_capped_are_said():
    nowhere = make_problem([[1]], [0], [[1]], [[1], [-1]], [-2, 1], [[0], [0]], [-1], [1])
    assert solve(nowhere).status is Status.infeasible
    capped = solve(two_steps(), Settings(max_regions=2))
    assert (capped.status, len(capped.regions)) == (Status.capped, 2)


def test_interior_below_the_threshold_is_no_region():
    wide = solve(two_steps())
    assert len(solve(two_steps(), replace(Settings(), interior=10.0)).regions) < len(wide.regions)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_facets_of_a_box_are_its_faces(d):
    walls = np.column_stack([np.vstack([-np.eye(d), np.eye(d), np.eye(d)[:1]]), [*np.ones(2 * d), 5.0]])  # the last row is redundant
    rows, inside = facets(walls, np.full(d, 0.1))
    assert sorted(rows) == list(range(2 * d))
    for k, point in zip(rows, inside, strict=True):
        assert walls[k, :-1] @ point == pytest.approx(walls[k, -1])
        assert (walls[:, :-1] @ point <= walls[:, -1] + 1e-12).all()
