"""A party's folder on disk: its keys, its certificates and the record of who it is.

    party.json                   federation, kind, name, organisation, addresses, root fingerprint
    keys/tls.pem                 private, 0600; ECDSA P-256
    keys/identity.pem            private, 0600; Ed25519, passphrase-protected for people
    certificates/tls.pem         issued by the federation's authority
    certificates/identity.pem    issued by the federation's authority
    certificates/authority.pem   the root, pinned by its fingerprint in party.json
    certificates/revocations.pem the newest revocation list this party has seen
    <kind>.yaml, <kind>.db       of a node or a coordinator; written by their own commands

Rules this module keeps:
- A folder appears whole (staged beside, one ``rename``) or not at all.
- Whoever loads a folder gets a sentence for each thing that is missing or does not fit, before anything
  starts.
- Keys and certificates are replaced together (``fedseal.replacement``); whoever loads the folder finishes that.
- The root is compared with the pinned fingerprint on every load; a revocation list is never replaced by an
  older one.

It leaves out how certificates are obtained (``fedseal.authority``) and what the certificates say
(``fedseal_crypto.certificates``).
"""

import errno
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from cryptography.x509 import load_pem_x509_certificate
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedseal.errors import SetupError
from fedseal.files import make_folder, read_limited, require_private, sync_folder, write_atomic
from fedseal.replacement import settle
from fedseal_crypto.certificates import Member, P256Key, Party, Revocations, TrustRoot
from fedseal_crypto.certificates.revocations import parse_revocations
from fedseal_crypto.identity import (
    FederationName,
    IdentityKey,
    PartyKind,
    PartyName,
    parse_federation_name,
    parse_party_name,
)
from fedseal_crypto.secret import SecretBytes

PARTY_FILE = "party.json"
MAX_RECORD_BYTES = 16 * 1024  # a dozen short fields
MAX_PEM_BYTES = 64 * 1024  # one key or certificate is under 4 KiB
MAX_REVOCATIONS_BYTES = 4 * 1024 * 1024  # some 60 000 revoked certificates


class FolderError(SetupError):
    """A party's folder is missing, incomplete, or does not fit together."""


