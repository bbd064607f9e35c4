"""The plant's program over jets: ``plant.json`` read with ``json`` alone, parameters exact, Runge-Kutta steps written out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from flint import arb, fmpq

from verifiers.second.balls import ONE, SMOOTH, ZERO, Jet, hull
from verifiers.second.network import Network, NotHandled

Number = Fraction
Pair = tuple[Fraction, Fraction]


def ball(value: Fraction) -> Any:
    """The ball around a rational."""
    return arb(fmpq(value.numerator, value.denominator))


def number(text: str) -> Fraction:
    """A number written as a decimal or a fraction."""
    return Fraction(text)


class Loop:
    """A closed loop over jets.

    ``loop(x)`` is x' or the next x; ``loop.command(x)`` the command before clipping.  ``limits`` holds the ends of each input as pairs of rationals
    (an unknown constant where they differ), or None.
    """

    def __init__(self, data: bytes, controller: Network | None, parameters: Mapping[str, Pair], time: str, dt: Fraction | None,
                 method: str | None) -> None:
        self.spec = json.loads(data)
        table = {row["name"]: self._pair(row["value"]) for row in self.spec["parameters"]}
        if set(parameters) - set(table):
            raise NotHandled("a parameter that the plant does not have")
        self.parameters: dict[str, Pair] = {**table, **parameters}
        self.controller, self.time = controller, time
        sampled = time == "discrete" and self.spec["time"] == "continuous"
        if (self.spec["time"] != time and not sampled) or (sampled and (dt is None or method not in ("euler", "midpoint", "rk4"))):
            raise NotHandled("this discretisation")
        if not sampled and dt is not None and self.spec["dt"] is not None and number(self.spec["dt"]) != dt:
            raise NotHandled("another time step than the plant's own")
        self.dt, self.method = (dt, method) if sampled else (None, None)
        self.states = [row["name"] for row in self.spec["states"]]
        self.equilibrium = [number(text) for text in self.spec["equilibrium"]["x"]]
        self.limits = [(self._end(row["lo"]), self._end(row["hi"])) for row in self.spec["inputs"]]

    @staticmethod
    def _pair(value: Any) -> Pair:
        return (number(value[0]), number(value[1])) if isinstance(value, list) else (number(value), number(value))

    def _end(self, text: str | None) -> Pair | None:
        if text is None:
            return None
        if text.removeprefix("-") in self.parameters:
            lo, hi = self.parameters[text.removeprefix("-")]
            return (-hi, -lo) if text.startswith("-") else (lo, hi)
        return number(text), number(text)

    def command(self, x: Sequence[Jet]) -> list[Jet]:
        """The command before it is clipped (none without a controller)."""
        return [] if self.controller is None else self.controller(x)

    def __call__(self, x: Sequence[Jet]) -> list[Jet]:
        u = []
        for value, (lo, hi) in zip(self.command(x), self.limits, strict=True):
            if lo is not None:
                value = value.maximum(hull(ball(lo[0]), ball(lo[1])))
            if hi is not None:
                value = value.minimum(hull(ball(hi[0]), ball(hi[1])))
            u.append(value)
        if self.dt is None:
            return self._field(x, u)
        h = ball(self.dt)

        def along(slope: Sequence[Jet], q: Any) -> list[Jet]:
            return [a + b * q for a, b in zip(x, slope, strict=True)]

        k1 = self._field(x, u)
        if self.method == "euler":
            return along(k1, h)
        k2 = self._field(along(k1, h / 2), u)
        if self.method == "midpoint":
            return along(k2, h)
        k3 = self._field(along(k2, h / 2), u)
        k4 = self._field(along(k3, h), u)
        return [a + (p + q * 2 + r * 2 + s) * (h / 6) for a, p, q, r, s in zip(x, k1, k2, k3, k4, strict=True)]

    def _field(self, x: Sequence[Jet], u: Sequence[Jet]) -> list[Jet]:
        box = x[0].box
        done: list[Any] = []  # jets, and balls for what is constant
        rules: dict[str, Callable[[Any, Any], Any]] = {
            "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": _quotient,
            "max": lambda a, b: _larger(a, b), "min": lambda a, b: -_larger(-a, -b)}
        for op, *args in self.spec["nodes"]:
            if op == "x":
                done.append(x[args[0]])
            elif op == "u":
                done.append(u[args[0]])
            elif op == "p":
                lo, hi = self.parameters[args[0]]
                done.append(hull(ball(lo), ball(hi)))
            elif op == "c":
                done.append(ball(number(args[0])))
            elif op in rules:
                done.append(rules[op](done[args[0]], done[args[1]]))
            else:
                a = done[args[0]]
                a = a if isinstance(a, Jet) else box.constant(a)
                if op == "neg":
                    done.append(-a)
                elif op == "pow":
                    done.append(a.power(args[1]))
                elif op in SMOOTH:
                    done.append(a.smooth(op))
                elif op in ("relu", "abs"):
                    done.append(a.piecewise(ZERO if op == "relu" else -ONE, ONE))
                else:
                    raise NotHandled(f"the plant's operation {op}")
        return [value if isinstance(value, Jet) else box.constant(value) for value in (done[o] for o in self.spec["outputs"])]


def _quotient(a: Any, b: Any) -> Any:
    if isinstance(b, Jet):
        return a / b if isinstance(a, Jet) else b._like(a) / b
    return a * (ONE / b) if b > 0 or b < 0 else a * arb.nan()


def _larger(a: Any, b: Any) -> Any:
    return a.maximum(b) if isinstance(a, Jet) else b.maximum(a) if isinstance(b, Jet) else a.max(b)
