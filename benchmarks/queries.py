r"""Queries whose answer is known by construction: for the conformance suite of the deciders, and for benchmarks.

How each truth is known stands at its maker: a maximum over a ball or of a monotone or convex network, an identity, or a state that satisfies it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np

from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Affine, Builder, Graph, affine_from_rational
from verifiers.load.floats import evaluate
from verifiers.smt.query import And, Formula, Or, Query, at_least, at_most

F = Fraction
Args = tuple[Any, ...]
MARGIN, COUPLING = F(1, 100), F(1, 20)


@dataclass(frozen=True, eq=False)
class Case:
    """A query with its truth (``sat`` or ``unsat``), kind, number of neurons, whether only irrational states satisfy it, and why it is known."""

    name: str
    kind: str
    query: Query
    truth: str
    neurons: int = 0
    irrational: bool = False
    why: str = ""

    @property
    def is_algebraic(self) -> bool:
        """Whether z3 and cvc5 have to decide it."""
        return self.kind in ("polynomial", "piecewise linear") and not self.irrational


def row(b: Builder, x: int, weights: Sequence[Fraction | int], constant: Fraction | int = 0) -> int:
    """One linear form of a node."""
    return b.affine(x, affine_from_rational([[F(w) for w in weights]], [F(constant)]))


def square_box(graph: Graph, radius: Fraction | int, formula: Formula) -> Query:
    """The query over the box [-radius, radius]^n."""
    n = graph.input_sizes[0]
    return Query(graph, (F(-radius),) * n, (F(radius),) * n, formula)


# polynomials


def ball(n: int, slack: Fraction) -> Query:
    """|x|^2 <= 1 and sum x_i >= sqrt(n) + slack: unsat for slack > 0; sat for slack < 0 (then at x_i = 1/sqrt(n))."""
    b = Builder()
    x = b.input(n)
    g = b.build([b.concat([row(b, b.unary("pow", x, 2), [1] * n), row(b, x, [1] * n)])])
    root = F(int(np.floor(np.sqrt(n) * 10**9)) + (slack > 0), 10**9)
    return square_box(g, 2, And((at_most(0, F(1)), at_least(1, root + slack))))


def motzkin(bound: Fraction) -> Query:
    """x^4 y^2 + x^2 y^4 - 3 x^2 y^2 + 1 <= bound: the polynomial is at least 0, and 0 at (1, 1)."""
    b = Builder()
    x = b.unary("pow", b.input(2), 2)
    p, q = b.take(x, (0,)), b.take(x, (1,))
    pq = b.binary("mul", p, q)
    g = b.build([row(b, b.concat([b.binary("mul", pq, p), b.binary("mul", pq, q), pq]), [1, 1, -3], 1)])
    return square_box(g, 2, at_most(0, bound))


def van_der_pol(pairs: int, level: Fraction, coupling: Fraction = COUPLING) -> Query:
    r"""Coupled reversed van der Pol oscillators: V <= level, |x|^2 >= 1/100 and V' >= 0, with V = sum of 3/2 x^2 - x y + y^2.

    V solves the Lyapunov equation A'P + PA = -I of the uncoupled linearisation.  For one pair V' = -r^2 + (2 y - x) x^2 y with r^2 = x^2 + y^2, and
    |(2 y - x) x^2 y| <= 2.24 * 0.385 r^4 < r^2 for r^2 <= 1.15; V <= 3/4 gives r^2 <= 1.09 (V >= 0.69 r^2): unsat.  Of n pairs each adds to its
    neighbours' y' the coupling times its x: at most coupling * sqrt(5) * 2 cos(pi/(n + 1)) |x|^2 in V', 0.16 |x|^2 for 3 pairs at 1/20; with
    V <= 13/20 each r^2 <= 0.95 and V' <= (-1 + 0.82 + 0.16) |x|^2 < 0: unsat.  At level 4 the state (3/2, 3/2, 0, ...) has V = 27/8 and
    V' = -9/2 + 81/16 > 0 (its neighbour's y is 0, and slope_y' = 2 * 0 - 0): sat.
    """
    b = Builder()
    x = b.input(2 * pairs)
    p, q = b.take(x, range(0, 2 * pairs, 2)), b.take(x, range(1, 2 * pairs, 2))
    pp, pq, qq = b.unary("pow", p, 2), b.binary("mul", p, q), b.unary("pow", q, 2)
    ones = [1] * pairs
    v = row(b, b.concat([pp, pq, qq]), [F(3, 2)] * pairs + [-1] * pairs + ones)
    # each oscillator is driven by its neighbours' first states
    pull = b.affine(p, affine_from_rational([[coupling if abs(i - j) == 1 else F(0) for j in range(pairs)] for i in range(pairs)], [F(0)] * pairs))
    field_q = b.binary("add", b.binary("add", b.binary("sub", p, q), b.binary("mul", pp, q)), pull)
    slope_p = b.affine(b.concat([p, q]), affine_from_rational(
        [[F(3) * (i == j) for j in range(pairs)] + [F(-1) * (i == j) for j in range(pairs)] for i in range(pairs)], [F(0)] * pairs))
    slope_q = b.affine(b.concat([p, q]), affine_from_rational(
        [[F(-1) * (i == j) for j in range(pairs)] + [F(2) * (i == j) for j in range(pairs)] for i in range(pairs)], [F(0)] * pairs))
    d = row(b, b.concat([b.binary("mul", slope_p, b.unary("neg", q)), b.binary("mul", slope_q, field_q)]), ones * 2)
    g = b.build([b.concat([v, d, row(b, b.concat([pp, qq]), ones * 2)])])
    return square_box(g, 3, And((at_most(0, level), at_least(1, F(0)), at_least(2, F(1, 100)))))


def witch(bound: Fraction) -> Query:
    """x / (1 + x^2) >= bound: the maximum is 1/2, at x = 1."""
    b = Builder()
    x = b.input(1)
    g = b.build([b.binary("div", x, row(b, b.unary("pow", x, 2), [1], 1))])
    return square_box(g, 5, at_least(0, bound))


def cubic_map(radius: Fraction) -> Query:
    """x+ = x/2 + x^3/4 with V = x^2: (x+)^2 >= x^2 and x^2 >= 1/100; |x+| < |x| exactly for x^2 < 2."""
    b = Builder()
    x = b.input(1)
    after = row(b, b.concat([x, b.unary("pow", x, 3)]), [F(1, 2), F(1, 4)])
    square = b.unary("pow", x, 2)
    g = b.build([b.concat([b.binary("sub", b.unary("pow", after, 2), square), square])])
    return square_box(g, radius, And((at_least(0, F(0)), at_least(1, F(1, 100)))))


def root_of_two() -> Query:
    """x^2 = 2: satisfied by irrational states only."""
    b = Builder()
    g = b.build([b.unary("pow", b.input(1), 2)])
    return square_box(g, 2, And((at_most(0, F(2)), at_least(0, F(2)))))


def cone(bound: Fraction) -> Query:
    """sqrt(x^2 + y^2 + 1/4) <= bound: the minimum is 1/2, at 0."""
    b = Builder()
    g = b.build([b.unary("sqrt", row(b, b.unary("pow", b.input(2), 2), [1, 1], F(1, 4)))])
    return square_box(g, 1, at_most(0, bound))


def annuli(outer: Fraction) -> Query:
    """In one of two discs about (-1, 0) and (1, 0) of radius 1/2, and at least ``outer`` from 0: the farthest point is at 3/2."""
    b = Builder()
    x = b.input(2)
    discs = [row(b, b.unary("pow", b.affine(x, affine_from_rational([[F(1), F(0)], [F(0), F(1)]], [F(c), F(0)])), 2), [1, 1]) for c in (1, -1)]
    g = b.build([b.concat([*discs, row(b, b.unary("pow", x, 2), [1, 1])])])
    return square_box(g, 2, And((Or((at_most(0, F(1, 4)), at_most(1, F(1, 4)))), at_least(2, outer * outer))))


# networks


def network(seed: int, sizes: Sequence[int], op: str, *, positive: str = "none") -> Graph:
    """A network with weights in eighths; ``positive``: ``none``, ``later`` (all layers but the first: convex for relu) or ``all`` (monotone)."""
    rng, b = np.random.default_rng(seed), Builder()
    x = b.input(sizes[0])
    for k, (n, m) in enumerate(pairwise(sizes)):
        weight, bias = rng.integers(-8, 9, (m, n)) / 8.0, rng.integers(-8, 9, m) / 8.0
        if positive == "all" or (positive == "later" and k > 0):
            weight = np.abs(weight)
        x = b.affine(x, Affine(weight / max(1.0, n / 4), bias))
        if k < len(sizes) - 2:
            x = b.unary(op, x)
    return b.build([x])


def convex_relu(seed: int, sizes: Sequence[int], slack: Fraction) -> Query:
    """Output of a convex network on [-1, 1]^n >= its maximum, which a corner attains, + slack."""
    g = network(seed, sizes, "relu", positive="later")
    top = max(evaluate_exact(g, [F(v) for v in corner])[0] for corner in product((-1, 1), repeat=sizes[0]))
    return square_box(g, 1, at_least(0, top + slack))


def monotone(seed: int, sizes: Sequence[int], op: str, slack: Fraction) -> Query:
    """Output of a monotone network on [-1, 1]^n >= its value at the upper corner, + slack (far above rounding errors)."""
    g = network(seed, sizes, op, positive="all")
    return square_box(g, 1, at_least(0, F(float(evaluate(g, np.ones((1, sizes[0])))[0, 0])) + slack))


def twins(seed: int, inputs: int, hidden: int, op: str, gap: Fraction) -> Query:
    """A one-layer network minus the same network with permuted units: identically 0."""
    rng, b = np.random.default_rng(seed), Builder()
    w, c, v = rng.integers(-8, 9, (hidden, inputs)) / 8.0, rng.integers(-8, 9, hidden) / 8.0, rng.integers(-8, 9, (1, hidden)) / 8.0
    order = rng.permutation(hidden)
    x = b.input(inputs)
    one = b.affine(b.unary(op, b.affine(x, Affine(w, c))), Affine(v, np.zeros(1)))
    two = b.affine(b.unary(op, b.affine(x, Affine(w[order], c[order]))), Affine(v[:, order], np.zeros(1)))
    return square_box(b.build([b.binary("sub", one, two)]), 1, Or((at_least(0, gap), at_most(0, -gap))))


def one_norm(n: int, bound: Fraction) -> Query:
    """|x_1| + ... + |x_n| >= bound on [-1, 1]^n: the maximum is n."""
    b = Builder()
    g = b.build([row(b, b.unary("abs", b.input(n)), [1] * n)])
    return square_box(g, 1, at_least(0, bound))


def saturated(bound: Fraction) -> Query:
    """A saturated command clip(-3 x - 2 y, -1, 1) >= bound: the maximum is 1."""
    b = Builder()
    g = b.build([b.clip(row(b, b.input(2), [-3, -2]), [F(-1)], [F(1)])])
    return square_box(g, 1, at_least(0, bound))


def leaky(bound: Fraction) -> Query:
    """leaky_relu(x) with slope 1/10 <= bound on [-1, 1]: the minimum is -1/10."""
    b = Builder()
    g = b.build([b.unary("leaky_relu", b.input(1), F(1, 10))])
    return square_box(g, 1, at_most(0, bound))


def lyapunov_tanh(hidden: Sequence[int], sat: bool) -> Query:
    r"""x' = -x in the plane with V = |x|^2 + N(x), N a small tanh network: |x| >= 1/10 and V' >= 0.

    V' = -2 |x|^2 - grad N . x; the last layer is scaled so that |grad N| <= 1/10, hence V' <= -2 r^2 + r/10 < 0 for r >= 1/10: unsat.
    ``sat`` asks for V' >= -2 r^2 - 1/5 instead, which holds everywhere with r <= 2.
    """
    from verifiers.load.derivative import lie_derivative

    g = network(7, [2, *hidden, 1], "tanh")
    bound = 1.0
    for node in g.nodes:
        if node.op == "affine":
            bound *= float(np.linalg.norm(node.data.weight, 2))
    b = Builder()
    x = b.input(2)
    scale = F(1, 10 * int(np.ceil(bound)))
    v = b.build([row(b, b.concat([b.unary("pow", x, 2), b.inline(g, [x])[0]]), [1, 1, scale])])
    f = Builder()
    field = f.build([f.unary("neg", f.input(2))])
    b = Builder()
    x = b.input(2)
    square = row(b, b.unary("pow", x, 2), [1, 1])
    d = b.inline(lie_derivative(v, field), [x])[0]
    out = b.build([b.concat([d, square, row(b, b.concat([d, square]), [1, 2])])])
    return square_box(out, 1, And((at_least(1, F(1, 100)), at_least(2, F(-1, 5)) if sat else at_least(0, F(0)))))


# elementary functions


def single(op: str, radius: tuple[Fraction | int, Fraction | int], formula: Formula, terms: Sequence[int] = (1, 0), constant: int = 0) -> Query:
    """terms[0] op(x) + terms[1] x + constant over an interval."""
    b = Builder()
    x = b.input(1)
    g = b.build([row(b, b.concat([b.unary(op, x), x]), terms, constant)])
    return Query(g, (F(radius[0]),), (F(radius[1]),), formula)


def below_identity(gap: Fraction) -> Query:
    """sin x - x >= gap on [0, 3] (gap <= 0: sin x - x <= gap): sin x < x for x > 0, and sin 3 - 3 < -2."""
    return single("sin", (0, 3), at_least(0, gap) if gap > 0 else at_most(0, gap), (1, -1))


def arctan(bound: Fraction) -> Query:
    """arctan x >= bound on [-2, 2]: the maximum is arctan 2 = 1.107..."""
    return single("atan", (-2, 2), at_least(0, bound))


def exp_tangent(gap: Fraction) -> Query:
    """exp x - x - 1 <= gap on [-2, 2]: convex, the minimum is 0, at 0."""
    return single("exp", (-2, 2), at_most(0, gap), (1, -1), -1)


def log_tangent(gap: Fraction) -> Query:
    """log x - x + 1 >= gap on [1/10, 5]: concave, the maximum is 0, at 1."""
    return single("log", (F(1, 10), 5), at_least(0, gap), (1, -1), 1)


def tanh_bound(bound: Fraction) -> Query:
    """tanh x >= bound on [-5, 5]: the maximum is tanh 5 = 0.99990..."""
    return single("tanh", (-5, 5), at_least(0, bound))


def pythagoras(n: int, bound: Fraction) -> Query:
    """sum of sin(x_i)^2 + cos(x_i)^2 >= n + bound: the sum is n."""
    b = Builder()
    x = b.input(n)
    g = b.build([row(b, b.concat([b.unary("pow", b.unary(op, x), 2) for op in ("sin", "cos")]), [1] * (2 * n), -n)])
    return square_box(g, 4, at_least(0, bound))


def sines(n: int, bound: Fraction) -> Query:
    """sum of sin(x_i) >= n + bound on [-4, 4]^n: the maximum is n, at pi/2."""
    b = Builder()
    g = b.build([row(b, b.unary("sin", b.input(n)), [1] * n, -n)])
    return square_box(g, 4, at_least(0, bound))


def pendulum(gain: Fraction) -> Query:
    r"""x' = y, y' = sin x - gain x - 2 y with E = 2 x^2 + 2 x y + y^2: E' >= 0 and r^2 >= 1/100 for |x|, |y| <= 1.

    E' = (4 x + 2 y) y + (2 x + 2 y)(sin x - gain x - 2 y) = -2 y^2 + (4 - 2 gain - 4) x y + 2 (x + y) sin x - 2 gain x^2.  With gain = 3 and
    sin x = s x, 0.84 <= s <= 1: E' = -2 y^2 + (2 s - 6) x y + (2 s - 6) x^2, a form with matrix [[-k, -k/2], [-k/2, -2]], k = 6 - 2 s in [4, 4.32]:
    determinant 2 k - k^2 / 4 > 0, negative definite: unsat.  With gain = 0 the state (1/2, 0) has E' = sin(1/2) > 0: sat.
    """
    b = Builder()
    z = b.input(2)
    x, y = b.take(z, (0,)), b.take(z, (1,))
    field_y = row(b, b.concat([b.unary("sin", x), x, y]), [1, -gain, -2])
    d = b.binary("add", b.binary("mul", row(b, z, [4, 2]), y), b.binary("mul", row(b, z, [2, 2]), field_y))
    g = b.build([b.concat([d, row(b, b.unary("pow", z, 2), [1, 1])])])
    return square_box(g, 1, And((at_least(0, F(0)), at_least(1, F(1, 100)))))


def two_names(op: str, gap: Fraction) -> Query:
    """One function by two names: 2 sigmoid(2 x) - 1 = tanh(x); softplus(x) - softplus(-x) = x."""
    b = Builder()
    x = b.input(1)
    if op == "tanh":
        out = row(b, b.concat([b.unary("sigmoid", row(b, x, [2])), b.unary("tanh", x)]), [2, -1], -1)
    else:
        out = row(b, b.concat([b.unary("softplus", x), b.unary("softplus", b.unary("neg", x)), x]), [1, -1, -1])
    return square_box(b.build([out]), 3, at_least(0, gap))


def _pair(name: str, kind: str, maker: Callable[..., Query], unsat: Args, sat: Args, neurons: int = 0) -> list[Case]:
    why = " ".join((maker.__doc__ or "").split())
    return [Case(f"{name}, {truth}", kind, maker(*given), truth, neurons, why=why) for truth, given in (("unsat", unsat), ("sat", sat))]


def _one(name: str, kind: str, maker: Callable[..., Query], given: Args, truth: str, neurons: int = 0, irrational: bool = False) -> Case:
    why = " ".join((maker.__doc__ or "").split())
    return Case(f"{name}, {truth}", kind, maker(*given), truth, neurons, irrational, why)


def cases() -> list[Case]:
    """Easy cases of each kind; :func:`larger_networks` and coupled oscillators (:func:`van_der_pol`) are for benchmarks."""
    m, poly, linear, trig, tanh = MARGIN, "polynomial", "piecewise linear", "trigonometric", "tanh"
    return [
        *_pair("ball 2-D", poly, ball, (2, m), (2, -m)), *_pair("ball 3-D", poly, ball, (3, m), (3, -m)),
        *_pair("ball 6-D", poly, ball, (6, F(1, 10)), (6, F(-1, 2))), *_pair("Motzkin", poly, motzkin, (-m,), (m,)),
        *_pair("van der Pol 2-D", poly, van_der_pol, (1, F(3, 4)), (1, F(4))), *_pair("quotient", poly, witch, (F(51, 100),), (F(49, 100),)),
        *_pair("cubic map", poly, cubic_map, (F(7, 5),), (F(2),)), *_pair("root", poly, cone, (F(49, 100),), (F(51, 100),)),
        *_pair("two discs", poly, annuli, (F(151, 100),), (F(149, 100),)),
        _one("square root of two", poly, root_of_two, (), "sat", irrational=True),
        *_pair("convex relu 2-8-1", linear, convex_relu, (1, (2, 8, 1), m), (1, (2, 8, 1), -m), 8),
        *_pair("convex relu 3-6-6-1", linear, convex_relu, (2, (3, 6, 6, 1), m), (2, (3, 6, 6, 1), -m), 12),
        *_pair("convex relu 6-8-1", linear, convex_relu, (3, (6, 8, 1), m), (3, (6, 8, 1), -m), 8),
        *_pair("monotone relu 4-8-8-1", linear, monotone, (4, (4, 8, 8, 1), "relu", m), (4, (4, 8, 8, 1), "relu", -m), 16),
        _one("twin relu 2-6-1", linear, twins, (5, 2, 6, "relu", F(1, 1000)), "unsat", 12),
        *_pair("1-norm 5-D", linear, one_norm, (5, 5 + m), (5, 5 - m)), *_pair("saturation", linear, saturated, (1 + m,), (1 - m,)),
        *_pair("leaky", linear, leaky, (-F(11, 100),), (-F(9, 100),)),
        *_pair("sin^2 + cos^2", trig, pythagoras, (1, m), (1, -m)), *_pair("sines 3-D", trig, sines, (3, m), (3, -m)),
        *_pair("pendulum", trig, pendulum, (F(3),), (F(0),)),
        *_pair("sin x against x", trig, below_identity, (m,), (-m,)), *_pair("arctan", trig, arctan, (F(6, 5),), (F(11, 10),)),
        *_pair("exp above its tangent", trig, exp_tangent, (-m,), (m,)), *_pair("log below its tangent", trig, log_tangent, (m,), (-m,)),
        *_pair("tanh below 1", tanh, tanh_bound, (F(1001, 1000),), (F(999, 1000),)),
        *_pair("monotone tanh 2-6-1", tanh, monotone, (6, (2, 6, 1), "tanh", m), (6, (2, 6, 1), "tanh", -m), 6),
        *_pair("monotone tanh 3-8-8-1", tanh, monotone, (7, (3, 8, 8, 1), "tanh", m), (7, (3, 8, 8, 1), "tanh", -m), 16),
        *_pair("monotone tanh 6-8-1", tanh, monotone, (8, (6, 8, 1), "tanh", m), (8, (6, 8, 1), "tanh", -m), 8),
        *_pair("tanh Lyapunov 2-6-1", tanh, lyapunov_tanh, ((6,), False), ((6,), True), 6),
        _one("tanh by sigmoid", tanh, two_names, ("tanh", F(1, 1000)), "unsat"),
        _one("softplus identity", tanh, two_names, ("softplus", F(1, 1000)), "unsat"),
    ]


def larger_networks() -> list[Case]:
    """Networks of more than 16 neurons, of the same kinds and known for the same reasons."""
    m, linear, tanh = MARGIN, "piecewise linear", "tanh"
    return [
        *_pair("convex relu 2-32-1", linear, convex_relu, (11, (2, 32, 1), m), (11, (2, 32, 1), -m), 32),
        *_pair("convex relu 4-12-12-1", linear, convex_relu, (12, (4, 12, 12, 1), m), (12, (4, 12, 12, 1), -m), 24),
        *_pair("convex relu 6-24-1", linear, convex_relu, (13, (6, 24, 1), m), (13, (6, 24, 1), -m), 24),
        *_pair("monotone relu 3-16-16-1", linear, monotone, (14, (3, 16, 16, 1), "relu", m), (14, (3, 16, 16, 1), "relu", -m), 32),
        *_pair("monotone relu 6-20-20-1", linear, monotone, (15, (6, 20, 20, 1), "relu", m), (15, (6, 20, 20, 1), "relu", -m), 40),
        _one("twin relu 2-10-1", linear, twins, (16, 2, 10, "relu", F(1, 100)), "unsat", 20),
        *_pair("monotone tanh 2-16-16-1", tanh, monotone, (17, (2, 16, 16, 1), "tanh", m), (17, (2, 16, 16, 1), "tanh", -m), 32),
        *_pair("monotone tanh 5-24-1", tanh, monotone, (18, (5, 24, 1), "tanh", m), (18, (5, 24, 1), "tanh", -m), 24),
        _one("twin tanh 2-10-1", tanh, twins, (19, 2, 10, "tanh", F(1, 100)), "unsat", 20),
        *_pair("tanh Lyapunov 2-20-1", tanh, lyapunov_tanh, ((20,), False), ((20,), True), 20),
        *_pair("tanh Lyapunov 2-16-16-1", tanh, lyapunov_tanh, ((16, 16), False), ((16, 16), True), 32),
    ]
