"""Text that another party wrote, made fit for this party's log and database.

An audit entry refuses long text and text that looks like encoded data, and a database may refuse control
characters. Neither may keep a refusal from being noted, so what others wrote is fitted first; nothing is ever
decided by the fitted text.
"""

import re
from collections.abc import Mapping

from fedseal_governance.audit.entries import MAX_ENCODED, MAX_TEXT

_RUN = re.compile(rf"([A-Za-z0-9+/=_-]{{{MAX_ENCODED}}})(?=[A-Za-z0-9+/=_-])")


def fitted(text: str, *, limit: int = MAX_TEXT) -> str:
    """``text`` in one line of at most ``limit`` characters, printable, with spaces in overlong words."""
    printable = "".join(character if character.isprintable() else " " for character in text[:limit])
    return _RUN.sub(r"\1 ", printable)[:limit]


def fitted_all(details: Mapping[str, object]) -> dict[str, object]:
    """``details`` of an entry with every text in them fitted."""
    return {fitted(key): _fitted_value(value) for key, value in details.items()}


def _fitted_value(value: object) -> object:
    match value:
        case str():
            return fitted(value)
        case Mapping():
            return fitted_all(value)
        case list() | tuple():
            return [_fitted_value(item) for item in value]
        case _:
            return value


def hex_lines(data: bytes) -> list[str]:
    """Evidence in bytes, as lines of hexadecimal digits that an audit entry takes."""
    digits = data.hex()
    return [digits[start : start + MAX_ENCODED] for start in range(0, len(digits), MAX_ENCODED)]
