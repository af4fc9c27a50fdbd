"""The node as a witness of the coordinator's audit log: checks that it only ever grew, then cosigns.

A fork or a rewrite raises the alarm: the node notes it in its own log and takes part in nothing more until its
operator has looked. A coordinator may change its key while it runs: a checkpoint with an unknown signature therefore
first makes the node ask for the coordinator's certificate again, and raises the alarm if that does not explain it.
What it cosigned it notes too, together with the state of its own log, and hands the coordinator a commitment to that
state (``fedseal_governance.audit.links``).
"""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog
from sqlalchemy.orm import Session

from fedseal.errors import RemoteError
from fedseal.trust import Clock
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.notes import NoteUnsigned, NoteVerifier
from fedseal_governance.audit import AuditLog, CheckpointWrong, ForkDetected, RolledBack
from fedseal_governance.audit import Witness as LogWitness
from fedseal_governance.audit.links import COSIGNED, SALT_BYTES, link_now
from fedseal_governance.database import Database
from fedseal_governance.errors import TamperError

_log = structlog.get_logger(__name__)

_DOUBTS = 2
"""How often in a row an unknown signature may be a matter of keys; more is no rotation but an evasion."""


class CheckpointSource(Protocol):
    """Where checkpoints come from; ``CoordinatorConnection`` is the real one."""

    def fetch_checkpoint(self, known_size: int) -> pb.CheckpointReply:
        """The newest checkpoint and its consistency proof from ``known_size``."""
        ...

    def cosign(self, cosignature: pb.Cosignature) -> None:
        """Hand over a cosignature."""
        ...

    def attend_again(self) -> None:
        """Ask to be welcomed again, with the certificate that the coordinator has now."""
        ...


class Witness:
    """Watches one log."""

    def __init__(
        self,
        database: Database,
        source: CheckpointSource,
        *,
        name: str,
        key: IdentityKey,
        clock: Clock,
        alarm: Callable[[TamperError], None],
    ) -> None:
        self._database = database
        self._source = source
        self._log: NoteVerifier | None = None
        self._clock = clock
        self._alarm = alarm
        self._name = name
        self._witness = LogWitness(name, key)
        self._own = AuditLog(name)
        self._doubts = 0

    def renew(self, key: IdentityKey) -> None:
        """Cosign with another key of this node from now on; what was seen before stays known."""
        self._witness = LogWitness(self._name, key)

    def watch(self, log: NoteVerifier) -> None:
        """Set the log to be watched: name and key from the coordinator's certificate."""
        self._log = log
        if self._doubts:
            self.look()

    def look(self) -> None:
        """Fetch the newest checkpoint, check it against the last one seen, remember it, cosign it."""
        log = self._log
        if log is None:
            return
        seen = self._database.read(lambda session: self._witness.last_seen(session, log.name))
        known = 0 if seen is None else seen.checkpoint.size
        try:
            reply = self._source.fetch_checkpoint(known)
        except RemoteError as error:
            _log.info("no checkpoint now", sentence=str(error))
            return
        try:
            note = reply.checkpoint.decode()
        except UnicodeDecodeError:
            self._alarm(CheckpointWrong(f"the checkpoint offered by {log.name} is not text."))
            return

        salt = secrets.token_bytes(SALT_BYTES)

        def work(session: Session) -> tuple[str, bytes]:
            now = self._clock()
            line = self._witness.check_and_cosign(session, note, log, proof=tuple(reply.consistency), now=now)
            return line, self._note_cosigned(session, log, known, salt=salt, now=now)

        try:
            line, link = self._database.run("witness.look", work)
        except (ForkDetected, RolledBack, CheckpointWrong) as error:
            self._doubt(error)
            return
        self._doubts = 0
        try:
            self._source.cosign(pb.Cosignature(checkpoint=reply.checkpoint, cosignature=line.encode(), log_link=link))
        except RemoteError as error:
            _log.info("cosignature not delivered", sentence=str(error))

    def _doubt(self, error: TamperError) -> None:
        """An unknown signature may be that of a new key, as often as keys may change; anything else is the alarm."""
        if isinstance(error.__cause__, NoteUnsigned) and self._doubts < _DOUBTS:
            self._doubts += 1
            _log.warning("the coordinator's log is signed with an unknown key; asking for its certificate again")
            self._source.attend_again()
            return
        self._alarm(error)

    def _note_cosigned(self, session: Session, log: NoteVerifier, known: int, *, salt: bytes, now: datetime) -> bytes:
        """Note a checkpoint that is news; returns the commitment to the own log, empty for a known checkpoint."""
        seen = self._witness.last_seen(session, log.name)
        if seen is None or seen.checkpoint.size == known:
            return b""
        link = link_now(session, self._own, salt=salt)
        details = {
            "size": seen.checkpoint.size,
            "root": seen.checkpoint.root.hex(),
            "own_log": link.to_details(),
        }
        actor = f"node/{self._own.origin.rpartition('/')[2]}"
        self._own.append(session, time=now, type=COSIGNED, actor=actor, subject=log.name, details=details)
        return bytes.fromhex(link.commitment)
