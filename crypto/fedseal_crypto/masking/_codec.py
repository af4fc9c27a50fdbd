"""Reading and writing the protocol's bytes.

Integers are big-endian; variable parts carry their length. Rules: every length is read against a named limit
before anything is taken; nothing may follow the last field; reading fails with one error type only, which
says what was being read.
"""

from typing import final

from fedseal_crypto.masking._errors import MessageMalformed


@final
class Writer:
    """Collects fields."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def uint(self, value: int, size: int) -> None:
        """An unsigned integer of `size` bytes."""
        self._parts.append(value.to_bytes(size, "big"))

    def fixed(self, value: bytes) -> None:
        """Bytes whose length the reader knows."""
        self._parts.append(value)

    def sized(self, value: bytes) -> None:
        """Bytes after their length in two bytes."""
        self._parts.append(len(value).to_bytes(2, "big") + value)

    def text(self, value: str) -> None:
        """ASCII text after its length."""
        self.sized(value.encode("ascii"))

    def finish(self) -> bytes:
        """All fields."""
        return b"".join(self._parts)


@final
class Reader:
    """Takes fields from a buffer, front to back.

    Args:
        data: The bytes.
        what: What they should be, for the error's sentence.
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def fixed(self, size: int, name: str) -> bytes:
        """Exactly `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise self.malformed(f"it ends within {name}")
        value = self._data[self._at : end]
        self._at = end
        return value

    def uint(self, size: int, name: str, *, most: int) -> int:
        """An unsigned integer of `size` bytes, at most `most`."""
        value = int.from_bytes(self.fixed(size, name), "big")
        if value > most:
            raise self.malformed(f"{name} is {value}, more than {most}")
        return value

    def sized(self, name: str, *, most: int) -> bytes:
        """Bytes after their length, at most `most`."""
        return self.fixed(self.uint(2, f"the length of {name}", most=most), name)

    def text(self, name: str, *, most: int) -> str:
        """Printable ASCII text after its length."""
        raw = self.sized(name, most=most)
        text = raw.decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            raise self.malformed(f"{name} is not printable ASCII")
        return text

    @property
    def position(self) -> int:
        """How many bytes have been taken."""
        return self._at

    def since(self, position: int) -> bytes:
        """What was taken since then."""
        return self._data[position : self._at]

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise self.malformed(f"{len(self._data) - self._at} bytes follow its last field")

    def malformed(self, reason: str) -> MessageMalformed:
        """The error that says why this is not a valid message."""
        return MessageMalformed(f"{self._what} is malformed: {reason.rstrip('.')}.")
