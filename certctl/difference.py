"""What a claim gained or lost between two bundles, both checked now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np

from certctl.cli.output import exact_level, round_down
from certctl.plot.paths import boundary_points
from certctl.view import View
from verifiers.kernel.graph import Floats
from verifiers.kernel.requirement import BoundRequirement, Box, Imitation, LawRequirement, Requirement

RAYS, PER_RAY = 400, 25
Alone = LawRequirement | BoundRequirement | Requirement | None
_STRONGER = ("asymptotic_stability_roa", "exponential_stability_roa")


class Kind(StrEnum):
    """How a row of a difference counts; only ``lost`` and ``changed`` need a person."""

    gained = "gained"
    lost = "lost"
    changed = "changed"
    note = "note"


@dataclass(frozen=True)
class Change:
    """One thing that differs: what, its text before and after (None where it was absent), and how it counts."""

    what: str
    before: str | None
    after: str | None
    kind: Kind


def differences(old: View, new: View) -> list[Change]:
    """Compare two bundles that the kernel accepted.

    Parameters
    ----------
    old, new : View
        Opened, which ran the kernel.  When either is not accepted there is no claim on that side and nothing is compared.

    Returns
    -------
    list of Change
        Empty when nothing differs.

    Notes
    -----
    Direction: in doubt it is a loss or a change, never a gain.  A claim about more constants, a larger demanded box, a larger volume, a faster
    rate, a smaller target, larger measurement errors, a loop of a law and fewer assumptions are gains; two claims that neither contain the
    other, such as another plant or another sampling time, are a change.  Whether the new region holds the old one is sampled in float64, not
    proved: a sample that is no longer inside is a loss, and finding none says nothing.
    """
    before, after = old.requirement, new.requirement
    if not (old.is_certified and new.is_certified):
        return []
    if before is None or after is None:
        return [*_alone(old.law or old.bound or before, new.law or new.bound or after), *_assumptions(old, new), *_notes(old, new)]
    if old.setting is None or new.setting is None:
        return [Change("claim", before.property, after.property, Kind.changed)]  # a bundle without a loop: nothing finer is known here
    return [*_question(before, after), *_imitation(before.imitation, after.imitation), *_constants(old, new), *_plants(old, new),
            *_sets(before, after), *_region(old, new), *_assumptions(old, new), *_notes(old, new)]


def needs_a_person(found: list[Change]) -> bool:
    """True when something was lost or changed."""
    return any(change.kind in (Kind.lost, Kind.changed) for change in found)


def _alone(old: Alone, new: Alone) -> Iterator[Change]:
    """Claims about a law or a controller alone: another problem, loop or norm is another question, a loop that was not asked about is a gain."""
    yield from _plain("property", None if old is None else old.property, None if new is None else new.property, Kind.changed)
    if isinstance(old, LawRequirement) and isinstance(new, LawRequirement):
        for key in ("problem_sha256", "outputs", "domain"):
            yield from _plain(key.replace("_", " "), getattr(old, key), getattr(new, key), Kind.changed)
        yield from _plain("loop in which it stays feasible", _loop(old), _loop(new),
                          Kind.gained if old.loop is None else Kind.lost if new.loop is None else Kind.changed)
        yield from _plain("stable loop", old.stable, new.stable, Kind.gained if new.stable else Kind.lost)
    if isinstance(old, BoundRequirement) and isinstance(new, BoundRequirement):
        yield from _amount("bound", old.bound, new.bound, False)
        yield from _plain("norm", old.norm, new.norm, Kind.changed)
        wider, narrower = (b is None or (a is not None and len(a.lo) == len(b.lo) and b.holds(a))
                           for a, b in ((old.domain, new.domain), (new.domain, old.domain)))
        yield from _plain("domain", old.domain or "everywhere", new.domain or "everywhere",
                          Kind.gained if wider else Kind.lost if narrower else Kind.changed)
    if isinstance(old, LawRequirement | BoundRequirement) and isinstance(new, LawRequirement | BoundRequirement):
        yield from _minimum(old.minimum, new.minimum)


def _loop(law: LawRequirement) -> str | None:
    if law.loop is None:
        return None
    return ", ".join(f"{name} = [{', '.join(str(_text(row)) for row in rows)}]" for name, rows in zip("AB", law.loop, strict=True))


def _minimum(old: str, new: str) -> Iterator[Change]:
    if old != new:
        yield Change("minimum evidence", old, new, Kind.gained if new > old else Kind.lost)


def _question(old: Requirement, new: Requirement) -> Iterator[Change]:
    if old.property != new.property:
        both = old.property in _STRONGER and new.property in _STRONGER
        gain = both and _STRONGER.index(new.property) > _STRONGER.index(old.property)
        yield Change("property", old.property, new.property, Kind.gained if gain else Kind.lost if both else Kind.changed)
    for key in ("time", "dt", "method", "equilibrium"):
        yield from _plain(key, getattr(old, key), getattr(new, key), Kind.changed)
    if old.saturation != new.saturation:
        yield Change("saturation", old.saturation, new.saturation, Kind.gained if new.saturation == "forbid" else Kind.lost)
    for key, more in (("rate", True), ("min_radius", True), ("min_volume", True)):
        yield from _amount(key, getattr(old, key), getattr(new, key), more)
    if old.gain is not None and new.gain is not None:
        yield from _amount("energy", old.gain.energy, new.gain.energy, True)
        yield from _amount("gain", old.gain.value, new.gain.value, False)
        yield from _plain("output", *(", ".join(f"{v} {name}" for name, v in gain.output.items()) for gain in (old.gain, new.gain)), Kind.changed)
    yield from _minimum(old.minimum, new.minimum)
    if old.tolerance != new.tolerance:
        known = old.tolerance is not None and new.tolerance is not None
        within = known and all(b <= a for a, b in zip(old.tolerance or (), new.tolerance or (), strict=True))
        yield Change("equilibrium tolerance", _text(old.tolerance), _text(new.tolerance), Kind.gained if within else Kind.changed)


def _imitation(old: Imitation | None, new: Imitation | None) -> Iterator[Change]:
    """Measurement errors, and distances from expert and data; another expert, data set or cost is another question."""
    for key, name, more in (("size", "attack size", True), ("error", "expert error", False), ("fit", "data error", False)):
        yield from _amount(name, getattr(old, key, None), getattr(new, key, None), more)
    for key, name in (("kind", "kind of the expert"), ("expert", "expert sha256"), ("gain", "expert's gain"), ("data", "data sha256"),
                      ("regret", "regret")):
        yield from _plain(name, getattr(old, key, None), getattr(new, key, None), Kind.changed)


def _constants(old: View, new: View) -> Iterator[Change]:
    """Parameters as each claim uses them, those that only the plant states included."""
    before, after = ({**view.drawn.spec.parameters, **view.drawn.requirement.parameters} for view in (old, new))
    for name in sorted({*before, *after}):
        yield from _constant(f"parameter {name}", before.get(name), after.get(name))


def _plants(old: View, new: View) -> Iterator[Change]:
    names = old.drawn.spec.name, new.drawn.spec.name
    yield from _plain("plant", *names, Kind.changed)
    if old.bundle is not None and new.bundle is not None:
        yield from _plain("plant sha256", old.bundle.digests["plant.json"], new.bundle.digests["plant.json"], Kind.changed)


def _sets(old: Requirement, new: Requirement) -> Iterator[Change]:
    """The boxes of a question: a larger ``contains`` and a smaller ``target`` or ``safe`` say more; another domain is another question."""
    for key, larger in (("contains", True), ("target", False), ("safe", False)):
        a, b = getattr(old, key), getattr(new, key)
        if a == b:
            continue
        if a is None or b is None:
            kind = Kind.gained if a is None else Kind.lost
        else:
            grown, shrunk = b.holds(a), a.holds(b)
            kind = Kind.changed if not (grown or shrunk) else Kind.gained if grown is larger else Kind.lost
        yield Change(key, _text(a), _text(b), kind)
    yield from _plain("domain", old.domain, new.domain, Kind.changed)


def _region(old: View, new: View) -> Iterator[Change]:
    first, second = old.receipt.region or {}, new.receipt.region or {}
    was, now = (f"{region.get('function')} ≤ {exact_level(region.get('level'))}" for region in (first, second))
    yield from _plain("region", was, now, Kind.note)
    a, b = (float(region.get("volume_lower_bound") or 0.0) for region in (first, second))
    if a != b:
        yield Change("volume, proved lower bound", round_down(a, 7), round_down(b, 7), Kind.gained if b > a else Kind.lost)
    share = kept_share(old, new)
    if share is not None and share < 1:
        yield Change("share of the old region that the new one holds (sampled, not proved)", "1", f"{share:.4f}", Kind.lost)
    elif share is None:
        yield Change("regions", "states of one plant", "states of another", Kind.changed)


def kept_share(old: View, new: View, seed: int = 0) -> float | None:
    """The share of sampled points of the old region that lie in the new one; None when the states differ, 1.0 when nothing could be sampled.

    Points lie on rays from the old equilibrium to where they first leave the old region, with a fixed seed.  Float64, an estimate.
    """
    if [state.name for state in old.drawn.spec.states] != [state.name for state in new.drawn.spec.states]:
        return None
    edge = boundary_points(old, RAYS, seed)
    if not edge.size:
        return 1.0
    reach = np.random.default_rng(seed).uniform(size=(PER_RAY, len(edge), 1)) ** (1 / edge.shape[1])
    points = (old.equilibrium + reach * (edge - old.equilibrium)).reshape(-1, edge.shape[1])
    return float(within(new, points).mean())


def within(view: View, points: Floats) -> Floats:
    """Which points (B, n) lie in the region: in the domain, and in one of the stages; float64."""
    lo, hi = view.domain
    return np.asarray((view.signed(points) <= 0) & (points >= lo).all(axis=1) & (points <= hi).all(axis=1))


def _assumptions(old: View, new: View) -> Iterator[Change]:
    before, after = old.receipt.assumptions, new.receipt.assumptions
    yield from (Change("assumption", None, text, Kind.lost) for text in after if text not in before)
    yield from (Change("assumption", text, None, Kind.gained) for text in before if text not in after)


def _notes(old: View, new: View) -> Iterator[Change]:
    """Margins and digests: they say why, and count neither for nor against."""
    margins = [{str(o["id"]): o["margin"] for o in view.receipt.obligations} for view in (old, new)]
    for name in dict.fromkeys([*margins[0], *margins[1]]):
        a, b = (None if side.get(name) is None else f"{float(side[name]):.5g}" for side in margins)
        yield from _plain(f"margin of {name}", a, b, Kind.note)
    for what, key in (("controller sha256", "controller_sha256"), ("bundle digest", "bundle_digest")):
        yield from _plain(what, getattr(old.receipt, key), getattr(new.receipt, key), Kind.note)


def _plain(what: str, before: Any, after: Any, kind: Kind) -> Iterator[Change]:
    if before != after:
        yield Change(what, _text(before), _text(after), kind)


def _amount(what: str, before: Any, after: Any, more: bool) -> Iterator[Change]:
    if before != after:
        gain = before is None or (after is not None and (after > before) is more)
        yield Change(what, _text(before), _text(after), Kind.gained if gain else Kind.lost)


def _constant(what: str, before: tuple[Fraction, Fraction] | None, after: tuple[Fraction, Fraction] | None) -> Iterator[Change]:
    if before == after:
        return
    kind = Kind.changed
    if before is not None and after is not None:
        grown, shrunk = after[0] <= before[0] and before[1] <= after[1], before[0] <= after[0] and after[1] <= before[1]
        kind = Kind.gained if grown else Kind.lost if shrunk else Kind.changed
    yield Change(what, _text(before), _text(after), kind)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Box):
        return " × ".join(f"[{exact_level(a)}, {exact_level(b)}]" for a, b in zip(value.lo, value.hi, strict=True))
    if isinstance(value, tuple):
        return f"[{', '.join(exact_level(item) for item in value)}]"
    return exact_level(value) if isinstance(value, Fraction) else f"{value:.6g}" if isinstance(value, float) else str(value)
