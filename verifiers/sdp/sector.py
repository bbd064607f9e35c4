r"""Quadratics for loops with networks and saturation, by sectors: every scalar function of the loop lies between two chords about the equilibrium.

With z = (x - x*, w - w*), w the outputs of all scalar functions, the loop is H z and the arguments of the functions are V z.  Where
:math:`|V_i z| \le r_i` the function :math:`w_i` lies between the chords :math:`a_i V_i z` and :math:`b_i V_i z`, so with t >= 0

.. math:: M(P, t) = \Pi^\top P\, \Pi - H^\top P H - \mathrm{sym}\,(E - \mathrm{diag}(a) V)^\top \mathrm{diag}(t)\,(\mathrm{diag}(b) V - E) \succ 0

makes x'Px fall at every step (in continuous time the first two terms are :math:`-\mathrm{sym}\,\Pi^\top P H`) on the ellipsoid x'Px <= 1, if that
lies where the chords hold.  Rows V_i that read the state alone bound that set; bounds of the others follow layer by layer.  The ellipsoid is enlarged
and the chords are taken anew, in turn.

Everything here is in floats and chords are sampled: what comes out is a candidate, which the box tree of :mod:`verifiers.region.attraction` proves.

References
----------
.. [1] H. Yin, P. Seiler, M. Arcak, Stability analysis using quadratic constraints for systems with neural network controllers, IEEE TAC 67 (2022).
"""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy import sparse

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats, Graph, Node, read
from verifiers.load.floats import FloatReading
from verifiers.region.attraction import Undecided, Work
from verifiers.sdp.programme import Programme, Solution, Unsolved, solve

Function = Callable[[Floats], Floats]
SIZE, SAMPLES = 400, 129
MARGIN, LEAN = 1e-7, 1e-3
"""What M(P, t) has to exceed, and the weight of the multipliers in what is minimised: without it they run away where they cost nothing."""
SHARES = ((1.0, 0.7), (1.0, 0.45), (1.0, 0.25), (0.5, 0.25), (0.25, 0.12), (0.12, 0.06), (0.06, 0.03), (0.02, 0.01))
"""Shares of the domain's reach for arguments that read one state, and that read several; from the first that is feasible the ellipsoid grows."""
TOGETHER = 4
"""Programmes that one child process solves."""
GROWTH, GAIN = (1.5, 1.2, 1.05), 0.1
"""Factors by which the ellipsoid may grow from one programme to the next, while log det P falls by more than ``GAIN``."""
SECONDS = 60.0
LONG = 0.6
"""Share of a row's entries that are not zero above which it is a long one."""


@dataclass(frozen=True, eq=False)
class Sectors:
    """A loop of n states and N scalar functions: H (n, n + N), V (N, n + N), and each function with its argument at the equilibrium (N,)."""

    output: Floats
    arguments: Floats
    functions: tuple[Function, ...]
    at: Floats


@dataclass(frozen=True)
class _Value:
    """Entries of a node: their rows over z, and their values at the equilibrium."""

    rows: Floats
    at: Floats


