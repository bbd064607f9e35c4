"""Functions and stages: V, its level set, and how it changes along the loop over a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from verifiers.second.balls import SMOOTH, ZERO, Box, Jet, affine
from verifiers.second.exact import Disagrees, balls_of, corners, exact, is_definite, rows_of
from verifiers.second.network import Network
from verifiers.second.plant import Loop, ball


class Function:
    """V over jets: ``value`` for levels, ``sign`` for the sign of what changes (a last increasing function left out)."""

    def __init__(self, value: Callable[[Sequence[Jet]], Jet], sign: Callable[[Sequence[Jet]], Jet], outer: str | None = None,
                 matrix: list[list[Fraction]] | None = None, origin: list[Fraction] | None = None) -> None:
        self.value, self.sign, self.outer, self.matrix, self.origin = value, sign, outer, matrix, origin

    @classmethod
    def network(cls, data: bytes) -> Function:
        """A Lyapunov network."""
        net = Network(data)
        return cls(lambda x: net(x)[0], lambda x: net.inner(x)[0], net.outer)

    @classmethod
    def quadratic(cls, matrix: list[list[Fraction]], origin: list[Fraction]) -> Function:
        """(x - o)ᵀ P (x - o)."""
        if not is_definite(balls_of(matrix).tolist()) or any(matrix[i][j] != matrix[j][i] for i in range(len(matrix)) for j in range(i)):
            raise Disagrees("the matrix of a quadratic is not symmetric and positive definite")
        weight = balls_of(matrix)

        def value(x: Sequence[Jet]) -> Jet:
            z = [a - ball(o) for a, o in zip(x, origin, strict=True)]
            return sum((a * b for a, b in zip(z, affine(weight, None, z), strict=True)), x[0].box.constant(ZERO))
        return cls(value, value, None, matrix, origin)

    def level(self, sign: Jet) -> Any:
        """The ball of V over the box from the jet of ``sign``."""
        return sign.v if self.outer is None else SMOOTH[self.outer](sign.v)[0]

    def below(self, level: Fraction) -> Any:
        """A number such that V <= level wherever ``sign`` is at most that number; not finite where there is none, or V is below the level anyway."""
        c = ball(level)
        argument = c if self.outer is None else c.atanh() if self.outer == "tanh" else (c / (1 - c)).log()
        return argument.lower()


@dataclass(eq=False)
class Stage:
    """A level set {V <= c}, in the plant's coordinates or in y with x = o + T y, and how far x' or the next x can be bounded there."""

    loop: Loop
    function: Function
    level: Fraction
    rate: Fraction
    lo: list[Fraction]
    hi: list[Fraction]
    frame: list[list[Fraction]] | None
    inner: list[tuple[Function, Fraction]]
    _weights: dict[str, Any] = field(default_factory=dict)

    @property
    def contained(self) -> bool:
        """True for an ellipsoid that was shown to lie in the domain."""
        return self.frame is not None

    def states(self, y: list[Jet]) -> list[Jet]:
        """The plant's states over a box of the stage's coordinates."""
        if self.frame is None:
            return y
        if "T" not in self._weights:
            self._weights["T"] = balls_of(self.frame)
        return affine(self._weights["T"], [ball(o) for o in self.function.origin or []], y)

    def change(self, lo: Sequence[Any], hi: Sequence[Any]) -> tuple[Any, Any, list[Any], list[Jet] | None]:
        """Over a box: the ball of V, that of its decrease, its slopes, and in discrete time the next states."""
        if self.loop.time == "discrete":
            return self._step(lo, hi)
        box = Box.between(lo, hi)
        x = self.states(box.inputs())
        if self.function.matrix is not None:
            return self._quadratic(box, x)
        second = Box.between(lo, hi, 2)
        v = (self.function.value if self.rate else self.function.sign)(second.inputs())
        f = self.loop(x)
        values = v.v if self.rate else self.function.level(v)
        if v.h is None:  # the gradient jumps: sup of xi . F over Clarke's gradient and the field, in one piece
            return values, sum((g * a.v for g, a in zip(v.g, f, strict=True)), ZERO) + ball(self.rate) * v.v, v.g, None
        n, d = box.n, box.constant(ZERO)
        at = {(i, j): i * (i + 1) // 2 + j for i in range(n) for j in range(i + 1)}
        for i in range(n):
            row = [v.h[at[max(i, j), min(i, j)]] for j in range(n)]
            d = d + Jet(box, v.k[i], v.g[i], row, row, None, True) * f[i]
        if self.rate:
            d = d + Jet(box, v.c, v.v, v.k, v.g, None) * ball(self.rate)
        return values, d.v, d.g, None

    def _quadratic(self, box: Box, x: list[Jet]) -> tuple[Any, Any, list[Any], None]:
        f, matrix, origin = self.loop(x), self.function.matrix or [], self.function.origin or []
        if self.frame is None:
            z, weight = [a - ball(o) for a, o in zip(x, origin, strict=True)], matrix
        else:
            t = exact(self.frame)
            if "M" not in self._weights:
                self._weights["M"] = rows_of(t.transpose() * exact(matrix) * t)
                self._weights["back"] = balls_of(rows_of(t.inv()))
            z, weight = box.inputs(), self._weights["M"]
            f = affine(self._weights["back"], None, f)
        slope = affine(balls_of(weight), None, z)
        v = sum((a * b for a, b in zip(z, slope, strict=True)), box.constant(ZERO))
        d = sum((a * b for a, b in zip(slope, f, strict=True)), box.constant(ZERO)) * 2
        if self.rate:
            d = d + v * ball(self.rate)
        return v.v, d.v, d.g, None

    def _step(self, lo: Sequence[Any], hi: Sequence[Any]) -> tuple[Any, Any, list[Any], list[Jet]]:
        box = Box.between(lo, hi)
        y = box.inputs()
        x = self.states(y)
        after = self.loop(x)
        if self.function.matrix is not None and self.frame is not None:
            t = exact(self.frame)
            if "M" not in self._weights:
                self._weights["M"], self._weights["back"] = rows_of(t.transpose() * exact(self.function.matrix) * t), balls_of(rows_of(t.inv()))
            moved = affine(self._weights["back"], None, [a - ball(o) for a, o in zip(after, self.function.origin or [], strict=True)])
            here, there = ([a * b for a, b in zip(z, affine(balls_of(self._weights["M"]), None, z), strict=True)] for z in (y, moved))
            v, w = (sum(terms, box.constant(ZERO)) for terms in (here, there))
        else:
            of = self.function.value if self.rate else self.function.sign
            v, w = of(x), of(after)
        d = w - v * ball(1 - self.rate) if self.rate else w - v
        return (v.v if self.rate else self.function.level(v)), d.v, d.g, after

    def value(self, lo: Sequence[Any], hi: Sequence[Any]) -> Any:
        """The ball of V over a box."""
        if self.frame is None:
            return self.function.level(self.function.sign(Box.between(lo, hi).inputs()))
        return self.function.value(self.states(Box.between(lo, hi).inputs())).v

    def in_inner(self, lo: Sequence[Any], hi: Sequence[Any]) -> bool:
        """The box lies in one region that was shown before."""
        x = self.states(Box.between(lo, hi).inputs())
        return any(f.level(f.sign(x)) <= ball(c) for f, c in self.inner)

    def stays(self, lo: list[Any], hi: list[Any], after: list[Jet] | None) -> bool:
        """No trajectory leaves the domain through the box."""
        if self.contained:
            return True
        if after is not None:
            return all(a.v >= ball(low) and a.v <= ball(high) for a, low, high in zip(after, self.lo, self.hi, strict=True))
        for i in range(len(lo)):
            for touches, end in ((not lo[i] > self.lo[i], self.lo[i]), (not hi[i] < self.hi[i], self.hi[i])):
                if touches:
                    low, high = list(lo), list(hi)
                    low[i] = high[i] = end
                    if not self.value(corners(low), corners(high)) > ball(self.level):
                        return False
        return True

    def commands(self, lo: Sequence[Any], hi: Sequence[Any]) -> bool:
        """The command keeps to its limits without the plant's clip."""
        u = self.loop.command(self.states(Box.between(lo, hi).inputs()))
        return all((low is None or a.v >= ball(low[1])) and (high is None or a.v <= ball(high[0]))
                   for a, (low, high) in zip(u, self.loop.limits, strict=True))
