"""Bytes of a request body to a JSON value, strictly (RFC 8259 without its liberties).

Python's reader takes NaN, Infinity, 1e400, lone surrogates, duplicate keys and any depth its stack bears; each of
them would surface later as an error of ours. So one linear pass over the tokens looks for them first.
"""

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
MAX_DIGITS = 300

# Possessive, so that an unterminated string or a long run of digits costs linear time.
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*+"?)(?P<key>[ \t\r\n]*+:)?|(?P<bracket>[\[\]{}])'
    r"|(?P<constant>-?(?:NaN|Infinity))|(?P<number>-?[0-9][0-9.eE+-]*+)",
    re.DOTALL,
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class MalformedJson(Exception):
    """The body is no JSON that we take: ``code`` names why, ``line`` and ``column`` (from 1) where, when known."""

    def __init__(self, code: str, what: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(what if line is None else f"{what} (line {line}, column {column})")
        self.code = code
        self.line = line
        self.column = column


def read_json(body: bytes) -> Any:
    """The value that ``body`` holds. Raises MalformedJson; never anything else, whatever the bytes."""
    text = _decode(body)
    _inspect(text)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        what = "The body is empty; a JSON object was expected" if not text.strip() else f"Not JSON: {error.msg}"
        raise MalformedJson("malformed_json", what, error.lineno, error.colno) from None


def _decode(body: bytes) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = body.count(b"\n", 0, error.start) + 1, error.start - body.rfind(b"\n", 0, error.start)
        what = f"The body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}"
        raise MalformedJson("not_utf8", what, line, column) from None
    if text.startswith("\ufeff"):
        raise MalformedJson("byte_order_mark", "The body begins with a byte order mark; leave it out", 1, 1)
    return text


def _inspect(text: str) -> None:
    """Raise for depth, duplicate keys, lone surrogates, NaN, Infinity and numbers beyond a double."""
    open_objects: list[set[str] | None] = []
    for token in _TOKEN.finditer(text):
        if token["string"] is not None:
            string = _unescape(token, text)
            keys = open_objects[-1] if open_objects else None
            if token["key"] and keys is not None:
                if string in keys:
                    raise _at(text, token.start(), "duplicate_key", f"The key {_short(string)} stands twice")
                keys.add(string)
        elif token["bracket"] is not None:
            _nest(token, text, open_objects)
        elif token["constant"] is not None:
            raise _at(text, token.start(), "not_finite", f"{token['constant']} is not JSON; leave the property out")
        elif not _is_finite(token["number"]):
            raise _at(text, token.start(), "not_finite", f"The number {_short(token['number'])} is out of range")


def _nest(token: re.Match[str], text: str, open_objects: list[set[str] | None]) -> None:
    if token["bracket"] in "]}":
        if open_objects:
            open_objects.pop()
        return
    open_objects.append(set() if token["bracket"] == "{" else None)
    if len(open_objects) > MAX_DEPTH:
        raise _at(text, token.start(), "too_deep", f"Nested deeper than {MAX_DEPTH} levels")


def _unescape(token: re.Match[str], text: str) -> str:
    raw: str = token["string"]
    if "\\" not in raw:
        return raw[1:-1]
    try:
        string: str = json.loads(raw, strict=False)
    except json.JSONDecodeError:
        return raw  # The reader will say what is wrong with it.
    if _SURROGATE.search(string):
        raise _at(text, token.start(), "lone_surrogate", "The string holds half of a surrogate pair (\\ud800-\\udfff)")
    return string


def _is_finite(number: str) -> bool:
    if number.lstrip("-").isdecimal():
        return len(number) <= MAX_DIGITS
    try:
        return math.isfinite(float(number))
    except ValueError:
        return True  # Not a number at all; the reader will say so.


def _at(text: str, offset: int, code: str, what: str) -> MalformedJson:
    line = text.count("\n", 0, offset) + 1
    return MalformedJson(code, what, line, offset - text.rfind("\n", 0, offset))


def _short(text: str) -> str:
    shown = text if len(text) <= 40 else text[:39] + "…"
    return json.dumps(shown)
