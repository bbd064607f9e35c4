"""Networks of PyTorch and scikit-learn, and ONNX files from other exporters, brought in as controllers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from certctl.bridges.imported import Imported, brought_in, single, spread
from verifiers.kernel.codes import Refusal
from verifiers.kernel.graph import Affine, Builder, Floats, Graph
from verifiers.kernel.onnx_reader import OPERATORS
from verifiers.kernel.onnx_wire import Budget, decode
from verifiers.load.onnx_fold import read_network

ALLOWED = 1e-4
"""Largest difference that passes, as a multiple of ``1 + |value|``: rounding to float32 passes, a lost term does not."""
_ACTIVATIONS = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def import_module(module: Any, *, lo: Sequence[float], hi: Sequence[float]) -> Imported:
    """Bring in a module of PyTorch, as it computes in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (N, n) to (N, m).
    lo, hi : sequence of float
        Box of states (n,) on which the file is compared with the module.

    Returns
    -------
    Imported
        ONNX in the module's own numbers.

    Raises
    ------
    ImportError
        When PyTorch is not installed.
    ValueError
        When the module decides in Python on its input's values.
    Refusal
        When it holds a layer outside the kernel's operators.
    NotAlike
        When the file's values differ from the module's by more than ``ALLOWED``.
    """
    from verifiers.load.torch_module import from_torch, import_torch

    torch = import_torch()
    kind = next((p.dtype for p in module.parameters()), torch.float32)
    training = module.training

    def given(rows: Floats) -> Any:
        with torch.no_grad():
            return module.eval()(torch.tensor(rows, dtype=kind)).double().numpy()

    try:
        return brought_in(from_torch(module, (len(lo),)), given, spread(lo, hi), ALLOWED)
    finally:
        module.train(training)


def import_sklearn(regressor: Any, *, lo: Sequence[float], hi: Sequence[float]) -> Imported:
    r"""Bring in a multilayer perceptron of scikit-learn, alone or at the end of a pipeline of scalers.

    Parameters
    ----------
    regressor : MLPRegressor or Pipeline
        A fitted regressor; a pipeline may hold StandardScaler, MinMaxScaler (without ``clip``) and MaxAbsScaler before it.
    lo, hi : sequence of float
        Box of states (n,) on which the file is compared with ``predict``.

    Returns
    -------
    Imported
        float32 ONNX, and notes on the scalers put into the graph.

    Raises
    ------
    ValueError
        For another estimator, scaler, activation or number of inputs.
    NotAlike
        When the file's values differ from ``predict`` by more than ``ALLOWED``.

    Notes
    -----
    Direction: none; weights and scalers are rounded to float32.
    """
    steps = [step for _, step in regressor.steps] if hasattr(regressor, "steps") else [regressor]
    builder, notes = Builder(), list[str]()
    x = builder.input(len(lo))
    for scaler in steps[:-1]:
        scale, shift = _scaler(scaler, len(lo))
        x = builder.affine(x, Affine(np.diag(single(scale)), single(shift)))
        notes.append(f"{type(scaler).__name__} is put into the graph")
    network = steps[-1]
    hidden = _ACTIVATIONS.get(getattr(network, "activation", ""), "missing")
    if not hasattr(network, "coefs_") or hidden == "missing" or getattr(network, "out_activation_", "") != "identity":
        raise ValueError(f"{type(network).__name__} is no fitted MLPRegressor; classifiers and other estimators are no controllers")
    if network.coefs_[0].shape[0] != len(lo):
        raise ValueError(f"the network has {network.coefs_[0].shape[0]} inputs, the box {len(lo)} states")
    for k, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        x = builder.affine(x, Affine(single(weight.T), single(bias)))
        if hidden is not None and k < len(network.coefs_) - 1:
            x = builder.unary(hidden, x)
    return brought_in(builder.build([x]), lambda rows: regressor.predict(rows).reshape(len(rows), -1), spread(lo, hi), ALLOWED, notes)


def _scaler(scaler: Any, n: int) -> tuple[Floats, Floats]:
    """Scale and shift (n,) of a scaler, so that it computes scale x + shift."""
    kind = type(scaler).__name__
    if kind == "StandardScaler":
        scale = np.ones(n) if scaler.scale_ is None else 1 / scaler.scale_
        return scale, np.zeros(n) if scaler.mean_ is None else -scaler.mean_ * scale
    if kind == "MinMaxScaler" and not scaler.clip:
        return scaler.scale_, scaler.min_
    if kind == "MaxAbsScaler" and not getattr(scaler, "clip", False):
        return 1 / scaler.scale_, np.zeros(n)
    raise ValueError(f"the scaler {kind} cannot be brought in; use StandardScaler, MinMaxScaler without clip, or MaxAbsScaler")


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """What the kernel makes of an ONNX file.

    Attributes
    ----------
    operators : tuple of str
        The operators that the file uses, sorted.
    missing : tuple of str
        Those outside the allow-list.
    graph : Graph or None
        None when the kernel does not read the file.
    folded : bytes or None
        A file in which shape computations are folded, for the exporters that need it; then the *folded* file is what can be certified.
    says : str
        One sentence: why the file is not read, or that it is.
    """

    operators: tuple[str, ...]
    missing: tuple[str, ...]
    graph: Graph | None
    folded: bytes | None
    says: str


def examine_onnx(data: bytes, name: str = "controller.onnx") -> OnnxFile:
    """Say whether an ONNX file, from whichever exporter, can be certified, and if not, which operator stands in the way.

    Parameters
    ----------
    data : bytes
        The file.
    name : str
        Its name, for messages.

    Returns
    -------
    OnnxFile
        Never an exception for a file that cannot be read.

    Notes
    -----
    Keras (tf2onnx) writes MatMul, Add and activations, with a symbolic batch; MATLAB's exportONNXNetwork writes Gemm after Flatten or
    Reshape, and Sub and Div for its input normalisation; JAX (jax2onnx, or tf2onnx after jax2tf) writes MatMul or Einsum, Add, Max for ReLU,
    and Expand and Reshape for broadcasts.  Einsum, Elu, Selu, Gelu, Softmax, LSTM and normalisation layers are not on the allow-list.
    """
    operators: tuple[str, ...] = ()
    try:
        proto = decode(memoryview(data), "Model", name, Budget(600_000, "fields"))
        operators = tuple(sorted({str(node.get("op_type", "")) for node in proto.get("graph", {}).get("node", [])}))
        graph, read = read_network(data, name)
    except Refusal as no:
        return OnnxFile(operators, tuple(op for op in operators if op not in OPERATORS), None, None, str(no))
    folded = None if read is data else read
    says = "the kernel reads this file as it is" if folded is None else "the kernel reads the file once its computations on shapes are folded"
    return OnnxFile(operators, tuple(op for op in operators if op not in OPERATORS), graph, folded, says)
