"""The command learn yann-ac: from a linear MPC model of a plant to a policy that learned on the plant, certified at every step that counts."""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import exit_code, table
from certctl.cli.learn import training_on_stderr
from certctl.cli.output import OutputFormat, UsageError, dump, emit, fields, ready, say
from certctl.cli.proving import Format, stoppable
from certctl.result import error, from_receipt, number, to_json

if TYPE_CHECKING:
    from certctl.learners.learner import Learned
    from certctl.learners.yann.baselines import Baseline
    from certctl.learners.yann.start import Start


def register(group: typer.Typer) -> None:
    """Add the method to the group ``learn``."""
    group.command(name="yann-ac", epilog=table())(stoppable(yann_ac))


def yann_ac(
    model: Annotated[Path, typer.Argument(metavar="MODEL.toml", help="A model of explicit-mpc that names a plant.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the policy, its bundle and the reports.", show_default=False)],
    requirement: Annotated[Path | None, typer.Option("--requirement", metavar="REQUIREMENT.toml", help="What every policy is verified against; its "
                                                     "controller is controller.onnx.", show_default="stability on the model's box")] = None,
    contains: Annotated[str, typer.Option("--contains", metavar="X,…", help="Half-widths of the box that the region has to contain, where no "
                                          "requirement is given.", show_default="a twentieth of the model's box")] = "",
    episodes: Annotated[int, typer.Option("--episodes", metavar="N", help="Episodes of training.", min=1)] = 50,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps of an episode.", min=1)] = 100,
    every: Annotated[int, typer.Option("--every", metavar="N", help="Episodes between two candidates that are verified.", min=1)] = 10,
    budget: Annotated[float, typer.Option("--budget", metavar="S", help="Seconds of a verification.", min=0.0)] = 60.0,
    noise: Annotated[float, typer.Option("--noise", metavar="SHARE", help="Exploration, in half-widths of the input limits.", min=0.0)] = 0.0,
    critic: Annotated[str, typer.Option("--critic", metavar="value|regulator", help="Of horizon N - 1, or the regulator's.")] = "value",
    look_ahead: Annotated[int, typer.Option("--look-ahead", metavar="N", help="Steps of the plant's own map in the actor's loss, before the critic; "
                                            "0 is TD3.", min=0)] = 5,
    shield: Annotated[bool, typer.Option("--shield/--no-shield", help="Explore inside the certified region only.")] = True,
    penalty: Annotated[float, typer.Option("--penalty", metavar="C", help="Cost of a broken limit of x, which ends the episode.", min=0.0)] = 1e3,
    rate: Annotated[str, typer.Option("--rate", metavar="R", help="Rate of exponential stability per step, by which the cost of the first and the "
                                      "best policy is bounded.", show_default=False)] = "",
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random numbers.", min=0)] = 0,
    baselines: Annotated[str, typer.Option("--baselines", metavar="NAME,…", help="lqr, mpc, nmpc, ddpg, td3, sac on the same tests.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier run left in DIR.")] = False,
    output_format: Format = OutputFormat.text,
) -> int:
    """Learn from the law of explicit MPC on the nonlinear plant; the current policy changes only with a proof, and the best proved one is kept."""
    chosen = ready(output_format)
    names = [name for name in baselines.split(",") if name]
    _consistent(critic, names, budget, out, force, requirement, contains)
    if rate and not _is_rate(rate):
        raise UsageError(f"--rate {rate}: a number between 0 and 1 is expected, as in 1/20")
    from certctl.learners.yann.actor_critic import NotStarted, Settings, YannActorCritic
    from certctl.learners.yann.start import read_start, requirement_text
    from verifiers.explicit_mpc.problem import BadProblem
    from verifiers.kernel.check import check

    if not model.is_file():
        raise UsageError(f"there is no model at {model}")
    settings = Settings(episodes=episodes, steps=steps, every=every, budget=budget, noise=noise, consistent=critic == "value", shield=shield,
                        look_ahead=look_ahead, penalty=penalty, seed=seed, rate=rate)
    try:
        start = read_start(model)
        asked = _own(requirement) if requirement is not None else requirement_text(start, _half_widths(contains, start))
        with training_on_stderr() as report:
            learned = YannActorCritic(start, asked, settings).learn(out, report)
        found = _compare(names, start, learned, settings)
    except BadProblem as problem:
        raise UsageError(f"{model.name}: {problem}") from None
    except NotStarted as no:
        result = error(out.name, "NO_PROOF_FOUND", "episode 0", str(no), "UNKNOWN")
        emit(result) if chosen is OutputFormat.text else dump(to_json(result))
        return int(exit_code(result.outcome, result.code))
    result = from_receipt(check(out / "requirement.cert", out / "requirement.toml"), out / "requirement.cert")
    if chosen is OutputFormat.json:
        dump({**to_json(result), "folder": str(out), "seconds": learned.seconds, "seed": learned.seed,
              "figures": {key: number(value) for key, value in learned.figures.items()}, "baselines": [asdict(b) for b in found]})
    else:
        _tell(learned, found)
        emit(result)
    return int(exit_code(result.outcome, result.code))


