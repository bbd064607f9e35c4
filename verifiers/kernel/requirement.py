"""requirement.toml: what a person demands of a closed loop, complete and without contradiction."""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.rational import parse
from verifiers.kernel.strict import Reader, take

Vector = tuple[Fraction, ...]
PROPERTIES = ("asymptotic_stability_roa", "exponential_stability_roa", "practical_stability", "forward_invariance", "imitation_iss", "l2_gain")
PRACTICAL = ("practical_stability", "imitation_iss")
PLANNED = ("hybrid_roa", "decide")
EQUIVALENCE, LIPSCHITZ = "pwa_equivalence", "lipschitz_bound"
LEVELS = ("L0", "L1", "L2", "L3")
METHODS = ("euler", "midpoint", "rk4", "zoh")
MAX_BYTES, MAX_LINE = 1 << 16, 1 << 12  # tomllib takes cubic time in the length of a dotted key
_EXPONENT = re.compile(r"([^eE]*)[eE]([+-]?[0-9]{1,2})", re.ASCII)


class _Float(str):
    """The text of a TOML float, told apart from a quoted string."""


@dataclass(frozen=True)
class Box:
    """The closed box ``lo <= x <= hi``, in the plant's units and order of states; ``lo < hi`` in every coordinate."""

    lo: Vector
    hi: Vector

    def holds(self, other: Box) -> bool:
        """True when ``other`` lies in this box."""
        return all(a <= c and d <= b for a, b, c, d in zip(self.lo, self.hi, other.lo, other.hi, strict=True))

    def meets(self, other: Box) -> bool:
        """True when the interiors intersect."""
        return all(a < d and c < b for a, b, c, d in zip(self.lo, self.hi, other.lo, other.hi, strict=True))

    def surrounds(self, x: Vector) -> bool:
        """True when the point ``x`` lies in the interior."""
        return all(a < v < b for a, v, b in zip(self.lo, x, self.hi, strict=True))

    def volume(self) -> Fraction:
        """Product of the widths."""
        return math.prod((b - a for a, b in zip(self.lo, self.hi, strict=True)), start=Fraction(1))


@dataclass(frozen=True)
class Imitation:
    """What ``imitation_iss`` demands beside practical stability under every measurement error; absent things are None.

    Attributes
    ----------
    size : Fraction
        Errors d of the measurement are at most so large in the Euclidean norm; the policy sees x + d.
    kind : str
        The expert: ``onnx`` (a file), ``lqr`` (a gain), or ``mpc``, which is not a graph, so nothing is proved about it.
    expert, data : str or None
        sha256 of the expert's file, and of the data set.
    gain : tuple of tuple or None
        K (m, n) of the expert u = -K (x - x*).
    error, fit : Fraction or None
        Largest Euclidean distance of the applied inputs of policy and expert on the domain, and of policy and data at the data's states.
    regret : (Q, R, bound) or None
        Weights of a stage cost, not negative, and how much of it per step the loop pays at most in the long run.
    """

    size: Fraction
    kind: str
    expert: str | None
    gain: tuple[Vector, ...] | None
    error: Fraction | None
    data: str | None
    fit: Fraction | None
    regret: tuple[Vector, Vector, Fraction] | None


@dataclass(frozen=True)
class Gain:
    """What ``l2_gain`` demands: the bound, the total energy of the disturbances for which it is demanded, and the output's weights of states."""

    value: Fraction
    energy: Fraction
    output: dict[str, Fraction]


