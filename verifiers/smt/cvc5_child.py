"""Program: decide the SMT-LIB script on standard input with cvc5 (Python binding); it answers as verifiers/smt/external.py says."""

from __future__ import annotations

import hashlib
import sys
from fractions import Fraction
from typing import Any


def value(found: Any) -> tuple[Fraction, Fraction] | None:
    """A model's value as an interval: a point for a rational, the isolating interval for an algebraic number, None for what has no digits."""
    if found.isRealValue():
        exact = Fraction(found.getRealValue())
        return exact, exact
    if found.isIntegerValue():
        return Fraction(found.getIntegerValue()), Fraction(found.getIntegerValue())
    if found.isRealAlgebraicNumber():
        return Fraction(found.getRealAlgebraicNumberLowerBound().getRealValue()), Fraction(found.getRealAlgebraicNumberUpperBound().getRealValue())
    return None


def main() -> None:
    """Read, decide, answer."""
    import cvc5

    text, inputs = sys.stdin.read(), int(sys.argv[1])
    manager = cvc5.TermManager()
    solver = cvc5.Solver(manager)
    solver.setOption("produce-models", "true")
    parser, symbols = cvc5.InputParser(solver), None
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "query")
    symbols = parser.getSymbolManager()
    said = ""
    while not (command := parser.nextCommand()).isNull():
        said += str(command.invoke(solver, symbols))
    verdict = said.strip()
    if verdict not in ("sat", "unsat", "unknown"):
        raise ValueError(f"cvc5 said {verdict[:200]!r}")
    lines = [f"script {hashlib.sha256(text.encode()).hexdigest()}", verdict]
    if verdict == "sat":
        terms = {str(term): term for term in symbols.getDeclaredTerms()}
        found = [value(solver.getValue(terms[f"x{i}"])) for i in range(inputs)]
        numbers = [ends for ends in found if ends is not None]
        if len(numbers) == inputs:
            lines += [f"x {i} {lo} {hi}" for i, (lo, hi) in enumerate(numbers)]
        else:
            lines[1] = "unknown"  # a model that is only known by its properties cannot be replayed
    sys.stdout.write("\n".join([*lines, "end", ""]))


if __name__ == "__main__":
    main()
