"""The verifying side: one pinned root, and explicit checks of what claims to descend from it.

What must hold before a certificate is believed, in the order of `TrustRoot._checked_party`:

    (1) it is one PEM certificate of bounded size
    (2) the root named and signed it
    (3) `now` lies within its validity and the root's, with `CLOCK_SKEW` at the beginning only
    (4) it is a leaf with exactly our key usage and the extended usage of its kind, and nothing critical else
    (5) its addresses name exactly one party, of this federation; roles only for persons
    (6) its key is of the algorithm its kind asks for
    (7) the revocation list in hand is not stale and does not list it

Left to the caller: that the party is the one it expected, and which time is `now`: an auditor passes the time
at which a signature was logged.
Reference: RFC 5280, section 6, for a path of length one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from fedseal_crypto._times import as_utc, shown
from fedseal_crypto.certificates.addresses import PartyAddress, parse_addresses
from fedseal_crypto.certificates.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    ForeignCertificate,
)
from fedseal_crypto.certificates.profile import (
    CLOCK_SKEW,
    EXTENDED_USAGES,
    KNOWN_EXTENSIONS,
    LEAF_USAGE,
    MAX_PEM,
    ROOT_USAGE,
    CertificateUse,
    is_p256,
    suits,
)
from fedseal_crypto.certificates.revocations import Revocations, parse_revocations, require_current
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.errors import PeerError
from fedseal_crypto.identity import FederationName, PartyKind, PartyName, PublicIdentity, PublicKeyInvalid, Role

_UNKNOWN = "an unknown party"
_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who holds a verified certificate.

    Attributes:
        roles: Empty unless `kind` is person.
        serial: The certificate's serial number, by which it is revoked.
        not_after: The end of its validity.
        fingerprint: SHA-256 of the certificate in DER.
    """

    federation: FederationName
    kind: PartyKind
    name: PartyName
    organisation: str
    roles: frozenset[Role]
    serial: int
    not_after: datetime
    fingerprint: Digest

    @property
    def label(self) -> str:
        """The short form for people and logs: `node/cleveland`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Party):
    """A party with the key by which it signs, from its identity certificate."""

    public: PublicIdentity


@final
class TrustRoot:
    """A federation's pinned root certificate.

    Args:
        certificate_pem: The root, as the invitation or the configuration gives it.
        federation: The federation that the caller expects.

    Raises:
        CertificateInvalid: It is not a self-signed root of our profile.
        ForeignCertificate: It is the root of another federation.
    """

    __slots__ = ("_root", "federation", "fingerprint")

    def __init__(self, certificate_pem: bytes, federation: FederationName) -> None:
        root = _parse(certificate_pem, "the authority's certificate")
        _require_root(root, federation)
        self._root = root
        self.federation = federation
        self.fingerprint = _fingerprint(root)

    @property
    def certificate_pem(self) -> bytes:
        """The root certificate in PEM."""
        return self._root.public_bytes(serialization.Encoding.PEM)

    def verify_identity(self, identity_pem: bytes, *, now: datetime, revocations: Revocations) -> Member:
        """Check an identity certificate at `now`.

        Raises:
            CertificateError: It is refused; the subclass says why.
            RevocationListStale: `revocations` cannot answer for `now`.
        """
        certificate, party = self._checked_party(identity_pem, CertificateUse.IDENTITY, now, revocations)
        key = certificate.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise _wrong_key(party.label, CertificateUse.IDENTITY)
        try:
            public = PublicIdentity(key.public_bytes_raw())
        except PublicKeyInvalid as error:
            raise CertificateInvalid(
                f"the identity certificate of {party.label} is refused: {error}", party=party.label
            ) from error
        return Member(
            federation=party.federation,
            kind=party.kind,
            name=party.name,
            organisation=party.organisation,
            roles=party.roles,
            serial=party.serial,
            not_after=party.not_after,
            fingerprint=party.fingerprint,
            public=public,
        )

    def verify_tls(self, tls_pem: bytes, *, now: datetime, revocations: Revocations) -> Party:
        """Check a TLS certificate at `now`.

        Raises:
            CertificateError: It is refused; the subclass says why.
            RevocationListStale: `revocations` cannot answer for `now`.
        """
        return self._checked_party(tls_pem, CertificateUse.TLS, now, revocations)[1]

    def load_revocations(self, crl_pem: bytes, *, now: datetime, at_least_number: int = 0) -> Revocations:
        """Read a revocation list of this authority and check that it may be used at `now`.

        Args:
            crl_pem: The list.
            now: The verifier's time.
            at_least_number: The highest number this verifier has seen; 0 if none.

        Raises:
            RevocationListInvalid: It is not this authority's or was issued in the future.
            RevocationListOlder: A newer one was seen.
            RevocationListStale: Its successor is due.
        """
        revocations = parse_revocations(crl_pem, self._root)
        require_current(revocations, now=now, at_least_number=at_least_number)
        return revocations

    def _checked_party(
        self, pem: bytes, use: CertificateUse, now: datetime, revocations: Revocations
    ) -> tuple[x509.Certificate, Party]:
        certificate = _parse(pem, f"this {use} certificate")  # (1)
        claimed = _claimed_label(certificate)
        whose = f"the {use} certificate of {claimed}"
        self._require_issued(certificate, claimed, whose)  # (2)
        _require_valid(self._root, now, "authority/root", "the authority's own certificate")  # (3)
        _require_valid(certificate, now, claimed, whose)
        _require_leaf(certificate, use, claimed)  # (4)
        address, roles = self._addresses(certificate, claimed)  # (5)
        if not suits(certificate.public_key(), use):  # (6)
            raise _wrong_key(claimed, use)
        _require_unrevoked(certificate, revocations, now, claimed)  # (7)
        party = Party(
            federation=address.federation,
            kind=address.kind,
            name=address.name,
            organisation=_organisation(certificate, claimed),
            roles=roles,
            serial=certificate.serial_number,
            not_after=certificate.not_valid_after_utc,
            fingerprint=_fingerprint(certificate),
        )
        return certificate, party

    def _require_issued(self, certificate: x509.Certificate, claimed: str, whose: str) -> None:
        try:
            certificate.verify_directly_issued_by(self._root)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise ForeignCertificate(
                f"{whose} was not issued by the authority of federation {self.federation} (fingerprint "
                f"{self.fingerprint[:16]}…); let that party enrol here, or check which federation it is in.",
                party=claimed,
            ) from error

    def _addresses(self, certificate: x509.Certificate, claimed: str) -> tuple[PartyAddress, frozenset[Role]]:
        try:
            address, roles = parse_addresses(_uris(certificate))
        except PeerError as error:
            raise CertificateInvalid(
                f"the addresses in the certificate of {claimed} are wrong: {error}", party=claimed
            ) from error
        if address.federation != self.federation:
            raise ForeignCertificate(
                f"the certificate of {claimed} is for federation {address.federation}, and this is "
                f"{self.federation}; use the certificate of the right federation.",
                party=claimed,
            )
        return address, roles

    def __repr__(self) -> str:
        return f"TrustRoot(federation={self.federation}, fingerprint={self.fingerprint[:16]}…)"


def _parse(pem: bytes, what: str) -> x509.Certificate:
    if len(pem) > MAX_PEM or pem.count(_BEGIN) != 1:
        raise CertificateInvalid(
            f"{what} is not exactly one PEM certificate of at most {MAX_PEM} bytes.", party=_UNKNOWN
        )
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        # Reading them now means that every later access succeeds.
        _ = certificate.extensions, certificate.public_key(), certificate.subject
    except (
        ValueError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise CertificateInvalid(f"{what} is damaged or of an unknown kind; fetch it again.", party=_UNKNOWN) from error
    return certificate


def _fingerprint(certificate: x509.Certificate) -> Digest:
    return sha256_hex(certificate.public_bytes(serialization.Encoding.DER))


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _claimed_label(certificate: x509.Certificate) -> str:
    """Whose certificate it says it is; for messages only, before anything is verified."""
    try:
        return parse_addresses(_uris(certificate))[0].label
    except PeerError:
        return _UNKNOWN


def _organisation(certificate: x509.Certificate, claimed: str) -> str:
    values = [str(item.value) for item in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if len(values) != 1 or not values[0].isprintable():
        raise CertificateInvalid(f"the certificate of {claimed} names no single organisation.", party=claimed)
    return values[0]


def _require_root(root: x509.Certificate, federation: FederationName) -> None:
    claimed = _claimed_label(root)
    try:
        root.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise CertificateInvalid(
            "the authority's certificate is not signed by itself; use the root from the invitation.",
            party=claimed,
        ) from error
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    shaped = _has_critical(root, constraints) and _has_critical(root, ROOT_USAGE)
    if not (shaped and is_p256(root.public_key())):
        raise CertificateInvalid(
            "the authority's certificate is not a root of the fedseal profile; use the root from the invitation.",
            party=claimed,
        )
    address = _root_address(root)
    if address.federation != federation:
        raise ForeignCertificate(
            f"this root certificate belongs to federation {address.federation}, not {federation}; use the "
            "root from the invitation.",
            party=address.label,
        )


def _root_address(root: x509.Certificate) -> PartyAddress:
    try:
        address, _ = parse_addresses(_uris(root))
    except PeerError as error:
        raise CertificateInvalid(f"the root certificate's address is wrong: {error}", party=_UNKNOWN) from error
    if address.kind is not PartyKind.AUTHORITY:
        raise CertificateInvalid(
            f"the root certificate names {address.label} instead of an authority.", party=address.label
        )
    return address


def _has_critical(certificate: x509.Certificate, wanted: x509.ExtensionType) -> bool:
    return any(item.critical and item.value == wanted for item in certificate.extensions)


def _require_valid(certificate: x509.Certificate, now: datetime, claimed: str, whose: str) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if as_utc(now) + CLOCK_SKEW < start:
        raise CertificateNotYetValid(
            f"{whose} is valid from {shown(start)}, but this machine's clock says {shown(now)}; "
            "correct the clock that is wrong.",
            party=claimed,
        )
    if as_utc(now) > end:
        raise CertificateExpired(
            f"{whose} expired at {shown(end)} and it is now {shown(now)}; renew it with the authority.",
            party=claimed,
        )


def _require_leaf(certificate: x509.Certificate, use: CertificateUse, claimed: str) -> None:
    usages = [set(item.value) for item in certificate.extensions if isinstance(item.value, x509.ExtendedKeyUsage)]
    leaf = _has_critical(certificate, x509.BasicConstraints(ca=False, path_length=None))
    strange = any(item.critical and item.oid not in KNOWN_EXTENSIONS for item in certificate.extensions)
    if strange or not leaf or not _has_critical(certificate, LEAF_USAGE):
        raise CertificateInvalid(
            f"the certificate of {claimed} is not an end-party certificate of the fedseal profile.",
            party=claimed,
        )
    if usages != [set(EXTENDED_USAGES[use])]:
        raise CertificateInvalid(
            f"the certificate of {claimed} is not for {use} use; present its {use} certificate.",
            party=claimed,
        )


def _require_unrevoked(certificate: x509.Certificate, revocations: Revocations, now: datetime, claimed: str) -> None:
    revocations.require_fresh(now)
    entry = revocations.revoked(certificate.serial_number, now)
    if entry is not None:
        raise CertificateRevoked(
            f"the certificate of {claimed} was revoked at {shown(entry.revoked_at)} ({entry.reason}); "
            "it must enrol again with the authority's permission.",
            party=claimed,
        )


def _wrong_key(claimed: str, use: CertificateUse) -> CertificateInvalid:
    wanted = "Ed25519" if use is CertificateUse.IDENTITY else "ECDSA P-256"
    return CertificateInvalid(
        f"the {use} certificate of {claimed} has a key of another algorithm than {wanted}.", party=claimed
    )
