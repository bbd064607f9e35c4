"""How results are printed: the contract's last line, the JSON object, and the few lines above it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

import typer

from certctl.result import Result


class OutputFormat(StrEnum):
    """Formats of ``--output-format``."""

    text = "text"
    json = "json"
    junit = "junit"
    sarif = "sarif"
    github = "github"
    markdown = "markdown"


_READY = (OutputFormat.text, OutputFormat.json)
_COMMAND = re.compile(r"^\s*::|##(?=\[)")


class UsageError(Exception):
    """A wrong call: one sentence for stderr, exit 2."""


def ready(chosen: OutputFormat) -> OutputFormat:
    """Return the format of a command that only prints something to read, or say that it has none but text and json."""
    if chosen not in _READY:
        raise UsageError(f"--output-format {chosen.value} is for verify, falsify, check, gate and diff; this command takes text or json")
    return chosen


def clean(text: object) -> str:
    r"""Make a text safe for a terminal line: control and other unprintable characters become ``\xNN``, so nobody's file name forges a line.

    A beginning ``::`` and ``##[`` anywhere, which GitHub and Azure would read as commands to the runner, get a backslash.
    """
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
    return _COMMAND.sub(lambda found: "##\\" if found[0] == "##" else f"\\{found[0]}", plain)


def word(text: object) -> str:
    """One word of the last line: as it is, or quoted when it has blanks or quotes; ``-`` when absent."""
    plain = "-" if text is None or text == "" else clean(text)
    return json.dumps(plain, ensure_ascii=False) if any(c in ' "\'=' for c in plain) else plain


def round_down(value: float, digits: int = 5) -> str:
    """Write a lower bound with some significant digits, never rounded up."""
    if not value > 0:
        return "0"
    short = Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(Decimal(value))
    return format(short.normalize(), "f") if Decimal("1e-4") <= short < Decimal("1e9") else format(short.normalize(), "e")


def exact_level(text: object) -> str:
    """Write a level exactly: as a short decimal where it has one, else as the rational that it is."""
    try:
        value = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return clean(text)
    with_digits = Context(prec=17).divide(Decimal(value.numerator), Decimal(value.denominator))
    return format(with_digits.normalize(), "f") if Fraction(with_digits) == value and abs(value) < 10**12 else str(value)


def last_line(result: Result) -> str:
    """Return the contract's line: ``PROVED NAME PROPERTY level=…`` or ``… code=… at=…``."""
    head = f"{result.outcome} {word(result.name)} {word(result.property)}"
    if not result.is_proved:
        return f"{head} code={word(result.code)} at={word(result.at)}"
    region = result.region or {}
    claimed = f"{region.get('function') or 'V'}<={exact_level(region.get('level'))}" if region.get("level") is not None else "-"
    volume = round_down(float(region.get("volume_lower_bound") or 0.0))
    quoted = json.dumps(clean(claimed), ensure_ascii=False)
    return f"{head} level={word(result.level)} region={quoted} volume>={volume} search={result.search_s:.1f}s check={result.check_s:.1f}s"


def say(text: str) -> None:
    """Write a line of progress or explanation to stderr."""
    typer.echo(clean(text), err=True)


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print aligned ``key  value`` lines to stdout, leaving out absent values."""
    present = [(key, clean(value)) for key, value in pairs if value not in (None, "")]
    width = max((len(key) for key, _ in present), default=0)
    for key, value in present:
        typer.echo(f"{key:<{width}}  {value}")


def dump(value: Any) -> None:
    """Print one strict JSON object to stdout."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def emit(result: Result) -> None:
    """Print one result as text whose last line is the contract's."""
    fields(summary(result))
    typer.echo(last_line(result))
    sys.stdout.flush()


def summary(result: Result) -> list[tuple[str, object]]:
    """What text output says above the last line."""
    pairs: list[tuple[str, object]] = [("bundle", result.bundle), ("digest", result.bundle_digest), ("controller", _sha(result.controller_sha256))]
    if result.equilibrium is not None:
        pairs.append(("equilibrium", box_text(result.equilibrium)))
    if result.is_proved:
        pairs.append(("signed by", ", ".join(result.signed_by)))
        pairs.append(("obligations", f"{len(result.obligations)} proved, leaves {result.leaves}"))
    if result.second is not None:
        pairs.append(("second", "checker {outcome}, boxes {boxes}, {seconds:.1f} s".format(**result.second)))
    if result.counterexample is not None:
        pairs += [("witness", "x = " + vector_text(result.counterexample["x"])), ("why", result.counterexample.get("why"))]
    if not result.is_proved:
        pairs.append(("reason", result.message))
    return pairs


def vector_text(values: Iterable[Any]) -> str:
    """A point in brackets, shortest digits that read back."""
    return "[" + ", ".join(f"{float(v)!r}" for v in values) + "]"


def box_text(box: Mapping[str, Any]) -> str:
    """A tiny box as centre and half-width per coordinate, see :func:`spread_text`."""
    return "[" + ", ".join(spread_text(lo, hi) for lo, hi in zip(box["lo"], box["hi"], strict=True)) + "]"


def spread_text(lo: float, hi: float) -> str:
    """An interval as ``centre ± half-width`` with few digits; the half-width is rounded up, so that the interval printed holds [lo, hi]."""
    centre = f"{(lo + hi) / 2 + 0.0:.12g}"
    half = max(Fraction(hi) - Fraction(centre), Fraction(centre) - Fraction(lo))
    if half <= 0:
        return centre
    return f"{centre} ± {Context(prec=2, rounding=ROUND_CEILING).divide(Decimal(half.numerator), Decimal(half.denominator)):.1e}"


def _sha(digest: str | None) -> str | None:
    return None if digest is None else f"sha256:{digest.removeprefix('sha256:')}"
