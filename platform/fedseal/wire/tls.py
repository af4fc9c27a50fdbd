"""Channel and server credentials for mutual TLS 1.3, and the certificate of the caller.

Private keys are read from files by the caller and handed in as bytes; nothing here touches a disk.
See ``fedseal.wire`` for how TLS 1.2 is shut out.
"""

from collections.abc import Sequence

import grpc

from fedseal.errors import PeerFault
from fedseal.folders import TlsMaterial
from fedseal.wire.limits import MESSAGE_BYTES

_KEEPALIVE_MILLISECONDS = 10_000
_COMMON_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MILLISECONDS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MILLISECONDS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *_COMMON_OPTIONS,
    ("grpc.so_reuseport", 0),  # a second coordinator on the same port must fail, not share it
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MILLISECONDS // 2),
    ("grpc.http2.max_ping_strikes", 0),
)
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    *_COMMON_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
)


class ShownCertificate:
    """The certificate that a server shows at each new handshake; it may be replaced while the server runs."""

    def __init__(self, files: TlsMaterial) -> None:
        self._configuration = _configuration(files)

    def show(self, files: TlsMaterial) -> None:
        """Show another one from the next handshake on; open connections stay."""
        self._configuration = _configuration(files)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Credentials of a server that demands a certificate of the same federation from every caller."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration, lambda: self._configuration, require_client_authentication=True
        )


def server_credentials(files: TlsMaterial) -> grpc.ServerCredentials:
    """As ``ShownCertificate.server_credentials``, for a certificate that stays."""
    return ShownCertificate(files).server_credentials()


def _configuration(files: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.private_key_pem.reveal(), files.certificate_pem)], root_certificates=files.root_pem
    )


def open_channel(
    address: str, files: TlsMaterial, *, service_name: str, options: Sequence[tuple[str, int | str]] = ()
) -> grpc.Channel:
    """Open a mutual-TLS channel to ``host:port``; connecting happens at the first call.

    ``service_name`` is the name the federation's authority wrote into the server's certificate, so that the
    caller checks whom it talks to whatever the network address is.
    """
    credentials = grpc.ssl_channel_credentials(
        root_certificates=files.root_pem,
        private_key=files.private_key_pem.reveal(),
        certificate_chain=files.certificate_pem,
    )
    return grpc.secure_channel(
        address,
        credentials,
        options=[*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", service_name), *options],
    )


def caller_certificate(context: grpc.ServicerContext) -> bytes:
    """PEM certificate with which the caller authenticated.

    Raises:
        PeerFault: the call came without one.
    """
    values = context.auth_context().get("x509_pem_cert", ())
    for value in values:
        return bytes(value)
    message = "the caller presented no TLS certificate; enrol first, then connect with the folder that enrolment made"
    raise PeerFault(message)
