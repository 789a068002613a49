"""Reading JSON strictly: everything that Python's reader lets through, or breaks on, is refused with its place."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gate.raw_json import MAX_DEPTH, MalformedJson, read_json

REFUSED = [
    (b"", "malformed_json", 1, 1),
    (b"  \n ", "malformed_json", 2, 2),
    (b'{"a": 1,}', "malformed_json", 1, 9),
    (b'{"a": 1} {"b": 2}', "malformed_json", 1, 10),
    (b"{'a': 1}", "malformed_json", 1, 2),
    (b'{"a": tru}', "malformed_json", 1, 7),
    (b'{"a": 01}', "malformed_json", 1, 8),
    (b'{"a": "tab\there"}', "malformed_json", 1, 11),
    (b'"\\x"', "malformed_json", 1, 2),
    (b'{"a": 1, "a": 2}', "duplicate_key", 1, 10),
    (b'{"a": 1,\n "\\u0061": 2}', "duplicate_key", 2, 2),
    (b'[{"a": {"b": 1, "b": 2}}]', "duplicate_key", 1, 17),
    (b'{"a": NaN}', "not_finite", 1, 7),
    (b'{"a": [1, -Infinity]}', "not_finite", 1, 11),
    (b'{"a": 1e400}', "not_finite", 1, 7),
    (b'{"a": -1E+999}', "not_finite", 1, 7),
    (b'{"a": ' + b"9" * 5000 + b"}", "not_finite", 1, 7),
    (b'{"a": "\\ud800"}', "lone_surrogate", 1, 7),
    (b'{"\\udfff": 1}', "lone_surrogate", 1, 2),
    (b'{"a": "\\ud800\\ud800"}', "lone_surrogate", 1, 7),
    (b"[" * 100_000, "too_deep", 1, MAX_DEPTH + 1),
    (b'{"a":' * 100_000, "too_deep", 1, 5 * MAX_DEPTH + 1),
    (b'\xef\xbb\xbf{"a": 1}', "byte_order_mark", 1, 1),
    ('{"a": 1}'.encode("utf-16"), "not_utf8", 1, 1),
    (b'{"a":\n "\xff"}', "not_utf8", 2, 3),
    (b'{"a": "\xed\xa0\x80"}', "not_utf8", 1, 8),
]


@pytest.mark.parametrize(("body", "code", "line", "column"), REFUSED, ids=lambda value: repr(value)[:30])
def test_what_is_no_strict_json_is_refused_with_its_place(body: bytes, code: str, line: int, column: int):
    with pytest.raises(MalformedJson) as caught:
        read_json(body)
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)


@pytest.mark.alone
@pytest.mark.parametrize("body", [b'"' + b'\\"' * 500_000, b"1" * 1_000_000, b"-" * 1_000_000, b'"\\' * 300_000])
@pytest.mark.timeout(10)
def test_a_mebibyte_made_to_be_slow_is_refused_in_linear_time(body: bytes):
    with pytest.raises(MalformedJson):
        read_json(body)


def test_the_deepest_and_the_largest_that_is_allowed():
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert read_json(deep) == json.loads(deep)
    assert read_json(b'{"a": "[[[{{{", "b": 1.7976931348623157e308, "c": "\\ud83d\\ude00"}')["c"] == "😀"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda child: st.lists(child, max_size=4) | st.dictionaries(st.text(), child, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150)
@given(JSON)
def test_every_json_value_is_read_as_it_is(value: object):
    for ascii_only in (True, False):
        assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")) == value


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text('{}[]":,\\ud8fNaI-+.e019 ', max_size=40).map(str.encode))
def test_no_bytes_raise_anything_else(body: bytes):
    with suppress(MalformedJson):
        read_json(body)
