"""Regions of attraction side by side with Drake's RegionOfAttraction in one run: level, time, and who can prove theirs."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

from benchmarks.harness import Check, Report, Table
from benchmarks.sdp_loops import affine_row
from verifiers.kernel.graph import Builder
from verifiers.kernel.stage import quadratic
from verifiers.load.to_onnx import to_onnx
from verifiers.prove import Verdict, verify

CLAIM = "Beside Drake's RegionOfAttraction: every level of ours is proved, and what Drake calls certified is above the truth on each of these loops"
PEER = "CERTCTL_DRAKE_PYTHON"
NOTES = (
    "Both are given the same loop and the same quadratic V and asked for the largest level. Drake's seconds are those of the call alone, in a "
    "process of its own; its import is not counted. Ours are the whole way: the solver's process, exact proof, bundle, check.",
    "`Drake's, put to us` is the answer of `certctl verify` to exactly the float that Drake returns: refuted with a state that is replayed exactly, "
    "or undecided. `and 0.1 % less` is the answer to that. Drake itself hands out no certificate that another program could check.",
    "Drake takes polynomials: for the pendulum it gets what its users give it, the sine's Taylor polynomial of degree 5, and that loop is not "
    "the pendulum. Ours is proved for the sine. The star is Drake's issue 12876. True levels are exact for star and cubic, else those at which V' "
    "first vanishes along rays, in floats.",
    f"Drake is run when {PEER} names a Python that has the package `drake` (it is no dependency).",
)
Terms = Mapping[tuple[int, ...], Fraction]
_CHILD = """
import json, sys, time
from pydrake.symbolic import MakeVectorVariable
from pydrake.systems.analysis import RegionOfAttraction, RegionOfAttractionOptions
from pydrake.systems.primitives import SymbolicVectorSystem
given = json.loads(sys.stdin.read())
x = MakeVectorVariable(2, "x")
polynomial = lambda terms: sum(v * x[0] ** a * x[1] ** b for (a, b), v in terms)
system = SymbolicVectorSystem(state=x, dynamics=[polynomial(f) for f in given["field"]])
context = system.CreateDefaultContext()
context.SetContinuousState([0.0, 0.0])
options = RegionOfAttractionOptions()
options.lyapunov_candidate, options.state_variables = polynomial(given["v"]), x
began = time.perf_counter()
found = RegionOfAttraction(system, context, options)
seconds = time.perf_counter() - began
at = {x[0]: 0.75, x[1]: 0.25}
print(json.dumps([options.lyapunov_candidate.Evaluate(at) / found.Evaluate(at), seconds]))
"""


@dataclass(frozen=True)
class Loop:
    """A loop in the plane and a quadratic: what Drake gets, what a requirement says of the plant and of time, and the true largest level.

    Attributes
    ----------
    field : tuple of mapping
        The polynomials that Drake gets, by exponents.
    v : tuple of tuple of str
        P of V = x' P x.
    plant : str or None
        A shipped plant with its parameters as TOML; None where the polynomials themselves are the plant.
    law : tuple of str, or None
        The gains of u, which is linear.
    half : (str, str)
        Half-widths of the domain.
    top : float
        The true largest level.
    """

    field: tuple[Terms, ...]
    v: tuple[tuple[str, str], tuple[str, str]]
    plant: str | None
    law: tuple[str, str] | None
    half: tuple[str, str]
    top: float


def terms(table: Mapping[tuple[int, ...], str | int | Fraction]) -> Terms:
    """Coefficients as rationals."""
    return {m: Fraction(v) for m, v in table.items()}


def star() -> tuple[Terms, ...]:
    """x' = (U - 1) grad U with U = 100 x^4 - 384 x^2 y^2 + 400 y^4; the Jacobian at the origin is zero."""
    u, fields = terms({(4, 0): 100, (2, 2): -384, (0, 4): 400}), []
    for i in range(2):
        slope = {tuple(k - (j == i) for j, k in enumerate(m)): v * m[i] for m, v in u.items() if m[i]}
        total = {m: -v for m, v in slope.items()}
        for a, p in u.items():
            for b, q in slope.items():
                m = tuple(map(int.__add__, a, b))
                total[m] = total.get(m, Fraction(0)) + p * q
        fields.append(total)
    return tuple(fields)


LQR = ("20.117090", "6.322163")
LOOPS = {
    "reversed van der Pol": Loop(
        (terms({(0, 1): -1}), terms({(1, 0): 1, (0, 1): -1, (2, 1): 1})), (("3/2", "-1/2"), ("-1/2", "1")), 'plant = "reversed_van_der_pol"\n', None,
        ("3", "3"), 2.304477564999),
    "star": Loop(star(), (("1", "0"), ("0", "1")), None, None, ("1", "1"), 0.05),
    "cubic": Loop((terms({(1, 0): -1, (3, 0): 1}), terms({(0, 1): -1})), (("1", "0"), ("0", "1")), None, None, ("2", "2"), 1.0),
    "pendulum under LQR": Loop(
        (terms({(0, 1): 1}), terms({(1, 0): Fraction("9.81") - Fraction(LQR[0]), (3, 0): -Fraction("9.81") / 6, (5, 0): Fraction("9.81") / 120,
                                    (0, 1): -Fraction("0.1") - Fraction(LQR[1])})),
        (("67.174812", LQR[0]), LQR), 'plant = "pendulum"\nparameters = { m = "1", l = "1", b = "0.1", g = "9.81", torque_limit = "1000" }\n', LQR,
        ("3", "12"), 18.344135),
}


