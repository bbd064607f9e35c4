"""The ONNX reader means what ONNX Runtime means, operator by operator, and refuses the rest."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the models of these tests are written with onnx")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is the reference of these tests")

import onnxruntime
from onnx import TensorProto, defs, helper
from onnx_models import agree, floats, ints, model

from verifiers.kernel import onnx_reader
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.onnx_reader import OPERATORS, OPSETS, read_onnx
from verifiers.load.floats import evaluate

node = helper.make_node
FEW = settings(max_examples=25, deadline=None)
TYPE = st.sampled_from(["float32", "float64"])
SEED = st.integers(0, 2**32 - 1)
SHAPE = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def refused(made, code):
    with pytest.raises(Refusal) as caught:
        read_onnx(made.SerializeToString() if hasattr(made, "SerializeToString") else made, "c.onnx")
    assert caught.value.code is code, str(caught.value)
    return str(caught.value)


# what is refused

@pytest.mark.parametrize("op", ["Softmax", "Conv", "If", "Loop", "Dropout", "BatchNormalization", "RandomNormalLike", "Round", "relu", ""])
@pytest.mark.threat("T16")
def test_unknown_operator(op):
    message = refused(model([node(op, ["x"], ["y"], name="layer")], out=["N", 3]), Code.UNKNOWN_OPERATOR)
    assert "layer" in message and "Gemm" in message


def test_unknown_operator_with_a_subgraph_and_text_attributes():
    body = helper.make_graph([node("Identity", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, None)])
    refused(model([node("If", ["x"], ["y"], then_branch=body, else_branch=body)], out=["N", 3]), Code.UNKNOWN_OPERATOR)
    refused(model([node("Conv", ["x"], ["y"], auto_pad="SAME_UPPER")], out=["N", 3]), Code.UNKNOWN_OPERATOR)
    refused(model([node("Gemm", ["x"], ["y"], auto_pad="SAME_UPPER")], out=["N", 3]), Code.UNKNOWN_OPERATOR)


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", " "])
def test_custom_domain(domain):
    refused(model([node("Relu", ["x"], ["y"], domain=domain)], out=["N", 3]), Code.UNKNOWN_OPERATOR)


@pytest.mark.parametrize("nodes", [
    [node("Relu", ["z"], ["y"])],
    [node("Relu", ["z"], ["y"]), node("Relu", ["x"], ["z"])],
    [node("Relu", ["y"], ["y"])],
    [node("Relu", ["x"], ["x"]), node("Relu", ["x"], ["y"])],
    [node("Relu", ["x"], ["y"]), node("Tanh", ["x"], ["y"])],
    [node("Relu", ["x"], ["z"])],
    [node("Relu", ["x"], ["y", "z"])],
    [node("Relu", ["x"], [""])],
    [node("Relu", ["x"], [])],
    [],
    [node("Add", ["x", ""], ["y"])],
    [node("Concat", ["x", "", "x"], ["y"], axis=1)],
    [node("Constant", [], ["c"], value_float=1.0, value_int=2), node("Relu", ["x"], ["y"])],
], ids=["undefined", "unsorted", "cycle", "shadow", "twice", "no-output", "two-outputs", "unnamed", "none", "empty", "absent", "part", "values"])
def test_graphs_that_are_not_graphs(nodes):
    with pytest.raises(Refusal) as caught:
        read_onnx(model(nodes, out=["N", 3]).SerializeToString())
    assert caught.value.code in (Code.BAD_ONNX, Code.UNKNOWN_OPERATOR)


@pytest.mark.parametrize("bad", [
    node("Relu", ["x", "x"], ["y"]), node("Relu", ["x"], ["y"], alpha=0.1), node("LeakyRelu", ["x"], ["y"], alpha=1), node("Add", ["x"], ["y"]),
    node("Gemm", ["x", "w"], ["y"], transB=1.0), node("Transpose", ["x"], ["y"], perm=1), node("Flatten", ["x"], ["y"], axis=[1]),
    node("Clip", ["x"], ["y"], min=0.0), node("ReduceSum", ["x"], ["y"], axes=[1]), node("Squeeze", ["x"], ["y"], axes=[0]),
    node("LeakyRelu", ["x"], ["y"], x=0.1), node("Add", ["x"], ["y"], b=1.0), node("Cast", ["x"], ["y"]), node("Concat", ["x"], ["y"]),
    node("Split", ["x"], ["y"], num_outputs=2),
], ids=lambda n: n.op_type)
def test_wrong_inputs_and_attributes(bad):
    with pytest.raises(Refusal) as caught:
        read_onnx(model([bad], [floats("w", np.eye(3))], out=["N", 3]).SerializeToString())
    assert caught.value.code in (Code.BAD_ONNX, Code.UNKNOWN_OPERATOR, Code.BAD_SHAPE)


@pytest.mark.parametrize(("nodes", "code"), [
    ([node("LeakyRelu", ["x"], ["y"], alpha=-0.1)], Code.BAD_GRAPH),
    ([node("Pow", ["x", "half"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Pow", ["x", "x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Pow", ["x", "many"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Pow", ["x", "minus"], ["y"])], Code.BAD_GRAPH),
    ([node("Gather", ["x", "x"], ["y"], axis=1)], Code.UNKNOWN_OPERATOR),
    ([node("Gather", ["x", "three"], ["y"], axis=1)], Code.BAD_SHAPE),
    ([node("Reshape", ["x", "three"], ["y"])], Code.BAD_SHAPE),
    ([node("Cast", ["x"], ["z"], to=7), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Cast", ["x"], ["z"], to=10), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Cast", ["many"], ["z"], to=7), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Cast", ["three"], ["z"], to=9), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Relu", ["three"], ["z"]), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Add", ["x", "three"], ["y"])], Code.BAD_ONNX),
    ([node("Div", ["three", "zero"], ["z"]), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Mul", ["large", "large"], ["z"]), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("MatMul", ["x", "x"], ["y"])], Code.BAD_SHAPE),
    ([node("MatMul", ["x", "scalar"], ["y"])], Code.BAD_SHAPE),
    ([node("Gemm", ["x", "many"], ["y"])], Code.BAD_SHAPE),
    ([node("Slice", ["x", "zero", "three", "zero", "zero"], ["y"])], Code.BAD_ONNX),
    ([node("Slice", ["x", "zero", "large", "zero", "minus_int"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Slice", ["x", "three", "zero", "zero"], ["y"])], Code.BAD_SHAPE),
    ([node("Clip", ["x", "many"], ["y"])], Code.BAD_SHAPE),
    ([node("Concat", ["x", "three"], ["y"], axis=0)], Code.BAD_ONNX),
    ([node("Expand", ["x", "minus_int"], ["y"])], Code.BAD_SHAPE),
    ([node("Split", ["x", "three"], ["y", "z"], axis=0)], Code.BAD_SHAPE),
    ([node("Split", ["x"], ["y", "z"], axis=1)], Code.BAD_SHAPE),
    ([node("Unsqueeze", ["x", "large"], ["y"])], Code.BAD_SHAPE),
    ([node("Unsqueeze", ["x", "seven"], ["y"])], Code.BAD_SHAPE),
    ([node("Slice", ["x", "zero", "three", "far"], ["y"])], Code.BAD_SHAPE),
    ([node("Slice", ["x", "zeros", "threes", "pair"], ["y"])], Code.BAD_SHAPE),
    ([node("Slice", ["x", "three", "most", "pair", "minus_int"], ["y"])], Code.BAD_SHAPE),
    ([node("Slice", ["x", "three", "most", "zero", "minus_int"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Div", ["minus_int", "three"], ["z"]), node("Relu", ["x"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Slice", ["x", "", "three"], ["y"])], Code.BAD_ONNX),
    ([node("Slice", ["x", "none", "none"], ["y"])], Code.BAD_ONNX),
    ([node("Split", ["x", "pair"], ["y", "z"], axis=1)], Code.BAD_SHAPE),
    ([node("Split", ["x", "triple"], ["y", "z"], axis=1)], Code.BAD_ONNX),
    ([node("Split", ["x", "mixed"], ["y", "z"], axis=1)], Code.BAD_SHAPE),
    ([node("Reshape", ["x", "minus_two"], ["y"])], Code.BAD_SHAPE),
    ([node("Reshape", ["x", "any_three"], ["y"])], Code.BAD_SHAPE),
    ([node("Reshape", ["none", "zeros"], ["z"]), node("Relu", ["x"], ["y"])], Code.BAD_SHAPE),
    ([node("Gather", ["none", "zero"], ["z"]), node("Relu", ["x"], ["y"])], Code.BAD_SHAPE),
    ([node("Reshape", ["x", "table"], ["y"])], Code.UNKNOWN_OPERATOR),
    ([node("Reshape", ["x", "keep"], ["y"], allowzero=1)], Code.BAD_SHAPE),
    ([node("MatMul", ["x", "double"], ["y"])], Code.BAD_SHAPE),
    ([node("Mul", ["double", "x"], ["y"])], Code.BAD_ONNX),
    ([node("Flatten", ["x"], ["z"], axis=3), node("Reshape", ["z", "keep"], ["y"])], Code.BAD_SHAPE),
    ([node("Flatten", ["x"], ["z"], axis=-3), node("Reshape", ["z", "keep"], ["y"])], Code.BAD_SHAPE),
    ([node("Unsqueeze", ["x", "zero"], ["z"]), node("Gemm", ["z", "eye"], ["v"]), node("Squeeze", ["v", "zero"], ["y"])], Code.BAD_SHAPE),
    ([node("Reshape", ["x", "nine"], ["z"]), node("Reshape", ["z", "pair_of_three"], ["y"])], Code.BAD_SHAPE),
])
def test_forms_that_have_no_exact_or_static_meaning(nodes, code):
    integers = {"three": [3], "zero": [0], "seven": range(7), "far": [-5], "pair": [1, 1], "zeros": [0, 0], "threes": [3, 3], "none": [],
                "triple": [1, 1, 1], "mixed": [4, -1], "minus_two": [-2], "table": [[1, 3]], "keep": [0, -1], "large": [2**40], "most": [2**31 - 1],
                "minus_int": [-1], "nine": [1] * 8 + [3], "pair_of_three": [1, 3], "any_three": [-2, 3]}
    tensors = [floats("half", 0.5), floats("many", [1.0, 2.5, 3.0]), floats("minus", -1.0), floats("scalar", 1.0), floats("eye", np.eye(3)),
               floats("double", np.eye(3), "float64"), *(ints(name, values) for name, values in integers.items())]
    refused(model(nodes, tensors, out=["N", 3]), code)


def test_a_product_of_rows_wider_than_c():
    refused(model([node("Gemm", ["x", "w", "c"], ["y"])], [floats("w", np.eye(3)), floats("c", np.ones((2, 3)))], out=["N", 3]), Code.BAD_SHAPE)


def test_a_cast_that_rounds_is_refused_and_one_that_widens_is_not():
    wide = [node("Cast", ["x"], ["z"], to=TensorProto.DOUBLE), node("Tanh", ["z"], ["w"])]
    narrow = [*wide, node("Cast", ["w"], ["y"], to=TensorProto.FLOAT)]
    assert "rounds" in refused(model(narrow, out=["N", 3]), Code.UNKNOWN_OPERATOR)
    made = model([*wide, node("Identity", ["w"], ["y"])], out=["N", 3])
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    agree(made, (1, 3))
    agree(model([node("Cast", ["x"], ["z"], to=TensorProto.FLOAT), node("Tanh", ["z"], ["y"])]), (1, 3))


@pytest.mark.parametrize(("shape", "out", "code"), [
    (["N", "M"], ["N", "M"], Code.BAD_SHAPE), (["N"], ["N"], Code.BAD_SHAPE), ([3, "N"], [3, 3], Code.BAD_SHAPE),
    (["N", 0], ["N", 0], Code.BAD_SHAPE), (["N", -1], ["N", 3], Code.BAD_SHAPE), (["N", 3], ["N", 2], Code.BAD_SHAPE),
    (["N", 3], ["N", 3, 1], Code.BAD_SHAPE), (None, ["N"], Code.BAD_ONNX), (["N", 3], None, Code.BAD_ONNX),
    ([1] * 9, [1] * 9, Code.TOO_LARGE), ([2**40, 2**40], [1], Code.TOO_LARGE),
])
@pytest.mark.threat("T14")
def test_shapes_that_are_not_static_or_not_true(shape, out, code):
    made = model([node("Relu", ["x"], ["y"])], out=["N", 3])
    for value, dims in ((made.graph.input[0], shape), (made.graph.output[0], out)):
        value.CopyFrom(helper.make_tensor_value_info(value.name, 1, dims))
    refused(made, code)


def test_declared_types_must_be_true():
    made = model([node("Relu", ["x"], ["y"])], out=["N", 3])
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    refused(made, Code.BAD_SHAPE)
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    refused(made, Code.BAD_ONNX)


def test_several_inputs_or_outputs():
    made = model([node("Relu", ["x"], ["y"]), node("Tanh", ["x"], ["z"])], out=["N", 3])
    made.graph.output.append(helper.make_tensor_value_info("z", 1, ["N", 3]))
    refused(made, Code.BAD_ONNX)
    made = model([node("Relu", ["x"], ["y"])], [floats("w", [1.0])], out=["N", 3])
    made.graph.input.append(helper.make_tensor_value_info("w", 1, [1]))
    assert "keep weights out of the inputs" in refused(made, Code.BAD_ONNX)


@pytest.mark.threat("T16")
def test_an_initializer_with_the_input_s_name():
    refused(model([node("Relu", ["x"], ["y"])], [floats("x", np.ones((1, 3)))], out=["N", 3]), Code.BAD_ONNX)


@pytest.mark.threat("T16")
def test_an_initializer_given_twice():
    tensors = [floats("w", np.eye(3)), floats("w", -np.eye(3))]
    refused(model([node("MatMul", ["x", "w"], ["y"])], tensors, out=["N", 3]), Code.BAD_ONNX)


@pytest.mark.parametrize("op", ["ReduceSum", "Squeeze", "Unsqueeze", "Split"])
def test_a_list_as_an_input_before_it_was_one(op):
    refused(model([node(op, ["x", "one"], ["y"])], [ints("one", [1])], ["N", 3], out=["N", 3], opset=11), Code.BAD_ONNX)


@pytest.mark.parametrize("opset", [0, 1, 6, 7, 9, 10, 26, 2**40, -1])
def test_opsets_outside_the_range(opset):
    refused(model([node("Relu", ["x"], ["y"])], out=["N", 3], opset=opset), Code.BAD_ONNX)


def test_two_opsets_and_foreign_ones():
    made = model([node("Relu", ["x"], ["y"])], out=["N", 3])
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    read_onnx(made.SerializeToString())
    made.opset_import.append(helper.make_opsetid("ai.onnx", 13))
    refused(made, Code.BAD_ONNX)
    refused(model([node("Relu", ["x"], ["y"])], out=["N", 3], ir=2), Code.BAD_ONNX)


@pytest.mark.threat("T23")
@pytest.mark.parametrize("nodes", [
    [node("ConstantOfShape", ["huge"], ["y"])],
    [node("Expand", ["x", "huge"], ["y"])],
    [node("Expand", ["x", "wide"], ["z0"]), node("Transpose", ["z0"], ["z1"]), node("Add", ["z0", "z1"], ["y"])],
    [node("Expand", ["c", "wide"], ["z0"]), node("Gather", ["z0", "index"], ["y"])],
    [node("Expand", ["x", "wide"], ["z0"]), node("ReduceSum", ["z0", "index"], ["y"])],
    [node("Expand", ["x", "wide"], ["z0"]), node("MatMul", ["z0", "z0"], ["y"])],
    [node("Expand", ["c", "wide"], ["z0"]), node("Concat", ["z0"] * 2000, ["y"], axis=0)],
], ids=["constant", "expand", "outer", "gather", "sum", "matmul", "concat"])
def test_tensors_that_grow_without_bound(nodes):
    tensors = [ints("huge", [2**31, 2**31]), ints("wide", [3000, 3000]), ints("index", np.zeros(1000)), floats("c", 1.0)]
    with pytest.raises(Refusal) as caught:
        read_onnx(model(nodes, tensors, [1], out=[1]).SerializeToString())
    assert caught.value.code in (Code.TOO_LARGE, Code.BAD_SHAPE), str(caught.value)


@pytest.mark.threat("T23")
def test_too_many_nodes():
    refused(model([node("Relu", ["x"], ["y"])] * 20_001, out=["N", 3]), Code.TOO_LARGE)


def just_enough(monkeypatch, cap, value, made):
    """The model is read with the cap at this value, and refused with one less."""
    with monkeypatch.context() as patch:
        patch.setattr(onnx_reader, cap, value)
        assert read_onnx(made.SerializeToString()).graph.output_size()
        patch.setattr(onnx_reader, cap, value - 1)
        refused(made, Code.TOO_LARGE)


@pytest.mark.threat("T23")
def test_a_file_may_be_as_large_as_the_caps_and_no_larger(monkeypatch):
    made = model([node("Relu", ["x"], ["z"]), node("Tanh", ["z"], ["y"])], out=["N", 3])
    just_enough(monkeypatch, "MAX_NODES", 2, made)
    just_enough(monkeypatch, "MAX_BYTES", len(made.SerializeToString()), made)


@pytest.mark.threat("T23")
def test_an_input_may_be_as_large_as_the_cap_and_no_larger():
    for size in (onnx_reader.MAX_FIELDS, onnx_reader.MAX_FIELDS + 1):
        made = model([node("Gather", ["x", "i"], ["y"], axis=1)], [ints("i", [size - 1])], ["N", size], out=["N", 1])
        if size > onnx_reader.MAX_FIELDS:
            refused(made, Code.TOO_LARGE)
        else:
            assert read_onnx(made.SerializeToString()).graph.output_size() == 1


@pytest.mark.threat("T23")
def test_a_tensor_may_have_as_many_dimensions_as_the_cap_and_no_more():
    agree(model([node("Relu", ["x"], ["y"])], shape=[1] * 7 + [3]), [1] * 7 + [3])
    agree(model([node("Unsqueeze", ["x", "six"], ["z"]), node("Relu", ["z"], ["y"])], [ints("six", range(6))]), (1, 3))
    nodes = [node("Unsqueeze", ["x", "seven"], ["z"]), node("Squeeze", ["z", "seven"], ["y"])]
    assert "more than 8 dimensions" in refused(model(nodes, [ints("seven", range(7))], out=["N", 3]), Code.BAD_SHAPE)


@pytest.mark.threat("T23")
@pytest.mark.parametrize(("source", "size", "numbers"), [("x", 3, 3 + 16 * 3 + 3 + 16 * 3), ("c", 5, 3 + 64 * 5 + 5 + 16 * 5)])
def test_what_a_node_may_cost(monkeypatch, source, size, numbers):
    """Eight bytes a number: the input, its reading (64 numbers for an exact constant, 16 for an index), the result and its reading."""
    just_enough(monkeypatch, "MAX_WORK", 8 * numbers, model([node("Tanh", [source], ["y"])], [floats("c", np.ones((1, 5)))], out=["N", size]))


# what is read: against ONNX Runtime

COVERED = set()


def covers(*ops):
    COVERED.update(ops)
    return lambda function: function


covers("GreaterOrEqual", "Where")  # in test_jumps.py


def test_every_operator_is_covered():
    assert set(OPERATORS) - COVERED == set()


def test_every_version_of_every_operator_is_known():
    """A new opset may change a meaning: the range is widened by hand only."""
    for schema in defs.get_all_schemas_with_history():
        if schema.name in OPERATORS and schema.domain == "":
            assert schema.since_version in OPSETS or schema.since_version < OPSETS[0] or schema.since_version > OPSETS[-1]
    assert {s.name for s in defs.get_all_schemas() if s.domain == ""} >= set(OPERATORS)


UNARY = {"Neg": None, "Relu": None, "Tanh": None, "Sigmoid": None, "Softplus": None, "Abs": None, "Sin": None, "Cos": None, "Exp": None, "Sqrt": 0.01,
         "Identity": None}


@covers(*UNARY)
@pytest.mark.parametrize("op", sorted(UNARY))
@given(shape=SHAPE, seed=SEED, opset=st.sampled_from([11, 13, 22]))
@settings(max_examples=8, deadline=None)
def test_unary(op, shape, seed, opset):
    agree(model([node(op, ["x"], ["y"])], shape=shape, opset=opset), shape, seed, low=UNARY[op], scale=4.0)


@pytest.mark.parametrize("op", ["Tanh", "Sigmoid", "Abs", "Sin", "Cos", "Exp", "Sqrt", "Relu", "Neg"])
def test_unary_in_double_precision(op):
    agree(model([node(op, ["x"], ["y"])], dtype="float64"), (1, 3), dtype="float64", low=UNARY[op])


@covers("LeakyRelu")
@given(alpha=st.none() | st.floats(0, 1, width=32), seed=SEED)
@FEW
def test_leaky_relu(alpha, seed):
    attributes = {} if alpha is None else {"alpha": alpha}
    made = model([node("LeakyRelu", ["x"], ["y"], **attributes)])
    agree(made, (1, 3), seed)
    (found,) = [n for n in read_onnx(made.SerializeToString()).graph.nodes if n.op == "leaky_relu"]
    assert found.data == Fraction(float(np.float32(0.01 if alpha is None else alpha)))


@st.composite
def broadcastable(draw):
    """A shape, and one that broadcasts with it."""
    shape = draw(SHAPE)
    other = [draw(st.sampled_from([1, d])) if draw(st.booleans()) else d for d in shape][draw(st.integers(0, len(shape))):]
    return shape, tuple(other)


@covers("Add", "Sub", "Mul", "Div", "Min", "Max")
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
@given(shapes=broadcastable(), dtype=TYPE, seed=SEED, swap=st.booleans())
@settings(max_examples=12, deadline=None)
def test_arithmetic_with_a_constant(op, shapes, dtype, seed, swap):
    values = np.random.default_rng(seed).uniform(0.5, 2.0, shapes[1])
    made = model([node(op, ["c", "x"] if swap else ["x", "c"], ["y"])], [floats("c", values, dtype)], shapes[0], dtype=dtype, opset=13)
    agree(made, shapes[0], seed, dtype=dtype, low=0.25)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
@given(size=st.integers(1, 4), seed=SEED)
@settings(max_examples=5, deadline=None)
def test_arithmetic_of_two_activations(op, size, seed):
    nodes = [node("Reshape", ["x", "column"], ["c"]), node(op, ["x", "c"], ["z"]), node(op, ["z", "x"], ["y"])]
    agree(model(nodes, [ints("column", [-1, 1])], [1, size], opset=13, dtype="float64"), (1, size), seed, dtype="float64", low=0.25)


@given(count=st.integers(1, 4), seed=SEED, op=st.sampled_from(["Min", "Max"]))
@FEW
def test_min_and_max_of_many(count, seed, op):
    rng = np.random.default_rng(seed)
    tensors = [floats(f"c{i}", rng.normal(size=(3,) if i else ())) for i in range(count)]
    agree(model([node(op, ["x", *(t.name for t in tensors)], ["y"])], tensors), (1, 3), seed)


@covers("Pow")
@given(k=st.integers(0, 5), shapes=broadcastable(), seed=SEED, integer=st.booleans())
@FEW
def test_pow(k, shapes, seed, integer):
    exponent = ints("k", np.full(shapes[1], k)) if integer else floats("k", np.full(shapes[1], k), "float64")
    agree(model([node("Pow", ["x", "k"], ["y"])], [exponent], shapes[0], dtype="float64", opset=15), shapes[0], seed, dtype="float64")


@covers("Clip")
@given(lo=st.none() | st.floats(-1, 1, width=32), hi=st.none() | st.floats(-1, 1, width=32), opset=st.sampled_from([11, 12, 13]), seed=SEED)
@FEW
def test_clip(lo, hi, opset, seed):
    bounds = {"min": lo, "max": hi}
    tensors = [floats(k, v) for k, v in bounds.items() if v is not None]
    made = model([node("Clip", ["x", *(k if v is not None else "" for k, v in bounds.items())], ["y"])], tensors, opset=opset)
    agree(made, (1, 3), seed)


@covers("Gemm")
@given(m=st.integers(1, 3), k=st.integers(1, 4), n=st.integers(1, 4), trans=st.tuples(st.integers(0, 1), st.integers(0, 1)), dtype=TYPE,
       alpha=st.sampled_from([1.0, 0.1, -2.0]), beta=st.sampled_from([1.0, 0.3, 0.0]), bias=st.sampled_from(["none", "row", "one", "column", "full"]),
       left=st.booleans(), seed=SEED)
@settings(max_examples=60, deadline=None)
def test_gemm(m, k, n, trans, dtype, alpha, beta, bias, left, seed):
    rng = np.random.default_rng(seed)
    a, b = ((k, m) if trans[0] else (m, k)), ((n, k) if trans[1] else (k, n))
    weight = floats("w", rng.normal(size=a if left else b), dtype)
    c = {"none": None, "row": (n,), "one": (1,), "column": (m, 1), "full": (m, n)}[bias]
    tensors = [weight] if c is None else [weight, floats("c", rng.normal(size=c), dtype)]
    names = ["w", "x"] if left else ["x", "w"]
    made = model([node("Gemm", names if c is None else [*names, "c"], ["y"], alpha=alpha, beta=beta, transA=trans[0], transB=trans[1])],
                 tensors, b if left else a, dtype=dtype, opset=13)
    agree(made, b if left else a, seed, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gemm_of_two_activations(dtype):
    nodes = [node("Tanh", ["x"], ["t"]), node("Gemm", ["x", "t", "x"], ["y"], transB=1, alpha=0.5, beta=0.25)]
    agree(model(nodes, shape=[2, 2], dtype=dtype), (2, 2), dtype=dtype)


MATRICES = [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((1, 3), (3, 2)), ((2, 3), (3, 2)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)),
            ((1, 2, 3), (4, 3, 1)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,))]


@covers("MatMul")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("a", "b"), MATRICES)
def test_matmul(a, b, left, dtype):
    shape, other = (b, a) if left else (a, b)
    tensors = [floats("w", np.random.default_rng(1).normal(size=other), dtype)]
    agree(model([node("MatMul", ["w", "x"] if left else ["x", "w"], ["y"])], tensors, shape, dtype=dtype), shape, dtype=dtype)


def test_quadratic_form():
    nodes = [node("MatMul", ["x", "P"], ["z"]), node("Transpose", ["x"], ["t"]), node("MatMul", ["z", "t"], ["y"])]
    made = model(nodes, [floats("P", [[2.0, 0.5], [0.5, 1.0]])], ["N", 2])
    agree(made, (1, 2))
    np.testing.assert_array_equal(evaluate(read_onnx(made.SerializeToString()).graph, [1.0, -2.0]), [4.0])


@covers("ReduceSum")
@given(shape=SHAPE, seed=SEED, data=st.data(), keep=st.integers(0, 1), opset=st.sampled_from([11, 12, 13]), noop=st.integers(0, 1))
@settings(max_examples=40, deadline=None)
def test_reduce_sum(shape, seed, data, keep, opset, noop):
    axes = data.draw(st.none() | st.lists(st.sampled_from(range(len(shape))), unique=True, max_size=len(shape)))
    if axes:
        axes = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    if opset < 13:
        made = model([node("ReduceSum", ["x"], ["y"], keepdims=keep, **({"axes": axes} if axes else {}))], shape=shape, opset=opset)
    else:
        tensors = [] if axes is None else [ints("a", axes)]
        total = node("ReduceSum", ["x", *(t.name for t in tensors)], ["y"], keepdims=keep, noop_with_empty_axes=noop)
        made = model([total], tensors, shape, opset=13)
    agree(made, shape, seed)


@covers("Concat", "Split")
@given(shape=SHAPE, seed=SEED, data=st.data(), opset=st.sampled_from([11, 13, 18]))
@settings(max_examples=40, deadline=None)
def test_split_and_concat(shape, seed, data, opset):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    cuts = data.draw(st.none() | st.lists(st.integers(1, 3), min_size=1, max_size=3).filter(lambda p: sum(p) <= size))
    parts = None if cuts is None else [*cuts[:-1], size - sum(cuts[:-1])]
    count = len(parts) if parts else data.draw(st.sampled_from([c for c in range(1, size + 1) if size % c == 0]))
    names = [f"p{i}" for i in range(count)]
    extra, tensors = {}, [floats("c", np.arange(float(np.prod(shape))).reshape(shape))]
    if parts and opset < 13:
        extra["split"] = parts
    if parts and opset >= 13:
        tensors.append(ints("s", parts))
    if opset >= 18 and not parts:
        extra["num_outputs"] = count
    nodes = [node("Split", ["x", "s"] if parts and opset >= 13 else ["x"], names, axis=axis, **extra),
             node("Concat", [*names[::-1], "c", names[0]], ["y"], axis=axis)]
    agree(model(nodes, tensors, shape, opset=opset), shape, seed)


def test_split_into_unequal_parts():
    join = node("Concat", ["b", "a"], ["y"], axis=1)
    agree(model([node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), join], opset=18), (1, 3))
    for opset, sizes in ((13, [2, 1]), (18, [2, 1]), (13, [3, 0])):
        agree(model([node("Split", ["x", "s"], ["a", "b"], axis=1), join], [ints("s", sizes)], opset=opset), (1, 3))


def test_squeeze_of_no_axes_is_squeeze_of_all():
    agree(model([node("Squeeze", ["x", "a"], ["y"])], [ints("a", [])], [1, 3, 1]), (1, 3, 1))


def test_a_place_is_no_flag():
    agree(model([node("Gather", ["x", "zero"], ["y"], axis=1)], [ints("zero", [0])]), (1, 3))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
def test_integers_are_only_shapes_axes_and_indices(op):
    nodes = [node("Shape", ["x"], ["s"]), node(op, ["s", "k"], ["n"]), node("Reshape", ["x", "n"], ["y"])]
    assert "integers" in refused(model(nodes, [ints("k", [1, 1])], out=["N", 3]), Code.UNKNOWN_OPERATOR)


LIMIT = st.integers(-7, 7) | st.sampled_from([2**31 - 1, 2**63 - 1, -2**31, -2**62])


@covers("Slice")
@given(shape=SHAPE, seed=SEED, data=st.data(), opset=st.sampled_from([11, 13]))
@settings(max_examples=80, deadline=None)
def test_slice(shape, seed, data, opset):
    axes = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True, min_size=1))
    starts, ends = ([data.draw(LIMIT) for _ in axes] for _ in range(2))
    steps = [data.draw(st.sampled_from([1, 2, -1, -2])) for _ in axes]
    ends = [e if s > 0 or e < 2**31 - 1 else 3 for e, s in zip(ends, steps, strict=True)]
    tensors = [ints(name, v) for name, v in (("s", starts), ("e", ends), ("a", axes), ("p", steps))]
    nodes = [node("Slice", ["x", "s", "e", "a", "p"], ["y"])]
    try:
        made = model(nodes, tensors, shape, opset=opset)
    except ValueError:
        refused(model(nodes, tensors, shape, opset=opset, out=[1] * len(shape)), Code.BAD_SHAPE)
    else:
        agree(made, shape, seed)


def test_slice_without_axes_and_with_steps():
    agree(model([node("Slice", ["x", "s", "e", "", "p"], ["y"])], [ints("s", [0, 2]), ints("e", [1, -9]), ints("p", [1, -1])]), (1, 3))


@covers("Gather")
@given(shape=SHAPE, seed=SEED, data=st.data(), rank=st.integers(0, 2))
@FEW
def test_gather(shape, seed, data, rank):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    index = data.draw(st.lists(st.integers(-shape[axis], shape[axis] - 1), min_size=4, max_size=4))
    where = [index[0], index, [index[:2], index[2:]]][rank]
    agree(model([node("Gather", ["x", "i"], ["y"], axis=axis)], [ints("i", where)], shape), shape, seed)


@covers("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand")
@given(shape=SHAPE, seed=SEED, data=st.data())
@settings(max_examples=50, deadline=None)
def test_moves(shape, seed, data):
    op = data.draw(st.sampled_from(["Reshape", "Zero", "Flatten", "Transpose", "Reverse", "Squeeze", "Unsqueeze", "Expand"]))
    tensors, inputs, extra = [], ["x"], {}
    rank, opset = len(shape), data.draw(st.sampled_from([11, 13, 21]))
    if op in ("Reshape", "Zero"):
        tensors = [ints("a", [2, -1] if op == "Reshape" and np.prod(shape) % 2 == 0 else [0] * (rank - 1) + [-1])]
    elif op == "Flatten":
        extra = {"axis": data.draw(st.integers(-rank, rank))}
    elif op == "Transpose":
        extra = {"perm": data.draw(st.permutations(range(rank)))}
    elif op == "Squeeze":
        ones = [i for i, d in enumerate(shape) if d == 1]
        extra = {"axes": data.draw(st.lists(st.sampled_from(ones), unique=True, min_size=1)) if ones and data.draw(st.booleans()) else None}
    elif op == "Unsqueeze":
        extra = {"axes": data.draw(st.lists(st.integers(0, rank + 1).map(lambda a: a - rank - 2 if data.draw(st.booleans()) else a),
                                            min_size=2, max_size=2, unique_by=lambda a: a % (rank + 2)))}
    elif op == "Expand":
        tensors = [ints("a", [2] + [1] * rank)]
    if opset >= 13 and extra.get("axes") is not None:
        tensors, extra = [ints("a", extra["axes"])], {}
    extra = {k: v for k, v in extra.items() if v is not None}
    op = {"Zero": "Reshape", "Reverse": "Transpose"}.get(op, op)
    nodes = [node(op, inputs + [t.name for t in tensors], ["z"], **extra), node("Tanh", ["z"], ["y"])]
    agree(model(nodes, tensors, shape, opset=opset), shape, seed)


@covers("Constant", "Cast", "Shape", "ConstantOfShape")
@pytest.mark.parametrize("attributes", [
    {"value_float": 0.3}, {"value_floats": [0.1, 0.2, 0.7]}, {"value": floats("v", [0.25])}, {"value": floats("v", [[1.0], [2.0]])},
    {"value": helper.make_tensor("v", 1, [3], [1.5, 2.5, 3.5])},
], ids=str)
def test_constant(attributes):
    agree(model([node("Constant", [], ["c"], **attributes), node("Mul", ["x", "c"], ["y"])]), (1, 3))


INTEGERS = [{"value_int": 3}, {"value_ints": [3]}, {"value": ints("v", [3])}, {"value": helper.make_tensor("v", TensorProto.INT32, [1], [3])}]


@pytest.mark.parametrize("attributes", INTEGERS, ids=str)
def test_integer_constants_in_shapes(attributes):
    nodes = [node("Constant", [], ["c"], **attributes), node("Cast", ["c"], ["d"], to=7), node("Shape", ["x"], ["s"]),
             node("Constant", [], ["i"], value_int=1), node("Gather", ["s", "i"], ["n"]), node("Constant", [], ["one"], value_ints=[-1]),
             node("Reshape", ["n", "one"], ["r"]), node("ConstantOfShape", ["r"], ["z"], value=floats("v", [0.5])), node("Shape", ["z"], ["k"]),
             node("Reshape", ["d", "one"], ["d1"]), node("Concat", ["k", "one"], ["k1"], axis=0), node("Reshape", ["z", "k1"], ["column"]),
             node("Reshape", ["x", "d1"], ["x3"]), node("Add", ["column", "x3"], ["y"])]
    agree(model(nodes, opset=17), (1, 3))


@pytest.mark.parametrize(("opset", "span"), [(13, {}), (17, {"start": 1}), (17, {"start": -3, "end": -1}), (17, {"end": 9})], ids=str)
def test_shape_of_the_batch_is_one(opset, span):
    nodes = [node("Shape", ["x"], ["s"], **span), node("ConstantOfShape", ["s"], ["z"]), node("ReduceSum", ["x"], ["t"]),
             node("Add", ["z", "t"], ["y"])]
    made = model(nodes, shape=["N", 2, 3], opset=opset)
    agree(made, (1, 2, 3))


def test_casts_of_constants():
    nodes = [node("Cast", ["w"], ["v"], to=TensorProto.FLOAT), node("Cast", ["k"], ["f"], to=TensorProto.FLOAT), node("Mul", ["v", "f"], ["c"]),
             node("Mul", ["x", "c"], ["y"])]
    agree(model(nodes, [floats("w", [0.5, 0.25, 3.0], "float64"), ints("k", [2])]), (1, 3))
    refused(model(nodes, [floats("w", [0.1, 0.2, 0.3], "float64"), ints("k", [2])], out=["N", 3]), Code.UNKNOWN_OPERATOR)
    for large in (2**53 + 1, 2**63 - 1, -2**63 + 1):
        refused(model(nodes, [floats("w", [0.5, 0.25, 3.0], "float64"), ints("k", [large])], out=["N", 3]), Code.UNKNOWN_OPERATOR)


def test_half_precision():
    made = model([node("MatMul", ["x", "w"], ["z"]), node("Add", ["z", "c"], ["y"])],
                 [floats("w", [[0.1], [0.2], [0.3]], "float16"), floats("c", [0.4], "float16")], dtype="float16")
    agree(made, (1, 3), dtype="float16")
    graph = read_onnx(made.SerializeToString()).graph
    assert graph.nodes[-1].data.rational()[1] == (Fraction(float(np.float16(0.4))),)


# exactness

def test_a_layer_is_one_affine_node_of_the_very_weights():
    rng = np.random.default_rng(3)
    weight, bias = rng.normal(size=(20, 3)).astype("float32"), rng.normal(size=20).astype("float32")
    for nodes in ([node("Gemm", ["x", "w", "c"], ["y"], transB=1)],
                  [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"], ["z"]), node("Add", ["c", "z"], ["y"])]):
        graph = read_onnx(model(nodes, [floats("w", weight), floats("c", bias)]).SerializeToString()).graph
        assert [n.op for n in graph.nodes] == ["input", "affine"]
        np.testing.assert_array_equal(graph.nodes[1].data.weight, weight)
        np.testing.assert_array_equal(graph.nodes[1].data.bias, bias)
        assert graph.nodes[1].data.exact is None


@pytest.mark.parametrize(("op", "size", "kinds"), [
    ("Mul", 16, ["input", "affine"]), ("Mul", 17, ["input", "const", "mul"]),
    ("Add", 16, ["input", "affine"]), ("Add", 17, ["input", "const", "add"])])
def test_small_constant_factors_and_terms_are_affine(op, size, kinds):
    made = model([node(op, ["x", "c"], ["y"])], [floats("c", np.arange(float(size)))], ["N", size])
    assert [n.op for n in read_onnx(made.SerializeToString()).graph.nodes] == kinds
    agree(made, (1, size))


def test_rows_share_one_copy_of_their_weights():
    graph = read_onnx(model([node("MatMul", ["x", "w"], ["y"])], [floats("w", np.eye(3))], [5, 3]).SerializeToString()).graph
    assert len({id(n.data.weight) for n in graph.nodes if n.op == "affine"}) == 1


def test_subtraction_after_a_product_is_its_bias_too():
    rng = np.random.default_rng(4)
    weight, bias = rng.normal(size=(3, 20)), rng.normal(size=20)
    for inputs, sign in ((["z", "c"], 1.0), (["c", "z"], -1.0)):
        made = model([node("MatMul", ["x", "w"], ["z"]), node("Sub", inputs, ["y"])], [floats("w", weight, "float64"), floats("c", bias, "float64")],
                     dtype="float64")
        graph = read_onnx(made.SerializeToString()).graph
        assert [n.op for n in graph.nodes] == ["input", "affine"]
        np.testing.assert_array_equal(graph.nodes[1].data.weight, sign * weight.T)
        np.testing.assert_array_equal(graph.nodes[1].data.bias, -sign * bias)


@pytest.mark.threat("T09")
def test_two_biases_are_never_added_in_floats():
    """Each bias is representable but their sum is not: a reader that folds them in floats would lose the second."""
    nodes = [node("Gemm", ["x", "w", "c"], ["z"]), node("Add", ["z", "d"], ["v"]), node("Sub", ["v", "c"], ["y"])]
    tensors = [floats("w", np.zeros((3, 1)), "float64"), floats("c", [1e16], "float64"), floats("d", [1.0], "float64")]
    graph = read_onnx(model(nodes, tensors, dtype="float64").SerializeToString()).graph
    value = Fraction(0)
    for n in graph.nodes[1:]:
        value = n.data.rational()[0][0][0] * value + n.data.rational()[1][0]
    assert value == 1


@pytest.mark.threat("T09")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_alpha_and_beta_scale_exactly(dtype):
    """0.1 as float32 times a weight, in rationals."""
    weight, bias = np.array([[0.7], [0.3], [1e-30]], dtype), np.array([0.9], dtype)
    made = model([node("Gemm", ["x", "w", "c"], ["y"], alpha=0.1, beta=0.1)], [floats("w", weight, dtype), floats("c", bias, dtype)], dtype=dtype)
    graph, tenth = read_onnx(made.SerializeToString()).graph, Fraction(float(np.float32(0.1)))
    for i in range(3):
        x = [Fraction(int(i == k)) for k in range(3)]
        assert exact(graph, x) == [Fraction(float(weight[i, 0])) * tenth + Fraction(float(bias[0])) * tenth]


def exact(graph, x):
    """Evaluate a graph of rational operations in rationals."""
    values = []
    for n in graph.nodes:
        args = [values[a] for a in n.args]
        if n.op == "affine":
            weight, bias = n.data.rational()
            values.append([sum((w * v for w, v in zip(row, args[0], strict=True)), c) for row, c in zip(weight, bias, strict=True)])
        elif n.op in ("mul", "add"):
            values.append([p * q if n.op == "mul" else p + q for p, q in zip(*args, strict=True)])
        else:
            values.append({"input": x, "const": [lo for lo, _ in n.data] if n.op == "const" else None}[n.op])
    return values[graph.outputs[0]]


def test_constants_keep_their_decimal_expansion():
    graph = read_onnx(model([node("Mul", ["x", "c"], ["y"])], [floats("c", [0.1])]).SerializeToString()).graph
    assert graph.nodes[-1].data.rational()[0][0][0] == Fraction(13421773, 134217728)


def test_a_network_that_ignores_its_input_keeps_it():
    graph = read_onnx(model([node("Tanh", ["c"], ["y"])], [floats("c", [[0.5]])]).SerializeToString()).graph
    assert graph.input_sizes == (3,) and graph.output_size() == 1


def test_names_and_opset_are_reported():
    found = read_onnx(model([node("Relu", ["x"], ["y"])], opset=14).SerializeToString())
    assert (found.input_name, found.output_name, found.opset) == ("x", "y", 14)


# published networks

@pytest.mark.parametrize("name", ["cartpole_seed1", "path_big_seed0", "path_dt_quadratic", "pendulum_big_seed3", "pendulum_dt", "van_seed0"])
@pytest.mark.parametrize("part", ["controller", "lyapunov"])
def test_published_regions_of_attraction(cases, name, part):
    check_file(cases / "roa" / name / f"{part}.onnx", 1.0)


@pytest.mark.parametrize("name", ["quadrotor2d_output", "quadrotor2d_state"])
def test_published_verification_queries(cases, name):
    check_file(cases / "vnnlib" / f"{name}.onnx", 0.5)


def check_file(path, scale):
    if not path.exists():
        pytest.skip(f"{path.name} is not among the reference cases")
    found = read_onnx(path.read_bytes(), path.name)
    n = found.graph.input_sizes[0]
    rng = np.random.default_rng(5)
    runtime = onnxruntime.InferenceSession(path.read_bytes())
    for x in rng.uniform(-scale, scale, (50, n)).astype("float32"):
        expected = np.asarray(runtime.run(None, {found.input_name: x[None]})[0]).ravel()
        np.testing.assert_allclose(evaluate(found.graph, x.astype(float)), expected, rtol=2e-4, atol=2e-4)
