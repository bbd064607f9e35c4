"""Queries as VNN-LIB 1.0 files, with the network as an ONNX file beside them: our questions for anybody's verifier.

Direction: exact.  A number without a finite decimal is cleared by multiplying its inequality with the denominator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from verifiers.load.to_onnx import to_onnx
from verifiers.smt.query import And, Atom, Formula, Query, disjuncts

MAX_WRITTEN = 1000


def decimal(q: Fraction) -> str | None:
    """The finite decimal of a rational, exactly, or None where it has none."""
    rest, twos, fives = q.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    places = max(twos, fives)
    digits = str(abs(q.numerator) * 10**places // q.denominator).rjust(places + 1, "0")
    whole, part = digits[:len(digits) - places], digits[len(digits) - places:]
    return ("-" if q < 0 else "") + whole + ("." + part if part else "")


def _number(q: Fraction) -> str:
    return decimal(q) or ""


def _inequality(sign: str, names: list[tuple[str, Fraction]], bound: Fraction) -> str:
    """``sum c name SIGN bound`` with ``<=`` or ``<``; a single name or a difference of two is written as people write it."""
    scale = 1
    for q in (bound, *(c for _, c in names)):
        scale *= 1 if decimal(q * scale) is not None else (q * scale).denominator
    bound, names = bound * scale, [(name, c * scale) for name, c in names]
    if not names:
        return f"({sign} 0 {_number(bound)})"
    if len(names) == 1:
        (name, c), = names
        sense = sign if c > 0 else sign.replace("<", ">")
        if decimal(bound / c) is not None:
            return f"({sense} {name} {_number(bound / c)})"
        return f"({sense} (* {_number(abs(c))} {name}) {_number(bound if c > 0 else -bound)})"
    if len(names) == 2 and bound == 0 and names[0][1] == -names[1][1]:
        (small, c), (large, _) = names
        return f"({sign} {small} {large})" if c > 0 else f"({sign} {large} {small})"
    terms = " ".join(name if c == 1 else f"(* {_number(c)} {name})" for name, c in names)
    return f"({sign} (+ {terms}) {_number(bound)})"


def _text(formula: Formula) -> str:
    if isinstance(formula, Atom):
        return _inequality("<" if formula.strict else "<=", [(f"Y_{k}", c) for k, c in formula.coefficients], formula.bound)
    if not formula.parts:
        return "(<= 0 0)" if isinstance(formula, And) else "(<= 1 0)"
    return f"({'and' if isinstance(formula, And) else 'or'} {' '.join(_text(p) for p in formula.parts)})"


def _assertions(formula: Formula) -> Iterator[str]:
    """One assertion per conjunct; alternatives in disjunctive normal form where that is short, as other tools expect it."""
    for part in formula.parts if isinstance(formula, And) else (formula,):
        try:
            found = disjuncts(part)
        except ValueError:
            found = ()
        if isinstance(part, Atom) or not 0 < len(found) <= MAX_WRITTEN:
            yield f"(assert {_text(part)})"
        elif len(found) == 1:
            yield from (f"(assert {_text(atom)})" for atom in found[0])
        else:
            lines = [f"  (and {' '.join(_text(atom) for atom in conjunction)})" if conjunction else "  (and (<= 0 0))" for conjunction in found]
            yield "\n".join(["(assert (or", *lines, "))"])


def write_vnnlib(query: Query) -> str:
    """Write a query as a specification: sat if and only if the query is.

    Parameters
    ----------
    query : Query
        Its graph's inputs are called X_0, X_1, …, its outputs Y_0, Y_1, ….

    Returns
    -------
    str
        Text of VNN-LIB 1.0, which :func:`verifiers.smt.vnnlib.read_vnnlib` reads back to the same numbers.
    """
    lines = [f"(declare-const X_{i} Real)" for i in range(len(query.lo))]
    lines += [f"(declare-const Y_{k} Real)" for k in range(query.graph.output_size())]
    for i, (lo, hi) in enumerate(zip(query.lo, query.hi, strict=True)):
        sides = _inequality("<=", [(f"X_{i}", Fraction(1))], hi), _inequality("<=", [(f"X_{i}", Fraction(-1))], -lo)
        lines += ["", *(f"(assert {side})" for side in sides)]
    return "\n".join([*lines, "", *_assertions(query.formula), ""])


def write(query: Query, folder: Path, name: str, header: Sequence[str] = ()) -> tuple[Path, Path]:
    """Write ``NAME.onnx`` and ``NAME.vnnlib`` into a folder, which is made where it is missing.

    Parameters
    ----------
    query : Query
        What is asked.
    folder : Path
        Where to.
    name : str
        Name of both files.
    header : sequence of str
        Lines of comment that stand first in the specification.

    Returns
    -------
    tuple of Path
        The network and the specification.

    Raises
    ------
    NotWritable
        When the graph has numbers that an ONNX file cannot hold exactly; nothing is written then.
    """
    comments = "".join(f"; {line}\n" for line in header)
    network, text = to_onnx(query.graph), comments + write_vnnlib(query)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.onnx", folder / f"{name}.vnnlib"
    paths[0].write_bytes(network)
    paths[1].write_text(text, encoding="utf-8")
    return paths
