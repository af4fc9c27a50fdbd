"""Which custodians are present: one open task stream each, and the queue that feeds it."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from fedseal.wire._generated import custody_pb2 as pb
from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import Digest

_END = None
_QUEUE_LIMIT = 10_000
"""Tasks waiting for one custodian; one that lets so many pile up is cut off and must come back."""


@dataclass(slots=True, kw_only=True, eq=False)
class CustodianSession:
    """One open stream of one custodian. Only the engine puts tasks in, only the stream takes them out."""

    member: Member
    identity_pem: bytes
    open_jobs: tuple[Digest, ...] = ()
    closed: bool = False
    outbox: "queue.Queue[pb.CustodianTask | None]" = field(default_factory=lambda: queue.Queue(_QUEUE_LIMIT))

    @property
    def name(self) -> str:
        """The custodian's name in the federation."""
        return str(self.member.name)

    def send(self, task: pb.CustodianTask) -> None:
        """Queue a task; a full queue ends the stream instead of holding up everyone else."""
        try:
            self.outbox.put_nowait(task)
        except queue.Full:
            self.close()

    def close(self) -> None:
        """End the stream; the custodian will connect again."""
        self.closed = True
        while True:
            try:
                self.outbox.put_nowait(_END)
            except queue.Full:
                self.outbox.get_nowait()
            else:
                return

    def tasks(self) -> Iterator[pb.CustodianTask]:
        """Yield tasks until the session is closed."""
        while (item := self.outbox.get()) is not _END:
            yield item


class CustodianRoll:
    """The present custodians by name. Thread-safe; the newest stream of a custodian replaces an older one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._present: dict[str, CustodianSession] = {}

    def enter(self, session: CustodianSession) -> None:
        """Make ``session`` the custodian's current one, and close the one that it replaces."""
        with self._lock:
            previous = self._present.get(session.name)
            self._present[session.name] = session
        if previous is not None:
            previous.close()

    def leave(self, session: CustodianSession) -> None:
        """Forget ``session``, unless a newer stream has taken its place."""
        with self._lock:
            if self._present.get(session.name) is session:
                del self._present[session.name]

    def get(self, name: str) -> CustodianSession | None:
        """The custodian's current session, if it is present."""
        with self._lock:
            return self._present.get(name)

    def all(self) -> tuple[CustodianSession, ...]:
        """Every present session, by name."""
        with self._lock:
            return tuple(self._present[name] for name in sorted(self._present))

    def close_all(self) -> None:
        """End every stream, at shutdown."""
        for session in self.all():
            session.close()
