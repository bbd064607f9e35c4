"""MODEL.toml: a linear MPC problem as a person writes it."""

from __future__ import annotations

import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.explicit_mpc.condense import Limits, Model
from verifiers.explicit_mpc.origin import read_origin
from verifiers.explicit_mpc.problem import BadProblem, Exact
from verifiers.explicit_mpc.terminal import dare, invariant_set, modal_set

_TOP = {"A", "B", "plant", "dt", "method", "parameters", "horizon", "blocks", "discount", "weights", "limits", "terminal", "tracking", "domain"}
_INNER = {"weights": {"Q", "R", "P", "S"}, "limits": {"x", "u", "du", "soft"}, "terminal": {"set"}, "tracking": {"C", "E"}, "domain": {"lo", "hi"}}

SETS = {"invariant": invariant_set, "modal": modal_set}
INFLATION = 1 + Fraction(1, 10**9)
"""Of the Riccati equation's cost with a terminal set, so that it falls by more than the stage cost in exact numbers too, in spite of rounding."""


def read_model(path: Path) -> Model:
    """Read a model; docs/cli.md shows the file.

    Raises
    ------
    BadProblem
        With the key and what is expected there.
    """
    table = read_table(path)
    parts = {key: _known(table.get(key, {}), keys, f"{key}.") for key, keys in _INNER.items()}
    weights, limits, tracking = parts["weights"], parts["limits"], parts["tracking"]
    origin = read_origin(table)
    if origin is None and ("dt" in table or "method" in table or "parameters" in table):
        raise BadProblem("dt, method and parameters belong to a plant; give plant = \"NAME\", or A and B alone")
    a, b = (_matrix(table, "A"), _matrix(table, "B")) if origin is None else origin.linear()
    if a.shape != (len(a), len(a)) or len(b) != len(a):
        raise BadProblem(f"A has shape {a.shape} and B {b.shape}; A is square, with as many rows as B")
    q, r = _matrix(weights, "Q"), _matrix(weights, "R")
    discount = _number(table.get("discount", 1), "discount")
    cost, gain = dare(a, b, q, r, discount)
    p = cost if weights.get("P", "dare") == "dare" else _matrix(weights, "P")
    x, u, du = (_limits(limits.get(key), f"limits.{key}") for key in ("x", "u", "du"))
    if origin is not None and "u" not in limits:
        u = origin.input_limits()
    wanted, terminal = parts["terminal"].get("set", "none"), None
    if wanted in SETS:
        terminal = SETS[wanted](a, b, gain, x, u)
        p = p * INFLATION if weights.get("P", "dare") == "dare" else p
    elif wanted != "none":
        raise BadProblem(f"terminal.set is {wanted!r}; it is \"none\", \"invariant\" or \"modal\"")
    soft = None
    if "soft" in limits:
        penalties = _known(limits["soft"], {"quadratic", "linear"}, "limits.soft.")
        soft = _number(penalties.get("quadratic"), "limits.soft.quadratic"), _number(penalties.get("linear", 0), "limits.soft.linear")
    horizon, blocks = table.get("horizon"), table.get("blocks", [])
    if type(horizon) is not int or type(blocks) is not list or not all(type(k) is int for k in blocks):
        raise BadProblem("horizon is a whole number of steps, and blocks a list of such numbers")
    lo, hi = origin.domain() if origin is not None and "domain" not in table else (_vector(parts["domain"], key) for key in ("lo", "hi"))
    return Model(a, b, horizon, q, r, p, lo, hi,
                 _matrix(weights, "S") if "S" in weights else None, x, u, du, terminal, tuple(blocks), soft,
                 _matrix(tracking, "C") if "C" in tracking else None, _matrix(tracking, "E") if "E" in tracking else None, discount)


def read_table(path: Path) -> dict[str, Any]:
    """The model's table, its keys known and its values unread.

    Raises
    ------
    BadProblem
        When the file is no TOML or has an unknown key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=str)
    except (OSError, ValueError, RecursionError) as error:
        raise BadProblem(f"{path.name} cannot be read as TOML: {error}") from None
    return _known(table, _TOP, "")


def _known(table: Any, keys: set[str], at: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise BadProblem(f"{at.rstrip('.') or 'the file'} is a table of {', '.join(sorted(keys))}")
    if extra := sorted(set(table) - keys):
        raise BadProblem(f"{at}{extra[0]} is unknown; known here are {', '.join(sorted(keys))}")
    return table


def _number(value: Any, at: str) -> Fraction:
    try:
        if type(value) not in (str, int):
            raise ValueError
        return Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise BadProblem(f'{at}: a number is expected, written as 3, "0.15" or "3/20"') from None


def _matrix(table: dict[str, Any], key: str) -> Exact:
    rows = table.get(key)
    if not (isinstance(rows, list) and rows and all(isinstance(row, list) and len(row) == len(rows[0]) > 0 for row in rows)):
        raise BadProblem(f"{key}: a matrix is expected, a list of rows of equal length")
    return np.array([[_number(v, key) for v in row] for row in rows], dtype=object)


def _vector(table: dict[str, Any], key: str) -> Exact:
    return _matrix({key: [table.get(key)]}, key)[0]


def _limits(table: Any, at: str) -> Limits:
    if table is None:
        return (), ()
    fields = _known(table, {"lo", "hi"}, f"{at}.")

    def ends(key: str) -> tuple[Fraction | None, ...]:
        items = fields.get(key, [])
        if not isinstance(items, list):
            raise BadProblem(f"{at}.{key}: a list of numbers is expected, with \"\" where there is no limit")
        return tuple(None if v == "" else _number(v, f"{at}.{key}") for v in items)

    return ends("lo"), ends("hi")
