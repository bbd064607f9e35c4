"""The command learn lipschitz-imitation: policies imitated under a Lipschitz bound, and what verify says about each."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import ExitCode, combine, exit_code, table
from certctl.cli.learn import training_on_stderr
from certctl.cli.options import box_option, pairs_option, sizes_option
from certctl.cli.output import OutputFormat, UsageError, dump, fields, last_line, ready
from certctl.cli.progress import progress_on_stderr
from certctl.cli.proving import Format, stoppable
from certctl.result import number, to_json

if TYPE_CHECKING:
    from certctl.learners.lipschitz.imitation import Candidate, Imitation


class Network(StrEnum):
    """Networks of ``--network``."""

    sandwich = "sandwich"
    aol = "aol"
    sll = "sll"
    penalised = "penalised"


class Activation(StrEnum):
    """Activations of ``--activation``."""

    tanh = "tanh"
    relu = "relu"


def register(group: typer.Typer) -> None:
    """Add the method to the group ``learn``."""
    group.command(name="lipschitz-imitation", epilog=table())(stoppable(lipschitz_imitation))


def lipschitz_imitation(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the candidates; a run that was interrupted goes on from it.",
                                      show_default=False)],
    bound: Annotated[str, typer.Option("--bound", metavar="B,…", help="Lipschitz bounds, exact, in the units of inputs over states; none is a plain "
                                       "network to compare with.", show_default=False)],
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help="CSV, Parquet or NumPy (.npz) of states and inputs.",
                                              show_default=False)] = None,
    inputs: Annotated[str, typer.Option("--inputs", metavar="NAME,…", help="Columns that are inputs, where no plant says so.",
                                        show_default=False)] = "",
    expert: Annotated[str | None, typer.Option("--expert", metavar="KIND[:SOURCE]", help="lqr[:W.toml], mpc[:W.toml], onnx:FILE, sb3:ALGORITHM:FILE "
                                               "or python:module:function.", show_default=False)] = None,
    samples: Annotated[int, typer.Option("--samples", metavar="N", help="States at which the expert is asked.", min=2)] = 1000,
    plant: Annotated[str | None, typer.Option("--plant", metavar="PLANT", help="A shipped plant or a plant.json; then the closed loop is proved too.",
                                              show_default=False)] = None,
    domain: Annotated[str | None, typer.Option("--domain", metavar="LO,…:HI,…", show_default="the plant's")] = None,
    contains: Annotated[str | None, typer.Option("--contains", metavar="LO,…:HI,…", help="Box that the region must hold.",
                                                 show_default="a tenth of the domain")] = None,
    parameter: Annotated[list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="Of the plant; repeatable.",
                                                        show_default=False)] = None,
    time: Annotated[str, typer.Option("--time", metavar="continuous|discrete", show_default="the plant's")] = "",
    dt: Annotated[str, typer.Option("--dt", metavar="S", help="Seconds between samples in discrete time.", show_default=False)] = "",
    method: Annotated[str, typer.Option("--method", metavar="NAME", help="euler, midpoint or rk4 of a sampled plant.", show_default=False)] = "",
    network: Annotated[Network, typer.Option("--network", help="sandwich, aol and sll are Lipschitz by construction.")] = Network.sandwich,
    activation: Annotated[Activation, typer.Option("--activation", help="Of the hidden layers.")] = Activation.tanh,
    hidden: Annotated[str, typer.Option("--hidden", metavar="N,…", help="Neurons of the hidden layers.")] = "16,16",
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", help="Passes over the data at most.", min=1)] = 3000,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Pairs in a step.", min=1)] = 256,
    rate: Annotated[float, typer.Option("--rate", metavar="R", help="Step size at the start.", min=0.0)] = 0.01,
    patience: Annotated[int, typer.Option("--patience", metavar="N", help="Epochs without gain on the part held out before the training stops.",
                                          min=1)] = 500,
    held_out: Annotated[float, typer.Option("--held-out", metavar="SHARE", help="Share of the data held out.", min=0.0, max=0.5)] = 0.15,
    penalty: Annotated[float, typer.Option("--penalty", metavar="W", help="Weight of the penalty of --network penalised.", min=0.0)] = 1.0,
    dagger: Annotated[int, typer.Option("--dagger", metavar="ROUNDS", help="Rounds of data aggregation (needs plant and expert).", min=0)] = 0,
    project: Annotated[bool, typer.Option("--project", help="Train on the inputs nearest to the data's that a policy with the bound can have, by a "
                                          "convex programme, and say what they cost at least.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random numbers.", min=0)] = 0,
    name: Annotated[str, typer.Option("--name", help="Stem of the files.")] = "policy",
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Whether verify is asked about each bound and loop.")] = True,
    loop: Annotated[bool, typer.Option("--loop/--no-loop", help="Whether the closed loop is asked about too.")] = True,
    attack: Annotated[float | None, typer.Option("--attack-size", metavar="S", min=0.0, show_default=False, help="Also report what each policy keeps "
                                                 "of the expert under measurement errors of this size (0: none); not kernel-checked.")] = None,
    budget: Annotated[float, typer.Option("--budget", metavar="S", help="Seconds for the search, for each requirement.", min=0.0)] = 600.0,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes of the search.", show_default="all cores", min=1)] = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Imitate an expert by networks with a Lipschitz bound, then prove the bound of what is exported, and the closed loop."""
    from certctl.learners.lipschitz.demonstrations import BadData
    from certctl.learners.lipschitz.experts import open_expert
    from certctl.learners.lipschitz.imitation import DAgger, learn_lipschitz_imitation
    from certctl.learners.lipschitz.problem import open_problem
    from certctl.learners.lipschitz.training import Settings
    from verifiers.kernel.codes import Refusal

    chosen = ready(output_format)
    _consistent(data, expert, plant, {"--domain": domain, "--contains": contains, "--parameter": parameter, "--time": time, "--dt": dt,
                                      "--method": method}, dagger, name, rate, budget, attack)
    bounds = [item.strip() for item in bound.split(",")]
    try:
        settings = Settings(network.value, activation.value, sizes_option("--hidden", hidden), epochs, batch, rate, patience, held_out, penalty,
                            seed=seed)
        problem = None if plant is None else open_problem(plant, parameters=pairs_option(parameter or ()), domain=box_option("--domain", domain),
                                                          time=time, dt=dt, method=method)
        master = None if expert is None or problem is None else open_expert(expert, problem)
        found = learn_lipschitz_imitation(
            out, bounds=bounds, data=data, expert=master, problem=problem, settings=settings, samples=samples, dagger=DAgger(dagger),
            inputs=[item.strip() for item in inputs.split(",") if item.strip()], name=name, contains=box_option("--contains", contains),
            project=project, certify=verify, loop=loop, budget=budget, workers=workers, training=training_on_stderr, proving=progress_on_stderr,
            attack=attack)
    except (BadData, Refusal, FileNotFoundError, ValueError) as problem_found:
        raise UsageError(str(problem_found)) from None
    if chosen is OutputFormat.json:
        dump(account(found))
    else:
        _tell(found)
    return int(combine([exit_code(r.outcome, r.code) for c in found.candidates for r in c.results] or [ExitCode.UNDECIDED]))


