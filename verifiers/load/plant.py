"""A plant alone, with a free input: what reports, plots and tests evaluate.  The kernel only ever reads closed loops."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from verifiers.kernel.graph import Builder, Graph, Interval
from verifiers.kernel.plant import Loop, PlantSpec, Program, resolve


def middle(bound: Interval | None) -> Fraction | None:
    """The middle of a limit that is only known to lie in an interval, the limit itself where it is known, None where there is none."""
    return None if bound is None else (bound[0] + bound[1]) / 2


def clipped_command(loop: Loop) -> Graph | None:
    """The command within the input limits (an unknown limit at its middle); None for a plant without inputs."""
    if loop.command is None:
        return None
    b = Builder()
    raw = b.inline(loop.command, [b.input(loop.command.input_sizes[0])])[0]
    return b.build([b.clip(raw, *([middle(ends[k]) for ends in loop.limits] for k in (0, 1)))])


def plant_graph(spec: PlantSpec, parameters: Mapping[str, Interval]) -> Graph:
    """Build the plant's right side: inputs x (n,) and u (m,) (x alone where m = 0), output x' or next x (n,).

    Parameters
    ----------
    spec : PlantSpec
        The plant, in its own units.
    parameters : mapping of name to (lo, hi)
        Overrides; exact ones are folded into coefficients, an interval becomes an unknown constant.

    Returns
    -------
    Graph
        The plant's own map, without limits and without discretisation.

    Raises
    ------
    Refusal
        ``BAD_PARAMETER`` for an unknown name or an empty interval, ``BAD_PLANT`` for a division by zero,
        ``BAD_GRAPH`` for a number or a count that no graph can hold.

    Notes
    -----
    Direction: exact.
    """
    builder = Builder("plant")
    x = builder.input(len(spec.states))
    u = [builder.input(len(spec.inputs))] if spec.inputs else []
    program = Program(spec, resolve(spec, parameters), builder)
    return builder.build([program.vector(program.run(program.entries(x), [entry for node in u for entry in program.entries(node)]))])
