"""cvc5 as a decider: polynomials and piecewise-linear queries, exp, sin, cos and arctan by incremental linearisation, in a child process."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

from verifiers.smt.child import script
from verifiers.smt.external import Answer, External, read_protocol
from verifiers.smt.query import Query
from verifiers.smt.smtlib import to_smtlib


class Cvc5(External):
    """The cvc5 solver; see the module."""

    name = "cvc5"
    dialect = "cvc5"

    def absent(self) -> str | None:
        """None where the package cvc5 is installed."""
        return None if find_spec("cvc5") is not None else 'cvc5 is not installed: pip install "certctl[smt]"'

    def version(self) -> str:
        """``cvc5 1.2.0``."""
        if self.command is not None:
            return f"cvc5 ({self.command[0]})"
        try:
            return f"cvc5 {metadata.version('cvc5')}"
        except metadata.PackageNotFoundError:
            return "cvc5 of unknown version"

    def ask(self, query: Query, seconds: float) -> Answer:
        """Run the binding's child on the query."""
        text = to_smtlib(query, dialect=self.dialect)
        inputs = len(query.lo)
        return read_protocol(self.run_child([*(self.command or script("cvc5_child")), str(inputs)], text, seconds), text, inputs)
