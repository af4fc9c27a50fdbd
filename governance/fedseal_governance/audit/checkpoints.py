"""Reading this party's signed checkpoints and the cosignatures that witnesses have sent for them.

Rules kept here: notes and lines are handed out as they were verified when they were stored.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedseal_governance.audit.tables import AuditCheckpoint, AuditCosignature


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint of this log with the cosignatures received so far.

    Attributes:
        size: Entries it covers.
        note: The signed note, cosignature lines included.
        vkeys: Verifier keys of the log and of those witnesses.
    """

    size: int
    note: str
    vkeys: tuple[str, ...]


def latest_checkpoint(session: Session) -> SignedCheckpoint | None:
    """The last checkpoint signed, with its cosignatures; None before the first."""
    query = select(AuditCheckpoint).order_by(AuditCheckpoint.size.desc()).limit(1)
    row = session.execute(query).scalar_one_or_none()
    return None if row is None else with_cosignatures(session, row)


def with_cosignatures(session: Session, row: AuditCheckpoint) -> SignedCheckpoint:
    """A stored checkpoint with the cosignatures received so far."""
    query = select(AuditCosignature).where(AuditCosignature.size == row.size).order_by(AuditCosignature.vkey)
    cosignatures = session.execute(query).scalars().all()
    return SignedCheckpoint(
        size=row.size,
        note=row.note + "".join(item.line for item in cosignatures),
        vkeys=(row.vkey, *(item.vkey for item in cosignatures)),
    )
