r"""What an imitated policy keeps of its expert: sup error, ultimate bound, bound under measurement attack, regret (docs/theory/imitation.md).

The Lipschitz constants of policy and expert are claims that the kernel accepts.  Everything else is enclosed by rounded branch and bound here,
and the kernel does not re-check it: a :class:`Guarantee` is a report, and no certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from certctl.learners.lipschitz.demonstrations import Demonstrations
from certctl.learners.lipschitz.experts import Expert
from certctl.learners.lipschitz.imitation import bound_text
from certctl.learners.lipschitz.problem import Problem
from certctl.result import Result, from_verdict
from verifiers.kernel.graph import Builder, Graph
from verifiers.kernel.lipschitz import differences, layers
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.plant import Loop, closed_loop
from verifiers.kernel.rational import up
from verifiers.kernel.setting import outward
from verifiers.load.plant import clipped_command
from verifiers.load.to_onnx import to_onnx
from verifiers.region import maximum as top
from verifiers.region.contraction import Contraction, Frame, contraction, frame_for, input_gain
from verifiers.region.sampling import FloatLoop
from verifiers.sdp.lipschitz import Unsolved, least_bound

KERNEL, ENCLOSED, DECLARED, UNPROVED = "kernel", "enclosed, not kernel-checked", "assumed", "not proved"
SHARES, RADII = (0.15, 0.4), (1.0, 0.7, 0.45, 0.25, 0.12)


@dataclass(frozen=True)
class Fact:
    """A number with how it is known: one of ``KERNEL``, ``ENCLOSED``, ``DECLARED``, ``UNPROVED``; and a sentence."""

    name: str
    value: float
    how: str
    says: str


@dataclass(frozen=True)
class Guarantee:
    """The bounds, as far as their assumptions are met.

    Attributes
    ----------
    facts : tuple of Fact
        Everything that enters.
    assumptions : tuple of str
        What is assumed and neither proved nor enclosed.
    sup_error : float or None
        eta >= |u - u*|_2 of the applied inputs over the domain, in the inputs' units.
    attack : float
        Size of measurement errors that the following bounds allow, in the Euclidean norm of the states.
    radius, ultimate : float or None
        Trajectories from states that hold |x - x*| <= ``radius`` stay in the domain, and end within ``ultimate`` of x*; Euclidean norms of states.
    ultimate_box : tuple of float or None
        The same state by state: in the end |x_i - x*_i| is at most this, in the states' units.
    regret : float or None
        Mean excess of a stage cost over the expert's from the same state, per step (or per s), for a cost with slope one in (x, u).
    vacuous : str or None
        Why the bounds on the loop say nothing, where they do; the closed loop is then proved on the learnt policy itself, or not at all.
    """

    facts: tuple[Fact, ...]
    assumptions: tuple[str, ...]
    sup_error: float | None
    attack: float
    radius: float | None
    ultimate: float | None
    ultimate_box: tuple[float, ...] | None
    regret: float | None
    vacuous: str | None

    @property
    def is_proved(self) -> bool:
        """Always false: the kernel has no rules for ``imitation_iss``."""
        return False

    def to_json(self) -> dict[str, object]:
        """The report as plain data."""
        return {"kernel_checked": False, "sup_error": self.sup_error, "attack": self.attack, "radius": self.radius, "ultimate": self.ultimate,
                "ultimate_box": None if self.ultimate_box is None else list(self.ultimate_box),
                "regret_per_slope": self.regret, "vacuous": self.vacuous, "assumptions": list(self.assumptions),
                "facts": [{"name": f.name, "value": f.value if np.isfinite(f.value) else None, "how": f.how, "says": f.says} for f in self.facts]}


def guarantee(problem: Problem, policy: bytes, proved: Result, bound: str, data: Demonstrations, expert: Expert, *, attack: float = 0.0,
              expert_bound: str | None = None, folder: Path | None = None, budget: float = 120.0) -> Guarantee:
    """Evaluate the bounds for a policy.

    Parameters
    ----------
    problem : Problem
        Plant and domain.
    policy : bytes
        The controller's ONNX file.
    proved : Result
        What ``verify`` said about its Lipschitz bound.
    bound : str
        That bound.
    data : Demonstrations
        The pairs on which the fit is measured: recorded inputs, within the limits.
    expert : Expert
        Its Lipschitz constant and its loop are enclosed where it is a graph; else only what is declared is used.
    attack : float
        Size of measurement errors.
    expert_bound : str, optional
        A Lipschitz constant of the expert that is assumed, for experts that are no graph.
    folder : Path, optional
        Where the expert's own bound is proved (a bundle ``expert.cert``); without it, it is assumed or absent.
    budget : float
        Seconds for that proof.

    Returns
    -------
    Guarantee
        Never raises for bounds that are vacuous; they say so.
    """
    facts, assumptions = [], ["the full state is measured, up to the attack; the plant's equations and parameters hold exactly",
                              "the data's inputs are exactly what the expert does at the data's states"]
    learnt, lo, hi = _loop(problem, read_onnx(policy, "policy.onnx").graph), *outward(*problem.domain)
    alpha = up(Fraction(bound)) if proved.is_proved else np.inf
    facts.append(Fact("alpha", alpha, KERNEL if proved.is_proved else UNPROVED, "Lipschitz constant of the policy"))
    facts.append(Fact("delta", fit_error(learnt, data), ENCLOSED, f"largest fit error on {len(data)} pairs"))
    facts.append(Fact("epsilon", top.covering_radius(data.states, lo, hi).upper, ENCLOSED, "covering radius of the data in the domain"))
    facts.append(_expert_constant(expert, expert_bound, folder, budget))
    if facts[-1].how == DECLARED:
        assumptions.append(f"the expert's Lipschitz constant is at most {expert_bound}")
    eta = facts[1].value + (facts[0].value + facts[3].value) * facts[2].value
    facts.append(Fact("eta", float(eta * (1 + 4 * top.SLACK)), ENCLOSED, "delta + (alpha + L*) epsilon"))
    sup = facts[-1].value
    if expert.graph is not None:
        master = _loop(problem, expert.graph)
        direct = top.value_norm(_difference(learnt, master), lo, hi).upper
        facts.append(Fact("eta_direct", direct, ENCLOSED, "largest difference of both networks over the domain, by branch and bound"))
        sup = min(sup, direct)
        return _of_loop(problem, master, facts, assumptions, sup, attack)
    known = float(sup) if np.isfinite(sup) else None
    why = "the expert is no graph, so its contraction is not enclosed; the region is proved on the learnt policy itself"
    return Guarantee(tuple(facts), tuple(assumptions), known, attack, None, None, None, None, why)


def fit_error(learnt: Loop, data: Demonstrations) -> float:
    """At least the largest |u - u_i|_2 of the applied inputs at the data."""
    graph = clipped_command(learnt)
    _, jet = top.jets(graph, data.states, data.states)  # type: ignore[arg-type]
    low, high = jet.mid[1] - jet.rad[1], jet.mid[1] + jet.rad[1]
    worst = np.maximum(np.abs(high - data.inputs), np.abs(low - data.inputs)) * (1 + top.SLACK)
    return float(top.norm_up(worst).max())


def _loop(problem: Problem, controller: Graph) -> Loop:
    return closed_loop(problem.spec, controller, problem.table, time=problem.time, dt=Fraction(problem.dt) if problem.dt else None,
                       method=problem.method or None)


def _difference(learnt: Loop, master: Loop) -> Graph:
    b = Builder()
    x = b.input(learnt.field.input_sizes[0])
    both = [b.inline(clipped_command(loop), [x])[0] for loop in (learnt, master)]  # type: ignore[arg-type]
    return b.build([b.binary("sub", *both)])


def _expert_constant(expert: Expert, declared: str | None, folder: Path | None, budget: float) -> Fact:
    """L*, proved by the kernel where the expert is a graph and there is a place for the bundle."""
    says = "Lipschitz constant of the expert"
    if expert.graph is None or folder is None:
        return Fact("L*", np.inf if declared is None else up(Fraction(declared)), UNPROVED if declared is None else DECLARED, says)
    from certctl import verify

    found = differences(expert.graph, None)
    if len(found.low):
        least = least_bound(found, layers(expert.graph), "lipsdp-neuron", seconds=budget)
        if isinstance(least, Unsolved):
            return Fact("L*", np.inf, UNPROVED, f"{says}: {least.says}")
        guess = float(np.sqrt(max(least.x[0], 0.0))) * (1 + 1e-4)
    else:
        guess = float(np.linalg.norm(np.asarray(found.output, dtype=np.float64), 2)) * (1 + 1e-6)
    demanded = f"{max(guess, 1e-9):.6g}"
    demanded = str(Fraction(demanded) * Fraction(1_000_002, 1_000_000)) if Fraction(demanded) <= Fraction(guess) else str(Fraction(demanded))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "expert.onnx").write_bytes(to_onnx(expert.graph, double=True))
    asked = folder / "expert.requirement.toml"
    asked.write_text(bound_text("expert.onnx", demanded), encoding="utf-8")
    result = from_verdict(verify(asked, budget=budget, workers=1, force=True, multipliers=[]), asked)
    return Fact("L*", up(Fraction(demanded)) if result.is_proved else np.inf, KERNEL if result.is_proved else UNPROVED, says)


def _of_loop(problem: Problem, master: Loop, facts: list[Fact], assumptions: list[str], sup: float, attack: float) -> Guarantee:
    """Ball, ultimate bound and regret from the contraction of the expert's loop."""
    alpha, constant = facts[0].value, facts[3].value
    best = _contracting(problem, master, sup + (alpha * attack if attack else 0.0))
    known = float(sup) if np.isfinite(sup) else None
    if best is None:
        why = "the expert's loop was not found to contract on any ball of the domain; the region is proved on the learnt policy itself"
        return Guarantee(tuple(facts), tuple(assumptions), known, attack, None, None, None, None, why)
    frame, found, gain = best
    rate = (1 - found.factor if problem.time == "discrete" else -found.factor) * (1 - top.SLACK)
    pushed = (gain * (sup + (alpha * attack if attack else 0.0)) + found.drift) * (1 + 4 * top.SLACK)
    facts += [Fact("rate", rate, ENCLOSED, "1 - lambda per step" if problem.time == "discrete" else "lambda per second"),
              Fact("gain", gain, ENCLOSED, "how strongly the input acts, in the norm of y"),
              Fact("drift", found.drift, ENCLOSED, "how far the expert's loop moves x*, in the norm of y"),
              Fact("ball", found.radius, ENCLOSED, "radius on which it contracts, in the norm of y")]
    if not pushed <= rate * found.radius:
        why = (f"the error can push by {pushed:.3g} where the expert's contraction holds {rate * found.radius:.3g}; more data, a smaller bound or "
               "a smaller domain help; the region is proved on the learnt policy itself")
        return Guarantee(tuple(facts), tuple(assumptions), known, attack, None, None, None, None, why)
    end = pushed / rate * (1 + top.SLACK)
    slope = (1 + constant) * frame.stretch * end + sup + (alpha * attack if attack else 0.0)
    box = tuple(float(v) for v in frame.row_norms * end * (1 + top.SLACK))
    return Guarantee(tuple(facts), tuple(assumptions), known, attack, float(found.radius / frame.shrink * (1 - top.SLACK)),
                     float(end * frame.stretch * (1 + top.SLACK)), box, float(slope * (1 + 4 * top.SLACK)) if np.isfinite(slope) else None, None)


