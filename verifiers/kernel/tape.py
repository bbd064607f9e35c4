r"""The tape of a reading in Taylor models: what each model adds to the error, and how errors reach the output.

At a point let :math:`\varepsilon_k` be a model's true error.  There are slopes with
:math:`\varepsilon_k = \sum_a s_{ka}\,\varepsilon_a + \eta_k` and :math:`|\eta_k| \le \mathrm{own}_k`, so the output's error is
:math:`\sum_k \lambda_k \eta_k` with the adjoints :math:`\lambda_a = \sum_k \lambda_k s_{ka}` of reverse mode (docs/theory/enclosures.md).  Slopes and
adjoints are enclosed by midpoint and radius.

Direction: what :func:`pulled_back` returns is at least the absolute error; NaN where something is no number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from verifiers.kernel.graph import Affine, Floats
from verifiers.kernel.smooth import TINY, U

Adjoint = tuple[Floats, Floats]
"""Midpoints and radii (R, m) of the derivatives of the output with respect to the errors of a model."""
Pull = Callable[[Floats, Floats], Adjoint]
"""From a model's adjoint, what it hands to one of its arguments."""


@dataclass(frozen=True, eq=False)
class Step:
    """Where a model's error comes from.  ``own`` (R, m) or (1, 1) bounds what it adds, besides a polynomial in the inputs that is known by its
    coefficients ``known`` (K, R, m); of an argument without a step nothing is known.
    """

    number: int
    own: Floats
    pulls: tuple[tuple[Step | None, Pull], ...]
    known: Floats | None = None


def by_slope(middle: Floats | float, radius: Floats | float = 0.0) -> Pull:
    """The pull through an elementwise operation whose slope is within ``radius`` of ``middle``."""
    wide = np.abs(middle) + radius

    def pull(m: Floats, r: Floats) -> Adjoint:
        out = m * middle
        return out, (np.abs(m) * radius + r * wide) * (1 + 8 * U) + 2 * U * np.abs(out) + TINY
    return pull


def by_affine(data: Affine) -> Pull:
    """The pull through ``W x + b``: Wᵀ, with Higham's bound of the rounding."""
    slack = 2 * (data.weight.shape[0] + 8) * U
    unsure = 0.0 * data.weight if data.weight_radius is None else data.weight_radius
    return lambda m, r: (m @ data.weight, (r @ (np.abs(data.weight) + unsure) + np.abs(m) @ (slack * np.abs(data.weight) + unsure)) * (1 + slack)
                         + TINY)


def by_index(index: Sequence[int], size: int) -> Pull:
    """The pull through a selection of ``size`` entries; an entry that was picked twice gets both adjoints."""
    def pull(m: Floats, r: Floats) -> Adjoint:
        out, wide = np.zeros((size, len(m))), np.zeros((size, len(m)))
        np.add.at(out, list(index), m.T)
        np.add.at(wide, list(index), (r + 2 * len(index) * U * (np.abs(m) + r)).T)
        return out.T, wide.T
    return pull


def pulled_back(last: Step, rows: int) -> Floats:
    r"""Bounds (R, 1) of the absolute error of a scalar model: :math:`\sum_k |\lambda_k|\,\mathrm{own}_k`; infinite where a step is missing."""
    e, todo = np.zeros((rows, 1)), {last.number: (last, np.ones((rows, 1)), np.zeros((rows, 1)))}
    while todo:
        step, m, r = todo.pop(max(todo))  # an argument has a smaller number than all that use it
        e = e + ((np.abs(m) + r) * step.own).sum(axis=1, keepdims=True)
        if step.known is not None:  # entry by entry it may be large and cancel in the sum
            size = (r + 4 * (m.shape[1] + 4) * U * np.abs(m)) * np.abs(step.known).sum(axis=0)
            e = e + np.abs((m * step.known).sum(axis=2, keepdims=True)).sum(axis=0) + size.sum(axis=1, keepdims=True)
        for arg, pull in step.pulls:
            if arg is None:
                return np.full((rows, 1), np.inf)
            more, less = pull(m, r)
            if arg.number in todo:
                _, a, b = todo[arg.number]
                more, less = a + more, b + less + U * np.abs(a + more)
            todo[arg.number] = arg, more, less
    return np.asarray(e * (1 + 1e-9))  # covers the rounding of sums of numbers that are not negative
