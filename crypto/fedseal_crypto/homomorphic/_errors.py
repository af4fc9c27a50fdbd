"""Errors of homomorphic sums, by blame; what a peer sent is refused before it touches a sum."""

from fedseal_crypto.errors import EnvironmentFault, MisuseError, PeerError


class CohortUnsupported(MisuseError):
    """No parameter set holds sums of that many contributions."""


class SumTooLarge(MisuseError):
    """More contributions were added than the plan has room for."""


class KeyDestroyed(MisuseError):
    """A secret key was used after it was destroyed."""


class WordsOutOfRange(MisuseError):
    """A word to encrypt does not fit its slot: the vector was not encoded by this plan's layout."""


class ParametersUnknown(PeerError):
    """A name or number is not in the table of parameter sets."""


class ContextRefused(PeerError):
    """What should be a public key, or evaluation keys, is not, or is another one."""


class SecretKeyPresent(ContextRefused):
    """Bytes that should be public hold a secret key."""


class CiphertextRefused(PeerError):
    """What should be an encrypted vector cannot be added."""


class NotACiphertext(CiphertextRefused):
    """The bytes do not begin like an encrypted vector."""


class CiphertextTruncated(CiphertextRefused):
    """The bytes end before the vector does."""


class OtherParameters(CiphertextRefused):
    """The vector was encrypted under another parameter set."""


class OtherKey(CiphertextRefused):
    """The vector was encrypted under another public key."""


class OtherLayout(CiphertextRefused):
    """The vector has another layout."""


class WrongSize(CiphertextRefused):
    """The vector has too many or too few ciphertexts, or bytes follow it."""


class WrongAddends(CiphertextRefused):
    """The vector says it is the sum of another number of contributions."""


class CoefficientRefused(CiphertextRefused):
    """A coefficient is not a residue modulo its prime, or all of a ciphertext's mask is zero."""


class DecryptionInconsistent(PeerError):
    """A decrypted slot holds what so many contributions cannot give."""


class SealRefused(PeerError):
    """A sealed key or share cannot be used."""


class WrongLock(SealRefused):
    """The passphrase or key file does not open it."""


class ShareRefused(SealRefused):
    """A share belongs to another key, or comes twice."""


class SharesInsufficient(SealRefused):
    """Fewer shares than the threshold, or shares that do not give the key."""


class LibraryFault(EnvironmentFault):
    """The encryption library did something that its documentation excludes."""
