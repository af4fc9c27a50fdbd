"""The certificates in a real mutual TLS 1.3 handshake, in memory."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal_crypto.identity import PartyKind

if TYPE_CHECKING:
    from tests.unit.crypto.identity.conftest import Enrolled, Federation


@pytest.fixture
def today(hearts: "Federation") -> "Federation":
    """TLS stacks read the machine's own clock, so these certificates begin now."""
    from fedseal_crypto.certificates import create_authority

    hearts.now = datetime.now(UTC)
    hearts.authority = create_authority(hearts.name, now=hearts.now, entropy=hearts.entropy)
    return hearts


def test_parties_of_one_federation_shake_hands(today: "Federation", tmp_path: Path) -> None:
    server = today.enrol(PartyKind.COORDINATOR, "central", hosts=("localhost",))
    client = today.enrol(PartyKind.NODE, "cleveland")
    seen_by_server, seen_by_client = _handshake(
        _context(today, server, tmp_path / "server", server_side=True),
        _context(today, client, tmp_path / "client", server_side=False),
    )
    revocations = today.revocations()
    verify = today.root.verify_tls
    assert verify(seen_by_server, now=today.now, revocations=revocations).label == "node/cleveland"
    assert verify(seen_by_client, now=today.now, revocations=revocations).label == "coordinator/central"


def test_the_server_must_be_certified_for_its_host(today: "Federation", tmp_path: Path) -> None:
    server = today.enrol(PartyKind.COORDINATOR, "central", hosts=("elsewhere.example",))
    client = today.enrol(PartyKind.NODE, "cleveland")
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        _handshake(
            _context(today, server, tmp_path / "server", server_side=True),
            _context(today, client, tmp_path / "client", server_side=False),
        )


def _context(federation: "Federation", party: "Enrolled", folder: Path, *, server_side: bool) -> ssl.SSLContext:
    folder.mkdir()
    (folder / "key.pem").write_bytes(party.tls_key.to_pem(None))
    (folder / "tls.pem").write_bytes(party.certificates.tls_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=federation.authority.certificate_pem.decode())
    context.load_cert_chain(folder / "tls.pem", folder / "key.pem")
    return context


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[bytes, bytes]:
    """Move bytes between two ends until both are done; returns the peers' certificates in PEM."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    right = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        if all([_advance(left), _advance(right)]):
            break
    peers = (right.getpeercert(binary_form=True), left.getpeercert(binary_form=True))
    pems = [ssl.DER_cert_to_PEM_cert(der).encode() for der in peers if der is not None]
    assert right.version() == "TLSv1.3"
    return pems[0], pems[1]


def _advance(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
