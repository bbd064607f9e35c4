"""The check: from a bundle and what the caller requires to a receipt.  It derives the obligations; it never searches."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.kernel.bundle import Bundle, compare_file, open_bundle, read_file, requirement_name
from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.cut import check_volume
from verifiers.kernel.definite import is_positive_definite, is_positive_semidefinite, rationals
from verifiers.kernel.dissipation import check_storage
from verifiers.kernel.graph import Bools, Floats
from verifiers.kernel.imitation import bounded_graph, data_graph, pushed_loop
from verifiers.kernel.lipschitz import check_bound
from verifiers.kernel.local import Enclosure, Matrix, Vector, check_equilibrium, check_local, ellipsoid_volume
from verifiers.kernel.properties import Goal, Part, check_boundary, check_cover, check_shell, goal_of
from verifiers.kernel.pwa import check_equivalence
from verifiers.kernel.rational import parse, parse_matrix, parse_vector, sqrt_up, up
from verifiers.kernel.requirement import BoundRequirement, Box, LawRequirement, Requirement, read_bound, read_law_requirement, read_requirement
from verifiers.kernel.setting import Setting, Source, expected_claim, identity, make_stage, open_setting, outward, plant_bytes, read_function
from verifiers.kernel.sos import check_decrease, polynomial_graph
from verifiers.kernel.stage import Function, Stage
from verifiers.kernel.strict import take

TYPES = {"function": str, "level": str, "center": list, "radius": list, "neighbourhood": list, "frame": list, "tree": dict,
         "basis": list, "gram": list, "multipliers": list, "expert": dict, "data": dict, "supply": list, "decay": str}


@dataclass(frozen=True)
class Receipt:
    """The outcome of a check; see docs/architecture.md for the fields.  Only ``outcome == "ACCEPTED"`` is good."""

    outcome: str
    code: str | None
    at: str | None
    message: str
    name: str
    property: str | None = None
    level: str | None = None
    region: dict[str, Any] | None = None
    equilibrium: dict[str, list[float]] | None = None
    leaves: int = 0
    check_s: float = 0.0
    bundle_digest: str | None = None
    controller_sha256: str | None = None
    requirement_source: str = "embedded"
    obligations: tuple[dict[str, Any], ...] = ()
    assumptions: tuple[str, ...] = ()


@dataclass(eq=False)
class Case:
    """A check under way: the setting, the bundle, and what it has shown so far."""

    setting: Setting
    bundle: Bundle
    part: Part
    goal: Goal
    stages: list[Stage] = field(default_factory=list)
    equilibrium: Enclosure | None = None
    volume: float | None = None

    def ellipsoid(self) -> tuple[Matrix, Vector, Fraction] | None:
        """P, o and c where the region is an ellipsoid that was shown to lie in the domain; None for another level set."""
        name, level = self.setting.stages[-1]
        source = self.setting.functions[name]
        return (source.matrix, source.origin, level) if self.stages[-1].contained and source.matrix is not None else None

    def proof(self, name: str, kinds: tuple[str, ...], required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
        """The fields of an obligation's proof, read; None for an optional field that is absent."""
        need(name in self.bundle.obligations, Code.MISSING_OBLIGATION, name, "the property demands this obligation")
        given = self.bundle.obligations[name]
        need(given["kind"] in kinds, Code.UNSUPPORTED, name, f"the proof kind {given['kind'][:40]!r} is none of {', '.join(kinds)}")
        fields = take(given, name, {"kind": str, **{key: TYPES[key] for key in required}}, {key: TYPES[key] for key in optional})
        return {key: value if value is None else self.value(key, value, f"{name}.{key}") for key, value in fields.items()}

    def value(self, key: str, value: Any, at: str) -> Any:
        """What a field of a proof says."""
        n = len(self.setting.lo)
        if key == "function":
            need(value in self.setting.functions, Code.MALFORMED_CERTIFICATE, at, f"there is no function {value[:40]!r}")
        if key in ("kind", "function", "basis", "gram", "multipliers", "supply"):  # the last four are read where they are used
            return value
        if key in ("tree", "expert", "data"):
            return self.bundle.read(value, at)
        return parse(value, at) if key in ("level", "decay") else parse_matrix(value, at, n) if key == "frame" else parse_vector(value, at, n)


