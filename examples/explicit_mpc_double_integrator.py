"""Explicit MPC of a double integrator: a law proved to be the minimiser and to stay feasible for ever, drawn, as a network, and as C code.

    python examples/explicit_mpc_double_integrator.py [FOLDER]      # default demo-output/explicit_mpc; needs pip install "certctl[mpc]"

Without its terminal set the same horizon is refused: the prover names a feasible state whose successor is not.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from certctl import plot
from certctl.bridges.c_code import write_c
from certctl.view import open_view
from verifiers.explicit_mpc.condense import condense
from verifiers.explicit_mpc.equivalence import prove_equivalence
from verifiers.explicit_mpc.lattice import lattice, lattice_graph
from verifiers.explicit_mpc.model_file import read_model
from verifiers.explicit_mpc.partition import NotFeasible
from verifiers.explicit_mpc.prove import certify
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.to_onnx import to_onnx

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/explicit_mpc")

MODEL = """
A = [["1", "1"], ["0", "1"]]
B = [["1/2"], ["1"]]
horizon = 3
[weights]
Q = [["1", "0"], ["0", "1"]]
R = [["1/10"]]
[limits]
x = { lo = ["-5", "-5"], hi = ["5", "5"] }
u = { lo = ["-1"], hi = ["1"] }
[terminal]
set = "invariant"
[domain]
lo = ["-5", "-5"]
hi = ["5", "5"]
"""


def main() -> int:
    """Refuse, prove, draw, export, simulate."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in (("short", MODEL.replace('"invariant"', '"none"')), ("law", MODEL)):
        (FOLDER / f"{name}.toml").write_text(text, encoding="utf-8")
    short = read_model(FOLDER / "short.toml")
    try:
        certify(condense(short), FOLDER / "short.cert", outputs=1, loop=(short.A, short.B), force=True)
    except NotFeasible as no:
        print(f"without a terminal set: {no}")

    model = read_model(FOLDER / "law.toml")
    bundle = FOLDER / "law.cert"
    found = certify(condense(model), bundle, outputs=1, loop=(model.A, model.B), force=True)
    print(f"with one: {found.receipt.outcome}, {found.partition.regions} regions, {found.partition.leaves} leaves")
    if found.bundle is None:
        return 1

    law = found.partition.law
    form = lattice(law)
    data = to_onnx(lattice_graph([form]), double=True)
    (FOLDER / "law.onnx").write_bytes(data)
    same = prove_equivalence(law, read_onnx(data).graph, Fraction(1, 10**9))
    print(f"network of {len(form.laws)} maps in {len(form.terms)} terms: equal to the law within {float(same.bound):g}, on {same.cells} cells")

    view = open_view(bundle)
    print(plot.save(plot.draw([view], "law"), FOLDER / "law.png", view))
    print(*write_c(view, FOLDER, "law"))

    a, b = model.A.astype(float), model.B.astype(float)
    state = np.array([-4.0, 1.5])
    for _ in range(12):
        state = a @ state + b @ law.evaluate(state[None])[0]
    print(f"from (-4, 1.5) the loop is at ({state[0]:.4f}, {state[1]:.4f}) after 12 steps")
    return 0 if np.abs(state).max() < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
