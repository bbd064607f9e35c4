"""The setting of a claim: plant, loop, functions and domain that a requirement and its files determine, and the stages on top."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.kernel.bundle import read_file
from verifiers.kernel.codes import Code, need
from verifiers.kernel.definite import inverse, rationals
from verifiers.kernel.graph import Builder, Floats, Graph, affine_from_rational
from verifiers.kernel.local import Matrix, Vector, ellipsoid_reach
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.plant import Loop, PlantSpec, closed_loop, read_plant
from verifiers.kernel.rational import down, up
from verifiers.kernel.requirement import Requirement
from verifiers.kernel.stage import Function, Stage, in_frame, quadratic, strip_output
from verifiers.kernel.strict import read_json

PLANTS = Path(__file__).resolve().parents[2] / "systems" / "data"


@dataclass(frozen=True, eq=False)
class Source:
    """A function of the certificate: exactly one of a quadratic (P, o) and a network."""

    matrix: Matrix | None
    origin: tuple[Fraction, ...]
    network: Graph | None

    def function(self, frame: Matrix | None, origin: Vector, sharp: bool) -> Function:
        """The function in coordinates y, x = origin + frame y (x itself without a frame); ``sharp`` drops a monotone output."""
        if self.network is not None:
            graph = in_coordinates(self.network, frame, origin)
            return strip_output(graph) if sharp else Function(graph)
        matrix = self.matrix or ()
        if frame is None:
            return quadratic(matrix, self.origin)
        return quadratic(congruent(matrix, frame), list(rationals(inverse(frame)) @ (rationals(self.origin) - rationals(origin))))


@dataclass(eq=False)
class Setting:
    """What a claim is about: the requirement, the plant, the loop, the box (D, cut with [safe]), the policy without measurement errors, the
    functions, and the stages shown so far."""

    requirement: Requirement
    spec: PlantSpec
    loop: Loop
    lo: tuple[Fraction, ...]
    hi: tuple[Fraction, ...]
    policy: Graph | None = None
    functions: dict[str, Source] = field(default_factory=dict)
    stages: list[tuple[str, Fraction]] = field(default_factory=list)

    @property
    def rate(self) -> Fraction:
        """The exponential rate, zero where none is required."""
        return self.requirement.rate or Fraction(0)

    @property
    def rest(self) -> Vector:
        """Where the loop is required to settle."""
        return self.spec.equilibrium_x if self.requirement.equilibrium is None else self.requirement.equilibrium

    def closed(self, acting: Graph | None) -> Loop:
        """The loop with another policy."""
        r = self.requirement
        return closed_loop(self.spec, acting, r.parameters, time=r.time, dt=r.dt, method=r.method)


def identity(n: int) -> Matrix:
    """The frame that leaves coordinates as they are."""
    return tuple(tuple(Fraction(int(i == j)) for j in range(n)) for i in range(n))


def congruent(matrix: Matrix, frame: Matrix) -> Matrix:
    """``Tᵀ P T``, exact."""
    t = rationals(frame)
    return tuple(map(tuple, t.T @ rationals(matrix) @ t))


def in_coordinates(graph: Graph, frame: Matrix | None, origin: Vector) -> Graph:
    """The graph of ``y -> graph(origin + frame y)``; the graph itself without a frame."""
    if frame is None:
        return graph
    b = Builder()
    return b.build(b.inline(graph, [b.affine(b.input(len(origin)), affine_from_rational(frame, origin))]))


def outward(lo: Vector, hi: Vector) -> tuple[Floats, Floats]:
    """The ends in float64, the first rounded down and the second rounded up."""
    return np.array(list(map(down, lo))), np.array(list(map(up, hi)))


def plant_bytes(requirement: Requirement, folder: Path | None, embedded: bytes | None = None) -> bytes:
    """The caller's plant: the copy shipped with systems/, or the file in ``folder`` whose digest the requirement names.

    Without a folder the embedded copy stands for the user's file, and must have the digest that the requirement names.
    """
    if requirement.plant_sha256 is None:
        return read_file(PLANTS / f"{requirement.plant}.plant.json", f"plant {requirement.plant}")
    own = embedded if folder is None and embedded is not None else read_file(((folder or Path()) / requirement.plant).resolve(), requirement.plant)
    same = hashlib.sha256(own).hexdigest() == requirement.plant_sha256
    need(same, Code.PLANT_MISMATCH, "plant.sha256", "the plant's file has another sha256 than the requirement says")
    return own


def open_setting(requirement: Requirement, plant: bytes, controller: bytes | None) -> Setting:
    """Read the plant, compose the loop and cut the domain."""
    spec = read_plant(read_json(plant, "plant.json", Code.BAD_PLANT))
    n, lo, hi = len(spec.states), requirement.domain.lo, requirement.domain.hi
    need(len(lo) == n, Code.BAD_SHAPE, "domain", f"the plant has {n} states, the domain {len(lo)}")
    network = None if controller is None else read_onnx(controller, "controller.onnx", jumps=requirement.time == "discrete").graph
    loop = closed_loop(spec, network, requirement.parameters, time=requirement.time, dt=requirement.dt, method=requirement.method)
    if requirement.safe is not None:
        lo, hi = tuple(map(max, lo, requirement.safe.lo)), tuple(map(min, hi, requirement.safe.hi))
    setting = Setting(requirement, spec, loop, lo, hi, network)
    if network is not None and requirement.imitation is not None:
        setting.loop = setting.closed(mistaken(network, requirement.imitation.size, Fraction(0)))
    return setting


def mistaken(policy: Graph, size: Fraction, push: Fraction) -> Graph:
    """``x -> policy(x + d) + e`` for unknown d and e with ``|d_i| <= size``, among which is every d of a Euclidean norm of at most ``size``, and
    ``|e_j| <= push``."""
    b = Builder()
    x = b.input(policy.input_sizes[0])
    seen = b.binary("add", x, b.const([(-size, size)] * b.size(x)))
    u = b.inline(policy, [seen])[0]
    return b.build([b.binary("add", u, b.const([(-push, push)] * b.size(u)))])


def read_function(data: bytes, n: int, at: str) -> Graph:
    """A scalar function of n states from ONNX bytes."""
    graph = read_onnx(data, at).graph
    need(graph.input_sizes == (n,) and graph.output_size() == 1, Code.BAD_SHAPE, at,
         f"the function maps {graph.input_sizes} to {graph.output_size()}, the plant has {n} states")
    return graph


def plain(value: Any) -> Any:
    """Rationals as texts, tuples as lists: what JSON can hold."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple) else str(value) if isinstance(value, Fraction) else value


