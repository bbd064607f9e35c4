"""False claims, false by construction and each with its reason: small plants, functions and requirements that no honest check may accept.

Beside each stands its true twin, so that a refusal of the false one says something.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

Program = list[list[Any]]


@dataclass(frozen=True)
class Claim:
    """A requirement in small: plant, function, and the lines that differ between the true and the false twin."""

    name: str
    plant: dict[str, Any]
    text: str
    true: str
    false: str
    why: str
    lyapunov: Callable[[], bytes] | None = None
    controller: Callable[[], bytes] | None = None

    def write(self, folder: Path, false: bool = True) -> Path:
        """Write the requirement and its files; return the requirement's path."""
        folder.mkdir(parents=True, exist_ok=True)
        data = json.dumps(self.plant).encode()
        (folder / "p.plant.json").write_bytes(data)
        head = f'plant = {{ path = "p.plant.json", sha256 = "{hashlib.sha256(data).hexdigest()}" }}\n'
        for name, made in (("lyapunov", self.lyapunov), ("controller", self.controller)):
            if made is not None:
                (folder / f"{name}.onnx").write_bytes(made())
                head += f'{name} = "{name}.onnx"\n'
        path = folder / "requirement.toml"
        path.write_text(head + self.text + (self.false if false else self.true), encoding="utf-8")
        return path


def plant(nodes: Program, outputs: list[int], *, time: str = "continuous", n: int = 1, inputs: int = 0, limit: str = "1") -> dict[str, Any]:
    """A plant.json of n states x0, x1, ... with inputs limited to +-limit, at rest in the origin."""
    return {"format": "certctl-plant/1", "name": "test", "time": time, "dt": "1" if time == "discrete" else None,
            "states": [{"name": f"x{i}", "unit": "1", "angle": False} for i in range(n)],
            "inputs": [{"name": f"u{i}", "unit": "1", "lo": f"-{limit}", "hi": limit} for i in range(inputs)],
            "parameters": [{"name": "p", "unit": "1", "value": "1"}],
            "equilibrium": {"x": ["0"] * n, "u": ["0"] * inputs}, "domain": {"lo": ["-9"] * n, "hi": ["9"] * n},
            "nodes": nodes, "outputs": outputs, "reference": "tests"}


