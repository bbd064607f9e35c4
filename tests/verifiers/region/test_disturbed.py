"""Sets that a loop never leaves whatever a bounded disturbance does: near the rest V may rise, on the edge of the set it may not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from verifiers.kernel.check import check
from verifiers.prove import verify

# x'' = -x - x^3 - 2 x' + d, and x+ = x/2 + d, v+ = v/2 - x/2
SPRING = [["x", 0], ["x", 1], ["p", "d"], ["pow", 0, 3], ["add", 0, 3], ["neg", 4], ["sub", 5, 1], ["sub", 6, 1], ["add", 7, 2]]
STEP = [["x", 0], ["x", 1], ["p", "d"], ["c", "1/2"], ["mul", 3, 0], ["mul", 3, 1], ["add", 4, 2], ["sub", 5, 4]]


def case(folder: Path, d: str, time: str = "continuous", region: str = 'min_volume = "1"') -> Path:
    """A loop of two states with a disturbance in an interval, and no function named."""
    nodes, outputs = (SPRING, [1, 8]) if time == "continuous" else (STEP, [6, 7])
    data = json.dumps({
        "format": "certctl-plant/1", "name": "pushed", "time": time, "dt": None if time == "continuous" else "1", "inputs": [],
        "states": [{"name": "x", "unit": "m", "angle": False}, {"name": "v", "unit": "m/s", "angle": False}],
        "parameters": [{"name": "d", "unit": "m/s^2", "value": "0"}], "equilibrium": {"x": ["0", "0"], "u": []},
        "domain": {"lo": ["-3", "-3"], "hi": ["3", "3"]}, "nodes": nodes, "outputs": outputs, "reference": "tests"}).encode()
    (folder / "p.plant.json").write_bytes(data)
    path = folder / "requirement.toml"
    path.write_text('property = "forward_invariance"\n' f'plant = {{ path = "p.plant.json", sha256 = "{hashlib.sha256(data).hexdigest()}" }}\n'
                    f'time = "{time}"\n' + ('dt = "1"\n' if time == "discrete" else "")
                    + f'[parameters]\nd = ["-{d}", "{d}"]\n[domain]\nlo = ["-3", "-3"]\nhi = ["3", "3"]\n[region]\n{region}\n')
    return path


@pytest.mark.parametrize(("time", "d"), [("continuous", "1/5"), ("continuous", "1"), ("discrete", "1/5")])
def test_a_set_is_kept_under_every_disturbance_in_the_interval(time, d, tmp_path):
    path = case(tmp_path, d, time)
    verdict = verify(path, workers=1)
    assert verdict.outcome == "PROVED", verdict
    assert check(path.with_suffix(".cert"), path).outcome == "ACCEPTED"


@pytest.mark.threat("T02")
def test_a_disturbance_beyond_what_the_set_bears_is_not_proved(tmp_path):
    """With d = 40 the spring rests beyond the domain."""
    assert verify(case(tmp_path, "40"), workers=1).outcome == "UNKNOWN"
