"""The authority's register as frozen records: what ``fedseal_governance.members`` stores, without its rows.

Rows belong to one session and change under it; everything above this module works with values instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy.orm import Session

from fedseal_crypto.certificates import CertificateUse, RevocationReason, RevokedSerial
from fedseal_crypto.digests import Digest
from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance import members
from fedseal_governance.errors import NotFound
from fedseal_governance.members import CertificateRow, InvitationRow, KeyDigests, RevocationListRow


class InvitationState(Enum):
    """What became of an invitation."""

    OPEN = "open"
    USED = "used"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class CertificateState(Enum):
    """Whether a certificate counts."""

    IN_FORCE = "in force"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredParty:
    """Who a record is about.

    Attributes:
        roles: Only of persons.
        hosts: Where its server can be reached; empty for clients.
    """

    kind: PartyKind
    name: str
    organisation: str
    roles: tuple[Role, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The short form for people and logs: ``node/cleveland``."""
        return f"{self.kind.value}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationRecord:
    """An invitation as the register holds it.

    Attributes:
        token_digest: SHA-256 of the token.
        content_digest: SHA-256 over the file's fields.
        keys: Digests of the two keys that used it; None while nobody has.
    """

    token_digest: Digest
    content_digest: Digest
    party: RegisteredParty
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None = None
    used_at: datetime | None = None
    keys: KeyDigests | None = None

    def state(self, now: datetime) -> InvitationState:
        """What has become of it by ``now``."""
        if self.used_at is not None:
            return InvitationState.USED
        if self.withdrawn_at is not None:
            return InvitationState.WITHDRAWN
        return InvitationState.EXPIRED if now >= self.expires_at else InvitationState.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """A certificate as the register holds it."""

    serial: int
    use: CertificateUse
    party: RegisteredParty
    fingerprint: Digest
    pem: bytes
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    token_digest: Digest | None = None
    revoked: bool = False

    def state(self, now: datetime) -> CertificateState:
        """Whether it counts at ``now``."""
        if self.revoked:
            return CertificateState.REVOKED
        return CertificateState.EXPIRED if now > self.not_after else CertificateState.IN_FORCE


def add_invitation(session: Session, record: InvitationRecord) -> None:
    """Store a new invitation."""
    members.add_invitation(
        session,
        InvitationRow(
            token_digest=record.token_digest,
            invitation_digest=record.content_digest,
            kind=record.party.kind,
            name=record.party.name,
            organisation=record.party.organisation,
            roles=[str(role) for role in record.party.roles],
            hosts=list(record.party.hosts),
            created_at=record.created_at,
            expires_at=record.expires_at,
        ),
    )


def find_invitation(session: Session, token_digest: Digest) -> InvitationRecord | None:
    """The invitation of a token, or None if the token is not one of ours."""
    try:
        return _invitation(members.invitation(session, token_digest))
    except NotFound:
        return None


def all_invitations(session: Session) -> tuple[InvitationRecord, ...]:
    """Every invitation, newest first."""
    return tuple(_invitation(row) for row in members.invitations(session))


def add_certificates(session: Session, records: Sequence[CertificateRecord]) -> None:
    """Store newly issued certificates."""
    for record in records:
        members.add_certificate(
            session,
            CertificateRow(
                serial=str(record.serial),
                use=record.use.value,
                kind=record.party.kind,
                name=record.party.name,
                organisation=record.party.organisation,
                roles=[str(role) for role in record.party.roles],
                fingerprint=record.fingerprint,
                pem=record.pem.decode("ascii"),
                token_digest=record.token_digest,
                not_before=record.not_before,
                not_after=record.not_after,
                issued_at=record.issued_at,
            ),
        )


def certificates(
    session: Session, *, kind: PartyKind | None = None, name: str | None = None
) -> tuple[CertificateRecord, ...]:
    """Certificates ever issued, to one party if it is given, oldest first."""
    revoked = {entry.serial for entry in members.revocations(session)}
    rows = members.certificates(session, kind=kind, name=name)
    return tuple(_certificate(row, revoked) for row in rows)


def revoke(session: Session, records: Sequence[CertificateRecord], *, reason: RevocationReason, now: datetime) -> None:
    """Mark certificates as revoked."""
    members.revoke(session, [str(record.serial) for record in records], reason, now=now)


def revoked_serials(session: Session) -> tuple[RevokedSerial, ...]:
    """Everything revoked so far, as a revocation list wants it."""
    return members.revocations(session)


def next_list_number(session: Session) -> int:
    """The number that the next revocation list must have."""
    return members.next_list_number(session)


def add_list(session: Session, *, number: int, pem: bytes, issued_at: datetime, due_at: datetime) -> None:
    """Store the next revocation list."""
    row = RevocationListRow(number=number, pem=pem.decode("ascii"), issued_at=issued_at, next_update=due_at)
    members.add_list(session, row)


def newest_list(session: Session) -> bytes:
    """The newest revocation list in PEM."""
    return members.newest_list(session).pem.encode("ascii")


def _invitation(row: InvitationRow) -> InvitationRecord:
    used_by = None
    if row.tls_key_digest is not None and row.identity_key_digest is not None:
        used_by = KeyDigests(tls=row.tls_key_digest, identity=row.identity_key_digest)
    return InvitationRecord(
        token_digest=Digest(row.token_digest),
        content_digest=Digest(row.invitation_digest),
        party=RegisteredParty(
            kind=row.kind,
            name=row.name,
            organisation=row.organisation,
            roles=tuple(Role(word) for word in row.roles),
            hosts=tuple(row.hosts),
        ),
        created_at=row.created_at,
        expires_at=row.expires_at,
        withdrawn_at=row.withdrawn_at,
        used_at=row.used_at,
        keys=used_by,
    )


def _certificate(row: CertificateRow, revoked: set[int]) -> CertificateRecord:
    return CertificateRecord(
        serial=int(row.serial),
        use=CertificateUse(row.use),
        party=RegisteredParty(
            kind=row.kind,
            name=row.name,
            organisation=row.organisation,
            roles=tuple(Role(word) for word in row.roles),
        ),
        fingerprint=Digest(row.fingerprint),
        pem=row.pem.encode("ascii"),
        not_before=row.not_before,
        not_after=row.not_after,
        issued_at=row.issued_at,
        token_digest=None if row.token_digest is None else Digest(row.token_digest),
        revoked=int(row.serial) in revoked,
    )
