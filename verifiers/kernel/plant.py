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
from functools import partial
from types import NoneType
from typing import Any

from verifiers.kernel.codes import Code, need
from verifiers.kernel.graph import BINARY, MAX_POWER, UNARY, Builder, Graph, Interval, affine_from_rational
from verifiers.kernel.rational import parse, parse_vector
from verifiers.kernel.strict import Types, take

FORMAT = "certctl-plant/1"
MAX_SIGNALS, MAX_PROGRAM = 256, 20_000
MAX_TERMS, MAX_BITS = 128, 4096  # a linear form longer than this becomes a node of its own
METHODS = {  # explicit Runge-Kutta: where each slope after the first is taken along the one before, and the slopes' weights
    "euler": ((), (Fraction(1),)),
    "midpoint": ((Fraction(1, 2),), (Fraction(0), Fraction(1))),
    "rk4": ((Fraction(1, 2), Fraction(1, 2), Fraction(1)), (Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6))),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}", re.ASCII)
_ARITY = {**dict.fromkeys(UNARY - {"leaky_relu"} | {"x", "u", "p", "c"}, 1), **dict.fromkeys(BINARY | {"pow"}, 2)}
_PLANT: dict[str, Types] = {
    "format": str, "name": str, "time": str, "dt": (str, NoneType), "states": list, "inputs": list, "parameters": list,
    "equilibrium": dict, "domain": dict, "nodes": list, "outputs": list, "reference": str}
_ROWS: dict[str, dict[str, Types]] = {
    "states": {"name": str, "unit": str, "angle": bool},
    "inputs": {"name": str, "unit": str, "lo": (str, NoneType), "hi": (str, NoneType)},
    "parameters": {"name": str, "unit": str, "value": (str, list)}}

Bounds = tuple[Interval | None, Interval | None]
Form = dict[tuple[int, int], Fraction]  # coefficient of entry i of vector node k, and of ONE
ONE = (-1, 0)