@dataclass(frozen=True)
class Settings:
    """What to run: loops, the seconds that each search of ours and each call of the peer is given."""

    loops: tuple[str, ...] = tuple(LOOPS)
    budget: float = 300.0
    limit: float = 300.0


def peer(loop: Loop, limit: float) -> tuple[float, float] | None:
    """Level and seconds of Drake; None where it is not there, does not finish or fails."""
    python = os.environ.get(PEER)
    if not python:
        return None
    v = {(2, 0): Fraction(loop.v[0][0]), (1, 1): 2 * Fraction(loop.v[0][1]), (0, 2): Fraction(loop.v[1][1])}
    given = {"field": [[[list(m), float(v)] for m, v in f.items()] for f in loop.field], "v": [[list(m), float(q)] for m, q in v.items()]}
    try:
        ran = subprocess.run([python, "-c", _CHILD], input=json.dumps(given), capture_output=True, text=True, timeout=limit, check=True)
        level, seconds = map(float, json.loads(ran.stdout.strip().splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None
    return level, seconds


def ask(folder: Path, loop: Loop, level: str, budget: float) -> Verdict:
    """The answer of the one door to this loop and V at a level."""
    folder.mkdir(parents=True)
    lo, hi = (", ".join(f'"{sign}{q}"' for q in loop.half) for sign in ("-", ""))
    plant, law = loop.plant, ""
    if plant is None:
        data = polynomial_plant(loop.field, loop.half)
        (folder / "own.plant.json").write_bytes(data)
        plant = f'plant = {{ path = "own.plant.json", sha256 = "{sha256(data).hexdigest()}" }}\n'
    if loop.law is not None:
        b = Builder()
        (folder / "controller.onnx").write_bytes(to_onnx(b.build([b.affine(b.input(2), affine_row(*(f"-{k}" for k in loop.law), "0"))])))
        law = 'controller = "controller.onnx"\n'
    (folder / "V.onnx").write_bytes(to_onnx(quadratic([[Fraction(q) for q in row] for row in loop.v], [Fraction(0)] * 2).graph))
    path = folder / "requirement.toml"
    path.write_text(f'property = "asymptotic_stability_roa"\ntime = "continuous"\nlyapunov = "V.onnx"\n{law}{plant}[domain]\nlo = [{lo}]\n'
                    f'hi = [{hi}]\n[region]\nlevel = "{level}"\nmin_volume = "1/1000"\n[prover]\nmethod = "sos"\n', encoding="utf-8")
    return verify(path, budget=budget)


def polynomial_plant(field: Sequence[Terms], half: Sequence[str]) -> bytes:
    """plant.json of x' = f(x) with these polynomials."""
    n, outputs = len(field), []
    nodes: list[list[object]] = [["x", i] for i in range(n)]
    for polynomial in field:
        parts = []
        for monomial, value in polynomial.items():
            nodes.append(["c", str(value)])
            for i, k in enumerate(monomial):
                nodes += [["pow", i, k], ["mul", len(nodes) - 1, len(nodes)]]
            parts.append(len(nodes) - 1)
        total = parts[0]
        for part in parts[1:]:
            nodes.append(["add", total, part])
            total = len(nodes) - 1
        outputs.append(total)
    return json.dumps({
        "format": "certctl-plant/1", "name": "polynomial", "time": "continuous", "dt": None, "inputs": [], "parameters": [],
        "states": [{"name": f"x{i}", "unit": "1", "angle": False} for i in range(n)], "equilibrium": {"x": ["0"] * n, "u": []},
        "domain": {"lo": [f"-{q}" for q in half], "hi": list(half)}, "nodes": nodes, "outputs": outputs, "reference": "benchmarks"}).encode()


def run(settings: Settings | None = None) -> Report:
    """Ask both for the largest level, and ours for Drake's."""
    s = settings or Settings()
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for k, name in enumerate(s.loops):
            loop, place = LOOPS[name], Path(folder) / str(k)
            ours = ask(place / "ours", loop, "max", s.budget)
            receipt = ours.receipt if ours.outcome == "PROVED" else None
            level = None if receipt is None or receipt.region is None else float(Fraction(receipt.region["level"]))
            near = level is not None and 0.98 * loop.top <= level <= loop.top
            checks.append(Check(f"{name}: a level of at least 98 % of the true one is proved", near))
            theirs = peer(loop, s.limit)
            put, less = (None, None) if theirs is None else (
                ask(place / str(j), loop, str(Fraction(theirs[0] * q)), s.budget).outcome.lower() for j, q in enumerate((1.0, 0.999)))
            above = None if theirs is None else theirs[0] > loop.top
            false = None if above is None else above and put != "proved"
            checks.append(Check(f"{name}: Drake's level is above the truth, and not proved by ours", false))
            told = (None, None) if theirs is None else (f"{theirs[0]:.10g}", theirs[1])
            rows.append((name, f"{loop.top:.10g}", None if level is None else f"{level:.10g}", ours.search_s,
                         None if receipt is None else receipt.check_s, *told, put, less))
    heads = ("loop", "true level", "ours, proved", "search s", "check s", "Drake's level", "Drake's s", "Drake's, put to us", "and 0.1 % less")
    return Report(CLAIM, tuple(checks), (Table("Largest level of a given quadratic", heads, tuple(rows)),), NOTES)
