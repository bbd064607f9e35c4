r"""Whole-set decrease by sums of squares (proof kind ``sos``); theorem and proof: docs/theory/sos.md.

With y = x - x*, the identity of polynomials

.. math:: -\nabla V \cdot f - \sum_k s_k\, g_k = z^\top G z, \qquad s_k = w_k^\top H_k w_k

with G and every H_k positive definite, each g_k >= 0 on {V <= c} in the domain, and z zero at y = 0 only, makes V decrease strictly on that set,
the neighbourhood of the equilibrium included.  All numbers are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.definite import Exact, is_dominant_after_scaling, rationals
from verifiers.kernel.graph import Builder, Graph, affine_from_rational
from verifiers.kernel.polynomial import Monomial, Polynomial, constant, polynomials, shifted, square_form
from verifiers.kernel.rational import parse, parse_matrix
from verifiers.kernel.strict import take

Vector = Sequence[Fraction]
MAX_BASIS, MAX_POWER = 120, 30
PLACE = "whole"


def read_basis(items: Any, n: int, at: str) -> list[Monomial]:
    """Distinct monomials in n variables, each a list of n exponents."""
    need(type(items) is list and 0 < len(items) <= MAX_BASIS, Code.TOO_LARGE, at, f"1 to {MAX_BASIS} monomials are read")
    for item in items:
        good = type(item) is list and len(item) == n and all(type(k) is int and 0 <= k <= MAX_POWER for k in item)
        need(good, Code.MALFORMED_CERTIFICATE, at, f"a monomial is a list of {n} exponents from 0 to {MAX_POWER}")
    basis = [tuple(item) for item in items]
    need(len(set(basis)) == len(basis), Code.MALFORMED_CERTIFICATE, at, "a monomial stands twice")
    return basis


def _square(table: Mapping[str, Any], n: int, at: str) -> tuple[list[Monomial], Polynomial]:
    """Basis and value of a sum of squares whose Gram matrix is proved positive definite."""
    basis = read_basis(table["basis"], n, f"{at}.basis")
    gram: Exact = rationals(parse_matrix(table["gram"], f"{at}.gram", len(basis)))
    need(is_dominant_after_scaling(gram), Code.NOT_DEFINITE, f"{at}.gram", "the Gram matrix is not proved positive definite")
    return basis, square_form(basis, gram)


def constraints(v: Polynomial, level: Fraction, x: Sequence[Polynomial], domain: tuple[Vector, Vector]) -> dict[str, Polynomial]:
    """Polynomials that are at least zero on {V <= c} in the domain: ``level`` is c - V, ``domain-i`` is (x_i - lo_i)(hi_i - x_i)."""
    n, minus = len(x), Fraction(-1)
    found = {"level": constant(level, n).plus(v, minus)}
    for i, (at, lo, hi) in enumerate(zip(x, *domain, strict=True)):
        found[f"domain-{i}"] = at.plus(constant(lo, n), minus).times(constant(hi, n).plus(at, minus))
    return found


def decrease(v: Polynomial, f: Sequence[Polynomial]) -> Polynomial:
    """The polynomial -grad V . f."""
    total = Polynomial({})
    for i, component in enumerate(f):
        total = total.plus(v.derivative(i).times(component), Fraction(-1))
    return total


def check_decrease(field: Graph, function: Graph, origin: Vector, level: Fraction, domain: tuple[Vector, Vector], proof: Mapping[str, Any]) -> None:
    """Prove that V decreases strictly along the loop on {V <= c} in the domain, but at the equilibrium.

    Parameters
    ----------
    field, function : Graph
        The loop x' and V, polynomial both, n states.
    origin : sequence of Fraction
        The equilibrium x*, exact.
    level, domain
        c, and the corners of the domain.
    proof : mapping
        ``basis``, ``gram`` of z and G, and ``multipliers``, a list of ``of`` (a key of :func:`constraints`), ``basis`` and ``gram``.

    Raises
    ------
    Refusal
        ``DECREASE`` where the identity does not hold or z vanishes elsewhere, ``NOT_DEFINITE``, ``EMPTY_REGION`` where V(x*) is not below c,
        ``UNSUPPORTED`` for what is no polynomial, ``MALFORMED_CERTIFICATE``, ``BAD_NUMBER``, ``BAD_SHAPE``, ``TOO_LARGE``.
    """
    n, x = len(origin), shifted(origin)
    v, f = polynomials(function, x)[0], polynomials(field, x)
    need(v.terms.get((0,) * n, Fraction(0)) < level, Code.EMPTY_REGION, PLACE, "V at the equilibrium is not below the level, so it claims nothing")
    rest, known = decrease(v, f), constraints(v, level, x, domain)
    need(len(proof["multipliers"]) <= MAX_BASIS, Code.TOO_LARGE, f"{PLACE}.multipliers", f"at most {MAX_BASIS} multipliers are read")
    for k, item in enumerate(proof["multipliers"]):
        at = f"{PLACE}.multipliers[{k}]"
        table = take(item, at, {"of": str, "basis": list, "gram": list})
        need(table["of"] in known, Code.MALFORMED_CERTIFICATE, f"{at}.of", f"a multiplier is one of {', '.join(known)}")
        rest = rest.plus(known[table["of"]].times(_square(table, n, at)[1]), Fraction(-1))
    basis, value = _square(proof, n, PLACE)
    pure = {i for m in basis for i in range(n) if m[i] and sum(m) == m[i]}
    need(pure == set(range(n)), Code.DECREASE, f"{PLACE}.basis", "the basis has no power of some state alone, so it may vanish off the equilibrium")
    wrong = sorted(rest.plus(value, Fraction(-1)).terms)
    if wrong:
        raise Refusal(Code.DECREASE, PLACE, f"the identity fails at the monomial with exponents {list(wrong[0])}")


def polynomial_graph(items: Any, n: int, at: str) -> Graph:
    """The graph of a polynomial in x, given as a list of [exponents, coefficient]."""
    need(type(items) is list and all(type(t) is list and len(t) == 2 for t in items), Code.MALFORMED_CERTIFICATE, at,
         "a term is [exponents, coefficient]")
    basis = read_basis([t[0] for t in items], n, at)
    b = Builder(at)
    x = b.input(n)
    parts = []
    for monomial in basis:
        part = b.const([Fraction(1)])
        for i, k in enumerate(monomial):
            part = part if not k else b.binary("mul", part, b.unary("pow", b.take(x, [i]), k))
        parts.append(part)
    weights = [parse(t[1], f"{at}[{i}]") for i, t in enumerate(items)]
    return b.build([b.affine(b.concat(parts), affine_from_rational([weights], [Fraction(0)]))])
