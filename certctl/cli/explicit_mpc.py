"""The commands explicit-mpc and evaluate: from an optimisation problem to a proved law, and a bundle's controller on points."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certctl.cli.exit_codes import ExitCode, exit_code, table
from certctl.cli.output import OutputFormat, UsageError, dump, fields, last_line, ready, say, summary
from certctl.cli.proving import Format, guard, stoppable
from certctl.requirements import default_bundle, is_requirement
from certctl.result import Result, error, from_receipt, to_json

if TYPE_CHECKING:
    from verifiers.explicit_mpc.prove import Proved


class Search(StrEnum):
    """Searches of ``--search``."""

    auto = "auto"
    geometric = "geometric"
    combinatorial = "combinatorial"
    both = "both"


def register(app: typer.Typer) -> None:
    """Add both commands to the application."""
    app.command(name="explicit-mpc", epilog=table())(stoppable(explicit_mpc))
    app.command(epilog=table())(stoppable(evaluate))


def explicit_mpc(
    source: Annotated[Path, typer.Argument(metavar="PROBLEM.npz|MODEL.toml|REQUIREMENT.toml", show_default=False,
                                           help="Arrays H, f, F, A, b, B, lb, ub; or a model; or a requirement of pwa_equivalence.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="BUNDLE", show_default="NAME.cert beside it")] = None,
    search: Annotated[Search, typer.Option("--search", help="How regions are found; both compares the two.")] = Search.auto,
    feasible: Annotated[bool, typer.Option("--feasible", help="Of a model: prove too that its loop A x + B u stays feasible for ever.")] = False,
    stable: Annotated[bool, typer.Option("--stable", help="And that it converges exponentially, by a piecewise-quadratic function.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    output_format: Format = OutputFormat.text,
) -> int:
    """Solve a multiparametric QP, prove that the law is its minimiser on the whole box, and write a bundle that the kernel has accepted."""
    chosen = ready(output_format)
    asks = is_requirement(source)
    bundle = out or (default_bundle(source) if asks else source.with_suffix(".cert"))
    found: list[Proved] = []

    def work() -> Result:
        if not source.is_file():
            raise UsageError(f"there is no file at {source}")
        if os.path.lexists(bundle) and not force:
            return error(bundle.stem, "USAGE", str(bundle), f"{bundle} exists already; give --force to replace it, or another place with -o")
        if (feasible or stable) and (source.suffix != ".toml" or asks):
            raise UsageError("--feasible and --stable belong to a MODEL.toml; a requirement says it with a loop, and stable = true")
        from verifiers.explicit_mpc.partition import NotFeasible
        from verifiers.explicit_mpc.piecewise import NoFunction
        from verifiers.explicit_mpc.problem import BadProblem

        try:
            found.append(_prove(source, bundle, asks, search, force, feasible or stable, stable))
        except BadProblem as problem:
            return error(bundle.stem, "BAD_PROBLEM", str(source), str(problem))
        except NoFunction as no:
            return replace(error(bundle.stem, "NO_PROOF_FOUND", "stability", no.message, "UNKNOWN"), property="pwa_equivalence")
        except NotFeasible as no:
            states = [[float(v) for v in state] for state in no.states]
            witness = {"x": states[0], "why": str(no), "trajectory": states}
            return replace(error(bundle.stem, "IMAGE", "loop", str(no), "REFUTED"), property="pwa_equivalence", counterexample=witness)
        result = from_receipt(found[-1].receipt, found[-1].bundle)
        return replace(result, name=bundle.stem, search_s=round(found[-1].solution.seconds + found[-1].tree_s, 3))

    result = guard(work, bundle / "requirement.toml", "explicit-mpc")
    law = _law_fields(found[-1]) if found else {}
    if chosen is OutputFormat.json:
        dump({**to_json(result), **law})
        if not result.is_proved:
            say(f"{result.code}: {result.message}")
    else:
        fields([*summary(result), *((key, value) for key, value in law.items())])
        typer.echo(last_line(result))
    return int(exit_code(result.outcome, result.code))


def _prove(source: Path, bundle: Path, asks: bool, search: Search, force: bool, feasible: bool, stable: bool) -> Proved:
    from verifiers.explicit_mpc import prove, solve
    from verifiers.explicit_mpc.problem import BadProblem, read_npz

    settings = solve.Settings(search=solve.Search[search.value] if search in (Search.geometric, Search.combinatorial) else None)
    if asks:
        return prove.certify_requirement(source, bundle, settings=settings, force=force)
    if source.suffix == ".toml":
        from verifiers.explicit_mpc.condense import condense
        from verifiers.explicit_mpc.model_file import read_model

        model = read_model(source)
        if feasible and (model.remembers or model.C is not None or model.E is not None):
            raise BadProblem("--feasible and --stable are for laws of the state alone; leave out tracking, limits.du and weights.S")
        if model.terminal is None and not feasible:
            say("the model has no terminal set: the law is proved to be the minimiser, and nothing says that a loop with it stays feasible")
        if feasible:
            _terminal(model)
        return prove.certify(condense(model), bundle, outputs=model.B.shape[1], loop=(model.A, model.B) if feasible else None, stable=stable,
                             settings=settings, force=force)
    if source.suffix != ".npz" or not zipfile.is_zipfile(source):
        raise BadProblem(f"{source.name} is no NumPy archive (.npz), no model (.toml) and no requirement (NAME.requirement.toml)")
    problem = read_npz(source)
    if search is Search.both:
        one, other, apart = solve.cross_check(problem, settings)
        say(f"geometric search: {len(one.regions)} regions, combinatorial search: {len(other.regions)}, in one only: {len(apart)}")
    return prove.certify(problem, bundle, settings=settings, force=force)


def _terminal(model: Any) -> None:
    """Say whether the terminal ingredients are proved, by which the value function bounds the loop's cost."""
    from verifiers.explicit_mpc.lyapunov import NotTerminal, prove_terminal

    try:
        prove_terminal(model)
    except NotTerminal as no:
        say(f"no bound of the loop's cost: {no}")
    else:
        say("terminal cost and set are proved in exact numbers: from each feasible state the loop costs at most the problem's own minimum")


