"""Calls the enrolment service of an authority.

The caller has no certificate yet, so only the server is authenticated: against the root that came in the
invitation, and by the authority's service name (see ``fedseal.authority.names``). TLS 1.3 only (see
``fedseal.wire``).
"""

from fedseal.wire import limits  # noqa: I001 - must come before grpc, see fedseal.wire

import grpc

from fedseal.authority.diagnosis import require_reachable
from fedseal.authority.errors import AnswerInvalid, AnswerLost
from fedseal.authority.exchange import MAX_ANSWER_BYTES, Answer, Application
from fedseal.authority.invitations import Invitation
from fedseal.authority.names import AUTHORITY_NAME, service_name
from fedseal.errors import RemoteError, SetupError
from fedseal.wire._generated import enrolment_pb2 as messages
from fedseal.wire._generated import enrolment_pb2_grpc as services
from fedseal.wire.status import Unreachable, from_rpc_error
from fedseal_crypto.certificates import TrustRoot
from fedseal_crypto.identity import PartyKind

PROTOCOL_VERSION = 1
CALL_SECONDS = 30.0  # signing takes milliseconds; the rest is a slow network


def exchange(invitation: Invitation, application: Application) -> Answer:
    """Send an application and return the certificates.

    Raises:
        AuthorityUnreachable, AuthorityUntrusted: Nothing was sent.
        AnswerLost: It may have arrived; the same application can be sent again.
        CallRefused: The authority's own sentence.
        AnswerInvalid: The answer is malformed.
    """
    if invitation.authority is None:
        raise SetupError(
            f"the invitation for {invitation.label} names no enrolment service; run the command with "
            "--offline and carry the request file to the authority."
        )
    root = invitation.trust_root()
    require_reachable(invitation.authority, root)
    call = messages.EnrolmentCall(
        protocol_version=PROTOCOL_VERSION,
        token=bytes.fromhex(application.token),
        invitation_digest=application.invitation_digest,
        tls_request_pem=application.tls_request.encode(),
        identity_request_pem=application.identity_request.encode(),
        caller_time_ms=round(application.sent.timestamp() * 1000),
    )
    with _channel(invitation.authority, root) as channel:
        try:
            answer = _stub(channel).Enrol(call, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise _translated(error, invitation.authority) from None
    return _read(answer, invitation.authority)


def rotate(address: str, root: TrustRoot, request: bytes) -> Answer:
    """Send a rotation request and return the certificates.

    Raises:
        AuthorityUnreachable, AuthorityUntrusted: Nothing was sent.
        AnswerLost: It may have arrived; the same request can be sent again.
        CallRefused: The authority's own sentence.
        AnswerInvalid: The answer is malformed.
    """
    require_reachable(address, root)
    call = messages.RotationCall(protocol_version=PROTOCOL_VERSION, request=request)
    with _channel(address, root) as channel:
        try:
            answer = _stub(channel).Rotate(call, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise _translated(error, address) from None
    return _read(answer, address)


def _read(answer: messages.EnrolmentAnswer, address: str) -> Answer:
    try:
        return Answer(
            tls_certificate=answer.tls_certificate_pem.decode("ascii"),
            identity_certificate=answer.identity_certificate_pem.decode("ascii"),
            revocations=answer.revocations_pem.decode("ascii"),
        )
    except ValueError:  # pydantic's and the codec's errors alike
        raise AnswerInvalid(
            f"the authority at {address} sent a malformed answer; update fedseal on both sides."
        ) from None


def fetch_revocations(address: str, root: TrustRoot) -> bytes:
    """The authority's newest revocation list, unverified.

    Raises:
        AuthorityUnreachable, AuthorityUntrusted, CallRefused: It could not be fetched.
    """
    require_reachable(address, root)
    with _channel(address, root) as channel:
        try:
            call = messages.RevocationsCall(protocol_version=PROTOCOL_VERSION)
            answer = _stub(channel).FetchRevocations(call, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise from_rpc_error(error, f"the authority at {address}") from None
    return bytes(answer.revocations_pem)


def _channel(address: str, root: TrustRoot) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(root_certificates=root.certificate_pem)
    expected = service_name(root.federation, PartyKind.AUTHORITY, AUTHORITY_NAME)
    options = [
        ("grpc.ssl_target_name_override", expected),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES + limits.CHUNK_BYTES),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    return grpc.secure_channel(address, credentials, options=options)


def _stub(channel: grpc.Channel) -> services.EnrolmentStub:
    return services.EnrolmentStub(channel)


def _translated(error: grpc.RpcError, address: str) -> RemoteError:
    translated = from_rpc_error(error, f"the authority at {address}")
    if isinstance(translated, Unreachable):
        return AnswerLost(f"the authority at {address} did not answer; nothing is lost, run the same command again.")
    return translated
