"""Live events of jobs for those who watch; nothing depends on anybody watching."""

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress

from fedseal.wire._generated import coordination_pb2 as pb

_QUEUE_LIMIT = 1_000
"""A watcher that falls so far behind loses the oldest events; the database still has every round."""


class EventHub:
    """Hands each event to every watcher of its job. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: dict[str, list[queue.Queue[pb.JobEvent | None]]] = {}

    def publish(self, event: pb.JobEvent) -> None:
        """Give ``event`` to those who watch its job now."""
        with self._lock:
            watchers = tuple(self._watchers.get(event.job, ()))
        for watcher in watchers:
            _put(watcher, event)

    def subscribe(self, job: str) -> "queue.Queue[pb.JobEvent | None]":
        """Begin to watch ``job``; hand the queue to ``events`` or ``unsubscribe``."""
        watcher: queue.Queue[pb.JobEvent | None] = queue.Queue(_QUEUE_LIMIT)
        with self._lock:
            self._watchers.setdefault(job, []).append(watcher)
        return watcher

    def unsubscribe(self, job: str, watcher: "queue.Queue[pb.JobEvent | None]") -> None:
        """Stop watching; an iterator over the queue ends."""
        with self._lock, suppress(ValueError):
            self._watchers.get(job, []).remove(watcher)
        _put(watcher, None)

    def close(self) -> None:
        """End every watcher's stream, at shutdown."""
        with self._lock:
            everyone = [watcher for watchers in self._watchers.values() for watcher in watchers]
        for watcher in everyone:
            _put(watcher, None)


def events(watcher: "queue.Queue[pb.JobEvent | None]") -> Iterator[pb.JobEvent]:
    """Yield events until the watcher is unsubscribed."""
    while (event := watcher.get()) is not None:
        yield event


def _put(watcher: "queue.Queue[pb.JobEvent | None]", event: pb.JobEvent | None) -> None:
    while True:
        try:
            watcher.put_nowait(event)
        except queue.Full:
            with suppress(queue.Empty):
                watcher.get_nowait()
        else:
            return
