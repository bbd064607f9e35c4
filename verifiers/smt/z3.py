"""z3 as a decider: exact for polynomials and piecewise-linear queries (nlsat), through its Python binding in a child process."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

from verifiers.smt.child import script
from verifiers.smt.external import Answer, External, read_protocol
from verifiers.smt.query import Query
from verifiers.smt.smtlib import is_polynomial, to_smtlib


class Z3(External):
    """The z3 solver; see the module."""

    name = "z3"
    dialect = "standard"

    def absent(self) -> str | None:
        """None where the package z3-solver is installed."""
        return None if find_spec("z3") is not None else 'z3 is not installed: pip install "certctl[smt]"'

    def version(self) -> str:
        """``z3 4.13.0``."""
        return _version("z3", "z3-solver") if self.command is None else f"z3 ({self.command[0]})"

    def unsupported(self, query: Query) -> str | None:
        """Transcendental functions are not decided by z3."""
        return None if is_polynomial(query) else "z3 decides polynomials, roots and kinks; the query has sin, exp, tanh or their like"

    def ask(self, query: Query, seconds: float) -> Answer:
        """Run the binding's child on the query."""
        text = to_smtlib(query, dialect=self.dialect)
        inputs = len(query.lo)
        return read_protocol(self.run_child([*(self.command or script("z3_child")), str(inputs)], text, seconds), text, inputs)


def _version(name: str, package: str) -> str:
    try:
        return f"{name} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{name} of unknown version"