@dataclass(frozen=True)
class Requirement:
    """Everything that a requirement demands; absent things are None.

    Attributes
    ----------
    plant, plant_sha256 : str, str or None
        Name of a shipped plant (then no digest), or path of the user's plant.json relative to the requirement, with its sha256.
    controller, lyapunov : str or None
        Paths relative to the requirement's folder (a plant without inputs has no controller).  The paths of an embedded copy are
        never opened.
    time, dt, method : str, Fraction or None (s), str or None
        Both None in continuous time.  In discrete time ``method`` None means that the plant itself is a discrete map (a
        continuous one must then be refused); only then may ``dt`` be None, for a map without a sampling time.
    parameters : dict
        Name to exact ``(lo, hi)``; an unknown constant between them where they differ.
    equilibrium, tolerance : tuple or None
        Where the loop shall rest (the plant's equilibrium when None), and how far off it may be per state (1e-6 of the
        domain's half-widths when None).
    level : Fraction or None
        The level that must be proved exactly; None leaves it to the prover (``"max"`` or left out).
    contains, min_radius, min_volume : Box, Fraction, Fraction, each or None
        What the region must contain: a box, a Euclidean ball around the equilibrium; and the least volume.
    rate : Fraction or None
        V' <= -rate V (1/s), or V+ <= (1 - rate) V per step.
    target, safe : Box or None
        The set to reach and stay in (practical stability); the box that the region must not leave.
    minimum : str
        Least evidence level, "L0" to "L3".
    imitation, gain : Imitation or None, Gain or None
        What ``imitation_iss`` and ``l2_gain`` demand, and no other property.
    """

    name: str
    sha256: str
    property: str
    plant: str
    plant_sha256: str | None
    controller: str | None
    lyapunov: str | None
    time: str
    dt: Fraction | None
    method: str | None
    saturation: str
    parameters: dict[str, tuple[Fraction, Fraction]]
    domain: Box
    equilibrium: Vector | None
    tolerance: Vector | None
    level: Fraction | None
    contains: Box | None
    min_radius: Fraction | None
    min_volume: Fraction | None
    rate: Fraction | None
    target: Box | None
    safe: Box | None
    minimum: str
    imitation: Imitation | None = None
    gain: Gain | None = None


def read_table(data: bytes, name: str) -> dict[str, Any]:
    """The table of a requirement's TOML text, unread.

    Raises
    ------
    Refusal
        ``TOO_LARGE``, or ``BAD_REQUIREMENT`` for what is no TOML.
    """
    need(len(data) <= MAX_BYTES and max(map(len, data.split(b"\n"))) <= MAX_LINE, Code.TOO_LARGE, name,
         f"a requirement has at most {MAX_BYTES} bytes, and {MAX_LINE} in a line; shorten it")
    try:
        return tomllib.loads(data.decode("utf-8"), parse_float=_Float)
    except (ValueError, RecursionError) as error:
        raise Refusal(Code.BAD_REQUIREMENT, name, f"this is not UTF-8 TOML: {error}") from None


def read_requirement(data: bytes, name: str) -> Requirement:
    """Read the bytes of a requirement about a plant's closed loop.

    Raises
    ------
    Refusal
        ``BAD_REQUIREMENT``, ``BAD_NUMBER``, ``BAD_SHAPE``, ``BAD_PARAMETER`` or ``UNSAFE_PATH`` at the key;
        ``EQUILIBRIUM_OUTSIDE_DOMAIN``, ``TOO_LARGE``; ``UNSUPPORTED`` for a property without kernel rules.
    """
    table = read_table(data, name)
    states = len(_box(table.get("domain"), "domain").lo)
    box, vector = partial(_box, size=states), partial(_vector, size=states)
    required: dict[str, Reader] = {
        "property": _property, "plant": _plant, "time": _word("continuous", "discrete"), "domain": box,
        "region": _table({}, level=_level, contains=box, min_radius=_positive, min_volume=_positive)}
    top = _table(required, controller=_path, lyapunov=_path, dt=_positive, method=_word(*METHODS), saturation=_word("clip", "forbid"),
                 parameters=_parameters, target=box, safe=box, equilibrium=_table({}, x=vector, tolerance=vector),
                 decrease=_table({"rate": _positive}), evidence=_table({}, minimum=_word(*LEVELS)),
                 attack=_table({"size": _positive, "norm": _word("l2")}), data=_table({"file": _named_file, "error": _positive}),
                 expert=_table({}, file=_named_file, kind=_word("lqr", "mpc"), gain=_rows, error=_positive),
                 regret=_table({"Q": vector, "R": _entries, "bound": _positive}), gain=_gain,
                 prover=_table({}, method=_given, degree=_given, stages=_given))(table, "")
    plain = {key: top[key] for key in ("property", "controller", "lyapunov", "time", "dt", "method", "domain", "target", "safe")}
    inner = {key: value for part in ("equilibrium", "decrease", "evidence") for key, value in (top[part] or {}).items()}
    plant, plant_sha256 = top["plant"]
    found = Requirement(
        name=name, sha256=hashlib.sha256(data).hexdigest(), plant=plant, plant_sha256=plant_sha256, **plain, **top["region"],
        saturation=top["saturation"] or "clip", parameters=top["parameters"] or {}, minimum=inner.get("minimum") or "L2",
        equilibrium=inner.get("x"), tolerance=inner.get("tolerance"), rate=inner.get("rate"),
        imitation=_imitation(top), gain=top["gain"])
    for holds, at, sentence in _consistency(found):
        _need(holds, at, sentence)
    need(found.equilibrium is None or found.domain.surrounds(found.equilibrium), Code.EQUILIBRIUM_OUTSIDE_DOMAIN, "equilibrium.x",
         "this is not in the interior of [domain]; enlarge [domain] or correct it")
    return found


