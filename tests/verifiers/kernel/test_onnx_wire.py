"""Attacks on the bytes of an ONNX file: every one of them ends in a refusal with a code, none in another exception."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.onnx_reader import MAX_BYTES, MAX_FIELDS, OPERATORS, read_onnx
from verifiers.kernel.onnx_wire import Budget, constant, decode
from verifiers.load.floats import evaluate

# a writer of the wire format that can lie; independent of the reader and of the onnx package


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def key(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def field(number: int, content: int | float | str | bytes) -> bytes:
    """An integer as varint, a float as fixed32, anything else with its length."""
    if isinstance(content, int):
        return key(number, 0) + varint(content)
    if isinstance(content, float):
        return key(number, 5) + struct.pack("<f", content)
    content = content.encode() if isinstance(content, str) else content
    return key(number, 2) + varint(len(content)) + content


def message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    return b"".join(field(number, content) for number, content in fields)


def tensor(name: str, dims: list[int], *data: tuple[int, int | float | str | bytes], kind: int = 1) -> bytes:
    return message(*((1, d) for d in dims), (2, kind), (8, name), *data)


def raw(*values: float) -> tuple[int, bytes]:
    return 9, struct.pack(f"<{len(values)}f", *values)


def value(name: str, *dims: int | str, kind: int = 1) -> bytes:
    shape = message(*((1, message((1 if isinstance(d, int) else 2, d))) for d in dims))
    return message((1, name), (2, message((1, message((1, kind), (2, shape))))))


def operator(op: str, inputs: list[str], outputs: list[str], *attributes: bytes) -> bytes:
    return message(*((1, i) for i in inputs), *((2, o) for o in outputs), (4, op), *((5, a) for a in attributes))


WEIGHT = tensor("w", [2, 1], raw(0.5, -2.0))
NODES = (operator("Tanh", ["x"], ["t"]), operator("Gemm", ["t", "w", "c"], ["y"], message((1, "alpha"), (2, 2.0), (20, 1))))
BIAS = tensor("c", [1], raw(1.0))
INPUT, OUTPUT = value("x", "N", 2), value("y", "N", 1)


def graph(nodes=NODES, tensors=(WEIGHT, BIAS), inputs=(INPUT,), outputs=(OUTPUT,), extra: bytes = b"") -> bytes:
    parts = [(1, n) for n in nodes], [(2, "g")], [(5, t) for t in tensors], [(11, i) for i in inputs], [(12, o) for o in outputs]
    return message(*(p for part in parts for p in part)) + extra


def model(body: bytes | None = None, extra: bytes = b"") -> bytes:
    return message((1, 8), (7, graph() if body is None else body), (8, message((2, 17)))) + extra


GOOD = model()


def refused(data: bytes, code: Code) -> str:
    with pytest.raises(Refusal) as caught:
        read_onnx(data, "c.onnx")
    assert caught.value.code is code, str(caught.value)
    return str(caught.value)


def test_the_honest_file_is_read_as_onnx_runtime_reads_it():
    x = [0.3, -0.7]
    expected = 2 * (0.5 * np.tanh(0.3) - 2.0 * np.tanh(-0.7)) + 1.0
    assert evaluate(read_onnx(GOOD).graph, x)[0] == pytest.approx(expected, abs=1e-15)
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is the reference of this test")
    assert runtime.InferenceSession(GOOD).run(None, {"x": np.array([x], "float32")})[0][0, 0] == pytest.approx(expected, abs=1e-6)


# formats that could run code

def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("data.pkl", b"cos\nsystem\n.")
    return out.getvalue()


@pytest.mark.threat("T16")
@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickle(protocol):
    assert "export ONNX" in refused(pickle.dumps({"w": [1.0]}, protocol), Code.FORBIDDEN_FORMAT)


@pytest.mark.threat("T16")
def test_torch_archive():
    refused(archive(), Code.FORBIDDEN_FORMAT)


@pytest.mark.threat("T16")
@pytest.mark.parametrize("data", [b"", pickle.dumps([1.0], 0), b"\x93NUMPY\x01\x00", b"\x89HDF\r\n", b"MZ\x90", b"{}", b"\x00" * 64, b"\xff" * 64])
def test_other_formats(data):
    refused(data, Code.BAD_ONNX)


@pytest.mark.threat("T16")
@pytest.mark.parametrize("tail", [
    archive(), pickle.dumps(1, 4), b"\x00", b"\n", GOOD, b"%PDF-1.7", field(7, graph()), field(1, 8), field(8, message((2, 17)))])
def test_bytes_after_the_end(tail):
    refused(GOOD + tail, Code.BAD_ONNX)


@pytest.mark.threat("T16")
@pytest.mark.parametrize("tail", [
    message((13, message((1, "location"), (2, "../../x"))), (14, 1)), message((13, message((1, "location"), (2, "../../x"))), (14, 0)),
    message((14, 1)), message((14, -1)), message((3, message((1, 0), (2, 9)))),
])
def test_external_data(tail):
    refused(model(graph(tensors=(WEIGHT + tail, BIAS))), Code.BAD_ONNX)
    refused(model(graph(tensors=(tensor("w", [2, 1]) + tail, BIAS))), Code.BAD_ONNX)


# numbers

@pytest.mark.threat("T08")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers(bad):
    assert "'w'" in refused(model(graph(tensors=(tensor("w", [2, 1], raw(0.5, bad)), BIAS))), Code.BAD_WEIGHTS)
    refused(model(graph(tensors=(tensor("w", [2, 1], (4, raw(bad, 1.0)[1])), BIAS))), Code.BAD_WEIGHTS)
    refused(model(graph(tensors=(tensor("w", [2, 1], (10, struct.pack("<2d", bad, 1.0)), kind=11), BIAS))), Code.BAD_WEIGHTS)
    half = struct.unpack("<2H", struct.pack("<2e", bad, 1.0))
    refused(model(graph(tensors=(tensor("w", [2, 1], *((5, h) for h in half), kind=10), BIAS))), Code.BAD_WEIGHTS)
    alpha = message((1, "alpha"), (2, bad), (20, 1))
    refused(model(graph(nodes=(NODES[0], operator("Gemm", ["t", "w"], ["y"], alpha)))), Code.BAD_WEIGHTS)
    listed = message((1, "value_floats"), (7, raw(bad)[1]), (20, 6))
    refused(model(graph(nodes=(*NODES, operator("Constant", [], ["k"], listed)))), Code.BAD_WEIGHTS)


@pytest.mark.parametrize("data", [
    tensor("w", [2, 1], raw(0.5, -2.0, 1.0)), tensor("w", [2, 1], raw(0.5)), tensor("w", [2, 1]), tensor("w", [2, -1], raw(0.5, -2.0)),
    tensor("w", [-2, -1], raw(0.5, -2.0)), tensor("w", [1] * 9, raw(0.5)), tensor("w", [2**62, 2**62], raw(0.5)),
    tensor("w", [2, 1], raw(0.5, -2.0), (4, raw(0.5, -2.0)[1])), tensor("w", [2, 1], (10, struct.pack("<2d", 0.5, 2.0))),
    tensor("w", [2, 1], (9, b"\0" * 7)), tensor("w", [2, 1], (9, b"\0" * 2), kind=9), tensor("w", [2, 1], (9, b"\0" * 4), kind=16),
    tensor("w", [2, 1], (5, 2**31), (5, 1), kind=6), tensor("w", [2, 1], (5, 2**16), (5, 1), kind=10), tensor("w", [2, 1], (5, -1), (5, 1), kind=10),
    tensor("w", [2, 1], (6, "0.5"), (6, "1"), kind=8), tensor("", [2, 1], raw(0.5, -2.0)), tensor("w", [2, 1], raw(0.5, -2.0), kind=0),
])
def test_tensors_whose_data_do_not_fit(data):
    refused(model(graph(tensors=(data, BIAS))), Code.BAD_ONNX)


@pytest.mark.parametrize("data", [
    tensor("w", [2, 1], (4, 0.5), (4, -2.0)), tensor("w", [2, 1], (4, raw(0.5, -2.0)[1])), tensor("w", [2, 1], (4, 0.5), (4, raw(-2.0)[1])),
    message((9, raw(0.5, -2.0)[1]), (8, "w"), (2, 1), (1, varint(2) + varint(1))), tensor("w", [2, 1], raw(0.5, -2.0), (12, "doc"), (16, "meta")),
])
def test_every_lawful_spelling_of_a_tensor(data):
    found = read_onnx(model(graph(tensors=(data, BIAS)))).graph
    np.testing.assert_array_equal(evaluate(found, [0.3, -0.7]), evaluate(read_onnx(GOOD).graph, [0.3, -0.7]))


def test_half_precision_and_integers_in_typed_fields():
    half = tensor("w", [2, 1], (5, varint(0x3800) + varint(0xC000)), kind=10)
    double = operator("Cast", ["w"], ["v"], message((1, "to"), (3, 1), (20, 2)))
    nodes = (NODES[0], double, operator("Gemm", ["t", "v", "c"], ["y"], message((1, "alpha"), (2, 2.0), (20, 1))))
    found = read_onnx(model(graph(nodes, (half, BIAS)))).graph
    np.testing.assert_array_equal(evaluate(found, [0.3, -0.7]), evaluate(read_onnx(GOOD).graph, [0.3, -0.7]))


# the wire format

@pytest.mark.threat("T15")
def test_a_number_that_is_longer_than_it_need_be():
    refused(key(1, 0) + b"\x88\x00" + GOOD[2:], Code.BAD_ONNX)
    refused(b"\x88\x00\x08" + GOOD[2:], Code.BAD_ONNX)


@pytest.mark.threat("T15")
@pytest.mark.parametrize("data", [
    key(5, 0) + b"\x88" + b"\x80" * 9 + b"\x00", key(5, 0) + b"\xff" * 9 + b"\x02", key(5, 0) + b"\xff" * 11, b"\x88" + b"\x80" * 9 + b"\x00",
    key(6, 2) + varint(2**63), key(6, 2) + varint(2**64 - 1), key(6, 2) + varint(2**31) + b"x", key(6, 2) + varint(10**6) + GOOD,
    key(7, 3) + GOOD, key(7, 4), key(5, 5) + b"\x08\0\0\0", key(5, 1) + b"\x08" + b"\0" * 7, key(6, 0) + b"\1", key(5, 6) + b"\1",
    key(5, 7) + b"\1", key(0, 0) + b"\1", key(0, 2) + b"\0", key(2**29 + 5, 0) + b"\1", varint(2**64 - 1), key(5, 2) + b"\1\x08", key(5, 0),
])
def test_numbers_and_wire_types(data):
    refused(data, Code.BAD_ONNX)
    refused(GOOD + data, Code.BAD_ONNX)


@pytest.mark.threat("T15")
@pytest.mark.parametrize("extra", [
    field(1, 8), field(7, graph()), field(7, b""), field(5, 1) * 2, field(2, "a") * 2, field(20, b""), field(25, b""), field(26, b""),
    field(9, 1), field(99, "x"), field(8, message((1, ""), (2, 17))), field(8, message((2, 13))),
])
def test_fields_of_the_model_that_are_unknown_or_twice(extra):
    refused(model(extra=extra), Code.BAD_ONNX)
    refused(extra + GOOD, Code.BAD_ONNX)


@pytest.mark.threat("T15")
@pytest.mark.parametrize("body", [
    graph(extra=field(2, "g")), graph(extra=field(15, b"")), graph(extra=field(14, b"")), graph(extra=field(3, "a")), graph(extra=field(99, 1)),
    graph(nodes=(NODES[0] + field(3, "a\x1b[2J"), NODES[1])), graph(nodes=(NODES[0] + field(3, b"\xff"), NODES[1])),
    graph(nodes=(NODES[0] + field(4, "Relu"), NODES[1])), graph(nodes=(NODES[0] + field(8, "v2"), NODES[1])),
    graph(nodes=(NODES[0], NODES[1] + field(5, message((1, "alpha"), (2, 1.0), (20, 1))))),
    graph(tensors=(WEIGHT + field(8, "v"), BIAS)), graph(tensors=(WEIGHT + field(2, 1), BIAS)), graph(tensors=(WEIGHT + field(*raw(1.0, 2.0)), BIAS)),
    graph(tensors=(WEIGHT, WEIGHT, BIAS)), graph(tensors=(WEIGHT, BIAS, tensor("", [1], raw(1.0)))),
    graph(tensors=(WEIGHT, BIAS, tensor("t", [2, 1], raw(0.5, -2.0)))),
    graph(inputs=(INPUT + field(1, "x"),)), graph(inputs=(value("x", "N", 2) + field(2, b""),)), graph(inputs=(value("", "N", 2),)),
    graph(inputs=(value("x\u202e", "N", 2),)), graph(inputs=(value("x\x1b[2J", "N", 2),)), graph(inputs=(message((1, b"\xff\xfe")),)),
    graph(inputs=(message((1, "x"), (2, message((4, b"")))),)), graph(inputs=(message((1, "x")),)), graph(inputs=()), graph(outputs=()),
])
def test_fields_of_the_graph_that_are_unknown_or_twice(body):
    refused(model(body), Code.BAD_ONNX)


@pytest.mark.threat("T15")
def test_a_dimension_that_is_both_number_and_symbol():
    shape = message((1, message((2, "N"))), (1, message((1, 2), (2, "M"))))
    refused(model(graph(inputs=(message((1, "x"), (2, message((1, message((1, 1), (2, shape)))))),))), Code.BAD_SHAPE)


@pytest.mark.threat("T15")
@pytest.mark.parametrize("attribute", [
    message((1, "alpha"), (2, 2.0), (20, 2)), message((1, "alpha"), (2, 2.0)), message((1, "alpha"), (2, 2.0), (3, 1), (20, 1)),
    message((1, "alpha"), (2, 2.0), (20, 99)), message((1, "alpha"), (4, "2"), (20, 3)), message((1, "alpha"), (20, 4)),
    message((1, "alpha"), (6, graph()), (20, 5)), message((1, ""), (2, 2.0), (20, 1)), message((1, "self"), (2, 2.0), (20, 1)),
    message((1, "alpha"), (2, 2.0), (7, raw(1.0)[1]), (20, 1)), message((1, "alpha")),
])
def test_attributes_that_contradict_their_type(attribute):
    refused(model(graph(nodes=(NODES[0], operator("Gemm", ["t", "w", "c"], ["y"], attribute)))), Code.UNKNOWN_OPERATOR)


@pytest.mark.threat("T15")
def test_a_list_without_a_type():
    body = graph((operator("Transpose", ["x"], ["y"], message((1, "perm"), (8, 0), (8, 1))),), outputs=(value("y", "N", 2),))
    refused(model(body), Code.UNKNOWN_OPERATOR)


@pytest.mark.threat("T15")
def test_packed_floats_that_are_cut():
    refused(model(graph((*NODES, operator("Constant", [], ["k"], message((1, "value_floats"), (7, b"\0" * 7), (20, 6)))))), Code.BAD_ONNX)


@pytest.mark.threat("T15")
def test_an_attribute_by_reference():
    attribute = message((1, "alpha"), (21, "outer"), (20, 1))
    refused(model(graph(nodes=(NODES[0], operator("Gemm", ["t", "w", "c"], ["y"], attribute)))), Code.BAD_ONNX)


def test_attributes_of_writers_that_omit_zeros():
    """A proto3 writer leaves out a zero; ONNX Runtime reads it as zero."""
    nodes = (NODES[0], operator("Gemm", ["t", "w", "c"], ["y"], message((1, "alpha"), (20, 1)), message((1, "transA"), (20, 2))))
    assert evaluate(read_onnx(model(graph(nodes))).graph, [0.3, -0.7]) == [1.0]


@pytest.mark.threat("T23")
def test_deep_nesting_costs_nothing():
    inner = graph()
    for _ in range(3000):
        inner = message((1, operator("If", ["x"], ["y"], message((1, "then_branch"), (6, inner), (20, 5)))))
    refused(model(graph(nodes=(operator("If", ["x"], ["y"], message((1, "then_branch"), (6, inner), (20, 5))),))), Code.UNKNOWN_OPERATOR)
    shape = b""
    for _ in range(3000):
        shape = field(4, field(1, shape))
    refused(model(graph(inputs=(message((1, "x"), (2, shape)),))), Code.BAD_ONNX)


@pytest.mark.threat("T23")
def test_caps():
    refused(GOOD + b"\0" * MAX_BYTES, Code.TOO_LARGE)
    refused(field(14, b"") * (MAX_FIELDS + 1), Code.TOO_LARGE)
    refused(model(graph(tensors=(message((1, b"\x01" * MAX_FIELDS), (2, 1), (8, "w")), BIAS))), Code.TOO_LARGE)


@pytest.mark.threat("T23")
def test_squared_constants_stay_small():
    """Thirty squarings: a reader that folds constants exactly would need 2**30 digits."""
    nodes = [operator("Mul", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(30)]
    body = graph(nodes=(*nodes, operator("Mul", ["x", "v30"], ["y"])), tensors=(tensor("v0", [1], raw(1.1)),), outputs=(value("y", "N", 2),))
    assert len(read_onnx(model(body)).graph.nodes) < 40


# every byte

@pytest.mark.threat("T15")
def test_truncation_at_every_byte():
    for end in range(len(GOOD)):
        refused(GOOD[:end], Code.BAD_ONNX)


def outcome(data: bytes) -> str:
    """What the reader says; any exception but a refusal fails the test."""
    try:
        read_onnx(data)
    except Refusal as refusal:
        return refusal.code.name
    return "read"


@pytest.mark.threat("T15")
def test_every_single_bit_flip_is_read_or_refused():
    seen = {outcome(GOOD[:i] + bytes([GOOD[i] ^ 1 << bit]) + GOOD[i + 1:]) for i in range(len(GOOD)) for bit in range(8)}
    assert {"read", "BAD_ONNX", "BAD_SHAPE", "UNKNOWN_OPERATOR", "BAD_WEIGHTS"} <= seen


@pytest.mark.threat("T15")
@given(st.binary(max_size=200))
@example(b"\x08\x08\x3a\x00\x42\x02\x10\x11")
@settings(max_examples=300, deadline=None)
def test_random_bytes(data):
    assert outcome(data) != "read"


@pytest.mark.threat("T15")
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 3), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_random_edits(edits):
    data = bytearray(GOOD)
    for place, drop, insert in edits:
        data[place:place + drop] = insert
    outcome(bytes(data))


NUMBER = st.integers(-3, 8) | st.sampled_from([2**31, -2**31, 2**63 - 1, -2**63])
NAMED = {"Gemm": ["alpha", "beta", "transA", "transB"], "LeakyRelu": ["alpha"], "Clip": ["min", "max"], "ReduceSum": ["axes", "keepdims"],
         "Concat": ["axis"], "Slice": ["starts", "ends", "axes"], "Gather": ["axis"], "Split": ["axis", "split", "num_outputs"], "Flatten": ["axis"],
         "Squeeze": ["axes"], "Unsqueeze": ["axes"], "Transpose": ["perm"], "Cast": ["to"], "Shape": ["start", "end"], "Reshape": ["allowzero"],
         "Constant": ["value", "value_float", "value_ints"], "ConstantOfShape": ["value"]}
VALUED = st.one_of(NUMBER.map(lambda v: [(3, v), (20, 2)]), st.floats(-2, 2).map(lambda v: [(2, v), (20, 1)]),
                   st.lists(NUMBER, max_size=3).map(lambda vs: [*((8, v) for v in vs), (20, 7)]),
                   st.lists(st.floats(-2, 2), max_size=2).map(lambda vs: [*((7, raw(v)[1]) for v in vs), (20, 6)]),
                   st.just([(5, tensor("", [1], raw(0.5))), (20, 4)]))


def layer(op):
    """An operator, places of its operands, some of its attributes, and its number of outputs."""
    attributes = st.lists(st.tuples(st.sampled_from(NAMED[op]), VALUED), max_size=2, unique_by=lambda a: a[0]) if op in NAMED else st.just([])
    return st.tuples(st.just(op), st.lists(st.integers(0, 9), max_size=3), attributes, st.sampled_from([1, 1, 1, 2]))


@pytest.mark.threat("T15")
@given(st.lists(st.sampled_from(OPERATORS).flatmap(layer), min_size=1, max_size=4), st.lists(NUMBER, max_size=3), st.sampled_from([11, 12, 13, 18]))
@settings(max_examples=300, deadline=None)
def test_random_graphs_of_known_operators(layers, numbers, opset):
    """Structure-aware: well-formed bytes and names, arbitrary operators, operands and attributes."""
    names, nodes = ["x", "x", "w", "c", "i", "j", ""], []
    for k, (op, inputs, attributes, outputs) in enumerate(layers):
        made = [f"z{k}", f"z{k}b"][:outputs]
        nodes.append(operator(op, [names[-1 - i % len(names)] for i in inputs], made, *(message((1, name), *value) for name, value in attributes)))
        names += made
    nodes.append(operator("Identity", [names[-1]], ["y"]))
    integers = tensor("i", [len(numbers)], *((7, v) for v in numbers), kind=7), tensor("j", [], (7, 1), kind=7)
    for shape in (["N", 1], [2]):
        outcome(message((1, 8), (7, graph(nodes, (WEIGHT, BIAS, *integers), outputs=(value("y", *shape),))), (8, message((2, opset)))))


@pytest.mark.threat("T15")
@pytest.mark.parametrize(("op", "name"), [("Clip", "min"), ("Slice", "axes"), ("ReduceSum", "axes"), ("Squeeze", "axes"), ("Unsqueeze", "axes"),
                                          ("Split", "split")])
@pytest.mark.parametrize("content", [[(3, 1), (20, 2)], [(2, 1.0), (20, 1)], [(5, tensor("", [2, 1], raw(1.0, 2.0))), (20, 4)], [(20, 7)]], ids=str)
def test_lists_of_another_type(op, name, content):
    nodes = [operator(op, ["x"], ["y"], message((1, name), *content))]
    outcome(message((1, 8), (7, graph(nodes, outputs=(value("y", "N", 2),))), (8, message((2, 11)))))


# the edges of what is read

def parts(kind: int = 1, dims: list[int] | None = None, **data) -> dict:
    return {"data_type": kind, "dims": [1] if dims is None else dims, **data}


def test_a_budget_may_be_spent_to_the_last():
    budget = Budget(3, "fields")
    budget.spend(2, "here")
    budget.spend(1, "here")
    with pytest.raises(Refusal) as caught:
        budget.spend(1, "here")
    assert (caught.value.code, caught.value.at) == (Code.TOO_LARGE, "here")


def test_the_largest_number_is_read_and_the_next_is_refused():
    for number in (2**63 - 1, -(2**63), -1, 0, 127, 128):
        assert decode(memoryview(field(3, number)), "Attribute", "a", Budget(9, "fields"))["i"] == number
    assert decode(memoryview(key(3, 0) + b"\xff" * 9 + b"\x01"), "Attribute", "a", Budget(9, "fields"))["i"] == -1
    for data in (b"\x80" * 9 + b"\x02", b"\x80" * 9 + b"\x03", b"\xff" * 9 + b"\x02"):  # 2**64 and more
        with pytest.raises(Refusal) as caught:
            decode(memoryview(key(3, 0) + data), "Attribute", "a", Budget(99, "fields"))
        assert caught.value.code is Code.BAD_ONNX


@pytest.mark.threat("T15")
@pytest.mark.parametrize("data", [key(2, 2) + b"\4" + raw(1.0)[1], key(3, 2) + b"\1\1", key(20, 2) + b"\1\1", key(8, 5) + bytes(4),
                                  key(7, 0) + b"\1", key(7, 1) + bytes(8)],
                         ids=["float", "integer", "type", "list of integers", "varint of floats", "doubles"])
def test_only_lists_are_packed_and_each_kind_has_its_wire_type(data):
    with pytest.raises(Refusal) as caught:
        decode(memoryview(data), "Attribute", "a", Budget(99, "fields"))
    assert caught.value.code is Code.BAD_ONNX


@pytest.mark.parametrize(("kind", "values"), [(6, [-(2**31), 2**31 - 1]), (7, [-(2**63), 2**63 - 1])])
def test_the_least_and_largest_integers_fit(kind, values):
    name = {6: "int32_data", 7: "int64_data"}[kind]
    assert constant(parts(kind, [2], **{name: values}), "t").array.tolist() == values
    assert kind == 7 or constant(parts(10, int32_data=[0]), "t").array.tolist() == [0.0]


@pytest.mark.threat("T15")
def test_dimensions_are_not_negative_and_at_most_eight():
    one = raw(0.5)[1]
    assert constant(parts(dims=[1] * 8, raw_data=one), "t").array.shape == (1,) * 8
    assert constant(parts(dims=[0]), "t").array.shape == constant(parts(dims=[0], raw_data=b""), "t").array.shape == (0,)
    for dims in ([1] * 9, [1, -1, -1], [-1, -1], [-1]):
        with pytest.raises(Refusal) as caught:
            constant(parts(dims=dims, raw_data=one), "t")
        assert caught.value.code is Code.BAD_ONNX
