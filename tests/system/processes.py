"""Real operating-system processes, their output line by line, and waiting for what they say."""

import multiprocessing
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from tests.system import actors

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 40.0
"""How long anything may take that should take a second or two; machines that run tests are sometimes busy."""


class TooLate(AssertionError):
    """Something did not happen in time; the message says what, and what the process had printed."""


def context() -> ForkServerContext:
    """The server that new processes are forked from, with everything imported."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.system.actors"])
    return found


def warm_up() -> None:
    """Start the fork server; it must find this folder's modules wherever the tests were started."""
    with _on_path(ROOT):
        process = context().Process(target=os.getpid)
        process.start()
    process.join(PATIENCE_SECONDS)
    if process.exitcode != 0:
        message = f"the fork server's first process ended with {process.exitcode}"
        raise RuntimeError(message)


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder) if before is None else f"{folder}{os.pathsep}{before}"
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class PartyProcess:
    """One running `fedseal` command."""

    def __init__(self, name: str, launch: actors.Launch) -> None:
        self.name = name
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        receiving, sending = multiprocessing.Pipe(duplex=False)
        self._process: ForkServerProcess = context().Process(target=actors.run, args=(launch, sending), name=name)
        self._process.start()
        sending.close()
        self._reader = threading.Thread(target=self._read, args=(os.dup(receiving.fileno()),), daemon=True)
        receiving.close()
        self._reader.start()

    @property
    def pid(self) -> int:
        number = self._process.pid
        if number is None:
            message = f"{self.name} was not started"
            raise RuntimeError(message)
        return number

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def output(self) -> str:
        with self._changed:
            return "\n".join(self.lines)

    def wait_for_line(self, pattern: str, *, start: int = 0, seconds: float = PATIENCE_SECONDS) -> str:
        """The first line from number ``start`` on that matches; fails when the process ends without it."""
        deadline = time.monotonic() + seconds
        seen = start
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if re.search(pattern, line):
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
        how = "ended without" if self._ended else f"did not within {seconds:.0f} seconds print"
        message = f"{self.name} {how} a line like {pattern!r}; it printed:\n{self.output}"
        raise TooLate(message)

    def wait(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit code, once the process has ended; negative for a signal."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            message = f"{self.name} still runs after {seconds:.0f} seconds; it printed:\n{self.output}"
            raise TooLate(message)
        self._reader.join(seconds)
        return code

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._process.kill()
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.running:
            self._process.terminate()
        return self.wait()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def free_port() -> int:
    """A free port below those that the system gives to outgoing connections.

    A client that dials a port of that other range over and over while nobody listens may in the end be connected to
    itself, and the restarted server then finds its port taken.
    """
    for number in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            if number not in _taken:
                _taken.add(number)
                return number
    message = "no port between 20000 and 32000 is free"
    raise RuntimeError(message)


_taken: set[int] = set()
