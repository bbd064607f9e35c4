"""The published pairs in the plane are proved in seconds on two cores, the hole at the equilibrium included."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath

from benchmarks import pairs, precise
from benchmarks.harness import Check, Report, Table, median

CLAIM = "The published pairs in the plane are proved in seconds on two cores, the hole at the equilibrium included"
GPU = {"van_seed0": 3.9, "pendulum_big_seed3": 3.6, "path_big_seed0": 3.8}
"""Published seconds of alpha-beta-CROWN for the shell alone, on an RTX 5090."""
DREAL = {"van_seed0": 39_265.0, "pendulum_big_seed3": 1_480.0}
"""Published seconds of dReal for the same shells."""
LEAST_SHARE = 0.99
SECONDS = 60.0
NOTES = (
    "Each run is `verify` in a fresh process: falsify, prove equilibrium, local region, shells, containment and volume, write the bundle, "
    "check it with the kernel. Search, check, wall and CPU seconds are medians over the runs; wall and CPU are of the whole process tree, "
    "start-up of Python included.",
    "The discrete-time pairs are asked with the published rate kappa, as `exponential_stability_roa`; the others as "
    "`asymptotic_stability_roa`.",
    "Grid volume: share of the midpoints of a dense grid with V at most the level proved, by the float64 reading of the ONNX networks; an "
    "estimate. The certified volume is the kernel's lower bound.",
    "Published seconds: alpha-beta-CROWN on an RTX 5090, and dReal, both for the decrease on c1 <= V <= c2 at the published level only: no "
    "hole, no kernel, another machine. They are quoted, not measured here; the ratio is the published seconds over the wall seconds measured "
    "here. In the rows `max` the level is not quite theirs. A dash: no figure is known, or nothing was proved.",
    "The sentence of the enclosures speaks of the argument of V's sigmoid where V ends in one: its slope is that of V times 1/(V (1 - V)).",
)


@dataclass(frozen=True)
class Settings:
    """What to run: pairs, repetitions, grid points a side, seconds for a search, and processes."""

    names: tuple[str, ...] = pairs.PLANE
    levels: tuple[str, ...] = ("published", "max")
    repeat: int = 3
    grid: int = 2000
    budget: float = 600.0
    workers: int = 2


def run(settings: Settings | None = None) -> Report:
    """Prove each pair at its published level and at the largest level that goes through."""
    s = settings or Settings()
    answers: list[tuple[pairs.Pair, str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in s.names:
            pair = pairs.read_pair(name)
            for asked in s.levels:
                answers.append((pair, asked, _answer(pair, asked, Path(folder) / name / asked, s)))
    checks = [_check(pair, asked, a) for pair, asked, a in answers]
    proved = [a for _, _, a in answers if a["outcome"] == "PROVED"]
    shares = [a["share"] for a in proved]
    slowest = max(a["wall"] for _, _, a in answers)
    checks.append(Check(f"every answer came within {SECONDS:.0f} s, process start included (slowest {slowest:.1f} s)", slowest <= SECONDS))
    checks.append(Check(f"every certified volume is at least {LEAST_SHARE} of the grid volume" + (f" (least {min(shares):.4f})" if shares else ""),
                        min(shares) >= LEAST_SHARE if shares else None))
    tables = [_proofs(answers, s), _comparison(answers)]
    if any(a["outcome"] == "REFUTED" for _, _, a in answers):
        tables.append(_witnesses(answers))
    return Report(CLAIM, tuple(checks), tuple(tables), NOTES)


def _answer(pair: pairs.Pair, asked: str, folder: Path, s: Settings) -> dict[str, Any]:
    """Median figures of the runs; the verdicts must agree."""
    path = pair.write(folder, pair.level if asked == "published" else asked)
    runs = [pairs.prove(path, budget=s.budget, workers=s.workers) for _ in range(s.repeat)]
    keys = {(r["outcome"], r["level"]) for r in runs}
    if len(keys) != 1:
        raise RuntimeError(f"{pair.name}: the runs disagree: {sorted(map(str, keys))}")
    out = dict(runs[0])
    for key in ("search_s", "check_s", "wall", "cpu"):
        out[key] = None if runs[0][key] is None else median([r[key] for r in runs])
    if out["outcome"] == "PROVED":
        out["grid"] = pairs.grid_volume(pair.network(), float(Fraction(out["level"])), pair.box, s.grid)
        out["share"] = out["volume"] / out["grid"]
    if out["outcome"] == "REFUTED" and pair.case["time"] == "continuous":
        setting = pair.setting()
        out["value"], out["slope"] = precise.value_and_slope(pair.network(), setting.loop.field, out["x"])
    return out


def _check(pair: pairs.Pair, asked: str, a: dict[str, Any]) -> Check:
    """Proved, or refuted by a witness that 40-digit arithmetic confirms; anything else breaks the claim."""
    if a["outcome"] == "REFUTED" and "value" in a:
        holds = bool(a["value"] <= mpmath.mpf(pair.level) and a["slope"] > 0)
        return Check(f"{pair.name} at the published level {pair.level} is false, and {precise.DIGITS}-digit arithmetic confirms the witness", holds)
    level = "" if a["level"] is None else f" (level {float(Fraction(a['level'])):.9g})"
    return Check(f"{pair.name}, level asked: {asked}{level}: {a['outcome']}", a["outcome"] == "PROVED")


def _proofs(answers: list[tuple[pairs.Pair, str, dict[str, Any]]], s: Settings) -> Table:
    rows = []
    for pair, asked, a in answers:
        level = None if a["level"] is None else f"{float(Fraction(a['level'])):.9g}"
        rows.append((pair.name, pair.level if asked == "published" else asked, a["outcome"], level, a["search_s"], a["boxes"], a["check_s"],
                     a["leaves"], a["volume"], a.get("grid"), a.get("share"), a["wall"], a["cpu"]))
    return Table(f"Proofs, {s.workers} processes, median of {s.repeat}, grid {s.grid} x {s.grid}",
                 ("pair", "level asked", "outcome", "level proved", "search s", "boxes", "check s", "leaves", "certified volume >=", "grid volume",
                  "ratio", "wall s", "CPU s"), tuple(rows))


def _comparison(answers: list[tuple[pairs.Pair, str, dict[str, Any]]]) -> Table:
    rows = []
    for pair, asked, a in answers:
        peers = [published.get(pair.name) for published in (GPU, DREAL)]
        ratios = [None if p is None or a["outcome"] != "PROVED" else p / a["wall"] for p in peers]
        rows.append((pair.name, asked, a["outcome"], a["wall"], a["cpu"], peers[0], ratios[0], peers[1], ratios[1]))
    return Table("Against the published times for the shell alone",
                 ("pair", "level", "outcome", "wall s here", "CPU s here", "RTX 5090 s, published", "ratio", "dReal s, published",
                  "ratio "), tuple(rows))


def _witnesses(answers: list[tuple[pairs.Pair, str, dict[str, Any]]]) -> Table:
    rows = []
    for pair, asked, a in answers:
        if a["outcome"] == "REFUTED":
            with mpmath.workdps(precise.DIGITS):
                rows.append((pair.name, pair.level if asked == "published" else asked, ", ".join(repr(v) for v in a["x"]), a["message"],
                             mpmath.nstr(a["value"], 15) if "value" in a else None, mpmath.nstr(a["slope"], 8) if "slope" in a else None))
    return Table(f"Witnesses (exact binary states), re-evaluated in {precise.DIGITS}-digit arithmetic",
                 ("pair", "level", "state", "what the enclosures prove", "V", "dV/dt"), tuple(rows))
