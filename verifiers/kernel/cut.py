r"""The volume of a region, box by box: the share of a box in which a bound of its Taylor model stays below the level.

Over a box a Taylor model of V with Hessian H (docs/theory/enclosures.md) is bounded by independent pieces: since
:math:`|H_{ij} \xi_i \xi_j| \le \tfrac12 |H_{ij}| (\xi_i^2 + \xi_j^2)` and :math:`\xi^2 \le |\xi|`,

.. math:: V \le v + \sum_i w_i, \quad w_i = |p_i|\,\xi_i + k_i |\xi_i|, \quad
          k_i = \tfrac12 \max\bigl(0, H_{ii} + \textstyle\sum_{j \ne i} |H_{ij}|\bigr)

(after turning the signs of some :math:`\xi_i`), where v holds the constant, the error and all other symbols at their worst.  For
:math:`\xi_i` uniform in [-1, 1] a piece is uniform in :math:`[0, a_i]` or in :math:`[-b_i, 0]` with one half each, :math:`a = |p| + k`,
:math:`b = |p| - k`, so that the share is at least

.. math:: P\Bigl(\sum_i w_i \le t\Bigr) = \prod_i \Bigl[\tfrac1{2 a_i} (1 - S^{a_i}) + \tfrac1{2 b_i} (S^{-b_i} - 1)\Bigr]
          \frac{\max(0, t)^n}{n!}, \qquad t = c - v, \quad (S^a g)(t) = g(t - a),

a sum of 3^n terms.  Slopes that are too small for it are made larger, which makes the pieces larger.  Boxes may lie along any axes:
``x = o + T y``; the volume is that of the boxes in y times ``|det T|``, and a box counts where its image lies in the domain.

Direction: every volume is a lower bound.  Let the pieces be scaled to ``sum |p| + k = 1``, let C be the product of all 1/a + 1/|b|, at least the
sum of the absolute coefficients, and X the largest |t - shift|.  With n <= 8 the errors of coefficients and powers are below
``(5 n^2 + 20 n) u C X^n / n!``, and that of the sum of 3^n terms below ``3^n u C X^n / n!``: together below ``2**-40 C X^n / n!``, which is
subtracted.  A NaN counts nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from verifiers.kernel import tree
from verifiers.kernel.codes import Code, need
from verifiers.kernel.definite import determinant, is_positive_definite
from verifiers.kernel.graph import Floats, affine_from_rational, read
from verifiers.kernel.local import Matrix, Vector
from verifiers.kernel.minimum import hessian
from verifiers.kernel.rational import down, sqrt_up
from verifiers.kernel.setting import congruent, identity, in_coordinates
from verifiers.kernel.stage import Function, Stage
from verifiers.kernel.taylor import TaylorReading, total

MAX_STATES, SMALL, SLACK, NARROWEST = 8, 0.01, 2.0**-40, 2.0**-50
"""States up to which the terms are summed; the smallest slope of a scaled piece; relative errors; width that a box has to exceed to
count, since its middle is then exact, and its model is one of the box itself but for 4 u of its width."""


def pieces(function: Function, below: float, lo: Floats, hi: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """t (B,), a, b (B, n), scaled to sum |p| + k = 1, of each box (B, n), and how much of t the worst of error and other symbols took (B,)."""
    n, reading = lo.shape[1], TaylorReading(lo, hi, taped=True)
    with np.errstate(all="ignore"):
        model = reading.whole(reading.settled(read(function.graph, reading, [reading.start()])[0]))
        p, h = model.p[:, :, 0], hessian(reading, model.q[:, :, 0], n)
        own = h[:, range(n), range(n)]
        k, slope = np.maximum(0.5 * (np.abs(h).sum(axis=2) - np.abs(own) + own), 0.0), np.abs(p[1:1 + n]).T
        worst = total(p[1 + n:]) + total(model.q[reading.pairs(n):, :, 0]) + model.e[:, 0]
        size = (slope + k).sum(axis=1)
        bent = np.abs(h).sum(axis=(1, 2))
        room = below - p[0] - worst - SLACK * (abs(below) + np.abs(p[0]) + worst + size + bent)
        return room / size, (slope + k) / size[:, None], (slope - k) / size[:, None], worst / size


def share(t: Floats, a: Floats, b: Floats) -> Floats:
    """Lower bounds (B,) of P(sum of the pieces <= t), for t (B,) and pieces a, b (B, n) of which the sum of a is 1."""
    a, b, t = np.maximum(a, SMALL), np.where(np.abs(b) < SMALL, -SMALL, b), np.clip(t, -2.0, 2.0)
    c, x = np.ones((len(t), 1)), t[:, None]
    with np.errstate(all="ignore"):
        for i in range(a.shape[1]):
            up, low = a[:, i:i + 1], b[:, i:i + 1]
            c = np.concatenate([c * (0.5 / up - 0.5 / low), c * (-0.5 / up), c * (0.5 / low)], axis=1)
            x = np.concatenate([x, x - up, x + low], axis=1)
        term = np.ones_like(x)
        for i in range(a.shape[1]):
            term *= np.maximum(x, 0.0) / (i + 1)
        error = (1 / a + 1 / np.abs(b)).prod(axis=1) * np.abs(x).max(axis=1) ** a.shape[1] / math.factorial(a.shape[1])
        found = (c * term).sum(axis=1) - SLACK * (1 + error)  # 1: the model's box is wider than the box by some of its last bits
        return np.where(found > 0, np.minimum(found, 1.0), 0.0)


def turned(stage: Stage, frame: Matrix, origin: Vector) -> Stage:
    """The stage's function and domain in coordinates y with ``x = origin + frame y``; its tree covers [-1, 1]^n."""
    function = replace(stage.function, graph=in_coordinates(stage.function.graph, frame, origin), gradient=None)
    return replace(stage, function=function, image=affine_from_rational(frame, origin))


def check_volume(stage: Stage, data: bytes, frame: Matrix, origin: Vector, at: str) -> tuple[int, float]:
    """Leaves of a tree over ``y`` in [-1, 1]^n, and a lower bound of the volume of the region in those of them that are INSIDE, in whole or in part.

    Raises
    ------
    Refusal
        ``UNSUPPORTED`` beyond 8 states, ``MALFORMED_CERTIFICATE`` for other leaves, and what a tree is refused for.
    """
    n, count, volumes, below, gram = len(origin), 0, [], stage.function.thresholds(stage.level)[0], congruent(identity(len(origin)), frame)
    need(n <= MAX_STATES, Code.UNSUPPORTED, at, f"volumes along other axes are measured up to {MAX_STATES} states")
    need(is_positive_definite(gram), Code.NOT_DEFINITE, f"{at}.frame", "the frame has no inverse")
    here = turned(stage, frame, origin)
    for tag, lo, hi in tree.leaves(data, -np.ones(n), np.ones(n), at):
        count += len(lo)
        if tag == tree.NOTHING:
            continue
        need(tag == tree.INSIDE + tree.TAYLOR, Code.MALFORMED_CERTIFICATE, at, "a leaf of this kind has no meaning in this tree")
        counts = here.within(lo, hi) & (hi - lo > NARROWEST).all(axis=1)
        part = share(*pieces(here.function, below, lo, hi)[:3]) * (hi - lo).prod(axis=1)
        volumes.append(float(np.where(counts, part, 0.0).sum()))
    return count, down(Fraction(math.fsum(volumes) * (1 - 1e-12)) / sqrt_up(1 / determinant(gram)))
