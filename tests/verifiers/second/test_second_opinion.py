"""Two checkers that share no code agree on true bundles; on false claims the second one never does."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from repository import ROOT

sys.path.insert(0, str(ROOT / "tests" / "verifiers" / "vectors"))
import build
from vectors import VECTORS

from verifiers.kernel.check import check
from verifiers.second.claim import is_definite, second_opinion

IMITATION = ("imitation", "imitated_gain", "gain", "kept", "whole_quadratic", "whole_named")  # the second checker has no rules for them, and says so
STABILITY = [name for name in build.BASES if name not in IMITATION]
# Faults of form: the claim stays true, and the second checker does not read tags, verdicts or unknown fields.
FORM = frozenset({
    "missing-contains", "missing-radius", "missing-volume", "shell-number-skipped", "extra-obligation", "obligation-twice", "kind-unknown",
    "claim-extra-field", "volume-of-ellipsoid-by-tree", "lmi-for-a-nonlinear-loop", "shell-frame-another", "hole-around-equilibrium",
    "decrease-tag-on-inner", "outside-tag-on-decrease", "inner-tag-on-decrease", "decrease-tag-on-inner-by-jets",
    "taylor-models-in-discrete-time", "decrease-tag-on-outside", "inside-tag-in-shell", "nothing-tag-in-shell", "whole-domain-one-leaf",
    "rate-tag-on-inner", "tree-truncated", "tree-empty", "tree-trailing", "tree-byte-unknown", "tree-splits-third-dimension",
    "volume-tree-truncated", "inner-level-too-small", "invariance-inner-leaf-in-discrete-time", "invariance-inner-at-the-level",
    "contains-leaf-excused", "radius-leaf-excused", "evidence-too-low", "level-exponent", "level-unicode-digits", "forged-verdict",
    "forged-deployable", "forged-margin", "forged-checked", "format-of-the-future", "file-unlisted", "file-a-link", "requirement-unknown-key"})


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """Folder of a base question with its proved bundle: (name) -> Path."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(f"second-{name}", numbered=False)
            assert build.prove(build.BASES[name](folder)).outcome == "PROVED"
            made[name] = folder
        return made[name]
    return get


@pytest.mark.parametrize("name", STABILITY)
def test_both_checkers_accept_each_true_bundle(name, proved):
    folder = proved(name)
    opinion = second_opinion(folder / "loop.cert", folder / "loop.requirement.toml")
    assert check(folder / "loop.cert", folder / "loop.requirement.toml").outcome == "ACCEPTED"
    assert (opinion.outcome, opinion.why) == ("agrees", "every condition was shown a second time") and opinion.boxes > 0


@pytest.mark.parametrize("name", IMITATION)
def test_what_has_no_second_rules_is_not_handled(name, proved):
    assert second_opinion(proved(name) / "loop.cert", proved(name) / "loop.requirement.toml").outcome == "not handled"


@pytest.mark.threat("T24")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_second_checker_agrees_with_no_false_claim(vector, proved, tmp_path):
    made = build.Twin(proved(vector.base), tmp_path / "twin")
    vector.change(made)
    made.save(vector.digests)
    if vector.after is not None:
        vector.after(made)
    opinion = second_opinion(made.bundle, made.requirement, 2_500 if vector.name in FORM else 400)
    assert (opinion.outcome == "agrees") == (vector.name in FORM), opinion


def test_every_fault_of_form_is_a_vector():
    assert FORM <= {vector.name for vector in VECTORS}


def test_the_second_checker_shares_nothing_with_the_kernel():
    """Neither imports, nor NumPy's or the kernel's arithmetic of enclosures."""
    for path in (ROOT / "verifiers" / "second").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in names if name.startswith(("verifiers", "certctl", "systems"))]
            assert all(name.startswith("verifiers.second") for name in ours), path


def test_a_matrix_that_may_be_indefinite_is_not_definite():
    from flint import arb

    def rows(*values):
        return [[arb(v) if not isinstance(v, tuple) else arb(*v) for v in row] for row in values]
    assert is_definite(rows([2, 1], [1, 2])) and not is_definite(rows([1, 1], [1, 1])) and not is_definite(rows([1, 2], [2, 1]))
    assert is_definite(rows([1, (0.0, 0.9)], [(0.0, 0.9), 1])) and not is_definite(rows([1, (0.0, 1.1)], [(0.0, 1.1), 1]))
    assert not is_definite([[arb.nan()]])


def test_a_level_that_is_too_high_is_contradicted_by_a_state(proved, tmp_path):
    """The kernel refuses a leaf; the second checker names a state."""
    shutil.copytree(proved("network_shell"), tmp_path / "copy")
    made = build.Twin(tmp_path / "copy", tmp_path / "twin")
    made.claim["region"]["level"] = "1000"
    for key in ("shell-1", "shell-2"):
        if key in [item["id"] for item in made.predicate["obligations"]]:
            made.level(key, "1000")
    made.save()
    assert second_opinion(made.bundle, made.requirement, 20_000).outcome in ("disagrees", "undecided")
    assert check(made.bundle, made.requirement).outcome != "ACCEPTED"


def test_what_is_not_there_is_undecided_and_never_raises(tmp_path):
    assert second_opinion(tmp_path / "nothing").outcome == "undecided"


def test_a_property_without_rules_is_not_handled(tmp_path):
    folder = Path(tmp_path / "b")
    folder.mkdir()
    (folder / "requirement.toml").write_text('property = "lipschitz_bound"\n', encoding="utf-8")
    digest = hashlib.sha256((folder / "requirement.toml").read_bytes()).hexdigest()
    certificate = {"predicate": {"requirement": {"name": "requirement.toml", "sha256": digest}}}
    (folder / "certificate.json").write_text(json.dumps(certificate), encoding="utf-8")
    assert second_opinion(folder).outcome == "not handled"
