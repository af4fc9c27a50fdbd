import json
import math

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from fedseal_crypto.canonical import JsonInvalid, NotJson, canonical_json, parse_canonical, parse_strict

SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
SCALARS = st.none() | st.booleans() | SAFE_INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def test_the_example_of_rfc_8785_section_3_2_2() -> None:
    text = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(json.loads(text)) == expected.encode()


def test_keys_are_sorted_by_utf_16_as_in_rfc_8785_section_3_2_3() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    data = canonical_json(dict.fromkeys(names, 0))
    assert list(json.loads(data)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@given(value=VALUES)
def test_the_quick_way_writes_what_the_standard_asks(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(value=st.dictionaries(st.text(), VALUES))
def test_what_is_written_is_read_back_and_written_the_same(value: dict[str, object]) -> None:
    data = canonical_json(value)
    assert canonical_json(parse_canonical(data, max_bytes=len(data))) == data


@pytest.mark.parametrize(
    "value", [b"bytes", {1: 2}, {"a": {1, 2}}, 2**53, -(2**53), math.nan, math.inf, "\ud800", object()]
)
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(NotJson):
        canonical_json(value)


def test_large_doubles_keep_their_spelling_and_large_integers_have_none() -> None:
    assert canonical_json({"a": 1e16}) == b'{"a":10000000000000000}'
    assert parse_canonical(b'{"a":10000000000000000}', max_bytes=100) == {"a": 1e16}
    assert canonical_json({"a": 1e21}) == b'{"a":1e+21}'
    with pytest.raises(NotJson, match="safe integer"):
        canonical_json({"a": 10**16})


def test_bottomless_values_are_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotJson, match="nested too deeply"):
        canonical_json(loop)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not strict JSON"),
        (b"[]", "where an object is wanted"),
        (b"1", "where an object is wanted"),
        (b'{"a":1,"a":1}', "'a' occurs twice"),
        (b'{"a":{"b":1,"b":2}}', "'b' occurs twice"),
        (b'{"a":NaN}', "NaN is not a JSON number"),
        (b'{"a":-Infinity}', "-Infinity is not a JSON number"),
        (b'{"a":1e999}', "cannot be canonical"),
        (b'{"a":9007199254740993}', "not in canonical form"),
        (b'{"a":' + b"9" * 400 + b"}", "cannot be canonical"),
        (b'{"a": 1}', "not in canonical form"),
        (b'{"b":1,"a":1}', "not in canonical form"),
        (b'{"a":1.0}', "not in canonical form"),
        (b'{"a":1}\n', "not in canonical form"),
        (b'{"a":"\\u0041"}', "not in canonical form"),
        (b'{"a":"\\ud800"}', "cannot be canonical"),
        (b"\xef\xbb\xbf{}", "not strict JSON"),
        (b'{"a":"\xff"}', "not strict JSON"),
        (b'{"a":1}{', "not strict JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "more than 64 deep"),
        (b'{"a":' + b"9" * 5000 + b"}", "cannot be canonical"),
    ],
)
def test_ambiguous_or_other_spellings_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(JsonInvalid, match=message):
        parse_canonical(text, max_bytes=1_000_000)


def test_the_limit_is_the_callers() -> None:
    parse_canonical(b'{"a":1}', max_bytes=7)
    with pytest.raises(JsonInvalid, match="has 7 bytes; the limit is 6"):
        parse_canonical(b'{"a":1}', max_bytes=6)


def test_strict_reading_allows_other_spellings_but_no_ambiguity() -> None:
    assert parse_strict(b' {"b" : 1, "a": [1.0]}\n', max_bytes=100) == {"b": 1, "a": [1.0]}
    with pytest.raises(JsonInvalid):
        parse_strict(b'{"a":1,"a":2}', max_bytes=100)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_the_typed_error(data: bytes) -> None:
    try:
        value = parse_canonical(data, max_bytes=100)
    except JsonInvalid:
        return
    assert canonical_json(value) == data
