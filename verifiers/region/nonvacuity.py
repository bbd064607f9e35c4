"""Show that a region is what the requirement asks: it contains a box and a ball, and has a volume."""

from __future__ import annotations

from concurrent.futures import Future
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code
from verifiers.kernel.properties import check_cover
from verifiers.kernel.rational import down, up
from verifiers.kernel.stage import Stage
from verifiers.region.attraction import Undecided, Work
from verifiers.region.cover import grow_cover
from verifiers.region.volume import grow_volume

MISSING = 0.006
"""Share of the volume that may be left out; the boxes on the boundary are half inside on average."""
EARLY_STATES = 2
"""Largest number of states for which a volume takes so little time that it may turn out to be in vain."""
DEPTHS = {1: 40, 2: 28, 3: 26, 4: 28}
"""Depth at which the search of a volume ends, by the number of states."""
OPEN, MANY_DEPTH = 1_000_000, 12
"""Open boxes at which the search of a volume ends, and its depth for each state, where there are more states: boxes then hold little of a region."""
FEWEST, MOST, SECONDS = 200_000, 2_000_000, 120.0
"""Open boxes at which it ends elsewhere, between which it is twice the boxes of the proof, and the time after which it ends."""


def prove_nonvacuity(work: Work) -> None:
    """Add the obligations ``contains``, ``radius`` and ``volume`` to the work."""
    r, stage = work.setting.requirement, work.stage
    if stage is None or work.region is None:
        return
    ellipsoid = stage.contained
    lo, _ = work.box
    if r.contains is not None:
        if ellipsoid:
            _add(work, "contains", {"kind": "evaluation"})
        else:
            a, b = np.array(list(map(down, r.contains.lo))), np.array(list(map(up, r.contains.hi)))
            tree = grow_cover(stage, a, b, widths=(b - a) / 4096, give_up=True)
            if tree is None:
                raise Undecided(Code.NOT_CONTAINED, "region.contains", f"the proved region {work.region[0]}<={float(work.region[1]):g} does not "
                                "contain this box; ask for a smaller one")
            _add(work, "contains", {"kind": "box_tree", "tree": work.tree("contains", tree)})
    if r.min_radius is not None:
        _radius(work, r.min_radius, ellipsoid)
    if ellipsoid:
        _add(work, "volume", {"kind": "evaluation"})
        return
    if len(lo) in DEPTHS or r.min_volume is not None:
        early = work.volume if work.volume is not None and work.volume[0] == work.region else None
        most = min(MOST, max(FEWEST, 2 * work.boxes))
        tree = volume_tree(stage, min(SECONDS, max(5.0, work.left)), most) if early is None else early[1].result()
        _add(work, "volume", {"kind": "box_tree", "tree": work.tree("volume", tree)})


def start_volume(work: Work, stage: Stage, region: tuple[str, Fraction]) -> None:
    """Let another process grow the volume's tree of a region that is asked for, while this one still looks for its proof.

    Raises
    ------
    Undecided
        ``VOLUME_TOO_SMALL`` where there are so many states that a proof takes long, and boxes show less than the volume demanded.
    """
    if work.executor is not None and len(stage.lo) <= EARLY_STATES:
        work.volume = region, work.executor.submit(volume_tree, stage, min(SECONDS, max(5.0, work.left)), FEWEST)
    wanted = work.setting.requirement.min_volume
    if len(stage.lo) in DEPTHS or wanted is None:
        return
    tree: Future[bytes] = Future()
    tree.set_result(volume_tree(stage, min(SECONDS, max(5.0, work.left)), OPEN))
    _, volume = check_cover(stage, tree.result(), stage.lo, stage.hi, "volume", Code.LEAF_NOT_INSIDE, lambda lo, _: np.ones(len(lo), dtype=bool))
    if not Fraction(volume) >= wanted:
        raise Undecided(Code.VOLUME_TOO_SMALL, "region.min_volume", f"boxes inside of the region show a volume of {volume:.3g}, {float(wanted):.6g} "
                        f"is demanded; in {len(stage.lo)} states boxes hold little of it, so ask for less")
    work.volume = region, tree


def volume_tree(stage: Stage, seconds: float, most: int) -> bytes:
    """The tree of the obligation ``volume``, grown while no more than so many boxes are open."""
    n = len(stage.lo)
    return grow_volume(stage, missing=MISSING, depth=DEPTHS.get(n, MANY_DEPTH * n), seconds=seconds, most=most)


def _radius(work: Work, radius: Fraction, ellipsoid: bool) -> None:
    if ellipsoid:
        _add(work, "radius", {"kind": "lmi"})
        return
    setting, stage = work.setting, work.stage
    if stage is None:
        return
    centre = work.where.centre if work.where is not None else (setting.requirement.equilibrium or setting.spec.equilibrium_x)
    slack = work.where.radius if work.where is not None else (Fraction(0),) * len(centre)
    a = np.array([down(c - q - radius) for c, q in zip(centre, slack, strict=True)])
    b = np.array([up(c + q + radius) for c, q in zip(centre, slack, strict=True)])
    near, far = (np.array([f(c + s * q) for c, q in zip(centre, slack, strict=True)]) for f, s in ((down, -1), (up, 1)))

    def free(low: Any, high: Any) -> Any:
        gap = np.maximum(0.0, np.maximum(low - far, near - high))
        return (gap * gap).sum(axis=1) > float(radius) ** 2 * (1 + 1e-9)

    tree = grow_cover(stage, a, b, widths=(b - a) / 4096, free=free, give_up=True)
    if tree is None:
        raise Undecided(Code.RADIUS_TOO_SMALL, "region.min_radius", "the ball demanded is not shown to lie in the proved region; ask for less")
    _add(work, "radius", {"kind": "box_tree", "tree": work.tree("radius", tree)})


def _add(work: Work, name: str, proof: dict[str, Any]) -> None:
    work.obligations.append({"id": name, "proof": proof})