@dataclass
class _Reading:
    """Reads a loop as linear maps and scalar functions, numbered as they are met."""

    states: int
    arguments: list[Floats] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def const(self, node: Node) -> _Value:
        return _Value(np.zeros((node.size, SIZE)), np.array([float((lo + hi) / 2) for lo, hi in node.data]))

    def affine(self, node: Node, x: _Value) -> _Value:
        return _Value(node.data.weight @ x.rows, node.data.weight @ x.at + node.data.bias)

    def take(self, node: Node, x: _Value) -> _Value:
        return _Value(x.rows[list(node.data)], x.at[list(node.data)])

    def concat(self, node: Node, parts: Sequence[_Value]) -> _Value:
        return _Value(np.vstack([p.rows for p in parts]), np.concatenate([p.at for p in parts]))

    def unary(self, node: Node, x: _Value) -> _Value:
        if node.op == "neg":
            return _Value(-x.rows, -x.at)
        return self._functions(x, [partial(FloatReading().unary, node)] * node.size)

    def binary(self, node: Node, a: _Value, b: _Value) -> _Value:
        if node.op in ("add", "sub"):
            sign = 1.0 if node.op == "add" else -1.0
            return _Value(a.rows + sign * b.rows, a.at + sign * b.at)
        if node.op in ("min", "max"):  # max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b)
            above = self._functions(_Value(a.rows - b.rows, a.at - b.at), [partial(np.maximum, 0.0)] * node.size)
            base, sign = (b, 1.0) if node.op == "max" else (a, -1.0)
            return _Value(base.rows + sign * above.rows, base.at + sign * above.at)
        if node.op == "mul" and not a.rows.any():
            a, b = b, a
        if not b.rows.any():
            factor = b.at if node.op == "mul" else 1 / b.at
            return _Value(a.rows * factor[:, None], a.at * factor)
        if node.op == "div" and not a.rows.any():
            return self._functions(b, [partial(np.divide, top) for top in a.at])
        raise Refusal(Code.UNSUPPORTED, node.op, "sectors need a loop of linear maps and functions of one number; this is a product of two that vary")

    def _functions(self, x: _Value, functions: Sequence[Function]) -> _Value:
        """Number the functions whose argument varies; the others are constants."""
        rows = np.zeros_like(x.rows)
        for row, given, f, at in zip(rows, x.rows, functions, x.at, strict=True):
            if given.any():
                if self.states + len(self.at) >= SIZE:
                    raise Refusal(Code.TOO_LARGE, "sector", f"a loop of more than {SIZE - self.states} scalar functions is not read")
                row[self.states + len(self.at)] = 1.0
                self.arguments.append(given)
                self.functions.append(f)
                self.at.append(float(at))
        return _Value(rows, np.array([float(f(at)) for f, at in zip(functions, x.at, strict=True)]))


def sectors(loop: Graph, x: Floats) -> Sectors:
    """Read a loop (n states) as linear maps and scalar functions about the equilibrium x (n,).

    Raises
    ------
    Refusal
        ``UNSUPPORTED`` for a product or quotient of two numbers that both vary, ``TOO_LARGE``.
    """
    reading = _Reading(len(x))
    with np.errstate(all="ignore"):
        (out,) = read(loop, reading, [_Value(np.eye(len(x), SIZE), np.asarray(x, dtype=np.float64))])
    total = len(x) + len(reading.at)
    return Sectors(out.rows[:, :total], np.array(reading.arguments).reshape(-1, SIZE)[:, :total], tuple(reading.functions), np.array(reading.at))


def chords(found: Sectors, reach: Floats, rows: Floats) -> tuple[Floats, Floats, Floats]:
    r"""Slopes a, b (N,) of the chords, and the reaches r (N,) of all arguments.

    Parameters
    ----------
    reach : (n,) array
        Bounds of |x - x*|.
    rows : (N,) array
        Bounds of the arguments that read the state alone (infinite where none is known better than by ``reach``).

    Notes
    -----
    Direction: none.  Chords are taken at ``SAMPLES`` arguments, so that they may miss an extreme between two.
    """
    n, grid = found.output.shape[0], np.linspace(-1.0, 1.0, SAMPLES + 1 - SAMPLES % 2)
    grid = grid[np.abs(grid) > 1e-9]
    low, high, wide = (np.zeros(len(found.at)) for _ in range(3))
    moves = np.concatenate([reach, np.zeros(len(found.at))])
    for i, (row, f, at) in enumerate(zip(found.arguments, found.functions, found.at, strict=True)):
        wide[i] = min(rows[i], float(np.abs(row) @ moves))
        step = max(wide[i], 1e-9) * grid
        with np.errstate(all="ignore"):
            change = f(at + step) - f(np.array([at]))
        low[i], high[i] = (change / step).min(), (change / step).max()
        moves[n + i] = np.abs(change).max()
    return low, high, wide


