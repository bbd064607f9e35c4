r"""VNN-LIB 1.0 specifications, read strictly.

.. code-block:: lisp

    (declare-const X_0 Real)          ; entries of the network's input and output, row by row
    (declare-const Y_0 Real)
    (assert (<= X_0 0.5))  (assert (>= X_0 -1e-06))
    (assert (or (and (<= Y_0 0.25) (>= X_0 0)) (< (* 2 Y_0) (+ X_0 0.1))))

The question is always whether *some* input satisfies all assertions: sat is a counterexample, unsat a proof.  Accepted are ``and`` and ``or``
over ``<= >= < >`` of two linear expressions of ``+``, ``-`` and ``*`` by constants.  Numbers are the exact rationals that their decimals denote.
Nothing is guessed: whatever two readers might read differently is refused with its line and a remedy.

References
----------
.. [1] S. Demarchi et al., "Supporting Standardization of Neural Networks Verification with VNNLIB and CoCoNet", FoMLAS 2023, VNN-LIB 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from verifiers.smt.query import And, Atom, Formula, Or
from verifiers.smt.specification import Spec, SpecError, empty_input, join, specification

MAX_TEXT = 64 << 20
MAX_TOKEN = 1200
MAX_EXPONENT = 1100
MAX_DEPTH = 100
MAX_VARIABLES = 300_000
MAX_BITS = 1 << 16

_TOKEN = re.compile(r"[ \t\n]+|;[^\n]*|[()]|[A-Za-z0-9_.+\-*/<>=]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,9}))?", re.ASCII)
_VARIABLE = re.compile(r"([XY])_(0|[1-9][0-9]{0,8})", re.ASCII)
_COMPARE: dict[str, tuple[int, bool]] = {"<=": (1, False), "<": (1, True), ">=": (-1, False), ">": (-1, True)}
Linear = tuple[dict[int, Fraction], Fraction]


@dataclass(frozen=True)
class _Item:
    line: int
    at: str | list[_Item]


def _fail(line: int, message: str) -> SpecError:
    return SpecError(f"line {line}: {message}")


def _show(text: str) -> str:
    return repr(text[:40]) + ("…" if len(text) > 40 else "")


# ------------------------------------------------------------------------------------------------------------ text to commands

def _tokens(text: str) -> Iterator[tuple[int, str]]:
    line, position = 1, 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _fail(line, f"the character {text[position]!r} does not belong into a specification; remove it (comments start with ';')")
        token, position = found.group(), found.end()
        if token[0] in " \t\n":
            line += token.count("\n")
        elif token[0] == ";":
            if not token.replace("\t", " ").isprintable():
                raise _fail(line, "the comment holds a control character, which another reader may take for the end of the line; remove it")
        elif len(token) > MAX_TOKEN:
            raise _fail(line, f"a word of {len(token)} characters, more than {MAX_TOKEN}; shorten it")
        else:
            yield line, token


def _commands(text: str) -> Iterator[_Item]:
    """The parenthesised expressions of the top level, one by one."""
    opened: list[_Item] = []
    line = 1
    for line, token in _tokens(text):
        if token == "(":
            if len(opened) >= MAX_DEPTH:
                raise _fail(line, f"more than {MAX_DEPTH} parentheses are open; flatten the expression")
            opened.append(_Item(line, []))
        elif not opened:
            raise _fail(line, f"{_show(token)} stands outside any parentheses; close or open a parenthesis before it")
        else:
            done = opened.pop() if token == ")" else _Item(line, token)
            if opened and isinstance(opened[-1].at, list):
                opened[-1].at.append(done)
            else:
                yield done
    if opened:
        raise _fail(opened[0].line, f"the parenthesis opened here is not closed by the end of the file (line {line}); close it")


# ------------------------------------------------------------------------------------------------------------ commands to formulas

def _number(item: _Item) -> Fraction | None:
    """The rational that a decimal denotes, None where the word is no number."""
    if not isinstance(item.at, str) or (found := _NUMBER.fullmatch(item.at)) is None:
        return None
    if abs(int(found.group(1) or 0)) > MAX_EXPONENT:
        raise _fail(item.line, f"the number {_show(item.at)} has an exponent beyond ±{MAX_EXPONENT}; write a number of ordinary size")
    return Fraction(item.at)


def _call(item: _Item) -> tuple[str, list[_Item]]:
    """Operator and arguments of a parenthesised expression."""
    if isinstance(item.at, str) or not item.at or not isinstance(item.at[0].at, str):
        raise _fail(item.line, "an operator with its arguments in parentheses is expected here, for example (<= X_0 1)")
    return item.at[0].at, item.at[1:]


class _Reader:
    """Reads the commands of one specification in order."""

    def __init__(self) -> None:
        self.declared: dict[str, int] = {}
        self.parts: list[Formula] = []

    def command(self, item: _Item) -> None:
        head, arguments = _call(item)
        if head == "declare-const":
            self.declare(item.line, arguments)
        elif head == "assert" and len(arguments) == 1:
            self.parts.append(self.formula(arguments[0]))
        else:
            raise _fail(item.line, f"{_show(head)} with {len(arguments)} arguments is no command of VNN-LIB 1.0; "
                        "use (declare-const NAME Real) and (assert FORMULA)")

    def declare(self, line: int, arguments: list[_Item]) -> None:
        words = [a.at for a in arguments]
        name = words[0] if words and isinstance(words[0], str) else ""
        if len(words) != 2 or words[1] != "Real" or not _VARIABLE.fullmatch(name):
            raise _fail(line, "a declaration has the form (declare-const X_0 Real) with X_ for inputs and Y_ for outputs; rewrite it so")
        if name in self.declared:
            raise _fail(line, f"{name} is declared a second time (first in line {self.declared[name]}); remove one declaration")
        if len(self.declared) >= MAX_VARIABLES:
            raise _fail(line, f"more than {MAX_VARIABLES} variables; use a smaller network")
        self.declared[name] = line

    def count(self, letter: str, what: str) -> int:
        """How many variables of a letter there are, which must be 0, 1, 2, … without a gap."""
        numbers = sorted(int(name[2:]) for name in self.declared if name[0] == letter)
        if not numbers:
            raise SpecError(f"no {what} is declared; add (declare-const {letter}_0 Real)")
        gap = next((i for i, k in enumerate(numbers) if i != k), None)
        if gap is not None:
            raise SpecError(f"{letter}_{gap} is not declared although {letter}_{numbers[-1]} is; declare every entry of the {what}")
        return len(numbers)

    def formula(self, item: _Item) -> Formula:
        head, arguments = _call(item)
        if head in ("and", "or"):
            if not arguments:
                raise _fail(item.line, f"({head}) has no arguments; give at least one")
            return join(Or if head == "or" else And, [self.formula(a) for a in arguments])
        if head not in _COMPARE or len(arguments) != 2:
            raise _fail(item.line, f"{_show(head)} with {len(arguments)} arguments is no formula; use and, or, and <= >= < > with two arguments")
        sign, strict = _COMPARE[head]
        (left, a), (right, b) = (self.linear(x) for x in arguments)
        total = dict(left)
        for k, c in right.items():
            total[k] = total.get(k, Fraction(0)) - c
        kept = tuple((k, sign * c) for k, c in sorted(total.items()) if c)
        atom = Atom(kept, sign * (b - a), strict)
        return atom if kept else And(()) if atom.holds(()) else Or(())

    def linear(self, item: _Item) -> Linear:
        """Coefficients and constant of a linear expression."""
        if isinstance(item.at, str):
            number = _number(item)
            if number is not None:
                return {}, number
            if item.at not in self.declared:
                raise _fail(item.line, f"{_show(item.at)} is neither a decimal number nor declared above; declare it or correct the name")
            index = int(item.at[2:])
            return {index if item.at[0] == "Y" else -1 - index: Fraction(1)}, Fraction(0)
        head, arguments = _call(item)
        if head not in ("+", "-", "*") or not arguments:
            raise _fail(item.line, f"{_show(head)} with {len(arguments)} arguments is no linear expression; use +, - and * by constants")
        terms = [self.linear(a) for a in arguments]
        if head == "*":
            return self.product(item.line, terms)
        signs = [Fraction(1)] + [Fraction(-1 if head == "-" else 1)] * (len(terms) - 1)
        return _sum(terms, [Fraction(-1)] if head == "-" and len(terms) == 1 else signs)

    def product(self, line: int, terms: list[Linear]) -> Linear:
        varying = [t for t in terms if any(t[0].values())]
        if len(varying) > 1:
            raise _fail(line, "two expressions with variables are multiplied; only products with constants are linear")
        factor = Fraction(1)
        for coefficients, constant in terms:
            factor = factor if any(coefficients.values()) else factor * constant
            if max(factor.numerator.bit_length(), factor.denominator.bit_length()) > MAX_BITS:
                raise _fail(line, "the product of the constants is too large; write numbers of ordinary size")
        return _sum(varying or [({}, Fraction(1))], [factor])


def _sum(terms: Iterable[Linear], factors: Iterable[Fraction]) -> Linear:
    total: dict[int, Fraction] = {}
    constant = Fraction(0)
    for (coefficients, c), factor in zip(terms, factors, strict=True):
        constant += factor * c
        for k, v in coefficients.items():
            total[k] = total.get(k, Fraction(0)) + factor * v
    return total, constant


def read_vnnlib(text: str) -> Spec:
    """Read a specification.

    Parameters
    ----------
    text : str
        The file's text.

    Returns
    -------
    Spec
        Sizes, the formula, and the same formula as boxes of inputs.

    Raises
    ------
    SpecError
        For anything that is not a specification of the accepted form, an input without a bound, and unconditional bounds that exclude each other.

    Notes
    -----
    Direction: exact.
    """
    if len(text) > MAX_TEXT:
        raise SpecError(f"the specification has {len(text)} characters, more than {MAX_TEXT}; split it")
    reader = _Reader()
    for item in _commands(text.replace("\r\n", "\n")):
        reader.command(item)
    inputs, outputs = reader.count("X", "input"), reader.count("Y", "output")
    formula = join(And, reader.parts)
    parts = formula.parts if isinstance(formula, And) else (formula,)
    clash = empty_input(parts)
    if clash is not None:
        raise _fail(reader.declared[f"X_{clash}"], f"the lower bound of X_{clash} exceeds its upper bound; correct one")
    return specification(inputs, outputs, formula)
