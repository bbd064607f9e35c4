"""Program: decide the SMT-LIB script on standard input with z3 (Python binding); it answers as verifiers/smt/external.py says."""

from __future__ import annotations

import hashlib
import re
import sys
from fractions import Fraction
from typing import Any

DIGITS = 40


def value(z3: Any, found: Any) -> tuple[Fraction, Fraction]:
    """A model's value as an interval: a point for a rational, a tiny one for an algebraic number."""
    if z3.is_rational_value(found):
        exact = found.as_fraction()
        return exact, exact
    if z3.is_algebraic_value(found):
        near, gap = found.approx(DIGITS).as_fraction(), Fraction(1, 10**DIGITS)
        return near - gap, near + gap
    raise ValueError(f"a value of kind {found.sort()} is no number")


def main() -> None:
    """Read, decide, answer."""
    import z3

    text, inputs = sys.stdin.read(), int(sys.argv[1])
    logic = re.search(r"^\(set-logic (\w+)\)$", text, re.M)
    solver = z3.SolverFor(logic.group(1) if logic else "QF_NRA")
    solver.from_string(text)
    found = solver.check()
    lines = [f"script {hashlib.sha256(text.encode()).hexdigest()}", str(found)]
    if found == z3.sat:
        model = solver.model()
        for i in range(inputs):
            lo, hi = value(z3, model.eval(z3.Real(f"x{i}"), model_completion=True))
            lines.append(f"x {i} {lo} {hi}")
    sys.stdout.write("\n".join([*lines, "end", ""]))


if __name__ == "__main__":
    main()
