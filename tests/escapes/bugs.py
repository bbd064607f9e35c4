"""Bugs injected into the prover: what a programmer would have done, and the false claims that it makes the prover believe."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from corpus import linear, square
from injection import (
    BUGS,
    Replacement,
    asked,
    bound_with,
    bug,
    demanded,
    everywhere,
    field_as,
    never_exact,
    question_as,
    read_as,
    scaled,
    searched,
    stage_with,
    written,
)

from verifiers import prove
from verifiers.bundle_writer import reference
from verifiers.kernel.graph import Graph
from verifiers.kernel.local import Enclosure
from verifiers.kernel.properties import Goal
from verifiers.kernel.requirement import Box
from verifiers.kernel.setting import Setting, make_stage
from verifiers.kernel.stage import Evaluation, Stage
from verifiers.kernel.tree import DECREASE, INSIDE, LEAF, NOTHING
from verifiers.region import attraction, equilibrium, invariance, nonvacuity
from verifiers.region import quadratic as quad
from verifiers.smt import branch_and_bound

__all__ = ["BUGS"]

# the loop and the requirement, misread -----------------------------------------------------------------------------------

@bug("T14", unstable="LOCAL_DECREASE")
def sign_of_the_field(_: Path) -> list[Replacement]:
    """The right-hand side enters the prover's loop with the wrong sign."""
    return field_as(lambda b, f, n: b.affine(f, scaled(n, Fraction(-1))))


@bug("T14", shifted="EQUILIBRIUM_NOT_PROVED")
def field_centred_at_the_goal(_: Path) -> list[Replacement]:
    """The loop is "normalised" to rest where the requirement wants it, by taking away a constant tenth."""
    return field_as(lambda b, f, n: b.affine(f, scaled(n, Fraction(1), Fraction(-1, 10))))


@bug("T02", pushed="LOCAL_DECREASE")
def clip_forgotten(_: Path) -> list[Replacement]:
    """The limits of the inputs are left out of the prover's loop."""

    def unlimited(plant: bytes) -> bytes:
        data = json.loads(plant)
        data["inputs"] = [{**u, "lo": None, "hi": None} for u in data["inputs"]]
        return json.dumps(data).encode()

    return [*read_as(lambda r, p, c: (r, unlimited(p), c)), *never_exact()]


@bug("T02", parameter="DECREASE", moved="EQUILIBRIUM_NOT_PROVED")
def interval_taken_at_its_middle(_: Path) -> list[Replacement]:
    """A parameter known as an interval is replaced by its midpoint."""
    middle = demanded(parameters=lambda p: {k: ((a + b) / 2, (a + b) / 2) for k, (a, b) in p.items()})
    return [*middle, (prove, "corner_loops", lambda *_: ()), *never_exact()]


@bug("T02", sampled="LOCAL_DECREASE")
def step_in_other_units(_: Path) -> list[Replacement]:
    """The sampling time is read in tenths of its unit when the loop is discretised."""
    return demanded(dt=lambda dt: dt and dt / 10)


@bug("T04", rate="LOCAL_DECREASE")
def rate_halved(_: Path) -> list[Replacement]:
    """The rate of |x| is taken for that of V, which is twice as large."""

    class Slow(Setting):
        rate = property(lambda self: (self.requirement.rate or Fraction(0)) / 2)

    return read_as(lambda *parts: parts, lambda setting: setattr(setting, "__class__", Slow))


@bug("T13", face="LEAF_NOT_OUTSIDE", image="DECREASE")
def domain_cut(_: Path) -> list[Replacement]:
    """The prover covers a smaller domain than the one demanded."""
    return demanded(domain=lambda d: Box(tuple(v * Fraction(10, 13) for v in d.lo), tuple(v * Fraction(10, 13) for v in d.hi)))


@bug("T14", shifted="EQUILIBRIUM_ELSEWHERE")
def tolerance_in_other_units(_: Path) -> list[Replacement]:
    """The tolerance of the equilibrium is read a million times as large."""
    return question_as(lambda q: dataclasses.replace(q, requirement=dataclasses.replace(
        q.requirement, tolerance=(Fraction(1),) * len(q.requirement.domain.lo))))


