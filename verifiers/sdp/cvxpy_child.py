"""Program: solve the programmes on standard input with CVXPY; it answers as verifiers/sdp/programme.py says."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from typing import Any

OPTIONS = {"CLARABEL": ("tol_gap_abs", "tol_gap_rel", "tol_feas"), "SCS": {"eps_abs": 1e-7, "eps_rel": 1e-7, "max_iters": 200000}}


def answer(cp: Any, sparse: Any, np: Any, item: dict[str, Any], solver: str, options: dict[str, Any]) -> dict[str, Any]:
    """Solve one programme; an exception of the solver is its answer's status."""
    def matrix(table: dict[str, Any]) -> Any:
        return sparse.csr_matrix((table["value"], (table["row"], table["col"])), shape=table["shape"])

    x = cp.Variable(len(item["objective"]))
    constraints = []
    for block in item["blocks"]:
        n = block["size"]
        entries = matrix(block["linear"]) @ x + np.array(block["constant"])
        if n == 1:
            constraints.append(entries >= 0)
            continue
        whole = cp.reshape(entries, (n, n), order="C")
        constraints.append((whole + whole.T) / 2 >> 0)
    if item["equalities"] is not None:
        constraints.append(matrix(item["equalities"]["linear"]) @ x == np.array(item["equalities"]["constant"]))
    if item["nonnegative"]:
        constraints.append(x[item["nonnegative"]] >= 0)
    problem = cp.Problem(cp.Maximize(np.array(item["objective"]) @ x), constraints)
    try:
        problem.solve(solver=solver, **options)
    except cp.error.SolverError as error:
        return {"status": "solver_error", "says": str(error)}
    if problem.status != "optimal":
        return {"status": problem.status}
    return {"status": "optimal", "x": [repr(float(v)) for v in x.value], "seconds": repr(float(problem.solver_stats.solve_time or 0.0))}


def main() -> None:
    """Read, solve, answer."""
    import cvxpy as cp
    import numpy as np
    from scipy import sparse

    warnings.simplefilter("ignore")
    text = sys.stdin.read()
    given = json.loads(text)
    own = OPTIONS[given["solver"]]
    options = own if isinstance(own, dict) else dict.fromkeys(own, given["accuracy"])
    answers = [answer(cp, sparse, np, item, given["solver"], options) for item in given["programmes"]]
    json.dump({"script": hashlib.sha256(text.encode()).hexdigest(), "solver": f"{given['solver']} (CVXPY {cp.__version__})", "answers": answers},
              sys.stdout)


if __name__ == "__main__":
    main()