Shown = tuple[str, int, float | None]
"""What a proof shows: its kind, the number of leaves, and the margin."""
Rule = Callable[[Case, str], Shown]
"""Checks the obligation of that name."""


def check(bundle: Path, requirement: Path | None = None, part: Part = (0, 1)) -> Receipt:
    """Check a bundle against what the caller requires; never raises for bad input.

    Parameters
    ----------
    bundle : Path
        The bundle's folder.
    requirement : Path or None
        The caller's requirement.  None takes the embedded copy: then only consistency is shown, and the receipt says so.
    part : (i, n)
        Check only every n-th batch of leaves, starting at i.  The outcome is then DECLINED with ``PART_MISSING``: see
        :func:`verifiers.parts.join`.
    """
    began = time.perf_counter()
    receipt = Receipt("ERROR", Code.INTERNAL.name, str(bundle), "", requirement_name(bundle / "requirement.toml"),
                      requirement_source="embedded" if requirement is None else "given")
    try:
        with np.errstate(all="ignore"):
            receipt, no = _checked(bundle, requirement, receipt, part), None
    except Refusal as refusal:
        no = refusal
    except (RecursionError, MemoryError):
        no = Refusal(Code.TOO_LARGE, str(bundle), "the input is nested too deeply, or needs more memory than there is")
    except Exception as error:
        no = Refusal(Code.INTERNAL, str(bundle), f"{type(error).__name__}: {error}")
    if no is not None:
        receipt = replace(receipt, outcome=no.code.ending.name, code=no.code.name, at=no.at, message=no.message)
    return replace(receipt, check_s=round(time.perf_counter() - began, 4))


def _checked(path: Path, given: Path | None, receipt: Receipt, part: Part) -> Receipt:
    need(0 <= part[0] < part[1], Code.BAD_NUMBER, "part", "parts are numbered 0 to n - 1")
    bundle = open_bundle(path)
    wanted = bundle.requirement if given is None else read_file(given, str(given))
    requirement = read_law_requirement(wanted, receipt.name) or read_bound(wanted, receipt.name) or read_requirement(wanted, receipt.name)
    need(wanted == bundle.requirement, Code.REQUIREMENT_MISMATCH, "requirement",
         "the requirement given is not the one in the bundle; verify again")
    if isinstance(requirement, LawRequirement):
        return _checked_law(requirement, bundle, given, receipt, part)
    if isinstance(requirement, BoundRequirement):
        return _checked_bound(requirement, bundle, given, receipt, part)
    _compare_files(requirement, bundle, given)
    case = _open_case(requirement, bundle, part)
    name, level = _claimed_region(case)
    shown = [_show(identifier, partial(rule, case)) for identifier, rule in _rules(case).items()]
    proved = (name, level) == case.setting.stages[-1]
    need(proved, Code.CLAIM_MISMATCH, "claim.region", "the region claimed is not the one that the last stage proves")
    ends = None if case.equilibrium is None else dict(zip(("lo", "hi"), (end.tolist() for end in _around(case.equilibrium)), strict=True))
    region = {"function": name, "level": str(level), "volume_lower_bound": case.volume}
    return _accepted(requirement, bundle, receipt, part, region, shown, ends)


