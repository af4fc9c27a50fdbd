"""One federation with an authority, and ways to enrol parties in it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from fedseal_crypto.certificates import (
    Authority,
    IssuedCertificates,
    P256Key,
    PartyClaim,
    Revocations,
    RevokedSerial,
    Subject,
    TrustRoot,
    create_authority,
    new_request,
)
from fedseal_crypto.identity import Entropy, FederationName, IdentityKey, PartyKind, PartyName, Role

NOW = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)


def seeded_entropy(seed: str) -> Entropy:
    """Bytes that look random and are the same in every run."""
    counter = 0

    def draw(size: int) -> bytes:
        nonlocal counter
        counter += 1
        return hashlib.shake_256(f"{seed}/{counter}".encode()).digest(size)

    return draw


@dataclass(frozen=True)
class Enrolled:
    """A party with its private keys and certificates."""

    tls_key: P256Key
    identity_key: IdentityKey
    certificates: IssuedCertificates


@dataclass
class Federation:
    """An authority with the knobs that tests turn."""

    name: FederationName
    authority: Authority
    entropy: Entropy
    now: datetime = NOW
    list_number: int = 0
    revoked: list[RevokedSerial] = field(default_factory=list)

    @property
    def root(self) -> TrustRoot:
        return self.authority.trust_root

    def enrol(
        self,
        kind: PartyKind = PartyKind.NODE,
        name: str = "cleveland",
        *,
        roles: frozenset[Role] = frozenset(),
        hosts: tuple[str, ...] = (),
        lifetime: timedelta = timedelta(days=90),
    ) -> Enrolled:
        tls_key, identity_key = P256Key.generate(self.entropy), IdentityKey.generate(self.entropy)
        claim = PartyClaim(federation=self.name, kind=kind, name=PartyName(name))
        subject = Subject(
            federation=self.name,
            kind=kind,
            name=PartyName(name),
            organisation="Cleveland Clinic",
            roles=roles,
            hosts=hosts,
        )
        issued = self.authority.issue(
            new_request(claim, tls_key, identity_key),
            subject,
            now=self.now,
            lifetime=lifetime,
            entropy=self.entropy,
        )
        return Enrolled(tls_key, identity_key, issued)

    def crl(self, *, valid_for: timedelta = timedelta(days=1)) -> bytes:
        self.list_number += 1
        return self.authority.revocation_list(
            self.revoked, number=self.list_number, now=self.now, next_update=self.now + valid_for
        )

    def revocations(self, *, valid_for: timedelta = timedelta(days=3650)) -> Revocations:
        return self.root.load_revocations(self.crl(valid_for=valid_for), now=self.now)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def entropy(request: pytest.FixtureRequest) -> Entropy:
    return seeded_entropy(request.node.name)


@pytest.fixture
def found_federation() -> Callable[[str], Federation]:
    """Makes a federation by name; the same name gives the same root key."""

    def found(name: str) -> Federation:
        entropy = seeded_entropy(name)
        federation = FederationName(name)
        return Federation(federation, create_authority(federation, now=NOW, entropy=entropy), entropy)

    return found


@pytest.fixture
def hearts(found_federation: Callable[[str], Federation]) -> Federation:
    return found_federation("hearts")
