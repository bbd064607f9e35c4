"""The ONNX wire format, read strictly: bytes to fields, tensors and attributes, without any library of protocol buffers.

A field that is not known here, a singular field that occurs twice, a number that is not in shortest form, or a byte after the end is refused,
so that two readers of one file cannot disagree.  Tensors are the numbers that they are: float16, float32 and float64 are dyadic rationals, held
exactly in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from verifiers.kernel.codes import Code, Refusal, need

Array = npt.NDArray[Any]
MAX_RANK = 8
FLOATS = (10, 1, 11)  # element types float16, float32, float64, by precision
ELEMENTS = {10: ("<f2", "int32_data"), 1: ("<f4", "float_data"), 11: ("<f8", "double_data"), 6: ("<i4", "int32_data"), 7: ("<i8", "int64_data")}

# Messages field by field: number, name, kind; a field without a name is not looked into.  Kinds: i varint, f float32, d float64, s text, b bytes,
# or a message; * repeated.  A number that is not listed is refused: external data, segments, functions, training, quantisation, sparse tensors.
_MESSAGES = {message: {int(field[0]): (field[-2], field[-1]) for field in map(str.split, fields.split(","))} for message, fields in {
    "Model": "1 ir_version i,2 b,3 b,4 b,5 i,6 b,7 graph Graph,8 opset_import Opset*,14 b*",
    "Opset": "1 domain s,2 version i",
    "Graph": "1 node Node*,2 b,5 initializer Tensor*,10 b,11 input Value*,12 output Value*,13 b*,16 b*",
    "Node": "1 input s*,2 output s*,3 name s,4 op_type s,5 attribute Attribute*,6 b,7 domain s,9 b*",
    "Attribute": "1 name s,2 f f,3 i i,4 b,5 t Tensor,6 b,7 floats f*,8 ints i*,9 b*,10 b*,11 b*,13 doc_string b,14 b,15 b*,20 type i,22 b,23 b*",
    "Tensor": "1 dims i*,2 data_type i,4 float_data f*,5 int32_data i*,7 int64_data i*,8 name s,9 raw_data b,10 double_data d*,12 b,"
              "14 data_location i,16 b*",
    "Value": "1 name s,2 type Type,3 b,4 b*",
    "Type": "1 tensor_type TensorType,6 b",
    "TensorType": "1 elem_type i,2 shape Shape",
    "Shape": "1 dim Dim*",
    "Dim": "1 dim_value i,2 dim_param s,3 b",
}.items()}
_WIRE = {"i": (0, 1), "d": (1, 8), "f": (5, 4)}  # wire type and width; everything else is length-delimited


class Budget:
    """What reading may still cost; running out declines the file instead of exhausting the machine."""

    def __init__(self, left: int, what: str) -> None:
        self.left, self.what = left, what

    def spend(self, amount: int, at: str) -> None:
        """Count ``amount``, or refuse with ``TOO_LARGE``."""
        self.left -= amount
        need(self.left >= 0, Code.TOO_LARGE, at, f"the model has too many {self.what} to be read; use a smaller network")


def _varint(data: memoryview, position: int, at: str, budget: Budget) -> tuple[int, int]:
    """Read a signed 64-bit integer; return it and the position after it."""
    budget.spend(1, at)
    value = 0
    for k, byte in enumerate(data[position:position + 10]):
        value |= (byte & 127) << 7 * k
        if byte < 128:
            need((byte or k == 0) and value < 1 << 64, Code.BAD_ONNX, at, "a number is not written in its shortest form; the file is damaged")
            return value - (value >> 63 << 64), position + k + 1
    raise Refusal(Code.BAD_ONNX, at, "a number is cut or too long; the file is truncated, damaged or not ONNX")


def decode(data: memoryview, message: str, at: str, budget: Budget) -> dict[str, Any]:
    """Read one message as a dictionary of its fields.

    Parameters
    ----------
    data : memoryview
        The message's bytes, all of them.
    message : str
        ``"Model"``, or the kind of a nested message.
    at : str
        Place, for refusals.
    budget : Budget
        Integers that may still be read, those of the format among them.

    Returns
    -------
    dict
        Repeated fields are lists and always present; singular ones only if they stand in the bytes; floats stay raw little-endian bytes.

    Raises
    ------
    Refusal
        ``BAD_ONNX`` for bytes that are not exactly one message of known fields, ``TOO_LARGE`` over the budget.
    """
    fields: dict[str, Any] = {name: [] for name, kind in _MESSAGES[message].values() if kind[-1] == "*"}
    position = 0
    while position < len(data):
        key, position = _varint(data, position, at, budget)
        need(key >> 3 in _MESSAGES[message], Code.BAD_ONNX, at, f"field {key >> 3} is not accepted; export one plain, self-contained ONNX graph")
        name, kind = _MESSAGES[message][key >> 3]
        place, wire, many, kind = f"{at}.{name}", key & 7, kind[-1] == "*", kind.rstrip("*")
        need(many or name not in fields, Code.BAD_ONNX, place, "the field occurs twice, so that readers may disagree; export the model again")
        expected, width = _WIRE.get(kind, (2, 1))
        size, position = (width, position) if wire in (1, 5) else _varint(data, position, place, budget)  # for wire type 0 the value itself
        chunk = data[position:position + size] if wire else data[:0]
        position += len(chunk)
        need((wire == expected or (many and wire == 2)) and (not wire or (len(chunk) == size and size % width == 0)), Code.BAD_ONNX, place,
             "the field has a wrong wire type or length; the file is truncated or damaged")
        values = _values(chunk, kind, place, budget) if wire else [size]
        if many:
            fields[name] += values
        else:
            fields[name] = values[0]
    return fields


def _values(chunk: memoryview, kind: str, at: str, budget: Budget) -> list[Any]:
    """Content of one field: packed integers, or one value."""
    if kind == "i":
        values, position = [], 0
        while position < len(chunk):
            value, position = _varint(chunk, position, at, budget)
            values.append(value)
        return values
    if kind == "s":
        text = bytes(chunk).decode("utf-8", "surrogateescape")
        need(text.isprintable(), Code.BAD_ONNX, at, "the text is not printable UTF-8; rename the tensor or node")
        return [text]
    return [decode(chunk, kind, at, budget) if kind in _MESSAGES else bytes(chunk)]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the ONNX graph, constant or computed.

    A constant (``node`` is None) holds its entries exactly, in float64 or int64.  For any other value ``array`` holds the place of each entry in
    the vector of graph node ``node``, so that operators which only move entries cost nothing.  ``kind`` is ONNX's element type.
    """

    kind: int
    array: Array
    node: int | None = None


