"""A sample of the kernel's mutants dies; all of them in the slow test.  ``equivalent.txt`` names only mutants that there are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import mutate
import run

SAMPLED = ("properties", "rational", "tree")
"""Modules all of whose mutants have been met; what survived is listed or has got a test."""


def killed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(run.HERE / "run.py"), *arguments], capture_output=True, text=True, cwd=run.ROOT)


def test_a_sample_of_the_mutants_dies():
    ended = killed(*SAMPLED, "--sample", "8", "--seed", "1")
    assert ended.returncode == 0 and ended.stdout.startswith("8 mutants, "), ended.stdout + ended.stderr


@pytest.mark.slow
def test_every_mutant_of_these_modules_dies_or_is_listed():
    ended = killed(*SAMPLED)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_what_is_listed_exists():
    names = {m.name for module in mutate.modules() for m in mutate.mutants(module)}
    assert set(run.listed()) <= names


@pytest.mark.parametrize("module", ["rational", "jets", "bundle"])
def test_each_mutant_differs_from_the_module_in_what_it_says(module):
    right = ast.unparse(ast.parse(mutate.source(module)))
    found = mutate.mutants(module)
    assert len({m.name for m in found}) == len(found) > 15
    assert all(ast.unparse(m.tree()) != right for m in found[:40])


def test_the_kinds_of_change():
    kinds = {"a < b": ["a <= b", "a >= b"], "not a": ["a"], "a and b": ["a or b"], "abs(a)": ["a"], "down(a)": ["up(a)"], "a & b": ["a | b"],
             "np.maximum(a, b)": ["np.minimum(a, b)"], "8 * U": ["0.0"], "2.0 ** (-50)": ["0.0"], "sha256(a)": ["sha256(b'')"]}
    for text, expected in kinds.items():
        assert [after for _, after, _ in mutate.changes(ast.parse(text, mode="eval").body)] == expected
    for text in ("need(a, b)", "rad += a", "_seal(a, b)"):
        assert [after for _, after, _ in mutate.changes(ast.parse(text).body[0])] == ["pass"]


