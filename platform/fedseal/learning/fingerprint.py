"""A dataset's content digest: equal for equal content, whatever the order of rows and columns in the file.

Form: SHA-256 over UTF-8 lines, each ended by a line feed: ``fedseal.dataset.v1``, the canonical JSON list
(RFC 8785) of the column names, then for each record in sorted order of its id the canonical JSON list
``[id, value, ...]``, where a value is a number, a string, or null for "not measured". Images follow the columns, in
sorted order of their names: in the list of names as themselves, in a record as the SHA-256 of the image's dtype,
a line feed and its pixels, row-major and little-endian.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fedseal.learning.data import LocalData
from fedseal.learning.images import Images
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import Digest

_FORMAT = b"fedseal.dataset.v1"
_SHORT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A dataset's digest, and short digests of its rows.

    Attributes:
        digest: of the whole content.
        rows: 16 bytes a row: the first 8 of the SHA-256 of the record id, and of the row's line.
    """

    digest: Digest
    rows: bytes = field(repr=False)


def fingerprint(data: LocalData) -> Fingerprint:
    """Digest of a dataset and of each row of it, in one pass."""
    whole, rows = hashlib.sha256(), bytearray()
    for line in _head(data):
        whole.update(line + b"\n")
    for record, line in _lines(data):
        whole.update(line + b"\n")
        rows += hashlib.sha256(record.encode()).digest()[:_SHORT] + hashlib.sha256(line).digest()[:_SHORT]
    return Fingerprint(digest=Digest(whole.hexdigest()), rows=bytes(rows))


def content_digest(data: LocalData) -> Digest:
    """The digest that a registration records and a node recomputes before it contributes."""
    return fingerprint(data).digest


def _head(data: LocalData) -> Iterator[bytes]:
    yield _FORMAT
    yield canonical_json([*_names(data), *sorted(data.images)])


def _names(data: LocalData) -> list[str]:
    return sorted(str(name) for name in data.frame.columns)


def _lines(data: LocalData) -> Iterator[tuple[str, bytes]]:
    columns = [data.frame[name].tolist() for name in _names(data)]
    columns += [[_picture(image) for image in data.images[name]] for name in sorted(data.images)]
    for row in sorted(range(data.row_count), key=data.record_ids.__getitem__):
        record = data.record_ids[row]
        yield record, canonical_json([record, *(_plain(column[row]) for column in columns)])


def _picture(image: Images) -> str:
    little = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{image.dtype.name}\n".encode() + little.tobytes()).hexdigest()


def _plain(value: object) -> object:
    # NaN is the only value that differs from itself; pandas uses it for strings that are absent, too.
    return None if value is None or value != value else value  # noqa: PLR0124