@bug("T14", practical="TARGET_NOT_CONTAINED")
def target_doubled(_: Path) -> list[Replacement]:
    """The half-widths of the target are read as its widths."""
    return asked(target=lambda box: box and Box(tuple(2 * v for v in box.lo), tuple(2 * v for v in box.hi)))


@bug("T04", cubic="CLAIM_MISMATCH", reversed="CLAIM_MISMATCH")
def easier_level_answered(_: Path) -> list[Replacement]:
    """A level that cannot be proved is quietly replaced by a tenth of it."""
    return asked(level=lambda c: c and c / 10)


@bug("T04", sampled="CLAIM_MISMATCH")
def continuous_sold_for_sampled(_: Path) -> list[Replacement]:
    """The controller's sampling is left out: the loop is proved in continuous time."""
    return asked(time=lambda _: "continuous", dt=lambda _: None, method=lambda _: None)


@bug("T04", ring="CLAIM_MISMATCH", spike="CLAIM_MISMATCH")
def invariance_sold_for_attraction(_: Path) -> list[Replacement]:
    """What is proved is that no trajectory leaves the region, not that it comes to rest."""
    return asked(property=lambda _: "forward_invariance")


@bug("T03", cubic="REQUIREMENT_MISMATCH", forbid="REQUIREMENT_MISMATCH", cubic_quadratic="REQUIREMENT_MISMATCH", unstable="REQUIREMENT_MISMATCH")
def another_requirement_proved(twin: Path) -> list[Replacement]:
    """A cache of questions has the plant's name as its key, so another requirement of the same plant is answered."""
    read = prove.read_question
    return [(prove, "read_question", lambda _: read(twin))]


@bug("T01", forbid="CONTROLLER_MISMATCH")
def another_controller_read(_: Path) -> list[Replacement]:
    """The controller of another folder is proved and written, not the one that the requirement names."""
    return question_as(lambda q: dataclasses.replace(q, controller=linear([-1.1])()))


@bug("T01", forbid="COMMAND_EXCEEDS_LIMIT DECREASE")
def controller_swapped_after_the_proof(_: Path) -> list[Replacement]:
    """The controller is trained further between the search and the writing of the bundle."""
    return read_as(lambda r, p, c: (r, p, c and linear([-1.1])()))


# bounds over boxes ----------------------------------------------------------------------------------------------------

@bug("T09", cubic="DECREASE", invariance="DECREASE")
def bounds_swapped(_: Path) -> list[Replacement]:
    """The lower bound of the decrease is taken for the upper one."""
    return bound_with(lambda stage, lo, hi, e: dataclasses.replace(e, decrease=e.least, least=e.least - 1))


@bug("T09", parameter="DECREASE")
def absolute_value_dropped(_: Path) -> list[Replacement]:
    """The mean-value bound adds slope times (end - centre) as it stands, without the absolute value: the bound is that at one corner."""

    def corner(stage: Stage, lo: np.ndarray, hi: np.ndarray, e: Evaluation) -> Evaluation:
        there = Stage.evaluate(stage, lo, lo)
        return dataclasses.replace(e, decrease=there.decrease, least=there.least)

    return bound_with(corner)


@bug("T09", cubic="DECREASE")
def slope_at_the_centre(_: Path) -> list[Replacement]:
    """The mean-value bound takes the slope at the centre of the box instead of an enclosure over the box."""

    def tangent(stage: Stage, lo: np.ndarray, hi: np.ndarray, e: Evaluation) -> Evaluation:
        centre, h = 0.5 * lo + 0.5 * hi, 1e-6
        bound = Stage.evaluate(stage, centre, centre).decrease
        for i, step in enumerate(h * np.eye(lo.shape[1])):
            ahead, behind = (Stage.evaluate(stage, centre + s, centre + s).decrease for s in (step, -step))
            bound = bound + np.abs(ahead - behind) / (2 * h) * 0.5 * (hi - lo)[:, i]
        return dataclasses.replace(e, decrease=bound, least=np.minimum(e.least, bound - 1))

    return bound_with(tangent)


