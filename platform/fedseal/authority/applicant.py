"""The invited party's side of an enrolment: keys made here, certificates checked, a folder whole or absent.

    1. ``begin``   makes the keys and the signed requests in a hidden folder beside the future one
    2. exchange    over gRPC (``fedseal.authority.client``) or as files carried by hand
    3. ``finish``  checks the answer against the invitation and the keys, and puts the folder in its place

Rules this module keeps:
- Private keys never leave the machine, and those of people are passphrase-protected before they touch the
  disk.
- The requests are on disk before they are sent. If the answer is lost, the next attempt sends the same
  requests and the authority gives the same certificates; if the authority refuses, the hidden folder goes
  away.
- Nothing that the answer says is believed before the invitation's root has signed it.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from cryptography import x509

from fedseal.authority.errors import AnswerInvalid, AnswerLost, InvitationUnreadable
from fedseal.authority.exchange import MAX_REQUEST_BYTES, Answer, Application, parse_application
from fedseal.authority.invitations import MAX_INVITATION_BYTES, Invitation, parse_invitation
from fedseal.errors import PlatformError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal.folders import (
    MAX_PEM_BYTES,
    PartyFiles,
    PartyFolder,
    PartyRecord,
    create_party_folder,
    require_free,
    staged_folder,
)
from fedseal.local import KINDS_WITH_DATABASE, create_database
from fedseal_crypto.certificates import P256Key, Party, PartyClaim, new_request
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import Entropy, IdentityKey, parse_federation_name, parse_party_name
from fedseal_crypto.secret import SecretBytes

_INVITATION = "invitation.json"
_REQUEST = "request.json"
_TLS_KEY = "keys/tls.pem"
_IDENTITY_KEY = "keys/identity.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An enrolment whose answer is not here yet."""

    path: Path
    invitation: Invitation
    application: Application


def pending_path(folder: Path) -> Path:
    """The hidden folder beside ``folder`` that holds the keys until the certificates arrive."""
    return folder.parent / f".{folder.name}.enrolling"


def begin(
    invitation: Invitation, folder: Path, *, passphrase: SecretBytes | None, now: datetime, entropy: Entropy
) -> Pending:
    """Make keys and requests, or find those of an earlier attempt with the same invitation.

    Raises:
        FolderError: ``folder`` is taken.
        TokenRefused: The invitation has expired.
        WrongPassphrase: The keys of the earlier attempt have another passphrase.
        OSError: The disk is full or may not be written; nothing is left behind.
    """
    require_free(folder)
    invitation.require_in_time(now)
    path = pending_path(folder)
    if path.exists():
        earlier = load_pending(folder)
        if earlier.invitation == invitation:
            # A second passphrase would silently be ignored; it must be the one that opens the keys.
            IdentityKey.from_pem(_read_key(path / _IDENTITY_KEY), passphrase)
            return Pending(path=path, invitation=invitation, application=earlier.application.resent(now))
        shutil.rmtree(path)
    tls_key = P256Key.generate(entropy)
    identity_key = IdentityKey.generate(entropy)
    application = _application(invitation, tls_key, identity_key, now)

    def fill(staging: Path) -> None:
        make_folder(staging / "keys")
        write_atomic(staging / _TLS_KEY, tls_key.to_pem(passphrase), private=True)
        write_atomic(staging / _IDENTITY_KEY, identity_key.to_pem(passphrase), private=True)
        write_atomic(staging / _INVITATION, invitation.to_bytes(), private=True)
        write_atomic(staging / _REQUEST, application.to_bytes(), private=True)

    staged_folder(path, fill)
    return Pending(path=path, invitation=invitation, application=application)


def load_pending(folder: Path) -> Pending:
    """The enrolment that was begun for ``folder``.

    Raises:
        InvitationUnreadable: None was begun, or its hidden folder is damaged.
    """
    path = pending_path(folder)
    if not path.is_dir():
        raise InvitationUnreadable(
            f"no enrolment was begun for {folder}; run the command with --invitation FILE --offline first."
        )
    invitation = read_limited(path / _INVITATION, max_bytes=MAX_INVITATION_BYTES, what="an invitation")
    request = read_limited(path / _REQUEST, max_bytes=MAX_REQUEST_BYTES, what="an enrolment request")
    return Pending(
        path=path,
        invitation=parse_invitation(invitation, filename=str(path / _INVITATION)),
        application=parse_application(request, filename=str(path / _REQUEST)),
    )


