"""Random graphs for property tests, and an oracle in 60-digit arithmetic that shares nothing with the readings under test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from verifiers.kernel.graph import BINARY, UNARY, Affine, Builder, Graph, Node, affine_from_rational, read

F = Fraction
MP = mpmath.mp.clone()
MP.dps = 60
RANDOM = settings(max_examples=60, deadline=None,
                  suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])
STEP = MP.mpf(10) ** -20  # of central differences: truncation about 1e-40, cancellation about 1e-40

RATIONAL = frozenset({"neg", "relu", "abs", "leaky_relu", "pow", "add", "sub", "mul", "div", "min", "max", "affine", "const", "take", "concat"})
LINEAR = frozenset({"neg", "add", "sub", "affine", "const", "take", "concat"})
KINKED = frozenset({"relu", "abs", "leaky_relu", "min", "max"})
EVERY = frozenset(BINARY | UNARY | RATIONAL)
SMOOTH = EVERY - KINKED
RELAXED = EVERY | {"unknown"}
LARGEST = 8.0


# random graphs


@dataclass
class Garden:
    """Grows a random graph whose domains are valid and whose values stay below ``LARGEST`` for inputs in [-2, 2]."""

    draw: Callable[[Any], Any]
    ops: frozenset[str]

    def __post_init__(self) -> None:
        self.b = Builder()
        self.size = self.draw(st.integers(1, 3))
        self.pool = [self.b.input(self.size)]
        self.most = {self.pool[0]: 2.0}

    def pick(self) -> int:
        """An earlier node, the newest ones more often."""
        newest = self.pool[-4:]
        return self.draw(st.sampled_from(newest if self.draw(st.booleans()) else self.pool))

    def add(self, node: int, most: float) -> int:
        """Keep a node, scaled down by a power of two where its bound is too large."""
        if most > LARGEST:
            shrink = 2.0 ** -int(np.ceil(np.log2(most / LARGEST)))
            node, most = self.b.affine(node, Affine(shrink * np.eye(self.b.size(node)), np.zeros(self.b.size(node)))), most * shrink
        self.most[node] = max(most, self.most.get(node, 0.0))
        self.pool.append(node)
        return node

    def rational(self) -> Fraction:
        """A rational of modest size, often no float."""
        return self.draw(st.sampled_from([F(0), F(1), F(-1), F(1, 2), F(-3, 4), F(1, 3), F(-2, 7), F(5, 3)]))

    def matrix(self, rows: int, cols: int) -> Affine:
        """Coefficients of one of the two kinds: floats, or rationals."""
        if self.draw(st.booleans()):
            return affine_from_rational([[self.rational() for _ in range(cols)] for _ in range(rows)], [self.rational() for _ in range(rows)])
        rng = np.random.default_rng(self.draw(st.integers(0, 10**6)))
        return Affine(np.round(rng.normal(size=(rows, cols)), 2), np.round(rng.normal(size=rows), 2))

    def grow(self) -> None:
        """Add one random node (and what keeps its argument in its domain)."""
        b, op, x = self.b, self.draw(st.sampled_from(sorted(self.ops))), self.pick()
        n, most = b.size(x), self.most[x]
        if op == "affine":
            data = self.matrix(self.draw(st.integers(1, 3)), n)
            self.add(b.affine(x, data), float((np.abs(data.weight).sum(axis=1) * most + np.abs(data.bias)).max()))
        elif op in ("const", "unknown"):
            low = [self.rational() for _ in range(n)]
            node = b.const(low if op == "const" else [(q, q + F(1, 3)) for q in low])
            self.add(b.binary(self.draw(st.sampled_from(sorted({"add", "mul"} & self.ops))), x, node), 2 * most + 2)
        elif op == "take":
            self.add(b.take(x, self.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3))), most)
        elif op == "concat":
            y = self.pick()
            if n + b.size(y) <= 4:
                self.add(b.concat([x, y]), max(most, self.most[y]))
        elif op in BINARY:
            y = self.pick()
            y = y if b.size(y) in (1, n) or n == 1 else b.take(y, self.draw(st.lists(st.integers(0, b.size(y) - 1), min_size=n, max_size=n)))
            other = self.most.get(y, LARGEST)
            if op == "div":
                y = b.binary("add", b.unary("pow", y, 2), b.const([F(1, 2)]))
            self.add(b.binary(op, x, y), {"mul": most * other, "div": 2 * most}.get(op, most + other))
        else:
            data = {"pow": st.integers(0, 5), "leaky_relu": st.sampled_from([F(0), F(1, 10), F(1, 4), F(1)])}.get(op)
            k = None if data is None else self.draw(data)
            if op in ("log", "sqrt"):
                x, most = b.binary("add", b.unary("pow", x, 2), b.const([F(1, 4)])), most * most + 1
            top = {"pow": most ** (k if op == "pow" else 1), "exp": np.exp(most), "softplus": most + 1}.get(op, max(most, 2.0))
            self.add(b.unary(op, x, k), float(top))


@st.composite
def graphs(draw: Callable[[Any], Any], ops: frozenset[str] = EVERY, scalar: bool = False, most: int = 7) -> Graph:
    """A random graph of one input in [-2, 2]; with ``scalar``, its one output is the sum of the last node."""
    garden = Garden(draw, ops)
    for _ in range(draw(st.integers(1, most))):
        garden.grow()
    out = garden.pool[-1]
    if scalar:
        out = garden.b.affine(out, Affine(np.ones((1, garden.b.size(out))), np.zeros(1)))
    return garden.b.build([out])


@st.composite
def points(draw: Callable[[Any], Any], size: int) -> list[Fraction]:
    """A rational point of [-2, 2], often on a kink."""
    return [draw(st.one_of(st.integers(-8, 8).map(lambda k: F(k, 4)), st.floats(-2, 2).map(F))) for _ in range(size)]


def generic(seed: int, size: int) -> list[Fraction]:
    """A dyadic point of [-2, 2] that meets kinks only where a graph is flat."""
    return [F(v) for v in np.random.default_rng(seed).uniform(-2, 2, size).tolist()]


# the oracle


class MpReading:
    """Reading over points in 60-digit arithmetic; ``gap`` is the least distance of an argument from a kink."""

    def __init__(self) -> None:
        self.gap = MP.inf

    def const(self, node: Node) -> list[Any]:
        return [number((lo + hi) / 2) for lo, hi in node.data]

    def affine(self, node: Node, x: list[Any]) -> list[Any]:
        weight, bias = node.data.rational()
        return [sum((number(w) * v for w, v in zip(row, x, strict=True)), number(c)) for row, c in zip(weight, bias, strict=True)]

    def kink(self, z: Any) -> Any:
        self.gap = min(self.gap, abs(z))
        return z

    def unary(self, node: Node, x: list[Any]) -> list[Any]:
        functions: dict[str, Callable[[Any], Any]] = {
            "neg": lambda t: -t, "relu": lambda t: self.kink(t) if t > 0 else 0 * self.kink(t), "abs": lambda t: abs(self.kink(t)),
            "tanh": MP.tanh, "sigmoid": lambda t: 1 / (1 + MP.exp(-t)), "softplus": lambda t: MP.log(1 + MP.exp(t)), "sin": MP.sin, "cos": MP.cos,
            "exp": MP.exp, "log": MP.log, "sqrt": MP.sqrt, "atan": MP.atan, "pow": lambda t: t**node.data,
            "leaky_relu": lambda t: t if self.kink(t) > 0 else number(node.data) * t}
        return [functions[node.op](t) for t in x]

    def binary(self, node: Node, a: list[Any], b: list[Any]) -> list[Any]:
        functions: dict[str, Callable[[Any, Any], Any]] = {
            "add": lambda p, q: p + q, "sub": lambda p, q: p - q, "mul": lambda p, q: p * q, "div": lambda p, q: p / q,
            "min": lambda p, q: p if self.kink(p - q) < 0 else q, "max": lambda p, q: p if self.kink(p - q) > 0 else q}
        return [functions[node.op](p, q) for p, q in zip(a, b, strict=True)]

    def take(self, node: Node, x: list[Any]) -> list[Any]:
        return [x[i] for i in node.data]

    def concat(self, node: Node, parts: Sequence[list[Any]]) -> list[Any]:
        return [v for part in parts for v in part]


def number(q: Any) -> Any:
    """A rational, float or 60-digit number as a 60-digit number."""
    if isinstance(q, Fraction):
        return MP.mpf(q.numerator) / q.denominator
    return MP.mpf(q)


def oracle(graph: Graph, x: Sequence[Any]) -> list[Any]:
    return list(read(graph, MpReading(), [list(x)])[0])


def gap(graph: Graph, x: Sequence[Any]) -> Any:
    reading = MpReading()
    read(graph, reading, [list(x)])
    return reading.gap


def shifted(x: Sequence[Any], i: int, by: Any) -> list[Any]:
    return [v + by * (k == i) for k, v in enumerate(x)]


def difference(graph: Graph, x: Sequence[Any], i: int) -> Any:
    """Central difference of a scalar graph."""
    return (oracle(graph, shifted(x, i, STEP))[0] - oracle(graph, shifted(x, i, -STEP))[0]) / (2 * STEP)


def close(found: Sequence[Any], expected: Sequence[Any], tolerance: float) -> bool:
    return len(found) == len(expected) and all(abs(number(p) - q) <= tolerance * (1 + abs(q)) for p, q in zip(found, expected, strict=True))


def boxes(seed: int, n: int, count: int = 4) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Boxes of all sizes inside [-2, 2]: points, small ones, wide ones."""
    rng = np.random.default_rng(seed)
    centre, radius = rng.uniform(-1, 1, (count, n)), rng.uniform(0, 1, (count, n)) * np.array([0.0, 1e-6, 0.1, 1.0])[:count, None]
    return centre - radius, centre + radius, rng


def corner_heavy(rng: np.random.Generator, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """A point of the box, corners and faces more often."""
    return lo + (hi - lo) * np.clip(rng.uniform(-0.5, 1.5, lo.shape), 0.0, 1.0)
