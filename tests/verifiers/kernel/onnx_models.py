"""Small ONNX models, written by the onnx package, and their values in ONNX Runtime: the reference that the reader is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate

TYPES = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("float64"): TensorProto.DOUBLE, np.dtype("float16"): TensorProto.FLOAT16}
onnxruntime.set_default_logger_severity(4)


def ints(name: str, values: Any) -> Any:
    """An int64 tensor."""
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def floats(name: str, values: Any, dtype: str = "float32") -> Any:
    """A float tensor."""
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def model(nodes: Sequence[Any], tensors: Sequence[Any] = (), shape: Sequence[Any] = ("N", 3), *, out: Sequence[Any] | None = None, opset: int = 17,
          dtype: str = "float32", ir: int = 8) -> Any:
    """A ModelProto from input ``x`` to output ``y``; without ``out`` the output's dimensions are left to be found by ONNX Runtime."""
    kind = TYPES[np.dtype(dtype)]
    graph = helper.make_graph(list(nodes), "g", [helper.make_tensor_value_info("x", kind, list(shape))],
                              [helper.make_tensor_value_info("y", kind, out)], list(tensors))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    if out is None:
        where = made.graph.output[0].type.tensor_type.shape
        where.SetInParent()
        for i, size in enumerate(run(made, np.zeros([1 if isinstance(d, str) else d for d in shape], dtype)).shape):
            where.dim.add().dim_param = f"d{i}"
            if size == 0:
                raise ValueError("the model's output is empty")
    return made


def session(made: Any) -> onnxruntime.InferenceSession:
    """ONNX Runtime without its optimisations, so that the file's own operators run."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(made.SerializeToString(), options)


def run(made: Any, x: np.ndarray) -> np.ndarray:
    """Output of ONNX Runtime for one input tensor."""
    return np.asarray(session(made).run(None, {"x": x})[0])


def agree(made: Any, shape: Sequence[int], seed: int = 0, scale: float = 2.0, dtype: str = "float32", low: float | None = None) -> None:
    """Fail unless the reader's graph and ONNX Runtime have equal values at random points."""
    graph, runtime = read_onnx(made.SerializeToString()).graph, session(made)
    rng = np.random.default_rng(seed)
    tolerance = {"float64": 1e-12, "float32": 2e-5, "float16": 2e-2}[dtype]
    for _ in range(3):
        x = rng.uniform(-scale if low is None else low, scale, shape).astype(dtype)
        expected = np.asarray(runtime.run(None, {"x": x})[0]).astype(float).ravel()
        np.testing.assert_allclose(evaluate(graph, x.astype(float).ravel()), expected, rtol=tolerance, atol=tolerance)
