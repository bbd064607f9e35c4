"""From PyTorch to the graph: weights are carried over as the exact numbers that they are, layers become graph nodes."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from verifiers.kernel.graph import Affine, Builder, Floats, Graph
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate

OPSET = 17
PROBES = 32
TOLERANCE = 1e-4  # of the comparison at random points, relative: the file's rounding to float32 passes, a lost term does not


def import_torch() -> Any:
    """Return the module ``torch``.

    Raises
    ------
    ImportError
        When PyTorch is not installed; the message names the extra that brings it.
    """
    try:
        import torch  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError(f"reading and writing networks of PyTorch needs {error.name}; pip install certctl[learn] brings it",
                          name=error.name) from None
    return torch


def from_torch(module: Any, example_shape: Sequence[int]) -> Graph:
    r"""Read a module of PyTorch as a graph, as it computes in evaluation mode.

    A :class:`torch.nn.Sequential` (also nested) of Linear, Tanh, ReLU, LeakyReLU, Sigmoid, Softplus with ``beta = 1``, Hardtanh, Identity, Dropout
    and Flatten is read layer by layer; any other module is exported to ONNX and read from those bytes.

    Parameters
    ----------
    module : torch.nn.Module
        The network; it is not changed.
    example_shape : sequence of int
        Shape of one input, without the batch dimension.

    Returns
    -------
    Graph
        One input (n,) and one output (m,), entries in row-major order.

    Raises
    ------
    ImportError
        When PyTorch (or, for the export, onnx) is not installed.
    ValueError
        When the module depends on its input's values in Python, so that one recording of it is not the function; or when the graph's values
        differ from the module's at random points.
    Refusal
        When the exported network is outside what :func:`verifiers.kernel.onnx_reader.read_onnx` accepts.

    Notes
    -----
    Direction: exact for the weights, with each scalar parameter (a slope, a limit) rounded to the module's own float type first, as PyTorch does
    (through the export: to float32, as ONNX does).
    PyTorch's Softplus is evaluated as the identity above its ``threshold`` (an error of at most 2e-9 at the default 20); the graph has the function.
    """
    torch = import_torch()
    module, dtype = _frozen(module, torch)
    layers = _layers(module, torch)
    graph = None if layers is None else _chain(layers, tuple(example_shape), dtype, torch)
    if graph is None:
        graph = read_onnx(_export(module, example_shape, dtype, torch), type(module).__name__).graph
    _compare(graph, module, example_shape, dtype, torch)
    return graph


def to_onnx(module: Any, example_shape: Sequence[int]) -> bytes:
    """Export a module of PyTorch, in evaluation mode, as the bytes of an ONNX file that the kernel reads.

    Parameters
    ----------
    module : torch.nn.Module
        The network; it is not changed.
    example_shape : sequence of int
        Shape of one input, without the batch dimension.

    Returns
    -------
    bytes
        ONNX of opset 17 with input ``x`` (batch first, symbolic) and output ``y``, in the module's own float type.

    Raises
    ------
    ImportError
        When PyTorch or onnx is not installed.
    ValueError
        When the module depends on its input's values in Python, or the file's values differ from the module's at random points by more than
        1e-4 (ONNX keeps some parameters, such as a slope, in float32 only).
    Refusal
        When the file is outside what :func:`verifiers.kernel.onnx_reader.read_onnx` accepts.
    """
    torch = import_torch()
    module, dtype = _frozen(module, torch)
    data = _export(module, example_shape, dtype, torch)
    _compare(read_onnx(data, type(module).__name__).graph, module, example_shape, dtype, torch)
    return data


def _frozen(module: Any, torch: Any) -> tuple[Any, Any]:
    """A copy on the CPU in evaluation mode, and its float type."""
    module = copy.deepcopy(module).cpu().eval()
    return module, next((p.dtype for p in [*module.parameters(), *module.buffers()] if p.is_floating_point()), torch.float32)


def _layers(module: Any, torch: Any) -> list[Any] | None:
    """The layers of nested Sequentials in order; None when hooks or another container stand between them."""
    if module._forward_hooks or module._forward_pre_hooks:
        return None
    if type(module) is not torch.nn.Sequential:
        return [module]
    parts = [_layers(child, torch) for child in module]
    return None if None in parts else [layer for part in parts if part for layer in part]


def _numbers(tensor: Any) -> Floats:
    """Entries of a float tensor as float64, which holds them exactly; ValueError where one is no number."""
    entries = np.array(tensor.detach().double().numpy(), dtype=np.float64)
    if not np.isfinite(entries).all():
        raise ValueError("a weight is NaN or infinite; load a network whose training has converged")
    return entries


def _chain(layers: Sequence[Any], shape: tuple[int, ...], dtype: Any, torch: Any) -> Graph | None:
    """Graph of a chain of known layers, or None."""
    nn, builder = torch.nn, Builder()
    node = builder.input(prod(shape))

    def exact(value: float) -> Fraction:
        return Fraction(float(torch.tensor(value, dtype=dtype)))

    def limit(layer: Any, x: int) -> int:
        sides = (("max", layer.min_val), ("min", layer.max_val))
        for op, bound in sides:
            x = builder.binary(op, x, builder.const([exact(bound)] * builder.size(x)))
        return x

    translate: dict[Any, Callable[[Any, int], int]] = {
        nn.Tanh: lambda _, x: builder.unary("tanh", x), nn.ReLU: lambda _, x: builder.unary("relu", x),
        nn.Sigmoid: lambda _, x: builder.unary("sigmoid", x), nn.Identity: lambda _, x: x, nn.Dropout: lambda _, x: x,
        nn.LeakyReLU: lambda layer, x: builder.unary("leaky_relu", x, exact(layer.negative_slope)), nn.Hardtanh: limit}
    for layer in layers:
        kind = type(layer)
        if kind is nn.Linear and shape == (layer.in_features,):
            bias = np.zeros(layer.out_features) if layer.bias is None else _numbers(layer.bias)
            node, shape = builder.affine(node, Affine(_numbers(layer.weight), bias)), (layer.out_features,)
        elif kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            shape = (prod(shape),)
        elif kind is nn.Softplus and layer.beta == 1:
            node = builder.unary("softplus", node)
        elif kind in translate:
            node = translate[kind](layer, node)
        else:
            return None
    return builder.build([node])


def _export(module: Any, example_shape: Sequence[int], dtype: Any, torch: Any) -> bytes:
    """Bytes of the module's recording; a recording that froze a decision of Python is an error."""
    out = io.BytesIO()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            torch.onnx.export(module, (torch.zeros(1, *example_shape, dtype=dtype),), out, dynamo=False, opset_version=OPSET, input_names=["x"],
                              output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})
        except torch.onnx.errors.OnnxExporterError as error:
            if "onnx is not installed" in str(error):
                raise ImportError("exporting a network to ONNX needs onnx; pip install certctl[learn] brings it", name="onnx") from None
            raise ValueError(f"{type(module).__name__} cannot be exported to ONNX: {str(error).splitlines()[0][:200]}") from None
    frozen = [str(w.message) for w in seen if issubclass(w.category, torch.jit.TracerWarning) and str(w.message).startswith("Converting a tensor")]
    if frozen:
        raise ValueError(f"{type(module).__name__} decides in Python on values of its input, so one recording is not the function; "
                         f"use torch.clamp, torch.relu, torch.maximum or torch.abs instead ({frozen[0].splitlines()[0][:120]})")
    return out.getvalue()


def _compare(graph: Graph, module: Any, example_shape: Sequence[int], dtype: Any, torch: Any) -> None:
    """Raise ValueError where the graph's value is not the module's: a recording may have lost what it did not see."""
    scales = np.logspace(-2, 1, PROBES).reshape(-1, *[1] * len(example_shape))
    points = torch.tensor(scales * np.random.default_rng(0).normal(size=(PROBES, *example_shape)), dtype=dtype)
    with torch.no_grad():
        expected = np.stack([_numbers(module(point[None])).ravel() for point in points])
    found = evaluate(graph, _numbers(points).reshape(PROBES, -1))
    worst = np.inf
    if found.shape == expected.shape:
        error = np.abs(found - expected) / (1.0 + np.abs(expected))
        worst = float(np.where(np.isnan(found) & np.isnan(expected), 0.0, error).max())
    if not worst <= TOLERANCE:
        raise ValueError(f"the graph of {type(module).__name__} differs from the module by {worst:.3g} at a random point; "
                         "does it hold state, or draw random numbers?")