def onnx_model(n: int, nodes: list[Any], tensors: dict[str, Any]) -> bytes:
    """An ONNX file from x (1, n) to y (1, 1)."""
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
                              [numpy_helper.from_array(np.array(v, dtype=np.float32), k) for k, v in tensors.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def node(op: str, inputs: str, output: str) -> Any:
    """A node without attributes."""
    return helper.make_node(op, inputs.split(), [output])


def square(rows: list[list[float]]) -> Callable[[], bytes]:
    """``|A x|**2``, A given by its rows."""
    return lambda: onnx_model(len(rows[0]), [node("MatMul", "x A", "h"), node("Mul", "h h", "q"), node("MatMul", "q one", "y")],
                              {"A": np.array(rows).T, "one": [[1.0]] * len(rows)})


def bump(bend: float) -> Callable[[], bytes]:
    """``z - bend z**2`` with ``z = x**2``: it rises, and falls again."""
    return lambda: onnx_model(1, [node("Mul", "x x", "z"), node("Mul", "z z", "w"), node("Mul", "w b", "c"), node("Sub", "z c", "y")],
                              {"b": [[bend]]})


def absolute() -> bytes:
    """``relu(x) + relu(-x)``."""
    return onnx_model(1, [node("MatMul", "x A", "h"), node("Relu", "h", "r"), node("MatMul", "r one", "y")], {"A": [[1.0, -1.0]], "one": [[1.0],
        [1.0]]})


def linear(gain: list[float]) -> Callable[[], bytes]:
    """``u = K x``."""
    return lambda: onnx_model(len(gain), [node("MatMul", "x K", "y")], {"K": [[k] for k in gain]})


def spike() -> bytes:
    """A pyramid of height 1 and half-width 2**-10 at x = 0.53, and zero elsewhere."""
    width, at = 2.0**-10, 0.53
    return onnx_model(1, [node("MatMul", "x A", "h"), node("Add", "h b", "z"), node("Relu", "z", "r"), node("MatMul", "r c", "y")],
                      {"A": [[1 / width] * 3], "b": [[1 - at / width, -at / width, -1 - at / width]], "c": [[1.0], [-2.0], [1.0]]})


CUBIC = plant([["x", 0], ["pow", 0, 3], ["sub", 1, 0]], [2])  # x' = -x + x**3: attracted for |x| < 1 only
UNSTABLE_CUBIC = plant([["x", 0], ["pow", 0, 3], ["sub", 0, 1]], [2])  # x' = x - x**3: rests at -1 and 1
SIGNED = plant([["x", 0], ["p", "p"], ["mul", 0, 1], ["pow", 0, 3], ["sub", 2, 3]], [4])  # x' = p x - x**3
SHIFTED = plant([["x", 0], ["c", "1/10"], ["sub", 1, 0]], [2])  # x' = 1/10 - x
SLOW = plant([["x", 0], ["neg", 0]], [1])  # x' = -x
HALF = plant([["x", 0], ["c", "1/2"], ["mul", 0, 1], ["pow", 0, 3], ["add", 2, 3]], [4], time="discrete")  # x+ = x/2 + x**3
STEP = plant([["x", 0], ["pow", 0, 3], ["sub", 1, 0], ["c", "1/10"], ["mul", 2, 3], ["add", 0, 4]], [5], time="discrete")  # Euler's step of CUBIC
GAIN = plant([["x", 0], ["p", "p"], ["mul", 0, 1], ["c", "2"], ["sub", 2, 3], ["mul", 0, 4]], [5])  # x' = (p x - 2) x
PUSHED = plant([["x", 0], ["u", 0], ["add", 0, 1]], [2], inputs=1)  # x' = x + u, |u| <= 1
SINGULAR = plant([["x", 0], ["pow", 0, 2], ["c", "1"], ["sub", 1, 2], ["div", 0, 3]], [4])  # x' = x / (x**2 - 1): no value at 1, beyond it x grows
MOVED = plant([["p", "p"], ["x", 0], ["sub", 0, 1]], [2])  # x' = p - x
FAST = plant([["x", 0], ["c", "-30"], ["mul", 0, 1]], [2])  # x' = -30 x
STEERED = plant([["x", 0], ["neg", 0], ["u", 0], ["add", 1, 2]], [3], inputs=1)  # x' = -x + u
REVERSED = plant([["x", 0], ["x", 1], ["neg", 1], ["pow", 0, 2], ["c", "1"], ["sub", 4, 3], ["mul", 5, 1], ["sub", 0, 6]], [2, 7],
    n=2)

ROA = 'property = "asymptotic_stability_roa"\ntime = "{time}"\n{more}[domain]\nlo = [{lo}]\nhi = [{hi}]\n'


def roa(lo: str, hi: str, time: str = "continuous", more: str = "") -> str:
    """The common head of a region-of-attraction requirement."""
    return ROA.format(time=time, lo=lo, hi=hi, more=more)


def level(value: str) -> str:
    """A demanded level."""
    return f'[region]\nlevel = "{value}"\n'


def contains(lo: str, hi: str) -> str:
    """A demanded box."""
    return f"[region]\ncontains = {{ lo = [{lo}], hi = [{hi}] }}\n"


CLAIMS = {claim.name: claim for claim in (
    Claim("cubic", CUBIC, roa('"-3/2"', '"3/2"'), level("4/5"), level("6/5"), "x = 1.05 is in the level set and grows without bound",
              square([[1.0]])),
    Claim("cubic_quadratic", CUBIC, roa('"-3/2"', '"3/2"'), contains('"-1/2"', '"1/2"'), contains('"-11/10"', '"11/10"'),
              "x = 1.05 grows without bound"),
    Claim("map", HALF, roa('"-1"', '"1"', "discrete", 'dt = "1"\n'), level("3/5"), level("3/4"), "x = 0.74 > sqrt(1/2) grows", absolute),
    Claim("face", CUBIC, roa('"-13/10"', '"13/10"'), level("1/5"), level("3/10"), "x = 1.29 has V < 3/10, decreases, and leaves the domain for ever",
          bump(0.5)),
    Claim("image", STEP, roa('"-13/10"', '"13/10"', "discrete", 'dt = "1"\n'), level("1/5"), level("3/10"),
              "from x = 1.29 the next state leaves the domain for ever",
          bump(0.5)),
    Claim("reversed", REVERSED, roa('"-3", "-3"', '"3", "3"'), level("1/2"), level("15/2"), "x = (0, 2.73) lies outside the cycle", square([[1.0,
              -0.5], [0.0, 1.0]])),
    Claim("unstable", SIGNED, roa('"-1/2"', '"1/2"'), '[parameters]\np = "-1"\n' + level("1/10"), level("1/10"), "the origin repels",
              square([[1.0]])),
    Claim("shifted", SHIFTED, roa('"-1"', '"1"'), '[equilibrium]\ntolerance = ["1/5"]\n' + contains('"-1/2"', '"1/2"'), contains('"-1/2"', '"1/2"'),
          "the loop rests at 1/10, not within a millionth of 0"),
    Claim("rate", SLOW, roa('"-1"', '"1"').replace("asymptotic", "exponential"), '[decrease]\nrate = "3/2"\n' + level("1/2"),
          '[decrease]\nrate = "3"\n' + level("1/2"), "x**2 decays at the rate 2 exactly", square([[1.0]])),
    Claim("parameter", GAIN, roa('"-1"', '"1"', more='[parameters]\np = {p}\n'.replace("{p}", '["1", "3"]')), level("2/5"), level("9/10"),
          "with p = 3 the state 0.9 > 2/3 grows", square([[1.0]])),
    Claim("pushed", PUSHED, roa('"-2"', '"2"'), level("4/5"), level("2"), "x = 1.2 is beyond the limit of the input", square([[1.0]]),
              linear([-3.0])),
    Claim("forbid", PUSHED, 'saturation = "forbid"\n' + roa('"-2"', '"2"'), level("1/10"), level("4/5"), "at x = 0.8 the command is -2.4, beyond 1",
          square([[1.0]]), linear([-3.0])),
    Claim("volume", SLOW, roa('"-1"', '"1"'), '[region]\nlevel = "1/4"\nmin_volume = "9/10"\n', '[region]\nlevel = "1/4"\nmin_volume = "11/10"\n',
          "the level set is [-1/2, 1/2], of volume 1", square([[1.0]])),
    Claim("box", SLOW, roa('"-1"', '"1"'), '[region]\nlevel = "1/4"\ncontains = { lo = ["-2/5"], hi = ["2/5"] }\n',
          '[region]\nlevel = "1/4"\ncontains = { lo = ["-3/5"], hi = ["3/5"] }\n', "the level set is [-1/2, 1/2]", square([[1.0]])),
    Claim("ball", SLOW, roa('"-1"', '"1"'), '[region]\nlevel = "1/4"\nmin_radius = "2/5"\n', '[region]\nlevel = "1/4"\nmin_radius = "3/5"\n',
          "the level set is [-1/2, 1/2]", square([[1.0]])),
    Claim("invariance", CUBIC, roa('"-3/2"', '"3/2"').replace("asymptotic_stability_roa", "forward_invariance"), level("4/5"), level("6/5"),
          "x = 1.05 is in the level set and leaves it", square([[1.0]])),
    Claim("practical", UNSTABLE_CUBIC, roa('"-3"', '"3"').replace("asymptotic_stability_roa", "practical_stability"),
          '[target]\nlo = ["-3/2"]\nhi = ["3/2"]\n' + level("4"), '[target]\nlo = ["-4/5"]\nhi = ["4/5"]\n' + level("4"),
          "the loop ends at -1 or 1, outside the target", square([[1.0]])),
    Claim("singular", SINGULAR, roa('"-3/2"', '"3/2"'), level("4/5"), level("6/5"), "x = 1.05 is in the level set and grows", square([[1.0]])),
    Claim("ring", SIGNED, roa('"-1"', '"1"'), '[parameters]\np = "-1"\n' + level("4/5"), '[parameters]\np = "1/100"\n' + level("4/5"),
          "the origin repels: the loop ends at -1/10 or 1/10", square([[1.0]])),
    Claim("moved", MOVED, roa('"-1"', '"1"'), '[parameters]\np = "0"\n' + level("1/2"), '[parameters]\np = ["-1/10", "1/10"]\n' + level("1/2"),
          "with p = 1/10 the loop rests at 1/10, not within a millionth of 0", square([[1.0]])),
    Claim("sampled", FAST, "", roa('"-1"', '"1"', "discrete", 'method = "euler"\ndt = "1/50"\n') + level("1/2"),
          roa('"-1"', '"1"', "discrete", 'method = "euler"\ndt = "1/10"\n') + level("1/2"), "Euler's step is x+ = -2 x", square([[1.0]])),
    Claim("cycle", REVERSED, roa('"-3", "-3"', '"3", "3"'), contains('"-1/2", "-1/2"', '"1/2", "1/2"'),
          contains('"-11/5", "-1"', '"11/5", "1"'), "x = (2.2, 1) lies outside the cycle"),
    Claim("slightly", CUBIC, roa('"-3/2"', '"3/2"'), level("999/1000"), level("10001/10000"), "x = 1 is in the level set and rests there",
          square([[1.0]])),
    Claim("spike", STEERED, roa('"-1"', '"1"'), level("1/5"), level("1/2"), "the loop is pushed outward at x = 0.53, and rests just beside it",
          square([[1.0]]), spike),
)}
