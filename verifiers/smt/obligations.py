r"""The obligations of a bundle as queries: each is *unsat* exactly when there is no state against it.

A shell claims that every state of :math:`\{V \le c\}` in the domain that is in no region proved before decreases and stays in the domain
(docs/theory/region.md).  The kernel shows that leaf by leaf; here the same is asked of the whole domain, without boxes, frames or rounding:

=========================  ==================================================================================================================
``shell-k.decrease``       :math:`V \le c,\ V_j > c_j,\ d \ge 0` (with a rate: :math:`d + \kappa V \ge 0` or :math:`V < 0`)
``shell-k.face-NAME-lo``   :math:`V \le c,\ V_j > c_j` on a face of the domain (continuous time)
``shell-k.image``          :math:`V \le c,\ V_j > c_j,\ f(x) \notin D` (discrete time)
``shell-k.command``        :math:`V \le c` and the command beyond its limits, where the requirement forbids saturation
``inner.target``           practical stability: :math:`V \le a` outside the target
``inner.invariant``        practical stability in discrete time: :math:`V \le a` and :math:`V(f(x)) > a`
``contains``, ``radius``   a state of the box or ball demanded that is in no region
=========================  ==================================================================================================================

Measurement errors of ``imitation_iss`` (or the push that they give to the command, by the constant of ``lipschitz``) are unknowns p like constants
in an interval; that constant and the bounds on the policy alone (``error``, ``fit``, ``regret``) are not asked.
What no query says: that the equilibrium exists, and what happens in its ellipsoid (matrix inequalities, docs/theory/local.md).  And a tree shows
:math:`d \le -\delta` where a query asks for :math:`d < 0` at each state: for a continuous d every trajectory still tends to the regions
proved before (LaSalle), but not in a bounded time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from verifiers.kernel.bundle import Bundle, open_bundle, read_file, requirement_name
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Builder, Graph, Node, affine_from_rational
from verifiers.kernel.rational import parse, parse_matrix, parse_vector
from verifiers.kernel.requirement import PRACTICAL, Requirement, read_requirement
from verifiers.kernel.setting import Setting, mistaken, open_setting, read_function
from verifiers.kernel.sos import polynomial_graph
from verifiers.kernel.stage import quadratic, strip_output
from verifiers.load.derivative import gradient
from verifiers.smt.query import And, Atom, Formula, Or, Query, at_least, at_most

Region = tuple[Graph, Fraction]
Named = tuple[str, Query]
STEEP = Fraction(2**537)


@dataclass
class Values:
    """The outputs of a query under construction, by name; each part is a slice of the output vector."""

    builder: Builder
    x: int
    parts: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, node: int) -> int:
        """Append a node's entries to the outputs; return the index of the first."""
        self.parts.append(node)
        self.size += self.builder.size(node)
        return self.size - self.builder.size(node)

    def value(self, function: Graph) -> int:
        """Append V(x)."""
        return self.add(self.builder.inline(function, [self.x])[0])


@dataclass(frozen=True, eq=False)
class Claim:
    """What the certificate of a bundle claims, as far as queries say it."""

    bundle: Bundle
    setting: Setting
    functions: dict[str, Graph]

    @property
    def requirement(self) -> Requirement:
        """The requirement that the bundle answers."""
        return self.setting.requirement

    def region(self, name: str) -> Region | None:
        """Function and level of an obligation; None where it has none."""
        proof = self.bundle.obligations[name]
        if not (isinstance(proof.get("function"), str) and isinstance(proof.get("level"), str)):
            return None
        if proof["function"] not in self.functions:
            raise Refusal(Code.MALFORMED_CERTIFICATE, f"{name}.function", f"there is no function {proof['function'][:40]!r}")
        return self.functions[proof["function"]], parse(proof["level"], f"{name}.level")

    def start(self) -> Values:
        """A query's outputs, none yet."""
        b = Builder()
        return Values(b, b.input(len(self.setting.lo)))

    def query(self, values: Values, formula: Formula, lo: Sequence[Fraction] | None = None, hi: Sequence[Fraction] | None = None) -> Query:
        """Close a query over the domain or another box."""
        graph = values.builder.build([values.builder.concat(values.parts)])
        return Query(graph, tuple(lo or self.setting.lo), tuple(hi or self.setting.hi), formula)