def _law_fields(found: Proved) -> dict[str, Any]:
    """What the result says about the law: the counts of the exact tree, and how the search went."""
    part, solution = found.partition, found.solution
    function = {} if found.function is None else {"cells": found.function.cells, "transitions": found.function.transitions}
    return {"regions": part.regions, "halfspaces": len(part.law.halfspaces), "solve_s": round(solution.seconds, 4), "tree_s": round(found.tree_s, 3),
            **function, "search": solution.search.name, "status": solution.status.name, "qps": solution.qps, "lps": solution.lps,
            "residual": solution.residual, "added": part.added, "outside": part.outside, "depth": part.depth}


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle directory.", show_default=False)],
    points: Annotated[Path, typer.Argument(metavar="POINTS.npy", help="Array (N, states or parameters).", show_default=False)],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="U.npy", help="Write an array (N, outputs); else the rows are printed.",
                                             show_default=False)] = None,
) -> int:
    """Evaluate a bundle's controller in float64 (NaN outside the domain of a law); the digests are compared, the proof is not checked."""
    import numpy as np

    from verifiers.kernel.codes import Refusal

    try:
        theta = np.load(points, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise UsageError(f"{points} is no NumPy array: {problem}") from None
    if not isinstance(theta, np.ndarray) or theta.ndim != 2 or theta.dtype.kind not in "iuf":
        raise UsageError(f"{points} is no array of numbers with a point in each row")
    try:
        values = _evaluate(bundle, theta.astype(np.float64))
    except Refusal as no:
        say(f"{bundle}: {no}")
        return int(no.code.exit_code)
    except ValueError as problem:
        raise UsageError(f"{points}: {problem}") from None
    say(f"{len(values)} points, {int(np.isnan(values).any(axis=1).sum())} without value; not checked: certctl check {bundle} does that")
    if out is None:
        for row in values:
            typer.echo(" ".join(repr(float(v)) for v in row))
    else:
        with out.open("wb") as file:
            np.save(file, values)
    return int(ExitCode.PROVED)


def _evaluate(bundle: Path, theta: Any) -> Any:
    from verifiers.kernel.bundle import open_bundle
    from verifiers.kernel.codes import Code, Refusal
    from verifiers.kernel.onnx_reader import read_onnx
    from verifiers.kernel.requirement import read_law_requirement

    opened = open_bundle(bundle)
    if opened.controller is None:
        raise Refusal(Code.MISSING_FILE, "controller", "the bundle of a plant without inputs holds no controller")
    wanted = read_law_requirement(opened.requirement, bundle.stem)
    if wanted is not None:
        from verifiers.explicit_mpc.law import from_json

        return from_json(opened.controller, wanted.domain.lo, wanted.domain.hi).evaluate(theta)
    from verifiers.load import floats

    graph = read_onnx(opened.controller, "controller.onnx", jumps=True).graph
    if theta.shape[1] != graph.input_sizes[0]:
        raise ValueError(f"points have shape {theta.shape}; (N, {graph.input_sizes[0]}) is expected")
    return floats.evaluate(graph, theta)
