r"""Lipschitz bounds of a network from diagonal multipliers (proof kind ``lipschitz_sdp``); theorem and proof: docs/theory/lipschitz.md.

The network is read in *differences*: for two inputs x, x' put z = (x - x', w - w') with w the outputs of all neurons.  Then
y - y' = H z, each neuron's argument differs by a row of V z, and its output by ``E z`` with slopes in [a, b].  With multipliers t >= 0

.. math:: M(t) = \gamma^2 I_x - H^\top H - \mathrm{sym}\,(E - \mathrm{diag}(a) V)^\top \mathrm{diag}(t)\,(\mathrm{diag}(b) V - E) \succ 0

implies |y - y'| <= gamma |x - x'|.  M is formed and tested in exact rationals; only slopes over a domain come from enclosures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.bundle import Bundle
from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.definite import Exact, integers, is_dominant_after_scaling, rationals
from verifiers.kernel.graph import BINARY, NONSMOOTH, UNARY, Floats, Graph, Node, read
from verifiers.kernel.jets import Jet, JetReading, smooth_derivatives, split_boxes
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.rational import parse_vector
from verifiers.kernel.requirement import LIPSCHITZ, BoundRequirement, Box
from verifiers.kernel.setting import outward
from verifiers.kernel.strict import take

MAX_SIZE = 320
_ZERO, _ONE = Fraction(0), Fraction(1)
SLOPES = {"tanh": (_ZERO, _ONE), "sigmoid": (_ZERO, _ONE / 4), "softplus": (_ZERO, _ONE), "atan": (_ZERO, _ONE), "sin": (-_ONE, _ONE),
          "cos": (-_ONE, _ONE)}  # on all reals


@dataclass(frozen=True)
class Differences:
    """A network in differences: H (m, K), V (N, K), and the neurons' slopes a, b (N,); the first ``inputs`` of the K columns are x - x', and
    those of the unknown constants, which count as inputs."""

    inputs: int
    output: Exact
    arguments: Exact
    low: Exact
    high: Exact

    def sectors(self, multipliers: Sequence[Fraction]) -> Exact:
        """The last term of M(t), symmetric (K, K), exact: at least 0 for every z of the network where t >= 0."""
        count = len(self.low)
        own = np.hstack([np.zeros((count, self.inputs), dtype=object), np.eye(count, dtype=object)])
        below, above = own - self.low[:, None] * self.arguments, self.high[:, None] * self.arguments - own
        product = times(below.T, rationals(multipliers)[:, None] * above)
        return np.asarray((product + product.T) / 2).reshape(self.inputs + count, self.inputs + count)

    def matrix(self, bound: Fraction, multipliers: Sequence[Fraction]) -> Exact:
        """M(t), symmetric (K, K), exact."""
        square = np.diag(rationals([bound * bound] * self.inputs + [Fraction(0)] * len(self.low)))
        return np.asarray(square - times(self.output.T, self.output) - self.sectors(multipliers))

    def proves(self, bound: Fraction, multipliers: Sequence[Fraction]) -> bool:
        """True only if the multipliers are not negative and M(t) is positive definite."""
        return all(t >= 0 for t in multipliers) and is_dominant_after_scaling(self.matrix(bound, multipliers))


def times(a: Exact, b: Exact) -> Exact:
    """The exact product, formed in integers."""
    (left, p), (right, q) = integers(a), integers(b)
    return np.asarray(left @ right * Fraction(1, p * q))


class _Arguments(JetReading):
    """Encloses the argument of every elementwise function over one box; read by the identity of its node."""

    def __init__(self, radius: Floats) -> None:
        super().__init__(radius, 1)
        self.ends: dict[int, tuple[list[float], list[float]]] = {}

    def unary(self, node: Node, x: Jet) -> Jet:
        low, high = self.bounds(x)
        self.ends[id(node)] = np.broadcast_to(low[0], node.size).tolist(), np.broadcast_to(high[0], node.size).tolist()
        return super().unary(node, x)

    def binary(self, node: Node, a: Jet, b: Jet) -> Jet:
        if node.op in ("min", "max"):  # kinked where a = b
            low, high = self.bounds(super().binary(replace(node, op="sub"), a, b))
            self.ends[id(node)] = np.broadcast_to(low[0], node.size).tolist(), np.broadcast_to(high[0], node.size).tolist()
        return super().binary(node, a, b)


@dataclass
class _Value:
    """An entry vector: its differences as rows over z, and its value where it is constant."""

    rows: Exact
    fixed: Exact | None = None


@dataclass
class _Reading:
    """Reads a network in differences; neurons are numbered as they are met."""

    size: int
    inputs: int
    known: int
    ends: Mapping[int, tuple[list[float], list[float]]]
    arguments: list[Exact] = field(default_factory=list)
    slopes: list[tuple[Fraction, Fraction]] = field(default_factory=list)

    def const(self, node: Node) -> _Value:
        rows = np.zeros((node.size, self.size), dtype=object)
        for row, (lo, hi) in zip(rows, node.data, strict=True):
            if lo < hi:
                row[self.known] = Fraction(1)
                self.known += 1
        return _Value(rows, None if rows.any() else rationals([lo for lo, _ in node.data]))

    def affine(self, node: Node, x: _Value) -> _Value:
        weight = rationals(node.data.rational()[0])
        columns = [weight[:, column != 0] @ column[column != 0] for column in x.rows.T]  # most columns hold one entry or none
        return _Value(rationals(columns).T.reshape(node.size, self.size))

    def take(self, node: Node, x: _Value) -> _Value:
        picked = list(node.data)
        return _Value(x.rows[picked], None if x.fixed is None else x.fixed[picked])

    def concat(self, node: Node, parts: list[_Value]) -> _Value:
        return _Value(np.vstack([p.rows for p in parts]))

    def unary(self, node: Node, x: _Value) -> _Value:
        if node.op == "neg":
            return _Value(-x.rows)
        return _Value(self._neurons(x.rows, self._bounded(node)))

    def binary(self, node: Node, a: _Value, b: _Value) -> _Value:
        if node.op in ("add", "sub"):
            return _Value(a.rows + b.rows if node.op == "add" else a.rows - b.rows)
        if node.op in ("min", "max"):  # max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b)
            above = self._neurons(a.rows - b.rows, self._bounded(node))
            return _Value(b.rows + above if node.op == "max" else a.rows - above)
        if node.op == "mul" and b.fixed is None:
            a, b = b, a
        factor = b.fixed
        if factor is None or (node.op == "div" and not factor.all()):
            raise Refusal(Code.UNSUPPORTED, node.op, "a product or quotient is bounded here only with a constant that is not zero")
        return _Value((factor if node.op == "mul" else 1 / factor)[:, None] * a.rows)

    def _bounded(self, node: Node) -> list[tuple[Fraction, Fraction]]:
        return _slopes(node, *self.ends.get(id(node), ([-math.inf] * node.size, [math.inf] * node.size)))

    def _neurons(self, arguments: Exact, slopes: list[tuple[Fraction, Fraction]]) -> Exact:
        rows = np.zeros((len(slopes), self.size), dtype=object)
        for row, argument, slope in zip(rows, arguments, slopes, strict=True):
            row[self.inputs + len(self.slopes)] = 1
            self.arguments.append(argument)
            self.slopes.append(slope)
        return rows


def _slopes(node: Node, lo: list[float], hi: list[float]) -> list[tuple[Fraction, Fraction]]:
    """Bounds of (f(u) - f(v)) / (u - v) for u, v in [lo, hi], entry by entry."""
    if node.op in NONSMOOTH:
        left, right = {"leaky_relu": node.data, "abs": Fraction(-1)}.get(node.op, Fraction(0)), Fraction(1)
        return [(right if low >= 0 else left, left if high <= 0 else right) for low, high in zip(lo, hi, strict=True)]
    least, most = SLOPES.get(node.op, (None, None))
    if not np.isfinite([*lo, *hi]).all():
        if least is None or most is None:
            raise Refusal(Code.UNSUPPORTED, node.op, "its slope is bounded only over a [domain] on which its argument is bounded")
        return [(least, most)] * node.size
    first = smooth_derivatives(node.op, np.array(lo), np.array(hi), node.data if node.op == "pow" else 0)[1]
    need(np.isfinite(first).all(), Code.UNSUPPORTED, node.op, "its slope is not bounded over the domain")
    found = zip(map(Fraction, first[0].tolist()), map(Fraction, first[1].tolist()), strict=True)
    return [(a if least is None else max(a, least), b if most is None else min(b, most)) for a, b in found]


def differences(network: Graph, domain: Box | None) -> Differences:
    """Read a network in differences, with the slopes that hold over the domain (everywhere without one).

    Raises
    ------
    Refusal
        ``UNSUPPORTED`` for a product of two values that both vary, or a function whose slope has no bound; ``BAD_SHAPE``, ``TOO_LARGE``.
    """
    own, ends = network.input_sizes[0], {}
    unknown = sum(lo < hi for node in network.nodes if node.op == "const" for lo, hi in node.data)
    inputs, count = own + unknown, sum(layers(network))
    need(inputs + count <= MAX_SIZE, Code.TOO_LARGE, "controller.onnx", f"{count} neurons and {inputs} inputs; at most {MAX_SIZE} together are read")
    if domain is not None:
        need(len(domain.lo) == own, Code.BAD_SHAPE, "domain", f"the controller has {own} inputs, the domain {len(domain.lo)} coordinates")
        lo, hi = outward(domain.lo, domain.hi)
        centre, radius = split_boxes(lo[None], hi[None])
        over = _Arguments(radius)
        read(network, over, [over.start(centre)])
        ends = over.ends
    reading = _Reading(inputs + count, inputs, own, ends)
    (out,) = read(network, reading, [_Value(np.eye(own, inputs + count, dtype=object))])
    sides = rationals(reading.slopes).reshape(-1, 2)
    return Differences(inputs, out.rows, rationals(reading.arguments).reshape(-1, inputs + count), sides[:, 0], sides[:, 1])


def layers(network: Graph) -> list[int]:
    """Numbers of neurons of the nodes that hold some, in the order in which they are numbered."""
    return [n.size for n in network.nodes if n.op in (UNARY | BINARY) - {"neg", "add", "sub", "mul", "div"}]


def claim_of(requirement: BoundRequirement) -> dict[str, Any]:
    """The claim that answers a requirement."""
    box = requirement.domain
    return {"property": LIPSCHITZ, "norm": requirement.norm, "bound": str(requirement.bound), "arithmetic": "real",
            "domain": None if box is None else {"lo": list(map(str, box.lo)), "hi": list(map(str, box.hi))}}


def check_bound(requirement: BoundRequirement, bundle: Bundle) -> tuple[str, int, float | None]:
    """Check the only obligation, ``bound``, of the bundle's controller.

    Returns
    -------
    (kind, 0, None)
        As the rules of the other properties do.

    Raises
    ------
    Refusal
        ``CLAIM_MISMATCH``, ``MISSING_OBLIGATION``, ``UNEXPECTED_OBLIGATION``, ``BAD_SHAPE``, ``NOT_DEFINITE``, ``UNSUPPORTED``, ``TOO_LARGE``, and
        what the readers raise.
    """
    need(bundle.claim == claim_of(requirement), Code.CLAIM_MISMATCH, "claim", "the certificate claims something else than the requirement demands")
    need("bound" in bundle.obligations, Code.MISSING_OBLIGATION, "bound", "the property demands this obligation")
    extra = sorted({*bundle.obligations, *bundle.functions} - {"bound"})
    need(not extra and not bundle.plant, Code.UNEXPECTED_OBLIGATION, "".join(extra[:1]) or "plant", "the property does not ask for this")
    given = bundle.obligations["bound"]
    need(given["kind"] == "lipschitz_sdp", Code.UNSUPPORTED, "bound", f"the proof kind {given['kind'][:40]!r} is not lipschitz_sdp")
    if bundle.controller is None:
        raise Refusal(Code.MISSING_FILE, "controller.onnx", "a bound is one of a controller")
    found = differences(read_onnx(bundle.controller, "controller.onnx").graph, requirement.domain)
    fields = take(given, "bound", {"kind": str, "multipliers": list})
    multipliers = parse_vector(fields["multipliers"], "bound.multipliers", len(found.low))
    need(found.proves(requirement.bound, multipliers), Code.NOT_DEFINITE, "bound",
         "a multiplier is negative, or the matrix of these multipliers is not proved positive definite at the bound demanded")
    return given["kind"], 0, None
