"""X.509 certificates that bind a federation's parties to their keys.

One authority per federation holds an ECDSA P-256 root (TLS stacks refuse Ed25519 there) and issues to each
party, from one enrolment, two certificates: `tls` (ECDSA P-256, for connections) and `identity` (Ed25519, for
protocol messages and documents). Neither can stand in for the other: their extended key usages differ.

Rules kept here: the issuer ignores every name in a request; a verifier trusts one root and checks signature,
validity, constraints, usages, federation, party address and revocation explicitly; each refusal is a typed
error whose sentence says whose certificate it is, what is wrong and what to do. Time is passed in.
Reference: RFC 5280 (profile), RFC 9336 (document-signing usage). Left out: chains of authorities, OCSP.
"""

from fedseal_crypto.certificates.addresses import PartyAddress, role_uri
from fedseal_crypto.certificates.authority import (
    Authority,
    IssuedCertificates,
    create_authority,
)
from fedseal_crypto.certificates.errors import (
    CertificateError,
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    ForeignCertificate,
    RequestInvalid,
    RevocationListInvalid,
    RevocationListOlder,
    RevocationListStale,
    SubjectInvalid,
)
from fedseal_crypto.certificates.profile import CLOCK_SKEW, CertificateUse
from fedseal_crypto.certificates.requests import EnrolmentRequest, P256Key, PartyClaim, new_request
from fedseal_crypto.certificates.revocations import RevocationReason, Revocations, RevokedSerial
from fedseal_crypto.certificates.subjects import Subject
from fedseal_crypto.certificates.trust import Member, Party, TrustRoot

__all__ = [
    "CLOCK_SKEW",
    "Authority",
    "CertificateError",
    "CertificateExpired",
    "CertificateInvalid",
    "CertificateNotYetValid",
    "CertificateRevoked",
    "CertificateUse",
    "EnrolmentRequest",
    "ForeignCertificate",
    "IssuedCertificates",
    "Member",
    "P256Key",
    "Party",
    "PartyAddress",
    "PartyClaim",
    "RequestInvalid",
    "RevocationListInvalid",
    "RevocationListOlder",
    "RevocationListStale",
    "RevocationReason",
    "Revocations",
    "RevokedSerial",
    "Subject",
    "SubjectInvalid",
    "TrustRoot",
    "create_authority",
    "new_request",
    "role_uri",
]
