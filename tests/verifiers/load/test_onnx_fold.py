"""Folded and written ONNX files: what a graph or a file computed before, it computes afterwards, in ONNX Runtime and in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from onnx import TensorProto, helper, numpy_helper
from random_graphs import LINEAR, RANDOM, RATIONAL, graphs, points

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.exact import evaluate_exact
from verifiers.kernel.graph import Builder, affine_from_rational
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load import onnx_bytes as wire
from verifiers.load import onnx_fold
from verifiers.load.floats import evaluate
from verifiers.load.onnx_fold import fold, read_network
from verifiers.load.to_onnx import NotWritable, to_onnx

F = Fraction
BATCH = ("Shape", "ConstantOfShape", "Unsqueeze", "Gather", "Constant")


def ints(name, values):
    """An int64 tensor."""
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def floats(name, values):
    """A float32 tensor."""
    return numpy_helper.from_array(np.array(values, dtype=np.float32), name)


def model(nodes, tensors, opset=17):
    """Bytes of a float32 model from x (N, 3) to y (two dimensions)."""
    graph = helper.make_graph(list(nodes), "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])], list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def run(data, name, x):
    """Outputs (B, m) of ONNX Runtime, one row at a time."""
    ran = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.array([np.ravel(ran.run(None, {name: row[None]})[0]) for row in x])


def operators(data):
    """The operators of a file."""
    return {node.op_type for node in onnx.load_from_string(data).graph.node}


def batch_model(tensor=None):
    """y = twos(batch, 3) * x with the batch read off x; ``tensor`` replaces an initializer."""
    nodes = {
        "shape": helper.make_node("Shape", ["x"], ["s"]), "gather": helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        "unsqueeze": helper.make_node("Unsqueeze", ["n", "first"], ["nn"]), "concat": helper.make_node("Concat", ["nn", "three"], ["both"], axis=0),
        "fill": helper.make_node("ConstantOfShape", ["both"], ["ones"], value=floats("v", [2.0])),
        "mul": helper.make_node("Mul", ["ones", "x"], ["y"])}
    tensors = {"zero": ints("zero", 0), "first": ints("first", [0]), "three": ints("three", [3])}
    tensors.update(tensor or {})
    return model(nodes.values(), list(tensors.values()))


# ------------------------------------------------------------------------------------------------------------ folding: refusals

@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"PK\x03\x04", b"\x08\x08", batch_model()[:-3], b"\xff" * 40])
def test_what_is_no_onnx_file_is_refused(data):
    with pytest.raises(Refusal):
        fold(data)
    with pytest.raises(Refusal):
        read_network(data)


@pytest.mark.threat("T15")
def test_a_name_defined_twice_is_refused_although_folding_could_hide_it():
    with pytest.raises(Refusal, match="defined twice"):
        fold(with_node(batch_model(), helper.make_node("Constant", [], ["three"], value=ints("v", [3]))))


def with_node(data, node):
    """The model with a node put in front."""
    made = onnx.load_from_string(data)
    made.graph.node.insert(0, node)
    return made.SerializeToString()


@pytest.mark.threat("T23")
def test_a_huge_constant_is_not_made():
    bomb = batch_model({"three": ints("three", [1 << 40])})
    assert "ConstantOfShape" in operators(fold(bomb)) and len(fold(bomb)) < 2 * len(bomb)
    with pytest.raises(Refusal):
        read_network(bomb)


@pytest.mark.threat("T23")
@pytest.mark.parametrize(("op", "inputs", "attributes"), [
    ("Gather", ["turned", "index"], {"axis": 0}), ("MatMul", ["long", "turned"], {}), ("Concat", ["long"] * 20, {"axis": 0}),
    ("Expand", ["long", "size"], {})])
def test_a_product_of_large_constants_is_left_alone(op, inputs, attributes):
    side = 1 << 20
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["long"]), helper.make_node("Transpose", ["long"], ["turned"]),
             helper.make_node("ConstantOfShape", ["size"], ["index"], value=ints("v", [0])), helper.make_node(op, inputs, ["big"], **attributes),
             helper.make_node("Identity", ["x"], ["y"])]
    made = model(nodes, [ints("size", [side, 1])])
    assert len(fold(made)) < 1 << 26 and (op == "Expand" or op in operators(fold(made)))


@pytest.mark.parametrize("tensor", [{"zero": ints("zero", 5)}, {"first": ints("first", [3])}, {"three": ints("three", [[3]])}])
def test_what_does_not_compute_is_left_to_the_kernels_reader_which_refuses(tensor):
    data = batch_model(tensor)
    assert operators(fold(data)) >= {"ConstantOfShape"}
    with pytest.raises(Refusal):
        read_onnx(fold(data))


def test_the_first_refusal_is_the_one_that_is_told():
    unknown = with_node(batch_model(), helper.make_node("Erf", ["x"], ["e"]))
    with pytest.raises(Refusal, match="Erf") as refusal:
        read_network(unknown)
    assert refusal.value.code is Code.UNKNOWN_OPERATOR


def test_floats_are_moved_but_never_combined():
    nodes = [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Unsqueeze", ["c", "first"], ["d"]),
             helper.make_node("Unsqueeze", ["a", "first"], ["e"]), helper.make_node("Mul", ["d", "e"], ["f"]),
             helper.make_node("Mul", ["f", "x"], ["y"])]
    data = model(nodes, [floats("a", [0.1] * 3), floats("b", [0.3] * 3), ints("first", [0])])
    left = [node.op_type for node in onnx.load_from_string(fold(data)).graph.node]
    assert left == ["Add", "Unsqueeze", "Mul", "Mul"]


# ------------------------------------------------------------------------------------------------------------ folding: same function

def test_a_batch_size_computed_from_a_shape_is_folded():
    data = batch_model()
    folded = fold(data)
    assert operators(folded) == {"Mul"}
    onnx.checker.check_model(onnx.load_from_string(folded), full_check=True)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert np.array_equal(run(data, "x", x), run(folded, "x", x))
    assert np.array_equal(evaluate(read_onnx(folded).graph, x), 2.0 * x)


@pytest.mark.parametrize("steps", [
    [("Slice", ["s", "one", "two", "first"], {}), ("Concat", ["?", "minus"], {"axis": 0}), ("Reshape", ["x", "?"], {})],
    [("Gather", ["s", "one"], {}), ("Add", ["?", "two"], {}), ("Sub", ["?", "two"], {}), ("Concat", ["minus", "?"], {"axis": 0}),
     ("Reshape", ["x", "?"], {})],
    [("Mul", ["s", "two"], {}), ("Div", ["?", "two"], {}), ("Expand", ["x", "?"], {})],
    [("Squeeze", ["first", "first"], {}), ("Gather", ["s", "?"], {}), ("Unsqueeze", ["?", "first"], {}), ("Concat", ["?", "minus"], {"axis": 0}),
     ("Reshape", ["x", "?"], {})],
    [("Identity", ["s"], {}), ("Cast", ["?"], {"to": TensorProto.INT64}), ("ConstantOfShape", ["?"], {}), ("Transpose", ["?"], {"perm": [1, 0]}),
     ("Flatten", ["?"], {"axis": 0}), ("Add", ["?", "x"], {})],
    [("Reshape", ["x", "keep"], {}), ("Shape", ["?"], {}), ("ConstantOfShape", ["?"], {}), ("Add", ["?", "x"], {})],
    [("ReduceSum", ["x", "one"], {"keepdims": 0}), ("Shape", ["?"], {}), ("ConstantOfShape", ["?"], {}), ("Add", ["?", "x"], {})],
    [("Transpose", ["x"], {"perm": [1, 0]}), ("MatMul", ["x", "?"], {}), ("Shape", ["?"], {"start": 1}), ("ConstantOfShape", ["?"], {}),
     ("Add", ["?", "x"], {})],
    [("Gemm", ["x", "x"], {"transA": 1}), ("Tanh", ["?"], {}), ("Shape", ["?"], {"end": 1}), ("ConstantOfShape", ["?"], {}),
     ("Add", ["?", "x"], {})]])
def test_computations_on_shapes_fold_to_what_onnx_runtime_computes(steps):
    nodes, last = [helper.make_node("Shape", ["x"], ["s"])], "s"
    for k, (op, names, attributes) in enumerate(steps):
        nodes.append(helper.make_node(op, [last if n == "?" else n for n in names], [f"t{k}"], **attributes))
        last = f"t{k}"
    tensors = [ints("first", [0]), ints("one", [1]), ints("two", [2]), ints("minus", [-1]), ints("keep", [0, -1])]
    made = model([*nodes, helper.make_node("Identity", [last], ["y"])], tensors)
    folded = fold(made)
    assert not operators(folded) & {*BATCH, "Cast", "Concat"}
    x = np.random.default_rng(1).normal(size=(1, 3)).astype(np.float32)
    assert np.array_equal(run(made, "x", x), run(folded, "x", x))


def test_old_opsets_keep_axes_in_attributes():
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Slice", ["s", "one", "two"], ["n"]),
             helper.make_node("Squeeze", ["n"], ["q"], axes=[0]), helper.make_node("Unsqueeze", ["q"], ["u"], axes=[0]),
             helper.make_node("Concat", ["one", "u"], ["both"], axis=0), helper.make_node("ConstantOfShape", ["both"], ["zero"]),
             helper.make_node("Add", ["zero", "x"], ["y"])]
    made = model(nodes, [ints("one", [1]), ints("two", [2])], opset=11)
    assert operators(fold(made)) == {"Add"}


@pytest.mark.parametrize("name", ["state", "output"])
def test_the_published_networks_fold_to_the_same_function(cases, name):
    data = (cases / "vnnlib" / f"quadrotor2d_{name}.onnx").read_bytes()
    folded = fold(data)
    onnx.checker.check_model(onnx.load_from_string(folded))
    assert not operators(folded) & set(BATCH)
    graph = read_onnx(folded).graph
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (64, graph.input_sizes[0])).astype(np.float32)
    truth = run(data, "input", x)
    assert np.array_equal(truth, run(folded, "input", x))
    assert np.abs(evaluate(graph, x) - truth).max() < 1e-4


def test_a_file_that_the_kernel_does_not_take_is_read_folded_and_said_so(monkeypatch):
    def stricter(data, at="model.onnx"):
        if operators(data) & set(BATCH):
            raise Refusal(Code.UNKNOWN_OPERATOR, at, "the operator is not on the allow-list; rewrite the layer")
        return read_onnx(data, at)

    data = batch_model()
    monkeypatch.setattr(onnx_fold, "read_onnx", stricter)
    graph, read = read_network(data)
    assert read == fold(data) and evaluate(graph, [1.0, 2.0, 3.0]).tolist() == [2.0, 4.0, 6.0]


# ------------------------------------------------------------------------------------------------------------ writing

def test_what_cannot_be_written_exactly_is_refused():
    b = Builder()
    x = b.input(1)
    unknown = b.build([b.binary("add", x, b.const([(F(0), F(1))]))])
    long = b.build([b.binary("add", x, b.const([F(1, 3**40)]))])
    row = b.build([b.affine(x, affine_from_rational([[F(1, 3**40)]], [F(0)]))])
    for graph, says in ((unknown, "interval"), (long, "exact place"), (row, "exact place")):
        with pytest.raises(NotWritable, match=says):
            to_onnx(graph)
    with pytest.raises(ValueError, match="one input vector"):
        to_onnx(b.build([x, x]))
    with pytest.raises(ValueError, match="cannot hold"):
        wire.tensor("w", wire.FLOAT, np.array([0.1]))


def test_float32_is_used_where_it_holds_every_number():
    for value, kind in ((F(1, 2), TensorProto.FLOAT), (F(float(np.float32(0.1))), TensorProto.FLOAT), (F(0.1), TensorProto.DOUBLE)):
        b = Builder()
        data = to_onnx(b.build([b.binary("mul", b.input(1), b.const([value]))]))
        assert onnx.load_from_string(data).graph.input[0].type.tensor_type.elem_type == kind


@RANDOM
@given(graphs(ops=RATIONAL), points(3))
def test_a_written_graph_has_exactly_its_values(graph, x):
    try:
        data = to_onnx(graph)
    except NotWritable:
        return
    onnx.checker.check_model(onnx.load_from_string(data))
    x = x[:graph.input_sizes[0]]
    assert evaluate_exact(read_onnx(data).graph, x) == evaluate_exact(graph, x)


@RANDOM
@given(graphs(ops=LINEAR | {"tanh", "sigmoid", "sin", "cos", "exp", "sqrt", "log", "relu", "leaky_relu", "mul", "div", "pow"}), points(3))
def test_onnx_runtime_computes_what_was_written(graph, x):
    data = to_onnx(graph)
    x = np.array([[float(v) for v in x[:graph.input_sizes[0]]]])
    double = onnx.load_from_string(data).graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE
    y = run(data, "X", x if double else x.astype(np.float32))
    wanted = evaluate(graph, x if double else x.astype(np.float32).astype(np.float64))
    assert y == pytest.approx(wanted, rel=1e-9 if double else 2e-3, abs=1e-9 if double else 2e-3)
