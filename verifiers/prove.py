"""The one door: from a requirement file to a bundle that the kernel has accepted, or to a reason why not."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.bundle_writer import write_bundle
from verifiers.kernel.bundle import forbid_pickle, read_file, requirement_name
from verifiers.kernel.check import Receipt
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats
from verifiers.kernel.lipschitz import claim_of
from verifiers.kernel.local import Enclosure
from verifiers.kernel.requirement import PRACTICAL, BoundRequirement, Requirement, read_bound, read_law_requirement, read_requirement
from verifiers.kernel.setting import Setting, Source, expected_claim, make_stage, open_setting, plant_bytes, read_function
from verifiers.memory import keep_freed_memory, single_threaded_products
from verifiers.parts import check_by
from verifiers.region import attraction, equilibrium, imitation, invariance
from verifiers.region.attraction import Refuted, Undecided, Work
from verifiers.region.nonvacuity import prove_nonvacuity, start_volume
from verifiers.region.sampling import FloatLoop, float_function
from verifiers.sdp.barrier import fit_barrier
from verifiers.sdp.bound import prove_bound, refute_bound
from verifiers.sdp.hints import Hints, read_hints
from verifiers.sdp.lipschitz import METHODS
from verifiers.sdp.lyapunov import corner_loops, lyapunov_starts
from verifiers.sdp.robust import prove_gain, prove_invariant
from verifiers.sdp.sector import sector_starts
from verifiers.sdp.whole import fit_function, is_whole, prove_whole
from verifiers.smt import counterexample as cex
from verifiers.smt.branch_and_bound import Progress, process_pool
from verifiers.smt.resume import Saved

UNMET = {"NOT_CONTAINED": "UNKNOWN", "RADIUS_TOO_SMALL": "UNKNOWN", "VOLUME_TOO_SMALL": "UNKNOWN", "EMPTY_REGION": "REFUSED"}
SEARCHES = ("sos", "sector", "quadratic", "branch-and-bound")
BOXES = 4
"""Largest number of states for which a set that is never left is first looked for by box trees."""
ATTRACTION = ("asymptotic_stability_roa", "exponential_stability_roa")
ASSUMPTIONS = ("the full state is measured without delay and without noise",
               "the plant's equations and parameters hold exactly on the domain",
               "the controller is evaluated in exact real arithmetic; rounding of the deployed inference is not covered")


@dataclass(frozen=True)
class Verdict:
    """The answer to a requirement; see docs/architecture.md.  ``PROVED`` appears only with an accepting receipt of the kernel."""

    outcome: str
    code: str | None
    at: str | None
    message: str
    name: str
    property: str | None = None
    receipt: Receipt | None = None
    bundle: Path | None = None
    search_s: float = 0.0
    boxes: int = 0
    counterexample: dict[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Question:
    """A requirement with the bytes of all files that it names."""

    path: Path
    requirement: Requirement
    data: bytes
    plant: bytes
    controller: bytes | None
    lyapunov: bytes | None
    parts: dict[str, bytes] = field(default_factory=dict)

    def setting(self) -> Setting:
        """Compose the loop; the named Lyapunov function is called V."""
        setting = open_setting(self.requirement, self.plant, self.controller)
        if self.lyapunov is not None:
            setting.functions["V"] = Source(None, (), read_function(self.lyapunov, len(setting.lo), self.requirement.lyapunov or "lyapunov"))
        return setting

    def loop(self, setting: Setting) -> FloatLoop:
        """The loop in floats, in the middle and at corners of the unknown constants."""
        corners = corner_loops(self.requirement, self.plant, self.controller)
        if self.requirement.imitation is not None:
            corners = tuple(moved for corner in corners or (setting.loop.field,) for moved in imitation.corner_errors(setting, corner))
        return FloatLoop(setting.loop.field, self.requirement.time, corners)


def read_question(path: Path) -> Question:
    """Read a requirement and what it names.

    Raises
    ------
    Refusal
        With the place and the remedy.
    """
    data = read_file(path, str(path))
    requirement = read_requirement(data, requirement_name(path))
    controller, lyapunov = (None if named is None else _named(path, named) for named in (requirement.controller, requirement.lyapunov))
    parts = {} if requirement.imitation is None else imitation.read_parts(path, data)
    return Question(path, requirement, data, plant_bytes(requirement, path.parent), controller, lyapunov, parts)


@dataclass(frozen=True, eq=False)
class _Alone:
    """A requirement about a controller without a plant, its bytes, and the controller's."""

    requirement: BoundRequirement
    data: bytes
    controller: bytes


