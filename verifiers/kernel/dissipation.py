r"""Quadratic storage functions: gains and invariant sets under a disturbance, by one linear matrix inequality (theorem: docs/theory/gain.md).

The loop is read in differences from rest (:mod:`verifiers.kernel.lipschitz`), with z = (x - x*, w, outputs of all functions), w the disturbance and
x - x* = E z, and H z the difference of the right-hand side.  With V = (x - x*)'P(x - x*) and multipliers t >= 0

.. math:: \mathrm{diag}(-q, s, 0) - D(P) - r\, E^\top P E - S(t) \succ 0, \qquad
          D = H^\top P H - E^\top P E \;\text{ or }\; E^\top P H + H^\top P E

implies :math:`V^+ - V \le -r V + \sum s_i w_i^2 - \sum q_i (x - x^*)_i^2` (V' in continuous time) wherever the slopes in S hold.  In discrete
time the matrix is definite for r < 1 only: at a difference without disturbance that the slopes allow it says :math:`(1 - r) V > V^+`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code, need
from verifiers.kernel.definite import is_dominant_after_scaling, rationals
from verifiers.kernel.graph import Graph, Interval
from verifiers.kernel.lipschitz import Differences, differences, times
from verifiers.kernel.local import Enclosure, Matrix, Vector, check_equilibrium
from verifiers.kernel.rational import parse_vector
from verifiers.kernel.requirement import Box
from verifiers.kernel.setting import Setting, Source, identity, make_stage
from verifiers.kernel.stage import Stage


def unknowns(field: Graph) -> list[Interval]:
    """The intervals of the unknown constants of a loop, in the order in which they are read."""
    return [ends for node in field.nodes if node.op == "const" for ends in node.data if ends[0] < ends[1]]


def undisturbed(field: Graph) -> Graph:
    """The loop with every unknown constant at zero."""
    zero = (Fraction(0), Fraction(0))
    nodes = (replace(n, data=tuple(zero if a < b else (a, b) for a, b in n.data)) if n.op == "const" else n for n in field.nodes)
    return Graph(tuple(nodes), field.input_sizes, field.outputs)


def dissipates(loop: Differences, time: str, matrix: Matrix, supply: Sequence[Fraction], outputs: Sequence[Fraction], decay: Fraction,
               multipliers: Sequence[Fraction]) -> bool:
    """Prove the inequality of the module's docstring in exact arithmetic.

    Parameters
    ----------
    loop : Differences
        H, and the functions' slopes; its inputs are x and w.
    time : str
        ``continuous`` or ``discrete``.
    matrix, supply, outputs, decay, multipliers
        P (n, n), s (m,), q (n,), r and t (N,).

    Returns
    -------
    bool
        True only if no multiplier is negative and the matrix is proved positive definite.
    """
    p, h = rationals(matrix), loop.output
    e = rationals(np.eye(*h.shape).astype(int).tolist())
    flow, still = times(p, h), times(e.T, times(p, e))
    change = times(h.T, flow) - still if time == "discrete" else times(e.T, flow) + times(flow.T, e)
    given = np.diag(rationals([*(-q for q in outputs), *supply, *[Fraction(0)] * len(multipliers)]))
    return all(t >= 0 for t in multipliers) and is_dominant_after_scaling(given - change - decay * still - loop.sectors(multipliers))


def check_storage(setting: Setting, source: Source, proof: Mapping[str, Any], rest: Vector, at: str) -> Stage:
    """Prove a gain, where the requirement has one, else that {V <= c} is never left, whatever the disturbance does in its intervals.

    Parameters
    ----------
    source : Source
        V, a quadratic.
    proof : mapping
        ``level`` c, ``multipliers`` t, and for a set that is never left ``supply`` s and ``decay`` r.
    rest : sequence of Fraction
        Where the loop is required to rest without disturbance.
    at : str
        The obligation.

    Returns
    -------
    Stage
        That of the level set.

    Raises
    ------
    Refusal
        ``UNSUPPORTED`` (no disturbance around zero, no quadratic, products of what varies), ``BAD_REQUIREMENT`` (output or disturbance that is
        not there), ``EQUILIBRIUM_NOT_PROVED``, ``EQUILIBRIUM_ELSEWHERE``, ``CONTAINMENT``, ``NOT_PROVED`` (the disturbance feeds more than decays),
        ``NOT_DEFINITE``, ``COMMAND_EXCEEDS_LIMIT``.
    """
    gain, time, names = setting.requirement.gain, setting.requirement.time, [s.name for s in setting.spec.states]
    field, level, ends, zero = setting.loop.field, proof["level"], unknowns(setting.loop.field), Fraction(0)
    stage, loop = make_stage(setting, source, level, identity(len(names))), differences(field, Box(setting.lo, setting.hi))
    plain = all(a <= 0 <= b for a, b in ends) and all(b is None or b[0] == b[1] for limit in setting.loop.limits for b in limit)
    need(plain, Code.UNSUPPORTED, at, "a disturbance is a parameter in an interval that holds zero, and no limit of an input")
    check_equilibrium(undisturbed(field), time, Enclosure(source.origin, (zero,) * len(names)))
    if gain:
        supply, decay, outputs = [gain.value**2] * len(ends), zero, [gain.output.get(name, zero) ** 2 for name in names]
        need(set(gain.output) <= set(names), Code.BAD_REQUIREMENT, "gain.output", "a name is not one of the plant's states")
        need(ends, Code.BAD_REQUIREMENT, "parameters", "no parameter that the loop depends on is an interval, so nothing disturbs it")
        need(source.origin == rest, Code.EQUILIBRIUM_ELSEWHERE, at, "the storage function is not centred at the equilibrium")
        need(gain.value**2 * gain.energy <= level, Code.CONTAINMENT, at, "a disturbance of the energy demanded may leave the level set")
    else:
        supply, decay, outputs = list(parse_vector(proof["supply"], f"{at}.supply", len(ends))), proof["decay"], [zero] * len(names)
        fed = sum((s * max(a * a, b * b) for s, (a, b) in zip(supply, ends, strict=True)), zero)
        kept = all(s >= 0 for s in supply) and fed <= decay * level
        need(kept, Code.NOT_PROVED, at, "the largest disturbance feeds more than what decays at the level")
    multipliers = parse_vector(proof["multipliers"], f"{at}.multipliers", len(loop.low))
    need(dissipates(loop, time, source.matrix or (), supply, outputs, decay, multipliers), Code.NOT_DEFINITE, at,
         "a multiplier is negative, or the matrix is not proved positive definite")
    need(stage.command_within(stage.lo[None], stage.hi[None])[0], Code.COMMAND_EXCEEDS_LIMIT, at,
         "the command is not proved to stay within its limits on the level set")
    return stage
