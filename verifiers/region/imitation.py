"""The bounds of ``imitation_iss`` beside the loop: trees that show them, and replayed states and rows that refute them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.bundle_writer import reference
from verifiers.kernel.bundle import forbid_pickle, read_file
from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.imitation import bounded_graph, data_graph
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.lipschitz import Differences, differences, layers
from verifiers.kernel.requirement import Box, Imitation, read_table
from verifiers.kernel.setting import Setting, mistaken, outward
from verifiers.kernel.stage import Function, Stage
from verifiers.load.floats import evaluate
from verifiers.region.attraction import Refuted, Undecided, Work, text
from verifiers.region.cover import grow_cover
from verifiers.sdp.layerwise import layerwise
from verifiers.sdp.lipschitz import METHODS, Multipliers, find_multipliers, least_bound
from verifiers.sdp.programme import Unsolved
from verifiers.sdp.rounding import texts

SAMPLES, ROUNDS, SMALLEST, SECONDS, NEAR = 20_000, 12, 2.0**-14, 240.0, 1.1
"""States drawn, rounds of refinement, the smallest side of a leaf as a share of the box, seconds for a tree, and how far a constant may be above the
steepest slope sampled before a smaller one is searched."""


def read_parts(path: Path, data: bytes) -> dict[str, bytes]:
    """The files that a requirement of ``imitation_iss`` names beside its controller: ``expert`` and ``data``, as far as it names them.

    Parameters
    ----------
    path : Path
        The requirement, from whose folder paths are meant.
    data : bytes
        Its text.

    Raises
    ------
    Refusal
        ``DIGEST_MISMATCH`` for a file with another sha256 than the requirement names, and what reading a file raises.
    """
    table, found = read_table(data, path.name), dict[str, bytes]()
    for key in ("expert", "data"):
        named = table.get(key, {}).get("file") if isinstance(table.get(key), dict) else None
        if isinstance(named, dict):
            found[key] = read_file((path.parent / str(named.get("path"))).resolve(), str(named.get("path")))
            same = hashlib.sha256(found[key]).hexdigest() == named.get("sha256")
            need(same, Code.DIGEST_MISMATCH, f"{key}.file", "this file has another sha256 than the requirement says; restore it or write its own")
            forbid_pickle(str(named.get("path")), found[key])
    return found


def soften(setting: Setting, seconds: float) -> dict[str, Any] | None:
    r"""Bound what measurement errors do to the command by a Lipschitz constant, where that is less than what enclosures make of them.

    Parameters
    ----------
    setting : Setting
        Of a requirement of ``imitation_iss``; its loop is then the policy's without errors, with a push of the constant times the size.
    seconds : float
        For the solver.

    Returns
    -------
    dict or None
        The obligation ``lipschitz``; None where nothing is gained, or no multipliers are found.  The kernel checks it.

    Notes
    -----
    Interval arithmetic carries a box of errors through every layer by absolute values of weights, which loses a factor that grows with the depth.
    """
    asked, policy = setting.requirement.imitation, setting.policy
    if asked is None or policy is None:
        return None
    box = setting.requirement.domain
    around = Box(tuple(v - asked.size for v in box.lo), tuple(v + asked.size for v in box.hi))
    try:
        found = differences(policy, around)
    except Refusal:
        return None
    best = _constant(policy, found, around, seconds)
    if best is None or not float(best[0] * asked.size) < _widest(setting, asked.size):
        return None
    setting.loop = setting.closed(mistaken(policy, Fraction(0), best[0] * asked.size))
    return {"id": "lipschitz", "proof": {"kind": "lipschitz_sdp", "level": text(best[0]), "multipliers": texts(best[1])}}


def _constant(policy: Graph, found: Differences, box: Box, seconds: float) -> tuple[Fraction, tuple[Fraction, ...]] | None:
    """A constant that is proved, with its multipliers: without a solver where that is near the steepest slope sampled, else the least one."""
    neurons = layers(policy)
    if not neurons:
        bound = Fraction(float(np.linalg.norm(np.asarray(found.output, dtype=np.float64), 2)) * 1.000001 + 1e-12)
        return (bound, ()) if found.proves(bound, ()) else None
    quick = layerwise(found, neurons, METHODS[0], seconds=seconds)
    if not isinstance(quick, Unsolved) and (near := _proved(found, neurons, quick[0], METHODS[0], seconds)) is not None:
        if float(near[0]) <= NEAR * _steepest(policy, box):
            return near
    else:
        near = None
    least = least_bound(found, neurons, METHODS[-1], seconds=seconds)
    best = None if isinstance(least, Unsolved) else _proved(found, neurons, float(np.sqrt(max(least.x[0], 0.0))), METHODS[-1], seconds)
    return min((c for c in (near, best) if c is not None), default=None)


def _proved(found: Differences, neurons: list[int], guess: float, method: str, seconds: float) -> tuple[Fraction, tuple[Fraction, ...]] | None:
    if not 0 < guess < np.inf:
        return None
    bound = Fraction(f"{guess * 1.0005:.6g}")
    answer = find_multipliers(found, neurons, bound, method, seconds=seconds)
    return (bound, tuple(answer.values)) if isinstance(answer, Multipliers) else None


def _steepest(policy: Graph, box: Box, step: float = 1e-5) -> float:
    """The largest norm of difference quotients at some states of a box; from below."""
    x = np.random.default_rng(0).uniform([float(v) for v in box.lo], [float(v) for v in box.hi], (500, len(box.lo)))
    base = evaluate(policy, x)
    slopes = np.stack([(evaluate(policy, x + step * e) - base) / step for e in np.eye(x.shape[1])], axis=2)
    return float(np.nan_to_num(np.linalg.norm(slopes, 2, axis=(1, 2))).max())


def _widest(setting: Setting, size: Fraction) -> float:
    """Half the width to which enclosures blow up a command at the equilibrium, with the box of errors."""
    rest = np.array([[float(v) for v in setting.rest]])
    with np.errstate(all="ignore"):
        centre, radius = split_boxes(rest, rest)
        reading = JetReading(radius, 1)
        low, high = reading.bounds(read_jets(mistaken(setting.policy, size, Fraction(0)), reading, reading.start(centre)))  # type: ignore[arg-type]
    return float((high - low).max() / 2)


def corner_errors(setting: Setting, field: Graph) -> tuple[Graph, ...]:
    """The loop with the errors of the measurement, or the push on the command, at each corner of their box; at most sixteen corners."""
    asked, acting = setting.requirement.imitation, setting.loop.command
    if asked is None or acting is None:
        return ()
    held = max((v.data for v in acting.nodes if v.op == "const" and all(lo < 0 < hi and lo == -hi for lo, hi in v.data)), key=lambda d: d[0][1])
    n, size = len(held), held[0][1]
    found = []
    for k in range(min(2**n, 16)):
        ends = tuple((size, size) if k >> i & 1 else (-size, -size) for i in range(n))
        found.append(Graph(tuple(replace(v, data=ends) if v.op == "const" and v.data == held else v for v in field.nodes), field.input_sizes,
                           field.outputs))
    return tuple(found)


def prove_bounds(work: Work, parts: dict[str, bytes]) -> None:
    """Add the obligations ``error``, ``fit`` and ``regret`` that the requirement demands.

    Raises
    ------
    Undecided
        Where no tree is found.
    Refusal
        What the kernel's readers raise.
    """
    asked = work.setting.requirement.imitation
    if asked is None:
        return
    if asked.error is not None:
        _tree(work, "error", {} if asked.kind == "lqr" else {"expert": _kept(work, "expert.onnx", parts["expert"])}, parts)
    if asked.fit is not None:
        work.obligations.append({"id": "fit", "proof": {"kind": "evaluation", "data": _kept(work, "data.csv", parts["data"])}})
    if asked.regret is not None:
        _tree(work, "regret", {}, parts)


def refute_bounds(work: Work, parts: dict[str, bytes]) -> None:
    """Look for a state or a row at which ``error`` or ``fit`` is exceeded, and replay it with the kernel's enclosures.

    Raises
    ------
    Refuted
        With the state.  Direction: raised only where the enclosures prove it.
    """
    asked, n = work.setting.requirement.imitation, len(work.setting.lo)
    if asked is None:
        return
    if asked.fit is not None:
        rows, graph, limit = data_graph(work.setting, parts["data"])
        points = np.array([[float(v) for v in row] for row in rows])
        k = int(np.argmax(np.nan_to_num(evaluate(graph, points)[:, 0])))
        if (low := _least(work.setting, graph, rows[k])) > float(limit) * (1 + 1e-12):
            raise Refuted(Code.COUNTEREXAMPLE, work.states(points[k][:n]), f"row {k + 2} of the data is missed by at least {np.sqrt(low):.6g}, "
                          f"{float(asked.fit):g} is demanded", tuple(points[k][:n].tolist()))
    if asked.error is not None:
        graph, limit, domain = _bounded(work.setting, "error", parts)
        x = _largest(work, graph, *(np.array([float(v) for v in side]) for side in (domain.lo, domain.hi)))
        if (low := _least(work.setting, graph, tuple(map(Fraction, x.tolist())))) > float(limit) * (1 + 1e-12):
            raise Refuted(Code.COUNTEREXAMPLE, work.states(x), f"policy and expert differ by at least {np.sqrt(low):.6g} at {work.states(x)}, "
                          f"{float(asked.error):g} is demanded", tuple(x.tolist()))


def _bounded(setting: Setting, name: str, parts: dict[str, bytes]) -> tuple[Graph, Fraction, Any]:
    rest = setting.rest
    return bounded_graph(setting, rest, name, parts.get("expert"))


def _kept(work: Work, name: str, data: bytes) -> dict[str, Any]:
    work.files[name] = data
    return reference(name, data)


def _stage(work: Work, graph: Graph, limit: Fraction) -> Stage:
    lo, hi = work.box
    return Stage(work.setting.loop.field, work.loop.time, Function(graph), limit, lo, hi, lo, hi)


def _tree(work: Work, name: str, more: dict[str, Any], parts: dict[str, bytes]) -> None:
    graph, limit, box = _bounded(work.setting, name, parts)
    lo, hi = outward(box.lo, box.hi)
    key, x = "expert.error" if name == "error" else "regret.bound", _largest(work, graph, lo, hi)
    if (value := float(evaluate(graph, x[None])[0, 0])) > float(limit):
        shown = np.sqrt(value) if name == "error" else value
        raise Undecided(Code.NO_PROOF_FOUND, key, f"it is {shown:.6g} at {work.states(x)}; demand a larger bound, or a smaller box")
    tree = grow_cover(_stage(work, graph, limit), lo, hi, widths=(hi - lo) * SMALLEST, give_up=True, seconds=min(SECONDS, max(5.0, work.left)))
    if tree is None:
        raise Undecided(Code.NO_PROOF_FOUND, key, "this bound is not shown on the whole box; demand a larger one, or a smaller box")
    work.obligations.append({"id": name, "proof": {"kind": "box_tree", "tree": work.tree(name, tree), **more}})


def _largest(work: Work, graph: Graph, lo: Floats, hi: Floats) -> Floats:
    """A state of a box at which a scalar graph is large, by samples and refinement."""
    rng = np.random.default_rng(work.seed)
    x, radius = rng.uniform(lo, hi, (SAMPLES, len(lo))), 0.05 * (hi - lo)
    for _ in range(ROUNDS):
        best = x[np.argsort(-np.nan_to_num(evaluate(graph, x)[:, 0]))[:50]]
        x = np.concatenate([best, np.clip(np.repeat(best, 40, axis=0) + radius * rng.uniform(-1, 1, (2000, len(lo))), lo, hi)])
        radius = radius * 0.6
    return np.asarray(x[int(np.argmax(np.nan_to_num(evaluate(graph, x)[:, 0])))])


def _least(setting: Setting, graph: Graph, point: tuple[Fraction, ...]) -> float:
    """A lower bound of a scalar graph at a point."""
    lo, hi = outward(point, point)
    stage = Stage(setting.loop.field, setting.requirement.time, Function(graph), Fraction(0), lo, hi, lo, hi)
    with np.errstate(all="ignore"):
        return float(stage.value(stage.function, lo[None], hi[None])[0][0])


def says(asked: Imitation) -> str:
    """The assumption about the measurement, as the bundle states it."""
    return (f"the full state is measured without delay, at each instant or step with an error of a Euclidean norm of at most {asked.size} in the "
            "states' units")
