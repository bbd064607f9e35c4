"""A bundle opened for reading by people: what the kernel said about it, and its loop and functions for drawing.

The kernel runs first, and what is shown is read from bytes with the digest that the kernel reported.  Nothing stored in the bundle
(no ``check.json``, no report) is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verifiers.kernel.bundle import Bundle, open_bundle, read_file, requirement_name
from verifiers.kernel.check import Receipt, check
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Floats, Graph
from verifiers.kernel.rational import parse, parse_matrix, parse_vector
from verifiers.kernel.requirement import BoundRequirement, LawRequirement, Requirement, read_bound, read_law_requirement, read_requirement
from verifiers.kernel.setting import Setting, open_setting, plant_bytes, read_function
from verifiers.kernel.sos import polynomial_graph
from verifiers.kernel.stage import quadratic
from verifiers.load.floats import evaluate


@dataclass(frozen=True, eq=False)
class StageView:
    """A stage of the region: obligation id, the function's name and graph, and the level up to which it is proved."""

    identifier: str
    function: str
    level: Fraction
    graph: Graph


@dataclass(frozen=True, eq=False)
class View:
    """A bundle as the kernel just saw it.

    Attributes
    ----------
    path : Path
        The bundle's folder.
    receipt : Receipt
        Of the check that opened this view.
    requirement : Requirement or None
        None when the bundle cannot be read at all; then there is nothing to draw.
    setting : Setting or None
        Plant, loop and domain as the kernel composes them.
    stages : tuple of StageView
        From the inside out; the region is the union of their sublevel sets within the domain.
    law, bound : LawRequirement, BoundRequirement, each or None
        What is demanded of a law or controller alone; then there is no plant, so no requirement about one, no setting and no stage.
    """

    path: Path
    receipt: Receipt
    bundle: Bundle | None = None
    requirement: Requirement | None = None
    setting: Setting | None = None
    stages: tuple[StageView, ...] = ()
    law: LawRequirement | None = None
    bound: BoundRequirement | None = None

    @property
    def is_certified(self) -> bool:
        """True only when the kernel accepted."""
        return self.receipt.outcome == "ACCEPTED"

    @property
    def drawn(self) -> Setting:
        """The setting, for callers that need one.

        Raises
        ------
        Refusal
            The kernel's reason when the bundle cannot be read.
        """
        if self.setting is None:
            code = Code.__members__.get(self.receipt.code or "", Code.INTERNAL)
            raise Refusal(code, self.receipt.at or str(self.path), self.receipt.message)
        return self.setting

    @property
    def domain(self) -> tuple[Floats, Floats]:
        """Corners (n,) of the domain within which the region lies (cut to the safe box where there is one)."""
        setting = self.drawn
        return np.array(list(map(float, setting.lo))), np.array(list(map(float, setting.hi)))

    @property
    def equilibrium(self) -> Floats:
        """The middle (n,) of the proved enclosure; without one, the point that the requirement or the plant names."""
        box, setting = self.receipt.equilibrium, self.drawn
        if box is not None:
            return np.asarray((np.array(box["lo"]) + np.array(box["hi"])) / 2)
        named = setting.rest
        return np.array(list(map(float, named)))

    def signed(self, x: Any) -> Floats:
        r"""Signed test (B,) of points (B, n): at most 0 inside the union of the stages, above 0 outside.

        .. math:: g(x) = \min_k (V_k(x) - c_k) / |c_k - V_k(x^*)|

        Direction: none; float64 for drawing.  Points outside the domain are not told apart here.
        """
        points = np.asarray(x, dtype=np.float64)
        best = np.full(points.shape[0], np.inf)
        for stage in self.stages:
            level = float(stage.level)
            scale = max(abs(level - float(evaluate(stage.graph, self.equilibrium)[0])), 1e-300)
            best = np.fmin(best, (evaluate(stage.graph, points)[:, 0] - level) / scale)
        return best


