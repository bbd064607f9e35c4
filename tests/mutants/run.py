"""Kill mutants of the kernel: ``python tests/mutants/run.py [MODULE ...] [--sample N] [--jobs N]``; exit 1 when one survives that is not listed.

Each mutant lives in a forked process of its own, where the changed module takes the place of the right one before anything of the project is
imported.  It meets the registered vectors first (``cases.py``): true bundles, and twins with one fault each, whose outcome and code must be the
known ones.  What survives them meets the unit tests of its module.  ``equivalent.txt`` lists the survivors that are no faults, with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LISTED = HERE / "equivalent.txt"
SECONDS = 90
"""CPU seconds after which a mutant counts as killed: it does not end."""
WARM = ("hypothesis.strategies", "mpmath", "onnx", "scipy.optimize")
"""What tests import, none of it of the project: imported once, before the first fork."""
KERNEL_TESTS = "tests/verifiers/kernel/"
TESTS = {"jets": ("test_jet_edges.py", "test_enclosures.py", "test_unknown_constants.py", "test_jumps.py"),
         "graph": ("test_graph.py", "test_jumps.py"),
         "exact": ("test_exact.py", "test_jumps.py"),
         "onnx_reader": ("test_onnx_reader.py", "test_onnx_wire.py", "test_jumps.py", "test_onnx_programs.py"),
         "bundle": ("test_bundle.py", "test_requirement.py"),
         "smooth": ("test_smooth.py", "test_enclosures.py", "test_elementary.py", "test_gradient.py"),
         "stage": ("test_stage.py", "test_turned_stage.py", "test_rules.py", "test_enclosures.py", "test_gradient.py"),
         "strict": ("test_bundle.py", "test_plant.py"),
         "tree": ("test_rules.py",),
         "properties": ("test_rules.py", "test_gradient.py"), "local": ("test_local.py", "test_rules.py", "test_definite.py"),
         "imitation": ("test_check_edges.py",), "dissipation": ("test_check_edges.py", "../sdp/test_robust.py"),
         "check": ("test_check_edges.py", "test_check.py", "test_whole_set.py", "test_pwa.py", "test_rules.py"),
         "setting": ("test_setting.py", "test_check.py"),
         "rational": ("test_rules.py",), "query": ("test_refute.py",), "minimum": ("test_taylor.py",),
         "taylor": ("test_taylor.py", "test_gradient.py", "test_errors_pulled_back.py"), "tape": ("test_errors_pulled_back.py",),
         "pwa": ("test_pwa_edges.py", "test_pwa_stability.py", "test_pwa.py"),
         "sos": ("test_whole_set.py",), "lipschitz": ("test_differences.py",)}
"""Unit tests of a module where they are not in the file of its name."""


@dataclass(frozen=True)
class Case:
    """A bundle with the outcome and code that the kernel must give."""

    name: str
    bundle: str
    requirement: str
    outcome: str
    code: str | None


class Changed(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds one module of the kernel in its changed form."""

    def __init__(self, mutant: mutate.Mutant) -> None:
        self.name, self.code = f"verifiers.kernel.{mutant.module}", compile(mutant.tree(), f"{mutant.module} (mutant)", "exec")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The changed module only."""
        return importlib.util.spec_from_loader(name, self, origin=str(mutate.KERNEL / f"{mutate_module(name)}.py")) if name == self.name else None

    def get_source(self, fullname: str) -> None:
        """There is none that shows the change."""

    def get_code(self, fullname: str) -> Any:
        """The changed code."""
        return self.code

    def exec_module(self, module: Any) -> None:
        """Run it, with the file of the right one, beside which the module may look for others."""
        module.__file__ = str(mutate.KERNEL / f"{mutate_module(self.name)}.py")
        exec(self.code, module.__dict__)


def mutate_module(name: str) -> str:
    """The last part of a module's name."""
    return name.rpartition(".")[2]


def unit_tests(module: str) -> list[str]:
    """Files of unit tests of a module."""
    names = TESTS.get(module, (f"test_{module}.py",))
    return [os.path.normpath(KERNEL_TESTS + name) for name in names if (ROOT / KERNEL_TESTS / name).is_file()]


def meet(mutant: mutate.Mutant | None, cases: Sequence[Case], kills: Mapping[str, int]) -> str | None:
    """What kills the mutant, or the first case that the kernel itself does not meet, in this process; None when nothing does.

    What has killed most comes first: cases that have killed one before, then unit tests, then the other cases.
    """
    if mutant is not None:
        sys.meta_path.insert(0, Changed(mutant))
    try:
        from verifiers.kernel.check import check
    except Exception as error:
        return f"import ({type(error).__name__})"
    cases = sorted(cases, key=lambda case: -kills.get(case.name, 0))
    proven = sum(case.name in kills for case in cases) if mutant is not None else len(cases)
    if (killer := _met(cases[:proven], check)) is not None:
        return killer
    files = [] if mutant is None else unit_tests(mutant.module)
    for file in sorted(files, key=lambda file: -sum(n for name, n in kills.items() if name.startswith(Path(file).name))):
        failed = Failures(kills)
        if pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--rootdir", str(ROOT), str(ROOT / file)], [failed]):
            return failed.first or "unit tests"
    return _met(cases[proven:], check)


def _met(cases: Sequence[Case], check: Callable[[Path, Path], Any]) -> str | None:
    """The first case with another outcome or code."""
    for case in cases:
        try:
            found = check(Path(case.bundle), Path(case.requirement))
        except Exception as error:
            return f"{case.name} ({type(error).__name__})"
        if (found.outcome, found.code) != (case.outcome, case.code):
            return case.name
    return None


