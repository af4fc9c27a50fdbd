"""What the authority's lists show: read-only views over the register."""

from datetime import datetime

from cryptography.x509 import load_pem_x509_certificate
from sqlalchemy.orm import Session

from fedseal import deadlines
from fedseal.authority import register
from fedseal.authority.home import AuthorityHome
from fedseal.authority.register import CertificateRecord, CertificateState, InvitationState
from fedseal.authority.views import CertificateView, InvitationView, Overview
from fedseal_crypto.certificates import CertificateUse
from fedseal_crypto.certificates.revocations import parse_revocations
from fedseal_crypto.identity import PartyKind


def overview(session: Session, home: AuthorityHome, now: datetime) -> Overview:
    """The federation on one screen."""
    root = load_pem_x509_certificate(home.root_pem)
    revocations = parse_revocations(register.newest_list(session), root)
    in_force = [item for item in members(session, now) if item.state == CertificateState.IN_FORCE.value]
    states = [item.state(now) for item in register.all_invitations(session)]
    return Overview(
        federation=home.federation,
        organisation=home.folder.record.organisation,
        root_fingerprint=home.folder.record.root_fingerprint,
        root_until=root.not_valid_after_utc,
        address=home.config.address,
        coordinator=home.config.coordinator,
        members=len([item for item in in_force if item.kind is not PartyKind.AUTHORITY]),
        open_invitations=states.count(InvitationState.OPEN),
        revocation_number=revocations.number,
        revocation_due=revocations.next_update,
    )


def invitations(session: Session, now: datetime) -> tuple[InvitationView, ...]:
    """All invitations, newest first."""
    return tuple(
        InvitationView(
            label=record.party.label,
            organisation=record.party.organisation,
            roles=tuple(str(role) for role in record.party.roles),
            state=record.state(now).value,
            expires=record.expires_at,
        )
        for record in register.all_invitations(session)
    )


def certificates(session: Session, now: datetime) -> tuple[CertificateView, ...]:
    """All certificates ever issued: by party, oldest first."""
    return tuple(_view(record, now) for record in register.certificates(session))


def members(session: Session, now: datetime) -> tuple[CertificateView, ...]:
    """The newest identity certificate of every party that ever enrolled."""
    newest: dict[str, CertificateView] = {}
    for record in register.certificates(session):
        if record.use is CertificateUse.IDENTITY:
            newest[record.party.label] = _view(record, now)
    return tuple(newest.values())


def warnings(session: Session, home: AuthorityHome, now: datetime) -> tuple[str, ...]:
    """Sentences about what ends soon or has ended; revoked certificates are nobody's concern any more.

    The authority's own service is left out: its certificates are renewed whenever it starts.
    """
    overdue = parse_revocations(register.newest_list(session), load_pem_x509_certificate(home.root_pem))
    newest = [
        item
        for item in members(session, now)
        if item.kind is not PartyKind.AUTHORITY and item.state != CertificateState.REVOKED.value
    ]
    return deadlines.spoken(
        [
            deadlines.list_warning(overdue.number, overdue.next_update, now),
            *(deadlines.certificate_warning(item.label, item.not_after, now) for item in newest),
        ]
    )


def _view(record: CertificateRecord, now: datetime) -> CertificateView:
    return CertificateView(
        kind=record.party.kind,
        name=record.party.name,
        organisation=record.party.organisation,
        roles=tuple(str(role) for role in record.party.roles),
        use=record.use.value,
        serial=record.serial,
        fingerprint=record.fingerprint,
        not_before=record.not_before,
        not_after=record.not_after,
        state=record.state(now).value,
    )
