"""A party's audit log: appending in the caller's transaction, checkpoints, proofs, cosignatures.

Rules kept here:

1. An entry is written through the session of the change it records: both are committed or neither is.
2. Every append first locks the head's row, so that sequence numbers have no gaps and two processes never
   append to the same tree.
3. A checkpoint is signed only after the stored tree was found to begin with the last one signed.
4. The log goes on under a new key; its first checkpoint under that key commits to an entry that names both keys.

Reference: RFC 9162 (tree), C2SP tlog-checkpoint. Left out: who may read; witnessing
others (`witness`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import final

from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

from fedseal_crypto import merkle
from fedseal_crypto.digests import Digest
from fedseal_crypto.errors import PeerError
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.merkle import Hash, TreeAppender, leaf_hash
from fedseal_crypto.notes import (
    Checkpoint,
    NoteSigner,
    NoteVerifier,
    attach,
    open_checkpoint,
    sign_checkpoint,
)
from fedseal_governance.audit._store import SqlNodeStore
from fedseal_governance.audit.bundle import Exported, write_bundle
from fedseal_governance.audit.checkpoints import SignedCheckpoint, latest_checkpoint, with_cosignatures
from fedseal_governance.audit.entries import (
    CLOCK_SET_BACK,
    CLOCK_TOLERANCE,
    KEY_CHANGED,
    Entry,
    shown_time,
    whole_milliseconds,
)
from fedseal_governance.audit.errors import CheckpointWrong, KeyMissing, NotCovered
from fedseal_governance.audit.proofs import InclusionProof
from fedseal_governance.audit.tables import AuditCheckpoint, AuditCosignature, AuditEntry, AuditHead
from fedseal_governance.database import Base
from fedseal_governance.errors import StorageError

_tables = Base.metadata.tables
_HEAD = select(AuditHead.origin, AuditHead.size, AuditHead.last_time)
_LOCKED_HEAD = _HEAD.with_for_update()
# The same words on SQLite and PostgreSQL; two processes may open a new log at the same moment.
_NEW_HEAD = text("INSERT INTO audit_head (id, origin, size) VALUES (1, :origin, 0) ON CONFLICT DO NOTHING")
_MOVE_HEAD = update(_tables[AuditHead.__tablename__]).values(
    size=bindparam("new_size"), last_time=bindparam("new_time")
)
_INSERT_ENTRIES = insert(_tables[AuditEntry.__tablename__])
_PAGE = 1000  # rows fetched at a time when reading


@dataclass(frozen=True, slots=True)
class _Head:
    size: int
    last_time: datetime | None


@final
class AuditLog:
    """The log of one party, in one database.

    Args:
        origin: The log's name, `fedseal_crypto.notes.log_origin(federation, party)`.
        signer: The party's identity key; None for a log that is only appended to and read.
    """

    def __init__(self, origin: str, signer: IdentityKey | None = None) -> None:
        self.origin = origin
        self._signer = None if signer is None else NoteSigner(name=origin, key=signer)

    def append(
        self,
        session: Session,
        *,
        time: datetime,
        type: str,  # noqa: A002  the field's name in the format
        actor: str,
        subject: str,
        details: Mapping[str, object],
    ) -> int:
        """Write one entry in the session's transaction; see `entries` for what an entry may say.

        Args:
            session: The session of the change that the entry records.
            time: The caller's clock; the entry's time follows from it by rule 3 of `entries`.
            type: What happened, dotted: `job.submitted`.
            actor: Who did it: `person/alice`.
            subject: What it happened to: `job/0a1b…`.
            details: Everything else, as JSON.

        Returns:
            The entry's sequence number.

        Raises:
            EntryRefused: The entry would break the format; nothing was written.
            StorageError: The database holds another party's log.
        """
        clock = whole_milliseconds(time)
        connection = session.connection()
        head = self._locked_head(connection)
        moment, set_back = _recorded_time(clock, head.last_time)
        entries: list[Entry] = []
        if set_back is not None:
            entries.append(self._set_back_entry(head.size, moment, set_back))
        entries.append(
            Entry(
                seq=head.size + len(entries),
                time=moment,
                log=self.origin,
                type=type,
                actor=actor,
                subject=subject,
                details=details,
            )
        )
        _write(connection, head.size, entries)
        return entries[-1].seq

    def size(self, session: Session) -> int:
        """How many entries there are."""
        head = self._head(session.connection())
        return 0 if head is None else head.size

    def entries(self, session: Session, *, start: int = 0, end: int | None = None) -> Iterator[Entry]:
        """The entries from `start` up to but not including `end`, in order.

        Raises:
            EntryWrong: The bytes in the database are not an entry.
        """
        query = select(AuditEntry.entry).where(AuditEntry.seq >= start).order_by(AuditEntry.seq)
        if end is not None:
            query = query.where(AuditEntry.seq < end)
        for data in session.connection().execute(query.execution_options(yield_per=_PAGE)).scalars():
            yield Entry.from_bytes(data)

    def checkpoint(self, session: Session, now: datetime) -> str:
        """Sign the log as it is now; the same note again while nothing was appended.

        When the party's key has changed since the last checkpoint, an entry `log.key_changed` says so first.

        Args:
            session: A writing session.
            now: Kept beside the checkpoint, which itself has no time.

        Returns:
            The signed note, with the cosignatures that it has already.

        Raises:
            KeyMissing: The log was opened without its key.
            CheckpointWrong: The stored tree does not begin with the last checkpoint; nothing was signed.
        """
        if self._signer is None:
            raise KeyMissing(f"the log {self.origin} was opened without its key; open it with the key.")
        connection = session.connection()
        head = self._locked_head(connection)
        store = SqlNodeStore(connection)
        latest = self.latest_checkpoint(session)
        if latest is not None:
            self._require_extends(latest, head.size, store)
            if latest.vkeys[0] != self._signer.verifier.vkey:
                self._note_new_key(session, latest.vkeys[0], self._signer.verifier.vkey, now)
                head = self._locked_head(connection)
            elif latest.size == head.size:
                return latest.note
        root = merkle.root_at(head.size, store)
        note = sign_checkpoint(Checkpoint(origin=self.origin, size=head.size, root=root), self._signer)
        session.add(AuditCheckpoint(size=head.size, note=note, vkey=self._signer.verifier.vkey, created_at=now))
        session.flush()
        return note

    def latest_checkpoint(self, session: Session) -> SignedCheckpoint | None:
        """The last checkpoint signed, with its cosignatures; None before the first."""
        return latest_checkpoint(session)

    def checkpoint_at(self, session: Session, size: int) -> SignedCheckpoint | None:
        """The checkpoint of exactly `size` entries, with its cosignatures; None if none was signed."""
        row = session.get(AuditCheckpoint, size)
        return None if row is None else with_cosignatures(session, row)

    def add_cosignature(self, session: Session, *, size: int, line: str, witness: NoteVerifier, now: datetime) -> None:
        """Keep a witness's cosignature after verifying it; the same line twice changes nothing.

        Args:
            session: A writing session.
            size: Which checkpoint it is for.
            line: The signature line, as `fedseal_crypto.notes.cosign` makes it.
            witness: The witness's key, known from its certificate.
            now: When it was received.

        Raises:
            NotCovered: No checkpoint of that size was signed here.
            CheckpointWrong: The line is not this witness's cosignature on it.
        """
        row = session.get(AuditCheckpoint, size)
        if row is None:
            raise NotCovered(f"the log {self.origin} has no checkpoint of {size} entries to cosign.")
        try:
            opened = open_checkpoint(attach(row.note, line), NoteVerifier.from_vkey(row.vkey), [witness])
        except PeerError as error:
            raise CheckpointWrong(f"the cosignature of {witness.name} is wrong: {error}") from error
        if not opened.cosignatures:
            raise CheckpointWrong(f"the line is not a cosignature of {witness.name}; check its key.")
        if session.get(AuditCosignature, (size, witness.vkey)) is None:
            session.add(AuditCosignature(size=size, vkey=witness.vkey, line=line, received_at=now))
            session.flush()

    def prove(self, session: Session, seq: int) -> InclusionProof:
        """Prove that entry `seq` is in the log, under the latest checkpoint.

        Raises:
            NotCovered: There is no such entry, or no checkpoint covers it yet.
        """
        latest = self.latest_checkpoint(session)
        data = session.execute(select(AuditEntry.entry).where(AuditEntry.seq == seq)).scalar()
        if data is None or latest is None or seq >= latest.size:
            raise NotCovered(
                f"no checkpoint of the log {self.origin} covers entry {seq}; make a checkpoint, or check the number."
            )
        path = merkle.inclusion_proof(seq, latest.size, SqlNodeStore(session.connection()))
        return InclusionProof(seq=seq, entry=data, path=path, checkpoint=latest.note, keys=latest.vkeys)

    def consistency(self, session: Session, old: int, new: int) -> tuple[Hash, ...]:
        """The RFC 9162 proof that the first `new` entries begin with the first `old`.

        Raises:
            NotCovered: Not `0 <= old <= new <= size`.
        """
        size = self.size(session)
        if not 0 <= old <= new <= size:
            raise NotCovered(f"the log {self.origin} has {size} entries; it cannot go from {old} to {new}.")
        return merkle.consistency_proof(old, new, SqlNodeStore(session.connection()))

    def export(self, session: Session, target: Path, documents: Mapping[Digest, bytes]) -> Exported:
        """Write the log up to its latest checkpoint as a bundle; see `bundle.write_bundle`.

        Args:
            session: A session on one snapshot of the database.
            target: A path that does not exist yet; a zip file if it ends in `.zip`, else a folder.
            documents: Every document to include, by digest; each must be named by an entry.

        Raises:
            NotCovered: No checkpoint was signed yet.
            ExportRefused: `target` exists, or a document is not what the log speaks of.
            StorageError: The disk is full or the folder cannot be written; nothing remains there.
        """
        latest = self.latest_checkpoint(session)
        if latest is None:
            raise NotCovered(f"the log {self.origin} has no checkpoint yet; make one before exporting.")
        return write_bundle(session, latest, target, documents)

    def _note_new_key(self, session: Session, previous: str, following: str, now: datetime) -> None:
        """Write down that checkpoints are signed with another key from here on; verifier keys without their names."""
        keys = {"previous": previous.split("+", 2)[2], "following": following.split("+", 2)[2]}
        self.append(session, time=now, type=KEY_CHANGED, actor=self.origin, subject=self.origin, details=keys)

    def _set_back_entry(self, seq: int, moment: datetime, previous: datetime) -> Entry:
        return Entry(
            seq=seq,
            time=moment,
            log=self.origin,
            type=CLOCK_SET_BACK,
            actor=self.origin,
            subject=self.origin,
            details={"previous_time": shown_time(previous)},
        )

    def _locked_head(self, connection: Connection) -> _Head:
        head = self._head(connection, lock=True)
        if head is None:
            connection.execute(_NEW_HEAD, {"origin": self.origin})
            head = self._head(connection, lock=True)
        if head is None:
            raise StorageError(
                f"the table audit_head of the log {self.origin} is damaged; restore the database from a backup."
            )
        return head

    def _head(self, connection: Connection, *, lock: bool = False) -> _Head | None:
        row = connection.execute(_LOCKED_HEAD if lock else _HEAD).one_or_none()
        if row is None:
            return None
        if row.origin != self.origin:
            raise StorageError(f"this database holds the log {row.origin}, not {self.origin}; check the database URL.")
        return _Head(row.size, row.last_time)

    def _require_extends(self, latest: SignedCheckpoint, size: int, store: SqlNodeStore) -> None:
        signed = Checkpoint.parse(latest.note.partition("\n\n")[0] + "\n")
        if latest.size > size or merkle.root_at(latest.size, store) != signed.root:
            raise CheckpointWrong(
                f"the log {self.origin} has {size} entries in the database that do not begin with its signed "
                f"checkpoint of {latest.size}; the tables were changed by hand or restored from an old "
                "backup."
            )


def _recorded_time(clock: datetime, last: datetime | None) -> tuple[datetime, datetime | None]:
    """The entry's time, and the previous time if the clock was set back (rule 3 of `entries`)."""
    if last is None or clock >= last:
        return clock, None
    if last - clock <= CLOCK_TOLERANCE:
        return last, None
    return clock, last


def _write(connection: Connection, size: int, entries: list[Entry]) -> None:
    store = SqlNodeStore(connection)
    tree = TreeAppender(store, size)
    rows: list[dict[str, object]] = []
    for entry in entries:
        data = entry.to_bytes()
        leaf = leaf_hash(data)
        rows.append({"seq": tree.append(leaf), "leaf": leaf, "entry": data})
    connection.execute(_INSERT_ENTRIES, rows)
    store.flush()
    connection.execute(_MOVE_HEAD, {"new_size": tree.size, "new_time": entries[-1].time})