def _floats(raw: bytes, dtype: str, at: str) -> Array:
    values = np.frombuffer(raw, dtype).astype(np.float64)
    need(np.isfinite(values).all(), Code.BAD_WEIGHTS, at, "a number is NaN or infinite; export a network whose training has converged")
    return values


def constant(proto: dict[str, Any], at: str) -> Tensor:
    """Read a TensorProto whose data lie in the file."""
    kind, dims = proto.get("data_type", 0), proto["dims"]
    need(kind in ELEMENTS, Code.BAD_ONNX, at, f"element type {kind} is not accepted; export weights as float32 or float64, shapes as int64")
    dtype, field = ELEMENTS[kind]
    raw, filled = proto.get("raw_data", b""), [name for name, value in proto.items() if name.endswith("_data") and value]
    if filled == [field]:
        stored = np.dtype("<u2" if kind == 10 else dtype)
        lossless = stored.kind == "f" or all(np.iinfo(stored).min <= v <= np.iinfo(stored).max for v in proto[field])
        need(lossless, Code.BAD_ONNX, at, "an integer does not fit the tensor's element type; the file is damaged")
        raw = b"".join(proto[field]) if stored.kind == "f" else np.array(proto[field], stored).tobytes()
    need(filled in (["raw_data"], [field], []) and proto.get("data_location", 0) == 0 and len(dims) <= MAX_RANK and all(d >= 0 for d in dims)
         and len(raw) == prod(dims) * np.dtype(dtype).itemsize, Code.BAD_ONNX, at, f"no data in the file fill dimensions {dims[:9]}; export again")
    return Tensor(kind, (_floats(raw, dtype, at) if kind in FLOATS else np.frombuffer(raw, dtype).astype(np.int64)).reshape(dims))


def attribute(proto: dict[str, Any], at: str) -> Any:
    """Value of an attribute: an int, a float (the exact float32), or a tensor (also for lists of numbers)."""
    field = {1: "f", 2: "i", 4: "t", 6: "floats", 7: "ints"}.get(proto.get("type", 0), "")
    filled = {name for name, value in proto.items() if value != []} - {"name", "type", "doc_string"}
    need(field and filled <= {field} and (field != "t" or filled), Code.UNKNOWN_OPERATOR, at,
         "the attribute is not one number, list of numbers or tensor; text, subgraphs and sparse tensors are not accepted")
    if field == "t":
        return constant(proto["t"], at)
    if field == "floats":
        return Tensor(1, _floats(b"".join(proto["floats"]), "<f4", at))
    if field == "ints":
        return Tensor(7, np.array(proto["ints"], dtype=np.int64))
    return proto.get("i", 0) if field == "i" else float(_floats(proto.get("f", bytes(4)), "<f4", at)[0])
