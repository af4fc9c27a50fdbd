"""The issuing side: the federation's root and what it signs.

Rules it keeps: names come from the `Subject` that the authority's operator decided on, keys from requests
that prove possession; a certificate never outlives the root. What it leaves out: tokens, storage, and who may
ask.
Reference: RFC 5280, sections 4 and 5.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn, Self, final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from fedseal_crypto._keyfiles import KeyUnreadable
from fedseal_crypto._times import as_utc, shown
from fedseal_crypto.certificates.addresses import PartyAddress
from fedseal_crypto.certificates.errors import SubjectInvalid
from fedseal_crypto.certificates.profile import (
    CLOCK_SKEW,
    EXTENDED_USAGES,
    LEAF_USAGE,
    ROOT_USAGE,
    CertificateUse,
    new_serial,
)
from fedseal_crypto.certificates.requests import EnrolmentRequest, P256Key
from fedseal_crypto.certificates.revocations import RevokedSerial
from fedseal_crypto.certificates.subjects import Subject
from fedseal_crypto.certificates.trust import TrustRoot
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import (
    Entropy,
    FederationName,
    PartyKind,
    PartyName,
    parse_federation_name,
)
from fedseal_crypto.secret import SecretBytes

ROOT_NAME = PartyName("root")
_DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificates:
    """The two certificates of one enrolment, with what a register of them needs.

    Attributes:
        not_after: The end of both; the party must renew before.
    """

    tls_pem: bytes
    identity_pem: bytes
    tls_serial: int
    identity_serial: int
    not_before: datetime
    not_after: datetime


@final
class Authority:
    """A federation's root key with its certificate; make one with `create_authority` or `from_pem`."""

    __slots__ = ("_certificate", "_key", "_root")

    def __init__(self, key: P256Key, certificate: x509.Certificate, federation: FederationName) -> None:
        self._key = key
        self._certificate = certificate
        self._root = TrustRoot(certificate.public_bytes(serialization.Encoding.PEM), federation)
        if certificate.public_key() != key.public_key():
            raise KeyUnreadable("the authority's key does not belong to its certificate; restore both files.")

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: SecretBytes | None, *, federation: FederationName) -> Self:
        """Read what `to_pem` wrote: the private key followed by the certificate.

        Raises:
            PassphraseMissing: The key is encrypted and `passphrase` is None.
            WrongPassphrase: The passphrase does not open it.
            KeyUnreadable: It is not an authority's file.
            CertificateError: The certificate is not a root of `federation`.
        """
        key = P256Key.from_pem(pem, passphrase)
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise KeyUnreadable(
                "the authority's file holds no certificate beside its key; restore it from a backup."
            ) from error
        return cls(key, certificate, federation)

    def to_pem(self, passphrase: SecretBytes | None) -> bytes:
        """The private key (encrypted if a passphrase is given), then the certificate.

        Raises:
            MisuseError: The passphrase is empty.
        """
        return self._key.to_pem(passphrase) + self.certificate_pem

    @property
    def certificate_pem(self) -> bytes:
        """The root certificate, which every party pins."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def trust_root(self) -> TrustRoot:
        """The public side, as every other party has it."""
        return self._root

    def issue(
        self,
        request: EnrolmentRequest,
        subject: Subject,
        *,
        now: datetime,
        lifetime: timedelta,
        entropy: Entropy = os.urandom,
    ) -> IssuedCertificates:
        """Certify the keys of `request` for `subject`, from `now` less the clock skew for `lifetime`.

        Raises:
            RequestInvalid: The request does not prove possession of suitable keys.
            SubjectInvalid: The subject is of another federation.
            MisuseError: `lifetime` is not positive or ends after the root.
        """
        if subject.federation != self._root.federation:
            raise SubjectInvalid(
                f"{subject.address.label} belongs to federation {subject.federation}, and this authority "
                f"certifies {self._root.federation} only."
            )
        start, end = self._window(now, lifetime)
        tls = self._leaf(_Leaf(CertificateUse.TLS, request.tls_key(), subject, start, end), entropy)
        identity = self._leaf(_Leaf(CertificateUse.IDENTITY, request.identity_key(), subject, start, end), entropy)
        return IssuedCertificates(
            tls_pem=tls.public_bytes(serialization.Encoding.PEM),
            identity_pem=identity.public_bytes(serialization.Encoding.PEM),
            tls_serial=tls.serial_number,
            identity_serial=identity.serial_number,
            not_before=start,
            not_after=end,
        )

    def revocation_list(
        self, revoked: Iterable[RevokedSerial], *, number: int, now: datetime, next_update: datetime
    ) -> bytes:
        """Sign the list of everything revoked so far, as PEM; expired certificates stay listed.

        Raises:
            MisuseError: `number` is below 1 or `next_update` is not after `now`.
        """
        if number < 1 or as_utc(next_update) <= as_utc(now):
            raise MisuseError(
                f"revocation list {number} of {shown(now)} due {shown(next_update)} is impossible; "
                "count from 1 and set the next update after now."
            )
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(_seconds(now))
            .next_update(_seconds(next_update))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        for entry in sorted(revoked, key=lambda item: item.serial):
            builder = builder.add_revoked_certificate(_revoked(entry))
        crl = builder.sign(self._key.signing_key(), hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.PEM)

    def _window(self, now: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
        start, end = _seconds(now - CLOCK_SKEW), _seconds(now + lifetime)
        root_end = self._certificate.not_valid_after_utc
        if lifetime <= timedelta(0) or end > root_end:
            raise MisuseError(
                f"a certificate until {shown(end)} is impossible; end it after {shown(now)} and not after "
                f"the authority's own end, {shown(root_end)}."
            )
        return start, end

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def _leaf(self, leaf: "_Leaf", entropy: Entropy) -> x509.Certificate:
        names = leaf.subject.alternative_names(with_hosts=leaf.use is CertificateUse.TLS)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(leaf.subject.organisation, leaf.subject.name))
            .issuer_name(self._certificate.subject)
            .public_key(leaf.key)
            .serial_number(new_serial(entropy))
            .not_valid_before(leaf.start)
            .not_valid_after(leaf.end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(LEAF_USAGE, critical=True)
            .add_extension(x509.ExtendedKeyUsage(EXTENDED_USAGES[leaf.use]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf.key), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
            .sign(self._key.signing_key(), hashes.SHA256())
        )

    def __reduce__(self) -> NoReturn:
        raise MisuseError("an authority cannot be pickled or copied; write it with to_pem.")

    def __repr__(self) -> str:
        return f"Authority(<private>, federation={self._root.federation})"


@dataclass(frozen=True, slots=True)
class _Leaf:
    use: CertificateUse
    key: EllipticCurvePublicKey | Ed25519PublicKey
    subject: Subject
    start: datetime
    end: datetime


def create_authority(
    federation: FederationName, *, now: datetime, years: int = 10, entropy: Entropy = os.urandom
) -> Authority:
    """Make a new root for `federation`, valid from `now` less the clock skew for `years` of 365 days.

    Raises:
        NameInvalid: `federation` is not a federation's name.
    """
    address = PartyAddress(federation=parse_federation_name(federation), kind=PartyKind.AUTHORITY, name=ROOT_NAME)
    key = P256Key.generate(entropy)
    # RFC 5280 wants a distinguished name that no other issuer has: the federation's name is part of it.
    name = _name(f"fedseal federation {federation}"[:64], f"{federation} authority"[:64])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(new_serial(entropy))
        .not_valid_before(_seconds(now - CLOCK_SKEW))
        .not_valid_after(_seconds(now + timedelta(days=years * _DAYS_A_YEAR)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ROOT_USAGE, critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(address.uri)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key.signing_key(), hashes.SHA256())
    )
    return Authority(key, certificate, federation)


def _name(organisation: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _revoked(entry: RevokedSerial) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(entry.serial)
        .revocation_date(_seconds(entry.revoked_at))
        .add_extension(x509.CRLReason(entry.reason.flag), critical=False)
        .build()
    )


def _seconds(moment: datetime) -> datetime:
    """X.509 knows whole seconds only."""
    return as_utc(moment).replace(microsecond=0)