@dataclass(frozen=True)
class Signal:
    """A state or an input: name, unit, whether it is an angle, and an input's limits (a number, a parameter or ``-`` parameter)."""

    name: str
    unit: str
    angle: bool = False
    lo: str | None = None
    hi: str | None = None


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
    domain: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
    program: tuple[tuple[Any, ...], ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Loop:
    """A closed loop: ``field`` maps x to x' (or next x), ``command`` maps x to the unclipped u (None without inputs)."""

    field: Graph
    command: Graph | None
    limits: tuple[Bounds, ...]
    time: str
    dt: Fraction | None


# reading ------------------------------------------------------------------------------------------------------------

def _interval(value: object, at: str) -> Interval:
    lo, hi = parse_vector(value, at, 2) if isinstance(value, list) else (parse(value, at),) * 2
    need(lo <= hi, Code.BAD_PLANT, at, f"the interval [{lo}, {hi}] is empty")
    return lo, hi


def _bound(limit: str | None, table: Mapping[str, Interval], at: str) -> Interval | None:
    if limit is None:
        return None
    if (name := limit.removeprefix("-")) not in table:
        return (parse(limit, f"{at} (no parameter {name[:40]})"),) * 2
    lo, hi = table[name]
    return (lo, hi) if limit == name else (-hi, -lo)


def _bounds(inputs: Sequence[Signal], table: Mapping[str, Interval]) -> tuple[Bounds, ...]:
    return tuple((_bound(s.lo, table, f"inputs.{s.name}.lo"), _bound(s.hi, table, f"inputs.{s.name}.hi")) for s in inputs)


def _step(item: object, at: str, sizes: Mapping[str, int], earlier: int, parameters: Mapping[str, Interval]) -> tuple[Any, ...]:
    op, *args = item if isinstance(item, list) and item and isinstance(item[0], str) else ("",)
    need(len(args) == _ARITY.get(op), Code.BAD_PLANT if op in _ARITY else Code.UNKNOWN_OPERATOR, at,
         f"{op[:40]!r} with {len(args)} arguments is no operation")
    if op == "c":
        return op, parse(args[0], at)
    if op == "p" and isinstance(args[0], str) and args[0] in parameters:
        return op, args[0]
    ends = (earlier, MAX_POWER + 1) if op == "pow" else (sizes.get(op, earlier),) * 2
    need(all(type(a) is int and 0 <= a < end for a, end in zip(args, ends, strict=False)), Code.BAD_PLANT, at,
         f"{op} {str(args)[:60]}: an argument is no earlier node, no signal, no parameter or no power")
    return op, *args


def read_plant(data: object) -> PlantSpec:
    """Validate the content of a ``plant.json`` (see docs/architecture.md) and return it with exact numbers.

    Raises
    ------
    Refusal
        ``BAD_PLANT`` for a missing or unknown field, a wrong type, a name used twice, or an argument that is no earlier
        node; ``UNKNOWN_OPERATOR``, ``BAD_NUMBER``, ``BAD_SHAPE``, and ``TOO_LARGE`` for counts over the caps.
    """
    d = take(data, "", _PLANT, code=Code.BAD_PLANT)
    dt = None if d["dt"] is None else parse(d["dt"], "dt")
    timed = d["time"] == "discrete" if dt is not None else d["time"] in ("discrete", "continuous")
    need(d["format"] == FORMAT and timed and (dt is None or dt > 0), Code.BAD_PLANT, "time",
         f'the format is {FORMAT}, time "continuous" with dt null, or "discrete" with dt > 0 or null')
    rows: dict[str, list[dict[str, Any]]] = {}
    for key, fields in _ROWS.items():
        need(len(d[key]) <= MAX_SIGNALS, Code.TOO_LARGE, key, f"{len(d[key])} entries where at most {MAX_SIGNALS} are read")
        rows[key] = [take(item, f"{key}[{i}]", fields, code=Code.BAD_PLANT) for i, item in enumerate(d[key])]
    x, u = (tuple(Signal(**row) for row in rows[key]) for key in ("states", "inputs"))
    names = [row["name"] for part in rows.values() for row in part]
    need(x and len(set(names)) == len(names) and all(map(_NAME.fullmatch, [d["name"], *names])), Code.BAD_PLANT, "states",
         "no state, a name used twice, or a name that is not a letter and then letters, digits or _ . [ ]")
    table = {row["name"]: _interval(row["value"], f"parameters.{row['name']}") for row in rows["parameters"]}
    _bounds(u, table)
    state, command = partial(parse_vector, size=len(x)), partial(parse_vector, size=len(u))
    rest = take(d["equilibrium"], "equilibrium", {"x": state, "u": command}, code=Code.BAD_PLANT)
    box = take(d["domain"], "domain", {"lo": state, "hi": state}, code=Code.BAD_PLANT)
    need(all(a < b for a, b in zip(box["lo"], box["hi"], strict=True)), Code.BAD_PLANT, "domain", "lo is not below hi in every state")
    need(len(d["outputs"]) == len(x), Code.BAD_SHAPE, "nodes", "one output per state is expected")
    need(len(d["nodes"]) <= MAX_PROGRAM, Code.TOO_LARGE, "nodes", f"at most {MAX_PROGRAM} nodes are read")
    sizes = {"x": len(x), "u": len(u), "p": 0}  # a "p" that gets as far as the sizes is refused
    program = tuple(_step(item, f"nodes[{i}]", sizes, i, table) for i, item in enumerate(d["nodes"]))
    need(all(type(k) is int and 0 <= k < len(program) for k in d["outputs"]), Code.BAD_PLANT, "outputs",
         f"an output is not the index of one of {len(program)} nodes")
    return PlantSpec(d["name"], d["time"], dt, x, u, table, rest["x"], (box["lo"], box["hi"]), program, tuple(d["outputs"]))


# linear forms and the plant's program -------------------------------------------------------------------------------

def _plus(a: Form, b: Form, q: Fraction) -> Form:
    """The form a + q b; a term with coefficient zero stays, a constant zero does not."""
    terms = {k: a.get(k, Fraction(0)) + q * b.get(k, Fraction(0)) for k in {**a, **b}}
    return {k: v for k, v in terms.items() if k != ONE or v}


def _constant(a: Form) -> Fraction | None:
    return a.get(ONE, Fraction(0)) if a.keys() <= {ONE} else None


def _bits(q: Fraction) -> int:
    return max(q.numerator.bit_length(), q.denominator.bit_length())


class Program:
    """Runs a plant's program on linear forms over the nodes of a builder; ``table`` holds the parameters."""

    def __init__(self, spec: PlantSpec, table: Mapping[str, Interval], builder: Builder) -> None:
        self.spec, self.builder = spec, builder
        self._known: dict[Any, int] = {}
        # one node for each unknown parameter: equal to itself, to no other
        self.parameters = {name: {ONE: lo} if lo == hi else self.entries(builder.const([(lo, hi)]))[0] for name, (lo, hi) in table.items()}

    def entries(self, node: int) -> list[Form]:
        """The entries of a vector node as linear forms."""
        return [{(node, i): Fraction(1)} for i in range(self.builder.size(node))]

    def vector(self, forms: Sequence[Form]) -> int:
        """The node whose entries are these forms: a constant, a selection, or one affine map."""
        nodes = sorted({k for form in forms for k, _ in form if k >= 0})
        constants = [form.get(ONE, Fraction(0)) for form in forms]
        if not nodes:
            return self.builder.const(constants)
        key = tuple(tuple(sorted(form.items())) for form in forms)
        if key not in self._known:
            atoms = [(k, i) for k in nodes for i in range(self.builder.size(k))]
            joined = self.builder.concat(nodes)
            weight = [[form.get(atom, Fraction(0)) for atom in atoms] for form in forms]
            picked = all(ONE not in form and list(form.values()) == [1] for form in forms)
            self._known[key] = (self.builder.take(joined, [row.index(Fraction(1)) for row in weight]) if picked
                                else self.builder.affine(joined, affine_from_rational(weight, constants)))
        return self._known[key]

    def run(self, x: Sequence[Form], u: Sequence[Form]) -> list[Form]:
        """One evaluation of the program: x' (continuous) or the next x (discrete) as forms."""
        given: dict[str, Any] = {"x": x, "u": u, "p": self.parameters}
        done: list[Form] = []
        for i, (op, a, *more) in enumerate(self.spec.program):
            if op in given:
                form = given[op][a]
            elif op == "c":
                form = {ONE: a}
            elif op in BINARY:
                form = self._binary(op, done[a], done[more[0]], f"nodes[{i}]")
            else:
                form = self._unary(op, done[a], *more)
            if len(form) > MAX_TERMS + 1 or any(_bits(q) > MAX_BITS for q in form.values()):
                form = self.entries(self.vector([form]))[0]
            done.append(form)
        return [done[o] for o in self.spec.outputs]

    def _binary(self, op: str, a: Form, b: Form, at: str) -> Form:
        p, q = _constant(a), _constant(b)
        if op == "mul" and p is not None:
            a, b, p, q = b, a, q, p
        if op in ("add", "sub"):
            return _plus(a, b, Fraction(1 if op == "add" else -1))
        if op in ("mul", "div") and q is not None:
            need(op == "mul" or q != 0, Code.BAD_PLANT, at, "division by a constant that is exactly zero")
            return _plus({}, a, q if op == "mul" else 1 / q)
        if op in ("min", "max") and p is not None and q is not None:
            return {ONE: min(p, q) if op == "min" else max(p, q)}
        if op == "mul" and a == b:
            return self._unary("pow", a, 2)
        return self.entries(self.builder.binary(op, self.vector([a]), self.vector([b])))[0]

    def _unary(self, op: str, a: Form, power: int | None = None) -> Form:
        value = _constant(a)
        if op == "neg":
            return _plus({}, a, Fraction(-1))
        if power is not None and value is not None and power * _bits(value) <= MAX_BITS:
            return {ONE: value ** power}
        return self.entries(self.builder.unary(op, self.vector([a]), power))[0]


# substitution and composition ---------------------------------------------------------------------------------------

def resolve(spec: PlantSpec, parameters: Mapping[str, Interval]) -> dict[str, Interval]:
    """The plant's parameters with these overrides.

    Raises
    ------
    Refusal
        ``BAD_PARAMETER`` for an unknown name, an empty interval, or another sampling time than the plant's.
    """
    for name, (lo, hi) in parameters.items():
        need(name in spec.parameters, Code.BAD_PARAMETER, f"parameters.{name}",
             f"{spec.name} has no parameter {name}; it has {', '.join(spec.parameters)}")
        need(lo <= hi, Code.BAD_PARAMETER, f"parameters.{name}", f"the interval [{lo}, {hi}] is empty")
    table = {**spec.parameters, **parameters}
    need(spec.dt is None or table.get("dt", (spec.dt, spec.dt)) == (spec.dt, spec.dt), Code.BAD_PARAMETER, "parameters.dt",
         f"the plant's map is sampled with dt = {spec.dt}")
    return table


def _sampling(spec: PlantSpec, time: str, dt: Fraction | None, method: str | None) -> tuple[Any, Any] | None:
    """The step and method of a sampled continuous plant, None where the plant's own x' or next x is the loop."""
    own = spec.time == "discrete"
    sampled = time == "discrete" and not own
    need(not sampled or method != "zoh", Code.UNSUPPORTED, "method", "zoh needs a plant that is already discrete; export the sampled plant")
    for holds, at, why in (
            (time == "discrete" or (time == "continuous" and not own), "time", f"a claim in {time} time is not about a {spec.time} plant"),
            (dt == spec.dt or sampled, "dt", f"the plant itself has the time step {spec.dt}, the requirement says {dt}"),
            (not sampled or (dt is not None and dt > 0), "dt", f"a discrete-time claim on a continuous plant needs dt > 0, not {dt}"),
            (method in METHODS if sampled else method is None or (own and method == "zoh"), "method",
             f"a sampled plant needs one of {', '.join(METHODS)}, any other plant is its own map; change method or leave it out")):
        need(holds, Code.BAD_REQUIREMENT, at, why)
    return (dt, method) if sampled else None


def _advance(run: Callable[[list[Form]], list[Form]], x: list[Form], h: Fraction, method: str) -> list[Form]:
    """One step of the explicit Runge-Kutta map."""
    def move(start: list[Form], slope: list[Form], q: Fraction) -> list[Form]:
        return [_plus(a, b, q) for a, b in zip(start, slope, strict=True)] if q else start

    places, weights = METHODS[method]
    slopes = [run(x)]
    for c in places:
        slopes.append(run(move(x, slopes[-1], c * h)))
    for slope, weight in zip(slopes, weights, strict=True):
        x = move(x, slope, weight * h)
    return x


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
        ``BAD_PARAMETER`` for parameters or limits, ``BAD_SHAPE`` for a controller of other sizes, ``BAD_PLANT`` for a division by zero,
        ``BAD_GRAPH`` for a number or a count that no graph can hold.
    """
    sampling = _sampling(spec, time, dt, method)
    table = resolve(spec, parameters)
    limits = _bounds(spec.inputs, table)
    for signal, (lo, hi) in zip(spec.inputs, limits, strict=True):
        need(lo is None or hi is None or lo[1] <= hi[0], Code.BAD_PARAMETER, f"inputs.{signal.name}", "the lower limit is above the upper limit")
    n, m = len(spec.states), len(spec.inputs)
    have = ((n,), ()) if controller is None else (controller.input_sizes, tuple(map(controller.output_size, range(len(controller.outputs)))))
    fits = have == ((n,), (m,) if m else ())
    need(fits, Code.BAD_SHAPE, "controller", f"the plant has {n} states and {m} inputs, the controller maps sizes {have[0]} to {have[1]}")
    builder = Builder("plant")
    state = builder.input(n)
    program = Program(spec, table, builder)
    u: list[Form] = []
    if controller is not None:
        command = builder.inline(controller, [state])[0]
        u = program.entries(builder.clip(command, [lo for lo, _ in limits], [hi for _, hi in limits]))
    x = program.entries(state)
    after = _advance(lambda at: program.run(at, u), x, *sampling) if sampling else program.run(x, u)
    return Loop(builder.build([program.vector(after)]), controller, limits, time, dt)
