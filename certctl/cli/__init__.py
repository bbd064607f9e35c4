"""The command line; see ``docs/cli.md``."""

import os

# A proof is many small matrix products: threads inside BLAS only slow them down, and must be chosen before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
