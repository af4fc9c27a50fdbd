"""The exact shape of our certificates, used to write them and to check them.

Rules it keeps: writing and checking share one table, so that they cannot drift apart.
Reference: RFC 5280, section 4; RFC 9336 (id-kp-documentSigning).
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from fedseal_crypto.identity import Entropy

CLOCK_SKEW = timedelta(minutes=5)
"""By how much two machines' clocks may differ. Certificates begin that much before they are issued, so that a
TLS stack, which knows no tolerance, accepts them at once; our own checks of "not yet valid" and of revocation
allow it again. Expiry is never stretched."""

MAX_PEM = 16 * 1024
"""Bytes; our certificates and requests have about 1 KiB, so anything larger is not one of them."""

DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")

_SERIAL_BYTES = 20  # RFC 5280, section 4.1.2.2: at most 20 octets and positive


class CertificateUse(StrEnum):
    """The two certificates of one enrolment."""

    TLS = "tls"
    IDENTITY = "identity"


EXTENDED_USAGES: dict[CertificateUse, tuple[ObjectIdentifier, ...]] = {
    CertificateUse.TLS: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    CertificateUse.IDENTITY: (DOCUMENT_SIGNING,),
}

KNOWN_EXTENSIONS = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)


@dataclass(frozen=True, slots=True)
class Usage:
    """The key-usage bits that occur here; all others are off."""

    digital_signature: bool = False
    key_cert_sign: bool = False
    crl_sign: bool = False

    def extension(self) -> x509.KeyUsage:
        """The extension with exactly these bits."""
        return x509.KeyUsage(
            digital_signature=self.digital_signature,
            key_cert_sign=self.key_cert_sign,
            crl_sign=self.crl_sign,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )


LEAF_USAGE = Usage(digital_signature=True).extension()
ROOT_USAGE = Usage(key_cert_sign=True, crl_sign=True).extension()


def suits(key: object, use: CertificateUse) -> bool:
    """Whether a public key is of the algorithm that `use` asks for."""
    if use is CertificateUse.IDENTITY:
        return isinstance(key, Ed25519PublicKey)
    return is_p256(key)


def is_p256(key: object) -> bool:
    """Whether a public key is ECDSA on P-256."""
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)


def new_serial(entropy: Entropy) -> int:
    """A positive serial number of 159 random bits (RFC 5280, section 4.1.2.2)."""
    return (int.from_bytes(entropy(_SERIAL_BYTES)) >> 1) or 1
