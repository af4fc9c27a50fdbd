"""Steps 1 to 5 of issuing certificates, and how they are recorded; pure functions for the office."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedseal.authority.errors import RequestRefused, TokenRefused
from fedseal.authority.exchange import Application
from fedseal.authority.register import (
    CertificateRecord,
    InvitationRecord,
    InvitationState,
    RegisteredParty,
)
from fedseal_crypto.certificates import CertificateUse, EnrolmentRequest, IssuedCertificates
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.members import KeyDigests


def require_redeemable(
    invitation: InvitationRecord | None, application: Application, now: datetime
) -> InvitationRecord:
    """Steps 1 to 4 of ``Office.issue``.

    Raises:
        TokenRefused: The token is unknown, or its invitation was withdrawn or has expired.
        RequestRefused: The invitation was altered on its way.
    """
    if invitation is None:  # (1)
        raise TokenRefused(
            "the invitation's token is not known to this authority; check that the invitation is of this "
            "federation and was not replaced by a newer one."
        )
    label = invitation.party.label
    if application.invitation_digest != invitation.content_digest:  # (2)
        raise RequestRefused(
            f"the invitation for {label} was changed after it was written; ask the authority to send it again."
        )
    if invitation.state(now) is InvitationState.WITHDRAWN:  # (3)
        raise TokenRefused(f"the invitation for {label} was withdrawn; ask the authority for a new one.")
    if now >= invitation.expires_at:  # (4)
        raise TokenRefused(
            f"the invitation for {label} expired on {invitation.expires_at:%Y-%m-%d %H:%M} UTC; ask the "
            "authority for a new one."
        )
    return invitation


def key_digests(application: Application) -> KeyDigests:
    """Digests of the TLS and the identity key whose possession the requests prove (step 5).

    Raises:
        RequestInvalid: They prove nothing.
    """
    return request_digests(application.signing_requests)


def request_digests(requests: EnrolmentRequest) -> KeyDigests:
    """Digests of the two keys whose possession the requests prove.

    Raises:
        RequestInvalid: They prove nothing.
    """
    return KeyDigests(tls=_key_digest(requests.tls_key()), identity=_key_digest(requests.identity_key()))


def public_key_digest(certificate: x509.Certificate) -> Digest:
    """Digest of the key that a certificate of ours is for.

    Raises:
        RequestRefused: It is of no kind that this authority certifies.
    """
    key = certificate.public_key()
    if not isinstance(key, (EllipticCurvePublicKey, Ed25519PublicKey)):
        raise RequestRefused("a certificate in the register has a key of a foreign kind; restore the database.")
    return _key_digest(key)


def certificate_records(
    issued: IssuedCertificates, party: RegisteredParty, *, token_digest: Digest | None, now: datetime
) -> tuple[CertificateRecord, CertificateRecord]:
    """How the register keeps two certificates of one enrolment: TLS first."""

    def record(use: CertificateUse, serial: int, pem: bytes) -> CertificateRecord:
        return CertificateRecord(
            serial=serial,
            use=use,
            party=party,
            fingerprint=_fingerprint(pem),
            pem=pem,
            not_before=issued.not_before,
            not_after=issued.not_after,
            issued_at=now,
            token_digest=token_digest,
        )

    return (
        record(CertificateUse.TLS, issued.tls_serial, issued.tls_pem),
        record(CertificateUse.IDENTITY, issued.identity_serial, issued.identity_pem),
    )


def _key_digest(key: EllipticCurvePublicKey | Ed25519PublicKey) -> Digest:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256_hex(key.public_bytes(encoding, form))


def _fingerprint(pem: bytes) -> Digest:
    return sha256_hex(x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER))
