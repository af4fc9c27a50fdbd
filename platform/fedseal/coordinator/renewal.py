"""What a running coordinator looks after: its claim on the database, and replaced keys and certificates.

These are taken over in this order: the ledger signs with the new key; an entry says so, after which the next
checkpoint cannot be one that the old key has signed; everybody who is present is shown the new certificate; new
connections are met with it.
"""

import threading
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from fedseal.coordinator.engine import Engine
from fedseal.coordinator.ledger import Ledger
from fedseal.credentials import LOOK_SECONDS, Credentials, CredentialWatch
from fedseal.trust import utc_now
from fedseal.wire.tls import ShownCertificate
from fedseal_crypto.notes import NoteVerifier
from fedseal_governance.claims import ServiceClaim
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


@dataclass(slots=True, kw_only=True)
class Upkeep:
    """What a running coordinator looks after besides its jobs, in a thread of its own."""

    watch: CredentialWatch
    ledger: Ledger
    engine: Engine
    shown: ShownCertificate
    claim: ServiceClaim
    waiting: Credentials | None = None
    """Taken from the folder, but not into the ledger yet."""

    def run(self, stopping: threading.Event, failures: list[BaseException]) -> None:
        """Until the end: keep the claim on the database, and take replaced keys and certificates over."""
        try:
            while not stopping.wait(LOOK_SECONDS):
                self.claim.require()
                self.look()
        except StorageError as error:
            failures.append(error)
            stopping.set()

    def look(self) -> None:
        """Take over what was replaced since the last look."""
        self.waiting = self.watch.newer() or self.waiting
        if self.waiting is None:
            return
        try:
            self.engine.renew(self.waiting, lambda: note_key(self.ledger, now=utc_now()))
        except (StorageError, TimeoutError) as error:
            _log.warning("new certificates not taken over yet", sentence=str(error))
            return
        self.shown.show(self.waiting.tls)
        self.waiting = None
