"""Bugs injected into the SDP layer: a solver that is believed, a test left out, a wrong slope, a plant replaced by its Taylor polynomial.

The solver is replaced by a least-squares guess throughout: it says "optimal" for whatever it is asked, which is the worst that a solver does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from corpus import GAIN, PUSHED, SIGNED, linear, node, onnx_model, plant, square
from injection import Replacement, demanded, never_exact

from verifiers import prove
from verifiers.kernel.graph import Builder
from verifiers.kernel.lipschitz import Differences, differences
from verifiers.kernel.polynomial import Polynomial
from verifiers.kernel.requirement import Box
from verifiers.kernel.setting import make_stage
from verifiers.kernel.tree import DECREASE, LEAF, NOTHING
from verifiers.load.floats import evaluate
from verifiers.region import attraction
from verifiers.region import quadratic as quad
from verifiers.sdp import bound, lipschitz, lyapunov, sector, sos, whole
from verifiers.sdp.programme import Programme, Solution
from verifiers.sdp.rounding import significant, symmetric
from verifiers.smt import branch_and_bound

CUBIC = plant([["x", 0], ["pow", 0, 3], ["sub", 1, 0]], [2])  # x' = x^3 - x: 1 rests
GROWING = plant([["x", 0]], [0])
TURNING = plant([["x", 0], ["x", 1], ["neg", 0]], [1, 2], n=2)  # a circle for ever
SINE = plant([["x", 0], ["sin", 0], ["neg", 1]], [2])  # x' = -sin x: pi rests


@dataclass(frozen=True)
class SdpClaim:
    """A false claim, why it is false, and a true twin where the honest prover reaches it."""

    files: dict[str, Callable[[], bytes]]
    text: str
    why: str
    twin: tuple[str, str] | None = None

    def write(self, folder: Path, false: bool = True) -> Path:
        """Write the requirement and its files; return the requirement's path."""
        folder.mkdir(parents=True, exist_ok=True)
        text = self.text if false or self.twin is None else self.text.replace(*self.twin)
        for name, made in self.files.items():
            (folder / name).write_bytes(made())
            text = text.replace(f"<{name}>", hashlib.sha256(made()).hexdigest())
        path = folder / "requirement.toml"
        path.write_text(text, encoding="utf-8")
        return path


def region(data: dict[str, Any], level: str, half: str, matrix: list[list[float]]) -> tuple[dict[str, Callable[[], bytes]], str]:
    """Files and text of a claim by sums of squares with V = |A x|^2."""
    n = len(data["states"])
    lo, hi = (", ".join([f'"{sign}{half}"'] * n) for sign in ("-", ""))
    text = ('property = "asymptotic_stability_roa"\nplant = { path = "p.plant.json", sha256 = "<p.plant.json>" }\nlyapunov = "lyapunov.onnx"\n'
            f'time = "continuous"\n[domain]\nlo = [{lo}]\nhi = [{hi}]\n[region]\nlevel = "{level}"\n[prover]\nmethod = "sos"\n')
    return {"p.plant.json": lambda: json.dumps(data).encode(), "lyapunov.onnx": square(matrix)}, text


def attracted(data: dict[str, Any], half: str, reach: str, method: str, parameters: str = "", after: str = "",
              controller: Callable[[], bytes] | None = None) -> tuple[dict[str, Callable[[], bytes]], str]:
    """Files and text of a claim about one state whose function is searched: the region contains [-reach, reach]."""
    files: dict[str, Callable[[], bytes]] = {"p.plant.json": lambda: json.dumps(data).encode()}
    named = ""
    if controller is not None:
        files["controller.onnx"], named = controller, 'controller = "controller.onnx"\n'
    return files, ('property = "asymptotic_stability_roa"\nplant = { path = "p.plant.json", sha256 = "<p.plant.json>" }\n' + named
                   + f'time = "continuous"\n{parameters}[domain]\nlo = ["-{half}"]\nhi = ["{half}"]\n[region]\n'
                   f'contains = {{ lo = ["-{reach}"], hi = ["{reach}"] }}\n[prover]\nmethod = "{method}"\n{after}')


def layers(act: str) -> Callable[[], bytes]:
    """A network of two inputs and three neurons whose Lipschitz constant is near 2 (for a slope of 1)."""
    return lambda: onnx_model(2, [node("MatMul", "x A", "h"), node(act, "h", "s"), node("MatMul", "s B", "y")],
                              {"A": [[2.0, 0.0, 0.5], [0.0, 1.0, 0.5]], "B": [[1.0], [0.25], [0.25]]})


