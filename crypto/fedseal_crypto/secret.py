"""A container for key material that is hard to leak by accident.

Rules it keeps: printing, logging or formatting shows a placeholder; comparing takes the same time wherever
the bytes differ; copying through pickle is refused, so that a secret cannot slip into a queue, a cache or a
general state store. What it leaves out: wiping memory, which Python cannot promise.
"""

import hmac
from typing import NoReturn, final

from fedseal_crypto.errors import MisuseError


@final
class SecretBytes:
    """Bytes that only show themselves through `reveal`.

    Args:
        value: The secret, of any length.

    Raises:
        MisuseError: `value` is not `bytes`.
    """

    __slots__ = ("_value",)
    # A secret must not be a dictionary key: looking it up would compare hashes in variable time.
    __hash__ = None  # type: ignore[assignment]  # the documented way to make a class unhashable

    def __init__(self, value: bytes) -> None:
        if not isinstance(value, bytes):
            raise MisuseError(f"a secret is made of bytes, not {type(value).__name__}; encode it first.")
        self._value = value

    def reveal(self) -> bytes:
        """The secret itself; call it only in the expression that consumes it."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return "SecretBytes(<redacted>)"

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a secret cannot be pickled or copied; pass the object itself.")
