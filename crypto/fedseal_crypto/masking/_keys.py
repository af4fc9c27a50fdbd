"""X25519 key pairs, agreement, and the sealing of shares.

Rules it keeps: private keys come from the caller's entropy; a public key must be the canonical encoding of a
point that is not of low order; one sealing key seals one message, so its nonce is zero.
References: RFC 7748 (X25519, section 6.1 on the all-zero output), RFC 8439 (ChaCha20-Poly1305).
"""

from typing import final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedseal_crypto.errors import PeerError
from fedseal_crypto.secret import SecretBytes

KEY_SIZE = 32
TAG_SIZE = 16
_FIELD = 2**255 - 19
_ZERO_NONCE = bytes(12)
# The u-coordinates below 2^255 - 19 of the points of order 1, 2, 4 and 8 on the curve and its twist:
# https://cr.yp.to/ecdh.html, "How do I validate Curve25519 public keys?". Whoever agrees would notice them by an
# all-zero result; the server, which agrees on nothing, looks them up.
_LOW_ORDER = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _FIELD - 1,
    }
)


class PublicKeyInvalid(PeerError):
    """A public key is of low order or not canonically encoded."""


class SealBroken(PeerError):
    """A sealed message does not open: it was changed, or made for another pair or context."""


@final
class KeyPair:
    """An X25519 pair made from a 32-byte private key."""

    __slots__ = ("_private", "_secret", "public")

    def __init__(self, secret: SecretBytes) -> None:
        self._secret = secret
        self._private = X25519PrivateKey.from_private_bytes(secret.reveal())
        self.public = self._private.public_key().public_bytes_raw()

    @property
    def secret(self) -> SecretBytes:
        """The private key, to be shared out."""
        return self._secret

    def agree(self, public: bytes) -> bytes:
        """The shared secret with the owner of `public`; feed it to `derive_key` and nothing else.

        Raises:
            PublicKeyInvalid: The result is all zero, so the key is of low order.
        """
        return _agree(self._private, public)

    def __repr__(self) -> str:
        return f"KeyPair(<private>, public={self.public.hex()[:16]}…)"


def check_public_key(public: bytes) -> None:
    """Refuse a key that is not canonical or of low order.

    Raises:
        PublicKeyInvalid: It is one of these.
    """
    if not is_canonical(public):
        raise PublicKeyInvalid("an X25519 public key is 32 bytes below 2^255 - 19.")
    if int.from_bytes(public, "little") in _LOW_ORDER:
        raise PublicKeyInvalid("the X25519 public key is of low order; whoever made it knows every result.")


def is_canonical(public: bytes) -> bool:
    """Whether the key is the one spelling of its point.

    RFC 7748 lets a receiver accept others; then a test for duplicates could be passed by.
    """
    return len(public) == KEY_SIZE and int.from_bytes(public, "little") < _FIELD


def seal(key: bytes, plain: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate one message under a key that is used for nothing else."""
    return ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, plain, associated)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Open what `seal` made.

    Raises:
        SealBroken: It was changed, or key or associated data differ.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, sealed, associated)
    except InvalidTag as error:
        raise SealBroken("a sealed message does not open under this pair's key and context.") from error


def _agree(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise PublicKeyInvalid("the X25519 public key is of low order; whoever made it knows every result.") from error
