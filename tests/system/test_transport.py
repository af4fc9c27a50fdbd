"""Who may speak to a running coordinator, and in what form; it goes on serving whatever arrives."""

import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from fedseal.authority.names import service_name
from fedseal.folders import PartyFolder, TlsMaterial
from fedseal.wire import limits, tls
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire._generated.coordination_pb2_grpc import AdministrationStub, CoordinationStub
from fedseal_crypto.identity import PartyKind
from tests.system import founding
from tests.system.federation import Federation
from tests.system.founding import PASSPHRASE, SCIENTIST, Enrolment

pytestmark = pytest.mark.system

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@pytest.fixture(scope="module")
def started(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    federation = Federation.copied(template, tmp_path_factory.mktemp("transport") / "federation")
    federation.start_coordinator()
    try:
        yield federation
    finally:
        federation.stop()


@pytest.fixture
def serving(started: Federation) -> Iterator[Federation]:
    """A running coordinator that must still serve after the test."""
    yield started
    with started.client() as client:
        assert list(client.nodes().nodes) == []
    started.assert_no_traceback()


def material(federation: Federation, name: str) -> TlsMaterial:
    return federation.party(name).tls(PASSPHRASE if name == SCIENTIST else None)


@contextmanager
def channel(federation: Federation, files: TlsMaterial) -> Iterator[grpc.Channel]:
    name = service_name("heart", PartyKind.COORDINATOR, "coordinator")
    options = (("grpc.max_send_message_length", -1),)
    opened = tls.open_channel(federation.address, files, service_name=name, options=options)
    try:
        yield opened
    finally:
        opened.close()


def attendance(federation: Federation, name: str = "hungary") -> pb.Attendance:
    certificate = federation.party(name).identity_certificate().decode()
    return pb.Attendance(protocol_version=1, session=secrets.token_bytes(16), identity_certificate=certificate)


def refusal_of_attendance(federation: Federation, files: TlsMaterial, message: pb.Attendance) -> grpc.RpcError:
    with channel(federation, files) as opened, pytest.raises(grpc.RpcError) as caught:
        next(iter(CoordinationStub(opened).Attend(message, timeout=20)))
    return caught.value


def python_client(federation: Federation, *, certificate: bool) -> ssl.SSLContext:
    folder = federation.folder / "hungary"
    context = ssl.create_default_context(cafile=str(folder / "certificates" / "authority.pem"))
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(folder / "certificates" / "tls.pem", folder / "keys" / "tls.pem")
    return context


def talk(federation: Federation, context: ssl.SSLContext) -> bytes:
    """Shake hands, begin HTTP/2, and read what comes back."""
    with (
        socket.create_connection(("127.0.0.1", federation.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.version() == "TLSv1.3"
        wrapped.sendall(HTTP2_PREFACE)
        return wrapped.recv(1024)


def test_tls_1_3_with_a_certificate_is_served(serving: Federation) -> None:
    """The counter-test: what the refused clients below do differently is all that keeps them out."""
    assert talk(serving, python_client(serving, certificate=True))


def test_tls_1_2_is_refused(serving: Federation) -> None:
    context = python_client(serving, certificate=True)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match=r"(?i)handshake|alert|reset|EOF"):
        talk(serving, context)


def test_client_without_a_certificate_is_refused(serving: Federation) -> None:
    context = python_client(serving, certificate=False)
    # In TLS 1.3 the client learns of it when it reads: an alert, or the connection is simply gone.
    try:
        answer = talk(serving, context)
    except OSError:
        answer = b""
    assert answer == b""


def test_plain_bytes_are_refused(serving: Federation) -> None:
    with socket.create_connection(("127.0.0.1", serving.port), timeout=20) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n" + secrets.token_bytes(4096))
        try:
            while plain.recv(4096):
                pass
        except ConnectionResetError:
            pass


def test_certificate_of_another_federation_is_refused(serving: Federation, tmp_path: Path) -> None:
    """A node that trusts our authority but was certified by another."""
    founding.found(tmp_path / "other", federation="heart")
    theirs = PartyFolder.load(tmp_path / "other" / "hungary").tls()
    files = TlsMaterial(
        private_key_pem=theirs.private_key_pem,
        certificate_pem=theirs.certificate_pem,
        root_pem=material(serving, "hungary").root_pem,
    )
    assert refusal_of_attendance(serving, files, attendance(serving)).code() is grpc.StatusCode.UNAVAILABLE


def test_expired_certificate_is_refused(tmp_path: Path) -> None:
    """The node ignores that its certificate has expired; the coordinator does not."""
    old = tmp_path / "old"
    past = founding.utc_now() - timedelta(days=1_000)
    founding.found_authority(old, federation="heart", at=past)
    founding.enrol(old, Enrolment(kind="node", name="hungary", at=past))
    founding.fresh_revocations(old)
    founding.enrol(old, Enrolment(kind="coordinator", name="coordinator", hosts=("localhost",)))
    federation = Federation.of_folder(old)
    try:
        federation.start_coordinator()
        error = refusal_of_attendance(federation, material(federation, "hungary"), attendance(federation))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        founding.enrol(old, Enrolment(kind="node", name="cleveland"))
        with channel(federation, material(federation, "cleveland")) as opened:
            welcome = next(iter(CoordinationStub(opened).Attend(attendance(federation, "cleveland"), timeout=20)))
        assert welcome.WhichOneof("kind") == "welcome"
        federation.assert_no_traceback()
    finally:
        federation.stop()


def test_identity_of_another_node_is_refused(serving: Federation) -> None:
    error = refusal_of_attendance(serving, material(serving, "hungary"), attendance(serving, "cleveland"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == ("the TLS certificate is hungary's and the identity certificate cleveland's; enrol again")


def test_person_may_not_attend(serving: Federation) -> None:
    error = refusal_of_attendance(serving, material(serving, SCIENTIST), attendance(serving))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "only nodes may call this (round.attend); you are the person ada" in str(error.details())


def test_node_may_not_submit(serving: Federation) -> None:
    with channel(serving, material(serving, "hungary")) as opened, pytest.raises(grpc.RpcError) as caught:
        AdministrationStub(opened).SubmitJob(pb.SignedFile(document=b"x"), timeout=20)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "only people may call this (job.submit); you are the node hungary" in str(caught.value.details())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"protocol_version": 2}, "speaks protocol version 2", id="protocol-version"),
        pytest.param({"session": b"short"}, "a session has 16 bytes, hungary sent 5", id="session"),
        pytest.param({"identity_certificate": "no certificate"}, "certificate", id="no-certificate"),
        pytest.param({"identity_certificate": "x" * (1 << 15)}, "certificate has 32768 bytes", id="long-certificate"),
    ],
)
def test_malformed_attendance_is_refused(serving: Federation, change: dict[str, object], words: str) -> None:
    message = attendance(serving)
    for name, value in change.items():
        setattr(message, name, value)
    error = refusal_of_attendance(serving, material(serving, "hungary"), message)
    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
    assert words in str(error.details())


def test_oversized_message_is_refused_before_it_is_read(serving: Federation) -> None:
    address = pb.RoundAddress(job="0" * 64, stage="training")
    step = pb.MaskingStep(address=address, payload=bytes(limits.MESSAGE_BYTES + 1))
    report = pb.NodeReport(session=secrets.token_bytes(16), message=step)
    with channel(serving, material(serving, "hungary")) as opened, pytest.raises(grpc.RpcError) as caught:
        CoordinationStub(opened).Report(report, timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_masking_message_above_its_own_limit_is_refused(serving: Federation) -> None:
    address = pb.RoundAddress(job="0" * 64, stage="training")
    step = pb.MaskingStep(address=address, payload=bytes(limits.MASKING_MESSAGE_BYTES + 1))
    report = pb.NodeReport(session=secrets.token_bytes(16), message=step)
    with channel(serving, material(serving, "hungary")) as opened, pytest.raises(grpc.RpcError) as caught:
        CoordinationStub(opened).Report(report, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"between 1 and {limits.MASKING_MESSAGE_BYTES}" in str(caught.value.details())
