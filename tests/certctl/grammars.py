"""Strict validators of the output formats, written from their specifications: what is not allowed here is a fault.

JUnit: the attributes and the order of elements that Ant's JUnit tasks document (the common ground with Jenkins' xUnit plug-in).
SARIF: the properties of the objects of SARIF 2.1.0 (OASIS Standard) that certctl writes, with their types, required ones and enumerations.
Markdown: GitHub Flavored Markdown as far as a summary uses it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as tree
from collections.abc import Iterator
from typing import Any

_SUITE = {"name": r".+", "package": r".*", "id": r"\d+", "hostname": r"\S+", "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "tests": r"\d+",
          "failures": r"\d+", "errors": r"\d+", "skipped": r"\d+", "time": r"\d+(\.\d+)?"}
_CASE = {"name": r".+", "classname": r".+", "time": r"\d+(\.\d+)?"}
_ENDING = {"message": r"[\s\S]*", "type": r".+"}


def junit_faults(text: str) -> Iterator[str]:
    """Sentences about what is wrong with a JUnit file; none for a good one."""
    root = tree.fromstring(text.encode("utf-8"))
    if root.tag != "testsuites" or root.attrib:
        yield "the root is testsuites without attributes"
    for suite in root:
        yield from _attributes(suite, "testsuite", _SUITE)
        tags = [child.tag for child in suite]
        cases = tags.count("testcase")
        if tags != ["properties", *["testcase"] * cases, "system-out", "system-err"]:
            yield f"a test suite holds properties, test cases, system-out and system-err, in this order, not {tags}"
        for item in suite.iterfind("properties/*"):
            yield from _attributes(item, "property", {"name": r".+", "value": r"[\s\S]*"})
        counted = {"tests": cases, "failures": 0, "errors": 0, "skipped": 0}
        for case in suite.iterfind("testcase"):
            yield from _attributes(case, "testcase", _CASE)
            if len(case) > 1:
                yield "a test case has at most one ending"
            for ending in case:
                yield from _attributes(ending, ("failure", "error"), _ENDING)
                counted[{"failure": "failures", "error": "errors"}.get(ending.tag, "skipped")] += 1
        yield from (f"{name} says {suite.get(name)}, counted are {n}" for name, n in counted.items() if suite.get(name) != str(n))


def _attributes(element: tree.Element, tag: str | tuple[str, ...], known: dict[str, str]) -> Iterator[str]:
    if element.tag not in (tag if isinstance(tag, tuple) else (tag,)):
        yield f"{element.tag} stands where {tag} belongs"
    if set(element.attrib) != set(known):
        yield f"{element.tag} has the attributes {sorted(element.attrib)}, not {sorted(known)}"
    yield from (f"{element.tag}.{name} is {value!r}" for name, value in element.attrib.items() if not re.fullmatch(known.get(name, ".*"), value))


# Property to (required, kind); a kind is a type, an enumeration, the name of another object, or a list of one such.
_SARIF: dict[str, dict[str, tuple[bool, Any]]] = {
    "log": {"$schema": (False, str), "version": (True, {"2.1.0"}), "runs": (True, ["run"])},
    "run": {"tool": (True, "tool"), "automationDetails": (False, "details"), "originalUriBaseIds": (False, dict),
            "invocations": (False, ["invocation"]), "columnKind": (False, {"utf16CodeUnits", "unicodeCodePoints"}), "properties": (False, dict),
            "results": (False, ["result"])},
    "tool": {"driver": (True, "component")},
    "component": {"name": (True, str), "version": (False, str), "semanticVersion": (False, str), "rules": (False, ["rule"])},
    "details": {"id": (False, str)},
    "invocation": {"executionSuccessful": (True, bool), "exitCode": (False, int)},
    "rule": {"id": (True, str), "name": (False, str), "shortDescription": (False, "text"), "fullDescription": (False, "text"),
             "help": (False, "text"), "defaultConfiguration": (False, "configuration"), "properties": (False, dict)},
    "text": {"text": (True, str)},
    "configuration": {"level": (False, {"none", "note", "warning", "error"})},
    "result": {"ruleId": (False, str), "ruleIndex": (False, int),
               "kind": (False, {"notApplicable", "pass", "fail", "review", "open", "informational"}),
               "level": (False, {"none", "note", "warning", "error"}), "message": (True, "text"), "locations": (False, ["location"]),
               "partialFingerprints": (False, dict), "properties": (False, dict)},
    "location": {"physicalLocation": (False, "physical")},
    "physical": {"artifactLocation": (True, "artifact"), "region": (False, "region")},
    "artifact": {"uri": (True, str), "uriBaseId": (False, str)},
    "region": {"startLine": (True, int)},
}


def sarif_faults(log: Any) -> Iterator[str]:
    """Sentences about what is wrong with a SARIF log; none for a good one."""
    yield from _object(log, "log", "log")
    for run in log.get("runs", []):
        rules = [rule["id"] for rule in run["tool"]["driver"].get("rules", [])]
        if len(set(rules)) != len(rules):
            yield "two rules have one id"
        for result in run.get("results", []):
            if rules[result["ruleIndex"]] != result["ruleId"]:
                yield "ruleIndex and ruleId disagree"
            if result.get("kind", "fail") != "fail" and result.get("level", "none") != "none":
                yield "only a result of kind fail has a level"
            if re.search(r"\[[^\]]*\]\(", result["message"]["text"]):
                yield "a message holds a link"
            if not all(re.fullmatch(r"[^/]+/v\d+", key) and isinstance(value, str) for key, value in result["partialFingerprints"].items()):
                yield "a partial fingerprint is a text under NAME/vN"
            for where in result["locations"]:
                artifact = where["physicalLocation"]["artifactLocation"]
                if artifact.get("uriBaseId") not in run.get("originalUriBaseIds", {}):
                    yield "a base of an address is not declared"
                if not re.fullmatch(r"(?!/)(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+", artifact["uri"]) or ".." in artifact["uri"].split("/"):
                    yield f"{artifact['uri']!r} is no relative, percent-encoded address"


def _object(value: Any, kind: str, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is no object"
        return
    known = _SARIF[kind]
    yield from (f"{at}.{key} is not a property of it" for key in value if key not in known)
    for key, (required, what) in known.items():
        if key not in value:
            if required:
                yield f"{at}.{key} is missing"
            continue
        for k, item in enumerate(value[key] if isinstance(what, list) else [value[key]]):
            one, place = what[0] if isinstance(what, list) else what, f"{at}.{key}[{k}]"
            if isinstance(one, str):
                yield from _object(item, one, place)
            elif (item not in one) if isinstance(one, set) else type(item) is not one:
                yield f"{place} is {item!r}"


def markdown_faults(text: str) -> Iterator[str]:
    """Sentences about what is wrong with a summary: ragged tables, open fences, raw HTML, links, images, mentions, control characters."""
    columns, fenced = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            plain = re.sub(r"`[^`]*`", "", line).replace("<!-- -->", "")
            if line.startswith("|"):
                cells = len(re.findall(r"(?<!\\)\|", line)) - 1
                if columns not in (0, cells):
                    yield f"line {number} has {cells} cells, the table {columns}"
                columns = cells
            else:
                columns = 0
            yield from (f"line {number} holds {found!r}" for found in re.findall(r"[<>\[\]@\\]|!\(|www\.|://|#\d", re.sub(r"&#\d+;", "", plain)))
        yield from (f"line {number} holds {c!r}" for c in line if not c.isprintable())
    if fenced:
        yield "a fence is open at the end"
