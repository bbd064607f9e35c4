"""A bundle in words: the claim as one sentence, what is not claimed, and the rows of the tables."""

from __future__ import annotations

import json
from fractions import Fraction

from certctl.cli.output import exact_level, round_down
from certctl.plot.palette import unit_text
from certctl.view import View
from verifiers.kernel.check import Receipt
from verifiers.kernel.graph import Interval
from verifiers.kernel.plant import Signal
from verifiers.kernel.requirement import PRACTICAL

_ENDS = {
    "asymptotic_stability_roa": "stays in the domain and converges to the equilibrium near {box}",
    "exponential_stability_roa": "stays in the domain and converges to the equilibrium near {box}, with {rate}",
    "practical_stability": "stays in the domain, reaches the target {target} and never leaves it again",
    "forward_invariance": "never leaves that region",
    "imitation_iss": "stays in the domain, reaches the target {target} and never leaves it again, whatever the measurement errors of a Euclidean "
                     "norm of at most {size} are",
    "l2_gain": "stays there while V(x(0)) and {gain}² times the energy of the disturbance are together at most the level, and the energy of "
               "the output {output} is at most V(x(0)) and {gain}² times that of the disturbance",
}
_NAMES = {
    "asymptotic_stability_roa": "asymptotic stability with a region of attraction",
    "exponential_stability_roa": "exponential stability with a region of attraction",
    "practical_stability": "practical stability", "forward_invariance": "forward invariance",
    "imitation_iss": "imitation of an expert, stable under measurement errors",
    "l2_gain": "a gain from disturbance to output",
    "pwa_equivalence": "a law that is the minimiser", "lipschitz_bound": "a Lipschitz bound",
}
_SHOWN = {
    "equilibrium": "exactly one equilibrium lies in the box, within the tolerance",
    "local": "the quadratic decreases around the equilibrium, which is not cut out",
    "whole": "the function decreases on its whole level set, the equilibrium's neighbourhood included",
    "inner": "the level that a state of the region reaches and keeps; the tree shows it",
    "contains": "the region contains the box demanded",
    "radius": "the region contains the ball demanded",
    "volume": "the region has at least this volume",
    "optimality": "in every leaf the conditions of optimality hold, or the problem is infeasible",
    "lipschitz": "measurement errors move the command by at most their size times the constant; the tree is of the loop with such a push",
    "error": "policy and expert apply inputs within the error demanded of each other, on the whole domain",
    "fit": "the policy applies the data's inputs at the data's states, within the error demanded",
    "regret": "in the target no step costs more than the bound demanded, whatever the measurement errors",
    "gain": "the storage function rises by no more than what the disturbance feeds less what the output takes",
    "bound": "no two inputs have outputs farther apart than the bound times their distance",
}
_SHELLS = {
    "practical_stability": "every state of the level set reaches the target and stays there",
    "forward_invariance": "no state leaves the level set",
    "imitation_iss": "every state of the level set reaches the target and stays there, whatever the measurement errors",
}
_SHORT = 14
_ROUNDING = "The rounding of the deployed inference: the claim is about exact real arithmetic on the stored weights."


def property_text(name: str | None) -> str:
    """A property's name for people."""
    return _NAMES.get(name or "", name or "no property")


_STAYS = " In the linear loop of the requirement it has a value at every successor of a parameter at which it has one."


_SETTLES = " From each of these parameters that loop converges to the origin exponentially, and the origin is stable."


