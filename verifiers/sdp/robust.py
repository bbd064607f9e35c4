r"""Gains and invariant sets under a bounded disturbance, by linear matrix inequalities: found in floats, rounded, proved exactly.

The matrix is that of :mod:`verifiers.kernel.dissipation`, linear in P, the multipliers t and the supply s for a fixed decay r.  In units of the
domain's half-widths and of the largest disturbance,

* a gain: :math:`r = 0`, :math:`s_i = \gamma^2`, the level :math:`c = \gamma^2 E` inside the domain: first the least :math:`\gamma^2`, then, at the
  bound demanded, the P with the largest margin (bounded-real lemma; with functions, S-procedure on their slopes);
* an invariant set {V <= 1}: for decays r on a grid, :math:`\sum s_i \bar w_i^2 \le r`, the P of least trace that keeps the box demanded inside.

References
----------
.. [1] S. Boyd, L. El Ghaoui, E. Feron, V. Balakrishnan, Linear matrix inequalities in system and control theory, SIAM 1994, sections 6.1.3 and 6.3.2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import Exact, inverse, is_positive_definite, rationals
from verifiers.kernel.dissipation import dissipates, undisturbed, unknowns
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Floats
from verifiers.kernel.lipschitz import Differences, differences
from verifiers.kernel.requirement import Box
from verifiers.kernel.setting import Source, identity, make_stage
from verifiers.region.attraction import Undecided, Work, text, texts
from verifiers.sdp.programme import Programme, Solution, Unsolved, solve
from verifiers.sdp.rounding import significant

DECAYS = 12
"""Rates that are tried for an invariant set, one programme each."""
TRACE, INSIDE, FLAT = 1e-7, 1 - 1e-9, 0.1
"""Weight of multipliers and of the trace of P, which else run away where they cost nothing; the share of the largest level that is taken; the
slope by which a function counts at least in the choice of units."""
SECONDS = 120.0
CORNERS = 8
"""States up to which the corners of a box that the set has to contain are rows of the programme."""


@dataclass(frozen=True, eq=False)
class Disturbed:
    """A loop about rest, and its matrix in scaled floats.

    Attributes
    ----------
    exact : Differences
        The loop in exact numbers.
    time : str
        ``continuous`` or ``discrete``.
    output, arguments, low, high
        H (n, K), V (N, K) and slopes (N,), K = n + m + N, each column and row in the units below.
    half, size, reach : (n,), (m,) and (N,) arrays
        Units: ``share`` of the least distance from rest to the domain's faces, the largest of each disturbance, the most that each function differs.
    """

    exact: Differences
    time: str
    output: Floats
    arguments: Floats
    low: Floats
    high: Floats
    half: Floats
    size: Floats
    reach: Floats
    share: float = 1.0

    def finer(self, share: float) -> Disturbed:
        """The same with this share of the units of the states."""
        n = len(self.half)
        columns = np.concatenate([np.full(n, share), np.ones(self.output.shape[1] - n)])
        return replace(self, output=self.output * columns / share, arguments=self.arguments * columns, half=self.half * share, share=share)

    def change(self, entry: Floats, decay: float = 0.0) -> Floats:
        """The change of V plus its decay, for P = ``entry`` (n, n): a matrix (K, K)."""
        n, k = len(self.half), self.output.shape[1]
        e = np.eye(n, k)
        flow, still = entry @ self.output, e.T @ entry @ e
        moved = self.output.T @ flow - still if self.time == "discrete" else e.T @ flow + flow.T @ e
        return np.asarray(moved + decay * still)

    def sector(self, j: int) -> Floats:
        """The matrix of one multiplier (K, K)."""
        own = np.zeros(self.output.shape[1])
        own[len(self.half) + len(self.size) + j] = 1.0
        product = np.outer(own - self.low[j] * self.arguments[j], self.high[j] * self.arguments[j] - own)
        return np.asarray((product + product.T) / 2)


def disturbed(work: Work) -> Disturbed:
    """Read the loop of the setting about the equilibrium that is required.

    Raises
    ------
    Undecided
        When it does not rest there without disturbance, in exact arithmetic.
    Refusal
        ``UNSUPPORTED`` for products of what varies, ``TOO_LARGE``.
    """
    setting = work.setting
    field, rest, n = setting.loop.field, tuple(work.setting.rest), len(setting.lo)
    try:
        after = evaluate_exact(undisturbed(field), rest)
    except Refusal as no:
        raise Undecided(Code.UNSUPPORTED, "equilibrium", f"the loop has to rest exactly where it is required to: {no.message}") from None
    if after != (tuple(rest) if work.loop.time == "discrete" else (Fraction(0),) * n):
        where = work.states([float(v) for v in rest])
        raise Undecided(Code.EQUILIBRIUM_NOT_PROVED, "equilibrium", f"without disturbance the loop does not rest exactly at {where}")
    exact = differences(field, Box(setting.lo, setting.hi))
    half = np.array([float(min(x - a, b - x)) for x, a, b in zip(rest, setting.lo, setting.hi, strict=True)])
    size = np.array([float(max(-a, b)) for a, b in unknowns(field)])
    output, arguments, low, high = (np.array(v, dtype=np.float64) for v in (exact.output, exact.arguments, exact.low, exact.high))
    arguments = arguments.reshape(len(low), n + len(size) + len(low))
    units = np.concatenate([half, size, np.zeros(len(low))])
    for j, row in enumerate(arguments):  # a row reads earlier functions only
        units[n + len(size) + j] = max(float(np.abs(row) @ units) * max(abs(low[j]), abs(high[j]), FLAT), 1e-9)
    reach = units[n + len(size):]
    return Disturbed(exact, work.loop.time, output * units / half[:, None], arguments * units / reach[:, None], low, high, half, size, reach)


def _entries(n: int) -> list[Floats]:
    """A basis of the symmetric matrices (n, n)."""
    found = [np.zeros((n, n)) for _ in range(n * (n + 1) // 2)]
    for e, i, j in zip(found, *np.triu_indices(n), strict=True):
        e[i, j] = e[j, i] = 1.0
    return found


def _block(columns: Sequence[Floats], constant: Floats) -> tuple[int, sparse.csr_matrix, Floats]:
    return len(constant), sparse.csr_matrix(np.column_stack([c.ravel() for c in columns])), constant.ravel()


def gain_programme(loop: Disturbed, weights: Floats, energy: float, gain: float | None = None) -> Programme:
    """The programme for a gain; variables: the margin (or, without ``gain``, its square), P's upper triangle, the multipliers.

    Parameters
    ----------
    weights : (n,) array
        Of the states in the output.
    energy : float
        E: {V <= gain**2 E} has to lie in the domain.
    gain : float, optional
        The bound demanded; the least one is looked for by default.
    """
    n, m, count = len(loop.half), len(loop.size), len(loop.low)
    scale = 1.0 if gain is None else gain * gain
    unit = max(float(loop.size.max()), 1e-12)
    fed = np.diag(np.concatenate([np.zeros(n), (loop.size / unit) ** 2, np.zeros(count)]))
    seen = np.diag(np.concatenate([(weights * loop.half / unit) ** 2, np.zeros(m + count)])) / scale
    entries = _entries(n)
    first = -np.eye(n + m + count) if gain is not None else fed
    columns = [first, *(-loop.change(e) for e in entries), *(-loop.sector(j) for j in range(count))]
    blocks = [_block(columns, (fed if gain is not None else 0 * fed) - seen)]
    for i in range(n):  # P >= c / half^2 on the axis that meets a face, in units of the half-widths
        face = np.zeros((n, n))
        face[i, i] = energy / unit**2 * loop.share**2
        blocks.append(_block([0 * face if gain is not None else -face, *entries, *[0 * face] * count], -face if gain is not None else 0 * face))
    objective = np.concatenate([[1.0 if gain is not None else -1.0], *([-TRACE * np.trace(e)] for e in entries), np.full(count, -TRACE)])
    return Programme(objective, tuple(blocks), nonnegative=tuple(range(1 + len(entries), len(objective))))


def invariant_programme(loop: Disturbed, decay: float, corners: Floats) -> Programme:
    """The programme for {V <= 1} that is never left; variables: P's upper triangle, the multipliers, the supply.

    Parameters
    ----------
    decay : float
        r.
    corners : (B, n) array
        States, from rest, that the set has to hold.
    """
    n, m, count = len(loop.half), len(loop.size), len(loop.low)
    entries, k = _entries(n), n + m + count
    supplies = [np.diag(np.eye(k)[n + i]) for i in range(m)]
    columns = [*(-loop.change(e, decay) for e in entries), *(-loop.sector(j) for j in range(count)), *supplies]
    blocks = [_block(columns, -1e-7 * np.eye(k))]
    zero = [0.0] * (count + m)
    for i in range(n):
        face = np.zeros((n, n))
        face[i, i] = 1.0
        blocks.append(_block([*entries, *[0 * face] * (count + m)], -face))
    y = corners / loop.half
    rows = [np.array([*(float(v @ e @ v) for e in entries), *zero]) for v in y]
    rows.append(np.concatenate([np.zeros(len(entries) + count), np.ones(m)]))
    limits = [*[1 - 1e-9] * len(y), decay * (1 - 1e-6)]
    blocks += [(1, sparse.csr_matrix(-row[None]), np.array([limit])) for row, limit in zip(rows, limits, strict=True)]
    objective = np.concatenate([[-np.trace(e) for e in entries], np.full(count + m, -TRACE)])
    return Programme(objective, tuple(blocks), nonnegative=tuple(range(len(entries), len(objective))))


def prove_gain(work: Work) -> None:
    """Prove ``l2_gain``; fills ``work``, or raises :class:`Undecided` with the least gain that a programme finds."""
    r, loop = work.setting.requirement.gain, disturbed(work)
    if r is None or not len(loop.size):
        raise Undecided(Code.BAD_REQUIREMENT, "parameters", "no parameter that the loop depends on is an interval, so nothing disturbs it")
    names = [s.name for s in work.setting.spec.states]
    if wrong := sorted(set(r.output) - set(names)):
        raise Refusal(Code.BAD_REQUIREMENT, "gain.output", f"{wrong[0]} is not one of the states {', '.join(names)}")
    weights = np.array([float(r.output.get(name, 0)) for name in names])
    seen = float((weights * loop.half).max())
    loop = loop.finer(min(1.0, float(r.value) * float(loop.size.max()) / seen))  # a unit of a state is what the largest disturbance may do to it
    least, best = solve([gain_programme(loop, weights, float(r.energy)), gain_programme(loop, weights, float(r.energy), float(r.value))],
                        seconds=min(SECONDS, max(1.0, work.left)))
    known = f"the least gain found is {math.sqrt(max(least.x[0], 0.0)):.7g}" if isinstance(least, Solution) else f"no gain was found: {least.says}"
    if isinstance(best, Unsolved):
        raise _unsolved(best, "gain", f"{float(r.value):g} is not proved, {known}")
    entries = len(_entries(len(loop.half)))
    unit = float(loop.size.max()) * float(r.value)
    matrix = _matrix(loop, best.x[1:1 + entries] * unit**2)
    multipliers = _multipliers(loop, best.x[1 + entries:] * unit**2)
    outputs = [r.output.get(name, Fraction(0)) ** 2 for name in names]
    square = r.value**2
    level = None if matrix is None else _level(work, matrix)
    if matrix is None or level is None or level < square * r.energy or not dissipates(
            loop.exact, loop.time, matrix, [square] * len(loop.size), outputs, Fraction(0), multipliers):
        raise Undecided(Code.NO_PROOF_FOUND, "gain", f"{float(r.value):g} is not proved, {known}")
    _record(work, "gain", matrix, level, {"multipliers": texts(list(multipliers))})


def prove_invariant(work: Work) -> None:
    """Prove ``forward_invariance`` of an ellipsoid by one inequality, for any number of states; fills ``work`` or raises :class:`Undecided`."""
    setting, loop = work.setting, disturbed(work)
    if "V" in setting.functions:
        raise Undecided(Code.UNSUPPORTED, "lyapunov", "a named function is proved by box trees; leave out the method, or the function")
    n, box = len(loop.half), setting.requirement.contains
    rest = np.array([float(v) for v in tuple(work.setting.rest)])
    corners = np.zeros((0, n))
    if box is not None and n <= CORNERS:
        corners = np.array(list(itertools.product(*zip(box.lo, box.hi, strict=True))), dtype=np.float64) - rest
    decays = _slowest(loop) * np.linspace(0.04, 0.96, DECAYS)
    answers = solve([invariant_programme(loop, float(d), corners) for d in decays], seconds=min(SECONDS, max(1.0, work.left)))
    found = sorted(((-float(a.x @ _traces(n, len(a.x))), d, a) for d, a in zip(decays, answers, strict=True) if isinstance(a, Solution)),
                   key=lambda item: -item[0])
    entries, count = n * (n + 1) // 2, len(loop.low)
    for _, d, answer in found:
        matrix, multipliers = _matrix(loop, answer.x[:entries]), _multipliers(loop, answer.x[entries:entries + count])
        decay = Fraction(float(d))
        supply = [max(Fraction(0), Fraction(v)) for v in significant(answer.x[entries + count:] / loop.size**2)]
        level = None if matrix is None else _level(work, matrix)
        if matrix is None or level is None:
            continue
        fed = sum((s * max(a * a, b * b) for s, (a, b) in zip(supply, unknowns(setting.loop.field), strict=True)), Fraction(0))
        if fed <= decay * level and dissipates(loop.exact, loop.time, matrix, supply, [Fraction(0)] * n, decay, multipliers):
            _record(work, "shell-1", matrix, level, {"multipliers": texts(list(multipliers)), "supply": texts(supply), "decay": text(decay)})
            return
    last = next((a for a in answers if isinstance(a, Unsolved)), Unsolved("infeasible", "the rounded matrices are not definite"))
    raise _unsolved(last, "shell-1", "no ellipsoid in the domain is kept")


def _traces(n: int, size: int) -> Floats:
    return np.array([*(np.trace(e) for e in _entries(n)), *[0.0] * (size - n * (n + 1) // 2)])


def _slowest(loop: Disturbed) -> float:
    """The decay of x'Px that the linear part allows at most; functions of one number stand at the middle of their slopes."""
    n, m = len(loop.half), len(loop.size)
    middle = (loop.low + loop.high) / 2
    inner = np.eye(len(middle)) - middle[:, None] * loop.arguments[:, n + m:]
    values = np.linalg.solve(inner, middle[:, None] * loop.arguments[:, :n]) if len(middle) else np.zeros((0, n))
    eigenvalues = np.linalg.eigvals(loop.output[:, :n] + loop.output[:, n + m:] @ values)
    rate = 1 - float(np.abs(eigenvalues).max()) ** 2 if loop.time == "discrete" else -2 * float(eigenvalues.real.max())
    return max(rate, 1e-3)


