"""The authority's register: who was invited, which certificates were issued, which were revoked.

Rules kept here:

1. A token is known by its SHA-256 only. It is 32 random bytes, so a salt would add nothing: there is no
   table of likely tokens to compare with.
2. An invitation is redeemed once. Two redemptions at the same moment cannot both succeed: the row is
   claimed by one conditional update within the single writer's transaction.
3. A certificate's row is never changed; a revocation is a row of its own, and is never taken back.
4. Revocation lists are numbered 1, 2, 3 and so on, without gaps.

Signing, and the checks before it, are the authority service's. The log entries of these changes are the
caller's, who knows more about them (as with `fedseal_governance.runs`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, String, Text, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from fedseal_crypto.certificates import RevocationReason, RevokedSerial
from fedseal_crypto.identity import PartyKind
from fedseal_governance.columns import DIGEST_LENGTH, NAME_LENGTH, Base, UtcDateTime, Word
from fedseal_governance.errors import AlreadyDone, NotFound, RefusedError

_SERIAL_LENGTH = 49
"""Decimal digits of a 160-bit serial number, the longest that RFC 5280 allows."""


class InvitationRow(Base):
    """An invitation; the token itself is only in the file that the invited party holds."""

    __tablename__ = "invitations"

    token_digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    invitation_digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    kind: Mapped[PartyKind] = mapped_column(Word(PartyKind))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    organisation: Mapped[str] = mapped_column(Text)
    roles: Mapped[list[str]] = mapped_column(JSON)
    hosts: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime())
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    tls_key_digest: Mapped[str | None] = mapped_column(String(DIGEST_LENGTH))
    identity_key_digest: Mapped[str | None] = mapped_column(String(DIGEST_LENGTH))

    __table_args__ = (Index("ix_invitations_party", "kind", "name"),)


class CertificateRow(Base):
    """A certificate that the authority signed."""

    __tablename__ = "certificates"

    serial: Mapped[str] = mapped_column(String(_SERIAL_LENGTH), primary_key=True)
    use: Mapped[str] = mapped_column(String(20))
    kind: Mapped[PartyKind] = mapped_column(Word(PartyKind))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    organisation: Mapped[str] = mapped_column(Text)
    roles: Mapped[list[str]] = mapped_column(JSON)
    fingerprint: Mapped[str] = mapped_column(String(DIGEST_LENGTH), unique=True)
    pem: Mapped[str] = mapped_column(Text)
    token_digest: Mapped[str | None] = mapped_column(ForeignKey(InvitationRow.token_digest))
    not_before: Mapped[datetime] = mapped_column(UtcDateTime())
    not_after: Mapped[datetime] = mapped_column(UtcDateTime())
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime())

    __table_args__ = (Index("ix_certificates_party", "kind", "name"),)


class RevocationRow(Base):
    """A certificate that is no longer to be trusted."""

    __tablename__ = "revocations"

    serial: Mapped[str] = mapped_column(ForeignKey(CertificateRow.serial), primary_key=True)
    reason: Mapped[RevocationReason] = mapped_column(Word(RevocationReason))
    revoked_at: Mapped[datetime] = mapped_column(UtcDateTime())


class RevocationListRow(Base):
    """A signed revocation list."""

    __tablename__ = "revocation_lists"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    pem: Mapped[str] = mapped_column(Text)
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime())
    next_update: Mapped[datetime] = mapped_column(UtcDateTime())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDigests:
    """SHA-256 of the two public keys that an enrolment certifies."""

    tls: str
    identity: str


def add_invitation(session: Session, row: InvitationRow) -> None:
    """Store an invitation."""
    session.add(row)
    session.flush()


def invitation(session: Session, token_digest: str) -> InvitationRow:
    """The invitation of a token, whatever its state.

    Raises:
        NotFound: no such token was ever issued here.
    """
    row = session.get(InvitationRow, token_digest)
    if row is None:
        raise NotFound("this enrolment token was not issued by this authority; ask it for a new invitation")
    return row


def redeem(session: Session, token_digest: str, keys: KeyDigests, *, now: datetime) -> InvitationRow:
    """Use an invitation up, for these keys.

    Raises:
        NotFound: no such token.
        AlreadyDone: it was used before.
        RefusedError: it expired or was withdrawn.
    """
    row = invitation(session, token_digest)
    party = f"{row.kind.value}/{row.name}"
    if row.withdrawn_at is not None:
        raise RefusedError(f"the invitation for {party} was withdrawn; ask the authority for a new one")
    if row.used_at is None and row.expires_at <= now:
        raise RefusedError(
            f"the invitation for {party} expired at {row.expires_at:%Y-%m-%d %H:%M} UTC; "
            "ask the authority for a new one"
        )
    claimed = session.execute(
        update(InvitationRow)
        .where(InvitationRow.token_digest == token_digest, InvitationRow.used_at.is_(None))
        .values(used_at=now, tls_key_digest=keys.tls, identity_key_digest=keys.identity)
        .execution_options(synchronize_session=False)
        .returning(InvitationRow.token_digest)
    ).first()
    if claimed is None:
        raise AlreadyDone(f"the invitation for {party} was used before; ask the authority for a new one")
    session.refresh(row)
    return row


def withdraw_invitations(session: Session, kind: PartyKind, name: str, *, now: datetime) -> int:
    """Make the open invitations of a party useless; returns how many there were."""
    query = select(InvitationRow).where(
        InvitationRow.kind == kind,
        InvitationRow.name == name,
        InvitationRow.used_at.is_(None),
        InvitationRow.withdrawn_at.is_(None),
        InvitationRow.expires_at > now,
    )
    rows = session.scalars(query).all()
    for row in rows:
        row.withdrawn_at = now
    session.flush()
    return len(rows)


def invitations(session: Session) -> tuple[InvitationRow, ...]:
    """Every invitation, newest first."""
    query = select(InvitationRow).order_by(InvitationRow.created_at.desc(), InvitationRow.token_digest)
    return tuple(session.scalars(query))


def add_certificate(session: Session, row: CertificateRow) -> None:
    """Store a certificate that was just signed."""
    session.add(row)
    session.flush()


def certificates(
    session: Session, *, kind: PartyKind | None = None, name: str | None = None
) -> tuple[CertificateRow, ...]:
    """Certificates ever issued, to one party if it is given, oldest first."""
    query = select(CertificateRow).order_by(
        CertificateRow.kind, CertificateRow.name, CertificateRow.issued_at, CertificateRow.use
    )
    if kind is not None:
        query = query.where(CertificateRow.kind == kind)
    if name is not None:
        query = query.where(CertificateRow.name == name)
    return tuple(session.scalars(query))


def certificates_in_force(session: Session, kind: PartyKind, name: str, *, now: datetime) -> tuple[CertificateRow, ...]:
    """A party's certificates that are neither expired nor revoked."""
    revoked = select(RevocationRow.serial)
    query = select(CertificateRow).where(
        CertificateRow.kind == kind,
        CertificateRow.name == name,
        CertificateRow.not_after > now,
        CertificateRow.serial.not_in(revoked),
    )
    return tuple(session.scalars(query.order_by(CertificateRow.issued_at, CertificateRow.use)))


