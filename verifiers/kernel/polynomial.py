"""Polynomials with rational coefficients, and a graph read as polynomials: exact, nothing rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.definite import Exact
from verifiers.kernel.graph import Graph, Node, read

Monomial = tuple[int, ...]
MAX_TERMS, MAX_PRODUCTS, MAX_DEGREE = 20_000, 1 << 20, 64


@dataclass(frozen=True)
class Polynomial:
    """Coefficients by exponents, none of them zero; all exponents of one polynomial have the length of its variables."""

    terms: dict[Monomial, Fraction]

    @staticmethod
    def summed(terms: Iterable[tuple[Monomial, Fraction]]) -> Polynomial:
        """The sum of terms, equal monomials collected."""
        found: dict[Monomial, Fraction] = {}
        for monomial, value in terms:
            found[monomial] = found.get(monomial, Fraction(0)) + value
            need(len(found) <= MAX_TERMS and sum(monomial) <= MAX_DEGREE, Code.TOO_LARGE, "polynomial",
                 f"a polynomial has more than {MAX_TERMS} terms or degree above {MAX_DEGREE}")
        return Polynomial({monomial: value for monomial, value in found.items() if value})

    def plus(self, other: Polynomial, factor: Fraction = Fraction(1)) -> Polynomial:
        """``self + factor other``."""
        return Polynomial.summed([*self.terms.items(), *((m, factor * v) for m, v in other.terms.items())])

    def times(self, other: Polynomial) -> Polynomial:
        """The product."""
        need(len(self.terms) * len(other.terms) <= MAX_PRODUCTS, Code.TOO_LARGE, "polynomial", f"a product has more than {MAX_PRODUCTS} terms")
        return Polynomial.summed((tuple(map(int.__add__, a, b)), v * w) for a, v in self.terms.items() for b, w in other.terms.items())

    def derivative(self, i: int) -> Polynomial:
        """The derivative by the i-th variable."""
        return Polynomial.summed(((*m[:i], m[i] - 1, *m[i + 1:]), m[i] * v) for m, v in self.terms.items() if m[i])


def constant(value: Fraction, n: int) -> Polynomial:
    """A constant in n variables."""
    return Polynomial.summed([((0,) * n, value)])


def shifted(origin: Sequence[Fraction]) -> list[Polynomial]:
    """The polynomials ``o_i + y_i`` in y."""
    n = len(origin)
    return [constant(o, n).plus(Polynomial({tuple(int(i == j) for j in range(n)): Fraction(1)})) for i, o in enumerate(origin)]


def square_form(basis: Sequence[Monomial], matrix: Exact) -> Polynomial:
    """``z' G z`` for monomials z and a matrix G of rationals."""
    return Polynomial.summed((tuple(map(int.__add__, a, b)), matrix[i, j]) for i, a in enumerate(basis) for j, b in enumerate(basis))


class _Reading:
    """A value is a list of polynomials in n variables."""

    def __init__(self, n: int) -> None:
        self.n = n

    def const(self, node: Node) -> list[Polynomial]:
        need(all(lo == hi for lo, hi in node.data), Code.UNSUPPORTED, node.op, "an unknown constant (an interval) is no coefficient")
        return [constant(lo, self.n) for lo, _ in node.data]

    def affine(self, node: Node, x: list[Polynomial]) -> list[Polynomial]:
        weight, bias = node.data.rational()
        return [constant(b, self.n).plus(Polynomial.summed((m, w * v) for w, p in zip(row, x, strict=True) if w for m, v in p.terms.items()))
                for row, b in zip(weight, bias, strict=True)]

    def unary(self, node: Node, x: list[Polynomial]) -> list[Polynomial]:
        need(node.op in ("neg", "pow"), Code.UNSUPPORTED, node.op, "no polynomial; sums of squares need a polynomial loop and function")
        result = [constant(Fraction(1 if node.op == "pow" else -1), self.n)] * node.size
        for _ in range(node.data if node.op == "pow" else 1):
            result = [a.times(b) for a, b in zip(result, x, strict=True)]
        return result

    def binary(self, node: Node, a: list[Polynomial], b: list[Polynomial]) -> list[Polynomial]:
        def quotient(p: Polynomial, q: Polynomial) -> Polynomial:
            need(q.terms.keys() == {(0,) * self.n}, Code.UNSUPPORTED, "div", "a quotient by what is no constant other than zero is no polynomial")
            return p.times(constant(1 / q.terms[(0,) * self.n], self.n))

        rules: dict[str, Callable[[Polynomial, Polynomial], Polynomial]] = {
            "add": Polynomial.plus, "sub": lambda p, q: p.plus(q, Fraction(-1)), "mul": Polynomial.times, "div": quotient}
        if node.op not in rules:
            raise Refusal(Code.UNSUPPORTED, node.op, "no polynomial; sums of squares need a loop without saturation")
        return [rules[node.op](p, q) for p, q in zip(a, b, strict=True)]

    def take(self, node: Node, x: list[Polynomial]) -> list[Polynomial]:
        return [x[i] for i in node.data]

    def concat(self, node: Node, parts: Sequence[list[Polynomial]]) -> list[Polynomial]:
        return [p for part in parts for p in part]


def polynomials(graph: Graph, inputs: Sequence[Polynomial]) -> list[Polynomial]:
    """The first output of a graph, entry by entry, as polynomials of the variables of its input's entries.

    Raises
    ------
    Refusal
        ``UNSUPPORTED`` for a node that is not polynomial, ``TOO_LARGE``.
    """
    n = len(next(iter(inputs[0].terms))) if inputs and inputs[0].terms else len(inputs)
    return list(read(graph, _Reading(n), [list(inputs)])[0])
