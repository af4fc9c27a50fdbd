"""Each way in which a certificate or revocation list is refused, with what its sentence must tell."""

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal_crypto.certificates import (
    CLOCK_SKEW,
    CertificateError,
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    ForeignCertificate,
    RevocationListInvalid,
    RevocationListOlder,
    RevocationListStale,
    RevocationReason,
    RevokedSerial,
    TrustRoot,
)
from fedseal_crypto.certificates.profile import DOCUMENT_SIGNING, LEAF_USAGE, ROOT_USAGE
from fedseal_crypto.errors import CryptoError, MisuseError
from fedseal_crypto.identity import FederationName, PartyKind

if TYPE_CHECKING:
    from tests.unit.crypto.identity.conftest import Federation

SECOND = timedelta(seconds=1)


def test_the_two_certificates_cannot_stand_in_for_each_other(hearts: "Federation") -> None:
    node = hearts.enrol()
    with pytest.raises(CertificateInvalid, match="node/cleveland is not for identity use"):
        hearts.root.verify_identity(node.certificates.tls_pem, now=hearts.now, revocations=hearts.revocations())
    with pytest.raises(CertificateInvalid, match="node/cleveland is not for tls use"):
        hearts.root.verify_tls(node.certificates.identity_pem, now=hearts.now, revocations=hearts.revocations())


def test_expiry_is_exact_and_said_with_both_times(hearts: "Federation") -> None:
    node, revocations = hearts.enrol(), hearts.revocations()
    end = node.certificates.not_after
    hearts.root.verify_identity(node.certificates.identity_pem, now=end, revocations=revocations)
    with pytest.raises(CertificateExpired) as caught:
        hearts.root.verify_identity(node.certificates.identity_pem, now=end + SECOND, revocations=revocations)
    assert caught.value.party == "node/cleveland"
    assert str(caught.value) == (
        "the identity certificate of node/cleveland expired at 2026-05-30T08:30:00Z and it is now "
        "2026-05-30T08:30:01Z; renew it with the authority."
    )


def test_a_clock_that_is_behind_is_tolerated_up_to_the_skew(hearts: "Federation") -> None:
    node, revocations = hearts.enrol(), hearts.revocations()
    earliest = node.certificates.not_before - CLOCK_SKEW
    hearts.root.verify_tls(node.certificates.tls_pem, now=earliest, revocations=revocations)
    with pytest.raises(CertificateNotYetValid) as caught:
        hearts.root.verify_tls(node.certificates.tls_pem, now=earliest - SECOND, revocations=revocations)
    assert "valid from 2026-03-01T08:25:00Z, but this machine's clock says 2026-03-01T08:19:59Z" in str(caught.value)


def test_a_certificate_of_another_authority_is_foreign(
    hearts: "Federation", found_federation: "Callable[[str], Federation]"
) -> None:
    lungs = found_federation("lungs")
    node = lungs.enrol()
    with pytest.raises(ForeignCertificate, match="not issued by the authority of federation hearts") as caught:
        hearts.root.verify_identity(node.certificates.identity_pem, now=hearts.now, revocations=hearts.revocations())
    assert caught.value.party == "node/cleveland"


def test_two_authorities_of_one_name_do_not_trust_each_other(hearts: "Federation") -> None:
    from fedseal_crypto.certificates import create_authority

    namesake = create_authority(hearts.name, now=hearts.now)
    node = hearts.enrol()
    crl = namesake.revocation_list([], number=1, now=hearts.now, next_update=hearts.now + SECOND)
    root = namesake.trust_root
    with pytest.raises(ForeignCertificate):
        root.verify_identity(
            node.certificates.identity_pem,
            now=hearts.now,
            revocations=root.load_revocations(crl, now=hearts.now),
        )
    with pytest.raises(RevocationListInvalid, match="not signed by this federation's authority"):
        hearts.root.load_revocations(crl, now=hearts.now)


def test_a_root_is_pinned_to_its_federation(hearts: "Federation") -> None:
    with pytest.raises(ForeignCertificate, match="belongs to federation hearts, not lungs"):
        TrustRoot(hearts.authority.certificate_pem, FederationName("lungs"))
    with pytest.raises(CertificateInvalid, match="not signed by itself"):
        TrustRoot(hearts.enrol().certificates.tls_pem, hearts.name)


def test_revocation_counts_from_its_time_on_with_the_skew_on_the_safe_side(hearts: "Federation") -> None:
    node = hearts.enrol()
    revoked_at = hearts.now + timedelta(days=10)
    hearts.revoked.append(
        RevokedSerial(
            serial=node.certificates.identity_serial,
            revoked_at=revoked_at,
            reason=RevocationReason.KEY_COMPROMISE,
        )
    )
    revocations = hearts.revocations()
    pem = node.certificates.identity_pem
    hearts.root.verify_identity(pem, now=revoked_at - CLOCK_SKEW - SECOND, revocations=revocations)
    for now in (revoked_at - CLOCK_SKEW, revoked_at, revoked_at + timedelta(days=1)):
        with pytest.raises(
            CertificateRevoked,
            match=r"node/cleveland was revoked at 2026-03-11T08:30:00Z \(key_compromise\)",
        ):
            hearts.root.verify_identity(pem, now=now, revocations=revocations)
    # The other certificate of the enrolment has its own serial.
    hearts.root.verify_tls(node.certificates.tls_pem, now=revoked_at, revocations=revocations)