def _consistent(data: Path | None, expert: str | None, plant: str | None, of_plants: dict[str, Any], dagger: int, name: str, rate: float,
                budget: float, attack: float | None) -> None:
    """Refuse options that contradict each other."""
    if data is None and expert is None:
        raise UsageError("give --data with a data set, or --expert with --plant")
    if expert is not None and plant is None:
        raise UsageError("--expert needs the plant that it acts on: give --plant")
    if attack is not None and expert is None:
        raise UsageError("--attack-size compares the policy with its expert: give --expert and --plant")
    if dagger and expert is None:
        raise UsageError("--dagger asks an expert at the states that the policy visits: give --expert and --plant")
    for option, value in of_plants.items():
        if value and plant is None:
            raise UsageError(f"{option} is about a plant: give --plant")
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        raise UsageError(f"--name {name}: letters, digits, - and _ make a stem")
    if not 0 < rate < math.inf or not 0 < budget < math.inf:
        raise UsageError("--rate and --budget are positive numbers")


def account(found: Imitation) -> dict[str, Any]:
    """What a sweep gave, as one JSON object."""
    return {"pairs": len(found.data), "unanswered": found.unanswered, "steepest_pair": number(found.steepest),
            "candidates": [_candidate(c) for c in found.candidates]}


def _candidate(found: Candidate) -> dict[str, Any]:
    return {"bound": found.bound, "folder": str(found.learned.folder), "seconds": found.learned.seconds, "seed": found.learned.seed,
            "figures": {key: number(value) for key, value in found.learned.figures.items()},
            "lipschitz": None if found.lipschitz is None else to_json(found.lipschitz), "loop": None if found.loop is None else to_json(found.loop),
            "guarantee": None if found.guarantee is None else found.guarantee.to_json()}


def _squared(least: float | None, rms: float) -> str | None:
    return None if least is None else f"mean square {least:.6g} on the data for any policy with this bound; this one has {rms**2:.6g}"


def _tell(found: Imitation) -> None:
    pairs: list[tuple[str, object]] = [("data", f"{len(found.data)} pairs, steepest {found.steepest:.6g}")]
    if found.unanswered:
        pairs.append(("unanswered", f"{found.unanswered} states without an answer of the expert are left out"))
    fields(pairs)
    for candidate in found.candidates:
        figures = candidate.learned.figures
        fields([("bound", candidate.bound), ("folder", candidate.learned.folder), ("rms error", f"{figures['rms']:.6g}"),
                ("largest error", f"{figures['largest_error']:.6g} on the data"),
                ("least loss", _squared(figures.get("least_loss"), figures["rms"])),
                *(("reason", r.message) for r in candidate.results if not r.is_proved)])
        if candidate.guarantee is not None:
            from certctl.learners.lipschitz.guarantee import describe

            fields(describe(candidate.guarantee))
        for result in candidate.results:
            typer.echo(last_line(result))
        if not candidate.results:
            typer.echo(f"{candidate.learned.folder}: not certified, nothing was asked")