def revoke(session: Session, serials: Iterable[str], reason: RevocationReason, *, now: datetime) -> int:
    """Revoke certificates; those revoked before stay as they are. Returns how many are new.

    Raises:
        NotFound: a serial was never issued here.
    """
    new = 0
    for serial in serials:
        if session.get(CertificateRow, serial) is None:
            raise NotFound(f"no certificate has the serial {serial}; see `fedseal certificate list`")
        if session.get(RevocationRow, serial) is None:
            session.add(RevocationRow(serial=serial, reason=reason, revoked_at=now))
            new += 1
    session.flush()
    return new


def revocations(session: Session) -> tuple[RevokedSerial, ...]:
    """Everything revoked so far, as a revocation list wants it, oldest first."""
    query = select(RevocationRow).order_by(RevocationRow.revoked_at, RevocationRow.serial)
    return tuple(
        RevokedSerial(serial=int(row.serial), revoked_at=row.revoked_at, reason=row.reason)
        for row in session.scalars(query)
    )


def next_list_number(session: Session) -> int:
    """The number that the next revocation list must have."""
    return (session.scalar(select(func.max(RevocationListRow.number))) or 0) + 1


def add_list(session: Session, row: RevocationListRow) -> None:
    """Store a signed revocation list.

    Raises:
        RefusedError: its number is not the next one.
    """
    wanted = next_list_number(session)
    if row.number != wanted:
        raise RefusedError(f"the revocation list has the number {row.number}, but the next one is {wanted}")
    session.add(row)
    session.flush()


def newest_list(session: Session) -> RevocationListRow:
    """The revocation list in force.

    Raises:
        NotFound: none was signed yet.
    """
    row = session.scalar(select(RevocationListRow).order_by(RevocationListRow.number.desc()).limit(1))
    if row is None:
        raise NotFound("no revocation list was signed yet; the authority signs one when it is founded")
    return row
