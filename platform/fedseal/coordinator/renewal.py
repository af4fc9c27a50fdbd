"""How a running coordinator takes replaced keys and certificates over.

In this order: the ledger signs with the new key; an entry says so, after which the next checkpoint cannot be one that
the old key has signed; everybody who is present is shown the new certificate; new connections are met with it.
"""

import threading
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from fedseal.coordinator.engine import Engine
from fedseal.coordinator.ledger import Ledger
from fedseal.credentials import LOOK_SECONDS, Credentials, CredentialWatch
from fedseal.trust import utc_now
from fedseal.wire.tls import ShownCertificate
from fedseal_crypto.notes import NoteVerifier
from fedseal_governance.errors import StorageError

_log = structlog.get_logger(__name__)


def note_key(ledger: Ledger, *, now: datetime) -> None:
    """Note in the log that another key signs it than the one that signed its last checkpoint.

    Raises:
        StorageError: the database cannot be written.
    """
    log, label = ledger.log, ledger.member.label
    key = NoteVerifier(name=log.origin, public=ledger.member.public).vkey

    def work(session: Session) -> None:
        latest = log.latest_checkpoint(session)
        before = key if latest is None else latest.vkeys[0]
        if before != key:
            details = {"before": before, "now": key}
            log.append(session, time=now, type="certificate.renewed", actor=label, subject=label, details=details)

    ledger.database.run("certificate.renew", work)


def watch_certificates(
    watch: CredentialWatch, ledger: Ledger, engine: Engine, shown: ShownCertificate, stopping: threading.Event
) -> None:
    """Until the end: look at the folder, and take over what was replaced."""
    fresh: Credentials | None = None
    while not stopping.wait(LOOK_SECONDS):
        fresh = watch.newer() or fresh
        if fresh is None:
            continue
        try:
            engine.renew(fresh, lambda: note_key(ledger, now=utc_now()))
        except StorageError as error:
            _log.warning("new certificates not taken over yet", sentence=str(error))
            continue
        shown.show(fresh.tls)
        fresh = None
