"""Linear loops: the unstable D2OC horizon is refuted, the stable ones are proved, and no loop at the border is misjudged."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pairs
from benchmarks.harness import CASES, Check, Report, Table, median

CLAIM = "Linear loops: the unstable D2OC horizon is refuted, the stable ones are proved, and no loop at the border is misjudged"
NOTES = (
    "D2OC: the published A, B, K of the agent loop, horizon H, in discrete time with dt = 1/10, a ball of radius 0.001 demanded; A + B K is "
    "composed exactly from the decimal texts of the file. The spectral radius is NumPy's, for orientation: no verdict rests on it.",
    "Loops at the border, with e given: `scalar` x' = e x; `coupled` x1' = -x1 + x2, x2' = e x2; in discrete time x+ = (1 + e) x, and x1+ = "
    "x1/2 + x2, x2+ = (1 + e) x2. Whether they are stable is the sign of e.",
    "UNKNOWN is an honest answer, not a right one: no quadratic could be proved for that loop.",
    "Seconds are of a fresh process.",
)
Matrix = list[list[Fraction]]


@dataclass(frozen=True)
class Settings:
    """What to run: D2OC horizons, distances of the eigenvalue from the border, repetitions, seconds for a search."""

    horizons: tuple[int, ...] = (10, 13, 15, 20)
    distances: tuple[str, ...] = ("-1/1000000", "1/1000000", "-1/1000000000", "1/1000000000")
    repeat: int = 3
    budget: float = 60.0


@dataclass(frozen=True)
class Loop:
    """A linear loop: name, x' = M x or x+ = M x, its time, and whether it is known to be stable."""

    name: str
    matrix: Matrix
    time: str
    stable: bool

    @property
    def measure(self) -> float:
        """Spectral radius in discrete time, spectral abscissa (1/s) in continuous time, in floats."""
        values = np.linalg.eigvals(np.array([[float(v) for v in row] for row in self.matrix]))
        return float(np.abs(values).max() if self.time == "discrete" else values.real.max())

    def plant(self) -> dict[str, Any]:
        """The loop as the straight-line program of ``certctl-plant/1``, without inputs."""
        n = len(self.matrix)
        nodes: list[list[Any]] = [["x", i] for i in range(n)]
        outputs = []
        for row in self.matrix:
            total = None
            for i, value in enumerate(row):
                if value:
                    nodes += [["c", str(value)], ["mul", len(nodes), i]]
                    if total is not None:
                        nodes.append(["add", total, len(nodes) - 1])
                    total = len(nodes) - 1
            if total is None:
                nodes.append(["c", "0"])
            outputs.append(len(nodes) - 1)
        return {"format": "certctl-plant/1", "name": "linear_loop", "time": self.time, "dt": "1/10" if self.time == "discrete" else None,
                "states": [{"name": f"x{i + 1}", "unit": "1", "angle": False} for i in range(n)], "inputs": [], "parameters": [],
                "equilibrium": {"x": ["0"] * n, "u": []}, "domain": {"lo": ["-1"] * n, "hi": ["1"] * n}, "nodes": nodes, "outputs": outputs,
                "reference": "Linear loop of the benchmark linear_loops."}

    def write(self, folder: Path) -> Path:
        """Write plant and requirement into a new folder; return the requirement's path."""
        folder.mkdir(parents=True)
        data = json.dumps(self.plant()).encode()
        (folder / "loop.plant.json").write_bytes(data)
        n = len(self.matrix)
        lines = ['property = "asymptotic_stability_roa"', f'plant = {{ path = "loop.plant.json", sha256 = "{sha256(data).hexdigest()}" }}',
                 f'time = "{self.time}"', *(['dt = "1/10"'] if self.time == "discrete" else []), "[domain]", f"lo = {json.dumps(['-1'] * n)}",
                 f"hi = {json.dumps(['1'] * n)}", "[region]", 'min_radius = "0.001"']
        path = folder / "requirement.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def d2oc(horizon: int) -> Loop:
    """The closed D2OC agent loop A + B K, exact.

    Raises
    ------
    FileNotFoundError
        When the reference cases are not on this machine.
    """
    path = CASES / "linear" / f"d2oc_H{horizon}.json"
    if not path.is_file():
        raise FileNotFoundError(f"the reference case {path.name} is absent; put the reference cases beside the repository")
    data = json.loads(path.read_text(encoding="utf-8"), parse_float=Fraction, parse_int=Fraction)
    a, b, k = data["A"], data["B"], data["K"]
    n, m = len(a), len(k)
    closed = [[a[i][j] + sum((b[i][p] * k[p][j] for p in range(m)), Fraction(0)) for j in range(n)] for i in range(n)]
    return Loop(f"d2oc_H{horizon}", closed, "discrete", float(data["spectral_radius_of_A_plus_BK"]) < 1)


def at_the_border(distance: str, time: str, states: int) -> Loop:
    """One or two states, one eigenvalue at ``distance`` from the border of stability, in triangular form, so that the truth is known."""
    e, one = Fraction(distance), Fraction(1)
    fast, slow = (-one, e) if time == "continuous" else (one / 2, one + e)
    matrix = [[slow]] if states == 1 else [[fast, one], [Fraction(0), slow]]
    return Loop(f"{'scalar' if states == 1 else 'coupled'}, {time}, e = {float(e):g}", matrix, time, e < 0)


def run(settings: Settings | None = None) -> Report:
    """Verify each loop in fresh processes and compare with what is known of it."""
    s = settings or Settings()
    border = [at_the_border(d, time, n) for n in (1, 2) for time in ("continuous", "discrete") for d in s.distances]
    rows, checks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i, loop in enumerate([*(d2oc(h) for h in s.horizons), *border]):
            path = loop.write(Path(folder) / str(i))
            runs = [pairs.prove(path, budget=s.budget, workers=1) for _ in range(s.repeat)]
            outcomes = {r["outcome"] for r in runs}
            right = outcomes <= ({"PROVED"} if loop.stable else {"REFUTED", "REFUSED"})
            undecided = loop in border and outcomes == {"UNKNOWN"}
            says = f"{loop.name} is {'stable' if loop.stable else 'unstable'}: {', '.join(sorted(outcomes))}"
            checks.append(Check(says, None if undecided else right))
            rows.append((loop.name, f"{loop.measure:.10g}", ", ".join(sorted(outcomes)), runs[0]["code"], median([r["search_s"] for r in runs]),
                         None if runs[0]["check_s"] is None else median([r["check_s"] for r in runs]), median([r["wall"] for r in runs]),
                         median([r["cpu"] for r in runs])))
    return Report(CLAIM, tuple(checks), (Table(
        f"Linear loops, one process, median of {s.repeat}", ("loop", "spectral radius (abscissa)", "outcome", "code", "search s", "check s", "wall s",
                                                             "CPU s"), tuple(rows)),), NOTES)