def obligations_as_queries(bundle: Path, requirement: Path | None = None) -> list[Named]:
    """State the obligations of a bundle as queries; see the module.

    Parameters
    ----------
    bundle : Path
        The bundle's folder; its digests are checked, its proofs are not read.
    requirement : Path or None
        The caller's requirement, which must be the one in the bundle.

    Returns
    -------
    list of (name, Query)
        In the order of the obligations.  Direction: if all are unsatisfiable the shells hold, exactly; the module says what no query asks.

    Raises
    ------
    Refusal
        When the bundle cannot be read or its certificate names what is not there.
    """
    return queries_of(open_claim(bundle, requirement))


def queries_of(claim: Claim) -> list[Named]:
    """The queries of an opened claim; see :func:`obligations_as_queries`."""
    found: list[Named] = []
    inner: list[Region] = []
    shells = sorted((name for name in claim.bundle.obligations if name.startswith("shell-")), key=lambda name: (len(name), name))
    for name in ("local", "whole", *shells):
        region = claim.region(name) if name in claim.bundle.obligations else None
        if region is None:
            continue
        if name not in ("local", "whole"):
            found += _shell(claim, name, region, inner)
        inner.append(region)
    return [*found, *_inside(claim, inner)]


def open_claim(path: Path, given: Path | None = None) -> Claim:
    """Open a bundle as far as its obligations can be stated."""
    bundle = open_bundle(path)
    if given is not None and read_file(given, str(given)) != bundle.requirement:
        raise Refusal(Code.REQUIREMENT_MISMATCH, "requirement", "the requirement given is not the one in the bundle; verify again")
    requirement = read_requirement(bundle.requirement, requirement_name(given if given is not None else path / "requirement.toml"))
    if requirement.gain is not None:
        raise Refusal(Code.UNSUPPORTED, "property", "a gain is a matrix inequality over all time, and no query about states states it")
    setting = open_setting(requirement, bundle.plant, bundle.controller)
    if "lipschitz" in bundle.obligations and setting.policy is not None and requirement.imitation is not None:
        constant = parse(bundle.obligations["lipschitz"].get("level"), "lipschitz.level")
        setting.loop = setting.closed(mistaken(setting.policy, Fraction(0), constant * requirement.imitation.size))
    n, functions = len(setting.lo), dict[str, Graph]()
    for name, item in bundle.functions.items():
        at = f"functions.{name}"
        if item["kind"] == "quadratic":
            functions[name] = quadratic(parse_matrix(item["matrix"], at, n), parse_vector(item["center"], at, n)).graph
        elif item["kind"] == "polynomial":
            functions[name] = polynomial_graph(item["terms"], n, at)
        else:
            functions[name] = read_function(bundle.read({key: value for key, value in item.items() if key != "kind"}, at), n, at)
    return Claim(bundle, setting, functions)


def _shell(claim: Claim, name: str, region: Region, inner: Sequence[Region]) -> Iterator[Named]:
    """Decrease, containment and command of one shell, and what practical stability asks of its inner level."""
    kind = claim.requirement.property
    if kind in PRACTICAL:
        yield from _practical(claim, region)
    elif kind == "forward_invariance" and claim.requirement.time == "discrete":
        yield f"{name}.invariant", _invariant(claim, region)
    if kind != "forward_invariance" or claim.requirement.time == "continuous":
        yield f"{name}.decrease", _decrease(claim, region, inner)
    yield from _faces(claim, name, region, inner) if claim.requirement.time == "continuous" else [(f"{name}.image", _image(claim, region, inner))]
    if claim.requirement.saturation == "forbid" and claim.setting.loop.command is not None:
        yield f"{name}.command", _command(claim, region, claim.setting.loop.command)


def _within(values: Values, region: Region, inner: Sequence[Region]) -> list[Formula]:
    """V <= c, and V_j > c_j for every region proved before."""
    level: list[Formula] = [at_most(values.value(region[0]), region[1])]
    return level + [at_least(values.value(v), c, strict=True) for v, c in inner]


