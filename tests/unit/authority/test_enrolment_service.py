"""The enrolment service itself, on loopback with real TLS; and one sentence for each way in which it fails."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from fedseal.authority import applicant, client
from fedseal.authority.diagnosis import require_reachable, split_address
from fedseal.authority.errors import AuthorityUnreachable, AuthorityUntrusted
from fedseal.authority.invitations import Invitation
from fedseal.authority.names import service_name
from fedseal.authority.service import start_server
from fedseal.errors import SetupError
from fedseal.folders import PartyFolder
from fedseal.wire import limits  # noqa: F401 - must come before grpc
from fedseal.wire._generated import enrolment_pb2 as messages
from fedseal.wire._generated import enrolment_pb2_grpc as services
from fedseal.wire.status import CallRefused
from fedseal_crypto.identity import PartyKind

if TYPE_CHECKING:
    from tests.unit.authority.conftest import Federation

Serve = Callable[..., str]


@pytest.fixture
def serve(now: datetime) -> Iterator[Serve]:
    """Starts enrolment services and returns their addresses."""
    servers: list[grpc.Server] = []

    def served(federation: "Federation", *, clock: Callable[[], datetime] | None = None) -> str:
        server, port = start_server(
            federation.office, federation.office.tls(), listen="127.0.0.1:0", clock=clock or (lambda: now)
        )
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield served
    for server in servers:
        server.stop(None).wait()


def _at(invitation: Invitation, address: str) -> Invitation:
    """The invitation as if the authority had always had this address; its digest stays the recorded one."""
    return invitation.model_copy(update={"authority": address})


def _enrol(federation: "Federation", invitation: Invitation, address: str, folder: Path) -> PartyFolder:
    pending = applicant.begin(invitation, folder, passphrase=None, now=federation.now, entropy=os.urandom)
    return applicant.enrol(
        pending, folder, exchange=lambda sent: client.exchange(_at(invitation, address), sent), now=federation.now
    )


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_node_enrols_over_the_network(federation: "Federation", serve: Serve, tmp_path: Path) -> None:
    folder = _enrol(federation, federation.invite(), serve(federation), tmp_path / "node")
    assert folder.verify(federation.now).label == "node/cleveland"


def test_a_lost_answer_is_fetched_again(federation: "Federation", serve: Serve, tmp_path: Path) -> None:
    invitation, folder, address = federation.invite(), tmp_path / "node", serve(federation)
    pending = applicant.begin(invitation, folder, passphrase=None, now=federation.now, entropy=os.urandom)
    client.exchange(_at(invitation, address), pending.application)  # the answer is thrown away
    assert _enrol(federation, invitation, address, folder).verify(federation.now).label == "node/cleveland"


def test_a_used_token_is_refused_with_the_authoritys_sentence(
    federation: "Federation", serve: Serve, tmp_path: Path
) -> None:
    invitation, address = federation.invite(), serve(federation)
    _enrol(federation, invitation, address, tmp_path / "node")
    with pytest.raises(CallRefused, match="was already used"):
        _enrol(federation, invitation, address, tmp_path / "thief")
    assert not [item for item in tmp_path.iterdir() if "thief" in item.name]


def test_clocks_that_differ_are_named(federation: "Federation", serve: Serve, tmp_path: Path) -> None:
    address = serve(federation, clock=lambda: federation.later(minutes=47))
    with pytest.raises(CallRefused, match=r"the two clocks differ by 47 minutes .* correct the wrong one"):
        _enrol(federation, federation.invite(), address, tmp_path / "node")
    assert federation.office.invitations(now=federation.now)[0].state == "open"


def test_an_unreachable_authority_is_named_and_nothing_stays(federation: "Federation", tmp_path: Path) -> None:
    address = f"127.0.0.1:{_closed_port()}"
    with pytest.raises(AuthorityUnreachable, match=rf"{address} cannot be reached \(Connection refused\)"):
        _enrol(federation, federation.invite(), address, tmp_path / "node")
    assert [item.name for item in tmp_path.iterdir()] == ["authority"]


def test_an_unknown_host_is_named(federation: "Federation", tmp_path: Path) -> None:
    with pytest.raises(AuthorityUnreachable, match=r"nowhere\.invalid:7400 cannot be reached"):
        _enrol(federation, federation.invite(), "nowhere.invalid:7400", tmp_path / "node")


def test_an_invitation_without_an_address_points_to_the_offline_way(federation: "Federation", tmp_path: Path) -> None:
    invitation = federation.invite().model_copy(update={"authority": None})
    pending = applicant.begin(invitation, tmp_path / "node", passphrase=None, now=federation.now, entropy=os.urandom)
    with pytest.raises(SetupError, match="--offline"):
        client.exchange(invitation, pending.application)


def test_another_federations_authority_at_the_address_is_named(
    federation: "Federation", foreign: "Federation", serve: Serve, tmp_path: Path
) -> None:
    with pytest.raises(AuthorityUntrusted, match=r"does not belong to the federation heart of the invitation"):
        _enrol(federation, federation.invite(), serve(foreign), tmp_path / "node")


def test_grpc_itself_refuses_a_foreign_root_and_a_foreign_party(
    federation: "Federation", foreign: "Federation", serve: Serve
) -> None:
    address = serve(foreign)
    cases = (
        (federation.office.home.root_pem, service_name("heart", PartyKind.AUTHORITY, "authority")),
        (foreign.office.home.root_pem, service_name("heart", PartyKind.COORDINATOR, "coordinator")),
    )
    for root, expected in cases:
        credentials = grpc.ssl_channel_credentials(root_certificates=root)
        options = [("grpc.ssl_target_name_override", expected)]
        with grpc.secure_channel(address, credentials, options=options) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                services.EnrolmentStub(channel).FetchRevocations(messages.RevocationsCall(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_what_is_no_tls_service_is_named(federation: "Federation", tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(AuthorityUntrusted, match="is not an enrolment service"):
            _enrol(federation, federation.invite(), address, tmp_path / "node")
        thread.join()


@pytest.mark.parametrize("days", [-2, 500])
def test_a_wrong_clock_is_named_before_grpc_hides_it(federation: "Federation", serve: Serve, days: int) -> None:
    root = federation.office.home.folder.trust_root()
    moment = federation.now + timedelta(days=days)
    with pytest.raises(AuthorityUntrusted, match=r"this machine's clock says .*; correct the clock"):
        require_reachable(serve(federation), root, now=moment)


def test_tls_1_2_is_shut_out(federation: "Federation", serve: Serve) -> None:
    host, port = split_address(serve(federation))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, port), timeout=5) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, port), timeout=5) as plain, context.wrap_socket(plain) as secure:
        assert secure.version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"protocol_version": 2}, grpc.StatusCode.INVALID_ARGUMENT, "update the older one"),
        ({"token": b"short"}, grpc.StatusCode.INVALID_ARGUMENT, "a token has 32 bytes, not 5"),
        ({"tls_request_pem": b"x" * 20_000}, grpc.StatusCode.INVALID_ARGUMENT, "larger than 16384 bytes"),
        ({"tls_request_pem": b"\xff"}, grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        ({"invitation_digest": "f" * 70}, grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        ({"caller_time_ms": 1 << 62}, grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        ({"tls_request_pem": b"x" * 200_000}, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)
def test_malformed_calls_are_refused(
    federation: "Federation", serve: Serve, change: dict[str, object], code: grpc.StatusCode, sentence: str
) -> None:
    fields: dict[str, object] = {
        "protocol_version": 1,
        "token": os.urandom(32),
        "invitation_digest": "0" * 64,
        "tls_request_pem": b"nonsense",
        "identity_request_pem": b"nonsense",
        "caller_time_ms": round(federation.now.timestamp() * 1000),
    }
    credentials = grpc.ssl_channel_credentials(root_certificates=federation.office.home.root_pem)
    options = [("grpc.ssl_target_name_override", service_name("heart", PartyKind.AUTHORITY, "authority"))]
    call = messages.EnrolmentCall(**{**fields, **change})  # type: ignore[arg-type]  # wrong on purpose
    with (
        grpc.secure_channel(serve(federation), credentials, options=options) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        services.EnrolmentStub(channel).Enrol(call, timeout=5)
    assert caught.value.code() is code
    assert sentence in str(caught.value.details())


def test_the_revocation_list_is_public(federation: "Federation", serve: Serve) -> None:
    root = federation.office.home.folder.trust_root()
    pem = client.fetch_revocations(serve(federation), root)
    assert root.load_revocations(pem, now=federation.now).number == 1


def test_a_port_in_use_is_named(federation: "Federation", serve: Serve) -> None:
    address = serve(federation)
    with pytest.raises(SetupError, match=f"cannot listen on {address}: the port is in use"):
        start_server(federation.office, federation.office.tls(), listen=address)


@pytest.mark.parametrize("address", ["nowhere", "host:", ":7400", "host:0", "host:70000", "host:http"])
def test_malformed_addresses_are_named(address: str) -> None:
    with pytest.raises(SetupError, match="write host:port"):
        split_address(address)