def statement(view: View) -> str:
    """The claim as one sentence when the kernel accepted; else that nothing is proved, and why."""
    receipt = view.receipt
    if not view.is_certified:
        reason = f"{receipt.message}".strip()
        return f"Nothing is proved about this controller: the kernel says {receipt.outcome} ({receipt.code} at {receipt.at}): {reason}."
    if view.law is not None:
        part = "" if view.law.outputs is None else f"the first {view.law.outputs} components of "
        return (f"For every parameter in {_corners_text(view.law.domain.lo, view.law.domain.hi)} the law with sha256 "
                f"{(receipt.controller_sha256 or '')[:12]}… is {part}the minimiser of the problem with sha256 {view.law.problem_sha256[:12]}…, and "
                "has no value exactly where that is infeasible." + ("" if view.law.loop is None else _STAYS) + (_SETTLES if view.law.stable else ""))
    if view.bound is not None:
        where = "all inputs" if view.bound.domain is None else f"all inputs in {_corners_text(view.bound.domain.lo, view.bound.domain.hi)}"
        return (f"The outputs of the controller with sha256 {(receipt.controller_sha256 or '')[:12]}… differ by at most {view.bound.bound} times the "
                f"difference of its inputs, in the Euclidean norm and for {where}.")
    start = f"Every trajectory of {_loop_text(view)} that starts in the region {region_text(view)}"
    wanted = view.drawn.requirement
    ending = _ENDS.get(receipt.property or "", "has the property {property}").format(
        box=_box_text(receipt.equilibrium), rate=_rate_text(view), property=receipt.property,
        target="" if wanted.target is None else _corners_text(wanted.target.lo, wanted.target.hi),
        size="" if wanted.imitation is None else wanted.imitation.size,
        gain="" if wanted.gain is None else wanted.gain.value,
        output="" if wanted.gain is None else ", ".join(f"{v}·{name}" for name, v in wanted.gain.output.items()))
    return f"{start} {ending}{_for_every(view)}.{_of_expert(view)}"


def _of_expert(view: View) -> str:
    """What the claim says of the expert and the data, each a sentence."""
    asked, found = view.drawn.requirement.imitation, []
    if asked is None:
        return ""
    if asked.error is not None:
        who = f"with the gain {asked.kind.upper()}" if asked.expert is None else f"with sha256 {asked.expert[:12]}…"
        found.append(f" On the whole domain it applies inputs within {_number(asked.error)} of those of the expert {who}.")
    if asked.fit is not None:
        found.append(f" At the states of the data with sha256 {(asked.data or '')[:12]}… it applies their inputs within {_number(asked.fit)}.")
    if asked.regret is not None:
        found.append(f" In the long run it pays per step at most {_number(asked.regret[2])}, so at most that much more than any expert.")
    return "".join(found)


def vacuous(view: View) -> list[str]:
    """Which of the bounds demanded say nothing, each a sentence with the numbers that show it."""
    setting = view.drawn
    asked, ends = setting.requirement.imitation, [(lo, hi) for lo, hi in setting.loop.limits if lo is not None and hi is not None]
    if asked is None or len(ends) < len(setting.loop.limits):
        return []
    most = sum(((hi[1] - lo[0]) ** 2 for lo, hi in ends), Fraction(0))
    return [f"The bound of {_number(bound)} on the distance from {what} is vacuous: within the limits no two inputs differ by more than "
            f"{float(most) ** 0.5:.4g}." for bound, what in ((asked.error, "the expert"), (asked.fit, "the data"))
            if bound is not None and bound * bound >= most]


def region_text(view: View) -> str:
    """The region as a set, as in ``{V ≤ 0.98} ∩ D``, with its certified volume where there is one."""
    found = view.receipt.region or {}
    volume = found.get("volume_lower_bound")
    level = exact_level(found.get("level"))
    shown = level if len(level) <= 3 * _SHORT else f"{float(Fraction(level)):.9g}…"
    size = f", whose volume is at least {round_down(float(volume))}" if volume else ""
    inner = " together with the inner stages" if len(view.stages) > 1 else ""
    return f"{{{found.get('function')} ≤ {shown}}} within the domain{inner}{size},"