def test_a_stale_list_answers_nothing(hearts: "Federation") -> None:
    node = hearts.enrol()
    crl = hearts.crl(valid_for=timedelta(hours=1))
    revocations = hearts.root.load_revocations(crl, now=hearts.now)
    late = hearts.now + timedelta(hours=1) + SECOND
    with pytest.raises(RevocationListStale, match="was to be renewed by 2026-03-01T09:30:00Z"):
        hearts.root.verify_identity(node.certificates.identity_pem, now=late, revocations=revocations)
    with pytest.raises(RevocationListStale):
        hearts.root.load_revocations(crl, now=late)


def test_an_older_list_than_the_one_seen_is_refused(hearts: "Federation") -> None:
    first, second = hearts.crl(), hearts.crl()
    seen = hearts.root.load_revocations(second, now=hearts.now)
    assert seen.number == 2
    with pytest.raises(RevocationListOlder, match="list 1 is older than list 2"):
        hearts.root.load_revocations(first, now=hearts.now, at_least_number=seen.number)
    assert hearts.root.load_revocations(second, now=hearts.now, at_least_number=2).number == 2


def test_a_list_from_the_future_points_at_the_clock(hearts: "Federation") -> None:
    crl = hearts.crl()
    hearts.root.load_revocations(crl, now=hearts.now - CLOCK_SKEW)
    with pytest.raises(RevocationListInvalid, match="correct the clock"):
        hearts.root.load_revocations(crl, now=hearts.now - CLOCK_SKEW - SECOND)


