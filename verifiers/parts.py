"""Checks of a bundle in parts, one process or machine a part, joined to one receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from verifiers.kernel.check import Receipt
from verifiers.kernel.codes import Code


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
    return replace(first, outcome="ACCEPTED", code=None, at=None, level="L2", message="every obligation of the property is proved",
                   check_s=sum(r.check_s for r in receipts))
