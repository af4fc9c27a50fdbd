"""What an authority does: invite, issue, revoke, list. Each change and its audit entry are one transaction.

What must hold before certificates are issued, in the order of ``Office.issue``:

    (1) the token is one of ours
    (2) the applicant holds the invitation as it was written
    (3) the invitation was not withdrawn
    (4) it has not expired
    (5) both requests prove possession of suitable keys
    (6) a token that was used answers the same two keys with the same certificates, and nobody else
    (7) the party has no certificates in force

Names, roles and hosts come from the record of the invitation, never from the request. The root key is needed
for issuing and revoking only; inviting and listing work without it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from fedseal.authority import lists, register
from fedseal.authority.config import AuthorityConfig
from fedseal.authority.errors import (
    AlreadyEnrolled,
    AuthorityFolderError,
    InviteeInvalid,
    RequestRefused,
    TokenRefused,
)
from fedseal.authority.exchange import Answer, Application
from fedseal.authority.home import AUTHORITY_LABEL, AuthorityHome, OpenedKeys
from fedseal.authority.invitations import Invitation
from fedseal.authority.issuing import certificate_records, key_digests, require_redeemable
from fedseal.authority.names import RESERVED_NAMES, authority_subject, certified_hosts
from fedseal.authority.register import CertificateRecord, CertificateState, InvitationRecord, RegisteredParty
from fedseal.authority.reissue import newest_pair, reissue
from fedseal.authority.views import CertificateView, InvitationView, Invitee, Overview, Revoked, parse_label
from fedseal.folders import TlsMaterial
from fedseal_crypto.certificates import (
    Authority,
    CertificateUse,
    RevocationReason,
    Revocations,
    Subject,
)
from fedseal_crypto.identity import FederationName, PartyKind, parse_party_name
from fedseal_crypto.secret import SecretBytes
from fedseal_governance import members
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.database import Database
from fedseal_governance.documents import suggestion
from fedseal_governance.errors import NotFound
from fedseal_governance.members import KeyDigests

T = TypeVar("T")


class Office:
    """One authority at work; open it with ``Office.open`` and close it."""

    def __init__(self, home: AuthorityHome, database: Database, keys: OpenedKeys | None = None) -> None:
        self.home = home
        self._database = database
        self._journal = AuditLog(home.origin)
        self._keys = keys

    @classmethod
    def open(cls, path: Path) -> "Office":
        """Open an authority's folder without its keys.

        Raises:
            SetupError: It is not an authority's folder.
            StorageError: Its database is missing or of another version.
        """
        home = AuthorityHome.load(path)
        return cls(home, home.open_database())

    def unlock(self, passphrase: SecretBytes) -> "Office":
        """The same office with its keys.

        Raises:
            WrongPassphrase: The passphrase does not open them.
            AuthorityFolderError: They are not the ones that this federation pinned.
        """
        return Office(self.home, self._database, self.home.open_keys(passphrase))

    def close(self) -> None:
        """Return the database's connections."""
        self._database.close()

    @property
    def config(self) -> AuthorityConfig:
        """The settings of ``authority.yaml``."""
        return self.home.config

    @property
    def federation(self) -> FederationName:
        """The federation's name."""
        return self.home.federation

    def invite(self, invitee: Invitee, *, token: bytes, hours: int | None, now: datetime) -> Invitation:
        """Record an invitation; the returned file content is the only place where the token exists.

        Args:
            invitee: Whom to invite.
            token: 32 unpredictable bytes.
            hours: Life of the invitation; None for the configured one.
            now: The authority's time.

        Raises:
            AlreadyEnrolled: The party has certificates in force.
            CryptoError, RequestRefused: It could not be certified under this name, organisation or host.
        """
        _require_free_name(invitee)
        self._subject(invitee)
        expires = (now + timedelta(hours=hours or self.config.invitation_hours)).replace(microsecond=0)
        invitation = self._invitation(invitee, token, expires)

        def work(act: Act) -> None:
            self._require_not_enrolled(act, invitee)
            record = InvitationRecord(
                token_digest=invitation.token_digest,
                content_digest=invitation.content_digest(),
                party=invitee,
                created_at=now,
                expires_at=expires,
            )
            register.add_invitation(act.session, record)
            act.note(
                "invitation.created",
                invitee.label,
                organisation=invitee.organisation,
                roles=[str(role) for role in invitee.roles],
                expires=_instant(expires),
                invitation=record.content_digest,
            )

        self._run("invitation.create", work, now)
        return invitation

    def withdraw(self, label: str, *, now: datetime) -> int:
        """Make the open invitations of a party useless; returns how many there were.

        Raises:
            InviteeInvalid: ``label`` is not of the form ``node/cleveland``.
        """
        kind, name = parse_label(label)

        def work(act: Act) -> int:
            count = members.withdraw_invitations(act.session, kind, name, now=now)
            if count:
                act.note("invitation.withdrawn", label, invitations=count)
            return count

        return self._run("invitation.withdraw", work, now)

    def issue(self, application: Application, *, now: datetime) -> Answer:
        """Exchange an application for certificates; the numbered list is at the top of this module.

        Raises:
            TokenRefused, AlreadyEnrolled, RequestRefused, CryptoError: A sentence for the first thing wrong.
        """
        root = self._require_keys().root
        try:
            return self._run("certificate.issue", lambda act: self._issue(act, root, application), now)
        except (TokenRefused, AlreadyEnrolled, RequestRefused) as refusal:
            sentence = str(refusal)
            self._run("enrolment.refuse", lambda act: _note_refusal(act, application, sentence), now)
            raise

    def rotate(self, request: bytes, *, now: datetime) -> Answer:
        """Exchange a party's signed rotation request for certificates of its new keys; see ``reissue``.

        Raises:
            RequestRefused, InvitationUnreadable, CryptoError: A sentence for the first thing wrong.
        """
        root = self._require_keys().root
        try:
            return self._run(
                "certificate.rotate", lambda act: reissue(act, root, request, lifetime=self._lifetime()), now
            )
        except RequestRefused as refusal:  # of a party whose signature held: worth an entry
            sentence = str(refusal)
            self._run(
                "rotation.refuse", lambda act: act.note("rotation.refused", AUTHORITY_LABEL, reason=sentence), now
            )
            raise

    def revoke(self, label: str, *, reason: str, now: datetime, keep_newest: bool = False) -> Revoked:
        """Revoke every certificate in force of a party, or all but the newest two, and sign the next list.

        Raises:
            InviteeInvalid: An unknown reason or label.
            NotFound: The party has no such certificate in force.
        """
        root = self._require_keys().root
        because = _reason(reason)
        kind, name = parse_label(label)
        if kind is PartyKind.AUTHORITY:
            raise InviteeInvalid("the authority cannot revoke itself; everybody pins its root, found a new federation.")

        def work(act: Act) -> Revoked:
            records = _older(act, kind, name) if keep_newest else _in_force(act, kind, name)
            if not records:
                which = "older certificate" if keep_newest else "certificate"
                raise NotFound(f"{label} has no {which} in force; see `fedseal certificate list`.")
            register.revoke(act.session, records, reason=because, now=now)
            number = self._sign_list(act, root)
            act.note("certificate.revoked", label, reason=str(because), certificates=len(records), list=number)
            return Revoked(label=label, certificates=len(records), number=number)

        return self._run("certificate.revoke", work, now)

    def renew_revocations(self, *, now: datetime) -> int:
        """Sign a new list with the same entries, before the old one is due; returns its number."""
        root = self._require_keys().root

        def work(act: Act) -> int:
            number = self._sign_list(act, root)
            act.note("revocations.renewed", AUTHORITY_LABEL, list=number)
            return number

        return self._run("revocations.renew", work, now)

    def renew_own_certificates(self, *, now: datetime) -> bool:
        """Renew the enrolment service's certificates if they end soon or the address changed; the keys stay.

        Returns:
            Whether they were renewed.
        """
        keys = self._require_keys()
        subject = authority_subject(self.federation, self.home.folder.record.organisation, self.config.hosts)
        if not self.home.certificates_need_renewal(subject, now):
            return False
        issued = keys.root.issue(keys.request(self.federation), subject, now=now, lifetime=self._lifetime())
        party = RegisteredParty(kind=subject.kind, name=subject.name, organisation=subject.organisation)

        def work(act: Act) -> None:
            register.add_certificates(act.session, certificate_records(issued, party, token_digest=None, now=now))
            act.note("certificate.issued", AUTHORITY_LABEL, renewal=True, until=_instant(issued.not_after))

        self._run("certificate.renew", work, now)
        self.home.store_certificates(issued)
        return True

    def tls(self) -> TlsMaterial:
        """Key and certificate for the enrolment service."""
        return self.home.tls(self._require_keys())

    def overview(self, *, now: datetime) -> Overview:
        """The federation on one screen."""
        return self._database.read(lambda session: lists.overview(session, self.home, now))

    def invitations(self, *, now: datetime) -> tuple[InvitationView, ...]:
        """All invitations, newest first."""
        return self._database.read(lambda session: lists.invitations(session, now))

    def certificates(self, *, now: datetime) -> tuple[CertificateView, ...]:
        """All certificates ever issued, by party."""
        return self._database.read(lambda session: lists.certificates(session, now))

    def members(self, *, now: datetime) -> tuple[CertificateView, ...]:
        """One line for each party that ever enrolled: its newest identity certificate."""
        return self._database.read(lambda session: lists.members(session, now))

    def warnings(self, *, now: datetime) -> tuple[str, ...]:
        """What ends soon: members' newest certificates and the revocation list."""
        return self._database.read(lambda session: lists.warnings(session, self.home, now))

    def revocations_pem(self) -> bytes:
        """The newest revocation list."""
        return self._database.read(register.newest_list)

    def revocations(self, *, now: datetime) -> Revocations:
        """The newest revocation list, read.

        Raises:
            RevocationListStale: Its successor is due; sign one with ``renew_revocations``.
        """
        return self.home.folder.trust_root().load_revocations(self.revocations_pem(), now=now)

    def _issue(self, act: Act, root: Authority, application: Application) -> Answer:
        found = register.find_invitation(act.session, application.token_digest)
        invitation = require_redeemable(found, application, act.now)  # (1) to (4)
        keys = key_digests(application)  # (5)
        if invitation.used_at is not None:
            return _again(act, invitation, keys)  # (6)
        self._require_not_enrolled(act, invitation.party)  # (7)
        subject = self._subject(invitation.party)
        issued = root.issue(application.signing_requests, subject, now=act.now, lifetime=self._lifetime())
        members.redeem(act.session, invitation.token_digest, keys, now=act.now)
        records = certificate_records(issued, invitation.party, token_digest=invitation.token_digest, now=act.now)
        register.add_certificates(act.session, records)
        act.note(
            "certificate.issued",
            invitation.party.label,
            invitation=invitation.content_digest,
            serials=[f"{record.serial:x}" for record in records],
            until=_instant(issued.not_after),
        )
        return _answer(act, issued.tls_pem, issued.identity_pem)

    def _sign_list(self, act: Act, root: Authority) -> int:
        number = register.next_list_number(act.session)
        due = act.now + timedelta(days=self.config.revocation_days)
        revoked = register.revoked_serials(act.session)
        pem = root.revocation_list(revoked, number=number, now=act.now, next_update=due)
        register.add_list(act.session, number=number, pem=pem, issued_at=act.now, due_at=due)
        return number

    def _invitation(self, invitee: Invitee, token: bytes, expires: datetime) -> Invitation:
        return Invitation(
            federation=self.federation,
            kind=invitee.kind,
            name=invitee.name,
            organisation=invitee.organisation,
            roles=invitee.roles,
            hosts=invitee.hosts,
            token=token.hex(),
            expires=expires,
            authority=self.config.address,
            coordinator=None if invitee.kind is PartyKind.COORDINATOR else self.config.coordinator,
            root=self.home.root_pem.decode("ascii"),
        ).sealed()

    def _subject(self, party: RegisteredParty) -> Subject:
        return Subject(
            federation=self.federation,
            kind=party.kind,
            name=parse_party_name(party.name),
            organisation=party.organisation,
            roles=frozenset(party.roles),
            hosts=certified_hosts(self.federation, party.kind, party.name, party.hosts),
        )

    def _require_not_enrolled(self, act: Act, party: RegisteredParty) -> None:
        namesakes = {
            item.party.label
            for item in register.certificates(act.session, name=party.name)
            if item.party.kind is not party.kind
        }
        if namesakes:
            raise AlreadyEnrolled(
                f"the name {party.name} belongs to {min(namesakes)}; choose another, because a party's audit log is "
                "named after it."
            )
        held = _in_force(act, party.kind, party.name)
        if held:
            raise AlreadyEnrolled(
                f"{party.label} has certificates in force until {held[0].not_after:%Y-%m-%d}; revoke them "
                "first, two sets of keys would make two parties of it."
            )

    def _lifetime(self) -> timedelta:
        return timedelta(days=self.config.certificate_days)

    def _require_keys(self) -> OpenedKeys:
        if self._keys is None:
            raise AuthorityFolderError("the authority's keys are locked; give the passphrase.")
        return self._keys

    def _run(self, name: str, work: Callable[[Act], T], now: datetime) -> T:
        def attempt(session: Session) -> T:
            return work(Act(session=session, journal=self._journal, actor=AUTHORITY_LABEL, now=now))

        return self._database.run(name, attempt)


