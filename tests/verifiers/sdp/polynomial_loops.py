"""Polynomial plants and functions as files, and requirements about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from networks import helper, numpy_helper, onnx

Terms = Mapping[tuple[int, ...], float | Fraction | int]


def plant(fields: Sequence[Terms], half: str = "3") -> bytes:
    """plant.json of x' = f(x) with polynomials by exponents."""
    nodes: list[list[object]] = [["x", i] for i in range(len(fields))]
    outputs = []
    for terms in fields:
        total = len(nodes)
        nodes.append(["c", "0"])
        for monomial, value in terms.items():
            at = len(nodes)
            nodes.append(["c", str(Fraction(value))])
            for i, k in enumerate(monomial):
                nodes += [["pow", i, k], ["mul", at, len(nodes)]]
                at = len(nodes) - 1
            nodes.append(["add", total, at])
            total = len(nodes) - 1
        outputs.append(total)
    n = len(fields)
    return json.dumps({
        "format": "certctl-plant/1", "name": "polynomial", "time": "continuous", "dt": None, "inputs": [], "parameters": [],
        "states": [{"name": f"x{i}", "unit": "1", "angle": False} for i in range(n)], "equilibrium": {"x": ["0"] * n, "u": []},
        "domain": {"lo": [f"-{half}"] * n, "hi": [half] * n}, "nodes": nodes, "outputs": outputs, "reference": "tests"}).encode()


def quadratic_onnx(matrix: Sequence[Sequence[float]]) -> bytes:
    """ONNX bytes (float64) of x' P x."""
    n = len(matrix)
    steps = ("MatMul", ["x", "P"], "z"), ("Mul", ["x", "z"], "q"), ("MatMul", ["q", "one"], "y")
    nodes = [helper.make_node(op, given, [out]) for op, given, out in steps]
    constants = [numpy_helper.from_array(np.array(matrix, dtype=np.float64), "P"), numpy_helper.from_array(np.ones((n, 1)), "one")]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [1, k]) for name, k in (("x", n), ("y", 1))]
    graph = helper.make_graph(nodes, "V", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def case(folder: Path, region: str, *, fields: Sequence[Terms] | None = None, function: bytes | None = None, half: str = "3", more: str = "") -> Path:
    """Write plant (reversed van der Pol without ``fields``), V and requirement; return the requirement's path."""
    folder.mkdir(parents=True, exist_ok=True)
    if function is not None:
        (folder / "V.onnx").write_bytes(function)
    named = '"reversed_van_der_pol"'
    if fields is not None:
        (folder / "own.plant.json").write_bytes(plant(fields, half))
        named = f'{{ path = "own.plant.json", sha256 = "{hashlib.sha256(plant(fields, half)).hexdigest()}" }}'
    n = len(fields) if fields is not None else 2
    corners = ", ".join([f'"{half}"'] * n)
    text = (f'property = "asymptotic_stability_roa"\nplant = {named}\ntime = "continuous"\n' + ('lyapunov = "V.onnx"\n' if function else "")
            + f'[domain]\nlo = [{corners.replace(chr(34) + half, chr(34) + "-" + half)}]\nhi = [{corners}]\n[region]\n{region}\n'
            + '[prover]\nmethod = "sos"\n' + more)
    path = folder / "requirement.toml"
    path.write_text(text, encoding="utf-8")
    return path