def _imitation(top: dict[str, Any]) -> Imitation | None:
    """The tables of ``imitation_iss``, read together; no other property has one of them."""
    asked = top["property"] == PROPERTIES[4]
    for key in ("attack", "expert", "controller") if asked else ("attack", "expert", "data", "regret"):
        _need((top[key] is not None) == asked, key, f"{PROPERTIES[4]} needs [attack], [expert] and a controller; no other property has such tables")
    if not asked:
        return None
    expert, data, regret = top["expert"], top["data"] or {"file": (None, None), "error": None}, top["regret"]
    kind = expert["kind"] or "onnx"
    _need((expert["file"] is None) == (kind == "lqr") and (expert["gain"] is not None) == (kind == "lqr"), "expert",
          'an expert is file = { path, sha256 } of an ONNX network, kind = "lqr" with its gain, or kind = "mpc" with the file of its weights')
    _need(expert["error"] is None or kind != "mpc", "expert.error", "an MPC is no graph, so this distance has no proof; demand [data] error instead")
    _need(expert["error"] or data["error"], "expert.error", "nothing is demanded about the expert; add this, or [data]")
    cost = None if regret is None else (regret["Q"], regret["R"], regret["bound"])
    _need(cost is None or min((*cost[0], *cost[1])) >= 0, "regret", "a weight of the cost is negative, so that of the expert might be too")
    return Imitation(top["attack"]["size"], kind, (expert["file"] or (None, None))[1], expert["gain"], expert["error"], data["file"][1],
                     data["error"], cost)


@dataclass(frozen=True)
class LawRequirement:
    """What ``pwa_equivalence`` demands: on the box of parameters the law is the first ``outputs`` components of the minimiser of a mp-QP (all of
    them for None), and has no value exactly where that is infeasible.  The problem is a file of the caller's with this sha256.  With a ``loop`` of
    matrices (A, B) the law has a value at A θ + B u(θ) wherever it has the value u(θ): it stays feasible for ever.  If it is ``stable`` too, the
    origin is exponentially stable in it, with all those θ attracted.
    """

    name: str
    problem: str
    problem_sha256: str
    controller: str | None
    outputs: int | None
    domain: Box
    minimum: str
    loop: tuple[tuple[Vector, ...], tuple[Vector, ...]] | None = None
    stable: bool = False
    property: str = EQUIVALENCE


def read_law_requirement(data: bytes, name: str) -> LawRequirement | None:
    """Read the bytes of a requirement whose property is ``pwa_equivalence``; None where it is another.

    Raises
    ------
    Refusal
        ``BAD_REQUIREMENT``, ``BAD_NUMBER``, ``BAD_SHAPE`` or ``UNSAFE_PATH`` at the key; ``TOO_LARGE``.
    """
    table = read_table(data, name)
    if table.get("property") != EQUIVALENCE:
        return None
    top = _table({"property": str, "problem": _named_file, "domain": _box}, controller=_path, outputs=int, loop=_loop, stable=bool,
                 evidence=_table({}, minimum=_word(*LEVELS)))(table, "")
    problem, digest = top["problem"]
    _need(top["outputs"] is None or top["outputs"] > 0, "outputs", "this is a number of components of the minimiser, at least one")
    _need(not top["stable"] or top["loop"] is not None, "stable", "this is about a loop; add loop = { A = ..., B = ... }")
    return LawRequirement(name, problem, digest, top["controller"], top["outputs"], top["domain"], (top["evidence"] or {}).get("minimum") or "L2",
                          top["loop"], top["stable"] or False)


@dataclass(frozen=True)
class BoundRequirement:
    """What ``lipschitz_bound`` demands: |y - y'|_2 <= bound |x - x'|_2 for all x, x' (in the domain where there is one)."""

    name: str
    controller: str
    bound: Fraction
    norm: str
    domain: Box | None
    minimum: str
    property: str = LIPSCHITZ


def read_bound(data: bytes, name: str) -> BoundRequirement | None:
    """Read the bytes of a requirement whose property is ``lipschitz_bound``; None where it is another.

    Raises
    ------
    Refusal
        ``BAD_REQUIREMENT``, ``BAD_NUMBER`` or ``UNSAFE_PATH`` at the key; ``TOO_LARGE``.
    """
    table = read_table(data, name)
    if table.get("property") != LIPSCHITZ:
        return None
    top = _table({"property": str, "controller": _path, "bound": _table({"value": _positive, "norm": _word("l2")})}, domain=_box,
                 evidence=_table({}, minimum=_word(*LEVELS)), prover=_table({}, method=_given))(table, "")
    return BoundRequirement(name, top["controller"], top["bound"]["value"], top["bound"]["norm"], top["domain"],
                            (top["evidence"] or {}).get("minimum") or "L2")