@bug("T08", singular="DECREASE")
def nan_passes(_: Path) -> list[Replacement]:
    """The test is written ``not bound >= 0``, which NaN passes."""
    return bound_with(lambda stage, lo, hi, e: dataclasses.replace(e, decrease=np.where(e.decrease >= 0, e.decrease, -1.0),
                                                                   scores=np.nan_to_num(e.scores)))


@bug("T26", cubic="DECREASE", singular="DECREASE", invariance="DECREASE")
def point_for_the_box(_: Path) -> list[Replacement]:
    """A fast path evaluates the middle of a box only, "as the boxes are small anyway"."""

    def middle(stage: Stage, lo: np.ndarray, hi: np.ndarray, e: Evaluation) -> Evaluation:
        centre = 0.5 * lo + 0.5 * hi
        there = Stage.evaluate(stage, centre, centre)
        return dataclasses.replace(e, decrease=there.decrease, least=there.least - 1)

    return bound_with(middle)


@bug("T12", cubic="LEAF_NOT_OUTSIDE", reversed="LEAF_NOT_OUTSIDE", map="LEAF_NOT_OUTSIDE")
def outside_by_the_upper_bound(_: Path) -> list[Replacement]:
    """A box is left out as soon as the upper bound of V, not the lower one, exceeds the level."""
    return stage_with(evaluate=lambda stage, lo, hi: dataclasses.replace(e := Stage.evaluate(stage, lo, hi), v_lo=e.v_hi),
                      outside=lambda stage, lo, hi: stage.value(stage.function, lo, hi)[1] > stage.function.thresholds(stage.level)[1])


