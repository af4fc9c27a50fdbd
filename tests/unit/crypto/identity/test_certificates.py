"""What certificates say when they are right; see `test_certificate_refusals` for when they are not."""

import pickle
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedseal_crypto.certificates import (
    CLOCK_SKEW,
    Authority,
    P256Key,
    PartyAddress,
    PartyClaim,
    RequestInvalid,
    Subject,
    SubjectInvalid,
    create_authority,
    new_request,
    role_uri,
)
from fedseal_crypto.certificates.requests import EnrolmentRequest
from fedseal_crypto.errors import MisuseError
from fedseal_crypto.identity import (
    Entropy,
    FederationName,
    IdentityKey,
    KeyUnreadable,
    NameInvalid,
    PartyKind,
    PartyName,
    Role,
    WrongPassphrase,
)
from fedseal_crypto.secret import SecretBytes

if TYPE_CHECKING:
    from tests.unit.crypto.identity.conftest import Federation

HEARTS = FederationName("hearts")
CLAIM = PartyClaim(federation=HEARTS, kind=PartyKind.NODE, name=PartyName("cleveland"))


def test_the_identity_certificate_binds_key_name_roles_and_organisation(hearts: "Federation") -> None:
    roles = frozenset({Role.COMPLIANCE_OFFICER, Role.AUDITOR})
    alice = hearts.enrol(PartyKind.PERSON, "alice", roles=roles)
    member = hearts.root.verify_identity(
        alice.certificates.identity_pem, now=hearts.now, revocations=hearts.revocations()
    )
    assert (member.federation, member.kind, member.name) == ("hearts", PartyKind.PERSON, "alice")
    assert member.roles == roles
    assert member.organisation == "Cleveland Clinic"
    assert member.public == alice.identity_key.public
    assert member.label == "person/alice"
    assert member.serial == alice.certificates.identity_serial
    assert member.not_after == alice.certificates.not_after == hearts.now + timedelta(days=90)