def limit(value: str, more: str = "") -> str:
    """Text of a claim about a bound."""
    return f'property = "lipschitz_bound"\ncontroller = "controller.onnx"\n[bound]\nvalue = "{value}"\nnorm = "l2"\n{more}'


CLAIMS: dict[str, SdpClaim] = {
    "relu": SdpClaim({"controller.onnx": layers("Relu")}, limit("19/10"), "along (1, 0) the outputs differ by 2.1 times the difference"),
    "tanh": SdpClaim({"controller.onnx": layers("Tanh")}, limit("19/10"), "the same, near the origin"),
    "tanh_box": SdpClaim({"controller.onnx": layers("Tanh")}, limit("3/2", '[domain]\nlo = ["-1", "-1"]\nhi = ["1", "1"]\n'),
                         "near the origin, which the box holds, the quotient is above 2"),
    "cubic": SdpClaim(*region(CUBIC, "6/5", "3/2", [[1.0]]), "x = 1 is in the level set and rests there", ("6/5", "4/5")),
    "growing": SdpClaim(*region(GROWING, "1/2", "1", [[1.0]]), "every state but the origin leaves"),
    "turning": SdpClaim(*region(TURNING, "1/2", "1", [[1.0, 0.0], [0.0, 1.0]]), "the loop turns for ever"),
    "sine": SdpClaim(*region(SINE, "81/10", "3", [[0.9]]), "V is at most 7.3 in the domain, which the level set leaves; the plant is no polynomial"),
    "pushed": SdpClaim(*attracted(PUSHED, "2", "6/5", "sector", controller=linear([-3.0])), "x = 1.2 is beyond the limit of the input",
                       ("6/5", "1/2")),
    "spread": SdpClaim(*attracted(GAIN, "1", "9/10", "quadratic", '[parameters]\np = ["1", "3"]\n'), "with p = 3 the state 0.9 > 2/3 grows",
                       ("9/10", "2/5")),
    "ring": SdpClaim(*attracted(SIGNED, "1", "1/2", "quadratic", '[parameters]\np = ["1/200", "1/100"]\n'), "the origin repels"),
    "half_turn": SdpClaim(*attracted(SINE, "7/2", "33/10", "sos", after="degree = 4\n"), "pi rests, and beyond it the loop runs on to 2 pi",
                          ("33/10", "2")),
    "face": SdpClaim(*region(plant([["x", 0], ["neg", 0]], [1]), "2", "1", [[1.0]]), "the level set reaches beyond the domain"),
}


@dataclass(frozen=True)
class SdpBug:
    """A mistake, the threat, the false claims that are believed with the kernel's code for each, and the replacements."""

    threat: str
    mistake: str
    believed: dict[str, str]
    replace: Callable[[], list[Replacement]]


def guess(programmes: Sequence[Programme], **_: object) -> list[Solution]:
    """Calls the least-squares solution of the equalities "optimal"; without equalities, ones."""
    found = []
    for p in programmes:
        x = np.ones(p.objective.size)
        if p.equalities is not None:
            x = np.linalg.lstsq(p.equalities[0].toarray(), p.equalities[1], rcond=None)[0]
            x[0] = 1.0
        else:
            x[0] = 1e-9
        found.append(Solution(x, 0.0, "guess"))
    return found


SOLVER: list[Replacement] = [*((module, "solve", guess) for module in (lipschitz, lyapunov, sector, sos)), (bound, "refute_bound", lambda *_: None)]


def projected(polynomial: Polynomial, basis: Any, near: Any, bits: int = 40) -> Any:
    """The projection, not tested."""
    rounded, pairs = symmetric(near, bits), sos.pairs_of(basis)
    for monomial, places in pairs.items():
        rows, columns = zip(*places, strict=True)
        excess = rounded[rows, columns].sum() - polynomial.terms.get(monomial, Fraction(0))
        rounded[rows, columns] = rounded[rows, columns] - Fraction(excess) / len(places)
    return rounded


def halved(network: Any, domain: Box | None) -> Differences:
    """Every slope at most one half."""
    found = differences(network, domain)
    return dataclasses.replace(found, high=np.minimum(found.high, Fraction(1, 2)))


def small(network: Any, domain: Box | None) -> Differences:
    """The slopes at the corner of the domain instead of over it."""
    corner = None if domain is None else Box(tuple(v - Fraction(1, 10**6) for v in domain.hi), domain.hi)
    return differences(network, corner)