def not_claimed(view: View) -> list[str]:
    """What a reader could take for claimed and is not."""
    receipt = view.receipt
    if view.is_certified and view.law is not None:
        loop = ("Anything about a closed loop, stability and recursive feasibility included: no plant is part of this claim." if view.law.loop is None
                else "Anything about a loop with another plant than the linear one of the requirement." if view.law.stable
                else "Stability, and anything about a loop with another plant than the linear one of the requirement.")
        return [loop,
                "That the problem is the one that was meant: only its numbers are part of this claim.", _ROUNDING]
    if view.is_certified and view.bound is not None:
        return ["Anything about a closed loop: no plant is part of this claim.", "That the bound is the least one.", _ROUNDING]
    if not view.is_certified or view.requirement is None:
        return ["Nothing at all is claimed: the kernel has not accepted this bundle."]
    wanted = view.requirement
    found = ["States outside the region: nothing is said about them, neither good nor bad.",
             "Another plant, other parameter values, disturbances, measurement errors or delays than those listed.",
             _ROUNDING]
    if wanted.time == "continuous":
        found.append("A digital implementation: the claim is about continuous time; the report states the hold interval that sampling tolerates.")
    elif view.drawn.spec.time == "continuous":
        found.append(f"The continuous plant between samples: the claim is about the {wanted.method} map with dt = {wanted.dt} s.")
    if wanted.imitation is not None:
        found[1] = "Another plant, other parameter values, delays, or disturbances and measurement errors beyond those listed."
        found += [*vacuous(view), "The expert's own loop, and the expert between the states of a data set." + (
            " Of this expert, an MPC, nothing is known but the data." if wanted.imitation.kind == "mpc" else "")]
    if receipt.property in PRACTICAL:
        found.append("Convergence to a point: the loop reaches and keeps the target, and may move within it.")
    elif receipt.property == "forward_invariance":
        found.append("Convergence: the loop stays in the region, and need not settle.")
    elif receipt.property == "l2_gain":
        found.append("That the gain is the least one, and anything about disturbances of more energy or outside their intervals.")
    elif receipt.property == "asymptotic_stability_roa":
        found.append("A speed of convergence.")
    if receipt.requirement_source == "embedded":
        found.append("That the question is yours: the requirement was read from the bundle. Check it with --requirement and your own file.")
    return found


def approximations(view: View) -> list[str]:
    """Which numbers of the report are approximate, and to which side; nothing for a bundle that is not certified."""
    receipt = view.receipt
    if not view.is_certified or view.requirement is None:
        return []
    found = ["The level is exact. It is the largest that the search proved, not the largest that is true: the region may be larger than stated.",
             "Margins are bounds rounded toward the weaker statement: the true decrease, distance or radius is at least as good."]
    if (receipt.region or {}).get("volume_lower_bound"):
        found.append("The volume is a proved lower bound of the region's, rounded down.")
    if receipt.equilibrium is not None:
        found.append("The equilibrium lies somewhere in the box given, whose ends are rounded outward; the first sentence shows the middle.")
    if any(low < high for low, high in view.requirement.parameters.values()):
        found.append("An unknown constant stands for every value of its interval in the proof, and at its middle in the figures.")
    found.append("Weights are the exact numbers of the stored file. Figures, simulated trajectories and the hold interval are computed in "
                 "float64 and are not part of the proof.")
    return found


def obligation_rows(receipt: Receipt) -> list[tuple[str, ...]]:
    """Rows (id, kind, leaves, margin, seconds, what is shown), as text."""
    return [(str(o["id"]), str(o["kind"]), str(o["leaves"]), _margin_text(o), f"{o['seconds']:.3f}",
             _shown(receipt, str(o["id"]))) for o in receipt.obligations]


def _shown(receipt: Receipt, identifier: str) -> str:
    """What the proof of an obligation shows."""
    shell = _SHELLS.get(receipt.property or "", "every state of the level set decreases until it is in the stage inside")
    return _SHOWN.get(identifier, shell if identifier.startswith("shell-") else "")


def _margin_text(obligation: dict[str, object]) -> str:
    margin = obligation["margin"]
    if not isinstance(margin, float | int):
        return "–"
    return f"≥ {round_down(margin)}" if obligation["id"] == "volume" else round_down(margin, 3)


def function_texts(view: View) -> list[tuple[str, str]]:
    """The functions of the stages: what each is, and its coefficients or digest."""
    if view.bundle is None:
        return []
    return [(name, _function_text(item)) for name, item in view.bundle.functions.items()]


def stage_texts(view: View) -> list[tuple[str, str]]:
    """The stages from the inside out: id, and the set that each proves."""
    return [(stage.identifier, f"{stage.function} ≤ {_number(stage.level)}") for stage in view.stages]


