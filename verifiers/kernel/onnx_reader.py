"""The deployed controller's own bytes, read as a graph: a strict reader of the ONNX wire format for an allow-list of operators.

Nothing is guessed.  A field that the reader does not know, a singular field that occurs twice, a number that is not in shortest form, or bytes
after the end are refused, so that two readers of one file cannot disagree.  The meaning of the graph returned is that of ONNX Runtime in exact
real arithmetic: float16, float32 and float64 constants are the dyadic rationals that they are, integers are only shapes, axes and indices, and float
constants are never combined in arithmetic that rounds.  A symbolic leading dimension of the input (the batch) is read as 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.graph import Affine, Builder, Graph
from verifiers.kernel.onnx_wire import ELEMENTS, FLOATS, MAX_RANK, Array, Budget, Tensor, attribute, constant, decode

MAX_BYTES = 64 << 20
MAX_FIELDS = 600_000
MAX_NODES = 20_000
MAX_WORK = 1 << 30  # bytes, roughly, that the values of all nodes may take
TRUTH = 9  # element type of a comparison
DIAGONAL = 16  # up to this size "x * constant" and "x + constant" are written as an affine node
OPSETS = range(11, 26)  # the versions of the operators below were compared one by one from 11 to 25
IR_VERSIONS = range(3, 15)

_LISTS = {"ReduceSum": "axes", "Squeeze": "axes", "Unsqueeze": "axes", "Split": "split"}  # an attribute before opset 13, then the second input
_TYPES = {"alpha": float, "beta": float, "value_float": float, "perm": Tensor, "axes": Tensor, "split": Tensor,
          "value": Tensor, "value_floats": Tensor, "value_ints": Tensor}  # of the attributes that are no integer


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A network as the kernel understands it.

    Attributes
    ----------
    graph : Graph
        One input vector (n,) and one output vector (m,): the tensors of the file, entries in row-major order, batch 1.
    opset : int
        Version of the operator set whose meaning was applied.
    input_name, output_name : str
        Names of the two tensors in the file.
    """

    graph: Graph
    opset: int
    input_name: str
    output_name: str


