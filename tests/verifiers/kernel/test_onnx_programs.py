"""Random programs of the allow-list: whatever ONNX Runtime computes, the reader's graph computes too, at every step of the program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the models of these tests are written with onnx")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is the reference of these tests")

from onnx import helper
from onnx_models import floats, ints, session

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate

UNARY = ["Neg", "Relu", "Tanh", "Sigmoid", "Softplus", "Abs", "Sin", "Cos", "Identity", "LeakyRelu", "Transpose", "Squeeze", "ReduceSum", "Flatten"]
BINARY = ["Add", "Sub", "Mul", "Div", "Min", "Max", "MatMul", "Gemm", "Concat"]
WITH_NUMBERS = ["Slice", "Gather", "Split", "Reshape", "Unsqueeze", "ReduceSum", "Transpose", "Expand", "Pow", "Clip"]
DELIBERATE = {Code.UNKNOWN_OPERATOR: "a Slice backwards to +infinity", Code.BAD_SHAPE: "axes [0] do not fit 0 dimensions"}
"""What the reader refuses although ONNX Runtime computes something."""


class Program:
    """A growing ONNX graph with the shapes of its values."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.rng.choice([11, 12, 13, 15, 18, 21]))
        self.shape = self.sizes(1, 4)
        self.tensors = [floats("c", self.rng.normal(size=self.sizes(0, 3))), floats("d", self.rng.normal(size=self.shape))]
        self.shapes = {"x": self.shape, "c": tuple(self.tensors[0].dims), "d": self.shape}
        self.nodes: list[Any] = []

    def sizes(self, least: int, most: int) -> tuple[int, ...]:
        return tuple(self.rng.integers(1, 4, self.rng.integers(least, most)).tolist())

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def pick(self) -> str:
        """A value, recent ones more often."""
        names = list(self.shapes)
        return str(self.rng.choice([*names, *names[-2:] * 2]))

    def candidate(self, k: int) -> tuple[Any, list[Any]]:
        """A random node, and the constants that it needs; it may be invalid."""
        a, out, extra, attributes = self.pick(), f"v{k}", [], {}
        kind, rank = self.number(0, 3), max(1, len(self.shapes[a]))
        op = str(self.rng.choice((UNARY, BINARY, WITH_NUMBERS)[kind]))
        inputs, outputs, axis = [a], [out], self.number(-rank, rank)
        if kind == 1:
            inputs.append(self.pick())
            attributes = {"Gemm": {"transA": self.number(0, 2), "transB": self.number(0, 2), "alpha": 0.5}, "Concat": {"axis": axis}}.get(op, {})
            inputs += [self.pick()] * (op == "Gemm")
        elif kind == 2:
            some = self.rng.permutation(rank)[:self.number(1, rank + 1)].tolist()
            lists: dict[str, list[Any]] = {
                "Slice": [[self.number(-5, 6) for _ in some], self.rng.choice([-9, -2, 0, 2, 9, 2**63 - 1], len(some)).tolist(), some,
                          self.rng.choice([1, 1, 2, -1], len(some)).tolist()],
                "Gather": [self.rng.integers(-2, 2, self.number(1, 4))], "Reshape": [self.rng.choice([0, 1, 2, -1, 4], self.number(1, 4))],
                "Expand": [self.sizes(1, 4)], "Unsqueeze": [[axis]], "ReduceSum": [some], "Split": [[1, 1]]}
            if self.opset < 13 and op in ("Unsqueeze", "ReduceSum", "Split"):
                attributes = {"split" if op == "Split" else "axes": lists.pop(op)[0]}
            extra = [ints(f"{out}_{i}", values) for i, values in enumerate(lists.get(op, []))]
            if op in ("Pow", "Clip"):
                extra = [floats(f"{out}_0", 2.0 if op == "Pow" else -0.5)]
            outputs += [f"{out}b"] * (op == "Split")
            attributes |= {"Gather": {"axis": axis}, "Split": {"axis": axis}, "Transpose": {"perm": self.rng.permutation(rank).tolist()}}.get(op, {})
        return helper.make_node(op, [*inputs, *(t.name for t in extra)], outputs, **attributes), extra

    def model(self, node: Any, extra: list[Any], rank: int | None) -> Any:
        graph = helper.make_graph([*self.nodes, node], "g", [helper.make_tensor_value_info("x", 1, self.shape)],
                                  [helper.make_tensor_value_info(node.output[0], 1, None if rank is None else [f"d{i}" for i in range(rank)])],
                                  [*self.tensors, *extra])
        if rank == 0:
            graph.output[0].type.tensor_type.shape.SetInParent()
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def grow(self, k: int) -> bool:
        """Try one node; True when ONNX Runtime and the reader computed equal values."""
        node, extra = self.candidate(k)
        x = self.rng.uniform(-2, 2, self.shape).astype("float32")
        try:
            value = np.asarray(session(self.model(node, extra, None)).run(None, {"x": x})[0])
        except Exception:
            return False  # ONNX Runtime refuses this node
        if value.size == 0 or value.size > 500:
            return False
        try:
            graph = read_onnx(self.model(node, extra, value.ndim).SerializeToString()).graph
        except Refusal as refusal:
            assert refusal.message.startswith(DELIBERATE[refusal.code]), (str(refusal), node)
            return False
        found, expected = evaluate(graph, x.astype(float).ravel()), value.astype(float).ravel()
        finite = np.isfinite(expected)
        size = 1e-3 * max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
        np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-3, atol=size, err_msg=str(node))
        if finite.all() and np.abs(value).max() < 1e3:
            self.nodes, self.tensors = [*self.nodes, node], [*self.tensors, *extra]
            self.shapes[node.output[0]] = value.shape
        return True


def agreements(seeds: range) -> int:
    """Number of steps on which both agreed."""
    return sum(program.grow(k) for program in map(Program, seeds) for k in range(8))


@pytest.mark.threat("T24")
def test_random_programs():
    assert agreements(range(60)) >= 150


@pytest.mark.slow
@pytest.mark.threat("T24")
def test_many_random_programs():
    assert agreements(range(1000, 3000)) >= 7000
