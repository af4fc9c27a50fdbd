"""A migrated database, a journal that remembers, documents to change, and people who sign."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy.orm import Session

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
from fedseal_crypto.dsse import SignedDocument, sign_document
from fedseal_crypto.identity import FederationName, IdentityKey, PartyKind, PartyName, Role
from fedseal_governance.acts import Act
from fedseal_governance.database import Database
from fedseal_governance.policy import POLICY_TYPE
from fedseal_governance.tables import metadata
from fedseal_governance.trust import Trust

T = TypeVar("T")

NOW = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)

POLICY = b"""\
policy: heart-risk-research
version: 3
owner: Cleveland Clinic
datasets: [heart-disease]
purposes: [{code: "DUO:0000006", label: health or medical or biomedical research}]
jobs: {kinds: [training, statistics], methods: [fedavg, fedprox, lockdown], learners: [tabular-mlp], max_rounds: 200, max_local_epochs: 5}
protection: {allowed: [masking, hybrid], coordinator_may_learn: SUM, minimum_cohort: 3}
privacy: {mechanism: none}            # or: {epsilon_per_job: 2, epsilon_total: 8, delta: 1e-5}
consent: {required: true, minimum_records: 50}
approval: {compliance_officers: 2, node_operator_per_job: false}
retention: {audit_years: 10, model_years: 2}
valid: {from: 2026-01-01, until: 2027-12-31}
"""  # noqa: E501 - the design's sketch, line by line

TRAINING_JOB = b"""\
job: heart-risk
version: 1
purpose: "DUO:0000006"
dataset: heart-disease
kind: training
method: {name: fedavg, rounds: 20, settings: {local_epochs: 2}}
learner: {name: tabular-mlp, settings: {hidden_width: 16, learning_rate: 1e-2}}
features: [age, sex, chol]
target: num
evaluation: {holdout: 0.3, seed: 7}
protection: masking
disclosure: SUM
nodes: [cleveland, hungary, switzerland, va-long-beach]
minimum_cohort: 3
"""

STATISTICS_JOB = b"""\
job: heart-statistics
purpose: "DUO:0000006"
dataset: heart-disease
kind: statistics
features: [age, chol]
protection: masking
disclosure: SUM
nodes: [cleveland, hungary, switzerland]
minimum_cohort: 3
"""

SCHEMA = b"""\
dataset: heart-disease
columns:
  - {name: pseudonym, role: record_id}
  - {name: age, type: number, range: [18, 110], unit: years}
  - {name: sex, type: category, categories: [Female, Male]}
  - {name: chol, type: number, range: [50, 700], missing_values: [0]}
  - {name: fbs, type: boolean}
  - {name: num, type: category, categories: ["0", "1", "2"], positive: ["1", "2"], role: target}
"""


@dataclass(frozen=True)
class Noted:
    """One entry that a change asked the journal to write."""

    type: str
    actor: str
    subject: str
    details: Mapping[str, object]


@dataclass
class MemoryJournal:
    """Remembers entries; the real log has its own tests."""

    entries: list[Noted] = field(default_factory=list)

    def append(
        self,
        session: Session,
        *,
        time: datetime,
        type: str,  # noqa: A002
        actor: str,
        subject: str,
        details: Mapping[str, object],
    ) -> int:
        assert time.tzinfo is not None
        assert session.in_transaction()
        self.entries.append(Noted(type, actor, subject, dict(details)))
        return len(self.entries) - 1

    @property
    def types(self) -> list[str]:
        return [entry.type for entry in self.entries]


@dataclass
class Office:
    """A party's database with its journal, and a clock that tests set."""

    database: Database
    journal: MemoryJournal
    now: datetime = NOW
    actor: str = "person/olga"

    def act(self, session: Session) -> Act:
        return Act(session=session, journal=self.journal, actor=self.actor, now=self.now)

    def change(self, work: Callable[[Act], T]) -> T:
        return self.database.run("test", lambda session: work(self.act(session)))

    def read(self, work: Callable[[Session], T]) -> T:
        return self.database.read(work)


@dataclass
class Person:
    """Somebody with an identity key and certificate."""

    member: Member
    key: IdentityKey
    certificate: bytes

    def sign_policy(self, content: bytes) -> SignedDocument:
        return sign_document(POLICY_TYPE, content, key=self.key, certificate_pem=self.certificate)


@dataclass
class Federation:
    """An authority that makes people and revokes them."""

    authority: Authority
    revoked: list[RevokedSerial] = field(default_factory=list)
    lists: int = 0

    def trust(self, now: datetime = NOW) -> Trust:
        self.lists += 1
        pem = self.authority.revocation_list(
            self.revoked, number=self.lists, now=now, next_update=now + timedelta(days=3650)
        )
        root = self.authority.trust_root
        return Trust(root=root, revocations=root.load_revocations(pem, now=now))

    def person(
        self,
        name: str,
        *,
        roles: tuple[Role, ...] = (Role.COMPLIANCE_OFFICER,),
        organisation: str = "Cleveland Clinic",
        lifetime: timedelta = timedelta(days=90),
    ) -> Person:
        claim = PartyClaim(federation=self.authority.trust_root.federation, kind=PartyKind.PERSON, name=PartyName(name))
        key = IdentityKey.generate(_entropy())
        request = new_request(claim, P256Key.generate(_entropy()), key)
        subject = Subject(
            federation=claim.federation,
            kind=claim.kind,
            name=claim.name,
            organisation=organisation,
            roles=frozenset(roles),
        )
        issued = self.authority.issue(request, subject, now=NOW - timedelta(hours=1), lifetime=lifetime)
        trust = self.trust()
        member = trust.root.verify_identity(issued.identity_pem, now=NOW, revocations=trust.revocations)
        return Person(member=member, key=key, certificate=issued.identity_pem)

    def revoke(self, person: Person, at: datetime) -> None:
        self.revoked.append(RevokedSerial(serial=person.member.serial, revoked_at=at))


def _entropy() -> Callable[[int], bytes]:
    import os

    return os.urandom


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with all tables, on SQLite and on PostgreSQL."""
    opened = Database(database_url, pause=lambda _seconds: None)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database, MemoryJournal())


@pytest.fixture(scope="session")
def federation() -> Federation:
    return Federation(create_authority(FederationName("heart"), now=NOW - timedelta(days=1)))


@pytest.fixture
def policy_bytes() -> bytes:
    return POLICY


@pytest.fixture
def training_bytes() -> bytes:
    return TRAINING_JOB


@pytest.fixture
def statistics_bytes() -> bytes:
    return STATISTICS_JOB


@pytest.fixture
def schema_bytes() -> bytes:
    return SCHEMA


@pytest.fixture
def now() -> datetime:
    return NOW