def _checked_law(requirement: LawRequirement, bundle: Bundle, given: Path | None, receipt: Receipt, part: Part) -> Receipt:
    """A claim about a law and an optimisation problem, without a plant."""
    compare_file(requirement.controller, "law.json", Code.CONTROLLER_MISMATCH, bundle, given)
    if given is not None:
        own = read_file((given.parent / requirement.problem).resolve(), requirement.problem)
        need(own == bundle.files.get("problem.json"), Code.PROBLEM_MISMATCH, "problem.json", "the problem in the bundle is not the caller's")
    shown = [_show("optimality", lambda name: check_equivalence(requirement, bundle, name, part))]
    return _accepted(requirement, bundle, receipt, part, None, shown, None)


def _checked_bound(requirement: BoundRequirement, bundle: Bundle, given: Path | None, receipt: Receipt, part: Part) -> Receipt:
    """A claim about a controller without a plant."""
    compare_file(requirement.controller, "controller.onnx", Code.CONTROLLER_MISMATCH, bundle, given)
    shown = [_show("bound", lambda _: check_bound(requirement, bundle))]
    region = {"function": f"lipschitz_{requirement.norm}", "level": str(requirement.bound), "volume_lower_bound": None}
    return _accepted(requirement, bundle, receipt, part, region, shown, None)


def _accepted(requirement: Requirement | LawRequirement | BoundRequirement, bundle: Bundle, receipt: Receipt, part: Part,
              region: dict[str, Any] | None, shown: list[dict[str, Any]], equilibrium: dict[str, list[float]] | None) -> Receipt:
    need(requirement.minimum != "L3", Code.EVIDENCE_TOO_LOW, "evidence.minimum",
         "L3 asks for a second checker and a claim on rounded inference; the kernel gives L2")
    receipt = replace(
        receipt, outcome="ACCEPTED", code=None, at=None, message="every obligation of the property is proved", property=requirement.property,
        level="L2", region=region, equilibrium=equilibrium, leaves=sum(o["leaves"] for o in shown), bundle_digest=bundle.digest,
        controller_sha256=bundle.controller_sha256, obligations=tuple(shown), assumptions=bundle.assumptions)
    if part != (0, 1):
        return replace(receipt, outcome="DECLINED", code=Code.PART_MISSING.name, at=f"part {part[0]}/{part[1]}", level=None,
                       message="this part holds; join all parts")
    return receipt


def _show(name: str, rule: Callable[[str], Shown]) -> dict[str, Any]:
    began = time.perf_counter()
    kind, leaves, margin = rule(name)
    return {"id": name, "kind": kind, "leaves": leaves, "margin": margin, "seconds": round(time.perf_counter() - began, 4)}


def _compare_files(requirement: Requirement, bundle: Bundle, given: Path | None) -> None:
    """The files that the caller's requirement names must be those in the bundle: the plant, and where they exist beside it, the networks."""
    compare_file(requirement.controller, "controller.onnx", Code.CONTROLLER_MISMATCH, bundle, given)
    compare_file(requirement.lyapunov, "lyapunov.onnx", Code.DIGEST_MISMATCH, bundle, given)
    plant = plant_bytes(requirement, None if given is None else given.parent, bundle.plant)
    need(plant == bundle.plant, Code.PLANT_MISMATCH, "plant.json", "the plant in the bundle is not the plant that the requirement names")


def _open_case(requirement: Requirement, bundle: Bundle, part: Part) -> Case:
    """Read plant, controller and functions of the bundle."""
    setting = open_setting(requirement, bundle.plant, bundle.controller)
    n = len(setting.lo)
    for name, item in bundle.functions.items():
        at = f"functions.{name}"
        if item["kind"] == "quadratic":
            source = Source(parse_matrix(item["matrix"], at, n), parse_vector(item["center"], at, n), None)
            need(is_positive_definite(source.matrix or ()), Code.NOT_DEFINITE, at, "the matrix is not positive definite")
        elif item["kind"] == "polynomial":
            source = Source(None, (), polynomial_graph(item["terms"], n, at))
        else:  # only this file is compared with the caller's
            need(requirement.lyapunov is not None and item["name"] == "lyapunov.onnx", Code.CLAIM_MISMATCH, at,
                 "a network is lyapunov.onnx, and only where the requirement names one")
            source = Source(None, (), read_function(bundle.files[item["name"]], n, at))
        setting.functions[name] = source
    return Case(setting, bundle, part, goal_of(requirement.property))


