"""The check: from a bundle and what the caller requires to a receipt.  It derives the obligations; it never searches."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.kernel.bundle import Bundle, open_bundle, read_file
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import is_positive_definite, is_positive_semidefinite
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.local import Enclosure, Matrix, check_equilibrium, check_local, ellipsoid_volume
from verifiers.kernel.properties import Goal, Part, check_covered, check_shell, check_volume
from verifiers.kernel.rational import down, parse, parse_matrix, parse_vector, sqrt_up, up
from verifiers.kernel.requirement import Requirement, read_requirement, requirement_name
from verifiers.kernel.setting import Setting, Source, expected_claim, local_stage, make_stage, open_setting, plant_bytes, read_function
from verifiers.kernel.stage import Stage, quadratic
from verifiers.kernel.strict import take

ATTRACTION = ("asymptotic_stability_roa", "exponential_stability_roa")
LOCAL = {"kind": str, "function": str, "frame": list, "neighbourhood": list, "level": str}
SHELL = {"kind": str, "function": str, "level": str, "tree": dict}


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
    done: list[dict[str, Any]] = field(default_factory=list)
    equilibrium: Enclosure | None = None
    last: Stage | None = None
    ellipsoid: tuple[Matrix, tuple[Fraction, ...], Fraction] | None = None
    volume: float | None = None

    def source(self, name: str, at: str) -> Source:
        """The function of that name."""
        if name not in self.setting.functions:
            raise Refusal(Code.MALFORMED_CERTIFICATE, at, f"there is no function {name[:40]!r}")
        return self.setting.functions[name]

    def show(self, identifier: str, kind: str, says: str, leaves: int, margin: float | None, began: float) -> None:
        """Record an obligation that has been shown."""
        self.done.append({"id": identifier, "kind": kind, "leaves": leaves, "margin": margin, "says": says,
                          "seconds": round(time.perf_counter() - began, 4)})


def check(bundle: Path, requirement: Path | None = None, part: Part = (0, 1)) -> Receipt:
    """Check a bundle against what the caller requires; never raises for bad input.

    Parameters
    ----------
    bundle : Path
        The bundle's folder.
    requirement : Path or None
        The caller's requirement.  None takes the embedded copy: then only consistency is shown, and the receipt says so.
    part : (i, n)
        Check only every n-th batch of leaves, starting at i.  The outcome is then DECLINED with ``PART_MISSING``: see :func:`join`.
    """
    began = time.perf_counter()
    receipt = Receipt("ERROR", Code.INTERNAL.name, str(bundle), "", requirement_name_or(bundle, requirement),
                      requirement_source="embedded" if requirement is None else "given")
    try:
        with np.errstate(all="ignore"):
            receipt = _checked(bundle, requirement, receipt, part)
    except Refusal as no:
        receipt = replace(receipt, outcome=no.code.ending.name, code=no.code.name, at=no.at, message=no.message)
    except RecursionError:
        receipt = replace(receipt, outcome="DECLINED", code=Code.TOO_LARGE.name, at=str(bundle), message="the input is nested too deeply")
    except MemoryError:
        receipt = replace(receipt, outcome="DECLINED", code=Code.TOO_LARGE.name, at=str(bundle), message="there is not enough memory")
    except Exception as error:
        receipt = replace(receipt, outcome="ERROR", code=Code.INTERNAL.name, at=str(bundle), message=f"{type(error).__name__}: {error}")
    return replace(receipt, check_s=round(time.perf_counter() - began, 4))


def requirement_name_or(bundle: Path, requirement: Path | None) -> str:
    """NAME for the receipt; the bundle's folder name where the requirement has none."""
    try:
        return requirement_name(requirement if requirement is not None else bundle / "requirement.toml")
    except Refusal:
        return re.sub(r"[^\w.+-]", "_", bundle.name.removesuffix(".cert")) or "bundle"


