"""Looks for secret keys in everything that a federation leaves behind.

Every file as it lies on the disk, every member of an archive, and every value of every column of every SQLite table:
a value that is longer than a page of the database is not in one piece in its file. Long text is also read as base64
and as hexadecimal, in which documents and logs carry bytes.
"""

import base64
import binascii
import io
import re
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fedseal_crypto.homomorphic import SecretContext, find_secret_key

_SQLITE = b"SQLite format 3\0"
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{64,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){64,}")


def holders_of_secrets(folder: Path, secret: SecretContext | None = None, *, printed: str = "") -> set[str]:
    """The places below ``folder``, or in what processes ``printed``, that hold a secret key in the clear.

    Args:
        folder: Of the whole federation.
        secret: A key to look for by its content, too; every key is found by its form.
        printed: Shown as the place ``"printed"``.
    """
    found = {
        place
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for place, data in pieces(path, str(path.relative_to(folder)))
        if _holds(data, secret)
    }
    return found | ({"printed"} if _holds(printed.encode(), secret) else set())


def pieces(path: Path, place: str) -> Iterator[tuple[str, bytes]]:
    """A file, and everything inside it that is not there in one piece: ``(place, bytes)``."""
    data = path.read_bytes()
    yield place, data
    if data.startswith(_SQLITE):
        yield from _columns(path, place)
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from ((f"{place}!{name}", archive.read(name)) for name in archive.namelist())


def _columns(path: Path, place: str) -> Iterator[tuple[str, bytes]]:
    """Every value of every table; a writer that is at work is no hindrance."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = [
            name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a name from the database itself
            names = [column[0] for column in rows.description]
            for row in rows:
                yield from (
                    (f"{place}!{table}.{name}", value)
                    for name, value in zip(names, row, strict=True)
                    if isinstance(value, bytes)
                )


def _holds(data: bytes, secret: SecretContext | None) -> bool:
    return any(
        find_secret_key(piece) or (secret is not None and secret.appears_in(piece)) for piece in _with_decoded(data)
    )


def _with_decoded(data: bytes) -> Iterator[bytes]:
    yield data
    for run in _HEX.findall(data):
        yield binascii.unhexlify(run)
    for run in _BASE64.findall(data):
        text = run.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        yield base64.b64decode(text[: len(text) // 4 * 4])
