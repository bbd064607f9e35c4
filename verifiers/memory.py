"""How this process uses the machine: freed memory is kept, and matrix products run on one thread.  Only speed depends on it."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP = 1 << 30
_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")


def keep_freed_memory() -> bool:
    """Ask the C library (glibc) not to return freed memory below 1 GiB to the system; True where it agreed.

    Array temporaries of a few megabytes otherwise cost a page fault for every 4 KiB, each time: enclosures over batches take about half
    the time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP)) and bool(mallopt(_TRIM_THRESHOLD, _KEEP))


def single_threaded_products() -> bool:
    """Tell the OpenBLAS that NumPy's wheel carries to use one thread, here and in processes started from now on; True where it listens.

    A number of threads that the user's environment names is left as it is.  The matrices of a batch are so thin that a second thread mostly
    waits, and on a machine that is shared, or whose cores all search boxes already, it slows the first one down threefold.
    """
    wanted = os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
    if wanted != "1" or "numpy" not in sys.modules:
        return wanted == "1"
    package = Path(str(sys.modules["numpy"].__file__)).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        for file in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(file))
            except OSError:
                continue
            for name in _SETTERS:
                if hasattr(library, name):
                    getattr(library, name)(1)
                    return True
    return False