def _checked(path: Path, given: Path | None, receipt: Receipt, part: Part) -> Receipt:
    if not 0 <= part[0] < part[1]:
        raise Refusal(Code.BAD_NUMBER, "part", "parts are numbered 0 to n - 1")
    bundle = open_bundle(path)
    receipt = replace(receipt, bundle_digest=bundle.digest, controller_sha256=bundle.controller_sha256, assumptions=bundle.assumptions)
    wanted = bundle.requirement if given is None else read_file(given, str(given))
    requirement = read_requirement(wanted, receipt.name)
    receipt = replace(receipt, property=requirement.property)
    if wanted != bundle.requirement:
        raise Refusal(Code.REQUIREMENT_MISMATCH, "requirement", "the requirement given is not the one in the bundle; verify again")
    if given is not None:
        _compare_files(requirement, bundle, given)
    case = _open_case(requirement, bundle, given, part)
    _check_claim(case)
    {"practical_stability": _practical, "forward_invariance": _invariance}.get(requirement.property, _attraction)(case)
    _non_vacuity(case)
    name, level = case.setting.stages[-1]
    text = str(level)
    receipt = replace(
        receipt, outcome="ACCEPTED", code=None, at=None, message="every obligation of the property is proved", level="L2",
        region={"function": name, "level": text, "volume_lower_bound": case.volume}, equilibrium=_ends(case.equilibrium),
        leaves=sum(o["leaves"] for o in case.done), obligations=tuple(case.done))
    if requirement.minimum == "L3":
        raise Refusal(Code.EVIDENCE_TOO_LOW, "evidence.minimum", "L3 asks for a second checker and a claim on rounded inference; the kernel gives L2")
    if part != (0, 1):
        return replace(receipt, outcome="DECLINED", code=Code.PART_MISSING.name, at=f"part {part[0]}/{part[1]}", level=None,
                       message="this part holds; join all parts")
    return receipt


def join(receipts: Sequence[Receipt], parts: int) -> Receipt:
    """Accept when all ``parts`` receipts, one a part and of one bundle and requirement, hold."""
    failed = [r for r in receipts if r.code not in (None, Code.PART_MISSING.name)]
    if failed:
        return failed[0]
    wanted = [f"part {i}/{parts}" for i in range(parts)] if parts != 1 else [None]
    one = {(r.bundle_digest, r.requirement_source, r.property, r.name) for r in receipts}
    first = receipts[0] if receipts else Receipt("DECLINED", None, None, "", "bundle")
    if not (len(receipts) == parts and {r.at for r in receipts} == set(wanted) and len(one) == 1):
        return replace(first, outcome="DECLINED", code=Code.PART_MISSING.name, at="parts", level=None,
                       message="a part is missing or belongs to another bundle")
    return replace(first, outcome="ACCEPTED", code=None, at=None, level="L2", message="every obligation of the property is proved",
                   check_s=sum(r.check_s for r in receipts))


def _ends(where: Enclosure | None) -> dict[str, list[float]] | None:
    if where is None:
        return None
    pairs = list(zip(where.centre, where.radius, strict=True))
    return {"lo": [down(c - r) for c, r in pairs], "hi": [up(c + r) for c, r in pairs]}


def _compare_files(requirement: Requirement, bundle: Bundle, given: Path) -> None:
    """The files that the caller's requirement names, where they exist, must be those in the bundle."""
    pairs = ((requirement.controller, "controller.onnx", Code.CONTROLLER_MISMATCH), (requirement.lyapunov, "lyapunov.onnx", Code.DIGEST_MISMATCH))
    for named, inside, code in pairs:
        if named is None or not (given.parent / named).exists():
            continue
        if inside not in bundle.files or read_file((given.parent / named).resolve(), named) != bundle.files[inside]:
            raise Refusal(code, named, f"this file is not the {inside} that the bundle certifies; verify again or restore it")


def _open_case(requirement: Requirement, bundle: Bundle, given: Path | None, part: Part) -> Case:
    """Read plant, controller and functions of the bundle, after the plant was compared with the caller's."""
    if plant_bytes(requirement, None if given is None else given.parent, bundle.plant) != bundle.plant:
        raise Refusal(Code.PLANT_MISMATCH, "plant.json", "the plant in the bundle is not the plant that the requirement names")
    setting = open_setting(requirement, bundle.plant, bundle.controller)
    n = len(setting.lo)
    for name, item in bundle.functions.items():
        at = f"functions.{name}"
        if item["kind"] == "quadratic":
            origin = parse_vector(item["center"], at, n)
            setting.functions[name] = Source(parse_matrix(item["matrix"], at, n), origin, None)
            if not is_positive_definite(setting.functions[name].matrix or ()):
                raise Refusal(Code.NOT_DEFINITE, at, "the matrix is not positive definite")
        else:
            if requirement.lyapunov is None or item["name"] != "lyapunov.onnx":  # only this file is compared with the caller's
                raise Refusal(Code.CLAIM_MISMATCH, at, "a network is lyapunov.onnx, and only where the requirement names one")
            data = bundle.read({k: v for k, v in item.items() if k != "kind"}, at)
            setting.functions[name] = Source(None, (), read_function(data, n, at))
    return Case(setting, bundle, part)


