"""What every long-running process of fedseal does alike: end in order on SIGINT and SIGTERM."""

import signal
import threading
from types import FrameType

_POLL_SECONDS = 0.5


def stop_on_signals(stopping: threading.Event) -> None:
    """Set ``stopping`` on SIGINT or SIGTERM; call from the main thread."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        # The handler may interrupt this very thread while it holds the event's lock.
        threading.Thread(target=stopping.set).start()

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


def wait_for(stopping: threading.Event) -> None:
    """Block until ``stopping`` is set; in short waits, so that signal handlers run."""
    while not stopping.wait(_POLL_SECONDS):
        pass