def _claimed_region(case: Case) -> tuple[str, Fraction]:
    """Function and level of the region claimed, in a claim that answers the requirement."""
    claim, r = case.bundle.claim, case.setting.requirement
    region = take(claim.get("region"), "claim.region", {"function": str, "level": str})
    want = expected_claim(r, case.setting.spec, region)
    for key in sorted({*claim, *want}):
        same = key in want and key in claim and claim[key] == want[key]
        need(same, Code.CLAIM_MISMATCH, f"claim.{key}", "the certificate claims something else than the requirement demands")
    level, name = parse(region["level"], "claim.region.level"), case.value("function", region["function"], "claim.region")
    need(r.level in (None, level), Code.CLAIM_MISMATCH, "claim.region.level", f"the requirement demands the level {r.level}")
    need(r.level is None or r.lyapunov is None or case.bundle.functions[name]["kind"] == "onnx", Code.CLAIM_MISMATCH,
         "claim.region.function", "the level demanded is one of the Lyapunov function that the requirement names")
    return name, level


def _rules(case: Case) -> dict[str, Rule]:
    """The obligations that the property and the requirement demand, in the order in which they are checked, and their rules."""
    r, given = case.setting.requirement, case.bundle.obligations
    attraction, rules = case.goal.kind == "attraction", dict[str, Rule]()
    if attraction:
        rules |= {"equilibrium": _equilibrium} | ({"whole": _whole} if "whole" in given else {"local": _local})
    if case.goal.kind == "practical":
        rules["inner"] = _inner
    shells = sum(name.startswith("shell-") for name in given) if attraction else 1
    rules |= {f"shell-{k}": _shell for k in range(1, shells + 1)}
    if case.goal.kind == "gain" or (case.goal.kind == "invariance" and given.get("shell-1", {}).get("kind") == "lmi"):
        rules = {"gain" if case.goal.kind == "gain" else "shell-1": _storage}
    if r.imitation is not None and "lipschitz" in given:
        rules = {"lipschitz": _lipschitz, **rules}
    for name, rule in (("error", _below), ("fit", _fit), ("regret", _below)):
        if r.imitation is not None and getattr(r.imitation, name) is not None:
            rules[name] = rule
    if r.contains is not None:
        rules["contains"] = partial(_contains, r.contains)
    if r.min_radius is not None:
        rules["radius"] = partial(_radius, r.min_radius)
    if "volume" in given or r.min_volume is not None or not (attraction or r.contains is not None):  # else nothing says that the region is not empty
        rules["volume"] = _volume
    if extra := sorted(set(given) - set(rules)):
        raise Refusal(Code.UNEXPECTED_OBLIGATION, extra[0], "the property does not ask for this")
    return rules


def _equilibrium(case: Case, name: str) -> tuple[str, int, float | None]:
    """Exactly one equilibrium lies in the box, and the box within the tolerance of where it is required."""
    here = case.setting
    proof = case.proof(name, ("evaluation",), ("center", "radius"))
    where = Enclosure(proof["center"], proof["radius"])
    domain, margins = here.requirement.domain, []
    allowed = here.requirement.tolerance or [(b - a) / 2 / 10**6 for a, b in zip(domain.lo, domain.hi, strict=True)]
    for state, lo, hi, c, q, g, t in zip(here.spec.states, here.lo, here.hi, where.centre, where.radius, case.setting.rest, allowed, strict=True):
        need(q >= 0, Code.EQUILIBRIUM_NOT_PROVED, "equilibrium.radius", "a radius is negative")
        margins.append(t - abs(c - g) - q)
        if not margins[-1] >= 0:
            raise Refusal(Code.EQUILIBRIUM_ELSEWHERE, state.name, f"the loop settles at {float(c):.9g} +- {float(q):.1e}, "
                          f"{float(g):.9g} +- {float(t):.1e} is required")
        need(lo < c - q <= c + q < hi, Code.EQUILIBRIUM_OUTSIDE_DOMAIN, state.name, "the equilibrium is not in the interior of the domain")
    check_equilibrium(here.loop.field, here.requirement.time, where)
    case.equilibrium = where
    return proof["kind"], 0, float(min(margins))