class Failures:
    """Remembers the first test that failed, and lets those that have failed most come first."""

    first: str | None = None

    def __init__(self, kills: Mapping[str, int]) -> None:
        self.kills = kills

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Called by pytest."""
        items.sort(key=lambda item: -self.kills.get(_tail(item.nodeid), 0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest."""
        if report.failed and self.first is None:
            self.first = _tail(report.nodeid)


def _tail(nodeid: str) -> str:
    """A test's name without folders and spaces."""
    file, _, rest = nodeid.partition("::")
    return f"{Path(file).name}::{rest.replace(' ', '_')}"


def fork(mutant: mutate.Mutant | None, cases: Sequence[Case], kills: Mapping[str, int]) -> tuple[int, int]:
    """Let a child meet the cases: its process and the end of a pipe from which its answer can be read."""
    out, into = os.pipe()
    child = os.fork()
    if child:
        os.close(into)
        return child, out
    try:
        os.close(out)
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        os.write(into, json.dumps(meet(mutant, cases, kills)).encode())
    finally:
        os._exit(0)


def stale(cases: Sequence[Case]) -> str | None:
    """The first case that the kernel itself does not meet: it would kill every mutant."""
    child, out = fork(None, cases, {})
    _, status = os.waitpid(child, 0)
    with os.fdopen(out) as answer:
        said = answer.read()
    found = json.loads(said) if said else f"does not end ({status})"
    return None if found is None else str(found)


def kill(mutants: Sequence[mutate.Mutant], cases: Sequence[Case], jobs: int) -> Iterator[tuple[mutate.Mutant, str | None]]:
    """Each mutant with what killed it, as they end; what has killed most comes first."""
    waiting, running = list(reversed(mutants)), dict[int, tuple[mutate.Mutant, int]]()
    kills = Counter[str]()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            child, out = fork(mutant, cases, kills)
            running[child] = mutant, out
        child, status = os.wait()
        mutant, out = running.pop(child)
        with os.fdopen(out) as answer:
            said = answer.read()
        killer = json.loads(said) if said else f"does not end ({status})"
        if killer is not None:
            kills[killer.partition(" ")[0]] += 1
        yield mutant, killer


def listed() -> dict[str, str]:
    """The survivors that are no faults, by name, with their reasons: lines ``name | reason``."""
    lines = (line for line in LISTED.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
    found = {}
    for line in lines:
        name, _, reason = line.rpartition(" | ")
        if not (name and reason.strip()) or name in found:
            raise ValueError(f"{LISTED.name}: a line is a mutant's name, ' | ' and a reason, once each, not {line!r}")
        found[name] = reason.strip()
    return found


def read_cases(folder: Path) -> list[Case]:
    """The cases that ``cases.py`` wrote."""
    return [Case(**item) for item in json.loads((folder / "cases.json").read_text(encoding="utf-8"))]


def main(arguments: list[str] | None = None) -> int:
    """Run mutants and print survivors and counts."""
    parser = argparse.ArgumentParser(prog="tests/mutants/run.py", description="Kill mutants of the kernel.")
    parser.add_argument("modules", nargs="*", help="modules of the kernel (default: all)")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cases", type=Path, help="folder that tests/mutants/cases.py wrote (default: written now)")
    parser.add_argument("--match", default="", help="only mutants whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="say what killed each")
    given = parser.parse_args(arguments)
    chosen = [m for module in given.modules or mutate.modules() for m in mutate.mutants(module) if given.match in m.name]
    if given.sample is not None:
        chosen = random.Random(given.seed).sample(chosen, min(given.sample, len(chosen)))
    sys.path[:0] = [str(ROOT)]
    for name in WARM:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        where = given.cases or Path(folder)
        if given.cases is None:
            subprocess.run([sys.executable, str(HERE / "cases.py"), folder], check=True, stdout=subprocess.DEVNULL)
        cases = read_cases(where)
        if (wrong := stale(cases)) is not None:
            print(f"the kernel itself does not meet the case {wrong}, so mutants cannot be told from it; write the cases again")
            return 1
        return report(chosen, cases, given.jobs, given.verbose, whole=given.sample is None and not given.match)


def report(chosen: Sequence[mutate.Mutant], cases: Sequence[Case], jobs: int, verbose: bool, *, whole: bool) -> int:
    """Print each survivor, each that is listed although it dies, and the counts; 1 when there is one of either."""
    known, killed, excused, alive, began = listed(), 0, 0, [], time.monotonic()
    seen = {m.name for m in mutate_all(chosen)} if whole else set()
    for mutant, killer in kill(chosen, cases, jobs):
        if killer is not None:
            killed += 1
            if verbose:
                print(f"killed    {mutant.name} by {killer}", flush=True)
        if killer is None and mutant.name in known:
            excused += 1
        if (killer is None) != (mutant.name in known):
            alive.append(mutant)
            print(f"{'SURVIVES ' if killer is None else 'LISTED AND KILLED'} {mutant.module}.py:{mutant.line} {mutant.name}", flush=True)
    lost = [name for name in known if whole and name.partition(".")[0] in {m.module for m in chosen} and name not in seen]
    for name in lost:
        print(f"LISTED AND UNKNOWN {name}")
    print(f"{len(chosen)} mutants, {killed} killed, {excused} listed as equivalent, {len(alive)} in doubt, {time.monotonic() - began:.0f} s")
    return 1 if alive or lost else 0


def mutate_all(chosen: Sequence[mutate.Mutant]) -> list[mutate.Mutant]:
    """All mutants of the modules of those chosen."""
    return [m for module in sorted({m.module for m in chosen}) for m in mutate.mutants(module)]


if __name__ == "__main__":
    np.seterr(all="warn")
    sys.exit(main())
