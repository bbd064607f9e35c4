"""Texts of options that several commands take: a box of states, parameters, sizes."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.cli.output import UsageError


def box_option(option: str, text: str | None) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Read ``LO,…:HI,…`` as two corners; None where nothing is given."""
    if not text:
        return None
    lo, colon, hi = text.partition(":")
    if not colon:
        raise UsageError(f"{option} {text}: write LO,…:HI,… with one number per state, for example -1,-8:1,8")
    return tuple(item.strip() for item in lo.split(",")), tuple(item.strip() for item in hi.split(","))


def pairs_option(items: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` items, each name once."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.replace("_", "").isalnum() or not name.isascii() or name in found:
            raise UsageError(f"--parameter {item}: write NAME=VALUE, each name once")
        found[name] = value
    return found


def sizes_option(option: str, text: str) -> tuple[int, ...]:
    """Read ``16,16`` as positive whole numbers."""
    items = [item.strip() for item in text.split(",")]
    if not all(item.isascii() and item.isdigit() and 0 < int(item) < 10_000 for item in items):
        raise UsageError(f"{option} {text}: write the numbers of neurons with commas, for example 16,16")
    return tuple(int(item) for item in items)
