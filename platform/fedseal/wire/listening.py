"""Keeping a stream from the coordinator open: the loop of every party that calls out and never listens.

Rules this module keeps:
- A stream that ends is opened again, after a random wait that grows with each failure and starts anew with each
  message.
- What trying again cannot change ends the process: a refusal for good, or a handshake with something that never was
  this federation's coordinator.
- While too many messages wait for the worker, the stream waits too.
"""

import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import grpc
import structlog
from tenacity import wait_random_exponential

from fedseal.errors import RemoteError, SetupError
from fedseal.wire.status import CallRefused, HandshakeFailed

FINAL_CODES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
"""Refusals that trying again does not change."""

POLL_SECONDS = 0.5
"""How long a party waits for its worker, or the worker for work, before it looks whether to stop."""

_RECONNECT_SECONDS = 5.0

_log = structlog.get_logger("fedseal.wire")

T = TypeVar("T")


class Party(Protocol):
    """The process that listens.

    Attributes:
        stopping: Set when it is to end.
        met: Whether the coordinator has answered since the process began.
    """

    stopping: threading.Event
    met: bool

    def fail(self, error: BaseException) -> None:
        """End the process with ``error``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream(Generic[T]):
    """What is listened to.

    Attributes:
        attend: Opens the stream.
        waiting: Where its messages go.
        who: The kind of party, for sentences: ``"node"``.
    """

    attend: Callable[[], Iterable[T]]
    waiting: "queue.Queue[T]"
    who: str


def listen(party: Party, stream: Stream[T]) -> None:
    """Keep the stream open until the party stops; what ends it for good ends the process."""
    try:
        _keep_listening(party, stream)
    except BaseException as error:  # noqa: BLE001 - carried to the main thread, which raises it
        party.fail(error)


def _keep_listening(party: Party, stream: Stream[T]) -> None:
    wait = wait_random_exponential(multiplier=0.2, max=_RECONNECT_SECONDS)
    attempts = 0
    while not party.stopping.is_set():
        try:
            for message in stream.attend():
                attempts = 0
                party.met = True
                _queue(party, stream, message)
        except CallRefused as error:
            if error.code in FINAL_CODES:
                party.fail(SetupError(f"the coordinator does not admit this {stream.who}: {error}"))
            _log.warning("not admitted now", sentence=str(error))
        except HandshakeFailed as error:
            if not party.met:
                raise  # not a coordinator that comes back: the wrong address, or the wrong federation
            _log.warning("not connected", sentence=str(error))
        except RemoteError as error:
            _log.info("not connected", sentence=str(error))
        attempts += 1
        party.stopping.wait(wait(_Attempt(attempts)))  # type: ignore[arg-type]  # tenacity reads attempt_number only


def _queue(party: Party, stream: Stream[T], message: T) -> None:
    """Hand a message to the worker; while too many wait, the stream waits too."""
    while not party.stopping.is_set():
        with suppress(queue.Full):
            stream.waiting.put(message, timeout=POLL_SECONDS)
            return


@dataclass(frozen=True, slots=True)
class _Attempt:
    attempt_number: int
