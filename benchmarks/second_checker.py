"""Both checkers, which share no code, accept the published pairs in the plane."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import pairs
from benchmarks.harness import Check, Report, Table
from verifiers.kernel.check import check
from verifiers.second.claim import second_opinion

CLAIM = "The second checker, which shares no code with the kernel, agrees with it on the published pairs in the plane"
NOTES = (
    "Each pair is proved at its published level (path_big_seed0, whose published level is false, at the largest), and the bundle is then looked at "
    "by the kernel and by `certctl.second_opinion` (docs/theory/second.md), each in one process on one core.",
    "Boxes of the second checker: those of its own search, which begins at the boxes of the certificate's trees.",
)


@dataclass(frozen=True)
class Settings:
    """What to run: pairs, boxes for the second checker, seconds for a search, and processes."""

    names: tuple[str, ...] = pairs.PLANE
    boxes: int = 200_000
    budget: float = 600.0
    workers: int = 2


def run(settings: Settings | None = None) -> Report:
    """Prove each pair, and ask both checkers."""
    s = settings or Settings()
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in s.names:
            pair = pairs.read_pair(name)
            found = None
            for asked in (pair.level, "max"):
                path = pair.write(Path(folder) / name / str(asked), asked)
                answer = pairs.prove(path, budget=s.budget, workers=s.workers)
                if answer["outcome"] == "PROVED":
                    found = answer["level"], path, next(path.parent.glob("*.cert"))
                    break
            if found is None:
                checks.append(Check(f"{name} is proved", False))
                continue
            level, path, bundle = found
            receipt, began = check(bundle, path), time.perf_counter()
            opinion = second_opinion(bundle, path, s.boxes)
            seconds = time.perf_counter() - began
            rows.append((name, level, receipt.outcome, receipt.leaves, round(receipt.check_s, 2), opinion.outcome, opinion.boxes, round(seconds, 1)))
            checks.append(Check(f"{name}: the kernel says {receipt.outcome}, the second checker {opinion.outcome}",
                                receipt.outcome == "ACCEPTED" and opinion.outcome == "agrees"))
    head = ("policy", "level", "kernel", "leaves", "s", "second checker", "boxes", "s")
    return Report(CLAIM, tuple(checks), (Table("Two checkers", head, tuple(rows)),), NOTES)