def _read_alone(path: Path) -> _Alone | None:
    """Read a requirement about a controller alone; None where it is about a plant."""
    data = read_file(path, str(path))
    requirement = read_bound(data, requirement_name(path))
    return None if requirement is None else _Alone(requirement, data, _named(path, requirement.controller))


def _named(path: Path, name: str) -> bytes:
    """The bytes of a file that a requirement names."""
    found = read_file((path.parent / name).resolve(), name)
    forbid_pickle(name, found)
    return found


def default_bundle(path: Path) -> Path:
    """``requirement.cert`` or ``NAME.cert`` beside the requirement."""
    return path.parent / (path.name.removesuffix(".toml").removesuffix(".requirement") + ".cert")


def verify(requirement: Path, out: Path | None = None, *, budget: float = 600.0, workers: int | None = None, resume: bool = False,
           force: bool = False, progress: Callable[[Progress], None] | None = None, executor: Executor | None = None, seed: int = 0,
           multipliers: Sequence[Fraction] | None = None, quadratics: Sequence[Floats] = ()) -> Verdict:
    """Falsify, prove, write the bundle, and let the kernel decide.

    Parameters
    ----------
    requirement, out : Path
        The requirement file and the bundle to write (:func:`default_bundle` by default; replaced only with ``force``, and only by a bundle
        that the kernel accepted).
    budget : float
        Seconds for the search.
    workers : int or None
        Processes; both cores by default.  ``executor`` takes another ``concurrent.futures`` executor instead.
    resume : bool
        Go on with the search that an interrupted or expired run of the same question left beside the bundle.
    multipliers : sequence of Fraction, optional
        A guess at the proof of a ``lipschitz_bound``, one number per neuron; tried first, believed never.
    quadratics : sequence of ndarray, optional
        Guesses P (n, n), in the plant's units, at the region x'Px <= 1 about the equilibrium where no function is named; tried
        alone, believed never.

    Returns
    -------
    Verdict
        Never raises for bad input.  ``PROVED`` only when :func:`verifiers.kernel.check.check` accepted the written bundle.
    """
    keep_freed_memory()
    single_threaded_products()
    path = Path(requirement)
    out = Path(out) if out is not None else default_bundle(path)
    began = time.monotonic()
    name, kind = _name(path), None
    work: Work | None = None

    def verdict(outcome: str, code: Code, at: str, message: str, x: tuple[float, ...] | None = None) -> Verdict:
        return Verdict(outcome, code.name, at, message, name, kind, None, None, round(time.monotonic() - began, 3), work.boxes if work else 0,
                       None if x is None else _counterexample(work, x, message))

    try:
        if out.exists() and not force:
            raise Refusal(Code.BAD_REQUIREMENT, str(out), "this bundle exists; use --force to replace it")
        if read_law_requirement(read_file(path, str(path)), name) is not None:
            return _verify_law(path, name, out, force)
        if (alone := _read_alone(path)) is not None:
            kind = alone.requirement.property
            obligation = prove_bound(alone.requirement, alone.controller, read_hints(alone.data, METHODS).method, budget, seed, multipliers)
            searched = round(time.monotonic() - began, 3)
            parts = {"requirement": alone.data, "plant": None, "controller": alone.controller, "functions": {}, "files": {},
                     "claim": claim_of(alone.requirement), "obligations": [obligation], "assumptions": [ASSUMPTIONS[2]]}
            return _judged(parts, path, out, force, Verdict("", None, None, "", name, kind, search_s=searched))
        question = read_question(path)
        kind = question.requirement.property
        setting = question.setting()
        loop = question.loop(setting)
        with process_pool(workers if executor is None else 1) as pool, np.errstate(all="ignore"):
            work = Work(setting, loop, began + budget, executor or pool, progress, seed, guesses=tuple(quadratics))
            work.saved = Saved(out.with_name(out.name + ".search"), hashlib.sha256(
                b"\0".join([question.data, question.plant, question.controller or b"", question.lyapunov or b""])).hexdigest(), resume)
            _prove(work, read_hints(question.data, SEARCHES), question)
        searched = round(time.monotonic() - began, 3)
        function, level = work.region or ("", Fraction(0))
        claim = expected_claim(setting.requirement, setting.spec, {"function": function, "level": str(level)})
        functions = dict(work.functions)
        files = dict(work.files)
        if question.lyapunov is not None and any(name == "V" for name, _ in setting.stages):
            functions["V"] = {"kind": "onnx", "name": "lyapunov.onnx", "sha256": hashlib.sha256(question.lyapunov).hexdigest()}
            files["lyapunov.onnx"] = question.lyapunov
        elif question.lyapunov is not None:
            functions.pop("V", None)
        parts = {"requirement": question.data, "plant": question.plant, "controller": question.controller, "functions": functions, "files": files,
                 "claim": claim, "obligations": work.obligations, "assumptions": _assumptions(setting)}
        found = _judged(parts, path, out, force, Verdict("", None, None, "", name, kind, search_s=searched, boxes=work.boxes), workers)
        work.saved.clear()
        return found
    except Refuted as no:
        return verdict("REFUTED", no.code, no.at, no.message, no.x)
    except Undecided as no:
        return verdict("UNKNOWN", no.code, no.at, no.message, no.x)
    except Refusal as no:
        return verdict({0: "ERROR", 1: "REFUSED", 2: "ERROR", 3: "UNKNOWN", 4: "REFUSED"}[no.code.exit_code], no.code, no.at, no.message)
    except KeyboardInterrupt:
        return verdict("UNKNOWN", Code.INTERRUPTED, name, "interrupted; run again with --resume")
    except FileExistsError as error:
        return verdict("ERROR", Code.BAD_REQUIREMENT, str(out), str(error))


