"""A small consortium in memory: an authority, parties with real keys and certificates, and a clock that tests set."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedseal.folders import PartyFiles, PartyFolder, PartyRecord, create_party_folder
from fedseal_crypto.certificates import (
    Authority,
    Member,
    P256Key,
    PartyClaim,
    RevokedSerial,
    Subject,
    create_authority,
    new_request,
)
from fedseal_crypto.identity import FederationName, IdentityKey, PartyKind, PartyName, Role

NOW = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
FEDERATION = FederationName("hearts")
ORGANISATION = "Heart Consortium"
NODES = ("basel", "cleveland", "hungary", "long-beach", "zurich")
COORDINATOR = "coordinator"
SCIENTIST = "ada"
OFFICERS = ("grace", "katherine")


class SettableClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> datetime:
        """Let time pass; gives the new time."""
        self.now += timedelta(**span)
        return self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A party with its private keys and both certificates."""

    member: Member
    key: IdentityKey
    tls_key: P256Key
    identity_pem: bytes
    tls_pem: bytes
    serials: tuple[int, int]

    @property
    def name(self) -> str:
        return str(self.member.name)


@dataclass(slots=True)
class Consortium:
    """An authority, the parties it has certified, and its revocation list."""

    authority: Authority
    parties: dict[str, Enrolled] = field(default_factory=dict)
    revoked: list[RevokedSerial] = field(default_factory=list)
    lists: int = 0

    @classmethod
    def found(cls, name: FederationName = FEDERATION) -> "Consortium":
        """A consortium with a coordinator, five nodes, a data scientist and two officers."""
        consortium = cls(create_authority(name, now=NOW - timedelta(days=30)))
        consortium.enrol(PartyKind.COORDINATOR, COORDINATOR)
        consortium.enrol(PartyKind.PERSON, SCIENTIST, roles=(Role.DATA_SCIENTIST,))
        for officer in OFFICERS:
            consortium.enrol(PartyKind.PERSON, officer, roles=(Role.COMPLIANCE_OFFICER,))
        for node in NODES:
            consortium.enrol(PartyKind.NODE, node)
        return consortium

    def branch(self) -> "Consortium":
        """The same parties with a revocation list of its own, for one test."""
        return replace(self, parties=dict(self.parties), revoked=list(self.revoked))

    def enrol(
        self,
        kind: PartyKind,
        name: str,
        *,
        roles: Collection[Role] = (),
        lifetime: timedelta = timedelta(days=60),
        at: datetime = NOW - timedelta(days=20),
        organisation: str = ORGANISATION,
    ) -> Enrolled:
        """Certify new keys; a second call for a name replaces the party."""
        made = self.certify(kind, name, roles=roles, lifetime=lifetime, at=at, organisation=organisation)
        self.parties[name] = made
        return made

    def certify(
        self,
        kind: PartyKind,
        name: str,
        *,
        roles: Collection[Role],
        lifetime: timedelta,
        at: datetime,
        organisation: str = ORGANISATION,
    ) -> Enrolled:
        """Certify new keys without making the party known as ``name``."""
        root = self.authority.trust_root
        tls_key, key = P256Key.generate(os.urandom), IdentityKey.generate(os.urandom)
        claim = PartyClaim(federation=root.federation, kind=kind, name=PartyName(name))
        subject = Subject(
            federation=root.federation,
            kind=kind,
            name=PartyName(name),
            organisation=organisation,
            roles=frozenset(roles),
            hosts=("localhost",) if kind is PartyKind.COORDINATOR else (),
        )
        issued = self.authority.issue(new_request(claim, tls_key, key), subject, now=at, lifetime=lifetime)
        empty = root.load_revocations(
            self.authority.revocation_list([], number=1, now=at, next_update=at + lifetime), now=at
        )
        return Enrolled(
            member=root.verify_identity(issued.identity_pem, now=at, revocations=empty),
            key=key,
            tls_key=tls_key,
            identity_pem=issued.identity_pem,
            tls_pem=issued.tls_pem,
            serials=(issued.tls_serial, issued.identity_serial),
        )

    def revoke(self, name: str, *, at: datetime = NOW) -> None:
        """Withdraw both certificates of a party; nobody knows before the next ``crl``."""
        self.revoked += [RevokedSerial(serial=serial, revoked_at=at) for serial in self.parties[name].serials]

    def crl(self, *, at: datetime = NOW, days: float = 30) -> bytes:
        """The next revocation list."""
        self.lists += 1
        return self.authority.revocation_list(
            self.revoked, number=self.lists, now=at, next_update=at + timedelta(days=days)
        )

    def make_folder(self, path: Path, name: str) -> PartyFolder:
        """The folder that enrolment would have made; its keys are not protected by a passphrase."""
        party, root = self.parties[name], self.authority.trust_root
        record = PartyRecord(
            federation=str(root.federation),
            kind=party.member.kind,
            name=name,
            organisation=ORGANISATION,
            root_fingerprint=root.fingerprint,
            coordinator="127.0.0.1:7443",
        )
        files = PartyFiles(
            tls_key_pem=party.tls_key.to_pem(None),
            identity_key_pem=party.key.to_pem(None),
            tls_certificate_pem=party.tls_pem,
            identity_certificate_pem=party.identity_pem,
            root_pem=root.certificate_pem,
            revocations_pem=self.crl(),
        )
        return create_party_folder(path, record=record, files=files)
