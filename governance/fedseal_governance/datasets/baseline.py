"""What a dataset looked like when it was approved, so that a later difference can be told in numbers.

A row is known by two short digests, of its record id and of its whole content, 8 bytes each. That is enough to count
what was added, removed or edited; whether anything changed at all is decided by the full content digest. Two of a
million rows are mistaken for one another with a probability of about 10^-7. Never leaves the node.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

ROW_BYTES = 16

_MOST_BYTES = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Rows and columns at one moment.

    Attributes:
        rows: 16 bytes a row: the first 8 of the SHA-256 of its record id, the first 8 of that of its content.
        columns: each column in words, with disclosure control, by name.
    """

    rows: bytes = field(repr=False)
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.rows) % ROW_BYTES:
            raise ValueError(f"a baseline has {ROW_BYTES} bytes a row, not {len(self.rows)} in all")

    def packed(self) -> tuple[bytes, str]:
        """Rows and columns as they are stored."""
        return zlib.compress(self.rows, 1), json.dumps(dict(self.columns))

    @classmethod
    def unpacked(cls, rows: bytes, columns: str) -> "Baseline":
        """From what `packed` gave."""
        return cls(rows=zlib.decompressobj().decompress(rows, _MOST_BYTES), columns=json.loads(columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChanges:
    """How many rows differ between two moments."""

    added: int
    removed: int
    edited: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.added + self.removed + self.edited


def row_changes(before: Baseline, now: Baseline) -> RowChanges:
    """Count the rows that were added, removed, or edited under the same record id."""
    old, new = _pairs(before), _pairs(now)
    _, in_old, in_new = np.intersect1d(old[:, 0], new[:, 0], assume_unique=False, return_indices=True)
    return RowChanges(
        added=len(new) - len(in_new),
        removed=len(old) - len(in_old),
        edited=int(np.count_nonzero(old[in_old, 1] != new[in_new, 1])),
    )


def _pairs(baseline: Baseline) -> NDArray[np.uint64]:
    return np.frombuffer(baseline.rows, dtype=np.uint64).reshape(-1, 2)
