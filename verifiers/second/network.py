"""ONNX networks over jets: the file is decoded by the ``onnx`` package, and each operator is NumPy on arrays of jets and exact numbers.

The meaning is that of the file in exact real arithmetic, as for the kernel; how it is reached has nothing in common with the kernel's reader and
graph.  What is not handled raises :class:`NotHandled`, which is no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from flint import arb, arb_mat
from onnx import numpy_helper

from verifiers.second.balls import ONE, SMOOTH, ZERO, Jet, affine

Array = npt.NDArray[Any]
_SMOOTH = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus", "Sin": "sin", "Cos": "cos", "Exp": "exp", "Sqrt": "sqrt"}
_MONOTONE = ("Tanh", "Sigmoid")
_KEPT: dict[int, tuple[Any, Any]] = {}


class NotHandled(Exception):
    """Something that this checker has no rule for: it says nothing about such a claim."""


def _ball(entry: Any) -> Any:
    return entry if isinstance(entry, Jet | arb) else arb(float(entry))


def _fixed(array: Array) -> bool:
    return not any(isinstance(entry, Jet) for entry in array.ravel())


def _each(function: Callable[..., Any], *arrays: Array) -> Array:
    """An elementwise function with broadcasting; the result is an array of objects, also for a scalar."""
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    flat = [np.broadcast_to(a, shape).ravel() for a in arrays]
    out = np.empty(len(flat[0]), dtype=object)
    for i, entries in enumerate(zip(*flat, strict=True)):
        out[i] = function(*entries)
    return out.reshape(shape)


def _weights(right: Array) -> Any:
    """The transposed matrix in balls, kept for an array that is used again."""
    if id(right) not in _KEPT or _KEPT[id(right)][0] is not right:
        if len(_KEPT) > 64:
            _KEPT.clear()
        _KEPT[id(right)] = right, arb_mat(right.shape[1], right.shape[0], [_ball(w) for w in right.T.ravel()])
    return _KEPT[id(right)][1]


def _product(left: Array, right: Array) -> Array:
    """Matrix product with one fixed factor: one product of matrices of balls for each column."""
    if left.ndim == 1:
        return _product(left[None, :], right)[0]
    if right.ndim == 1:
        return _product(left, right[:, None])[..., 0]
    if left.ndim != 2 or right.ndim != 2:
        raise NotHandled("a product of tensors of more than two dimensions")
    if _fixed(left) and _fixed(right):
        return np.asarray(_each(_ball, left) @ _each(_ball, right))
    if _fixed(left):
        return _product(right.T, left.T).T
    if not _fixed(right):
        raise NotHandled("a product of two matrices that both depend on the state")
    weight = _weights(right)
    box = next(entry for entry in left.ravel() if isinstance(entry, Jet)).box
    rows = []
    for row in left:
        rows.append(affine(weight, None, [entry if isinstance(entry, Jet) else box.constant(_ball(entry)) for entry in row]))
    out = np.empty((left.shape[0], right.shape[1]), dtype=object)
    for i, row in enumerate(rows):
        out[i, :] = row
    return out


def _max(a: Any, b: Any) -> Any:
    a, b = _ball(a), _ball(b)
    return a.maximum(b) if isinstance(a, Jet) else b.maximum(a) if isinstance(b, Jet) else a.max(b)


def _min(a: Any, b: Any) -> Any:
    a, b = _ball(a), _ball(b)
    return a.minimum(b) if isinstance(a, Jet) else b.minimum(a) if isinstance(b, Jet) else a.min(b)


def _divide(a: Any, b: Any) -> Any:
    return _ball(a) / _ball(b)


class Network:
    """A network with one input vector and one output vector.

    ``Network(data)`` takes the bytes of an ONNX file; calling it maps a list of jets to a list of jets.  ``outer`` is the name of a last sigmoid or
    tanh, which ``inner`` leaves out: with an increasing output the sign of every difference and derivative is that of its argument.
    """

    def __init__(self, data: bytes) -> None:
        graph = onnx.load_from_string(data).graph
        self._start: dict[str, Array] = {}
        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NotHandled("weights that are not finite")
            self._start[tensor.name] = array
        inputs = [value for value in graph.input if value.name not in self._start]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise NotHandled("other than one input and one output")
        self._nodes = list(graph.node)
        self._input, self._output = inputs[0].name, graph.output[0].name
        self._shape = [d.dim_value if d.HasField("dim_value") else 1 for d in inputs[0].type.tensor_type.shape.dim]
        last = self._nodes[-1]
        self.outer = last.op_type.lower() if last.op_type in _MONOTONE and list(last.output) == [self._output] else None

    def __call__(self, x: Sequence[Jet]) -> list[Jet]:
        return self._run(x, self._nodes, self._output)

    def inner(self, x: Sequence[Jet]) -> list[Jet]:
        """The network without its last function where that is increasing; the network otherwise."""
        return self(x) if self.outer is None else self._run(x, self._nodes[:-1], self._nodes[-1].input[0])

    def _run(self, x: Sequence[Jet], nodes: Sequence[Any], output: str) -> list[Jet]:
        values = dict(self._start)
        start = np.empty(len(x), dtype=object)
        start[:] = x
        values[self._input] = start.reshape(self._shape)
        for node in nodes:
            given = [values[name] if name else None for name in node.input]
            fields = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            rule = getattr(self, f"_{node.op_type}", None)
            if node.op_type in _SMOOTH:
                found = _each(lambda e, name=_SMOOTH[node.op_type]: _smooth(e, name), given[0])
            elif rule is None:
                raise NotHandled(f"the operator {node.op_type}")
            else:
                found = rule(*given, **({**fields, "outputs": len(node.output)} if node.op_type == "Split" else fields))
            for name, value in zip(node.output, found if isinstance(found, list) else [found], strict=True):
                values[name] = value
        return list(values[output].ravel())

    # operators -------------------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _MatMul(a: Array, b: Array) -> Array:
        return _product(a, b)

    @staticmethod
    def _Gemm(a: Array, b: Array, c: Array | None = None, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0) -> Array:
        out = _product(a.T if transA else a, b.T if transB else b)
        if alpha != 1.0:
            out = _each(lambda e: e * arb(alpha), out)
        return out if c is None else _each(lambda p, q: p + _ball(q) * arb(beta), out, c)

    @staticmethod
    def _Add(a: Array, b: Array) -> Array:
        return _each(lambda p, q: _ball(p) + _ball(q), a, b)

    @staticmethod
    def _Sub(a: Array, b: Array) -> Array:
        return _each(lambda p, q: _ball(p) - _ball(q), a, b)

    @staticmethod
    def _Mul(a: Array, b: Array) -> Array:
        return _each(lambda p, q: _ball(p) * _ball(q), a, b)

    @staticmethod
    def _Div(a: Array, b: Array) -> Array:
        return _each(_divide, a, b)

    @staticmethod
    def _Neg(a: Array) -> Array:
        return _each(lambda p: -_ball(p), a)

    @staticmethod
    def _Relu(a: Array) -> Array:
        return _each(lambda p: _piecewise(p, ZERO, ONE), a)

    @staticmethod
    def _LeakyRelu(a: Array, alpha: float = float(np.float32(0.01))) -> Array:
        return _each(lambda p: _piecewise(p, arb(alpha), ONE), a)

    @staticmethod
    def _Abs(a: Array) -> Array:
        return _each(lambda p: _piecewise(p, -ONE, ONE), a)

    @staticmethod
    def _Max(*parts: Array) -> Array:
        out = parts[0]
        for part in parts[1:]:
            out = _each(_max, out, part)
        return out

    @staticmethod
    def _Min(*parts: Array) -> Array:
        out = parts[0]
        for part in parts[1:]:
            out = _each(_min, out, part)
        return out

    @staticmethod
    def _Clip(a: Array, lo: Array | None = None, hi: Array | None = None) -> Array:
        a = a if lo is None else _each(_max, a, np.asarray(lo))
        return a if hi is None else _each(_min, a, np.asarray(hi))

    @staticmethod
    def _Pow(a: Array, k: Array) -> Array:
        return _each(lambda p, e: p.power(int(e)) if isinstance(p, Jet) else _ball(p) ** int(e), a, k)

    @staticmethod
    def _ReduceSum(a: Array, axes: Array | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
        if axes is None or np.size(axes) == 0:
            if noop_with_empty_axes:
                return a
            axes = np.arange(a.ndim)
        out = np.asarray(_each(_ball, a).sum(axis=tuple(int(i) for i in np.ravel(axes)), keepdims=bool(keepdims)), dtype=object)
        return out

    @staticmethod
    def _Identity(a: Array) -> Array:
        return a

    @staticmethod
    def _Cast(a: Array, to: int = 1, saturate: int = 1) -> Array:
        return a if a.dtype == object else a.astype(onnx.helper.tensor_dtype_to_np_dtype(to))

    @staticmethod
    def _Constant(**fields: Any) -> Array:
        (name, value), = fields.items()
        return numpy_helper.to_array(value) if name == "value" else np.asarray(value, dtype=np.float32 if "float" in name else np.int64)

    @staticmethod
    def _Concat(*parts: Array, axis: int) -> Array:
        if all(p.dtype != object for p in parts):
            return np.concatenate(parts, axis)
        return np.concatenate([p.astype(object) for p in parts], axis)

    @staticmethod
    def _Slice(a: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Array:
        along = range(len(starts)) if axes is None else axes
        for k, axis in enumerate(along):
            pace, size = 1 if steps is None else int(steps[k]), a.shape[int(axis)]
            start, end = int(starts[k]), int(ends[k])
            index = slice(max(start, -size), end, pace)
            a = a[(slice(None),) * (int(axis) % a.ndim) + (index,)]
        return a

    @staticmethod
    def _Gather(a: Array, index: Array, axis: int = 0) -> Array:
        return np.asarray(a.take(index, axis))

    @staticmethod
    def _Split(a: Array, sizes: Array | None = None, axis: int = 0, num_outputs: int = 0, split: Any = None, outputs: int = 1) -> list[Array]:
        size = a.shape[axis]
        step = -(-size // outputs)
        given = sizes if sizes is not None else split
        parts = [int(s) for s in given] if given is not None else [min(step, size - k * step) for k in range(outputs)]
        return list(np.split(a, np.cumsum(parts)[:-1], axis))

    @staticmethod
    def _Reshape(a: Array, shape: Array, allowzero: int = 0) -> Array:
        return a.reshape([a.shape[i] if d == 0 and not allowzero else int(d) for i, d in enumerate(shape)])

    @staticmethod
    def _Flatten(a: Array, axis: int = 1) -> Array:
        return a.reshape(int(np.prod(a.shape[:axis])), -1)

    @staticmethod
    def _Squeeze(a: Array, axes: Array | None = None) -> Array:
        return a.squeeze(None if axes is None else tuple(int(i) for i in axes))

    @staticmethod
    def _Unsqueeze(a: Array, axes: Array) -> Array:
        return np.expand_dims(a, tuple(int(i) for i in axes))

    @staticmethod
    def _Transpose(a: Array, perm: Any = None) -> Array:
        return a.transpose(perm)

    @staticmethod
    def _Expand(a: Array, shape: Array) -> Array:
        return np.broadcast_to(a, np.broadcast_shapes(a.shape, tuple(int(d) for d in shape)))

    @staticmethod
    def _Shape(a: Array, start: int = 0, end: int | None = None) -> Array:
        return np.array(a.shape[start:end], dtype=np.int64)

    @staticmethod
    def _ConstantOfShape(shape: Array, value: Any = None) -> Array:
        fill = np.zeros(1, dtype=np.float32) if value is None else numpy_helper.to_array(value)
        return np.full([int(d) for d in shape], fill.ravel()[0])


def _smooth(entry: Any, name: str) -> Any:
    return entry.smooth(name) if isinstance(entry, Jet) else SMOOTH[name](_ball(entry))[0]


def _piecewise(entry: Any, below: Any, above: Any) -> Any:
    if isinstance(entry, Jet):
        return entry.piecewise(below, above)
    value = _ball(entry)
    return above * value if value >= 0 else below * value