@bug("T12", cubic="LEAF_NOT_INSIDE", singular="LEAF_NOT_INSIDE", parameter="LEAF_NOT_INSIDE")
def inside_by_the_lower_bound(_: Path) -> list[Replacement]:
    """A box counts as part of the region proved before as soon as the least value on it is below that region's level."""

    def touched(stage: Stage, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
        return np.any([stage.value(f, lo, hi)[0] <= f.thresholds(c)[0] for f, c in stage.inner], axis=0)

    return stage_with(in_inner=touched)


@bug("T12", cubic="LEAF_NOT_INSIDE", pushed="LEAF_NOT_INSIDE")
def inner_level_added(_: Path) -> list[Replacement]:
    """Levels are summed where the larger should be taken: the region proved before is tested at its level plus that of the stage at hand."""

    def make(*arguments: Any) -> Stage:
        honest = make_stage(*arguments)
        return dataclasses.replace(honest, inner=tuple((f, c + honest.level) for f, c in honest.inner))

    return [(attraction, "make_stage", make)]


@bug("T25", slightly="DECREASE")
def tolerance_of_a_thousandth(_: Path) -> list[Replacement]:
    """A decrease is taken as negative when it is below a thousandth, the tolerance of a solver (delta-sat read as unsat)."""
    return bound_with(lambda stage, lo, hi, e: dataclasses.replace(e, decrease=e.decrease - 1e-3, least=e.least - 1e-3))


@bug("T13", face="CONTAINMENT", image="IMAGE")
def faces_and_image_not_tested(_: Path) -> list[Replacement]:
    """Nobody asks whether a trajectory leaves the domain: neither at its faces nor, in discrete time, by the next state."""
    return stage_with(stays=everywhere, faces_outside=everywhere)


@bug("T13", forbid="COMMAND_EXCEEDS_LIMIT")
def command_not_tested(_: Path) -> list[Replacement]:
    """Where saturation is forbidden the command is never compared with its limits."""
    return stage_with(command_within=everywhere)


@bug("T14", cubic="LEAF_NOT_OUTSIDE", invariance="LEAF_NOT_OUTSIDE")
def half_the_square(_: Path) -> list[Replacement]:
    """The level is one of x'Px in the requirement and one of x'Px/2 in the prover: what is proved is half the level."""

    def make(setting: Setting, source: Any, level: Fraction, frame: Any) -> Stage:
        return make_stage(setting, source, level / 2 if source.network is not None else level, frame)

    return [(module, "make_stage", make) for module in (prove, attraction, invariance)]


# the tree ----------------------------------------------------------------------------------------------------------------

@bug("T07", cubic="DECREASE", reversed="DECREASE", singular="DECREASE", practical="DECREASE", face="DECREASE")
def nothing_decided(_: Path) -> list[Replacement]:
    """The search returns one DECREASE leaf, for a stub was never replaced."""
    return searched(lambda search, stage, goal, options: branch_and_bound.Outcome(bytes([LEAF + DECREASE]), True))


@bug("T07", cubic="TREE_INCOMPLETE", parameter="TREE_INCOMPLETE", reversed="TREE_INCOMPLETE")
def time_out_read_as_finished(_: Path) -> list[Replacement]:
    """A search whose time is up returns what it has, and nobody looks at ``finished``."""

    def hasty(search: Any, stage: Stage, goal: Goal, options: dict[str, Any]) -> Any:
        out = search(stage, goal, **{**options, "budget": -1.0})
        out.finished = True
        return out

    return searched(hasty)


@bug("T07", cubic="DECREASE", reversed="DECREASE", face="DECREASE CONTAINMENT")
def stuck_boxes_taken_as_decided(_: Path) -> list[Replacement]:
    """Boxes given up at the depth limit are written as DECREASE leaves and forgotten."""

    def forgetful(search: Any, stage: Stage, goal: Goal, options: dict[str, Any]) -> Any:
        out = search(stage, goal, **{**options, "depth": 8 * stage.lo.size, "shallow": None, "refute": False})
        return branch_and_bound.Outcome(out.tree.replace(bytes([branch_and_bound.STUCK]), bytes([LEAF + DECREASE])), out.finished, out.boxes)

    return searched(forgetful)


@bug("T12", cubic="TREE_INCOMPLETE")
def stuck_boxes_left_out(_: Path) -> list[Replacement]:
    """Boxes given up at the depth limit are not written at all."""

    def forgetful(search: Any, stage: Stage, goal: Goal, options: dict[str, Any]) -> Any:
        out = search(stage, goal, **{**options, "depth": 8 * stage.lo.size, "shallow": None, "refute": False})
        return branch_and_bound.Outcome(out.tree.replace(bytes([branch_and_bound.STUCK]), b""), out.finished, out.boxes)

    return searched(forgetful)


@bug("T12", parameter="TREE_INCOMPLETE")
def second_child_missing(_: Path) -> list[Replacement]:
    """Only the first half of the root is put on the list of open boxes."""

    def half(search: Any, stage: Stage, goal: Goal, options: dict[str, Any]) -> Any:
        end = stage.hi.copy()
        end[0] = 0.5 * stage.lo[0] + 0.5 * stage.hi[0]
        out = search(dataclasses.replace(stage, hi=end, inner_hi=stage.inner_hi), goal, **options)
        out.tree = b"\0" + out.tree
        return out

    return searched(half)


@bug("T26", parameter="DECREASE")
def mirror_images_not_evaluated(_: Path) -> list[Replacement]:
    """A speed-up decides boxes with positive first coordinate by their mirror images, which "are alike"."""
    decide = branch_and_bound.decide

    def mirrored(stage: Stage, goal: Goal, lo: np.ndarray, hi: np.ndarray) -> Any:
        turn = (lo[:, :1] >= 0)
        return decide(stage, goal, np.where(turn, -hi, lo), np.where(turn, -lo, hi))

    return [(branch_and_bound, "decide", mirrored)]


@bug("T11", spike="DECREASE")
def samples_for_proof(_: Path) -> list[Replacement]:
    """A speed-up takes a box as decided when nine samples of it decrease, and does not ask for its bounds."""
    decide = branch_and_bound.decide

    def sampled(stage: Stage, goal: Goal, lo: np.ndarray, hi: np.ndarray) -> Any:
        out = decide(stage, goal, lo, hi)
        worst = np.max([Stage.evaluate(stage, x, x).decrease for x in (lo + t * (hi - lo) for t in np.linspace(0.1, 0.9, 9))], axis=0)
        return dataclasses.replace(out, tag=np.where((worst < 0) & (out.tag == branch_and_bound.UNDECIDED), DECREASE, out.tag).astype(np.uint8))

    return [(branch_and_bound, "decide", sampled)]


@bug("T26", twin_first=True, cubic="LEAF_NOT_OUTSIDE", reversed="LEAF_NOT_OUTSIDE", parameter="LEAF_NOT_OUTSIDE")
def tree_of_another_claim(_: Path) -> list[Replacement]:
    """Trees are kept between runs under the name of the phase alone, so a speed-up finds that of another level."""
    kept: dict[str, Any] = {}

    def cached(search: Any, stage: Stage, goal: Goal, options: dict[str, Any]) -> Any:
        if options["phase"] not in kept:
            kept[options["phase"]] = search(stage, goal, **options)
        return kept[options["phase"]]

    return searched(cached)


# the equilibrium and the local proof -----------------------------------------------------------------------------------

@bug("T04", shifted="EQUILIBRIUM_NOT_PROVED", moved="EQUILIBRIUM_NOT_PROVED")
def equilibrium_taken_for_granted(_: Path) -> list[Replacement]:
    """The plant's nominal equilibrium is written down with a tiny radius, and the field is not evaluated there."""
    tiny = Fraction(1, 2**40)

    def nominal(field: Graph, time: str, near: np.ndarray, goal: tuple[Fraction, ...]) -> Enclosure:
        return Enclosure(tuple(goal), (tiny,) * len(goal))

    return [(equilibrium, "find", lambda loop, guess, reach: guess), (equilibrium, "enclose", nominal),
            (quad, "sampled_level", contained_level)]


def contained_level(loop: Any, p: np.ndarray, origin: np.ndarray, lo: np.ndarray, hi: np.ndarray, *_: object) -> float:
    """The largest level whose ellipsoid lies in the box, whatever decreases there."""
    reach = np.minimum(hi - origin, origin - lo)
    return float(np.min(reach**2 / np.diag(np.linalg.inv(p)))) * (1 - 1e-9)


def local_believed(field: Graph, time: str, candidate: quad.Quadratic, where: Any, domain: Any, rate: Fraction, level: Fraction, linear: bool, *_: Any
                   ) -> quad.Local:
    """A local proof for whatever level is asked."""
    return quad.Local("jacobian_lmi", (Fraction(float(np.sqrt(float(level)))) * 2,) * len(candidate.origin), level)


@bug("T04", ring="LOCAL_DECREASE", unstable="LOCAL_DECREASE", cubic_quadratic="LOCAL_DECREASE")
def hole_left_around_the_equilibrium(_: Path) -> list[Replacement]:
    """A ball around the equilibrium is taken as attracted because the Lyapunov function is small there; no quadratic is tested in it."""
    linearised = quad.from_linearisation

    def found(jacobian: np.ndarray, time: str, weight: np.ndarray, rate: float = 0.0) -> np.ndarray:
        p = linearised(jacobian, time, weight, rate)
        return weight if p is None else p

    return [(quad, "from_linearisation", found), (quad, "sampled_level", contained_level), (quad, "local_proof", local_believed)]


@bug("T06", cubic_quadratic="LOCAL_DECREASE", cycle="LOCAL_DECREASE")
def local_test_ignored(_: Path) -> list[Replacement]:
    """The error of the local test is caught and logged."""
    return [(quad, "check_local", lambda *_, **__: Fraction(1)), (quad, "sampled_level", contained_level)]


@bug("T06", cycle="NOT_DEFINITE")
def p_rounded_to_indefinite(_: Path) -> list[Replacement]:
    """P is written with all entries rounded away from zero to the size of the largest, so that it is no longer positive definite."""

    def rounded(function: dict[str, Any]) -> dict[str, Any]:
        if function["kind"] != "quadratic":
            return function
        size = max(abs(Fraction(v)) for row in function["matrix"] for v in row)
        return {**function, "matrix": [[str(size if Fraction(v) > 0 else -size) for v in row] for row in function["matrix"]]}

    return written(lambda parts: {**parts, "functions": {k: rounded(f) for k, f in parts["functions"].items()}})


@bug("T14", cubic_quadratic="DECREASE LEAF_NOT_OUTSIDE", cycle="DECREASE LEAF_NOT_OUTSIDE")
def level_written_doubled(_: Path) -> list[Replacement]:
    """The level of the shell and of the region is written as if it were that of x'Px/2, that is doubled."""

    def doubled(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "level": str(2 * Fraction(item["level"]))} if "level" in item else item

    return written(lambda parts: {**parts, "claim": {**parts["claim"], "region": doubled(parts["claim"]["region"])},
                                  "obligations": [{**o, "proof": doubled(o["proof"])} if o["id"] == "shell-1" else o for o in parts["obligations"]]})


# what the region is said to contain ------------------------------------------------------------------------------------

@bug("T05", box="NOT_CONTAINED", ball="RADIUS_TOO_SMALL")
def cover_of_half_the_box(_: Path) -> list[Replacement]:
    """The cover of the set demanded is grown over half its widths."""
    grow = nonvacuity.grow_cover

    def half(stage: Stage, lo: np.ndarray, hi: np.ndarray, **options: Any) -> bytes | None:
        if options["give_up"]:
            lo, hi = 0.75 * lo + 0.25 * hi, 0.25 * lo + 0.75 * hi
        return grow(stage, lo, hi, **options)

    return [(nonvacuity, "grow_cover", half)]


@bug("T05", volume="LEAF_NOT_INSIDE", box="NOT_CONTAINED", ball="RADIUS_TOO_SMALL")
def undecided_cells_counted(_: Path) -> list[Replacement]:
    """Cells that were not shown to lie in the region count as if they were."""
    grow, fill = nonvacuity.grow_cover, nonvacuity.grow_volume

    def generous(*arguments: Any, **options: Any) -> bytes | None:
        tree = grow(*arguments, **{**options, "give_up": False})
        return tree and tree.replace(bytes([LEAF + NOTHING]), bytes([LEAF + INSIDE]))

    def filled(*arguments: Any, **options: Any) -> bytes:
        return fill(*arguments, **options).replace(bytes([LEAF + NOTHING]), bytes([LEAF + INSIDE]))

    return [(nonvacuity, "grow_cover", generous), (nonvacuity, "grow_volume", filled)]


@bug("T12", volume="TREE_INCOMPLETE", box="TREE_INCOMPLETE", ball="TREE_INCOMPLETE")
def cover_cut_off(_: Path) -> list[Replacement]:
    """The file of a cover ends at its first cell that was not shown to lie in the region."""
    grow, fill = nonvacuity.grow_cover, nonvacuity.grow_volume

    def short(*arguments: Any, **options: Any) -> bytes | None:
        tree = grow(*arguments, **{**options, "give_up": False})
        return tree and tree.partition(bytes([LEAF + NOTHING]))[0]

    def emptied(*arguments: Any, **options: Any) -> bytes:
        return fill(*arguments, **options).partition(bytes([LEAF + NOTHING]))[0]

    return [(nonvacuity, "grow_cover", short), (nonvacuity, "grow_volume", emptied)]


@bug("T05", box="MISSING_OBLIGATION", ball="MISSING_OBLIGATION", volume="MISSING_OBLIGATION")
def nonvacuity_forgotten(_: Path) -> list[Replacement]:
    """The step that shows what the region contains is not called."""
    return [(prove, "prove_nonvacuity", lambda work: None)]


# the bundle ------------------------------------------------------------------------------------------------------------

@bug("T04", ring="MISSING_OBLIGATION")
def local_obligation_left_out(_: Path) -> list[Replacement]:
    """The obligation of the local proof, which would fail, is not written."""
    return [*hole_left_around_the_equilibrium(_),
            *written(lambda parts: {**parts, "obligations": [o for o in parts["obligations"] if o["id"] != "local"]})]


@bug("T03", cubic="CLAIM_MISMATCH")
def decoy_function(_: Path) -> list[Replacement]:
    """The level is proved of another function, which the bundle calls V beside the one that the requirement names."""
    decoy = square([[1.75]])()

    def both(parts: dict[str, Any]) -> dict[str, Any]:
        def named(name: str, data: bytes) -> dict[str, Any]:
            return {"kind": "onnx", **{k: v for k, v in reference(name, data).items() if k != "bytes"}}

        true = square([[1.0]])()
        return {**parts, "functions": {**parts["functions"], "V": named("decoy.onnx", decoy), "L": named("lyapunov.onnx", true)},
                "files": {**parts["files"], "decoy.onnx": decoy, "lyapunov.onnx": true}}

    return [*question_as(lambda q: dataclasses.replace(q, lyapunov=decoy)), *written(both)]
