"""Who acts in a federation: names, kinds, roles, and the Ed25519 keys that sign for them.

Rules it keeps: names are safe in a URI, a file name and a log line; verification raises and never returns a
flag; private keys are made from entropy that the caller passes in and never show themselves.
Reference: RFC 8032 (Ed25519). Certificates that bind a key to a name are in `fedseal_crypto.certificates`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType, NoReturn, Self, final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from fedseal_crypto._keyfiles import (
    KeyUnreadable,
    PassphraseMissing,
    WrongPassphrase,
    private_key_from_pem,
    private_key_to_pem,
)
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.errors import MisuseError, PeerError
from fedseal_crypto.secret import SecretBytes

__all__ = [
    "Entropy",
    "FederationName",
    "IdentityKey",
    "KeyUnreadable",
    "NameInvalid",
    "PartyKind",
    "PartyName",
    "PassphraseMissing",
    "PublicIdentity",
    "PublicKeyInvalid",
    "Role",
    "SignatureInvalid",
    "WrongPassphrase",
    "parse_federation_name",
    "parse_party_name",
]

Entropy = Callable[[int], bytes]
"""Returns that many unpredictable bytes: `os.urandom` in programs, a seeded generator in tests."""

PartyName = NewType("PartyName", str)
"""The name of a party within its federation, as `parse_party_name` accepts it."""

FederationName = NewType("FederationName", str)
"""The name of a federation, as `parse_federation_name` accepts it."""

PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
SEED_SIZE = 32

# RFC 8032, section 5.1: the field, and the y coordinates of the eight points of small order. A signature by such
# a "key" can hold for every message, so that its owner could deny or claim anything.
_FIELD = 2**255 - 19
_Y_OF_ORDER_8 = 55188659117513257062467267217118295137698188065244968500265048394206261417927
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD - 1, _Y_OF_ORDER_8, _FIELD - _Y_OF_ORDER_8})

# Lower case, so that two names never differ in case alone; 63 characters, the limit of a DNS label.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_SHOWN = 80  # characters of a wrong value that a message repeats


class NameInvalid(PeerError):
    """A federation's or party's name cannot be used in addresses and logs."""


class PublicKeyInvalid(PeerError):
    """A public key is none that an honest party could have."""


class SignatureInvalid(PeerError):
    """A signature does not belong to this message and key."""


class PartyKind(StrEnum):
    """What a party is; the second part of its address."""

    AUTHORITY = "authority"
    COORDINATOR = "coordinator"
    NODE = "node"
    CUSTODIAN = "custodian"
    PERSON = "person"


class Role(StrEnum):
    """What a person may do; only persons hold roles."""

    ADMINISTRATOR = "administrator"
    COMPLIANCE_OFFICER = "compliance_officer"
    DATA_SCIENTIST = "data_scientist"
    NODE_OPERATOR = "node_operator"
    AUDITOR = "auditor"


def parse_party_name(text: str) -> PartyName:
    """Check a party's name.

    Raises:
        NameInvalid: It is not 1 to 63 of `a-z 0-9 . _ -`, beginning and ending with a letter or digit.
    """
    return PartyName(_checked_name(text, "party"))


def parse_federation_name(text: str) -> FederationName:
    """Check a federation's name; the same rule as for parties.

    Raises:
        NameInvalid: It is not 1 to 63 of `a-z 0-9 . _ -`, beginning and ending with a letter or digit.
    """
    return FederationName(_checked_name(text, "federation"))


def _checked_name(text: str, what: str) -> str:
    if not isinstance(text, str) or _NAME.fullmatch(text) is None:
        raise NameInvalid(
            f"{str(text)[:_SHOWN]!r} is not a {what} name; use 1 to 63 lower-case letters, digits, dots, "
            "hyphens or underscores, beginning and ending with a letter or digit."
        )
    return text


@final
@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """The public half of an identity.

    Attributes:
        raw: The Ed25519 public key, exactly 32 bytes.

    Raises:
        PublicKeyInvalid: `raw` is not 32 bytes, or a point of small order or in a second spelling.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != PUBLIC_KEY_SIZE:
            size = len(self.raw) if isinstance(self.raw, bytes) else type(self.raw).__name__
            raise PublicKeyInvalid(f"an Ed25519 public key has {PUBLIC_KEY_SIZE} bytes, not {size}.")
        y = int.from_bytes(self.raw, "little") & (2**255 - 1)
        if y >= _FIELD or y in _SMALL_ORDER_Y:
            raise PublicKeyInvalid("this Ed25519 public key is one of the degenerate ones; generate another key.")

    @property
    def key_id(self) -> Digest:
        """SHA-256 of the raw key: how envelopes and logs refer to it."""
        return sha256_hex(self.raw)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check that this identity signed exactly `message`.

        Raises:
            SignatureInvalid: It did not.
        """
        try:
            # libsodium takes half the time that OpenSSL takes, and members check a hundred signatures a round.
            VerifyKey(self.raw).verify(message, signature)
        except (BadSignatureError, ValueError) as error:
            raise SignatureInvalid(
                f"the signature does not match the message and the key {self.key_id[:16]}…; "
                "the message was changed or signed by someone else."
            ) from error


@final
class IdentityKey:
    """An Ed25519 private key that signs protocol messages and documents.

    Make one with `generate`, `from_seed` or `from_pem`.
    """

    __slots__ = ("_private", "_public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = PublicIdentity(private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, entropy: Entropy) -> Self:
        """Make a new key from 32 bytes of `entropy`."""
        return cls.from_seed(SecretBytes(entropy(SEED_SIZE)))

    @classmethod
    def from_seed(cls, seed: SecretBytes) -> Self:
        """The key of a given 32-byte seed (RFC 8032, section 5.1.5).

        Raises:
            MisuseError: The seed has another length.
        """
        if len(seed) != SEED_SIZE:
            raise MisuseError(f"an Ed25519 seed has {SEED_SIZE} bytes, not {len(seed)}.")
        return cls(Ed25519PrivateKey.from_private_bytes(seed.reveal()))

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: SecretBytes | None) -> Self:
        """Read a key that `to_pem` wrote.

        Raises:
            PassphraseMissing: The key is encrypted and `passphrase` is None.
            WrongPassphrase: The passphrase does not open it.
            KeyUnreadable: It is not an Ed25519 private key.
        """
        private = private_key_from_pem(pem, passphrase, what="the identity key")
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyUnreadable("the identity key is not an Ed25519 key; check that it is the right file.")
        return cls(private)

    def to_pem(self, passphrase: SecretBytes | None) -> bytes:
        """PKCS#8 PEM; without a passphrase the caller must keep the file at mode 0600.

        Raises:
            MisuseError: The passphrase is empty.
        """
        return private_key_to_pem(self._private, passphrase)

    @property
    def public(self) -> PublicIdentity:
        """The public half."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`; deterministic."""
        return self._private.sign(message)

    def signing_key(self) -> Ed25519PrivateKey:
        """The library's key object, for building certificate requests."""
        return self._private

    def __repr__(self) -> str:
        return f"IdentityKey(<private>, key_id={self._public.key_id[:16]}…)"

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a private key cannot be pickled or copied; write it with to_pem.")