def _contracting(problem: Problem, master: Loop, error: float) -> tuple[Frame, Contraction, float] | None:
    """The frame and ball with the most room for the error, among a few."""
    centre = tuple(problem.spec.equilibrium_x)
    jacobian = FloatLoop(master.field, problem.time).jacobian(np.array([float(v) for v in centre]))
    half = (problem.box[1] - problem.box[0]) / 2
    open_loop = problem.free_step if problem.time == "discrete" else problem.graph
    low, high = (np.nextafter(v, s * np.inf) for v, s in zip(problem.limits, (-1, 1), strict=True))
    best, room = None, np.inf
    for weight in (np.diag(half**-2.0), np.eye(len(half))):
        for share in SHARES:
            frame = frame_for(jacobian, centre, problem.time, share, weight)
            if frame is None:
                continue
            largest = frame.largest_ball(*problem.domain)
            for part in RADII:
                found = contraction(master.field, frame, problem.time, largest * part)
                rate = 1 - found.factor if problem.time == "discrete" else -found.factor
                if not rate > 0:
                    continue
                gain = input_gain(open_loop, frame, found.radius, low, high)
                used = (gain * error + found.drift) / (rate * found.radius)
                if best is None or used < room:
                    best, room = (frame, found, gain), used
                if used < 1:
                    break
    return best


def describe(found: Guarantee) -> list[tuple[str, str]]:
    """The report as lines for people, each a key and a text."""
    lines = [(fact.name, f"{fact.value:.6g}  {fact.says} ({fact.how})") for fact in found.facts]
    lines.append(("guarantee", "not kernel-checked: a report, no certificate"))
    if found.vacuous:
        lines.append(("vacuous", found.vacuous))
    else:
        box = ", ".join(f"{v:.4g}" for v in found.ultimate_box or ())
        lines.append(("loop", f"from |x - x*| <= {found.radius:.6g} states stay in the domain and end within +- ({box}) of x*, with measurement "
                      f"errors up to {found.attack:g}"))
    return lines

