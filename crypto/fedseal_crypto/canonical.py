"""JSON in exactly one spelling, so that equal values have equal bytes and equal digests.

Rules it keeps: what is written is RFC 8785; what is read must already be in that form, to the byte. Reading
refuses duplicate keys, NaN and infinities, numbers beyond the interoperable range, lone surrogates, trailing
bytes, deep nesting and anything longer than the caller's limit.
Reference: RFC 8785 (JSON Canonicalization Scheme), RFC 7493 (I-JSON).
"""

import json
from collections.abc import Callable
from typing import NoReturn

import rfc8785

from fedseal_crypto.errors import MisuseError, PeerError

MAX_DEPTH = 64
"""Nested arrays and objects; our deepest document has under 12, and parsers recurse."""


MAX_SAFE_INTEGER = 2**53 - 1
"""RFC 7493, section 2.2: integers up to here are the same number for every reader."""

_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


class NotJson(MisuseError):
    """A value that JSON cannot say was given to be written."""


class JsonInvalid(PeerError):
    """A text from outside is not strict JSON, not canonical, or too large."""


def canonical_json(value: object) -> bytes:
    """The RFC 8785 form of `value`: dictionaries, lists, strings, booleans, None and finite numbers.

    Raises:
        NotJson: `value` holds something else, an integer beyond ±(2^53 - 1), or is nested too deeply.
    """
    try:
        if _is_plain(value, MAX_DEPTH):
            # Five times faster, and for such values the same bytes; a test compares the two.
            return _PLAIN.encode(value).encode("utf-8")
        # The library types its argument as JSON; checking that is what it is called for.
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, UnicodeError, TypeError) as error:
        raise NotJson(f"this value cannot be written as canonical JSON: {error}") from error
    except RecursionError as error:
        raise NotJson("this value is nested too deeply to be written as JSON.") from error


def parse_strict(data: bytes, *, max_bytes: int) -> object:
    """Read JSON that need not be canonical but must be unambiguous.

    Args:
        data: UTF-8 text, without byte-order mark.
        max_bytes: The longest text accepted.

    Raises:
        JsonInvalid: It is longer, not JSON, or ambiguous.
    """
    return _parse(data, max_bytes, int)


def parse_canonical(data: bytes, *, max_bytes: int) -> dict[str, object]:
    """Read a JSON object that is in canonical form to the byte.

    Args:
        data: The text.
        max_bytes: The longest text accepted.

    Raises:
        JsonInvalid: It is longer, not an object, or not the RFC 8785 form of what it says.
    """
    value = _parse(data, max_bytes, _number)
    if not isinstance(value, dict):
        raise JsonInvalid(f"the JSON text holds {type(value).__name__} where an object is wanted.")
    try:
        canonical = canonical_json(value)
    except NotJson as error:
        raise JsonInvalid(f"the JSON text cannot be canonical: {error}") from error
    if canonical != data:
        raise JsonInvalid("the JSON text is not in canonical form (RFC 8785); write it again.")
    return value


def _is_plain(value: object, depth: int) -> bool:
    """Whether the standard library writes `value` as RFC 8785 does: exact types, no float, keys in ASCII.

    Floats are written differently; keys beyond the basic plane would be sorted by code points instead of UTF-16 units.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER  # type: ignore[operator]  # an int, just seen
    if depth == 0:
        return False
    if isinstance(value, dict) and kind is dict:
        return all(type(key) is str and key.isascii() and _is_plain(item, depth - 1) for key, item in value.items())
    return isinstance(value, list) and kind is list and all(_is_plain(item, depth - 1) for item in value)


def _parse(data: bytes, max_bytes: int, parse_int: Callable[[str], int | float]) -> object:
    if len(data) > max_bytes:
        raise JsonInvalid(f"the JSON text has {len(data)} bytes; the limit is {max_bytes}.")
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=parse_int,
        )
    except (ValueError, RecursionError) as error:
        raise JsonInvalid(f"the text is not strict JSON: {_brief(error)}.") from error
    _require_shallow(value)
    return value


def _number(digits: str) -> int | float:
    """RFC 8785 writes the double 1e16 as `10000000000000000`, so beyond 2^53 digits mean a double."""
    double = float(digits)
    return int(digits) if abs(double) <= MAX_SAFE_INTEGER else double


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name[:80]!r} occurs twice")
            seen.add(name)
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _require_shallow(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise JsonInvalid(f"the JSON text is nested more than {MAX_DEPTH} deep.")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _brief(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)[:200] or type(error).__name__
