"""Sets of leaves as bits over one growing list.

Rules kept here:

1. A leaf is stored once, whatever number of sets it is in; a set is one bit for each leaf of the list. A job of
   200 rounds with a withdrawal before each keeps a million records in 32 MB of leaves and at most 125 kB a set, not in
   200 lists.
2. A set is found by its digest, the Merkle root over its sorted leaves. What is read back is checked against it.
3. Places in the list never change, and nothing is deleted: leaves are digests under a key that is not in the database.
"""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_crypto import merkle
from fedseal_governance.errors import NotFound, TamperError
from fedseal_governance.snapshots.tables import LeafBlockRow, SnapshotRow

LEAF_BYTES = 32
BLOCK_LEAVES = 1 << 16
"""Leaves in a full block: two megabytes, so that a late leaf rewrites no more than that."""

_MOST_LEAVES = 1 << 30


def keep(session: Session, digest: str, leaves: Sequence[bytes]) -> None:
    """Store a set, unless it is stored already.

    Args:
        session: a session that writes.
        digest: of the set; equal digests mean equal sets.
        leaves: 32 bytes each, sorted, all different.
    """
    if session.get(SnapshotRow, digest) is not None:
        return
    listed = _listed(session)
    place = {leaf: number for number, leaf in enumerate(listed)}
    new = [leaf for leaf in leaves if leaf not in place]
    if new:
        _append(session, len(listed), new)
        place.update(zip(new, range(len(listed), len(listed) + len(new)), strict=True))
    bits = np.zeros(len(place), dtype=np.uint8)
    bits[[place[leaf] for leaf in leaves]] = 1
    session.add(SnapshotRow(digest=digest, members=zlib.compress(np.packbits(bits).tobytes())))
    session.flush()


def contains(session: Session, digests: Iterable[str], leaf: bytes) -> frozenset[str]:
    """Of these sets, those that hold the leaf."""
    place = _place_of(session, leaf)
    if place is None:
        return frozenset()
    query = select(SnapshotRow).where(SnapshotRow.digest.in_(sorted(set(digests))))
    return frozenset(row.digest for row in session.scalars(query) if place < _bits(row).size and _bits(row)[place])


def leaves_in(session: Session, digest: str) -> tuple[bytes, ...]:
    """The leaves of a set, sorted.

    Raises:
        NotFound: no such set is kept here.
        TamperError: what is stored is not the set with that digest.
    """
    row = session.get(SnapshotRow, digest)
    if row is None:
        raise NotFound(f"no set of records {digest[:12]}… is kept at this node")
    listed = _listed(session)
    chosen = [int(place) for place in np.flatnonzero(_bits(row))]
    if chosen and chosen[-1] >= len(listed):
        raise _tampered(digest)
    leaves = tuple(sorted(listed[place] for place in chosen))
    if merkle.root(map(merkle.leaf_hash, leaves)).hex() != digest:
        raise _tampered(digest)
    return leaves


def _tampered(digest: str) -> TamperError:
    return TamperError(
        f"the stored set of records {digest[:12]}… does not give that digest; its rows were changed, restore them from "
        "a backup"
    )


def _append(session: Session, count: int, new: Sequence[bytes]) -> None:
    number, used = divmod(count, BLOCK_LEAVES)
    if used:
        last = session.get_one(LeafBlockRow, number)
        last.leaves += b"".join(new[: BLOCK_LEAVES - used])
        new, number = new[BLOCK_LEAVES - used :], number + 1
    for start in range(0, len(new), BLOCK_LEAVES):
        session.add(LeafBlockRow(number=number, leaves=b"".join(new[start : start + BLOCK_LEAVES])))
        number += 1
    session.flush()


def _listed(session: Session) -> list[bytes]:
    blocks = session.scalars(select(LeafBlockRow.leaves).order_by(LeafBlockRow.number))
    return [block[at : at + LEAF_BYTES] for block in blocks for at in range(0, len(block), LEAF_BYTES)]


def _place_of(session: Session, leaf: bytes) -> int | None:
    for number, block in session.execute(select(LeafBlockRow.number, LeafBlockRow.leaves)):
        at = block.find(leaf)
        while at % LEAF_BYTES and at >= 0:
            at = block.find(leaf, at + 1)
        if at >= 0:
            return int(number) * BLOCK_LEAVES + at // LEAF_BYTES
    return None


def _bits(row: SnapshotRow) -> NDArray[np.uint8]:
    # A stored bomb would have to be put there by whoever can write this database; it is bounded all the same.
    unpacked = zlib.decompressobj().decompress(row.members, _MOST_LEAVES // 8)
    return np.unpackbits(np.frombuffer(unpacked, dtype=np.uint8))
