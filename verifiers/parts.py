"""Checks of a bundle in parts, one process or machine a part, joined to one receipt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

from verifiers.kernel.check import Receipt, check
from verifiers.kernel.codes import Code

LARGE = 4_000_000
"""Bytes of proof from which a check in parts is worth its processes: about two million leaves."""


def check_by(workers: int | None, bundle: Path, requirement: Path | None) -> Receipt:
    """Check a bundle, in as many parts as there are workers (all cores for None) where its trees are large; never raises for bad input."""
    parts = workers or os.cpu_count() or 1
    proof = bundle / "proof"
    size = sum(file.stat().st_size for file in proof.glob("*")) if proof.is_dir() else 0
    if parts == 1 or size < LARGE or "fork" not in get_all_start_methods():
        return check(bundle, requirement)
    try:
        with ProcessPoolExecutor(parts, mp_context=get_context("fork")) as pool:
            shown = [pool.submit(check, bundle, requirement, (k, parts)) for k in range(parts)]
            return join([each.result() for each in shown], parts)
    except BrokenProcessPool:  # a process was killed, for want of memory as a rule: the parts say nothing, and the whole is checked here
        return check(bundle, requirement)


def join(receipts: Sequence[Receipt], parts: int) -> Receipt:
    """Accept when all ``parts`` receipts, one a part and of one bundle and requirement, hold.

    Parameters
    ----------
    receipts : sequence of Receipt
        What :func:`verifiers.kernel.check.check` said of the parts ``(0, n), ..., (n - 1, n)``, in any order.
    parts : int
        n.

    Returns
    -------
    Receipt
        The first that failed; else accepted; else DECLINED with ``PART_MISSING``.
    """
    failed = [r for r in receipts if r.code not in (None, Code.PART_MISSING.name)]
    if failed:
        return failed[0]
    wanted = [f"part {i}/{parts}" for i in range(parts)] if parts != 1 else [None]
    one = {(r.bundle_digest, r.requirement_source, r.property, r.name) for r in receipts}
    first = receipts[0] if receipts else Receipt("DECLINED", None, None, "", "bundle")
    if not (len(receipts) == parts and {r.at for r in receipts} == set(wanted) and len(one) == 1):
        return replace(first, outcome="DECLINED", code=Code.PART_MISSING.name, at="parts", level=None,
                       message="a part is missing or belongs to another bundle")
    rows = zip(*(r.obligations for r in receipts), strict=True)
    shown = tuple(row[0] | {"margin": min((o["margin"] for o in row if o["margin"] is not None), default=None),
                            "seconds": max(o["seconds"] for o in row)} for row in rows)
    return replace(first, outcome="ACCEPTED", code=None, at=None, level="L2", message="every obligation of the property is proved",
                   check_s=max(r.check_s for r in receipts), obligations=shown)
