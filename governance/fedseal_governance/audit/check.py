"""Checking the log in a party's own database, entry by entry, against everything that was ever signed.

What must hold, in this order, for each entry: it follows its predecessor without a gap; its bytes have the leaf
hash beside them; it is canonical and in its place; and wherever a checkpoint was signed, the entries so far have
its root. At the end the head and the stored tree must agree. Rules kept here: the first difference is named; a
change that was made consistently, leaf hash and all, is caught at the next checkpoint and named by the range
since the last good one.
Left out: documents, and witnesses' memories, which catch a party that rewrites its whole database.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_crypto.errors import PeerError
from fedseal_crypto.merkle import Hash, RunningRoot, leaf_hash, root_at
from fedseal_crypto.notes import NoteVerifier, open_checkpoint
from fedseal_governance.audit._store import SqlNodeStore
from fedseal_governance.audit.entries import Entry, follows
from fedseal_governance.audit.errors import AuditError, CheckpointWrong, EntryWrong
from fedseal_governance.audit.tables import AuditCheckpoint, AuditEntry, AuditHead

_PAGE = 1000  # rows fetched at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLog:
    """A log in a database that was found whole.

    Attributes:
        checkpoints: How many signed checkpoints it agreed with.
    """

    origin: str
    size: int
    root: Hash
    checkpoints: int


def check_log(session: Session, origin: str) -> CheckedLog:
    """Check the log in this database.

    Args:
        session: A session on one snapshot.
        origin: The log's name.

    Raises:
        EntryWrong: An entry was changed, added, removed or moved; `entry` is the first.
        CheckpointWrong: A stored checkpoint is not signed or not of this log.
        AuditError: The head or the tree's nodes were changed.
    """
    running = RunningRoot()
    signed = _signed_roots(session, origin)
    pending = sorted(signed)
    good, last_time = 0, None
    if pending and pending[0] == 0:
        pending.pop(0)
    for seq, data, leaf in _rows(session):
        last_time = _checked_time(running.size, seq, data, leaf, (origin, last_time))
        running.add(leaf)
        if pending and pending[0] == running.size:
            if running.root() != signed[running.size]:
                raise EntryWrong(
                    f"one of the entries {good} to {seq} of {origin} is not what the checkpoint of "
                    f"{running.size} entries commits to.",
                    entry=good,
                )
            good = pending.pop(0)
    _require_whole(session, running, origin, pending)
    return CheckedLog(origin=origin, size=running.size, root=running.root(), checkpoints=len(signed))


def _rows(session: Session) -> Iterator[tuple[int, bytes, bytes]]:
    query = select(AuditEntry.seq, AuditEntry.entry, AuditEntry.leaf).order_by(AuditEntry.seq)
    for row in session.execute(query.execution_options(yield_per=_PAGE)):
        yield row.seq, row.entry, row.leaf


def _checked_time(expected: int, seq: int, data: bytes, leaf: bytes, place: tuple[str, datetime | None]) -> datetime:
    origin, last_time = place
    if seq != expected:
        raise EntryWrong(f"entry {expected} of {origin} is missing.", entry=expected)
    if leaf_hash(data) != leaf:
        raise EntryWrong(f"entry {seq} of {origin} was changed: it does not have its hash.", entry=seq)
    try:
        entry = Entry.from_bytes(data)
    except EntryWrong as error:
        raise EntryWrong(f"entry {seq} of {origin} is wrong: {error}", entry=seq) from error
    if entry.seq != seq or entry.log != origin or not follows(entry, last_time):
        raise EntryWrong(f"entry {seq} of {origin} is not in its place.", entry=seq)
    return entry.time


def _signed_roots(session: Session, origin: str) -> dict[int, Hash]:
    roots: dict[int, Hash] = {}
    for row in session.execute(select(AuditCheckpoint)).scalars():
        try:
            checkpoint = open_checkpoint(row.note, NoteVerifier.from_vkey(row.vkey)).checkpoint
        except PeerError as error:
            raise CheckpointWrong(f"the stored checkpoint of {row.size} entries is wrong: {error}") from error
        if checkpoint.origin != origin or checkpoint.size != row.size:
            raise CheckpointWrong(f"the stored checkpoint of {row.size} entries is not one of {origin}.")
        roots[row.size] = checkpoint.root
    return roots


def _require_whole(session: Session, running: RunningRoot, origin: str, pending: list[int]) -> None:
    head = session.execute(select(AuditHead.origin, AuditHead.size)).one_or_none()
    size = 0 if head is None else head.size
    if pending or size > running.size:
        raise EntryWrong(f"entry {running.size} of {origin} is missing.", entry=running.size)
    if size < running.size:
        raise EntryWrong(f"entry {size} of {origin} was added beside the log.", entry=size)
    if head is not None and head.origin != origin:
        raise AuditError(f"the table audit_head was changed: it names the log {head.origin!r}, not {origin}.")
    if root_at(size, SqlNodeStore(session.connection())) != running.root():
        raise AuditError(
            f"the entries of {origin} are whole, but the table audit_nodes was changed; restore it from a backup."
        )