def test_the_tls_certificate_names_the_same_party_and_its_hosts(hearts: "Federation") -> None:
    server = hearts.enrol(PartyKind.COORDINATOR, "central", hosts=("coordinator.example", "127.0.0.1", "::1"))
    party = hearts.root.verify_tls(server.certificates.tls_pem, now=hearts.now, revocations=hearts.revocations())
    assert party.label == "coordinator/central"
    assert party.serial == server.certificates.tls_serial
    certificate = x509.load_pem_x509_certificate(server.certificates.tls_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["coordinator.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["fedseal://hearts/coordinator/central"]


def test_addresses_are_spelt_as_documented() -> None:
    assert CLAIM.uri == "fedseal://hearts/node/cleveland"
    assert role_uri(HEARTS, Role.DATA_SCIENTIST) == "fedseal://hearts/role/data_scientist"


def test_the_issuer_ignores_the_names_in_the_request(hearts: "Federation", entropy: Entropy) -> None:
    liar = PartyAddress(federation=FederationName("other"), kind=PartyKind.AUTHORITY, name=PartyName("root"))
    request = new_request(liar, P256Key.generate(entropy), IdentityKey.generate(entropy))
    subject = Subject(federation=HEARTS, kind=PartyKind.NODE, name=PartyName("budapest"), organisation="Semmelweis")
    issued = hearts.authority.issue(request, subject, now=hearts.now, lifetime=timedelta(days=1))
    for pem in (issued.tls_pem, issued.identity_pem):
        assert b"other" not in x509.load_pem_x509_certificate(pem).tbs_certificate_bytes


@pytest.mark.parametrize("which", ["tls_csr_pem", "identity_csr_pem"])
def test_a_request_must_prove_possession(which: str, hearts: "Federation", entropy: Entropy) -> None:
    request = new_request(CLAIM, P256Key.generate(entropy), IdentityKey.generate(entropy))
    der = bytearray(x509.load_pem_x509_csr(getattr(request, which)).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    pems = {"tls_csr_pem": request.tls_csr_pem, "identity_csr_pem": request.identity_csr_pem, which: forged}
    with pytest.raises(RequestInvalid, match="not signed by the key it names"):
        _issue(hearts, EnrolmentRequest(**pems))


def test_a_degenerate_key_proves_nothing(hearts: "Federation", entropy: Entropy) -> None:
    """The neutral element as a key: the signature (neutral element, 0) then holds for every message."""
    neutral = (1).to_bytes(32, "little")
    key = IdentityKey.generate(entropy)
    request = new_request(CLAIM, P256Key.generate(entropy), key)
    der = x509.load_pem_x509_csr(request.identity_csr_pem).public_bytes(Encoding.DER)
    forged = x509.load_der_x509_csr(der[:-64].replace(key.public.raw, neutral) + neutral + b"\x00" * 32)
    assert forged.is_signature_valid
    pem = forged.public_bytes(Encoding.PEM)
    with pytest.raises(RequestInvalid, match="degenerate"):
        _issue(hearts, EnrolmentRequest(tls_csr_pem=request.tls_csr_pem, identity_csr_pem=pem))


def test_a_request_needs_the_right_algorithms(hearts: "Federation", entropy: Entropy) -> None:
    request = new_request(CLAIM, P256Key.generate(entropy), IdentityKey.generate(entropy))
    swapped = EnrolmentRequest(tls_csr_pem=request.identity_csr_pem, identity_csr_pem=request.tls_csr_pem)
    with pytest.raises(RequestInvalid, match="use ECDSA P-256"):
        _issue(hearts, swapped)


@pytest.mark.parametrize("pem", [b"", b"junk", b"x" * 20_000, b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_what_is_no_request_is_refused(pem: bytes, hearts: "Federation") -> None:
    with pytest.raises(RequestInvalid):
        _issue(hearts, EnrolmentRequest(tls_csr_pem=pem, identity_csr_pem=pem))


def test_a_certificate_never_outlives_the_authority(hearts: "Federation") -> None:
    with pytest.raises(MisuseError, match="the authority's own end"):
        hearts.enrol(lifetime=timedelta(days=4000))
    with pytest.raises(MisuseError):
        hearts.enrol(lifetime=timedelta(0))


def test_the_authority_certifies_its_own_federation_only(hearts: "Federation", entropy: Entropy) -> None:
    request = new_request(CLAIM, P256Key.generate(entropy), IdentityKey.generate(entropy))
    stranger = Subject(federation=FederationName("lungs"), kind=PartyKind.NODE, name=PartyName("x"), organisation="X")
    with pytest.raises(SubjectInvalid, match="certifies hearts only"):
        hearts.authority.issue(request, stranger, now=hearts.now, lifetime=timedelta(days=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"organisation": ""}, "organisation"),
        ({"organisation": "A\nB"}, "organisation"),
        ({"organisation": "x" * 65}, "organisation"),
        ({"organisation": " padded"}, "organisation"),
        ({"roles": frozenset({Role.AUDITOR})}, "not a person"),
        ({"hosts": ("*.example.com",)}, "neither an IP address nor"),
        ({"hosts": ("Example.com",)}, "neither an IP address nor"),
        ({"hosts": ("a b",)}, "neither an IP address nor"),
        ({"hosts": ("a", "a")}, "repeat"),
        ({"hosts": tuple(f"h{i}" for i in range(33))}, "more than 32"),
    ],
)
def test_impossible_subjects_do_not_exist(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {
        "federation": HEARTS,
        "kind": PartyKind.NODE,
        "name": PartyName("cleveland"),
        "organisation": "Cleveland Clinic",
    }
    with pytest.raises(SubjectInvalid, match=message):
        Subject(**(fields | changes))  # type: ignore[arg-type]  # fields by name, from the table above


def test_a_subject_needs_a_name_that_addresses_can_hold() -> None:
    with pytest.raises(NameInvalid):
        Subject(federation=HEARTS, kind=PartyKind.NODE, name=PartyName("a/b"), organisation="X")


def test_the_authority_is_kept_as_one_file_under_a_passphrase(hearts: "Federation") -> None:
    passphrase = SecretBytes(b"four words are better")
    pem = hearts.authority.to_pem(passphrase)
    again = Authority.from_pem(pem, passphrase, federation=HEARTS)
    assert again.trust_root.fingerprint == hearts.root.fingerprint
    with pytest.raises(WrongPassphrase):
        Authority.from_pem(pem, SecretBytes(b"three words"), federation=HEARTS)
    with pytest.raises(MisuseError):
        pickle.dumps(again)


def test_an_authority_file_must_hold_a_key_and_its_certificate(
    hearts: "Federation", found_federation: "Callable[[str], Federation]"
) -> None:
    key_only = hearts.authority.to_pem(None).partition(b"-----BEGIN CERTIFICATE")[0]
    with pytest.raises(KeyUnreadable, match="no certificate"):
        Authority.from_pem(key_only, None, federation=HEARTS)
    other = found_federation("hearts-two")
    with pytest.raises(KeyUnreadable, match="does not belong"):
        Authority.from_pem(key_only + other.authority.certificate_pem, None, federation=other.name)


def test_validity_begins_one_clock_skew_early(hearts: "Federation") -> None:
    certificate = x509.load_pem_x509_certificate(hearts.enrol().certificates.tls_pem)
    assert certificate.not_valid_before_utc == hearts.now - CLOCK_SKEW


def test_a_naive_time_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(MisuseError, match="no time zone"):
        create_authority(HEARTS, now=datetime(2026, 3, 1))  # noqa: DTZ001  the mistake that is tested


def test_openssl_accepts_the_certificates_in_strict_mode(hearts: "Federation", tmp_path: Path) -> None:
    node = hearts.enrol(hosts=("localhost",))
    files = {
        "root.pem": hearts.authority.certificate_pem,
        "tls.pem": node.certificates.tls_pem,
        "identity.pem": node.certificates.identity_pem,
        "crl.pem": hearts.crl(valid_for=timedelta(days=30)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    program = shutil.which("openssl")
    assert program is not None, "install the openssl program (Debian package openssl) to run this test"
    moment = str(int(hearts.now.timestamp()))
    options = ["-x509_strict", "-crl_check", "-CRLfile", "crl.pem", "-CAfile", "root.pem", "-attime", moment]
    done = subprocess.run(
        [program, "verify", *options, "tls.pem", "identity.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["tls.pem:", "OK", "identity.pem:", "OK"], done.stderr


def _issue(federation: "Federation", request: EnrolmentRequest) -> None:
    subject = Subject(
        federation=HEARTS, kind=PartyKind.NODE, name=PartyName("cleveland"), organisation="Cleveland Clinic"
    )
    federation.authority.issue(request, subject, now=federation.now, lifetime=timedelta(days=1))
