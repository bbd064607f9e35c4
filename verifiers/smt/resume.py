"""Keep the groups of an unfinished search beside the bundle, so that it can go on.  Data only; the kernel re-checks everything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.kernel.stage import Stage
from verifiers.smt.branch_and_bound import Outcome

Groups = dict[int, tuple[list[bytes], Outcome]]


class Saved:
    """A folder with the finished groups of each phase of one question.

    Parameters
    ----------
    folder : Path
        Made when something is stored.
    question : str
        Digest of the question; groups of another question are never read.
    resume : bool
        Whether to read what an earlier run left.
    """

    def __init__(self, folder: Path, question: str, resume: bool) -> None:
        self.folder, self.question, self.resume = folder, question, resume

    def _path(self, phase: str, stage: Stage) -> Path:
        key = hashlib.sha256(repr((self.question, phase, str(stage.level), stage.lo.tolist(), stage.hi.tolist(),
                                   [str(c) for _, c in stage.inner])).encode()).hexdigest()[:16]
        return self.folder / f"{phase}-{key}.json"

    def load(self, phase: str, stage: Stage) -> Groups | None:
        """Finished groups of this phase, or None."""
        path = self._path(phase, stage)
        if not (self.resume and path.is_file()):
            return None
        try:
            table: dict[str, Any] = json.loads(path.read_text())
            found: Groups = {}
            for key, item in table.items():
                out = Outcome(finished=True, boxes=int(item["boxes"]), leaves=int(item["leaves"]))
                if item["stuck_lo"]:
                    out.stuck_lo, out.stuck_hi = np.array(item["stuck_lo"]), np.array(item["stuck_hi"])
                found[int(key)] = ([bytes.fromhex(part) for part in item["trees"]], out)
            return found
        except (ValueError, KeyError, TypeError):
            return None

    def store(self, phase: str, stage: Stage, groups: Groups) -> None:
        """Write the finished groups of a phase aside, then rename."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = {str(k): {"trees": [part.hex() for part in trees], "boxes": out.boxes, "leaves": out.leaves,
                          "stuck_lo": out.stuck_lo.tolist(), "stuck_hi": out.stuck_hi.tolist()} for k, (trees, out) in groups.items()}
        path = self._path(phase, stage)
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(table))
        aside.replace(path)

    def clear(self) -> None:
        """Remove what was stored."""
        if self.folder.is_dir():
            for path in self.folder.glob("*-*.json"):
                path.unlink()
            try:
                self.folder.rmdir()
            except OSError:
                return
