"""The enrolment service: the one door of a federation that opens without a certificate.

Rules this module keeps: TLS 1.3 with the authority's own certificate; every field is size-limited before it
is looked at; few calls at a time; each refusal leaves with the sentence of its typed error and a status code
of ``fedseal.wire.status``; the root key is used inside ``Office.issue`` only.
"""

from fedseal.wire import limits  # noqa: I001 - must come before grpc, see fedseal.wire

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
from pydantic import ValidationError

from fedseal.authority.client import PROTOCOL_VERSION
from fedseal.authority.errors import ClockSkewed, RequestRefused
from fedseal.authority.exchange import MAX_REQUEST_BYTES, Answer, Application
from fedseal.authority.invitations import TOKEN_BYTES
from fedseal.authority.office import Office
from fedseal.errors import PortUnavailable
from fedseal.folders import TlsMaterial
from fedseal.wire._generated import enrolment_pb2 as messages
from fedseal.wire._generated import enrolment_pb2_grpc as services
from fedseal.wire.status import guarded
from fedseal_crypto.certificates import CLOCK_SKEW

WORKERS = 4  # enrolments are rare; more would only help somebody who guesses tokens
CONCURRENT_CALLS = 16


class EnrolmentService(services.EnrolmentServicer):
    """Translates calls to the office and back."""

    def __init__(self, office: Office, clock: Callable[[], datetime]) -> None:
        self._office = office
        self._clock = clock

    @guarded
    def Enrol(  # noqa: N802 - the name in the .proto file
        self, request: messages.EnrolmentCall, context: grpc.ServicerContext
    ) -> messages.EnrolmentAnswer:
        """Exchange an application for certificates."""
        del context
        now = self._clock()
        application = _application(request)
        _require_same_clock(application.sent, now)
        return _sent(self._office.issue(application, now=now))

    @guarded
    def Rotate(  # noqa: N802 - the name in the .proto file
        self, request: messages.RotationCall, context: grpc.ServicerContext
    ) -> messages.EnrolmentAnswer:
        """Exchange a rotation request for certificates."""
        del context
        _require_version(request.protocol_version)
        return _sent(self._office.rotate(request.request, now=self._clock()))

    @guarded
    def FetchRevocations(  # noqa: N802 - the name in the .proto file
        self, request: messages.RevocationsCall, context: grpc.ServicerContext
    ) -> messages.RevocationsAnswer:
        """The newest revocation list."""
        del context
        _require_version(request.protocol_version)
        return messages.RevocationsAnswer(revocations_pem=self._office.revocations_pem())


def start_server(
    office: Office,
    tls: TlsMaterial,
    *,
    listen: str,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[grpc.Server, int]:
    """Serve enrolments until the returned server is stopped.

    Returns:
        The started server and the port it listens on.

    Raises:
        PortUnavailable: The port is in use or may not be opened.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_concurrent_streams", CONCURRENT_CALLS),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(
        ThreadPoolExecutor(WORKERS, thread_name_prefix="enrolment"),
        options=options,
        maximum_concurrent_rpcs=CONCURRENT_CALLS,
    )
    service = EnrolmentService(office, clock)
    services.add_EnrolmentServicer_to_server(service, server)
    credentials = grpc.ssl_server_credentials([(tls.private_key_pem.reveal(), tls.certificate_pem)])
    try:
        port = server.add_secure_port(listen, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise PortUnavailable(
            f"cannot listen on {listen}: the port is in use, or this machine has no such address; "
            "stop the other program or change `listen` in authority.yaml."
        )
    server.start()
    return server, port


def _sent(answer: Answer) -> messages.EnrolmentAnswer:
    return messages.EnrolmentAnswer(
        tls_certificate_pem=answer.tls_certificate.encode(),
        identity_certificate_pem=answer.identity_certificate.encode(),
        revocations_pem=answer.revocations.encode(),
    )


def _application(request: messages.EnrolmentCall) -> Application:
    _require_version(request.protocol_version)
    if len(request.token) != TOKEN_BYTES:
        raise RequestRefused(
            f"a token has {TOKEN_BYTES} bytes, not {len(request.token)}; use the invitation as it was sent."
        )
    if max(len(request.tls_request_pem), len(request.identity_request_pem)) > limits.CERTIFICATE_BYTES:
        raise RequestRefused(f"a signing request is larger than {limits.CERTIFICATE_BYTES} bytes; make a new one.")
    try:
        return Application(
            token=request.token.hex(),
            invitation_digest=request.invitation_digest,
            tls_request=request.tls_request_pem.decode("ascii"),
            identity_request=request.identity_request_pem.decode("ascii"),
            sent=datetime.fromtimestamp(request.caller_time_ms / 1000, UTC),
        )
    except (ValidationError, ValueError, OverflowError, OSError):
        raise RequestRefused("the enrolment request is malformed; update fedseal on both sides.") from None


def _require_version(version: int) -> None:
    if version != PROTOCOL_VERSION:
        raise RequestRefused(
            f"the caller speaks enrolment protocol {version} and this authority {PROTOCOL_VERSION}; update "
            "the older one."
        )


def _require_same_clock(theirs: datetime, ours: datetime) -> None:
    difference = abs(theirs - ours)
    if difference > CLOCK_SKEW:
        minutes = difference // timedelta(minutes=1)
        raise ClockSkewed(
            f"the two clocks differ by {minutes} minutes (the caller's says {theirs:%Y-%m-%d %H:%M}, the "
            f"authority's {ours:%Y-%m-%d %H:%M} UTC); correct the wrong one, certificates would not work."
        )