def _local(case: Case, name: str) -> tuple[str, int, float | None]:
    """The quadratic decreases around the equilibrium, which is not cut out."""
    here = case.setting
    proof = case.proof(name, ("jacobian_lmi", "lmi"), ("function", "frame", "neighbourhood", "level"))
    source, frame, level, reach = here.functions[proof["function"]], proof["frame"], proof["level"], proof["neighbourhood"]
    if source.matrix is None or case.equilibrium is None:
        raise Refusal(Code.UNSUPPORTED, "local.function", "the local function must be a quadratic")
    used = check_local(here.loop.field, here.requirement.time, source.matrix, source.origin, frame, reach, level, here.rate, case.equilibrium,
                       (here.lo, here.hi), proof["kind"] == "lmi")
    stage, corner = make_stage(here, source, level, frame), np.array([[up(y) for y in reach]])
    need(stage.command_within(-corner, corner)[0], Code.COMMAND_EXCEEDS_LIMIT, name,
         "the command is not proved to stay within its limits near the equilibrium")
    here.stages.append((proof["function"], level))
    case.stages.append(stage)
    return proof["kind"], 1, float(1 - used)


def _whole(case: Case, name: str) -> Shown:
    """The function decreases on its whole level set but at the equilibrium, and the level set does not touch the boundary of the domain."""
    here, where = case.setting, case.equilibrium
    proof = case.proof(name, ("sos",), ("function", "level", "basis", "gram", "multipliers"), ("tree",))
    if where is None or any(where.radius):
        raise Refusal(Code.UNSUPPORTED, name, "sums of squares need an equilibrium that is known exactly")
    plain = here.requirement.time == "continuous" and here.requirement.saturation == "clip" and not here.rate
    need(plain, Code.UNSUPPORTED, name, "sums of squares are checked in continuous time, without a rate, and where the plant clips")
    source, level, leaves = here.functions[proof["function"]], proof["level"], 0
    stage = make_stage(here, source, level, None if source.matrix is None else identity(len(here.lo)))
    check_decrease(here.loop.field, source.function(None, (), False).graph, where.centre, level, (here.lo, here.hi), proof)
    if source.matrix is None:
        need(proof["tree"] is not None, Code.CONTAINMENT, name, "nothing shows that the level set does not touch the boundary of the domain")
        leaves = check_boundary(stage, proof["tree"], name)
    here.stages.append((proof["function"], level))
    case.stages.append(stage)
    return proof["kind"], leaves, None


def _inner(case: Case, name: str) -> tuple[str, int, float | None]:
    """The inner level of practical stability; what it shows, the tree of the shell shows."""
    proof, target = case.proof(name, ("evaluation",), ("level",)), case.setting.requirement.target
    if target is None:
        raise Refusal(Code.BAD_REQUIREMENT, "target", f"{case.setting.requirement.property} needs [target]")
    hi, lo = outward(target.hi, target.lo)
    case.goal = Goal("practical", proof["level"], lo, hi)
    return proof["kind"], 0, None