def _verify_law(path: Path, name: str, out: Path, force: bool) -> Verdict:
    """Answer a requirement of ``pwa_equivalence``: explicit MPC, without a plant."""
    from verifiers.explicit_mpc.partition import NotFeasible
    from verifiers.explicit_mpc.problem import BadProblem
    from verifiers.explicit_mpc.prove import certify_requirement

    try:
        found = certify_requirement(path, out, force=force)
    except NotFeasible as no:
        raise Refuted(Code.IMAGE, "loop", str(no), tuple(float(v) for v in no.states[0])) from None
    except BadProblem as error:
        raise Refusal(Code.BAD_PROBLEM, str(path), str(error)) from None
    receipt = found.receipt
    outcome = {"ACCEPTED": "PROVED", "REFUSED": "REFUSED", "DECLINED": "UNKNOWN"}.get(receipt.outcome, "ERROR")
    return Verdict(outcome, receipt.code, receipt.at, receipt.message, name, receipt.property, receipt, found.bundle,
                   round(found.solution.seconds + found.tree_s, 3), found.partition.leaves)


def _judged(parts: dict[str, Any], requirement: Path, out: Path, force: bool, verdict: Verdict, workers: int | None = 1) -> Verdict:
    """Write a bundle of these parts, let the kernel decide, and complete the verdict."""
    receipts: list[Receipt] = []

    def accepted(folder: Path) -> bool:
        receipts.append(check_by(workers, folder, requirement))
        return receipts[-1].outcome == "ACCEPTED"

    producer = {"tool": "certctl", "python": platform.python_version(), "numpy": np.__version__}
    write_bundle(out, **parts, judge=accepted, producer=producer, force=force)
    receipt = receipts[-1]
    if receipt.outcome == "ACCEPTED":
        return replace(verdict, outcome="PROVED", message=receipt.message, receipt=receipt, bundle=out)
    # UNMET: the decrease is proved, but not on the region demanded.  A bundle that is not accepted is never left behind.
    outcome = UNMET.get(receipt.code or "", {"REFUSED": "REFUSED", "DECLINED": "UNKNOWN"}.get(receipt.outcome, "ERROR"))
    return replace(verdict, outcome=outcome, code=receipt.code, at=receipt.at, message=receipt.message, receipt=receipt)


def falsify(requirement: Path, *, budget: float = 60.0, seed: int = 0) -> Verdict:
    """Search a counterexample only; ``REFUTED`` with the replayed witness, or ``UNKNOWN`` when none was found."""
    path, began = Path(requirement), time.monotonic()
    name, kind, work = _name(path), None, None
    try:
        if (alone := _read_alone(path)) is not None:
            kind = alone.requirement.property
            refute_bound(alone.requirement, alone.controller, budget, seed)
            raise Undecided(Code.NO_PROOF_FOUND, name, "no counterexample was found; run verify to look for a proof")
        question = read_question(path)
        kind = question.requirement.property
        setting = question.setting()
        work = Work(setting, question.loop(setting), began + budget, seed=seed)
        _falsify(work)
        imitation.refute_bounds(work, question.parts)
    except Refuted as no:
        return Verdict("REFUTED", no.code.name, no.at, no.message, name, kind, search_s=round(time.monotonic() - began, 3),
                       counterexample=None if no.x is None else _counterexample(work, no.x, no.message))
    except Undecided as no:
        return Verdict("UNKNOWN", no.code.name, no.at, no.message, name, kind, search_s=round(time.monotonic() - began, 3))
    except Refusal as no:
        outcome = {2: "ERROR", 3: "UNKNOWN"}.get(no.code.exit_code, "REFUSED")
        return Verdict(outcome, no.code.name, no.at, no.message, name, kind, search_s=round(time.monotonic() - began, 3))
    return Verdict("UNKNOWN", Code.NO_PROOF_FOUND.name, name, "no counterexample was found; run verify to look for a proof", name, kind,
                   search_s=round(time.monotonic() - began, 3))