def _consistency(r: Requirement) -> Iterator[tuple[bool, str, str]]:
    """Yield ``(holds, key, sentence otherwise)`` for what the fields must fulfil together."""
    discrete = r.time == "discrete"
    yield discrete or r.dt is None, "dt", 'a time step belongs to discrete time; write time = "discrete" or remove dt'
    yield discrete or r.method is None, "method", 'a discretisation belongs to discrete time; write time = "discrete" or remove method'
    yield r.method is None or r.dt is not None, "dt", 'a discretisation needs the time step; add for example dt = "1/20"'
    for key, value, names in (("decrease.rate", r.rate, PROPERTIES[1:2]), ("target", r.target, PRACTICAL), ("gain", r.gain, PROPERTIES[5:])):
        yield ((value is None) == (r.property not in names), key,
               f"{' and '.join(names)} needs this, and no other property has it; change property, or add or remove it")
    yield not discrete or r.rate is None or r.rate < 1, "decrease.rate", "in discrete time V+ <= (1 - rate) V needs a rate below 1"
    yield (any(v is not None for v in (r.contains, r.min_radius, r.min_volume, r.gain)) or (r.level is not None and r.lyapunov is not None), "region",
           "nothing is demanded of the region; add contains, min_radius, min_volume, or the numeric level of a named lyapunov function")
    yield r.rate is None or r.level is None or r.level > 0, "region.level", "the level of a function with an exponential rate must be positive"
    yield r.tolerance is None or min(r.tolerance) > 0, "equilibrium.tolerance", "a tolerance must be positive; write for example 1/100000"
    yield r.contains is None or r.domain.holds(r.contains), "region.contains", "this box is not inside [domain]; shrink it or enlarge [domain]"
    yield (r.min_radius is None or 2 * r.min_radius <= min(b - a for a, b in zip(r.domain.lo, r.domain.hi, strict=True)), "region.min_radius",
           "a ball of this radius does not fit into [domain]; ask for less")
    yield r.min_volume is None or r.min_volume <= r.domain.volume(), "region.min_volume", "[domain] has less volume; ask for less or enlarge it"
    yield r.target is None or r.domain.meets(r.target), "target", "the target lies outside [domain]; shift one of them"
    yield r.target is None or not r.target.holds(r.domain), "target", "the target covers all of [domain], so nothing is demanded; shrink it"
    yield r.safe is None or r.domain.meets(r.safe), "safe", "the box [safe] lies outside [domain]; shift one of them"
    yield r.safe is None or r.contains is None or r.safe.holds(r.contains), "safe", "region.contains leaves this box; shrink it or enlarge [safe]"
    yield (r.safe is None or r.equilibrium is None or r.property not in PROPERTIES[:2] or r.safe.surrounds(r.equilibrium), "safe",
           "the equilibrium is not in the interior of the box [safe]; enlarge [safe]")


def _need(condition: object, at: str, sentence: str) -> None:
    need(condition, Code.BAD_REQUIREMENT, at, sentence)


# readers: from a value of the TOML text and its place to what it means ----------------------------------------------

def _table(required: Mapping[str, Reader], **optional: Reader) -> Callable[[Any, str], dict[str, Any]]:
    return lambda value, at: take(value, at, required, optional, Code.BAD_REQUIREMENT)


def _given(value: Any, at: str) -> Any:
    return value


def _word(*words: str) -> Callable[[Any, str], str]:
    def reader(value: Any, at: str) -> str:
        _need(type(value) is str and value in words, at, f"{str(value)[:60]!a} is none of {', '.join(words)}")
        return str(value)
    return reader


def _property(value: Any, at: str) -> str:
    _need(value not in (EQUIVALENCE, LIPSCHITZ), at, "this is a property of a law or controller alone, and a plant's loop is asked for here")
    need(value not in PLANNED, Code.UNSUPPORTED, at,
         f"the kernel has no rules for {value} yet; it proves {', '.join((*PROPERTIES, EQUIVALENCE, LIPSCHITZ))}")
    return _word(*PROPERTIES)(value, at)