def _shell(case: Case, name: str) -> tuple[str, int, float | None]:
    """Attraction: every state of the level set decreases until it is in the stage inside.  Practical: it reaches the target and stays.
    Invariance: it does not leave the level set."""
    here, goal = case.setting, case.goal
    proof = case.proof(name, ("box_tree",), ("function", "level", "tree"), ("frame",))
    frame, level = proof["frame"], proof["level"]
    need(frame is None or goal.kind != "practical", Code.UNSUPPORTED, name, "practical stability is checked in the plant's own coordinates")
    need(goal.kind != "practical" or goal.inner_level < level, Code.EMPTY_REGION, "inner", "the inner level is not below the region's level")
    stage = make_stage(here, here.functions[proof["function"]], level, frame)
    need(stage.image is None or goal.kind == "attraction", Code.UNSUPPORTED, name, "only attraction is checked in a frame of such a function")
    count, worst = check_shell(stage, goal, proof["tree"], name, case.part)
    if stage.image is not None:  # what the region is, is asked in the plant's coordinates
        stage = make_stage(here, here.functions[proof["function"]], level, None)
    if case.equilibrium is not None and not stage.contained:
        lo, hi = _around(case.equilibrium)
        need(stage.inside(lo[None], hi[None])[0], Code.EMPTY_REGION, name,
             "the equilibrium is not inside the level set, so the level claims nothing")
    here.stages.append((proof["function"], level))
    case.stages.append(stage)
    return proof["kind"], count, -worst


def _storage(case: Case, name: str) -> Shown:
    """A quadratic storage function on a level set inside the domain: the gain from disturbance to output, or that the set is never left."""
    here = case.setting
    proof = case.proof(name, ("lmi",), ("function", "level", "multipliers", *(() if here.requirement.gain else ("supply", "decay"))))
    case.stages.append(check_storage(here, here.functions[proof["function"]], proof, tuple(case.setting.rest), name))
    here.stages.append((proof["function"], proof["level"]))
    return proof["kind"], 0, None


def _around(where: Enclosure, more: Fraction = Fraction(0)) -> tuple[Floats, Floats]:
    """The box of an equilibrium, widened and rounded outward."""
    centre, reach = rationals(where.centre), rationals(where.radius) + more
    return outward(list(centre - reach), list(centre + reach))


def _contains(box: Box, case: Case, name: str) -> tuple[str, int, float | None]:
    """The region contains the box demanded; an ellipsoid, which is convex, when it contains the corners."""
    if (ellipsoid := case.ellipsoid()) is None:
        tree = case.proof(name, ("box_tree",), ("tree",))["tree"]
        return "box_tree", check_cover(case.stages[-1], tree, *outward(box.lo, box.hi), name, Code.NOT_CONTAINED)[0], None
    proof, (matrix, origin, level) = case.proof(name, ("evaluation",), (), ("tree",)), ellipsoid
    need(len(origin) <= 16, Code.TOO_LARGE, name, "too many corners")
    p, o = rationals(matrix), rationals(origin)
    for corner in map(rationals, itertools.product(*zip(box.lo, box.hi, strict=True))):
        need((corner - o) @ p @ (corner - o) <= level, Code.NOT_CONTAINED, name, "a corner of the box is outside the region")
    return proof["kind"], 0, None


def _radius(radius: Fraction, case: Case, name: str) -> tuple[str, int, float | None]:
    """The region contains the ball of the radius demanded around every point of the equilibrium's box."""
    here = case.setting
    where = case.equilibrium or Enclosure(tuple(case.setting.rest), (Fraction(0),) * len(here.lo))
    if (ellipsoid := case.ellipsoid()) is not None:
        proof, (matrix, origin, level), eye = case.proof(name, ("lmi",), (), ("tree",)), ellipsoid, np.eye(len(here.lo), dtype=object)
        reach = radius + where.distance(origin, eye)  # such a ball lies in the ball about o of this radius
        inside = is_positive_semidefinite(level / (reach * reach) * eye - rationals(matrix))
        need(inside, Code.RADIUS_TOO_SMALL, name, "the ball demanded is not inside the ellipsoid")
        return proof["kind"], 0, None
    tree = case.proof(name, ("box_tree",), ("tree",))["tree"]
    (lo, hi), (near, far), limit = _around(where, radius), _around(where), up(sqrt_up(radius * radius))
    inside = all(a <= Fraction(b) and Fraction(c) <= d for a, b, c, d in zip(here.lo, lo.tolist(), hi.tolist(), here.hi, strict=True))
    need(inside, Code.RADIUS_TOO_SMALL, name, "the ball demanded leaves the domain")

    def free(low: Floats, high: Floats) -> Bools:
        gap = np.maximum(0.0, np.maximum(low - far, near - high))
        return np.asarray((gap * gap).sum(axis=1) * (1 - 1e-12) > limit * limit * (1 + 1e-12))

    return "box_tree", check_cover(case.stages[-1], tree, lo, hi, name, Code.RADIUS_TOO_SMALL, free)[0], None