def fit_multipliers(values: Callable[[int], list[float]]) -> Callable[..., Any]:
    """Multipliers that are proved in the prover's own (wrong) differences, from a few tries."""
    def rounded(found: Differences, wanted: Fraction, _: Any) -> Any:
        tries = [tuple(significant([s * v for v in values(len(found.low))])) for s in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)]
        return next((t for t in tries if found.proves(wanted, t)), None)
    return rounded


def taylor(graph: Any, inputs: Sequence[Polynomial]) -> list[Polynomial]:
    """A sine is read as the first term of its series."""
    b = Builder()
    at: list[int] = []
    for n in graph.nodes:
        args = tuple(at[a] for a in n.args)
        at.append(b.input(n.size) if n.op == "input" else args[0] if n.op == "sin" else b._append(n.op, args, n.size, n.data))
    return whole_polynomials(b.build([at[k] for k in graph.outputs]), inputs)


whole_polynomials = whole.polynomials
BUGS: dict[str, SdpBug] = {
    "gram_not_tested": SdpBug("T06", "The Gram matrix is projected onto the identity and not tested: the solver said optimal.",
                              {"cubic": "NOT_DEFINITE"}, lambda: [(sos, "gram", projected)]),
    "multiplier_not_tested": SdpBug("T06", "Neither the multipliers nor the Gram matrix are tested.",
                                    {"growing": "NOT_DEFINITE", "turning": "NOT_DEFINITE", "cubic": "NOT_DEFINITE"},
                                    lambda: [(sos, "is_dominant_after_scaling", lambda _: True), (sos, "gram", projected)]),
    "identity_within_tolerance": SdpBug("T25", "The solver's Gram matrix, shifted to be definite, is taken where it misses the identity by a little.",
                                        {"cubic": "DECREASE"},
                                        lambda: [(sos, "gram", lambda p, basis, near, bits=40: symmetric(np.eye(len(basis)), bits))]),
    "sign_of_the_decrease": SdpBug("T14", "The decrease is built with the sign of V' instead of that of -V'.", {"growing": "DECREASE"},
                                   lambda: [(sos, "decrease", lambda v, f: sos_decrease(v, [p.times(MINUS) for p in f])), (sos, "gram", projected)]),
    "smaller_level_proved": SdpBug("T04", "A level that cannot be proved is replaced by a tenth of it, and the one demanded is claimed.",
                                   {"cubic": "DECREASE"}, lambda: [(whole, "prove_levels", tenth)]),
    "boundary_not_tested": SdpBug("T13", "Nobody asks whether the level set touches the boundary of the domain.", {"face": "CONTAINMENT"},
                                  lambda: [(whole, "boundary_tree", lambda _: bytes([LEAF + NOTHING]))]),
    "taylor_for_the_plant": SdpBug("T02", "A plant with a sine is replaced by its Taylor polynomial, without the remainder.", {"sine": "UNSUPPORTED"},
                                   lambda: [(whole, "polynomials", taylor), (whole, "evaluate_exact", lambda _, x: [0] * len(x)),
                                            (whole, "boundary_tree", lambda _: bytes([LEAF + NOTHING])), (sos, "gram", projected)]),
    "multipliers_not_tested": SdpBug("T06", "The rounded multipliers are written without a test: the solver said optimal.",
                                     {"relu": "NOT_DEFINITE", "tanh": "NOT_DEFINITE"},
                                     lambda: [(lipschitz, "_rounded", lambda found, wanted, values: tuple(significant(np.maximum(values, 0.0))))]),
    "negative_multipliers": SdpBug("T08", "Negative multipliers pass, for only the matrix is tested.", {"relu": "NOT_DEFINITE"},
                                   lambda: [(lipschitz, "_rounded", lambda found, wanted, values: tuple(significant(-np.ones(len(values)))))]),
    "slope_of_a_sigmoid": SdpBug("T09", "The slopes of all functions are taken to be at most one half.",
                                 {"relu": "NOT_DEFINITE", "tanh": "NOT_DEFINITE"},
                                 lambda: [(bound, "differences", halved), (lipschitz, "_rounded", fit_multipliers(lambda n: [1.0] * n))]),
    "slope_at_the_corner": SdpBug("T11", "The slopes over the domain are those at its corner.", {"tanh_box": "NOT_DEFINITE"},
                                  lambda: [(bound, "differences", small), (lipschitz, "_rounded", fit_multipliers(lambda n: [1.0] * n))]),
    "ellipsoid_of_the_sectors": SdpBug("T06", "The solver says that the ellipsoid of the sectors is attracted, so no tree is grown.",
                                       {"pushed": "DECREASE"}, lambda: [*WHOLE_DOMAIN, *ONE_LEAF]),
    "chords_at_the_equilibrium": SdpBug("T09", "The chords are slopes at the equilibrium, where no input saturates, and the tree is left out.",
                                        {"pushed": "DECREASE"}, lambda: [(sector, "chords", tangents), *WHOLE_DOMAIN, *ONE_LEAF]),
    "corners_for_the_interval": SdpBug("T02", "What falls at the corners of the unknown constants is taken to fall in between, and far out.",
                                       {"spread": "DECREASE"}, lambda: [*WHOLE_DOMAIN, *ONE_LEAF]),
    "middle_for_the_interval": SdpBug("T02", "A common quadratic is sought for the middle of the unknown constants alone.", {"spread": "DECREASE"},
                                      lambda: [*demanded(parameters=middles), (prove, "corner_loops", lambda *_: ()), *never_exact()]),
    "local_proof_not_tested": SdpBug("T06", "The inequality for the common quadratic is called solved, so the local test is left out.",
                                     {"ring": "LOCAL_DECREASE"}, lambda: [(quad, "local_proof", believed_locally), *WHOLE_DOMAIN, *ONE_LEAF]),
    "fit_believed": SdpBug("T11", "The fitted polynomial falls on all samples, so a level set is claimed without a tree.",
                           {"half_turn": "DECREASE"}, lambda: [(attraction, "_largest", largest_value), *ONE_LEAF]),
    "larger_bound_claimed": SdpBug("T04", "A bound that cannot be proved is quietly replaced by twice the bound.", {"relu": "CLAIM_MISMATCH"},
                                   lambda: [(prove, "claim_of", lambda r: claim_of(dataclasses.replace(r, bound=2 * r.bound))),
                                            (lipschitz, "_rounded", lambda found, wanted, values: tuple(significant(np.ones(len(values)))))]),
}
sos_decrease, prove_levels, claim_of, sector_chords = sos.decrease, whole.prove_levels, prove.claim_of, sector.chords
MINUS = Polynomial({(0,): Fraction(-1)})


