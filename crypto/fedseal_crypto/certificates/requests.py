"""What a party sends to be enrolled: two certificate requests that prove possession of two keys.

Rules it keeps: the private keys stay where they are; the requests' names are a courtesy to people who read
them, and the issuer ignores them; a request whose self-signature fails is refused.
Reference: RFC 2986 (PKCS#10).
"""

from dataclasses import dataclass
from typing import NoReturn, Self, final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from fedseal_crypto._keyfiles import KeyUnreadable, private_key_from_pem, private_key_to_pem
from fedseal_crypto.certificates.addresses import PartyAddress
from fedseal_crypto.certificates.errors import RequestInvalid
from fedseal_crypto.certificates.profile import MAX_PEM, CertificateUse, suits
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import Entropy, IdentityKey, PublicIdentity, PublicKeyInvalid
from fedseal_crypto.secret import SecretBytes

PartyClaim = PartyAddress
"""Who a party says it is when it asks; the authority decides by the invitation instead."""

# FIPS 186-5, section A.2.1: 64 bits more than the order has make the bias of the reduction negligible.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR_BYTES = 40


@final
class P256Key:
    """An ECDSA P-256 private key, for TLS connections and for the authority's root.

    Make one with `generate` or `from_pem`.
    """

    __slots__ = ("_private",)

    def __init__(self, private: EllipticCurvePrivateKey) -> None:
        if not isinstance(private.curve, SECP256R1):
            raise MisuseError(f"this key is on the curve {private.curve.name}; use P-256.")
        self._private = private

    @classmethod
    def generate(cls, entropy: Entropy) -> Self:
        """Make a new key from 40 bytes of `entropy`."""
        scalar = int.from_bytes(entropy(_SCALAR_BYTES)) % (_P256_ORDER - 1) + 1
        return cls(derive_private_key(scalar, SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: SecretBytes | None) -> Self:
        """Read a key that `to_pem` wrote.

        Raises:
            PassphraseMissing: The key is encrypted and `passphrase` is None.
            WrongPassphrase: The passphrase does not open it.
            KeyUnreadable: It is not an ECDSA P-256 private key.
        """
        private = private_key_from_pem(pem, passphrase, what="the ECDSA key")
        if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
            raise KeyUnreadable("the ECDSA key is not on P-256; check that it is the right file.")
        return cls(private)

    def to_pem(self, passphrase: SecretBytes | None) -> bytes:
        """PKCS#8 PEM; without a passphrase the caller must keep the file at mode 0600.

        Raises:
            MisuseError: The passphrase is empty.
        """
        return private_key_to_pem(self._private, passphrase)

    def signing_key(self) -> EllipticCurvePrivateKey:
        """The library's key object, for building requests and certificates."""
        return self._private

    def public_key(self) -> EllipticCurvePublicKey:
        """The library's public key object."""
        return self._private.public_key()

    def __repr__(self) -> str:
        return "P256Key(<private>)"

    def __reduce__(self) -> NoReturn:
        raise MisuseError("a private key cannot be pickled or copied; write it with to_pem.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRequest:
    """Two PKCS#10 requests in PEM, one per key."""

    tls_csr_pem: bytes
    identity_csr_pem: bytes

    def tls_key(self) -> EllipticCurvePublicKey:
        """The P-256 key whose possession the first request proves.

        Raises:
            RequestInvalid: It does not.
        """
        key = _proven_key(self.tls_csr_pem, CertificateUse.TLS)
        if not isinstance(key, EllipticCurvePublicKey):
            raise _wrong_algorithm(CertificateUse.TLS)
        return key

    def identity_key(self) -> Ed25519PublicKey:
        """The Ed25519 key whose possession the second request proves.

        Raises:
            RequestInvalid: It does not, or the key is a degenerate one, which proves nothing.
        """
        key = _proven_key(self.identity_csr_pem, CertificateUse.IDENTITY)
        if not isinstance(key, Ed25519PublicKey):
            raise _wrong_algorithm(CertificateUse.IDENTITY)
        try:
            PublicIdentity(key.public_bytes_raw())
        except PublicKeyInvalid as error:
            raise RequestInvalid(f"the identity request is refused: {error}") from error
        return key


def new_request(party: PartyClaim, tls_key: P256Key, identity_key: IdentityKey) -> EnrolmentRequest:
    """Ask for certificates of these two keys; called by the party that holds them."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, party.federation),
                x509.NameAttribute(NameOID.COMMON_NAME, party.name),
            ]
        )
    )
    tls = builder.sign(tls_key.signing_key(), hashes.SHA256())
    identity = builder.sign(identity_key.signing_key(), None)
    pem = serialization.Encoding.PEM
    return EnrolmentRequest(tls_csr_pem=tls.public_bytes(pem), identity_csr_pem=identity.public_bytes(pem))


def _proven_key(pem: bytes, use: CertificateUse) -> object:
    if len(pem) > MAX_PEM:
        raise RequestInvalid(f"the {use} request has {len(pem)} bytes; the limit is {MAX_PEM}.")
    try:
        request = x509.load_pem_x509_csr(pem)
        key, proven = request.public_key(), request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestInvalid(f"the {use} request is not a PKCS#10 request in PEM; make a new one.") from error
    if not suits(key, use):
        raise _wrong_algorithm(use)
    if not proven:
        raise RequestInvalid(
            f"the {use} request is not signed by the key it names; make a new one with the private key."
        )
    return key


def _wrong_algorithm(use: CertificateUse) -> RequestInvalid:
    wanted = "Ed25519" if use is CertificateUse.IDENTITY else "ECDSA P-256"
    return RequestInvalid(f"the {use} request names a key of another algorithm; use {wanted}.")
