"""dReal as a decider: delta-complete interval constraint propagation, through its command line or its Python binding, in a child process.

Its ``unsat`` is sound for the formula written.  Its ``delta-sat`` only says that a formula relaxed by the precision may hold, so the box
that it names is searched for a state that satisfies the query itself; without one the answer is Unknown.  See docs/dreal.md.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec

from verifiers.smt.child import MEMORY, Ran, run, script
from verifiers.smt.external import Answer, External, failed, garbage, read_protocol
from verifiers.smt.query import Query
from verifiers.smt.smtlib import to_smtlib

COMMAND = "CERTCTL_DREAL"
PRECISION = 1e-6
NEEDS = ("its wheel 4.21.6.2 (Python up to 3.11) needs system libraries that pip cannot deliver, IBEX 2.7.4 (dReal's fork), Clp, NLopt "
         f"and LAPACK; or put the program dreal on PATH or its path into {COMMAND} (docs/dreal.md)")
_DELTA = re.compile(r"delta-sat( with delta = \S+)?")
_VALUE = re.compile(r"(\w+) : (?:\[([^\]]*)\]|<([^>]*)>|(\S+))")
_LOADS_S = 60.0


class DReal(External):
    """The dReal solver.

    Parameters
    ----------
    precision : float
        dReal's delta, absolute and in the query's units; it must shrink with what the formula excludes.
    command : sequence of str or None
        The program ``dreal`` with options; None looks into ``CERTCTL_DREAL``, on PATH, and then for the Python binding.
    memory : int
        Limit of its address space (bytes).
    """

    name = "dreal"
    dialect = "dreal"

    def __init__(self, precision: float = PRECISION, command: Sequence[str] | None = None, memory: int = MEMORY) -> None:
        super().__init__(command, memory)
        self.precision = precision

    def absent(self) -> str | None:
        """None where the program or the binding is usable."""
        usable, says = loads(tuple(program() or ()))
        return None if usable else f"{says}; {NEEDS}"

    def version(self) -> str:
        """``dReal 4.21.6.2``, with its precision."""
        usable, says = loads(tuple(self.command or program() or ()))
        return f"{says if usable else f'dReal ({self.command or program()})'}, precision {self.precision:g}"

    def ask(self, query: Query, seconds: float) -> Answer:
        """Run the program, or the binding's child, on the query."""
        text, inputs = to_smtlib(query, dialect=self.dialect), len(query.lo)
        command = self.command or program()
        if command is None:
            return read_protocol(self.run_child([*script("dreal_child"), str(inputs), repr(self.precision)], text, seconds), text, inputs)
        return read_program(self.run_child([*command, "--in", "--model", "--precision", repr(self.precision)], text, seconds), inputs)


def program() -> list[str] | None:
    """The command of the program: ``CERTCTL_DREAL``, or ``dreal`` on PATH."""
    named = os.environ.get(COMMAND) or shutil.which("dreal")
    return [named] if named else None


@lru_cache(maxsize=8)
def loads(command: tuple[str, ...]) -> tuple[bool, str]:
    """Whether the program, or without one the binding, runs (tried in a child: it can fail at load time), and its version or the reason."""
    if not command and find_spec("dreal") is None:
        return False, "the package dreal is not installed"
    tried = run([*command, "--version"] if command else [sys.executable, "-c", "import dreal; print('dReal', dreal.__version__)"], seconds=_LOADS_S)
    line = tried.text.strip().split("\n")[0]
    if tried.status != "ok" or not re.fullmatch(r"dReal [ -~]{1,120}", line):
        return False, tried.says if tried.status != "ok" else "the program does not answer --version as dReal does"
    return True, line if command else f"{line} (Python binding)"


def read_program(ran: Ran, inputs: int) -> Answer:
    """Read what the program prints with ``--model``; anything but exactly one answer is garbage."""
    if (bad := failed(ran)) is not None:
        return bad
    lines = ran.text.strip().splitlines()
    if lines == ["unsat"]:
        return Answer("unsat", None, "the solver says unsat")
    if not lines or not _DELTA.fullmatch(lines[0]):
        return garbage(ran.text)
    ends: dict[str, tuple[Fraction, Fraction]] = {}
    for line in lines[1:]:
        match = _VALUE.fullmatch(line.strip())
        if match is None:
            return garbage(ran.text)
        name, words = match.group(1), [word.strip() for word in "".join(part or "" for part in match.groups()[1:]).split(",")]
        try:
            lo, hi = Fraction(words[0]), Fraction(words[-1])
        except (ValueError, ZeroDivisionError):
            if name.startswith("x"):
                return garbage(ran.text)  # ENTIRE or an infinite end: fine for an auxiliary variable, no state for an input
            continue
        if not lo <= hi:
            return garbage(ran.text)
        ends[name] = (lo, hi)
    names = [f"x{i}" for i in range(inputs)]
    return Answer("delta-sat", tuple(ends[n] for n in names), "the solver says delta-sat") if all(n in ends for n in names) else garbage(ran.text)
