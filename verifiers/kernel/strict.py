"""Strict reading of untrusted tables: JSON without tricks, fields without surprises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from verifiers.kernel.codes import Code, Refusal, need

Types = type | tuple[type, ...]
MAX_DEPTH = 32
MAX_STRING = 1 << 16
_NONE: Mapping[str, Types] = MappingProxyType({})


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
        if not (len(text) <= 18 and text.isascii()):
            raise Refusal(Code.TOO_LARGE, at, f"the integer {text[:18]}... has more than 18 characters; write it as a string")
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise Refusal(code, at, f"a key occurs twice in the object with keys {ascii(sorted(table))[:80]}; keep one of them")
        return table

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_float=refuse, parse_constant=refuse, parse_int=integer)
    except ValueError as error:
        raise Refusal(code, at, f"this is not strict UTF-8 JSON: {error}") from None
    except RecursionError:
        raise Refusal(Code.TOO_LARGE, at, f"objects are nested deeper than {MAX_DEPTH} levels") from None
    for depth, item in walk(value):
        if not (depth < MAX_DEPTH or not isinstance(item, dict | list)):
            raise Refusal(Code.TOO_LARGE, at, f"objects are nested deeper than {MAX_DEPTH} levels")
        for text in item if isinstance(item, dict) else (item,):
            if isinstance(text, str) and not len(text) <= MAX_STRING:
                raise Refusal(Code.TOO_LARGE, at, f"a string has more than {MAX_STRING} characters")
            if isinstance(text, str) and not text.isprintable():
                raise Refusal(code, at, f"the string {text[:40]!a} holds a character that cannot be printed; remove it")
    return value


def walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield ``(depth, item)`` for a JSON value and everything inside it, in order; memory is that of the depth."""
    stack = [iter((value,))]
    while stack:
        for item in stack[-1]:
            yield len(stack) - 1, item
            if isinstance(item, dict | list):
                stack.append(iter(item.values() if isinstance(item, dict) else item))
            break
        else:
            stack.pop()


def take(table: Any, at: str, required: Mapping[str, Types], optional: Mapping[str, Types] = _NONE,
         code: Code = Code.MALFORMED_CERTIFICATE) -> dict[str, Any]:
    """Return the fields of an object that has all required fields and none that is unknown, each of exactly the given type(s).

    An absent optional field is returned as None.  Types are compared exactly, so ``True`` is no ``int``.

    Raises
    ------
    Refusal
        ``code`` at the dotted place of the first unknown, missing or wrongly typed field.
    """
    need(type(table) is dict, code, at or "top level", "a table of named fields is expected here")
    known = {**required, **optional}
    for key in [*table, *required]:
        place = f"{at}.{key if key.isprintable() and len(key) <= 60 else ascii(key)[:60]}".lstrip(".")
        if key not in known:
            raise Refusal(code, place, f"this field is unknown; known here are {', '.join(sorted(known))}")
        if key not in table:
            raise Refusal(code, place, "this field is missing; add it")
        kinds = known[key]
        types = kinds if isinstance(kinds, tuple) else (kinds,)
        if type(table[key]) not in types:
            expected = " or ".join(t.__name__.strip("_") for t in types)
            raise Refusal(code, place, f"this field is of type {type(table[key]).__name__.strip('_')} where {expected} is expected")
    return {**dict.fromkeys(optional), **table}
