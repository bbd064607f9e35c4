"""GitHub's workflow commands: an ``::error`` annotation per controller that is not proved, and the plain line of every result."""

from __future__ import annotations

from certctl.cli.output import clean, last_line
from certctl.formats.account import Account
from certctl.result import Result


def render(account: Account) -> str:
    """Annotations and lines as a job's log takes them."""
    lines = []
    for result in account.results:
        if not result.is_proved:
            lines.append(annotation(account, result))
        lines.append(account.words(last_line(result)))
    return "\n".join(lines) + "\n"


def annotation(account: Account, result: Result) -> str:
    """One ``::error file=…,line=…,title=…::message`` line; every part is escaped, so no name or message can end it and begin another."""
    place = account.place(result)
    title = clean(f"certctl: {result.outcome} {result.name} {result.code}")
    parts = [] if place is None else [f"file={_property(place)}", *(["line=1"] if place.endswith(".toml") else [])]
    message = f"{account.words(result.message)}\nat {account.at(result)}\ncertctl explain {result.code} says what to try"
    text = "\n".join(clean(line) for line in message.split("\n"))
    return f"::error {','.join([*parts, f'title={_property(title)}'])}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(clean(text)).replace(":", "%3A").replace(",", "%2C")
