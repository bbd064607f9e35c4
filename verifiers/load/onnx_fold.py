"""Folds what an ONNX network computes from shapes and constants alone, so that the kernel's reader need not know how.

Exporters write batch sizes as programs: ``Shape``, ``Gather``, ``Unsqueeze``, ``Concat``, ``ConstantOfShape``.  With the batch read as 1 these are
constants.  Here they become tensors of a simplified file, and every other node is carried over byte by byte.  Only integers are computed with; floats
are moved, never combined, so nothing is rounded.  What is then proved is a claim about the *folded* file, for batch 1; that it computes what the
original computes is tested against ONNX Runtime, and not proved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.graph import Graph
from verifiers.kernel.onnx_reader import MAX_BYTES, MAX_FIELDS, read_onnx
from verifiers.kernel.onnx_wire import FLOATS, Budget, Tensor, attribute, constant, decode
from verifiers.load import onnx_bytes as wire

MAX_ENTRIES = 1 << 24
Array = Any
_SAME = frozenset({"Identity", "Neg", "Relu", "Tanh", "Sigmoid", "Softplus", "Abs", "Sin", "Cos", "Exp", "Sqrt", "Log", "Atan", "LeakyRelu", "Clip",
                   "Cast"})
_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide, "Pow": np.power, "Min": np.minimum, "Max": np.maximum}
_INTEGERS = (6, wire.INT64)
_SIZE = 1 << 31
_COUNTED = frozenset({"Add", "Sub", "Mul", "Div"})  # on integers these are folded
_MOVES = frozenset({"Identity", "Concat", "Slice", "Gather", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Expand", "ConstantOfShape"})


@dataclass(frozen=True, eq=False)
class _Value:
    """Entries of a tensor; where it is not ``known`` only their shape means something."""

    kind: int
    array: Array
    known: bool


def _blank(shape: Sequence[int]) -> Array:
    return np.broadcast_to(np.zeros(()), tuple(shape))


class _Node:
    """One node with the values that its inputs have, None for what could not be followed."""

    def __init__(self, proto: dict[str, Any], inputs: list[_Value | None], at: str) -> None:
        self.op, self.inputs = proto.get("op_type", ""), inputs
        self.outputs = proto["output"]
        self.attributes: dict[str, Any] = {}
        for a in proto["attribute"]:
            if a.get("type") in (1, 2, 4, 6, 7):
                self.attributes[a.get("name", "")] = attribute(a, at)

    def integers(self, place: int, name: str) -> list[int] | None:
        """A list of known integers, from an input or (in old opsets) from an attribute."""
        if len(self.inputs) > place:
            value = self.inputs[place]
            if value is None or not value.known or value.kind in FLOATS:
                raise LookupError
            return [int(v) for v in np.ravel(value.array)]
        found = self.attributes.get(name)
        return [int(v) for v in np.ravel(found.array)] if isinstance(found, Tensor) else None

    def moved(self, x: Array) -> Array:
        """Entries of the output of an operator that only moves entries."""
        if self.op == "Identity":
            return x
        if self.op == "Concat":
            parts = [self.array(i) for i in range(len(self.inputs))]
            _small(sum(part.size for part in parts))
            return np.concatenate(parts, int(self.attributes["axis"]))
        if self.op == "Slice":
            return self.sliced(x)
        if self.op == "Gather":
            index, axis = np.array(self.integers(1, ""), dtype=np.int64), int(self.attributes.get("axis", 0))
            _small(index.size * x.size // max(1, x.shape[axis]))
            return np.take(x, index.reshape(np.shape(self.array(1))), axis)
        if self.op in ("Unsqueeze", "Squeeze"):
            axes = self.integers(1, "axes")
            return np.expand_dims(x, axes or []) if self.op == "Unsqueeze" else np.squeeze(x, None if axes is None else tuple(axes))
        if self.op == "Reshape":
            wanted = self.integers(1, "") or []
            zero = bool(self.attributes.get("allowzero", 0))
            return x.reshape([x.shape[i] if d == 0 and not zero else d for i, d in enumerate(wanted)])
        if self.op == "Flatten":
            axis = int(self.attributes.get("axis", 1))
            return x.reshape(int(np.prod(x.shape[:axis])), -1)
        if self.op == "Transpose":
            return np.transpose(x, self.integers(len(self.inputs), "perm"))
        if self.op == "Expand":
            return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(self.integers(1, "") or [])))
        fill = self.attributes.get("value")  # ConstantOfShape
        return np.broadcast_to(np.zeros(()) if fill is None else fill.array.reshape(()), self.integers(0, "") or [])

    def sliced(self, x: Array) -> Array:
        starts, ends = self.integers(1, "starts") or [], self.integers(2, "ends") or []
        axes = (self.integers(3, "axes") if len(self.inputs) in (1, 4, 5) else None) or list(range(len(starts)))
        steps = (self.integers(4, "") if len(self.inputs) == 5 else None) or [1] * len(starts)
        for first, last, axis, step in zip(starts, ends, axes, steps, strict=True):
            if step < 1 or len({a % x.ndim for a in axes}) < len(axes):
                raise LookupError  # backwards or ambiguous: left to the kernel's reader
            where = [slice(None)] * x.ndim
            where[axis] = slice(first, last, step)
            x = x[tuple(where)]
        return x

    def counted(self, a: Array, b: Array) -> Array:
        """Arithmetic on sizes, in which neither an overflow nor the rounding of a division is in doubt."""
        small = all(np.all((-_SIZE < v) & (v < _SIZE)) for v in (a, b))
        if not small or (self.op == "Div" and not (np.all(a >= 0) and np.all(b > 0))):
            raise LookupError
        return _ARITHMETIC[self.op](a, b)

    def array(self, place: int) -> Array:
        value = self.inputs[place]
        if value is None:
            raise LookupError
        return value.array

    def shaped(self) -> Array:
        """Entries without meaning, in the shape that an operator's output has."""
        if self.op in _SAME:
            return self.array(0)
        if self.op in _ARITHMETIC:
            return _blank(np.broadcast_shapes(*(self.array(i).shape for i in range(len(self.inputs)))))
        if self.op == "MatMul":
            return _product(self.array(0).shape, self.array(1).shape)
        if self.op == "Gemm":
            a, b = self.array(0), self.array(1)
            return _product((a.T if self.attributes.get("transA", 0) else a).shape, (b.T if self.attributes.get("transB", 0) else b).shape)
        if self.op == "ReduceSum":
            axes = self.integers(1, "axes")
            summed = np.empty(self.array(0).shape, bool).any(None if axes is None else tuple(axes), keepdims=bool(self.attributes.get("keepdims", 1)))
            return _blank(summed.shape)
        raise LookupError

    def value(self) -> _Value:
        """What the node yields.

        Raises
        ------
        LookupError, ValueError, TypeError, IndexError
            When this cannot be followed; then the node is left to the kernel's reader.
        """
        if len(self.outputs) != 1:
            raise LookupError
        if self.op == "Constant":
            (found,) = self.attributes.values()
            if isinstance(found, Tensor):
                return _Value(found.kind, found.array, True)
            return _Value(1 if isinstance(found, float) else wire.INT64, np.array(found), True)
        if self.op == "Shape":
            shape = self.array(0).shape[slice(self.attributes.get("start"), self.attributes.get("end"))]
            return _Value(wire.INT64, np.array(shape, dtype=np.int64), True)
        known = all(v is not None and v.known for v in self.inputs)
        first = self.inputs[0]
        kind = first.kind if first is not None else 0
        if self.op in _MOVES:
            fill = self.attributes.get("value")
            kind = kind if self.op != "ConstantOfShape" else fill.kind if isinstance(fill, Tensor) else wire.FLOAT
            return _Value(kind, self.moved(self.array(0)), known)
        if known and self.op in _COUNTED and kind == wire.INT64:
            return _Value(kind, self.counted(self.array(0), self.array(1)), True)
        if known and self.op == "Cast" and kind in _INTEGERS and self.attributes.get("to") == wire.INT64:
            return _Value(wire.INT64, self.array(0), True)
        return _Value(kind, self.shaped(), False)


