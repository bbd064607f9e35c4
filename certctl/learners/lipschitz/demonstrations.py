"""Data sets of an expert: states and inputs, with names and units, from CSV, Parquet or NumPy files."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certctl.learners.lipschitz.problem import Problem
from verifiers.kernel.graph import Floats

_HEAD = re.compile(r"\s*(?P<name>[^\[\]]+?)\s*(?:\[(?P<unit>[^\[\]]*)\])?\s*")
Signal = tuple[str, str]


class BadData(ValueError):
    """A data set that cannot be used: one sentence with the place and the remedy."""


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """What the expert did.

    Attributes
    ----------
    states, inputs : ndarray
        (N, n) and (N, m), finite, in the units named.
    state_signals, input_signals : tuple of (name, unit)
        The unit is empty where the file names none.
    """

    states: Floats
    inputs: Floats
    state_signals: tuple[Signal, ...]
    input_signals: tuple[Signal, ...]

    def __post_init__(self) -> None:
        shapes = self.states.shape, self.inputs.shape
        if not (self.states.ndim == self.inputs.ndim == 2 and len(self.states) == len(self.inputs) >= 2 and min(shapes[0][1], shapes[1][1]) >= 1):
            raise BadData(f"states and inputs have shapes {shapes}; (N, n) and (N, m) with N >= 2 are expected")
        bad = ~(np.isfinite(self.states).all(axis=1) & np.isfinite(self.inputs).all(axis=1))
        if bad.any():
            raise BadData(f"row {int(np.argmax(bad)) + 1} holds a number that is NaN or infinite; {int(bad.sum())} rows do; remove them")

    def __len__(self) -> int:
        """Number of pairs N."""
        return len(self.states)

    def joined(self, states: Floats, inputs: Floats) -> Demonstrations:
        """The same with more pairs at the end."""
        return Demonstrations(np.concatenate([self.states, states]), np.concatenate([self.inputs, inputs]), self.state_signals, self.input_signals)

    def steepest(self, most: int = 4000, seed: int = 0) -> float:
        r"""Largest quotient :math:`|u_i - u_j| / |x_i - x_j|` of pairs: no policy with a smaller Lipschitz constant goes through the data.

        Infinite where one state has two inputs.  Of more than ``most`` points a random part is looked at.
        """
        pick = np.arange(len(self)) if len(self) <= most else np.random.default_rng(seed).choice(len(self), most, replace=False)
        x, u, worst = self.states[pick], self.inputs[pick], 0.0
        for k in range(len(x) - 1):
            gap = np.linalg.norm(u[k + 1:] - u[k], axis=1)
            apart = np.linalg.norm(x[k + 1:] - x[k], axis=1)
            if (apart[gap > 0] == 0).any():
                return float("inf")
            worst = max(worst, float((gap[apart > 0] / apart[apart > 0]).max(initial=0.0)))
        return worst

    def save(self, path: Path) -> Path:
        """Write a NumPy archive that :func:`read_demonstrations` reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        (xn, xu), (un, uu) = (zip(*signals, strict=True) for signals in (self.state_signals, self.input_signals))
        np.savez(path, states=self.states, inputs=self.inputs, state_names=np.array(xn), state_units=np.array(xu), input_names=np.array(un),
                 input_units=np.array(uu))
        return path


def signals_of(problem: Problem) -> tuple[tuple[Signal, ...], tuple[Signal, ...]]:
    """Names and units of a plant's states and inputs."""
    return tuple((s.name, s.unit) for s in problem.spec.states), tuple((s.name, s.unit) for s in problem.spec.inputs)


