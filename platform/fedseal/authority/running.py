"""The loop of ``fedseal federation serve``: fresh certificates, a server, and an orderly end.

SIGTERM ends it with the calls in progress answered; Ctrl-C does the same and leaves by ``KeyboardInterrupt``.
"""

import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

from fedseal import logs
from fedseal.authority.office import Office
from fedseal.authority.service import start_server

GRACE_SECONDS = 5.0  # an enrolment takes milliseconds


def serve_until_stopped(office: Office, *, ready: Callable[[str], None]) -> None:
    """Serve enrolments until a signal arrives; only from the main thread.

    Args:
        office: Unlocked.
        ready: Told one line once the service listens.

    Raises:
        SetupError: The port is in use or may not be opened.
    """
    logs.configure()
    office.renew_own_certificates(now=datetime.now(UTC))
    server, port = start_server(office, office.tls(), listen=office.config.listen)
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopped.set()

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        host = office.config.listen.rpartition(":")[0]
        ready(f"Enrolment service of {office.federation} listens on {host}:{port}; stop it with Ctrl-C.")
        while not stopped.wait(timeout=0.5):
            pass  # wakes up regularly so that Ctrl-C is noticed at once
    finally:
        signal.signal(signal.SIGTERM, previous)
        server.stop(GRACE_SECONDS).wait()
