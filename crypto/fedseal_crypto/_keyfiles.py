"""Private keys as PKCS#8 PEM text, with or without a passphrase.

Rules it keeps: a passphrase is always used through the strongest encryption the library offers; a wrong one,
a missing one and a damaged text are three different sentences. What it leaves out: files. Whoever writes an
unencrypted key to disk must give the file mode 0600.
Reference: RFC 5958 (PKCS#8), RFC 7468 (PEM).
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedseal_crypto.errors import MisuseError, PeerError
from fedseal_crypto.secret import SecretBytes

MAX_KEY_PEM = 16 * 1024
"""Bytes; a P-256 or Ed25519 key file has under 500, so anything larger is another kind of file."""

_ENCRYPTED_MARKER = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PLAIN_MARKER = b"-----BEGIN PRIVATE KEY-----"


class KeyUnreadable(PeerError):
    """A private key text cannot be used."""


class WrongPassphrase(KeyUnreadable):
    """The passphrase does not open this key."""


class PassphraseMissing(KeyUnreadable):
    """The key is protected, and no passphrase was given."""


def private_key_to_pem(key: EllipticCurvePrivateKey | Ed25519PrivateKey, passphrase: SecretBytes | None) -> bytes:
    """Write `key` as PKCS#8 PEM, encrypted if a passphrase is given.

    Raises:
        MisuseError: The passphrase is empty.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        if len(passphrase) == 0:
            raise MisuseError("an empty passphrase protects nothing; give one, or pass None on purpose.")
        encryption = serialization.BestAvailableEncryption(passphrase.reveal())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def private_key_from_pem(pem: bytes, passphrase: SecretBytes | None, *, what: str) -> object:
    """Read a PKCS#8 PEM private key of any algorithm; the caller checks which one it got.

    Args:
        pem: The text; other PEM blocks around the key are ignored.
        passphrase: None for a key that is not encrypted; ignored by such a key.
        what: Whose key, for the message ("the identity key").

    Raises:
        PassphraseMissing: The key is encrypted and `passphrase` is None.
        WrongPassphrase: The passphrase does not open the key.
        KeyUnreadable: It is not a private key.
    """
    encrypted = _ENCRYPTED_MARKER in pem
    if len(pem) > MAX_KEY_PEM or not (encrypted or _PLAIN_MARKER in pem):
        raise KeyUnreadable(f"{what} is not a PEM private key (PKCS#8); check that it is the right file.")
    if encrypted and passphrase is None:
        raise PassphraseMissing(f"{what} is protected by a passphrase; give it.")
    password = passphrase.reveal() if encrypted and passphrase is not None else None
    try:
        return serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise WrongPassphrase(
                f"the passphrase does not open {what}; try again, or restore the file if it is damaged."
            ) from error
        raise KeyUnreadable(f"{what} is damaged and cannot be read; restore it from a backup.") from error