def _path(value: Any, at: str) -> str:
    _need(type(value) is str, at, "a path is a text")
    need(value and value.isprintable() and "\\" not in value, Code.UNSAFE_PATH, at,
         "a path is not empty and has neither backslashes nor control characters; write it with /")
    return str(value)


def _plant(value: Any, at: str) -> tuple[str, str | None]:
    if type(value) is str:
        _need(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,60}", value), at,
              'this is not the name of a plant; a file is written as plant = { path = "...", sha256 = "..." }')
        return value, None
    return _named_file(value, at)


def _named_file(value: Any, at: str) -> tuple[str, str]:
    fields = _table({"path": _path, "sha256": str})(value, at)
    _need(re.fullmatch(r"[0-9a-f]{64}", fields["sha256"]), f"{at}.sha256",
          "a sha256 has 64 lower-case hexadecimal digits; `sha256sum FILE` prints it")
    return fields["path"], fields["sha256"]


def read_number(value: Any, at: str) -> Fraction:
    """Read a number; unlike in a certificate, a person may write an integer, a float (its text counts) or a decimal exponent."""
    _need(type(value) in (str, int, _Float), at, 'a number is expected here, written as "0.15" or "3/20"')
    if found := _EXPONENT.fullmatch(str(value)):
        return parse(found[1], at) * Fraction(10) ** int(found[2])
    return parse(str(value), at)


def _positive(value: Any, at: str) -> Fraction:
    number = read_number(value, at)
    _need(number > 0, at, f"{number} is not positive; write a number above zero")
    return number


def _level(value: Any, at: str) -> Fraction | None:
    return None if value == "max" else read_number(value, at)


def _vector(items: Any, at: str, size: int | None) -> Vector:
    _need(type(items) is list, at, "a list of numbers is expected here")
    need(size in (None, len(items)), Code.BAD_SHAPE, at, f"{len(items)} numbers where [domain] lo has {size}; one per state is expected")
    return tuple(read_number(item, f"{at}[{i}]") for i, item in enumerate(items))


def _entries(items: Any, at: str) -> Vector:
    return _vector(items, at, None)


def _rows(items: Any, at: str) -> tuple[Vector, ...]:
    _need(type(items) is list, at, "a list of rows of numbers is expected here")
    return tuple(_vector(row, f"{at}[{i}]", None) for i, row in enumerate(items))


def _loop(value: Any, at: str) -> tuple[tuple[Vector, ...], tuple[Vector, ...]]:
    """The matrices A, square, and B, with as many rows."""
    fields = _table({"A": _rows, "B": _rows})(value, at)
    a, b = fields["A"], fields["B"]
    fits = len(a) == len(b) and all(len(row) == len(a) for row in a) and len({len(row) for row in b}) == 1
    need(fits, Code.BAD_SHAPE, at, "A is a square matrix and B one with as many rows, each a list of rows")
    return a, b


def _box(value: Any, at: str, size: int | None = None) -> Box:
    fields = _table({"lo": list, "hi": list})(value, at)
    lo = _vector(fields["lo"], f"{at}.lo", size)
    hi = _vector(fields["hi"], f"{at}.hi", len(lo))
    _need(lo, at, "the box has no coordinates; give one number per state")
    for i, (a, b) in enumerate(zip(lo, hi, strict=True)):
        _need(a < b, f"{at}.lo[{i}]", f"{a} is not below hi[{i}] = {b}; a box needs lo < hi in every coordinate")
    return Box(lo, hi)


def _gain(value: Any, at: str) -> Gain:
    return Gain(**_table({"value": _positive, "energy": _positive, "output": _weights})(value, at))


def _weights(table: Any, at: str) -> dict[str, Fraction]:
    _need(type(table) is dict and table, at, 'a table of weights of states is expected here, as { theta = "1" }')
    return {str(key): _positive(value, f"{at}.{str(key)[:60]!a}") for key, value in table.items()}


def _parameters(table: Any, at: str) -> dict[str, tuple[Fraction, Fraction]]:
    _need(type(table) is dict, at, "a table of parameters is expected here")
    found = {}
    for key, value in table.items():
        need(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}", key), Code.BAD_PARAMETER, f"{at}.{key[:60]!a}",
             "this is not the name of a parameter; `certctl systems NAME` prints them")
        ends = value if isinstance(value, list) else [value, value]
        _need(len(ends) == 2, f"{at}.{key}", 'a parameter is a number or a pair ["lo", "hi"]')
        lo, hi = (read_number(end, f"{at}.{key}") for end in ends)
        _need(lo <= hi, f"{at}.{key}", f"the pair is empty: {lo} is above {hi}")
        found[key] = lo, hi
    return found
