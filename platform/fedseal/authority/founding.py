"""How a federation begins: a root, the authority's own certificates, an empty revocation list.

Everything is made in memory and written into one new folder, which appears whole or not at all; an existing
folder is never touched, so that a federation's root cannot be replaced by running the command again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from fedseal.authority import register
from fedseal.authority.config import CONFIG_FILE, AuthorityConfig, render_config
from fedseal.authority.home import AUTHORITY_LABEL, ROOT_KEY
from fedseal.authority.issuing import certificate_records
from fedseal.authority.names import AUTHORITY_NAME, authority_subject
from fedseal.authority.register import RegisteredParty
from fedseal.files import write_atomic
from fedseal.folders import PartyFiles, PartyFolder, PartyRecord, create_party_folder, require_free
from fedseal.local import create_database
from fedseal_crypto.certificates import (
    Authority,
    IssuedCertificates,
    P256Key,
    PartyClaim,
    create_authority,
    new_request,
)
from fedseal_crypto.identity import (
    Entropy,
    FederationName,
    IdentityKey,
    PartyKind,
    parse_federation_name,
)
from fedseal_crypto.notes import log_origin
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.acts import Act
from fedseal_governance.audit import AuditLog
from fedseal_governance.database import Database

FIRST_LIST = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFederation:
    """What ``federation init`` was told."""

    name: str
    organisation: str
    config: AuthorityConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """Everything of a new federation that exists before its folder does."""

    root: Authority
    tls_key: P256Key
    identity_key: IdentityKey
    issued: IssuedCertificates
    revocations_pem: bytes
    revocations_due: datetime


def found_federation(
    path: Path, plan: NewFederation, *, passphrase: SecretBytes, now: datetime, entropy: Entropy
) -> PartyFolder:
    """Create the authority of a new federation.

    Args:
        path: A place that does not exist yet, or an empty folder.
        plan: Names and settings.
        passphrase: Protects the root key and the authority's own keys.
        now: Beginning of the root's ten years.
        entropy: Where keys come from.

    Raises:
        FolderError: ``path`` is taken; the root that may be there is untouched.
        CryptoError: A name, organisation or host cannot be certified.
        OSError, StorageError: The disk is full; nothing is left behind.
    """
    require_free(path)
    federation = parse_federation_name(plan.name)
    made = _make(federation, plan, now=now, entropy=entropy)
    record = PartyRecord(
        federation=federation,
        kind=PartyKind.AUTHORITY,
        name=AUTHORITY_NAME,
        organisation=plan.organisation,
        root_fingerprint=made.root.trust_root.fingerprint,
        coordinator=plan.config.coordinator,
        authority=plan.config.address,
    )
    files = PartyFiles(
        tls_key_pem=made.tls_key.to_pem(passphrase),
        identity_key_pem=made.identity_key.to_pem(passphrase),
        tls_certificate_pem=made.issued.tls_pem,
        identity_certificate_pem=made.issued.identity_pem,
        root_pem=made.root.certificate_pem,
        revocations_pem=made.revocations_pem,
    )
    return create_party_folder(path, record=record, files=files, also=_filler(plan, made, passphrase, now))


def _make(federation: FederationName, plan: NewFederation, *, now: datetime, entropy: Entropy) -> _Made:
    subject = authority_subject(federation, plan.organisation, plan.config.hosts)
    root = create_authority(federation, now=now, entropy=entropy)
    tls_key, identity_key = P256Key.generate(entropy), IdentityKey.generate(entropy)
    claim = PartyClaim(federation=federation, kind=PartyKind.AUTHORITY, name=AUTHORITY_NAME)
    lifetime = timedelta(days=plan.config.certificate_days)
    due = now + timedelta(days=plan.config.revocation_days)
    return _Made(
        root=root,
        tls_key=tls_key,
        identity_key=identity_key,
        issued=root.issue(
            new_request(claim, tls_key, identity_key), subject, now=now, lifetime=lifetime, entropy=entropy
        ),
        revocations_pem=root.revocation_list((), number=FIRST_LIST, now=now, next_update=due),
        revocations_due=due,
    )


def _filler(plan: NewFederation, made: _Made, passphrase: SecretBytes, now: datetime) -> Callable[[Path], None]:
    federation = made.root.trust_root.federation

    def first_record(session: Session) -> None:
        party = RegisteredParty(kind=PartyKind.AUTHORITY, name=AUTHORITY_NAME, organisation=plan.organisation)
        register.add_certificates(session, certificate_records(made.issued, party, token_digest=None, now=now))
        register.add_list(
            session, number=FIRST_LIST, pem=made.revocations_pem, issued_at=now, due_at=made.revocations_due
        )
        journal = AuditLog(log_origin(federation, AUTHORITY_NAME))
        Act(session=session, journal=journal, actor=AUTHORITY_LABEL, now=now).note(
            "federation.created",
            f"federation/{federation}",
            organisation=plan.organisation,
            root=made.root.trust_root.fingerprint,
        )

    def fill(staging: Path) -> None:
        write_atomic(staging / ROOT_KEY, made.root.to_pem(passphrase), private=True)
        write_atomic(staging / CONFIG_FILE, render_config(plan.config))
        path = staging / "authority.db"
        create_database(path)
        database = Database(f"sqlite:///{path.resolve()}")
        try:
            database.run("federation.create", first_record)
        finally:
            database.close()

    return fill
