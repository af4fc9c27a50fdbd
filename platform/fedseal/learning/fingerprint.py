"""A dataset's content digest: equal for equal content, whatever the order of rows and columns in the file.

Form: SHA-256 over UTF-8 lines, each ended by a line feed: ``fedseal.dataset.v1``, the canonical JSON list
(RFC 8785) of the column names, then for each record in sorted order of its id the canonical JSON list
``[id, value, ...]``, where a value is a number, a string, or null for "not measured". Images follow the columns, in
sorted order of their names: in the list of names as themselves, in a record as the SHA-256 of the image's dtype,
a line feed and its pixels, row-major and little-endian.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from fedseal.learning.data import LocalData
from fedseal.learning.images import Images
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import Digest

_FORMAT = b"fedseal.dataset.v1"


def content_digest(data: LocalData) -> Digest:
    """The digest that a registration records and a node recomputes before it contributes."""
    digest = hashlib.sha256()
    for line in _lines(data):
        digest.update(line + b"\n")
    return Digest(digest.hexdigest())


def _lines(data: LocalData) -> Iterator[bytes]:
    names = sorted(str(name) for name in data.frame.columns)
    yield _FORMAT
    pictures = sorted(data.images)
    yield canonical_json([*names, *pictures])
    columns = [data.frame[name].tolist() for name in names]
    columns += [[_picture(image) for image in data.images[name]] for name in pictures]
    for row in sorted(range(data.row_count), key=data.record_ids.__getitem__):
        yield canonical_json([data.record_ids[row], *(_plain(column[row]) for column in columns)])


def _picture(image: Images) -> str:
    little = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{image.dtype.name}\n".encode() + little.tobytes()).hexdigest()


def _plain(value: object) -> object:
    # NaN is the only value that differs from itself; pandas uses it for strings that are absent, too.
    return None if value is None or value != value else value  # noqa: PLR0124
