"""Who is present: one open instruction stream per node, and the queue that feeds it.

A node's process chooses a random session at its start. A stream that breaks and comes back with the same
session belongs to the same process, which still has its round secrets; another session means that the node
was restarted and has lost them.
"""

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.certificates import Member
from fedseal_crypto.digests import Digest
from fedseal_crypto.identity import PublicIdentity

_END = None
_QUEUE_LIMIT = 10_000
"""Instructions waiting for one node; a node that lets so many pile up is cut off and must come back."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One open stream of one node. Only the engine puts instructions in, only the stream takes them out."""

    member: Member
    identity_pem: bytes
    session: bytes
    since: datetime
    policies: tuple[bytes, ...]
    datasets: Mapping[str, bytes]
    software: str
    open_jobs: tuple[Digest, ...] = ()
    closed: bool = False
    outbox: "queue.Queue[pb.Instruction | None]" = field(default_factory=lambda: queue.Queue(_QUEUE_LIMIT))

    @property
    def node(self) -> str:
        """The node's name in the federation."""
        return str(self.member.name)

    @property
    def public(self) -> PublicIdentity:
        """The node's identity key, as certified."""
        return self.member.public

    def send(self, instruction: pb.Instruction) -> None:
        """Queue an instruction; a full queue ends the stream instead of holding up everyone else."""
        try:
            self.outbox.put_nowait(instruction)
        except queue.Full:
            self.close()

    def close(self) -> None:
        """End the stream; the node will connect again."""
        self.closed = True
        while True:
            try:
                self.outbox.put_nowait(_END)
            except queue.Full:
                self.outbox.get_nowait()
            else:
                return

    def instructions(self) -> Iterator[pb.Instruction]:
        """Yield instructions until the session is closed."""
        while (item := self.outbox.get()) is not _END:
            yield item


class Attendance:
    """The present nodes by name. Thread-safe; the newest stream of a node replaces an older one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._present: dict[str, Session] = {}

    def enter(self, session: Session) -> Session | None:
        """Make ``session`` the node's current one; returns the stream that it replaces, already closed."""
        with self._lock:
            previous = self._present.get(session.node)
            self._present[session.node] = session
        if previous is not None:
            previous.close()
        return previous

    def leave(self, session: Session) -> bool:
        """Forget ``session``; false if a newer stream of the node has taken its place."""
        with self._lock:
            if self._present.get(session.node) is not session:
                return False
            del self._present[session.node]
            return True

    def get(self, node: str) -> Session | None:
        """The node's current session, if it is present."""
        with self._lock:
            return self._present.get(node)

    def all(self) -> tuple[Session, ...]:
        """Every present session, by node name."""
        with self._lock:
            return tuple(self._present[name] for name in sorted(self._present))

    def close_all(self) -> None:
        """End every stream, at shutdown."""
        for session in self.all():
            session.close()
