"""The command line; see ``docs/cli.md``."""

from __future__ import annotations

import os

# A proof is many small matrix products: threads inside BLAS only slow them down, and must be chosen before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Entry point ``certctl``: run the command line and exit with its code."""
    from certctl.cli.main import run

    raise SystemExit(run())