def shifted(found: Sectors, low: Floats, high: Floats, wide: Floats, reach: Floats) -> tuple[Floats, Floats, Floats]:
    r"""The loop after :math:`w_i = c_i v_i + \rho_i d_i` with c, rho the middle and half the width of the chords, so that :math:`|d_i| \le |v_i|`.

    Returns
    -------
    (H, V, free)
        H (n, K) and V (K - n, K) over (x, d) in the units ``reach`` and ``wide``, without the functions that are straight or never move; and True
        for the rows of V that read the state alone in the loop as given.
    """
    n, count = found.output.shape[0], len(found.at)
    maps = np.zeros((count, n + count))  # w over (x, d)
    rows = np.zeros((count, n + count))
    for i in range(count):
        rows[i, :n] = found.arguments[i, :n]
        rows[i] += found.arguments[i, n:] @ maps
        maps[i] = 0.5 * (low[i] + high[i]) * rows[i]
        maps[i, n + i] += 0.5 * (high[i] - low[i])
    output = np.hstack([found.output[:, :n], np.zeros((n, count))]) + found.output[:, n:] @ maps
    bent = (high - low) * wide > 1e-9
    unit = np.concatenate([reach, wide])
    keep = np.concatenate([np.ones(n, dtype=bool), bent])
    alone = ~found.arguments[:, n:].any(axis=1)
    return (output * unit / reach[:, None])[:, keep], (rows[bent] * unit / wide[bent, None])[:, keep], alone[bent]


