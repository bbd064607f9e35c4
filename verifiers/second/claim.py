r"""Does a bundle's claim hold?  A second opinion in ball arithmetic on the four stability properties.

Theorems: docs/theory/local.md and docs/theory/region.md, the same as the kernel's; the reading of the files, the arithmetic, the bounds and the
search are not.  From the certificate come only *hints*: equilibrium, functions, levels, frames, neighbourhood, and the boxes at which the search
starts.  What a leaf is tagged with is not looked at: each box must lie outside the level set, or in what was shown before, or decrease; else it is
halved.

Ends: ``agrees`` (everything shown), ``disagrees`` (a digest, a field or a state contradicts the claim), ``undecided`` (the budget of boxes ran out,
or something could not be bounded), ``not handled`` (a property or operator without rules here).  Only the kernel says proved.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from flint import arb, arb_mat, ctx, fmpq

from verifiers.second.balls import ZERO, Box
from verifiers.second.exact import (
    Corners,
    Disagrees,
    Undecided,
    balls_of,
    corners,
    exact,
    form,
    fraction,
    fractions,
    halves,
    is_definite,
    leaves,
    rows_of,
)
from verifiers.second.network import NotHandled
from verifiers.second.plant import ball
from verifiers.second.question import Question
from verifiers.second.stage import Function, Stage
from verifiers.second.volume import framed_volume

BITS = 64


@dataclass(frozen=True)
class Opinion:
    """What the second checker says of a bundle: the outcome, why, and how many boxes it looked at."""

    outcome: str
    why: str
    boxes: int = 0


@dataclass
class Budget:
    """How many boxes may still be looked at."""

    left: int
    used: int = 0

    def spend(self) -> None:
        """Count one box."""
        self.used += 1
        if self.used > self.left:
            raise Undecided(f"more than {self.left} boxes")


def second_opinion(bundle: Path, requirement: Path | None = None, boxes: int = 200_000) -> Opinion:
    """Look at a bundle's claim a second time.

    Parameters
    ----------
    bundle : Path
        The bundle's folder.
    requirement : Path or None
        The caller's requirement; its controller, Lyapunov function and plant are then compared with the bundle's files.
    boxes : int
        How many boxes to look at before giving up.

    Notes
    -----
    Direction: ``agrees`` is said only after every condition was enclosed strictly; never raises for bad input.
    """
    budget, before = Budget(boxes), ctx.prec
    ctx.prec = BITS
    try:
        _Claim(bundle, requirement, budget).show()
        return Opinion("agrees", "every condition was shown a second time", budget.used)
    except Disagrees as why:
        return Opinion("disagrees", str(why), budget.used)
    except Undecided as why:
        return Opinion("undecided", str(why), budget.used)
    except NotHandled as why:
        return Opinion("not handled", str(why), budget.used)
    except Exception as error:
        return Opinion("undecided", f"{type(error).__name__}: {error}", budget.used)
    finally:
        ctx.prec = before


class _Claim(Question):
    """The conditions of a bundle's claim, one after the other."""

    def __init__(self, bundle: Path, requirement: Path | None, budget: Budget) -> None:
        super().__init__(bundle, requirement)
        self.budget = budget
        self.shown: list[tuple[Function, Fraction]] = []
        self.where: tuple[list[Fraction], list[Fraction]] | None = None
        self.last: Stage | None = None

    def show(self) -> None:
        """Every condition of the property, in the kernel's order."""
        kind = self.asked["property"]
        if kind.endswith("_roa"):
            self._equilibrium()
            if "whole" in self.proofs:
                raise NotHandled("sums of squares")
            self._local()
        shells = sorted((name for name in self.proofs if name.startswith("shell-")), key=lambda name: int(name[6:]))
        if not kind.endswith("_roa") and shells != ["shell-1"]:
            raise Disagrees("this property is shown by one tree")
        for name in shells:
            if self.proofs[name]["kind"] != "box_tree":
                raise NotHandled("a set kept by a matrix inequality")
            self._shell(name, kind)
        name, level = self.claimed["region"]["function"], fraction(self.claimed["region"]["level"])
        if self.last is None or (self.functions[name], level) != self.shown[-1]:
            raise Disagrees("the region claimed is not the last one shown")
        self._not_vacuous()

    def _stage(self, proof: Any) -> Stage:
        function, level = self.functions[proof["function"]], fraction(proof["level"])
        frame = None if proof.get("frame") is None or function.matrix is None else [fractions(row) for row in proof["frame"]]
        stage = Stage(self.loop, function, level, self.rate, self.lo, self.hi, frame, list(self.shown))
        if frame is not None:
            if not level > 0:
                raise Disagrees("an ellipsoid without a positive level")
            for o, low, high, row in zip(function.origin or [], self.lo, self.hi, self._reach(function.matrix or [], level), strict=True):
                if not (ball(o) - row > ball(low) and ball(o) + row < ball(high)):
                    raise Undecided("an ellipsoid is not seen to lie in the domain")
        return stage

    @staticmethod
    def _reach(matrix: list[list[Fraction]], level: Fraction) -> list[Any]:
        inverse = rows_of(exact(matrix).inv())
        return [ball(level * inverse[i][i]).sqrt() for i in range(len(matrix))]

    def _rest(self) -> list[Fraction]:
        """Where the loop is required to settle."""
        return fractions(self.asked.get("equilibrium", {}).get("x", list(map(str, self.loop.equilibrium))))

    def _equilibrium(self) -> None:
        """Krawczyk's operator, on a box around the centre given."""
        proof = self.proofs["equilibrium"]
        centre, n = fractions(proof["center"]), len(self.lo)
        goal = self._rest()
        allowed = self.asked.get("equilibrium", {}).get("tolerance")
        slack = fractions(allowed) if allowed is not None else [(b - a) / 2 / 10**6 for a, b in zip(*self.domain, strict=True)]
        radius = [r or min(t / 1000, Fraction(1, 10**9)) for r, t in zip(fractions(proof["radius"]), slack, strict=True)]
        for c, r, g, t, low, high in zip(centre, radius, goal, slack, self.lo, self.hi, strict=True):
            if not (abs(c - g) + r <= t and low < c - r and c + r < high):
                raise Undecided("the equilibrium is too far from where it should be, or not inside")
        self.budget.spend()
        point, box = (Box.between(corners([c - q * r for c, r in zip(centre, radius, strict=True)]),
                                  corners([c + q * r for c, r in zip(centre, radius, strict=True)])) for q in (0, 1))
        shift = 1 if self.loop.time == "discrete" else 0
        at = [jet.v - shift * c for jet, c in zip(self.loop(point.inputs()), point.whole, strict=True)]
        jacobian = [[jet.g[j] - (shift if i == j else 0) for j in range(n)] for i, jet in enumerate(self.loop(box.inputs()))]
        c = arb_mat([[arb(entry.mid()) for entry in row] for row in jacobian]).inv()
        c = arb_mat([[arb(entry.mid()) for entry in row] for row in c.tolist()])
        step, rest = c * arb_mat(n, 1, at), c * arb_mat(jacobian)
        for i in range(n):
            image = abs(step[i, 0]) + sum((abs((1 if i == j else 0) - rest[i, j]) * ball(radius[j]) for j in range(n)), ZERO)
            if not image < ball(radius[i]):
                raise Undecided("no equilibrium is seen in its box")
        self.where = centre, radius

    def _local(self) -> None:
        """The quadratic decreases for every Jacobian over the neighbourhood, which holds the ellipsoids of its level."""
        proof = self.proofs["local"]
        function, level, reach = self.functions[proof["function"]], fraction(proof["level"]), fractions(proof["neighbourhood"])
        frame, matrix, origin = [fractions(row) for row in proof["frame"]], function.matrix, function.origin
        if matrix is None or origin is None or self.where is None or not (level > 0 and all(y > 0 for y in reach)):
            raise Disagrees("the local region is no ellipsoid")
        p, t = exact(matrix), exact(frame)
        m, n = rows_of(t.transpose() * p * t), len(matrix)
        span = [abs(ball(c - o)) + ball(r) for c, o, r in zip(self.where[0], origin, self.where[1], strict=True)]
        off = sum((span[i] * abs(ball(matrix[i][j])) * span[j] for i in range(n) for j in range(n)), ZERO).sqrt()
        far = ball(level).sqrt() + 2 * off
        inside = [far * ball(row[i]).sqrt() < ball(reach[i]) or far * far * ball(row[i]) <= ball(reach[i]**2)
                  for i, row in enumerate(rows_of(exact(m).inv()))]
        inside += [far * ball(row[i]).sqrt() < ball(min(origin[i] - self.lo[i], self.hi[i] - origin[i]))
                   for i, row in enumerate(rows_of(p.inv()))]
        if not all(inside):
            raise Undecided("the local ellipsoid does not fit")
        stage = self._stage({**proof, "frame": proof["frame"]})
        q = rows_of(p * t)
        todo = [([-math.nextafter(float(y), math.inf) for y in reach], [math.nextafter(float(y), math.inf) for y in reach])]
        if self.asked.get("saturation") == "forbid" and not stage.commands(*todo[0]):
            raise Undecided("the command near the equilibrium")
        while todo:
            lo, hi = todo.pop()
            self.budget.spend()
            box = Box.between(lo, hi)
            jacobian = arb_mat([jet.g for jet in self.loop(stage.states(box.inputs()))])
            cross = (balls_of(q).transpose() * jacobian).tolist()
            if self.loop.time == "continuous":
                block = [[-(cross[i][j] + cross[j][i]) - ball(self.rate * m[i][j]) for j in range(n)] for i in range(n)]
            else:
                block = [[ball((1 - self.rate) * m[i][j]) for j in range(n)] + [cross[j][i] for j in range(n)] for i in range(n)]
                block += [[cross[i][j] for j in range(n)] + [ball(m[i][j]) for j in range(n)] for i in range(n)]
            if not is_definite(block):
                todo += halves(lo, hi, max(range(n), key=lambda i: (hi[i] - lo[i]) / float(reach[i])))
        self.shown.append((function, level))
        self.last = stage

    def _shell(self, name: str, kind: str) -> None:
        proof = self.proofs[name]
        stage = self._stage(proof)
        if stage.frame is not None:
            m = rows_of(exact(stage.frame).transpose() * exact(stage.function.matrix or []) * exact(stage.frame))
            hi = [math.nextafter(float(r.upper()), math.inf) for r in self._reach(m, stage.level)]
            lo = [-h for h in hi]
        else:
            lo, hi = ([math.nextafter(float(q), side) for q in ends] for ends, side in ((self.lo, -math.inf), (self.hi, math.inf)))
        data = self.file(proof["tree"])
        if stage.frame is None and proof.get("frame") is not None:  # boxes along the axes of a named function: the search begins with the domain
            data = b""
        inner = fraction(self.proofs["inner"]["level"]) if kind == "practical_stability" else stage.level
        if kind == "practical_stability" and (stage.frame is not None or not inner < stage.level):
            raise Disagrees("the inner level is not below the region's")
        todo: list[Corners] = [(low, high) for _, low, high in leaves(data, lo, hi)]
        while todo:
            low, high = todo.pop()
            self.budget.spend()
            beside = (b < a or d < c for a, b, c, d in zip(self.lo, map(Fraction, high), map(Fraction, low), self.hi, strict=True))
            if not stage.contained and any(beside):  # only what lies in the domain counts
                continue
            fine, slopes = self._settled(stage, kind, inner, low, high)
            if not fine:
                widths = [(b - a) * max(float(abs(s).upper()), 0.0) if s.is_finite() else math.inf for a, b, s in zip(low, high, slopes, strict=True)]
                if not all(map(math.isfinite, widths)) or not any(widths):
                    widths = [(b - a) / (d - c) for a, b, c, d in zip(low, high, lo, hi, strict=True)]
                todo += halves(low, high, widths.index(max(widths)))
        if self.where is not None and stage.frame is None:
            ends = [corners([c + s * r for c, r in zip(*self.where, strict=True)]) for s in (-1, 1)]
            if not stage.value(*ends) <= ball(stage.level):
                raise Undecided("the equilibrium is not seen inside the level set")
        self.shown.append((stage.function, stage.level))
        self.last = stage

    def _settled(self, stage: Stage, kind: str, inner: Fraction, lo: list[Any], hi: list[Any]) -> tuple[bool, list[Any]]:
        """Is everything shown on this box?  And the slopes along which it should be halved otherwise."""
        c, level = ball(stage.level), ball(inner)
        v, d, slopes, after = stage.change(lo, hi)
        if v > c:
            return True, slopes
        if self.asked.get("saturation") == "forbid" and not stage.commands(lo, hi):
            return False, slopes
        if kind.endswith("_roa"):
            if stage.in_inner(lo, hi):
                return True, slopes
            fine = d < 0 and (not self.rate or v >= 0) and stage.stays(lo, hi, after)
            if not fine:
                self._contradiction(stage, lo, hi)
            return fine, slopes
        target = kind != "practical_stability" or all(
            Fraction(a) >= low and Fraction(b) <= high for a, b, low, high in
            zip(lo, hi, fractions(self.asked["target"]["lo"]), fractions(self.asked["target"]["hi"]), strict=True))
        then = None if after is None else stage.function.value(after).v
        if kind == "forward_invariance" and after is not None:
            return then <= c and stage.stays(lo, hi, after), slopes
        if v < level and target and (then is None or then <= level) and stage.stays(lo, hi, after):
            return True, slopes
        return d < 0 and (v > level or target) and stage.stays(lo, hi, after), slopes

    def _contradiction(self, stage: Stage, lo: list[Any], hi: list[Any]) -> None:
        """A state in the middle of the box, inside the level set and outside of all that was shown before, that does not decrease."""
        middle = [0.5 * a + 0.5 * b for a, b in zip(lo, hi, strict=True)]
        v, d, _, _ = stage.change(middle, middle)
        if not (v < ball(stage.level) and d > 0):
            return
        x = stage.states(Box.between(middle, middle).inputs())
        if any(not a.v >= ball(low) or not a.v <= ball(high) for a, low, high in zip(x, self.lo, self.hi, strict=True)):
            return
        if all(f.level(f.sign(x)) > ball(c) for f, c in stage.inner):
            raise Disagrees(f"the function does not decrease at {[float(a.v.mid()) for a in x]}")

    def _not_vacuous(self) -> None:
        stage, region = self.last, self.asked.get("region", {})
        if stage is None:
            raise Disagrees("nothing was shown")
        ellipsoid = stage.contained
        if "contains" in region:
            self._cover(stage, fractions(region["contains"]["lo"]), fractions(region["contains"]["hi"]), lambda lo, hi: False)
        if "min_radius" in region:
            centre, reach = self.where or (self.loop.equilibrium, [Fraction(0)] * len(self.lo))
            radius = fraction(region["min_radius"])

            def free(lo: list[Any], hi: list[Any]) -> bool:
                gap = sum((max(Fraction(0), Fraction(a) - (c + r), (c - r) - Fraction(b)) ** 2
                           for a, b, c, r in zip(lo, hi, centre, reach, strict=True)), Fraction(0))
                return gap > radius**2
            self._cover(stage, [c - r - radius for c, r in zip(centre, reach, strict=True)],
                        [c + r + radius for c, r in zip(centre, reach, strict=True)], free)
        if "volume" in self.proofs or "min_volume" in region:
            volume = self._ellipsoid_volume(stage) if ellipsoid else self._tree_volume(stage)
            if not volume > 0 or not volume >= ball(fraction(region.get("min_volume", 0))):
                raise Undecided(f"the volume is seen to be at least {float(volume.lower()):.6g}")
        elif not ("contains" in region or "min_radius" in region or self.asked["property"].endswith("_roa")):
            raise Undecided("nothing says that the region is not empty")

    def _inside(self, stage: Stage, lo: list[Any], hi: list[Any]) -> bool:
        x = Box.between(lo, hi).inputs()
        return any(f.level(f.sign(x)) <= ball(c) for f, c in [(stage.function, stage.level), *stage.inner])

    def _cover(self, stage: Stage, lo: list[Fraction], hi: list[Fraction], free: Callable[[list[Any], list[Any]], bool]) -> None:
        if not all(a <= b and c <= d for a, b, c, d in zip(self.lo, lo, hi, self.hi, strict=True)):
            raise Undecided("what the region should contain leaves the domain")
        matrix = stage.function.matrix
        if stage.contained and matrix is not None and len(lo) <= 16 and not free([0.0] * len(lo), [0.0] * len(lo)):
            origin = stage.function.origin or []
            if all(form(matrix, [a - o for a, o in zip(corner, origin, strict=True)]) <= stage.level
                   for corner in itertools.product(*zip(lo, hi, strict=True))):
                return  # an ellipsoid is convex: exact in the corners
        ends = ([math.nextafter(float(q), -math.inf) for q in lo], [math.nextafter(float(q), math.inf) for q in hi])
        todo: list[Corners] = [ends]
        while todo:
            low, high = todo.pop()
            self.budget.spend()
            if not (free(low, high) or self._inside(stage, low, high)):
                widths = [(b - a) / (d - c) for a, b, c, d in zip(low, high, *ends, strict=True)]
                todo += halves(low, high, widths.index(max(widths)))

    def _ellipsoid_volume(self, stage: Stage) -> Any:
        n, matrix = len(self.lo), stage.function.matrix or []
        determinant = exact(matrix).det()
        half = arb(fmpq(n, 2))
        return arb.pi() ** half / (half + 1).gamma() * (ball(stage.level) ** half) / arb(determinant).sqrt()

    def _tree_volume(self, stage: Stage) -> Any:
        proof = self.proofs["volume"]
        tree = proof["tree"]
        if proof.get("frame") is not None:
            return framed_volume(self.file(tree), [fractions(row) for row in proof["frame"]], self._rest(), stage.function, stage.level,
                                 (self.lo, self.hi), fraction(self.asked.get("region", {}).get("min_volume", 0)), self.budget.spend)
        lo, hi = ([math.nextafter(float(q), side) if Fraction(float(q)) != q else float(q) for q in ends]
                  for ends, side in ((self.lo, -math.inf), (self.hi, math.inf)))
        total = Fraction(0)
        for byte, low, high in leaves(self.file(tree), lo, hi):
            if (byte - 128) % 8 == 4 or byte < 128:
                continue
            self.budget.spend()
            if self._inside(stage, low, high):
                sides = [min(Fraction(b), d) - max(Fraction(a), c) for a, b, c, d in zip(low, high, self.lo, self.hi, strict=True)]
                total += math.prod([max(side, Fraction(0)) for side in sides], start=Fraction(1))
        return ball(total)
