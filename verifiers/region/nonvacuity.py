"""Show that a region is what the requirement asks: it contains a box and a ball, and has a volume."""

from __future__ import annotations

from concurrent.futures import Future
from fractions import Fraction
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code
from verifiers.kernel.cut import MAX_STATES, check_volume
from verifiers.kernel.local import Matrix, Vector
from verifiers.kernel.properties import check_cover
from verifiers.kernel.rational import down, up
from verifiers.kernel.stage import Stage
from verifiers.region.attraction import Undecided, Work, texts
from verifiers.region.cover import grow_cover
from verifiers.region.cuts import axes, grow_cuts
from verifiers.region.volume import grow_volume

MISSING = 0.006
"""Share of the volume that may be left out; the boxes on the boundary are half inside on average."""
EARLY_STATES = 2
"""Largest number of states for which a volume takes so little time that it may turn out to be in vain."""
DEPTHS = {1: 40, 2: 28, 3: 26}
"""Depth at which the search of boxes that lie inside ends, by the number of states; ``DEPTH`` for each state where there are more."""
DEPTH, MOST, SECONDS = 10, 200_000, 120.0
"""See ``DEPTHS``; open boxes at which the search ends, and the time after which it does."""
CUT_FROM, CUT_MISSING, CUT_FEW, CUT_MOST, CUT_SECONDS = 4, 0.01, 100_000, {4: 400_000}, 300.0
"""States from which boxes are measured that lie inside in part; what may be lost of the volume then; boxes that choose the axes; the largest
number of boxes, ``CUT_MANY`` where there are more states; and the time."""
CUT_MANY = 4_000_000


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
    if len(lo) <= MAX_STATES or r.min_volume is not None:
        early = work.volume if work.volume is not None and work.volume[0] == work.region else None
        tree, frame = volume_tree(stage, work.setting.rest, max(5.0, work.left)) if early is None else early[1].result()
        _add(work, "volume", {"kind": "box_tree", "tree": work.tree("volume", tree)} | ({} if frame is None else {"frame": texts(frame)}))


def start_volume(work: Work, stage: Stage, region: tuple[str, Fraction]) -> None:
    """Let another process grow the volume's tree of a region that is asked for, while this one still looks for its proof.

    Raises
    ------
    Undecided
        ``VOLUME_TOO_SMALL`` where there are so many states that a proof takes long, and the region does not have the volume demanded.
    """
    origin = work.setting.rest
    if work.executor is not None and len(stage.lo) <= EARLY_STATES:
        work.volume = region, work.executor.submit(volume_tree, stage, origin, max(5.0, work.left))
    wanted = work.setting.requirement.min_volume
    if len(stage.lo) < CUT_FROM or wanted is None:
        return
    if volume_of(stage, origin, *volume_tree(stage, origin, max(5.0, work.left), few=True)) >= wanted:
        return  # the larger tree can wait until the region is proved
    found: Future[tuple[bytes, Matrix | None]] = Future()
    found.set_result(volume_tree(stage, origin, max(5.0, work.left)))
    volume = volume_of(stage, origin, *found.result())
    if not Fraction(volume) >= wanted:
        raise Undecided(Code.VOLUME_TOO_SMALL, "region.min_volume", f"a volume of {volume:.6g} is shown for the region asked for, "
                        f"{float(wanted):.6g} is demanded; ask for less, or for another level")
    work.volume = region, found


def volume_of(stage: Stage, origin: Vector, tree: bytes, frame: Matrix | None) -> float:
    """What the kernel reads off a tree of :func:`volume_tree`."""
    if frame is not None:
        return check_volume(stage, tree, frame, origin, "volume")[1]
    return check_cover(stage, tree, stage.lo, stage.hi, "volume", Code.LEAF_NOT_INSIDE, lambda lo, _: np.ones(len(lo), dtype=bool))[1]


def volume_tree(stage: Stage, origin: Vector, seconds: float, few: bool = False) -> tuple[bytes, Matrix | None]:
    """The tree of the obligation ``volume``, with the frame that its boxes lie in where they are measured in part; ``few``: one with few boxes."""
    n = len(stage.lo)
    if CUT_FROM <= n <= MAX_STATES:
        def grown(frame: Matrix, most: int) -> tuple[float, bytes, Matrix]:
            tree, held = grow_cuts(stage, frame, origin, missing=CUT_MISSING, most=most, seconds=min(CUT_SECONDS, seconds))
            return held * abs(float(np.linalg.det(np.array(frame, dtype=float)))), tree, frame

        held, tree, frame = max((grown(each, CUT_FEW) for each in axes(stage, origin)), key=lambda each: each[0])
        if held > 0 and not few:
            _, tree, frame = grown(frame, CUT_MOST.get(n, CUT_MANY))
        if held > 0:
            return tree, frame
    return grow_volume(stage, missing=MISSING, depth=DEPTHS.get(n, DEPTH * n), seconds=min(SECONDS, seconds), most=MOST), None


def _radius(work: Work, radius: Fraction, ellipsoid: bool) -> None:
    if ellipsoid:
        _add(work, "radius", {"kind": "lmi"})
        return
    stage = work.stage
    if stage is None:
        return
    centre = work.where.centre if work.where is not None else work.setting.rest
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
