"""What every bridge in hands back: the bytes of an ONNX controller, its graph, and how closely it computes what it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.kernel.graph import Affine, Builder, Floats, Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate
from verifiers.load.to_onnx import to_onnx

POINTS = 2000


class NotAlike(ValueError):
    """What was built differs from what it came from by more than allowed: one sentence with the point."""


@dataclass(frozen=True)
class Parity:
    """The largest difference found between two ways to compute the same values.

    Attributes
    ----------
    largest : float
        Largest absolute difference of an entry, in the units of the values.
    at : tuple of float
        The point where it occurs.
    points : int
        How many points were compared.
    """

    largest: float
    at: tuple[float, ...]
    points: int

    def __str__(self) -> str:
        return f"largest difference {self.largest:.3g} on {self.points} points, at ({', '.join(f'{v:.6g}' for v in self.at)})"


def parity(given: Callable[[Floats], Any], built: Callable[[Floats], Any], points: Floats, allowed: float) -> Parity:
    """Compare two functions of a batch.

    Parameters
    ----------
    given, built : callable
        Map points (B, n) to values (B, m).
    points : ndarray
        Where to compare, (B, n).
    allowed : float
        Largest difference that passes, as a multiple of ``1 + |value|``.

    Returns
    -------
    Parity
        The largest absolute difference.

    Raises
    ------
    NotAlike
        When a difference is larger, or a value is not a number, or the shapes differ.

    Notes
    -----
    Direction: none.  Agreement at points is evidence, not a proof; the certificate is about the exported bytes.
    """
    expected, found = (np.asarray(f(points), dtype=np.float64) for f in (given, built))
    if expected.shape != found.shape or expected.ndim != 2:
        raise NotAlike(f"the values have shapes {expected.shape} and {found.shape}; one row per point and one column per output is expected")
    gap = np.abs(found - expected).max(axis=1)
    worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    result = Parity(float(gap[worst]), tuple(points[worst].tolist()), len(points))
    if not (np.abs(found - expected) <= allowed * (1 + np.abs(expected))).all():
        raise NotAlike(f"what was built is not what was given: {result}")
    return result


def spread(lo: Sequence[float], hi: Sequence[float], count: int = POINTS, seed: int = 0) -> Floats:
    """Points (count, n) of a box: the corners' neighbourhoods and the middle as well as the rest.

    Raises
    ------
    ValueError
        When the box is empty or not finite.
    """
    low, high = np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64)
    if not (low.shape == high.shape and low.ndim == 1 and np.isfinite([low, high]).all() and (low < high).all()):
        raise ValueError(f"the box from {low.tolist()} to {high.tolist()} has no inside; give lo < hi, finite, one entry per state")
    rng = np.random.default_rng(seed)
    share = np.clip(rng.uniform(-0.1, 1.1, (count, low.size)), 0.0, 1.0)
    share[: count // 4] = 0.5 + (share[: count // 4] - 0.5) * 10.0 ** rng.uniform(-6, 0, (count // 4, 1))
    return np.asarray(low + share * (high - low))


@dataclass(frozen=True, eq=False)
class Imported:
    """A controller brought in: ONNX bytes that the kernel reads, their graph, the comparison, and what a reader should know."""

    data: bytes
    graph: Graph
    parity: Parity
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the ONNX file and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return path


def brought_in(graph: Graph, given: Callable[[Floats], Any], points: Floats, allowed: float, notes: Sequence[str] = ()) -> Imported:
    """Write a controller's graph as ONNX, read the bytes back as the kernel does, and compare *that* with what was given.

    Raises
    ------
    NotAlike
        See :func:`parity`.
    Refusal
        When the file is outside what the kernel reads.
    NotWritable
        When a number has no exact place in ONNX.
    """
    data = to_onnx(graph)
    read = read_onnx(data, "controller.onnx").graph
    return Imported(data, read, parity(given, lambda x: evaluate(read, x), points, allowed), tuple(notes))


def single(values: Any) -> Floats:
    """Numbers rounded to float32, as float64."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def scale_and_shift(builder: Builder, x: int, scale: Any, shift: Any) -> int:
    """Add ``scale x + shift`` entry by entry, coefficients rounded to float32."""
    factors = np.broadcast_to(single(scale), (builder.size(x),))
    return builder.affine(x, Affine(np.diag(factors), np.array(np.broadcast_to(single(shift), factors.shape))))


def limit(builder: Builder, x: int, lo: Any, hi: Any) -> int:
    """Add ``min(max(x, lo), hi)`` entry by entry; an infinite limit leaves that side free."""
    sides = [[Fraction(float(v)) if np.isfinite(v) else None for v in np.broadcast_to(np.asarray(side, dtype=np.float64), (builder.size(x),))]
             for side in (lo, hi)]
    return builder.clip(x, *sides)


def cos_sin(angles: Sequence[bool]) -> Graph:
    """The observation in which each angle is replaced by its cosine and sine, in the order of the states, as Gymnasium's pendulum has it."""
    b = Builder()
    x, parts = b.input(len(angles)), []
    for i, angle in enumerate(angles):
        part = b.take(x, (i,))
        parts += [b.unary("cos", part), b.unary("sin", part)] if angle else [part]
    return b.build([b.concat(parts)])