class PartyRecord(BaseModel):
    """Who a folder belongs to; the content of ``party.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    federation: Annotated[str, Field(min_length=1, max_length=64)]
    kind: PartyKind
    name: Annotated[str, Field(min_length=1, max_length=64)]
    organisation: Annotated[str, Field(min_length=1, max_length=64)]
    root_fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256 of the root's DER form
    coordinator: Annotated[str, Field(max_length=300)] | None = None  # "host:port"
    authority: Annotated[str, Field(max_length=300)] | None = None  # "host:port"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyFiles:
    """The six PEM files of a new folder."""

    tls_key_pem: bytes
    identity_key_pem: bytes
    tls_certificate_pem: bytes
    identity_certificate_pem: bytes
    root_pem: bytes
    revocations_pem: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """What a TLS stack needs; the key is unencrypted and stays in memory."""

    private_key_pem: SecretBytes
    certificate_pem: bytes
    root_pem: bytes


@dataclass(frozen=True, slots=True)
class PartyFolder:
    """One party's folder, already checked to be complete and to have the pinned root."""

    path: Path
    record: PartyRecord

    @classmethod
    def load(cls, path: Path) -> "PartyFolder":
        """Open a folder that enrolment made.

        Raises:
            FolderError: Something is missing, unreadable, or the root is not the pinned one.
        """
        folder = cls(path, _read_record(path))
        settle(path)
        for relative in _FILES:
            if not (path / relative).is_file():
                raise FolderError(
                    f"{path / relative} is missing; restore it from a backup or enrol again into a new folder."
                )
        folder.trust_root()
        return folder

    @property
    def federation(self) -> FederationName:
        """The federation's name.

        Raises:
            NameInvalid: ``party.json`` was edited.
        """
        return parse_federation_name(self.record.federation)

    @property
    def name(self) -> PartyName:
        """The party's name.

        Raises:
            NameInvalid: ``party.json`` was edited.
        """
        return parse_party_name(self.record.name)

    @property
    def config_path(self) -> Path:
        """``node.yaml`` or ``coordinator.yaml``."""
        return self.path / f"{self.record.kind.value}.yaml"

    @property
    def database_path(self) -> Path:
        """``node.db`` or ``coordinator.db``: the embedded default."""
        return self.path / f"{self.record.kind.value}.db"

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the embedded default database."""
        return f"sqlite:///{self.database_path.resolve()}"

    def trust_root(self) -> TrustRoot:
        """The federation's root certificate, compared with the pinned fingerprint.

        Raises:
            FolderError: The root is not the one that this party enrolled with.
        """
        root = TrustRoot(self._pem("certificates/authority.pem"), self.federation)
        if root.fingerprint != self.record.root_fingerprint:
            raise FolderError(
                f"{self.path}/certificates/authority.pem has the fingerprint {root.fingerprint}, but this "
                f"party enrolled under {self.record.root_fingerprint}; restore the file, a federation's "
                "root never changes."
            )
        return root

    def revocations(self, now: datetime) -> Revocations:
        """The newest revocation list this party holds.

        Raises:
            CryptoError: The list is out of date, damaged or another federation's.
        """
        return self.trust_root().load_revocations(self.revocations_pem(), now=now)

    def revocations_pem(self) -> bytes:
        """The revocation list as it was received."""
        return read_limited(
            self.path / "certificates/revocations.pem",
            max_bytes=MAX_REVOCATIONS_BYTES,
            what="a revocation list",
        )

    def store_revocations(self, crl_pem: bytes, now: datetime) -> Revocations:
        """Keep a newer revocation list; an older or foreign one is refused and nothing changes.

        Raises:
            CryptoError: Not signed by this federation's root, out of date, or of a lower number.
        """
        root = self.trust_root()
        # The list held may be out of date by now; its number still counts.
        held = parse_revocations(self.revocations_pem(), load_pem_x509_certificate(root.certificate_pem))
        newer = root.load_revocations(crl_pem, now=now, at_least_number=held.number)
        if newer.number > held.number:
            write_atomic(self.path / "certificates/revocations.pem", crl_pem)
        return newer

    def identity_certificate(self) -> bytes:
        """The PEM certificate of this party's signing key."""
        return self._pem("certificates/identity.pem")

    def tls_certificate(self) -> bytes:
        """The PEM certificate of this party's TLS key."""
        return self._pem("certificates/tls.pem")

    def identity_key(self, passphrase: SecretBytes | None = None) -> IdentityKey:
        """This party's signing key.

        Raises:
            CryptoError: The passphrase is wrong or missing.
        """
        return IdentityKey.from_pem(self._pem("keys/identity.pem"), passphrase)

    def needs_passphrase(self) -> bool:
        """Whether the private keys are protected, so that a person must be asked."""
        return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in self._pem("keys/identity.pem")

    def tls(self, passphrase: SecretBytes | None = None) -> TlsMaterial:
        """Key, certificate and root for a TLS connection.

        Raises:
            CryptoError: The passphrase is wrong or missing, or the key is damaged.
        """
        key = P256Key.from_pem(self._pem("keys/tls.pem"), passphrase)
        return TlsMaterial(
            private_key_pem=SecretBytes(key.to_pem(None)),
            certificate_pem=self._pem("certificates/tls.pem"),
            root_pem=self._pem("certificates/authority.pem"),
        )

    def member(self, now: datetime) -> Member:
        """This party as others see it: its own certificate, verified.

        Raises:
            CryptoError: Expired, revoked or not of this federation.
            FolderError: The certificate is another party's.
        """
        member = self.trust_root().verify_identity(
            self.identity_certificate(), now=now, revocations=self.revocations(now)
        )
        self._require_same_party(member)
        return member

    def verify(self, now: datetime, passphrase: SecretBytes | None = None) -> Member:
        """Everything that must hold before a party starts.

        1. Key files and their folder are the owner's alone.
        2. The root is the pinned one; the revocation list is current.
        3. Both certificates are this party's, in date and not revoked.
        4. Each private key belongs to its certificate.

        Raises:
            SetupError: With one sentence for the first thing that does not hold.
            CryptoError: Likewise.
        """
        for private in ("keys", "keys/tls.pem", "keys/identity.pem"):  # (1)
            require_private(self.path / private)
        member = self.member(now)  # (2), (3)
        tls = self.tls(passphrase)
        self._require_same_party(
            self.trust_root().verify_tls(tls.certificate_pem, now=now, revocations=self.revocations(now))
        )
        if member.public != self.identity_key(passphrase).public:  # (4)
            raise FolderError(
                f"{self.path}/keys/identity.pem is not the key of certificates/identity.pem; restore both."
            )
        _require_tls_pair(self.path, tls)
        return member

    def _pem(self, relative: str) -> bytes:
        return read_limited(self.path / relative, max_bytes=MAX_PEM_BYTES, what="a PEM file")

    def _require_same_party(self, member: Party) -> None:
        mine = (self.record.federation, self.record.kind, self.record.name)
        theirs = (member.federation, member.kind, member.name)
        if mine != theirs:
            raise FolderError(
                f"{self.path}/certificates belong to {'/'.join(theirs)}, but party.json says "
                f"{'/'.join(mine)}; restore the folder from a backup."
            )


