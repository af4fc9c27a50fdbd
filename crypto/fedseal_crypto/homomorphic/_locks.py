"""What locks a secret at rest: a passphrase, or a key file.

A passphrase goes through scrypt with N = 2^17, r = 8, p = 1 (128 MB, a few tenths of a second; RFC 7914), a key
file through HKDF-SHA256 (RFC 5869); both with a fresh salt, and the secret is sealed with AES-256-GCM (NIST SP
800-38D) under the result, with everything readable before it as associated data.

    salt 32 | nonce 12 | ciphertext and tag
"""

import os
from dataclasses import dataclass
from typing import final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from fedseal_crypto.errors import MisuseError
from fedseal_crypto.homomorphic._errors import WrongLock
from fedseal_crypto.secret import SecretBytes

KEY_FILE_BYTES = 32
_SALT, _NONCE, _TAG = 32, 12, 16
SEALED_EXTRA = _SALT + _NONCE + _TAG
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 17, 8, 1
_INFO = b"fedseal/homomorphic/v1/key-file"


@final
@dataclass(frozen=True, slots=True)
class Passphrase:
    """A lock that a person knows.

    Raises:
        MisuseError: It is empty.
    """

    secret: SecretBytes

    code = 1

    def __post_init__(self) -> None:
        if not len(self.secret):
            raise MisuseError("an empty passphrase protects nothing; give one.")

    def derive(self, salt: bytes) -> bytes:
        """The 32-byte key for this salt."""
        scrypt = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
        return scrypt.derive(self.secret.reveal())


@final
@dataclass(frozen=True, slots=True)
class KeyFile:
    """A lock that a machine holds: at least 32 random bytes from `new_key_file`.

    Raises:
        MisuseError: It is shorter.
    """

    secret: SecretBytes

    code = 2

    def __post_init__(self) -> None:
        if len(self.secret) < KEY_FILE_BYTES:
            raise MisuseError(f"a key file has at least {KEY_FILE_BYTES} bytes; make one with the command for it.")

    def derive(self, salt: bytes) -> bytes:
        """The 32-byte key for this salt."""
        hkdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=_INFO)
        return hkdf.derive(self.secret.reveal())


Lock = Passphrase | KeyFile


def new_key_file() -> SecretBytes:
    """The content of a new key file."""
    return SecretBytes(os.urandom(KEY_FILE_BYTES))


def lock_up(secret: bytes, *, lock: Lock, associated: bytes) -> bytes:
    """`secret`, sealed under the lock and bound to the readable facts before it."""
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return salt + nonce + AESGCM(lock.derive(salt)).encrypt(nonce, secret, associated)


def unlock(sealed: bytes, *, lock: Lock, associated: bytes, what: str) -> bytes:
    """What `lock_up` sealed.

    Args:
        sealed: At least 60 bytes.
        lock: The one it was sealed with.
        associated: The readable facts.
        what: For the message ("the share of Cleveland").

    Raises:
        WrongLock: The lock does not open it, or the bytes were changed.
    """
    salt, nonce, body = sealed[:_SALT], sealed[_SALT : _SALT + _NONCE], sealed[_SALT + _NONCE :]
    try:
        return AESGCM(lock.derive(salt)).decrypt(nonce, body, associated)
    except (InvalidTag, ValueError) as error:
        way = "passphrase" if isinstance(lock, Passphrase) else "key file"
        raise WrongLock(
            f"the {way} does not open {what}; try again, or restore it from a copy if it is damaged."
        ) from error