class _Operators:
    """The allow-list.

    Each method with a capital letter is the ONNX operator of that name, and its signature lists what it accepts: inputs are positional (None where
    absent), attributes are keywords with ONNX's defaults.  The builder's ``place`` names the ONNX node at work, for refusals.
    """

    def __init__(self, opset: int) -> None:
        self.opset, self.op, self.outputs = opset, "", 1
        self.builder = Builder()
        self.work = Budget(MAX_WORK, "numbers")
        self.values: dict[str, Tensor] = {}
        self.products: dict[int, tuple[int, Array]] = {}  # node of W x: x and W, for the constant that may be added as a bias

    def need(self, condition: object, message: str, code: Code = Code.BAD_SHAPE) -> None:
        need(condition, code, self.builder.place, message)

    def define(self, name: str, value: Tensor) -> None:
        self.need(name and name not in self.values, f"the name {name[:60]!r} is empty or defined twice; export the model again", Code.BAD_ONNX)
        self.values[name] = value

    def run(self, proto: dict[str, Any]) -> None:
        """Apply one node to the values defined so far and define its outputs."""
        op, place, names = proto.get("op_type", ""), self.builder.place, proto["input"]
        allowed = op in OPERATORS and proto.get("domain", "") in ("", "ai.onnx")
        self.need(allowed, f"the operator is not on the allow-list; rewrite the layer with {', '.join(OPERATORS)}", Code.UNKNOWN_OPERATOR)
        self.need(all(name in self.values for name in names if name), "an input is not defined before it is used; export anew", Code.BAD_ONNX)
        inputs = [self.values[name] if name else None for name in names]
        attributes = {a.get("name", ""): attribute(a, f"{place}, attribute {a.get('name', '')[:60]!r}") for a in proto["attribute"]}
        self.need(len(attributes) == len(proto["attribute"]), "an attribute is given twice; export the model again", Code.BAD_ONNX)
        for name, value in attributes.items():
            self.need(type(value) is _TYPES.get(name, int), f"attribute {name[:60]} is unknown or has a wrong type", Code.UNKNOWN_OPERATOR)
        if self.opset < 13 and op in _LISTS:
            self.need(len(inputs) == 1, f"{_LISTS[op]} is an attribute before opset 13; export the model again", Code.BAD_ONNX)
            inputs.append(attributes.pop(_LISTS[op], None))
        while inputs and inputs[-1] is None:
            inputs.pop()
        self.need(None not in inputs[:1 if op in ("Clip", "Slice") else None], "an input is missing; export the model again", Code.BAD_ONNX)
        self.op, self.outputs = op.lower(), max(1, len(proto["output"]))
        try:
            found = getattr(self, op)(*inputs, **attributes)
        except TypeError as error:  # inputs and attributes that the method's signature does not have
            raise Refusal(Code.UNKNOWN_OPERATOR, place, f"{str(error)[:160]}; export with another opset") from None
        except (ValueError, IndexError, OverflowError) as error:  # NumPy refuses shapes, axes and indices that do not fit
            raise Refusal(Code.BAD_SHAPE, place, f"{error}; compare the shapes of the tensors") from None
        results = found if isinstance(found, list) else [found]
        self.need(len(results) == len(proto["output"]), f"{len(proto['output'])} outputs where {len(results)} are expected", Code.BAD_ONNX)
        for name, result in zip(proto["output"], results, strict=True):
            self.define(name, result)

    def tensor(self, kind: int, array: Any, node: int | None = None) -> Tensor:
        self.need(np.ndim(array) <= MAX_RANK, f"a tensor has more than {MAX_RANK} dimensions")
        self.spend(np.size(array))
        return Tensor(kind, np.asarray(array), node)

    def like(self, x: Tensor, array: Any) -> Tensor:
        return self.tensor(x.kind, array, x.node)

    def vector(self, kind: int, node: int, shape: Sequence[int]) -> Tensor:
        return self.tensor(kind, np.arange(self.builder.size(node)).reshape(tuple(shape)), node)

    def node(self, x: Tensor, shape: Sequence[int] | None = None) -> int:
        """Graph node of the tensor's entries, row by row, repeated to ``shape``."""
        self.need(x.kind in FLOATS, "integers may only be shapes, axes and indices; export with float tensors", Code.UNKNOWN_OPERATOR)
        entries = x.array if shape is None else np.broadcast_to(x.array, tuple(shape))
        self.spend((64 if x.node is None else 16) * entries.size)
        values = entries.ravel().tolist()
        return self.builder.const([Fraction(v) for v in values]) if x.node is None else self.builder.take(x.node, values)

    def spend(self, numbers: int) -> None:
        self.work.spend(8 * numbers, self.builder.place)

    def joint(self, *shapes: Sequence[int]) -> tuple[int, ...]:
        """Shape to which the shapes broadcast."""
        shape = np.broadcast_shapes(*(tuple(s) for s in shapes))
        self.spend(prod(shape))
        return shape

    def ints(self, x: Tensor | None, rank: int = 1) -> list[int]:
        if x is None:
            return []
        known = x.node is None and x.kind not in FLOATS and x.array.ndim <= rank
        self.need(known, "a shape, axis or index is not constant; export with static shapes", Code.UNKNOWN_OPERATOR)
        return [int(v) for v in x.array.ravel().tolist()]

    def binary(self, op: str, a: Tensor, b: Tensor) -> Tensor:
        shape = self.joint(a.array.shape, b.array.shape)
        self.need(a.kind == b.kind, f"the operands have different element types {a.kind} and {b.kind}", Code.BAD_ONNX)
        fixed, other = (b, a) if b.node is None else (a, b)
        if op in ("add", "sub", "mul") and fixed.node is None and other.node is not None and fixed.kind in FLOATS:
            x, c = self.node(other, shape), np.broadcast_to(fixed.array, shape).ravel()
            if op == "mul" and c.size <= DIAGONAL:
                return self.vector(a.kind, self.builder.affine(x, Affine(np.diag(c), np.zeros(c.size))), shape)
            source, weight = self.products.get(x, (x, np.eye(c.size if c.size <= DIAGONAL else 0)))
            if op != "mul" and weight.size:
                self.spend(weight.size)
                weight, c = (weight, c) if op == "add" else (weight, -c) if fixed is b else (-weight, c)
                return self.vector(a.kind, self.builder.affine(source, Affine(weight, c)), shape)
        return self.vector(a.kind, self.builder.binary(op, self.node(a, shape), self.node(b, shape)), shape)

    def linear(self, x: Tensor, copies: int, block: Array, shape: Sequence[int]) -> Tensor:
        """``block @ part`` for each of the equal parts, ``copies`` of them, into which the entries of ``x`` fall: one affine node."""
        self.spend(copies * copies * block.size)
        source = self.node(x)
        weight: Array = np.kron(np.eye(copies), block)
        out = self.builder.affine(source, Affine(weight, np.zeros(len(weight))))
        self.products[out] = source, weight
        return self.vector(x.kind, out, shape)

    def sum(self, x: Tensor, last: int) -> Tensor:
        """Sum over the last ``last`` axes."""
        shape = x.array.shape[:x.array.ndim - last]
        return self.linear(x, prod(shape), np.ones((1, prod(x.array.shape[len(shape):]))), shape)

    def turn(self, x: Tensor) -> Tensor:
        return self.like(x, x.array.swapaxes(-1, -2))

    def scaled(self, x: Tensor, factor: float) -> Tensor:
        return x if factor == 1.0 else self.binary("mul", x, Tensor(x.kind, np.array(factor)))

    # products and sums

    def MatMul(self, a: Tensor, b: Tensor, /) -> Tensor:
        self.need(a.kind == b.kind and a.array.size and b.array.size, "a matrix product needs two matrices or vectors of one element type")
        left, right = self.like(a, np.atleast_2d(a.array)), b if b.array.ndim > 1 else self.like(b, b.array[:, None])
        self.need(a.array.ndim and left.array.shape[-1] == right.array.shape[-2], f"shapes {a.array.shape} and {b.array.shape} do not fit")
        if right.node is None and right.array.ndim == 2:
            shape = *left.array.shape[:-1], right.array.shape[1]
            out = self.linear(left, prod(shape[:-1]), right.array.T, shape)
        elif left.node is None and left.array.ndim == 2:  # W X = (X' W')'
            out = self.turn(self.MatMul(self.turn(right), self.turn(left)))
        else:
            turned = self.turn(right)
            pairs = self.like(left, left.array[..., :, None, :]), self.like(turned, turned.array[..., None, :, :])
            out = self.sum(self.binary("mul", *pairs), 1)
        drop = [axis for t, axis in ((a, -2), (b, -1)) if t.array.ndim == 1]
        return self.like(out, out.array.squeeze(tuple(drop)))

    def Gemm(self, a: Tensor, b: Tensor, c: Tensor | None = None, /, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
             transB: int = 0) -> Tensor:
        self.need(a.array.ndim == b.array.ndim == 2, "Gemm multiplies two matrices")
        product = self.scaled(self.MatMul(self.turn(a) if transA else a, self.turn(b) if transB else b), alpha)
        self.need(c is None or self.joint(c.array.shape, product.array.shape) == product.array.shape, "C is larger than the product")
        return product if c is None else self.binary("add", product, self.scaled(c, beta))

    def ReduceSum(self, x: Tensor, axes: Tensor | None = None, /, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        listed = self.ints(axes)
        if noop_with_empty_axes and not listed:
            return x
        drop = listed or list(range(x.array.ndim))
        total = self.sum(self.like(x, np.moveaxis(x.array, drop, range(-len(drop), 0))), len(drop))
        return self.like(total, np.expand_dims(total.array, drop)) if keepdims else total

    # elementwise

    def elementwise(self, x: Tensor, /) -> Tensor:
        return self.vector(x.kind, self.builder.unary(self.op, self.node(x)), x.array.shape)

    def arithmetic(self, x: Tensor, /, *more: Tensor) -> Tensor:
        self.need(len(more) == 1 or self.op in ("min", "max"), "two inputs are expected", Code.UNKNOWN_OPERATOR)
        return reduce(partial(self.binary, self.op), more, x)

    Neg = Relu = Tanh = Sigmoid = Softplus = Abs = Sin = Cos = Exp = Sqrt = elementwise  # named as in the graph
    Add = Sub = Mul = Div = Min = Max = arithmetic

    def LeakyRelu(self, x: Tensor, /, *, alpha: float = float(np.float32(0.01))) -> Tensor:
        return self.vector(x.kind, self.builder.unary("leaky_relu", self.node(x), Fraction(alpha)), x.array.shape)

    def Pow(self, x: Tensor, exponent: Tensor, /) -> Tensor:
        shape, k = self.joint(x.array.shape, exponent.array.shape), set(exponent.array.ravel().tolist())
        whole = exponent.node is None and len(k) == 1 and float(max(k)).is_integer()
        self.need(whole, "the exponent is not one constant integer; use Sqrt, Exp or a product", Code.UNKNOWN_OPERATOR)
        return self.vector(x.kind, self.builder.unary("pow", self.node(x, shape), int(max(k))), shape)

    def GreaterOrEqual(self, a: Tensor, b: Tensor, /) -> Tensor:
        self.need(self.opset > 11, "opset 11 has no such operator; export with a later one", Code.UNKNOWN_OPERATOR)
        return replace(self.binary("sub", a, b), kind=TRUTH)  # truth values are kept as the numbers whose sign decides; only Where reads them

    def Where(self, c: Tensor, a: Tensor, b: Tensor, /) -> Tensor:
        self.need(c.kind == TRUTH and a.kind == b.kind, "the condition is no comparison, or the types differ", Code.UNKNOWN_OPERATOR)
        shape = self.joint(c.array.shape, a.array.shape, b.array.shape)
        decides = self.node(replace(c, kind=a.kind), shape)
        return self.vector(a.kind, self.builder.where(decides, self.node(a, shape), self.node(b, shape)), shape)

    def Clip(self, x: Tensor, lo: Tensor | None = None, hi: Tensor | None = None, /) -> Tensor:
        for op, bound in (("max", lo), ("min", hi)):
            if bound is not None:
                x = self.binary(op, x, self.like(bound, bound.array.reshape(())))
        return x

    def Cast(self, x: Tensor, /, *, to: int = 0, saturate: int = 1) -> Tensor:
        if x.node is not None:
            widens = {to, x.kind} <= set(FLOATS) and FLOATS.index(x.kind) <= FLOATS.index(to)
            self.need(widens, "this Cast rounds; use one float type throughout", Code.UNKNOWN_OPERATOR)
            return replace(x, kind=to)
        self.need(to in ELEMENTS, f"Cast to element type {to} is not accepted; cast to float32, float64 or int64", Code.UNKNOWN_OPERATOR)
        with np.errstate(all="ignore"):
            cast = x.array.astype(ELEMENTS[to][0])
        self.need(cast.tolist() == x.array.tolist(), "this Cast rounds a constant; export the constant in its final type", Code.UNKNOWN_OPERATOR)
        return self.tensor(to, cast.astype(np.float64 if to in FLOATS else np.int64))

    # operators that only move entries

    def Identity(self, x: Tensor, /) -> Tensor:
        return x

    def Concat(self, *parts: Tensor, axis: int = MAX_FIELDS) -> Tensor:
        self.need(len({p.kind for p in parts}) == 1, "the parts have different element types", Code.BAD_ONNX)
        self.spend(sum(p.array.size for p in parts))
        if all(p.node is None for p in parts):
            return self.tensor(parts[0].kind, np.concatenate([p.array for p in parts], axis))
        places = np.split(np.arange(sum(p.array.size for p in parts)), np.cumsum([p.array.size for p in parts]))
        node = self.builder.concat([self.node(p) for p in parts if p.array.size])
        return self.tensor(parts[0].kind, np.concatenate([at.reshape(p.array.shape) for p, at in zip(parts, places, strict=False)], axis), node)

    def Slice(self, x: Tensor, starts: Tensor | None = None, ends: Tensor | None = None, axes: Tensor | None = None,
              steps: Tensor | None = None, /) -> Tensor:
        begin, stop = self.ints(starts), self.ints(ends)
        along, pace = self.ints(axes) or range(len(begin)), self.ints(steps) or [1] * len(begin)
        self.need(begin and 0 not in pace, "starts of Slice are missing, or a step is zero", Code.BAD_ONNX)
        self.need(len({axis % max(1, x.array.ndim) for axis in along}) == len(along), "an axis is given twice")
        for first, last, axis, step in zip(begin, stop, along, pace, strict=True):
            self.need(step > 0 or last < (1 << 31) - 1, "a Slice backwards to +infinity has two readings; give a finite end", Code.UNKNOWN_OPERATOR)
            size = x.array.shape[axis]
            x = self.like(x, x.array.take(range(size)[max(first, -size):last:step], axis))  # ONNX clamps a start before the first to the first
        return x

    def Gather(self, x: Tensor, indices: Tensor, /, *, axis: int = 0) -> Tensor:
        self.spend(len(self.ints(indices, MAX_RANK)) * (x.array.size // max(1, x.array.shape[axis])))
        return self.like(x, x.array.take(indices.array, axis))

    def Split(self, x: Tensor, sizes: Tensor | None = None, /, *, axis: int = 0, num_outputs: int = 0) -> list[Tensor]:
        size, count = x.array.shape[axis], self.outputs
        step = -(-size // count)
        parts = self.ints(sizes) or [max(0, min(step, size - k * step)) for k in range(count)]
        self.need(num_outputs in (0, count) and sum(parts) == size and all(p >= 0 for p in parts) and (sizes or num_outputs or size % count == 0),
                  f"an axis of size {size} does not split into {count} such parts")
        return [self.like(x, part) for part in np.split(x.array, np.cumsum(parts)[:-1], axis)]

    def Reshape(self, x: Tensor, shape: Tensor, /, *, allowzero: int = 0) -> Tensor:
        old, listed = x.array.shape, self.ints(shape)
        dims = [old[i] if d == 0 and not allowzero else d for i, d in enumerate(listed)]
        self.need(all(d >= -1 for d in dims), f"a tensor cannot be reshaped to {listed[:9]}")
        return self.like(x, x.array.reshape(dims))

    def Flatten(self, x: Tensor, /, *, axis: int = 1) -> Tensor:
        shape = x.array.shape
        self.need(-len(shape) <= axis <= len(shape), f"axis {axis} does not fit {len(shape)} dimensions")
        return self.like(x, x.array.reshape(prod(shape[:axis]), prod(shape[axis:])))

    def Squeeze(self, x: Tensor, axes: Tensor | None = None, /) -> Tensor:
        return self.like(x, x.array.squeeze(tuple(self.ints(axes)) or None))

    def Unsqueeze(self, x: Tensor, axes: Tensor, /) -> Tensor:
        return self.like(x, np.expand_dims(x.array, self.ints(axes)))

    def Transpose(self, x: Tensor, /, *, perm: Tensor | None = None) -> Tensor:
        return self.like(x, x.array.transpose(None if perm is None else self.ints(perm)))

    def Expand(self, x: Tensor, shape: Tensor, /) -> Tensor:
        return self.like(x, np.broadcast_to(x.array, self.joint(x.array.shape, self.ints(shape))))

    # constants and shapes

    def Constant(self, /, **attributes: Any) -> Tensor:
        name, value = next(iter(attributes.items()), ("", None))
        one = len(attributes) == 1 and name in ("value", "value_float", "value_floats", "value_int", "value_ints")
        self.need(one, "Constant is not one tensor, number or list of numbers", Code.UNKNOWN_OPERATOR)
        return value if isinstance(value, Tensor) else self.tensor(1 if name == "value_float" else 7, np.array(value))

    def Shape(self, x: Tensor, /, *, start: int = 0, end: int = MAX_RANK) -> Tensor:
        return self.tensor(7, np.array(x.array.shape[start:end], dtype=np.int64))

    def ConstantOfShape(self, shape: Tensor, /, *, value: Tensor = Tensor(1, np.zeros(1))) -> Tensor:  # noqa: B008
        return self.like(value, np.broadcast_to(value.array.reshape(()), self.joint(self.ints(shape))))


OPERATORS = tuple(sorted(name for name in vars(_Operators) if name[0].isupper()))


def _declared(value: dict[str, Any], at: str) -> tuple[int, list[int | None]]:
    """Element type and dimensions (None where symbolic) that the file declares for its input or output."""
    tensor = value.get("type", {}).get("tensor_type", {})
    need("shape" in tensor and tensor.get("elem_type") in FLOATS, Code.BAD_ONNX, at, "a float tensor with declared dimensions is expected")
    dims = tensor["shape"]["dim"]
    need(all(d.get("dim_value", 1) >= 1 and not {"dim_value", "dim_param"} <= d.keys() for d in dims), Code.BAD_SHAPE, at,
          "a dimension is zero, negative or ambiguous; export with static shapes")
    return tensor["elem_type"], [d.get("dim_value") for d in dims]


def read_onnx(data: bytes, at: str = "model.onnx", jumps: bool = False) -> OnnxModel:
    """Read an ONNX file as a graph with one input vector and one output vector.

    Parameters
    ----------
    data : bytes
        The file's bytes, exactly those that are hashed and deployed.
    at : str
        Name of the file, for messages.
    jumps : bool
        Whether the network may jump, at a comparison: only where nothing needs it to be continuous.

    Returns
    -------
    OnnxModel
        The graph; its value is that of the file's network in exact real arithmetic.

    Raises
    ------
    Refusal
        ``FORBIDDEN_FORMAT`` for a pickle or zip file, ``TOO_LARGE`` over a cap, ``BAD_ONNX`` for damaged, ambiguous or not self-contained
        bytes, ``BAD_WEIGHTS`` for NaN and infinities, ``UNKNOWN_OPERATOR`` outside the allow-list, ``BAD_SHAPE`` for tensors that do not fit or
        dynamic dimensions other than a leading batch, ``BAD_GRAPH`` for a layer that the graph cannot express, ``UNSUPPORTED`` for a comparison
        where the network may not jump.

    Notes
    -----
    Direction: exact.  Opsets 11 to 25 of the default domain; the operators are listed in ``OPERATORS``.  Float rounding of the deployed
    inference is not modelled here, nor are the overflows of its float type.

    References
    ----------
    .. [1] Open Neural Network Exchange, operator schemas and IR specification, https://github.com/onnx/onnx/tree/main/docs.
    """
    need(data[:2] != b"PK" and data[:1] != b"\x80", Code.FORBIDDEN_FORMAT, at, "this is a pickle or zip file (.pt, .pth, .pkl); export ONNX")
    need(len(data) <= MAX_BYTES, Code.TOO_LARGE, at, f"the file has {len(data)} bytes, more than {MAX_BYTES}; use a smaller network")
    model = decode(memoryview(data), "Model", at, Budget(MAX_FIELDS, "fields"))
    versions = [o.get("version") for o in model["opset_import"] if o.get("domain", "") in ("", "ai.onnx")]
    need(model.get("ir_version") in IR_VERSIONS and len(versions) == 1 and versions[0] in OPSETS, Code.BAD_ONNX, at,
         f"IR version {model.get('ir_version')} with opsets {versions[:9]} is not read; export with one opset between 11 and 25")
    graph: dict[str, Any] = model.get("graph", {"node": [], "initializer": [], "input": [], "output": []})
    need(len(graph["node"]) <= MAX_NODES, Code.TOO_LARGE, at, f"{len(graph['node'])} nodes, more than {MAX_NODES}; use a smaller network")
    need(len(graph["input"]) == len(graph["output"]) == 1, Code.BAD_ONNX, at,
         f"{len(graph['input'])} inputs and {len(graph['output'])} outputs where one of each is expected; keep weights out of the inputs")
    operators = _Operators(versions[0])
    builder, (source, target) = operators.builder, (graph[side][0].get("name", "") for side in ("input", "output"))
    for proto in graph["initializer"]:
        builder.place = f"{at}: tensor {proto.get('name', '')[:60]!r}"
        operators.define(proto.get("name", ""), constant(proto, builder.place))
    builder.place = f"{at}: input {source[:60]!r}"
    kind, dims = _declared(graph["input"][0], builder.place)
    shape = [d or 1 for d in dims]
    operators.need(None not in dims[len(dims) > 1:], "only a leading batch dimension may be symbolic; export the others as numbers")
    operators.need(len(shape) <= MAX_RANK and prod(shape) <= MAX_FIELDS, "the input is too large; use a smaller network", Code.TOO_LARGE)
    operators.define(source, operators.vector(kind, builder.input(prod(shape)), shape))
    for i, node in enumerate(graph["node"]):
        builder.place = f"{at}: node {i} {node.get('name', '')[:60]!r} ({node.get('op_type', '')[:60]!r})"
        operators.run(node)
    builder.place = f"{at}: output {target[:60]!r}"
    operators.need(target in operators.values, "no node computes the output; export the model again", Code.BAD_ONNX)
    result, (kind, dims) = operators.values[target], _declared(graph["output"][0], builder.place)
    fits = len(dims) == result.array.ndim and all(d in (None, size) for d, size in zip(dims, result.array.shape, strict=True))
    operators.need(result.kind == kind and fits and result.array.size, f"the network yields shape {result.array.shape}, not the declared {dims}")
    found = OnnxModel(builder.build([operators.node(result)]), versions[0], source, target)
    smooth = jumps or all(node.op != "where" for node in found.graph.nodes)
    need(smooth, Code.UNSUPPORTED, at, "a comparison makes the network jump; only a controller in discrete time may, so use Min, Max, Relu or Clip")
    return found
