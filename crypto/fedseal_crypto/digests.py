"""SHA-256 digests as lower-case hexadecimal text, the names by which documents are known everywhere.

Rules it keeps: one spelling only (64 lower-case hexadecimal digits), so that comparing text compares digests.
Reference: FIPS 180-4.
"""

import hashlib
import re
from typing import NewType

from fedseal_crypto.errors import PeerError

Digest = NewType("Digest", str)
"""A SHA-256 digest: exactly 64 lower-case hexadecimal digits."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 80  # characters of a wrong value that a message repeats


class DigestInvalid(PeerError):
    """A text that should be a digest is something else."""


def sha256_hex(data: bytes | bytearray | memoryview) -> Digest:
    """The digest of `data`."""
    return Digest(hashlib.sha256(data).hexdigest())


def parse_digest(text: str) -> Digest:
    """Check that `text` is a digest in its only spelling.

    Raises:
        DigestInvalid: It is not exactly 64 lower-case hexadecimal digits.
    """
    if not isinstance(text, str) or _DIGEST.fullmatch(text) is None:
        raise DigestInvalid(f"{str(text)[:_SHOWN]!r} is not a SHA-256 digest; write 64 lower-case hexadecimal digits.")
    return Digest(text)