def _name(path: Path) -> str:
    try:
        return requirement_name(path)
    except Refusal:
        return path.stem or "requirement"


def _assumptions(setting: Setting) -> list[str]:
    texts, asked = list(ASSUMPTIONS), setting.requirement.imitation
    if asked is not None:
        texts[0] = imitation.says(asked)
    if setting.requirement.time == "continuous":
        texts.append("the controller acts in continuous time; a sampled implementation needs a discrete-time claim of its own")
    if any(lo != hi for lo, hi in setting.requirement.parameters.values()):
        texts.append("parameters given as intervals are unknown but constant" if setting.requirement.gain is None else
                     "parameters given as intervals are disturbances that stay in them, measurable functions of time or one value per step")
    return texts


def _counterexample(work: Work | None, x: tuple[float, ...], why: str) -> dict[str, Any]:
    """The witness with a simulated trajectory from it."""
    states = None
    if work is not None:
        loop, n = work.loop, len(x)
        rate = np.abs(np.linalg.eigvals(loop.jacobian(np.array(x)))).max() if loop.time == "continuous" else 1.0
        dt = float(min(0.02, 0.5 / max(rate, 1e-3)))
        run = loop.trajectory(np.array(x)[None], 400, dt)[:, 0, :n]
        keep = np.isfinite(run).all(axis=1).cumprod().astype(bool)
        states = run[keep].tolist()
    return {"x": list(x), "why": why, "trajectory": states}


def _prove(work: Work, hints: Hints, question: Question) -> None:
    kind = work.setting.requirement.property
    if hints.method == "sector" and kind in PRACTICAL:
        raise Undecided(Code.UNSUPPORTED, "prover.method", f"sectors do not help to prove {kind}")
    if hints.method == "sos" and kind not in (*ATTRACTION, "forward_invariance"):
        raise Undecided(Code.UNSUPPORTED, "prover.method", f"sums of squares prove {', '.join(ATTRACTION)} and forward_invariance only, not {kind}")
    if hints.method == "sos" and kind in ATTRACTION and is_whole(work):
        _named_level(work)
        prove_whole(work, hints.degree)
    elif kind in ATTRACTION:
        find_equilibrium(work)
        _named_level(work)
        if hints.method == "sos" and hints.degree is not None and hints.degree > 2:
            fit_function(work, hints.degree)
        attraction.prove_attraction(work, _starts(work, hints.method))
    elif kind == "l2_gain":
        prove_gain(work)
    else:
        imitation.refute_bounds(work, question.parts)
        if (softened := imitation.soften(work.setting, work.left / 10)) is not None:
            work.loop = question.loop(work.setting)
            work.obligations.append(softened)
        _named_level(work)
        if hints.method == "sos" and "V" not in work.setting.functions:
            invariance.prove(work, fit_barrier(work, hints.degree))
        else:
            _invariant(work, hints.method)
        imitation.prove_bounds(work, question.parts)
    prove_nonvacuity(work)


def _invariant(work: Work, method: str | None) -> None:
    """Practical stability, or a set that is never left: by a box tree, or by one inequality for it and where boxes find none or would be too many."""
    own = work.setting.requirement.property == "forward_invariance" and "V" not in work.setting.functions and method in (None, "sector")
    if own and (method == "sector" or len(work.setting.lo) > BOXES):
        prove_invariant(work)
        return
    try:
        invariance.prove(work)
    except Undecided as no:
        if not own:
            raise
        try:
            prove_invariant(work)
        except (Undecided, Refusal):
            raise no from None


def _starts(work: Work, method: str | None) -> tuple[Floats, ...]:
    """Quadratics to begin with: by sectors where these are asked for, common ones where constants are unknown or ``quadratic`` is asked for."""
    if method == "sector":
        return sector_starts(work)
    return lyapunov_starts(work) if method == "quadratic" or work.loop.vertices else ()