def expected_claim(requirement: Requirement, spec: PlantSpec, region: object) -> dict[str, Any]:
    """The claim that answers a requirement, but for the region's level where the requirement leaves it open."""
    def text(q: Fraction | None) -> str | None:
        return None if q is None else str(q)
    extra = {key: plain(vars(part)) for key, part in (("imitation", requirement.imitation), ("gain", requirement.gain)) if part is not None}
    return {"property": requirement.property, "time": requirement.time, "dt": text(requirement.dt), "method": requirement.method, **extra,
            "domain": {"lo": list(map(str, requirement.domain.lo)), "hi": list(map(str, requirement.domain.hi))},
            "parameters": {key: [str(a), str(b)] for key, (a, b) in sorted({**spec.parameters, **requirement.parameters}.items())},
            "saturation": requirement.saturation, "rate": text(requirement.rate), "arithmetic": "real", "region": region}


def make_stage(setting: Setting, source: Source, level: Fraction, frame: Matrix | None) -> Stage:
    """The stage of a function and level on top of the stages before; in a frame an ellipsoid inside of D, or another set, its root a box around D.

    Raises
    ------
    Refusal
        ``CONTAINMENT`` when the ellipsoid {V <= c} is not in the interior of the domain, ``EMPTY_REGION`` for a level that is not positive,
        ``UNSUPPORTED`` for a frame of another function in discrete time.
    """
    r, origin, sharp, loop = setting.requirement, source.origin, not setting.rate, setting.loop
    (lo, hi), (inner_hi, inner_lo), field = outward(setting.lo, setting.hi), outward(setting.hi, setting.lo), loop.field
    image = None
    if frame is not None and source.matrix is None:
        need(r.time == "continuous", Code.UNSUPPORTED, "frame", "in discrete time a frame needs a quadratic function")
        origin, back = tuple(setting.rest), rationals(inverse(frame))
        ends = [back * (rationals(side) - rationals(origin)) for side in (setting.lo, setting.hi)]
        lo, hi = outward(np.minimum(*ends).sum(axis=1).tolist(), np.maximum(*ends).sum(axis=1).tolist())
        field, image = in_frame(field, r.time, frame, origin), affine_from_rational(frame, origin)
    elif frame is not None and source.matrix is not None:
        need(level > 0, Code.EMPTY_REGION, "level", "an ellipsoid needs a positive level")
        reach = rationals(list(map(Fraction, ellipsoid_reach(source.matrix, level))))
        inside = (rationals(setting.lo) < rationals(origin) - reach) & (rationals(origin) + reach < rationals(setting.hi))
        need(inside.all(), Code.CONTAINMENT, setting.spec.states[int(inside.argmin())].name, f"the ellipsoid of level {level} leaves the domain")
        hi = inner_hi = np.array(ellipsoid_reach(congruent(source.matrix, frame), level))
        lo = inner_lo = -hi
        field = in_frame(field, r.time, frame, origin)
    inner = tuple((setting.functions[name].function(frame, origin, sharp), c) for name, c in setting.stages)
    command = in_coordinates(loop.command, frame, origin) if loop.command is not None and r.saturation == "forbid" else None
    limits = tuple((-math.inf if low is None else up(low[1]), math.inf if high is None else down(high[0])) for low, high in loop.limits)
    return Stage(field, r.time, source.function(frame, origin, sharp), level, lo, hi, inner_lo, inner_hi, inner, setting.rate,
                 frame is not None and image is None, command, limits, image=image)
