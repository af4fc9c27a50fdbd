"""Witnessing another party's log: cosign only what extends everything seen before.

Rules kept here: the witness remembers, per log, the largest checkpoint it has cosigned; it cosigns a
checkpoint only if the log signed it and proved that it begins with that one. The memory is written in the
caller's transaction, and the cosignature must leave only after the commit. Two checkpoints that contradict
each other are kept in the error: signed by one log, they convict it.
Reference: C2SP tlog-witness (its rules, not its HTTP interface), RFC 9162, section 2.1.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import final

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_crypto.errors import PeerError
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.merkle import Hash, ProofInvalid, verify_consistency
from fedseal_crypto.notes import Checkpoint, NoteKind, NoteSigner, NoteVerifier, cosign, open_checkpoint
from fedseal_governance.audit.errors import CheckpointWrong, ForkDetected, RolledBack
from fedseal_governance.audit.tables import AuditSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCheckpoint:
    """The largest checkpoint of a log that this witness has cosigned."""

    checkpoint: Checkpoint
    note: str
    seen_at: datetime


@final
class Witness:
    """A party that cosigns other parties' checkpoints.

    Args:
        name: The name of its cosigning key; the origin of its own log serves.
        key: Its identity key.
    """

    def __init__(self, name: str, key: IdentityKey) -> None:
        self._signer = NoteSigner(name=name, key=key, kind=NoteKind.COSIGNATURE)

    @property
    def verifier(self) -> NoteVerifier:
        """The public half, for those who collect the cosignatures."""
        return self._signer.verifier

    def last_seen(self, session: Session, origin: str) -> SeenCheckpoint | None:
        """What this witness remembers of a log; the next proof must start there. None if nothing."""
        row = session.get(AuditSeen, origin)
        return None if row is None else _seen(row)

    def check_and_cosign(
        self, session: Session, note: str, log: NoteVerifier, *, proof: Sequence[bytes], now: datetime
    ) -> str:
        """Verify a checkpoint against everything seen of its log, remember it, and cosign it.

        Args:
            session: A writing session; send the cosignature after its commit.
            note: The checkpoint that the log offers.
            log: The log's key, known from its party's certificate.
            proof: The consistency proof from the last seen size; empty if none was seen or nothing changed.
            now: The witness's clock, which the cosignature states.

        Returns:
            The cosignature line.

        Raises:
            CheckpointWrong: The log has not signed this note.
            RolledBack: The checkpoint is smaller than the last one seen.
            ForkDetected: It does not provably extend the last one seen. Nothing was remembered.
        """
        try:
            offered = open_checkpoint(note, log).checkpoint
        except PeerError as error:
            raise CheckpointWrong(f"the checkpoint offered by {log.name} is wrong: {error}") from error
        query = select(AuditSeen).where(AuditSeen.origin == log.name).with_for_update()
        row = session.execute(query).scalar_one_or_none()
        seen = None if row is None else _seen(row)
        _require_extension(seen, offered, note, proof)
        line = cosign(note, self._signer, int(now.timestamp()))
        if row is None:
            row = AuditSeen(origin=log.name)
            session.add(row)
        row.size, row.root, row.note, row.seen_at = offered.size, offered.root, note, now
        session.flush()
        return line


def _seen(row: AuditSeen) -> SeenCheckpoint:
    checkpoint = Checkpoint(origin=row.origin, size=row.size, root=Hash(row.root))
    return SeenCheckpoint(checkpoint=checkpoint, note=row.note, seen_at=row.seen_at)


def _require_extension(seen: SeenCheckpoint | None, offered: Checkpoint, note: str, proof: Sequence[bytes]) -> None:
    if seen is None:
        return  # trust begins with the first checkpoint seen
    before = seen.checkpoint
    if offered.size < before.size:
        raise RolledBack(
            f"the log {offered.origin} offers {_named(offered)} after it had signed {_named(before)}; "
            "entries were removed or an old backup restored. Stop contributing and call the administrator.",
            seen=seen.note,
            offered=note,
        )
    try:
        verify_consistency(before.size, offered.size, proof=proof, old_root=before.root, new_root=offered.root)
    except ProofInvalid as error:
        raise ForkDetected(
            f"the log {offered.origin} offers {_named(offered)}, which does not provably extend "
            f"{_named(before)} that it had signed: its past was rewritten, or others are shown another log. "
            "Stop contributing and call the administrator.",
            seen=seen.note,
            offered=note,
        ) from error


def _named(checkpoint: Checkpoint) -> str:
    return f"the checkpoint of {checkpoint.size} entries with root {checkpoint.root.hex()}"
