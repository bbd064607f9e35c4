"""JUnit XML: one test case per controller; refused is a failure, undecided and every accident an error, and nothing is ever skipped."""

from __future__ import annotations

import datetime
import xml.etree.ElementTree as tree

from certctl.cli.output import clean, last_line
from certctl.formats.account import Account
from certctl.result import Result

_FAILURES = ("REFUSED", "REFUTED")


def render(account: Account) -> str:
    """The file as text, in the common ground of Ant's and Jenkins' descriptions of the format.

    Notes
    -----
    A result that is not PROVED always carries ``failure`` (REFUSED, REFUTED) or ``error`` (UNKNOWN, ERROR, anything else), so that a CI
    system that knows only passes and skips cannot read it as either.  No test case at all would read as a pass: an account without
    results gets an error of its own.  ``hostname`` is always ``localhost``: what was checked does not depend on the machine.
    """
    cases = account.results or (Result("ERROR", account.command, "NOTHING_TO_CHECK", message="nothing was checked"),)
    failures = sum(_tag(result) == "failure" for result in cases)
    errors = sum(_tag(result) == "error" for result in cases)
    root = tree.Element("testsuites")
    suite = tree.SubElement(root, "testsuite", {
        "name": f"certctl {account.command}", "package": "certctl", "id": "0", "hostname": "localhost",
        "timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S"), "tests": str(len(cases)), "failures": str(failures),
        "errors": str(errors), "skipped": "0", "time": _seconds(sum(result.check_s + result.search_s for result in cases))})
    properties = tree.SubElement(suite, "properties")
    for name, value in (("policy", account.policy and account.relative(account.policy)), ("policy_digest", account.policy_digest)):
        if value:
            tree.SubElement(properties, "property", {"name": name, "value": clean(value)})
    for result in cases:
        _case(suite, account, result)
    tree.SubElement(suite, "system-out")
    tree.SubElement(suite, "system-err")
    tree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tree.tostring(root, encoding="unicode") + "\n"


def _case(suite: tree.Element, account: Account, result: Result) -> None:
    place = account.place(result) or account.command
    name, seconds = clean(f"{result.name} {result.property or ''}".strip()), _seconds(result.check_s + result.search_s)
    case = tree.SubElement(suite, "testcase", {"name": name, "classname": clean(place), "time": seconds})
    tag = _tag(result)
    if tag is not None:
        says = clean(f"{result.outcome} {result.code}: {account.words(result.message)}")
        found = tree.SubElement(case, tag, {"message": says, "type": clean(result.code or result.outcome)})
        explain = f"certctl explain {result.code} says what it means and what to try"
        found.text = "\n".join((account.words(last_line(result)), clean(f"at {account.at(result)}"), says, clean(explain)))


def _tag(result: Result) -> str | None:
    return None if result.is_proved else "failure" if result.outcome in _FAILURES else "error"


def _seconds(value: float) -> str:
    return f"{max(value, 0.0):.3f}"