_FILES = (
    "keys/tls.pem",
    "keys/identity.pem",
    "certificates/tls.pem",
    "certificates/identity.pem",
    "certificates/authority.pem",
    "certificates/revocations.pem",
)


def require_free(path: Path) -> None:
    """Refuse a place where something already is.

    Raises:
        FolderError: ``path`` is a file or a folder with anything in it.
    """
    if (path / PARTY_FILE).exists():
        raise FolderError(f"{path} already holds an enrolled party; choose another folder, keys are never overwritten.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FolderError(f"{path} is not an empty folder; choose a new one, nothing is ever overwritten.")


def create_party_folder(
    path: Path, *, record: PartyRecord, files: PartyFiles, also: Callable[[Path], None] | None = None
) -> PartyFolder:
    """Write a whole folder or nothing.

    Args:
        path: A place that does not exist yet, or an empty folder.
        record: Who the folder belongs to.
        files: Its six PEM files.
        also: Writes what else must be there from the first moment into the folder it is given.

    Raises:
        FolderError: ``path`` is taken, or is a mount point, which cannot be replaced in one step.
        OSError: The disk is full or the parent may not be written; nothing is left behind.
    """
    require_free(path)

    def fill(staging: Path) -> None:
        _write_parts(staging, record, files)
        if also is not None:
            also(staging)

    staged_folder(path, fill)
    return PartyFolder.load(path)


def staged_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Create the private folder ``path`` whole: filled beside its final place, then renamed.

    Raises:
        FolderError: ``path`` is a mount point.
        OSError: The disk is full or the parent may not be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        make_folder(staging)
        fill(staging)
        staging.rename(path)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in {errno.EBUSY, errno.EXDEV}:
            raise FolderError(f"{path} is a mount point; choose a folder inside it, such as {path}/party.") from error
        raise
    sync_folder(path.parent)


def _write_parts(staging: Path, record: PartyRecord, files: PartyFiles) -> None:
    for folder in (staging / "keys", staging / "certificates"):
        make_folder(folder)
    write_atomic(staging / "keys/tls.pem", files.tls_key_pem, private=True)
    write_atomic(staging / "keys/identity.pem", files.identity_key_pem, private=True)
    write_atomic(staging / "certificates/tls.pem", files.tls_certificate_pem)
    write_atomic(staging / "certificates/identity.pem", files.identity_certificate_pem)
    write_atomic(staging / "certificates/authority.pem", files.root_pem)
    write_atomic(staging / "certificates/revocations.pem", files.revocations_pem)
    write_atomic(staging / PARTY_FILE, record.model_dump_json(indent=2).encode() + b"\n")


def _require_tls_pair(path: Path, tls: TlsMaterial) -> None:
    key = P256Key.from_pem(tls.private_key_pem.reveal(), None)
    certified = load_pem_x509_certificate(tls.certificate_pem).public_key()
    if key.public_key() != certified:
        raise FolderError(f"{path}/keys/tls.pem is not the key of certificates/tls.pem; restore both from one backup.")


def _read_record(path: Path) -> PartyRecord:
    if not path.is_dir():
        raise FolderError(f"{path} is not a folder; enrol first, or give the folder that enrolment made.")
    if not (path / PARTY_FILE).exists():
        raise FolderError(f"{path} holds no {PARTY_FILE}: it is not a party's folder, or enrolment did not finish.")
    data = read_limited(path / PARTY_FILE, max_bytes=MAX_RECORD_BYTES, what="a party record")
    try:
        return PartyRecord.model_validate_json(data, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FolderError(f"{path / PARTY_FILE}: {field}: {re.sub(chr(10), ' ', first['msg'])}.") from None