def open_view(bundle: str | Path | View, requirement: str | Path | None = None) -> View:
    """Let the kernel check a bundle, then open it for reading.

    Parameters
    ----------
    bundle : path or View
        A view is returned as it is.
    requirement : path, optional
        Your requirement; without it the embedded copy counts, and the receipt says so.

    Returns
    -------
    View
        ``is_certified`` False, and possibly nothing to draw, when the kernel does not accept.

    Raises
    ------
    Refusal
        ``DIGEST_MISMATCH`` when the bundle changed while it was read.
    """
    if isinstance(bundle, View):
        return bundle
    path, given = Path(bundle), None if requirement is None else Path(requirement)
    return view_of(path, check(path, given))


def view_of(path: Path, receipt: Receipt) -> View:
    """Open for reading a bundle that was checked in this very run; the receipt must be the kernel's own answer, never a stored one.

    Raises
    ------
    Refusal
        ``DIGEST_MISMATCH`` when the bundle is no longer the one that the receipt is about.
    """
    try:
        opened = open_bundle(path)
        law, bound = read_law_requirement(opened.requirement, receipt.name), read_bound(opened.requirement, receipt.name)
        if law is not None or bound is not None:
            return _unchanged(View(path, receipt, opened, law=law, bound=bound))
        wanted = read_requirement(opened.requirement, receipt.name)
        setting = open_setting(wanted, opened.plant, opened.controller)
        stages = tuple(_stages(opened, len(setting.lo)))
    except Refusal:
        if receipt.outcome == "ACCEPTED":
            raise
        return View(path, receipt)
    return _unchanged(View(path, receipt, opened, wanted, setting, stages))


def _unchanged(view: View) -> View:
    """The view, unless the bundle read is not the one that the kernel reported."""
    digest = view.receipt.bundle_digest
    if digest is not None and view.bundle is not None and digest != view.bundle.digest:
        raise Refusal(Code.DIGEST_MISMATCH, str(view.path), "the bundle changed while it was read; open it again")
    return view


def open_question(requirement: str | Path) -> View:
    """Open a requirement that has no bundle, for example to draw a counterexample: loop, domain and the named function at the demanded level.

    Raises
    ------
    Refusal
        When the requirement or a file that it names cannot be read.
    """
    path = Path(requirement)
    name = requirement_name(path)
    wanted = read_requirement(read_file(path, str(path)), name)
    controller = None if wanted.controller is None else read_file((path.parent / wanted.controller).resolve(), wanted.controller)
    setting = open_setting(wanted, plant_bytes(wanted, path.parent), controller)
    receipt = Receipt("DECLINED", Code.NO_PROOF_FOUND.name, str(path), "no bundle was checked", name, wanted.property)
    if wanted.lyapunov is None or wanted.level is None:
        return View(path, receipt, None, wanted, setting)
    graph = read_function(read_file((path.parent / wanted.lyapunov).resolve(), wanted.lyapunov), len(setting.lo), wanted.lyapunov)
    return View(path, receipt, None, wanted, setting, (StageView("demanded", "V", wanted.level, graph),))


def _stages(bundle: Bundle, n: int) -> list[StageView]:
    found = []
    shells = sorted((key for key in bundle.obligations if key.startswith("shell-")), key=lambda key: (len(key), key))
    for identifier in ["local", "whole", "gain", *shells]:
        proof = bundle.obligations.get(identifier, {})
        name, level = proof.get("function"), proof.get("level")
        if isinstance(name, str) and name in bundle.functions:
            found.append(StageView(identifier, name, parse(level, identifier), _function(bundle, name, n)))
    return found


def _function(bundle: Bundle, name: str, n: int) -> Graph:
    item = bundle.functions[name]
    if item["kind"] == "quadratic":
        return quadratic(parse_matrix(item["matrix"], name, n), parse_vector(item["center"], name, n)).graph
    if item["kind"] == "polynomial":
        return polynomial_graph(item["terms"], n, name)
    return read_function(bundle.read({key: value for key, value in item.items() if key != "kind"}, name), n, name)
