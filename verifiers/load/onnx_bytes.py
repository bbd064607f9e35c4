"""Writes ONNX without any library: tensors, nodes and models as the bytes of protocol buffers.

The counterpart of the strict reader :mod:`verifiers.kernel.onnx_wire`: numbers are in shortest form and each field is written once, in order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

FLOAT, INT64, DOUBLE = 1, 7, 11
_DTYPES = {FLOAT: "<f4", DOUBLE: "<f8", INT64: "<i8", 10: "<f2", 6: "<i4"}


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    """An integer field."""
    return _varint(field << 3) + _varint(value)


def chunk(field: int, payload: bytes | str) -> bytes:
    """A text, bytes or message field."""
    data = payload.encode() if isinstance(payload, str) else payload
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def tensor(name: str, kind: int, values: Any) -> bytes:
    """A TensorProto of ONNX element type ``kind`` (1 float32, 11 float64, 7 int64, 10 float16, 6 int32).

    Raises
    ------
    ValueError
        When a value has no exact place in the element type.
    """
    wanted = np.asarray(values)
    with np.errstate(all="ignore"):
        data = wanted.astype(_DTYPES[kind])
    if not np.array_equal(data.astype(wanted.dtype), wanted):
        raise ValueError(f"the tensor {name!r} has values that element type {kind} cannot hold exactly")
    return b"".join(number(1, d) for d in data.shape) + number(2, kind) + chunk(8, name) + chunk(9, np.ascontiguousarray(data).tobytes())


def _attribute(name: str, value: int | float | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return chunk(1, name) + number(3, value) + number(20, 2)
    if isinstance(value, float):
        return chunk(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    return chunk(1, name) + b"".join(number(8, v) for v in value) + number(20, 7)


def node(op: str, inputs: Iterable[str], outputs: Iterable[str], **attributes: int | float | Sequence[int]) -> bytes:
    """A NodeProto; floats among the attributes are rounded to float32, as the format has it."""
    return (b"".join(chunk(1, x) for x in inputs) + b"".join(chunk(2, y) for y in outputs) + chunk(4, op)
            + b"".join(chunk(5, _attribute(name, value)) for name, value in attributes.items()))


def value_info(name: str, kind: int, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto with fixed dimensions."""
    dims = b"".join(chunk(1, number(1, d)) for d in shape)
    return chunk(1, name) + chunk(2, chunk(1, number(1, kind) + chunk(2, dims)))


def model(nodes: Iterable[bytes], tensors: Iterable[bytes], source: bytes, target: bytes, *, opset: int = 17, ir: int = 8) -> bytes:
    """A ModelProto with one input ``source`` and one output ``target``."""
    graph = (b"".join(chunk(1, n) for n in nodes) + chunk(2, "network") + b"".join(chunk(5, t) for t in tensors)
             + chunk(11, source) + chunk(12, target))
    return number(1, ir) + chunk(2, "certctl") + chunk(7, graph) + chunk(8, number(2, opset))