def _decrease(claim: Claim, region: Region, inner: Sequence[Region]) -> Query:
    values, rate, kind = claim.start(), claim.setting.rate, claim.requirement.property
    parts = _within(values, region, inner)
    if kind == "forward_invariance":
        parts.append(at_least(0, region[1]))
    if kind in PRACTICAL:
        parts.append(at_least(0, _inner_level(claim)))
    if claim.requirement.time == "continuous":
        d, kinks = _lie(claim, values, region[0] if rate else strip_output(region[0]).graph)
        parts += kinks
    else:
        b, v = values.builder, region[0] if rate else strip_output(region[0]).graph  # a monotone output keeps the sign of a difference
        after = b.inline(v, [b.inline(claim.setting.loop.field, [values.x])[0]])[0]
        d = values.add(b.binary("sub", after, b.inline(v, [values.x])[0]))
    if not rate:
        return claim.query(values, And((*parts, at_least(d, Fraction(0)))))
    growing = Atom(((d, Fraction(-1)), (0, -rate)), Fraction(0))
    return claim.query(values, And((*parts, Or((growing, at_most(0, Fraction(0), strict=True))))))


def _lie(claim: Claim, values: Values, v: Graph) -> tuple[int, list[Formula]]:
    r"""Append :math:`\xi \cdot f`; at kinks of V, xi ranges over the products of all slopes, which include Clarke's gradient."""
    b = values.builder
    slope, arguments = _free_slopes(gradient(v))
    found = b.inline(slope, [values.x])
    product = b.binary("mul", found[0], b.inline(claim.setting.loop.field, [values.x])[0])
    d = values.add(b.affine(product, affine_from_rational([[Fraction(1)] * b.size(product)], [Fraction(0)])))
    kinks: list[Formula] = []
    for z, s in zip(found[1:1 + arguments], found[1 + arguments:], strict=True):
        first, share = values.add(z), values.add(s)
        for k in range(b.size(z)):
            kinks += [Or((at_most(first + k, Fraction(0)), at_least(share + k, Fraction(1)))),
                      Or((at_least(first + k, Fraction(0)), at_most(share + k, Fraction(0))))]
    return d, kinks


def _free_slopes(graph: Graph) -> tuple[Graph, int]:
    """Replace each step function of a gradient's graph by an unknown in [0, 1]; append the steps' arguments, then the unknowns, to the outputs."""
    nodes, steps = graph.nodes, dict[int, int]()
    for k in range(len(nodes)):
        z = _step_argument(nodes, k)
        if z is not None:
            steps[k] = z
    if not steps:
        return graph, 0
    b, at = Builder(), list[int]()
    for k, node in enumerate(nodes):
        if node.op == "input":
            at.append(b.input(node.size))
        elif k in steps:
            at.append(b.const([(Fraction(0), Fraction(1))] * node.size))
        else:
            copy = Graph((*(Node("input", (), nodes[a].size, i) for i, a in enumerate(node.args)), replace(node, args=tuple(range(len(node.args))))),
                         tuple(nodes[a].size for a in node.args), (len(node.args),))
            at += b.inline(copy, [at[a] for a in node.args])
    return b.build([at[graph.outputs[0]], *(at[z] for z in steps.values()), *(at[k] for k in steps)]), len(steps)


def _step_argument(nodes: Sequence[Node], k: int) -> int | None:
    """The argument z where node k is the step that verifiers/load/derivative.py writes for the slope of relu at z."""
    for _ in range(2):
        node = nodes[k]
        if not (node.op == "min" and _is_const(nodes, node.args[1], Fraction(1)) and nodes[node.args[0]].op == "mul"):
            return None
        gain, k = nodes[node.args[0]].args
        if not _is_const(nodes, gain, STEEP):
            return None
    node = nodes[k]
    if node.op == "min" and _is_const(nodes, node.args[1], Fraction(1)) and nodes[node.args[0]].op == "relu":
        return nodes[node.args[0]].args[0]
    return None


def _is_const(nodes: Sequence[Node], k: int, value: Fraction) -> bool:
    while nodes[k].op == "take":
        k = nodes[k].args[0]
    return nodes[k].op == "const" and all(ends == (value, value) for ends in nodes[k].data)