def _falsify(work: Work) -> None:
    if work.setting.requirement.property in ATTRACTION:
        find_equilibrium(work)
    _named_level(work, volume=False)


def find_equilibrium(work: Work) -> None:
    """Enclose the equilibrium and prove it stable enough to go on, or refute."""
    setting, r = work.setting, work.setting.requirement
    goal = tuple(setting.rest)
    allowed = r.tolerance or tuple((b - a) / 2 / 10**6 for a, b in zip(r.domain.lo, r.domain.hi, strict=True))
    for state, g, lo, hi in zip(setting.spec.states, goal, setting.lo, setting.hi, strict=True):
        if not lo < g < hi:
            raise Refusal(Code.EQUILIBRIUM_OUTSIDE_DOMAIN, state.name, f"the equilibrium {float(g):g} is not inside the domain; enlarge [domain]")
    start = np.array([float(v) for v in goal])
    lo, hi = work.box
    near = equilibrium.find(work.loop, start, np.maximum(hi - lo, 1e-3))
    reach = [Fraction(t) for t in allowed]
    if near is None or not all(abs(Fraction(float(v)) - g) <= t for v, g, t in zip(near, goal, reach, strict=True)):
        box = tuple(g - t for g, t in zip(goal, reach, strict=True)), tuple(g + t for g, t in zip(goal, reach, strict=True))
        where = "" if near is None else f"; it settles near {work.states(near)}"
        if equilibrium.prove_absence(setting.loop.field, r.time, *box):
            raise Refuted(Code.NO_EQUILIBRIUM, work.states(start), f"there is no equilibrium within the tolerance of {work.states(start)}{where}",
                          tuple(float(v) for v in start))
        raise Undecided(Code.NO_PROOF_FOUND, "equilibrium", f"no equilibrium was found within the tolerance of {work.states(start)}{where}")
    found = equilibrium.enclose(setting.loop.field, r.time, near, goal)
    if found is None:
        _refute_unstable(work, Enclosure(tuple(Fraction(float(v)) for v in near), tuple(Fraction(1, 2**40) for _ in near)))
        raise Undecided(Code.NO_PROOF_FOUND, "equilibrium", "the equilibrium could not be enclosed; the Jacobian may be singular there")
    _refute_unstable(work, found)
    work.where = found
    work.obligations.append({"id": "equilibrium", "proof": {"kind": "evaluation", "center": attraction.texts(list(found.centre)),
                                                            "radius": attraction.texts(list(found.radius))}})


def _refute_unstable(work: Work, where: Enclosure) -> None:
    unstable = equilibrium.prove_unstable(work.setting.loop.field, work.setting.requirement.time, where)
    if unstable is not None:
        lo, hi = work.box
        step = 1e-3 * (hi - lo).min()
        x = tuple(float(c) + step * d for c, d in zip(where.centre, unstable.direction, strict=True))
        raise Refuted(Code.UNSTABLE_EQUILIBRIUM, work.states([float(c) for c in where.centre]),
                      "the linearised loop is proved to have an unstable eigenvalue; trajectories from nearby states leave, for example from "
                      + work.states(x), x)


def _named_level(work: Work, volume: bool = True) -> None:
    """With a named function and a numeric level: look for a state of the level set that violates the claim, and replay it; begin with the volume."""
    setting, level = work.setting, work.setting.requirement.level
    if level is None or "V" not in setting.functions:
        return
    stage = make_stage(setting, setting.functions["V"], level, None)
    function = float_function(setting.functions["V"].network, work.loop, setting.rate)  # type: ignore[arg-type]
    lo, hi = work.box
    edge = None
    if setting.requirement.property in ATTRACTION:
        found = attraction.levels(work, function)
        floor = found.low + 0.05 * (float(level) - found.low)
        worst = found.violations(function, lo, hi, above=floor, seed=work.seed)
        _refute(work, stage, worst.x[worst.value <= float(level)])
        edge = found.edge
    if work.loop.time == "continuous":
        value, x = edge or cex.lowest_on_boundary(function, lo, hi, count=8000, seed=work.seed)
        if value <= float(level):
            _refute(work, stage, x[None])
    if volume and setting.requirement.property in ATTRACTION:
        start_volume(work, stage, ("V", level))


def _refute(work: Work, stage: Any, candidates: Any) -> None:
    witness = cex.find(stage, candidates)
    if witness is not None:
        raise Refuted(Code.COUNTEREXAMPLE, work.states(witness.x), f"{witness.why} at {work.states(witness.x)}", witness.x)
