"""An enrolled party's side of a rotation: new keys made here, certificates checked, then all replaced together.

    1. ``begin``   makes the keys and the signed request in a hidden folder inside the party's own
    2. exchange    over gRPC (``fedseal.authority.client.rotate``) or as files carried by hand
    3. ``finish``  checks the answer against the party and the new keys, and replaces keys and certificates

Rules this module keeps: private keys never leave the machine and are protected by the passphrase that protects the
present ones; the request is on disk before it is sent, so that a lost answer is fetched again with the same keys; until
the answer holds, the present keys and certificates are untouched (see ``fedseal.replacement``).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from fedseal.authority.errors import AnswerInvalid, AnswerLost, InvitationUnreadable
from fedseal.authority.exchange import Answer
from fedseal.authority.rotation import MAX_ROTATION_BYTES, Rotation, sign_rotation
from fedseal.errors import PlatformError
from fedseal.files import make_folder, read_limited, write_atomic
from fedseal.folders import PartyFolder, staged_folder
from fedseal.replacement import PENDING, decide
from fedseal_crypto.certificates import Member, P256Key, PartyClaim, new_request
from fedseal_crypto.dsse import SignedDocument
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import Entropy, IdentityKey
from fedseal_crypto.secret import SecretBytes

_REQUEST = "request.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A rotation whose answer is not here yet."""

    folder: PartyFolder
    request: bytes

    @property
    def path(self) -> Path:
        """Where the new keys wait."""
        return self.folder.path / PENDING


def begin(folder: PartyFolder, *, passphrase: SecretBytes | None, now: datetime, entropy: Entropy) -> Pending:
    """Make new keys and the request, or find those of an earlier attempt.

    Raises:
        SetupError, CryptoError: The folder does not hold together, its certificate is no longer in force, or the
            passphrase is wrong.
        OSError: The disk is full or may not be written; nothing has changed.
    """
    folder.verify(now, passphrase)
    path = folder.path / PENDING
    if path.exists():
        earlier = load_pending(folder)
        if _signer(earlier.request) == folder.identity_certificate():
            return earlier
        shutil.rmtree(path)  # begun with certificates that were replaced since
    tls_key, identity_key = P256Key.generate(entropy), IdentityKey.generate(entropy)
    requests = new_request(
        PartyClaim(federation=folder.federation, kind=folder.record.kind, name=folder.name), tls_key, identity_key
    )
    rotation = Rotation(
        federation=folder.record.federation,
        kind=folder.record.kind,
        name=folder.record.name,
        tls_request=requests.tls_csr_pem.decode("ascii"),
        identity_request=requests.identity_csr_pem.decode("ascii"),
        asked=now,
    )
    request = sign_rotation(
        rotation, key=folder.identity_key(passphrase), certificate_pem=folder.identity_certificate()
    )

    def fill(staging: Path) -> None:
        for name in ("keys", "certificates"):
            make_folder(staging / name)
        write_atomic(staging / "keys/tls.pem", tls_key.to_pem(passphrase), private=True)
        write_atomic(staging / "keys/identity.pem", identity_key.to_pem(passphrase), private=True)
        write_atomic(staging / _REQUEST, request)

    staged_folder(path, fill)
    return Pending(folder=folder, request=request)


def load_pending(folder: PartyFolder) -> Pending:
    """The rotation that was begun in ``folder``.

    Raises:
        InvitationUnreadable: None was begun.
    """
    path = folder.path / PENDING
    if not path.is_dir():
        raise InvitationUnreadable(
            f"no rotation was begun in {folder.path}; run `fedseal certificate rotate` with --offline first."
        )
    request = read_limited(path / _REQUEST, max_bytes=MAX_ROTATION_BYTES, what="a rotation request")
    return Pending(folder=folder, request=request)


def rotate(pending: Pending, *, exchange: Callable[[bytes], Answer], now: datetime) -> Member:
    """Exchange the request for certificates and finish.

    After a refusal the new keys are forgotten; after a lost answer they stay for the same command.

    Raises:
        PlatformError, CryptoError: Whatever ``exchange`` and ``finish`` raise.
    """
    try:
        answer = exchange(pending.request)
    except AnswerLost:
        raise
    except (PlatformError, CryptoError):
        shutil.rmtree(pending.path, ignore_errors=True)
        raise
    return finish(pending, answer, now=now)


def finish(pending: Pending, answer: Answer, *, now: datetime) -> Member:
    """Check the new certificates and replace the present ones.

    Returns:
        The party as others see it from now on.

    Raises:
        AnswerInvalid: The certificates are another party's, or not for these keys.
        CryptoError: They are not signed by the pinned root, expired or revoked.
        OSError: The disk is full; run the same command again.
    """
    folder = pending.folder
    member = _checked(pending, answer, now)
    folder.store_revocations(answer.revocations.encode(), now)
    write_atomic(pending.path / "certificates/tls.pem", answer.tls_certificate.encode())
    write_atomic(pending.path / "certificates/identity.pem", answer.identity_certificate.encode())
    decide(folder.path)
    return member


def _checked(pending: Pending, answer: Answer, now: datetime) -> Member:
    folder, root = pending.folder, pending.folder.trust_root()
    revocations = root.load_revocations(answer.revocations.encode(), now=now)
    tls_pem, identity_pem = answer.tls_certificate.encode(), answer.identity_certificate.encode()
    member = root.verify_identity(identity_pem, now=now, revocations=revocations)
    mine = (folder.record.kind, folder.record.name)
    for party in (member, root.verify_tls(tls_pem, now=now, revocations=revocations)):
        if (party.kind, party.name) != mine:
            raise AnswerInvalid(
                f"the answer is for {party.label}, and this is the folder of {'/'.join(mine)}; ask the authority's "
                "administrator what happened."
            )
    rotation = Rotation.model_validate_json(SignedDocument.from_json(pending.request).payload)
    for certificate, request in ((tls_pem, rotation.tls_request), (identity_pem, rotation.identity_request)):
        certified = x509.load_pem_x509_certificate(certificate).public_key()
        if certified != x509.load_pem_x509_csr(request.encode()).public_key():
            raise AnswerInvalid(
                f"the answer certifies other keys than those made in {pending.path}; ask the authority's administrator "
                "what happened, and do not use it."
            )
    return member


def _signer(request: bytes) -> bytes:
    return SignedDocument.from_json(request, max_bytes=MAX_ROTATION_BYTES).certificates[0]
