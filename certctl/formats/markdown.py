"""Markdown for a step summary or a pull request: one table, a section per controller, the certified region as a figure of characters."""

from __future__ import annotations

from certctl.cli.output import clean, exact_level, round_down
from certctl.formats.account import Account
from certctl.formats.raster import raster
from certctl.result import Result

_SAFE = frozenset(" ,;=/%+()'-·≤≥±{}°²")


def render(account: Account) -> str:
    """The page as text; every name and message is escaped, so none can begin a link, an image, a mention, HTML or another table cell."""
    passed = account.deployable
    lines = [f"## certctl {account.command}: {_verdict(account)}", "", f"{passed} proved, {len(account.results) - passed} not."]
    if account.policy_digest:
        lines[-1] += f" Policy digest `{account.policy_digest}`."
    lines += ["", "| controller | answer | property | level | region | why not |", "|---|---|---|---|---|---|"]
    lines += [_row(result) for result in account.results]
    for result in account.others:
        lines += ["", f"**{escape(result.name)}** is {escape(result.outcome)} with {escape(result.code)}: {escape(account.words(result.message))}.  ",
                  f"At {escape(account.at(result))}; `certctl explain {_code(result.code)}` says what it means and what to try."]
    for result in account.results:
        if result.is_proved and (figure := raster(result)):
            lines += ["", f"Certified region of **{escape(result.name)}**:", "", "```text", *figure, "```"]
    return "\n".join(lines) + "\n"


def escape(text: object) -> str:
    """A text that markdown shows as it is: everything but letters, digits and harmless punctuation becomes a character reference.

    CommonMark never reads a character reference as markup.  GitHub looks for mentions and issue numbers in the finished text, hence the comment
    after ``@`` and ``#``; a full stop stays, except where GitHub would make a link of it (``www.``).
    """
    shown = clean(text if text is not None else "-")
    return "".join(_character(c, shown[:k]) for k, c in enumerate(shown))


def _character(c: str, before: str) -> str:
    if c.isalnum() or c in _SAFE or (c == "." and not before.lower().endswith("www")):
        return c
    return f"&#{ord(c)};" + ("<!-- -->" if c in "@#" else "")


def _verdict(account: Account) -> str:
    code = account.exit_code
    return f"{'passed' if code == 0 else 'NOT passed'} (exit {int(code)}: {escape(code.meaning)})"


def _row(result: Result) -> str:
    region, volume = "-", (result.region or {}).get("volume_lower_bound")
    if result.is_proved and result.region is not None:
        region = f"{result.region.get('function')} ≤ {exact_level(result.region.get('level'))}"
        region += f", volume ≥ {round_down(float(volume))}" if volume else ""
    cells = (result.name, result.outcome, result.property, result.level, region, result.code)
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def _code(code: str | None) -> str:
    return "".join(c for c in code or "" if c.isalnum() or c == "_")