def _check_claim(case: Case) -> None:
    claim, want = case.bundle.claim, expected_claim(case.setting.requirement, case.setting.spec, None)
    region = take(claim.get("region"), "claim.region", {"function": str, "level": str})
    for key in sorted({*claim, *want} - {"region"}):
        if key not in want or key not in claim or claim[key] != want[key]:
            raise Refusal(Code.CLAIM_MISMATCH, f"claim.{key}", "the certificate claims something else than the requirement demands")
    level = case.setting.requirement.level
    if level is not None and parse(region["level"], "claim.region.level") != level:
        raise Refusal(Code.CLAIM_MISMATCH, "claim.region.level", f"the requirement demands the level {level}")
    network = case.source(region["function"], "claim.region").network
    if case.setting.requirement.lyapunov is not None and level is not None and network is None:
        raise Refusal(Code.CLAIM_MISMATCH, "claim.region.function", "the level demanded is one of the Lyapunov function that the requirement names")


def _proof(case: Case, identifier: str, shape: dict[str, Any], kinds: tuple[str, ...], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    if identifier not in case.bundle.obligations:
        raise Refusal(Code.MISSING_OBLIGATION, identifier, "the property demands this obligation")
    proof = take(case.bundle.obligations[identifier], identifier, shape, optional or {})
    if proof["kind"] not in kinds:
        raise Refusal(Code.UNSUPPORTED, identifier, f"the proof kind {proof['kind'][:40]!r} is none of {', '.join(kinds)}")
    return proof


def _known(case: Case, names: set[str]) -> None:
    extra = sorted(set(case.bundle.obligations) - names)
    if extra:
        raise Refusal(Code.UNEXPECTED_OBLIGATION, extra[0], "the property does not ask for this")


def _shells(case: Case) -> list[str]:
    count = sum(1 for name in case.bundle.obligations if name.startswith("shell-"))
    return [f"shell-{k}" for k in range(1, count + 1)]


def _demanded(case: Case) -> set[str]:
    r = case.setting.requirement
    return {name for name, wanted in (("contains", r.contains), ("radius", r.min_radius), ("volume", True)) if wanted is not None}


def _attraction(case: Case) -> None:
    shells = _shells(case)
    _known(case, {"equilibrium", "local", *shells, *_demanded(case)})
    _equilibrium(case)
    _local(case)
    for name in shells:
        _shell(case, name, Goal("attraction"))


def _practical(case: Case) -> None:
    _known(case, {"inner", "shell-1", *_demanded(case)})
    inner = parse(_proof(case, "inner", {"kind": str, "level": str}, ("evaluation",))["level"], "inner.level")
    target = case.setting.requirement.target
    if target is None or len(target.lo) != len(case.setting.lo):
        raise Refusal(Code.BAD_SHAPE, "target", "the target has another dimension than the plant")
    goal = Goal("practical", inner, np.array(list(map(up, target.lo))), np.array(list(map(down, target.hi))))
    _shell(case, "shell-1", goal)
    if not inner < case.setting.stages[-1][1]:
        raise Refusal(Code.EMPTY_REGION, "inner", "the inner level is not below the region's level")


def _invariance(case: Case) -> None:
    _known(case, {"shell-1", *_demanded(case)})
    _shell(case, "shell-1", Goal("invariance"))


def _equilibrium(case: Case) -> None:
    began, r = time.perf_counter(), case.setting.requirement
    n = len(case.setting.lo)
    proof = _proof(case, "equilibrium", {"kind": str, "center": list, "radius": list}, ("evaluation",))
    where = Enclosure(parse_vector(proof["center"], "equilibrium.center", n), parse_vector(proof["radius"], "equilibrium.radius", n))
    if not all(q >= 0 for q in where.radius):
        raise Refusal(Code.EQUILIBRIUM_NOT_PROVED, "equilibrium.radius", "a radius is negative")
    goal = r.equilibrium if r.equilibrium is not None else case.setting.spec.equilibrium_x
    allowed = r.tolerance or tuple((b - a) / 2 / 10**6 for a, b in zip(r.domain.lo, r.domain.hi, strict=True))
    for i, (c, q, g, t) in enumerate(zip(where.centre, where.radius, goal, allowed, strict=True)):
        if not abs(c - g) + q <= t:
            raise Refusal(Code.EQUILIBRIUM_ELSEWHERE, case.setting.spec.states[i].name, f"the loop settles at {float(c):.9g} +- {float(q):.1e}, "
                          f"{float(g):.9g} +- {float(t):.1e} is required")
        if not case.setting.lo[i] < c - q <= c + q < case.setting.hi[i]:
            raise Refusal(Code.EQUILIBRIUM_OUTSIDE_DOMAIN, case.setting.spec.states[i].name, "the equilibrium is not in the interior of the domain")
    check_equilibrium(case.setting.loop.field, r.time, where)
    case.equilibrium = where
    case.show("equilibrium", "evaluation", "exactly one equilibrium lies in the box, within the tolerance", 0,
              min((float(t - abs(c - g) - q) for c, q, g, t in zip(where.centre, where.radius, goal, allowed, strict=True)), default=None), began)


def _local(case: Case) -> None:
    began, n = time.perf_counter(), len(case.setting.lo)
    proof = _proof(case, "local", LOCAL, ("jacobian_lmi", "lmi"))
    source = case.source(proof["function"], "local.function")
    if source.matrix is None or case.equilibrium is None:
        raise Refusal(Code.UNSUPPORTED, "local.function", "the local function must be a quadratic")
    frame, reach = parse_matrix(proof["frame"], "local.frame", n), parse_vector(proof["neighbourhood"], "local.neighbourhood", n)
    level = parse(proof["level"], "local.level")
    here = case.setting
    used = check_local(here.loop.field, here.requirement.time, source.matrix, source.origin, frame, reach, level, here.rate, case.equilibrium,
                       (here.lo, here.hi), proof["kind"] == "lmi")
    stage = local_stage(case.setting, source, level, frame)
    corners = np.array([[up(y) for y in reach]])
    with_command = stage.command_within(-corners, corners)
    if not with_command.all():
        raise Refusal(Code.COMMAND_EXCEEDS_LIMIT, "local", "the command is not proved to stay within its limits near the equilibrium")
    case.setting.stages.append((proof["function"], level))
    case.last, case.ellipsoid = stage, (source.matrix, source.origin, level)
    case.show("local", proof["kind"], "the quadratic decreases around the equilibrium, which is not cut out", 1, float(1 - used), began)


def _shell(case: Case, name: str, goal: Goal) -> None:
    began, n = time.perf_counter(), len(case.setting.lo)
    proof = _proof(case, name, SHELL, ("box_tree",), {"frame": list})
    source, level = case.source(proof["function"], f"{name}.function"), parse(proof["level"], f"{name}.level")
    frame = None if proof["frame"] is None else parse_matrix(proof["frame"], f"{name}.frame", n)
    stage = make_stage(case.setting, source, level, frame)
    if goal.kind == "practical" and frame is not None:
        raise Refusal(Code.UNSUPPORTED, name, "practical stability is checked in the plant's own coordinates")
    count, worst = check_shell(stage, goal, case.bundle.read(proof["tree"], f"{name}.tree"), name, case.part)
    if case.equilibrium is not None and frame is None:
        lo, hi = _corners(case.equilibrium, Fraction(0))
        if not stage.inside(lo[None], hi[None]).all():
            raise Refusal(Code.EMPTY_REGION, name, "the equilibrium is not inside the level set, so the level claims nothing")
    case.setting.stages.append((proof["function"], level))
    case.last = stage
    case.ellipsoid = (source.matrix, source.origin, level) if frame is not None and source.matrix is not None else None
    case.show(name, "box_tree", {"attraction": "every state of the level set decreases until it is in the stage inside",
                                 "practical": "every state of the level set reaches the target and stays there",
                                 "invariance": "no state leaves the level set"}[goal.kind], count, -worst, began)


def _corners(where: Enclosure, more: Fraction) -> tuple[Any, Any]:
    return (np.array([down(c - r - more) for c, r in zip(where.centre, where.radius, strict=True)]),
            np.array([up(c + r + more) for c, r in zip(where.centre, where.radius, strict=True)]))


def _non_vacuity(case: Case) -> None:
    r, stage, (name, level) = case.setting.requirement, case.last, case.setting.stages[-1]
    region = case.bundle.claim["region"]
    if stage is None or (region["function"], parse(region["level"], "claim.region.level")) != (name, level):
        raise Refusal(Code.CLAIM_MISMATCH, "claim.region", "the region claimed is not the one that the last stage proves")
    if r.contains is not None:
        _contains(case, stage)
    if r.min_radius is not None:
        _radius(case, stage, r.min_radius)
    if "volume" in case.bundle.obligations:
        began = time.perf_counter()
        proof = _proof(case, "volume", {"kind": str}, ("box_tree", "evaluation"), {"tree": dict})
        count = 0
        if proof["kind"] == "evaluation" and case.ellipsoid is not None:
            case.volume = ellipsoid_volume(case.ellipsoid[0], case.ellipsoid[2])
        elif case.ellipsoid is None:
            count, case.volume = check_volume(stage, case.bundle.read(proof["tree"], "volume.tree"), "volume")
        else:
            raise Refusal(Code.UNSUPPORTED, "volume", "the volume of an ellipsoid is evaluated")
        case.show("volume", proof["kind"], "the region has at least this volume", count, case.volume, began)
    if r.min_volume is not None and not (case.volume is not None and Fraction(case.volume) >= r.min_volume):
        raise Refusal(Code.VOLUME_TOO_SMALL if case.volume is not None else Code.MISSING_OBLIGATION, "volume",
                      f"the certified volume is {case.volume}, {float(r.min_volume):.6g} is required")
    if not (case.volume is None or case.volume > 0):
        raise Refusal(Code.EMPTY_REGION, "volume", "the certified volume is zero")
    if case.equilibrium is None and r.contains is None and not (case.volume is not None and case.volume > 0):
        raise Refusal(Code.MISSING_OBLIGATION, "volume", "without an equilibrium the region must be shown not to be empty")


def _contains(case: Case, stage: Stage) -> None:
    began, box = time.perf_counter(), case.setting.requirement.contains
    proof = _proof(case, "contains", {"kind": str}, ("box_tree", "evaluation"), {"tree": dict})
    if box is None or len(box.lo) != len(case.setting.lo):
        raise Refusal(Code.BAD_SHAPE, "region.contains", "the box has another dimension than the plant")
    if proof["kind"] == "box_tree" and case.ellipsoid is None:
        lo, hi = np.array(list(map(down, box.lo))), np.array(list(map(up, box.hi)))
        count = check_covered(stage, case.bundle.read(proof["tree"], "contains.tree"), lo, hi, "contains", Code.NOT_CONTAINED)
    elif proof["kind"] == "evaluation" and case.ellipsoid is not None:
        count = 0  # a convex set contains a box when it contains its corners; the extreme corner by the absolute quadratic form
        matrix, origin, level = case.ellipsoid
        if len(origin) > 16:
            raise Refusal(Code.TOO_LARGE, "contains", "too many corners")
        graph = quadratic(matrix, origin).graph
        for k in range(1 << len(origin)):
            corner = [(box.hi if k >> i & 1 else box.lo)[i] for i in range(len(origin))]
            if not evaluate_exact(graph, corner)[0] <= level:
                raise Refusal(Code.NOT_CONTAINED, "contains", f"the corner {list(map(float, corner))} is outside the region")
    else:
        raise Refusal(Code.UNSUPPORTED, "contains", "an ellipsoid is evaluated at the corners, another region needs a tree")
    case.show("contains", proof["kind"], "the region contains the box demanded", count, None, began)


def _radius(case: Case, stage: Stage, radius: Fraction) -> None:
    began = time.perf_counter()
    proof = _proof(case, "radius", {"kind": str}, ("box_tree", "lmi"), {"tree": dict})
    here, count, n = case.setting, 0, len(case.setting.lo)
    where = case.equilibrium or Enclosure(here.requirement.equilibrium or here.spec.equilibrium_x, (Fraction(0),) * n)
    if proof["kind"] == "lmi" and case.ellipsoid is not None:
        matrix, origin, level = case.ellipsoid
        reach = radius + where.distance(origin, np.eye(n, dtype=object))  # ball about any x* in E lies in the ball about o of this radius
        cap = level / (reach * reach)
        if not is_positive_semidefinite([[(cap if i == j else 0) - v for j, v in enumerate(row)] for i, row in enumerate(matrix)]):
            raise Refusal(Code.RADIUS_TOO_SMALL, "radius", "the ball demanded is not inside the ellipsoid")
    elif proof["kind"] == "box_tree" and case.ellipsoid is None:
        lo, hi = _corners(where, radius)
        if not all(case.setting.lo[i] <= Fraction(float(lo[i])) and Fraction(float(hi[i])) <= case.setting.hi[i] for i in range(n)):
            raise Refusal(Code.RADIUS_TOO_SMALL, "radius", "the ball demanded leaves the domain")
        near, far = _corners(where, Fraction(0))
        limit = up(sqrt_up(radius * radius))

        def free(low: Any, high: Any) -> Any:
            gap = np.maximum(0.0, np.maximum(low - far, near - high))
            return (gap * gap).sum(axis=1) * (1 - 1e-12) > limit * limit * (1 + 1e-12)

        count = check_covered(stage, case.bundle.read(proof["tree"], "radius.tree"), lo, hi, "radius", Code.RADIUS_TOO_SMALL, free)
    else:
        raise Refusal(Code.UNSUPPORTED, "radius", "an ellipsoid is decided by a matrix, another region by a tree")
    case.show("radius", proof["kind"], "the region contains the ball demanded", count, None, began)