def _require_free_name(party: RegisteredParty) -> None:
    if party.name in RESERVED_NAMES:
        raise InviteeInvalid(f"{party.name!r} is the authority's own name; choose another for {party.label}.")


def _in_force(act: Act, kind: PartyKind, name: str) -> tuple[CertificateRecord, ...]:
    records = register.certificates(act.session, kind=kind, name=name)
    return tuple(item for item in records if item.state(act.now) is CertificateState.IN_FORCE)


def _older(act: Act, kind: PartyKind, name: str) -> tuple[CertificateRecord, ...]:
    newest = newest_pair(register.certificates(act.session, kind=kind, name=name)) or ()
    return tuple(item for item in _in_force(act, kind, name) if item not in newest)


def _again(act: Act, invitation: InvitationRecord, keys: KeyDigests) -> Answer:
    if invitation.keys != keys:
        raise TokenRefused(
            f"the invitation for {invitation.party.label} was already used; if that was not you, tell the "
            "authority's administrator at once, otherwise ask for a new invitation."
        )
    held = register.certificates(act.session, kind=invitation.party.kind, name=invitation.party.name)
    by_use = {item.use: item for item in held if item.token_digest == invitation.token_digest}
    if any(item.revoked for item in by_use.values()):
        raise TokenRefused(f"the certificates of {invitation.party.label} were revoked; ask for a new invitation.")
    return _answer(act, by_use[CertificateUse.TLS].pem, by_use[CertificateUse.IDENTITY].pem)


def _answer(act: Act, tls_pem: bytes, identity_pem: bytes) -> Answer:
    return Answer(
        tls_certificate=tls_pem.decode("ascii"),
        identity_certificate=identity_pem.decode("ascii"),
        revocations=register.newest_list(act.session).decode("ascii"),
    )


def _note_refusal(act: Act, application: Application, sentence: str) -> None:
    """Log a refusal about a token of ours; made-up tokens must not make the log grow."""
    invitation = register.find_invitation(act.session, application.token_digest)
    if invitation is not None:
        act.note("enrolment.refused", invitation.party.label, reason=sentence)


def _reason(word: str) -> RevocationReason:
    words = [str(item) for item in RevocationReason]
    if word not in words:
        near = suggestion(word, words)
        hint = f"did you mean {near!r}?" if near else f"use one of {', '.join(words)}."
        raise InviteeInvalid(f"{word!r} is not a reason; {hint}")
    return RevocationReason(word)


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