ONE_LEAF: list[Replacement] = [(attraction, "search", lambda *_, **__: branch_and_bound.Outcome(bytes([LEAF + DECREASE]), True))]
WHOLE_DOMAIN: list[Replacement] = [(quad, "sampled_level", lambda loop, p, origin, lo, hi, *_: 0.999 * float(p[0, 0] * hi[0] ** 2))]


def tangents(found: Any, reach: Any, rows: Any) -> Any:
    """The chords of an interval that is next to nothing."""
    low, high, _ = sector_chords(found, 1e-6 * np.asarray(reach), 1e-6 * np.asarray(rows))
    return low, high, sector_chords(found, reach, rows)[2]


def middles(intervals: dict[str, tuple[Fraction, Fraction]]) -> dict[str, tuple[Fraction, Fraction]]:
    """Every interval replaced by its middle."""
    return {k: ((a + b) / 2, (a + b) / 2) for k, (a, b) in intervals.items()}


def believed_locally(field: Any, time: str, quadratic: Any, where: Any, domain: Any, rate: Any, level: Fraction, linear: bool,
                     *_: object) -> quad.Local:
    """A local proof that nobody has tested, at a small level."""
    small = min(level, Fraction(1, 10**6))
    return quad.Local("jacobian_lmi", (Fraction(1, 10),) * len(quadratic.origin), small)


def largest_value(work: Any, source: Any, low: float, top: float) -> Any:
    """A level above all values in the box demanded, with a tree of one leaf."""
    box = work.setting.requirement.contains
    points = np.linspace(float(box.lo[0]), float(box.hi[0]), 1001)[:, None]
    level = Fraction(1.01 * float(evaluate(source.network, points).max()))
    return level, make_stage(work.setting, source, level, None), bytes([LEAF + DECREASE])


def tenth(problem: Any, levels: Sequence[Fraction], **options: Any) -> Any:
    """The proof of a tenth of the level, handed out as that of the level."""
    fields = {"basis": [[1]], "gram": [["1"]], "multipliers": [{"of": "level", "basis": [[1]], "gram": [["2"]]}]}
    return levels[0], fields
