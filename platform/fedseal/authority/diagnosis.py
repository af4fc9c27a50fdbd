"""Why an authority cannot be used, in one sentence, before gRPC hides it behind a status code.

    1. does anything accept a connection at the address
    2. does it speak TLS 1.3
    3. was its certificate issued by the root of the invitation, to the authority
    4. is it in date by this machine's clock

Rules this module keeps: nothing is sent but a TLS handshake; the handshake here is a diagnosis only, gRPC
performs and verifies its own.
"""

import socket
import ssl
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from fedseal.authority.errors import AuthorityUnreachable, AuthorityUntrusted
from fedseal.errors import SetupError
from fedseal_crypto.certificates import CLOCK_SKEW, TrustRoot

CONNECT_SECONDS = 10.0


def split_address(address: str, *, free_port: bool = False) -> tuple[str, int]:
    """Host and port of ``"host:port"`` or ``"[ipv6]:port"``.

    Args:
        address: What was written.
        free_port: Whether port 0 is meant: any that is free, for a service that listens.

    Raises:
        SetupError: It is neither.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not (0 if free_port else 1) <= int(port) < 65536:
        raise SetupError(f"{address!r} is not an address; write host:port, such as authority.example.org:7400.")
    return host.strip("[]"), int(port)


def require_reachable(address: str, root: TrustRoot, *, now: datetime | None = None) -> None:
    """Steps 1 to 4 of the module's list.

    Args:
        address: ``"host:port"`` of the enrolment service.
        root: The root of the invitation.
        now: For tests; the machine's clock otherwise.

    Raises:
        AuthorityUnreachable: Nothing answers there.
        AuthorityUntrusted: Something else answers there, or the clocks disagree.
    """
    certificate = _presented(address)
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(root.certificate_pem))  # (3)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        raise AuthorityUntrusted(
            f"what answers at {address} ({_issuer(certificate)}) does not belong to the federation "
            f"{root.federation} of the invitation (root {root.fingerprint[:16]}…); check the address with "
            "the authority's administrator."
        ) from None
    moment = now or datetime.now(UTC)  # (4)
    if not certificate.not_valid_before_utc - CLOCK_SKEW <= moment <= certificate.not_valid_after_utc:
        raise AuthorityUntrusted(
            f"the certificate of the authority at {address} is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and this machine's clock says "
            f"{moment:%Y-%m-%d %H:%M}; correct the clock, or have the authority's service restarted."
        )


def _presented(address: str) -> x509.Certificate:
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is verified above, to say what is wrong with it
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain:  # (1)
            try:
                with context.wrap_socket(plain, server_hostname=host) as secure:  # (2)
                    presented = secure.getpeercert(binary_form=True)
            except OSError as error:
                raise AuthorityUntrusted(
                    f"what answers at {address} is not an enrolment service (TLS 1.3 failed: "
                    f"{getattr(error, 'reason', None) or error}); check the address and port."
                ) from None
    except OSError as error:
        raise AuthorityUnreachable(
            f"the authority at {address} cannot be reached ({error.strerror or error}); check the address, "
            "the network and that `fedseal federation serve` runs there."
        ) from None
    if presented is None:
        raise AuthorityUntrusted(f"what answers at {address} presents no certificate; check the address and port.")
    return x509.load_der_x509_certificate(presented)


def _issuer(certificate: x509.Certificate) -> str:
    names = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"issued by {str(names[0].value)[:64]!r}" if names else "of an unnamed issuer"
