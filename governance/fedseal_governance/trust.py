"""Whom signatures are checked against: the federation's pinned root and the newest revocation list."""

from dataclasses import dataclass
from datetime import datetime

from fedseal_crypto.certificates import Member, Revocations, TrustRoot
from fedseal_crypto.dsse import SignedDocument, signers


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a party needs to verify a signed document.

    Attributes:
        root: the federation's root certificate.
        revocations: a verified list that is not stale.
    """

    root: TrustRoot
    revocations: Revocations

    def signers(self, document: SignedDocument, *, payload_type: str, now: datetime) -> tuple[Member, ...]:
        """Who signed, every signature verified.

        Raises:
            PeerError: a signature, certificate or the payload type is wrong.
        """
        return signers(document, self.root, payload_type=payload_type, now=now, revocations=self.revocations)
