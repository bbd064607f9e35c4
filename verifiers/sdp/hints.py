"""The ``[prover]`` table of a requirement: hints for the search, which the kernel does not read beyond the names of its keys."""

from __future__ import annotations

from dataclasses import dataclass

from verifiers.kernel.codes import Code, need
from verifiers.kernel.requirement import read_table


@dataclass(frozen=True)
class Hints:
    """What a person asks of the search: a method, and a degree of the Lyapunov function; None where nothing is said."""

    method: str | None = None
    degree: int | None = None


def read_hints(data: bytes, methods: tuple[str, ...]) -> Hints:
    """Read the hints of a requirement's bytes.

    Raises
    ------
    Refusal
        ``BAD_REQUIREMENT`` for a method that is none of ``methods``, or a degree that is no even number of at least 2.
    """
    table = read_table(data, "requirement").get("prover") or {}
    method, degree = table.get("method"), table.get("degree")
    need(method is None or method in methods, Code.BAD_REQUIREMENT, "prover.method", f"{str(method)[:60]!a} is none of {', '.join(methods)}")
    number = int(degree) if type(degree) in (int, str) and str(degree).isascii() and str(degree).isdigit() and len(str(degree)) < 4 else None
    even = degree is None or (number is not None and number >= 2 and number % 2 == 0)
    need(even, Code.BAD_REQUIREMENT, "prover.degree", "the degree of a Lyapunov function is an even number of at least 2")
    return Hints(method, number)
