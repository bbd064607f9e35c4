"""Small networks as ONNX bytes, and requirements about their Lipschitz bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


def network(weights: Sequence[Any], act: str = "Relu", biases: Sequence[Any] | None = None, **attributes: float) -> bytes:
    """ONNX bytes (float64) of act(W x + b) layers with a linear last one."""
    nodes, constants, at = [], [], "x"
    for i, w in enumerate(weights):
        w = np.array(w, dtype=np.float64)
        b = np.zeros(len(w)) if biases is None else np.array(biases[i], dtype=np.float64)
        constants += [numpy_helper.from_array(w, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [at, f"W{i}", f"b{i}"], [f"v{i}"], transB=1))
        at = f"v{i}"
        if i < len(weights) - 1:
            nodes.append(helper.make_node(act, [at], [f"h{i}"], **attributes))
            at = f"h{i}"
    shapes = [("x", len(np.array(weights[0])[0])), (at, len(weights[-1]))]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [1, size]) for name, size in shapes]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def bound_case(folder: Path, controller: bytes, value: str, more: str = "") -> Path:
    """Write a controller and a requirement about its bound; return the requirement's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "controller.onnx").write_bytes(controller)
    path = folder / "requirement.toml"
    text = f'property = "lipschitz_bound"\ncontroller = "controller.onnx"\n[bound]\nvalue = "{value}"\nnorm = "l2"\n{more}'
    path.write_text(text, encoding="utf-8")
    return path
