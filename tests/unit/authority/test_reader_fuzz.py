"""Certificates, requests, lists, keys, invitations and settings that were damaged or made up: typed errors only.

Each case starts from the real thing and changes a few bytes of its DER or text, because random bytes stop at the first
check. A reader may accept what is left (a flipped bit in a comment, say); it may never fail in a way of its own.
"""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal.authority import applicant, rotating
from fedseal.authority.config import AuthorityConfig, render_config
from fedseal.authority.exchange import parse_answer, parse_application
from fedseal.authority.inspection import describe
from fedseal.authority.invitations import parse_invitation
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.errors import PlatformError
from fedseal.folders import PartyFolder
from fedseal.node.config import NodeSettings
from fedseal_crypto.certificates import EnrolmentRequest, P256Key, TrustRoot
from fedseal_crypto.errors import CryptoError
from fedseal_crypto.identity import FederationName, IdentityKey
from fedseal_crypto.notes import NoteVerifier
from fedseal_crypto.secret import SecretBytes
from fedseal_governance.documents import Document, load_yaml
from fedseal_governance.errors import DocumentError, GovernanceError

if TYPE_CHECKING:
    from tests.unit.authority.conftest import Federation

TYPED = (PlatformError, CryptoError, GovernanceError)
Change = tuple[int, int, bytes]
"""Where, how many bytes to take out, and what to put there."""

_CHANGES = st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=3)
_FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

COORDINATOR_YAML = b"""\
listen: 127.0.0.1:7443
database: postgresql+pg8000://user:password@host/name
offer_seconds: 600
maximum_attempts: 5
"""
NODE_YAML = b"coordinator: hub.example.org:7443\ncoordinator_name: coordinator\ndatabase: sqlite:///x.db\n"


def changed(data: bytes, changes: list[Change]) -> bytes:
    for place, gone, new in changes:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + gone :]
    return data


def changed_inside(pem: bytes, changes: list[Change]) -> bytes:
    """The same PEM file with other DER in it."""
    first, *middle, last = pem.strip().splitlines()
    der = changed(base64.b64decode(b"".join(middle)), changes)
    return b"\n".join([first, base64.b64encode(der), last, b""])


class Papers:
    """Everything that a party's folder and an enrolment are made of, whole."""

    def __init__(self, federation: "Federation", folder: Path) -> None:
        now = federation.now
        self.now = now
        self.invitation = federation.invite(name="basel")
        pending = applicant.begin(
            federation.invite(), folder, passphrase=SecretBytes(b"secret words"), now=now, entropy=os.urandom
        )
        self.application = pending.application
        self.answer = federation.office.issue(pending.application, now=now)
        self.folder = applicant.finish(pending, folder, self.answer, now=now)
        self.root = self.folder.trust_root()
        self.list = self.folder.revocations_pem()
        self.rotation = rotating.begin(
            self.folder, passphrase=SecretBytes(b"secret words"), now=now, entropy=os.urandom
        ).request


@pytest.fixture
def papers(federation: "Federation", tmp_path: Path) -> Papers:
    return Papers(federation, tmp_path / "cleveland")


def typed(read: Callable[[], object]) -> None:
    """Read; anything but one of our errors fails the test."""
    try:
        read()
    except TYPED as error:
        sentence = str(error)
    else:
        return
    assert sentence
    assert sentence.replace("\n", "").isprintable()


@_FEW
@given(changes=_CHANGES, inside=st.booleans())
def test_certificates_and_lists(papers: Papers, changes: list[Change], inside: bool) -> None:
    change = changed_inside if inside else changed
    revocations = papers.root.load_revocations(papers.list, now=papers.now)
    identity, tls = papers.folder.identity_certificate(), papers.folder.tls_certificate()
    other_identity, other_tls = change(identity, changes), change(tls, changes)
    typed(lambda: papers.root.verify_identity(other_identity, now=papers.now, revocations=revocations))
    typed(lambda: papers.root.verify_tls(other_tls, now=papers.now, revocations=revocations))
    typed(lambda: papers.root.load_revocations(change(papers.list, changes), now=papers.now))
    typed(lambda: TrustRoot(change(papers.root.certificate_pem, changes), FederationName("heart")))
    for pem in (other_identity, other_tls):
        typed(lambda pem=pem: describe(pem, filename="x.pem"))  # type: ignore[misc]  # bound per loop


