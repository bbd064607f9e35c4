"""The multiparametric quadratic program: its data, read from NumPy archives and written as the exact file that the kernel reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifiers.kernel.rational import parse_vector

Floats = NDArray[np.float64]
Exact = NDArray[np.object_]
FORMAT = "certctl-mpqp/1"


class BadProblem(ValueError):
    """The data make no multiparametric quadratic program; one sentence with place and remedy."""


@dataclass(frozen=True, eq=False)
class Problem:
    r"""A multiparametric quadratic program over a box of parameters.

    .. math:: z^*(\theta) = \arg\min_z \tfrac12 z^T H z + (f + F\theta)^T z \quad\text{s.t.}\quad A z \le b + B\theta, \qquad l \le \theta \le u

    Attributes
    ----------
    H : (n, n) array of Fraction
        Symmetric, positive definite.
    f : (n,) array of Fraction
    F : (n, d) array of Fraction
    A : (m, n) array of Fraction
    b : (m,) array of Fraction
    B : (m, d) array of Fraction
    lb, ub : (d,) array of Fraction
        l and u: the box of parameters, l < u.

    Notes
    -----
    Every number is exact; a float64 stands for the dyadic rational that it is.  Each is finite.
    """

    H: Exact
    f: Exact
    F: Exact
    A: Exact
    b: Exact
    B: Exact
    lb: Exact
    ub: Exact

    @property
    def n(self) -> int:
        """Number of decision variables."""
        return len(self.H)

    @property
    def d(self) -> int:
        """Number of parameters."""
        return len(self.lb)

    @property
    def m(self) -> int:
        """Number of inequalities."""
        return len(self.A)

    def floats(self) -> dict[str, Floats]:
        """The data rounded to nearest float64, by name."""
        return {field.name: getattr(self, field.name).astype(np.float64) for field in fields(self)}


def exact(array: Any, name: str, shape: tuple[int, ...]) -> Exact:
    """The array's entries as Fractions, reshaped from a column where a vector is expected.

    Raises
    ------
    BadProblem
        Another shape, an entry that is not finite, or no real numbers.
    """
    given = np.asarray(array)
    if given.dtype != object and given.dtype.kind not in "iuf":
        raise BadProblem(f"{name} holds {given.dtype}; real numbers are expected")
    if len(shape) == 1 and given.ndim == 2 and 1 in given.shape:
        given = given.reshape(-1)
    if given.shape != shape:
        raise BadProblem(f"{name} has shape {given.shape}, {shape} is expected")
    if given.dtype != object and not np.isfinite(given).all():
        raise BadProblem(f"{name} holds NaN or infinity; leave out rows that do not constrain anything")
    return np.array([Fraction(v) for v in given.ravel().tolist()], dtype=object).reshape(shape)


def make_problem(H: Any, f: Any, F: Any, A: Any, b: Any, B: Any, lb: Any, ub: Any) -> Problem:
    """A problem from arrays, their shapes checked; H is replaced by its symmetric part, which gives the same program.

    Raises
    ------
    BadProblem
        With the name of the array.
    """
    n, m, d = len(np.atleast_2d(H)), len(np.atleast_2d(A)), np.asarray(lb).size
    if min(n, m, d) < 1:
        raise BadProblem("H, A and lb must not be empty")
    found = Problem(exact(H, "H", (n, n)), exact(f, "f", (n,)), exact(F, "F", (n, d)), exact(A, "A", (m, n)), exact(b, "b", (m,)),
                    exact(B, "B", (m, d)), exact(lb, "lb", (d,)), exact(ub, "ub", (d,)))
    for i, (low, high) in enumerate(zip(found.lb, found.ub, strict=True)):
        if not low < high:
            raise BadProblem(f"lb[{i}] = {float(low)} is not below ub[{i}] = {float(high)}; the box of parameters needs an interior")
    return Problem((found.H + found.H.T) / 2, *(getattr(found, field.name) for field in fields(found)[1:]))


def read_npz(path: Path) -> Problem:
    """Read H, f, F, A, b, B, lb, ub from a NumPy archive (without pickles); other arrays in it are left alone.

    Raises
    ------
    BadProblem
        When the file is no such archive, or an array is missing or misshapen.
    """
    names = [field.name for field in fields(Problem)]
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names if name in archive.files}
    except (OSError, ValueError, AttributeError, EOFError) as error:
        raise BadProblem(f"{path.name} is no NumPy archive of plain arrays: {error}") from None
    if absent := [name for name in names if name not in arrays]:
        raise BadProblem(f"{path.name} lacks {', '.join(absent)}; an mp-QP needs {', '.join(names)}")
    return make_problem(**arrays)


def to_json(problem: Problem) -> bytes:
    """The bytes of problem.json, the file that a requirement names and the kernel reads (the box is the requirement's ``[domain]``)."""
    def texts(array: Exact) -> Any:
        return str(array) if isinstance(array, Fraction) else [texts(item) for item in array]

    table = {"format": FORMAT, **{name: texts(getattr(problem, name)) for name in ("H", "f", "F", "A", "b", "B")}}
    return (json.dumps(table, sort_keys=True, indent=None) + "\n").encode("ascii")


def from_json(data: bytes, lb: Sequence[Fraction], ub: Sequence[Fraction]) -> Problem:
    """Read problem.json, and put the box beside it.

    Raises
    ------
    BadProblem, Refusal
        When it is not such a file.
    """
    table = json.loads(data)
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise BadProblem(f"the problem is not in the format {FORMAT}")

    def numbers(name: str) -> Exact:
        rows = table.get(name)
        nested = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
        return np.array([parse_vector(row, name) for row in rows] if nested else parse_vector(rows, name), dtype=object)

    return make_problem(*(numbers(name) for name in ("H", "f", "F", "A", "b", "B")), np.array(lb, dtype=object), np.array(ub, dtype=object))