def parameter_rows(view: View) -> list[tuple[str, str]]:
    """Every parameter of the plant with the value, or the interval of an unknown constant, that the claim uses."""
    setting = view.drawn
    values = {**setting.spec.parameters, **setting.requirement.parameters}
    described = json.loads(view.bundle.plant)["parameters"] if view.bundle is not None else []
    units = {item["name"]: item["unit"] for item in described}
    return [(name, f"{_interval_text(value)} {unit_text(units.get(name, ''))}".rstrip()) for name, value in values.items()]


def limit_rows(view: View) -> list[tuple[str, str]]:
    """The inputs and the limits at which the plant clips them."""
    rows = []
    for signal, (low, high) in zip(view.drawn.spec.inputs, view.drawn.loop.limits, strict=True):
        ends = [("−∞" if k == 0 else "∞") if bound is None else _interval_text(bound) for k, bound in enumerate((low, high))]
        rows.append((_signal(signal), f"{ends[0]} to {ends[1]}"))
    return rows


def domain_rows(view: View) -> list[tuple[str, str]]:
    """The states with units and the domain's edges."""
    setting = view.drawn
    return [(_signal(signal), f"{_number(lo)} to {_number(hi)}")
            for signal, lo, hi in zip(setting.spec.states, setting.lo, setting.hi, strict=True)]


def _loop_text(view: View) -> str:
    setting, wanted = view.drawn, view.drawn.requirement
    sha = view.receipt.controller_sha256
    under = "" if sha is None else f" under the controller with sha256 {sha[:12]}…"
    if wanted.time == "discrete":
        how = f"the {wanted.method} map of the plant" if setting.spec.time == "continuous" else "the discrete-time plant"
        return f"{how} {setting.spec.name}" + (f" (dt = {wanted.dt} s)" if wanted.dt is not None else "") + under
    return f"the plant {setting.spec.name}{under} (continuous time)"


def _rate_text(view: View) -> str:
    wanted, name = view.drawn.requirement, (view.receipt.region or {}).get("function")
    return f"{name}⁺ ≤ (1 − {wanted.rate})·{name} in every step" if wanted.time == "discrete" else f"d{name}/dt ≤ −{wanted.rate}·{name}"


def _signal(signal: Signal) -> str:
    unit = unit_text(signal.unit)
    return f"{signal.name} [{unit}]" if unit else signal.name


def _for_every(view: View) -> str:
    unknown = [f"{name} in {_interval_text(value)}" for name, value in view.drawn.requirement.parameters.items() if value[0] < value[1]]
    what = "constant" if view.drawn.requirement.gain is None else "disturbance"
    return f", for every {what} {', '.join(unknown)}" if unknown else ""


def _box_text(box: dict[str, list[float]] | None) -> str:
    if box is None:
        return "the box of the requirement"
    return "(" + ", ".join(f"{(lo + hi) / 2 + 0.0:.6g}" for lo, hi in zip(box["lo"], box["hi"], strict=True)) + ")"


def _corners_text(lo: tuple[Fraction, ...], hi: tuple[Fraction, ...]) -> str:
    return " × ".join(f"[{_number(a)}, {_number(b)}]" for a, b in zip(lo, hi, strict=True))


def _interval_text(value: Interval) -> str:
    lo, hi = value
    return _number(lo) if lo == hi else f"[{_number(lo)}, {_number(hi)}]"


def _number(value: Fraction) -> str:
    text = exact_level(value)
    return text if len(text) <= _SHORT else f"{float(value):.6g}…"


def _function_text(item: dict[str, object]) -> str:
    if item["kind"] == "quadratic":
        center, matrix = item["center"], item["matrix"]
        rows = "; ".join(", ".join(_number(Fraction(v)) for v in row) for row in matrix)  # type: ignore[attr-defined]
        return f"quadratic (x − o)ᵀ P (x − o), o = ({', '.join(_number(Fraction(v)) for v in center)}), P = [{rows}]"  # type: ignore[attr-defined]
    if item["kind"] == "polynomial":
        return f"polynomial of {len(item['terms'])} terms"  # type: ignore[arg-type]
    return f"network {item['name']}, sha256 {item['sha256']}"
