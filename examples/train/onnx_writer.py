"""Write small multilayer perceptrons as plain ONNX: opset 17, float32 weights, the same bytes for the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

Floats = npt.NDArray[np.float64]
OPSET, IR_VERSION = 17, 8


def write_network(path: Path, layers: Sequence[tuple[Floats, Floats]], *, output: str, activation: str = "Tanh",
                  subtract: Floats | None = None, final: str | None = None, scale: float | None = None, offset: Floats | None = None) -> None:
    r"""Write a network to ``path``.

    .. math:: y = \mathrm{offset} + \mathrm{scale} \cdot \mathrm{final}(W_k\,a(\dots a(W_1 x + b_1) \dots) + b_k - \mathrm{subtract})

    Parameters
    ----------
    path : Path
        File to write; its folder is made when absent.
    layers : sequence of (W, b)
        W (out, in) and b (out,), rounded here to float32.
    output : str
        Name of the output; the input is ``x`` of shape [N, n].
    activation, final : str
        ONNX operator of the hidden layers (a) and after the last layer; no operator when ``final`` is None.
    subtract, scale, offset : array (out,) or float, optional
        Constants of the formula; absent ones add no node.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    last = "x"

    def constant(name: str, value: npt.ArrayLike) -> str:
        array = np.asarray(value, dtype="<f4")
        weights.append(helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.tobytes(), raw=True))
        return name

    def node(operator: str, *operands: str, **attributes: int) -> None:
        nonlocal last
        name = f"{operator.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(operator, [last, *operands], [name], name=name, **attributes))
        last = name

    for k, (weight, bias) in enumerate(layers):
        node("Gemm", constant(f"w{k}", weight), constant(f"b{k}", bias), transB=1)
        if k < len(layers) - 1:
            node(activation)
    if subtract is not None:
        node("Sub", constant("at_equilibrium", subtract))
    if final is not None:
        node(final)
    if scale is not None:
        node("Mul", constant("scale", [scale]))
    if offset is not None:
        node("Add", constant("offset", offset))
    nodes[-1].output[0] = output

    sizes = layers[0][0].shape[1], layers[-1][0].shape[0]
    graph = helper.make_graph(nodes, "network", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", sizes[0]])],
                              [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", sizes[1]])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="certctl")
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
