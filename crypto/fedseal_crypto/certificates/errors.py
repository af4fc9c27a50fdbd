"""What can be wrong with certificates, requests and revocation lists.

PeerError
├── CertificateError
│   ├── CertificateInvalid       not a certificate of our profile
│   ├── CertificateExpired
│   ├── CertificateNotYetValid   usually a wrong clock
│   ├── CertificateRevoked
│   └── ForeignCertificate       another authority or federation
├── RequestInvalid               an enrolment request without proof of possession
└── RevocationListInvalid
    ├── RevocationListStale      its successor is due
    └── RevocationListOlder      a newer one was already seen
MisuseError
└── SubjectInvalid               the authority was asked to certify something impossible
"""

from fedseal_crypto.errors import MisuseError, PeerError


class CertificateError(PeerError):
    """A certificate is refused.

    Attributes:
        party: Whose certificate it is or claims to be, such as `node/cleveland`.
    """

    def __init__(self, message: str, *, party: str) -> None:
        super().__init__(message)
        self.party = party


class CertificateInvalid(CertificateError):
    """It does not follow the profile of this federation's certificates."""


class CertificateExpired(CertificateError):
    """Its validity has ended."""


class CertificateNotYetValid(CertificateError):
    """Its validity has not begun by this machine's clock."""


class CertificateRevoked(CertificateError):
    """The authority has withdrawn it."""


class ForeignCertificate(CertificateError):
    """It was issued by another authority or for another federation."""


class RequestInvalid(PeerError):
    """An enrolment request does not prove possession of suitable keys."""


class RevocationListInvalid(PeerError):
    """A revocation list is not one of this federation's authority."""


class RevocationListStale(RevocationListInvalid):
    """The list's successor was due before now."""


class RevocationListOlder(RevocationListInvalid):
    """A list with a higher number was already seen."""


class SubjectInvalid(MisuseError):
    """The authority was asked to certify an impossible subject."""
