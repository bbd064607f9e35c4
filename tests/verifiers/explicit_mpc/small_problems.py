"""Small multiparametric programs with known features, and a second way to solve them: all active sets, one after the other, in rationals."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np

from verifiers.explicit_mpc.problem import Problem, make_problem, read_npz

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "mpqp"
COUNTS = {"dint_N5": 31, "cartpole_N5": 191, "facet2facet": 12, "licq4": 11, "yannrl_pend_N2": 9}


def one_input() -> Problem:
    """Min z²/2 + theta z with |z| <= 1 and z <= 3 + theta on [-5, 5]: four laws, infeasible below -4."""
    return make_problem([[1]], [0], [[1]], [[1], [-1], [1]], [1, 1, 3], [[0], [0], [1]], [-5], [5])


def two_steps() -> Problem:
    """A double integrator over two steps, |u| <= 1, |x| <= 4, on a box that is feasible in part."""
    a, b = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.5], [1.0]])
    free = np.vstack([a, a @ a])
    forced = np.block([[b, np.zeros((2, 1))], [a @ b, b]])
    matrix = np.vstack([np.eye(2), -np.eye(2), forced, -forced])
    return make_problem(forced.T @ forced + 0.1 * np.eye(2), np.zeros(2), forced.T @ free, matrix, np.r_[np.ones(4), 4 * np.ones(8)],
                        np.vstack([np.zeros((4, 2)), -free, free]), [-5, -5], [5, 5])


def dependent_rows() -> Problem:
    """Four rows of which any three span the space, so that the rows that are tight are dependent on whole facets."""
    return make_problem(np.eye(3), np.zeros(3), np.zeros((3, 2)), [[1, 0, -1], [-1, 0, -1], [0, 1, -1], [0, -1, -1]], -np.ones(4),
                        [[1, 0], [-1, 0], [0, -1], [0, 1]], [-1.5, -1.5], [1.5, 1.5])


def random_problem(seed: int, n: int = 3, d: int = 2, m: int = 6) -> Problem:
    """Small integers, so that degenerate cases are frequent."""
    rng = np.random.default_rng(seed)
    root = rng.integers(-2, 3, (n, n))
    return make_problem(root @ root.T + np.eye(n, dtype=int), rng.integers(-2, 3, n), rng.integers(-2, 3, (n, d)), rng.integers(-2, 3, (m, n)),
                        rng.integers(0, 4, m), rng.integers(-1, 2, (m, d)), -2 * np.ones(d, dtype=int), 2 * np.ones(d, dtype=int))


def stored(name: str) -> Problem:
    """A reference case; see :data:`CASES`."""
    return read_npz(CASES / f"{name}.npz")


def minimiser(problem: Problem, theta) -> tuple[Fraction, ...] | None:
    """The minimiser at a rational parameter by trying every set of at most n tight rows in rationals; None where no set is feasible."""
    n = problem.n
    cost, limit = problem.f + problem.F @ theta, problem.b + problem.B @ theta
    for size in range(n + 1):
        for tight in map(list, itertools.combinations(range(problem.m), size)):
            rows = problem.A[tight]
            matrix = np.block([[problem.H, rows.T], [rows, np.zeros((size, size), dtype=object)]]) if size else problem.H
            found = solve(matrix, np.concatenate([-cost, limit[tight]]))
            if found is not None and (found[n:] >= 0).all() and (problem.A @ found[:n] <= limit).all():
                return tuple(found[:n])
    return None


def solve(matrix, right):
    """Solve a square rational system by elimination; None when it is singular."""
    a = np.column_stack([matrix, right]) * Fraction(1)
    for k in range(len(a)):
        lead = next((i for i in range(k, len(a)) if a[i, k]), None)
        if lead is None:
            return None
        a[[k, lead]] = a[[lead, k]]
        a[k] = a[k] / a[k, k]
        for i in range(len(a)):
            if i != k:
                a[i] = a[i] - a[i, k] * a[k]
    return a[:, -1]