@_FEW
@given(changes=_CHANGES, inside=st.booleans())
def test_requests_and_keys(papers: Papers, federation: "Federation", changes: list[Change], inside: bool) -> None:
    change = changed_inside if inside else changed
    whole = papers.application.signing_requests
    request = EnrolmentRequest(
        tls_csr_pem=change(whole.tls_csr_pem, changes), identity_csr_pem=change(whole.identity_csr_pem, changes)
    )
    typed(request.tls_key)
    typed(request.identity_key)
    secret = SecretBytes(b"secret words")
    keys = papers.folder.path / "keys"
    key = change((keys / "identity.pem").read_bytes(), changes)
    typed(lambda: IdentityKey.from_pem(key, None))
    if not inside:  # a changed number of rounds would ask for hours of key derivation
        typed(lambda: IdentityKey.from_pem(changed((keys / "identity.pem").read_bytes(), changes[:1]), secret))
    typed(lambda: P256Key.from_pem(change((keys / "tls.pem").read_bytes(), changes), None))
    typed(lambda: federation.office.rotate(changed(papers.rotation, changes), now=papers.now))


@_FEW
@given(changes=_CHANGES)
def test_invitations_requests_and_answers(papers: Papers, changes: list[Change]) -> None:
    typed(lambda: parse_invitation(changed(papers.invitation.to_bytes(), changes), filename="x"))
    typed(lambda: parse_application(changed(papers.application.to_bytes(), changes), filename="x"))
    typed(lambda: parse_answer(changed(papers.answer.to_bytes(), changes), filename="x"))


@_FEW
@given(changes=_CHANGES)
def test_a_partys_record(papers: Papers, changes: list[Change]) -> None:
    record = papers.folder.path / "party.json"
    whole = record.read_bytes()
    record.write_bytes(changed(whole, changes))
    try:
        typed(lambda: PartyFolder.load(papers.folder.path).member(papers.now))
    finally:
        record.write_bytes(whole)


@_FEW
@given(
    key=st.text(max_size=120) | st.binary(max_size=60).map(lambda raw: f"x+00000000+{base64.b64encode(raw).decode()}")
)
def test_verifier_keys(key: str) -> None:
    typed(lambda: NoteVerifier.from_vkey(key))


@settings(_FEW, max_examples=150)
@given(changes=_CHANGES, which=st.integers(0, 2))
def test_settings(changes: list[Change], which: int) -> None:
    whole, model = (
        (COORDINATOR_YAML, CoordinatorSettings),
        (NODE_YAML, NodeSettings),
        (render_config(AuthorityConfig()), AuthorityConfig),
    )[which]
    typed(lambda: load_yaml(changed(whole, changes), "settings.yaml", model))


BOMBS = {
    "aliases": b"listen: &a [x, x]\nx: [" + b"*a, " * 100 + b"]\n",
    "nesting": b"listen: " + b"[" * 5_000,
    "mappings": b"".join(b" " * depth + b"a:\n" for depth in range(2_000)),
    "a long line": b"listen: " + b"x" * 300_000,
    "a large file": b"# " + b"x" * 5_000_000,
    "a NUL": b"listen: 127.0.0.1:1\x00\n",
    "a tag": b"listen: !!python/object/apply:os.system [id]\n",
    "a forged line": b'listen: "x\\nError: all is well"\n',
    "twice": b"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n",
    "not UTF-8": b"listen: \xff\xfe\n",
    "a huge number": b"maximum_attempts: " + b"9" * 5_000,
    "a date": b"offer_seconds: 2026-01-01\n",
    "infinity": b"offer_seconds: .inf\n",
    "merge keys": b"<<: {listen: x}\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("model", [CoordinatorSettings, NodeSettings, AuthorityConfig])
def test_settings_that_are_bombs(bomb: str, model: type[Document]) -> None:
    with pytest.raises(DocumentError) as caught:
        load_yaml(BOMBS[bomb], "settings.yaml", model)
    for line in str(caught.value).splitlines():
        assert line.startswith("settings.yaml"), "a value cannot forge a line"
        assert len(line) < 600


LARGE = 20_000_000


@pytest.mark.parametrize("kind", ["CERTIFICATE", "X509 CRL", "CERTIFICATE REQUEST"])
def test_large_files_are_refused_unread(papers: Papers, kind: str) -> None:
    pem = f"-----BEGIN {kind}-----\n".encode() + b"A" * LARGE + f"\n-----END {kind}-----\n".encode()
    revocations = papers.root.load_revocations(papers.list, now=papers.now)
    readers: tuple[Callable[[], object], ...] = (
        lambda: papers.root.verify_tls(pem, now=papers.now, revocations=revocations),
        lambda: papers.root.load_revocations(pem, now=papers.now),
        lambda: EnrolmentRequest(tls_csr_pem=pem, identity_csr_pem=pem).tls_key(),
        lambda: TrustRoot(pem, FederationName("heart")),
    )
    for read in readers:
        with pytest.raises(CryptoError, match="bytes"):
            read()
