"""A log in a database, and bundles of it; the outsider's verifier as a loaded module."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.notes import NoteVerifier
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.audit import AuditLog, Witness, verifier
from fedseal_governance.audit.tables import (
    AuditCheckpoint,
    AuditCosignature,
    AuditEntry,
    AuditHead,
    AuditNode,
    AuditSeen,
)
from fedseal_governance.database import Base, Database

NOW = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
TABLES = [
    Base.metadata.tables[model.__tablename__]
    for model in (AuditEntry, AuditNode, AuditHead, AuditCheckpoint, AuditCosignature, AuditSeen)
]
POLICY = b"policy: heart-risk-research\n"


def create_tables(engine: Engine) -> None:
    Base.metadata.create_all(engine, tables=TABLES)


@dataclass
class Party:
    """A party with its database, its log, and a clock that the test moves."""

    name: str
    database: Database
    now: datetime = NOW
    key: IdentityKey = field(init=False)
    log: AuditLog = field(init=False)
    witness: Witness = field(init=False)

    def __post_init__(self) -> None:
        self.key = IdentityKey.from_seed(SecretBytes(sha256_hex(self.name.encode()).encode()[:32]))
        self.log = AuditLog(f"fedseal/hearts/{self.name}", self.key)
        self.witness = Witness(self.log.origin, self.key)

    @property
    def verifier(self) -> NoteVerifier:
        return NoteVerifier(name=self.log.origin, public=self.key.public)

    def record(self, session: Session, number: int = 0, **details: object) -> int:
        return self.log.append(
            session,
            time=self.now,
            type="round.completed",
            actor="coordinator/central",
            subject=f"job/{number}",
            details={"round": number, **details},
        )

    def grow(self, count: int, **details: object) -> None:
        """Append `count` entries, ten milliseconds apart."""

        def work(session: Session) -> None:
            for number in range(count):
                self.now += timedelta(milliseconds=10)
                self.record(session, number, **details)

        self.database.run("grow", work)

    def checkpoint(self) -> str:
        return self.database.run("checkpoint", lambda session: self.log.checkpoint(session, self.now))

    def export(self, target: Path, documents: dict[Digest, bytes] | None = None) -> Path:
        self.checkpoint()
        return self.database.read(lambda session: self.log.export(session, target, documents or {})).path


@pytest.fixture
def party(database_url: str) -> Iterator[Party]:
    """The coordinator, once on SQLite and once on PostgreSQL."""
    database = Database(database_url)
    create_tables(database.engine)
    yield Party("central", database)
    database.close()


@pytest.fixture
def make_party(tmp_path: Path) -> Iterator[Callable[[str], Party]]:
    """Makes parties by name, each on its own SQLite database."""
    databases: list[Database] = []

    def make(name: str) -> Party:
        database = Database(f"sqlite:///{tmp_path / name}.db")
        create_tables(database.engine)
        databases.append(database)
        return Party(name, database)

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def central(make_party: Callable[[str], Party]) -> Party:
    """The coordinator on SQLite."""
    return make_party("central")


@pytest.fixture
def bundle(central: Party, tmp_path: Path) -> Path:
    """A good bundle of 13 entries in a folder, with one document that entry 4 names first."""
    central.grow(4)
    central.grow(1, policy=sha256_hex(POLICY))
    central.grow(8, text='line\nbreaks "quotes" \u2028 and €', share=0.25, large=1e16, tiny=5e-324)
    return central.export(tmp_path / "bundle", {sha256_hex(POLICY): POLICY})


@pytest.fixture(scope="session")
def outsider() -> ModuleType:
    """The independent verifier; tests are not importable as a package."""
    spec = importlib.util.spec_from_file_location("verify", verifier.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
