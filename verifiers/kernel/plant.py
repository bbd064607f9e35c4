"""The plant as data: read ``plant.json``, substitute parameters, and close the loop around a controller.

Every scalar of the plant's program is kept as a *linear form*: an exact rational combination of entries of earlier vector
nodes.  Sums, differences and products with constants are then exact and cost no node; only nonlinear operations make one,
and each result becomes one affine map.  A term whose coefficient is zero is kept, so that a plant which is undefined
somewhere (``0 / x``) stays undefined there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import BINARY, MAX_POWER, UNARY, Builder, Graph, GraphError, Interval, affine_from_rational
from verifiers.kernel.rational import parse, parse_vector

FORMAT = "certctl-plant/1"
METHODS = ("euler", "midpoint", "rk4")
MAX_SIGNALS, MAX_PARAMETERS, MAX_PROGRAM, MAX_TEXT = 128, 512, 20_000, 20_000
MAX_TERMS, MAX_BITS = 128, 4096  # a linear form longer than this becomes a node of its own
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}", re.ASCII)
_UNARY = UNARY - {"leaky_relu", "pow"}
_INDEXED = {"x": "states", "u": "inputs"}

Limit = Fraction | str | None  # an exact number, a parameter's name or "-" and its name, or no limit
Bounds = tuple[Interval | None, Interval | None]
Form = tuple[dict[tuple[int, int], Fraction], Fraction]  # coefficient of entry i of node k, and an exact constant


@dataclass(frozen=True)
class Signal:
    """A state or an input: name, unit, whether it is an angle, and the limits of an input."""

    name: str
    unit: str
    angle: bool = False
    lo: Limit = None
    hi: Limit = None


@dataclass(frozen=True)
class PlantSpec:
    """A validated ``plant.json``; ``program`` holds the scalar nodes, ``outputs`` the index of each x' (or next x)."""

    name: str
    time: str
    dt: Fraction | None
    states: tuple[Signal, ...]
    inputs: tuple[Signal, ...]
    parameters: Mapping[str, Interval]
    equilibrium_x: tuple[Fraction, ...]
    equilibrium_u: tuple[Fraction, ...]
    domain: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
    program: tuple[tuple[Any, ...], ...]
    outputs: tuple[int, ...]
    reference: str


@dataclass(frozen=True, eq=False)
class Loop:
    """A closed loop: ``field`` maps x to x' (or next x), ``command`` maps x to the unclipped u (None without inputs)."""

    field: Graph
    command: Graph | None
    limits: tuple[Bounds, ...]
    time: str
    dt: Fraction | None


# reading ------------------------------------------------------------------------------------------------------------

def _fields(item: object, at: str, names: str) -> list[Any]:
    wanted = names.split()
    if not (isinstance(item, dict) and set(item) == set(wanted)):
        raise Refusal(Code.BAD_PLANT, at, f"exactly the fields {', '.join(wanted)} are expected here")
    return [item[name] for name in wanted]


