"""What can go wrong between an authority and an invited party.

SetupError
├── AuthorityFolderError     the authority's own folder cannot be used
├── InviteeInvalid           nobody can be invited like this
├── CertificateUnreadable    the file is not a certificate
└── InvitationUnreadable     the file is not an invitation, request or answer
PeerFault
├── InvitationAltered        the file was changed after the authority wrote it
├── RequestRefused           the request proves nothing or is malformed
└── AnswerInvalid            the certificates are not the ones that were asked for
RefusalError
├── TokenRefused             unknown, used, expired or withdrawn
├── AlreadyEnrolled          the party has certificates in force
└── ClockSkewed              the two clocks differ too much
RemoteError
├── AuthorityUnreachable     nothing answers at that address; nothing was sent
├── AuthorityUntrusted       something answers at that address, but not this federation's authority
└── AnswerLost               the request may have arrived; the same command can be run again
"""

from fedseal.errors import PeerFault, RefusalError, RemoteError, SetupError


class AuthorityFolderError(SetupError):
    """The authority's own folder cannot be used."""


class InviteeInvalid(SetupError):
    """Nobody can be invited with such a kind, role or name."""


class CertificateUnreadable(SetupError):
    """A file is not a certificate."""


class InvitationUnreadable(SetupError):
    """A file is not an invitation, an enrolment request or its answer."""


class InvitationAltered(PeerFault):
    """An invitation was changed after the authority wrote it."""


class RequestRefused(PeerFault):
    """An enrolment request is malformed or does not prove what it must."""


class AnswerInvalid(PeerFault):
    """The certificates that came back are not the ones that were asked for."""


class TokenRefused(RefusalError):
    """An invitation's token is unknown, used, expired or withdrawn."""


class AlreadyEnrolled(RefusalError):
    """The party has certificates in force; a second set of keys would make two of it."""


class ClockSkewed(RefusalError):
    """The clocks of the two machines differ by more than certificates allow."""


class AuthorityUntrusted(RemoteError):
    """What answers at the authority's address does not hold this federation's root."""


class AuthorityUnreachable(RemoteError):
    """Nothing answers at the authority's address; nothing was sent."""


class AnswerLost(RemoteError):
    """The connection broke after the request may have arrived."""