def _matrix(loop: Disturbed, upper: Floats) -> Exact | None:
    """P in the plant's units from its upper triangle in those of the domain, rounded; None where it is not definite."""
    n = len(loop.half)
    p = np.zeros((n, n))
    p[np.triu_indices(n)] = upper
    p = (p + np.triu(p, 1).T) / np.outer(loop.half, loop.half)
    exact = significant(p)
    return exact if is_positive_definite(exact) else None


def _multipliers(loop: Disturbed, values: Floats) -> list[Fraction]:
    """Multipliers in the functions' own units, none of them negative."""
    return [max(Fraction(0), Fraction(v)) for v in significant(values / loop.reach**2)]


def _level(work: Work, matrix: Exact) -> Fraction | None:
    """A level whose ellipsoid lies in the interior of the domain: all but a billionth of the largest."""
    setting, rest = work.setting, tuple(work.setting.rest)
    gaps = [min(x - a, b - x) for x, a, b in zip(rest, setting.lo, setting.hi, strict=True)]
    top = min(g * g / row[i] for i, (g, row) in enumerate(zip(gaps, inverse(matrix), strict=True)))
    return Fraction(significant([float(top) * INSIDE])[0]) if top > 0 else None


def _record(work: Work, name: str, matrix: Exact, level: Fraction, fields: dict[str, Any]) -> None:
    setting, rows = work.setting, tuple(map(tuple, rationals(matrix)))
    source = Source(rows, tuple(work.setting.rest), None)
    setting.functions["Q"] = source
    work.functions["Q"] = {"kind": "quadratic", "matrix": texts(rows), "center": texts(list(source.origin))}
    work.stage = make_stage(setting, source, level, identity(len(rows)))
    work.obligations.append({"id": name, "proof": {"kind": "lmi", "function": "Q", "level": text(level), **fields}})
    setting.stages.append(("Q", level))
    work.region = ("Q", level)


def _unsolved(answer: Unsolved, at: str, message: str) -> Undecided:
    code = {"timeout": Code.BUDGET, "absent": Code.UNSUPPORTED}.get(answer.reason, Code.NO_PROOF_FOUND)
    return Undecided(code, at, f"{message}; {answer.says}")
