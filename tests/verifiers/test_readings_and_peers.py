"""The readings against other people's programs: CasADi on random graphs and on the shipped plants, ONNX Runtime on networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from random_graphs import EVERY, RANDOM, close, gap, generic, graphs, number, oracle, points

import systems
from verifiers.kernel.graph import Builder, Graph, Node, read
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.kernel.plant import read_plant
from verifiers.kernel.strict import read_json
from verifiers.load.derivative import gradient
from verifiers.load.floats import evaluate, evaluate_all
from verifiers.load.plant import plant_graph

casadi = pytest.importorskip("casadi")
F = Fraction


# CasADi on random graphs


def casadi_of(graph: Graph, symbol: Any) -> Any:
    """The first output as a CasADi expression of the graph's one input."""
    functions: dict[str, Callable[..., Any]] = {
        "neg": lambda t: -t, "relu": lambda t: casadi.fmax(t, 0), "abs": casadi.fabs, "tanh": casadi.tanh,
        "sigmoid": lambda t: 1 / (1 + casadi.exp(-t)),
        "softplus": lambda t: casadi.log1p(casadi.exp(t)), "sin": casadi.sin, "cos": casadi.cos, "exp": casadi.exp, "log": casadi.log,
        "sqrt": casadi.sqrt, "atan": casadi.atan, "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b, "min": casadi.fmin, "max": casadi.fmax}

    class CasadiReading:
        def const(self, node: Node) -> Any:
            return casadi.DM([float((lo + hi) / 2) for lo, hi in node.data])

        def affine(self, node: Node, x: Any) -> Any:
            return casadi.mtimes(casadi.DM(node.data.weight), x) + casadi.DM(node.data.bias)

        def unary(self, node: Node, x: Any) -> Any:
            if node.op == "pow":
                return x**node.data
            return casadi.fmax(x, 0) + float(node.data) * casadi.fmin(x, 0) if node.op == "leaky_relu" else functions[node.op](x)

        def binary(self, node: Node, a: Any, b: Any) -> Any:
            return functions[node.op](a, b)

        def take(self, node: Node, x: Any) -> Any:
            return casadi.vertcat(*[x[i] for i in node.data])

        def concat(self, node: Node, parts: Sequence[Any]) -> Any:
            return casadi.vertcat(*parts)

    return casadi.SX(read(graph, CasadiReading(), [symbol])[0])


def by_casadi(graph: Graph, x: list[Fraction]) -> Sequence[Any]:
    symbol = casadi.SX.sym("x", len(x))
    return np.array(casadi.Function("f", [symbol], [casadi_of(graph, symbol)])([float(v) for v in x])).ravel().tolist()


@RANDOM
@given(data=st.data())
def test_values_are_those_of_casadi(data: st.DataObject) -> None:
    graph = data.draw(graphs(EVERY))
    x = data.draw(points(graph.input_sizes[0]))
    assert close(by_casadi(graph, x), oracle(graph, [number(v) for v in x]), 1e-9)


@RANDOM
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_the_gradient_is_that_of_casadi(data: st.DataObject, seed: int) -> None:
    graph = data.draw(graphs(EVERY, scalar=True))
    x = generic(seed, graph.input_sizes[0])
    assume(gap(graph, [number(v) for v in x]) > 1e-10)
    symbol = casadi.SX.sym("x", len(x))
    jacobian = casadi.Function("g", [symbol], [casadi.gradient(casadi_of(graph, symbol), symbol)])
    at = [float(v) for v in x]
    np.testing.assert_allclose(evaluate(gradient(graph), at), np.array(jacobian(at)).ravel(), rtol=1e-9, atol=1e-9)


# CasADi on the shipped plants


@pytest.mark.threat("T14")
@pytest.mark.parametrize("name", systems.names())
def test_plants_and_their_derivatives_are_those_of_casadi(name: str) -> None:
    plant = systems.load(name)
    path = systems.plant_json_path(name)
    graph = plant_graph(read_plant(read_json(path.read_bytes(), path.name)), {})
    rng = np.random.default_rng(0)
    lo, hi = (np.array([float(F(v)) for v in side]) for side in plant.domain)
    n, m = len(lo), len(plant.inputs)
    x, u = rng.uniform(lo, hi, (50, n)), rng.normal(size=(50, m))
    inputs = [x, u] if m else [x]
    np.testing.assert_allclose(evaluate(graph, *inputs), plant.rhs(x, u), rtol=1e-12, atol=1e-12)
    slopes = []
    for i in range(n):
        b = Builder()
        row = b.take(b.inline(graph, [b.input(size) for size in graph.input_sizes])[0], (i,))
        slopes.append(np.concatenate(evaluate_all(gradient(b.build([row])), *inputs), axis=1))
    for k in range(len(x)):
        expected = np.hstack([np.array(part) for part in plant.jacobians(x[k], u[k], plant.values)])
        np.testing.assert_allclose([row[k] for row in slopes], expected, rtol=1e-11, atol=1e-11)


# ONNX Runtime


def onnx_bytes(rng: np.random.Generator, activations: Sequence[str], widths: Sequence[int]) -> bytes:
    """A float64 network of Gemm layers with one activation after each but the last."""
    onnx = pytest.importorskip("onnx")
    nodes, tensors, value = [], [], "x"
    for k, (n, m) in enumerate(pairwise(widths)):
        weight, bias = rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=m)
        tensors += [onnx.numpy_helper.from_array(t, name) for t, name in ((weight, f"W{k}"), (bias, f"b{k}"))]
        nodes.append(onnx.helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [f"z{k}"], transB=1))
        value = f"z{k}"
        if k < len(activations):
            nodes.append(onnx.helper.make_node(activations[k], [value], [f"y{k}"]))
            value = f"y{k}"
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, ["batch", size])
            for name, size in (("x", widths[0]), (value, widths[-1]))]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("activations", [("Relu", "Tanh"), ("Sigmoid", "Relu"), ("Tanh", "Tanh"), ("Relu",)])
def test_networks_are_those_of_onnx_runtime(activations: tuple[str, ...]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(len(activations))
    data = onnx_bytes(rng, activations, (3, *(7,) * len(activations), 2))
    x = rng.normal(size=(20, 3))
    expected = runtime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(evaluate(read_onnx(data).graph, x), expected, rtol=1e-12, atol=1e-12)
