"""Large byte strings as streams of bounded pieces, received into a file and counted only when whole."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedseal.errors import PeerFault
from fedseal.wire.limits import CHUNK_BYTES


def split(data: bytes | memoryview) -> Iterator[bytes]:
    """Yield ``data`` in pieces of at most ``CHUNK_BYTES``."""
    view = memoryview(data)
    for start in range(0, len(view), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the file's content in pieces of at most ``CHUNK_BYTES``."""
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece


def receive(pieces: Iterable[bytes], target: Path, *, size: int) -> str:
    """Write exactly ``size`` bytes of the stream to ``target`` and return their SHA-256.

    The file is removed again unless the stream ends exactly at ``size``, so that a half-arrived vector can
    never be mistaken for a whole one.

    Raises:
        PeerFault: the stream is shorter or longer than announced, or a piece is empty or too large.
        OSError: the file cannot be written.
    """
    digest = hashlib.sha256()
    received = 0
    try:
        with target.open("wb") as file:
            for piece in pieces:
                received += len(piece)
                if not piece or len(piece) > CHUNK_BYTES or received > size:
                    message = (
                        f"the stream broke its bounds after {received} of {size} announced bytes; it was discarded"
                    )
                    raise PeerFault(message)
                digest.update(piece)
                file.write(piece)
        if received != size:
            message = f"the stream ended after {received} of {size} announced bytes; it was discarded"
            raise PeerFault(message)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return digest.hexdigest()
