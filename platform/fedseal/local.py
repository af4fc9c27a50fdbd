"""A party's folder and database at hand: what commands that run beside the party's own process work with.

Rules this module keeps: a database of an unknown schema is refused, and only ``fedseal db upgrade`` changes
it; every change runs as an ``Act`` in one named transaction together with its audit entry; who acts is a
person who has proved to hold their key, or the party itself; what they may do is in the table of
``fedseal_governance.permissions``, and an attempt at more is noted.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from fedseal.errors import SetupError
from fedseal.files import make_folder, read_limited, write_once
from fedseal.folders import PartyFolder
from fedseal_crypto.certificates import Member
from fedseal_crypto.identity import IdentityKey, PartyKind
from fedseal_crypto.notes import log_origin
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog, CheckedLog, check_log
from fedseal_governance.consent import RecordKey, Register
from fedseal_governance.consent.persons import KEY_BYTES
from fedseal_governance.database import Database
from fedseal_governance.documents import MAX_BYTES, load_yaml
from fedseal_governance.permissions import Caller, Machine, PermissionDenied, require_permitted
from fedseal_governance.trust import Trust
from fedseal_migrations import require_current, upgrade

KINDS_WITH_DATABASE = frozenset({PartyKind.AUTHORITY, PartyKind.COORDINATOR, PartyKind.NODE, PartyKind.CUSTODIAN})

_BELONG_TO_ALL = frozenset({PartyKind.AUTHORITY, PartyKind.COORDINATOR})

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

MAX_CONFIG_BYTES = 64 * 1024


class _DatabaseSetting(BaseModel):
    """The one key of a party's configuration that matters here; the party's own process checks the others."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    database: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person who has opened their key.

    Attributes:
        member: Their verified certificate.
        key: Signs documents for them.
        certificate_pem: Goes with each signature.
    """

    member: Member
    key: IdentityKey
    certificate_pem: bytes

    @property
    def label(self) -> str:
        """How the log names them: ``person/ada``."""
        return self.member.label


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalParty:
    """A party's folder with its open database."""

    folder: PartyFolder
    database: Database

    @property
    def label(self) -> str:
        """The party for a sentence and as an actor: ``node/cleveland``."""
        return f"{self.folder.record.kind.value}/{self.folder.record.name}"

    def log(self, signer: IdentityKey | None = None) -> AuditLog:
        """The party's audit log; with its key it also signs checkpoints."""
        return AuditLog(log_origin(self.folder.federation, self.folder.name), signer)

    def run(self, name: str, work: Callable[[Act], T], *, now: datetime, person: Person | None = None) -> T:
        """Run ``work`` in one transaction with its audit entries, if the table of permissions allows it.

        Args:
            name: What it does: a value of ``fedseal_governance.permissions.Operation``, such as ``policy.propose``.
            work: May run more than once; touches nothing but the act's session.
            now: The time of the change.
            person: Who acts; None for whoever operates the party's machine.

        Raises:
            PermissionDenied: They may not; the attempt is in the log.
        """
        self._require_permitted(name, person, now)
        journal, actor = self.log(), self.label if person is None else person.label

        def attempt(session: Session) -> T:
            return work(Act(session=session, journal=journal, actor=actor, now=now))

        return self.database.run(name, attempt)

    def _require_permitted(self, operation: str, person: Person | None, now: datetime) -> None:
        record = self.folder.record
        machine = Machine(kind=record.kind, label=self.label, organisation=record.organisation)
        caller: Caller = machine if person is None else person.member
        try:
            common = record.kind in _BELONG_TO_ALL
            require_permitted(operation, caller, organisation=None if common else record.organisation)
        except PermissionDenied as denied:
            journal, subject, reason = self.log(), f"operation/{operation}", str(denied)

            def note(session: Session) -> None:
                Act(session=session, journal=journal, actor=caller.label, now=now).note(
                    "permission.denied", subject, reason=reason
                )

            self.database.run("permission.deny", note)
            raise

    def read(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` on a consistent snapshot."""
        return self.database.read(work)

    def register(self, dataset: str) -> Register:
        """The consents of a dataset at this node."""
        return Register(dataset=dataset, key=record_key(self.folder))

    def trust(self, now: datetime) -> Trust:
        """Whom signatures are checked against."""
        return Trust(root=self.folder.trust_root(), revocations=self.folder.revocations(now))


def load_settings(folder: PartyFolder, model: type[M]) -> M:
    """Read the configuration file of a party's process, or its defaults if there is none.

    Raises:
        DocumentError: The file cannot be read, or says something that ``model`` does not know.
    """
    path = folder.config_path
    if not path.exists():
        return model()
    return load_yaml(read_limited(path, max_bytes=MAX_CONFIG_BYTES, what="configuration"), str(path), model)


def database_url(folder: PartyFolder) -> str:
    """The database of a party: as its configuration says, or the embedded one in its folder.

    Raises:
        SetupError: This kind of party keeps no database.
        DocumentError: The configuration file cannot be read.
    """
    kind = folder.record.kind
    if kind not in KINDS_WITH_DATABASE:
        raise SetupError(f"{folder.path} is the folder of a {kind.value}, who keeps no database; give a node's folder.")
    if folder.config_path.exists():
        data = read_limited(folder.config_path, max_bytes=MAX_BYTES, what="a configuration file")
        setting = load_yaml(data, str(folder.config_path), _DatabaseSetting)
        if setting.database is not None:
            return setting.database
    return folder.database_url


def existing_database_url(folder: PartyFolder) -> str:
    """As ``database_url``; an embedded database must be there, because opening it would make an empty one.

    Raises:
        SetupError: The embedded database is missing, or this kind of party keeps none.
    """
    url = database_url(folder)
    if url == folder.database_url and not folder.database_path.exists():
        raise SetupError(f"{folder.database_path} is missing; restore it, or run: fedseal db upgrade {folder.path}")
    return url


def record_key(folder: PartyFolder) -> RecordKey:
    """The node's own key for digests of pseudonyms; made when it is first needed.

    Raises:
        SetupError: the file cannot be read or was shortened.
    """
    path = folder.path / "state" / "snapshot.salt"
    if not path.exists():
        make_folder(path.parent)
        write_once(path, secrets.token_bytes(KEY_BYTES))
    try:
        return RecordKey(SecretBytes(read_limited(path, max_bytes=KEY_BYTES, what="the record key")))
    except ValueError as error:
        raise SetupError(f"{path}: {error}; restore it from a backup.") from None


def record_key_bytes(folder: PartyFolder) -> bytes | None:
    """The key of `record_key` for a migration; None for a party that is no node."""
    return record_key(folder).reveal() if folder.record.kind is PartyKind.NODE else None


@contextmanager
def open_party(path: Path, *kinds: PartyKind) -> Iterator[LocalParty]:
    """A party's folder with its database, closed again at the end.

    Args:
        path: The folder.
        kinds: Which kinds of party will do; all if none is given.

    Raises:
        SetupError: It is another kind of party, or its embedded database is missing.
        StorageError: The database is of another version or cannot be opened.
    """
    folder = PartyFolder.load(path)
    if kinds and folder.record.kind not in kinds:
        wanted = " or ".join(kind.value for kind in kinds)
        raise SetupError(f"{path} is the folder of a {folder.record.kind.value}; give that of a {wanted}.")
    database = Database(existing_database_url(folder))
    try:
        require_current(database.engine)
        yield LocalParty(folder=folder, database=database)
    finally:
        database.close()


def require_untouched(database: Database, origin: str) -> CheckedLog:
    """Check every entry of a log before a service goes on writing it.

    Raises:
        AuditError: The tables were changed by hand or restored in part; the sentence names the first wrong entry.
        StorageError: The database cannot be read.
    """
    return database.read(lambda session: check_log(session, origin))


def create_database(path: Path) -> None:
    """A new, empty embedded database with the current schema."""
    database = Database(f"sqlite:///{path.resolve()}")
    try:
        upgrade(database.engine)
    finally:
        database.close()


def open_person(path: Path, passphrase: SecretBytes | None, *, now: datetime) -> Person:
    """A person's folder with the key opened.

    Raises:
        SetupError: It is not a person's folder, or does not fit together.
        CryptoError: Wrong passphrase; or the certificate is expired or revoked.
    """
    folder = PartyFolder.load(path)
    if folder.record.kind is not PartyKind.PERSON:
        raise SetupError(f"{path} is the folder of a {folder.record.kind.value}; give your own, made by `user enrol`.")
    member = folder.verify(now, passphrase)
    return Person(member=member, key=folder.identity_key(passphrase), certificate_pem=folder.identity_certificate())
