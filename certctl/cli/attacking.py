"""The command attack: the worst measurement errors that gradient ascent finds against a loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from certctl.cli.exit_codes import ExitCode, table
from certctl.cli.output import OutputFormat, UsageError, dump, fields
from certctl.cli.proving import Format, RequirementFile, stoppable

if TYPE_CHECKING:
    from certctl.learners.lipschitz.attack import AttackedLoop


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=table())(stoppable(attack))


def attack(
    requirement: RequirementFile,
    size: Annotated[float | None, typer.Option("--size", metavar="S", help="Largest Euclidean norm of an error, in the states' units.", min=0.0,
                                               show_default="that of [attack]")] = None,
    start: Annotated[list[str] | None, typer.Option("--start", metavar="X,…", help="A state to start from; repeatable.", show_default=False)] = None,
    starts: Annotated[int, typer.Option("--starts", metavar="N", help="States drawn from [region] contains where none is given.", min=1)] = 12,
    steps: Annotated[int, typer.Option("--steps", metavar="T", help="Steps of a trajectory; a continuous loop is held for 1/20 s.", min=1)] = 60,
    iterations: Annotated[int, typer.Option("--iterations", metavar="K", help="Steps of ascent.", min=1)] = 60,
    tries: Annotated[int, typer.Option("--tries", metavar="K", help="Starts of the ascent: no errors, then random ones.", min=1)] = 2,
    weights: Annotated[Path | None, typer.Option("--weights", metavar="W.toml", help="Q and R of the cost, as of an MPC.",
                                                 show_default="identities")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the random starts.", min=0)] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE.npz", help="Where errors and runs are written.",
                                             show_default=False)] = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Search measurement errors that make the loop expensive or drive it out; decides nothing."""
    from certctl.learners.lipschitz.attack import attack_loop
    from verifiers.kernel.codes import Refusal

    if output_format not in (OutputFormat.text, OutputFormat.json):
        raise UsageError("attack decides nothing: its formats are text and json")
    if out is not None and out.suffix != ".npz":
        raise UsageError(f"-o {out}: a NumPy archive is called FILE.npz")
    if size is not None and not size < math.inf:
        raise UsageError("--size is a finite number")
    try:
        found = attack_loop(requirement, size=size, starts=_states(start), count=starts, steps=steps, weights=_weights(weights, requirement),
                            iterations=iterations, tries=tries, seed=seed)
    except (Refusal, FileNotFoundError, ValueError) as problem:
        raise UsageError(str(problem)) from None
    if out is not None:
        found.save(out)
    if output_format is OutputFormat.json:
        dump(found.to_json() | {"file": None if out is None else str(out)})
    else:
        _tell(found, out)
    return int(ExitCode.PROVED)


def _states(items: list[str] | None) -> np.ndarray | None:
    if not items:
        return None
    try:
        rows = [[float(cell) for cell in item.split(",")] for item in items]
    except ValueError:
        raise UsageError(f"--start {items[0]}: write numbers with commas, one for each state") from None
    if len({len(row) for row in rows}) != 1 or not np.isfinite(rows).all():
        raise UsageError("--start: every state has the same number of finite numbers")
    return np.array(rows)


def _weights(path: Path | None, requirement: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Q and R of a file, for the plant of the requirement."""
    if path is None:
        return None
    from certctl.learners.lipschitz.demonstrations import BadData
    from certctl.learners.lipschitz.experts import read_weights
    from certctl.learners.lipschitz.problem import open_problem
    from certctl.requirements import read_toml

    plant = read_toml(requirement).get("plant")
    named = str((requirement.parent / str(plant["path"])).resolve()) if isinstance(plant, dict) and "path" in plant else str(plant)
    try:
        found = read_weights(path, open_problem(named))
    except BadData as problem:
        raise UsageError(str(problem)) from None
    return found.q, found.r


def _tell(found: AttackedLoop, out: Path | None) -> None:
    account, costs = found.to_json(), found.found
    k = int(np.argmax(np.nan_to_num(costs.attacked_cost / costs.nominal_cost)))
    x = ", ".join(f"{s.name}={v:.6g}" for s, v in zip(found.problem.spec.states, costs.nominal[0, k], strict=True))
    misses = found.misses
    fields([("errors", f"up to {found.size:g} (l2) in each of {account['steps']} steps of {found.pace:g} s"),
            ("starts", len(account["starts"])),
            ("cost", f"{costs.nominal_cost[k]:.6g} without errors, {costs.attacked_cost[k]:.6g} with the worst found, from {x}"),
            ("driven out", f"{int(found.leaves.sum())} of {len(found.leaves)} trajectories leave the domain"),
            ("target", None if misses is None else f"{int(misses.sum())} of {len(misses)} end outside"), ("file", out)])
    typer.echo(f"{found.requirement.name}: simulated, nothing is proved or refuted")
