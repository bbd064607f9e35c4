"""A tiny bundle whose parts say nothing true, for tests of what is read before anything is proved; and ways to tamper with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verifiers.bundle_writer import reference, write_bundle

REQUIREMENT = b"""property = "asymptotic_stability_roa"
plant = "pendulum"
controller = "controller.onnx"
lyapunov = "lyapunov.onnx"
time = "continuous"
[domain]
lo = ["-2", "-4"]
hi = ["2", "4"]
[region]
contains = { lo = ["-1/2", "-1/2"], hi = ["1/2", "1/2"] }
"""
PLANT = b'{"format": "certctl-plant/1"}\n'
CONTROLLER = b"\x08\x08: not a network"
LYAPUNOV = b"\x08\x08: not a function"
TREE = b"\x80\x04 a tree may begin with any byte"


def tiny(out: Path, **changes: Any) -> Path:
    """Write the tiny bundle; keyword arguments replace those of ``write_bundle``."""
    arguments: dict[str, Any] = {
        "requirement": REQUIREMENT, "plant": PLANT, "controller": CONTROLLER,
        "functions": {"V": {"kind": "onnx", **only(reference("lyapunov.onnx", LYAPUNOV))},
                      "local": {"kind": "quadratic", "matrix": [["1", "0"], ["0", "1"]], "center": ["0", "0"]}},
        "files": {"lyapunov.onnx": LYAPUNOV, "proof/shell.tree": TREE},
        "claim": {"property": "asymptotic_stability_roa"},
        "obligations": [{"id": "equilibrium", "proof": {"kind": "evaluation"}},
                        {"id": "shell", "proof": {"kind": "box_tree", "tree": reference("proof/shell.tree", TREE)}}],
        "assumptions": ["The full state is measured."], "producer": {"name": "tests"}}
    return write_bundle(out, **{**arguments, **changes})


def only(item: dict[str, Any]) -> dict[str, Any]:
    """A reference without its number of bytes."""
    return {key: item[key] for key in ("name", "sha256")}


def tamper(bundle: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Let ``change`` edit the parsed certificate in place, and write it back."""
    statement = json.loads((bundle / "certificate.json").read_bytes())
    change(statement)
    (bundle / "certificate.json").write_text(json.dumps(statement), encoding="utf-8")
    return bundle


def refresh(bundle: Path) -> Path:
    """Recompute every sha256 (and number of bytes) in the certificate, as an attacker would after an edit."""
    def visit(item: Any) -> None:
        if isinstance(item, dict) and "sha256" in item and (bundle / str(item.get("name"))).is_file():
            new = reference(item["name"], (bundle / item["name"]).read_bytes())
            item.update({key: new[key] for key in ("sha256", "bytes") if key in item})
        for child in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            visit(child)

    def change(statement: dict[str, Any]) -> None:
        visit(statement["predicate"])
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256((bundle / statement["subject"][0]["name"]).read_bytes()).hexdigest()

    return tamper(bundle, change)