def _faces(claim: Claim, name: str, region: Region, inner: Sequence[Region]) -> Iterator[Named]:
    """No state of the level set on a face of the domain."""
    for i, state in enumerate(claim.setting.spec.states):
        for end, corner in (("lo", claim.setting.lo), ("hi", claim.setting.hi)):
            values, (lo, hi) = claim.start(), (list(claim.setting.lo), list(claim.setting.hi))
            lo[i] = hi[i] = corner[i]
            yield f"{name}.face-{state.name}-{end}", claim.query(values, And(tuple(_within(values, region, inner))), lo, hi)


def _image(claim: Claim, region: Region, inner: Sequence[Region]) -> Query:
    values = claim.start()
    parts = _within(values, region, inner)
    return claim.query(values, And((*parts, _outside(values, values.builder.inline(claim.setting.loop.field, [values.x])[0], claim.setting.lo,
                                                     claim.setting.hi))))


def _outside(values: Values, node: int, lo: Sequence[Fraction | None], hi: Sequence[Fraction | None]) -> Or:
    """A vector outside a box; None leaves that side free."""
    first, parts = values.add(node), list[Formula]()
    for k, (low, high) in enumerate(zip(lo, hi, strict=True)):
        parts += [] if low is None else [at_most(first + k, low, strict=True)]
        parts += [] if high is None else [at_least(first + k, high, strict=True)]
    return Or(tuple(parts))


def _command(claim: Claim, region: Region, command: Graph) -> Query:
    values = claim.start()
    inside = at_most(values.value(region[0]), region[1])
    limits = claim.setting.loop.limits
    beyond = _outside(values, values.builder.inline(command, [values.x])[0], [None if lo is None else lo[1] for lo, _ in limits],
                      [None if hi is None else hi[0] for _, hi in limits])
    return claim.query(values, And((inside, beyond)))


def _invariant(claim: Claim, region: Region) -> Query:
    """V <= a and V(f(x)) > a."""
    values = claim.start()
    b = values.builder
    inside = at_most(values.value(region[0]), region[1])
    after = values.add(b.inline(region[0], [b.inline(claim.setting.loop.field, [values.x])[0]])[0])
    return claim.query(values, And((inside, at_least(after, region[1], strict=True))))


def _inner_level(claim: Claim) -> Fraction:
    return parse(claim.bundle.obligations.get("inner", {}).get("level"), "inner.level")


def _practical(claim: Claim, region: Region) -> Iterator[Named]:
    level, target = _inner_level(claim), claim.requirement.target
    if target is None:
        raise Refusal(Code.BAD_REQUIREMENT, "target", f"{claim.requirement.property} needs [target]")
    values = claim.start()
    inside = at_most(values.value(region[0]), level)
    yield "inner.target", claim.query(values, And((inside, _outside(values, values.x, target.lo, target.hi))))
    if claim.requirement.time == "discrete":
        yield "inner.invariant", _invariant(claim, (region[0], level))


def _inside(claim: Claim, regions: Sequence[Region]) -> Iterator[Named]:
    """What the region must contain: no state of it is outside every region."""
    r = claim.requirement
    if not regions:
        return
    if r.contains is not None:
        values = claim.start()
        yield "contains", claim.query(values, And(tuple(at_least(values.value(v), c, strict=True) for v, c in regions)), r.contains.lo, r.contains.hi)
    if r.min_radius is not None:
        proof, n = claim.bundle.obligations.get("equilibrium", {}), len(claim.setting.lo)
        rest = claim.setting.rest
        centre = parse_vector(proof["center"], "equilibrium.center", n) if "center" in proof else rest
        # a ball about every point of the equilibrium's box lies in this one about its middle
        radius = r.min_radius + sum(parse_vector(proof["radius"], "equilibrium.radius", n) if "radius" in proof else [], Fraction(0))
        values = claim.start()
        b = values.builder
        away = [at_least(values.value(v), c, strict=True) for v, c in regions]
        offset = b.affine(values.x, affine_from_rational([[Fraction(int(i == j)) for j in range(n)] for i in range(n)], [-c for c in centre]))
        square = b.affine(b.unary("pow", offset, 2), affine_from_rational([[Fraction(1)] * n], [Fraction(0)]))
        inside = at_most(values.add(square), radius * radius)
        nowhere = Or((_outside(values, values.x, claim.setting.lo, claim.setting.hi), And(tuple(away))))
        yield "radius", claim.query(values, And((inside, nowhere)), [c - radius for c in centre], [c + radius for c in centre])