def finish(pending: Pending, folder: Path, answer: Answer, *, now: datetime) -> PartyFolder:
    """Check the certificates and put the folder in its place.

    Raises:
        AnswerInvalid: The certificates are another party's, or not for these keys.
        CryptoError: They are not signed by the invitation's root, expired or revoked.
        FolderError, OSError: The folder cannot be written; the keys are kept for another attempt.
    """
    check_answer(pending, answer, now=now)
    invitation = pending.invitation
    record = PartyRecord(
        federation=invitation.federation,
        kind=invitation.kind,
        name=invitation.name,
        organisation=invitation.organisation,
        root_fingerprint=invitation.trust_root().fingerprint,
        coordinator=invitation.coordinator,
        authority=invitation.authority,
    )
    files = PartyFiles(
        tls_key_pem=_read_key(pending.path / _TLS_KEY),
        identity_key_pem=_read_key(pending.path / _IDENTITY_KEY),
        tls_certificate_pem=answer.tls_certificate.encode(),
        identity_certificate_pem=answer.identity_certificate.encode(),
        root_pem=invitation.root.encode(),
        revocations_pem=answer.revocations.encode(),
    )
    also = None
    if record.kind in KINDS_WITH_DATABASE:
        also = partial(_new_database, f"{record.kind.value}.db")
    made = create_party_folder(folder, record=record, files=files, also=also)
    shutil.rmtree(pending.path)
    return made


def enrol(pending: Pending, folder: Path, *, exchange: Callable[[Application], Answer], now: datetime) -> PartyFolder:
    """Exchange the requests for certificates and finish; what ``exchange`` does is its own matter.

    After a refusal nothing is left on disk. After a lost answer, a full disk or an interruption the keys
    stay, and the same command can be run again.

    Raises:
        PlatformError, CryptoError: Whatever ``exchange`` and ``finish`` raise.
    """
    try:
        answer = exchange(pending.application)
    except AnswerLost:
        raise
    except (PlatformError, CryptoError):
        discard(pending)
        raise
    return finish(pending, folder, answer, now=now)


def discard(pending: Pending) -> None:
    """Forget an enrolment that cannot succeed, with its keys."""
    shutil.rmtree(pending.path, ignore_errors=True)


def check_answer(pending: Pending, answer: Answer, *, now: datetime) -> None:
    """What must hold before a certificate is stored.

    1. The revocation list and both certificates are signed by the root of the invitation, and in date.
    2. Both name the invited party, with its organisation and roles, and nobody else.
    3. Both certify the keys that this machine made.

    Raises:
        AnswerInvalid, CryptoError: With a sentence for the first that does not hold.
    """
    root = pending.invitation.trust_root()
    tls_pem, identity_pem = answer.tls_certificate.encode(), answer.identity_certificate.encode()
    revocations = root.load_revocations(answer.revocations.encode(), now=now)  # (1)
    members = (
        root.verify_tls(tls_pem, now=now, revocations=revocations),
        root.verify_identity(identity_pem, now=now, revocations=revocations),
    )
    for member in members:
        _require_invited(member, pending.invitation)  # (2)
    requests = pending.application.signing_requests
    for certificate, request in (
        (tls_pem, requests.tls_csr_pem),
        (identity_pem, requests.identity_csr_pem),
    ):  # (3)
        certified = x509.load_pem_x509_certificate(certificate).public_key()
        if certified != x509.load_pem_x509_csr(request).public_key():
            raise AnswerInvalid(
                "the authority's answer certifies other keys than those made for "
                f"{pending.invitation.label}; ask its administrator what happened, and do not use it."
            )


def _read_key(path: Path) -> bytes:
    return read_limited(path, max_bytes=MAX_PEM_BYTES, what="a key")


def _new_database(name: str, staging: Path) -> None:
    create_database(staging / name)


def _require_invited(member: Party, invitation: Invitation) -> None:
    certified = (member.kind, member.name, member.organisation, frozenset(member.roles))
    invited = (invitation.kind, invitation.name, invitation.organisation, frozenset(invitation.roles))
    if certified != invited:
        raise AnswerInvalid(
            f"the invitation is for {invitation.label} of {invitation.organisation}, but the certificates "
            f"name {member.kind.value}/{member.name} of {member.organisation}; ask the authority for a new "
            "invitation."
        )


def _application(invitation: Invitation, tls_key: P256Key, identity_key: IdentityKey, now: datetime) -> Application:
    claim = PartyClaim(
        federation=parse_federation_name(invitation.federation),
        kind=invitation.kind,
        name=parse_party_name(invitation.name),
    )
    requests = new_request(claim, tls_key, identity_key)
    return Application(
        token=invitation.token,
        invitation_digest=str(invitation.content_digest()),
        tls_request=requests.tls_csr_pem.decode("ascii"),
        identity_request=requests.identity_csr_pem.decode("ascii"),
        sent=now,
    )
