"""Child process of the regression: one convex programme on stdin, its minimiser on stdout; nothing of certctl is imported here."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Read ``{"inputs": (N, m), "pairs": (K, 2), "reach": (K,)}``; print ``{"status": ..., "y": (N, m)}``."""
    import clarabel
    import numpy as np
    from scipy import sparse

    given = json.load(sys.stdin)
    u, pairs, reach = (np.array(given[key]) for key in ("inputs", "pairs", "reach"))
    (count, m), k = u.shape, len(pairs)
    rows = np.repeat(np.arange(k), 2)
    gap = sparse.csc_matrix((np.tile([1.0, -1.0], k), (rows, pairs.ravel())), shape=(k, count))
    if m == 1:  # |y_i - y_j| <= reach as two inequalities
        a, b = sparse.vstack([gap, -gap], format="csc"), np.concatenate([reach, reach])
        cones = [clarabel.NonnegativeConeT(2 * k)]
    else:  # (reach, y_i - y_j) in a second-order cone, rows of a cone side by side
        wide = sparse.kron(gap, np.vstack([np.zeros((1, m)), -np.eye(m)]), format="csc")
        a, b = wide, np.kron(reach, np.eye(1, m + 1)[0])
        cones = [clarabel.SecondOrderConeT(m + 1)] * k
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    solver = clarabel.DefaultSolver(sparse.identity(count * m, format="csc"), -u.ravel(), a, b, cones, settings)
    solution = solver.solve()
    print(json.dumps({"status": str(solution.status), "y": np.array(solution.x).reshape(u.shape).tolist()}))


if __name__ == "__main__":
    main()