def _small(size: int) -> None:
    """Leave what would fill the memory to the kernel's reader, which declines it."""
    if size > MAX_ENTRIES:
        raise LookupError


def _product(a: tuple[int, ...], b: tuple[int, ...]) -> Array:
    """A blank of the shape that ``a @ b`` has, for matrices and stacks of them."""
    if min(len(a), len(b)) < 2 or a[-1] != b[-2]:
        raise LookupError
    return _blank((*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1]))


def _messages(data: bytes, field: int) -> list[bytes]:
    """Bytes of the length-delimited fields of that number; ``data`` has been decoded before, so it is well formed."""
    found, position = [], 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while position < len(data):
        key = varint()
        if key & 7 == 0:
            varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        if key >> 3 == field:
            found.append(data[position:position + size])
        position += size
    return found


def fold(data: bytes, at: str = "model.onnx") -> bytes:
    """Write an ONNX file again, with its computations on shapes and constants replaced by their results.

    Parameters
    ----------
    data : bytes
        The file's bytes.
    at : str
        Name of the file, for messages.

    Returns
    -------
    bytes
        A file with the same input and output for batch 1; nodes that are not folded are the original's, byte by byte.

    Raises
    ------
    Refusal
        When the bytes are no self-contained ONNX file with one input and one output, as for the kernel's reader.
    """
    need(len(data) <= MAX_BYTES, Code.TOO_LARGE, at, f"the file has {len(data)} bytes, more than {MAX_BYTES}; use a smaller network")
    proto = decode(memoryview(data), "Model", at, Budget(MAX_FIELDS, "fields"))
    graph = proto.get("graph", {"node": [], "initializer": [], "input": [], "output": []})
    versions = [o.get("version", 0) for o in proto["opset_import"] if o.get("domain", "") in ("", "ai.onnx")]
    need(len(graph["input"]) == len(graph["output"]) == len(versions) == 1, Code.BAD_ONNX, at,
         "one input, one output and one opset are expected; keep weights out of the inputs")
    (raw,) = _messages(data, 7)
    source, target = graph["input"][0], graph["output"][0]
    values: dict[str, _Value | None] = {source.get("name", ""): _Value(0, _blank(_dims(source)), False)}
    written: dict[str, bytes] = {}
    for tensor, bytes_ in zip(graph["initializer"], _messages(raw, 5), strict=True):
        name = _new(tensor.get("name", ""), values, at)
        found = constant(tensor, f"{at}: tensor {name[:60]!r}")
        values[name], written[name] = _Value(found.kind, found.array, True), bytes_
    kept: list[tuple[dict[str, Any], bytes]] = []
    for i, (node, bytes_) in enumerate(zip(graph["node"], _messages(raw, 1), strict=True)):
        value = _follow(node, values, f"{at}: node {i}")
        if value is None or not value.known:
            kept.append((node, bytes_))
        for name in node["output"]:
            values[_new(name, values, at)] = value
    used = {name for node, _ in kept for name in node["input"]} | {target.get("name", "")}
    tensors = [written.get(name) or wire.tensor(name, v.kind, v.array) for name, v in values.items() if v is not None and v.known and name in used]
    (declared,) = _messages(raw, 12)
    return wire.model([b for _, b in kept], tensors, _fixed(source, raw), declared, opset=versions[0], ir=max(4, proto.get("ir_version", 0)))