def _consistent(critic: str, names: list[str], budget: float, out: Path, force: bool, requirement: Path | None, contains: str) -> None:
    known = ("lqr", "mpc", "nmpc", "ddpg", "td3", "sac")
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--baselines {unknown[0]}: the baselines are {', '.join(known)}")
    if critic not in ("value", "regulator"):
        raise UsageError("--critic is value or regulator")
    if not 0 < budget < math.inf:
        raise UsageError("--budget is a positive number of seconds")
    if (out / "report.json").exists() and not force:
        raise UsageError(f"{out} holds a finished run; give --force to replace it, or another folder with -o")
    if force:
        (out / "checkpoint.pt").unlink(missing_ok=True)
    if requirement is not None and contains:
        raise UsageError("--contains belongs to a requirement that is made here; write it into yours")


def _is_rate(text: str) -> bool:
    try:
        return 0 < Fraction(text) < 1
    except (ValueError, ZeroDivisionError):
        return False


def _own(path: Path) -> bytes:
    """The bytes of a requirement that a person wrote, about a policy of the name that is used here."""
    from verifiers.kernel.bundle import requirement_name
    from verifiers.kernel.codes import Refusal
    from verifiers.kernel.requirement import read_requirement

    try:
        data = path.read_bytes()
        found = read_requirement(data, requirement_name(path))
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    except Refusal as no:
        raise UsageError(f"{path}: {no}") from None
    if found.controller != "controller.onnx" or found.time != "discrete" or found.lyapunov is not None:
        raise UsageError(f'{path}: a requirement for learning is in discrete time, has controller = "controller.onnx" and names no lyapunov function')
    return data


def _half_widths(text: str, start: Start) -> list[Fraction]:
    if not text:
        return [(hi - lo) / 40 for lo, hi in zip(start.model.lb, start.model.ub, strict=True)]
    try:
        found = [Fraction(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--contains {text}: numbers with commas between them are expected") from None
    if len(found) != len(start.plant.states) or not min(found) > 0:
        raise UsageError(f"--contains takes {len(start.plant.states)} positive numbers, one per state")
    return found


def _compare(names: list[str], start: Start, learned: Learned, settings: Any) -> list[Baseline]:
    if not names:
        return []
    from certctl.learners.yann.actor_critic import tests_of
    from certctl.learners.yann.baselines import compare
    from certctl.learners.yann.task import Task

    task = Task(start.plant, start.model, settings.steps, settings.penalty, start.has_value)
    tests, _ = tests_of(learned.folder)
    found = []
    for name in names:
        say(f"baseline {name}")
        found.append(compare(name, start, task, tests, task.start, settings.episodes, settings.seed))
    return found


def _tell(learned: Learned, found: list[Baseline]) -> None:
    f = learned.figures
    fields([("folder", learned.folder),
            ("test cost", f"{f['initial_cost']:.6g} before, {f['final_cost']:.6g} after"),
            ("change", f"{f['change']:.3g} ± {f['change_95']:.3g} (paired, 95 %); from 200 others {f['compared']:.3g} ± {f['compared_95']:.3g}"),
            ("violations", f"{f['violations']:.0f} in training, {f['test_violations']:.0f} in the test"),
            ("shield", f"took over in {f['interventions']:.0f} steps"), ("candidates", f"{f['refused']:.0f} without a proof"),
            ("volume", f">= {f['volume_before']:.6g} before, >= {f['volume']:.6g} after"),
            *((f"bound {when}", f"{f[f'bound_{when}']:.6g} for ever, where the tests cost {f[f'cost_in_bound_{when}']:.6g}")
              for when in ("before", "after") if f"bound_{when}" in f),
            *((b.name, f"test cost {b.cost:.6g}" + ("" if b.initial_cost is None else f" (untrained {b.initial_cost:.6g})")
               + f", violations {b.test_violations} in the test, {b.violations} in training, {b.seconds:.1f} s") for b in found)])
