"""Documents with attached certificates: what signing proves now, and what it still proves years later."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal_crypto.canonical import JsonInvalid
from fedseal_crypto.certificates import CertificateExpired, CertificateRevoked, ForeignCertificate, RevokedSerial
from fedseal_crypto.dsse import (
    Envelope,
    EnvelopeInvalid,
    Signature,
    SignedDocument,
    SignerInvalid,
    sign_document,
    signers,
)
from fedseal_crypto.errors import CryptoError, MisuseError
from fedseal_crypto.identity import PartyKind, Role, SignatureInvalid

if TYPE_CHECKING:
    from tests.unit.crypto.identity.conftest import Enrolled, Federation

POLICY = "application/vnd.fedseal.policy+yaml"
TEXT = b"policy: heart-risk-research\nversion: 3\n"


@pytest.fixture
def alice(hearts: "Federation") -> "Enrolled":
    return hearts.enrol(PartyKind.PERSON, "alice", roles=frozenset({Role.COMPLIANCE_OFFICER}))


@pytest.fixture
def bob(hearts: "Federation") -> "Enrolled":
    return hearts.enrol(PartyKind.PERSON, "bob", roles=frozenset({Role.COMPLIANCE_OFFICER}))


def _signed(person: "Enrolled") -> SignedDocument:
    return sign_document(POLICY, TEXT, key=person.identity_key, certificate_pem=person.certificates.identity_pem)


def _labels(document: SignedDocument, federation: "Federation") -> list[str]:
    found = signers(
        document,
        federation.root,
        payload_type=POLICY,
        now=federation.now,
        revocations=federation.revocations(),
    )
    return [member.label for member in found]


def test_two_officers_sign_the_exact_bytes(hearts: "Federation", alice: "Enrolled", bob: "Enrolled") -> None:
    document = _signed(alice).countersigned(bob.identity_key, bob.certificates.identity_pem)
    again = SignedDocument.from_json(document.to_json())
    assert again == document
    assert again.payload == TEXT
    assert _labels(again, hearts) == ["person/alice", "person/bob"]


def test_an_auditor_verifies_years_later_at_the_logged_time(hearts: "Federation", alice: "Enrolled") -> None:
    document, signed_at = _signed(alice), hearts.now
    serial = alice.certificates.identity_serial
    hearts.revoked.append(RevokedSerial(serial=serial, revoked_at=signed_at + timedelta(days=30)))
    hearts.now = signed_at + timedelta(days=3 * 365)
    revocations = hearts.root.load_revocations(hearts.crl(), now=hearts.now)
    then = signers(document, hearts.root, payload_type=POLICY, now=signed_at, revocations=revocations)
    assert then[0].roles == {Role.COMPLIANCE_OFFICER}
    with pytest.raises(CertificateRevoked):
        signers(
            document,
            hearts.root,
            payload_type=POLICY,
            now=signed_at + timedelta(days=40),
            revocations=revocations,
        )
    with pytest.raises(CertificateExpired):
        signers(document, hearts.root, payload_type=POLICY, now=hearts.now, revocations=revocations)


def test_one_person_signs_once(hearts: "Federation", alice: "Enrolled") -> None:
    with pytest.raises(MisuseError, match="already signed"):
        _signed(alice).countersigned(alice.identity_key, alice.certificates.identity_pem)
    renewed = hearts.enrol(PartyKind.PERSON, "alice")
    twice = _signed(alice).countersigned(renewed.identity_key, renewed.certificates.identity_pem)
    with pytest.raises(SignerInvalid, match="person/alice signed this document twice"):
        _labels(twice, hearts)


def test_a_certificate_must_be_the_signers_own(hearts: "Federation", alice: "Enrolled", bob: "Enrolled") -> None:
    stolen = replace(_signed(bob), certificates=(alice.certificates.identity_pem,))
    with pytest.raises(SignerInvalid, match="person/alice is not of the key that signed"):
        _labels(stolen, hearts)


def test_a_signature_for_other_bytes_is_refused(hearts: "Federation", alice: "Enrolled") -> None:
    document = _signed(alice)
    changed = replace(document, envelope=replace(document.envelope, payload=TEXT + b" "))
    with pytest.raises(SignatureInvalid):
        _labels(changed, hearts)


def test_a_signed_job_is_not_a_signed_policy(hearts: "Federation", alice: "Enrolled") -> None:
    with pytest.raises(EnvelopeInvalid, match="is wanted"):
        signers(
            _signed(alice),
            hearts.root,
            payload_type="application/vnd.fedseal.job+yaml",
            now=hearts.now,
            revocations=hearts.revocations(),
        )


def test_an_unsigned_document_has_no_signers(hearts: "Federation") -> None:
    empty = SignedDocument(envelope=Envelope(payload_type=POLICY, payload=TEXT, signatures=()), certificates=())
    with pytest.raises(SignerInvalid, match="no signature"):
        _labels(empty, hearts)


def test_signers_of_another_federation_are_foreign(
    hearts: "Federation", found_federation: "Callable[[str], Federation]"
) -> None:
    stranger = found_federation("lungs").enrol(PartyKind.PERSON, "alice")
    with pytest.raises(ForeignCertificate):
        _labels(_signed(stranger), hearts)


def test_each_signature_has_one_certificate(alice: "Enrolled") -> None:
    envelope = _signed(alice).envelope
    with pytest.raises(SignerInvalid, match="1 signatures and 0 certificates"):
        SignedDocument(envelope=envelope, certificates=())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"envelope": {}, "certificates": [], "more": 1}',
        b'{"envelope": [], "certificates": []}',
        b'{"envelope": {"payload": "", "payloadType": "x", "signatures": [{"sig": ""}]}, "certificates": [1]}',
        b'{"envelope": {"payload": "", "payloadType": "x", "signatures": [{"sig": ""}]}, "certificates": ["\xc3\xa4"]}',
    ],
)
def test_malformed_documents_are_typed_errors(text: bytes) -> None:
    with pytest.raises((EnvelopeInvalid, JsonInvalid)):
        SignedDocument.from_json(text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_byte_survives(hearts: "Federation", alice: "Enrolled", data: st.DataObject) -> None:
    text = bytearray(_signed(alice).to_json())
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 127))
    try:
        document = SignedDocument.from_json(bytes(text))
        found = _labels(document, hearts)
    except CryptoError:
        return
    # What still verifies says the same: whitespace in PEM or another base64 alphabet.
    assert (document.payload, document.envelope.payload_type, found) == (TEXT, POLICY, ["person/alice"])


def test_the_limit_on_signatures_holds() -> None:
    many = tuple(Signature(keyid=str(number), sig=b"x") for number in range(65))
    with pytest.raises(EnvelopeInvalid, match="65 signatures"):
        Envelope(payload_type=POLICY, payload=TEXT, signatures=many)
