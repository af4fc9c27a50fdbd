"""What a certificate file says, for ``fedseal certificate show``; saying is not proving, see ``verify``."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from fedseal.authority.errors import CertificateUnreadable
from fedseal_crypto.certificates import PartyAddress, Revocations, TrustRoot
from fedseal_crypto.certificates.addresses import parse_addresses
from fedseal_crypto.certificates.revocations import parse_revocations
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.errors import PeerError
from fedseal_crypto.identity import PartyKind, PublicIdentity, PublicKeyInvalid, Role
from fedseal_crypto.notes import NoteKind, NoteVerifier, log_origin

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The fields of a certificate that people ask for; none is verified."""

    addresses: tuple[str, ...]
    party: str  # node/cleveland; empty if the addresses name nobody
    roles: tuple[str, ...]  # of a person
    log_key: str  # verifier key of the party's audit log, from an identity certificate; else empty
    witness_key: str  # verifier key of its cosignatures on other logs; likewise
    hosts: tuple[str, ...]
    organisation: str
    use: str  # tls, identity, root
    serial: int
    fingerprint: Digest
    not_before: datetime
    not_after: datetime


def describe(pem: bytes, *, filename: str) -> Description:
    """Read a certificate without believing it.

    Raises:
        CertificateUnreadable: It is no certificate in PEM.
    """
    certificate = _parse(pem, filename)
    names = _alternative_names(certificate)
    organisation = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    address, roles = _read_addresses(uris)
    log, witness = _note_keys(certificate, address)
    return Description(
        addresses=tuple(uris),
        party="" if address is None else address.label,
        roles=tuple(sorted(role.value for role in roles)),
        log_key=log,
        witness_key=witness,
        hosts=tuple(hosts),
        organisation=str(organisation[0].value) if organisation else "",
        use=_use(certificate),
        serial=certificate.serial_number,
        fingerprint=sha256_hex(certificate.public_bytes(serialization.Encoding.DER)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _read_addresses(uris: list[str]) -> tuple[PartyAddress | None, frozenset[Role]]:
    try:
        return parse_addresses(uris)
    except PeerError:
        return None, frozenset()


def _note_keys(certificate: x509.Certificate, address: PartyAddress | None) -> tuple[str, str]:
    """Verifier keys of the party's own log and of its cosignatures; people sign no log."""
    key = certificate.public_key()
    if address is None or not isinstance(key, Ed25519PublicKey) or address.kind is PartyKind.PERSON:
        return "", ""
    try:
        public = PublicIdentity(key.public_bytes_raw())
    except PublicKeyInvalid:
        return "", ""
    name = log_origin(address.federation, address.name)
    kinds = (NoteKind.ED25519, NoteKind.COSIGNATURE)
    log, witness = (NoteVerifier(name=name, public=public, kind=kind).vkey for kind in kinds)
    return log, witness


def verify(pem: bytes, *, root_pem: bytes, revocations_pem: bytes, now: datetime) -> None:
    """Check a certificate against a root and a revocation list.

    Raises:
        CryptoError: It does not hold; the sentence says why.
    """
    root = TrustRoot(root_pem, _root_address(root_pem).federation)
    revocations = root.load_revocations(revocations_pem, now=now)
    if _use(_parse(pem, "the certificate")) == "identity":
        root.verify_identity(pem, now=now, revocations=revocations)
    else:
        root.verify_tls(pem, now=now, revocations=revocations)


def historic_trust(root_pem: bytes, revocations_pem: bytes | None) -> tuple[TrustRoot, Revocations]:
    """A root and a revocation list for judging something that was signed in the past.

    The list may be out of date by now: it answers for the time of the signature. Without one, nothing counts as
    revoked, and the caller says so.

    Raises:
        CryptoError: The root is none, or did not sign the list.
    """
    root = TrustRoot(root_pem, _root_address(root_pem).federation)
    if revocations_pem is None:
        return root, Revocations(number=0, serials={}, this_update=_BEGINNING, next_update=_END)
    return root, parse_revocations(revocations_pem, x509.load_pem_x509_certificate(root_pem))


def _root_address(root_pem: bytes) -> PartyAddress:
    names = _alternative_names(_parse(root_pem, "the root"))
    try:
        return parse_addresses(names.get_values_for_type(x509.UniformResourceIdentifier))[0]
    except PeerError as error:
        raise CertificateUnreadable(f"the root is not that of a fedseal federation: {error}") from None


def _parse(pem: bytes, filename: str) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        _ = certificate.extensions
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise CertificateUnreadable(f"{filename} is not a certificate in PEM; give one such as identity.pem.") from None
    return certificate


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _use(certificate: x509.Certificate) -> str:
    if isinstance(certificate.public_key(), Ed25519PublicKey):
        return "identity"
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "tls"
    return "root" if constraints.ca else "tls"
