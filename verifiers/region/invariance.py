"""Forward invariance of a level set, and practical stability (reach a target set and stay): one tree each."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats
from verifiers.kernel.properties import Goal
from verifiers.kernel.rational import down, up
from verifiers.kernel.requirement import PRACTICAL
from verifiers.kernel.setting import Source, make_stage
from verifiers.region import quadratic as quad
from verifiers.region.attraction import SAMPLES, Undecided, Work, _explain_stuck, text
from verifiers.region.levels import short
from verifiers.region.sampling import float_function, float_quadratic
from verifiers.region.steady import steadiest_quadratic
from verifiers.smt import counterexample as cex

DIRECTIONS, LEVELS, SHRINK = 4000, 60, 0.9
"""Sampled directions, and levels from the largest ellipsoid in the domain down, each by this factor."""


def prove(work: Work, level: Fraction | None = None) -> None:
    """Prove ``forward_invariance``, ``practical_stability`` or the loop of ``imitation_iss``; fills ``work`` or raises Refuted or Undecided.

    ``level`` is the one of the setting's function V to be proved, where it is known.
    """
    setting, r = work.setting, work.setting.requirement
    name, level = _function_and_level(work) if level is None else ("V", level)
    source = setting.functions[name]
    goal, level = (Goal("invariance"), level) if r.property == "forward_invariance" else _practical_goal(work, name, level)
    stage = make_stage(setting, source, level, None)
    out = work.run(stage, goal, "shell-1", 20 * len(setting.lo))
    if out.stuck_lo.size:
        _explain_stuck(work, stage, out)
    work.obligations.append({"id": "shell-1", "proof": {"kind": "box_tree", "function": name, "level": text(level),
                                                        "tree": work.tree("shell-1", out.tree)}})
    if r.property in PRACTICAL:
        work.obligations.insert(-1, {"id": "inner", "proof": {"kind": "evaluation", "level": text(goal.inner_level)}})
    setting.stages.append((name, level))
    work.stage, work.region = stage, (name, level)


def _function_and_level(work: Work) -> tuple[str, Fraction]:
    setting = work.setting
    lo, hi = work.box
    centre = np.array([float(v) for v in setting.spec.equilibrium_x])
    if "V" in setting.functions:
        if setting.requirement.level is not None:
            return "V", setting.requirement.level
        function = float_function(setting.functions["V"].network, work.loop)  # type: ignore[arg-type]
        edge, _ = cex.lowest_on_boundary(function, lo, hi, count=8000, seed=work.seed)
        return "V", short(Fraction(edge - 1e-3 * abs(edge)))
    target = setting.requirement.target
    if setting.requirement.imitation is not None and target is not None:
        inside = np.array([float(v) for v in target.lo]), np.array([float(v) for v in target.hi])
        p = steadiest_quadratic(work.loop, centre, (lo, hi), inside, work.seed)
    else:
        p = quad.from_linearisation(work.loop.jacobian(centre), work.loop.time, np.diag(1 / np.minimum(hi - centre, centre - lo) ** 2))
    if p is None:
        raise Undecided(Code.NO_PROOF_FOUND, "lyapunov", "the linearised loop is not stable, so no quadratic is at hand; name a Lyapunov function")
    candidate = quad.make(p, setting.spec.equilibrium_x)
    from verifiers.region.attraction import texts

    matrix, origin, _ = candidate.floats
    level = float(np.min(np.minimum(hi - origin, origin - lo) ** 2 / np.diag(np.linalg.inv(matrix))))
    if setting.requirement.property == "forward_invariance":
        level = _invariant_level(work, matrix, origin, level)
    setting.functions["Q"] = Source(candidate.matrix, candidate.origin, None)
    work.functions["Q"] = {"kind": "quadratic", "matrix": texts(candidate.matrix), "center": texts(candidate.origin)}
    return "Q", short(Fraction(0.97 * level))


def _invariant_level(work: Work, matrix: Floats, origin: Floats, top: float) -> float:
    """The largest sampled level up to ``top`` that no trajectory rises above, whatever the unknown constants; an estimate.

    In continuous time V' < 0 is asked for where V is near the level, in discrete time V(x+) below it from all of the set: near the equilibrium a
    disturbance may push V up.
    """
    function, n = float_quadratic(matrix, origin, work.loop), len(origin)
    rng = np.random.default_rng(work.seed)
    way = rng.standard_normal((DIRECTIONS, n))
    way = way / np.linalg.norm(way, axis=1, keepdims=True) @ np.linalg.cholesky(np.linalg.inv(matrix)).T
    inside = way * rng.uniform(0, 1, (DIRECTIONS, 1)) ** (1 / n)
    for level in top * SHRINK ** np.arange(LEVELS):
        if work.loop.time == "continuous":
            near = np.concatenate([way, way * np.sqrt(0.95)]) * np.sqrt(level)
            good = (function.decrease(origin + near) < 0).all()
        else:
            value, change = function.value_and_decrease(origin + np.concatenate([way, inside]) * np.sqrt(level))
            good = (value + change < 0.999 * level).all()
        if good:
            return float(level)
    raise Undecided(Code.NO_PROOF_FOUND, "shell-1", "no ellipsoid of the linearised loop's quadratic keeps its trajectories; name a function")


def _practical_goal(work: Work, name: str, level: Fraction) -> tuple[Goal, Fraction]:
    """The inner level: as high as the target allows, and above the values at which the function does not decrease; and the level, lowered below the
    sampled states outside at which it does not, where it is not a demanded one."""
    setting = work.setting
    target = setting.requirement.target
    if target is None:
        raise Refusal(Code.BAD_REQUIREMENT, "target", f"{setting.requirement.property} needs [target]")
    lo, hi = work.box
    source = setting.functions[name]
    if source.network is not None:
        function = float_function(source.network, work.loop)
    else:
        matrix = np.array([[float(v) for v in row] for row in source.matrix or ()])
        function = float_quadratic(matrix, np.array([float(v) for v in source.origin]), work.loop)
    t_lo, t_hi = np.array(list(map(up, target.lo))), np.array(list(map(down, target.hi)))
    samples = cex.draw(function, lo, hi, 0.5 * (t_lo + t_hi), count=SAMPLES, seed=work.seed)
    away = ~((samples.x >= t_lo) & (samples.x <= t_hi)).all(axis=1)
    top = min(float(samples.value[away].min(initial=math.inf)), float(level))
    if target is not None and (t_lo > lo).all() and (t_hi < hi).all():
        top = min(top, cex.lowest_on_boundary(function, t_lo, t_hi, count=4000, seed=work.seed)[0])
    bad = ~(samples.decrease < 0) & (samples.value < top)
    low = float(samples.value[bad].max(initial=float(samples.value.min())))
    inner = short(Fraction(top - 0.05 * (top - low)), 9)
    found = cex.lowest_violation(function, samples, lo, hi, above=float(inner), seed=work.seed)
    if source.network is None and len(found.x) and found.value[0] <= level:
        level = short(Fraction(0.97 * float(found.value[0])))
        if not level > inner:
            raise Undecided(Code.NO_PROOF_FOUND, "shell-1", f"near {work.states(found.x[0])} the function need not decrease, and that is not in the "
                            "part of the target that is kept; enlarge [target], or ask for a smaller [attack] size where there is one")
    return Goal("practical", inner, t_lo, t_hi), level
