"""What a run of verify, falsify, check or gate found, for people and machines: text, JSON, JUnit, SARIF, GitHub annotations, markdown.

Every format is a function from one :class:`Account` to the whole text, so that stdout and files say the same.  What is not proved is
an error or a failure in each of them and never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from certctl.formats import github, junit, markdown, plain, sarif
from certctl.formats.account import Account

FORMATS: Mapping[str, Callable[[Account], str]] = {
    "text": plain.text, "json": plain.json_text, "junit": junit.render, "sarif": sarif.render, "github": github.render,
    "markdown": markdown.render,
}
"""Name of a format to its writer."""

__all__ = ["FORMATS", "Account"]
