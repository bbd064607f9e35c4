"""One proof in a process of its own, its verdict as JSON: ``python -m benchmarks.one_proof REQUIREMENT``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from verifiers.prove import verify


def main(arguments: list[str] | None = None) -> int:
    """Verify a requirement and print what the benchmarks report of it; exit 0 whatever the verdict is."""
    parser = argparse.ArgumentParser(prog="benchmarks.one_proof", description="Verify one requirement and print the verdict as JSON.")
    parser.add_argument("requirement", type=Path)
    parser.add_argument("--budget", type=float, default=600.0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    verdict = verify(given.requirement, force=True, budget=given.budget, workers=given.workers)
    receipt, witness = verdict.receipt, verdict.counterexample
    region = receipt.region if receipt is not None and receipt.region is not None else {}
    json.dump({
        "outcome": verdict.outcome, "code": verdict.code, "message": verdict.message, "search_s": verdict.search_s, "boxes": verdict.boxes,
        "bundle": None if verdict.bundle is None else str(verdict.bundle), "x": None if witness is None else witness["x"],
        "level": region.get("level"), "volume": region.get("volume_lower_bound"),
        "check_s": None if receipt is None else receipt.check_s, "leaves": None if receipt is None else receipt.leaves,
        "evidence": None if receipt is None else receipt.level}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
