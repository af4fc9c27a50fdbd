"""The attempt under way at the coordinator: its driver, its files, and the messages that go into it.

Rules kept here:

1. A message counts once. A repeated one changes nothing: not the driver, not the file of a vector, and it is not
   stored a second time.
2. What was stored can be replayed into a fresh attempt after a restart, with the same result.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from fedseal.coordinator.job_run import OpenedRound
from fedseal.coordinator.round_driver import RoundDriver
from fedseal.errors import PeerFault
from fedseal.wire.limits import MASKING_MESSAGE_BYTES
from fedseal_crypto.encoding import RingVector
from fedseal_crypto.masking import (
    ClientId,
    ClientMessage,
    DecodeLimits,
    MaskedInputHeader,
    Step,
    WireMessage,
    decode_message,
)


@dataclass(slots=True)
class ActiveRound:
    """One attempt.

    Attributes:
        opened: what is fixed about it.
        driver: the protocol.
        spool: folder for the masked vectors, one file a member.
        log_size: entries of the audit log before it.
        received: bytes that its members sent.
    """

    opened: OpenedRound
    driver: RoundDriver
    spool: Path
    log_size: int
    received: int = 0

    def take_message(self, payload: bytes, sender: ClientId) -> bool:
        """Take a message other than a masked vector; false if it was taken before.

        Raises:
            PeerFault, PeerError: it fails a check; nothing changed.
        """
        message = _from_client(self._decoded(payload))
        _require_own(message, sender)
        news = self.driver.receive(message)
        if news:
            self.received += len(payload)
        return news

    def take_vector(self, payload: bytes, sender: ClientId, file: Path) -> bool:
        """Take a masked vector that arrived in ``file``, which is moved to the spool; false if it was taken before.

        Raises:
            PeerFault, PeerError: it fails a check; nothing changed.
        """
        header = self._decoded(payload)
        if not isinstance(header, MaskedInputHeader):
            sentence = f"{sender} sent a {type(header).__name__} where the header of a masked vector belongs"
            raise PeerFault(sentence)
        _require_own(header, sender)
        news = self.driver.receive(header.with_words(self._words(file)))
        if news:
            # Only now: of a repeated header the bytes were not compared with its digest.
            shutil.move(file, self._spooled(sender))
            self.received += len(payload) + self.opened.upload_bytes
        return news

    def replay(self, steps: Iterable[tuple[Step, tuple[bytes, ...]]], *, closed: Iterable[Step], now: datetime) -> None:
        """Feed stored messages and step closures into this fresh attempt.

        Raises:
            PeerError, PeerFault, OSError: what is stored does not fit together.
        """
        over = frozenset(closed)
        for step, messages in steps:
            for payload in messages:
                self._replay_one(payload)
            # A step that this attempt's graph does not have is passed over.
            if step in over and self.driver.step is step:
                self.driver.close_step(now)

    def _replay_one(self, payload: bytes) -> None:
        message = self._decoded(payload)
        self.received += len(payload)
        if isinstance(message, MaskedInputHeader):
            self.received += self.opened.upload_bytes
            self.driver.receive(message.with_words(self._words(self._spooled(message.client))))
        else:
            self.driver.receive(_from_client(message))

    def _decoded(self, payload: bytes) -> WireMessage:
        limits = DecodeLimits(members=len(self.opened.plan.parameters.roster), message_bytes=MASKING_MESSAGE_BYTES)
        return decode_message(payload, limits)

    def _words(self, path: Path) -> RingVector:
        """The masked vector in a file, mapped rather than read."""
        return RingVector.from_bytes(self.opened.plan.parameters, np.memmap(path, dtype=np.uint8, mode="r"))

    def _spooled(self, client: ClientId) -> Path:
        return self.spool / f"{client}.bin"


def _from_client(message: WireMessage) -> ClientMessage:
    if not isinstance(message, ClientMessage):
        sentence = f"a {type(message).__name__} is not a message for the coordinator"
        raise PeerFault(sentence)
    return message


def _require_own(message: WireMessage | ClientMessage, sender: ClientId) -> None:
    named = getattr(message, "client", None)
    if named != sender:
        sentence = f"{sender} sent a message in the name of {named}"
        raise PeerFault(sentence)