def _new(name: str, values: dict[str, _Value | None], at: str) -> str:
    need(name and name not in values, Code.BAD_ONNX, at, f"the name {name[:60]!r} is empty or defined twice; export the model again")
    return name


def _follow(node: dict[str, Any], values: dict[str, _Value | None], at: str) -> _Value | None:
    inputs = [values.get(name) for name in node["input"]]
    if node.get("domain", "") not in ("", "ai.onnx"):
        return None
    try:
        value = _Node(node, inputs, at).value()
    except (LookupError, ValueError, TypeError):
        return None
    return value if value.array.size <= MAX_ENTRIES else None


def _dims(value: dict[str, Any]) -> list[int]:
    dims = value.get("type", {}).get("tensor_type", {}).get("shape", {"dim": []})["dim"]
    return [d.get("dim_value", 1 if k == 0 else 0) for k, d in enumerate(dims)]


def _fixed(value: dict[str, Any], raw: bytes) -> bytes:
    """The input's declaration with a symbolic leading dimension written as 1; as it is where others are symbolic, which is refused."""
    dims = _dims(value)
    if not all(d > 0 for d in dims):
        return _messages(raw, 11)[0]
    return wire.value_info(value.get("name", ""), value.get("type", {}).get("tensor_type", {}).get("elem_type", 0), dims)


def read_network(data: bytes, at: str = "model.onnx") -> tuple[Graph, bytes]:
    """Read a network as a graph, folded first where the kernel's reader does not take it as it is.

    Returns
    -------
    tuple
        The graph, and the bytes that it was read from: ``data`` itself, or the folded file that any claim is then about.

    Raises
    ------
    Refusal
        When the folded file is refused as well; the message is the one about the file as it is.
    """
    try:
        return read_onnx(data, at).graph, data
    except Refusal as refusal:
        if refusal.code not in (Code.UNKNOWN_OPERATOR, Code.BAD_SHAPE, Code.BAD_ONNX):
            raise
        try:
            folded = fold(data, at)
            return read_onnx(folded, at).graph, folded
        except Refusal:
            raise refusal from None