def programme(loop: tuple[Floats, Floats, Floats], time: str, before: Floats, rate: float) -> Programme:
    r"""Minimise :math:`\mathrm{tr}\, P P_k^{-1}` over P and t with M(P, t) >= ``MARGIN``; x = (upper triangle of P, t), all in the units of ``loop``.

    Parameters
    ----------
    loop : (H, V, free)
        What :func:`shifted` returns.  The ellipsoid is kept in the unit box, and in |V_i x| <= 1 for the rows that read the state alone.
    before : (n, n) array
        P_k of the ellipsoid to be enlarged.

    Notes
    -----
    :math:`H^\top P H` and the terms :math:`t_i V_i^\top V_i` of long rows are kept sparse by Schur complements, which the solver takes apart into
    small cones.
    """
    output, rows, free = loop
    n, size = output.shape
    gain = np.linalg.norm(output[:, n:], axis=0)
    gain = np.sqrt(np.maximum(gain, 1e-6 * gain.max(initial=1e-300)))
    unit = np.concatenate([np.ones(n), 1 / gain])  # t is near the gain of its function on the next state
    output, rows = output * unit, rows * unit * gain[:, None]
    long = np.flatnonzero((rows != 0).sum(axis=1) > LONG * size)
    extra, discrete = len(long), time == "discrete"
    total = size + extra + (n if discrete else 0)
    entries = [np.zeros((n, n)) for _ in range(n * (n + 1) // 2)]
    for e, i, j in zip(entries, *np.triu_indices(n), strict=True):
        e[i, j] = e[j, i] = 1.0
    parts = []
    for e in entries:
        part = np.zeros((total, total))
        if discrete:
            part[:n, :n] = (1 - rate) * e
            part[-n:, -n:] = e
            part[-n:, :size] = e @ output
            part[:size, -n:] = (e @ output).T
        else:
            part[:n, :size] = -(e @ output)
            part[:size, :size] += part[:size, :size].T
            part[:n, :n] -= rate * e
        parts.append(part)
    for i, v in enumerate(rows):
        part = np.zeros((total, total))
        part[n + i, n + i] = 1.0
        if i in long:
            at = size + int(np.searchsorted(long, i))
            part[at, at], part[at, :size], part[:size, at] = 1.0, v, v
        else:
            part[:size, :size] -= np.outer(v, v)
        parts.append(part)
    count, small = len(parts), len(entries)
    blocks = [(total, sparse.vstack([sparse.csr_matrix(p.reshape(1, -1)) for p in parts]).T.tocsr(), -MARGIN * np.eye(total).ravel())]
    inside = sparse.csr_matrix(np.column_stack([np.pad(e, ((1, 0), (1, 0))).ravel() for e in entries]
                                               + [np.zeros((n + 1) ** 2)] * (count - small)))
    for row in [*np.eye(n), *(rows[free, :n] / gain[free, None])]:
        blocks.append((n + 1, inside, np.block([[np.ones((1, 1)), row[None, :]], [row[:, None], np.zeros((n, n))]]).ravel()))
    weight = np.linalg.inv(before)
    objective = np.concatenate([[-float((e * weight).sum()) for e in entries], np.full(count - small, -LEAN)])
    return Programme(objective, tuple(blocks), None, tuple(range(small, count)))


def enlarge(loop: Graph, time: str, x: Floats, domain: tuple[Floats, Floats], rate: float = 0.0, *, seconds: float = 60.0,
            solver: str = "CLARABEL") -> Floats | Unsolved:
    r"""P whose ellipsoid :math:`(x - x^*)^\top P (x - x^*) \le 1` lies in the domain and, the sectors say, is attracted.

    Parameters
    ----------
    loop, time, x
        The loop, ``discrete`` or ``continuous``, and its equilibrium (n,).
    domain : (lo, hi)
        Corners, each (n,).
    rate : float
        Of the exponential decay that is demanded.
    seconds : float
        For all programmes together.

    Raises
    ------
    Refusal
        What :func:`sectors` raises.
    """
    found = sectors(loop, x)
    n, unit = len(x), np.minimum(domain[1] - x, x - domain[0])
    lines = found.arguments[:, :n] * unit
    alone = ~found.arguments[:, n:].any(axis=1)
    end = clock.monotonic() + seconds

    def best_of(tries: Sequence[tuple[Floats, Floats]], before: Floats) -> Floats | Unsolved:
        """The largest ellipsoid (P in the unit box) among programmes whose chords hold where |y| <= reach and |V_i y| <= wide."""
        made = []
        for reach, wide in tries:
            turned = shifted(found, *chords(found, reach * unit, np.where(alone, wide, np.inf)), reach * unit)
            made.append(programme(turned, time, before * np.outer(reach, reach), rate))
        answers = solve(made, solver=solver, seconds=max(1.0, end - clock.monotonic()))
        good = [p for p in (_matrix(a.x, n) / np.outer(reach, reach) for a, (reach, _) in zip(answers, tries, strict=True) if isinstance(a, Solution))
                if np.linalg.eigvalsh(p)[0] > 0]
        no = [a for a in answers if isinstance(a, Unsolved)] or [Unsolved("inaccurate", "the matrix found is not positive definite")]
        return min(good, key=lambda p: float(np.linalg.slogdet(p)[1])) if good else no[-1]

    best: Floats | Unsolved = Unsolved("timeout", "no time was left")
    single, top = (lines != 0).sum(axis=1) == 1, np.abs(lines).sum(axis=1)
    for k in range(0, len(SHARES), TOGETHER):
        if isinstance(best, Unsolved) and clock.monotonic() < end:
            best = best_of([(np.ones(n), np.where(single, one, several) * top) for one, several in SHARES[k:k + TOGETHER]], np.eye(n))
    gain = math.inf
    while not isinstance(best, Unsolved) and gain > GAIN and clock.monotonic() < end:
        inverse = np.linalg.inv(best)
        reach, wide = np.sqrt(inverse.diagonal()), np.sqrt(np.einsum("ki,ij,kj->k", lines, inverse, lines))
        new = best_of([(np.minimum(1.0, g * reach), g * wide) for g in GROWTH], best)
        gain = 0.0 if isinstance(new, Unsolved) else float(np.linalg.slogdet(best)[1] - np.linalg.slogdet(new)[1])
        best = new if not isinstance(new, Unsolved) and gain > 0 else best
    return best if isinstance(best, Unsolved) else best / np.outer(unit, unit)


def _matrix(entries: Floats, n: int) -> Floats:
    """The symmetric matrix with this upper triangle in front."""
    found = np.zeros((n, n))
    found[np.triu_indices(n)] = entries[:n * (n + 1) // 2]
    return np.asarray(found + np.triu(found, 1).T)


def sector_starts(work: Work) -> tuple[Floats, ...]:
    """Matrices P to begin with for a loop whose function is not named; none where a function is named or no programme is feasible.

    Raises
    ------
    Undecided
        ``UNSUPPORTED`` for a loop with products of numbers that both vary, or without a solver.
    """
    if "V" in work.setting.functions or work.where is None:
        return ()
    centre = np.array([float(v) for v in work.where.centre])
    try:
        found = enlarge(work.setting.loop.field, work.loop.time, centre, work.box, float(work.setting.rate), seconds=min(SECONDS, work.left / 3))
    except Refusal as no:
        raise Undecided(no.code, f"sector.{no.at}", no.message) from None
    if isinstance(found, Unsolved):
        if found.reason == "absent":
            raise Undecided(Code.UNSUPPORTED, "sector", found.says)
        return ()
    return (found,)