def _items(value: object, at: str, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise Refusal(Code.BAD_PLANT, at, "a list is expected here")
    if not len(value) <= most:
        raise Refusal(Code.TOO_LARGE, at, f"{len(value)} entries where at most {most} are read")
    return value


def _text(value: object, at: str) -> str:
    if not (isinstance(value, str) and len(value) <= MAX_TEXT):
        raise Refusal(Code.BAD_PLANT, at, f"a text of at most {MAX_TEXT} characters is expected here")
    return value


def _name(value: object, at: str) -> str:
    if not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise Refusal(Code.BAD_PLANT, at, "a name is a letter, then at most 63 letters, digits or _ . [ ]")
    return value


def _index(value: object, at: str, size: int) -> int:
    if not (type(value) is int and 0 <= value < size):
        raise Refusal(Code.BAD_PLANT, at, f"an index from 0 to {size - 1} is expected here, earlier nodes only")
    return value


def _limit(value: object, at: str, parameters: Mapping[str, Interval]) -> Limit:
    if value is None or (isinstance(value, str) and value.removeprefix("-") in parameters):
        return value
    if isinstance(value, str) and _NAME.fullmatch(value.removeprefix("-")):
        raise Refusal(Code.BAD_PLANT, at, f"the limit names {value.removeprefix('-')}, which is not a parameter")
    return parse(value, at)


def _interval(value: object, at: str) -> Interval:
    lo, hi = parse_vector(value, at, 2) if isinstance(value, list) else (parse(value, at),) * 2
    if not lo <= hi:
        raise Refusal(Code.BAD_PLANT, at, f"the interval [{lo}, {hi}] is empty")
    return lo, hi


def _step(item: object, at: str, index: int, sizes: Mapping[str, int], parameters: Mapping[str, Interval]) -> tuple[Any, ...]:
    if not (isinstance(item, list) and item and isinstance(item[0], str)):
        raise Refusal(Code.BAD_PLANT, at, "a node is a list that starts with an operator")
    op, args = item[0], item[1:]
    arity = 1 if op in _UNARY or op in ("x", "u", "p", "c") else 2 if op in BINARY or op == "pow" else None
    if arity is None:
        raise Refusal(Code.UNKNOWN_OPERATOR, at, f"operator {op[:40]!r} is not one of a plant's operators")
    if len(args) != arity:
        raise Refusal(Code.BAD_PLANT, at, f"{op} takes {arity} arguments, not {len(args)}")
    if op in _INDEXED:
        return op, _index(args[0], at, sizes[op])
    if op == "c":
        return op, parse(args[0], at)
    if op == "p":
        if not (isinstance(args[0], str) and args[0] in parameters):
            raise Refusal(Code.BAD_PLANT, at, f"{str(args[0])[:40]!r} is not one of the parameters")
        return op, args[0]
    if op == "pow":
        return op, _index(args[0], at, index), _index(args[1], at, MAX_POWER + 1)
    return (op, *(_index(a, at, index) for a in args))


def read_plant(data: object) -> PlantSpec:
    """Validate the content of a ``plant.json`` (see docs/architecture.md) and return it with exact numbers.

    Raises
    ------
    Refusal
        ``BAD_PLANT`` for a missing or unknown field, a wrong type, a name used twice, or an argument that is no earlier
        node; ``UNKNOWN_OPERATOR``, ``BAD_NUMBER``, ``BAD_SHAPE``, and ``TOO_LARGE`` for counts over the caps.
    """
    (form, name, time, dt, states, inputs, parameters, equilibrium, domain, nodes, outputs, reference) = _fields(
        data, "plant", "format name time dt states inputs parameters equilibrium domain nodes outputs reference")
    if form != FORMAT:
        raise Refusal(Code.BAD_PLANT, "format", f"only {FORMAT} is read")
    if not (time == "discrete" or (time == "continuous" and dt is None)):
        raise Refusal(Code.BAD_PLANT, "time", 'time is "continuous" with dt null, or "discrete"')
    step = None if dt is None else parse(dt, "dt")
    if not (step is None or step > 0):
        raise Refusal(Code.BAD_PLANT, "dt", f"dt = {step} is not positive")
    table: dict[str, Interval] = {}
    used: list[str] = []
    for i, item in enumerate(_items(parameters, "parameters", MAX_PARAMETERS)):
        label, unit, value = _fields(item, at := f"parameters[{i}]", "name unit value")
        _text(unit, at)
        used.append(_name(label, at))
        table[label] = _interval(value, at)
    x, u = [], []
    for i, item in enumerate(_items(states, "states", MAX_SIGNALS)):
        label, unit, angle = _fields(item, at := f"states[{i}]", "name unit angle")
        if not isinstance(angle, bool):
            raise Refusal(Code.BAD_PLANT, at, "angle is true or false")
        x.append(Signal(_name(label, at), _text(unit, at), angle))
    for i, item in enumerate(_items(inputs, "inputs", MAX_SIGNALS)):
        label, unit, lo, hi = _fields(item, at := f"inputs[{i}]", "name unit lo hi")
        u.append(Signal(_name(label, at), _text(unit, at), False, _limit(lo, at, table), _limit(hi, at, table)))
    used += [signal.name for signal in (*x, *u)]
    if not (x and len(set(used)) == len(used)):
        raise Refusal(Code.BAD_PLANT, "states", "there are no states, or two states, inputs or parameters share a name")
    rest, command = _fields(equilibrium, "equilibrium", "x u")
    low, high = (parse_vector(v, "domain", len(x)) for v in _fields(domain, "domain", "lo hi"))
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise Refusal(Code.BAD_PLANT, "domain", "lo is not below hi in every state")
    sizes = {"x": len(x), "u": len(u)}
    program = tuple(_step(item, f"nodes[{i}]", i, sizes, table) for i, item in enumerate(_items(nodes, "nodes", MAX_PROGRAM)))
    if not len(_items(outputs, "outputs", MAX_SIGNALS)) == len(x):
        raise Refusal(Code.BAD_SHAPE, "outputs", f"{len(outputs)} outputs for {len(x)} states")
    return PlantSpec(_name(name, "name"), time, step, tuple(x), tuple(u), table, parse_vector(rest, "equilibrium.x", len(x)),
                     parse_vector(command, "equilibrium.u", len(u)), (low, high), program,
                     tuple(_index(o, "outputs", len(program)) for o in outputs), _text(reference, "reference"))


# linear forms and the plant's program -------------------------------------------------------------------------------

def _scaled(a: Form, q: Fraction) -> Form:
    return {k: q * v for k, v in a[0].items()}, q * a[1]


def _plus(a: Form, b: Form, q: Fraction = Fraction(1)) -> Form:
    terms = dict(a[0])
    for k, v in b[0].items():
        terms[k] = terms.get(k, Fraction(0)) + q * v
    return terms, a[1] + q * b[1]


def _bits(q: Fraction) -> int:
    return max(q.numerator.bit_length(), q.denominator.bit_length())


class _Program:
    """Runs the plant's program on linear forms over the nodes of a builder."""

    def __init__(self, spec: PlantSpec, table: Mapping[str, Interval], builder: Builder) -> None:
        self.spec, self.table, self.builder = spec, table, builder
        self._known: dict[Any, int] = {}

    def entries(self, node: int) -> list[Form]:
        """The entries of a vector node as linear forms."""
        return [({(node, i): Fraction(1)}, Fraction(0)) for i in range(self.builder.size(node))]

    def vector(self, forms: Sequence[Form]) -> int:
        """The node whose entries are these forms: a constant, a selection, or one affine map."""
        nodes = sorted({k for terms, _ in forms for k, _ in terms})
        if not nodes:
            return self.builder.const([c for _, c in forms])
        key = tuple((tuple(sorted(terms.items())), c) for terms, c in forms)
        if key not in self._known:
            atoms = [(k, i) for k in nodes for i in range(self.builder.size(k))]
            joined = self.builder.concat(nodes)
            if all(c == 0 and list(terms.values()) == [1] for terms, c in forms):
                self._known[key] = self.builder.take(joined, [atoms.index(atom) for terms, _ in forms for atom in terms])
            else:
                weight = [[terms.get(atom, Fraction(0)) for atom in atoms] for terms, _ in forms]
                self._known[key] = self.builder.affine(joined, affine_from_rational(weight, [c for _, c in forms]))
        return self._known[key]

    def run(self, x: Sequence[Form], u: Sequence[Form]) -> list[Form]:
        """One evaluation of the program: x' (continuous) or the next x (discrete) as forms."""
        done: list[Form] = []
        for i, (op, *args) in enumerate(self.spec.program):
            if op in _INDEXED:
                form = (x if op == "x" else u)[args[0]]
            elif op in ("c", "p"):
                lo, hi = (args[0], args[0]) if op == "c" else self.table[args[0]]
                form = ({}, lo) if lo == hi else self.entries(self.builder.const([(lo, hi)]))[0]
            elif op in BINARY:
                form = self._binary(op, done[args[0]], done[args[1]], f"nodes[{i}]")
            else:
                form = self._unary(op, done[args[0]], args[1] if op == "pow" else None)
            if len(form[0]) > MAX_TERMS or any(_bits(q) > MAX_BITS for q in (*form[0].values(), form[1])):
                form = self.entries(self.vector([form]))[0]
            done.append(form)
        return [done[o] for o in self.spec.outputs]

    def _binary(self, op: str, a: Form, b: Form, at: str) -> Form:
        if op in ("add", "sub"):
            return _plus(a, b, Fraction(1 if op == "add" else -1))
        if op in ("mul", "div") and not b[0]:
            if op == "div" and b[1] == 0:
                raise Refusal(Code.BAD_PLANT, at, "division by a constant that is exactly zero")
            return _scaled(a, b[1] if op == "mul" else 1 / b[1])
        if op == "mul" and not a[0]:
            return _scaled(b, a[1])
        if op == "mul" and a == b:
            return self._unary("pow", a, 2)
        if op in ("min", "max") and not a[0] and not b[0]:
            return {}, (min if op == "min" else max)(a[1], b[1])
        return self.entries(self.builder.binary(op, self.vector([a]), self.vector([b])))[0]

    def _unary(self, op: str, a: Form, power: int | None) -> Form:
        if op == "neg":
            return _scaled(a, Fraction(-1))
        if power is not None and not a[0] and power * _bits(a[1]) <= MAX_BITS:
            return {}, a[1] ** power
        return self.entries(self.builder.unary(op, self.vector([a]), power))[0]


# substitution and composition ---------------------------------------------------------------------------------------

def _resolve(spec: PlantSpec, parameters: Mapping[str, Interval]) -> dict[str, Interval]:
    for name, (lo, hi) in parameters.items():
        if name not in spec.parameters:
            raise Refusal(Code.BAD_PARAMETER, f"parameters.{name}", f"{spec.name} has no parameter {name}; it has {', '.join(spec.parameters)}")
        if not lo <= hi:
            raise Refusal(Code.BAD_PARAMETER, f"parameters.{name}", f"the interval [{lo}, {hi}] is empty")
    table = {**spec.parameters, **parameters}
    if spec.dt is not None and table.get("dt", (spec.dt, spec.dt)) != (spec.dt, spec.dt):
        raise Refusal(Code.BAD_PARAMETER, "parameters.dt", f"the plant's map is sampled with dt = {spec.dt}")
    return table


def _bound(limit: Limit, table: Mapping[str, Interval]) -> Interval | None:
    if not isinstance(limit, str):
        return None if limit is None else (limit, limit)
    lo, hi = table[limit.removeprefix("-")]
    return (-hi, -lo) if limit.startswith("-") else (lo, hi)


def _limits(spec: PlantSpec, table: Mapping[str, Interval]) -> tuple[Bounds, ...]:
    bounds = tuple((_bound(signal.lo, table), _bound(signal.hi, table)) for signal in spec.inputs)
    for signal, (lo, hi) in zip(spec.inputs, bounds, strict=True):
        if lo is not None and hi is not None and not lo[1] <= hi[0]:
            raise Refusal(Code.BAD_PARAMETER, f"inputs.{signal.name}", f"the lower limit {lo[1]} is above the upper limit {hi[0]}")
    return bounds


def _sampling(spec: PlantSpec, time: str, dt: Fraction | None, method: str | None) -> tuple[Fraction, str] | None:
    """The step and method of a sampled continuous plant, None where the plant's own x' or next x is the loop."""
    at, why = "", ""
    if time == "continuous":
        if spec.time == "discrete":
            at, why = "time", f"{spec.name} is a discrete-time plant and has no continuous-time property"
        elif dt is not None or method is not None:
            at, why = "method" if dt is None else "dt", "a continuous-time claim has neither dt nor method"
    elif time != "discrete":
        at, why = "time", 'time is "continuous" or "discrete"'
    elif spec.time == "discrete":
        if dt != spec.dt:
            at, why = "dt", f"the plant's map has dt = {spec.dt}, the requirement says {dt}"
        elif method not in (None, "zoh"):
            at, why = "method", f"{spec.name} is its own discrete-time map; leave method out"
    elif not (dt is not None and dt > 0):
        at, why = "dt", f"a discrete-time claim on a continuous plant needs dt > 0, not {dt}"
    elif method == "zoh":
        raise Refusal(Code.UNSUPPORTED, "method", "zoh needs a plant that is already discrete; export the sampled plant")
    elif method in METHODS:
        return dt, str(method)
    else:
        at, why = "method", f"method is one of {', '.join(METHODS)}"
    if at:
        raise Refusal(Code.BAD_REQUIREMENT, at, why)
    return None


def _advance(run: Callable[[list[Form]], list[Form]], x: list[Form], h: Fraction, method: str) -> list[Form]:
    """One step of the explicit Runge-Kutta map: euler, midpoint, or the classical rk4."""

    def move(k: list[Form], q: Fraction) -> list[Form]:
        return [_plus(a, b, q) for a, b in zip(x, k, strict=True)]

    k = [run(x)]
    if method == "euler":
        return move(k[0], h)
    k.append(run(move(k[0], h / 2)))
    if method == "midpoint":
        return move(k[1], h)
    k.append(run(move(k[1], h / 2)))
    k.append(run(move(k[2], h)))
    two = Fraction(2)
    return move([_plus(_plus(_plus(a, b, two), c, two), d) for a, b, c, d in zip(*k, strict=True)], h / 6)


def plant_graph(spec: PlantSpec, parameters: Mapping[str, Interval]) -> Graph:
    """The plant's right side as a graph with inputs x (n,) and u (m,) (x alone where m = 0) and output x' or next x (n,).

    ``parameters`` override the plant's; exact ones are folded into coefficients, intervals become constants with lo < hi.

    Raises
    ------
    Refusal
        ``BAD_PARAMETER`` for an unknown name or an empty interval, ``BAD_PLANT`` for a division by zero,
        ``BAD_GRAPH`` for a number or a count that no graph can hold.
    """
    try:
        program = _Program(spec, _resolve(spec, parameters), builder := Builder())
        x = program.entries(builder.input(len(spec.states)))
        u = program.entries(builder.input(len(spec.inputs))) if spec.inputs else []
        return builder.build([program.vector(program.run(x, u))])
    except GraphError as error:
        raise Refusal(Code.BAD_GRAPH, "plant", str(error)) from None


def closed_loop(spec: PlantSpec, controller: Graph | None, parameters: Mapping[str, Interval], *,
                time: str, dt: Fraction | None, method: str | None) -> Loop:
    r"""Compose plant, controller and input limits: :math:`f(x, \mathrm{clip}(\pi(x)))`, or its one-step map.

    Parameters
    ----------
    controller : Graph or None
        One input x (n,), one output u (m,) before clipping; None exactly when the plant has no inputs.
    parameters : mapping of name to (lo, hi)
        Overrides; ``lo < hi`` is an unknown constant.
    time, dt, method
        ``"continuous"`` without dt and method; ``"discrete"`` with dt > 0 and euler, midpoint or rk4 on a continuous plant
        (input held over the step); ``"discrete"`` with the plant's own dt on a discrete plant.

    Raises
    ------
    Refusal
        ``BAD_REQUIREMENT`` at the key that contradicts the plant, ``UNSUPPORTED`` for zoh on a continuous plant,
        ``BAD_PARAMETER`` for parameters or limits, ``BAD_SHAPE`` for a controller of other sizes.
    """
    sampling = _sampling(spec, time, dt, method)
    table = _resolve(spec, parameters)
    limits = _limits(spec, table)
    n, m = len(spec.states), len(spec.inputs)
    have = ((n,), ()) if controller is None else (controller.input_sizes, tuple(map(controller.output_size, range(len(controller.outputs)))))
    if have != ((n,), (m,) if m else ()):
        raise Refusal(Code.BAD_SHAPE, "controller", f"the plant has {n} states and {m} inputs, the controller maps sizes {have[0]} to {have[1]}")
    try:
        program = _Program(spec, table, builder := Builder())
        state = builder.input(n)
        u: list[Form] = []
        if controller is not None:
            command = builder.inline(controller, [state])[0]
            u = program.entries(builder.clip(command, [lo for lo, _ in limits], [hi for _, hi in limits]))
        x = program.entries(state)
        after = _advance(lambda at: program.run(at, u), x, *sampling) if sampling else program.run(x, u)
        return Loop(builder.build([program.vector(after)]), controller, limits, time, dt)
    except GraphError as error:
        raise Refusal(Code.BAD_GRAPH, "plant", str(error)) from None
