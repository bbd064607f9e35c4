"""The command learn roa: a controller and a Lyapunov function for a shipped plant, and what verify says about them."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import exit_code, table
from certctl.cli.learn import training_on_stderr
from certctl.cli.options import box_option, pairs_option
from certctl.cli.output import OutputFormat, UsageError, dump, fields, last_line, ready, say, summary, vector_text
from certctl.cli.proving import Format, stoppable
from certctl.result import Result, from_verdict, number, to_json

if TYPE_CHECKING:
    from certctl.learners.learner import Learned
    from certctl.learners.roa.ellipsoid_learner import EllipsoidLearner
    from certctl.learners.roa.zubov_learner import ZubovLearner

    RoaLearner = ZubovLearner | EllipsoidLearner

SHOWN = 5
"""Counterexamples that are printed."""


class Time(StrEnum):
    """What a trajectory is."""

    continuous = "continuous"
    discrete = "discrete"


class Method(StrEnum):
    """How a step follows from the equations."""

    euler = "euler"
    midpoint = "midpoint"
    rk4 = "rk4"


def register(group: typer.Typer) -> None:
    """Add the method to the group ``learn``."""
    group.command(name="roa", epilog=table())(stoppable(roa))


def roa(
    plant: Annotated[str, typer.Argument(metavar="PLANT", help="A shipped plant with continuous equations.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of candidate, requirement and bundle; an interrupted run goes on "
                                      "from it.", show_default=False)],
    parameter: Annotated[list[str] | None, typer.Option("--param", "--parameter", metavar="NAME=VALUE", help="A parameter of the plant; repeatable.",
                                                        show_default=False)] = None,
    domain: Annotated[str | None, typer.Option("--domain", metavar="LO,…:HI,…", help="Box for the region.", show_default="the plant's")] = None,
    controller: Annotated[Path | None, typer.Option("--controller", metavar="FILE.onnx", help="Learn the function only, for this controller.",
                                                    show_default=False)] = None,
    time: Annotated[Time, typer.Option("--time", help="discrete: the map over a step with the input held; up to 3 states.")] = Time.continuous,
    dt: Annotated[str | None, typer.Option("--dt", metavar="S", help="Seconds of a step, exact, such as 1/20; with --time discrete.",
                                           show_default=False)] = None,
    method: Annotated[Method | None, typer.Option("--method", help="How the equations are discretised; with --time discrete.",
                                                  show_default="rk4")] = None,
    rate: Annotated[str | None, typer.Option("--rate", metavar="R", help="Rate of decrease to ask for, exact: V' <= -R V (1/s), or "
                                             "V(x+) <= (1 - R) V(x) a step.", show_default="none: plain attraction")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random numbers.", min=0)] = 0,
    time_limit: Annotated[float, typer.Option("--time-limit", metavar="S", help="Seconds for training and proofs.", min=1.0)] = 600.0,
    kappa: Annotated[float, typer.Option("--kappa", metavar="K", help="Up to 3 states: how much of the box the region is to fill; more is steeper.",
                                         min=0.1)] = 3.0,
    stages: Annotated[int, typer.Option("--stages", metavar="N", help="Up to 3 states: how often kappa grows, at most, to a larger region.",
                                          min=0, max=20)] = 8,
    width: Annotated[int, typer.Option("--width", metavar="N", help="Up to 3 states: neurons in each hidden layer of V.", min=1, max=256)] = 24,
    neurons: Annotated[int, typer.Option("--neurons", metavar="N", help="Beyond 4 states: tanh neurons of the controller; 0 is a linear law.", min=0,
                                         max=64)] = 4,
    shape: Annotated[int | None, typer.Option("--shape", metavar="N", help="From 4 states and 300 s: tanh neurons of V; 0 is an ellipsoid.", min=0,
                                              max=64, show_default="48 with 4 states, 16 beyond")] = None,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes of the prover.", show_default="all cores", min=1)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a candidate of another question in DIR.")] = False,
    output_format: Format = OutputFormat.text,
) -> int:
    """Learn a controller and a Lyapunov function whose certified region of attraction is large, and prove it."""
    from certctl.learners.roa.ellipsoid_learner import EllipsoidSettings
    from certctl.learners.roa.files import NAMES
    from certctl.learners.roa.growth import Growing
    from certctl.learners.roa.sampled import SampledLearner, make_sampled_task
    from certctl.learners.roa.shape_learner import ShapeLearner
    from certctl.learners.roa.task import CannotLearn, make_task
    from certctl.learners.roa.zubov import MOST_STATES, Scheme
    from certctl.learners.roa.zubov_learner import CHECKPOINT, Settings, ZubovLearner

    chosen = ready(output_format)
    if (time is Time.discrete) != (dt is not None) or (method is not None and dt is None):
        raise UsageError("--time discrete needs --dt, such as 1/20; without it neither --dt nor --method has a meaning")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder; give another place with -o")
    processes = workers or os.cpu_count() or 1
    try:
        given = None if controller is None else _controller(controller)
        values, box = pairs_option(parameter or ()), box_option("--domain", domain)
        law, graph = given or (None, None)
        settings = Settings(seed, time_limit, Scheme(kappa=kappa), (width, 10), growing=Growing(stages=stages), workers=processes)
        if dt is not None:
            sampled = make_sampled_task(plant, values, dt, (method or Method.rk4).value, box, graph, rate=rate)
            learner: RoaLearner = SampledLearner(sampled, settings, law)
        elif (task := make_task(plant, values, box, graph, rate=rate)).n <= MOST_STATES:
            learner = ZubovLearner(task, settings, law)
        else:
            learner = ShapeLearner(task, EllipsoidSettings(seed, time_limit, workers=processes, neurons=neurons, shape=shape), law)
        present = [name for name in (*NAMES, "requirement.cert") if os.path.lexists(out / name)]
        if present and not force and not learner.can_resume(out):
            raise UsageError(f"{out / present[0]} exists already and {out / CHECKPOINT} does not belong to this question; give --force, or another "
                             "place with -o")
        with training_on_stderr() as report:
            learned = learner.learn(out, report)
    except CannotLearn as no:
        raise UsageError(str(no)) from None
    if learner.verdict is None or learned.requirement is None:
        raise RuntimeError("the learner ended without an answer of verify")
    result = from_verdict(learner.verdict, learned.requirement)
    _tell(result, learned, learner, chosen)
    return int(exit_code(result.outcome, result.code))


def _controller(path: Path) -> tuple[bytes, Any]:
    """Bytes and graph of a controller file."""
    from verifiers.kernel.bundle import forbid_pickle, read_file
    from verifiers.kernel.codes import Refusal
    from verifiers.kernel.onnx_reader import read_onnx

    try:
        data = read_file(path, str(path))
        forbid_pickle(path.name, data)
        return data, read_onnx(data, path.name).graph
    except Refusal as no:
        raise UsageError(f"--controller: {no}") from None


def _tell(result: Result, learned: Learned, learner: RoaLearner, chosen: OutputFormat) -> None:
    """The candidate's figures, then what verify says; without a proof also the states that stand against it."""
    against = [] if result.is_proved else learner.counterexamples[:SHOWN].tolist()
    if chosen is OutputFormat.json:
        training = {"folder": str(learned.folder), "seconds": learned.seconds, "seed": learned.seed,
                    "figures": {key: number(value) for key, value in learned.figures.items()}, "counterexamples": against}
        dump({**to_json(result), "training": training})
        if not result.is_proved:
            say(f"{result.code}: {result.message}")
        return
    spent = f"{learned.seconds:.0f} s with proofs, {learned.figures['rounds']:.0f} rounds, seed {learned.seed}"
    fields([("candidate", learned.folder), ("training", spent),
            *(("violates", "V does not decrease at x = " + vector_text(x)) for x in against), *summary(result)])
    typer.echo(last_line(result))
