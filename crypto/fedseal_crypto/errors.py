"""Errors of the cryptographic layer, split by who is to blame.

    CryptoError
    ├── MisuseError          our own caller passed something impossible
    ├── PeerError            another party sent something that fails a check
    └── EnvironmentFault     this machine could not do what was asked

Sub-packages add their own classes below these three. No message ever contains a secret.
"""


class CryptoError(Exception):
    """Root of every error raised by ``fedseal_crypto``."""


class MisuseError(CryptoError):
    """The caller in our own code broke a documented pre-condition."""


class PeerError(CryptoError):
    """A document, message or key that came from outside failed a check."""


class EnvironmentFault(CryptoError):
    """The machine or a library could not perform a correct request."""
