"""The check as a whole: what a claim and its proof must say, one fault at a time on a small true bundle."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import only, refresh, tamper

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "escapes"))
from corpus import CLAIMS, square

from verifiers import prove
from verifiers.bundle_writer import reference
from verifiers.kernel.check import Receipt, check
from verifiers.prove import verify


@pytest.fixture(scope="module")
def proved(tmp_path_factory) -> Callable[..., tuple[Path, Path]]:
    """Prove a claim of the corpus once; return requirement and bundle (a fresh copy each time)."""
    import shutil

    known: dict[str, Path] = {}

    def give(name: str, out: Path) -> tuple[Path, Path]:
        if name not in known:
            known[name] = tmp_path_factory.mktemp(name) / name
            verdict = verify(CLAIMS[name].write(known[name], false=False), workers=1, budget=30)
            assert verdict.outcome == "PROVED", verdict
        shutil.copytree(known[name], out / name)
        return out / name / "requirement.toml", out / name / "requirement.cert"

    return give


def faulty(bundle: Path, change: Callable[[dict[str, Any]], object], requirement: Path | None = None) -> Receipt:
    """Check after an edit of the certificate's predicate, digests made right again."""
    tamper(bundle, lambda statement: change(statement["predicate"]))
    return check(refresh(bundle), requirement)


def proof(predicate: dict[str, Any], name: str) -> dict[str, Any]:
    """The proof of an obligation."""
    return next(o["proof"] for o in predicate["obligations"] if o["id"] == name)


@pytest.mark.threat("T03")
def test_the_level_demanded_is_one_of_the_callers_function_and_not_of_a_decoy(tmp_path, monkeypatch):
    path = CLAIMS["cubic"].write(tmp_path / "a")  # false: its level set leaves the region of attraction
    true, decoy = (tmp_path / "a" / "lyapunov.onnx").read_bytes(), square([[1.75]])()  # 49/16 x**2 <= 6/5 is small enough
    question, write = prove.read_question, prove.write_bundle
    monkeypatch.setattr(prove, "read_question", lambda p: dataclasses.replace(question(p), lyapunov=decoy))

    def smuggle(out: Path, **parts: Any) -> Path:
        parts["functions"] = {**parts["functions"], "V": {"kind": "onnx", **only(reference("decoy.onnx", decoy))},
                              "L": {"kind": "onnx", **only(reference("lyapunov.onnx", true))}}
        return write(out, **{**parts, "files": {**parts["files"], "decoy.onnx": decoy, "lyapunov.onnx": true}})

    monkeypatch.setattr(prove, "write_bundle", smuggle)
    verdict = verify(path, workers=1, budget=10)
    assert (verdict.outcome, verdict.code) == ("REFUSED", "CLAIM_MISMATCH")