def _volume(case: Case, name: str) -> tuple[str, int, float | None]:
    """The region has at least this volume, which is the one demanded and not zero."""
    count, wanted, stage = 0, case.setting.requirement.min_volume, case.stages[-1]
    if (ellipsoid := case.ellipsoid()) is None:
        proof = case.proof(name, ("box_tree",), ("tree",), ("frame",))
        if proof["frame"] is not None:
            count, volume = check_volume(stage, proof["tree"], proof["frame"], tuple(case.setting.rest), name)
        else:
            count, volume = check_cover(stage, proof["tree"], stage.lo, stage.hi, name, Code.LEAF_NOT_INSIDE,
                                        lambda lo, _: np.ones(len(lo), dtype=bool))
    else:
        proof, volume = case.proof(name, ("evaluation",), (), ("tree",)), ellipsoid_volume(ellipsoid[0], ellipsoid[2])
    need(wanted is None or Fraction(volume) >= wanted, Code.VOLUME_TOO_SMALL, name, f"the certified volume is {volume}, {wanted} is required")
    need(volume > 0, Code.EMPTY_REGION, name, "the certified volume is zero")
    case.volume = volume
    return proof["kind"], count, volume


def _lipschitz(case: Case, name: str) -> Shown:
    """Measurement errors move the command by at most their size times a constant; from here on the loop is the one with such a push."""
    proof = case.proof(name, ("lipschitz_sdp",), ("level", "multipliers"))
    case.setting.loop = pushed_loop(case.setting, proof["level"], proof["multipliers"], name)
    return proof["kind"], 0, None


def _below(case: Case, name: str) -> Shown:
    """``error``: on the domain the applied inputs of policy and expert differ by at most the error demanded.  ``regret``: in the target, whatever
    the measurement error, the stage cost is at most the bound demanded."""
    proof = case.proof(name, ("box_tree",), ("tree",), ("expert",) if name == "error" else ())
    graph, limit, box = bounded_graph(case.setting, case.setting.rest, name, proof.get("expert"))
    stage = replace(case.stages[-1], function=Function(graph), level=limit, inner=())
    return proof["kind"], check_cover(stage, proof["tree"], *outward(box.lo, box.hi), name, Code.NOT_PROVED)[0], None


def _fit(case: Case, name: str) -> Shown:
    """At every state of the data set the applied input differs from the data's by at most the error demanded."""
    proof = case.proof(name, ("evaluation",), ("data",))
    rows, graph, limit = data_graph(case.setting, proof["data"])
    stage = replace(case.stages[-1], function=Function(graph), level=limit, inner=())
    flat = list(itertools.chain(*rows))
    lo, hi = (ends.reshape(len(rows), -1) for ends in outward(flat, flat))
    for k in range(0, len(rows), 1024):
        good = stage.inside(lo[k:k + 1024], hi[k:k + 1024])
        need(good.all(), Code.NOT_PROVED, name, f"the policy is not shown to meet row {k + int(good.argmin()) + 2} within the error demanded")
    return proof["kind"], len(rows), None
