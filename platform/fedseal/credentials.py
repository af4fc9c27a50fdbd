"""The keys and certificates with which a service runs, and how it notices that they were replaced.

A rotation changes the files of a running service's folder. The service looks at them every few seconds and takes the
new ones over when all of them fit together; until then, and if they never do, it goes on with those it has.
"""

from dataclasses import dataclass

import structlog

from fedseal.errors import SetupError
from fedseal.folders import PartyFolder, TlsMaterial
from fedseal.trust import Clock
from fedseal_crypto.certificates import Member
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import IdentityKey

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""How often a running service looks at its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Everything that a rotation replaces, checked to fit together.

    Attributes:
        member: the party as others see it by this certificate.
        key: signs messages and documents.
        certificate: of that key, in PEM.
        tls: key and certificate for connections.
    """

    member: Member
    key: IdentityKey
    certificate: bytes
    tls: TlsMaterial


def load_credentials(folder: PartyFolder, clock: Clock) -> Credentials:
    """Read and verify what the folder holds now.

    Raises:
        SetupError, CryptoError: with a sentence for the first thing that does not hold.
    """
    member = PartyFolder.load(folder.path).verify(clock())
    found = Credentials(
        member=member, key=folder.identity_key(), certificate=folder.identity_certificate(), tls=folder.tls()
    )
    if found.key.public != member.public:
        sentence = f"{folder.path} was changed while it was read; look again"
        raise SetupError(sentence)
    return found


class CredentialWatch:
    """Looks whether a folder holds other credentials than those in use. Used by one thread."""

    def __init__(self, folder: PartyFolder, current: Credentials, clock: Clock) -> None:
        self._folder = folder
        self._current = current
        self._clock = clock
        self._complaint = ""

    def newer(self) -> Credentials | None:
        """What was put in place since the last look; None if nothing was, or if it does not hold."""
        try:
            if self._folder.identity_certificate() == self._current.certificate:
                return None
            self._current = load_credentials(self._folder, self._clock)
        except (SetupError, CryptoError, OSError) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("new certificates not taken over", sentence=self._complaint)
            return None
        self._complaint = ""
        _log.info("new certificates taken over", until=self._current.member.not_after.isoformat(timespec="seconds"))
        return self._current