def read_demonstrations(path: Path, *, problem: Problem | None = None, inputs: Sequence[str] = ()) -> Demonstrations:
    """Read a data set.

    Parameters
    ----------
    path : Path
        ``.csv`` (a header ``theta [rad],omega [rad/s],u [N*m]``, units optional), ``.parquet`` with such column names, or ``.npz`` with the
        arrays ``states`` (N, n) and ``inputs`` (N, m), and optionally ``state_names``, ``state_units``, ``input_names``, ``input_units``.
    problem : Problem, optional
        The plant: its signals are picked by name, in its order, and units that the file names must be the plant's.
    inputs : sequence of str
        Without a plant, the columns that are inputs; all others are states, in their order.

    Raises
    ------
    BadData
        What is wrong, where, and what to do.
    ImportError
        For Parquet without pyarrow.
    """
    if not path.is_file():
        raise BadData(f"there is no data set at {path}")
    if path.suffix.lower() == ".npz":
        return _fitting(_read_npz(path), problem, path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise BadData(f"{path.name}: the kinds of data sets are .csv, .parquet and .npz")
    columns = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    if problem is not None:
        wanted, asked = signals_of(problem)
        names = [[name for name, _ in part] for part in (wanted, asked)]
    else:
        if not inputs:
            raise BadData(f"{path.name} does not say which columns are inputs; name them with --inputs, or give the plant")
        names = [[name for name in columns if name not in inputs], list(inputs)]
    if missing := [name for part in names for name in part if name not in columns]:
        raise BadData(f"{path.name} has no column {missing[0]!r}; its columns are {', '.join(columns)}")
    (x, sx), (u, su) = ((np.column_stack([columns[name][1] for name in part]) if part else np.zeros((0, 0)),
                         tuple((name, columns[name][0]) for name in part)) for part in names)
    return _fitting(Demonstrations(x, u, sx, su), problem, path)


def _fitting(data: Demonstrations, problem: Problem | None, path: Path) -> Demonstrations:
    """The same, after its signals were compared with the plant's."""
    if problem is None:
        return data
    wanted = signals_of(problem)
    for have, want, what in zip((data.state_signals, data.input_signals), wanted, ("states", "inputs"), strict=True):
        if len(have) != len(want):
            raise BadData(f"{path.name} has {len(have)} {what}, {problem.spec.name} has {len(want)}: {', '.join(n for n, _ in want)}")
        for (name, unit), (own, its) in zip(have, want, strict=True):
            if name not in ("", own):
                raise BadData(f"{path.name}: {name!r} stands where {problem.spec.name} has {own!r}; the order of the plant's {what} is binding")
            if unit not in ("", its):
                raise BadData(f"{path.name}: {own} is in {unit} there, and in {its} in {problem.spec.name}; convert the data")
    return Demonstrations(data.states, data.inputs, *wanted)


def _read_npz(path: Path) -> Demonstrations:
    if not zipfile.is_zipfile(path):
        raise BadData(f"{path.name} is no NumPy archive (.npz)")
    try:
        with np.load(path, allow_pickle=False) as file:
            given = {key: file[key] for key in file.files}
            x, u = (np.asarray(given[key], dtype=np.float64) for key in ("states", "inputs"))
    except (KeyError, ValueError, OSError) as error:
        raise BadData(f"{path.name}: the arrays states (N, n) and inputs (N, m) of numbers are expected ({error})") from None
    x, u = (a[:, None] if a.ndim == 1 else a for a in (x, u))
    signals = []
    for values, kind in ((x, "state"), (u, "input")):
        parts = [[str(v) for v in np.atleast_1d(given.get(f"{kind}_{what}", np.array([""] * values.shape[-1])))] for what in ("names", "units")]
        if any(len(part) != values.shape[-1] for part in parts):
            raise BadData(f"{path.name}: {kind}_names and {kind}_units need {values.shape[-1]} entries")
        signals.append(tuple(zip(*parts, strict=True)))
    return Demonstrations(x, u, *signals)


def _read_csv(path: Path) -> dict[str, tuple[str, Floats]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"{path.name} cannot be read as CSV: {error}") from None
    if len(rows) < 3:
        raise BadData(f"{path.name}: a header and at least two rows are expected")
    table = []
    for k, row in enumerate(rows[1:], 2):
        try:
            table.append([float(cell) for cell in row])
        except ValueError as error:
            raise BadData(f"{path.name}, line {k}: {error}") from None
        if len(row) != len(rows[0]):
            raise BadData(f"{path.name}, line {k}: {len(row)} cells under {len(rows[0])} headings")
    return _named(rows[0], np.array(table).T, path)


def _read_parquet(path: Path) -> dict[str, tuple[str, Floats]]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        says = f'{path.name}: reading Parquet needs pyarrow; pip install "certctl[parquet]", or write the data as CSV'
        raise ImportError(says, name=error.name) from None
    try:
        read: Any = parquet.read_table(path)
        values = np.stack([np.asarray(read.column(name).to_numpy(), dtype=np.float64) for name in read.column_names])
    except (ArrowException, ValueError, TypeError, OSError) as error:
        raise BadData(f"{path.name} cannot be read as columns of numbers: {error}") from None
    return _named(read.column_names, values, path)


def _named(heads: Sequence[str], values: Floats, path: Path) -> dict[str, tuple[str, Floats]]:
    found: dict[str, tuple[str, Floats]] = {}
    for head, column in zip(heads, values, strict=True):
        match = _HEAD.fullmatch(head)
        if match is None or match["name"] in found:
            raise BadData(f"{path.name}: {head!r} is no heading of its own; write for example theta [rad]")
        found[match["name"]] = match["unit"] or "", column
    return found
