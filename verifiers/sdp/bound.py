"""The property ``lipschitz_bound``: look for a pair of inputs that refutes it, then for multipliers that prove it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.definite import rationals
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.jets import JetReading, read_jets, split_boxes
from verifiers.kernel.lipschitz import differences, layers
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.requirement import BoundRequirement
from verifiers.load.floats import evaluate
from verifiers.region.attraction import Refuted, Undecided
from verifiers.sdp.lipschitz import METHODS, Multipliers, find_multipliers
from verifiers.sdp.rounding import texts

STARTS, ROUNDS, KEPT = 4096, 24, 64
STEPS = (1.0, 0.1, 1e-2, 1e-3, 1e-4)


def prove_bound(requirement: BoundRequirement, controller: bytes, method: str | None, budget: float, seed: int = 0,
                multipliers: Sequence[Fraction] | None = None) -> dict[str, Any]:
    """Prove the bound demanded.

    Parameters
    ----------
    requirement, controller
        What is demanded, and the controller's ONNX bytes.
    method : str or None
        One of ``METHODS``; None tries ``eclipse-fast``, which needs no solver, then ``lipsdp-neuron``, which proves the smallest bounds.
    budget : float
        Seconds for the search, a quarter of them at most for a counterexample.
    multipliers : sequence of Fraction, optional
        A guess, one number per neuron, such as a learner has one; where it proves the bound there is nothing to search.

    Returns
    -------
    dict
        The obligation ``bound`` for a certificate; whether it proves anything is the kernel's to say.

    Raises
    ------
    Refuted
        With a pair of inputs whose outputs were shown to be too far apart.
    Undecided
        When no multipliers prove the bound, or the solver fails.
    Refusal
        What the kernel's readers raise.
    """
    began = time.monotonic()
    network = read_onnx(controller, requirement.controller).graph
    found = differences(network, requirement.domain)
    if multipliers is not None and len(multipliers) == len(found.low) and found.proves(requirement.bound, multipliers):
        return _obligation(multipliers)
    if method is None and isinstance(quick := find_multipliers(found, layers(network), requirement.bound, METHODS[0]), Multipliers):
        return _obligation(quick.values)
    refute_bound(requirement, controller, budget / 4, seed)
    left = max(1.0, budget - (time.monotonic() - began))
    answer = find_multipliers(found, layers(network), requirement.bound, method or METHODS[-1], seconds=left)
    if isinstance(answer, Multipliers):
        return _obligation(answer.values)
    code = {"timeout": Code.BUDGET, "absent": Code.UNSUPPORTED}.get(answer.reason, Code.NO_PROOF_FOUND)
    raise Undecided(code, "bound", answer.says)


def _obligation(multipliers: Sequence[Fraction]) -> dict[str, Any]:
    return {"id": "bound", "proof": {"kind": "lipschitz_sdp", "multipliers": texts(multipliers)}}


def refute_bound(requirement: BoundRequirement, controller: bytes, budget: float, seed: int = 0) -> None:
    """Search for a pair of inputs that violates the bound; raise :class:`Refuted` with one that was shown to, else return."""
    network = read_onnx(controller, requirement.controller).graph
    for x, other in steepest_pairs(network, _box(requirement, network.input_sizes[0]), budget, seed):
        gap = rationals([Fraction(v) for v in x]) - rationals([Fraction(v) for v in other])
        if _inside(requirement, x) and _inside(requirement, other) and least_distance(network, x, other) > requirement.bound**2 * (gap @ gap):
            ratio = np.linalg.norm(evaluate(network, x[None])[0] - evaluate(network, other[None])[0]) / np.linalg.norm(x - other)
            pair = f"x = {x.tolist()} and x' = {other.tolist()}"
            raise Refuted(Code.COUNTEREXAMPLE, "bound", f"|y - y'| / |x - x'| is about {ratio:.9g} at {pair}", tuple(x.tolist()))


def least_distance(network: Graph, x: Floats, other: Floats) -> Fraction:
    """A lower bound of |y - y'|^2 for two inputs: exact where the network is piecewise rational, else from enclosures at the two points."""
    try:
        ends = [rationals(evaluate_exact(network, [Fraction(v) for v in p])) for p in (x, other)]
        gap = ends[0] - ends[1]
    except Refusal:
        centre, radius = split_boxes(np.stack([x, other]), np.stack([x, other]))
        reading = JetReading(radius, 1)
        low, high = reading.bounds(read_jets(network, reading, reading.start(centre)))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            return Fraction(0)
        (a, c), (b, d) = ([rationals([Fraction(v) for v in row]) for row in end.tolist()] for end in (low, high))
        gap = np.maximum(np.maximum(a - d, c - b), Fraction(0))
    return Fraction(gap @ gap)


def steepest_pairs(network: Graph, box: tuple[Floats, Floats], budget: float, seed: int = 0) -> list[tuple[Floats, Floats]]:
    """Pairs of inputs with a large quotient |y - y'| / |x - x'|, the largest first: random starts, then hill climbing on the Jacobian's norm.

    Direction: none; floats.  A network is locally steepest along the first right singular vector of its Jacobian.
    """
    rng, end = np.random.default_rng(seed), time.monotonic() + budget
    lo, hi = box
    at = rng.uniform(lo, hi, (STARTS, len(lo)))
    value, along = _steepness(network, at)
    spread = hi - lo
    for k in range(ROUNDS):
        if time.monotonic() > end:
            break
        best = np.argsort(-value)[:KEPT]
        near = at[best][:, None] + spread * 2.0 ** -(k / 2) * rng.normal(0, 0.3, (KEPT, 16, len(lo)))
        new = np.clip(near.reshape(-1, len(lo)), lo, hi)
        steep, way = _steepness(network, new)
        at, value, along = np.concatenate([at[best], new]), np.concatenate([value[best], steep]), np.concatenate([along[best], way])
    pairs = []
    for i in np.argsort(-value)[:KEPT]:
        for step in STEPS:
            other = np.clip(at[i] + step * 0.5 * np.linalg.norm(spread) / np.sqrt(len(lo)) * along[i], lo, hi)
            if (other != at[i]).any():
                gap = evaluate(network, np.stack([at[i], other]))
                pairs.append((float(np.linalg.norm(gap[0] - gap[1]) / np.linalg.norm(at[i] - other)), at[i], other))
    return [(a, b) for _, a, b in sorted(pairs, key=lambda p: -p[0])[:KEPT]]


def _steepness(network: Graph, at: Floats) -> tuple[Floats, Floats]:
    """Norm (B,) of the Jacobian by central differences, and its first right singular vector (B, n)."""
    n = at.shape[1]
    h = 1e-5 * np.maximum(1.0, np.abs(at).max())
    columns = [(evaluate(network, at + h * e) - evaluate(network, at - h * e)) / (2 * h) for e in np.eye(n)]
    jacobian = np.nan_to_num(np.stack(columns, axis=2))
    _, s, v = np.linalg.svd(jacobian, full_matrices=False)
    return s[:, 0], v[:, 0]


def _box(requirement: BoundRequirement, n: int) -> tuple[Floats, Floats]:
    """Where inputs are drawn: the domain, or a box about the origin."""
    domain = requirement.domain
    if domain is not None:
        return np.array([float(v) for v in domain.lo]), np.array([float(v) for v in domain.hi])
    return np.full(n, -3.0), np.full(n, 3.0)


def _inside(requirement: BoundRequirement, x: Floats) -> bool:
    domain = requirement.domain
    return domain is None or all(a <= Fraction(v) <= b for a, v, b in zip(domain.lo, x, domain.hi, strict=True))
