"""SARIF 2.1.0: one finding per controller that is not proved, at the file to look at, with a fingerprint that no machine or clock changes."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from certctl import __version__
from certctl.cli.output import clean
from certctl.codes import explain
from certctl.formats.account import Account
from certctl.result import Result

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "certctlFinding/v1"


def render(account: Account) -> str:
    """The log as text.

    Notes
    -----
    Everything that is not proved is a result of kind ``fail`` and level ``error``, undecided ones too: SARIF's kind ``open`` would force
    the level ``none``, which viewers hide, and an open question must not look like a pass.  Places are relative to ``SRCROOT``, and no time is
    written, so two runs on two machines that find the same write the same bytes.
    """
    findings = account.others
    rules = sorted({result.code or "INTERNAL" for result in findings})
    run = {
        "tool": {"driver": {"name": "certctl", "version": __version__, "semanticVersion": __version__, "rules": [_rule(code) for code in rules]}},
        "automationDetails": {"id": f"certctl/{account.command}/"},
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The repository that was checked."}}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": int(account.exit_code) != 2, "exitCode": int(account.exit_code)}],
        "properties": {"deployable": account.deployable, "policyDigest": account.policy_digest},
        "results": [_result(account, result, rules) for result in findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, allow_nan=False) + "\n"


def fingerprint(account: Account, result: Result) -> str:
    """sha256 that tells one finding from another: code, requirement's name, property and place, and nothing that a rerun or a machine changes."""
    parts = (result.code or "INTERNAL", result.name, result.property or "", account.place(result) or "")
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _rule(code: str) -> dict[str, Any]:
    try:
        paragraph = explain(code)
    except KeyError:
        paragraph = "The run ended in a way that has no code of its own."
    first = paragraph.split(". ")[0].rstrip(".") + "."
    return {
        "id": code, "name": "".join(part.title() for part in code.split("_")), "shortDescription": {"text": first},
        "fullDescription": {"text": paragraph}, "help": {"text": paragraph}, "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["stability", "deployment"]}}


def _message(text: str) -> str:
    """A text in which nothing is a link: SARIF reads ``[text](address)`` as one even in plain text."""
    return clean(text).replace("](", "] (")


def _result(account: Account, result: Result, rules: list[str]) -> dict[str, Any]:
    code = result.code or "INTERNAL"
    place = account.place(result)
    found: dict[str, Any] = {
        "ruleId": code, "ruleIndex": rules.index(code), "kind": "fail", "level": "error",
        "message": {"text": _message(f"{result.outcome} {result.name} {result.property or '-'}: {account.words(result.message)}")},
        "partialFingerprints": {FINGERPRINT: fingerprint(account, result)},
        "properties": {"outcome": result.outcome, "at": account.at(result), "controllerSha256": result.controller_sha256,
                       "bundleDigest": result.bundle_digest},
        "locations": [],
    }
    if place is not None:
        where: dict[str, Any] = {"artifactLocation": {"uri": quote(place, errors="surrogatepass"), "uriBaseId": "SRCROOT"}}
        if place.endswith(".toml"):
            where["region"] = {"startLine": 1}
        found["locations"] = [{"physicalLocation": where}]
    return found
