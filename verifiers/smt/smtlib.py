r"""SMT-LIB 2: a query as text for somebody else's solver, with every number exact and every shared term named once.

A graph of vectors becomes a graph of scalars in which equal terms are one term.  Terms used more than once get a name:

* ``standard`` and ``cvc5``: ``(define-fun t7 () Real ...)``, which z3 and cvc5 read as a shared node;
* ``dreal``: a declared variable with an equation, for dReal expands definitions and adds up constants of nested sums in rounded arithmetic.

The dialects differ only where they must:

============  ==================================================  =================================================================
..            standard, cvc5                                      dreal
============  ==================================================  =================================================================
numbers       ``(/ 1 3)``, ``(- 2)``                              decimals; what float64 cannot hold is a constant between neighbours
relu min abs  ``ite``                                             ``max``, ``min``, ``abs``
powers        products                                            ``(^ x 3)``
``sqrt``      ``s`` with ``s >= 0`` and ``s s = x``               ``(sqrt x)``
``tanh`` ...  names of dReal; cvc5: ``exp sin cos arctan``        ``tanh sin cos exp log atan``
============  ==================================================  =================================================================

Unknown constants are declared variables between their bounds.  **Undefined states satisfy the formula**: where a reachable divisor is zero, an
argument of ``log`` is not positive or one of ``sqrt`` is negative.  So *unsat* also says that every term is defined on the whole box.

Direction: the formula written is implied by the query; *unsat* of the text is unsat of the query (for dReal bounds are rounded outward).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from verifiers.kernel.graph import Node, read
from verifiers.smt.query import And, Atom, Formula, Query, atoms

DIALECTS = ("standard", "dreal", "cvc5")
TRANSCENDENTAL = frozenset({"tanh", "sigmoid", "softplus", "sin", "cos", "exp", "log", "atan"})
DEEPEST = 40
FLAT = 8
"""Sums of at most so many terms are merged into the sum around them."""
COSTLY = 30
"""For dReal, which branches on every variable, a shared term gets one only where it is transcendental or has so many operations (docs/dreal.md)."""
ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class Term:
    """A scalar: operator, arguments (indices of earlier terms), and data: a rational, a name, coefficients and constant, or an exponent."""

    op: str
    args: tuple[int, ...] = ()
    data: Any = None


class Terms:
    """Reading of a graph over scalars: equal terms are one term, constants are folded exactly, zero coefficients vanish."""

    def __init__(self) -> None:
        self.all: list[Term] = []
        self.bounds: dict[str, tuple[Fraction, Fraction]] = {}
        self._known: dict[Term, int] = {}

    def add(self, op: str, args: tuple[int, ...] = (), data: Any = None) -> int:
        """Index of a term, new or known."""
        term = Term(op, args, data)
        if term not in self._known:
            self._known[term] = len(self.all)
            self.all.append(term)
        return self._known[term]

    def number(self, value: Fraction) -> int:
        """A rational."""
        return self.add("num", (), value)

    def variable(self, name: str, lo: Fraction, hi: Fraction) -> int:
        """A variable between bounds."""
        self.bounds[name] = (lo, hi)
        return self.add("var", (), name)

    def value(self, k: int) -> Fraction | None:
        """The rational that a term is, or None."""
        value: Fraction | None = self.all[k].data if self.all[k].op == "num" else None
        return value

    def sum(self, pairs: Sequence[tuple[int, Fraction]], constant: Fraction = ZERO, flat: float = FLAT) -> int:
        """``sum c_k t_k + constant``; inner sums of at most ``flat`` terms are merged."""
        total: dict[int, Fraction] = {}
        for k, c in pairs:
            known, inner = self.value(k), self.all[k]
            if known is not None:
                constant += c * known
            elif inner.op == "sum" and len(inner.args) <= flat:
                coefficients, more = inner.data
                constant += c * more
                for a, q in zip(inner.args, coefficients, strict=True):
                    total[a] = total.get(a, ZERO) + c * q
            else:
                total[k] = total.get(k, ZERO) + c
        kept = tuple((k, c) for k, c in total.items() if c)
        if not kept:
            return self.number(constant)
        if constant == 0 and len(kept) == 1 and kept[0][1] == 1:
            return kept[0][0]
        return self.add("sum", tuple(k for k, _ in kept), (tuple(c for _, c in kept), constant))

    def product(self, a: int, b: int) -> int:
        """``a b``; coefficients stand in front of a product."""
        for one, other in ((a, b), (b, a)):
            if (known := self.value(one)) is not None:
                return self.sum([(other, known)])
        (a, p), (b, q) = self.scaled(a), self.scaled(b)
        found = self.power(a, 2) if a == b else self.add("mul", (min(a, b), max(a, b)))
        return self.sum([(found, p * q)])

    def scaled(self, k: int) -> tuple[int, Fraction]:
        """The term without a rational factor, and the factor."""
        term = self.all[k]
        if term.op == "sum" and len(term.args) == 1:
            (factor,), constant = term.data
            if constant == 0:
                return term.args[0], factor
        return k, ONE

    def power(self, a: int, k: int) -> int:
        """``a**k``."""
        known = self.value(a)
        if known is not None:
            return self.number(known**k)
        if k <= 1:
            return a if k else self.number(ONE)
        a, factor = self.scaled(a)
        return self.sum([(self.add("pow", (a,), k), factor**k)])

    def extreme(self, op: str, a: int, b: int) -> int:
        """``min`` or ``max`` of two terms."""
        p, q = self.value(a), self.value(b)
        if p is not None and q is not None:
            return self.number(min(p, q) if op == "min" else max(p, q))
        return a if a == b else self.add(op, (a, b))

    def const(self, node: Node) -> list[int]:
        """Constants; an unknown one is a variable."""
        return [self.number(lo) if lo == hi else self.variable(f"p{len(self.bounds)}", lo, hi) for lo, hi in node.data]

    def affine(self, node: Node, x: list[int]) -> list[int]:
        """``W x + b`` with the exact coefficients."""
        return [self.sum(list(zip(x, row, strict=True)), c) for row, c in zip(*node.data.rational(), strict=True)]

    def unary(self, node: Node, x: list[int]) -> list[int]:
        """An elementwise function."""
        return [self._unary(node, v) for v in x]

    def _unary(self, node: Node, v: int) -> int:
        if node.op == "neg":
            return self.sum([(v, -ONE)])
        if node.op == "pow":
            return self.power(v, node.data)
        if node.op == "relu":
            return self.extreme("max", v, self.number(ZERO))
        if node.op == "leaky_relu":
            return self.extreme("max", v, self.sum([(v, node.data)]))
        known = self.value(v)
        if node.op == "abs" and known is not None:
            return self.number(abs(known))
        return self.add(node.op, (v,))

    def binary(self, node: Node, a: list[int], b: list[int]) -> list[int]:
        """An elementwise operation."""
        return [self._binary(node.op, p, q) for p, q in zip(a, b, strict=True)]

    def _binary(self, op: str, p: int, q: int) -> int:
        if op in ("add", "sub"):
            return self.sum([(p, ONE), (q, ONE if op == "add" else -ONE)])
        if op == "mul":
            return self.product(p, q)
        if op == "div":
            known = self.value(q)
            (p, above), (q, below) = self.scaled(p), self.scaled(q) if known is None else (q, ONE)
            return self.sum([(p, above / known)]) if known else self.sum([(self.add("div", (p, q)), above / below)])
        return self.extreme(op, p, q)

    def take(self, node: Node, x: list[int]) -> list[int]:
        """A selection."""
        return [x[i] for i in node.data]

    def concat(self, node: Node, parts: Sequence[list[int]]) -> list[int]:
        """A concatenation."""
        return [v for part in parts for v in part]


def exact_number(q: Fraction) -> str:
    """A rational in SMT-LIB: ``3``, ``(/ 1 3)``, ``(- 2)``, ``(- (/ 1 3))``."""
    size = str(abs(q.numerator)) if q.denominator == 1 else f"(/ {abs(q.numerator)} {q.denominator})"
    return f"(- {size})" if q < 0 else size


def decimal_number(value: float) -> str:
    """A float64 as the decimal that it is exactly."""
    text = format(Decimal(abs(value)), "f")
    text = text if "." in text else f"{text}.0"
    return f"(- {text})" if value < 0 else text


def floor_float(q: Fraction) -> float:
    """The largest float64 at most q."""
    value = float(q)
    return value if Fraction(value) <= q else math.nextafter(value, -math.inf)


def ceil_float(q: Fraction) -> float:
    """The smallest float64 at least q."""
    return -floor_float(-q)


class Writer:
    """Writes the declarations and assertions of a query; see :func:`to_smtlib`."""

    def __init__(self, query: Query, dialect: str) -> None:
        if dialect not in DIALECTS:
            raise ValueError(f"the dialect {dialect!r} is none of {', '.join(DIALECTS)}")
        self.query, self.dialect, self.terms = query, dialect, Terms()
        x = [self.terms.variable(f"x{i}", lo, hi) for i, (lo, hi) in enumerate(zip(query.lo, query.hi, strict=True))]
        self.outputs: list[int] = read(query.graph, self.terms, [x])[0]
        self.lines: list[str] = []
        self.undefined: list[str] = []
        self.text: dict[int, str] = {}
        self.constants: dict[Fraction, str] = {}
        self.sides: dict[Atom, int] = {}
        self.order: list[int] = []

    # what is written

    def write(self) -> list[str]:
        """Declarations, definitions and assertions, one line each."""
        flat = math.inf if self.dialect == "dreal" else FLAT
        self.sides = {atom: self.terms.sum([(self.outputs[k], c) for k, c in atom.coefficients], -atom.bound, flat)
                      for atom in atoms(self.query.formula)}
        wanted = sorted(set(self.sides.values()))
        order, uses = self._reachable(wanted)
        here = {self.terms.all[k].data for k in order if self.terms.all[k].op == "var"}
        for name, (lo, hi) in self.terms.bounds.items():
            if name in here or name.startswith("x"):
                self._declare(name, lo, hi)
        named, self.order = self._named(order, uses), order
        for k in order:
            if uses[k] == 0 and self.terms.all[k].op == "sum":
                continue  # the side of an atom, which writes it itself
            self.text[k] = self._expression(k)
            if k in named:
                self._name(k)
        formula = self._formula(self.query.formula)
        self.lines.append(f"(assert {_join('or', [formula, *dict.fromkeys(self.undefined)])})")
        return self.lines

    @property
    def is_linear(self) -> bool:
        """Whether no reachable term leaves piecewise-linear arithmetic; known after :meth:`write`."""
        return not any(self.terms.all[k].op not in ("num", "var", "sum", "min", "max", "abs") for k in self.order)

    @property
    def is_transcendental(self) -> bool:
        """Whether a reachable term is transcendental; known after :meth:`write`."""
        return any(self.terms.all[k].op in TRANSCENDENTAL for k in self.order)

    def _reachable(self, wanted: Sequence[int]) -> tuple[list[int], dict[int, int]]:
        """The terms needed, arguments first, and how often each is used."""
        uses = dict.fromkeys(wanted, 0)  # the formula writes the outermost operation of a side itself
        for k in range(len(self.terms.all) - 1, -1, -1):
            if k in uses:
                for a in self.terms.all[k].args:
                    uses[a] = uses.get(a, 0) + 1
        return sorted(uses), uses

    def _named(self, order: Sequence[int], uses: dict[int, int]) -> set[int]:
        """Terms that get a name: shared ones, those whose text would be repeated, those too deep, and for dReal those that it would fold."""
        dreal, named, depth, weight, costly = self.dialect == "dreal", set(), dict[int, int](), dict[int, int](), dict[int, bool]()
        summed = {a for k in order if dreal and self.terms.all[k].op == "sum" for a in self.terms.all[k].args}
        repeated = () if dreal else ("min", "max", "abs", "pow", "sqrt")
        for k in order:
            term = self.terms.all[k]
            inner = [a for a in term.args if a not in named]
            depth[k], weight[k] = 1 + max((depth[a] for a in inner), default=0), 1 + sum(weight[a] for a in inner)
            costly[k] = not dreal or term.op in TRANSCENDENTAL or weight[k] >= COSTLY or any(costly[a] for a in inner)
            if term.op not in ("num", "var") and ((uses[k] > 1 and costly[k]) or depth[k] > DEEPEST or (k in summed and term.op == "sum")):
                named.add(k)
            if term.op in repeated:
                named.update(a for a in term.args if self.terms.all[a].op not in ("num", "var"))
        return named

    def _declare(self, name: str, lo: Fraction, hi: Fraction) -> None:
        outward = self.dialect == "dreal"
        low, high = (decimal_number(floor_float(lo)), decimal_number(ceil_float(hi))) if outward else (exact_number(lo), exact_number(hi))
        self.lines += [f"(declare-fun {name} () Real)", f"(assert (<= {low} {name}))", f"(assert (<= {name} {high}))"]

    def _name(self, k: int) -> None:
        name = f"t{k}"
        if self.dialect == "dreal":
            self.lines += [f"(declare-fun {name} () Real)", f"(assert (= {name} {self.text[k]}))"]
        else:
            self.lines.append(f"(define-fun {name} () Real {self.text[k]})")
        self.text[k] = name

    def _fresh(self, name: str, condition: str, equation: str) -> str:
        """A declared variable that an equation determines wherever the condition holds."""
        self.lines += [f"(declare-fun {name} () Real)", f"(assert (=> {condition} {equation}))"]
        return name

    def number(self, q: Fraction) -> str:
        """A rational in the dialect."""
        if self.dialect != "dreal":
            return exact_number(q)
        if floor_float(q) == ceil_float(q):
            return decimal_number(float(q))
        if q not in self.constants:
            self.constants[q] = f"c{len(self.constants)}"
            self._declare(self.constants[q], q, q)
        return self.constants[q]

    # terms

    def _expression(self, k: int) -> str:
        term = self.terms.all[k]
        args = [self.text[a] for a in term.args]
        if isinstance(term.data, Fraction):
            return self.number(term.data)
        if term.op == "var":
            return str(term.data)
        if term.op == "sum":
            return self._sum(args, *term.data)
        if term.op == "mul":
            return f"(* {args[0]} {args[1]})"
        if term.op == "pow":
            return f"(^ {args[0]} {term.data})" if self.dialect == "dreal" else f"(* {' '.join(args * term.data)})"
        if term.op == "div":
            self.undefined.append(f"(= {args[1]} {self.number(ZERO)})")
            return f"(/ {args[0]} {args[1]})"
        return self._kink(term.op, args) if term.op in ("min", "max", "abs") else self._function(k, term.op, args[0])

    def _sum(self, args: Sequence[str], coefficients: Sequence[Fraction], constant: Fraction) -> str:
        parts = [a if c == 1 else f"(- {a})" if c == -1 else f"(* {self.number(c)} {a})" for a, c in zip(args, coefficients, strict=True)]
        return _join("+", parts + ([self.number(constant)] if constant else []))

    def _kink(self, op: str, args: Sequence[str]) -> str:
        if self.dialect == "dreal":
            return f"({op} {' '.join(args)})"
        if op == "abs":
            return f"(ite (>= {args[0]} 0) {args[0]} (- {args[0]}))"
        return f"(ite ({'<=' if op == 'min' else '>='} {args[0]} {args[1]}) {args[0]} {args[1]})"

    def _function(self, k: int, op: str, z: str) -> str:
        zero, one, cvc5 = self.number(ZERO), self.number(ONE), self.dialect == "cvc5"
        if op == "sqrt":
            self.undefined.append(f"(< {z} {zero})")
            return f"(sqrt {z})" if self.dialect == "dreal" else self._fresh(f"s{k}", f"(>= {z} 0)", f"(and (>= s{k} 0) (= (* s{k} s{k}) {z}))")
        if op == "log":
            self.undefined.append(f"(<= {z} {zero})")
        if op in ("log", "softplus"):
            inner = z if op == "log" else f"(+ {one} (exp {z}))"
            return self._fresh(f"s{k}", f"(> {inner} 0)", f"(= (exp s{k}) {inner})") if cvc5 else f"(log {inner})"
        if op == "sigmoid":
            return f"(/ {one} (+ {one} (exp (- {z}))))"
        if cvc5 and op == "tanh":
            return f"(- 1 (/ 2 (+ 1 (exp (* 2 {z})))))"
        return f"({'arctan' if cvc5 and op == 'atan' else op} {z})"

    # the formula

    def _formula(self, formula: Formula) -> str:
        if isinstance(formula, Atom):
            return self._atom(formula)
        parts = [self._formula(part) for part in formula.parts]
        if isinstance(formula, And):
            return _join("and", parts) if parts else "true"
        return _join("or", parts) if parts else "false"

    def _atom(self, atom: Atom) -> str:
        """``sum c_k t_k <= bound`` with the constants of both sides on the right, in one number."""
        side = self.terms.all[self.sides[atom]]
        coefficients, constant = (side.data if side.op == "sum" else ((ONE,), ZERO))
        if side.op == "num":
            args, coefficients, constant = [], (), self.terms.value(self.sides[atom]) or ZERO
        else:
            args = [self.text[a] for a in side.args] if side.op == "sum" else [self.text[self.sides[atom]]]
        right = decimal_number(ceil_float(-constant)) if self.dialect == "dreal" else exact_number(-constant)
        return f"({'<' if atom.strict else '<='} {self._sum(args, coefficients, ZERO) if args else self.number(ZERO)} {right})"


def _join(op: str, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({op} {' '.join(parts)})"


def to_smtlib(query: Query, *, logic: str | None = None, dialect: str = "standard", header: Sequence[str] = ()) -> str:
    r"""Write a query in SMT-LIB 2.

    .. math:: \exists x \in [l, h], p: \varphi(g(x, p)) \text{ or } g \text{ is undefined at } (x, p)

    Parameters
    ----------
    query : Query
        Its inputs are called ``x0 x1 ...``, unknown constants ``p...``, shared terms ``t...``.
    logic : str or None
        None takes the smallest of QF_LRA and QF_NRA (with dReal's functions where there are any; cvc5: QF_NRAT).
    dialect : str
        ``standard``, ``dreal`` or ``cvc5``; see the module.
    header : sequence of str
        Lines of comment at the top.

    Returns
    -------
    str
        Ends with ``(check-sat)``.  Direction: *unsat* implies that the query is unsatisfiable and that every reachable term is defined on the box.

    Raises
    ------
    ValueError
        For an unknown dialect.
    OverflowError
        For dReal, when a number exceeds the range of float64.
    """
    writer = Writer(query, dialect)
    lines = writer.write()
    if logic is None:
        logic = "QF_LRA" if writer.is_linear else "QF_NRAT" if writer.is_transcendental and dialect == "cvc5" else "QF_NRA"
    comment: Callable[[str], str] = lambda text: "; " + " ".join(text.split())  # noqa: E731
    return "\n".join([*map(comment, header), f"(set-logic {logic})", *lines, "(check-sat)"]) + "\n"


def is_polynomial(query: Query) -> bool:
    """Whether all reachable terms are piecewise rational or roots: what z3 decides exactly."""
    writer = Writer(query, "standard")
    writer.write()
    return not writer.is_transcendental