@pytest.mark.parametrize("pem", [b"", b"junk", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_what_is_no_list_is_refused(pem: bytes, hearts: "Federation") -> None:
    with pytest.raises(RevocationListInvalid, match="cannot be read"):
        hearts.root.load_revocations(pem, now=hearts.now)


def test_a_revocation_list_cannot_be_changed_in_memory(hearts: "Federation") -> None:
    revocations = hearts.revocations()
    with pytest.raises(TypeError):
        revocations.serials[1] = RevokedSerial(serial=1, revoked_at=hearts.now)  # type: ignore[index]
    assert replace(revocations, number=9).number == 9


def test_impossible_lists_are_not_signed(hearts: "Federation") -> None:
    for number, due in ((0, hearts.now + SECOND), (1, hearts.now)):
        with pytest.raises(MisuseError, match="is impossible"):
            hearts.authority.revocation_list([], number=number, now=hearts.now, next_update=due)


@pytest.mark.parametrize(
    "pem", [b"", b"junk", b"x" * 20_000, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_refused(pem: bytes, hearts: "Federation") -> None:
    with pytest.raises(CertificateInvalid):
        hearts.root.verify_identity(pem, now=hearts.now, revocations=hearts.revocations())


def test_two_certificates_in_one_text_are_refused(hearts: "Federation") -> None:
    pem = hearts.enrol().certificates.identity_pem
    with pytest.raises(CertificateInvalid, match="exactly one PEM certificate"):
        hearts.root.verify_identity(pem + pem, now=hearts.now, revocations=hearts.revocations())


@pytest.fixture
def identity_der(hearts: "Federation") -> bytes:
    pem = hearts.enrol(PartyKind.NODE, "cleveland").certificates.identity_pem
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_certificate_is_refused(
    hearts: "Federation", identity_der: bytes, place: float, flip: int
) -> None:
    der = bytearray(identity_der)
    der[int(place * len(der))] ^= flip
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(CryptoError):
        hearts.root.verify_identity(pem, now=hearts.now, revocations=hearts.revocations())


# The rest is what only a careless or hostile authority could sign.


def _sign(federation: "Federation", key: object, extensions: list[tuple[x509.ExtensionType, bool]]) -> bytes:
    root = x509.load_pem_x509_certificate(federation.authority.certificate_pem)
    builder = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cleveland Clinic"),
                    x509.NameAttribute(NameOID.COMMON_NAME, "cleveland"),
                ]
            )
        )
        .issuer_name(root.subject)
        .public_key(key)  # type: ignore[arg-type]  # any public key
        .serial_number(7)
        .not_valid_before(federation.now)
        .not_valid_after(federation.now + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = federation.authority._key.signing_key()
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


def _extensions(
    uris: tuple[str, ...] = ("fedseal://hearts/node/cleveland",),
) -> dict[str, tuple[x509.ExtensionType, bool]]:
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    return {
        "constraints": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (LEAF_USAGE, True),
        "extended": (x509.ExtendedKeyUsage([DOCUMENT_SIGNING]), False),
        "names": (x509.SubjectAlternativeName(names), False),
    }


def _verify(federation: "Federation", pem: bytes) -> None:
    federation.root.verify_identity(pem, now=federation.now, revocations=federation.revocations())


ED25519_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"\x01" * 32).public_key()


def test_the_hand_made_certificate_is_accepted_before_it_is_spoilt(hearts: "Federation") -> None:
    _verify(hearts, _sign(hearts, ED25519_KEY, list(_extensions().values())))


@pytest.mark.parametrize(
    ("part", "instead", "message"),
    [
        ("constraints", (x509.BasicConstraints(ca=True, path_length=0), True), "not an end-party certificate"),
        ("constraints", (x509.BasicConstraints(ca=False, path_length=None), False), "not an end-party"),
        ("usage", (ROOT_USAGE, True), "not an end-party certificate"),
        ("usage", None, "not an end-party certificate"),
        ("extended", None, "not for identity use"),
        (
            "extended",
            (x509.ExtendedKeyUsage([DOCUMENT_SIGNING, ExtendedKeyUsageOID.CODE_SIGNING]), False),
            "not for identity use",
        ),
        ("names", None, "names 0"),
        (
            "strange",
            (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
            "not an end-party certificate",
        ),
    ],
)
def test_the_shape_of_a_leaf_is_exact(
    part: str, instead: tuple[x509.ExtensionType, bool] | None, message: str, hearts: "Federation"
) -> None:
    extensions = _extensions()
    extensions.pop(part, None)
    if instead is not None:
        extensions[part] = instead
    with pytest.raises(CertificateInvalid, match=message):
        _verify(hearts, _sign(hearts, ED25519_KEY, list(extensions.values())))


@pytest.mark.parametrize(
    ("uris", "error", "message"),
    [
        (("fedseal://hearts/node/a", "fedseal://hearts/node/b"), CertificateInvalid, "names 2"),
        (("fedseal://hearts/node/a", "https://hearts/"), CertificateInvalid, "not an address of the form"),
        (("fedseal://hearts/ghost/a",), CertificateInvalid, "not a kind of party"),
        (("fedseal://hearts/node/A",), CertificateInvalid, "not a party name"),
        (("fedseal://hearts/node/a/b",), CertificateInvalid, "not an address of the form"),
        (("fedseal://hearts/role/auditor",), CertificateInvalid, "names 0"),
        (("fedseal://hearts/person/a", "fedseal://hearts/role/king"), CertificateInvalid, "not a role"),
        (("fedseal://hearts/node/a", "fedseal://hearts/role/auditor"), CertificateInvalid, "not a person"),
        (("fedseal://hearts/person/a", "fedseal://lungs/role/auditor"), CertificateInvalid, "another"),
        (
            ("fedseal://hearts/person/a", "fedseal://hearts/role/auditor", "fedseal://hearts/role/auditor"),
            CertificateInvalid,
            "repeat",
        ),
        (("fedseal://lungs/node/a",), ForeignCertificate, "is for federation lungs, and this is hearts"),
    ],
)
def test_the_addresses_are_exact(
    uris: tuple[str, ...], error: type[CertificateError], message: str, hearts: "Federation"
) -> None:
    with pytest.raises(error, match=message):
        _verify(hearts, _sign(hearts, ED25519_KEY, list(_extensions(uris).values())))


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa"])
def test_an_identity_key_is_ed25519(kind: str, hearts: "Federation") -> None:
    keys: dict[str, object] = {
        "p256": ec.derive_private_key(7, ec.SECP256R1()).public_key(),
        "p384": ec.derive_private_key(7, ec.SECP384R1()).public_key(),
        "rsa": rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key(),
    }
    with pytest.raises(CertificateInvalid, match="another algorithm than Ed25519"):
        _verify(hearts, _sign(hearts, keys[kind], list(_extensions().values())))


def test_a_degenerate_identity_key_is_refused_even_when_certified(hearts: "Federation") -> None:
    neutral = ed25519.Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    with pytest.raises(CertificateInvalid, match=r"node/cleveland is refused: .* degenerate"):
        _verify(hearts, _sign(hearts, neutral, list(_extensions().values())))


def test_an_expired_root_trusts_nobody(hearts: "Federation") -> None:
    node, revocations = hearts.enrol(), hearts.revocations(valid_for=timedelta(days=9000))
    later = hearts.now + timedelta(days=3651)
    with pytest.raises(CertificateExpired, match="the authority's own certificate expired"):
        hearts.root.verify_identity(node.certificates.identity_pem, now=later, revocations=revocations)


def test_a_naive_time_is_refused(hearts: "Federation") -> None:
    naive = datetime(2026, 3, 1)  # noqa: DTZ001  the mistake that is tested
    with pytest.raises(MisuseError, match="no time zone"):
        hearts.root.verify_identity(
            hearts.enrol().certificates.identity_pem, now=naive, revocations=hearts.revocations()
        )
