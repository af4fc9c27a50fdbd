"""The loop of ``fedseal federation serve``: fresh certificates, a server, and an orderly end.

SIGTERM and Ctrl-C end it with the calls in progress answered.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from fedseal import logs
from fedseal.authority.office import Office
from fedseal.authority.service import start_server
from fedseal.processes import stop_on_signals, wait_for

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
    stopping = threading.Event()
    stop_on_signals(stopping)
    office.renew_own_certificates(now=datetime.now(UTC))
    server, port = start_server(office, office.tls(), listen=office.config.listen)
    try:
        host = office.config.listen.rpartition(":")[0]
        ready(f"Enrolment service of {office.federation} listens on {host}:{port}; stop it with Ctrl-C.")
        wait_for(stopping)
    finally:
        server.stop(GRACE_SECONDS).wait()
