"""Run the injected bugs and count: ``python tests/escapes/count.py`` prints how many there are, what reached the kernel, and what escaped."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sdp_bugs
from bugs import BUGS
from corpus import CLAIMS
from injection import Bug, blind, injected

from verifiers.kernel.check import Receipt, check
from verifiers.prove import Verdict, verify

SECONDS = 5.0


@dataclass(frozen=True)
class Run:
    """A prover's run on one claim: its verdict, the requirement, and, where it reached the kernel, the bundle and the honest receipt."""

    verdict: Verdict
    requirement: Path
    bundle: Path | None
    receipt: Receipt | None

    @property
    def proof(self) -> dict[str, bytes]:
        """What was handed to the kernel, file by file; empty where nothing was."""
        return {} if self.bundle is None else {p.name: p.read_bytes() for p in self.bundle.rglob("*") if p.is_file()}


def attempt(bug: Bug | None, claim: str, folder: Path, *, false: bool = True, seconds: float = SECONDS) -> Run:
    """Let a prover with this bug (None: with nothing but its search for counterexamples switched off) loose on a claim; then check honestly.

    The honest check runs after the bug has been taken out again, against the caller's requirement.
    """
    twin, path = (CLAIMS[claim].write(folder / f"{word}-{claim}", false=word == "false") for word in ("true", "false"))
    if not false:
        path = twin
    with injected([*blind(), *(bug.replace(twin) if bug is not None else [])]):
        if bug is not None and bug.twin_first:
            verify(twin, workers=1, budget=seconds)
        verdict = verify(path, workers=1, budget=seconds)
    if verdict.bundle is None:
        return Run(verdict, path, None, None)
    return Run(verdict, path, verdict.bundle, check(verdict.bundle, path))


def count(pairs: Iterable[tuple[Bug, str]], folder: Path) -> tuple[int, int]:
    """Numbers of runs that reached the kernel, and of runs that it accepted."""
    receipts = [attempt(bug, claim, folder / bug.name).receipt for bug, claim in pairs]
    return sum(r is not None for r in receipts), sum(r is not None and r.outcome == "ACCEPTED" for r in receipts)


def attempt_sdp(name: str, claim: str, folder: Path) -> Run:
    """Let a bug of the SDP layer loose on a claim, with a solver that calls anything optimal; then check honestly."""
    path = sdp_bugs.CLAIMS[claim].write(folder)
    with injected([*blind(), *sdp_bugs.SOLVER, *sdp_bugs.BUGS[name].replace()]):
        verdict = verify(path, workers=1, budget=20.0)
    return Run(verdict, path, verdict.bundle, None if verdict.bundle is None else check(verdict.bundle, path))


def count_sdp(pairs: Iterable[tuple[str, str]], folder: Path) -> tuple[int, int]:
    """The same numbers as :func:`count` for bugs of the SDP layer."""
    receipts = [attempt_sdp(name, claim, folder / f"{name}-{claim}").receipt for name, claim in pairs]
    return sum(r is not None for r in receipts), sum(r is not None and r.outcome == "ACCEPTED" for r in receipts)


def main() -> int:
    """Print the counts; the exit code is 0 only when there were no escapes."""
    with tempfile.TemporaryDirectory() as folder:
        reached, escapes = count([(bug, claim) for bug in BUGS.values() for claim in bug.believed], Path(folder))
        print(f"{len(BUGS)} injected bugs, {reached} runs reached the kernel, {escapes} escapes")
        pairs = [(name, claim) for name, bug in sdp_bugs.BUGS.items() for claim in bug.believed]
        more, slipped = count_sdp(pairs, Path(folder) / "sdp")
    print(f"{len(sdp_bugs.BUGS)} bugs injected into the SDP layer, {more} runs reached the kernel, {slipped} escapes")
    return 0 if reached and more and not escapes and not slipped else 1


if __name__ == "__main__":
    sys.exit(main())
