"""Strict reading of untrusted tables: JSON without tricks, fields without surprises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from verifiers.kernel.codes import Code, Refusal, need

Types = type | tuple[type, ...]
Reader = Types | Callable[[Any, str], Any]
MAX_DEPTH = 32
MAX_STRING = 1 << 16


def read_json(data: bytes, at: str, code: Code = Code.MALFORMED_CERTIFICATE) -> Any:
    """Read JSON that has one meaning only.

    Raises
    ------
    Refusal
        ``code`` for anything but strict UTF-8 JSON of objects, lists, printable strings, integers, booleans and null:
        byte order mark, duplicate key, fraction, exponent, NaN, Infinity, control or surrogate character, trailing data.
        ``TOO_LARGE`` for nesting deeper than 32, an integer of more than 18 digits, or a string of more than 65,536 characters.
    """
    def refuse(text: str) -> NoReturn:
        raise Refusal(code, at, f"the number {text[:40]} is not an integer; write it as a decimal or fraction string")

    def integer(text: str) -> int:
        need(len(text) <= 18 and text.isascii(), Code.TOO_LARGE, at, f"the integer {text[:18]}... has more than 18 characters; write it as a string")
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        need(len(table) == len(pairs), code, at, f"a key occurs twice in the object with keys {ascii([*table][:9])[:80]}; keep one of them")
        return table

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_float=refuse, parse_constant=refuse, parse_int=integer)
    except ValueError as error:
        raise Refusal(code, at, f"this is not strict UTF-8 JSON: {error}") from None
    except RecursionError:
        raise Refusal(Code.TOO_LARGE, at, f"objects are nested deeper than {MAX_DEPTH} levels") from None
    for depth, item in walk(value):
        need(depth < MAX_DEPTH or not isinstance(item, dict | list), Code.TOO_LARGE, at, f"objects are nested deeper than {MAX_DEPTH} levels")
        for text in item if isinstance(item, dict) else (item,):
            if isinstance(text, str):
                need(len(text) <= MAX_STRING, Code.TOO_LARGE, at, f"a string has more than {MAX_STRING} characters")
                need(text.isprintable(), code, at, f"the string {text[:40]!a} holds a character that cannot be printed; remove it")
    return value


def walk(value: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield ``(depth, item)`` for a JSON value and everything inside it, in order; whoever stops at a depth bounds the recursion."""
    yield depth, value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(item, depth + 1)


def take(table: Any, at: str, required: Mapping[str, Reader], optional: Mapping[str, Reader] | None = None,
         code: Code = Code.MALFORMED_CERTIFICATE) -> dict[str, Any]:
    """Return the fields of an object that has all required fields and none that is unknown, each as its reader returns it.

    A reader is one or several types, which the value must have exactly (``True`` is no ``int``), or a function of value and
    place.  An absent optional field is returned as None.

    Raises
    ------
    Refusal
        ``code`` at the dotted place of the first unknown, missing or wrongly typed field; whatever a reader raises.
    """
    need(type(table) is dict, code, at or "top level", "a table of named fields is expected here")
    known, found = {**required, **(optional or {})}, dict.fromkeys(optional or {})
    for key in [*table, *(key for key in required if key not in table)]:
        place = f"{at}.{key if key.isprintable() and len(key) <= 60 else ascii(key)[:60]}".lstrip(".")
        need(key in known, code, place, f"this field is unknown; known here are {', '.join(known)}")
        need(key in table, code, place, "this field is missing; add it")
        reader, value = known[key], table[key]
        if isinstance(reader, type | tuple):
            types = reader if isinstance(reader, tuple) else (reader,)
            need(type(value) in types, code, place, f"this is of type {type(value).__name__}, not {' or '.join(t.__name__ for t in types)}")
        else:
            value = reader(value, place)
        found[key] = value
    return found
