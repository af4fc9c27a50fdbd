"""The authority's folder: a party's folder, and beside it the protected root key, settings and records.

    keys/root.pem     the federation's root key and certificate, passphrase-protected
    authority.yaml    settings, see ``fedseal.authority.config``
    authority.db      invitations, certificates, revocations, and the authority's own audit log

Rules this module keeps: the root is compared with the pinned fingerprint whenever its key is opened; the
database is refused if its schema is not the one this version knows.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography.x509 import SubjectAlternativeName, load_pem_x509_certificate

from fedseal.authority.config import CONFIG_FILE, AuthorityConfig
from fedseal.authority.errors import AuthorityFolderError
from fedseal.authority.names import AUTHORITY_NAME
from fedseal.files import read_limited, require_private, write_atomic
from fedseal.folders import MAX_PEM_BYTES, PartyFolder, TlsMaterial
from fedseal_crypto.certificates import (
    Authority,
    EnrolmentRequest,
    IssuedCertificates,
    P256Key,
    PartyClaim,
    Subject,
    new_request,
)
from fedseal_crypto.identity import FederationName, IdentityKey, PartyKind, parse_federation_name
from fedseal_crypto.notes import log_origin
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.database import Database
from fedseal_governance.documents import MAX_BYTES, load_yaml
from fedseal_migrations import require_current

ROOT_KEY = "keys/root.pem"
AUTHORITY_LABEL = f"{PartyKind.AUTHORITY.value}/{AUTHORITY_NAME}"


RENEWAL_TIME = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedKeys:
    """The authority's private keys, in memory only."""

    root: Authority
    tls_key: P256Key
    identity_key: IdentityKey

    def request(self, federation: FederationName) -> EnrolmentRequest:
        """Signing requests for the service's own keys."""
        claim = PartyClaim(federation=federation, kind=PartyKind.AUTHORITY, name=AUTHORITY_NAME)
        return new_request(claim, self.tls_key, self.identity_key)


@dataclass(frozen=True, slots=True)
class AuthorityHome:
    """An authority's folder, complete and with its settings read."""

    folder: PartyFolder
    config: AuthorityConfig

    @classmethod
    def load(cls, path: Path) -> Self:
        """Open a folder that ``federation init`` made.

        Raises:
            FolderError: It is incomplete or has another root.
            AuthorityFolderError: It belongs to another kind of party.
            DocumentError: ``authority.yaml`` cannot be accepted.
        """
        folder = PartyFolder.load(path)
        if folder.record.kind is not PartyKind.AUTHORITY:
            raise AuthorityFolderError(
                f"{path} is the folder of {folder.record.kind.value}/{folder.record.name}; give the authority's folder."
            )
        if not (path / ROOT_KEY).is_file():
            raise AuthorityFolderError(f"{path / ROOT_KEY} is missing; restore the root key from its safe copy.")
        data = read_limited(path / CONFIG_FILE, max_bytes=MAX_BYTES, what="the authority's settings")
        return cls(folder, load_yaml(data, str(path / CONFIG_FILE), AuthorityConfig))

    @property
    def federation(self) -> FederationName:
        """The federation's name."""
        return parse_federation_name(self.folder.record.federation)

    @property
    def origin(self) -> str:
        """The name of the authority's audit log."""
        return log_origin(self.federation, AUTHORITY_NAME)

    @property
    def root_pem(self) -> bytes:
        """The root certificate."""
        return self.folder.trust_root().certificate_pem

    def open_database(self) -> Database:
        """The authority's records.

        Raises:
            StorageError: The database is missing, of another version, or cannot be opened.
        """
        if not self.folder.database_path.is_file():
            raise AuthorityFolderError(f"{self.folder.database_path} is missing; restore it from a backup.")
        database = Database(self.folder.database_url)
        require_current(database.engine)
        return database

    def open_keys(self, passphrase: SecretBytes) -> OpenedKeys:
        """The root key and the service's keys, opened.

        Raises:
            WrongPassphrase: The passphrase does not open them.
            AuthorityFolderError: It is another root than the one that everybody pinned.
        """
        path = self.folder.path / ROOT_KEY
        require_private(path)
        pem = read_limited(path, max_bytes=MAX_PEM_BYTES, what="the root key")
        root = Authority.from_pem(pem, passphrase, federation=self.federation)
        if root.trust_root.fingerprint != self.folder.record.root_fingerprint:
            raise AuthorityFolderError(
                f"{path} is the root {root.trust_root.fingerprint[:16]}…, but the federation pinned "
                f"{self.folder.record.root_fingerprint[:16]}…; restore the right file, a root never changes."
            )
        tls_pem = self.folder.tls(passphrase).private_key_pem.reveal()
        return OpenedKeys(
            root=root,
            tls_key=P256Key.from_pem(tls_pem, None),
            identity_key=self.folder.identity_key(passphrase),
        )

    def tls(self, keys: OpenedKeys) -> TlsMaterial:
        """Key and certificate for the enrolment service, as they are on disk now."""
        return TlsMaterial(
            private_key_pem=SecretBytes(keys.tls_key.to_pem(None)),
            certificate_pem=self.folder.tls_certificate(),
            root_pem=self.root_pem,
        )

    def certificates_need_renewal(self, subject: Subject, now: datetime) -> bool:
        """Whether the service's certificate ends within 30 days or names other hosts than ``subject``."""
        certificate = load_pem_x509_certificate(self.folder.tls_certificate())
        named = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        wanted = SubjectAlternativeName(subject.alternative_names(with_hosts=True))
        return named != wanted or now > certificate.not_valid_after_utc - RENEWAL_TIME

    def store_certificates(self, issued: IssuedCertificates) -> None:
        """Replace the service's certificates; both old and new fit the keys, so either pair works."""
        write_atomic(self.folder.path / "certificates/tls.pem", issued.tls_pem)
        write_atomic(self.folder.path / "certificates/identity.pem", issued.identity_pem)
