"""Keep freed memory in the process: array temporaries of a few megabytes otherwise cost a page fault for every 4 KiB, each time."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP = 1 << 30


def keep_freed_memory() -> bool:
    """Ask the C library (glibc) not to return freed memory below 1 GiB to the system; True where it agreed.

    Only speed depends on it: enclosures over batches take about half the time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP)) and bool(mallopt(_TRIM_THRESHOLD, _KEEP))
