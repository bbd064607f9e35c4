r"""The volume of a region in boxes along any axes: in each box, what lies below planes, one for each orthant, counted in exact integers.

In coordinates y with ``x = o + T y`` let m be the middle of a box and r its half widths.  With the gradient at m and a mean Hessian,

.. math:: V(m + d) = V(m) + \nabla V(m)^\top d + \tfrac12\, d^\top \bar H d, \quad
          \bar H = \int_0^1 2 (1 - \sigma)\, \nabla^2 V(m + \sigma d)\, d\sigma \;\in\; \sum_{k=1}^K \tfrac{2 K - 2 k + 1}{K^2}\, \nabla^2 V(X_k),

where :math:`X_k = m + \tfrac kK [-r, r]`: near the middle, which counts most, the Hessian is known best.  Orthant by orthant
:math:`d_i = s_i r_i t_i` with signs s and t in the unit cube,

.. math:: V \le V(m) + \sum_i w_i t_i, \quad
          w_i = s_i r_i \partial_i V(m)
          + \tfrac12 \max\bigl(0, r_i^2 \bar H_{ii} + \textstyle\sum_{j \ne i} \max(0, s_i s_j r_i r_j \bar H_{ij})\bigr),

since :math:`t_i t_j \le \tfrac12 (t_i^2 + t_j^2)` and :math:`t_i^2 \le t_i`: a mixed term counts only in orthants in which it is positive.  Behind a
kink :math:`w_i` is the largest of :math:`s_i r_i \tfrac1K \sum_k \partial_i V(X_k)`, since V is Lipschitz along the segment and its derivative there
is almost everywhere one of Clarke's gradient.  Where no w is negative (else t turns to 1 - t),

.. math:: \mathrm{vol}\{t \in [0, 1]^n : w^\top t \le \rho\}
          = \frac1{n!\,\prod_i w_i} \sum_{J} (-1)^{|J|} \max\bigl(0, \rho - \textstyle\sum_{i \in J} w_i\bigr)^n .

Slopes are rounded up and the room down to one grid, and the sum is one of integers: nothing cancels that is not there.

Direction: every volume is a lower bound; a box counts where its image lies in the domain, and what is not finite counts nothing.

References
----------
.. [1] D. Barrow, P. Smith, Spline notation applied to a volume problem, Amer. Math. Monthly 86 (1979).
.. [2] F. H. Clarke, Optimization and Nonsmooth Analysis, Wiley 1983, Thm 2.3.10.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from flint import arb

from verifiers.second.balls import ZERO, Ball, Box, Jet, affine
from verifiers.second.exact import Disagrees, Vector, balls_of, exact, leaves
from verifiers.second.network import NotHandled
from verifiers.second.plant import ball
from verifiers.second.stage import Function

STATES, PART, NESTED, GRID, SHARES = 8, 139, 4, 32, 48
"""States up to which there are not too many orthants; the byte of a leaf that counts in part; boxes about one middle over which derivatives are read;
bits of the largest number of a box, and of its share."""


def below_plane(slopes: Sequence[int], room: int) -> Fraction:
    """The share of the unit cube in which ``slopes . t <= room``, exact."""
    w = [abs(slope) for slope in slopes if slope]
    room += sum(-slope for slope in slopes if slope < 0)
    if room < 0 or room >= sum(w):
        return Fraction(int(room >= 0))
    if 2 * room > sum(w):
        return 1 - below_plane(w, sum(w) - room)  # the same by t -> 1 - t, with fewer terms
    plus, minus = [room], list[int]()
    for slope in w:
        plus, minus = plus + [v - slope for v in minus if v > slope], minus + [v - slope for v in plus if v > slope]
    n = len(w)
    return Fraction(sum([v**n for v in plus]) - sum([v**n for v in minus]), math.factorial(n) * math.prod(w))


def _grid(values: Sequence[Ball]) -> list[int]:
    """Upper ends of finite balls in units of one power of two, rounded up."""
    pairs = [tuple(map(int, value.upper().man_exp())) for value in values]
    unit = max((power + abs(man).bit_length() for man, power in pairs if man), default=0) - GRID
    return [man << power - unit if power > unit else -(-man >> unit - power) for man, power in pairs]


def share(function: Callable[[list[Jet]], Jet], middle: Vector, half: Vector, below: Ball) -> Fraction:
    """A lower bound of the share of a box in which a function stays at or below a number.

    Parameters
    ----------
    function : callable
        The function of jets of n coordinates.
    middle, half : n rationals each
        The box m + [-r, r].
    below : Ball
        The number.
    """
    n, r = len(half), [ball(h) for h in half]
    pairs = [(i, j) for i in range(n) for j in range(i + 1)]
    jets = [function(_about(middle, half).inputs())]
    if jets[0].v <= below:
        return Fraction(1)
    if jets[0].v > below:
        return Fraction(0)
    jets += [function(_about(middle, [h * k / NESTED for h in half]).inputs()) for k in range(NESTED - 1, 0, -1)]
    bends: list[Ball] = []
    if curved := all(jet.h is not None for jet in jets):
        weights = [ball(Fraction(2 * k + 1, NESTED**2)) for k in range(NESTED)]
        bends = [sum((jet.h[at] * w for jet, w in zip(jets, weights, strict=True)), ZERO) * r[i] * r[j] for at, (i, j) in enumerate(pairs)]
        slopes = [slope * h for slope, h in zip(jets[0].k, r, strict=True)]
    else:
        slopes = [sum((jet.g[i] for jet in jets), ZERO) / NESTED * r[i] for i in range(n)]
    room = below - jets[0].c
    if not all(value.is_finite() for value in (room, *slopes, *bends)):
        return Fraction(0)
    ends = _grid([-room, *slopes, *(-v for v in slopes), *bends, *(-v for v in bends)])
    side = [dict.fromkeys(pairs, 0)] * 2
    if curved:
        side = [dict(zip(pairs, ends[start:start + len(pairs)], strict=True)) for start in (1 + 2 * n, 1 + 2 * n + len(pairs))]
    found = 0
    for signs in itertools.product((0, 1), repeat=n):
        twice = [2 * ends[1 + i + n * s] for i, s in enumerate(signs)]
        for i in range(n):
            mixed = sum([max(0, side[signs[i] ^ signs[j]][max(i, j), min(i, j)]) for j in range(n) if j != i])
            twice[i] += max(0, side[0][i, i] + mixed)
        part = below_plane(twice, -2 * ends[0])
        found += (part.numerator << SHARES) // part.denominator
    return Fraction(found, 1 << SHARES + n)


def framed_volume(data: bytes, frame: Sequence[Vector], origin: Vector, function: Function, level: Fraction, domain: tuple[Vector, Vector],
                  wanted: Fraction, spend: Callable[[], None]) -> Ball:
    """The volume that is seen of ``{V <= level}`` in the domain, in the boxes of a tree over y in [-1, 1]^n with ``x = origin + frame y``.

    Parameters
    ----------
    data : bytes
        The tree; only leaves marked as counting in part are looked at, the largest first.
    wanted : Fraction
        Volume at which the search ends, or 0 for the first that is positive: no more is asked of a region, and each box takes milliseconds.  So the
        volume that the kernel found is not measured a second time, only that it is as large as demanded.
    spend : callable
        Called before each box.

    Raises
    ------
    NotHandled
        Beyond 8 states, where the kernel refuses too.
    Disagrees
        For a frame that is no n x n matrix, or has no inverse.
    """
    n = len(origin)
    if n > STATES:
        raise NotHandled(f"volumes along other axes beyond {STATES} states, which the kernel refuses")
    if [len(row) for row in frame] != [n] * n or (scale := abs(Fraction(str(exact(frame).det())))) == 0:
        raise Disagrees("the frame of the volume has no inverse")
    weight, shift, below, total = balls_of(frame), [ball(o) for o in origin], function.below(level), Fraction(0)
    boxes = [(low, high) for byte, low, high in leaves(data, [-1.0] * n, [1.0] * n) if byte == PART]
    boxes.sort(key=lambda ends: -math.prod(b - a for a, b in zip(*ends, strict=True)))
    for low, high in boxes:
        spend()
        middle, half = ([(Fraction(b) + sign * Fraction(a)) / 2 for a, b in zip(low, high, strict=True)] for sign in (1, -1))
        image = affine(weight, shift, _about(middle, half).inputs())
        if all(a.v >= ball(c) and a.v <= ball(d) for a, c, d in zip(image, *domain, strict=True)):
            part = share(lambda y: function.sign(affine(weight, shift, y)), middle, half, below)
            total += math.prod([2 * h for h in half], start=scale) * part
            if total > 0 and ball(total) >= ball(wanted):
                break
    return ball(total)


def _about(middle: Vector, half: Vector) -> Box:
    """The box of order 2 around a middle."""
    centre = tuple(ball(m) for m in middle)
    reach = tuple(arb(0, ball(h).upper()) for h in half)
    whole = tuple(c + r for c, r in zip(centre, reach, strict=True))
    return Box(centre, whole, tuple(arb(0, (w - c).abs_upper()) for w, c in zip(whole, centre, strict=True)), 2)
