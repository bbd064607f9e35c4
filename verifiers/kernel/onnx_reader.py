"""The deployed controller's own bytes, read as a graph: a strict reader of the ONNX wire format for an allow-list of operators.

Nothing is guessed.  A field that the reader does not know, a singular field that occurs twice, a number that is not in shortest form, or bytes
after the end are refused, so that two readers of one file cannot disagree.  The meaning of the graph returned is that of ONNX Runtime in exact
real arithmetic: float16, float32 and float64 constants are the dyadic rationals that they are, shapes are computed on integers, and float
constants are never combined in arithmetic that rounds.  A symbolic leading dimension of the input (the batch) is read as 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np

from verifiers.kernel.codes import Code, Refusal, need
from verifiers.kernel.graph import Affine, Builder, Graph, GraphError
from verifiers.kernel.onnx_wire import ELEMENTS, FLOATS, MAX_RANK, Array, Budget, Tensor, attribute, constant, decode

MAX_BYTES = 64 << 20
MAX_FIELDS = 300_000
MAX_NODES = 20_000
MAX_WORK = 1 << 30  # bytes, roughly, that the values of all nodes may take
DIAGONAL = 16  # up to this size "x * constant" and "x + constant" are written as an affine node
OPSETS = range(7, 26)  # 7 brought NumPy's broadcasting; later versions of the operators below were compared one by one up to 25
IR_VERSIONS = range(3, 15)

_UNARY = frozenset({"Neg", "Relu", "Tanh", "Sigmoid", "Softplus", "Abs", "Sin", "Cos", "Exp", "Sqrt"})  # named as in the graph
_BINARY = frozenset({"Add", "Sub", "Mul", "Div"})
_ON_SIZES = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.floor_divide}
_ATTRIBUTES_BEFORE: dict[str, tuple[Any, ...]] = {  # attributes before this opset, inputs from then on
    "Clip": (11, "min", "max"), "Slice": (10, "starts", "ends", "axes"), "ReduceSum": (13, "axes"), "Squeeze": (13, "axes"),
    "Unsqueeze": (13, "axes"), "Split": (13, "split")}


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
    absent), attributes are keywords with ONNX's defaults.  ``place`` names the ONNX node at work, for refusals.
    """

    def __init__(self, opset: int, at: str) -> None:
        self.opset, self.place, self.outputs = opset, at, 1
        self.builder = Builder()
        self.work = Budget(MAX_WORK, "numbers")
        self.values: dict[str, Tensor] = {}
        self.products: dict[int, tuple[int, Array]] = {}  # node of x W': x and W, for the constant that may be added as a bias

    def need(self, condition: object, message: str, code: Code = Code.BAD_SHAPE) -> None:
        need(condition, code, self.place, message)

    def define(self, name: str, value: Tensor) -> None:
        self.need(name and name not in self.values, f"the name {name[:60]!r} is empty or defined twice; export the model again", Code.BAD_ONNX)
        self.values[name] = value

    def run(self, proto: dict[str, Any]) -> None:
        """Apply one node to the values defined so far and define its outputs."""
        op, names = proto.get("op_type", ""), [a.get("name", "") for a in proto["attribute"]]
        self.need(op in OPERATORS and proto.get("domain", "") in ("", "ai.onnx"), f"the operator is not on the allow-list; rewrite the layer with "
                  f"{', '.join(OPERATORS)}", Code.UNKNOWN_OPERATOR)
        self.need(len(set(names)) == len(names), "an attribute is given twice; export the model again", Code.BAD_ONNX)
        missing = [name[:60] for name in proto["input"] if name and name not in self.values]
        self.need(not missing, f"the inputs {missing[:9]} are not defined before they are used; export the model again", Code.BAD_ONNX)
        attributes = {name: attribute(a, f"{self.place}, attribute {name[:60]!r}") for name, a in zip(names, proto["attribute"], strict=True)}
        self.outputs = max(1, len(proto["output"]))
        try:
            results = self.apply(op, [self.values[name] if name else None for name in proto["input"]], attributes)
        except GraphError as error:
            raise Refusal(Code.BAD_GRAPH, self.place, f"{error}; rewrite this layer") from None
        except (ValueError, IndexError, OverflowError) as error:  # NumPy refuses shapes, axes and indices that do not fit
            raise Refusal(Code.BAD_SHAPE, self.place, f"{error}; compare the shapes of the tensors") from None
        self.need(len(results) == len(proto["output"]), f"{len(proto['output'])} outputs where {len(results)} are expected", Code.BAD_ONNX)
        for name, value in zip(proto["output"], results, strict=True):
            self.define(name, value)

    def apply(self, op: str, inputs: list[Tensor | None], attributes: dict[str, Any]) -> list[Tensor]:
        """Apply an operator, after its inputs and attributes are found to be those of its method's signature."""
        since, *names = _ATTRIBUTES_BEFORE.get(op, (0,))
        if self.opset < since:
            values = [attributes.pop(name, None) for name in names]
            self.need(len(inputs) == 1 and all(v is None or isinstance(v, Tensor | float) for v in values),
                      f"{names} are attributes of floats or lists before opset {since}, not inputs", Code.BAD_ONNX)
            inputs += [Tensor(inputs[0].kind, np.array(v)) if inputs[0] and isinstance(v, float) else v for v in values]
        while inputs and inputs[-1] is None:
            inputs.pop()
        self.need(None not in inputs[:1 if op in ("Clip", "Slice") else None], "an input is missing", Code.BAD_ONNX)
        method: Callable[..., Any] = (partial(self.unary, op.lower(), None) if op in _UNARY else partial(self.binary, op.lower()) if op in _BINARY
                                      else getattr(self, op))
        signature = inspect.signature(method)
        try:
            signature.bind(*inputs, **attributes)
        except TypeError as error:
            raise Refusal(Code.UNKNOWN_OPERATOR, self.place, f"{str(error)[:160]} in this form of the operator; export with another opset") from None
        for name in attributes.keys() & signature.parameters.keys():
            like, value = signature.parameters[name].default, attributes[name]
            self.need(type(value) is (Tensor if like is None else type(like)), f"attribute {name} has the wrong type", Code.BAD_ONNX)
        result = method(*inputs, **attributes)
        return result if isinstance(result, list) else [result]

    def tensor(self, kind: int, array: Any, node: int | None = None) -> Tensor:
        self.need(np.ndim(array) <= MAX_RANK, f"a tensor has more than {MAX_RANK} dimensions")
        self.work.spend(8 * np.size(array), self.place)
        return Tensor(kind, np.asarray(array), node)

    def like(self, x: Tensor, array: Any) -> Tensor:
        return self.tensor(x.kind, array, x.node)

    def vector(self, kind: int, node: int, shape: Sequence[int]) -> Tensor:
        return self.tensor(kind, np.arange(self.builder.size(node)).reshape(tuple(shape)), node)

    def node(self, x: Tensor, shape: Sequence[int] | None = None) -> int:
        """Graph node of the tensor's entries, row by row, repeated to ``shape``."""
        self.need(x.kind in FLOATS, "integers may only be shapes, axes and indices; export with float tensors", Code.UNKNOWN_OPERATOR)
        entries = x.array if shape is None else np.broadcast_to(x.array, tuple(shape))
        self.work.spend((512 if x.node is None else 128) * entries.size, self.place)
        values = entries.ravel().tolist()
        return self.builder.const([Fraction(v) for v in values]) if x.node is None else self.builder.take(x.node, values)

    def joint(self, *shapes: Sequence[int]) -> tuple[int, ...]:
        """Shape to which the shapes broadcast."""
        shape = np.broadcast_shapes(*(tuple(s) for s in shapes))
        self.work.spend(8 * prod(shape), self.place)
        return shape

    def ints(self, x: Tensor | None) -> list[int]:
        if x is None:
            return []
        self.need(x.node is None and x.kind not in FLOATS and x.array.ndim <= 1, "a shape, axis or index is not a list of constant integers; "
                  "export with static shapes", Code.UNKNOWN_OPERATOR)
        return [int(v) for v in x.array.ravel().tolist()]

    def axes(self, values: Sequence[int], rank: int) -> list[int]:
        places = [v + rank if v < 0 else v for v in values]
        self.need(all(0 <= p < rank for p in places) and len(set(places)) == len(places), f"axes {values[:9]} do not fit {rank} dimensions")
        return places

    def unary(self, op: str, data: Any, x: Tensor, /) -> Tensor:
        return self.vector(x.kind, self.builder.unary(op, self.node(x), data), x.array.shape)

    def binary(self, op: str, a: Tensor, b: Tensor, /) -> Tensor:
        shape = self.joint(a.array.shape, b.array.shape)
        self.need(a.kind == b.kind, f"the operands have different element types {a.kind} and {b.kind}", Code.BAD_ONNX)
        if a.kind not in FLOATS:
            sizes = all(np.all(abs(t.array.clip(-(1 << 31))) < 1 << 31) for t in (a, b))  # so that int64 cannot overflow
            positive = op != "div" or (np.all(a.array >= 0) and np.all(b.array > 0))
            self.need(op in _ON_SIZES and sizes and positive, "integers may only be sizes here", Code.UNKNOWN_OPERATOR)
            return self.tensor(a.kind, _ON_SIZES[op](a.array, b.array))
        constant, other = (b, a) if b.node is None else (a, b)
        if constant.node is None and other.node is not None and op in ("add", "sub", "mul"):
            x, c = self.node(other, shape), np.broadcast_to(constant.array, shape).ravel()
            source, weight = self.products.get(x, (x, np.eye(c.size if c.size <= DIAGONAL else 0)))
            if op == "mul" and c.size <= DIAGONAL:
                return self.vector(a.kind, self.builder.affine(x, Affine(np.diag(c), np.zeros(c.size))), shape)
            if op != "mul" and weight.size:
                self.work.spend(8 * weight.size, self.place)
                weight, c = (weight, c) if op == "add" else (weight, -c) if constant is b else (-weight, c)
                return self.vector(a.kind, self.builder.affine(source, Affine(weight, c)), shape)
        return self.vector(a.kind, self.builder.binary(op, self.node(a, shape), self.node(b, shape)), shape)

    def rows(self, x: Tensor, weight: Array) -> Tensor:
        """``x @ weight`` with a constant matrix (k, p), for each row of ``x`` (..., k)."""
        self.work.spend(8 * weight.size, self.place)
        parts, turned = [], np.ascontiguousarray(weight.T)  # one copy for all rows
        for row in x.array.reshape(-1, x.array.shape[-1]):
            source = self.node(Tensor(x.kind, row, x.node))
            parts.append(self.builder.affine(source, Affine(turned, np.zeros(len(turned)))))
            self.products[parts[-1]] = (source, turned)
        return self.vector(x.kind, self.builder.concat(parts), (*x.array.shape[:-1], len(turned)))

    def sum(self, x: Tensor, last: int) -> Tensor:
        """Sum over the last ``last`` axes: an affine node of zeros and ones."""
        shape = x.array.shape[:x.array.ndim - last]
        size, terms = prod(shape), prod(x.array.shape[len(shape):])
        self.work.spend(8 * size * size * terms, self.place)
        ones = Affine(np.repeat(np.eye(size), terms, axis=1), np.zeros(size))
        return self.vector(x.kind, self.builder.affine(self.node(x), ones), shape)

    def scaled(self, x: Tensor, factor: float) -> Tensor:
        if factor == 1.0:
            return x
        if x.node is None and x.kind != 11:  # two float32 numbers have an exact product in float64
            return self.like(x, x.array * factor)
        return self.binary("mul", x, Tensor(x.kind, np.array(factor)))

    # products and sums

    def MatMul(self, a: Tensor, b: Tensor, /) -> Tensor:
        self.need(a.kind == b.kind and a.array.size and b.array.size, "a matrix product needs two matrices or vectors of one element type")
        left, right = self.like(a, np.atleast_2d(a.array)), b if b.array.ndim > 1 else self.like(b, b.array[:, None])
        self.need(a.array.ndim and left.array.shape[-1] == right.array.shape[-2], f"shapes {a.array.shape} and {b.array.shape} do not fit")
        turned = self.like(right, right.array.swapaxes(-1, -2))
        if right.node is None and right.array.ndim == 2:
            out = self.rows(left, right.array)
        elif left.node is None and left.array.ndim == 2:  # W X = (X' W')'
            out = self.rows(turned, left.array.T)
            out = self.like(out, out.array.swapaxes(-1, -2))
        else:
            pairs = self.like(left, left.array[..., :, None, :]), self.like(turned, turned.array[..., None, :, :])
            out = self.sum(self.binary("mul", *pairs), 1)
        drop = [axis for t, axis in ((a, -2), (b, -1)) if t.array.ndim == 1]
        return self.like(out, out.array.squeeze(tuple(drop)))

    def Gemm(self, a: Tensor, b: Tensor, c: Tensor | None = None, /, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
             transB: int = 0) -> Tensor:
        self.need(a.array.ndim == b.array.ndim == 2, "Gemm multiplies two matrices")
        a, b = (self.like(x, x.array.T) if turn else x for x, turn in ((a, transA), (b, transB)))
        on_b = b.node is None and b.kind != 11
        product = self.MatMul(a, self.scaled(b, alpha)) if on_b else self.MatMul(self.scaled(a, alpha), b)
        self.need(c is None or self.joint(c.array.shape, product.array.shape) == product.array.shape, "C is larger than the product")
        return product if c is None else self.binary("add", product, self.scaled(c, beta))

    def ReduceSum(self, x: Tensor, axes: Tensor | None = None, /, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        listed, rank = self.ints(axes), x.array.ndim
        if noop_with_empty_axes and not listed:
            return x
        drop = self.axes(listed, rank) or list(range(rank))
        total = self.sum(self.like(x, x.array.transpose([i for i in range(rank) if i not in drop] + drop)), len(drop))
        return self.like(total, np.expand_dims(total.array, drop)) if keepdims else total

    # elementwise

    def LeakyRelu(self, x: Tensor, /, *, alpha: float = float(np.float32(0.01))) -> Tensor:
        return self.unary("leaky_relu", Fraction(alpha), x)

    def Pow(self, x: Tensor, exponent: Tensor, /) -> Tensor:
        shape, k = self.joint(x.array.shape, exponent.array.shape), set(exponent.array.ravel().tolist())
        self.need(exponent.node is None and len(k) == 1 and float(max(k)).is_integer(), "the exponent is not one constant integer; "
                  "use Sqrt, Exp or a product", Code.UNKNOWN_OPERATOR)
        return self.vector(x.kind, self.builder.unary("pow", self.node(x, shape), int(max(k))), shape)

    def Clip(self, x: Tensor, lo: Tensor | None = None, hi: Tensor | None = None, /) -> Tensor:
        for op, bound in (("max", lo), ("min", hi)):
            if bound is not None:
                x = self.binary(op, x, self.like(bound, bound.array.reshape(())))
        return x

    def Min(self, x: Tensor, /, *more: Tensor) -> Tensor:
        return reduce(partial(self.binary, "min"), more, x)

    def Max(self, x: Tensor, /, *more: Tensor) -> Tensor:
        return reduce(partial(self.binary, "max"), more, x)

    def Cast(self, x: Tensor, /, *, to: int = 0, saturate: int = 1) -> Tensor:
        order = [*FLOATS, to]
        if x.node is not None:
            self.need(order.index(x.kind) <= order.index(to) < 3, "this Cast rounds; use one float type throughout", Code.UNKNOWN_OPERATOR)
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
        self.work.spend(8 * sum(p.array.size for p in parts), self.place)
        if all(p.node is None for p in parts):
            return self.tensor(parts[0].kind, np.concatenate([p.array for p in parts], axis))
        ends = np.cumsum([p.array.size for p in parts]).tolist()
        places = [np.arange(end - p.array.size, end).reshape(p.array.shape) for p, end in zip(parts, ends, strict=True)]
        node = self.builder.concat([self.node(p) for p in parts if p.array.size])
        return self.tensor(parts[0].kind, np.concatenate(places, axis), node)

    def Slice(self, x: Tensor, starts: Tensor | None = None, ends: Tensor | None = None, axes: Tensor | None = None,
              steps: Tensor | None = None, /) -> Tensor:
        begin, stop = self.ints(starts), self.ints(ends)
        along, pace = self.axes(self.ints(axes) or range(len(begin)), x.array.ndim), self.ints(steps) or [1] * len(begin)
        self.need(begin and 0 not in pace, "starts of Slice are missing, or a step is zero", Code.BAD_ONNX)
        for first, last, axis, step in zip(begin, stop, along, pace, strict=True):
            self.need(step > 0 or last < (1 << 31) - 1, "a Slice backwards to +infinity has two readings; give a finite end", Code.UNKNOWN_OPERATOR)
            size = x.array.shape[axis]
            first, last = (v + size if v < 0 else v for v in (first, last))
            first, last = min(max(first, 0), size - (step < 0)), min(max(last, -(step < 0)), size)
            x = self.like(x, x.array.take(np.arange(first, last, step), axis))
        return x

    def Gather(self, x: Tensor, indices: Tensor, /, *, axis: int = 0) -> Tensor:
        index = np.array(self.ints(replace(indices, array=indices.array.ravel())), dtype=np.int64).reshape(indices.array.shape)
        self.work.spend(8 * index.size * (x.array.size // max(1, x.array.shape[axis])), self.place)
        return self.like(x, x.array.take(index, axis))

    def Split(self, x: Tensor, sizes: Tensor | None = None, /, *, axis: int = 0, num_outputs: int = 0) -> list[Tensor]:
        size, count = x.array.shape[self.axes([axis], x.array.ndim)[0]], self.outputs
        step = -(-size // count)
        parts = self.ints(sizes) or [max(0, min(step, size - k * step)) for k in range(count)]
        self.need(num_outputs in (0, count) and sum(parts) == size and all(p >= 0 for p in parts) and (sizes or num_outputs or size % count == 0),
                  f"an axis of size {size} does not split into {count} such parts")
        ends = np.cumsum(parts).tolist()
        return [self.like(x, x.array.take(np.arange(end - part, end), axis)) for part, end in zip(parts, ends, strict=True)]

    def Reshape(self, x: Tensor, shape: Tensor, /, *, allowzero: int = 0) -> Tensor:
        old, listed = x.array.shape, self.ints(shape)
        dims = [old[i] if d == 0 and i < len(old) and not allowzero else d for i, d in enumerate(listed)]
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
        like = {"value": Tensor, "value_float": float, "value_floats": Tensor, "value_int": int, "value_ints": Tensor}.get(name)
        self.need(len(attributes) == 1 and like is type(value), "Constant is not one tensor, number or list of numbers", Code.UNKNOWN_OPERATOR)
        return value if isinstance(value, Tensor) else self.tensor(1 if like is float else 7, np.array(value))

    def Shape(self, x: Tensor, /, *, start: int = 0, end: int = MAX_RANK) -> Tensor:
        return self.tensor(7, np.array(x.array.shape[start:end], dtype=np.int64))

    def ConstantOfShape(self, shape: Tensor, /, *, value: Tensor = Tensor(1, np.zeros(1))) -> Tensor:  # noqa: B008
        return self.like(value, np.broadcast_to(value.array.reshape(()), self.joint(self.ints(shape))))


OPERATORS = tuple(sorted({name for name in vars(_Operators) if name[0].isupper()} | _UNARY | _BINARY))


def _declared(value: dict[str, Any], at: str) -> tuple[int, list[int | None]]:
    """Element type and dimensions (None where symbolic) that the file declares for its input or output."""
    tensor = value.get("type", {}).get("tensor_type", {})
    need("shape" in tensor and tensor.get("elem_type") in FLOATS, Code.BAD_ONNX, at, "a float tensor with declared dimensions is expected")
    dims = tensor["shape"]["dim"]
    need(all(d.get("dim_value", 1) >= 1 and not {"dim_value", "dim_param"} <= d.keys() for d in dims), Code.BAD_SHAPE, at,
          "a dimension is zero, negative or ambiguous; export with static shapes")
    return tensor["elem_type"], [d.get("dim_value") for d in dims]


def read_onnx(data: bytes, at: str = "model.onnx") -> OnnxModel:
    """Read an ONNX file as a graph with one input vector and one output vector.

    Parameters
    ----------
    data : bytes
        The file's bytes, exactly those that are hashed and deployed.
    at : str
        Name of the file, for messages.

    Returns
    -------
    OnnxModel
        The graph; its value is that of the file's network in exact real arithmetic.

    Raises
    ------
    Refusal
        ``FORBIDDEN_FORMAT`` for a pickle or zip file, ``TOO_LARGE`` over a cap, ``BAD_ONNX`` for damaged, ambiguous or not self-contained
        bytes, ``BAD_WEIGHTS`` for NaN and infinities, ``UNKNOWN_OPERATOR`` outside the allow-list, ``BAD_SHAPE`` for tensors that do not fit or
        dynamic dimensions other than a leading batch, ``BAD_GRAPH`` for a layer that the graph cannot express.

    Notes
    -----
    Direction: exact.  Opsets 7 to 25 of the default domain; the operators are listed in ``OPERATORS``.  Float rounding of the deployed
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
          f"IR version {model.get('ir_version')} with opsets {versions[:9]} is not read; export with one opset between 7 and 25")
    graph: dict[str, Any] = model.get("graph", {"node": [], "initializer": [], "input": [], "output": []})
    need(len(graph["node"]) <= MAX_NODES, Code.TOO_LARGE, at, f"{len(graph['node'])} nodes, more than {MAX_NODES}; use a smaller network")
    need(len(graph["input"]) == len(graph["output"]) == 1, Code.BAD_ONNX, at,
          f"{len(graph['input'])} inputs and {len(graph['output'])} outputs where one of each is expected; keep weights out of the inputs")
    operators = _Operators(versions[0], at)
    for proto in graph["initializer"]:
        operators.place = f"{at}: tensor {proto.get('name', '')[:60]!r}"
        operators.define(proto.get("name", ""), constant(proto, operators.place))
    source, target = graph["input"][0].get("name", ""), graph["output"][0].get("name", "")
    operators.place = f"{at}: input {source[:60]!r}"
    kind, dims = _declared(graph["input"][0], operators.place)
    shape = [d or 1 for d in dims]
    operators.need(None not in dims[len(dims) > 1:], "only a leading batch dimension may be symbolic; export the others as numbers")
    operators.need(len(shape) <= MAX_RANK and prod(shape) <= MAX_FIELDS, "the input is too large", Code.TOO_LARGE)
    operators.define(source, operators.vector(kind, operators.builder.input(prod(shape)), shape))
    for i, node in enumerate(graph["node"]):
        operators.place = f"{at}: node {i} {node.get('name', '')[:60]!r} ({node.get('op_type', '')[:60]!r})"
        operators.run(node)
    operators.place = f"{at}: output {target[:60]!r}"
    operators.need(target in operators.values, "no node computes the output; export the model again", Code.BAD_ONNX)
    result, (kind, dims) = operators.values[target], _declared(graph["output"][0], operators.place)
    fits = len(dims) == result.array.ndim and all(d in (None, size) for d, size in zip(dims, result.array.shape, strict=True))
    operators.need(result.kind == kind and fits and result.array.size, f"the network yields shape {result.array.shape}, not the declared {dims}")
    try:
        return OnnxModel(operators.builder.build([operators.node(result)]), versions[0], source, target)
    except GraphError as error:
        raise Refusal(Code.BAD_GRAPH, operators.place, f"{error}; use a smaller network") from None
