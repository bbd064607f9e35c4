"""CasADi functions as controllers: the instruction tape becomes the graph, and the graph an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from certctl.bridges.imported import Imported, brought_in, spread
from verifiers.kernel.graph import BINARY, Builder, Floats, Graph

ALLOWED = 1e-9


def import_function(function: Any, *, lo: Sequence[float], hi: Sequence[float]) -> Imported:
    """Bring in a controller that is a CasADi function of the state.

    Parameters
    ----------
    function : casadi.Function
        One input of n entries, one output of m; MX is expanded to SX.
    lo, hi : sequence of float
        Box of states (n,) on which the file is compared with the function.

    Returns
    -------
    Imported
        ONNX, float64 where float32 cannot hold a constant.

    Raises
    ------
    ValueError
        When the function has another number of inputs, outputs or entries.
    ExportError
        For an instruction without a rule; it is named.
    Refusal
        For log and atan, which the kernel does not read from ONNX.
    NotAlike
        When the values differ by more than ``ALLOWED``.

    Notes
    -----
    Direction: exact for the expression; its constants are the float64 that CasADi holds.  For a plant use :meth:`systems.Plant.from_casadi`.
    """
    from systems.export import scalar_program

    if function.n_in() != 1 or function.n_out() != 1 or function.numel_in(0) != len(lo):
        raise ValueError(f"the function has {function.n_in()} inputs and {function.n_out()} outputs; one of {len(lo)} entries and one are expected")
    import casadi as ca

    symbols = ca.SX.sym("x", len(lo))
    dense = ca.Function("f", [symbols], [ca.densify(ca.vec(function.expand()(ca.reshape(symbols, *function.size_in(0)))))])
    graph = _graph(*scalar_program(dense, [lambda i: ("x", i)]), len(lo))

    def given(rows: Floats) -> Any:
        return np.array([np.asarray(function(ca.reshape(ca.DM(row.tolist()), *function.size_in(0)))).T.ravel() for row in rows])

    return brought_in(graph, given, spread(lo, hi), ALLOWED)


def _graph(nodes: list[list[Any]], outputs: list[int], n: int) -> Graph:
    """The graph of a scalar program in the operators of plant.json."""
    builder = Builder("casadi")
    x = builder.input(n)
    at: list[int] = []
    for op, first, *more in nodes:
        if op == "x":
            at.append(builder.take(x, (first,)))
        elif op == "c":
            at.append(builder.const([Fraction(first)]))
        elif op in BINARY:
            at.append(builder.binary(op, at[first], at[more[0]]))
        else:
            at.append(builder.unary(op, at[first], *more))
    return builder.build([builder.concat([at[k] for k in outputs])])
