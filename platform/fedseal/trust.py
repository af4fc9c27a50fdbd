"""What a running party knows of the federation: the root, the newest revocation list, its own name.

The revocation list can be replaced while the process runs, by a newer one signed by the authority, and every
later check uses the new one: this is how a revocation takes effect in running jobs.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from fedseal.errors import ClockBehind
from fedseal.folders import PartyFolder
from fedseal_crypto.certificates import CLOCK_SKEW, Member, Party, RevocationListOlder, Revocations, TrustRoot

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The system clock, the only place where running services read it."""
    return datetime.now(UTC)


class Trust:
    """Verifies certificates for one running party. Thread-safe."""

    def __init__(self, folder: PartyFolder, *, clock: Clock = utc_now) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self.root: TrustRoot = folder.trust_root()
        self._revocations: Revocations = folder.revocations(clock())

    @property
    def revocations(self) -> Revocations:
        """The newest revocation list seen.

        Raises:
            ClockBehind: the clock was set back before the list's own date. A certificate counts as revoked from a
                moment on, and one that ends has ended at a moment: with such a clock neither would be noticed.
        """
        with self._lock:
            newest = self._revocations
        now = self._clock()
        if now < newest.this_update - CLOCK_SKEW:
            sentence = (
                f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC, but revocation list {newest.number} was issued "
                f"at {newest.this_update:%Y-%m-%d %H:%M}; correct the clock, until then nobody is believed"
            )
            raise ClockBehind(sentence)
        return newest

    def revocation_list_pem(self) -> bytes:
        """The newest revocation list as the authority signed it."""
        return self._folder.revocations_pem()

    def update(self, crl_pem: bytes) -> bool:
        """Take a revocation list over if it is newer; true if it was. An older one changes nothing.

        Raises:
            PeerError: it is not one of this federation's authority, or stale.
        """
        with self._lock:
            before = self._revocations.number
            try:
                self._revocations = self._folder.store_revocations(crl_pem, self._clock())
            except RevocationListOlder:
                return False
            return self._revocations.number > before

    def identity(self, certificate_pem: bytes) -> Member:
        """Verify an identity certificate now."""
        return self.root.verify_identity(certificate_pem, now=self._clock(), revocations=self.revocations)

    def tls(self, certificate_pem: bytes) -> Party:
        """Verify a TLS certificate now."""
        return self.root.verify_tls(certificate_pem, now=self._clock(), revocations=self.revocations)
