"""How a bug is injected into the prover: replacements in the prover's own modules, a register of bugs, and the tools that they share.

A bug may replace names that the prover imported from the kernel (``attraction.make_stage``, ``quadratic.check_local``), for then only the prover
sees the replacement; :func:`injected` refuses to touch a module of the kernel itself.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

from verifiers import prove
from verifiers.kernel.check import Receipt
from verifiers.kernel.codes import Code, need
from verifiers.kernel.graph import Builder, Graph, affine_from_rational
from verifiers.kernel.local import Enclosure
from verifiers.kernel.setting import Setting, make_stage, open_setting
from verifiers.kernel.stage import Evaluation, Stage
from verifiers.region import attraction, equilibrium, invariance
from verifiers.smt import branch_and_bound, counterexample, skeleton

Replacement = tuple[ModuleType, str, Any]
"""A module of the prover, a name in it, and what takes its place."""


@dataclass(frozen=True)
class Bug:
    """An injected bug.

    Attributes
    ----------
    threat : str
        The way in which a wrong "deployable" would come about (docs/threats.md).
    mistake : str
        What a programmer would have done.
    believed : dict
        Names of false claims that the buggy prover believes, and the code with which the kernel refuses each; several codes, parted by blanks,
        where the refusal depends on which of several wrong leaves comes first.
    replace : callable
        From the path of the claim's true twin to the replacements.
    twin_first : bool
        Whether the buggy prover sees the true twin before the false claim.
    """

    name: str
    threat: str
    mistake: str
    believed: dict[str, str]
    replace: Callable[[Path], list[Replacement]]
    twin_first: bool = False


BUGS: dict[str, Bug] = {}


def bug(threat: str, *, twin_first: bool = False, **believed: str) -> Callable[[Callable[[Path], list[Replacement]]], Any]:
    """Register the decorated function as a bug under its name; keywords are the claims believed and the kernel's codes."""

    def register(replace: Callable[[Path], list[Replacement]]) -> Callable[[Path], list[Replacement]]:
        name = replace.__name__
        if name in BUGS:
            raise ValueError(f"{name} is registered twice")
        BUGS[name] = Bug(name, threat, inspect.cleandoc(replace.__doc__ or ""), believed, replace, twin_first)
        return replace

    return register


def blind() -> list[Replacement]:
    """What every bug comes with: no counterexample, instability or absence of an equilibrium is ever found, and the prover believes itself; and
    no box is split unseen, because a claim is small and some bugs bite on large boxes only."""
    believed = Receipt("ACCEPTED", None, None, "the prover believes itself", "believed")
    return [(counterexample, "find", lambda *_, **__: None), (equilibrium, "prove_unstable", lambda *_: None),
            (equilibrium, "prove_absence", lambda *_: False), (prove, "check_by", lambda *_: believed), (skeleton, "FIRST", 0),
            (attraction, "ZOOM_STATES", 0)]


@contextmanager
def injected(replacements: list[Replacement]) -> Iterator[None]:
    """Put replacements in place, in the prover only.

    Raises
    ------
    ValueError
        When a replacement would touch the kernel.
    """
    with ExitStack() as stack:
        for where, name, new in replacements:
            if not where.__name__.startswith("verifiers.") or where.__name__.startswith("verifiers.kernel"):
                raise ValueError(f"{where.__name__}.{name} is no part of the prover")
            stack.enter_context(mock.patch.object(where, name, new))
        yield


def stage_with(**methods: Any) -> list[Replacement]:
    """The prover's stages answer with other methods; the kernel makes its own stages."""
    kind = type("BuggyStage", (Stage,), methods)

    def make(*arguments: Any) -> Stage:
        honest = make_stage(*arguments)
        return kind(**{f.name: getattr(honest, f.name) for f in dataclasses.fields(Stage)})

    return [(module, "make_stage", make) for module in (prove, attraction, invariance)]


def bound_with(change: Callable[[Stage, np.ndarray, np.ndarray, Evaluation], Evaluation]) -> list[Replacement]:
    """The prover's bounds over boxes pass through ``change``."""
    return stage_with(evaluate=lambda stage, lo, hi: change(stage, lo, hi, Stage.evaluate(stage, lo, hi)))


def everywhere(_: Stage, lo: np.ndarray, *__: object) -> np.ndarray:
    """True for every box."""
    return np.ones(lo.shape[0], dtype=bool)


def read_as(change: Callable[..., tuple[Any, bytes, bytes | None]], after: Callable[[Setting], object] | None = None) -> list[Replacement]:
    """The prover composes the loop from a changed (requirement, plant, controller), and answers for the right ones."""

    def opened(requirement: Any, plant: bytes, controller: bytes | None) -> Setting:
        right = open_setting(requirement, plant, controller)
        wrong = open_setting(*change(requirement, plant, controller))
        wrong.requirement, wrong.spec = right.requirement, right.spec
        if after is not None:
            after(wrong)
        return wrong

    return [(prove, "open_setting", opened)]


def demanded(**fields: Callable[[Any], Any]) -> list[Replacement]:
    """The prover composes the loop from a requirement with other fields."""
    return read_as(lambda r, p, c: (dataclasses.replace(r, **{k: f(getattr(r, k)) for k, f in fields.items()}), p, c))


def field_as(change: Callable[[Builder, int, int], int]) -> list[Replacement]:
    """The prover's loop is ``change(builder, node of f, dimension)`` of the right one."""

    def after(setting: Setting) -> None:
        n, b = len(setting.lo), Builder()
        f = b.inline(setting.loop.field, [b.input(n)])[0]
        setting.loop = dataclasses.replace(setting.loop, field=b.build([change(b, f, n)]))

    return read_as(lambda *parts: parts, after)


def scaled(n: int, factor: Fraction, shift: Fraction = Fraction(0)) -> Any:
    """``factor x + shift`` in n dimensions."""
    return affine_from_rational([[factor * (i == j) for j in range(n)] for i in range(n)], [shift] * n)


def never_exact() -> list[Replacement]:
    """The prover encloses loops and equilibria even where they are known exactly, so that the kernel does not stop at the kind of the proof."""
    tested = equilibrium.check_equilibrium

    def enclosed(field: Graph, time: str, where: Enclosure) -> None:
        need(all(where.radius), Code.UNSUPPORTED, "equilibrium", "not taken as exact")
        tested(field, time, where)

    return [(attraction, "affine_exact", lambda _: None), (equilibrium, "check_equilibrium", enclosed)]


def searched(change: Callable[..., Any]) -> list[Replacement]:
    """The prover's search is ``change(search, stage, goal, options)``."""
    return [(attraction, "search", lambda stage, goal, **options: change(branch_and_bound.search, stage, goal, options))]


def written(change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[Replacement]:
    """What is handed to the writer of bundles passes through ``change``."""
    write = prove.write_bundle
    return [(prove, "write_bundle", lambda out, **parts: write(out, **change(parts)))]


def question_as(change: Callable[[prove.Question], prove.Question]) -> list[Replacement]:
    """The files that the prover reads pass through ``change``."""
    read = prove.read_question
    return [(prove, "read_question", lambda path: change(read(path)))]


def asked(**fields: Callable[[Any], Any]) -> list[Replacement]:
    """The prover takes the whole question for one with other fields in its requirement."""
    return question_as(lambda q: dataclasses.replace(q, requirement=dataclasses.replace(
        q.requirement, **{k: f(getattr(q.requirement, k)) for k, f in fields.items()})))
