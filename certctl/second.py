"""The second checker's word beside the kernel's: it can only take away."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from certctl.result import Result


def with_second_opinion(result: Result, bundle: Path, requirement: Path | None, boxes: int) -> Result:
    """A proved result after the second checker looked at the bundle; refused or undecided unless it agrees.

    Parameters
    ----------
    result : Result
        What the kernel accepted.
    bundle, requirement : Path, Path or None
        As for :func:`certctl.check`.
    boxes : int
        How many boxes the second checker may look at.

    Raises
    ------
    ImportError
        Without the extra ``second`` (python-flint, onnx).
    """
    from verifiers.second.claim import second_opinion

    began = time.perf_counter()
    opinion = second_opinion(bundle, requirement, boxes)
    said = {"outcome": opinion.outcome, "why": opinion.why, "boxes": opinion.boxes, "seconds": round(time.perf_counter() - began, 3)}
    if opinion.outcome == "agrees":
        return replace(result, second=said)
    code = "SECOND_DISAGREES" if opinion.outcome == "disagrees" else "SECOND_UNDECIDED"
    refused = replace(result.refuse(code, "second checker", opinion.why), second=said)
    return refused if opinion.outcome == "disagrees" else replace(refused, outcome="UNKNOWN")
